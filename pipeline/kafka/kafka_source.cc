#include "pipeline/kafka/kafka_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "pipeline/kafka/kafka_consumer.h"
#include "pipeline/kafka/kafka_partitions.h"
#include "pipeline/kafka/kafka_transaction.h"
#include "pipeline/logging.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr DurationNs kAskAgainNs = kSecondNs;     // for the group's other member
constexpr DurationNs kRemindNs = 30 * kSecondNs;  // that we are waiting
constexpr DurationNs kInsistNs = 3 * kSecondNs;   // on all partitions

class KafkaSource : public RecordSource {
 public:
  KafkaSource(const Config& config, const Clock& clock)
      : config_(config), clock_(clock), partitions_(config, clock) {}
  ~KafkaSource() override { (void)Close(); }

  absl::Status Open(PartitionTable& partitions) override;
  absl::Status Bind(PartitionTable& partitions) override;
  bool grown() const override { return started_ && !unread_.empty(); }
  bool waiting() const override { return started_ && state_ != State::kOwning; }
  bool begins_at_end() const override { return begins_at_end_; }
  absl::Status Own(const std::atomic<bool>& stop) override;
  absl::Status Rejoin() override;
  absl::Status KeepAlive() override;
  absl::StatusOr<EpochId> CommittedEpoch(const std::atomic<bool>& stop) override;
  absl::StatusOr<std::shared_ptr<const Membership>> GetMembership() override;
  absl::Status Start(const std::vector<Position>& positions) override;
  absl::Status Poll(DurationNs wait, Batch* batch) override;
  bool finished() const override;
  std::vector<Position> positions() const override { return partitions_.positions(); }
  std::vector<SourceProgress> Progress() const override {
    return partitions_.reading() ? partitions_.Progress() : std::vector<SourceProgress>();
  }
  absl::Status Committed(const std::vector<Position>& positions) override;
  absl::Status SetBackpressure(bool on) override {
    return partitions_.SetBackpressure(handle_.get(), on);
  }
  absl::Status Hold(const std::vector<PartitionId>& partitions) override {
    return partitions_.Hold(handle_.get(), partitions);
  }
  absl::Status Close() override;

 private:
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
  absl::Status Connect();
  absl::Status Place(KafkaPartition& partition);
  absl::Status PlaceAll();
  absl::Status CheckCommitted();
  absl::Status Join();
  absl::Status Subscribe();
  absl::Status Insist();
  bool OthersInGroup(std::string* who);
  void LeaveToTheOther();
  absl::Status AssignAll();
  absl::Status Serve(int wait_ms);
  KafkaList AllPartitions(bool with_offsets) const;

  const Config& config_;
  const Clock& clock_;
  KafkaHandle handle_;
  KafkaQueue queue_;  // fetched and not yet polled
  KafkaPartitions partitions_;
  std::set<std::pair<std::string, int32_t>> unread_;  // given by the group, and not known yet
  State state_ = State::kWaiting;
  bool contended_ = false;  // assigned a part only, and not the one that decides
  bool started_ = false;    // reading has begun; before that, owning means an empty assignment
  bool lost_ = false;       // a partition was taken from us since Own
  bool begins_at_end_ = false;
  bool closed_ = false;
  int64_t ask_again_ns_ = 0;
  int64_t insist_ns_ = 0;  // monotonic; 0: nothing is missing
  int64_t remind_ns_ = 0;
};

absl::Status KafkaSource::Connect() {
  BONGSU_ASSIGN_OR_RETURN(handle_, MakeConsumer(config_, this, OnRebalance));
  queue_.reset(rd_kafka_queue_get_consumer(handle_.get()));
  return absl::OkStatus();
}

// A handle that was fenced is of no further use, and the group counts us as no member: destroyed,
// not closed.
absl::Status KafkaSource::Rejoin() {
  queue_.reset();
  handle_.reset();
  state_ = State::kWaiting;
  contended_ = started_ = false;
  lost_ = true;
  ask_again_ns_ = 0;
  partitions_.Disconnected();
  return Connect();
}

absl::Status KafkaSource::Open(PartitionTable& partitions) {
  BONGSU_RETURN_IF_ERROR(Connect());
  BONGSU_RETURN_IF_ERROR(partitions_.AddTopics(handle_.get(), /*exchange=*/nullptr));
  return Bind(partitions);
}

