// Random rules on random events: the engine's evaluator of one rule (Detection), its matcher of all
// rules together (RuleMatcher), and the oracle must say the same.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <map>
#include <random>

#include "operators/sigma/rule_matcher.h"
#include "operators/sigma/selection.h"
#include "tests/operators/sigma_oracle.h"

namespace bongsu {
namespace {

constexpr int kRounds = 150;
constexpr size_t kRulesOfRound = 40;
constexpr size_t kEventsOfRound = 60;

Node Scalar(std::string text, bool quoted = false) {
  Node node;
  node.kind = NodeKind::kScalar;
  node.scalar = std::move(text);
  node.quoted = quoted;
  return node;
}
Node List(std::vector<Node> items) {
  Node node;
  node.kind = NodeKind::kSequence;
  node.items = std::move(items);
  return node;
}
Node Map() {
  Node node;
  node.kind = NodeKind::kMap;
  return node;
}

// To show a rule that fails.
std::string Yaml(const Node& node) {
  if (node.is_null()) return "null";
  if (node.is_scalar()) return node.quoted ? "'" + node.scalar + "'" : node.scalar;
  std::vector<std::string> parts;
  for (const Node& item : node.items) parts.push_back(Yaml(item));
  for (const NodeEntry& entry : node.entries)
    parts.push_back("'" + entry.first.scalar + "': " + Yaml(entry.second));
  return fmt::format(fmt::runtime(node.is_map() ? "{{{}}}" : "[{}]"), fmt::join(parts, ", "));
}

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {
    for (int i = 0; i < 10; ++i) pool_.push_back(Word());
  }

  Node Detection() {
    Node detection = Map();
    std::vector<std::string> names;
    const int searches = Int(1, 3);
    for (int i = 0; i < searches; ++i) {
      names.push_back(fmt::format("{}{}", OneOf<const char*>({"sel_", "flt_", "_"}), i));
      detection.entries.emplace_back(Scalar(names.back()), Search());
    }
    detection.entries.emplace_back(
        Scalar("condition"), Chance(10)
                                 ? List({Scalar(Condition(names, 0)), Scalar(Condition(names, 0))})
                                 : Scalar(Condition(names, 0)));
    return detection;
  }

  // A log source's guard: the value of one field.
  Node Guard() {
    Node search = Map();
    search.entries.emplace_back(Scalar("id"), Scalar(fmt::format("{}", Int(1, 3))));
    Node detection = Map();
    detection.entries.emplace_back(Scalar("_guard"), std::move(search));
    detection.entries.emplace_back(Scalar("condition"),
                                   Scalar(Chance(30) ? "not _guard" : "_guard"));
    return detection;
  }

  // The value of a field; its texts live in `keep`.
  Value FieldValue(std::deque<std::string>* keep, std::deque<std::vector<Value>>* arrays,
                   int depth = 0) {
    const auto text = [&](std::string one) -> std::string_view {
      return keep->emplace_back(std::move(one));
    };
    switch (Int(0, depth == 0 ? 13 : 9)) {
      case 0:
        return Value::Null();
      case 1:
        return Value::Bool(Chance(50));
      case 2:
      case 3:
        return Value::Number(text(Number()));
      case 4:
        return Value::String(text(Chance(30) ? Number() : Address()));
      case 5:
        return Value::String(text(Time()));
      case 10:
        return Value();
      case 11: {
        std::vector<Value>& array = arrays->emplace_back();
        const int size = Int(0, 3);
        std::vector<Value> members;
        for (int i = 0; i < size; ++i) members.push_back(FieldValue(keep, arrays, depth + 1));
        if (Chance(10)) members.push_back(Value::Array(arrays->emplace_back(members)));
        array = members;
        return Value::Array(array);
      }
      default:
        return Value::String(text(EventText()));
    }
  }

