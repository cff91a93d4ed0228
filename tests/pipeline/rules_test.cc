// Sigma detections in the running pipeline: files and rules in, alerts out.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "operators/registry.h"
#include "pipeline/config.h"
#include "pipeline/config_rules.h"
#include "pipeline/decode_task.h"
#include "pipeline/service.h"
#include "tests/conformance/ocsf_validator.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

constexpr char kRules[] = R"(
title: A shell starts
id: 11111111-2222-4333-8444-555555555555
status: test
description: A command shell was started.
author: One, Two
license: DRL-1.1
references: [https://example.org/shell]
date: 2026-01-31
level: high
tags: [attack.execution, attack.t1059.003, car.2013-02-003]
falsepositives: [Administrators]
fields: [ParentImage]
runbook: {team: blue, hours: 8}
logsource: {product: windows, category: process_creation}
detection:
  sel: {Image|endswith: '\cmd.exe'}
  condition: sel
---
title: Any logon
name: logon
logsource: {product: windows, service: security}
detection: {sel: {EventID: 4624}, condition: sel}
---
title: Linux
logsource: {product: linux}
detection: {sel: {EventID: 1}, condition: sel}
---
title: Service accounts log on
logsource: {product: windows}
filter: {rules: [logon], sel: {User|startswith: svc_}, condition: not sel}
)";

class DecodeClock final : public Clock {
 public:
  int64_t NowNs() const override { return 1'767'225'660'000'000'000; }
  int64_t MonotonicNs() const override { return 0; }
  void Sleep(DurationNs) const override {}
};

class RulesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("bongsu-rules-test-{}", getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    Write("rules.yml", kRules);
  }
  void TearDown() override { fs::remove_all(folder_); }
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }

  static std::string Event(int id, const std::string& channel, const std::string& more,
                           const std::string& time = "2026-01-01T00:00:00Z") {
    return fmt::format(R"({{"@timestamp":"{}","Channel":"{}","EventID":{}{}}})", time, channel, id,
                       more) +
           "\n";
  }
  static std::string Shell(const std::string& time = "2026-01-01T00:00:00Z") {
    return Event(
        1, "Microsoft-Windows-Sysmon/Operational",
        R"(,"UtcTime":"x","Image":"C:\\Windows\\cmd.exe","ParentImage":"a","Hostname":"h1")", time);
  }

  std::optional<Config> Parse(const std::string& format, int threads = 2) const {
    OperatorRegistry registry;
    RegisterAllOperators(registry);
    Diagnostics diagnostics;
    auto config = ParseConfig(
        fmt::format("application: rules-test\nthreads: {}\nrules: rules.yml\nsources:\n  - {{name: "
                    "win, files: ['win*.jsonl'], format: sysmon-nxlog, tenant: acme}}\n"
                    "sinks: {{alerts: {{file: alerts.jsonl, format: {}}}}}\n",
                    threads, format),
        (folder_ / "c.yaml").string(), registry, diagnostics);
    EXPECT_TRUE(config.has_value()) << diagnostics.Text();
    return config;
  }
  absl::Status Run(const std::string& format, int threads = 2) {
    const auto config = Parse(format, threads);
    if (!config.has_value()) return absl::InvalidArgumentError("the configuration");
    text_ = RulesText(*config);
    Service service(*config);
    absl::Status status = service.Open(Service::Mode::kRun);
    if (!status.ok()) return status;
    const std::atomic<bool> stop = false;
    status = service.Run(stop, /*progress=*/false);
    report_ = json::parse(ReportJson(service.Report()));
    return status;
  }
  // The alerts of one record as a worker decodes it; what is counted goes to counters_.
  std::vector<json> Decode(const Config& config, std::string_view bytes, int64_t timestamp_ms) {
    PartitionTable partitions;
    EXPECT_TRUE(partitions.Add({.source = "win", .topic = "win", .identity = "win"}).ok());
    const DecodeClock clock;
    const Plan plan = MakePlan(config);
    NewestTimes newest;
    DecodeTask task(config, plan, partitions, clock, /*hash_seed=*/1, /*shards=*/1, newest);
    Batch batch;
    batch.records.push_back({.bytes = bytes, .timestamp_ms = timestamp_ms});
    ExchangeSlot slot(/*writers=*/1, /*threads=*/1);
    SlotInputs inputs(slot, 0);
    OutputChunk outputs;
    LiveCounters live;
    counters_ = RunCounters(1, {}, config.rules->entries.size());
    largest_ = 0;
    task.Run(batch, inputs, slot, outputs, counters_, live);
    std::vector<json> alerts;
    std::string_view rest = outputs.bytes;
    for (const OutputChunk::Entry& entry : outputs.entries) {
      rest.remove_prefix(entry.key_bytes);
      if (entry.stream == Stream::kAlerts) {
        largest_ = std::max(largest_, size_t{entry.value_bytes});
        alerts.push_back(json::parse(rest.substr(0, entry.value_bytes)));
      }
      rest.remove_prefix(entry.value_bytes);
    }
    return alerts;
  }
  std::vector<json> Alerts() const {
    std::vector<json> alerts;
    std::ifstream in(folder_ / "alerts.jsonl");
    for (std::string line; std::getline(in, line);) alerts.push_back(json::parse(line));
    return alerts;
  }
  json Rule(const std::string& name) const {
    for (const json& rule : report_["rules"]["active"]) {
      if (rule["rule"] == name) return rule;
    }
    return json::object();
  }

  fs::path folder_;
  json report_;
  std::string text_;
  RunCounters counters_;
  size_t largest_ = 0;
};

