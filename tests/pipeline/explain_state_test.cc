// `bongsu explain --state`: a state folder on a disk as a service leaves it, at work, with windows
// that are open and such that are over.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "operators/operator_runner.h"
#include "operators/registry.h"
#include "pipeline/event_time.h"
#include "pipeline/explain.h"
#include "pipeline/plan.h"
#include "pipeline/positions.h"
#include "pipeline/rehearsal.h"
#include "state/store.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class NoOutput : public OperatorOutput, public PartitionNames {
 public:
  void Alert(const OperatorSpec&, const Incident&) override { ++alerts; }
  void Forward(const OperatorSpec&, const Incident&, EventTimeNs, ResultKind) override {}
  bool HasReaders(const OperatorSpec&) const override { return false; }
  bool HasFollowers(const OperatorSpec&) const override { return false; }
  void Late(const OperatorSpec&, const Input&, DurationNs) override {}
  void Count(const OperatorSpec&, const char*, uint64_t) override {}
  std::string_view Origin(PartitionId) const override { return "ep"; }
  int alerts = 0;
};

class ExplainStateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("bongsu-explain-state-test-{}", getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  static std::string At(int second) {
    return fmt::format("2024-01-01T00:{:02}:{:02}Z", second / 60, second % 60);
  }
  static std::string Event(int second, int bytes, int id = 1) {
    return fmt::format(R"({{"@timestamp":"{}","EventID":{},"host":"h","Bytes":{}}})", At(second),
                       id, bytes);
  }

  // The state of a service that has read these events of one partition, with its watermark at
  // `watermark`; returns how many alerts it wrote.
  int Service(const std::string& correlation, const std::vector<std::string>& events,
              int watermark) {
    fs::remove_all(Path("state"));
    std::ofstream(Path("rules.yml")) << R"(
title: Any event
name: any
logsource: {product: windows}
detection: {a: {EventID: 1}, condition: a}
---
title: Other event
name: other
logsource: {product: windows}
detection: {a: {EventID: 2}, condition: a}
---
title: Asked
name: asked
correlation: )" << correlation << "\n";
    std::ofstream(Path("c.yaml")) << fmt::format(R"(
application: tests
sources:
  - name: ep
    files: [ep.jsonl]
    format: sysmon-nxlog
    time: {{out_of_orderness: 0s, allowed_lateness: 0s}}
rules: [rules.yml]
operators:
  - name: join
    type: interval_join
    left: {{source: ep, key: host, detection: {{a: {{EventID: 1}}, condition: a}}}}
    right: {{source: ep, key: host, detection: {{a: {{EventID: 2}}, condition: a}}}}
    within: {{before: 5s, after: 60s}}
sinks: {{alerts: {{file: alerts.jsonl}}}}
state: {{path: {}}}
)",
                                                 Path("state"));
    OperatorRegistry registry;
    RegisterAllOperators(registry);
    Diagnostics diagnostics;
    const std::optional<Config> config = LoadConfig(Path("c.yaml"), registry, diagnostics);
    EXPECT_TRUE(config.has_value()) << diagnostics.Text();
    Rehearsal rehearsal(*config);
    EXPECT_TRUE(rehearsal.Begin(*ParseRfc3339("2024-01-02T00:00:00Z"), {true}).ok());
    for (size_t i = 0; i < events.size(); ++i) {
      const RehearsedRecord record{0, static_cast<int64_t>(i), events[i]};
      EXPECT_TRUE(rehearsal.Feed({&record, 1}).ok());
    }
    StoreOptions options;
    options.path = Path("state");
    options.application = "tests";
    options.shards = 1;
    auto store = Store::Open(options);
    EXPECT_TRUE(store.ok()) << store.status();
    auto shard = MakeShardState(**store, 0);
    NoOutput output;
    Checkpoint checkpoint;
    PipelinePositions positions;
    const EventTimeNs time = *ParseRfc3339(At(watermark));
    shard->BeginFreeze(1);
    const Plan plan = MakePlan(*config);
    for (size_t op = 0; op < config->operators.size(); ++op) {
      const OperatorSpec& spec = *config->operators[op];
      uint64_t reset = 0;
      const uint16_t id = *(*store)->OperatorId(spec.rule().name, spec.semantic_hash(), &reset);
      OperatorRunner runner(spec, *shard, id, plan.operators[op].allowed_lateness, output, output);
      EXPECT_TRUE(runner.Open().ok());
      for (const RehearsedInput& one : rehearsal.inputs()) {
        if (one.op != op) continue;
        Input input;
        input.port = one.port;
        input.time = one.time;
        input.seq = PackSeq(0, one.offset);
        input.key = one.key;
        input.payload = one.payload;
        EXPECT_TRUE(runner.Process({&input, 1}).ok());
      }
      const std::vector<EventTimeNs> ports(spec.inputs().size(), time);
      EXPECT_TRUE(runner.AdvanceWatermark(ports).ok());
      positions.port_watermarks[spec.rule().name] = ports;
      checkpoint.changes.push_back(shard->Freeze(id));
    }
    PipelinePositions::Partition& partition = positions.partitions.emplace_back();
    partition.info.source = "ep";
    partition.info.path = "ep.jsonl";
    checkpoint.meta = {1, EncodePositions(positions)};
    EXPECT_TRUE((*store)->Commit(std::move(checkpoint)).ok());
    return output.alerts;
  }
  int Explain(int second = -1, const std::string& rule = "asked") {
    std::FILE* out = std::fopen(Path("out.txt").c_str(), "w");
    const int status = ExplainRule({.rule = rule,
                                    .config = Path("c.yaml"),
                                    .key = "h",
                                    .time = second < 0 ? "" : At(second),
                                    .state = true},
                                   out);
    std::fclose(out);
    std::ostringstream text;
    text << std::ifstream(Path("out.txt")).rdbuf();
    out_ = text.str();
    return status;
  }
  static std::string Rule(const std::string& type, const std::string& condition,
                          const std::string& more = "") {
    return fmt::format(
        "{{type: {}, rules: [any], group-by: [host], timespan: 60s, condition: {{{}}}{}}}", type,
        condition, more.empty() ? "" : ", bongsu: {" + more + "}");
  }

  fs::path folder_;
  std::string out_;
};

