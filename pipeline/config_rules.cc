#include "pipeline/config_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>

#include "operators/sigma/correlation.h"

namespace bongsu {
namespace {

void ReadPlaceholders(const Node& node, sigma::Placeholders* out, Diagnostics& diagnostics) {
  for (const auto& [name, value] : node.entries) {
    std::vector<std::string>& values = (*out)[name.scalar];
    if (value.is_scalar()) values.push_back(value.scalar);
    for (const Node& item : value.items) {
      if (item.is_scalar()) values.push_back(item.scalar);
    }
    const bool good = value.is_scalar() || (value.is_sequence() && !value.items.empty() &&
                                            values.size() == value.items.size());
    if (!good)
      diagnostics.Error(value.where,
                        fmt::format("'{}' must be a text or a list of texts", name.scalar),
                        "for example Administrators: [adm_*, root]");
    // `contains` of it would be met by everything.
    if (std::find(values.begin(), values.end(), "") != values.end())
      diagnostics.Error(value.where, fmt::format("'{}' has an empty value", name.scalar),
                        "leave it out");
  }
}

// Warns of sources whose log source nothing is known of: every rule is tried on them.
void WarnUnmapped(const Config& config, Diagnostics& diagnostics) {
  for (const SourceConfig& source : config.sources) {
    if (source.format.logsource.mapped()) continue;
    diagnostics.Warning(
        source.where,
        fmt::format(
            "the format '{}' says nothing of Sigma log sources: every rule is tried on '{}'",
            source.format.name, source.name),
        "write format: {base: ..., logsource: {product: ...}}");
  }
}

// The operators of the rule set's correlations, lowest level first.
void AddCorrelations(std::span<const sigma::SourceShape> shapes, Config* config,
                     Diagnostics& diagnostics) {
  const sigma::RuleSet& rules = *config->rules;
  std::vector<std::string> hashes(rules.entries.size());
  for (sigma::CorrelationPlan& plan :
       sigma::PlanCorrelations(rules, *config->binding, shapes, diagnostics)) {
    const sigma::RuleEntry& entry = rules.entries[plan.entry];
    const uint32_t index = plan.entry;
    auto spec = sigma::MakeCorrelation(rules, std::move(plan), hashes, diagnostics);
    if (spec == nullptr) continue;
    hashes[index] = spec->semantic_hash();
    for (const SourceConfig& source : config->sources) {
      if (source.name == spec->rule().name)
        diagnostics.Error(entry.rule.metadata.where,
                          fmt::format("a source is called '{}', too", source.name), "");
    }
    for (const auto& other : config->operators) {
      if (other->rule().name == spec->rule().name)
        diagnostics.Error(entry.rule.metadata.where,
                          fmt::format("two operators are called '{}'", other->rule().name), "");
    }
    FieldTable results;
    for (const ResultField& field : spec->pooled_results()) results.Slot(field.name);
    for (const char* field : {"rule", "level", "key"}) results.Slot(field);
    config->operators.push_back(std::move(spec));
    config->operator_levels.push_back(entry.level);
    config->result_fields.push_back(std::move(results));
  }
}

}  // namespace

void LoadRules(const OptionReader& top, const std::function<std::string(const std::string&)>& path,
               const std::function<std::vector<std::string>(const std::string&)>& default_fields,
               Config* config, Diagnostics& diagnostics) {
  if (!top.has("rules") && !top.has("rules_topic")) {
    for (const char* key :
         {"rules_strict", "rules_skip_status", "placeholders", "filter_condition"}) {
      if (top.has(key))
        diagnostics.Error(top.where(key), fmt::format("'{}' is for rules, and there are none", key),
                          "add rules: [rules/]");
    }
    return;
  }
  std::vector<std::string> paths;
  for (const std::string& one : top.StringList("rules")) paths.push_back(path(one));
  sigma::RuleSetOptions options;
  // A rule that one instance leaves out, all instances would have to: a set is taken whole.
  options.strict = top.Bool("rules_strict") ||
                   (config->exchange == ExchangeMode::kKafka && !config->rules_topic.empty());
  options.skip_status = top.has("rules_skip_status")
                            ? top.StringList("rules_skip_status")
                            : std::vector<std::string>{"deprecated", "unsupported"};
  if (const Node* node = top.node("placeholders"); node != nullptr && node->is_map())
    ReadPlaceholders(*node, &options.placeholders, diagnostics);
  options.filter_condition = top.String("filter_condition") == "exclude"
                                 ? sigma::FilterCondition::kExclude
                                 : sigma::FilterCondition::kKeep;
  sigma::RuleTexts texts;
  if (config->topic_rules != nullptr) {
    for (const auto& [key, text] : config->topic_rules->texts)
      texts.emplace(fmt::format("{}[{}]", config->rules_topic, key), text);
  }
  config->rules = std::make_unique<const sigma::RuleSet>(
      sigma::LoadRuleSet(paths, texts, options, diagnostics));
  if (diagnostics.has_errors()) return;
  WarnUnmapped(*config, diagnostics);
  std::vector<sigma::SourceShape> shapes;
  for (SourceConfig& source : config->sources) {
    sigma::SourceShape& shape = shapes.emplace_back();
    shape.name = source.name;
    shape.log_source = &source.format.logsource;
    shape.fields = &source.fields;
    shape.default_fields = default_fields(source.name);
    // A rule has no place to say which fields its alerts carry; the sink has.
    if (shape.default_fields.empty()) shape.default_fields = config->alerts.fields;
  }
  config->binding = std::make_unique<const sigma::RuleBinding>(
      sigma::BindRules(*config->rules, shapes, diagnostics));
  AddCorrelations(shapes, config, diagnostics);
}

std::string RulesText(const Config& config) {
  if (config.rules == nullptr) return "";
  const sigma::RuleSet& rules = *config.rules;
  std::string text = fmt::format("rules: {}\n", rules.Summary());
  std::map<std::string, size_t> left_out;
  for (const sigma::SkippedRule& skipped : rules.skipped) {
    text += fmt::format("  left out: {}{} ({}:{}): {}\n",
                        skipped.label.empty() ? "" : skipped.label + " ", skipped.title,
                        skipped.where.file, skipped.where.line, skipped.why);
  }
  for (size_t i = 0; i < config.sources.size(); ++i) {
    const sigma::SourceRules& source = config.binding->sources[i];
    text += fmt::format("source {}: {} rules apply, {} are for other log sources\n",
                        config.sources[i].name, source.rules.size(), source.conflicts.size());
  }
  std::map<std::string, size_t> unbound;
  for (const uint32_t index : config.binding->unbound)
    ++unbound[sigma::LogSourceText(rules.entries[index].rule.detection().logsource)];
  if (!unbound.empty())
    text += fmt::format("{} rules can never fire: no source has their log source\n",
                        config.binding->unbound.size());
  for (const auto& [logsource, count] : unbound)
    text += fmt::format("  {:>5}  {}\n", count, logsource);
  for (const sigma::RuleEntry& entry : rules.entries) {
    if (entry.rule.kind() != sigma::RuleKind::kFilter) continue;
    text += fmt::format(
        "filter {}: {} what its condition finds, in {} rules\n", sigma::RuleName(entry),
        entry.filter_condition == sigma::FilterCondition::kKeep ? "keeps only" : "removes",
        entry.filtered.size());
  }
  return text;
}

}  // namespace bongsu
