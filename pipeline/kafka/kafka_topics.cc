#include "pipeline/kafka/kafka_topics.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <thread>

#include "pipeline/kafka/kafka_client.h"
#include "pipeline/kafka/kafka_transaction.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

using Settings = std::map<std::string, std::string>;

struct EventDestroy {
  void operator()(rd_kafka_event_t* event) const { rd_kafka_event_destroy(event); }
};
using KafkaEvent = std::unique_ptr<rd_kafka_event_t, EventDestroy>;

absl::StatusOr<KafkaHandle> AdminHandle(const Config& config) {
  return MakeHandle(RD_KAFKA_PRODUCER, config,
                    {{"client.id", config.application + "-" + config.instance}}, {}, {});
}

absl::StatusOr<KafkaEvent> Answer(rd_kafka_queue_t* queue, const std::string& what) {
  KafkaEvent event(rd_kafka_queue_poll(queue, kKafkaRequestTimeoutMs));
  if (event == nullptr) return absl::UnavailableError(what + ": no answer from the brokers");
  BONGSU_RETURN_IF_ERROR(KafkaError(rd_kafka_event_error(event.get()), what));
  return event;
}

absl::Status CreateOne(rd_kafka_t* handle, const TopicNeed& need, int replication) {
  char reason[512];
  rd_kafka_NewTopic_t* topic = rd_kafka_NewTopic_new(need.name.c_str(), need.partitions,
                                                     replication, reason, sizeof(reason));
  if (topic == nullptr) return absl::InvalidArgumentError(reason);
  for (const auto& [name, value] : need.settings)
    rd_kafka_NewTopic_set_config(topic, name.c_str(), value.c_str());
  const KafkaQueue queue(rd_kafka_queue_new(handle));
  rd_kafka_CreateTopics(handle, &topic, 1, nullptr, queue.get());
  rd_kafka_NewTopic_destroy(topic);
  const std::string what = fmt::format("cannot make topic '{}'", need.name);
  BONGSU_ASSIGN_OR_RETURN(const KafkaEvent event, Answer(queue.get(), what));
  const rd_kafka_CreateTopics_result_t* result = rd_kafka_event_CreateTopics_result(event.get());
  size_t count = 0;
  const rd_kafka_topic_result_t** topics = rd_kafka_CreateTopics_result_topics(result, &count);
  for (size_t i = 0; i < count; ++i) {
    const rd_kafka_resp_err_t error = rd_kafka_topic_result_error(topics[i]);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) continue;
    const char* text = rd_kafka_topic_result_error_string(topics[i]);
    return KafkaError(error, text == nullptr ? what : fmt::format("{}: {}", what, text));
  }
  return absl::OkStatus();
}

// The settings in force of one resource; none where the brokers do not let us look.
absl::StatusOr<std::optional<Settings>> Describe(rd_kafka_t* handle, rd_kafka_ResourceType_t type,
                                                 const std::string& name) {
  rd_kafka_ConfigResource_t* resource = rd_kafka_ConfigResource_new(type, name.c_str());
  const KafkaQueue queue(rd_kafka_queue_new(handle));
  rd_kafka_DescribeConfigs(handle, &resource, 1, nullptr, queue.get());
  rd_kafka_ConfigResource_destroy(resource);
  BONGSU_ASSIGN_OR_RETURN(
      const KafkaEvent event,
      Answer(queue.get(), fmt::format("cannot ask for the settings of '{}'", name)));
  const rd_kafka_DescribeConfigs_result_t* result =
      rd_kafka_event_DescribeConfigs_result(event.get());
  size_t count = 0;
  const rd_kafka_ConfigResource_t** resources =
      rd_kafka_DescribeConfigs_result_resources(result, &count);
  Settings settings;
  for (size_t i = 0; i < count; ++i) {
    const rd_kafka_resp_err_t error = rd_kafka_ConfigResource_error(resources[i]);
    if (error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
        error == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED)
      return std::optional<Settings>();
    BONGSU_RETURN_IF_ERROR(
        KafkaError(error, fmt::format("cannot read the settings of '{}'", name)));
    size_t entries = 0;
    const rd_kafka_ConfigEntry_t** entry = rd_kafka_ConfigResource_configs(resources[i], &entries);
    for (size_t j = 0; j < entries; ++j) {
      const char* value = rd_kafka_ConfigEntry_value(entry[j]);
      settings[rd_kafka_ConfigEntry_name(entry[j])] = value == nullptr ? "" : value;
    }
  }
  return std::optional<Settings>(std::move(settings));
}

struct Cluster {
  int brokers = 0;
  int32_t any_broker = -1;
  std::map<std::string, int> replication;  // lowest of the topic's partitions
  std::map<std::string, int> partitions;
};

