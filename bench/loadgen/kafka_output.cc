#include "bench/loadgen/kafka_output.h"

#include <fmt/format.h>
#include <librdkafka/rdkafka.h>

#include <thread>

namespace bongsu::loadgen {
namespace {

constexpr int kPollEvery = 1024;  // records between two looks at delivery reports
constexpr int kFlushTimeoutMs = 60'000;

}  // namespace

struct KafkaOutput::Impl {
  KafkaOutputOptions options;
  rd_kafka_t* producer = nullptr;
  rd_kafka_topic_t* topics[2] = {nullptr, nullptr};
  std::string error;
  uint64_t written = 0;
  std::chrono::steady_clock::time_point begin;

  static void Delivered(rd_kafka_t* /*rk*/, const rd_kafka_message_t* message, void* opaque) {
    auto* impl = static_cast<Impl*>(opaque);
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR || !impl->error.empty()) return;
    impl->error = fmt::format("a record was not delivered: {}", rd_kafka_err2str(message->err));
  }

  void Open() {
    std::map<std::string, std::string> properties = {{"bootstrap.servers", options.brokers},
                                                     {"compression.type", "lz4"},
                                                     {"linger.ms", "20"},
                                                     {"batch.size", "1000000"},
                                                     {"queue.buffering.max.messages", "500000"},
                                                     {"queue.buffering.max.kbytes", "262144"},
                                                     {"enable.idempotence", "true"}};
    for (const auto& [name, value] : options.properties) properties[name] = value;
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    char text[512];
    for (const auto& [name, value] : properties) {
      if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), text, sizeof(text)) !=
          RD_KAFKA_CONF_OK) {
        error = text;
        rd_kafka_conf_destroy(conf);
        return;
      }
    }
    rd_kafka_conf_set_dr_msg_cb(conf, Delivered);
    rd_kafka_conf_set_opaque(conf, this);
    producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (producer == nullptr) {
      error = text;
      rd_kafka_conf_destroy(conf);
      return;
    }
    topics[0] = rd_kafka_topic_new(producer, options.firewall_topic.c_str(), nullptr);
    topics[1] = rd_kafka_topic_new(producer, options.endpoint_topic.c_str(), nullptr);
  }

  // Sleeps until the record's turn has come.
  void Pace() {
    if (options.records_per_second <= 0) return;
    const auto due = begin + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                 std::chrono::duration<double>(static_cast<double>(written) /
                                                               options.records_per_second));
    const auto now = std::chrono::steady_clock::now();
    if (due - now > std::chrono::milliseconds(1)) std::this_thread::sleep_until(due);
  }
};

KafkaOutput::KafkaOutput(KafkaOutputOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->options = std::move(options);
  impl_->begin = std::chrono::steady_clock::now();
  impl_->Open();
}

KafkaOutput::~KafkaOutput() {
  for (rd_kafka_topic_t* topic : impl_->topics) {
    if (topic != nullptr) rd_kafka_topic_destroy(topic);
  }
  if (impl_->producer != nullptr) rd_kafka_destroy(impl_->producer);
}

const std::string& KafkaOutput::error() const { return impl_->error; }

void KafkaOutput::Write(Log log, std::string_view key, std::string_view line) {
  Impl& impl = *impl_;
  if (!impl.error.empty()) return;
  impl.Pace();
  while (rd_kafka_produce(impl.topics[static_cast<size_t>(log)], RD_KAFKA_PARTITION_UA,
                          RD_KAFKA_MSG_F_COPY, const_cast<char*>(line.data()), line.size(),
                          key.empty() ? nullptr : key.data(), key.size(), nullptr) != 0) {
    const rd_kafka_resp_err_t code = rd_kafka_last_error();
    if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
      impl.error = fmt::format("cannot produce: {}", rd_kafka_err2str(code));
      return;
    }
    rd_kafka_poll(impl.producer, 100);
    if (!impl.error.empty()) return;
  }
  if (++impl.written % kPollEvery == 0) rd_kafka_poll(impl.producer, 0);
}

std::string KafkaOutput::Close() {
  if (impl_->producer != nullptr && impl_->error.empty() &&
      rd_kafka_flush(impl_->producer, kFlushTimeoutMs) != RD_KAFKA_RESP_ERR_NO_ERROR &&
      impl_->error.empty()) {
    impl_->error = fmt::format("{} records were not acknowledged in {} s",
                               rd_kafka_outq_len(impl_->producer), kFlushTimeoutMs / 1000);
  }
  return impl_->error;
}

}  // namespace bongsu::loadgen
