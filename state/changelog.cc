#include "state/changelog.h"

#include <fmt/format.h>

#include <algorithm>

#include "state/check.h"
#include "state/key_encoding.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

// A slice is so many times as large as the changes beside it: a round ends before the log has grown
// by half of what is live.
constexpr uint64_t kSliceFactor = 2;

uint64_t RowBytes(const std::vector<std::unique_ptr<FrozenShard>>& changes) {
  uint64_t bytes = 0;
  for (const auto& change : changes) {
    for (const FrozenRow& row : change->rows) bytes += row.key.size() + row.value.size();
  }
  return bytes;
}

}  // namespace

Changelog::Changelog(Store& store, ChangelogOptions options)
    : store_(store), options_(options), identity_(store.identity()) {
  if (store_.latest().has_value()) epoch_ = flushed_ = store_.latest()->epoch;
}

absl::StatusOr<std::unique_ptr<Changelog>> Changelog::Open(Store& store,
                                                           const std::vector<ShardId>& shards,
                                                           ChangelogOptions options) {
  std::unique_ptr<Changelog> changelog(new Changelog(store, options));
  std::vector<std::pair<ShardId, ChangelogPosition>> begun;
  for (ShardId shard : shards) BONGSU_RETURN_IF_ERROR(changelog->Add(shard, &begun));
  // Before the first bundle: a crash behind it must find that the log counts.
  if (!begun.empty()) BONGSU_RETURN_IF_ERROR(store.BeginLog(begun));
  return absl::StatusOr<std::unique_ptr<Changelog>>(std::move(changelog));
}

absl::Status Changelog::Add(ShardId id, std::vector<std::pair<ShardId, ChangelogPosition>>* begun) {
  Shard shard;
  const std::optional<ChangelogPosition> stored = store_.changelog(id);
  if (stored.has_value() && !store_.unlogged()) {
    shard.position = *stored;
  } else {
    begun->emplace_back(id, shard.position);
  }
  if (shard.position.awaited_round != 0) {
    return absl::FailedPreconditionError(
        fmt::format("shard {} was restored in part only: restore it first", id));
  }
  if (shard.position.epoch == 0) {
    BONGSU_ASSIGN_OR_RETURN(const bool rows, store_.HasRows(id));
    shard.empty = !rows;
  }
  std::lock_guard lock(mutex_);
  shards_[id] = std::move(shard);
  return absl::OkStatus();
}

absl::Status Changelog::Adopt(ShardId shard) {
  std::vector<std::pair<ShardId, ChangelogPosition>> begun;
  BONGSU_RETURN_IF_ERROR(Add(shard, &begun));
  return begun.empty() ? absl::OkStatus() : store_.BeginLog(begun);
}

void Changelog::Release(ShardId shard) {
  std::unique_lock lock(mutex_);
  flushed_cv_.wait(lock, [&] { return !flushing_; });
  shards_.erase(shard);
}

// ---- an epoch ----------------------------------------------------------------------------------

std::unique_ptr<FrozenShard> Changelog::RemovedOperators(ShardId shard) const {
  auto change = std::make_unique<FrozenShard>();
  change->shard = shard;
  for (const OperatorNumbers::Numbered& op : store_.operators().removed()) {
    for (int family = 0; family < kFamilies; ++family) {
      const std::string from = OperatorPrefix(static_cast<Family>(family), shard, op.id);
      change->Add(static_cast<Family>(family), kDeleteRange, from, PrefixEnd(from));
    }
  }
  return change;
}

absl::StatusOr<std::vector<ShardBundle>> Changelog::Encode(
    std::vector<std::unique_ptr<FrozenShard>> changes) {
  BONGSU_CHECK_MSG(pending_.empty(), "the epoch before was neither committed nor dropped");
  slice_operators_.clear();
  std::map<ShardId, std::vector<std::unique_ptr<FrozenShard>>> by_shard;
  for (auto& [id, shard] : shards_) {
    if (!shard.drop_removed) continue;
    auto removed = RemovedOperators(id);
    // Where the log holds nothing there is nothing to take out of it.
    if (!removed->rows.empty() && !(shard.position.epoch == 0 && shard.empty))
      by_shard[id].push_back(std::move(removed));
  }
  for (auto& change : changes) {
    if (!change->rows.empty()) by_shard[change->shard].push_back(std::move(change));
  }
  std::vector<ShardBundle> bundles;
  for (auto& [id, own] : by_shard) {
    const auto it = shards_.find(id);
    BONGSU_CHECK_MSG(it != shards_.end(), "changes of a shard that is not ours");
    BONGSU_ASSIGN_OR_RETURN(ShardBundle bundle, EncodeShard(id, it->second, std::move(own)));
    bundles.push_back(std::move(bundle));
  }
  return bundles;
}

