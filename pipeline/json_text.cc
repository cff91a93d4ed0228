#include "pipeline/json_text.h"

#include <charconv>
#include <cstring>
#include <system_error>

namespace bongsu {
namespace {

constexpr uint64_t kOnes = 0x0101010101010101u;
constexpr uint64_t kHighs = 0x8080808080808080u;

// Bytes that are zero have their high bit set in the result; exact for the question "any?".
constexpr uint64_t ZeroBytes(uint64_t word) { return (word - kOnes) & ~word & kHighs; }

// True when one of the eight bytes needs a closer look: a control, a quote, a backslash, DEL, or a
// byte that is not ASCII. With the high bit handled on its own, `word - 0x20..` borrows only from
// bytes below 0x20, which need the closer look anyway.
bool NeedsLook(uint64_t word) {
  const uint64_t control = (word - kOnes * 0x20) & ~word;
  return ((word | control) & kHighs) != 0 || ZeroBytes(word ^ (kOnes * '"')) != 0 ||
         ZeroBytes(word ^ (kOnes * '\\')) != 0 || ZeroBytes(word ^ (kOnes * 0x7f)) != 0;
}

bool IsPlain(uint8_t c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; }

// The number of leading bytes that stand for themselves.
size_t PlainPrefix(const char* data, size_t size) {
  size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, data + i, 8);
    if (NeedsLook(word)) break;
  }
  while (i < size && IsPlain(static_cast<uint8_t>(data[i]))) ++i;
  return i;
}

constexpr char kHexDigits[] = "0123456789abcdef";

void AppendUnicodeEscape(uint32_t code, std::string* out) {
  const char text[6] = {'\\',
                        'u',
                        kHexDigits[(code >> 12) & 15],
                        kHexDigits[(code >> 8) & 15],
                        kHexDigits[(code >> 4) & 15],
                        kHexDigits[code & 15]};
  out->append(text, sizeof(text));
}

void AppendAsciiEscape(char c, std::string* out) {
  switch (c) {
    case '"':
      out->append("\\\"", 2);
      return;
    case '\\':
      out->append("\\\\", 2);
      return;
    case '\n':
      out->append("\\n", 2);
      return;
    case '\r':
      out->append("\\r", 2);
      return;
    case '\t':
      out->append("\\t", 2);
      return;
    case '\b':
      out->append("\\b", 2);
      return;
    case '\f':
      out->append("\\f", 2);
      return;
    default:
      AppendUnicodeEscape(static_cast<uint8_t>(c), out);
  }
}

// Decodes the code point that starts at `data`; returns its length, or 0 where the bytes are not
// UTF-8 (Unicode 15, table 3-7).
size_t DecodeUtf8(const uint8_t* data, size_t size, uint32_t* code) {
  const auto follows = [&](size_t i) { return i < size && (data[i] & 0xc0) == 0x80; };
  const uint8_t lead = data[0];
  if (lead < 0x80) {
    *code = lead;
    return 1;
  }
  if (lead >= 0xc2 && lead <= 0xdf && follows(1)) {
    *code = (lead & 0x1fu) << 6 | (data[1] & 0x3fu);
    return 2;
  }
  if (lead >= 0xe0 && lead <= 0xef && follows(1) && follows(2)) {
    *code = (lead & 0x0fu) << 12 | (data[1] & 0x3fu) << 6 | (data[2] & 0x3fu);
    return *code >= 0x800 && (*code < 0xd800 || *code > 0xdfff) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4 && follows(1) && follows(2) && follows(3)) {
    *code =
        (lead & 0x07u) << 18 | (data[1] & 0x3fu) << 12 | (data[2] & 0x3fu) << 6 | (data[3] & 0x3fu);
    return *code >= 0x10000 && *code <= 0x10ffff ? 4 : 0;
  }
  return 0;
}

// Invisible code points that change how the text around them is shown.
bool IsHiddenControl(uint32_t code) {
  return (code >= 0x80 && code <= 0x9f) || code == 0x61c || code == 0x200e || code == 0x200f ||
         (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) || code == 0xfeff;
}

struct CivilDate {
  int64_t year;
  unsigned month;
  unsigned day;
};

// Days since 1970-01-01 to a date of the Gregorian calendar. Source: Howard Hinnant,
// "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
CivilDate CivilFromDays(int64_t days) {
  days += 719468;
  const int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  const auto day_of_era = static_cast<unsigned>(days - era * 146097);
  const unsigned year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const unsigned day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const unsigned mp = (5 * day_of_year + 2) / 153;
  const unsigned month = mp < 10 ? mp + 3 : mp - 9;
  return {static_cast<int64_t>(year_of_era) + era * 400 + (month <= 2 ? 1 : 0), month,
          day_of_year - (153 * mp + 2) / 5 + 1};
}

// Writes two decimal digits at `at`.
void PutTwo(uint32_t number, char* at) {
  at[0] = static_cast<char>('0' + number / 10);
  at[1] = static_cast<char>('0' + number % 10);
}

int64_t FloorDiv(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

}  // namespace

void AppendJsonText(std::string_view text, std::string* out) {
  const char* data = text.data();
  size_t size = text.size();
  while (size > 0) {
    const size_t plain = PlainPrefix(data, size);
    out->append(data, plain);
    data += plain;
    size -= plain;
    if (size == 0) return;
    uint32_t code = 0;
    const size_t length = DecodeUtf8(reinterpret_cast<const uint8_t*>(data), size, &code);
    if (length == 0) {
      out->append("\\ufffd", 6);
    } else if (code < 0x80) {
      AppendAsciiEscape(*data, out);
    } else if (IsHiddenControl(code)) {
      AppendUnicodeEscape(code, out);
    } else {
      out->append(data, length);
    }
    const size_t used = length == 0 ? 1 : length;
    data += used;
    size -= used;
  }
}

