// File: operators/sigma/correlation_runs.h
//
// For value_count on arrival: whether an event makes a window reach the number of distinct values
// that the condition asks for, without counting the window anew.
//
//   ValueRuns runs(span, events);
//   runs.Open(context);
//   runs.MayHold(input, least, oldest, context, &may);     // behind MeasuredEvents::Put
//
// How. Of each value its *runs* are kept, under a hash of it and its group of 128 bits: first and
// last event of a chain with gaps below the timespan. A value is in the window (w - span, w]
// exactly when one of its runs has first <= w < last + span. Of a group the number of values in its
// newest window is kept.
//   An event at or behind the newest one: the values whose last event has left the window are taken
//   off (one look-up for each event that leaves it), its own are added: the number stays exact.
//   A late event raises the windows in which its value was not, from its own time on. Their numbers
//   follow from the newest one's, backwards over the runs that begin and end between: as many
//   look-ups as events arrived in the time that it is late. `most`, an upper bound of the windows
//   that late events can be in, tells where even that is needless.
//   An event that is later than a timespan: its windows are walked through, if it raises any.
//
// Groups with fewer events in a window than half of what the condition asks for are not tracked at
// all, and the values of kCountedMax events are counted as fast as a look-up or two take; and not
// even that before as many new ones can have come as were missing when they were counted last
// (kSparesMax groups are remembered, in memory only). How many
// events of a group went by tells whether some did untracked, and then its runs are made anew from
// its events. What is tracked goes on until half of that, so that it is not made anew all the time.
//
// The bound of the group that was asked about last stays in memory, too: while one key has most
// events, nothing of it is read.
//
// Thread-safety: one thread. Errors: of the state's handles.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "operators/sigma/correlation_events.h"
#include "operators/sigma/correlation_measure.h"
#include "state/inline_key.h"
#include "state/shard_state.h"
#include "state/types.h"

namespace bongsu::sigma {

class ValueRuns {
 public:
  static constexpr uint64_t kCountedMax = 128;
  static constexpr size_t kSparesMax = 512;

  // `each`: every window that holds counts, and not only those that make others hold (`reset`).
  // `events` outlives the runs; MayHold loads into it.
  ValueRuns(DurationNs span, bool each, MeasuredEvents& events)
      : span_(span), each_(each), events_(events) {}
  [[nodiscard]] absl::Status Open(OperatorContext& context);

  // `input` is the event that was put last; events below `oldest` may be gone. False: it makes no
  // window reach `least`.
  [[nodiscard]] absl::Status MayHold(const Input& input, uint64_t least, EventTimeNs oldest,
                                     OperatorContext& context, bool* may);
  // Nothing below `time` matters any more.
  void ExpireBefore(EventTimeNs time) { list_->ExpireBefore(BucketStart(time)); }

 private:
  struct Bound {
    bool found = false;
    EventTimeNs newest = kMinEventTime;  // event
    uint64_t distinct = 0;               // values in the window that ends there
    // No window that ends less than a timespan before it has more values than the larger of these:
    uint64_t most = 0;         // the windows since `most_from`
    uint64_t most_before = 0;  // and those of the timespan before
    EventTimeNs most_from = kMinEventTime;
    // The group's events from `from` on, when the bound was put. Another number tells that some
    // went by untracked; older ones are in no window that can still get events.
    EventTimeNs from = kMinEventTime;
    uint64_t events = 0;
  };
  struct Run {
    EntryId first;
    EntryId last;
  };
  // A group whose values were counted: of its events less than a timespan before `time`, and of all
  // behind it, with those that came since, there are at most `values` values.
  struct Spare {
    InlineKey key{std::string_view()};
    EventTimeNs time = kMaxEventTime;  // of no group
    uint64_t values = 0;
  };
  // Windows that a value is new in: they end at from <= w < to.
  struct Gain {
    EventTimeNs from = 0;
    EventTimeNs to = 0;
  };

  Spare* SpareOf(const InlineKey& key);
  EventTimeNs BucketStart(EventTimeNs time) const;
  absl::Status Get(std::string_view key);
  absl::Status Put(std::string_view key);
  EventTimeNs From(const OperatorContext& context) const;
  absl::Status CountFrom(std::string_view key, EventTimeNs from);
  // The runs of a value, in order, into runs_.
  absl::Status Runs(std::string_view key, const Digest& digest);
  // Adds an event to the value's runs; `gain` is empty (from >= to) where it is in all its windows.
  absl::Status Add(std::string_view key, const Digest& digest, EntryId event, Gain* gain);
  absl::Status Rebuild(std::string_view key, EventTimeNs time, OperatorContext& context);
  absl::Status Newest(const Input& input, OperatorContext& context);
  absl::Status Counted(const Input& input, uint64_t least, Spare* spare, OperatorContext& context,
                       bool* may);
  absl::Status Remember(const Input& input);
  absl::Status Late(const Input& input, uint64_t least, OperatorContext& context, bool* may);
  absl::Status Reaches(const Input& input, uint64_t least, OperatorContext& context, bool* reaches);

  const DurationNs span_;
  const bool each_;
  MeasuredEvents& events_;
  TimeList* list_ = nullptr;
  std::vector<Spare> spares_;  // by the key's hash; empty before the first
  Bound bound_;
  std::string known_;      // bound_ is of this group,
  bool knows_ = false;     // and none of its events went by untracked since
  std::vector<Run> runs_;  // scratch, as all below
  std::vector<Gain> gains_;
  absl::flat_hash_set<Digest> distinct_;
  std::vector<std::pair<EventTimeNs, int64_t>> changes_;
  std::vector<Digest> digests_;
  std::string row_;
  std::string value_;
};

}  // namespace bongsu::sigma
