// File: operators/sigma/correlation_sliding.h
//
// Correlations over sliding windows of event time: every span (t - timespan, t] that ends at an
// event, judged by gt and gte. One incident for each *episode*: a chain of windows that hold the
// condition, each overlapping the one before. Its anchor is the first event of its first window.
//
// How it works.
//   Arrival. An event goes into its group's list. Two binary searches tell how many events lie near
//   it; fewer than the condition needs, and that is all: no other state, no timer. value_count has
//   a second hurdle, an upper bound on the distinct values (below). Only then are the windows that
//   hold the event looked at one by one. Windows that hold the condition are noted in the group,
//   and with `emit: early` an incident is published: for counts later events cannot make it false.
//   Settling. When the closing time has passed the first of these windows, nothing older can come:
//   the group's events are walked through in order, and episodes are made for good, up to the
//   timer's time. From then on every quarter of a timespan, as long as the episode is open. What
//   was published on arrival is taken over; where two published incidents turn out to be one
//   episode, the older one goes on and the other is closed with `merged_into`.
//   Sums, means and ranks, and whatever is reset, are found by settling alone, every sixteenth of
//   a timespan; with `suppress` nothing is published on arrival.
//
// Cost of an event: a put and a count, whatever the length of the window and the number of its
// events; settling walks through each event of an open episode about five times.
//
// Distinct values. Of each value the newest *run* is kept: its first and last time, gaps below the
// timespan. An event within the run of its value changes no window; one that prolongs a run that
// the newest window holds raises none. Any other raises a window by one at most. So `most`, the
// highest number when the windows were last counted, plus the events since then that were of
// neither kind, bounds them all from above; they are counted anew when the bound reaches the
// condition. Below half of the condition's number of events in a window no runs are kept at all.
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
