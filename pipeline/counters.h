// File: pipeline/counters.h
//
// What a run counts: by source, by operator, by reason. Every thread has its own; the report adds
// them up when the threads are done, progress reads the few atomics of LiveCounters while they run.
//
// Thread-safety: RunCounters belongs to one thread; LiveCounters is shared.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "pipeline/decoder.h"
#include "state/types.h"

namespace bongsu {

struct SourceCounters {
  uint64_t records = 0;
  uint64_t bytes = 0;
  uint64_t events = 0;                                  // decoded, with a usable time
  std::array<uint64_t, kDecodeResults> dead_letters{};  // by DecodeResult
  uint64_t future = 0;
  uint64_t repaired_utf8 = 0;
  uint64_t array_items_capped = 0;
  uint64_t late = 0;  // inputs of operators that came too late
  // Alerts about the source itself.
  uint64_t fell_silent = 0;
  uint64_t lagged = 0;
  void Merge(const SourceCounters& other);
};

struct OperatorCounters {
  std::vector<uint64_t> selected;  // by port: events that the selection chose
  uint64_t key_missing = 0;        // events without a usable key
  uint64_t key_members_capped = 0;
  uint64_t fields_cut = 0;  // carried values cut at their bound
  uint64_t late = 0;
  uint64_t created = 0;
  uint64_t updated = 0;
  uint64_t forwarded = 0;
  EventTimeNs last_fired = kMinEventTime;  // newest event time of an incident
  uint64_t cpu_ns = 0;                     // sampled (pipeline/rule_cost.h)
  std::map<std::string, uint64_t> named;   // what the operator itself counts
  void Merge(const OperatorCounters& other);
};

// Of one entry of the rule set.
struct RuleCounters {
  uint64_t matches = 0;     // events that met the detection and passed its filters
  uint64_t filtered = 0;    // events that a filter removed; of a filter: that it removed
  uint64_t incidents = 0;   // alerts of its own
  uint64_t fields_cut = 0;  // values of these cut at their bound
  uint64_t alerts_cut = 0;  // alerts that were too large, and have less of their values
  EventTimeNs last_fired = kMinEventTime;
  uint64_t cpu_ns = 0;  // asked alone, sampled (pipeline/rule_cost.h)
  void Merge(const RuleCounters& other);
};

struct RunCounters {
  std::vector<SourceCounters> sources;
  std::vector<RuleCounters> rules;  // by RuleSet::entries; empty on threads that match none
  std::vector<OperatorCounters> operators;
  uint64_t removed_inputs = 0;  // exchange: kafka: of operators that are gone from the plan
  RunCounters() = default;
  RunCounters(size_t source_count, const std::vector<size_t>& ports_of_operators,
              size_t rule_count = 0);
  void Merge(const RunCounters& other);
};

// How long something took, as a histogram with fixed bounds (Prometheus' kind). Any thread may add.
class TimeHistogram {
 public:
  static constexpr std::array<double, 14> kBoundsSeconds = {
      0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};
  struct Counts {
    std::array<uint64_t, kBoundsSeconds.size() + 1> buckets{};  // each bound's own; the rest last
    double seconds = 0;
    void Merge(const Counts& other);
  };
  void Add(DurationNs took);
  Counts counts() const;

 private:
  std::array<std::atomic<uint64_t>, kBoundsSeconds.size() + 1> buckets_{};
  std::atomic<int64_t> sum_ns_{0};
};

struct LiveCounters {
  std::atomic<uint64_t> records{0};
  std::atomic<uint64_t> bytes{0};
  std::atomic<uint64_t> alerts{0};
  std::atomic<uint64_t> dead_letters{0};
  std::atomic<uint64_t> late{0};
};

}  // namespace bongsu
