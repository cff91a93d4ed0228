// File: pipeline/engine.h
//
// The running pipeline: a reader (the calling thread), worker threads that decode and own shards,
// and a committer. See pipeline/README.md for the life of an event.
//
//   Engine engine(config, parts);
//   RETURN_IF_ERROR(engine.Start());
//   absl::Status status = engine.Run(stop);      // until the input ends, `stop` is set, or an
//   error RunReport report = engine.Report();
//
// Bounds: kBatchesInFlight batches; two epochs in flight; kOutputBacklogBytesMax of outputs; the
// state's budget of changed bytes (four times state.checkpoint_bytes at most before the reader
// waits).
//
// Thread-safety: one thread calls Start, Run and Report; `stop` may be set from a signal handler.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "pipeline/batch.h"
#include "pipeline/committer.h"
#include "pipeline/config.h"
#include "pipeline/counters.h"
#include "pipeline/decode_task.h"
#include "pipeline/exchange.h"
#include "pipeline/io.h"
#include "pipeline/ownership.h"
#include "pipeline/plan.h"
#include "pipeline/positions.h"
#include "pipeline/shard_task.h"
#include "pipeline/source_watch.h"
#include "state/store.h"

namespace bongsu {

// Runs the engine's threads. None is given in the service, where they are threads; the simulation
// takes their steps one by one on the thread that calls Run, in an order that its seed says.
class Scheduler {
 public:
  virtual ~Scheduler() = default;
  // An actor takes one step; false: it had nothing to do. It lives until RemoveAll.
  virtual void Add(std::function<bool()> actor) = 0;
  virtual void RemoveAll() = 0;
  // The caller can do nothing until others have taken a step.
  virtual void Wait() = 0;
};

// exchange: kafka. What several instances share.
struct SharedParts {
  SharedSource* source = nullptr;  // also the one of EngineParts::sources
  MakeLogRestorer make_restorer;
  uint64_t plan_version = 0;
  // By operator: the plan that brought it (0: the first one); earlier events were not sent for it.
  std::vector<uint64_t> since;
};

// What the engine is wired to; all of it outlives the engine, and is opened but not started.
struct EngineParts {
  PartitionTable* partitions = nullptr;
  Store* store = nullptr;
  std::vector<RecordSource*> sources;
  std::array<Sink*, kStreams> sinks{};
  const Clock* clock = nullptr;
  // Where the run goes on: the last committed epoch and its positions; none: from the beginning.
  std::optional<CheckpointMeta> resume;
  ExactlyOnceParts exactly_once;
  Scheduler* scheduler = nullptr;
  // Set from outside: Run commits everything read and returns, as with `stop`. Null: never.
  const std::atomic<bool>* pause = nullptr;
  std::optional<SharedParts> shared;  // exchange: kafka
};

// The bounds that the reader waits for.
enum class WaitReason : uint8_t { kBatches, kOutputs, kState };
inline constexpr size_t kWaitReasons = 3;
std::string_view WaitReasonName(WaitReason reason);

struct EngineTotals {
  RunCounters counters;
  ShardState::Counters state;
  uint64_t epochs = 0;
  uint64_t checkpoints = 0;
  uint64_t unsendable = 0;
  uint64_t trims_failed = 0;  // delivery: exactly_once: the changelog could not be shortened
  uint64_t recoveries = 0;    // delivery: exactly_once: how often memory was dropped and restored
  uint64_t output_backlog_bytes_peak = 0;  // the most that waited for the sinks at a time
  uint64_t reader_waits = 0;               // how often the reader waited for a bound
  uint64_t holds = 0;  // how often a partition waited for slower ones (backfill_ahead)
  std::array<uint64_t, kWaitReasons> waits{};  // the same by bound
  TimeHistogram::Counts commit_times;
  Ownership::Counters ownership;  // exchange: kafka
  size_t state_memory_bytes = 0;
  // Adds an earlier engine's work: after a recovery both count.
  void Merge(const EngineTotals& earlier);
};

// What a running engine shows, about a second old.
struct EngineView {
  EngineTotals totals;
  std::vector<EventTimeNs> source_watermarks;  // by source; empty before the first look
  std::vector<PartitionClock> partitions;      // by partition
  std::vector<uint8_t> source_alarms;          // by source; empty: another process keeps them
  std::vector<PartitionId> held;               // partitions that wait for slower ones
  std::vector<SourceProgress> progress;
  uint64_t batches_in_flight = 0;
  size_t output_backlog_bytes = 0;
  size_t state_dirty_bytes = 0;
  bool paused = false;            // the reader waits, and has paused its partitions
  DurationNs uncommitted_ns = 0;  // since the first batch of the oldest epoch that is not committed
};

class Engine : private OwnershipHost {
 public:
  Engine(const Config& config, EngineParts parts);
  ~Engine() override;

