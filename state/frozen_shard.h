// File: state/frozen_shard.h
//
// What one shard's operator changed between two barriers, as absolute rows: the currency between a
// shard's handles (which make it), the changelog (which logs it), the overlay (which merges it) and
// the store (which writes it). Rows stand in the order in which they were added; a later row of the
// same key replaces an earlier one, and a range delete removes what stood before it, not what comes
// after.
//
// Lifetime: the views of `rows` are valid as long as the FrozenShard. Thread-safety: none; it is
// handed from thread to thread as a whole.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "state/arena.h"
#include "state/types.h"

namespace bongsu {

// Column families, in the order in which the store opens them.
enum Family : uint8_t { kMetaFamily = 0, kListFamily = 1, kValueFamily = 2, kTimerFamily = 3 };
inline constexpr int kFamilies = 4;

enum RowKind : uint8_t { kPut = 0, kDelete = 1, kDeleteRange = 2 };

struct FrozenRow {
  std::string_view key;
  std::string_view value;  // for a range: the end key, which is not part of it
  Family family = kMetaFamily;
  RowKind kind = kPut;
};

struct FrozenShard {
  // Copies key and value. The value may come in two pieces.
  void Add(Family family, RowKind kind, std::string_view key, std::string_view value,
           std::string_view value_tail = {}) {
    char* bytes = arena.Allocate(key.size() + value.size() + value_tail.size());
    char* const value_at = Append(bytes, key);
    Append(Append(value_at, value), value_tail);
    rows.push_back(
        {{bytes, key.size()}, {value_at, value.size() + value_tail.size()}, family, kind});
  }
  // The memory that it holds.
  size_t bytes() const { return arena.bytes() + rows.capacity() * sizeof(FrozenRow); }

  ShardId shard = 0;
  uint16_t operator_id = 0;
  std::vector<FrozenRow> rows;
  Arena arena;

 private:
  static char* Append(char* to, std::string_view bytes) {
    if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
    return to + bytes.size();
  }
};

}  // namespace bongsu
