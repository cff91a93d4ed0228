// File: pipeline/rule_test_command.h
//
// `bongsu test DIR...`: finds the tests below the folders, loads the rules there with the sources
// that the tests name, runs every case (pipeline/rule_test.h), and says what failed, as a table or
// as JUnit's XML.
//
//   return TestRules({.paths = {"deploy/rules"}, .junit = "rules.xml"}, stdout);
//
// Exit status: 0 every test passed, 1 one failed, 2 a rule or a test is broken (or there are none).
// Thread-safety: one thread.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/registry.h"
#include "pipeline/config.h"
#include "pipeline/rule_test.h"

namespace bongsu {

struct RuleTestOptions {
  std::vector<std::string> paths;
  // Its sources, rules and operators are what is tested, and `paths` only where the tests lie.
  // Empty: the rules below `paths`, with sources as the tests name formats.
  std::string config;
  std::string junit;      // a file for the XML; empty: none
  bool complete = false;  // every rule that makes alerts must have a positive and a negative test
  bool verbose = false;   // also tests that passed
};

int TestRules(const RuleTestOptions& options, std::FILE* out);

// A configuration for rehearsals: that of `config_file`, or, where that is empty, the rules below
// `rules` and one source for each of `formats`, called as its format. Nullopt after errors.
std::optional<Config> ConfigForRules(const std::string& config_file,
                                     const std::vector<std::string>& rules,
                                     const std::vector<std::string>& formats,
                                     const OperatorRegistry& registry, Diagnostics& diagnostics);

std::string JUnitXml(const std::vector<RuleTestResult>& results);

}  // namespace bongsu
