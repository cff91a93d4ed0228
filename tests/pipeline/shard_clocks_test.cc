// The clocks of a shard against an obvious oracle: a simulation of instances that own source
// partitions, send bundles at their own pace, die, and are replaced from the committed clock.
#include "pipeline/shard_clocks.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "pipeline/exchange_bundle.h"

namespace bongsu {
namespace {

constexpr DurationNs kBound = 5 * kSecondNs;  // out_of_orderness
constexpr char kYaml[] = R"(
application: t
sources:
  - name: fw
    topics: [fw]
    format: {time: [{path: t, as: epoch_s}]}
    time: {out_of_orderness: 5s}
  - name: ep
    topics: [ep]
    format: {time: [{path: t, as: epoch_s}]}
    time: {out_of_orderness: 5s}
operators:
  - name: first
    type: interval_join
    left: {source: fw, key: ip}
    right: {source: ep, key: ip}
    within: {before: 2s, after: 3s}
  - name: second
    type: interval_join
    left: {source: first, key: left.ip}
    right: {source: ep, key: ip}
    within: {before: 0s, after: 0s}
sinks: {alerts: {topic: alerts}, late: {topic: late}, dead_letter: {topic: dead}}
kafka: {bootstrap.servers: "localhost:1"}
exchange: kafka
state: {path: /tmp/t}
)";
using State = PartitionClock::State;

class ShardClocksTest : public ::testing::Test {
 protected:
  ShardClocksTest() : config_(Parse()), plan_(MakePlan(config_)) {}
  static Config Parse() {
    OperatorRegistry registry;
    RegisterAllOperators(registry);
    Diagnostics diagnostics;
    std::optional<Config> config = ParseConfig(kYaml, "t.yaml", registry, diagnostics);
    EXPECT_TRUE(config.has_value()) << diagnostics.Text();
    return *std::move(config);
  }
  // Partitions 0..2 are fw's, 3..4 ep's.
  static uint16_t SourceOf(PartitionId partition) { return partition < 3 ? 0 : 1; }
  static constexpr PartitionId kPartitions = 5;
  static constexpr uint16_t kShards = 3;
  ShardClocks Make() {
    ShardClocks clocks(config_, plan_, plan_version_, kShards);
    for (PartitionId id = 0; id < kPartitions; ++id) clocks.Know(id, SourceOf(id));
    return clocks;
  }
  std::vector<EventTimeNs> Ports(const ShardClocks& clocks, size_t op) {
    std::vector<EventTimeNs> ports;
    clocks.Ports(op, &ports);
    return ports;
  }
  static PartitionClock Clock(State state, EventTimeNs newest, EventTimeNs floor = kMinEventTime) {
    PartitionClock clock;
    clock.state = state;
    clock.newest = newest;
    clock.floor = floor;
    return clock;
  }

