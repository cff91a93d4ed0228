#include "pipeline/kafka/kafka_partitions.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "state/status_macros.h"

namespace bongsu {

absl::Status KafkaPartitions::AddTopic(rd_kafka_t* handle, const std::string& topic, bool exchange,
                                       size_t source) {
  BONGSU_ASSIGN_OR_RETURN(const int count, TopicPartitions(handle, topic));
  if (std::find(topics_.begin(), topics_.end(), topic) == topics_.end()) topics_.push_back(topic);
  for (int32_t number = 0; number < count; ++number) {
    if (index_.count({topic, number}) > 0) continue;
    KafkaPartition partition;
    partition.of_shard = exchange;
    partition.id = static_cast<uint16_t>(number);  // a source's gets its own in Bind
    partition.source = source;
    partition.topic = topic;
    partition.number = number;
    index_[{topic, number}] = all_.size();
    all_.push_back(std::move(partition));
  }
  last_found_ = nullptr;
  return absl::OkStatus();
}

absl::Status KafkaPartitions::AddTopics(rd_kafka_t* handle, const std::string* exchange) {
  std::string failures;
  absl::StatusCode code = absl::StatusCode::kOk;
  const auto add = [&](const std::string& topic, bool of_shards, size_t source) {
    // Unreachable brokers: the others would wait as long.
    if (code == absl::StatusCode::kUnavailable) return;
    if (std::find(topics_.begin(), topics_.end(), topic) != topics_.end()) return;
    const absl::Status status = AddTopic(handle, topic, of_shards, source);
    if (status.ok()) return;
    if (code == absl::StatusCode::kOk || absl::IsUnavailable(status)) code = status.code();
    failures += (failures.empty() ? "" : "\n") +
                (of_shards ? std::string("exchange: ")
                           : fmt::format("source '{}': ", config_.sources[source].name)) +
                std::string(status.message());
  };
  for (size_t i = 0; i < config_.sources.size(); ++i) {
    for (const std::string& topic : config_.sources[i].topics) add(topic, false, i);
  }
  if (exchange != nullptr) add(*exchange, true, 0);
  return failures.empty() ? absl::OkStatus() : absl::Status(code, failures);
}

absl::Status KafkaPartitions::AddNew(rd_kafka_t* handle) {
  for (const std::string& topic : std::vector<std::string>(topics_)) {
    const auto it = std::find_if(all_.begin(), all_.end(),
                                 [&](const KafkaPartition& one) { return one.topic == topic; });
    BONGSU_RETURN_IF_ERROR(AddTopic(handle, topic, it->of_shard, it->source));
  }
  return absl::OkStatus();
}

absl::Status KafkaPartitions::Bind(PartitionTable& table) {
  for (KafkaPartition& partition : all_) {
    if (partition.of_shard) continue;
    PartitionInfo info;
    info.source = config_.sources[partition.source].name;
    info.source_index = static_cast<uint16_t>(partition.source);
    info.topic = partition.topic;
    info.partition = partition.number;
    info.identity = info.source + std::string(1, '\0') + info.topic + std::string(1, '\0') +
                    std::to_string(info.partition);
    BONGSU_ASSIGN_OR_RETURN(partition.id, table.Add(std::move(info)));
    partition.grown = table.Get(partition.id).grown;
  }
  return absl::OkStatus();
}

absl::Status KafkaPartitions::Subscribe(rd_kafka_t* handle) const {
  const KafkaList list(rd_kafka_topic_partition_list_new(static_cast<int>(topics_.size())));
  for (const std::string& topic : topics_)
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), RD_KAFKA_PARTITION_UA);
  return KafkaError(rd_kafka_subscribe(handle, list.get()), "cannot join the group");
}

KafkaPartition* KafkaPartitions::Find(const char* topic, int32_t number) {
  // Messages come in runs of one partition.
  if (last_found_ != nullptr && last_found_->number == number && last_found_->topic == topic)
    return last_found_;
  const auto it = index_.find({topic, number});
  if (it == index_.end()) return nullptr;
  last_found_ = &all_[it->second];
  return last_found_;
}

