// File: operators/sigma/rule.h
//
// A Sigma document as plain data: a detection, a correlation or a filter, with its metadata and the
// places of everything that later checks may have to point at. What a document says is read here,
// and only here; what it means (references, log sources, compiled detections) is the business of
// operators/sigma/rule_set.h.
//
//   Diagnostics diagnostics;
//   for (const Node& document : ParseYaml(text, file, YamlLimits{}, diagnostics)) {
//     std::optional<Rule> rule = ParseRule(document, diagnostics);   // nullopt after errors
//     if (rule && rule->kind() == RuleKind::kCorrelation) ... rule->correlation() ...
//   }
//
// Keys that the specification does not know are carried as custom fields in the document itself,
// and errors within `correlation:`, `logsource:`... where a misspelt key would change what is
// found.
//
// Thread-safety: values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"
#include "operators/event.h"
#include "operators/sigma/selection.h"
#include "state/types.h"

namespace bongsu::sigma {

// Bounds on one document; beyond them it is refused.
inline constexpr size_t kTitleBytesMax = 4 * 256;  // 256 characters, as the schema has it
inline constexpr size_t kDescriptionBytesMax = 4 * 65'535;
inline constexpr size_t kReferencesMax = 1'000;  // rules of one correlation or filter
inline constexpr size_t kGroupByMax = 16;
// Event times of today with two of them fit into 64 bits of nanoseconds.
inline constexpr DurationNs kTimespanMax = 100 * int64_t{31'556'952} * kSecondNs;
inline constexpr size_t kMetadataItemsMax = 1'000;  // of each list: tags, references, ...

// A text of the document, with its place.
struct PlacedText {
  std::string text;
  SourceLocation where;
};

struct RelatedRule {
  std::string id;
  std::string type;  // derived, obsolete, merged, renamed, similar
};

// What a document says about itself. Empty where it does not say.
struct Metadata {
  std::string id;
  std::string name;
  std::string title;
  std::string status;  // stable, test, experimental, deprecated, unsupported
  std::string description;
  std::string license;
  std::string author;
  std::string date;      // YYYY-MM-DD
  std::string modified;  // YYYY-MM-DD
  std::string level;     // informational, low, medium, high, critical
  std::string taxonomy;
  int sigma_version = 2;
  std::vector<std::string> references;
  std::vector<std::string> tags;
  std::vector<std::string> falsepositives;
  std::vector<std::string> fields;         // to show to the analyst
  std::vector<std::string> output_fields;  // draft #197: to carry in the alert
  std::vector<std::string> scope;
  std::vector<RelatedRule> related;
  Node tests;  // `tests:` of the document (deploy/RULE_TESTS.md); null where it has none
  std::vector<std::pair<std::string, Node>> custom;  // every key that is none of the above

  SourceLocation where;  // of the document
  SourceLocation id_where;
  SourceLocation name_where;
  SourceLocation level_where;

