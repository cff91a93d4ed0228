// Several real engines over a simulated Kafka: instances come, go, are killed, lose their disks,
// are thrown out of the group and go on working, and commits fail on either side of the point where
// they count. What comes out is what one undisturbed instance finds, each alert once.
//
// BONGSU_SEED replays the cluster's choices; threads add their own. BONGSU_RUNS makes it longer.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <set>
#include <thread>

#include "pipeline/engine.h"
#include "pipeline/logging.h"
#include "tests/pipeline/simulated_process.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;
constexpr int kShards = 4;
constexpr char kYaml[] = R"(
application: sim
threads: 2
sources:
  - name: fw
    topics: [fw]
    format: {time: [{path: t, as: epoch_s}]}
    time: {out_of_orderness: 5s, allowed_lateness: 5s, max_future_skew: 366d}
  - name: ep
    topics: [ep]
    format: {time: [{path: t, as: epoch_s}]}
    time: {out_of_orderness: 5s, allowed_lateness: 5s, max_future_skew: 366d}
operators:
  - name: near
    type: interval_join
    left: {source: fw, key: ip, fields: [id]}
    right: {source: ep, key: ip, fields: [id]}
    within: {before: 2s, after: 3s}
    emit: pairs
  - name: incidents
    type: interval_join
    alerts: false
    left: {source: fw, key: ip, fields: [id]}
    right: {source: ep, key: ip, fields: [id]}
    within: {before: 2s, after: 3s}
  - name: chained
    type: interval_join
    left: {source: incidents, key: left.ip}
    right: {source: ep, key: ip, fields: [id]}
    within: {before: 0s, after: 0s}
    emit: pairs
sinks:
  alerts: {topic: alerts, format: native}
  late: {topic: late}
  dead_letter: {topic: dead}
kafka: {bootstrap.servers: "nowhere:1"}
exchange: kafka
epoch: 1ms
state: {path: /nowhere, memory: 16MiB, shards: 4}
)";

class ExchangeSimulationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SetUpLogging({false, "error"});
    OperatorRegistry registry;
    RegisterAllOperators(registry);
    Diagnostics diagnostics;
    config_ = ParseConfig(kYaml, "sim.yaml", registry, diagnostics);
    ASSERT_TRUE(config_.has_value()) << diagnostics.Text();
    folder_ = fs::temp_directory_path() /
              fmt::format("bongsu_exchange_{}_{}", getpid(), std::random_device()());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void Fill(SimulatedCluster& cluster, uint64_t seed, int events) {
    std::mt19937_64 random(seed);
    cluster.AddTopic("fw", 3);
    cluster.AddTopic("ep", 2);
    cluster.AddTopic(config_->exchange_topic(), kShards);
    cluster.AddTopic("changelog", kShards);
    for (const char* topic : {"alerts", "late", "dead"}) cluster.AddTopic(topic, 1);
    cluster.subscribed = {"fw", "ep", config_->exchange_topic()};
    for (const auto& [topic, count] : {std::pair<std::string, int>{"fw", 3}, {"ep", 2}}) {
      for (int partition = 0; partition < count; ++partition) {
        for (int i = 0; i < events; ++i) {
          // Within out_of_orderness of the partition's newest: nothing may be called late.
          const auto second = 1'700'000'000 + i / 4 - static_cast<int64_t>(random() % 5);
          cluster.logs[{topic, partition}].push_back(
              fmt::format(R"({{"t":{},"ip":"10.0.0.{}","id":"{}{}-{}"}})", second, random() % 20,
                          topic, partition, i));
        }
      }
    }
  }

  static std::multiset<std::string> Alerts(SimulatedCluster& cluster) {
    std::lock_guard lock(cluster.mutex);
    const auto& log = cluster.logs[{"alerts", 0}];
    return {log.begin(), log.end()};
  }

  void Undisturbed(uint64_t seed, int events, std::multiset<std::string>* alerts) {
    SimulatedCluster cluster(seed);
    Fill(cluster, seed, events);
    SimulatedPlans plans({&*config_});
    SimulatedProcess one(cluster, plans, "one", folder_ / fmt::format("base-{}", seed));
    while (!one.done()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_TRUE(one.status().ok()) << std::string(one.status().message());
    EXPECT_TRUE((cluster.logs[{"late", 0}].empty()));
    *alerts = Alerts(cluster);
  }

  std::optional<Config> config_;
  fs::path folder_;
};

