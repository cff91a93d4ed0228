// `bongsu test`: tests of rules as users write them, what they find, and what they refuse.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "pipeline/decoder.h"
#include "pipeline/event_time.h"
#include "pipeline/rule_test_command.h"
#include "pipeline/rule_test_record.h"
#include "pipeline/rule_test_recorded.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kRule[] = R"(
title: A shell starts
id: 11111111-2222-4333-8444-555555555555
logsource: {product: windows, category: process_creation}
detection: {sel: {Image|endswith: '\cmd.exe'}, condition: sel}
tests:
  - name: within the rule, under the rule's own names
    source: windows-event
    events:
      - {fields: {Channel: Microsoft-Windows-Sysmon/Operational, EventID: 1, Image: 'C:\cmd.exe'}}
    expect: {count: 1, evidence: ['1']}
)";

constexpr char kJoin[] = R"(
application: tests
sources:
  - {name: fw, files: [fw], format: suricata-eve}
  - {name: ep, files: [ep], format: sysmon-nxlog}
operators:
  - name: alert-then-shell
    type: interval_join
    left: {source: fw, key: dest_ip, detection: {a: {event_type: alert}, condition: a}}
    right: {source: ep, key: host_ip, detection: {s: {EventID: 1}, condition: s}}
    within: {before: 5s, after: 60s}
sinks: {alerts: {file: alerts.jsonl}}
)";

class RuleTestTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("bongsu-rule-test-{}", getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    Write("rule.yml", kRule);
  }
  void TearDown() override { fs::remove_all(folder_); }
  void Write(const std::string& name, const std::string& text) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
  }
  std::string Read(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(folder_ / name).rdbuf();
    return text.str();
  }
  // The exit status; what was printed is in out_.
  int Test(RuleTestOptions options = {}) {
    if (options.paths.empty()) options.paths = {folder_.string()};
    options.verbose = true;
    const std::string path = (folder_ / "out.txt").string();
    std::FILE* out = std::fopen(path.c_str(), "w");
    const int status = TestRules(options, out);
    std::fclose(out);
    out_ = Read("out.txt");
    return status;
  }
  int Join(const std::string& tests) {
    Write("c.yaml", kJoin);
    Write("rule.yml", std::string(kRule).substr(0, std::string(kRule).find("tests:")));
    Write("join.test.yml", "rule: alert-then-shell\ntests:\n" + tests);
    return Test({.config = (folder_ / "c.yaml").string()});
  }
  static std::string Case(const std::string& name, int shell_at, const std::string& rest) {
    return fmt::format(R"(
  - name: {}
    events:
      - {{id: alert, source: fw, at: +0s, record: {{event_type: alert, dest_ip: 10.0.0.5}}}}
      - {{id: shell, source: ep, at: +{}s,
         record: {{Channel: Microsoft-Windows-Sysmon/Operational, EventID: 1, host_ip: 10.0.0.5}}}}
    {}
)",
                       name, shell_at, rest);
  }

  fs::path folder_;
  std::string out_;
};

TEST_F(RuleTestTest, TestsWithinARuleAndBesideIt) {
  Write("rule.test.yml", R"(
rule: A shell starts
tests:
  - name: another program
    source: sysmon-nxlog
    events:
      - record: {Channel: Microsoft-Windows-Sysmon/Operational, EventID: 1, Image: 'C:\x.exe'}
    expect: none
)");
  EXPECT_EQ(Test({.complete = true}), 0) << out_;
  EXPECT_THAT(out_, HasSubstr("2 tests: 2 passed, 0 failed, 0 broken"));
}

TEST_F(RuleTestTest, AFailureSaysWhatWasFound) {
  Write("rule.test.yml", R"(
rule: A shell starts
tests:
  - name: expects nothing
    source: sysmon-nxlog
    events:
      - {id: it, record: {Channel: Microsoft-Windows-Sysmon/Operational, EventID: 1,
                          Image: 'C:\cmd.exe'}}
    expect: none
)");
  EXPECT_EQ(Test({.junit = (folder_ / "x.xml").string()}), 1);
  EXPECT_THAT(out_, HasSubstr("FAILED  A shell starts: expects nothing"));
  EXPECT_THAT(out_, HasSubstr("evidence [it]"));
  EXPECT_THAT(Read("x.xml"), HasSubstr("tests=\"2\" failures=\"1\" errors=\"0\""));
  EXPECT_THAT(Read("x.xml"), HasSubstr("<failure message=\"failed\">incidents that were not"));
}

