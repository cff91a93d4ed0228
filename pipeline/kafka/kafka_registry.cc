#include "pipeline/kafka/kafka_registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "pipeline/kafka/kafka_log.h"
#include "pipeline/kafka/kafka_producer.h"
#include "pipeline/kafka/kafka_transaction.h"
#include "pipeline/logging.h"
#include "state/failpoint.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

using Json = nlohmann::json;
constexpr int kVersion = 1;
constexpr int kTriesMax = 50;
constexpr int kCallTimeoutMs = 10'000;
// For somebody else's transaction. It may be that of a process that has died: brokers end it after
// transaction.timeout.ms and more, our own producer at once.
constexpr DurationNs kOpenTransactionNs = 2 * kSecondNs;

struct Newest {
  std::optional<Registry> registry;  // none: nobody has written one
  int64_t offset = 0;
};

absl::StatusOr<Newest> ReadNewest(KafkaLog& log, int partition) {
  BONGSU_ASSIGN_OR_RETURN(const std::unique_ptr<ShardLogReader> reader, log.Reader(partition));
  BONGSU_RETURN_IF_ERROR(reader->Seek(reader->start()));
  Newest newest;
  std::string record;
  while (true) {
    int64_t offset = 0;
    std::string_view bytes;
    BONGSU_ASSIGN_OR_RETURN(const bool more, reader->Next(&offset, &bytes));
    if (!more) break;
    newest.offset = offset;
    record = std::string(bytes);
  }
  if (record.empty()) return newest;
  BONGSU_ASSIGN_OR_RETURN(newest.registry, DecodeRegistry(record));
  return newest;
}

// Aborted: somebody else was at it.
absl::Status Call(rd_kafka_error_t* error, const char* what) {
  if (error == nullptr) return absl::OkStatus();
  const rd_kafka_resp_err_t code = rd_kafka_error_code(error);
  const bool again = rd_kafka_error_is_retriable(error) != 0 ||
                     rd_kafka_error_txn_requires_abort(error) != 0 ||
                     code == RD_KAFKA_RESP_ERR__FENCED || code == RD_KAFKA_RESP_ERR__TIMED_OUT ||
                     code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
  const std::string text = fmt::format("{}: {}", what, rd_kafka_error_string(error));
  rd_kafka_error_destroy(error);
  return again ? absl::AbortedError(text) : KafkaError(code, text);
}

}  // namespace

std::string EncodeRegistry(const Registry& registry) {
  Json json;
  json["registry"] = kVersion;
  json["hash_seed"] = registry.hash_seed;
  json["plan_version"] = registry.plan_version;
  json["plan"] = registry.plan;
  json["since"] = registry.since;
  if (!registry.rules_topic.empty()) {
    json["rules_topic"] = registry.rules_topic;
    json["rules_version"] = registry.rules_version;
  }
  json["partitions"] = Json::array();
  for (const PartitionInfo& info : registry.partitions) {
    json["partitions"].push_back({{"id", info.id},
                                  {"source", info.source},
                                  {"topic", info.topic},
                                  {"partition", info.partition}});
    if (info.grown) json["partitions"].back()["grown"] = true;
  }
  return json.dump();
}