  uint64_t plan_version_ = 1;
  Config config_;
  Plan plan_;
};

// What a shard knows is what the owners of the partitions committed, in whichever order bundles of
// different partitions arrive, and whoever sent them.
TEST_F(ShardClocksTest, EqualsTheMinimumOfWhatOwnersHaveSaid) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  for (int run = 0; run < 200; ++run) {
    std::optional<ShardClocks> held(Make());
    ShardClocks& clocks = *held;
    // The oracle: of each partition the last clock, and of each source the highest minimum so far.
    std::vector<PartitionClock> truth(kPartitions, Clock(State::kActive, kMinEventTime));
    std::vector<EventTimeNs> source(2, kMinEventTime);
    std::vector<EventTimeNs> results(kShards, kMinEventTime);
    // Of each partition what its owners committed and the shard has not read: news of one partition
    // stay in order, those of several do not.
    std::vector<std::deque<PartitionClock>> sent(kPartitions);
    std::vector<PartitionClock> owner = truth;
    const auto raise_sources = [&] {
      for (size_t s = 0; s < 2; ++s) {
        EventTimeNs lowest = kMaxEventTime;
        EventTimeNs floor = kMinEventTime;
        bool active = false;
        bool idle = false;
        for (PartitionId p = 0; p < kPartitions; ++p) {
          if (SourceOf(p) != s || truth[p].state == State::kEnded) continue;
          if (truth[p].state == State::kIdle) {
            idle = true;
            floor = std::max(floor, truth[p].floor);
            continue;
          }
          active = true;
          lowest = std::min(lowest, std::max(AddTime(truth[p].newest, -kBound), truth[p].floor));
        }
        const EventTimeNs now = active ? lowest : idle ? floor : kMaxEventTime;
        source[s] = std::max(source[s], now);
      }
    };
    for (int step = 0; step < 300; ++step) {
      const auto id = static_cast<PartitionId>(random() % kPartitions);
      switch (random() % 8) {
        case 0:
        case 1:
        case 2: {  // an epoch of the partition's owner
          PartitionClock& clock = owner[id];
          if (clock.state == State::kEnded) break;
          const auto what = random() % 20;
          if (what == 0) {
            clock.state = State::kIdle;
            if (random() % 2 == 0)
              clock.newest = std::max<EventTimeNs>(clock.newest, step * kSecondNs);
          } else if (what == 1 && step > 200) {
            clock.state = State::kEnded;
          } else if (what == 2 && clock.state == State::kIdle) {
            clock.floor = std::max<EventTimeNs>(clock.floor, step * kSecondNs);
          } else {
            clock.state = State::kActive;
            const EventTimeNs time =
                step * kSecondNs - static_cast<EventTimeNs>(random() % 4) * kSecondNs;
            clock.newest = std::max(clock.newest, time);
          }
          sent[id].push_back(clock);
          break;
        }
        case 3: {  // it dies; the next one begins at the committed clock, and says it again
          uint64_t plan = 0;
          ASSERT_TRUE(ClockOfText(ClockText(owner[id], 3), &owner[id], &plan));
          ASSERT_EQ(plan, 3u);
          sent[id].push_back(owner[id]);
          break;
        }
        case 4: {  // results of a shard
          const auto from = static_cast<ShardId>(random() % kShards);
          results[from] = std::max<EventTimeNs>(results[from], step * kSecondNs);
          clocks.ApplyResult(0, from, results[from]);
          break;
        }
        case 5: {  // the shard moves: its next owner knows what the last one knew
          const std::string row = clocks.Encode();
          held.emplace(Make());
          ASSERT_TRUE(clocks.Restore(row).ok());
          break;
        }
        default: {  // what one batch of bundles brings
          std::set<PartitionId> quiet;
          for (auto news = random() % 4 + 1; news > 0; --news) {
            const auto of = static_cast<PartitionId>(random() % kPartitions);
            if (sent[of].empty()) continue;
            PartitionClock clock = sent[of].front();
            sent[of].pop_front();
            clocks.Apply(of, SourceOf(of), clock);
            quiet.erase(of);
            // What was brought comes before the quiet at its end.
            if (clock.state == State::kIdle && truth[of].state != State::kIdle) {
              clock.state = State::kActive;
              quiet.insert(of);
            }
            truth[of] = clock;
          }
          raise_sources();
          for (const PartitionId of : quiet) truth[of].state = State::kIdle;
          clocks.Refresh();
        }
      }
      raise_sources();
      ASSERT_EQ(Ports(clocks, 0), (std::vector<EventTimeNs>{source[0], source[1]})) << step;
      ASSERT_EQ(Ports(clocks, 1)[0], *std::min_element(results.begin(), results.end())) << step;
    }
  }
}

// Nothing is late because another instance was slow: what nobody has spoken for yet holds.
TEST_F(ShardClocksTest, AKnownPartitionHoldsItsSourceUntilItsFirstNews) {
  ShardClocks clocks = Make();
  for (PartitionId id = 0; id < 2; ++id)
    clocks.Apply(id, 0, Clock(State::kActive, 100 * kSecondNs));
  clocks.Refresh();
  EXPECT_EQ(Ports(clocks, 0)[0], kMinEventTime);
  clocks.Apply(2, 0, Clock(State::kIdle, kMinEventTime));  // an empty one
  clocks.Refresh();
  EXPECT_EQ(Ports(clocks, 0)[0], 95 * kSecondNs);
}

