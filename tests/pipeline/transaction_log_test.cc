// What the transaction does about every answer of its producer, and every error of librdkafka as
// such an answer: the classes that pipeline/DELIVERY.md names.
#include "pipeline/transaction_log.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "pipeline/kafka/kafka_transaction.h"

namespace bongsu {
namespace {

class StepClock : public Clock {
 public:
  int64_t NowNs() const override { return now_; }
  int64_t MonotonicNs() const override { return now_; }
  void Sleep(DurationNs pause) const override { now_ += pause; }

 private:
  mutable int64_t now_ = 0;
};

// Answers as told, and writes down what it was asked.
class ScriptedClient : public TransactionClient {
 public:
  struct Script {
    std::map<CommitStep, std::vector<Seen>> answers;  // one after the other; then kOk
    uint64_t end_txns = 1;                            // sent for each commit
    uint64_t offset_commits = 1;
    std::vector<std::string> asked;
  };
  explicit ScriptedClient(Script& script) : script_(script) {}
  std::string name() const override { return "app-one"; }
  absl::Status Renew() override {
    script_.asked.push_back("renew");
    return absl::OkStatus();
  }
  Answer Init() override { return Next(CommitStep::kInit); }
  Answer Begin() override { return Next(CommitStep::kBegin); }
  Answer Produce(const std::string&, int32_t, std::string_view, std::string_view value,
                 int64_t*) override {
    if (value == "huge") return {Seen::kRefused, "too large", true};
    return Next(CommitStep::kProduce);
  }
  Answer Flush() override { return {}; }
  Answer SendOffsets(EpochId, const Membership&, const std::vector<Position>&) override {
    offsets_ += script_.offset_commits;
    return Next(CommitStep::kSendOffsets);
  }
  Answer Commit() override {
    ends_ += script_.end_txns;
    return Next(CommitStep::kCommit);
  }
  uint64_t EndTxnsSent() const override { return ends_; }
  uint64_t OffsetCommitsSent() const override { return offsets_; }

