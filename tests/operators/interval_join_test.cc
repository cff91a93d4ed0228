#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "tests/testing/operator_harness.h"
#include "tests/testing/sanitized.h"

namespace bongsu {
namespace {

using testing::FinalIncident;
using testing::OperatorHarness;
using testing::RunOptions;
using testing::TestEvent;

constexpr char kJoin[] = R"(
name: join
type: interval_join
left: {{source: fw, key: ip, detection: {{sel: {{kind: a}}, condition: sel}}}}
right: {{source: ep, key: addr}}
within: {{before: {}, after: {}}}
emit: {}
evidence_max: {}
)";

std::string Yaml(const char* before, const char* after, const char* emit, int evidence_max = 1000) {
  return fmt::format(kJoin, before, after, emit, evidence_max);
}

TestEvent Left(EventTimeNs seconds, const std::string& ip, const char* kind = "a") {
  return {.source = "fw", .time = seconds * kSecondNs, .fields = {{"ip", ip}, {"kind", kind}}};
}
TestEvent Right(EventTimeNs seconds, const std::string& ip) {
  return {.source = "ep", .time = seconds * kSecondNs, .fields = {{"addr", ip}}};
}

TEST(IntervalJoin, BoundsAreIncluded) {
  OperatorHarness harness(Yaml("5s", "10s", "pairs"), {"fw", "ep"});
  const auto pairs = [&](EventTimeNs right) {
    return harness.Run({Left(100, "10.0.0.1"), Right(right, "10.0.0.1")}, {.lateness = kMinuteNs})
        .size();
  };
  EXPECT_EQ(pairs(94), 0u);
  EXPECT_EQ(pairs(95), 1u);
  EXPECT_EQ(pairs(110), 1u);
  EXPECT_EQ(pairs(111), 0u);
}

TEST(IntervalJoin, KeysMeetInCanonicalForm) {
  OperatorHarness harness(Yaml("5s", "5s", "pairs"), {"fw", "ep"});
  EXPECT_EQ(harness.Run({Left(1, "10.0.0.1"), Right(1, "::ffff:10.0.0.1")}, {}).size(), 1u);
  EXPECT_EQ(harness.Run({Left(1, "HOST-A"), Right(1, "host-a")}, {}).size(), 1u);
  EXPECT_EQ(harness.Run({Left(1, "10.0.0.1"), Right(1, "10.0.0.2")}, {}).size(), 0u);
}

TEST(IntervalJoin, SelectionChoosesTheSide) {
  OperatorHarness harness(Yaml("5s", "5s", "pairs"), {"fw", "ep"});
  EXPECT_EQ(harness.Run({Left(1, "10.0.0.1", "b"), Right(1, "10.0.0.1")}, {}).size(), 0u);
}

TEST(IntervalJoin, IncidentIsCreatedOnceAndUpdatedOnceAtTheClose) {
  OperatorHarness harness(Yaml("5s", "60s", "incident"), {"fw", "ep"});
  const auto one = harness.Run({Left(10, "h"), Right(11, "h")}, {});
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one.begin()->second.creates, 1);
  EXPECT_EQ(one.begin()->second.updates, 0);
  const auto more =
      harness.Run({Left(10, "h"), Right(11, "h"), Right(12, "h"), Right(70, "h")}, {});
  ASSERT_EQ(more.size(), 1u);
  EXPECT_EQ(more.begin()->second.creates, 1);
  EXPECT_EQ(more.begin()->second.updates, 1);
  EXPECT_EQ(more.begin()->second.event_count, 4u);
}

TEST(IntervalJoin, EvidenceIsCappedVisibly) {
  OperatorHarness harness(Yaml("5s", "60s", "incident", 3), {"fw", "ep"});
  std::vector<TestEvent> events = {Left(10, "h")};
  for (int i = 0; i < 9; ++i) events.push_back(Right(11 + i, "h"));
  const FinalIncident incident = harness.Run(events, {}).begin()->second;
  EXPECT_EQ(incident.event_count, 10u);
  EXPECT_EQ(incident.evidence.size(), 3u);
  EXPECT_EQ(incident.evidence_dropped, 7u);
}

TEST(IntervalJoin, WithoutAPartnerListedItNamesNoTime) {
  OperatorHarness harness(Yaml("5s", "60s", "incident"), {"fw", "ep"});
  std::vector<Evidence> evidence = {{.port = 0, .time = 10 * kSecondNs},
                                    {.port = 1, .time = 12 * kSecondNs}};
  Incident incident;
  incident.anchor_time = 10 * kSecondNs;
  incident.event_count = 2;
  incident.evidence = evidence;
  EXPECT_TRUE(harness.spec().Why(incident).ends_with("; the first 2.000 s later"));
  incident.evidence = incident.evidence.first(1);
  EXPECT_TRUE(harness.spec().Why(incident).ends_with(" event")) << harness.spec().Why(incident);
}

