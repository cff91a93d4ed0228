#include "operators/sigma/correlation_events.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "state/check.h"
#include "state/key_encoding.h"
#include "state/status_macros.h"

namespace bongsu::sigma {
namespace {

// A bucket narrower than this only makes more of them.
constexpr DurationNs kBucketNsMin = kSecondNs;
// So many counts of events, at most, tell which windows are worth a walk.
constexpr int kLooksMax = 128;
// The only key of the list of widths.
constexpr char kWidths[] = "w";

// An entry's value: port, digests, of a result its anchor's place, payload.
struct Member {
  uint8_t port = 0;
  std::string_view digests;  // 16 bytes each
  std::string_view rest;     // [place] payload
};

Member DecodeMember(std::string_view value) {
  BONGSU_CHECK(value.size() >= 2);
  Member member;
  member.port = static_cast<uint8_t>(value[0]);
  const size_t bytes = static_cast<uint8_t>(value[1]) * sizeof(Digest);
  BONGSU_CHECK(value.size() >= 2 + bytes);
  member.digests = value.substr(2, bytes);
  member.rest = value.substr(2 + bytes);
  return member;
}

}  // namespace

MeasuredEvents::MeasuredEvents(const AggregateSpec& spec)
    : spec_(spec),
      span_(spec.timespan()),
      enough_(std::min<uint64_t>(spec.comparisons().least(), spec.options().events_max)),
      reader_(spec.correlation()),
      bound_(spec.timespan(), spec.options().groups_max) {}

DurationNs MeasuredEvents::bucket() const { return std::max(kBucketNsMin, span_); }

absl::Status MeasuredEvents::Open(OperatorContext& context) {
  BONGSU_ASSIGN_OR_RETURN(list_,
                          context.state().OpenTimeList(context.operator_id(), "events", bucket()));
  if (spec_.has_values()) {
    BONGSU_ASSIGN_OR_RETURN(
        widths_, context.state().OpenTimeList(context.operator_id(), "widths", bucket()));
    BONGSU_RETURN_IF_ERROR(
        widths_->Scan(kWidths, kMinEventTime, kMaxEventTime, [this](const TimeListCursor& cell) {
          widest_ = std::max<uint64_t>(widest_, static_cast<uint8_t>(cell.value().at(0)));
          return true;
        }));
  }
  return bound_.Open(context, bucket());
}

// The most values of an event in each cell that has one with several: after a restart, too, no
// window may be taken for one with too few. Kept until the cell's last nanosecond has expired.
absl::Status MeasuredEvents::NoteWidth(EventTimeNs time) {
  const uint64_t width = put_digests_.size();
  if (width < 2) return absl::OkStatus();
  widest_ = std::max(widest_, width);
  const EventTimeNs cell_end = AddTime(bound_.CellStart(time), span_ - 1);
  uint64_t known = 0;
  BONGSU_RETURN_IF_ERROR(
      widths_->Scan(kWidths, cell_end, cell_end, [&](const TimeListCursor& cell) {
        known = static_cast<uint8_t>(cell.value().at(0));
        return true;
      }));
  if (known >= width) return absl::OkStatus();
  const char byte = static_cast<char>(width);
  return widths_->Put(kWidths, {cell_end, 0}, {&byte, 1});
}

void MeasuredEvents::Prefetch(std::span<const Input> inputs) {
  ahead_.clear();
  for (const Input& input : inputs)
    ahead_.push_back({input.key, AddTime(input.time, 1 - span_), AddTime(input.time, span_ - 1)});
  list_->Prefetch(ahead_);
}

// Rule and key are among the fields that a result carries.
RecordSeq MeasuredEvents::EntryOf(const Input& input) const {
  if (!IsResult(input.port)) return input.seq;
  const uint64_t hash = XXH3_64bits_withSeed(input.payload.data(), input.payload.size(), input.seq);
  return PackSeq(SeqPartition(input.seq), static_cast<int64_t>(hash >> (64 - kOffsetBits)));
}

// `near_`, and whether the event's cell has one of its group. Before the cell, behind it and in it:
// as many look-ups as the whole would take.
absl::Status MeasuredEvents::CountNear(const Input& input, bool* counted) {
  const EventTimeNs cell = bound_.CellStart(input.time);
  const EventTimeNs cell_end = AddTime(cell, span_ - 1);
  const TimeListRange before = {input.key, AddTime(input.time, 1 - span_), AddTime(cell, -1)};
  const TimeListRange behind = {input.key, AddTime(cell_end, 1), AddTime(input.time, span_ - 1)};
  uint64_t most_before = 0;
  uint64_t most_behind = 0;
  uint64_t in_cell = 0;
  BONGSU_RETURN_IF_ERROR(list_->CountAtMost(before.key, before.from, before.to, &most_before));
  BONGSU_RETURN_IF_ERROR(list_->CountAtMost(behind.key, behind.from, behind.to, &most_behind));
  BONGSU_RETURN_IF_ERROR(list_->Count(input.key, cell, cell_end, &in_cell));
  *counted = in_cell > 0;
  near_ = most_before + in_cell + most_behind;
  // Too few in any case, and it makes no new group: nobody asks how many exactly.
  const uint64_t width = std::max<uint64_t>(widest_, put_digests_.size());
  if (near_ == in_cell || (*counted && (near_ + 1) * width < enough_)) return absl::OkStatus();
  BONGSU_RETURN_IF_ERROR(Count(before.key, before.from, before.to, &most_before));
  BONGSU_RETURN_IF_ERROR(Count(behind.key, behind.from, behind.to, &most_behind));
  near_ = most_before + in_cell + most_behind;
  return absl::OkStatus();
}

// Whether the event is there, and, put_again_, with the same values. Of one time the last is found
// first, and an event that meets two rules comes for both at once.
absl::Status MeasuredEvents::FindPut(const Input& input, bool* found) {
  *found = false;
  put_again_ = false;
  if (spec_.inputs().size() < 2) return absl::OkStatus();
  return list_->ScanBack(input.key, input.time, input.time, [&](TimeListCursor& entry) {
    if (entry.seq() > put_entry_) return true;
    *found = entry.seq() == put_entry_;
    if (!*found) return false;
    const std::string_view digests = DecodeMember(entry.value()).digests;
    put_again_ =
        digests.size() == put_digests_.size_bytes() &&
        (digests.empty() || std::memcmp(digests.data(), put_digests_.data(), digests.size()) == 0);
    return false;
  });
}

absl::Status MeasuredEvents::FirstEnd(std::string_view key, EventTimeNs time, uint64_t least,
                                      EventTimeNs* end) {
  const EventTimeNs last = AddTime(time, span_ - 1);
  // Windows that end at from <= w < from + width have no more events than all of them together: too
  // few, and the next ones are looked at; else only the first half of them.
  EventTimeNs from = time;
  DurationNs width = 1;
  for (int looks = 0; from <= last; ++looks) {
    const EventTimeNs to = std::min(last, AddTime(from, width - 1));
    uint64_t events = 0;
    BONGSU_RETURN_IF_ERROR(Count(key, AddTime(from, 1 - span_), to, &events));
    if (events >= least && (to == from || looks >= kLooksMax)) {
      *end = from;
      return absl::OkStatus();
    }
    if (events >= least) {
      width = (width + 1) / 2;
    } else {
      // Usually the window that ends at the event has enough, or none has.
      width = from == time ? span_ : AddTime(width, width);
      from = AddTime(to, 1);
    }
  }
  *end = kMaxEventTime;
  return absl::OkStatus();
}

absl::Status MeasuredEvents::Put(const Input& input, OperatorContext& context, bool* kept) {
  *kept = false;
  put_digests_ = {};
  if (spec_.has_values()) {
    put_digests_ = reader_.Read(input.payload, spec_.value_positions(input.port),
                                spec_.fields_before_columns(input.port));
    if (reader_.capped()) context.Count("values_of_event_capped", 1);
    if (put_digests_.empty()) {
      context.Count("value_missing", 1);
      return absl::OkStatus();
    }
  }
  put_entry_ = EntryOf(input);
  bool counted = false;
  BONGSU_RETURN_IF_ERROR(CountNear(input, &counted));
  bool found = false;
  BONGSU_RETURN_IF_ERROR(FindPut(input, &found));
  if (!found && near_ >= spec_.options().events_max) {
    context.Count("events_capped", 1);
    return absl::OkStatus();
  }
  BONGSU_RETURN_IF_ERROR(NoteWidth(input.time));
  BONGSU_RETURN_IF_ERROR(bound_.Admit(input.time, near_ > 0, counted, context, kept));
  if (!*kept) return absl::OkStatus();
  put_over_ = found && !put_again_;
  value_.assign(1, static_cast<char>(input.port));
  value_.push_back(static_cast<char>(put_digests_.size()));
  for (const Digest& digest : put_digests_)
    value_.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  if (IsResult(input.port)) AppendU64(input.seq, &value_);
  value_ += input.payload;
  if (!found) ++near_;
  return list_->Put(input.key, {input.time, put_entry_}, value_);
}

absl::Status MeasuredEvents::Load(std::string_view key, EventTimeNs from, EventTimeNs to,
                                  OperatorContext& context) {
  all_.clear();
  ranges_.clear();
  digests_.clear();
  bool ties = false;
  BONGSU_RETURN_IF_ERROR(list_->Scan(key, from, to, [&](TimeListCursor& entry) {
    const Member member = DecodeMember(entry.value());
    if (!all_.empty() && all_.back().time == entry.time()) ties = true;
    all_.push_back({entry.time(), IsResult(member.port) ? ReadU64(member.rest) : entry.seq(),
                    entry.seq(), member.port});
    const Range range = {static_cast<uint32_t>(digests_.size()),
                         static_cast<uint32_t>(member.digests.size() / sizeof(Digest))};
    ranges_.push_back(range);
    digests_.resize(digests_.size() + range.size);
    std::copy(member.digests.begin(), member.digests.end(),
              reinterpret_cast<char*>(digests_.data() + range.first));
    return true;
  }));
  if (ties) SortTies(context);
  return absl::OkStatus();
}

// The list has them by the partitions' numbers.
void MeasuredEvents::SortTies(const OperatorContext& context) {
  const auto before = [&](size_t a, size_t b) { return ReadBefore(all_[a], all_[b], context); };
  std::vector<size_t> order(all_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (std::is_sorted(order.begin(), order.end(), before)) return;
  std::sort(order.begin(), order.end(), before);
  std::vector<GroupEvent> events;
  std::vector<Range> ranges;
  for (const size_t i : order) {
    events.push_back(all_[i]);
    ranges.push_back(ranges_[i]);
  }
  all_ = std::move(events);
  ranges_ = std::move(ranges);
}

absl::Status MeasuredEvents::First(std::string_view key, EventTimeNs from, EventTimeNs to,
                                   EventTimeNs* time) {
  *time = kMaxEventTime;
  return list_->Scan(key, from, to, [time](TimeListCursor& entry) {
    *time = entry.time();
    return false;
  });
}

absl::Status MeasuredEvents::Payload(std::string_view key, const GroupEvent& event,
                                     std::string* payload) {
  payload->clear();
  return list_->Scan(key, event.time, event.time, [&](TimeListCursor& entry) {
    if (entry.seq() != event.entry) return true;
    const Member member = DecodeMember(entry.value());
    *payload = member.rest.substr(IsResult(member.port) ? 8 : 0);
    return false;
  });
}

}  // namespace bongsu::sigma
