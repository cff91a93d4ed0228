// File: pipeline/kafka/kafka_topics.h
//
// The topics that a configuration needs: made by `bongsu topics create` (and `run
// --create-topics`), and looked at by `bongsu topics check` and, where exactly-once rests on them,
// by `check` and `run`.
//
//   for (const TopicNeed& need : NeededTopics(config, shards)) ...
//   RETURN_IF_ERROR(CreateTopics(config, shards, /*replication=*/-1, &made));
//   ASSIGN_OR_RETURN(auto findings, CheckTopics(config, shards));
//
// The changelog is the truth about the state: it is never compacted and never expires; bongsu
// itself deletes what a complete round of live state has replaced (pipeline/DELIVERY.md). Its
// records carry the wall clock, never event time, because retention follows the record's time.
//
// Thread-safety: one thread. Errors: as kafka_client.h.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pipeline/config.h"

namespace bongsu {

struct TopicNeed {
  std::string name;
  std::string purpose;                          // for messages: "the changelog of the state"
  int partitions = -1;                          // -1: any number will do
  std::map<std::string, std::string> settings;  // that the topic must have
  bool internal = false;                        // made, written and read by bongsu alone
  bool output = true;                           // else only read
};

// Outputs, the rules topic, and with exactly-once the changelog; sources are others' topics.
std::vector<TopicNeed> NeededTopics(const Config& config, uint16_t shards);

// Makes those that are missing; `*made` names them. `replication` -1: the brokers' default.
absl::Status CreateTopics(const Config& config, uint16_t shards, int replication,
                          std::vector<std::string>* made);

// The permissions that `run` needs, and `topics create` and `check` besides, as lines for a shell:
// `kafka-acls ...`. Asks no broker: without them none would answer.
std::vector<std::string> AclLines(const Config& config, uint16_t shards);

struct TopicFinding {
  bool wrong = false;  // else unsafe: it works, until a broker fails
  std::string text;    // what is wrong, and what to do
  std::string topic;   // empty: of the brokers
};

// What is wrong with the existing topics, and which broker settings make exactly-once unsafe. The
// topics' own settings need DESCRIBE_CONFIGS; where that is denied the finding says so.
absl::StatusOr<std::vector<TopicFinding>> CheckTopics(const Config& config, uint16_t shards);

}  // namespace bongsu
