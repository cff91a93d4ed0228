// File: operators/sigma/correlation_tiled.h
//
// The correlations that measure a window, over windows that follow one another
// (operators/sigma/tiled_windows.h). Without group-by, windows without events are judged, too.
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
