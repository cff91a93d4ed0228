#include "operators/sigma/rule_events.h"

#include <algorithm>

#include "operators/sigma/group_event.h"
#include "state/byte_reader.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu::sigma {
namespace {

constexpr size_t kHeadBytes = 1 + 4;  // port, index
constexpr uint8_t kUsed = 1;

bool InOrder(const RuleEvent& a, const RuleEvent& b, TieOrder ties,
             const OperatorContext& context) {
  return ties == TieOrder::kApart ? a.time < b.time
                                  : ReadBefore(a.time, a.seq, b.time, b.seq, context);
}

}  // namespace

absl::Status RuleEvents::Open(OperatorContext& context, DurationNs bucket_ns) {
  BONGSU_ASSIGN_OR_RETURN(list_,
                          context.state().OpenTimeList(context.operator_id(), "events", bucket_ns));
  return absl::OkStatus();
}

std::string_view RuleEvents::Row(std::string_view key, uint16_t rule) {
  row_ = key;
  AppendU16(rule, &row_);
  return row_;
}

RuleEvents::Found RuleEvents::Decode(const TimeListCursor& entry, uint16_t rule) {
  const std::string_view value = entry.value();
  BONGSU_CHECK(value.size() >= kHeadBytes);
  Found found;
  found.event = {entry.time(), entry.seq(), rule, static_cast<uint8_t>(value[0])};
  for (size_t i = 1; i < kHeadBytes; ++i)
    found.index = found.index << 8 | static_cast<uint8_t>(value[i]);
  return found;
}

absl::Status RuleEvents::Put(const Input& input, uint32_t index) {
  value_.assign(1, static_cast<char>(input.port));
  AppendU16(static_cast<uint16_t>(index >> 16), &value_);
  AppendU16(static_cast<uint16_t>(index), &value_);
  value_ += input.payload;
  return list_->Put(Row(input.key, RuleOf(input.port)), {input.time, input.seq}, value_);
}

absl::Status RuleEvents::AnyNewest(std::string_view key, uint16_t rule, EventTimeNs from,
                                   EventTimeNs to, std::optional<Found>* found) {
  found->reset();
  return list_->ScanBack(Row(key, rule), from, to, [&](TimeListCursor& entry) {
    *found = Decode(entry, rule);
    return false;
  });
}

absl::Status RuleEvents::Newest(std::string_view key, uint16_t rule, EventTimeNs from,
                                EventTimeNs to, OperatorContext& context,
                                std::optional<Found>* found) {
  found->reset();
  return list_->ScanBack(Row(key, rule), from, to, [&](TimeListCursor& entry) {
    if (found->has_value() && entry.time() != (*found)->event.time) return false;
    if (!found->has_value() ||
        ReadBefore((*found)->event.time, (*found)->event.seq, entry.time(), entry.seq(), context))
      *found = Decode(entry, rule);
    return true;
  });
}

absl::Status RuleEvents::NewestBefore(std::string_view key, uint16_t rule, EventTimeNs from,
                                      const RuleEvent& limit, TieOrder ties,
                                      OperatorContext& context, std::optional<Found>* found) {
  found->reset();
  return list_->ScanBack(Row(key, rule), from, limit.time, [&](TimeListCursor& entry) {
    if (found->has_value() && entry.time() != (*found)->event.time) return false;
    const Found one = Decode(entry, rule);
    if (!InOrder(one.event, limit, ties, context)) return true;
    if (!found->has_value() || InOrder((*found)->event, one.event, TieOrder::kPosition, context))
      *found = one;
    return true;
  });
}

absl::Status RuleEvents::OldestBehind(std::string_view key, uint16_t rule, const RuleEvent& limit,
                                      EventTimeNs to, TieOrder ties, OperatorContext& context,
                                      std::optional<Found>* found) {
  found->reset();
  return list_->Scan(Row(key, rule), limit.time, to, [&](TimeListCursor& entry) {
    if (found->has_value() && entry.time() != (*found)->event.time) return false;
    const Found one = Decode(entry, rule);
    if (!InOrder(limit, one.event, ties, context)) return true;
    if (!found->has_value() || InOrder(one.event, (*found)->event, TieOrder::kPosition, context))
      *found = one;
    return true;
  });
}

absl::Status RuleEvents::FirstOf(std::string_view key, uint16_t rule, EventTimeNs from,
                                 EventTimeNs to, EventTimeNs* time) {
  *time = kMaxEventTime;
  return list_->Scan(Row(key, rule), from, to, [&](TimeListCursor& entry) {
    *time = entry.time();
    return false;
  });
}

absl::Status RuleEvents::First(std::string_view key, EventTimeNs from, EventTimeNs to,
                               EventTimeNs* time) {
  *time = kMaxEventTime;
  for (uint16_t rule = 0; rule < rules_; ++rule) {
    EventTimeNs one = 0;
    BONGSU_RETURN_IF_ERROR(FirstOf(key, rule, from, std::min(to, *time), &one));
    *time = std::min(*time, one);
  }
  return absl::OkStatus();
}

absl::Status RuleEvents::OldestUnused(std::string_view key, uint16_t rule, EventTimeNs from,
                                      EventTimeNs to, std::optional<EventTimeNs>* time) {
  time->reset();
  return list_->Scan(Row(key, rule), from, to, [&](TimeListCursor& entry) {
    if (entry.mark() == kUsed) return true;
    *time = entry.time();
    return false;
  });
}

absl::Status RuleEvents::MarkUsed(std::string_view key, uint16_t rule, EventTimeNs from,
                                  EventTimeNs to) {
  return list_->Scan(Row(key, rule), from, to, [](TimeListCursor& entry) {
    entry.set_mark(kUsed);
    return true;
  });
}

absl::Status RuleEvents::Collect(std::string_view key, std::span<const uint8_t> wanted,
                                 EventTimeNs from, EventTimeNs to, OperatorContext& context,
                                 std::vector<RuleEvent>* events) {
  events->clear();
  for (uint16_t rule = 0; rule < rules_; ++rule) {
    if (wanted[rule] == 0) continue;
    BONGSU_RETURN_IF_ERROR(list_->Scan(Row(key, rule), from, to, [&](const TimeListCursor& entry) {
      events->push_back({entry.time(), entry.seq(), rule, static_cast<uint8_t>(entry.value()[0])});
      return true;
    }));
  }
  std::sort(events->begin(), events->end(), [&](const RuleEvent& a, const RuleEvent& b) {
    if (a.time == b.time && a.seq == b.seq) return a.rule < b.rule;
    return ReadBefore(a.time, a.seq, b.time, b.seq, context);
  });
  return absl::OkStatus();
}

absl::Status RuleEvents::Payload(std::string_view key, uint16_t rule, EventTimeNs time,
                                 RecordSeq seq, std::string* payload) {
  payload->clear();
  return list_->Scan(Row(key, rule), time, time, [&](const TimeListCursor& entry) {
    if (entry.seq() != seq) return true;
    *payload = entry.value().substr(kHeadBytes);
    return false;
  });
}

}  // namespace bongsu::sigma
