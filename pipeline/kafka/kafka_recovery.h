// File: pipeline/kafka/kafka_recovery.h
//
// The one way back (delivery: exactly_once): from whatever is on disk to the state of the last
// committed epoch. The same code starts a process, takes over from a dead instance with an empty
// disk, and recovers after an abort or a commit whose outcome nobody knows.
//
// The order matters (design: epochs, points 5 and 6), and its first steps are the caller's:
//   1. own the partitions;  2. init_transactions (old copies of requests are fenced, an open
//   transaction of ours is ended);  3. fetch the *stable* group offsets;
//   4. here: only now find the changelog's high watermarks, open the store (a damaged one is set
//      aside and made anew from the log), replay each shard's tail, read the positions, and compare
//      the three witnesses: shards, positions and group offsets must speak of the same epoch.
//
//   ASSIGN_OR_RETURN(Recovered recovered, Recover(config, options, committed, stop, keep_alive,
//   watcher));
//
// Thread-safety: one thread. Errors: FailedPrecondition and DataLoss with what to do: the process
// stops and nothing is guessed; Cancelled when `stop` was set; else the brokers' or the disk's.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "pipeline/config.h"
#include "pipeline/kafka/kafka_log.h"
#include "state/restore.h"
#include "state/store.h"

namespace bongsu {

struct Recovered {
  std::unique_ptr<KafkaLog> log;
  std::unique_ptr<Store> store;
  // The last committed epoch and the positions behind it; none: nothing was ever committed.
  std::optional<CheckpointMeta> resume;
};

// Sees how far the restore of one shard is, and when it is done.
using RestoreWatcher = std::function<void(const RestoreProgress& progress, bool done)>;

// `committed`: the epoch in the metadata of the group's stable offsets; 0: it has none.
absl::StatusOr<Recovered> Recover(const Config& config, const StoreOptions& options,
                                  EpochId committed, const std::atomic<bool>& stop,
                                  const std::function<absl::Status()>& keep_alive,
                                  const RestoreWatcher& watcher);

}  // namespace bongsu
