#include "tests/operators/sigma_oracle.h"

#include <arpa/inet.h>
#include <re2/re2.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iostream>
#include <map>
#include <optional>
#include <set>

namespace bongsu {
namespace {

using Fields = Oracle::Fields;
using Test = Oracle::Test;
using Text = std::u32string;

[[noreturn]] void Fail(const std::string& why) {
  std::cerr << "the oracle cannot read the detection: " << why << "\n";
  std::abort();
}

Text Points(std::string_view text) {
  Text out;
  while (!text.empty()) {
    utf8proc_int32_t point = 0;
    const auto size = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                       static_cast<utf8proc_ssize_t>(text.size()), &point);
    out.push_back(size > 0 ? static_cast<char32_t>(point) : static_cast<unsigned char>(text[0]));
    text.remove_prefix(size > 0 ? static_cast<size_t>(size) : 1);
  }
  return out;
}

char32_t Fold(char32_t c) {
  if (c == 0x130 || c == 0x131) return c;  // CaseFolding.txt has no C or S entry for them
  return static_cast<char32_t>(utf8proc_tolower(utf8proc_toupper(static_cast<int32_t>(c))));
}

bool Same(char32_t a, char32_t b, bool cased) { return cased ? a == b : Fold(a) == Fold(b); }

// A value: characters, and wildcards, which are not characters.
constexpr char32_t kStar = 0x110001;
constexpr char32_t kOne = 0x110002;

// The lines of the specification on escapes, one by one.
Text Unescaped(const std::string& value) {
  const Text in = Points(value);
  Text out;
  for (size_t i = 0; i < in.size(); ++i) {
    if (in[i] == '\\' && i + 1 < in.size() &&
        (in[i + 1] == '*' || in[i + 1] == '?' || in[i + 1] == '\\')) {
      out.push_back(in[++i]);
    } else if (in[i] == '*') {
      out.push_back(kStar);
    } else if (in[i] == '?') {
      out.push_back(kOne);
    } else {
      out.push_back(in[i]);
    }
  }
  return out;
}

// By a table over all pairs of ends: slow, and plainly right.
bool Like(const Text& text, const Text& pattern, bool cased) {
  std::vector<char> row(text.size() + 1);
  row[0] = 1;
  for (const char32_t p : pattern) {
    std::vector<char> next(text.size() + 1);
    if (p == kStar) {
      char any = 0;
      for (size_t i = 0; i <= text.size(); ++i) next[i] = any = static_cast<char>(any | row[i]);
    } else {
      for (size_t i = 0; i < text.size(); ++i)
        next[i + 1] = static_cast<char>(row[i] && (p == kOne || Same(text[i], p, cased)));
    }
    row = next;
  }
  return row[text.size()] != 0;
}

// A number in JSON's grammar as sign, digits and exponent without needless zeros.
struct Decimal {
  bool negative = false;
  std::string digits;  // empty: zero
  long exponent = 0;   // of the last digit
};

std::optional<Decimal> ReadDecimal(const std::string& text) {
  static const RE2 grammar(R"((-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?)");
  std::string sign, whole, fraction, exponent;
  if (!RE2::FullMatch(text, grammar, &sign, &whole, &fraction, &exponent)) return std::nullopt;
  Decimal d;
  d.negative = sign == "-";
  d.digits = whole + fraction;
  d.exponent =
      (exponent.empty() ? 0 : std::atol(exponent.c_str())) - static_cast<long>(fraction.size());
  while (!d.digits.empty() && d.digits.front() == '0') d.digits.erase(0, 1);
  while (!d.digits.empty() && d.digits.back() == '0') {
    d.digits.pop_back();
    ++d.exponent;
  }
  if (d.digits.empty()) return Decimal{};
  return d;
}

std::string DecimalText(const Decimal& d) {
  if (d.digits.empty()) return "0";
  std::string text = d.digits;
  if (d.exponent >= 0) {
    text.append(static_cast<size_t>(d.exponent), '0');
  } else {
    const auto after = static_cast<size_t>(-d.exponent);
    if (text.size() <= after) text.insert(0, after + 1 - text.size(), '0');
    text.insert(text.size() - after, ".");
  }
  return (d.negative ? "-" : "") + text;
}

int Compare(const Decimal& a, const Decimal& b) {
  // Written out to the same length they order as texts.
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  const long low = std::min(a.exponent, b.exponent);
  std::string x =
      a.digits + std::string(static_cast<size_t>(a.digits.empty() ? 0 : a.exponent - low), '0');
  std::string y =
      b.digits + std::string(static_cast<size_t>(b.digits.empty() ? 0 : b.exponent - low), '0');
  const size_t size = std::max(x.size(), y.size());
  x.insert(0, size - x.size(), '0');
  y.insert(0, size - y.size(), '0');
  const int order = x.compare(y) < 0 ? -1 : x.compare(y) > 0 ? 1 : 0;
  return a.negative ? -order : order;
}

// What a value is as text.
std::string TextOf(const Value& value) {
  const std::string text(value.text());
  if (value.is_number()) {
    if (const auto decimal = ReadDecimal(text)) return DecimalText(*decimal);
  }
  return text;
}

bool AnyMember(const Value& value, const std::function<bool(const Value&)>& test) {
  if (!value.is_array()) return test(value);
  for (const Value& item : value.items()) {
    if (AnyMember(item, test)) return true;
  }
  return false;
}

std::string Utf8(const Text& text) {
  std::string out;
  for (const char32_t c : text) {
    utf8proc_uint8_t bytes[4];
    const auto size = utf8proc_encode_char(static_cast<int32_t>(c), bytes);
    out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
  }
  return out;
}

std::string Utf16(const Text& text, bool big, bool mark) {
  std::vector<unsigned> units;
  if (mark) units.push_back(0xfeff);
  for (const char32_t c : text) {
    if (c < 0x10000) {
      units.push_back(c);
    } else {
      units.push_back(0xd800u + ((c - 0x10000u) >> 10));
      units.push_back(0xdc00u + ((c - 0x10000u) & 0x3ffu));
    }
  }
  std::string out;
  for (const unsigned unit : units) {
    const char high = static_cast<char>(unit >> 8);
    const char low = static_cast<char>(unit & 255);
    out += big ? std::string{high, low} : std::string{low, high};
  }
  return out;
}

// Bit by bit.
std::string Bits(const std::string& bytes) {
  std::string bits;
  for (const char byte : bytes) {
    for (int i = 7; i >= 0; --i)
      bits.push_back((static_cast<unsigned char>(byte) >> i & 1) ? '1' : '0');
  }
  return bits;
}
char Letter(const std::string& six) {
  static const std::string alphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  return alphabet[std::stoul(six, nullptr, 2)];
}
std::string Base64(const std::string& bytes) {
  std::string bits = Bits(bytes);
  while (bits.size() % 6 != 0) bits += "00";
  std::string out;
  for (size_t i = 0; i < bits.size(); i += 6) out.push_back(Letter(bits.substr(i, 6)));
  while (out.size() % 4 != 0) out.push_back('=');
  return out;
}
// The letters whose six bits are all of the value, where `offset` unknown bytes stand before it.
std::string Base64At(const std::string& bytes, size_t offset) {
  const std::string bits = Bits(bytes);
  std::string out;
  for (size_t at = (6 - offset * 8 % 6) % 6; at + 6 <= bits.size(); at += 6)
    out.push_back(Letter(bits.substr(at, 6)));
  return out;
}

// All permutations of the five dashes.
std::vector<Text> Windash(const Text& text) {
  const Text dashes = {U'-', U'/', U'\u2013', U'\u2014', U'\u2015'};
  std::vector<Text> out(1);
  for (const char32_t c : text) {
    std::vector<Text> next;
    for (const Text& one : out) {
      if (dashes.find(c) == Text::npos) {
        next.push_back(one + c);
      } else {
        for (const char32_t dash : dashes) next.push_back(one + dash);
      }
    }
    out = next;
  }
  return out;
}

struct Item {
  std::string field;
  std::vector<std::string> modifiers;
  bool has(const char* name) const {
    return std::find(modifiers.begin(), modifiers.end(), name) != modifiers.end();
  }
};

std::vector<std::string> Split(const std::string& text, char by) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == by) {
      parts.emplace_back();
    } else {
      parts.back().push_back(c);
    }
  }
  return parts;
}

