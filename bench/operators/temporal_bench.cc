// temporal and temporal_ordered over one shard: routed inputs in, incidents out, state in memory.
//
//   operators_temporal_bench
//
// Two rules, groups of about equal weight, 5 minutes of timespan; 2,000 inputs for each second of
// event time, in batches of 512 with the watermark moved behind each. A twentieth of the inputs is
// of the second rule. HotKey: every other input is of one group. `incidents_per_input` says how
// much was found.
#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "operators/key.h"
#include "operators/operator_runner.h"
#include "operators/payload.h"
#include "operators/sigma/correlation.h"
#include "operators/sigma/rule_binding.h"
#include "state/check.h"
#include "state/store.h"

namespace bongsu {
namespace {

constexpr int kBatch = 512;
constexpr int64_t kRate = 2'000;
constexpr DurationNs kLateness = kSecondNs;

class OneSource : public PartitionNames {
 public:
  std::string_view Origin(PartitionId) const override { return "s"; }
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

std::unique_ptr<OperatorSpec> MakeSpec(const char* type) {
  const std::string text = fmt::format(R"(
title: Blocked
id: 11111111-2222-4333-8444-555555555501
name: blocked
logsource: {{product: bench}}
detection: {{sel: {{action: blocked}}, condition: sel}}
---
title: Allowed
id: 11111111-2222-4333-8444-555555555502
name: allowed
logsource: {{product: bench}}
detection: {{sel: {{action: allowed}}, condition: sel}}
---
title: Both
correlation: {{type: {}, rules: [blocked, allowed], group-by: [src_ip], timespan: 5m}}
)",
                                       type);
  Diagnostics diagnostics;
  const sigma::RuleSet rules = sigma::ParseRuleSet(text, "bench", {.strict = true}, diagnostics);
  const sigma::LogSourceMap any;
  FieldTable fields;
  const std::vector<sigma::SourceShape> shapes = {{"s", &any, &fields, {}}};
  const sigma::RuleBinding binding = sigma::BindRules(rules, shapes, diagnostics);
  auto plans = sigma::PlanCorrelations(rules, binding, shapes, diagnostics);
  const std::vector<std::string> hashes(rules.entries.size());
  auto spec = sigma::MakeCorrelation(rules, std::move(plans.at(0)), hashes, diagnostics);
  BONGSU_CHECK_MSG(spec != nullptr, diagnostics.Text());
  return spec;
}

class Inputs {
 public:
  Inputs(int64_t keys, double hot_share) : keys_(static_cast<size_t>(keys)), hot_share_(hot_share) {
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
      const bool hot =
          hot_share_ > 0 && static_cast<double>(random_() & 0xffffff) < hot_share_ * 0x1000000;
      batch->push_back({.time = time(),
                        .seq = PackSeq(0, static_cast<int64_t>(number_)),
                        .port = static_cast<uint8_t>(random_() % 20 == 0 ? 1 : 0),
                        .key = keys_[hot ? 0 : random_() % keys_.size()],
                        .payload = payload_});
    }
  }
  EventTimeNs time() const { return static_cast<EventTimeNs>(number_) * (kSecondNs / kRate); }

 private:
  std::vector<std::string> keys_;
  double hot_share_;
  std::string payload_;
  uint64_t number_ = 0;
  std::mt19937_64 random_{1};
};

void Correlate(benchmark::State& state, const char* type, int64_t keys, double hot_share) {
  const auto spec = MakeSpec(type);
  StoreOptions options;
  options.path = "/bench";
  options.application = "bench";
  options.shards = 1;
  options.in_memory = true;
  auto store = Store::Open(options);
  BONGSU_CHECK(store.ok());
  const auto shard = MakeShardState(**store, 0);
  const OneSource names;
  CountingOutput output;
  OperatorRunner runner(*spec, *shard, 1, {kLateness, kLateness}, output, names);
  BONGSU_CHECK(runner.Open().ok());
  Inputs inputs(keys, hot_share);
  std::vector<Input> batch;
  uint64_t processed = 0;
  const auto step = [&] {
    inputs.Next(&batch);
    BONGSU_CHECK(runner.Process(batch).ok());
    const EventTimeNs marks[] = {inputs.time(), inputs.time()};
    BONGSU_CHECK(runner.AdvanceWatermark(marks).ok());
  };
  // The windows fill first.
  const bool one_round = state.max_iterations == 1;
  while (!one_round && inputs.time() < 6 * kMinuteNs) step();
  output.alerts = 0;
  for (auto _ : state) {
    step();
    processed += kBatch;
  }
  if (output.late > 0) state.SkipWithError("inputs were late");
  state.SetItemsProcessed(static_cast<int64_t>(processed));
  state.counters["incidents_per_input"] =
      static_cast<double>(output.alerts) / static_cast<double>(processed);
  state.counters["state_bytes"] = static_cast<double>(shard->memory_bytes());
}

BENCHMARK_CAPTURE(Correlate, AnyOrder10k, "temporal", 10'000, 0.0);
BENCHMARK_CAPTURE(Correlate, AnyOrder100k, "temporal", 100'000, 0.0);
BENCHMARK_CAPTURE(Correlate, Ordered10k, "temporal_ordered", 10'000, 0.0);
BENCHMARK_CAPTURE(Correlate, Ordered100k, "temporal_ordered", 100'000, 0.0);
BENCHMARK_CAPTURE(Correlate, AnyOrderHotKey, "temporal", 10'000, 0.5);
BENCHMARK_CAPTURE(Correlate, OrderedHotKey, "temporal_ordered", 10'000, 0.5);

}  // namespace
}  // namespace bongsu

BENCHMARK_MAIN();
