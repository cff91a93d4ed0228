// File: operators/sigma/tiled_windows.h
//
// Windows that follow one another, each judged once, when it closes: for conditions that more
// events can make false (lt, lte, eq, neq, ranges) and for `window: tumbling` and `session`.
//
//   tiles     [first, first + timespan) from the group's first event on; the next begins at the
//             first event behind it. With `empty_windows` it begins at once, so that windows
//             without events are seen, too.
//   tumbling  [n * timespan, (n + 1) * timespan) counted from 1970
//   session   from an event on as long as the next one comes within the timespan, and no longer
//             than max_episode
//
// What a window holds, and whether that meets the condition, the correlation says (WindowContents):
//
//   return MakeTiledWindows(spec, {.window = options.window, .span = timespan}, episodes,
//                           std::make_unique<MyContents>(spec));
//
// An incident is whole when it is written: it is never updated.
//
// State: the group's events, and where its window begins; one timer for each group that has one
// open. A window is walked through once; a session once for each timespan that it lasts.
//
// Thread-safety: as every operator, one thread. Errors: of the state's handles.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "operators/operator.h"
#include "operators/sigma/correlation.h"
#include "operators/sigma/episode_book.h"
#include "operators/sigma/group_event.h"

namespace bongsu::sigma {

// The events of the groups, in state.
class WindowContents {
 public:
  virtual ~WindowContents() = default;
  [[nodiscard]] virtual absl::Status Open(OperatorContext& context) = 0;
  // Keeps the event, or counts why not.
  [[nodiscard]] virtual absl::Status Put(const Input& input, OperatorContext& context,
                                         bool* kept) = 0;
  // The time of the group's first event with from <= time <= to; kMaxEventTime: there is none.
  [[nodiscard]] virtual absl::Status First(std::string_view key, EventTimeNs from, EventTimeNs to,
                                           EventTimeNs* time) = 0;
  // The group's events with from <= time <= to: what the next three speak of.
  [[nodiscard]] virtual absl::Status Load(std::string_view key, EventTimeNs from, EventTimeNs to,
                                          OperatorContext& context) = 0;
  virtual const std::vector<GroupEvent>& all() const = 0;  // in order
  virtual bool Holds(Measured* value) = 0;                 // the condition, and what was measured
  virtual std::span<const GroupEvent> evidence() const { return all(); }
  // The carried fields of an event.
  [[nodiscard]] virtual absl::Status Payload(std::string_view key, const GroupEvent& event,
                                             std::string* payload) = 0;
  // Adds what the type knows to say: value, threshold.
  virtual void Describe(const Measured& value, Incident* incident) = 0;
  virtual void ExpireBefore(EventTimeNs time) = 0;
};

struct TileOptions {
  CorrelationWindow window = CorrelationWindow::kSliding;  // kSliding: tiles
  DurationNs span = 0;
  DurationNs session_max = 0;
  bool empty_windows = false;
  // More events can make the condition false. Then it is not judged of windows that the operator
  // has not seen whole (OperatorContext::complete_from); counted as `windows_seen_in_part`.
  bool more_can_break = false;
};

// `spec` outlives the operator.
std::unique_ptr<Operator> MakeTiledWindows(const OperatorSpec& spec, const TileOptions& options,
                                           const EpisodeOptions& episodes,
                                           std::unique_ptr<WindowContents> contents);

}  // namespace bongsu::sigma
