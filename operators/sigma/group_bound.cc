#include "operators/sigma/group_bound.h"

#include "state/check.h"
#include "state/key_encoding.h"
#include "state/status_macros.h"

namespace bongsu::sigma {
namespace {

// The list's only key.
constexpr char kRow[] = "g";

}  // namespace

absl::Status GroupBound::Open(OperatorContext& context, DurationNs bucket) {
  BONGSU_ASSIGN_OR_RETURN(
      cells_, context.state().OpenTimeList(context.operator_id(), "group_counts", bucket));
  return absl::OkStatus();
}

EventTimeNs GroupBound::CellStart(EventTimeNs time) const {
  const int64_t quotient = time / span_;
  int64_t start = 0;
  return __builtin_mul_overflow(time % span_ < 0 ? quotient - 1 : quotient, span_, &start)
             ? kMinEventTime
             : start;
}

absl::Status GroupBound::Admit(EventTimeNs time, bool known, bool counted, OperatorContext& context,
                               bool* admitted) {
  *admitted = true;
  if (counted) return absl::OkStatus();
  const EventTimeNs start = CellStart(time);
  const EventTimeNs end = AddTime(start, span_ - 1);
  uint64_t here = 0;
  uint64_t all = 0;
  BONGSU_RETURN_IF_ERROR(cells_->Scan(kRow, AddTime(start, -span_), AddTime(end, span_),
                                      [&](const TimeListCursor& cell) {
                                        BONGSU_CHECK(cell.value().size() == 8);
                                        const uint64_t groups = ReadU64(cell.value());
                                        if (cell.time() == end) here = groups;
                                        all += groups;
                                        return true;
                                      }));
  if (!known && all >= groups_max_) {
    *admitted = false;
    context.Count("groups_capped", 1);
    return absl::OkStatus();
  }
  value_.clear();
  AppendU64(here + 1, &value_);
  return cells_->Put(kRow, {end, 0}, value_);
}

}  // namespace bongsu::sigma
