// Every rule of the corpus on real events (BONGSU_SHARED): the matcher of all rules together says
// what the oracle says of each rule by itself; so it does where fields are read only when it asks
// for them, as in the service.
//
// The oracle is slow: of each capture every kStride-th event is compared, of the regression events
// all. BONGSU_SIGMA_STRIDE=1 compares every event, in minutes.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "operators/sigma/rule_binding.h"
#include "operators/sigma/rule_set.h"
#include "pipeline/decoder.h"
#include "pipeline/format.h"
#include "tests/operators/sigma_oracle.h"

namespace bongsu::sigma {
namespace {

namespace fs = std::filesystem;

constexpr size_t kStride = 97;

std::string Output(const std::string& command) {
  std::string text;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return text;
  char buffer[1 << 16];
  for (size_t size = 0; (size = fread(buffer, 1, sizeof(buffer), pipe)) > 0;)
    text.append(buffer, size);
  EXPECT_EQ(pclose(pipe), 0) << command;
  return text;
}

// The rules, bound to one source of a format, and the oracle of each.
struct Bound {
  Bound(const RuleSet& rules, const Format& format) {
    SourceShape shape;
    shape.name = "source";
    shape.log_source = &format.logsource;
    shape.fields = &fields;
    Diagnostics diagnostics;
    binding = BindRules(rules, {&shape, 1}, diagnostics);
    EXPECT_FALSE(diagnostics.has_errors()) << diagnostics.Text();
    for (const BoundRule& rule : binding.sources[0].rules) {
      const RuleEntry& entry = rules.entries[rule.entry];
      oracles.emplace_back(entry.detection);
      const RuleLogsource& logsource = entry.rule.detection().logsource;
      const std::string name = LogSourceText(logsource);
      const Node guard = LogSourceGuard(format.logsource, logsource);
      if (!guard.is_null()) guards.try_emplace(name, guard);
      group_of.push_back(name);
    }
  }

  FieldTable fields;
  RuleBinding binding;
  std::vector<Oracle> oracles;
  std::map<std::string, Oracle> guards;
  std::vector<std::string> group_of;
};

class SigmaOracle : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* shared = std::getenv("BONGSU_SHARED");
    if (shared == nullptr) GTEST_SKIP() << "BONGSU_SHARED is not set: the rule corpus is not there";
    data_ = std::string(shared) + "/data/";
    folder_ = fs::temp_directory_path() / ("bongsu-oracle-" + std::to_string(getpid()));
    fs::create_directories(folder_);
    Output("zstd -dc '" + data_ + "sigma-rules.tar.zst' | tar -xf - -C '" + folder_.string() + "'");
    Diagnostics diagnostics;
    rules_ = LoadRuleSet({folder_.string()}, {}, diagnostics);
    if (const char* given = std::getenv("BONGSU_SIGMA_STRIDE"); given != nullptr)
      stride_ = std::strtoul(given, nullptr, 10);
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
  }

  void CompareFile(const std::string& file, const Format& format, Bound& bound, size_t stride) {
    std::string text = Output("zstd -dc '" + data_ + file + "'");
    text.reserve(text.size() + 64);
    Decoder decoder(format, bound.fields, {});
    const SourceRules& source = bound.binding.sources[0];
    DecoderOptions options;
    options.later.assign(static_cast<size_t>(bound.fields.size()), true);
    for (const int slot : source.matcher->guard_slots())
      options.later[static_cast<size_t>(slot)] = false;
    Decoder late_decoder(format, bound.fields, options);
    const auto scratch = source.matcher->NewScratch();
    std::vector<uint32_t> fired;
    std::vector<uint32_t> late_fired;
    size_t line = 0;
    for (size_t at = 0; at < text.size(); ++line) {
      const size_t end = std::min(text.find('\n', at), text.size());
      Record record;
      record.bytes = std::string_view(text).substr(at, end - at);
      at = end + 1;
      if (line % stride != 0) continue;
      Event event;
      const DecodeResult result = decoder.Decode(record, &event);
      if (result != DecodeResult::kOk && result != DecodeResult::kNoTime) continue;
      ASSERT_TRUE(source.matcher->Match(event, *scratch, &fired));
      Event late;
      ASSERT_EQ(late_decoder.Decode(record, &late), result);
      ASSERT_TRUE(source.matcher->Match(late, *scratch, &late_fired));
      ASSERT_EQ(late_fired, fired) << file << ":" << line + 1;
      CompareEvent(bound, event, fired, fmt::format("{}:{}", file, line + 1));
      if (HasFailure()) return;
    }
  }

  void CompareEvent(const Bound& bound, const Event& event, const std::vector<uint32_t>& fired,
                    const std::string& where) {
    const auto lookup = [&](const std::string& field) {
      const int slot = bound.fields.Find(field);
      return slot < 0 ? Value() : event.field(slot);
    };
    std::set<std::string> off;
    for (const auto& [name, guard] : bound.guards) {
      if (!guard.Matches(lookup)) off.insert(name);
    }
    const auto& rules = bound.binding.sources[0].rules;
    for (size_t i = 0; i < rules.size(); ++i) {
      const bool found = std::binary_search(fired.begin(), fired.end(), static_cast<uint32_t>(i));
      const bool wanted = !off.contains(bound.group_of[i]) && bound.oracles[i].Matches(lookup);
      ASSERT_EQ(found, wanted) << where << ": " << rules_.entries[rules[i].entry].rule.metadata.id;
      pairs_ += 1;
      met_ += wanted ? 1 : 0;
    }
  }

  std::string data_;
  fs::path folder_;
  RuleSet rules_;
  size_t stride_ = kStride;
  size_t pairs_ = 0;
  size_t met_ = 0;
};

TEST_F(SigmaOracle, RegressionEvents) {
  const Format& format = *FindBuiltinFormat("windows-event");
  Bound bound(rules_, format);
  CompareFile("sigma-regression/events.jsonl.zst", format, bound, 1);
  std::cout << pairs_ << " pairs of rule and event agree, " << met_ << " met\n";
  EXPECT_GT(met_, 115);
}

TEST_F(SigmaOracle, Captures) {
  std::ifstream table(data_ + "sigma-matches.tsv");
  std::set<std::string> files;
  std::string line;
  std::getline(table, line);  // the heading
  while (std::getline(table, line)) {
    std::istringstream columns(line);
    std::string rule, file;
    std::getline(columns, rule, '\t');
    std::getline(columns, file, '\t');
    files.insert(file + ".zst");
  }
  ASSERT_GT(files.size(), 40);
  const Format& format = *FindBuiltinFormat("sysmon-nxlog");
  Bound bound(rules_, format);
  for (const std::string& file : files) {
    CompareFile(file, format, bound, stride_);
    if (HasFailure()) return;
  }
  std::cout << pairs_ << " pairs of rule and event agree, " << met_ << " met\n";
}

}  // namespace
}  // namespace bongsu::sigma
