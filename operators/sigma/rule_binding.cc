#include "operators/sigma/rule_binding.h"

#include <fmt/format.h>

#include <algorithm>

#include "state/check.h"
#include "state/string_map.h"

namespace bongsu::sigma {
namespace {

// A detection with its filters, for those who ask one selection alone.
class FilteredSelection : public Selection {
 public:
  FilteredSelection(std::shared_ptr<const Selection> detection, std::vector<BoundFilter> filters)
      : detection_(std::move(detection)), filters_(std::move(filters)) {
    fields_ = detection_->fields();
    normal_form_ = detection_->normal_form();
    for (const BoundFilter& filter : filters_) {
      for (const std::string& field : filter.selection->fields()) {
        if (std::find(fields_.begin(), fields_.end(), field) == fields_.end())
          fields_.push_back(field);
      }
      normal_form_ +=
          fmt::format(" {}({})", filter.keep ? "keep" : "exclude", filter.selection->normal_form());
    }
  }
  bool Matches(const Event& event) const override {
    return detection_->Matches(event) &&
           std::all_of(filters_.begin(), filters_.end(), [&](const BoundFilter& filter) {
             return filter.selection->Matches(event) == filter.keep;
           });
  }
  const std::vector<std::string>& fields() const override { return fields_; }
  const std::string& normal_form() const override { return normal_form_; }

 private:
  std::shared_ptr<const Selection> detection_;
  std::vector<BoundFilter> filters_;
  std::vector<std::string> fields_;
  std::string normal_form_;
};

void AddField(const std::string& field, std::vector<std::string>* fields) {
  if (field == kAllValuesField) return;
  if (std::find(fields->begin(), fields->end(), field) == fields->end()) fields->push_back(field);
}

class Binder {
 public:
  Binder(const RuleSet& rules, std::span<const SourceShape> sources, Diagnostics& diagnostics)
      : rules_(rules), sources_(sources), diagnostics_(diagnostics) {
    binding_.sources.resize(sources.size());
    binding_.specs.resize(rules.entries.size());
  }

  RuleBinding Bind() {
    for (size_t source = 0; source < sources_.size(); ++source) {
      filters_.assign(rules_.entries.size(), nullptr);
      groups_.clear();
      matcher_ = {};
      for (size_t i = 0; i < rules_.entries.size(); ++i) {
        if (rules_.entries[i].rule.kind() == RuleKind::kDetection) BindOne(source, i);
      }
      SourceRules& rules = binding_.sources[source];
      if (!rules.rules.empty())
        rules.matcher = matcher_.Build(sources_[source].fields->Find(kAllValuesField));
    }
    for (size_t i = 0; i < rules_.entries.size(); ++i) {
      if (rules_.entries[i].rule.kind() == RuleKind::kDetection && binding_.specs[i] == nullptr)
        binding_.unbound.push_back(static_cast<uint32_t>(i));
    }
    return std::move(binding_);
  }

 private:
  void BindOne(size_t source, size_t index) {
    const RuleEntry& entry = rules_.entries[index];
    const SourceShape& shape = sources_[source];
    const RuleLogsource& logsource = entry.rule.detection().logsource;
    std::string why;
    if (!LogSourceFits(*shape.log_source, logsource, &why)) {
      binding_.sources[source].conflicts.emplace_back(index, std::move(why));
      return;
    }
    Node detection = entry.detection;
    BindLogSource(*shape.log_source, logsource, &detection);
    BoundRule bound;
    bound.entry = static_cast<uint32_t>(index);
    bound.mute = entry.mute;
    bound.detection = CompileSelection(detection, *shape.fields, diagnostics_);
    if (bound.detection == nullptr) return;  // reported; the rule itself compiled when it was read
    for (const uint32_t filter : entry.filters) {
      std::shared_ptr<const Selection>& compiled = filters_[filter];
      if (compiled == nullptr)
        compiled = CompileSelection(rules_.entries[filter].detection, *shape.fields, diagnostics_);
      if (compiled == nullptr) return;
      bound.filters.push_back(
          {filter, rules_.entries[filter].filter_condition == FilterCondition::kKeep, compiled});
    }
    bound.whole = std::make_shared<FilteredSelection>(bound.detection, bound.filters);
    AddToSpec(shape, entry, index, &bound);
    AddToMatcher(source, logsource, bound);
    binding_.sources[source].rules.push_back(std::move(bound));
  }

  void AddToMatcher(size_t source, const RuleLogsource& logsource, const BoundRule& bound) {
    const auto [it, added] = groups_.try_emplace(LogSourceText(logsource), 0);
    if (added) {
      const Node guard = LogSourceGuard(*sources_[source].log_source, logsource);
      it->second = matcher_.Group(
          guard.is_null() ? nullptr
                          : CompileSelection(guard, *sources_[source].fields, diagnostics_));
    }
    matcher_.Rule(it->second, bound.detection);
  }

