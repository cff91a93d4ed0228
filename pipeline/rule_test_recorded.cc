#include "pipeline/rule_test_recorded.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "operators/config/node.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFolder = "regression_data";

std::string ReadAll(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
}

std::string TextOf(const Node& node, std::string_view key) {
  const Node* value = node.is_map() ? node.Find(key) : nullptr;
  return value != nullptr && value->is_scalar() ? value->scalar : "";
}

// Paths of info.yml start at the repository's root, which is some folder above it.
fs::path Resolve(const fs::path& info, const std::string& named) {
  std::error_code error;
  for (fs::path root = fs::absolute(info).parent_path();; root = root.parent_path()) {
    if (fs::exists(root / named, error)) return root / named;
    if (root == root.parent_path()) break;
  }
  return info.parent_path() / fs::path(named).filename();
}

void ReadOne(const std::string& file, const std::string& rule, const Node& node,
             std::vector<RuleTestCase>* cases, std::vector<std::string>* skipped,
             Diagnostics& diagnostics) {
  const std::string type = TextOf(node, "type");
  if (type != "evtx") {
    skipped->push_back(fmt::format("{}: a test of type '{}' is not read", file, type));
    return;
  }
  fs::path events = Resolve(file, TextOf(node, "path"));
  events.replace_extension(".json");
  RuleTestCase test;
  test.rule = rule;
  test.name = TextOf(node, "name");
  test.recorded = test.fixed_order = true;
  test.duplicates = Duplicates::kSkip;
  test.where = node.where;
  ExpectedIncidents expected;
  expected.where = node.where;
  const std::string count = TextOf(node, "match_count");
  expected.at_least = count.empty();
  const char* end = count.data() + count.size();
  if (!count.empty() && std::from_chars(count.data(), end, expected.count).ptr != end) {
    diagnostics.Error(node.where, "'match_count' must be a whole number");
    return;
  }
  if (expected.count > 0) test.expected.push_back(expected);
  const std::string text = ReadAll(events);
  std::vector<std::string_view> objects;
  if (text.empty() || !SplitJsonObjects(text, &objects) || objects.empty()) {
    diagnostics.Error(node.where, fmt::format("{} holds no JSON objects", events.string()),
                      "the recorded events in JSON, beside the .evtx file");
    return;
  }
  for (const std::string_view object : objects) {
    RuleTestEvent& event = test.events.emplace_back();
    event.id = fmt::format("{}", test.events.size());
    event.source = "windows-event";
    event.text = std::string(object);
    event.where = node.where;
  }
  cases->push_back(std::move(test));
}

}  // namespace

bool IsRecordedTest(std::string_view file) {
  const fs::path path(file);
  if (path.filename() != "info.yml") return false;
  for (const fs::path& part : fs::absolute(path)) {
    if (part == kFolder) return true;
  }
  return false;
}

bool SplitJsonObjects(std::string_view text, std::vector<std::string_view>* objects) {
  int depth = 0;
  bool in_string = false;
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{') {
      if (depth++ == 0) begin = i;
    } else if (c == '}' && depth > 0 && --depth == 0) {
      objects->push_back(text.substr(begin, i + 1 - begin));
    }
  }
  return depth == 0 && !in_string;
}

void ReadRecordedTest(const std::string& file, std::vector<RuleTestCase>* cases,
                      std::vector<std::string>* skipped, Diagnostics& diagnostics) {
  for (const Node& document : ParseYaml(ReadAll(file), file, YamlLimits{}, diagnostics)) {
    const Node* rules = document.is_map() ? document.Find("rule_metadata") : nullptr;
    const Node* tests = document.is_map() ? document.Find("regression_tests_info") : nullptr;
    if (rules == nullptr || !rules->is_sequence() || rules->items.empty()) {
      diagnostics.Error(document.where, "'rule_metadata' names no rule");
      continue;
    }
    if (tests == nullptr || !tests->is_sequence()) {
      skipped->push_back(fmt::format("{}: it has no regression_tests_info", file));
      continue;
    }
    for (const Node& rule : rules->items) {
      for (const Node& test : tests->items)
        ReadOne(file, TextOf(rule, "id"), test, cases, skipped, diagnostics);
    }
  }
}

}  // namespace bongsu
