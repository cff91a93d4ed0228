// How a service opens what its configuration names: state, log, sources, sinks, and the engine over
// them.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "pipeline/file/file_sink.h"
#include "pipeline/file/file_source.h"
#include "pipeline/kafka/kafka_group_source.h"
#include "pipeline/kafka/kafka_producer.h"
#include "pipeline/kafka/kafka_sink.h"
#include "pipeline/logging.h"
#include "pipeline/service.h"
#include "pipeline/shard_task.h"
#include "state/failpoint.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;

constexpr DurationNs kHeartbeatNs = 3 * kSecondNs;  // librdkafka's heartbeat.interval.ms
constexpr DurationNs kKeepAliveNs = 100 * kMillisecondNs;

// Several failures are one status: a user mends all of them before the next try.
class Failures {
 public:
  void Add(const absl::Status& status) {
    if (status.ok()) return;
    if (first_.ok()) first_ = status;
    if (!text_.empty()) text_ += "\n";
    text_ += std::string(status.message());
  }
  absl::Status status() const { return first_.ok() ? first_ : absl::Status(first_.code(), text_); }

 private:
  absl::Status first_;
  std::string text_;
};

// The nearest folder that exists must let us make the rest: tried, because permissions do not tell
// everything (a full or read-only file system, /proc).
absl::Status CanMake(const fs::path& path) {
  fs::path parent = fs::absolute(path);
  std::error_code error;
  while (!fs::exists(parent, error) && parent.has_relative_path()) parent = parent.parent_path();
  std::string probe = (parent / ".bongsu-check-XXXXXX").string();
  if (mkdtemp(probe.data()) != nullptr) {
    rmdir(probe.c_str());
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(
      fmt::format("cannot make {}: {}: {}", path.string(), parent.string(), std::strerror(errno)));
}

}  // namespace

StoreOptions Service::StateOptions() const {
  StoreOptions options;
  options.path = config_.state.path;
  options.memory_bytes = static_cast<size_t>(config_.state.memory_bytes) / 2;
  options.application = config_.application;
  options.shards = config_.state.shards;
  return options;
}

// Partitions keep the numbers that stored events know them by.
void Service::RestorePartitions(const PipelinePositions& positions) {
  for (const auto& partition : positions.partitions) {
    PartitionInfo info = partition.info;
    for (size_t i = 0; i < config_.sources.size(); ++i) {
      if (config_.sources[i].name == info.source) info.source_index = static_cast<uint16_t>(i);
    }
    partitions_.Restore(std::move(info));
  }
}

absl::Status Service::OpenState(Mode mode) {
  std::error_code error;
  if (mode == Mode::kCheck && !fs::exists(config_.state.path, error))
    return CanMake(config_.state.path);
  fs::create_directories(config_.state.path, error);
  if (error) {
    return absl::UnavailableError(
        fmt::format("cannot make the state folder {}: {}", config_.state.path, error.message()));
  }
  // With a changelog the store can be opened only when the partitions are ours: OpenFromLog.
  if (transactional()) return CanMake(config_.state.path);
  BONGSU_ASSIGN_OR_RETURN(store_, Store::Open(StateOptions()));
  resume_ = store_->latest();
  // Positions and rows must be of one moment.
  if (store_->replayed()) {
    return absl::FailedPreconditionError(fmt::format(
        "the state in {} is ahead of its positions: it was being restored from the changelog. Let "
        "it run with delivery: exactly_once until it has committed, or start with another "
        "state.path",
        config_.state.path));
  }
  for (const OperatorNumbers::Numbered& one : store_->operators().All()) {
    if (one.name.name != kClocksOperator) continue;
    return absl::FailedPreconditionError(fmt::format(
        "the state in {} is of an instance with exchange: kafka, which holds a part of the shards: "
        "go on with that, or start with another state.path",
        config_.state.path));
  }
  if (!resume_.has_value()) return absl::OkStatus();
  BONGSU_ASSIGN_OR_RETURN(const PipelinePositions positions, DecodePositions(resume_->positions));
  RestorePartitions(positions);
  return absl::OkStatus();
}

