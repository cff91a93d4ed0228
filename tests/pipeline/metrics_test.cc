// The metrics' text, what is healthy and ready, and the server that says it.
#include "pipeline/metrics.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <thread>

#include "operators/registry.h"
#include "pipeline/backend.h"
#include "pipeline/http_server.h"
#include "pipeline/service.h"
#include "pipeline/status_board.h"

namespace bongsu {
namespace {

constexpr char kConfig[] = R"(
application: test
sources:
  - name: firewall
    files: [fw.jsonl]
    format: suricata-eve
operators:
  - name: join
    type: interval_join
    left: {source: firewall, key: src_ip}
    right: {source: firewall, key: dest_ip}
    within: {after: 10s}
sinks:
  alerts: {file: alerts.jsonl}
)";

std::shared_ptr<const Config> TestConfig() {
  OperatorRegistry registry;
  RegisterAllOperators(registry);
  Diagnostics diagnostics;
  auto config = ParseConfig(kConfig, "test.yaml", registry, diagnostics);
  EXPECT_TRUE(config.has_value()) << diagnostics.Text();
  return std::make_shared<const Config>(*std::move(config));
}

MetricsSnapshot Empty(std::shared_ptr<const Config> config) {
  MetricsSnapshot snapshot;
  snapshot.engine.totals.counters = RunCounters(config->sources.size(), {2});
  snapshot.sources.resize(config->sources.size());
  snapshot.config = std::move(config);
  return snapshot;
}

TEST(Metrics, Values) {
  MetricsSnapshot snapshot = Empty(TestConfig());
  EngineTotals& totals = snapshot.engine.totals;
  totals.counters.sources[0].records = 7;
  totals.counters.sources[0].dead_letters[static_cast<size_t>(DecodeResult::kTooDeep)] = 3;
  totals.counters.sources[0].late = 2;
  totals.counters.operators[0].selected = {5, 6};
  totals.counters.operators[0].named["partners_capped"] = 4;
  totals.waits = {1, 0, 9};
  snapshot.engine.uncommitted_ns = 1'500'000'000;
  snapshot.sources[0].watermark = 1'700'000'000'500'000'000;
  snapshot.sources[0].held_by = "fw.jsonl";
  snapshot.sources[0].lag_records = 11;
  const std::string text = RenderMetrics(snapshot, Phase::kRestoring, {16, 3, 100, 200, 5});
  for (const char* line : {
           "bongsu_source_records_total{source=\"firewall\"} 7\n",
           "bongsu_source_dead_letters_total{source=\"firewall\",reason=\"too_deep\"} 3\n",
           "bongsu_source_late_total{source=\"firewall\",reason=\"late\"} 2\n",
           "bongsu_source_late_total{source=\"firewall\",reason=\"future\"} 0\n",
           "bongsu_operator_selected_total{operator=\"join\",side=\"right\"} 6\n",
           "bongsu_operator_events_total{operator=\"join\",event=\"partners_capped\"} 4\n",
           "bongsu_reader_waits_total{bound=\"state\"} 9\n",
           "bongsu_epoch_age_seconds 1.5\n",
           "bongsu_source_watermark_held_by{source=\"firewall\",partition=\"fw.jsonl\"} 1\n",
           "bongsu_source_lag_records{source=\"firewall\"} 11\n",
           "bongsu_phase{phase=\"restoring\"} 1\n",
           "bongsu_phase{phase=\"running\"} 0\n",
           "bongsu_restore_shards_done 3\n",
       }) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "is missing in\n" << text;
  }
  // Not known: not there, rather than a wrong zero.
  EXPECT_EQ(text.find("bongsu_source_lag_seconds{"), std::string::npos);
}

