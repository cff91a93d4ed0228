// File: bench/loadgen/verify.h
//
// Compares alerts with the truth of a run: every planted incident must be there, with all its
// events, as often as its left record is in the log, and no other incident of the planted rules.
//
//   VerifyResult result = VerifyAlerts(truth_text, alerts_text);
//   if (!result.problems.empty()) ...
//
// Reads OCSF and native alerts, folded by id (the last record of an incident counts). The operators
// must carry flow_id on the left and RecordNumber on the right, and emit incidents.
//
// Thread-safety: pure function.
#pragma once

#include <cstddef>
#include <istream>
#include <string>
#include <vector>

namespace bongsu::loadgen {

struct VerifyResult {
  size_t expected = 0;  // incidents
  size_t found = 0;
  std::vector<std::string> problems;  // one sentence each; empty: all is as it must be
};

VerifyResult VerifyAlerts(std::istream& truth, std::istream& alerts);

}  // namespace bongsu::loadgen
