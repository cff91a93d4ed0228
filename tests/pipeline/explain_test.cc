// `bongsu explain` and `bongsu check --rules`: verdicts, trees and steps; doubtful rules and fields
// that no sample has.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "operators/registry.h"
#include "pipeline/explain.h"
#include "pipeline/rule_cost.h"
#include "pipeline/rule_lint.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

constexpr char kRules[] = R"(
title: A shell starts
id: 11111111-2222-4333-8444-555555555555
level: high
description: x
author: a
logsource: {product: windows, category: process_creation}
detection:
  shell: {Image|endswith: ['\cmd.exe', '\powershell.exe']}
  service: {User|contains: svc}
  condition: shell and not service
---
title: Nobody's fields
name: nobody
logsource: {product: windows}
detection:
  a: {NoSuchField: x}
  b: {OtherField: y, EventID: 1}
  condition: a or b
---
title: Works without a field
name: works
logsource: {product: windows}
detection:
  a: {EventID: 1}
  b: {NoSuchField: x}
  condition: a and not b
---
title: Not the administrators' shell
logsource: {product: windows}
filter: {rules: [11111111-2222-4333-8444-555555555555], admin: {User: admin}, condition: not admin}
)";

constexpr char kConfig[] = R"(
application: tests
sources:
  - {name: fw, files: [fw.jsonl], format: suricata-eve}
  - {name: ep, files: [ep.jsonl], format: sysmon-nxlog}
rules: [rules.yml]
operators:
  - name: alert-then-shell
    type: interval_join
    left: {source: fw, key: dest_ip, detection: {a: {event_type: alert}, condition: a}}
    right: {source: ep, key: host_ip, detection: {s: {EventID: 1}, condition: s}}
    within: {before: 5s, after: 60s}
sinks: {alerts: {file: alerts.jsonl}}
)";

class ExplainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("bongsu-explain-test-{}", getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    Write("rules.yml", kRules);
    Write("c.yaml", kConfig);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }
  int Explain(const ExplainOptions& options) {
    std::FILE* out = std::fopen(Path("out.txt").c_str(), "w");
    const int status = ExplainRule(options, out);
    std::fclose(out);
    std::ostringstream text;
    text << std::ifstream(Path("out.txt")).rdbuf();
    out_ = text.str();
    return status;
  }
  int Event(const std::string& fields) {
    Write("ep.jsonl",
          fmt::format(R"({{"@timestamp":"2024-01-01T00:00:00Z","UtcTime":"",)"
                      R"("Channel":"Microsoft-Windows-Sysmon/Operational","EventID":1{}}})",
                      fields));
    return Explain({.rule = "A shell starts",
                    .rules = {Path("rules.yml")},
                    .inputs = {"sysmon-nxlog=" + Path("ep.jsonl")}});
  }
  int Join(const std::string& key) {
    return Explain({.rule = "alert-then-shell",
                    .config = Path("c.yaml"),
                    .inputs = {"fw=" + Path("fw.jsonl"), "ep=" + Path("ep.jsonl")},
                    .key = key});
  }
  // Of events with EventID 1, by host_ip: a count of `condition` in ten seconds.
  void WriteCount(const std::string& condition, const std::string& more = "") const {
    Write("rules.yml", fmt::format(R"(
title: Any event
name: any
logsource: {{product: windows}}
detection: {{a: {{EventID: 1}}, condition: a}}
---
title: Counted
name: counted
correlation:
  {{type: event_count, rules: [any], group-by: [host_ip], timespan: 10s, condition: {{{}}}{}}}
)",
                                   condition, more.empty() ? "" : ", bongsu: {" + more + "}"));
  }
  int Count(const std::string& key, const std::string& time = "") {
    return Explain({.rule = "counted",
                    .rules = {Path("rules.yml")},
                    .inputs = {"sysmon-nxlog=" + Path("ep.jsonl")},
                    .key = key,
                    .time = time});
  }
  static std::string Shells(const std::vector<int>& seconds, const std::string& ip) {
    std::string lines;
    for (const int second : seconds) lines += Shell(second, ip);
    return lines;
  }
  static std::string Alert(int second, const std::string& ip) {
    return fmt::format(
        "{{\"event_type\":\"alert\",\"timestamp\":\"2024-01-01T00:{:02}:{:02}Z\","
        "\"dest_ip\":\"{}\"}}\n",
        second / 60, second % 60, ip);
  }
  static std::string Shell(int second, const std::string& ip) {
    return fmt::format(
        "{{\"@timestamp\":\"2024-01-01T00:{:02}:{:02}Z\",\"Channel\":\"Security\","
        "\"EventID\":1,\"host_ip\":\"{}\"}}\n",
        second / 60, second % 60, ip);
  }
  Config Load() const {
    OperatorRegistry registry;
    RegisterAllOperators(registry);
    Diagnostics diagnostics;
    std::optional<Config> config = LoadConfig(Path("c.yaml"), registry, diagnostics);
    EXPECT_TRUE(config.has_value()) << diagnostics.Text();
    return std::move(*config);
  }

  fs::path folder_;
  std::string out_;
};

