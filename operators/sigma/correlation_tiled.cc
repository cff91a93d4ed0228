#include "operators/sigma/correlation_tiled.h"

#include <algorithm>
#include <vector>

#include "operators/sigma/correlation_events.h"
#include "operators/sigma/episode_book.h"
#include "state/check.h"
#include "state/key_encoding.h"
#include "state/status_macros.h"

namespace bongsu::sigma {
namespace {

// Windows without events that are judged in one go; the rest of a longer gap is skipped, counted.
constexpr int64_t kEmptyWindowsMax = 10'000;
constexpr char kWindowTimer[] = "w";

// The group's window that is judged next.
struct Tile {
  EventTimeNs start = 0;
  EventTimeNs end = 0;  // exclusive, as far as it is known

  std::string Encode() const {
    std::string bytes(1, '\x02');
    for (const EventTimeNs time : {start, end}) AppendTime(time, &bytes);
    return bytes;
  }
  static Tile Decode(std::string_view bytes) {
    BONGSU_CHECK_MSG(bytes.size() == 17 && bytes[0] == '\x02', "a window's state does not parse");
    return {ReadTime(bytes.substr(1)), ReadTime(bytes.substr(9))};
  }
};

class Tiled : public Operator, private EpisodeSource {
 public:
  explicit Tiled(const AggregateSpec& spec)
      : spec_(spec),
        options_(spec.options()),
        span_(spec.timespan()),
        empty_windows_(options_.window == CorrelationWindow::kSliding &&
                       spec.correlation().group_by.empty()),
        measure_(MakeMeasure(spec.correlation(), spec.options().values_max)),
        events_(spec),
        book_(spec, spec.episodes(), *this) {}

  absl::Status Open(OperatorContext& context) override {
    BONGSU_RETURN_IF_ERROR(events_.Open(context));
    BONGSU_ASSIGN_OR_RETURN(tiles_, context.state().OpenValueMap(context.operator_id(), "windows"));
    return book_.Open(context);
  }

  absl::Status Process(std::span<const Input> batch, OperatorContext& context) override {
    for (const Input& input : batch) BONGSU_RETURN_IF_ERROR(OnEvent(input, context));
    return absl::OkStatus();
  }

  absl::Status OnTimer(const DueTimer& timer, OperatorContext& context) override;

  absl::Status OnWatermark(OperatorContext& context) override {
    events_.ExpireBefore(
        AddTime(AddTime(context.closing_time(), -spec_.episodes().window_max), -(span_ + 1)));
    return absl::OkStatus();
  }

 private:
  absl::Status OnEvent(const Input& input, OperatorContext& context);
  EventTimeNs StartOf(EventTimeNs first_event) const;
  // The window is due when its last nanosecond has been passed.
  absl::Status SetTimer(std::string_view key, const Tile& tile, OperatorContext& context) {
    BONGSU_RETURN_IF_ERROR(tiles_->Put(key, tile.Encode()));
    return context.timers().Set(tile.end - 1, key, kWindowTimer);
  }
  absl::Status Prolong(std::string_view key, Tile* tile, OperatorContext& context);
  absl::Status Judge(std::string_view key, const Tile& tile, OperatorContext& context);
  absl::Status Next(std::string_view key, Tile tile, OperatorContext& context);

  // EpisodeSource: windows are judged here, not by settling.
  absl::Status Walk(std::string_view, EventTimeNs, EventTimeNs, EventTimeNs, OperatorContext&,
                    absl::FunctionRef<absl::StatusOr<bool>(const HeldWindow&)>) override {
    return absl::OkStatus();
  }
  const std::vector<GroupEvent>& walked() const override { return events_.all(); }
  absl::Status FirstEvent(std::string_view key, EventTimeNs from, EventTimeNs to,
                          EventTimeNs* time) override {
    return events_.First(key, from, to, time);
  }
  absl::Status Payload(std::string_view key, const GroupEvent& event,
                       std::string* payload) override {
    return events_.Payload(key, event, payload);
  }
  void Describe(const Measured& peak, Incident* incident) override {
    spec_.Describe(peak, &value_text_, incident);
  }

