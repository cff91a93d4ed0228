// File: pipeline/shard_clocks.h
//
// How far a shard knows everything that feeds it to have come (exchange: kafka): every source
// partition of the application, whichever instance reads it, and every operator's results in every
// shard. Clocks belong to source partitions and not to the instances that send them: whoever takes
// a partition over goes on from its committed clock (kept in the metadata of its committed offset)
// and speaks for it from there. So nothing is late because another instance was slow, and nothing
// waits for one that is gone.
//
// They are part of the shard's state: one row of the changelog, written with the epoch that moved
// them, so that the next owner of the shard knows what the last one knew.
//
//   ShardClocks clocks(config, plan, plan_version, shards);
//   for (const PartitionInfo& info : ...) clocks.Know(info.id, info.source_index);
//   RETURN_IF_ERROR(clocks.Restore(row));       // after a restart; the partitions known stay
//   if (clocks.Apply(news)) ...                 // from the bundles
//   clocks.Ports(op, &ports);                   // what its operator's watermark is made of
//   std::string row = clocks.Encode();
//
// A partition that is known holds its source back until its first news. Thread-safety: none.
//
// Where instances change over to another plan (kafka/kafka_registry.h), a partition's events go to
// a new operator only from where its reader has changed over, which its next clock tells: until
// then it does not count as idle, and what it has brought before, the operator may have missed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "pipeline/config.h"
#include "pipeline/exchange.h"
#include "pipeline/plan.h"
#include "pipeline/watermarks.h"

namespace bongsu {

// The sources belong to no shard; somebody must keep that an alarm was raised.
inline constexpr ShardId kAlarmsShard = 0;

// The sources' out_of_orderness, in the order of the configuration.
std::vector<DurationNs> OutOfOrderness(const Config& config);

class ShardClocks {
 public:
  // `config` and `plan` outlive the clocks. `shards`: of the application.
  ShardClocks(const Config& config, const Plan& plan, uint64_t plan_version, uint16_t shards);

  void Know(PartitionId partition, uint16_t source);
  // DataLoss: the row does not parse.
  [[nodiscard]] absl::Status Restore(std::string_view row);
  std::string Encode() const;

  // Clocks never go back; news of partitions that nobody knows are taken for later. They are of our
  // plan (unpack_task.h). True when something changed.
  bool Apply(PartitionId partition, uint16_t source, const PartitionClock& clock);
  bool ApplyResult(uint16_t op, ShardId from, EventTimeNs watermark);
  // An event of the partition is here, so that it is not idle, whatever its clock says.
  bool Wake(PartitionId partition);
  // What this instance has decided for its shards (PartitionMark::of_shards). `alarms`: this is the
  // shard that keeps the sources' alarms (kAlarmsShard). True when something may have changed.
  bool ApplyMarks(std::span<const PartitionMark> marks, bool alarms);
  const std::vector<RaisedAlarm>& raised() const { return watermarks_.raised(); }
  // After Apply and Wake, before Ports and Encode.
  void Refresh();

  // After Restore, for each operator: the plan that brought it, 0: the first one.
  void Begin(size_t op, uint64_t since);
  // The newest event that an operator may have missed before it was there; kMinEventTime: none.
  // What was told to an earlier owner stands in the operator's own state (OperatorRunner::Missed).
  EventTimeNs missed(size_t op) const { return missed_[op]; }
  // The watermark of each port of an operator.
  void Ports(size_t op, std::vector<EventTimeNs>* ports) const;
  const Watermarks& watermarks() const { return watermarks_; }
  EventTimeNs source(size_t index) const { return watermarks_.source(static_cast<int>(index)); }
  // Nothing can come any more: all sources and all results have ended.
  bool ended() const;

 private:
  EventTimeNs ResultsOf(size_t op) const;
  void Miss(size_t op, uint16_t source, EventTimeNs newest) {
    if (plan_.operators[op].fed_by[source]) missed_[op] = std::max(missed_[op], newest);
  }

  const Config& config_;
  const Plan& plan_;
  const uint64_t plan_version_;
  Watermarks watermarks_;
  std::vector<uint64_t> told_;       // by partition: the plan of its newest clock
  std::vector<uint64_t> since_;      // by operator
  std::vector<EventTimeNs> missed_;  // by operator
  // Told to be idle since the last Refresh, where they count as active once more: what an epoch has
  // brought moves the source, also where its partition had fallen quiet by the epoch's end.
  std::vector<PartitionId> falls_idle_;
  std::vector<std::vector<EventTimeNs>> results_;  // by operator that has readers, by shard
};

// The same clock as text, for the metadata of a source partition's committed offset, with the plan
// of whoever has committed it.
std::string ClockText(const PartitionClock& clock, uint64_t plan_version);
// False: it is no clock.
bool ClockOfText(std::string_view text, PartitionClock* clock, uint64_t* plan_version);

}  // namespace bongsu
