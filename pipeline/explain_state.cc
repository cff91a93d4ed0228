#include "pipeline/explain_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "operators/handle_names.h"
#include "operators/key.h"
#include "operators/operator_runner.h"
#include "operators/sigma/correlation.h"
#include "operators/sigma/correlation_aggregate.h"
#include "operators/sigma/episode_state.h"
#include "pipeline/json_text.h"
#include "pipeline/plan.h"
#include "pipeline/positions.h"
#include "state/inspect.h"
#include "state/key_encoding.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

// How an operator's rows are laid out (state/FORMAT.md, "Correlations";
// operators/interval_join.cc).
enum class Layout : uint8_t { kAggregate, kTemporal, kJoin };
constexpr size_t kTemporalHeadBytes = 5;

class Reader {
 public:
  // `handles`: what the operator calls its lists and maps (operators/handle_names.h).
  Reader(const Config& config, size_t op, std::vector<std::string> handles,
         const PipelinePositions& positions)
      : config_(config), op_(op), spec_(*config.operators[op]), handles_(std::move(handles)) {
    const auto* correlation = dynamic_cast<const sigma::CorrelationSpec*>(&spec_);
    layout_ = dynamic_cast<const sigma::AggregateSpec*>(&spec_) != nullptr ? Layout::kAggregate
              : correlation != nullptr                                     ? Layout::kTemporal
                                                                           : Layout::kJoin;
    for (const auto& partition : positions.partitions)
      partitions_[partition.info.id] = partition.info;
  }

  void Row(const StateRow& row) {
    if (row.kind == "list") {
      List(row);
    } else if (row.key == kCompleteFromKey && row.value.size() >= sizeof(EventTimeNs)) {
      complete_from_ = std::max(complete_from_, ReadTime(row.value));
    } else if (Name(row) == "groups") {
      Group(row);
    } else if (Name(row) == "windows" && row.value.size() >= 1 + sizeof(EventTimeNs)) {
      evidence_.open_windows[KeyText(row.key)] = ReadTime(row.value.substr(1));  // behind a version
    }
  }

  StepsEvidence Take(EventTimeNs closing) {
    evidence_.state = true;
    evidence_.closing = closing;
    return std::move(evidence_);
  }
  size_t left_out() const { return left_out_; }
  EventTimeNs complete_from() const { return complete_from_; }
  size_t malformed() const { return malformed_; }

 private:
  std::string_view Name(const StateRow& row) const {
    return row.handle >= 1 && row.handle <= handles_.size() ? handles_[row.handle - 1]
                                                            : std::string_view();
  }

  void List(const StateRow& row) {
    // Correlations keep more lists than their events'.
    const std::string_view list = Name(row);
    const bool right = list == "right";
    if (list != "events" && list != "left" && !right) return;
    if (evidence_.inputs.size() == kStateEventsMax) {
      ++left_out_;
      return;
    }
    RehearsedInput input;
    input.op = static_cast<uint16_t>(op_);
    input.time = row.time;
    std::string_view key = row.key;
    std::string_view value = row.value;
    const size_t least = layout_ == Layout::kJoin ? 1 : layout_ == Layout::kTemporal ? 6 : 3;
    if (value.size() < least || (layout_ == Layout::kTemporal && key.size() < 2)) {
      ++malformed_;
      return;
    }
    RecordSeq place = row.seq;
    const auto mark = static_cast<uint8_t>(value[0]);
    value.remove_prefix(1);
    switch (layout_) {
      case Layout::kJoin:
        input.port = right ? 1 : 0;
        break;
      case Layout::kTemporal:  // the rule's number stands behind the key
        input.port = static_cast<uint8_t>(value[0]);
        key.remove_suffix(2);
        value.remove_prefix(kTemporalHeadBytes);
        break;
      case Layout::kAggregate: {
        const size_t digests = static_cast<uint8_t>(value[1]) * sizeof(sigma::Digest);
        if (value.size() < 2 + digests) {
          ++malformed_;
          return;
        }
        input.port = static_cast<uint8_t>(value[0]);
        value.remove_prefix(2 + digests);
        // A result of a correlation below stands with the place of its anchor.
        if (input.port < spec_.inputs().size() && spec_.inputs()[input.port].from_operator &&
            value.size() >= 8) {
          place = ReadU64(value);
          value.remove_prefix(8);
        }
        break;
      }
    }
    input.key = key;
    input.payload = value;
    Place(place, &input);
    // A left event that has had a partner made an incident; of how many events is told at its end.
    if (layout_ == Layout::kJoin && !right && mark > 0) Fired(input.key, row.time, row.time, 0);
    evidence_.inputs.push_back(std::move(input));
  }

  void Place(RecordSeq seq, RehearsedInput* input) {
    if (seq == kNoRecord) {
      input->offset = -1;
      evidence_.places.push_back("no record (nothing came)");
      return;
    }
    input->offset = static_cast<int64_t>(seq & ((uint64_t{1} << 48) - 1));
    const auto known = partitions_.find(SeqPartition(seq));
    if (known == partitions_.end()) {
      evidence_.places.push_back("a partition that the positions do not know yet");
      return;
    }
    const PartitionInfo& info = known->second;
    for (size_t i = 0; i < config_.sources.size(); ++i) {
      if (config_.sources[i].name == info.source) input->source = static_cast<uint16_t>(i);
    }
    evidence_.places.push_back(
        info.topic.empty() ? fmt::format("{}, {} at {}", info.source, info.path, input->offset)
                           : fmt::format("{}, {}[{}] at {}", info.source, info.topic,
                                         info.partition, input->offset));
  }