using ValueTest = std::function<bool(const Value&, const Fields&)>;

ValueTest TextTest(const Item& item, const Node& value, bool keyword) {
  const bool cased = item.has("cased");
  bool contains = item.has("contains");
  const bool starts = item.has("startswith");
  const bool ends = item.has("endswith");
  if (keyword && !starts && !ends) contains = true;
  const bool is_encoded = item.has("base64") || item.has("base64offset");
  std::vector<Text> texts = {Unescaped(value.scalar)};
  // A number is its value, and what is written.
  if (!contains && !starts && !ends && !value.quoted && !is_encoded) {
    if (const auto decimal = ReadDecimal(value.scalar))
      texts.push_back(Points(DecimalText(*decimal)));
  }
  if (item.has("windash")) {
    std::vector<Text> dashed;
    for (const Text& one : texts) {
      for (Text& text : Windash(one)) dashed.push_back(std::move(text));
    }
    texts = dashed;
  }
  if (is_encoded) {
    std::vector<Text> encoded;
    for (const Text& one : texts) {
      std::string bytes = Utf8(one);
      if (item.has("wide") || item.has("utf16le")) bytes = Utf16(one, false, false);
      if (item.has("utf16be")) bytes = Utf16(one, true, false);
      if (item.has("utf16")) bytes = Utf16(one, false, true);
      if (item.has("base64")) {
        encoded.push_back(Points(Base64(bytes)));
      } else {
        for (size_t offset = 0; offset < 3; ++offset)
          encoded.push_back(Points(Base64At(bytes, offset)));
      }
    }
    texts = encoded;
  }
  for (Text& one : texts) {
    if (contains || ends) one = Text(1, kStar) + one;
    if (contains || starts) one += kStar;
  }
  return [texts, cased](const Value& found, const Fields&) {
    if (found.is_null_or_absent()) return false;
    const Text points = Points(TextOf(found));
    return std::any_of(texts.begin(), texts.end(),
                       [&](const Text& one) { return Like(points, one, cased); });
  };
}

