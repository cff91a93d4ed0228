// File: pipeline/transaction_log.h
//
// EpochLog as one transaction after the other of one producer: the steps of an epoch, what is done
// about every answer (pipeline/commit_machine.h has the table), and when the producer is made anew.
// It knows no librdkafka: pipeline/kafka/kafka_transaction.h is the producer that it drives in the
// service, tests/simulation/ has one on a simulated cluster. So the simulation runs this code, and
// not a model of it.
//
//   std::unique_ptr<EpochLog> log = MakeTransactionLog(MakeKafkaTransaction(...), clock);
//
// Every step ends at a failpoint of its own (state/failpoint.h).
//
// Thread-safety: as EpochLog.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "pipeline/commit_machine.h"
#include "pipeline/epoch_log.h"
#include "pipeline/io.h"

namespace bongsu {

// One transactional producer, and the next one that takes its place under the same transactional
// id. Belongs to one thread.
class TransactionClient {
 public:
  struct Answer {
    Seen seen = Seen::kOk;
    std::string text;         // the brokers' words
    bool unsendable = false;  // Produce: this record can never be sent; nothing else is harmed
  };
  virtual ~TransactionClient() = default;
  // The transactional id: for messages.
  virtual std::string name() const = 0;
  // Throws the producer away, with all that it holds, and makes a new one.
  [[nodiscard]] virtual absl::Status Renew() = 0;
  virtual Answer Init() = 0;
  virtual Answer Begin() = 0;
  // `partition` -1: by the key. `*offset` (may be null) is set by the time Flush returns OK.
  virtual Answer Produce(const std::string& topic, int32_t partition, std::string_view key,
                         std::string_view value, int64_t* offset) = 0;
  // Waits until every record is acknowledged.
  virtual Answer Flush() = 0;
  virtual Answer SendOffsets(EpochId epoch, const Membership& membership,
                             const std::vector<Position>& positions) = 0;
  // exchange: kafka: the same with offsets that the caller has put together.
  virtual Answer SendGroupOffsets(const Membership& /*membership*/,
                                  const std::vector<GroupOffset>& /*offsets*/) {
    return {Seen::kRefused, "no exchange", false};
  }
  virtual Answer Commit() = 0;
  // How often EndTxn and TxnOffsetCommit have been written to a socket since Renew.
  virtual uint64_t EndTxnsSent() const = 0;
  virtual uint64_t OffsetCommitsSent() const = 0;
};

// `changelog`: the topic that Append writes to; `exchange`: Send's. `clock` outlives the log.
std::unique_ptr<EpochLog> MakeTransactionLog(std::unique_ptr<TransactionClient> client,
                                             std::string changelog, const Clock& clock,
                                             std::string exchange = "");

}  // namespace bongsu
