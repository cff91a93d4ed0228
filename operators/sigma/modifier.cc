#include "operators/sigma/modifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace bongsu::sigma {
namespace {

using M = Modifier;

struct Name {
  std::string_view name;
  Modifier modifier;
};
// The first name of a modifier is the one that messages use.
constexpr Name kNames[] = {{"contains", M::kContains},
                           {"startswith", M::kStartsWith},
                           {"endswith", M::kEndsWith},
                           {"all", M::kAll},
                           {"cased", M::kCased},
                           {"neq", M::kNeq},
                           {"exists", M::kExists},
                           {"windash", M::kWindash},
                           {"wide", M::kWide},
                           {"utf16le", M::kWide},
                           {"utf16be", M::kUtf16Be},
                           {"utf16", M::kUtf16},
                           {"base64", M::kBase64},
                           {"base64offset", M::kBase64Offset},
                           {"re", M::kRe},
                           {"i", M::kReI},
                           {"m", M::kReM},
                           {"s", M::kReS},
                           {"cidr", M::kCidr},
                           {"fieldref", M::kFieldRef},
                           {"lt", M::kLt},
                           {"lte", M::kLte},
                           {"gt", M::kGt},
                           {"gte", M::kGte},
                           {"minute", M::kMinute},
                           {"hour", M::kHour},
                           {"day", M::kDay},
                           {"week", M::kWeek},
                           {"month", M::kMonth},
                           {"year", M::kYear}};

constexpr M kMatchPlaces[] = {M::kContains, M::kStartsWith, M::kEndsWith};
constexpr M kCompares[] = {M::kLt, M::kLte, M::kGt, M::kGte};
constexpr M kTimeParts[] = {M::kMinute, M::kHour, M::kDay, M::kWeek, M::kMonth, M::kYear};
constexpr M kEncodings[] = {M::kWide, M::kUtf16Be, M::kUtf16};
constexpr M kFlags[] = {M::kReI, M::kReM, M::kReS};

template <size_t kSize>
bool In(const M (&set)[kSize], M one) {
  return std::find(std::begin(set), std::end(set), one) != std::end(set);
}
bool IsBase64(M one) { return one == M::kBase64 || one == M::kBase64Offset; }

// Whether `a` goes with `b`; asked both ways.
bool GoesWith(M a, M b) {
  if (a == M::kExists) return false;
  if (a == M::kAll) return b != M::kNeq && b != M::kExists;  // neq of a list is "none of them"
  if (a == M::kNeq) return b != M::kExists && b != M::kAll && !In(kCompares, b);
  if (In(kMatchPlaces, a))
    return b == M::kCased || b == M::kWindash || In(kEncodings, b) || IsBase64(b) || b == M::kRe ||
           In(kFlags, b) || b == M::kFieldRef;
  if (a == M::kCased)
    return b == M::kWindash || In(kEncodings, b) || IsBase64(b) || b == M::kFieldRef;
  if (a == M::kWindash) return In(kEncodings, b) || IsBase64(b);
  if (In(kEncodings, a)) return IsBase64(b);
  if (a == M::kRe) return In(kFlags, b);
  if (In(kFlags, a)) return In(kFlags, b);
  if (In(kTimeParts, a)) return In(kCompares, b);
  return false;
}
bool Together(M a, M b) { return a != b && (GoesWith(a, b) || GoesWith(b, a)); }

std::string Companions(M one, bool keyword);

bool OfKeywords(M one) {
  return In(kMatchPlaces, one) || one == M::kAll || one == M::kCased || one == M::kWindash ||
         In(kEncodings, one) || IsBase64(one) || one == M::kRe || In(kFlags, one);
}

std::string Companions(M one, bool keyword) {
  std::vector<std::string_view> names;
  for (const Name& other : kNames) {
    if (Together(one, other.modifier) && (!keyword || OfKeywords(other.modifier)))
      names.push_back(other.name);
  }
  if (names.empty()) return fmt::format("'{}' stands alone", ModifierName(one));
  return fmt::format("'{}' goes with {}", ModifierName(one), fmt::join(names, ", "));
}

class Checker {
 public:
  Checker(const Node& key, bool keyword, Diagnostics& diagnostics)
      : key_(key), keyword_(keyword), diagnostics_(diagnostics) {}

