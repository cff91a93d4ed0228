// File: pipeline/rule_lint.h
//
// `bongsu check --rules`: what is doubtful about rules that load. Their own words (no id, no level,
// no tests, ...), and, with sample records of the sources, their fields: which were never seen in
// which source, and which rules can therefore never match there.
//
//   std::vector<SourceSample> samples = SampleSources(config, given, 10'000, &problems);
//   std::vector<std::string> findings = LintRules(config, samples);
//
// Filters are tried on the samples, too: what each would remove of which rule's matches
// (FilterDryRun), so that a filter of the wrong polarity is seen before it silences a rule.
//
// A rule can never match where its condition is false whatever the other fields hold, given that
// the fields that no sample has are absent.
//
// Thread-safety: one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "pipeline/config.h"

namespace bongsu {

inline constexpr size_t kSampleRecordsMax = 10'000;  // of each source
inline constexpr size_t kSampleFilesMax = 100;

// What one filter does to one rule, over the records of one source.
struct FilterTrial {
  uint32_t filter = 0;  // entries of the rule set
  uint32_t rule = 0;
  size_t matches = 0;  // of the rule, before any filter
  size_t removed = 0;  // of them, by this filter
};

struct SourceSample {
  size_t records = 0;
  std::vector<bool> seen;  // by slot of the source's FieldTable: some record had it
  std::vector<FilterTrial> filters;
};

// By source: the beginnings of its files, or of those in `given` ("source=file"). `*problems`:
// files that could not be read.
std::vector<SourceSample> SampleSources(const Config& config, const std::vector<std::string>& given,
                                        std::vector<std::string>* problems);

// One line for each (filter, rule, source) of which there are sample records:
// "filter 'Backup hosts': removes 3 of 5 matches of 'A shell starts' in source endpoint (4,000
// records)".
std::vector<std::string> FilterDryRun(const Config& config,
                                      const std::vector<SourceSample>& samples);

// One finding a line: "file:line: rule: what is doubtful".
std::vector<std::string> LintRules(const Config& config, const std::vector<SourceSample>& samples);

}  // namespace bongsu
