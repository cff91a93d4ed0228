#include "operators/sigma/log_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "operators/sigma/selection.h"

namespace bongsu::sigma {
namespace {

constexpr std::array<std::string_view, 3> kLogSourceParts = {"category", "product", "service"};

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

void ReadCase(const Node& node, std::string_view part, LogSourcePart* out,
              Diagnostics& diagnostics) {
  const Node* otherwise = node.Find("otherwise");
  if (otherwise != nullptr && node.entries.size() == 1 && otherwise->is_scalar() &&
      (otherwise->scalar == "none" || otherwise->scalar == "unknown")) {
    out->otherwise_none = otherwise->scalar == "none";
    return;
  }
  const Node* is = node.Find("is");
  const Node* when = node.Find("when");
  const bool good = is != nullptr && is->is_scalar() && !is->scalar.empty() && when != nullptr &&
                    (when->is_map() || when->is_sequence()) && node.entries.size() == 2;
  if (!good) {
    diagnostics.Error(node.where,
                      fmt::format("a case of '{}' must name a value and a search", part),
                      "{is: security, when: {Channel: Security}}, or otherwise: none or unknown");
    return;
  }
  out->cases.push_back({is->scalar, *when});
}

void ReadPart(const Node& node, std::string_view name, LogSourcePart* part,
              Diagnostics& diagnostics) {
  *part = LogSourcePart{};
  if (node.is_scalar() && node.scalar == "none") {
    part->otherwise_none = true;
  } else if (node.is_scalar() && !node.scalar.empty()) {
    part->cases.push_back({node.scalar, Node{}});
  } else if (node.is_sequence()) {
    for (const Node& item : node.items) ReadCase(item, name, part, diagnostics);
  } else {
    diagnostics.Error(node.where, fmt::format("'{}' must be a text or a list of cases", name),
                      "for example: service: [{is: security, when: {Channel: Security}}]");
  }
}

bool Unconditional(const LogSourceCase& one) { return one.when.is_null(); }

// Whether some event can have `value` in this part.
bool PartFits(const LogSourcePart& part, const std::string& value) {
  if (value.empty() || !part.mapped()) return true;
  bool others = !part.otherwise_none;
  for (const LogSourceCase& one : part.cases) {
    if (SameLogSourcePart(one.is, value)) return true;
    if (Unconditional(one)) others = false;
  }
  return others;
}

// The search of all of `cases` together, a list of maps.
Node AnyOf(const std::vector<const LogSourceCase*>& cases) {
  Node any;
  any.kind = NodeKind::kSequence;
  for (const LogSourceCase* one : cases) {
    any.where = one->when.where;
    if (one->when.is_map()) any.items.push_back(one->when);
    for (const Node& item : one->when.items) any.items.push_back(item);
  }
  return any;
}

void BindPart(const LogSourcePart& part, std::string_view name, const std::string& value,
              Node* detection) {
  if (value.empty() || !part.mapped()) return;
  std::vector<const LogSourceCase*> of_value;
  std::vector<const LogSourceCase*> all;
  for (const LogSourceCase& one : part.cases) {
    if (SameLogSourcePart(one.is, value) && Unconditional(one)) return;
    if (SameLogSourcePart(one.is, value)) of_value.push_back(&one);
    all.push_back(&one);
  }
  std::string search = fmt::format("_logsource_{}", name);
  // The rule may have a search of this name, which must not be taken for ours.
  while (detection->Find(search) != nullptr) search += '_';
  const bool known = !of_value.empty();
  if (!known && all.empty()) return;
  AddSearch(search, AnyOf(known ? of_value : all), detection);
  AndCondition(known ? search : "not " + search, detection);
}

}  // namespace

bool SameLogSourcePart(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return Lower(x) == Lower(y); });
}

