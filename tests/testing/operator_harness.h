// File: tests/testing/operator_harness.h
//
// Runs one operator as the engine would, without a broker: built from YAML, fed with events, moved
// by hand through event time. And it checks the rules of operators/operator.h for free: the same
// events are run again in other orders, cut into other batches, and killed and restored between any
// two batches.
//
//   OperatorHarness harness(R"(
//     name: pairs
//     type: interval_join
//     left: {source: fw, key: ip}
//     right: {source: ep, key: ip}
//     within: {before: 1s, after: 1s})", {"fw", "ep"});
//   std::vector<TestEvent> events = {
//       {.source = "fw", .time = 0, .fields = {{"ip", "10.0.0.1"}}}, ...};
//   auto incidents = harness.Run(events, {});
//   // Shuffles, cuts, crashes.
//   harness.CheckRules(events, /*lateness=*/10 * kSecondNs, /*seed=*/7);
//
// Errors: a wrong configuration or a failed rule is a gtest failure.
// Thread-safety: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "operators/operator_runner.h"
#include "operators/registry.h"
#include "state/store.h"

namespace bongsu::testing {

inline constexpr char kArraySeparator = '\x1f';
std::vector<std::string_view> Members(std::string_view text);

struct TestEvent {
  std::string source;
  EventTimeNs time = 0;
  // All are strings; with kArraySeparator in it, an array of strings.
  std::map<std::string, std::string> fields;
  int64_t offset = -1;  // given by position where it is -1
};

// One incident as it stands after its last update.
struct FinalIncident {
  std::string id;
  std::string key;
  uint64_t event_count = 0;
  uint64_t evidence_dropped = 0;
  EventTimeNs first_time = 0;
  EventTimeNs last_time = 0;
  std::vector<std::pair<std::string, int64_t>> evidence;  // source and offset, in order
  std::string value;                                      // of a correlation
  std::string merged_into;
  int creates = 0;
  int updates = 0;
  int closes = 0;
  std::string Text() const;
};

struct RunOptions {
  size_t batch = 1;            // events in a batch
  bool crash_between = false;  // restore from a checkpoint between any two batches
  size_t evict_to = SIZE_MAX;  // after each batch: memory of the state
  size_t store_memory = size_t{8} << 20;
  bool watermarks = true;   // after each batch: newest time - lateness, for every source
  DurationNs lateness = 0;  // how far events may be out of order
  std::optional<DurationNs> lateness_later;  // the same after a crash: another configuration
  EventTimeNs missed = kMinEventTime;        // what had passed before the operator was there
};

class OperatorHarness {
 public:
  OperatorHarness(const std::string& yaml, std::vector<std::string> sources);
  // The correlation `rule` (its id, name or title) of a set of Sigma rules; every rule is tried on
  // every source.
  OperatorHarness(const std::string& rules, const std::string& rule,
                  std::vector<std::string> sources);
  ~OperatorHarness();

  // Runs all events in their order, then ends the input. By incident id.
  std::map<std::string, FinalIncident> Run(const std::vector<TestEvent>& events,
                                           const RunOptions& options);
  // The same with events that are made one by one; false: there are no more.
  std::map<std::string, FinalIncident> Run(const std::function<bool(TestEvent*)>& next,
                                           const RunOptions& options);
  // Runs them in `rounds` other ways and compares every final incident.
  void CheckRules(const std::vector<TestEvent>& events, DurationNs lateness, uint64_t seed,
                  int rounds = 6);

  // Of the last run.
  uint64_t late() const { return late_; }
  const std::map<std::string, uint64_t>& counters() const { return counters_; }
  // The most bytes of state in memory behind a batch (and its eviction, RunOptions::evict_to).
  size_t memory_max() const { return memory_max_; }
  // What it took of the processor: to compare runs of as many events with each other.
  double cpu_seconds() const { return cpu_seconds_; }
  // Results for readers: those of incidents that begin, and with followers those of their further
  // events.
  struct Forwarded {
    std::string id;
    EventTimeNs time = 0;
    ResultKind kind = ResultKind::kBegun;
    std::string key;
    std::vector<std::pair<std::string, int64_t>> evidence;  // as in FinalIncident
  };
  const std::vector<Forwarded>& forwarded() const { return forwarded_; }
  // Everything that was written, in order: what it was (1 create, 2 update, 3 close) and
  // FinalIncident::Text at the time.
  const std::vector<std::string>& emitted() const { return emitted_; }
  void set_has_readers(bool has_readers) { has_readers_ = has_readers; }
  void set_has_followers(bool has_followers) { has_followers_ = has_followers; }
  const OperatorSpec& spec() const { return *spec_; }

 private:
  class Build;
  class Output;
  struct Instance;
  std::unique_ptr<Build> build_;
  std::unique_ptr<OperatorSpec> spec_;
  uint64_t late_ = 0;
  size_t memory_max_ = 0;
  double cpu_seconds_ = 0;
  bool has_readers_ = false;
  bool has_followers_ = false;
  std::map<std::string, uint64_t> counters_;
  std::vector<Forwarded> forwarded_;
  std::vector<std::string> emitted_;
};

// `events` in another order in which none is more than `lateness` behind the newest before it.
std::vector<TestEvent> ShuffledWithin(const std::vector<TestEvent>& events, DurationNs lateness,
                                      uint64_t seed);

}  // namespace bongsu::testing
