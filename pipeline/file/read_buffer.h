// File: pipeline/file/read_buffer.h
//
// Bytes that are read into without being cleared first, and memory for them that is used again: a
// chunk of a file is filled by the reader, taken apart by another thread, and done with soon after.
//
//   auto pool = std::make_shared<BufferPool>();
//   ReadBuffer buffer = pool->Take(256 << 10);
//   size_t n = stream.Read(buffer.Grow(64 << 10), 64 << 10);
//   buffer.Extend(n);
//   pool->Give(std::move(buffer));                  // from any thread
//
// Bounds: a pool keeps kPooledMax buffers at most, none larger than kPooledBytesMax; others are
// freed. Thread-safety: a buffer belongs to one thread at a time; a pool to all.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

namespace bongsu {

class ReadBuffer {
 public:
  ReadBuffer() = default;
  ReadBuffer(ReadBuffer&& other) noexcept { *this = std::move(other); }
  ReadBuffer& operator=(ReadBuffer&& other) noexcept {
    data_ = std::move(other.data_);
    size_ = std::exchange(other.size_, 0);
    capacity_ = std::exchange(other.capacity_, 0);
    return *this;
  }

  std::string_view view() const { return {data_.get(), size_}; }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  bool empty() const { return size_ == 0; }

  // Room for `more` bytes behind those that there are; they count once Extend has said so.
  char* Grow(size_t more) {
    if (size_ + more > capacity_) {
      const size_t capacity = std::max(size_ + more, capacity_ * 2);
      auto data = std::make_unique_for_overwrite<char[]>(capacity);
      if (size_ > 0) std::memcpy(data.get(), data_.get(), size_);
      data_ = std::move(data);
      capacity_ = capacity;
    }
    return data_.get() + size_;
  }
  void Extend(size_t more) { size_ += more; }
  void Append(std::string_view bytes) {
    if (bytes.empty()) return;
    std::memcpy(Grow(bytes.size()), bytes.data(), bytes.size());
    size_ += bytes.size();
  }
  void AppendZeros(size_t n) {
    std::memset(Grow(n), 0, n);
    size_ += n;
  }
  // Only the first `size` bytes stay.
  void Cut(size_t size) { size_ = size; }
  void DropFront(size_t n) {
    std::memmove(data_.get(), data_.get() + n, size_ - n);
    size_ -= n;
  }

 private:
  std::unique_ptr<char[]> data_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

class BufferPool {
 public:
  static constexpr size_t kPooledMax = 16;
  static constexpr size_t kPooledBytesMax = size_t{1} << 20;

  // Empty, with room for `bytes`.
  ReadBuffer Take(size_t bytes) {
    ReadBuffer buffer;
    {
      std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        buffer = std::move(free_.back());
        free_.pop_back();
      }
    }
    buffer.Cut(0);
    (void)buffer.Grow(bytes);
    return buffer;
  }
  void Give(ReadBuffer buffer) {
    if (buffer.capacity() == 0 || buffer.capacity() > kPooledBytesMax) return;
    std::lock_guard lock(mutex_);
    if (free_.size() < kPooledMax) free_.push_back(std::move(buffer));
  }

 private:
  std::mutex mutex_;
  std::vector<ReadBuffer> free_;  // guarded by mutex_
};

}  // namespace bongsu
