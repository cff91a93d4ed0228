// Sigma documents as data: metadata, log sources, correlations and filters, and what is wrong with
// them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "operators/sigma/rule.h"

namespace bongsu::sigma {
namespace {

using ::testing::HasSubstr;

std::optional<Rule> Parse(const std::string& yaml, std::string* problems = nullptr) {
  Diagnostics diagnostics;
  const std::vector<Node> documents = ParseYaml(yaml, "r.yml", YamlLimits{}, diagnostics);
  EXPECT_EQ(documents.size(), 1u);
  std::optional<Rule> rule = ParseRule(documents.at(0), diagnostics);
  if (problems != nullptr) *problems = diagnostics.Text();
  if (problems == nullptr) {
    EXPECT_EQ(diagnostics.Text(), "");
  }
  return rule;
}

std::string Problem(const std::string& yaml) {
  std::string problems;
  EXPECT_FALSE(Parse(yaml, &problems).has_value()) << yaml;
  return problems;
}

constexpr char kDetection[] = R"(
title: Shell by a server
id: 0e95725d-7320-415d-80f7-004da920fc11
name: shell_by_server
related: [{id: 929a690e-bef0-4204-a928-ef5e620d6fcc, type: derived}]
status: test
description: text
license: MIT
author: one, two
date: 2026-01-31
modified: 2026-02-01
level: high
taxonomy: sigma
references: [https://example.org/a]
tags: [attack.execution, attack.t1059.001]
falsepositives: Unlikely
fields: [Image]
output_fields: [User]
scope: [server]
runbook: {team: blue, steps: [a, b]}
logsource: {category: process_creation, product: windows, definition: needs 4688, tier: one}
detection:
  sel: {Image|endswith: '\cmd.exe'}
  condition: sel
)";

TEST(SigmaRule, MetadataIsReadWholeAndCustomFieldsAreCarried) {
  const std::optional<Rule> rule = Parse(kDetection);
  ASSERT_TRUE(rule);
  const Metadata& m = rule->metadata;
  EXPECT_EQ(rule->kind(), RuleKind::kDetection);
  EXPECT_EQ(m.id, "0e95725d-7320-415d-80f7-004da920fc11");
  EXPECT_EQ(m.name, "shell_by_server");
  EXPECT_EQ(m.title, "Shell by a server");
  EXPECT_EQ(m.status, "test");
  EXPECT_EQ(m.license, "MIT");
  EXPECT_EQ(m.author, "one, two");
  EXPECT_EQ(m.date, "2026-01-31");
  EXPECT_EQ(m.modified, "2026-02-01");
  EXPECT_EQ(m.level, "high");
  EXPECT_EQ(m.tags, (std::vector<std::string>{"attack.execution", "attack.t1059.001"}));
  EXPECT_EQ(m.falsepositives, std::vector<std::string>{"Unlikely"});
  EXPECT_EQ(m.fields, std::vector<std::string>{"Image"});
  EXPECT_EQ(m.output_fields, std::vector<std::string>{"User"});
  EXPECT_EQ(m.scope, std::vector<std::string>{"server"});
  ASSERT_EQ(m.related.size(), 1u);
  EXPECT_EQ(m.related[0].type, "derived");
  ASSERT_EQ(m.custom.size(), 1u);
  EXPECT_EQ(m.custom[0].first, "runbook");
  EXPECT_EQ(m.custom[0].second.Find("team")->scalar, "blue");
  EXPECT_EQ(m.where.file, "r.yml");
  const RuleLogsource& logsource = rule->detection().logsource;
  EXPECT_EQ(logsource.category, "process_creation");
  EXPECT_EQ(logsource.product, "windows");
  EXPECT_EQ(logsource.service, "");
  EXPECT_EQ(logsource.definition, "needs 4688");
  ASSERT_EQ(logsource.other.size(), 1u);
  EXPECT_EQ(rule->detection().detection.entries.size(), 2u);
}

TEST(SigmaRule, MistakesOfADocumentAreAllReportedWithTheirPlace) {
  const std::string text = Problem(R"(id: x
level: hihg
logsource: {categroy: a}
detection: {sel: {a: 1}, condition: sel}
)");
  EXPECT_NE(text.find("r.yml:1:1: error: a rule needs a title"), std::string::npos) << text;
  EXPECT_NE(text.find("r.yml:2:8: error: unknown level 'hihg' (did you mean 'high'?)"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("r.yml:3:13: error: unknown key 'categroy' in logsource"), std::string::npos)
      << text;
}

TEST(SigmaRule, ADocumentIsOneOfDetectionCorrelationAndFilter) {
  EXPECT_NE(Problem("{title: t, logsource: {product: p}, detecton: {}}")
                .find("is 'detecton' meant to be 'detection'?"),
            std::string::npos);
  EXPECT_NE(Problem("{title: t, detection: {}, correlation: {}}").find("is one of"),
            std::string::npos);
  EXPECT_NE(Problem("{title: t, detection: {a: {b: 1}, condition: a}}").find("needs a logsource"),
            std::string::npos);
}

TEST(SigmaRule, CorrelationIsReadWhole) {
  const std::optional<Rule> rule = Parse(R"(
title: Many users
id: c1
level: medium
generate: true
correlation:
  type: value_count
  rules: [failed, 5638f7c0-ac70-491d-8465-2a65075e0d86]
  group-by: [host, src]
  aliases:
    src: {failed: IpAddress, 5638f7c0-ac70-491d-8465-2a65075e0d86: SourceIp}
  timespan: 90m
  condition: {field: [User, Domain], gt: 100, lte: 2.5e2}
  bongsu: {reset: true}
)");
  ASSERT_TRUE(rule);
  ASSERT_EQ(rule->kind(), RuleKind::kCorrelation);
  const CorrelationRule& c = rule->correlation();
  EXPECT_EQ(c.type, CorrelationType::kValueCount);
  ASSERT_EQ(c.rules.size(), 2u);
  EXPECT_EQ(c.rules[0].text, "failed");
  EXPECT_EQ(c.rules[0].where.line, 8);
  ASSERT_EQ(c.group_by.size(), 2u);
  ASSERT_EQ(c.aliases.size(), 1u);
  EXPECT_EQ(c.aliases[0].alias.text, "src");
  ASSERT_EQ(c.aliases[0].fields.size(), 2u);
  EXPECT_EQ(c.aliases[0].fields[0].second.text, "IpAddress");
  EXPECT_EQ(c.timespan, 90 * kMinuteNs);
  ASSERT_EQ(c.fields.size(), 2u);
  ASSERT_EQ(c.comparisons.size(), 2u);
  EXPECT_EQ(c.comparisons[0].op, ComparisonOperator::kGt);
  EXPECT_EQ(c.comparisons[1].decimal, "250");
  EXPECT_EQ(c.comparisons[1].value, 250.0);
  EXPECT_TRUE(c.generate);
  EXPECT_TRUE(rule->metadata.custom.empty());
  EXPECT_EQ(c.extensions.Find("reset")->scalar, "true");
}

TEST(SigmaRule, CorrelationNamesItsRulesInAnExpressionAlone) {
  const std::optional<Rule> rule = Parse(
      "{title: t, correlation: {type: temporal, timespan: 5m, condition: (a or B) AND not c and "
      "a}}");
  ASSERT_TRUE(rule);
  const CorrelationRule& c = rule->correlation();
  ASSERT_EQ(c.rules.size(), 3u);
  EXPECT_EQ(c.rules[0].text, "a");
  EXPECT_EQ(c.rules[1].text, "B");
  EXPECT_EQ(c.rules[2].text, "c");
  EXPECT_TRUE(c.group_by.empty());
}

TEST(SigmaRule, QuantifiersChooseAmongTheRulesOfACorrelation) {
  const auto expression = [](const std::string& condition) {
    const std::optional<Rule> rule = Parse(
        "{title: t, correlation: {type: temporal, timespan: 5m, rules: [fw_a, fw_b, c], "
        "condition: " +
        condition + "}}");
    return rule ? rule->correlation().expression.text : "";
  };
  EXPECT_EQ(expression("all of them"), "(fw_a and fw_b and c)");
  EXPECT_EQ(expression("1 of fw_* and not c"), "(fw_a or fw_b) and not c");
  EXPECT_EQ(expression("(Any Of f*a or ALL of fw*) and c"), "( (fw_a) or (fw_a and fw_b) ) and c");
  EXPECT_THAT(Problem("{title: t, correlation: {type: temporal, timespan: 5m, rules: [a, b], "
                      "condition: 1 of x*}}"),
              HasSubstr("'x*' fits none of 'rules'"));
  EXPECT_THAT(Problem("{title: t, correlation: {type: temporal, timespan: 5m, "
                      "condition: all of them}}"),
              HasSubstr("fits none of 'rules'"));
  // Many stars take no long time.
  const std::string stars = "1 of " + [] {
    std::string text;
    for (int i = 0; i < 400; ++i) text += "*a";
    return text;
  }() + "b";
  EXPECT_THAT(Problem("{title: t, correlation: {type: temporal, timespan: 5m, rules: [" +
                      std::string(800, 'a') + ", b], condition: '" + stars + "'}}"),
              HasSubstr("fits none"));
}

TEST(SigmaRule, WhatWouldBeIgnoredIsRefused) {
  EXPECT_THAT(Problem("{title: t, filter: {rules: [a], sel: {x: 1}, condition: sel}, "
                      "bongsu: {condition_means: exclude}}"),
              HasSubstr("it belongs inside 'correlation:' or 'filter:'"));
  EXPECT_THAT(Problem("{title: t, sigma-version: 3, logsource: {product: p}, "
                      "detection: {sel: {'k[any]|contains': a}, condition: sel}}"),
              HasSubstr("array quantifiers"));
  EXPECT_TRUE(
      Parse("{title: t, logsource: {product: p}, "
            "detection: {sel: {'k[any]': a}, condition: sel}}"));
  EXPECT_THAT(Problem("{title: t, correlation: {type: event_count, rules: [a], timespan: 101y, "
                      "condition: {gte: 2}}}"),
              HasSubstr("at most 100y"));
}

TEST(SigmaRule, TagsOfYamlThatWouldChangeAValueAreRefused) {
  const auto problem = [](const std::string& value) {
    Diagnostics diagnostics;
    ParseYaml("{k: " + value + "}", "r.yml", YamlLimits{}, diagnostics);
    return diagnostics.Text();
  };
  EXPECT_THAT(problem("!!binary aGFsbG8="), HasSubstr("the tag '!!binary' is not known"));
  EXPECT_THAT(problem("!include other.yml"), HasSubstr("the tag '!include' is not known"));
  for (const char* fine : {"!!str 5", "!!int 5", "'x'", "! x", "!!seq [x]", "!!map {a: b}"})
    EXPECT_EQ(problem(fine), "");
}

TEST(SigmaRule, ASmallFileDoesNotBecomeALargeRule) {
  std::string bomb = "title: t\nlogsource: {product: p}\nx0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n";
  for (int i = 1; i < 7; ++i)
    bomb += fmt::format("x{0}: &x{0} [*x{1}, *x{1}, *x{1}, *x{1}, *x{1}, *x{1}, *x{1}, *x{1}]\n", i,
                        i - 1);
  Diagnostics diagnostics;
  ParseYaml(bomb, "r.yml", YamlLimits{}, diagnostics);
  EXPECT_THAT(diagnostics.Text(), HasSubstr("aliases stand for more than 100000 nodes"));
}

TEST(SigmaRule, CorrelationMistakes) {
  const auto problem = [](const std::string& body) {
    return Problem("{title: t, correlation: {" + body + "}}");
  };
  const std::pair<const char*, const char*> cases[] = {
      {"type: event_cont, rules: a, timespan: 1s, condition: {gte: 1}",
       "did you mean 'event_count'?"},
      {"type: event_count, rules: a, timespan: 1s", "event_count needs a condition"},
      {"type: event_count, rules: a, timespan: 1h30m, condition: {gte: 1}",
       "'1h30m' is no timespan"},
      {"type: event_count, rules: a, timespan: 0s, condition: {gte: 1}", "'0s' is no timespan"},
      {"type: event_count, rules: a, condition: {gte: 1}", "needs 'timespan'"},
      {"type: event_count, timespan: 1s, condition: {gte: 1}", "needs 'rules'"},
      {"type: event_count, rules: [a, a], timespan: 1s, condition: {gte: 1}", "names 'a' twice"},
      {"type: event_count, rules: a, timespan: 1s, condition: {gte: x}", "'gte' must be a number"},
      {"type: event_count, rules: a, timespan: 1s, condition: {gt: 10, lt: 5}", "no number meets"},
      {"type: event_count, rules: a, timespan: 1s, condition: {gt: 5, lt: 5}", "no number meets"},
      {"type: event_count, rules: a, timespan: 1s, condition: {eq: 2.5}", "no number meets"},
      {"type: event_count, rules: a, timespan: 1s, condition: {eq: 2, neq: 2}", "no number meets"},
      {"type: value_count, rules: a, timespan: 1s, condition: {field: b, gt: 2, lt: 3}",
       "no number meets"},
      {"type: event_count, rules: a, timespan: 1s, condition: {lt: 0}", "no number meets"},
      {"type: value_sum, rules: a, timespan: 1s, condition: {field: b, gte: 2, lte: 2, neq: 2}",
       "no number meets"},
      {"type: event_count, rules: a, timespan: 1s, condition: {field: b, gte: 1}",
       "event_count has no use for 'field'"},
      {"type: event_count, rules: a, timespan: 1s, condition: a", "needs a map as condition"},
      {"type: value_count, rules: a, timespan: 1s, condition: {gte: 1}", "needs condition.field"},
      {"type: value_sum, rules: a, timespan: 1s, condition: {field: [b, c], gte: 1}",
       "value_sum takes one field"},
      {"type: value_sum, rules: a, timespan: 1s, condition: {field: b, percentile: 5, gte: 1}",
       "has no use for 'percentile'"},
      {"type: value_percentile, rules: a, timespan: 1s, condition: {field: b, percentile: 101, "
       "gte: 1}",
       "is no percentile"},
      {"type: value_percentile, rules: a, timespan: 1s, condition: {field: b, percentile: "
       "99.9999999999, gte: 1}",
       "at most nine decimal places"},
      {"type: temporal, rules: [a, b], timespan: 1s, condition: a and not d",
       "names 'd', which 'rules' does not"},
      {"type: temporal, rules: [a, b], timespan: 1s, groupby: c", "did you mean 'group-by'?"},
  };
  for (const auto& [body, expected] : cases)
    EXPECT_NE(problem(body).find(expected), std::string::npos) << body << "\n" << problem(body);
}

TEST(SigmaRule, TimespanUnits) {
  EXPECT_EQ(ParseTimespan("15s"), 15 * kSecondNs);
  EXPECT_EQ(ParseTimespan("2h"), 2 * kHourNs);
  EXPECT_EQ(ParseTimespan("7d"), 7 * kDayNs);
  EXPECT_EQ(ParseTimespan("1w"), 7 * kDayNs);
  EXPECT_EQ(ParseTimespan("1M"), 2'629'746 * kSecondNs);
  EXPECT_EQ(ParseTimespan("1y"), 31'556'952 * kSecondNs);
  for (const char* bad : {"", "s", "5", "5x", "-5s", "5 s", "5ms", "999999999999y", "5S"})
    EXPECT_FALSE(ParseTimespan(bad)) << bad;
}

TEST(SigmaRule, FilterByIdsOrAny) {
  const std::optional<Rule> ids = Parse(R"(
title: f
logsource: {product: windows}
filter:
  rules: [a, b]
  selection: {User|startswith: adm_}
  condition: not selection
)");
  ASSERT_TRUE(ids);
  ASSERT_EQ(ids->kind(), RuleKind::kFilter);
  EXPECT_FALSE(ids->filter().any);
  ASSERT_EQ(ids->filter().rules.size(), 2u);
  EXPECT_EQ(ids->filter().detection.entries.size(), 2u);
  const std::optional<Rule> any = Parse(
      "{title: f, logsource: {product: w}, filter: {rules: any, s: {a: 1}, condition: not s}}");
  ASSERT_TRUE(any);
  EXPECT_TRUE(any->filter().any);
  EXPECT_NE(Problem("{title: f, logsource: {product: w}, filter: {s: {a: 1}, condition: s}}")
                .find("a filter needs 'rules'"),
            std::string::npos);
  EXPECT_NE(Problem("{title: f, filter: {rules: any, s: {a: 1}, condition: s}}")
                .find("needs a logsource"),
            std::string::npos);
}

}  // namespace
}  // namespace bongsu::sigma
