#include "pipeline/kafka/kafka_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "pipeline/kafka/kafka_consumer.h"
#include "pipeline/kafka/kafka_transaction.h"
#include "pipeline/logging.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr DurationNs kAskAgainNs = kSecondNs;  // for the group's other member
constexpr int kOwnPollMs = 100;
constexpr DurationNs kRemindNs = 30 * kSecondNs;  // that we are waiting
class KafkaSource : public RecordSource {
 public:
  KafkaSource(const Config& config, const Clock& clock) : config_(config), clock_(clock) {}
  ~KafkaSource() override { (void)Close(); }

  absl::Status Open(PartitionTable& partitions) override;
  absl::Status Bind(PartitionTable& partitions) override;
  absl::Status Own(const std::atomic<bool>& stop) override;
  absl::Status KeepAlive() override;
  absl::StatusOr<EpochId> CommittedEpoch() override;
  absl::StatusOr<std::shared_ptr<const Membership>> GetMembership() override;
  absl::Status Start(const std::vector<Position>& positions) override;
  absl::Status Poll(DurationNs wait, Batch* batch) override;
  bool finished() const override { return started_ && unfinished_ == 0; }
  std::vector<Position> positions() const override;
  std::vector<SourceProgress> Progress() const override;
  absl::Status Committed(const std::vector<Position>& positions) override;
  absl::Status SetBackpressure(bool on) override;
  absl::Status Hold(const std::vector<PartitionId>& partitions) override;
  absl::Status Close() override;

 private:
  struct Partition {
    PartitionId id = 0;
    size_t source = 0;
    std::string topic;
    int32_t number = 0;
    int64_t next_offset = -1;  // of the next record to hand out; -1: not placed yet
    bool fresh = false;        // the next record is the first after an assignment
    bool at_end = false;
    bool idle = false;
    bool held = false;           // by Hold
    bool paused = false;         // in the library
    bool ended = false;          // until: end
    int64_t end_offset = -1;     // until: end
    int64_t last_record_ns = 0;  // monotonic
    int64_t eof_offset = -1;     // where its end was seen: behind markers, too
    int64_t timestamp_ms = -1;   // of the newest record
  };
  enum class State { kWaiting, kJoining, kOwning };

  static void OnRebalance(rd_kafka_t* handle, rd_kafka_resp_err_t error,
                          rd_kafka_topic_partition_list_t* list, void* opaque) {
    auto* self = static_cast<KafkaSource*>(opaque);
    if (self->closed_)
      rd_kafka_assign(handle, nullptr);  // leaving: on the closing thread
    else
      self->Rebalance(error, list);
  }
  void Rebalance(rd_kafka_resp_err_t error, rd_kafka_topic_partition_list_t* list);
  absl::Status Place(Partition& partition);
  absl::Status PlaceAll();
  absl::Status CheckCommitted();
  absl::StatusOr<KafkaList> StableOffsets();
  absl::Status Join();
  bool OthersInGroup(std::string* who);
  void LeaveToTheOther();
  absl::Status AssignAll();
  absl::Status Serve(int wait_ms);
  KafkaList AllPartitions(bool with_offsets) const;
  Partition* Find(const rd_kafka_message_t& message);
  absl::Status Take(rd_kafka_message_t* message, KafkaMessages* messages, Batch* batch);
  void End(Partition& partition, Batch* batch);
  void MarkIdle(Batch* batch);
  void WakeFetcher();
  absl::Status Pause(bool anew);

  const Config& config_;
  const Clock& clock_;
  KafkaHandle handle_;
  KafkaQueue queue_;  // fetched and not yet polled
  std::vector<std::string> topics_;
  std::vector<Partition> partitions_;
  std::map<std::pair<std::string, int32_t>, size_t> index_;
  const Partition* last_found_ = nullptr;
  State state_ = State::kWaiting;
  bool contended_ = false;  // assigned a part only, and not the one that decides
  bool paused_ = false;
  bool started_ = false;  // reading has begun; before that, owning means an empty assignment
  bool lost_ = false;     // a partition was taken from us since Start
  bool closed_ = false;
  size_t unfinished_ = 0;
  uint64_t gaps_ = 0;  // offsets skipped by compaction or transactions
  int64_t ask_again_ns_ = 0;
  int64_t remind_ns_ = 0;
  int64_t now_ns_ = 0;  // monotonic, as of this poll
  FetchWaker waker_;
};

