// File: operators/sigma/modifier.h
//
// The modifiers of a detection item, and which of them may stand together.
//
//   "CommandLine|wide|base64offset|contains"
//
//   std::optional<Modifiers> modifiers = ParseModifiers(key_node, diagnostics);
//   if (!modifiers) return;                                // there were errors
//   if (modifiers->has(Modifier::kContains)) ...
//
// A chain that means nothing is refused with what its first part does go with. Order matters only
// where the values are turned into something else: utf16 and its kin before base64, base64 before
// contains, flags of `re` behind it. `expand` is gone before this (operators/sigma/placeholders.h).
//
// Thread-safety: values.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"

namespace bongsu::sigma {

enum class Modifier : uint8_t {
  kContains,
  kStartsWith,
  kEndsWith,
  kAll,
  kCased,
  kNeq,
  kExists,
  kWindash,
  kWide,  // and its other name, utf16le
  kUtf16Be,
  kUtf16,
  kBase64,
  kBase64Offset,
  kRe,
  kReI,
  kReM,
  kReS,
  kCidr,
  kFieldRef,
  kLt,
  kLte,
  kGt,
  kGte,
  kMinute,
  kHour,
  kDay,
  kWeek,
  kMonth,
  kYear
};
inline constexpr size_t kModifierCount = 29;
std::string_view ModifierName(Modifier modifier);  // "contains"

class Modifiers {
 public:
  bool has(Modifier modifier) const { return (set_ & Bit(modifier)) != 0; }
  bool any_of(std::initializer_list<Modifier> ones) const {
    for (Modifier one : ones) {
      if (has(one)) return true;
    }
    return false;
  }
  // The first of `ones` that is there.
  std::optional<Modifier> first_of(std::initializer_list<Modifier> ones) const;
  bool empty() const { return set_ == 0; }
  bool only(Modifier modifier) const { return set_ == Bit(modifier); }
  void Add(Modifier modifier) { set_ |= Bit(modifier); }

 private:
  static uint32_t Bit(Modifier modifier) { return uint32_t{1} << static_cast<int>(modifier); }
  uint32_t set_ = 0;
};

// Of an item's key: what stands behind the first '|'. A key without a field ("|all", "") is of
// keywords, which know fewer modifiers.
std::optional<Modifiers> ParseModifiers(const Node& key, Diagnostics& diagnostics);

}  // namespace bongsu::sigma
