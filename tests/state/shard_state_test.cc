#include "state/shard_state.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>

#include "state/store.h"

namespace bongsu {
namespace {

constexpr uint16_t kOperator = 1;

std::unique_ptr<Store> OpenStore(const std::string& path, bool in_memory = true) {
  StoreOptions options;
  options.path = path;
  options.application = "test";
  options.shards = 2;
  options.in_memory = in_memory;
  options.memory_bytes = size_t{16} << 20;
  auto store = Store::Open(options);
  EXPECT_TRUE(store.ok()) << std::string(store.status().message());
  return store.ok() ? *std::move(store) : nullptr;
}

std::string NewPath() {
  static int number = 0;
  return fmt::format("/state-test/{}", ++number);
}

void Commit(Store& store, ShardState& shard, EpochId epoch) {
  shard.BeginFreeze(epoch);
  Checkpoint checkpoint;
  checkpoint.meta.epoch = epoch;
  checkpoint.meta.positions = std::to_string(epoch);
  checkpoint.changes.push_back(shard.Freeze(kOperator));
  ASSERT_TRUE(store.Commit(std::move(checkpoint)).ok());
  shard.OnPersisted(epoch);
}

// Key -> (time, seq) -> (value, mark): what a TimeList must behave like.
using Model =
    std::map<std::string,
             std::map<std::pair<EventTimeNs, RecordSeq>, std::pair<std::string, uint8_t>>>;

struct Handles {
  std::unique_ptr<ShardState> shard;
  TimeList* list = nullptr;
  ValueMap* values = nullptr;
  TimerSet* timers = nullptr;
  explicit Handles(Store& store) : shard(MakeShardState(store, 0)) {
    list = *shard->OpenTimeList(kOperator, "list", 100);
    values = *shard->OpenValueMap(kOperator, "values");
    timers = *shard->OpenTimers(kOperator);
  }
};

// While an epoch is on its way to the store, what older ones brought there need not stay.
TEST(ShardState, ValuesLeaveMemoryWhileALaterEpochIsOnItsWay) {
  auto store = OpenStore(NewPath());
  Handles handles(*store);
  for (int i = 0; i < 100; ++i)
    ASSERT_TRUE(handles.values->Put(fmt::format("old{}", i), std::string(1000, 'x')).ok());
  Checkpoint first;
  handles.shard->BeginFreeze(1);
  first.meta.epoch = 1;
  first.changes.push_back(handles.shard->Freeze(kOperator));
  ASSERT_TRUE(handles.values->Put("new", "y").ok());
  handles.shard->BeginFreeze(2);
  const auto second = handles.shard->Freeze(kOperator);
  ASSERT_TRUE(handles.values->Put("newest", "z").ok());
  handles.shard->EvictTo(0);
  EXPECT_GT(handles.shard->memory_bytes(), 100'000u);
  ASSERT_TRUE(store->Commit(std::move(first)).ok());
  handles.shard->OnPersisted(1);
  handles.shard->EvictTo(0);
  EXPECT_LT(handles.shard->memory_bytes(), 2'000u);
  for (const auto& [key, expected] : std::map<std::string, std::string>{
           {"old7", std::string(1000, 'x')}, {"new", "y"}, {"newest", "z"}}) {
    std::string value;
    bool found = false;
    ASSERT_TRUE(handles.values->Get(key, &value, &found).ok());
    EXPECT_TRUE(found) << key;
    EXPECT_EQ(value, expected) << key;
  }
}

// Everything at once, against maps, through checkpoints, evictions and crashes.
TEST(ShardState, EqualsItsModel) {
  const char* given = std::getenv("BONGSU_SEED");
  const uint64_t seed =
      given != nullptr
          ? std::strtoull(given, nullptr, 10)
          : static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  std::mt19937_64 random(seed);
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(fmt::format("BONGSU_SEED={} round {}", seed, round));
    const std::string path = NewPath();
    auto store = OpenStore(path);
    auto handles = std::make_unique<Handles>(*store);
    struct Everything {
      Model list;
      EventTimeNs expired = kMinEventTime;
      std::map<std::string, std::string> values;
      std::multimap<EventTimeNs, std::string> timers;
    };
    Everything now;
    Everything committed;
    EpochId epoch = 0;
    for (int step = 0; step < 400; ++step) {
      const std::string key = fmt::format("k{}", random() % 5);
      const auto time = static_cast<EventTimeNs>(random() % 1000) - 500;
      switch (random() % 12) {
        case 0:
        case 1:
        case 2:
        case 3: {
          const RecordSeq seq = random() % 3;
          const std::string value(random() % 20, static_cast<char>('a' + random() % 26));
          ASSERT_TRUE(handles->list->Put(key, {time, seq}, value).ok());
          if (time >= now.expired) now.list[key][{time, seq}] = {value, 0};
          break;
        }
        case 4:
        case 5:
        case 6: {
          const EventTimeNs to = time + static_cast<EventTimeNs>(random() % 300);
          const bool change = random() % 3 == 0;
          std::vector<std::string> found;
          ASSERT_TRUE(handles->list
                          ->Scan(key, time, to,
                                 [&](TimeListCursor& entry) {
                                   found.push_back(fmt::format("{} {} {} {}", entry.time(),
                                                               entry.seq(), entry.value(),
                                                               entry.mark()));
                                   if (change) entry.set_mark(7);
                                   return true;
                                 })
                          .ok());
          std::vector<std::string> expected;
          for (auto& [id, entry] : now.list[key]) {
            if (id.first < time || id.first > to || id.first < now.expired) continue;
            expected.push_back(
                fmt::format("{} {} {} {}", id.first, id.second, entry.first, entry.second));
            if (change) entry.second = 7;
          }
          ASSERT_EQ(found, expected);
          // Backwards: the same, until told to stop.
          const size_t wanted = random() % (expected.size() + 2);
          std::vector<std::pair<EventTimeNs, RecordSeq>> back;
          ASSERT_TRUE(handles->list
                          ->ScanBack(key, time, to,
                                     [&](TimeListCursor& entry) {
                                       back.emplace_back(entry.time(), entry.seq());
                                       return back.size() < wanted;
                                     })
                          .ok());
          std::vector<std::pair<EventTimeNs, RecordSeq>> expected_back;
          for (auto it = now.list[key].rbegin(); it != now.list[key].rend(); ++it) {
            if (it->first.first < time || it->first.first > to || it->first.first < now.expired)
              continue;
            expected_back.push_back(it->first);
            if (expected_back.size() >= wanted) break;
          }
          ASSERT_EQ(back, expected_back);
          break;
        }
        case 7:
          if (random() % 4 == 0) {
            handles->list->ExpireBefore(time - 300);
            now.expired = std::max(now.expired, time - 300);
          }
          break;
        case 8: {
          std::string value;
          bool found = false;
          if (random() % 3 == 0) {
            ASSERT_TRUE(handles->values->Erase(key).ok());
            now.values.erase(key);
          } else {
            ASSERT_TRUE(handles->values->Put(key, std::to_string(step)).ok());
            now.values[key] = std::to_string(step);
          }
          const std::string other = fmt::format("k{}", random() % 5);
          ASSERT_TRUE(handles->values->Get(other, &value, &found).ok());
          ASSERT_EQ(found, now.values.contains(other));
          ASSERT_EQ(value, found ? now.values[other] : "");
          break;
        }
        case 9: {
          if (random() % 2 == 0) {
            ASSERT_TRUE(handles->timers->Set(time, "t", std::to_string(step)).ok());
            now.timers.emplace(time, std::to_string(step));
            break;
          }
          std::multimap<EventTimeNs, std::string> fired;
          ASSERT_TRUE(
              handles->timers
                  ->PopBefore(time,
                              [&](EventTimeNs when, std::string_view, std::string_view data) {
                                fired.emplace(when, data);
                                return absl::OkStatus();
                              })
                  .ok());
          const std::multimap<EventTimeNs, std::string> due(now.timers.begin(),
                                                            now.timers.lower_bound(time));
          now.timers.erase(now.timers.begin(), now.timers.lower_bound(time));
          const auto sorted = [](const std::multimap<EventTimeNs, std::string>& timers) {
            std::set<std::pair<EventTimeNs, std::string>> set(timers.begin(), timers.end());
            return set;
          };
          ASSERT_EQ(sorted(fired), sorted(due));
          break;
        }
        case 10:
          Commit(*store, *handles->shard, ++epoch);
          committed = now;
          if (random() % 2 == 0) handles->shard->EvictTo(0);
          break;
        case 11:
          if (random() % 3 != 0) break;
          handles.reset();  // a crash: what was not committed is gone
          store.reset();
          store = OpenStore(path);
          handles = std::make_unique<Handles>(*store);
          now = committed;
          ASSERT_EQ(store->latest().has_value(), epoch > 0);
          break;
      }
    }
  }
}

TEST(ShardState, WhatExpiresBeforeACheckpointIsNeverWritten) {
  auto store = OpenStore(NewPath());
  Handles handles(*store);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(handles.list->Put("k", {i, 0}, "v").ok());
  EXPECT_GT(handles.shard->memory_bytes(), 0u);
  handles.list->ExpireBefore(1000);
  EXPECT_EQ(handles.shard->memory_bytes(), 0u);
  EXPECT_EQ(handles.shard->dirty_bytes(), 0u);
  Commit(*store, *handles.shard, 1);
  EXPECT_EQ(handles.shard->counters().entries_expired_unwritten, 100u);
  EXPECT_EQ(handles.shard->counters().entries_frozen, 0u);
}

TEST(Store, RefusesWhatBelongsToOthers) {
  const std::string path = NewPath();
  OpenStore(path).reset();
  StoreOptions options;
  options.path = path;
  options.in_memory = true;
  options.application = "other";
  options.shards = 2;
  EXPECT_NE(
      std::string(Store::Open(options).status().message()).find("belongs to application 'test'"),
      std::string::npos);
  options.application = "test";
  options.shards = 3;
  EXPECT_NE(std::string(Store::Open(options).status().message()).find("was made with 2 shards"),
            std::string::npos);
}

// Killed while RocksDB makes its first files: nothing is lost, and the next start must not stop.
// Without CURRENT but with content it does: RocksDB would take the folder for a new one.
TEST(Store, AHalfMadeOneIsMadeAnewAndAHeadlessOneIsRefused) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / fmt::format("bongsu-half-made-{}", getpid());
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  for (const char* name : {"IDENTITY", "LOCK", "LOG", "MANIFEST-000001"})
    std::ofstream(path / name) << "";
  ASSERT_NE(OpenStore(path, /*in_memory=*/false), nullptr);
  std::filesystem::remove(path / "CURRENT");
  StoreOptions options;
  options.path = path;
  options.application = "test";
  options.shards = 2;
  const absl::Status status = Store::Open(options).status();
  EXPECT_NE(std::string(status.message()).find("has files, but no CURRENT"), std::string::npos)
      << status.ToString();
  std::filesystem::remove_all(path);
}

TEST(Store, AChangedRuleGetsANewNumberAndItsOldStateGoes) {
  const std::string path = NewPath();
  auto store = OpenStore(path);
  uint64_t reset = 0;
  const uint16_t first = *store->OperatorId("rule", "hash-1", &reset);
  EXPECT_EQ(reset, 0u);
  auto shard = MakeShardState(*store, 0);
  ASSERT_TRUE((*shard->OpenTimeList(first, "list", 10))->Put("k", {1, 1}, "v").ok());
  Checkpoint checkpoint;
  checkpoint.meta.epoch = 1;
  shard->BeginFreeze(1);
  checkpoint.changes.push_back(shard->Freeze(first));
  ASSERT_TRUE(store->Commit(std::move(checkpoint)).ok());
  shard.reset();
  store.reset();
  store = OpenStore(path);
  EXPECT_EQ(*store->OperatorId("rule", "hash-1", &reset), first);
  EXPECT_EQ(reset, 0u);
  store.reset();
  store = OpenStore(path);
  EXPECT_NE(*store->OperatorId("rule", "hash-2", &reset), first);
  EXPECT_GT(reset, 0u);
}

// Data and position are one step: a child commits in a loop and is killed at any moment.
TEST(Store, KilledAtAnyMomentItHoldsExactlyOneEpoch) {
  const std::string path =
      std::filesystem::temp_directory_path() / fmt::format("bongsu-store-{}", getpid());
  std::filesystem::remove_all(path);
  std::random_device random;
  for (int kill_number = 0; kill_number < 12; ++kill_number) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto store = OpenStore(path, /*in_memory=*/false);
      Handles handles(*store);
      EpochId epoch = store->latest().has_value() ? store->latest()->epoch : 0;
      while (true) {
        ++epoch;
        for (int key = 0; key < 50; ++key) {
          if (!handles.values->Put(fmt::format("k{}", key), std::to_string(epoch)).ok()) _exit(1);
          if (!handles.list
                   ->Put(fmt::format("k{}", key), {static_cast<EventTimeNs>(epoch % 90), 0},
                         std::to_string(epoch))
                   .ok())
            _exit(1);
        }
        Commit(*store, *handles.shard, epoch);
      }
    }
    usleep(20'000 + static_cast<useconds_t>(random() % 200'000));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself";
    auto store = OpenStore(path, /*in_memory=*/false);
    ASSERT_NE(store, nullptr);
    if (!store->latest().has_value()) continue;
    const std::string epoch = std::to_string(store->latest()->epoch);
    EXPECT_EQ(store->latest()->positions, epoch);
    Handles handles(*store);
    for (int key = 0; key < 50; ++key) {
      std::string value;
      bool found = false;
      ASSERT_TRUE(handles.values->Get(fmt::format("k{}", key), &value, &found).ok());
      EXPECT_EQ(value, epoch);
      std::string newest;
      const auto time = static_cast<EventTimeNs>(store->latest()->epoch % 90);
      ASSERT_TRUE(handles.list
                      ->Scan(fmt::format("k{}", key), time, time,
                             [&](TimeListCursor& entry) {
                               newest = entry.value();
                               return true;
                             })
                      .ok());
      EXPECT_EQ(newest, epoch);
    }
  }
  std::filesystem::remove_all(path);
}

}  // namespace
}  // namespace bongsu
