// File: pipeline/exchange.h
//
// The in-process exchange: how selected events reach the thread that owns their shard, level by
// level, in the order of the batch numbers.
//
// For each level there is a ring of `kBatchesInFlight` slots, one for a batch. Level 0 of a batch
// is written by the worker that decoded it; level k+1 by every shard thread when it has applied the
// batch at level k. A slot is complete when all its writers are done; then each shard thread takes
// its own block out of it. So every shard sees all batches in one order, whichever worker was
// faster, and the results of a run over the same batches are the same.
//
// Bounds and deadlock: the reader issues batch n only when all threads have applied batch n -
// kBatchesInFlight at the highest level, so that a slot is free by the time anyone writes it and no
// writer ever waits; all waiting is the reader's.
//
// Thread-safety: a block is written by its writer before `Complete` and read by its owner after
// `Ready`; the counter between them orders the two. Blocks keep their memory from batch to batch.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "operators/operator.h"
#include "pipeline/batch.h"

namespace bongsu {

// Bump allocation of bytes that live until the batch is applied.
class ByteArena {
 public:
  std::string_view Copy(std::string_view bytes);
  void Clear();

 private:
  static constexpr size_t kChunkBytes = size_t{64} << 10;
  struct Chunk {
    std::unique_ptr<char[]> data;
    size_t size = 0;
  };
  std::vector<Chunk> chunks_;
  size_t chunk_ = 0;  // the one being filled
  size_t used_ = 0;   // bytes used of it
};

// An input on its way to a shard; its views lie in the block's arena.
struct RoutedInput {
  uint16_t op = 0;
  ShardId shard = 0;
  Input input;
};

// What one writer has for one shard thread.
struct ExchangeBlock {
  std::vector<RoutedInput> inputs;
  ByteArena arena;
  void Clear() {
    inputs.clear();
    arena.Clear();
  }
};

// Where routed inputs go: the slot of the batch, or a bundle on its way to the exchange topic.
class InputSink {
 public:
  virtual ~InputSink() = default;
  // Copies key and payload.
  virtual void Put(uint16_t op, ShardId shard, const Input& input) = 0;
};

// The usable event times that a batch held of a partition.
struct PartitionTime {
  PartitionId partition = 0;
  EventTimeNs newest = kMinEventTime;
  EventTimeNs first = kMinEventTime;  // of its first record
};

// With exchange: kafka, for one shard: the clock of a source partition, as its owner knows it.
struct ShardClockNews {
  ShardId shard = 0;
  PartitionId partition = 0;
  PartitionClock clock;
};
// And how far the results of an operator in shard `from` have come.
struct ShardResultNews {
  ShardId shard = 0;
  uint16_t op = 0;
  ShardId from = 0;
  EventTimeNs watermark = kMinEventTime;
};

// One batch at one level.
class ExchangeSlot {
 public:
  // `writers` is 1 at level 0 and the number of threads above.
  ExchangeSlot(int writers, int threads);
  // Empties what the decoding worker is about to fill (level 0).
  void Clear() {
    for (int reader = 0; reader < threads_; ++reader) block(0, reader).Clear();
    times.clear();
    marks.clear();
    clock_news.clear();
    result_news.clear();
  }
  ExchangeBlock& block(int writer, int reader) { return blocks_[Index(writer, reader)]; }
  int writers() const { return writers_; }
  int readers() const { return threads_; }
  // A writer is done with batch `number`.
  void Complete(uint64_t number);
  // All writers are done with batch `number`.
  bool Ready(uint64_t number) const;
  // The results' watermark of each operator of the level below, by writer (levels above 0).
  std::vector<EventTimeNs>& result_watermarks(int writer) {
    return result_watermarks_[static_cast<size_t>(writer)];
  }

  // Level 0 only, written by the decoding worker.
  std::vector<PartitionTime> times;
  std::vector<PartitionMark> marks;
  // With exchange: kafka: what the batch's bundles said of how far others have come.
  std::vector<ShardClockNews> clock_news;
  std::vector<ShardResultNews> result_news;
  EpochId epoch = 0;
  bool epoch_end = false;
  bool freeze = false;

 private:
  size_t Index(int writer, int reader) const {
    return static_cast<size_t>(writer) * static_cast<size_t>(threads_) +
           static_cast<size_t>(reader);
  }
  int writers_;
  int threads_;
  std::vector<ExchangeBlock> blocks_;
  std::vector<std::vector<EventTimeNs>> result_watermarks_;
  std::atomic<uint64_t> completed_{0};  // number of writer completions since the start
};

// The block of one writer in a slot.
class SlotInputs : public InputSink {
 public:
  SlotInputs(ExchangeSlot& slot, int writer) : slot_(slot), writer_(writer) {}
  void Put(uint16_t op, ShardId shard, const Input& input) override {
    ExchangeBlock& block = slot_.block(writer_, shard % slot_.readers());
    RoutedInput& routed = block.inputs.emplace_back(RoutedInput{op, shard, input});
    routed.input.key = block.arena.Copy(input.key);
    routed.input.payload = block.arena.Copy(input.payload);
  }

 private:
  ExchangeSlot& slot_;
  const int writer_;
};

class Exchange {
 public:
  Exchange(int levels, int threads);
  ExchangeSlot& slot(int level, uint64_t number) {
    return *slots_[static_cast<size_t>(level)][number % kBatchesInFlight];
  }
  int levels() const { return static_cast<int>(slots_.size()); }
  int threads() const { return threads_; }

 private:
  int threads_;
  std::vector<std::vector<std::unique_ptr<ExchangeSlot>>> slots_;
};

}  // namespace bongsu
