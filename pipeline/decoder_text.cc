#include "pipeline/decoder_text.h"

#include <algorithm>
#include <bit>

namespace bongsu {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
bool IsNumber(std::string_view text) {
  const char* p = text.data();
  const char* end = p + text.size();
  const auto digits = [&p, end] {
    const char* begin = p;
    while (p != end && IsDigit(*p)) ++p;
    return p != begin;
  };
  if (p != end && *p == '-') ++p;
  if (p != end && *p == '0') {
    ++p;
  } else if (!digits()) {
    return false;
  }
  if (p != end && *p == '.') {
    ++p;
    if (!digits()) return false;
  }
  if (p != end && (*p == 'e' || *p == 'E')) {
    ++p;
    if (p != end && (*p == '+' || *p == '-')) ++p;
    if (!digits()) return false;
  }
  return p == end;
}

constexpr int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The four digits of \uXXXX at `p`; -1 where they are not hexadecimal, or fewer.
int32_t ReadHex4(const char* p, const char* end) {
  if (end - p < 4) return -1;
  int32_t code = 0;
  for (int i = 0; i < 4; ++i) {
    const int digit = HexDigit(p[i]);
    if (digit < 0) return -1;
    code = code * 16 + digit;
  }
  return code;
}

constexpr bool IsHighSurrogate(int32_t code) { return code >= 0xD800 && code <= 0xDBFF; }
constexpr bool IsLowSurrogate(int32_t code) { return code >= 0xDC00 && code <= 0xDFFF; }

char* PutUtf8(int32_t code, char* out) {
  const auto put = [&out](int32_t byte) { *out++ = static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
  return out;
}

// The byte that a one-letter escape stands for, or 0.
constexpr char SimpleEscape(char letter) {
  switch (letter) {
    case '"':
    case '\\':
    case '/':
      return letter;
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      return 0;
  }
}

// Copies up to the first backslash; returns the number of bytes. In Windows paths backslashes are a
// few bytes apart: what is copied behind one is overwritten.
inline size_t CopyPlain(const char* p, size_t size, char* out) {
#if defined(__SSE2__)
  const __m128i backslash = _mm_set1_epi8('\\');
  for (size_t at = 0; at < size; at += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + at));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + at), bytes);
    const auto mask = static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, backslash)));
    if (mask != 0) return std::min(at + static_cast<size_t>(std::countr_zero(mask)), size);
  }
  return size;
#else
  const auto* slash = static_cast<const char*>(std::memchr(p, '\\', size));
  const size_t plain = slash == nullptr ? size : static_cast<size_t>(slash - p);
  std::memcpy(out, p, plain);
  return plain;
#endif
}

// \uXXXX, or two of them as a pair; `p` is behind the 'u' and moves behind what was read. Null for
// a wrong one.
char* UnescapeUnicode(const char*& p, const char* end, char* out, bool* repaired) {
  int32_t code = ReadHex4(p, end);
  if (code < 0) return nullptr;
  p += 4;
  if (IsHighSurrogate(code) && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
    const int32_t low = ReadHex4(p + 2, end);
    if (IsLowSurrogate(low)) {
      p += 6;
      return PutUtf8(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00), out);
    }
  }
  if (IsHighSurrogate(code) || IsLowSurrogate(code)) {
    *repaired = true;
    code = 0xFFFD;
  }
  return PutUtf8(code, out);
}

}  // namespace

Value ReadScalar(std::string_view text) {
  if (text.empty()) return {};
  switch (text[0]) {
    case 't':
      return text == "true" ? Value::Bool(true) : Value();
    case 'f':
      return text == "false" ? Value::Bool(false) : Value();
    case 'n':
      return text == "null" ? Value::Null() : Value();
    default:
      return IsNumber(text) ? Value::Number(text) : Value();
  }
}

char* Unescape(std::string_view text, char* out, bool* repaired) {
  const char* p = text.data();
  const char* end = p + text.size();
  while (p != end) {
    const size_t plain = CopyPlain(p, static_cast<size_t>(end - p), out);
    p += plain;
    out += plain;
    if (p == end) break;
    if (end - p < 2) return nullptr;
    const char letter = p[1];
    p += 2;
    if (letter == 'u') {
      out = UnescapeUnicode(p, end, out, repaired);
      if (out == nullptr) return nullptr;
    } else if (const char byte = SimpleEscape(letter); byte != 0) {
      *out++ = byte;
    } else {
      return nullptr;
    }
  }
  return out;
}

bool EscapesAreValid(std::string_view text) {
  for (size_t at = text.find('\\'); at != std::string_view::npos; at = text.find('\\', at)) {
    if (at + 1 >= text.size()) return false;
    if (text[at + 1] == 'u') {
      if (ReadHex4(text.data() + at + 2, text.data() + text.size()) < 0) return false;
      at += 6;
    } else {
      if (SimpleEscape(text[at + 1]) == 0) return false;
      at += 2;
    }
  }
  return true;
}

void RepairUtf8(std::string_view bytes, std::string* out) {
  out->clear();
  const auto byte = [bytes](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  for (size_t i = 0; i < bytes.size();) {
    const unsigned char first = byte(i);
    if (first < 0x80) {
      out->push_back(bytes[i++]);
      continue;
    }
    // How many bytes follow, and the range of the first of them, which keeps out overlong forms,
    // surrogates and what lies beyond U+10FFFF.
    size_t more = 0;
    unsigned char low = 0x80;
    unsigned char high = 0xBF;
    if (first >= 0xC2 && first <= 0xDF) {
      more = 1;
    } else if (first >= 0xE0 && first <= 0xEF) {
      more = 2;
      if (first == 0xE0) low = 0xA0;
      if (first == 0xED) high = 0x9F;
    } else if (first >= 0xF0 && first <= 0xF4) {
      more = 3;
      if (first == 0xF0) low = 0x90;
      if (first == 0xF4) high = 0x8F;
    }
    size_t good = 1;
    for (; good <= more && i + good < bytes.size(); ++good) {
      if (byte(i + good) < low || byte(i + good) > high) break;
      low = 0x80;
      high = 0xBF;
    }
    if (more > 0 && good == more + 1) {
      out->append(bytes.substr(i, good));
    } else {
      out->append(kReplacement);
    }
    i += good;
  }
}

}  // namespace bongsu
