// File: pipeline/io.h
//
// The outer world as the engine sees it: a record source, sinks for alerts, late and dead-letter
// records, and a clock. Kafka (pipeline/kafka/), files (pipeline/file/) and the tests' fakes
// implement it.
//
// Thread-safety: a RecordSource belongs to the reader thread, a Sink to the committer thread,
// unless a member says otherwise. Clocks are shared.
//
// Errors: absl::Status with a code that names the consequence (pipeline/README.md, "Errors"):
//   Unavailable         retry later; the engine keeps the batch or the output and tries again
//   FailedPrecondition  this process must stop: fenced, or the store and the log disagree (exit
//   status 3 or 1) everything else     stop with the message, exit status 1; restart goes on from
//   the last checkpoint
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pipeline/batch.h"
#include "state/string_map.h"
#include "state/types.h"

namespace bongsu {

// One source partition: a topic partition or a file.
struct PartitionInfo {
  PartitionId id = 0;
  std::string source;  // the source's name in the configuration
  uint16_t source_index = 0;
  std::string topic;      // Kafka topic; empty for files
  int32_t partition = 0;  // Kafka partition number; 0 for files
  std::string path;       // file path as configured (glob result); empty for Kafka
  // The topic got it while the application was reading it: all of its records are new, whatever
  // auto.offset.reset says.
  bool grown = false;
  // "source\0topic\0partition" or "source\0path": what incident ids are made of.
  std::string identity;
};

// All source partitions of the process. Ids are given when a partition is first seen and are kept
// with the checkpoint. Thread-safety: Add under the reader thread only; Get from any thread (an
// entry never moves or changes once added).
class PartitionTable {
 public:
  PartitionTable();
  ~PartitionTable();
  // The id of the partition with this identity, a new one where it is unknown; kPartitionsMax is a
  // bound: ResourceExhausted beyond it.
  absl::StatusOr<PartitionId> Add(PartitionInfo info);
  // Restores an entry under its old id (start-up only).
  void Restore(PartitionInfo info);
  const PartitionInfo& Get(PartitionId id) const;
  bool Knows(PartitionId id) const;
  size_t size() const;
  // Forgets all entries (while no engine runs).
  void Clear();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A partition's place in the stream: the next record to read.
struct Position {
  PartitionId partition = 0;
  int64_t next_offset = 0;  // -1: reading has not begun, and nothing says where it will
  bool ended = false;       // a bounded partition was read to its end
  // Of a file: XXH3-64 of the first 4 KiB of its content, or of what was read where that is less.
  // None: unknown, or nothing was read.
  std::optional<uint64_t> beginning = std::nullopt;
};

// How far a partition has been read, for those who watch.
struct SourceProgress {
  PartitionId partition = 0;
  int64_t next_offset = -1;   // behind everything handed out, markers of transactions included
  int64_t timestamp_ms = -1;  // of the newest record handed out (the broker's); -1: none yet
  bool backlog = false;       // its end was not seen behind it: there is more, as far as we know
};

class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t NowNs() const = 0;        // wall clock, UTC
  virtual int64_t MonotonicNs() const = 0;  // for intervals
  // Pauses the calling thread. Simulations let time pass instead.
  virtual void Sleep(DurationNs pause) const = 0;
};
const Clock& SystemClock();

// Proof that the reader was a member of its group, with every partition its own, at the moment when
// it was asked. What is in it is the source's and the transaction's business.
class Membership {
 public:
  virtual ~Membership() = default;
};

// Reads records of all partitions of one kind (all Kafka sources of a process, or all its files).
class RecordSource {
 public:
  virtual ~RecordSource() = default;
  // Registers its partitions in the table and checks that they can be read (broker, topics,
  // permissions, files). Used by `check` and, as the first step, by `run`.
  [[nodiscard]] virtual absl::Status Open(PartitionTable& partitions) = 0;
  // Registers its partitions again, and those that its topics have got since, after the table was
  // restored to other numbers: with delivery: exactly_once they are known only when the changelog
  // has been read. Before Start.
  [[nodiscard]] virtual absl::Status Bind(PartitionTable& /*partitions*/) {
    return absl::OkStatus();
  }
  // Waits until every partition is this process's own, and no other's: another instance may hold
  // them. OK at once where nothing is shared; Cancelled when `stop` was set meanwhile. Before each
  // Start, and again after an Aborted.
  [[nodiscard]] virtual absl::Status Own(const std::atomic<bool>& /*stop*/) {
    return absl::OkStatus();
  }
  // Leaves a membership behind that the group does not know any more, without a word to it: the
  // next Own joins as somebody new. While no engine reads.
  [[nodiscard]] virtual absl::Status Rejoin() { return absl::OkStatus(); }
  // Keeps the membership during long work between Own and the first Poll (restoring state).
  [[nodiscard]] virtual absl::Status KeepAlive() { return absl::OkStatus(); }
  // The membership at this moment. Aborted when a partition was taken from this process since
  // Start: what was read since the last commit belongs to somebody else now.
  [[nodiscard]] virtual absl::StatusOr<std::shared_ptr<const Membership>> GetMembership() {
    return std::shared_ptr<const Membership>();
  }
  // The epoch that the group's offsets were committed with, as all brokers agree on it (no
  // transaction over them is open any more, which may take as long as one may be open); 0: the
  // group has none. Cancelled: told to stop meanwhile.
  virtual absl::StatusOr<EpochId> CommittedEpoch(const std::atomic<bool>& /*stop*/) {
    return EpochId{0};
  }
  // Whether Start will find what it needs; changes nothing outside the process (`check`).
  [[nodiscard]] virtual absl::Status CheckStart(const std::vector<Position>& /*positions*/) {
    return absl::OkStatus();
  }
  // Starts reading, where the checkpoint says (empty: from the configured start).
  [[nodiscard]] virtual absl::Status Start(const std::vector<Position>& positions) = 0;
  // Appends to `batch` until it is full or `wait` is over; returns with what there is. Batches may
  // mix partitions; a partition's records are in offset order. `batch->holder` keeps their memory.
  [[nodiscard]] virtual absl::Status Poll(DurationNs wait, Batch* batch) = 0;
  // A topic has partitions that are not read yet: the engine ends its epoch, and a new one begins
  // after Bind.
  virtual bool grown() const { return false; }
  // After Start: the group has taken partitions back, and nothing is read until all are here again.
  virtual bool waiting() const { return false; }
  // After Start: some partition begins where its log ended a moment ago (auto.offset.reset:
  // latest). A later start would begin at a later end: the positions are to be committed before
  // anything is read.
  virtual bool begins_at_end() const { return false; }
  // Bounded input that was read to its end.
  virtual bool finished() const = 0;
  // Where reading stands behind everything that Poll has returned.
  virtual std::vector<Position> positions() const = 0;
  // The same for the metrics; empty where there is no end to lag behind (files).
  virtual std::vector<SourceProgress> Progress() const { return {}; }
  // Called after the checkpoint with these positions is durable (the group's commit).
  [[nodiscard]] virtual absl::Status Committed(const std::vector<Position>& positions) = 0;
  // Called while the engine cannot take more records (its bound of batches in flight is reached),
  // so that the source can pause its partitions and keep its membership; false when it works again,
  // or ends.
  virtual absl::Status SetBackpressure(bool on) = 0;
  // Exactly these partitions of its own are held from now on: nothing more is read of them, and
  // they do not count as idle. Where nothing can be held, it is not asked to (Progress is empty).
  [[nodiscard]] virtual absl::Status Hold(const std::vector<PartitionId>& /*partitions*/) {
    return absl::OkStatus();
  }
  // Leaves the group, closes files.
  virtual absl::Status Close() = 0;
};

// Where the exchange partition of a shard is read next.
struct ShardPosition {
  ShardId shard = 0;
  int64_t next_offset = 0;
};

// What the group has given to this instance.
struct Assignment {
  std::vector<PartitionId> partitions;  // of sources
  std::vector<ShardId> shards;          // their exchange partitions
};

// Where reading of one assigned partition begins.
struct Place {
  bool of_shard = false;
  uint16_t id = 0;  // a PartitionId, or a ShardId
  int64_t next_offset = -1;
  bool committed = false;  // by some instance, with this metadata
  bool at_end = false;     // not committed, and as RecordSource::begins_at_end
  std::string metadata;
  int64_t end_offset = -1;  // until: end
};

// A source whose partitions are shared with other instances (exchange: kafka): its own topics and
// the exchange topic, in one consumer group, so that one generation fences the offsets of both. Who
// uses it: pipeline/ownership.h.
//
//   group: "give everything back"  ->  revoking(); commit what was read; Release()
//   group: "this is yours now"     ->  TakeAssignment(); CommittedPlaces(); Locate(); Read()
class SharedSource : public RecordSource {
 public:
  // Asks the brokers which partitions there are. Bind numbers those that were there at the last
  // look, and no others: one that came since is nobody's yet.
  [[nodiscard]] virtual absl::Status Look() = 0;
  // The group wants everything back, and waits until Release; we are still a member.
  virtual bool revoking() const = 0;
  [[nodiscard]] virtual absl::Status Release() = 0;
  // A member whose epochs can be committed.
  virtual bool member() const = 0;
  // A new assignment, once. Nothing of it is read before Read.
  virtual std::optional<Assignment> TakeAssignment() = 0;
  // The committed offsets and metadata as all brokers agree on them: waits for transactions that
  // are open over them, until `cancel`. Any thread.
  virtual absl::StatusOr<std::vector<Place>> CommittedPlaces(const Assignment& assignment,
                                                             const std::atomic<bool>& cancel) = 0;
  // Where nothing was committed: where to begin. Elsewhere: is it still in the log? Any thread.
  [[nodiscard]] virtual absl::Status Locate(Place* place) = 0;
  // From now on exactly these are read, from there. Each is assigned.
  [[nodiscard]] virtual absl::Status Read(const std::vector<Place>& places) = 0;
  virtual std::vector<ShardPosition> shard_positions() const = 0;
  // All source partitions that are read are bounded and were read to their end.
  virtual bool sources_ended() const = 0;
};

// One output stream, in order. Writes become visible to readers as the implementation says; after
// Flush() has returned OK they are durable (acknowledged by all in-sync replicas; fsynced).
class Sink {
 public:
  virtual ~Sink() = default;
  // Checks that it can be written (topic exists, permission, file).
  [[nodiscard]] virtual absl::Status Open() = 0;
  // `key` is the Kafka key; files ignore it. The sink copies both.
  [[nodiscard]] virtual absl::Status Write(std::string_view key, std::string_view value) = 0;
  [[nodiscard]] virtual absl::Status Flush() = 0;
  // Bytes written so far: kept in the checkpoint. Files: the length. Kafka: 0.
  virtual int64_t length() const { return 0; }
  // Before Recover: the checkpoint names this very output, so that what lies behind its length is
  // our own half-written epoch.
  virtual void SetResumed(bool /*resumed*/) {}
  // Whether Recover will find what it needs; changes nothing (`check`).
  [[nodiscard]] virtual absl::Status CheckRecover(int64_t /*length*/) { return absl::OkStatus(); }
  // Cuts a file back to a checkpoint's length before anything is written; an output shorter than
  // that is FailedPrecondition. Kafka: nothing to do.
  [[nodiscard]] virtual absl::Status Recover(int64_t /*length*/) { return absl::OkStatus(); }
  virtual absl::Status Close() { return absl::OkStatus(); }
};

}  // namespace bongsu
