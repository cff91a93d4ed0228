#include "pipeline/kafka/kafka_transaction.h"

#include <fmt/format.h>

#include <string.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <thread>

#include "pipeline/failpoint.h"
#include "pipeline/kafka/kafka_producer.h"
#include "pipeline/logging.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr int kCallTimeoutMs = 5'000;
constexpr DurationNs kRetryPauseNs = 50 * kMillisecondNs;
constexpr DurationNs kRemindNs = 30 * kSecondNs;
// How long one step may be retried before its outcome counts as unknown; above the default
// transaction timeout, so that the coordinator has decided by then.
constexpr DurationNs kStepDeadlineNs = 20 * kSecondNs;

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

std::string ChangelogTopic(const Config& config) { return config.application + ".changelog"; }

std::string TransactionalId(const Config& config) {
  return config.application + "-" + config.instance;
}

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

class KafkaTransaction : public EpochLog {
 public:
  KafkaTransaction(const Config& config, const PartitionTable& partitions, const Clock& clock)
      : config_(config),
        partitions_(partitions),
        clock_(clock),
        changelog_(ChangelogTopic(config)) {}

  absl::Status Init(const std::atomic<bool>& stop) override;
  absl::Status Begin(EpochId epoch) override;
  absl::Status Write(const std::string& topic, std::string_view key,
                     std::string_view value) override;
  absl::Status Append(int32_t partition, std::string_view record, int64_t* offset) override;
  absl::Status Commit(EpochId epoch, const Membership& membership,
                      const std::vector<Position>& positions) override;
  Counters counters() const override { return counters_; }

 private:
  absl::Status MakeProducer(const std::atomic<bool>& stop);
  // Calls `call` until it succeeds, its deadline is over, or the table says otherwise.
  template <typename Call>
  absl::Status Step(CommitStep step, DurationNs deadline, const std::atomic<bool>* stop, Call call);
  absl::Status Consequence(CommitStep step, Seen seen, const std::string& text);
  absl::Status Delivered(absl::Status status);
  absl::Status SendOffsets(EpochId epoch, const Membership& membership,
                           const std::vector<Position>& positions);

  const Config& config_;
  const PartitionTable& partitions_;
  const Clock& clock_;
  const std::string changelog_;
  std::unique_ptr<KafkaProducer> producer_;
  CommitMachine machine_;
  Counters counters_;
};

// The table's answer as a status; OK for the two that go on.
absl::Status KafkaTransaction::Consequence(CommitStep step, Seen seen, const std::string& text) {
  const Action action = machine_.On(step, seen);
  const std::string message = fmt::format("transaction '{}', {}: {}: {}", TransactionalId(config_),
                                          CommitStepName(step), SeenName(seen), text);
  switch (action) {
    case Action::kGoOn:
    case Action::kGoOnRenewed:
    case Action::kRetry:
      return absl::OkStatus();
    case Action::kRecover:
      return absl::AbortedError(message);
    case Action::kStopFenced:
      return absl::FailedPreconditionError(
          message + ": fenced: another process runs under the same `instance`");
    case Action::kStopFailed:
      return absl::InternalError(message);
  }
  return absl::InternalError(message);
}

template <typename Call>
absl::Status KafkaTransaction::Step(CommitStep step, DurationNs deadline,
                                    const std::atomic<bool>* stop, Call call) {
  const int64_t since = clock_.MonotonicNs();
  int64_t remind = since + kRemindNs;
  while (true) {
    std::string text;
    Seen seen = Classify(Take(call(), &text));
    const int64_t now = clock_.MonotonicNs();
    if (seen == Seen::kRetriable && now - since >= deadline) seen = Seen::kTimedOut;
    if (machine_.state() == EpochState::kDropped && step == CommitStep::kInit)
      machine_.MoveTo(EpochState::kIdle);
    if (Decide(step, seen) != Action::kRetry) return Consequence(step, seen, text);
    ++counters_.retries;
    if (stop != nullptr && stop->load()) return absl::CancelledError("stopped while waiting");
    if (now >= remind) {
      remind = now + kRemindNs;
      LogWarning(fmt::format("{}: still waiting: {}", CommitStepName(step), text));
    }
    std::this_thread::sleep_for(std::chrono::nanoseconds(kRetryPauseNs));
  }
}

absl::Status KafkaTransaction::MakeProducer(const std::atomic<bool>& stop) {
  producer_.reset();
  std::map<std::string, std::string> fixed = {{"transactional.id", TransactionalId(config_)}};
  if (config_.kafka.count("transaction.timeout.ms") == 0)
    fixed["transaction.timeout.ms"] = "15000";  // a dead instance's transaction ends soon
  BONGSU_ASSIGN_OR_RETURN(producer_, KafkaProducer::Make(config_, fixed));
  BONGSU_RETURN_IF_ERROR(Step(CommitStep::kInit, kMaxEventTime, &stop, [&] {
    return rd_kafka_init_transactions(producer_->handle(), kCallTimeoutMs);
  }));
  machine_.Renewed();
  BONGSU_FAILPOINT(kFenced);
  return absl::OkStatus();
}