// They keep one list more than others do.
TEST_F(ExplainStateTest, IncidentsOfMeasuredValuesAreFound) {
  const std::vector<std::string> events = {Event(0, 40), Event(1, 50), Event(2, 60)};
  EXPECT_EQ(Service(Rule("event_count", "gte: 3"), events, 30), 1);
  EXPECT_EQ(Explain(), 0) << out_;
  EXPECT_EQ(Service(Rule("value_count", "field: Bytes, gte: 3"), events, 30), 1);
  EXPECT_EQ(Explain(), 0) << out_;
  EXPECT_THAT(out_, StartsWith("'Asked' fired for key 'h': 3 events"));
  EXPECT_EQ(Service(Rule("value_sum", "field: Bytes, gte: 150"), events, 30), 1);
  EXPECT_EQ(Explain(), 0) << out_;
  EXPECT_THAT(out_, StartsWith("'Asked' fired for key 'h': 3 events from 2024-01-01T00:00:00"));
}

// Their groups stand behind the windows; the state has none of an incident that is over.
TEST_F(ExplainStateTest, TiledMeasuresOfValuesAreRead) {
  const std::vector<std::string> events = {Event(0, 40), Event(1, 50), Event(2, 60)};
  for (const char* type : {"value_count", "value_sum"}) {
    const std::string suppress = "window: tumbling, suppress: 1h";
    EXPECT_EQ(Service(Rule(type, "field: Bytes, gte: 3", suppress), events, 30), 0);
    EXPECT_EQ(Explain(), 1) << out_;
    EXPECT_THAT(out_, HasSubstr("step 'any' (of ep): seen, 3 events of the key"));
    EXPECT_EQ(Service(Rule(type, "field: Bytes, gte: 3", suppress), events, 61), 1);
    Explain();
    EXPECT_THAT(out_, HasSubstr("step 'any' (of ep): seen, 3 events of the key"));
    EXPECT_THAT(out_, Not(HasSubstr("rows could not be read")));
  }
}

// The alerts are out and the state knows nothing of them.
TEST_F(ExplainStateTest, WhatIsOverCannotBeSaid) {
  const std::vector<std::string> events = {Event(0, 40), Event(1, 50), Event(2, 60)};
  for (const char* more : {"window: tumbling", "window: session", "reset: true"}) {
    SCOPED_TRACE(more);
    EXPECT_EQ(Service(Rule("event_count", "gte: 3", more), events, 70), 1);
    EXPECT_EQ(Explain(), 2) << out_;
    EXPECT_THAT(out_, StartsWith("'Asked' cannot be said for key 'h' at 2024-01-01T00:00:02"));
    EXPECT_EQ(Explain(1), 2) << out_;
    // Nothing is over yet.
    EXPECT_EQ(Service(Rule("event_count", "gte: 4", more), events, 1), 0);
    EXPECT_EQ(Explain(), 1) << out_;
    EXPECT_THAT(out_, HasSubstr("at most 3 events"));
  }
  // The window is open; the state is all there is.
  EXPECT_EQ(Service(Rule("event_count", "gte: 3", "window: tumbling"), events, 30), 0);
  EXPECT_EQ(Explain(), 1) << out_;
  EXPECT_THAT(out_, HasSubstr("the window is open"));
  // A sliding window's incident is in the state until a timespan behind it.
  EXPECT_EQ(Service(Rule("event_count", "gte: 4"), events, 30), 0);
  EXPECT_EQ(Explain(), 1) << out_;
  EXPECT_EQ(Service(Rule("event_count", "gte: 3"), events, 70), 1);
  EXPECT_EQ(Explain(), 2) << out_;
  // An asked time behind which everything is let go.
  EXPECT_EQ(Service(Rule("event_count", "gte: 4"), {Event(0, 1), Event(600, 1)}, 600), 0);
  EXPECT_EQ(Explain(0), 2) << out_;
  EXPECT_EQ(Explain(600), 1) << out_;
  // A join's left events are there as long as they can have partners.
  EXPECT_EQ(Service(Rule("event_count", "gte: 4"), {Event(0, 1), Event(1, 1, 2)}, 30), 1);
  EXPECT_EQ(Explain(-1, "join"), 0) << out_;
  EXPECT_EQ(Service(Rule("event_count", "gte: 4"), {Event(0, 1), Event(20, 1)}, 30), 0);
  EXPECT_EQ(Explain(-1, "join"), 1) << out_;
}

// Windows that were found on arrival are known by their ends, not by their first events.
TEST_F(ExplainStateTest, FoundWindowsHaveNoWrongBegin) {
  EXPECT_EQ(Service(Rule("event_count", "gte: 3"), {Event(0, 1), Event(20, 1), Event(40, 1)}, 30),
            1);
  EXPECT_EQ(Explain(), 0);
  EXPECT_THAT(out_, StartsWith("'Asked' fired for key 'h': 3 events up to 2024-01-01T00:00:40"));
}

}  // namespace
}  // namespace bongsu
