// File: operators/sigma/temporal_operator.h
//
// Sigma's temporal and temporal_ordered as an operator: in one group, within one window of event
// time, events of the rules that the condition asks for, in any order or in the order of the rules,
// and where it says `not`, none of others. What is an incident, and when it is published:
// operators/sigma/episode_book.h for positive conditions; for absence and tiles one incident for
// each window that satisfies the condition, when the window has closed.
//
//   TemporalOperator op(spec, settings);
//
// How a positive condition is found. When an event comes, the newest event of each rule within a
// timespan around it is looked up. If the condition cannot hold with these, that was all. If
// nothing newer than the event is known (the usual case), it is decided by looking back: for an
// ordered condition the newest event of the last step, then the newest before that of the step
// before, and so on; whatever chain there is, this one begins latest. Only an event that comes
// behind newer ones makes the window be walked through.
//
// How absence is decided. A window begins at an event of a rule that the condition asks for. One
// timer for a group: for the earliest such event that is not decided. When its window has closed,
// it is looked up what the window holds; if that is an incident, its events begin no window of
// their own, and the next begins behind it. If not, the next event may begin one: of two backups
// that begun within an hour, the second may be the one that never ended. Tiles follow one another
// without overlap, whatever comes of them.
//
// Bounds: `events_max` events of one rule of a group within a timespan are kept. Beyond it, an
// event is left out if the one before it is kept, lies within a thousandth of the timespan, and no
// other rule's event is between the two: what is found then is the same but for that thousandth
// (counted as "events_thinned"). `groups_max`: operators/sigma/group_bound.h.
//
// Thread-safety: as Operator.
#pragma once

#include <optional>
#include <string>
#include <vector>

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

class TemporalOperator : public Operator, private EpisodeSource {
 public:
  // Both outlive the operator.
  TemporalOperator(const OperatorSpec& spec, const TemporalSettings& settings);

  absl::Status Open(OperatorContext& context) override;
  absl::Status Process(std::span<const Input> batch, OperatorContext& context) override;
  absl::Status OnTimer(const DueTimer& timer, OperatorContext& context) override;
  absl::Status OnWatermark(OperatorContext& context) override;

 private:
  absl::Status Walk(std::string_view key, EventTimeNs floor, EventTimeNs first, EventTimeNs until,
                    OperatorContext& context,
                    absl::FunctionRef<absl::StatusOr<bool>(const HeldWindow&)> held) override;
  const std::vector<GroupEvent>& walked() const override { return walked_; }
  absl::Status FirstEvent(std::string_view key, EventTimeNs from, EventTimeNs to,
                          EventTimeNs* time) override;
  absl::Status Payload(std::string_view key, const GroupEvent& event,
                       std::string* payload) override;
  void Describe(const Measured& peak, Incident* incident) override;

  // Keeps the event, or counts why not; what is known of the group around it is in newest_ then.
  absl::Status Put(const Input& input, OperatorContext& context, bool* kept);
  absl::Status LookAround(const Input& input, OperatorContext& context);
  absl::Status IsCounted(const Input& input, OperatorContext& context, bool* counted);
  bool Thin(const Input& input, uint32_t* index) const;
  absl::Status OnPositive(const Input& input, OperatorContext& context);
  absl::Status ChainEnds(const Input& input, OperatorContext& context, bool* ends);
  absl::Status OnWindowed(const Input& input, OperatorContext& context);
  absl::Status NextStart(std::string_view key, EventTimeNs from, std::optional<EventTimeNs>* start);
  absl::Status WindowHolds(std::string_view key, EventTimeNs start, OperatorContext& context,
                           bool* holds);
  absl::Status OrderedHolds(std::string_view key, EventTimeNs start, const Alternative& alternative,
                            OperatorContext& context, bool* holds);
  absl::Status Report(std::string_view key, EventTimeNs start, OperatorContext& context);

  EventTimeNs EndOf(EventTimeNs start) const { return AddTime(start, settings_.span - 1); }

  const TemporalSettings& settings_;
  const TemporalCondition& condition_;
  EpisodeBook book_;
  RuleEvents events_;
  GroupBound groups_;
  // Scratch.
  std::vector<std::optional<RuleEvents::Found>> newest_;
  std::vector<uint8_t> seen_;
  std::vector<uint8_t> all_;
  std::vector<uint8_t> opening_;
  std::vector<RuleEvent> collected_;
  std::vector<GroupEvent> walked_;
  std::string value_;
};

}  // namespace bongsu::sigma