TEST_F(RulesTest, ADetectionBecomesAnAlertByItself) {
  Write("win.jsonl", Shell() + Event(1, "Security", R"(,"Image":"C:\\cmd.exe")"));
  const absl::Status status = Run("ocsf");
  ASSERT_TRUE(status.ok()) << std::string(status.message());
  const std::vector<json> alerts = Alerts();
  ASSERT_EQ(alerts.size(), 1u);
  const json& alert = alerts[0];
  EXPECT_EQ(alert["class_uid"], 2004);
  EXPECT_EQ(alert["activity_id"], 1);
  EXPECT_EQ(alert["severity"], "High");
  EXPECT_EQ(alert["finding_info"]["title"], "A shell starts");
  EXPECT_EQ(alert["finding_info"]["analytic"]["uid"], "11111111-2222-4333-8444-555555555555");
  EXPECT_EQ(alert["finding_info"]["analytic"]["version"].get<std::string>().size(), 64u);
  EXPECT_EQ(alert["finding_info"]["attacks"][0]["tactic"]["uid"], "TA0002");
  EXPECT_EQ(alert["finding_info"]["attacks"][0]["sub_technique"]["uid"], "T1059.003");
  EXPECT_EQ(alert["finding_info"]["data_sources"], json::array({"win"}));
  EXPECT_EQ(alert["metadata"]["labels"], json::array({"car.2013-02-003"}));
  EXPECT_EQ(alert["metadata"]["tenant_uid"], "acme");
  ASSERT_EQ(alert["evidences"].size(), 1u);
  EXPECT_EQ(alert["evidences"][0]["data"]["offset"], 0);
  const json& fields = alert["evidences"][0]["data"]["fields"];
  EXPECT_EQ(fields["Image"], "C:\\Windows\\cmd.exe");
  EXPECT_EQ(fields["ParentImage"], "a");
  EXPECT_EQ(alert["evidences"][0]["device"]["hostname"], "h1");
  const json& sigma = alert["unmapped"]["sigma"];
  EXPECT_EQ(sigma["author"], "One, Two");
  EXPECT_EQ(sigma["license"], "DRL-1.1");
  EXPECT_EQ(sigma["references"], json::array({"https://example.org/shell"}));
  EXPECT_EQ(sigma["falsepositives"], json::array({"Administrators"}));
  EXPECT_EQ(sigma["custom"], json::parse(R"({"runbook":{"team":"blue","hours":8}})"));
  EXPECT_FALSE(alert["unmapped"].contains("time_from"));
  EXPECT_FALSE(alert["unmapped"].contains("key"));
  EXPECT_EQ(Rule("11111111-2222-4333-8444-555555555555")["matches"], 1);
  EXPECT_EQ(Rule("11111111-2222-4333-8444-555555555555")["incidents"], 1);
  EXPECT_EQ(report_["rules"]["detections"], 3);
  EXPECT_EQ(report_["rules"]["bound_nowhere"], 1);
  EXPECT_THAT(text_, HasSubstr("1 rules can never fire"));
  EXPECT_THAT(text_, HasSubstr("linux / - / -"));
  const std::string path = testing::SharedOcsfSchemaPath();
  if (path.empty()) GTEST_SKIP() << "BONGSU_SHARED is not set: no OCSF schema to check against";
  const auto schema = testing::OcsfSchema::Load(path);
  ASSERT_TRUE(schema.ok());
  EXPECT_THAT(schema->Validate(alert.dump()), ::testing::IsEmpty()) << alert.dump(2);
}

