// File: pipeline/shard_task.h
//
// The stateful half of a thread: the shards that it owns, their state and operators. Applies
// batches in the order of their numbers, level by level: inputs, then watermarks (timers, expiry),
// then, at a barrier, the frozen state of the epoch.
//
// With exchange: kafka (pipeline/shard_task_shared.cc) shards come and go, each has its own clocks
// (shard_clocks.h), and results of operators leave as bundles: to this thread all operators stand
// on one level.
//
// Thread-safety: one thread, except `counters()` and `port_watermarks()`, which are read when the
// thread has stopped.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
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
#include "pipeline/shard_clocks.h"
#include "pipeline/source_watch.h"
#include "pipeline/watermarks.h"
#include "state/store.h"

namespace bongsu {

// A partition that feeds the application, and its source.
struct PartitionClockOf {
  PartitionId partition = 0;
  uint16_t source = 0;
};

// Those of the table that the configuration reads.
std::vector<PartitionClockOf> PartitionsOf(const Config& config, const PartitionTable& partitions);
// What the shards' clocks are called among the store's operators; no operator can be called so.
inline constexpr char kClocksOperator[] = "(clocks)";

// What a thread hands in at a barrier.
struct EpochSeal {
  EpochId epoch = 0;
  std::vector<std::unique_ptr<FrozenShard>> changes;      // empty unless the barrier freezes
  std::vector<PartitionClock> partitions;                 // as of the barrier
  std::vector<uint8_t> alarms;                            // by source (Watermarks::alarms)
  std::vector<std::vector<EventTimeNs>> port_watermarks;  // by operator
  // exchange: kafka: how far the results of operators that have readers have come, by shard.
  std::vector<ShardResultNews> results;
};

struct ShardTaskOptions {
  int thread = 0;
  int threads = 1;
  std::vector<uint16_t> operator_ids;  // the store's numbers, by operator
  size_t memory_bytes = 0;             // this thread's part of the state's budget
  bool all_incidents = false;  // write also those of operators that make no alerts (rehearsals)
  // Takes what a batch has given so far, each kOutputsOfChunk records: a watermark's jump may close
  // millions of windows in one batch.
  std::function<void(OutputChunk& outputs)> hand_over = [](OutputChunk&) {};
  // exchange: kafka; null otherwise. Where results go.
  InputSink* results = nullptr;
  uint16_t clocks_id = 0;  // the store's number for the shards' clocks
  uint64_t plan_version = 0;
  std::vector<uint64_t> since;  // by operator (SharedParts::since)
};

class ShardTask {
 public:
  // Everything referred to outlives the task.
  ShardTask(const Config& config, const Plan& plan, const PartitionTable& partitions,
            const Clock& clock, Store& store, Exchange& exchange, ShardTaskOptions options);
  ~ShardTask();

  // All shards of the thread; not with exchange: kafka.
  [[nodiscard]] absl::Status Open();

  // exchange: kafka. A shard whose rows are in the store: any thread; `known`: the partitions that
  // feed the application.
  struct Shard;
  absl::StatusOr<std::shared_ptr<Shard>> OpenShard(ShardId id,
                                                   const std::vector<PartitionClockOf>& known);
  // These two while no batch is under way.
  void Adopt(std::shared_ptr<Shard> shard);
  void Drop(ShardId id);
  // By source: as its shards know them; the lowest where they differ (exchange: kafka).
  std::vector<EventTimeNs> SourceWatermarks() const;
  // What the reader decides by (source_watch.h); between two batches.
  TimeView Time() const;
  // As of the last batch: nothing more can come to any of the shards.
  bool ended() const;

  // After a restart, before the first batch.
  void Restore(const std::vector<PartitionClock>& partitions,
               const std::vector<std::vector<EventTimeNs>>& port_watermarks);
  // The operator was not there before the restart: OperatorRunner::Missed.
  [[nodiscard]] absl::Status Missed(size_t op, EventTimeNs newest);
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

  absl::Status Inputs(int level, uint64_t number);
  absl::Status Advance(int level, uint64_t number);
  absl::Status AdvanceShared(const ExchangeSlot& slot);
  absl::Status NoteMissed(Shard& shard, size_t op);
  // What partitions held before the first event that was read of them, no operator has seen.
  absl::Status NoteBegun(int level, uint64_t number);
  absl::Status SealShared(EpochId epoch, bool freeze, EpochSeal* seal);
  absl::StatusOr<std::shared_ptr<Shard>> MakeShard(ShardId id);
  void RaiseAlarms(const std::vector<RaisedAlarm>& raised);
  void Forward(size_t op, const Incident& incident, EventTimeNs time, ResultKind kind);
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
  std::vector<std::shared_ptr<Shard>> shards_;  // by id / threads; null: another instance's
  struct LevelRouter {
    int level;
    std::unique_ptr<std::vector<Feed>> feeds;  // the router refers to them
    Router router;
  };
  std::vector<LevelRouter> RoutersOf(const OperatorPlan& op, bool followers_only) const;
  // To those who read an operator's results: of incidents that begin, and of those that go on.
  struct ResultRouters {
    std::vector<LevelRouter> all;
    std::vector<LevelRouter> followers;
  };
  std::vector<ResultRouters> result_routers_;  // by operator
  // By batch in flight and level: what level 0's slot has for it (the slot keeps what it points
  // at).
  std::array<std::vector<std::vector<RoutedInput>>, kBatchesInFlight> waiting_;
  // By batch in flight: sources whose partitions began in it, and what these may have held before.
  std::array<std::vector<std::pair<uint16_t, EventTimeNs>>, kBatchesInFlight> begun_;
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
