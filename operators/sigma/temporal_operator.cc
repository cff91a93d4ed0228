#include "operators/sigma/temporal_operator.h"

#include <algorithm>

#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu::sigma {
namespace {

constexpr char kWindowTimer = 'w';
// A bucket narrower than this only makes more of them.
constexpr DurationNs kBucketNsMin = kSecondNs;
// Beyond events_max, events of one rule closer than this part of the timespan are one.
constexpr DurationNs kThinPart = 1'000;

}  // namespace

TemporalOperator::TemporalOperator(const OperatorSpec& spec, const TemporalSettings& settings)
    : settings_(settings),
      condition_(settings.condition),
      book_(spec, settings.episodes, *this),
      events_(settings.condition.rules(), settings.port_rules),
      groups_(settings.span, settings.groups_max),
      newest_(condition_.rules()),
      seen_(condition_.rules()),
      all_(condition_.rules(), 1),
      opening_(condition_.rules()) {
  for (size_t rule = 0; rule < opening_.size(); ++rule) opening_[rule] = condition_.Opens(rule);
}

absl::Status TemporalOperator::Open(OperatorContext& context) {
  const DurationNs bucket = std::max(kBucketNsMin, settings_.span);
  BONGSU_RETURN_IF_ERROR(events_.Open(context, bucket));
  BONGSU_RETURN_IF_ERROR(groups_.Open(context, bucket));
  return book_.Open(context);
}

absl::Status TemporalOperator::Process(std::span<const Input> batch, OperatorContext& context) {
  const bool positive = condition_.kind() == TemporalKind::kPositive;
  for (const Input& input : batch)
    BONGSU_RETURN_IF_ERROR(positive ? OnPositive(input, context) : OnWindowed(input, context));
  return absl::OkStatus();
}

absl::Status TemporalOperator::OnWatermark(OperatorContext& context) {
  const DurationNs kept =
      condition_.kind() == TemporalKind::kPositive ? book_.events_kept() : settings_.span;
  events_.ExpireBefore(AddTime(context.closing_time(), -kept));
  groups_.ExpireBefore(AddTime(context.closing_time(), -kept));
  return absl::OkStatus();
}

// The newest event of each rule less than a timespan before or behind this one, itself left out.
absl::Status TemporalOperator::LookAround(const Input& input, OperatorContext& context) {
  for (uint16_t rule = 0; rule < condition_.rules(); ++rule) {
    BONGSU_RETURN_IF_ERROR(events_.Newest(input.key, rule, AddTime(input.time, 1 - settings_.span),
                                          EndOf(input.time), context, &newest_[rule]));
  }
  return absl::OkStatus();
}

// Whether to leave the event out (see the bounds above), else the index to keep it under.
bool TemporalOperator::Thin(const Input& input, uint32_t* index) const {
  *index = 0;
  const uint16_t rule = events_.RuleOf(input.port);
  const auto& previous = newest_[rule];
  if (!previous || previous->event.time > input.time) return false;
  const EventTimeNs before = previous->event.time;
  if (before / settings_.span == input.time / settings_.span) *index = previous->index + 1;
  if (*index < settings_.events_max) return false;
  if (input.time - before >= settings_.span / kThinPart) return false;
  return std::all_of(newest_.begin(), newest_.end(), [&](const auto& other) {
    return !other || other->event.rule == rule || other->event.time < before;
  });
}

// Whether the group has an event in the cell of this one (GroupBound).
absl::Status TemporalOperator::IsCounted(const Input& input, OperatorContext& context,
                                         bool* counted) {
  const EventTimeNs cell = groups_.CellStart(input.time);
  const EventTimeNs cell_end = EndOf(cell);
  *counted = std::any_of(newest_.begin(), newest_.end(), [&](const auto& one) {
    return one && one->event.time >= cell && one->event.time <= cell_end;
  });
  // The newest of a rule may lie behind the cell, and others in it.
  for (uint16_t rule = 0; !*counted && rule < condition_.rules(); ++rule) {
    if (!newest_[rule] || newest_[rule]->event.time < cell) continue;
    std::optional<RuleEvents::Found> found;
    BONGSU_RETURN_IF_ERROR(events_.Newest(input.key, rule, cell, cell_end, context, &found));
    *counted = found.has_value();
  }
  return absl::OkStatus();
}

