#include "pipeline/kafka/kafka_group_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "pipeline/kafka/kafka_consumer.h"
#include "pipeline/kafka/kafka_transaction.h"
#include "pipeline/logging.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr int kCommittedTimeoutMs = 2'000;  // of one try
constexpr DurationNs kRemindNs = 10 * kSecondNs;

class KafkaGroupSource : public SharedSource {
 public:
  KafkaGroupSource(const Config& config, const Clock& clock)
      : config_(config), clock_(clock), exchange_(config.exchange_topic()) {}
  ~KafkaGroupSource() override { (void)Close(); }

  absl::Status Open(PartitionTable& partitions) override;
  absl::Status Bind(PartitionTable& partitions) override;
  absl::Status Own(const std::atomic<bool>& stop) override;
  absl::Status KeepAlive() override { return absl::OkStatus(); }
  absl::StatusOr<std::shared_ptr<const Membership>> GetMembership() override;
  absl::Status Start(const std::vector<Position>&) override { return absl::OkStatus(); }
  absl::Status Poll(DurationNs wait, Batch* batch) override;
  bool finished() const override { return false; }
  std::vector<Position> positions() const override;
  std::vector<SourceProgress> Progress() const override;
  // Offsets are committed with the epoch, and only so.
  absl::Status Committed(const std::vector<Position>&) override { return absl::OkStatus(); }
  absl::Status SetBackpressure(bool on) override;
  absl::Status Hold(const std::vector<PartitionId>& partitions) override;
  absl::Status Close() override;

  bool revoking() const override { return state_ == State::kRevoking; }
  absl::Status Release() override;
  bool member() const override {
    return !lost_ && (state_ == State::kAssigned || state_ == State::kRevoking);
  }
  std::optional<Assignment> TakeAssignment() override;
  absl::StatusOr<std::vector<Place>> CommittedPlaces(const Assignment& assignment,
                                                     const std::atomic<bool>& cancel) override;
  absl::Status Locate(Place* place) override;
  absl::Status Read(const std::vector<Place>& places) override;
  std::vector<ShardPosition> shard_positions() const override;
  bool sources_ended() const override;

 private:
  // A partition of a source's topic, or of the exchange.
  struct Partition {
    bool of_shard = false;
    uint16_t id = 0;  // PartitionId or ShardId
    size_t source = 0;
    std::string topic;
    int32_t number = 0;
    bool assigned = false;
    bool read = false;
    int64_t next_offset = -1;
    bool fresh = false;  // the next record is the first after an assignment
    bool at_end = false;
    bool idle = false;
    bool held = false;    // by Hold
    bool paused = false;  // in the library
    bool ended = false;
    int64_t end_offset = -1;
    int64_t eof_offset = -1;    // where the fetcher has met the end
    int64_t timestamp_ms = -1;  // of the newest record
    int64_t last_record_ns = 0;
  };
  enum class State { kOutside, kJoining, kAssigned, kRevoking };

  static void OnRebalance(rd_kafka_t* handle, rd_kafka_resp_err_t error,
                          rd_kafka_topic_partition_list_t* list, void* opaque) {
    auto* self = static_cast<KafkaGroupSource*>(opaque);
    if (self->closed_)
      rd_kafka_assign(handle, nullptr);  // leaving: on the closing thread
    else
      self->Rebalance(error, list);
  }
  void Rebalance(rd_kafka_resp_err_t error, rd_kafka_topic_partition_list_t* list);
  absl::Status AddTopic(const std::string& topic, std::optional<size_t> source);
  absl::Status AssignRead();
  const Partition* PartitionOf(bool of_shard, uint16_t id) const;
  Partition* Find(const rd_kafka_message_t& message);
  absl::Status Take(rd_kafka_message_t* message, KafkaMessages* messages, Batch* batch);
  absl::Status TakeRecord(Partition& partition, const rd_kafka_message_t& message, Batch* batch);
  void End(Partition& partition, Batch* batch);
  void MarkIdle(Batch* batch);
  void WakeFetcher();
  absl::Status Pause(bool anew);

