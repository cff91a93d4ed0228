// File: operators/sigma/temporal.h
//
// The spec of temporal and temporal_ordered: what the correlation says, checked and compiled, and
// one sentence for people. The operator: operators/sigma/temporal_operator.h.
//
// Thread-safety: immutable after MakeTemporal.
#pragma once

#include <memory>

#include "operators/sigma/correlation.h"

namespace bongsu::sigma {

// Null after errors, all of which are in `diagnostics`.
std::unique_ptr<CorrelationSpec> MakeTemporal(CorrelationParts parts, Diagnostics& diagnostics);

}  // namespace bongsu::sigma
