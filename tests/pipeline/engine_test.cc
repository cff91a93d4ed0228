// The engine as a whole, in process: files in, alerts out, with several threads. Also run under
// TSan.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <set>

#include "operators/registry.h"
#include "pipeline/config.h"
#include "pipeline/file/file_source.h"
#include "pipeline/positions.h"
#include "pipeline/service.h"
#include "pipeline/shard_task.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;

struct Line {
  int64_t second;
  int host;
};

class EngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("bongsu-engine-{}", getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Records at random seconds, at most `disorder` out of order.
  std::vector<Line> Write(const std::string& name, int records, int disorder, std::mt19937& random,
                          bool endpoint) {
    std::vector<Line> lines;
    std::ofstream out(folder_ / name);
    for (int i = 0; i < records; ++i) {
      const Line line{1'800'000'000 + i / 4 -
                          static_cast<int64_t>(random() % static_cast<unsigned>(disorder + 1)),
                      static_cast<int>(random() % 200)};
      lines.push_back(line);
      if (endpoint)
        out << fmt::format("{{\"t\":{},\"host\":{{\"ip\":\"10.0.0.{}\"}},\"id\":{}}}\n",
                           line.second, line.host, i);
      else
        out << fmt::format("{{\"t\":{},\"ip\":\"::ffff:10.0.0.{}\",\"id\":{}}}\n", line.second,
                           line.host, i);
    }
    return lines;
  }

  std::string Yaml(int threads) const {
    return fmt::format(R"(
application: engine-test
threads: {}
epoch: 2ms
sources:
  - {{name: fw, files: ["fw*.jsonl"],
     format: {{time: [{{path: t, as: epoch_s}}]}},
     time: {{out_of_orderness: 5s, allowed_lateness: 5s, max_future_skew: 366d}}}}
  - {{name: ep, files: [ep.jsonl],
     format: {{time: [{{path: t, as: epoch_s}}]}},
     time: {{out_of_orderness: 5s, allowed_lateness: 5s, max_future_skew: 366d}}}}
operators:
  - name: near
    type: interval_join
    left: {{source: fw, key: ip, fields: [id]}}
    right: {{source: ep, key: host.ip, fields: [id]}}
    within: {{before: 2s, after: 3s}}
    emit: pairs
  - name: chained
    type: interval_join
    left: {{source: incidents, key: left.ip}}
    right: {{source: ep, key: host.ip}}
    within: {{before: 0s, after: 0s}}
  - name: incidents
    type: interval_join
    alerts: false
    left: {{source: fw, key: ip, fields: [id]}}
    right: {{source: ep, key: host.ip, fields: [id]}}
    within: {{before: 2s, after: 3s}}
sinks: {{alerts: {{file: alerts.jsonl, format: native}}}}
state: {{memory: 32MiB, checkpoint_interval: 5ms}}
)",
                       threads);
  }

  // One firewall event with two keys, and what it meets under both: two results of one place.
  void WriteOneOfTwoKeys() const {
    std::ofstream(folder_ / "fw1.jsonl") << R"({"t":1800000001,"ip":["x","y"],"h":"1"})"
                                         << "\n";
    std::ofstream(folder_ / "ep.jsonl") << R"({"t":1800000000,"h":"1"})"
                                        << "\n"
                                        << R"({"t":1800000001,"host":{"ip":["x","y"]}})"
                                        << "\n";
  }

  std::optional<Config> Parse(const std::string& yaml) const {
    OperatorRegistry registry;
    RegisterAllOperators(registry);
    Diagnostics diagnostics;
    std::optional<Config> config =
        ParseConfig(yaml, (folder_ / "c.yaml").string(), registry, diagnostics);
    EXPECT_TRUE(config.has_value()) << diagnostics.Text();
    return config;
  }
  std::optional<Config> Parse(int threads) const { return Parse(Yaml(threads)); }
  std::string YamlWith(int threads, std::string_view operators) const {
    std::string yaml = Yaml(threads);
    const size_t from = yaml.find("operators:");
    return yaml.replace(from, yaml.find("sinks:") - from, operators);
  }

  absl::Status RunOnce(const std::string& yaml) {
    const std::optional<Config> config = Parse(yaml);
    if (!config.has_value()) return absl::InvalidArgumentError("the configuration");
    Service service(*config);
    absl::Status status = service.Open(Service::Mode::kRun);
    if (!status.ok()) return status;
    const std::atomic<bool> stop = false;
    status = service.Run(stop, /*progress=*/false);
    report_ = ReportJson(service.Report());
    return status;
  }
  absl::Status RunOnce(int threads) { return RunOnce(Yaml(threads)); }

  std::multiset<std::string> Alerts() const {
    std::multiset<std::string> alerts;
    std::ifstream in(folder_ / "alerts.jsonl");
    for (std::string line; std::getline(in, line);) alerts.insert(line);
    return alerts;
  }

  fs::path folder_;
  std::string report_;
};

