// File: operators/sigma/item.h
//
// One item of a detection: a field, its modifiers, and its values, compiled; or keywords, which are
// an item of the field kAllValuesField.
//
//   std::optional<Item> item = CompileItem(key_node, value_node, fields, diagnostics);
//   bool hit = item->Matches(event);
//
// It is plain data that says what it means, so that others can explain it (`values`, one by one)
// and compile many of them together (operators/sigma/rule_matcher.h).
//
// Thread-safety: immutable once made; Matches from any thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"
#include "operators/event.h"
#include "operators/sigma/modifier.h"
#include "operators/sigma/value_test.h"

namespace bongsu::sigma {

// A rule with a longer list is refused with a message.
inline constexpr size_t kListValuesMax = 10'000;

// A value as it stands in the rule, and its tests: one of them must hold (several where modifiers
// multiply a value: base64offset).
struct ItemValue {
  std::string text;  // "null" for null
  std::vector<std::unique_ptr<ValueTest>> tests;

  // Whether a member of the array, or the value itself, passes.
  bool Matches(const Value& value, const Event& event) const;
};

struct Item {
  std::string key;    // "Image|endswith", as it stands
  std::string field;  // "Image"; kAllValuesField for keywords
  SourceLocation where;
  Modifiers modifiers;
  int slot = 0;
  bool all = false;            // each value must match, not one of them
  bool negated = false;        // neq: the opposite of all that
  std::optional<bool> exists;  // presence alone; there are no values then
  std::vector<ItemValue> values;
  std::string normal_form;

  bool keywords() const { return field == kAllValuesField; }
  bool Matches(const Event& event) const;
};

// `key`: "Image|endswith"; without a field ("|all", ""): keywords. Nothing after errors.
std::optional<Item> CompileItem(const Node& key, const Node& value, FieldTable& fields,
                                Diagnostics& diagnostics);

}  // namespace bongsu::sigma
