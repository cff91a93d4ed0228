// Sigma correlations in the running pipeline: files and rules in, incidents out.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "operators/registry.h"
#include "pipeline/config.h"
#include "pipeline/config_rules.h"
#include "pipeline/service.h"
#include "tests/conformance/ocsf_validator.h"
#include "tests/testing/sanitized.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr char kDetection[] = R"(
title: A logon fails
name: fails
level: low
logsource: {product: windows}
detection: {sel: {EventID: 4625}, condition: sel}
---
)";

class CorrelationRulesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("bongsu-correlation-test-{}", getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "rules");
  }
  void TearDown() override { fs::remove_all(folder_); }

  void Rules(const std::string& correlations) const {
    std::ofstream(folder_ / "rules" / "r.yml") << kDetection << correlations;
  }
  // One failed logon for each {seconds, user, host}; a negative time: the year 2099.
  void Logons(const std::vector<std::tuple<double, std::string, std::string>>& logons) const {
    std::ofstream out(folder_ / "win.jsonl");
    for (const auto& [seconds, user, host] : logons) {
      const int whole = static_cast<int>(seconds);
      const int ms = static_cast<int>((seconds - whole) * 1000 + 0.5);
      const std::string time = seconds < 0
                                   ? "2099-01-01T00:00:00Z"
                                   : fmt::format("2026-01-01T{:02}:{:02}:{:02}.{:03}Z",
                                                 whole / 3600, whole / 60 % 60, whole % 60, ms);
      out << fmt::format(R"({{"@timestamp":"{}","EventID":4625,"Channel":"Security",)"
                         R"("TargetUserName":"{}","Hostname":"{}"}})"
                         "\n",
                         time, user, host);
    }
  }

  absl::Status Run(const std::string& format = "native", int threads = 2) {
    OperatorRegistry registry;
    RegisterAllOperators(registry);
    Diagnostics diagnostics;
    const auto config = ParseConfig(
        fmt::format("application: correlation-test\nthreads: {}\nrules: [rules]\nsources:\n"
                    "  - {{name: win, files: ['win.jsonl'], format: sysmon-nxlog}}\n"
                    "sinks: {{alerts: {{file: alerts.jsonl, format: {}}}}}\n",
                    threads, format),
        (folder_ / "c.yaml").string(), registry, diagnostics);
    messages_ = diagnostics.Text();
    if (!config.has_value()) return absl::InvalidArgumentError(messages_);
    Service service(*config);
    absl::Status status = service.Open(Service::Mode::kRun);
    if (!status.ok()) return status;
    const std::atomic<bool> stop = false;
    status = service.Run(stop, /*progress=*/false);
    report_ = json::parse(ReportJson(service.Report()));
    alerts_.clear();
    std::ifstream in(folder_ / "alerts.jsonl");
    for (std::string line; std::getline(in, line);) alerts_.push_back(json::parse(line));
    return status;
  }

  fs::path folder_;
  json report_;
  std::string messages_;
  std::vector<json> alerts_;
};

constexpr char kBruteForce[] = R"(
title: Many logons fail
id: 11111111-2222-4333-8444-555555555501
level: high
tags: [attack.credential-access, attack.t1110]
correlation:
  {type: event_count, rules: [fails], group-by: [TargetUserName],
   timespan: 10s, condition: {gte: 3}}
)";

TEST_F(CorrelationRulesTest, EventCountWritesAnIncidentAndItsBaseIsMute) {
  Rules(kBruteForce);
  Logons({{0, "joe", "h1"}, {1, "ann", "h1"}, {5, "JOE", "h2"}, {9.9, "joe", "h3"}});
  const absl::Status status = Run("ocsf");
  ASSERT_TRUE(status.ok()) << std::string(status.message());
  ASSERT_EQ(alerts_.size(), 1u);
  const json& alert = alerts_[0];
  EXPECT_EQ(alert["finding_info"]["title"], "Many logons fail");
  EXPECT_EQ(alert["severity"], "High");
  EXPECT_EQ(alert["count"], 3);
  EXPECT_EQ(alert["unmapped"]["key"], "joe");
  EXPECT_EQ(alert["unmapped"]["value"], 3);
  EXPECT_EQ(alert["unmapped"]["threshold"], "gte 3");
  EXPECT_EQ(alert["evidences"].size(), 3u);
  EXPECT_EQ(alert["evidences"][0]["data"]["fields"]["TargetUserName"], "joe");
  EXPECT_THAT(alert["message"].get<std::string>(),
              HasSubstr("3 events with the same TargetUserName (joe): event_count is 3"));
  if (const std::string path = testing::SharedOcsfSchemaPath(); !path.empty()) {
    const auto schema = testing::OcsfSchema::Load(path);
    ASSERT_TRUE(schema.ok());
    EXPECT_THAT(schema->Validate(alert.dump()), ::testing::IsEmpty()) << alert.dump(2);
  }
}

