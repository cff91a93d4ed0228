// What happens in time: an outage of log shipping, an empty topic, a source hours behind, a paused
// replay, an idle partition that wakes up. The real engine over a simulated Kafka and a clock that
// is moved by hand, with either exchange, exactly once; processes die in between.
//
// With two instances one has the firewall and the other the endpoint, and each half of the shards:
// what is decided about a source is decided in each by what the others' bundles tell.
//
// Two sources meet in a rule about absence: a logon at the firewall (fw) without a logoff at the
// endpoint (ep) within 10 s. So an alert that comes shows that a window has closed, and one that
// comes for a logoff that was only delayed shows that it has closed too early.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "pipeline/engine.h"
#include "pipeline/logging.h"
#include "tests/pipeline/simulated_process.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
constexpr int kShards = 4;
constexpr int64_t kBegin = 1'800'000'000;  // seconds: the clock's first
constexpr int64_t kHour = 3600;

constexpr char kRules[] = R"(
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
detection: {sel: {a: '1'}, condition: sel}
---
title: No logoff
name: missing
level: high
correlation: {type: temporal, condition: logon and not logoff, group-by: [ip], timespan: 10s}
)";

// {0}: the exchange, {1}: more of the endpoint, {2}: more of its time, {3}: the folder.
constexpr char kYaml[] = R"(
application: sim
threads: 2
rules: ["{3}/rules"]
sources:
  - name: fw
    topics: [fw]
    format: {{time: [{{path: t, as: epoch_s}}], logsource: {{product: fw}}}}
    time: {{out_of_orderness: 1s, allowed_lateness: 1s, idle_timeout: 5s, live_bound: 20s,
           source_silent: 0s, max_lag: 30s, backfill_ahead: 60s}}
  - name: ep
    topics: [ep]
    {1}
    format: {{time: [{{path: t, as: epoch_s}}], logsource: {{product: ep}}}}
    time: {{out_of_orderness: 1s, allowed_lateness: 1s, idle_timeout: 5s, live_bound: 20s,
           source_silent: 60s, max_lag: 30s, backfill_ahead: 60s{2}}}
sinks:
  alerts: {{topic: alerts, format: native}}
  late: {{topic: late}}
  dead_letter: {{topic: dead}}
kafka: {{bootstrap.servers: "nowhere:1"}}
exchange: {0}
epoch: 1ms
state: {{path: /nowhere, memory: 16MiB, shards: 4}}
)";

class ManualClock : public Clock {
 public:
  int64_t NowNs() const override { return (kBegin + seconds_.load()) * kSecondNs; }
  int64_t MonotonicNs() const override {
    return seconds_.load() * kSecondNs + fine_.fetch_add(1000);
  }
  void Sleep(DurationNs) const override {}
  void Pass() { seconds_.fetch_add(1); }
  int64_t seconds() const { return seconds_.load(); }

 private:
  std::atomic<int64_t> seconds_{0};
  mutable std::atomic<int64_t> fine_{0};  // epochs need time to pass, too
};

class SourceWatchTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    SetUpLogging({false, "error"});
    folder_ = fs::temp_directory_path() /
              fmt::format("bongsu_time_{}_{}", getpid(), std::random_device()());
    fs::create_directories(folder_ / "rules");
    std::ofstream(folder_ / "rules" / "r.yml") << kRules;
  }
  void TearDown() override {
    Kill();
    for (const auto& process : processes_) {
      EXPECT_TRUE(process->status().ok() || absl::IsCancelled(process->status()))
          << std::string(process->status().message());
    }
    fs::remove_all(folder_);
  }

  void Begin(int fw_partitions = 1, const std::string& endpoint = "",
             const std::string& time = "") {
    OperatorRegistry registry;
    RegisterAllOperators(registry);
    Diagnostics diagnostics;
    config_ = ParseConfig(fmt::format(kYaml, exchange(), endpoint, time, folder_.string()),
                          "sim.yaml", registry, diagnostics);
    ASSERT_TRUE(config_.has_value()) << diagnostics.Text();
    plans_.emplace(std::vector<const Config*>{&*config_});
    cluster_.AddTopic("fw", fw_partitions);
    cluster_.AddTopic("ep", 1);
    cluster_.AddTopic(config_->exchange_topic(), kShards);
    cluster_.AddTopic("changelog", kShards + 1);
    for (const char* topic : {"alerts", "late", "dead"}) cluster_.AddTopic(topic, 1);
    cluster_.subscribed = {"fw", "ep"};
    if (two()) cluster_.from_the_last = {"ep"};
    if (config_->exchange == ExchangeMode::kKafka)
      cluster_.subscribed.insert(config_->exchange_topic());
    Start();
  }
  std::string exchange() const {
    return GetParam() == std::string("in_process") ? "in_process" : "kafka";
  }
  bool two() const { return GetParam() == std::string("two_instances"); }
  void Start() {
    processes_.clear();
    for (const char* name : {"one", "two"}) {
      if (processes_.empty() || two())
        processes_.push_back(
            std::make_unique<SimulatedProcess>(cluster_, *plans_, name, folder_ / name, &clock_));
    }
  }
  void Kill() {
    for (const auto& process : processes_) process->Kill();
  }
  void Restart() {
    Kill();
    Start();
  }
  int64_t Next(const std::string& topic) const {
    int64_t next = 0;
    for (const auto& process : processes_) next = std::max(next, process->next(topic));
    return next;
  }

  // `second`: of the clock, as all here.
  void Put(const std::string& topic, int64_t second, const std::string& ip, bool counts = true,
           int partition = 0) {
    std::lock_guard lock(cluster_.mutex);
    cluster_.logs[{topic, partition}].push_back(
        fmt::format(R"({{"t":{},"ip":"{}","a":"{}"}})", kBegin + second, ip, counts ? 1 : 0));
  }
  int64_t now() const { return clock_.seconds(); }

  // A second passes, and the engine looks at it.
  void Pass() {
    for (const auto& beat : beats_) beat();
    clock_.Pass();
    Poll(8);
  }
  // Every process polls so often.
  void Poll(uint64_t times) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    std::vector<uint64_t> polls;
    for (const auto& process : processes_) polls.push_back(process->polls());
    for (size_t i = 0; i < processes_.size(); ++i) {
      const SimulatedProcess& process = *processes_[i];
      while (process.polls() < polls[i] + times && !process.done() &&
             std::chrono::steady_clock::now() < until) {
        if (process.polls() < polls[i]) break;  // made anew
        ahead_ = std::max(ahead_, Next("ep") - Next("fw"));
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  void Pass(int64_t seconds) {
    for (int64_t i = 0; i < seconds; ++i) Pass();
  }
  // Whether it becomes so. `seconds` are enough where the threads keep up with the clock, which
  // does not wait for all of them: five times as many are given, so that a slow machine changes
  // nothing.
  bool Within(int64_t seconds, const std::function<bool()>& so) {
    for (int64_t i = 0; i < 5 * seconds && !so(); ++i) Pass();
    return so();
  }

  std::vector<std::string> Log(const std::string& topic) {
    std::lock_guard lock(cluster_.mutex);
    return cluster_.logs[{topic, 0}];
  }
  // Keys of the alerts of a rule, in order.
  std::vector<std::string> Alerts(const std::string& rule) {
    std::vector<std::string> keys;
    for (const std::string& line : Log("alerts")) {
      const auto alert = nlohmann::json::parse(line);
      if (alert["rule"] == rule) keys.push_back(alert["key"].get<std::string>());
    }
    return keys;
  }
  std::vector<std::string> Missing() { return Alerts("missing"); }

  std::optional<Config> config_;
  SimulatedCluster cluster_{1};
  ManualClock clock_;
  fs::path folder_;
  std::vector<std::function<void()>> beats_;  // each second
  int64_t ahead_ = 0;  // how many records the endpoint was ahead of the firewall at most
  std::optional<SimulatedPlans> plans_;
  std::vector<std::unique_ptr<SimulatedProcess>> processes_;
};

TEST_P(SourceWatchTest, AnOutageOfLogShipping) {
  // The endpoint follows the clock when it is quiet: an outage is no quiet.
  Begin(1, "on_idle: wall_clock");
  bool shipping = true;
  std::vector<int64_t> buffered;
  beats_.push_back([&] { Put("fw", now(), "9.9.9.9", false); });
  beats_.push_back([&] {
    if (!shipping) {
      buffered.push_back(now());
    } else {
      Put("ep", now(), "9.9.9.9", false);
    }
  });
  Pass(10);
  shipping = false;
  Pass(20);
  Put("fw", now(), "1.1.1.1");  // whose logoff waits in a buffer
  const int64_t logoff = now() + 2;
  EXPECT_TRUE(Within(90, [&] { return !Alerts("source_silent").empty(); }));
  Restart();
  Pass(150);
  EXPECT_THAT(Alerts("source_silent"), ElementsAre("ep"));
  EXPECT_THAT(Missing(), IsEmpty());
  for (const int64_t second : buffered) {
    Put("ep", second, "9.9.9.9", false);
    if (second == logoff) Put("ep", second, "1.1.1.1");
  }
  shipping = true;
  // It takes a while to read, in the middle of which one may look; less than max_lag.
  for (int i = 0; i < 15; ++i) {
    {
      std::lock_guard lock(cluster_.mutex);
      cluster_.readable_of[{"ep", 0}] = Next("ep") + 20;
    }
    Pass();
    // What one instance has read the other one knows by a bundle: the clock stands meanwhile, or a
    // slow machine would make more than max_lag of it.
    Poll(40);
  }
  {
    std::lock_guard lock(cluster_.mutex);
    cluster_.readable_of.clear();
  }
  Pass(5);
  Put("fw", now(), "2.2.2.2");  // without any
  EXPECT_TRUE(Within(40, [&] { return !Missing().empty(); }));
  EXPECT_THAT(Missing(), ElementsAre("2.2.2.2"));
  EXPECT_THAT(Log("late"), IsEmpty());
  EXPECT_THAT(Alerts("source_lagging"), IsEmpty());
  // The next outage is another one.
  shipping = false;
  EXPECT_TRUE(Within(100, [&] { return Alerts("source_silent").size() > 1; }));
  EXPECT_THAT(Alerts("source_silent"), ElementsAre("ep", "ep"));
}

TEST_P(SourceWatchTest, AQuietSourceFollowsTheClockAsFarAsItIsToldTo) {
  Begin(1, "on_idle: wall_clock", ", quiet_bound: 50s");
  beats_.push_back([&] { Put("fw", now(), "9.9.9.9", false); });
  Put("ep", 0, "9.9.9.9", false);
  Pass(5);
  Put("fw", now(), "1.1.1.1");
  EXPECT_TRUE(Within(60, [&] { return !Missing().empty(); }));
  EXPECT_GE(now(), 5 + 10 + 20);  // not before the window's end is live_bound ago
  Pass(60);
  Put("fw", now(), "2.2.2.2");  // behind its newest event by more than quiet_bound
  Pass(60);
  EXPECT_THAT(Missing(), ElementsAre("1.1.1.1"));
}

TEST_P(SourceWatchTest, AnEmptyTopic) {
  Begin();
  beats_.push_back([&] { Put("fw", now(), "9.9.9.9", false); });
  Pass(5);
  Put("fw", now(), "1.1.1.1");
  EXPECT_TRUE(Within(120, [&] { return !Missing().empty(); }));
  EXPECT_THAT(Alerts("source_lagging"), ElementsAre("ep"));
  EXPECT_GE(now(), 5 + 10 + 30);  // it was waited for
  Restart();
  Pass(20);
  // Its first event is on time.
  Put("fw", now(), "2.2.2.2");
  Put("ep", now() + 1, "2.2.2.2");
  Put("fw", now(), "3.3.3.3");
  beats_.push_back([&] { Put("ep", now(), "9.9.9.9", false); });
  EXPECT_TRUE(Within(60, [&] { return Missing().size() > 1; }));
  EXPECT_THAT(Missing(), ElementsAre("1.1.1.1", "3.3.3.3"));
  EXPECT_THAT(Log("late"), IsEmpty());
  EXPECT_THAT(Alerts("source_lagging"), ElementsAre("ep"));
  EXPECT_THAT(Alerts("source_silent"), IsEmpty());
}

TEST_P(SourceWatchTest, ASourceHoursBehind) {
  Begin();
  int64_t behind = 6 * kHour;
  beats_.push_back([&] { Put("fw", now(), "9.9.9.9", false); });
  beats_.push_back([&] { Put("ep", now() - behind, "8.8.8.8"); });
  Pass(5);
  Put("fw", now(), "1.1.1.1");
  Pass(20);
  EXPECT_THAT(Missing(), IsEmpty());  // it is waited for, for a while
  EXPECT_TRUE(Within(60, [&] { return !Missing().empty(); }));
  EXPECT_TRUE(Within(20, [&] { return !Log("late").empty(); }));
  EXPECT_THAT(Alerts("source_lagging"), ElementsAre("ep"));
  Restart();
  Put("fw", now(), "2.2.2.2");
  EXPECT_TRUE(Within(80, [&] { return Missing().size() > 1; }));
  EXPECT_THAT(Alerts("source_lagging"), ElementsAre("ep"));
  // It has caught up: its events count again.
  behind = 0;
  Pass(10);
  const size_t late = Log("late").size();
  Put("fw", now(), "3.3.3.3");
  Put("ep", now() + 1, "3.3.3.3");
  Put("fw", now(), "4.4.4.4");
  EXPECT_TRUE(Within(60, [&] { return Missing().size() > 2; }));
  EXPECT_THAT(Missing(), ElementsAre("1.1.1.1", "2.2.2.2", "4.4.4.4"));
  EXPECT_EQ(Log("late").size(), late);
  behind = 6 * kHour;
  EXPECT_TRUE(Within(90, [&] { return Alerts("source_lagging").size() > 1; }));
}

TEST_P(SourceWatchTest, APausedReplay) {
  Begin();
  {
    std::lock_guard lock(cluster_.mutex);
    cluster_.readable_of[{"ep", 0}] = 0;
    cluster_.readable_of[{"fw", 0}] = 0;
  }
  for (int64_t i = 0; i < 100; ++i) {
    Put("fw", i - 1000 * kHour, "1.1.1.1");
    Put("ep", i + 3 - 1000 * kHour, "1.1.1.1");
  }
  Put("fw", 200 - 1000 * kHour, "2.2.2.2");
  Put("fw", 300 - 1000 * kHour, "9.9.9.9", false);
  Put("ep", 300 - 1000 * kHour, "9.9.9.9", false);
  const auto readable = [&](int64_t fw, int64_t ep) {
    std::lock_guard lock(cluster_.mutex);
    cluster_.readable_of[{"fw", 0}] = fw;
    cluster_.readable_of[{"ep", 0}] = ep;
  };
  Pass(5);
  readable(60, 20);
  Pass(300);  // far beyond every bound
  EXPECT_THAT(Missing(), IsEmpty());
  Restart();
  Pass(100);
  readable(1000, 40);
  Pass(100);
  EXPECT_THAT(Missing(), IsEmpty());
  EXPECT_THAT(Alerts("source_silent"), IsEmpty());
  readable(1000, 1000);
  EXPECT_TRUE(Within(20, [&] { return !Missing().empty(); }));
  EXPECT_THAT(Missing(), ElementsAre("2.2.2.2"));
  EXPECT_THAT(Log("late"), IsEmpty());
  EXPECT_THAT(Alerts("source_lagging"), IsEmpty());
}

TEST_P(SourceWatchTest, ABacklogIsReadInStep) {
  Begin();
  // A record a second in both; the endpoint's are read faster.
  const auto readable = [&](int64_t fw, int64_t ep) {
    std::lock_guard lock(cluster_.mutex);
    cluster_.readable_of[{"fw", 0}] = fw;
    cluster_.readable_of[{"ep", 0}] = ep;
  };
  readable(0, 0);
  constexpr int64_t kRecords = 3000;
  for (int64_t i = 0; i < kRecords; ++i) {
    Put("fw", i - 1000 * kHour, i == kRecords - 100 ? "1.1.1.1" : "9.9.9.9", i == kRecords - 100);
    Put("ep", i - 1000 * kHour, "9.9.9.9", false);
  }
  int64_t second = 0;
  const auto commits = [&] {
    std::lock_guard lock(cluster_.mutex);
    return cluster_.commits;
  };
  beats_.push_back([&] {
    ++second;
    // What another instance has read is known by what it commits, which takes no second of this
    // clock; but threads may be slower than the clock.
    const uint64_t from = commits();
    readable(30 * second, Next("ep"));
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
    while (two() && 30 * second < kRecords && commits() < from + 4 &&
           std::chrono::steady_clock::now() < until)
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    readable(30 * second, Next("ep") + 50);
  });
  EXPECT_TRUE(Within(200, [&] { return !Missing().empty(); }));
  EXPECT_THAT(Log("late"), IsEmpty());
  Kill();
  EXPECT_GT(processes_.back()->holds(), 0u);  // who reads the endpoint
  // backfill_ahead, and what was read until the next look.
  EXPECT_LE(ahead_, 60 + 150);
}

TEST_P(SourceWatchTest, AnIdlePartitionThatWakesUp) {
  // Nobody waits for a partition that is idle: its first event is on time if it arrives within
  // out_of_orderness of the others', and instances are not in step with this clock.
  if (two()) GTEST_SKIP() << "its partitions would be read by two instances";
  Begin(2);
  beats_.push_back([&] { Put("fw", now(), "9.9.9.9", false); });
  beats_.push_back([&] { Put("ep", now(), "9.9.9.9", false); });
  Put("fw", 0, "9.9.9.9", false, 1);
  Pass(5);
  Put("fw", now(), "1.1.1.1");
  EXPECT_TRUE(Within(40, [&] { return !Missing().empty(); }));  // the quiet one holds nothing back
  Put("fw", now(), "2.2.2.2", true, 1);
  EXPECT_TRUE(Within(40, [&] { return Missing().size() > 1; }));
  EXPECT_THAT(Log("late"), IsEmpty());
  // While nobody reads, both go on; and then the one that was not idle is read first.
  Pass(20);
  Kill();
  const auto beats = beats_;
  for (int i = 0; i < 100; ++i) {
    for (const auto& beat : beats) beat();
    if (i % 10 == 0) Put("fw", now(), "9.9.9.9", false, 1);
    clock_.Pass();
  }
  {
    std::lock_guard lock(cluster_.mutex);
    cluster_.readable_of[{"fw", 1}] = 2;
  }
  Start();
  Pass(3);
  {
    std::lock_guard lock(cluster_.mutex);
    cluster_.readable_of.clear();
  }
  Put("fw", now(), "3.3.3.3", true, 1);
  EXPECT_TRUE(Within(60, [&] { return Missing().size() > 2; }));
  EXPECT_THAT(Missing(), ElementsAre("1.1.1.1", "2.2.2.2", "3.3.3.3"));
  EXPECT_THAT(Log("late"), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Exchange, SourceWatchTest,
                         ::testing::Values("in_process", "kafka", "two_instances"),
                         [](const auto& one) { return std::string(one.param); });

}  // namespace
}  // namespace bongsu
