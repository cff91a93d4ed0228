#include "pipeline/rule_test_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "pipeline/json_text.h"
#include "pipeline/kafka/kafka_rules.h"
#include "pipeline/rule_test_file.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;

constexpr int kFailed = 1;
constexpr int kBroken = 2;

Node TextNode(std::string text) {
  Node node;
  node.kind = NodeKind::kScalar;
  node.scalar = std::move(text);
  node.quoted = true;
  return node;
}

// Where the rules of `path` lie; empty: it holds recorded events only.
std::string RulesOf(const std::string& path) {
  for (const fs::path& part : fs::path(path)) {
    if (part == "regression_data") return "";
  }
  std::error_code error;
  if (fs::is_regular_file(path, error) && fs::path(path).stem().extension() == ".test") {
    const fs::path folder = fs::path(path).parent_path();
    return folder.empty() ? "." : folder.string();
  }
  return path;
}

// The file lies below one of the paths.
bool Below(const std::string& file, const std::vector<std::string>& paths) {
  std::error_code error;
  const std::string canonical = fs::weakly_canonical(file, error).string();
  return std::any_of(paths.begin(), paths.end(), [&](const std::string& path) {
    const std::string folder = fs::weakly_canonical(path, error).string();
    return canonical == folder ||
           canonical.starts_with(folder.ends_with('/') ? folder : folder + '/');
  });
}

std::string XmlText(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        // Control characters do not exist in XML 1.0.
        out += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? '?' : c;
    }
  }
  return out;
}

void PrintResult(const RuleTestResult& result, bool verbose, std::FILE* out) {
  const bool good = result.failure.empty() && result.broken.empty();
  if (good && !verbose) return;
  const std::string& label = result.title.empty() ? result.rule : result.title;
  const char* word = good ? "ok" : result.broken.empty() ? "FAILED" : "BROKEN";
  fmt::print(out, "{:<7} {}: {}", word, label, result.name);
  if (good && result.restored > 0)
    fmt::print(out, " ({} shuffled, {} restarts{})", result.shuffled, result.restored,
               result.doubled ? ", doubled" : "");
  fmt::print(out, "\n");
  if (good) return;
  fmt::print(out, "  {}:{}: {}\n", result.where.file, result.where.line,
             result.broken.empty() ? result.failure : result.broken);
}

// Rules that make alerts and lack a positive or a negative test.
size_t PrintIncomplete(const Config& config, const std::vector<RuleTestResult>& results,
                       std::FILE* out) {
  std::map<std::string, std::pair<bool, bool>> has;  // by name: a positive, a negative
  for (const RuleTestResult& result : results) {
    auto& [positive, negative] = has[result.rule];
    (result.positive ? positive : negative) = true;
  }
  size_t incomplete = 0;
  if (config.rules == nullptr) return 0;
  for (const sigma::RuleEntry& entry : config.rules->entries) {
    if (entry.mute || entry.rule.kind() == sigma::RuleKind::kFilter) continue;
    const sigma::Metadata& metadata = entry.rule.metadata;
    bool positive = false;
    bool negative = false;
    for (const std::string* name : {&metadata.id, &metadata.name, &metadata.title}) {
      const auto it = has.find(*name);
      if (it == has.end()) continue;
      positive = positive || it->second.first;
      negative = negative || it->second.second;
    }
    if (positive && negative) continue;
    ++incomplete;
    fmt::print(out, "UNTESTED {}: no {} test\n  {}:{}\n", metadata.title,
               positive   ? "negative"
               : negative ? "positive"
                          : "positive and no negative",
               metadata.where.file, metadata.where.line);
  }
  return incomplete;
}

struct Loaded {
  std::vector<RuleTestCase> cases;
  std::vector<std::string> skipped;
  std::optional<Config> config;
};

// False where nothing can be run; why is in `diagnostics`.
bool Load(const RuleTestOptions& options, Diagnostics& diagnostics, Loaded* loaded) {
  // A broken test does not keep the others from being run: the configuration has its own list.
  Diagnostics loading;
  loaded->cases = ReadRuleTests(options.paths, &loaded->skipped, diagnostics);
  OperatorRegistry registry;
  RegisterAllOperators(registry);
  if (!options.config.empty()) {
    loaded->config = ConfigForRules(options.config, {}, {}, registry, loading);
    diagnostics.Append(loading);
    if (!loaded->config.has_value()) return false;
    if (loaded->config->rules != nullptr)
      AddEmbeddedTests(*loaded->config->rules, &loaded->cases, diagnostics);
    std::erase_if(loaded->cases,
                  [&](const RuleTestCase& test) { return !Below(test.where.file, options.paths); });
  } else {
    std::vector<std::string> rules;
    for (const std::string& path : options.paths) {
      const std::string of = RulesOf(path);
      if (!of.empty() && std::find(rules.begin(), rules.end(), of) == rules.end())
        rules.push_back(of);
    }
    if (rules.empty()) {
      diagnostics.Error({options.paths[0], 0, 0}, "recorded events, but no rules",
                        "name the folder of the rules, too: bongsu test rules regression_data");
      return false;
    }
    // The rules' own tests say which formats are needed, so that the rules are read before.
    Diagnostics unused;
    const sigma::RuleSet set = sigma::LoadRuleSet(rules, {}, unused);
    AddEmbeddedTests(set, &loaded->cases, diagnostics);
    std::set<std::string> formats;
    for (const RuleTestCase& test : loaded->cases) {
      for (const RuleTestEvent& event : test.events) formats.insert(event.source);
    }
    loaded->config = ConfigForRules("", rules, {formats.begin(), formats.end()}, registry, loading);
    diagnostics.Append(loading);
    if (!loaded->config.has_value()) return false;
  }
  if (loaded->cases.empty() && !diagnostics.has_errors())
    diagnostics.Error({options.paths[0], 0, 0}, "there are no tests",
                      "*.test.yml beside the rules, or tests: within them");
  return true;
}

}  // namespace

