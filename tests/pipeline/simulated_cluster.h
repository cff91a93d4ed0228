// File: tests/pipeline/simulated_cluster.h
//
// Kafka as exchange: kafka needs it, in memory: topics, one consumer group with eager rebalances,
// and transactions that appear as a whole. Commits can fail, before or behind the point where they
// count, and a member can be thrown out while it goes on working. The engine on top is the real
// one.
//
//   SimulatedCluster cluster(seed);
//   cluster.AddTopic("fw", 3);
//   SimulatedSource source(cluster, config, "one");    // SharedSource
//   SimulatedLog log(cluster, config, "one");          // EpochLog
//
// Thread-safety: all of it locks; a source and a log belong to one instance.
#pragma once

#include <algorithm>
#include <atomic>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "pipeline/config.h"
#include "pipeline/epoch_log.h"
#include "pipeline/io.h"
#include "state/restore.h"

namespace bongsu {

class SimulatedCluster {
 public:
  explicit SimulatedCluster(uint64_t seed) : random_(seed) {}

  using Where = std::pair<std::string, int32_t>;
  struct Member {
    bool revoking = false;
    bool released = true;
    bool assigned = false;  // a new assignment, not taken yet
    std::set<Where> has;
  };
  struct Offset {
    int64_t offset = -1;
    std::string metadata;
  };

  void AddTopic(const std::string& topic, int partitions) {
    std::lock_guard lock(mutex);
    for (int i = 0; i < partitions; ++i) logs[{topic, i}];
  }
  int64_t Size(const Where& where) {
    std::lock_guard lock(mutex);
    return static_cast<int64_t>(logs[where].size());
  }

  // The group.
  void Join(const std::string& instance) {
    std::lock_guard lock(mutex);
    members.erase(instance);
    members[instance];
    Prepare();
  }
  void Leave(const std::string& instance) {
    std::lock_guard lock(mutex);
    if (members.erase(instance) > 0) Prepare();
  }
  // Both have taken an assignment with something in it.
  bool Shares(const std::string& one, const std::string& other) {
    std::lock_guard lock(mutex);
    const auto has = [&](const std::string& instance) {
      const auto it = members.find(instance);
      return it != members.end() && !it->second.assigned && !it->second.revoking &&
             !it->second.has.empty();
    };
    return has(one) && has(other);
  }
  void Release(const std::string& instance) {
    std::lock_guard lock(mutex);
    const auto it = members.find(instance);
    if (it == members.end()) return;
    it->second.released = true;
    it->second.revoking = false;
    MaybeAssign();
  }

  struct Write {
    Where where;
    std::string bytes;
    int64_t* offset = nullptr;
  };
  // A transaction with the group's fence. Aborted: dropped, or, sometimes, not.
  absl::Status Commit(const std::string& instance, int64_t of_generation,
                      const std::vector<Write>& writes, const std::vector<GroupOffset>& offsets) {
    std::lock_guard lock(mutex);
    if (members.count(instance) == 0 || of_generation != generation)
      return absl::AbortedError("illegal generation");
    const auto chance = random_() % 1000;
    if (chance < failures) return absl::AbortedError("the transaction was aborted");
    for (const Write& write : writes) {
      auto& log = logs[write.where];
      if (write.offset != nullptr) *write.offset = static_cast<int64_t>(log.size());
      log.push_back(write.bytes);
    }
    for (const GroupOffset& offset : offsets) {
      Offset& known = committed[{offset.topic, offset.partition}];
      if (offset.offset < known.offset) ++went_back;
      known = {offset.offset, offset.metadata};
    }
    ++commits;
    if (chance < 2 * failures) return absl::AbortedError("committed, and nobody knows");
    return absl::OkStatus();
  }