TEST_F(RuleTestTest, ARuleWithoutBothKindsOfTestsIsNamed) {
  EXPECT_EQ(Test({.complete = true}), 1);
  EXPECT_THAT(out_, HasSubstr("UNTESTED A shell starts: no negative test"));
}

TEST_F(RuleTestTest, BrokenTestsAndRulesAreTold) {
  Write("rule.test.yml", R"(
tests:
  - name: no rule
    source: sysmon-nxlog
    events: [{record: {EventID: 1}}]
    expect: none
  - name: no such rule
    rule: nobody
    source: sysmon-nxlog
    events: [{record: {EventID: 1}}]
    expect: none
  - name: no such source
    rule: A shell starts
    events: [{source: nowhere, record: {EventID: 1}}]
    expect: none
  - name: a misspelt key
    rule: A shell starts
    evnts: [{source: sysmon-nxlog, record: {EventID: 1}}]
    expect: none
)");
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(Test(), 2);
  const std::string errors = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(errors, HasSubstr("the test names no rule"));
  EXPECT_THAT(errors, HasSubstr("unknown key 'evnts' in a test (did you mean 'events'?)"));
  EXPECT_THAT(out_, HasSubstr("there is no rule 'nobody'"));
  EXPECT_THAT(out_, HasSubstr("there is no source or format 'nowhere'"));
  Write("rule.test.yml", "tests: []\n");
  Write("broken.yml", "title: Broken\nlogsource: {product: windows}\ndetection: {condition: x}\n");
  EXPECT_EQ(Test(), 2);
  EXPECT_THAT(out_, HasSubstr("1 rules are broken"));
}

TEST_F(RuleTestTest, AnEventWithoutUseIsNoSilentPass) {
  Write("rule.test.yml", R"(
rule: A shell starts
tests:
  - name: ahead of the clock
    source: sysmon-nxlog
    now: +0s
    events: [{at: +1h, record: {EventID: 1}}]
    expect: none
)");
  EXPECT_EQ(Test(), 1);
  EXPECT_THAT(out_, HasSubstr("event 1 goes to the late stream: future"));
}

TEST_F(RuleTestTest, AJoinIsShuffledRestoredAndDoubled) {
  EXPECT_EQ(Join(Case("in time", 60,
                      "expect: [{key: 10.0.0.5, events: 2, evidence: [alert, shell], not_before: "
                      "+60s}]") +
                 Case("too late", 61, "expect: none")),
            0)
      << out_;
  EXPECT_THAT(out_, HasSubstr("in time (3 shuffled, 4 restarts, doubled)"));
}

TEST_F(RuleTestTest, EachExpectationCanFail) {
  EXPECT_EQ(Join(Case("the key", 1, "expect: [{key: 10.0.0.6}]") +
                 Case("the number", 1, "expect: [{count: 2}]") +
                 Case("the events", 1, "expect: [{events: 3}]") +
                 Case("the evidence", 1, "expect: [{evidence: [alert]}]") +
                 Case("the moment", 1, "expect: [{not_before: +2s}]") +
                 Case("lateness", 1, "late: 1\n    expect: [{count: 1}]") +
                 Case("nothing", 1, "expect: none")),
            1);
  EXPECT_THAT(out_, HasSubstr("7 tests: 0 passed, 7 failed"));
  EXPECT_THAT(out_, HasSubstr("too early: created at 2024-01-01T00:00:01"));
}

