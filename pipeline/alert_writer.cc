#include "pipeline/alert_writer.h"

#include "operators/key.h"
#include "pipeline/alert_formats.h"
#include "pipeline/json_text.h"

namespace bongsu {
namespace {

void AppendCoordinates(const PartitionInfo& partition, int64_t offset, std::string* out) {
  out->append(R"("source":)");
  AppendJsonString(partition.source, out);
  if (partition.path.empty()) {
    out->append(R"(,"topic":)");
    AppendJsonString(partition.topic, out);
    out->append(R"(,"partition":)");
    AppendInt(partition.partition, out);
  } else {
    out->append(R"(,"file":)");
    AppendJsonString(partition.path, out);
  }
  out->append(R"(,"offset":)");
  AppendInt(offset, out);
}

void AppendTimeMember(std::string_view name, EventTimeNs time, std::string* out) {
  out->append(",\"");
  out->append(name);
  out->append("\":\"");
  AppendRfc3339(time, out);
  out->push_back('"');
}

// The record in the form that loses nothing: text where it is UTF-8, else base64; cut at the bound.
void AppendRecord(std::string_view record, std::string* out) {
  out->append(R"(,"size":)");
  AppendUint(record.size(), out);
  const bool cut = record.size() > kDeadLetterRecordBytesMax;
  if (cut) out->append(R"(,"cut":true)");
  const std::string_view text = Utf8Prefix(record, kDeadLetterRecordBytesMax);
  if (IsValidUtf8(text)) {
    out->append(R"(,"record":)");
    AppendJsonString(text, out);
    return;
  }
  out->append(R"(,"record_base64":")");
  AppendBase64(record.substr(0, kDeadLetterRecordBytesMax), out);
  out->push_back('"');
}

}  // namespace

std::unique_ptr<AlertWriter> MakeAlertWriter(const Config& config, const PartitionTable& partitions,
                                             const Clock& clock) {
  if (config.alerts.format == AlertFormat::kNative) return MakeNativeWriter(config, partitions);
  return MakeOcsfWriter(config, partitions, clock);
}

void WriteDeadLetter(const PartitionInfo& partition, int64_t offset, std::string_view reason,
                     std::string_view record, int64_t now_ns, std::string* out) {
  out->append(R"({"reason":)");
  AppendJsonString(reason, out);
  out->push_back(',');
  AppendCoordinates(partition, offset, out);
  AppendTimeMember("logged_time", now_ns, out);
  AppendRecord(record, out);
  out->push_back('}');
}

void WriteLate(const PartitionInfo& partition, int64_t offset, const LateRecord& late,
               std::string_view record, std::string_view fields_json, std::string* out) {
  out->append(R"({"reason":)");
  AppendJsonString(late.reason, out);
  if (!late.op.empty()) {
    out->append(R"(,"operator":)");
    AppendJsonString(late.op, out);
  }
  if (!late.key.empty()) {
    out->append(R"(,"key":)");
    AppendJsonString(KeyText(late.key), out);
  }
  out->push_back(',');
  AppendCoordinates(partition, offset, out);
  AppendTimeMember("time", late.time, out);
  // How late, or how far ahead of the clock: milliseconds, as people count it.
  out->append(late.reason == "future" ? R"(,"ahead_ms":)" : R"(,"behind_ms":)");
  AppendInt(late.behind / kMillisecondNs, out);
  if (late.watermark != kMinEventTime && late.watermark != kMaxEventTime) {
    AppendTimeMember("watermark", late.watermark, out);
  }
  if (!record.empty()) {
    AppendRecord(record, out);
  } else if (!fields_json.empty()) {
    out->append(R"(,"fields":)");
    out->append(fields_json);
  }
  out->push_back('}');
}

}  // namespace bongsu
