// The changelog, the overlay, the rounds and the restore against a model, through everything that
// can go wrong between two instructions: seeded schedules of changes, commits, aborts, crashes,
// flushes, trims, and restores that are killed. A seed replays alone: BONGSU_SEED=n BONGSU_SEEDS=1.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "state/changelog.h"
#include "state/restore.h"
#include "state/shard_state.h"
#include "tests/state/memory_store.h"
#include "tests/state/simulated_log.h"

namespace bongsu {
namespace {

constexpr ShardId kShards = 2;
constexpr int kOperators = 2;
constexpr uint64_t kHashSeed = 77;
constexpr DurationNs kWidth = 100;

// What the state of one operator in one shard must be.
struct Model {
  std::map<std::string,
           std::map<std::pair<EventTimeNs, RecordSeq>, std::pair<std::string, uint8_t>>>
      list;
  EventTimeNs expired = kMinEventTime;
  std::map<std::string, std::string> values;
  std::set<std::pair<EventTimeNs, std::string>> timers;
};
using Models = std::map<std::pair<ShardId, int>, Model>;

// A process: everything that a crash takes away.
struct Process {
  struct Handles {
    uint16_t id = 0;
    TimeList* list = nullptr;
    ValueMap* values = nullptr;
    TimerSet* timers = nullptr;
  };
  std::unique_ptr<MemoryStore> store;
  std::unique_ptr<Changelog> changelog;
  std::map<ShardId, std::unique_ptr<ShardState>> shards;
  std::map<std::pair<ShardId, int>, Handles> handles;
};

struct Frozen {
  EpochId epoch = 0;
  std::vector<std::unique_ptr<FrozenShard>> changes;
  Models models;
};

// What a schedule did, so that the test can tell that it did anything.
struct Tally {
  uint64_t commits = 0, aborts = 0, crashes = 0, unknown = 0, killed_restores = 0, from_nothing = 0,
           tails = 0, trims = 0, rounds = 0, never_written = 0, flush_kills = 0, left_out = 0;
};

class World {
 public:
  World(uint64_t seed, Tally& tally) : random_(seed), tally_(tally) {
    options_.round_bytes_min = 100 + random_() % 2000;
    options_.slice_bytes_min = 1 + random_() % 300;
    options_.record_bytes_max = 300 + random_() % 400;
    if (random_() % 2 == 0) {
      for (ShardId shard = 0; shard < kShards; ++shard)
        log_.AppendAlone(shard, EncodeIdentityRecord({"test", kShards, kHashSeed}, shard));
    }
  }

  void Run(int steps) {
    Start(0);
    for (int step = 0; step < steps && !testing::Test::HasFatalFailure(); ++step) {
      switch (random_() % 16) {
        default:
          Change();
          break;
        case 8:
        case 9:
        case 10:
          Freeze();
          break;
        case 11:
        case 12:
        case 13:
          CommitOldest(/*calm=*/false);
          break;
        case 14:
          FlushOrTrim();
          break;
        case 15:
          if (random_() % 4 == 0) Crash();
          break;
      }
    }
    if (testing::Test::HasFatalFailure()) return;
    // Whatever happened: an empty disk has it all, and so have the used ones.
    for (int disk = 0; disk < kDisks && !testing::Test::HasFatalFailure(); ++disk) Start(disk);
    disks_[0] = MemoryDisk();
    if (!testing::Test::HasFatalFailure()) Start(0);
  }

 private:
  static constexpr int kDisks = 2;

  uint64_t Pick(uint64_t n) { return random_() % n; }
  bool Chance(uint64_t one_in) { return random_() % one_in == 0; }

