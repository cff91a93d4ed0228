#include "bench/loadgen/network.h"

namespace bongsu::loadgen {

Network::Network(uint32_t hosts, int64_t clock_skew_ns, uint64_t seed)
    : clock_skew_ns_(clock_skew_ns), seed_(seed), records_(hosts, 0) {}

int64_t Network::ClockSkewNs(HostId host) const {
  if (clock_skew_ns_ == 0) return 0;
  const uint64_t mixed = Random::Mix(seed_ ^ (uint64_t{host} << 20));
  const auto span = static_cast<uint64_t>(2 * clock_skew_ns_ + 1);
  return static_cast<int64_t>(mixed % span) - clock_skew_ns_;
}

}  // namespace bongsu::loadgen
