// A reload of the whole service, in process, whose new engine does not start: the old rules go on
// with their state, and who asked is told.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "operators/registry.h"
#include "pipeline/config.h"
#include "pipeline/control_socket.h"
#include "pipeline/service.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;

// An operator that the configuration takes, and that cannot be opened.
class Refusing : public OperatorSpec, public Operator {
 public:
  explicit Refusing(FieldTable& fields) {
    rule_.name = rule_.title = "refusing";
    rule_.type = "refusing";
    semantic_hash_ = "1";
    InputSpec input;
    input.name = "in";
    input.source = "fw";
    input.key_fields = {"ip"};
    fields.Slot("ip");
    inputs_.push_back(std::move(input));
  }
  std::string Why(const Incident&) const override { return ""; }
  std::unique_ptr<Operator> NewInstance() const override {
    return std::make_unique<Refusing>(*this);
  }
  absl::Status Open(OperatorContext&) override { return absl::ResourceExhaustedError("no room"); }
  absl::Status Process(std::span<const Input>, OperatorContext&) override {
    return absl::OkStatus();
  }
};

class ReloadServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("bongsu-reload-{}", getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    registry_.Add(
        {"refusing", "", {}, {}, [](const Node& node, OperatorBuildContext& context, Diagnostics&) {
           return std::make_unique<Refusing>(*context.Fields("fw", node.where));
         }});
    RegisterAllOperators(registry_);
    std::mt19937 random(7);
    for (const char* name : {"fw", "ep"}) {
      std::ofstream out(folder_ / fmt::format("{}.jsonl", name));
      for (int i = 0; i < kRecords; ++i)
        out << fmt::format("{{\"t\":{},\"ip\":\"10.0.0.{}\",\"id\":{}}}\n", 1'800'000'000 + i / 4,
                           random() % 20, i);
    }
  }
  void TearDown() override { fs::remove_all(folder_); }

  // `run`: of the outputs and the state.
  std::shared_ptr<const Config> Make(const std::string& run, int after,
                                     const std::string& more = "") const {
    Diagnostics diagnostics;
    auto config = ParseConfig(fmt::format(
                                  R"(
application: reload-test
threads: 2
epoch: 2ms
sources:
  - {{name: fw, files: [fw.jsonl], format: {{time: [{{path: t, as: epoch_s}}]}},
     time: {{max_future_skew: 366d}}}}
  - {{name: ep, files: [ep.jsonl], format: {{time: [{{path: t, as: epoch_s}}]}},
     time: {{max_future_skew: 366d}}}}
operators:
  - name: near
    type: interval_join
    left: {{source: fw, key: ip, fields: [id]}}
    right: {{source: ep, key: ip, fields: [id]}}
    within: {{after: {}s}}
    emit: pairs
{}
sinks: {{alerts: {{file: {}/alerts.jsonl, format: native}}}}
state: {{path: {}/state, memory: 32MiB, checkpoint_interval: 5ms}}
)",
                                  after, more, run, run),
                              (folder_ / "c.yaml").string(), registry_, diagnostics);
    EXPECT_TRUE(config.has_value()) << diagnostics.Text();
    return std::make_shared<const Config>(*std::move(config));
  }

  std::multiset<std::string> Alerts(const std::string& run) const {
    std::multiset<std::string> alerts;
    std::ifstream in(folder_ / run / "alerts.jsonl");
    for (std::string line; std::getline(in, line);) alerts.insert(line);
    return alerts;
  }

  static constexpr int kRecords = 80'000;
  OperatorRegistry registry_;
  fs::path folder_;
};

TEST_F(ReloadServiceTest, AnEngineThatDoesNotStartLeavesTheOldRules) {
  for (const char* run : {"calm", "reloaded"}) fs::create_directories(folder_ / run);
  const std::atomic<bool> stop = false;
  const auto calm = Make("calm", 5);
  Service undisturbed(*calm);
  ASSERT_TRUE(undisturbed.Open(Service::Mode::kRun).ok());
  ASSERT_TRUE(undisturbed.Run(stop, false).ok());

  const auto running = Make("reloaded", 5);
  Service service(*running);
  ASSERT_TRUE(service.Open(Service::Mode::kRun).ok());
  Service::ReloadWiring wiring;
  // The join changes, too: its state must not be dropped for rules that never ran.
  wiring.load = [&](std::string*) {
    return Make("reloaded", 4, "  - {name: refusing, type: refusing}\n");
  };
  service.AllowReload(std::move(wiring));
  std::atomic<bool> ended = false;
  std::vector<std::string> answers;
  std::thread asker([&] {
    const std::string path = ControlPath(running->state.path);
    while (!ended && answers.size() < 3) {
      const auto answer = AskControl(path, "reload");
      if (answer.ok()) answers.push_back(*answer);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  });
  const absl::Status status = service.Run(stop, false);
  ended = true;
  asker.join();
  EXPECT_TRUE(status.ok()) << std::string(status.message());
  ASSERT_FALSE(answers.empty());
  EXPECT_EQ(answers[0].substr(0, answers[0].find('\n')), "refused");
  EXPECT_NE(answers[0].find("does not start"), std::string::npos) << answers[0];
  EXPECT_NE(answers[0].find("no room"), std::string::npos) << answers[0];
  const auto expected = Alerts("calm");
  ASSERT_GT(expected.size(), 1000u);
  EXPECT_EQ(Alerts("reloaded"), expected);
  EXPECT_EQ(service.Report().totals.counters.operators[0].created, expected.size());
}

}  // namespace
}  // namespace bongsu
