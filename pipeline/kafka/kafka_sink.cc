#include "pipeline/kafka/kafka_sink.h"

#include <fmt/format.h>

#include "pipeline/kafka/kafka_client.h"
#include "pipeline/logging.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr int kPollMs = 100;

}  // namespace

class KafkaProducer {
 public:
  explicit KafkaProducer(const Config& config) : config_(config) {}
  ~KafkaProducer() {
    // What was not flushed belongs to no committed epoch: it is made again after the restart.
    if (handle_ != nullptr)
      rd_kafka_purge(handle_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  }

  absl::Status Start() {
    KafkaCallbacks callbacks;
    callbacks.opaque = this;
    callbacks.delivery = OnDelivery;
    BONGSU_ASSIGN_OR_RETURN(
        handle_, MakeHandle(RD_KAFKA_PRODUCER, config_,
                            {{"compression.type", "lz4"},
                             {"linger.ms", "5"},
                             {"acks", "all"},
                             {"client.id", config_.application + "-" + config_.instance}},
                            {{"enable.idempotence", "true"}}, callbacks));
    return absl::OkStatus();
  }

  rd_kafka_t* handle() { return handle_.get(); }

  absl::Status Produce(rd_kafka_topic_t* topic, std::string_view key, std::string_view value) {
    while (true) {
      const int failed = rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY,
                                          const_cast<char*>(value.data()), value.size(), key.data(),
                                          key.size(), nullptr);
      if (failed == 0) {
        if ((++produced_ & 0xff) == 0) rd_kafka_poll(handle_.get(), 0);
        return absl::OkStatus();
      }
      const rd_kafka_resp_err_t error = rd_kafka_last_error();
      if (error == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) {
        return absl::InvalidArgumentError(
            fmt::format("a record of {} bytes is above message.max.bytes", value.size()));
      }
      if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) return Failed(error, rd_kafka_topic_name(topic));
      rd_kafka_poll(handle_.get(), kPollMs);  // room comes as brokers acknowledge
      BONGSU_RETURN_IF_ERROR(failure_);
    }
  }

  // Ends by itself: what brokers do not take fails after message.timeout.ms.
  absl::Status Flush() {
    while (rd_kafka_outq_len(handle_.get()) > 0) {
      rd_kafka_flush(handle_.get(), kPollMs);
      BONGSU_RETURN_IF_ERROR(failure_);
    }
    return failure_;
  }

 private:
  absl::Status Failed(rd_kafka_resp_err_t error, const char* topic) {
    if (error == RD_KAFKA_RESP_ERR__FATAL) {
      char reason[512];
      error = rd_kafka_fatal_error(handle_.get(), reason, sizeof(reason));
      return KafkaError(error, fmt::format("cannot write to topic '{}': {}", topic, reason));
    }
    return KafkaError(error, fmt::format("cannot write to topic '{}'", topic));
  }

  static void OnDelivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) return;
    auto* self = static_cast<KafkaProducer*>(opaque);
    if (self->failure_.ok())
      self->failure_ = self->Failed(message->err, rd_kafka_topic_name(message->rkt));
  }

  const Config& config_;
  absl::Status failure_;  // the first record that could not be delivered; set within our own polls
  KafkaHandle handle_;
  uint64_t produced_ = 0;
};

namespace {

class KafkaSink : public Sink {
 public:
  KafkaSink(std::shared_ptr<KafkaProducer> producer, std::string topic)
      : producer_(std::move(producer)), name_(std::move(topic)) {}
  ~KafkaSink() override {
    if (topic_ != nullptr) rd_kafka_topic_destroy(topic_);
  }

  absl::Status Open() override {
    BONGSU_ASSIGN_OR_RETURN([[maybe_unused]] const int partitions,
                            TopicPartitions(producer_->handle(), name_));
    topic_ = rd_kafka_topic_new(producer_->handle(), name_.c_str(), nullptr);
    return topic_ != nullptr ? absl::OkStatus()
                             : KafkaError(rd_kafka_last_error(), fmt::format("topic '{}'", name_));
  }
  absl::Status Write(std::string_view key, std::string_view value) override {
    return producer_->Produce(topic_, key, value);
  }
  absl::Status Flush() override { return producer_->Flush(); }

 private:
  std::shared_ptr<KafkaProducer> producer_;
  const std::string name_;
  rd_kafka_topic_t* topic_ = nullptr;
};

}  // namespace

absl::StatusOr<std::shared_ptr<KafkaProducer>> MakeKafkaProducer(const Config& config) {
  auto producer = std::make_shared<KafkaProducer>(config);
  BONGSU_RETURN_IF_ERROR(producer->Start());
  return producer;
}

std::unique_ptr<Sink> MakeKafkaSink(std::shared_ptr<KafkaProducer> producer,
                                    const std::string& topic) {
  return std::make_unique<KafkaSink>(std::move(producer), topic);
}

}  // namespace bongsu