TEST_F(ExplainTest, ADetectionsTreeSaysWhatEachItemSaw) {
  EXPECT_EQ(Event(R"(,"Image":"C:\\x\\CMD.exe","User":"anna")"), 0);
  EXPECT_THAT(out_, HasSubstr("ep.jsonl:1: 'A shell starts' matches: 'shell' holds"));
  EXPECT_THAT(out_, HasSubstr(R"(Image|endswith: matches '\cmd.exe'; saw "C:\\x\\CMD.exe")"));
  EXPECT_EQ(Event(R"(,"Image":"C:\\x\\a.exe")"), 1);
  EXPECT_THAT(out_, HasSubstr("does not match: 'shell' does not hold (Image|endswith is "));
  EXPECT_THAT(out_, HasSubstr("saw absent"));
  EXPECT_EQ(Event(R"(,"Image":"C:\\x\\cmd.exe","User":"svc1")"), 1);
  EXPECT_THAT(out_, HasSubstr("does not match: 'service' holds (User|contains is \"svc1\")"));
}

TEST_F(ExplainTest, AFilterIsNamed) {
  EXPECT_EQ(Event(R"(,"Image":"C:\\x\\cmd.exe","User":"admin")"), 1);
  EXPECT_THAT(out_, HasSubstr("the filter 'Not the administrators' shell' removes it"));
}

TEST_F(ExplainTest, ARuleOfAnotherLogSourceIsNeverAsked) {
  Write("fw.jsonl", Alert(0, "10.0.0.5"));
  EXPECT_EQ(Explain({.rule = "A shell starts",
                     .rules = {Path("rules.yml")},
                     .inputs = {"suricata-eve=" + Path("fw.jsonl")}}),
            1);
  EXPECT_THAT(out_, HasSubstr("is never asked of source suricata-eve"));
}

TEST_F(ExplainTest, WhatCannotBeExplained) {
  EXPECT_EQ(Explain({.rule = "nobody at all", .rules = {Path("rules.yml")}}), 2);
  EXPECT_EQ(Explain({.rule = "A shell starts",
                     .rules = {Path("rules.yml")},
                     .inputs = {"sysmon-nxlog=" + Path("missing")}}),
            2);
  Write("ep.jsonl", "not json\n");
  EXPECT_EQ(Explain({.rule = "A shell starts",
                     .rules = {Path("rules.yml")},
                     .inputs = {"sysmon-nxlog=" + Path("ep.jsonl")}}),
            1);
  EXPECT_THAT(out_, HasSubstr("no event: "));
}

