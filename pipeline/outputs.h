// File: pipeline/outputs.h
//
// What the threads have for the sinks, on its way to the committer: alerts, late events and dead
// letters, gathered by each thread and handed over in chunks that name their epoch.
//
// Bounds: a thread hands its chunk over after each batch, and in the middle of one each
// `kOutputsOfChunk` records of operators; the committer's backlog is bounded by
// `kOutputBacklogBytesMax` (the reader stops while it is above, and so do operators once the epoch
// before is committed) plus what batches in flight still add.
//
// Thread-safety: a chunk has one owner at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "state/types.h"

namespace bongsu {

enum class Stream : uint8_t { kAlerts = 0, kLate = 1, kDeadLetter = 2 };
inline constexpr int kStreams = 3;
inline constexpr size_t kOutputBacklogBytesMax = size_t{64} << 20;
inline constexpr uint32_t kOutputsOfChunk = 1024;

// A bundle on its way to a shard through the exchange topic (exchange_bundle.h).
struct ShardRecord {
  ShardId shard = 0;
  std::string bytes;
};

struct OutputChunk {
  struct Entry {
    Stream stream;
    uint32_t key_bytes;
    uint32_t value_bytes;
  };
  EpochId epoch = 0;
  std::vector<Entry> entries;
  std::string bytes;                 // key, value, key, value, ...
  std::vector<ShardRecord> bundles;  // exchange: kafka

  bool empty() const { return entries.empty() && bundles.empty(); }
  size_t size_bytes() const {
    size_t size = bytes.size();
    for (const ShardRecord& bundle : bundles) size += bundle.bytes.size();
    return size;
  }
  void Add(Stream stream, std::string_view key, std::string_view value) {
    entries.push_back(
        {stream, static_cast<uint32_t>(key.size()), static_cast<uint32_t>(value.size())});
    bytes.append(key).append(value);
  }
};

}  // namespace bongsu
