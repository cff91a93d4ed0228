#include "state/time_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "state/check.h"
#include "state/key_encoding.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

// A smaller list is in the caches anyway; asking for it would only cost.
constexpr size_t kPrefetchFromBytes = size_t{512} << 10;
constexpr ptrdiff_t kValuesAhead = 8;

bool Before(EventTimeNs a_time, RecordSeq a_seq, EventTimeNs b_time, RecordSeq b_seq) {
  return a_time != b_time ? a_time < b_time : a_seq < b_seq;
}

}  // namespace

TimeListImpl::TimeListImpl(Store& store, std::string prefix, DurationNs bucket_ns,
                           ShardState::Counters& counters)
    : store_(store), prefix_(std::move(prefix)), width_(bucket_ns), counters_(counters) {
  BONGSU_CHECK(width_ > 0);
}

TimeListImpl::~TimeListImpl() = default;

absl::Status TimeListImpl::Restore() {
  const std::string meta = kListMeta + prefix_;
  absl::Status bad;
  BONGSU_RETURN_IF_ERROR(store_.Read(
      kMetaFamily, meta, PrefixEnd(meta), [&](std::string_view, std::string_view value) {
        if (value.size() != 16) {
          bad = absl::DataLossError("a list's record has the wrong size");
        } else if (ReadTime(value) != width_) {
          bad = absl::FailedPreconditionError("the state's buckets have another width");
        } else {
          expired_ = ReadTime(value.substr(8));
          width_stored_ = true;
        }
        return false;
      }));
  BONGSU_RETURN_IF_ERROR(bad);
  // One seek finds the next bucket that has rows.
  std::string from = prefix_;
  const std::string end = PrefixEnd(prefix_);
  while (true) {
    bool found = false;
    int64_t index = 0;
    BONGSU_RETURN_IF_ERROR(
        store_.Read(kListFamily, from, end, [&](std::string_view key, std::string_view) {
          found = key.size() >= kListHeadBytes;
          if (found) index = ReadTime(key.substr(kRowPrefixBytes));
          return false;
        }));
    if (!found) return absl::OkStatus();
    Bucket& bucket = buckets_[index];
    bucket.on_disk = true;
    for (auto& segment : bucket.segments) {
      segment = std::make_unique<Segment>();
      segment->on_disk = true;
    }
    if (index == std::numeric_limits<int64_t>::max()) return absl::OkStatus();
    from = prefix_;
    AppendTime(index + 1, &from);
  }
}

int64_t TimeListImpl::BucketOf(EventTimeNs time) const {
  const int64_t quotient = time / width_;
  return time % width_ < 0 ? quotient - 1 : quotient;
}

// An operator asks about a key several times in a row. (A long one is a view of its caller's.)
KeyProbe TimeListImpl::Probe(std::string_view key) {
  const InlineKey short_or_view(key);
  if (short_or_view.is_long() || !(short_or_view == probe_.key)) probe_ = KeyProbe(key);
  return probe_;
}

TimeListImpl::Segment& TimeListImpl::SegmentOf(Bucket& bucket, size_t hash) {
  std::unique_ptr<Segment>& segment = bucket.segments[hash >> 60];
  if (segment == nullptr) segment = std::make_unique<Segment>();
  segment->last_use = ++use_;
  return *segment;
}

// Buckets are about alike: the new one need not grow its maps step by step.
void TimeListImpl::MakeRoom(const Bucket& like, Bucket& bucket) {
  for (size_t i = 0; i < kSegments; ++i) {
    if (like.segments[i] == nullptr || like.segments[i]->chunks.empty()) continue;
    bucket.segments[i] = std::make_unique<Segment>();
    bucket.segments[i]->chunks.reserve(like.segments[i]->chunks.size());
  }
}

std::string TimeListImpl::RowKey(int64_t bucket, std::string_view key) const {
  BONGSU_CHECK_MSG(key.size() <= 0xffff, "a key longer than 64 KiB");
  std::string row = prefix_;
  AppendTime(bucket, &row);
  AppendU16(static_cast<uint16_t>(key.size()), &row);
  row += key;
  return row;
}

void TimeListImpl::Charge(Bucket& bucket, Segment& segment, size_t bytes) {
  segment.bytes += bytes;
  bucket.bytes += bytes;
  memory_bytes_ += bytes;
}

