// interval_join over one shard: routed inputs in, incidents out, state in memory.
//
//   operators_interval_join_bench
//
// Two sides in turn, 20,000 keys of about equal weight unless said, `rate` inputs for each second
// of event time, in batches of 512 with the watermark moved behind each: about what a shard sees.
// `pairs_per_input` says how much was found; it follows from rate, keys and window. The incidents
// go nowhere: writing them is alert_writer_bench's business.
#include <benchmark/benchmark.h>

#include <deque>
#include <random>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "operators/key.h"
#include "operators/operator_runner.h"
#include "operators/payload.h"
#include "operators/registry.h"
#include "state/check.h"
#include "state/store.h"

namespace bongsu {
namespace {

constexpr int kBatch = 512;
constexpr DurationNs kLateness = kSecondNs;

class Build : public OperatorBuildContext, public PartitionNames {
 public:
  FieldTable* Fields(std::string_view source, const SourceLocation&) override {
    return &fields_[source == "left" ? 0 : 1];
  }
  bool IsOperator(std::string_view) const override { return false; }
  std::string SemanticHash(std::string_view) const override { return ""; }
  std::vector<std::string> DefaultFields(std::string_view) const override { return {}; }
  std::string_view Origin(PartitionId partition) const override {
    return partition == 0 ? "left" : "right";
  }

 private:
  FieldTable fields_[2];
};

class CountingOutput : public OperatorOutput {
 public:
  void Alert(const OperatorSpec&, const Incident& incident) override {
    ++alerts;
    benchmark::DoNotOptimize(incident.id);
  }
  void Forward(const OperatorSpec&, const Incident&, EventTimeNs, ResultKind) override {}
  bool HasReaders(const OperatorSpec&) const override { return false; }
  bool HasFollowers(const OperatorSpec&) const override { return false; }
  void Late(const OperatorSpec&, const Input&, DurationNs) override { ++late; }
  void Count(const OperatorSpec&, const char*, uint64_t) override {}
  uint64_t alerts = 0;
  uint64_t late = 0;
};

std::unique_ptr<OperatorSpec> MakeSpec(Build& build, const char* emit, int64_t window_s) {
  OperatorRegistry registry;
  RegisterAllOperators(registry);
  Diagnostics diagnostics;
  const auto yaml = ParseYaml(
      fmt::format("{{name: j, type: interval_join, left: {{source: left, key: ip, fields: [id]}}, "
                  "right: {{source: right, key: ip, fields: [id]}}, within: {{before: {0}s, after: "
                  "{0}s}}, emit: {1}}}",
                  window_s, emit),
      "bench", YamlLimits{}, diagnostics);
  auto spec = registry.Find("interval_join")->create(yaml.at(0), build, diagnostics);
  BONGSU_CHECK_MSG(spec != nullptr, diagnostics.Text());
  return spec;
}

// An endless stream of inputs, the sides in turn.
class Inputs {
 public:
  Inputs(int64_t keys, int64_t rate, double hot_share)
      : keys_(static_cast<size_t>(keys)), step_(kSecondNs / rate), hot_share_(hot_share) {
    KeyBuilder builder({.slots = {0}});
    for (size_t i = 0; i < keys_.size(); ++i) {
      const std::string ip = fmt::format("10.{}.{}.{}", i >> 16, i >> 8 & 255, i & 255);
      const Value value = Value::String(ip);
      keys_[i] = builder.Build({.fields = std::span<const Value>(&value, 1)})[0];
    }
    const Value payload[] = {Value::String("10.20.30.40"), Value::Number("1234567890123456")};
    EncodeValues(payload, &payload_);
  }
  void Next(std::vector<Input>* batch) {
    batch->clear();
    for (int i = 0; i < kBatch; ++i, ++number_) {
      const auto port = static_cast<uint8_t>(number_ & 1);
      const bool hot =
          hot_share_ > 0 && static_cast<double>(random_() & 0xffffff) < hot_share_ * 0x1000000;
      const size_t key = hot ? 0 : random_() % keys_.size();
      batch->push_back({.time = time(),
                        .seq = PackSeq(port, static_cast<int64_t>(number_)),
                        .port = port,
                        .key = keys_[key],
                        .payload = payload_});
    }
  }
  EventTimeNs time() const { return static_cast<EventTimeNs>(number_) * step_; }

 private:
  std::vector<std::string> keys_;
  DurationNs step_;
  double hot_share_;
  std::string payload_;
  uint64_t number_ = 0;
  std::mt19937_64 random_{1};
};

void Join(benchmark::State& state, const char* emit, int64_t window_s, int64_t rate,
          double hot_share) {
  Build build;
  const auto spec = MakeSpec(build, emit, window_s);
  StoreOptions options;
  options.path = "/bench";
  options.application = "bench";
  options.shards = 1;
  options.in_memory = true;
  auto store = Store::Open(options);
  BONGSU_CHECK(store.ok());
  const auto shard = MakeShardState(**store, 0);
  CountingOutput output;
  OperatorRunner runner(*spec, *shard, 1, {kLateness, kLateness}, output, build);
  BONGSU_CHECK(runner.Open().ok());
  Inputs inputs(20'000, rate, hot_share);
  std::vector<Input> batch;
  uint64_t processed = 0;
  const auto step = [&] {
    inputs.Next(&batch);
    BONGSU_CHECK(runner.Process(batch).ok());
    const EventTimeNs marks[] = {inputs.time(), inputs.time()};
    BONGSU_CHECK(runner.AdvanceWatermark(marks).ok());
  };
  // The windows fill first: two of them, so that as much expires as comes.
  const bool one_round = state.max_iterations == 1;
  while (!one_round && inputs.time() < 4 * window_s * kSecondNs) step();
  output.alerts = 0;
  for (auto _ : state) {
    step();
    processed += kBatch;
  }
  if (output.late > 0) state.SkipWithError("inputs were late");
  state.SetItemsProcessed(static_cast<int64_t>(processed));
  state.counters["pairs_per_input"] =
      static_cast<double>(output.alerts) / static_cast<double>(processed);
  state.counters["state_bytes"] = static_cast<double>(shard->memory_bytes());
}

// One pair for each input: 4,000 inputs a second a side, 20,000 keys, 10 s of window.
BENCHMARK_CAPTURE(Join, PairsDense, "pairs", 5, 8000, 0.0);
BENCHMARK_CAPTURE(Join, IncidentsDense, "incident", 5, 8000, 0.0);
// Few partners: what a selective rule sees.
BENCHMARK_CAPTURE(Join, IncidentsSparse, "incident", 60, 20, 0.0);
// A twentieth of all inputs on one key.
BENCHMARK_CAPTURE(Join, IncidentsHotKey, "incident", 5, 8000, 0.05);

}  // namespace
}  // namespace bongsu

BENCHMARK_MAIN();
