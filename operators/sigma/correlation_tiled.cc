#include "operators/sigma/correlation_tiled.h"

#include <algorithm>
#include <vector>

#include "operators/sigma/correlation_group.h"
#include "state/byte_reader.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu::sigma {
namespace {

constexpr DurationNs kBucketNsMin = kSecondNs;
// Windows without events that are judged in one go; the rest of a longer gap is skipped, counted.
constexpr int64_t kEmptyWindowsMax = 10'000;
// Events whose fields readers of the results get.
constexpr size_t kForwardedEvidenceMax = 64;

// The group's window that is judged next.
struct Tile {
  EventTimeNs start = 0;
  EventTimeNs end = 0;  // exclusive, as far as it is known
  EventTimeNs suppressed_until = kMinEventTime;

  std::string Encode() const {
    std::string bytes(1, '\x01');
    for (const EventTimeNs time : {start, end, suppressed_until}) AppendTime(time, &bytes);
    return bytes;
  }
  static Tile Decode(std::string_view bytes) {
    BONGSU_CHECK_MSG(bytes.size() == 25 && bytes[0] == '\x01', "a window's state does not parse");
    return {ReadTime(bytes.substr(1)), ReadTime(bytes.substr(9)), ReadTime(bytes.substr(17))};
  }
};

class Tiled : public Operator {
 public:
  explicit Tiled(const AggregateSpec& spec)
      : spec_(spec),
        options_(spec.options()),
        span_(spec.timespan()),
        empty_windows_(options_.window == CorrelationWindow::kSliding &&
                       spec.correlation().group_by.empty()),
        measure_(MakeMeasure(spec.correlation(), spec.options().values_max)),
        reader_(spec.correlation()) {}

  absl::Status Open(OperatorContext& context) override {
    BONGSU_ASSIGN_OR_RETURN(events_, context.state().OpenTimeList(context.operator_id(), "events",
                                                                  std::max(kBucketNsMin, span_)));
    BONGSU_ASSIGN_OR_RETURN(tiles_, context.state().OpenValueMap(context.operator_id(), "windows"));
    return absl::OkStatus();
  }

  absl::Status Process(std::span<const Input> batch, OperatorContext& context) override {
    for (const Input& input : batch) BONGSU_RETURN_IF_ERROR(OnEvent(input, context));
    return absl::OkStatus();
  }

  absl::Status OnTimer(const DueTimer& timer, OperatorContext& context) override;

  absl::Status OnWatermark(OperatorContext& context) override {
    const DurationNs kept = options_.window == CorrelationWindow::kSession
                                ? std::max(options_.max_episode, span_)
                                : span_;
    events_->ExpireBefore(AddTime(AddTime(context.closing_time(), -kept), -(span_ + 1)));
    return absl::OkStatus();
  }

 private:
  absl::Status OnEvent(const Input& input, OperatorContext& context);
  EventTimeNs StartOf(EventTimeNs first_event) const;
  // The window is due when its last nanosecond has been passed.
  absl::Status SetTimer(std::string_view key, const Tile& tile, OperatorContext& context) {
    BONGSU_RETURN_IF_ERROR(tiles_->Put(key, tile.Encode()));
    return context.timers().Set(tile.end - 1, key, "");
  }
  absl::Status Prolong(std::string_view key, Tile* tile);
  absl::Status Judge(std::string_view key, Tile& tile, OperatorContext& context);
  void Report(std::string_view key, const Tile& tile, uint64_t count,
              std::span<const KeptEvidence> evidence, const EntryId& first, const EntryId& last,
              OperatorContext& context);
  absl::Status Next(std::string_view key, Tile tile, OperatorContext& context);