  void AddToSpec(const SourceShape& shape, const RuleEntry& entry, size_t index, BoundRule* bound) {
    std::unique_ptr<RuleSpec>& spec = binding_.specs[index];
    if (spec == nullptr) spec = std::make_unique<RuleSpec>(entry, index);
    InputSpec input;
    input.name = "event";
    input.source = shape.name;
    input.selection = bound->whole;
    // What the rule says, then what it read, then what makes an alert readable.
    const Metadata& metadata = entry.rule.metadata;
    for (const std::string& field : metadata.output_fields) AddField(field, &input.fields);
    for (const std::string& field : metadata.fields) AddField(field, &input.fields);
    for (const std::string& field : entry.matched_fields) AddField(field, &input.fields);
    for (const std::string& field : shape.default_fields) AddField(field, &input.fields);
    for (const std::string& field : input.fields)
      bound->payload_slots.push_back(shape.fields->Slot(field));
    bound->spec = spec.get();
    bound->port = spec->AddInput(std::move(input));
  }

  const RuleSet& rules_;
  std::span<const SourceShape> sources_;
  Diagnostics& diagnostics_;
  RuleBinding binding_;
  // Of the source at hand.
  std::vector<std::shared_ptr<const Selection>> filters_;  // by entry
  StringMap<uint32_t> groups_;                             // by log source
  RuleMatcher::Builder matcher_;
};

}  // namespace

RuleSpec::RuleSpec(const RuleEntry& entry, size_t index) : index_(index) {
  rule_ = InfoOf(entry);
  semantic_hash_ = entry.semantic_hash;
  emits_alerts_ = !entry.mute;
  why_ = fmt::format("one event met the detection of '{}'", rule_.title);
  const Node* condition = entry.detection.Find("condition");
  if (condition == nullptr) return;
  for (const Node& one : condition->items) branches_.push_back(one.scalar);
}

uint8_t RuleSpec::AddInput(InputSpec input) {
  BONGSU_CHECK(inputs_.size() < kBoundSourcesMax);
  inputs_.push_back(std::move(input));
  return static_cast<uint8_t>(inputs_.size() - 1);
}

std::string RuleSpec::Why(const Incident& incident) const {
  return incident.condition.empty() ? why_ : fmt::format("{}: '{}'", why_, incident.condition);
}

RuleBinding BindRules(const RuleSet& rules, std::span<const SourceShape> sources,
                      Diagnostics& diagnostics) {
  BONGSU_CHECK(sources.size() <= kBoundSourcesMax);
  return Binder(rules, sources, diagnostics).Bind();
}

const BoundFilter* RemovedBy(const BoundRule& rule, const Event& event) {
  for (const BoundFilter& filter : rule.filters) {
    if (filter.selection->Matches(event) != filter.keep) return &filter;
  }
  return nullptr;
}

std::vector<ReferenceInput> ReferenceInputs(const RuleSet& rules, const RuleBinding& binding,
                                            std::span<const SourceShape> sources, size_t entry) {
  std::vector<ReferenceInput> inputs;
  const RuleEntry& correlation = rules.entries[entry];
  for (size_t reference = 0; reference < correlation.references.size(); ++reference) {
    const uint32_t target = correlation.references[reference];
    const RuleEntry& rule = rules.entries[target];
    if (rule.rule.kind() == RuleKind::kCorrelation) {
      ReferenceInput& input = inputs.emplace_back();
      input.reference = reference;
      input.source = RuleName(rule);
      input.from_operator = true;
      continue;
    }
    for (size_t source = 0; source < sources.size(); ++source) {
      for (const BoundRule& bound : binding.sources[source].rules) {
        if (bound.entry != target) continue;
        ReferenceInput& input = inputs.emplace_back();
        input.reference = reference;
        input.source = sources[source].name;
        input.selection = bound.whole;
        input.semantic_hash = rule.semantic_hash;
        input.fields = sources[source].fields;
        input.default_fields = sources[source].default_fields;
      }
    }
  }
  return inputs;
}

const std::string& RuleName(const RuleEntry& entry) { return entry.rule.metadata.label(); }

RuleInfo InfoOf(const RuleEntry& entry) {
  const Metadata& metadata = entry.rule.metadata;
  RuleInfo info;
  info.name = metadata.label();
  info.title = metadata.title;
  info.description = metadata.description;
  info.type = entry.rule.kind() == RuleKind::kCorrelation
                  ? std::string(CorrelationTypeName(entry.rule.correlation().type))
                  : "detection";
  if (!metadata.level.empty()) info.level = metadata.level;
  info.tags = metadata.tags;
  if (entry.rule.kind() == RuleKind::kCorrelation) {
    for (const PlacedText& field : entry.rule.correlation().group_by)
      info.group_by.push_back(field.text);
  }
  info.metadata = std::make_shared<const Metadata>(metadata);
  return info;
}

}  // namespace bongsu::sigma
