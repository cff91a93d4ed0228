#include "pipeline/rule_runner.h"

#include <algorithm>

#include "operators/key.h"
#include "operators/payload.h"

namespace bongsu {

RuleRunner::RuleRunner(const Config& config, size_t source_index, const PartitionTable& partitions,
                       AlertWriter& writer)
    : partitions_(partitions),
      writer_(writer),
      alert_bytes_max_(OutputBytesMax(config, config.alerts)),
      key_(TenantKey(config.sources[source_index].tenant)) {
  if (config.binding == nullptr) return;
  rules_ = &config.binding->sources[source_index];
  if (rules_->matcher == nullptr) {
    rules_ = nullptr;
  } else {
    scratch_ = rules_->matcher->NewScratch();
  }
}

bool RuleRunner::Match(const Event& event) {
  fired_.clear();
  if (rules_ == nullptr) return true;
  if (!rules_->matcher->Match(event, *scratch_, &fired_)) return false;
  return fired_.empty() || event.reader == nullptr || event.reader->ReadAll();
}

void RuleRunner::Report(const Event& event, EventTimeNs time, TimeOrigin from, OutputChunk& outputs,
                        RunCounters& counters, LiveCounters& live) {
  if (fired_.empty()) return;
  size_t kept = 0;
  for (const uint32_t i : fired_) {
    const sigma::BoundRule& rule = rules_->rules[i];
    RuleCounters& counted = counters.rules[rule.entry];
    if (const sigma::BoundFilter* filter = sigma::RemovedBy(rule, event); filter != nullptr) {
      ++counted.filtered;
      ++counters.rules[filter->entry].filtered;
      continue;
    }
    ++counted.matches;
    // What comes from the future would stand in front of it for ever.
    if (from != TimeOrigin::kFuture) counted.last_fired = std::max(counted.last_fired, time);
    fired_[kept++] = i;
    if (rule.mute) continue;
    ++counted.incidents;
    Alert(rule, event, time, from, outputs, counted);
    live.alerts.fetch_add(1, std::memory_order_relaxed);
  }
  fired_.resize(kept);
}

void RuleRunner::SampleCost(const Event& event, RunCounters& counters) {
  if (rules_ == nullptr) return;
  const uint32_t weight = cost_.Due();
  if (weight == 0 || (event.reader != nullptr && !event.reader->ReadAll())) return;
  rules_->matcher->Asked(*scratch_, &asked_);
  CostSampler::Sample(*rules_, asked_, event, weight, counters);
}

void RuleRunner::Alert(const sigma::BoundRule& rule, const Event& event, EventTimeNs time,
                       TimeOrigin from, OutputChunk& outputs, RuleCounters& counted) {
  payload_.clear();
  counted.fields_cut += static_cast<uint64_t>(EncodePayload(event, rule.payload_slots, &payload_));
  Evidence evidence;
  evidence.port = rule.port;
  evidence.time = time;
  evidence.seq = event.seq;
  evidence.payload = payload_;
  IncidentAnchor anchor;
  anchor.rule = rule.spec->rule().name;
  anchor.rule_hash = rule.spec->semantic_hash();
  anchor.key = key_;
  anchor.origin = partitions_.Get(SeqPartition(event.seq)).identity;
  anchor.offset = SeqOffset(event.seq);
  // The record's own time or none: the wall clock must not reach the identity.
  anchor.time = event.has_time ? event.time : 0;
  Incident incident;
  incident.id = MakeIncidentId(anchor);
  incident.key = key_;
  incident.first_time = incident.last_time = incident.anchor_time = time;
  incident.time_from = from;
  incident.event_count = 1;
  incident.evidence = {&evidence, 1};
  incident.condition = rule.spec->condition(rule.detection->Branch(event));
  alert_.clear();
  if (WriteAlert(writer_, *rule.spec, incident, alert_bytes_max_, &alert_)) ++counted.alerts_cut;
  outputs.Add(Stream::kAlerts, IncidentIdText(incident.id), alert_);
}

}  // namespace bongsu
