// File: state/changelog.h
//
// The committed state of the shards that this process owns, on its way from an epoch's transaction
// to the store: what goes into the log, what has been committed to it and not yet written to disk,
// and which part of the log is still needed.
//
// The pipeline's committer, epoch after epoch (after state/restore.h has brought the store to the
// log's end):
//
//   ASSIGN_OR_RETURN(auto changelog, Changelog::Open(store, shards, options));
//   ...
//   // the epoch's transaction is open; the one before it is committed and was told so
//   ASSIGN_OR_RETURN(std::vector<ShardBundle> bundles, changelog->Encode(std::move(frozen)));
//   for (ShardBundle& bundle : bundles)
//     for (auto& record : bundle.records)
//       log.Append(bundle.shard, record.bytes, &record.offset);   // bundle.epoch -> the metadata
//   RETURN_IF_ERROR(log.Commit(...));                             // the offsets are set now
//   changelog->Committed(epoch, positions, bundles);
//   if (changelog->FlushDue(now)) wake_the_flushing_thread();     // which calls Flush
//   for (auto [shard, offset] : changelog->TrimPoints()) delete_records_before(shard, offset);
//
//   // on the flushing thread (or in place, where a pause does not matter)
//   ASSIGN_OR_RETURN(EpochId persisted, changelog->Flush());      // then ShardState::OnPersisted
//
// Whatever goes wrong between Encode and Committed ends in recovery (state/restore.h): the
// Changelog is destroyed with all it holds, and made anew from the log.
//
// Rounds. The log must be complete (a lost disk is restored from it alone) and bounded. A round
// runs from one bundle to a later one: first only changes come together, until they exceed the
// larger of the live size and `round_bytes_min`; then each bundle also carries a slice of the live
// state, as of the epoch before and in front of its own changes, twice as large as these, until all
// of it has passed. What is live then stands behind the round's start; the next round begins, and
// everything before may be deleted. So the log holds a complete round and a running one: at most
// about five times the larger of the live size and `round_bytes_min`, and restoring is reading
// that. Buckets of lists that came into being within the round are in the log already, and are left
// out of its slices: windows shorter than a round are never rewritten. Slices go through operators
// in the order of their names, so that a round goes on in whichever process owns the shard next.
//
// Memory: `bytes()`, within `flush_bytes` and one epoch's changes, twice while a flush runs.
//
// Thread-safety: Encode, Committed, Release and Adopt: one thread (the committer's). Flush: one
// other. The rest: any.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "state/changelog_format.h"
#include "state/frozen_shard.h"
#include "state/overlay.h"
#include "state/store.h"
#include "state/types.h"

namespace bongsu {

struct ChangelogOptions {
  // A flush is due when so much was committed, or so long ago.
  size_t flush_bytes = size_t{64} << 20;
  DurationNs flush_age = 30 * kSecondNs;
  // Of one shard: no round is shorter.
  uint64_t round_bytes_min = uint64_t{16} << 20;
  // The least that a slice takes, so that a round ends where little changes.
  uint64_t slice_bytes_min = uint64_t{64} << 10;
  size_t record_bytes_max = size_t{512} << 10;
};

// One shard's part of an epoch's transaction.
struct ShardBundle {
  struct Record {
    std::string bytes;
    int64_t offset = -1;  // filled in by the pipeline
  };
  ShardId shard = 0;
  uint64_t epoch = 0;  // of the shard; goes into the offset commit's metadata
  std::vector<Record> records;
};

class Changelog {
 public:
  // The store stands at the end of each shard's log. FailedPrecondition: a shard was restored in
  // part only. `store` outlives the changelog.
  static absl::StatusOr<std::unique_ptr<Changelog>> Open(Store& store,
                                                         const std::vector<ShardId>& shards,
                                                         ChangelogOptions options = {});

  // What to produce for an epoch: nothing for a shard without changes.
  absl::StatusOr<std::vector<ShardBundle>> Encode(
      std::vector<std::unique_ptr<FrozenShard>> changes);
  // The transaction of the last Encode is committed. `positions` as in CheckpointMeta.
  // `now_ns`: a monotonic clock, as in FlushDue.
  void Committed(EpochId epoch, std::string positions, const std::vector<ShardBundle>& bundles,
                 int64_t now_ns);