absl::StatusOr<Registry> DecodeRegistry(std::string_view record) {
  // The library throws on wrong types: this is its one adapter.
  try {
    const Json json = Json::parse(record);
    if (!json.contains("registry")) {
      return absl::FailedPreconditionError(
          "the application has run with exchange: in_process, and its state is one instance's: go "
          "on with that, or start with another application name");
    }
    if (json.at("registry").get<int>() > kVersion) {
      return absl::FailedPreconditionError(
          fmt::format("another instance runs a newer bongsu (registry version {}, known: {}): run "
                      "that version here too",
                      json.at("registry").get<int>(), kVersion));
    }
    Registry registry;
    registry.hash_seed = json.at("hash_seed").get<uint64_t>();
    registry.plan_version = json.at("plan_version").get<uint64_t>();
    registry.plan = json.at("plan").get<std::vector<std::string>>();
    registry.since = json.value("since", std::vector<uint64_t>());
    registry.since.resize(registry.plan.size());
    registry.rules_topic = json.value("rules_topic", std::string());
    registry.rules_version = json.value("rules_version", int64_t{-1});
    for (const Json& one : json.at("partitions")) {
      PartitionInfo info;
      info.id = one.at("id").get<PartitionId>();
      info.source = one.at("source").get<std::string>();
      info.topic = one.at("topic").get<std::string>();
      info.partition = one.at("partition").get<int32_t>();
      info.grown = one.value("grown", false);
      info.identity = info.source + std::string(1, '\0') + info.topic + std::string(1, '\0') +
                      std::to_string(info.partition);
      registry.partitions.push_back(std::move(info));
    }
    return registry;
  } catch (const Json::exception& error) {
    return absl::FailedPreconditionError(
        fmt::format("the registry does not parse: {}", error.what()));
  }
}

namespace {

// Why the registry's plan, which is another than ours, must become ours; empty: ours takes its
// place.
std::string Behind(const Registry& registry, const PlanWish& wish) {
  if (wish.go_back || registry.plan_version == 0) return "";
  const bool same_topic = !wish.rules_topic.empty() && wish.rules_topic == registry.rules_topic;
  if (same_topic && wish.rules_version < registry.rules_version) {
    return fmt::format(
        "the other instances run version {} of the rules topic '{}', and this one has version {}",
        registry.rules_version, wish.rules_topic, wish.rules_version);
  }
  if (wish.may_change) return "";
  return same_topic ? fmt::format(
                          "another instance runs other operators at version {} of the "
                          "rules topic '{}': the instances' own files differ",
                          registry.rules_version, wish.rules_topic)
                    : "another instance runs a newer configuration";
}

}  // namespace

bool Extend(const std::vector<PartitionInfo>& partitions, const PlanWish& wish, Registry* registry,
            std::string* behind) {
  behind->clear();
  const bool same_plan = registry->plan_version != 0 && registry->plan == wish.plan;
  if (!same_plan) *behind = Behind(*registry, wish);
  if (!behind->empty()) return false;
  bool changed = false;
  if (registry->plan_version == 0) {
    std::random_device random;
    registry->hash_seed = uint64_t{random()} << 32 | random();
  }
  const size_t before = registry->partitions.size();
  const auto grows = [&](const PartitionInfo& wanted) {
    return std::any_of(registry->partitions.begin(),
                       registry->partitions.begin() + static_cast<ptrdiff_t>(before),
                       [&](const PartitionInfo& info) {
                         return info.source == wanted.source && info.topic == wanted.topic;
                       });
  };
  for (const PartitionInfo& wanted : partitions) {
    const bool known =
        std::any_of(registry->partitions.begin(), registry->partitions.end(),
                    [&](const PartitionInfo& info) { return info.identity == wanted.identity; });
    if (known) continue;
    const bool grown = grows(wanted);
    registry->partitions.push_back(wanted);
    registry->partitions.back().grown = grown;
    registry->partitions.back().id = static_cast<PartitionId>(registry->partitions.size() - 1);
    changed = true;
  }
  if (!same_plan) {
    const uint64_t next = registry->plan_version + 1;
    std::vector<uint64_t> since;
    for (const std::string& one : wish.plan) {
      const auto known = std::find(registry->plan.begin(), registry->plan.end(), one);
      since.push_back(known != registry->plan.end()
                          ? registry->since[static_cast<size_t>(known - registry->plan.begin())]
                      : registry->plan_version == 0 ? 0
                                                    : next);
    }
    registry->plan = wish.plan;
    registry->since = std::move(since);
    registry->plan_version = next;
    changed = true;
  }
  const bool other_topic = registry->rules_topic != wish.rules_topic;
  if (other_topic || wish.rules_version > registry->rules_version) {
    registry->rules_topic = wish.rules_topic;
    registry->rules_version = wish.rules_version;
    changed = true;
  }
  return changed;
}

