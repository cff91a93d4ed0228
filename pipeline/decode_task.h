// File: pipeline/decode_task.h
//
// The stateless half of a thread: decodes a batch, sends what cannot be used to the dead letters,
// asks every rule and selection of the source, writes the rules' alerts, and routes what operators
// take to the shards, into the batch's exchange slot.
//
// Thread-safety: one thread; the slot is its own until it calls Complete on it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "operators/key.h"
#include "pipeline/batch.h"
#include "pipeline/config.h"
#include "pipeline/counters.h"
#include "pipeline/decoder.h"
#include "pipeline/exchange.h"
#include "pipeline/io.h"
#include "pipeline/outputs.h"
#include "pipeline/plan.h"
#include "pipeline/result_rows.h"
#include "pipeline/rule_runner.h"

namespace bongsu {

// The newest usable event time of each partition, for the reader (on_idle: wall_clock).
class NewestTimes {
 public:
  NewestTimes();
  void Raise(PartitionId partition, EventTimeNs time);
  EventTimeNs Get(PartitionId partition) const;

 private:
  std::unique_ptr<std::atomic<EventTimeNs>[]> times_;
};

// Turns one event into routed inputs; shared by DecodeTask (records) and ShardTask (results for the
// next level).
class Router {
 public:
  Router(const std::vector<Feed>& feeds, uint64_t hash_seed, uint16_t shards);
  // Hands the event's inputs to `to`. `fired`: the rules that the event met, whose feeds take it.
  void Route(const Event& event, std::span<const uint32_t> fired, InputSink& to,
             RunCounters& counters);
  // The same of a result with the fields of several events; `event` has its time and place. Its
  // readers take all of an operator's results.
  void RouteRows(const Event& event, const ResultRows& rows, InputSink& to, RunCounters& counters);

 private:
  struct KeyedFeed {
    const Feed* feed;
    KeyBuilder keys;
    KeyCounters seen;  // what of the builder's counters is in RunCounters already
  };
  void RouteOne(KeyedFeed& keyed, const Event& event, InputSink& to, RunCounters& counters);

  std::vector<KeyedFeed> feeds_;                    // with a selection of their own, or none
  std::vector<std::vector<KeyedFeed>> rule_feeds_;  // by rule
  uint64_t hash_seed_;
  uint16_t shards_;
  std::string payload_;  // scratch
};

class DecodeTask {
 public:
  // Everything referred to outlives the task.
  DecodeTask(const Config& config, const Plan& plan, const PartitionTable& partitions,
             const Clock& clock, uint64_t hash_seed, uint16_t shards, NewestTimes& newest);
  // Hands what operators take of `batch` to `inputs`, times and marks to `slot`, and appends dead
  // letters and future records to `outputs`. The slot was cleared before.
  void Run(const Batch& batch, InputSink& inputs, ExchangeSlot& slot, OutputChunk& outputs,
           RunCounters& counters, LiveCounters& live);

 private:
  void RunRecord(const Record& record, InputSink& inputs, OutputChunk& outputs,
                 RunCounters& counters, LiveCounters& live);
  void DeadLetter(const Record& record, DecodeResult why, OutputChunk& outputs, LiveCounters& live);
  void Future(const Record& record, EventTimeNs time, const char* reason, OutputChunk& outputs,
              LiveCounters& live);
  uint16_t SourceOf(PartitionId partition);

  struct Source {
    Decoder decoder;
    Router router;
    RuleRunner rules;
    DurationNs max_future_skew;
    DecoderCounters seen;
  };
  const PartitionTable& partitions_;
  const Clock& clock_;
  NewestTimes& newest_;
  std::unique_ptr<AlertWriter> writer_;  // the sources' rules write through it
  std::vector<Source> sources_;
  std::vector<int32_t> source_of_;         // by partition, -1 unknown
  std::vector<PartitionTime> batch_time_;  // by partition: of this batch
  std::vector<PartitionId> touched_;
  int64_t now_ns_ = 0;  // wall clock, once a batch
  std::string scratch_;
};

}  // namespace bongsu