// "Has never matched" and "is not in force" are told apart.
TEST(Metrics, RulesThatNeverMatchedAreZero) {
  const auto rule = [](const std::string& id, const std::string& category) {
    return "title: " + id + "\nid: " + id + "\nlogsource: {category: " + category +
           "}\ndetection: {sel: {event_type: alert}, condition: sel}\n";
  };
  const auto rules =
      std::make_shared<const TopicRules>(TopicRules{{{"a", rule("quiet", "firewall")},
                                                     {"b", rule("loud", "firewall")},
                                                     {"c", rule("elsewhere", "process_creation")},
                                                     {"d", "title: broken\n"}},
                                                    7});
  OperatorRegistry registry;
  RegisterAllOperators(registry);
  Diagnostics diagnostics;
  const auto tree = ParseConfigTree(
      std::string(kConfig) + "rules_topic: soc.rules\nkafka: {bootstrap.servers: nowhere}\n",
      "test.yaml", diagnostics);
  ASSERT_TRUE(tree.has_value());
  auto config =
      ReadConfig(*tree, "test.yaml", registry, diagnostics, [&](const Config&) { return rules; });
  ASSERT_TRUE(config.has_value()) << diagnostics.Text();
  MetricsSnapshot snapshot = Empty(std::make_shared<const Config>(*std::move(config)));
  snapshot.engine.totals.counters = RunCounters(1, {2}, 3);
  snapshot.engine.totals.counters.rules[1].matches = 5;
  snapshot.rule_topic = RuleTopicStatus{4, 9, 5, 1, 2, true};
  snapshot.rule_topic_version = 7;
  const std::string text = RenderMetrics(snapshot, Phase::kRunning, {});
  for (const char* line : {
           "bongsu_rule_matches_total{rule=\"quiet\"} 0\n",
           "bongsu_rule_matches_total{rule=\"loud\"} 5\n",
           "bongsu_rules_unbound 1\n",
           "bongsu_rules_left_out{reason=\"broken\"} 1\n",
           "bongsu_rules_topic_keys 4\n",
           "bongsu_rules_topic_version{set=\"read\"} 9\n",
           "bongsu_rules_topic_version{set=\"in_force\"} 7\n",
           "bongsu_rules_topic_records_total{kind=\"ignored\"} 2\n",
           "bongsu_rules_topic_readable 1\n",
       }) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "is missing in\n" << text;
  }
  EXPECT_EQ(text.find("rule=\"elsewhere\""), std::string::npos);
  EXPECT_EQ(text.find("bongsu_rule_incidents_total{rule=\"quiet\""), std::string::npos);
}

