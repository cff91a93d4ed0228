// File: bench/loadgen/generator.h
//
// Makes both logs, record by record in the order in which they would be read: noise, planted
// stories, records that arrive late, and repeated ones.
//
//   GeneratorOptions options;
//   options.events = 1'000'000;
//   Summary summary = Generate(options, output);
//
// Bounds: records that wait to be written out of order are at most rate * (out_of_order_share +
// duplicate_share) * out_of_order_bound; everything else is a few bytes for each host.
//
// Thread-safety: one thread. The same options give the same bytes, everywhere.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bongsu::loadgen {

enum class Log : uint8_t { kFirewall, kEndpoint };

// Where records go. `key`: the host's name for endpoint records, empty for the firewall's.
class Output {
 public:
  virtual ~Output() = default;
  virtual void Write(Log log, std::string_view key, std::string_view line) = 0;
};

struct GeneratorOptions {
  uint64_t events = 100'000;                     // records in both logs together
  double rate = 500;                             // records for each second of event time
  int64_t start_ns = 1'767'600'000'000'000'000;  // 2026-01-05T08:00:00Z
  double firewall_share = 0.5;
  double selected_share = 0.01;  // noise that looks like one side of a rule
  uint32_t hosts = 500;          // the keys; victims of stories come on top
  double skew = 1.1;             // Zipf-Mandelbrot exponent; 0: all hosts alike
  double skew_shift = 2.7;       // its q
  int stories = 12;
  double out_of_order_share = 0.02;
  int64_t out_of_order_ns = 3'000'000'000;
  double duplicate_share = 0.005;
  int64_t clock_skew_ns = 200'000'000;  // each host's clock is off by up to this
  uint64_t seed = 1;
  // Selected noise falls on any host, as the sides of the first rule, so that operators find pairs
  // among it: for benches. There is no truth then.
  bool open_join = false;
};

struct Summary {
  uint64_t firewall = 0;
  uint64_t endpoint = 0;
  uint64_t bytes = 0;
  uint64_t out_of_order = 0;
  uint64_t duplicates = 0;
  uint64_t selected = 0;           // noise that looks like a side
  std::vector<std::string> truth;  // the truth file's lines, a summary first; empty with open_join
};

// What is wrong with the options, or empty.
std::string CheckOptions(const GeneratorOptions& options);

Summary Generate(const GeneratorOptions& options, Output& output);

}  // namespace bongsu::loadgen
