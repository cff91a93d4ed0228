#include "pipeline/transaction_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "absl/functional/function_ref.h"
#include "pipeline/logging.h"
#include "state/failpoint.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr DurationNs kRetryPauseNs = 50 * kMillisecondNs;
constexpr DurationNs kRemindNs = 30 * kSecondNs;
// How long one step may be retried before its outcome counts as unknown; above the default
// transaction timeout, so that the coordinator has decided by then.
constexpr DurationNs kStepDeadlineNs = 20 * kSecondNs;

class TransactionLog : public EpochLog {
 public:
  TransactionLog(std::unique_ptr<TransactionClient> client, std::string changelog,
                 const Clock& clock, std::string exchange)
      : client_(std::move(client)),
        changelog_(std::move(changelog)),
        exchange_(std::move(exchange)),
        clock_(clock) {}

  absl::Status Init(const std::atomic<bool>& stop) override;
  absl::Status Begin(EpochId epoch) override;
  absl::Status Write(const std::string& topic, std::string_view key,
                     std::string_view value) override;
  absl::Status Append(int32_t partition, std::string_view record, int64_t* offset) override;
  absl::Status Commit(EpochId epoch, const Membership& membership,
                      const std::vector<Position>& positions) override {
    return CommitWith([&] { return client_->SendOffsets(epoch, membership, positions); });
  }
  absl::Status Send(int32_t shard, std::string_view bundle) override;
  absl::Status CommitOffsets(EpochId, const Membership& membership,
                             const std::vector<GroupOffset>& offsets) override {
    return CommitWith([&] { return client_->SendGroupOffsets(membership, offsets); });
  }
  Counters counters() const override { return counters_; }

 private:
  using Answer = TransactionClient::Answer;
  using Call = absl::FunctionRef<Answer()>;

  absl::Status MakeProducer();
  // Calls `call` until it succeeds, its deadline is over, or the table says otherwise.
  absl::Status Step(CommitStep step, DurationNs deadline, const std::atomic<bool>* stop, Call call);
  absl::Status Consequence(CommitStep step, Seen seen, const std::string& text);
  absl::Status Produced(const Answer& answer);
  absl::Status CommitWith(Call send_offsets);

  const std::unique_ptr<TransactionClient> client_;
  const std::string changelog_;
  const std::string exchange_;
  const Clock& clock_;
  const std::atomic<bool>* stop_ = nullptr;  // Init's, which the service keeps
  CommitMachine machine_;
  Counters counters_;
};