 private:
  Answer Next(CommitStep step) {
    script_.asked.emplace_back(CommitStepName(step));
    std::vector<Seen>& left = script_.answers[step];
    if (left.empty()) return {};
    const Seen seen = left.front();
    left.erase(left.begin());
    return {seen, "scripted", false};
  }
  Script& script_;
  uint64_t ends_ = 0;
  uint64_t offsets_ = 0;
};

struct Epochs {
  ScriptedClient::Script script;
  StepClock clock;
  std::atomic<bool> stop{false};
  std::unique_ptr<EpochLog> log =
      MakeTransactionLog(std::make_unique<ScriptedClient>(script), "app.changelog", clock);
  absl::Status Epoch(EpochId epoch) {
    if (absl::Status status = log->Begin(epoch); !status.ok()) return status;
    int64_t offset = 0;
    if (absl::Status status = log->Write("alerts", "k", "v"); !status.ok()) return status;
    if (absl::Status status = log->Append(0, "bundle", &offset); !status.ok()) return status;
    return log->Commit(epoch, Membership(), {});
  }
};

TEST(TransactionLogTest, APlainEpochAsksForEachStepOnce) {
  Epochs run;
  ASSERT_TRUE(run.log->Init(run.stop).ok());
  ASSERT_TRUE(run.Epoch(1).ok());
  EXPECT_EQ(run.script.asked,
            (std::vector<std::string>{"renew", "init_transactions", "begin_transaction", "produce",
                                      "produce", "send_offsets", "commit_transaction"}));
}

// Retriable, abortable, fatal, fenced, timed out with unknown outcome, membership lost, refused: at
// every step that can see them.
TEST(TransactionLogTest, EveryAnswerHasItsConsequence) {
  for (CommitStep step :
       {CommitStep::kBegin, CommitStep::kProduce, CommitStep::kSendOffsets, CommitStep::kCommit}) {
    for (Seen seen : {Seen::kTimedOut, Seen::kAbortable, Seen::kMembershipLost, Seen::kEpochStale,
                      Seen::kFenced, Seen::kRefused, Seen::kFatal}) {
      SCOPED_TRACE(std::string(CommitStepName(step)) + " " + std::string(SeenName(seen)));
      Epochs run;
      ASSERT_TRUE(run.log->Init(run.stop).ok());
      run.script.answers[step] = {seen};
      const absl::Status status = run.Epoch(1);
      switch (Decide(step, seen)) {
        case Action::kRecover:
          EXPECT_TRUE(absl::IsAborted(status)) << status;
          break;
        case Action::kStopFenced:
          EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
          EXPECT_NE(std::string(status.message()).find("fenced"), std::string::npos);
          break;
        case Action::kStopFailed:
          EXPECT_TRUE(absl::IsInternal(status)) << status;
          break;
        default:
          FAIL() << "nothing of this goes on";
      }
      // Whatever follows begins with a new producer.
      run.script.asked.clear();
      ASSERT_TRUE(run.log->Init(run.stop).ok());
      EXPECT_EQ(run.script.asked.front(), "renew");
      EXPECT_TRUE(run.Epoch(2).ok());
    }
  }
}

// The coordinator loads or moves: the same call, again and again; for ever at the start only.
TEST(TransactionLogTest, RetriableIsAskedAgainUntilTheStepsDeadline) {
  Epochs run;
  run.script.answers[CommitStep::kInit] = std::vector<Seen>(10'000, Seen::kRetriable);
  ASSERT_TRUE(run.log->Init(run.stop).ok());
  run.script.answers[CommitStep::kCommit] = {Seen::kRetriable, Seen::kRetriable};
  run.script.asked.clear();
  ASSERT_TRUE(run.Epoch(1).ok());
  EXPECT_EQ(std::count(run.script.asked.begin(), run.script.asked.end(), "commit_transaction"), 3);
  run.script.answers[CommitStep::kCommit] = std::vector<Seen>(10'000, Seen::kRetriable);
  const absl::Status status = run.Epoch(2);
  EXPECT_TRUE(absl::IsAborted(status)) << status;  // its outcome is unknown
  EXPECT_NE(std::string(status.message()).find("timed_out"), std::string::npos);
}

TEST(TransactionLogTest, ARequestSentTwiceIsTheProducersLast) {
  for (const bool end_txn : {true, false}) {
    Epochs run;
    ASSERT_TRUE(run.log->Init(run.stop).ok());
    (end_txn ? run.script.end_txns : run.script.offset_commits) = 2;
    ASSERT_TRUE(run.Epoch(1).ok());  // it is committed all the same
    run.script.end_txns = run.script.offset_commits = 1;
    run.script.asked.clear();
    ASSERT_TRUE(run.Epoch(2).ok());
    EXPECT_EQ(run.script.asked.front(), "renew");
    EXPECT_EQ(run.log->counters().renewals, 1u);
    run.script.asked.clear();
    ASSERT_TRUE(run.Epoch(3).ok());
    EXPECT_EQ(run.script.asked.front(), "begin_transaction");
  }
}

TEST(TransactionLogTest, ARecordThatCanNeverBeSentHarmsNothingElse) {
  Epochs run;
  ASSERT_TRUE(run.log->Init(run.stop).ok());
  ASSERT_TRUE(run.log->Begin(1).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(run.log->Write("alerts", "k", "huge")));
  EXPECT_TRUE(run.log->Write("alerts", "k", "v").ok());
  EXPECT_TRUE(run.log->Commit(1, Membership(), {}).ok());
}

TEST(TransactionLogTest, AStopEndsTheWaitForBrokers) {
  Epochs run;
  run.script.answers[CommitStep::kInit] = std::vector<Seen>(3, Seen::kRetriable);
  run.stop = true;
  EXPECT_TRUE(absl::IsCancelled(run.log->Init(run.stop)));
}

// librdkafka's errors, by the classes of pipeline/DELIVERY.md.
TEST(ClassifyTest, EveryErrorClassOfLibrdkafka) {
  const auto classify = [](rd_kafka_resp_err_t code, bool fatal, bool retriable, bool abortable) {
    TransactionError error;
    error.code = code;
    error.fatal = fatal;
    error.retriable = retriable;
    error.abortable = abortable;
    return Classify(error);
  };
  const auto plain = [&](rd_kafka_resp_err_t code) { return classify(code, false, false, false); };
  EXPECT_EQ(plain(RD_KAFKA_RESP_ERR_NO_ERROR), Seen::kOk);
  // Retriable: the coordinator loads, moves, or is busy with the transaction before.
  for (rd_kafka_resp_err_t code :
       {RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
        RD_KAFKA_RESP_ERR__TIMED_OUT}) {
    EXPECT_EQ(classify(code, false, true, false), Seen::kRetriable) << rd_kafka_err2name(code);
  }
  // Timed out, and the library does not offer to go on: the outcome is unknown.
  EXPECT_EQ(plain(RD_KAFKA_RESP_ERR__TIMED_OUT), Seen::kTimedOut);
  EXPECT_EQ(plain(RD_KAFKA_RESP_ERR__MSG_TIMED_OUT), Seen::kTimedOut);
  // Abortable.
  EXPECT_EQ(classify(RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, false, false, true), Seen::kAbortable);
  EXPECT_EQ(classify(RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, false, false, true), Seen::kAbortable);
  // Fatal.
  EXPECT_EQ(classify(RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, true, false, false),
            Seen::kFatal);
  EXPECT_EQ(plain(RD_KAFKA_RESP_ERR__STATE), Seen::kFatal);  // unmapped: never taken for a success
  // Fenced by the producer's epoch: fatal to the producer, and not yet to us.
  for (rd_kafka_resp_err_t code :
       {RD_KAFKA_RESP_ERR__FENCED, RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
        RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
        RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID}) {
    EXPECT_EQ(classify(code, true, false, false), Seen::kEpochStale) << rd_kafka_err2name(code);
  }
  // Fenced by the group.
  EXPECT_EQ(classify(RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, true, false, true), Seen::kFenced);
  // Out of the group: max.poll.interval exceeded, an old generation, a rebalance.
  for (rd_kafka_resp_err_t code :
       {RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST}) {
    EXPECT_EQ(classify(code, false, false, true), Seen::kMembershipLost) << rd_kafka_err2name(code);
  }
  // What no repetition changes.
  for (rd_kafka_resp_err_t code :
       {RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE}) {
    EXPECT_EQ(classify(code, true, false, false), Seen::kRefused) << rd_kafka_err2name(code);
  }
}

}  // namespace
}  // namespace bongsu
