#include "pipeline/kafka/kafka_log.h"

#include <fmt/format.h>

#include "pipeline/epoch_log.h"
#include "pipeline/logging.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr DurationNs kKeepAliveNs = kKafkaPollMs * kMillisecondNs;
constexpr int kPollsBeforeReminder = 50;  // five seconds without a record

}  // namespace

class KafkaLog::PartitionReader : public ShardLogReader {
 public:
  PartitionReader(KafkaLog& log, int partition, int64_t start, int64_t end)
      : log_(log), partition_(partition), start_(start), end_(end), position_(start) {}
  ~PartitionReader() override {
    message_.reset();
    if (assigned_) rd_kafka_assign(log_.committed_.get(), nullptr);
  }

  int64_t start() const override { return start_; }
  int64_t end() const override { return end_; }
  absl::Status Seek(int64_t offset) override {
    position_ = offset;
    assigned_ = false;
    return absl::OkStatus();
  }
  absl::StatusOr<bool> Next(int64_t* offset, std::string_view* bytes) override;

 private:
  absl::Status Assign();
  absl::Status Wait();
  absl::Status KeepUp();

  KafkaLog& log_;
  const int partition_;
  const int64_t start_;
  const int64_t end_;
  int64_t position_;  // of the next record
  bool assigned_ = false;
  int quiet_ = 0;  // polls in a row that brought nothing
  KafkaMessage message_;
};

absl::Status KafkaLog::PartitionReader::Assign() {
  const KafkaList list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(list.get(), log_.topic_.c_str(), partition_)->offset =
      position_;
  assigned_ = true;
  return KafkaError(rd_kafka_assign(log_.committed_.get(), list.get()),
                    fmt::format("cannot read '{}'", log_.topic_));
}

absl::Status KafkaLog::PartitionReader::Wait() {
  if (++quiet_ % kPollsBeforeReminder == 0) {
    LogInfo(
        fmt::format("{}[{}]: waiting for offset {} of {}: another instance's transaction is "
                    "still open, or the broker is away",
                    log_.topic_, partition_, position_, end_));
  }
  return absl::OkStatus();
}

// What cannot wait for the next record: the group, and a fetcher that sleeps.
absl::Status KafkaLog::PartitionReader::KeepUp() {
  const int64_t now = SystemClock().MonotonicNs();
  log_.waker_.Wake(log_.committed_.get(), log_.queue_.get(), now, 1, [&](size_t) {
    return std::optional(FetchWaker::Place{log_.topic_.c_str(), partition_, position_});
  });
  if (!log_.keep_alive_ || now - log_.kept_alive_ns_ < kKeepAliveNs) return absl::OkStatus();
  log_.kept_alive_ns_ = now;
  return log_.keep_alive_();
}

absl::StatusOr<bool> KafkaLog::PartitionReader::Next(int64_t* offset, std::string_view* bytes) {
  if (!assigned_ && position_ < end_) BONGSU_RETURN_IF_ERROR(Assign());
  while (position_ < end_) {
    if (log_.stop_.load()) return absl::CancelledError("stopped while reading the changelog");
    BONGSU_RETURN_IF_ERROR(KeepUp());
    message_.reset(rd_kafka_consumer_poll(log_.committed_.get(), kKafkaPollMs));
    if (message_ == nullptr) {
      BONGSU_RETURN_IF_ERROR(Wait());
      continue;
    }
    if (message_->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      // The end of what is committed: behind the last marker, or below an open transaction.
      if (message_->partition == partition_ && message_->offset > position_)
        position_ = message_->offset;
      if (position_ < end_) BONGSU_RETURN_IF_ERROR(Wait());
      continue;
    }
    if (SkipsRecords(message_->err)) {
      return absl::FailedPreconditionError(fmt::format("{}[{}] cannot be read at offset {}: {}",
                                                       log_.topic_, partition_, position_,
                                                       rd_kafka_message_errstr(message_.get())));
    }
    if (message_->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      switch (message_->err) {
        case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        case RD_KAFKA_RESP_ERR__FATAL:
          return KafkaError(message_->err, fmt::format("cannot read {}[{}] at offset {}: {}",
                                                       log_.topic_, partition_, position_,
                                                       rd_kafka_message_errstr(message_.get())));
        default:
          BONGSU_RETURN_IF_ERROR(Wait());  // a lost broker and the like: the library tries again
          continue;
      }
    }
    if (message_->partition != partition_ || message_->offset < position_) continue;  // stale fetch
    quiet_ = 0;
    if (message_->offset >= end_) {
      position_ = end_;
      break;
    }
    position_ = message_->offset + 1;
    *offset = message_->offset;
    *bytes = {static_cast<const char*>(message_->payload), message_->len};
    return true;
  }
  return false;
}

