#include "pipeline/alert_writer.h"

#include <algorithm>
#include <bitset>
#include <cstdlib>
#include <limits>
#include <vector>

#include "operators/key.h"
#include "operators/payload.h"
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

// What the longest record needs in base64, and so the most that any record may need: a letter that
// its topic cannot take would end this run and the next. Escaped, a text may be six times as long.
constexpr size_t kRecordTextBytesMax = (kDeadLetterRecordBytesMax + 2) / 3 * 4;
// Besides the record: names, path, key, and the frame of the Kafka record.
constexpr size_t kLetterRestBytes = 12 * 1024;
static_assert(kRecordTextBytesMax + kLetterRestBytes < kLettersBytes);

// The record in the form that loses nothing: text where it is UTF-8 and short enough, else base64;
// cut at the bound.
void AppendRecord(std::string_view record, std::string* out) {
  out->append(R"(,"size":)");
  AppendUint(record.size(), out);
  const bool cut = record.size() > kDeadLetterRecordBytesMax;
  if (cut) out->append(R"(,"cut":true)");
  const std::string_view text = Utf8Prefix(record, kDeadLetterRecordBytesMax);
  if (IsValidUtf8(text)) {
    const size_t begin = out->size();
    out->append(R"(,"record":)");
    AppendJsonString(text, out);
    if (out->size() - begin <= kRecordTextBytesMax) return;
    out->resize(begin);
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

namespace {

size_t InputsAmong(std::span<const Evidence> evidence) {
  std::bitset<256> inputs;
  for (const Evidence& one : evidence) inputs.set(one.port);
  return inputs.count();
}

// `count` of the pieces, in their order: the first of each input (the anchor is one of these), then
// those that come first.
std::vector<Evidence> PickEvidence(std::span<const Evidence> evidence, size_t count) {
  std::vector<bool> picked(evidence.size());
  std::bitset<256> inputs;
  for (size_t i = 0; i < evidence.size() && count > 0; ++i) {
    if (inputs[evidence[i].port]) continue;
    inputs.set(evidence[i].port);
    picked[i] = true;
    --count;
  }
  for (size_t i = 0; i < evidence.size() && count > 0; ++i) {
    if (picked[i]) continue;
    picked[i] = true;
    --count;
  }
  std::vector<Evidence> kept;
  for (size_t i = 0; i < evidence.size(); ++i) {
    if (picked[i]) kept.push_back(evidence[i]);
  }
  return kept;
}

}  // namespace

size_t OutputBytesMax(const Config& config, const SinkConfig& sink) {
  constexpr int64_t kLibraryDefault = 1'000'000;  // librdkafka's message.max.bytes
  constexpr int64_t kFrame = 2048;                // key, batch and record headers
  if (sink.topic.empty()) return std::numeric_limits<size_t>::max();
  const auto it = config.kafka.find("message.max.bytes");
  const int64_t most =
      it == config.kafka.end() ? kLibraryDefault : std::strtoll(it->second.c_str(), nullptr, 10);
  return static_cast<size_t>(std::max(most - kFrame, int64_t{1}));
}

bool WriteAlert(AlertWriter& writer, const OperatorSpec& spec, const Incident& incident,
                size_t bytes_max, std::string* out) {
  const size_t begin = out->size();
  writer.Write(spec, incident, out);
  const auto too_large = [&] { return out->size() - begin > bytes_max; };
  if (!too_large()) return false;
  std::vector<Evidence> shown(incident.evidence.begin(), incident.evidence.end());
  const auto write = [&] {
    out->resize(begin);
    writer.WriteShown(spec, incident, shown, out);
  };
  // All pieces may be as large as the first: half of them, until it fits.
  const size_t inputs = InputsAmong(shown);
  while (too_large() && shown.size() > inputs) {
    shown = PickEvidence(shown, std::max(shown.size() / 2, inputs));
    write();
  }
  const std::vector<Evidence> whole = shown;
  std::vector<std::string> payloads(shown.size());
  for (size_t bytes = bytes_max; too_large() && bytes > 0;) {
    bytes = LessValueBytes(bytes);
    int cut = 0;
    for (size_t i = 0; i < shown.size(); ++i) {
      payloads[i].clear();
      cut += CutPayload(whole[i].payload, bytes, &payloads[i]);
      shown[i].payload = payloads[i];
    }
    if (cut > 0) write();
  }
  while (too_large() && shown.size() > 1) {
    shown = PickEvidence(shown, shown.size() / 2);
    write();
  }
  return true;
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
               std::string_view record, std::string_view fields, std::string* out) {
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
  } else if (!fields.empty()) {
    out->push_back(',');
    out->append(fields);
  }
  out->push_back('}');
}

}  // namespace bongsu
