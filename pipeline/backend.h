// File: pipeline/backend.h
//
// What a service with delivery: exactly_once stands on: brokers, a disk, a clock, threads. The real
// one is RealBackend(); tests/simulation/ has one in which all of them are simulated, so that
// everything above, from pipeline/service.h down to the state, runs there as it is.
//
//   Service service(config, RealBackend());
//
// Thread-safety: as the parts that it makes.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pipeline/config.h"
#include "pipeline/engine.h"
#include "pipeline/io.h"
#include "pipeline/kafka/kafka_topics.h"
#include "pipeline/recovery.h"
#include "pipeline/transaction_log.h"
#include "state/changelog.h"
#include "state/store.h"

namespace bongsu {

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const Clock& clock() const = 0;
  virtual absl::StatusOr<std::vector<TopicFinding>> LookAtTopics(const Config& config) = 0;
  // All Kafka sources of the configuration.
  virtual std::unique_ptr<RecordSource> Source(const Config& config) = 0;
  virtual std::unique_ptr<TransactionClient> Transaction(const Config& config,
                                                         const PartitionTable& partitions) = 0;
  // `keep_alive` is called about ten times a second while the log is read.
  virtual absl::StatusOr<std::unique_ptr<LogTopic>> OpenLog(
      const Config& config, const std::atomic<bool>& stop,
      std::function<absl::Status()> keep_alive) = 0;
  // The local state; a damaged one is set aside, and an empty one opened.
  virtual absl::StatusOr<std::unique_ptr<Store>> OpenStore(const StoreOptions& options) = 0;
  // Puts a damaged state aside, which is closed. Its new name.
  virtual absl::StatusOr<std::string> SetAside(const StoreOptions& options) = 0;
  virtual ChangelogOptions LogOptions(const Config& config) = 0;
  // Null: threads.
  virtual Scheduler* scheduler() { return nullptr; }
};

// Kafka, RocksDB, the machine's clock.
Backend& RealBackend();

}  // namespace bongsu
