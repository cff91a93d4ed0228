#include "operators/sigma/episode_book.h"

#include <algorithm>

#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu::sigma {
namespace {

constexpr size_t kFoundMax = 256;

}  // namespace

EpisodeBook::EpisodeBook(const OperatorSpec& spec, const EpisodeOptions& options,
                         EpisodeSource& source)
    : spec_(spec), options_(options), source_(source), evidence_(options.evidence_max) {
  BONGSU_CHECK(options_.span > 0 && options_.step > 0);
  BONGSU_CHECK(!options_.early || (options_.noted && !options_.reset && options_.suppress == 0));
}

absl::Status EpisodeBook::Open(OperatorContext& context) {
  step_ = options_.early && !context.has_readers() ? std::max(options_.step, options_.quiet_step)
                                                   : options_.step;
  BONGSU_ASSIGN_OR_RETURN(groups_, context.state().OpenValueMap(context.operator_id(), "groups"));
  BONGSU_ASSIGN_OR_RETURN(evidence_map_,
                          context.state().OpenValueMap(context.operator_id(), "evidence"));
  return absl::OkStatus();
}

auto EpisodeBook::Fetcher(std::string_view key) {
  return [this, key](const GroupEvent& event, std::string* payload) {
    return source_.Payload(key, event, payload);
  };
}

absl::Status EpisodeBook::GetGroup(std::string_view key, OperatorContext& context, bool* found) {
  BONGSU_RETURN_IF_ERROR(groups_->Get(key, &scratch_, found));
  if (*found) {
    group_ = EpisodeGroup::Decode(scratch_);
  } else {
    group_ = EpisodeGroup{};
    // What is older was settled with the group that was here before, or has nothing to settle.
    group_.settled = AddTime(context.closing_time(), -1);
  }
  return absl::OkStatus();
}

absl::Status EpisodeBook::PutGroup(std::string_view key) {
  scratch_.clear();
  group_.Encode(&scratch_);
  return groups_->Put(key, scratch_);
}

absl::Status EpisodeBook::SetTimer(std::string_view key, EventTimeNs time,
                                   OperatorContext& context) {
  group_.timer = time;
  return context.timers().Set(time, key, kTimer);
}

// Nothing is to be done at the first window's end where the incident is out and nobody reads it.
EventTimeNs EpisodeBook::FirstTimer(EventTimeNs end, const OperatorContext& context) const {
  return options_.early && !context.has_readers() ? AddTime(end, step_) : end;
}

absl::Status EpisodeBook::Examine(std::string_view key, EventTimeNs first, EventTimeNs last,
                                  OperatorContext& context) {
  bool found = false;
  BONGSU_RETURN_IF_ERROR(GetGroup(key, context, &found));
  EventTimeNs before = kMinEventTime;  // the end of the last window that is known to hold
  EventTimeNs covered = kMinEventTime;
  for (const FoundWindows& one : group_.found) {
    if (one.last < first) before = std::max(before, one.last);
    if (first < one.first || first >= AddTime(one.last, options_.span)) continue;
    covered = std::max(covered, AddTime(one.last, options_.span));
  }
  if (const Episode& episode = group_.episode; episode.open) {
    before = std::max(before, episode.known_last);
    if (first < AddTime(episode.known_last, options_.span))
      covered = std::max(covered, AddTime(episode.known_last, options_.span));
  }
  // Windows less than a span behind the last known one may hold without a note (they were covered).
  if (before != kMinEventTime && first < AddTime(before, 2 * options_.span))
    first = std::min(first, AddTime(before, 1));
  if (covered != kMinEventTime) {
    // Settling looks at all windows that overlap those known to hold. There may be others, of newer
    // events that have come already.
    EventTimeNs newer = 0;
    BONGSU_RETURN_IF_ERROR(source_.FirstEvent(key, covered, last, &newer));
    if (newer == kMaxEventTime) return absl::OkStatus();
    first = covered;
  }
  first = std::max(first, AddTime(group_.settled, 1));
  bool noted = false;
  const auto note = [&](const HeldWindow& window) -> absl::StatusOr<bool> {
    noted = true;
    BONGSU_RETURN_IF_ERROR(Note(key, window, context));
    return false;
  };
  BONGSU_RETURN_IF_ERROR(source_.Walk(key, kMinEventTime, first, last, context, note));
  return noted ? PutGroup(key) : absl::OkStatus();
}

