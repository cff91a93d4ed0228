#include "operators/decimal.h"

#include <algorithm>
#include <charconv>

namespace bongsu {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// The parts of a JSON number; views into the text.
struct Parts {
  bool negative = false;
  std::string_view whole;
  std::string_view fraction;
  std::string_view exponent;  // sign included; empty: none
};

bool Split(std::string_view text, Parts* parts) {
  size_t at = 0;
  if (at < text.size() && text[at] == '-') {
    parts->negative = true;
    ++at;
  }
  const size_t whole = at;
  while (at < text.size() && IsDigit(text[at])) ++at;
  parts->whole = text.substr(whole, at - whole);
  if (parts->whole.empty() || (parts->whole.size() > 1 && parts->whole[0] == '0')) return false;
  if (at < text.size() && text[at] == '.') {
    const size_t fraction = ++at;
    while (at < text.size() && IsDigit(text[at])) ++at;
    parts->fraction = text.substr(fraction, at - fraction);
    if (parts->fraction.empty()) return false;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    const size_t exponent = ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    const size_t digits = at;
    while (at < text.size() && IsDigit(text[at])) ++at;
    if (digits == at) return false;
    parts->exponent = text.substr(exponent, at - exponent);
    if (parts->exponent[0] == '+') parts->exponent.remove_prefix(1);
  }
  return at == text.size();
}

std::string_view Whole(std::string_view number) {
  if (!number.empty() && number[0] == '-') number.remove_prefix(1);
  return number.substr(0, number.find('.'));
}

std::string_view Fraction(std::string_view number) {
  const size_t dot = number.find('.');
  return dot == std::string_view::npos ? std::string_view() : number.substr(dot + 1);
}

}  // namespace

bool IsNumberText(std::string_view text) {
  Parts parts;
  return Split(text, &parts);
}

bool ShortestDecimal(std::string_view text, std::string* out) {
  Parts parts;
  if (!Split(text, &parts)) return false;
  if (parts.fraction.empty() && parts.exponent.empty()) {  // the usual case: an integer
    out->assign(parts.negative && parts.whole == "0" ? parts.whole : text);
    return true;
  }
  int exponent = 0;
  if (!parts.exponent.empty()) {
    const auto [end, error] = std::from_chars(
        parts.exponent.data(), parts.exponent.data() + parts.exponent.size(), exponent);
    if (error != std::errc()) return false;
  }
  std::string digits(parts.whole);
  digits += parts.fraction;
  if (digits.size() > kDecimalDigitsMax || exponent > kDecimalDigitsMax ||
      exponent < -kDecimalDigitsMax)
    return false;
  int point = static_cast<int>(parts.whole.size()) + exponent;  // digits before the point
  if (point > static_cast<int>(digits.size()))
    digits.append(static_cast<size_t>(point) - digits.size(), '0');
  if (point < 0) {
    digits.insert(0, static_cast<size_t>(-point), '0');
    point = 0;
  }
  std::string whole = digits.substr(0, static_cast<size_t>(point));
  std::string fraction = digits.substr(static_cast<size_t>(point));
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size()));
  fraction.erase(fraction.find_last_not_of('0') + 1);
  if (whole.empty()) whole = "0";
  out->clear();
  if (parts.negative && !(whole == "0" && fraction.empty())) out->push_back('-');
  *out += whole;
  if (!fraction.empty()) {
    out->push_back('.');
    *out += fraction;
  }
  return true;
}

int CompareDecimals(std::string_view a, std::string_view b) {
  const bool a_negative = !a.empty() && a[0] == '-';
  const bool b_negative = !b.empty() && b[0] == '-';
  if (a_negative != b_negative) return a_negative ? -1 : 1;
  const int sign = a_negative ? -1 : 1;
  const std::string_view a_whole = Whole(a);
  const std::string_view b_whole = Whole(b);
  if (a_whole.size() != b_whole.size()) return a_whole.size() < b_whole.size() ? -sign : sign;
  int order = a_whole.compare(b_whole);
  // Without trailing zeros, fractions order as texts.
  if (order == 0) order = Fraction(a).compare(Fraction(b));
  return order == 0 ? 0 : order < 0 ? -sign : sign;
}

}  // namespace bongsu
