// What a reload may change, what it says, where counters go, and the socket that asks for it.
#include "pipeline/reload.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>

#include "operators/registry.h"
#include "pipeline/control_socket.h"
#include "pipeline/topic_rules.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;

std::string Operator(const std::string& name, const std::string& after) {
  return "  - {name: " + name +
         ", type: interval_join, left: {source: firewall, key: src_ip}, right: {source: firewall, "
         "key: dest_ip}, within: {after: " +
         after + "}}\n";
}

std::shared_ptr<const Config> Make(const std::string& operators, const std::string& more = "") {
  OperatorRegistry registry;
  RegisterAllOperators(registry);
  Diagnostics diagnostics;
  auto config = ParseConfig(
      "application: test\nsources: [{name: firewall, files: [fw.jsonl], format: suricata-eve}]\n"
      "sinks: {alerts: {file: a.jsonl}}\n" +
          more + "operators:\n" + operators,
      "test.yaml", registry, diagnostics);
  EXPECT_TRUE(config.has_value()) << diagnostics.Text();
  return std::make_shared<const Config>(*std::move(config));
}

TEST(Reload, OnlyRulesAndOperatorsMayChange) {
  const auto running = Make(Operator("a", "10s"));
  EXPECT_TRUE(CheckReload(*running, *Make(Operator("b", "20s"))).ok());
  const absl::Status status =
      CheckReload(*running, *Make(Operator("a", "10s"), "epoch: 1s\nstate: {memory: 2GiB}\n"));
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_NE(status.message().find("'epoch' has changed"), std::string::npos) << status;
  EXPECT_NE(status.message().find("'state.memory' has changed"), std::string::npos) << status;
  EXPECT_EQ(status.message().find("'operators"), std::string::npos) << status;
}

// Whoever asks, and be it a rule in the topic: what events are read by does not change with it.
TEST(Reload, AFormatsFileMayNotChange) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("bongsu-reload-{}", getpid());
  fs::create_directories(folder);
  const auto make = [&](const char* field) {
    std::ofstream(folder / "f.yaml") << "base: ecs\nfields: {Image: " << field << "}\n";
    OperatorRegistry registry;
    RegisterAllOperators(registry);
    Diagnostics diagnostics;
    auto parsed = ParseConfig(
        "application: test\nsources: [{name: firewall, files: [x.jsonl], format: f.yaml}]\n"
        "sinks: {alerts: {file: a.jsonl}}\nstate: {path: /nowhere}\noperators:\n" +
            Operator("a", "1s"),
        (folder / "c.yaml").string(), registry, diagnostics);
    EXPECT_TRUE(parsed.has_value()) << diagnostics.Text();
    return *std::move(parsed);
  };
  const Config running = make("process.executable");
  EXPECT_TRUE(CheckReload(running, make("process.executable")).ok());
  const absl::Status status = CheckReload(running, make("process.name"));
  EXPECT_NE(status.message().find("'f.yaml' has changed"), std::string::npos) << status;
  fs::remove_all(folder);
}

// Operators are what instances share: they change by the topic that all of them read.
TEST(Reload, InstancesThatShareTheWorkChangeOperatorsByTheTopic) {
  const auto make = [](const std::string& after, int64_t version) {
    auto config = std::make_shared<Config>();
    OperatorRegistry registry;
    RegisterAllOperators(registry);
    Diagnostics diagnostics;
    auto parsed = ParseConfig(
        "application: test\nsources: [{name: firewall, topics: [fw], format: suricata-eve}]\n"
        "sinks: {alerts: {topic: a}, late: {topic: l}, dead_letter: {topic: d}}\n"
        "kafka: {bootstrap.servers: nowhere}\nexchange: kafka\nstate: {path: "
        "/nowhere}\noperators:\n" +
            Operator("a", after) + Operator("b", "1s"),
        "test.yaml", registry, diagnostics);
    EXPECT_TRUE(parsed.has_value()) << diagnostics.Text();
    *config = *std::move(parsed);
    if (version >= 0) config->topic_rules = std::make_shared<TopicRules>(TopicRules{{}, version});
    return config;
  };
  EXPECT_TRUE(CheckReload(*make("1s", -1), *make("1s", -1)).ok());
  const absl::Status files = CheckReload(*make("1s", -1), *make("2s", -1));
  EXPECT_TRUE(absl::IsInvalidArgument(files));
  EXPECT_NE(files.message().find("operators (a) change by the rules topic"), std::string::npos)
      << files;
  EXPECT_TRUE(CheckReload(*make("1s", 4), *make("2s", 5)).ok());
  EXPECT_TRUE(CheckReload(*make("1s", 4), *make("1s", 4)).ok());
  EXPECT_FALSE(CheckReload(*make("1s", 4), *make("2s", 4)).ok());
}

TEST(Reload, SaysWhatBecomesOfTheState) {
  const auto before = Make(Operator("a", "10s") + Operator("b", "10s") + Operator("c", "10s"));
  const auto after = Make(Operator("d", "10s") + Operator("b", "20s") + Operator("a", "10s"));
  EXPECT_EQ(ReloadSummary(*before, *after),
            "operators: 1 kept, 1 changed (their state is dropped): b, 1 added: d, 1 removed: c");
}