absl::Status KafkaPartitions::Take(rd_kafka_t* handle, rd_kafka_message_t* message, Batch* batch) {
  KafkaPartition* partition = message->rkt != nullptr
                                  ? Find(rd_kafka_topic_name(message->rkt), message->partition)
                                  : nullptr;
  const bool ours = partition != nullptr && reading_ && partition->read;
  if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && ours) {
      partition->at_end = true;
      partition->eof_offset = message->offset;
      if (partition->end_offset >= 0 && message->offset >= partition->end_offset)
        End(*partition, batch);
    }
    return ConsumerError(handle, *message);
  }
  // What was taken from us counts from its committed offset for whoever gets it.
  if (!ours || partition->ended) return absl::OkStatus();
  return TakeRecord(*partition, *message, batch);
}

absl::Status KafkaPartitions::TakeRecord(KafkaPartition& partition,
                                         const rd_kafka_message_t& message, Batch* batch) {
  if (message.offset < partition.next_offset) {
    if (partition.fresh)
      return absl::OkStatus();  // of a fetch before the seek: the one asked for will come
    return absl::InternalError(fmt::format("{}[{}]: offset {} came after {}", partition.topic,
                                           partition.number, message.offset,
                                           partition.next_offset - 1));
  }
  partition.fresh = false;
  if (partition.end_offset >= 0 && message.offset >= partition.end_offset) {
    End(partition, batch);
    return absl::OkStatus();
  }
  const std::string_view bytes = {static_cast<const char*>(message.payload),
                                  message.payload == nullptr ? 0 : message.len};
  partition.next_offset = message.offset + 1;
  partition.at_end = false;
  if (partition.of_shard) {
    batch->bundles.push_back({partition.id, message.offset, bytes});
    return absl::OkStatus();
  }
  Record record;
  record.bytes = bytes;
  record.partition = partition.id;
  record.offset = message.offset;
  record.timestamp_ms = rd_kafka_message_timestamp(&message, nullptr);
  record.slack = SlackOf(message);
  partition.timestamp_ms = record.timestamp_ms;
  batch->records.push_back(record);
  partition.last_record_ns = now_ns_;
  if (partition.idle) {
    partition.idle = false;
    batch->marks.push_back({PartitionMark::Kind::kActive, partition.id, 0});
  }
  if (partition.next_offset == partition.end_offset) End(partition, batch);
  return absl::OkStatus();
}

// While paused nothing is handed out: MarkEnds does it later.
void KafkaPartitions::End(KafkaPartition& partition, Batch* batch) {
  partition.end_seen = true;
  if (partition.ended || backpressure_) return;
  partition.ended = true;
  batch->marks.push_back({PartitionMark::Kind::kEnded, partition.id, 0});
}

void KafkaPartitions::MarkEnds(Batch* batch) {
  if (!reading_ || backpressure_) return;
  const int64_t now = clock_.MonotonicNs();
  for (KafkaPartition& partition : all_) {
    if (partition.of_shard || !partition.read) continue;
    // Where nothing started at all: an empty topic that ends where it begins.
    if (partition.end_offset >= 0 &&
        (partition.end_seen || partition.next_offset >= partition.end_offset))
      End(partition, batch);
    if (!partition.at_end || partition.idle || partition.held || partition.ended ||
        now - partition.last_record_ns < config_.sources[partition.source].idle_timeout)
      continue;
    partition.idle = true;
    batch->marks.push_back({PartitionMark::Kind::kIdle, partition.id, 0});
  }
}

void KafkaPartitions::WakeIdle(Batch* batch) {
  if (backpressure_) return;
  for (KafkaPartition& partition : all_) {
    if (partition.of_shard || !partition.read || !partition.idle) continue;
    partition.idle = false;
    batch->marks.push_back({PartitionMark::Kind::kActive, partition.id, 0});
  }
}

