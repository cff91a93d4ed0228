// File: operators/sigma/episode_book.h
//
// Episodes: what makes one incident of a burst. A correlation's condition holds for many sliding
// windows (t - span, t] one behind the other; the longest chain of such windows that overlap is one
// episode, and one incident: created once, updated at most once in a span, and once more when it is
// over. Its events are those of its windows, its anchor is the first of them. A chain longer than
// `max_episode` is cut: the next incident has the events behind it.
//
// The operator knows its events and says which windows hold (EpisodeSource); the book keeps the
// episodes of each group, publishes, merges, cuts and forgets them:
//
//   EpisodeBook book(spec, options, source);
//   book.Open(context);
//   book.Examine(key, first, last, context);  // an event has come, and windows may hold
//   book.Arm(key, time, context);       // or: they are looked for when nothing older comes
//   book.OnTimer(timer, context);       // for timers that EpisodeBook::IsTimer knows
//
// How it works.
//   Arrival (`noted`). Where no further event can make a window stop to hold, the windows that the
//   event makes hold are noted in the group, and with `early` an incident is published. An event
//   near windows that are known to hold needs no look: settling sees them.
//   Settling. When the closing time has passed the first of these windows, nothing older can come:
//   the group's events are walked through in order, and episodes are made for good, up to the
//   timer's time. From then on every `step`, as long as the episode is open. What was published on
//   arrival is taken over, with the id that it then got; where two published incidents turn out to
//   be one episode, the older one goes on and the other is closed with `merged_into`.
//   `reset`: each window that holds is an incident of its own, with events that no other has.
//   `suppress`: within this time after an incident's first window, further ones of the group are
//   counted only. Both are decided by settling.
// What is said does not hang on the step, and not on the order of arrival but for what `early`
// published.
//
// State: one value for each group that has something going on, one with the evidence of its open
// episode, one timer. Events are asked for down to closing time - events_kept().
//
// Bounds: kFoundMax windows of a group noted and not settled; beyond, they are joined into one note
// and published when they are settled ("windows_joined").
//
// Thread-safety: one thread. Errors: of the state's handles.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "operators/operator.h"
#include "operators/sigma/episode_state.h"
#include "operators/sigma/evidence_list.h"
#include "operators/sigma/group_event.h"

namespace bongsu::sigma {

// Events whose fields readers of the results get, where evidence_max does not say more.
inline constexpr size_t kForwardedEvidenceMax = 256;

struct EpisodeOptions {
  DurationNs span = 0;
  DurationNs step = 0;        // groups are settled at most this often; part of the span
  DurationNs quiet_step = 0;  // the same where nobody reads the results and incidents are early
  DurationNs max_episode = 0;
  DurationNs suppress = 0;
  DurationNs window_max = 0;  // the longest window that Once is called with
  bool noted = true;          // windows that hold are found on arrival (Examine), else by settling
  bool early = true;          // and published then; not with reset or suppress
  bool reset = false;
  size_t evidence_max = 16;
};

// A window that holds the condition: of the events walked through, [from, to).
struct HeldWindow {
  size_t from = 0;
  size_t to = 0;
  Measured value;
};

// What the book asks of the operator.
class EpisodeSource {
 public:
  virtual ~EpisodeSource() = default;
  // Walks through the windows that end at an event with first <= time <= until, in order, and calls
  // `held` for those that hold. A window that ends at a time has all events of that time. Events up
  // to `floor` count in none, and after `held` has returned true none up to the window's end.
  [[nodiscard]] virtual absl::Status Walk(
      std::string_view key, EventTimeNs floor, EventTimeNs first, EventTimeNs until,
      OperatorContext& context,
      absl::FunctionRef<absl::StatusOr<bool>(const HeldWindow&)> held) = 0;
  // The events of the last walk, in order; at least those of the windows shown.
  virtual const std::vector<GroupEvent>& walked() const = 0;
  // The time of the group's first event with from <= time <= to; kMaxEventTime: there is none.
  [[nodiscard]] virtual absl::Status FirstEvent(std::string_view key, EventTimeNs from,
                                                EventTimeNs to, EventTimeNs* time) = 0;
  // The carried fields of an event.
  [[nodiscard]] virtual absl::Status Payload(std::string_view key, const GroupEvent& event,
                                             std::string* payload) = 0;
  // Adds what the type knows to say: value, threshold. `peak`: the highest value of its windows.
  virtual void Describe(const Measured& peak, Incident* incident) = 0;
};

class EpisodeBook {
 public:
  // All outlive the book.
  EpisodeBook(const OperatorSpec& spec, const EpisodeOptions& options, EpisodeSource& source);
  [[nodiscard]] absl::Status Open(OperatorContext& context);

