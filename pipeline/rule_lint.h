// File: pipeline/rule_lint.h
//
// `bongsu check --rules`: what is doubtful about rules that load. Their own words (no id, no level,
// no tests, ...), and, with sample records of the sources, their fields: which were never seen in
// which source, and which rules can therefore never match there.
//
//   std::vector<SourceSample> samples = SampleSources(config, given, 10'000, &problems);
//   std::vector<std::string> findings = LintRules(config, samples);
//
// A rule can never match where its condition is false whatever the other fields hold, given that
// the fields that no sample has are absent.
//
// Thread-safety: one thread.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "pipeline/config.h"

namespace bongsu {

inline constexpr size_t kSampleRecordsMax = 10'000;  // of each source
inline constexpr size_t kSampleFilesMax = 100;

struct SourceSample {
  size_t records = 0;
  std::vector<bool> seen;  // by slot of the source's FieldTable: some record had it
};

// By source: the beginnings of its files, or of those in `given` ("source=file"). `*problems`:
// files that could not be read.
std::vector<SourceSample> SampleSources(const Config& config, const std::vector<std::string>& given,
                                        std::vector<std::string>* problems);

// One finding a line: "file:line: rule: what is doubtful".
std::vector<std::string> LintRules(const Config& config, const std::vector<SourceSample>& samples);

}  // namespace bongsu
