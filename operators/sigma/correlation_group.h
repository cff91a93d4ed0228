// File: operators/sigma/correlation_group.h
//
// What a sliding correlation keeps of a group that has something going on (most groups have
// nothing but their events): the incident that is open, those that were found on arrival and have
// not been settled yet, and how far it has been settled. One value of a ValueMap; its bytes are in
// state/FORMAT.md, section "Correlations".
//
// Thread-safety: plain data.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "operators/incident.h"
#include "operators/sigma/correlation_measure.h"
#include "state/shard_state.h"
#include "state/types.h"

namespace bongsu::sigma {

// Windows that hold the condition, found when one of their events arrived.
struct FoundWindows {
  EventTimeNs first = 0;  // the ends of the first and the last of them that are known
  EventTimeNs last = 0;
  bool published = false;  // and then:
  IncidentId id{};
  uint64_t order = 0;  // which of two was published first
  uint64_t count = 0;  // the events in its alert
};

// An incident, as far as it is settled.
struct Episode {
  bool open = false;
  bool published = false;
  bool suppressed = false;
  IncidentId id{};
  uint64_t order = 0;
  EntryId anchor;
  EventTimeNs completed = 0;     // the end of its first window
  EventTimeNs last = 0;          // the end of its newest window
  EventTimeNs known_last = 0;    // the same, with what arrived since
  uint64_t event_count = 0;      // events of all its windows
  uint64_t count_published = 0;  // what the alerts say
  EventTimeNs updated = 0;       // the end of the window of the last alert
  Measured peak;                 // the highest value of its windows
};

struct CorrelationGroup {
  EventTimeNs settled = kMinEventTime;  // events up to this time have been looked at for good
  EventTimeNs timer = kMinEventTime;    // the timer that counts; others are old
  EventTimeNs suppressed_until = kMinEventTime;
  bool has_reset = false;
  EntryId reset;  // nothing up to this event counts any more
  uint64_t next_order = 0;
  Episode episode;
  std::vector<FoundWindows> found;

  void Encode(std::string* out) const;
  static CorrelationGroup Decode(std::string_view bytes);
};

// The events listed in an incident, with their payloads.
struct KeptEvidence {
  uint8_t port = 0;
  EntryId id;
  std::string payload;
};
void EncodeEvidence(std::span<const KeptEvidence> evidence, std::string* out);
std::vector<KeptEvidence> DecodeEvidence(std::string_view bytes);

// An event as it lies in the group's list: port, digests, payload.
void EncodeMember(uint8_t port, std::span<const Digest> digests, std::string_view payload,
                  std::string* out);
struct Member {
  uint8_t port = 0;
  std::string_view digests;  // 16 bytes each
  std::string_view payload;
};
Member DecodeMember(std::string_view value);

}  // namespace bongsu::sigma
