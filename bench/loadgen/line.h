// File: bench/loadgen/line.h
//
// One log line while it is being written: a fixed buffer and appends that the compiler turns into a
// few moves. A line of the generator is below 6 KiB by construction; the bound is checked anyway.
//
//   Line line;
//   line.Lit("{\"src_ip\":\"").Ip(host.ip).Lit("\",\"src_port\":").Number(443).Lit("}");
//   out.append(line.view());
//
// Thread-safety: one thread.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace bongsu::loadgen {

inline constexpr size_t kLineBytesMax = 16 * 1024;

class Line {
 public:
  void Clear() { size_ = 0; }
  std::string_view view() const { return {data_, size_}; }

  // A literal: its length is known to the compiler.
  template <size_t kSize>
  Line& Lit(const char (&text)[kSize]) {
    Room(kSize - 1);
    std::memcpy(data_ + size_, text, kSize - 1);
    size_ += kSize - 1;
    return *this;
  }
  Line& Text(std::string_view text) {
    Room(text.size());
    std::memcpy(data_ + size_, text.data(), text.size());
    size_ += text.size();
    return *this;
  }
  Line& Number(uint64_t number) {
    char digits[20];
    int n = 0;
    do {
      digits[n++] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number != 0);
    Room(20);
    while (n > 0) data_[size_++] = digits[--n];
    return *this;
  }
  // Exactly `width` decimal digits.
  Line& Digits(uint64_t number, int width) {
    Room(20);
    for (int i = width - 1; i >= 0; --i) {
      data_[size_ + static_cast<size_t>(i)] = static_cast<char>('0' + number % 10);
      number /= 10;
    }
    size_ += static_cast<size_t>(width);
    return *this;
  }
  Line& Hex(uint64_t number, int width) {
    Room(16);
    for (int i = width - 1; i >= 0; --i) {
      data_[size_ + static_cast<size_t>(i)] = "0123456789abcdef"[number & 15];
      number >>= 4;
    }
    size_ += static_cast<size_t>(width);
    return *this;
  }
  // An IPv4 address, host byte order.
  Line& Ip(uint32_t ip) {
    return Number(ip >> 24)
        .Lit(".")
        .Number((ip >> 16) & 255)
        .Lit(".")
        .Number((ip >> 8) & 255)
        .Lit(".")
        .Number(ip & 255);
  }
  // 2026-01-05T08:00:00 and a fraction of `digits` digits, with `separator` between date and time.
  Line& Time(int64_t time_ns, char separator, int digits);

 private:
  void Room(size_t size) const {
    if (size_ + size <= kLineBytesMax) return;
    std::fputs("loadgen: a line is longer than its buffer\n", stderr);
    std::abort();
  }
  // The last second written: neighbours in a log share it.
  int64_t cached_second_ = INT64_MIN;
  char cached_text_[20] = {};
  size_t size_ = 0;
  char data_[kLineBytesMax];
};

}  // namespace bongsu::loadgen
