// File: operators/sigma/temporal_events.h
//
// What a temporal correlation is set to, and its events as both of its operators keep them: within
// bounds, and with what was near when an event came.
//
//   TemporalEvents events(settings);
//   events.Open(context);
//   bool kept = false;
//   events.Put(input, context, &kept);  // then events.newest(rule): the newest around the event
//
// Bounds: `events_max` events of one rule of a group within a timespan are kept. Beyond it, an
// event is left out if the one before it is kept, lies within a thousandth of the timespan, and no
// other rule's event is between the two: what is found then is the same but for that thousandth
// (counted as "events_thinned"). Timespans are counted from 1970 for this, as tumbling windows are:
// the first event of a rule in one is always kept. `groups_max`: operators/sigma/group_bound.h.
//
// Thread-safety: one thread. Errors: of the state's handles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "operators/operator.h"
#include "operators/sigma/episode_book.h"
#include "operators/sigma/group_bound.h"
#include "operators/sigma/rule_events.h"
#include "operators/sigma/temporal_condition.h"

namespace bongsu::sigma {

struct TemporalSettings {
  TemporalCondition condition;
  std::vector<uint16_t> port_rules;  // by port, the index into CorrelationRule::rules
  DurationNs span = 0;
  TieOrder ties = TieOrder::kPosition;
  EpisodeOptions episodes;
  size_t events_max = 0;
  size_t groups_max = 0;
  std::string threshold;  // what alerts say the number of rules was compared with; may be empty
};

class TemporalEvents {
 public:
  // `settings` outlives it.
  explicit TemporalEvents(const TemporalSettings& settings);
  [[nodiscard]] absl::Status Open(OperatorContext& context);

  // Keeps the event, or counts why not.
  [[nodiscard]] absl::Status Put(const Input& input, OperatorContext& context, bool* kept);
  // Of the event last put: one of the newest time of a rule less than a timespan before or behind
  // it, itself left out.
  const std::optional<RuleEvents::Found>& newest(size_t rule) const { return newest_[rule]; }
  // The same of its own rule, of those at or before it.
  const std::optional<RuleEvents::Found>& previous() const { return previous_; }

  RuleEvents& lists() { return lists_; }
  void ExpireBefore(EventTimeNs time) {
    lists_.ExpireBefore(time);
    groups_.ExpireBefore(time);
  }
  // The events of all rules with from <= time <= to, in order; valid until the next call.
  [[nodiscard]] absl::Status Collect(std::string_view key, EventTimeNs from, EventTimeNs to,
                                     OperatorContext& context);
  const std::vector<RuleEvent>& collected() const { return collected_; }

  [[nodiscard]] absl::Status Payload(std::string_view key, const GroupEvent& event,
                                     std::string* payload);
  // How many different rules were seen, and what that was compared with.
  void Describe(Incident* incident);

 private:
  absl::Status LookAround(const Input& input);
  absl::Status IsCounted(const Input& input, bool* counted);
  absl::Status Thin(const Input& input, uint32_t* index, bool* thin);

  const TemporalSettings& settings_;
  RuleEvents lists_;
  GroupBound groups_;
  // Scratch.
  std::vector<std::optional<RuleEvents::Found>> newest_;
  std::optional<RuleEvents::Found> previous_;
  std::vector<uint8_t> all_;
  std::vector<RuleEvent> collected_;
  std::string value_;
};

}  // namespace bongsu::sigma
