// A store of another format version: an older one is taken over by the next write, a newer one and
// a damaged head are refused, with what to do, and left as they were.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "state/shard_state.h"
#include "state/store.h"
#include "state/store_format.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;

class StoreFormatTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = fs::temp_directory_path() / fmt::format("bongsu-format-{}", getpid());
    fs::remove_all(path_);
    auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE(CommitRow(**store, 1).ok());
  }
  void TearDown() override { fs::remove_all(path_); }

  absl::StatusOr<std::unique_ptr<Store>> Open() {
    StoreOptions options;
    options.path = path_;
    options.application = "soc";
    options.shards = 2;
    return Store::Open(options);
  }
  static absl::Status CommitRow(Store& store, EpochId epoch) {
    uint64_t reset = 0;
    const uint16_t id = *store.OperatorId("join", "hash", &reset);
    EXPECT_EQ(reset, 0u);
    auto shard = MakeShardState(store, 1);
    EXPECT_TRUE((*shard->OpenValueMap(id, "values"))->Put("k", fmt::format("v{}", epoch)).ok());
    shard->BeginFreeze(epoch);
    Checkpoint checkpoint;
    checkpoint.meta = {epoch, "positions"};
    checkpoint.changes.push_back(shard->Freeze(id));
    return store.Commit(std::move(checkpoint));
  }

  // The raw head, as another version or a bad disk would have left it.
  struct Raw {
    explicit Raw(const std::string& path) {
      std::vector<rocksdb::ColumnFamilyDescriptor> all;
      for (const char* name : kFamilyNames) all.emplace_back(name, rocksdb::ColumnFamilyOptions());
      rocksdb::DB* opened = nullptr;
      const auto status = rocksdb::DB::Open(rocksdb::Options(), path, all, &families, &opened);
      EXPECT_TRUE(status.ok()) << status.ToString();
      db.reset(opened);
    }
    ~Raw() {
      for (auto* family : families) (void)db->DestroyColumnFamilyHandle(family);
    }
    std::unique_ptr<rocksdb::DB> db;
    std::vector<rocksdb::ColumnFamilyHandle*> families;
  };
  std::string Head() {
    const Raw raw(path_);
    std::string head;
    EXPECT_TRUE(
        raw.db->Get(rocksdb::ReadOptions(), raw.families[kMetaFamily], kFormatKey, &head).ok());
    return head;
  }
  void SetHead(const std::string& head) {
    const Raw raw(path_);
    EXPECT_TRUE(
        raw.db->Put(rocksdb::WriteOptions(), raw.families[kMetaFamily], kFormatKey, head).ok());
  }
  void SetVersion(int version) {
    std::string body = *CheckedBody(Head(), "the head");
    body[0] = static_cast<char>(version);
    SetHead(WithChecksum(std::move(body)));
  }
  int Version() { return static_cast<uint8_t>(Head()[0]); }

  std::string path_;
};

TEST_F(StoreFormatTest, ANewerVersionIsRefusedAndKept) {
  SetVersion(kFormatVersion + 1);
  const std::string before = Head();
  const auto store = Open();
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition) << store.status();
  const std::string message(store.status().message());
  EXPECT_NE(message.find(path_), std::string::npos) << message;
  EXPECT_NE(message.find(fmt::format("format version {}", kFormatVersion + 1)), std::string::npos)
      << message;
  EXPECT_NE(message.find("run the version that wrote it"), std::string::npos) << message;
  EXPECT_EQ(Head(), before);
}

TEST_F(StoreFormatTest, AnOlderVersionIsTakenOverByTheNextWrite) {
  SetVersion(kFormatVersion - 1);
  {
    auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE((*store)->latest().has_value());
    EXPECT_EQ((*store)->latest()->epoch, 1u);
  }
  EXPECT_EQ(Version(), kFormatVersion - 1) << "nothing was written, so the old version may go on";
  {
    auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE(CommitRow(**store, 2).ok());
  }
  EXPECT_EQ(Version(), kFormatVersion);
}

TEST_F(StoreFormatTest, ADamagedHeadIsDataLoss) {
  std::string head = Head();
  head[3] = static_cast<char>(head[3] ^ 0x55);
  SetHead(head);
  const auto store = Open();
  EXPECT_EQ(store.status().code(), absl::StatusCode::kDataLoss) << store.status();
}

}  // namespace
}  // namespace bongsu
