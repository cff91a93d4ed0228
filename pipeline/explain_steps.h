// File: pipeline/explain_steps.h
//
// The steps of a correlation or a join after a rehearsed run: which of them had events of the key
// in the window, and why the others had none.
//
//   StepsQuestion question{.op = index, .key = "10.0.0.9", .time = t, .span = span};
//   StepsAnswer answer = ExplainSteps(config, rehearsal, question);
//   puts(answer.verdict.c_str());
//
// Thread-safety: pure functions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "pipeline/config.h"
#include "pipeline/rehearsal.h"

namespace bongsu {

struct StepsQuestion {
  size_t op = 0;                    // index into Config::operators
  std::string key;                  // as alerts show it; empty: the one with most steps and events
  std::optional<EventTimeNs> time;  // empty: that of the key's first event
  DurationNs span = 0;              // the longest time between two events of one incident
  // Incidents of the rule that were there before the input ended.
  std::vector<RehearsedIncident> before_end;
};

struct StepsAnswer {
  bool fired = false;
  std::string verdict;             // one line
  std::vector<std::string> steps;  // one or more lines
};

StepsAnswer ExplainSteps(const Config& config, const Rehearsal& rehearsal,
                         const StepsQuestion& question);

}  // namespace bongsu
