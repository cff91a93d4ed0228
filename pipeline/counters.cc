#include "pipeline/counters.h"

#include <algorithm>

namespace bongsu {

void SourceCounters::Merge(const SourceCounters& other) {
  records += other.records;
  bytes += other.bytes;
  events += other.events;
  for (size_t i = 0; i < dead_letters.size(); ++i) dead_letters[i] += other.dead_letters[i];
  future += other.future;
  repaired_utf8 += other.repaired_utf8;
  array_items_capped += other.array_items_capped;
  late += other.late;
  fell_silent += other.fell_silent;
  lagged += other.lagged;
}

void OperatorCounters::Merge(const OperatorCounters& other) {
  for (size_t i = 0; i < selected.size() && i < other.selected.size(); ++i)
    selected[i] += other.selected[i];
  key_missing += other.key_missing;
  key_members_capped += other.key_members_capped;
  fields_cut += other.fields_cut;
  late += other.late;
  created += other.created;
  updated += other.updated;
  forwarded += other.forwarded;
  last_fired = std::max(last_fired, other.last_fired);
  cpu_ns += other.cpu_ns;
  for (const auto& [name, n] : other.named) named[name] += n;
}

void RuleCounters::Merge(const RuleCounters& other) {
  matches += other.matches;
  filtered += other.filtered;
  incidents += other.incidents;
  fields_cut += other.fields_cut;
  alerts_cut += other.alerts_cut;
  last_fired = std::max(last_fired, other.last_fired);
  cpu_ns += other.cpu_ns;
}

RunCounters::RunCounters(size_t source_count, const std::vector<size_t>& ports_of_operators,
                         size_t rule_count)
    : sources(source_count), rules(rule_count), operators(ports_of_operators.size()) {
  for (size_t i = 0; i < operators.size(); ++i) operators[i].selected.resize(ports_of_operators[i]);
}

void RunCounters::Merge(const RunCounters& other) {
  removed_inputs += other.removed_inputs;
  if (rules.size() < other.rules.size()) rules.resize(other.rules.size());
  for (size_t i = 0; i < other.rules.size(); ++i) rules[i].Merge(other.rules[i]);
  for (size_t i = 0; i < sources.size() && i < other.sources.size(); ++i)
    sources[i].Merge(other.sources[i]);
  for (size_t i = 0; i < operators.size() && i < other.operators.size(); ++i) {
    operators[i].Merge(other.operators[i]);
  }
}

void TimeHistogram::Counts::Merge(const Counts& other) {
  for (size_t i = 0; i < buckets.size(); ++i) buckets[i] += other.buckets[i];
  seconds += other.seconds;
}

void TimeHistogram::Add(DurationNs took) {
  const double seconds = static_cast<double>(took) / 1e9;
  const auto bound = std::lower_bound(kBoundsSeconds.begin(), kBoundsSeconds.end(), seconds);
  const auto bucket = static_cast<size_t>(bound - kBoundsSeconds.begin());
  buckets_[bucket].fetch_add(1, std::memory_order_relaxed);
  sum_ns_.fetch_add(took, std::memory_order_relaxed);
}

TimeHistogram::Counts TimeHistogram::counts() const {
  Counts counts;
  for (size_t i = 0; i < buckets_.size(); ++i)
    counts.buckets[i] = buckets_[i].load(std::memory_order_relaxed);
  counts.seconds = static_cast<double>(sum_ns_.load(std::memory_order_relaxed)) / 1e9;
  return counts;
}

}  // namespace bongsu