// The key's chunk of a bucket, loaded where the disk may know more; null when there is none and
// none is to be made.
absl::StatusOr<TimeListImpl::Chunks::value_type*> TimeListImpl::Find(int64_t index, Bucket& bucket,
                                                                     Segment& segment,
                                                                     const KeyProbe& probe,
                                                                     bool make) {
  if (last_.found != nullptr && last_.index == index && last_.hash == probe.hash &&
      last_.found->first == probe.key)
    return last_.found;
  auto it = segment.chunks.find(probe);
  if (it == segment.chunks.end()) {
    if (!make && !segment.on_disk) return nullptr;
    last_.found = nullptr;  // the map may grow
    it = segment.chunks.lazy_emplace(
        probe, [&](const auto& construct) { construct(probe.Keep(segment.arena), Chunk{}); });
    it->second.complete = !segment.on_disk;
    Charge(bucket, segment,
           sizeof(Chunks::value_type) + 8 + (probe.key.is_long() ? probe.key.view().size() : 0));
  }
  Chunk& chunk = it->second;
  if (!chunk.complete)
    BONGSU_RETURN_IF_ERROR(Load(index, bucket, segment, probe.key.view(), chunk));
  last_ = {index, probe.hash, &*it};
  return last_.found;
}

// Makes `entry` the chunk's `at`-th.
TimeListImpl::Entry& TimeListImpl::Insert(Bucket& bucket, Segment& segment, Chunk& chunk, size_t at,
                                          const Entry& entry) {
  if (chunk.size == chunk.capacity) {
    const uint32_t capacity = std::max(uint32_t{2}, chunk.capacity * 2);
    auto* entries = segment.arena.NewArray<Entry>(capacity);
    std::copy(chunk.begin(), chunk.end(), entries);
    Charge(bucket, segment, capacity * sizeof(Entry));
    chunk.entries = entries;
    chunk.capacity = capacity;
  }
  std::copy_backward(chunk.begin() + at, chunk.end(), chunk.end() + 1);
  ++chunk.size;
  chunk.entries[at] = entry;
  return chunk.entries[at];
}

absl::Status TimeListImpl::Load(int64_t index, Bucket& bucket, Segment& segment,
                                std::string_view key, Chunk& chunk) {
  ++counters_.disk_seeks;
  const std::string row = RowKey(index, key);
  absl::Status bad;
  BONGSU_RETURN_IF_ERROR(store_.ReadKey(row, [&](std::string_view stored, std::string_view value) {
    if (stored.size() != row.size() + kListTailBytes || value.empty()) {
      bad = absl::DataLossError("a list's row has the wrong size");
      return false;
    }
    const size_t size = value.size() - 1;
    char* const bytes = segment.arena.Allocate(size);
    std::memcpy(bytes, value.data() + 1, size);
    // Rows come in order, and a chunk is loaded before anything is put into it.
    Insert(bucket, segment, chunk, chunk.size,
           {ReadTime(stored.substr(row.size())), ReadU64(stored.substr(row.size() + 8)), bytes,
            static_cast<uint32_t>(size), static_cast<uint8_t>(value[0]), false});
    Charge(bucket, segment, size);
    return true;
  }));
  BONGSU_RETURN_IF_ERROR(bad);
  chunk.complete = true;
  return absl::OkStatus();
}

void TimeListImpl::MarkDirty(Bucket& bucket, Segment& segment, const InlineKey& key, Chunk& chunk,
                             Entry& entry) {
  if (!chunk.listed) {
    chunk.listed = true;
    segment.dirty.push_back(key);
  }
  if (entry.dirty) return;
  entry.dirty = true;
  ++bucket.entries_dirty;
  const size_t bytes = sizeof(Entry) + entry.size + key.view().size();
  bucket.dirty_bytes += bytes;
  dirty_bytes_ += bytes;
}

// The maps that hold the range's key, if any does.
template <typename Call>
void TimeListImpl::ForEachChunks(const TimeListRange& range, const KeyProbe& probe, Call call) {
  const EventTimeNs from = std::max(range.from, expired_);
  if (from > range.to) return;
  const int64_t last = BucketOf(range.to);
  for (auto it = buckets_.lower_bound(BucketOf(from)); it != buckets_.end() && it->first <= last;
       ++it) {
    Segment* segment = it->second.segments[probe.hash >> 60].get();
    if (segment != nullptr) call(segment->chunks);
  }
}

