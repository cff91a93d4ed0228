// File: pipeline/kafka/kafka_partitions.h
//
// The partitions that a reader of Kafka reads, and how far it is in each: what kafka_source.h (all
// of them) and kafka_group_source.h (those that the group gives) have in common. Who owns what, and
// from where it is read, is theirs to say.
//
//   KafkaPartitions partitions(config, clock);
//   RETURN_IF_ERROR(partitions.AddTopics(handle, /*exchange=*/nullptr));
//   RETURN_IF_ERROR(partitions.Bind(table));
//   ... rd_kafka_assign(...); partitions.set_reading(true);
//   RETURN_IF_ERROR(partitions.Poll(handle, queue, wait, stop, &batch));
//   partitions.MarkEnds(&batch);
//
// Bounds: a batch's (pipeline/batch.h). Thread-safety: one thread, the one that polls; topic,
// number and id of a partition never change once it is bound, and others may read them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "pipeline/batch.h"
#include "pipeline/config.h"
#include "pipeline/io.h"
#include "pipeline/kafka/kafka_client.h"
#include "pipeline/kafka/kafka_consumer.h"

namespace bongsu {

// A partition of a source's topic, or of the exchange.
struct KafkaPartition {
  bool of_shard = false;
  uint16_t id = 0;  // PartitionId or ShardId
  size_t source = 0;
  std::string topic;
  int32_t number = 0;
  bool grown = false;        // PartitionInfo::grown
  bool assigned = false;     // by the group; only of KafkaGroupSource
  bool read = false;         // records of it are taken, while reading()
  int64_t next_offset = -1;  // of the next record to hand out; -1: not placed yet
  bool fresh = false;        // the next record is the first after an assignment
  bool at_end = false;
  bool end_seen = false;  // end_offset has been reached
  bool idle = false;
  bool held = false;           // by Hold
  bool paused = false;         // in the library
  bool ended = false;          // until: end
  int64_t end_offset = -1;     // until: end
  int64_t eof_offset = -1;     // where its end was seen: behind markers, too
  int64_t timestamp_ms = -1;   // of the newest record
  int64_t last_record_ns = 0;  // monotonic
};

class KafkaPartitions {
 public:
  // Both outlive it.
  KafkaPartitions(const Config& config, const Clock& clock) : config_(config), clock_(clock) {}

  // Those of the sources' topics, and of the exchange where there is one. All that is wrong at
  // once, but for unreachable brokers.
  [[nodiscard]] absl::Status AddTopics(rd_kafka_t* handle, const std::string* exchange);
  // What has been added to the topics since.
  [[nodiscard]] absl::Status AddNew(rd_kafka_t* handle);
  // Gives the sources' partitions their numbers.
  [[nodiscard]] absl::Status Bind(PartitionTable& table);

  // To all topics, as a member of the group; for one that is a member already, it joins once more.
  [[nodiscard]] absl::Status Subscribe(rd_kafka_t* handle) const;

  const std::vector<std::string>& topics() const { return topics_; }
  std::vector<KafkaPartition>& all() { return all_; }
  const std::vector<KafkaPartition>& all() const { return all_; }
  // Null: not known.
  KafkaPartition* Find(const char* topic, int32_t number);

  // Whether records are taken at all; what else comes is of an assignment that is gone.
  bool reading() const { return reading_; }
  void set_reading(bool reading) { reading_ = reading; }

  // Fills the batch with what has come, at most until `stop` says so after a message.
  [[nodiscard]] absl::Status Poll(rd_kafka_t* handle, rd_kafka_queue_t* queue, DurationNs wait,
                                  absl::FunctionRef<bool()> stop, Batch* batch);
  // Marks the partitions that have ended, or have nothing for longer than their idle_timeout.
  void MarkEnds(Batch* batch);
  // No partition is idle any more: the shards wait for each again. Not while paused.
  void WakeIdle(Batch* batch);

  // All partitions while the engine cannot take more, else those that are held. `anew`: they were
  // just assigned, and the library may have forgotten.
  [[nodiscard]] absl::Status Pause(rd_kafka_t* handle, bool anew);
  [[nodiscard]] absl::Status SetBackpressure(rd_kafka_t* handle, bool on);
  void ForgetBackpressure() { backpressure_ = false; }
  // The handle is gone, and what it knew of assignments and pauses with it.
  void Disconnected();
  // `ids` are sorted.
  [[nodiscard]] absl::Status Hold(rd_kafka_t* handle, const std::vector<PartitionId>& ids);

  // Of the sources' partitions that are read.
  std::vector<Position> positions() const;
  std::vector<SourceProgress> Progress() const;

 private:
  absl::Status AddTopic(rd_kafka_t* handle, const std::string& topic, bool exchange, size_t source);
  absl::Status Take(rd_kafka_t* handle, rd_kafka_message_t* message, Batch* batch);
  absl::Status TakeRecord(KafkaPartition& partition, const rd_kafka_message_t& message,
                          Batch* batch);
  void End(KafkaPartition& partition, Batch* batch);
  void WakeFetcher(rd_kafka_t* handle, rd_kafka_queue_t* queue);

  const Config& config_;
  const Clock& clock_;
  std::vector<std::string> topics_;
  std::vector<KafkaPartition> all_;
  std::map<std::pair<std::string, int32_t>, size_t> index_;
  KafkaPartition* last_found_ = nullptr;
  bool reading_ = false;
  bool backpressure_ = false;
  int64_t now_ns_ = 0;  // monotonic, as of this poll
  FetchWaker waker_;
};

}  // namespace bongsu
