#include "tests/simulation/process.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "state/status_macros.h"

namespace bongsu {
namespace {

using Process = World::Process;
using Place = SimCluster::Place;

absl::Status Dead() { return absl::CancelledError("the process is dead"); }

// What a call is, for the trace.
enum Calls : uint64_t { kSource = 1, kProducer, kLog, kStore };

// ---- threads -----------------------------------------------------------------------------------

class SimScheduler : public Scheduler {
 public:
  explicit SimScheduler(World& world) : world_(world) {}
  void Add(std::function<bool()> actor) override { actors_.push_back(std::move(actor)); }
  void RemoveAll() override { actors_.clear(); }
  void Wait() override {
    Some(1 + world_.Pick(4));
    world_.Pass(kMillisecondNs);
  }
  void Some(uint64_t steps) {
    for (uint64_t i = 0; i < steps && !actors_.empty(); ++i)
      (void)actors_[world_.Pick(actors_.size())]();
  }

 private:
  World& world_;
  std::vector<std::function<bool()>> actors_;
};

// ---- the source --------------------------------------------------------------------------------

struct SimMembership : Membership {
  SimCluster::Member member;
};

// As pipeline/kafka/kafka_source.cc: one instance owns everything, others wait.
class SimSource : public RecordSource {
 public:
  SimSource(World& world, Process& process, SimScheduler& scheduler, const Config& config)
      : world_(world), process_(process), scheduler_(scheduler), config_(config) {}

  absl::Status Open(PartitionTable& partitions) override { return Bind(partitions); }
  absl::Status Bind(PartitionTable& partitions) override;
  absl::Status Own(const std::atomic<bool>& stop) override;
  absl::Status KeepAlive() override;
  absl::StatusOr<std::shared_ptr<const Membership>> GetMembership() override;
  absl::StatusOr<EpochId> CommittedEpoch(const std::atomic<bool>& stop) override;
  absl::Status Start(const std::vector<Position>& positions) override;
  absl::Status Poll(DurationNs wait, Batch* batch) override;
  bool finished() const override {
    return started_ &&
           std::all_of(parts_.begin(), parts_.end(), [](const Part& p) { return p.ended; });
  }
  bool begins_at_end() const override { return begins_at_end_; }
  std::vector<Position> positions() const override {
    std::vector<Position> positions;
    for (const Part& part : parts_) positions.push_back({part.id, part.next, part.ended});
    return positions;
  }
  absl::Status Committed(const std::vector<Position>&) override { return absl::OkStatus(); }
  absl::Status Rejoin() override {
    member_ = {};
    owning_ = expelled_ = false;
    return absl::OkStatus();
  }
  absl::Status SetBackpressure(bool on) override {
    world_.tally().backpressures += on ? 1 : 0;
    paused_ = on;
    return absl::OkStatus();
  }
  absl::Status Close() override {
    if (world_.Call(process_, kSource)) world_.cluster().Leave(member_);
    return absl::OkStatus();
  }

 private:
  struct Part {
    Place place;
    const std::vector<std::string>* records;
    PartitionId id = 0;
    int64_t next = -1;
    bool ended = false;
  };
  // The background thread's heartbeat; what it finds shows at a later poll.
  void Heartbeat() { expelled_ = expelled_ || !world_.cluster().Heartbeat(member_); }
  absl::Status Noticed();

