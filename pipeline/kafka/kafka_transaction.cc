#include "pipeline/kafka/kafka_transaction.h"

#include <fmt/format.h>
#include <string.h>

#include <charconv>

#include "pipeline/kafka/kafka_producer.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr int kCallTimeoutMs = 5'000;

// An error object of librdkafka, taken apart and freed.
TransactionError Take(rd_kafka_error_t* error, std::string* text) {
  TransactionError result;
  if (error == nullptr) return result;
  result.code = rd_kafka_error_code(error);
  result.fatal = rd_kafka_error_is_fatal(error) != 0;
  result.retriable = rd_kafka_error_is_retriable(error) != 0;
  result.abortable = rd_kafka_error_txn_requires_abort(error) != 0;
  *text = fmt::format("{} ({})", rd_kafka_error_string(error), rd_kafka_error_name(error));
  rd_kafka_error_destroy(error);
  return result;
}

}  // namespace

namespace {
constexpr std::string_view kMetadataPrefix = "bongsu epoch ";
}  // namespace

std::string MetadataOfEpoch(EpochId epoch) { return fmt::format("{}{}", kMetadataPrefix, epoch); }

EpochId EpochOfMetadata(std::string_view metadata) {
  EpochId epoch = 0;
  if (metadata.substr(0, kMetadataPrefix.size()) != kMetadataPrefix) return 0;
  const char* end = metadata.data() + metadata.size();
  const auto [rest, error] = std::from_chars(metadata.data() + kMetadataPrefix.size(), end, epoch);
  return error == std::errc() && rest == end ? epoch : 0;
}

Seen Classify(const TransactionError& error) {
  switch (error.code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
      return Seen::kOk;
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
      return Seen::kFenced;
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED:
    case RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST:
      return Seen::kMembershipLost;
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING:
    case RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID:
      return Seen::kEpochStale;
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
      return Seen::kRefused;
    default:
      break;
  }
  if (error.fatal) return Seen::kFatal;
  if (error.retriable) return Seen::kRetriable;
  if (error.abortable) return Seen::kAbortable;
  if (error.code == RD_KAFKA_RESP_ERR__TIMED_OUT || error.code == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT)
    return Seen::kTimedOut;
  return Seen::kFatal;
}

namespace {

class KafkaTransaction : public TransactionClient {
 public:
  KafkaTransaction(const Config& config, const PartitionTable& partitions)
      : config_(config), partitions_(partitions) {}

  std::string name() const override { return TransactionalId(config_); }
  absl::Status Renew() override;
  Answer Init() override {
    return Asked(rd_kafka_init_transactions(producer_->handle(), kCallTimeoutMs));
  }
  Answer Begin() override { return Asked(rd_kafka_begin_transaction(producer_->handle())); }
  Answer Produce(const std::string& topic, int32_t partition, std::string_view key,
                 std::string_view value, int64_t* offset) override {
    return Delivered(producer_->Produce(topic, key, value, {partition, offset}));
  }
  Answer Flush() override { return Delivered(producer_->Flush()); }
  Answer SendOffsets(EpochId epoch, const Membership& membership,
                     const std::vector<Position>& positions) override;
  Answer SendGroupOffsets(const Membership& membership,
                          const std::vector<GroupOffset>& offsets) override;
  Answer Commit() override {
    return Asked(rd_kafka_commit_transaction(producer_->handle(), kCallTimeoutMs));
  }
  uint64_t EndTxnsSent() const override { return producer_->RequestsSent(kEndTxnApiKey); }
  uint64_t OffsetCommitsSent() const override {
    return producer_->RequestsSent(kTxnOffsetCommitApiKey);
  }

 private:
  static Answer Asked(rd_kafka_error_t* error) {
    Answer answer;
    answer.seen = Classify(Take(error, &answer.text));
    return answer;
  }
  Answer Delivered(const absl::Status& status);

  const Config& config_;
  const PartitionTable& partitions_;
  std::unique_ptr<KafkaProducer> producer_;
};

absl::Status KafkaTransaction::Renew() {
  producer_.reset();
  std::map<std::string, std::string> fixed = {{"transactional.id", TransactionalId(config_)}};
  if (config_.kafka.count("transaction.timeout.ms") == 0)
    fixed["transaction.timeout.ms"] = "15000";  // a dead instance's transaction ends soon
  BONGSU_ASSIGN_OR_RETURN(producer_, KafkaProducer::Make(config_, fixed));
  return absl::OkStatus();
}

TransactionClient::Answer KafkaTransaction::Delivered(const absl::Status& status) {
  Answer answer;
  if (status.ok()) return answer;
  answer.text = std::string(status.message());
  answer.unsendable = absl::IsInvalidArgument(status);
  if (answer.unsendable) return answer;
  TransactionError error;
  error.code = producer_->failure_code();
  error.fatal = rd_kafka_fatal_error(producer_->handle(), nullptr, 0) != 0;
  // Within a transaction a failed delivery always spoils it.
  error.abortable = true;
  answer.seen = Classify(error);
  return answer;
}

TransactionClient::Answer KafkaTransaction::SendOffsets(EpochId epoch, const Membership& membership,
                                                        const std::vector<Position>& positions) {
  std::vector<GroupOffset> offsets;
  const std::string metadata = MetadataOfEpoch(epoch);
  for (const Position& position : positions) {
    if (position.next_offset < 0) continue;
    const PartitionInfo& info = partitions_.Get(position.partition);
    if (info.topic.empty()) continue;
    offsets.push_back({info.topic, info.partition, position.next_offset, metadata});
  }
  return SendGroupOffsets(membership, offsets);
}

TransactionClient::Answer KafkaTransaction::SendGroupOffsets(
    const Membership& membership, const std::vector<GroupOffset>& offsets) {
  const auto& member = static_cast<const KafkaMembership&>(membership);
  KafkaList list(rd_kafka_topic_partition_list_new(static_cast<int>(offsets.size())));
  for (const GroupOffset& offset : offsets) {
    rd_kafka_topic_partition_t* one =
        rd_kafka_topic_partition_list_add(list.get(), offset.topic.c_str(), offset.partition);
    one->offset = offset.offset;
    // librdkafka frees it with the list.
    one->metadata = strdup(offset.metadata.c_str());
    one->metadata_size = offset.metadata.size();
  }
  return Asked(rd_kafka_send_offsets_to_transaction(producer_->handle(), list.get(),
                                                    member.metadata.get(), kCallTimeoutMs));
}

}  // namespace

std::unique_ptr<TransactionClient> MakeKafkaTransaction(const Config& config,
                                                        const PartitionTable& partitions) {
  return std::make_unique<KafkaTransaction>(config, partitions);
}

}  // namespace bongsu
