// File: pipeline/ownership.h
//
// Which source partitions and shards are this instance's (exchange: kafka), and what is done when
// the group gives them out anew. Everything begins here: a start is a rebalance in which all is
// gained.
//
//   group takes back   what was read is committed (Host::Settle, with a deadline); then released.
//                      Nothing leaves memory yet.
//   group gives out    what was ours and is ours again, and stands where we left it (the committed
//                      offset and the shard's epoch beside it say so), goes on at once: the pause
//                      is the rebalance itself. What is gone is dropped from memory; its rows stay
//                      in the store, for a tail replay should it return.
//   gained             a thread of its own fetches the stable offsets, finds the end of the
//                      changelog only then, restores, and compares the shard's epoch with the one
//                      beside its offset. Meanwhile the others go on. Then all pause for one
//                      commit, and the shard is taken in.
//
// What somebody with a newer plan has committed is not taken over: Aborted, and then ours is newer,
// too (kafka/kafka_registry.h).
//
// Whatever does not go well is Aborted: the one way back (commit_machine.h) begins with everything
// gained.
//
// Thread-safety: the reader's thread; it runs a thread of its own for restoring.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pipeline/config.h"
#include "pipeline/io.h"
#include "pipeline/shard_task.h"
#include "state/changelog.h"

namespace bongsu {

// What a shard's committed offset carries: its epoch in the changelog, and the plan of whoever has
// committed it.
struct ShardMark {
  uint64_t epoch = 0;
  uint64_t plan_version = 0;
};
std::string ShardMarkText(const ShardMark& mark);
// False: it is none.
bool ShardMarkOfText(std::string_view text, ShardMark* mark);

// Brings the store to the end of a shard's changelog.
class LogRestorer {
 public:
  virtual ~LogRestorer() = default;
  // The shard's epoch there.
  virtual absl::StatusOr<uint64_t> Restore(ShardId shard) = 0;
};
using MakeLogRestorer =
    std::function<absl::StatusOr<std::unique_ptr<LogRestorer>>(const std::atomic<bool>& cancel)>;

// The engine, as ownership sees it.
class OwnershipHost {
 public:
  virtual ~OwnershipHost() = default;
  // Commits everything that was read, and where what was gained begins; then nothing is under way.
  // Aborted: not within the deadline.
  [[nodiscard]] virtual absl::Status Settle(DurationNs deadline) = 0;
  // Nothing is under way; what was read is not committed for that.
  [[nodiscard]] virtual absl::Status Drain() = 0;
  // Any thread.
  virtual absl::StatusOr<std::shared_ptr<ShardTask::Shard>> OpenShard(ShardId shard) = 0;
  // These while nothing is under way.
  virtual void AdoptShard(std::shared_ptr<ShardTask::Shard> shard, ShardId id) = 0;
  virtual void DropShard(ShardId shard) = 0;
  virtual void AdoptPartition(PartitionId partition, const PartitionClock& clock) = 0;
  virtual void DropPartition(PartitionId partition) = 0;
};

class Ownership {
 public:
  struct Counters {
    uint64_t rebalances = 0;
    uint64_t shards_kept = 0;
    uint64_t shards_gained = 0;
    uint64_t shards_lost = 0;
    DurationNs pause_ns_max = 0;  // from the revocation until what was kept is read again
    void Merge(const Counters& other);
  };

  // Everything referred to outlives it.
  Ownership(const Config& config, SharedSource& source, Changelog& changelog,
            MakeLogRestorer make_restorer, uint64_t plan_version, const Clock& clock,
            OwnershipHost& host);
  ~Ownership();

  // Each round of the reader's loop. `stop` ends its waiting for brokers.
  [[nodiscard]] absl::Status Serve(const std::atomic<bool>& stop);
  // Ends the restoring thread, which uses the source.
  void Stop() { CancelRestoring(); }
  // Between an assignment and the next revocation.
  bool assigned() const { return assigned_; }
  // All that the group gave is being read.
  bool settled() const { return assigned_ && restoring_ == nullptr; }
  size_t shards() const { return shards_.size(); }
  const Counters& counters() const { return counters_; }

 private:
  // The thread that restores what was gained in one assignment.
  struct Restoring;

  static absl::Status OrRecover(const absl::Status& status);
  absl::Status Take(const Assignment& assignment, const std::atomic<bool>& stop);
  absl::StatusOr<Assignment> Keep(const Assignment& assignment, const std::atomic<bool>& stop);
  absl::Status AdoptReady();
  void Restore(Restoring& restoring);
  absl::Status RestorePartition(Place place, Restoring& restoring);
  absl::Status RestoreOne(LogRestorer& restorer, Place place, Restoring& restoring);
  void CancelRestoring();
  std::vector<Place> Reading() const;

  const Config& config_;
  SharedSource& source_;
  Changelog& changelog_;
  const MakeLogRestorer make_restorer_;
  const uint64_t plan_version_;
  const Clock& clock_;
  OwnershipHost& host_;
  bool assigned_ = false;
  std::map<PartitionId, int64_t> partitions_;  // being read; -> end offset (until: end), or -1
  std::set<ShardId> shards_;                   // in memory, and being read
  std::unique_ptr<Restoring> restoring_;
  int64_t revoked_ns_ = 0;  // when the group took everything back; 0: it has not
  int64_t adopted_ns_ = 0;  // when something restored was taken in last
  Counters counters_;
};

}  // namespace bongsu
