// File: operators/sigma/rule_binding.h
//
// Which rules concern which sources, compiled for them: for each source the detections whose log
// source does not conflict with it, with the source's own searches for the log source tied in, and
// the fields that alerts carry.
//
//   RuleBinding binding = BindRules(rules, shapes, diagnostics);
//   const SourceRules& source = binding.sources[i];
//   source.matcher->Match(event, *scratch, &fired);     // all of them at once
//   for (uint32_t rule : fired) {
//     if (RemovedBy(source.rules[rule], event) == nullptr) ... source.rules[rule].spec ...
//   }
//
// Thread-safety: immutable after BindRules.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/event.h"
#include "operators/operator.h"
#include "operators/sigma/log_source.h"
#include "operators/sigma/rule_matcher.h"
#include "operators/sigma/rule_set.h"
#include "operators/sigma/selection.h"

namespace bongsu::sigma {

// What the binding needs of a source.
struct SourceShape {
  std::string name;
  const LogSourceMap* log_source = nullptr;
  FieldTable* fields = nullptr;  // filled with what the rules read
  // Fields that every alert of this source carries: host, user, addresses, process.
  std::vector<std::string> default_fields;
};

// A detection as what makes alerts: to the alert writers it is like any operator. Its inputs are
// the sources that it is bound to; its incidents have one piece of evidence.
class RuleSpec : public OperatorSpec {
 public:
  RuleSpec(const RuleEntry& entry, size_t index);
  size_t index() const { return index_; }  // of RuleSet::entries
  // The port of a new input.
  uint8_t AddInput(InputSpec input);
  std::string Why(const Incident& incident) const override;
  // The condition at this place of a list of conditions (Detection::Branch); empty for -1.
  std::string_view condition(int branch) const {
    return branch < 0 ? std::string_view() : branches_[static_cast<size_t>(branch)];
  }
  // Detections have no state: never asked for.
  std::unique_ptr<Operator> NewInstance() const override { return nullptr; }

 private:
  size_t index_;
  std::string why_;
  std::vector<std::string> branches_;  // of a list of conditions, as they are written
};
inline constexpr size_t kBoundSourcesMax = 255;  // ports are bytes

struct BoundFilter {
  uint32_t entry = 0;  // of RuleSet::entries
  bool keep = true;    // what the filter's condition must say
  std::shared_ptr<const Selection> selection;
};

struct BoundRule {
  uint32_t entry = 0;  // of RuleSet::entries
  bool mute = false;
  std::shared_ptr<const Detection> detection;  // log source and detection
  std::vector<BoundFilter> filters;
  // Detection and filters: what correlations choose by. The pipeline knows it by its address.
  std::shared_ptr<const Selection> whole;
  const RuleSpec* spec = nullptr;
  uint8_t port = 0;
  std::vector<int> payload_slots;  // what alerts carry, in the order of the input's fields
};

struct SourceRules {
  std::vector<BoundRule> rules;
  // The detections of `rules`, by the same index; those of one log source are asked only of events
  // that are of it. Null: no rules.
  std::shared_ptr<const RuleMatcher> matcher;
  // Rules that conflict with the source: entry, and which part does.
  std::vector<std::pair<uint32_t, std::string>> conflicts;
};

struct RuleBinding {
  std::vector<SourceRules> sources;              // as the shapes
  std::vector<std::unique_ptr<RuleSpec>> specs;  // by entry; null: no detection, or bound nowhere
  // Detections that no configured source can bring events for.
  std::vector<uint32_t> unbound;
};

RuleBinding BindRules(const RuleSet& rules, std::span<const SourceShape> sources,
                      Diagnostics& diagnostics);

// The first filter that removes the event, or null.
const BoundFilter* RemovedBy(const BoundRule& rule, const Event& event);

// What the correlation `entry` reads: one input for each (reference, source) that is bound, one for
// each correlation below it, whose operator is called RuleName().
std::vector<ReferenceInput> ReferenceInputs(const RuleSet& rules, const RuleBinding& binding,
                                            std::span<const SourceShape> sources, size_t entry);

// How a rule of the set is called among operators: its id, else its name, else its title.
const std::string& RuleName(const RuleEntry& entry);

// The metadata in the form that alerts and reports take.
RuleInfo InfoOf(const RuleEntry& entry);

}  // namespace bongsu::sigma
