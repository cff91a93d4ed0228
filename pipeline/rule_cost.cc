#include "pipeline/rule_cost.h"

#include <ctime>

namespace bongsu {

int64_t ThreadCpuNs() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

void CostSampler::Sample(const sigma::SourceRules& rules, const Event& event,
                         RunCounters& counters) {
  int64_t before = ThreadCpuNs();
  for (const sigma::BoundRule& rule : rules.rules) {
    static_cast<void>(rule.whole->Matches(event));
    const int64_t now = ThreadCpuNs();
    counters.rules[rule.entry].cpu_ns += static_cast<uint64_t>(now - before) * kCostEventsEvery;
    before = now;
  }
}

}  // namespace bongsu
