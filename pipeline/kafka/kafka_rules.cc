#include "pipeline/kafka/kafka_rules.h"

#include <fmt/format.h>

#include <chrono>

#include "pipeline/logging.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr int kReadAgainMs = 5'000;
constexpr int64_t kOpenSilenceMs = kKafkaRequestTimeoutMs;

int64_t Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::optional<std::string_view> Bytes(const void* data, size_t size) {
  if (data == nullptr) return std::nullopt;
  return std::string_view(static_cast<const char*>(data), size);
}

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaRules>> KafkaRules::Open(const Config& config) {
  std::unique_ptr<KafkaRules> self(new KafkaRules(config.rules_topic));
  BONGSU_ASSIGN_OR_RETURN(
      self->handle_,
      MakeHandle(RD_KAFKA_CONSUMER, config,
                 {{"client.id", config.application + "-" + config.instance + "-rules"},
                  {"fetch.wait.max.ms", "100"},
                  {"check.crcs", "true"}},
                 // A group is named because librdkafka asks for one; nothing joins it.
                 {{"group.id", config.application + ".rules-reader"},
                  {"enable.auto.commit", "false"},
                  {"enable.auto.offset.store", "false"},
                  {"enable.partition.eof", "true"},
                  {"auto.offset.reset", "error"},
                  {"allow.auto.create.topics", "false"},
                  {"isolation.level", "read_committed"}},
                 {}));
  rd_kafka_poll_set_consumer(self->handle_.get());
  const absl::StatusOr<int> partitions = TopicPartitions(self->handle_.get(), self->topic_);
  if (absl::IsNotFound(partitions.status())) {
    return absl::NotFoundError(fmt::format("{}; `bongsu topics create` makes the rules topic",
                                           std::string(partitions.status().message())));
  }
  BONGSU_RETURN_IF_ERROR(partitions.status());
  if (*partitions != 1) {
    return absl::FailedPreconditionError(
        fmt::format("the rules topic '{}' has {} partitions, not 1: rules are one set in one order",
                    self->topic_, *partitions));
  }
  BONGSU_RETURN_IF_ERROR(self->ReadToEnd());
  self->Publish();
  return self;
}

KafkaRules::~KafkaRules() {
  stop_.store(true);
  if (thread_.joinable()) thread_.join();
  if (handle_ != nullptr) rd_kafka_assign(handle_.get(), nullptr);
}

absl::Status KafkaRules::Assign() {
  const KafkaList list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(list.get(), topic_.c_str(), 0)->offset =
      RD_KAFKA_OFFSET_BEGINNING;
  return KafkaError(rd_kafka_assign(handle_.get(), list.get()),
                    fmt::format("cannot read the rules topic '{}'", topic_));
}

absl::Status KafkaRules::ReadToEnd() {
  BONGSU_RETURN_IF_ERROR(Assign());
  bool end = false;
  int64_t heard = Now();
  while (!end) {
    fresh_ = false;
    BONGSU_RETURN_IF_ERROR(Poll(&end));
    if (fresh_) heard = Now();
    if (Now() - heard > kOpenSilenceMs * kMillisecondNs) {
      return absl::UnavailableError(
          fmt::format("cannot read the rules topic '{}': no answer from the brokers", topic_));
    }
  }
  return absl::OkStatus();
}

absl::Status KafkaRules::Poll(bool* end) {
  const KafkaMessage message(rd_kafka_consumer_poll(handle_.get(), kKafkaPollMs));
  if (message == nullptr) return absl::OkStatus();
  if (SkipsRecords(message->err)) {
    return absl::FailedPreconditionError(fmt::format("cannot read the rules topic '{}': {}", topic_,
                                                     rd_kafka_message_errstr(message.get())));
  }
  switch (message->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
      break;
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
      *end = true;
      return absl::OkStatus();
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR__FATAL:
      return KafkaError(message->err, fmt::format("cannot read the rules topic '{}': {}", topic_,
                                                  rd_kafka_message_errstr(message.get())));
    default:
      return absl::OkStatus();  // a lost broker and the like: the library tries again
  }
  const std::string why = content_.Put(Bytes(message->key, message->key_len),
                                       Bytes(message->payload, message->len), message->offset);
  if (!why.empty())
    LogError(fmt::format("rules topic '{}', offset {}: the record is ignored: {}", topic_,
                         message->offset, why));
  fresh_ = true;
  return absl::OkStatus();
}

void KafkaRules::Publish() {
  auto newest = content_.Newest();
  std::lock_guard lock(mutex_);
  status_.keys = newest->texts.size();
  status_.version_read = newest->version;
  status_.put = content_.put();
  status_.deleted = content_.deleted();
  status_.ignored = content_.ignored();
  newest_ = std::move(newest);
}

void KafkaRules::Follow(std::atomic<bool>* changed) {
  thread_ = std::thread([this, changed] { Loop(changed); });
}

void KafkaRules::SetReadable(bool readable) {
  std::lock_guard lock(mutex_);
  status_.readable = readable;
}

void KafkaRules::Loop(std::atomic<bool>* changed) {
  ChangeGate gate;
  bool whole = true;  // the content is that of a version of the topic
  while (!stop_.load()) {
    bool end = false;
    fresh_ = false;
    if (const absl::Status status = Poll(&end); !status.ok()) {
      // Permissions that were taken, or a topic that was made anew: what was published stays, and
      // the topic is read again from its beginning.
      if (this->status().readable)
        LogError(fmt::format("{}; the rules stay as they are until it can be read again",
                             std::string(status.message())));
      SetReadable(false);
      for (int waited = 0; waited < kReadAgainMs && !stop_.load(); waited += kKafkaPollMs)
        std::this_thread::sleep_for(std::chrono::milliseconds(kKafkaPollMs));
      content_.Clear();
      whole = false;
      (void)Assign();  // fails by the next poll, too
      continue;
    }
    if (fresh_) gate.Record(Now());
    if (end && !whole) {
      whole = true;
      gate.Record(Now());
      SetReadable(true);
      LogInfo(fmt::format("rules topic '{}': it can be read again", topic_));
    }
    if (!whole || !gate.Due(Now())) continue;
    Publish();
    LogInfo(fmt::format("rules topic '{}': changed, now version {} with {} keys", topic_,
                        Newest()->version, status().keys));
    changed->store(true);
  }
}

std::shared_ptr<const TopicRules> KafkaRules::Newest() const {
  std::lock_guard lock(mutex_);
  return newest_;
}

RuleTopicStatus KafkaRules::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

absl::StatusOr<std::shared_ptr<const TopicRules>> FetchTopicRules(const Config& config) {
  if (config.rules_topic.empty()) return std::shared_ptr<const TopicRules>();
  BONGSU_ASSIGN_OR_RETURN(const std::unique_ptr<KafkaRules> topic, KafkaRules::Open(config));
  return topic->Newest();
}

}  // namespace bongsu
