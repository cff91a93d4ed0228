// File: pipeline/rule_cost.h
//
// What each rule costs, sampled: so that the slow one can be named at next to no cost itself.
//
// Detections: all of a source are matched at once, so that none has a time of its own. An event now
// and then is therefore asked of every detection of its log source alone (thrice, the least counts:
// what interrupts it is no cost of the rule), and the time counts for all events since the last
// such one. It says
// which rule is dear compared with the others; the matcher that shares their work is cheaper than
// their sum. Operators: a call now and then is timed and counts for all since the last.
//
// Samples are dense at first, so that short runs say something, and then one in kCostEventsEvery
// events, one in kCostCallsEvery calls.
//
//   if (const uint32_t weight = sampler.Due(); weight > 0)
//     CostSampler::Sample(rules, asked, event, weight, counters);
//
// Thread-safety: one thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "operators/event.h"
#include "operators/sigma/rule_binding.h"
#include "pipeline/counters.h"

namespace bongsu {

inline constexpr uint32_t kCostEventsEvery = 65'536;
inline constexpr uint32_t kCostCallsEvery = 64;

// CPU time of this thread.
int64_t ThreadCpuNs();

// When the next sample is due, and for how many it counts: twice as many each time, up to `every`.
class SampleClock {
 public:
  SampleClock(uint32_t first, uint32_t every) : interval_(first), left_(first), every_(every) {}
  // 0: not now; else for how many this one counts.
  uint32_t Due() {
    if (--left_ > 0) return 0;
    const uint32_t weight = interval_;
    interval_ = std::min(interval_ * 2, every_);
    left_ = interval_;
    return weight;
  }

 private:
  uint32_t interval_;
  uint32_t left_;
  uint32_t every_;
};

class CostSampler {
 public:
  uint32_t Due() { return clock_.Due(); }
  // Adds to RuleCounters::cpu_ns of each detection; `weight`: what Due said.
  // `which`: indices into the rules.
  static void Sample(const sigma::SourceRules& rules, std::span<const uint32_t> which,
                     const Event& event, uint32_t weight, RunCounters& counters);

 private:
  SampleClock clock_{64, kCostEventsEvery};
};

// Times some of the calls that it is asked to run, into `*cpu_ns`.
class CallSampler {
 public:
  template <typename Call>
  auto Run(uint64_t* cpu_ns, Call call) {
    const uint32_t weight = clock_.Due();
    if (weight == 0) return call();
    const int64_t begin = ThreadCpuNs();
    auto result = call();
    *cpu_ns += static_cast<uint64_t>(ThreadCpuNs() - begin) * weight;
    return result;
  }

 private:
  SampleClock clock_{1, kCostCallsEvery};
};

}  // namespace bongsu
