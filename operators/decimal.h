// File: operators/decimal.h
//
// Numbers as text, exactly: the shortest decimal form that keys and rules compare by, so that
// `4625`, `4625.0`, `4.625e3` and the string "4625" are one, `007` stays a string of its own, and
// no digit is lost beyond 2^53.
//
//   std::string text;
//   if (ShortestDecimal("4.6250E3", &text)) ...   // "4625"
//
// Thread-safety: pure functions.
#pragma once

#include <string>
#include <string_view>

namespace bongsu {

// Numbers with more digits than this when written out (1e400) keep their own text.
inline constexpr int kDecimalDigitsMax = 400;

// True when `text` is a number in JSON's grammar.
bool IsNumberText(std::string_view text);

// Replaces `*out` by the shortest decimal text of a JSON number: no exponent, no leading or
// trailing zeros, no "-0". False when `text` is no number, or is beyond kDecimalDigitsMax.
bool ShortestDecimal(std::string_view text, std::string* out);

// -1, 0 or 1; both must be shortest decimal texts.
int CompareDecimals(std::string_view a, std::string_view b);

}  // namespace bongsu
