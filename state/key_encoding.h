// File: state/key_encoding.h
//
// The bytes of the store's keys (state/FORMAT.md): numbers big-endian, times with the sign bit
// flipped, so that keys sort as shard, operator, list, bucket, key, time, seq.
//
// Thread-safety: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "state/frozen_shard.h"
#include "state/types.h"

namespace bongsu {

// What a list keeps of itself (bucket width and expiry point) stands in the meta family under this
// letter and the list's row prefix.
inline constexpr char kListMeta = 'L';

inline void AppendU16(uint16_t number, std::string* out) {
  out->push_back(static_cast<char>(number >> 8));
  out->push_back(static_cast<char>(number & 0xff));
}

inline void AppendU64(uint64_t number, std::string* out) {
  for (int shift = 56; shift >= 0; shift -= 8) out->push_back(static_cast<char>(number >> shift));
}

// Signed, sorting as a number.
inline void AppendTime(int64_t time, std::string* out) {
  AppendU64(static_cast<uint64_t>(time) ^ (uint64_t{1} << 63), out);
}

inline uint16_t ReadU16(std::string_view bytes) {
  return static_cast<uint16_t>(static_cast<uint8_t>(bytes[0]) << 8 |
                               static_cast<uint8_t>(bytes[1]));
}

inline uint64_t ReadU64(std::string_view bytes) {
  uint64_t number = 0;
  for (size_t i = 0; i < 8; ++i) number = number << 8 | static_cast<uint8_t>(bytes[i]);
  return number;
}

inline int64_t ReadTime(std::string_view bytes) {
  return static_cast<int64_t>(ReadU64(bytes) ^ (uint64_t{1} << 63));
}

// shard, operator, list: the beginning of every row of one handle.
inline std::string RowPrefix(ShardId shard, uint16_t operator_id, uint8_t list) {
  std::string prefix;
  AppendU16(shard, &prefix);
  AppendU16(operator_id, &prefix);
  prefix.push_back(static_cast<char>(list));
  return prefix;
}
inline constexpr size_t kRowPrefixBytes = 5;
// Prefix, bucket and the key's length in front of the key of a list's row; time and seq behind it.
inline constexpr size_t kListHeadBytes = kRowPrefixBytes + 8 + 2;
inline constexpr size_t kListTailBytes = 16;

// The first key that is greater than every key that begins with `prefix`; empty: there is none.
inline std::string PrefixEnd(std::string prefix) {
  while (!prefix.empty()) {
    if (static_cast<uint8_t>(prefix.back()) != 0xff) {
      prefix.back() = static_cast<char>(static_cast<uint8_t>(prefix.back()) + 1);
      return prefix;
    }
    prefix.pop_back();
  }
  return prefix;
}

}  // namespace bongsu
