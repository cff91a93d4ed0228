#include "pipeline/rule_cost.h"

#include <ctime>

namespace bongsu {
namespace {

constexpr int kTries = 3;

int64_t Read(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// The least time of a few calls. By the wall, which is cheap to read, unlike the CPU's clock.
template <typename Call>
int64_t LeastNs(Call call) {
  int64_t least = INT64_MAX;
  for (int i = 0; i < kTries; ++i) {
    const int64_t begin = Read(CLOCK_MONOTONIC);
    call();
    least = std::min(least, Read(CLOCK_MONOTONIC) - begin);
  }
  return least;
}

}  // namespace

int64_t ThreadCpuNs() { return Read(CLOCK_THREAD_CPUTIME_ID); }

void CostSampler::Sample(const sigma::SourceRules& rules, std::span<const uint32_t> which,
                         const Event& event, uint32_t weight, RunCounters& counters) {
  const int64_t clock = LeastNs([] {});
  for (const uint32_t index : which) {
    const sigma::BoundRule& rule = rules.rules[index];
    const int64_t took = LeastNs([&] { static_cast<void>(rule.whole->Matches(event)); });
    counters.rules[rule.entry].cpu_ns +=
        static_cast<uint64_t>(std::max<int64_t>(took - clock, 1)) * weight;
  }
}

}  // namespace bongsu
