// Epochs, restore and recovery by the ten thousand, on a simulated cluster (cluster.h): the real
// service, with crashes at any call, zombies, late copies of requests and unknown outcomes. What
// readers see must be what an undisturbed run puts out, each output once.
//
//   simulation_simulation_test                          so many seeds from a new one on (CI)
//   BONGSU_SEED=n BONGSU_SEEDS=1 simulation_...         one again
//   BONGSU_SEEDS=500000 simulation_...                  by command
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/registry.h"
#include "pipeline/config.h"
#include "pipeline/logging.h"
#include "tests/simulation/world.h"
#include "tests/testing/sanitized.h"

namespace bongsu {
namespace {

constexpr uint64_t kSeedsInCi = kSanitized ? 1'000 : 20'000;
constexpr int kScenarios = 8;
constexpr int kKinds = 4;  // of configurations

constexpr const char* kYaml = R"(
application: sim
instance: {0}
threads: 2
epoch: {2}
delivery: exactly_once
kafka: {{bootstrap.servers: "simulated:1"{4}}}
sources:
  - {{name: fw, topics: [fw], until: end, format: {{time: [{{path: t, as: epoch_s}}]}},
     time: {{out_of_orderness: 5s, allowed_lateness: 5s, max_future_skew: 366d}}}}
  - {{name: ep, topics: [ep], until: end, format: {{time: [{{path: t, as: epoch_s}}]}},
     time: {{out_of_orderness: 5s, allowed_lateness: 5s, max_future_skew: 366d}}}}
operators:
  - name: near
    type: interval_join
    left: {{source: fw, key: ip, fields: [id]}}
    right: {{source: ep, key: host.ip, fields: [id]}}
    within: {{before: 2s, after: 3s}}
    emit: pairs
  - name: below
    type: interval_join
    alerts: false
    left: {{source: fw, key: ip}}
    right: {{source: ep, key: host.ip}}
    within: {{before: 2s, after: 3s}}
  - name: chained
    type: interval_join
    left: {{source: below, key: left.ip}}
    right: {{source: ep, key: host.ip}}
    within: {{before: 1s, after: 1s}}
    emit: pairs
sinks:
  alerts: {{topic: alerts, format: native}}
  late: {{topic: late}}
  dead_letter: {{topic: dead}}
state: {{path: {3}, memory: 32MiB, shards: 2, checkpoint_interval: 10ms, checkpoint_bytes: {1}}}
)";
// Of every other scenario: a few events fill it, so that epochs end by their size, and wait for
// room.
constexpr const char* kFewBytes = "4KiB";
constexpr const char* kManyBytes = "64MiB";
// Of two of four scenarios: a first start begins at the end of the logs, which are empty.
constexpr const char* kLatest = ", auto.offset.reset: latest";

std::unique_ptr<Config> Parse(const std::string& instance, const char* checkpoint_bytes,
                              const OperatorRegistry& registry, const char* epoch = "2ms",
                              const std::string& more = "", const char* kafka = "") {
  Diagnostics diagnostics;
  auto config = ParseConfig(
      fmt::format(kYaml, instance, checkpoint_bytes, epoch, testing::TempDir(), kafka) + more,
      "sim.yaml", registry, diagnostics);
  EXPECT_TRUE(config.has_value()) << diagnostics.Text();
  return config.has_value() ? std::make_unique<Config>(*std::move(config)) : nullptr;
}

// With a rule that more events break: windows that it may not have seen whole are not judged.
std::unique_ptr<Config> ParseFew(const char* threshold, const OperatorRegistry& registry) {
  const std::string path = testing::TempDir() + fmt::format("/few-{}.yml", getpid());
  std::ofstream(path) << fmt::format(R"(
title: an event
name: event
logsource: {{category: any}}
detection: {{it: {{ip|exists: true}}, condition: it}}
---
title: few
name: few
correlation:
  type: event_count
  rules: [event]
  group-by: [ip]
  timespan: 10s
  bongsu: {{window: tumbling}}
  condition: {{lt: {}}}
)",
                                     threshold);
  auto config = Parse("i0", kManyBytes, registry, "2ms",
                      fmt::format("rules: [{}]\nrules_strict: true\n", path));
  std::filesystem::remove(path);
  return config;
}

std::vector<std::string> Lines(std::mt19937_64& random, int count, bool endpoint, int first_id,
                               int late_from = std::numeric_limits<int>::max()) {
  std::vector<std::string> lines;
  for (int i = 0; i < count; ++i) {
    auto second = 1'800'000'000 + i / 2 - static_cast<int64_t>(random() % 5);
    // Late whichever of two partitions was read first.
    if (i >= late_from && random() % 8 == 0) second -= 300 + static_cast<int64_t>(random() % 3);
    const int host = static_cast<int>(random() % 5);
    if (random() % 16 == 0)
      lines.push_back(fmt::format("{{\"t\":{},", second));  // a dead letter
    else if (endpoint)
      lines.push_back(fmt::format("{{\"t\":{},\"host\":{{\"ip\":\"10.0.0.{}\"}},\"id\":{}}}",
                                  second, host, first_id + i));
    else
      lines.push_back(
          fmt::format("{{\"t\":{},\"ip\":\"10.0.0.{}\",\"id\":{}}}", second, host, first_id + i));
  }
  return lines;
}