absl::Status KafkaSource::Bind(PartitionTable& partitions) {
  BONGSU_RETURN_IF_ERROR(partitions_.AddNew(handle_.get()));
  std::erase_if(unread_, [this](const auto& one) {
    return partitions_.Find(one.first.c_str(), one.second) != nullptr;
  });
  for (KafkaPartition& partition : partitions_.all()) partition.read = true;
  return partitions_.Bind(partitions);
}

bool KafkaSource::finished() const {
  return started_ && std::all_of(partitions_.all().begin(), partitions_.all().end(),
                                 [](const KafkaPartition& one) { return one.ended; });
}

// Where reading of a partition begins, checked against its log.
absl::Status KafkaSource::Place(KafkaPartition& partition) {
  int64_t low = 0;
  int64_t high = 0;
  const std::string name = fmt::format("{}[{}]", partition.topic, partition.number);
  BONGSU_RETURN_IF_ERROR(
      PartitionEnds(handle_.get(), partition.topic, partition.number, &low, &high));
  if (partition.next_offset < 0) {
    const auto reset = config_.kafka.find("auto.offset.reset");
    const bool latest =
        !partition.grown && reset != config_.kafka.end() &&
        (reset->second == "latest" || reset->second == "largest" || reset->second == "end");
    partition.next_offset = latest ? high : low;
    begins_at_end_ = begins_at_end_ || latest;
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

absl::StatusOr<EpochId> KafkaSource::CommittedEpoch(const std::atomic<bool>& stop) {
  const KafkaList list = AllPartitions(/*with_offsets=*/false);
  const auto go_on = [&] {
    return stop.load() ? absl::CancelledError("stopped while reading the group's offsets")
                       : KeepAlive();
  };
  BONGSU_RETURN_IF_ERROR(FetchStableOffsets(handle_.get(), clock_, go_on, list.get()));
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
  const KafkaList list = AllPartitions(/*with_offsets=*/false);
  const int64_t deadline = clock_.MonotonicNs() + int64_t{kKafkaRequestTimeoutMs} * kMillisecondNs;
  const auto go_on = [&] {
    return clock_.MonotonicNs() < deadline
               ? absl::OkStatus()
               : absl::UnavailableError("cannot read the group's committed offsets");
  };
  BONGSU_RETURN_IF_ERROR(FetchStableOffsets(handle_.get(), clock_, go_on, list.get()));
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
  std::set<std::string> begun;  // topics
  begins_at_end_ = false;
  for (KafkaPartition& partition : partitions_.all()) {
    partition.next_offset = -1;
    partition.idle = partition.ended = false;
    for (const Position& position : positions) {
      if (position.partition != partition.id) continue;
      partition.next_offset = position.next_offset;
      begun.insert(partition.topic);
      // A bounded run that had ended stays ended, whatever came to the topic since.
      partition.ended = position.ended && config_.sources[partition.source].until == Until::kEnd;
    }
  }
  for (KafkaPartition& partition : partitions_.all())
    partition.grown = partition.next_offset < 0 && begun.count(partition.topic) > 0;
  BONGSU_RETURN_IF_ERROR(PlaceAll());
  started_ = true;
  lost_ = lost_ || state_ != State::kOwning;
  return state_ == State::kOwning ? AssignAll() : absl::OkStatus();
}

absl::Status KafkaSource::PlaceAll() {
  const bool have_positions =
      std::any_of(partitions_.all().begin(), partitions_.all().end(),
                  [](const KafkaPartition& partition) { return partition.next_offset >= 0; });
  if (!have_positions) BONGSU_RETURN_IF_ERROR(CheckCommitted());
  for (KafkaPartition& partition : partitions_.all()) {
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
  BONGSU_RETURN_IF_ERROR(Subscribe());
  state_ = State::kJoining;
  return absl::OkStatus();
}

absl::Status KafkaSource::Subscribe() {
  insist_ns_ = 0;
  return partitions_.Subscribe(handle_.get());
}

// The partition that decides is ours, and others are missing. Another member would leave them to us
// soon; but the group may have given us what it gave our process before us, when a topic had fewer
// partitions (AnyUnassigned): then it has to look once more.
absl::Status KafkaSource::Insist() {
  if (insist_ns_ == 0 || clock_.MonotonicNs() < insist_ns_ || state_ != State::kJoining)
    return absl::OkStatus();
  LogInfo("the group does not give us all partitions: joining it once more");
  return Subscribe();
}

KafkaList KafkaSource::AllPartitions(bool with_offsets) const {
  KafkaList list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions_.all().size())));
  for (const KafkaPartition& partition : partitions_.all()) {
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
    partitions_.set_reading(false);
    lost_ = true;
    rd_kafka_assign(handle_.get(), nullptr);
    return;
  }
  size_t ours = 0;
  bool first = false;
  insist_ns_ = 0;
  unread_.clear();
  for (int i = 0; i < list->cnt; ++i) {
    const rd_kafka_topic_partition_t& one = list->elems[i];
    if (partitions_.Find(one.topic, one.partition) != nullptr)
      ++ours;
    else
      unread_.insert({one.topic, one.partition});
    first = first || (one.topic == partitions_.topics().front() && one.partition == 0);
  }
  for (const auto& [topic, number] : unread_)
    LogInfo(fmt::format("topic '{}' has a new partition, {}: it is read too", topic, number));
  if (ours < partitions_.all().size()) {
    contended_ = !first;
    if (first) insist_ns_ = clock_.MonotonicNs() + kInsistNs;
    const KafkaList none(rd_kafka_topic_partition_list_new(0));
    rd_kafka_assign(handle_.get(), none.get());
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
  for (KafkaPartition& partition : partitions_.all()) {
    partition.fresh = true;
    partition.at_end = partition.end_seen = false;
    partition.last_record_ns = clock_.MonotonicNs();
  }
  const KafkaList all = AllPartitions(/*with_offsets=*/true);
  BONGSU_RETURN_IF_ERROR(
      KafkaError(rd_kafka_assign(handle_.get(), all.get()), "cannot take the partitions"));
  partitions_.set_reading(true);
  BONGSU_RETURN_IF_ERROR(partitions_.Pause(handle_.get(), /*anew=*/true));
  LogInfo(fmt::format("reading {} partitions of {} topics", partitions_.all().size(),
                      partitions_.topics().size()));
  return absl::OkStatus();
}

// Two joined at the same moment, and the other one holds the partition that decides.
void KafkaSource::LeaveToTheOther() {
  if (!contended_) return;
  contended_ = false;
  rd_kafka_unsubscribe(handle_.get());
  state_ = State::kWaiting;
  partitions_.set_reading(false);
  ask_again_ns_ = clock_.MonotonicNs() + kAskAgainNs;
  remind_ns_ = 0;
}

absl::Status KafkaSource::Own(const std::atomic<bool>& stop) {
  started_ = false;
  partitions_.set_reading(false);
  partitions_.ForgetBackpressure();  // the next engine begins without
  if (state_ == State::kOwning) {    // again, after an Aborted: nothing is read until Start
    const KafkaList none(rd_kafka_topic_partition_list_new(0));
    BONGSU_RETURN_IF_ERROR(
        KafkaError(rd_kafka_assign(handle_.get(), none.get()), "cannot give up the partitions"));
  }
  while (state_ != State::kOwning) {
    if (stop.load()) return absl::CancelledError("stopped while waiting for the partitions");
    if (state_ == State::kWaiting) BONGSU_RETURN_IF_ERROR(Join());
    BONGSU_RETURN_IF_ERROR(Serve(kKafkaPollMs));
    LeaveToTheOther();
    BONGSU_RETURN_IF_ERROR(Insist());
  }
  // What is restored from here on is ours; a loss before Start counts like one behind it, though
  // all be ours again by then: another instance may have read on.
  lost_ = false;
  return absl::OkStatus();
}

// Callbacks and errors, without taking records.
absl::Status KafkaSource::Serve(int wait_ms) {
  rd_kafka_message_t* message = rd_kafka_consumer_poll(handle_.get(), wait_ms);
  if (message == nullptr) return FatalError(handle_.get());
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

absl::Status KafkaSource::Poll(DurationNs wait, Batch* batch) {
  if (lost_ && config_.delivery == Delivery::kExactlyOnce) {
    return absl::AbortedError(
        "the group took our partitions back: another instance may have read "
        "on, so that memory counts for nothing");
  }
  if (state_ == State::kWaiting) BONGSU_RETURN_IF_ERROR(Join());
  BONGSU_RETURN_IF_ERROR(Insist());
  const absl::Status status = partitions_.Poll(
      handle_.get(), queue_.get(), wait, [] { return false; }, batch);
  LeaveToTheOther();
  partitions_.MarkEnds(batch);
  return status;
}

absl::Status KafkaSource::Committed(const std::vector<Position>& positions) {
  if (state_ != State::kOwning) return absl::OkStatus();
  KafkaList list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions_.all().size())));
  for (const Position& position : positions) {
    for (const KafkaPartition& partition : partitions_.all()) {
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