  const Config& config_;
  const Clock& clock_;
  const std::string exchange_;
  KafkaHandle handle_;
  KafkaQueue queue_;
  std::vector<std::string> topics_;
  std::vector<Partition> partitions_;
  std::map<std::pair<std::string, int32_t>, size_t> index_;
  Partition* last_found_ = nullptr;
  State state_ = State::kOutside;
  bool new_assignment_ = false;  // not taken yet
  bool reading_ = false;         // since Read; not between a release and the next Read
  bool unknown_ = false;         // a partition that was not there when we opened
  bool lost_ = false;            // the group dropped us: what was read belongs to others
  bool paused_ = false;
  bool closed_ = false;
  uint64_t gaps_ = 0;
  int64_t now_ns_ = 0;
  FetchWaker waker_;
};

absl::Status KafkaGroupSource::AddTopic(const std::string& topic, std::optional<size_t> source) {
  if (std::find(topics_.begin(), topics_.end(), topic) != topics_.end()) return absl::OkStatus();
  BONGSU_ASSIGN_OR_RETURN(const int count, TopicPartitions(handle_.get(), topic));
  topics_.push_back(topic);
  for (int32_t number = 0; number < count; ++number) {
    if (index_.count({topic, number}) > 0) continue;
    Partition partition;
    partition.of_shard = !source.has_value();
    partition.id = static_cast<uint16_t>(number);  // a source's gets its own in Bind
    partition.source = source.value_or(0);
    partition.topic = topic;
    partition.number = number;
    index_[{topic, number}] = partitions_.size();
    partitions_.push_back(std::move(partition));
  }
  last_found_ = nullptr;
  return absl::OkStatus();
}

absl::Status KafkaGroupSource::Open(PartitionTable& partitions) {
  BONGSU_ASSIGN_OR_RETURN(handle_, MakeConsumer(config_, this, OnRebalance));
  queue_.reset(rd_kafka_queue_get_consumer(handle_.get()));
  std::string failures;
  absl::StatusCode code = absl::StatusCode::kOk;
  const auto add = [&](const std::string& topic, std::optional<size_t> source) {
    const absl::Status status = AddTopic(topic, source);
    if (status.ok()) return;
    if (code == absl::StatusCode::kOk) code = status.code();
    failures += (failures.empty() ? "" : "\n") +
                (source.has_value() ? fmt::format("source '{}': ", config_.sources[*source].name)
                                    : std::string("exchange: ")) +
                std::string(status.message());
  };
  for (size_t i = 0; i < config_.sources.size() && code != absl::StatusCode::kUnavailable; ++i) {
    for (const std::string& topic : config_.sources[i].topics) add(topic, i);
  }
  if (code != absl::StatusCode::kUnavailable) add(exchange_, std::nullopt);
  return failures.empty() ? Bind(partitions) : absl::Status(code, failures);
}

// Also after a recovery, which may be because a topic has more partitions now.
absl::Status KafkaGroupSource::Bind(PartitionTable& partitions) {
  const std::vector<std::string> known = std::exchange(topics_, {});
  for (const std::string& topic : known) {
    const auto it = std::find_if(partitions_.begin(), partitions_.end(),
                                 [&](const Partition& one) { return one.topic == topic; });
    BONGSU_RETURN_IF_ERROR(
        AddTopic(topic, it->of_shard ? std::nullopt : std::optional<size_t>(it->source)));
  }
  for (Partition& partition : partitions_) {
    if (partition.of_shard) continue;
    PartitionInfo info;
    info.source = config_.sources[partition.source].name;
    info.source_index = static_cast<uint16_t>(partition.source);
    info.topic = partition.topic;
    info.partition = partition.number;
    info.identity = info.source + std::string(1, '\0') + info.topic + std::string(1, '\0') +
                    std::to_string(info.partition);
    BONGSU_ASSIGN_OR_RETURN(partition.id, partitions.Add(std::move(info)));
  }
  return absl::OkStatus();
}

