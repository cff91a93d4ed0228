#include "operators/sigma/value_test.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "operators/decimal.h"
#include "operators/fold.h"
#include "operators/ip_address.h"
#include "operators/sigma/encoding.h"
#include "operators/sigma/regex_scan.h"
#include "operators/sigma/time_part.h"

namespace bongsu::sigma {

// Integers need no scratch, which is all that the usual log has.
std::string_view ComparedText(const Value& value, std::string* scratch) {
  const std::string_view text = value.text();
  if (!value.is_number()) return text;
  const auto decimal = [](char c) { return c == '.' || c == 'e' || c == 'E'; };
  if (std::none_of(text.begin(), text.end(), decimal)) return text == "-0" ? text.substr(1) : text;
  if (ShortestDecimal(text, scratch)) return *scratch;
  return text;
}

namespace {

using Tests = std::vector<std::unique_ptr<ValueTest>>;

class NullTest : public ValueTest {
 public:
  NullTest() : ValueTest(Kind::kNull) { normal_form_ = "null"; }
  bool Matches(const Value& value, const Event&) const override {
    return value.is_null_or_absent();
  }
};

class TextTest : public ValueTest {
 public:
  explicit TextTest(Pattern pattern) : ValueTest(Kind::kText), pattern_(std::move(pattern)) {
    normal_form_ =
        fmt::format("text{}: {}", pattern_.cased() ? " cased" : "", pattern_.Canonical());
  }
  bool Matches(const Value& value, const Event&) const override {
    if (value.is_null_or_absent()) return false;
    if (value.is_string()) return pattern_.Matches(value.text());
    std::string scratch;  // of a number: at most a few bytes, no allocation
    return pattern_.Matches(ComparedText(value, &scratch));
  }
  const Pattern* pattern() const override { return &pattern_; }

 private:
  Pattern pattern_;
};

class RegexTest : public ValueTest {
 public:
  RegexTest(std::unique_ptr<RE2> regex, std::string_view flags)
      : ValueTest(Kind::kRegex), regex_(std::move(regex)), scan_(RegexScan::Make(*regex_)) {
    normal_form_ = fmt::format("re{}: {}", flags, regex_->pattern());
  }
  bool Matches(const Value& value, const Event&) const override {
    if (value.is_null_or_absent()) return false;
    std::string scratch;
    const std::string_view text = ComparedText(value, &scratch);
    if (scan_ != nullptr) {
      if (text.size() < scan_->bytes_min()) return false;
      if (const std::optional<bool> found = scan_->Finds(text)) return *found;
    }
    return RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *regex_);
  }
  const re2::RE2* regex() const override { return regex_.get(); }

