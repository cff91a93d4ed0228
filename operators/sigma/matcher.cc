#include "operators/sigma/matcher.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "operators/decimal.h"
#include "operators/fold.h"
#include "operators/ip_address.h"
#include "operators/sigma/pattern.h"

namespace bongsu::sigma {
namespace {

enum class Modifier : uint8_t {
  kContains,
  kStartsWith,
  kEndsWith,
  kAll,
  kCased,
  kExists,
  kCidr,
  kRe,
  kReI,
  kReM,
  kReS,
  kLt,
  kLte,
  kGt,
  kGte
};

struct ModifierName {
  std::string_view name;
  Modifier modifier;
};
constexpr ModifierName kModifiers[] = {{"contains", Modifier::kContains},
                                       {"startswith", Modifier::kStartsWith},
                                       {"endswith", Modifier::kEndsWith},
                                       {"all", Modifier::kAll},
                                       {"cased", Modifier::kCased},
                                       {"exists", Modifier::kExists},
                                       {"cidr", Modifier::kCidr},
                                       {"re", Modifier::kRe},
                                       {"i", Modifier::kReI},
                                       {"m", Modifier::kReM},
                                       {"s", Modifier::kReS},
                                       {"lt", Modifier::kLt},
                                       {"lte", Modifier::kLte},
                                       {"gt", Modifier::kGt},
                                       {"gte", Modifier::kGte}};
constexpr std::string_view kLater[] = {
    "windash",  "base64", "base64offset", "wide", "utf16le", "utf16be", "utf16", "expand",
    "fieldref", "neq",    "minute",       "hour", "day",     "week",    "month", "year"};

// What one value of the rule asks of one value of the event.
class ValueTest {
 public:
  virtual ~ValueTest() = default;
  // `value` is no array; absent and null come here too.
  virtual bool Matches(const Value& value) const = 0;
  std::string normal_form;
};

// The text that Sigma compares: numbers as their shortest decimal.
std::string_view ComparedText(const Value& value, std::string* scratch) {
  if (value.is_number() && ShortestDecimal(value.text(), scratch)) return *scratch;
  return value.text();
}

class NullTest : public ValueTest {
 public:
  NullTest() { normal_form = "null"; }
  bool Matches(const Value& value) const override { return value.is_null_or_absent(); }
};

class TextTest : public ValueTest {
 public:
  explicit TextTest(Pattern pattern, bool cased) : pattern_(std::move(pattern)) {
    normal_form = fmt::format("text{} {}", cased ? " cased" : "", pattern_.Canonical());
  }
  bool Matches(const Value& value) const override {
    if (value.is_null_or_absent()) return false;
    if (value.is_string()) return pattern_.Matches(value.text());
    std::string scratch;  // of a number: at most a few bytes, no allocation
    return pattern_.Matches(ComparedText(value, &scratch));
  }

 private:
  Pattern pattern_;
};

class RegexTest : public ValueTest {
 public:
  explicit RegexTest(std::unique_ptr<RE2> regex) : regex_(std::move(regex)) {
    normal_form = "re " + regex_->pattern();
  }
  bool Matches(const Value& value) const override {
    if (value.is_null_or_absent()) return false;
    std::string scratch;
    const std::string_view text = ComparedText(value, &scratch);
    return RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *regex_);
  }

 private:
  std::unique_ptr<RE2> regex_;
};

class CidrTest : public ValueTest {
 public:
  CidrTest(const IpBytes& network, int bits) : network_(network), bits_(bits) {
    normal_form = fmt::format("cidr {}/{}", IpText(network), bits);
  }
  bool Matches(const Value& value) const override {
    IpBytes ip;
    if (!value.is_string() || !ParseIp(value.text(), &ip)) return false;
    for (int i = 0; i < bits_; i += 8) {
      const int left = std::min(8, bits_ - i);
      const auto mask = static_cast<uint8_t>(0xff << (8 - left));
      const auto at = static_cast<size_t>(i / 8);
      if ((ip[at] & mask) != (network_[at] & mask)) return false;
    }
    return true;
  }

