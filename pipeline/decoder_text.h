// File: pipeline/decoder_text.h
//
// The bytes of JSON scalars: numbers and literals checked, strings unescaped, UTF-8 repaired.
//
// Thread-safety: pure functions.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "operators/event.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace bongsu {

constexpr bool IsJsonSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// The text from `begin` up to `end` without the white space at its end.
inline std::string_view TrimJsonEnd(const char* begin, const char* end) {
  while (end != begin && IsJsonSpace(end[-1])) --end;
  return {begin, static_cast<size_t>(end - begin)};
}

// Whether a backslash is among the `size` bytes at `p`. Reads up to 15 bytes more.
inline bool HasBackslash(const char* p, size_t size) {
#if defined(__SSE2__)
  const __m128i backslash = _mm_set1_epi8('\\');
  size_t at = 0;
  for (;; at += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + at));
    auto mask = static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, backslash)));
    if (size - at <= 16) {
      mask &= size == at ? 0 : 0xFFFFu >> (16 - (size - at));
      return mask != 0;
    }
    if (mask != 0) return true;
  }
#else
  return std::memchr(p, '\\', size) != nullptr;
#endif
}

// A number, true, false or null; an absent Value where `text` is none of them.
Value ReadScalar(std::string_view text);

// What Unescape may write behind the text, and read behind it.
inline constexpr size_t kUnescapeSlack = 16;

// Resolves the escapes of a string's inside (without its quotes), appending to `out`, which must
// have room for `text.size() + kUnescapeSlack` bytes. Returns the end of what was written; null for
// a wrong escape. Half of a surrogate pair becomes U+FFFD and sets `*repaired`: one bad code unit
// must not hide the string.
char* Unescape(std::string_view text, char* out, bool* repaired);
// Whether all escapes of a string's inside are right.
bool EscapesAreValid(std::string_view text);

// `bytes` with U+FFFD in place of each wrong sequence (the maximal subparts of Unicode 15,
// section 3.9).
void RepairUtf8(std::string_view bytes, std::string* out);

}  // namespace bongsu
