// File: tests/pipeline/simulated_process.h
//
// A process of the service over a simulated Kafka: the real engine, made anew after every Aborted
// and for every other plan, as pipeline/service.h does it.
//
//   SimulatedPlans plans({&config});
//   SimulatedProcess one(cluster, plans, "one", folder / "one");
//   while (!one.done()) ...
//
// Thread-safety: all but the constructor and the destructor from any thread.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "pipeline/engine.h"
#include "pipeline/positions.h"
#include "state/changelog.h"
#include "state/restore.h"
#include "tests/pipeline/simulated_cluster.h"

namespace bongsu {

// The configurations of an application, the oldest first, and the newest that any process has run
// (pipeline/kafka/kafka_registry.h).
class SimulatedPlans {
 public:
  explicit SimulatedPlans(std::vector<const Config*> configs) : configs_(std::move(configs)) {}
  const Config& config(size_t plan) const { return *configs_[plan]; }
  // As Registry::since, by operator.
  std::vector<uint64_t> Since(size_t plan) const {
    std::vector<uint64_t> since;
    for (const auto& op : configs_[plan]->operators) {
      size_t first = plan;
      while (first > 0 && Has(first - 1, op->semantic_hash())) --first;
      since.push_back(first == 0 ? 0 : first + 1);
    }
    return since;
  }
  // False: the others run a newer one.
  bool Agree(size_t plan) {
    size_t newest = newest_.load();
    while (plan > newest && !newest_.compare_exchange_weak(newest, plan)) {
    }
    return plan >= newest;
  }

 private:
  bool Has(size_t plan, const std::string& hash) const {
    const auto& operators = configs_[plan]->operators;
    return std::any_of(operators.begin(), operators.end(),
                       [&](const auto& op) { return op->semantic_hash() == hash; });
  }

  const std::vector<const Config*> configs_;
  std::atomic<size_t> newest_{0};
};

// A restorer over the simulated changelog.
class SimulatedRestorer : public LogRestorer {
 public:
  SimulatedRestorer(SimulatedCluster& cluster, Store& store, uint64_t plan_version)
      : cluster_(cluster), store_(store) {
    options_.plan_version = plan_version;
  }
  absl::StatusOr<uint64_t> Restore(ShardId shard) override {
    SimulatedReader reader(cluster_, shard);
    const auto result = RestoreShard(store_, shard, reader, options_);
    if (!result.ok()) return result.status();
    return result->position.epoch;
  }

 private:
  SimulatedCluster& cluster_;
  Store& store_;
  RestoreOptions options_;
};

class SimulatedProcess {
 public:
  // `clock`: partitions fall idle by it; null: the system's, and every source has an end. `plan`:
  // the one it begins with.
  SimulatedProcess(SimulatedCluster& cluster, SimulatedPlans& plans, std::string name,
                   std::filesystem::path folder, const Clock* clock = nullptr, size_t plan = 0)
      : cluster_(cluster),
        plans_(plans),
        clock_(clock),
        name_(std::move(name)),
        folder_(std::move(folder)),
        wanted_(plan) {
    thread_ = std::thread([this] { Run(); });
  }
  ~SimulatedProcess() { Kill(); }
  void Kill() {
    killed_.store(true);
    if (thread_.joinable()) thread_.join();
    cluster_.Leave(name_);
  }
  // A reload.
  void SwitchTo(size_t plan) {
    wanted_.store(plan);
    pause_.store(true);
  }
  bool done() const { return done_.load(); }
  const std::string& name() const { return name_; }
  const absl::Status& status() const { return status_; }
  bool runs(size_t plan) const { return running_.load() == plan; }
  uint64_t kept() const { return kept_.load(); }
  uint64_t polls() const { return polls_.load(); }
  uint64_t holds() const { return holds_.load(); }
  // The offset that is read next, of a topic's partition that was looked at last.
  int64_t next(const std::string& topic) const { return topic == "ep" ? ep_.load() : fw_.load(); }

 private:
  static constexpr size_t kNothing = ~size_t{0};

