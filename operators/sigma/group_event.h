// File: operators/sigma/group_event.h
//
// One event of a group of a correlation, without its payload, and the order of events.
//
// Thread-safety: plain data.
#pragma once

#include <cstdint>

#include "operators/operator.h"

namespace bongsu::sigma {

struct GroupEvent {
  EventTimeNs time = 0;
  RecordSeq seq = 0;    // where it came from; of a result: where its anchor did
  RecordSeq entry = 0;  // what it lies under in the state; the same but for results
  uint8_t port = 0;
};

// The order of events: time, then source and partition by name, then offset; the same on every
// machine. Partitions are numbered as they are met, so their numbers will not do.
inline bool ReadBefore(EventTimeNs a_time, RecordSeq a_seq, EventTimeNs b_time, RecordSeq b_seq,
                       const OperatorContext& context) {
  if (a_time != b_time) return a_time < b_time;
  if (SeqPartition(a_seq) == SeqPartition(b_seq)) return a_seq < b_seq;
  return context.origin(a_seq) < context.origin(b_seq);
}
inline bool ReadBefore(const GroupEvent& a, const GroupEvent& b, const OperatorContext& context) {
  if (a.time == b.time && a.seq == b.seq) return a.entry < b.entry;
  return ReadBefore(a.time, a.seq, b.time, b.seq, context);
}

}  // namespace bongsu::sigma
