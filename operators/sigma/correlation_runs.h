// File: operators/sigma/correlation_runs.h
//
// For value_count on arrival: the newest run of each value of a group, and from them an upper bound
// on the distinct values of any window that can still get events (see correlation_sliding.h,
// "Distinct values").
//
//   runs.Get(key);                       // runs.bound()
//   runs.Add(key, time, digests);        // raises bound().most where a window may have grown
//   runs.PutBound(key, from, events);
//
// Thread-safety: one thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "operators/sigma/correlation_measure.h"
#include "state/shard_state.h"
#include "state/types.h"

namespace bongsu::sigma {

class ValueRuns {
 public:
  // Groups with fewer events in a window than half of this are not tracked, whatever the condition:
  // counting their windows anew costs less.
  static constexpr uint64_t kTrackedMin = 64;

  struct Bound {
    bool found = false;
    uint64_t most = 0;                   // no window that ends above `low` has more distinct values
    EventTimeNs newest = kMinEventTime;  // event
    // The group's events from `from` on, when the bound was put. Another number tells that some
    // went by untracked; older ones are in no window that can still get events.
    EventTimeNs from = kMinEventTime;
    uint64_t events = 0;
    DurationNs span = 0;
    EventTimeNs low() const { return AddTime(newest, 1 - span); }
  };

  // `list` has buckets of `bucket` >= `span`.
  ValueRuns(TimeList* list, DurationNs span, DurationNs bucket)
      : list_(list), span_(span), bucket_(bucket) {}

  absl::Status Get(std::string_view key);
  Bound& bound() { return bound_; }
  // An event of the group whose bound is at hand.
  absl::Status Add(std::string_view key, EventTimeNs time, std::span<const Digest> digests);
  absl::Status PutBound(std::string_view key, EventTimeNs from, uint64_t events);
  // Nothing below `time` matters any more.
  void Expire(EventTimeNs time) { list_->ExpireBefore(BucketStart(time)); }

 private:
  EventTimeNs BucketStart(EventTimeNs time) const;
  // The newest value under the row key at hand.
  absl::Status Newest(std::string* value, bool* found);
  absl::Status AddOne(EventTimeNs time, bool* novel);

  TimeList* const list_;
  const DurationNs span_;
  const DurationNs bucket_;
  Bound bound_;
  std::string row_;
  std::string value_;
};

}  // namespace bongsu::sigma