absl::Status KafkaSource::Open(PartitionTable& partitions) {
  BONGSU_ASSIGN_OR_RETURN(handle_, MakeConsumer(config_, this, OnRebalance));
  queue_.reset(rd_kafka_queue_get_consumer(handle_.get()));
  std::string failures;
  absl::StatusCode code = absl::StatusCode::kOk;
  for (size_t i = 0; i < config_.sources.size(); ++i) {
    for (const std::string& topic : config_.sources[i].topics) {
      if (std::find(topics_.begin(), topics_.end(), topic) != topics_.end()) continue;
      const absl::StatusOr<int> count = TopicPartitions(handle_.get(), topic);
      if (!count.ok()) {
        if (code == absl::StatusCode::kOk) code = count.status().code();
        failures +=
            (failures.empty() ? "" : "\n") + fmt::format("source '{}': {}", config_.sources[i].name,
                                                         std::string(count.status().message()));
        if (absl::IsUnavailable(count.status()))
          return absl::Status(code, failures);  // the others would wait as long
        continue;
      }
      topics_.push_back(topic);
      for (int32_t number = 0; number < *count; ++number) {
        Partition partition;
        partition.source = i;
        partition.topic = topic;
        partition.number = number;
        index_[{topic, number}] = partitions_.size();
        partitions_.push_back(std::move(partition));
      }
    }
  }
  return failures.empty() ? Bind(partitions) : absl::Status(code, failures);
}

