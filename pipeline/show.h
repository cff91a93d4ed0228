// File: pipeline/show.h
//
// Alerts as a person wants to read them: what happened, on which host, when, why it matched, and
// the evidence of both sides. Reads a file of OCSF alerts (JSON lines), folds updates into their
// incident.
//
//   absl::Status status = ShowAlerts("alerts.jsonl", {.limit = 20}, stdout);
//
// Thread-safety: one thread.
#pragma once

#include <cstdio>
#include <string>

#include "absl/status/status.h"

namespace bongsu {

struct ShowOptions {
  int limit = 0;  // incidents to show; 0: all
  bool colour = false;
};
// InvalidArgument for a line that is not an alert; NotFound for a missing file.
[[nodiscard]] absl::Status ShowAlerts(const std::string& path, const ShowOptions& options,
                                      std::FILE* out);

}  // namespace bongsu
