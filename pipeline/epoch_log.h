// File: pipeline/epoch_log.h
//
// Where an epoch becomes visible as a whole or not at all (delivery: exactly_once): one transaction
// holds its alerts, late and dead-letter records, the changes of its state, and the positions of
// its sources. pipeline/transaction_log.h implements it.
//
//   RETURN_IF_ERROR(log.Begin(epoch));
//   log.Write(topic, key, value); ...          // outputs, as they come
//   log.Append(partition, bundle, &offset); ...  // changelog, when every shard has sealed
//   RETURN_IF_ERROR(log.Commit(membership, positions));
//   // only now: offset is set, and the changes may enter the store
//
// Errors are consequences (pipeline/commit_machine.h has the table):
//   Aborted             recover: drop all memory, Init again, restore, read on
//   FailedPrecondition  stop: fenced (exit status 3)
//   InvalidArgument     Write only: this record can never be sent; the transaction is unharmed
//   anything else       stop with exit status 1: a person must change something
//
// Thread-safety: the committer's thread, except Init (before it runs).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "pipeline/config.h"
#include "pipeline/io.h"
#include "state/types.h"

namespace bongsu {

// An offset of the group that an epoch commits.
struct GroupOffset {
  std::string topic;
  int32_t partition = 0;
  int64_t offset = 0;
  std::string metadata;
};

class EpochLog {
 public:
  virtual ~EpochLog() = default;
  // Makes this process the only writer under its identity, and settles what an earlier one left
  // open. Waits for brokers as long as it takes, until `stop`, which outlives the log.
  [[nodiscard]] virtual absl::Status Init(const std::atomic<bool>& stop) = 0;
  [[nodiscard]] virtual absl::Status Begin(EpochId epoch) = 0;
  // A record of an output topic, within the transaction.
  [[nodiscard]] virtual absl::Status Write(const std::string& topic, std::string_view key,
                                           std::string_view value) = 0;
  // A record of the changelog; `*offset` is set by the time Commit returns OK.
  [[nodiscard]] virtual absl::Status Append(int32_t partition, std::string_view record,
                                            int64_t* offset) = 0;
  // Commits outputs, changelog and positions. `membership` was read just now, on the reader's
  // thread.
  [[nodiscard]] virtual absl::Status Commit(EpochId epoch, const Membership& membership,
                                            const std::vector<Position>& positions) = 0;

  // exchange: kafka. A bundle for a shard, within the transaction; errors as Write.
  [[nodiscard]] virtual absl::Status Send(int32_t /*shard*/, std::string_view /*bundle*/) {
    return absl::UnimplementedError("no exchange");
  }
  // As Commit, with offsets that the caller has put together.
  [[nodiscard]] virtual absl::Status CommitOffsets(EpochId /*epoch*/,
                                                   const Membership& /*membership*/,
                                                   const std::vector<GroupOffset>& /*offsets*/) {
    return absl::UnimplementedError("no exchange");
  }

  struct Counters {
    uint64_t commits = 0;
    uint64_t renewals = 0;  // producers made anew because a request had been sent twice
    uint64_t retries = 0;
    DurationNs commit_ns_total = 0;
    DurationNs commit_ns_max = 0;
  };
  virtual Counters counters() const = 0;
};

// The topic that holds the changes of state: one partition for each shard, and behind them one for
// the positions.
std::string ChangelogTopic(const Config& config);
// Transactional id, and part of every message about it.
std::string TransactionalId(const Config& config);

// A sink whose records belong to the log's transaction; `log` outlives it.
std::unique_ptr<Sink> MakeEpochSink(EpochLog& log, std::string topic);

}  // namespace bongsu
