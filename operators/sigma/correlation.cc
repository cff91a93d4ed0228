#include "operators/sigma/correlation.h"

#include <fmt/format.h>

#include <algorithm>

#include "operators/key.h"
#include "operators/sigma/correlation_aggregate.h"
#include "operators/sigma/temporal.h"
#include "operators/sigma/temporal_condition.h"

namespace bongsu::sigma {
namespace {

constexpr DurationNs kEpisodeNs = kDayNs;

CorrelationOptions ReadOptions(const CorrelationRule& rule, Diagnostics& diagnostics) {
  static const Node kNone = [] {
    Node node;
    node.kind = NodeKind::kMap;
    return node;
  }();
  const OptionReader reader(rule.extensions.is_map() ? rule.extensions : kNone,
                            CorrelationOptionDefs(), diagnostics);
  CorrelationOptions options;
  const std::string window = reader.String("window");
  if (window == "tumbling") options.window = CorrelationWindow::kTumbling;
  if (window == "session") options.window = CorrelationWindow::kSession;
  options.early = reader.String("emit") == "early";
  options.early_asked = reader.has("emit") && options.early;
  options.reset = reader.Bool("reset");
  options.max_episode = reader.has("max_episode") ? reader.Duration("max_episode")
                                                  : std::max(kEpisodeNs, rule.timespan);
  if (reader.has("max_episode") && options.max_episode < rule.timespan)
    diagnostics.Error(reader.where("max_episode"), "'max_episode' is shorter than the timespan",
                      "an episode has at least one window");
  options.suppress = reader.Duration("suppress");
  options.keep_missing = reader.String("missing") == "group";
  options.evidence_max = static_cast<size_t>(reader.Int("evidence_max"));
  options.events_max = static_cast<size_t>(reader.Int("events_max"));
  options.groups_max = static_cast<size_t>(reader.Int("groups_max"));
  options.values_max = static_cast<size_t>(reader.Int("values_max"));
  options.tie_time = reader.String("tie") == "time";
  return options;
}

// Everything that decides what is found and how its state lies, and nothing that is only said
// about it.
std::string Normalised(const RuleEntry& entry, const CorrelationParts& parts,
                       std::span<const std::string> hashes) {
  const CorrelationRule& rule = parts.correlation;
  const CorrelationOptions& options = parts.options;
  const Metadata& metadata = entry.rule.metadata;
  std::string text =
      fmt::format("sigma-correlation-3\n{} {}\ntimespan {}\n", CorrelationTypeName(rule.type),
                  metadata.id.empty() ? metadata.name : metadata.id, rule.timespan);
  for (const PlacedText& reference : rule.rules) text += "rule " + reference.text + "\n";
  for (const CorrelationInput& input : parts.inputs) {
    text += fmt::format("input {} {} {}\nkey {}\nvalue {}\nfields {}\n", input.from.reference,
                        input.from.source,
                        input.from.from_operator ? hashes[input.entry] : input.from.semantic_hash,
                        fmt::join(input.key_fields, "\t"), fmt::join(input.value_fields, "\t"),
                        fmt::join(input.fields, "\t"));
  }
  std::vector<std::string> comparisons;
  for (const Comparison& one : rule.comparisons)
    comparisons.push_back(fmt::format("{} {}", ComparisonOperatorName(one.op), one.decimal));
  std::sort(comparisons.begin(), comparisons.end());
  text += fmt::format("condition {} {} {}\n", fmt::join(comparisons, ","),
                      rule.percentile.value_or(-1), rule.expression.text);
  text +=
      fmt::format("options {} {} {} {} {} {} {} {} {} {} {}\n", static_cast<int>(options.window),
                  options.early, options.reset, options.max_episode, options.suppress,
                  options.keep_missing, options.evidence_max, options.events_max,
                  options.groups_max, options.values_max, options.tie_time);
  return text;
}

// The class of the type.
std::unique_ptr<CorrelationSpec> MakeSpec(CorrelationParts parts, Diagnostics& diagnostics) {
  const CorrelationType type = parts.correlation.type;
  if (type == CorrelationType::kTemporal || type == CorrelationType::kTemporalOrdered)
    return MakeTemporal(std::move(parts), diagnostics);
  return AggregateSpec::Create(std::move(parts), diagnostics);
}

}  // namespace

const std::vector<OptionDef>& CorrelationOptionDefs() {
  static const std::vector<OptionDef> options = {
      {.path = "window",
       .type = OptionType::kEnum,
       .default_text = "sliding",
       .choices = {"sliding", "tumbling", "session"},
       .example = "tumbling",
       .doc =
           "sliding: every span (t - timespan, t] of event time. tumbling: spans that follow one "
           "another from 1970 on. session: events of a group with less than the timespan "
           "between them. The last two are decided when they close."},
      {.path = "emit",
       .type = OptionType::kEnum,
       .default_text = "early",
       .choices = {"early", "watermark"},
       .example = "watermark",
       .doc = "early: an incident is written as soon as its condition holds, where later events "
              "cannot make it false. watermark: when nothing older can come; the same to the last "
              "byte in any order of arrival."},
      {.path = "reset",
       .type = OptionType::kBool,
       .default_text = "false",
       .example = "true",
       .doc = "Start anew behind each firing: the events of one incident count for no other. "
              "Decided at the watermark."},
      {.path = "max_episode",
       .type = OptionType::kDuration,
       .min = kSecondNs,
       .max = 3'660 * kDayNs,
       .example = "12h",
       .doc = "An incident that lasts longer than this is ended and a new one begun. Default: 24h, "
              "or the timespan where that is longer."},
      {.path = "suppress",
       .type = OptionType::kDuration,
       .default_text = "0s",
       .min = 0,
       .max = 366 * kDayNs,
       .example = "1h",
       .doc =
           "After an incident, further ones of the same group within this time are only counted. "
           "Decided at the watermark."},
      {.path = "missing",
       .type = OptionType::kEnum,
       .default_text = "leave_out",
       .choices = {"leave_out", "group"},
       .example = "group",
       .doc = "Events without a field of group-by: left out and counted, or a group of their own."},
      {.path = "evidence_max",
       .type = OptionType::kInt,
       .unit = "events",
       .default_text = "16",
       .min = 1,
       .max = 1'000,
       .example = "50",
       .doc = "Events listed in one incident; those beyond are counted."},
      {.path = "events_max",
       .type = OptionType::kInt,
       .unit = "events",
       .default_text = "1000000",
       .min = 1,
       .max = 100'000'000,
       .example = "100000",
       .doc = "Events of one group kept within a timespan; those beyond are left out and counted."},
      {.path = "groups_max",
       .type = OptionType::kInt,
       .unit = "groups",
       .default_text = "10000000",
       .min = 1,
       .max = 1'000'000'000,
       .example = "1000000",
       .doc =
           "Groups of one shard with events in three neighbouring timespans (each counted once in "
           "each). Beyond, an event of a group that has none less than a timespan away is left "
           "out and counted as groups_capped; groups that are there go on."},
      {.path = "values_max",
       .type = OptionType::kInt,
       .unit = "values",
       .default_text = "100000",
       .min = 100,
       .max = 10'000'000,
       .example = "10000",
       .doc = "value_count: distinct values of one window that are counted exactly; beyond, a "
              "sketch of as many estimates them, and the alert says how well."},
      {.path = "tie",
       .type = OptionType::kEnum,
       .default_text = "offset",
       .choices = {"offset", "time"},
       .example = "time",
       .doc = "temporal_ordered: events of one nanosecond are ordered by source, partition and "
              "offset, or (time) do not follow one another at all."},
  };
  return options;
}

CorrelationSpec::CorrelationSpec(CorrelationParts parts)
    : correlation_(std::move(parts.correlation)), options_(parts.options) {
  rule_ = std::move(parts.info);
  semantic_hash_ = std::move(parts.semantic_hash);
  emits_alerts_ = !parts.mute;
  pooled_results_ = std::move(parts.results);
  for (CorrelationInput& from : parts.inputs) {
    InputSpec& input = inputs_.emplace_back();
    input.name = correlation_.rules[from.from.reference].text;
    input.title = std::move(from.title);
    input.source = from.from.source;
    input.from_operator = from.from.from_operator;
    input.key_fields = std::move(from.key_fields);
    input.keep_missing = options_.keep_missing;
    input.fields = std::move(from.fields);
    input.selection = from.from.selection;
    references_.push_back(from.from.reference);
    std::vector<int>& positions = value_positions_.emplace_back();
    for (const std::string& field : from.value_fields)
      positions.push_back(static_cast<int>(
          std::find(input.fields.begin(), input.fields.end(), field) - input.fields.begin()));
  }
  for (const Comparison& one : correlation_.comparisons) {
    threshold_ += fmt::format("{}{} {}", threshold_.empty() ? "" : ", ",
                              ComparisonOperatorName(one.op), one.decimal);
  }
}

EpisodeOptions CorrelationSpec::episodes() const {
  EpisodeOptions episodes;
  episodes.span = timespan();
  episodes.step = std::max<DurationNs>(1, timespan() / 4);
  episodes.max_episode = options_.max_episode;
  episodes.suppress = options_.suppress;
  episodes.reset = options_.reset;
  episodes.early = options_.early && !options_.reset && options_.suppress == 0;
  episodes.evidence_max = options_.evidence_max;
  return episodes;
}

std::string CorrelationSpec::GroupText(const Incident& incident) const {
  if (correlation_.group_by.empty()) return "";
  std::string names;
  for (const PlacedText& field : correlation_.group_by)
    names += (names.empty() ? "" : ", ") + field.text;
  return fmt::format(" with the same {} ({})", names, KeyText(incident.key));
}

std::string CorrelationSpec::WindowText() const {
  const std::string span = DurationText(timespan());
  return options_.window == CorrelationWindow::kSession
             ? fmt::format("in one session, less than {} between events", span)
             : "within " + span;
}

DurationNs CorrelationSpec::WindowMax() const {
  const bool session = options_.window == CorrelationWindow::kSession;
  return session ? std::max(options_.max_episode, timespan()) : timespan();
}

void CheckCorrelation(const CorrelationRule& rule, Diagnostics& diagnostics) {
  const int errors = diagnostics.errors();
  CorrelationParts parts;
  parts.correlation = rule;
  parts.options = ReadOptions(rule, diagnostics);
  if (diagnostics.errors() == errors) MakeSpec(std::move(parts), diagnostics);
  if (AlwaysHolds(rule))
    diagnostics.Warning(rule.condition_where, "the condition always holds",
                        "every window is an incident");
}

std::unique_ptr<CorrelationSpec> MakeCorrelation(const RuleSet& rules, CorrelationPlan plan,
                                                 std::span<const std::string> hashes,
                                                 Diagnostics& diagnostics) {
  const RuleEntry& entry = rules.entries[plan.entry];
  const int errors = diagnostics.errors();
  CorrelationParts parts;
  parts.correlation = entry.rule.correlation();
  parts.info = InfoOf(entry);
  parts.mute = entry.mute;
  parts.options = ReadOptions(parts.correlation, diagnostics);
  parts.inputs = std::move(plan.inputs);
  parts.results = std::move(plan.results);
  parts.semantic_hash = Sha256Hex(Normalised(entry, parts, hashes));
  if (diagnostics.errors() > errors) return nullptr;
  return MakeSpec(std::move(parts), diagnostics);
}

}  // namespace bongsu::sigma
