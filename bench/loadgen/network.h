// File: bench/loadgen/network.h
//
// The invented company: hosts with addresses, names, users and clocks, each a function of the
// host's number, so that a million of them cost no memory but a counter. Nothing in it exists: RFC
// 1918 addresses inside, RFC 5737 addresses outside, names below corp.example.
//
// Thread-safety: Network is const but for NextRecord (one thread).
#pragma once

#include <cstdint>
#include <vector>

#include "bench/loadgen/line.h"
#include "bench/loadgen/random.h"

namespace bongsu::loadgen {

using HostId = uint32_t;

inline constexpr uint32_t kDomainController = 0x0a140004;  // 10.20.0.4: answers names and logons

class Network {
 public:
  // Hosts 0..hosts-1. Each clock is off by at most `clock_skew_ns` either way, always by the same.
  Network(uint32_t hosts, int64_t clock_skew_ns, uint64_t seed);

  uint32_t hosts() const { return static_cast<uint32_t>(records_.size()); }
  // 10.21.0.1 and on, 250 addresses in each /24, for up to 14 million hosts.
  static uint32_t Ip(HostId host) {
    const uint32_t subnet = host / 250;
    return 0x0a150000u + subnet * 256 + host % 250 + 1;
  }
  // ws-000042.corp.example; each eighth host is a server: srv-000040.corp.example.
  static bool IsServer(HostId host) { return host % 8 == 0; }
  static void AppendName(HostId host, Line& line) {
    if (IsServer(host)) {
      line.Lit("srv-");
    } else {
      line.Lit("ws-");
    }
    line.Digits(host, 6).Lit(".corp.example");
  }
  // u000042: the user of a workstation.
  static void AppendUser(HostId host, Line& line) { line.Lit("u").Digits(host, 6); }

  int64_t ClockSkewNs(HostId host) const;
  // The number of the host's next event, as Windows counts them.
  uint64_t NextRecord(HostId host) { return 100'000 + records_[host]++; }

  // An address of the documentation networks: someone on the Internet.
  static uint32_t OutsideIp(Random& random) {
    constexpr uint32_t kNets[] = {0xc0000200u, 0xc6336400u, 0xcb007100u};
    const uint64_t r = random.Next();
    return kNets[(r >> 32) % 3] + 1 + static_cast<uint32_t>(r % 254);
  }

 private:
  int64_t clock_skew_ns_;
  uint64_t seed_;
  std::vector<uint32_t> records_;
};

}  // namespace bongsu::loadgen
