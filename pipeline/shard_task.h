// File: pipeline/shard_task.h
//
// The stateful half of a thread: the shards that it owns, their state and operators. Applies
// batches in the order of their numbers, level by level: inputs, then watermarks (timers, expiry),
// then, at a barrier, the frozen state of the epoch.
//
// Thread-safety: one thread, except `counters()` and `port_watermarks()`, which are read when the
// thread has stopped.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "operators/operator_runner.h"
#include "pipeline/alert_writer.h"
#include "pipeline/config.h"
#include "pipeline/counters.h"
#include "pipeline/decode_task.h"
#include "pipeline/exchange.h"
#include "pipeline/io.h"
#include "pipeline/outputs.h"
#include "pipeline/plan.h"
#include "pipeline/rule_cost.h"
#include "pipeline/watermarks.h"
#include "state/store.h"

namespace bongsu {

// What a thread hands in at a barrier.
struct EpochSeal {
  EpochId epoch = 0;
  std::vector<std::unique_ptr<FrozenShard>> changes;      // empty unless the barrier freezes
  std::vector<PartitionClock> partitions;                 // as of the barrier
  std::vector<std::vector<EventTimeNs>> port_watermarks;  // by operator
};

struct ShardTaskOptions {
  int thread = 0;
  int threads = 1;
  std::vector<uint16_t> operator_ids;  // the store's numbers, by operator
  size_t memory_bytes = 0;             // this thread's part of the state's budget
};

class ShardTask {
 public:
  // Everything referred to outlives the task.
  ShardTask(const Config& config, const Plan& plan, const PartitionTable& partitions,
            const Clock& clock, Store& store, Exchange& exchange, ShardTaskOptions options);
  ~ShardTask();

  [[nodiscard]] absl::Status Open();
  // After a restart, before the first batch.
  void Restore(const std::vector<PartitionClock>& partitions,
               const std::vector<std::vector<EventTimeNs>>& port_watermarks);
  Watermarks& watermarks() { return watermarks_; }

  // Applies batch `number` at `level`; its slot must be ready. Appends results to `outputs`. At the
  // barrier of an epoch, at the highest level, fills `*seal` (epoch 0 otherwise).
  [[nodiscard]] absl::Status Apply(int level, uint64_t number, OutputChunk& outputs,
                                   LiveCounters& live, EpochSeal* seal);
  // The store has the checkpoint of `epoch`.
  void OnPersisted(EpochId epoch);
  size_t dirty_bytes() const;
  size_t memory_bytes() const;

  const RunCounters& counters() const { return counters_; }
  ShardState::Counters state_counters() const;

 private:
  class Output;
  struct Shard;

  absl::Status Inputs(int level, ExchangeSlot& slot);
  absl::Status Advance(int level, uint64_t number);
  void Forward(const OperatorSpec& spec, const Incident& incident, EventTimeNs time);
  OperatorRunner& Runner(size_t shard, size_t op);

  const Config& config_;
  const Plan& plan_;
  Store& store_;
  Exchange& exchange_;
  ShardTaskOptions options_;
  Watermarks watermarks_;
  RunCounters counters_;
  CallSampler cost_;
  std::unique_ptr<Output> output_;
  std::vector<std::unique_ptr<Shard>> shards_;
  // By operator: to those who read its results, one router for each level that they stand on.
  struct LevelRouter {
    int level;
    std::unique_ptr<std::vector<Feed>> feeds;  // the router refers to them
    Router router;
  };
  std::vector<std::vector<LevelRouter>> result_routers_;
  std::vector<std::vector<Input>> inputs_;  // scratch, by (shard, operator)
  std::vector<size_t> filled_;              // which of them have inputs
  std::vector<std::vector<EventTimeNs>>
      ports_;                    // by operator: port watermarks as of the last advance
  uint64_t forward_number_ = 0;  // the batch whose results Forward routes
  // Of the sources as of each batch, for the levels above 0: level 0 may be batches ahead of them.
  std::vector<std::vector<EventTimeNs>> source_watermarks_;
  // By barrier: a lower level may be at the next one before a higher level is done with this one.
  std::map<uint64_t, EpochSeal> seals_;
};

}  // namespace bongsu
