#include "pipeline/backend.h"

#include <utility>

#include "pipeline/kafka/kafka_log.h"
#include "pipeline/kafka/kafka_source.h"
#include "pipeline/kafka/kafka_transaction.h"
#include "state/restore.h"

namespace bongsu {
namespace {

class KafkaBackend : public Backend {
 public:
  const Clock& clock() const override { return SystemClock(); }
  absl::StatusOr<std::vector<TopicFinding>> LookAtTopics(const Config& config) override {
    return CheckTopics(config, config.state.shards);
  }
  std::unique_ptr<RecordSource> Source(const Config& config) override {
    return MakeKafkaSource(config, SystemClock());
  }
  std::unique_ptr<TransactionClient> Transaction(const Config& config,
                                                 const PartitionTable& partitions) override {
    return MakeKafkaTransaction(config, partitions);
  }
  absl::StatusOr<std::unique_ptr<LogTopic>> OpenLog(
      const Config& config, const std::atomic<bool>& stop,
      std::function<absl::Status()> keep_alive) override {
    return KafkaLog::Open(config, stop, std::move(keep_alive));
  }
  absl::StatusOr<std::unique_ptr<Store>> OpenStore(const StoreOptions& options) override {
    return OpenOrSetAside(options);
  }
  absl::StatusOr<std::string> SetAside(const StoreOptions& options) override {
    return SetAsideStore(options.path);
  }
  ChangelogOptions LogOptions(const Config& config) override {
    ChangelogOptions options;
    options.flush_age = config.state.checkpoint_interval;
    options.flush_bytes = static_cast<size_t>(config.state.checkpoint_bytes);
    return options;
  }
};

}  // namespace

Backend& RealBackend() {
  static KafkaBackend backend;
  return backend;
}

}  // namespace bongsu