// First where the keys would stand, then what stands there.
void TimeListImpl::Prefetch(std::span<const TimeListRange> ranges) {
  if (memory_bytes_ < kPrefetchFromBytes) return;
  probes_.clear();
  for (const TimeListRange& range : ranges) {
    const KeyProbe& probe = probes_.emplace_back(range.key);
    ForEachChunks(range, probe, [&](Chunks& chunks) { chunks.prefetch(probe); });
  }
  for (size_t i = 0; i < ranges.size(); ++i) {
    ForEachChunks(ranges[i], probes_[i], [&](Chunks& chunks) {
      const auto it = chunks.find(probes_[i]);
      if (it == chunks.end() || it->second.size == 0) return;
      __builtin_prefetch(it->second.entries);
      __builtin_prefetch(it->second.end() - 1);
    });
  }
}

absl::Status TimeListImpl::Put(std::string_view key, EntryId id, std::string_view value,
                               uint8_t mark) {
  if (id.time < expired_) return absl::OkStatus();
  ++counters_.entries_put;
  const int64_t index = BucketOf(id.time);
  const auto [bucket_at, added] = buckets_.try_emplace(index);
  Bucket& bucket = bucket_at->second;
  if (added && bucket_at != buckets_.begin()) MakeRoom(std::prev(bucket_at)->second, bucket);
  const KeyProbe probe = Probe(key);
  Segment& segment = SegmentOf(bucket, probe.hash);
  BONGSU_ASSIGN_OR_RETURN(Chunks::value_type * found,
                          Find(index, bucket, segment, probe, /*make=*/true));
  Chunk& chunk = found->second;
  Entry* entries = chunk.entries;
  size_t at = chunk.size;  // usually it is the newest of its key
  if (at > 0 && Before(id.time, id.seq, entries[at - 1].time, entries[at - 1].seq)) {
    const Entry* behind = std::upper_bound(
        chunk.begin(), chunk.end(), id, [](const EntryId& one, const Entry& entry) {
          return Before(one.time, one.seq, entry.time, entry.seq);
        });
    at = static_cast<size_t>(behind - chunk.begin());
  }
  const bool same = at > 0 && entries[at - 1].time == id.time && entries[at - 1].seq == id.seq;
  if (same && entries[at - 1].size == value.size()) {
    // Changed over and over, as a counter is, it must not fill the arena.
    --at;
    std::memcpy(entries[at].data, value.data(), value.size());
    entries[at].mark = mark;
    MarkDirty(bucket, segment, found->first, chunk, entries[at]);
    return absl::OkStatus();
  }
  char* const bytes = segment.arena.Allocate(value.size());
  if (!value.empty()) std::memcpy(bytes, value.data(), value.size());
  if (same) {
    --at;
    Entry& entry = entries[at];
    entry.data = bytes;
    entry.size = static_cast<uint32_t>(value.size());
    entry.mark = mark;
  } else {
    Insert(bucket, segment, chunk, at,
           {id.time, id.seq, bytes, static_cast<uint32_t>(value.size()), mark, false});
  }
  Charge(bucket, segment, value.size());
  MarkDirty(bucket, segment, found->first, chunk, chunk.entries[at]);
  return absl::OkStatus();
}

// Shows one entry and takes its new mark; false: no more.
bool TimeListImpl::Visit(Bucket& bucket, Segment& segment, const InlineKey& key, Chunk& chunk,
                         Entry& entry, absl::FunctionRef<bool(TimeListCursor&)> visit) {
  TimeListCursor cursor;
  cursor.id_ = {entry.time, entry.seq};
  cursor.value_ = {entry.data, entry.size};
  cursor.mark_ = entry.mark;
  const bool more = visit(cursor);
  if (cursor.changed_ && cursor.new_mark_ != entry.mark) {
    entry.mark = cursor.new_mark_;
    MarkDirty(bucket, segment, key, chunk, entry);
  }
  return more;
}

