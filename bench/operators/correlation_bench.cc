// Correlations over one shard: routed inputs in, incidents out, state in memory.
//
//   operators_correlation_bench
//
// 10,000 or 100,000 groups of about equal weight, or one; `rate` inputs for each second of event
// time, in batches of 512 with the watermark moved behind each; a checkpoint (to a store in memory)
// each 10,000 inputs, whatever event time they span: the engine's are made by the clock. "Cold"
// conditions are never met: what most groups of most rules cost.
#include <benchmark/benchmark.h>

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
constexpr int kCheckpointInputs = 10'000;
constexpr DurationNs kLateness = kSecondNs;

class CountingOutput : public OperatorOutput, public PartitionNames {
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
  std::string_view Origin(PartitionId) const override { return "fw"; }
  uint64_t alerts = 0;
  uint64_t late = 0;
};

std::unique_ptr<sigma::CorrelationSpec> MakeSpec(const std::string& type, int64_t span_s,
                                                 const std::string& condition) {
  Diagnostics diagnostics;
  const sigma::RuleSet set = sigma::ParseRuleSet(fmt::format(R"(
title: A
name: a
logsource: {{product: any}}
detection: {{sel: {{kind: a}}, condition: sel}}
---
title: C
correlation:
  type: {}
  rules: a
  group-by: [ip]
  timespan: {}s
  condition: {{{}}}
)",
                                                             type, span_s, condition),
                                                 "bench.yml", {.strict = true}, diagnostics);
  FieldTable fields;
  const sigma::LogSourceMap any;
  const std::vector<sigma::SourceShape> shapes = {{"fw", &any, &fields, {"id"}}};
  const sigma::RuleBinding binding = sigma::BindRules(set, shapes, diagnostics);
  const std::vector<std::string> hashes(set.entries.size());
  auto plans = sigma::PlanCorrelations(set, binding, shapes, diagnostics);
  auto spec = sigma::MakeCorrelation(set, std::move(plans.at(0)), hashes, diagnostics);
  BONGSU_CHECK_MSG(spec != nullptr, diagnostics.Text());
  return spec;
}

// An endless stream of inputs; each value is one of `values`.
class Inputs {
 public:
  Inputs(int64_t keys, int64_t values, int64_t rate, bool with_value)
      : keys_(static_cast<size_t>(keys)),
        payloads_(static_cast<size_t>(with_value ? values : 1)),
        step_(kSecondNs / rate) {
    KeyBuilder builder({.slots = {0}});
    for (size_t i = 0; i < keys_.size(); ++i) {
      const std::string ip = fmt::format("10.{}.{}.{}", i >> 16, i >> 8 & 255, i & 255);
      const Value value = Value::String(ip);
      keys_[i] = builder.Build({.fields = std::span<const Value>(&value, 1)})[0];
    }
    for (size_t i = 0; i < payloads_.size(); ++i) {
      const std::string number = std::to_string(i);
      std::vector<Value> fields;
      if (with_value) fields.push_back(Value::Number(number));
      fields.push_back(Value::String("10.20.30.40"));
      fields.push_back(Value::Number("1234567890123456"));
      EncodeValues(fields, &payloads_[i]);
    }
  }
  void Next(std::vector<Input>* batch) {
    batch->clear();
    for (int i = 0; i < kBatch; ++i, ++number_) {
      batch->push_back({.time = time(),
                        .seq = PackSeq(0, static_cast<int64_t>(number_)),
                        .port = 0,
                        .key = keys_[random_() % keys_.size()],
                        .payload = payloads_[random_() % payloads_.size()]});
    }
  }
  EventTimeNs time() const { return static_cast<EventTimeNs>(number_) * step_; }

 private:
  std::vector<std::string> keys_;
  std::vector<std::string> payloads_;
  DurationNs step_;
  uint64_t number_ = 0;
  std::mt19937_64 random_{1};
};

struct Shape {
  const char* type;
  int64_t span_s;
  const char* condition;
  int64_t keys;
  int64_t values;
  int64_t rate;         // inputs a second of event time
  size_t evict_to = 0;  // after each checkpoint; 0: everything stays in memory
  double fill = 1.5;    // windows before measuring
};

