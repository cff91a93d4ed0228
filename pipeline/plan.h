// File: pipeline/plan.h
//
// The configuration turned into what the threads need: which operators a source feeds, through
// which selection, key and fields; which operators stand on which level; who reads whose results.
//
//   Plan plan = MakePlan(config);
//   for (const Feed& feed : plan.sources[i].feeds) ...
//
// Thread-safety: immutable after MakePlan. The Config outlives it.
#pragma once

#include <cstdint>
#include <vector>

#include "operators/key.h"
#include "operators/operator.h"
#include "pipeline/config.h"

namespace bongsu {

// One input of one operator, as its source sees it.
struct Feed {
  uint16_t op = 0;                              // index into Config::operators
  uint8_t port = 0;                             // index into OperatorSpec::inputs()
  const sigma::Selection* selection = nullptr;  // null: all events
  int rule = -1;  // the selection is this rule's (SourceRules::rules), which is asked once for all
  KeyOptions key;
  std::vector<int> payload_slots;  // in InputSpec::fields order
};

struct SourcePlan {
  std::vector<Feed> feeds;
};

struct OperatorPlan {
  const OperatorSpec* spec = nullptr;
  int level = 0;
  // For each port: the index of the source, or of the operator that it reads.
  std::vector<int> port_source;
  std::vector<bool> port_from_operator;
  std::vector<DurationNs> allowed_lateness;  // for each port; 0 for an operator's results
  std::vector<bool> fed_by;  // for each source: by itself, or through an operator's results
  // How far behind its sources the results of operators that are older than this one may still come
  // in; 0 where it reads none.
  DurationNs results_behind = 0;
  // The operators (always of higher levels) that read this one's results.
  std::vector<Feed> readers;
  FieldTable result_fields;  // what the readers' slots refer to
};

struct Plan {
  std::vector<SourcePlan> sources;
  std::vector<OperatorPlan> operators;
  int levels = 1;
};

Plan MakePlan(const Config& config);

}  // namespace bongsu
