// The keyed state of one shard: what operators pay for each entry, and what a checkpoint costs.
//
//   state_shard_state_bench
//
// Keys of 19 bytes (an address), values of 60, drawn at random from `keys`. The store lies in a
// temporary folder (BONGSU_BENCH_DIR, else TMPDIR, else /tmp), so that disk reads are RocksDB's
// own; the page cache holds the files.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "state/check.h"
#include "state/shard_state.h"
#include "state/store.h"

namespace bongsu {
namespace {

constexpr uint16_t kOperator = 1;
constexpr DurationNs kBucketNs = 10 * kSecondNs;
constexpr DurationNs kWindowNs = 5 * kSecondNs;

// A store on disk, gone with the bench, and one shard of it.
struct Bench {
  Bench() {
    const char* folder = std::getenv("BONGSU_BENCH_DIR");
    if (folder == nullptr) folder = std::getenv("TMPDIR");
    path = fmt::format("{}/bongsu-state-bench-{}", folder == nullptr ? "/tmp" : folder, getpid());
    std::filesystem::remove_all(path);
    StoreOptions options;
    options.path = path;
    options.application = "bench";
    options.shards = 1;
    auto opened = Store::Open(options);
    BONGSU_CHECK_MSG(opened.ok(), std::string(opened.status().message()));
    store = *std::move(opened);
    shard = MakeShardState(*store, 0);
  }
  ~Bench() {
    shard.reset();
    store.reset();
    std::filesystem::remove_all(path);
  }
  TimeList* List() { return *shard->OpenTimeList(kOperator, "list", kBucketNs); }
  // Freeze and commit; the rows written.
  size_t FreezeAndCommit() {
    std::unique_ptr<FrozenShard> frozen = Freeze();
    const size_t rows = frozen->rows.size();
    Commit(std::move(frozen));
    return rows;
  }
  std::unique_ptr<FrozenShard> Freeze() {
    shard->BeginFreeze(++epoch);
    return shard->Freeze(kOperator);
  }
  void Commit(std::unique_ptr<FrozenShard> frozen) {
    Checkpoint checkpoint;
    checkpoint.meta.epoch = epoch;
    checkpoint.changes.push_back(std::move(frozen));
    BONGSU_CHECK(store->Commit(std::move(checkpoint)).ok());
    shard->OnPersisted(epoch);
  }

