// File: state/shard_state.h
//
// The keyed state of one shard, as operators see it: typed handles over a write-back cache, with
// RocksDB behind it only for what has to leave memory or has to survive.
//
//   TimeList  for each key, entries in (time, seq) order, scanned by range: join buffers
//   ValueMap  for each key, one value
//   TimerSet  event-time timers, delivered in time order
//
//   ASSIGN_OR_RETURN(TimeList* left, shard.OpenTimeList(op, "left", /*bucket_ns=*/65 * kSecondNs));
//   left->Put(key, {.time = t, .seq = s}, payload);
//   left->Scan(key, t - w, t + w, [&](TimeListCursor& entry) { ...; return true; });
//   left->ExpireBefore(closing_time - w);   // whole buckets go at once
//
// How it works. A TimeList is cut into time buckets (about one window wide), each with its own
// arena and hash map of keys; expiry drops a bucket with all it holds and needs no tombstones.
// Entries that changed since the last checkpoint are dirty; `Freeze` encodes the dirty ones of live
// buckets, so an entry whose bucket was dropped before is never written at all.
// Only after the store has written a frozen set (`OnPersisted`) may its entries be evicted from
// memory. Evicted or restored buckets are marked "on disk", and a read of a key merges them in: one
// bounded seek for each bucket, and at most three for a scan, which is as many as a window can
// touch.
//
// Bounds: memory is counted by `memory_bytes()`; `EvictTo(bytes)` drops clean segments, coldest
// first. Dirty entries cannot be evicted: the pipeline asks for a checkpoint when `dirty_bytes()`
// passes its budget.
//
// Errors: reads that touch the disk return absl::Status (DataLoss for a checksum mismatch,
// Unavailable and others as the disk says). A handle after an error is good for nothing but
// destruction.
//
// Thread-safety: a ShardState and its handles belong to one thread. The `Store` behind is shared.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "state/types.h"

namespace bongsu {

class Store;
struct FrozenShard;

// Where an entry of a list stands: entries of one key are ordered by (time, seq), and no two are
// equal.
struct EntryId {
  EventTimeNs time = 0;
  RecordSeq seq = 0;
};

// The entry that a scan has reached. Valid during the callback only.
class TimeListCursor {
 public:
  EventTimeNs time() const { return id_.time; }
  RecordSeq seq() const { return id_.seq; }
  std::string_view value() const { return value_; }
  // A byte beside the value that is cheap to change (0 when the entry was put): has this entry
  // already fired, for instance.
  uint8_t mark() const { return mark_; }
  // Changes the mark; the entry is dirty again.
  void set_mark(uint8_t mark) {
    new_mark_ = mark;
    changed_ = true;
  }

