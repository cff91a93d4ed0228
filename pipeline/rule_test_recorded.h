// File: pipeline/rule_test_recorded.h
//
// SigmaHQ's recorded tests: regression_data/**/info.yml names a rule, a file of recorded events
// (.evtx, with its twin in JSON beside it) and how many of them the rule must match.
//
//   if (IsRecordedTest(file)) ReadRecordedTest(file, &cases, &skipped, diagnostics);
//
// The events are read as the format windows-event; the twin holds one or more JSON objects, in one
// line or over many. Without match_count at least one event must match. Kinds other than evtx are
// skipped by name.
//
// Errors: with their place in `diagnostics`. Thread-safety: pure functions over files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "operators/config/diagnostics.h"
#include "pipeline/rule_test_file.h"

namespace bongsu {

bool IsRecordedTest(std::string_view file);
void ReadRecordedTest(const std::string& file, std::vector<RuleTestCase>* cases,
                      std::vector<std::string>* skipped, Diagnostics& diagnostics);

// The JSON objects of `text`, one behind the other or in an array. False where one is not closed.
bool SplitJsonObjects(std::string_view text, std::vector<std::string_view>* objects);

}  // namespace bongsu