  bool Check(const std::vector<M>& chain) const {
    for (size_t i = 0; i < chain.size(); ++i) {
      if (keyword_ && !OfKeywords(chain[i]))
        return Refuse(fmt::format("'{}' needs a field", ModifierName(chain[i])),
                      "keywords go with contains, startswith, endswith, all, cased, windash, "
                      "base64, base64offset, wide, utf16be, utf16, re");
      for (size_t j = 0; j < i; ++j) {
        if (!CheckPair(chain[j], chain[i])) return false;
      }
    }
    return CheckNeeds(chain);
  }

 private:
  bool Refuse(std::string message, std::string hint) const {
    diagnostics_.Error(key_.where, std::move(message), std::move(hint));
    return false;
  }

  // `first` stands before `second`.
  bool CheckPair(M first, M second) const {
    if (first == second)
      return Refuse(fmt::format("'{}' stands twice", ModifierName(first)), "write it once");
    if (!Together(first, second))
      return Refuse(fmt::format("'{}' and '{}' cannot stand together", ModifierName(first),
                                ModifierName(second)),
                    Companions(first, keyword_) + "; " + Companions(second, keyword_));
    const bool turned =
        (IsBase64(first) && (In(kEncodings, second) || second == M::kWindash)) ||
        (In(kEncodings, first) && second == M::kWindash) ||
        (In(kMatchPlaces, first) &&
         (IsBase64(second) || In(kEncodings, second) || second == M::kRe || In(kFlags, second))) ||
        (In(kFlags, first) && second == M::kRe) || (In(kCompares, first) && In(kTimeParts, second));
    if (turned)
      return Refuse(
          fmt::format("'{}' must stand before '{}'", ModifierName(second), ModifierName(first)),
          "for example windash|wide|base64offset|contains, re|i|startswith, hour|gte");
    return true;
  }

  bool CheckNeeds(const std::vector<M>& chain) const {
    const auto has = [&](auto&& test) { return std::any_of(chain.begin(), chain.end(), test); };
    for (const M one : chain) {
      if (In(kFlags, one) && !has([](M m) { return m == M::kRe; }))
        return Refuse("'i', 'm' and 's' are flags of 're'", "write re|i");
      if (In(kEncodings, one) && !has(IsBase64))
        return Refuse(
            fmt::format("'{}' makes bytes, which no text field holds", ModifierName(one)),
            fmt::format("write {0}|base64offset|contains or {0}|base64", ModifierName(one)));
    }
    return true;
  }

  const Node& key_;
  const bool keyword_;
  Diagnostics& diagnostics_;
};

}  // namespace

std::string_view ModifierName(Modifier modifier) {
  for (const Name& one : kNames) {
    if (one.modifier == modifier) return one.name;
  }
  return "";
}

std::optional<Modifier> Modifiers::first_of(std::initializer_list<Modifier> ones) const {
  for (Modifier one : ones) {
    if (has(one)) return one;
  }
  return std::nullopt;
}

std::optional<Modifiers> ParseModifiers(const Node& key, Diagnostics& diagnostics) {
  const std::string_view text = key.scalar;
  const size_t bar = text.find('|');
  Modifiers modifiers;
  if (bar == std::string_view::npos) return modifiers;
  std::vector<M> chain;
  for (size_t at = bar; at != std::string_view::npos;) {
    const size_t next = text.find('|', at + 1);
    const std::string_view name =
        text.substr(at + 1, next == std::string_view::npos ? next : next - at - 1);
    at = next;
    const auto* known = std::find_if(std::begin(kNames), std::end(kNames),
                                     [&](const Name& one) { return one.name == name; });
    if (known != std::end(kNames)) {
      chain.push_back(known->modifier);
      continue;
    }
    if (name.empty()) {
      diagnostics.Error(key.where, fmt::format("'{}': a modifier is missing behind '|'", text),
                        "for example CommandLine|contains");
      return std::nullopt;
    }
    std::vector<std::string_view> names = {"expand"};  // taken out before (placeholders.h)
    for (const Name& one : kNames) names.push_back(one.name);
    const std::string nearest = NearestName(name, names);
    diagnostics.Error(key.where, fmt::format("unknown modifier '{}'", name),
                      nearest.empty() ? fmt::format("one of: {}", fmt::join(names, ", "))
                                      : fmt::format("did you mean '{}'?", nearest));
    return std::nullopt;
  }
  if (!Checker(key, bar == 0, diagnostics).Check(chain)) return std::nullopt;
  for (const M one : chain) modifiers.Add(one);
  return modifiers;
}

}  // namespace bongsu::sigma
