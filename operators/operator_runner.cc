#include "operators/operator_runner.h"

#include <algorithm>
#include <optional>

#include "state/check.h"
#include "state/key_encoding.h"
#include "state/status_macros.h"

namespace bongsu {

absl::Status Operator::OnTimer(const DueTimer&, OperatorContext&) { return absl::OkStatus(); }
absl::Status Operator::OnWatermark(OperatorContext&) { return absl::OkStatus(); }

class OperatorRunner::Impl : public OperatorContext {
 public:
  Impl(const OperatorSpec& spec, ShardState& state, uint16_t operator_id,
       std::vector<DurationNs> allowed_lateness, OperatorOutput& output,
       const PartitionNames& partitions)
      : spec_(spec),
        state_(state),
        operator_id_(operator_id),
        allowed_lateness_(std::move(allowed_lateness)),
        output_(output),
        partitions_(partitions),
        has_readers_(output.HasReaders(spec)),
        has_followers_(output.HasFollowers(spec)),
        operator_(spec.NewInstance()),
        ports_(spec.inputs().size(), kMinEventTime) {
    BONGSU_CHECK(allowed_lateness_.size() == ports_.size());
    for (DurationNs lateness : allowed_lateness_) lateness_max_ = std::max(lateness_max_, lateness);
  }

  absl::Status Open() {
    BONGSU_ASSIGN_OR_RETURN(timers_, state_.OpenTimers(operator_id_));
    BONGSU_RETURN_IF_ERROR(operator_->Open(*this));
    // Behind the operator's own handles, whose numbers it must not change.
    BONGSU_ASSIGN_OR_RETURN(own_, state_.OpenValueMap(operator_id_, kCompleteFromKey));
    std::string bytes;
    bool found = false;
    BONGSU_RETURN_IF_ERROR(own_->Get(kCompleteFromKey, &bytes, &found));
    if (!found) return absl::OkStatus();
    constexpr size_t kTime = sizeof(EventTimeNs);
    BONGSU_CHECK_MSG(bytes.size() == kTime || bytes.size() == 3 * kTime,
                     "an operator's begin does not parse");
    const std::string_view row = bytes;
    complete_from_ = ReadTime(row);
    if (row.size() == kTime) return absl::OkStatus();
    stored_lateness_ = ReadTime(row.substr(kTime));
    closed_ = ReadTime(row.substr(2 * kTime));
    own_written_ = stored_lateness_ == lateness_max_;
    return absl::OkStatus();
  }

  absl::Status Missed(EventTimeNs newest) {
    if (newest < complete_from_) return absl::OkStatus();
    complete_from_ = AddTime(newest, 1);
    return WriteOwn();
  }

  absl::Status Process(std::span<const Input> batch) {
    on_time_.clear();
    for (const Input& input : batch) {
      BONGSU_CHECK(input.port < ports_.size());
      const EventTimeNs oldest =
          std::max(closed_, AddTime(watermark_, -allowed_lateness_[input.port]));
      if (input.time < oldest) {
        DurationNs behind = 0;  // an event of 1700 is too far behind for a number
        if (__builtin_sub_overflow(watermark_, input.time, &behind)) behind = kMaxEventTime;
        output_.Late(spec_, input, behind);
      } else {
        on_time_.push_back(input);
      }
    }
    if (on_time_.empty()) return absl::OkStatus();
    if (!own_written_) BONGSU_RETURN_IF_ERROR(WriteOwn());
    return operator_->Process(on_time_, *this);
  }

  absl::Status AdvanceWatermark(std::span<const EventTimeNs> port_watermarks) {
    BONGSU_CHECK(port_watermarks.size() == ports_.size());
    for (size_t i = 0; i < ports_.size(); ++i) ports_[i] = std::max(ports_[i], port_watermarks[i]);
    const EventTimeNs lowest = *std::min_element(ports_.begin(), ports_.end());
    if (lowest <= watermark_) return absl::OkStatus();
    watermark_ = lowest;
    if (stored_lateness_.has_value() && !own_written_) BONGSU_RETURN_IF_ERROR(WriteOwn());
    const auto fire = [this](EventTimeNs time, std::string_view key, std::string_view data) {
      return operator_->OnTimer({time, key, data}, *this);
    };
    BONGSU_RETURN_IF_ERROR(timers_->PopBefore(closing_time(), fire));
    return operator_->OnWatermark(*this);
  }