// An epoch that took long (a broker was away) brings the last events and the quiet behind them.
TEST_F(ShardClocksTest, WhatAnEpochBroughtCountsBeforeTheQuietAtItsEnd) {
  ShardClocks clocks = Make();
  for (PartitionId id = 0; id < 3; ++id) clocks.Apply(id, 0, Clock(State::kActive, 50 * kSecondNs));
  clocks.Refresh();
  EXPECT_EQ(Ports(clocks, 0)[0], 45 * kSecondNs);
  for (PartitionId id = 0; id < 3; ++id)
    clocks.Apply(id, 0, Clock(State::kIdle, (100 + id) * kSecondNs));
  clocks.Refresh();
  EXPECT_EQ(Ports(clocks, 0)[0], 95 * kSecondNs)
      << "the lowest: nobody knows which fell quiet last";
  // An event before the clocks are looked at again: it is not idle after all.
  clocks.Apply(0, 0, Clock(State::kActive, 110 * kSecondNs));
  clocks.Refresh();
  clocks.Apply(0, 0, Clock(State::kIdle, 120 * kSecondNs));
  EXPECT_TRUE(clocks.Wake(0));
  clocks.Refresh();
  EXPECT_EQ(clocks.watermarks().partitions()[0].state, State::kActive);
  EXPECT_EQ(Ports(clocks, 0)[0], 115 * kSecondNs);
}

// Whoever takes an idle partition over says that it is active, and nothing else of it has changed.
TEST_F(ShardClocksTest, WhatIsActiveAgainWithinABatchHoldsItsSource) {
  ShardClocks clocks = Make();
  for (PartitionId id = 0; id < 3; ++id)
    clocks.Apply(id, 0, Clock(State::kActive, 100 * kSecondNs));
  clocks.Refresh();
  EXPECT_TRUE(clocks.Apply(0, 0, Clock(State::kIdle, 100 * kSecondNs)));
  EXPECT_TRUE(clocks.Apply(0, 0, Clock(State::kActive, 100 * kSecondNs)));
  clocks.Refresh();
  for (PartitionId id = 1; id < 3; ++id)
    clocks.Apply(id, 0, Clock(State::kActive, 900 * kSecondNs));
  clocks.Refresh();
  EXPECT_EQ(Ports(clocks, 0)[0], 95 * kSecondNs);
  // And quiet, active, quiet is quiet.
  clocks.Apply(0, 0, Clock(State::kIdle, 100 * kSecondNs));
  clocks.Apply(0, 0, Clock(State::kActive, 100 * kSecondNs));
  clocks.Apply(0, 0, Clock(State::kIdle, 100 * kSecondNs));
  clocks.Refresh();
  EXPECT_EQ(Ports(clocks, 0)[0], 895 * kSecondNs);
}

TEST(Watermarks, ABatchCountsBeforeTheQuietAtItsEnd) {
  Watermarks watermarks({kBound});
  watermarks.AddPartition(0, 0);
  const PartitionTime time{0, 100 * kSecondNs, 100 * kSecondNs};
  const PartitionMark idle{PartitionMark::Kind::kIdle, 0, 0};
  EXPECT_TRUE(watermarks.Apply({&time, 1}, {&idle, 1}));
  EXPECT_EQ(watermarks.source(0), 95 * kSecondNs);
  EXPECT_EQ(watermarks.partitions()[0].state, State::kIdle);
}

// However much of it the first batch holds.
TEST(Watermarks, WhatIsMissedHangsOnThePartitionsFirstRecordAlone) {
  Watermarks watermarks({kBound});
  watermarks.AddPartition(0, 0);
  watermarks.BeginsLate(0);
  const PartitionTime times[] = {{0, 900 * kSecondNs, 100 * kSecondNs},
                                 {0, 950 * kSecondNs, 90 * kSecondNs}};
  EXPECT_TRUE(watermarks.Apply({&times[0], 1}, {}));
  EXPECT_EQ(watermarks.partitions()[0].missed, 100 * kSecondNs + kBound);
  EXPECT_TRUE(watermarks.Apply({&times[1], 1}, {}));
  EXPECT_EQ(watermarks.partitions()[0].missed, 100 * kSecondNs + kBound);
}

