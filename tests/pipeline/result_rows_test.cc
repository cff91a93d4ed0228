// Correlations over correlations: what a result hands to the level above.
#include "pipeline/result_rows.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "operators/registry.h"
#include "pipeline/config.h"
#include "pipeline/service.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Two rules, a and b, `inner`, which counts a's events by net, and `outer` over it.
constexpr char kBase[] = R"(
title: A
name: a
logsource: {category: test}
detection: {sel: {k: a}, condition: sel}
---
title: B
name: b
logsource: {category: test}
detection: {sel: {k: b}, condition: sel}
---
)";

class ResultRowsTest : public ::testing::Test {
 protected:
  void TearDown() override { fs::remove_all(folder_); }

  static std::string Inner(int gte) {
    return fmt::format(
        "title: Inner\nname: inner\ncorrelation: {{type: event_count, rules: [a], group-by: [net],"
        " timespan: 10s, condition: {{gte: {}}}}}\n---\n",
        gte);
  }
  // `records`: one a second, `"k": ...` and so on. The keys of outer's incidents, in order.
  std::vector<std::string> Run(const std::string& rules, const std::vector<std::string>& records) {
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "rules");
    std::ofstream(folder_ / "rules" / "r.yml") << kBase << rules;
    std::ofstream out(folder_ / "in.jsonl");
    for (size_t i = 0; i < records.size(); ++i)
      out << fmt::format(R"({{"t":{},{}}})", 1'700'000'000.0 + 0.1 * static_cast<double>(i),
                         records[i])
          << "\n";
    out.close();
    OperatorRegistry registry;
    RegisterAllOperators(registry);
    Diagnostics diagnostics;
    const auto config = ParseConfig(
        "application: rows-test\nthreads: 2\nrules: [rules]\nsources:\n"
        "  - name: s\n    files: [in.jsonl]\n"
        "    format: {time: [{path: t, as: epoch_s}], logsource: {category: test}}\n"
        "sinks: {alerts: {file: alerts.jsonl, format: native}}\n",
        (folder_ / "c.yaml").string(), registry, diagnostics);
    EXPECT_TRUE(config.has_value()) << diagnostics.Text();
    if (!config) return {};
    Service service(*config);
    absl::Status status = service.Open(Service::Mode::kRun);
    EXPECT_TRUE(status.ok()) << status;
    const std::atomic<bool> stop = false;
    status = service.Run(stop, /*progress=*/false);
    EXPECT_TRUE(status.ok()) << status;
    report_ = json::parse(ReportJson(service.Report()));
    std::vector<std::string> keys;
    alerts_.clear();
    std::ifstream in(folder_ / "alerts.jsonl");
    for (std::string line; std::getline(in, line);) {
      json alert = json::parse(line);
      if (alert["rule"] != "outer" || alert["activity"] != "create") continue;
      keys.push_back(alert["key"]);
      alerts_.push_back(std::move(alert));
    }
    std::sort(keys.begin(), keys.end());
    return keys;
  }

  const fs::path folder_ =
      fs::temp_directory_path() / fmt::format("bongsu-result-rows-test-{}", getpid());
  json report_;
  std::vector<json> alerts_;
};

std::string Outer(const std::string& correlation) {
  return "title: Outer\nname: outer\ncorrelation:\n  {" + correlation + "}\n";
}

TEST_F(ResultRowsTest, EachGroupOfTheEventsGetsTheResult) {
  std::vector<std::string> records;
  std::vector<std::string> hosts;
  for (int i = 0; i < 99; ++i)
    records.push_back(fmt::format(R"("k":"a","net":"n","host":"h{:02}")", i));
  for (int i = 0; i < 99; ++i) {
    records.push_back(fmt::format(R"("k":"b","host":"h{:02}")", i));
    hosts.push_back(fmt::format("h{:02}", i));
  }
  EXPECT_EQ(Run(Inner(99) + Outer("type: temporal_ordered, rules: [inner, b], group-by: [host],"
                                  " timespan: 1m"),
                records),
            hosts);
}

// What no event has is nobody's group, nor a tuple.
TEST_F(ResultRowsTest, FieldsOfOneEventStayTogether) {
  const std::vector<std::string> two = {R"("k":"a","net":"n","host":"h1","user":"u1")",
                                        R"("k":"a","net":"n","host":"h2","user":"u2")"};
  const auto with = [&two](const char* b) {
    std::vector<std::string> records = two;
    records.push_back(b);
    return records;
  };
  const std::string rules =
      Inner(2) +
      Outer("type: temporal_ordered, rules: [inner, b], group-by: [host, user], timespan: 1m");
  EXPECT_THAT(Run(rules, with(R"("k":"b","host":"h1","user":"u2")")), IsEmpty());
  EXPECT_THAT(Run(rules, with(R"("k":"b","host":"h2","user":"u2")")), ElementsAre("h2, u2"));
  const std::string tuples = Inner(2) + Outer(
                                            "type: value_count, rules: [inner], group-by: [net],"
                                            " timespan: 1m, condition: {field: [host, user],"
                                            " gte: 2}");
  EXPECT_THAT(Run(tuples, two), ElementsAre("n"));
  EXPECT_EQ(alerts_[0]["value"], 2);
  // Of each group its own events' values only.
  EXPECT_THAT(Run(Inner(2) + Outer("type: value_count, rules: [inner], group-by: [host],"
                                   " timespan: 1m, condition: {field: user, gte: 2}"),
                  two),
              IsEmpty());
}

