#include "operators/sigma/item.h"

#include <fmt/format.h>

#include <algorithm>

namespace bongsu::sigma {
namespace {

// An array passes when any of its members does.
bool Any(const ValueTest& test, const Value& value, const Event& event) {
  if (!value.is_array()) return test.Matches(value, event);
  for (const Value& item : value.items()) {
    if (Any(test, item, event)) return true;
  }
  return false;
}

bool CompileExists(const Node& value, Item* item, Diagnostics& diagnostics) {
  item->exists = BoolOf(value);
  if (!item->exists) {
    diagnostics.Error(value.where, "'exists' takes true or false", "Field|exists: true");
    return false;
  }
  item->normal_form = fmt::format("{} exists {}", item->field, *item->exists);
  return true;
}

bool CheckList(const Node& value, const Item& item, Diagnostics& diagnostics) {
  if (value.is_map()) {
    diagnostics.Error(value.where, "a field's value cannot be a map",
                      "a field within an object is written with a dot: process.name");
    return false;
  }
  const bool list = value.is_sequence();
  if (list && (value.items.empty() || value.items.size() > kListValuesMax)) {
    diagnostics.Error(value.where,
                      value.items.empty() ? std::string("an empty list matches nothing")
                                          : fmt::format("more than {} values", kListValuesMax),
                      "");
    return false;
  }
  if (item.all && (!list || value.items.size() < 2)) {
    diagnostics.Error(value.where, "'all' needs a list of at least two values",
                      "leave 'all' out, or write a list");
    return false;
  }
  return true;
}

bool CompileValues(const Node& value, FieldTable& fields, Item* item, Diagnostics& diagnostics) {
  const bool list = value.is_sequence();
  bool good = true;
  size_t texts = 0;
  for (size_t i = 0; i < (list ? value.items.size() : 1); ++i) {
    const Node& one = list ? value.items[i] : value;
    if (list && one.is_null()) {
      diagnostics.Error(one.where, "null is not allowed in a list",
                        "write a second map, or '' for the empty string");
      good = false;
      continue;
    }
    ItemValue compiled;
    compiled.text = one.is_null() ? "null" : one.scalar;
    if (CompileValue(one, item->modifiers, item->keywords(), fields, &compiled.tests,
                     diagnostics)) {
      texts += compiled.tests.size();
      if (texts > kItemTextsMax) {
        diagnostics.Error(one.where, "too many texts come of these values",
                          fmt::format("at most {}; fewer dashes or encodings", kItemTextsMax));
        return false;
      }
      item->values.push_back(std::move(compiled));
    } else {
      good = false;
    }
  }
  return good;
}

std::string NormalForm(const Item& item) {
  std::vector<std::string> forms;
  for (const ItemValue& value : item.values) {
    std::vector<std::string> tests;
    for (const auto& test : value.tests) tests.push_back(test->normal_form());
    forms.push_back(fmt::format("{}", fmt::join(tests, "\x1d")));
  }
  std::sort(forms.begin(), forms.end());
  forms.erase(std::unique(forms.begin(), forms.end()), forms.end());
  return fmt::format("{}{} {} [{}]", item.field, item.negated ? " not" : "",
                     item.all ? "all" : "any", fmt::join(forms, "\x1f"));
}

}  // namespace

bool ItemValue::Matches(const Value& value, const Event& event) const {
  return std::any_of(tests.begin(), tests.end(),
                     [&](const auto& test) { return Any(*test, value, event); });
}

bool Item::Matches(const Event& event) const {
  const Value& value = event.field(slot);
  if (exists) return value.is_absent() != *exists;
  const auto matches = [&](const ItemValue& one) { return one.Matches(value, event); };
  const bool found = all ? std::all_of(values.begin(), values.end(), matches)
                         : std::any_of(values.begin(), values.end(), matches);
  return found != negated;
}

std::optional<Item> CompileItem(const Node& key, const Node& value, FieldTable& fields,
                                Diagnostics& diagnostics) {
  const std::optional<Modifiers> modifiers = ParseModifiers(key, diagnostics);
  if (!modifiers) return std::nullopt;
  Item item;
  item.key = key.scalar;
  item.where = key.where;
  item.field = key.scalar.substr(0, key.scalar.find('|'));
  if (item.field.empty()) item.field = kAllValuesField;
  item.modifiers = *modifiers;
  item.all = modifiers->has(Modifier::kAll);
  item.negated = modifiers->has(Modifier::kNeq);
  item.slot = fields.Slot(item.field);
  if (modifiers->has(Modifier::kExists)) {
    if (!CompileExists(value, &item, diagnostics)) return std::nullopt;
    return item;
  }
  if (!CheckList(value, item, diagnostics)) return std::nullopt;
  if (!CompileValues(value, fields, &item, diagnostics)) return std::nullopt;
  item.normal_form = NormalForm(item);
  return item;
}

}  // namespace bongsu::sigma
