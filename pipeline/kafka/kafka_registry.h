// File: pipeline/kafka/kafka_registry.h
//
// What all instances of an application must agree on (exchange: kafka), kept as records of the
// changelog's last partition, each the whole of it and the newest one counting:
//   - the hash seed, by which keys go to shards; made once;
//   - the numbers of source partitions, by which stored events name where they came from;
//   - the plan: which operators there are. It has a version that grows with every change, and goes
//     with every bundle and committed offset: whoever meets a newer one is behind. With a rules
//     topic the plan says which version of it the rules are of.
//
//   ASSIGN_OR_RETURN(Agreement agreed, AgreeOnRegistry(config, wanted_partitions, wish, stop));
//   if (!agreed.behind.empty()) ...  // others run newer rules: they must be ours before we go on
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
  // For each of them: the plan since which it has been there without a break; 0: the first one.
  std::vector<uint64_t> since;
  std::string rules_topic;     // empty: there was none
  int64_t rules_version = -1;  // of that topic, the newest that anybody has run
};

// What an instance would run.
struct PlanWish {
  std::vector<std::string> plan;  // as in the registry
  std::string rules_topic;        // empty: rules come from files, which have no versions
  int64_t rules_version = -1;
  // False: it has agreed on its plan before. What the others run by now is not taken back.
  bool may_change = true;
  // The engine does not start with the rules of the registry's plan: it is taken back.
  bool go_back = false;
};

struct Agreement {
  Registry registry;
  std::string behind;  // not empty: the instances run another plan, that is newer than ours; why
};

std::string EncodeRegistry(const Registry& registry);
// DataLoss: it does not parse; FailedPrecondition: a newer version, or positions of an in_process
// run.
absl::StatusOr<Registry> DecodeRegistry(std::string_view record);
// Adds what is missing; true when something was. The first to ask makes the hash seed. `*behind`:
// as in Agreement, and nothing is added then.
bool Extend(const std::vector<PartitionInfo>& partitions, const PlanWish& wish, Registry* registry,
            std::string* behind);

absl::StatusOr<Agreement> AgreeOnRegistry(const Config& config,
                                          const std::vector<PartitionInfo>& partitions,
                                          const PlanWish& wish, const std::atomic<bool>& stop);

}  // namespace bongsu