// A copy of a rule under another id is another rule: readers fold by the incident's id.
TEST_F(CorrelationRulesTest, TwoRulesOfOneMeaningHaveIncidentsOfTheirOwn) {
  Rules(R"(
title: The same
name: same
logsource: {product: windows}
detection: {sel: {EventID: 4625}, condition: sel}
)");
  Logons({{0, "joe", "h1"}});
  ASSERT_TRUE(Run().ok());
  ASSERT_EQ(alerts_.size(), 2u);
  EXPECT_NE(alerts_[0]["id"], alerts_[1]["id"]);
  EXPECT_EQ(alerts_[0]["sigma"]["hash"], alerts_[1]["sigma"]["hash"]);
}

TEST_F(CorrelationRulesTest, GenerateLetsTheBaseRuleMakeItsAlerts) {
  Rules(R"(
title: Many
name: many
correlation:
  type: event_count
  rules: [fails]
  group-by: [TargetUserName]
  timespan: 10s
  condition: {gte: 3}
  generate: true
)");
  Logons({{0, "joe", "h1"}, {5, "joe", "h2"}, {9, "joe", "h3"}});
  ASSERT_TRUE(Run().ok());
  EXPECT_EQ(alerts_.size(), 4u);
}

// Counted by user, and then by host, which the inner correlation does not group by.
TEST_F(CorrelationRulesTest, OuterGroupByUsesAFieldThatTheInnerLacks) {
  Rules(R"(
title: Many
name: many
correlation:
  {type: event_count, rules: [fails], group-by: [TargetUserName],
   timespan: 10s, condition: {gte: 2}}
---
title: On one host
name: on_one_host
correlation:
  {type: event_count, rules: [many], group-by: [Hostname], timespan: 1m, condition: {gte: 2}}
---
title: Users
name: users
correlation:
  {type: value_count, rules: [many], timespan: 1m,
   condition: {gte: 3, field: TargetUserName}}
)");
  Logons({{0, "joe", "h1"},
          {1, "joe", "h2"},
          {20, "ann", "h2"},
          {21, "ann", "h3"},
          {30, "eve", "h4"},
          {31, "eve", "h5"}});
  for (const int threads : {1, 3}) {
    fs::remove_all(folder_ / ".bongsu");
    for (const char* name : {"alerts.jsonl", "alerts.late.jsonl", "alerts.dead-letter.jsonl"})
      fs::remove(folder_ / name);
    const absl::Status status = Run("native", threads);
    ASSERT_TRUE(status.ok()) << std::string(status.message());
    std::map<std::string, json> by_rule;
    for (const json& alert : alerts_) by_rule[alert["rule"]] = alert;
    ASSERT_EQ(by_rule.size(), 2u) << json(alerts_).dump(2);
    EXPECT_EQ(by_rule["on_one_host"]["key"], "h2");
    EXPECT_EQ(by_rule["users"]["value"], 3);
    EXPECT_EQ(by_rule["users"]["key"], "");
  }
}

// The last logon completes a result for its user and one for its host, both with one anchor.
TEST_F(CorrelationRulesTest, ResultsOfOneAnchorAndTimeAreTwo) {
  Rules(R"(
title: By user
name: by_user
correlation:
  {type: event_count, rules: [fails], group-by: [TargetUserName],
   timespan: 10s, condition: {gte: 3}}
---
title: By host
name: by_host
correlation:
  {type: event_count, rules: [fails], group-by: [Hostname],
   timespan: 10s, condition: {gte: 3}}
---
title: Both
name: both
correlation:
  {type: event_count, rules: [by_user, by_host], timespan: 1m, condition: {gte: 2}}
)");
  Logons({{0, "joe", "h1"}, {1, "joe", "h1"}, {2, "joe", "h1"}});
  ASSERT_TRUE(Run().ok());
  ASSERT_EQ(alerts_.size(), 1u) << json(alerts_).dump(2);
  EXPECT_EQ(alerts_[0]["rule"], "both");
  EXPECT_EQ(alerts_[0]["value"], 2);
  // Each is evidence, at the place of its anchor.
  ASSERT_EQ(alerts_[0]["evidence"].size(), 2u) << alerts_[0].dump(2);
  EXPECT_EQ(alerts_[0]["evidence"][0]["offset"], alerts_[0]["evidence"][1]["offset"]);
}