absl::Status KafkaSource::Bind(PartitionTable& partitions) {
  for (Partition& partition : partitions_) {
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

// Where reading of a partition begins, checked against its log.
absl::Status KafkaSource::Place(Partition& partition) {
  int64_t low = 0;
  int64_t high = 0;
  const std::string name = fmt::format("{}[{}]", partition.topic, partition.number);
  BONGSU_RETURN_IF_ERROR(
      PartitionEnds(handle_.get(), partition.topic, partition.number, &low, &high));
  if (partition.next_offset < 0) {
    const auto reset = config_.kafka.find("auto.offset.reset");
    const bool latest =
        reset != config_.kafka.end() &&
        (reset->second == "latest" || reset->second == "largest" || reset->second == "end");
    partition.next_offset = latest ? high : low;
  } else {
    if (partition.next_offset < low) {
      return absl::FailedPreconditionError(fmt::format(
          "{} begins at offset {}, but the state stands at {}: the records between are gone from "
          "the topic. Longer retention "
          "prevents this; to go on without them, start with another state.path and application",
          name, low, partition.next_offset));
    }
    if (partition.next_offset > high) {
      return absl::FailedPreconditionError(
          fmt::format("{} ends at offset {}, but the state stands at {}: the topic was made anew "
                      "or truncated. Start with another state.path "
                      "and application",
                      name, high, partition.next_offset));
    }
  }
  if (config_.sources[partition.source].until == Until::kEnd) partition.end_offset = high;
  return absl::OkStatus();
}

absl::StatusOr<KafkaList> KafkaSource::StableOffsets() {
  KafkaList list = AllPartitions(/*with_offsets=*/false);
  BONGSU_RETURN_IF_ERROR(FetchStableOffsets(handle_.get(), clock_, list.get()));
  return list;
}

absl::StatusOr<EpochId> KafkaSource::CommittedEpoch() {
  BONGSU_ASSIGN_OR_RETURN(const KafkaList list, StableOffsets());
  EpochId epoch = 0;
  for (int i = 0; i < list->cnt; ++i) {
    const rd_kafka_topic_partition_t& one = list->elems[i];
    if (one.offset < 0) continue;
    epoch = std::max(epoch,
                     EpochOfMetadata({static_cast<const char*>(one.metadata), one.metadata_size}));
  }
  return epoch;
}

absl::Status KafkaSource::CheckCommitted() {
  BONGSU_ASSIGN_OR_RETURN(const KafkaList list, StableOffsets());
  for (int i = 0; i < list->cnt; ++i) {
    if (list->elems[i].offset < 0) continue;
    return absl::FailedPreconditionError(
        fmt::format("group '{}' has committed offsets, but the state in {} is empty: the windows "
                    "that were open are not here. Use the state "
                    "folder of the earlier run, or start anew with another application name",
                    config_.application, config_.state.path));
  }
  return absl::OkStatus();
}

// Where reading begins, checked against the logs, which nobody else changes the meaning of now.
absl::Status KafkaSource::Start(const std::vector<Position>& positions) {
  unfinished_ = 0;
  for (Partition& partition : partitions_) {
    partition.next_offset = -1;
    partition.idle = partition.ended = false;
    for (const Position& position : positions) {
      if (position.partition != partition.id) continue;
      partition.next_offset = position.next_offset;
      // A bounded run that had ended stays ended, whatever came to the topic since.
      partition.ended = position.ended && config_.sources[partition.source].until == Until::kEnd;
    }
    if (!partition.ended) ++unfinished_;
  }
  BONGSU_RETURN_IF_ERROR(PlaceAll());
  started_ = true;
  lost_ = state_ != State::kOwning;
  return state_ == State::kOwning ? AssignAll() : absl::OkStatus();
}

absl::Status KafkaSource::PlaceAll() {
  const bool have_positions =
      std::any_of(partitions_.begin(), partitions_.end(),
                  [](const Partition& partition) { return partition.next_offset >= 0; });
  if (!have_positions) BONGSU_RETURN_IF_ERROR(CheckCommitted());
  for (Partition& partition : partitions_) {
    BONGSU_RETURN_IF_ERROR(Place(partition));
    partition.last_record_ns = clock_.MonotonicNs();
  }
  return absl::OkStatus();
}

// Another member, alive or not yet known to be dead. Ourselves of before (same static id) do not
// count.
bool KafkaSource::OthersInGroup(std::string* who) {
  rd_kafka_queue_t* queue = rd_kafka_queue_new(handle_.get());
  const char* group = config_.application.c_str();
  rd_kafka_DescribeConsumerGroups(handle_.get(), &group, 1, nullptr, queue);
  rd_kafka_event_t* event = rd_kafka_queue_poll(queue, kKafkaRequestTimeoutMs);
  bool others = false;
  const rd_kafka_DescribeConsumerGroups_result_t* result =
      event == nullptr ? nullptr : rd_kafka_event_DescribeConsumerGroups_result(event);
  size_t groups = 0;
  const rd_kafka_ConsumerGroupDescription_t** described =
      result == nullptr ? nullptr : rd_kafka_DescribeConsumerGroups_result_groups(result, &groups);
  for (size_t i = 0; i < groups; ++i) {
    for (size_t j = 0; j < rd_kafka_ConsumerGroupDescription_member_count(described[i]); ++j) {
      const rd_kafka_MemberDescription_t* member =
          rd_kafka_ConsumerGroupDescription_member(described[i], j);
      const char* instance = rd_kafka_MemberDescription_group_instance_id(member);
      if (instance != nullptr && config_.instance == instance) continue;
      others = true;
      const char* client = rd_kafka_MemberDescription_client_id(member);
      *who = instance != nullptr ? instance : client != nullptr ? client : "";
    }
  }
  if (event != nullptr) rd_kafka_event_destroy(event);
  rd_kafka_queue_destroy(queue);
  return others;
}

absl::Status KafkaSource::Join() {
  const int64_t now = clock_.MonotonicNs();
  if (now < ask_again_ns_) return absl::OkStatus();
  ask_again_ns_ = now + kAskAgainNs;
  std::string who;
  if (OthersInGroup(&who)) {
    if (now >= remind_ns_) {
      remind_ns_ = now + kRemindNs;
      LogInfo(
          fmt::format("instance '{}' of application '{}' is running: waiting, and reading nothing",
                      who, config_.application));
    }
    return absl::OkStatus();
  }
  KafkaList list(rd_kafka_topic_partition_list_new(static_cast<int>(topics_.size())));
  for (const std::string& topic : topics_)
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), RD_KAFKA_PARTITION_UA);
  BONGSU_RETURN_IF_ERROR(
      KafkaError(rd_kafka_subscribe(handle_.get(), list.get()), "cannot join the group"));
  state_ = State::kJoining;
  return absl::OkStatus();
}

