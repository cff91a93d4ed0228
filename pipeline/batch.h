// File: pipeline/batch.h
//
// The unit of work in the pipeline: a numbered batch of records, read by the reader thread, decoded
// by one worker, and applied by every shard thread in the order of the numbers. Control marks (a
// partition went idle, an epoch ends here) ride on batches, so that everybody sees them at the same
// point of the stream, and a replay of the same batches gives the same results.
//
// Bounds: `kBatchRecordsMax` records, `kBatchBytesMax` bytes (one record may be larger than that
// and then is alone); `kBatchesInFlight` batches between the reader and the slowest shard thread.
//
// Lifetime: a batch owns the memory of its records (`holder`), until its decode is done.
// Thread-safety: handed from thread to thread; one owner at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "state/types.h"

namespace bongsu {

inline constexpr size_t kBatchRecordsMax = 1024;
inline constexpr size_t kBatchBytesMax = size_t{1} << 20;
inline constexpr uint64_t kBatchesInFlight = 64;

// What a record's slack should be: simdjson reads that many bytes behind it.
inline constexpr uint32_t kRecordSlackBytes = 64;

// One undecoded record.
struct Record {
  std::string_view bytes;
  PartitionId partition = 0;
  int64_t offset = 0;         // Kafka offset; byte position of the line in a file (uncompressed)
  int64_t timestamp_ms = -1;  // Kafka's record timestamp; -1 where there is none
  // How many bytes behind the record may be read (not interpreted); kRecordSlackBytes, or it is
  // copied.
  uint32_t slack = 0;
};

// The time that a record's timestamp says; none where it says none, or what is no time of ours: a
// producer may write any number.
constexpr std::optional<EventTimeNs> StampTime(int64_t timestamp_ms) {
  if (timestamp_ms < 0 || timestamp_ms > kMaxEventTime / kMillisecondNs) return std::nullopt;
  return timestamp_ms * kMillisecondNs;
}

// Something that happened to a partition at this point of the stream.
struct PartitionMark {
  enum class Kind : uint8_t {
    kIdle,    // read to its end and nothing came for idle_timeout: out of the minimum
    kActive,  // records follow again
    kEnded,   // bounded input: nothing will ever follow
    kFloor,   // its watermark is at least `time` (on_idle: wall_clock)
    // What is decided from the clocks of all partitions (source_watch.h). With exchange: kafka it
    // is for the shards of this instance, and not sent to others.
    kLagFloor,  // its watermark is at least `time` (max_lag)
    kSilent,    // its source has fallen silent; `time`: of the source's newest event
    kLagging,   // its source lags, and is waited for no longer; `time`: of its newest event
    kCaughtUp,  // its source lags no more
  };
  Kind kind = Kind::kIdle;
  PartitionId partition = 0;
  EventTimeNs time = 0;
  bool of_shards() const { return kind >= Kind::kLagFloor; }
};

// What is wrong with a source as a whole; a bit each.
enum class SourceAlarm : uint8_t {
  kSilent = 1,   // it was heard of, and for time.source_silent is not any more
  kLagging = 2,  // it is further behind than time.max_lag
};

// Keeps the memory behind a batch's records alive (a file buffer, fetched Kafka messages).
class BatchHolder {
 public:
  virtual ~BatchHolder() = default;
};

// What a checkpoint keeps of a partition.
struct PartitionClock {
  enum class State : uint8_t { kUnknown, kActive, kIdle, kEnded };
  State state = State::kUnknown;
  EventTimeNs newest = kMinEventTime;
  EventTimeNs floor = kMinEventTime;
  // Where reading did not begin with the partition's first record (a start at `latest`, or with
  // what retention has left): no event older than this need have been read. kMaxEventTime: that is
  // so, and none has come yet to tell it by; kMinEventTime: nothing is missing.
  EventTimeNs missed = kMinEventTime;
  uint16_t source = 0;
};

// With exchange: kafka: a bundle that another instance, or this one, sent to a shard of ours.
struct BundleRecord {
  ShardId shard = 0;
  int64_t offset = 0;
  std::string_view bytes;
};

struct Batch {
  uint64_t number = 0;  // from 1, without gaps; given by the engine's reader loop
  std::vector<Record> records;
  std::vector<BundleRecord> bundles;  // exchange: kafka
  std::vector<PartitionMark> marks;   // apply after the records
  EpochId epoch = 0;       // the epoch that it belongs to; given by the engine's reader loop
  bool epoch_end = false;  // a barrier: the epoch closes behind this batch
  bool freeze = false;     // and the state that changed is handed in: for the store, or its log
  std::unique_ptr<BatchHolder> holder;
};

}  // namespace bongsu
