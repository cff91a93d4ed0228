#include "operators/sigma/time_part.h"

#include <charconv>
#include <string_view>

#include "absl/time/civil_time.h"
#include "operators/decimal.h"

namespace bongsu::sigma {
namespace {

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  // `digits` decimal digits.
  bool Number(size_t digits, int* out) {
    if (text_.size() < digits) return false;
    const char* end = text_.data() + digits;
    for (size_t i = 0; i < digits; ++i) {
      if (text_[i] < '0' || text_[i] > '9') return false;
    }
    std::from_chars(text_.data(), end, *out);
    text_.remove_prefix(digits);
    return true;
  }
  bool Take(char c) {
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  void SkipDigits() {
    while (!text_.empty() && text_.front() >= '0' && text_.front() <= '9') text_.remove_prefix(1);
  }
  bool done() const { return text_.empty(); }

 private:
  std::string_view text_;
};

// "Z", "+02:00", "+0200", or nothing: minutes to take away.
bool ReadZone(Reader* reader, int* minutes) {
  *minutes = 0;
  if (reader->done() || reader->Take('Z') || reader->Take('z')) return reader->done();
  const int sign = reader->Take('-') ? -1 : reader->Take('+') ? 1 : 0;
  int hour = 0;
  int minute = 0;
  if (sign == 0 || !reader->Number(2, &hour)) return false;
  if (!reader->done()) {
    reader->Take(':');
    if (!reader->Number(2, &minute)) return false;
  }
  *minutes = sign * (hour * 60 + minute);
  return reader->done() && hour < 24 && minute < 60;
}

bool ReadText(std::string_view text, absl::CivilSecond* out) {
  Reader reader(text);
  int year = 0;
  int month = 0;
  int day = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;
  int zone = 0;
  if (!reader.Number(4, &year) || !reader.Take('-') || !reader.Number(2, &month) ||
      !reader.Take('-') || !reader.Number(2, &day))
    return false;
  if (!reader.done()) {
    if (!reader.Take('T') && !reader.Take('t') && !reader.Take(' ')) return false;
    if (!reader.Number(2, &hour) || !reader.Take(':') || !reader.Number(2, &minute)) return false;
    if (reader.Take(':')) {
      if (!reader.Number(2, &second)) return false;
      if (reader.Take('.') || reader.Take(',')) reader.SkipDigits();
    }
    if (!ReadZone(&reader, &zone)) return false;
  }
  if (month < 1 || month > 12 || hour > 23 || minute > 59 || second > 60) return false;
  const absl::CivilDay date(year, month, day);
  if (date.month() != month || date.day() != day) return false;  // 30 February
  *out = absl::CivilSecond(absl::CivilMinute(year, month, day, hour, minute) - zone) + second;
  return true;
}

bool ReadEpoch(std::string_view number_text, absl::CivilSecond* out) {
  std::string decimal;  // of a usual number: short, no allocation
  if (!ShortestDecimal(number_text, &decimal)) return false;
  std::string_view text = decimal;
  text = text.substr(0, text.find('.'));
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text[0] == '-') return false;
  int64_t unit = 1;
  if (number >= 100'000'000'000'000'000) {
    unit = 1'000'000'000;
  } else if (number >= 100'000'000'000'000) {
    unit = 1'000'000;
  } else if (number >= 100'000'000'000) {
    unit = 1'000;
  }
  *out = absl::CivilSecond(1970, 1, 1) + number / unit;
  return true;
}

int64_t IsoWeek(const absl::CivilDay& day) {
  // The week belongs to the year that its Thursday lies in.
  const int from_monday = static_cast<int>(absl::GetWeekday(day));  // Monday is 0
  const absl::CivilDay thursday = day + (3 - from_monday);
  return (absl::GetYearDay(thursday) - 1) / 7 + 1;
}

}  // namespace

std::optional<int64_t> TimePart(const Value& value, Modifier part) {
  absl::CivilSecond time;
  if (value.is_string() ? !ReadText(value.text(), &time)
                        : !value.is_number() || !ReadEpoch(value.text(), &time))
    return std::nullopt;
  switch (part) {
    case Modifier::kMinute:
      return time.minute();
    case Modifier::kHour:
      return time.hour();
    case Modifier::kDay:
      return time.day();
    case Modifier::kWeek:
      return IsoWeek(absl::CivilDay(time));
    case Modifier::kMonth:
      return time.month();
    case Modifier::kYear:
      return time.year();
    default:
      return std::nullopt;
  }
}

}  // namespace bongsu::sigma
