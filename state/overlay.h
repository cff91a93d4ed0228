// File: state/overlay.h
//
// The committed changes of one shard that the store does not have yet: several epochs merged, so
// that a row changed in each of them is written once, and a row whose bucket expired in the
// meantime is not written at all.
//
//   Overlay overlay;
//   overlay.Merge(std::move(frozen));                     // epoch after epoch
//   overlay.VisitRanges([&](Family, from, to) { ... });   // first: what to delete in the store
//   overlay.VisitRows([&](const FrozenRow& row) { ... }); // then: what to put or delete, by key
//
// How it works. Nothing is copied: rows are views into the merged FrozenShards, appended to the
// group of their key (a list's bucket, a value map, four seconds of timers). A range delete drops
// whole groups and goes through at most the two at its ends. A group is sorted, and only the last
// row of each key kept, when somebody wants to read it: rows that expire before are never sorted.
//
// Memory: `bytes()` counts all that was merged, dropped rows too (their arenas live as long as the
// overlay). That makes the budget a bound, and it is emptied every few seconds.
//
// Thread-safety: Merge belongs to one thread, and none may read meanwhile. Any number of threads
// may read: sorting is guarded.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "state/frozen_shard.h"

namespace bongsu {

// The beginning of a row's key that its group is known by.
std::string_view GroupOf(Family family, std::string_view key);

class Overlay {
 public:
  void Merge(std::unique_ptr<FrozenShard> change);

  bool empty() const { return bytes_ == 0; }
  size_t bytes() const { return bytes_; }
  // Rows that were merged, and of these the ones that a later range delete made superfluous.
  uint64_t rows_merged() const { return merged_; }
  uint64_t rows_expired() const { return expired_; }

  // Ranges do not overlap. To be deleted before the rows are written.
  void VisitRanges(
      absl::FunctionRef<void(Family family, std::string_view from, std::string_view to)> visit)
      const;
  // Each key once, in the order of families and keys.
  void VisitRows(absl::FunctionRef<void(const FrozenRow& row)> visit) const;
  // Whether a range delete of this overlay covers the key: what older layers say of it is void.
  bool Covers(Family family, std::string_view key) const;

 private:
  struct Group {
    std::vector<FrozenRow> rows;
    size_t sorted = 0;  // so many at the beginning are in key order, each key once
  };
  using Groups = std::map<std::string, Group, std::less<>>;

 public:
  // Walks the rows of one family in key order.
  class Cursor {
   public:
    // At the first key >= `from`. Groups that `leave_out` names are passed over. The overlay
    // outlives the cursor and is not merged into meanwhile.
    Cursor(const Overlay& overlay, Family family, std::string_view from,
           std::function<bool(std::string_view group)> leave_out = {});
    const FrozenRow* row() const { return row_; }  // null: there is none left
    void Next();

   private:
    void Settle();
    const Overlay& overlay_;
    const Groups& groups_;
    const std::function<bool(std::string_view)> leave_out_;
    Groups::const_iterator group_;
    size_t index_ = 0;
    const FrozenRow* row_ = nullptr;
  };

 private:
  void AddRange(Family family, std::string_view from, std::string_view to);
  const std::vector<FrozenRow>& Sorted(const Group& group) const;

  std::vector<std::unique_ptr<FrozenShard>> changes_;  // what the rows are views of
  mutable std::mutex sorting_;
  mutable Groups groups_[kFamilies];
  std::map<std::string, std::string, std::less<>> ranges_[kFamilies];  // from -> to
  size_t bytes_ = 0;
  uint64_t merged_ = 0;
  uint64_t expired_ = 0;
};

}  // namespace bongsu