TEST(Metrics, CommitTimesAreCumulative) {
  TimeHistogram histogram;
  for (DurationNs took : {500'000, 1'000'000, 20'000'000}) histogram.Add(took);
  histogram.Add(60 * kSecondNs);
  MetricsSnapshot snapshot = Empty(TestConfig());
  snapshot.engine.totals.commit_times = histogram.counts();
  const std::string text = RenderMetrics(snapshot, Phase::kRunning, {});
  for (const char* line : {
           "bongsu_commit_seconds_bucket{le=\"0.001\"} 2\n",
           "bongsu_commit_seconds_bucket{le=\"0.01\"} 2\n",
           "bongsu_commit_seconds_bucket{le=\"0.025\"} 3\n",
           "bongsu_commit_seconds_bucket{le=\"30\"} 3\n",
           "bongsu_commit_seconds_bucket{le=\"+Inf\"} 4\n",
           "bongsu_commit_seconds_count 4\n",
       }) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "is missing in\n" << text;
  }
}

// Of three partitions one lags, one is at its end, one is idle; the broker's answer may be missing.
TEST(Metrics, LagAndWhoHoldsTheWatermark) {
  const auto config = TestConfig();
  PartitionTable partitions;
  for (int32_t number : {0, 1, 2}) {
    PartitionInfo info;
    info.source = "firewall";
    info.topic = "logs";
    info.partition = number;
    info.identity = "logs" + std::to_string(number);
    ASSERT_TRUE(partitions.Add(info).ok());
  }
  EngineView view;
  using State = PartitionClock::State;
  view.partitions = {{State::kActive, 900, kMinEventTime, 0},
                     {State::kActive, 500, kMinEventTime, 0},
                     {State::kIdle, 100, kMinEventTime, 0}};
  view.source_watermarks = {400};
  const int64_t now = 100 * kSecondNs;
  view.progress = {{0, 10, 99'000}, {1, 20, 95'500}, {2, 5, 1'000}};
  const StableEnds ends = {{{"logs", 0}, 10}, {{"logs", 1}, 27}, {{"logs", 2}, 4}};
  const SourceStatus status = SourceStatuses(*config, view, partitions, &ends, now)[0];
  EXPECT_EQ(status.held_by, "logs[1]");
  EXPECT_EQ(status.watermark, 400);
  EXPECT_EQ(status.partitions, 3u);
  EXPECT_EQ(status.idle_partitions, 1u);
  EXPECT_EQ(status.lag_records, 7);
  EXPECT_DOUBLE_EQ(status.lag_seconds.value(), 4.5);
  // A producer may stamp its records with any number: one that is no time tells no age.
  for (const int64_t absurd : {int64_t{10'000'000'000'000}, kMaxEventTime}) {
    view.progress[1].timestamp_ms = absurd;
    const SourceStatus stamped = SourceStatuses(*config, view, partitions, &ends, now)[0];
    EXPECT_DOUBLE_EQ(stamped.lag_seconds.value(), 0) << absurd;
  }
  const SourceStatus unknown = SourceStatuses(*config, view, partitions, nullptr, now)[0];
  EXPECT_FALSE(unknown.lag_records.has_value());
  EXPECT_FALSE(unknown.lag_seconds.has_value());
}

TEST(Metrics, SilentLaggingAndHeld) {
  const auto config = TestConfig();
  PartitionTable partitions;
  PartitionInfo info;
  info.source = "firewall";
  info.topic = info.identity = "logs";
  ASSERT_TRUE(partitions.Add(info).ok());
  EngineView view;
  view.held = {0};
  // Another instance keeps the alarms.
  EXPECT_FALSE(SourceStatuses(*config, view, partitions, nullptr, 0)[0].silent.has_value());
  view.source_alarms = {static_cast<uint8_t>(SourceAlarm::kSilent)};
  const SourceStatus status = SourceStatuses(*config, view, partitions, nullptr, 0)[0];
  EXPECT_EQ(status.held_partitions, 1u);
  EXPECT_EQ(status.silent, std::optional(true));
  EXPECT_EQ(status.lagging, std::optional(false));
}

std::set<std::string> Names(const std::string& text, const std::regex& pattern) {
  std::set<std::string> names;
  for (auto it = std::sregex_iterator(text.begin(), text.end(), pattern);
       it != std::sregex_iterator(); ++it)
    names.insert((*it)[1].str());
  return names;
}

std::string File(const std::string& path) {
  std::ifstream in(std::string(BONGSU_SOURCE_DIR) + "/" + path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// Counters end in _total, and nothing else does; units are base units.
TEST(Metrics, NamesFollowTheConventions) {
  const std::string text = RenderMetrics(Empty(TestConfig()), Phase::kRunning, {});
  const std::regex type("# TYPE (\\S+) (\\S+)");
  int seen = 0;
  for (auto it = std::sregex_iterator(text.begin(), text.end(), type); it != std::sregex_iterator();
       ++it, ++seen) {
    const std::string name = (*it)[1];
    EXPECT_EQ(name.ends_with("_total"), (*it)[2] == "counter") << name;
    EXPECT_FALSE(std::regex_search(name, std::regex("_(ms|ns|millis|kib|mib)(_|$)"))) << name;
  }
  EXPECT_GT(seen, 40);
}

// The page names every metric, and none that does not exist; so do the rules and the dashboard.
TEST(Metrics, EveryNameIsDocumented) {
  const std::set<std::string> real =
      Names(RenderMetrics(Empty(TestConfig()), Phase::kRunning, {}), std::regex("# TYPE (\\S+)"));
  const std::regex word("\\b((?:bongsu|process)_[a-z0-9_]+)\\b");
  const std::set<std::string> page = Names(File("deploy/OPERATIONS.md"), word);
  for (const std::string& name : real) EXPECT_TRUE(page.contains(name)) << name;
  for (const char* file :
       {"deploy/OPERATIONS.md", "deploy/prometheus/rules.yaml", "deploy/grafana/bongsu.json"}) {
    const std::set<std::string> names = Names(File(file), word);
    EXPECT_FALSE(names.empty()) << file;
    for (std::string name : names) {
      for (const std::string suffix : {"_bucket", "_sum", "_count"}) {
        if (name == "bongsu_commit_seconds" + suffix) name = "bongsu_commit_seconds";
      }
      EXPECT_TRUE(real.contains(name)) << name << " in " << file << " does not exist";
    }
  }
}

TEST(Health, Verdicts) {
  EXPECT_TRUE(Healthy(Phase::kRunning, 0, 0).good);
  EXPECT_TRUE(Healthy(Phase::kRunning, kSilenceMaxNs, kEpochAgeMaxNs).good);
  EXPECT_FALSE(Healthy(Phase::kRunning, kSilenceMaxNs + 1, 0).good);
  EXPECT_FALSE(Healthy(Phase::kRunning, 0, kEpochAgeMaxNs + 1).good);
  // No restart brings brokers back, makes another instance leave, or a restore faster.
  for (Phase phase : {Phase::kStarting, Phase::kWaiting, Phase::kRestoring, Phase::kRecovering,
                      Phase::kStopping}) {
    EXPECT_TRUE(Healthy(phase, kHourNs, kHourNs).good) << PhaseName(phase);
    EXPECT_FALSE(Ready(phase).good) << PhaseName(phase);
  }
  EXPECT_TRUE(Ready(Phase::kRunning).good);
}

class StoppedClock : public Clock {
 public:
  void Sleep(DurationNs) const override {}
  int64_t NowNs() const override { return now; }
  int64_t MonotonicNs() const override { return now; }
  int64_t now = 0;
};

TEST(Health, SilenceIsSeen) {
  StoppedClock clock;
  StatusBoard board(clock);
  EXPECT_EQ(board.Readiness().status, 503);
  EXPECT_EQ(board.Metrics().status, 503);
  board.SetPhase(Phase::kRunning);
  EXPECT_EQ(board.Health().status, 200);
  EXPECT_EQ(board.Readiness().status, 200);
  clock.now += kSilenceMaxNs + 1;
  EXPECT_EQ(board.Health().status, 503);
  board.Publish(std::make_shared<MetricsSnapshot>(Empty(TestConfig())));
  EXPECT_EQ(board.Health().status, 200);
  EXPECT_EQ(board.Metrics().status, 200);
}

// A reload is over in a second or two; one that waits for brokers is no process that hangs.
TEST(Health, ALongSwitchIsARestore) {
  StoppedClock clock;
  StatusBoard board(clock);
  board.SetPhase(Phase::kRunning);
  board.BeginSwitch();
  EXPECT_EQ(board.Readiness().status, 200);
  clock.now += kSwitchMaxNs + 1;
  EXPECT_EQ(board.Readiness().status, 503);
  clock.now += kSilenceMaxNs;
  EXPECT_EQ(board.Health().status, 200);
  board.SetPhase(Phase::kRunning);
  EXPECT_EQ(board.Readiness().status, 200);
}

TEST(Http, ListenAddress) {
  EXPECT_EQ(ListenAddress("9464"), "127.0.0.1:9464");
  EXPECT_EQ(ListenAddress("localhost:1"), "127.0.0.1:1");
  EXPECT_EQ(ListenAddress("0.0.0.0:80"), "0.0.0.0:80");
  EXPECT_EQ(ListenAddress("[::1]:9464"), "[::1]:9464");
  for (const char* bad : {"", ":", ":80", "host:80", "::1:80", "80x", "70000", "1.2.3:4", "-1",
                          "127.0.0.1:80,0.0.0.0:80", "127.0.0.1:80s"}) {
    EXPECT_EQ(ListenAddress(bad), std::nullopt) << bad;
  }
  EXPECT_TRUE(IsLoopback("127.0.0.1:1"));
  EXPECT_TRUE(IsLoopback("[::1]:1"));
  EXPECT_FALSE(IsLoopback("0.0.0.0:1"));
}

std::string Ask(int port, const std::string& request) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
      send(fd, request.data(), request.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(request.size())) {
    char buffer[4096];
    for (ssize_t n; (n = recv(fd, buffer, sizeof(buffer), 0)) > 0;)
      answer.append(buffer, static_cast<size_t>(n));
  }
  close(fd);
  return answer;
}

TEST(Http, AnswersOnlyItsPaths) {
  auto server =
      HttpServer::Start("127.0.0.1:0", {{"/good", [] {
                                           return HttpAnswer{503, "text/plain", "the body"};
                                         }}});
  ASSERT_TRUE(server.ok()) << server.status();
  const int port = (*server)->port();
  const std::string good = Ask(port, "GET /good HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(good.starts_with("HTTP/1.1 503 ")) << good;
  EXPECT_TRUE(good.ends_with("\r\n\r\nthe body")) << good;
  const std::string head = Ask(port, "HEAD /good HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(head.ends_with("\r\n\r\n")) << head;
  EXPECT_TRUE(Ask(port, "POST /good HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
                  .starts_with("HTTP/1.1 405 "));
  for (const char* path : {"/", "/goods", "/good/x", "/../etc/passwd", "/%2e%2e/etc/passwd"}) {
    const std::string answer =
        Ask(port, std::string("GET ") + path + " HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 40")) << path << ": " << answer;
  }
  // The port is taken: the reason is in the message.
  auto second = HttpServer::Start("127.0.0.1:" + std::to_string(port), {});
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.status().message().find(std::to_string(port)), std::string::npos)
      << second.status();
}

// A group that takes its partitions back and gives them out again, and nothing else.
class TakenBack : public RecordSource {
 public:
  explicit TakenBack(std::atomic<bool>& taken) : taken_(taken) {}
  absl::Status Open(PartitionTable&) override { return absl::OkStatus(); }
  absl::Status Start(const std::vector<Position>&) override { return absl::OkStatus(); }
  absl::Status Poll(DurationNs wait, Batch*) override {
    SystemClock().Sleep(wait);
    return absl::OkStatus();
  }
  bool waiting() const override { return taken_.load(); }
  bool finished() const override { return false; }
  std::vector<Position> positions() const override { return {}; }
  absl::Status Committed(const std::vector<Position>&) override { return absl::OkStatus(); }
  absl::Status SetBackpressure(bool) override { return absl::OkStatus(); }
  absl::Status Close() override { return absl::OkStatus(); }

 private:
  std::atomic<bool>& taken_;
};

class TakenBackBackend : public Backend {
 public:
  std::atomic<bool> taken{false};
  const Clock& clock() const override { return SystemClock(); }
  absl::StatusOr<std::vector<TopicFinding>> LookAtTopics(const Config&) override {
    return std::vector<TopicFinding>();
  }
  std::unique_ptr<RecordSource> Source(const Config&) override {
    return std::make_unique<TakenBack>(taken);
  }
  std::unique_ptr<TransactionClient> Transaction(const Config&, const PartitionTable&) override {
    return nullptr;
  }
  absl::StatusOr<std::unique_ptr<LogTopic>> OpenLog(const Config&, const std::atomic<bool>&,
                                                    std::function<absl::Status()>) override {
    return absl::UnimplementedError("at_least_once");
  }
  absl::StatusOr<std::unique_ptr<Store>> OpenStore(const StoreOptions&) override {
    return absl::UnimplementedError("at_least_once");
  }
  absl::StatusOr<std::string> SetAside(const StoreOptions&) override { return std::string(); }
  ChangelogOptions LogOptions(const Config&) override { return {}; }
};

// With at_least_once the engine goes on meanwhile, and reads nothing. A real client asks for the
// ends of topics here, and ThreadSanitizer, which does not know librdkafka's threads, crashes in
// them.
#if !defined(__SANITIZE_THREAD__)
TEST(Health, WhoWaitsForPartitionsIsNotReady) {
  const std::string folder = testing::TempDir() + "/bongsu-waits-" + std::to_string(getpid());
  auto free_port = HttpServer::Start("127.0.0.1:0", {});
  ASSERT_TRUE(free_port.ok()) << free_port.status();
  const int port = (*free_port)->port();
  free_port->reset();
  std::string text = kConfig;
  text.replace(text.find("files: [fw.jsonl]"), 17, "topics: [fw]");
  text.replace(text.find("alerts.jsonl"), 12, folder + "/alerts.jsonl");
  text += "delivery: at_least_once\nkafka: {bootstrap.servers: \"127.0.0.1:1\"}\nstate: {path: " +
          folder + "/state}\nhttp: {listen: " + std::to_string(port) + "}\n";
  OperatorRegistry registry;
  RegisterAllOperators(registry);
  Diagnostics diagnostics;
  const auto config = ParseConfig(text, "test.yaml", registry, diagnostics);
  ASSERT_TRUE(config.has_value()) << diagnostics.Text();
  TakenBackBackend backend;
  Service service(*config, backend);
  const absl::Status opened = service.Open(Service::Mode::kRun);
  ASSERT_TRUE(opened.ok()) << opened;
  std::atomic<bool> stop{false};
  absl::Status ended;
  std::thread running([&] { ended = service.Run(stop, /*progress=*/false); });
  const auto becomes = [&](const std::string& status) {
    for (int i = 0; i < 200; ++i) {
      if (Ask(port, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 " + status))
        return true;
      SystemClock().Sleep(50 * kMillisecondNs);
    }
    return false;
  };
  EXPECT_TRUE(becomes("200"));
  backend.taken = true;
  EXPECT_TRUE(becomes("503"));
  backend.taken = false;
  EXPECT_TRUE(becomes("200"));
  stop = true;
  running.join();
  EXPECT_TRUE(ended.ok()) << ended;
  std::filesystem::remove_all(folder);
}
#endif

}  // namespace
}  // namespace bongsu
