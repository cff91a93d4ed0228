#include "state/overlay.h"

#include <algorithm>
#include <iterator>

#include "state/key_encoding.h"

namespace bongsu {
namespace {

constexpr size_t kGroupBytes[kFamilies] = {
    0,                    // meta: a few rows for each list
    kRowPrefixBytes + 8,  // a list's bucket
    kRowPrefixBytes,      // a value map
    kRowPrefixBytes + 4,  // timers within 2^32 ns
};

bool KeyBefore(const FrozenRow& a, const FrozenRow& b) { return a.key < b.key; }

}  // namespace

std::string_view GroupOf(Family family, std::string_view key) {
  return key.substr(0, kGroupBytes[family]);
}

void Overlay::Merge(std::unique_ptr<FrozenShard> change) {
  if (change->rows.empty()) return;
  Group* group = nullptr;
  std::string_view group_key;
  Family family = kMetaFamily;
  for (const FrozenRow& row : change->rows) {
    if (row.kind == kDeleteRange) {
      group = nullptr;  // it may be about to go
      AddRange(row.family, row.key, row.value);
      continue;
    }
    // Rows of one group come one after the other.
    const std::string_view key = GroupOf(row.family, row.key);
    if (group == nullptr || row.family != family || key != group_key) {
      Groups& groups = groups_[row.family];
      auto it = groups.find(key);
      if (it == groups.end()) it = groups.emplace(std::string(key), Group{}).first;
      group = &it->second;
      family = row.family;
      group_key = it->first;
    }
    group->rows.push_back(row);
    ++merged_;
    bytes_ += sizeof(FrozenRow);
  }
  bytes_ += change->bytes();
  changes_.push_back(std::move(change));
}

void Overlay::AddRange(Family family, std::string_view from, std::string_view to) {
  if (!to.empty() && to <= from) return;
  Groups& groups = groups_[family];
  // The group in front may hold keys at or behind `from`.
  auto it = groups.upper_bound(from);
  if (it != groups.begin()) --it;
  while (it != groups.end() && (to.empty() || it->first < to)) {
    Group& group = it->second;
    const std::string group_end = PrefixEnd(it->first);
    const bool whole = it->first >= from && (to.empty() || (!group_end.empty() && group_end <= to));
    if (whole) {
      expired_ += group.rows.size();
      it = groups.erase(it);
      continue;
    }
    const auto covered = [&](const FrozenRow& row) {
      return row.key >= from && (to.empty() || row.key < to);
    };
    const auto sorted_end = group.rows.begin() + static_cast<std::ptrdiff_t>(group.sorted);
    group.sorted -= static_cast<size_t>(std::count_if(group.rows.begin(), sorted_end, covered));
    expired_ += std::erase_if(group.rows, covered);
    it = group.rows.empty() ? groups.erase(it) : std::next(it);
  }
  // The union with the ranges that it touches; "" as an end is the end of everything.
  auto& ranges = ranges_[family];
  std::string begin(from);
  std::string end(to);
  auto range = ranges.upper_bound(begin);
  if (range != ranges.begin()) {
    const auto before = std::prev(range);
    if (before->second.empty() || before->second >= begin) range = before;
  }
  while (range != ranges.end() && (end.empty() || range->first <= end)) {
    begin = std::min(begin, range->first);
    if (range->second.empty() || (!end.empty() && range->second > end)) end = range->second;
    range = ranges.erase(range);
  }
  ranges.emplace(std::move(begin), std::move(end));
}

const std::vector<FrozenRow>& Overlay::Sorted(const Group& group) const {
  std::lock_guard lock(sorting_);
  // Merge is not running (the class's contract), so that only readers come here.
  auto& rows = const_cast<Group&>(group).rows;
  if (group.sorted == rows.size()) return rows;
  const auto middle = rows.begin() + static_cast<std::ptrdiff_t>(group.sorted);
  std::stable_sort(middle, rows.end(), KeyBefore);
  std::inplace_merge(rows.begin(), middle, rows.end(), KeyBefore);
  // Both are stable: of equal keys the one merged last stands last, and is the one that counts.
  size_t kept = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i + 1 < rows.size() && rows[i].key == rows[i + 1].key) continue;
    rows[kept++] = rows[i];
  }
  rows.resize(kept);
  const_cast<Group&>(group).sorted = kept;
  return rows;
}

void Overlay::VisitRanges(
    absl::FunctionRef<void(Family, std::string_view, std::string_view)> visit) const {
  for (int family = 0; family < kFamilies; ++family) {
    for (const auto& [from, to] : ranges_[family]) visit(static_cast<Family>(family), from, to);
  }
}

void Overlay::VisitRows(absl::FunctionRef<void(const FrozenRow&)> visit) const {
  for (const Groups& groups : groups_) {
    for (const auto& [key, group] : groups) {
      for (const FrozenRow& row : Sorted(group)) visit(row);
    }
  }
}

bool Overlay::Covers(Family family, std::string_view key) const {
  const auto& ranges = ranges_[family];
  auto it = ranges.upper_bound(key);
  if (it == ranges.begin()) return false;
  --it;
  return it->second.empty() || key < it->second;
}

Overlay::Cursor::Cursor(const Overlay& overlay, Family family, std::string_view from,
                        std::function<bool(std::string_view)> leave_out)
    : overlay_(overlay), groups_(overlay.groups_[family]), leave_out_(std::move(leave_out)) {
  group_ = groups_.upper_bound(from);
  if (group_ != groups_.begin()) {
    // The group in front has keys at or behind `from` only if it is a beginning of it.
    const auto before = std::prev(group_);
    if (from.starts_with(before->first)) group_ = before;
  }
  if (group_ != groups_.end() && !(leave_out_ && leave_out_(group_->first))) {
    const auto& rows = overlay_.Sorted(group_->second);
    const auto at =
        std::lower_bound(rows.begin(), rows.end(), from,
                         [](const FrozenRow& row, std::string_view key) { return row.key < key; });
    index_ = static_cast<size_t>(at - rows.begin());
  }
  Settle();
}

void Overlay::Cursor::Next() {
  ++index_;
  Settle();
}

void Overlay::Cursor::Settle() {
  row_ = nullptr;
  for (; group_ != groups_.end(); ++group_, index_ = 0) {
    if (leave_out_ && leave_out_(group_->first)) continue;
    const auto& rows = overlay_.Sorted(group_->second);
    if (index_ >= rows.size()) continue;
    row_ = &rows[index_];
    return;
  }
}

}  // namespace bongsu