absl::Status KafkaTransaction::Init(const std::atomic<bool>& stop) {
  if (machine_.state() != EpochState::kIdle && machine_.state() != EpochState::kDropped)
    machine_.MoveTo(EpochState::kDropped);
  if (machine_.state() == EpochState::kDropped) machine_.MoveTo(EpochState::kIdle);
  return MakeProducer(stop);
}

absl::Status KafkaTransaction::Begin(EpochId) {
  if (machine_.renew()) {
    ++counters_.renewals;
    static const std::atomic<bool> kNeverStopped{false};
    BONGSU_RETURN_IF_ERROR(MakeProducer(kNeverStopped));
  }
  BONGSU_RETURN_IF_ERROR(Step(CommitStep::kBegin, kStepDeadlineNs, nullptr,
                              [&] { return rd_kafka_begin_transaction(producer_->handle()); }));
  machine_.MoveTo(EpochState::kOpen);
  BONGSU_FAILPOINT(kEpochBegun);
  return absl::OkStatus();
}

// A delivery that failed is an answer like any other.
absl::Status KafkaTransaction::Delivered(absl::Status status) {
  if (status.ok() || absl::IsInvalidArgument(status)) return status;
  TransactionError error;
  error.code = producer_->failure_code();
  error.fatal = rd_kafka_fatal_error(producer_->handle(), nullptr, 0) != 0;
  // Within a transaction a failed delivery always spoils it.
  error.abortable = true;
  return Consequence(CommitStep::kProduce, Classify(error), std::string(status.message()));
}

absl::Status KafkaTransaction::Write(const std::string& topic, std::string_view key,
                                     std::string_view value) {
  const absl::Status status = Delivered(producer_->Produce(topic, key, value, {}));
  BONGSU_FAILPOINT(kOutputWritten);
  return status;
}

absl::Status KafkaTransaction::Append(int32_t partition, std::string_view record, int64_t* offset) {
  if (machine_.state() == EpochState::kOpen) machine_.MoveTo(EpochState::kSealed);
  const absl::Status status =
      Delivered(producer_->Produce(changelog_, {}, record, {partition, offset}));
  BONGSU_FAILPOINT(kChangelogWritten);
  return status;
}

absl::Status KafkaTransaction::SendOffsets(EpochId epoch, const Membership& membership,
                                           const std::vector<Position>& positions) {
  // Checked on the reader's thread just before this call.
  const auto& member = static_cast<const KafkaMembership&>(membership);
  KafkaList list(rd_kafka_topic_partition_list_new(static_cast<int>(positions.size())));
  const std::string metadata = MetadataOfEpoch(epoch);
  for (const Position& position : positions) {
    if (position.next_offset < 0) continue;
    const PartitionInfo& info = partitions_.Get(position.partition);
    if (info.topic.empty()) continue;
    rd_kafka_topic_partition_t* one =
        rd_kafka_topic_partition_list_add(list.get(), info.topic.c_str(), info.partition);
    one->offset = position.next_offset;
    // librdkafka frees it with the list.
    one->metadata = strdup(metadata.c_str());
    one->metadata_size = metadata.size();
  }
  return Step(CommitStep::kSendOffsets, kStepDeadlineNs, nullptr, [&] {
    return rd_kafka_send_offsets_to_transaction(producer_->handle(), list.get(),
                                                member.metadata.get(), kCallTimeoutMs);
  });
}

absl::Status KafkaTransaction::Commit(EpochId epoch, const Membership& membership,
                                      const std::vector<Position>& positions) {
  const int64_t since = clock_.MonotonicNs();
  if (machine_.state() == EpochState::kOpen) machine_.MoveTo(EpochState::kSealed);
  BONGSU_RETURN_IF_ERROR(Delivered(producer_->Flush()));
  BONGSU_FAILPOINT(kFlushed);
  machine_.MoveTo(EpochState::kAuthorized);
  const uint64_t end_txns = producer_->RequestsSent(kEndTxnApiKey);
  const uint64_t offset_commits = producer_->RequestsSent(kTxnOffsetCommitApiKey);
  BONGSU_FAILPOINT(kAuthorized);
  BONGSU_RETURN_IF_ERROR(SendOffsets(epoch, membership, positions));
  BONGSU_FAILPOINT(kOffsetsSent);
  BONGSU_RETURN_IF_ERROR(Step(CommitStep::kCommit, kStepDeadlineNs, nullptr, [&] {
    return rd_kafka_commit_transaction(producer_->handle(), kCallTimeoutMs);
  }));
  if (producer_->RequestsSent(kEndTxnApiKey) - end_txns > 1 ||
      producer_->RequestsSent(kTxnOffsetCommitApiKey) - offset_commits > 1) {
    BONGSU_RETURN_IF_ERROR(Consequence(CommitStep::kCommit, Seen::kResent, ""));
  }
  BONGSU_FAILPOINT(kCommitted);
  machine_.MoveTo(EpochState::kCommitted);
  machine_.MoveTo(EpochState::kIdle);
  ++counters_.commits;
  const DurationNs took = clock_.MonotonicNs() - since;
  counters_.commit_ns_total += took;
  counters_.commit_ns_max = std::max(counters_.commit_ns_max, took);
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<EpochLog> MakeKafkaTransaction(const Config& config,
                                               const PartitionTable& partitions,
                                               const Clock& clock) {
  return std::make_unique<KafkaTransaction>(config, partitions, clock);
}

}  // namespace bongsu
