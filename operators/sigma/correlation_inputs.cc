#include "operators/sigma/correlation_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace bongsu::sigma {
namespace {

// A port's number is a byte.
constexpr size_t kPortsMax = 256;

// A field as a correlation above asks for it.
struct Wanted {
  std::string name;
  std::vector<uint32_t> scopes;  // the correlations whose aliases it may be, outermost first
  std::string label;             // how the result calls it
};

void AddOnce(const std::string& field, std::vector<std::string>* fields) {
  if (std::find(fields->begin(), fields->end(), field) == fields->end()) fields->push_back(field);
}

class Planner {
 public:
  Planner(const RuleSet& rules, const RuleBinding& binding, std::span<const SourceShape> sources,
          Diagnostics& diagnostics)
      : rules_(rules),
        binding_(binding),
        sources_(sources),
        diagnostics_(diagnostics),
        requests_(rules.entries.size()) {}

  std::vector<CorrelationPlan> Run() {
    std::vector<uint32_t> by_level;
    for (uint32_t i = 0; i < rules_.entries.size(); ++i) {
      if (rules_.entries[i].rule.kind() == RuleKind::kCorrelation) by_level.push_back(i);
    }
    std::stable_sort(by_level.begin(), by_level.end(), [this](uint32_t a, uint32_t b) {
      return rules_.entries[a].level < rules_.entries[b].level;
    });
    std::vector<std::vector<ReferenceInput>> inputs(rules_.entries.size());
    for (const uint32_t entry : by_level) inputs[entry] = Inputs(entry, inputs);
    std::vector<CorrelationPlan> plans;
    // A correlation's readers are of higher levels: what they want is known when its turn comes.
    for (auto it = by_level.rbegin(); it != by_level.rend(); ++it) {
      if (!inputs[*it].empty()) plans.push_back(Plan(*it, inputs[*it]));
    }
    std::reverse(plans.begin(), plans.end());
    return plans;
  }

 private:
  const CorrelationRule& Correlation(uint32_t entry) const {
    return rules_.entries[entry].rule.correlation();
  }

  // The inputs that some source can bring events to; none: the correlation can never fire.
  std::vector<ReferenceInput> Inputs(uint32_t entry,
                                     const std::vector<std::vector<ReferenceInput>>& below) const {
    const RuleEntry& rule = rules_.entries[entry];
    std::vector<ReferenceInput> inputs = ReferenceInputs(rules_, binding_, sources_, entry);
    std::erase_if(inputs, [&](const ReferenceInput& input) {
      return input.from_operator && below[rule.references[input.reference]].empty();
    });
    std::string missing;
    for (size_t i = 0; i < rule.references.size(); ++i) {
      if (std::none_of(inputs.begin(), inputs.end(),
                       [&](const ReferenceInput& input) { return input.reference == i; }))
        missing += (missing.empty() ? "'" : ", '") + Correlation(entry).rules[i].text + "'";
    }
    if (!missing.empty())
      diagnostics_.Warning(
          Correlation(entry).where, fmt::format("no configured source has events for {}", missing),
          inputs.empty() ? "the correlation can never fire" : "it sees the other rules only");
    if (inputs.size() > kPortsMax) {
      diagnostics_.Error(
          Correlation(entry).where,
          fmt::format("the correlation has {} inputs: one for each rule and source", inputs.size()),
          fmt::format("at most {}", kPortsMax));
      inputs.clear();
    }
    return inputs;
  }

  bool IsNamed(uint32_t entry, const std::string& name) const {
    const Metadata& metadata = rules_.entries[entry].rule.metadata;
    return metadata.id == name || metadata.name == name;
  }

  // What the aliases of `scope` say of `name` for the rule `entry`; null where they say nothing.
  const std::string* Alias(uint32_t scope, const std::string& name, uint32_t entry) const {
    for (const CorrelationAlias& alias : Correlation(scope).aliases) {
      if (alias.alias.text != name) continue;
      for (const auto& [rule, field] : alias.fields) {
        if (IsNamed(entry, rule.text)) return &field.text;
      }
    }
    return nullptr;
  }

