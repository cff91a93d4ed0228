// File: operators/incident.h
//
// What an operator emits: an incident, created once and updated as it grows. It names its evidence
// by the stored payloads; how it is written (OCSF, native JSON) is the pipeline's business.
//
// Identity. `IncidentId` is the first 128 bits of SHA-256 over tenant and canonical key, the rule's
// name and semantic hash, and the anchor event's source, partition (topic and number, or path),
// offset and time. It does not hang on arrival order, process, instance or wall clock: replaying
// the same topics gives the same ids (deploy/ALERTS.md tells readers how to fold by it).
//
// Lifetime: everything that an Incident points at is valid until Emit returns.
// Thread-safety: plain data of the thread that emits it; IncidentId may be called from any thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "state/types.h"

namespace bongsu {

using IncidentId = std::array<uint8_t, 16>;

// 32 lower-case hexadecimal digits.
std::string IncidentIdText(const IncidentId& id);

// OCSF's activity of a finding.
enum class Activity : uint8_t { kCreate = 1, kUpdate = 2, kClose = 3 };

// Where an incident's times come from.
enum class TimeOrigin : uint8_t {
  kEvent,      // the events' own times
  kFuture,     // the event's own, which lies too far ahead of the clock to be believed
  kRecord,     // the event has none: its record's (Kafka's timestamp)
  kWallClock,  // nor has the record: when it was read
};
std::string_view TimeOriginName(TimeOrigin from);  // "event", "future", "record", "wall_clock"

// One event behind an incident.
struct Evidence {
  uint8_t port = 0;  // the input that it came in by (interval_join: 0 left, 1 right)
  EventTimeNs time = 0;
  RecordSeq seq = 0;         // source partition and offset
  std::string_view payload;  // its carried fields (operators/payload.h), InputSpec::fields order
};

struct Incident {
  Activity activity = Activity::kCreate;
  IncidentId id{};
  std::string_view key;        // canonical
  EventTimeNs first_time = 0;  // lowest and highest event time of all its events
  EventTimeNs last_time = 0;
  EventTimeNs anchor_time = 0;
  TimeOrigin time_from = TimeOrigin::kEvent;
  uint64_t event_count = 0;            // all its events, those beyond the evidence included
  std::span<const Evidence> evidence;  // in (time, seq) order, the anchor first; capped
  uint64_t evidence_dropped = 0;       // events that the cap left out
  // Of a correlation: what was counted, summed... as a decimal number, and what it was compared
  // with ("gte 10"); empty where there is nothing of the kind.
  std::string_view value;
  std::string_view threshold;
  // Of a detection with a list of conditions: the first one that holds, as it is written.
  std::string_view condition;
  double value_error = 0;  // relative, of three standard deviations; 0: the value is exact
  // With Activity::kClose: the incident that goes on in its place.
  bool merged = false;
  IncidentId merged_into{};
};

// What the identity is made of.
struct IncidentAnchor {
  std::string_view rule;  // RuleInfo::name: two rules of one meaning have incidents of their own
  std::string_view rule_hash;  // OperatorSpec::semantic_hash()
  std::string_view key;        // canonical, tenant included
  std::string_view origin;  // "source\0topic\0partition" or "source\0path": PartitionInfo::identity
  int64_t offset = 0;
  EventTimeNs time = 0;
  // A second event that also names the incident (one alert for each pair); empty otherwise.
  std::string_view second_origin;
  int64_t second_offset = 0;
  EventTimeNs second_time = 0;
};
IncidentId MakeIncidentId(const IncidentAnchor& anchor);

// SHA-256 in hexadecimal: what OperatorSpec::semantic_hash is made with.
std::string Sha256Hex(std::string_view text);

}  // namespace bongsu
