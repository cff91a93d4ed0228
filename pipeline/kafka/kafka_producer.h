// File: pipeline/kafka/kafka_producer.h
//
// A producer with what both ways of delivery need: idempotence, waiting while the library's queue
// is full, and the first delivery failure kept as a status. With a transactional id it is the
// producer of pipeline/kafka/kafka_transaction.h.
//
//   ASSIGN_OR_RETURN(auto producer, KafkaProducer::Make(config, {}));
//   producer->Produce("soc.alerts", key, value, {});
//   RETURN_IF_ERROR(producer->Flush());       // all of it is acknowledged
//
// Bounds: librdkafka's queue.buffering.max.*; Produce waits while it is full.
//
// Errors: InvalidArgument for a record above message.max.bytes (nothing was queued); Aborted after
// a purge; else the brokers' answer (kafka_client.h). A record that could not be delivered is an
// error of the next call, never a loss.
//
// Thread-safety: one thread.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pipeline/config.h"
#include "pipeline/kafka/kafka_client.h"

namespace bongsu {

// Kafka's numbers of the two requests that must not be sent twice.
inline constexpr int16_t kEndTxnApiKey = 26;
inline constexpr int16_t kTxnOffsetCommitApiKey = 28;

class KafkaProducer {
 public:
  // `fixed`: properties beyond the configuration's, such as transactional.id.
  static absl::StatusOr<std::unique_ptr<KafkaProducer>> Make(
      const Config& config, const std::map<std::string, std::string>& fixed);
  ~KafkaProducer();
  KafkaProducer(const KafkaProducer&) = delete;
  KafkaProducer& operator=(const KafkaProducer&) = delete;

  rd_kafka_t* handle() { return handle_.get(); }

  struct Where {
    int32_t partition = RD_KAFKA_PARTITION_UA;
    // Set to the record's offset when it is acknowledged; lives until then.
    int64_t* offset = nullptr;
  };
  [[nodiscard]] absl::Status Produce(const std::string& topic, std::string_view key,
                                     std::string_view value, Where where);
  // Waits until everything is acknowledged; ends by itself (message.timeout.ms).
  [[nodiscard]] absl::Status Flush();
  // Serves delivery reports without waiting.
  void Poll() { rd_kafka_poll(handle_.get(), 0); }

  const absl::Status& failure() const { return failure_; }
  rd_kafka_resp_err_t failure_code() const { return failure_code_; }

  // How often a request of this kind (Kafka's ApiKey) has been written to a socket.
  uint64_t RequestsSent(int16_t api_key) const;

 private:
  KafkaProducer() = default;
  absl::Status Failed(rd_kafka_resp_err_t error, const char* topic);
  static void OnDelivery(rd_kafka_t* handle, const rd_kafka_message_t* message, void* opaque);
  static rd_kafka_resp_err_t OnNew(rd_kafka_t* handle, const rd_kafka_conf_t* conf, void* opaque,
                                   char* reason, size_t reason_size);
  static rd_kafka_resp_err_t OnRequestSent(rd_kafka_t* handle, int socket, const char* broker,
                                           int32_t broker_id, int16_t api_key, int16_t version,
                                           int32_t correlation, size_t size, void* opaque);

  absl::Status failure_;
  rd_kafka_resp_err_t failure_code_ = RD_KAFKA_RESP_ERR_NO_ERROR;
  static constexpr size_t kApiKeys = 128;
  std::array<std::atomic<uint64_t>, kApiKeys> sent_{};  // written by librdkafka's threads
  absl::flat_hash_map<std::string, rd_kafka_topic_t*> topics_;
  KafkaHandle handle_;
  uint64_t produced_ = 0;
};

}  // namespace bongsu