absl::Status EpisodeBook::NoteTimer(std::string_view key, EventTimeNs end,
                                    OperatorContext& context) {
  const EventTimeNs due = FirstTimer(end, context);
  return due < group_.timer || group_.timer <= group_.settled ? SetTimer(key, due, context)
                                                              : absl::OkStatus();
}

absl::Status EpisodeBook::Note(std::string_view key, const HeldWindow& window,
                               OperatorContext& context) {
  const EventTimeNs end = source_.walked()[window.to - 1].time;
  Episode& episode = group_.episode;
  if (episode.open && end < AddTime(episode.known_last, options_.span)) {
    episode.known_last = std::max(episode.known_last, end);
    return absl::OkStatus();
  }
  for (FoundWindows& one : group_.found) {
    if (end <= AddTime(one.first, -options_.span) || end >= AddTime(one.last, options_.span))
      continue;
    one.last = std::max(one.last, end);
    if (end >= one.first) return absl::OkStatus();
    one.first = end;
    return NoteTimer(key, end, context);
  }
  if (group_.found.size() >= kFoundMax) {
    context.Count("windows_joined", 1);
    FoundWindows& one = group_.found.back();
    one.first = std::min(one.first, end);
    one.last = std::max(one.last, end);
  } else {
    FoundWindows& one = group_.found.emplace_back();
    one.first = one.last = end;
    if (options_.early) BONGSU_RETURN_IF_ERROR(Publish(key, window, one, context));
  }
  return NoteTimer(key, end, context);
}

// The events known now; those that come later are in the updates.
absl::Status EpisodeBook::Publish(std::string_view key, const HeldWindow& window,
                                  FoundWindows& found, OperatorContext& context) {
  const std::vector<GroupEvent>& events = source_.walked();
  Episode episode;
  episode.anchor = {events[window.from].time, events[window.from].seq};
  episode.id = Id(key, episode.anchor.time, &events[window.from], /*cut=*/false, context);
  episode.last = events[window.to - 1].time;
  episode.event_count = window.to - window.from;
  episode.peak = window.value;
  EvidenceList listed(options_.evidence_max);
  listed.AddAll(std::span(events).subspan(window.from, window.to - window.from));
  BONGSU_RETURN_IF_ERROR(Emit(key, Activity::kCreate, episode, listed, context));
  found.published = true;
  found.id = episode.id;
  found.order = group_.next_order++;
  found.count = episode.event_count;
  return absl::OkStatus();
}

absl::Status EpisodeBook::Arm(std::string_view key, EventTimeNs time, OperatorContext& context) {
  bool found = false;
  BONGSU_RETURN_IF_ERROR(GetGroup(key, context, &found));
  const EventTimeNs due = found ? std::max(time, AddTime(group_.settled, step_)) : time;
  if (found && group_.timer <= due) return absl::OkStatus();
  BONGSU_RETURN_IF_ERROR(SetTimer(key, due, context));
  return PutGroup(key);
}

absl::Status EpisodeBook::OnTimer(const DueTimer& timer, OperatorContext& context) {
  bool found = false;
  BONGSU_RETURN_IF_ERROR(GetGroup(timer.key, context, &found));
  const EventTimeNs until = timer.time;
  if (!found || group_.timer != until) return absl::OkStatus();  // replaced by an earlier one
  // Of windows that are decided one by one there is only the suppression to forget.
  if (options_.window_max > 0) return groups_->Erase(timer.key);
  const bool was_open = group_.episode.open;
  evidence_.Clear();
  if (was_open) {
    BONGSU_RETURN_IF_ERROR(evidence_map_->Get(timer.key, &scratch_, &found));
    if (found) evidence_.Decode(scratch_);
  }
  BONGSU_RETURN_IF_ERROR(SettleEvents(timer.key, until, context));
  if (group_.episode.open) {
    BONGSU_RETURN_IF_ERROR(evidence_.Fetch(Fetcher(timer.key)));
    scratch_.clear();
    evidence_.Encode(&scratch_);
    BONGSU_RETURN_IF_ERROR(evidence_map_->Put(timer.key, scratch_));
  } else if (was_open) {
    BONGSU_RETURN_IF_ERROR(evidence_map_->Erase(timer.key));
  }
  BONGSU_ASSIGN_OR_RETURN(const EventTimeNs next, NextTimer(timer.key, until, context));
  if (next == kMaxEventTime) return groups_->Erase(timer.key);
  BONGSU_RETURN_IF_ERROR(SetTimer(timer.key, next, context));
  return PutGroup(timer.key);
}

