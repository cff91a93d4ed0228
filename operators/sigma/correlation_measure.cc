#include "operators/sigma/correlation_measure.h"

#include <endian.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/container/flat_hash_map.h"
#include "operators/decimal.h"
#include "operators/key.h"
#include "operators/payload.h"
#include "state/check.h"

namespace bongsu::sigma {
namespace {

constexpr int kDecimalPlaces = 9;
constexpr int kWholeDigitsMax = 18;

// Big-endian, as all numbers of the state.
Int128 ToFixed(const Digest& digest) {
  uint64_t halves[2];
  std::memcpy(halves, digest.data(), sizeof(halves));
  return static_cast<Int128>(static_cast<UInt128>(be64toh(halves[0])) << 64 | be64toh(halves[1]));
}

Digest FromFixed(Int128 number) {
  const auto bits = static_cast<UInt128>(number);
  const uint64_t halves[2] = {htobe64(static_cast<uint64_t>(bits >> 64)),
                              htobe64(static_cast<uint64_t>(bits))};
  Digest digest;
  std::memcpy(digest.data(), halves, sizeof(halves));
  return digest;
}

Measured Whole(uint64_t n) { return {true, static_cast<Int128>(n) * kFixedOne, 1, 0}; }

class CountMeasure : public Measure {
 public:
  void Clear() override { n_ = 0; }
  void Add(std::span<const Digest>) override { ++n_; }
  void Remove(std::span<const Digest>) override { --n_; }
  Measured value() const override { return Whole(n_); }

 private:
  uint64_t n_ = 0;
};

struct DigestHash {
  size_t operator()(const Digest& digest) const {
    size_t hash = 0;
    std::memcpy(&hash, digest.data(), sizeof(hash));
    return hash;
  }
};

class DistinctMeasure : public Measure {
 public:
  explicit DistinctMeasure(size_t values_max) : values_max_(values_max) {}
  void Clear() override {
    counts_.clear();
    level_ = 0;
  }
  void Add(std::span<const Digest> digests) override {
    for (const Digest& digest : digests) {
      if (!Tracked(digest)) continue;
      ++counts_[digest];
      while (counts_.size() > values_max_) Thin();
    }
  }
  void Remove(std::span<const Digest> digests) override {
    for (const Digest& digest : digests) {
      if (!Tracked(digest)) continue;
      const auto it = counts_.find(digest);
      if (--it->second == 0) counts_.erase(it);
    }
  }
  Measured value() const override {
    Measured value = Whole(uint64_t{counts_.size()} << level_);
    if (level_ > 0)
      value.error = 3 / std::sqrt(static_cast<double>(std::max<size_t>(counts_.size(), 1)));
    return value;
  }

 private:
  // The map goes by the first eight bytes, the sample by the last.
  bool Tracked(const Digest& digest) const {
    uint64_t tail = 0;
    std::memcpy(&tail, digest.data() + 8, sizeof(tail));
    return (tail & ((uint64_t{1} << level_) - 1)) == 0;
  }
  void Thin() {
    ++level_;
    absl::erase_if(counts_, [this](const auto& one) { return !Tracked(one.first); });
  }

  const size_t values_max_;
  int level_ = 0;
  absl::flat_hash_map<Digest, uint32_t, DigestHash> counts_;
};

class SumMeasure : public Measure {
 public:
  explicit SumMeasure(bool mean) : mean_(mean) {}
  void Clear() override {
    sum_ = 0;
    n_ = 0;
  }
  void Add(std::span<const Digest> digests) override {
    for (const Digest& digest : digests) sum_ += ToFixed(digest);
    n_ += static_cast<int64_t>(digests.size());
  }
  void Remove(std::span<const Digest> digests) override {
    for (const Digest& digest : digests) sum_ -= ToFixed(digest);
    n_ -= static_cast<int64_t>(digests.size());
  }
  Measured value() const override {
    if (!mean_) return {true, sum_, 1, 0};
    return {n_ > 0, sum_, std::max<int64_t>(n_, 1), 0};
  }

 private:
  const bool mean_;
  Int128 sum_ = 0;
  int64_t n_ = 0;
};

// All numbers in order, in runs of bounded length: an insertion moves one run, and the n-th is
// found by the runs' lengths.
class RankMeasure : public Measure {
 public:
  // `percent`: nullopt for the median, which lies between the two in the middle. A decimal of nine
  // places: in floating point 55 / 100 * 100 is more than 55.
  explicit RankMeasure(std::optional<double> percent) {
    if (percent) percent_ = std::llround(*percent * static_cast<double>(kFixedOne));
  }
  void Clear() override {
    runs_.clear();
    n_ = 0;
  }
  void Add(std::span<const Digest> digests) override {
    for (const Digest& digest : digests) Insert(ToFixed(digest));
  }
  void Remove(std::span<const Digest> digests) override {
    for (const Digest& digest : digests) {
      const Int128 number = ToFixed(digest);
      const auto run = RunOf(number);
      run->erase(std::lower_bound(run->begin(), run->end(), number));
      if (run->empty()) runs_.erase(run);
      --n_;
    }
  }
  Measured value() const override {
    if (n_ == 0) return {};
    if (!percent_) return {true, At((n_ - 1) / 2) + At(n_ / 2), 2, 0};
    // The nearest rank: the least number that has at least so many per cent at or below it.
    const Int128 whole = 100 * kFixedOne;
    const auto rank =
        static_cast<size_t>((*percent_ * static_cast<Int128>(n_) + whole - 1) / whole);
    return {true, At(std::clamp<size_t>(rank, 1, n_) - 1), 1, 0};
  }