void Correlate(benchmark::State& state, Shape shape) {
  const bool with_value = std::string_view(shape.type) != "event_count";
  const auto spec = MakeSpec(shape.type, shape.span_s, shape.condition);
  StoreOptions options;
  static int runs = 0;  // each has a store of its own
  options.path = fmt::format("/bench/{}", ++runs);
  options.application = "bench";
  options.shards = 1;
  options.in_memory = true;
  auto store = Store::Open(options);
  BONGSU_CHECK(store.ok());
  uint64_t reset = 0;
  const auto id = (*store)->OperatorId("c", spec->semantic_hash(), &reset);
  BONGSU_CHECK(id.ok());
  const auto shard = MakeShardState(**store, 0);
  CountingOutput output;
  OperatorRunner runner(*spec, *shard, *id, {kLateness}, output, output);
  BONGSU_CHECK(runner.Open().ok());
  Inputs inputs(shape.keys, shape.values, shape.rate, with_value);
  std::vector<Input> batch;
  EpochId epoch = 0;
  int unsaved = 0;
  const auto step = [&] {
    inputs.Next(&batch);
    BONGSU_CHECK(runner.Process(batch).ok());
    const EventTimeNs marks[] = {inputs.time()};
    BONGSU_CHECK(runner.AdvanceWatermark(marks).ok());
    unsaved += kBatch;
    if (unsaved < kCheckpointInputs) return;
    unsaved = 0;
    shard->BeginFreeze(++epoch);
    Checkpoint checkpoint;
    checkpoint.meta.epoch = epoch;
    checkpoint.changes.push_back(shard->Freeze(*id));
    BONGSU_CHECK((*store)->Commit(std::move(checkpoint)).ok());
    shard->OnPersisted(epoch);
    if (shape.evict_to > 0) shard->EvictTo(shape.evict_to);
  };
  const bool one_round = state.max_iterations == 1;
  const auto fill = static_cast<EventTimeNs>(shape.fill * static_cast<double>(shape.span_s) * 1e9);
  while (!one_round && inputs.time() < fill) step();
  output.alerts = 0;
  uint64_t processed = 0;
  for (auto _ : state) {
    step();
    processed += kBatch;
  }
  if (output.late > 0) state.SkipWithError("inputs were late");
  state.SetItemsProcessed(static_cast<int64_t>(processed));
  state.counters["alerts_per_input"] =
      static_cast<double>(output.alerts) / static_cast<double>(processed);
  state.counters["bytes_per_group"] =
      static_cast<double>(shard->memory_bytes()) / static_cast<double>(shape.keys);
}

void Bench(const char* name, Shape shape) {
  benchmark::RegisterBenchmark(name, [shape](benchmark::State& state) { Correlate(state, shape); });
}

void RegisterAll() {
  // Groups: 20,000 inputs a second, five minutes.
  Bench("EventCount/keys:10000", {"event_count", 300, "gte: 5000", 10'000, 1, 2'000});
  Bench("EventCount/keys:100000", {"event_count", 300, "gte: 5000", 100'000, 1, 2'000});
  Bench("ValueCount/keys:10000",
        {"value_count", 300, "field: value, gte: 5000", 10'000, 100, 2'000});
  Bench("ValueCount/keys:100000",
        {"value_count", 300, "field: value, gte: 5000", 100'000, 100, 2'000});
  // Half of all groups fire all the time.
  Bench("EventCountFiring/keys:10000", {"event_count", 300, "gte: 60", 10'000, 1, 2'000});
  // One hot group, 40,000 events in its window.
  Bench("EventCountHot/cold", {"event_count", 400, "gte: 1000000", 1, 1, 100});
  Bench("EventCountHot/firing", {"event_count", 400, "gte: 20", 1, 1, 100});
  for (const int64_t values : {10, 1'000, 100'000}) {
    Bench(fmt::format("ValueCountHot/cold/values:{}", values).c_str(),
          {"value_count", 400, "field: value, gte: 1000000", 1, values, 100});
    // Fewer values than the condition's number, and many more events: the runs are kept.
    Bench(fmt::format("ValueCountHot/near/values:{}", values).c_str(),
          {"value_count", 400, values == 10 ? "field: value, gte: 20" : "field: value, gte: 39000",
           1, values, 100});
    Bench(fmt::format("ValueCountHot/firing/values:{}", values).c_str(),
          {"value_count", 400, "field: value, gte: 8", 1, values, 100});
  }
  // About 33,000 different values in the window, and the condition just above: ever new values.
  for (const char* condition : {"field: value, gte: 33200", "field: value, gte: 39000"}) {
    Bench(fmt::format("ValueCountHot/hover/{}", condition + 14).c_str(),
          {"value_count", 400, condition, 1, 100'000, 100});
  }
  // The same number of groups and the same rate for each group and window.
  Bench("EventCountSpan/1m", {"event_count", 60, "gte: 5000", 10'000, 1, 2'000});
  Bench("EventCountSpan/30d", {"event_count", 30 * 86'400, "gte: 5000", 10'000, 1, 1});
  Bench("ValueCountSpan/1m", {"value_count", 60, "field: value, gte: 5000", 10'000, 100, 2'000});
  Bench("ValueCountSpan/30d",
        {"value_count", 30 * 86'400, "field: value, gte: 5000", 10'000, 100, 1});
  // A million groups with one event each; all that can leave memory does.
  Bench("Million/in_memory", {"event_count", 3'600, "gte: 5000", 1'000'000, 1, 400, 0, 1});
  Bench("Million/spilled",
        {"event_count", 3'600, "gte: 5000", 1'000'000, 1, 400, size_t{64} << 20, 1});
}

}  // namespace
}  // namespace bongsu

int main(int argc, char** argv) {
  bongsu::RegisterAll();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
