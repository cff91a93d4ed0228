#include "operators/sigma/correlation_runs.h"

#include <xxhash.h>

#include <algorithm>
#include <numeric>

#include "state/byte_reader.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu::sigma {
namespace {

// Rows of a group's bound, and of its values' runs. ('b' and 'r' were them, with whole keys.)
constexpr char kBoundRow = 'B';
constexpr char kRunRow = 'R';

bool IsSame(const EntryId& a, const EntryId& b) { return a.time == b.time && a.seq == b.seq; }
bool Before(const EntryId& a, const EntryId& b) {
  return a.time != b.time ? a.time < b.time : a.seq < b.seq;
}

void AppendEntry(const EntryId& entry, std::string* out) {
  AppendTime(entry.time, out);
  AppendU64(entry.seq, out);
}
EntryId ReadEntry(std::string_view bytes) { return {ReadTime(bytes), ReadU64(bytes.substr(8))}; }

}  // namespace

absl::Status ValueRuns::Open(OperatorContext& context) {
  BONGSU_ASSIGN_OR_RETURN(
      list_, context.state().OpenTimeList(context.operator_id(), "runs", events_.bucket()));
  return absl::OkStatus();
}

// The list's buckets go as a whole; an entry at its bucket's start is seen as long as any of it.
EventTimeNs ValueRuns::BucketStart(EventTimeNs time) const {
  if (time == kMinEventTime || time == kMaxEventTime) return time;
  const DurationNs bucket = events_.bucket();
  const int64_t quotient = time / bucket;
  const int64_t floor = time % bucket < 0 ? quotient - 1 : quotient;
  int64_t start = 0;
  return __builtin_mul_overflow(floor, bucket, &start) ? kMinEventTime : start;
}

absl::Status ValueRuns::Get(std::string_view key) {
  row_ = kBoundRow;
  row_ += key;
  bound_ = Bound{};
  return list_->Scan(row_, kMinEventTime, kMaxEventTime, [&](TimeListCursor& entry) {
    ByteReader reader(entry.value());
    const auto time = [&reader] { return ReadTime(reader.Take(8)); };
    BONGSU_CHECK(entry.value().size() == 56);
    bound_.found = true;
    bound_.newest = time();
    bound_.distinct = reader.U64();
    bound_.most = reader.U64();
    bound_.most_before = reader.U64();
    bound_.most_from = time();
    bound_.from = time();
    bound_.events = reader.U64();
    return true;  // the last one is the newest
  });
}

// An event is in windows that end less than a span behind it; those of interest end less than a
// span before the newest one, and not below the closing time.
EventTimeNs ValueRuns::From(const OperatorContext& context) const {
  return std::max(AddTime(bound_.newest, 1 - 2 * span_),
                  AddTime(context.closing_time(), 1 - span_));
}

absl::Status ValueRuns::CountFrom(std::string_view key, EventTimeNs from) {
  bound_.from = from;
  return events_.Count(key, from, kMaxEventTime, &bound_.events);
}

absl::Status ValueRuns::Put(std::string_view key) {
  known_ = key;
  knows_ = true;
  row_ = kBoundRow;
  row_ += key;
  value_.clear();
  AppendTime(bound_.newest, &value_);
  for (const uint64_t number : {bound_.distinct, bound_.most, bound_.most_before})
    AppendU64(number, &value_);
  AppendTime(bound_.most_from, &value_);
  AppendTime(bound_.from, &value_);
  AppendU64(bound_.events, &value_);
  return list_->Put(row_, {BucketStart(bound_.newest), 0}, value_);
}

// A run that grew into another bucket, or into another run, has left rows that it holds now.
absl::Status ValueRuns::Runs(std::string_view key, const Digest& digest) {
  runs_.clear();
  row_.assign(reinterpret_cast<const char*>(digest.data()), digest.size());
  row_ += key;
  XXH128_canonical_t hash;
  XXH128_canonicalFromHash(&hash, XXH3_128bits(row_.data(), row_.size()));
  row_ = kRunRow;
  row_.append(reinterpret_cast<const char*>(hash.digest), sizeof(hash.digest));
  return list_->Scan(row_, kMinEventTime, kMaxEventTime, [&](TimeListCursor& entry) {
    BONGSU_CHECK(entry.value().size() == 32);
    Run run{ReadEntry(entry.value()), ReadEntry(entry.value().substr(16))};
    while (!runs_.empty() && run.first.time < AddTime(runs_.back().last.time, span_)) {
      if (Before(runs_.back().first, run.first)) run.first = runs_.back().first;
      if (Before(run.last, runs_.back().last)) run.last = runs_.back().last;
      runs_.pop_back();
    }
    runs_.push_back(run);
    return true;
  });
}

