// File: bench/loadgen/firewall_log.h
//
// Firewall records in the shape of Suricata's EVE log, about 0.7 KB each.
//
// Thread-safety: one thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "bench/loadgen/line.h"
#include "bench/loadgen/random.h"

namespace bongsu::loadgen {

// What an alert says. `noise` ones match none of the planted rules.
struct Signature {
  uint32_t id;
  std::string_view text;
  std::string_view category;
  int severity;
};

struct Connection {
  uint32_t src_ip = 0;
  uint16_t src_port = 0;
  uint32_t dst_ip = 0;
  uint16_t dst_port = 0;
};

// The signatures of the planted rules, in the order of kRules (stories.h), and of noise.
extern const Signature kExploitSignatures[3];
extern const Signature kLateralSignatures[2];
extern const Signature kC2Signatures[2];
extern const Signature kNoiseSignatures[6];

class FirewallLog {
 public:
  explicit FirewallLog(Random& random) : random_(random) {}
  // A flow, DNS, HTTP or TLS record of `connection` that began at `time_ns`.
  void Traffic(const Connection& connection, int64_t time_ns, Line& line);
  // An alert; returns its flow_id, which no other record of the run has.
  uint64_t Alert(const Connection& connection, const Signature& signature, int64_t time_ns,
                 Line& line);

 private:
  uint64_t Head(const Connection& connection, std::string_view type, std::string_view proto,
                int64_t time_ns, Line& line);
  void Flow(int64_t start_ns, int64_t end_ns, Line& line);

  Random& random_;
  uint64_t flows_ = 0;
};

}  // namespace bongsu::loadgen