KafkaList KafkaSource::AllPartitions(bool with_offsets) const {
  KafkaList list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions_.size())));
  for (const Partition& partition : partitions_) {
    auto* one =
        rd_kafka_topic_partition_list_add(list.get(), partition.topic.c_str(), partition.number);
    if (with_offsets) one->offset = partition.next_offset;
  }
  return list;
}

// Within rd_kafka_consumer_poll, on our thread.
void KafkaSource::Rebalance(rd_kafka_resp_err_t error, rd_kafka_topic_partition_list_t* list) {
  if (error != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
    if (state_ == State::kOwning)
      LogWarning("the group took our partitions back: waiting for all of them");
    state_ = State::kJoining;
    lost_ = true;
    rd_kafka_assign(handle_.get(), nullptr);
    return;
  }
  size_t ours = 0;
  bool first = false;
  for (int i = 0; i < list->cnt; ++i) {
    ours += index_.count({list->elems[i].topic, list->elems[i].partition});
    first = first || (list->elems[i].topic == topics_.front() && list->elems[i].partition == 0);
  }
  if (ours < partitions_.size()) {
    contended_ = !first;
    rd_kafka_assign(handle_.get(), nullptr);
    return;
  }
  state_ = State::kOwning;
  if (!started_) {
    // Ours, but nothing is fetched before Start knows from where.
    const KafkaList none(rd_kafka_topic_partition_list_new(0));
    rd_kafka_assign(handle_.get(), none.get());
    return;
  }
  const absl::Status status = AssignAll();
  if (!status.ok()) LogWarning(std::string(status.message()));  // and the next poll says it again
}

absl::Status KafkaSource::AssignAll() {
  for (Partition& partition : partitions_) {
    partition.fresh = true;
    partition.at_end = false;
    partition.last_record_ns = clock_.MonotonicNs();
  }
  const KafkaList all = AllPartitions(/*with_offsets=*/true);
  BONGSU_RETURN_IF_ERROR(
      KafkaError(rd_kafka_assign(handle_.get(), all.get()), "cannot take the partitions"));
  BONGSU_RETURN_IF_ERROR(Pause(/*anew=*/true));
  LogInfo(fmt::format("reading {} partitions of {} topics", partitions_.size(), topics_.size()));
  return absl::OkStatus();
}

// Two joined at the same moment, and the other one holds the partition that decides.
void KafkaSource::LeaveToTheOther() {
  if (!contended_) return;
  contended_ = false;
  rd_kafka_unsubscribe(handle_.get());
  state_ = State::kWaiting;
  ask_again_ns_ = clock_.MonotonicNs() + kAskAgainNs;
  remind_ns_ = 0;
}

absl::Status KafkaSource::Own(const std::atomic<bool>& stop) {
  started_ = false;
  if (state_ == State::kOwning) {  // again, after an Aborted: nothing is read until Start
    const KafkaList none(rd_kafka_topic_partition_list_new(0));
    BONGSU_RETURN_IF_ERROR(
        KafkaError(rd_kafka_assign(handle_.get(), none.get()), "cannot give up the partitions"));
  }
  while (state_ != State::kOwning) {
    if (stop.load()) return absl::CancelledError("stopped while waiting for the partitions");
    if (state_ == State::kWaiting) BONGSU_RETURN_IF_ERROR(Join());
    BONGSU_RETURN_IF_ERROR(Serve(kOwnPollMs));
    LeaveToTheOther();
  }
  return absl::OkStatus();
}

// Callbacks and errors, without taking records.
absl::Status KafkaSource::Serve(int wait_ms) {
  rd_kafka_message_t* message = rd_kafka_consumer_poll(handle_.get(), wait_ms);
  if (message == nullptr) return absl::OkStatus();
  const absl::Status status = message->err == RD_KAFKA_RESP_ERR_NO_ERROR
                                  ? absl::OkStatus()
                                  : ConsumerError(handle_.get(), *message);
  rd_kafka_message_destroy(message);
  return status;
}

absl::Status KafkaSource::KeepAlive() { return Serve(0); }

// On the thread that serves the rebalance callbacks: nothing changes between the two looks.
absl::StatusOr<std::shared_ptr<const Membership>> KafkaSource::GetMembership() {
  if (lost_ || state_ != State::kOwning) {
    return absl::AbortedError(
        "the group took our partitions back: what was read since the last "
        "commit is dropped and read again");
  }
  return MembershipOf(handle_.get());
}