ValueTest RegexTest(const Item& item, const Node& value) {
  std::string flags;
  for (const char* flag : {"i", "m", "s"}) {
    if (item.has(flag)) flags += flag;
  }
  std::string text = value.scalar;
  if (item.has("startswith") || item.has("endswith"))
    text =
        (item.has("startswith") ? "\\A(?:" : "(?:") + text + (item.has("endswith") ? ")\\z" : ")");
  if (!flags.empty()) text = "(?" + flags + ")" + text;
  const auto regex = std::make_shared<RE2>(text);
  if (!regex->ok()) Fail(regex->error());
  return [regex](const Value& found, const Fields&) {
    return !found.is_null_or_absent() && RE2::PartialMatch(TextOf(found), *regex);
  };
}

// Sixteen bytes, as bits.
std::optional<std::string> AddressBits(const std::string& text) {
  unsigned char bytes[16];
  if (inet_pton(AF_INET6, text.c_str(), bytes) == 1)
    return Bits(std::string(reinterpret_cast<char*>(bytes), 16));
  if (inet_pton(AF_INET, text.c_str(), bytes) == 1)
    return std::string(80, '0') + std::string(16, '1') +
           Bits(std::string(reinterpret_cast<char*>(bytes), 4));
  return std::nullopt;
}

ValueTest CidrTest(const Node& value) {
  const std::vector<std::string> parts = Split(value.scalar, '/');
  const auto network = AddressBits(parts[0]);
  if (!network) Fail(value.scalar);
  size_t bits = 128;
  if (parts.size() > 1)
    bits = std::stoul(parts[1]) + (parts[0].find(':') == std::string::npos ? 96 : 0);
  return [network, bits](const Value& found, const Fields&) {
    if (!found.is_string()) return false;
    const auto address = AddressBits(std::string(found.text()));
    const std::string ipv4 = AddressBits("0.0.0.0")->substr(0, 96);  // what they are stored behind
    if (!address || (bits < 96 && address->starts_with(ipv4))) return false;
    return address->substr(0, bits) == network->substr(0, bits);
  };
}

bool Ordered(const Item& item, int order) {
  if (item.has("lt")) return order < 0;
  if (item.has("lte")) return order <= 0;
  if (item.has("gt")) return order > 0;
  if (item.has("gte")) return order >= 0;
  return order == 0;
}

ValueTest CompareTest(const Item& item, const Node& value) {
  const Decimal limit = ReadDecimal(value.scalar).value();
  return [item, limit](const Value& found, const Fields&) {
    if (!found.is_number() && !found.is_string()) return false;
    const auto number = ReadDecimal(std::string(found.text()));
    return number && Ordered(item, Compare(*number, limit));
  };
}