TEST(IntervalJoin, LateEventsGoToTheLateStreamAndNoFurther) {
  OperatorHarness harness(Yaml("5s", "5s", "pairs"), {"fw", "ep"});
  EXPECT_EQ(harness.Run({Left(100, "h"), Right(99, "h")}, {.lateness = kSecondNs}).size(), 1u);
  EXPECT_EQ(harness.late(), 0u);
  EXPECT_EQ(harness.Run({Left(100, "h"), Right(98, "h")}, {.lateness = kSecondNs}).size(), 0u);
  EXPECT_EQ(harness.late(), 1u);
}

// What has expired under the lateness before does not come back with more of it.
TEST(IntervalJoin, MoreLatenessAfterARestartOpensNothingThatIsClosed) {
  OperatorHarness harness(Yaml("100s", "10s", "incident"), {"fw", "ep"});
  const std::vector<TestEvent> events = {Right(1000, "10.0.0.1"), Right(1001, "10.0.0.1"),
                                         Right(1020, "10.0.0.2"), Left(1005, "10.0.0.1"),
                                         Right(5000, "10.0.0.2"), Left(4990, "10.0.0.2"),
                                         Right(9000, "10.0.0.3")};
  RunOptions options;
  options.crash_between = true;
  options.batch = 3;
  options.lateness_later = 3600 * kSecondNs;
  const auto incidents = harness.Run(events, options);
  EXPECT_EQ(harness.late(), 1u);
  ASSERT_EQ(incidents.size(), 1u);
  EXPECT_EQ(incidents.begin()->second.first_time, 4990 * kSecondNs);
}

TEST(IntervalJoin, ResultsGoOnceToReadersWithTheCompletingTime) {
  OperatorHarness harness(Yaml("5s", "60s", "incident"), {"fw", "ep"});
  harness.set_has_readers(true);
  for (const std::vector<TestEvent>& events :
       {std::vector<TestEvent>{Left(10, "h"), Right(20, "h"), Right(11, "h")},
        {Right(20, "h"), Right(11, "h"), Left(10, "h")}}) {
    harness.Run(events, {.lateness = kMinuteNs});
    ASSERT_EQ(harness.forwarded().size(), 1u);
    EXPECT_EQ(harness.forwarded()[0].time, 11 * kSecondNs);
  }
}

TEST(IntervalJoin, FloodedKeyIsCountedAndBounded) {
  OperatorHarness harness(R"(
name: join
type: interval_join
left: {source: fw, key: ip}
right: {source: ep, key: addr}
within: {before: 60s, after: 60s}
emit: pairs
matches_max: 10
)",
                          {"fw", "ep"});
  std::vector<TestEvent> events;
  for (int i = 0; i < 30; ++i) events.push_back(Right(i, "h"));
  events.push_back(Left(30, "h"));
  EXPECT_EQ(harness.Run(events, {.lateness = kMinuteNs}).size(), 10u);
  EXPECT_EQ(harness.counters().at("matches_capped"), 1u);
}

// Both sides from one source: an event is never its own partner.
TEST(IntervalJoin, SelfJoinLeavesTheEventItselfOut) {
  OperatorHarness harness(R"(
name: self
type: interval_join
left: {source: fw, key: ip}
right: {source: fw, key: ip}
within: {before: 5s, after: 5s}
emit: pairs
)",
                          {"fw"});
  EXPECT_EQ(harness.Run({Left(1, "h")}, {}).size(), 0u);
  EXPECT_EQ(harness.Run({Left(1, "h"), Left(2, "h")}, {}).size(), 2u);
}

// The slow, obvious join.
std::map<int64_t, std::vector<int64_t>> NestedLoop(const std::vector<TestEvent>& events,
                                                   DurationNs before, DurationNs after) {
  std::map<int64_t, std::vector<int64_t>> partners;
  for (const TestEvent& left : events) {
    if (left.source != "fw" || left.fields.at("kind") != "a") continue;
    std::vector<std::pair<EventTimeNs, int64_t>> found;
    for (const TestEvent& right : events) {
      if (right.source != "ep" || right.fields.at("addr") != left.fields.at("ip")) continue;
      if (right.time >= left.time - before && right.time <= left.time + after)
        found.emplace_back(right.time, right.offset);
    }
    std::sort(found.begin(), found.end());
    for (const auto& [time, offset] : found) partners[left.offset].push_back(offset);
  }
  return partners;
}

struct Case {
  std::vector<TestEvent> events;
  DurationNs before;
  DurationNs after;
  DurationNs lateness;
};

