#include "operators/sigma/correlation_sliding.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "operators/sigma/correlation_group.h"
#include "operators/sigma/correlation_runs.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu::sigma {
namespace {

// Of one group: windows noted between arrival and settling. Beyond it they are joined into one note
// and published when they are settled.
constexpr size_t kFoundMax = 64;
// Events whose fields readers of the results get.
constexpr size_t kForwardedEvidenceMax = 64;
// A bucket narrower than this only makes more of them.
constexpr DurationNs kBucketNsMin = kSecondNs;

struct WindowEvent {
  EntryId id;
  uint32_t first_digest = 0;  // into Sliding::digests_
  uint32_t digests = 0;
};

bool Before(const EntryId& a, const EntryId& b) {
  return a.time != b.time ? a.time < b.time : a.seq < b.seq;
}

class Sliding : public Operator {
 public:
  explicit Sliding(const AggregateSpec& spec)
      : spec_(spec),
        options_(spec.options()),
        span_(spec.timespan()),
        step_(spec.settle_step()),
        least_(std::max<uint64_t>(1, spec.comparisons().least())),
        measure_(MakeMeasure(spec.correlation(), spec.options().values_max)),
        reader_(spec.correlation()) {}

  absl::Status Open(OperatorContext& context) override {
    const DurationNs bucket = std::max(kBucketNsMin, span_);
    ShardState& state = context.state();
    BONGSU_ASSIGN_OR_RETURN(events_, state.OpenTimeList(context.operator_id(), "events", bucket));
    BONGSU_ASSIGN_OR_RETURN(groups_, state.OpenValueMap(context.operator_id(), "groups"));
    BONGSU_ASSIGN_OR_RETURN(evidence_map_, state.OpenValueMap(context.operator_id(), "evidence"));
    if (spec_.correlation().type == CorrelationType::kValueCount && spec_.found_on_arrival()) {
      BONGSU_ASSIGN_OR_RETURN(TimeList * list,
                              state.OpenTimeList(context.operator_id(), "runs", bucket));
      runs_.emplace(list, span_, bucket);
    }
    return absl::OkStatus();
  }

  absl::Status Process(std::span<const Input> batch, OperatorContext& context) override {
    for (const Input& input : batch) BONGSU_RETURN_IF_ERROR(OnEvent(input, context));
    return absl::OkStatus();
  }

  absl::Status OnTimer(const DueTimer& timer, OperatorContext& context) override {
    return Settle(timer.key, timer.time, context);
  }

  absl::Status OnWatermark(OperatorContext& context) override {
    const EventTimeNs closing = context.closing_time();
    events_->ExpireBefore(Oldest(closing));
    if (runs_) runs_->Expire(AddTime(closing, -2 * span_));
    return absl::OkStatus();
  }

 private:
  EventTimeNs Oldest(EventTimeNs closing) const {
    return AddTime(AddTime(closing, -span_), -(step_ + 1));
  }

  // On arrival.
  absl::Status OnEvent(const Input& input, OperatorContext& context);
  absl::Status MayHold(const Input& input, std::span<const Digest> digests, uint64_t near,
                       OperatorContext& context, bool* may);
  absl::Status PutBound(std::string_view key, OperatorContext& context);
  absl::Status Examine(std::string_view key, EventTimeNs time, OperatorContext& context);
  absl::Status Note(std::string_view key, EventTimeNs end, size_t from, size_t to,
                    CorrelationGroup& group, OperatorContext& context);
  absl::Status Publish(std::string_view key, size_t from, size_t to, FoundWindows& found,
                       CorrelationGroup& group, OperatorContext& context);
  absl::Status Arm(std::string_view key, EventTimeNs time, OperatorContext& context);

  // When nothing older can come.
  absl::Status Settle(std::string_view key, EventTimeNs until, OperatorContext& context);
  absl::Status Hold(std::string_view key, size_t from, size_t to, CorrelationGroup& group,
                    OperatorContext& context);
  absl::Status Begin(std::string_view key, size_t from, size_t to, bool cut,
                     CorrelationGroup& group, OperatorContext& context);
  absl::Status Prolong(std::string_view key, size_t from, size_t to, CorrelationGroup& group,
                       OperatorContext& context);
  absl::Status End(std::string_view key, CorrelationGroup& group, OperatorContext& context);
  bool TakeOver(std::string_view key, EventTimeNs end, CorrelationGroup& group,
                OperatorContext& context);
  absl::StatusOr<EventTimeNs> NextTimer(std::string_view key, EventTimeNs settled,
                                        const CorrelationGroup& group);