  std::mutex mutex;
  // Guarded by mutex.
  std::map<Where, std::vector<std::string>> logs;
  std::map<Where, Offset> committed;
  std::map<std::string, Member> members;
  int64_t generation = 0;
  std::set<std::string> subscribed;
  std::set<std::string> from_the_last;  // topics that are given out the other way round
  uint64_t failures = 0;                // of a thousand commits, twice
  uint64_t commits = 0;
  // Of a source's partition no more is handed out before.
  int64_t readable = std::numeric_limits<int64_t>::max();
  // Of one partition.
  std::map<Where, int64_t> readable_of;
  // Where a first start begins with a source's partition; 0 where it is not here.
  std::map<Where, int64_t> begins_at;
  uint64_t went_back = 0;  // offsets that an epoch has moved back: never
  // auto.offset.reset: latest; each start that finds nothing committed is at a later end.
  bool latest = false;
  std::set<Where> handed_out;  // something of it
  uint64_t skipped = 0;        // begun at a later end, though something was handed out: never
  // Thrown out once, when it has read its sources to their end; where nobody is to be: empty.
  std::string leaves_at_end;

 private:
  void Prepare() {
    for (auto& [name, member] : members) {
      member.assigned = false;
      if (!member.released) member.revoking = true;
    }
    MaybeAssign();
  }
  void MaybeAssign() {
    if (!std::all_of(members.begin(), members.end(),
                     [](const auto& one) { return one.second.released; }))
      return;
    ++generation;
    for (auto& [name, member] : members) member.has.clear();
    if (members.empty()) return;
    for (const std::string& topic : subscribed) {
      int32_t count = 0;
      while (logs.count({topic, count}) > 0) ++count;
      // As librdkafka's `range`.
      std::vector<Member*> order;
      for (auto& [name, member] : members) order.push_back(&member);
      if (from_the_last.count(topic) > 0) std::reverse(order.begin(), order.end());
      int32_t next = 0;
      int32_t left = static_cast<int32_t>(members.size());
      for (Member* member : order) {
        const int32_t part = (count - next + left - 1) / left;
        --left;
        for (int32_t i = 0; i < part; ++i) member->has.insert({topic, next++});
      }
    }
    for (auto& [name, member] : members) {
      member.released = false;
      member.assigned = true;
    }
  }

  std::mt19937_64 random_;
};

struct SimulatedMembership : Membership {
  int64_t generation = 0;
};

// One instance's hold on the cluster; `killed`: everything it asks for fails from now on. With a
// clock, partitions fall idle, and sources have an end only where until: end says so. Also for
// exchange: in_process, where Start takes all partitions.
class SimulatedSource : public SharedSource {
 public:
  SimulatedSource(SimulatedCluster& cluster, const Config& config, std::string instance,
                  const std::atomic<bool>& killed, const Clock* clock = nullptr)
      : cluster_(cluster),
        config_(config),
        instance_(std::move(instance)),
        killed_(killed),
        clock_(clock) {}
  std::atomic<uint64_t> polls{0};

