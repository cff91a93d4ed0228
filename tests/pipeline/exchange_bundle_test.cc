// The bundles of the exchange: what goes in comes out, and nothing damaged comes out.
#include "pipeline/exchange_bundle.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>

#include "pipeline/committer.h"
#include "pipeline/config.h"
#include "pipeline/positions.h"
#include "pipeline/unpack_task.h"
#include "tests/state/memory_store.h"

namespace bongsu {
namespace {

constexpr char kYaml[] = R"(
application: t
sources:
  - {name: fw, topics: [fw], format: {time: [{path: t, as: epoch_s}]}}
  - {name: ep, topics: [ep], format: {time: [{path: t, as: epoch_s}]}}
operators:
  - name: first
    type: interval_join
    left: {source: fw, key: ip}
    right: {source: ep, key: ip}
    within: {before: 2s, after: 3s}
  - name: second
    type: interval_join
    left: {source: first, key: left.ip}
    right: {source: ep, key: ip}
    within: {before: 0s, after: 0s}
sinks: {alerts: {topic: alerts}, late: {topic: late}, dead_letter: {topic: dead}}
kafka: {bootstrap.servers: "localhost:1"}
exchange: kafka
state: {path: /tmp/t}
)";

Config Parse() {
  OperatorRegistry registry;
  RegisterAllOperators(registry);
  Diagnostics diagnostics;
  std::optional<Config> config = ParseConfig(kYaml, "t.yaml", registry, diagnostics);
  EXPECT_TRUE(config.has_value()) << diagnostics.Text();
  return *std::move(config);
}

class ExchangeBundleTest : public ::testing::Test {
 protected:
  ExchangeBundleTest() : config_(Parse()), plan_(MakePlan(config_)) {}

  std::string Text(std::mt19937_64& random, size_t most) {
    std::string text(random() % (most + 1), '\0');
    for (char& c : text) c = static_cast<char>(random());
    return text;
  }

  Config config_;
  Plan plan_;
};

TEST_F(ExchangeBundleTest, WhatGoesInComesOut) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  BundleWriter writer(plan_, 7);
  for (int round = 0; round < 50; ++round) {
    struct Sent {
      uint16_t op;
      Input input;
      std::string key, payload;
    };
    std::vector<Sent> sent(random() % 40);
    std::vector<std::pair<PartitionId, PartitionClock>> clocks(random() % 10);
    std::vector<std::tuple<uint16_t, ShardId, EventTimeNs>> results(random() % 10);
    for (Sent& one : sent) {
      one.op = static_cast<uint16_t>(random() % 2);
      one.key = Text(random, 300);
      one.payload = Text(random, 3000);
      one.input = {static_cast<EventTimeNs>(random()), random(), static_cast<uint8_t>(random() % 3),
                   one.key, one.payload};
      writer.AddInput(one.op, one.input);
    }
    for (auto& [partition, clock] : clocks) {
      partition = static_cast<PartitionId>(random());
      clock.state = static_cast<PartitionClock::State>(random() % 4);
      clock.newest = static_cast<EventTimeNs>(random());
      clock.floor = kMinEventTime;
      writer.AddClock(partition, clock);
    }
    for (auto& [op, from, watermark] : results) {
      op = static_cast<uint16_t>(random() % 2);
      from = static_cast<ShardId>(random());
      watermark = random() % 2 == 0 ? kMaxEventTime : static_cast<EventTimeNs>(random());
      writer.AddResult(op, from, watermark);
    }
    EXPECT_EQ(writer.empty(), sent.empty() && clocks.empty() && results.empty());
    const std::string bytes = writer.Finish();
    EXPECT_TRUE(writer.empty());
    ExchangeBundle bundle;
    const absl::Status status = ReadExchangeBundle(bytes, &bundle);
    ASSERT_TRUE(status.ok()) << std::string(status.message());
    EXPECT_EQ(bundle.plan_version, 7u);
    ASSERT_EQ(bundle.inputs.size(), sent.size());
    for (size_t i = 0; i < sent.size(); ++i) {
      const Input& got = bundle.inputs[i].input;
      EXPECT_EQ(bundle.operators[bundle.inputs[i].op].name,
                plan_.operators[sent[i].op].spec->rule().name);
      EXPECT_EQ(bundle.operators[bundle.inputs[i].op].hash,
                plan_.operators[sent[i].op].spec->semantic_hash());
      EXPECT_EQ(std::tie(got.time, got.seq, got.port, got.key, got.payload),
                std::tie(sent[i].input.time, sent[i].input.seq, sent[i].input.port,
                         sent[i].input.key, sent[i].input.payload));
    }
    ASSERT_EQ(bundle.clocks.size(), clocks.size());
    for (size_t i = 0; i < clocks.size(); ++i) {
      EXPECT_EQ(bundle.clocks[i].partition, clocks[i].first);
      EXPECT_EQ(bundle.clocks[i].clock.state, clocks[i].second.state);
      EXPECT_EQ(bundle.clocks[i].clock.newest, clocks[i].second.newest);
      EXPECT_EQ(bundle.clocks[i].clock.floor, clocks[i].second.floor);
    }
    ASSERT_EQ(bundle.results.size(), results.size());
    for (size_t i = 0; i < results.size(); ++i) {
      EXPECT_EQ(bundle.results[i].from, std::get<1>(results[i]));
      EXPECT_EQ(bundle.results[i].watermark, std::get<2>(results[i]));
    }
  }
}

