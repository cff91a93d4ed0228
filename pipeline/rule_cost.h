// File: pipeline/rule_cost.h
//
// What each rule costs, sampled: so that the slow one can be named at next to no cost itself.
//
// Detections: all of a source are matched at once, so that none has a time of its own. One event in
// kCostEventsEvery is therefore asked of every detection alone, under the clock of the thread's
// CPU, and the time counts for all the events that were left out. It says which rule is dear
// compared with the others; the matcher that shares their work is cheaper than their sum.
// Operators: one call in kCostCallsEvery is timed and counts for all.
//
//   CostSampler sampler;
//   if (sampler.Due()) sampler.Sample(rules, event, counters);
//
// Thread-safety: one thread.
#pragma once

#include <cstdint>

#include "operators/event.h"
#include "operators/sigma/rule_binding.h"
#include "pipeline/counters.h"

namespace bongsu {

inline constexpr uint32_t kCostEventsEvery = 16'384;
inline constexpr uint32_t kCostCallsEvery = 64;

// CPU time of this thread.
int64_t ThreadCpuNs();

class CostSampler {
 public:
  // Every kCostEventsEvery-th time; the first time early, so that short runs say something, too.
  bool Due() {
    if (--left_ > 0) return false;
    left_ = kCostEventsEvery;
    return true;
  }
  void Sample(const sigma::SourceRules& rules, const Event& event, RunCounters& counters);

 private:
  uint32_t left_ = 64;
};

// Times every kCostCallsEvery-th call of what it is asked to run, into `*cpu_ns`.
class CallSampler {
 public:
  template <typename Call>
  auto Run(uint64_t* cpu_ns, Call call) {
    if (--left_ > 0) return call();
    left_ = kCostCallsEvery;
    const int64_t begin = ThreadCpuNs();
    auto result = call();
    *cpu_ns += static_cast<uint64_t>(ThreadCpuNs() - begin) * kCostCallsEvery;
    return result;
  }

 private:
  uint32_t left_ = 1;
};

}  // namespace bongsu
