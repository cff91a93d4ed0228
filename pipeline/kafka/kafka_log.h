// File: pipeline/kafka/kafka_log.h
//
// The changelog topic as restore sees it (state/restore.h): one reader for each partition, from its
// first offset to the high watermark of the moment when the reader was made.
//
// Two handles. The end is found read_uncommitted, the records are read read_committed: the
// read_committed end would stop below a dead instance's open transaction and silently miss a newer
// owner's records behind it (evolution-gaming/kafka-flow#850). Where such a transaction is still
// open, Next waits until the coordinator has ended it (transaction.timeout.ms), and says so.
//
//   ASSIGN_OR_RETURN(auto log, KafkaLog::Open(config, stop, [&] { return source.KeepAlive(); }));
//   ASSIGN_OR_RETURN(auto reader, log->Reader(shard));
//   ASSIGN_OR_RETURN(RestoreResult result, RestoreShard(store, shard, *reader));
//
// Thread-safety: one thread; one reader is read at a time. Errors: as kafka_client.h; NotFound
// where the topic is missing; Cancelled when `stop` was set.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pipeline/config.h"
#include "pipeline/kafka/kafka_client.h"
#include "pipeline/kafka/kafka_consumer.h"
#include "pipeline/recovery.h"

namespace bongsu {

class KafkaLog : public LogTopic {
 public:
  // `keep_alive` is called about ten times a second while reading: restoring may take longer than
  // the group waits for a silent member.
  static absl::StatusOr<std::unique_ptr<KafkaLog>> Open(const Config& config,
                                                        const std::atomic<bool>& stop,
                                                        std::function<absl::Status()> keep_alive);
  int partitions() const override { return partitions_; }
  absl::StatusOr<std::unique_ptr<ShardLogReader>> Reader(int partition) override;
  [[nodiscard]] absl::Status Trim(const std::map<int, int64_t>& before) override {
    return TrimTopic(topic_, before);
  }
  // Of any topic.
  [[nodiscard]] absl::Status TrimTopic(const std::string& topic,
                                       const std::map<int, int64_t>& before) override;

 private:
  class PartitionReader;
  KafkaLog(std::string topic, const std::atomic<bool>& stop,
           std::function<absl::Status()> keep_alive)
      : topic_(std::move(topic)), stop_(stop), keep_alive_(std::move(keep_alive)) {}

  const std::string topic_;
  const std::atomic<bool>& stop_;
  const std::function<absl::Status()> keep_alive_;
  int partitions_ = 0;
  KafkaHandle committed_;  // reads records
  KafkaQueue queue_;       // fetched by it, and not yet polled
  FetchWaker waker_;       // 16 MiB a second otherwise: the queue's limit, once a second
  int64_t kept_alive_ns_ = 0;
  KafkaHandle uncommitted_;  // finds ends, deletes
};

}  // namespace bongsu
