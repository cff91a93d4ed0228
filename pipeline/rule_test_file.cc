#include "pipeline/rule_test_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>

#include "operators/config/option.h"
#include "pipeline/event_time.h"
#include "pipeline/rule_test_recorded.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;

constexpr size_t kTestFileBytesMax = size_t{16} << 20;

// A map whose keys are all known; each is reported once where it is not.
class KeyedMap {
 public:
  KeyedMap(const Node& node, std::string_view what, std::span<const std::string_view> keys,
           Diagnostics& diagnostics)
      : node_(node), diagnostics_(diagnostics) {
    if (!node.is_map()) {
      diagnostics.Error(node.where, fmt::format("{} must be a map", what),
                        fmt::format("its keys: {}", fmt::join(keys, ", ")));
      return;
    }
    for (const auto& [key, value] : node.entries) {
      if (std::find(keys.begin(), keys.end(), key.scalar) != keys.end()) continue;
      const std::string nearest = NearestName(key.scalar, keys);
      diagnostics.Error(key.where, fmt::format("unknown key '{}' in {}", key.scalar, what),
                        nearest.empty() ? fmt::format("known: {}", fmt::join(keys, ", "))
                                        : fmt::format("did you mean '{}'?", nearest));
    }
  }
  const Node* Find(std::string_view key) const {
    return node_.is_map() ? node_.Find(key) : nullptr;
  }
  std::string Text(std::string_view key) const {
    const Node* node = Find(key);
    if (node == nullptr) return "";
    if (node->is_scalar() && !node->scalar.empty()) return node->scalar;
    diagnostics_.Error(node->where, fmt::format("'{}' must be a text", key));
    return "";
  }
  std::optional<uint64_t> Number(std::string_view key, uint64_t max) const {
    const Node* node = Find(key);
    if (node == nullptr) return std::nullopt;
    uint64_t number = 0;
    const char* end = node->scalar.data() + node->scalar.size();
    const auto [at, error] = std::from_chars(node->scalar.data(), end, number);
    if (node->is_scalar() && error == std::errc() && at == end && number <= max) return number;
    diagnostics_.Error(node->where, fmt::format("'{}' must be a whole number up to {}", key, max));
    return std::nullopt;
  }
  // "+5s", "-1m", "0s" from `start`, or a point in time.
  std::optional<EventTimeNs> Time(std::string_view key, EventTimeNs start) const {
    const Node* node = Find(key);
    if (node == nullptr) return std::nullopt;
    const std::string& text = node->scalar;
    if (node->is_scalar() && !text.empty()) {
      const bool sign = text[0] == '+' || text[0] == '-';
      if (const auto offset = ParseDuration(sign ? text.substr(1) : text))
        return AddTime(start, text[0] == '-' ? -*offset : *offset);
      if (const auto time = ParseRfc3339(text)) return time;
    }
    diagnostics_.Error(node->where, fmt::format("'{}' must be a time", key),
                       "from the start of the case, like +5s, or 2024-01-01T00:00:00Z");
    return std::nullopt;
  }

 private:
  const Node& node_;
  Diagnostics& diagnostics_;
};

// `{n}` of a repeated event is its number.
void PutNumber(Node* node, size_t number) {
  for (Node& item : node->items) PutNumber(&item, number);
  for (auto& [key, value] : node->entries) PutNumber(&value, number);
  const std::string text = fmt::format("{}", number);
  for (size_t at = 0; (at = node->scalar.find("{n}", at)) != std::string::npos; at += text.size())
    node->scalar.replace(at, 3, text);
}

void ReadEvent(const Node& node, const std::string& source, EventTimeNs start, RuleTestCase* test,
               Diagnostics& diagnostics) {
  static constexpr std::array<std::string_view, 7> kKeys = {"at",     "source", "id",   "record",
                                                            "fields", "repeat", "every"};
  const KeyedMap map(node, "an event", kKeys, diagnostics);
  RuleTestEvent event;
  event.where = node.where;
  event.id = map.Text("id");
  event.source = map.Find("source") != nullptr ? map.Text("source") : source;
  event.time = map.Time("at", start).value_or(start);
  if (event.source.empty())
    diagnostics.Error(node.where, "the event has no source",
                      "source: firewall, in the event or for all events in the test");
  const Node* record = map.Find("record");
  const Node* fields = map.Find("fields");
  if ((record != nullptr) == (fields != nullptr) ||
      !(record != nullptr ? record : fields)->is_map()) {
    diagnostics.Error(node.where, "an event needs either 'record' or 'fields', a map",
                      "record: as the source writes it; fields: under the names that rules use");
    return;
  }
  if (record != nullptr) event.record = *record;
  if (fields != nullptr) event.fields = *fields;
  const uint64_t repeat = map.Number("repeat", kRuleTestEventsMax).value_or(1);
  const EventTimeNs every = map.Time("every", 0).value_or(0);
  if (test->events.size() + repeat > kRuleTestEventsMax) {
    diagnostics.Error(node.where, fmt::format("more than {} events", kRuleTestEventsMax));
    return;
  }
  for (uint64_t i = 0; i < repeat; ++i) {
    RuleTestEvent& one = test->events.emplace_back(event);
    one.time = AddTime(event.time, every * static_cast<DurationNs>(i));
    if (one.id.empty()) one.id = fmt::format("{}", test->events.size());
    if (map.Find("repeat") == nullptr) continue;
    PutNumber(&one.record, i + 1);
    PutNumber(&one.fields, i + 1);
  }
}