absl::Status TimeListImpl::Scan(std::string_view key, EventTimeNs from, EventTimeNs to,
                                absl::FunctionRef<bool(TimeListCursor&)> visit) {
  from = std::max(from, expired_);
  if (from > to) return absl::OkStatus();
  const KeyProbe probe = Probe(key);
  const int64_t last = BucketOf(to);
  for (auto it = buckets_.lower_bound(BucketOf(from)); it != buckets_.end() && it->first <= last;
       ++it) {
    Segment& segment = SegmentOf(it->second, probe.hash);
    BONGSU_ASSIGN_OR_RETURN(Chunks::value_type * found,
                            Find(it->first, it->second, segment, probe, /*make=*/false));
    if (found == nullptr) continue;
    Chunk& chunk = found->second;
    Entry* const first =
        std::lower_bound(chunk.begin(), chunk.end(), from,
                         [](const Entry& entry, EventTimeNs time) { return entry.time < time; });
    // Values lie apart from each other: those to come are asked for while one is looked at.
    for (Entry* entry = first; entry != chunk.end() && entry < first + kValuesAhead; ++entry)
      __builtin_prefetch(entry->data);
    for (Entry* entry = first; entry != chunk.end() && entry->time <= to; ++entry) {
      if (chunk.end() - entry > kValuesAhead) __builtin_prefetch(entry[kValuesAhead].data);
      if (!Visit(it->second, segment, found->first, chunk, *entry, visit)) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

absl::Status TimeListImpl::Count(std::string_view key, EventTimeNs from, EventTimeNs to,
                                 uint64_t* n) {
  *n = 0;
  from = std::max(from, expired_);
  if (from > to) return absl::OkStatus();
  const KeyProbe probe = Probe(key);
  const int64_t last = BucketOf(to);
  for (auto it = buckets_.lower_bound(BucketOf(from)); it != buckets_.end() && it->first <= last;
       ++it) {
    Segment& segment = SegmentOf(it->second, probe.hash);
    BONGSU_ASSIGN_OR_RETURN(Chunks::value_type * found,
                            Find(it->first, it->second, segment, probe, /*make=*/false));
    if (found == nullptr) continue;
    const Chunk& chunk = found->second;
    if (chunk.size == 0) continue;
    // Usually all of a bucket: its entries then need not be gone through.
    const Entry* first = chunk.begin();
    if (first->time < from)
      first =
          std::lower_bound(chunk.begin(), chunk.end(), from,
                           [](const Entry& entry, EventTimeNs time) { return entry.time < time; });
    const Entry* end = chunk.end();
    if ((end - 1)->time > to)
      end = std::upper_bound(
          first, end, to, [](EventTimeNs time, const Entry& entry) { return time < entry.time; });
    *n += static_cast<uint64_t>(end - first);
  }
  return absl::OkStatus();
}

absl::Status TimeListImpl::CountAtMost(std::string_view key, EventTimeNs from, EventTimeNs to,
                                       uint64_t* n) {
  *n = 0;
  from = std::max(from, expired_);
  if (from > to) return absl::OkStatus();
  const KeyProbe probe = Probe(key);
  const int64_t last = BucketOf(to);
  for (auto it = buckets_.lower_bound(BucketOf(from)); it != buckets_.end() && it->first <= last;
       ++it) {
    BONGSU_ASSIGN_OR_RETURN(
        const Chunks::value_type* found,
        Find(it->first, it->second, SegmentOf(it->second, probe.hash), probe, /*make=*/false));
    if (found != nullptr) *n += found->second.size;
  }
  return absl::OkStatus();
}

absl::Status TimeListImpl::ScanBack(std::string_view key, EventTimeNs from, EventTimeNs to,
                                    absl::FunctionRef<bool(TimeListCursor&)> visit) {
  from = std::max(from, expired_);
  if (from > to) return absl::OkStatus();
  const KeyProbe probe = Probe(key);
  const int64_t first = BucketOf(from);
  for (auto it = buckets_.upper_bound(BucketOf(to)); it != buckets_.begin();) {
    --it;
    if (it->first < first) return absl::OkStatus();
    Segment& segment = SegmentOf(it->second, probe.hash);
    BONGSU_ASSIGN_OR_RETURN(Chunks::value_type * found,
                            Find(it->first, it->second, segment, probe, /*make=*/false));
    if (found == nullptr) continue;
    Chunk& chunk = found->second;
    Entry* entry =
        std::upper_bound(chunk.begin(), chunk.end(), to,
                         [](EventTimeNs time, const Entry& one) { return time < one.time; });
    while (entry != chunk.begin() && (entry - 1)->time >= from) {
      --entry;
      if (!Visit(it->second, segment, found->first, chunk, *entry, visit)) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

void TimeListImpl::Drop(std::map<int64_t, Bucket>::iterator it) {
  Bucket& bucket = it->second;
  last_.found = nullptr;
  counters_.entries_expired_unwritten += bucket.entries_dirty;
  memory_bytes_ -= bucket.bytes;
  dirty_bytes_ -= bucket.dirty_bytes;
  delete_from_disk_ = delete_from_disk_ || bucket.on_disk;
  buckets_.erase(it);
}

void TimeListImpl::ExpireBefore(EventTimeNs time) {
  if (time <= expired_) return;
  expired_ = time;
  expired_changed_ = true;
  // A bucket is dead when its last nanosecond is: when the next one begins at or before `time`.
  const int64_t alive = BucketOf(time);
  while (!buckets_.empty() && (buckets_.begin()->first < alive || time == kMaxEventTime))
    Drop(buckets_.begin());
}

void TimeListImpl::Freeze(EpochId epoch, FrozenShard* frozen) {
  if (delete_from_disk_) {
    std::string end = prefix_;
    AppendTime(BucketOf(expired_), &end);
    if (expired_ == kMaxEventTime) end = PrefixEnd(prefix_);
    frozen->Add(kListFamily, kDeleteRange, prefix_, end);
    delete_from_disk_ = false;
  }
  if (expired_changed_ || !width_stored_) {
    std::string value;
    AppendTime(width_, &value);
    AppendTime(expired_, &value);
    frozen->Add(kMetaFamily, kPut, kListMeta + prefix_, value);
    expired_changed_ = false;
    width_stored_ = true;
  }
  for (auto& [index, bucket] : buckets_) {
    if (bucket.entries_dirty == 0) continue;
    bucket.on_disk = true;
    for (auto& segment : bucket.segments) {
      if (segment == nullptr || segment->dirty.empty()) continue;
      for (const InlineKey& key : segment->dirty) {
        Chunk& chunk = segment->chunks.find(key)->second;
        chunk.listed = false;
        std::string row = RowKey(index, key.view());
        const size_t head_bytes = row.size();
        for (Entry& entry : chunk) {
          if (!entry.dirty) continue;
          entry.dirty = false;
          row.resize(head_bytes);
          AppendTime(entry.time, &row);
          AppendU64(entry.seq, &row);
          const char mark = static_cast<char>(entry.mark);
          frozen->Add(kListFamily, kPut, row, {&mark, 1}, {entry.data, entry.size});
          ++counters_.entries_frozen;
        }
      }
      segment->dirty.clear();
      segment->frozen = epoch;
    }
    dirty_bytes_ -= bucket.dirty_bytes;
    bucket.dirty_bytes = 0;
    bucket.entries_dirty = 0;
  }
}

void TimeListImpl::AddEvictable(std::vector<Evictable>* out) {
  for (auto& [index, bucket] : buckets_) {
    for (int i = 0; i < kSegments; ++i) {
      const auto& segment = bucket.segments[static_cast<size_t>(i)];
      if (segment == nullptr || segment->bytes == 0 || !segment->dirty.empty() ||
          segment->frozen > persisted_)
        continue;
      out->push_back({segment->last_use, segment->bytes, this, index, i});
    }
  }
}

void TimeListImpl::Evict(const Evictable& which) {
  Bucket& bucket = buckets_.find(which.bucket)->second;
  std::unique_ptr<Segment>& segment = bucket.segments[static_cast<size_t>(which.segment)];
  last_.found = nullptr;
  memory_bytes_ -= segment->bytes;
  bucket.bytes -= segment->bytes;
  const uint64_t last_use = segment->last_use;
  segment = std::make_unique<Segment>();
  segment->last_use = last_use;
  segment->on_disk = true;
  ++counters_.segments_evicted;
}

}  // namespace bongsu
