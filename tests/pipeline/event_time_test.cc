#include "pipeline/event_time.h"

#include <gtest/gtest.h>

#include <ctime>
#include <optional>
#include <random>
#include <string>

namespace bongsu {
namespace {

constexpr int64_t kBase = 1'600'448'823;  // 2020-09-18T17:07:03Z

struct Case {
  const char* text;
  std::optional<int64_t> want;
};

TEST(Rfc3339, ReadsEveryZoneAndFraction) {
  const Case cases[] = {
      {"2020-09-18T17:07:03Z", kBase * kSecondNs},
      {"2020-09-18T17:07:03z", kBase * kSecondNs},
      {"2020-09-18t17:07:03Z", kBase * kSecondNs},
      {"2020-09-18 17:07:03Z", kBase * kSecondNs},
      {"2020-09-18 17:07:03 +00:00", kBase * kSecondNs},
      {"2020-09-18T17:07:03.8Z", kBase * kSecondNs + 800'000'000},
      {"2020-09-18T17:07:03,8Z", kBase * kSecondNs + 800'000'000},
      {"2020-09-18T17:07:03.847715+0000", kBase * kSecondNs + 847'715'000},
      {"2020-09-18T17:07:03.123456789+00:00", kBase * kSecondNs + 123'456'789},
      {"2020-09-18T17:07:03.1234567899999Z", kBase * kSecondNs + 123'456'789},
      {"2020-09-18T12:37:03-04:30", kBase * kSecondNs},
      {"2020-09-18T12:37:03-0430", kBase * kSecondNs},
      {"2020-09-18T19:07:03+02", kBase * kSecondNs},
      {"1970-01-01T00:00:00Z", 0},
      {"1969-12-31T23:59:59.5Z", -500'000'000},
      {"2000-02-29T00:00:00Z", 951'782'400 * kSecondNs},
      {"2016-12-31T23:59:60Z", 1'483'228'800 * kSecondNs},
      {"2016-12-31T23:59:60.5Z", 1'483'228'800 * kSecondNs + 500'000'000},
      {"2262-04-11T23:47:16.854775806Z", kMaxEventTime - 1},
      {"1677-09-21T00:12:43.145224193Z", kMinEventTime + 1},
  };
  for (const Case& c : cases) EXPECT_EQ(ParseRfc3339(c.text), c.want) << c.text;
}

TEST(Rfc3339, RefusesWhatIsNotATime) {
  const char* const cases[] = {"",
                               "2020",
                               "2020-09-18",
                               "2020-09-18T17:07:03",
                               "2020-09-18T17:07Z",
                               "2020-09-18T17:07:03.Z",
                               "2020-09-18T17:07:03.Z1",
                               "2020-09-18X17:07:03Z",
                               "2020-02-30T00:00:00Z",
                               "2019-02-29T00:00:00Z",
                               "1900-02-29T00:00:00Z",
                               "2100-02-29T00:00:00Z",
                               "2020-13-01T00:00:00Z",
                               "2020-00-01T00:00:00Z",
                               "2020-01-00T00:00:00Z",
                               "2020-09-18T24:00:00Z",
                               "2020-09-18T17:60:03Z",
                               "2020-09-18T17:07:61Z",
                               "2020-09-18T17:07:03+2",
                               "2020-09-18T17:07:03+24:00",
                               "2020-09-18T17:07:03+02:60",
                               "2020-09-18T17:07:03+02:",
                               "2020-09-18T17:07:03+02:0",
                               "2020-09-18T17:07:03ZZ",
                               "2020-09-18T17:07:03Z ",
                               " 2020-09-18T17:07:03Z",
                               "x020-09-18T17:07:03Z",
                               "202x-09-18T17:07:03Z",
                               "2020-0x-18T17:07:03Z",
                               "2020-09-18T1 :07:03Z",
                               "2262-04-11T23:47:16.854775807Z",
                               "1677-09-21T00:12:43.145224192Z",
                               "9999-12-31T23:59:59Z",
                               "0000-01-01T00:00:00Z",
                               "NaN"};
  for (const char* text : cases) EXPECT_EQ(ParseRfc3339(text), std::nullopt) << text;
}

TEST(Rfc3339, AgreesWithTheCLibraryOnRandomTimes) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<int64_t> seconds(-9'223'372'036, 9'223'372'036);
  for (int i = 0; i < 20'000; ++i) {
    const std::time_t t = seconds(random);
    std::tm tm{};
    gmtime_r(&t, &tm);
    char text[64];
    std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    ASSERT_EQ(ParseRfc3339(text), t * kSecondNs) << text;
  }
}

// What was read before has no say in what is read now.
TEST(LatestMinute, ChangesNoAnswer) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const std::string minutes[] = {
      "2020-09-18T17:07:", "2020-09-18 17:07:", "2020-09-18T17:08:", "2020-02-30T17:07:",
      "2020-09-18T24:00:", "2262-04-11T23:47:", "2020-09-18t17:07:", std::string(17, '\0')};
  const std::string seconds[] = {"00", "16", "59", "60", "61", "1x", "5"};
  const std::string ends[] = {"Z", ".854775807Z", ",5+02:00", "-0430", "", ".Z", ".25", "+24:00"};
  const auto any = [&](const auto& list) { return list[random() % std::size(list)]; };
  std::string error;
  const auto pattern = TimePattern::Compile("%F %T%f", 2 * kHourNs, &error);
  LatestMinute latest;
  LatestMinute of_pattern;
  for (int i = 0; i < 20'000; ++i) {
    const std::string text = any(minutes) + any(seconds) + any(ends);
    ASSERT_EQ(ParseRfc3339(text, &latest), ParseRfc3339(text)) << text;
    ASSERT_EQ(pattern->Parse(text, &of_pattern), pattern->Parse(text)) << text;
  }
}

TEST(Epoch, IsExactInEveryUnit) {
  struct EpochCase {
    const char* text;
    EpochUnit unit;
    std::optional<int64_t> want;
  };
  const EpochCase cases[] = {
      {"1600448823", EpochUnit::kSeconds, kBase * kSecondNs},
      {"1600448823.847715", EpochUnit::kSeconds, kBase * kSecondNs + 847'715'000},
      {"1600448823.1234567891", EpochUnit::kSeconds, kBase * kSecondNs + 123'456'789},
      {"1600448823847", EpochUnit::kMillis, kBase * kSecondNs + 847'000'000},
      {"1600448823847.5", EpochUnit::kMillis, kBase * kSecondNs + 847'500'000},
      {"1600448823847715", EpochUnit::kMicros, kBase * kSecondNs + 847'715'000},
      {"1600448823847715123", EpochUnit::kNanos, kBase * kSecondNs + 847'715'123},
      {"9007199254740993", EpochUnit::kNanos, 9'007'199'254'740'993},  // 2^53 + 1: not a double
      {"9223372036854775806", EpochUnit::kNanos, kMaxEventTime - 1},
      {"9223372036854775807", EpochUnit::kNanos, std::nullopt},
      {"9223372037", EpochUnit::kSeconds, std::nullopt},
      {"0", EpochUnit::kSeconds, 0},
      {"-0", EpochUnit::kSeconds, 0},
      {"-1.5", EpochUnit::kSeconds, -1'500'000'000},
      {"+1.5", EpochUnit::kSeconds, 1'500'000'000},
      {"1.600448823847715E9", EpochUnit::kSeconds, kBase * kSecondNs + 847'715'000},
      {"16004488230e-1", EpochUnit::kSeconds, kBase * kSecondNs},
      {"0.00000000000000000000000000000000000001", EpochUnit::kSeconds, 0},
      {"1600448823.00000000000000000000000000000000000001", EpochUnit::kSeconds, kBase * kSecondNs},
      {"1e400", EpochUnit::kSeconds, std::nullopt},
      {"1e9999", EpochUnit::kSeconds, std::nullopt},
      {"100000000000000000000000000000000000000000000000", EpochUnit::kNanos, std::nullopt},
      {"", EpochUnit::kSeconds, std::nullopt},
      {"-", EpochUnit::kSeconds, std::nullopt},
      {".", EpochUnit::kSeconds, std::nullopt},
      {"1.2.3", EpochUnit::kSeconds, std::nullopt},
      {"NaN", EpochUnit::kSeconds, std::nullopt},
      {"inf", EpochUnit::kSeconds, std::nullopt},
      {"12s", EpochUnit::kSeconds, std::nullopt},
      {"12e", EpochUnit::kSeconds, std::nullopt},
      {" 12", EpochUnit::kSeconds, std::nullopt},
      {"0x12", EpochUnit::kSeconds, std::nullopt},
  };
  for (const EpochCase& c : cases) EXPECT_EQ(ParseEpoch(c.text, c.unit), c.want) << c.text;
}

TEST(Pattern, ReadsWhatStrptimeReads) {
  struct PatternCase {
    const char* pattern;
    DurationNs zone;
    const char* text;
    std::optional<int64_t> want;
  };
  const PatternCase cases[] = {
      {"%Y-%m-%d %H:%M:%S%f", 0, "2020-09-18 17:07:03.724", kBase * kSecondNs + 724'000'000},
      {"%Y-%m-%d %H:%M:%S%f", 0, "2020-09-18 17:07:03", kBase * kSecondNs},
      {"%Y-%m-%d %H:%M:%S%f", 0, "2020-9-18 17:7:3", kBase * kSecondNs},
      {"%Y-%m-%d %H:%M:%S%f", 0, "2020-09-18 17:07:03.", std::nullopt},
      {"%Y-%m-%d %H:%M:%S%f", 0, "2020-09-18T17:07:03", std::nullopt},
      {"%Y-%m-%d %H:%M:%S%f", 0, "2020-09-18 17:07:03.7Z", std::nullopt},
      {"%Y-%m-%d %H:%M:%S%f", -4 * kHourNs, "2020-09-18 13:07:03.5",
       kBase * kSecondNs + 500'000'000},
      {"%Y-%m-%d %H:%M:%S", 0, "2020-09-18 17:07:03.724", std::nullopt},
      {"%F %T", 0, "2020-09-18 17:07:03", kBase * kSecondNs},
      {"%d/%b/%Y:%H:%M:%S %z", 0, "18/Sep/2020:13:07:03 -0400", kBase * kSecondNs},
      {"%a %b %e %H:%M:%S %Y", 0, "Fri Sep  18 17:07:03 2020", kBase * kSecondNs},
      {"%A, %d %B %Y %T", 0, "friday, 18 september 2020 17:07:03", kBase * kSecondNs},
      {"%m/%d/%Y %I:%M:%S %p", 0, "09/18/2020 05:07:03 PM", kBase * kSecondNs},
      {"%m/%d/%Y %I:%M:%S %p", 0, "09/18/2020 12:07:03 AM", (kBase - 17 * 3600) * kSecondNs},
      {"%m/%d/%Y %I:%M:%S %p", 0, "09/18/2020 13:07:03 PM", std::nullopt},
      {"%y%m%d%H%M%S", 0, "200918170703", kBase * kSecondNs},
      {"%y %j", 0, "00 060", 951'782'400 * kSecondNs},  // February 29
      {"%Y %j", 0, "2019 366", std::nullopt},
      {"%Y-%m-%d", 0, "1970-01-02", kDayNs},
      {"%s%f", 0, "1600448823.5", kBase * kSecondNs + 500'000'000},
      {"%s%f", 0, "-1.5", -1'500'000'000},
      {"time=%s%%", 0, "time=1%", kSecondNs},
      {"%Y-%m-%d %H:%M:%S", 0, "2020-02-30 00:00:00", std::nullopt},
      {"%Y-%m-%d", 0, "", std::nullopt},
      {"%Y-%m-%d", 0, "2020-09-18 ", std::nullopt},
  };
  for (const PatternCase& c : cases) {
    std::string error;
    const auto pattern = TimePattern::Compile(c.pattern, c.zone, &error);
    ASSERT_TRUE(pattern.has_value()) << c.pattern << ": " << error;
    EXPECT_EQ(pattern->Parse(c.text), c.want) << c.pattern << " of " << c.text;
  }
}

TEST(Pattern, RefusesPatternsThatFixNoDate) {
  for (const char* text :
       {"", "%H:%M:%S", "%Y", "%Y-%m", "%m-%d %T", "%Q", "%Y-%m-%d %", "%F %I:%M", "%F %H %p"}) {
    std::string error;
    EXPECT_FALSE(TimePattern::Compile(text, 0, &error).has_value()) << text;
    EXPECT_NE(error, "") << text;
  }
}

TEST(Zone, ReadsNamesAndOffsets) {
  EXPECT_EQ(ParseZone("UTC"), 0);
  EXPECT_EQ(ParseZone("Z"), 0);
  EXPECT_EQ(ParseZone("+05:30"), 5 * kHourNs + 30 * kMinuteNs);
  EXPECT_EQ(ParseZone("-0700"), -7 * kHourNs);
  EXPECT_EQ(ParseZone("+02"), 2 * kHourNs);
  for (const char* text : {"", "CET", "+2", "+02:", "+02:7", "+02:000", "UTC+1", "5"}) {
    EXPECT_EQ(ParseZone(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace bongsu