  absl::Status Open(PartitionTable& partitions) override { return Bind(partitions); }
  absl::Status Look() override { return absl::OkStatus(); }
  absl::Status Bind(PartitionTable& partitions) override {
    std::lock_guard lock(cluster_.mutex);
    partitions_.clear();
    for (size_t i = 0; i < config_.sources.size(); ++i) {
      const std::string& topic = config_.sources[i].topics.front();
      for (int32_t n = 0; cluster_.logs.count({topic, n}) > 0; ++n) {
        PartitionInfo info;
        info.source = config_.sources[i].name;
        info.source_index = static_cast<uint16_t>(i);
        info.topic = topic;
        info.partition = n;
        info.identity =
            info.source + std::string(1, '\0') + topic + std::string(1, '\0') + std::to_string(n);
        const absl::Status added = Add(partitions, info, {topic, n}, i);
        if (!added.ok()) return added;
      }
    }
    for (int32_t n = 0; cluster_.logs.count({config_.exchange_topic(), n}) > 0; ++n)
      partitions_.push_back({.of_shard = true,
                             .id = static_cast<uint16_t>(n),
                             .where = {config_.exchange_topic(), n}});
    return absl::OkStatus();
  }
  absl::Status Own(const std::atomic<bool>&) override {
    cluster_.Join(instance_);
    return absl::OkStatus();
  }
  absl::StatusOr<std::shared_ptr<const Membership>> GetMembership() override {
    std::lock_guard lock(cluster_.mutex);
    if (cluster_.members.count(instance_) == 0) return absl::AbortedError("no member");
    auto membership = std::make_shared<SimulatedMembership>();
    membership->generation = generation_;
    return std::shared_ptr<const Membership>(std::move(membership));
  }
  absl::Status Start(const std::vector<Position>& positions) override {
    std::vector<Place> places;
    for (Partition& one : partitions_) {
      if (one.of_shard) continue;
      one.assigned = true;
      Place place;
      place.id = one.id;
      place.next_offset = 0;
      for (const Position& position : positions) {
        if (position.partition != one.id) continue;
        place.committed = true;
        place.next_offset = position.next_offset;
      }
      const absl::Status located = Locate(&place);
      if (!located.ok()) return located;
      begins_at_end_ = begins_at_end_ || place.at_end;
      places.push_back(place);
    }
    {
      std::lock_guard lock(cluster_.mutex);
      generation_ = cluster_.generation;
    }
    return Read(places);
  }
  bool begins_at_end() const override { return begins_at_end_; }
  absl::Status Poll(DurationNs, Batch* batch) override {
    if (killed_.load()) return absl::CancelledError("killed");
    std::lock_guard lock(cluster_.mutex);
    if (cluster_.members.count(instance_) == 0) return absl::AbortedError("thrown out");
    struct Holder : BatchHolder {
      std::vector<std::unique_ptr<std::string>> bytes;
    };
    auto holder = std::make_unique<Holder>();
    polls.fetch_add(1);
    for (Partition& one : partitions_) {
      if (!one.read || !reading_ || one.held) continue;
      const auto& log = cluster_.logs[one.where];
      int64_t end = one.end >= 0 ? one.end : static_cast<int64_t>(log.size());
      if (!one.of_shard) end = std::min(end, cluster_.readable);
      if (const auto it = cluster_.readable_of.find(one.where); it != cluster_.readable_of.end())
        end = std::min(end, it->second);
      if (one.next < end) Wake(one, batch);
      if (one.next < end) cluster_.handed_out.insert(one.where);
      for (int taken = 0; taken < kTake && one.next < end; ++taken, ++one.next) {
        holder->bytes.push_back(std::make_unique<std::string>(log[static_cast<size_t>(one.next)]));
        if (one.of_shard)
          batch->bundles.push_back({one.id, one.next, *holder->bytes.back()});
        else
          batch->records.push_back({*holder->bytes.back(), one.id, one.next, -1, 0});
      }
      if (clock_ != nullptr && !one.of_shard && !one.idle &&
          one.next == static_cast<int64_t>(log.size()) &&
          clock_->MonotonicNs() - one.last_ns >= config_.sources[one.source].idle_timeout) {
        one.idle = true;
        batch->marks.push_back({PartitionMark::Kind::kIdle, one.id, 0});
      }
      if (one.of_shard || one.ended || one.end < 0 || one.next < one.end) continue;
      one.ended = true;
      batch->marks.push_back({PartitionMark::Kind::kEnded, one.id, 0});
    }
    batch->holder = std::move(holder);
    return absl::OkStatus();
  }
  // With exchange: kafka the shards say when there is nothing more to come.
  bool finished() const override {
    return config_.exchange != ExchangeMode::kKafka && reading_ && sources_ended();
  }
  std::vector<Position> positions() const override {
    std::vector<Position> positions;
    for (const Partition& one : partitions_) {
      if (!one.of_shard && one.read) positions.push_back({one.id, one.next, one.ended});
    }
    return positions;
  }
  absl::Status Committed(const std::vector<Position>&) override { return absl::OkStatus(); }
  absl::Status SetBackpressure(bool) override { return absl::OkStatus(); }
  std::vector<SourceProgress> Progress() const override {
    if (clock_ == nullptr) return {};
    std::lock_guard lock(cluster_.mutex);
    std::vector<SourceProgress> progress;
    for (const Partition& one : partitions_) {
      if (one.of_shard || !one.read) continue;
      progress.push_back(
          {one.id, one.next, -1, one.next < static_cast<int64_t>(cluster_.logs[one.where].size())});
    }
    return progress;
  }
  absl::Status Hold(const std::vector<PartitionId>& partitions) override {
    for (Partition& one : partitions_) {
      one.held = !one.of_shard &&
                 std::find(partitions.begin(), partitions.end(), one.id) != partitions.end();
    }
    return absl::OkStatus();
  }
  absl::Status Close() override { return absl::OkStatus(); }

