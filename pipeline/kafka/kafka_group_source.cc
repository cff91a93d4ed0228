#include "pipeline/kafka/kafka_group_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "pipeline/kafka/kafka_consumer.h"
#include "pipeline/kafka/kafka_partitions.h"
#include "pipeline/kafka/kafka_transaction.h"
#include "pipeline/logging.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr DurationNs kLookAfterNs = kSecondNs;
constexpr DurationNs kLookAgainMaxNs = 5 * kMinuteNs;

class KafkaGroupSource : public SharedSource {
 public:
  KafkaGroupSource(const Config& config, const Clock& clock)
      : config_(config),
        clock_(clock),
        exchange_(config.exchange_topic()),
        partitions_(config, clock) {}
  ~KafkaGroupSource() override { (void)Close(); }

  absl::Status Open(PartitionTable& partitions) override;
  absl::Status Look() override;
  absl::Status Bind(PartitionTable& partitions) override;
  absl::Status Own(const std::atomic<bool>& stop) override;
  absl::Status Rejoin() override;
  absl::Status KeepAlive() override { return absl::OkStatus(); }
  absl::StatusOr<std::shared_ptr<const Membership>> GetMembership() override;
  absl::Status Start(const std::vector<Position>&) override { return absl::OkStatus(); }
  absl::Status Poll(DurationNs wait, Batch* batch) override;
  bool finished() const override { return false; }
  std::vector<Position> positions() const override { return partitions_.positions(); }
  std::vector<SourceProgress> Progress() const override { return partitions_.Progress(); }
  // Offsets are committed with the epoch, and only so.
  absl::Status Committed(const std::vector<Position>&) override { return absl::OkStatus(); }
  absl::Status SetBackpressure(bool on) override {
    return partitions_.SetBackpressure(handle_.get(), on);
  }
  absl::Status Hold(const std::vector<PartitionId>& partitions) override {
    return partitions_.Hold(handle_.get(), partitions);
  }
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
  absl::Status Connect();
  absl::Status AssignRead();
  // After each assignment, once the group is stable: whether everything is given to somebody.
  absl::Status LookForUnassigned();
  KafkaPartition* PartitionOf(bool of_shard, uint16_t id);

  const Config& config_;
  const Clock& clock_;
  const std::string exchange_;
  KafkaHandle handle_;
  KafkaQueue queue_;
  KafkaPartitions partitions_;
  State state_ = State::kOutside;
  bool new_assignment_ = false;  // not taken yet
  // Given by the group, and not there when we last looked.
  std::set<std::pair<std::string, int32_t>> unknown_;
  int64_t look_ns_ = 0;  // LookForUnassigned, monotonic; 0: it has been seen
  DurationNs look_again_ = kLookAfterNs;
  bool lost_ = false;  // the group dropped us: what was read belongs to others
  bool closed_ = false;
};

absl::Status KafkaGroupSource::Connect() {
  BONGSU_ASSIGN_OR_RETURN(handle_, MakeConsumer(config_, this, OnRebalance));
  queue_.reset(rd_kafka_queue_get_consumer(handle_.get()));
  return absl::OkStatus();
}

// A handle that was fenced is of no further use, and the group counts us as no member: destroyed,
// not closed. The next Own joins.
absl::Status KafkaGroupSource::Rejoin() {
  queue_.reset();
  handle_.reset();
  state_ = State::kOutside;
  new_assignment_ = false;
  partitions_.Disconnected();
  return Connect();
}

absl::Status KafkaGroupSource::Open(PartitionTable& partitions) {
  BONGSU_RETURN_IF_ERROR(Connect());
  BONGSU_RETURN_IF_ERROR(partitions_.AddTopics(handle_.get(), &exchange_));
  return partitions_.Bind(partitions);
}

// Also after a recovery, which may be because a topic has more partitions now.
absl::Status KafkaGroupSource::Look() {
  BONGSU_RETURN_IF_ERROR(partitions_.AddNew(handle_.get()));
  // The group does not give them again.
  std::erase_if(unknown_, [this](const auto& one) {
    KafkaPartition* partition = partitions_.Find(one.first.c_str(), one.second);
    if (partition != nullptr) partition->assigned = true;
    return partition != nullptr;
  });
  return absl::OkStatus();
}

absl::Status KafkaGroupSource::Bind(PartitionTable& partitions) {
  return partitions_.Bind(partitions);
}

