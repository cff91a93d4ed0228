#include "operators/sigma/selection.h"

#include <fmt/format.h>

#include <algorithm>

namespace bongsu::sigma {
namespace {

std::string NormalForm(const Search& search) {
  std::vector<std::string> forms;
  for (const auto& items : search.maps) {
    std::vector<std::string> parts;
    for (const Item& item : items) parts.push_back(item.normal_form);
    std::sort(parts.begin(), parts.end());
    forms.push_back(fmt::format("{{{}}}", fmt::join(parts, "\x1e")));
  }
  std::sort(forms.begin(), forms.end());
  return fmt::format("({})", fmt::join(forms, "|"));
}

std::string NormalForm(const Condition& node, const std::vector<Search>& searches) {
  if (node.kind == Condition::kSearch)
    return NormalForm(searches[static_cast<size_t>(node.search)]);
  if (node.kind == Condition::kNot) return "not " + NormalForm(node.operands[0], searches);
  std::vector<std::string> parts;
  for (const Condition& operand : node.operands) parts.push_back(NormalForm(operand, searches));
  std::sort(parts.begin(), parts.end());
  parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
  return fmt::format("[{}]", fmt::join(parts, node.kind == Condition::kAnd ? " and " : " or "));
}

void AddOnce(const std::string& field, std::vector<std::string>* fields) {
  if (std::find(fields->begin(), fields->end(), field) == fields->end()) fields->push_back(field);
}

bool CompileMap(const Node& map, FieldTable& fields, Search* search, Diagnostics& diagnostics) {
  if (map.entries.empty()) {
    diagnostics.Error(map.where, "an empty map chooses nothing",
                      "fields and values, or leave it out");
    return false;
  }
  auto& items = search->maps.emplace_back();
  bool good = true;
  for (const auto& [key, value] : map.entries) {
    std::optional<Item> item = CompileItem(key, value, fields, diagnostics);
    good = good && item.has_value();
    if (item) items.push_back(*std::move(item));
  }
  return good;
}

// Texts without a field: keywords, linked by OR.
bool CompileKeywords(std::vector<Node> texts, const SourceLocation& where, FieldTable& fields,
                     Search* search, Diagnostics& diagnostics) {
  Node key;
  key.kind = NodeKind::kScalar;
  key.where = where;
  Node list;
  list.kind = NodeKind::kSequence;
  list.where = where;
  list.items = std::move(texts);
  std::optional<Item> item = CompileItem(key, list, fields, diagnostics);
  if (!item) return false;
  search->maps.emplace_back().push_back(*std::move(item));
  return true;
}

bool CompileSearch(const Node& node, FieldTable& fields, Search* search, Diagnostics& diagnostics) {
  if (node.is_map()) return CompileMap(node, fields, search, diagnostics);
  if (node.is_scalar()) return CompileKeywords({node}, node.where, fields, search, diagnostics);
  if (!node.is_sequence() || node.items.empty()) {
    diagnostics.Error(node.where, "a search must be a map, a list of maps, or keywords",
                      "sel: {Field: value}");
    return false;
  }
  bool good = true;
  std::vector<Node> keywords;
  for (const Node& item : node.items) {
    if (item.is_map()) {
      good = CompileMap(item, fields, search, diagnostics) && good;
    } else {
      keywords.push_back(item);
    }
  }
  if (!keywords.empty())
    good = CompileKeywords(std::move(keywords), node.where, fields, search, diagnostics) && good;
  return good;
}

}  // namespace

bool Search::Matches(const Event& event) const {
  for (const auto& items : maps) {
    if (std::all_of(items.begin(), items.end(),
                    [&](const Item& item) { return item.Matches(event); }))
      return true;
  }
  return false;
}

Detection::Detection(std::vector<Search> searches, Condition condition, bool list)
    : searches_(std::move(searches)), condition_(std::move(condition)), list_(list) {
  for (const Search& search : searches_) {
    for (const auto& items : search.maps) {
      for (const Item& item : items) {
        AddOnce(item.field, &fields_);
        if (!item.modifiers.has(Modifier::kFieldRef)) continue;
        for (const ItemValue& value : item.values) AddOnce(value.text, &fields_);
      }
    }
  }
  normal_form_ = NormalForm(condition_, searches_);
}

bool Detection::Holds(const Condition& part, const Event& event) const {
  switch (part.kind) {
    case Condition::kSearch:
      return searches_[static_cast<size_t>(part.search)].Matches(event);
    case Condition::kNot:
      return !Holds(part.operands[0], event);
    case Condition::kAnd:
      return std::all_of(part.operands.begin(), part.operands.end(),
                         [&](const Condition& operand) { return Holds(operand, event); });
    case Condition::kOr:
      return std::any_of(part.operands.begin(), part.operands.end(),
                         [&](const Condition& operand) { return Holds(operand, event); });
  }
  return false;
}

int Detection::Branch(const Event& event) const {
  for (size_t i = 0; list_ && i < condition_.operands.size(); ++i) {
    if (Holds(condition_.operands[i], event)) return static_cast<int>(i);
  }
  return -1;
}

namespace {

void MarkAsked(const Condition& part, std::vector<bool>* asked) {
  if (part.kind == Condition::kSearch) (*asked)[static_cast<size_t>(part.search)] = true;
  for (const Condition& operand : part.operands) MarkAsked(operand, asked);
}

}  // namespace

std::vector<const Search*> Detection::unasked() const {
  std::vector<bool> asked(searches_.size(), false);
  MarkAsked(condition_, &asked);
  std::vector<const Search*> found;
  for (size_t i = 0; i < searches_.size(); ++i) {
    if (!asked[i]) found.push_back(&searches_[i]);
  }
  return found;
}

std::shared_ptr<const Detection> CompileSelection(const Node& detection, FieldTable& fields,
                                                  Diagnostics& diagnostics) {
  if (!detection.is_map()) {
    diagnostics.Error(detection.where, "a detection must be a map of searches and a condition",
                      "detection: {sel: {Field: value}, condition: sel}");
    return nullptr;
  }
  std::vector<Search> searches;
  Condition parsed;
  std::vector<std::string> names;
  const Node* condition = nullptr;
  bool good = true;
  for (const auto& [key, value] : detection.entries) {
    if (key.scalar == "condition") {
      condition = &value;
    } else if (key.scalar == "timeframe") {
      diagnostics.Error(key.where, "'timeframe' is no part of Sigma any more",
                        "use a correlation rule, or an operator");
      good = false;
    } else {
      names.push_back(key.scalar);
      Search& search = searches.emplace_back();
      search.name = key.scalar;
      search.where = key.where;
      good = CompileSearch(value, fields, &search, diagnostics) && good;
    }
  }
  if (condition == nullptr) {
    diagnostics.Error(detection.where, "a detection needs a condition",
                      "for example condition: selection");
    return nullptr;
  }
  if (condition->is_sequence()) {  // a list of conditions is their OR
    parsed.kind = Condition::kOr;
    if (condition->items.empty()) {
      diagnostics.Error(condition->where, "an empty list of conditions", "condition: sel");
      good = false;
    }
    for (const Node& one : condition->items) {
      good = ParseCondition(one, names, &parsed.operands.emplace_back(), diagnostics) && good;
    }
  } else {
    good = ParseCondition(*condition, names, &parsed, diagnostics) && good;
  }
  if (!good) return nullptr;
  return std::make_shared<Detection>(std::move(searches), std::move(parsed),
                                     condition->is_sequence());
}

}  // namespace bongsu::sigma
