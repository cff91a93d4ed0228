// File: operators/payload.h
//
// The fields of an event as they travel to a shard and lie in its state: a compact copy that needs
// no schema to be walked. Which field each value is, the operator's input says
// (`InputSpec::fields`, same order). Absent values are kept, so that position i is always field i.
// The byte grammar is in state/FORMAT.md, section "Payload".
//
//   std::string bytes;
//   EncodePayload(event, spec.slots, &bytes);
//   ...
//   PayloadReader reader(bytes);
//   for (Value v; reader.Next(&v);) ...
//
// Bounds: a string longer than `kPayloadFieldBytesMax` is cut there, at a code point, and marked;
// an array keeps its first `kPayloadArrayItemsMax` members, and is marked when it had more.
//
// Lifetime: Values returned by PayloadReader point into the payload's bytes and, for arrays, into
// the reader. Thread-safety: none needed; one reader, one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "operators/event.h"

namespace bongsu {

inline constexpr uint32_t kPayloadFieldBytesMax = 8 * 1024;
inline constexpr uint32_t kPayloadArrayItemsMax = 64;

// Appends the values of `slots` of `event` to `*out`. Returns how many values were cut at a bound.
int EncodePayload(const Event& event, std::span<const int> slots, std::string* out);

// Appends `values` to `*out`, as EncodePayload does.
int EncodeValues(std::span<const Value> values, std::string* out);

// Appends `payload` with at most about `bytes_max` bytes of each value (none: nothing but what is
// null), for an alert that would be too large. A text keeps its beginning and an array its first
// members; a number is left out, because its beginning is another one. What was cut, now or before,
// is marked. Returns how many values were cut now.
int CutPayload(std::string_view payload, size_t bytes_max, std::string* out);

class PayloadReader {
 public:
  explicit PayloadReader(std::string_view bytes) : rest_(bytes) {}
  // The next value; false at the end. A payload that does not parse is a broken invariant (the
  // state's checksums have held) and crashes.
  bool Next(Value* value);
  // True when the value returned last was cut when it was stored.
  bool was_cut() const { return was_cut_; }

 private:
  std::string_view rest_;
  std::deque<std::vector<Value>> arrays_;
  bool was_cut_ = false;
};

// All values of a payload; `reader` must outlive them.
std::vector<Value> ReadPayload(PayloadReader& reader);

}  // namespace bongsu
