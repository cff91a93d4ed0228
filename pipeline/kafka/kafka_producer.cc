#include "pipeline/kafka/kafka_producer.h"

#include <fmt/format.h>

#include "state/failpoint.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr uint64_t kPollEvery = 256;  // records between two looks at the delivery reports
constexpr const char* kInterceptor = "bongsu_requests";

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaProducer>> KafkaProducer::Make(
    const Config& config, const std::map<std::string, std::string>& fixed) {
  std::unique_ptr<KafkaProducer> producer(new KafkaProducer);
  KafkaCallbacks callbacks;
  callbacks.opaque = producer.get();
  callbacks.delivery = OnDelivery;
  callbacks.on_new = OnNew;
  std::map<std::string, std::string> all = fixed;
  all["enable.idempotence"] = "true";
  BONGSU_ASSIGN_OR_RETURN(producer->handle_,
                          MakeHandle(RD_KAFKA_PRODUCER, config,
                                     {{"compression.type", "lz4"},
                                      {"linger.ms", "5"},
                                      {"acks", "all"},
                                      {"client.id", config.application + "-" + config.instance}},
                                     all, callbacks));
  return producer;
}

KafkaProducer::~KafkaProducer() {
  // What was not flushed belongs to no committed epoch: it is made again after the restart.
  if (handle_ != nullptr)
    rd_kafka_purge(handle_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  for (auto& [name, topic] : topics_) rd_kafka_topic_destroy(topic);
}

rd_kafka_resp_err_t KafkaProducer::OnNew(rd_kafka_t* handle, const rd_kafka_conf_t*, void* opaque,
                                         char*, size_t) {
  return rd_kafka_interceptor_add_on_request_sent(handle, kInterceptor, OnRequestSent, opaque);
}

// On librdkafka's threads.
rd_kafka_resp_err_t KafkaProducer::OnRequestSent(rd_kafka_t*, int, const char*, int32_t,
                                                 int16_t api_key, int16_t, int32_t, size_t,
                                                 void* opaque) {
  auto* self = static_cast<KafkaProducer*>(opaque);
  if (api_key >= 0 && static_cast<size_t>(api_key) < kApiKeys)
    self->sent_[static_cast<size_t>(api_key)].fetch_add(1, std::memory_order_relaxed);
  if (api_key == kEndTxnApiKey) BONGSU_FAILPOINT(kEndTxnSent);
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

uint64_t KafkaProducer::RequestsSent(int16_t api_key) const {
  return sent_.at(static_cast<size_t>(api_key)).load(std::memory_order_relaxed);
}

absl::Status KafkaProducer::Produce(const std::string& topic, std::string_view key,
                                    std::string_view value, Where where) {
  rd_kafka_topic_t*& handle = topics_[topic];
  if (handle == nullptr) handle = rd_kafka_topic_new(handle_.get(), topic.c_str(), nullptr);
  if (handle == nullptr) return KafkaError(rd_kafka_last_error(), fmt::format("topic '{}'", topic));
  while (true) {
    const int failed = rd_kafka_produce(handle, where.partition, RD_KAFKA_MSG_F_COPY,
                                        const_cast<char*>(value.data()), value.size(), key.data(),
                                        key.size(), where.offset);
    if (failed == 0) {
      if (++produced_ % kPollEvery == 0) Poll();
      return failure_;
    }
    const rd_kafka_resp_err_t error = rd_kafka_last_error();
    if (error == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) {
      return absl::InvalidArgumentError(
          fmt::format("a record of {} bytes is above message.max.bytes", value.size()));
    }
    if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) return Failed(error, topic.c_str());
    rd_kafka_poll(handle_.get(), kKafkaPollMs);  // room comes as brokers acknowledge
    BONGSU_RETURN_IF_ERROR(failure_);
  }
}

absl::Status KafkaProducer::Flush() {
  while (rd_kafka_outq_len(handle_.get()) > 0) {
    rd_kafka_flush(handle_.get(), kKafkaPollMs);
    BONGSU_RETURN_IF_ERROR(failure_);
  }
  return failure_;
}

absl::Status KafkaProducer::Failed(rd_kafka_resp_err_t error, const char* topic) {
  std::string text = fmt::format("cannot write to topic '{}'", topic);
  if (error == RD_KAFKA_RESP_ERR__FATAL) {
    char reason[512];
    error = rd_kafka_fatal_error(handle_.get(), reason, sizeof(reason));
    text += fmt::format(": {}", reason);
  }
  if (failure_.ok()) {
    failure_code_ = error;
    failure_ = KafkaError(error, text);
  }
  return failure_;
}

// Within our own polls and flushes.
void KafkaProducer::OnDelivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
  if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
    if (message->_private != nullptr) *static_cast<int64_t*>(message->_private) = message->offset;
    return;
  }
  (void)static_cast<KafkaProducer*>(opaque)->Failed(message->err,
                                                    rd_kafka_topic_name(message->rkt));
}

}  // namespace bongsu