  std::string path;
  std::unique_ptr<Store> store;
  std::unique_ptr<ShardState> shard;
  EpochId epoch = 0;
};

struct Keys {
  explicit Keys(int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      std::string key(19, '\0');
      key[0] = 4;
      for (size_t byte = 0; byte < 4; ++byte)
        key[15 + byte] = static_cast<char>(i >> (8 * (3 - byte)));
      keys.push_back(std::move(key));
    }
  }
  const std::string& Draw() { return keys[random() % keys.size()]; }
  std::vector<std::string> keys;
  std::mt19937_64 random{1};
};

const std::string kValue(60, 'v');

// Puts in time order, ten times as many entries as keys in a bucket, expiring behind.
void BM_TimeListPut(benchmark::State& state) {
  Bench bench;
  TimeList* list = bench.List();
  Keys keys(state.range(0));
  const DurationNs step = kBucketNs / (state.range(0) * 2);
  EventTimeNs time = 0;
  RecordSeq seq = 0;
  for (auto _ : state) {
    BONGSU_CHECK(list->Put(keys.Draw(), {time, ++seq}, kValue).ok());
    time += step;
    if ((seq & 1023) == 0) list->ExpireBefore(time - 2 * kWindowNs);
  }
  state.SetItemsProcessed(state.iterations());
  state.counters["state_bytes"] = static_cast<double>(bench.shard->memory_bytes());
}
BENCHMARK(BM_TimeListPut)->ArgName("keys")->Arg(1'000)->Arg(20'000)->Arg(200'000);

// A scan of ±5 s over entries in memory, two for each key and bucket.
void BM_TimeListScan(benchmark::State& state) {
  Bench bench;
  TimeList* list = bench.List();
  Keys keys(state.range(0));
  const int64_t entries = state.range(0) * 6;  // three buckets
  const DurationNs step = 3 * kBucketNs / entries;
  for (int64_t i = 0; i < entries; ++i) {
    BONGSU_CHECK(list->Put(keys.Draw(), {i * step, static_cast<RecordSeq>(i)}, kValue).ok());
  }
  const EventTimeNs middle = 3 * kBucketNs / 2;
  int64_t seen = 0;
  for (auto _ : state) {
    BONGSU_CHECK(list->Scan(keys.Draw(), middle - kWindowNs, middle + kWindowNs,
                            [&](TimeListCursor& entry) {
                              benchmark::DoNotOptimize(entry.value().data());
                              ++seen;
                              return true;
                            })
                     .ok());
  }
  state.SetItemsProcessed(state.iterations());
  state.counters["entries"] = static_cast<double>(seen) / static_cast<double>(state.iterations());
}
BENCHMARK(BM_TimeListScan)->ArgName("keys")->Arg(1'000)->Arg(20'000)->Arg(200'000);

// Freeze (on the shard's thread) and commit (on the committer's) of 20,000 changed entries.
void BM_Checkpoint(benchmark::State& state) {
  const bool commit = state.range(0) != 0;
  Bench bench;
  TimeList* list = bench.List();
  Keys keys(20'000);
  EventTimeNs time = 0;
  RecordSeq seq = 0;
  size_t rows = 0;
  for (auto _ : state) {
    state.PauseTiming();
    for (int i = 0; i < 20'000; ++i, time += kBucketNs / 20'000)
      BONGSU_CHECK(list->Put(keys.Draw(), {time, ++seq}, kValue).ok());
    list->ExpireBefore(time - 2 * kBucketNs);
    std::unique_ptr<FrozenShard> frozen;
    if (commit) frozen = bench.Freeze();
    state.ResumeTiming();
    if (!commit) frozen = bench.Freeze();
    rows += frozen->rows.size();
    if (commit) bench.Commit(std::move(frozen));
    state.PauseTiming();
    if (!commit) bench.Commit(std::move(frozen));
    bench.shard->EvictTo(0);
    state.ResumeTiming();
  }
  state.SetLabel(commit ? "commit" : "freeze");
  state.SetItemsProcessed(static_cast<int64_t>(rows));
}
BENCHMARK(BM_Checkpoint)->ArgName("commit")->Arg(0)->Arg(1)->Iterations(20)->UseRealTime();

// Reads of keys whose segments were evicted: one bounded seek each. `present`: in percent, how many
// of the keys asked for are there (the others should be answered by the Bloom filter).
void BM_TimeListReadEvicted(benchmark::State& state) {
  Bench bench;
  TimeList* list = bench.List();
  constexpr int64_t kStored = 100'000;
  Keys keys(2 * kStored);
  for (int64_t i = 0; i < 2 * kStored; ++i) {
    const std::string& key = keys.keys[static_cast<size_t>(2 * (i / 2))];  // the even ones, twice
    BONGSU_CHECK(list->Put(key, {i * 1000, static_cast<RecordSeq>(i)}, kValue).ok());
  }
  bench.FreezeAndCommit();
  bench.shard->EvictTo(0);
  const uint64_t seeks = bench.shard->counters().disk_seeks;
  int64_t seen = 0;
  int64_t n = 0;
  for (auto _ : state) {
    const bool present = n % 100 < state.range(0);
    const size_t at = keys.random() % kStored * 2 + (present ? 0 : 1);
    BONGSU_CHECK(list->Scan(keys.keys[at], 0, kBucketNs - 1,
                            [&](TimeListCursor& entry) {
                              benchmark::DoNotOptimize(entry.value().data());
                              ++seen;
                              return true;
                            })
                     .ok());
    if (++n % 50'000 == 0) {
      state.PauseTiming();
      bench.shard->EvictTo(0);
      state.ResumeTiming();
    }
  }
  state.SetItemsProcessed(state.iterations());
  state.counters["entries"] = static_cast<double>(seen) / static_cast<double>(state.iterations());
  state.counters["seeks"] = static_cast<double>(bench.shard->counters().disk_seeks - seeks) /
                            static_cast<double>(state.iterations());
}
BENCHMARK(BM_TimeListReadEvicted)->ArgName("present")->Arg(0)->Arg(100);

// Dropping 100,000 clean entries from memory.
void BM_Evict(benchmark::State& state) {
  Bench bench;
  TimeList* list = bench.List();
  Keys keys(100'000);
  RecordSeq seq = 0;
  EventTimeNs time = 0;
  for (auto _ : state) {
    state.PauseTiming();
    for (const std::string& key : keys.keys)
      BONGSU_CHECK(
          list->Put(key, {time + static_cast<EventTimeNs>(++seq % 1000), seq}, kValue).ok());
    bench.FreezeAndCommit();
    state.ResumeTiming();
    bench.shard->EvictTo(0);
    state.PauseTiming();
    time += kBucketNs;
    list->ExpireBefore(time);
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * 100'000);
}
BENCHMARK(BM_Evict)->Iterations(10)->UseRealTime();

// Timers set at random times within a window, and fired as time goes by.
void BM_Timers(benchmark::State& state) {
  Bench bench;
  TimerSet* timers = *bench.shard->OpenTimers(kOperator);
  Keys keys(20'000);
  const DurationNs step = kWindowNs / state.range(0);
  EventTimeNs time = 0;
  int64_t fired = 0;
  const std::string data(16, 'd');
  for (auto _ : state) {
    const auto ahead = static_cast<DurationNs>(keys.random() % static_cast<uint64_t>(kWindowNs));
    BONGSU_CHECK(timers->Set(time + ahead, keys.Draw(), data).ok());
    time += step;
    if ((++fired & 255) == 0) {
      BONGSU_CHECK(timers
                       ->PopBefore(time,
                                   [&](EventTimeNs, std::string_view key, std::string_view) {
                                     benchmark::DoNotOptimize(key.data());
                                     return absl::OkStatus();
                                   })
                       .ok());
    }
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Timers)->ArgName("in_window")->Arg(1'000)->Arg(100'000);

// A counter for each key: read, changed, written.
void BM_ValueMap(benchmark::State& state) {
  Bench bench;
  ValueMap* values = *bench.shard->OpenValueMap(kOperator, "values");
  Keys keys(state.range(0));
  for (const std::string& key : keys.keys) BONGSU_CHECK(values->Put(key, "0").ok());
  std::string value;
  for (auto _ : state) {
    const std::string& key = keys.Draw();
    bool found = false;
    BONGSU_CHECK(values->Get(key, &value, &found).ok());
    value.assign(1, static_cast<char>('0' + (value.empty() ? 0 : (value[0] - '0' + 1) % 10)));
    BONGSU_CHECK(values->Put(key, value).ok());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ValueMap)->ArgName("keys")->Arg(1'000)->Arg(20'000)->Arg(200'000);

}  // namespace
}  // namespace bongsu

BENCHMARK_MAIN();