  absl::Status GetGroup(std::string_view key, OperatorContext& context, CorrelationGroup* group,
                        bool* found);
  absl::Status PutGroup(std::string_view key, const CorrelationGroup& group) {
    scratch_.clear();
    group.Encode(&scratch_);
    return groups_->Put(key, scratch_);
  }
  absl::Status SetTimer(std::string_view key, EventTimeNs time, CorrelationGroup& group,
                        OperatorContext& context) {
    group.timer = time;
    return context.timers().Set(time, key, "");
  }

  // The group's events with from <= time <= to into `events_in_order_`.
  absl::Status Load(std::string_view key, EventTimeNs from, EventTimeNs to);
  // Slides the window over what was loaded; calls `judge(from, to)` with the window's events
  // [from, to) for each that ends at `first` or later, until it returns false.
  template <typename F>
  absl::Status Slide(EventTimeNs first, bool each_event, F judge);
  // The window that ends at `end`, where the events loaded begin with it.
  Measured ValueOfFirst(EventTimeNs end);
  // The first events of [from, to), `most` at most, and the last of them.
  absl::Status Fetch(std::string_view key, size_t from, size_t to, size_t most,
                     std::vector<KeptEvidence>* out);
  void AddEvidence(std::vector<KeptEvidence> more);
  // `cut`: from a longer episode; its anchor may be that of a window published on arrival.
  IncidentId Id(std::string_view key, const EntryId& anchor, bool cut, OperatorContext& context);
  void Emit(std::string_view key, Activity activity, const Episode& episode,
            OperatorContext& context, const IncidentId* merged_into = nullptr);

  const AggregateSpec& spec_;
  const CorrelationOptions& options_;
  const DurationNs span_;
  const DurationNs step_;
  const uint64_t least_;  // events that a window needs
  std::unique_ptr<Measure> measure_;
  DigestReader reader_;
  TimeList* events_ = nullptr;
  ValueMap* groups_ = nullptr;
  ValueMap* evidence_map_ = nullptr;
  std::optional<ValueRuns> runs_;