// A brute force that goes on for longer than the timespan above: joe's from 0 to 60 s, hosts h0 to
// h60; ann's ends at 12 s. joe is on another host at 45 s, and both are at 75 s.
// Nothing came, and of nothing there is no place.
TEST_F(CorrelationRulesTest, AResultWithoutEventsNamesNoRecord) {
  for (const char* format : {"native", "ocsf"}) {
    SetUp();
    Rules(R"(
title: Silence
name: silence
correlation: {type: event_count, rules: [fails], timespan: 10s, condition: {eq: 0}}
---
title: Silence and a logon
name: outer
correlation: {type: temporal, rules: [silence, fails], timespan: 20s}
)");
    Logons({{0, "joe", "h"}, {25, "joe", "h"}, {200, "joe", "h"}});
    const absl::Status status = Run(format);
    ASSERT_TRUE(status.ok()) << status;
    bool seen = false;
    for (const json& alert : alerts_) {
      const bool native = format == std::string_view("native");
      const json& list = native ? alert["evidence"] : alert["evidences"];
      for (const json& one : list) {
        const json& place = native ? one : one["data"];
        if (place["input"] != "silence") continue;
        seen = true;
        EXPECT_TRUE(place["source"].is_null()) << place;
        EXPECT_FALSE(place.contains("offset")) << place;
        if (!native) {
          EXPECT_EQ(one["uid"], "none");
        }
      }
    }
    EXPECT_TRUE(seen) << format;
  }
}

class ChainTest : public CorrelationRulesTest {
 protected:
  void Run(const std::string& outer, const std::string& format = "native") {
    SetUp();
    Rules(R"(
title: Another host
name: other
logsource: {product: windows}
detection: {sel: {EventID: 4625, Hostname: other}, condition: sel}
---
title: Many
name: many
correlation:
  {type: event_count, rules: [fails], group-by: [TargetUserName],
   timespan: 10s, condition: {gte: 5}}
---
title: Outer
name: outer
correlation:
)" + outer);
    std::vector<std::tuple<double, std::string, std::string>> logons;
    for (int s = 0; s <= 60; ++s) {
      logons.emplace_back(s, "joe", fmt::format("h{}", s));
      if (s <= 12) logons.emplace_back(s + 0.25, "ann", fmt::format("h{}", s));
    }
    logons.emplace_back(45, "joe", "other");
    for (const char* user : {"joe", "ann"}) logons.emplace_back(75, user, "other");
    Logons(logons);
    const absl::Status status = CorrelationRulesTest::Run(format);
    ASSERT_TRUE(status.ok()) << status;
    std::erase_if(alerts_,
                  [](const json& alert) { return alert.value("rule", "outer") != "outer"; });
  }
  std::vector<std::string> Keys() const {
    std::vector<std::string> keys;
    for (const json& alert : alerts_) {
      if (alert["activity"] == "create") keys.push_back(alert["key"]);
    }
    return keys;
  }
};

// Late events and all: level 0 of a chain may be batches ahead of the levels above.
TEST_F(CorrelationRulesTest, AChainIsTheSameWithAnyNumberOfThreads) {
  const char* const rules = R"(
title: Another host
name: other
logsource: {product: windows}
detection: {sel: {EventID: 4625, Hostname: h1}, condition: sel}
---
title: Many
name: many
correlation:
  {type: event_count, rules: [fails], group-by: [TargetUserName],
   timespan: 10s, condition: {gte: 3}}
---
title: Outer
name: outer
correlation:
  {type: temporal_ordered, rules: [many, other], group-by: [TargetUserName], timespan: 20s}
)";
  std::mt19937 random(7);
  std::vector<std::tuple<double, std::string, std::string>> logons;
  for (int i = 0; i < Fewer(200'000); ++i) {
    const int late = random() % 5 == 0 ? static_cast<int>(random() % 120) : 0;
    logons.emplace_back(200 + i / 100.0 - late, fmt::format("u{}", random() % 3000),
                        fmt::format("h{}", random() % 10));
  }
  std::vector<std::string> expected;
  for (const int threads : {1, 4, 7}) {
    SetUp();
    Rules(rules);
    Logons(logons);
    ASSERT_TRUE(Run("native", threads).ok());
    std::vector<std::string> outcome;
    for (const json& alert : alerts_) outcome.push_back(alert.dump());
    for (const json& op : report_["operators"])
      outcome.push_back(fmt::format("{} late {}", op["name"].dump(), op["late"].dump()));
    std::sort(outcome.begin(), outcome.end());
    if (expected.empty()) expected = outcome;
    for (size_t i = 0; i < std::min(outcome.size(), expected.size()); ++i)
      ASSERT_EQ(outcome[i], expected[i]) << threads << " threads";
    ASSERT_EQ(outcome.size(), expected.size()) << threads << " threads";
  }
  EXPECT_GT(alerts_.size(), 0u);
}