  // What an input of the rule `entry` calls the field.
  std::string FieldOf(uint32_t entry, Wanted wanted) {
    const bool detection = rules_.entries[entry].rule.kind() == RuleKind::kDetection;
    for (const uint32_t scope : wanted.scopes) {
      const std::string* field = Alias(scope, wanted.name, entry);
      if (field == nullptr) continue;
      if (detection) return *field;
      wanted = {*field, {}, ""};
      break;
    }
    if (detection) return wanted.name;
    wanted.scopes.push_back(entry);
    return Request(entry, std::move(wanted));
  }

  // A plain field has one meaning, whoever asks; an alias has that of its correlation.
  std::string Request(uint32_t entry, Wanted wanted) {
    wanted.label = wanted.name;
    for (const uint32_t scope : wanted.scopes) {
      const auto& aliases = Correlation(scope).aliases;
      if (std::none_of(aliases.begin(), aliases.end(), [&](const CorrelationAlias& alias) {
            return alias.alias.text == wanted.name;
          }))
        continue;
      wanted.label = fmt::format("{} of {}", wanted.name, RuleName(rules_.entries[scope]));
      break;
    }
    std::vector<Wanted>& requests = requests_[entry];
    if (std::none_of(requests.begin(), requests.end(),
                     [&](const Wanted& one) { return one.label == wanted.label; }))
      requests.push_back(wanted);
    return wanted.label;
  }

  CorrelationPlan Plan(uint32_t entry, const std::vector<ReferenceInput>& inputs) {
    const CorrelationRule& rule = Correlation(entry);
    const Metadata& metadata = rules_.entries[entry].rule.metadata;
    CorrelationPlan plan;
    plan.entry = entry;
    for (const Wanted& wanted : requests_[entry])
      plan.results.push_back({wanted.label, std::vector<int>(inputs.size(), -1)});
    for (size_t port = 0; port < inputs.size(); ++port) {
      CorrelationInput& input = plan.inputs.emplace_back();
      input.from = inputs[port];
      input.entry = rules_.entries[entry].references[input.from.reference];
      input.title = rules_.entries[input.entry].rule.metadata.title;
      for (const PlacedText& field : rule.fields)
        input.value_fields.push_back(FieldOf(input.entry, {field.text, {entry}, ""}));
      for (const PlacedText& field : rule.group_by)
        input.key_fields.push_back(FieldOf(input.entry, {field.text, {entry}, ""}));
      for (const std::string& field : input.value_fields) AddOnce(field, &input.fields);
      for (const std::string& field : input.key_fields) AddOnce(field, &input.fields);
      for (size_t i = 0; i < plan.results.size(); ++i) {
        const std::string field = FieldOf(input.entry, requests_[entry][i]);
        AddOnce(field, &input.fields);
        plan.results[i].positions[port] = static_cast<int>(
            std::find(input.fields.begin(), input.fields.end(), field) - input.fields.begin());
      }
      if (input.from.from_operator) {
        for (const char* field : {"rule", "level", "key"}) AddOnce(field, &input.fields);
        continue;
      }
      for (const std::string& field : metadata.output_fields) AddOnce(field, &input.fields);
      for (const std::string& field : metadata.fields) AddOnce(field, &input.fields);
      for (const std::string& field : input.from.default_fields) AddOnce(field, &input.fields);
      for (const std::string& field : input.fields) input.from.fields->Slot(field);
    }
    return plan;
  }

  const RuleSet& rules_;
  const RuleBinding& binding_;
  std::span<const SourceShape> sources_;
  Diagnostics& diagnostics_;
  std::vector<std::vector<Wanted>> requests_;  // by entry
};

}  // namespace

std::vector<CorrelationPlan> PlanCorrelations(const RuleSet& rules, const RuleBinding& binding,
                                              std::span<const SourceShape> sources,
                                              Diagnostics& diagnostics) {
  return Planner(rules, binding, sources, diagnostics).Run();
}

}  // namespace bongsu::sigma