  const AggregateSpec& spec_;
  const CorrelationOptions& options_;
  const DurationNs span_;
  const bool empty_windows_;
  std::unique_ptr<Measure> measure_;
  MeasuredEvents events_;
  EpisodeBook book_;
  ValueMap* tiles_ = nullptr;
  // Scratch of one call.
  std::string scratch_;
  std::string value_text_;
};

EventTimeNs Tiled::StartOf(EventTimeNs first_event) const {
  if (options_.window != CorrelationWindow::kTumbling) return first_event;
  const int64_t quotient = first_event / span_;
  return (first_event % span_ < 0 ? quotient - 1 : quotient) * span_;
}

absl::Status Tiled::OnEvent(const Input& input, OperatorContext& context) {
  bool kept = false;
  BONGSU_RETURN_IF_ERROR(events_.Put(input, context, &kept));
  if (!kept) return absl::OkStatus();
  bool found = false;
  BONGSU_RETURN_IF_ERROR(tiles_->Get(input.key, &scratch_, &found));
  const EventTimeNs start = StartOf(input.time);
  // A window that began without events (`start` before any of them) keeps its place.
  if (found && start >= Tile::Decode(scratch_).start) return absl::OkStatus();
  return SetTimer(input.key, {start, AddTime(start, span_)}, context);
}

// A session goes on to the last event that comes soon enough.
absl::Status Tiled::Prolong(std::string_view key, Tile* tile, OperatorContext& context) {
  const EventTimeNs most = AddTime(tile->start, options_.max_episode);
  BONGSU_RETURN_IF_ERROR(events_.Load(key, tile->start, most, context));
  for (const GroupEvent& event : events_.all()) {
    if (event.time >= tile->end) break;
    tile->end = std::min(AddTime(event.time, span_), AddTime(most, 1));
  }
  return absl::OkStatus();
}

absl::Status Tiled::OnTimer(const DueTimer& timer, OperatorContext& context) {
  if (EpisodeBook::IsTimer(timer)) return book_.OnTimer(timer, context);
  bool found = false;
  BONGSU_RETURN_IF_ERROR(tiles_->Get(timer.key, &scratch_, &found));
  if (!found) return absl::OkStatus();
  Tile tile = Tile::Decode(scratch_);
  if (tile.end - 1 != timer.time) return absl::OkStatus();  // the window begins earlier
  if (options_.window == CorrelationWindow::kSession) {
    const EventTimeNs end = tile.end;
    BONGSU_RETURN_IF_ERROR(Prolong(timer.key, &tile, context));
    if (tile.end > end) return SetTimer(timer.key, tile, context);
  }
  BONGSU_RETURN_IF_ERROR(Judge(timer.key, tile, context));
  return Next(timer.key, tile, context);
}

absl::Status Tiled::Judge(std::string_view key, const Tile& tile, OperatorContext& context) {
  BONGSU_RETURN_IF_ERROR(events_.Load(key, tile.start, tile.end - 1, context));
  measure_->Clear();
  for (size_t i = 0; i < events_.all().size(); ++i) measure_->Add(events_.digests(i));
  const Measured value = measure_->value();
  if (!spec_.comparisons().Hold(value)) return absl::OkStatus();
  return book_.Once(key, events_.all(), value, tile.start, tile.end - 1, context);
}

// The window behind `tile`, or none.
absl::Status Tiled::Next(std::string_view key, Tile tile, OperatorContext& context) {
  EventTimeNs event = kMaxEventTime;
  BONGSU_RETURN_IF_ERROR(events_.First(key, tile.end, kMaxEventTime, &event));
  const EventTimeNs closing = context.closing_time();
  if (empty_windows_ && (event != kMaxEventTime || closing != kMaxEventTime)) {
    const int64_t empty = (std::min(event, closing) - tile.end) / span_;
    tile.start = tile.end;
    if (empty > kEmptyWindowsMax) {
      context.Count("empty_windows_skipped", static_cast<uint64_t>(empty - kEmptyWindowsMax));
      tile.start += (empty - kEmptyWindowsMax) * span_;
    }
  } else if (event != kMaxEventTime) {
    tile.start = StartOf(event);
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
