#include "operators/sigma/correlation_tiled.h"

#include <vector>

#include "operators/sigma/correlation_events.h"
#include "operators/sigma/tiled_windows.h"

namespace bongsu::sigma {
namespace {

class MeasuredWindow : public WindowContents {
 public:
  explicit MeasuredWindow(const AggregateSpec& spec)
      : spec_(spec),
        measure_(MakeMeasure(spec.correlation(), spec.options().values_max)),
        events_(spec) {}

  absl::Status Open(OperatorContext& context) override { return events_.Open(context); }
  absl::Status Put(const Input& input, OperatorContext& context, bool* kept) override {
    return events_.Put(input, context, kept);
  }
  absl::Status First(std::string_view key, EventTimeNs from, EventTimeNs to,
                     EventTimeNs* time) override {
    return events_.First(key, from, to, time);
  }
  absl::Status Load(std::string_view key, EventTimeNs from, EventTimeNs to,
                    OperatorContext& context) override {
    return events_.Load(key, from, to, context);
  }
  const std::vector<GroupEvent>& all() const override { return events_.all(); }
  bool Holds(Measured* value) override {
    measure_->Clear();
    for (size_t i = 0; i < events_.all().size(); ++i) measure_->Add(events_.digests(i));
    *value = measure_->value();
    return spec_.comparisons().Hold(*value);
  }
  absl::Status Payload(std::string_view key, const GroupEvent& event,
                       std::string* payload) override {
    return events_.Payload(key, event, payload);
  }
  void Describe(const Measured& value, Incident* incident) override {
    spec_.Describe(value, &text_, incident);
  }
  void ExpireBefore(EventTimeNs time) override { events_.ExpireBefore(time); }

 private:
  const AggregateSpec& spec_;
  std::unique_ptr<Measure> measure_;
  MeasuredEvents events_;
  std::string text_;  // what the last incident's value is a view of
};

}  // namespace

std::unique_ptr<Operator> MakeTiledCorrelation(const AggregateSpec& spec) {
  const CorrelationOptions& options = spec.options();
  TileOptions tiles;
  tiles.window = options.window;
  tiles.span = spec.timespan();
  tiles.session_max = options.max_episode;
  tiles.more_can_break = !spec.grows() || !spec.comparisons().only_lower_bounds();
  tiles.empty_windows =
      options.window == CorrelationWindow::kSliding && spec.correlation().group_by.empty();
  return MakeTiledWindows(spec, tiles, spec.episodes(), std::make_unique<MeasuredWindow>(spec));
}

}  // namespace bongsu::sigma
