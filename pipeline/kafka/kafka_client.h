// File: pipeline/kafka/kafka_client.h
//
// librdkafka handles from a configuration: applies the properties, sends the library's log to ours,
// and asks for metadata with messages that a person can act on. The only folder that includes
// rdkafka.h is this one.
//
//   ASSIGN_OR_RETURN(KafkaHandle consumer, MakeHandle(RD_KAFKA_CONSUMER, config, {{"group.id",
//   "soc"}}, callbacks));
//
// Errors: InvalidArgument for a property that librdkafka refuses (its value is never shown);
// Unavailable for an unreachable broker; NotFound for an unknown topic; PermissionDenied for a
// missing permission. Thread-safety: as librdkafka's handles.
#pragma once

#include <librdkafka/rdkafka.h>

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pipeline/config.h"

namespace bongsu {

struct KafkaDestroy {
  void operator()(rd_kafka_t* handle) const {
    rd_kafka_destroy_flags(handle, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
  }
};
using KafkaHandle = std::unique_ptr<rd_kafka_t, KafkaDestroy>;

struct KafkaQueueDestroy {
  void operator()(rd_kafka_queue_t* queue) const { rd_kafka_queue_destroy(queue); }
};
using KafkaQueue = std::unique_ptr<rd_kafka_queue_t, KafkaQueueDestroy>;

struct KafkaMessageDestroy {
  void operator()(rd_kafka_message_t* message) const { rd_kafka_message_destroy(message); }
};
using KafkaMessage = std::unique_ptr<rd_kafka_message_t, KafkaMessageDestroy>;

struct KafkaListDestroy {
  void operator()(rd_kafka_topic_partition_list_t* list) const {
    rd_kafka_topic_partition_list_destroy(list);
  }
};
using KafkaList = std::unique_ptr<rd_kafka_topic_partition_list_t, KafkaListDestroy>;

struct KafkaCallbacks {
  void* opaque = nullptr;
  void (*rebalance)(rd_kafka_t*, rd_kafka_resp_err_t, rd_kafka_topic_partition_list_t*,
                    void*) = nullptr;
  void (*delivery)(rd_kafka_t*, const rd_kafka_message_t*, void*) = nullptr;
  // Where interceptors are added (rd_kafka_conf_interceptor_add_on_new).
  rd_kafka_interceptor_f_on_new_t* on_new = nullptr;
};

// `defaults` hold unless the configuration says otherwise; `fixed` always hold.
absl::StatusOr<KafkaHandle> MakeHandle(rd_kafka_type_t type, const Config& config,
                                       const std::map<std::string, std::string>& defaults,
                                       const std::map<std::string, std::string>& fixed,
                                       const KafkaCallbacks& callbacks);

// How long one wait for a handle's news may take: how soon a stop is seen.
inline constexpr int kKafkaPollMs = 100;

// How long one request to a broker may take while starting.
inline constexpr int kKafkaRequestTimeoutMs = 15'000;

// The number of the topic's partitions.
absl::StatusOr<int> TopicPartitions(rd_kafka_t* handle, const std::string& topic,
                                    int timeout_ms = kKafkaRequestTimeoutMs);

// The first offset of a partition's log and the one behind its last record, as the handle's
// isolation level sees them.
absl::Status PartitionEnds(rd_kafka_t* handle, const std::string& topic, int32_t partition,
                           int64_t* low, int64_t* high);

absl::Status KafkaError(rd_kafka_resp_err_t error, const std::string& what);

// A consumer's errors behind which the library goes on: what they held would be skipped in silence.
bool SkipsRecords(rd_kafka_resp_err_t error);

}  // namespace bongsu