void ReadExpected(const Node& node, EventTimeNs start, RuleTestCase* test,
                  Diagnostics& diagnostics) {
  static constexpr std::array<std::string_view, 5> kKeys = {"key", "count", "events", "evidence",
                                                            "not_before"};
  const KeyedMap map(node, "an expected incident", kKeys, diagnostics);
  ExpectedIncidents expected;
  expected.where = node.where;
  if (const Node* key = map.Find("key"); key != nullptr) {
    std::vector<std::string> parts;
    for (const Node& part : key->items) parts.push_back(part.scalar);
    expected.key = key->is_sequence() ? fmt::format("{}", fmt::join(parts, ", ")) : key->scalar;
  }
  expected.count = map.Number("count", kRuleTestEventsMax).value_or(1);
  if (expected.count == 0)
    diagnostics.Error(node.where, "'count: 0' expects nothing", "write expect: none");
  expected.events = map.Number("events", UINT32_MAX);
  expected.not_before = map.Time("not_before", start);
  if (const Node* evidence = map.Find("evidence"); evidence != nullptr) {
    if (!evidence->is_sequence() || evidence->items.empty())
      diagnostics.Error(evidence->where, "'evidence' must be a list of ids of events");
    for (const Node& id : evidence->items) {
      const auto known = std::any_of(test->events.begin(), test->events.end(),
                                     [&](const auto& event) { return event.id == id.scalar; });
      if (!known)
        diagnostics.Error(id.where, fmt::format("no event has the id '{}'", id.scalar),
                          "give it one: {id: ..., at: ...}; without, its number from 1 is its id");
      expected.evidence.push_back(id.scalar);
    }
  }
  test->expected.push_back(std::move(expected));
}

void ReadExpect(const KeyedMap& map, const Node& node, EventTimeNs start, RuleTestCase* test,
                Diagnostics& diagnostics) {
  const Node* expect = map.Find("expect");
  if (expect == nullptr) {
    diagnostics.Error(node.where, "the test expects nothing",
                      "expect: none, or a list of incidents");
  } else if (expect->is_sequence()) {
    for (const Node& one : expect->items) ReadExpected(one, start, test, diagnostics);
    if (expect->items.empty())
      diagnostics.Error(expect->where, "an empty list of incidents", "write expect: none");
  } else if (expect->is_map()) {
    ReadExpected(*expect, start, test, diagnostics);
  } else if (expect->scalar != "none") {
    diagnostics.Error(expect->where, "'expect' must be none or a list of incidents",
                      "for example expect: [{key: 10.0.0.5, count: 1}]");
  }
}

bool ReadWord(const KeyedMap& map, std::string_view key, std::string_view yes, std::string_view no,
              Diagnostics& diagnostics) {
  const Node* node = map.Find(key);
  if (node == nullptr) return false;
  if (node->scalar != yes && node->scalar != no)
    diagnostics.Error(node->where, fmt::format("'{}' must be {} or {}", key, yes, no));
  return node->scalar == yes;
}

