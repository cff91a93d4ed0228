// File: operators/sigma/rule_events.h
//
// The events of a temporal correlation as they lie in state: for each group and rule a list in time
// order, so that "the newest of this rule before that event" is one look-up, however many events of
// other rules a flooded group has.
//
//   RuleEvents events(port_rules);
//   events.Open(context, bucket_ns);
//   events.Put(input, index);
//   std::optional<RuleEvents::Found> found;
//   events.Newest(key, rule, from, to, context, &found);
//
// Value of an entry: port:u8, index:u32 (how many of its rule were kept before it in the same
// stretch of time, see TemporalOperator), payload. Mark 1: a window that was reported holds it.
//
// Thread-safety: one thread. Errors: of the state's handles.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "operators/operator.h"
#include "operators/sigma/temporal_condition.h"

namespace bongsu::sigma {

class RuleEvents {
 public:
  // `port_rules`: by port, the rule that its events belong to.
  RuleEvents(size_t rules, std::vector<uint16_t> port_rules)
      : rules_(rules), port_rules_(std::move(port_rules)) {}
  [[nodiscard]] absl::Status Open(OperatorContext& context, DurationNs bucket_ns);

  size_t rules() const { return rules_; }
  uint16_t RuleOf(uint8_t port) const { return port_rules_[port]; }
  [[nodiscard]] absl::Status Put(const Input& input, uint32_t index);

  struct Found {
    RuleEvent event;
    uint32_t index = 0;
  };
  // An event of the newest time with from <= time <= to, whichever of that time: one look-up,
  // however many there are.
  [[nodiscard]] absl::Status AnyNewest(std::string_view key, uint16_t rule, EventTimeNs from,
                                       EventTimeNs to, std::optional<Found>* found);
  // The newest event with from <= time <= to: of those of one time the last in order.
  [[nodiscard]] absl::Status Newest(std::string_view key, uint16_t rule, EventTimeNs from,
                                    EventTimeNs to, OperatorContext& context,
                                    std::optional<Found>* found);
  // The newest event before `limit` with time >= from; the oldest behind it with time <= to.
  [[nodiscard]] absl::Status NewestBefore(std::string_view key, uint16_t rule, EventTimeNs from,
                                          const RuleEvent& limit, TieOrder ties,
                                          OperatorContext& context, std::optional<Found>* found);
  [[nodiscard]] absl::Status OldestBehind(std::string_view key, uint16_t rule,
                                          const RuleEvent& limit, EventTimeNs to, TieOrder ties,
                                          OperatorContext& context, std::optional<Found>* found);
  // The time of the oldest event of a rule with from <= time <= to; kMaxEventTime: none.
  [[nodiscard]] absl::Status FirstOf(std::string_view key, uint16_t rule, EventTimeNs from,
                                     EventTimeNs to, EventTimeNs* time);
  // The same of any rule.
  [[nodiscard]] absl::Status First(std::string_view key, EventTimeNs from, EventTimeNs to,
                                   EventTimeNs* time);
  // The time of the oldest event with from <= time <= to that no reported window holds.
  [[nodiscard]] absl::Status OldestUnused(std::string_view key, uint16_t rule, EventTimeNs from,
                                          EventTimeNs to, std::optional<EventTimeNs>* time);
  [[nodiscard]] absl::Status MarkUsed(std::string_view key, uint16_t rule, EventTimeNs from,
                                      EventTimeNs to);
  // Adds the events with from <= time <= to of the rules that `wanted` (one byte for each) names,
  // sorted: by time, order (ReadBefore), rule.
  [[nodiscard]] absl::Status Collect(std::string_view key, std::span<const uint8_t> wanted,
                                     EventTimeNs from, EventTimeNs to, OperatorContext& context,
                                     std::vector<RuleEvent>* events);
  // The carried fields; empty where the event is not there.
  [[nodiscard]] absl::Status Payload(std::string_view key, uint16_t rule, EventTimeNs time,
                                     RecordSeq seq, std::string* payload);
  void ExpireBefore(EventTimeNs time) { list_->ExpireBefore(time); }

 private:
  std::string_view Row(std::string_view key, uint16_t rule);
  static Found Decode(const TimeListCursor& entry, uint16_t rule);

  const size_t rules_;
  const std::vector<uint16_t> port_rules_;
  TimeList* list_ = nullptr;
  std::string row_;    // scratch
  std::string value_;  // scratch
};

}  // namespace bongsu::sigma