// Joins, and does not wait: what the group gives comes with a poll. After an Aborted, what it has
// given already is handed out again.
absl::Status KafkaGroupSource::Own(const std::atomic<bool>&) {
  for (KafkaPartition& partition : partitions_.all()) partition.read = false;
  partitions_.set_reading(false);
  if (state_ == State::kRevoking) BONGSU_RETURN_IF_ERROR(Release());
  lost_ = false;
  partitions_.ForgetBackpressure();
  if (state_ == State::kAssigned) {
    new_assignment_ = true;
    return AssignRead();  // nothing
  }
  if (state_ == State::kJoining) return absl::OkStatus();
  BONGSU_RETURN_IF_ERROR(partitions_.Subscribe(handle_.get()));
  state_ = State::kJoining;
  return absl::OkStatus();
}

absl::Status KafkaGroupSource::LookForUnassigned() {
  const int64_t now = clock_.MonotonicNs();
  if (look_ns_ == 0 || now < look_ns_ || state_ != State::kAssigned || new_assignment_)
    return absl::OkStatus();
  const KafkaList all(
      rd_kafka_topic_partition_list_new(static_cast<int>(partitions_.all().size())));
  for (const KafkaPartition& one : partitions_.all())
    rd_kafka_topic_partition_list_add(all.get(), one.topic.c_str(), one.number);
  const std::optional<bool> any = AnyUnassigned(handle_.get(), config_.application, all.get());
  if (any.has_value() && !*any) {
    look_ns_ = 0;
    look_again_ = kLookAfterNs;
    return absl::OkStatus();
  }
  look_ns_ = now + look_again_;
  look_again_ = std::min(2 * look_again_, kLookAgainMaxNs);
  if (!any.has_value()) return absl::OkStatus();
  LogInfo("the group gives a partition to nobody: joining it once more");
  return partitions_.Subscribe(handle_.get());
}

// Within rd_kafka_consumer_poll, on our thread.
void KafkaGroupSource::Rebalance(rd_kafka_resp_err_t error, rd_kafka_topic_partition_list_t* list) {
  if (error != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
    if (rd_kafka_assignment_lost(handle_.get()) != 0) lost_ = true;
    new_assignment_ = false;
    if (lost_ || state_ != State::kAssigned) {
      partitions_.set_reading(false);
      rd_kafka_assign(handle_.get(), nullptr);
      state_ = State::kJoining;
      return;
    }
    // librdkafka waits for rd_kafka_assign, which Release calls.
    state_ = State::kRevoking;
    return;
  }
  for (KafkaPartition& partition : partitions_.all()) partition.assigned = false;
  unknown_.clear();
  for (int i = 0; i < list->cnt; ++i) {
    KafkaPartition* partition = partitions_.Find(list->elems[i].topic, list->elems[i].partition);
    if (partition == nullptr)
      unknown_.insert({list->elems[i].topic, list->elems[i].partition});
    else
      partition->assigned = true;
  }
  partitions_.set_reading(false);
  // Nothing is fetched before Read says from where.
  const KafkaList none(rd_kafka_topic_partition_list_new(0));
  rd_kafka_assign(handle_.get(), none.get());
  state_ = State::kAssigned;
  new_assignment_ = true;
  look_ns_ = clock_.MonotonicNs() + look_again_;
}

absl::Status KafkaGroupSource::Release() {
  if (state_ != State::kRevoking) return absl::OkStatus();
  state_ = State::kJoining;
  partitions_.set_reading(false);
  return KafkaError(rd_kafka_assign(handle_.get(), nullptr), "cannot give the partitions back");
}

std::optional<Assignment> KafkaGroupSource::TakeAssignment() {
  if (!new_assignment_) return std::nullopt;
  new_assignment_ = false;
  Assignment assignment;
  for (const KafkaPartition& partition : partitions_.all()) {
    if (!partition.assigned) continue;
    if (partition.of_shard)
      assignment.shards.push_back(partition.id);
    else
      assignment.partitions.push_back(partition.id);
  }
  return assignment;
}

KafkaPartition* KafkaGroupSource::PartitionOf(bool of_shard, uint16_t id) {
  for (KafkaPartition& partition : partitions_.all()) {
    if (partition.of_shard == of_shard && partition.id == id) return &partition;
  }
  return nullptr;
}

