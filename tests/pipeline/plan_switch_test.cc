// A process changes over to other rules while events come in, and so do instances that share the
// work (exchange: kafka), each at a moment of its own, some killed in between. What has not changed
// finds what it finds undisturbed; a rule that is new, or gone, invents nothing, and misses nothing
// once all have changed over.
//
// The rules are about absence: what is not there because nobody has sent it yet must not be taken
// for absent. Windows tumble, so that they do not hang on which event was the first to be seen.
//
// BONGSU_SEED replays the choices; threads add their own. BONGSU_RUNS makes it longer.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <thread>

#include "pipeline/json_text.h"
#include "pipeline/logging.h"
#include "pipeline/ownership.h"
#include "pipeline/shard_clocks.h"
#include "tests/pipeline/simulated_process.h"
#include "tests/testing/sanitized.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr int kShards = 4;
constexpr int kEvents = 1200;  // of a partition
constexpr int64_t kBegin = 1'700'000'000;

// {0}: the folder, {1}: of the rules, {2}: the exchange.
constexpr char kYaml[] = R"(
application: sim
threads: 2
rules: ["{0}/{1}"]
sources:
  - name: fw
    topics: [fw]
    format: {{time: [{{path: t, as: epoch_s}}], logsource: {{product: fw}}}}
    time: {{out_of_orderness: 5s, allowed_lateness: 5s, max_future_skew: 366d}}
  - name: ep
    topics: [ep]
    format: {{time: [{{path: t, as: epoch_s}}], logsource: {{product: ep}}}}
    time: {{out_of_orderness: 5s, allowed_lateness: 5s, max_future_skew: 366d}}
operators:
  - name: near
    type: interval_join
    left: {{source: fw, key: ip, fields: [id]}}
    right: {{source: ep, key: ip, fields: [id]}}
    within: {{before: 1s, after: 1s}}
    emit: pairs
sinks:
  alerts: {{topic: alerts, format: native}}
  late: {{topic: late}}
  dead_letter: {{topic: dead}}
kafka: {{bootstrap.servers: "nowhere:1"}}
exchange: {2}
epoch: 1ms
state: {{path: /nowhere, memory: 16MiB, shards: 4}}
)";

constexpr char kDetections[] = R"(
title: A logon
name: logon
level: low
logsource: {product: fw}
detection: {sel: {a: '1'}, condition: sel}
---
title: A logoff
name: logoff
level: low
logsource: {product: ep}
detection: {sel: {id|exists: true}, condition: sel}
---
)";

// {0}: the timespan, by which the rules differ; the first one stays as it is.
constexpr char kCorrelations[] = R"(
title: Few, as before
name: kept
level: high
correlation: {{type: event_count, rules: [logoff], condition: {{lt: 3}}, group-by: [ip],
              timespan: 11s, bongsu: {{window: tumbling}}}}
---
title: No logoff
name: missing
level: high
correlation: {{type: temporal, condition: logon and not logoff, group-by: [ip], timespan: {0},
              bongsu: {{window: tumbling}}}}
---
title: Few
name: few
level: high
correlation: {{type: event_count, rules: [logoff], condition: {{lt: 3}}, group-by: [ip],
              timespan: {0}, bongsu: {{window: tumbling}}}}
---
title: No logoff for many
name: missing_for_many
level: high
correlation: {{type: value_count, rules: [missing], group-by: [level], timespan: {0},
              condition: {{lte: 3, field: ip}}, generate: true, bongsu: {{window: tumbling}}}}
)";

using Found = std::map<std::string, std::multiset<std::string>>;  // alerts by rule