// Shows on the board how far restoring is.
RestoreWatcher Service::WatchRestore() {
  auto restore = std::make_shared<RestoreStatus>();
  restore->shards = config_.state.shards;
  return [this, restore](const RestoreProgress& shard, bool done) {
    RestoreStatus now = *restore;
    now.rows += shard.rows;
    now.bytes += shard.bytes;
    now.offsets_left = shard.end - shard.offset;
    if (done) {
      ++now.shards_done;
      now.offsets_left = 0;
      *restore = now;
    }
    board_.SetRestore(now);
  };
}

absl::Status Service::OpenFromLog(const std::atomic<bool>& stop) {
  BONGSU_FAILPOINT(kOwned);
  RecordSource& source = *sources_.front();  // all Kafka sources are one
  changelog_.reset();
  store_.reset();
  BONGSU_RETURN_IF_ERROR(log_->Init(stop));
  BONGSU_ASSIGN_OR_RETURN(const EpochId committed, source.CommittedEpoch(stop));
  BONGSU_ASSIGN_OR_RETURN(
      changelog_topic_, backend_.OpenLog(config_, stop, [&source] { return source.KeepAlive(); }));
  const auto open_store = [this](std::optional<uint64_t> hash_seed) {
    StoreOptions options = StateOptions();
    options.hash_seed = hash_seed;
    return backend_.OpenStore(options);
  };
  absl::StatusOr<Recovered> recovered =
      Recover(config_, *changelog_topic_, open_store, committed, WatchRestore());
  if (!recovered.ok()) return Doubt(recovered.status());
  store_ = std::move(recovered->store);
  resume_ = std::move(recovered->resume);
  partitions_.Clear();
  if (resume_.has_value()) {
    BONGSU_ASSIGN_OR_RETURN(const PipelinePositions positions, DecodePositions(resume_->positions));
    RestorePartitions(positions);
  }
  return source.Bind(partitions_);
}

// Unavailable: the others run newer rules, and ours are on their way.
absl::StatusOr<Registry> Service::Agree(const std::vector<PartitionInfo>& partitions,
                                        const std::atomic<bool>& stop) {
  PlanWish wish;
  const auto name_of = [](const OperatorSpec& op) {
    return op.rule().name + " " + op.semantic_hash();
  };
  for (const auto& op : current_->operators) wish.plan.push_back(name_of(*op));
  std::sort(wish.plan.begin(), wish.plan.end());
  wish.rules_topic = config_.rules_topic;
  if (current_->topic_rules != nullptr) wish.rules_version = current_->topic_rules->version;
  wish.may_change = !plan_agreed_;
  wish.go_back = plan_goes_back_;
  BONGSU_ASSIGN_OR_RETURN(Agreement agreed, AgreeOnRegistry(config_, partitions, wish, stop));
  if (agreed.behind.empty()) {
    const Registry& registry = agreed.registry;
    plan_version_ = registry.plan_version;
    operators_since_.clear();
    for (const auto& op : current_->operators) {
      const auto at = std::lower_bound(registry.plan.begin(), registry.plan.end(), name_of(*op));
      operators_since_.push_back(registry.since[static_cast<size_t>(at - registry.plan.begin())]);
    }
    plan_agreed_ = true;
    plan_goes_back_ = false;
    plan_behind_since_ns_.reset();
    plan_behind_said_ = false;
    return std::move(agreed.registry);
  }
  const int64_t now = clock_.MonotonicNs();
  if (!plan_behind_since_ns_.has_value()) plan_behind_since_ns_ = now;
  // Files do not change by themselves.
  const bool coming =
      now - *plan_behind_since_ns_ < kBehindNs || (reloader_ != nullptr && reloader_->asked());
  if (!config_.rules_topic.empty() && coming) return absl::UnavailableError(agreed.behind);
  return absl::FailedPreconditionError(
      fmt::format("{}. Give this instance the same configuration and start it again; nothing is "
                  "lost meanwhile",
                  agreed.behind));
}

