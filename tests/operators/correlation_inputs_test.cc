// Which fields correlations read, and what they carry for those above them.
#include "operators/sigma/correlation_inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bongsu::sigma {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kDetections[] = R"(
title: Logon fails
id: 11111111-2222-4333-8444-555555555501
name: fails
logsource: {product: windows}
detection: {sel: {EventID: 4625}, condition: sel}
---
title: Linux logon fails
id: 11111111-2222-4333-8444-555555555502
name: ssh_fails
logsource: {product: linux}
detection: {sel: {app: sshd}, condition: sel}
---
)";

class CorrelationInputsTest : public ::testing::Test {
 protected:
  std::vector<CorrelationPlan> Plan(const std::string& correlations) {
    rules_ = ParseRuleSet(kDetections + correlations, "r.yml", {.strict = true}, diagnostics_);
    shapes_ = {{"win", &any_, &win_, {"Computer"}}, {"lin", &any_, &lin_, {}}};
    EXPECT_FALSE(diagnostics_.has_errors()) << diagnostics_.Text();
    binding_ = BindRules(rules_, shapes_, diagnostics_);
    return PlanCorrelations(rules_, binding_, shapes_, diagnostics_);
  }
  Diagnostics diagnostics_;
  LogSourceMap any_;
  FieldTable win_;
  FieldTable lin_;
  std::vector<SourceShape> shapes_;
  RuleSet rules_;
  RuleBinding binding_;
};

TEST_F(CorrelationInputsTest, OnePortForEachRuleAndSource) {
  const auto plans = Plan(R"(
title: C
correlation:
  {type: event_count, rules: [fails, ssh_fails], group-by: [U], timespan: 5m, condition: {gte: 3}}
)");
  ASSERT_EQ(plans.size(), 1u);
  ASSERT_EQ(plans[0].inputs.size(), 4u);
  EXPECT_EQ(plans[0].inputs[1].from.reference, 0u);
  EXPECT_EQ(plans[0].inputs[1].from.source, "lin");
  EXPECT_EQ(plans[0].inputs[2].from.reference, 1u);
  EXPECT_THAT(plans[0].inputs[0].key_fields, ElementsAre("U"));
  EXPECT_THAT(plans[0].inputs[0].fields, ElementsAre("U", "Computer"));
  EXPECT_GE(win_.Find("U"), 0);
  EXPECT_THAT(plans[0].results, IsEmpty());
}

TEST_F(CorrelationInputsTest, AliasesAreResolvedForEachRule) {
  const auto plans = Plan(R"(
title: C
correlation:
  type: value_count
  rules: [fails, ssh_fails]
  aliases: {who: {fails: TargetUserName, 11111111-2222-4333-8444-555555555502: user}}
  group-by: [src]
  timespan: 5m
  condition: {field: who, gte: 3}
)");
  ASSERT_EQ(plans.size(), 1u);
  EXPECT_THAT(plans[0].inputs[0].value_fields, ElementsAre("TargetUserName"));
  EXPECT_THAT(plans[0].inputs[2].value_fields, ElementsAre("user"));
  EXPECT_THAT(plans[0].inputs[2].fields, ElementsAre("user", "src", "Computer"));
}

TEST_F(CorrelationInputsTest, OuterGroupByMayUseFieldsThatTheInnerLacks) {
  const auto plans = Plan(R"(
title: Outer
correlation:
  type: event_count
  rules: inner
  aliases: {addr: {fails: IpAddress, ssh_fails: rhost}}
  group-by: [addr, Domain]
  timespan: 1h
  condition: {gte: 2}
---
title: Inner
name: inner
correlation:
  {type: event_count, rules: [fails, ssh_fails], group-by: [U], timespan: 5m, condition: {gte: 3}}
)");
  ASSERT_EQ(plans.size(), 2u);
  const CorrelationPlan& inner = plans[0];
  const CorrelationPlan& outer = plans[1];
  EXPECT_EQ(rules_.entries[inner.entry].rule.metadata.name, "inner");
  ASSERT_EQ(inner.results.size(), 2u);
  EXPECT_THAT(outer.inputs[0].key_fields, ElementsAre("addr of Outer", "Domain"));
  EXPECT_EQ(inner.results[0].name, "addr of Outer");
  EXPECT_EQ(inner.inputs[0].fields[static_cast<size_t>(inner.results[0].positions[0])],
            "IpAddress");
  EXPECT_EQ(inner.inputs[2].fields[static_cast<size_t>(inner.results[0].positions[2])], "rhost");
  EXPECT_EQ(inner.inputs[0].fields[static_cast<size_t>(inner.results[1].positions[0])], "Domain");
}

// The outer one's field is the inner one's alias, or is said for the inner correlation itself.
TEST_F(CorrelationInputsTest, AliasesResolveInChainedRulesToo) {
  const auto plans = Plan(R"(
title: Inner
name: inner
correlation:
  type: event_count
  rules: [fails]
  aliases: {who: {fails: TargetUserName}}
  group-by: [who]
  timespan: 5m
  condition: {gte: 3}
---
title: Outer
correlation:
  type: event_count
  rules: inner
  aliases: {person: {inner: who}}
  group-by: [who, person]
  timespan: 1h
  condition: {gte: 2}
)");
  ASSERT_EQ(plans.size(), 2u);
  ASSERT_EQ(plans[0].results.size(), 1u);
  EXPECT_THAT(plans[1].inputs[0].key_fields, ElementsAre("who of inner", "who of inner"));
  EXPECT_EQ(plans[0].inputs[0].fields[static_cast<size_t>(plans[0].results[0].positions[0])],
            "TargetUserName");
}

TEST_F(CorrelationInputsTest, ACorrelationThatNoSourceFeedsIsLeftOutWithAWarning) {
  shapes_.clear();
  rules_ = ParseRuleSet(std::string(kDetections) + R"(
title: C
correlation:
  {type: event_count, rules: [fails], group-by: [U], timespan: 5m, condition: {gte: 3}}
)",
                        "r.yml", {.strict = true}, diagnostics_);
  binding_ = BindRules(rules_, shapes_, diagnostics_);
  EXPECT_THAT(PlanCorrelations(rules_, binding_, shapes_, diagnostics_), IsEmpty());
  EXPECT_THAT(diagnostics_.Text(), HasSubstr("the correlation can never fire"));
}

}  // namespace
}  // namespace bongsu::sigma
