// File: pipeline/engine_worker.h
//
// A thread of the engine: decodes batches and owns the shards with `id % threads == its index`.
// Only engine.cc and engine_shared.cc look inside. Thread-safety: its own thread's, except the
// atomics.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "pipeline/engine.h"
#include "pipeline/exchange_bundle.h"
#include "pipeline/unpack_task.h"

namespace bongsu {

struct Engine::Worker {
  int index = 0;
  std::unique_ptr<DecodeTask> decode;
  std::unique_ptr<ShardTask> shards;
  RunCounters counters;              // of its decoding
  std::vector<uint64_t> next;        // by level: the batch to apply next
  std::atomic<uint64_t> applied{0};  // at the highest level
  std::atomic<size_t> dirty_bytes{0};
  std::atomic<size_t> memory_bytes{0};
  EpochId persisted = 0;
  uint64_t seen_wakes = 0;
  uint64_t view = 0;  // the newest that it has published
  std::mutex published_mutex;
  RunCounters published;  // guarded by published_mutex, as all below
  ShardState::Counters published_state;
  std::vector<EventTimeNs> source_watermarks;
  std::vector<PartitionClock> partitions;
  TimeView time;
  uint64_t look = 0;  // the newest that it has published; its own
  std::thread thread;

  // exchange: kafka. What it has decoded may be of a later epoch than what it has applied: two
  // sets.
  std::unique_ptr<UnpackTask> unpack;
  std::unique_ptr<BundleSet> decoded;
  EpochId decoded_epoch = 0;
  std::unique_ptr<BundleSet> results;
  std::atomic<bool> ended{false};  // nothing more can come to its shards
};

}  // namespace bongsu