 private:
  IpBytes network_;
  int bits_;  // of 128
};

class CompareTest : public ValueTest {
 public:
  CompareTest(Modifier modifier, std::string number)
      : modifier_(modifier), number_(std::move(number)) {
    constexpr std::string_view kNames[] = {"lt", "lte", "gt", "gte"};
    normal_form = fmt::format(
        "{} {}", kNames[static_cast<int>(modifier) - static_cast<int>(Modifier::kLt)], number_);
  }
  bool Matches(const Value& value) const override {
    std::string text;
    if (!(value.is_number() || value.is_string()) || !ShortestDecimal(value.text(), &text))
      return false;
    const int order = CompareDecimals(text, number_);
    switch (modifier_) {
      case Modifier::kLt:
        return order < 0;
      case Modifier::kLte:
        return order <= 0;
      case Modifier::kGt:
        return order > 0;
      default:
        return order >= 0;
    }
  }

 private:
  Modifier modifier_;
  std::string number_;
};

class ItemMatcher : public Matcher {
 public:
  bool Matches(const Event& event) const override {
    const Value& value = event.field(slot);
    if (exists.has_value()) return (value.is_absent() ? false : true) == *exists;
    for (const auto& test : tests) {
      if (Any(*test, value) != all) return !all;
    }
    return all;
  }

  int slot = 0;
  bool all = false;
  std::optional<bool> exists;
  std::vector<std::unique_ptr<ValueTest>> tests;

 private:
  // An array matches when any of its members does.
  static bool Any(const ValueTest& test, const Value& value) {
    if (!value.is_array()) return test.Matches(value);
    for (const Value& item : value.items()) {
      if (Any(test, item)) return true;
    }
    return false;
  }
};

struct Modifiers {
  std::vector<Modifier> list;
  bool has(Modifier modifier) const {
    return std::find(list.begin(), list.end(), modifier) != list.end();
  }
  bool any_of(std::initializer_list<Modifier> ones) const {
    return std::any_of(ones.begin(), ones.end(), [this](Modifier one) { return has(one); });
  }
};

bool ParseModifiers(std::string_view rest, const Node& key, Modifiers* modifiers,
                    Diagnostics& diagnostics) {
  while (!rest.empty()) {
    const size_t bar = rest.find('|');
    const std::string_view name = rest.substr(0, bar);
    rest = bar == std::string_view::npos ? "" : rest.substr(bar + 1);
    const auto* known = std::find_if(std::begin(kModifiers), std::end(kModifiers),
                                     [&](const ModifierName& one) { return one.name == name; });
    if (known != std::end(kModifiers)) {
      modifiers->list.push_back(known->modifier);
      continue;
    }
    if (std::find(std::begin(kLater), std::end(kLater), name) != std::end(kLater)) {
      diagnostics.Error(key.where, fmt::format("the modifier '{}' is not supported yet", name), "");
      return false;
    }
    std::vector<std::string_view> names;
    for (const ModifierName& one : kModifiers) names.push_back(one.name);
    const std::string nearest = NearestName(name, names);
    diagnostics.Error(key.where, fmt::format("unknown modifier '{}'", name),
                      nearest.empty() ? fmt::format("one of: {}", fmt::join(names, ", "))
                                      : fmt::format("did you mean '{}'?", nearest));
    return false;
  }
  return true;
}

// Which modifiers may stand together.
bool CheckChain(const Modifiers& modifiers, const Node& key, Diagnostics& diagnostics) {
  const auto refuse = [&](std::string message, std::string hint) {
    diagnostics.Error(key.where, std::move(message), std::move(hint));
    return false;
  };
  int kinds = 0;
  for (Modifier one : {Modifier::kContains, Modifier::kStartsWith, Modifier::kEndsWith,
                       Modifier::kExists, Modifier::kCidr, Modifier::kRe, Modifier::kLt,
                       Modifier::kLte, Modifier::kGt, Modifier::kGte}) {
    kinds += static_cast<int>(std::count(modifiers.list.begin(), modifiers.list.end(), one));
  }
  if (kinds > 1)
    return refuse("these modifiers cannot stand together",
                  "use one of contains, startswith, endswith, re, cidr, exists, lt, lte, gt, gte");
  const bool flags = modifiers.any_of({Modifier::kReI, Modifier::kReM, Modifier::kReS});
  if (flags && (modifiers.list.empty() || !modifiers.has(Modifier::kRe))) {
    return refuse("'i', 'm' and 's' are flags of 're'", "write re|i");
  }
  if (modifiers.has(Modifier::kCased) &&
      modifiers.any_of({Modifier::kCidr, Modifier::kRe, Modifier::kExists, Modifier::kLt,
                        Modifier::kLte, Modifier::kGt, Modifier::kGte})) {
    return refuse("'cased' goes with strings only",
                  "alone, or with contains, startswith, endswith, all");
  }
  if (modifiers.has(Modifier::kAll) && modifiers.has(Modifier::kExists))
    return refuse("'all' does not go with 'exists'", "");
  return true;
}

std::unique_ptr<ValueTest> CompileRegex(const Node& value, const Modifiers& modifiers,
                                        Diagnostics& diagnostics) {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kRegexMemoryBytes);
  options.set_case_sensitive(!modifiers.has(Modifier::kReI));
  options.set_dot_nl(modifiers.has(Modifier::kReS));
  // `(?m)` lets ^ and $ match at lines; RE2 takes it as an inline flag only.
  const std::string text = (modifiers.has(Modifier::kReM) ? "(?m)" : "") + value.scalar;
  auto regex = std::make_unique<RE2>(text, options);
  if (!regex->ok()) {
    diagnostics.Error(value.where,
                      fmt::format("the regular expression does not compile: {}", regex->error()),
                      "back references and look-around are not in Sigma's regular expressions");
    return nullptr;
  }
  auto test = std::make_unique<RegexTest>(std::move(regex));
  if (modifiers.has(Modifier::kReI)) test->normal_form += " i";
  if (modifiers.has(Modifier::kReS)) test->normal_form += " s";
  return test;
}

