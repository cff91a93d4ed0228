// Correlations over windows that follow one another.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/operator_harness.h"

namespace bongsu {
namespace {

using testing::FinalIncident;
using testing::OperatorHarness;
using ::testing::SizeIs;
using testing::TestEvent;

std::string Rules(const std::string& group_by, const std::string& condition,
                  const std::string& more = "") {
  return fmt::format(R"(
title: A
name: a
logsource: {{product: any}}
detection: {{sel: {{kind: a}}, condition: sel}}
---
title: C
name: c
correlation:
  {{type: event_count, rules: a, group-by: [{}], timespan: 10s, condition: {{{}}}{}}}
)",
                     group_by, condition, more);
}

TestEvent At(int seconds, const std::string& ip = "h") {
  return {.source = "fw", .time = seconds * kSecondNs, .fields = {{"kind", "a"}, {"ip", ip}}};
}

std::vector<FinalIncident> Incidents(const std::string& rules, const std::vector<TestEvent>& events,
                                     std::vector<std::string>* emitted = nullptr) {
  OperatorHarness harness(rules, "c", {"fw"});
  std::vector<FinalIncident> incidents;
  for (const auto& [id, incident] : harness.Run(events, {.lateness = kMinuteNs}))
    incidents.push_back(incident);
  std::sort(incidents.begin(), incidents.end(),
            [](const auto& a, const auto& b) { return a.first_time < b.first_time; });
  if (emitted != nullptr) *emitted = harness.emitted();
  return incidents;
}

// Some position of every burst has fewer than three events in its window; the burst has not.
TEST(CorrelationTiled, LessThanFiresWhenTheWindowHasClosed) {
  EXPECT_THAT(Incidents(Rules("ip", "lt: 3"), {At(0), At(1), At(2)}), SizeIs(0));
  const auto incidents = Incidents(Rules("ip", "lt: 3"), {At(0), At(1), At(30)});
  ASSERT_THAT(incidents, SizeIs(2));
  EXPECT_EQ(incidents[0].event_count, 2u);
  EXPECT_EQ(incidents[0].creates, 1);
  EXPECT_EQ(incidents[0].updates, 0);
}

TEST(CorrelationTiled, NothingIsSaidBeforeTheClose) {
  // The second event comes while the first one's window could still get more.
  std::vector<std::string> emitted;
  Incidents(Rules("ip", "lt: 2"), {At(0), At(65), At(5)}, &emitted);
  ASSERT_THAT(emitted, SizeIs(1));
  EXPECT_THAT(emitted[0], ::testing::HasSubstr("[65000000000, 65000000000]"));
}

TEST(CorrelationTiled, WindowsBeginAtTheFirstEventBehindTheLastOne) {
  const auto incidents = Incidents(Rules("ip", "lte: 2"), {At(3), At(12), At(13), At(40)});
  ASSERT_THAT(incidents, SizeIs(3));
  EXPECT_EQ(incidents[0].event_count, 2u);  // [3, 13)
  EXPECT_EQ(incidents[1].event_count, 1u);  // [13, 23)
  EXPECT_EQ(incidents[2].event_count, 1u);
}

TEST(CorrelationTiled, WindowsWithoutEventsCountWithoutGroupBy) {
  // 1 s, a silence of five windows, and one more event; the input ends there.
  const auto incidents = Incidents(Rules("", "lt: 1"), {At(1), At(60)});
  EXPECT_THAT(incidents, SizeIs(4));  // [11, 51) in four windows; [51, 61) holds the other event
  EXPECT_EQ(incidents[0].event_count, 0u);
  EXPECT_EQ(incidents[0].value, "0");
}

// 55 per cent of 100 are 55 of them, and not one more.
TEST(CorrelationTiled, ThePercentileHasTheNearestRank) {
  struct Row {
    const char* percentile;
    int events;
    const char* value;
  };
  for (const Row& row : {Row{"55", 100, "55"}, Row{"7", 100, "7"}, Row{"99.9", 1'000, "999"},
                         Row{"99.900000001", 1'000, "1000"}, Row{"0", 100, "1"},
                         Row{"100", 100, "100"}, Row{"29", 100, "29"}}) {
    SCOPED_TRACE(row.percentile);
    std::string rules =
        Rules("ip", fmt::format("field: value, percentile: {}, gte: 0", row.percentile),
              ", bongsu: {window: tumbling}");
    rules.replace(rules.find("event_count"), 11, "value_percentile");
    std::vector<TestEvent> events;
    for (int i = 1; i <= row.events; ++i) {
      events.push_back(At(20));
      events.back().fields["value"] = std::to_string(i);
    }
    const auto incidents = Incidents(rules, events);
    ASSERT_THAT(incidents, SizeIs(1));
    EXPECT_EQ(incidents[0].value, row.value);
  }
}

// A clock that jumps must not make millions of them.
TEST(CorrelationTiled, ALongGapIsSkippedAndCounted) {
  OperatorHarness harness(Rules("", "lt: 1"), "c", {"fw"});
  // [11, 201001) are 20,099 windows without events.
  const auto incidents = harness.Run({At(1), At(201'001)}, {.lateness = kMinuteNs});
  const uint64_t skipped = harness.counters().at("empty_windows_skipped");
  EXPECT_GT(skipped, 0u);
  EXPECT_EQ(incidents.size() + skipped, 20'099u);
}

// From there to now are more nanoseconds than 64 bits hold.
TEST(CorrelationTiled, AnEventOfTheYear1700MakesNoMillionsOfWindows) {
  TestEvent old = At(0);
  old.time = -8'520'000'000 * kSecondNs;
  TestEvent now = At(0);
  now.time = 1'790'000'000 * kSecondNs;
  OperatorHarness harness(Rules("", "lt: 1"), "c", {"fw"});
  const auto incidents = harness.Run({old, now}, {.batch = 2, .lateness = kMinuteNs});
  const uint64_t skipped = harness.counters().at("empty_windows_skipped");
  EXPECT_GE(incidents.size(), 10'000u);
  EXPECT_LE(incidents.size(), 10'010u);
  EXPECT_GT(skipped, 1'000'000'000u);
}

TEST(CorrelationTiled, EqualAndUnequal) {
  EXPECT_THAT(Incidents(Rules("ip", "eq: 2"), {At(0), At(1), At(20), At(40), At(41)}), SizeIs(2));
  EXPECT_THAT(Incidents(Rules("ip", "neq: 2"), {At(0), At(1), At(20), At(40), At(41)}), SizeIs(1));
}

TEST(CorrelationTiled, TumblingWindowsStandStill) {
  const std::string rules = Rules("ip", "gte: 2", ", bongsu: {window: tumbling}");
  EXPECT_THAT(Incidents(rules, {At(9), At(11)}), SizeIs(0));
  EXPECT_THAT(Incidents(rules, {At(11), At(19)}), SizeIs(1));
}

TEST(CorrelationTiled, ASessionGoesOnAsLongAsEventsComeInTime) {
  const std::string rules = Rules("ip", "gte: 4", ", bongsu: {window: session}");
  const auto incidents = Incidents(rules, {At(0), At(9), At(18), At(27), At(40)});
  ASSERT_THAT(incidents, SizeIs(1));
  EXPECT_EQ(incidents[0].event_count, 4u);
  EXPECT_EQ(incidents[0].last_time, 27 * kSecondNs);
}

// The operator came to a pipeline that had read up to second 12: of windows that begin before, it
// may not have seen what would have kept them from firing.
TEST(CorrelationTiled, WhatWasMissedIsNotTakenForAbsent) {
  const auto found = [](const std::string& rules, std::vector<TestEvent> events, bool crash) {
    OperatorHarness harness(rules, "c", {"fw"});
    const auto incidents = harness.Run(
        events, {.crash_between = crash, .lateness = kMinuteNs, .missed = 12 * kSecondNs});
    const auto counted = harness.counters().find("windows_seen_in_part");
    return fmt::format("{} found, {} not judged", incidents.size(),
                       counted != harness.counters().end() ? counted->second : 0);
  };
  for (const bool crash : {false, true}) {
    SCOPED_TRACE(crash);
    // [12, 22) was seen in part, [23, 33) was not.
    EXPECT_EQ(found(Rules("ip", "lt: 3"), {At(12), At(23)}, crash), "1 found, 1 not judged");
    EXPECT_EQ(found(Rules("ip", "lt: 3"), {At(13), At(23)}, crash), "2 found, 0 not judged");
    // As many as there must be are enough, whatever was missed.
    const std::string tumbling = Rules("ip", "gte: 2", ", bongsu: {window: tumbling}");
    EXPECT_EQ(found(tumbling, {At(12), At(13), At(40)}, crash), "1 found, 0 not judged");
    // A session from second 15 on may have begun before.
    const std::string session = Rules("ip", "lt: 3", ", bongsu: {window: session}");
    EXPECT_EQ(found(session, {At(15), At(40)}, crash), "1 found, 1 not judged");
  }
}

TEST(CorrelationTiled, KeepsTheRulesOfOperators) {
  std::vector<TestEvent> events;
  for (int i = 0; i < 60; ++i) events.push_back(At((i * 37) % 100, i % 3 == 0 ? "h" : "i"));
  for (const char* more : {"", ", bongsu: {window: tumbling}", ", bongsu: {window: session}",
                           ", bongsu: {suppress: 30s}"}) {
    OperatorHarness harness(Rules("ip", "lte: 4", more), "c", {"fw"});
    harness.CheckRules(events, 20 * kSecondNs, 7);
  }
}

}  // namespace
}  // namespace bongsu
