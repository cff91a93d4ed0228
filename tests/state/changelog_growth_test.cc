// The log over months of event time, with windows of 30 days: it stays a small multiple of the live
// state, whatever went through it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>

#include "state/changelog.h"
#include "state/restore.h"
#include "state/shard_state.h"
#include "tests/state/memory_store.h"
#include "tests/state/simulated_log.h"

namespace bongsu {
namespace {

constexpr DurationNs kWindow = 30 * kDayNs;
constexpr int kDays = 150;
constexpr int kEpochsADay = 8;
constexpr int kEntriesAnEpoch = 8;

TEST(ChangelogGrowth, MonthsOfThirtyDayWindowsStayASmallMultipleOfTheLiveState) {
  std::mt19937_64 random(1);
  MemoryDisk disk;
  SimulatedLog log;
  MemoryStore store(disk, random, 1, 7);
  uint64_t reset = 0;
  const uint16_t op = *store.OperatorId("count", "hash", &reset);
  ChangelogOptions options;
  options.round_bytes_min = 16 << 10;
  options.slice_bytes_min = 512;
  const auto changelog = *Changelog::Open(store, {0}, options);
  const auto shard = MakeShardState(store, 0);
  TimeList* list = *shard->OpenTimeList(op, "list", kDayNs);
  ValueMap* hot = *shard->OpenValueMap(op, "hot");
  uint64_t logged = 0;
  double worst = 0;
  EpochId epoch = 0;
  for (int day = 0; day < kDays; ++day) {
    for (int i = 0; i < kEpochsADay; ++i) {
      const EventTimeNs now = day * kDayNs + i * (kDayNs / kEpochsADay);
      for (int j = 0; j < kEntriesAnEpoch; ++j) {
        const auto seq = static_cast<RecordSeq>(epoch * kEntriesAnEpoch + static_cast<uint64_t>(j));
        ASSERT_TRUE(
            list->Put(fmt::format("k{}", random() % 50), {now, seq}, std::string(150, 'x')).ok());
      }
      ASSERT_TRUE(hot->Put("counter", fmt::format("{:0>100}", epoch)).ok());  // in every epoch
      list->ExpireBefore(now - kWindow);
      shard->BeginFreeze(++epoch);
      std::vector<std::unique_ptr<FrozenShard>> changes;
      changes.push_back(shard->Freeze(op));
      auto bundles = *changelog->Encode(std::move(changes));
      for (ShardBundle& bundle : bundles) {
        for (auto& record : bundle.records) log.Append(0, record.bytes, &record.offset);
      }
      log.End(/*commit=*/true);
      changelog->Committed(epoch, "", bundles, 0);
    }
    ASSERT_TRUE(changelog->Flush().ok());
    shard->OnPersisted(epoch);
    for (auto [id, offset] : changelog->TrimPoints()) log.DeleteBefore(id, offset);
    if (day < 35) continue;
    const auto ratio =
        static_cast<double>(log.partitions[0].bytes()) / static_cast<double>(store.live_bytes());
    worst = std::max(worst, ratio);
  }
  logged = changelog->counters().bytes;
  fmt::print("{} days: {} bytes went through the log, {} are in it, {} are live; at most {:.2f}x\n",
             kDays, logged, log.partitions[0].bytes(), store.live_bytes(), worst);
  EXPECT_LT(worst, 5.0);
  EXPECT_GT(logged, 2 * log.partitions[0].bytes());
  EXPECT_GT(changelog->counters().rounds, 2u);
  // And it is complete: an empty disk has the same rows.
  MemoryDisk empty;
  MemoryStore restored(empty, random, 1, 7);
  const auto result = RestoreShard(restored, 0, *log.Open(0));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(restored.live_bytes(), store.live_bytes());
}

}  // namespace
}  // namespace bongsu
