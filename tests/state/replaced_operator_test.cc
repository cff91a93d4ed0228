// Rules change while a shard changes hands: what its log says of the operator's earlier form is not
// taken up, neither now nor when the rules go back. The same where the operator is gone.
#include <gtest/gtest.h>

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

constexpr ShardId kShard = 0;

class ReplacedOperatorTest : public ::testing::Test {
 protected:
  // A process: the rules that it claims, and the shard restored.
  struct Process {
    std::unique_ptr<MemoryStore> store;
    std::unique_ptr<Changelog> changelog;
    std::unique_ptr<ShardState> shard;
    ValueMap* values = nullptr;
    uint16_t op = 0;
  };
  Process Start(MemoryDisk& disk, const std::string& hash, const std::string& name = "rule") {
    Process process;
    process.store = std::make_unique<MemoryStore>(disk, random_, 1, 7);
    uint64_t reset = 0;
    process.op = *process.store->OperatorId(name, hash, &reset);
    dropped_ = process.store->KeepOnly({process.op});
    const auto result = RestoreShard(*process.store, kShard, *log_.Open(kShard));
    EXPECT_TRUE(result.ok()) << result.status();
    process.changelog = *Changelog::Open(*process.store, {kShard}, {});
    process.shard = MakeShardState(*process.store, kShard);
    process.values = *process.shard->OpenValueMap(process.op, "values");
    return process;
  }
  // One epoch, committed to the log; with `flush` also to the disk.
  void Epoch(Process& process, bool flush) {
    const EpochId epoch = ++epoch_;
    process.shard->BeginFreeze(epoch);
    std::vector<std::unique_ptr<FrozenShard>> changes;
    changes.push_back(process.shard->Freeze(process.op));
    auto bundles = *process.changelog->Encode(std::move(changes));
    for (ShardBundle& bundle : bundles) {
      for (auto& record : bundle.records) log_.Append(kShard, record.bytes, &record.offset);
    }
    log_.End(/*commit=*/true);
    process.changelog->Committed(epoch, "", bundles, 0);
    if (flush) {
      ASSERT_TRUE(process.changelog->Flush().ok());
    }
  }
  static std::string Value(Process& process, const std::string& key) {
    std::string value;
    bool found = false;
    EXPECT_TRUE(process.values->Get(key, &value, &found).ok());
    return found ? value : "nothing";
  }
  // `a` has old rows of the rule's first form, `b` went on with it, and then `a` comes back with
  // the rule's second form. `crash`: before it has told the log.
  void ChangeHands(bool crash) {
    {
      Process a = Start(disk_a_, "first");
      ASSERT_TRUE(a.values->Put("group", "old").ok());
      Epoch(a, /*flush=*/true);
    }
    {
      Process b = Start(disk_b_, "first");
      EXPECT_EQ(Value(b, "group"), "old");
      ASSERT_TRUE(b.values->Put("group", "newer").ok());
      Epoch(b, /*flush=*/true);
    }
    Process a = Start(disk_a_, "second");
    EXPECT_EQ(Value(a, "group"), "nothing");
    if (crash) a = Start(disk_a_, "second");
    ASSERT_TRUE(a.values->Put("other", "second").ok());
    Epoch(a, /*flush=*/true);
  }

  std::mt19937_64 random_{1};
  SimulatedLog log_;
  MemoryDisk disk_a_;
  MemoryDisk disk_b_;
  EpochId epoch_ = 0;
  std::vector<std::string> dropped_;  // by the last start
};

TEST_F(ReplacedOperatorTest, ItsRowsAreGoneFromDiskAndLog) {
  for (const bool crash : {false, true}) {
    SCOPED_TRACE(crash);
    log_ = {};
    disk_a_ = {};
    disk_b_ = {};
    ChangeHands(crash);
    MemoryDisk empty;
    Process anew = Start(empty, "second");
    EXPECT_EQ(Value(anew, "other"), "second");
    size_t operators = 0;
    for (const auto& one : anew.store->operators().All())
      operators += one.name.name == "rule" ? 1 : 0;
    EXPECT_EQ(operators, 1u);
    for (MemoryDisk* disk : {&disk_a_, &empty}) {
      Process reverted = Start(*disk, "first");
      EXPECT_EQ(Value(reverted, "group"), "nothing");
    }
  }
}

