#include "bench/loadgen/line.h"

#include <ctime>

namespace bongsu::loadgen {

Line& Line::Time(int64_t time_ns, char separator, int digits) {
  const int64_t second = time_ns / 1'000'000'000;
  if (second != cached_second_) {
    cached_second_ = second;
    const std::time_t seconds = second;
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    const auto put = [this](int number, size_t width, size_t at) {
      for (size_t i = at + width; i > at; --i, number /= 10) {
        cached_text_[i - 1] = static_cast<char>('0' + number % 10);
      }
    };
    std::memcpy(cached_text_, "0000-00-00T00:00:00", 19);
    put(utc.tm_year + 1900, 4, 0);
    put(utc.tm_mon + 1, 2, 5);
    put(utc.tm_mday, 2, 8);
    put(utc.tm_hour, 2, 11);
    put(utc.tm_min, 2, 14);
    put(utc.tm_sec, 2, 17);
  }
  const size_t at = size_;
  Text({cached_text_, 19});
  data_[at + 10] = separator;
  if (digits == 0) return *this;
  auto fraction = static_cast<uint64_t>(time_ns % 1'000'000'000);
  for (int i = digits; i < 9; ++i) fraction /= 10;
  return Lit(".").Digits(fraction, digits);
}

}  // namespace bongsu::loadgen
