// File: pipeline/source_watch.h
//
// What is decided about sources by looking at the wall clock, and at all their clocks together:
//
//   on_idle: wall_clock  a quiet source that was live is followed by the clock        -> kFloor
//   max_lag              a partition far behind live ones is waited for no longer     -> kLagFloor,
//                                                                     kLagging, kCaughtUp
//   source_silent        nothing comes any more                                       -> kSilent
//   backfill_ahead       of partitions with a backlog, those far ahead are held       -> Hold
//
// Nothing here is asked again after a crash: a decision is a mark on a batch, and what it did to
// clocks, watermarks and alarms is committed with the batch's epoch, or never was. So the timers
// may be forgotten: a new process waits for their whole length once more, and no less.
//
// A source is *live* while its newest event is at most live_bound behind the wall clock. In a
// replay of old data nobody is, so that a replay knows no wall clock.
//
//   SourceWatch watch(config, plan);
//   each second:        watch.Look(view, clock, &marks);  issue a batch with the marks
//   and more often:     held = watch.Hold(reading, view.known, ...);
//
// Bounds: an entry a partition. Thread-safety: none; the reader's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "pipeline/batch.h"
#include "pipeline/config.h"
#include "pipeline/plan.h"

namespace bongsu {

// What the threads know of time; at most some seconds old.
struct TimeView {
  std::vector<PartitionClock> own;    // by id: of the partitions that this process reads
  std::vector<PartitionClock> known;  // by id: of all that feed its shards
  std::vector<uint8_t> alarms;        // by source: bits of SourceAlarm
  bool keeps_alarms = false;          // this process is the one to raise them
};

// The reader's own knowledge of a partition that it reads.
struct PartitionReading {
  PartitionId id = 0;
  uint16_t source = 0;
  EventTimeNs newest = kMinEventTime;  // of what was decoded
  bool backlog = false;                // more is to be read: neither at its end nor ended
};

struct WatchTime {
  int64_t wall_ns = 0;
  int64_t monotonic_ns = 0;
};

class SourceWatch {
 public:
  // Both outlive it.
  SourceWatch(const Config& config, const Plan& plan);
  // Appends what is to be done now. `paused`: this process does not read at the moment, so that
  // nobody can be called silent.
  void Look(const TimeView& view, WatchTime now, bool paused, std::vector<PartitionMark>* marks);
  // The partitions of `reading` that wait for slower ones, ascending.
  std::vector<PartitionId> Hold(std::span<const PartitionReading> reading,
                                std::span<const PartitionClock> known, WatchTime now);

 private:
  // A partition that is too far behind.
  struct Behind {
    DurationNs waited_ns = 0;  // while it could have caught up
    bool given_up = false;
  };
  struct Progress {
    EventTimeNs newest = kMinEventTime;
    int64_t moved_ns = 0;
  };
  void FollowClock(const TimeView& view, WatchTime now, std::vector<PartitionMark>* marks);
  void FindLaggards(const TimeView& view, WatchTime now, bool paused,
                    std::vector<PartitionMark>* marks);
  void FindSilent(const TimeView& view, WatchTime now, std::vector<PartitionMark>* marks);
  bool Moves(PartitionId id, EventTimeNs newest, int64_t now_ns);

  const Config& config_;
  // By source: those that feed an operator that it feeds, itself included; empty: it feeds none.
  std::vector<std::vector<bool>> related_;
  absl::flat_hash_map<PartitionId, bool> idle_live_;  // of idle ones: was live when it fell quiet
  absl::flat_hash_map<PartitionId, Behind> behind_;
  int64_t last_look_ns_ = 0;
  std::vector<int64_t> quiet_since_;  // by source; -1: it is not quiet
  absl::flat_hash_map<PartitionId, Progress> progress_;
  std::vector<bool> held_;  // by partition
};

}  // namespace bongsu