  // Committed, and not in the store yet.
  size_t bytes() const;
  bool FlushDue(int64_t now_ns) const;
  // Writes everything committed so far to the store, in one atomic step. The newest epoch that is
  // now persisted (0: there was nothing to write). After an error: recover.
  absl::StatusOr<EpochId> Flush();

  // Everything before the offset may be deleted from the shard's log; the first offset that is
  // still needed is the start of a round, and nothing else may be a log's first record. Those that
  // moved since the last call.
  std::vector<std::pair<ShardId, int64_t>> TrimPoints();

  // The shard goes to another process. What is not flushed of it is dropped: the log has it, and
  // the store stays where it is, for a tail replay, should the shard come back. Waits for a flush
  // that is running.
  void Release(ShardId shard);
  // A shard was gained, and restored.
  [[nodiscard]] absl::Status Adopt(ShardId shard);

  // Behind the last committed bundle.
  ChangelogPosition position(ShardId shard) const;

  struct Counters {
    uint64_t bundles = 0;
    uint64_t records = 0;
    uint64_t bytes = 0;          // of the records
    uint64_t changed_bytes = 0;  // of these, changes
    uint64_t slice_bytes = 0;    // of these, rewritten live state
    uint64_t rounds = 0;         // that came to their end
    uint64_t rows_merged = 0;
    uint64_t rows_never_written = 0;  // expired, or written again, before they reached the store
    uint64_t flushes = 0;
  };
  Counters counters() const;

 private:
  // A list's bucket that came into being while we looked: all its rows are in the log since then.
  struct Group {
    uint64_t first_epoch = 0;
    uint64_t bytes = 0;
  };
  struct Shard {
    ChangelogPosition position;
    std::shared_ptr<Overlay> active = std::make_shared<Overlay>();
    std::shared_ptr<const Overlay> flushing;
    std::map<std::string, Group, std::less<>> groups;  // by GroupOf of the list family
    bool drop_removed = true;  // operators that left the store must leave the log
    bool empty = false;        // no rows when the log began
    int64_t trimmed = -1;      // told to the pipeline
  };
  // What Encode has prepared for Committed.
  struct Pending {
    ShardId shard = 0;
    ChangelogPosition position;  // offsets still open
    bool begins_round = false;
    std::vector<std::unique_ptr<FrozenShard>> changes;
    uint64_t changed_bytes = 0;
    uint64_t slice_bytes = 0;
  };

  Changelog(Store& store, ChangelogOptions options);
  std::unique_ptr<FrozenShard> RemovedOperators(ShardId shard) const;
  absl::Status Add(ShardId id, std::vector<std::pair<ShardId, ChangelogPosition>>* begun);
  absl::StatusOr<ShardBundle> EncodeShard(ShardId id, Shard& shard,
                                          std::vector<std::unique_ptr<FrozenShard>> changes);
  absl::Status NoteGroups(Shard& shard, const FrozenShard& change, uint64_t epoch);
  // The next slice of the running round (state/changelog_round.cc). `*done`: it was the last.
  absl::Status AddSlice(ShardId id, const Shard& shard, uint64_t bytes_max, LogRound* round,
                        BundleEncoder* encoder, bool* done);

  Store& store_;
  const ChangelogOptions options_;
  const LogIdentity identity_;
  // The committer's thread only.
  std::vector<Pending> pending_;
  std::vector<OperatorNumbers::Numbered> slice_operators_;  // of the Encode in hand

  mutable std::mutex mutex_;
  std::condition_variable flushed_cv_;
  std::map<ShardId, Shard> shards_;  // changed by the committer's thread only, under mutex_
  EpochId epoch_ = 0;                // newest committed
  EpochId flushed_ = 0;
  std::string positions_;
  int64_t oldest_ns_ = 0;  // when the oldest unflushed epoch was committed
  bool flushing_ = false;
  Counters counters_;
};

}  // namespace bongsu
