// File: pipeline/committer.h
//
// The end of an epoch: writes what the threads put out, in the order of the epochs, and commits.
//
// An epoch is complete when every shard thread has sealed it; by then all its outputs have been
// handed over. Then, in this order (design: epochs, files and at-least-once delivery):
//   1. flush the sinks: alerts acknowledged by Kafka, or on disk;
//   2. where the epoch ends in a checkpoint: one atomic step of state, positions and output lengths
//      into the store;
//   3. tell the reader, which commits the group's offsets, and the shards, which may now evict.
// A crash before 2 repeats the outputs since the last checkpoint (Kafka: the same ids again; files:
// cut back first and written again); a crash after it repeats none.
//
// With delivery: exactly_once on Kafka (an EpochLog is given) steps 1 to 3 are one transaction
// (pipeline/DELIVERY.md): outputs are produced into it as they come; when all shards have sealed,
// their changes (changelog) and the positions follow; the reader's thread vouches for the
// membership; the transaction is committed, and only then do the changes count as state
// (state/changelog.h), which reaches the store later.
//
// Thread-safety: `Outputs`, `Seal`, `BeginEpoch` and the getters from any thread; it runs a thread
// of its own between Start and Stop.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "pipeline/config.h"
#include "pipeline/counters.h"
#include "pipeline/epoch_log.h"
#include "pipeline/io.h"
#include "pipeline/outputs.h"
#include "pipeline/plan.h"
#include "pipeline/positions.h"
#include "pipeline/shard_task.h"
#include "state/changelog.h"
#include "state/store.h"

namespace bongsu {

// What the reader knows of an epoch when it closes it.
struct EpochEnd {
  EpochId epoch = 0;
  bool checkpoint = false;
  std::vector<Position> positions;  // behind everything that belongs to the epoch
  // Of these, the ones that are read in this run: what the group's offsets are made of.
  std::vector<Position> read_positions;
  // exchange: kafka: of the shards that are ours.
  std::vector<ShardPosition> shard_positions;
  // exchange: kafka: where partitions stood that were gained since the epoch before.
  std::map<PartitionId, PartitionClock> gained;
};

// What makes delivery: exactly_once on Kafka; all null otherwise. All of it outlives the committer.
struct ExactlyOnceParts {
  EpochLog* log = nullptr;
  Changelog* changelog = nullptr;
  // Deletes what the changelog does not need any more, by partition: from the committer's thread.
  std::function<absl::Status(const std::map<int, int64_t>&)> trim;
  // exchange: kafka; null otherwise: what the clocks that go with each epoch name, and how records
  // of the exchange that were read go away.
  const Plan* exchange_plan = nullptr;
  uint64_t plan_version = 0;
  std::function<absl::Status(const std::map<int, int64_t>&)> trim_exchange;
};

class Committer {
 public:
  using Sinks = std::array<Sink*, kStreams>;
  // Everything referred to outlives the committer. `on_change` is called, from its thread, after
  // each commit and on failure.
  Committer(const Config& config, const PartitionTable& partitions, Store& store, Sinks sinks,
            ExactlyOnceParts exactly_once, const Clock& clock, int threads, EpochId first_epoch,
            std::function<void()> on_change);
  ~Committer();

  void Start();
  // Ends the thread; what is not complete stays uncommitted.
  void Stop();
  // What the thread does, one step at a time: outputs written, an epoch prepared or committed.
  // False: there is nothing to do now. For a caller who is the thread, in place of Start.
  bool Step();

  void Outputs(OutputChunk chunk);
  // For a thread in the middle of a batch of `epoch`: waits until the backlog is below its bound,
  // kRoomWait at most. Not at all where an epoch before is not sealed, which may need this very
  // thread, or while the committer waits for the membership, whose giver may wait for it.
  void AwaitRoom(EpochId epoch);
  void BeginCommit(EpochEnd end);
  void Seal(EpochSeal seal);

  // A commit waits for the membership, which only the thread that serves the rebalance callbacks
  // can give: that one looks here often, and answers.
  bool wants_membership() const { return wants_membership_.load(std::memory_order_acquire); }
  void GiveMembership(const absl::StatusOr<std::shared_ptr<const Membership>>& membership);

  EpochId committed() const { return committed_.load(std::memory_order_acquire); }
  EpochId persisted() const { return persisted_.load(std::memory_order_acquire); }
  size_t backlog_bytes() const { return backlog_bytes_.load(std::memory_order_relaxed); }
  size_t backlog_bytes_peak() const { return backlog_bytes_peak_.load(std::memory_order_relaxed); }
  // Positions of the newest checkpoint that has not been fetched yet, for the group's commit.
  std::optional<std::vector<Position>> TakePersistedPositions();
  absl::Status status() const;