void ReadLogSourceMap(const Node& node, LogSourceMap* map, Diagnostics& diagnostics) {
  if (!node.is_map()) {
    diagnostics.Error(node.where, "'logsource' must be a map of category, product and service",
                      "logsource: {product: windows}");
    return;
  }
  for (const auto& [key, value] : node.entries) {
    LogSourcePart* part = key.scalar == "category"  ? &map->category
                          : key.scalar == "product" ? &map->product
                          : key.scalar == "service" ? &map->service
                                                    : nullptr;
    if (part == nullptr) {
      diagnostics.Error(key.where, fmt::format("unknown key '{}' in 'logsource'", key.scalar),
                        NearestHint(key.scalar, kLogSourceParts));
      continue;
    }
    ReadPart(value, key.scalar, part, diagnostics);
  }
}

bool LogSourceFits(const LogSourceMap& map, const RuleLogsource& rule, std::string* why) {
  const struct {
    std::string_view name;
    const LogSourcePart& part;
    const std::string& value;
  } parts[] = {{"product", map.product, rule.product},
               {"category", map.category, rule.category},
               {"service", map.service, rule.service}};
  for (const auto& one : parts) {
    if (PartFits(one.part, one.value)) continue;
    *why = fmt::format("{} {}", one.name, one.value);
    return false;
  }
  return true;
}

void BindLogSource(const LogSourceMap& map, const RuleLogsource& rule, Node* detection) {
  BindPart(map.product, "product", rule.product, detection);
  BindPart(map.category, "category", rule.category, detection);
  BindPart(map.service, "service", rule.service, detection);
}

Node LogSourceGuard(const LogSourceMap& map, const RuleLogsource& rule) {
  Node bound;
  bound.kind = NodeKind::kMap;
  Node condition;
  condition.kind = NodeKind::kScalar;
  AddSearch("condition", condition, &bound);
  BindLogSource(map, rule, &bound);
  if (bound.entries.size() == 1) return Node{};
  // "() and _logsource_category and ...": there is no detection in front.
  std::string& text = bound.entries[0].second.scalar;
  std::string terms;
  for (const auto& [part, value] :
       {std::pair<std::string_view, const std::string&>{"product", rule.product},
        {"category", rule.category},
        {"service", rule.service}}) {
    const std::string search = fmt::format("_logsource_{}", part);
    if (bound.Find(search) == nullptr) continue;
    const bool negated = text.find("not " + search) != std::string::npos;
    terms += fmt::format("{}{}{}", terms.empty() ? "" : " and ", negated ? "not " : "", search);
  }
  text = terms;
  return bound;
}

void AddSearch(std::string name, const Node& search, Node* detection) {
  Node key;
  key.kind = NodeKind::kScalar;
  key.scalar = std::move(name);
  key.where = search.where;
  detection->entries.emplace_back(std::move(key), search);
}

void AndCondition(std::string_view term, Node* detection) {
  for (auto& [key, value] : detection->entries) {
    if (key.scalar != "condition") continue;
    std::vector<Node*> conditions;
    if (value.is_scalar()) conditions.push_back(&value);
    for (Node& item : value.items) conditions.push_back(&item);
    for (Node* condition : conditions)
      condition->scalar = fmt::format("({}) and {}", condition->scalar, term);
  }
}

void CheckSearch(const Node& search, Diagnostics& diagnostics) {
  if (search.is_null()) return;
  Node detection;
  detection.kind = NodeKind::kMap;
  detection.where = search.where;
  AddSearch("search", search, &detection);
  Node condition;
  condition.kind = NodeKind::kScalar;
  condition.scalar = "search";
  condition.where = search.where;
  AddSearch("condition", condition, &detection);
  FieldTable fields;
  CompileSelection(detection, fields, diagnostics);
}

std::string LogSourceText(const RuleLogsource& rule) {
  const auto text = [](const std::string& part) {
    return part.empty() ? std::string_view("-") : part;
  };
  return fmt::format("{} / {} / {}", text(rule.product), text(rule.category), text(rule.service));
}

}  // namespace bongsu::sigma