// Joins, and does not wait: what the group gives comes with a poll. After an Aborted, what it has
// given already is handed out again.
absl::Status KafkaGroupSource::Own(const std::atomic<bool>&) {
  for (Partition& partition : partitions_) partition.read = false;
  reading_ = false;
  if (state_ == State::kRevoking) BONGSU_RETURN_IF_ERROR(Release());
  lost_ = false;
  unknown_ = false;
  paused_ = false;
  if (state_ == State::kAssigned) {
    new_assignment_ = true;
    return AssignRead();  // nothing
  }
  if (state_ == State::kJoining) return absl::OkStatus();
  const KafkaList list(rd_kafka_topic_partition_list_new(static_cast<int>(topics_.size())));
  for (const std::string& topic : topics_)
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), RD_KAFKA_PARTITION_UA);
  BONGSU_RETURN_IF_ERROR(
      KafkaError(rd_kafka_subscribe(handle_.get(), list.get()), "cannot join the group"));
  state_ = State::kJoining;
  return absl::OkStatus();
}

// Within rd_kafka_consumer_poll, on our thread.
void KafkaGroupSource::Rebalance(rd_kafka_resp_err_t error, rd_kafka_topic_partition_list_t* list) {
  if (error != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
    if (rd_kafka_assignment_lost(handle_.get()) != 0) lost_ = true;
    new_assignment_ = false;
    if (lost_ || state_ != State::kAssigned) {
      reading_ = false;
      rd_kafka_assign(handle_.get(), nullptr);
      state_ = State::kJoining;
      return;
    }
    // librdkafka waits for rd_kafka_assign, which Release calls.
    state_ = State::kRevoking;
    return;
  }
  for (Partition& partition : partitions_) partition.assigned = false;
  for (int i = 0; i < list->cnt; ++i) {
    const auto it = index_.find({list->elems[i].topic, list->elems[i].partition});
    if (it == index_.end())
      unknown_ = true;
    else
      partitions_[it->second].assigned = true;
  }
  reading_ = false;
  // Nothing is fetched before Read says from where.
  const KafkaList none(rd_kafka_topic_partition_list_new(0));
  rd_kafka_assign(handle_.get(), none.get());
  state_ = State::kAssigned;
  new_assignment_ = true;
}

absl::Status KafkaGroupSource::Release() {
  if (state_ != State::kRevoking) return absl::OkStatus();
  state_ = State::kJoining;
  reading_ = false;
  return KafkaError(rd_kafka_assign(handle_.get(), nullptr), "cannot give the partitions back");
}

std::optional<Assignment> KafkaGroupSource::TakeAssignment() {
  if (!new_assignment_) return std::nullopt;
  new_assignment_ = false;
  Assignment assignment;
  for (const Partition& partition : partitions_) {
    if (!partition.assigned) continue;
    if (partition.of_shard)
      assignment.shards.push_back(partition.id);
    else
      assignment.partitions.push_back(partition.id);
  }
  return assignment;
}

const KafkaGroupSource::Partition* KafkaGroupSource::PartitionOf(bool of_shard, uint16_t id) const {
  for (const Partition& partition : partitions_) {
    if (partition.of_shard == of_shard && partition.id == id) return &partition;
  }
  return nullptr;
}