// The table's answer as a status; OK for the two that go on.
absl::Status TransactionLog::Consequence(CommitStep step, Seen seen, const std::string& text) {
  const Action action = machine_.On(step, seen);
  const std::string message = fmt::format("transaction '{}', {}: {}: {}", client_->name(),
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

absl::Status TransactionLog::Step(CommitStep step, DurationNs deadline,
                                  const std::atomic<bool>* stop, Call call) {
  const int64_t since = clock_.MonotonicNs();
  int64_t remind = since + kRemindNs;
  while (true) {
    const Answer answer = call();
    Seen seen = answer.seen;
    const int64_t now = clock_.MonotonicNs();
    if (seen == Seen::kRetriable && now - since >= deadline) seen = Seen::kTimedOut;
    if (machine_.state() == EpochState::kDropped && step == CommitStep::kInit)
      machine_.MoveTo(EpochState::kIdle);
    if (Decide(step, seen) != Action::kRetry) return Consequence(step, seen, answer.text);
    ++counters_.retries;
    if (stop != nullptr && stop->load()) return absl::CancelledError("stopped while waiting");
    if (now >= remind) {
      remind = now + kRemindNs;
      LogWarning(fmt::format("{}: still waiting: {}", CommitStepName(step), answer.text));
    }
    clock_.Sleep(kRetryPauseNs);
  }
}

absl::Status TransactionLog::MakeProducer() {
  BONGSU_RETURN_IF_ERROR(client_->Renew());
  BONGSU_RETURN_IF_ERROR(
      Step(CommitStep::kInit, kMaxEventTime, stop_, [&] { return client_->Init(); }));
  machine_.Renewed();
  BONGSU_FAILPOINT(kFenced);
  return absl::OkStatus();
}

absl::Status TransactionLog::Init(const std::atomic<bool>& stop) {
  if (machine_.state() != EpochState::kIdle && machine_.state() != EpochState::kDropped)
    machine_.MoveTo(EpochState::kDropped);
  if (machine_.state() == EpochState::kDropped) machine_.MoveTo(EpochState::kIdle);
  stop_ = &stop;
  return MakeProducer();
}

absl::Status TransactionLog::Begin(EpochId) {
  if (machine_.renew()) {
    ++counters_.renewals;
    LogInfo("a request was sent twice, and a copy may be under way: the producer is made anew");
    BONGSU_RETURN_IF_ERROR(MakeProducer());
  }
  BONGSU_RETURN_IF_ERROR(
      Step(CommitStep::kBegin, kStepDeadlineNs, nullptr, [&] { return client_->Begin(); }));
  machine_.MoveTo(EpochState::kOpen);
  BONGSU_FAILPOINT(kEpochBegun);
  return absl::OkStatus();
}

// A delivery that failed is an answer like any other.
absl::Status TransactionLog::Produced(const Answer& answer) {
  if (answer.unsendable) return absl::InvalidArgumentError(answer.text);
  if (answer.seen == Seen::kOk) return absl::OkStatus();
  // A full queue has been waited for, and what failed within a transaction has spoilt it.
  const Seen seen = answer.seen == Seen::kRetriable ? Seen::kAbortable : answer.seen;
  return Consequence(CommitStep::kProduce, seen, answer.text);
}

absl::Status TransactionLog::Write(const std::string& topic, std::string_view key,
                                   std::string_view value) {
  const absl::Status status = Produced(client_->Produce(topic, -1, key, value, nullptr));
  BONGSU_FAILPOINT(kOutputWritten);
  return status;
}

absl::Status TransactionLog::Append(int32_t partition, std::string_view record, int64_t* offset) {
  if (machine_.state() == EpochState::kOpen) machine_.MoveTo(EpochState::kSealed);
  const absl::Status status = Produced(client_->Produce(changelog_, partition, {}, record, offset));
  BONGSU_FAILPOINT(kChangelogWritten);
  return status;
}

absl::Status TransactionLog::Send(int32_t shard, std::string_view bundle) {
  const absl::Status status = Produced(client_->Produce(exchange_, shard, {}, bundle, nullptr));
  BONGSU_FAILPOINT(kBundleSent);
  return status;
}

absl::Status TransactionLog::CommitWith(Call send_offsets) {
  const int64_t since = clock_.MonotonicNs();
  if (machine_.state() == EpochState::kOpen) machine_.MoveTo(EpochState::kSealed);
  BONGSU_RETURN_IF_ERROR(Produced(client_->Flush()));
  BONGSU_FAILPOINT(kFlushed);
  // The membership was checked on the reader's thread just before this call.
  machine_.MoveTo(EpochState::kAuthorized);
  const uint64_t end_txns = client_->EndTxnsSent();
  const uint64_t offset_commits = client_->OffsetCommitsSent();
  BONGSU_FAILPOINT(kAuthorized);
  BONGSU_RETURN_IF_ERROR(Step(CommitStep::kSendOffsets, kStepDeadlineNs, nullptr, send_offsets));
  BONGSU_FAILPOINT(kOffsetsSent);
  BONGSU_RETURN_IF_ERROR(
      Step(CommitStep::kCommit, kStepDeadlineNs, nullptr, [&] { return client_->Commit(); }));
  if (client_->EndTxnsSent() - end_txns > 1 || client_->OffsetCommitsSent() - offset_commits > 1)
    BONGSU_RETURN_IF_ERROR(Consequence(CommitStep::kCommit, Seen::kResent, ""));
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

std::unique_ptr<EpochLog> MakeTransactionLog(std::unique_ptr<TransactionClient> client,
                                             std::string changelog, const Clock& clock,
                                             std::string exchange) {
  return std::make_unique<TransactionLog>(std::move(client), std::move(changelog), clock,
                                          std::move(exchange));
}

}  // namespace bongsu