  bool revoking() const override {
    std::lock_guard lock(cluster_.mutex);
    const auto it = cluster_.members.find(instance_);
    return it != cluster_.members.end() && it->second.revoking;
  }
  absl::Status Release() override {
    reading_ = false;
    cluster_.Release(instance_);
    return absl::OkStatus();
  }
  bool member() const override {
    std::lock_guard lock(cluster_.mutex);
    const auto it = cluster_.members.find(instance_);
    return it != cluster_.members.end() && !it->second.released;
  }
  std::optional<Assignment> TakeAssignment() override {
    std::lock_guard lock(cluster_.mutex);
    const auto it = cluster_.members.find(instance_);
    if (it == cluster_.members.end() || !it->second.assigned) return std::nullopt;
    it->second.assigned = false;
    generation_ = cluster_.generation;
    Assignment assignment;
    for (Partition& one : partitions_) {
      one.assigned = it->second.has.count(one.where) > 0;
      if (!one.assigned) continue;
      if (one.of_shard)
        assignment.shards.push_back(one.id);
      else
        assignment.partitions.push_back(one.id);
    }
    return assignment;
  }
  absl::StatusOr<std::vector<Place>> CommittedPlaces(const Assignment& assignment,
                                                     const std::atomic<bool>&) override {
    std::lock_guard lock(cluster_.mutex);
    std::vector<Place> places;
    const auto add = [&](bool of_shard, uint16_t id) {
      Place place;
      place.of_shard = of_shard;
      place.id = id;
      const auto it = cluster_.committed.find(Find(of_shard, id).where);
      if (it != cluster_.committed.end()) {
        place.committed = true;
        place.next_offset = it->second.offset;
        place.metadata = it->second.metadata;
      }
      places.push_back(std::move(place));
    };
    for (const PartitionId id : assignment.partitions) add(false, id);
    for (const ShardId id : assignment.shards) add(true, id);
    return places;
  }
  absl::Status Locate(Place* place) override {
    std::lock_guard lock(cluster_.mutex);
    if (!place->committed) {
      const SimulatedCluster::Where& where = Find(place->of_shard, place->id).where;
      const auto it = cluster_.begins_at.find(where);
      place->next_offset = it != cluster_.begins_at.end() ? it->second : 0;
      place->at_end = cluster_.latest && !place->of_shard;
      if (place->at_end) cluster_.skipped += cluster_.handed_out.count(where);
    }
    const bool endless = clock_ != nullptr && !place->of_shard &&
                         config_.sources[Find(false, place->id).source].until == Until::kForever;
    if (!place->of_shard && !endless) {
      place->end_offset = static_cast<int64_t>(cluster_.logs[Find(false, place->id).where].size());
    }
    return absl::OkStatus();
  }
  absl::Status Read(const std::vector<Place>& places) override {
    std::lock_guard lock(cluster_.mutex);
    for (Partition& one : partitions_) one.read = false;
    for (const Place& place : places) {
      Partition& one = Find(place.of_shard, place.id);
      one.read = true;
      one.ended = one.idle = false;
      one.last_ns = clock_ != nullptr ? clock_->MonotonicNs() : 0;
      one.next = place.next_offset;
      one.end = place.end_offset;
    }
    reading_ = true;
    return absl::OkStatus();
  }
  std::vector<ShardPosition> shard_positions() const override {
    std::vector<ShardPosition> positions;
    for (const Partition& one : partitions_) {
      if (one.of_shard && one.read) positions.push_back({one.id, one.next});
    }
    return positions;
  }
  bool sources_ended() const override {
    const bool ended = AllEnded();
    bool leaves = false;
    if (ended) {
      std::lock_guard lock(cluster_.mutex);
      leaves = cluster_.leaves_at_end == instance_;
      if (leaves) cluster_.leaves_at_end.clear();
    }
    if (leaves) cluster_.Leave(instance_);
    return ended;
  }