std::optional<std::tm> TimeOf(const Value& value) {
  std::time_t seconds = 0;
  if (value.is_number()) {
    double number = std::stod(TextOf(value));
    if (number < 0) return std::nullopt;
    while (number >= 1e11) number /= 1000;
    seconds = static_cast<std::time_t>(number);
  } else {
    static const RE2 grammar(R"((\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(?::(\d\d)(?:[.,]\d*)?)?)"
                             R"((?:[Zz]|([+-])(\d\d)(?::?(\d\d))?)?)?)");
    std::string date, clock, second, sign, hours, minutes;
    if (!value.is_string() || !RE2::FullMatch(std::string(value.text()), grammar, &date, &clock,
                                              &second, &sign, &hours, &minutes))
      return std::nullopt;
    std::tm broken{};
    const std::string text =
        date + " " + (clock.empty() ? "00:00" : clock) + ":" + (second.empty() ? "00" : second);
    const char* end = strptime(text.c_str(), "%Y-%m-%d %H:%M:%S", &broken);
    if (end == nullptr || *end != '\0') return std::nullopt;
    const int day = broken.tm_mday;
    seconds = timegm(&broken);
    std::tm again{};
    gmtime_r(&seconds, &again);
    if (again.tm_mday != day && broken.tm_sec != 60) return std::nullopt;
    const int zone = std::atoi(hours.c_str()) * 60 + std::atoi(minutes.c_str());
    seconds -= (sign == "-" ? -1 : 1) * zone * 60;
  }
  std::tm out{};
  gmtime_r(&seconds, &out);
  return out;
}

ValueTest TimeTest(const Item& item, const char* part, const Node& value) {
  const std::map<std::string, const char*> formats = {{"minute", "%M"}, {"hour", "%H"},
                                                      {"day", "%d"},    {"week", "%V"},
                                                      {"month", "%m"},  {"year", "%Y"}};
  const char* format = formats.at(part);
  const long wanted = std::stol(value.scalar);
  return [item, format, wanted](const Value& found, const Fields&) {
    const auto time = TimeOf(found);
    if (!time) return false;
    char text[16];
    std::strftime(text, sizeof(text), format, &*time);
    const long number = std::stol(text);
    return Ordered(item, number < wanted ? -1 : number > wanted ? 1 : 0);
  };
}

ValueTest FieldRefTest(const Item& item, const Node& value) {
  const std::string other = value.scalar;
  return [item, other](const Value& found, const Fields& fields) {
    if (found.is_null_or_absent()) return false;
    return AnyMember(fields(other), [&](const Value& one) {
      if (one.is_null_or_absent()) return false;
      Text wanted = Points(TextOf(one));
      if (item.has("contains") || item.has("endswith")) wanted = Text(1, kStar) + wanted;
      if (item.has("contains") || item.has("startswith")) wanted += kStar;
      return Like(Points(TextOf(found)), wanted, item.has("cased"));
    });
  };
}

ValueTest OneValue(const Item& item, const Node& value, bool keyword) {
  if (value.is_null())
    return [](const Value& found, const Fields&) { return found.is_null_or_absent(); };
  if (item.has("re")) return RegexTest(item, value);
  if (item.has("cidr")) return CidrTest(value);
  if (item.has("fieldref")) return FieldRefTest(item, value);
  for (const char* part : {"minute", "hour", "day", "week", "month", "year"}) {
    if (item.has(part)) return TimeTest(item, part, value);
  }
  for (const char* name : {"lt", "lte", "gt", "gte"}) {
    if (item.has(name)) return CompareTest(item, value);
  }
  return TextTest(item, value, keyword);
}