  int Int(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  bool Chance(int percent) { return Int(1, 100) <= percent; }

 private:
  template <typename T>
  const T& OneOf(const std::vector<T>& from) {
    last_ = Int(0, static_cast<int>(from.size()) - 1);
    static thread_local T kept;
    kept = from[static_cast<size_t>(last_)];
    return kept;
  }

  std::string Word() {
    static const std::vector<std::string> letters = {
        "a",      "A",      "b",      "B",      "c",      "1",          "7",         " ",      "\\",
        "-",      "/",      "\u2013", "\u00e4", "\u00c4", "\u212a",     "k",         "\u017f", "s",
        "\u03c3", "\u03c2", "\n",     ".",      "%",      "powershell", "\\Cmd.exe", "\u023a"};
    std::string word;
    const int size = Int(0, 5);
    for (int i = 0; i < size; ++i) word += OneOf(letters);
    return word;
  }

  // What stands in a rule: from the pool, with wildcards and backslashes.
  std::string RuleText() {
    std::string text = OneOf(pool_);
    if (Chance(30)) {
      static const std::vector<std::string> specials = {"*",    "?",     "\\*",     "\\?",
                                                        "\\\\", "\\\\*", "\\\\\\*", "**"};
      const std::string special = OneOf(specials);
      text.insert(Boundary(text), special);
    }
    return text;
  }
  size_t Boundary(const std::string& text) {
    size_t at = static_cast<size_t>(Int(0, static_cast<int>(text.size())));
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) ++at;
    return at;
  }