TEST_F(ExplainTest, AJoinThatFired) {
  Write("fw.jsonl", Alert(0, "10.0.0.5"));
  Write("ep.jsonl", Shell(60, "10.0.0.5"));
  EXPECT_EQ(Join("10.0.0.5"), 0);
  EXPECT_THAT(out_, StartsWith("'alert-then-shell' fired for key '10.0.0.5': 2 events"));
}

TEST_F(ExplainTest, EachStepSaysWhyThereIsNothing) {
  Write("fw.jsonl", Alert(0, "10.0.0.5"));
  Write("ep.jsonl", Shell(72, "10.0.0.5"));
  EXPECT_EQ(Join("10.0.0.5"), 1);
  EXPECT_THAT(out_, HasSubstr("step 'right' is outside the window by 12 s"));
  Write("ep.jsonl", Shell(10, "10.0.0.6"));
  EXPECT_EQ(Join("10.0.0.5"), 1);
  EXPECT_THAT(out_, HasSubstr("step 'right' has only other keys: '10.0.0.6' (1)"));
  Write("ep.jsonl", "");
  EXPECT_EQ(Join(""), 1);
  EXPECT_THAT(out_, HasSubstr("step 'right' is absent"));
  EXPECT_EQ(Join("10.9.9.9"), 1);
  EXPECT_THAT(out_, HasSubstr("no step has seen the key '10.9.9.9'"));
}

TEST_F(ExplainTest, ALateStepIsNamed) {
  // Both sources are ten minutes on when the shell comes.
  Write("fw.jsonl", Alert(0, "10.0.0.5") + Alert(900, "10.0.0.9"));
  Write("ep.jsonl", Shell(900, "10.0.0.8") + Shell(10, "10.0.0.5") + Shell(901, "10.0.0.8"));
  EXPECT_EQ(Join("10.0.0.5"), 1);
  EXPECT_THAT(out_, HasSubstr("step 'right' came late by "));
}

TEST_F(ExplainTest, ACountBelowItsThreshold) {
  Write("rules.yml", R"(
title: Any event
name: any
logsource: {product: windows}
detection: {a: {EventID: 1}, condition: a}
---
title: Three values
name: three
correlation:
  type: value_count
  rules: [any]
  group-by: [host_ip]
  timespan: 10s
  condition: {gte: 3, field: Channel}
---
title: Four events
name: four
correlation:
  {type: event_count, rules: [any], group-by: [host_ip], timespan: 10s, condition: {gte: 4}}
)");
  Write("ep.jsonl", Shell(0, "10.0.0.5") + Shell(1, "10.0.0.5") + Shell(2, "10.0.0.5"));
  const auto explain = [&](const std::string& rule) {
    return Explain({.rule = rule,
                    .rules = {Path("rules.yml")},
                    .inputs = {"sysmon-nxlog=" + Path("ep.jsonl")},
                    .key = "10.0.0.5"});
  };
  EXPECT_EQ(explain("three"), 1);
  EXPECT_THAT(out_, HasSubstr("at most 1 different values of the key within 10 s"));
  EXPECT_EQ(explain("four"), 1);
  EXPECT_THAT(out_, HasSubstr("at most 3 events of the key within 10 s, the rule wants gte 4"));
  Write("ep.jsonl",
        Shell(0, "10.0.0.5") + Shell(1, "10.0.0.5") + Shell(2, "10.0.0.5") + Shell(3, "10.0.0.5"));
  EXPECT_EQ(explain("four"), 0);
  EXPECT_THAT(out_, StartsWith("'Four events' fired for key '10.0.0.5': 4 events"));
}