absl::Status ValueRuns::Add(std::string_view key, const Digest& digest, EntryId event, Gain* gain) {
  BONGSU_RETURN_IF_ERROR(Runs(key, digest));
  *gain = {event.time, AddTime(event.time, span_)};
  Run merged{event, event};
  for (const Run& run : runs_) {
    if (run.first.time <= event.time)
      gain->from = std::max(gain->from, AddTime(run.last.time, span_));
    else
      gain->to = std::min(gain->to, run.first.time);
    if (run.first.time >= AddTime(event.time, span_) || event.time >= AddTime(run.last.time, span_))
      continue;
    if (!Before(event, run.first) && !Before(run.last, event)) return absl::OkStatus();
    if (Before(run.first, merged.first)) merged.first = run.first;
    if (Before(merged.last, run.last)) merged.last = run.last;
  }
  value_.clear();
  AppendEntry(merged.first, &value_);
  AppendEntry(merged.last, &value_);
  return list_->Put(row_, {BucketStart(merged.last.time), 0}, value_);
}

absl::Status ValueRuns::MayHold(const Input& input, uint64_t least, EventTimeNs oldest,
                                OperatorContext& context, bool* may) {
  const uint64_t near = events_.near_values();
  const bool known = knows_ && known_ == input.key && !events_.put_over();
  knows_ = knows_ && known_ != input.key;  // until it is tracked
  *may = false;
  Spare* const spare = SpareOf(InlineKey(input.key));
  if (spare != nullptr) spare->values += events_.put_digests().size();
  if (near < least / 2) return absl::OkStatus();
  if (events_.near() <= kCountedMax / 2) return Counted(input, least, spare, context, may);
  digests_.assign(events_.put_digests().begin(), events_.put_digests().end());
  knows_ = false;
  if (!known) BONGSU_RETURN_IF_ERROR(Get(input.key));
  bool tracked = bound_.found && oldest <= bound_.from;
  if (tracked && !known) {
    uint64_t events = 0;
    BONGSU_RETURN_IF_ERROR(events_.Count(input.key, bound_.from, kMaxEventTime, &events));
    tracked = events == bound_.events + (input.time >= bound_.from ? 1 : 0);
  }
  if (!tracked) {
    if (events_.near() <= kCountedMax) return Counted(input, least, spare, context, may);
    if (near < least) return absl::OkStatus();
    *may = true;
    return Rebuild(input.key, input.time, context);
  }
  if (input.time >= bound_.newest) {
    BONGSU_RETURN_IF_ERROR(Newest(input, context));
    *may = bound_.distinct >= least;
  } else {
    BONGSU_RETURN_IF_ERROR(Late(input, least, context, may));
    *may = *may && near >= least;
  }
  // Counted anew only before what was counted expires.
  const EventTimeNs from = From(context);
  if (bound_.from >= std::midpoint(oldest, from)) {
    if (input.time >= bound_.from) ++bound_.events;
  } else {
    BONGSU_RETURN_IF_ERROR(CountFrom(input.key, from));
  }
  return Put(input.key);
}

// Whether all events less than a timespan away have so many values: no window with it has more.
absl::Status ValueRuns::Counted(const Input& input, uint64_t least, Spare* spare,
                                OperatorContext& context, bool* may) {
  *may = false;
  if (events_.near_values() < least) return absl::OkStatus();
  if (spare != nullptr && spare->time <= input.time && spare->values < least)
    return absl::OkStatus();
  BONGSU_RETURN_IF_ERROR(events_.Load(input.key, AddTime(input.time, 1 - span_),
                                      AddTime(input.time, span_ - 1), context));
  distinct_.clear();
  for (size_t i = 0; i < events_.all().size() && !*may; ++i) {
    for (const Digest& digest : events_.digests(i)) distinct_.insert(digest);
    *may = distinct_.size() >= least;
  }
  return *may ? absl::OkStatus() : Remember(input);
}

// How many values there were; unless events are known behind those that were counted.
absl::Status ValueRuns::Remember(const Input& input) {
  const InlineKey key(input.key);
  uint64_t behind = 0;
  BONGSU_RETURN_IF_ERROR(
      events_.Count(input.key, AddTime(input.time, span_), kMaxEventTime, &behind));
  if (key.is_long() || behind > 0) return absl::OkStatus();
  if (spares_.empty()) spares_.resize(kSparesMax);
  spares_[InlineKeyHash()(key) % kSparesMax] = {key, input.time, distinct_.size()};
  return absl::OkStatus();
}

ValueRuns::Spare* ValueRuns::SpareOf(const InlineKey& key) {
  if (spares_.empty()) return nullptr;
  Spare& spare = spares_[InlineKeyHash()(key) % kSparesMax];
  return spare.time != kMaxEventTime && spare.key == key ? &spare : nullptr;
}

absl::Status ValueRuns::Rebuild(std::string_view key, EventTimeNs time, OperatorContext& context) {
  BONGSU_RETURN_IF_ERROR(events_.Load(key, AddTime(time, 1 - 2 * span_), kMaxEventTime, context));
  absl::flat_hash_set<Digest> all;
  absl::flat_hash_set<Digest> newest;
  bound_ = Bound{};
  bound_.newest = bound_.most_from = events_.all().back().time;
  for (size_t i = 0; i < events_.all().size(); ++i) {
    const GroupEvent& event = events_.all()[i];
    for (const Digest& digest : events_.digests(i)) {
      Gain gain;
      BONGSU_RETURN_IF_ERROR(Add(key, digest, {event.time, event.entry}, &gain));
      all.insert(digest);
      if (event.time > AddTime(bound_.newest, -span_)) newest.insert(digest);
    }
  }
  bound_.distinct = newest.size();
  bound_.most = bound_.most_before = all.size();
  bound_.found = true;
  BONGSU_RETURN_IF_ERROR(CountFrom(key, From(context)));
  return Put(key);
}