  void Fired(std::string_view key, EventTimeNs first, EventTimeNs last, uint64_t events) {
    RehearsedIncident& incident = evidence_.incidents.emplace_back();
    incident.rule = spec_.rule().name;
    incident.key = KeyText(key);
    incident.first_time = first;
    incident.last_time = last;
    incident.events = events;
  }

  void Group(const StateRow& row) {
    const sigma::EpisodeGroup group = sigma::EpisodeGroup::Decode(row.value);
    if (group.episode.open && group.episode.published)
      Fired(row.key, group.episode.anchor.time, group.episode.last, group.episode.event_count);
    for (const sigma::FoundWindows& found : group.found) {
      // It knows the ends of windows: of the last one that is an event's time as well.
      if (found.published) Fired(row.key, kMinEventTime, found.last, found.count);
    }
  }

  const Config& config_;
  const size_t op_;
  const OperatorSpec& spec_;
  const std::vector<std::string> handles_;
  Layout layout_ = Layout::kJoin;
  std::map<PartitionId, PartitionInfo> partitions_;
  StepsEvidence evidence_;
  EventTimeNs complete_from_ = kMinEventTime;
  size_t left_out_ = 0;
  size_t malformed_ = 0;
};

// kMinEventTime: there is none yet.
EventTimeNs Watermark(const PipelinePositions& positions, const std::string& rule) {
  const auto known = positions.port_watermarks.find(rule);
  if (known == positions.port_watermarks.end()) return kMinEventTime;
  EventTimeNs lowest = kMaxEventTime;
  for (const EventTimeNs one : known->second) lowest = std::min(lowest, one);
  return lowest;
}

// As operators/operator_runner.h has it.
EventTimeNs ClosingTime(EventTimeNs watermark, const std::vector<DurationNs>& allowed_lateness) {
  if (watermark == kMinEventTime || watermark == kMaxEventTime) return watermark;
  DurationNs lateness = 0;
  for (const DurationNs one : allowed_lateness) lateness = std::max(lateness, one);
  return AddTime(watermark, -lateness);
}

std::string WatermarkNote(EventTimeNs lowest) {
  if (lowest == kMinEventTime) return "watermark: none yet: no window is closed";
  if (lowest == kMaxEventTime) return "watermark: the input has ended: every window is closed";
  return fmt::format(
      "watermark of the rule's sources: {}: what is older than the rule needs behind it was let go",
      Rfc3339(lowest));
}

}  // namespace

absl::StatusOr<StepsEvidence> ReadStateEvidence(const Config& config, size_t op,
                                                std::vector<std::string>* notes) {
  const OperatorSpec& spec = *config.operators[op];
  BONGSU_ASSIGN_OR_RETURN(const auto inspector, StateInspector::OpenBeside(config.state.path));
  BONGSU_ASSIGN_OR_RETURN(const StateInfo head, inspector->Head());
  if (head.application != config.application) {
    return absl::FailedPreconditionError(
        fmt::format("the state in {} is of application '{}'", config.state.path, head.application));
  }
  PipelinePositions positions;
  if (head.checkpoint.has_value() && !head.checkpoint->positions.empty()) {
    BONGSU_ASSIGN_OR_RETURN(positions, DecodePositions(head.checkpoint->positions));
  }
  BONGSU_ASSIGN_OR_RETURN(std::vector<std::string> handles, HandleNames(spec));
  Reader reader(config, op, std::move(handles), positions);
  BONGSU_RETURN_IF_ERROR(inspector->ExportOperator(spec.rule().name, spec.semantic_hash(),
                                                   [&](const StateRow& row) { reader.Row(row); }));
  notes->push_back(
      fmt::format("from the state in {}, as of epoch {}; what came in the last seconds "
                  "may not be in it yet",
                  config.state.path, head.checkpoint.has_value() ? head.checkpoint->epoch : 0));
  const EventTimeNs watermark = Watermark(positions, spec.rule().name);
  notes->push_back(WatermarkNote(watermark));
  if (reader.complete_from() != kMinEventTime) {
    notes->push_back(
        fmt::format("events up to {} may have passed before the rule came into force, or reading "
                    "began: of windows that begin before, it does not judge what more events could "
                    "break",
                    Rfc3339(reader.complete_from() - 1)));
  }
  if (config.exchange == ExchangeMode::kKafka)
    notes->push_back("only this instance's shards are up to date here");
  if (reader.left_out() > 0)
    notes->push_back(fmt::format("{} more events of the rule were left out", reader.left_out()));
  if (reader.malformed() > 0)
    notes->push_back(fmt::format("{} rows could not be read", reader.malformed()));
  return reader.Take(ClosingTime(watermark, MakePlan(config).operators[op].allowed_lateness));
}

}  // namespace bongsu