TEST_F(ShardClocksTest, AnIdlePartitionWakesWithItsFirstEvent) {
  ShardClocks clocks = Make();
  clocks.Apply(0, 0, Clock(State::kActive, 100 * kSecondNs));
  clocks.Apply(1, 0, Clock(State::kIdle, 50 * kSecondNs));
  clocks.Apply(2, 0, Clock(State::kIdle, 50 * kSecondNs));
  clocks.Refresh();
  EXPECT_EQ(Ports(clocks, 0)[0], 95 * kSecondNs);
  EXPECT_TRUE(clocks.Wake(1));
  EXPECT_FALSE(clocks.Wake(1));
  EXPECT_FALSE(clocks.Wake(0));
  clocks.Apply(0, 0, Clock(State::kActive, 200 * kSecondNs));
  clocks.Refresh();
  EXPECT_EQ(Ports(clocks, 0)[0], 95 * kSecondNs)
      << "its clock is to come; it holds, and never back";
  clocks.Apply(1, 0, Clock(State::kActive, 150 * kSecondNs));
  clocks.Refresh();
  EXPECT_EQ(Ports(clocks, 0)[0], 145 * kSecondNs);
}

TEST_F(ShardClocksTest, EndsWhenAllSourcesAndResultsHave) {
  ShardClocks clocks = Make();
  for (PartitionId id = 0; id < kPartitions; ++id) {
    EXPECT_FALSE(clocks.ended());
    clocks.Apply(id, SourceOf(id), Clock(State::kEnded, kSecondNs));
    clocks.Refresh();
  }
  for (ShardId from = 0; from < kShards; ++from) {
    EXPECT_FALSE(clocks.ended());
    clocks.ApplyResult(0, from, kMaxEventTime);
  }
  EXPECT_TRUE(clocks.ended());
}

// Another plan: a reader that has not changed over may have woken an idle partition, and brought
// events that a new operator has not got; its next clock says how many.
TEST_F(ShardClocksTest, AfterAChangeOfPlanEachPartitionIsHeardAnew) {
  ShardClocks before = Make();
  for (PartitionId id = 0; id < kPartitions; ++id)
    before.Apply(id, SourceOf(id),
                 Clock(id == 2 ? State::kIdle : State::kActive, (50 - id) * kSecondNs));
  before.Refresh();
  EXPECT_EQ(before.source(0), 44 * kSecondNs);  // partition 1's; 2 is idle
  EXPECT_EQ(before.missed(0), kMinEventTime);
  const std::string row = before.Encode();

  plan_version_ = 2;
  ShardClocks after = Make();
  ASSERT_TRUE(after.Restore(row).ok());
  after.Begin(0, 2);  // new to the shard
  after.Begin(1, 0);
  EXPECT_EQ(after.missed(0), 50 * kSecondNs);
  EXPECT_EQ(after.missed(1), kMinEventTime);
  // The idle one counts until it is heard; what was said is not taken back.
  EXPECT_EQ(after.source(0), 44 * kSecondNs);
  after.Apply(0, 0, Clock(State::kActive, 90 * kSecondNs));
  after.Apply(1, 0, Clock(State::kActive, 90 * kSecondNs));
  after.Refresh();
  EXPECT_EQ(after.missed(0), 90 * kSecondNs);
  EXPECT_EQ(after.source(0), 44 * kSecondNs);
  // Nothing new, and yet news: the reader has changed over, and nothing more can be missed of it.
  EXPECT_TRUE(after.Apply(2, 0, Clock(State::kIdle, 48 * kSecondNs)));
  after.Refresh();
  EXPECT_FALSE(after.Apply(2, 0, Clock(State::kIdle, 48 * kSecondNs)));
  after.Apply(0, 0, Clock(State::kActive, 95 * kSecondNs));
  after.Refresh();
  EXPECT_EQ(after.missed(0), 90 * kSecondNs);
  EXPECT_EQ(after.source(0), 85 * kSecondNs);

  // The next owner: partitions 3 and 4 have not been heard under this plan.
  ShardClocks next = Make();
  ASSERT_TRUE(next.Restore(after.Encode()).ok());
  next.Begin(0, 2);
  EXPECT_EQ(next.missed(0), 47 * kSecondNs);
  next.Apply(0, 0, Clock(State::kActive, 99 * kSecondNs));
  EXPECT_EQ(next.missed(0), 47 * kSecondNs);
  next.Apply(4, 1, Clock(State::kActive, 70 * kSecondNs));
  EXPECT_EQ(next.missed(0), 70 * kSecondNs);
}