absl::StatusOr<Cluster> LookAtCluster(rd_kafka_t* handle) {
  const rd_kafka_metadata_t* metadata = nullptr;
  BONGSU_RETURN_IF_ERROR(
      KafkaError(rd_kafka_metadata(handle, 1, nullptr, &metadata, kKafkaRequestTimeoutMs),
                 "cannot ask the brokers for their topics"));
  Cluster cluster;
  cluster.brokers = metadata->broker_cnt;
  if (metadata->broker_cnt > 0) cluster.any_broker = metadata->brokers[0].id;
  for (int i = 0; i < metadata->topic_cnt; ++i) {
    const rd_kafka_metadata_topic_t& topic = metadata->topics[i];
    if (topic.err != RD_KAFKA_RESP_ERR_NO_ERROR) continue;
    if (topic.partition_cnt == 0) continue;
    cluster.partitions[topic.topic] = topic.partition_cnt;
    for (int j = 0; j < topic.partition_cnt; ++j) {
      int& lowest =
          cluster.replication.emplace(topic.topic, topic.partitions[j].replica_cnt).first->second;
      lowest = std::min(lowest, topic.partitions[j].replica_cnt);
    }
  }
  rd_kafka_metadata_destroy(metadata);
  return cluster;
}

// A new topic is known to every broker only a moment after the one that made it has answered.
absl::Status AwaitTopics(rd_kafka_t* handle, const std::vector<std::string>& names) {
  constexpr int kPauseMs = 100;
  for (int waited = 0; waited < kKafkaRequestTimeoutMs; waited += kPauseMs) {
    BONGSU_ASSIGN_OR_RETURN(const Cluster cluster, LookAtCluster(handle));
    if (std::all_of(names.begin(), names.end(),
                    [&](const std::string& name) { return cluster.partitions.count(name) > 0; })) {
      return absl::OkStatus();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kPauseMs));
  }
  return absl::UnavailableError("the new topics do not appear in the brokers' metadata");
}

class Findings {
 public:
  void Wrong(std::string text) { list.push_back({true, std::move(text), topic}); }
  void Unsafe(std::string text) { list.push_back({false, std::move(text), topic}); }
  std::string topic;  // that is looked at
  std::vector<TopicFinding> list;
};

int64_t Number(const Settings& settings, const std::string& name, int64_t otherwise) {
  const auto it = settings.find(name);
  return it == settings.end() || it->second.empty() ? otherwise
                                                    : std::strtoll(it->second.c_str(), nullptr, 10);
}

void CheckReplication(const TopicNeed& need, const Cluster& cluster, const Settings& settings,
                      Findings& findings) {
  const int replicas = cluster.replication.at(need.name);
  const int64_t in_sync = Number(settings, "min.insync.replicas", 1);
  if (cluster.brokers > 1 && replicas < 3) {
    findings.Unsafe(
        fmt::format("topic '{}' has {} replica(s): one lost disk loses what was "
                    "acknowledged. Use 3",
                    need.name, replicas));
  }
  if (replicas > 1 && in_sync < 2) {
    findings.Unsafe(
        fmt::format("topic '{}' has min.insync.replicas {}: a record is acknowledged "
                    "before a second broker has it. Set it to 2",
                    need.name, in_sync));
  }
  if (const auto it = settings.find("unclean.leader.election.enable");
      it != settings.end() && it->second == "true") {
    findings.Unsafe(
        fmt::format("topic '{}' has unclean.leader.election.enable=true: a new leader "
                    "may lack acknowledged records. Set it to false",
                    need.name));
  }
}

// A record that the broker refuses would end the process, again and again: what is too large must
// be seen by our own producer, which cuts it or sends it to the dead letters.
void CheckSize(const Config& config, const TopicNeed& need, const Settings& settings,
               Findings& findings) {
  const auto own = config.kafka.find("message.max.bytes");
  const int64_t ours =
      own == config.kafka.end() ? 1'000'000 : std::strtoll(own->second.c_str(), nullptr, 10);
  const int64_t theirs = Number(settings, "max.message.bytes", ours);
  if (ours <= theirs) return;
  findings.Wrong(fmt::format(
      "topic '{}' ({}) takes records of up to {} bytes (max.message.bytes), but ours may have {}: "
      "raise it{}",
      need.name, need.purpose, theirs, ours,
      theirs < kLettersBytes
          ? fmt::format(" to {} at least", kLettersBytes)
          : fmt::format(", or set kafka: {{message.max.bytes: \"{}\"}}", theirs)));
}

