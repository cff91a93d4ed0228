// Every measured correlation against the oracle: thousands of small random cases, in random order
// within the lateness, with ties, evicted and killed between batches.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <random>
#include <set>

#include "operators/sigma/correlation_runs.h"
#include "tests/operators/correlation_oracle.h"
#include "tests/testing/sanitized.h"

namespace bongsu {
namespace {

using testing::OperatorHarness;
using testing::OracleEvent;
using testing::OracleOptions;
using testing::RunOptions;
using testing::TestEvent;

using Window = std::vector<OracleEvent>;

uint64_t Seed() {
  const char* given = std::getenv("BONGSU_SEED");
  return given != nullptr
             ? std::strtoull(given, nullptr, 10)
             : static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

// `twice`: each event meets two of the rules, and is one event.
std::string Rules(const std::string& type, DurationNs span, const std::string& condition,
                  const std::string& extensions, bool twice) {
  return fmt::format(R"(
title: A
name: a
logsource: {{product: any}}
detection: {{sel: {{kind: a}}, condition: sel}}
---
title: A, too
name: again
logsource: {{product: any}}
detection: {{sel: {{kind|startswith: a}}, condition: sel}}
---
title: C
name: c
correlation:
  type: {}
  rules: {}
  group-by: [ip]
  timespan: {}s
  condition: {{{}}}
  bongsu: {{evidence_max: 1000{}}}
)",
                     type, twice ? "[a, again]" : "a", span / kSecondNs, condition,
                     extensions.empty() ? "" : ", " + extensions);
}

// Now and then several values in one event.
std::string Values(std::mt19937_64& random, uint64_t most,
                   const std::function<std::string()>& one) {
  std::string values = one();
  for (uint64_t more = random() % most; more > 0; --more)
    values += testing::kArraySeparator + one();
  return values;
}

int64_t Number(const OracleEvent& event) { return std::stoll(event.value); }

// One random correlation, as a rule and as the oracle's predicate.
struct Case {
  std::string rules;
  bool tiled = false;
  bool early = false;
  OracleOptions oracle;
  std::vector<TestEvent> events;
  DurationNs lateness = 0;
};

// What a window measures, as a fraction; false: nothing. `permille`: of a percentile.
bool MeasureOf(const std::string& type, size_t permille, const Window& window, int64_t* numerator,
               int64_t* denominator) {
  std::vector<int64_t> values;
  int64_t sum = 0;
  std::set<std::string> distinct;
  for (const OracleEvent& event : window) {
    for (const std::string_view value : testing::Members(event.value)) distinct.emplace(value);
    values.push_back(Number(event));
    sum += values.back();
  }
  std::sort(values.begin(), values.end());
  *denominator = 1;
  if (type == "event_count") *numerator = static_cast<int64_t>(window.size());
  if (type == "value_count") *numerator = static_cast<int64_t>(distinct.size());
  if (type == "value_sum") *numerator = sum;
  if (type == "event_count" || type == "value_count" || type == "value_sum") return true;
  if (values.empty()) return false;
  const size_t n = values.size();
  if (type == "value_avg") {
    *numerator = sum;
    *denominator = static_cast<int64_t>(n);
  } else if (type == "value_median") {
    *numerator = values[(n - 1) / 2] + values[n / 2];
    *denominator = 2;
  } else {  // the least value that has at least so many at or below it
    size_t rank = 1;
    while (1000 * rank < permille * n) ++rank;
    *numerator = values[rank - 1];
  }
  return true;
}

bool Compare(const std::string& op, int64_t numerator, int64_t denominator, int64_t number) {
  const int64_t other = number * denominator;
  if (op == "gt") return numerator > other;
  if (op == "gte") return numerator >= other;
  if (op == "lt") return numerator < other;
  if (op == "lte") return numerator <= other;
  return op == "eq" ? numerator == other : numerator != other;
}

Case RandomCase(std::mt19937_64& random, const std::string& type) {
  Case one;
  const auto pick = [&](uint64_t n) { return static_cast<int64_t>(random() % n); };
  const bool grows = type == "event_count" || type == "value_count";
  one.oracle.span = (1 + pick(12)) * kSecondNs;
  one.tiled = random() % 3 == 0;
  const std::vector<std::string> ops = one.tiled
                                           ? std::vector<std::string>{"lt", "lte", "eq", "neq"}
                                           : std::vector<std::string>{"gt", "gte"};
  const std::string op = ops[random() % ops.size()];
  // A window of a group has an event: a rule that asks for none is refused.
  const int64_t least = op == "lt" ? 2 : op == "lte" || op == "eq" ? 1 : 0;
  const int64_t number = grows ? std::max(pick(6), least) : pick(40) - 10;
  std::string extensions;
  one.early = !one.tiled && grows && random() % 2 == 0;
  if (!one.tiled && grows && !one.early && random() % 3 > 0) {
    extensions = "emit: watermark";
  }
  if (!one.tiled && !one.early && random() % 3 == 0) {
    one.oracle.reset = true;
    extensions = "reset: true";
  } else if (!one.tiled && !one.early && random() % 3 == 0) {
    one.oracle.suppress = (1 + pick(30)) * kSecondNs;
    extensions = fmt::format("suppress: {}s", one.oracle.suppress / kSecondNs);
  } else if (grows && !one.tiled && !one.early && extensions.empty()) {
    extensions = "emit: watermark";
  }
  if (!one.tiled && random() % 3 == 0) {
    one.oracle.max_episode = one.oracle.span + pick(20) * kSecondNs;
    extensions += fmt::format("{}max_episode: {}s", extensions.empty() ? "" : ", ",
                              one.oracle.max_episode / kSecondNs);
  }
  std::string condition = fmt::format("{}: {}", op, number);
  if (type != "event_count") condition += ", field: value";
  // Also those whose part of n is a whole number that floating point misses.
  constexpr size_t kPermilles[] = {0, 1, 70, 290, 550, 570, 580, 750, 999, 1000};
  const size_t permille = kPermilles[random() % std::size(kPermilles)];
  if (type == "value_percentile")
    condition += fmt::format(", percentile: {}.{}", permille / 10, permille % 10);
  one.rules = Rules(type, one.oracle.span, condition, extensions, random() % 4 == 0);
  one.oracle.holds = [=](const Window& window) {
    int64_t numerator = 0;
    int64_t denominator = 1;
    return MeasureOf(type, permille, window, &numerator, &denominator) &&
           Compare(op, numerator, denominator, number);
  };
  one.lateness = pick(25) * kSecondNs;
  const int64_t length = 1 + pick(90);
  const int64_t events = 1 + pick(240);
  const int64_t start = pick(3) * 1000 - 1000;
  const uint64_t values_max = type == "value_count" && random() % 2 == 0 ? 4 : 1;
  // Half a second apart at times: windows end between whole ones, too.
  for (int64_t i = 0; i < events; ++i) {
    TestEvent event;
    event.source = "fw";
    event.time =
        (start + pick(static_cast<uint64_t>(length))) * kSecondNs + pick(2) * kSecondNs / 2;
    event.fields = {{"kind", "a"},
                    {"ip", fmt::format("10.0.0.{}", pick(6))},
                    {"value", Values(random, values_max, [&] {
                       return std::to_string(grows ? pick(6) : pick(30) - 10);
                     })}};
    event.offset = i;
    one.events.push_back(std::move(event));
  }
  return one;
}

void CheckType(const std::string& type, int cases) {
  const uint64_t seed = Seed();
  cases = Fewer(cases);
  std::mt19937_64 random(seed);
  for (int i = 0; i < cases; ++i) {
    const Case one = RandomCase(random, type);
    SCOPED_TRACE(fmt::format("BONGSU_SEED={} case {}\n{}", seed, i, one.rules));
    OperatorHarness harness(one.rules, "c", {"fw"});
    const bool followed = random() % 2 == 0;
    harness.set_has_readers(followed || random() % 2 == 0);
    harness.set_has_followers(followed);
    const auto groups = testing::ByKey(one.events, "ip", "value");
    std::vector<testing::OracleResult> results;
    const std::string expected =
        testing::Text(one.tiled ? testing::TiledOracle(groups, one.oracle)
                                : testing::SlidingOracle(groups, one.oracle, &results));
    std::vector<std::string> first;
    for (int round = 0; round < 2; ++round) {
      RunOptions options;
      options.lateness = one.lateness;
      options.batch = 1 + random() % 20;
      options.evict_to = random() % 16 == 0 ? 0 : SIZE_MAX;
      options.crash_between = random() % 16 == 0;
      const auto found =
          harness.Run(testing::ShuffledWithin(one.events, one.lateness, random()), options);
      ASSERT_EQ(harness.late(), 0u);
      ASSERT_EQ(testing::Text(testing::Found(found)), expected);
      if (followed && !one.tiled) {
        ASSERT_EQ(testing::Text(testing::Results(harness)), testing::Text(results));
      }
      if (one.early) continue;
      // Decided when nothing older can come: the same to the last byte in any order.
      std::vector<std::string> emitted = harness.emitted();
      std::sort(emitted.begin(), emitted.end());
      if (round == 0) first = emitted;
      ASSERT_EQ(emitted, first);
    }
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(CorrelationOracle, EventCount) { CheckType("event_count", 300); }
TEST(CorrelationOracle, ValueCount) { CheckType("value_count", 300); }
TEST(CorrelationOracle, ValueSum) { CheckType("value_sum", 100); }
TEST(CorrelationOracle, ValueAvg) { CheckType("value_avg", 100); }
TEST(CorrelationOracle, ValuePercentile) { CheckType("value_percentile", 100); }
// Close to a number of values that is worth keeping runs for, above and below it, for long.
TEST(CorrelationOracle, ValueCountThatHovers) {
  const uint64_t seed = Seed();
  std::mt19937_64 random(seed);
  for (int i = 0; i < Fewer(20); ++i) {
    const auto pick = [&](uint64_t n) { return static_cast<int64_t>(random() % n); };
    OracleOptions oracle;
    oracle.span = 5 * kSecondNs;
    oracle.reset = i % 4 == 3;
    const auto number = static_cast<size_t>(2 * sigma::ValueRuns::kCountedMax + 64 + pick(32));
    oracle.holds = [number](const Window& window) {
      std::set<std::string> distinct;
      for (const OracleEvent& event : window) {
        for (const std::string_view value : testing::Members(event.value)) distinct.emplace(value);
      }
      return distinct.size() >= number;
    };
    const std::string rules =
        Rules("value_count", oracle.span, fmt::format("gte: {}, field: value", number),
              oracle.reset ? "reset: true"
              : i % 2 == 0 ? "emit: watermark"
                           : "",
              /*twice=*/i % 5 == 4);
    std::vector<TestEvent> events;
    const auto values = static_cast<uint64_t>(number) + 5 + random() % 300;
    const bool arrays = i % 3 == 0;
    const int64_t per_second = arrays ? 30 + pick(30) : 60 + pick(40);
    for (int64_t n = 0; n < 1'000; ++n) {
      TestEvent event{.source = "fw", .time = n * kSecondNs / per_second};
      event.fields = {{"kind", "a"}, {"ip", "h"}, {"value", Values(random, arrays ? 4 : 1, [&] {
                                                     return std::to_string(pick(values));
                                                   })}};
      event.offset = n;
      events.push_back(std::move(event));
    }
    SCOPED_TRACE(fmt::format("BONGSU_SEED={} case {}\n{}", seed, i, rules));
    OperatorHarness harness(rules, "c", {"fw"});
    const std::string expected =
        testing::Text(testing::SlidingOracle(testing::ByKey(events, "ip", "value"), oracle));
    const DurationNs lateness = pick(8) * kSecondNs;
    RunOptions options;
    options.lateness = lateness;
    options.batch = 1 + random() % 20;
    options.crash_between = i % 8 == 0;
    const auto found = harness.Run(testing::ShuffledWithin(events, lateness, random()), options);
    ASSERT_EQ(testing::Text(testing::Found(found)), expected);
  }
}
TEST(CorrelationOracle, ValueMedian) { CheckType("value_median", 100); }

}  // namespace
}  // namespace bongsu