  void Change() {
    const auto where = std::pair<ShardId, int>(Pick(kShards), static_cast<int>(Pick(kOperators)));
    Process::Handles& handles = process_.handles[where];
    Model& model = now_[where];
    const std::string key = fmt::format("k{}", Pick(4));
    const EventTimeNs time = clock_ + static_cast<EventTimeNs>(Pick(300)) - 200;
    const std::string value(Pick(40), static_cast<char>('a' + Pick(26)));
    switch (Pick(8)) {
      case 0:
      case 1: {
        const RecordSeq seq = Pick(3);
        ASSERT_TRUE(handles.list->Put(key, {time, seq}, value).ok());
        if (time >= model.expired) model.list[key][{time, seq}] = {value, 0};
        break;
      }
      case 2: {
        const auto mark = static_cast<uint8_t>(Pick(200));
        ASSERT_TRUE(handles.list
                        ->Scan(key, time, time + 100,
                               [&](TimeListCursor& entry) {
                                 entry.set_mark(mark);
                                 return true;
                               })
                        .ok());
        for (auto& [id, entry] : model.list[key]) {
          if (id.first >= std::max(time, model.expired) && id.first <= time + 100)
            entry.second = mark;
        }
        break;
      }
      case 3:
        clock_ += static_cast<EventTimeNs>(Pick(80));
        handles.list->ExpireBefore(clock_ - 250);
        model.expired = std::max(model.expired, clock_ - 250);
        break;
      case 4:
        ASSERT_TRUE(handles.values->Put(key, value).ok());
        model.values[key] = value;
        break;
      case 5:
        ASSERT_TRUE(handles.values->Erase(key).ok());
        model.values.erase(key);
        break;
      case 6:
        ASSERT_TRUE(handles.timers->Set(time, "t", value).ok());
        model.timers.emplace(time, value);
        break;
      case 7: {
        std::set<std::pair<EventTimeNs, std::string>> fired;
        ASSERT_TRUE(handles.timers
                        ->PopBefore(clock_ - 100,
                                    [&](EventTimeNs when, std::string_view, std::string_view data) {
                                      fired.emplace(when, data);
                                      return absl::OkStatus();
                                    })
                        .ok());
        const auto end = model.timers.lower_bound({clock_ - 100, ""});
        ASSERT_EQ(fired, decltype(fired)(model.timers.begin(), end));
        model.timers.erase(model.timers.begin(), end);
        break;
      }
    }
  }

  void Freeze() {
    if (frozen_.size() >= 2) return;
    Frozen frozen;
    frozen.epoch = ++epoch_;
    for (auto& [shard, state] : process_.shards) {
      state->BeginFreeze(frozen.epoch);
      for (int op = 0; op < kOperators; ++op)
        frozen.changes.push_back(state->Freeze(process_.handles[{shard, op}].id));
    }
    frozen.models = now_;
    frozen_.push_back(std::move(frozen));
  }

  // One transaction. `calm`: nothing goes wrong.
  void CommitOldest(bool calm) {
    if (frozen_.empty()) return;
    Frozen frozen = std::move(frozen_.front());
    frozen_.pop_front();
    const uint64_t fate = calm ? 99 : Pick(24);
    auto bundles = process_.changelog->Encode(std::move(frozen.changes));
    ASSERT_TRUE(bundles.ok()) << bundles.status();
    for (ShardBundle& bundle : *bundles) {
      for (auto& record : bundle.records) log_.Append(bundle.shard, record.bytes, &record.offset);
    }
    if (fate <= 1) {  // aborted, or killed before EndTxn: the same to everybody else
      log_.End(/*commit=*/false);
      ++tally_.aborts;
      return Crash();
    }
    log_.End(/*commit=*/true);
    committed_ = std::move(frozen.models);
    for (const ShardBundle& bundle : *bundles) shard_epochs_[bundle.shard] = bundle.epoch;
    ++tally_.commits;
    if (fate == 2) {  // it was committed, and nobody told us
      ++tally_.unknown;
      return Crash();
    }
    process_.changelog->Committed(frozen.epoch, std::to_string(frozen.epoch), *bundles, 0);
  }

  void FlushOrTrim() {
    if (Chance(3)) {
      for (auto [shard, offset] : process_.changelog->TrimPoints()) {
        ++tally_.trims;
        if (!Chance(5)) log_.DeleteBefore(shard, offset);  // or killed in front of it
      }
      return;
    }
    const int die_at = Chance(5) ? static_cast<int>(Pick(2)) : -1;
    process_.store->in_commit = [&](int step) {
      // The committer goes on while the flush runs.
      for (uint64_t i = Pick(3); i > 0; --i) {
        Change();
        Freeze();
        CommitOldest(/*calm=*/true);
      }
      return step != die_at;
    };
    const auto counters = process_.changelog->counters();
    const auto epoch = process_.changelog->Flush();
    process_.store->in_commit = {};
    if (!epoch.ok()) {
      ++tally_.flush_kills;
      return Crash();
    }
    tally_.never_written +=
        process_.changelog->counters().rows_never_written - counters.rows_never_written;
    if (*epoch == 0) return;
    ASSERT_EQ(process_.store->latest()->positions, std::to_string(*epoch));
    for (auto& [shard, state] : process_.shards) {
      state->OnPersisted(*epoch);
      if (Chance(2)) state->EvictTo(0);
    }
  }