std::optional<Config> ConfigForRules(const std::string& config_file,
                                     const std::vector<std::string>& rules,
                                     const std::vector<std::string>& formats,
                                     const OperatorRegistry& registry, Diagnostics& diagnostics) {
  std::optional<Config> config;
  if (!config_file.empty()) {
    config = LoadConfig(config_file, registry, diagnostics, FetchTopicRules);
  } else {
    std::string text = "application: rules\nsources:\n";
    for (const std::string& format : formats) {
      if (FindBuiltinFormat(format) == nullptr) continue;  // said of the event that names it
      text += fmt::format("  - {{name: {}, files: [records], format: {}}}\n", format, format);
    }
    if (text.ends_with("sources:\n"))  // a mistake that the tests' own messages explain better
      text += "  - {name: sysmon-nxlog, files: [records], format: sysmon-nxlog}\n";
    text += "sinks: {alerts: {file: alerts, format: native}}\n";
    std::optional<Node> tree = ParseConfigTree(text, "", diagnostics);
    if (!tree.has_value()) return std::nullopt;
    Node list;
    list.kind = NodeKind::kSequence;
    for (const std::string& path : rules) list.items.push_back(TextNode(path));
    tree->entries.emplace_back(TextNode("rules"), std::move(list));
    config = ReadConfig(*tree, "", registry, diagnostics);
  }
  if (config.has_value()) PrepareForRehearsal(&*config);
  return config;
}

std::string JUnitXml(const std::vector<RuleTestResult>& results) {
  size_t failures = 0;
  size_t errors = 0;
  double seconds = 0;
  std::string cases;
  for (const RuleTestResult& result : results) {
    seconds += result.seconds;
    cases += fmt::format(
        "  <testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\" time=\"{:.3f}\"",
        XmlText(result.title.empty() ? result.rule : result.title), XmlText(result.name),
        XmlText(result.where.file), result.where.line, result.seconds);
    if (!result.broken.empty()) {
      ++errors;
      cases += fmt::format(">\n    <error message=\"broken test\">{}</error>\n  </testcase>\n",
                           XmlText(result.broken));
    } else if (!result.failure.empty()) {
      ++failures;
      cases += fmt::format(">\n    <failure message=\"failed\">{}</failure>\n  </testcase>\n",
                           XmlText(result.failure));
    } else {
      cases += "/>\n";
    }
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"bongsu test\" tests=\"{}\" "
      "failures=\"{}\" errors=\"{}\" time=\"{:.3f}\">\n{}</testsuite>\n",
      results.size(), failures, errors, seconds, cases);
}

int TestRules(const RuleTestOptions& options, std::FILE* out) {
  Diagnostics diagnostics;
  Loaded loaded;
  const bool usable = Load(options, diagnostics, &loaded);
  fmt::print(stderr, "{}", diagnostics.Text());
  if (!usable) return kBroken;
  const Config& config = *loaded.config;
  RuleTester tester(config);
  std::vector<RuleTestResult> results;
  size_t failed = 0;
  size_t broken = 0;
  for (const RuleTestCase& test : loaded.cases) {
    RuleTestResult& result = results.emplace_back(tester.Run(test));
    failed += !result.failure.empty() ? 1 : 0;
    broken += !result.broken.empty() ? 1 : 0;
    PrintResult(result, options.verbose, out);
  }
  const size_t incomplete = options.complete ? PrintIncomplete(config, results, out) : 0;
  size_t broken_rules = 0;
  if (config.rules != nullptr) {
    for (const sigma::SkippedRule& rule : config.rules->skipped)
      broken_rules += rule.broken ? 1 : 0;
  }
  for (const std::string& line : loaded.skipped) fmt::print(out, "skipped {}\n", line);
  fmt::print(out, "{} tests: {} passed, {} failed, {} broken", results.size(),
             results.size() - failed - broken, failed, broken);
  if (!loaded.skipped.empty()) fmt::print(out, ", {} skipped", loaded.skipped.size());
  if (incomplete > 0) fmt::print(out, "; {} rules lack tests", incomplete);
  if (broken_rules > 0) fmt::print(out, "; {} rules are broken", broken_rules);
  fmt::print(out, "\n");
  if (!options.junit.empty()) {
    std::FILE* xml = std::fopen(options.junit.c_str(), "wb");
    const std::string text = JUnitXml(results);
    const bool written =
        xml != nullptr && std::fwrite(text.data(), 1, text.size(), xml) == text.size();
    if ((xml != nullptr && std::fclose(xml) != 0) || !written) {
      fmt::print(stderr, "cannot write {}: {}\n", options.junit, std::strerror(errno));
      return kBroken;
    }
  }
  if (diagnostics.has_errors() || broken > 0 || broken_rules > 0) return kBroken;
  return failed > 0 || incomplete > 0 ? kFailed : 0;
}

}  // namespace bongsu
