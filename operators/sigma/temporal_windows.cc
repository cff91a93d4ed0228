#include "operators/sigma/temporal_windows.h"

#include <vector>

#include "state/status_macros.h"

namespace bongsu::sigma {
namespace {

class TemporalContents : public WindowContents {
 public:
  explicit TemporalContents(const TemporalSettings& settings)
      : settings_(settings), events_(settings) {}

  absl::Status Open(OperatorContext& context) override { return events_.Open(context); }
  absl::Status Put(const Input& input, OperatorContext& context, bool* kept) override {
    return events_.Put(input, context, kept);
  }
  absl::Status First(std::string_view key, EventTimeNs from, EventTimeNs to,
                     EventTimeNs* time) override {
    return events_.lists().First(key, from, to, time);
  }
  absl::Status Load(std::string_view key, EventTimeNs from, EventTimeNs to,
                    OperatorContext& context) override {
    BONGSU_RETURN_IF_ERROR(events_.Collect(key, from, to, context));
    all_.clear();
    evidence_.clear();
    for (const RuleEvent& event : events_.collected()) {
      const GroupEvent& one = all_.emplace_back(event.time, event.seq, event.seq, event.port);
      if (settings_.condition.AsksFor(event.rule)) evidence_.push_back(one);
    }
    return absl::OkStatus();
  }
  const std::vector<GroupEvent>& all() const override { return all_; }
  bool Holds(Measured* value) override {
    *value = {};
    return HoldsWithin(settings_.condition, events_.collected(), settings_.ties);
  }
  std::span<const GroupEvent> evidence() const override { return evidence_; }
  absl::Status Payload(std::string_view key, const GroupEvent& event,
                       std::string* payload) override {
    return events_.Payload(key, event, payload);
  }
  void Describe(const Measured&, Incident* incident) override { events_.Describe(incident); }
  void ExpireBefore(EventTimeNs time) override { events_.ExpireBefore(time); }

 private:
  const TemporalSettings& settings_;
  TemporalEvents events_;
  std::vector<GroupEvent> all_;
  std::vector<GroupEvent> evidence_;
};

}  // namespace

std::unique_ptr<Operator> MakeTemporalWindows(const OperatorSpec& spec, const TileOptions& tiles,
                                              const TemporalSettings& settings) {
  return MakeTiledWindows(spec, tiles, settings.episodes,
                          std::make_unique<TemporalContents>(settings));
}

}  // namespace bongsu::sigma
