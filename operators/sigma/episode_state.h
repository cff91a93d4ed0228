// File: operators/sigma/episode_state.h
//
// What an EpisodeBook keeps of a group that has something going on (most groups have nothing but
// their events): the incident that is open, those that were found on arrival and have not been
// settled yet, and how far it has been settled. One value of a ValueMap; its bytes are in
// state/FORMAT.md, section "Correlations".
//
// Thread-safety: plain data.
#pragma once

#include <cstdint>
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

struct EpisodeGroup {
  EventTimeNs settled = kMinEventTime;  // events up to this time have been looked at for good
  EventTimeNs timer = kMinEventTime;    // the timer that counts; others are old
  EventTimeNs suppressed_until = kMinEventTime;
  EventTimeNs reset = kMinEventTime;  // nothing up to this time counts any more
  uint64_t next_order = 0;
  Episode episode;
  std::vector<FoundWindows> found;

  void Encode(std::string* out) const;
  static EpisodeGroup Decode(std::string_view bytes);
};

}  // namespace bongsu::sigma
