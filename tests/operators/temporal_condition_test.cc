// Conditions of temporal correlations, compiled and compared with the condition as it is written.
#include "operators/sigma/temporal_condition.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <random>

namespace bongsu::sigma {
namespace {

using ::testing::HasSubstr;

CorrelationRule Rule(CorrelationType type, int rules, const std::string& expression) {
  CorrelationRule rule;
  rule.type = type;
  for (int i = 0; i < rules; ++i) rule.rules.push_back({fmt::format("r{}", i), {}});
  rule.timespan = kMinuteNs;
  rule.expression.text = expression;
  return rule;
}

CorrelationRule Counted(CorrelationType type, int rules, ComparisonOperator op, double value) {
  CorrelationRule rule = Rule(type, rules, "");
  rule.comparisons.push_back({op, fmt::format("{}", value), value, {}});
  return rule;
}

std::string Refused(const CorrelationRule& rule) {
  Diagnostics diagnostics;
  EXPECT_FALSE(CompileTemporal(rule, diagnostics).has_value());
  EXPECT_TRUE(diagnostics.has_errors());
  return diagnostics.Text();
}

TemporalCondition Compiled(const CorrelationRule& rule) {
  Diagnostics diagnostics;
  auto condition = CompileTemporal(rule, diagnostics);
  EXPECT_TRUE(condition.has_value()) << diagnostics.Text();
  return *condition;
}

// A random condition, as its text and as what it means.
struct Random {
  std::mt19937_64& random;
  int rules;
  std::string Text(int depth, unsigned seen, bool* holds) {
    switch (depth == 0 ? 0 : random() % 4) {
      case 0: {
        const auto rule = static_cast<int>(random() % static_cast<uint64_t>(rules));
        *holds = (seen >> rule & 1) != 0;
        return fmt::format("r{}", rule);
      }
      case 1: {
        const std::string text = Text(depth - 1, seen, holds);
        *holds = !*holds;
        return "not (" + text + ")";
      }
      default: {
        const bool all = random() % 2 == 0;
        bool other = false;
        const std::string a = Text(depth - 1, seen, holds);
        const std::string b = Text(depth - 1, seen, &other);
        *holds = all ? *holds && other : *holds || other;
        return "(" + a + (all ? " and " : " or ") + b + ")";
      }
    }
  }
};

TEST(TemporalCondition, ExpressionsMeanWhatIsWritten) {
  const char* given = std::getenv("BONGSU_SEED");
  const uint64_t first =
      given != nullptr
          ? std::strtoull(given, nullptr, 10)
          : static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  int compiled = 0;
  for (uint64_t seed = first; seed < first + 2000; ++seed) {
    SCOPED_TRACE(fmt::format("BONGSU_SEED={}", seed));
    constexpr int kRules = 4;
    bool empty_holds = false;
    std::string text;
    {
      std::mt19937_64 random(seed);
      text = Random{random, kRules}.Text(3, 0, &empty_holds);
    }
    Diagnostics diagnostics;
    const auto condition =
        CompileTemporal(Rule(CorrelationType::kTemporal, kRules, text), diagnostics);
    if (!condition) continue;
    EXPECT_EQ(condition->HoldsWithoutEvents(), empty_holds) << text;
    ++compiled;
    for (unsigned seen = 0; seen < 1u << kRules; ++seen) {
      std::mt19937_64 random(seed);
      bool holds = false;
      Random{random, kRules}.Text(3, seen, &holds);
      std::vector<uint8_t> bytes;
      for (int i = 0; i < kRules; ++i) bytes.push_back(seen >> i & 1);
      ASSERT_EQ(condition->Holds(bytes), holds) << text << " seen " << seen;
    }
  }
  EXPECT_GT(compiled, 500);
}

TEST(TemporalCondition, WhatMoreRulesCanBreakIsDecidedWhenTheWindowCloses) {
  const auto kind = [](ComparisonOperator op, double value) {
    return Compiled(Counted(CorrelationType::kTemporal, 3, op, value)).kind();
  };
  EXPECT_EQ(kind(ComparisonOperator::kGte, 2), TemporalKind::kPositive);
  EXPECT_EQ(kind(ComparisonOperator::kGt, 2), TemporalKind::kPositive);
  EXPECT_EQ(kind(ComparisonOperator::kEq, 3), TemporalKind::kPositive);  // there are no more
  EXPECT_EQ(kind(ComparisonOperator::kEq, 2), TemporalKind::kTiles);
  EXPECT_EQ(kind(ComparisonOperator::kLt, 3), TemporalKind::kTiles);
  EXPECT_EQ(kind(ComparisonOperator::kNeq, 1), TemporalKind::kTiles);
  EXPECT_EQ(Compiled(Rule(CorrelationType::kTemporal, 2, "r0 and not r1")).kind(),
            TemporalKind::kAbsence);
  EXPECT_EQ(Compiled(Rule(CorrelationType::kTemporal, 2, "not (not r0 or not r1)")).kind(),
            TemporalKind::kPositive);
}

TEST(TemporalCondition, WhatHoldsWithoutEventsIsTiled) {
  const auto temporal = CorrelationType::kTemporal;
  for (const char* text : {"not r0", "r0 or not r1", "not r0 and not r1"}) {
    const TemporalCondition condition = Compiled(Rule(temporal, 2, text));
    EXPECT_EQ(condition.kind(), TemporalKind::kTiles) << text;
    EXPECT_TRUE(condition.HoldsWithoutEvents()) << text;
  }
  EXPECT_TRUE(Compiled(Rule(temporal, 2, "not r0")).HoldsWithEvents());
  EXPECT_FALSE(Compiled(Rule(temporal, 2, "not r0 and not r1")).HoldsWithEvents());
  EXPECT_FALSE(Compiled(Counted(temporal, 2, ComparisonOperator::kLt, 1)).HoldsWithEvents());
  EXPECT_FALSE(Compiled(Rule(temporal, 2, "r0 and not r1")).HoldsWithoutEvents());
  EXPECT_FALSE(Compiled(Counted(temporal, 2, ComparisonOperator::kEq, 1)).HoldsWithoutEvents());
}

TEST(TemporalCondition, SaysWhatCannotBe) {
  const auto temporal = CorrelationType::kTemporal;
  const auto ordered = CorrelationType::kTemporalOrdered;
  EXPECT_THAT(Refused(Rule(ordered, 2, "r0 or not r1")), HasSubstr("without any event"));
  EXPECT_THAT(Refused(Rule(ordered, 2, "not r0")), HasSubstr("without any event"));
  EXPECT_THAT(Refused(Rule(temporal, 2, "r0 and not r0")), HasSubstr("no window can meet"));
  EXPECT_THAT(Refused(Rule(temporal, 2, "r0 and")), HasSubstr("ends too early"));
  EXPECT_THAT(Refused(Counted(temporal, 2, ComparisonOperator::kGte, 3)), HasSubstr("from 0 to 2"));
  EXPECT_THAT(Refused(Counted(ordered, 2, ComparisonOperator::kLt, 1)), HasSubstr("from 1 to 2"));
  EXPECT_THAT(Refused(Counted(ordered, 20, ComparisonOperator::kGte, 10)),
              HasSubstr("more than 1000 possibilities"));
  EXPECT_THAT(Refused(Rule(temporal, 300, "")), HasSubstr("at most 256"));
  // A condition made to explode.
  std::string product = "(r0 or r1)";
  for (int i = 1; i < 12; ++i) product += fmt::format(" and (r{} or r{})", 2 * i, 2 * i + 1);
  EXPECT_THAT(Refused(Rule(temporal, 24, product)), HasSubstr("more than 1000 alternatives"));
}

TEST(TemporalCondition, OrderedCountsAreChains) {
  EXPECT_EQ(Compiled(Counted(CorrelationType::kTemporalOrdered, 5, ComparisonOperator::kGte, 3))
                .alternatives()
                .size(),
            10u);
  EXPECT_EQ(Compiled(Rule(CorrelationType::kTemporalOrdered, 3, "")).alternatives().size(), 1u);
}

}  // namespace
}  // namespace bongsu::sigma