KafkaSource::Partition* KafkaSource::Find(const rd_kafka_message_t& message) {
  const char* topic = rd_kafka_topic_name(message.rkt);
  // Messages come in runs of one partition.
  if (last_found_ != nullptr && last_found_->number == message.partition &&
      last_found_->topic == topic) {
    return const_cast<Partition*>(last_found_);
  }
  const auto it = index_.find({topic, message.partition});
  if (it == index_.end()) return nullptr;
  last_found_ = &partitions_[it->second];
  return &partitions_[it->second];
}

absl::Status KafkaSource::Take(rd_kafka_message_t* message, KafkaMessages* messages, Batch* batch) {
  messages->messages.push_back(message);  // freed with the batch, whatever it is
  Partition* partition = message->rkt != nullptr ? Find(*message) : nullptr;
  if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && partition != nullptr) {
      partition->at_end = true;
      partition->eof_offset = message->offset;
      if (partition->end_offset >= 0 && message->offset >= partition->end_offset)
        End(*partition, batch);
    }
    return ConsumerError(handle_.get(), *message);
  }
  if (partition == nullptr || state_ != State::kOwning || partition->ended) return absl::OkStatus();
  if (message->offset < partition->next_offset) {
    if (partition->fresh)
      return absl::OkStatus();  // of a fetch before the seek: the one asked for will come
    return absl::InternalError(fmt::format("{}[{}]: offset {} came after {}", partition->topic,
                                           partition->number, message->offset,
                                           partition->next_offset - 1));
  }
  gaps_ += static_cast<uint64_t>(message->offset - partition->next_offset);
  partition->fresh = false;
  if (partition->end_offset >= 0 && message->offset >= partition->end_offset) {
    End(*partition, batch);
    return absl::OkStatus();
  }
  Record record;
  record.bytes = {static_cast<const char*>(message->payload),
                  message->payload == nullptr ? 0 : message->len};
  record.partition = partition->id;
  record.offset = message->offset;
  record.timestamp_ms = rd_kafka_message_timestamp(message, nullptr);
  record.slack = SlackOf(*message);
  batch->records.push_back(record);
  partition->next_offset = message->offset + 1;
  partition->at_end = false;
  partition->last_record_ns = now_ns_;
  partition->timestamp_ms = record.timestamp_ms;
  if (partition->idle) {
    partition->idle = false;
    batch->marks.push_back({PartitionMark::Kind::kActive, partition->id, 0});
  }
  if (partition->next_offset == partition->end_offset) End(*partition, batch);
  return absl::OkStatus();
}

void KafkaSource::End(Partition& partition, Batch* batch) {
  if (partition.ended) return;
  partition.ended = true;
  --unfinished_;
  batch->marks.push_back({PartitionMark::Kind::kEnded, partition.id, 0});
}

void KafkaSource::MarkIdle(Batch* batch) {
  if (paused_ || state_ != State::kOwning) return;
  const int64_t now = clock_.MonotonicNs();
  for (Partition& partition : partitions_) {
    const DurationNs timeout = config_.sources[partition.source].idle_timeout;
    if (!partition.at_end || partition.idle || partition.held || partition.ended ||
        now - partition.last_record_ns < timeout)
      continue;
    partition.idle = true;
    batch->marks.push_back({PartitionMark::Kind::kIdle, partition.id, 0});
  }
}

void KafkaSource::WakeFetcher() {
  if (state_ != State::kOwning || paused_) return;
  waker_.Wake(
      handle_.get(), queue_.get(), clock_.MonotonicNs(), partitions_.size(),
      [this](size_t i) -> std::optional<FetchWaker::Place> {
        const Partition& partition = partitions_[i];
        if (partition.at_end || partition.ended || partition.held) return std::nullopt;
        return FetchWaker::Place{partition.topic.c_str(), partition.number, partition.next_offset};
      });
}