  // Opens the state, recovers outputs and positions, starts the sources.
  [[nodiscard]] absl::Status Start();
  // The part of Start that can be refused (a cut input, somebody else's output), without any
  // change: for `check`.
  [[nodiscard]] absl::Status Check();
  // Returns OK when the bounded input has ended or `stop` was set, and everything read is
  // committed. Sources and sinks stay open: after Aborted (delivery: exactly_once) another engine
  // goes on with them.
  [[nodiscard]] absl::Status Run(const std::atomic<bool>& stop);

  const LiveCounters& live() const { return live_; }
  // After Run.
  EngineTotals Totals() const;
  // While it runs, on Run's thread (on_tick): what the workers had published, and asks them to
  // publish anew. Costs them a copy of their counters, between two batches.
  EngineView View();
  // Operators whose rule had changed since their state was written: the state was dropped.
  const std::vector<std::string>& reset_operators() const { return reset_operators_; }
  // Operators that the state held and the plan has not: likewise.
  const std::vector<std::string>& dropped_operators() const { return dropped_operators_; }
  bool resumed() const { return resumed_; }
  // exchange: kafka: all that the group gave is restored and read.
  bool settled() const { return ownership_ != nullptr && ownership_->settled(); }
  // Called about every second from Run's thread (progress); may be empty.
  std::function<void()> on_tick;

 private:
  struct Worker;

  // ShardTaskOptions::hand_over.
  void HandOver(Worker& worker, OutputChunk& outputs);

  // exchange: kafka (engine_shared.cc).
  absl::Status Settle(DurationNs deadline) override;
  absl::Status Drain() override;
  absl::StatusOr<std::shared_ptr<ShardTask::Shard>> OpenShard(ShardId shard) override;
  void AdoptShard(std::shared_ptr<ShardTask::Shard> shard, ShardId id) override;
  void DropShard(ShardId shard) override;
  void AdoptPartition(PartitionId partition, const PartitionClock& clock) override;
  void DropPartition(PartitionId partition) override;
  void StartShared();
  absl::Status DecodeShared(Worker& worker, const Batch& batch, ExchangeSlot& slot,
                            OutputChunk& outputs);
  void FinishBundles(Worker& worker, EpochId epoch, OutputChunk& outputs);
  bool SharedEnded() const;

  absl::Status OpenState();
  bool CommittedWith(const PipelinePositions& positions, const OperatorSpec& spec);
  absl::Status Recover(bool only_check);
  void WorkerLoop(Worker& worker);
  bool ApplyNext(Worker& worker);
  bool DecodeNext(Worker& worker);
  void Fail(absl::Status status);
  absl::Status Failure() const;
  void Wake();
  // Until something may have changed, for a short while.
  void Await();

