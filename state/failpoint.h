// File: state/failpoint.h
//
// The named points at which a test can make the process die, one for each step between two of which
// a crash could tell the difference. In a build with BONGSU_FAILPOINTS (preset dev) the environment
// variable BONGSU_FAILPOINT=<name>[:<n>] kills the process with SIGKILL when it reaches the point
// for the n-th time (default: first). In other builds the calls are nothing.
//
//   BONGSU_FAILPOINT(kCommitted);
//
// tests/fault/ kills at every one of them; a test fails if a point of this list stands nowhere in
// the code.
//
// Thread-safety: any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace bongsu {

enum class Failpoint : uint8_t {
  kEpochBegun,        // a transaction has begun; nothing is in it
  kOutputWritten,     // an alert, late or dead-letter record was handed to the producer
  kBundleSent,        // exchange: kafka: a bundle for a shard was handed to the producer
  kChangelogWritten,  // a shard's bundle was handed to the producer
  kFlushed,           // everything of the epoch is acknowledged, nothing is committed
  kAuthorized,        // the membership was checked
  kOffsetsSent,       // the group's offsets are in the transaction
  kEndTxnSent,        // the commit is on the wire; its answer is not known
  kCommitted,         // the coordinator has said yes; memory does not show it yet
  kMerged,            // the changes are in the overlay, not on disk
  kStoreWriting,      // before the atomic batch
  kStoreBatched,      // the batch is in memory, not flushed to the column families' files
  kStoreWritten,      // it is on disk
  kTrimming,          // about to delete what the changelog does not need any more
  kTrimmed,           // deleted
  kOwned,             // the partitions are ours; the old producer is not fenced yet
  kFenced,            // init_transactions has returned
  kRegistrySent,      // exchange: kafka: the registry's record is acknowledged, not committed
  kRestoring,         // a bundle of the changelog is about to be applied
  kRestored,          // the store stands at the end of the log; nothing is read yet
};
inline constexpr int kFailpoints = 20;

// "epoch_begun", ...
std::string_view FailpointName(Failpoint point);
// Kills the process if it is time to.
void ReachFailpoint(Failpoint point);

}  // namespace bongsu

#ifdef BONGSU_FAILPOINTS
#define BONGSU_FAILPOINT(point) ::bongsu::ReachFailpoint(::bongsu::Failpoint::point)
#else
#define BONGSU_FAILPOINT(point) \
  do {                          \
  } while (false)
#endif