void AppendInt(int64_t number, std::string* out) {
  char text[24];
  const auto result = std::to_chars(text, text + sizeof(text), number);
  out->append(text, static_cast<size_t>(result.ptr - text));
}

void AppendUint(uint64_t number, std::string* out) {
  char text[24];
  const auto result = std::to_chars(text, text + sizeof(text), number);
  out->append(text, static_cast<size_t>(result.ptr - text));
}

namespace {

// 2026-01-05T08:00:00.123456789Z
constexpr size_t kRfc3339Bytes = 30;

void WriteRfc3339(EventTimeNs time, char (&text)[kRfc3339Bytes]) {
  // In 32 bits as soon as it fits: divisions are most of the cost.
  const int64_t seconds = FloorDiv(time, kSecondNs);
  // By `%`: the range of times begins within a second, whose own beginning is outside of it.
  const int64_t rest = time % kSecondNs;
  const auto nanoseconds = static_cast<uint32_t>(rest < 0 ? rest + kSecondNs : rest);
  const int64_t days = FloorDiv(seconds, 86400);
  const auto second_of_day = static_cast<uint32_t>(seconds - days * 86400);
  const CivilDate date = CivilFromDays(days);
  const auto year = static_cast<uint32_t>(date.year);
  std::memcpy(text, "0000-00-00T00:00:00.000000000Z", kRfc3339Bytes);
  PutTwo(year / 100, text);
  PutTwo(year % 100, text + 2);
  PutTwo(date.month, text + 5);
  PutTwo(date.day, text + 8);
  PutTwo(second_of_day / 3600, text + 11);
  PutTwo(second_of_day / 60 % 60, text + 14);
  PutTwo(second_of_day % 60, text + 17);
  text[20] = static_cast<char>('0' + nanoseconds / 100'000'000);
  PutTwo(nanoseconds / 1'000'000 % 100, text + 21);
  PutTwo(nanoseconds / 10'000 % 100, text + 23);
  PutTwo(nanoseconds / 100 % 100, text + 25);
  PutTwo(nanoseconds % 100, text + 27);
}

}  // namespace

void AppendRfc3339(EventTimeNs time, std::string* out) {
  // An alert has five times, two of them different: its events'.
  struct Written {
    EventTimeNs time[2] = {0, 0};
    char text[2][kRfc3339Bytes];
    unsigned next = 0;
    Written() {
      WriteRfc3339(0, text[0]);
      WriteRfc3339(0, text[1]);
    }
  };
  thread_local Written written;
  unsigned at = written.time[0] == time ? 0 : 1;
  if (written.time[at] != time) {
    at = written.next;
    written.next ^= 1;
    written.time[at] = time;
    WriteRfc3339(time, written.text[at]);
  }
  out->append(written.text[at], kRfc3339Bytes);
}

std::string Rfc3339(EventTimeNs time) {
  std::string text;
  AppendRfc3339(time, &text);
  return text;
}

int64_t EpochMs(EventTimeNs time) { return FloorDiv(time, kMillisecondNs); }

void AppendHex(const uint8_t* bytes, size_t size, std::string* out) {
  const size_t at = out->size();
  out->resize(at + 2 * size);
  char* to = out->data() + at;
  for (size_t i = 0; i < size; ++i) {
    *to++ = kHexDigits[bytes[i] >> 4];
    *to++ = kHexDigits[bytes[i] & 15];
  }
}

void AppendBase64(std::string_view bytes, std::string* out) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto at = [&](size_t i) -> uint32_t {
    return i < bytes.size() ? static_cast<uint8_t>(bytes[i]) : 0u;
  };
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const uint32_t group = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
    out->push_back(kDigits[group >> 18]);
    out->push_back(kDigits[(group >> 12) & 63]);
    out->push_back(i + 1 < bytes.size() ? kDigits[(group >> 6) & 63] : '=');
    out->push_back(i + 2 < bytes.size() ? kDigits[group & 63] : '=');
  }
}

bool IsValidUtf8(std::string_view text) {
  const auto* data = reinterpret_cast<const uint8_t*>(text.data());
  for (size_t i = 0; i < text.size();) {
    uint32_t code = 0;
    const size_t length = DecodeUtf8(data + i, text.size() - i, &code);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

std::string_view Utf8Prefix(std::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  size_t end = bytes_max;
  // A code point has at most three continuation bytes; more of them are not UTF-8 and need no care.
  for (int i = 0; i < 3 && end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80; ++i) --end;
  return text.substr(0, end);
}

namespace {

// Without an exponent and with fewer digits there is nothing to look at.
constexpr size_t kDigitsOfADouble = 300;

bool HoldsInADouble(std::string_view number) {
  if (number.size() <= kDigitsOfADouble && number.find_first_of("eE") == std::string_view::npos)
    return true;
  double value = 0;
  return std::from_chars(number.data(), number.data() + number.size(), value).ec == std::errc();
}

}  // namespace

bool IsJsonNumber(std::string_view text) {
  size_t i = 0;
  const auto digits = [&] {
    const size_t start = i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    return i - start;
  };
  if (i < text.size() && text[i] == '-') ++i;
  const bool zero = i < text.size() && text[i] == '0';
  const size_t whole = digits();
  if (whole == 0 || (zero && whole > 1)) return false;
  if (i < text.size() && text[i] == '.') {
    ++i;
    if (digits() == 0) return false;
  }
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
    if (digits() == 0) return false;
  }
  return i == text.size() && HoldsInADouble(text);
}

}  // namespace bongsu
