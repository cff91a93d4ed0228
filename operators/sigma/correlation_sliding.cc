#include "operators/sigma/correlation_sliding.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "operators/sigma/correlation_events.h"
#include "operators/sigma/correlation_runs.h"
#include "operators/sigma/episode_book.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu::sigma {
namespace {

class Sliding : public Operator, private EpisodeSource {
 public:
  explicit Sliding(const AggregateSpec& spec)
      : spec_(spec),
        span_(spec.timespan()),
        least_(std::max<uint64_t>(1, spec.comparisons().least())),
        measure_(MakeMeasure(spec.correlation(), spec.options().values_max)),
        events_(spec),
        book_(spec, spec.episodes(), *this) {}

  absl::Status Open(OperatorContext& context) override {
    BONGSU_RETURN_IF_ERROR(events_.Open(context));
    BONGSU_RETURN_IF_ERROR(book_.Open(context));
    if (spec_.correlation().type == CorrelationType::kValueCount) {
      runs_.emplace(span_, spec_.options().reset, events_);
      BONGSU_RETURN_IF_ERROR(runs_->Open(context));
    }
    return absl::OkStatus();
  }

  absl::Status Process(std::span<const Input> batch, OperatorContext& context) override {
    while (!batch.empty()) {
      const auto next = batch.first(std::min(batch.size(), kPrefetchRanges));
      batch = batch.subspan(next.size());
      events_.Prefetch(next);
      for (const Input& input : next) BONGSU_RETURN_IF_ERROR(OnEvent(input, context));
    }
    return absl::OkStatus();
  }

  absl::Status OnTimer(const DueTimer& timer, OperatorContext& context) override {
    return book_.OnTimer(timer, context);
  }

  absl::Status OnWatermark(OperatorContext& context) override {
    events_.ExpireBefore(Oldest(context));
    if (runs_)
      runs_->ExpireBefore(std::min(Oldest(context), AddTime(context.closing_time(), -2 * span_)));
    return absl::OkStatus();
  }

 private:
  EventTimeNs Oldest(const OperatorContext& context) const {
    return AddTime(context.closing_time(), -book_.events_kept());
  }
  absl::Status OnEvent(const Input& input, OperatorContext& context) {
    bool kept = false;
    BONGSU_RETURN_IF_ERROR(events_.Put(input, context, &kept));
    if (!kept || events_.put_again()) return absl::OkStatus();
    if (!spec_.grows()) return book_.Arm(input.key, input.time, context);
    EventTimeNs first = input.time;
    const EventTimeNs last = AddTime(input.time, span_ - 1);
    bool may = events_.near() >= least_;
    if (runs_) {
      BONGSU_RETURN_IF_ERROR(runs_->MayHold(input, least_, Oldest(context), context, &may));
    } else if (may) {
      BONGSU_RETURN_IF_ERROR(events_.FirstEnd(input.key, input.time, least_, &first));
      may = first <= last;
    }
    return may ? book_.Examine(input.key, first, last, context) : absl::OkStatus();
  }

  // EpisodeSource.
  absl::Status Walk(std::string_view key, EventTimeNs floor, EventTimeNs first, EventTimeNs until,
                    OperatorContext& context,
                    absl::FunctionRef<absl::StatusOr<bool>(const HeldWindow&)> held) override {
    const EventTimeNs behind = std::max(AddTime(first, -span_), floor);
    BONGSU_RETURN_IF_ERROR(events_.Load(key, AddTime(behind, 1), until, context));
    const std::vector<GroupEvent>& all = events_.all();
    measure_->Clear();
    size_t from = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      const EventTimeNs end = all[i].time;
      for (const EventTimeNs out = AddTime(end, -span_); from < i && all[from].time <= out; ++from)
        measure_->Remove(events_.digests(from));
      measure_->Add(events_.digests(i));
      const bool last_of_time = i + 1 == all.size() || all[i + 1].time != end;
      if (end < first || !last_of_time) continue;
      // What was missed may have kept the measure below.
      if (!spec_.grows() && AddTime(end, 1 - span_) < context.complete_from()) continue;
      const HeldWindow window{from, i + 1, measure_->value()};
      if (!spec_.comparisons().Hold(window.value)) continue;
      BONGSU_ASSIGN_OR_RETURN(const bool start_anew, held(window));
      if (!start_anew) continue;
      measure_->Clear();
      from = i + 1;
    }
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
  const DurationNs span_;
  const uint64_t least_;  // events that a window needs
  std::unique_ptr<Measure> measure_;
  MeasuredEvents events_;
  EpisodeBook book_;
  std::optional<ValueRuns> runs_;
  std::string value_text_;  // scratch
};

}  // namespace

std::unique_ptr<Operator> MakeSlidingCorrelation(const AggregateSpec& spec) {
  return std::make_unique<Sliding>(spec);
}

}  // namespace bongsu::sigma
