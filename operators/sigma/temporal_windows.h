// File: operators/sigma/temporal_windows.h
//
// temporal and temporal_ordered over windows that follow one another
// (operators/sigma/tiled_windows.h): for comparisons that more rules can break (lt 3) and for
// `window: tumbling` and `session`. Every event of the correlation's rules begins or prolongs a
// window, also one that the condition wants absent; evidence are those that it asks for.
//
// Thread-safety: as every operator, one thread.
#pragma once

#include <memory>

#include "operators/operator.h"
#include "operators/sigma/temporal_events.h"
#include "operators/sigma/tiled_windows.h"

namespace bongsu::sigma {

// Both outlive the operator.
std::unique_ptr<Operator> MakeTemporalWindows(const OperatorSpec& spec, const TileOptions& tiles,
                                              const TemporalSettings& settings);

}  // namespace bongsu::sigma
