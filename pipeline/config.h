// File: pipeline/config.h
//
// The service's configuration, validated: what `-c FILE` says. Keys, types, units, defaults and
// docs stand in pipeline/config_options.cc, once; deploy/CONFIG.md is made from that table.
//
//   Diagnostics diagnostics;
//   std::optional<Config> config = LoadConfig("bongsu.yaml", registry, diagnostics);
//   if (!config) { fputs(diagnostics.Text().c_str(), stderr); return 2; }
//
// Everything wrong is reported at once. `${NAME}` is replaced from the environment; a value
// `{file: path}` under `kafka:` is read from that file. Secrets never reach logs or messages.
//
// Thread-safety: Config is immutable after loading and shared.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "operators/config/diagnostics.h"
#include "operators/event.h"
#include "operators/operator.h"
#include "operators/registry.h"
#include "operators/sigma/rule_binding.h"
#include "operators/sigma/rule_set.h"
#include "pipeline/format.h"
#include "pipeline/topic_rules.h"
#include "state/types.h"

namespace bongsu {

// A dead letter holds a record's first 64 KiB, as base64 where its text would be longer: what a
// producer must be able to send.
inline constexpr int64_t kLettersBytes = 100'000;

enum class Validate : uint8_t { kRead, kFull };
enum class OnIdle : uint8_t { kHold, kWallClock };
enum class Until : uint8_t { kForever, kEnd };
enum class Delivery : uint8_t { kAtLeastOnce, kExactlyOnce };
enum class ExchangeMode : uint8_t { kInProcess, kKafka };

struct SourceConfig {
  std::string name;
  std::vector<std::string> topics;  // Kafka; or
  std::vector<std::string> files;   // globs
  Format format;                    // event time, field mapping, log source
  std::string tenant;
  Validate validate = Validate::kRead;
  OnIdle on_idle = OnIdle::kHold;
  Until until = Until::kForever;  // Kafka only: stop at the end that the topics had at start
  DurationNs out_of_orderness = 5 * kSecondNs;
  DurationNs allowed_lateness = kMinuteNs;
  DurationNs max_future_skew = 10 * kMinuteNs;
  DurationNs idle_timeout = 30 * kSecondNs;
  DurationNs live_bound = 2 * kMinuteNs;
  DurationNs quiet_bound = 0;
  DurationNs source_silent = 15 * kMinuteNs;   // 0: no alert
  DurationNs max_lag = 10 * kMinuteNs;         // 0: no bound
  DurationNs backfill_ahead = 10 * kMinuteNs;  // 0: no bound
  // Its input has no known end: files, and topics with until: end, have one.
  bool endless() const { return files.empty() && until == Until::kForever; }
  int64_t record_bytes_max = int64_t{1} << 20;
  int depth_max = 64;
  FieldTable fields;  // what operators and outputs need of it
  SourceLocation where;
};

enum class AlertFormat : uint8_t { kOcsf, kNative };

struct SinkConfig {
  std::string topic;  // one of the two; both empty: not configured
  std::string file;
  AlertFormat format = AlertFormat::kOcsf;  // alerts only
  std::vector<std::string> fields;          // native alerts: which carried fields; empty: all
  SourceLocation where;
};

struct StateConfig {
  std::string path;
  int64_t memory_bytes = int64_t{1} << 30;
  uint16_t shards = 16;
  DurationNs checkpoint_interval = 5 * kSecondNs;  // at most this long between two
  int64_t checkpoint_bytes = int64_t{64} << 20;    // or this much changed state
};

// The top-level keys that a reload may change (pipeline/reload.h).
inline constexpr std::string_view kReloadableKeys[] = {
    "rules", "rules_strict", "rules_skip_status", "placeholders", "filter_condition", "operators"};

struct Config {
  std::string file;  // as given
  // Every value outside of kReloadableKeys, and the text of each format's file: its path and a
  // hash, which holds in this process only.
  std::map<std::string, size_t> fixed;
  std::string application;
  std::string instance;
  std::map<std::string, std::string> kafka;  // librdkafka properties as they stand; may be secret
  std::vector<SourceConfig> sources;
  std::vector<std::unique_ptr<OperatorSpec>> operators;  // in configuration order
  std::vector<int> operator_levels;                      // of each operator: 0 reads sources only
  // Of each operator: the fields of its results, for those who read them ("left.src_ip", "rule",
  // "level", "key").
  std::vector<FieldTable> result_fields;
  std::string rules_topic;                        // empty: none
  std::shared_ptr<const TopicRules> topic_rules;  // what was loaded of it; null: nothing
  // Sigma rules and what they mean for the sources; both null where none are configured.
  std::unique_ptr<const sigma::RuleSet> rules;
  std::unique_ptr<const sigma::RuleBinding> binding;
  SinkConfig alerts;
  SinkConfig late;
  SinkConfig dead_letter;
  StateConfig state;
  Delivery delivery = Delivery::kAtLeastOnce;
  ExchangeMode exchange = ExchangeMode::kInProcess;
  DurationNs epoch = 250 * kMillisecondNs;
  int threads = 0;          // 0: one for each core
  std::string http_listen;  // "127.0.0.1:9464"; empty: no metrics and no health endpoints
  bool logging_json = false;
  std::string logging_level = "info";

  bool uses_kafka_sources() const;
  bool uses_kafka() const;
  // Also where only the rules come from there.
  bool needs_brokers() const { return uses_kafka() || !rules_topic.empty(); }
  // exchange: kafka: what travels between instances; one partition for each shard.
  std::string exchange_topic() const { return application + ".exchange"; }
  const SourceConfig* FindSource(std::string_view name) const;
};

// Where the state of this configuration is, also where the rest of it has mistakes; none where the
// file cannot be read.
std::optional<std::string> ConfiguredStatePath(const std::string& file);
// Brings the rules of `rules_topic`, asked when the rest of the configuration but for what follows
// from rules was read. Null: without them.
using FetchRules =
    std::function<absl::StatusOr<std::shared_ptr<const TopicRules>>(const Config& config)>;
std::optional<Config> LoadConfig(const std::string& file, const OperatorRegistry& registry,
                                 Diagnostics& diagnostics, const FetchRules& fetch = nullptr);
// The same from text; `file` is used in messages and for relative paths.
std::optional<Config> ParseConfig(std::string_view text, const std::string& file,
                                  const OperatorRegistry& registry, Diagnostics& diagnostics);
// In two steps, for those who change something in between (`bongsu test` brings its own rules): the
// file's tree, the environment's values put in, and then what it means.
std::optional<Node> LoadConfigTree(const std::string& file, Diagnostics& diagnostics);
std::optional<Node> ParseConfigTree(std::string_view text, const std::string& file,
                                    Diagnostics& diagnostics);
std::optional<Config> ReadConfig(const Node& tree, const std::string& file,
                                 const OperatorRegistry& registry, Diagnostics& diagnostics,
                                 const FetchRules& fetch = nullptr);
// The page deploy/CONFIG.md, made from the tables.
std::string ConfigPage(const OperatorRegistry& registry);

}  // namespace bongsu
