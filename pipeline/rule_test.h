// File: pipeline/rule_test.h
//
// Runs tests of rules (pipeline/rule_test_file.h) on the engine's own path (pipeline/rehearsal.h):
// each case as it stands, then in other orders within the lateness, then killed and restored
// between any two events, then with every event written twice. What must hold in each run:
//
//   listed order   the incidents of the rule are exactly the expected ones; none came before its
//                  not_before
//   shuffled       the same incidents: rule, key, events, times and evidence
//   restored       the same, though each event is also lost once and read again
//   doubled        the same keys, where doubled events cannot make an incident (see Duplicates)
//
//   RuleTester tester(config);        // after PrepareForRehearsal
//   RuleTestResult result = tester.Run(test_case);
//   if (!result.failure.empty()) puts(result.failure.c_str());
//
// Thread-safety: one thread. Lifetime: the configuration outlives the tester.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pipeline/config.h"
#include "pipeline/rehearsal.h"
#include "pipeline/rule_test_file.h"

namespace bongsu {

inline constexpr int kShuffledRuns = 3;
// A case with more events is restored at this many places, evenly spread.
inline constexpr size_t kRestoresMax = 40;

struct RuleTestResult {
  std::string rule;   // as the case names it
  std::string title;  // the rule's
  std::string name;
  SourceLocation where;
  std::string failure;    // empty: passed
  std::string broken;     // the test itself is wrong: an unknown rule, source, ...
  bool positive = false;  // it expects incidents
  int shuffled = 0;       // runs
  int restored = 0;       // restarts
  bool doubled = false;
  double seconds = 0;  // wall time
};

class RuleTester {
 public:
  explicit RuleTester(const Config& config);
  RuleTestResult Run(const RuleTestCase& test);

 private:
  struct Case;   // prepared: records, the rule's name
  struct Found;  // what a run gave

  bool Prepare(const RuleTestCase& test, Case* prepared, RuleTestResult* result) const;
  bool FindRule(const RuleTestCase& test, Case* prepared, RuleTestResult* result) const;
  int FindSource(const std::string& name) const;
  absl::Status Plain(const Case& test, const std::vector<size_t>& order, size_t batch, bool doubled,
                     Found* found);
  absl::Status Restored(const Case& test, RuleTestResult* result, Found* found);
  absl::Status Begin(const Case& test);
  absl::Status Feed(const Case& test, std::span<const size_t> events, int64_t offset_shift = 0);
  void Collect(const Case& test, Found* found) const;
  std::string Check(const Case& test, const Found& found) const;
  bool DoublingChangesNothing(const std::string& rule) const;
  absl::Status Variations(const Case& test, const Found& base, RuleTestResult* result);
  std::string Text(const Case& test, const RehearsedIncident& incident) const;
  std::string Texts(const Case& test, const Found& found) const;
  std::vector<std::string> Ids(const Case& test, const RehearsedIncident& incident) const;

  const Config& config_;
  Rehearsal rehearsal_;
};

}  // namespace bongsu
