#include "operators/sigma/selection.h"

#include <fmt/format.h>

#include <algorithm>

#include "operators/sigma/condition.h"
#include "operators/sigma/matcher.h"

namespace bongsu::sigma {
namespace {

// One search: a list of maps (OR), each a list of items (AND).
struct Search {
  std::vector<std::vector<std::unique_ptr<Matcher>>> maps;

  bool Matches(const Event& event) const {
    for (const auto& items : maps) {
      if (std::all_of(items.begin(), items.end(),
                      [&](const auto& item) { return item->Matches(event); }))
        return true;
    }
    return false;
  }

  std::string NormalForm() const {
    std::vector<std::string> forms;
    for (const auto& items : maps) {
      std::vector<std::string> parts;
      for (const auto& item : items) parts.push_back(item->normal_form());
      std::sort(parts.begin(), parts.end());
      forms.push_back(fmt::format("{{{}}}", fmt::join(parts, "\x1e")));
    }
    std::sort(forms.begin(), forms.end());
    return fmt::format("({})", fmt::join(forms, "|"));
  }
};

class CompiledSelection : public Selection {
 public:
  bool Matches(const Event& event) const override { return Holds(condition, event); }
  const std::vector<std::string>& fields() const override { return fields_; }
  const std::string& normal_form() const override { return normal_form_; }

  void Finish() {
    for (const Search& search : searches) {
      for (const auto& items : search.maps) {
        for (const auto& item : items) {
          if (std::find(fields_.begin(), fields_.end(), item->field()) == fields_.end())
            fields_.push_back(item->field());
        }
      }
    }
    normal_form_ = NormalForm(condition);
  }

  std::vector<Search> searches;
  Condition condition;

 private:
  bool Holds(const Condition& node, const Event& event) const {
    switch (node.kind) {
      case Condition::kSearch:
        return searches[static_cast<size_t>(node.search)].Matches(event);
      case Condition::kNot:
        return !Holds(node.operands[0], event);
      case Condition::kAnd:
        for (const Condition& operand : node.operands) {
          if (!Holds(operand, event)) return false;
        }
        return true;
      case Condition::kOr:
        for (const Condition& operand : node.operands) {
          if (Holds(operand, event)) return true;
        }
        return false;
    }
    return false;
  }

  std::string NormalForm(const Condition& node) const {
    if (node.kind == Condition::kSearch)
      return searches[static_cast<size_t>(node.search)].NormalForm();
    if (node.kind == Condition::kNot) return "not " + NormalForm(node.operands[0]);
    std::vector<std::string> parts;
    for (const Condition& operand : node.operands) parts.push_back(NormalForm(operand));
    std::sort(parts.begin(), parts.end());
    parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
    return fmt::format("[{}]", fmt::join(parts, node.kind == Condition::kAnd ? " and " : " or "));
  }

  std::vector<std::string> fields_;
  std::string normal_form_;
};

bool CompileMap(const Node& map, FieldTable& fields, Search* search, Diagnostics& diagnostics) {
  if (map.entries.empty()) {
    diagnostics.Error(map.where, "an empty map chooses nothing", "");
    return false;
  }
  auto& items = search->maps.emplace_back();
  bool good = true;
  for (const auto& [key, value] : map.entries) {
    auto item = CompileItem(key, value, fields, diagnostics);
    good = good && item != nullptr;
    if (item != nullptr) items.push_back(std::move(item));
  }
  return good;
}

bool CompileSearch(const Node& node, FieldTable& fields, Search* search, Diagnostics& diagnostics) {
  if (node.is_map()) return CompileMap(node, fields, search, diagnostics);
  if (!node.is_sequence() || node.items.empty()) {
    diagnostics.Error(node.where, "a search must be a map or a list of maps", "");
    return false;
  }
  bool good = true;
  for (const Node& item : node.items) {
    if (item.is_map()) {
      good = CompileMap(item, fields, search, diagnostics) && good;
    } else {
      diagnostics.Error(item.where, "keyword search (a text without a field) is not supported yet",
                        "name a field");
      good = false;
    }
  }
  return good;
}

}  // namespace

std::shared_ptr<const Selection> CompileSelection(const Node& detection, FieldTable& fields,
                                                  Diagnostics& diagnostics) {
  if (!detection.is_map()) {
    diagnostics.Error(detection.where, "a detection must be a map of searches and a condition", "");
    return nullptr;
  }
  auto selection = std::make_shared<CompiledSelection>();
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
      good = CompileSearch(value, fields, &selection->searches.emplace_back(), diagnostics) && good;
    }
  }
  if (condition == nullptr) {
    diagnostics.Error(detection.where, "a detection needs a condition",
                      "for example condition: selection");
    return nullptr;
  }
  if (condition->is_sequence()) {  // a list of conditions is their OR
    selection->condition.kind = Condition::kOr;
    if (condition->items.empty()) {
      diagnostics.Error(condition->where, "an empty list of conditions", "");
      good = false;
    }
    for (const Node& one : condition->items) {
      good =
          ParseCondition(one, names, &selection->condition.operands.emplace_back(), diagnostics) &&
          good;
    }
  } else {
    good = ParseCondition(*condition, names, &selection->condition, diagnostics) && good;
  }
  if (!good) return nullptr;
  selection->Finish();
  return selection;
}

}  // namespace bongsu::sigma
