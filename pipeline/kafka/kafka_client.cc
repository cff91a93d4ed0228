#include "pipeline/kafka/kafka_client.h"

#include <fmt/format.h>
#include <syslog.h>

#include <chrono>
#include <string_view>
#include <thread>

#include "pipeline/kafka/broker_failures.h"
#include "pipeline/logging.h"

namespace bongsu {
namespace {

void OnLog(const rd_kafka_t*, int level, const char* facility, const char* text) {
  const std::string message = fmt::format("kafka {}: {}", facility, text);
  if (std::string_view(facility) == "FAIL") broker_failures().Note(text);
  // One `kafka:` section serves consumers and producers: what concerns the other is no news.
  const bool of_the_other = std::string_view(facility) == "CONFWARN" &&
                            message.find("will be ignored by this") != std::string::npos;
  if (of_the_other)
    LogDebug(message);
  else if (level <= LOG_ERR)
    LogError(message);
  else if (level <= LOG_WARNING)
    LogWarning(message);
  else
    LogDebug(message);
}

// Connection errors come in floods and heal themselves; fatal ones reach the caller by the poll.
void OnError(rd_kafka_t*, int error, const char* reason, void*) {
  LogWarning(fmt::format("kafka {}: {}", rd_kafka_err2name(static_cast<rd_kafka_resp_err_t>(error)),
                         reason));
}

absl::Status Set(rd_kafka_conf_t* conf, const std::string& name, const std::string& value) {
  char reason[512];
  const rd_kafka_conf_res_t result =
      rd_kafka_conf_set(conf, name.c_str(), value.c_str(), reason, sizeof(reason));
  if (result == RD_KAFKA_CONF_OK) return absl::OkStatus();
  // The library's text may quote the value, which may be a secret.
  return absl::InvalidArgumentError(
      result == RD_KAFKA_CONF_UNKNOWN ? fmt::format("librdkafka knows no property '{}'", name)
                                      : fmt::format("librdkafka refuses the value of '{}'", name));
}

}  // namespace

absl::Status KafkaError(rd_kafka_resp_err_t error, const std::string& what) {
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return absl::OkStatus();
  std::string message =
      fmt::format("{}: {} ({})", what, rd_kafka_err2str(error), rd_kafka_err2name(error));
  switch (error) {
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__RESOLVE:
      if (const std::string why = broker_failures().Last(); !why.empty())
        message += "; the last was: " + why;
      return absl::UnavailableError(message);
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
      return absl::FailedPreconditionError(
          message + ": fenced: another process runs under the same `instance`");
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
      return absl::NotFoundError(message);
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
      return absl::PermissionDeniedError(
          message + ": `bongsu topics acls` prints the permissions that are needed");
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
      return absl::PermissionDeniedError(message);
    default:
      return absl::UnavailableError(message);
  }
}

bool SkipsRecords(rd_kafka_resp_err_t error) {
  switch (error) {
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:  // a codec, or a format of messages
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
      return true;
    default:
      return false;
  }
}

absl::StatusOr<KafkaHandle> MakeHandle(rd_kafka_type_t type, const Config& config,
                                       const std::map<std::string, std::string>& defaults,
                                       const std::map<std::string, std::string>& fixed,
                                       const KafkaCallbacks& callbacks) {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  std::map<std::string, std::string> properties = defaults;
  for (const auto& [name, value] : config.kafka) properties[name] = value;
  for (const auto& [name, value] : fixed) properties[name] = value;
  std::string failures;
  for (const auto& [name, value] : properties) {
    const absl::Status status = Set(conf, name, value);
    if (status.ok()) continue;
    if (!failures.empty()) failures += "\n";
    failures += std::string(status.message());
  }
  if (!failures.empty()) {
    rd_kafka_conf_destroy(conf);
    return absl::InvalidArgumentError(failures);
  }
  rd_kafka_conf_set_opaque(conf, callbacks.opaque);
  rd_kafka_conf_set_log_cb(conf, OnLog);
  rd_kafka_conf_set_error_cb(conf, OnError);
  if (callbacks.rebalance != nullptr) rd_kafka_conf_set_rebalance_cb(conf, callbacks.rebalance);
  if (callbacks.delivery != nullptr) rd_kafka_conf_set_dr_msg_cb(conf, callbacks.delivery);
  if (callbacks.on_new != nullptr)
    rd_kafka_conf_interceptor_add_on_new(conf, "bongsu", callbacks.on_new, callbacks.opaque);
  char reason[512];
  rd_kafka_t* handle = rd_kafka_new(type, conf, reason, sizeof(reason));
  if (handle == nullptr) {
    rd_kafka_conf_destroy(conf);
    return absl::InvalidArgumentError(fmt::format("librdkafka does not start: {}", reason));
  }
  return KafkaHandle(handle);
}

absl::Status PartitionEnds(rd_kafka_t* handle, const std::string& topic, int32_t partition,
                           int64_t* low, int64_t* high) {
  constexpr int kPauseMs = 100;
  rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
  for (int waited = 0; waited < kKafkaRequestTimeoutMs; waited += kPauseMs) {
    error = rd_kafka_query_watermark_offsets(handle, topic.c_str(), partition, low, high,
                                             kKafkaRequestTimeoutMs);
    // A leader that is moving, or a partition just made, is there a moment later.
    const bool moving = error == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION ||
                        error == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
                        error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    if (!moving) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(kPauseMs));
  }
  return KafkaError(error, fmt::format("cannot ask for the ends of {}[{}]", topic, partition));
}

absl::StatusOr<int> TopicPartitions(rd_kafka_t* handle, const std::string& topic, int timeout_ms) {
  rd_kafka_topic_t* named = rd_kafka_topic_new(handle, topic.c_str(), nullptr);
  const rd_kafka_metadata_t* metadata = nullptr;
  const rd_kafka_resp_err_t error = rd_kafka_metadata(handle, 0, named, &metadata, timeout_ms);
  rd_kafka_topic_destroy(named);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
    return KafkaError(error, fmt::format("cannot ask the brokers for topic '{}'", topic));
  absl::StatusOr<int> result = absl::NotFoundError(fmt::format("topic '{}' does not exist", topic));
  for (int i = 0; i < metadata->topic_cnt; ++i) {
    const rd_kafka_metadata_topic_t& one = metadata->topics[i];
    if (topic != one.topic) continue;
    if (one.err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) break;
    if (one.err != RD_KAFKA_RESP_ERR_NO_ERROR)
      result = KafkaError(one.err, fmt::format("topic '{}'", topic));
    else if (one.partition_cnt > 0)
      result = one.partition_cnt;
  }
  rd_kafka_metadata_destroy(metadata);
  return result;
}

}  // namespace bongsu
