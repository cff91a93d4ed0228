// File: pipeline/commit_machine.h
//
// An epoch on its way through one Kafka transaction (delivery: exactly_once): which states it goes
// through, and what is done about everything that can be seen on the way. Pure: no I/O, no thread,
// no librdkafka; pipeline/kafka/kafka_transaction.cc obeys it,
// tests/pipeline/commit_machine_test.cc asks it every question.
//
//      Begin          Seal            Authorize          Commit            Apply
//   kIdle ──► kOpen ──────► kSealed ─────────► kAuthorized ──────► kCommitted ──────► kIdle
//               │              │                    │
//               └──────────────┴────────────────────┴──► kDropped   (recover, or stop)
//
//   kOpen        alerts, late and dead-letter records of the epoch are being produced
//   kSealed      every shard has handed in its changes; changelog and positions are produced
//   kAuthorized  membership checked on the thread that serves the rebalance callbacks, just now
//   kCommitted   the coordinator has said so; only now may the changes enter the state on disk
//   kDropped     nothing of the epoch counts: what memory holds of it, and of all later epochs,
//                which have read it, is thrown away
//
// One way back. Whatever is not a plain success or a plain "try again" ends in Action::kRecover,
// the same as after a crash: drop all memory, make a new producer (`init_transactions` ends or
// fences whatever the old one left behind), read the *stable* group offsets, find the changelog's
// end, replay its tail onto the store, and read on from there. A commit whose outcome is unknown is
// never guessed: the log says what it was (design: epochs, point 5; Jepsen's bufstream report;
// KAFKA-17754: librdkafka sends EndTxn again by itself, so that a late copy could end the next
// transaction; therefore a transaction in which a request was sent twice is the producer's last).
//
// Who is fenced. A stale producer epoch alone does not tell whether another process took over or
// only the coordinator lost patience (SIGSTOP, a long pause): the consumer group tells. Recovery
// keeps the consumer, and its static membership decides: FENCED_INSTANCE_ID ends the process with
// exit status 3, membership lets it go on. (Where a broker was lost shortly before, or we have only
// just joined, it may be our own past: the service joins anew instead, once: Service::MayRejoin.)
//
// Thread-safety: values and pure functions; a CommitMachine belongs to one thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "state/types.h"

namespace bongsu {

// What is being done.
enum class CommitStep : uint8_t {
  kInit,         // init_transactions
  kBegin,        // begin_transaction
  kProduce,      // a record of the epoch, or its delivery report
  kAuthorize,    // are we a member, and is every partition of the epoch still ours?
  kSendOffsets,  // send_offsets_to_transaction
  kCommit,       // commit_transaction
};
inline constexpr int kCommitSteps = 6;

// How it went.
enum class Seen : uint8_t {
  kOk,
  kResent,          // it went well, but EndTxn or TxnOffsetCommit was sent more than once
  kRetriable,       // coordinator loading or moving, queue full: the same call may be made again
  kTimedOut,        // no answer in time: the outcome is not known
  kAbortable,       // the transaction cannot be committed any more
  kMembershipLost,  // revoked, lost, generation below zero or stale, max.poll.interval exceeded
  kEpochStale,  // the producer's epoch is not the newest: the coordinator ended a transaction that
                // took too long, or somebody initialised the same transactional id
  kFenced,      // the group says that another process runs under our identity
  kRefused,     // a permission, setting or version that no repetition changes
  kFatal,       // the producer is broken (sequence error, truncated log, unmapped)
};
inline constexpr int kSeens = 10;

enum class Action : uint8_t {
  kGoOn,
  kGoOnRenewed,  // go on; but this producer makes no further transaction
  kRetry,        // the same call again, after a pause
  kRecover,      // the one way back (above)
  kStopFenced,   // exit status 3: whoever fenced us goes on
  kStopFailed,   // exit status 1: a person must change something
};

std::string_view CommitStepName(CommitStep step);
std::string_view SeenName(Seen seen);
std::string_view ActionName(Action action);

// What was seen -> what is done. Total: every pair has an answer.
Action Decide(CommitStep step, Seen seen);

enum class EpochState : uint8_t { kIdle, kOpen, kSealed, kAuthorized, kCommitted, kDropped };
std::string_view EpochStateName(EpochState state);

// The state of the epoch in hand. An illegal transition is a broken invariant and crashes.
class CommitMachine {
 public:
  EpochState state() const { return state_; }
  static bool Legal(EpochState from, EpochState to);
  void MoveTo(EpochState to);
  // True when this producer may not begin another transaction.
  bool renew() const { return renew_; }
  // Notes what was seen, and says what to do. kRecover and the stops drop the epoch in hand.
  Action On(CommitStep step, Seen seen);
  // A new producer is ready.
  void Renewed() { renew_ = false; }

 private:
  EpochState state_ = EpochState::kIdle;
  bool renew_ = false;
};

// How often recovery is tried in a row without a commit in between before a person is asked.
// Waiting for a broker (kTimedOut, kRetriable) does not count: it may be away for hours.
inline constexpr int kRecoveriesMax = 20;

// Recoveries of one process: what is one more in a row, and how long to wait before it begins.
class RecoveryPace {
 public:
  // One more, at `now` (monotonic). `committed`: something was, since the one before. False: it is
  // one too many. Whoever has nothing to commit (a standby) has recoveries in a row only where they
  // come within a minute.
  bool Again(int64_t now, bool committed);
  // None for the first in a row; then from 200 ms to 2 s.
  DurationNs pause() const;

 private:
  int in_a_row_ = 0;
  int64_t last_ns_ = 0;
};

}  // namespace bongsu
