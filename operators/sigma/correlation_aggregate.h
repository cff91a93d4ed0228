// File: operators/sigma/correlation_aggregate.h
//
// The correlations that measure a window: event_count, value_count, value_sum, value_avg,
// value_percentile, value_median. Two operators run them:
//
//   correlation_sliding.h  gt and gte over every span (t - timespan, t] that ends at an event: one
//                          incident for each chain of overlapping windows that hold
//   correlation_tiled.h    windows that follow one another and are judged when they close: lt, lte,
//                          eq, neq and ranges; `window: tumbling` and `session`
//
// Thread-safety: immutable after creation.
#pragma once

#include <memory>
#include <string>

#include "operators/sigma/correlation.h"
#include "operators/sigma/correlation_measure.h"
#include "operators/sigma/episode_book.h"

namespace bongsu::sigma {

class AggregateSpec : public CorrelationSpec {
 public:
  // Null after errors.
  static std::unique_ptr<CorrelationSpec> Create(CorrelationParts parts, Diagnostics& diagnostics);
  AggregateSpec(CorrelationParts parts, Comparisons comparisons);

  DurationNs result_delay() const override;
  bool follows_incidents() const override {
    return correlation().type == CorrelationType::kValueCount;
  }
  std::string Why(const Incident& incident) const override;
  std::unique_ptr<Operator> NewInstance() const override;

  const Comparisons& comparisons() const { return comparisons_; }
  // Condition.field is read.
  bool has_values() const { return correlation().type != CorrelationType::kEventCount; }
  bool tiled() const override;
  // Once a window holds the condition it does so whatever else comes: those that hold are found
  // when their events arrive; else only by settling.
  bool grows() const;
  // Incidents are written on arrival.
  bool early() const {
    return options().early && grows() && !options().reset && !options().suppress;
  }
  // Of sliding windows.
  EpisodeOptions episodes() const;
  // Value and threshold of an incident; `*text` outlives it.
  void Describe(const Measured& value, std::string* text, Incident* incident) const;

 private:
  Comparisons comparisons_;
};

}  // namespace bongsu::sigma