  World& world_;
  Process& process_;
  SimScheduler& scheduler_;
  const Config& config_;
  std::vector<Part> parts_;
  SimCluster::Member member_;
  bool owning_ = false;
  bool expelled_ = false;
  bool lost_ = false;  // since Own
  bool started_ = false;
  bool paused_ = false;
  bool begins_at_end_ = false;
};

absl::Status SimSource::Bind(PartitionTable& partitions) {
  parts_.clear();
  for (const auto& [place, records] : world_.scenario().input) {
    Part part;
    part.place = place;
    part.records = &records;
    PartitionInfo info;
    for (size_t i = 0; i < config_.sources.size(); ++i) {
      if (config_.sources[i].topics.front() == place.first)
        info.source_index = static_cast<uint16_t>(i);
    }
    info.source = config_.sources[info.source_index].name;
    info.topic = place.first;
    info.partition = place.second;
    info.identity = info.source + '\0' + info.topic + '\0' + std::to_string(place.second);
    BONGSU_ASSIGN_OR_RETURN(part.id, partitions.Add(std::move(info)));
    parts_.push_back(part);
  }
  return absl::OkStatus();
}

absl::Status SimSource::Own(const std::atomic<bool>& stop) {
  started_ = false;
  while (true) {
    if (!world_.Call(process_, kSource) || stop.load()) return Dead();
    if (owning_) Heartbeat();
    if (owning_ && !expelled_) {
      lost_ = false;
      return absl::OkStatus();
    }
    BONGSU_RETURN_IF_ERROR(Noticed());
    owning_ = world_.cluster().Join(config_.instance, &member_);
    expelled_ = false;
    if (!owning_) world_.Pass(kSecondNs);
  }
}

// Somebody else runs under our name: the group says so to everything that we ask of it.
absl::Status SimSource::Noticed() {
  if (expelled_ && world_.cluster().owner().instance == config_.instance &&
      world_.cluster().owner().id != member_.id && !member_.id.empty()) {
    return absl::FailedPreconditionError(
        "reading stopped: fenced: another process is this instance");
  }
  return absl::OkStatus();
}

absl::Status SimSource::KeepAlive() {
  if (!world_.Call(process_, kSource)) return Dead();
  Heartbeat();
  if (world_.Pick(3) != 0) return absl::OkStatus();
  if (!owning_) {  // the library joins again by itself
    owning_ = world_.cluster().Join(config_.instance, &member_);
    expelled_ = !owning_;
  } else if (expelled_) {
    BONGSU_RETURN_IF_ERROR(Noticed());
    owning_ = false;
    lost_ = true;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Membership>> SimSource::GetMembership() {
  if (lost_ || !owning_) return absl::AbortedError("the partitions were taken back");
  auto membership = std::make_shared<SimMembership>();
  membership->member = member_;
  return std::shared_ptr<const Membership>(std::move(membership));
}

absl::StatusOr<EpochId> SimSource::CommittedEpoch(const std::atomic<bool>& stop) {
  while (true) {
    if (!world_.Call(process_, kSource) || stop.load()) return Dead();
    if (const auto offsets = world_.cluster().StableOffsets(); offsets.has_value()) {
      EpochId epoch = 0;
      for (const auto& [place, offset] : *offsets) epoch = std::max(epoch, offset.epoch);
      return epoch;
    }
    world_.Pass(100 * kMillisecondNs);
  }
}

absl::Status SimSource::Start(const std::vector<Position>& positions) {
  // It would hand out nothing, for ever: the engine that starts does not know of the pause.
  if (paused_) return absl::InternalError("an engine has left the source paused");
  begins_at_end_ = false;
  for (Part& part : parts_) {
    part.next = -1;
    part.ended = false;
    for (const Position& position : positions) {
      if (position.partition != part.id) continue;
      part.next = position.next_offset;
      part.ended = position.ended;
    }
    if (part.next >= 0) continue;
    part.next = 0;
    if (config_.kafka.count("auto.offset.reset") == 0) continue;
    // It would begin at the log's end of now; unless somebody else has it, of which it will hear.
    const bool ours = !lost_ && world_.cluster().owner().id == member_.id;
    if (ours && world_.handed_out(part.place))
      return absl::InternalError("what was read is skipped");
    begins_at_end_ = true;
  }
  started_ = true;
  owning_ = owning_ && !expelled_;
  return absl::OkStatus();
}

absl::Status SimSource::Poll(DurationNs, Batch* batch) {
  if (!world_.Call(process_, kSource)) return Dead();
  Heartbeat();
  if (expelled_ && world_.Pick(3) == 0) {
    BONGSU_RETURN_IF_ERROR(Noticed());
    owning_ = false;
  }
  if (lost_ || !owning_) return absl::AbortedError("the group took our partitions back");
  if (!paused_) {
    for (uint64_t records = world_.Pick(8); records > 0; --records) {
      Part& part = parts_[world_.Pick(parts_.size())];
      const auto size = static_cast<int64_t>(part.records->size());
      if (part.ended) continue;
      if (part.next < size) {
        Record record;
        record.bytes = (*part.records)[static_cast<size_t>(part.next)];
        record.partition = part.id;
        record.offset = part.next++;
        world_.HandOut(part.place);
        record.timestamp_ms = 0;
        batch->records.push_back(record);
      }
      if (part.next == size) {
        part.ended = true;
        batch->marks.push_back({PartitionMark::Kind::kEnded, part.id, 0});
      }
    }
  }
  scheduler_.Some(world_.Pick(6));
  return absl::OkStatus();
}

// ---- the producer ------------------------------------------------------------------------------

class SimProducer : public TransactionClient {
 public:
  SimProducer(World& world, Process& process, const Config& config,
              const PartitionTable& partitions)
      : world_(world), process_(process), partitions_(partitions), name_(TransactionalId(config)) {}

  std::string name() const override { return name_; }
  absl::Status Renew() override {
    epoch_ = -1;
    queue_.clear();
    failure_ = Seen::kOk;
    end_txns_ = offset_commits_ = 0;
    ++world_.tally().renewals;
    return absl::OkStatus();
  }
  Answer Init() override;
  Answer Begin() override {
    if (!world_.Call(process_, kProducer)) return Died();
    return {failure_, "", false};
  }
  Answer Produce(const std::string& topic, int32_t partition, std::string_view key,
                 std::string_view value, int64_t* offset) override;
  Answer Flush() override;
  Answer SendOffsets(EpochId epoch, const Membership& membership,
                     const std::vector<Position>& positions) override;
  Answer Commit() override;
  uint64_t EndTxnsSent() const override { return end_txns_; }
  uint64_t OffsetCommitsSent() const override { return offset_commits_; }

 private:
  struct Queued {
    Place place;
    std::string key;
    std::string value;
    int64_t* offset;
  };
  static Answer Died() { return {Seen::kRefused, "the process is dead", false}; }
  void SendQueued();
  // One request that the library sends again by itself, and whose answer may never come. `request`
  // is it as the broker sees it, `copy` as a copy of it. True: `*answer` is what the caller sees.
  Seen Ask(const std::function<Seen()>& request, const std::function<void()>& copy, uint64_t* sent);

  World& world_;
  Process& process_;
  const PartitionTable& partitions_;
  const std::string name_;
  int epoch_ = -1;
  std::vector<Queued> queue_;
  Seen failure_ = Seen::kOk;
  uint64_t end_txns_ = 0;
  uint64_t offset_commits_ = 0;
};

TransactionClient::Answer SimProducer::Init() {
  if (!world_.Call(process_, kProducer)) return Died();
  if (world_.Fault(world_.faults().refuse, &world_.tally().refusals))
    return {world_.Pick(2) == 0 ? Seen::kRetriable : Seen::kTimedOut, "init", false};
  return {world_.cluster().InitProducer(name_, &epoch_), "init", false};
}

TransactionClient::Answer SimProducer::Produce(const std::string& topic, int32_t partition,
                                               std::string_view key, std::string_view value,
                                               int64_t* offset) {
  if (process_.dead) return Died();
  queue_.push_back({{topic, std::max(0, partition)}, std::string(key), std::string(value), offset});
  if (world_.Pick(4) == 0) {
    if (!world_.Call(process_, kProducer)) return Died();
    SendQueued();
  }
  return {failure_, "produce", false};
}

void SimProducer::SendQueued() {
  for (const Queued& record : queue_) {
    if (failure_ != Seen::kOk) break;
    if (world_.Fault(world_.faults().refuse, &world_.tally().refusals)) {
      failure_ = world_.Pick(3) == 0 ? Seen::kFatal : Seen::kAbortable;
      // Possibly persisted.
      if (world_.Pick(2) == 0) break;
    }
    const Seen seen = world_.cluster().Produce(name_, epoch_, record.place, record.key,
                                               record.value, record.offset);
    if (seen != Seen::kOk) failure_ = seen;
  }
  queue_.clear();
}

TransactionClient::Answer SimProducer::Flush() {
  if (!world_.Call(process_, kProducer)) return Died();
  SendQueued();
  return {failure_, "flush", false};
}

Seen SimProducer::Ask(const std::function<Seen()>& request, const std::function<void()>& copy,
                      uint64_t* sent) {
  if (world_.Fault(world_.faults().refuse, &world_.tally().refusals)) {
    // Retriable: it was sent, and the answer is still awaited; or it was never sent.
    if (world_.Pick(2) == 0) return world_.Pick(2) == 0 ? Seen::kRetriable : Seen::kAbortable;
    ++*sent;
    const Seen seen = request();
    return seen == Seen::kOk ? Seen::kRetriable : seen;
  }
  ++*sent;
  if (world_.Fault(world_.faults().unknown, &world_.tally().unknowns)) {
    const uint64_t fate = world_.Pick(3);
    if (fate == 0) (void)request();
    if (fate == 1) world_.cluster().Later(copy);
    return Seen::kTimedOut;
  }
  if (world_.Fault(world_.faults().resend, &world_.tally().resends)) {
    ++*sent;  // after a disconnect
    if (world_.Pick(2) == 0) {
      if (const Seen first = request(); first != Seen::kOk) return first;  // its answer was lost
    } else {
      world_.cluster().Later(copy);  // it is still on its way
    }
  }
  return request();
}

TransactionClient::Answer SimProducer::SendOffsets(EpochId epoch, const Membership& membership,
                                                   const std::vector<Position>& positions) {
  if (!world_.Call(process_, kProducer)) return Died();
  if (failure_ != Seen::kOk) return {failure_, "offsets", false};
  const SimCluster::Member member = static_cast<const SimMembership&>(membership).member;
  SimCluster::Offsets offsets;
  for (const Position& position : positions) {
    const PartitionInfo& info = partitions_.Get(position.partition);
    offsets[{info.topic, info.partition}] = {position.next_offset, epoch};
  }
  SimCluster& cluster = world_.cluster();
  const auto request = [&] { return cluster.CommitOffsets(name_, epoch_, member, offsets); };
  const auto copy = [&cluster, name = name_, of = epoch_, member, offsets] {
    (void)cluster.CommitOffsets(name, of, member, offsets, /*copy=*/true);
  };
  const Answer answer{Ask(request, copy, &offset_commits_), "offsets", false};
  return world_.Call(process_, kProducer) ? answer : Died();
}

TransactionClient::Answer SimProducer::Commit() {
  if (!world_.Call(process_, kProducer)) return Died();
  if (failure_ != Seen::kOk) return {failure_, "commit", false};
  SimCluster& cluster = world_.cluster();
  const auto request = [&] { return cluster.EndTransaction(name_, epoch_, /*commit=*/true); };
  const auto copy = [&cluster, name = name_, of = epoch_] {
    (void)cluster.EndTransaction(name, of, /*commit=*/true);
  };
  const Answer answer{Ask(request, copy, &end_txns_), "commit", false};
  if (answer.seen == Seen::kOk) process_.faults_before = world_.fault_count();
  return world_.Call(process_, kProducer) ? answer : Died();
}

// ---- the changelog -----------------------------------------------------------------------------

class SimLogTopic : public LogTopic {
 public:
  SimLogTopic(World& world, Process& process, std::string topic, int partitions,
              std::function<absl::Status()> keep_alive)
      : world_(world),
        process_(process),
        topic_(std::move(topic)),
        partitions_(partitions),
        keep_alive_(std::move(keep_alive)) {}

  int partitions() const override { return partitions_; }
  absl::StatusOr<std::unique_ptr<ShardLogReader>> Reader(int partition) override {
    if (!world_.Call(process_, kLog)) return Dead();
    return std::unique_ptr<ShardLogReader>(
        std::make_unique<PartitionReader>(*this, Place(topic_, partition)));
  }
  absl::Status Trim(const std::map<int, int64_t>& before) override {
    for (const auto& [partition, offset] : before) {
      if (!world_.Call(process_, kLog)) return Dead();
      if (world_.Fault(world_.faults().refuse, &world_.tally().refusals))
        return absl::UnavailableError("no answer to DeleteRecords");
      world_.cluster().DeleteBefore({topic_, partition}, offset);
    }
    return absl::OkStatus();
  }

 private:
  class PartitionReader : public ShardLogReader {
   public:
    PartitionReader(SimLogTopic& log, Place place)
        : log_(log),
          place_(std::move(place)),
          start_(partition().start),
          end_(partition().next),
          position_(start_) {}
    int64_t start() const override { return start_; }
    int64_t end() const override { return end_; }
    absl::Status Seek(int64_t offset) override {
      position_ = offset;
      return absl::OkStatus();
    }
    absl::StatusOr<bool> Next(int64_t* offset, std::string_view* bytes) override {
      while (position_ < end_) {
        if (!log_.world_.Call(log_.process_, kLog)) return Dead();
        BONGSU_RETURN_IF_ERROR(log_.keep_alive_());
        const auto& records = partition().records;
        auto it =
            std::lower_bound(records.begin(), records.end(), position_,
                             [](const SimCluster::Record& r, int64_t at) { return r.offset < at; });
        while (it != records.end() && it->offset < end_ &&
               it->state == SimCluster::Record::State::kAborted)
          ++it;
        if (it == records.end() || it->offset >= end_) return false;
        if (log_.world_.cluster().LastStable(place_) <= it->offset) {
          log_.world_.Pass(100 * kMillisecondNs);
          continue;
        }
        position_ = it->offset + 1;
        *offset = it->offset;
        bytes_ = it->value;
        *bytes = bytes_;
        return true;
      }
      return false;
    }

   private:
    SimCluster::Partition& partition() { return log_.world_.cluster().partition(place_); }
    SimLogTopic& log_;
    const Place place_;
    const int64_t start_;
    const int64_t end_;
    int64_t position_;
    std::string bytes_;
  };

  World& world_;
  Process& process_;
  const std::string topic_;
  const int partitions_;
  const std::function<absl::Status()> keep_alive_;
};

// ---- all of it ---------------------------------------------------------------------------------

class SimBackend : public Backend {
 public:
  SimBackend(World& world, Process& process)
      : world_(world), process_(process), scheduler_(world) {}

  const Clock& clock() const override { return world_.clock(); }
  absl::StatusOr<std::vector<TopicFinding>> LookAtTopics(const Config&) override {
    return std::vector<TopicFinding>();
  }
  std::unique_ptr<RecordSource> Source(const Config& config) override {
    return std::make_unique<SimSource>(world_, process_, scheduler_, config);
  }
  std::unique_ptr<TransactionClient> Transaction(const Config& config,
                                                 const PartitionTable& partitions) override {
    return std::make_unique<SimProducer>(world_, process_, config, partitions);
  }
  absl::StatusOr<std::unique_ptr<LogTopic>> OpenLog(
      const Config& config, const std::atomic<bool>&,
      std::function<absl::Status()> keep_alive) override {
    return std::make_unique<SimLogTopic>(world_, process_, ChangelogTopic(config),
                                         config.state.shards + 1, std::move(keep_alive));
  }
  absl::StatusOr<std::unique_ptr<Store>> OpenStore(const StoreOptions& options) override {
    if (!world_.Call(process_, kStore)) return Dead();
    auto store =
        std::make_unique<MemoryStore>(world_.disk(process_.disk), world_.random(), options.shards,
                                      options.hash_seed.value_or(1 + world_.Pick(1000)));
    store->in_commit = [this](int) { return world_.Call(process_, kStore); };
    store->in_write = [this] { return world_.Call(process_, kStore); };
    store->in_read = [this] {
      return !world_.Fault(world_.faults().damage, &world_.tally().damages);
    };
    return store;
  }
  absl::StatusOr<std::string> SetAside(const StoreOptions&) override {
    world_.disk(process_.disk) = MemoryDisk();
    return std::string("aside");
  }
  ChangelogOptions LogOptions(const Config&) override {
    ChangelogOptions options;
    options.flush_age = static_cast<DurationNs>(world_.Pick(20)) * kMillisecondNs;
    options.round_bytes_min = 200 + world_.Pick(4000);
    options.slice_bytes_min = 1 + world_.Pick(300);
    options.record_bytes_max = 300 + world_.Pick(1000);
    return options;
  }
  Scheduler* scheduler() override { return &scheduler_; }

 private:
  World& world_;
  Process& process_;
  SimScheduler scheduler_;
};

}  // namespace

std::unique_ptr<Backend> MakeSimBackend(World& world, World::Process& process) {
  return std::make_unique<SimBackend>(world, process);
}

}  // namespace bongsu