  void Crash() {
    ++tally_.crashes;
    if (Chance(6)) ++generation_[static_cast<int>(Pick(kOperators))];
    if (Chance(8)) disks_[disk_] = MemoryDisk();
    Start(Chance(4) ? static_cast<int>(Pick(kDisks)) : disk_);
  }

  // A new process on a disk, restored and checked.
  void Start(int disk) {
    tally_.rounds += process_.changelog != nullptr ? process_.changelog->counters().rounds : 0;
    process_.handles.clear();
    process_.shards.clear();
    process_.changelog.reset();
    process_.store.reset();
    frozen_.clear();
    disk_ = disk;
    while (true) {
      process_.store = std::make_unique<MemoryStore>(disks_[disk], random_, kShards, kHashSeed);
      bool killed = false;
      for (ShardId shard = 0; shard < kShards && !killed; ++shard) Restore(shard, &killed);
      if (testing::Test::HasFatalFailure()) return;
      if (!killed) break;
      ++tally_.killed_restores;
    }
    OpenHandles();
    Check();
  }

  void Restore(ShardId shard, bool* killed) {
    RestoreOptions options;
    options.batch_bytes = 1 + Pick(4000);
    const uint64_t patience = Chance(3) ? Pick(4) : 1000;
    options.progress = [&](const RestoreProgress& progress) -> absl::Status {
      if (progress.bundles < patience) return absl::OkStatus();
      *killed = true;
      return absl::AbortedError("killed");
    };
    auto log = log_.Open(shard);
    const auto identity = ReadLogIdentity(shard, *log);
    ASSERT_TRUE(identity.ok()) << identity.status();
    if (identity->has_value()) {
      ASSERT_EQ((*identity)->hash_seed, kHashSeed);
    }
    const auto result = RestoreShard(*process_.store, shard, *log, options);
    if (*killed) return;
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(result->position.epoch, shard_epochs_[shard]);
    tally_.from_nothing += result->from_nothing ? 1 : 0;
    tally_.tails += !result->from_nothing && result->progress.bundles > 0 ? 1 : 0;
  }

  void OpenHandles() {
    uint64_t reset = 0;
    // Every disk counts its operators otherwise.
    for (uint64_t i = Pick(3); i > 0; --i)
      ASSERT_TRUE(process_.store->OperatorId(fmt::format("other{}", i), "x", &reset).ok());
    std::map<int, uint16_t> ids;
    for (int i = 0; i < kOperators; ++i) {
      const int op = disk_ == 0 ? i : kOperators - 1 - i;
      const uint64_t generation = generation_[op];
      ids[op] = *process_.store->OperatorId(fmt::format("op{}", op),
                                            fmt::format("hash{}", generation), &reset);
      if (generation == known_generation_[op]) continue;
      known_generation_[op] = generation;
      for (ShardId shard = 0; shard < kShards; ++shard) committed_[{shard, op}] = Model();
    }
    std::vector<ShardId> shards;
    for (ShardId shard = 0; shard < kShards; ++shard) shards.push_back(shard);
    auto changelog = Changelog::Open(*process_.store, shards, options_);
    ASSERT_TRUE(changelog.ok()) << changelog.status();
    process_.changelog = *std::move(changelog);
    epoch_ = std::max(epoch_, process_.store->latest().has_value() ? process_.store->latest()->epoch
                                                                   : EpochId{0});
    now_ = committed_;
    for (ShardId shard = 0; shard < kShards; ++shard) {
      process_.shards[shard] = MakeShardState(*process_.store, shard);
      for (int op = 0; op < kOperators; ++op)
        process_.handles[{shard, op}] = Open(*process_.shards[shard], ids[op]);
    }
  }

  static Process::Handles Open(ShardState& shard, uint16_t id) {
    Process::Handles handles;
    handles.id = id;
    handles.list = *shard.OpenTimeList(id, "list", kWidth);
    handles.values = *shard.OpenValueMap(id, "values");
    handles.timers = *shard.OpenTimers(id);
    return handles;
  }