// Through a level that groups by neither.
TEST_F(ResultRowsTest, FieldsStayTogetherThroughSeveralLevels) {
  const std::string middle =
      "title: Middle\nname: middle\ncorrelation: {type: event_count, rules: [inner],"
      " timespan: 1m, condition: {gte: 2}}\n---\n";
  const std::string rules =
      Inner(2) + middle +
      Outer("type: temporal_ordered, rules: [middle, b], group-by: [host, user], timespan: 1m");
  std::vector<std::string> records;
  for (int i = 0; i < 4; ++i)
    records.push_back(fmt::format(R"("k":"a","net":"n{0}","host":"h{1}","user":"u{1}")", i / 2, i));
  records.push_back(R"("k":"b","host":"h0","user":"u3")");
  EXPECT_THAT(Run(rules, records), IsEmpty());
  records.push_back(R"("k":"b","host":"h3","user":"u3")");
  EXPECT_THAT(Run(rules, records), ElementsAre("h3, u3"));
}

TEST_F(ResultRowsTest, EachEventsNumberCounts) {
  const auto measured = [this](const std::string& measure, std::vector<int> numbers) {
    std::vector<std::string> records;
    for (const int n : numbers) records.push_back(fmt::format(R"("k":"a","net":"n","n":{})", n));
    const std::string rules = Inner(static_cast<int>(numbers.size())) +
                              Outer(measure + ", rules: [inner], group-by: [net], timespan: 1m");
    return Run(rules, records).empty() ? "" : alerts_[0]["value"].dump();
  };
  EXPECT_EQ(measured("type: value_sum, condition: {field: n, gte: 1}", {5, 5}), "10");
  EXPECT_EQ(measured("type: value_avg, condition: {field: n, gte: 1}", {1, 1, 1, 9}), "3");
  EXPECT_EQ(measured("type: value_median, condition: {field: n, gte: 1}", {1, 1, 1, 9, 9}), "1");
  EXPECT_EQ(measured("type: value_percentile, condition: {field: n, percentile: 50, gte: 1}",
                     {1, 1, 1, 9, 9}),
            "1");
  // Alerts show each once.
  EXPECT_EQ(alerts_[0]["evidence"][0]["fields"]["n"], json::parse("[1,9]"));
}

// A user that one event knows, on a host that another one knows.
TEST_F(ResultRowsTest, WhatNoEventHasWholeIsCombined) {
  const std::string rules =
      Inner(2) + Outer(
                     "type: temporal_ordered, rules: [inner, b], group-by: [host, user],"
                     " timespan: 1m");
  EXPECT_THAT(Run(rules, {R"("k":"a","net":"n","host":"h1")", R"("k":"a","net":"n","user":"u1")",
                          R"("k":"b","host":"h1","user":"u1")"}),
              ElementsAre("h1, u1"));
  // An event that knows less belongs to those that it does not contradict.
  EXPECT_THAT(Run(Inner(3) + Outer("type: value_count, rules: [inner], group-by: [host, user],"
                                   " timespan: 1m, condition: {field: n, gte: 2}"),
                  {R"("k":"a","net":"n","host":"h1","user":"u1","n":1)",
                   R"("k":"a","net":"n","host":"h2","user":"u2","n":1)",
                   R"("k":"a","net":"n","host":"h1","n":2)"}),
              ElementsAre("h1, u1"));
}

TEST_F(ResultRowsTest, AKeyThatNoEventHasIsMissing) {
  const std::vector<std::string> two = {R"("k":"a","net":"n","user":"u1")",
                                        R"("k":"a","net":"n","user":"u2")"};
  const std::string outer =
      "type: event_count, rules: [inner], group-by: [host], timespan: 1m,"
      " condition: {gte: 1}";
  EXPECT_THAT(Run(Inner(2) + Outer(outer), two), IsEmpty());
  EXPECT_NE(report_.dump().find("\"key_missing\":1"), std::string::npos) << report_.dump();
  EXPECT_THAT(Run(Inner(2) + Outer(outer + ", bongsu: {missing: group}"), two),
              ElementsAre("(none)"));
}

TEST_F(ResultRowsTest, MoreRowsThanAGroupHoldsAreCounted) {
  std::vector<std::string> records;
  for (int i = 0; i < 65; ++i)
    records.push_back(fmt::format(R"("k":"a","net":"n","user":"u{}")", i % 64));
  const std::string outer = Outer(
      "type: value_count, rules: [inner], group-by: [net], timespan: 1m,"
      " condition: {field: user, gte: 64}");
  EXPECT_THAT(Run(Inner(64) + outer, records), SizeIs(1));
  EXPECT_EQ(report_.dump().find("result_rows_capped"), std::string::npos);
  // The different ones are kept.
  EXPECT_THAT(Run(Inner(65) + outer, records), SizeIs(1));
  EXPECT_NE(report_.dump().find("\"result_rows_capped\":1"), std::string::npos) << report_.dump();
}

}  // namespace
}  // namespace bongsu
