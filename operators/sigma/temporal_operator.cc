#include "operators/sigma/temporal_operator.h"

#include <algorithm>

#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu::sigma {
namespace {

constexpr char kAbsenceTimer = 'w';

}  // namespace

TemporalOperator::TemporalOperator(const OperatorSpec& spec, const TemporalSettings& settings)
    : settings_(settings),
      condition_(settings.condition),
      book_(spec, settings.episodes, *this),
      events_(settings),
      seen_(condition_.rules()),
      asked_(condition_.rules()) {
  BONGSU_CHECK(condition_.kind() != TemporalKind::kTiles);
  for (size_t rule = 0; rule < asked_.size(); ++rule) asked_[rule] = condition_.AsksFor(rule);
}

absl::Status TemporalOperator::Open(OperatorContext& context) {
  BONGSU_RETURN_IF_ERROR(events_.Open(context));
  return book_.Open(context);
}

absl::Status TemporalOperator::Process(std::span<const Input> batch, OperatorContext& context) {
  const bool positive = condition_.kind() == TemporalKind::kPositive;
  for (const Input& input : batch)
    BONGSU_RETURN_IF_ERROR(positive ? OnPositive(input, context) : OnAbsence(input, context));
  return absl::OkStatus();
}

absl::Status TemporalOperator::OnWatermark(OperatorContext& context) {
  const DurationNs kept =
      condition_.kind() == TemporalKind::kPositive ? book_.events_kept() : settings_.span;
  events_.ExpireBefore(AddTime(context.closing_time(), -kept));
  return absl::OkStatus();
}

absl::Status TemporalOperator::OnPositive(const Input& input, OperatorContext& context) {
  bool kept = false;
  BONGSU_RETURN_IF_ERROR(events_.Put(input, context, &kept));
  if (!kept) return absl::OkStatus();
  bool newest = true;
  for (size_t rule = 0; rule < seen_.size(); ++rule) {
    const auto& one = events_.newest(rule);
    seen_[rule] = one.has_value() ? 1 : 0;
    newest = newest && (!one || one->event.time <= input.time);
  }
  seen_[events_.lists().RuleOf(input.port)] = 1;
  if (!condition_.Holds(seen_)) return absl::OkStatus();
  WindowEnds ends;
  if (!newest) BONGSU_RETURN_IF_ERROR(AddGained(input, context, &ends));
  bool holds = false;
  BONGSU_RETURN_IF_ERROR(EndsHeld(input, context, &holds));
  if (holds) ends.Add(input.time, input.time);
  return ends.first <= ends.last ? book_.Examine(input.key, ends.first, ends.last, context)
                                 : absl::OkStatus();
}

// Whether the window that ends at the event holds.
absl::Status TemporalOperator::EndsHeld(const Input& input, OperatorContext& context, bool* holds) {
  for (uint16_t rule = 0; rule < condition_.rules(); ++rule) {
    const auto& newest = events_.newest(rule);
    std::optional<RuleEvents::Found> found = newest;
    if (newest && newest->event.time > input.time)
      BONGSU_RETURN_IF_ERROR(events_.lists().AnyNewest(
          input.key, rule, AddTime(input.time, 1 - settings_.span), input.time, &found));
    seen_[rule] = found ? 1 : 0;
  }
  seen_[events_.lists().RuleOf(input.port)] = 1;
  *holds = condition_.Holds(seen_);
  return *holds && condition_.ordered() ? ChainEnds(input, context, holds) : absl::OkStatus();
}

// The windows that end at newer events, and that may hold since this one came. `seen_`: the rules
// of less than a timespan before or behind it.
absl::Status TemporalOperator::AddGained(const Input& input, OperatorContext& context,
                                         WindowEnds* ends) {
  RuleEvents& lists = events_.lists();
  const uint16_t rule = lists.RuleOf(input.port);
  if (condition_.ordered()) {
    for (const Alternative& alternative : condition_.alternatives())
      BONGSU_RETURN_IF_ERROR(AddChain(input, alternative.seen, context, ends));
    return absl::OkStatus();
  }
  // Those that have no other event of its rule.
  EventTimeNs from = AddTime(input.time, 1);
  EventTimeNs to = EndOf(input.time);
  if (const auto& previous = events_.previous()) {
    if (previous->event.time == input.time) return absl::OkStatus();
    from = std::max(from, AddTime(previous->event.time, settings_.span));
  }
  EventTimeNs next = 0;
  BONGSU_RETURN_IF_ERROR(lists.FirstOf(input.key, rule, from, to, &next));
  to = std::min(to, AddTime(next, -1));
  BONGSU_RETURN_IF_ERROR(lists.First(input.key, from, to, &from));
  if (from > to) return absl::OkStatus();
  for (uint16_t other = 0; other < condition_.rules(); ++other) {
    std::optional<RuleEvents::Found> found = events_.newest(other);
    if (found && other != rule)
      BONGSU_RETURN_IF_ERROR(
          lists.AnyNewest(input.key, other, AddTime(from, 1 - settings_.span), to, &found));
    seen_[other] = found || other == rule ? 1 : 0;
  }
  if (condition_.Holds(seen_)) ends->Add(from, to);
  return absl::OkStatus();
}

