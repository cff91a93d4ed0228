#include "operators/sigma/correlation_runs.h"

#include <algorithm>

#include "state/byte_reader.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu::sigma {
namespace {

// Rows of a group's bound, and of its values' runs.
constexpr char kBoundRow = 'b';
constexpr char kRunRow = 'r';

EventTimeNs ReadTimeAt(std::string_view bytes, size_t at) { return ReadTime(bytes.substr(at)); }

}  // namespace

// The list's buckets go as a whole; an entry at its bucket's start is seen as long as any of it.
EventTimeNs ValueRuns::BucketStart(EventTimeNs time) const {
  if (time == kMinEventTime || time == kMaxEventTime) return time;
  const int64_t quotient = time / bucket_;
  const int64_t floor = time % bucket_ < 0 ? quotient - 1 : quotient;
  int64_t start = 0;
  return __builtin_mul_overflow(floor, bucket_, &start) ? kMinEventTime : start;
}

absl::Status ValueRuns::Newest(std::string* value, bool* found) {
  *found = false;
  return list_->Scan(row_, kMinEventTime, kMaxEventTime, [&](TimeListCursor& entry) {
    *value = entry.value();
    *found = true;
    return true;  // the last one is the newest
  });
}

absl::Status ValueRuns::Get(std::string_view key) {
  row_ = kBoundRow;
  row_ += key;
  bound_ = Bound{};
  bound_.span = span_;
  BONGSU_RETURN_IF_ERROR(Newest(&value_, &bound_.found));
  if (!bound_.found) return absl::OkStatus();
  BONGSU_CHECK(value_.size() == 32);
  bound_.newest = ReadTimeAt(value_, 0);
  bound_.most = ReadU64(std::string_view(value_).substr(8));
  bound_.events = ReadU64(std::string_view(value_).substr(16));
  bound_.from = ReadTimeAt(value_, 24);
  return absl::OkStatus();
}

absl::Status ValueRuns::PutBound(std::string_view key, EventTimeNs from, uint64_t events) {
  bound_.from = from;
  bound_.events = events;
  bound_.found = true;
  row_ = kBoundRow;
  row_ += key;
  value_.clear();
  AppendTime(bound_.newest, &value_);
  AppendU64(bound_.most, &value_);
  AppendU64(bound_.events, &value_);
  AppendTime(bound_.from, &value_);
  return list_->Put(row_, {BucketStart(bound_.newest), 0}, value_);
}

absl::Status ValueRuns::Add(std::string_view key, EventTimeNs time,
                            std::span<const Digest> digests) {
  for (const Digest& digest : digests) {
    row_ = kRunRow;
    row_.append(reinterpret_cast<const char*>(digest.data()), digest.size());
    row_ += key;
    bool novel = false;
    BONGSU_RETURN_IF_ERROR(AddOne(time, &novel));
    if (novel) ++bound_.most;
  }
  bound_.newest = std::max(bound_.newest, time);
  return absl::OkStatus();
}

absl::Status ValueRuns::AddOne(EventTimeNs time, bool* novel) {
  bool found = false;
  BONGSU_RETURN_IF_ERROR(Newest(&value_, &found));
  EventTimeNs first = time;
  EventTimeNs last = time;
  *novel = true;
  if (found) {
    BONGSU_CHECK(value_.size() == 16);
    const EventTimeNs run_first = ReadTimeAt(value_, 0);
    const EventTimeNs run_last = ReadTimeAt(value_, 8);
    if (run_first <= time && time <= run_last) {
      *novel = false;
      return absl::OkStatus();
    }
    if (time > run_last && time < AddTime(run_last, span_)) {
      first = run_first;
      // The newest window holds the value already, and later ones hold no more than that one.
      *novel = AddTime(run_last, span_) <= std::max(bound_.newest, time);
    } else if (time < run_first) {
      if (AddTime(time, span_) <= run_first) return absl::OkStatus();  // an older run
      last = run_last;
    }
  }
  value_.clear();
  AppendTime(first, &value_);
  AppendTime(last, &value_);
  return list_->Put(row_, {BucketStart(last), 0}, value_);
}

}  // namespace bongsu::sigma
