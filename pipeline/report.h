// File: pipeline/report.h
//
// What a run did, for people (a table) and for machines (JSON): events by source, dead letters and
// late events by reason, matches and incidents by operator, time, memory.
//
//   RunReport report = MakeReport(config, totals, usage);
//   fputs(ReportText(report).c_str(), stderr);
//   WriteReportFile(path, report);
//
// Thread-safety: pure functions; MeasureUsage reads the process's own figures.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "pipeline/config.h"
#include "pipeline/engine.h"

namespace bongsu {

// What the process used, from its start or between two measurements.
struct Usage {
  double wall_s = 0;
  double cpu_s = 0;  // user and system, all threads
  int64_t rss_peak_bytes = 0;
};
// `start_ns`: MonotonicNs when the run began; CPU time is the whole process's.
Usage MeasureUsage(int64_t start_ns, const Clock& clock);

struct RunReport {
  const Config* config = nullptr;
  EngineTotals totals;
  Usage usage;
  Store::Counters store;
  Store::Memory store_memory;
  std::string outcome;  // "finished", "stopped", or the error
};

std::string ReportText(const RunReport& report);
// One JSON object; the keys are listed in deploy/CONFIG.md's neighbour, README.md "The report".
std::string ReportJson(const RunReport& report);
[[nodiscard]] absl::Status WriteReportFile(const std::string& path, const RunReport& report);

}  // namespace bongsu