// The engine asks a paused source for nothing, and takes nothing: what it gave would be lost.
TEST_F(EngineTest, APausedFileHandsNothingOut) {
  std::mt19937 random(1);
  Write("fw1.jsonl", 100, 0, random, false);
  std::ofstream(folder_ / "ep.jsonl") << "\n";
  const std::optional<Config> config = Parse(1);
  ASSERT_TRUE(config.has_value());
  const std::unique_ptr<RecordSource> source = MakeFileSource(*config);
  PartitionTable partitions;
  ASSERT_TRUE(source->Open(partitions).ok());
  // Once more, as where another part of the engine could not start.
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(source->Start({}).ok());
  ASSERT_TRUE(source->SetBackpressure(true).ok());
  for (int i = 0; i < 3; ++i) {
    Batch none;
    ASSERT_TRUE(source->Poll(0, &none).ok());
    EXPECT_TRUE(none.records.empty() && none.marks.empty());
  }
  EXPECT_FALSE(source->finished());
  ASSERT_TRUE(source->SetBackpressure(false).ok());
  size_t records = 0;
  size_t ended = 0;
  while (!source->finished()) {
    Batch batch;
    ASSERT_TRUE(source->Poll(0, &batch).ok());
    records += batch.records.size();
    ended += batch.marks.size();
  }
  EXPECT_EQ(records, 100u);
  EXPECT_EQ(ended, 2u);
}

TEST_F(EngineTest, PairsEqualTheNestedLoopWithAnyNumberOfThreads) {
  std::random_device device;
  const unsigned seed = device();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  std::vector<Line> left = Write("fw1.jsonl", 3000, 4, random, false);
  const std::vector<Line> more = Write("fw2.jsonl", 3000, 4, random, false);
  left.insert(left.end(), more.begin(), more.end());
  const std::vector<Line> right = Write("ep.jsonl", 3000, 4, random, true);
  size_t pairs = 0;
  for (const Line& l : left) {
    for (const Line& r : right) {
      if (l.host == r.host && r.second >= l.second - 2 && r.second <= l.second + 3) ++pairs;
    }
  }
  std::multiset<std::string> first;
  for (int threads : {1, 2, 4}) {
    fs::remove_all(folder_ / ".bongsu");
    for (const char* name : {"alerts.jsonl", "alerts.late.jsonl", "alerts.dead-letter.jsonl"})
      fs::remove(folder_ / name);
    const absl::Status status = RunOnce(threads);
    ASSERT_TRUE(status.ok()) << std::string(status.message());
    const auto report = nlohmann::json::parse(report_);
    EXPECT_EQ(report["records"], left.size() + right.size());
    EXPECT_EQ(report["operators"][0]["late"], 0);
    const auto find = [&](const std::string& name) {
      for (const auto& op : report["operators"]) {
        if (op["name"] == name) return op;
      }
      return nlohmann::json();
    };
    EXPECT_EQ(find("near")["incidents"], pairs) << threads << " threads";
    EXPECT_GT(find("incidents")["forwarded"], 0);
    EXPECT_EQ(find("chained")["selected"]["left"], find("incidents")["forwarded"]);
    EXPECT_GT(find("chained")["incidents"], 0);
    if (threads == 1)
      first = Alerts();
    else
      EXPECT_EQ(Alerts(), first) << threads << " threads";
  }
}

