#include "pipeline/watermarks.h"

#include <algorithm>

namespace bongsu {

Watermarks::Watermarks(std::vector<DurationNs> out_of_orderness)
    : out_of_orderness_(std::move(out_of_orderness)),
      source_(out_of_orderness_.size(), kMinEventTime),
      alarms_(out_of_orderness_.size(), 0) {}

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

bool Watermarks::Heard(size_t source, EventTimeNs time) {
  constexpr auto kBit = static_cast<uint8_t>(SourceAlarm::kSilent);
  if (source >= alarms_.size() || (alarms_[source] & kBit) == 0) return false;
  for (const PartitionClock& clock : partitions_) {
    if (clock.source == source && clock.newest >= time) return false;
  }
  alarms_[source] = static_cast<uint8_t>(alarms_[source] & ~kBit);
  return true;
}

bool Watermarks::AllQuiet(size_t source) const {
  bool idle = false;
  for (const PartitionClock& clock : partitions_) {
    if (clock.source != source) continue;
    if (clock.state == PartitionClock::State::kActive) return false;
    idle = idle || clock.state == PartitionClock::State::kIdle;
  }
  return idle;
}

void Watermarks::Raise(SourceAlarm alarm, const PartitionMark& mark) {
  const uint16_t source = At(mark.partition).source;
  const auto bit = static_cast<uint8_t>(alarm);
  if ((alarms_[source] & bit) != 0) return;
  alarms_[source] = static_cast<uint8_t>(alarms_[source] | bit);
  raised_.push_back({alarm, source, mark.time});
}

void Watermarks::ApplyMark(const PartitionMark& mark) {
  PartitionClock& clock = At(mark.partition);
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
    case PartitionMark::Kind::kLagFloor:
      clock.floor = std::max(clock.floor, mark.time);
      break;
    case PartitionMark::Kind::kSilent:
      // Something may have come since the reader looked.
      if (AllQuiet(clock.source)) Raise(SourceAlarm::kSilent, mark);
      break;
    case PartitionMark::Kind::kLagging:
      Raise(SourceAlarm::kLagging, mark);
      break;
    case PartitionMark::Kind::kCaughtUp:
      alarms_[clock.source] = static_cast<uint8_t>(alarms_[clock.source] &
                                                   ~static_cast<uint8_t>(SourceAlarm::kLagging));
      break;
  }
}

bool Watermarks::Apply(std::span<const PartitionTime> times, std::span<const PartitionMark> marks,
                       MarkSide side) {
  bool moved = false;
  raised_.clear();
  begun_.clear();
  for (const PartitionTime& time : times) {
    PartitionClock& clock = At(time.partition);
    Heard(clock.source, time.newest);
    // Events are here: the partition is not idle, whatever was said.
    if (clock.state == PartitionClock::State::kIdle) {
      clock.state = PartitionClock::State::kActive;
      moved = true;
    }
    // What was before its first record in the partition is at most so much newer.
    if (clock.missed == kMaxEventTime) {
      clock.missed = AddTime(time.first, out_of_orderness_[clock.source]);
      begun_.push_back(time.partition);
    }
    if (time.newest <= clock.newest) continue;
    clock.newest = time.newest;
    moved = true;
  }
  // What a partition brought counts before the quiet behind it.
  if (moved && !marks.empty()) Refresh();
  for (const PartitionMark& mark : marks) {
    if (side != MarkSide::kAll && mark.of_shards() != (side == MarkSide::kShards)) continue;
    ApplyMark(mark);
    moved = true;
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
