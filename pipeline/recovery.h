// File: pipeline/recovery.h
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
//   ASSIGN_OR_RETURN(auto log, backend.OpenLog(config, stop, keep_alive));
//   ASSIGN_OR_RETURN(Recovered recovered, Recover(config, *log, open_store, committed, watcher));
//
// Thread-safety: one thread. Errors: FailedPrecondition and DataLoss with what to do: the process
// stops and nothing is guessed; Cancelled when `stop` was set; else the brokers' or the disk's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "pipeline/config.h"
#include "state/restore.h"
#include "state/store.h"

namespace bongsu {

// The changelog topic as restore sees it. pipeline/kafka/kafka_log.h implements it. Belongs to one
// thread; one reader is read at a time.
class LogTopic {
 public:
  virtual ~LogTopic() = default;
  // The number of partitions that the topic has.
  virtual int partitions() const = 0;
  // A reader of one partition, up to the high watermark of this moment; the topic outlives it.
  virtual absl::StatusOr<std::unique_ptr<ShardLogReader>> Reader(int partition) = 0;
  // Deletes the records before these offsets, by partition.
  [[nodiscard]] virtual absl::Status Trim(const std::map<int, int64_t>& before) = 0;
  // The same of another topic (exchange: kafka).
  [[nodiscard]] virtual absl::Status TrimTopic(const std::string& /*topic*/,
                                               const std::map<int, int64_t>& /*before*/) {
    return absl::UnimplementedError("no exchange");
  }
};

struct Recovered {
  std::unique_ptr<Store> store;
  // The last committed epoch and the positions behind it; none: nothing was ever committed.
  std::optional<CheckpointMeta> resume;
};

// Sees how far the restore of one shard is, and when it is done.
using RestoreWatcher = std::function<void(const RestoreProgress& progress, bool done)>;

// Restores one shard, and shows it to the watcher (not `options`' own).
absl::StatusOr<RestoreResult> RestoreFrom(Store& store, ShardId shard, ShardLogReader& reader,
                                          const RestoreWatcher& watcher,
                                          RestoreOptions options = {});

// `committed`: the epoch in the metadata of the group's stable offsets; 0: it has none.
// `open_store` opens the local state, with the hash seed that the log says (none: it says none
// yet).
using OpenStoreFunction =
    std::function<absl::StatusOr<std::unique_ptr<Store>>(std::optional<uint64_t> hash_seed)>;
absl::StatusOr<Recovered> Recover(const Config& config, LogTopic& log,
                                  const OpenStoreFunction& open_store, EpochId committed,
                                  const RestoreWatcher& watcher);

// Opens a store; one that does not open for its checksums is set aside first, for whoever wants to
// look, and the new one is empty.
absl::StatusOr<std::unique_ptr<Store>> OpenOrSetAside(const StoreOptions& options);

}  // namespace bongsu