TEST_F(RulesTest, NativeAlertsCarryTheRuleToo) {
  Write("win.jsonl", Shell());
  ASSERT_TRUE(Run("native").ok());
  const std::vector<json> alerts = Alerts();
  ASSERT_EQ(alerts.size(), 1u);
  EXPECT_EQ(alerts[0]["rule"], "11111111-2222-4333-8444-555555555555");
  EXPECT_EQ(alerts[0]["level"], "high");
  EXPECT_EQ(alerts[0]["sigma"]["author"], "One, Two");
  EXPECT_EQ(alerts[0]["count"], 1);
  EXPECT_EQ(alerts[0]["evidence"][0]["fields"]["Image"], "C:\\Windows\\cmd.exe");
}

TEST_F(RulesTest, AnAlertNamesTheConditionOfAList) {
  Write("rules.yml",
        "title: List\nname: list\nlogsource: {product: windows}\n"
        "detection: {a: {EventID: 1}, b: {EventID: 2}, condition: [a and not b, b]}\n");
  Write("win.jsonl", Event(1, "Security", "") + Event(2, "Security", ""));
  for (const char* format : {"native", "ocsf"}) {
    std::filesystem::remove(folder_ / "alerts.jsonl");
    std::filesystem::remove_all(folder_ / ".bongsu");
    ASSERT_TRUE(Run(format).ok());
    std::vector<std::string> conditions;
    for (const json& alert : Alerts()) {
      const json& place = alert.contains("unmapped") ? alert["unmapped"] : alert;
      conditions.push_back(place.value("condition", ""));
      if (!alert.contains("unmapped")) continue;
      EXPECT_THAT(alert["finding_info"]["desc"].get<std::string>(),
                  HasSubstr("'" + conditions.back() + "'"));
    }
    EXPECT_THAT(conditions, ::testing::ElementsAre("a and not b", "b")) << format;
  }
}

TEST_F(RulesTest, TimeGatesOperatorsOnly) {
  // No usable time, and one that lies in the future: both are set aside, and both are matched.
  Write("win.jsonl", Shell("yesterday") + Shell("2100-01-01T00:00:00Z"));
  ASSERT_TRUE(Run("ocsf").ok());
  const std::vector<json> alerts = Alerts();
  ASSERT_EQ(alerts.size(), 2u);
  std::set<std::string> from;
  for (const json& alert : alerts) from.insert(alert["unmapped"]["time_from"]);
  EXPECT_EQ(from, (std::set<std::string>{"wall_clock", "future"}));
  EXPECT_EQ(report_["sources"][0]["dead_letters"]["no_time"], 1);
  EXPECT_EQ(report_["sources"][0]["future"], 1);
}

// A producer may stamp its records with any number.
TEST_F(RulesTest, AStampThatIsNoTimeIsNone) {
  const auto config = Parse("ocsf");
  ASSERT_TRUE(config.has_value());
  const std::string record = Shell("yesterday");
  const std::pair<int64_t, const char*> cases[] = {{-1, "wall_clock"},
                                                   {1'767'225'600'123, "record"},
                                                   {kMaxEventTime / kMillisecondNs, "record"},
                                                   {10'000'000'000'000, "wall_clock"},
                                                   {kMaxEventTime, "wall_clock"}};
  for (const auto& [timestamp_ms, from] : cases) {
    const std::vector<json> alerts = Decode(*config, record, timestamp_ms);
    ASSERT_EQ(alerts.size(), 1u);
    EXPECT_EQ(alerts[0]["unmapped"]["time_from"], from) << timestamp_ms;
    const int64_t ms =
        from == std::string("record") ? timestamp_ms : DecodeClock().NowNs() / 1'000'000;
    EXPECT_EQ(alerts[0]["time"], ms) << timestamp_ms;
  }
}