absl::StatusOr<ShardBundle> Changelog::EncodeShard(
    ShardId id, Shard& shard, std::vector<std::unique_ptr<FrozenShard>> changes) {
  Pending pending;
  pending.shard = id;
  pending.changed_bytes = RowBytes(changes);
  BundleHead head;
  head.shard = id;
  head.epoch = shard.position.epoch + 1;
  head.previous_seal = shard.position.seal_offset;
  LogRound& round = head.round;
  round = shard.position.round;
  if (round.number == 0 || round.ended) {
    head.begins_round = true;
    LogRound next;
    next.number = round.number + 1;
    next.start_epoch = head.epoch;
    next.last_live_bytes = round.live_bytes;
    next.trim = round.trim;
    next.whole = next.number == 1 && shard.empty;
    round = std::move(next);
  }
  round.changed_bytes += pending.changed_bytes;
  // A log that began beside existing rows is not complete before its first round is.
  const bool due =
      round.changed_bytes >= std::max(round.last_live_bytes, options_.round_bytes_min) ||
      (round.number == 1 && !round.whole);
  if (!round.cursor.has_value() && due) round.cursor = LogRound::Cursor{};
  BundleEncoder encoder(identity_, store_.operators());
  if (round.cursor.has_value()) {
    bool done = false;
    BONGSU_RETURN_IF_ERROR(AddSlice(
        id, shard, std::max(kSliceFactor * pending.changed_bytes, options_.slice_bytes_min), &round,
        &encoder, &done));
    pending.slice_bytes = encoder.bytes();
    if (done) {
      round.ended = true;
      round.cursor.reset();
      round.trim = round.start;
    }
  }
  for (const auto& change : changes) {
    BONGSU_RETURN_IF_ERROR(NoteGroups(shard, *change, head.epoch));
    for (const FrozenRow& row : change->rows) BONGSU_RETURN_IF_ERROR(encoder.Add(row));
  }
  ShardBundle bundle;
  bundle.shard = id;
  bundle.epoch = head.epoch;
  for (std::string& bytes : encoder.Finish(head, options_.record_bytes_max))
    bundle.records.push_back({std::move(bytes), -1});
  pending.position.epoch = head.epoch;
  pending.position.round = std::move(round);
  pending.begins_round = head.begins_round;
  pending.changes = std::move(changes);
  pending_.push_back(std::move(pending));
  return bundle;
}

// Keeps track of which buckets came into being while we look on.
absl::Status Changelog::NoteGroups(Shard& shard, const FrozenShard& change, uint64_t epoch) {
  auto current = shard.groups.end();
  for (const FrozenRow& row : change.rows) {
    if (row.family != kListFamily) continue;
    if (row.kind == kDeleteRange) {
      auto it = shard.groups.lower_bound(row.key);
      while (it != shard.groups.end() && (row.value.empty() || it->first < row.value)) {
        // One that is cut in the middle stays: nothing in it is older for that.
        const std::string end = PrefixEnd(it->first);
        const bool whole = row.value.empty() || (!end.empty() && end <= row.value);
        it = whole ? shard.groups.erase(it) : std::next(it);
      }
      current = shard.groups.end();
      continue;
    }
    const std::string_view key = GroupOf(kListFamily, row.key);
    if (current == shard.groups.end() || current->first != key) {
      current = shard.groups.find(key);
      if (current == shard.groups.end()) {
        // Not seen since we began to look, so that no overlay has rows of it.
        Group group{epoch, 0};
        BONGSU_RETURN_IF_ERROR(store_.Read(kListFamily, key, PrefixEnd(std::string(key)),
                                           [&](std::string_view, std::string_view) {
                                             group.first_epoch = 0;
                                             return false;
                                           }));
        current = shard.groups.emplace(std::string(key), group).first;
      }
    }
    current->second.bytes += row.key.size() + row.value.size();
  }
  return absl::OkStatus();
}