// No event of the group is newer.
absl::Status ValueRuns::Newest(const Input& input, OperatorContext& context) {
  const EventTimeNs time = input.time;
  if (time >= AddTime(bound_.newest, span_)) {
    bound_.distinct = 0;
  } else if (time > bound_.newest) {
    BONGSU_RETURN_IF_ERROR(
        events_.Load(input.key, AddTime(bound_.newest, 1 - span_), AddTime(time, -span_), context));
    for (size_t i = 0; i < events_.all().size(); ++i) {
      const GroupEvent& gone = events_.all()[i];
      for (const Digest& digest : events_.digests(i)) {
        BONGSU_RETURN_IF_ERROR(Runs(input.key, digest));
        BONGSU_CHECK(!runs_.empty());
        if (IsSame(runs_.back().last, {gone.time, gone.entry})) --bound_.distinct;
      }
    }
  }
  for (const Digest& digest : digests_) {
    Gain gain;
    BONGSU_RETURN_IF_ERROR(Add(input.key, digest, {time, events_.put_entry()}, &gain));
    if (gain.from <= time && time < gain.to) ++bound_.distinct;
  }
  if (time >= AddTime(bound_.most_from, span_)) {
    bound_.most_before = bound_.most;
    bound_.most = 0;
    bound_.most_from = time;
  }
  bound_.newest = time;
  bound_.most = std::max(bound_.most, bound_.distinct);
  return absl::OkStatus();
}

absl::Status ValueRuns::Late(const Input& input, uint64_t least, OperatorContext& context,
                             bool* may) {
  gains_.clear();
  for (const Digest& digest : digests_) {
    Gain gain;
    BONGSU_RETURN_IF_ERROR(Add(input.key, digest, {input.time, events_.put_entry()}, &gain));
    if (gain.from >= gain.to || gain.from > bound_.newest) continue;
    gains_.push_back(gain);
    if (gain.to > bound_.newest) ++bound_.distinct;
    ++bound_.most;
    ++bound_.most_before;
  }
  *may = each_ || !gains_.empty();
  if (!*may || input.time <= AddTime(bound_.newest, -span_)) return absl::OkStatus();
  *may = std::max(bound_.most, bound_.most_before) >= least;
  return *may && !each_ ? Reaches(input, least, context, may) : absl::OkStatus();
}

// Whether a window of the gains has `least` values now, and had not before: from the newest window
// backwards.
absl::Status ValueRuns::Reaches(const Input& input, uint64_t least, OperatorContext& context,
                                bool* reaches) {
  changes_.clear();
  const auto collect = [&](EventTimeNs from, EventTimeNs to, bool begins) -> absl::Status {
    BONGSU_RETURN_IF_ERROR(events_.Load(input.key, AddTime(from, 1), to, context));
    for (size_t i = 0; i < events_.all().size(); ++i) {
      const GroupEvent& event = events_.all()[i];
      for (const Digest& digest : events_.digests(i)) {
        BONGSU_RETURN_IF_ERROR(Runs(input.key, digest));
        for (const Run& run : runs_) {
          if (!IsSame(begins ? run.first : run.last, {event.time, event.entry})) continue;
          changes_.emplace_back(begins ? event.time : AddTime(event.time, span_), begins ? 1 : -1);
        }
      }
    }
    return absl::OkStatus();
  };
  BONGSU_RETURN_IF_ERROR(collect(input.time, bound_.newest, /*begins=*/true));
  BONGSU_RETURN_IF_ERROR(
      collect(AddTime(input.time, -span_), AddTime(bound_.newest, -span_), /*begins=*/false));
  // Where the gains change counts, too.
  for (const Gain& gain : gains_) {
    if (gain.to <= bound_.newest) changes_.emplace_back(gain.to, 0);
  }
  std::sort(changes_.begin(), changes_.end());
  auto values = static_cast<int64_t>(bound_.distinct);
  EventTimeNs end = bound_.newest;  // of a window
  *reaches = false;
  while (true) {
    const auto gained = std::count_if(gains_.begin(), gains_.end(), [&](const Gain& gain) {
      return gain.from <= end && end < gain.to;
    });
    const auto wanted = static_cast<int64_t>(least);
    *reaches = *reaches || (values >= wanted && values - gained < wanted);
    if (*reaches || changes_.empty()) return absl::OkStatus();
    // The latest window before the next change.
    end = changes_.back().first - 1;
    for (; !changes_.empty() && changes_.back().first == end + 1; changes_.pop_back())
      values -= changes_.back().second;
  }
}

}  // namespace bongsu::sigma