std::unique_ptr<ValueTest> CompileCidr(const Node& value, Diagnostics& diagnostics) {
  const std::string& text = value.scalar;
  const size_t slash = text.find('/');
  IpBytes ip;
  if (ParseIp(std::string_view(text).substr(0, slash), &ip)) {
    const int most = text.find(':') == std::string::npos ? 32 : 128;
    int bits = most;
    bool good = true;
    if (slash != std::string::npos) {
      const std::string digits = text.substr(slash + 1);
      good = !digits.empty() && digits.size() <= 3 &&
             digits.find_first_not_of("0123456789") == std::string::npos;
      bits = good ? std::stoi(digits) : 0;
    }
    if (good && bits <= most) {
      const int all = most == 32 ? bits + 96 : bits;
      for (int bit = all; bit < 128; ++bit)
        ip[static_cast<size_t>(bit / 8)] &= static_cast<uint8_t>(~(0x80 >> (bit % 8)));
      return std::make_unique<CidrTest>(ip, all);
    }
  }
  diagnostics.Error(value.where, fmt::format("'{}' is no network", text),
                    "write 10.0.0.0/8 or 2001:db8::/32");
  return nullptr;
}

std::unique_ptr<ValueTest> CompileValue(const Node& value, const Modifiers& modifiers,
                                        Diagnostics& diagnostics) {
  if (!value.is_null() && !value.is_scalar()) {
    diagnostics.Error(value.where, "a value must be a string, a number, a boolean or null", "");
    return nullptr;
  }
  if (value.scalar.size() > kValueBytesMax) {
    diagnostics.Error(value.where, fmt::format("a value longer than {} bytes", kValueBytesMax), "");
    return nullptr;
  }
  if (value.is_null()) {
    if (!modifiers.list.empty()) {
      diagnostics.Error(value.where, "null goes with no modifier", "write '' for the empty string");
      return nullptr;
    }
    return std::make_unique<NullTest>();
  }
  if (modifiers.has(Modifier::kRe)) return CompileRegex(value, modifiers, diagnostics);
  if (modifiers.has(Modifier::kCidr)) return CompileCidr(value, diagnostics);
  for (Modifier one : {Modifier::kLt, Modifier::kLte, Modifier::kGt, Modifier::kGte}) {
    if (!modifiers.has(one)) continue;
    std::string number;
    if (!ShortestDecimal(value.scalar, &number)) {
      diagnostics.Error(value.where, fmt::format("'{}' is no number", value.scalar),
                        "lt, lte, gt and gte compare numbers");
      return nullptr;
    }
    return std::make_unique<CompareTest>(one, std::move(number));
  }
  const bool cased = modifiers.has(Modifier::kCased);
  std::string number;
  // An unquoted number is compared by its value: 4625.0 is 4625.
  const bool is_number = !value.quoted && ShortestDecimal(value.scalar, &number);
  Pattern pattern = ParsePattern(is_number ? number : value.scalar, cased);
  const bool front = modifiers.any_of({Modifier::kContains, Modifier::kEndsWith});
  const bool back = modifiers.any_of({Modifier::kContains, Modifier::kStartsWith});
  return std::make_unique<TextTest>(Widened(std::move(pattern), front, back), cased);
}

}  // namespace

