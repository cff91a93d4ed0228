// temporal and temporal_ordered against the slow, obvious version (temporal_oracle.h), and by hand.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <random>

#include "tests/operators/temporal_oracle.h"
#include "tests/testing/operator_harness.h"
#include "tests/testing/sanitized.h"

namespace bongsu {
namespace {

using ::testing::ElementsAre;
using testing::FinalIncident;
using testing::OperatorHarness;
using testing::OracleAlternative;
using testing::OracleIncident;
using testing::OracleRule;
using testing::OracleWindow;
using testing::RunOptions;
using testing::TestEvent;

uint64_t Seed() {
  if (const char* given = std::getenv("BONGSU_SEED")) return std::strtoull(given, nullptr, 10);
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

// Rules r0, r1, ...: field f<i> is 1.
std::string Rules(int rules, const std::string& correlation) {
  std::string text;
  for (int i = 0; i < rules; ++i) {
    text += fmt::format(
        "title: Rule {0}\nid: 11111111-2222-4333-8444-55555555550{0}\nname: r{0}\n"
        "logsource: {{product: test}}\ndetection: {{sel: {{f{0}: '1'}}, condition: sel}}\n---\n",
        i);
  }
  return text + "title: Together\nname: together\ncorrelation:\n" + correlation;
}

TestEvent At(double seconds, std::vector<int> rules, const std::string& key = "k",
             const std::string& source = "s") {
  TestEvent event{
      .source = source, .time = static_cast<EventTimeNs>(seconds * 1e9), .fields = {{"k", key}}};
  for (int rule : rules) event.fields[fmt::format("f{}", rule)] = "1";
  return event;
}

class Temporal {
 public:
  Temporal(int rules, const std::string& correlation)
      : harness_(Rules(rules, correlation), "together", {"s", "t"}) {}
  // The offsets of the events of each incident, in order of the anchors.
  std::vector<std::vector<int64_t>> Run(const std::vector<TestEvent>& events,
                                        DurationNs lateness = kHourNs) {
    RunOptions options;
    options.lateness = lateness;
    return Offsets(harness_.Run(events, options));
  }
  static std::vector<std::vector<int64_t>> Offsets(
      const std::map<std::string, FinalIncident>& incidents) {
    std::vector<std::vector<int64_t>> found;
    for (const auto& [id, incident] : incidents) {
      if (incident.closes > 0) continue;
      std::vector<int64_t>& offsets = found.emplace_back();
      for (const auto& [source, offset] : incident.evidence) offsets.push_back(offset);
    }
    std::sort(found.begin(), found.end());
    return found;
  }
  OperatorHarness& harness() { return harness_; }

 private:
  OperatorHarness harness_;
};

constexpr char kBoth[] = "  {type: temporal, rules: [r0, r1], group-by: [k], timespan: 10s}\n";
constexpr char kOrder[] =
    "  {type: temporal_ordered, rules: [r0, r1], group-by: [k], timespan: 10s}\n";

// --- what the strongest other engine gets wrong (rows about time and order) ---

TEST(TemporalRows, EventsOfTwelveSecondsAreNotWithinTen) {
  Temporal three(3, "  {type: temporal, rules: [r0, r1, r2], group-by: [k], timespan: 10s}\n");
  EXPECT_TRUE(three.Run({At(0, {0}), At(5, {1}), At(10.9, {2})}).empty());
  EXPECT_EQ(three.Run({At(0, {0}), At(5, {1}), At(9.9, {2})}).size(), 1u);
  // The window is (t - timespan, t]: its first moment is not in it, to the nanosecond.
  std::vector<TestEvent> edge = {At(0, {0}), At(5, {1}), At(10, {2})};
  EXPECT_TRUE(three.Run(edge).empty());
  edge[0].time += 1;
  EXPECT_EQ(three.Run(edge).size(), 1u);
}

TEST(TemporalRows, SecondBeforeFirstWithinOneSecondDoesNotFire) {
  Temporal ordered(2, kOrder);
  EXPECT_TRUE(ordered.Run({At(1.1, {1}), At(1.9, {0})}).empty());
  EXPECT_EQ(ordered.Run({At(1.1, {0}), At(1.9, {1})}).size(), 1u);
  Temporal any(2, kBoth);
  EXPECT_EQ(any.Run({At(1.1, {1}), At(1.9, {0})}).size(), 1u);
}

TEST(TemporalRows, OneEventThatMatchesBothRulesIsNoOrderedPair) {
  Temporal ordered(2, kOrder);
  EXPECT_TRUE(ordered.Run({At(1, {0, 1})}).empty());
  EXPECT_EQ(ordered.Run({At(1, {0, 1}), At(2, {0, 1})}).size(), 1u);
  Temporal any(2, kBoth);
  EXPECT_EQ(any.Run({At(1, {0, 1})}).size(), 1u);
}

TEST(TemporalRows, ArrivalDoesNotMatterWithinTheLateness) {
  Temporal three(3, "  {type: temporal, rules: [r0, r1, r2], group-by: [k], timespan: 10s}\n");
  EXPECT_EQ(three.Run({At(20, {0}), At(25, {1}), At(40, {0}), At(22, {2})}).size(), 1u);
  EXPECT_TRUE(three.Run({At(50, {0}), At(55, {1}), At(0, {2})}).empty());
  Temporal ordered(2, kOrder);
  EXPECT_EQ(ordered.Run({At(8, {1}), At(5, {0})}).size(), 1u);
  EXPECT_TRUE(ordered.Run({At(5, {1}), At(8, {0})}).empty());
}

TEST(TemporalRows, NotIsDecidedWhenTheWindowHasClosedAndNeverBefore) {
  Temporal absent(2,
                  "  {type: temporal, condition: r0 and not r1, group-by: [k], timespan: 10s}\n");
  RunOptions options;
  options.lateness = 5 * kSecondNs;
  // Nothing passes the end of the first window minus the lateness but the last event.
  absent.harness().Run({At(0, {0}), At(14.9, {0}, "other")}, options);
  EXPECT_EQ(absent.harness().emitted().size(), 2u);  // at the end of the input
  EXPECT_EQ(absent.Run({At(0, {0})}).size(), 1u);
  EXPECT_TRUE(absent.Run({At(0, {0}), At(9.9, {1})}).empty());
  EXPECT_EQ(absent.Run({At(0, {0}), At(10, {1})}).size(), 1u);
  // It comes late, but in time.
  EXPECT_TRUE(absent.Run({At(0, {0}), At(12, {1}, "other"), At(3, {1})}, 20 * kSecondNs).empty());
  // The second backup never ended.
  EXPECT_THAT(absent.Run({At(0, {0}), At(5, {1}), At(8, {0})}), ElementsAre(ElementsAre(2)));
}

TEST(TemporalRows, OneIncidentThenUpdatesNotOneForEachFurtherEvent) {
  Temporal any(2, kBoth);
  std::vector<TestEvent> events;
  for (int i = 0; i < 40; ++i) events.push_back(At(i, {i % 2}));
  const auto incidents = any.harness().Run(events, {});
  ASSERT_EQ(incidents.size(), 1u);
  const FinalIncident& one = incidents.begin()->second;
  EXPECT_EQ(one.creates, 1);
  EXPECT_EQ(one.updates, 4);  // one a span, and the last one
  EXPECT_EQ(one.event_count, 40u);
  EXPECT_EQ(one.evidence.size(), 16u);
  EXPECT_EQ(one.evidence_dropped, 24u);
  EXPECT_EQ(one.value, "2");
}

TEST(TemporalRows, AFloodOfGroupsDoesNotPushASlowAttackOut) {
  Temporal ordered(2, "  {type: temporal_ordered, rules: [r0, r1], group-by: [k], timespan: 1h}\n");
  std::vector<TestEvent> events = {At(0, {0}, "victim")};
  for (int i = 0; i < 20'000; ++i) events.push_back(At(1 + i * 0.1, {0}, fmt::format("g{}", i)));
  events.push_back(At(3000, {1}, "victim"));
  RunOptions options;
  options.batch = 1000;
  options.evict_to = 64 << 10;
  EXPECT_EQ(ordered.harness().Run(events, options).size(), 1u);
}

TEST(TemporalRows, AFloodWithinTheGroupIsThinnedAndSeenAndHidesNothing) {
  Temporal ordered(
      3,
      "  type: temporal_ordered\n  rules: [r0, r1, r2]\n  group-by: [k]\n  timespan: 100s\n"
      "  bongsu: {events_max: 50}\n");
  std::vector<TestEvent> events;
  for (int i = 0; i < 5000; ++i) events.push_back(At(i * 0.01, {0}));
  events.push_back(At(50.5, {1}));
  for (int i = 0; i < 5000; ++i) events.push_back(At(51 + i * 0.01, {0}));
  EXPECT_TRUE(ordered.Run(events).empty());
  EXPECT_GT(ordered.harness().counters().at("events_thinned"), 8000u);
  events.push_back(At(110, {2}));
  EXPECT_EQ(ordered.Run(events).size(), 1u);
}

// One event of the same rule that is ahead does not let the flood through.
TEST(TemporalRows, AFloodBehindANewerEventIsThinned) {
  for (const char* type : {"temporal", "temporal_ordered"}) {
    Temporal both(2, fmt::format("  type: {}\n  rules: [r0, r1]\n  group-by: [k]\n"
                                 "  timespan: 100s\n  bongsu: {{events_max: 50}}\n",
                                 type));
    std::vector<TestEvent> events;
    // The first 50 are kept, and then each seventh.
    for (int i = 0; i < 3199; ++i) events.push_back(At(1000 + i / 64.0, {0}));
    both.Run(events);
    const uint64_t thinned = both.harness().counters().at("events_thinned");
    EXPECT_EQ(thinned, 3199u - 50 - 449);
    events.insert(events.begin(), At(1090, {0}));
    EXPECT_TRUE(both.Run(events).empty());
    EXPECT_EQ(both.harness().counters().at("events_thinned"), thinned);
    // Events of another rule that are ahead keep none of them, those between do.
    events.insert(events.begin(), At(1095, {1}));
    both.Run(events);
    EXPECT_EQ(both.harness().counters().at("events_thinned"), thinned);
    events.insert(events.begin(), At(1000 + 3195.5 / 64, {1}));
    EXPECT_EQ(both.Run(events).size(), 1u);
    EXPECT_EQ(both.harness().counters().at("events_thinned"), thinned - 1);
  }
}

// --- the specification, and what we decided ---

TEST(TemporalSpec, ConditionCountsDifferentRules) {
  Temporal two(3,
               "  {type: temporal, rules: [r0, r1, r2], group-by: [k], timespan: 10s,"
               " condition: {gte: 2}}\n");
  EXPECT_TRUE(two.Run({At(0, {0}), At(1, {0}), At(2, {0})}).empty());
  EXPECT_EQ(two.Run({At(0, {0}), At(1, {2})}).size(), 1u);
  Temporal few(3,
               "  {type: temporal, rules: [r0, r1, r2], group-by: [k], timespan: 10s,"
               " condition: {lt: 3}}\n");
  EXPECT_TRUE(few.Run({At(0, {0}), At(1, {1}), At(2, {2})}).empty());
  EXPECT_EQ(few.Run({At(0, {0}), At(1, {1}), At(10, {2})}).size(), 2u);
}

TEST(TemporalSpec, ExtendedConditions) {
  Temporal either(3,
                  "  {type: temporal, condition: r0 and (r1 or r2), group-by: [k],"
                  " timespan: 10s}\n");
  EXPECT_TRUE(either.Run({At(0, {1}), At(1, {2})}).empty());
  EXPECT_EQ(either.Run({At(0, {2}), At(1, {0})}).size(), 1u);
  Temporal ordered(3,
                   "  {type: temporal_ordered, condition: r0 and r1 and not r2, group-by: [k],"
                   " timespan: 10s}\n");
  EXPECT_EQ(ordered.Run({At(0, {0}), At(1, {1})}).size(), 1u);
  EXPECT_TRUE(ordered.Run({At(0, {0}), At(1, {1}), At(2, {2})}).empty());
  EXPECT_EQ(ordered.Run({At(0, {0}), At(1, {2}), At(2, {1})}).size(), 1u);  // not behind the last
  EXPECT_TRUE(ordered.Run({At(0, {1}), At(1, {0})}).empty());
}

TEST(TemporalSpec, GroupByIsOptional) {
  Temporal any(2, "  {type: temporal, rules: [r0, r1], timespan: 10s}\n");
  EXPECT_EQ(any.Run({At(0, {0}, "a"), At(1, {1}, "b")}).size(), 1u);
}

TEST(TemporalSpec, TiesAreOrderedBySourcePartitionAndOffsetOrNotAtAll) {
  const std::vector<TestEvent> tie = {At(1, {0}, "k", "s"), At(1, {1}, "k", "t")};
  const std::vector<TestEvent> other = {At(1, {1}, "k", "s"), At(1, {0}, "k", "t")};
  Temporal ordered(2, kOrder);
  EXPECT_EQ(ordered.Run(tie).size(), 1u);
  EXPECT_TRUE(ordered.Run(other).empty());
  Temporal apart(2,
                 "  {type: temporal_ordered, rules: [r0, r1], group-by: [k], timespan: 10s,"
                 " bongsu: {tie: time}}\n");
  EXPECT_TRUE(apart.Run(tie).empty());
}

TEST(TemporalSpec, ALateEventMergesTwoPublishedIncidents) {
  Temporal any(2, kBoth);
  RunOptions options;
  options.lateness = kMinuteNs;
  std::vector<TestEvent> events = {At(10, {0}), At(11, {1}), At(30, {0}), At(31, {1})};
  EXPECT_EQ(any.Run(events).size(), 2u);
  events.push_back(At(19, {0}));  // with the first two
  EXPECT_EQ(any.Run(events).size(), 2u);
  events.push_back(At(25, {1}));  // with the one before, and with 30
  const auto merged = any.harness().Run(events, options);
  ASSERT_EQ(merged.size(), 2u);
  std::string open;
  std::string closed_into;
  for (const auto& [id, incident] : merged) {
    EXPECT_EQ(incident.creates, 1);
    if (incident.closes == 0) open = id;
    if (incident.closes > 0) closed_into = incident.merged_into;
  }
  EXPECT_EQ(closed_into, open);
  EXPECT_EQ(merged.at(open).event_count, 6u);
  EXPECT_EQ(merged.at(open).first_time, 10 * kSecondNs);  // the one published first goes on
}

TEST(TemporalSpec, ResultsGoToReadersOnceAndToFollowersAtEachEvent) {
  for (const char* emit : {"early", "watermark"}) {
    Temporal any(2, fmt::format("  {{type: temporal, rules: [r0, r1], group-by: [k],"
                                " timespan: 10s, bongsu: {{emit: {}}}}}\n",
                                emit));
    any.harness().set_has_readers(true);
    for (const bool followed : {false, true}) {
      any.harness().set_has_followers(followed);
      any.Run({At(3, {1}), At(1, {0}), At(5, {0}), At(25, {0})});
      const auto& results = any.harness().forwarded();
      ASSERT_EQ(results.size(), followed ? 2u : 1u);
      EXPECT_EQ(results[0].time, 3 * kSecondNs);
      EXPECT_EQ(results[0].evidence.size(), 2u);
      if (!followed) continue;
      EXPECT_EQ(results[1].time, 5 * kSecondNs);
      EXPECT_EQ(results[1].evidence.size(), 1u);
      EXPECT_EQ(results[1].id, results[0].id);
    }
  }
}

TEST(TemporalSpec, EvidenceShowsEveryRule) {
  Temporal any(2,
               "  {type: temporal, rules: [r0, r1], group-by: [k], timespan: 10s,"
               " bongsu: {evidence_max: 3}}\n");
  EXPECT_THAT(any.Run({At(0, {0}), At(1, {0}), At(2, {0}), At(3, {0}), At(4, {1})}),
              ElementsAre(ElementsAre(0, 1, 4)));
}

// --- windows that follow one another ---

TEST(TemporalWindows, TumblingWindowsAreJudgedWhenTheyClose) {
  Temporal any(2,
               "  {type: temporal, rules: [r0, r1], group-by: [k], timespan: 10s,"
               " bongsu: {window: tumbling}}\n");
  // 9 and 11 are within ten seconds, but not in one window from 1970 on.
  EXPECT_TRUE(any.Run({At(9, {0}), At(11, {1})}).empty());
  EXPECT_THAT(any.Run({At(11, {1}), At(19, {0}), At(12, {1}), At(20, {0})}),
              ElementsAre(ElementsAre(0, 2, 1)));
}

TEST(TemporalWindows, ASessionGoesOnWhileEventsCome) {
  Temporal ordered(2,
                   "  {type: temporal_ordered, rules: [r0, r1], group-by: [k], timespan: 10s,"
                   " bongsu: {window: session}}\n");
  EXPECT_THAT(ordered.Run({At(0, {0}), At(9, {0}), At(18, {0}), At(27, {1})}),
              ElementsAre(ElementsAre(0, 1, 2, 3)));
  EXPECT_TRUE(ordered.Run({At(0, {0}), At(9, {0}), At(19, {1})}).empty());
  EXPECT_TRUE(ordered.Run({At(0, {1}), At(9, {0})}).empty());
}

TEST(TemporalWindows, WhatIsAbsentProlongsTheSessionAndIsNoEvidence) {
  Temporal open(2,
                "  type: temporal_ordered\n  group-by: [k]\n  timespan: 10s\n"
                "  condition: r0 and not r1\n  bongsu: {window: session}\n");
  EXPECT_TRUE(open.Run({At(0, {0}), At(9, {1})}).empty());
  EXPECT_THAT(open.Run({At(0, {0}), At(9, {1}), At(18, {0})}), ElementsAre(ElementsAre(0, 2)));
}

// Without group-by, windows follow each other without gaps: silence is found, and only then.
TEST(TemporalWindows, SilenceIsAnIncidentWithoutEvents) {
  const std::string silence = "  {type: temporal, condition: not r0 and not r1, timespan: 10s}\n";
  // [1, 11) has one; [11, 41) nothing, in three windows; [41, 51) the other.
  Temporal none(2, silence);
  EXPECT_EQ(none.Run({At(1, {0}), At(45, {1})}), (std::vector<std::vector<int64_t>>{{}, {}, {}}));
  Temporal fewer(2, "  {type: temporal, rules: [r0, r1], timespan: 10s, condition: {lt: 1}}\n");
  EXPECT_EQ(fewer.Run({At(1, {0}), At(45, {1})}).size(), 3u);
  // Events of others say how far time went; the end of the input does not.
  EXPECT_EQ(none.Run({At(1, {0}), At(33, {})}, 0).size(), 2u);
  // A heartbeat that is missing: r0 is it, r1 any other event.
  Temporal heartbeat(2, "  {type: temporal, condition: r1 and not r0 or not r0, timespan: 10s}\n");
  EXPECT_EQ(heartbeat.Run({At(1, {0}), At(12, {1}), At(25, {0}), At(45, {0})}),
            (std::vector<std::vector<int64_t>>{{}, {1}}));
  // By groups only windows with events are seen.
  Temporal grouped(2,
                   "  {type: temporal, condition: not r0, rules: [r0, r1], group-by: [k],"
                   " timespan: 10s}\n");
  EXPECT_EQ(grouped.Run({At(1, {0}), At(12, {1}), At(45, {0, 1})}),
            (std::vector<std::vector<int64_t>>{{}}));
}

// --- against the oracle ---

struct Case {
  OracleRule rule;
  std::string yaml;
  std::vector<TestEvent> events;
  DurationNs lateness = 0;
  bool early = false;
};

std::string ExpressionText(const std::vector<OracleAlternative>& alternatives) {
  std::string text;
  for (const OracleAlternative& one : alternatives) {
    std::string all;
    for (int i : one.seen) all += fmt::format("{}r{}", all.empty() ? "" : " and ", i);
    for (int i : one.absent) all += fmt::format("{}not r{}", all.empty() ? "" : " and ", i);
    text += (text.empty() ? "(" : " or (") + all + ")";
  }
  return text;
}

void RandomCondition(std::mt19937_64& random, OracleRule* rule, std::string* text) {
  rule->rules = 2 + static_cast<int>(random() % 3);
  rule->grouped = random() % 4 != 0;
  rule->ordered = random() % 2 == 0;
  rule->apart = rule->ordered && random() % 3 == 0;
  const auto rules = static_cast<size_t>(rule->rules);
  switch (random() % 4) {
    case 0:
      rule->by_count.assign(rules + 1, false);
      rule->by_count[rules] = true;
      return;
    case 1: {  // gte, lt
      const size_t n = 1 + random() % rules;
      const bool gte = random() % 2 == 0 || n == 1;
      for (size_t i = 0; i <= rules; ++i) rule->by_count.push_back(gte ? i >= n : i < n);
      *text = fmt::format("{{{}: {}}}", gte ? "gte" : "lt", n);
      return;
    }
    default:
      break;
  }
  const bool absence = random() % 2 == 0;
  for (size_t alternatives = 1 + random() % 2; alternatives > 0; --alternatives) {
    OracleAlternative one;
    for (int i = 0; i < rule->rules; ++i) {
      const auto what = random() % 3;
      if (what == 0) one.seen.push_back(i);
      if (what == 1 && absence) one.absent.push_back(i);
    }
    const bool nothing = !rule->ordered && !one.absent.empty() &&
                         (!rule->grouped || one.absent.size() < rules) && random() % 2 == 0;
    if (one.seen.empty() && !nothing) one.seen.push_back(static_cast<int>(random() % rules));
    std::erase_if(one.absent, [&](int i) {
      return std::find(one.seen.begin(), one.seen.end(), i) != one.seen.end();
    });
    rule->alternatives.push_back(one);
  }
  *text = ExpressionText(rule->alternatives);
}

bool IsPositive(const OracleRule& rule) {
  return std::all_of(rule.alternatives.begin(), rule.alternatives.end(),
                     [](const OracleAlternative& one) { return one.absent.empty(); }) &&
         std::is_sorted(rule.by_count.begin(), rule.by_count.end());
}

Case RandomCase(std::mt19937_64& random) {
  Case one;
  std::string condition;
  RandomCondition(random, &one.rule, &condition);
  one.rule.span = static_cast<DurationNs>(1 + random() % 4) * kSecondNs;
  one.rule.max_episode = kDayNs;
  std::string extensions = "evidence_max: 1000";
  if (one.rule.apart) extensions += ", tie: time";
  // What holds in no window with an event is for windows without gaps.
  const bool never =
      !one.rule.alternatives.empty() &&
      std::all_of(one.rule.alternatives.begin(), one.rule.alternatives.end(),
                  [&](const OracleAlternative& alternative) {
                    return alternative.seen.empty() &&
                           alternative.absent.size() == static_cast<size_t>(one.rule.rules);
                  });
  if (!never && random() % 3 == 0)
    one.rule.window = random() % 2 == 0 ? OracleWindow::kTumbling : OracleWindow::kSession;
  const bool sliding = one.rule.window == OracleWindow::kSliding;
  if (!sliding)
    extensions +=
        one.rule.window == OracleWindow::kTumbling ? ", window: tumbling" : ", window: session";
  const bool positive = sliding && IsPositive(one.rule);
  if (positive && random() % 4 == 0) {
    one.rule.reset = true;
    extensions += ", reset: true";
  }
  if (random() % 4 == 0) {
    one.rule.suppress = static_cast<DurationNs>(1 + random() % 8) * kSecondNs;
    extensions += fmt::format(", suppress: {}", DurationText(one.rule.suppress));
  }
  const bool cut = one.rule.window == OracleWindow::kSession || (positive && !one.rule.reset);
  if (cut && random() % 3 == 0) {
    one.rule.max_episode = one.rule.span + static_cast<DurationNs>(random() % 5) * kSecondNs;
    extensions += fmt::format(", max_episode: {}", DurationText(one.rule.max_episode));
  }
  one.early = positive && !one.rule.reset && one.rule.suppress == 0 &&
              one.rule.max_episode == kDayNs && random() % 2 == 0;
  if (positive && !one.early) extensions += ", emit: watermark";
  std::string names;
  for (int i = 0; i < one.rule.rules; ++i) names += fmt::format("{}r{}", i == 0 ? "" : ", ", i);
  one.yaml = fmt::format(
      "  type: {}\n  rules: [{}]\n  group-by: [{}]\n  timespan: {}s\n{}  bongsu: {{{}}}\n",
      one.rule.ordered ? "temporal_ordered" : "temporal", names, one.rule.grouped ? "k" : "",
      one.rule.span / kSecondNs, condition.empty() ? "" : "  condition: " + condition + "\n",
      extensions);
  one.lateness = static_cast<DurationNs>(random() % 3) * 3 * kSecondNs;
  const size_t events = 1 + random() % 40;
  const auto range = static_cast<EventTimeNs>(1 + random() % 30);
  for (size_t i = 0; i < events; ++i) {
    TestEvent event = At(0, {}, random() % 4 == 0 ? "a" : "b", random() % 3 == 0 ? "t" : "s");
    event.time =
        static_cast<EventTimeNs>(random() % static_cast<uint64_t>(4 * range)) * (kSecondNs / 4) +
        static_cast<EventTimeNs>(random() % 8 == 0 ? random() % 2 : 0);
    for (int r = 0; r < one.rule.rules; ++r) {
      if (random() % 2 == 0) event.fields[fmt::format("f{}", r)] = "1";
    }
    one.events.push_back(event);
  }
  // Windows without events are judged as far as event time goes: to the last event, if it is one of
  // the correlation's.
  if (!one.rule.grouped) {
    std::max_element(one.events.begin(), one.events.end(), [](const auto& a, const auto& b) {
      return a.time < b.time;
    })->fields["f0"] = "1";
  }
  return one;
}

std::vector<OracleIncident> Open(const std::map<std::string, FinalIncident>& incidents) {
  std::vector<OracleIncident> found;
  for (const auto& [id, incident] : incidents) {
    EXPECT_EQ(incident.creates, 1);
    if (incident.closes > 0) {
      EXPECT_TRUE(incidents.contains(incident.merged_into));
      continue;
    }
    EXPECT_EQ(incident.event_count, incident.evidence.size());
    found.push_back({incident.key, incident.evidence});
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string Text(const std::vector<OracleIncident>& incidents) {
  std::string text;
  for (const OracleIncident& one : incidents) {
    text += one.key + ":";
    for (const auto& [source, offset] : one.events) text += fmt::format(" {}@{}", source, offset);
    text += "\n";
  }
  return text;
}

std::string EventsText(const std::vector<TestEvent>& events) {
  std::string text;
  for (size_t i = 0; i < events.size(); ++i) {
    text +=
        fmt::format("{} {}@{} {}", events[i].time, events[i].source, i, events[i].fields.at("k"));
    for (const auto& [name, value] : events[i].fields) {
      if (name != "k") text += " " + name;
    }
    text += "\n";
  }
  return text;
}

TEST(TemporalRandom, EqualsTheOracle) {
  const uint64_t seed = Seed();
  const char* only = std::getenv("BONGSU_CASE");
  size_t incidents = 0;
  for (int i = 0; i < Fewer(1000); ++i) {
    if (only != nullptr && std::atoi(only) != i) continue;
    std::mt19937_64 random(seed + static_cast<uint64_t>(i));
    const Case one = RandomCase(random);
    SCOPED_TRACE(fmt::format("BONGSU_SEED={} BONGSU_CASE={}\n{}", seed, i, one.yaml));
    OperatorHarness harness(Rules(one.rule.rules, one.yaml), "together", {"s", "t"});
    harness.set_has_readers(random() % 4 == 0);
    RunOptions options;
    options.lateness = one.lateness;
    options.batch = 1 + random() % 5;
    options.evict_to = random() % 32 == 0 ? 0 : SIZE_MAX;
    options.crash_between = random() % 32 == 0;
    const auto found =
        harness.Run(testing::ShuffledWithin(one.events, one.lateness, random()), options);
    ASSERT_EQ(harness.late(), 0u);
    const auto expected = TemporalOracle(one.rule, one.events);
    incidents += expected.size();
    ASSERT_EQ(Text(Open(found)), Text(expected)) << EventsText(one.events);
  }
  if (only == nullptr) {
    EXPECT_GT(incidents, static_cast<size_t>(Fewer(1000)));
  }
}

// `emit: watermark`: the same to the last byte, whatever the order.
TEST(TemporalRandom, WatermarkModeIsTheSameInAnyOrder) {
  const uint64_t seed = Seed();
  for (int i = 0; i < Fewer(150); ++i) {
    std::mt19937_64 random(seed + static_cast<uint64_t>(i));
    const Case one = RandomCase(random);
    if (one.early) continue;
    SCOPED_TRACE(fmt::format("BONGSU_SEED={} case {}\n{}", seed, i, one.yaml));
    OperatorHarness harness(Rules(one.rule.rules, one.yaml), "together", {"s", "t"});
    std::vector<std::string> expected;
    for (int round = 0; round < 4; ++round) {
      RunOptions options;
      options.lateness = one.lateness;
      options.batch = 1 + random() % 5;
      options.crash_between = round == 3 && i % 16 == 0;
      harness.Run(testing::ShuffledWithin(one.events, round == 0 ? 0 : one.lateness, random()),
                  options);
      auto emitted = harness.emitted();
      std::sort(emitted.begin(), emitted.end());
      if (round == 0) expected = emitted;
      ASSERT_EQ(emitted, expected);
    }
  }
}

}  // namespace
}  // namespace bongsu
