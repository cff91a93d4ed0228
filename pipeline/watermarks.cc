#include "pipeline/watermarks.h"

#include <algorithm>

namespace bongsu {

Watermarks::Watermarks(std::vector<DurationNs> out_of_orderness)
    : out_of_orderness_(std::move(out_of_orderness)),
      source_(out_of_orderness_.size(), kMinEventTime) {}

PartitionClock& Watermarks::At(PartitionId partition) {
  if (partitions_.size() <= partition) partitions_.resize(size_t{partition} + 1);
  return partitions_[partition];
}

void Watermarks::AddPartition(PartitionId partition, uint16_t source) {
  PartitionClock& clock = At(partition);
  clock.source = source;
  if (clock.state == PartitionClock::State::kUnknown) clock.state = PartitionClock::State::kActive;
}

void Watermarks::Restore(PartitionId partition, const PartitionClock& clock) {
  At(partition) = clock;
}

bool Watermarks::Apply(std::span<const PartitionTime> times, std::span<const PartitionMark> marks) {
  bool moved = false;
  for (const PartitionTime& time : times) {
    PartitionClock& clock = At(time.partition);
    // After a restart nobody marks the end of an idleness that the checkpoint kept.
    if (clock.state == PartitionClock::State::kIdle) {
      clock.state = PartitionClock::State::kActive;
      moved = true;
    }
    if (time.newest <= clock.newest) continue;
    clock.newest = time.newest;
    moved = true;
  }
  for (const PartitionMark& mark : marks) {
    PartitionClock& clock = At(mark.partition);
    moved = true;
    switch (mark.kind) {
      case PartitionMark::Kind::kIdle:
        clock.state = PartitionClock::State::kIdle;
        break;
      case PartitionMark::Kind::kActive:
        clock.state = PartitionClock::State::kActive;
        break;
      case PartitionMark::Kind::kEnded:
        clock.state = PartitionClock::State::kEnded;
        break;
      case PartitionMark::Kind::kFloor:
        clock.floor = std::max(clock.floor, mark.time);
        break;
    }
  }
  if (moved) Refresh();
  return moved;
}

void Watermarks::Refresh() {
  constexpr EventTimeNs kNone = kMaxEventTime;
  std::vector<EventTimeNs> lowest(source_.size(), kNone);
  std::vector<EventTimeNs> floor(source_.size(), kMinEventTime);
  std::vector<bool> active(source_.size(), false);
  std::vector<bool> idle(source_.size(), false);
  std::vector<bool> ended(source_.size(), false);
  for (const PartitionClock& clock : partitions_) {
    if (clock.state == PartitionClock::State::kUnknown || clock.source >= source_.size()) continue;
    const size_t source = clock.source;
    if (clock.state == PartitionClock::State::kIdle) {
      idle[source] = true;
      floor[source] = std::max(floor[source], clock.floor);
    } else if (clock.state == PartitionClock::State::kActive) {
      active[source] = true;
      const EventTimeNs own = AddTime(clock.newest, -out_of_orderness_[source]);
      lowest[source] = std::min(lowest[source], std::max(own, clock.floor));
    } else {
      ended[source] = true;
    }
  }
  for (size_t i = 0; i < source_.size(); ++i) {
    EventTimeNs now = kMinEventTime;  // no partition is known yet
    if (active[i])
      now = lowest[i];
    else if (idle[i])
      now = floor[i];  // all quiet: hold, or follow the floor
    else if (ended[i])
      now = kMaxEventTime;
    source_[i] = std::max(source_[i], now);  // never back
  }
}

}  // namespace bongsu