// Sums and the like: what was measured, and the values it is made of.
TEST_F(ExplainTest, AMeasureBelowItsThresholdShowsItsValues) {
  const auto rules = [](const std::string& type, const std::string& more) {
    return fmt::format(R"(
title: Any event
name: any
logsource: {{product: windows}}
detection: {{a: {{EventID: 1}}, condition: a}}
---
title: Measured
name: measured
correlation:
  type: {}
  rules: [any]
  group-by: [host_ip]
  timespan: 10s
  condition: {{gte: 100, field: ProcessId{}}}
)",
                       type, more);
  };
  const auto event = [](int second, const std::string& pid) {
    return fmt::format(R"({{"@timestamp":"2026-01-01T00:00:{:02}Z","EventID":1,)"
                       R"("host_ip":"10.0.0.5","ProcessId":{}}})"
                       "\n",
                       second, pid);
  };
  Write("ep.jsonl", event(0, "30") + event(1, "12.5") + event(2, "\"none\"") + event(30, "41"));
  const auto explain = [&](const std::string& type, const std::string& more = "") {
    Write("rules.yml", rules(type, more));
    EXPECT_EQ(Explain({.rule = "measured",
                       .rules = {Path("rules.yml")},
                       .inputs = {"sysmon-nxlog=" + Path("ep.jsonl")},
                       .key = "10.0.0.5"}),
              1);
  };
  explain("value_sum");
  EXPECT_THAT(out_, HasSubstr("value_sum of ProcessId is at most 42.5 for the key within 10 s, the "
                              "rule wants gte 100; 1 events have no such value"));
  EXPECT_THAT(out_, HasSubstr("ep.jsonl:2): ProcessId 12.5"));
  EXPECT_THAT(out_, HasSubstr("ProcessId none (no value that can be measured: left out)"));
  explain("value_avg");
  EXPECT_THAT(out_, HasSubstr("value_avg of ProcessId is at most 41 for the key"));
  explain("value_percentile", ", percentile: 50");
  EXPECT_THAT(out_, HasSubstr("value_percentile of ProcessId is at most 41 for the key"));
}

// Without a time it is the incident that is asked for, wherever it lies; without a key, too.
TEST_F(ExplainTest, AnIncidentIsFoundWithoutItsTime) {
  WriteCount("gte: 3");
  Write("ep.jsonl", Shells({0, 600, 601, 602}, "10.0.0.5"));
  EXPECT_EQ(Count("10.0.0.5"), 0);
  EXPECT_THAT(out_, StartsWith("'Counted' fired for key '10.0.0.5': 3 events from "
                               "2024-01-01T00:10:00"));
  EXPECT_THAT(out_, HasSubstr("seen, 3 events of the key"));
  EXPECT_EQ(Count("10.0.0.5", "2024-01-01T00:00:00Z"), 1);
  Write("ep.jsonl",
        Shells({0, 60, 120, 180, 240}, "10.0.0.5") + Shells({300, 301, 302}, "10.0.0.6"));
  EXPECT_EQ(Count(""), 0);
  EXPECT_THAT(out_, StartsWith("'Counted' fired for key '10.0.0.6': 3 events"));
  Write("rules.yml", kRules);
  Write("fw.jsonl", Alert(0, "10.0.0.5") + Alert(1, "10.0.0.5") + Alert(600, "10.0.0.5"));
  Write("ep.jsonl", Shell(610, "10.0.0.5"));
  EXPECT_EQ(Join("10.0.0.5"), 0);
  EXPECT_THAT(out_, HasSubstr("2 events from 2024-01-01T00:10:00"));
  Write("fw.jsonl", Alert(0, "10.0.0.5") + Alert(1, "10.0.0.5") + Alert(600, "10.0.0.6"));
  Write("ep.jsonl", Shell(300, "10.0.0.5") + Shell(610, "10.0.0.6"));
  EXPECT_EQ(Join(""), 0);
  EXPECT_THAT(out_, StartsWith("'alert-then-shell' fired for key '10.0.0.6'"));
}

