// All rules of a source on one event: what it costs as their number grows.
//
//   operators_rule_matcher_bench
//
// The rules are of the usual shape: an event id, the end of a path, a text within the command line,
// and a filter; no two have the same texts. One event in a hundred meets one of them. 1,000 events
// that stay in the cache. `one by one` asks each rule by itself, as the meaning of a rule is
// defined.
#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "operators/sigma/rule_matcher.h"

namespace bongsu {
namespace {

constexpr int kEvents = 1000;

struct Setup {
  explicit Setup(int64_t rules) {
    sigma::RuleMatcher::Builder builder;
    const uint32_t group = builder.Group(nullptr);
    for (int64_t i = 0; i < rules; ++i) {
      Diagnostics diagnostics;
      const std::string yaml = fmt::format(
          R"({{s: {{EventID: 1, Image|endswith: '\tool{0}.exe',
          CommandLine|contains: 'technique{0} --go'}},
          noise: {{User|startswith: 'service{0}'}}, condition: s and not noise}})",
          i);
      const auto documents = ParseYaml(yaml, "rule", YamlLimits{}, diagnostics);
      detections.push_back(sigma::CompileSelection(documents.at(0), fields, diagnostics));
      builder.Rule(group, detections.back());
    }
    matcher = builder.Build();
    scratch = matcher->NewScratch();
    std::mt19937 random(1);
    for (int e = 0; e < kEvents; ++e) {
      const bool hit = e % 100 == 0;
      const int64_t one = static_cast<int64_t>(random()) % rules;
      texts.push_back(std::make_unique<std::string>(
          hit ? fmt::format(R"(C:\Program Files\Vendor\Tool{}.exe)", one)
              : fmt::format(R"(C:\Windows\System32\program{}.exe)", e)));
      const std::string& image = *texts.back();
      texts.push_back(std::make_unique<std::string>(
          fmt::format("\"{}\" {} /quiet /log C:\\Users\\Public\\run{}.log", image,
                      hit ? fmt::format("TECHNIQUE{} --go", one) : std::string("start"), e)));
      std::vector<Value> row(static_cast<size_t>(fields.size()));
      const auto set = [&](const char* name, const Value& value) {
        row[static_cast<size_t>(fields.Find(name))] = value;
      };
      set("EventID", Value::Number("1"));
      set("Image", Value::String(image));
      set("CommandLine", Value::String(*texts.back()));
      set("User", Value::String(R"(DOMAIN\someone)"));
      rows.push_back(std::move(row));
    }
  }

  FieldTable fields;
  std::vector<std::shared_ptr<const sigma::Detection>> detections;
  std::unique_ptr<const sigma::RuleMatcher> matcher;
  std::unique_ptr<sigma::RuleMatcher::Scratch> scratch;
  std::vector<std::unique_ptr<std::string>> texts;
  std::vector<std::vector<Value>> rows;
};

void BM_Together(benchmark::State& state) {
  Setup setup(state.range(0));
  std::vector<uint32_t> fired;
  size_t met = 0;
  for (auto _ : state) {
    for (const std::vector<Value>& row : setup.rows) {
      Event event;
      event.fields = row;
      if (!setup.matcher->Match(event, *setup.scratch, &fired)) state.SkipWithError("not read");
      met += fired.size();
    }
  }
  benchmark::DoNotOptimize(met);
  state.SetItemsProcessed(state.iterations() * kEvents);
}
BENCHMARK(BM_Together)->Arg(10)->Arg(100)->Arg(1'000)->Arg(10'000);

void BM_OneByOne(benchmark::State& state) {
  Setup setup(state.range(0));
  size_t met = 0;
  for (auto _ : state) {
    for (const std::vector<Value>& row : setup.rows) {
      Event event;
      event.fields = row;
      for (const auto& detection : setup.detections) met += detection->Matches(event) ? 1 : 0;
    }
  }
  benchmark::DoNotOptimize(met);
  state.SetItemsProcessed(state.iterations() * kEvents);
}
BENCHMARK(BM_OneByOne)->Arg(10)->Arg(100)->Arg(1'000);

}  // namespace
}  // namespace bongsu

BENCHMARK_MAIN();
