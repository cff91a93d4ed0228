#include "pipeline/plan.h"

#include <algorithm>
#include <numeric>

#include "state/check.h"

namespace bongsu {
namespace {

int SourceIndex(const Config& config, std::string_view name) {
  for (size_t i = 0; i < config.sources.size(); ++i) {
    if (config.sources[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

int OperatorIndex(const Config& config, std::string_view name) {
  for (size_t i = 0; i < config.operators.size(); ++i) {
    if (config.operators[i]->rule().name == name) return static_cast<int>(i);
  }
  return -1;
}

// Which of the source's rules `selection` is; -1: none, an operator's own.
int RuleIndex(const Config& config, size_t source, const sigma::Selection* selection) {
  if (config.binding == nullptr || selection == nullptr) return -1;
  const auto& rules = config.binding->sources[source].rules;
  const auto it = std::find_if(rules.begin(), rules.end(), [&](const sigma::BoundRule& rule) {
    return rule.whole.get() == selection;
  });
  return it == rules.end() ? -1 : static_cast<int>(it - rules.begin());
}

Feed MakeFeed(uint16_t op, uint8_t port, const InputSpec& input, const FieldTable& fields,
              const std::string& tenant) {
  Feed feed;
  feed.op = op;
  feed.port = port;
  feed.selection = input.selection.get();
  feed.key.tenant = tenant;
  feed.key.cased = input.cased;
  feed.key.keep_missing = input.keep_missing;
  for (const std::string& name : input.key_fields) feed.key.slots.push_back(fields.Find(name));
  for (const std::string& name : input.fields) feed.payload_slots.push_back(fields.Find(name));
  for (int slot : feed.key.slots) BONGSU_CHECK(slot >= 0);
  for (int slot : feed.payload_slots) BONGSU_CHECK(slot >= 0);
  return feed;
}

}  // namespace

Plan MakePlan(const Config& config) {
  Plan plan;
  plan.sources.resize(config.sources.size());
  plan.operators.resize(config.operators.size());
  for (size_t op = 0; op < config.operators.size(); ++op) {
    plan.operators[op].spec = config.operators[op].get();
    plan.operators[op].level = config.operator_levels[op];
    plan.levels = std::max(plan.levels, config.operator_levels[op] + 1);
    if (op < config.result_fields.size())
      plan.operators[op].result_fields = config.result_fields[op];
  }
  // A result belongs to the tenant of its operator's first input; lower levels are settled first.
  std::vector<size_t> by_level(config.operators.size());
  std::iota(by_level.begin(), by_level.end(), size_t{0});
  std::stable_sort(by_level.begin(), by_level.end(), [&](size_t a, size_t b) {
    return config.operator_levels[a] < config.operator_levels[b];
  });
  std::vector<std::string> tenants(config.operators.size());
  for (size_t op : by_level) {
    OperatorPlan& operator_plan = plan.operators[op];
    const std::vector<InputSpec>& inputs = operator_plan.spec->inputs();
    operator_plan.fed_by.assign(config.sources.size(), false);
    for (size_t port = 0; port < inputs.size(); ++port) {
      const InputSpec& input = inputs[port];
      const auto op16 = static_cast<uint16_t>(op);
      const auto port8 = static_cast<uint8_t>(port);
      operator_plan.port_from_operator.push_back(input.from_operator);
      if (input.from_operator) {
        const int source = OperatorIndex(config, input.source);
        BONGSU_CHECK(source >= 0);
        OperatorPlan& from = plan.operators[static_cast<size_t>(source)];
        operator_plan.port_source.push_back(source);
        operator_plan.allowed_lateness.push_back(0);
        operator_plan.results_behind =
            std::max(operator_plan.results_behind,
                     AddTime(from.spec->first_result_delay(), from.results_behind));
        for (size_t i = 0; i < from.fed_by.size(); ++i) {
          if (from.fed_by[i]) operator_plan.fed_by[i] = true;
        }
        if (port == 0) tenants[op] = tenants[static_cast<size_t>(source)];
        from.readers.push_back(
            MakeFeed(op16, port8, input, from.result_fields, tenants[static_cast<size_t>(source)]));
      } else {
        const int source = SourceIndex(config, input.source);
        BONGSU_CHECK(source >= 0);
        const SourceConfig& from = config.sources[static_cast<size_t>(source)];
        if (port == 0) tenants[op] = from.tenant;
        operator_plan.port_source.push_back(source);
        operator_plan.fed_by[static_cast<size_t>(source)] = true;
        operator_plan.allowed_lateness.push_back(from.allowed_lateness);
        Feed feed = MakeFeed(op16, port8, input, from.fields, from.tenant);
        feed.rule = RuleIndex(config, static_cast<size_t>(source), feed.selection);
        plan.sources[static_cast<size_t>(source)].feeds.push_back(std::move(feed));
      }
    }
  }
  return plan;
}

}  // namespace bongsu