// By the exchange.
class PlanSwitchTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    SetUpLogging({false, "error"});
    folder_ = fs::temp_directory_path() /
              fmt::format("bongsu_plans_{}_{}", getpid(), std::random_device()());
    OperatorRegistry registry;
    RegisterAllOperators(registry);
    for (const char* span : {"10s", "12s"}) {
      const std::string rules = fmt::format("rules-{}", span);
      fs::create_directories(folder_ / rules);
      std::ofstream(folder_ / rules / "r.yml") << kDetections << fmt::format(kCorrelations, span);
      Diagnostics diagnostics;
      configs_.push_back(ParseConfig(fmt::format(kYaml, folder_.string(), rules, GetParam()),
                                     "sim.yaml", registry, diagnostics));
      ASSERT_TRUE(configs_.back().has_value()) << diagnostics.Text();
    }
  }
  void TearDown() override { fs::remove_all(folder_); }

  bool shared() const { return configs_[0]->exchange == ExchangeMode::kKafka; }
  void Fill(SimulatedCluster& cluster, uint64_t seed) {
    std::mt19937_64 random(seed);
    cluster.AddTopic("fw", 3);
    cluster.AddTopic("ep", 2);
    cluster.AddTopic(configs_[0]->exchange_topic(), kShards);
    cluster.AddTopic("changelog", kShards + 1);
    for (const char* topic : {"alerts", "late", "dead"}) cluster.AddTopic(topic, 1);
    cluster.subscribed = {"fw", "ep"};
    if (shared()) cluster.subscribed.insert(configs_[0]->exchange_topic());
    for (const auto& [topic, count] : {std::pair<std::string, int>{"fw", 3}, {"ep", 2}}) {
      for (int partition = 0; partition < count; ++partition) {
        for (int i = 0; i < kEvents; ++i) {
          const auto second = kBegin + i / 4 - static_cast<int64_t>(random() % 5);
          cluster.logs[{topic, partition}].push_back(
              fmt::format(R"({{"t":{},"ip":"10.0.0.{}","a":"{}","id":"{}{}-{}"}})", second,
                          random() % 40, random() % 4, topic, partition, i));
        }
      }
    }
  }

  static Found Alerts(SimulatedCluster& cluster) {
    std::lock_guard lock(cluster.mutex);
    Found alerts;
    for (const std::string& line : cluster.logs[{"alerts", 0}])
      alerts[Json::parse(line).at("rule").get<std::string>()].insert(line);
    return alerts;
  }

  Found Undisturbed(uint64_t seed, size_t plan) {
    SimulatedCluster cluster(seed);
    Fill(cluster, seed);
    SimulatedPlans plans({&*configs_[plan]});
    SimulatedProcess one(cluster, plans, "one", folder_ / fmt::format("base-{}-{}", seed, plan));
    while (!one.done()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_TRUE(one.status().ok()) << std::string(one.status().message());
    return Alerts(cluster);
  }

  std::vector<std::optional<Config>> configs_;
  fs::path folder_;
};

std::string Difference(const std::multiset<std::string>& got,
                       const std::multiset<std::string>& than) {
  std::vector<std::string> more;
  std::set_difference(got.begin(), got.end(), than.begin(), than.end(), std::back_inserter(more));
  return more.empty() ? "" : fmt::format("{} such as {}", more.size(), more.front());
}

const std::multiset<std::string>& Of(const Found& found, const std::string& rule) {
  static const std::multiset<std::string> kNone;
  const auto it = found.find(rule);
  return it != found.end() ? it->second : kNone;
}

constexpr const char* kTitles[] = {"near", "kept", "missing", "few", "missing_for_many"};

// Those whose events all come at `time` or later.
std::multiset<std::string> From(const std::multiset<std::string>& alerts, EventTimeNs time) {
  std::string text;
  AppendRfc3339(time, &text);
  std::multiset<std::string> from;
  for (const std::string& line : alerts) {
    if (Json::parse(line).at("first_time").get<std::string>() >= text) from.insert(line);
  }
  return from;
}

