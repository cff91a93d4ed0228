// File: operators/sigma/temporal_condition.h
//
// What a temporal correlation asks of a window, compiled: which of its rules have to be seen, which
// must not be, and, for temporal_ordered, in which order. And the machine that walks through a
// group's events in time order and says at which times the sliding window satisfies it.
//
//   std::optional<TemporalCondition> condition = CompileTemporal(rule, diagnostics);
//   TemporalWindow window(*condition, rule.timespan, TieOrder::kPosition);
//   if (window.Advance(time, events_of_that_time)) ... (time - timespan, time] satisfies it
//
// A condition is one of three:
//   positive   stays true whatever else is seen ("a and b", gte 2): decided as soon as it holds;
//   absence    an expression with `not`: a window [s, s + timespan) begins at an event s of a rule
//              that it asks for, and is decided when it has closed;
//   tiles      comparisons that more rules can break (lt 3), and expressions that hold where no
//              event is (not a, a or not b): windows [s, s + timespan) one behind the other, each
//              beginning at the first event that the one before does not hold, or, without
//              group-by, at its end.
//
// Thread-safety: TemporalCondition is immutable; a TemporalWindow belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/sigma/condition.h"
#include "operators/sigma/rule.h"
#include "state/types.h"

namespace bongsu::sigma {

// Beyond these a condition is refused: each event costs one look-up for each rule, and one step for
// each alternative.
inline constexpr size_t kTemporalRulesMax = 256;
inline constexpr size_t kTemporalAlternativesMax = 1'000;

// How temporal_ordered takes events of the same nanosecond.
enum class TieOrder : uint8_t {
  kPosition,  // in the order of source, partition and offset
  kApart,     // none is before another: the next event has to be later
};

enum class TemporalKind : uint8_t { kPositive, kAbsence, kTiles };

// One way to satisfy an expression: all of `seen`, in this order where the correlation is ordered,
// and none of `absent` (ordered: none behind the last of `seen`).
struct Alternative {
  std::vector<uint16_t> seen;
  std::vector<uint16_t> absent;
  friend bool operator==(const Alternative&, const Alternative&) = default;
};

class TemporalCondition {
 public:
  size_t rules() const { return rules_; }
  bool ordered() const { return ordered_; }
  TemporalKind kind() const { return kind_; }
  // The condition asks for events of this rule: they are an incident's, and where it asks for the
  // absence of others, they begin windows.
  bool AsksFor(size_t rule) const { return asked_[rule] != 0; }
  // Whether n different rules (ordered: in order) satisfy it; only where it is no expression.
  bool counts() const { return !by_count_.empty(); }
  bool HoldsFor(size_t n) const { return by_count_[n] != 0; }
  // Unordered: the condition over the rules that a window holds (one byte for each).
  bool Holds(std::span<const uint8_t> seen) const;
  // Only tiles: whether a window without any event satisfies it.
  bool HoldsWithoutEvents() const;
  // Whether a window with an event can satisfy it.
  bool HoldsWithEvents() const;
  // Of expressions and, where it is ordered, of positive comparisons.
  const std::vector<Alternative>& alternatives() const { return alternatives_; }

 private:
  friend std::optional<TemporalCondition> CompileTemporal(const CorrelationRule& rule,
                                                          Diagnostics& diagnostics);
  bool CompileCount(const CorrelationRule& rule, Diagnostics& diagnostics);
  bool CompileExpression(const CorrelationRule& rule, Diagnostics& diagnostics);
  bool ChooseSubsets(size_t wanted, const CorrelationRule& rule, Diagnostics& diagnostics);

  size_t rules_ = 0;
  bool ordered_ = false;
  TemporalKind kind_ = TemporalKind::kPositive;
  std::vector<uint8_t> asked_;
  std::vector<uint8_t> by_count_;  // by the number of different rules seen; empty: an expression
  std::vector<Alternative> alternatives_;
};

// Nullopt after errors: a condition in order that holds for a window without events, one that no
// window can satisfy, and ones beyond the bounds.
std::optional<TemporalCondition> CompileTemporal(const CorrelationRule& rule,
                                                 Diagnostics& diagnostics);

// Whether every window meets the condition: a or not a. Of comparisons nothing is said.
bool AlwaysHolds(const CorrelationRule& rule);

// One event of one rule. An event that matches two rules stands there twice.
struct RuleEvent {
  EventTimeNs time = 0;
  RecordSeq seq = 0;
  uint16_t rule = 0;  // index into CorrelationRule::rules
  uint8_t port = 0;
};

// Whether a whole window satisfies the condition: its events, sorted by time and order, whatever
// came before and comes behind it.
bool HoldsWithin(const TemporalCondition& condition, std::span<const RuleEvent> events,
                 TieOrder ties);

// Walks through the events of one group. Only for positive conditions.
class TemporalWindow {
 public:
  TemporalWindow(const TemporalCondition& condition, DurationNs span, TieOrder ties);
  // Forgets all events: none of them may serve again.
  void Clear();
  // All events of `time`, which is later than any before, in their order (those of one record
  // side by side). True when (time - span, time] satisfies the condition.
  bool Advance(EventTimeNs time, std::span<const RuleEvent> events);

 private:
  bool AdvanceUnordered(EventTimeNs time, std::span<const RuleEvent> events);
  void Extend(size_t alternative, EventTimeNs time, std::span<const RuleEvent> together);

  const TemporalCondition& condition_;
  const DurationNs span_;
  const TieOrder ties_;
  std::vector<EventTimeNs> newest_;  // by rule
  std::vector<uint8_t> seen_;        // scratch
  // Ordered: for each alternative and each of its steps the latest first event of a chain up to
  // this step.
  std::vector<std::vector<EventTimeNs>> starts_;
};

}  // namespace bongsu::sigma