  std::string EventText() {
    std::string text;
    const int parts = Int(0, 3);
    for (int i = 0; i < parts; ++i) text += Chance(75) ? OneOf(pool_) : Word();
    for (char& c : text) {
      if (Chance(15) && c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
      if (Chance(15) && c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    }
    return text;
  }

  std::string Number() {
    return OneOf<std::string>({"7", "7.0", "-7", "0", "-0", "70e-1", "100", "1e2", "4625",
                               "9007199254740993", "9007199254740992", "0.5", "-0.50", "1735599906",
                               "1735599906789"});
  }
  std::string Address() {
    return OneOf<std::string>({"10.1.2.3", "::ffff:10.1.2.3", "10.1.2.300", "192.168.0.7",
                               "2001:db8::1", "2001:DB8:0::2", "007", "true", ""});
  }
  std::string Time() {
    return OneOf<std::string>({"2024-12-30T23:05:06.789Z", "2024-12-30 23:05", "2020-12-31",
                               "2021-01-03T00:30:00+02:00", "2021-01-03T00:30:00-0130",
                               "2024-02-30", "2024-13-01", "2024-12-30T24:00:00", "noon"});
  }

  Node Search() {
    if (Chance(8)) return Scalar(Keyword(), true);
    if (Chance(15)) {
      std::vector<Node> items;
      const int size = Int(1, 3);
      for (int i = 0; i < size; ++i)
        items.push_back(Chance(50) ? Items() : Scalar(Keyword(), true));
      return List(std::move(items));
    }
    return Items();
  }
  std::string Keyword() {
    const std::string text = RuleText();
    return text.empty() ? "x" : text;
  }

  Node Items() {
    Node map = Map();
    const int size = Int(1, 3);
    for (int i = 0; i < size; ++i) {
      const auto [key, value] = Item();
      const bool taken =
          std::any_of(map.entries.begin(), map.entries.end(),
                      [&, k = key](const NodeEntry& entry) { return entry.first.scalar == k; });
      if (!taken) map.entries.emplace_back(Scalar(key), value);
    }
    return map;
  }

  std::pair<std::string, Node> Item() {
    const std::string field = OneOf<std::string>({"f", "g", "h"});
    const std::string place = OneOf<std::string>({"", "|contains", "|startswith", "|endswith"});
    switch (Int(0, 15)) {
      case 0:
        return {field + "|exists", Scalar(Chance(50) ? "true" : "false")};
      case 1:
        return {field + (Chance(50) ? "|neq" : ""), Chance(50) ? Node{} : Scalar("", true)};
      case 2:
        return Values(field + "|cidr", [&] {
          return Scalar(OneOf<std::string>(
              {"10.0.0.0/8", "10.1.2.3", "10.1.255.0/14", "2001:db8::/33", "::/0", "0.0.0.0/0"}));
        });
      case 3:
        return Values(field + "|" + OneOf<std::string>({"lt", "lte", "gt", "gte"}),
                      [&] { return Scalar(Number()); });
      case 4: {
        std::string key = field + "|fieldref" + place;
        if (Chance(30)) key += "|cased";
        return Values(key, [&] { return Scalar(OneOf<std::string>({"f", "g", "h", "none"})); });
      }
      case 5: {
        static const std::vector<std::pair<std::string, std::string>> parts = {
            {"minute", "5"}, {"hour", "23"},  {"day", "30"},
            {"week", "53"},  {"month", "12"}, {"year", "2024"}};
        const auto& [part, value] = parts[static_cast<size_t>(Int(0, 5))];
        return Values(field + "|" + part + OneOf<std::string>({"", "|lt", "|gte"}),
                      [v = value] { return Scalar(v); });
      }
      case 6: {
        std::string key = field + "|re";
        for (const char* flag : {"i", "m", "s"}) {
          if (Chance(30)) key += std::string("|") + flag;
        }
        return Values(key + place, [&] {
          return Scalar(
              OneOf<std::string>({"a.b", "^power", "shell$", "cmd|exe", "k+s", "[0-9]{2,}",
                                  "(?i)POWER.*EXE", "^$", ".", "\\\\cmd\\.exe", "s\\b",
                                  "(?:abc|power)shell", "\u00e4"}),
              true);
        });
      }
      case 7: {
        std::string key = field;
        if (Chance(30)) key += "|windash";
        if (Chance(40)) key += OneOf<std::string>({"|wide", "|utf16be", "|utf16", "|utf16le"});
        key += Chance(50) ? "|base64" : "|base64offset";
        return Values(key + place, [&] {
          return Scalar(OneOf<std::string>({"abc", "a-c", "\u00e4bc", "powershell"}), true);
        });
      }
      case 8:
        return Values(field + place, [&] { return Scalar(Number()); });
      case 9:
        return Values(place.empty() ? "|all" : place, [&] { return Scalar(Keyword(), true); });
      case 10:
        return Values(field + "|windash" + place, [&] { return Scalar(RuleText(), true); });
      default: {
        std::string key = field + place;
        if (Chance(20)) key += "|cased";
        return Values(key, [&] { return Scalar(RuleText(), Chance(80)); });
      }
    }
  }

  // One value or a list, with all or neq.
  template <typename One>
  std::pair<std::string, Node> Values(std::string key, const One& one) {
    const bool keywords = key[0] == '|';
    const bool compares =
        key.find("|lt") != std::string::npos || key.find("|gt") != std::string::npos;
    bool all = key == "|all";
    if (!all && Chance(15)) {
      key += "|all";
      all = true;
    } else if (!all && !keywords && !compares && Chance(12)) {
      key += "|neq";
    }
    if (!all && Chance(50)) return {key, one()};
    std::vector<Node> values;
    const int size = Int(all ? 2 : 1, 4);
    for (int i = 0; i < size; ++i) values.push_back(one());
    return {key, List(std::move(values))};
  }

  std::string Condition(const std::vector<std::string>& names, int depth) {
    switch (depth > 3 ? 0 : Int(0, 9)) {
      case 0:
      case 1:
      case 2:
        return OneOf(names);
      case 3:
        return "not " + Condition(names, depth + 1);
      case 4:
        return "(" + Condition(names, depth + 1) + ")";
      case 5:
        if (std::any_of(names.begin(), names.end(),
                        [](const auto& name) { return name[0] != '_'; }))
          return std::string(Chance(50) ? "1" : "all") + " of them";
        return names[0];
      case 6:
      case 7:
        return Condition(names, depth + 1) + " and " + Condition(names, depth + 1);
      default:
        return Condition(names, depth + 1) + " OR " + Condition(names, depth + 1);
    }
  }

  std::mt19937_64 random_;
  std::vector<std::string> pool_;
  int last_ = 0;
};

std::string Shown(const Value& value) {
  if (value.is_absent()) return "absent";
  if (value.is_null_or_absent()) return "null";
  if (!value.is_array())
    return fmt::format("{} '{}'", static_cast<int>(value.type()), value.text());
  std::string text = "[";
  for (const Value& item : value.items()) text += Shown(item) + ", ";
  return text + "]";
}

struct Compiled {
  Node node;
  Node guard;
  std::shared_ptr<const sigma::Detection> detection;
  std::unique_ptr<Oracle> oracle;
  std::unique_ptr<Oracle> guard_oracle;
};

struct Tally {
  size_t pairs = 0;
  size_t met = 0;
};

void Round(uint64_t seed, Tally* tally) {
  Generator generate(seed);
  FieldTable fields;
  fields.Slot("id");
  std::vector<Compiled> rules;
  sigma::RuleMatcher::Builder builder;
  while (rules.size() < kRulesOfRound) {
    Compiled rule;
    rule.node = generate.Detection();
    Diagnostics diagnostics;
    rule.detection = sigma::CompileSelection(rule.node, fields, diagnostics);
    ASSERT_NE(rule.detection, nullptr) << Yaml(rule.node) << "\n" << diagnostics.Text();
    rule.oracle = std::make_unique<Oracle>(rule.node);
    std::shared_ptr<const sigma::Detection> guard;
    if (generate.Chance(70)) {
      rule.guard = generate.Guard();
      rule.guard_oracle = std::make_unique<Oracle>(rule.guard);
      guard = sigma::CompileSelection(rule.guard, fields, diagnostics);
    }
    builder.Rule(builder.Group(guard), rule.detection);
    rules.push_back(std::move(rule));
  }
  const auto matcher = builder.Build();
  const auto scratch = matcher->NewScratch();
  std::vector<uint32_t> fired;
  std::deque<std::string> keep;
  std::deque<std::vector<Value>> arrays;
  std::vector<Value> row(static_cast<size_t>(fields.size()));
  const auto fill = [&](size_t slot) {
    row[slot] = fields.names()[slot] == "id"
                    ? Value::Number(keep.emplace_back(fmt::format("{}", generate.Int(1, 3))))
                    : generate.FieldValue(&keep, &arrays);
  };
  for (size_t e = 0; e < kEventsOfRound; ++e) {
    // A new event, the same again, and then one that differs in a field: the matcher remembers.
    if (e % 3 == 0) {
      for (size_t slot = 0; slot < row.size(); ++slot) fill(slot);
    } else if (e % 3 == 2) {
      fill(static_cast<size_t>(generate.Int(0, fields.size() - 1)));
    }
    Event event;
    event.fields = row;
    const auto lookup = [&](const std::string& field) {
      const int slot = fields.Find(field);
      return slot < 0 ? Value() : row[static_cast<size_t>(slot)];
    };
    std::string shown;
    for (size_t i = 0; i < row.size(); ++i)
      shown += fmt::format("\n{} = {}", fields.names()[i], Shown(row[i]));
    ASSERT_TRUE(matcher->Match(event, *scratch, &fired));
    for (size_t r = 0; r < rules.size(); ++r) {
      const Compiled& rule = rules[r];
      const bool wanted = rule.oracle->Matches(lookup);
      ASSERT_EQ(rule.detection->Matches(event), wanted) << "rule " << r << " event " << e << "\n"
                                                        << Yaml(rule.node) << shown;
      const bool of_group = rule.guard_oracle == nullptr || rule.guard_oracle->Matches(lookup);
      const bool found = std::binary_search(fired.begin(), fired.end(), static_cast<uint32_t>(r));
      ASSERT_EQ(found, wanted && of_group) << "rule " << r << " event " << e << "\n"
                                           << Yaml(rule.node) << shown;
      ++tally->pairs;
      tally->met += wanted ? 1 : 0;
    }
  }
}

TEST(SigmaRandom, DetectionMatcherAndOracleAgree) {
  const char* given = std::getenv("BONGSU_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::cout << "BONGSU_SEED=" << seed << "\n";
  Tally tally;
  for (uint64_t round = 0; round < kRounds && !::testing::Test::HasFailure(); ++round) {
    SCOPED_TRACE(fmt::format("BONGSU_SEED={}", seed + round));
    Round(seed + round, &tally);
  }
  std::cout << tally.pairs << " pairs of rule and event, " << tally.met << " met\n";
  EXPECT_GT(tally.met, tally.pairs / 20);  // else the generator tests nothing
}

}  // namespace
}  // namespace bongsu
