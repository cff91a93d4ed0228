// File: operators/sigma/correlation_tiled.h
//
// Correlations over windows that follow one another, each judged once, when it closes: for
// conditions that more events can make false (lt, lte, eq, neq, ranges) and for `window: tumbling`
// and `session`.
//
//   tiles     [first, first + timespan) from the group's first event on; the next begins at the
//             first event behind it. Without group-by it begins at once, so that windows without
//             events are seen, too.
//   tumbling  [n * timespan, (n + 1) * timespan) counted from 1970
//   session   from an event on as long as the next one comes within the timespan, and no longer
//             than max_episode
//
// An incident is whole when it is written: it is never updated.
//
// State: the group's events, and where its window begins; one timer for each group that has one
// open. A window is walked through once.
//
// Thread-safety: as every operator, one thread.
#pragma once

#include <memory>

#include "operators/operator.h"
#include "operators/sigma/correlation_aggregate.h"

namespace bongsu::sigma {

// `spec` outlives the operator.
std::unique_ptr<Operator> MakeTiledCorrelation(const AggregateSpec& spec);

}  // namespace bongsu::sigma