  absl::Status ReadLoop(const std::atomic<bool>& stop);
  absl::Status PollSources(bool* got, bool* finished);
  absl::Status WaitForRoom(const std::atomic<bool>& stop);
  absl::Status AwaitBounds(const std::atomic<bool>& stop);
  bool HasRoom() const { return !Waiting().has_value(); }
  void AwaitRoom();
  void WakeReader();
  void OnCommitterChange();
  // The bound that is hit; none: there is room.
  std::optional<WaitReason> Waiting() const;
  static void Publish(Worker& worker, uint64_t view);
  EngineTotals CommitterTotals() const;
  bool shared() const { return parts_.shared.has_value(); }
  int levels() const { return shared() ? 1 : plan_.levels; }
  uint64_t LowestApplied() const;
  void Issue(std::unique_ptr<Batch> batch);
  bool EpochDue(int64_t now) const;
  uint64_t EpochsInFlight() const { return epoch_ - committer_->committed(); }
  size_t DirtyBytes() const;
  bool StateFull() const;
  bool StateWaits() const;
  void CloseEpoch(int64_t now, bool final);
  void ForgetCommitted();
  // engine_time.cc: what is decided by the clock, and by all partitions' clocks (source_watch.h).
  absl::Status RestoreTime(const std::vector<Position>& stored);
  TimeView LookAtTime();
  void PublishTime(Worker& worker);
  // Only where the reader reads: what it decides must not come between a revocation and its commit.
  absl::Status WatchSources(int64_t now);
  absl::Status HoldAhead(WatchTime now);
  absl::Status Housekeeping();
  absl::Status Finish();
  absl::Status AwaitCommits();
  absl::Status CommitPlaces();
  std::vector<Position> SourcePositions() const;
  bool Grown() const;  // RecordSource::grown

  const Config& config_;
  EngineParts parts_;
  Plan plan_;
  int threads_ = 1;
  std::vector<uint16_t> operator_ids_;
  std::vector<std::string> reset_operators_;
  std::vector<std::string> dropped_operators_;
  bool resumed_ = false;
  std::vector<PartitionClock> restored_clocks_;
  std::vector<std::vector<EventTimeNs>> restored_watermarks_;  // by operator
  std::map<std::string, uint8_t> restored_alarms_;             // by source
  std::vector<size_t> new_operators_;                          // since the state was written
  std::vector<Position> unread_positions_;  // of partitions that are no longer configured
  std::vector<PartitionClockOf> known_;     // exchange: kafka: partitions that feed the application
  uint16_t clocks_id_ = 0;
  std::unique_ptr<Exchange> exchange_;
  std::unique_ptr<Committer> committer_;
  std::unique_ptr<Ownership> ownership_;  // exchange: kafka
  NewestTimes newest_;
  LiveCounters live_;
  std::vector<std::unique_ptr<Worker>> workers_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<Batch>> to_decode_;  // guarded by mutex_; bounded by kBatchesInFlight
  absl::Status failure_;                          // guarded by mutex_
  bool done_ = false;                             // guarded by mutex_: workers end
  uint64_t wakes_ = 0;                            // guarded by mutex_
  // The reader while batches in flight are at their bound: it is woken when half of them are done,
  // and not for each, which would cost two changes of threads a batch.
  std::condition_variable room_;
  uint64_t room_wakes_ = 0;  // guarded by mutex_
  static constexpr uint64_t kNo = UINT64_MAX;
  std::atomic<uint64_t> wake_reader_at_{kNo};  // the batch; kNo: it does not wait
  std::atomic<bool> failed_{false};
  std::atomic<uint64_t> view_{0};  // workers publish when it has grown

  // The reader's own.
  uint64_t issued_ = 0;
  EpochId epoch_ = 1;  // the open one
  uint64_t batches_in_epoch_ = 0;
  int64_t epoch_started_ = 0;
  int64_t last_checkpoint_ = 0;
  bool uncheckpointed_ = false;  // epochs since the last checkpoint held batches
  // exchange: kafka: partitions gained since the last epoch's end, with the clocks that their
  // former owners have committed. The shards are told of them though nothing may come: what was
  // said under another plan does not count (unpack_task.h).
  std::map<PartitionId, PartitionClock> gained_;
  EpochId checkpoint_in_flight_ = 0;
  int64_t last_tick_ = 0;
  std::array<uint64_t, kWaitReasons> waits_{};
  std::deque<std::pair<EpochId, int64_t>> uncommitted_;  // epochs with batches, and their beginning
  bool backpressure_ = false;
  SourceWatch watch_;
  int64_t last_look_ = 0;
  int64_t last_hold_ = 0;
  bool was_paused_ = false;                   // since the last look
  std::vector<PartitionClock> known_clocks_;  // as of the last look
  std::vector<PartitionId> held_;
  uint64_t holds_ = 0;
  std::atomic<uint64_t> look_{0};  // workers publish their time when it has grown
};

}  // namespace bongsu
