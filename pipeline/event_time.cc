#include "pipeline/event_time.h"

#include <array>
#include <cstring>

namespace bongsu {
namespace {

// Products of seconds and 10^9 before they are known to fit.
__extension__ using Int128 = __int128;
__extension__ using Uint128 = unsigned __int128;

constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }
constexpr bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
constexpr char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// Two digits as a number; -1 where they are not digits.
inline int TwoDigits(const char* p) {
  const unsigned a = static_cast<unsigned char>(p[0]) - unsigned{'0'};
  const unsigned b = static_cast<unsigned char>(p[1]) - unsigned{'0'};
  return a <= 9 && b <= 9 ? static_cast<int>(a * 10 + b) : -1;
}

struct Civil {
  int year = 0;
  int month = 0;
  int day = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;
  int64_t nanos = 0;
};

constexpr bool IsLeap(int year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

constexpr int DaysInMonth(int year, int month) {
  constexpr std::array<int, 13> kDays = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return month == 2 && IsLeap(year) ? 29 : kDays[static_cast<size_t>(month)];
}

// Days since 1970-01-01 in the proleptic Gregorian calendar. Years are counted from March, so that
// the leap day is a year's last, and in eras of 400 years, which all have 146,097 days.
constexpr int64_t DaysFromCivil(int year, int month, int day) {
  const int y = month <= 2 ? year - 1 : year;
  const int era = (y >= 0 ? y : y - 399) / 400;
  const int year_of_era = y - era * 400;
  const int day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  const int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return int64_t{era} * 146'097 + day_of_era - 719'468;
}

// The ends of the range stand for the infinities and are no times.
std::optional<EventTimeNs> InRange(Int128 ns) {
  if (ns <= kMinEventTime || ns >= kMaxEventTime) return std::nullopt;
  return static_cast<EventTimeNs>(ns);
}

bool IsSecond(int second) { return second >= 0 && second <= 60; }

std::optional<EventTimeNs> FromSeconds(int64_t seconds, int64_t nanos, DurationNs zone_offset) {
  return InRange(static_cast<Int128>(seconds) * kSecondNs + nanos - zone_offset);
}

std::optional<int64_t> SecondsOf(const Civil& c) {
  if (c.month < 1 || c.month > 12 || c.day < 1 || c.hour < 0 || c.hour > 23 || c.minute < 0 ||
      c.minute > 59 || !IsSecond(c.second) || c.day > DaysInMonth(c.year, c.month)) {
    return std::nullopt;
  }
  return DaysFromCivil(c.year, c.month, c.day) * 86'400 + c.hour * 3'600 + c.minute * 60 + c.second;
}

std::optional<EventTimeNs> FromCivil(const Civil& c, DurationNs zone_offset) {
  const std::optional<int64_t> seconds = SecondsOf(c);
  return seconds ? FromSeconds(*seconds, c.nanos, zone_offset) : std::nullopt;
}

// Reads the digits of a fraction at `p`; the first nine count. False where there is none.
bool ReadFraction(const char*& p, const char* end, int64_t* nanos) {
  const char* begin = p;
  int64_t value = 0;
  int64_t scale = kSecondNs;
  for (; p != end && IsDigit(*p); ++p) {
    if (scale == 1) continue;
    value = value * 10 + (*p - '0');
    scale /= 10;
  }
  *nanos = value * scale;
  return p != begin;
}

// Reads a zone at `p`.
bool ReadZone(const char*& p, const char* end, DurationNs* offset) {
  *offset = 0;
  if (p == end) return false;
  if (*p == 'Z' || *p == 'z') {
    ++p;
    return true;
  }
  const std::string_view rest(p, static_cast<size_t>(end - p));
  if (rest.starts_with("UTC") || rest.starts_with("GMT")) {
    p += 3;
    return true;
  }
  if ((*p != '+' && *p != '-') || end - p < 3) return false;
  const bool negative = *p == '-';
  const int hours = TwoDigits(p + 1);
  if (hours < 0 || hours > 23) return false;
  p += 3;
  int minutes = 0;
  if (end - p >= 3 && *p == ':') {
    minutes = TwoDigits(p + 1);
    p += 3;
  } else if (end - p >= 2 && IsDigit(*p)) {
    minutes = TwoDigits(p);
    p += 2;
  }
  if (minutes < 0 || minutes > 59) return false;
  *offset = (hours * kHourNs + minutes * kMinuteNs) * (negative ? -1 : 1);
  return true;
}

// Reads up to `digits_max` digits; false where there is none.
bool ReadNumber(const char*& p, const char* end, int digits_max, int* value) {
  *value = 0;
  const char* begin = p;
  while (p != end && IsDigit(*p) && p - begin < digits_max) *value = *value * 10 + (*p++ - '0');
  return p != begin;
}

constexpr std::array<std::string_view, 12> kMonths = {
    "january", "february", "march",     "april",   "may",      "june",
    "july",    "august",   "september", "october", "november", "december"};
constexpr std::array<std::string_view, 7> kWeekdays = {
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"};

// Reads a name, whole or its first three letters; the index from 1, or 0.
template <size_t n>
int ReadName(const char*& p, const char* end, const std::array<std::string_view, n>& names) {
  for (size_t i = 0; i < n; ++i) {
    size_t same = 0;
    while (same < names[i].size() && p + same != end && Lower(p[same]) == names[i][same]) ++same;
    if (same < 3) continue;
    p += same == names[i].size() ? same : 3;
    return static_cast<int>(i) + 1;
  }
  return 0;
}

// The layout of nearly all logs, yyyy-mm-dd?hh:mm:ss with an optional fraction, without a loop over
// a pattern: seconds since 1970 as if its zone were UTC. False also for what is no time of a day.
bool ReadFixed(const char*& p, const char* end, LatestMinute* latest, int64_t* seconds,
               int64_t* nanos) {
  if (end - p < 19) return false;
  const int second = TwoDigits(p + LatestMinute::kSize);
  if (!IsSecond(second)) return false;
  if (latest != nullptr && std::memcmp(p, latest->text, LatestMinute::kSize) == 0) {
    *seconds = latest->seconds + second;
  } else {
    if (p[4] != '-' || p[7] != '-' || p[13] != ':' || p[16] != ':') return false;
    const int century = TwoDigits(p);
    const int year_of_century = TwoDigits(p + 2);
    if (century < 0 || year_of_century < 0) return false;
    const std::optional<int64_t> minute = SecondsOf({.year = century * 100 + year_of_century,
                                                     .month = TwoDigits(p + 5),
                                                     .day = TwoDigits(p + 8),
                                                     .hour = TwoDigits(p + 11),
                                                     .minute = TwoDigits(p + 14)});
    if (!minute) return false;
    if (latest != nullptr) {
      std::memcpy(latest->text, p, LatestMinute::kSize);
      latest->seconds = *minute;
    }
    *seconds = *minute + second;
  }
  p += 19;
  *nanos = 0;
  if (p == end || (*p != '.' && *p != ',')) return true;
  return ReadFraction(++p, end, nanos);
}

// What a pattern has read so far.
struct Parsed {
  Civil civil{.year = 1970, .month = 1, .day = 1};
  int day_of_year = 0;
  int half = -1;       // 0 AM, 1 PM
  bool epoch = false;  // %s was read
  bool epoch_negative = false;
  int64_t epoch_seconds = 0;  // without its sign
  DurationNs zone_offset = 0;
};

bool ReadEpochSeconds(const char*& p, const char* end, Parsed* out) {
  out->epoch = true;
  out->epoch_negative = p != end && *p == '-';
  if (out->epoch_negative) ++p;
  const char* begin = p;
  while (p != end && IsDigit(*p) && p - begin < 18) {
    out->epoch_seconds = out->epoch_seconds * 10 + (*p++ - '0');
  }
  return p != begin;
}

bool ReadTwoDigitYear(const char*& p, const char* end, int* year) {
  if (end - p < 2 || (*year = TwoDigits(p)) < 0) return false;
  *year += *year >= 69 ? 1900 : 2000;
  p += 2;
  return true;
}

bool ReadFourDigitYear(const char*& p, const char* end, int* year) {
  const char* begin = p;
  return ReadNumber(p, end, 4, year) && p - begin == 4;
}

bool ReadHalf(const char*& p, const char* end, int* half) {
  if (end - p < 2 || Lower(p[1]) != 'm' || (Lower(*p) != 'a' && Lower(*p) != 'p')) return false;
  *half = Lower(*p) == 'p' ? 1 : 0;
  p += 2;
  return true;
}

// An optional fraction with its dot.
bool ReadDotFraction(const char*& p, const char* end, int64_t* nanos) {
  if (p == end || (*p != '.' && *p != ',')) return true;
  return ReadFraction(++p, end, nanos);
}

// Month and day from the day of the year.
bool ResolveDayOfYear(Parsed* out) {
  Civil& c = out->civil;
  if (out->day_of_year > (IsLeap(c.year) ? 366 : 365)) return false;
  c.month = 1;
  c.day = out->day_of_year;
  while (c.day > DaysInMonth(c.year, c.month)) c.day -= DaysInMonth(c.year, c.month++);
  return true;
}

bool ReadDirective(char directive, const char*& p, const char* end, Parsed* out) {
  Civil& c = out->civil;
  switch (directive) {
    case 'Y':
      return ReadFourDigitYear(p, end, &c.year);
    case 'y':
      return ReadTwoDigitYear(p, end, &c.year);
    case 'm':
      return ReadNumber(p, end, 2, &c.month);
    case 'e':
      while (p != end && *p == ' ') ++p;
      return ReadNumber(p, end, 2, &c.day);
    case 'd':
      return ReadNumber(p, end, 2, &c.day);
    case 'j':
      return ReadNumber(p, end, 3, &out->day_of_year) && out->day_of_year > 0;
    case 'b':
      return (c.month = ReadName(p, end, kMonths)) != 0;
    case 'a':
      return ReadName(p, end, kWeekdays) != 0;
    case 'H':
      return ReadNumber(p, end, 2, &c.hour);
    case 'I':
      return ReadNumber(p, end, 2, &c.hour) && c.hour >= 1 && c.hour <= 12;
    case 'p':
      return ReadHalf(p, end, &out->half);
    case 'M':
      return ReadNumber(p, end, 2, &c.minute);
    case 'S':
      return ReadNumber(p, end, 2, &c.second);
    case 'f':
      return ReadDotFraction(p, end, &c.nanos);
    case 'z':
      return ReadZone(p, end, &out->zone_offset);
    case 's':
      return ReadEpochSeconds(p, end, out);
    default:
      return false;
  }
}

std::optional<EventTimeNs> Combine(Parsed& parsed) {
  if (parsed.epoch) {
    const Int128 ns = static_cast<Int128>(parsed.epoch_seconds) * kSecondNs + parsed.civil.nanos;
    return InRange(parsed.epoch_negative ? -ns : ns);
  }
  if (parsed.half >= 0) parsed.civil.hour = parsed.civil.hour % 12 + 12 * parsed.half;
  if (parsed.day_of_year > 0 && !ResolveDayOfYear(&parsed)) return std::nullopt;
  return FromCivil(parsed.civil, parsed.zone_offset);
}

}  // namespace

std::optional<EventTimeNs> ParseRfc3339(std::string_view text, LatestMinute* latest) {
  const char* p = text.data();
  const char* end = p + text.size();
  const char separator = text.size() > 10 ? p[10] : '\0';
  if (separator != 'T' && separator != ' ' && separator != 't') return std::nullopt;
  int64_t seconds = 0;
  int64_t nanos = 0;
  if (!ReadFixed(p, end, latest, &seconds, &nanos)) return std::nullopt;
  DurationNs zone = 0;
  if (p != end && *p == ' ') ++p;
  if (!ReadZone(p, end, &zone) || p != end) return std::nullopt;
  return FromSeconds(seconds, nanos, zone);
}

std::optional<EventTimeNs> ParseEpoch(std::string_view text, EpochUnit unit) {
  const char* p = text.data();
  const char* end = p + text.size();
  const bool negative = p != end && *p == '-';
  if (negative || (p != end && *p == '+')) ++p;
  // Thirty digits hold every time with more than a nanosecond's precision; later ones of the
  // fraction do not matter.
  constexpr int kDigitsMax = 30;
  Uint128 mantissa = 0;
  int digits = 0;
  int exponent = static_cast<int>(unit);
  bool any = false;
  bool fraction = false;
  for (; p != end && (IsDigit(*p) || (*p == '.' && !fraction)); ++p) {
    if (*p == '.') {
      fraction = true;
      continue;
    }
    any = true;
    if (digits == kDigitsMax) {
      if (!fraction) return std::nullopt;
      continue;
    }
    mantissa = mantissa * 10 + static_cast<unsigned>(*p - '0');
    if (mantissa != 0) ++digits;
    if (fraction) --exponent;
  }
  if (!any) return std::nullopt;
  if (p != end && (*p == 'e' || *p == 'E')) {
    ++p;
    const bool down = p != end && *p == '-';
    if (down || (p != end && *p == '+')) ++p;
    int power = 0;
    if (!ReadNumber(p, end, 3, &power)) return std::nullopt;
    exponent += down ? -power : power;
  }
  if (p != end) return std::nullopt;
  constexpr Uint128 kLimit = static_cast<Uint128>(kMaxEventTime);
  for (; exponent > 0 && mantissa != 0; --exponent) {
    if (mantissa > kLimit) return std::nullopt;
    mantissa *= 10;
  }
  for (; exponent < 0 && mantissa != 0; ++exponent) mantissa /= 10;
  if (mantissa > kLimit) return std::nullopt;
  const auto ns = static_cast<Int128>(mantissa);
  return InRange(negative ? -ns : ns);
}

std::optional<DurationNs> ParseZone(std::string_view text) {
  const char* p = text.data();
  const char* end = p + text.size();
  DurationNs offset = 0;
  if (!ReadZone(p, end, &offset) || p != end) return std::nullopt;
  return offset;
}

std::optional<TimePattern> TimePattern::Compile(std::string_view pattern, DurationNs zone_offset,
                                                std::string* error) {
  TimePattern compiled;
  compiled.zone_offset_ = zone_offset;
  std::string seen;
  std::string expanded;  // without the abbreviations
  for (size_t i = 0; i < pattern.size(); ++i) {
    const bool directive = pattern[i] == '%' && i + 1 < pattern.size();
    const std::string_view two = pattern.substr(i, 2);
    std::string_view put = directive ? two : pattern.substr(i, 1);
    if (two == "%F") put = "%Y-%m-%d";
    if (two == "%T") put = "%H:%M:%S";
    if (two == "%D") put = "%m/%d/%y";
    if (two == "%R") put = "%H:%M";
    if (two == "%B" || two == "%h") put = "%b";
    if (two == "%A") put = "%a";
    expanded.append(put);
    if (directive) ++i;
  }
  for (size_t i = 0; i < expanded.size(); ++i) {
    const char c = expanded[i];
    if (IsSpace(c)) {
      compiled.steps_.push_back({.directive = ' '});
    } else if (c != '%') {
      compiled.steps_.push_back({.literal = c});
    } else if (++i == expanded.size()) {
      *error = "a '%' at the end";
      return std::nullopt;
    } else if (expanded[i] == '%') {
      compiled.steps_.push_back({.literal = '%'});
    } else if (std::string_view("YymdejbaHIMSpfzs").find(expanded[i]) == std::string_view::npos) {
      *error = std::string("unknown directive '%") + expanded[i] + "'";
      return std::nullopt;
    } else {
      seen.push_back(expanded[i]);
      compiled.steps_.push_back({.directive = expanded[i]});
    }
  }
  const auto has = [&seen](std::string_view any) {
    return seen.find_first_of(any) != std::string::npos;
  };
  const bool date = has("Yy") && (has("j") || (has("mb") && has("de")));
  if (!date && !has("s")) {
    *error = "it must fix a date: %Y (or %y), %m (or %b) and %d, or %Y and %j, or %s";
    return std::nullopt;
  }
  if (has("I") != has("p")) {
    *error = "%I and %p belong together";
    return std::nullopt;
  }
  compiled.fixed_ = expanded == "%Y-%m-%d %H:%M:%S%f";
  return compiled;
}

std::optional<EventTimeNs> TimePattern::Parse(std::string_view text, LatestMinute* latest) const {
  const char* p = text.data();
  const char* end = p + text.size();
  int64_t seconds = 0;
  int64_t nanos = 0;
  if (fixed_ && text.size() >= 19 && p[10] == ' ' && ReadFixed(p, end, latest, &seconds, &nanos) &&
      p == end)
    return FromSeconds(seconds, nanos, zone_offset_);
  p = text.data();
  Parsed parsed;
  parsed.zone_offset = zone_offset_;
  for (const Step& step : steps_) {
    if (step.directive == ' ') {
      while (p != end && IsSpace(*p)) ++p;
    } else if (step.directive == 0) {
      if (p == end || *p != step.literal) return std::nullopt;
      ++p;
    } else if (!ReadDirective(step.directive, p, end, &parsed)) {
      return std::nullopt;
    }
  }
  if (p != end) return std::nullopt;
  return Combine(parsed);
}

}  // namespace bongsu