TEST_F(RuleTestTest, WhatDoublingChangesIsFound) {
  // Two left events make two incidents: only the keys must be the same, and they are.
  EXPECT_EQ(Join(Case("as it is", 1, "expect: [{count: 1}]")), 0) << out_;
  EXPECT_THAT(out_, HasSubstr("doubled"));
  EXPECT_EQ(Join(Case("left out", 1, "duplicates: skip\n    expect: [{count: 1}]")), 0);
  EXPECT_THAT(out_, ::testing::Not(HasSubstr("doubled")));
}

TEST_F(RuleTestTest, ACountIsChangedByDoubledEvents) {
  Write("count.yml", R"(
title: Any event
name: any
logsource: {product: windows}
detection: {a: {EventID: 7}, condition: a}
---
title: Four of them
name: four
correlation:
  {type: event_count, rules: [any], group-by: [Hostname], timespan: 1m, condition: {gte: 4}}
)");
  const std::string three = R"(
tests:
  - name: three
    rule: four
    source: sysmon-nxlog
    events: [{every: 1s, repeat: 3, record: {EventID: 7, Hostname: h}}]
    expect: none
)";
  Write("count.test.yml", three);
  EXPECT_EQ(Test(), 0) << out_;
  Write("count.test.yml", three + "    duplicates: same\n");
  EXPECT_EQ(Test(), 1);
  EXPECT_THAT(out_,
              HasSubstr("every event written twice: incidents of the keys [h] instead of []"));
  Write("count.test.yml", three +
                              "  - {name: matches, rule: any, source: sysmon-nxlog, events: "
                              "[{record: {EventID: 7}}], expect: {count: 2}}\n");
  EXPECT_EQ(Test(), 1);
  EXPECT_THAT(out_, HasSubstr("expected 2 matches, found 1"));
  Write("count.test.yml", three +
                              "  - {name: matches, rule: any, source: sysmon-nxlog, events: "
                              "[{record: {EventID: 7}}], expect: {evidence: ['1']}}\n");
  EXPECT_EQ(Test(), 2);
  EXPECT_THAT(out_, HasSubstr("makes no alerts of its own")) << out_;
  std::string precise = "rule: four\ntests:\n";
  for (const char* host : {"g", "h"}) {
    precise += fmt::format(R"(
  - name: the other one is {}
    source: sysmon-nxlog
    events:
      - {{every: 1s, repeat: 4, record: {{EventID: 7, Hostname: g}}}}
      - {{every: 1s, repeat: 4, record: {{EventID: 7, Hostname: h}}}}
    expect: [{{events: 4}}, {{key: {}}}]
)",
                           host, host);
  }
  Write("count.test.yml", precise);
  EXPECT_EQ(Test(), 0) << out_;
}

// The copy of an event that meets both rules is the second of them; copies make a count below.
TEST_F(RuleTestTest, WhatDoublingMayChangeIsNotDoubled) {
  Write("rules.yml", R"(
title: A
name: a
logsource: {product: windows}
detection: {s: {EventID: 7}, condition: s}
---
title: B
name: b
logsource: {product: windows}
detection: {s: {Image: x}, condition: s}
---
title: In order
name: ordered
correlation: {type: temporal_ordered, rules: [a, b], group-by: [Hostname], timespan: 1m}
---
title: Two
name: two
correlation:
  {type: event_count, rules: [a], group-by: [Hostname], timespan: 1m, condition: {gte: 2}}
---
title: Two and B
name: above
correlation: {type: temporal, rules: [two, b], group-by: [Hostname], timespan: 1m}
)");
  Write("rules.test.yml", R"(
tests:
  - name: one event is both
    rule: ordered
    source: sysmon-nxlog
    events: [{record: {EventID: 7, Image: x, Hostname: h}}]
    expect: none
  - name: one a
    rule: above
    source: sysmon-nxlog
    events: [{record: {EventID: 7, Hostname: h}}, {at: +1s, record: {Image: x, Hostname: h}}]
    expect: none
)");
  EXPECT_EQ(Test(), 0) << out_;
  EXPECT_THAT(out_, ::testing::Not(HasSubstr("doubled")));
}

