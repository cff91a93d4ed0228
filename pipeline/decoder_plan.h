// File: pipeline/decoder_plan.h
//
// Which keys of a record matter, compiled: a trie over the paths that a source's fields and event
// times need, whose nodes find a child by its key in a few nanoseconds.
//
//   DecodePlan plan(format, fields);
//   const PlanNode* child = plan.Find(plan.root(), JsonKey("alert", 5));
//
// A path "a.b.c" may lie in a record as the flat key "a.b.c", nested, or partly both ({"a.b": {"c":
// ..}}). All of these are in the trie, each with its rank: the lowest rank that a record has is the
// field's value. Order: the paths of a field as the format lists them; of one path, the form with
// fewer levels first, so that the flat key wins. A segment `*` is any key, also one that stands
// beside it in the trie: such a key leads to a node that has both what is under it and what is
// under `*`.
//
// Thread-safety: immutable.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "operators/event.h"
#include "pipeline/event_time.h"
#include "pipeline/format.h"

namespace bongsu {

// Under this name Format::fields has the paths of the original text (`raw:`): with it a record that
// is no JSON object is an event, whose text stands at these paths and is what keywords search.
inline constexpr std::string_view kRawField = "\x01raw";
inline constexpr size_t kRawPathsMax = 8;

// Paths of up to this many segments are found in every mixture of flat and nested; longer ones flat
// and wholly nested.
inline constexpr size_t kMixedSegmentsMax = 6;

// A key, and the words by which it is found. Reading them touches up to 7 bytes behind the key.
struct JsonKey {
  JsonKey(const char* p, size_t n) : text(p), size(n) {
    std::memcpy(&first, p, 8);
    if (n < 8) {
      first &= n == 0 ? 0 : ~uint64_t{0} >> (64 - 8 * n);
    } else {
      std::memcpy(&last, p + n - 8, 8);
    }
  }
  const char* text;
  size_t size;
  uint64_t first = 0;  // the first 8 bytes, zeros behind a shorter key (little endian)
  uint64_t last = 0;   // the last 8 bytes; 0 for a shorter key
};

struct PlanTarget {
  uint32_t slot = 0;
  uint16_t rank = 0;  // lower wins
};

struct PlanNode {
  uint32_t targets_begin = 0;  // what a value here is: plan.targets()
  uint32_t targets_end = 0;
  uint32_t table_begin = 0;  // its children's hash table
  uint32_t table_mask = 0;   // size - 1
  uint32_t any_child = 0;    // the child of every key that has none of its own; 0: none
  uint32_t also = 0;         // the node whose children are the other keys', in its place; 0: none
  bool has_children = false;
  // Nearly all needed keys: one target, no children. -1 for the others.
  int32_t only_slot = -1;
  uint16_t only_rank = 0;
  bool has_targets() const { return targets_begin != targets_end; }
};

// RecordCondition, ready to use.
struct PlanCondition {
  int slot = -1;  // -1: all records
  std::vector<std::string> texts;
};

// A field's path that counts in some records only. Whether it does is known at the record's end: it
// is read into a slot of its own, and given to the field then.
struct PlanConditional {
  uint32_t from = 0;
  uint32_t slot = 0;  // the field's
  uint16_t rank = 0;
  PlanCondition when;
};

// One place of event time, ready to use; the texts are found in the slots.
struct PlanTime {
  uint32_t slot = 0;
  PlanCondition when;
  TimeEncoding encoding = TimeEncoding::kRfc3339;
  std::optional<TimePattern> pattern;
};

class DecodePlan {
 public:
  DecodePlan(const Format& format, const FieldTable& fields);

  const PlanNode& root() const { return nodes_[0]; }
  // The child of `node` with this key, or null.
  const PlanNode* Find(const PlanNode& node, const JsonKey& key) const {
    uint32_t at = Hash(key) & node.table_mask;
    for (;;) {
      const Entry& entry = table_[node.table_begin + at];
      if (entry.node == 0) {
        if (node.also != 0) return Find(nodes_[node.also], key);
        return node.any_child == 0 ? nullptr : &nodes_[node.any_child];
      }
      if (entry.first == key.first && entry.last == key.last && entry.size == key.size &&
          (key.size <= 16 || std::memcmp(names_.data() + entry.name, key.text, key.size) == 0)) {
        return &nodes_[entry.node];
      }
      at = (at + 1) & node.table_mask;
    }
  }
  const PlanTarget* target(uint32_t index) const { return &targets_[index]; }
  const std::vector<PlanTime>& times() const { return times_; }
  const std::vector<PlanConditional>& conditionals() const { return conditionals_; }
  size_t nodes() const { return nodes_.size(); }
  static uint32_t Hash(const JsonKey& key) {
    // Keys differ at their ends ("SourceIp", "SourcePort") or their beginnings; the length tells
    // "Ip" from "Ip6".
    const uint64_t mixed = (key.first ^ (key.last << 23 | key.last >> 41)) + key.size;
    return static_cast<uint32_t>((mixed * 0x9E37'79B9'7F4A'7C15u) >> 40);
  }
  // Fields of the table first, then those that only event time, conditions and the original text
  // need.
  uint32_t slots() const { return slots_; }
  // Of the original text: where it is read, one slot for each path; empty: the format has none.
  const std::vector<uint32_t>& raw_slots() const { return raw_slots_; }
  // What a text that is no JSON object is: the values of these.
  const std::vector<const PlanNode*>& raw_nodes() const { return raw_nodes_; }

 private:
  struct Entry {
    uint64_t first = 0;
    uint64_t last = 0;
    uint32_t size = 0;
    uint32_t name = 0;  // offset in names_
    uint32_t node = 0;  // 0: no entry (the root is nobody's child)
  };
  struct Builder;
  void AddNodes(const Builder& builder);

  std::vector<PlanNode> nodes_;
  std::vector<PlanTarget> targets_;
  std::vector<Entry> table_;
  std::string names_;
  std::vector<PlanTime> times_;
  std::vector<PlanConditional> conditionals_;
  std::vector<uint32_t> raw_slots_;
  std::vector<const PlanNode*> raw_nodes_;
  uint32_t slots_ = 0;
};

}  // namespace bongsu
