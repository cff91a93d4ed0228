// File: pipeline/decoder_guess.h
//
// Which key comes next. Records of a source repeat each other's keys in the same order: the key
// that followed the last time is nearly always the one that stands there now. Comparing with it
// costs a few instructions; measuring a key and finding it in a hash table costs several times as
// many.
//
//   uint32_t* link = guesses.First(node);              // an object of this node begins
//   const KnownKey* known = &guesses.at(*link);
//   if (!known->Matches(key)) {                        // `key` points behind the opening quote
//     *link = guesses.Learn(node, JsonKey(key, size), child);
//     known = &guesses.at(*link);
//   }
//   link = guesses.After(node, *link);                       // and so on with the next key
//
// Bounds: kKnownKeysMax keys of at most kKnownKeyBytesMax bytes are learned, for the life of the
// decoder. All other keys share the entry 0, which matches nothing.
//
// Thread-safety: one thread.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "pipeline/decoder_plan.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace bongsu {

inline constexpr uint32_t kKnownKeysMax = 1024;
inline constexpr size_t kKnownKeyBytesMax = 31;

// A key that was seen, without escapes.
struct KnownKey {
  // Whether the key at `key` is this one, with its closing quote. Reads up to 32 bytes.
  bool Matches(const char* key) const {
#if defined(__SSE2__)
    // Two windows of 16 bytes, over the beginning and over the end; for a short key twice the same,
    // cut to its size.
    const auto load = [](const char* p) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    };
    const __m128i m = load(mask);
    const __m128i begin = _mm_cmpeq_epi8(_mm_and_si128(load(key), m), load(head));
    const __m128i end = _mm_cmpeq_epi8(_mm_and_si128(load(key + tail_at), m), load(tail));
    return _mm_movemask_epi8(_mm_and_si128(begin, end)) == 0xFFFF;
#else
    return std::memcmp(text, key, size_t{size} + 1) == 0;
#endif
  }

  char head[16] = {};
  char tail[16] = {};
  char mask[16] = {};
  char text[kKnownKeyBytesMax + 1] = {};  // with the closing quote
  uint32_t tail_at = 0;
  uint32_t size = 0;  // without the quote
  const PlanNode* child = nullptr;
  const PlanNode* node = nullptr;
  uint32_t next = 0;  // what followed the last time
};

class KeyGuesses {
 public:
  explicit KeyGuesses(const DecodePlan& plan);
  // Where the guess for the first key of an object is kept.
  uint32_t* First(const PlanNode& node) { return &guesses_[2 * Number(node)]; }
  // Where the guess for the key behind this one is kept. Keys that are not learned share one guess
  // in each node: a guess must never lead into another node, whose children are others.
  uint32_t* After(const PlanNode& node, uint32_t key) {
    return key != 0 ? &keys_[key].next : &guesses_[2 * Number(node) + 1];
  }
  const KnownKey& at(uint32_t key) const { return keys_[key]; }
  // The number of a key that did not match; 0 where it cannot be learned. `key` has no backslash.
  uint32_t Learn(const PlanNode& node, const JsonKey& key, const PlanNode* child);

 private:
  size_t Number(const PlanNode& node) const { return static_cast<size_t>(&node - root_); }

  static constexpr uint32_t kTable = 4 * kKnownKeysMax;
  const PlanNode* root_;
  std::vector<uint32_t>
      guesses_;  // two for each node: its first key, and what follows an unlearned one
  std::vector<KnownKey> keys_;   // [0] matches nothing; never reallocated
  std::vector<uint16_t> table_;  // (node, key) -> number; linear probing, at most a quarter full
};

}  // namespace bongsu
