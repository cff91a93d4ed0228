// File: pipeline/metrics.h
//
// The service's metrics, as Prometheus reads them. deploy/OPERATIONS.md says what each one means
// and which of them to watch.
//
//   auto snapshot = std::make_shared<MetricsSnapshot>();   // filled by the service, once a second
//   std::string text = RenderMetrics(*snapshot, Phase::kRunning, restore);
//
// Base units (seconds, bytes), counters end in _total. Labels are bounded by the configuration:
// sources, operators, rules, and fixed lists of reasons; never a key, an address or a partition of
// the data, but for the one partition of each source that holds its watermark back. Each rule in
// force has its matches, from 0; a rule's other series appear when it matches for the first time.
//
// Thread-safety: pure functions; a snapshot is immutable once it is published.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pipeline/config.h"
#include "pipeline/engine.h"
#include "pipeline/report.h"
#include "state/store.h"

namespace bongsu {

// What the service is doing.
enum class Phase : uint8_t {
  kStarting,    // opening files, asking brokers
  kWaiting,     // for the partitions: another instance has them, or the group is being formed
  kRestoring,   // the state, from its changelog
  kRunning,     // partitions assigned, state restored, records are processed
  kRecovering,  // on the one way back (pipeline/DELIVERY.md)
  kStopping,    // the last epoch is committed, and the group is left
};
inline constexpr size_t kPhases = 6;
std::string_view PhaseName(Phase phase);

struct SourceStatus {
  std::optional<EventTimeNs> watermark;  // none: no event yet, or the input has ended
  std::string held_by;  // the partition with the lowest clock: "topic[3]", or a path
  uint64_t partitions = 0;
  uint64_t idle_partitions = 0;
  uint64_t held_partitions = 0;  // they wait for slower ones (backfill_ahead)
  // None: another instance keeps the sources' alarms.
  std::optional<bool> silent;
  std::optional<bool> lagging;
  // To the last stable offset, over all partitions; none where the brokers have not said it lately.
  std::optional<int64_t> lag_records;
  std::optional<double> lag_seconds;  // of the partition that is furthest behind
};

// By topic and partition.
using StableEnds = std::map<std::pair<std::string, int32_t>, int64_t>;
// From the workers' clocks, where the sources stand, and where the brokers say that the topics end
// (`ends`; null: unknown). `now_ns` is the wall clock.
std::vector<SourceStatus> SourceStatuses(const Config& config, const EngineView& view,
                                         const PartitionTable& partitions, const StableEnds* ends,
                                         int64_t now_ns);

// How far the newest restore has come.
struct RestoreStatus {
  uint64_t shards = 0;
  uint64_t shards_done = 0;
  uint64_t rows = 0;
  uint64_t bytes = 0;
  int64_t offsets_left = 0;  // of the shard that is being restored
};

struct ReloadStatus {
  uint64_t done = 0;
  uint64_t refused = 0;
  bool last_refused = false;
};

struct MetricsSnapshot {
  std::shared_ptr<const Config> config;
  EngineView engine;  // totals since the process began
  std::vector<SourceStatus> sources;
  Store::Counters store;
  Store::Memory store_memory;
  uint64_t recoveries = 0;
  ReloadStatus reload;
  std::optional<RuleTopicStatus> rule_topic;  // none: no rules topic
  int64_t rule_topic_version = -1;            // of the set in force
  uint64_t disk_bytes = 0;                    // of the state's folder
};

std::string RenderMetrics(const MetricsSnapshot& snapshot, Phase phase,
                          const RestoreStatus& restore);

}  // namespace bongsu