TEST_F(ExplainTest, OfSeveralIncidentsTheNearestToTheTime) {
  WriteCount("gte: 3");
  std::string lines;
  for (int burst = 0; burst < 8; ++burst)
    for (int i = 0; i < 3 + burst; ++i) lines += Shell(15 * burst, "10.0.0.5");
  Write("ep.jsonl", lines);
  for (int burst = 0; burst < 8; ++burst) {
    EXPECT_EQ(Count("10.0.0.5", fmt::format("2024-01-01T00:{:02}:{:02}Z", (15 * burst + 7) / 60,
                                            (15 * burst + 7) % 60)),
              0);
    EXPECT_THAT(out_, HasSubstr(fmt::format("': {} events from", 3 + burst)));
  }
  EXPECT_EQ(Count("10.0.0.5"), 0);
  EXPECT_THAT(out_, HasSubstr("': 3 events from 2024-01-01T00:00:00"));
}

// Windows that follow one another are measured one by one.
TEST_F(ExplainTest, TheMeasureIsThatOfTheRulesWindows) {
  WriteCount("gte: 5", "window: tumbling");
  Write("ep.jsonl", Shells({7, 8, 9, 10, 11, 12, 13}, "10.0.0.5"));
  EXPECT_EQ(Count("10.0.0.5"), 1);
  EXPECT_THAT(out_, HasSubstr("at most 4 events of the key in a window of 10 s, the rule wants "
                              "gte 5"));
  WriteCount("gte: 5", "window: session");
  Write("ep.jsonl", Shells({0, 9, 18, 27, 50}, "10.0.0.5"));
  EXPECT_EQ(Count("10.0.0.5"), 1);
  EXPECT_THAT(out_, HasSubstr("at most 4 events of the key in a session with less than 10 s "
                              "between events, the rule wants gte 5"));
  WriteCount("eq: 2");
  Write("ep.jsonl", Shells({0, 20, 24, 28, 40}, "10.0.0.5"));
  EXPECT_EQ(Count("10.0.0.5", "2024-01-01T00:00:22Z"), 1);
  EXPECT_THAT(out_, HasSubstr("3 events of the key in the window of 10 s from "
                              "2024-01-01T00:00:20"));
  EXPECT_THAT(out_, HasSubstr("the rule wants eq 2"));
}

TEST_F(ExplainTest, AJoinsBoundsAreTwo) {
  Write("fw.jsonl", Alert(60, "10.0.0.5"));
  Write("ep.jsonl", Shell(30, "10.0.0.5"));
  EXPECT_EQ(Join("10.0.0.5"), 1);
  EXPECT_THAT(out_, HasSubstr("'left' is outside the window by 25 s"));
  // A time that is no event's: both are near it.
  EXPECT_EQ(Explain({.rule = "alert-then-shell",
                     .config = Path("c.yaml"),
                     .inputs = {"fw=" + Path("fw.jsonl"), "ep=" + Path("ep.jsonl")},
                     .key = "10.0.0.5",
                     .time = "2024-01-01T00:00:45Z"}),
            1);
  EXPECT_THAT(out_, HasSubstr("all steps were seen, but 'right' 30 s before 'left': outside the "
                              "window (5 s before, 60 s after) by 25 s"));
  Write("ep.jsonl", Shell(55, "10.0.0.5"));
  EXPECT_EQ(Join("10.0.0.5"), 0);
}

// As in a run: what is too far ahead of the clock enters no window and makes nothing late.
TEST_F(ExplainTest, EventsFromTheFutureAreLeftOut) {
  WriteCount("gte: 3");
  const std::string future = R"({"@timestamp":"2190-01-01T00:00:00Z","Channel":"Security",)"
                             R"("EventID":1,"host_ip":"10.0.0.5"})"
                             "\n";
  Write("ep.jsonl", future + future + Shell(0, "10.0.0.5") + future);
  EXPECT_EQ(Count("10.0.0.5"), 1);
  EXPECT_THAT(out_, HasSubstr("at most 1 events of the key"));
  EXPECT_THAT(out_, HasSubstr("3 events were too far ahead of the clock (max_future_skew)"));
  EXPECT_THAT(out_, Not(HasSubstr("no usable events")));
  Write("ep.jsonl", future + Shells({0, 1, 2}, "10.0.0.5"));
  EXPECT_EQ(Count("10.0.0.5"), 0);
  EXPECT_THAT(out_, Not(HasSubstr("late")));
}

