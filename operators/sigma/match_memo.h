// File: operators/sigma/match_memo.h
//
// What the latest events and values gave. Logs repeat themselves: an event whose values all stood
// in one before has been judged before, and a program's path has been searched before.
//
//   MatchMemo memo;                                   // one for each thread
//   memo.Begin();
//   memo.Add(value); ...                              // everything that the answer depends on
//   if (const auto* fired = memo.Find()) return *fired;
//   ... judge it ...
//   memo.Keep(fired);
//
// Keys are compared whole, not by their hash: a memo never answers for another event.
//
// MemoTrial tells whether asking is worth it: where too few events repeat another one, it is left
// for a while.
//
//   if (trial.Worth()) { ... if (known) trial.Known(); }
//
// Bounds: as many answers as it is made for, of keys of kMemoKeyBytesMax bytes at most; what is
// longer has no place in it. Thread-safety: none. Allocates only while it fills.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "operators/event.h"

namespace bongsu::sigma {

inline constexpr size_t kMemoEvents = 4096;  // powers of two
inline constexpr size_t kMemoValues = 4096;
inline constexpr size_t kMemoKeyBytesMax = 4096;
inline constexpr uint32_t kMemoTrial = 256;   // events, and then it is known whether
inline constexpr uint32_t kMemoWorth = 4;     // one in so many repeats another
inline constexpr uint32_t kMemoPause = 1024;  // events, where too few do

class MatchMemo {
 public:
  // `answers`: a power of two.
  explicit MatchMemo(size_t answers) : key_(kMemoKeyBytesMax), kept_(answers) {}

  void Begin() { size_ = 0; }
  void Add(std::string_view text);
  void Add(const Value& value);
  // How a record writes a value that is not read yet.
  void AddWritten(std::string_view json);
  void Add(uint32_t number);
  // Null: not known, or too long.
  const std::vector<uint32_t>* Find();
  // Of the key that was looked for last.
  void Keep(const std::vector<uint32_t>& answer);

 private:
  struct Kept {
    uint64_t hash = 0;
    std::string key;
    std::vector<uint32_t> answer;
  };
  char* Take(size_t bytes);  // null: too long

  std::vector<char> key_;
  size_t size_ = 0;  // beyond key_.size(): too long
  uint64_t hash_ = 0;
  std::vector<Kept> kept_;  // by hash, the newest
};

class MemoTrial {
 public:
  bool Worth() {
    if (pause_ > 0) {
      --pause_;
      return false;
    }
    if (asked_++ == kMemoTrial) {
      if (known_ * kMemoWorth < kMemoTrial) pause_ = kMemoPause;
      asked_ = known_ = 0;
    }
    return true;
  }
  void Known() { ++known_; }

 private:
  uint32_t asked_ = 0;
  uint32_t known_ = 0;
  uint32_t pause_ = 0;
};

}  // namespace bongsu::sigma
