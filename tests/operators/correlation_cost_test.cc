// What an event of a flood costs: about the same, however its group's events lie and in which order
// they come. Each test runs as many events twice, once in the order that is easy, and compares what
// the processor had to do: quadratic work is many times more.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/testing/operator_harness.h"
#include "tests/testing/sanitized.h"

namespace bongsu {
namespace {

using testing::OperatorHarness;
using testing::RunOptions;
using testing::TestEvent;

// Under a sanitizer there is less to see, and it takes longer.
constexpr int kEvents = kSanitized ? 1'000 : 4'000;

std::string Rules(const std::string& correlation) {
  return R"(
title: A
name: a
logsource: {product: any}
detection: {sel: {kind: a}, condition: sel}
---
title: A, too
name: again
logsource: {product: any}
detection: {sel: {kind|startswith: a}, condition: sel}
---
title: B
name: b
logsource: {product: any}
detection: {sel: {kind: b}, condition: sel}
---
title: C
name: c
correlation:
)" + correlation;
}

TestEvent At(EventTimeNs time, const std::string& kind, const std::string& value = "1") {
  return {.source = "fw", .time = time, .fields = {{"kind", kind}, {"ip", "h"}, {"value", value}}};
}

// `n` events of one kind, evenly over `length` from `begin` on.
std::vector<TestEvent> Spread(int n, EventTimeNs begin, DurationNs length, const char* kind) {
  std::vector<TestEvent> events;
  for (int i = 0; i < n; ++i) events.push_back(At(begin + length / n * i, kind));
  return events;
}

std::vector<TestEvent> Joined(std::vector<TestEvent> first, const std::vector<TestEvent>& then) {
  first.insert(first.end(), then.begin(), then.end());
  return first;
}

double Cost(const std::string& rules, const std::vector<TestEvent>& events,
            DurationNs lateness = kHourNs) {
  OperatorHarness harness(rules, "c", {"fw"});
  harness.Run(events, {.batch = 100, .lateness = lateness});
  return harness.cpu_seconds();
}

void ExpectNoMore(double seconds, double easy) {
  EXPECT_LT(seconds, 5 * easy + 0.2) << "and " << easy << " s where it is easy";
}

TEST(CorrelationCost, TemporalEventsOfOneTime) {
  const std::string rules =
      Rules("  {type: temporal, rules: [a, b], group-by: [ip], timespan: 5m}\n");
  const auto ties = Spread(2 * kEvents, kHourNs, 0, "a");
  ExpectNoMore(Cost(rules, ties), Cost(rules, Spread(2 * kEvents, kHourNs, kSecondNs, "a")));
}

// The first step of a chain lies ahead of a flood of the last one: no chain goes through it.
TEST(CorrelationCost, OrderedEventsBehindANewerOne) {
  const std::string rules =
      Rules("  {type: temporal_ordered, rules: [a, b], group-by: [ip], timespan: 5m}\n");
  const auto flood = Spread(kEvents, kHourNs, 200 * kSecondNs, "b");
  const std::vector<TestEvent> ahead = {At(kHourNs + 250 * kSecondNs, "a")};
  ExpectNoMore(Cost(rules, Joined(ahead, flood)), Cost(rules, Joined(flood, ahead)));
}

// The window that ends at the newer one holds from the first event on; the others change nothing.
TEST(CorrelationCost, UnorderedEventsBehindANewerOne) {
  const std::string rules =
      Rules("  {type: temporal, rules: [a, b], group-by: [ip], timespan: 5m}\n");
  const auto flood = Spread(kEvents, kHourNs, 200 * kSecondNs, "b");
  const std::vector<TestEvent> ahead = {At(kHourNs + 250 * kSecondNs, "a")};
  ExpectNoMore(Cost(rules, Joined(ahead, flood)), Cost(rules, Joined(flood, ahead)));
}

TEST(CorrelationCost, ValueCountOfEventsThatMeetTwoRules) {
  const auto rules = [](const char* names) {
    return Rules(
        fmt::format("  {{type: value_count, rules: {}, group-by: [ip], timespan: 10m, condition: "
                    "{{field: value, gte: 300}}}}\n",
                    names));
  };
  std::vector<TestEvent> events;
  for (int i = 0; i < kEvents; ++i)
    events.push_back(At(kHourNs + i * kSecondNs / 100, "a", std::to_string(i % 200)));
  ExpectNoMore(Cost(rules("[a, again]"), events), Cost(rules("[a]"), events));
}

// Before and behind an event lie enough together, and in no window.
TEST(CorrelationCost, LateEventsOfWindowsThatAreTooFew) {
  const std::string rules =
      Rules(fmt::format("  {{type: event_count, rules: [a], group-by: [ip], timespan: 100s, "
                        "condition: {{gte: {}}}}}\n",
                        kEvents * 22 / 10));
  const auto late = Spread(2 * kEvents, kHourNs, 100 * kSecondNs, "a");
  const auto ahead = Spread(2 * kEvents, kHourNs + 100 * kSecondNs, 100 * kSecondNs, "a");
  ExpectNoMore(Cost(rules, Joined(ahead, late)), Cost(rules, Joined(late, ahead)));
}

// The watermark passes all windows at once, as behind a source that was idle.
TEST(CorrelationCost, WindowsOfAbsenceThatCloseTogether) {
  const std::string rules = Rules(
      "  {type: temporal, rules: [a, b], group-by: [ip], timespan: 1s, condition: a and not b}\n");
  std::vector<TestEvent> events;
  for (int i = 0; i < kEvents / 2; ++i) {
    events.push_back(At(kHourNs + 2 * i * kSecondNs, "a"));
    events.push_back(At(kHourNs + 2 * i * kSecondNs + kSecondNs / 2, "b"));
  }
  ExpectNoMore(Cost(rules, events, kDayNs), Cost(rules, events, 0));
}

}  // namespace
}  // namespace bongsu
