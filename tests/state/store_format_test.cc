// A store of another format version: an older one is taken over by the next write, a newer one is
// refused, with what to do, and left as it was.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "state/inspect.h"
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
  }
  void TearDown() override { fs::remove_all(path_); }

  absl::StatusOr<std::unique_ptr<Store>> Open(std::optional<uint8_t> made_as = std::nullopt) {
    StoreOptions options;
    options.path = path_;
    options.application = "soc";
    options.shards = 2;
    options.made_as = made_as;
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
  int Version() {
    auto inspector = StateInspector::Open(path_);
    EXPECT_TRUE(inspector.ok()) << inspector.status();
    const auto info = (*inspector)->Info();
    EXPECT_TRUE(info.ok()) << info.status();
    return info->format_version;
  }

  std::string path_;
};

TEST_F(StoreFormatTest, ANewerVersionIsRefused) {
  ASSERT_TRUE(Open(kFormatVersion + 1).ok());
  for (int again = 0; again < 2; ++again) {
    const auto store = Open();
    EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition) << store.status();
    const std::string message(store.status().message());
    EXPECT_NE(message.find(path_), std::string::npos) << message;
    EXPECT_NE(message.find(fmt::format("format version {}", kFormatVersion + 1)), std::string::npos)
        << message;
    EXPECT_NE(message.find("run the version that wrote it"), std::string::npos) << message;
  }
}

TEST_F(StoreFormatTest, AnOlderVersionIsTakenOverByTheNextWrite) {
  ASSERT_TRUE(Open(kFormatVersion - 1).ok());
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(Version(), kFormatVersion - 1) << "nothing was written, so the old version may go on";
  {
    auto store = Open();
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE(CommitRow(**store, 1).ok());
  }
  EXPECT_EQ(Version(), kFormatVersion);
  auto store = Open();
  ASSERT_TRUE(store.ok()) << store.status();
  ASSERT_TRUE((*store)->latest().has_value());
  EXPECT_EQ((*store)->latest()->epoch, 1u);
}

}  // namespace
}  // namespace bongsu
