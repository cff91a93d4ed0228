// File: state/arena.h
//
// Bytes that are freed all at once: keys, values and entries of one segment of a time bucket.
//
// Lifetime: views are valid until the arena goes. Thread-safety: none.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <type_traits>
#include <vector>

namespace bongsu {

class Arena {
 public:
  std::string_view Copy(std::string_view bytes) {
    char* to = Allocate(bytes.size());
    if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
    return {to, bytes.size()};
  }
  // Room for `size` bytes, not aligned and not initialised.
  char* Allocate(size_t size) {
    if (size > left_) Grow(size);
    char* to = at_;
    Skip(size);
    return to;
  }
  // Room for `n` objects that need no destructor.
  template <typename T>
  T* NewArray(size_t n) {
    static_assert(std::is_trivially_copyable_v<T>);
    const size_t pad = -reinterpret_cast<uintptr_t>(at_) % alignof(T);
    // A new chunk is aligned for everything.
    if (pad + n * sizeof(T) > left_)
      Grow(n * sizeof(T));
    else
      Skip(pad);
    T* to = reinterpret_cast<T*>(at_);
    Skip(n * sizeof(T));
    return to;
  }
  size_t bytes() const { return bytes_; }

 private:
  // Small at first, because a bucket may hold a few keys only; doubling, because it may hold
  // millions.
  static constexpr size_t kFirstBytes = 512;
  static constexpr size_t kMostBytes = size_t{256} << 10;
  void Skip(size_t bytes) {
    at_ += bytes;
    left_ -= bytes;
  }
  void Grow(size_t need) {
    const size_t size =
        std::max(need, std::min(kMostBytes, kFirstBytes << std::min<size_t>(chunks_.size(), 20)));
    chunks_.push_back(std::make_unique_for_overwrite<char[]>(size));
    at_ = chunks_.back().get();
    left_ = size;
    bytes_ += size;
  }
  std::vector<std::unique_ptr<char[]>> chunks_;
  char* at_ = nullptr;
  size_t left_ = 0;
  size_t bytes_ = 0;
};

}  // namespace bongsu
