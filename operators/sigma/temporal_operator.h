// File: operators/sigma/temporal_operator.h
//
// Sigma's temporal and temporal_ordered as an operator: in one group, within one window of event
// time, events of the rules that the condition asks for, in any order or in the order of the rules,
// and where it says `not`, none of others. What is an incident, and when it is published:
// operators/sigma/episode_book.h for positive conditions; for absence one incident for each window
// that satisfies the condition, when the window has closed. Windows that follow one another:
// operators/sigma/temporal_windows.h.
//
//   TemporalOperator op(spec, settings);
//
// How a positive condition is found. When an event comes, the newest event of each rule within a
// timespan around it is looked up. If the condition cannot hold with these, that was all. Else it
// is asked whether the window that ends at the event holds: for an ordered condition by the newest
// event of the last step, then the newest before that of the step before, and so on; whatever chain
// there is, this one begins latest. Of an event that comes behind newer ones it is asked, too,
// whether it makes one of their windows hold. Ordered: by a chain through it, backwards as before,
// and on from it by the oldest event of each step. Unordered: it is new to the windows that have no
// other event of its rule: between those of the one before it and of the one behind it. Only then
// are the group's events walked through.
//
// How absence is decided. A window begins at an event of a rule that the condition asks for. Such
// an event has a timer if none of them, that was not decided, was less than a timespan before it.
// When its window has closed, it is looked up what the window holds; if that is an incident, its
// events begin no window of their own, and the next begins behind it. If not, the next event may
// begin one: of two backups that begun within an hour, the second may be the one that never ended.
// So the timer goes on from event to event, as far as windows have closed, or to one that has none
// of them in the timespan before it: that one has a timer of its own.
//
// Bounds: operators/sigma/temporal_events.h.
//
// Thread-safety: as Operator.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "operators/operator.h"
#include "operators/sigma/episode_book.h"
#include "operators/sigma/temporal_condition.h"
#include "operators/sigma/temporal_events.h"

namespace bongsu::sigma {

class TemporalOperator : public Operator, private EpisodeSource {
 public:
  // Both outlive the operator.
  TemporalOperator(const OperatorSpec& spec, const TemporalSettings& settings);

  absl::Status Open(OperatorContext& context) override;
  absl::Status Process(std::span<const Input> batch, OperatorContext& context) override;
  absl::Status OnTimer(const DueTimer& timer, OperatorContext& context) override;
  absl::Status OnWatermark(OperatorContext& context) override;

 private:
  // Where windows end that may hold since an event came: first <= time <= last.
  struct WindowEnds {
    EventTimeNs first = kMaxEventTime;
    EventTimeNs last = kMinEventTime;
    void Add(EventTimeNs from, EventTimeNs to) {
      first = std::min(first, from);
      last = std::max(last, to);
    }
  };

  absl::Status Walk(std::string_view key, EventTimeNs floor, EventTimeNs first, EventTimeNs until,
                    OperatorContext& context,
                    absl::FunctionRef<absl::StatusOr<bool>(const HeldWindow&)> held) override;
  const std::vector<GroupEvent>& walked() const override { return walked_; }
  absl::Status FirstEvent(std::string_view key, EventTimeNs from, EventTimeNs to,
                          EventTimeNs* time) override;
  absl::Status Payload(std::string_view key, const GroupEvent& event,
                       std::string* payload) override;
  void Describe(const Measured& peak, Incident* incident) override;

  absl::Status OnPositive(const Input& input, OperatorContext& context);
  absl::Status EndsHeld(const Input& input, OperatorContext& context, bool* holds);
  absl::Status AddGained(const Input& input, OperatorContext& context, WindowEnds* ends);
  absl::Status AddChain(const Input& input, const std::vector<uint16_t>& steps,
                        OperatorContext& context, WindowEnds* ends);
  absl::Status ChainEnds(const Input& input, OperatorContext& context, bool* ends);
  absl::Status OnAbsence(const Input& input, OperatorContext& context);
  absl::Status IsStartBefore(std::string_view key, EventTimeNs time, EventTimeNs from, bool* found);
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
  TemporalEvents events_;
  // Scratch.
  std::vector<uint8_t> seen_;
  std::vector<uint8_t> asked_;  // by rule: whether the condition asks for it
  std::vector<GroupEvent> walked_;
};

}  // namespace bongsu::sigma
