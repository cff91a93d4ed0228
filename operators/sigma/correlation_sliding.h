// File: operators/sigma/correlation_sliding.h
//
// Measured correlations over sliding windows of event time: every span (t - timespan, t] that ends
// at an event, judged by gt and gte. What is an incident, and when it is published:
// operators/sigma/episode_book.h.
//
// How windows that hold are found. An event goes into its group's list. Two binary searches tell
// how many events lie near it; fewer than the condition needs, and that is all: no other state, no
// timer. value_count has a second hurdle, the exact number of distinct values of the windows that
// the event is in (operators/sigma/correlation_runs.h). Only then are those windows walked through
// by the book. Sums, means and ranks, which later events can lower, are found by settling alone,
// every sixteenth of a timespan.
//
// Cost of an event: a put and a count, whatever the length of the window and the number of its
// events; settling walks through each event of an open episode about five times.
//
// How long an event is kept. C is the closing time. A window that an event on time can be in ends
// at C or later, and begins above C - timespan. A timer that has not fired has a time >= C, and was
// set for the first event behind the settled time or a step behind it; so what it walks through
// lies above C - step - timespan.
//
// Thread-safety: as every operator, one thread.
#pragma once

#include <memory>

#include "operators/operator.h"
#include "operators/sigma/correlation_aggregate.h"

namespace bongsu::sigma {

// `spec` outlives the operator.
std::unique_ptr<Operator> MakeSlidingCorrelation(const AggregateSpec& spec);

}  // namespace bongsu::sigma