  // An event is in state, and windows that end at first <= time <= last may hold that did not
  // before.
  [[nodiscard]] absl::Status Examine(std::string_view key, EventTimeNs first, EventTimeNs last,
                                     OperatorContext& context);
  // An event of `time` is in state; what it makes hold is found by settling.
  [[nodiscard]] absl::Status Arm(std::string_view key, EventTimeNs time, OperatorContext& context);

  // An incident that is whole as it is: of a window that was decided when it closed, which began at
  // `start`. `time`: for readers.
  [[nodiscard]] absl::Status Once(std::string_view key, std::span<const GroupEvent> events,
                                  const Measured& value, EventTimeNs start, EventTimeNs time,
                                  OperatorContext& context);

  static bool IsTimer(const DueTimer& timer) { return timer.data == kTimer; }
  [[nodiscard]] absl::Status OnTimer(const DueTimer& timer, OperatorContext& context);

  // A timer may have been set with the other step, before a reload that brought readers.
  DurationNs events_kept() const {
    return AddTime(options_.span, std::max(options_.step, options_.quiet_step) + 1);
  }

 private:
  static constexpr std::string_view kTimer = "e";

  absl::Status GetGroup(std::string_view key, OperatorContext& context, bool* found);
  absl::Status PutGroup(std::string_view key);
  absl::Status SetTimer(std::string_view key, EventTimeNs time, OperatorContext& context);
  EventTimeNs FirstTimer(EventTimeNs end, const OperatorContext& context) const;
  absl::StatusOr<EventTimeNs> NextTimer(std::string_view key, EventTimeNs settled,
                                        const OperatorContext& context);

  absl::Status Note(std::string_view key, const HeldWindow& window, OperatorContext& context);
  absl::Status NoteTimer(std::string_view key, EventTimeNs end, OperatorContext& context);
  absl::Status Publish(std::string_view key, const HeldWindow& window, FoundWindows& found,
                       OperatorContext& context);

  absl::Status SettleEvents(std::string_view key, EventTimeNs until, OperatorContext& context);
  absl::Status Hold(std::string_view key, const HeldWindow& window, OperatorContext& context);
  absl::Status Begin(std::string_view key, const HeldWindow& window, size_t from, bool cut,
                     OperatorContext& context);
  absl::Status Prolong(std::string_view key, const HeldWindow& window, OperatorContext& context);
  absl::Status End(std::string_view key, OperatorContext& context);
  absl::Status TakeOver(std::string_view key, EventTimeNs end, OperatorContext& context,
                        bool* merged);

  // `cut`: from a longer episode; its anchor may be that of a window published on arrival.
  IncidentId Id(std::string_view key, EventTimeNs time, const GroupEvent* anchor, bool cut,
                const OperatorContext& context) const;
  Incident Describe(std::string_view key, const Episode& episode, std::span<const Evidence> views);
  absl::Status Emit(std::string_view key, Activity activity, const Episode& episode,
                    EvidenceList& evidence, OperatorContext& context,
                    const IncidentId* merged_into = nullptr);
  absl::Status Forward(std::string_view key, const Episode& episode,
                       std::span<const GroupEvent> events, EventTimeNs time, ResultKind kind,
                       OperatorContext& context);
  auto Fetcher(std::string_view key);

  const OperatorSpec& spec_;
  const EpisodeOptions options_;
  EpisodeSource& source_;
  DurationNs step_ = 0;
  ValueMap* groups_ = nullptr;
  ValueMap* evidence_map_ = nullptr;
  // Scratch of one call.
  EpisodeGroup group_;
  EvidenceList evidence_;  // of the group's open episode
  std::vector<Evidence> views_;
  std::string scratch_;
};

}  // namespace bongsu::sigma
