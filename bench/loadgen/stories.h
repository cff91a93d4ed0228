// File: bench/loadgen/stories.h
//
// The planted attacks, and what operators must make of them. Each story is an attack on one host,
// told by records of both logs; each belongs to one of three rules, which
// deploy/samples/quickstart.yaml asks for:
//
//   inbound-exploit-then-shell       exploit alert against a host; then its web server starts a
//   shell lateral-movement-then-execution  remote service or WMI alert between hosts; the target
//   starts a shell for it c2-callback                      a program starts from a temporary
//   folder; then its host calls a C2 server
//
// Why noise cannot match. An operator needs both sides on one key. Stories happen on hosts of their
// own ("victims"), where no noise looks like a side of a rule; two stories of a rule on one victim
// are further apart than any window. On all other hosts, noise that looks like a left side falls on
// even hosts only, and like a right side on odd ones.
//
// Thread-safety: one thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bench/loadgen/endpoint_log.h"
#include "bench/loadgen/firewall_log.h"
#include "bench/loadgen/network.h"

namespace bongsu::loadgen {

inline constexpr int64_t kSecond = 1'000'000'000;

struct Rule {
  std::string_view name;
  // right.time in [left.time - before, left.time + after]
  int64_t before_ns;
  int64_t after_ns;
};
inline constexpr int kRules = 3;
extern const Rule kStoryRules[kRules];
inline constexpr int kExploit = 0;
inline constexpr int kLateral = 1;
inline constexpr int kC2 = 2;

// A left event of `rule` in the firewall log; returns its flow_id.
uint64_t WriteLeft(int rule, const Connection& connection, uint64_t variant, int64_t time_ns,
                   FirewallLog& log, Line& line);
// The addresses of a left event on `host`.
Connection LeftConnection(int rule, HostId host, uint32_t hosts, Random& random);
// The program start that is a right event of `rule`.
const ProgramStart& RightStart(int rule, uint64_t variant);

struct PlannedEvent {
  enum class Kind : uint8_t { kTraffic, kAlert, kStart, kConnect };
  int64_t emit_ns = 0;  // when it truly happens
  int64_t time_ns = 0;  // what its record says: the clock of its host, in the log's precision
  uint32_t story = 0;
  Kind kind = Kind::kTraffic;
  uint8_t variant = 0;
  uint8_t copies = 1;  // how often the record is in the log
  Connection connection;
  uint64_t id = 0;  // flow_id or RecordNumber; known when it was written

  bool in_firewall() const { return kind == Kind::kTraffic || kind == Kind::kAlert; }
};

struct Story {
  int rule = 0;
  HostId victim = 0;
};

struct StoryOptions {
  int stories = 0;
  int64_t start_ns = 0;
  int64_t duration_ns = 0;
  double duplicate_share = 0;
};

// How many victims each rule needs, so that stories on one are apart.
uint32_t VictimsPerRule(const StoryOptions& options);
// Victims are numbered behind the other hosts: this many in all.
uint32_t VictimHosts(const StoryOptions& options);

struct StoryPlan {
  std::vector<Story> stories;
  std::vector<PlannedEvent> events;  // by emit_ns
};
StoryPlan PlanStories(const StoryOptions& options, HostId first_victim, const Network& network,
                      Random& random);

// What must be found: one line for each incident, after all ids are known.
std::vector<std::string> TruthLines(const StoryPlan& plan);

}  // namespace bongsu::loadgen