 private:
  friend class TimeListImpl;
  EntryId id_;
  std::string_view value_;
  uint8_t mark_ = 0;
  uint8_t new_mark_ = 0;
  bool changed_ = false;
};

// What is about to be asked of a list: a key, and the times of its entries.
struct TimeListRange {
  std::string_view key;
  EventTimeNs from = 0;
  EventTimeNs to = 0;
};
// As many fit the processor's caches beside what their handling needs.
inline constexpr size_t kPrefetchRanges = 16;

class TimeList {
 public:
  virtual ~TimeList() = default;
  // Brings what memory has of these nearer to the processor: a list of many keys is one miss of its
  // caches after another, which overlap where several are asked for together. Changes nothing, and
  // reads nothing from the disk. Best with kPrefetchRanges at a time.
  virtual void Prefetch(std::span<const TimeListRange> ranges) = 0;
  // Adds an entry, or replaces the one of the same key and id (the mark too). A new value of the
  // old one's size takes its place in memory.
  [[nodiscard]] virtual absl::Status Put(std::string_view key, EntryId id, std::string_view value,
                                         uint8_t mark = 0) = 0;
  // Visits the entries of `key` with from <= time <= to, in (time, seq) order, until `visit`
  // returns false. The callback may change marks through the cursor, and nothing else in this list.
  [[nodiscard]] virtual absl::Status Scan(std::string_view key, EventTimeNs from, EventTimeNs to,
                                          absl::FunctionRef<bool(TimeListCursor&)> visit) = 0;
  // How many entries a Scan would visit, without visiting them: two binary searches for each
  // bucket.
  [[nodiscard]] virtual absl::Status Count(std::string_view key, EventTimeNs from, EventTimeNs to,
                                           uint64_t* n) = 0;
  // At least as many, without looking at the entries: all of the buckets that the range touches.
  [[nodiscard]] virtual absl::Status CountAtMost(std::string_view key, EventTimeNs from,
                                                 EventTimeNs to, uint64_t* n) = 0;
  // The same entries from the last one to the first, for who looks for the newest.
  [[nodiscard]] virtual absl::Status ScanBack(std::string_view key, EventTimeNs from,
                                              EventTimeNs to,
                                              absl::FunctionRef<bool(TimeListCursor&)> visit) = 0;
  // Nothing with time < `time` will be read again. Buckets that end at or before it are dropped; it
  // never goes back. Puts below it are refused silently: the caller has called them late.
  virtual void ExpireBefore(EventTimeNs time) = 0;
};

class ValueMap {
 public:
  virtual ~ValueMap() = default;
  [[nodiscard]] virtual absl::Status Put(std::string_view key, std::string_view value) = 0;
  // `*value` is empty and `*found` false where there is none.
  [[nodiscard]] virtual absl::Status Get(std::string_view key, std::string* value, bool* found) = 0;
  [[nodiscard]] virtual absl::Status Erase(std::string_view key) = 0;
};

// Event-time timers. There is no cancel: an operator looks at its state when a timer comes.
class TimerSet {
 public:
  virtual ~TimerSet() = default;
  // `data` is handed back as it is. Several timers of one key and time are kept, if their data
  // differ.
  [[nodiscard]] virtual absl::Status Set(EventTimeNs time, std::string_view key,
                                         std::string_view data) = 0;
  // Calls `fire` for every timer with time < `until`, in (time, key, data) order, those set
  // meanwhile included, and forgets them. Called by the framework only.
  [[nodiscard]] virtual absl::Status PopBefore(
      EventTimeNs until,
      absl::FunctionRef<absl::Status(EventTimeNs time, std::string_view key, std::string_view data)>
          fire) = 0;
};

// All state of one shard, of every operator.
class ShardState {
 public:
  virtual ~ShardState() = default;

  // Handles live as long as the ShardState. `operator_id` is the store's number for the operator
  // (Store::OperatorId); `name` is unique within (operator, kind). `bucket_ns` > 0: the width of a
  // bucket, about one window; changing it between runs is refused (FailedPrecondition) while the
  // list has state.
  virtual absl::StatusOr<TimeList*> OpenTimeList(uint16_t operator_id, std::string_view name,
                                                 DurationNs bucket_ns) = 0;
  virtual absl::StatusOr<ValueMap*> OpenValueMap(uint16_t operator_id, std::string_view name) = 0;
  virtual absl::StatusOr<TimerSet*> OpenTimers(uint16_t operator_id) = 0;

  // Encodes what changed for `operator_id` since its last Freeze, as of now. Levels of operators
  // reach a barrier one after the other, therefore by operator. The result is handed to
  // Store::Commit, on any thread.
  virtual std::unique_ptr<FrozenShard> Freeze(uint16_t operator_id) = 0;
  // The store has written everything frozen up to and including this call's `epoch`.
  virtual void OnPersisted(EpochId epoch) = 0;
  // Tags the following Freezes (until the next call) with the epoch that they belong to.
  virtual void BeginFreeze(EpochId epoch) = 0;

  virtual size_t memory_bytes() const = 0;
  virtual size_t dirty_bytes() const = 0;
  // Drops clean entries from memory, coldest first, until memory_bytes() <= bytes or none are left.
  virtual void EvictTo(size_t bytes) = 0;

  // For the report: entries dropped by expiry without ever having been written, entries written,
  // scans that had to look at the disk.
  struct Counters {
    uint64_t entries_put = 0;
    uint64_t entries_expired_unwritten = 0;
    uint64_t entries_frozen = 0;
    uint64_t disk_seeks = 0;
    uint64_t segments_evicted = 0;
  };
  virtual Counters counters() const = 0;
};

// `store` outlives the shard.
std::unique_ptr<ShardState> MakeShardState(Store& store, ShardId shard);

}  // namespace bongsu