absl::StatusOr<std::unique_ptr<KafkaLog>> KafkaLog::Open(const Config& config,
                                                         const std::atomic<bool>& stop,
                                                         std::function<absl::Status()> keep_alive) {
  std::unique_ptr<KafkaLog> log(new KafkaLog(ChangelogTopic(config), stop, std::move(keep_alive)));
  const std::map<std::string, std::string> defaults = {
      {"client.id", config.application + "-" + config.instance},
      {"fetch.wait.max.ms", "20"},
      {"queued.max.messages.kbytes", "16384"},
      {"check.crcs", "true"},
  };
  std::map<std::string, std::string> fixed = {
      // A group is named because librdkafka asks for one; nothing joins it or commits to it.
      {"group.id", config.application + ".changelog-reader"},
      {"enable.auto.commit", "false"},
      {"enable.auto.offset.store", "false"},
      {"enable.partition.eof", "true"},
      {"auto.offset.reset", "error"},
      {"allow.auto.create.topics", "false"},
      {"isolation.level", "read_committed"},
  };
  BONGSU_ASSIGN_OR_RETURN(log->committed_,
                          MakeHandle(RD_KAFKA_CONSUMER, config, defaults, fixed, {}));
  rd_kafka_poll_set_consumer(log->committed_.get());
  log->queue_.reset(rd_kafka_queue_get_consumer(log->committed_.get()));
  fixed["isolation.level"] = "read_uncommitted";
  BONGSU_ASSIGN_OR_RETURN(log->uncommitted_,
                          MakeHandle(RD_KAFKA_CONSUMER, config, defaults, fixed, {}));
  BONGSU_ASSIGN_OR_RETURN(log->partitions_, TopicPartitions(log->uncommitted_.get(), log->topic_));
  return log;
}

absl::StatusOr<std::unique_ptr<ShardLogReader>> KafkaLog::Reader(int partition) {
  int64_t start = 0;
  int64_t end = 0;
  BONGSU_RETURN_IF_ERROR(PartitionEnds(uncommitted_.get(), topic_, partition, &start, &end));
  return std::unique_ptr<ShardLogReader>(
      std::make_unique<PartitionReader>(*this, partition, start, end));
}

absl::Status KafkaLog::TrimTopic(const std::string& topic, const std::map<int, int64_t>& before) {
  if (before.empty()) return absl::OkStatus();
  const KafkaList list(rd_kafka_topic_partition_list_new(static_cast<int>(before.size())));
  for (const auto& [partition, offset] : before)
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset = offset;
  rd_kafka_DeleteRecords_t* request = rd_kafka_DeleteRecords_new(list.get());
  rd_kafka_queue_t* queue = rd_kafka_queue_new(uncommitted_.get());
  rd_kafka_DeleteRecords(uncommitted_.get(), &request, 1, nullptr, queue);
  rd_kafka_DeleteRecords_destroy(request);
  rd_kafka_event_t* event = rd_kafka_queue_poll(queue, kKafkaRequestTimeoutMs);
  absl::Status status = absl::UnavailableError("no answer to DeleteRecords");
  if (event != nullptr) {
    status = KafkaError(rd_kafka_event_error(event), fmt::format("cannot trim '{}'", topic));
    rd_kafka_event_destroy(event);
  }
  rd_kafka_queue_destroy(queue);
  return status;
}

}  // namespace bongsu