TEST_F(ShardClocksTest, OldNewsAndForeignTextChangeNothing) {
  ShardClocks clocks = Make();
  clocks.Apply(0, 0, Clock(State::kActive, 100 * kSecondNs));
  EXPECT_FALSE(clocks.Apply(0, 0, Clock(State::kActive, 90 * kSecondNs)));
  PartitionClock clock;
  uint64_t plan = 0;
  for (const char* text : {"", "bongsu epoch 5", "bongsu clock ", "bongsu clock 1 2", "x",
                           "bongsu clock 9 1 1", "bongsu clock 1 2 3 4 5 6", "bongsu clock 1 2 3x",
                           "bongsu clock 1 2 3 -1", "bongsu clock 1 2 3 "})
    EXPECT_FALSE(ClockOfText(text, &clock, &plan)) << text;
  EXPECT_TRUE(ClockOfText("bongsu clock 2 -5 7", &clock, &plan));
  EXPECT_EQ(plan, 0u);
  EXPECT_EQ(clock.state, State::kIdle);
  EXPECT_EQ(clock.newest, -5);
  EXPECT_EQ(clock.floor, 7);
  EXPECT_FALSE(clocks.Restore("\x01\x05").ok());
}

// An epoch's clocks may be several bundles, and a shard may work between any two of their rows.
TEST_F(ShardClocksTest, NeverAheadOfWhoHasReadAllOfAnEpochsClocks) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  uint64_t moved = 0;
  for (int run = 0; run < 300; ++run) {
    ShardClocks whole = Make();
    ShardClocks parts = Make();
    std::vector<PartitionClock> owner(kPartitions, Clock(State::kActive, kMinEventTime));
    for (int epoch = 0; epoch < 30; ++epoch) {
      ClockNews news;
      for (PartitionId id = 0; id < kPartitions; ++id) {
        if (owner[id].state == State::kEnded || random() % 4 == 0) continue;
        const PartitionClock before = owner[id];
        owner[id].newest = std::max<EventTimeNs>(before.newest, 0) +
                           static_cast<EventTimeNs>(random() % 100) * kSecondNs;
        const State states[] = {State::kActive, State::kIdle, State::kEnded};
        owner[id].state = states[random() % (epoch > 20 && random() % 4 == 0 ? 3 : 2)];
        news.Add(id, &before, owner[id]);
      }
      const std::vector<ClockNews::Row> rows = news.Take();
      const EventTimeNs before[] = {whole.source(0), whole.source(1)};
      for (const auto& row : rows) whole.Apply(row.partition, SourceOf(row.partition), row.clock);
      whole.Refresh();
      for (const auto& row : rows) {
        parts.Apply(row.partition, SourceOf(row.partition), row.clock);
        parts.Refresh();
        for (size_t s = 0; s < 2; ++s) ASSERT_LE(parts.source(s), whole.source(s)) << epoch;
      }
      for (size_t s = 0; s < 2; ++s) {
        ASSERT_EQ(parts.source(s), whole.source(s)) << epoch;
        moved += whole.source(s) > before[s] ? 1 : 0;
      }
    }
  }
  EXPECT_GT(moved, 1000u);
}

}  // namespace
}  // namespace bongsu