absl::Status Service::OpenShared(const std::atomic<bool>& stop) {
  changelog_.reset();
  store_.reset();
  BONGSU_RETURN_IF_ERROR(log_->Init(stop));
  PartitionTable here;  // numbered by the registry, not by us
  BONGSU_RETURN_IF_ERROR(shared_source_->Look());
  BONGSU_RETURN_IF_ERROR(shared_source_->Bind(here));
  std::vector<PartitionInfo> wanted;
  for (size_t id = 0; id < here.size(); ++id)
    wanted.push_back(here.Get(static_cast<PartitionId>(id)));
  BONGSU_ASSIGN_OR_RETURN(const Registry registry, Agree(wanted, stop));
  partitions_.Clear();
  PipelinePositions known;
  for (const PartitionInfo& info : registry.partitions) known.partitions.push_back({info, {}, {}});
  RestorePartitions(known);
  BONGSU_RETURN_IF_ERROR(shared_source_->Bind(partitions_));
  StoreOptions options = StateOptions();
  options.hash_seed = registry.hash_seed;
  BONGSU_ASSIGN_OR_RETURN(store_, backend_.OpenStore(options));
  resume_ = store_->latest();
  BONGSU_ASSIGN_OR_RETURN(changelog_topic_, backend_.OpenLog(config_, stop, {}));
  return absl::OkStatus();
}

// A process that was stopped for long reads a log on which somebody else has gone on meanwhile, and
// finds it in disorder. What is wrong with the log counts only if nobody has taken it from us.
absl::Status Service::Doubt(absl::Status found) {
  if (!absl::IsFailedPrecondition(found) && !absl::IsDataLoss(found)) return found;
  if (IsFenced(found)) return found;  // seen meanwhile by what keeps the membership
  RecordSource& source = *sources_.front();
  for (int64_t waited = 0; waited < kHeartbeatNs; waited += kKeepAliveNs) {
    BONGSU_RETURN_IF_ERROR(source.KeepAlive());
    clock_.Sleep(kKeepAliveNs);
  }
  const absl::Status owner = source.GetMembership().status();
  return owner.ok() ? found : owner;
}

absl::Status Service::OpenSources() {
  joined_ns_ = clock_.MonotonicNs();
  const bool files = std::any_of(config_.sources.begin(), config_.sources.end(),
                                 [](const SourceConfig& source) { return !source.files.empty(); });
  if (files) sources_.push_back(MakeFileSource(config_));
  if (shared()) {
    std::unique_ptr<SharedSource> source = MakeKafkaGroupSource(config_, clock_);
    shared_source_ = source.get();
    sources_.push_back(std::move(source));
  } else if (config_.uses_kafka_sources()) {
    sources_.push_back(backend_.Source(config_));
  }
  Failures failures;
  for (auto& source : sources_) failures.Add(source->Open(partitions_));
  return failures.status();
}

absl::Status Service::OpenSinks() {
  const std::array<const SinkConfig*, kStreams> configs = {&config_.alerts, &config_.late,
                                                           &config_.dead_letter};
  if (transactional()) {
    log_ = MakeTransactionLog(backend_.Transaction(config_, partitions_), ChangelogTopic(config_),
                              clock_, config_.exchange_topic());
    for (size_t i = 0; i < configs.size(); ++i) sinks_[i] = MakeEpochSink(*log_, configs[i]->topic);
    return absl::OkStatus();
  }
  std::shared_ptr<KafkaProducer> producer;
  Failures failures;
  for (size_t i = 0; i < configs.size(); ++i) {
    if (!configs[i]->file.empty()) {
      sinks_[i] = MakeFileSink(configs[i]->file);
    } else {
      if (producer == nullptr) {
        auto made = KafkaProducer::Make(config_, {});
        if (!made.ok()) return made.status();
        producer = *std::move(made);
      }
      sinks_[i] = MakeKafkaSink(producer, configs[i]->topic);
    }
    failures.Add(sinks_[i]->Open());
  }
  return failures.status();
}

// What exactly-once rests on, the topics' and the brokers' settings; and those of the rules topic,
// which would lose rules if it were not compacted.
absl::Status Service::CheckKafkaTopics(Mode mode) {
  BONGSU_ASSIGN_OR_RETURN(const std::vector<TopicFinding> findings, backend_.LookAtTopics(config_));
  Failures failures;
  for (const TopicFinding& finding : findings) {
    if (!transactional() && finding.topic != config_.rules_topic) continue;
    if (finding.wrong)
      failures.Add(absl::FailedPreconditionError(finding.text));
    else if (mode == Mode::kCheck)
      fmt::print(stderr, "unsafe: {}\n", finding.text);
    else
      LogWarning("unsafe: " + finding.text);
  }
  return failures.status();
}

