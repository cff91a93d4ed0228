// The slices of a round: the live state of a shard, as committed, in an order that every process
// agrees on.
#include <optional>

#include "state/changelog.h"
#include "state/check.h"
#include "state/key_encoding.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

// A slice of many operators without rows must not take long either.
constexpr int kSliceSeeksMax = 256;

// What is committed of one shard: the store under at most two overlays, the newer over the older.
// A flush may run meanwhile: what it writes is in an overlay too, with the same values.
class CommittedRows {
 public:
  using LeaveOut = std::function<bool(std::string_view group)>;
  CommittedRows(Store& store, std::shared_ptr<const Overlay> newer,
                std::shared_ptr<const Overlay> older, LeaveOut leave_out)
      : store_(store),
        newer_(std::move(newer)),
        older_(std::move(older)),
        leave_out_(std::move(leave_out)) {}

  // Visits the rows with from <= key < to in order, until `visit` returns false.
  absl::Status Read(Family family, const std::string& from, const std::string& to,
                    absl::FunctionRef<bool(std::string_view key, std::string_view value)> visit);

 private:
  // The overlays' rows of one range as one sequence.
  class Merged {
   public:
    Merged(const CommittedRows& rows, Family family, const std::string& from, const std::string& to)
        : rows_(rows), family_(family), to_(to) {
      const LeaveOut leave_out = family == kListFamily ? rows.leave_out_ : LeaveOut();
      newer_.emplace(*rows.newer_, family, from, leave_out);
      if (rows.older_ != nullptr) older_.emplace(*rows.older_, family, from, leave_out);
      SkipCovered();
    }
    const FrozenRow* row() const {
      const FrozenRow* a = newer_->row();
      const FrozenRow* b = older_.has_value() ? older_->row() : nullptr;
      const FrozenRow* first = a == nullptr || (b != nullptr && b->key < a->key) ? b : a;
      return first != nullptr && (to_.empty() || first->key < to_) ? first : nullptr;
    }
    void Next() {
      const std::string_view key = row()->key;
      if (older_.has_value() && older_->row() != nullptr && older_->row()->key == key)
        older_->Next();
      if (newer_->row() != nullptr && newer_->row()->key == key) newer_->Next();
      SkipCovered();
    }

   private:
    void SkipCovered() {
      while (older_.has_value() && older_->row() != nullptr &&
             rows_.newer_->Covers(family_, older_->row()->key))
        older_->Next();
    }
    const CommittedRows& rows_;
    const Family family_;
    const std::string& to_;
    std::optional<Overlay::Cursor> newer_;
    std::optional<Overlay::Cursor> older_;
  };

  bool Covered(Family family, std::string_view key) const {
    return newer_->Covers(family, key) || (older_ != nullptr && older_->Covers(family, key));
  }

  Store& store_;
  const std::shared_ptr<const Overlay> newer_;
  const std::shared_ptr<const Overlay> older_;
  const LeaveOut leave_out_;
};

absl::Status CommittedRows::Read(
    Family family, const std::string& from, const std::string& to,
    absl::FunctionRef<bool(std::string_view key, std::string_view value)> visit) {
  Merged merged(*this, family, from, to);
  bool stopped = false;
  const auto emit_overlay_before = [&](std::string_view key, bool all) {
    while (!stopped && merged.row() != nullptr && (all || merged.row()->key < key)) {
      const FrozenRow& row = *merged.row();
      if (row.kind == kPut) stopped = !visit(row.key, row.value);
      merged.Next();
    }
  };
  std::string at = from;
  while (true) {
    std::string behind;  // a bucket that is left out
    BONGSU_RETURN_IF_ERROR(
        store_.Read(family, at, to, [&](std::string_view key, std::string_view value) {
          emit_overlay_before(key, /*all=*/false);
          if (stopped) return false;
          if (merged.row() != nullptr && merged.row()->key == key) {
            const FrozenRow& row = *merged.row();
            if (row.kind == kPut) stopped = !visit(row.key, row.value);
            merged.Next();
            return !stopped;
          }
          if (family == kListFamily && leave_out_(GroupOf(family, key))) {
            behind = PrefixEnd(std::string(GroupOf(family, key)));
            return false;
          }
          if (!Covered(family, key)) stopped = !visit(key, value);
          return !stopped;
        }));
    if (stopped) return absl::OkStatus();
    if (behind.empty()) break;
    at = behind;
  }
  emit_overlay_before({}, /*all=*/true);
  return absl::OkStatus();
}

}  // namespace

absl::Status Changelog::AddSlice(ShardId id, const Shard& shard, uint64_t bytes_max,
                                 LogRound* round, BundleEncoder* encoder, bool* done) {
  if (slice_operators_.empty()) slice_operators_ = store_.operators().All();
  std::shared_ptr<const Overlay> active;
  std::shared_ptr<const Overlay> flushing;
  {
    std::lock_guard lock(mutex_);
    active = shard.active;
    flushing = shard.flushing;
  }
  const auto young = [&](const Group& group) { return group.first_epoch >= round->start_epoch; };
  CommittedRows rows(store_, active, flushing, [&](std::string_view group) {
    const auto it = shard.groups.find(group);
    return it != shard.groups.end() && young(it->second);
  });
  const LogRound::Cursor from = *round->cursor;
  int seeks = 0;
  for (const OperatorNumbers::Numbered& op : slice_operators_) {
    if (op.name < from.op) continue;
    for (int i = 0; i < kFamilies; ++i) {
      const auto family = static_cast<Family>(i);
      if (op.name == from.op && i < from.family) continue;
      const std::string prefix = OperatorPrefix(family, id, op.id);
      const bool begun = op.name == from.op && i == from.family;
      bool full = false;
      absl::Status bad;
      const auto stop_at = [&](std::string_view suffix) {
        round->cursor = LogRound::Cursor{op.name, family, std::string(suffix)};
        full = true;
      };
      if (++seeks > kSliceSeeksMax) {
        stop_at(begun ? from.suffix : "");
        return absl::OkStatus();
      }
      BONGSU_RETURN_IF_ERROR(rows.Read(family, begun ? prefix + from.suffix : prefix,
                                       PrefixEnd(prefix),
                                       [&](std::string_view key, std::string_view value) {
                                         if (encoder->bytes() >= bytes_max) {
                                           stop_at(key.substr(prefix.size()));
                                           return false;
                                         }
                                         bad = encoder->Add({key, value, family, kPut});
                                         round->live_bytes += key.size() + value.size();
                                         return bad.ok();
                                       }));
      BONGSU_RETURN_IF_ERROR(bad);
      if (full) return absl::OkStatus();
    }
  }
  for (const auto& [key, group] : shard.groups) {
    if (young(group)) round->live_bytes += group.bytes;
  }
  *done = true;
  return absl::OkStatus();
}

}  // namespace bongsu
