#include "operators/ip_address.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstring>
#include <iterator>

namespace bongsu {
namespace {

constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

// Hand-written because keys are made for every selected event; inet_pton wants a terminated copy.
bool ParseIpv4(std::string_view text, uint8_t* bytes) {
  size_t at = 0;
  for (int part = 0; part < 4; ++part) {
    if (part > 0 && (at >= text.size() || text[at++] != '.')) return false;
    unsigned number = 0;
    size_t digits = 0;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9' && digits < 3) {
      number = number * 10 + static_cast<unsigned>(text[at] - '0');
      ++at;
      ++digits;
    }
    if (digits == 0 || number > 255) return false;
    if (digits > 1 && text[at - digits] == '0')
      return false;  // 010 is octal to some, decimal to others
    bytes[part] = static_cast<uint8_t>(number);
  }
  return at == text.size();
}

// Every alert has its key as text, and inet_ntop goes through printf.
std::string Ipv4Text(const uint8_t* bytes) {
  char text[16];
  char* at = text;
  for (int part = 0; part < 4; ++part) {
    if (part > 0) *at++ = '.';
    at = std::to_chars(at, std::end(text), bytes[part]).ptr;
  }
  return std::string(text, at);
}

}  // namespace

bool ParseIp(std::string_view text, IpBytes* ip) {
  if (text.size() < 2 || text.size() > INET6_ADDRSTRLEN) return false;
  if (text.find(':') == std::string_view::npos) {
    if (text.size() < 7 || text.size() > 15) return false;
    std::memcpy(ip->data(), kMapped, sizeof(kMapped));
    return ParseIpv4(text, ip->data() + 12);
  }
  if (text.find('\0') != std::string_view::npos) return false;  // inet_pton would stop there
  char terminated[INET6_ADDRSTRLEN + 1];
  std::memcpy(terminated, text.data(), text.size());
  terminated[text.size()] = '\0';
  return inet_pton(AF_INET6, terminated, ip->data()) == 1;
}

bool IsIpv4(const IpBytes& ip) { return std::memcmp(ip.data(), kMapped, sizeof(kMapped)) == 0; }

std::string IpText(const IpBytes& ip) {
  if (IsIpv4(ip)) return Ipv4Text(ip.data() + 12);
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(AF_INET6, ip.data(), text, sizeof(text));
  return text;
}

}  // namespace bongsu