  const AggregateSpec& spec_;
  const CorrelationOptions& options_;
  const DurationNs span_;
  const bool empty_windows_;
  std::unique_ptr<Measure> measure_;
  DigestReader reader_;
  TimeList* events_ = nullptr;
  ValueMap* tiles_ = nullptr;
  // Scratch of one call.
  std::string scratch_;
  std::vector<Digest> digests_;
};

EventTimeNs Tiled::StartOf(EventTimeNs first_event) const {
  if (options_.window != CorrelationWindow::kTumbling) return first_event;
  const int64_t quotient = first_event / span_;
  return (first_event % span_ < 0 ? quotient - 1 : quotient) * span_;
}

absl::Status Tiled::OnEvent(const Input& input, OperatorContext& context) {
  std::span<const Digest> digests;
  if (spec_.has_values()) {
    digests = reader_.Read(input.payload, spec_.value_positions(input.port));
    if (reader_.capped()) context.Count("values_of_event_capped", 1);
    if (digests.empty()) {
      context.Count("value_missing", 1);
      return absl::OkStatus();
    }
  }
  uint64_t near = 0;
  BONGSU_RETURN_IF_ERROR(events_->Count(input.key, AddTime(input.time, 1 - span_),
                                        AddTime(input.time, span_ - 1), &near));
  if (near >= options_.events_max) {
    context.Count("events_capped", 1);
    return absl::OkStatus();
  }
  scratch_.clear();
  EncodeMember(input.port, digests, input.payload, &scratch_);
  BONGSU_RETURN_IF_ERROR(events_->Put(input.key, {input.time, input.seq}, scratch_));
  bool found = false;
  BONGSU_RETURN_IF_ERROR(tiles_->Get(input.key, &scratch_, &found));
  Tile tile;
  const EventTimeNs start = StartOf(input.time);
  if (found) {
    tile = Tile::Decode(scratch_);
    // A window that began without events (`start` before any of them) keeps its place.
    if (start >= tile.start) return absl::OkStatus();
  }
  tile.start = start;
  tile.end = AddTime(start, span_);
  return SetTimer(input.key, tile, context);
}

// A session goes on to the last event that comes soon enough.
absl::Status Tiled::Prolong(std::string_view key, Tile* tile) {
  const EventTimeNs most = AddTime(tile->start, options_.max_episode);
  return events_->Scan(key, tile->start, kMaxEventTime, [&](TimeListCursor& entry) {
    if (entry.time() >= tile->end || entry.time() > most) return false;
    tile->end = std::min(AddTime(entry.time(), span_), AddTime(most, 1));
    return true;
  });
}

absl::Status Tiled::OnTimer(const DueTimer& timer, OperatorContext& context) {
  bool found = false;
  BONGSU_RETURN_IF_ERROR(tiles_->Get(timer.key, &scratch_, &found));
  if (!found) return absl::OkStatus();
  Tile tile = Tile::Decode(scratch_);
  if (tile.end - 1 != timer.time) return absl::OkStatus();           // the window begins earlier
  if (tile.start == kMaxEventTime) return tiles_->Erase(timer.key);  // no more to suppress
  if (options_.window == CorrelationWindow::kSession) {
    const EventTimeNs end = tile.end;
    BONGSU_RETURN_IF_ERROR(Prolong(timer.key, &tile));
    if (tile.end > end) return SetTimer(timer.key, tile, context);
  }
  BONGSU_RETURN_IF_ERROR(Judge(timer.key, tile, context));
  return Next(timer.key, tile, context);
}

absl::Status Tiled::Judge(std::string_view key, Tile& tile, OperatorContext& context) {
  measure_->Clear();
  uint64_t count = 0;
  EntryId first;
  EntryId last;
  const size_t most = context.has_readers() ? std::max(options_.evidence_max, kForwardedEvidenceMax)
                                            : options_.evidence_max;
  std::vector<KeptEvidence> evidence;
  KeptEvidence newest;
  BONGSU_RETURN_IF_ERROR(events_->Scan(key, tile.start, tile.end - 1, [&](TimeListCursor& entry) {
    const Member member = DecodeMember(entry.value());
    digests_.resize(member.digests.size() / sizeof(Digest));
    std::copy(member.digests.begin(), member.digests.end(),
              reinterpret_cast<char*>(digests_.data()));
    measure_->Add(digests_);
    last = {entry.time(), entry.seq()};
    if (count++ == 0) first = last;
    newest.port = member.port;
    newest.id = last;
    newest.payload = member.payload;
    if (evidence.size() < most) evidence.push_back(newest);
    return true;
  }));
  if (!spec_.comparisons().Hold(measure_->value())) return absl::OkStatus();
  if (tile.start < tile.suppressed_until) {
    context.Count("suppressed", 1);
    return absl::OkStatus();
  }
  if (options_.suppress > 0) tile.suppressed_until = AddTime(tile.start, options_.suppress);
  // The first ones, and the last in the last place.
  if (count > evidence.size() && evidence.size() > 1) evidence.back() = newest;
  if (count == 0) first = last = {tile.start, 0};
  Report(key, tile, count, evidence, first, last, context);
  return absl::OkStatus();
}

void Tiled::Report(std::string_view key, const Tile& tile, uint64_t count,
                   std::span<const KeptEvidence> evidence, const EntryId& first,
                   const EntryId& last, OperatorContext& context) {
  const Measured value = measure_->value();
  const std::string value_text = MeasuredText(value);
  std::vector<Evidence> views;
  for (const KeptEvidence& one : evidence)
    views.push_back({one.port, one.id.time, one.id.seq, one.payload});
  IncidentAnchor anchor;
  anchor.rule_hash = spec_.semantic_hash();
  anchor.key = key;
  if (count > 0) {
    anchor.origin = context.origin(first.seq);
    anchor.offset = SeqOffset(first.seq);
  }
  anchor.time = count > 0 ? first.time : tile.start;
  Incident incident;
  incident.id = MakeIncidentId(anchor);
  incident.key = key;
  incident.anchor_time = incident.first_time = first.time;
  incident.last_time = last.time;
  incident.event_count = count;
  incident.value = value_text;
  incident.value_error = value.error;
  incident.threshold = spec_.threshold();
  incident.evidence = views;
  context.Forward(incident, tile.end - 1);
  if (views.size() > options_.evidence_max) {
    const Evidence newest = views.back();
    views.resize(options_.evidence_max);
    if (options_.evidence_max > 1) views.back() = newest;
  }
  incident.evidence = views;
  incident.evidence_dropped = count - views.size();
  context.Emit(incident);
}

// The window behind `tile`, or none.
absl::Status Tiled::Next(std::string_view key, Tile tile, OperatorContext& context) {
  bool found = false;
  EventTimeNs event = kMaxEventTime;
  BONGSU_RETURN_IF_ERROR(events_->Scan(key, tile.end, kMaxEventTime, [&](TimeListCursor& entry) {
    event = entry.time();
    found = true;
    return false;
  }));
  const EventTimeNs closing = context.closing_time();
  if (empty_windows_ && (found || closing != kMaxEventTime)) {
    const int64_t empty = (std::min(event, closing) - tile.end) / span_;
    tile.start = tile.end;
    if (empty > kEmptyWindowsMax) {
      context.Count("empty_windows_skipped", static_cast<uint64_t>(empty - kEmptyWindowsMax));
      tile.start += (empty - kEmptyWindowsMax) * span_;
    }
  } else if (found) {
    tile.start = StartOf(event);
  } else if (tile.suppressed_until > tile.end) {
    // Nothing to judge, but to remember: the next event starts a window of its own.
    tile.start = kMaxEventTime;
    tile.end = tile.suppressed_until;
    return SetTimer(key, tile, context);
  } else {
    return tiles_->Erase(key);
  }
  tile.end = AddTime(tile.start, span_);
  return SetTimer(key, tile, context);
}

}  // namespace

std::unique_ptr<Operator> MakeTiledCorrelation(const AggregateSpec& spec) {
  return std::make_unique<Tiled>(spec);
}

}  // namespace bongsu::sigma
