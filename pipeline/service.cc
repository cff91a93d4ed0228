#include "pipeline/service.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <thread>

#include "pipeline/commit_machine.h"
#include "pipeline/decoder.h"
#include "pipeline/file/file_sink.h"
#include "pipeline/file/file_source.h"
#include "pipeline/kafka/kafka_group_source.h"
#include "pipeline/kafka/kafka_lag.h"
#include "pipeline/kafka/kafka_producer.h"
#include "pipeline/kafka/kafka_sink.h"
#include "pipeline/logging.h"
#include "state/failpoint.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;

constexpr DurationNs kRecoveryPauseNs = 2 * kSecondNs;
// Brokers that do not answer for so long leave the lag unknown.
constexpr DurationNs kLagValidNs = kMinuteNs;
constexpr uint64_t kDiskEveryTicks = 15;
constexpr DurationNs kHeartbeatNs = 3 * kSecondNs;  // librdkafka's heartbeat.interval.ms
// A broker that crashes may have forgotten how we joined the group, and then fences us in the name
// of our own earlier membership. Nothing that it tells shows that; but whoever joins anew goes on,
// and a process that must not go on has met no broker that was gone.
constexpr DurationNs kForgottenNs = 5 * kMinuteNs;
constexpr DurationNs kKeepAliveNs = 100 * kMillisecondNs;
constexpr DurationNs kBehindPauseNs = 200 * kMillisecondNs;

class RealClock : public Clock {
 public:
  int64_t NowNs() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
  int64_t MonotonicNs() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  void Sleep(DurationNs pause) const override {
    std::this_thread::sleep_for(std::chrono::nanoseconds(pause));
  }
};

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

// Files come and go meanwhile: what cannot be asked counts nothing.
uint64_t FolderBytes(const fs::path& path) {
  uint64_t bytes = 0;
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;
    const uint64_t size = it->file_size(gone);
    if (!gone) bytes += size;
  }
  return bytes;
}

}  // namespace

const Clock& SystemClock() {
  static const RealClock clock;
  return clock;
}

Service::Service(const Config& config, Backend& backend)
    : config_(config),
      backend_(backend),
      clock_(backend.clock()),
      started_ns_(clock_.MonotonicNs()),
      board_(clock_),
      current_(std::shared_ptr<const Config>(), &config) {}

Service::~Service() = default;

bool Service::transactional() const {
  return config_.delivery == Delivery::kExactlyOnce && config_.uses_kafka();
}

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
  BONGSU_ASSIGN_OR_RETURN(const EpochId committed, source.CommittedEpoch());
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
  if (!config_.rules_topic.empty() && now - *plan_behind_since_ns_ < kBehindNs)
    return absl::UnavailableError(agreed.behind);
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