void CheckOne(const Config& config, const TopicNeed& need, const Cluster& cluster,
              const std::optional<Settings>& settings, Findings& findings) {
  const int partitions = cluster.partitions.at(need.name);
  if (need.partitions > 0 && partitions != need.partitions && !need.internal) {
    findings.Wrong(fmt::format("topic '{}' ({}) has {} partitions: it must have {}", need.name,
                               need.purpose, partitions, need.partitions));
  } else if (need.partitions > 0 && partitions != need.partitions) {
    findings.Wrong(
        fmt::format("topic '{}' ({}) has {} partitions, not {}: it was made for another "
                    "state.shards. Shards are fixed once topics exist: use the old "
                    "value, or another application name",
                    need.name, need.purpose, partitions, need.partitions));
  }
  if (!settings.has_value()) {
    findings.Unsafe(
        fmt::format("the settings of topic '{}' cannot be read (DESCRIBE_CONFIGS is "
                    "denied): nothing is known of them",
                    need.name));
    return;
  }
  for (const auto& [name, value] : need.settings) {
    const auto it = settings->find(name);
    if (it == settings->end() || it->second == value) continue;
    findings.Wrong(fmt::format("topic '{}' ({}) has {}={}: it must be {}", need.name, need.purpose,
                               name, it->second, value));
  }
  CheckReplication(need, cluster, *settings, findings);
  if (need.output) CheckSize(config, need, *settings, findings);
}