// The places are lines of files, as an editor counts them; a run takes no blank ones.
TEST_F(ExplainTest, PlacesAreLinesOfFiles) {
  const std::string shell =
      R"({"@timestamp":"2024-01-01T00:00:00Z","EventID":1,)"
      R"("Channel":"Microsoft-Windows-Sysmon/Operational","Image":"a\\cmd.exe"})";
  Write("ep.jsonl", "\xef\xbb\xbf\r\n\n \t\n" + shell + "\r\n\r\nno json\r\n");
  EXPECT_EQ(Explain({.rule = "A shell starts",
                     .rules = {Path("rules.yml")},
                     .inputs = {"sysmon-nxlog=" + Path("ep.jsonl")}}),
            0);
  EXPECT_THAT(out_, StartsWith(Path("ep.jsonl") + ":4: 'A shell starts' matches"));
  EXPECT_THAT(out_, HasSubstr(Path("ep.jsonl") + ":6: no event: "));
  EXPECT_THAT(out_, Not(HasSubstr(":1: ")));
  EXPECT_THAT(out_, Not(HasSubstr(":5: ")));
  // Of several files of one source each has its own.
  WriteCount("gte: 3");
  Write("ep.jsonl", "\n" + Shells({0, 2}, "10.0.0.5"));
  Write("more.jsonl", Shell(1, "10.0.0.5"));
  EXPECT_EQ(
      Explain({.rule = "counted",
               .rules = {Path("rules.yml")},
               .inputs = {"sysmon-nxlog=" + Path("ep.jsonl"), "sysmon-nxlog=" + Path("more.jsonl")},
               .key = "10.0.0.5"}),
      0);
  EXPECT_THAT(out_, HasSubstr("00:00:00.000000000Z (" + Path("ep.jsonl") + ":2)"));
  EXPECT_THAT(out_, HasSubstr("00:00:01.000000000Z (" + Path("more.jsonl") + ":1)"));
  EXPECT_THAT(out_, HasSubstr("00:00:02.000000000Z (" + Path("ep.jsonl") + ":3)"));
}

TEST_F(ExplainTest, FieldsThatNoSampleHas) {
  Write("ep.jsonl", Shell(0, "10.0.0.5"));
  const Config config = Load();
  std::vector<std::string> problems;
  const auto samples = SampleSources(config, {}, &problems);
  EXPECT_TRUE(problems.empty());
  EXPECT_EQ(samples[0].records, 0u);
  ASSERT_EQ(samples[1].records, 1u);
  const std::vector<std::string> findings = LintRules(config, samples);
  EXPECT_THAT(findings, Contains(HasSubstr("Nobody's fields: can never match in source 'ep', where "
                                           "no record has NoSuchField, OtherField")));
  EXPECT_THAT(findings, Contains(HasSubstr("field 'NoSuchField' was never seen in source 'ep' (1 "
                                           "records); 2 rules read it")));
  EXPECT_THAT(findings, Contains(HasSubstr("A shell starts: can never match in source 'ep'")));
  EXPECT_THAT(findings, Not(Contains(HasSubstr("Works without a field: can never"))));
  EXPECT_THAT(findings, Contains(HasSubstr("Works without a field: no level")));
  EXPECT_THAT(findings, Not(Contains(HasSubstr("A shell starts: no level"))));
}