Case RandomCase(std::mt19937_64& random) {
  Case one;
  one.before = static_cast<DurationNs>(random() % 8) * kSecondNs;
  one.after = static_cast<DurationNs>(random() % 8) * kSecondNs;
  one.lateness = static_cast<DurationNs>(random() % 20) * kSecondNs;
  const size_t events = 2 + random() % 40;
  const int64_t span = 1 + static_cast<int64_t>(random() % 60);
  const int64_t start = static_cast<int64_t>(random() % 3) * 1000 - 1000;  // before 1970, too
  for (size_t i = 0; i < events; ++i) {
    const std::string ip = fmt::format("10.0.0.{}", random() % 3);
    const int64_t time = start + static_cast<int64_t>(random() % static_cast<uint64_t>(span));
    one.events.push_back(random() % 2 == 0 ? Left(time, ip, random() % 5 == 0 ? "b" : "a")
                                           : Right(time, ip));
    one.events.back().offset = static_cast<int64_t>(i);
  }
  return one;
}

uint64_t Seed() {
  const char* given = std::getenv("BONGSU_SEED");
  return given != nullptr
             ? std::strtoull(given, nullptr, 10)
             : static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

TEST(IntervalJoin, PairsEqualTheNestedLoop) {
  const uint64_t seed = Seed();
  std::mt19937_64 random(seed);
  for (int i = 0; i < Fewer(1000); ++i) {
    SCOPED_TRACE(fmt::format("BONGSU_SEED={} case {}", seed, i));
    const Case one = RandomCase(random);
    OperatorHarness harness(
        Yaml(DurationText(one.before).c_str(), DurationText(one.after).c_str(), "pairs"),
        {"fw", "ep"});
    RunOptions options;
    options.lateness = one.lateness;
    options.batch = 1 + random() % 5;
    options.evict_to = random() % 16 == 0 ? 0 : SIZE_MAX;
    options.crash_between = random() % 16 == 0;
    const auto found =
        harness.Run(testing::ShuffledWithin(one.events, one.lateness, random()), options);
    ASSERT_EQ(harness.late(), 0u);
    std::vector<std::pair<int64_t, int64_t>> pairs;
    for (const auto& [id, incident] : found) {
      ASSERT_EQ(incident.creates, 1);
      pairs.emplace_back(incident.evidence.at(0).second, incident.evidence.at(1).second);
    }
    std::vector<std::pair<int64_t, int64_t>> expected;
    for (const auto& [left, rights] : NestedLoop(one.events, one.before, one.after)) {
      for (int64_t right : rights) expected.emplace_back(left, right);
    }
    std::sort(pairs.begin(), pairs.end());
    std::sort(expected.begin(), expected.end());
    ASSERT_EQ(pairs, expected);
  }
}

TEST(IntervalJoin, IncidentsEqualTheNestedLoop) {
  const uint64_t seed = Seed();
  std::mt19937_64 random(seed);
  for (int i = 0; i < Fewer(1000); ++i) {
    SCOPED_TRACE(fmt::format("BONGSU_SEED={} case {}", seed, i));
    const Case one = RandomCase(random);
    OperatorHarness harness(
        Yaml(DurationText(one.before).c_str(), DurationText(one.after).c_str(), "incident"),
        {"fw", "ep"});
    harness.set_has_readers(random() % 2 == 0);
    RunOptions options;
    options.lateness = one.lateness;
    options.batch = 1 + random() % 5;
    options.evict_to = random() % 16 == 0 ? 0 : SIZE_MAX;
    options.crash_between = random() % 16 == 0;
    const auto found =
        harness.Run(testing::ShuffledWithin(one.events, one.lateness, random()), options);
    std::map<int64_t, std::vector<int64_t>> incidents;
    for (const auto& [id, incident] : found) {
      ASSERT_EQ(incident.creates, 1);
      ASSERT_EQ(incident.updates, incident.evidence.size() > 2 ? 1 : 0);
      ASSERT_EQ(incident.event_count, incident.evidence.size());
      auto& rights = incidents[incident.evidence.at(0).second];
      for (size_t j = 1; j < incident.evidence.size(); ++j)
        rights.push_back(incident.evidence[j].second);
    }
    ASSERT_EQ(incidents, NestedLoop(one.events, one.before, one.after));
  }
}

TEST(IntervalJoin, KeepsTheRulesOfOperators) {
  const uint64_t seed = Seed();
  std::mt19937_64 random(seed);
  for (int i = 0; i < Fewer(20); ++i) {
    SCOPED_TRACE(fmt::format("BONGSU_SEED={} case {}", seed, i));
    const Case one = RandomCase(random);
    OperatorHarness harness(Yaml(DurationText(one.before).c_str(), DurationText(one.after).c_str(),
                                 i % 2 == 0 ? "pairs" : "incident"),
                            {"fw", "ep"});
    harness.CheckRules(one.events, one.lateness, random());
  }
}

}  // namespace
}  // namespace bongsu
