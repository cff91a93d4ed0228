// File: operators/sigma/correlation_events.h
//
// The events of a measured correlation as they lie in state: for each group a list in time order,
// with the digests of what is measured beside the carried fields.
//
//   MeasuredEvents events(spec);
//   events.Open(context);
//   events.Put(input, context, &kept);       // reads the values, keeps the bounds
//   events.Load(key, from, to, context);     // events.all(), events.digests(i)
//
// Two results of correlations below may have one anchor and one time (an event that is in two
// groups of one correlation, or in two correlations): they are two. A result therefore lies under
// an entry made of its anchor's place, its rule and its key, and keeps the place itself beside it;
// of a plain event the entry is its place, so that one that meets two rules is one.
//
// Bounds: `events_max` of a group within a timespan before and behind ("events_capped"),
// `groups_max` (operators/sigma/group_bound.h).
//
// Thread-safety: one thread. Errors: of the state's handles.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "operators/operator.h"
#include "operators/sigma/correlation_aggregate.h"
#include "operators/sigma/group_bound.h"
#include "operators/sigma/group_event.h"

namespace bongsu::sigma {

class MeasuredEvents {
 public:
  explicit MeasuredEvents(const AggregateSpec& spec);
  // A bucket of the list: about a timespan.
  DurationNs bucket() const;
  [[nodiscard]] absl::Status Open(OperatorContext& context);
  // What Put will look at.
  void Prefetch(std::span<const Input> inputs);

  // Keeps the event, or counts why not. Then: what was read of it, and how many of its group lie
  // less than a timespan away, itself included (at most, where the condition needs more).
  [[nodiscard]] absl::Status Put(const Input& input, OperatorContext& context, bool* kept);
  std::span<const Digest> put_digests() const { return put_digests_; }
  RecordSeq put_entry() const { return put_entry_; }
  // It was there: an event that meets two rules, with the same values for both.
  bool put_again() const { return put_again_; }
  // The same with other values, which it has now in their place.
  bool put_over() const { return put_over_; }
  uint64_t near() const { return near_; }
  // At most so many values are in a window with it: an event whose field is an array has several.
  uint64_t near_values() const { return near_ * widest_; }

  // Of the windows with an event of `time` that may have `least` events, where the first ends; none
  // before it has so many. kMaxEventTime: none of all.
  [[nodiscard]] absl::Status FirstEnd(std::string_view key, EventTimeNs time, uint64_t least,
                                      EventTimeNs* end);

  // The group's events with from <= time <= to, in order (ReadBefore).
  [[nodiscard]] absl::Status Load(std::string_view key, EventTimeNs from, EventTimeNs to,
                                  OperatorContext& context);
  const std::vector<GroupEvent>& all() const { return all_; }
  std::span<const Digest> digests(size_t i) const {
    return std::span<const Digest>(digests_).subspan(ranges_[i].first, ranges_[i].size);
  }

  [[nodiscard]] absl::Status Count(std::string_view key, EventTimeNs from, EventTimeNs to,
                                   uint64_t* n) {
    *n = 0;
    return from > to ? absl::OkStatus() : list_->Count(key, from, to, n);
  }
  // The time of the first event with from <= time <= to; kMaxEventTime: there is none.
  [[nodiscard]] absl::Status First(std::string_view key, EventTimeNs from, EventTimeNs to,
                                   EventTimeNs* time);
  // The carried fields.
  [[nodiscard]] absl::Status Payload(std::string_view key, const GroupEvent& event,
                                     std::string* payload);
  void ExpireBefore(EventTimeNs time) {
    list_->ExpireBefore(time);
    if (widths_ != nullptr) widths_->ExpireBefore(time);
    bound_.ExpireBefore(time);
  }

 private:
  struct Range {
    uint32_t first = 0;  // of digests_
    uint32_t size = 0;
  };
  bool IsResult(uint8_t port) const { return spec_.inputs()[port].from_operator; }
  RecordSeq EntryOf(const Input& input) const;
  absl::Status FindPut(const Input& input, bool* found);
  absl::Status CountNear(const Input& input, bool* counted);
  absl::Status NoteWidth(EventTimeNs time);
  void SortTies(const OperatorContext& context);

  const AggregateSpec& spec_;
  const DurationNs span_;
  const uint64_t enough_;  // so many events near one another may change something
  DigestReader reader_;
  GroupBound bound_;
  TimeList* list_ = nullptr;
  TimeList* widths_ = nullptr;  // null: of one value each
  uint64_t widest_ = 1;         // the most values that an event of the list has, or had
  std::span<const Digest> put_digests_;
  RecordSeq put_entry_ = 0;
  bool put_again_ = false;
  bool put_over_ = false;
  uint64_t near_ = 0;
  std::vector<GroupEvent> all_;
  std::vector<Range> ranges_;
  std::vector<Digest> digests_;
  std::string value_;                 // scratch
  std::vector<TimeListRange> ahead_;  // scratch
};

}  // namespace bongsu::sigma
