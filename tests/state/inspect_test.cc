// `bongsu state` from inside: a state folder on a real disk, looked at while nobody uses it, while
// somebody does, and with a flipped byte.
#include "state/inspect.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "state/restore.h"
#include "state/shard_state.h"
#include "state/store.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;

class StateInspectorTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = fs::temp_directory_path() / fmt::format("bongsu-inspect-{}", getpid());
    fs::remove_all(path_);
  }
  void TearDown() override { fs::remove_all(path_); }

  // `before` operators claim their numbers first.
  std::unique_ptr<Store> Make(int before = 0) {
    StoreOptions options;
    options.path = path_;
    options.application = "soc";
    options.shards = 2;
    options.hash_seed = 7;
    auto store = Store::Open(options);
    EXPECT_TRUE(store.ok()) << store.status();
    uint64_t reset = 0;
    for (int i = 0; i < before; ++i)
      (void)*(*store)->OperatorId(fmt::format("other{}", i), "h", &reset);
    const uint16_t id = *(*store)->OperatorId("join", "hash", &reset);
    auto shard = MakeShardState(**store, 1);
    TimeList* list = *shard->OpenTimeList(id, "list", 100);
    ValueMap* values = *shard->OpenValueMap(id, "values");
    TimerSet* timers = *shard->OpenTimers(id);
    for (int i = 0; i < 500; ++i)
      EXPECT_TRUE(list->Put("key", {i, static_cast<RecordSeq>(i)}, std::string(100, 'x')).ok());
    list->ExpireBefore(250);
    EXPECT_TRUE(values->Put("k", "v").ok());
    EXPECT_TRUE(timers->Set(5, "t", "data").ok());
    shard->BeginFreeze(1);
    Checkpoint checkpoint;
    checkpoint.meta = {1, "positions"};
    checkpoint.changes.push_back(shard->Freeze(id));
    EXPECT_TRUE((*store)->Commit(std::move(checkpoint)).ok());
    return *std::move(store);
  }
  absl::StatusOr<StateInfo> Info() {
    auto inspector = StateInspector::Open(path_);
    if (!inspector.ok()) return inspector.status();
    return (*inspector)->Info();
  }

  fs::path path_;
};

TEST_F(StateInspectorTest, SaysWhatIsStored) {
  Make();
  const auto info = Info();
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->application, "soc");
  EXPECT_EQ(info->shards, 2);
  EXPECT_EQ(info->hash_seed, 7u);
  EXPECT_EQ(info->checkpoint->epoch, 1u);
  EXPECT_TRUE(info->unlogged);
  ASSERT_EQ(info->operators.size(), 1u);
  EXPECT_EQ(info->operators[0].name, "join");
  EXPECT_EQ(info->operators[0].list_rows, 250u);  // not the expired ones
  EXPECT_EQ(info->operators[0].value_rows, 1u);
  EXPECT_EQ(info->operators[0].timer_rows, 1u);
  EXPECT_GT(info->operators[0].bytes, 25'000u);
  EXPECT_GT(info->files_bytes, 0u);
  std::vector<std::string> kinds;
  ASSERT_TRUE((*StateInspector::Open(path_))
                  ->Export([&](const StateRow& row) {
                    EXPECT_EQ(row.shard, 1);
                    EXPECT_EQ(row.op, "join");
                    if (row.kind != "list")
                      kinds.push_back(fmt::format("{} {}", row.kind, row.key));
                  })
                  .ok());
  EXPECT_EQ(kinds, (std::vector<std::string>{"value k", "timer t"}));
}

TEST_F(StateInspectorTest, EqualStateHasEqualChecksum) {
  Make();
  const uint64_t once = Info()->rows_checksum;
  fs::remove_all(path_);
  Make(/*before=*/3);
  EXPECT_EQ(Info()->rows_checksum, once);
}

TEST_F(StateInspectorTest, AFlippedByteIsFound) {
  Make();
  ASSERT_TRUE((*StateInspector::Open(path_))->Verify().ok());
  int damaged = 0;
  for (const auto& entry : fs::directory_iterator(path_)) {
    if (entry.path().extension() != ".sst") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(20);
    file.put('\x55');
    ++damaged;
  }
  ASSERT_GT(damaged, 0);
  auto inspector = StateInspector::Open(path_);
  const absl::Status status = inspector.ok() ? (*inspector)->Verify() : inspector.status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
}