void CheckBroker(const Config& config, const std::optional<Settings>& settings, int brokers,
                 Findings& findings) {
  if (!settings.has_value()) {
    findings.Unsafe(
        "the brokers' settings cannot be read (DESCRIBE_CONFIGS on the cluster is "
        "denied): nothing is known of them");
    return;
  }
  const auto timeout = config.kafka.find("transaction.timeout.ms");
  const int64_t ours =
      timeout == config.kafka.end() ? 15'000 : std::strtoll(timeout->second.c_str(), nullptr, 10);
  if (const int64_t most = Number(*settings, "transaction.max.timeout.ms", 900'000); most < ours) {
    findings.Wrong(
        fmt::format("the brokers allow transactions of {} ms (transaction.max.timeout.ms)"
                    ", ours are of {} ms: raise it, or set kafka: "
                    "{{transaction.timeout.ms: \"{}\"}}",
                    most, ours, most));
  }
  if (brokers > 1 && Number(*settings, "transaction.state.log.min.isr", 2) < 2)
    findings.Unsafe("transaction.state.log.min.isr is below 2: a lost broker may forget commits");
  if (brokers > 1 && Number(*settings, "transaction.state.log.replication.factor", 3) < 3)
    findings.Unsafe("transaction.state.log.replication.factor is below 3");
  constexpr int64_t kDayMinutes = 24 * 60;
  if (const int64_t kept = Number(*settings, "offsets.retention.minutes", 7 * kDayMinutes);
      kept < 7 * kDayMinutes) {
    findings.Unsafe(
        fmt::format("offsets.retention.minutes is {}: after a stop of that length the "
                    "group's offsets are gone. Use {}",
                    kept, 7 * kDayMinutes));
  }
  if (const int64_t kept =
          Number(*settings, "transactional.id.expiration.ms", 7 * kDayMinutes * 60'000);
      kept < kDayMinutes * 60'000) {
    findings.Unsafe(
        fmt::format("transactional.id.expiration.ms is {}: a dead instance's late "
                    "requests are not fenced after that. Use at least a day",
                    kept));
  }
}

}  // namespace

std::vector<TopicNeed> NeededTopics(const Config& config, uint16_t shards) {
  std::vector<TopicNeed> needs;
  const auto output = [&](const SinkConfig& sink, const char* purpose) {
    if (!sink.topic.empty()) needs.push_back({sink.topic, purpose, -1, {}, false});
  };
  output(config.alerts, "alerts");
  output(config.late, "late events");
  output(config.dead_letter, "dead letters");
  if (!config.rules_topic.empty()) {
    TopicNeed rules;
    rules.name = config.rules_topic;
    rules.purpose = "the rules";
    rules.partitions = 1;  // one order over all rules: an offset is a version of the set
    rules.settings = {{"cleanup.policy", "compact"}};
    rules.output = false;
    needs.push_back(std::move(rules));
  }
  if (config.delivery == Delivery::kExactlyOnce && config.uses_kafka()) {
    TopicNeed changelog;
    changelog.name = ChangelogTopic(config);
    changelog.purpose = "the changelog of the state";
    changelog.partitions = shards + 1;
    changelog.settings = {{"cleanup.policy", "delete"},
                          {"retention.ms", "-1"},
                          {"retention.bytes", "-1"},
                          {"message.timestamp.type", "CreateTime"}};
    changelog.internal = true;
    if (config.exchange == ExchangeMode::kKafka) {
      TopicNeed exchange;
      exchange.name = config.exchange_topic();
      exchange.purpose = "the exchange between instances";
      exchange.partitions = shards;
      // What was read is deleted by the shard's owner; nothing else may delete it.
      exchange.settings = changelog.settings;
      exchange.internal = true;
      needs.push_back(std::move(exchange));
    }
    needs.push_back(std::move(changelog));
  }
  return needs;
}

absl::Status CreateTopics(const Config& config, uint16_t shards, int replication,
                          std::vector<std::string>* made) {
  BONGSU_ASSIGN_OR_RETURN(const KafkaHandle handle, AdminHandle(config));
  BONGSU_ASSIGN_OR_RETURN(const Cluster cluster, LookAtCluster(handle.get()));
  for (const TopicNeed& need : NeededTopics(config, shards)) {
    if (cluster.partitions.count(need.name) > 0) continue;
    BONGSU_RETURN_IF_ERROR(CreateOne(handle.get(), need, replication));
    made->push_back(need.name);
  }
  return AwaitTopics(handle.get(), *made);
}

std::vector<std::string> AclLines(const Config& config, uint16_t shards) {
  const auto property = [&](const char* name, const char* otherwise) {
    const auto it = config.kafka.find(name);
    return it == config.kafka.end() ? std::string(otherwise) : it->second;
  };
  const std::string begin =
      fmt::format("kafka-acls --bootstrap-server '{}' --add --allow-principal 'User:{}'",
                  property("bootstrap.servers", ""), property("sasl.username", "bongsu"));
  std::vector<std::string> lines;
  const auto allow = [&](const std::vector<std::string>& operations, const std::string& resource) {
    lines.push_back(fmt::format("{} --operation {} {}", begin,
                                fmt::join(operations, " --operation "), resource));
  };
  // Read and Write bring Describe with them.
  for (const SourceConfig& source : config.sources) {
    for (const std::string& topic : source.topics) allow({"Read"}, "--topic " + topic);
  }
  for (const TopicNeed& need : NeededTopics(config, shards)) {
    std::vector<std::string> operations = {need.output ? "Write" : "Read", "Create",
                                           "DescribeConfigs"};
    if (need.internal) operations.insert(operations.end(), {"Read", "Delete"});
    allow(operations, "--topic " + need.name);
  }
  if (config.uses_kafka_sources()) allow({"Read"}, "--group " + config.application);
  if (config.delivery == Delivery::kExactlyOnce && config.uses_kafka()) {
    allow({"Write"}, fmt::format("--transactional-id {}- --resource-pattern-type prefixed",
                                 config.application));
    allow({"DescribeConfigs"}, "--cluster");
  }
  return lines;
}

absl::StatusOr<std::vector<TopicFinding>> CheckTopics(const Config& config, uint16_t shards) {
  BONGSU_ASSIGN_OR_RETURN(const KafkaHandle handle, AdminHandle(config));
  BONGSU_ASSIGN_OR_RETURN(const Cluster cluster, LookAtCluster(handle.get()));
  Findings findings;
  for (const TopicNeed& need : NeededTopics(config, shards)) {
    findings.topic = need.name;
    if (cluster.partitions.count(need.name) == 0) {
      findings.Wrong(fmt::format("topic '{}' ({}) does not exist: `bongsu topics create` makes it",
                                 need.name, need.purpose));
      continue;
    }
    BONGSU_ASSIGN_OR_RETURN(const std::optional<Settings> settings,
                            Describe(handle.get(), RD_KAFKA_RESOURCE_TOPIC, need.name));
    CheckOne(config, need, cluster, settings, findings);
  }
  for (const SourceConfig& source : config.sources) {
    for (const std::string& topic : source.topics) {
      if (cluster.partitions.count(topic) > 0) continue;
      findings.topic = topic;
      findings.Wrong(
          fmt::format("topic '{}' (source '{}') does not exist: whoever writes the events "
                      "makes it",
                      topic, source.name));
    }
  }
  findings.topic.clear();
  if (config.delivery == Delivery::kExactlyOnce && config.uses_kafka() && cluster.any_broker >= 0) {
    BONGSU_ASSIGN_OR_RETURN(
        const std::optional<Settings> settings,
        Describe(handle.get(), RD_KAFKA_RESOURCE_BROKER, std::to_string(cluster.any_broker)));
    CheckBroker(config, settings, cluster.brokers, findings);
  }
  return std::move(findings.list);
}

}  // namespace bongsu