std::unique_ptr<Matcher> CompileItem(const Node& key, const Node& value, FieldTable& fields,
                                     Diagnostics& diagnostics) {
  const std::string_view text = key.scalar;
  const size_t bar = text.find('|');
  auto matcher = std::make_unique<ItemMatcher>();
  matcher->field_ = std::string(text.substr(0, bar));
  if (matcher->field_.empty()) {
    diagnostics.Error(key.where, "keyword search (an item without a field) is not supported yet",
                      "name a field");
    return nullptr;
  }
  Modifiers modifiers;
  if (bar != std::string_view::npos &&
      !ParseModifiers(text.substr(bar + 1), key, &modifiers, diagnostics))
    return nullptr;
  if (!CheckChain(modifiers, key, diagnostics)) return nullptr;
  matcher->slot = fields.Slot(matcher->field_);
  matcher->all = modifiers.has(Modifier::kAll);
  if (modifiers.has(Modifier::kExists)) {
    if (!value.is_scalar() || (value.scalar != "true" && value.scalar != "false")) {
      diagnostics.Error(value.where, "'exists' takes true or false", "");
      return nullptr;
    }
    matcher->exists = value.scalar == "true";
    matcher->normal_form_ = fmt::format("{} exists {}", matcher->field_, value.scalar);
    return matcher;
  }
  if (value.is_map()) {
    diagnostics.Error(value.where, "a field's value cannot be a map", "");
    return nullptr;
  }
  const bool list = value.is_sequence();
  if (list && (value.items.empty() || value.items.size() > kListValuesMax)) {
    diagnostics.Error(value.where,
                      value.items.empty() ? std::string("an empty list matches nothing")
                                          : fmt::format("more than {} values", kListValuesMax),
                      "");
    return nullptr;
  }
  if (matcher->all && (!list || value.items.size() < 2)) {
    diagnostics.Error(value.where, "'all' needs a list of at least two values", "");
    return nullptr;
  }
  std::vector<std::string> forms;
  bool good = true;
  for (size_t i = 0; i < (list ? value.items.size() : 1); ++i) {
    const Node& one = list ? value.items[i] : value;
    if (list && one.is_null()) {
      diagnostics.Error(one.where, "null is not allowed in a list",
                        "write a second map, or '' for the empty string");
      good = false;
      continue;
    }
    auto test = CompileValue(one, modifiers, diagnostics);
    if (test == nullptr) {
      good = false;
      continue;
    }
    forms.push_back(test->normal_form);
    matcher->tests.push_back(std::move(test));
  }
  if (!good) return nullptr;
  std::sort(forms.begin(), forms.end());
  forms.erase(std::unique(forms.begin(), forms.end()), forms.end());
  matcher->normal_form_ = fmt::format("{} {} [{}]", matcher->field_, matcher->all ? "all" : "any",
                                      fmt::join(forms, "\x1f"));
  return matcher;
}

}  // namespace bongsu::sigma