Test OneItem(const std::string& key, const Node& value) {
  Item item;
  item.modifiers = Split(key, '|');
  item.field = item.modifiers[0];
  item.modifiers.erase(item.modifiers.begin());
  const bool keyword = item.field.empty();
  const std::string field = keyword ? std::string(kAllValuesField) : item.field;
  if (item.has("exists")) {
    const bool wanted = value.scalar == "true";
    return [field, wanted](const Fields& fields) { return fields(field).is_absent() != wanted; };
  }
  std::vector<ValueTest> tests;
  for (const Node& one : value.is_sequence() ? value.items : std::vector<Node>{value})
    tests.push_back(OneValue(item, one, keyword));
  const bool all = item.has("all");
  const bool neq = item.has("neq");
  return [field, tests, all, neq](const Fields& fields) {
    const Value found = fields(field);
    size_t held = 0;
    for (const ValueTest& test : tests)
      held += AnyMember(found, [&](const Value& one) { return test(one, fields); }) ? 1 : 0;
    const bool met = all ? held == tests.size() : held > 0;
    return neq ? !met : met;
  };
}

Test And(std::vector<Test> tests) {
  return [tests = std::move(tests)](const Fields& fields) {
    return std::all_of(tests.begin(), tests.end(), [&](const Test& test) { return test(fields); });
  };
}
Test Or(std::vector<Test> tests) {
  return [tests = std::move(tests)](const Fields& fields) {
    return std::any_of(tests.begin(), tests.end(), [&](const Test& test) { return test(fields); });
  };
}

Test Search(const Node& node) {
  if (node.is_scalar()) return OneItem("", node);
  std::vector<Test> tests;
  for (const NodeEntry& entry : node.entries)
    tests.push_back(OneItem(entry.first.scalar, entry.second));
  if (node.is_map()) return And(std::move(tests));
  for (const Node& item : node.items) tests.push_back(Search(item));
  return Or(std::move(tests));
}

// The condition, by precedence climbing over its words.
class Conditions {
 public:
  Conditions(const std::string& text, const std::map<std::string, Test>& searches)
      : searches_(searches) {
    std::string spaced;
    for (const char c : text)
      spaced += c == '(' || c == ')' ? std::string(" ") + c + " " : std::string(1, c);
    for (const std::string& word : Split(spaced, ' ')) {
      if (!word.empty()) words_.push_back(word);
    }
  }
  Test Parse() {
    Test test = Binary(0);
    if (at_ != words_.size()) Fail("condition");
    return test;
  }

 private:
  static std::string Lower(std::string text) {
    for (char& c : text) c = static_cast<char>(std::tolower(c));
    return text;
  }
  bool Take(const std::string& word) {
    if (at_ == words_.size() || Lower(words_[at_]) != word) return false;
    ++at_;
    return true;
  }
  Test Binary(int level) {
    if (level == 2) return Unary();
    std::vector<Test> tests = {Binary(level + 1)};
    while (Take(level == 0 ? "or" : "and")) tests.push_back(Binary(level + 1));
    return level == 0 ? Or(std::move(tests)) : And(std::move(tests));
  }
  Test Unary() {
    if (Take("not")) {
      const Test test = Unary();
      return [test](const Fields& fields) { return !test(fields); };
    }
    if (Take("(")) {
      Test test = Binary(0);
      if (!Take(")")) Fail("bracket");
      return test;
    }
    if (at_ + 1 < words_.size() && Lower(words_[at_ + 1]) == "of") {
      const bool all = Lower(words_[at_]) == "all";
      at_ += 2;
      std::vector<Test> tests;
      const std::string& which = words_[at_++];
      for (const auto& [name, test] : searches_) {
        if (name[0] != '_' &&
            (Lower(which) == "them" || Like(Points(name), Unescaped(which), true)))
          tests.push_back(test);
      }
      return all ? And(std::move(tests)) : Or(std::move(tests));
    }
    const auto it = searches_.find(words_.at(at_++));
    if (it == searches_.end()) Fail("no such search");
    return it->second;
  }

  const std::map<std::string, Test>& searches_;
  std::vector<std::string> words_;
  size_t at_ = 0;
};

}  // namespace

Oracle::Oracle(const Node& detection) {
  std::map<std::string, Test> searches;
  std::vector<std::string> conditions;
  for (const NodeEntry& entry : detection.entries) {
    if (entry.first.scalar != "condition") {
      searches[entry.first.scalar] = Search(entry.second);
    } else if (entry.second.is_scalar()) {
      conditions.push_back(entry.second.scalar);
    } else {
      for (const Node& one : entry.second.items) conditions.push_back(one.scalar);
    }
  }
  std::vector<Test> tests;
  for (const std::string& condition : conditions)
    tests.push_back(Conditions(condition, searches).Parse());
  test_ = Or(std::move(tests));
}

}  // namespace bongsu
