// File: pipeline/decoder_arena.h
//
// Where the decoder keeps the members of arrays. Blocks are kept for the next record, and a block
// never moves, so that spans stay valid until Reset.
//
//   event.fields[slot] = Value::Array(arena.Store(members));
//   arena.Reset();  // the next record
//
// Bound: the largest record's values, rounded up to blocks. Thread-safety: none.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <vector>

#include "operators/event.h"

namespace bongsu {

class ValueArena {
 public:
  static constexpr size_t kStoreMax = 4096;

  void Reset() {
    block_ = 0;
    used_ = 0;
  }
  // `items` has at most kStoreMax members.
  std::span<const Value> Store(std::span<const Value> items) {
    if (block_ < blocks_.size() && used_ + items.size() > kStoreMax) {
      ++block_;
      used_ = 0;
    }
    if (block_ == blocks_.size())
      blocks_.push_back(std::make_unique<std::array<Value, kStoreMax>>());
    Value* out = blocks_[block_]->data() + used_;
    std::copy(items.begin(), items.end(), out);
    used_ += items.size();
    return {out, items.size()};
  }

 private:
  std::vector<std::unique_ptr<std::array<Value, kStoreMax>>> blocks_;
  size_t block_ = 0;
  size_t used_ = 0;
};

}  // namespace bongsu
