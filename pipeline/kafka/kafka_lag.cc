#include "pipeline/kafka/kafka_lag.h"

#include <fmt/format.h>

#include <chrono>

#include "pipeline/logging.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr int kAskTimeoutMs = 2'000;  // short: the end of the process waits for it

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaEnds>> KafkaEnds::Start(const Config& config,
                                                            const Clock& clock) {
  std::unique_ptr<KafkaEnds> self(new KafkaEnds(config, clock));
  BONGSU_ASSIGN_OR_RETURN(
      self->handle_, MakeHandle(RD_KAFKA_CONSUMER, config, {{"allow.auto.create.topics", "false"}},
                                {{"client.id", config.application + "-" + config.instance + "-lag"},
                                 {"isolation.level", "read_committed"},
                                 {"enable.auto.commit", "false"}},
                                {}));
  self->thread_ = std::thread([one = self.get()] { one->Loop(); });
  return self;
}

KafkaEnds::~KafkaEnds() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<const KafkaEnds::Answer> KafkaEnds::Newest() const {
  std::lock_guard lock(mutex_);
  return newest_;
}

void KafkaEnds::Loop() {
  while (true) {
    Ask();
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, std::chrono::nanoseconds(kLagEveryNs), [&] { return stop_; }))
      return;
  }
}

// A timestamp of -1 (RD_KAFKA_OFFSET_END) in a ListOffsets request stands for the end, and with
// read_committed for the last stable offset; one request a broker answers for all its partitions.
void KafkaEnds::Ask() {
  auto answer = std::make_shared<Answer>();
  answer->asked_ns = clock_.MonotonicNs();
  const KafkaList list(rd_kafka_topic_partition_list_new(16));
  for (const SourceConfig& source : config_.sources) {
    for (const std::string& topic : source.topics) {
      const absl::StatusOr<int> count = TopicPartitions(handle_.get(), topic, kAskTimeoutMs);
      if (!count.ok()) {
        LogDebug(fmt::format("lag: {}", std::string(count.status().message())));
        return;
      }
      for (int32_t number = 0; number < *count; ++number) {
        rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), number)->offset =
            RD_KAFKA_OFFSET_END;
      }
    }
  }
  const rd_kafka_resp_err_t error =
      rd_kafka_offsets_for_times(handle_.get(), list.get(), kAskTimeoutMs);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    LogDebug(fmt::format("lag: {}", rd_kafka_err2str(error)));
    return;
  }
  for (int i = 0; i < list->cnt; ++i) {
    const rd_kafka_topic_partition_t& one = list->elems[i];
    if (one.err == RD_KAFKA_RESP_ERR_NO_ERROR && one.offset >= 0)
      answer->ends[{one.topic, one.partition}] = one.offset;
  }
  std::lock_guard lock(mutex_);
  newest_ = std::move(answer);
}

}  // namespace bongsu
