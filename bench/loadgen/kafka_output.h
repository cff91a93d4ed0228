// File: bench/loadgen/kafka_output.h
//
// Produces both logs to two topics. Endpoint records are keyed by host, so that a host's records
// stay in order in one partition; firewall records have no key and are spread.
//
//   KafkaOutput output({.brokers = "localhost:9092", .firewall_topic = "logs.firewall", ...});
//   if (!output.error().empty()) ...
//   Generate(options, output);
//   std::string error = output.Close();           // waits until all are acknowledged
//
// Bounds: librdkafka's queue (queue.buffering.max.kbytes, 256 MiB here); Write waits while it is
// full. Thread-safety: one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "bench/loadgen/generator.h"

namespace bongsu::loadgen {

struct KafkaOutputOptions {
  std::string brokers;
  std::string firewall_topic;
  std::string endpoint_topic;
  double records_per_second = 0;                  // 0: as fast as it goes
  std::map<std::string, std::string> properties;  // librdkafka's, on top of our defaults
};

class KafkaOutput final : public Output {
 public:
  explicit KafkaOutput(KafkaOutputOptions options);
  ~KafkaOutput() override;
  KafkaOutput(const KafkaOutput&) = delete;
  KafkaOutput& operator=(const KafkaOutput&) = delete;
  // The first thing that went wrong, or empty.
  const std::string& error() const;
  void Write(Log log, std::string_view key, std::string_view line) override;
  std::string Close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bongsu::loadgen
