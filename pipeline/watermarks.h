// File: pipeline/watermarks.h
//
// Event-time watermarks: of each source partition, and from them of each source.
//
//   partition = newest event time - out_of_orderness (or the floor of a quiet source), never back
//   source    = minimum over its partitions, idle and ended ones left out; infinity when all have
//   ended;
//               unchanged while all are idle, unless a floor was set (on_idle: wall_clock, max_lag)
//
// They also keep which sources are silent or lag, so that each of these is raised once and, being
// stored with the clocks, not again after a crash. A mark says that it may be so; whether it is, is
// decided here, where records and marks have one order.
//
// Every shard thread keeps one and feeds it the same batches in the same order, so that all of them
// agree. Thread-safety: none.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pipeline/batch.h"
#include "pipeline/config.h"
#include "pipeline/exchange.h"
#include "pipeline/io.h"

namespace bongsu {

// Which marks are meant: PartitionMark::of_shards().
enum class MarkSide : uint8_t { kAll, kSource, kShards };

// An alarm that was raised by a batch.
struct RaisedAlarm {
  SourceAlarm alarm = SourceAlarm::kSilent;
  uint16_t source = 0;
  EventTimeNs time = 0;  // of the mark
};

class Watermarks {
 public:
  // `out_of_orderness` has one entry for each source.
  explicit Watermarks(std::vector<DurationNs> out_of_orderness);
  // A partition that the process reads; until it has a record or a mark it holds its source back.
  void AddPartition(PartitionId partition, uint16_t source);
  // It is not read from its first record on (PartitionClock::missed).
  void BeginsLate(PartitionId partition) { At(partition).missed = kMaxEventTime; }
  void Restore(PartitionId partition, const PartitionClock& clock);
  // What the source's watermark was: it does not go back to what the partitions say by themselves.
  void RestoreSource(size_t source, EventTimeNs watermark) { source_[source] = watermark; }
  // Applies a batch's news. True when a source's watermark may have moved.
  bool Apply(std::span<const PartitionTime> times, std::span<const PartitionMark> marks,
             MarkSide side = MarkSide::kAll);
  // By source: bits of SourceAlarm.
  const std::vector<uint8_t>& alarms() const { return alarms_; }
  void RestoreAlarms(size_t source, uint8_t bits) { alarms_[source] = bits; }
  // An event of the source: where it is newer than all before, the source is silent no longer
  // (older ones do not count: the same silence must not be raised twice). True when it was.
  bool Heard(size_t source, EventTimeNs time);
  // Partitions whose first events the last Apply has brought, and what was before is missing.
  const std::vector<PartitionId>& begun() const { return begun_; }
  // Those that the last Apply has raised.
  const std::vector<RaisedAlarm>& raised() const { return raised_; }
  // Of all sources.
  const std::vector<EventTimeNs>& sources() const { return source_; }
  EventTimeNs source(int index) const { return source_[static_cast<size_t>(index)]; }
  const std::vector<PartitionClock>& partitions() const { return partitions_; }
  // Recomputes all sources (after Restore).
  void Refresh();

 private:
  PartitionClock& At(PartitionId partition);
  void ApplyMark(const PartitionMark& mark);
  void Raise(SourceAlarm alarm, const PartitionMark& mark);
  bool AllQuiet(size_t source) const;
  std::vector<DurationNs> out_of_orderness_;
  std::vector<PartitionClock> partitions_;  // by id
  std::vector<EventTimeNs> source_;
  std::vector<uint8_t> alarms_;  // by source
  std::vector<RaisedAlarm> raised_;
  std::vector<PartitionId> begun_;
};

}  // namespace bongsu