// A filter's dry run: what it removes, and the two ways in which that is doubtful.
TEST_F(ExplainTest, WhatFiltersRemoveOfTheSamples) {
  Write("rules.yml", R"(
title: Shells
id: 6f7c1c88-0f7e-4d34-8a44-1d2f0a7a6d01
logsource: {product: windows}
detection: {sel: {EventID: 1}, condition: sel}
---
title: One host only
logsource: {product: windows}
filter:
  rules: [6f7c1c88-0f7e-4d34-8a44-1d2f0a7a6d01]
  sel: {host_ip: '10.0.0.6'}
  condition: sel
---
title: Wrong way round
logsource: {product: windows}
filter:
  rules: [6f7c1c88-0f7e-4d34-8a44-1d2f0a7a6d01]
  sel: {host_ip: '10.0.0.7'}
  condition: sel
---
title: Nobody
logsource: {product: windows}
filter:
  rules: [6f7c1c88-0f7e-4d34-8a44-1d2f0a7a6d01]
  sel: {host_ip: '10.0.0.7'}
  condition: not sel
)");
  Write("ep.jsonl", Shell(0, "10.0.0.5") + Shell(1, "10.0.0.5") + Shell(2, "10.0.0.6"));
  const Config config = Load();
  std::vector<std::string> problems;
  const auto samples = SampleSources(config, {}, &problems);
  EXPECT_THAT(FilterDryRun(config, samples),
              UnorderedElementsAre(
                  "filter 'One host only': removes 2 of 3 matches of 'Shells' in source ep (3 "
                  "records)",
                  "filter 'Wrong way round': removes 3 of 3 matches of 'Shells' in source ep (3 "
                  "records)",
                  "filter 'Nobody': removes 0 of 3 matches of 'Shells' in source ep (3 records)"));
  const std::vector<std::string> findings = LintRules(config, samples);
  EXPECT_THAT(findings, Contains(HasSubstr("Wrong way round: the filter removes every match of "
                                           "'Shells' in source 'ep' (3 of 3); with "
                                           "condition_means: exclude it would remove none")));
  EXPECT_THAT(findings,
              Contains(HasSubstr("Nobody: the filter removes none of the 3 matches of its rules")));
  EXPECT_THAT(findings, Not(Contains(HasSubstr("One host only: the filter"))));
}

TEST_F(ExplainTest, SamplesThatCannotBeRead) {
  std::vector<std::string> problems;
  SampleSources(Load(), {"nobody=x", "ep=" + Path("missing")}, &problems);
  EXPECT_EQ(problems.size(), 2u);
}

TEST_F(ExplainTest, EveryDetectionHasACost) {
  const Config config = Load();
  RunCounters counters(2, {2}, config.rules->entries.size());
  std::vector<Value> values(static_cast<size_t>(config.sources[1].fields.size()));
  struct Event event;
  event.fields = values;
  CostSampler sampler;
  // Every sample counts for the events since the last one, so that together they are all of them.
  uint64_t weights = 0;
  uint64_t events = 0;
  for (int samples = 0; samples < 14; ++events) {
    const uint32_t weight = sampler.Due();
    weights += weight;
    samples += weight > 0 ? 1 : 0;
  }
  EXPECT_EQ(weights, events);
  const std::vector<uint32_t> asked = {0, 2};
  CostSampler::Sample(config.binding->sources[1], asked, event, 64, counters);
  EXPECT_GT(counters.rules[0].cpu_ns, 0u);
  EXPECT_EQ(counters.rules[1].cpu_ns, 0u) << "not of the event's log source";
  EXPECT_GT(counters.rules[2].cpu_ns, 0u);
  CallSampler calls;
  uint64_t cpu_ns = 0;
  EXPECT_EQ(calls.Run(&cpu_ns, [] { return 7; }), 7);
  const uint64_t once = cpu_ns;
  EXPECT_GT(once, 0u);
  calls.Run(&cpu_ns, [] { return 7; });
  EXPECT_EQ(cpu_ns, once) << "the second call is not timed";
}

}  // namespace
}  // namespace bongsu
