// File: pipeline/service.h
//
// One run of the service, from a validated configuration to the report: builds the parts that the
// configuration names, opens them, and hands them to the engine. `check` is the same path up to the
// first record.
//
//   Service service(config);
//   absl::Status status = service.Open(Service::Mode::kRun);   // broker, topics, files, state
//   if (status.ok()) status = service.Run(stop, progress);
//   int exit_status = ExitStatus(status);
//
// Thread-safety: one thread; `stop` may be set from a signal handler.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "pipeline/backend.h"
#include "pipeline/config.h"
#include "pipeline/control_socket.h"
#include "pipeline/engine.h"
#include "pipeline/epoch_log.h"
#include "pipeline/http_server.h"
#include "pipeline/io.h"
#include "pipeline/kafka/broker_failures.h"
#include "pipeline/kafka/kafka_registry.h"
#include "pipeline/metrics.h"
#include "pipeline/positions.h"
#include "pipeline/reload.h"
#include "pipeline/report.h"
#include "pipeline/status_board.h"
#include "state/changelog.h"
#include "state/restore.h"
#include "state/store.h"

namespace bongsu {

class KafkaEnds;

class Service {
 public:
  enum class Mode { kCheck, kRun };

  // `config` and `backend` outlive the service.
  explicit Service(const Config& config, Backend& backend = RealBackend());
  ~Service();

  // Opens everything and checks that it can be used. All failures are in the status, one a line.
  [[nodiscard]] absl::Status Open(Mode mode);
  struct ReloadWiring {
    Reloader::Load load;
    std::atomic<bool>* hangup = nullptr;     // set by a signal handler, or the rules topic's reader
    std::function<RuleTopicStatus()> topic;  // empty: there is no rules topic
    bool refused_at_start = false;           // the topic's newest set is not the one that runs
  };
  // Before Run: the rules may be changed while it runs, by `hangup` or through the control socket
  // in the state's folder.
  void AllowReload(ReloadWiring wiring);
  // Until the input ends or `stop` is set; `progress` prints a line a second to standard error.
  [[nodiscard]] absl::Status Run(const std::atomic<bool>& stop, bool progress);
  // After Run.
  RunReport Report() const;

 private:
  bool transactional() const;
  bool MayRejoin(const absl::Status& status) const;
  absl::Status Rejoin();
  bool shared() const { return config_.exchange == ExchangeMode::kKafka; }
  StoreOptions StateOptions() const;
  absl::Status OpenState(Mode mode);
  void RestorePartitions(const PipelinePositions& positions);
  // Exactly once on Kafka: store and positions as of the last committed epoch.
  absl::Status OpenFromLog(const std::atomic<bool>& stop);
  absl::Status Doubt(absl::Status found);
  std::function<void(const RestoreProgress& progress, bool done)> WatchRestore();
  // exchange: kafka: what all instances agree on, and the store as it is; shards are restored when
  // the group gives them to us.
  absl::Status OpenShared(const std::atomic<bool>& stop);
  absl::StatusOr<Registry> Agree(const std::vector<PartitionInfo>& partitions,
                                 const std::atomic<bool>& stop);
  absl::Status OpenChangelog();
  absl::StatusOr<std::unique_ptr<LogRestorer>> MakeLogTopicRestorer(
      const std::atomic<bool>& cancel);
  absl::Status CheckKafkaTopics(Mode mode);
  absl::Status OpenSources();
  absl::Status OpenSinks();
  std::unique_ptr<Engine> MakeEngine();
  // From owning the partitions to the end of the input, a stop, or an error. Aborted: once more.
  absl::Status RunOnce(const std::atomic<bool>& stop, bool progress);
  // A state that turned out to be damaged while it was read is put aside: the log has it all.
  absl::Status SetAsideDamaged(const absl::Status& damage);
  absl::Status Close();
  // Rules that wait to come into force, or new partitions: whether the run is to go on with them.
  bool GoesOn(const std::atomic<bool>& stop) const;
  // After an engine that has committed everything: what the next one goes on with.
  absl::Status Reopen();
  // After one that has not, without transactions: from the last checkpoint. The first opens the
  // store alone.
  absl::Status OpenStoreAgain();
  absl::Status ReopenFromDisk();
  void AdoptNewRules();
  bool RulesAreToBlame(const absl::Status& status) const;
  absl::Status GoBackToOldRules(const absl::Status& failure);
  void KeepRules();
  void ListenForCommands();
  std::string Command(std::string_view command);
  // The HTTP endpoints, where they are configured.
  absl::Status Listen();
  // About once a second, from the engine.
  void Tick(bool progress);
  void Progress();
  void PublishMetrics();

  const Config& config_;
  Backend& backend_;
  const Clock& clock_;
  const int64_t started_ns_;
  PartitionTable partitions_;
  std::unique_ptr<Store> store_;
  std::vector<std::unique_ptr<RecordSource>> sources_;
  SharedSource* shared_source_ = nullptr;  // exchange: kafka; one of sources_
  // exchange: kafka: what was agreed on (kafka/kafka_registry.h).
  uint64_t plan_version_ = 0;
  std::vector<uint64_t> operators_since_;        // as SharedParts::since
  bool plan_agreed_ = false;                     // ours has been the instances' once
  bool plan_goes_back_ = false;                  // no engine has started with the agreed one
  std::optional<int64_t> plan_behind_since_ns_;  // monotonic
  bool plan_behind_said_ = false;
  std::array<std::unique_ptr<Sink>, kStreams> sinks_;
  std::unique_ptr<EpochLog> log_;  // exactly once on Kafka
  std::unique_ptr<LogTopic> changelog_topic_;
  std::unique_ptr<Changelog> changelog_;
  std::optional<CheckpointMeta> resume_;
  StatusBoard board_;
  std::unique_ptr<KafkaEnds> ends_;
  std::unique_ptr<HttpServer> http_;
  uint64_t ticks_ = 0;
  uint64_t disk_bytes_ = 0;
  // What the engine runs; not owned where it is the one that the service was made with.
  std::shared_ptr<const Config> current_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Reloader> reloader_;
  std::unique_ptr<ControlSocket> control_;
  bool switching_ = false;  // between two engines, for new rules
  // What ran before rules with which no engine has started yet.
  struct Previous {
    std::shared_ptr<const Config> config;
    EngineTotals earlier;
  };
  std::optional<Previous> previous_;
  std::shared_ptr<const TopicRules> kept_rules_;  // that stand in the file beside the state
  std::function<RuleTopicStatus()> rule_topic_;
  EngineTotals earlier_;  // of engines that a recovery has replaced
  uint64_t recoveries_ = 0;
  int64_t joined_ns_ = 0;               // monotonic; when the sources were opened, or joined anew
  std::optional<int64_t> rejoined_ns_;  // monotonic; the last time
  std::string outcome_;
  uint64_t last_records_ = 0;
};

// How long an instance waits for the rules that the others run already, before it ends and leaves
// its part to them. Meanwhile no rebalance can end.
inline constexpr DurationNs kBehindNs = 30 * kSecondNs;

// The group, or a transaction's coordinator for it, says that another process has our identity.
bool IsFenced(const absl::Status& status);

// 0 OK; 3 fenced by another instance of the same identity, not to be started again; 1 anything
// else, also fenced where a broker was lost within five minutes before, which may have forgotten
// us. With exactly_once, Run joins anew first, once, where it may be that or a request of our own
// past (pipeline/DELIVERY.md).
int ExitStatus(const absl::Status& status, const BrokerFailures& failures = broker_failures());

}  // namespace bongsu