  void Restore(std::span<const EventTimeNs> port_watermarks) {
    BONGSU_CHECK(port_watermarks.size() == ports_.size());
    std::copy(port_watermarks.begin(), port_watermarks.end(), ports_.begin());
    watermark_ = *std::min_element(ports_.begin(), ports_.end());
    // With more lateness the closing time would go back behind what has expired.
    if (stored_lateness_.has_value())
      closed_ = std::max(closed_, AddTime(watermark_, -*stored_lateness_));
  }

  ShardState& state() override { return state_; }
  uint16_t operator_id() const override { return operator_id_; }
  EventTimeNs watermark() const { return watermark_; }
  EventTimeNs complete_from() const override { return complete_from_; }
  EventTimeNs closing_time() const override {
    return std::max(closed_, AddTime(watermark_, -lateness_max_));
  }
  EventTimeNs result_watermark() const { return AddTime(closing_time(), -spec_.result_delay()); }
  std::span<const EventTimeNs> ports() const { return ports_; }
  std::string_view origin(RecordSeq seq) const override {
    return seq == kNoRecord ? "" : partitions_.Origin(SeqPartition(seq));
  }
  void Emit(const Incident& incident) override { output_.Alert(spec_, incident); }
  void Forward(const Incident& incident, EventTimeNs time, ResultKind kind) override {
    if (kind == ResultKind::kBegun ? has_readers_ : has_followers_)
      output_.Forward(spec_, incident, time, kind);
  }
  bool has_readers() const override { return has_readers_; }
  bool has_followers() const override { return has_followers_; }
  TimerSet& timers() override { return *timers_; }
  void Count(const char* name, uint64_t n) override { output_.Count(spec_, name, n); }

 private:
  absl::Status WriteOwn() {
    own_written_ = true;
    std::string bytes;
    AppendTime(complete_from_, &bytes);
    AppendTime(lateness_max_, &bytes);
    AppendTime(closed_, &bytes);
    return own_->Put(kCompleteFromKey, bytes);
  }

  const OperatorSpec& spec_;
  ShardState& state_;
  const uint16_t operator_id_;
  const std::vector<DurationNs> allowed_lateness_;
  DurationNs lateness_max_ = 0;
  OperatorOutput& output_;
  const PartitionNames& partitions_;
  const bool has_readers_;
  const bool has_followers_;
  std::unique_ptr<Operator> operator_;
  TimerSet* timers_ = nullptr;
  ValueMap* own_ = nullptr;
  EventTimeNs complete_from_ = kMinEventTime;
  // The closing time is never before this: as it was under another allowed lateness.
  EventTimeNs closed_ = kMinEventTime;
  std::optional<DurationNs> stored_lateness_;  // that the state was last kept with
  bool own_written_ = false;                   // the state says so of ours
  std::vector<EventTimeNs> ports_;
  EventTimeNs watermark_ = kMinEventTime;
  std::vector<Input> on_time_;  // scratch
};

OperatorRunner::OperatorRunner(const OperatorSpec& spec, ShardState& state, uint16_t operator_id,
                               std::vector<DurationNs> allowed_lateness, OperatorOutput& output,
                               const PartitionNames& partitions)
    : impl_(std::make_unique<Impl>(spec, state, operator_id, std::move(allowed_lateness), output,
                                   partitions)) {}
OperatorRunner::~OperatorRunner() = default;
OperatorRunner::OperatorRunner(OperatorRunner&&) noexcept = default;

absl::Status OperatorRunner::Open() { return impl_->Open(); }
absl::Status OperatorRunner::Process(std::span<const Input> batch) { return impl_->Process(batch); }
absl::Status OperatorRunner::AdvanceWatermark(std::span<const EventTimeNs> port_watermarks) {
  return impl_->AdvanceWatermark(port_watermarks);
}
EventTimeNs OperatorRunner::watermark() const { return impl_->watermark(); }
EventTimeNs OperatorRunner::closing_time() const { return impl_->closing_time(); }
EventTimeNs OperatorRunner::result_watermark() const { return impl_->result_watermark(); }
void OperatorRunner::RestoreWatermark(std::span<const EventTimeNs> port_watermarks) {
  impl_->Restore(port_watermarks);
}
std::span<const EventTimeNs> OperatorRunner::port_watermarks() const { return impl_->ports(); }
absl::Status OperatorRunner::Missed(EventTimeNs newest) { return impl_->Missed(newest); }
uint16_t OperatorRunner::operator_id() const { return impl_->operator_id(); }

}  // namespace bongsu
