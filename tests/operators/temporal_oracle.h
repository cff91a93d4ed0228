// File: tests/operators/temporal_oracle.h
//
// temporal and temporal_ordered as slowly and as obviously as can be: every window is looked at,
// every chain tried. What tests/operators/temporal_test.cc compares the operator with.
//
// Thread-safety: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/testing/operator_harness.h"

namespace bongsu::testing {

// An alternative of the condition: these rules (by number, ascending), and none of those.
struct OracleAlternative {
  std::vector<int> seen;
  std::vector<int> absent;
};

enum class OracleWindow { kSliding, kTumbling, kSession };

struct OracleRule {
  OracleWindow window = OracleWindow::kSliding;
  int rules = 2;
  bool grouped = true;  // by the field "k"
  bool ordered = false;
  std::vector<OracleAlternative> alternatives;  // an expression; else:
  std::vector<bool> by_count;                   // whether n different rules meet the condition
  DurationNs span = 0;
  DurationNs max_episode = 0;
  DurationNs suppress = 0;
  bool reset = false;
  bool apart = false;  // tie: time
};

struct OracleIncident {
  std::string key;
  std::vector<std::pair<std::string, int64_t>> events;  // source and offset, in order
  auto operator<=>(const OracleIncident&) const = default;
};

// Rule i is seen in an event whose field "f<i>" is "1"; the group is its field "k", or there is
// one.
std::vector<OracleIncident> TemporalOracle(const OracleRule& rule,
                                           const std::vector<TestEvent>& events);

}  // namespace bongsu::testing
