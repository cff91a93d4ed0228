#include "pipeline/service.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "pipeline/commit_machine.h"
#include "pipeline/kafka/kafka_lag.h"
#include "pipeline/logging.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;

constexpr DurationNs kRecoveryPauseNs = 2 * kSecondNs;
// Brokers that do not answer for so long leave the lag unknown.
constexpr DurationNs kLagValidNs = kMinuteNs;
constexpr uint64_t kDiskEveryTicks = 15;
// A broker that crashes may have forgotten how we joined the group, and then fences us in the name
// of our own earlier membership. Nothing that it tells shows that; but whoever joins anew goes on,
// and a process that must not go on has met no broker that was gone.
constexpr DurationNs kForgottenNs = 5 * kMinuteNs;
// TCP delivers what a process had sent before it was killed. Where that is a join, and the next
// process of this name has joined meanwhile, the dead one fences it.
constexpr DurationNs kOwnPastNs = kMinuteNs;
constexpr DurationNs kBehindPauseNs = 200 * kMillisecondNs;
constexpr DurationNs kPauseStepNs = 100 * kMillisecondNs;  // a stop is heard between two

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
  if (absl::Status started = engine_->Start(); !started.ok()) {
    if (absl::IsUnavailable(started)) engine_.reset();  // nothing of it runs: once more, later
    return started;
  }
  if (reloader_ != nullptr) reloader_->Done(absl::OkStatus());
  previous_.reset();
  KeepRules();
  switching_ = false;
  ListenForCommands();
  for (const std::string& name : engine_->reset_operators()) {
    LogWarning(
        fmt::format("operator '{}' has changed: the state of its earlier form is dropped", name));
  }
  for (const std::string& name : engine_->dropped_operators()) {
    LogWarning(fmt::format(
        "operator '{}' is not in the configuration any more: its state is dropped", name));
  }
  LogInfo(engine_->resumed() ? "resuming from the last checkpoint" : "starting with empty state");
  if (http_ != nullptr) PublishMetrics();
  board_.SetPhase(Phase::kRunning);
  return engine_->Run(stop);
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

// Once in five minutes: where another process does run under our identity, the two must not take it
// from each other for ever.
bool Service::MayRejoin(const absl::Status& status) const {
  const int64_t now = clock_.MonotonicNs();
  return config_.uses_kafka_sources() && IsFenced(status) &&
         (broker_failures().UnreachableWithin(kForgottenNs) || now - joined_ns_ < kOwnPastNs) &&
         (!rejoined_ns_.has_value() || now - *rejoined_ns_ > kForgottenNs);
}

// Whoever fenced us, if it was not our own past, is fenced by this in turn; what is committed stays
// true either way (pipeline/DELIVERY.md).
absl::Status Service::Rejoin() {
  LogWarning(broker_failures().UnreachableWithin(kForgottenNs)
                 ? "a broker was lost shortly before, and may have forgotten us: joining the group "
                   "anew"
                 : "what fenced us so soon may be a request of the process before us: joining the "
                   "group anew");
  rejoined_ns_ = joined_ns_ = clock_.MonotonicNs();
  BONGSU_RETURN_IF_ERROR(sources_.back()->Rejoin());  // all Kafka sources are one; files come first
  return transactional() ? absl::OkStatus() : ReopenFromDisk();
}

absl::Status Service::Run(const std::atomic<bool>& stop, bool progress) {
  absl::Status status;
  RecoveryPace pace;
  while (true) {
    status = RunOnce(stop, progress);
    if (status.ok() && GoesOn(stop)) {
      status = Reopen();
      if (status.ok()) continue;
    }
    // What a stop cuts short is no failure: nothing of it is committed.
    if (stop.load() && (absl::IsCancelled(status) || absl::IsAborted(status) ||
                        (absl::IsUnavailable(status) && engine_ == nullptr)))
      status = absl::OkStatus();
    if (!status.ok() && RulesAreToBlame(status) && !stop.load()) {
      status = GoBackToOldRules(status);
      if (!status.ok()) break;
      continue;
    }
    if (plan_behind_since_ns_.has_value() && absl::IsUnavailable(status) && !stop.load()) {
      if (!std::exchange(plan_behind_said_, true)) {
        LogWarning(fmt::format("waiting for the others' rules: {}", std::string(status.message())));
      }
      // A set that the others have left behind never runs; whoever waits for it asks for the next.
      if (reloader_ != nullptr) reloader_->Done(status);
      clock_.Sleep(kBehindPauseNs);
      continue;
    }
    // Brokers may be away for hours: a recovery waits for them, and is not counted while it does.
    if ((recoveries_ > 0 || switching_) && engine_ == nullptr && absl::IsUnavailable(status) &&
        !stop.load()) {
      LogWarning(fmt::format("recovering: waiting: {}", std::string(status.message())));
      clock_.Sleep(kRecoveryPauseNs);
      // What this start has done to the store in memory (numbers of operators, states to drop) must
      // not be met by other rules, if a reload brings some meanwhile.
      if (!transactional()) {
        status = OpenStoreAgain();
        if (!status.ok()) break;
      }
      continue;
    }
    const bool damaged =
        transactional() && absl::IsDataLoss(status) && !LogFaultOf(status).has_value();
    const bool rejoin = MayRejoin(status);
    if (!(damaged || rejoin || absl::IsAborted(status)) || stop.load()) break;
    // The one way back: drop what memory holds, and go on from what is committed.
    const EngineTotals totals = engine_ != nullptr ? engine_->Totals() : EngineTotals();
    const bool again = pace.Again(clock_.MonotonicNs(), totals.epochs > 0);
    ++recoveries_;
    board_.SetPhase(Phase::kRecovering);
    LogWarning(fmt::format("recovering: {}", std::string(status.message())));
    if (!again) {
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
    for (DurationNs left = pace.pause(); left > 0 && !stop.load(); left -= kPauseStepNs)
      clock_.Sleep(std::min(left, kPauseStepNs));
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
  const bool waits = std::any_of(sources_.begin(), sources_.end(),
                                 [](const auto& source) { return source->waiting(); });
  if (shared())
    board_.SetPhase(engine_->settled() ? Phase::kRunning : Phase::kRestoring);
  else
    board_.SetPhase(waits ? Phase::kWaiting : Phase::kRunning);
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