absl::Status Service::Listen() {
  if (config_.http_listen.empty()) return absl::OkStatus();
  BONGSU_ASSIGN_OR_RETURN(http_, HttpServer::Start(config_.http_listen, board_.Paths()));
  const std::string host = config_.http_listen.substr(0, config_.http_listen.rfind(':'));
  LogInfo(fmt::format("metrics and health on http://{}:{}", host, http_->port()));
  if (!IsLoopback(config_.http_listen))
    LogWarning(fmt::format("{} can be reached from other machines, without a password", host));
  // Before anything runs: the phase and a restore's progress are to be seen.
  auto nothing = std::make_shared<MetricsSnapshot>();
  nothing->config = current_;
  nothing->sources.resize(config_.sources.size());
  board_.Publish(std::move(nothing));
  if (config_.uses_kafka_sources()) {
    BONGSU_ASSIGN_OR_RETURN(ends_, KafkaEnds::Start(config_, clock_));
  }
  return absl::OkStatus();
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
  LogTopicRestorer(std::unique_ptr<LogTopic> log, Store& store, RestoreWatcher watcher)
      : log_(std::move(log)), store_(store), watcher_(std::move(watcher)) {}
  absl::StatusOr<uint64_t> Restore(ShardId shard) override {
    BONGSU_ASSIGN_OR_RETURN(const std::unique_ptr<ShardLogReader> reader, log_->Reader(shard));
    BONGSU_ASSIGN_OR_RETURN(const RestoreResult result,
                            RestoreFrom(store_, shard, *reader, watcher_));
    return result.position.epoch;
  }

 private:
  const std::unique_ptr<LogTopic> log_;
  Store& store_;
  const RestoreWatcher watcher_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LogRestorer>> Service::MakeLogTopicRestorer(
    const std::atomic<bool>& cancel) {
  BONGSU_ASSIGN_OR_RETURN(std::unique_ptr<LogTopic> log, backend_.OpenLog(config_, cancel, {}));
  return std::unique_ptr<LogRestorer>(
      std::make_unique<LogTopicRestorer>(std::move(log), *store_, WatchRestore()));
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

absl::Status Service::RunOnce(const std::atomic<bool>& stop, bool progress) {
  if (recoveries_ == 0 && !switching_) board_.SetPhase(Phase::kWaiting);
  AdoptNewRules();
  // Where partitions are shared, joining comes last: others wait for a member that does not poll.
  if (shared()) BONGSU_RETURN_IF_ERROR(OpenShared(stop));
  for (auto& source : sources_) BONGSU_RETURN_IF_ERROR(source->Own(stop));
  if (!switching_) board_.SetPhase(Phase::kRestoring);
  if (transactional() && !shared()) BONGSU_RETURN_IF_ERROR(OpenFromLog(stop));
  if (transactional()) BONGSU_RETURN_IF_ERROR(OpenChangelog());
  engine_ = MakeEngine();
  last_records_ = 0;
  if (progress || http_ != nullptr) engine_->on_tick = [this, progress] { Tick(progress); };
  BONGSU_RETURN_IF_ERROR(engine_->Start());
  if (reloader_ != nullptr) reloader_->Done(absl::OkStatus());
  previous_.reset();
  KeepRules();
  switching_ = false;
  ListenForCommands();
  for (const std::string& name : engine_->reset_operators()) {
    LogWarning(
        fmt::format("operator '{}' has changed: the state of its earlier form is dropped", name));
  }
  for (const std::string& name : store_->UnclaimedOperators()) {
    LogWarning(
        fmt::format("the state holds operator '{}', which is not in the configuration", name));
  }
  LogInfo(engine_->resumed() ? "resuming from the last checkpoint" : "starting with empty state");
  if (http_ != nullptr) PublishMetrics();
  board_.SetPhase(Phase::kRunning);
  return engine_->Run(stop);
}

void Service::AllowReload(ReloadWiring wiring) {
  reloader_ = std::make_unique<Reloader>(std::move(wiring.load), wiring.hangup);
  reloader_->SetRunning(current_);
  if (wiring.refused_at_start) reloader_->RefusedAtStart();
  rule_topic_ = std::move(wiring.topic);
}

bool Service::GoOnWithNewRules(const std::atomic<bool>& stop) const {
  if (reloader_ == nullptr || !reloader_->wanted().load() || stop.load()) return false;
  // Input that has ended has closed its windows: there is nothing to go on with.
  return std::any_of(sources_.begin(), sources_.end(),
                     [](const auto& source) { return !source->finished(); });
}

// The first start with new rules has failed, and not for what the one way back mends.
bool Service::RulesAreToBlame(const absl::Status& status) const {
  if (!previous_.has_value() || engine_ == nullptr) return false;
  return !absl::IsAborted(status) && !absl::IsCancelled(status) && !IsFenced(status) &&
         !(transactional() && absl::IsDataLoss(status));
}

absl::Status Service::Reopen() {
  switching_ = true;
  if (engine_ != nullptr) earlier_.Merge(engine_->Totals());
  engine_.reset();
  if (transactional()) return absl::OkStatus();  // RunOnce opens everything from the log
  resume_ = store_->latest();
  for (auto& sink : sinks_) BONGSU_RETURN_IF_ERROR(sink->Close());
  BONGSU_RETURN_IF_ERROR(OpenSinks());
  const bool files = sources_.size() > 1 || !config_.uses_kafka_sources();
  if (!files) return absl::OkStatus();
  BONGSU_RETURN_IF_ERROR(sources_.front()->Close());
  sources_.front() = MakeFileSource(config_);
  return sources_.front()->Open(partitions_);
}

void Service::AdoptNewRules() {
  if (reloader_ == nullptr) return;
  std::shared_ptr<const Config> next = reloader_->Take();
  if (next == nullptr) return;
  if (!previous_.has_value()) previous_ = Previous{current_, earlier_};
  earlier_ = Remap(earlier_, *current_, *next);
  current_ = std::move(next);
  plan_agreed_ = false;
  reloader_->SetRunning(current_);
}

// Nothing was committed with the new rules, so that the store on the disk is as the old ones left
// it; what the start has done to it in memory (numbers of operators, states to drop) goes with it.
absl::Status Service::GoBackToOldRules(const absl::Status& failure) {
  reloader_->Done(absl::InvalidArgumentError(fmt::format(
      "the engine does not start with these rules: {}", std::string(failure.message()))));
  engine_.reset();
  current_ = std::move(previous_->config);
  earlier_ = std::move(previous_->earlier);
  previous_.reset();
  plan_goes_back_ = true;
  reloader_->SetRunning(current_);
  if (!transactional()) {
    store_.reset();
    BONGSU_ASSIGN_OR_RETURN(store_, Store::Open(StateOptions()));
  }
  return Reopen();
}

// The copy by which a restart knows the set that ran (pipeline/topic_rules.h).
void Service::KeepRules() {
  if (current_->topic_rules == nullptr) return;
  const std::string path = AcceptedRulesPath(config_.state.path);
  std::error_code error;
  if (kept_rules_ == current_->topic_rules && fs::exists(path, error)) return;
  const absl::Status status = WriteAcceptedRules(path, config_.rules_topic, *current_->topic_rules);
  if (status.ok())
    kept_rules_ = current_->topic_rules;
  else
    LogWarning(fmt::format("the rules in force are not kept for a restart: {}",
                           std::string(status.message())));
}

// Once the store is open its lock says that the folder is ours. A damaged store was set aside with
// the socket in it: then there is a new one.
void Service::ListenForCommands() {
  if (reloader_ == nullptr) return;
  const std::string path = ControlPath(config_.state.path);
  std::error_code error;
  if (control_ != nullptr && fs::exists(path, error)) return;
  control_.reset();
  auto control =
      ControlSocket::Listen(path, [this](std::string_view command) { return Command(command); });
  if (control.ok())
    control_ = *std::move(control);
  else
    LogWarning(fmt::format("commands cannot reach this process: {}",
                           std::string(control.status().message())));
}

// On the socket's thread.
std::string Service::Command(std::string_view command) {
  if (command != "reload") return "refused\nunknown command\n";
  const absl::StatusOr<std::string> answer = reloader_->Ask();
  if (answer.ok()) return "ok\n" + *answer + "\n";
  const char* word = absl::IsInvalidArgument(answer.status()) ? "refused" : "failed";
  return fmt::format("{}\n{}\n", word, std::string(answer.status().message()));
}

absl::Status Service::Close() {
  absl::Status status;
  for (auto& source : sources_) {
    const absl::Status closed = source->Close();
    if (status.ok()) status = closed;
  }
  for (auto& sink : sinks_) {
    const absl::Status closed = sink->Close();
    if (status.ok()) status = closed;
  }
  return status;
}

absl::Status Service::SetAsideDamaged(const absl::Status& damage) {
  changelog_.reset();
  store_.reset();
  const std::string path = config_.state.path;
  BONGSU_ASSIGN_OR_RETURN(const std::string aside, backend_.SetAside(StateOptions()));
  LogWarning(
      fmt::format("{}: the state in {} was set aside as {}, and is restored from the "
                  "changelog",
                  std::string(damage.message()), path, aside));
  return absl::OkStatus();
}

// Once in the time in which a lost broker may be to blame: where another process does run under our
// identity, the two must not take it from each other for ever.
bool Service::MayRejoin(const absl::Status& status) const {
  return transactional() && IsFenced(status) && broker_failures().UnreachableWithin(kForgottenNs) &&
         (!rejoined_ns_.has_value() || clock_.MonotonicNs() - *rejoined_ns_ > kForgottenNs);
}

// Whoever fenced us, if it was not the broker's loss of memory, is fenced by this in turn; what is
// committed stays true either way (pipeline/DELIVERY.md).
absl::Status Service::Rejoin() {
  LogWarning("a broker was lost shortly before, and may have forgotten us: joining the group anew");
  rejoined_ns_ = clock_.MonotonicNs();
  return sources_.front()->Rejoin();
}

absl::Status Service::Run(const std::atomic<bool>& stop, bool progress) {
  absl::Status status;
  uint64_t in_a_row = 0;
  while (true) {
    status = RunOnce(stop, progress);
    if (status.ok() && GoOnWithNewRules(stop)) {
      status = Reopen();
      if (status.ok()) continue;
    }
    if (absl::IsCancelled(status) && stop.load()) status = absl::OkStatus();
    if (!status.ok() && RulesAreToBlame(status) && !stop.load()) {
      status = GoBackToOldRules(status);
      if (!status.ok()) break;
      continue;
    }
    if (plan_behind_since_ns_.has_value() && absl::IsUnavailable(status) && !stop.load()) {
      if (!std::exchange(plan_behind_said_, true)) {
        LogWarning(fmt::format("waiting for the others' rules: {}", std::string(status.message())));
      }
      clock_.Sleep(kBehindPauseNs);
      continue;
    }
    // Brokers may be away for hours: a recovery waits for them, and is not counted while it does.
    if ((recoveries_ > 0 || switching_) && engine_ == nullptr && absl::IsUnavailable(status) &&
        !stop.load()) {
      LogWarning(fmt::format("recovering: waiting: {}", std::string(status.message())));
      clock_.Sleep(kRecoveryPauseNs);
      continue;
    }
    const bool damaged =
        transactional() && absl::IsDataLoss(status) && !LogFaultOf(status).has_value();
    const bool rejoin = MayRejoin(status);
    if (!(damaged || rejoin || absl::IsAborted(status)) || stop.load()) break;
    // The one way back: drop what memory holds, and go on from what is committed.
    const EngineTotals totals = engine_ != nullptr ? engine_->Totals() : EngineTotals();
    in_a_row = totals.epochs > 0 ? 1 : in_a_row + 1;
    ++recoveries_;
    board_.SetPhase(Phase::kRecovering);
    LogWarning(fmt::format("recovering: {}", std::string(status.message())));
    if (in_a_row > kRecoveriesMax) {
      status = absl::InternalError(fmt::format("gave up after {} recoveries without a commit: {}",
                                               kRecoveriesMax, std::string(status.message())));
      break;
    }
    earlier_.Merge(totals);
    engine_.reset();
    if (damaged || rejoin) {
      const absl::Status mended = damaged ? SetAsideDamaged(status) : Rejoin();
      if (!mended.ok()) {
        status = mended;
        break;
      }
    }
  }
  board_.SetPhase(Phase::kStopping);
  if (reloader_ != nullptr) reloader_->Stop();
  control_.reset();
  const absl::Status closed = Close();
  if (status.ok()) status = closed;
  if (progress) fmt::print(stderr, "\r\x1b[K");
  outcome_ = !status.ok() ? std::string(status.message()) : stop.load() ? "stopped" : "finished";
  return status;
}

void Service::Tick(bool progress) {
  if (shared()) board_.SetPhase(engine_->settled() ? Phase::kRunning : Phase::kRestoring);
  if (progress) Progress();
  if (http_ != nullptr) PublishMetrics();
}

void Service::PublishMetrics() {
  auto snapshot = std::make_shared<MetricsSnapshot>();
  snapshot->config = current_;
  snapshot->engine = engine_->View();
  snapshot->engine.totals.Merge(earlier_);
  const auto ends = ends_ != nullptr ? ends_->Newest() : nullptr;
  const bool known = ends != nullptr && clock_.MonotonicNs() - ends->asked_ns <= kLagValidNs;
  snapshot->sources = SourceStatuses(config_, snapshot->engine, partitions_,
                                     known ? &ends->ends : nullptr, clock_.NowNs());
  snapshot->store = store_->counters();
  snapshot->store_memory = store_->memory();
  snapshot->recoveries = recoveries_;
  if (reloader_ != nullptr) snapshot->reload = reloader_->status();
  if (rule_topic_) {
    snapshot->rule_topic = rule_topic_();
    const auto& rules = current_->topic_rules;
    snapshot->rule_topic_version = rules != nullptr ? rules->version : -1;
  }
  if (ticks_++ % kDiskEveryTicks == 0) disk_bytes_ = FolderBytes(config_.state.path);
  snapshot->disk_bytes = disk_bytes_;
  board_.Publish(std::move(snapshot));
}

void Service::Progress() {
  const LiveCounters& live = engine_->live();
  const uint64_t records = live.records.load(std::memory_order_relaxed);
  fmt::print(stderr, "\r\x1b[K{} records, {}/s, {} alerts, {} late, {} dead letters", records,
             records - last_records_, live.alerts.load(std::memory_order_relaxed),
             live.late.load(std::memory_order_relaxed),
             live.dead_letters.load(std::memory_order_relaxed));
  std::fflush(stderr);
  last_records_ = records;
}

RunReport Service::Report() const {
  RunReport report;
  report.config = current_.get();
  report.totals = earlier_;
  if (engine_ != nullptr) {
    report.totals = engine_->Totals();
    report.totals.Merge(earlier_);
  }
  report.totals.recoveries = recoveries_;
  report.usage = MeasureUsage(started_ns_, clock_);
  if (store_ != nullptr) {
    report.store = store_->counters();
    report.store_memory = store_->memory();
  }
  report.outcome = outcome_;
  return report;
}

bool IsFenced(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) &&
         std::string(status.message()).find("fenced") != std::string::npos;
}

int ExitStatus(const absl::Status& status, const BrokerFailures& failures) {
  if (status.ok()) return 0;
  if (!IsFenced(status) || failures.UnreachableWithin(kForgottenNs)) return 1;
  return 3;
}

}  // namespace bongsu