absl::Status KafkaSource::Poll(DurationNs wait, Batch* batch) {
  if (lost_ && config_.delivery == Delivery::kExactlyOnce) {
    return absl::AbortedError(
        "the group took our partitions back: another instance may have read "
        "on, so that memory counts for nothing");
  }
  if (state_ == State::kWaiting) BONGSU_RETURN_IF_ERROR(Join());
  WakeFetcher();
  now_ns_ = clock_.MonotonicNs();
  auto messages = std::make_unique<KafkaMessages>();
  absl::Status status;
  size_t bytes = 0;
  int wait_ms = static_cast<int>(wait / kMillisecondNs);
  while (status.ok() && batch->records.size() < kBatchRecordsMax && bytes < kBatchBytesMax) {
    rd_kafka_message_t* message = rd_kafka_consumer_poll(handle_.get(), wait_ms);
    if (message == nullptr) break;
    if (wait_ms > 0) now_ns_ = clock_.MonotonicNs();
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) bytes += message->len;
    wait_ms = 0;
    status = Take(message, messages.get(), batch);
  }
  LeaveToTheOther();
  MarkIdle(batch);
  // Where nothing started at all: an empty topic that ends where it begins.
  for (Partition& partition : partitions_) {
    if (!partition.ended && partition.end_offset >= 0 &&
        partition.next_offset >= partition.end_offset && state_ == State::kOwning) {
      End(partition, batch);
    }
  }
  batch->holder = std::move(messages);
  return status;
}

std::vector<Position> KafkaSource::positions() const {
  std::vector<Position> positions;
  for (const Partition& partition : partitions_)
    positions.push_back({partition.id, partition.next_offset, partition.ended});
  return positions;
}

std::vector<SourceProgress> KafkaSource::Progress() const {
  std::vector<SourceProgress> progress;
  if (state_ != State::kOwning || !started_) return progress;
  for (const Partition& partition : partitions_) {
    progress.push_back({partition.id, std::max(partition.next_offset, partition.eof_offset),
                        partition.timestamp_ms, !partition.at_end && !partition.ended});
  }
  return progress;
}

absl::Status KafkaSource::Committed(const std::vector<Position>& positions) {
  if (state_ != State::kOwning) return absl::OkStatus();
  KafkaList list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions_.size())));
  for (const Position& position : positions) {
    for (const Partition& partition : partitions_) {
      if (partition.id != position.partition || position.next_offset < 0) continue;
      rd_kafka_topic_partition_list_add(list.get(), partition.topic.c_str(), partition.number)
          ->offset = position.next_offset;
    }
  }
  // The store is authoritative; the group's offsets are for those who watch the lag.
  const rd_kafka_resp_err_t error = rd_kafka_commit(handle_.get(), list.get(), /*async=*/1);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
    LogWarning(fmt::format("committing the group's offsets: {}", rd_kafka_err2str(error)));
  return absl::OkStatus();
}

// All partitions while the engine cannot take more, else those that are held. `anew`: they were
// just assigned, and the library may have forgotten.
absl::Status KafkaSource::Pause(bool anew) {
  if (state_ != State::kOwning) return absl::OkStatus();  // with the next assignment
  std::vector<PauseWish> wishes;
  for (Partition& partition : partitions_) {
    const bool wanted = paused_ || partition.held;
    if (anew && wanted) partition.paused = false;
    // What came meanwhile has not been fetched: it is not quiet yet.
    if (partition.paused && !wanted) partition.last_record_ns = clock_.MonotonicNs();
    wishes.push_back({partition.topic.c_str(), partition.number, wanted, &partition.paused});
  }
  return ApplyPauses(handle_.get(), wishes);
}

absl::Status KafkaSource::SetBackpressure(bool on) {
  if (on == paused_) return absl::OkStatus();
  paused_ = on;
  return Pause(/*anew=*/false);
}

absl::Status KafkaSource::Hold(const std::vector<PartitionId>& partitions) {
  for (Partition& partition : partitions_) {
    partition.held = std::binary_search(partitions.begin(), partitions.end(), partition.id);
  }
  return Pause(/*anew=*/false);
}

absl::Status KafkaSource::Close() {
  if (closed_ || handle_ == nullptr) return absl::OkStatus();
  closed_ = true;
  queue_.reset();
  CloseConsumer(std::move(handle_));
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<RecordSource> MakeKafkaSource(const Config& config, const Clock& clock) {
  return std::make_unique<KafkaSource>(config, clock);
}

}  // namespace bongsu