class Simulation : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    SetUpLogging({false, "error"});
    RegisterAllOperators(registry_);
    for (int i = 0; i < kKinds; ++i) {
      for (int j = 0; j < kSimInstances; ++j) {
        configs_.push_back(Parse(fmt::format("i{}", j), i % 2 == 0 ? kFewBytes : kManyBytes,
                                 registry_, "2ms", "", i < 2 ? "" : kLatest));
        ASSERT_NE(configs_.back(), nullptr);
      }
    }
    for (int i = 0; i < kScenarios; ++i) {
      std::mt19937_64 random(static_cast<uint64_t>(i));
      Scenario scenario;
      for (int j = 0; j < kSimInstances; ++j)
        scenario.configs[static_cast<size_t>(j)] =
            configs_[static_cast<size_t>(i % kKinds * kSimInstances + j)].get();
      scenario.input[{"fw", 0}] = Lines(random, 8 + i * 2, false, 0);
      scenario.input[{"fw", 1}] = Lines(random, 8 + i * 2, false, 1000);
      scenario.input[{"ep", 0}] = Lines(random, 8 + i * 2, true, 2000);
      World undisturbed(static_cast<uint64_t>(i), scenario, Faults{});
      ASSERT_EQ(undisturbed.Run(), "");
      scenario.expected = undisturbed.Outputs();
      ASSERT_GT(scenario.expected.size(), 10u);
      scenarios_.push_back(std::move(scenario));
    }
  }

  // Tests run even where what is set up for all of them failed.
  void SetUp() override { ASSERT_EQ(scenarios_.size(), static_cast<size_t>(kScenarios)); }

  // Not everything goes wrong in every run: where it always storms, nothing rare happens.
  static Faults Weather(uint64_t seed) {
    std::mt19937_64 random(seed ^ 0x5EED);
    const auto one_in = [&](uint64_t often) {
      const uint64_t scale[] = {0, 1, 4, 16};
      return often * scale[random() % 4];
    };
    Faults faults;
    faults.crash = one_in(100);
    faults.pause = one_in(100);
    faults.stall = one_in(100);
    faults.revoke = one_in(100);
    faults.resend = one_in(3);
    faults.unknown = one_in(8);
    faults.refuse = one_in(60);
    faults.lose_disk = one_in(2);
    faults.damage = one_in(400);
    faults.set_clock = one_in(100);
    return faults;
  }
  static std::string RunSeed(uint64_t seed, Tally* tally, uint64_t* trace) {
    World world(seed, scenarios_[seed % kScenarios], Weather(seed));
    std::string problem = world.Run();
    tally->Add(world.tally());
    *trace = world.trace();
    return problem;
  }

  static inline OperatorRegistry registry_;
  static inline std::vector<std::unique_ptr<Config>> configs_;
  static inline std::vector<Scenario> scenarios_;
};

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* given = std::getenv(name);
  return given != nullptr ? std::strtoull(given, nullptr, 10) : otherwise;
}

TEST_F(Simulation, EveryOutputOnceWhateverGoesWrong) {
  const auto chosen =
      static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) / 1000;
  const uint64_t first = FromEnvironment("BONGSU_SEED", chosen);
  const uint64_t seeds = FromEnvironment("BONGSU_SEEDS", kSeedsInCi);
  fmt::print("seeds {} to {}\n", first, first + seeds - 1);
  Tally tally;
  uint64_t bad = 0;
  for (uint64_t seed = first; seed < first + seeds && bad < 5; ++seed) {
    uint64_t trace = 0;
    const std::string problem = RunSeed(seed, &tally, &trace);
    if (problem.empty()) continue;
    ++bad;
    ADD_FAILURE() << "BONGSU_SEED=" << seed << " BONGSU_SEEDS=1: " << problem;
  }
  fmt::print("{}\n", tally.Text());
  if (seeds < 1000) return;
  EXPECT_GT(tally.crashes, seeds / 2);
  EXPECT_GT(tally.pauses, seeds / 10);
  EXPECT_GT(tally.unknowns, seeds / 4);
  EXPECT_GT(tally.resends, seeds / 2);
  EXPECT_GT(tally.recoveries, seeds);
  EXPECT_GT(tally.fenced, seeds / 500);
  EXPECT_GT(tally.damages, seeds / 100);
  EXPECT_GT(tally.flushes, seeds);
  EXPECT_GT(tally.clocks_set, seeds / 10);
  // Only in a storm (World::RunProcess): 14 of 40,000 seeds. A sanitizer's thousand says nothing.
  if (seeds >= 20'000) {
    EXPECT_LE(tally.gave_up, seeds / 1000);
  }
}