absl::StatusOr<Agreement> AgreeOnRegistry(const Config& config,
                                          const std::vector<PartitionInfo>& partitions,
                                          const PlanWish& wish, const std::atomic<bool>& stop) {
  const int at = config.state.shards;
  const Clock& clock = SystemClock();
  int64_t until_ns = 0;  // 0: as long as it takes
  const auto in_time = [&] {
    return until_ns == 0 || clock.MonotonicNs() < until_ns
               ? absl::OkStatus()
               : absl::UnavailableError("a transaction is open over the registry");
  };
  BONGSU_ASSIGN_OR_RETURN(const std::unique_ptr<KafkaLog> log,
                          KafkaLog::Open(config, stop, in_time));
  if (log->partitions() != at + 1) {
    return absl::FailedPreconditionError(
        fmt::format("topic '{}' has {} partitions, not {} (state.shards and one more): shards are "
                    "fixed once the topic exists. Use the old value, or another application name",
                    ChangelogTopic(config), log->partitions(), at + 1));
  }
  absl::Status last;
  for (int tries = 0; tries < kTriesMax && !stop.load(); ++tries) {
    until_ns = clock.MonotonicNs() + kOpenTransactionNs;
    absl::StatusOr<Newest> found = ReadNewest(*log, at);
    until_ns = 0;
    if (!found.ok() && !absl::IsUnavailable(found.status())) return found.status();
    Agreement agreed;
    Registry& registry = agreed.registry;
    if (found.ok()) {
      registry = found->registry.value_or(Registry());
      if (!Extend(partitions, wish, &registry, &agreed.behind)) return agreed;
    }
    if (registry.partitions.size() > kPartitionsMax)
      return absl::ResourceExhaustedError("more than 65536 source partitions");
    if (tries > 0) std::this_thread::sleep_for(std::chrono::milliseconds(100 + tries * 20));
    BONGSU_ASSIGN_OR_RETURN(
        const std::unique_ptr<KafkaProducer> producer,
        KafkaProducer::Make(config, {{"transactional.id", config.application + "-registry"},
                                     {"transaction.timeout.ms", "15000"}}));
    last = Call(rd_kafka_init_transactions(producer->handle(), kCallTimeoutMs), "the registry");
    if (last.ok()) {
      // Now nobody else adds: what is there counts.
      BONGSU_ASSIGN_OR_RETURN(found, ReadNewest(*log, at));
      registry = found->registry.value_or(Registry());
      if (!Extend(partitions, wish, &registry, &agreed.behind)) return agreed;
      last = Call(rd_kafka_begin_transaction(producer->handle()), "the registry");
    }
    if (last.ok()) {
      last = producer->Produce(ChangelogTopic(config), {}, EncodeRegistry(registry), {at, nullptr});
      if (last.ok()) last = producer->Flush();
      BONGSU_FAILPOINT(kRegistrySent);
      if (last.ok())
        last =
            Call(rd_kafka_commit_transaction(producer->handle(), kCallTimeoutMs), "the registry");
      // Who reads meanwhile finds the one before, or ours.
      if (last.ok() && found->offset > 0) {
        if (const absl::Status trimmed = log->Trim({{at, found->offset}}); !trimmed.ok())
          LogDebug(std::string(trimmed.message()));
      }
      if (last.ok()) return agreed;
    }
    // Fenced, or unknown: the partition tells. What no repetition changes ends it.
    if (absl::IsPermissionDenied(last) || absl::IsNotFound(last)) return last;
    LogDebug(fmt::format("agreeing with the other instances: {}", std::string(last.message())));
  }
  if (stop.load()) return absl::CancelledError("stopped");
  return last.ok() ? absl::UnavailableError("the instances do not agree") : last;
}

}  // namespace bongsu
