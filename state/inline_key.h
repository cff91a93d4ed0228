// File: state/inline_key.h
//
// A key of a hash map that lies in the map's slot where it is short, as most correlation keys are
// (an address is 18 bytes): to compare it touches no further cache line, and takes three
// comparisons of words. Longer ones lie elsewhere.
//
//   absl::flat_hash_map<InlineKey, Chunk, InlineKeyHash, InlineKeyEqual> chunks;
//   const KeyProbe probe(key);                        // hashed once, for several maps
//   if (auto it = chunks.find(probe); it != chunks.end()) ...
//   chunks.lazy_emplace(probe, [&](const auto& make) { make(probe.Keep(arena), Chunk()); });
//
// Lifetime: a long InlineKey is a view: of what it was made of, or of the arena that keeps it.
// Thread-safety: a value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "state/arena.h"
#include "state/string_map.h"

namespace bongsu {

class InlineKey {
 public:
  static constexpr size_t kInlineMax = 23;  // bytes

  explicit InlineKey(std::string_view key) {
    if (key.size() <= kInlineMax) {
      if (!key.empty()) std::memcpy(bytes_, key.data(), key.size());
      bytes_[kInlineMax] = static_cast<char>(key.size());
      return;
    }
    const char* const data = key.data();
    const uint64_t size = key.size();
    std::memcpy(bytes_, &data, sizeof(data));
    std::memcpy(bytes_ + sizeof(data), &size, sizeof(size));
    bytes_[kInlineMax] = kLong;
  }
  std::string_view view() const {
    if (!is_long()) return {bytes_, static_cast<size_t>(bytes_[kInlineMax])};
    const char* data = nullptr;
    uint64_t size = 0;
    std::memcpy(&data, bytes_, sizeof(data));
    std::memcpy(&size, bytes_ + sizeof(data), sizeof(size));
    return {data, size};
  }
  bool is_long() const { return bytes_[kInlineMax] == kLong; }

  friend bool operator==(const InlineKey& a, const InlineKey& b) {
    if (std::memcmp(a.bytes_, b.bytes_, sizeof(bytes_)) == 0) return true;  // of a fixed size
    return a.is_long() && b.is_long() && a.view() == b.view();
  }

 private:
  static constexpr char kLong = 0x7f;
  alignas(8) char bytes_[kInlineMax + 1] = {};  // zero behind a short key
};

// A key to look for, with its hash.
struct KeyProbe {
  explicit KeyProbe(std::string_view text) : key(text), hash(StringViewHash()(text)) {}
  // The key as a map may keep it.
  InlineKey Keep(Arena& arena) const {
    return key.is_long() ? InlineKey(arena.Copy(key.view())) : key;
  }
  InlineKey key;
  size_t hash;
};

struct InlineKeyHash {
  using is_transparent = void;
  size_t operator()(const InlineKey& key) const { return StringViewHash()(key.view()); }
  size_t operator()(const KeyProbe& probe) const { return probe.hash; }
};

struct InlineKeyEqual {
  using is_transparent = void;
  bool operator()(const InlineKey& a, const InlineKey& b) const { return a == b; }
  bool operator()(const InlineKey& a, const KeyProbe& b) const { return a == b.key; }
};

}  // namespace bongsu