absl::Status TemporalOperator::Put(const Input& input, OperatorContext& context, bool* kept) {
  *kept = false;
  BONGSU_RETURN_IF_ERROR(LookAround(input, context));
  uint32_t index = 0;
  if (Thin(input, &index)) {
    context.Count("events_thinned", 1);
    return absl::OkStatus();
  }
  bool counted = false;
  BONGSU_RETURN_IF_ERROR(IsCounted(input, context, &counted));
  const bool known =
      std::any_of(newest_.begin(), newest_.end(), [](const auto& one) { return one.has_value(); });
  BONGSU_RETURN_IF_ERROR(groups_.Admit(input.time, known, counted, context, kept));
  return *kept ? events_.Put(input, index) : absl::OkStatus();
}

absl::Status TemporalOperator::OnPositive(const Input& input, OperatorContext& context) {
  bool kept = false;
  BONGSU_RETURN_IF_ERROR(Put(input, context, &kept));
  if (!kept) return absl::OkStatus();
  bool newest = true;
  for (size_t rule = 0; rule < newest_.size(); ++rule) {
    seen_[rule] = newest_[rule].has_value() ? 1 : 0;
    newest = newest && (!newest_[rule] || newest_[rule]->event.time <= input.time);
  }
  seen_[events_.RuleOf(input.port)] = 1;
  if (!condition_.Holds(seen_)) return absl::OkStatus();
  bool holds = true;
  if (newest && condition_.ordered()) BONGSU_RETURN_IF_ERROR(ChainEnds(input, context, &holds));
  return holds ? book_.Examine(input.key, input.time, context) : absl::OkStatus();
}

