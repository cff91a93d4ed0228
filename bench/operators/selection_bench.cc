// A compiled Sigma detection on decoded events: what one event costs one selection.
//
//   operators_selection_bench
//
// The detections are those of a usual rule (a program start with parent, image and command line),
// of one that most events leave at their first field, of long lists of values, and of one with a
// regular expression. `hit` is the share of events that the detection chooses, in percent. 1,000
// events that stay in the cache.
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "operators/sigma/selection.h"

namespace bongsu {
namespace {

constexpr int kEvents = 1000;

enum Detection : int64_t { kUsual, kFirstField, kList, kRegex };

std::string Yaml(int64_t detection, int64_t size) {
  switch (detection) {
    case kUsual:
      return R"({shell: {EventID: 1, Image|endswith: ['\cmd.exe', '\powershell.exe'],
        ParentImage|endswith: ['\w3wp.exe', '\httpd.exe']}, noise: {CommandLine|contains: backup},
        condition: shell and not noise})";
    case kFirstField:
      return R"({sel: {EventID: 4242, Image|endswith: '\cmd.exe'}, condition: sel})";
    case kRegex:
      return R"({sel: {EventID: 1, CommandLine|re: 'w(hoa|oah)mi\s+/a(ll|dd)'}, condition: sel})";
    default: {
      std::string yaml = "{sel: {CommandLine|contains: [whoami /all";
      for (int64_t i = 1; i < size; ++i) yaml += fmt::format(", tool{:04} --run", i);
      return yaml + "]}, condition: sel}";
    }
  }
}

// Events of which `hits` percent are a web server's shell.
struct Events {
  Events(const FieldTable& fields, int64_t hits) {
    std::mt19937 random(1);
    const auto set = [&](std::vector<Value>& row, const char* name, const Value& value) {
      if (const int slot = fields.Find(name); slot >= 0) row[static_cast<size_t>(slot)] = value;
    };
    for (int i = 0; i < kEvents; ++i) {
      const bool hit = static_cast<int64_t>(random() % 100) < hits;
      std::vector<Value> row(static_cast<size_t>(fields.size()));
      // Half of those that are not chosen differ in the last thing looked at only.
      set(row, "EventID", Value::Number(hit || random() % 2 == 0 ? "1" : "11"));
      set(row, "Image",
          Value::String(hit ? R"(C:\Windows\System32\cmd.exe)"
                            : R"(C:\Program Files\Example Browser\browser.exe)"));
      set(row, "ParentImage",
          Value::String(hit ? R"(C:\Windows\System32\inetsrv\w3wp.exe)"
                            : R"(C:\Windows\System32\services.exe)"));
      set(row, "CommandLine",
          Value::String(hit ? R"(cmd.exe /c whoami /all)"
                            : R"("C:\Program Files\Example Browser\browser.exe" --type=renderer)"
                              R"( --field-trial-handle=1720,131072 --lang=en-US)"));
      rows.push_back(std::move(row));
    }
  }
  std::vector<std::vector<Value>> rows;
};

// Args: detection; values in its list; percent of events chosen.
void BM_Selection(benchmark::State& state) {
  Diagnostics diagnostics;
  FieldTable fields;
  const auto yaml =
      ParseYaml(Yaml(state.range(0), state.range(1)), "bench", YamlLimits{}, diagnostics);
  const auto selection =
      yaml.empty() ? nullptr : sigma::CompileSelection(yaml[0], fields, diagnostics);
  if (selection == nullptr) {
    state.SkipWithError(diagnostics.Text().c_str());
    return;
  }
  const Events events(fields, state.range(2));
  int64_t chosen = 0;
  for (auto _ : state) {
    chosen = 0;
    for (const std::vector<Value>& row : events.rows) {
      Event event;
      event.fields = row;
      chosen += selection->Matches(event) ? 1 : 0;
    }
    benchmark::DoNotOptimize(chosen);
  }
  if (state.range(2) == 0 && chosen != 0) state.SkipWithError("chose events that it must not");
  if (state.range(2) == 100 && state.range(0) != kFirstField && chosen != kEvents)
    state.SkipWithError("left out events that it must choose");
  static const char* const kNames[] = {"usual", "first field", "list", "regex"};
  state.SetLabel(kNames[state.range(0)]);
  state.SetItemsProcessed(state.iterations() * kEvents);
}
BENCHMARK(BM_Selection)
    ->ArgNames({"detection", "values", "hit"})
    ->ArgsProduct({{kUsual, kFirstField, kRegex}, {1}, {0, 1, 100}})
    ->ArgsProduct({{kList}, {1, 10, 100, 1000}, {0, 100}});

// A count of characters, which RE2 writes out. Args: the count; bytes of each text; whether some
// are of characters beyond ASCII.
void BM_LongRegex(benchmark::State& state) {
  Diagnostics diagnostics;
  FieldTable fields;
  const auto yaml = ParseYaml(
      fmt::format("{{sel: {{CommandLine|re: '.{{{},}}'}}, condition: sel}}", state.range(0)),
      "bench", YamlLimits{}, diagnostics);
  const auto selection =
      yaml.empty() ? nullptr : sigma::CompileSelection(yaml[0], fields, diagnostics);
  if (selection == nullptr) {
    state.SkipWithError(diagnostics.Text().c_str());
    return;
  }
  std::string text;
  for (int64_t i = 0; i < state.range(1); ++i) text += "powershell -enc AAB "[i % 20];
  for (int64_t i = 0; state.range(2) != 0 && i + 2 <= state.range(1); i += 50)
    text.replace(static_cast<size_t>(i), 1, "\xc3\xa4");
  std::vector<Value> row(static_cast<size_t>(fields.size()));
  row[static_cast<size_t>(fields.Find("CommandLine"))] = Value::String(text);
  Event event;
  event.fields = row;
  bool chosen = false;
  for (auto _ : state) {
    chosen = selection->Matches(event);
    benchmark::DoNotOptimize(chosen);
  }
  if (chosen != (state.range(1) >= state.range(0))) state.SkipWithError("the wrong answer");
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_LongRegex)
    ->ArgNames({"count", "bytes", "beyond"})
    ->ArgsProduct({{200, 1000}, {100, 900, 3000}, {0, 1}});

}  // namespace
}  // namespace bongsu

BENCHMARK_MAIN();
