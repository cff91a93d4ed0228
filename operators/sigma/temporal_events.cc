#include "operators/sigma/temporal_events.h"

#include <algorithm>

#include "state/status_macros.h"

namespace bongsu::sigma {
namespace {

// A bucket narrower than this only makes more of them.
constexpr DurationNs kBucketMin = kSecondNs;
// Beyond events_max, events of one rule closer than this part of the timespan are one.
constexpr DurationNs kThinPart = 1'000;

}  // namespace

TemporalEvents::TemporalEvents(const TemporalSettings& settings)
    : settings_(settings),
      lists_(settings.condition.rules(), settings.port_rules),
      groups_(settings.span, settings.groups_max),
      newest_(settings.condition.rules()),
      all_(settings.condition.rules(), 1) {}

absl::Status TemporalEvents::Open(OperatorContext& context) {
  const DurationNs bucket = std::max(kBucketMin, settings_.span);
  BONGSU_RETURN_IF_ERROR(lists_.Open(context, bucket));
  return groups_.Open(context, bucket);
}

// The newest event of each rule less than a timespan before or behind this one, itself left out.
absl::Status TemporalEvents::LookAround(const Input& input) {
  for (uint16_t rule = 0; rule < newest_.size(); ++rule) {
    BONGSU_RETURN_IF_ERROR(
        lists_.AnyNewest(input.key, rule, AddTime(input.time, 1 - settings_.span),
                         AddTime(input.time, settings_.span - 1), &newest_[rule]));
  }
  return absl::OkStatus();
}

// Whether to leave the event out (see the bounds above), else the index to keep it under. What is
// newer than the event says nothing of it: a flood may come behind one that is ahead.
absl::Status TemporalEvents::Thin(const Input& input, uint32_t* index, bool* thin) {
  *index = 0;
  *thin = false;
  const uint16_t rule = lists_.RuleOf(input.port);
  previous_ = newest_[rule];
  if (previous_ && previous_->event.time > input.time)
    BONGSU_RETURN_IF_ERROR(lists_.AnyNewest(
        input.key, rule, AddTime(input.time, 1 - settings_.span), input.time, &previous_));
  if (!previous_) return absl::OkStatus();
  const EventTimeNs before = previous_->event.time;
  if (before / settings_.span == input.time / settings_.span) *index = previous_->index + 1;
  if (*index < settings_.events_max) return absl::OkStatus();
  if (input.time - before >= settings_.span / kThinPart) return absl::OkStatus();
  for (uint16_t other = 0; other < newest_.size(); ++other) {
    if (other == rule || !newest_[other] || newest_[other]->event.time < before) continue;
    std::optional<RuleEvents::Found> between;
    BONGSU_RETURN_IF_ERROR(lists_.AnyNewest(input.key, other, before, input.time, &between));
    if (between) return absl::OkStatus();
  }
  *thin = true;
  return absl::OkStatus();
}

// Whether the group has an event in the cell of this one (GroupBound).
absl::Status TemporalEvents::IsCounted(const Input& input, bool* counted) {
  const EventTimeNs cell = groups_.CellStart(input.time);
  const EventTimeNs cell_end = AddTime(cell, settings_.span - 1);
  *counted = std::any_of(newest_.begin(), newest_.end(), [&](const auto& one) {
    return one && one->event.time >= cell && one->event.time <= cell_end;
  });
  // The newest of a rule may lie behind the cell, and others in it.
  for (uint16_t rule = 0; !*counted && rule < newest_.size(); ++rule) {
    if (!newest_[rule] || newest_[rule]->event.time < cell) continue;
    std::optional<RuleEvents::Found> found;
    BONGSU_RETURN_IF_ERROR(lists_.AnyNewest(input.key, rule, cell, cell_end, &found));
    *counted = found.has_value();
  }
  return absl::OkStatus();
}

absl::Status TemporalEvents::Put(const Input& input, OperatorContext& context, bool* kept) {
  *kept = false;
  BONGSU_RETURN_IF_ERROR(LookAround(input));
  uint32_t index = 0;
  bool thin = false;
  BONGSU_RETURN_IF_ERROR(Thin(input, &index, &thin));
  if (thin) {
    context.Count("events_thinned", 1);
    return absl::OkStatus();
  }
  bool counted = false;
  BONGSU_RETURN_IF_ERROR(IsCounted(input, &counted));
  const bool known =
      std::any_of(newest_.begin(), newest_.end(), [](const auto& one) { return one.has_value(); });
  BONGSU_RETURN_IF_ERROR(groups_.Admit(input.time, known, counted, context, kept));
  return *kept ? lists_.Put(input, index) : absl::OkStatus();
}

// How many different rules were seen; each is among the evidence.
void TemporalEvents::Describe(Incident* incident) {
  if (settings_.threshold.empty()) return;
  std::vector<uint8_t> seen(newest_.size(), 0);
  size_t count = 0;
  for (const Evidence& evidence : incident->evidence) {
    uint8_t& one = seen[lists_.RuleOf(evidence.port)];
    if (one == 0) ++count;
    one = 1;
  }
  value_ = std::to_string(count);
  incident->value = value_;
  incident->threshold = settings_.threshold;
}

absl::Status TemporalEvents::Collect(std::string_view key, EventTimeNs from, EventTimeNs to,
                                     OperatorContext& context) {
  return lists_.Collect(key, all_, from, to, context, &collected_);
}

absl::Status TemporalEvents::Payload(std::string_view key, const GroupEvent& event,
                                     std::string* payload) {
  return lists_.Payload(key, lists_.RuleOf(event.port), event.time, event.seq, payload);
}

}  // namespace bongsu::sigma