 private:
  bool AllEnded() const {
    return std::all_of(partitions_.begin(), partitions_.end(), [](const Partition& one) {
      return one.of_shard || !one.assigned || one.ended;
    });
  }
  static constexpr int kTake = 20;  // records of a partition a poll: many epochs
  struct Partition {
    bool of_shard = false;
    uint16_t id = 0;
    SimulatedCluster::Where where;
    bool assigned = false;
    bool read = false;
    bool ended = false;
    int64_t next = 0;
    int64_t end = -1;
    size_t source = 0;
    bool held = false;
    bool idle = false;
    int64_t last_ns = 0;
  };
  void Wake(Partition& one, Batch* batch) {
    if (clock_ == nullptr || one.of_shard) return;
    one.last_ns = clock_->MonotonicNs();
    if (one.idle) batch->marks.push_back({PartitionMark::Kind::kActive, one.id, 0});
    one.idle = false;
  }
  absl::Status Add(PartitionTable& partitions, const PartitionInfo& info,
                   const SimulatedCluster::Where& where, size_t source) {
    const auto id = partitions.Add(info);
    if (!id.ok()) return id.status();
    partitions_.push_back({.id = *id, .where = where, .source = source});
    return absl::OkStatus();
  }
  Partition& Find(bool of_shard, uint16_t id) {
    return *std::find_if(partitions_.begin(), partitions_.end(), [&](const Partition& one) {
      return one.of_shard == of_shard && one.id == id;
    });
  }

  SimulatedCluster& cluster_;
  const Config& config_;
  const std::string instance_;
  const std::atomic<bool>& killed_;
  const Clock* const clock_;
  std::vector<Partition> partitions_;
  int64_t generation_ = 0;
  bool begins_at_end_ = false;
  bool reading_ = false;  // nothing is handed out between a release and the next Read
};

class SimulatedLog : public EpochLog {
 public:
  SimulatedLog(SimulatedCluster& cluster, const Config& config, std::string instance,
               const std::atomic<bool>& killed)
      : cluster_(cluster), config_(config), instance_(std::move(instance)), killed_(killed) {}
  absl::Status Init(const std::atomic<bool>&) override {
    writes_.clear();
    return absl::OkStatus();
  }
  absl::Status Begin(EpochId) override {
    writes_.clear();
    return Alive();
  }
  absl::Status Write(const std::string& topic, std::string_view, std::string_view value) override {
    writes_.push_back({{topic, 0}, std::string(value), nullptr});
    return Alive();
  }
  absl::Status Append(int32_t partition, std::string_view record, int64_t* offset) override {
    writes_.push_back({{"changelog", partition}, std::string(record), offset});
    return Alive();
  }
  absl::Status Send(int32_t shard, std::string_view bundle) override {
    writes_.push_back({{config_.exchange_topic(), shard}, std::string(bundle), nullptr});
    return Alive();
  }
  absl::Status Commit(EpochId epoch, const Membership& membership,
                      const std::vector<Position>&) override {
    return CommitOffsets(epoch, membership, {});
  }
  absl::Status CommitOffsets(EpochId, const Membership& membership,
                             const std::vector<GroupOffset>& offsets) override {
    const absl::Status alive = Alive();
    if (!alive.ok()) return alive;
    return cluster_.Commit(instance_,
                           static_cast<const SimulatedMembership&>(membership).generation, writes_,
                           offsets);
  }
  Counters counters() const override { return {}; }

 private:
  absl::Status Alive() const {
    return killed_.load() ? absl::CancelledError("killed") : absl::OkStatus();
  }
  SimulatedCluster& cluster_;
  const Config& config_;
  const std::string instance_;
  const std::atomic<bool>& killed_;
  std::vector<SimulatedCluster::Write> writes_;
};

// A shard's changelog as of now.
class SimulatedReader : public ShardLogReader {
 public:
  SimulatedReader(SimulatedCluster& cluster, ShardId shard) {
    std::lock_guard lock(cluster.mutex);
    records_ = cluster.logs[{"changelog", shard}];
  }
  int64_t start() const override { return 0; }
  int64_t end() const override { return static_cast<int64_t>(records_.size()); }
  absl::Status Seek(int64_t offset) override {
    next_ = offset;
    return absl::OkStatus();
  }
  absl::StatusOr<bool> Next(int64_t* offset, std::string_view* bytes) override {
    if (next_ >= end()) return false;
    *offset = next_;
    *bytes = records_[static_cast<size_t>(next_++)];
    return true;
  }

 private:
  std::vector<std::string> records_;
  int64_t next_ = 0;
};

}  // namespace bongsu
