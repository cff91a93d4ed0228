// File: pipeline/rule_test_file.h
//
// Tests of rules as users write them, read: `tests:` within a rule, files `<rule>.test.yml` beside
// it, and SigmaHQ's recorded events (`regression_data/**/info.yml`). What each key means is told to
// users in deploy/RULE_TESTS.md; what a test does is pipeline/rule_test.h.
//
//   Diagnostics diagnostics;
//   std::vector<RuleTestCase> cases = ReadRuleTests({"rules/"}, diagnostics);
//   AddEmbeddedTests(*config.rules, &cases, diagnostics);
//
// Errors: every mistake of every file, with its place; a case with a mistake is left out.
// Thread-safety: plain data; pure functions over files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"
#include "operators/sigma/rule_set.h"
#include "state/types.h"

namespace bongsu {

inline constexpr size_t kRuleTestFilesMax = 100'000;
inline constexpr size_t kRuleTestEventsMax = 10'000;  // of one case, repeats counted
// Where event times begin that are written as offsets: 2024-01-01T00:00:00Z.
inline constexpr EventTimeNs kRuleTestStart = 1'704'067'200 * kSecondNs;

struct RuleTestEvent {
  std::string id;      // as expectations name it; its number from 1 where it has none
  std::string source;  // a source's name or format, as written
  EventTimeNs time = 0;
  Node record;       // a map as the source writes it; null where `fields` or `text` is given
  Node fields;       // a map of rules' field names
  std::string text;  // a record as it stands; its time is its own
  SourceLocation where;
};

// Incidents that must come; a case's incidents must be exactly those that its expectations
// describe.
struct ExpectedIncidents {
  std::optional<std::string> key;
  uint64_t count = 1;
  bool at_least = false;  // `count` or more: SigmaHQ's tests without match_count
  std::optional<uint64_t> events;
  std::vector<std::string> evidence;  // ids of events; empty: not said
  std::optional<EventTimeNs> not_before;
  SourceLocation where;
};

enum class Duplicates : uint8_t {
  kByType,  // kSame for rules that events written twice cannot change, else kSkip
  kSame,    // every event written twice by its source: the same keys
  kSkip,
};

struct RuleTestCase {
  std::string rule;  // id, name or title; operators: the name
  std::string name;
  std::vector<RuleTestEvent> events;        // in the order of arrival
  std::vector<ExpectedIncidents> expected;  // empty: none
  uint64_t late = 0;                        // events that must be late for the rule
  std::optional<EventTimeNs> now;           // the wall clock; default: the newest event's time
  bool fixed_order = false;
  Duplicates duplicates = Duplicates::kByType;
  bool recorded = false;  // SigmaHQ's: real records with their own times, only counted
  SourceLocation where;
};

// Cases of *.test.yml and regression_data/**/info.yml below `paths` (or those files themselves).
// `skipped`: recorded tests of kinds that are not read, one line each.
std::vector<RuleTestCase> ReadRuleTests(const std::vector<std::string>& paths,
                                        std::vector<std::string>* skipped,
                                        Diagnostics& diagnostics);

// Cases that stand within the rules themselves.
void AddEmbeddedTests(const sigma::RuleSet& rules, std::vector<RuleTestCase>* cases,
                      Diagnostics& diagnostics);

// The cases of one list under `tests:`; `rule` where a case names none.
std::vector<RuleTestCase> ParseRuleTests(const Node& tests, const std::string& rule,
                                         Diagnostics& diagnostics);

}  // namespace bongsu
