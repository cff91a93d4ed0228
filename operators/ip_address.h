// File: operators/ip_address.h
//
// IP addresses as 16 bytes, IPv4 as ::ffff:a.b.c.d, so that `10.0.0.1` and `::ffff:10.0.0.1` are
// one.
//
//   IpBytes ip;
//   if (ParseIp("10.0.0.1", &ip)) ...
//
// Thread-safety: pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace bongsu {

using IpBytes = std::array<uint8_t, 16>;

// Any spelling of IPv4 (four decimal parts) or IPv6; no zone, no brackets, no port.
bool ParseIp(std::string_view text, IpBytes* ip);
bool IsIpv4(const IpBytes& ip);
// "10.0.0.1", "2001:db8::1".
std::string IpText(const IpBytes& ip);

}  // namespace bongsu