  void Run() {
    do {
      pause_.store(false);
      const size_t plan = wanted_.load();
      if (plans_.Agree(plan)) {
        status_ = RunOnce(plans_.config(plan), plan + 1);
      } else {
        status_ = absl::AbortedError("behind");
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    } while ((absl::IsAborted(status_) || (status_.ok() && pause_.load())) && !killed_.load());
    // A bounded run that has ended leaves; a killed one is found out by its Kill.
    if (!killed_.load()) cluster_.Leave(name_);
    done_.store(true);
  }

  absl::Status RunOnce(const Config& config, uint64_t plan_version) {
    const bool shared = config.exchange == ExchangeMode::kKafka;
    const uint16_t shards = static_cast<uint16_t>(config.state.shards);
    StoreOptions options;
    options.path = folder_.string();
    options.application = config.application;
    options.shards = shards;
    options.hash_seed = 42;
    options.memory_bytes = size_t{8} << 20;
    std::filesystem::create_directories(folder_);
    auto store = Store::Open(options);
    if (!store.ok()) return store.status();
    PartitionTable partitions;
    EngineParts parts;
    std::vector<ShardId> own;
    if (!shared) {
      own.resize(shards);
      std::iota(own.begin(), own.end(), ShardId{0});
      for (const ShardId shard : own) {
        SimulatedReader reader(cluster_, shard);
        const auto restored = RestoreShard(**store, shard, reader);
        if (!restored.ok()) return restored.status();
      }
      parts.resume = Committed(shards, partitions);
    }
    auto changelog = Changelog::Open(**store, own);
    if (!changelog.ok()) return changelog.status();
    SimulatedSource source(cluster_, config, name_, killed_, clock_);
    SimulatedLog log(cluster_, config, name_, killed_);
    absl::Status status = source.Bind(partitions);
    if (!status.ok()) return status;
    parts.partitions = &partitions;
    parts.store = store->get();
    parts.sources = {&source};
    std::array<std::unique_ptr<Sink>, kStreams> sinks;
    const char* topics[] = {"alerts", "late", "dead"};
    for (size_t i = 0; i < sinks.size(); ++i) {
      sinks[i] = MakeEpochSink(log, topics[i]);
      parts.sinks[i] = sinks[i].get();
    }
    parts.clock = clock_ != nullptr ? clock_ : &SystemClock();
    parts.pause = &pause_;
    parts.exactly_once.log = &log;
    parts.exactly_once.changelog = changelog->get();
    parts.exactly_once.trim = [](const std::map<int, int64_t>&) { return absl::OkStatus(); };
    if (shared) {
      parts.resume = (*store)->latest();
      parts.exactly_once.trim_exchange = parts.exactly_once.trim;
      parts.shared.emplace();
      parts.shared->source = &source;
      parts.shared->plan_version = plan_version;
      parts.shared->since = plans_.Since(plan_version - 1);
      parts.shared->make_restorer =
          [&,
           plan_version](const std::atomic<bool>&) -> absl::StatusOr<std::unique_ptr<LogRestorer>> {
        return std::unique_ptr<LogRestorer>(
            std::make_unique<SimulatedRestorer>(cluster_, **store, plan_version));
      };
    }
    Engine engine(config, std::move(parts));
    const std::atomic<bool> never{false};
    status = source.Own(never);
    if (status.ok()) status = engine.Start();
    std::atomic<bool> over{false};
    std::thread counting([&] {
      while (!over.load()) {
        polls_.store(source.polls.load());
        for (const SourceProgress& one : source.Progress())
          (partitions.Get(one.partition).topic == "ep" ? ep_ : fw_).store(one.next_offset);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    });
    if (status.ok()) {
      running_.store(plan_version - 1);
      status = engine.Run(killed_);
    }
    over.store(true);
    counting.join();
    holds_ += engine.Totals().holds;
    kept_ += engine.Totals().ownership.shards_kept;
    return status;
  }

  // Where the last epoch stands (exchange: in_process).
  std::optional<CheckpointMeta> Committed(uint16_t shards, PartitionTable& partitions) {
    std::string record;
    {
      std::lock_guard lock(cluster_.mutex);
      const auto& log = cluster_.logs[{"changelog", shards}];
      if (log.empty()) return std::nullopt;
      record = log.back();
    }
    const auto positions = DecodePositions(record);
    if (!positions.ok()) return std::nullopt;
    for (const auto& partition : positions->partitions) {
      PartitionInfo info = partition.info;
      info.source_index = info.source == "fw" ? 0 : 1;
      partitions.Restore(info);
    }
    CheckpointMeta meta;
    meta.epoch = positions->epoch;
    meta.positions = record;
    return meta;
  }

  SimulatedCluster& cluster_;
  SimulatedPlans& plans_;
  const Clock* const clock_;
  const std::string name_;
  const std::filesystem::path folder_;
  std::atomic<bool> killed_{false};
  std::atomic<bool> pause_{false};
  std::atomic<bool> done_{false};
  std::atomic<size_t> wanted_;
  std::atomic<size_t> running_{kNothing};
  std::atomic<uint64_t> kept_{0};
  std::atomic<uint64_t> polls_{0};
  std::atomic<uint64_t> holds_{0};
  std::atomic<int64_t> ep_{0}, fw_{0};
  absl::Status status_;
  std::thread thread_;
};

}  // namespace bongsu
