// File: pipeline/result_rows.h
//
// What a result hands to the level above: the fields of its events, as rows that stay together. A
// group above takes the rows that have its key, so that nobody is in a group, or counts a tuple,
// that no event had.
//
//   ResultRows rows(spec, incident, fields);
//   rows.SetAll(slot, "text");                    // the same in each row
//   for (const RowGroup& group : rows.GroupBy(key_options, &counters))
//     rows.Encode(group, payload_slots, &payload);
//
// The payload of several rows has each field's distinct values, as alerts show them, and behind all
// fields a column for each: an array with its value in each row, or absent where SetAll says it
// (state/FORMAT.md, section "Payload"; sigma::DigestReader reads them).
//
// Of an operator without pooled_results there is one row: the fields of its first event on each
// port, called "<port>.<field>".
//
// Bounds: an event's array makes at most kKeyMembersMax groups, a result kResultGroupsMax (counted
// as members_capped); a group has kPayloadArrayItemsMax rows and kResultBytesMax (Encode says when
// there were more).
//
// Lifetime: values point into the incident's evidence and into the object. Thread-safety: one
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "operators/event.h"
#include "operators/incident.h"
#include "operators/key.h"
#include "operators/operator.h"
#include "operators/payload.h"

namespace bongsu {

inline constexpr size_t kResultGroupsMax = 1024;
inline constexpr size_t kResultBytesMax = size_t{256} << 10;

struct RowGroup {
  std::string key;             // canonical
  std::vector<uint32_t> rows;  // ascending
};

class ResultRows {
 public:
  // `fields`: what the slots of readers refer to.
  ResultRows(const OperatorSpec& spec, const Incident& incident, const FieldTable& fields);
  void SetAll(int slot, std::string_view text);

  size_t size() const { return rows_.size(); }
  std::span<const Value> row(size_t i) const { return rows_[i]; }

  // A row without some part of the key belongs to the groups of the others that have its parts.
  // Where no row has all parts, what different rows have is combined: a user of one event with a
  // host of another.
  std::vector<RowGroup> GroupBy(const KeyOptions& options, KeyCounters* counters) const;
  // Appends the payload of the group's rows to `*out`; false: there were more than the bounds hold.
  bool Encode(const RowGroup& group, std::span<const int> slots, std::string* out) const;

 private:
  void FirstOfEachInput(const OperatorSpec& spec, const Incident& incident,
                        const FieldTable& fields);
  void AddRows(const OperatorSpec& spec, size_t evidence, uint8_t port, const FieldTable& fields);
  std::vector<uint32_t> Bounded(const RowGroup& group, std::span<const int> slots) const;

  std::vector<std::unique_ptr<PayloadReader>> readers_;  // arrays of the values live in them
  std::vector<std::vector<Value>> carried_;              // by evidence
  std::vector<std::vector<Value>> rows_;                 // by slot
  std::vector<bool> same_;                               // by slot: SetAll
};

}  // namespace bongsu
