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
    std::snprintf(cached_text_, sizeof(cached_text_), "%04d-%02d-%02dT%02d:%02d:%02d",
                  (utc.tm_year + 1900) % 10000, utc.tm_mon % 12 + 1, utc.tm_mday % 32,
                  utc.tm_hour % 24, utc.tm_min % 60, utc.tm_sec % 61);
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
