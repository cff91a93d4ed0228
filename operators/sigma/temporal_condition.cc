#include "operators/sigma/temporal_condition.h"

#include <fmt/format.h>

#include <algorithm>

#include "state/check.h"

namespace bongsu::sigma {
namespace {

bool Contains(const std::vector<uint16_t>& rules, uint16_t rule) {
  return std::find(rules.begin(), rules.end(), rule) != rules.end();
}

void AddSorted(uint16_t rule, std::vector<uint16_t>* rules) {
  const auto at = std::lower_bound(rules->begin(), rules->end(), rule);
  if (at == rules->end() || *at != rule) rules->insert(at, rule);
}

// Both at once; false: a contradiction.
bool Both(const Alternative& a, const Alternative& b, Alternative* both) {
  *both = a;
  for (uint16_t rule : b.seen) AddSorted(rule, &both->seen);
  for (uint16_t rule : b.absent) AddSorted(rule, &both->absent);
  return std::none_of(both->seen.begin(), both->seen.end(),
                      [&](uint16_t rule) { return Contains(both->absent, rule); });
}

// The condition as alternatives (its disjunctive normal form), negated where `negate`; false: more
// than the bound.
bool Alternatives(const Condition& condition, bool negate, std::vector<Alternative>* out) {
  out->clear();
  if (condition.kind == Condition::kSearch) {
    Alternative& one = out->emplace_back();
    (negate ? one.absent : one.seen).push_back(static_cast<uint16_t>(condition.search));
    return true;
  }
  if (condition.kind == Condition::kNot) return Alternatives(condition.operands[0], !negate, out);
  const bool all = (condition.kind == Condition::kAnd) != negate;
  if (all) out->emplace_back();
  for (const Condition& operand : condition.operands) {
    std::vector<Alternative> more;
    if (!Alternatives(operand, negate, &more)) return false;
    std::vector<Alternative> combined;
    if (!all) combined = *out;
    for (const Alternative& b : more) {
      if (!all) combined.push_back(b);
      for (size_t i = 0; all && i < out->size(); ++i) {
        Alternative both;
        if (Both((*out)[i], b, &both)) combined.push_back(std::move(both));
      }
      if (combined.size() > kTemporalAlternativesMax) return false;
    }
    out->clear();
    for (Alternative& one : combined) {
      if (std::find(out->begin(), out->end(), one) == out->end()) out->push_back(std::move(one));
    }
  }
  return true;
}

}  // namespace

bool TemporalCondition::Holds(std::span<const uint8_t> seen) const {
  if (!by_count_.empty()) {
    size_t count = 0;
    for (uint8_t one : seen) count += one;
    return by_count_[count] != 0;
  }
  return std::any_of(alternatives_.begin(), alternatives_.end(), [&](const Alternative& one) {
    return std::all_of(one.seen.begin(), one.seen.end(),
                       [&](uint16_t rule) { return seen[rule] != 0; }) &&
           std::none_of(one.absent.begin(), one.absent.end(),
                        [&](uint16_t rule) { return seen[rule] != 0; });
  });
}

// All ways to choose `wanted` of the rules, for chains.
bool TemporalCondition::ChooseSubsets(size_t wanted, const CorrelationRule& rule,
                                      Diagnostics& diagnostics) {
  std::vector<uint16_t> chosen(wanted);
  for (size_t i = 0; i < wanted; ++i) chosen[i] = static_cast<uint16_t>(i);
  while (true) {
    if (alternatives_.size() == kTemporalAlternativesMax) {
      diagnostics.Error(rule.condition_where,
                        fmt::format("{} of {} rules in order are more than {} possibilities",
                                    wanted, rules_, kTemporalAlternativesMax),
                        "use temporal, fewer rules, or an expression");
      return false;
    }
    alternatives_.push_back({chosen, {}});
    size_t i = wanted;
    while (i > 0 && chosen[i - 1] == rules_ - wanted + i - 1) --i;
    if (i == 0) return true;
    ++chosen[i - 1];
    for (; i < wanted; ++i) chosen[i] = static_cast<uint16_t>(chosen[i - 1] + 1);
  }
}

bool TemporalCondition::CompileCount(const CorrelationRule& rule, Diagnostics& diagnostics) {
  by_count_.assign(rules_ + 1, 0);
  asked_.assign(rules_, 1);
  for (size_t n = 0; n <= rules_; ++n) {
    const bool holds = rule.comparisons.empty()
                           ? n == rules_
                           : std::all_of(rule.comparisons.begin(), rule.comparisons.end(),
                                         [&](const Comparison& one) {
                                           return Meets(one, static_cast<double>(n));
                                         });
    by_count_[n] = holds ? 1 : 0;
  }
  // Of an order of no rules nothing can be said.
  if (std::none_of(by_count_.begin() + (ordered_ ? 1 : 0), by_count_.end(),
                   [](uint8_t one) { return one != 0; })) {
    diagnostics.Error(rule.condition_where,
                      fmt::format("no number of rules from {} to {} meets this condition",
                                  ordered_ ? 1 : 0, rules_),
                      "it compares how many different rules a window has events of");
    return false;
  }
  if (!std::is_sorted(by_count_.begin(), by_count_.end())) {
    kind_ = TemporalKind::kTiles;
    return true;
  }
  const auto wanted =
      static_cast<size_t>(std::find(by_count_.begin(), by_count_.end(), 1) - by_count_.begin());
  if (wanted == 0) by_count_[0] = 0;  // a window without events is none
  return !ordered_ || ChooseSubsets(std::max<size_t>(wanted, 1), rule, diagnostics);
}

bool TemporalCondition::CompileExpression(const CorrelationRule& rule, Diagnostics& diagnostics) {
  std::vector<std::string> names;
  for (const PlacedText& name : rule.rules) names.push_back(name.text);
  Node node;
  node.kind = NodeKind::kScalar;
  node.scalar = rule.expression.text;
  node.where = rule.expression.where;
  Condition condition;
  if (!ParseCondition(node, names, &condition, diagnostics)) return false;
  if (!Alternatives(condition, /*negate=*/false, &alternatives_)) {
    diagnostics.Error(
        rule.condition_where,
        fmt::format("the condition has more than {} alternatives", kTemporalAlternativesMax),
        "split it into several correlations");
    return false;
  }
  if (alternatives_.empty()) {
    diagnostics.Error(rule.condition_where, "no window can meet this condition",
                      "it wants a rule both seen and not seen");
    return false;
  }
  for (const Alternative& one : alternatives_) {
    for (uint16_t seen : one.seen) asked_[seen] = 1;
    if (!one.absent.empty()) kind_ = TemporalKind::kAbsence;
  }
  const auto asks_nothing = [](const Alternative& one) { return one.seen.empty(); };
  if (std::none_of(alternatives_.begin(), alternatives_.end(), asks_nothing)) return true;
  if (ordered_) {
    diagnostics.Error(rule.condition_where, "the condition holds for a window without any event",
                      "nothing is in order then: use temporal, or ask for a rule: a and not b");
    return false;
  }
  kind_ = TemporalKind::kTiles;
  return true;
}

bool TemporalCondition::HoldsWithoutEvents() const {
  const std::vector<uint8_t> none(rules_, 0);
  return kind_ == TemporalKind::kTiles && Holds(none);
}

// Of windows that begin at an event: is there one that holds?
bool TemporalCondition::HoldsWithEvents() const {
  if (counts()) return std::find(by_count_.begin() + 1, by_count_.end(), 1) != by_count_.end();
  return std::any_of(alternatives_.begin(), alternatives_.end(), [this](const Alternative& one) {
    return !one.seen.empty() || one.absent.size() < rules_;
  });
}

std::optional<TemporalCondition> CompileTemporal(const CorrelationRule& rule,
                                                 Diagnostics& diagnostics) {
  TemporalCondition condition;
  condition.rules_ = rule.rules.size();
  condition.ordered_ = rule.type == CorrelationType::kTemporalOrdered;
  if (condition.rules_ > kTemporalRulesMax) {
    diagnostics.Error(rule.where,
                      fmt::format("{} rules: a temporal correlation takes at most {}",
                                  condition.rules_, kTemporalRulesMax),
                      "chain several correlations");
    return std::nullopt;
  }
  condition.asked_.assign(condition.rules_, 0);
  const bool good = rule.expression.text.empty() ? condition.CompileCount(rule, diagnostics)
                                                 : condition.CompileExpression(rule, diagnostics);
  if (!good) return std::nullopt;
  return condition;
}

bool AlwaysHolds(const CorrelationRule& rule) {
  if (rule.expression.text.empty()) return false;
  std::vector<std::string> names;
  for (const PlacedText& name : rule.rules) names.push_back(name.text);
  Node node;
  node.kind = NodeKind::kScalar;
  node.scalar = rule.expression.text;
  Condition condition;
  Diagnostics said;
  std::vector<Alternative> otherwise;
  return ParseCondition(node, names, &condition, said) &&
         Alternatives(condition, /*negate=*/true, &otherwise) && otherwise.empty();
}

TemporalWindow::TemporalWindow(const TemporalCondition& condition, DurationNs span, TieOrder ties)
    : condition_(condition), span_(span), ties_(ties) {
  BONGSU_CHECK(condition.kind() == TemporalKind::kPositive);
  seen_.resize(condition.rules());
  if (condition.ordered()) {
    for (const Alternative& one : condition.alternatives()) starts_.emplace_back(one.seen.size());
  }
  Clear();
}

void TemporalWindow::Clear() {
  newest_.assign(condition_.rules(), kMinEventTime);
  for (auto& starts : starts_) std::fill(starts.begin(), starts.end(), kMinEventTime);
}

bool TemporalWindow::AdvanceUnordered(EventTimeNs time, std::span<const RuleEvent> events) {
  for (const RuleEvent& event : events) newest_[event.rule] = time;
  const EventTimeNs before = AddTime(time, -span_);
  for (size_t i = 0; i < newest_.size(); ++i) seen_[i] = newest_[i] > before ? 1 : 0;
  return condition_.Holds(seen_);
}

// Events that cannot follow each other: of one record, or of one time.
void TemporalWindow::Extend(size_t alternative, EventTimeNs time,
                            std::span<const RuleEvent> together) {
  const std::vector<uint16_t>& steps = condition_.alternatives()[alternative].seen;
  std::vector<EventTimeNs>& starts = starts_[alternative];
  // From the last step on: a step must not take what these events gave to the one before it.
  for (size_t step = steps.size(); step-- > 0;) {
    const bool has = std::any_of(together.begin(), together.end(),
                                 [&](const RuleEvent& event) { return event.rule == steps[step]; });
    if (has) starts[step] = std::max(starts[step], step == 0 ? time : starts[step - 1]);
  }
}

bool TemporalWindow::Advance(EventTimeNs time, std::span<const RuleEvent> events) {
  if (!condition_.ordered()) return AdvanceUnordered(time, events);
  bool holds = false;
  for (size_t i = 0; i < starts_.size(); ++i) {
    if (ties_ == TieOrder::kApart) {
      Extend(i, time, events);
    } else {
      for (size_t begin = 0, end = 0; begin < events.size(); begin = end) {
        while (end < events.size() && events[end].seq == events[begin].seq) ++end;
        Extend(i, time, events.subspan(begin, end - begin));
      }
    }
    holds = holds || starts_[i].back() > AddTime(time, -span_);
  }
  return holds;
}

namespace {

// Events that cannot follow each other: of one record, or with TieOrder::kApart of one time.
bool Together(const RuleEvent& a, const RuleEvent& b, TieOrder ties) {
  return a.time == b.time && (ties == TieOrder::kApart || a.seq == b.seq);
}

// The events cut into such groups: each one's end.
std::vector<size_t> Groups(std::span<const RuleEvent> events, TieOrder ties) {
  std::vector<size_t> ends;
  for (size_t i = 0; i < events.size(); ++i) {
    if (i + 1 == events.size() || !Together(events[i], events[i + 1], ties)) ends.push_back(i + 1);
  }
  return ends;
}

// The longest chain of events, in the order of the rules: how many different rules were seen.
size_t LongestChain(size_t rules, std::span<const RuleEvent> events, TieOrder ties) {
  std::vector<size_t> longest(rules, 0);  // of a chain that ends with this rule
  const auto follow = [&](std::span<const RuleEvent> together) {
    const std::vector<size_t> old = longest;
    for (const RuleEvent& event : together) {
      const size_t before =
          event.rule == 0 ? 0 : *std::max_element(old.begin(), old.begin() + event.rule);
      longest[event.rule] = std::max(longest[event.rule], before + 1);
    }
  };
  size_t begin = 0;
  for (const size_t end : Groups(events, ties)) {
    follow(events.subspan(begin, end - begin));
    begin = end;
  }
  return *std::max_element(longest.begin(), longest.end());
}

// Steps as early as can be, the last one as late, and nothing that must be absent behind it.
bool ChainWithin(const Alternative& alternative, std::span<const RuleEvent> events,
                 std::span<const size_t> ends) {
  const auto has = [&](size_t group, uint16_t rule) {
    for (size_t i = group == 0 ? 0 : ends[group - 1]; i < ends[group]; ++i) {
      if (events[i].rule == rule) return true;
    }
    return false;
  };
  const std::vector<uint16_t>& steps = alternative.seen;
  size_t first = 0;  // the group from which on the next step may be
  for (size_t step = 0; step + 1 < steps.size(); ++step, ++first) {
    while (first < ends.size() && !has(first, steps[step])) ++first;
    if (first == ends.size()) return false;
  }
  for (size_t group = ends.size(); group-- > first;) {
    if (has(group, steps.back())) return true;
    if (std::any_of(alternative.absent.begin(), alternative.absent.end(),
                    [&](uint16_t rule) { return has(group, rule); }))
      return false;
  }
  return false;
}

}  // namespace

bool HoldsWithin(const TemporalCondition& condition, std::span<const RuleEvent> events,
                 TieOrder ties) {
  if (!condition.ordered()) {
    std::vector<uint8_t> seen(condition.rules(), 0);
    for (const RuleEvent& event : events) seen[event.rule] = 1;
    return condition.Holds(seen);
  }
  if (condition.counts()) return condition.HoldsFor(LongestChain(condition.rules(), events, ties));
  const std::vector<size_t> ends = Groups(events, ties);
  return std::any_of(
      condition.alternatives().begin(), condition.alternatives().end(),
      [&](const Alternative& alternative) { return ChainWithin(alternative, events, ends); });
}

}  // namespace bongsu::sigma