  // How messages and reports call it: its id, else its name, else its title.
  const std::string& label() const { return !id.empty() ? id : !name.empty() ? name : title; }
};

// Empty parts are wildcards.
struct RuleLogsource {
  std::string category;
  std::string product;
  std::string service;
  std::string definition;
  std::vector<std::pair<std::string, std::string>> other;  // further keys, as they stand
  SourceLocation where;
};

struct DetectionRule {
  RuleLogsource logsource;
  Node detection;  // the map under `detection:`, for CompileSelection
};

enum class CorrelationType : uint8_t {
  kEventCount,
  kValueCount,
  kTemporal,
  kTemporalOrdered,
  kValueSum,
  kValueAvg,
  kValuePercentile,
  kValueMedian,
};
std::string_view CorrelationTypeName(CorrelationType type);  // "event_count"

enum class ComparisonOperator : uint8_t { kGt, kGte, kLt, kLte, kEq, kNeq };
std::string_view ComparisonOperatorName(ComparisonOperator op);  // "gte"

// One criterion of a condition; several are a conjunction (a range).
struct Comparison {
  ComparisonOperator op = ComparisonOperator::kGte;
  std::string decimal;  // exact: a shortest decimal text (operators/decimal.h)
  double value = 0;     // the same, rounded
  SourceLocation where;
};
bool Meets(const Comparison& one, double value);
// Whether a count, a whole number from `least` on, meets them all.
bool SomeCountMeets(const std::vector<Comparison>& comparisons, double least);

// `alias: {rule: field, ...}`. The rule is named as in `rules:` (by name or id).
struct CorrelationAlias {
  PlacedText alias;
  std::vector<std::pair<PlacedText, PlacedText>> fields;  // rule, field
};

struct CorrelationRule {
  CorrelationType type = CorrelationType::kEventCount;
  // References, by id or name, as they stand. Where the condition is a text and `rules` is left out
  // (SEP #198), the names in the condition, in order of appearance.
  std::vector<PlacedText> rules;
  std::vector<PlacedText> group_by;  // fields, or aliases; may be empty: one group for all
  std::vector<CorrelationAlias> aliases;
  DurationNs timespan = 0;
  SourceLocation timespan_where;
  // The condition: either comparisons (temporal types: of the number of different rules seen; none
  // given = all of them), or `expression`: and/or/not over the names of `rules`, temporal types
  // only.
  std::vector<Comparison> comparisons;
  std::vector<PlacedText> fields;    // condition.field; several are one tuple
  std::optional<double> percentile;  // condition.percentile, 0..100 (value_percentile)
  PlacedText expression;
  SourceLocation condition_where;
  bool generate = false;  // the rules that it refers to make alerts of their own, too
  // Our own extensions (`bongsu:` within `correlation:`: window, emit, reset, max_episode, ...), a
  // map for the operator's own table; null where there is none.
  Node extensions;
  SourceLocation where;  // of the map under `correlation:`
};

struct FilterRule {
  RuleLogsource logsource;
  bool any = false;               // rules: any
  std::vector<PlacedText> rules;  // by id or name
  Node detection;   // the map under `filter:` without `rules`: searches and a condition
  Node extensions;  // `bongsu:` within `filter:`; null where there is none
};

enum class RuleKind : uint8_t { kDetection, kCorrelation, kFilter };
std::string_view RuleKindName(RuleKind kind);  // "detection"

struct Rule {
  Metadata metadata;
  std::variant<DetectionRule, CorrelationRule, FilterRule> body;

  RuleKind kind() const { return static_cast<RuleKind>(body.index()); }
  const DetectionRule& detection() const { return std::get<DetectionRule>(body); }
  const CorrelationRule& correlation() const { return std::get<CorrelationRule>(body); }
  const FilterRule& filter() const { return std::get<FilterRule>(body); }
};

// One document. Every mistake goes to `diagnostics`; nullopt after errors.
std::optional<Rule> ParseRule(const Node& document, Diagnostics& diagnostics);

// Sigma's timespans: a number and one of s m h d w M y (M = 30.436875 days, y = 365.2425 days, as
// pySigma has them); "90s", "1h30m" is none. Nullopt for anything else and for 0.
std::optional<DurationNs> ParseTimespan(std::string_view text);

// Where the events of one reference of a correlation come from. The rule set gives a correlation
// one for each (reference, source that the detection is bound to), or one for a reference to
// another correlation, whose operator is of a lower level.
struct ReferenceInput {
  size_t reference = 0;        // index into CorrelationRule::rules
  std::string source;          // InputSpec::source
  bool from_operator = false;  // InputSpec::from_operator
  // Log source, detection and filters together; null for a correlation's results.
  std::shared_ptr<const Selection> selection;
  // Of the detection with its filters; empty for a correlation's results.
  std::string semantic_hash;
  // Where the fields that are read (group-by, aliases, condition.field) are to be registered.
  FieldTable* fields = nullptr;
  // Fields that alerts should carry besides those.
  std::vector<std::string> default_fields;
};

}  // namespace bongsu::sigma