TEST_F(ExchangeBundleTest, EveryDamagedByteIsNoticed) {
  BundleWriter writer(plan_, 1);
  writer.AddInput(0, {5, 6, 1, "key", "payload"});
  writer.AddClock(3, {PartitionClock::State::kIdle, 10, 20, 0});
  writer.AddResult(0, 4, 30);
  const std::string bytes = writer.Finish();
  ExchangeBundle bundle;
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    // Not data loss: the store is not what is damaged.
    EXPECT_TRUE(absl::IsFailedPrecondition(ReadExchangeBundle(damaged, &bundle))) << at;
    EXPECT_FALSE(ReadExchangeBundle(bytes.substr(0, at), &bundle).ok()) << at;
  }
}

TEST_F(ExchangeBundleTest, ASetEndsBundlesAtTheirBound) {
  BundleSet set(plan_, 1, 4);
  const std::string payload(10'000, 'x');
  constexpr int kInputs = 200;
  for (int i = 0; i < kInputs; ++i) set.Put(0, 2, {i, 0, 0, "k", payload});
  const std::string huge(kBundleBytesMax + 1, 'y');
  set.Put(0, 3, {1, 0, 0, "k", huge});
  std::vector<ShardRecord> records;
  set.TakeFull(&records);
  EXPECT_EQ(records.size(), 3u);
  set.Finish(&records);
  int inputs = 0;
  for (const ShardRecord& record : records) {
    ExchangeBundle bundle;
    ASSERT_TRUE(ReadExchangeBundle(record.bytes, &bundle).ok());
    if (record.shard == 3) {
      EXPECT_EQ(bundle.inputs.size(), 1u);
      continue;
    }
    EXPECT_EQ(record.shard, 2);
    EXPECT_LE(record.bytes.size(), kBundleBytesMax + 256);
    for (const auto& row : bundle.inputs) EXPECT_EQ(row.input.time, inputs++);
  }
  EXPECT_EQ(inputs, kInputs);
  records.clear();
  set.Finish(&records);
  EXPECT_TRUE(records.empty());
}

// Instances change over one by one: what of a bundle counts hangs on whose plan is newer.
TEST_F(ExchangeBundleTest, AnOtherPlansBundles) {
  PartitionTable partitions;
  PartitionInfo info;
  info.source = info.topic = "fw";
  info.identity = "fw 0";
  ASSERT_TRUE(partitions.Add(info).ok());
  // One operator that we have, and one that we have not.
  Plan theirs = plan_;
  std::swap(theirs.operators[0].spec, theirs.operators[1].spec);
  struct Gone : OperatorSpec {
    Gone() { rule_.name = "gone"; }
    std::string Why(const Incident&) const override { return ""; }
    std::unique_ptr<Operator> NewInstance() const override { return nullptr; }
  } gone;
  theirs.operators[1].spec = &gone;
  for (const uint64_t version : {6, 7, 8}) {
    SCOPED_TRACE(version);
    BundleWriter writer(theirs, version);
    writer.AddInput(0, {5, PackSeq(0, 3), 1, "key", "payload"});
    writer.AddInput(1, {5, PackSeq(0, 4), 1, "key", "payload"});
    PartitionClock clock;
    clock.state = PartitionClock::State::kActive;
    writer.AddClock(0, clock);
    writer.AddResult(0, 1, 77);
    const std::string bytes = writer.Finish();
    Batch batch;
    batch.bundles.push_back({2, 0, bytes});
    ExchangeSlot slot(1, 1);
    RunCounters counters(2, {2, 2});
    UnpackTask unpack(config_, plan_, 7, partitions, {{0, 0}});
    const absl::Status status = unpack.Run(batch, slot, counters);
    if (version > 7) {
      // All of it waits for the change: its clocks would close windows whose events it does not
      // send any more.
      EXPECT_TRUE(absl::IsAborted(status)) << std::string(status.message());
      EXPECT_TRUE(slot.block(0, 0).inputs.empty());
      continue;
    }
    ASSERT_TRUE(status.ok()) << std::string(status.message());
    EXPECT_FALSE(slot.block(0, 0).inputs.empty());
    EXPECT_EQ(counters.removed_inputs, 1u);
    EXPECT_EQ(slot.clock_news.size(), version == 7 ? 1u : 0u);
    EXPECT_EQ(slot.result_news.size(), version == 7 ? 1u : 0u);
  }
}

// What the committer sends and nobody reads.
class SentLog : public EpochLog {
 public:
  absl::Status Init(const std::atomic<bool>&) override { return absl::OkStatus(); }
  absl::Status Begin(EpochId) override { return absl::OkStatus(); }
  absl::Status Write(const std::string&, std::string_view, std::string_view) override {
    return absl::OkStatus();
  }
  absl::Status Append(int32_t, std::string_view record, int64_t*) override {
    appended.emplace_back(record);
    return absl::OkStatus();
  }
  absl::Status Send(int32_t shard, std::string_view bundle) override {
    sent[shard].emplace_back(bundle);
    return absl::OkStatus();
  }
  absl::Status Commit(EpochId, const Membership&, const std::vector<Position>&) override {
    return absl::OkStatus();
  }
  Counters counters() const override { return {}; }
  std::map<int32_t, std::vector<std::string>> sent;
  std::vector<std::string> appended;
};

// However many partitions and operators there are: a record has a bound, and one above it would
// stop the epoch for ever.
TEST_F(ExchangeBundleTest, AnEpochsClocksAndResultsAreBundlesOfBoundedSize) {
  constexpr size_t kPartitions = 30'000;
  constexpr size_t kResults = 60'000;  // of one operator's shards
  MemoryDisk disk;
  std::mt19937_64 random(1);
  MemoryStore store(disk, random, 2, 7);
  auto changelog = Changelog::Open(store, {}, {});
  ASSERT_TRUE(changelog.ok());
  SentLog log;
  const std::unique_ptr<Sink> sink = MakeEpochSink(log, "out");
  PartitionTable partitions;
  Committer committer(config_, partitions, store, {sink.get(), sink.get(), sink.get()},
                      {&log, changelog->get(), {}, &plan_, 7, {}}, SystemClock(), /*threads=*/1,
                      /*first_epoch=*/1, [] {});
  EpochEnd end;
  end.epoch = 1;
  EpochSeal seal;
  seal.epoch = 1;
  for (size_t i = 0; i < kPartitions; ++i) {
    PartitionClock clock;
    clock.state = PartitionClock::State::kActive;
    clock.newest = static_cast<EventTimeNs>(i);
    seal.partitions.push_back(clock);
    end.read_positions.push_back({static_cast<PartitionId>(i), -1, false});
  }
  for (size_t i = 0; i < kResults; ++i) {
    const auto shard = static_cast<ShardId>(i);
    seal.results.push_back({shard, 0, shard, static_cast<EventTimeNs>(i)});
  }
  committer.BeginCommit(std::move(end));
  committer.Seal(std::move(seal));
  ASSERT_TRUE(committer.Step());
  ASSERT_TRUE(committer.status().ok()) << committer.status();
  ASSERT_EQ(log.sent.size(), 2u);
  for (const auto& [shard, bundles] : log.sent) {
    EXPECT_GT(bundles.size(), 1u);
    size_t clocks = 0;
    size_t results = 0;
    for (const std::string& bytes : bundles) {
      EXPECT_LE(bytes.size(), kBundleBytesMax + 256);
      ExchangeBundle bundle;
      ASSERT_TRUE(ReadExchangeBundle(bytes, &bundle).ok());
      EXPECT_EQ(bundle.plan_version, 7u);
      clocks += bundle.clocks.size();
      results += bundle.results.size();
    }
    EXPECT_EQ(clocks, kPartitions);
    EXPECT_EQ(results, kResults);
  }
}

// The same of the positions that an epoch appends to the changelog (exchange: in_process).
TEST_F(ExchangeBundleTest, AnEpochsPositionsAreRecordsOfBoundedSize) {
  for (const int count : {1, 10'000}) {
    SCOPED_TRACE(count);
    MemoryDisk disk;
    std::mt19937_64 random(1);
    MemoryStore store(disk, random, 2, 7);
    auto changelog = Changelog::Open(store, {0, 1}, {});
    ASSERT_TRUE(changelog.ok());
    SentLog log;
    const std::unique_ptr<Sink> sink = MakeEpochSink(log, "out");
    PartitionTable partitions;
    Committer committer(config_, partitions, store, {sink.get(), sink.get(), sink.get()},
                        {&log, changelog->get(), {}, {}, 0, {}}, SystemClock(), /*threads=*/1,
                        /*first_epoch=*/1, [] {});
    EpochEnd end;
    end.epoch = 1;
    for (int i = 0; i < count; ++i) {
      PartitionInfo info;
      info.source = "fw";
      info.topic = "a-topic-of-many";
      info.partition = i;
      info.identity = std::to_string(i);
      const auto id = partitions.Add(info);
      ASSERT_TRUE(id.ok());
      end.positions.push_back({*id, i, false});
    }
    EpochSeal seal;
    seal.epoch = 1;
    committer.BeginCommit(std::move(end));
    committer.Seal(std::move(seal));
    ASSERT_TRUE(committer.Step());
    ASSERT_TRUE(committer.status().ok()) << committer.status();
    EXPECT_EQ(log.appended.size() > 1, count > 1);
    std::string text;
    for (size_t i = 0; i < log.appended.size(); ++i) {
      EXPECT_LE(log.appended[i].size(), kPositionsRecordBytesMax + 1);
      EXPECT_EQ(TakePositionsRecord(log.appended[i], &text), i + 1 == log.appended.size());
    }
    const auto positions = DecodePositions(text);
    ASSERT_TRUE(positions.ok()) << positions.status();
    ASSERT_EQ(positions->partitions.size(), static_cast<size_t>(count));
    EXPECT_EQ(positions->partitions.back().position.next_offset, count - 1);
  }
}

}  // namespace
}  // namespace bongsu