// A left event with two keys makes two results of one anchor and time, which are one to a join
// above.
TEST_F(EngineTest, ResultsOfOneAnchorMakeOneIncident) {
  WriteOneOfTwoKeys();
  const absl::Status status = RunOnce(YamlWith(2, R"(operators:
  - name: below
    type: interval_join
    alerts: false
    left: {source: fw, key: ip, fields: [h]}
    right: {source: ep, key: host.ip}
    within: {before: 5s, after: 5s}
  - name: above
    type: interval_join
    left: {source: below, key: left.h}
    right: {source: ep, key: h}
    within: {before: 5s, after: 5s}
)"));
  ASSERT_TRUE(status.ok()) << status;
  const auto alerts = Alerts();
  ASSERT_EQ(alerts.size(), 1u) << *alerts.rbegin();
  EXPECT_THAT(*alerts.begin(), ::testing::HasSubstr("\"rule\":\"above\""));
  EXPECT_THAT(nlohmann::json::parse(report_).dump(), ::testing::HasSubstr("\"results_joined\":1"));
}

// Before and behind what made the result: it is their partner, and so is another.
TEST_F(EngineTest, AResultMayMeetTheEventItIsMadeOf) {
  std::ofstream(folder_ / "fw1.jsonl") << R"({"t":1800000001,"ip":"a","k":"1"})"
                                       << "\n"
                                       << R"({"t":1800000003,"ip":"a"})"
                                       << "\n";
  std::ofstream(folder_ / "ep.jsonl") << R"({"t":1800000002,"host":{"ip":"a"}})"
                                      << "\n";
  const absl::Status status = RunOnce(YamlWith(2, R"(operators:
  - name: below
    type: interval_join
    alerts: false
    left: {source: fw, key: ip, detection: {s: {k: "1"}, condition: s}}
    right: {source: ep, key: host.ip}
    within: {before: 5s, after: 5s}
  - name: above
    type: interval_join
    left: {source: below, key: left.ip}
    right: {source: fw, key: ip}
    within: {before: 5s, after: 5s}
  - name: top
    type: interval_join
    left: {source: fw, key: ip}
    right: {source: above, key: left.left.ip}
    within: {before: 5s, after: 5s}
)"));
  ASSERT_TRUE(status.ok()) << status;
  std::map<std::string, uint64_t> newest;
  for (const std::string& line : Alerts()) {
    const auto alert = nlohmann::json::parse(line);
    uint64_t& count = newest[alert.at("rule").get<std::string>()];
    count = std::max(count, alert.at("count").get<uint64_t>());
  }
  EXPECT_EQ(newest, (std::map<std::string, uint64_t>{{"above", 3}, {"top", 2}}));
}

// A right event with two keys below makes two results of one place.
TEST_F(EngineTest, ResultsOfOneAnchorMakeOnePair) {
  WriteOneOfTwoKeys();
  const absl::Status status = RunOnce(YamlWith(2, R"(operators:
  - name: below
    type: interval_join
    alerts: false
    left: {source: fw, key: ip, fields: [h]}
    right: {source: ep, key: host.ip}
    within: {before: 5s, after: 5s}
  - name: above
    type: interval_join
    left: {source: ep, key: h}
    right: {source: below, key: left.h}
    within: {before: 5s, after: 5s}
    emit: pairs
)"));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Alerts().size(), 1u);
}

// The end of the input closes all windows in one batch.
TEST_F(EngineTest, WhatOneBatchGivesDoesNotGatherInMemory) {
  constexpr int kHosts = 20'000;
  std::ofstream left(folder_ / "fw1.jsonl");
  std::ofstream right(folder_ / "ep.jsonl");
  for (int i = 0; i < kHosts; ++i) {
    const std::string name = fmt::format("{:02000}", i);
    left << fmt::format(R"({{"t":1800000000,"ip":"{}"}})", name) << "\n";
    for (int j = 0; j < 2; ++j)
      right << fmt::format(R"({{"t":1800000000,"host":{{"ip":"{}"}}}})", name) << "\n";
  }
  left.close();
  right.close();
  const absl::Status status = RunOnce(YamlWith(1, R"(operators:
  - name: near
    type: interval_join
    left: {source: fw, key: ip, fields: [ip]}
    right: {source: ep, key: host.ip, fields: [host.ip]}
    within: {before: 5s, after: 5s}
)"));
  ASSERT_TRUE(status.ok()) << status;
  // Of each incident its beginning, and at its close the second partner.
  ASSERT_EQ(Alerts().size(), 2u * kHosts);
  ASSERT_GT(fs::file_size(folder_ / "alerts.jsonl"), 3 * kOutputBacklogBytesMax);
  const auto waited = nlohmann::json::parse(report_).at("output_backlog_bytes_peak").get<size_t>();
  EXPECT_GT(waited, 0u);
  EXPECT_LT(waited, kOutputBacklogBytesMax + size_t{kOutputsOfChunk} * 20'000);
}

// A shared instance's folder holds a part of the shards.
TEST_F(EngineTest, StateOfAnotherKindIsRefused) {
  std::mt19937 random(3);
  Write("fw1.jsonl", 10, 0, random, false);
  Write("ep.jsonl", 10, 0, random, true);
  ASSERT_TRUE(RunOnce(1).ok());
  const std::optional<Config> config = Parse(1);
  {
    StoreOptions options;
    options.path = config->state.path;
    options.application = config->application;
    options.shards = static_cast<uint16_t>(config->state.shards);
    auto store = Store::Open(options);
    ASSERT_TRUE(store.ok()) << store.status();
    uint64_t reset = 0;
    ASSERT_TRUE((*store)->OperatorId(kClocksOperator, "1", &reset).ok());
    Checkpoint checkpoint;
    checkpoint.meta = *(*store)->latest();
    ++checkpoint.meta.epoch;
    ASSERT_TRUE((*store)->Commit(std::move(checkpoint)).ok());
  }
  const absl::Status status = RunOnce(1);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("exchange: kafka"));
}

// Positions name files as text.
TEST_F(EngineTest, AFileWhoseNameIsNoTextIsRefused) {
  std::mt19937 random(3);
  Write("fw1.jsonl", 10, 0, random, false);
  Write("ep.jsonl", 10, 0, random, true);
  std::ofstream(folder_ / "fw-\xe9.jsonl") << "{}\n";
  const absl::Status status = RunOnce(1);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("is not UTF-8: rename the file"));
}

TEST_F(EngineTest, ASecondRunBehindTheEndAddsNothing) {
  std::mt19937 random(7);
  Write("fw1.jsonl", 500, 4, random, false);
  Write("ep.jsonl", 500, 4, random, true);
  ASSERT_TRUE(RunOnce(2).ok());
  const auto alerts = Alerts();
  ASSERT_FALSE(alerts.empty());
  ASSERT_TRUE(RunOnce(2).ok());
  EXPECT_EQ(Alerts(), alerts);
  // New input behind closed windows is refused, not called late in silence.
  Write("fw9.jsonl", 5, 0, random, false);
  const absl::Status status = RunOnce(2);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << std::string(status.message());
}

// A source of files from restart to restart, with the positions as a checkpoint keeps them.
class FileSourceTest : public EngineTest {
 protected:
  void SetUp() override {
    EngineTest::SetUp();
    WriteFile("ep.jsonl", "");
  }
  void WriteFile(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }
  void Append(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary | std::ios::app) << content;
  }

  // Starts at checkpoint_ and reads so many chunks, or to the end.
  absl::Status Read(int chunks, const std::string& yaml) {
    const std::optional<Config> config = Parse(yaml);
    if (!config.has_value()) return absl::InvalidArgumentError("the configuration");
    PartitionTable partitions;
    std::vector<Position> positions;
    if (!checkpoint_.empty()) {
      const auto stored = DecodePositions(checkpoint_);
      if (!stored.ok()) return stored.status();
      for (const auto& partition : stored->partitions) {
        partitions.Restore(partition.info);
        positions.push_back(partition.position);
      }
    }
    const std::unique_ptr<RecordSource> source = MakeFileSource(*config);
    if (absl::Status status = source->Open(partitions); !status.ok()) return status;
    const absl::Status check = source->CheckStart(positions);
    const absl::Status start = source->Start(positions);
    EXPECT_EQ(check, start);
    if (!start.ok()) return start;
    records_ = 0;
    for (; chunks != 0 && !source->finished(); --chunks) {
      Batch batch;
      if (absl::Status status = source->Poll(0, &batch); !status.ok()) return status;
      records_ += batch.records.size();
    }
    PipelinePositions now;
    for (const Position& position : source->positions())
      now.partitions.push_back({partitions.Get(position.partition), position, {}});
    checkpoint_ = EncodePositions(now);
    return absl::OkStatus();
  }
  absl::Status Read(int chunks) { return Read(chunks, Yaml(1)); }

  void ExpectRefused(const std::vector<std::string>& parts) {
    const absl::Status status = Read(kToTheEnd);
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    for (const std::string& part : parts)
      EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(part));
  }

  static constexpr int kToTheEnd = -1;
  static constexpr size_t kChunk = kBatchRecordsMax;  // records
  std::string checkpoint_;
  size_t records_ = 0;
};

std::string Lines(size_t lines, const std::string& line) {
  std::string all;
  for (size_t i = 0; i < lines; ++i) all += line + "\n";
  return all;
}

TEST_F(FileSourceTest, AHalfReadFileThatIsGoneIsRefused) {
  WriteFile("fw1.jsonl", Lines(2 * kChunk, "{}"));
  WriteFile("fw2.jsonl", Lines(5, "{}"));
  ASSERT_TRUE(Read(1).ok());
  ASSERT_EQ(records_, kChunk);
  // Out of the pattern, and to another name within it, under which it would be read once more.
  for (const char* name : {"fw1.jsonl.1", "fw3.jsonl"}) {
    fs::rename(folder_ / "fw1.jsonl", folder_ / name);
    ExpectRefused({"fw1.jsonl", std::to_string(3 * kChunk), "moved or renamed", "state.path"});
    fs::rename(folder_ / name, folder_ / "fw1.jsonl");
  }
  // A source that is no longer configured needs no files.
  const std::string checkpoint = checkpoint_;
  std::string other = Yaml(1);
  for (size_t at = 0; (at = other.find(" fw,", at)) != std::string::npos; at += 4)
    other.replace(at, 4, " other,");
  fs::rename(folder_ / "fw1.jsonl", folder_ / "elsewhere");
  absl::Status status = Read(kToTheEnd, other);
  EXPECT_TRUE(status.ok()) << status;
  checkpoint_ = checkpoint;
  fs::rename(folder_ / "elsewhere", folder_ / "fw1.jsonl");
  // Nothing was read of this one yet.
  fs::remove(folder_ / "fw2.jsonl");
  status = Read(kToTheEnd);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(records_, kChunk);
  // And of this one everything.
  WriteFile("fw2.jsonl", Lines(5, "{}"));
  fs::remove(folder_ / "fw1.jsonl");
  status = Read(kToTheEnd);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(records_, 5u);
}

TEST_F(FileSourceTest, AReplacedFileOfTheSameLengthIsRefused) {
  // Positions within the first 4 KiB and behind them, with a byte order mark and without.
  for (const std::string mark : {"", "\xef\xbb\xbf"}) {
    for (const std::string line : {"{}", R"({"a":"0123456789"})"}) {
      for (const int chunks : {1, kToTheEnd}) {
        SCOPED_TRACE(fmt::format("line {}, {} chunks, mark {}", line, chunks, !mark.empty()));
        checkpoint_.clear();
        const std::string content = mark + Lines(2 * kChunk, line);
        WriteFile("fw1.jsonl", content);
        ASSERT_TRUE(Read(chunks).ok());
        std::string other = content;
        other[mark.size() + 1] = ' ';
        other[mark.size() + line.size() - 1] = ' ';
        WriteFile("fw1.jsonl", other);
        ExpectRefused({"fw1.jsonl", "it was cut or replaced"});
        WriteFile("fw1.jsonl", content);
        const absl::Status status = Read(kToTheEnd);
        EXPECT_TRUE(status.ok()) << status;
        EXPECT_EQ(records_, chunks == 1 ? kChunk : 0);
      }
    }
  }
}

// The beginning of a file is known as far as it was read, from restart to restart.
TEST_F(FileSourceTest, AFileThatGrowsIsReadOn) {
  std::string content;
  for (int i = 0; i < 8; ++i) {
    content += Lines(3, fmt::format(R"({{"a":"{:0300}"}})", i));
    WriteFile("fw1.jsonl", content);
    const absl::Status status = Read(kToTheEnd);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(records_, 3u) << i;
    std::string other = content;
    other[content.size() < 4096 ? content.size() - 5 : 4000] = 'x';
    WriteFile("fw1.jsonl", other);
    ExpectRefused({"it was cut or replaced"});
  }
}

TEST_F(FileSourceTest, PositionsOfBeforeAreRead) {
  for (const int chunks : {1, kToTheEnd}) {
    checkpoint_.clear();
    const std::string content = Lines(2 * kChunk, "{}");
    WriteFile("fw1.jsonl", content);
    ASSERT_TRUE(Read(chunks).ok());
    auto json = nlohmann::json::parse(checkpoint_);
    size_t erased = 0;
    for (auto& partition : json["partitions"]) erased += partition.erase("beginning");
    EXPECT_GT(erased, 0u);
    checkpoint_ = json.dump();
    WriteFile("fw1.jsonl", Lines(2 * kChunk, "[]"));
    absl::Status status = Read(0);
    ASSERT_TRUE(status.ok()) << status;
    // From now on it is known.
    WriteFile("fw1.jsonl", content);
    ExpectRefused({"it was cut or replaced"});
  }
}

TEST_F(FileSourceTest, ALineThatWasContinuedBehindItsEndIsRefused) {
  // Short and long: within what is kept of a file's beginning, and behind it.
  for (const size_t lines : {size_t{1}, size_t{200}}) {
    const std::string whole = Lines(lines, R"({"a":"0123456789"})");
    for (const std::string half : {R"({"a":)", R"({"a":0})"}) {
      for (const auto& [more, records] : std::map<std::string, int>{{"1}\n", -1},
                                                                    {" ", -1},
                                                                    {"\r{}\n", -1},
                                                                    {"\n", 0},
                                                                    {"\n{}\n", 1},
                                                                    {"\r\n", 0},
                                                                    {"\r\n{}\r\n{}\r\n", 2},
                                                                    {"\r", 0}}) {
        SCOPED_TRACE(fmt::format("{} lines, then {}, then {}", lines, half, more));
        checkpoint_.clear();
        WriteFile("fw1.jsonl", whole + half);
        ASSERT_TRUE(Read(kToTheEnd).ok());
        ASSERT_EQ(records_, lines + 1);
        Append("fw1.jsonl", more);
        if (records < 0) {
          ExpectRefused({"fw1.jsonl", std::to_string((whole + half).size()), "continued"});
          continue;
        }
        const absl::Status status = Read(kToTheEnd);
        ASSERT_TRUE(status.ok()) << status;
        EXPECT_EQ(records_, static_cast<size_t>(records));
      }
    }
  }
  // A byte order mark is no line.
  checkpoint_.clear();
  WriteFile("fw1.jsonl", "\xef\xbb\xbf");
  ASSERT_TRUE(Read(kToTheEnd).ok());
  Append("fw1.jsonl", "{}\n");
  const absl::Status status = Read(kToTheEnd);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(records_, 1u);
}

}  // namespace
}  // namespace bongsu