TEST_P(PlanSwitchTest, NothingIsLostAndNothingInvented) {
  const char* text = std::getenv("BONGSU_SEED");
  const uint64_t first =
      text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device()();
  const char* more = std::getenv("BONGSU_RUNS");
  const int runs = more != nullptr ? std::atoi(more) : kSanitized ? 1 : 4;
  for (int run = 0; run < runs; ++run) {
    const uint64_t seed = first + static_cast<uint64_t>(run);
    SCOPED_TRACE(fmt::format("seed {}", seed));
    const auto before = Undisturbed(seed, 0);
    const auto after = Undisturbed(seed, 1);
    for (const char* title : kTitles) {
      ASSERT_GT(Of(before, title).size(), 5u) << title;
      ASSERT_GT(Of(after, title).size(), 5u) << title;
    }

    SimulatedCluster cluster(seed);
    Fill(cluster, seed);
    std::mt19937_64 random(seed);
    SimulatedPlans plans({&*configs_[0], &*configs_[1]});
    std::map<int, std::unique_ptr<SimulatedProcess>> processes;
    size_t newest = 0;
    const auto begin = [&](int number) {
      processes[number] = std::make_unique<SimulatedProcess>(
          cluster, plans, fmt::format("p{}", number), folder_ / fmt::format("{}-{}", run, number),
          nullptr, newest);
    };
    const auto readable = [&](int64_t events, uint64_t failures) {
      std::lock_guard lock(cluster.mutex);
      cluster.readable = events;
      cluster.failures = failures;
    };
    const auto pause = [&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 20));
    };
    const int count = shared() ? 3 : 1;
    readable(400, 30);
    for (int i = 0; i < count; ++i) begin(i);
    for (int step = 0; step < 5; ++step) pause();
    // They change over one after the other, in any order; meanwhile events come, and one may die,
    // and begin again with either rules.
    for (int step = 0; step < 12; ++step) {
      readable(400 + static_cast<int64_t>(step) * 25, 30);
      const int number = static_cast<int>(random() % static_cast<uint64_t>(count));
      switch (random() % 4) {
        case 0:
          processes[number]->Kill();
          begin(number);
          break;
        case 1:
          cluster.Leave(processes[number]->name());  // thrown out, and does not know
          break;
        default:
          newest = 1;
          processes[number]->SwitchTo(1);
      }
      pause();
    }
    newest = 1;
    for (auto& [number, process] : processes) process->SwitchTo(1);
    while (!std::all_of(processes.begin(), processes.end(),
                        [](const auto& one) { return one.second->runs(1); }))
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    // What is read from here on, everybody reads with the new rules.
    readable(std::numeric_limits<int64_t>::max(), 0);
    for (auto& [number, process] : processes) {
      while (!process->done()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ASSERT_TRUE(process->status().ok()) << std::string(process->status().message());
    }
    EXPECT_TRUE((cluster.logs[{"late", 0}].empty())) << cluster.logs[{"late", 0}].front();

    const auto got = Alerts(cluster);
    for (const char* title : {"near", "kept"}) {
      SCOPED_TRACE(title);
      EXPECT_EQ(Difference(Of(got, title), Of(before, title)), "") << "invented";
      EXPECT_EQ(Difference(Of(before, title), Of(got, title)), "") << "lost";
    }
    // 400 + 11 * 25 events of a partition, four a second; and the window that was open then.
    // Older ones may be as much as the source is out of order.
    const EventTimeNs all_new = (kBegin + 675 / 4 + 1 + 5 + 12) * kSecondNs;
    for (const char* title : {"missing", "few", "missing_for_many"}) {
      SCOPED_TRACE(title);
      // What a window of `missing` that was open then would have given is unknown in those above.
      const DurationNs above = title == std::string_view("missing_for_many") ? 12 * kSecondNs : 0;
      std::multiset<std::string> either = Of(before, title);
      either.insert(Of(after, title).begin(), Of(after, title).end());
      EXPECT_EQ(Difference(Of(got, title), either), "") << "invented";
      EXPECT_EQ(Difference(From(Of(after, title), all_new + above), Of(got, title)), "") << "lost";
    }
    if (::testing::Test::HasFailure()) return;
  }
}