RuleTestCase ReadCase(const Node& node, const std::string& rule, Diagnostics& diagnostics) {
  static constexpr std::array<std::string_view, 11> kKeys = {
      "name", "description", "rule",  "source",     "start", "now",
      "late", "events",      "order", "duplicates", "expect"};
  const KeyedMap map(node, "a test", kKeys, diagnostics);
  RuleTestCase test;
  test.where = node.where;
  test.name = map.Text("name");
  test.rule = map.Find("rule") != nullptr ? map.Text("rule") : rule;
  if (node.is_map() && test.name.empty())
    diagnostics.Error(node.where, "the test has no name", "what it shows, in a few words");
  const EventTimeNs start = map.Time("start", kRuleTestStart).value_or(kRuleTestStart);
  test.now = map.Time("now", start);
  test.late = map.Number("late", kRuleTestEventsMax).value_or(0);
  test.fixed_order = ReadWord(map, "order", "fixed", "any", diagnostics);
  if (map.Find("duplicates") != nullptr)
    test.duplicates = ReadWord(map, "duplicates", "same", "skip", diagnostics) ? Duplicates::kSame
                                                                               : Duplicates::kSkip;
  const std::string source = map.Text("source");
  if (const Node* events = map.Find("events"); events != nullptr && events->is_sequence()) {
    for (const Node& event : events->items) ReadEvent(event, source, start, &test, diagnostics);
  }
  if (node.is_map() && test.events.empty())
    diagnostics.Error(node.where, "the test has no events", "a list under events:");
  if (node.is_map()) ReadExpect(map, node, start, &test, diagnostics);
  return test;
}

void ReadTestFile(const std::string& file, std::vector<RuleTestCase>* cases,
                  Diagnostics& diagnostics) {
  std::ifstream in(file, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!in.is_open() || in.bad()) {
    diagnostics.Error({file, 0, 0}, "cannot read the tests");
    return;
  }
  YamlLimits limits;
  limits.bytes_max = kTestFileBytesMax;
  static constexpr std::array<std::string_view, 2> kKeys = {"rule", "tests"};
  for (const Node& document : ParseYaml(text, file, limits, diagnostics)) {
    if (document.is_null()) continue;
    const KeyedMap map(document, "a file of tests", kKeys, diagnostics);
    const Node* tests = map.Find("tests");
    if (tests == nullptr) {
      if (document.is_map()) diagnostics.Error(document.where, "'tests' is missing", "a list");
      continue;
    }
    std::vector<RuleTestCase> read = ParseRuleTests(*tests, map.Text("rule"), diagnostics);
    std::move(read.begin(), read.end(), std::back_inserter(*cases));
  }
}

bool IsTestFile(const fs::path& path) {
  return (path.extension() == ".yml" || path.extension() == ".yaml") &&
         path.stem().extension() == ".test";
}

}  // namespace

std::vector<RuleTestCase> ParseRuleTests(const Node& tests, const std::string& rule,
                                         Diagnostics& diagnostics) {
  std::vector<RuleTestCase> cases;
  if (!tests.is_sequence()) {
    diagnostics.Error(tests.where, "'tests' must be a list of tests", "each with name and events");
    return cases;
  }
  for (const Node& node : tests.items) {
    const int errors = diagnostics.errors();
    RuleTestCase test = ReadCase(node, rule, diagnostics);
    if (test.rule.empty())
      diagnostics.Error(node.where, "the test names no rule",
                        "rule: its id, name or title, in the test or for the file");
    if (diagnostics.errors() == errors) cases.push_back(std::move(test));
  }
  return cases;
}

std::vector<RuleTestCase> ReadRuleTests(const std::vector<std::string>& paths,
                                        std::vector<std::string>* skipped,
                                        Diagnostics& diagnostics) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (fs::is_regular_file(path, error)) files.push_back(path);
    if (!fs::is_directory(path, error)) {
      if (!fs::exists(path, error))
        diagnostics.Error({path, 0, 0}, "there is no such file or folder");
      continue;
    }
    fs::recursive_directory_iterator it(path, error);
    for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
      std::error_code ignored;
      if (it->path().filename().string().starts_with('.')) {
        if (it->is_directory(ignored)) it.disable_recursion_pending();
      } else if (it->is_regular_file(ignored) && files.size() < kRuleTestFilesMax) {
        files.push_back(it->path().string());
      }
    }
    if (error)
      diagnostics.Error({path, 0, 0}, fmt::format("cannot read the folder: {}", error.message()));
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  std::vector<RuleTestCase> cases;
  for (const std::string& file : files) {
    if (IsTestFile(file)) ReadTestFile(file, &cases, diagnostics);
    if (IsRecordedTest(file)) ReadRecordedTest(file, &cases, skipped, diagnostics);
  }
  return cases;
}

void AddEmbeddedTests(const sigma::RuleSet& rules, std::vector<RuleTestCase>* cases,
                      Diagnostics& diagnostics) {
  for (const sigma::RuleEntry& entry : rules.entries) {
    const sigma::Metadata& metadata = entry.rule.metadata;
    if (metadata.tests.is_null()) continue;
    std::vector<RuleTestCase> read = ParseRuleTests(metadata.tests, metadata.label(), diagnostics);
    std::move(read.begin(), read.end(), std::back_inserter(*cases));
  }
}

}  // namespace bongsu