// Everything up to `until` is final.
absl::Status EpisodeBook::SettleEvents(std::string_view key, EventTimeNs until,
                                       OperatorContext& context) {
  EventTimeNs first = AddTime(group_.settled, 1);
  if (options_.noted && !group_.episode.open) {
    EventTimeNs noted = kMaxEventTime;
    for (const FoundWindows& one : group_.found) noted = std::min(noted, one.first);
    first = std::max(first, noted);
  }
  const auto hold = [&](const HeldWindow& window) -> absl::StatusOr<bool> {
    BONGSU_RETURN_IF_ERROR(Hold(key, window, context));
    return options_.reset;
  };
  if (first <= until)
    BONGSU_RETURN_IF_ERROR(source_.Walk(key, group_.reset, first, until, context, hold));
  group_.settled = until;
  if (group_.episode.open && until >= AddTime(group_.episode.last, options_.span - 1))
    BONGSU_RETURN_IF_ERROR(End(key, context));
  // With `reset` no open episode leads to the windows behind a note that have none.
  const DurationNs behind = options_.reset ? options_.span - 1 : 0;
  std::erase_if(group_.found,
                [&](const FoundWindows& one) { return AddTime(one.last, behind) <= until; });
  if (AddTime(group_.reset, options_.span) <= until) group_.reset = kMinEventTime;
  return absl::OkStatus();
}

absl::StatusOr<EventTimeNs> EpisodeBook::NextTimer(std::string_view key, EventTimeNs settled,
                                                   const OperatorContext& context) {
  EventTimeNs next = kMaxEventTime;
  const EventTimeNs step = AddTime(settled, step_);
  if (group_.episode.open) next = std::min(next, step);
  for (const FoundWindows& one : group_.found)
    next = std::min(next, one.first > settled ? FirstTimer(one.first, context) : step);
  if (!options_.noted) {
    EventTimeNs event = 0;
    BONGSU_RETURN_IF_ERROR(source_.FirstEvent(key, AddTime(settled, 1), kMaxEventTime, &event));
    if (event != kMaxEventTime) next = std::min(next, std::max(event, step));
  }
  if (group_.reset != kMinEventTime)
    next = std::min(next, std::max(step, AddTime(group_.reset, options_.span)));
  if (group_.suppressed_until > settled) next = std::min(next, group_.suppressed_until);
  return next;
}

absl::Status EpisodeBook::Hold(std::string_view key, const HeldWindow& window,
                               OperatorContext& context) {
  const std::vector<GroupEvent>& events = source_.walked();
  Episode& episode = group_.episode;
  const EventTimeNs end = events[window.to - 1].time;
  size_t from = window.from;
  bool cut = false;
  if (episode.open && end < AddTime(episode.last, options_.span)) {
    if (end - episode.anchor.time <= options_.max_episode) return Prolong(key, window, context);
    // Its events stay its own: the next one begins behind them.
    while (events[from].time <= episode.last) ++from;
    cut = true;
    context.Count("episodes_cut", 1);
    // What was published on arrival may have had events from behind the cut.
    if (options_.early && episode.updated == episode.completed) episode.count_published = 0;
  }
  if (episode.open) BONGSU_RETURN_IF_ERROR(End(key, context));
  BONGSU_RETURN_IF_ERROR(Begin(key, window, from, cut, context));
  if (!options_.reset) return absl::OkStatus();
  group_.reset = end;
  return End(key, context);
}