TEST_F(ChainTest, AnEpisodeIsSeenAboveAtItsEnd) {
  for (const char* type : {"temporal", "temporal_ordered"}) {
    const std::string outer = fmt::format(
        "  {{type: {}, rules: [many, other], group-by: [TargetUserName], timespan: 20s,"
        " bongsu: {{emit: watermark}}}}\n",
        type);
    Run(outer);
    EXPECT_THAT(Keys(), ElementsAre("joe")) << type;
    EXPECT_EQ(alerts_.back()["last_time"], "2026-01-01T00:01:15.000000000Z") << type;
    Run(outer, "ocsf");
    EXPECT_THAT(alerts_[0]["message"].get<std::string>(), HasSubstr("Many, Another host"));
  }
}

TEST_F(ChainTest, AnEpisodeThatGoesOnIsNotAbsent) {
  static constexpr char outer[] =
      "  {{type: temporal, group-by: [{}], timespan: 20s, condition: {} and not many}}\n";
  Run(fmt::format(outer, "TargetUserName", "other"));
  EXPECT_THAT(Keys(), UnorderedElementsAre("joe", "ann"));  // at 75 s
  for (const json& alert : alerts_)
    EXPECT_EQ(alert["first_time"], "2026-01-01T00:01:15.000000000Z");
  Run(fmt::format(outer, "Hostname", "fails"));
  EXPECT_THAT(Keys(), ElementsAre("other"));  // at 75 s
}

TEST_F(ChainTest, CountsAreOfIncidentsAndDistinctValuesOfThoseThatGoOn) {
  Run("  {type: event_count, rules: [many], group-by: [], timespan: 100s, condition: {gte: 3}}\n");
  EXPECT_THAT(Keys(), IsEmpty());
  Run("  {type: event_count, rules: [many], group-by: [], timespan: 100s, condition: {gte: 2}}\n");
  EXPECT_THAT(Keys(), SizeIs(1));
  EXPECT_EQ(alerts_[0]["count"], 2);
  // Twenty hosts within twenty seconds: those of events behind the first window.
  Run("  {type: value_count, rules: [many], group-by: [TargetUserName], timespan: 20s,"
      " condition: {field: Hostname, gte: 20}}\n");
  EXPECT_THAT(Keys(), ElementsAre("joe"));
}

// One bad clock among three real events does not empty the window.
TEST_F(CorrelationRulesTest, AnEventFromTheFutureDoesNotHideTheOthers) {
  Rules(kBruteForce);
  Logons({{0, "joe", "h1"}, {-1, "joe", "h1"}, {5, "joe", "h2"}, {9, "joe", "h3"}});
  ASSERT_TRUE(Run().ok());
  ASSERT_EQ(alerts_.size(), 1u);
  EXPECT_EQ(alerts_[0]["count"], 3);
  EXPECT_EQ(report_["sources"][0]["future"], 1);
}

TEST_F(CorrelationRulesTest, AMissingGroupFieldIsCounted) {
  Rules(R"(
title: Many
name: many
correlation:
  {type: event_count, rules: [fails], group-by: [NoSuchField], timespan: 10s, condition: {gte: 1}}
)");
  Logons({{0, "joe", "h1"}, {1, "joe", "h1"}});
  ASSERT_TRUE(Run().ok());
  EXPECT_TRUE(alerts_.empty());
  EXPECT_THAT(report_.dump(), HasSubstr("\"key_missing\":2"));
}

TEST_F(CorrelationRulesTest, MistakesOfTheExtensionsHaveTheirPlace) {
  Rules(R"(
title: Many
name: many
correlation:
  type: event_count
  rules: [fails]
  timespan: 10s
  condition: {lt: 3}
  bongsu: {emit: early, evidenc_max: 3}
)");
  Logons({{0, "joe", "h1"}});
  ASSERT_TRUE(Run().ok());
  EXPECT_THAT(messages_, HasSubstr("r.yml:16:"));
  EXPECT_THAT(messages_, HasSubstr("did you mean 'evidence_max'?"));
  // The correlation is left out, and its base does not speak for itself: a slip here must not make
  // an alert of every event there.
  EXPECT_TRUE(alerts_.empty());
}

}  // namespace
}  // namespace bongsu