 private:
  static constexpr size_t kRunMax = 1024;
  using Runs = std::vector<std::vector<Int128>>;

  // The first run whose last number is not below `number`, or the last one.
  Runs::iterator RunOf(Int128 number) {
    const auto run = std::lower_bound(
        runs_.begin(), runs_.end(), number,
        [](const std::vector<Int128>& one, Int128 value) { return one.back() < value; });
    return run == runs_.end() ? std::prev(run) : run;
  }
  void Insert(Int128 number) {
    ++n_;
    if (runs_.empty()) runs_.emplace_back();
    if (runs_.back().empty()) {
      runs_.back().push_back(number);
      return;
    }
    const auto run = RunOf(number);
    run->insert(std::upper_bound(run->begin(), run->end(), number), number);
    if (run->size() <= kRunMax) return;
    const auto half = run->begin() + kRunMax / 2;
    std::vector<Int128> rest(half, run->end());
    run->erase(half, run->end());
    runs_.insert(run + 1, std::move(rest));
  }
  Int128 At(size_t rank) const {
    for (const std::vector<Int128>& run : runs_) {
      if (rank < run.size()) return run[rank];
      rank -= run.size();
    }
    BONGSU_CHECK_MSG(false, "a rank beyond the numbers");
    return 0;
  }

