// File: pipeline/kafka/kafka_registry.h
//
// What all instances of an application must agree on (exchange: kafka), kept as records of the
// changelog's last partition, each the whole of it and the newest one counting:
//   - the hash seed, by which keys go to shards; made once;
//   - the numbers of source partitions, by which stored events name where they came from;
//   - the plan: which operators there are. It has a version that grows with every change, so that
//   an
//     instance that gets a bundle for an operator which it does not know can tell whether the
//     sender is ahead or behind.
//
//   ASSIGN_OR_RETURN(Registry registry, AgreeOnRegistry(config, wanted_partitions, plan, stop));
//
// How instances agree: whoever has something to add takes the transactional id
// `<application>-registry`, which fences everybody else who is at it, reads the partition to its
// end again, and appends in one transaction. Who was fenced reads again: most often somebody else
// has added the same.
//
// Thread-safety: one thread. Errors: FailedPrecondition: the application ran with
// exchange: in_process; Cancelled when `stop` was set; else as kafka_client.h.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "pipeline/config.h"
#include "pipeline/io.h"

namespace bongsu {

struct Registry {
  uint64_t hash_seed = 0;
  std::vector<PartitionInfo> partitions;
  uint64_t plan_version = 0;
  std::vector<std::string> plan;  // "name hash" of each operator, sorted
};

std::string EncodeRegistry(const Registry& registry);
// DataLoss: it does not parse; FailedPrecondition: a newer version, or positions of an in_process
// run.
absl::StatusOr<Registry> DecodeRegistry(std::string_view record);
// Adds what is missing; true when something was. The first to ask makes the hash seed.
bool Extend(const std::vector<PartitionInfo>& partitions, const std::vector<std::string>& plan,
            Registry* registry);

absl::StatusOr<Registry> AgreeOnRegistry(const Config& config,
                                         const std::vector<PartitionInfo>& partitions,
                                         const std::vector<std::string>& plan,
                                         const std::atomic<bool>& stop);

}  // namespace bongsu