void KafkaPartitions::WakeFetcher(rd_kafka_t* handle, rd_kafka_queue_t* queue) {
  if (!reading_ || backpressure_) return;
  waker_.Wake(
      handle, queue, clock_.MonotonicNs(), all_.size(),
      [this](size_t i) -> std::optional<FetchWaker::Place> {
        const KafkaPartition& partition = all_[i];
        if (!partition.read || partition.at_end || partition.ended || partition.held)
          return std::nullopt;
        return FetchWaker::Place{partition.topic.c_str(), partition.number, partition.next_offset};
      });
}

absl::Status KafkaPartitions::Poll(rd_kafka_t* handle, rd_kafka_queue_t* queue, DurationNs wait,
                                   absl::FunctionRef<bool()> stop, Batch* batch) {
  WakeFetcher(handle, queue);
  now_ns_ = clock_.MonotonicNs();
  auto messages = std::make_unique<KafkaMessages>();
  absl::Status status;
  size_t bytes = 0;
  int wait_ms = static_cast<int>(wait / kMillisecondNs);
  while (status.ok() && batch->records.size() < kBatchRecordsMax && bytes < kBatchBytesMax) {
    rd_kafka_message_t* message = rd_kafka_consumer_poll(handle, wait_ms);
    if (message == nullptr) break;
    messages->messages.push_back(message);  // freed with the batch, whatever it is
    if (wait_ms > 0) now_ns_ = clock_.MonotonicNs();
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) bytes += message->len;
    wait_ms = 0;
    status = Take(handle, message, batch);
    if (stop()) break;
  }
  batch->holder = std::move(messages);
  return status.ok() ? FatalError(handle) : status;
}

absl::Status KafkaPartitions::Pause(rd_kafka_t* handle, bool anew) {
  if (!reading_) return absl::OkStatus();  // with the next assignment
  std::vector<PauseWish> wishes;
  for (KafkaPartition& partition : all_) {
    if (!partition.read) continue;
    const bool wanted = backpressure_ || partition.held;
    if (anew && wanted) partition.paused = false;
    // What came meanwhile has not been fetched: it is not quiet yet.
    if (partition.paused && !wanted) partition.last_record_ns = clock_.MonotonicNs();
    wishes.push_back({partition.topic.c_str(), partition.number, wanted, &partition.paused});
  }
  return ApplyPauses(handle, wishes);
}

void KafkaPartitions::Disconnected() {
  reading_ = backpressure_ = false;
  for (KafkaPartition& partition : all_) partition.assigned = partition.paused = false;
}

absl::Status KafkaPartitions::SetBackpressure(rd_kafka_t* handle, bool on) {
  if (on == backpressure_) return absl::OkStatus();
  backpressure_ = on;
  return Pause(handle, /*anew=*/false);
}

absl::Status KafkaPartitions::Hold(rd_kafka_t* handle, const std::vector<PartitionId>& ids) {
  for (KafkaPartition& partition : all_) {
    partition.held =
        !partition.of_shard && std::binary_search(ids.begin(), ids.end(), partition.id);
  }
  return Pause(handle, /*anew=*/false);
}

std::vector<Position> KafkaPartitions::positions() const {
  std::vector<Position> positions;
  for (const KafkaPartition& partition : all_) {
    if (partition.of_shard || !partition.read) continue;
    positions.push_back({partition.id, partition.next_offset, partition.ended});
  }
  return positions;
}

std::vector<SourceProgress> KafkaPartitions::Progress() const {
  std::vector<SourceProgress> progress;
  for (const KafkaPartition& partition : all_) {
    if (partition.of_shard || !partition.read) continue;
    progress.push_back({partition.id, std::max(partition.next_offset, partition.eof_offset),
                        partition.timestamp_ms, !partition.at_end && !partition.ended});
  }
  return progress;
}

}  // namespace bongsu