absl::Status Service::Open(Mode mode) {
  Failures failures;
  if (mode == Mode::kRun) failures.Add(Listen());
  failures.Add(OpenState(mode));
  const absl::Status sources = OpenSources();
  failures.Add(sources);
  // Brokers that do not answer would be waited for again, and fail for the same reason.
  if (absl::IsUnavailable(sources)) return failures.status();
  if (transactional() || !config_.rules_topic.empty()) failures.Add(CheckKafkaTopics(mode));
  failures.Add(OpenSinks());
  if (mode == Mode::kCheck && failures.status().ok() && !transactional()) {
    if (store_ != nullptr) {
      failures.Add(MakeEngine()->Check());
    } else {
      for (auto& sink : sinks_) failures.Add(sink->CheckRecover(0));
    }
  }
  return failures.status();
}

absl::Status Service::OpenChangelog() {
  std::vector<ShardId> shards;  // shared ones come later, one by one
  if (!shared()) {
    shards.resize(store_->shards());
    std::iota(shards.begin(), shards.end(), ShardId{0});
  }
  BONGSU_ASSIGN_OR_RETURN(changelog_,
                          Changelog::Open(*store_, shards, backend_.LogOptions(config_)));
  return absl::OkStatus();
}

namespace {

class LogTopicRestorer : public LogRestorer {
 public:
  LogTopicRestorer(std::unique_ptr<LogTopic> log, Store& store, uint64_t plan_version,
                   RestoreWatcher watcher)
      : log_(std::move(log)), store_(store), watcher_(std::move(watcher)) {
    options_.plan_version = plan_version;
  }
  absl::StatusOr<uint64_t> Restore(ShardId shard) override {
    BONGSU_ASSIGN_OR_RETURN(const std::unique_ptr<ShardLogReader> reader, log_->Reader(shard));
    BONGSU_ASSIGN_OR_RETURN(const RestoreResult result,
                            RestoreFrom(store_, shard, *reader, watcher_, options_));
    return result.position.epoch;
  }

 private:
  const std::unique_ptr<LogTopic> log_;
  Store& store_;
  const RestoreWatcher watcher_;
  RestoreOptions options_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LogRestorer>> Service::MakeLogTopicRestorer(
    const std::atomic<bool>& cancel) {
  BONGSU_ASSIGN_OR_RETURN(std::unique_ptr<LogTopic> log, backend_.OpenLog(config_, cancel, {}));
  return std::unique_ptr<LogRestorer>(
      std::make_unique<LogTopicRestorer>(std::move(log), *store_, plan_version_, WatchRestore()));
}

std::unique_ptr<Engine> Service::MakeEngine() {
  EngineParts parts;
  parts.resume = resume_;
  parts.partitions = &partitions_;
  parts.store = store_.get();
  for (auto& source : sources_) parts.sources.push_back(source.get());
  for (size_t i = 0; i < sinks_.size(); ++i) parts.sinks[i] = sinks_[i].get();
  parts.clock = &clock_;
  parts.pause = reloader_ != nullptr ? &reloader_->wanted() : nullptr;
  if (transactional()) {
    parts.scheduler = backend_.scheduler();
    parts.exactly_once.log = log_.get();
    parts.exactly_once.changelog = changelog_.get();
    parts.exactly_once.trim = [this](const std::map<int, int64_t>& before) {
      return changelog_topic_->Trim(before);
    };
  }
  if (shared()) {
    parts.exactly_once.trim_exchange = [this](const std::map<int, int64_t>& before) {
      return changelog_topic_->TrimTopic(config_.exchange_topic(), before);
    };
    parts.shared.emplace();
    parts.shared->source = shared_source_;
    parts.shared->plan_version = plan_version_;
    parts.shared->since = operators_since_;
    parts.shared->make_restorer = [this](const std::atomic<bool>& cancel) {
      return MakeLogTopicRestorer(cancel);
    };
  }
  return std::make_unique<Engine>(*current_, std::move(parts));
}

}  // namespace bongsu
