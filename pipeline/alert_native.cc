
#include "operators/key.h"
#include "operators/payload.h"
#include "pipeline/alert_formats.h"
#include "pipeline/alert_layout.h"
#include "pipeline/json_text.h"

namespace bongsu {
namespace {

constexpr std::string_view kActivityNames[] = {"", "create", "update", "close"};

class NativeWriter final : public AlertWriter {
 public:
  NativeWriter(const Config& config, const PartitionTable& partitions)
      : layout_(config, partitions) {}

  void WriteShown(const OperatorSpec& spec, const Incident& incident,
                  std::span<const Evidence> shown, std::string* out) override {
    const RuleLayout& rule = layout_.Rule(spec);
    out->append(R"({"id":")");
    AppendHex(incident.id.data(), incident.id.size(), out);
    out->append(R"(","activity":")");
    out->append(kActivityNames[static_cast<size_t>(incident.activity)]);
    out->push_back('"');
    out->append(rule.native_head);
    if (!rule.one_event) {
      out->append(R"(,"key":)");
      AppendJsonString(KeyText(incident.key), out);
    }
    if (incident.time_from != TimeOrigin::kEvent) {
      out->append(R"(,"time_from":")");
      out->append(TimeOriginName(incident.time_from));
      out->push_back('"');
    }
    AppendTime(R"(,"time":")", incident.anchor_time, out);
    AppendTime(R"(","first_time":")", incident.first_time, out);
    AppendTime(R"(","last_time":")", incident.last_time, out);
    out->append(R"(","count":)");
    AppendUint(incident.event_count, out);
    if (const uint64_t left_out = LeftOut(incident, shown); left_out > 0) {
      out->append(R"(,"evidence_dropped":)");
      AppendUint(left_out, out);
    }
    AppendFindings(rule, incident, out);
    out->append(R"(,"evidence":[)");
    bool first = true;
    for (const Evidence& evidence : shown) {
      if (!first) out->push_back(',');
      first = false;
      WriteEvidence(rule, evidence, out);
    }
    out->append("]}");
  }

 private:
  static void AppendTime(std::string_view name, EventTimeNs time, std::string* out) {
    out->append(name);
    AppendRfc3339(time, out);
  }

  void WriteEvidence(const RuleLayout& rule, const Evidence& evidence, std::string* out) {
    const PortLayout& port = rule.ports[evidence.port];
    out->append(R"({"input":)");
    out->append(port.input_json);
    out->push_back(',');
    layout_.AppendCoordinates(evidence.seq, out);
    AppendTime(R"(,"time":")", evidence.time, out);
    out->append(R"(","fields":{)");
    AppendFields(port, evidence.payload, out);
    if (!cut_.empty()) {
      out->append(R"(,"cut_fields":[)");
      out->append(cut_);
      out->push_back(']');
    }
    out->push_back('}');
  }

  void AppendFields(const PortLayout& port, std::string_view payload, std::string* out) {
    PayloadReader reader(payload);
    cut_.clear();
    bool first = true;
    Value value;
    for (size_t i = 0; i < port.field_json.size() && reader.Next(&value); ++i) {
      if (!port.chosen[i]) continue;
      if (reader.was_cut()) {
        if (!cut_.empty()) cut_.push_back(',');
        cut_.append(port.field_json[i], 0, port.field_json[i].size() - 1);  // without its colon
      }
      if (value.is_absent()) continue;
      if (!first) out->push_back(',');
      first = false;
      out->append(port.field_json[i]);
      AppendValueJson(value, out);
    }
    out->push_back('}');
  }

  AlertLayout layout_;
  std::string cut_;  // of the piece being written: names of fields, with commas between
};

}  // namespace

std::unique_ptr<AlertWriter> MakeNativeWriter(const Config& config,
                                              const PartitionTable& partitions) {
  return std::make_unique<NativeWriter>(config, partitions);
}

}  // namespace bongsu