// Topic, number and id of a partition never change once the source is bound.
absl::StatusOr<std::vector<Place>> KafkaGroupSource::CommittedPlaces(
    const Assignment& assignment, const std::atomic<bool>& cancel) {
  std::vector<Place> places;
  std::vector<const Partition*> asked;
  for (const PartitionId id : assignment.partitions) asked.push_back(PartitionOf(false, id));
  for (const ShardId id : assignment.shards) asked.push_back(PartitionOf(true, id));
  if (asked.empty()) return places;
  const KafkaList list(rd_kafka_topic_partition_list_new(static_cast<int>(asked.size())));
  for (const Partition* one : asked)
    rd_kafka_topic_partition_list_add(list.get(), one->topic.c_str(), one->number);
  int64_t remind = clock_.MonotonicNs() + kRemindNs;
  while (true) {
    const rd_kafka_resp_err_t error =
        rd_kafka_committed(handle_.get(), list.get(), kCommittedTimeoutMs);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) break;
    const absl::Status status = KafkaError(error, "cannot read the group's committed offsets");
    if (!absl::IsUnavailable(status)) return status;
    if (cancel.load()) return absl::CancelledError("no longer wanted");
    if (clock_.MonotonicNs() >= remind) {
      remind = clock_.MonotonicNs() + kRemindNs;
      LogInfo(
          fmt::format("waiting for the group's offsets: another instance's transaction is "
                      "still open, or a broker is away ({})",
                      rd_kafka_err2name(error)));
    }
  }
  for (size_t i = 0; i < asked.size(); ++i) {
    const rd_kafka_topic_partition_t* one =
        rd_kafka_topic_partition_list_find(list.get(), asked[i]->topic.c_str(), asked[i]->number);
    BONGSU_CHECK(one != nullptr);
    if (one->err != RD_KAFKA_RESP_ERR_NO_ERROR)
      return KafkaError(one->err, "cannot read the group's committed offsets");
    Place place;
    place.of_shard = asked[i]->of_shard;
    place.id = asked[i]->id;
    place.committed = one->offset >= 0;
    place.next_offset = place.committed ? one->offset : -1;
    if (place.committed)
      place.metadata.assign(static_cast<const char*>(one->metadata), one->metadata_size);
    places.push_back(std::move(place));
  }
  return places;
}

absl::Status KafkaGroupSource::Locate(Place* place) {
  const Partition& partition = *PartitionOf(place->of_shard, place->id);
  int64_t low = 0;
  int64_t high = 0;
  const std::string name = fmt::format("{}[{}]", partition.topic, partition.number);
  BONGSU_RETURN_IF_ERROR(
      PartitionEnds(handle_.get(), partition.topic, partition.number, &low, &high));
  if (!place->committed) {
    const auto reset = config_.kafka.find("auto.offset.reset");
    const bool latest =
        !place->of_shard && reset != config_.kafka.end() &&
        (reset->second == "latest" || reset->second == "largest" || reset->second == "end");
    place->next_offset = latest ? high : low;
    if (place->of_shard && low > 0) {
      return absl::FailedPreconditionError(
          fmt::format("{} begins at offset {}, and the group has no offset for it: the group's "
                      "offsets have expired or were deleted. Restore them, or start anew with "
                      "another application name",
                      name, low));
    }
  } else if (place->next_offset < low) {
    return absl::FailedPreconditionError(
        fmt::format("{} begins at offset {}, but the group stands at {}: the records between are "
                    "gone from the topic. Longer retention prevents this; to go on without them, "
                    "start with another application name",
                    name, low, place->next_offset));
  } else if (place->next_offset > high) {
    return absl::FailedPreconditionError(
        fmt::format("{} ends at offset {}, but the group stands at {}: the topic was made anew or "
                    "truncated. Start with another application name",
                    name, high, place->next_offset));
  }
  if (!place->of_shard && config_.sources[partition.source].until == Until::kEnd)
    place->end_offset = high;
  return absl::OkStatus();
}

absl::Status KafkaGroupSource::Read(const std::vector<Place>& places) {
  for (Partition& partition : partitions_) partition.read = false;
  for (const Place& place : places) {
    auto* partition = const_cast<Partition*>(PartitionOf(place.of_shard, place.id));
    BONGSU_CHECK_MSG(partition != nullptr && partition->assigned, "reading what is not ours");
    partition->read = true;
    partition->next_offset = place.next_offset;
    partition->end_offset = place.end_offset;
    partition->fresh = true;
    // Its end is to be seen again: only then can it be idle.
    partition->at_end = partition->ended = partition->idle = false;
    partition->last_record_ns = clock_.MonotonicNs();
  }
  reading_ = true;
  return AssignRead();
}

absl::Status KafkaGroupSource::AssignRead() {
  const KafkaList list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions_.size())));
  for (const Partition& partition : partitions_) {
    if (!partition.read) continue;
    rd_kafka_topic_partition_list_add(list.get(), partition.topic.c_str(), partition.number)
        ->offset = partition.next_offset;
  }
  BONGSU_RETURN_IF_ERROR(
      KafkaError(rd_kafka_assign(handle_.get(), list.get()), "cannot take the partitions"));
  return Pause(/*anew=*/true);
}

