// File: pipeline/rule_runner.h
//
// The detections of one source, on one thread: asks them all of an event, counts, and writes the
// alerts of those that fire. An alert of a detection has one event as evidence, and an id made of
// the rule's semantic hash and the event's place.
//
//   RuleRunner runner(config, source_index, partitions, writer);
//   if (!runner.Match(event)) ...                        // a field that they read is wrong JSON
//   runner.Report(event, when, outputs, counters, live);
//   for (uint32_t rule : runner.fired()) ...     // what correlations take
//
// Thread-safety: one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "operators/event.h"
#include "operators/incident.h"
#include "operators/sigma/rule_binding.h"
#include "pipeline/alert_writer.h"
#include "pipeline/config.h"
#include "pipeline/counters.h"
#include "pipeline/io.h"
#include "pipeline/outputs.h"
#include "pipeline/rule_cost.h"

namespace bongsu {

class RuleRunner {
 public:
  // Everything outlives the runner.
  RuleRunner(const Config& config, size_t source_index, const PartitionTable& partitions,
             AlertWriter& writer);
  // Which rules the event meets. Where there are any, all of the event's fields are read. False:
  // one that the rules of its log source, or the alerts of those that it meets, read is wrong JSON.
  [[nodiscard]] bool Match(const Event& event);
  // Filters, counts and alerts, of what Match found. `time` is what the alerts say, and `from`
  // where it comes from: an event without a usable time of its own is matched all the same.
  void Report(const Event& event, EventTimeNs time, TimeOrigin from, OutputChunk& outputs,
              RunCounters& counters, LiveCounters& live);
  // Of the event that Match was given last: what its rules cost, where that is due.
  void SampleCost(const Event& event, RunCounters& counters);
  // Indices into SourceRules::rules, ascending; until the next Match.
  std::span<const uint32_t> fired() const { return fired_; }

 private:
  void Alert(const sigma::BoundRule& rule, const Event& event, EventTimeNs time, TimeOrigin from,
             OutputChunk& outputs, RuleCounters& counted);

  const sigma::SourceRules* rules_ = nullptr;  // null: no rules
  const PartitionTable& partitions_;
  AlertWriter& writer_;
  const size_t alert_bytes_max_;
  std::string key_;  // of every alert: the tenant alone
  std::unique_ptr<sigma::RuleMatcher::Scratch> scratch_;
  std::vector<uint32_t> fired_;
  CostSampler cost_;
  std::vector<uint32_t> asked_;
  std::string payload_;  // scratch
  std::string alert_;
};

}  // namespace bongsu