// A first start with `latest`, the partitions' ends far apart: what was before is unknown, and not
// absent.
TEST_P(PlanSwitchTest, AStartInTheMiddleInventsNothing) {
  const char* text = std::getenv("BONGSU_SEED");
  const uint64_t first =
      text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device()();
  const char* more = std::getenv("BONGSU_RUNS");
  const int runs = more != nullptr ? std::atoi(more) : kSanitized ? 1 : 4;
  for (int run = 0; run < runs; ++run) {
    const uint64_t seed = first + static_cast<uint64_t>(run);
    SCOPED_TRACE(fmt::format("seed {}", seed));
    const auto whole = Undisturbed(seed, 0);
    SimulatedCluster cluster(seed);
    Fill(cluster, seed);
    std::mt19937_64 random(seed);
    int64_t last = 0;
    for (const auto& [topic, count] : {std::pair<std::string, int>{"fw", 3}, {"ep", 2}}) {
      for (int partition = 0; partition < count; ++partition) {
        const auto begin = static_cast<int64_t>(random() % 500);
        cluster.begins_at[{topic, partition}] = begin;
        last = std::max(last, begin);
      }
    }
    cluster.latest = true;
    SimulatedPlans plans({&*configs_[0]});
    std::vector<std::unique_ptr<SimulatedProcess>> processes;
    const int count = shared() ? 2 : 1;
    {
      std::lock_guard lock(cluster.mutex);
      cluster.readable = 600;
      cluster.failures = 300;  // the first commit, too, must fail now and then
    }
    const auto begin = [&](int number) {
      return std::make_unique<SimulatedProcess>(cluster, plans, fmt::format("p{}", number),
                                                folder_ / fmt::format("middle-{}-{}", run, number));
    };
    for (int i = 0; i < count; ++i) processes.push_back(begin(i));
    for (int step = 0; step < 4; ++step) {
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 40));
      const auto number = random() % processes.size();
      processes[number]->Kill();
      processes[number] = begin(static_cast<int>(number));
      std::lock_guard lock(cluster.mutex);
      cluster.failures = 30;
    }
    {
      std::lock_guard lock(cluster.mutex);
      cluster.readable = std::numeric_limits<int64_t>::max();
      cluster.failures = 0;
    }
    for (auto& process : processes) {
      while (!process->done()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ASSERT_TRUE(process->status().ok()) << std::string(process->status().message());
    }
    EXPECT_EQ(cluster.skipped, 0u);
    const auto got = Alerts(cluster);
    // Four events a second, at most 5 s behind; an epoch's worth; and the windows that are open
    // then.
    const EventTimeNs all_seen = (kBegin + (last + 200) / 4 + 10 + 2 * 12) * kSecondNs;
    for (const char* title : kTitles) {
      SCOPED_TRACE(title);
      EXPECT_EQ(Difference(Of(got, title), Of(whole, title)), "") << "invented";
      EXPECT_EQ(Difference(From(Of(whole, title), all_seen), Of(got, title)), "") << "lost";
    }
    if (::testing::Test::HasFailure()) return;
  }
}

class SharedPlanTest : public PlanSwitchTest {};

