// File: tests/simulation/world.h
//
// Processes that run the real service (pipeline/service.h: engine, committer, changelog, recovery)
// on a simulated cluster, disk and clock, on one thread, with everything that goes wrong chosen by
// a seed.
//
//   World world(seed, scenario, faults);
//   std::string problem = world.Run();     // empty: every output once, equal to the undisturbed
//
// A crash: from one call on, nothing that the process does reaches anybody, and all its objects go.
// A pause (SIGSTOP): within a call of one process another one runs for a while; then the first goes
// on where it was, a zombie perhaps.
//
// Thread-safety: none.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "pipeline/backend.h"
#include "tests/simulation/cluster.h"
#include "tests/state/memory_store.h"

namespace bongsu {

inline constexpr int kSimInstances = 2;

// What is read, by whom, and what must come out. Shared by many worlds.
struct Scenario {
  std::array<const Config*, kSimInstances> configs{};  // one for each instance name
  std::map<SimCluster::Place, std::vector<std::string>> input;
  std::vector<std::string> expected;  // sorted; of an undisturbed run
};

// One in so many calls; 0: never.
struct Faults {
  uint64_t crash = 0;
  uint64_t pause = 0;      // another process runs meanwhile
  uint64_t stall = 0;      // a call takes longer than sessions and transactions may
  uint64_t revoke = 0;     // the group takes the partitions back
  uint64_t resend = 0;     // EndTxn, TxnOffsetCommit: sent twice; a copy may arrive later
  uint64_t unknown = 0;    // no answer: it took place, will, or will not
  uint64_t refuse = 0;     // retriable, abortable and fatal answers
  uint64_t lose_disk = 0;  // at a start
  uint64_t damage = 0;     // a read of the state finds a wrong checksum
  uint64_t set_clock = 0;  // the wall clock jumps by hours, back or forth
};

// What a world went through, so that a test can tell that it went through anything.
struct Tally {
  uint64_t calls = 0, processes = 0, crashes = 0, pauses = 0, stalls = 0, revokes = 0, resends = 0,
           unknowns = 0, refusals = 0, lost_disks = 0, damages = 0, fenced = 0, recoveries = 0,
           commits = 0, renewals = 0, flushes = 0, gave_up = 0, clocks_set = 0, backpressures = 0;
  void Add(const Tally& other);
  std::string Text() const;
};

class World {
 public:
  World(uint64_t seed, const Scenario& scenario, const Faults& faults);
  // Runs processes until one has read everything; says what is wrong with what they put out.
  std::string Run();
  // One process on disk 0 with the scenario's first configuration, without faults: it reads
  // everything (0), or is told to stop after so many calls.
  std::string RunOne(uint64_t calls);
  // Sorted: alerts, late events and dead letters as a read_committed reader sees them.
  std::vector<std::string> Outputs();
  const Tally& tally() const { return tally_; }
  // Equal for equal runs.
  uint64_t trace() const { return trace_; }

  // ---- for the parts of a process ----
  struct Process {
    int instance = 0;
    int disk = 0;
    std::atomic<bool> stop{false};
    bool dead = false;
    uint64_t calls_left = 0;     // then it is told to stop, or dies
    bool graceful = false;       // it is told to
    uint64_t faults_before = 0;  // the world's, when it started or last committed
  };
  SimCluster& cluster() { return cluster_; }
  const Scenario& scenario() const { return scenario_; }
  std::mt19937_64& random() { return random_; }
  MemoryDisk& disk(int number) { return disks_[static_cast<size_t>(number)]; }
  const Clock& clock() const { return *clock_; }
  // Monotonic time is the cluster's; people set this one.
  int64_t wall_ns() const { return cluster_.now() + wall_offset_ns_; }
  // A record of it has been read by somebody.
  bool handed_out(const SimCluster::Place& place) const { return handed_out_.count(place) > 0; }
  void HandOut(const SimCluster::Place& place) { handed_out_.insert(place); }
  Tally& tally() { return tally_; }
  const Faults& faults() const { return faults_; }
  uint64_t Pick(uint64_t n) { return random_() % n; }
  // All faults so far.
  uint64_t fault_count() const { return fault_count_; }
  // True once in `one_in` while faults are on; counted.
  bool Fault(uint64_t one_in, uint64_t* count);
  // A process calls the outside. False: it is dead, and the call reaches nobody.
  bool Call(Process& process, uint64_t what);
  void Pass(DurationNs time) { cluster_.Pass(time); }

 private:
  // One process, from its start to its end, whatever that is. False: it is over for good.
  bool RunProcess(int instance, uint64_t calls, bool nested);
  bool RunProcess(Process& process);
  int FreeDisk();
  std::string Compare();

  static constexpr size_t kDisks = 3;
  std::mt19937_64 random_;
  const Scenario& scenario_;
  Faults faults_;
  bool calm_ = false;  // no more faults
  int64_t wall_offset_ns_ = 0;
  SimCluster cluster_;
  std::unique_ptr<Clock> clock_;
  std::array<MemoryDisk, kDisks> disks_;
  std::array<bool, kDisks> disk_used_{};
  std::set<SimCluster::Place> handed_out_;
  std::string problem_;
  bool finished_ = false;
  Tally tally_;
  uint64_t trace_ = 0;
  uint64_t fault_count_ = 0;
};

}  // namespace bongsu
