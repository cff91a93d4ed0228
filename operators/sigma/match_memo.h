// File: operators/sigma/match_memo.h
//
// Which rules the latest events met, by everything that the rules read of them. Logs repeat
// themselves: an event whose values all stood in one before has been judged before.
//
//   MatchMemo memo;                                   // one for each thread
//   memo.Begin();
//   memo.Add(value); ...                              // every value that the answer depends on
//   if (const auto* fired = memo.Find()) return *fired;
//   ... judge it ...
//   memo.Keep(fired);
//
// The values are compared whole, not by their hash: a memo never answers for another event.
//
// Bounds: kMemoEvents answers of kMemoKeyBytesMax bytes each; events with longer values have no
// place in it. Thread-safety: none. Allocates only while it fills.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "operators/event.h"

namespace bongsu::sigma {

inline constexpr size_t kMemoEvents = 4096;  // a power of two
inline constexpr size_t kMemoKeyBytesMax = 4096;

class MatchMemo {
 public:
  MatchMemo() : key_(kMemoKeyBytesMax), kept_(kMemoEvents) {}

  void Begin() { size_ = 0; }
  void Add(std::string_view text);
  void Add(const Value& value);
  // Null: not known, or too long.
  const std::vector<uint32_t>* Find();
  // Of the key that was looked for last.
  void Keep(const std::vector<uint32_t>& rules);

 private:
  struct Kept {
    uint64_t hash = 0;
    std::string key;
    std::vector<uint32_t> rules;
  };
  char* Take(size_t bytes);  // null: too long

  std::vector<char> key_;
  size_t size_ = 0;  // beyond key_.size(): too long
  uint64_t hash_ = 0;
  std::vector<Kept> kept_;  // by hash, the newest
};

}  // namespace bongsu::sigma