// On the thread that serves the rebalance callbacks: nothing changes between the two looks.
absl::StatusOr<std::shared_ptr<const Membership>> KafkaGroupSource::GetMembership() {
  if (!member()) {
    return absl::AbortedError(
        "the group took our partitions back: what was read since the last commit is dropped, and "
        "whoever has them now reads it again");
  }
  return MembershipOf(handle_.get());
}

KafkaGroupSource::Partition* KafkaGroupSource::Find(const rd_kafka_message_t& message) {
  const char* topic = rd_kafka_topic_name(message.rkt);
  if (last_found_ != nullptr && last_found_->number == message.partition &&
      last_found_->topic == topic)
    return last_found_;
  const auto it = index_.find({topic, message.partition});
  if (it == index_.end()) return nullptr;
  last_found_ = &partitions_[it->second];
  return last_found_;
}

absl::Status KafkaGroupSource::Take(rd_kafka_message_t* message, KafkaMessages* messages,
                                    Batch* batch) {
  messages->messages.push_back(message);  // freed with the batch, whatever it is
  Partition* partition = message->rkt != nullptr ? Find(*message) : nullptr;
  if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && partition != nullptr &&
        partition->read && reading_) {
      partition->at_end = true;
      partition->eof_offset = message->offset;
      if (partition->end_offset >= 0 && message->offset >= partition->end_offset)
        End(*partition, batch);
    }
    return ConsumerError(handle_.get(), *message);
  }
  // What was released counts from its committed offset for whoever gets it.
  if (partition == nullptr || !reading_ || !partition->read || partition->ended)
    return absl::OkStatus();
  return TakeRecord(*partition, *message, batch);
}

absl::Status KafkaGroupSource::TakeRecord(Partition& partition, const rd_kafka_message_t& message,
                                          Batch* batch) {
  if (message.offset < partition.next_offset) {
    if (partition.fresh)
      return absl::OkStatus();  // of a fetch before the seek: the one asked for will come
    return absl::InternalError(fmt::format("{}[{}]: offset {} came after {}", partition.topic,
                                           partition.number, message.offset,
                                           partition.next_offset - 1));
  }
  gaps_ += static_cast<uint64_t>(message.offset - partition.next_offset);
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

void KafkaGroupSource::End(Partition& partition, Batch* batch) {
  if (partition.ended) return;
  partition.ended = true;
  batch->marks.push_back({PartitionMark::Kind::kEnded, partition.id, 0});
}

void KafkaGroupSource::MarkIdle(Batch* batch) {
  if (paused_ || !reading_ || state_ != State::kAssigned) return;
  const int64_t now = clock_.MonotonicNs();
  for (Partition& partition : partitions_) {
    if (partition.of_shard || !partition.read) continue;
    // Where nothing started at all: an empty topic that ends where it begins.
    if (partition.end_offset >= 0 && partition.next_offset >= partition.end_offset)
      End(partition, batch);
    if (!partition.at_end || partition.idle || partition.held || partition.ended ||
        now - partition.last_record_ns < config_.sources[partition.source].idle_timeout)
      continue;
    partition.idle = true;
    batch->marks.push_back({PartitionMark::Kind::kIdle, partition.id, 0});
  }
}

void KafkaGroupSource::WakeFetcher() {
  if (state_ != State::kAssigned || paused_) return;
  waker_.Wake(
      handle_.get(), queue_.get(), clock_.MonotonicNs(), partitions_.size(),
      [this](size_t i) -> std::optional<FetchWaker::Place> {
        const Partition& partition = partitions_[i];
        if (!partition.read || partition.at_end || partition.ended || partition.held)
          return std::nullopt;
        return FetchWaker::Place{partition.topic.c_str(), partition.number, partition.next_offset};
      });
}

absl::Status KafkaGroupSource::Poll(DurationNs wait, Batch* batch) {
  if (lost_) {
    return absl::AbortedError(
        "the group has dropped us: others may have read on, so that memory counts for nothing");
  }
  if (unknown_) {
    return absl::AbortedError("a topic has partitions that it did not have before");
  }
  if (state_ == State::kRevoking) return absl::OkStatus();
  WakeFetcher();
  now_ns_ = clock_.MonotonicNs();
  auto messages = std::make_unique<KafkaMessages>();
  absl::Status status;
  size_t bytes = 0;
  int wait_ms = static_cast<int>(wait / kMillisecondNs);
  while (status.ok() && batch->records.size() < kBatchRecordsMax && bytes < kBatchBytesMax) {
    rd_kafka_message_t* message = rd_kafka_consumer_poll(handle_.get(), wait_ms);
    // What came before a revocation is good: it is handed out, and committed before the release.
    if (message == nullptr) break;
    if (wait_ms > 0) now_ns_ = clock_.MonotonicNs();
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) bytes += message->len;
    wait_ms = 0;
    status = Take(message, messages.get(), batch);
    if (state_ == State::kRevoking) break;
  }
  MarkIdle(batch);
  batch->holder = std::move(messages);
  return status;
}