// What a start after a crash reads back from the changelog is bounded, however long epochs may be.
TEST_F(Simulation, AnEpochEndsByTheSizeOfItsChangesToo) {
  uint64_t commits[2];
  std::vector<std::string> outputs[2];
  for (int few = 0; few < 2; ++few) {
    const auto config = Parse("i0", few == 1 ? kFewBytes : kManyBytes, registry_, "1m");
    ASSERT_NE(config, nullptr);
    std::mt19937_64 random(7);
    Scenario scenario;
    scenario.configs.fill(config.get());
    scenario.input[{"fw", 0}] = Lines(random, 400, false, 0);
    scenario.input[{"ep", 0}] = Lines(random, 400, true, 2000);
    World world(1, scenario, Faults{});
    ASSERT_EQ(world.Run(), "");
    commits[few] = world.tally().commits;
    outputs[few] = world.Outputs();
  }
  EXPECT_LE(commits[0], 5u) << "nothing but time and the end of the input end its epochs";
  EXPECT_GT(commits[1], 10u);
  EXPECT_EQ(outputs[0], outputs[1]);
}

// Brokers stall, epochs wait, the partitions are paused; then the commit fails. Whoever goes on
// knows of no pause.
TEST_F(Simulation, NoPauseOutlivesTheEngineThatWaitedForRoom) {
  uint64_t backpressures = 0;
  uint64_t recoveries = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Scenario scenario;
    scenario.configs.fill(configs_[0].get());
    std::mt19937_64 random(seed);
    scenario.input[{"fw", 0}] = Lines(random, 100, false, 0);
    scenario.input[{"ep", 0}] = Lines(random, 100, true, 2000);
    Faults faults;
    faults.stall = 20;
    World world(seed, scenario, faults);
    EXPECT_EQ(world.Run(), "") << "seed " << seed;
    backpressures += world.tally().backpressures;
    recoveries += world.tally().recoveries;
  }
  EXPECT_GT(backpressures, 20u);
  EXPECT_GT(recoveries, 20u);
}

// The log still tells of the rule's earlier form. To a process with an empty disk the form that
// runs is none the newer for it: what was late stays late, and what was open goes on.
TEST_F(Simulation, AChangedRuleIsRestoredFromTheLogAlone) {
  const auto before = ParseFew("2", registry_);
  const auto after = ParseFew("3", registry_);
  ASSERT_TRUE(before != nullptr && after != nullptr);
  size_t late = 0;
  size_t few = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    std::mt19937_64 random(seed);
    Scenario scenario;
    scenario.input[{"fw", 0}] = Lines(random, 200, false, 0, 100);
    scenario.input[{"ep", 0}] = Lines(random, 200, true, 2000, 100);
    std::vector<std::string> outputs[2];
    for (const int lost : {0, 1}) {
      World world(seed, scenario, Faults{});
      scenario.configs.fill(before.get());
      ASSERT_EQ(world.RunOne(100 + seed), "");
      scenario.configs.fill(after.get());
      ASSERT_EQ(world.RunOne(150), "");
      if (lost == 1) world.disk(0) = MemoryDisk();
      ASSERT_EQ(world.RunOne(0), "");
      outputs[lost] = world.Outputs();
      // How late hangs on which partition was read first.
      for (std::string& output : outputs[lost]) {
        if (const size_t at = output.find(",\"behind_ms\""); at != std::string::npos)
          output.erase(at, output.find(",\"fields\"") - at);
      }
      std::sort(outputs[lost].begin(), outputs[lost].end());
    }
    std::vector<std::string> differing;
    std::set_symmetric_difference(outputs[0].begin(), outputs[0].end(), outputs[1].begin(),
                                  outputs[1].end(), std::back_inserter(differing));
    EXPECT_EQ(fmt::format("{}", fmt::join(differing, "\n")), "") << "seed " << seed;
    for (const std::string& output : outputs[0]) {
      late += output.starts_with("late") ? 1 : 0;
      few += output.find("\"rule\":\"few\"") != std::string::npos ? 1 : 0;
    }
  }
  EXPECT_GT(late, 60u);
  EXPECT_GT(few, 60u);
}

TEST_F(Simulation, ASeedReplays) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Tally tally;
    uint64_t once = 0;
    uint64_t again = 0;
    EXPECT_EQ(RunSeed(seed, &tally, &once), "");
    EXPECT_EQ(RunSeed(seed, &tally, &again), "");
    EXPECT_EQ(once, again) << "seed " << seed;
  }
}

}  // namespace
}  // namespace bongsu
