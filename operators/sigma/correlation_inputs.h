// File: operators/sigma/correlation_inputs.h
//
// What each correlation of a rule set reads, and which fields its results carry for the
// correlations above it.
//
// A field that a correlation asks for (group-by, condition.field) means for each rule below it what
// its aliases say, and where they say nothing the field of that name. A correlation below it need
// not have that field itself: it is asked to carry it from its own events, down to the detections.
// So requests go from the highest level down, and the plans come back lowest level first:
//
//   for (CorrelationPlan& plan : PlanCorrelations(rules, binding, shapes, diagnostics))
//     operators.push_back(MakeCorrelation(rules, std::move(plan), ...));
//
// Thread-safety: pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "operators/operator.h"
#include "operators/sigma/rule_binding.h"
#include "operators/sigma/rule_set.h"

namespace bongsu::sigma {

// One port: a reference and a source that brings its events, or a reference to a correlation.
struct CorrelationInput {
  ReferenceInput from;
  uint32_t entry = 0;                     // the rule referred to, of RuleSet::entries
  std::string title;                      // its title
  std::vector<std::string> key_fields;    // group-by, in its order
  std::vector<std::string> value_fields;  // condition.field, in its order
  std::vector<std::string> fields;        // all that is carried, the value fields first
};

struct CorrelationPlan {
  uint32_t entry = 0;  // of RuleSet::entries
  std::vector<CorrelationInput> inputs;
  std::vector<ResultField> results;  // what readers asked for
};

// Lowest level first; correlations that no configured source can bring an event to are left out,
// with a warning. The fields that they read are registered with the sources.
std::vector<CorrelationPlan> PlanCorrelations(const RuleSet& rules, const RuleBinding& binding,
                                              std::span<const SourceShape> sources,
                                              Diagnostics& diagnostics);

}  // namespace bongsu::sigma