std::vector<Position> KafkaGroupSource::positions() const {
  std::vector<Position> positions;
  for (const Partition& partition : partitions_) {
    if (partition.of_shard || !partition.read) continue;
    positions.push_back({partition.id, partition.next_offset, partition.ended});
  }
  return positions;
}

std::vector<SourceProgress> KafkaGroupSource::Progress() const {
  std::vector<SourceProgress> progress;
  for (const Partition& partition : partitions_) {
    if (partition.of_shard || !partition.read) continue;
    progress.push_back({partition.id, std::max(partition.next_offset, partition.eof_offset),
                        partition.timestamp_ms, !partition.at_end && !partition.ended});
  }
  return progress;
}

std::vector<ShardPosition> KafkaGroupSource::shard_positions() const {
  std::vector<ShardPosition> positions;
  for (const Partition& partition : partitions_) {
    if (partition.of_shard && partition.read)
      positions.push_back({partition.id, partition.next_offset});
  }
  return positions;
}

bool KafkaGroupSource::sources_ended() const {
  return std::all_of(partitions_.begin(), partitions_.end(), [](const Partition& partition) {
    return partition.of_shard || !partition.assigned || partition.ended;
  });
}

// All partitions while the engine cannot take more, else those that are held. `anew`: they were
// just assigned, and the library may have forgotten.
absl::Status KafkaGroupSource::Pause(bool anew) {
  if (state_ != State::kAssigned || !reading_) return absl::OkStatus();  // with the next assignment
  std::vector<PauseWish> wishes;
  for (Partition& partition : partitions_) {
    if (!partition.read) continue;
    const bool wanted = paused_ || partition.held;
    if (anew && wanted) partition.paused = false;
    // What came meanwhile has not been fetched: it is not quiet yet.
    if (partition.paused && !wanted) partition.last_record_ns = clock_.MonotonicNs();
    wishes.push_back({partition.topic.c_str(), partition.number, wanted, &partition.paused});
  }
  return ApplyPauses(handle_.get(), wishes);
}

absl::Status KafkaGroupSource::SetBackpressure(bool on) {
  if (on == paused_) return absl::OkStatus();
  paused_ = on;
  return Pause(/*anew=*/false);
}

absl::Status KafkaGroupSource::Hold(const std::vector<PartitionId>& partitions) {
  for (Partition& partition : partitions_) {
    partition.held = !partition.of_shard &&
                     std::binary_search(partitions.begin(), partitions.end(), partition.id);
  }
  return Pause(/*anew=*/false);
}

absl::Status KafkaGroupSource::Close() {
  if (closed_ || handle_ == nullptr) return absl::OkStatus();
  closed_ = true;
  queue_.reset();
  CloseConsumer(std::move(handle_));
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<SharedSource> MakeKafkaGroupSource(const Config& config, const Clock& clock) {
  return std::make_unique<KafkaGroupSource>(config, clock);
}

}  // namespace bongsu