TEST(Reload, CountersFollowTheNames) {
  const auto before = Make(Operator("a", "10s") + Operator("b", "10s"));
  const auto after = Make(Operator("c", "10s") + Operator("b", "10s"));
  EngineTotals totals;
  totals.counters = RunCounters(1, {2, 2});
  totals.counters.sources[0].records = 5;
  totals.counters.operators[0].created = 7;
  totals.counters.operators[1].created = 9;
  totals.epochs = 3;
  const EngineTotals mapped = Remap(totals, *before, *after);
  ASSERT_EQ(mapped.counters.operators.size(), 2u);
  EXPECT_EQ(mapped.counters.sources[0].records, 5u);
  EXPECT_EQ(mapped.counters.operators[0].created, 0u);
  EXPECT_EQ(mapped.counters.operators[1].created, 9u);
  EXPECT_EQ(mapped.epochs, 3u);
}

// The service's side by hand: a set is taken once, and who asked gets the outcome.
TEST(Reload, AskerGetsTheOutcome) {
  const auto running = Make(Operator("a", "10s"));
  std::atomic<int> loads{0};
  Reloader reloader(
      [&](std::string* problems) -> std::shared_ptr<const Config> {
        if (++loads == 1) {
          *problems = "test.yaml:3:4: a mistake";
          return nullptr;
        }
        return Make(Operator("a", "20s"));
      },
      nullptr);
  reloader.SetRunning(running);
  const auto refused = reloader.Ask();
  EXPECT_TRUE(absl::IsInvalidArgument(refused.status()));
  EXPECT_FALSE(reloader.wanted());
  EXPECT_EQ(reloader.status().refused, 1u);
  EXPECT_TRUE(reloader.status().last_refused);
  std::thread service([&] {
    while (!reloader.wanted()) std::this_thread::yield();
    const auto next = reloader.Take();
    EXPECT_NE(next, nullptr);
    EXPECT_FALSE(reloader.wanted());
    reloader.SetRunning(next);
    reloader.Done(absl::OkStatus());
  });
  const auto answer = reloader.Ask();
  service.join();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(*answer, "operators: 0 kept, 1 changed (their state is dropped): a");
  EXPECT_EQ(reloader.status().done, 1u);
  EXPECT_FALSE(reloader.status().last_refused);
  EXPECT_EQ(reloader.Take(), nullptr);
}

// The engine of a set that was taken may wait for something that never comes.
TEST(Reload, ASetThatNeverRunsDoesNotKeepTheNextOneOut) {
  std::atomic<bool> hangup = true;
  std::atomic<int> loads{0};
  Reloader reloader(
      [&](std::string*) { return Make(Operator("a", fmt::format("{}s", 20 + ++loads))); }, &hangup);
  reloader.SetRunning(Make(Operator("a", "10s")));
  while (!reloader.wanted()) std::this_thread::yield();
  EXPECT_NE(reloader.Take(), nullptr);
  hangup = true;
  EXPECT_TRUE(reloader.asked());
  reloader.Done(absl::UnavailableError("the others run a newer one"));
  for (int i = 0; i < 1000 && !reloader.wanted(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_NE(reloader.Take(), nullptr);
  EXPECT_EQ(loads.load(), 2);
  reloader.Done(absl::OkStatus());
  for (int i = 0; i < 1000 && reloader.asked(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_FALSE(reloader.asked());
}

TEST(Reload, AStopAnswersWhoWaits) {
  Reloader reloader([&](std::string*) { return Make(Operator("a", "20s")); }, nullptr);
  reloader.SetRunning(Make(Operator("a", "10s")));
  std::thread service([&] {
    while (!reloader.wanted()) std::this_thread::yield();
    reloader.Stop();
  });
  EXPECT_TRUE(absl::IsUnavailable(reloader.Ask().status()));
  service.join();
}

// Longer than a socket's address may be.
TEST(Control, AnswersOnALongPath) {
  const fs::path folder = fs::path(testing::TempDir()) / std::string(150, 'x');
  fs::create_directories(folder);
  const std::string path = ControlPath(folder.string());
  EXPECT_TRUE(absl::IsNotFound(AskControl(path, "reload").status()));
  auto handler = [](std::string_view command) { return "heard " + std::string(command); };
  auto control = ControlSocket::Listen(path, handler);
  ASSERT_TRUE(control.ok()) << control.status();
  EXPECT_EQ(AskControl(path, "reload").value(), "heard reload");
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  // What a killed process left behind does not stand in the way.
  auto again = ControlSocket::Listen(path, handler);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(AskControl(path, "twice").value(), "heard twice");
  again->reset();
  EXPECT_TRUE(absl::IsNotFound(AskControl(path, "reload").status()));
  control->reset();
  fs::remove_all(folder);
}

// Like a terminal that was stopped: the answer does not fit in between.
TEST(Control, WhoDoesNotReadDoesNotHoldUpTheStop) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("bongsu-control-{}", getpid());
  fs::create_directories(folder);
  const std::string path = folder / "control";
  std::promise<void> asked;
  auto control = ControlSocket::Listen(path, [&](std::string_view) {
    asked.set_value();
    return std::string(kControlAnswerBytesMax, 'x');
  });
  ASSERT_TRUE(control.ok()) << control.status();
  const int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(path.size(), sizeof(address.sun_path));
  path.copy(address.sun_path, path.size());
  ASSERT_EQ(connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(send(client, "reload\n", 7, 0), 7);
  asked.get_future().wait();
  control->reset();  // ends
  close(client);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace bongsu
