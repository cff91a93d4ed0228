#include "operators/sigma/tiled_windows.h"

#include <algorithm>

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
  Tiled(const OperatorSpec& spec, const TileOptions& options, const EpisodeOptions& episodes,
        std::unique_ptr<WindowContents> contents)
      : options_(options),
        window_max_(episodes.window_max),
        contents_(std::move(contents)),
        book_(spec, episodes, *this) {}

  absl::Status Open(OperatorContext& context) override {
    BONGSU_RETURN_IF_ERROR(contents_->Open(context));
    BONGSU_ASSIGN_OR_RETURN(tiles_, context.state().OpenValueMap(context.operator_id(), "windows"));
    return book_.Open(context);
  }

  absl::Status Process(std::span<const Input> batch, OperatorContext& context) override {
    for (const Input& input : batch) BONGSU_RETURN_IF_ERROR(OnEvent(input, context));
    return absl::OkStatus();
  }

  absl::Status OnTimer(const DueTimer& timer, OperatorContext& context) override;

  absl::Status OnWatermark(OperatorContext& context) override {
    contents_->ExpireBefore(
        AddTime(AddTime(context.closing_time(), -window_max_), -(options_.span + 1)));
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
  const std::vector<GroupEvent>& walked() const override { return contents_->all(); }
  absl::Status FirstEvent(std::string_view key, EventTimeNs from, EventTimeNs to,
                          EventTimeNs* time) override {
    return contents_->First(key, from, to, time);
  }
  absl::Status Payload(std::string_view key, const GroupEvent& event,
                       std::string* payload) override {
    return contents_->Payload(key, event, payload);
  }
  void Describe(const Measured& peak, Incident* incident) override {
    contents_->Describe(peak, incident);
  }

  const TileOptions options_;
  const DurationNs window_max_;
  const std::unique_ptr<WindowContents> contents_;
  EpisodeBook book_;
  ValueMap* tiles_ = nullptr;
  std::string scratch_;  // of one call
};

EventTimeNs Tiled::StartOf(EventTimeNs first_event) const {
  if (options_.window != CorrelationWindow::kTumbling) return first_event;
  const int64_t quotient = first_event / options_.span;
  int64_t start = 0;
  return __builtin_mul_overflow(first_event % options_.span < 0 ? quotient - 1 : quotient,
                                options_.span, &start)
             ? kMinEventTime + 1
             : start;
}

absl::Status Tiled::OnEvent(const Input& input, OperatorContext& context) {
  bool kept = false;
  BONGSU_RETURN_IF_ERROR(contents_->Put(input, context, &kept));
  if (!kept) return absl::OkStatus();
  bool found = false;
  BONGSU_RETURN_IF_ERROR(tiles_->Get(input.key, &scratch_, &found));
  const EventTimeNs start = StartOf(input.time);
  // A window that began without events (`start` before any of them) keeps its place.
  if (found && start >= Tile::Decode(scratch_).start) return absl::OkStatus();
  return SetTimer(input.key, {start, AddTime(start, options_.span)}, context);
}

// A session goes on to the last event that comes soon enough.
absl::Status Tiled::Prolong(std::string_view key, Tile* tile, OperatorContext& context) {
  const EventTimeNs most = AddTime(tile->start, options_.session_max);
  BONGSU_RETURN_IF_ERROR(contents_->Load(key, tile->start, most, context));
  for (const GroupEvent& event : contents_->all()) {
    if (event.time >= tile->end) break;
    tile->end = std::min(AddTime(event.time, options_.span), AddTime(most, 1));
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
  // A session may have begun with an event before, which came within the timespan.
  const bool session = options_.window == CorrelationWindow::kSession;
  const EventTimeNs from = session ? AddTime(tile.start, -options_.span) : tile.start;
  if (options_.more_can_break && from < context.complete_from()) {
    context.Count("windows_seen_in_part", 1);
    return absl::OkStatus();
  }
  BONGSU_RETURN_IF_ERROR(contents_->Load(key, tile.start, tile.end - 1, context));
  if (contents_->all().empty() && context.closing_time() == kMaxEventTime) {
    // The input has ended. Without an event behind it nothing says that time went through it.
    EventTimeNs behind = kMaxEventTime;
    BONGSU_RETURN_IF_ERROR(contents_->First(key, tile.end, kMaxEventTime, &behind));
    if (behind == kMaxEventTime) return absl::OkStatus();
    BONGSU_RETURN_IF_ERROR(contents_->Load(key, tile.start, tile.end - 1, context));
  }
  Measured value;
  if (!contents_->Holds(&value)) return absl::OkStatus();
  return book_.Once(key, contents_->evidence(), value, tile.start, tile.end - 1, context);
}

// The window behind `tile`, or none.
absl::Status Tiled::Next(std::string_view key, Tile tile, OperatorContext& context) {
  EventTimeNs event = kMaxEventTime;
  BONGSU_RETURN_IF_ERROR(contents_->First(key, tile.end, kMaxEventTime, &event));
  const EventTimeNs closing = context.closing_time();
  if (options_.empty_windows && (event != kMaxEventTime || closing != kMaxEventTime)) {
    // From an event of 1700 to now there are more nanoseconds than 64 bits hold.
    const Int128 empty = (Int128{std::min(event, closing)} - tile.end) / options_.span;
    tile.start = tile.end;
    if (empty > kEmptyWindowsMax) {
      const Int128 skipped = empty - kEmptyWindowsMax;
      context.Count("empty_windows_skipped", static_cast<uint64_t>(skipped));
      tile.start = static_cast<EventTimeNs>(tile.start + skipped * options_.span);
    }
  } else if (event != kMaxEventTime) {
    tile.start = StartOf(event);
  } else {
    return tiles_->Erase(key);
  }
  tile.end = AddTime(tile.start, options_.span);
  return SetTimer(key, tile, context);
}

}  // namespace

std::unique_ptr<Operator> MakeTiledWindows(const OperatorSpec& spec, const TileOptions& options,
                                           const EpisodeOptions& episodes,
                                           std::unique_ptr<WindowContents> contents) {
  return std::make_unique<Tiled>(spec, options, episodes, std::move(contents));
}

}  // namespace bongsu::sigma