void Changelog::Committed(EpochId epoch, std::string positions,
                          const std::vector<ShardBundle>& bundles, int64_t now_ns) {
  BONGSU_CHECK_MSG(bundles.size() == pending_.size(), "not the bundles of the last Encode");
  std::lock_guard lock(mutex_);
  BONGSU_CHECK_MSG(epoch > epoch_, "epochs only grow");
  if (epoch_ == flushed_) oldest_ns_ = now_ns;
  epoch_ = epoch;
  positions_ = std::move(positions);
  for (size_t i = 0; i < bundles.size(); ++i) {
    const ShardBundle& bundle = bundles[i];
    Pending& pending = pending_[i];
    BONGSU_CHECK(bundle.shard == pending.shard && !bundle.records.empty());
    const int64_t first = bundle.records.front().offset;
    const int64_t seal = bundle.records.back().offset;
    Shard& shard = shards_.at(pending.shard);
    BONGSU_CHECK_MSG(first > shard.position.seal_offset && seal >= first,
                     "a record of the log has no offset, or an old one");
    pending.position.seal_offset = seal;
    pending.position.next_offset = seal + 1;
    if (pending.begins_round) {
      pending.position.round.start = first;
      if (pending.position.round.ended) pending.position.round.trim = first;
    }
    counters_.rounds += pending.position.round.ended ? 1 : 0;
    shard.position = std::move(pending.position);
    shard.drop_removed = false;
    for (auto& change : pending.changes) shard.active->Merge(std::move(change));
    ++counters_.bundles;
    counters_.changed_bytes += pending.changed_bytes;
    counters_.slice_bytes += pending.slice_bytes;
    counters_.records += bundle.records.size();
    for (const ShardBundle::Record& record : bundle.records) counters_.bytes += record.bytes.size();
  }
  pending_.clear();
}

// ---- to the store ------------------------------------------------------------------------------

size_t Changelog::bytes() const {
  std::lock_guard lock(mutex_);
  size_t bytes = 0;
  for (const auto& [id, shard] : shards_)
    bytes += shard.active->bytes() + (shard.flushing != nullptr ? shard.flushing->bytes() : 0);
  return bytes;
}

bool Changelog::FlushDue(int64_t now_ns) const {
  std::lock_guard lock(mutex_);
  if (flushing_ || epoch_ == flushed_) return false;
  if (now_ns - oldest_ns_ >= options_.flush_age) return true;
  size_t bytes = 0;
  for (const auto& [id, shard] : shards_) bytes += shard.active->bytes();
  return bytes >= options_.flush_bytes;
}

absl::StatusOr<EpochId> Changelog::Flush() {
  Checkpoint checkpoint;
  {
    std::lock_guard lock(mutex_);
    BONGSU_CHECK_MSG(!flushing_, "one flush at a time");
    if (epoch_ == flushed_) return EpochId{0};
    flushing_ = true;
    checkpoint.meta = {epoch_, positions_};
    flushed_ = epoch_;
    for (auto& [id, shard] : shards_) {
      if (shard.active->empty()) continue;
      shard.flushing = std::exchange(shard.active, std::make_shared<Overlay>());
      checkpoint.logged.push_back({id, shard.position, shard.flushing});
    }
  }
  const EpochId epoch = checkpoint.meta.epoch;
  uint64_t written = 0;
  uint64_t merged = 0;
  for (const auto& logged : checkpoint.logged) {
    logged.overlay->VisitRows([&](const FrozenRow&) { ++written; });
    merged += logged.overlay->rows_merged();
  }
  absl::Status status = store_.Commit(std::move(checkpoint));
  {
    std::lock_guard lock(mutex_);
    flushing_ = false;
    for (auto& [id, shard] : shards_) shard.flushing = nullptr;
    ++counters_.flushes;
    counters_.rows_merged += merged;
    counters_.rows_never_written += merged - written;
  }
  flushed_cv_.notify_all();
  if (!status.ok()) return status;
  return epoch;
}

std::vector<std::pair<ShardId, int64_t>> Changelog::TrimPoints() {
  std::vector<std::pair<ShardId, int64_t>> points;
  std::lock_guard lock(mutex_);
  for (auto& [id, shard] : shards_) {
    const int64_t trim = shard.position.round.trim;
    if (trim <= shard.trimmed) continue;
    // What the store still needs stays, or a restart would restore from nothing.
    const std::optional<ChangelogPosition> stored = store_.changelog(id);
    if (!stored.has_value() || stored->next_offset < trim) continue;
    shard.trimmed = trim;
    points.emplace_back(id, trim);
  }
  return points;
}

ChangelogPosition Changelog::position(ShardId shard) const {
  std::lock_guard lock(mutex_);
  const auto it = shards_.find(shard);
  return it == shards_.end() ? ChangelogPosition() : it->second.position;
}

Changelog::Counters Changelog::counters() const {
  std::lock_guard lock(mutex_);
  return counters_;
}

}  // namespace bongsu