uint64_t Seed() {
  const char* text = std::getenv("BONGSU_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device()();
}

TEST_F(ExchangeSimulationTest, WhateverComesAndGoesTheAlertsAreThoseOfOneInstance) {
  const char* more = std::getenv("BONGSU_RUNS");
  const int runs = more != nullptr ? std::atoi(more) : 6;
  const uint64_t first = Seed();
  for (int run = 0; run < runs; ++run) {
    const uint64_t seed = first + static_cast<uint64_t>(run);
    SCOPED_TRACE(fmt::format("seed {}", seed));
    constexpr int kEvents = 1500;
    std::multiset<std::string> expected;
    ASSERT_NO_FATAL_FAILURE(Undisturbed(seed, kEvents, &expected));
    ASSERT_GT(expected.size(), 1000u);
    ASSERT_EQ(std::set<std::string>(expected.begin(), expected.end()).size(), expected.size());

    SimulatedCluster cluster(seed);
    Fill(cluster, seed, kEvents);
    std::mt19937_64 random(seed);
    SimulatedPlans plans({&*config_});
    std::map<int, std::unique_ptr<SimulatedProcess>> instances;
    const auto begin = [&](int number) {
      instances[number] = std::make_unique<SimulatedProcess>(
          cluster, plans, fmt::format("i{}", number), folder_ / fmt::format("{}-{}", run, number));
    };
    for (int i = 0; i < 2; ++i) begin(i);
    {
      std::lock_guard lock(cluster.mutex);
      cluster.failures = 30;
    }
    for (int step = 0; step < 25; ++step) {
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 20));
      const int number = static_cast<int>(random() % 4);
      if (instances.count(number) == 0) {
        begin(number);
      } else if (instances[number]->done()) {
        // At the end already; it is not begun again, as nothing is left.
      } else if (random() % 3 == 0) {
        cluster.Leave(fmt::format("i{}", number));  // thrown out, and does not know
      } else {
        instances[number]->Kill();
        instances.erase(number);
        if (random() % 2 == 0) fs::remove_all(folder_ / fmt::format("{}-{}", run, number));
      }
    }
    {
      std::lock_guard lock(cluster.mutex);
      cluster.failures = 0;
    }
    // Somebody must be there to bring it to its end.
    begin(9);
    for (auto& [number, instance] : instances) {
      while (!instance->done()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ASSERT_TRUE(instance->status().ok()) << std::string(instance->status().message());
    }
    EXPECT_TRUE((cluster.logs[{"late", 0}].empty())) << cluster.logs[{"late", 0}].front();
    EXPECT_EQ(cluster.went_back, 0u);
    const std::multiset<std::string> got = Alerts(cluster);
    std::vector<std::string> extra;
    std::vector<std::string> missing;
    std::set_difference(got.begin(), got.end(), expected.begin(), expected.end(),
                        std::back_inserter(extra));
    std::set_difference(expected.begin(), expected.end(), got.begin(), got.end(),
                        std::back_inserter(missing));
    ASSERT_TRUE(extra.empty() && missing.empty())
        << extra.size() << " more, " << missing.size() << " missing, of " << expected.size()
        << "; such as\n"
        << (extra.empty() ? "" : extra.front()) << "\n"
        << (missing.empty() ? "" : missing.front());
    if (::testing::Test::HasFailure()) return;
  }
}

TEST_F(ExchangeSimulationTest, WhoStaysKeepsWhatItHas) {
  SimulatedCluster cluster(1);
  Fill(cluster, 1, 3000);
  cluster.readable = 1500;
  SimulatedPlans plans({&*config_});
  SimulatedProcess one(cluster, plans, "a", folder_ / "a");
  // It has shards, and works; and is not at its end before the other has some, too.
  while (Alerts(cluster).empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  SimulatedProcess two(cluster, plans, "b", folder_ / "b");
  while (!cluster.Shares("a", "b")) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  {
    std::lock_guard lock(cluster.mutex);
    cluster.readable = std::numeric_limits<int64_t>::max();
  }
  while (!one.done() || !two.done()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_TRUE(one.status().ok() && two.status().ok());
  EXPECT_GE(one.kept(), kShards / 2u);
  std::multiset<std::string> expected;
  ASSERT_NO_FATAL_FAILURE(Undisturbed(1, 3000, &expected));
  EXPECT_TRUE(Alerts(cluster) == expected);
}

}  // namespace
}  // namespace bongsu
