// File: state/time_list.h
//
// The TimeList of state/shard_state.h: a write-back cache of time buckets over the store.
//
//   bucket    entries with time in [index * width, (index + 1) * width)
//   segment   a sixteenth of a bucket by the key's hash: an arena and a hash map; can be evicted
//   chunk     one key's entries in one bucket, in (time, seq) order
//
// A segment is "on disk" when the store may hold rows of it that memory does not: after a restart
// or an eviction. A chunk of such a segment is loaded by one bounded seek when it is first looked
// at.
//
// Thread-safety: one thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "state/arena.h"
#include "state/inline_key.h"
#include "state/shard_state.h"
#include "state/store.h"

namespace bongsu {

class TimeListImpl : public TimeList {
 public:
  TimeListImpl(Store& store, std::string prefix, DurationNs bucket_ns,
               ShardState::Counters& counters);
  ~TimeListImpl() override;
  // Reads the expiry point and finds the buckets on disk. FailedPrecondition: another bucket width.
  [[nodiscard]] absl::Status Restore();

  void Prefetch(std::span<const TimeListRange> ranges) override;
  absl::Status Put(std::string_view key, EntryId id, std::string_view value, uint8_t mark) override;
  absl::Status Scan(std::string_view key, EventTimeNs from, EventTimeNs to,
                    absl::FunctionRef<bool(TimeListCursor&)> visit) override;
  absl::Status Count(std::string_view key, EventTimeNs from, EventTimeNs to, uint64_t* n) override;
  absl::Status CountAtMost(std::string_view key, EventTimeNs from, EventTimeNs to,
                           uint64_t* n) override;
  absl::Status ScanBack(std::string_view key, EventTimeNs from, EventTimeNs to,
                        absl::FunctionRef<bool(TimeListCursor&)> visit) override;
  void ExpireBefore(EventTimeNs time) override;

  void Freeze(EpochId epoch, FrozenShard* frozen);
  void OnPersisted(EpochId epoch) { persisted_ = epoch; }
  size_t memory_bytes() const { return memory_bytes_; }
  size_t dirty_bytes() const { return dirty_bytes_; }

  // A segment that could be dropped from memory now.
  struct Evictable {
    uint64_t last_use = 0;
    size_t bytes = 0;
    TimeListImpl* list = nullptr;
    int64_t bucket = 0;
    int segment = 0;
  };
  void AddEvictable(std::vector<Evictable>* out);
  void Evict(const Evictable& which);

 private:
  static constexpr int kSegments = 16;
  struct Entry {
    EventTimeNs time;
    RecordSeq seq;
    char* data;
    uint32_t size;
    uint8_t mark;
    bool dirty;
  };
  // Most chunks hold one or two entries, and all go with their bucket: the array lies in the
  // segment's arena, and one that grows leaves its old place there.
  struct Chunk {
    Entry* entries = nullptr;
    uint32_t size = 0;
    uint32_t capacity = 0;
    bool complete = false;  // all rows of the store are among the entries
    bool listed = false;    // stands in Segment::dirty
    Entry* begin() const { return entries; }
    Entry* end() const { return entries + size; }
  };
  using Chunks = absl::flat_hash_map<InlineKey, Chunk, InlineKeyHash, InlineKeyEqual>;
  struct Segment {
    Arena arena;
    Chunks chunks;
    std::vector<InlineKey> dirty;  // keys of chunks with dirty entries
    EpochId frozen = 0;            // the newest epoch that something of it was frozen for
    uint64_t last_use = 0;
    bool on_disk = false;
    size_t bytes = 0;
  };
  struct Bucket {
    std::array<std::unique_ptr<Segment>, kSegments> segments;
    bool on_disk = false;  // rows of it were frozen, or found at the restart
    uint32_t entries_dirty = 0;
    size_t bytes = 0;
    size_t dirty_bytes = 0;
  };

  // The chunk that was found last: an operator looks at a key's newest bucket more than once.
  struct Last {
    int64_t index = 0;
    size_t hash = 0;
    Chunks::value_type* found = nullptr;  // null: nothing, or it may have moved
  };

  int64_t BucketOf(EventTimeNs time) const;
  KeyProbe Probe(std::string_view key);
  Segment& SegmentOf(Bucket& bucket, size_t hash);
  template <typename Call>
  void ForEachChunks(const TimeListRange& range, const KeyProbe& probe, Call call);
  static void MakeRoom(const Bucket& like, Bucket& bucket);
  std::string RowKey(int64_t bucket, std::string_view key) const;
  absl::StatusOr<Chunks::value_type*> Find(int64_t index, Bucket& bucket, Segment& segment,
                                           const KeyProbe& probe, bool make);
  Entry& Insert(Bucket& bucket, Segment& segment, Chunk& chunk, size_t at, const Entry& entry);
  absl::Status Load(int64_t index, Bucket& bucket, Segment& segment, std::string_view key,
                    Chunk& chunk);
  void MarkDirty(Bucket& bucket, Segment& segment, const InlineKey& key, Chunk& chunk,
                 Entry& entry);
  void Charge(Bucket& bucket, Segment& segment, size_t bytes);
  bool Visit(Bucket& bucket, Segment& segment, const InlineKey& key, Chunk& chunk, Entry& entry,
             absl::FunctionRef<bool(TimeListCursor&)> visit);
  void Drop(std::map<int64_t, Bucket>::iterator it);

  Store& store_;
  const std::string prefix_;
  const DurationNs width_;
  ShardState::Counters& counters_;
  std::map<int64_t, Bucket> buckets_;
  Last last_;
  KeyProbe probe_{std::string_view()};   // of the latest call
  std::vector<KeyProbe> probes_;         // of one call
  EventTimeNs expired_ = kMinEventTime;  // nothing below is visible
  bool expired_changed_ = false;         // since the last freeze
  bool width_stored_ = false;
  bool delete_from_disk_ =
      false;  // buckets with rows in the store were dropped since the last freeze
  EpochId persisted_ = 0;
  uint64_t use_ = 0;
  size_t memory_bytes_ = 0;
  size_t dirty_bytes_ = 0;
};

}  // namespace bongsu
