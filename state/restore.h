// File: state/restore.h
//
// Bringing a store to the end of the changelog: the one way back after a crash, an abort, a lost
// disk or a damaged one.
//
// How the pipeline starts, or recovers (design: epochs, points 4 to 6):
//
//   0. on recovery: destroy Changelog, ShardStates and Store; make a new producer (which fences
//      every late copy of old requests); fetch the *stable* group offsets and their metadata;
//   1. only then open a ShardLogReader for each owned shard: `end()` is the *high* watermark, found
//      by a read_uncommitted handle, while the records are consumed read_committed;
//   2. ReadLogIdentity over the readers gives the hash seed for StoreOptions::hash_seed (an empty
//      disk takes it over; a new installation's logs are empty and give none);
//   3. Store::Open. DataLoss: SetAsideStore, then Open again: it is empty, and restored as such;
//   4. RestoreShard for each shard; `position.epoch` must be what the offset metadata says of it;
//   5. Changelog::Open (state/changelog.h), ShardStates, and on.
//
// A restore that is killed resumes: rows and position go in one batch, at most `batch_bytes` of
// rows (and the largest bundle) in memory.
//
// Errors: of the log, with a LogFault (state/changelog_format.h): stop, and tell a person. DataLoss
// without one: the store is damaged: step 3. FailedPrecondition with a fault: the message says what
// to do. Everything else: the reader's or the disk's.
//
// Thread-safety: none; one thread restores one store.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "state/changelog_format.h"
#include "state/store.h"

namespace bongsu {

// One shard's log, as committed. The pipeline implements it over a Kafka partition, tests over a
// vector.
class ShardLogReader {
 public:
  virtual ~ShardLogReader() = default;
  // The first offset that has not been deleted, and the one behind the last record; fixed when the
  // reader was made.
  virtual int64_t start() const = 0;
  virtual int64_t end() const = 0;
  // The next call of Next reads at or behind `offset`.
  [[nodiscard]] virtual absl::Status Seek(int64_t offset) = 0;
  // The next committed record below end(); false when there is none left. Waits, where an open
  // transaction stands in the way. Records of aborted transactions never appear; markers take up
  // offsets. `*bytes` is valid until the next call.
  virtual absl::StatusOr<bool> Next(int64_t* offset, std::string_view* bytes) = 0;
};

// The identity that the log says it has; none: it holds nothing yet. Reads one record.
absl::StatusOr<std::optional<LogIdentity>> ReadLogIdentity(ShardId shard, ShardLogReader& log);

struct RestoreProgress {
  ShardId shard = 0;
  uint64_t bundles = 0;
  uint64_t rows = 0;
  uint64_t records = 0;
  uint64_t bytes = 0;  // of the records
  int64_t offset = 0;  // where the restore stands, between `from` and `end`
  int64_t from = 0;
  int64_t end = 0;
};

struct RestoreOptions {
  size_t batch_bytes = size_t{32} << 20;
  // Of an application whose instances share its shards: the plan that this one runs. A log with
  // rows of an operator that came with a later one (HashSince) is Aborted: they must not be
  // skipped.
  uint64_t plan_version = std::numeric_limits<uint64_t>::max();
  // Called after each batch; an error stops the restore, which can be resumed.
  std::function<absl::Status(const RestoreProgress&)> progress;
};

struct RestoreResult {
  RestoreProgress progress;
  // Behind the last seal; epoch 0 where the log holds no bundle.
  ChangelogPosition position;
  // The local rows were dropped first: they were older than the log's start, or of no log.
  bool from_nothing = false;
  uint64_t abandoned = 0;  // bundles without a seal, left out
};

// Thread-safety: several shards at a time, each from its own thread; nobody reads the shard's rows
// meanwhile.
absl::StatusOr<RestoreResult> RestoreShard(Store& store, ShardId shard, ShardLogReader& log,
                                           const RestoreOptions& options = {});

// A damaged store is kept for whoever wants to look: renamed to "<path>.damaged-<n>", the first n
// that is free. Where the folder itself cannot be renamed, as a mount point cannot, what is in it
// is moved to "<path>/damaged-<n>". Returns the new name. The store must be closed.
// FailedPrecondition: neither can be done, or too many lie there already.
absl::StatusOr<std::string> SetAsideStore(const std::string& path);

}  // namespace bongsu
