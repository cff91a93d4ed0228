// Sliding correlations: one test for each decision of the specification's open points, and for each
// thing that the strongest other engine gets wrong.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "operators/payload.h"
#include "tests/testing/operator_harness.h"
#include "tests/testing/sanitized.h"

namespace bongsu {
namespace {

using ::testing::ElementsAre;
using testing::FinalIncident;
using testing::kArraySeparator;
using testing::OperatorHarness;
using testing::RunOptions;
using ::testing::SizeIs;
using testing::TestEvent;

constexpr DurationNs kMs = kMillisecondNs;

std::string Rules(const std::string& correlation) {
  return R"(
title: A
name: a
logsource: {product: any}
detection: {sel: {kind: a}, condition: sel}
---
title: B
name: b
logsource: {product: any}
detection: {sel: {kind: [a, b]}, condition: sel}
---
title: C
name: c
correlation:
)" + correlation;
}

std::string Count(const std::string& condition, const std::string& more = "") {
  return Rules(
      fmt::format("  {{type: event_count, rules: [a], group-by: [ip], timespan: 10s, "
                  "condition: {{{}}}{}}}\n",
                  condition, more));
}

TestEvent At(DurationNs ms, const std::string& ip = "h", const std::string& value = "") {
  TestEvent event{.source = "fw", .time = ms * kMs, .fields = {{"kind", "a"}, {"ip", ip}}};
  if (!value.empty()) event.fields["value"] = value;
  return event;
}

std::vector<FinalIncident> Incidents(const std::string& rules, const std::vector<TestEvent>& events,
                                     DurationNs lateness = kMinuteNs) {
  OperatorHarness harness(rules, "c", {"fw"});
  std::vector<FinalIncident> incidents;
  for (const auto& [id, incident] : harness.Run(events, {.lateness = lateness}))
    incidents.push_back(incident);
  return incidents;
}

TEST(CorrelationSliding, TheWindowIsOpenAtItsBeginning) {
  EXPECT_THAT(Incidents(Count("gte: 3"), {At(0), At(5000), At(9999)}), SizeIs(1));
  EXPECT_THAT(Incidents(Count("gte: 3"), {At(0), At(5000), At(10000)}), SizeIs(0));
}

TEST(CorrelationSliding, TimesAreNotCutToWholeSeconds) {
  EXPECT_THAT(Incidents(Count("gte: 3"), {At(0), At(5000), At(10900)}), SizeIs(0));
}

TEST(CorrelationSliding, ArrivalOutOfOrderFires) {
  // Three within 10 s of event time, the first of them last.
  EXPECT_THAT(Incidents(Count("gte: 3"), {At(20000), At(25000), At(40000), At(22000)}), SizeIs(1));
  EXPECT_THAT(Incidents(Count("gte: 3"), {At(50000), At(55000), At(0)}), SizeIs(0));
}

TEST(CorrelationSliding, OneIncidentThenUpdates) {
  std::vector<TestEvent> events;
  for (int i = 0; i < 100; ++i) events.push_back(At(500 * i));
  const auto incidents = Incidents(Count("gte: 3"), events);
  ASSERT_THAT(incidents, SizeIs(1));
  EXPECT_EQ(incidents[0].creates, 1);
  EXPECT_EQ(incidents[0].event_count, 100u);
  // At most one for each timespan of 10 s within 50 s, and the last one.
  EXPECT_LE(incidents[0].updates, 6);
  EXPECT_GE(incidents[0].updates, 2);
  EXPECT_EQ(incidents[0].value, "20");
}

TEST(CorrelationSliding, IncidentsComeAtOnce) {
  OperatorHarness harness(Count("gte: 3"), "c", {"fw"});
  RunOptions options{.lateness = kHourNs};
  std::vector<TestEvent> events = {At(0), At(1000), At(2000), At(3000)};
  harness.Run(events, options);
  ASSERT_THAT(harness.emitted(), SizeIs(2));
  EXPECT_THAT(harness.emitted()[0], ::testing::HasSubstr("count 3"));
  EXPECT_THAT(harness.emitted()[1], ::testing::HasSubstr("count 4"));
}

TEST(CorrelationSliding, EpisodesWithoutOverlapAreTwoIncidents) {
  // The last window of the first ends at 2 s; the next one at 12 s begins behind it.
  EXPECT_THAT(Incidents(Count("gte: 2"), {At(1000), At(2000), At(11500), At(12000)}), SizeIs(1));
  EXPECT_THAT(Incidents(Count("gte: 2"), {At(1000), At(2000), At(12500), At(13000)}), SizeIs(2));
}

TEST(CorrelationSliding, ALateEventMergesTwoIncidentsIntoTheOlder) {
  OperatorHarness harness(Count("gte: 2"), "c", {"fw"});
  const auto incidents =
      harness.Run({At(1000), At(2000), At(15000), At(16000), At(8000)}, {.lateness = kMinuteNs});
  ASSERT_THAT(incidents, SizeIs(2));
  std::string kept;
  for (const auto& [id, incident] : incidents) {
    if (!incident.merged_into.empty()) {
      EXPECT_EQ(incident.closes, 1);
      kept = incident.merged_into;
    }
  }
  ASSERT_TRUE(incidents.contains(kept));
  EXPECT_EQ(incidents.at(kept).first_time, 1000 * kMs);
  EXPECT_EQ(incidents.at(kept).event_count, 5u);
}

TEST(CorrelationSliding, ALongEpisodeIsCut) {
  std::vector<TestEvent> events;
  for (int i = 0; i < 60; ++i) events.push_back(At(1000 * i));
  const auto incidents =
      Incidents(Count("gte: 2", ", bongsu: {max_episode: 20s, evidence_max: 100}"), events);
  ASSERT_THAT(incidents, SizeIs(3));
  uint64_t all = 0;
  for (const FinalIncident& incident : incidents) all += incident.event_count;
  EXPECT_EQ(all, 60u);
}

TEST(CorrelationSliding, ResetStartsAnewAfterEachFiring) {
  std::vector<TestEvent> events;
  for (int i = 0; i < 7; ++i) events.push_back(At(1000 * i));
  EXPECT_THAT(Incidents(Count("gte: 3", ", bongsu: {reset: true}"), events), SizeIs(2));
}

TEST(CorrelationSliding, SuppressionIsForEachKeyAndCounted) {
  OperatorHarness harness(Count("gte: 2", ", bongsu: {suppress: 1h}"), "c", {"fw"});
  std::vector<TestEvent> events;
  for (const char* ip : {"h", "i"}) {
    for (const int minute : {0, 10, 61}) {
      events.push_back(At(minute * 60'000, ip));
      events.push_back(At(minute * 60'000 + 1000, ip));
    }
  }
  EXPECT_THAT(harness.Run(events, {.lateness = 2 * kHourNs}), SizeIs(4));
  EXPECT_EQ(harness.counters().at("suppressed"), 2u);
}

TEST(CorrelationSliding, WithoutGroupByAllEventsAreOneGroup) {
  const std::string rules =
      Rules("  {type: event_count, rules: a, timespan: 10s, condition: {gte: 3}}\n");
  EXPECT_THAT(Incidents(rules, {At(0, "x"), At(1, "y"), At(2, "z")}), SizeIs(1));
}

TEST(CorrelationSliding, AMissingGroupFieldIsLeftOutOrAGroupOfItsOwn) {
  std::vector<TestEvent> events = {At(0), At(1), At(2)};
  for (TestEvent& event : events) event.fields.erase("ip");
  EXPECT_THAT(Incidents(Count("gte: 3"), events), SizeIs(0));
  const auto incidents = Incidents(Count("gte: 3", ", bongsu: {missing: group}"), events);
  ASSERT_THAT(incidents, SizeIs(1));
  EXPECT_EQ(incidents[0].key, "(none)");
}

TEST(CorrelationSliding, OneEventThatMatchesTwoRulesIsOneEvent) {
  const std::string rules = Rules(
      "  {type: event_count, rules: [a, b], group-by: [ip], timespan: 10s, condition: "
      "{gte: 3}}\n");
  EXPECT_THAT(Incidents(rules, {At(0), At(1000)}), SizeIs(0));
  EXPECT_THAT(Incidents(rules, {At(0), At(1000), At(2000)}), SizeIs(1));
}

TEST(CorrelationSliding, FloatsAndIntegersAreExact) {
  const auto sum = [](const std::string& condition) {
    return Rules(
        fmt::format("  {{type: value_sum, rules: a, group-by: [ip], timespan: 10s, "
                    "condition: {{field: value, {}}}}}\n",
                    condition));
  };
  const std::vector<TestEvent> tenths = {At(0, "h", "0.1"), At(1, "h", "0.2")};
  EXPECT_THAT(Incidents(sum("gte: 0.3"), tenths), SizeIs(1));
  EXPECT_THAT(Incidents(sum("gt: 0.3"), tenths), SizeIs(0));
  // Beyond 2^53.
  const std::vector<TestEvent> large = {At(0, "h", "9007199254740992"), At(1, "h", "1")};
  EXPECT_THAT(Incidents(sum("gte: 9007199254740993"), large), SizeIs(1));
  EXPECT_THAT(Incidents(sum("gt: 9007199254740993"), large), SizeIs(0));
  EXPECT_EQ(Incidents(sum("gte: 0.3"), tenths)[0].value, "0.3");
}

TEST(CorrelationSliding, ARangeIsAConjunction) {
  const std::string rules = Count("gte: 2, lte: 3");
  EXPECT_THAT(Incidents(rules, {At(0)}), SizeIs(0));
  EXPECT_THAT(Incidents(rules, {At(0), At(1), At(2)}), SizeIs(1));
  EXPECT_THAT(Incidents(rules, {At(0), At(1), At(2), At(3)}), SizeIs(0));
}

TEST(CorrelationSliding, ValueCountOverSeveralFieldsCountsTuples) {
  const std::string rules = Rules(
      "  {type: value_count, rules: a, group-by: [ip], timespan: 10s, condition: {field: "
      "[value, port], gte: 3}}\n");
  std::vector<TestEvent> events;
  int i = 0;
  for (const auto& [value, port] : std::vector<std::pair<std::string, std::string>>{
           {"x", "1"}, {"X", "1"}, {"x", "2"}, {"y", "1"}}) {
    events.push_back(At(i++, "h", value));
    events.back().fields["port"] = port;
  }
  const auto incidents = Incidents(rules, events);
  ASSERT_THAT(incidents, SizeIs(1));
  EXPECT_EQ(incidents[0].value, "3");
  EXPECT_EQ(incidents[0].event_count, 4u);
}

TEST(CorrelationSliding, MembersOfArraysMakeTuplesOfTheirOwn) {
  const std::string rules = Rules(
      "  {type: value_count, rules: a, group-by: [ip], timespan: 10s, condition: {field: "
      "[value, port], gte: 4}}\n");
  const std::string two = std::string("x") + kArraySeparator + "y";
  const std::string ports = std::string("1") + kArraySeparator + "2";
  auto both = At(0, "h", two);
  both.fields["port"] = ports;
  auto incidents = Incidents(rules, {both});
  ASSERT_THAT(incidents, SizeIs(1));
  EXPECT_EQ(incidents[0].value, "4");
  both.fields["port"] = "1";
  auto other = At(1, "h", "z");
  other.fields["port"] = ports;
  EXPECT_THAT(Incidents(rules, {both, other}), SizeIs(1));
  other.fields["port"] = "1";
  EXPECT_THAT(Incidents(rules, {both, other}), SizeIs(0));
  auto none = At(1, "h", two);  // no port: no tuple
  EXPECT_THAT(Incidents(rules, {both, none, other}), SizeIs(0));
}

// Far fewer events than values.
TEST(CorrelationSliding, EachMemberOfAnArrayIsAValue) {
  const std::string rules = Rules(
      "  {type: value_count, rules: a, group-by: [ip], timespan: 10s, condition: {field: "
      "value, gte: 4}}\n");
  const auto array = [](const std::string& members) {
    std::string value;
    for (const char c : members)
      value += (value.empty() ? "" : std::string(1, kArraySeparator)) + c;
    return value;
  };
  auto incidents = Incidents(rules, {At(0, "h", array("abcd"))});
  ASSERT_THAT(incidents, SizeIs(1));
  EXPECT_EQ(incidents[0].value, "4");
  incidents = Incidents(rules, {At(0, "h", "a"), At(1, "h", array("bc")), At(2, "h", array("cd"))});
  ASSERT_THAT(incidents, SizeIs(1));
  EXPECT_EQ(incidents[0].value, "4");
  EXPECT_EQ(incidents[0].event_count, 3u);
  EXPECT_THAT(Incidents(rules, {At(0, "h", array("abc")), At(1, "h", array("ca"))}), SizeIs(0));
}

// What was counted for late events says nothing of those that were known behind them.
TEST(CorrelationSliding, ValuesCountedOfThePastLeaveOutWhatIsKnownBehind) {
  const std::string rules = Rules(
      "  {type: value_count, rules: a, group-by: [ip], timespan: 10s, condition: {field: "
      "value, gte: 3}}\n");
  EXPECT_THAT(Incidents(rules, {At(30000, "h", "b"), At(31000, "h", "c"), At(10000, "h", "a"),
                                At(11000, "h", "a"), At(12000, "h", "a"), At(32000, "h", "d")}),
              SizeIs(1));
}

// A group whose values are tracked grows quiet, some go by that nobody tracks, and then come enough
// for one incident, with those together: each of the 300 values once.
TEST(CorrelationSliding, ValuesThatWentByUntrackedCount) {
  const std::string rules = Rules(
      "  {type: value_count, rules: a, group-by: [ip], timespan: 10s, condition: {field: "
      "value, gte: 300}}\n");
  std::vector<TestEvent> events;
  const auto add = [&](DurationNs ms, const std::string& value) {
    events.push_back(At(ms, "h", value));
    events.back().offset = static_cast<int64_t>(events.size());
  };
  for (int i = 0; i < 1'000; ++i) add(i * 10, std::to_string(i % 200));
  for (int i = 0; i < 300; ++i) add(30'000 + i * 10, fmt::format("new {}", i));
  EXPECT_THAT(Incidents(rules, events), SizeIs(1));
  // One value less, and the last one is of the time before.
  events.back().fields["value"] = "0";
  events[events.size() - 2].fields["value"] = "new 0";
  EXPECT_THAT(Incidents(rules, events), SizeIs(0));
}

TEST(CorrelationSliding, MoreMembersThanAreCarriedAreCounted) {
  const std::string rules = Rules(
      "  {type: value_count, rules: a, group-by: [ip], timespan: 10s, condition: {field: "
      "value, gte: 64}}\n");
  std::string value;
  for (int i = 0; i < 64; ++i)
    value += (i == 0 ? "" : std::string(1, kArraySeparator)) + std::to_string(i);
  OperatorHarness harness(rules, "c", {"fw"});
  auto incidents = harness.Run({At(0, "h", value)}, {});
  ASSERT_THAT(incidents, SizeIs(1));
  EXPECT_EQ(incidents.begin()->second.value, "64");
  EXPECT_FALSE(harness.counters().contains("values_of_event_capped"));
  incidents = harness.Run({At(0, "h", value + kArraySeparator + "65")}, {});
  ASSERT_THAT(incidents, SizeIs(1));
  EXPECT_EQ(incidents.begin()->second.value, "64");
  EXPECT_EQ(harness.counters().at("values_of_event_capped"), 1u);
}

// Texts that differ only where they are cut off are one value.
TEST(CorrelationSliding, ValuesThatAreCutAreCounted) {
  const std::string rules = Rules(
      "  {type: value_count, rules: a, group-by: [ip], timespan: 10s, condition: {field: "
      "value, gte: 2}}\n");
  OperatorHarness harness(rules, "c", {"fw"});
  const std::string text(kPayloadFieldBytesMax, 'x');
  harness.Run({At(0, "h", text), At(1, "h", text)}, {});
  EXPECT_FALSE(harness.counters().contains("values_of_event_capped"));
  harness.Run({At(0, "h", text + "1"), At(1, "h", text + "2")}, {});
  EXPECT_EQ(harness.counters().at("values_of_event_capped"), 2u);
}

TEST(CorrelationSliding, BeyondTheBoundDistinctValuesAreEstimated) {
  const std::string rules = Rules(
      "  {type: value_count, rules: a, group-by: [ip], timespan: 10s, condition: {field: "
      "value, gte: 2000}, bongsu: {values_max: 500}}\n");
  std::vector<TestEvent> events;
  for (int i = 0; i < 3000; ++i) events.push_back(At(i, "h", std::to_string(i)));
  OperatorHarness harness(rules, "c", {"fw"});
  const auto incidents = harness.Run(events, {.batch = 100, .lateness = kMinuteNs});
  ASSERT_THAT(incidents, SizeIs(1));
  EXPECT_NEAR(std::stod(incidents.begin()->second.value), 3000, 600);
}

// A flood of groups, one event each. The keys are made as they are needed: only the state grows.
// BONGSU_FLOOD_KEYS: more of them.
class Flood {
 public:
  explicit Flood(const std::string& rules) : harness_(rules, "c", {"fw"}) {}
  // Keys and, at three moments, an event of the key "slow".
  std::map<std::string, FinalIncident> Run(int keys, RunOptions options) {
    int i = 0;
    bool slow = false;
    const auto next = [&](TestEvent* event) {
      if (slow) {
        *event = At(i, "slow");
        slow = false;
        return true;
      }
      if (i == keys) return false;
      *event = At(i, fmt::format("key-{}", i));
      slow = i % (keys / 3) == keys / 6;
      ++i;
      return true;
    };
    return harness_.Run(next, options);
  }
  OperatorHarness& harness() { return harness_; }

 private:
  OperatorHarness harness_;
};

int FloodKeys() {
  const char* given = std::getenv("BONGSU_FLOOD_KEYS");
  return given != nullptr ? std::atoi(given) : Fewer(1'000'000);
}

std::string CountWithin(const std::string& timespan, const std::string& extensions) {
  return Rules(
      fmt::format("  {{type: event_count, rules: a, group-by: [ip], timespan: {}, condition: "
                  "{{gte: 3}}, bongsu: {{{}}}}}\n",
                  timespan, extensions));
}

// Nothing is pushed out: the state spills to disk, and memory stays flat.
TEST(CorrelationSliding, ASlowScanIsFoundInAFloodOfAMillionKeys) {
  constexpr size_t kMemory = 32'000'000;
  Flood flood(CountWithin("1h", ""));
  const auto incidents = flood.Run(
      FloodKeys(),
      {.batch = 100'000, .evict_to = kMemory, .store_memory = 16 * kMemory, .lateness = kMinuteNs});
  ASSERT_THAT(incidents, SizeIs(1));
  EXPECT_EQ(incidents.begin()->second.key, "slow");
  EXPECT_FALSE(flood.harness().counters().contains("groups_capped"));
  // The state after each eviction, however many keys there have been.
  EXPECT_LT(flood.harness().memory_max(), kMemory + kMemory / 10);
}

// Beyond the bound new groups are left out, counted; those that are there go on. The same events
// are left out when the process is killed between.
TEST(CorrelationSliding, TheBoundOfGroupsIsCountedAndKeepsWhatIsThere) {
  Flood flood(CountWithin("10s", "groups_max: 1000"));
  RunOptions options{.batch = 100, .lateness = kSecondNs};
  const auto incidents = flood.Run(9'000, options);  // "slow" at 1.5, 4.5 and 7.5 s
  EXPECT_THAT(incidents, SizeIs(0));                 // it came when the flood had filled the bound
  EXPECT_EQ(flood.harness().counters().at("groups_capped"), 9'003u - 1'000u);

  OperatorHarness harness(CountWithin("10s", "groups_max: 1000"), "c", {"fw"});
  std::vector<TestEvent> events = {At(0, "slow")};
  for (int i = 0; i < 60'000; ++i) {
    events.push_back(At(i, fmt::format("key-{}", i)));
    if (i % 3'000 == 2'999) events.push_back(At(i, "slow"));
  }
  options.batch = 500;
  const auto found = harness.Run(events, options);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found.begin()->second.key, "slow");
  EXPECT_EQ(found.begin()->second.event_count, 21u);
  const uint64_t capped = harness.counters().at("groups_capped");
  // When two timespans have gone by without new groups, there is room again.
  EXPECT_LT(capped, 60'000u - 1'000u);
  options.crash_between = true;
  EXPECT_EQ(harness.Run(events, options).begin()->second.Text(), found.begin()->second.Text());
  EXPECT_EQ(harness.counters().at("groups_capped"), capped);
}

// Groups of the span before count, also when the watermark has passed its beginning by more than a
// timespan: whether others came between in one batch or in many is the same.
TEST(CorrelationSliding, TheBoundOfGroupsRemembersTheSpanBefore) {
  const auto capped = [](const std::string& type, size_t batch) {
    OperatorHarness harness(
        Rules(fmt::format("  {{{}, group-by: [ip], timespan: 100s, bongsu: {{groups_max: 2}}}}\n",
                          type)),
        "c", {"fw"});
    TestEvent other = At(1'194'000);
    other.fields["kind"] = "none";
    harness.Run(
        {At(1'000'000, "g"), At(1'001'000, "h"), other, At(1'195'000, "i"), At(1'196'000, "i")},
        {.batch = batch});
    const auto found = harness.counters().find("groups_capped");
    return found == harness.counters().end() ? 0 : found->second;
  };
  for (const char* type : {"type: event_count, rules: [a], condition: {gte: 2}",
                           "type: event_count, rules: [a], condition: {lt: 2}",
                           "type: value_count, rules: [a], condition: {field: kind, gte: 2}"}) {
    EXPECT_EQ(capped(type, 100), 2u) << type;
    EXPECT_EQ(capped(type, 1), 2u) << type;
  }
  // Each event is one of both rules.
  for (const char* condition : {"{lt: 2}", "a and b", "a and not b"}) {
    const std::string type = fmt::format("type: temporal, rules: [a, b], condition: {}", condition);
    EXPECT_EQ(capped(type, 100), 4u) << type;
    EXPECT_EQ(capped(type, 1), 4u) << type;
  }
}

// More bursts than a group has notes for, all before the watermark moves.
TEST(CorrelationSliding, WindowsJoinedIntoOneNoteAreAllPublished) {
  std::vector<TestEvent> events;
  for (int burst = 0; burst < 400; ++burst) {
    for (int i = 0; i < 3; ++i) events.push_back(At(burst * 100'000 + i));
  }
  for (const char* emit : {"early", "watermark"}) {
    OperatorHarness harness(Count("gte: 3", fmt::format(", bongsu: {{emit: {}}}", emit)), "c",
                            {"fw"});
    EXPECT_THAT(harness.Run(events, {.batch = 10'000, .watermarks = false}), SizeIs(400)) << emit;
    EXPECT_GT(harness.counters().at("windows_joined"), 0u);
  }
}

TEST(CorrelationSliding, TheBoundOfEventsIsCounted) {
  OperatorHarness harness(Count("gte: 2", ", bongsu: {events_max: 5}"), "c", {"fw"});
  std::vector<TestEvent> events;
  for (int i = 0; i < 9; ++i) events.push_back(At(i));
  EXPECT_THAT(harness.Run(events, {.lateness = kMinuteNs}), SizeIs(1));
  EXPECT_EQ(harness.counters().at("events_capped"), 4u);
}

TEST(CorrelationSliding, EvidenceIsTheFirstEventsAndTheLast) {
  std::vector<TestEvent> events;
  for (int i = 0; i < 30; ++i) events.push_back(At(100 * i));
  for (const char* emit : {"early", "watermark"}) {
    const auto incidents = Incidents(
        Count("gte: 5", fmt::format(", bongsu: {{evidence_max: 4, emit: {}}}", emit)), events);
    ASSERT_THAT(incidents, SizeIs(1));
    std::vector<int64_t> offsets;
    for (const auto& [source, offset] : incidents[0].evidence) offsets.push_back(offset);
    EXPECT_THAT(offsets, ElementsAre(0, 1, 2, 29));
    EXPECT_EQ(incidents[0].evidence_dropped, 26u);
  }
}

TEST(CorrelationSliding, ResultsGoOnOnceWithTheCompletingTimeInAnyOrder) {
  OperatorHarness harness(Count("gte: 3"), "c", {"fw"});
  harness.set_has_readers(true);
  for (const std::vector<TestEvent>& events :
       {std::vector<TestEvent>{At(0), At(1000), At(2000), At(3000)},
        std::vector<TestEvent>{At(3000), At(1000), At(2000), At(0)}}) {
    harness.Run(events, {.lateness = kMinuteNs});
    ASSERT_THAT(harness.forwarded(), SizeIs(1));
    EXPECT_EQ(harness.forwarded()[0].time, 2 * kSecondNs);
  }
}

}  // namespace
}  // namespace bongsu
