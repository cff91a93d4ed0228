// File: operators/sigma/correlation_measure.h
//
// What a correlation measures over the events of a window: how many, how many distinct values,
// their sum, mean, percentile or median; and the comparison with the rule's numbers. A window
// slides by Add and Remove.
//
// Exact: counts; distinct values up to a bound (beyond it a sample, below); numbers as decimals of
// nine places, in 128 bits, so that a sum does not hang on the order of its parts. A number with
// more places is cut there; one of 10^18 or more is no value.
//
// The sample: values are told apart by 128 bits of hash. When more than `values_max` are tracked,
// only those whose hash ends in k zero bits are, k one more each time; the number of values is
// about (tracked << k), with a standard error of 1 / sqrt(tracked) (Gibbons, "Distinct Sampling for
// Highly-Accurate Answers to Distinct Values Queries and Event Reports", VLDB 2001). Unlike a
// HyperLogLog it can forget what leaves the window.
//
// Thread-safety: one thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/event.h"
#include "operators/payload.h"
#include "operators/sigma/rule.h"

namespace bongsu::sigma {

// GCC's and Clang's; -Wpedantic wants the keyword.
__extension__ using Int128 = __int128;
__extension__ using UInt128 = unsigned __int128;

// A value as it is kept with its event: a hash, or a number.
using Digest = std::array<uint8_t, 16>;
// Of one event, whose field is an array: as many as its payload has.
inline constexpr int kDigestsMax = static_cast<int>(kPayloadArrayItemsMax);

// The number as a decimal of nine places; nullopt where it is none, or too large.
std::optional<Int128> ParseFixed(std::string_view number);
inline constexpr Int128 kFixedOne = 1'000'000'000;

// What was measured: numerator / denominator, the numerator with nine places.
struct Measured {
  bool defined = false;  // the mean of nothing is not
  Int128 numerator = 0;
  int64_t denominator = 1;
  double error = 0;  // relative, three standard errors; 0: exact
};
std::string MeasuredText(const Measured& value);  // "12", "3.5"
bool Less(const Measured& a, const Measured& b);

// The comparisons of a condition, ready.
class Comparisons {
 public:
  // Reports numbers with too many places.
  Comparisons(const CorrelationRule& rule, Diagnostics& diagnostics);
  bool Hold(const Measured& value) const;
  // All are gt or gte: more events can only help.
  bool only_lower_bounds() const { return only_lower_; }
  // The least whole number that meets the lower bounds; 0 where every one does.
  uint64_t least() const { return least_; }

 private:
  struct One {
    ComparisonOperator op;
    Int128 number;
  };
  std::vector<One> all_;
  bool only_lower_ = true;
  uint64_t least_ = 0;
};

class Measure {
 public:
  virtual ~Measure() = default;
  virtual void Clear() = 0;
  virtual void Add(std::span<const Digest> digests) = 0;
  // What was added before.
  virtual void Remove(std::span<const Digest> digests) = 0;
  virtual Measured value() const = 0;
};

std::unique_ptr<Measure> MakeMeasure(const CorrelationRule& rule, size_t values_max);

// The digests of one event's values: `positions` into `payload` (operators/payload.h). Empty where
// a value is missing, or is no number where one is needed: the event has no part then.
//
// A result of a correlation below has the values of several events. Behind its `fields` values lies
// a column for each, with what each event has (pipeline/result_rows.h): each event's number counts,
// and the fields of one event are one tuple. Only where no event has all of them, what different
// events have is combined.
class DigestReader {
 public:
  explicit DigestReader(const CorrelationRule& rule) : type_(rule.type) {}
  // `fields`: InputSpec::fields of a result, 0 of an event that comes from a source.
  std::span<const Digest> Read(std::string_view payload, std::span<const int> positions,
                               size_t fields);
  // The field may have had more values than kDigestsMax, or longer ones than the payload holds.
  bool capped() const { return capped_; }

 private:
  void AddTuple(std::string_view tuple);
  bool AddToTuples(const Value& value);
  void AddTuples(std::span<const Value> values);
  void AddValue(const Value& value);

  CorrelationType type_;
  bool capped_ = false;
  std::vector<Value> values_;
  std::vector<Value> tuple_;  // the values at the positions
  std::vector<Digest> digests_;
  std::vector<std::string> tuples_;  // of several fields
  std::vector<std::string> longer_;
  std::string part_;
};

}  // namespace bongsu::sigma