 private:
  std::unique_ptr<RE2> regex_;
  std::unique_ptr<RegexScan> scan_;  // null: RE2 alone
};

class CidrTest : public ValueTest {
 public:
  static constexpr int kIpv4Bits = 96;  // those in front of an IPv4 address
  CidrTest(const IpBytes& network, int bits)
      : ValueTest(Kind::kCidr), network_(network), bits_(bits) {
    normal_form_ = fmt::format("cidr {}/{}", IpText(network), bits);
  }
  bool Matches(const Value& value, const Event&) const override {
    IpBytes ip;
    if (!value.is_string() || !ParseIp(value.text(), &ip)) return false;
    if (bits_ < kIpv4Bits && IsIpv4(ip)) return false;  // ::/0 is all of IPv6
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

bool Holds(Modifier comparison, int order) {
  switch (comparison) {
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

class CompareTest : public ValueTest {
 public:
  CompareTest(Modifier modifier, std::string number)
      : ValueTest(Kind::kCompare), modifier_(modifier), number_(std::move(number)) {
    normal_form_ = fmt::format("{} {}", ModifierName(modifier), number_);
  }
  bool Matches(const Value& value, const Event&) const override {
    std::string text;
    if (!(value.is_number() || value.is_string()) || !ShortestDecimal(value.text(), &text))
      return false;
    return Holds(modifier_, CompareDecimals(text, number_));
  }

 private:
  Modifier modifier_;
  std::string number_;
};

class TimePartTest : public ValueTest {
 public:
  TimePartTest(Modifier part, std::optional<Modifier> comparison, int64_t number)
      : ValueTest(Kind::kTimePart), part_(part), comparison_(comparison), number_(number) {
    normal_form_ = fmt::format("{} {} {}", ModifierName(part),
                               comparison ? ModifierName(*comparison) : "is", number);
  }
  bool Matches(const Value& value, const Event&) const override {
    const std::optional<int64_t> part = TimePart(value, part_);
    if (!part) return false;
    if (!comparison_) return *part == number_;
    return Holds(*comparison_, *part < number_ ? -1 : *part > number_ ? 1 : 0);
  }

 private:
  Modifier part_;
  std::optional<Modifier> comparison_;
  int64_t number_;
};

// The other field's values; an array of it: any member.
class FieldRefTest : public ValueTest {
 public:
  FieldRefTest(int slot, const std::string& field, const Modifiers& modifiers)
      : ValueTest(Kind::kFieldRef),
        slot_(slot),
        cased_(modifiers.has(Modifier::kCased)),
        front_(modifiers.any_of({Modifier::kContains, Modifier::kEndsWith})),
        back_(modifiers.any_of({Modifier::kContains, Modifier::kStartsWith})) {
    normal_form_ = fmt::format("fieldref{}{}{}: {}", cased_ ? " cased" : "", front_ ? " front" : "",
                               back_ ? " back" : "", field);
  }
  bool Matches(const Value& value, const Event& event) const override {
    if (value.is_null_or_absent()) return false;
    std::string scratch;
    return Any(ComparedText(value, &scratch), event.field(slot_));
  }
  int other_slot() const override { return slot_; }

 private:
  bool Any(std::string_view text, const Value& other) const {
    if (other.is_array()) {
      return std::any_of(other.items().begin(), other.items().end(),
                         [&](const Value& item) { return Any(text, item); });
    }
    if (other.is_null_or_absent()) return false;
    std::string scratch;
    const std::string_view wanted = ComparedText(other, &scratch);
    return cased_ ? Compare(text, wanted) : Compare(Folded(text), Folded(wanted));
  }
  bool Compare(std::string_view text, std::string_view wanted) const {
    if (front_ && back_) return text.find(wanted) != std::string_view::npos;
    return front_ ? text.ends_with(wanted) : back_ ? text.starts_with(wanted) : text == wanted;
  }

  int slot_;
  bool cased_;
  bool front_;
  bool back_;
};

// In a list it makes the other values useless.
void WarnEmpty(const Node& value, Diagnostics& diagnostics) {
  diagnostics.Warning(value.where, "an empty value is in every event that has the field",
                      "a value is missing, or write '*', or 'exists'");
}

// What RE2 does not say of what it has not.
std::string RegexHint(const std::string& text) {
  for (const char* look : {"(?=", "(?!", "(?<=", "(?<!"}) {
    if (text.find(look) != std::string::npos)
      return "look-around is not in Sigma's regular expressions";
  }
  for (size_t at = text.find('\\'); at != std::string::npos && at + 1 < text.size();
       at = text.find('\\', at + 2)) {
    if (text[at + 1] >= '1' && text[at + 1] <= '9')
      return "back references are not in Sigma's regular expressions";
  }
  return "";
}

bool CompileRegex(const Node& value, const Modifiers& modifiers, Tests* tests,
                  Diagnostics& diagnostics) {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kRegexMemoryBytes);
  options.set_case_sensitive(!modifiers.has(Modifier::kReI));
  options.set_dot_nl(modifiers.has(Modifier::kReS));
  if (value.scalar.empty()) WarnEmpty(value, diagnostics);
  std::string text = value.scalar;
  // A place ties the expression to an end of the text; by itself it is searched anywhere.
  const bool tied_front = modifiers.has(Modifier::kStartsWith);
  const bool tied_back = modifiers.has(Modifier::kEndsWith);
  if (tied_front || tied_back)
    text = fmt::format("{}(?:{}){}", tied_front ? "\\A" : "", text, tied_back ? "\\z" : "");
  // `(?m)` lets ^ and $ match at lines; RE2 takes it as an inline flag only.
  if (modifiers.has(Modifier::kReM)) text = "(?m)" + text;
  auto regex = std::make_unique<RE2>(value.scalar, options);
  // By itself first: `a)(b` is none, whatever brackets come around it.
  if (regex->ok() && text != value.scalar) regex = std::make_unique<RE2>(text, options);
  if (!regex->ok()) {
    diagnostics.Error(value.where,
                      fmt::format("the regular expression does not compile: {}", regex->error()),
                      RegexHint(value.scalar));
    return false;
  }
  std::string flags;
  if (modifiers.has(Modifier::kReI)) flags += " i";
  if (modifiers.has(Modifier::kReS)) flags += " s";
  tests->push_back(std::make_unique<RegexTest>(std::move(regex), flags));
  return true;
}

bool CompileCidr(const Node& value, Tests* tests, Diagnostics& diagnostics) {
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
      tests->push_back(std::make_unique<CidrTest>(ip, all));
      return true;
    }
  }
  diagnostics.Error(value.where, fmt::format("'{}' is no network", text),
                    "write 10.0.0.0/8 or 2001:db8::/32");
  return false;
}

std::pair<int64_t, int64_t> PartRange(Modifier part) {
  switch (part) {
    case Modifier::kMinute:
      return {0, 59};
    case Modifier::kHour:
      return {0, 23};
    case Modifier::kDay:
      return {1, 31};
    case Modifier::kWeek:
      return {1, 53};
    case Modifier::kMonth:
      return {1, 12};
    default:
      return {0, 9999};
  }
}

bool CompileNumber(const Node& value, const Modifiers& modifiers, Tests* tests,
                   Diagnostics& diagnostics) {
  const std::optional<Modifier> comparison =
      modifiers.first_of({Modifier::kLt, Modifier::kLte, Modifier::kGt, Modifier::kGte});
  const std::optional<Modifier> part =
      modifiers.first_of({Modifier::kMinute, Modifier::kHour, Modifier::kDay, Modifier::kWeek,
                          Modifier::kMonth, Modifier::kYear});
  std::string number;
  if (!ShortestDecimal(value.scalar, &number)) {
    diagnostics.Error(
        value.where, fmt::format("'{}' is no number", value.scalar),
        part ? "parts of the time are numbers" : "lt, lte, gt and gte compare numbers");
    return false;
  }
  if (!part) {
    tests->push_back(std::make_unique<CompareTest>(*comparison, std::move(number)));
    return true;
  }
  int64_t whole = 0;
  const char* end = number.data() + number.size();
  const auto [at, error] = std::from_chars(number.data(), end, whole);
  if (error != std::errc() || at != end) {
    diagnostics.Error(value.where, fmt::format("'{}' is no whole number", value.scalar),
                      "parts of the time are whole numbers");
    return false;
  }
  const auto [least, most] = PartRange(*part);
  if (whole < least || whole > most) {
    diagnostics.Error(value.where, fmt::format("no {} is {}", ModifierName(*part), whole),
                      fmt::format("{} to {}", least, most));
    return false;
  }
  tests->push_back(std::make_unique<TimePartTest>(*part, comparison, whole));
  return true;
}

bool CompileFieldRef(const Node& value, const Modifiers& modifiers, FieldTable& fields,
                     Tests* tests, Diagnostics& diagnostics) {
  if (value.scalar.empty()) {
    diagnostics.Error(value.where, "'fieldref' takes the name of a field",
                      "Field|fieldref: OtherField");
    return false;
  }
  tests->push_back(
      std::make_unique<FieldRefTest>(fields.Slot(value.scalar), value.scalar, modifiers));
  return true;
}

// base64 and base64offset: bytes become texts that are plain.
bool CompileEncoded(const Node& value, const Modifiers& modifiers, bool front, bool back,
                    Tests* tests, Diagnostics& diagnostics) {
  const std::optional<std::string> plain = ParsePattern(value.scalar, true).Plain();
  if (!plain) {
    diagnostics.Error(value.where, "a value with wildcards cannot be encoded",
                      "write \\* and \\? for the characters themselves");
    return false;
  }
  std::vector<std::string> texts = {*plain};
  if (modifiers.has(Modifier::kWindash)) texts = WindashTexts(*plain, kEncodedValuesMax);
  if (texts.empty()) {
    diagnostics.Error(value.where, "too many dashes for 'windash' before an encoding",
                      fmt::format("at most {} texts may come of a value", kEncodedValuesMax));
    return false;
  }
  const bool cased = modifiers.has(Modifier::kCased);
  const auto add = [&](std::string text) {
    tests->push_back(
        std::make_unique<TextTest>(Widened(PlainPattern(std::move(text), cased), front, back)));
  };
  for (const std::string& text : texts) {
    const std::optional<Modifier> utf16 =
        modifiers.first_of({Modifier::kWide, Modifier::kUtf16Be, Modifier::kUtf16});
    const std::string bytes = utf16 ? Utf16Bytes(text, *utf16) : text;
    if (modifiers.has(Modifier::kBase64)) {
      add(Base64(bytes));
      continue;
    }
    for (std::string& one : Base64Offsets(bytes)) {
      if (one.empty()) {
        diagnostics.Error(value.where, "too short for 'base64offset'",
                          "nothing of it is the same at every offset");
        return false;
      }
      add(std::move(one));
    }
  }
  return true;
}

bool CompileText(const Node& value, const Modifiers& modifiers, bool keyword, Tests* tests,
                 Diagnostics& diagnostics) {
  const bool placed =
      modifiers.any_of({Modifier::kContains, Modifier::kStartsWith, Modifier::kEndsWith});
  const bool anywhere = modifiers.has(Modifier::kContains) || (keyword && !placed);
  const bool front = anywhere || modifiers.has(Modifier::kEndsWith);
  const bool back = anywhere || modifiers.has(Modifier::kStartsWith);
  if (modifiers.any_of({Modifier::kBase64, Modifier::kBase64Offset}))
    return CompileEncoded(value, modifiers, front, back, tests, diagnostics);
  std::string number;
  // An unquoted number is compared by its value: 4625.0 is 4625. So is a boolean: True is true.
  bool by_value = !front && !back && !value.quoted && ShortestDecimal(value.scalar, &number);
  if (const auto boolean = BoolOf(value);
      boolean && !front && !back && !value.quoted && modifiers.has(Modifier::kCased)) {
    number = *boolean ? "true" : "false";
    by_value = true;
  }
  Pattern pattern = ParsePattern(by_value ? number : value.scalar, modifiers.has(Modifier::kCased),
                                 modifiers.has(Modifier::kWindash));
  if (pattern.wildcards() > kWildcardsMax) {
    diagnostics.Error(value.where, fmt::format("{} wildcards in one value", pattern.wildcards()),
                      fmt::format("at most {}", kWildcardsMax));
    return false;
  }
  pattern = Widened(std::move(pattern), front, back);
  if (keyword && pattern.shape() == Pattern::Shape::kAnything)
    diagnostics.Warning(value.where,
                        fmt::format("the keyword '{}' is in every event", value.scalar),
                        "a word that the events have, or a field");
  else if (placed && value.scalar.empty())
    WarnEmpty(value, diagnostics);
  tests->push_back(std::make_unique<TextTest>(std::move(pattern)));
  // A version or an amount that lies in the event as text is written as in the rule: 1.10, not 1.1.
  if (by_value && number != value.scalar) {
    tests->push_back(std::make_unique<TextTest>(ParsePattern(
        value.scalar, modifiers.has(Modifier::kCased), modifiers.has(Modifier::kWindash))));
  }
  return true;
}

}  // namespace

bool CompileValue(const Node& value, const Modifiers& modifiers, bool keyword, FieldTable& fields,
                  Tests* tests, Diagnostics& diagnostics) {
  if (!value.is_null() && !value.is_scalar()) {
    diagnostics.Error(value.where, "a value must be a string, a number, a boolean or null",
                      "a list of values stands beside the field's name, not within another list");
    return false;
  }
  if (value.scalar.size() > kValueBytesMax) {
    diagnostics.Error(value.where, fmt::format("a value longer than {} bytes", kValueBytesMax),
                      "split it: a list of values, or contains|all");
    return false;
  }
  if (value.is_null()) {
    if (keyword || !(modifiers.empty() || modifiers.only(Modifier::kNeq))) {
      diagnostics.Error(value.where, "null goes with no modifier but neq, and is no keyword",
                        "write '' for the empty string");
      return false;
    }
    tests->push_back(std::make_unique<NullTest>());
    return true;
  }
  if (keyword && value.scalar.empty()) {
    diagnostics.Error(value.where, "an empty keyword is in every event", "leave it out");
    return false;
  }
  if (modifiers.has(Modifier::kRe)) return CompileRegex(value, modifiers, tests, diagnostics);
  if (modifiers.has(Modifier::kCidr)) return CompileCidr(value, tests, diagnostics);
  if (modifiers.has(Modifier::kFieldRef))
    return CompileFieldRef(value, modifiers, fields, tests, diagnostics);
  if (modifiers.any_of({Modifier::kLt, Modifier::kLte, Modifier::kGt, Modifier::kGte,
                        Modifier::kMinute, Modifier::kHour, Modifier::kDay, Modifier::kWeek,
                        Modifier::kMonth, Modifier::kYear}))
    return CompileNumber(value, modifiers, tests, diagnostics);
  return CompileText(value, modifiers, keyword, tests, diagnostics);
}

}  // namespace bongsu::sigma
