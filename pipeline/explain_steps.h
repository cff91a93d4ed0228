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

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/config.h"
#include "pipeline/rehearsal.h"

namespace bongsu {

struct StepsQuestion {
  size_t op = 0;  // index into Config::operators
  // As alerts show it; empty: of those with an incident, else of all, the one with most steps and
  // events.
  std::string key;
  // Empty: that of the key's first incident, else of its first event; of a state its newest event.
  std::optional<EventTimeNs> time;
  DurationNs span = 0;  // the longest time between two events of one incident
  // Of an interval_join: how far the right event may lie from the left one.
  DurationNs before = 0;
  DurationNs after = 0;
  // Incidents of the rule that were there before the input ended.
  std::vector<RehearsedIncident> before_end;
  // Where people find a record; empty: by its number.
  std::function<std::string(uint16_t source, int64_t offset)> place;
};

struct StepsAnswer {
  bool fired = false;
  bool known = true;               // else the evidence does not say whether it fired
  std::string verdict;             // one line
  std::vector<std::string> steps;  // one or more lines
};

// What the steps are told from: a rehearsed run, or the state of a service (explain_state.h).
struct StepsEvidence {
  std::vector<RehearsedInput> inputs;  // of the operator
  std::vector<std::string> places;     // of the inputs, as people find them; empty: by their number
  std::vector<RehearsedReject> rejects;
  // Of the rule. Of a state: first_time kMinEventTime where it is not known, and of a join no
  // count.
  std::vector<RehearsedIncident> incidents;
  std::map<std::string, uint64_t> counters;
  bool state = false;  // of a service: what was let go is not in it
  // Of a state: no event before it can come, and what only such events could change is settled.
  EventTimeNs closing = kMinEventTime;
  // Of a state, by key: where windows follow one another, the begin of the one that is open.
  std::map<std::string, EventTimeNs> open_windows;
};

StepsAnswer ExplainSteps(const Config& config, const StepsEvidence& evidence,
                         const StepsQuestion& question);
StepsAnswer ExplainSteps(const Config& config, const Rehearsal& rehearsal,
                         const StepsQuestion& question);

}  // namespace bongsu