  // What the store says is what was committed last; seen through handles of its own.
  void Check() {
    for (auto& [where, handles] : process_.handles) {
      SCOPED_TRACE(fmt::format("shard {} operator {}", where.first, where.second));
      auto shard = MakeShardState(*process_.store, where.first);
      const Process::Handles fresh = Open(*shard, handles.id);
      const Model& model = committed_[where];
      for (int i = 0; i < 4; ++i) {
        const std::string key = fmt::format("k{}", i);
        std::vector<std::string> found, expected;
        ASSERT_TRUE(fresh.list
                        ->Scan(key, kMinEventTime, kMaxEventTime,
                               [&](TimeListCursor& entry) {
                                 found.push_back(fmt::format("{} {} {} {}", entry.time(),
                                                             entry.seq(), entry.value(),
                                                             entry.mark()));
                                 return true;
                               })
                        .ok());
        if (const auto it = model.list.find(key); it != model.list.end()) {
          for (const auto& [id, entry] : it->second) {
            if (id.first < model.expired) continue;
            expected.push_back(
                fmt::format("{} {} {} {}", id.first, id.second, entry.first, entry.second));
          }
        }
        ASSERT_EQ(found, expected) << key;
        std::string value;
        bool has = false;
        ASSERT_TRUE(fresh.values->Get(key, &value, &has).ok());
        ASSERT_EQ(has, model.values.contains(key)) << key;
        if (has) {
          ASSERT_EQ(value, model.values.at(key)) << key;
        }
      }
      std::set<std::pair<EventTimeNs, std::string>> timers;
      ASSERT_TRUE(fresh.timers
                      ->PopBefore(kMaxEventTime,
                                  [&](EventTimeNs when, std::string_view, std::string_view data) {
                                    timers.emplace(when, data);
                                    return absl::OkStatus();
                                  })
                      .ok());
      ASSERT_EQ(timers, model.timers);
    }
  }

  std::mt19937_64 random_;
  Tally& tally_;
  ChangelogOptions options_;
  SimulatedLog log_;
  MemoryDisk disks_[kDisks];
  int disk_ = 0;
  Process process_;
  EventTimeNs clock_ = 0;
  EpochId epoch_ = 0;
  std::deque<Frozen> frozen_;
  Models now_;
  Models committed_;
  std::map<ShardId, uint64_t> shard_epochs_;
  std::map<int, uint64_t> generation_;
  std::map<int, uint64_t> known_generation_;
};

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* given = std::getenv(name);
  return given != nullptr ? std::strtoull(given, nullptr, 10) : otherwise;
}

TEST(ChangelogSimulation, WhatIsRestoredIsWhatWasCommitted) {
  const auto chosen =
      static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  const uint64_t first = FromEnvironment("BONGSU_SEED", chosen);
  const uint64_t seeds = FromEnvironment("BONGSU_SEEDS", 2'000);
  std::printf("seeds %llu to %llu\n", static_cast<unsigned long long>(first),
              static_cast<unsigned long long>(first + seeds - 1));
  Tally tally;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    SCOPED_TRACE(fmt::format("BONGSU_SEED={} BONGSU_SEEDS=1", seed));
    World(seed, tally).Run(/*steps=*/250);
    if (HasFatalFailure()) return;
  }
  fmt::print(
      "{} commits, {} aborts, {} crashes, {} unknown outcomes, {} killed restores, {} killed "
      "flushes, {} restores from nothing, {} tail replays, {} rounds, {} trims, {} rows never "
      "written\n",
      tally.commits, tally.aborts, tally.crashes, tally.unknown, tally.killed_restores,
      tally.flush_kills, tally.from_nothing, tally.tails, tally.rounds, tally.trims,
      tally.never_written);
  if (seeds < 100) return;
  EXPECT_GT(tally.aborts, 0u);
  EXPECT_GT(tally.unknown, 0u);
  EXPECT_GT(tally.killed_restores, 0u);
  EXPECT_GT(tally.flush_kills, 0u);
  EXPECT_GT(tally.from_nothing, 0u);
  EXPECT_GT(tally.tails, 0u);
  EXPECT_GT(tally.rounds, 0u);
  EXPECT_GT(tally.trims, 0u);
  EXPECT_GT(tally.never_written, 0u);
}

}  // namespace
}  // namespace bongsu