  // For the report.
  uint64_t epochs() const { return epochs_.load(); }
  uint64_t checkpoints() const { return checkpoints_.load(); }
  uint64_t unsendable() const { return unsendable_.load(); }
  uint64_t trims_failed() const { return trims_failed_.load(); }
  // From the last shard's seal to the commit.
  TimeHistogram::Counts commit_times() const { return commit_times_.counts(); }

 private:
  struct Pending {
    std::deque<OutputChunk> chunks;
    std::optional<EpochEnd> end;
    std::vector<EpochSeal> seals;
  };
  // A transaction that wants nothing but the membership. Delivery reports write into it.
  struct Prepared {
    EpochEnd end;
    int64_t sealed_ns = 0;
    std::vector<ShardBundle> bundles;
    std::string positions;
    std::vector<int64_t> positions_offsets;  // of their records
    std::vector<GroupOffset> offsets;        // exchange: kafka
  };
  void Loop();
  bool HasWork() const;
  bool Sealed(const Pending& pending) const;
  bool AllSealedBefore(EpochId epoch) const;
  void Finish(absl::Status status);
  absl::Status Write(const OutputChunk& chunk);
  absl::Status Unsendable(Stream stream, std::string_view key, std::string_view value,
                          const absl::Status& why);
  absl::Status Commit(Pending pending);
  void Committed(EpochId epoch, int64_t sealed_ns);
  absl::Status Prepare(Pending pending);
  absl::Status CommitPrepared();
  absl::Status BeginTransaction();
  // exchange: kafka (committer_exchange.cc).
  absl::Status SendBundles(const std::vector<ShardRecord>& bundles);
  absl::Status SendClocks(const EpochEnd& end, const std::vector<EpochSeal>& seals);
  std::vector<GroupOffset> Offsets(const EpochEnd& end, const EpochSeal& seal,
                                   const std::vector<ShardBundle>& bundles) const;
  void TrimExchange(const EpochEnd& end);
  absl::Status FlushChangelog(bool now);
  void Trim(int64_t positions_offset);
  PipelinePositions MakePositions(const EpochEnd& end, const EpochSeal& seal) const;
  void Persisted(EpochId epoch, std::vector<Position> positions);

  const Config& config_;
  const PartitionTable& partitions_;
  Store& store_;
  const Sinks sinks_;
  const ExactlyOnceParts exactly_once_;
  const Clock& clock_;
  const size_t threads_;
  const std::function<void()> on_change_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::condition_variable room_;                              // the backlog has shrunk
  std::map<EpochId, Pending> pending_;                        // guarded by mutex_
  std::optional<std::vector<Position>> persisted_positions_;  // guarded by mutex_
  absl::Status status_;                                       // guarded by mutex_
  bool stop_ = false;                                         // guarded by mutex_
  EpochId taken_;  // guarded by mutex_: the newest epoch whose commit has begun
  // Guarded by mutex_: the answer to wants_membership_, one of the two.
  std::shared_ptr<const Membership> membership_;
  absl::Status no_membership_;
  std::atomic<bool> wants_membership_{false};

  EpochId current_;     // the committer's thread only
  bool begun_ = false;  // the transaction of `current_`; the committer's thread only
  std::unique_ptr<Prepared> prepared_;  // as `begun_`
  // exchange: kafka; the committer's thread only: what shards were told last.
  std::map<PartitionId, PartitionClock> sent_clocks_;
  std::map<std::pair<uint16_t, ShardId>, EventTimeNs> sent_results_;
  int64_t exchange_trimmed_ns_ = 0;
  int64_t previous_positions_ = -1;  // offset of the newest committed positions record
  std::atomic<EpochId> committed_;
  std::atomic<EpochId> persisted_;
  std::atomic<size_t> backlog_bytes_{0};       // changed under mutex_
  std::atomic<size_t> backlog_bytes_peak_{0};  // so far
  std::atomic<uint64_t> epochs_{0};
  std::atomic<uint64_t> checkpoints_{0};
  std::atomic<uint64_t> unsendable_{0};
  std::atomic<uint64_t> trims_failed_{0};
  TimeHistogram commit_times_;
  std::thread thread_;
};

// "file:path" or "topic:name" of each stream: recovery cuts an output only if it is still the same
// one.
std::array<std::string, kStreams> SinkNames(const Config& config);

}  // namespace bongsu
