// Restoring lost state from its changelog: what a store costs, without a broker.
//
//   BONGSU_RESTORE_MB=200 state_restore_bench
//
// Values of 200 random bytes (they do not compress) in lists of an hour's buckets, with a timer for
// each, come in over so many epochs; their changelog is kept in memory and restored to an empty
// store in a temporary folder (BONGSU_BENCH_DIR, else TMPDIR, else /tmp). Bytes are those of the
// values. `log`: bytes of the log for each byte of a value, which hold keys, timers and rounds too.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "state/changelog.h"
#include "state/check.h"
#include "state/restore.h"
#include "state/shard_state.h"
#include "state/store.h"

namespace bongsu {
namespace {

constexpr uint16_t kShards = 16;
constexpr size_t kValueBytes = 200;
constexpr size_t kPerEpoch = 50'000;

std::string Folder(std::string_view name) {
  const char* folder = std::getenv("BONGSU_BENCH_DIR");
  if (folder == nullptr) folder = std::getenv("TMPDIR");
  return fmt::format("{}/bongsu-restore-bench-{}-{}", folder == nullptr ? "/tmp" : folder, name,
                     getpid());
}

std::unique_ptr<Store> OpenEmpty(const std::string& path) {
  std::filesystem::remove_all(path);
  StoreOptions options;
  options.path = path;
  options.application = "bench";
  options.shards = kShards;
  options.hash_seed = 1;
  auto opened = Store::Open(options);
  BONGSU_CHECK_MSG(opened.ok(), std::string(opened.status().message()));
  return *std::move(opened);
}

struct Log {
  std::vector<std::vector<std::string>> records{kShards};
  size_t values = 0;
  size_t bytes = 0;
};

class LogReader : public ShardLogReader {
 public:
  explicit LogReader(const std::vector<std::string>& records) : records_(records) {}
  int64_t start() const override { return 0; }
  int64_t end() const override { return static_cast<int64_t>(records_.size()); }
  absl::Status Seek(int64_t offset) override {
    next_ = static_cast<size_t>(offset);
    return absl::OkStatus();
  }
  absl::StatusOr<bool> Next(int64_t* offset, std::string_view* bytes) override {
    if (next_ == records_.size()) return false;
    *offset = static_cast<int64_t>(next_);
    *bytes = records_[next_++];
    return true;
  }

 private:
  const std::vector<std::string>& records_;
  size_t next_ = 0;
};

// What a process would have logged.
Log MakeLog(size_t values) {
  Log log;
  log.values = values;
  const std::string path = Folder("source");
  {
    auto store = OpenEmpty(path);
    std::vector<ShardId> ids;
    std::vector<std::unique_ptr<ShardState>> shards;
    for (ShardId id = 0; id < kShards; ++id) ids.push_back(id);
    uint64_t reset = 0;
    const uint16_t op = *store->OperatorId("join", "hash", &reset);
    std::vector<TimeList*> lists;
    std::vector<TimerSet*> timers;
    for (ShardId id : ids) {
      shards.push_back(MakeShardState(*store, id));
      lists.push_back(*shards.back()->OpenTimeList(op, "list", 3600 * kSecondNs));
      timers.push_back(*shards.back()->OpenTimers(op));
    }
    auto changelog = *Changelog::Open(*store, ids);
    std::mt19937_64 random(1);
    std::string value(kValueBytes, '\0');
    EpochId epoch = 0;
    for (size_t from = 0; from < values; from += kPerEpoch) {
      for (size_t i = from; i < std::min(values, from + kPerEpoch); ++i) {
        for (size_t at = 0; at < kValueBytes; at += 8) {
          const uint64_t word = random();
          value.replace(at, 8, reinterpret_cast<const char*>(&word), 8);
        }
        const size_t shard = random() % kShards;
        const auto time = static_cast<int64_t>(i) * kMillisecondNs;
        const std::string key = fmt::format("key-{}", i);
        BONGSU_CHECK(lists[shard]->Put(key, {time, static_cast<RecordSeq>(i)}, value).ok());
        BONGSU_CHECK(timers[shard]->Set(time + 86400 * kSecondNs, key, {}).ok());
      }
      ++epoch;
      std::vector<std::unique_ptr<FrozenShard>> changes;
      for (auto& shard : shards) {
        shard->BeginFreeze(epoch);
        changes.push_back(shard->Freeze(op));
      }
      auto bundles = *changelog->Encode(std::move(changes));
      for (ShardBundle& bundle : bundles) {
        for (auto& record : bundle.records) {
          record.offset = static_cast<int64_t>(log.records[bundle.shard].size());
          log.bytes += record.bytes.size();
          log.records[bundle.shard].push_back(record.bytes);
        }
      }
      changelog->Committed(epoch, "positions", bundles, 0);
      BONGSU_CHECK(changelog->Flush().ok());
      for (auto& shard : shards) shard->OnPersisted(epoch);
    }
  }
  std::filesystem::remove_all(path);
  return log;
}

void RestoreFromNothing(benchmark::State& state) {
  const char* given = std::getenv("BONGSU_RESTORE_MB");
  const size_t megabytes = given == nullptr ? 8 : std::strtoul(given, nullptr, 10);
  static const Log log = MakeLog(megabytes * 1'000'000 / kValueBytes);
  const std::string path = Folder("restored");
  for (auto unused : state) {
    state.PauseTiming();
    auto store = OpenEmpty(path);
    state.ResumeTiming();
    for (ShardId id = 0; id < kShards; ++id) {
      LogReader reader(log.records[id]);
      const auto result = RestoreShard(*store, id, reader);
      BONGSU_CHECK_MSG(result.ok(), std::string(result.status().message()));
    }
    state.PauseTiming();
    store.reset();
    std::filesystem::remove_all(path);
    state.ResumeTiming();
  }
  const auto bytes = static_cast<double>(log.values * kValueBytes);
  state.SetBytesProcessed(static_cast<int64_t>(bytes) * state.iterations());
  state.counters["log"] = static_cast<double>(log.bytes) / bytes;
}
BENCHMARK(RestoreFromNothing)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime()
    ->MeasureProcessCPUTime();

}  // namespace
}  // namespace bongsu

BENCHMARK_MAIN();