// Whether a chain ends at or before the event, which is the newest, and begins less than a timespan
// before it.
absl::Status TemporalOperator::ChainEnds(const Input& input, OperatorContext& context, bool* ends) {
  const EventTimeNs from = AddTime(input.time, 1 - settings_.span);
  *ends = false;
  for (const Alternative& alternative : condition_.alternatives()) {
    std::optional<RuleEvents::Found> found;
    for (size_t step = alternative.seen.size(); step-- > 0;) {
      const uint16_t rule = alternative.seen[step];
      if (seen_[rule] == 0) {
        found.reset();
        break;
      }
      if (step + 1 == alternative.seen.size()) {
        BONGSU_RETURN_IF_ERROR(events_.Newest(input.key, rule, from, input.time, context, &found));
      } else {
        const RuleEvent next = found->event;
        BONGSU_RETURN_IF_ERROR(
            events_.NewestBefore(input.key, rule, from, next, settings_.ties, context, &found));
      }
      if (!found) break;
    }
    if (found) {
      *ends = true;
      return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

absl::Status TemporalOperator::Walk(
    std::string_view key, EventTimeNs floor, EventTimeNs first, EventTimeNs until,
    OperatorContext& context, absl::FunctionRef<absl::StatusOr<bool>(const HeldWindow&)> held) {
  const EventTimeNs behind = std::max(floor, AddTime(first, -settings_.span));
  BONGSU_RETURN_IF_ERROR(
      events_.Collect(key, all_, AddTime(behind, 1), until, context, &collected_));
  walked_.clear();
  for (const RuleEvent& event : collected_)
    walked_.push_back({event.time, event.seq, event.seq, event.port});
  TemporalWindow window(condition_, settings_.span, settings_.ties);
  size_t from = 0;
  for (size_t begin = 0, end = 0; begin < collected_.size(); begin = end) {
    const EventTimeNs time = collected_[begin].time;
    while (end < collected_.size() && collected_[end].time == time) ++end;
    const bool holds =
        window.Advance(time, std::span<const RuleEvent>(collected_).subspan(begin, end - begin));
    if (!holds || time < first) continue;
    while (walked_[from].time <= AddTime(time, -settings_.span)) ++from;
    BONGSU_ASSIGN_OR_RETURN(const bool start_anew, held({from, end, {}}));
    if (!start_anew) continue;
    window.Clear();
    from = end;
  }
  return absl::OkStatus();
}

absl::Status TemporalOperator::FirstEvent(std::string_view key, EventTimeNs from, EventTimeNs to,
                                          EventTimeNs* time) {
  return events_.First(key, from, to, time);
}

absl::Status TemporalOperator::Payload(std::string_view key, const GroupEvent& event,
                                       std::string* payload) {
  return events_.Payload(key, events_.RuleOf(event.port), event.time, event.seq, payload);
}

// How many different rules were seen; each is among the evidence.
void TemporalOperator::Describe(const Measured&, Incident* incident) {
  if (settings_.threshold.empty()) return;
  std::vector<uint8_t> seen(condition_.rules(), 0);
  size_t count = 0;
  for (const Evidence& evidence : incident->evidence) {
    uint8_t& one = seen[events_.RuleOf(evidence.port)];
    if (one == 0) ++count;
    one = 1;
  }
  value_ = std::to_string(count);
  incident->value = value_;
  incident->threshold = settings_.threshold;
}

// Absence and tiles: keeps the event, and sets the group's timer where it has none.
absl::Status TemporalOperator::OnWindowed(const Input& input, OperatorContext& context) {
  bool kept = false;
  BONGSU_RETURN_IF_ERROR(Put(input, context, &kept));
  if (!kept) return absl::OkStatus();
  if (!condition_.Opens(events_.RuleOf(input.port))) return absl::OkStatus();
  // An event that begins windows, is not closed and not younger: its timer leads to this one.
  const EventTimeNs from =
      std::max(context.closing_time(), AddTime(input.time, 1 - settings_.span));
  for (uint16_t rule = 0; rule < condition_.rules(); ++rule) {
    if (!condition_.Opens(rule) || !newest_[rule]) continue;
    std::optional<RuleEvents::Found> earlier;
    BONGSU_RETURN_IF_ERROR(
        events_.Newest(input.key, rule, from, AddTime(input.time, -1), context, &earlier));
    if (earlier) return absl::OkStatus();
  }
  return context.timers().Set(EndOf(input.time), input.key, std::string(1, kWindowTimer));
}

absl::Status TemporalOperator::OnTimer(const DueTimer& timer, OperatorContext& context) {
  if (EpisodeBook::IsTimer(timer)) return book_.OnTimer(timer, context);
  BONGSU_CHECK(timer.data.size() == 1 && timer.data[0] == kWindowTimer);
  EventTimeNs from = AddTime(timer.time, 1 - settings_.span);
  while (true) {
    std::optional<EventTimeNs> start;
    BONGSU_RETURN_IF_ERROR(NextStart(timer.key, from, &start));
    if (!start) return absl::OkStatus();
    if (EndOf(*start) >= context.closing_time())
      return context.timers().Set(EndOf(*start), timer.key, timer.data);
    bool holds = false;
    BONGSU_RETURN_IF_ERROR(WindowHolds(timer.key, *start, context, &holds));
    if (holds) BONGSU_RETURN_IF_ERROR(Report(timer.key, *start, context));
    const bool used = holds || condition_.kind() == TemporalKind::kTiles;
    for (uint16_t rule = 0; used && rule < condition_.rules(); ++rule) {
      if (condition_.Opens(rule))
        BONGSU_RETURN_IF_ERROR(events_.MarkUsed(timer.key, rule, *start, EndOf(*start)));
    }
    from = AddTime(*start, used ? settings_.span : 1);
  }
}

// The earliest event that may begin a window, at `from` or behind it.
absl::Status TemporalOperator::NextStart(std::string_view key, EventTimeNs from,
                                         std::optional<EventTimeNs>* start) {
  start->reset();
  for (uint16_t rule = 0; rule < condition_.rules(); ++rule) {
    if (!condition_.Opens(rule)) continue;
    std::optional<EventTimeNs> time;
    BONGSU_RETURN_IF_ERROR(
        events_.OldestUnused(key, rule, from, start->value_or(kMaxEventTime), &time));
    if (time) *start = time;
  }
  return absl::OkStatus();
}

absl::Status TemporalOperator::WindowHolds(std::string_view key, EventTimeNs start,
                                           OperatorContext& context, bool* holds) {
  *holds = false;
  const bool tiles = condition_.kind() == TemporalKind::kTiles;
  if (condition_.ordered() && tiles) {
    BONGSU_RETURN_IF_ERROR(events_.Collect(key, all_, start, EndOf(start), context, &collected_));
    *holds = condition_.HoldsFor(LongestChain(condition_.rules(), collected_, settings_.ties));
    return absl::OkStatus();
  }
  if (condition_.ordered()) {
    for (const Alternative& alternative : condition_.alternatives()) {
      BONGSU_RETURN_IF_ERROR(OrderedHolds(key, start, alternative, context, holds));
      if (*holds) return absl::OkStatus();
    }
    return absl::OkStatus();
  }
  for (uint16_t rule = 0; rule < condition_.rules(); ++rule) {
    std::optional<RuleEvents::Found> found;
    BONGSU_RETURN_IF_ERROR(events_.Newest(key, rule, start, EndOf(start), context, &found));
    seen_[rule] = found ? 1 : 0;
  }
  *holds = condition_.Holds(seen_);
  return absl::OkStatus();
}

// Whether a chain that begins at the window's first moment has none of the absent rules behind its
// last event: its steps as early as can be, the last one as late.
absl::Status TemporalOperator::OrderedHolds(std::string_view key, EventTimeNs start,
                                            const Alternative& alternative,
                                            OperatorContext& context, bool* holds) {
  *holds = false;
  const EventTimeNs end = EndOf(start);
  const std::vector<uint16_t>& steps = alternative.seen;
  std::optional<RuleEvents::Found> at;
  if (steps.size() == 1) {
    BONGSU_RETURN_IF_ERROR(events_.Newest(key, steps[0], start, start, context, &at));
  } else {
    // The first of those at the window's first moment.
    const RuleEvent before{start - 1, 0, 0, 0};
    BONGSU_RETURN_IF_ERROR(
        events_.OldestBehind(key, steps[0], before, start, TieOrder::kApart, context, &at));
    for (size_t step = 1; at && step < steps.size(); ++step) {
      const RuleEvent previous = at->event;
      BONGSU_RETURN_IF_ERROR(
          events_.OldestBehind(key, steps[step], previous, end, settings_.ties, context, &at));
    }
    if (at)
      BONGSU_RETURN_IF_ERROR(events_.Newest(key, steps.back(), at->event.time, end, context, &at));
  }
  if (!at) return absl::OkStatus();
  for (uint16_t rule : alternative.absent) {
    std::optional<RuleEvents::Found> behind;
    BONGSU_RETURN_IF_ERROR(
        events_.OldestBehind(key, rule, at->event, end, settings_.ties, context, &behind));
    if (behind) return absl::OkStatus();
  }
  *holds = true;
  return absl::OkStatus();
}

absl::Status TemporalOperator::Report(std::string_view key, EventTimeNs start,
                                      OperatorContext& context) {
  BONGSU_RETURN_IF_ERROR(events_.Collect(key, opening_, start, EndOf(start), context, &collected_));
  std::vector<GroupEvent> events;
  for (const RuleEvent& event : collected_)
    events.push_back({event.time, event.seq, event.seq, event.port});
  return book_.Once(key, events, {}, start, EndOf(start), context);
}

}  // namespace bongsu::sigma
