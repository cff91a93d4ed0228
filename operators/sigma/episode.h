// File: operators/sigma/episode.h
//
// Episodes: what makes one incident of a burst. A correlation's condition holds for many sliding
// windows (t - span, t] one behind the other; the longest chain of such windows that overlap is one
// episode, and one incident: created once, updated at most once in a span, and once more when it is
// over. Its events are those of its windows, its anchor is the first of them.
//
// The operator finds at which times the condition holds (hits); the book keeps the episodes of each
// group, publishes, merges, cuts and forgets them:
//
//   EpisodeBook book(spec, {.span = span, .max_episode = ..., .early = true}, source);
//   book.Open(context);
//   book.Hit(key, first, last, context);      // when an event makes windows hold
//   book.OnTimer(timer, context);             // for timers that EpisodeBook::IsTimer knows
//
// The rule that makes this exact in any order of arrival: the condition is monotone, no further
// event makes a window stop to hold. So the hits that are known only grow; those up to the closing
// time are final, and so is everything that is said of them when a timer fires:
//   T0 = the first hit             watermark: the incident is created. Goes to readers.
//   Tk = T0 + k * span             the closed events since then are read once, in order; an update
//                                  if there were more, the last one when no window held for a span.
// `early`: created when the first hit is found. Its id is that of the first event known then, and
// stays, also when an older one comes. A late event may join two published incidents: the one
// published first goes on, the other is closed and names it.
// `reset`: each hit is an incident of its own, with events that no other has; decided at the close.
// `suppress`: within this time after an incident's first hit, further ones of the group are counted
// only; decided at the close.
//
// State: one value for each group that has an open episode (some 100 bytes for each), one with the
// evidence of those that have been read, one timer for each episode.
//
// Bounds: kOpenEpisodesMax for each group: beyond it a hit joins the nearest one (counted as
// "episodes_joined").
//
// Thread-safety: one thread. Errors: of the state's handles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "operators/operator.h"

namespace bongsu::sigma {

inline constexpr size_t kOpenEpisodesMax = 4'096;

struct EpisodeOptions {
  DurationNs span = 0;
  DurationNs max_episode = 0;
  DurationNs suppress = 0;
  bool early = true;  // not with reset or suppress
  bool reset = false;
  size_t evidence_max = 16;
};

// One event of a group, without its payload.
struct GroupEvent {
  EventTimeNs time = 0;
  RecordSeq seq = 0;
  uint8_t port = 0;
};

// What the book asks of the operator.
class EpisodeSource {
 public:
  virtual ~EpisodeSource() = default;
  enum class Next : uint8_t { kGoOn, kStartAnew };
  // Walks through the group's events with from < time <= to, in order (ReadOrder). `visit` is
  // called for each; `holds` with the last event of a time for whose window the condition holds.
  // Events with time <= floor take no part in windows; those in (floor, from] do, unvisited. After
  // kStartAnew no event up to this one does.
  [[nodiscard]] virtual absl::Status Walk(
      std::string_view key, EventTimeNs floor, EventTimeNs from, EventTimeNs to,
      OperatorContext& context,
      absl::FunctionRef<Next(const GroupEvent& event, bool holds)> visit) = 0;
  // The carried fields of an event that Walk has shown.
  [[nodiscard]] virtual absl::Status Payload(std::string_view key, const GroupEvent& event,
                                             std::string* payload) = 0;
  // Adds what the type knows to say: value, threshold.
  virtual void Describe(Incident* incident) const = 0;
};

// The order of events: time, then source and partition by name, then offset; the same on every
// machine. Partitions are numbered as they are met, so their numbers will not do.
bool ReadBefore(EventTimeNs a_time, RecordSeq a_seq, EventTimeNs b_time, RecordSeq b_seq,
                const OperatorContext& context);

class EpisodeBook {
 public:
  // All outlive the book.
  EpisodeBook(const OperatorSpec& spec, const EpisodeOptions& options, EpisodeSource& source);
  [[nodiscard]] absl::Status Open(OperatorContext& context);

  // The windows that end at `first` and at `last` hold (first <= last < first + span), and those of
  // all other hits between them may. Both are at or behind the closing time.
  [[nodiscard]] absl::Status Hit(std::string_view key, EventTimeNs first, EventTimeNs last,
                                 OperatorContext& context);
  // True when an open episode has windows that hold at or before `first` and at or behind `last`:
  // a hit between them is no news.
  [[nodiscard]] absl::Status Covers(std::string_view key, EventTimeNs first, EventTimeNs last,
                                    bool* covers);

  // An incident that is whole as it is: of a window that was decided when it closed. `time`: of
  // what completed it, for readers.
  [[nodiscard]] absl::Status Once(std::string_view key, std::span<const GroupEvent> events,
                                  EventTimeNs time, OperatorContext& context);

  static bool IsTimer(const DueTimer& timer);
  [[nodiscard]] absl::Status OnTimer(const DueTimer& timer, OperatorContext& context);

  // Walk reaches back this far behind the closing time, no further.
  DurationNs events_kept() const {
    return options_.span > kMaxEventTime / 3 ? kMaxEventTime : 3 * options_.span;
  }
  // OperatorSpec::result_delay of an operator that uses a book.
  static DurationNs ResultDelay(const EpisodeOptions& options) {
    return options.reset ? options.span : 0;
  }

 private:
  struct Episode;
  struct Group;
  struct Reading;

  absl::Status Load(std::string_view key, Group* group);
  absl::Status Save(std::string_view key, const Group& group);
  absl::Status LoadReading(std::string_view key, const Episode& episode, Reading* reading);
  absl::Status SaveReading(std::string_view key, Episode* episode, const Reading& reading);
  absl::Status SetTimer(std::string_view key, Episode* episode, EventTimeNs time,
                        OperatorContext& context);
  EventTimeNs FirstTimer(const Episode& episode, const OperatorContext& context) const;
  absl::Status Read(std::string_view key, EventTimeNs last_hit, EventTimeNs from, EventTimeNs to,
                    Reading* reading, OperatorContext& context);
  void Keep(const GroupEvent& event, Reading* reading) const;
  absl::Status FetchPayloads(std::string_view key, Reading* reading);
  absl::Status Merge(std::string_view key, Episode* into, const Episode& other,
                     OperatorContext& context);
  absl::Status PublishEarly(std::string_view key, Episode* episode, OperatorContext& context);
  absl::Status Create(std::string_view key, Group* group, Episode* episode, Reading& reading,
                      EventTimeNs hit, OperatorContext& context);
  Incident MakeIncident(std::string_view key, const Episode& episode, const Reading& reading,
                        Activity activity, std::vector<Evidence>* evidence) const;
  absl::Status ReadOn(std::string_view key, Group* group, size_t at, EventTimeNs now,
                      OperatorContext& context);
  absl::Status ReadResets(std::string_view key, Group* group, size_t at, EventTimeNs now,
                          OperatorContext& context);
  absl::Status End(std::string_view key, Group* group, size_t at);
  absl::Status Cut(std::string_view key, Group* group, size_t at, EventTimeNs now,
                   OperatorContext& context);

  const OperatorSpec& spec_;
  const EpisodeOptions options_;
  EpisodeSource& source_;
  ValueMap* groups_ = nullptr;
  ValueMap* readings_ = nullptr;
};

}  // namespace bongsu::sigma