// Readers without shards get nothing from anybody, and their sources are quiet: they must tell that
// they have changed over all the same, or the shards would wait for them.
TEST_P(SharedPlanTest, WhoHasNothingToReadTellsItsClocks) {
  SimulatedCluster cluster(1);
  Fill(cluster, 1);
  cluster.readable = 400;
  cluster.from_the_last = {configs_[0]->exchange_topic()};
  for (int shard = 0; shard < kShards; ++shard)
    cluster.readable_of[{configs_[0]->exchange_topic(), shard}] = 0;
  SimulatedPlans plans({&*configs_[0], &*configs_[1]});
  std::vector<std::unique_ptr<SimulatedProcess>> processes;
  const auto begin = [&](size_t plan) {
    for (int i = 0; i < 6; ++i)
      processes.push_back(std::make_unique<SimulatedProcess>(
          cluster, plans, fmt::format("p{}", i), folder_ / fmt::format("p{}", i), nullptr, plan));
  };
  const auto wait = [&](auto done) {
    for (int i = 0; i < 20'000; ++i) {
      {
        std::lock_guard lock(cluster.mutex);
        if (done()) return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  };
  begin(0);
  ASSERT_TRUE(wait([&] {
    return std::count_if(cluster.committed.begin(), cluster.committed.end(),
                         [](const auto& one) { return one.second.offset == 400; }) == 5;
  }));
  processes.clear();
  EXPECT_TRUE((cluster.logs[{"alerts", 0}].empty()));
  cluster.readable_of.clear();
  begin(1);
  EXPECT_TRUE(wait([&] {
    const auto& log = cluster.logs[{"alerts", 0}];
    return std::any_of(log.begin(), log.end(), [](const std::string& line) {
      return line.find(R"("rule":"kept")") != std::string::npos;
    });
  }));
}

// What somebody with a newer plan has committed is not taken over: it would be read with rules that
// the others have left behind.
TEST_P(SharedPlanTest, WhatANewerPlanHasCommittedIsNotTakenOver) {
  const std::string exchange = configs_[0]->exchange_topic();
  const SimulatedCluster::Where fw = {"fw", 0};
  const SimulatedCluster::Where shard = {exchange, 0};
  PartitionClock clock;
  clock.state = PartitionClock::State::kActive;
  const std::pair<SimulatedCluster::Where, std::string> marks[] = {{fw, ClockText(clock, 2)},
                                                                   {shard, ShardMarkText({0, 2})}};
  for (const auto& [where, mark] : marks) {
    SCOPED_TRACE(where.first);
    SimulatedCluster cluster(1);
    Fill(cluster, 1);
    cluster.committed[where] = {0, mark};
    SimulatedPlans plans({&*configs_[0]});
    SimulatedProcess one(cluster, plans, "one", folder_ / where.first);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_FALSE(one.done());
    one.Kill();
    EXPECT_EQ(cluster.committed[where].offset, 0);
    EXPECT_EQ(cluster.committed[where].metadata, mark);
  }
}

// Nor is it kept: another instance may have had it in between, committed nothing but its plan, and
// given it back.
TEST_P(SharedPlanTest, WhatANewerPlanHasCommittedIsNotKept) {
  for (const SimulatedCluster::Where& where :
       {SimulatedCluster::Where{"fw", 0}, {configs_[0]->exchange_topic(), 0}}) {
    SCOPED_TRACE(where.first);
    SimulatedCluster cluster(1);
    Fill(cluster, 1);
    cluster.readable = 400;
    SimulatedPlans plans({&*configs_[0]});
    SimulatedProcess one(cluster, plans, "one", folder_ / where.first);
    // Until it has read everything, what it has sent to itself included.
    uint64_t commits = 0;
    for (int quiet = 0; quiet < 300; ++quiet) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      std::lock_guard lock(cluster.mutex);
      const auto fw = cluster.committed.find({"fw", 0});
      const bool read = fw != cluster.committed.end() && fw->second.offset == 400 &&
                        !cluster.committed[where].metadata.empty();
      if (cluster.commits != commits || !read) quiet = 0;
      commits = cluster.commits;
    }
    SimulatedCluster::Offset marked;
    int64_t generation = 0;
    {
      std::lock_guard lock(cluster.mutex);
      marked = cluster.committed[where];
      PartitionClock clock;
      ShardMark mark;
      uint64_t plan = 0;
      if (ShardMarkOfText(marked.metadata, &mark)) {
        mark.plan_version = 2;
        marked.metadata = ShardMarkText(mark);
      } else {
        ASSERT_TRUE(ClockOfText(marked.metadata, &clock, &plan));
        marked.metadata = ClockText(clock, 2);
      }
      cluster.committed[where] = marked;
      generation = cluster.generation;
    }
    cluster.Join("two");
    cluster.Leave("two");
    // It has it again; and it could go on.
    for (bool again = false; !again;) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      std::lock_guard lock(cluster.mutex);
      again = cluster.generation > generation && !cluster.members["one"].assigned;
    }
    {
      std::lock_guard lock(cluster.mutex);
      cluster.readable = std::numeric_limits<int64_t>::max();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_FALSE(one.done());
    one.Kill();
    EXPECT_EQ(cluster.committed[where].offset, marked.offset);
    EXPECT_EQ(cluster.committed[where].metadata, marked.metadata);
  }
}

// What its last epoch has found is not committed yet.
TEST_P(SharedPlanTest, WhoIsThrownOutAtTheVeryEndReadsThatAgain) {
  const Found expected = Undisturbed(1, 0);
  SimulatedCluster cluster(1);
  Fill(cluster, 1);
  cluster.leaves_at_end = "one";
  SimulatedPlans plans({&*configs_[0]});
  SimulatedProcess one(cluster, plans, "one", folder_ / "one");
  while (!one.done()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(one.status().ok()) << std::string(one.status().message());
  EXPECT_EQ(cluster.leaves_at_end, "");
  const Found got = Alerts(cluster);
  for (const char* title : kTitles) EXPECT_EQ(Of(got, title), Of(expected, title)) << title;
}

const auto kExchange = [](const auto& one) { return std::string(one.param); };
INSTANTIATE_TEST_SUITE_P(Exchange, PlanSwitchTest, ::testing::Values("in_process", "kafka"),
                         kExchange);
INSTANTIATE_TEST_SUITE_P(Exchange, SharedPlanTest, ::testing::Values("kafka"), kExchange);

}  // namespace
}  // namespace bongsu