// The log by itself: a disk that never knew the rule's first form gets nothing of it either.
TEST_F(ReplacedOperatorTest, TheLogHasBeenTold) {
  ChangeHands(/*crash=*/true);
  MemoryDisk empty;
  MemoryStore store(empty, random_, 1, 7);
  ASSERT_TRUE(RestoreShard(store, kShard, *log_.Open(kShard)).ok());
  for (const auto& one : store.operators().All()) {
    if (one.name.hash != "first") continue;
    bool rows = false;
    for (int family = 0; family < kFamilies; ++family) {
      const std::string from = OperatorPrefix(static_cast<Family>(family), kShard, one.id);
      ASSERT_TRUE(store
                      .Read(static_cast<uint8_t>(family), from, PrefixEnd(from),
                            [&](std::string_view, std::string_view) { return !(rows = true); })
                      .ok());
    }
    EXPECT_FALSE(rows);
  }
}

// A rule that comes back begins anew: it has a hole where events went by without it.
TEST_F(ReplacedOperatorTest, WhatIsGoneComesBackEmpty) {
  for (const bool crash : {false, true}) {
    SCOPED_TRACE(crash);
    log_ = {};
    disk_a_ = {};
    {
      Process a = Start(disk_a_, "first");
      ASSERT_TRUE(a.values->Put("group", "old").ok());
      Epoch(a, /*flush=*/true);
    }
    Process a = Start(disk_a_, "first", "another");
    EXPECT_EQ(dropped_, std::vector<std::string>{"rule"});
    if (crash) {
      a = Start(disk_a_, "first", "another");
      EXPECT_EQ(dropped_, std::vector<std::string>{"rule"}) << "nobody had been told";
    }
    ASSERT_TRUE(a.values->Put("group", "another").ok());
    Epoch(a, /*flush=*/true);
    a = Start(disk_a_, "first", "another");
    EXPECT_EQ(dropped_, std::vector<std::string>{});
    EXPECT_EQ(Value(a, "group"), "another");
    EXPECT_EQ(a.store->operators().All().size(), 1u);
    MemoryDisk copy = disk_a_;
    MemoryDisk empty;
    for (MemoryDisk* disk : {&copy, &empty}) {
      Process back = Start(*disk, "first");
      EXPECT_EQ(Value(back, "group"), "nothing");
    }
  }
}

// Instances that share shards change their rules one by one. What one with newer rules has put into
// the log must not be skipped, and its position kept, by one that still has the older: it would be
// missing when that one has changed over, too.
TEST_F(ReplacedOperatorTest, WhatNewerRulesHaveWrittenIsNotSkipped) {
  {
    Process a = Start(disk_a_, "first");
    ASSERT_TRUE(a.values->Put("group", "old").ok());
    Epoch(a, /*flush=*/true);
  }
  {
    Process b = Start(disk_b_, HashSince("second", 5));
    ASSERT_TRUE(b.values->Put("group", "newer").ok());
    Epoch(b, /*flush=*/true);
  }
  {
    MemoryStore store(disk_a_, random_, 1, 7);
    uint64_t reset = 0;
    (void)store.KeepOnly({*store.OperatorId("rule", "first", &reset)});
    const auto before = store.changelog(kShard)->next_offset;
    RestoreOptions options;
    options.plan_version = 4;
    const auto result = RestoreShard(store, kShard, *log_.Open(kShard), options);
    EXPECT_TRUE(absl::IsAborted(result.status())) << result.status();
    EXPECT_EQ(store.changelog(kShard)->next_offset, before);
  }
  Process a = Start(disk_a_, HashSince("second", 5));
  EXPECT_EQ(Value(a, "group"), "newer");
}

}  // namespace
}  // namespace bongsu