TEST_F(StateInspectorTest, RefusesWhatIsInUseAndWhatIsNone) {
  const auto none = StateInspector::Open(path_);
  EXPECT_TRUE(absl::IsFailedPrecondition(none.status())) << none.status();
  const auto store = Make();
  const auto used = StateInspector::Open(path_);
  EXPECT_TRUE(absl::IsFailedPrecondition(used.status())) << used.status();
  EXPECT_NE(std::string(used.status().message()).find("in use"), std::string::npos);
}

// Beside the process that uses it: what is flushed, of one operator, and nothing is kept from it.
// What cannot be renamed, as a mount point cannot, stays where it is, and empty. ("." cannot be
// renamed either.)
TEST_F(StateInspectorTest, WhatIsInAMountPointIsSetAside) {
  StoreOptions options;
  options.path = path_;
  options.application = "soc";
  options.shards = 2;
  for (int number = 1; number <= 2; ++number) {
    Make();
    fs::remove(path_ / "CURRENT");
    EXPECT_TRUE(absl::IsDataLoss(Store::Open(options).status()));
    const auto aside = SetAsideStore(path_ / ".");
    ASSERT_TRUE(aside.ok()) << aside.status();
    EXPECT_EQ(fs::path(*aside).filename(), fmt::format("damaged-{}", number));
    EXPECT_FALSE(fs::is_empty(*aside));
    EXPECT_EQ(std::distance(fs::directory_iterator(path_), {}), number);
    EXPECT_TRUE(Store::Open(options).ok());
    for (const auto& entry : fs::directory_iterator(path_)) {
      if (!entry.is_directory()) fs::remove(entry);
    }
  }
}

TEST_F(StateInspectorTest, LooksBesideAnInstanceThatRuns) {
  auto store = Make(/*before=*/1);
  auto inspector = StateInspector::OpenBeside(path_);
  ASSERT_TRUE(inspector.ok()) << inspector.status();
  EXPECT_EQ((*inspector)->Head()->application, "soc");
  int lists = 0;
  int values = 0;
  const auto visit = [&](const StateRow& row) {
    EXPECT_EQ(row.op, "join");
    ++(row.kind == "list" ? lists : values);
  };
  ASSERT_TRUE((*inspector)->ExportOperator("join", "hash", visit).ok());
  EXPECT_EQ(lists, 250);
  EXPECT_EQ(values, 1);
  EXPECT_TRUE(absl::IsNotFound((*inspector)->ExportOperator("join", "other hash", visit)));
  EXPECT_TRUE(absl::IsNotFound((*inspector)->ExportOperator("join", "has", visit)));
  EXPECT_TRUE((*inspector)->ExportOperator("other0", "h", visit).ok());
  EXPECT_EQ(lists, 250);
  // It goes on writing meanwhile, and a new look sees it.
  Checkpoint next;
  next.meta = {2, "later"};
  ASSERT_TRUE(store->Commit(std::move(next)).ok());
  EXPECT_EQ((*inspector)->Head()->checkpoint->epoch, 1u);
  EXPECT_EQ((*StateInspector::OpenBeside(path_))->Head()->checkpoint->epoch, 2u);
  inspector->reset();
  store.reset();
  EXPECT_TRUE(StateInspector::OpenBeside(path_).ok()) << "stopped, too";
  EXPECT_TRUE(absl::IsFailedPrecondition(StateInspector::OpenBeside("/nowhere").status()));
}

// A process that ended before its first commit left a store with a seed of its own.
TEST_F(StateInspectorTest, AnEmptyStoreTakesOverTheLogsSeed) {
  StoreOptions options;
  options.path = path_;
  options.application = "soc";
  options.hash_seed = 1;
  ASSERT_TRUE(Store::Open(options).ok());
  options.hash_seed = 2;
  EXPECT_EQ((*Store::Open(options))->hash_seed(), 2u);
  EXPECT_EQ(Info()->hash_seed, 2u);
  fs::remove_all(path_);
  Make();
  options.shards = 2;
  EXPECT_TRUE(absl::IsFailedPrecondition(Store::Open(options).status()));  // it holds something
}

}  // namespace
}  // namespace bongsu
