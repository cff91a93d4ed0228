// File: pipeline/explain_state.h
//
// What the state of a service holds of a correlation or an interval_join, as evidence for
// ExplainSteps: its events by key, and the incidents that are open. The folder is looked at beside
// the process that uses it (StateInspector::OpenBeside).
//
//   std::vector<std::string> notes;
//   ASSIGN_OR_RETURN(StepsEvidence evidence, ReadStateEvidence(config, op, &notes));
//   StepsAnswer answer = ExplainSteps(config, evidence, question);
//
// What it cannot hold: events that came in the last seconds and are in memory only, events that
// were let go with their window, and incidents that are over. `*notes` says how far it is.
//
// Bound: kStateEventsMax events are held in memory; the rest is left out, and said.
//
// Thread-safety: one thread. Errors: as state/inspect.h; NotFound: the state has no such rule, or
// an earlier form of it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "pipeline/config.h"
#include "pipeline/explain_steps.h"

namespace bongsu {

inline constexpr size_t kStateEventsMax = 1'000'000;

// `op`: index into Config::operators.
absl::StatusOr<StepsEvidence> ReadStateEvidence(const Config& config, size_t op,
                                                std::vector<std::string>* notes);

}  // namespace bongsu