// Chains of these steps with the event among them: of those before it the latest, of those behind
// it the earliest.
absl::Status TemporalOperator::AddChain(const Input& input, const std::vector<uint16_t>& steps,
                                        OperatorContext& context, WindowEnds* ends) {
  const RuleEvent event{input.time, input.seq, events_.lists().RuleOf(input.port), input.port};
  const auto own =
      static_cast<size_t>(std::find(steps.begin(), steps.end(), event.rule) - steps.begin());
  if (own == steps.size()) return absl::OkStatus();
  if (std::any_of(steps.begin(), steps.end(), [this](uint16_t rule) { return seen_[rule] == 0; }))
    return absl::OkStatus();
  const EventTimeNs from = AddTime(input.time, 1 - settings_.span);
  std::optional<RuleEvents::Found> found;
  RuleEvent first = event;
  for (size_t step = own; step-- > 0; first = found->event) {
    BONGSU_RETURN_IF_ERROR(events_.lists().NewestBefore(input.key, steps[step], from, first,
                                                        settings_.ties, context, &found));
    if (!found) return absl::OkStatus();
  }
  RuleEvent last = event;
  for (size_t step = own + 1; step < steps.size(); ++step, last = found->event) {
    BONGSU_RETURN_IF_ERROR(events_.lists().OldestBehind(
        input.key, steps[step], last, EndOf(first.time), settings_.ties, context, &found));
    if (!found) return absl::OkStatus();
  }
  ends->Add(last.time, EndOf(first.time));
  return absl::OkStatus();
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
        BONGSU_RETURN_IF_ERROR(
            events_.lists().Newest(input.key, rule, from, input.time, context, &found));
      } else {
        const RuleEvent next = found->event;
        BONGSU_RETURN_IF_ERROR(events_.lists().NewestBefore(input.key, rule, from, next,
                                                            settings_.ties, context, &found));
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
  BONGSU_RETURN_IF_ERROR(events_.Collect(key, AddTime(behind, 1), until, context));
  const std::vector<RuleEvent>& collected = events_.collected();
  walked_.clear();
  for (const RuleEvent& event : collected)
    walked_.push_back({event.time, event.seq, event.seq, event.port});
  TemporalWindow window(condition_, settings_.span, settings_.ties);
  size_t from = 0;
  for (size_t begin = 0, end = 0; begin < collected.size(); begin = end) {
    const EventTimeNs time = collected[begin].time;
    while (end < collected.size() && collected[end].time == time) ++end;
    const bool holds =
        window.Advance(time, std::span<const RuleEvent>(collected).subspan(begin, end - begin));
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
  return events_.lists().First(key, from, to, time);
}

absl::Status TemporalOperator::Payload(std::string_view key, const GroupEvent& event,
                                       std::string* payload) {
  return events_.Payload(key, event, payload);
}

void TemporalOperator::Describe(const Measured&, Incident* incident) { events_.Describe(incident); }

// Absence: keeps the event, and sets the group's timer where it has none.
absl::Status TemporalOperator::OnAbsence(const Input& input, OperatorContext& context) {
  bool kept = false;
  BONGSU_RETURN_IF_ERROR(events_.Put(input, context, &kept));
  if (!kept) return absl::OkStatus();
  if (!condition_.AsksFor(events_.lists().RuleOf(input.port))) return absl::OkStatus();
  // Where an event that begins windows, too, and is not closed, lies less than a timespan before
  // it, that one's timer leads to this one.
  bool follows = false;
  BONGSU_RETURN_IF_ERROR(IsStartBefore(input.key, input.time, context.closing_time(), &follows));
  if (follows) return absl::OkStatus();
  return context.timers().Set(EndOf(input.time), input.key, std::string(1, kAbsenceTimer));
}

// Whether an event that begins windows, at `from` or behind it, is less than a timespan before
// `time`.
absl::Status TemporalOperator::IsStartBefore(std::string_view key, EventTimeNs time,
                                             EventTimeNs from, bool* found) {
  from = std::max(from, AddTime(time, 1 - settings_.span));
  std::optional<RuleEvents::Found> earlier;
  for (uint16_t rule = 0; rule < condition_.rules() && !earlier; ++rule) {
    if (!condition_.AsksFor(rule)) continue;
    BONGSU_RETURN_IF_ERROR(events_.lists().AnyNewest(key, rule, from, AddTime(time, -1), &earlier));
  }
  *found = earlier.has_value();
  return absl::OkStatus();
}

absl::Status TemporalOperator::OnTimer(const DueTimer& timer, OperatorContext& context) {
  if (EpisodeBook::IsTimer(timer)) return book_.OnTimer(timer, context);
  BONGSU_CHECK(timer.data.size() == 1 && timer.data[0] == kAbsenceTimer);
  const EventTimeNs begun = AddTime(timer.time, 1 - settings_.span);
  EventTimeNs from = begun;
  while (true) {
    std::optional<EventTimeNs> start;
    BONGSU_RETURN_IF_ERROR(NextStart(timer.key, from, &start));
    if (!start) return absl::OkStatus();
    bool follows = *start == begun;
    if (!follows) BONGSU_RETURN_IF_ERROR(IsStartBefore(timer.key, *start, kMinEventTime, &follows));
    if (!follows) return absl::OkStatus();  // it has a timer of its own
    if (EndOf(*start) >= context.closing_time())
      return context.timers().Set(EndOf(*start), timer.key, timer.data);
    bool holds = false;
    if (*start < context.complete_from())
      context.Count("windows_seen_in_part", 1);
    else
      BONGSU_RETURN_IF_ERROR(WindowHolds(timer.key, *start, context, &holds));
    if (holds) BONGSU_RETURN_IF_ERROR(Report(timer.key, *start, context));
    for (uint16_t rule = 0; holds && rule < condition_.rules(); ++rule) {
      if (condition_.AsksFor(rule))
        BONGSU_RETURN_IF_ERROR(events_.lists().MarkUsed(timer.key, rule, *start, EndOf(*start)));
    }
    from = AddTime(*start, holds ? settings_.span : 1);
  }
}

// The earliest event that may begin a window, at `from` or behind it.
absl::Status TemporalOperator::NextStart(std::string_view key, EventTimeNs from,
                                         std::optional<EventTimeNs>* start) {
  start->reset();
  for (uint16_t rule = 0; rule < condition_.rules(); ++rule) {
    if (!condition_.AsksFor(rule)) continue;
    std::optional<EventTimeNs> time;
    BONGSU_RETURN_IF_ERROR(
        events_.lists().OldestUnused(key, rule, from, start->value_or(kMaxEventTime), &time));
    if (time) *start = time;
  }
  return absl::OkStatus();
}

absl::Status TemporalOperator::WindowHolds(std::string_view key, EventTimeNs start,
                                           OperatorContext& context, bool* holds) {
  *holds = false;
  if (condition_.ordered()) {
    for (const Alternative& alternative : condition_.alternatives()) {
      BONGSU_RETURN_IF_ERROR(OrderedHolds(key, start, alternative, context, holds));
      if (*holds) return absl::OkStatus();
    }
    return absl::OkStatus();
  }
  for (uint16_t rule = 0; rule < condition_.rules(); ++rule) {
    std::optional<RuleEvents::Found> found;
    BONGSU_RETURN_IF_ERROR(events_.lists().AnyNewest(key, rule, start, EndOf(start), &found));
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
    BONGSU_RETURN_IF_ERROR(events_.lists().Newest(key, steps[0], start, start, context, &at));
  } else {
    // The first of those at the window's first moment.
    const RuleEvent before{start - 1, 0, 0, 0};
    BONGSU_RETURN_IF_ERROR(
        events_.lists().OldestBehind(key, steps[0], before, start, TieOrder::kApart, context, &at));
    for (size_t step = 1; at && step < steps.size(); ++step) {
      const RuleEvent previous = at->event;
      BONGSU_RETURN_IF_ERROR(events_.lists().OldestBehind(key, steps[step], previous, end,
                                                          settings_.ties, context, &at));
    }
    if (at)
      BONGSU_RETURN_IF_ERROR(
          events_.lists().Newest(key, steps.back(), at->event.time, end, context, &at));
  }
  if (!at) return absl::OkStatus();
  for (uint16_t rule : alternative.absent) {
    std::optional<RuleEvents::Found> behind;
    BONGSU_RETURN_IF_ERROR(
        events_.lists().OldestBehind(key, rule, at->event, end, settings_.ties, context, &behind));
    if (behind) return absl::OkStatus();
  }
  *holds = true;
  return absl::OkStatus();
}

absl::Status TemporalOperator::Report(std::string_view key, EventTimeNs start,
                                      OperatorContext& context) {
  std::vector<RuleEvent> found;
  BONGSU_RETURN_IF_ERROR(
      events_.lists().Collect(key, asked_, start, EndOf(start), context, &found));
  std::vector<GroupEvent> events;
  for (const RuleEvent& event : found)
    events.push_back({event.time, event.seq, event.seq, event.port});
  return book_.Once(key, events, {}, start, EndOf(start), context);
}

}  // namespace bongsu::sigma
