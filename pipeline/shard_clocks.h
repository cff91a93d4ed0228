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
//   ShardClocks clocks(config, plan, shards);
//   for (const PartitionInfo& info : ...) clocks.Know(info.id, info.source_index);
//   RETURN_IF_ERROR(clocks.Restore(row));       // after a restart; the partitions known stay
//   if (clocks.Apply(news)) ...                 // from the bundles
//   clocks.Ports(op, &ports);                   // what its operator's watermark is made of
//   std::string row = clocks.Encode();
//
// A partition that is known holds its source back until its first news. Thread-safety: none.
#pragma once

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
  ShardClocks(const Config& config, const Plan& plan, uint16_t shards);

  void Know(PartitionId partition, uint16_t source);
  // DataLoss: the row does not parse.
  [[nodiscard]] absl::Status Restore(std::string_view row);
  std::string Encode() const;

  // Clocks never go back; news of partitions that nobody knows are taken for later. True when
  // something changed.
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

  // The watermark of each port of an operator.
  void Ports(size_t op, std::vector<EventTimeNs>* ports) const;
  const Watermarks& watermarks() const { return watermarks_; }
  EventTimeNs source(size_t index) const { return watermarks_.source(static_cast<int>(index)); }
  // Nothing can come any more: all sources and all results have ended.
  bool ended() const;

 private:
  EventTimeNs ResultsOf(size_t op) const;

  const Config& config_;
  const Plan& plan_;
  Watermarks watermarks_;
  // Told to be idle since the last Refresh, where they count as active once more: what an epoch has
  // brought moves the source, also where its partition had fallen quiet by the epoch's end.
  std::vector<PartitionId> falls_idle_;
  std::vector<std::vector<EventTimeNs>> results_;  // by operator that has readers, by shard
};

// The same clock as text, for the metadata of a source partition's committed offset.
std::string ClockText(const PartitionClock& clock);
// False: it is no clock.
bool ClockOfText(std::string_view text, PartitionClock* clock);

}  // namespace bongsu