  std::optional<Int128> percent_;
  Runs runs_;
  size_t n_ = 0;
};

}  // namespace

std::optional<Int128> ParseFixed(std::string_view number) {
  std::string text;
  if (!ShortestDecimal(number, &text)) return std::nullopt;
  std::string_view rest = text;
  const bool negative = rest.starts_with('-');
  if (negative) rest.remove_prefix(1);
  const size_t point = std::min(rest.find('.'), rest.size());
  if (point > kWholeDigitsMax) return std::nullopt;
  Int128 value = 0;
  for (const char digit : rest.substr(0, point)) value = value * 10 + (digit - '0');
  for (size_t i = 0; i < kDecimalPlaces; ++i) {
    const size_t at = point + 1 + i;
    value = value * 10 + (at < rest.size() ? rest[at] - '0' : 0);
  }
  return negative ? -value : value;
}

std::string MeasuredText(const Measured& value) {
  if (!value.defined) return "";
  const bool negative = value.numerator < 0;
  const Int128 number = (negative ? -value.numerator : value.numerator) / value.denominator;
  std::string digits;
  for (Int128 rest = number; rest > 0; rest /= 10)
    digits.push_back(static_cast<char>('0' + static_cast<int>(rest % 10)));
  while (digits.size() <= kDecimalPlaces) digits.push_back('0');
  digits.insert(kDecimalPlaces, 1, '.');
  std::reverse(digits.begin(), digits.end());
  digits.erase(digits.find_last_not_of('0') + 1);
  if (digits.back() == '.') digits.pop_back();
  return negative && digits != "0" ? "-" + digits : digits;
}

bool Less(const Measured& a, const Measured& b) {
  return a.numerator * b.denominator < b.numerator * a.denominator;
}

Comparisons::Comparisons(const CorrelationRule& rule, Diagnostics& diagnostics) {
  for (const Comparison& one : rule.comparisons) {
    const std::optional<Int128> number = ParseFixed(one.decimal);
    const size_t point = one.decimal.find('.');
    if (!number ||
        (point != std::string::npos && one.decimal.size() - point - 1 > kDecimalPlaces)) {
      diagnostics.Error(one.where, "this number cannot be compared exactly",
                        "below 10^18, with at most nine decimal places");
      continue;
    }
    all_.push_back({one.op, *number});
    const bool gt = one.op == ComparisonOperator::kGt;
    if (!gt && one.op != ComparisonOperator::kGte) {
      only_lower_ = false;
      continue;
    }
    if (*number < 0) continue;
    const auto whole = static_cast<uint64_t>(*number / kFixedOne);
    const bool more = gt || *number % kFixedOne != 0;
    least_ = std::max(least_, whole + (more ? 1 : 0));
  }
}

bool Comparisons::Hold(const Measured& value) const {
  if (!value.defined) return false;
  return std::all_of(all_.begin(), all_.end(), [&](const One& one) {
    const Int128 other = one.number * value.denominator;
    switch (one.op) {
      case ComparisonOperator::kGt:
        return value.numerator > other;
      case ComparisonOperator::kGte:
        return value.numerator >= other;
      case ComparisonOperator::kLt:
        return value.numerator < other;
      case ComparisonOperator::kLte:
        return value.numerator <= other;
      case ComparisonOperator::kEq:
        return value.numerator == other;
      case ComparisonOperator::kNeq:
        return value.numerator != other;
    }
    return false;
  });
}

std::unique_ptr<Measure> MakeMeasure(const CorrelationRule& rule, size_t values_max) {
  switch (rule.type) {
    case CorrelationType::kValueCount:
      return std::make_unique<DistinctMeasure>(values_max);
    case CorrelationType::kValueSum:
      return std::make_unique<SumMeasure>(/*mean=*/false);
    case CorrelationType::kValueAvg:
      return std::make_unique<SumMeasure>(/*mean=*/true);
    case CorrelationType::kValuePercentile:
      return std::make_unique<RankMeasure>(rule.percentile);
    case CorrelationType::kValueMedian:
      return std::make_unique<RankMeasure>(std::nullopt);
    case CorrelationType::kEventCount:
    case CorrelationType::kTemporal:
    case CorrelationType::kTemporalOrdered:
      break;
  }
  return std::make_unique<CountMeasure>();
}

void DigestReader::AddTuple(std::string_view tuple) {
  const XXH128_hash_t hash = XXH3_128bits(tuple.data(), tuple.size());
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  Digest digest;
  std::memcpy(digest.data(), canonical.digest, digest.size());
  if (std::find(digests_.begin(), digests_.end(), digest) != digests_.end()) return;
  if (digests_.size() < kDigestsMax)
    digests_.push_back(digest);
  else
    capped_ = true;
}

// Each member of an array makes tuples of its own. False: there is no value.
bool DigestReader::AddToTuples(const Value& value) {
  const std::span<const Value> members =
      value.is_array() ? value.items() : std::span<const Value>(&value, 1);
  longer_.clear();
  for (const Value& member : members) {
    part_.clear();
    if (!AppendKeyPart(member, /*cased=*/false, &part_)) continue;
    for (const std::string& tuple : tuples_) {
      if (longer_.size() < kDigestsMax)
        longer_.push_back(tuple + part_);
      else
        capped_ = true;
    }
  }
  tuples_.swap(longer_);
  return !tuples_.empty();
}

// Of several fields.
void DigestReader::AddTuples(std::span<const Value> values) {
  tuples_.assign(1, std::string());
  for (const Value& value : values) {
    if (!AddToTuples(value)) return;
  }
  for (const std::string& tuple : tuples_) AddTuple(tuple);
}

// Of one field.
void DigestReader::AddValue(const Value& value) {
  const auto add = [this](const Value& one) {
    if (type_ == CorrelationType::kValueCount) {
      part_.clear();
      if (AppendKeyPart(one, /*cased=*/false, &part_)) AddTuple(part_);
    } else if (one.is_number() || one.is_string()) {
      const std::optional<Int128> number = ParseFixed(one.text());
      if (!number) return;
      if (digests_.size() < kDigestsMax)
        digests_.push_back(FromFixed(*number));
      else
        capped_ = true;
    }
  };
  if (!value.is_array()) add(value);
  for (const Value& item : value.items()) add(item);
}

std::span<const Digest> DigestReader::Read(std::string_view payload, std::span<const int> positions,
                                           size_t fields) {
  digests_.clear();
  values_.clear();
  capped_ = false;
  PayloadReader reader(payload);
  size_t last = fields;
  for (const int position : positions)
    last = std::max(last, fields + static_cast<size_t>(position));
  for (Value value; values_.size() <= last && reader.Next(&value);) {
    // Its other members were not carried here, nor what tells long texts apart.
    const size_t at = values_.size();
    const bool asked = std::any_of(positions.begin(), positions.end(), [&](int position) {
      const auto field = static_cast<size_t>(position);
      return field == at || fields + field == at;
    });
    if (asked && reader.was_cut()) capped_ = true;
    values_.push_back(value);
  }
  size_t rows = 0;
  for (const int position : positions) {
    const size_t column = fields + static_cast<size_t>(position);
    if (fields > 0 && column < values_.size())
      rows = std::max(rows, values_[column].items().size());
  }
  // The row's values; of none the fields' own.
  const auto add = [&](std::optional<size_t> row) {
    tuple_.clear();
    for (const int position : positions) {
      const auto at = static_cast<size_t>(position);
      const bool column = row && values_[fields + at].is_array();
      tuple_.push_back(column ? values_[fields + at].items()[*row] : values_[at]);
    }
    if (tuple_.size() > 1)
      AddTuples(tuple_);
    else
      AddValue(tuple_[0]);
  };
  for (size_t row = 0; row < rows; ++row) add(row);
  if (digests_.empty()) add(std::nullopt);
  return digests_;
}

}  // namespace bongsu::sigma
