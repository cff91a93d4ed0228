// File: bench/loadgen/endpoint_log.h
//
// Endpoint records in the shape of Sysmon events that NXLog made flat, about 2 KB each: numbers and
// texts mixed as there, the local time without a zone beside the UTC time, and a Message that
// repeats the event. `host_ip` is what the collector added: the host's own address.
//
// Thread-safety: one thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "bench/loadgen/firewall_log.h"
#include "bench/loadgen/network.h"

namespace bongsu::loadgen {

// A program start. Backslashes are doubled already: the texts go into JSON as they are.
struct ProgramStart {
  std::string_view image;
  std::string_view command_line;
  std::string_view parent_image;
  std::string_view original_name;
  std::string_view description;
};

// The program starts of the planted rules (stories.h) and of noise.
extern const ProgramStart kShellStarts[4];
extern const ProgramStart kRemoteStarts[4];
extern const ProgramStart kDropperStarts[3];
extern const ProgramStart kNoiseStarts[12];

class EndpointLog {
 public:
  EndpointLog(Random& random, Network& network) : random_(random), network_(network) {}
  // Events as they come from a busy host, no program start of a planted rule among them. `peer` is
  // where a network connection goes.
  void Noise(HostId host, uint32_t peer, int64_t time_ns, Line& line);
  // Event 1; returns its RecordNumber, which no other record of the host has.
  uint64_t Start(HostId host, const ProgramStart& program, int64_t time_ns, Line& line);
  // Event 3.
  uint64_t Connect(HostId host, std::string_view image, const Connection& connection,
                   int64_t time_ns, Line& line);

 private:
  uint64_t Head(HostId host, int event_id, std::string_view category, int64_t time_ns, Line& line);
  void Guid(HostId host, Line& line);
  void Hashes(std::string_view image, Line& line);
  void Tail(HostId host, int event_id, std::string_view category, std::string_view image,
            int64_t time_ns, uint64_t record, Line& line);
  void User(HostId host, Line& line);

  Random& random_;
  Network& network_;
};

}  // namespace bongsu::loadgen