TEST_F(RuleTestTest, RepeatsAreNumbered) {
  Write("rule.test.yml", R"(
rule: A shell starts
tests:
  - name: three of them
    source: sysmon-nxlog
    events:
      - {id: it, at: +0s, every: 10s, repeat: 3,
         record: {Channel: Microsoft-Windows-Sysmon/Operational, EventID: 1,
                  Image: 'C:\{n}\cmd.exe'}}
    expect: {count: 3, evidence: [it]}
)");
  EXPECT_EQ(Test(), 0) << out_;
}

TEST_F(RuleTestTest, RecordedEventsOfSigmaHq) {
  Write("regression_data/a/info.yml", R"(
id: 1
rule_metadata: [{id: 11111111-2222-4333-8444-555555555555, title: x}]
regression_tests_info:
  - {name: Positive, type: evtx, match_count: 1, path: regression_data/a/a.evtx}
  - {name: Other, type: raw, path: regression_data/a/a.raw}
)");
  const std::string event =
      R"({"Event": {"System": {"Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 1},
          "EventData": {"Image": "C:\\OTHER.exe", "UtcTime": "2026-01-01 00:00:00.000"}}})";
  const std::string match = std::string(event).replace(event.find("OTHER"), 5, "cmd");
  Write("regression_data/a/a.json", event + "\n\n" + match);
  EXPECT_EQ(Test(), 0) << out_;
  EXPECT_THAT(out_, HasSubstr("a test of type 'raw' is not read"));
  Write("regression_data/a/a.json", event);
  EXPECT_EQ(Test(), 1);
  EXPECT_THAT(out_, HasSubstr("expected 1 such incidents, found 0"));
}

TEST(RuleTestRecorded, SplitsObjects) {
  std::vector<std::string_view> objects;
  EXPECT_TRUE(SplitJsonObjects(R"([{"a": "}\"{"},
 {"b": {"c": 1}}])",
                               &objects));
  EXPECT_THAT(objects, ElementsAre(R"({"a": "}\"{"})", R"({"b": {"c": 1}})"));
  EXPECT_FALSE(SplitJsonObjects("{\"a\": 1", &objects));
}

TEST(RuleTestRecord, TimesAreReadBackInEveryFormat) {
  RuleTestEvent event;
  event.record.kind = NodeKind::kMap;
  event.time = kRuleTestStart + 123'456'789;
  for (const std::string_view name : BuiltinFormatNames()) {
    const Format& format = *FindBuiltinFormat(name);
    std::string problem;
    const std::string json = MakeTestRecord(event, format, &problem);
    EXPECT_THAT(problem, IsEmpty()) << name;
    const FieldTable fields;
    Decoder decoder(format, fields, DecoderOptions{});
    Record record;
    record.bytes = json;
    Event decoded;
    EXPECT_EQ(decoder.Decode(record, &decoded), DecodeResult::kOk) << name << ": " << json;
    EXPECT_EQ(decoded.time, event.time) << name << ": " << json;
  }
  for (const char* pattern : {"%Y-%m-%d %H:%M:%S%f%z", "%d/%b/%Y:%H:%M:%S%f %z", "%s%f"}) {
    TimeSpec spec;
    spec.encoding = TimeEncoding::kPattern;
    spec.pattern = pattern;
    std::string error;
    const auto compiled = TimePattern::Compile(pattern, 0, &error);
    ASSERT_TRUE(compiled.has_value()) << error;
    EXPECT_EQ(compiled->Parse(TimeAsWritten(spec, event.time)), event.time) << pattern;
  }
  for (const TimeEncoding encoding : {TimeEncoding::kEpochS, TimeEncoding::kEpochMs,
                                      TimeEncoding::kEpochUs, TimeEncoding::kEpochNs}) {
    TimeSpec spec;
    spec.encoding = encoding;
    constexpr EpochUnit kUnits[] = {EpochUnit::kSeconds, EpochUnit::kMillis, EpochUnit::kMicros,
                                    EpochUnit::kNanos};
    const auto unit = kUnits[static_cast<int>(encoding) - static_cast<int>(TimeEncoding::kEpochS)];
    EXPECT_EQ(ParseEpoch(TimeAsWritten(spec, event.time), unit), event.time);
  }
}

}  // namespace
}  // namespace bongsu