// Topic, number and id of a partition never change once the source is bound.
absl::StatusOr<std::vector<Place>> KafkaGroupSource::CommittedPlaces(
    const Assignment& assignment, const std::atomic<bool>& cancel) {
  std::vector<Place> places;
  std::vector<const KafkaPartition*> asked;
  for (const PartitionId id : assignment.partitions) asked.push_back(PartitionOf(false, id));
  for (const ShardId id : assignment.shards) asked.push_back(PartitionOf(true, id));
  if (asked.empty()) return places;
  const KafkaList list(rd_kafka_topic_partition_list_new(static_cast<int>(asked.size())));
  for (const KafkaPartition* one : asked)
    rd_kafka_topic_partition_list_add(list.get(), one->topic.c_str(), one->number);
  const auto wanted = [&cancel] {
    return cancel.load() ? absl::CancelledError("no longer wanted") : absl::OkStatus();
  };
  BONGSU_RETURN_IF_ERROR(FetchStableOffsets(handle_.get(), clock_, wanted, list.get()));
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
  const KafkaPartition& partition = *PartitionOf(place->of_shard, place->id);
  int64_t low = 0;
  int64_t high = 0;
  const std::string name = fmt::format("{}[{}]", partition.topic, partition.number);
  BONGSU_RETURN_IF_ERROR(
      PartitionEnds(handle_.get(), partition.topic, partition.number, &low, &high));
  if (!place->committed) {
    const auto reset = config_.kafka.find("auto.offset.reset");
    const bool latest =
        !place->of_shard && !partition.grown && reset != config_.kafka.end() &&
        (reset->second == "latest" || reset->second == "largest" || reset->second == "end");
    place->next_offset = latest ? high : low;
    place->at_end = latest;
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
  // What was read before stays idle where the shards take it for that: WakeIdle has to tell them
  // otherwise.
  for (KafkaPartition& partition : partitions_.all()) {
    if (!std::exchange(partition.read, false)) partition.idle = false;
  }
  for (const Place& place : places) {
    KafkaPartition* partition = PartitionOf(place.of_shard, place.id);
    BONGSU_CHECK_MSG(partition != nullptr && partition->assigned, "reading what is not ours");
    partition->read = true;
    partition->next_offset = place.next_offset;
    partition->end_offset = place.end_offset;
    partition->fresh = true;
    // Its end is to be seen again: only then can it be idle.
    partition->at_end = partition->end_seen = partition->ended = false;
    partition->last_record_ns = clock_.MonotonicNs();
  }
  partitions_.set_reading(true);
  return AssignRead();
}

absl::Status KafkaGroupSource::AssignRead() {
  const KafkaList list(
      rd_kafka_topic_partition_list_new(static_cast<int>(partitions_.all().size())));
  for (const KafkaPartition& partition : partitions_.all()) {
    if (!partition.read) continue;
    rd_kafka_topic_partition_list_add(list.get(), partition.topic.c_str(), partition.number)
        ->offset = partition.next_offset;
  }
  BONGSU_RETURN_IF_ERROR(
      KafkaError(rd_kafka_assign(handle_.get(), list.get()), "cannot take the partitions"));
  return partitions_.Pause(handle_.get(), /*anew=*/true);
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

absl::Status KafkaGroupSource::Poll(DurationNs wait, Batch* batch) {
  if (lost_) {
    return absl::AbortedError(
        "the group has dropped us: others may have read on, so that memory counts for nothing");
  }
  if (!unknown_.empty()) {
    return absl::AbortedError("a topic has partitions that it did not have before");
  }
  // A rebalance takes as long as its slowest member, and nobody sees what comes meanwhile: before
  // it, the shards are told to wait for all partitions again.
  if (state_ == State::kRevoking) {
    partitions_.WakeIdle(batch);
    return absl::OkStatus();
  }
  BONGSU_RETURN_IF_ERROR(LookForUnassigned());
  // What came before a revocation is good: it is handed out, and committed before the release.
  const absl::Status status = partitions_.Poll(
      handle_.get(), queue_.get(), wait, [this] { return state_ == State::kRevoking; }, batch);
  if (state_ == State::kAssigned)
    partitions_.MarkEnds(batch);
  else if (state_ == State::kRevoking)
    partitions_.WakeIdle(batch);
  return status;
}

std::vector<ShardPosition> KafkaGroupSource::shard_positions() const {
  std::vector<ShardPosition> positions;
  for (const KafkaPartition& partition : partitions_.all()) {
    if (partition.of_shard && partition.read)
      positions.push_back({partition.id, partition.next_offset});
  }
  return positions;
}

bool KafkaGroupSource::sources_ended() const {
  return std::all_of(partitions_.all().begin(), partitions_.all().end(),
                     [](const KafkaPartition& partition) {
                       return partition.of_shard || !partition.assigned || partition.ended;
                     });
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