  // Scratch of one call.
  std::vector<WindowEvent> events_in_order_;
  std::vector<Digest> digests_;
  std::vector<KeptEvidence> evidence_;  // of the group's open episode
  std::vector<Evidence> views_;
  std::string scratch_;
  std::string value_text_;
};

absl::Status Sliding::GetGroup(std::string_view key, OperatorContext& context,
                               CorrelationGroup* group, bool* found) {
  BONGSU_RETURN_IF_ERROR(groups_->Get(key, &scratch_, found));
  if (*found) {
    *group = CorrelationGroup::Decode(scratch_);
  } else {
    *group = CorrelationGroup{};
    // What is older was settled with the group that was here before, or has nothing to settle.
    group->settled = AddTime(context.closing_time(), -1);
  }
  return absl::OkStatus();
}

absl::Status Sliding::Load(std::string_view key, EventTimeNs from, EventTimeNs to) {
  events_in_order_.clear();
  digests_.clear();
  return events_->Scan(key, from, to, [this](TimeListCursor& entry) {
    const Member member = DecodeMember(entry.value());
    WindowEvent& event = events_in_order_.emplace_back();
    event.id = {entry.time(), entry.seq()};
    event.first_digest = static_cast<uint32_t>(digests_.size());
    event.digests = static_cast<uint32_t>(member.digests.size() / sizeof(Digest));
    digests_.resize(digests_.size() + event.digests);
    std::copy(member.digests.begin(), member.digests.end(),
              reinterpret_cast<char*>(digests_.data() + event.first_digest));
    return true;
  });
}

template <typename F>
absl::Status Sliding::Slide(EventTimeNs first, bool each_event, F judge) {
  const auto digests = [this](const WindowEvent& event) {
    return std::span<const Digest>(digests_).subspan(event.first_digest, event.digests);
  };
  measure_->Clear();
  size_t from = 0;
  for (size_t i = 0; i < events_in_order_.size(); ++i) {
    const WindowEvent& event = events_in_order_[i];
    for (const EventTimeNs out = AddTime(event.id.time, -span_);
         events_in_order_[from].id.time <= out; ++from)
      measure_->Remove(digests(events_in_order_[from]));
    measure_->Add(digests(event));
    // A window that ends at t holds all events of t.
    const bool last_of_time =
        i + 1 == events_in_order_.size() || events_in_order_[i + 1].id.time != event.id.time;
    if (event.id.time < first || (!each_event && !last_of_time)) continue;
    bool start_anew = false;
    BONGSU_RETURN_IF_ERROR(judge(from, i + 1, &start_anew));
    if (!start_anew) continue;
    measure_->Clear();
    from = i + 1;
  }
  return absl::OkStatus();
}

Measured Sliding::ValueOfFirst(EventTimeNs end) {
  measure_->Clear();
  for (const WindowEvent& event : events_in_order_) {
    if (event.id.time > end) break;
    measure_->Add(std::span<const Digest>(digests_).subspan(event.first_digest, event.digests));
  }
  return measure_->value();
}

absl::Status Sliding::OnEvent(const Input& input, OperatorContext& context) {
  std::span<const Digest> digests;
  if (spec_.has_values()) {
    digests = reader_.Read(input.payload, spec_.value_positions(input.port));
    if (reader_.capped()) context.Count("values_of_event_capped", 1);
    if (digests.empty()) {
      context.Count("value_missing", 1);
      return absl::OkStatus();
    }
  }
  uint64_t near = 0;
  BONGSU_RETURN_IF_ERROR(events_->Count(input.key, AddTime(input.time, 1 - span_),
                                        AddTime(input.time, span_ - 1), &near));
  if (near >= options_.events_max) {
    context.Count("events_capped", 1);
    return absl::OkStatus();
  }
  scratch_.clear();
  EncodeMember(input.port, digests, input.payload, &scratch_);
  BONGSU_RETURN_IF_ERROR(events_->Put(input.key, {input.time, input.seq}, scratch_));
  ++near;
  if (!spec_.found_on_arrival()) return Arm(input.key, input.time, context);
  bool may = near >= least_;
  if (runs_) BONGSU_RETURN_IF_ERROR(MayHold(input, digests, near, context, &may));
  return may ? Examine(input.key, input.time, context) : absl::OkStatus();
}

absl::Status Sliding::MayHold(const Input& input, std::span<const Digest> digests, uint64_t near,
                              OperatorContext& context, bool* may) {
  if (near < least_ / 2 || (near < least_ && least_ < ValueRuns::kTrackedMin))
    return absl::OkStatus();
  BONGSU_RETURN_IF_ERROR(runs_->Get(input.key));
  ValueRuns::Bound& bound = runs_->bound();
  bool very_late = false;
  bool tracked = bound.found && Oldest(context.closing_time()) <= bound.from;
  if (tracked) {
    uint64_t events = 0;
    BONGSU_RETURN_IF_ERROR(events_->Count(input.key, bound.from, kMaxEventTime, &events));
    tracked = events == bound.events + 1;
  }
  if (!tracked) {
    if (near < least_) return absl::OkStatus();
    // `most` is counted by Examine; until then it is certainly no more than this.
    BONGSU_RETURN_IF_ERROR(Load(input.key, AddTime(input.time, 1 - 2 * span_), kMaxEventTime));
    for (const WindowEvent& event : events_in_order_) {
      BONGSU_RETURN_IF_ERROR(
          runs_->Add(input.key, event.id.time,
                     std::span<const Digest>(digests_).subspan(event.first_digest, event.digests)));
    }
    bound.most = digests_.size();
  } else {
    very_late = input.time < bound.low();
    BONGSU_RETURN_IF_ERROR(runs_->Add(input.key, input.time, digests));
  }
  BONGSU_RETURN_IF_ERROR(PutBound(input.key, context));
  *may = near >= least_ && (!tracked || very_late || bound.most >= least_);
  return absl::OkStatus();
}

absl::Status Sliding::PutBound(std::string_view key, OperatorContext& context) {
  // An event affects windows that end less than a span behind it; those of interest end above the
  // bound's `low` and not below the closing time.
  const EventTimeNs from = std::max(AddTime(runs_->bound().newest, 1 - 2 * span_),
                                    AddTime(context.closing_time(), 1 - span_));
  uint64_t events = 0;
  BONGSU_RETURN_IF_ERROR(events_->Count(key, from, kMaxEventTime, &events));
  return runs_->PutBound(key, from, events);
}

absl::Status Sliding::Examine(std::string_view key, EventTimeNs time, OperatorContext& context) {
  CorrelationGroup group;
  bool found = false;
  BONGSU_RETURN_IF_ERROR(GetGroup(key, context, &group, &found));
  EventTimeNs last = AddTime(time, span_ - 1);
  EventTimeNs before = kMinEventTime;  // the end of the last window that is known to hold
  EventTimeNs covered = kMinEventTime;
  for (const FoundWindows& one : group.found) {
    if (one.last < time) before = std::max(before, one.last);
    if (time < one.first || time >= AddTime(one.last, span_)) continue;
    covered = std::max(covered, AddTime(one.last, span_));
  }
  if (group.episode.open) {
    before = std::max(before, group.episode.known_last);
    if (time < AddTime(group.episode.known_last, span_))
      covered = std::max(covered, AddTime(group.episode.known_last, span_));
  }
  EventTimeNs first = before == kMinEventTime ? time : AddTime(before, 1);
  if (covered != kMinEventTime) {
    // Settling looks at all windows that overlap those known to hold. There may be others, of newer
    // events that have come already.
    uint64_t newer = 0;
    BONGSU_RETURN_IF_ERROR(events_->Count(key, covered, last, &newer));
    if (newer == 0) return absl::OkStatus();
    first = covered;
  } else if (runs_) {
    first = std::min(first, AddTime(runs_->bound().newest, 1 - span_));
    last = std::max(last, runs_->bound().newest);
  }
  first = std::max(first, AddTime(group.settled, 1));
  BONGSU_RETURN_IF_ERROR(Load(key, AddTime(first, 1 - span_), last));
  if (events_in_order_.size() < least_ && !runs_) return absl::OkStatus();
  bool noted = false;
  // Of the windows that end at no event yet none has more values than one that ends at an event
  // before it, or than the first one here.
  Measured most = ValueOfFirst(first);
  BONGSU_RETURN_IF_ERROR(Slide(first, false, [&](size_t from, size_t to, bool*) {
    const Measured value = measure_->value();
    if (Less(most, value)) most = value;
    if (!spec_.comparisons().Hold(value)) return absl::OkStatus();
    noted = true;
    return Note(key, events_in_order_[to - 1].id.time, from, to, group, context);
  }));
  if (runs_ && covered == kMinEventTime) {
    const auto highest = static_cast<uint64_t>(most.numerator / kFixedOne);
    runs_->bound().most = highest;
    BONGSU_RETURN_IF_ERROR(PutBound(key, context));
  }
  return noted ? PutGroup(key, group) : absl::OkStatus();
}

// The window that ends at `end` holds the condition: events [from, to) of those loaded.
absl::Status Sliding::Note(std::string_view key, EventTimeNs end, size_t from, size_t to,
                           CorrelationGroup& group, OperatorContext& context) {
  Episode& episode = group.episode;
  if (episode.open && end < AddTime(episode.known_last, span_)) {
    episode.known_last = std::max(episode.known_last, end);
    return absl::OkStatus();
  }
  for (FoundWindows& one : group.found) {
    if (end <= AddTime(one.first, -span_) || end >= AddTime(one.last, span_)) continue;
    one.last = std::max(one.last, end);
    if (end >= one.first) return absl::OkStatus();
    one.first = end;
    return end < group.timer || group.timer <= group.settled ? SetTimer(key, end, group, context)
                                                             : absl::OkStatus();
  }
  if (group.found.size() >= kFoundMax) {
    context.Count("windows_joined", 1);
    FoundWindows& one = group.found.back();
    one.first = std::min(one.first, end);
    one.last = std::max(one.last, end);
  } else {
    FoundWindows& one = group.found.emplace_back();
    one.first = one.last = end;
    if (spec_.early()) BONGSU_RETURN_IF_ERROR(Publish(key, from, to, one, group, context));
  }
  return end < group.timer || group.timer <= group.settled ? SetTimer(key, end, group, context)
                                                           : absl::OkStatus();
}

absl::Status Sliding::Publish(std::string_view key, size_t from, size_t to, FoundWindows& found,
                              CorrelationGroup& group, OperatorContext& context) {
  Episode episode;
  episode.anchor = events_in_order_[from].id;
  episode.id = Id(key, episode.anchor, /*cut=*/false, context);
  episode.last = events_in_order_[to - 1].id.time;
  episode.event_count = to - from;
  episode.peak = measure_->value();
  std::vector<KeptEvidence> kept = std::move(evidence_);
  evidence_.clear();
  BONGSU_RETURN_IF_ERROR(Fetch(key, from, to, options_.evidence_max, &evidence_));
  Emit(key, Activity::kCreate, episode, context);
  evidence_ = std::move(kept);
  found.published = true;
  found.id = episode.id;
  found.order = group.next_order++;
  found.count = episode.event_count;
  return absl::OkStatus();
}

// Measures that later events can lower are settled only: one timer for each group that has events
// to settle.
absl::Status Sliding::Arm(std::string_view key, EventTimeNs time, OperatorContext& context) {
  CorrelationGroup group;
  bool found = false;
  BONGSU_RETURN_IF_ERROR(GetGroup(key, context, &group, &found));
  const EventTimeNs due = found ? std::max(time, AddTime(group.settled, step_)) : time;
  if (found && group.timer <= due) return absl::OkStatus();
  BONGSU_RETURN_IF_ERROR(SetTimer(key, due, group, context));
  return PutGroup(key, group);
}

absl::Status Sliding::Settle(std::string_view key, EventTimeNs until, OperatorContext& context) {
  CorrelationGroup group;
  bool found = false;
  BONGSU_RETURN_IF_ERROR(GetGroup(key, context, &group, &found));
  if (!found || group.timer != until) return absl::OkStatus();  // replaced by an earlier one
  EventTimeNs first = AddTime(group.settled, 1);
  if (spec_.found_on_arrival() && !group.episode.open) {
    EventTimeNs noted = kMaxEventTime;
    for (const FoundWindows& one : group.found) noted = std::min(noted, one.first);
    first = std::max(first, noted);
  }
  evidence_.clear();
  if (group.episode.open) {
    BONGSU_RETURN_IF_ERROR(evidence_map_->Get(key, &scratch_, &found));
    evidence_ = DecodeEvidence(scratch_);
  }
  const bool was_open = group.episode.open;
  if (first <= until) {
    BONGSU_RETURN_IF_ERROR(Load(key, AddTime(first, 1 - span_), until));
    if (group.has_reset) {
      std::erase_if(events_in_order_,
                    [&](const WindowEvent& one) { return !Before(group.reset, one.id); });
    }
    BONGSU_RETURN_IF_ERROR(
        Slide(first, options_.reset, [&](size_t from, size_t to, bool* start_anew) {
          if (!spec_.comparisons().Hold(measure_->value())) return absl::OkStatus();
          *start_anew = options_.reset;
          return Hold(key, from, to, group, context);
        }));
  }
  group.settled = until;
  if (group.episode.open && until >= AddTime(group.episode.last, span_ - 1))
    BONGSU_RETURN_IF_ERROR(End(key, group, context));
  std::erase_if(group.found, [&](const FoundWindows& one) { return one.last <= until; });
  if (group.has_reset && AddTime(group.reset.time, span_) <= until) group.has_reset = false;
  if (group.episode.open) {
    scratch_.clear();
    EncodeEvidence(evidence_, &scratch_);
    BONGSU_RETURN_IF_ERROR(evidence_map_->Put(key, scratch_));
  } else if (was_open) {
    BONGSU_RETURN_IF_ERROR(evidence_map_->Erase(key));
  }
  BONGSU_ASSIGN_OR_RETURN(const EventTimeNs next, NextTimer(key, until, group));
  if (next == kMaxEventTime) return groups_->Erase(key);
  BONGSU_RETURN_IF_ERROR(SetTimer(key, next, group, context));
  return PutGroup(key, group);
}

absl::StatusOr<EventTimeNs> Sliding::NextTimer(std::string_view key, EventTimeNs settled,
                                               const CorrelationGroup& group) {
  EventTimeNs next = kMaxEventTime;
  const EventTimeNs step = AddTime(settled, step_);
  if (group.episode.open) next = std::min(next, step);
  for (const FoundWindows& one : group.found)
    next = std::min(next, one.first > settled ? one.first : step);
  if (!spec_.found_on_arrival()) {
    BONGSU_RETURN_IF_ERROR(
        events_->Scan(key, AddTime(settled, 1), kMaxEventTime, [&](TimeListCursor& entry) {
          next = std::min(next, std::max(entry.time(), step));
          return false;
        }));
  }
  if (group.has_reset) next = std::min(next, std::max(step, AddTime(group.reset.time, span_)));
  if (group.suppressed_until > settled) next = std::min(next, group.suppressed_until);
  return next;
}

absl::Status Sliding::Hold(std::string_view key, size_t from, size_t to, CorrelationGroup& group,
                           OperatorContext& context) {
  Episode& episode = group.episode;
  const EventTimeNs end = events_in_order_[to - 1].id.time;
  bool cut = false;
  if (episode.open && end < AddTime(episode.last, span_)) {
    if (end - episode.anchor.time <= options_.max_episode)
      return Prolong(key, from, to, group, context);
    // Its events stay its own: the next one begins behind them.
    while (events_in_order_[from].id.time <= episode.last) ++from;
    cut = true;
    // What was published on arrival may have had events from behind the cut.
    if (spec_.early() && episode.updated == episode.completed) episode.count_published = 0;
  }
  if (episode.open) BONGSU_RETURN_IF_ERROR(End(key, group, context));
  BONGSU_RETURN_IF_ERROR(Begin(key, from, to, cut, group, context));
  if (!options_.reset) return absl::OkStatus();
  group.has_reset = true;
  group.reset = events_in_order_[to - 1].id;
  return End(key, group, context);
}

absl::Status Sliding::Begin(std::string_view key, size_t from, size_t to, bool cut,
                            CorrelationGroup& group, OperatorContext& context) {
  Episode& episode = group.episode;
  const EventTimeNs end = events_in_order_[to - 1].id.time;
  episode = Episode{};
  episode.open = true;
  episode.anchor = events_in_order_[from].id;
  episode.completed = episode.last = episode.known_last = episode.updated = end;
  episode.event_count = to - from;
  episode.peak = measure_->value();
  evidence_.clear();
  BONGSU_RETURN_IF_ERROR(Fetch(key, from, to, options_.evidence_max, &evidence_));
  TakeOver(key, end, group, context);
  // What was published of it on arrival had events of the one before, too.
  if (cut) episode.count_published = 0;
  if (!episode.published) {
    episode.id = Id(key, episode.anchor, cut, context);
    episode.order = group.next_order++;
    episode.suppressed = end < group.suppressed_until;
    if (episode.suppressed) {
      context.Count("suppressed", 1);
      return absl::OkStatus();
    }
    if (options_.suppress > 0) group.suppressed_until = AddTime(end, options_.suppress);
    episode.published = true;
    episode.count_published = episode.event_count;
    Emit(key, Activity::kCreate, episode, context);
  }
  if (!context.has_readers()) return absl::OkStatus();
  std::vector<KeptEvidence> all;
  BONGSU_RETURN_IF_ERROR(
      Fetch(key, from, to, std::max(options_.evidence_max, kForwardedEvidenceMax), &all));
  if (to - from > all.size()) context.Count("evidence_for_readers_capped", 1);
  views_.clear();
  for (const KeptEvidence& one : all)
    views_.push_back({one.port, one.id.time, one.id.seq, one.payload});
  Incident incident;
  incident.id = episode.id;
  incident.key = key;
  incident.first_time = incident.anchor_time = episode.anchor.time;
  incident.last_time = end;
  incident.event_count = episode.event_count;
  incident.evidence = views_;
  context.Forward(incident, end);
  return absl::OkStatus();
}

absl::Status Sliding::Prolong(std::string_view key, size_t from, size_t to, CorrelationGroup& group,
                              OperatorContext& context) {
  Episode& episode = group.episode;
  size_t added = from;
  while (added < to && events_in_order_[added].id.time <= episode.last) ++added;
  const EventTimeNs end = events_in_order_[to - 1].id.time;
  if (added < to) {
    std::vector<KeptEvidence> more;
    BONGSU_RETURN_IF_ERROR(Fetch(key, added, to, options_.evidence_max, &more));
    AddEvidence(std::move(more));
  }
  episode.event_count += to - added;
  episode.last = end;
  episode.known_last = std::max(episode.known_last, end);
  const Measured value = measure_->value();
  if (Less(episode.peak, value)) episode.peak = value;
  const bool merged = TakeOver(key, end, group, context);
  if (!episode.published || episode.suppressed) return absl::OkStatus();
  const bool due =
      end >= AddTime(episode.updated, span_) && episode.event_count != episode.count_published;
  if (!due && !merged) return absl::OkStatus();
  episode.updated = end;
  episode.count_published = episode.event_count;
  Emit(key, Activity::kUpdate, episode, context);
  return absl::OkStatus();
}

// What was published on arrival becomes the episode's. True where two incidents became one.
bool Sliding::TakeOver(std::string_view key, EventTimeNs end, CorrelationGroup& group,
                       OperatorContext& context) {
  Episode& episode = group.episode;
  bool merged = false;
  for (FoundWindows& one : group.found) {
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
    Emit(key, Activity::kClose, gone, context, &episode.id);
    context.Count("merged", 1);
    merged = true;
  }
  std::erase_if(group.found, [&](const FoundWindows& one) {
    return one.first <= end && one.last <= episode.known_last;
  });
  return merged;
}

absl::Status Sliding::End(std::string_view key, CorrelationGroup& group, OperatorContext& context) {
  Episode& episode = group.episode;
  if (episode.published && !episode.suppressed && episode.event_count != episode.count_published)
    Emit(key, Activity::kUpdate, episode, context);
  // Windows that were joined to it by a full note and are none of its own.
  if (episode.known_last > episode.last)
    group.found.push_back({episode.known_last, episode.known_last});
  episode = Episode{};
  evidence_.clear();
  return absl::OkStatus();
}

absl::Status Sliding::Fetch(std::string_view key, size_t from, size_t to, size_t most,
                            std::vector<KeptEvidence>* out) {
  const EntryId first = events_in_order_[from].id;
  const EntryId last = events_in_order_[to - 1].id;
  const size_t listed = std::min(most, to - from);
  const auto keep = [out](TimeListCursor& entry) {
    const Member member = DecodeMember(entry.value());
    out->push_back({member.port, {entry.time(), entry.seq()}, std::string(member.payload)});
  };
  BONGSU_RETURN_IF_ERROR(events_->Scan(key, first.time, last.time, [&](TimeListCursor& entry) {
    if (Before({entry.time(), entry.seq()}, first)) return true;
    if (out->size() < listed) keep(entry);
    return out->size() < listed;
  }));
  if (listed == to - from || most < 2) return absl::OkStatus();
  // The last one in place of the one before.
  out->pop_back();
  return events_->Scan(key, last.time, last.time, [&](TimeListCursor& entry) {
    if (entry.seq() == last.seq) keep(entry);
    return true;
  });
}

// The first ones stay; the newest takes the last place.
void Sliding::AddEvidence(std::vector<KeptEvidence> more) {
  for (KeptEvidence& one : more) {
    if (evidence_.size() < options_.evidence_max)
      evidence_.push_back(std::move(one));
    else if (options_.evidence_max > 1)
      evidence_.back() = std::move(one);
  }
}

IncidentId Sliding::Id(std::string_view key, const EntryId& anchor, bool cut,
                       OperatorContext& context) {
  IncidentAnchor named;
  named.rule_hash = spec_.semantic_hash();
  named.key = key;
  named.origin = context.origin(anchor.seq);
  named.offset = SeqOffset(anchor.seq);
  named.time = anchor.time;
  if (cut) named.second_origin = "max_episode";
  return MakeIncidentId(named);
}

void Sliding::Emit(std::string_view key, Activity activity, const Episode& episode,
                   OperatorContext& context, const IncidentId* merged_into) {
  views_.clear();
  for (const KeptEvidence& one : evidence_)
    views_.push_back({one.port, one.id.time, one.id.seq, one.payload});
  value_text_ = MeasuredText(episode.peak);
  Incident incident;
  incident.activity = activity;
  incident.id = episode.id;
  incident.key = key;
  incident.first_time = incident.anchor_time = episode.anchor.time;
  incident.last_time = episode.last;
  incident.event_count = episode.event_count;
  incident.evidence = views_;
  incident.evidence_dropped = episode.event_count - views_.size();
  incident.value = value_text_;
  incident.value_error = episode.peak.error;
  incident.threshold = spec_.threshold();
  if (merged_into != nullptr) {
    incident.merged = true;
    incident.merged_into = *merged_into;
  }
  context.Emit(incident);
}

}  // namespace

std::unique_ptr<Operator> MakeSlidingCorrelation(const AggregateSpec& spec) {
  return std::make_unique<Sliding>(spec);
}

}  // namespace bongsu::sigma