absl::Status EpisodeBook::Begin(std::string_view key, const HeldWindow& window, size_t from,
                                bool cut, OperatorContext& context) {
  const std::span<const GroupEvent> events =
      std::span(source_.walked()).subspan(from, window.to - from);
  Episode& episode = group_.episode;
  const EventTimeNs end = events.back().time;
  episode = Episode{};
  episode.open = true;
  episode.anchor = {events.front().time, events.front().seq};
  episode.completed = episode.last = episode.known_last = episode.updated = end;
  episode.event_count = events.size();
  episode.peak = window.value;
  evidence_.Clear();
  evidence_.AddAll(events);
  bool merged = false;
  BONGSU_RETURN_IF_ERROR(TakeOver(key, end, context, &merged));
  // What was published of it on arrival had events of the one before, too.
  if (cut) episode.count_published = 0;
  if (!episode.published) {
    episode.id = Id(key, episode.anchor.time, &events.front(), cut, context);
    episode.order = group_.next_order++;
    episode.suppressed = end < group_.suppressed_until;
    if (episode.suppressed) {
      context.Count("suppressed", 1);
      return absl::OkStatus();
    }
    if (options_.suppress > 0) group_.suppressed_until = AddTime(end, options_.suppress);
    episode.published = true;
    episode.count_published = episode.event_count;
    BONGSU_RETURN_IF_ERROR(Emit(key, Activity::kCreate, episode, evidence_, context));
  }
  return Forward(key, episode, events, end, ResultKind::kBegun, context);
}

absl::Status EpisodeBook::Prolong(std::string_view key, const HeldWindow& window,
                                  OperatorContext& context) {
  const std::vector<GroupEvent>& events = source_.walked();
  Episode& episode = group_.episode;
  size_t added = window.to;
  while (added > window.from && events[added - 1].time > episode.last) --added;
  const EventTimeNs end = events[window.to - 1].time;
  evidence_.AddAll(std::span(events).subspan(added, window.to - added));
  episode.event_count += window.to - added;
  episode.last = end;
  episode.known_last = std::max(episode.known_last, end);
  if (Less(episode.peak, window.value)) episode.peak = window.value;
  bool merged = false;
  BONGSU_RETURN_IF_ERROR(TakeOver(key, end, context, &merged));
  if (!episode.published || episode.suppressed) return absl::OkStatus();
  if (added < window.to)
    BONGSU_RETURN_IF_ERROR(Forward(key, episode,
                                   std::span(events).subspan(added, window.to - added), end,
                                   ResultKind::kGoesOn, context));
  const bool due = end >= AddTime(episode.updated, options_.span) &&
                   episode.event_count != episode.count_published;
  if (!due && !merged) return absl::OkStatus();
  episode.updated = end;
  episode.count_published = episode.event_count;
  return Emit(key, Activity::kUpdate, episode, evidence_, context);
}

// What was published on arrival becomes the episode's; two incidents may have become one.
absl::Status EpisodeBook::TakeOver(std::string_view key, EventTimeNs end, OperatorContext& context,
                                   bool* merged) {
  Episode& episode = group_.episode;
  for (FoundWindows& one : group_.found) {
    if (one.first > end) continue;
    episode.known_last = std::max(episode.known_last, one.last);
    if (!one.published) continue;
    one.published = false;
    if (!episode.published) {
      episode.published = true;
      episode.id = one.id;
      episode.order = one.order;
      episode.count_published = one.count;
      continue;
    }
    IncidentId closed = one.id;
    if (one.order < episode.order) {
      std::swap(closed, episode.id);
      episode.order = one.order;
    }
    Episode gone = episode;
    gone.id = closed;
    BONGSU_RETURN_IF_ERROR(Emit(key, Activity::kClose, gone, evidence_, context, &episode.id));
    context.Count("merged", 1);
    *merged = true;
  }
  if (options_.reset) return absl::OkStatus();  // notes say no more than where to look
  std::erase_if(group_.found, [&](const FoundWindows& one) {
    return one.first <= end && one.last <= episode.known_last;
  });
  return absl::OkStatus();
}

absl::Status EpisodeBook::End(std::string_view key, OperatorContext& context) {
  Episode& episode = group_.episode;
  if (episode.published && !episode.suppressed && episode.event_count != episode.count_published)
    BONGSU_RETURN_IF_ERROR(Emit(key, Activity::kUpdate, episode, evidence_, context));
  // Windows that were joined to it by a full note and are none of its own: from its end on there
  // may be several incidents.
  if (!options_.reset && episode.known_last > episode.last)
    group_.found.push_back({AddTime(episode.last, 1), episode.known_last});
  episode = Episode{};
  evidence_.Clear();
  return absl::OkStatus();
}

