// File: operators/sigma/rule_set.h
//
// A set of Sigma rules: files and folders read, every document parsed, references between them
// resolved, and what cannot be used named with the reason. Which source a rule concerns, and its
// compiled form, is operators/sigma/rule_binding.h.
//
//   RuleSet rules = LoadRuleSet({"rules/", "own.yml"}, options, diagnostics);
//   for (const RuleEntry& entry : rules.entries) ... entry.rule.metadata.title ...
//   for (const SkippedRule& skipped : rules.skipped) ... skipped.why ...
//
// A broken rule does not stop the others: it is left out, with all its mistakes in `skipped` and,
// as warnings, in `diagnostics`. With `strict` they are errors. Always an error: a path that does
// not exist or cannot be read, and one that holds no rule at all.
//
// Folders are read recursively, files *.yml and *.yaml in the order of their names; names that
// begin with a dot are passed over, and so are tests: *.test.yml and folders called
// regression_data. A file may hold several documents. Sigma's old collections work, too: `action:
// global` is merged into the documents behind it, `reset` ends that, `repeat` is merged into a copy
// of the document before (as pySigma does: the global document wins).
//
// Thread-safety: plain data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/sigma/placeholders.h"
#include "operators/sigma/rule.h"

namespace bongsu::sigma {

inline constexpr size_t kRuleFilesMax = 100'000;
inline constexpr size_t kRuleFileBytesMax = size_t{16} << 20;
inline constexpr size_t kRulesMax = 100'000;
inline constexpr int kCorrelationLevelsMax = 32;

// What the condition of a filter says. The specification's example excludes what the condition
// finds, pySigma (and with it most authors, who write `not selection`) keeps it.
enum class FilterCondition : uint8_t {
  kKeep,     // an alert needs the filter's condition to hold, too
  kExclude,  // an alert needs it not to hold
};

struct RuleSetOptions {
  bool strict = false;
  Placeholders placeholders;
  FilterCondition filter_condition = FilterCondition::kKeep;
  // Rules of these statuses are left out (and counted).
  std::vector<std::string> skip_status;
};

// One usable document. Indices are into RuleSet::entries.
struct RuleEntry {
  Rule rule;
  // Detections and filters: the detection with its placeholders replaced.
  Node detection;
  std::vector<uint32_t> references;  // correlations: the rules, in the order of `rules`
  std::vector<uint32_t> filters;     // detections: the filters that apply
  std::vector<uint32_t> filtered;    // filters: the detections that they apply to
  FilterCondition filter_condition = FilterCondition::kKeep;  // filters
  // Correlations: 0 reads detections only, else one more than the highest that it refers to.
  int level = 0;
  // Detections: SHA-256 (hexadecimal) of log source, detection and filters in their normal forms;
  // without prose, sources or places.
  std::string semantic_hash;
  std::string normal_form;                  // detections and filters: of the detection alone
  std::vector<std::string> matched_fields;  // detections and filters: what the detection reads
  // Makes no alerts of its own: it is the base of correlations, none of which says `generate`.
  bool mute = false;
};

struct SkippedRule {
  std::string label;  // id, name or title, as far as it was read
  std::string title;
  SourceLocation where;
  std::string why;     // the first mistake
  bool broken = true;  // false: left out by its status
};

struct RuleSet {
  std::vector<RuleEntry> entries;
  std::vector<SkippedRule> skipped;
  size_t files = 0;
  size_t documents = 0;

  size_t Count(RuleKind kind) const;
  // The entry with this id, else with this name; -1 where there is none.
  int Find(std::string_view id_or_name) const;
  // Why there is none: it was left out, or "did you mean 'x'?", of the ids, names and titles;
  // empty: none is near.
  std::string NearestHint(std::string_view id_or_name) const;
  // "3780 rules from 3780 files: 3780 detections, 0 correlations, 0 filters; 0 left out"
  std::string Summary() const;
};

RuleSet LoadRuleSet(const std::vector<std::string>& paths, const RuleSetOptions& options,
                    Diagnostics& diagnostics);

// Rules that are in no file: each text by the name that stands for its file in messages.
using RuleTexts = std::map<std::string, std::string>;
// Files, and behind them the texts. A set of neither is empty, and no error.
RuleSet LoadRuleSet(const std::vector<std::string>& paths, const RuleTexts& texts,
                    const RuleSetOptions& options, Diagnostics& diagnostics);

// The same for one text (tests); `file` is used in messages.
RuleSet ParseRuleSet(std::string_view text, const std::string& file, const RuleSetOptions& options,
                     Diagnostics& diagnostics);

}  // namespace bongsu::sigma
