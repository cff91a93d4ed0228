// File: pipeline/alert_writer.h
//
// Incidents as readers of the alerts topic get them: OCSF Detection Finding (class_uid 2004) or
// compact native JSON. The schema, for readers, is deploy/ALERTS.md.
//
//   auto writer = MakeAlertWriter(config, partitions, clock);
//   std::string json;
//   writer->Write(spec, incident, &json);     // one line, without the newline
//
// All text from events is escaped as JSON demands; control characters and bidirectional marks too.
//
// Thread-safety: a writer belongs to one thread; make one for each.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "operators/incident.h"
#include "operators/operator.h"
#include "pipeline/config.h"
#include "pipeline/io.h"

namespace bongsu {

class AlertWriter {
 public:
  virtual ~AlertWriter() = default;
  // Appends the alert's JSON to `*out`, with `shown` in the place of the incident's evidence: what
  // a bound has left of it. All else is said of the whole incident.
  virtual void WriteShown(const OperatorSpec& spec, const Incident& incident,
                          std::span<const Evidence> shown, std::string* out) = 0;
  void Write(const OperatorSpec& spec, const Incident& incident, std::string* out) {
    WriteShown(spec, incident, incident.evidence, out);
  }
};

// What a record for `sink` may be large at most: what the producer sends as one (message.max.bytes,
// less the record's frame); without bound in a file.
size_t OutputBytesMax(const Config& config, const SinkConfig& sink);
// The next smaller bound for the values of an output that is too large: half, and in the end none.
inline size_t LessValueBytes(size_t bytes) { return bytes > 64 ? bytes / 2 : 0; }
// Writes the alert within `bytes_max`. Where it would be larger, evidence is left out, and counted
// as dropped like what is beyond the operator's own bound: the last pieces first, but the first one
// of each input stays. Where these are too large, their values are cut (CutPayload). Fewer pieces
// than inputs are shown only where they are too large without any value; the first always stays.
// Returns whether anything was left out.
bool WriteAlert(AlertWriter& writer, const OperatorSpec& spec, const Incident& incident,
                size_t bytes_max, std::string* out);

// `config` and `partitions` outlive the writer.
std::unique_ptr<AlertWriter> MakeAlertWriter(const Config& config, const PartitionTable& partitions,
                                             const Clock& clock);

// What is written to the dead-letter and late streams; see deploy/ALERTS.md, "Dead letters and late
// events".
inline constexpr size_t kDeadLetterRecordBytesMax = 64 * 1024;
void WriteDeadLetter(const PartitionInfo& partition, int64_t offset, std::string_view reason,
                     std::string_view record, int64_t now_ns, std::string* out);
// `op` empty: late (or `future`) for the whole source.
struct LateRecord {
  std::string_view reason;  // "late" or "future"
  std::string_view op;      // operator name, or empty
  std::string_view key;     // canonical key, or empty
  EventTimeNs time = 0;
  DurationNs behind = 0;  // behind the watermark; ahead of the clock for `future`
  EventTimeNs watermark = 0;
};
// What a late record has besides its fields, at most.
inline constexpr size_t kLateRestBytesMax = 12 * 1024;
// `record` is the raw record, or empty where only fields are left of it (LateFields).
void WriteLate(const PartitionInfo& partition, int64_t offset, const LateRecord& late,
               std::string_view record, std::string_view fields, std::string* out);

}  // namespace bongsu
