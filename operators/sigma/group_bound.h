// File: operators/sigma/group_bound.h
//
// How many groups a correlation holds: the bound `groups_max`, for each shard. A flood of keys must
// not fill the disk, and must not push a slow attack out.
//
//   GroupBound bound(span, groups_max);
//   bound.Open(context, bucket);
//   bound.Admit(input.time, known, counted, context, &admitted);
//
// What is counted. Event time is cut into cells of one timespan, from 1970 on; a group counts once
// in each cell that has an event of it. A group that is *new* (no event of it less than a timespan
// before or behind) is left out when the cell of its event and the two beside it hold `groups_max`;
// counted as "groups_capped". A group that is known always goes on, so what was there before the
// flood is not lost. Groups of closed windows no longer count: their cells are behind.
//
// In order of time no cell holds more than `groups_max` groups: the new ones of a cell are no more
// than what the cell before it leaves, and the known ones are of the cell before it.
//
// The counts lie in the state (a list, "group_counts", each under its cell's last nanosecond: then
// it is there as long as an event beside the cell may come): a restart goes on with them, and the
// same input leaves out the same events. A cell's count is the sum of what lies in it: older state
// has one under its first nanosecond.
//
// Thread-safety: one thread. Errors: of the state's handles.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "operators/operator.h"

namespace bongsu::sigma {

class GroupBound {
 public:
  GroupBound(DurationNs span, size_t groups_max) : span_(span), groups_max_(groups_max) {}
  // `bucket`: that of the operator's events.
  [[nodiscard]] absl::Status Open(OperatorContext& context, DurationNs bucket);

  // The cell of `time` is [CellStart, CellStart + span).
  EventTimeNs CellStart(EventTimeNs time) const;
  // `known`: the group has an event less than a timespan away. `counted`: in the same cell.
  [[nodiscard]] absl::Status Admit(EventTimeNs time, bool known, bool counted,
                                   OperatorContext& context, bool* admitted);
  void ExpireBefore(EventTimeNs time) { cells_->ExpireBefore(time); }

 private:
  const DurationNs span_;
  const size_t groups_max_;
  TimeList* cells_ = nullptr;
  std::string value_;  // scratch
};

}  // namespace bongsu::sigma