absl::Status EpisodeBook::Once(std::string_view key, std::span<const GroupEvent> events,
                               const Measured& value, EventTimeNs start, EventTimeNs time,
                               OperatorContext& context) {
  if (options_.suppress > 0) {
    bool found = false;
    BONGSU_RETURN_IF_ERROR(GetGroup(key, context, &found));
    if (start < group_.suppressed_until) {
      context.Count("suppressed", 1);
      return absl::OkStatus();
    }
    group_.suppressed_until = AddTime(start, options_.suppress);
    // A window is judged when it closes.
    BONGSU_RETURN_IF_ERROR(
        SetTimer(key, AddTime(group_.suppressed_until, options_.window_max), context));
    BONGSU_RETURN_IF_ERROR(PutGroup(key));
  }
  const GroupEvent* first = events.empty() ? nullptr : &events.front();
  Episode episode;
  episode.anchor.time = episode.last = start;
  if (first != nullptr) {
    episode.anchor = {first->time, first->seq};
    episode.last = events.back().time;
  }
  episode.id = Id(key, episode.anchor.time, first, /*cut=*/false, context);
  episode.event_count = events.size();
  episode.peak = value;
  EvidenceList listed(options_.evidence_max);
  listed.AddAll(events);
  BONGSU_RETURN_IF_ERROR(Emit(key, Activity::kCreate, episode, listed, context));
  return Forward(key, episode, events, time, ResultKind::kBegun, context);
}

IncidentId EpisodeBook::Id(std::string_view key, EventTimeNs time, const GroupEvent* anchor,
                           bool cut, const OperatorContext& context) const {
  IncidentAnchor named;
  named.rule = spec_.rule().name;
  named.rule_hash = spec_.semantic_hash();
  named.key = key;
  named.time = time;
  if (anchor != nullptr) {
    named.origin = context.origin(anchor->seq);
    named.offset = SeqOffset(anchor->seq);
  }
  if (cut) named.second_origin = "max_episode";
  return MakeIncidentId(named);
}

Incident EpisodeBook::Describe(std::string_view key, const Episode& episode,
                               std::span<const Evidence> views) {
  Incident incident;
  incident.id = episode.id;
  incident.key = key;
  incident.first_time = incident.anchor_time = episode.anchor.time;
  incident.last_time = episode.last;
  incident.event_count = episode.event_count;
  incident.evidence = views;
  incident.evidence_dropped = episode.event_count - views.size();
  source_.Describe(episode.peak, &incident);
  return incident;
}

absl::Status EpisodeBook::Emit(std::string_view key, Activity activity, const Episode& episode,
                               EvidenceList& evidence, OperatorContext& context,
                               const IncidentId* merged_into) {
  BONGSU_RETURN_IF_ERROR(evidence.Fetch(Fetcher(key)));
  Incident incident = Describe(key, episode, evidence.Views(&views_));
  incident.activity = activity;
  if (merged_into != nullptr) {
    incident.merged = true;
    incident.merged_into = *merged_into;
  }
  context.Emit(incident);
  return absl::OkStatus();
}

// To the operators above, with more events than an alert has: those of the first window, then each
// time those that have come to it. So who asks whether there is an incident within a time sees one
// that has been going on for longer, at its every event.
absl::Status EpisodeBook::Forward(std::string_view key, const Episode& episode,
                                  std::span<const GroupEvent> events, EventTimeNs time,
                                  ResultKind kind, OperatorContext& context) {
  if (!(kind == ResultKind::kBegun ? context.has_readers() : context.has_followers()))
    return absl::OkStatus();
  EvidenceList listed(std::max(options_.evidence_max, kForwardedEvidenceMax));
  listed.AddAll(events);
  if (events.size() > listed.size()) context.Count("evidence_for_readers_capped", 1);
  BONGSU_RETURN_IF_ERROR(listed.Fetch(Fetcher(key)));
  context.Forward(Describe(key, episode, listed.Views(&views_)), time, kind);
  return absl::OkStatus();
}

}  // namespace bongsu::sigma
