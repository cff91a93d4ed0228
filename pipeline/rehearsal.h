// File: pipeline/rehearsal.h
//
// A run of a configuration without a broker, a disk or a clock: records go in one by one, incidents
// come out, and nothing happens unless it is asked for. It is the engine's own path (DecodeTask,
// ShardTask, the store with RocksDB in memory) driven by one thread, so that what is true here is
// true in service. `bongsu test` and `bongsu explain` stand on it.
//
//   PrepareForRehearsal(&config);
//   Rehearsal rehearsal(config);
//   rehearsal.Begin(now, {true, true});             // a new, empty state; which sources take part
//   rehearsal.Feed({{{.source = 0, .offset = 0, .bytes = json}}});
//   rehearsal.Checkpoint();                          // an epoch: what came so far is committed
//   rehearsal.Crash();                               // everything since then is gone, and restored
//   rehearsal.End();                                 // the input ends: every window closes
//   for (const RehearsedIncident& one : rehearsal.incidents()) ...
//
// Time: event time is in the records; the wall clock is what Begin says. A source's watermark is
// its newest event time minus its out_of_orderness, as in service; sources that take no part hold
// nothing back.
//
// Errors: absl::Status of the state; bad records are dead letters, as in service.
// Thread-safety: one thread. Lifetime: the configuration outlives it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "pipeline/config.h"
#include "pipeline/counters.h"
#include "pipeline/plan.h"

namespace bongsu {

struct RehearsedRecord {
  uint16_t source = 0;  // index into Config::sources
  int64_t offset = 0;
  std::string_view bytes;  // until Feed returns
};

// An incident as it stands after its last update.
struct RehearsedIncident {
  std::string id;
  std::string rule;  // the rule's or operator's name
  std::string key;   // as people read it; empty for detections
  uint64_t events = 0;
  uint64_t evidence_dropped = 0;
  EventTimeNs first_time = 0;
  EventTimeNs last_time = 0;
  std::vector<std::pair<uint16_t, int64_t>> evidence;  // source and offset, in order
  int creates = 0;
  int updates = 0;
  bool closed = false;  // it went into another incident
  // The newest event time that had arrived when it was created; kMaxEventTime: the input had ended.
  EventTimeNs created_at = 0;
};

// One input of one operator, as it was routed.
struct RehearsedInput {
  uint16_t op = 0;  // index into Config::operators
  uint8_t port = 0;
  std::string key;      // canonical
  std::string payload;  // the carried fields (operators/payload.h)
  EventTimeNs time = 0;
  uint16_t source = 0;
  int64_t offset = 0;
  EventTimeNs arrived = 0;  // the newest event time before it
};

// What went to the late stream or to the dead letters.
struct RehearsedReject {
  std::string reason;  // "late", "future", "invalid_json", ...
  std::string op;      // late: the operator that it was late for
  std::string key;
  uint16_t source = 0;
  int64_t offset = 0;
  DurationNs behind = 0;  // late: behind the watermark; future: ahead of the clock
};

// Makes alerts readable for a Rehearsal: the native format with every field. Before the first one.
void PrepareForRehearsal(Config* config);

// The entry of the rule set with this id, name or title; -1: none. There must be rules.
int FindRuleEntry(const Config& config, std::string_view text);

class Rehearsal {
 public:
  explicit Rehearsal(const Config& config);
  ~Rehearsal();

  // A new run over an empty state. `takes_part`: one for each source.
  [[nodiscard]] absl::Status Begin(int64_t now_ns, const std::vector<bool>& takes_part);
  // One batch; of at most kBatchRecordsMax records.
  [[nodiscard]] absl::Status Feed(std::span<const RehearsedRecord> records);
  [[nodiscard]] absl::Status Checkpoint();
  // Killed and started again: state and outputs are those of the last checkpoint. What was fed
  // since must be fed again, as the engine would read it again.
  [[nodiscard]] absl::Status Crash();
  [[nodiscard]] absl::Status End();

  // Of this run, by id; those of the open epoch included.
  std::vector<RehearsedIncident> incidents() const;
  std::vector<RehearsedReject> rejects() const;
  // Inputs of operators since Begin, those that a Crash took back included.
  const std::vector<RehearsedInput>& inputs() const { return inputs_; }
  // Matches of detections since Begin; also not taken back.
  const RunCounters& counters() const { return counters_; }
  // What operators counted since Begin or the last Crash.
  const RunCounters& operator_counters() const;
  const Plan& plan() const { return plan_; }

 private:
  class FixedClock;
  struct Running;

  // What the sinks would hold.
  struct Outputs {
    std::map<std::string, RehearsedIncident> incidents;
    std::vector<RehearsedReject> rejects;
  };

  absl::Status OpenState();
  absl::Status Apply(struct Batch& batch);
  void Take(const struct OutputChunk& chunk);
  void TakeAlert(std::string_view text);
  void TakeReject(std::string_view text, bool late);
  uint16_t SourceIndex(const std::string& name) const;

  const Config& config_;
  const Plan plan_;
  std::unique_ptr<FixedClock> clock_;
  std::unique_ptr<Running> running_;
  RunCounters counters_;
  Outputs committed_;
  Outputs now_;
  std::vector<RehearsedInput> inputs_;
  EventTimeNs newest_ = kMinEventTime;
  EventTimeNs newest_committed_ = kMinEventTime;
};

}  // namespace bongsu
