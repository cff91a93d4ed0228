// File: pipeline/event_time.h
//
// Texts of points in time, as logs write them, to int64 nanoseconds since 1970 UTC. Everything is
// integer arithmetic: no digit that fits in a nanosecond is lost, and no locale or time zone of the
// machine has a say.
//
//   std::optional<EventTimeNs> t = ParseRfc3339("2020-09-18T17:07:03.847715+0000");
//   std::optional<EventTimeNs> u = ParseEpoch("1600448823.847715", EpochUnit::kSeconds);
//   std::string error;
//   auto pattern = TimePattern::Compile("%Y-%m-%d %H:%M:%S%f", 0, &error);
//   std::optional<EventTimeNs> v = pattern->Parse("2020-09-18 17:05:52.724");
//
// Common rules: digits beyond nanoseconds are cut off (towards zero for epochs). A second of 60
// (leap second) is the first second of the next minute, as POSIX has it. What int64 nanoseconds
// cannot hold (before 1677-09-21, after 2262-04-11) and days that do not exist (February 30) give
// nullopt.
//
// Records of one source follow each other closely: with a LatestMinute, which a caller keeps from
// record to record, the date and minute of nearly all of them are compared instead of computed.
//
// Thread-safety: pure functions; a TimePattern is immutable; a LatestMinute belongs to one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "state/types.h"

namespace bongsu {

// What `yyyy-mm-dd?hh:mm:` was read last, and what it is.
struct LatestMinute {
  static constexpr size_t kSize = 17;
  char text[kSize] = {};  // no minute begins with a zero byte
  int64_t seconds = 0;    // since 1970, where its zone is UTC
};

// Date and time with a zone: `2020-09-18T17:07:03.847715Z`. Between date and time 'T', 't' or a
// space; any fraction, with '.' or ','; zone `Z`, `z`, `+hh:mm`, `+hhmm`, `+hh` (or with '-'). No
// zone: nullopt, because guessing one moves events by hours; declare it with a pattern.
std::optional<EventTimeNs> ParseRfc3339(std::string_view text, LatestMinute* latest = nullptr);

enum class EpochUnit : uint8_t {
  kSeconds = 9,
  kMillis = 6,
  kMicros = 3,
  kNanos = 0
};  // digits to nanoseconds

// A decimal number since 1970, negative ones too, with fraction and exponent: "1600448823.847",
// "1.6e9".
std::optional<EventTimeNs> ParseEpoch(std::string_view text, EpochUnit unit);

// `Z`, `UTC`, `GMT`, `+hh:mm`, `+hhmm`, `+hh`, or with '-': local time minus UTC.
std::optional<DurationNs> ParseZone(std::string_view text);

// A strptime-like pattern:
//   %Y %m %d %e %H %M %S   numbers (year: 4 digits; the others: 1 or 2)
//   %y                     year of 2 digits: 69-99 are 19xx, 00-68 are 20xx
//   %j                     day of the year, in place of month and day
//   %b %B %h               English name of a month, short or long
//   %a %A                  English name of a weekday, not checked against the date
//   %I %p                  hour of 12, AM or PM
//   %f                     fraction with its dot or comma; may be missing
//   %z                     zone: Z, UTC, GMT, +hh:mm, +hhmm, +hh
//   %s                     seconds since 1970
//   %F %T %D %R            %Y-%m-%d, %H:%M:%S, %m/%d/%y, %H:%M
//   %%                     a percent sign
// White space stands for any amount of it, also none; every other character for itself. The whole
// text must match.
class TimePattern {
 public:
  // `zone_offset`: local time minus UTC, used where the pattern has no %z. Nullopt with `*error`
  // (what is wrong, for people) for an unknown directive or a pattern that does not fix a date.
  static std::optional<TimePattern> Compile(std::string_view pattern, DurationNs zone_offset,
                                            std::string* error);
  std::optional<EventTimeNs> Parse(std::string_view text, LatestMinute* latest = nullptr) const;

 private:
  TimePattern() = default;
  // One step: a directive's letter, ' ' for white space, or 0 for `literal`.
  struct Step {
    char directive = 0;
    char literal = 0;
  };
  std::vector<Step> steps_;
  DurationNs zone_offset_ = 0;
  bool fixed_ = false;  // %Y-%m-%d %H:%M:%S%f, which has a fast path
};

}  // namespace bongsu
