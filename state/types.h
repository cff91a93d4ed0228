// File: state/types.h
//
// The few words that every layer shares: event time, epochs, shards, and the identity of a record.
//
// Event time is int64 nanoseconds since 1970-01-01T00:00:00Z, always UTC, and never the wall clock.
// The two ends of its range are used as "minus infinity" (nothing known yet) and "infinity" (a
// bounded input has ended); `AddTime` saturates at them, so that arithmetic on infinite watermarks
// is safe.
//
// Thread-safety: values and pure functions only.
#pragma once

#include <cstdint>
#include <limits>

namespace bongsu {

// Nanoseconds since the Unix epoch, UTC.
using EventTimeNs = int64_t;
// A length of event time or of wall time, in nanoseconds.
using DurationNs = int64_t;

inline constexpr EventTimeNs kMinEventTime = std::numeric_limits<EventTimeNs>::min();
inline constexpr EventTimeNs kMaxEventTime = std::numeric_limits<EventTimeNs>::max();

inline constexpr DurationNs kMillisecondNs = 1'000'000;
inline constexpr DurationNs kSecondNs = 1'000 * kMillisecondNs;
inline constexpr DurationNs kMinuteNs = 60 * kSecondNs;
inline constexpr DurationNs kHourNs = 60 * kMinuteNs;
inline constexpr DurationNs kDayNs = 24 * kHourNs;

// `time + delta`, saturating; the infinities absorb every delta.
constexpr EventTimeNs AddTime(EventTimeNs time, DurationNs delta) {
  if (time == kMinEventTime || time == kMaxEventTime) return time;
  EventTimeNs sum = 0;
  if (!__builtin_add_overflow(time, delta, &sum)) return sum;
  return delta > 0 ? kMaxEventTime : kMinEventTime;
}

// The number of an epoch: everything between two barriers; starts at 1 and only grows.
using EpochId = uint64_t;

// `hash(key) % shards`: the unit of state ownership.
using ShardId = uint16_t;

// A process-wide number for one source partition (a topic partition, or one file). Assigned when
// the partition is first seen and kept with the state, so that stored events can name where they
// came from.
using PartitionId = uint16_t;
inline constexpr uint32_t kPartitionsMax = 1u << 16;

// Where a record came from, packed so that it sorts by (partition, offset): 16 bits of partition,
// 48 bits of offset (Kafka offset, or byte position in a file: 256 TiB). With the event time in
// front it gives every event a total order that does not depend on arrival.
using RecordSeq = uint64_t;
inline constexpr int kOffsetBits = 48;
inline constexpr int64_t kOffsetMax = (int64_t{1} << kOffsetBits) - 1;

// Of a result that no record made: nothing came (a count without group-by). No partition gets so
// far.
inline constexpr RecordSeq kNoRecord = ~RecordSeq{0};

constexpr RecordSeq PackSeq(PartitionId partition, int64_t offset) {
  return (static_cast<uint64_t>(partition) << kOffsetBits) |
         (static_cast<uint64_t>(offset) & static_cast<uint64_t>(kOffsetMax));
}
constexpr PartitionId SeqPartition(RecordSeq seq) {
  return static_cast<PartitionId>(seq >> kOffsetBits);
}
constexpr int64_t SeqOffset(RecordSeq seq) {
  return static_cast<int64_t>(seq & static_cast<uint64_t>(kOffsetMax));
}

}  // namespace bongsu
