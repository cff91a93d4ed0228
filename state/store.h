// File: state/store.h
//
// The disk behind the shards: one RocksDB for a process, and the checkpoints in it. The only header
// through which anything outside state/ reaches RocksDB, and RocksDB is not in it.
//
// A checkpoint is one atomic step: the changes of all shards, the positions of all sources and of
// the changelog, the lengths of all output files and the expiry points enter RocksDB in one
// WriteBatch (WAL off), followed by one atomic flush of all column families. What the store holds
// is always exactly the state at its stored position; after a crash between two checkpoints it is
// the state of the earlier one.
//
//   const StoreOptions options = {.path = "/var/lib/bongsu", .memory_bytes = 1 << 30};
//   ASSIGN_OR_RETURN(auto store, Store::Open(options));
//   if (store->latest()) reader.Seek(store->latest()->positions);
//   ...
//   RETURN_IF_ERROR(store->Commit(std::move(checkpoint)));
//
// With a changelog (delivery: exactly_once on Kafka) the pipeline does not call Commit itself:
// state/changelog.h does, and state/restore.h brings the store to the log's end before.
//
// Thread-safety: reads (by ShardStates) from any thread; Commit from one thread at a time; ApplyLog
// from any thread, one for each shard.
//
// Errors: FailedPrecondition: another process has it open, or another application, version, shard
// count or hash seed wrote it (the message says what to do). DataLoss: a checksum does not hold.
// Anything else comes from the disk; after an error of Commit the store takes no further commits.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "state/changelog_format.h"
#include "state/frozen_shard.h"
#include "state/operator_numbers.h"
#include "state/overlay.h"
#include "state/types.h"

namespace bongsu {

struct StoreOptions {
  std::string path;                         // a directory; made if missing
  size_t memory_bytes = size_t{256} << 20;  // block cache and write buffers together
  std::string application;                  // must match what the store was made for
  uint16_t shards = 16;                     // fixed when the store is made
  bool in_memory = false;          // for tests: RocksDB's memory environment; path is a name in it
  std::optional<uint8_t> made_as;  // for tests: a new store's format version
  // Where the log (or the topic's maker) has chosen it already: a new store takes it over, one that
  // was made with another is refused.
  std::optional<uint64_t> hash_seed;
};

// A committed point in time.
struct CheckpointMeta {
  EpochId epoch = 0;
  // The pipeline's own record of source positions, watermarks, output lengths and counters: bytes
  // to the store, grammar in state/FORMAT.md.
  std::string positions;
};

struct Checkpoint {
  CheckpointMeta meta;
  // Without a log: what the shards froze.
  std::vector<std::unique_ptr<FrozenShard>> changes;
  // With a log: what was committed to it, and how far.
  struct Logged {
    ShardId shard = 0;
    ChangelogPosition position;
    std::shared_ptr<const Overlay> overlay;
  };
  std::vector<Logged> logged;
};

class Store {
 public:
  virtual ~Store() = default;
  static absl::StatusOr<std::unique_ptr<Store>> Open(StoreOptions options);

  // The newest committed checkpoint; none in a new store.
  virtual const std::optional<CheckpointMeta>& latest() const = 0;
  virtual uint16_t shards() const = 0;
  // Made at random when the store was made; keys are hashed to shards with it.
  virtual uint64_t hash_seed() const = 0;
  virtual LogIdentity identity() const = 0;
  virtual OperatorNumbers& operators() = 0;

  // The store's number for an operator. Known by name and semantic hash: where the name is known
  // with another hash, its state belongs to another rule, is removed with the next commit, and
  // `*reset` is set to the number of bytes about to go (approximate; at least 1).
  virtual absl::StatusOr<uint16_t> OperatorId(std::string_view name, std::string_view semantic_hash,
                                              uint64_t* reset) = 0;
  // These are all operators that there are: the state of others is removed with the next commit
  // (operator_numbers.h). Their names.
  virtual std::vector<std::string> KeepOnly(const std::vector<uint16_t>& operators) = 0;

  // Writes the checkpoint atomically and durably. Epochs only grow.
  [[nodiscard]] virtual absl::Status Commit(Checkpoint checkpoint) = 0;

  // ---- for state/changelog.h and state/restore.h ----
  // How far a shard's log has been taken over; none: not at all.
  virtual std::optional<ChangelogPosition> changelog(ShardId shard) const = 0;
  // Rows of the log entered the store after the last checkpoint: `latest()->positions` are older
  // than the rows.
  virtual bool replayed() const = 0;
  // The last checkpoint's changes are in no log.
  virtual bool unlogged() const = 0;
  // Whether the shard has any row.
  virtual absl::StatusOr<bool> HasRows(ShardId shard) = 0;
  // Rows and position of a log in one atomic batch; not flushed, so that a crash may take it back
  // as a whole. `drop_rows`: everything that the shard has goes first.
  [[nodiscard]] virtual absl::Status ApplyLog(ShardId shard, const Overlay& overlay,
                                              const ChangelogPosition& position,
                                              bool drop_rows) = 0;
  // From here on the log of these shards is the truth: positions, durably.
  [[nodiscard]] virtual absl::Status BeginLog(
      const std::vector<std::pair<ShardId, ChangelogPosition>>& positions) = 0;
  // Makes everything written durable.
  [[nodiscard]] virtual absl::Status Flush() = 0;

  // Reads for the shards' handles (state/shard_state.h); nobody else needs them.
  // Visits the rows of `family` with from <= key < to in order, until `visit` returns false.
  [[nodiscard]] virtual absl::Status Read(
      uint8_t family, std::string_view from, std::string_view to,
      absl::FunctionRef<bool(std::string_view key, std::string_view value)> visit) = 0;
  // As Read, for the rows of one key of one list: a Bloom filter answers for keys that have none.
  [[nodiscard]] virtual absl::Status ReadKey(
      std::string_view prefix,
      absl::FunctionRef<bool(std::string_view key, std::string_view value)> visit) = 0;

  struct Counters {
    uint64_t commits = 0;
    uint64_t rows_written = 0;
    uint64_t bytes_written = 0;
    DurationNs commit_ns_total = 0;
  };
  virtual Counters counters() const = 0;
  // Bytes of memory by part: block cache, write buffers, table readers.
  struct Memory {
    size_t block_cache = 0;
    size_t write_buffers = 0;
    size_t table_readers = 0;
  };
  virtual Memory memory() const = 0;
};

}  // namespace bongsu