// Who sends the event chooses how large its fields are: the alert goes out, whatever they hold.
TEST_F(RulesTest, AnEventTooLargeForAnAlertGivesOneAllTheSame) {
  for (const std::string format : {"ocsf", "native"}) {
    auto config = Parse(format);
    ASSERT_TRUE(config.has_value());
    config->alerts.topic = "alerts";
    std::string members;
    for (int i = 0; i < 63; ++i)
      members += (i == 0 ? "\"" : ",\"") + std::string(8192, '\x7f') + "\"";  // six times as long
    const std::string record =
        Event(1, "Microsoft-Windows-Sysmon/Operational",
              R"(,"UtcTime":"x","Image":"C:\\Windows\\cmd.exe","ParentImage":[)" + members + "]");
    EXPECT_GT(record.size(), 516'000u);
    const std::vector<json> alerts = Decode(*config, record, -1);
    ASSERT_EQ(alerts.size(), 1u);
    EXPECT_LE(largest_, OutputBytesMax(*config, config->alerts)) << format;
    const json& data =
        format == "ocsf" ? alerts[0]["evidences"][0]["data"] : alerts[0]["evidence"][0];
    EXPECT_EQ(data["cut_fields"], json({"ParentImage"}));
    EXPECT_EQ(data["fields"]["Image"], "C:\\Windows\\cmd.exe");
    EXPECT_EQ(data["fields"]["ParentImage"][0], std::string(8192, '\x7f'));
    EXPECT_EQ(counters_.rules[0].alerts_cut, 1u);
    EXPECT_EQ(counters_.rules[0].fields_cut, 0u);
  }
}

TEST_F(RulesTest, ValuesThatAreCutAreCounted) {
  Write("win.jsonl",
        Event(1, "Microsoft-Windows-Sysmon/Operational",
              R"(,"Image":"C:\\cmd.exe","ParentImage":")" + std::string(9000, 'x') + "\""));
  ASSERT_TRUE(Run("native").ok());
  EXPECT_EQ(Alerts().at(0)["evidence"][0]["cut_fields"], json({"ParentImage"}));
  EXPECT_EQ(Rule("11111111-2222-4333-8444-555555555555")["fields_cut"], 1);
  EXPECT_EQ(Rule("11111111-2222-4333-8444-555555555555")["alerts_cut"], 0);
}

TEST_F(RulesTest, FiltersAreCounted) {
  Write("win.jsonl", Event(4624, "Security", R"(,"User":"svc_x")") +
                         Event(4624, "Security", R"(,"User":"joe")"));
  ASSERT_TRUE(Run("ocsf").ok());
  EXPECT_EQ(Alerts().size(), 1u);
  EXPECT_EQ(Rule("logon")["matches"], 1);
  EXPECT_EQ(Rule("logon")["filtered"], 1);
  EXPECT_EQ(Rule("Service accounts log on")["filtered"], 1);
  EXPECT_THAT(text_, HasSubstr("keeps only what its condition finds, in 1 rules"));
}

TEST_F(RulesTest, IdsAreTheSameInEveryRunAndDifferByRuleAndPlace) {
  std::string events;
  for (int i = 0; i < 3000; ++i) events += i % 3 == 0 ? Shell() : Event(4624, "Security", "");
  Write("win1.jsonl", events);
  Write("win2.jsonl", events);
  std::multiset<std::string> first;
  for (const int threads : {1, 2, 4}) {
    fs::remove_all(folder_ / ".bongsu");
    for (const char* name : {"alerts.jsonl", "alerts.late.jsonl", "alerts.dead-letter.jsonl"})
      fs::remove(folder_ / name);
    ASSERT_TRUE(Run("native", threads).ok());
    std::multiset<std::string> ids;
    for (const json& alert : Alerts()) ids.insert(alert["id"].get<std::string>());
    EXPECT_EQ(ids.size(), 6000u);
    EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), 6000u);
    if (threads == 1) first = ids;
    EXPECT_EQ(ids, first);
  }
  // Behind the end there is nothing to add.
  ASSERT_TRUE(Run("native").ok());
  EXPECT_EQ(Alerts().size(), 6000u);
}

}  // namespace
}  // namespace bongsu
