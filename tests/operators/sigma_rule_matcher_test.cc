// The matcher of all rules of a source: its parts, its bounds, and hostile sets of rules. That it
// says what the rules say one by one is shown by sigma_random_test.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "operators/sigma/affix_trie.h"
#include "operators/sigma/literal_scan.h"
#include "operators/sigma/rule_matcher.h"

namespace bongsu::sigma {
namespace {

std::vector<uint32_t> Found(const LiteralScan& scan, std::string_view text) {
  LiteralScratch scratch;
  scratch.Fit(scan);
  std::vector<uint32_t> hits;
  scan.Find(text, scratch, &hits);
  std::sort(hits.begin(), hits.end());
  return hits;
}

TEST(LiteralScan, FindsEachLiteralOnce) {
  const std::vector<std::string> literals = {"aa", "ab", "b", std::string("x\0y", 3), "\u00e4"};
  const LiteralScan many(literals);
  EXPECT_EQ(Found(many, "aaaab aaab"), (std::vector<uint32_t>{0, 1, 2}));
  EXPECT_EQ(Found(many, std::string("x\0y", 3)), (std::vector<uint32_t>{3}));
  EXPECT_EQ(Found(many, "\u00e4"), (std::vector<uint32_t>{4}));
  EXPECT_EQ(Found(many, "AB"), (std::vector<uint32_t>{}));  // folding is the caller's
  const LiteralScan caseless({"aa", "bb"}, {"c", "dd"});
  EXPECT_EQ(Found(caseless, "AA bb C dD"), (std::vector<uint32_t>{1, 2, 3}));
  const LiteralScan few_caseless({"A"}, {"b"});
  EXPECT_EQ(Found(few_caseless, "aB"), (std::vector<uint32_t>{1}));
  const LiteralScan few({"aa", "b"});
  EXPECT_EQ(Found(few, "aab"), (std::vector<uint32_t>{0, 1}));
}

TEST(AffixTrie, FindsBeginningsAndEnds) {
  AffixTrie ends(true);
  AffixTrie starts(false);
  for (int i = 0; i < 1000; ++i) {
    ends.Add(fmt::format("\\tool{}.exe", i), static_cast<uint32_t>(i));
    starts.Add(fmt::format("c:\\dir{}\\", i), static_cast<uint32_t>(i));
  }
  ends.Add(".exe", 1000);
  const auto found = [](const AffixTrie& trie, std::string_view text) {
    std::vector<uint32_t> ids;
    trie.Find(text, [&](uint32_t id) { ids.push_back(id); });
    return ids;
  };
  EXPECT_EQ(found(ends, "c:\\tool77.exe"), (std::vector<uint32_t>{1000, 77}));
  EXPECT_EQ(found(ends, "exe"), (std::vector<uint32_t>{}));
  EXPECT_EQ(found(starts, "c:\\dir9\\x"), (std::vector<uint32_t>{9}));
  EXPECT_EQ(found(starts, "c:\\dir99"), (std::vector<uint32_t>{}));
}

class Rules {
 public:
  std::shared_ptr<const Detection> Compile(const std::string& yaml) {
    Diagnostics diagnostics;
    const auto documents = ParseYaml(yaml, "d.yaml", YamlLimits{}, diagnostics);
    auto detection = CompileSelection(documents.at(0), fields_, diagnostics);
    EXPECT_NE(detection, nullptr) << diagnostics.Text();
    return detection;
  }
  void Add(const std::string& yaml, const std::string& guard = "") {
    const uint32_t group = builder_.Group(guard.empty() ? nullptr : Compile(guard));
    builder_.Rule(group, Compile(yaml));
  }
  std::vector<uint32_t> Match(const std::vector<std::pair<std::string, Value>>& values) {
    if (matcher_ == nullptr) {
      matcher_ = builder_.Build();
      scratch_ = matcher_->NewScratch();
    }
    std::vector<Value> row(static_cast<size_t>(fields_.size()));
    for (const auto& [name, value] : values) {
      if (const int slot = fields_.Find(name); slot >= 0) row[static_cast<size_t>(slot)] = value;
    }
    Event event;
    event.fields = row;
    std::vector<uint32_t> fired;
    EXPECT_TRUE(matcher_->Match(event, *scratch_, &fired));
    return fired;
  }
  // As many rules as the memo asks for; none is met.
  void AddIdle() {
    for (size_t i = 0; i < kMemoRules; ++i) Add("{s: {f: nothing has this value}, condition: s}");
  }
  // Of the last event.
  std::vector<uint32_t> Asked() const {
    std::vector<uint32_t> rules;
    matcher_->Asked(*scratch_, &rules);
    return rules;
  }
  const RuleMatcher::Size& size() const { return matcher_->size(); }

 private:
  FieldTable fields_;
  RuleMatcher::Builder builder_;
  std::unique_ptr<const RuleMatcher> matcher_;
  std::unique_ptr<RuleMatcher::Scratch> scratch_;
};

Value S(std::string_view text) { return Value::String(text); }
Value N(std::string_view text) { return Value::Number(text); }
using Fired = std::vector<uint32_t>;

TEST(RuleMatcher, RulesOfAGroupAreAskedOnlyOfItsEvents) {
  Rules rules;
  rules.Add("{s: {f|contains: evil}, condition: s}", "{g: {id: 1}, condition: g}");
  rules.Add("{s: {f|contains: evil}, condition: s}", "{g: {id: 2}, condition: g}");
  rules.Add("{s: {f|contains: evil}, condition: not s}", "{g: {id: 1}, condition: g}");
  rules.Add("{s: {f|contains: evil}, condition: s}");
  EXPECT_EQ(rules.Match({{"id", N("1")}, {"f", S("EVIL")}}), (Fired{0, 3}));
  EXPECT_EQ(rules.Asked(), (Fired{0, 2, 3}));
  EXPECT_EQ(rules.Match({{"id", S("2")}, {"f", S("evil")}}), (Fired{1, 3}));
  EXPECT_EQ(rules.Asked(), (Fired{1, 3}));
  EXPECT_EQ(rules.Match({{"id", N("1.0")}, {"f", S("good")}}), (Fired{2}));
  EXPECT_EQ(rules.Match({}), (Fired{}));
  EXPECT_EQ(rules.size().groups, 3);
  // The same combination again, from the cache, and one that cannot be kept.
  EXPECT_EQ(rules.Match({{"id", N("1")}, {"f", S("EVIL")}}), (Fired{0, 3}));
  const std::vector<Value> both = {N("1"), N("2")};
  EXPECT_EQ(rules.Match({{"id", Value::Array(both)}, {"f", S("evil")}}), (Fired{0, 1, 3}));
  EXPECT_EQ(rules.Match({{"id", S(std::string(5000, '1'))}, {"f", S("evil")}}), (Fired{3}));
}

TEST(RuleMatcher, WhatTheGuardAsksIsNotLookedForAgain) {
  Rules rules;
  const std::string guard = "{g: {id: 1}, h: {id: 2}, condition: g and not h}";
  rules.Add(
      "{s: {f|contains: [abc, bcd, cde]}, g: {id: 1}, h: {id: 2}, condition: s and g and not h}",
      guard);
  rules.Add("{s: {f: null}, g: {id: 1}, h: {id: 2}, condition: s and g and not h}", guard);
  EXPECT_EQ(rules.Match({{"id", N("1")}, {"f", S("xabc")}}), (Fired{0}));
  EXPECT_EQ(rules.Match({{"id", N("1")}, {"f", S("x")}}), (Fired{}));
  EXPECT_EQ(rules.Match({{"id", N("2")}, {"f", S("abc")}}), (Fired{}));
  EXPECT_EQ(rules.Match({{"id", N("1")}}), (Fired{1}));
  const std::vector<Value> both = {N("1"), N("2")};
  EXPECT_EQ(rules.Match({{"id", Value::Array(both)}, {"f", S("abc")}}), (Fired{}));
  // The three texts, though one id is less than three; the id for the rule that has nothing else.
  EXPECT_EQ(rules.size().scanned, 4);
}

TEST(RuleMatcher, MembersOfAnArrayAreEachLookedAt) {
  Rules rules;
  rules.Add("{s: {f|contains|all: [ab, cd]}, condition: s}");
  rules.Add("{s: {f: ab}, condition: s}");
  rules.Add("{s: {f|re: 'a.c'}, condition: s}");
  const std::vector<Value> inner = {S("AXC")};
  const std::vector<Value> items = {S("xab"), S("xab"), S("CDx"), Value::Null(),
                                    Value::Array(inner)};
  EXPECT_EQ(rules.Match({{"f", Value::Array(items)}}), (Fired{0}));
  const std::vector<Value> other = {S("AB"), S("abc"), Value::Array(inner), S("axc")};
  EXPECT_EQ(rules.Match({{"f", Value::Array(other)}}), (Fired{1, 2}));
}

TEST(RuleMatcher, LeavesAreSharedAndCommonOnesAreNotLookedFor) {
  Rules rules;
  for (int i = 0; i < 100; ++i)
    rules.Add(fmt::format(
        "{{s: {{Image|endswith: '\\powershell.exe', CommandLine|contains: 'technique{}'}}, "
        "condition: s}}",
        i));
  EXPECT_EQ(rules.Match({{"Image", S("C:\\POWERSHELL.EXE")}, {"CommandLine", S("technique42")}}),
            (Fired{4, 42}));
  EXPECT_EQ(rules.size().leaves, 101);
  EXPECT_EQ(rules.size().scanned, 100);  // not the image that all have in common
}

// Tests of one normal form are one: a value that reads like a modifier must not make two of them
// so.
TEST(RuleMatcher, ValuesThatReadLikeModifiersAreValues) {
  Rules rules;
  rules.Add("{s: {f|re: 'foo i'}, condition: s}");
  rules.Add("{s: {f|re|i: 'foo'}, condition: s}");
  rules.Add("{s: {f: 'cased Foo'}, condition: s}");
  rules.Add("{s: {f|cased: 'foo'}, condition: s}");
  rules.Add("{s: {f|fieldref: 'cased g'}, condition: s}");
  rules.Add("{s: {f|fieldref|cased: 'g'}, condition: s}");
  rules.Add("{s: {f|fieldref|startswith: 'g'}, condition: s}");
  EXPECT_EQ(rules.Match({{"f", S("foo")}, {"g", S("foo")}}), (std::vector<uint32_t>{1, 3, 5, 6}));
  EXPECT_EQ(rules.Match({{"f", S("FOO bar")}, {"g", S("foo")}}), (std::vector<uint32_t>{1, 6}));
  EXPECT_EQ(rules.Match({{"f", S("cased foo")}, {"cased g", S("CASED foo")}}),
            (std::vector<uint32_t>{1, 2, 4}));
  EXPECT_EQ(rules.Match({{"f", S("foo i")}}), (std::vector<uint32_t>{0, 1}));
}

TEST(RuleMatcher, TenThousandRulesOnOneEvent) {
  Rules rules;
  for (int i = 0; i < 10'000; ++i)
    rules.Add(fmt::format("{{s: {{f|contains: 'word{:05}'}}, t: {{g: null}}, condition: s and t}}",
                          i % 5000));
  std::string text;
  for (int i = 0; i < 5000; ++i) text += fmt::format("word{:05} ", i);
  EXPECT_EQ(rules.Match({{"f", S(text)}}).size(), 10'000);
  EXPECT_EQ(rules.Match({{"f", S(text)}, {"g", S("")}}).size(), 0);
  EXPECT_EQ(rules.Match({{"f", S("word00007")}}), (Fired{7, 5007}));
  EXPECT_EQ(rules.size().leaves, 5001);
}

TEST(RuleMatcher, RulesThatNothingNeedsToBeSeenForAreAlwaysAsked) {
  Rules rules;
  rules.Add("{s: {f: x}, condition: not s}");
  rules.Add("{s: {f: null}, condition: s}");
  rules.Add("{s: {f|exists: true}, condition: s}");
  rules.Add("{s: {f|gt: 5}, condition: s}");
  EXPECT_EQ(rules.Match({}), (Fired{0, 1}));
  EXPECT_EQ(rules.Match({{"f", S("x")}}), (Fired{2}));
  EXPECT_EQ(rules.Match({{"f", N("6")}}), (Fired{0, 2, 3}));
  EXPECT_EQ(rules.size().always, 3);  // the last one needs a value
}

// Whether an event is told from one before by anything but a rule's meaning would be a mistake of
// the memo: each pair differs in what some rule sees.
TEST(RuleMatcher, EventsThatDifferAreNotTakenForOneAnother) {
  Rules rules;
  rules.Add("{s: {f: ''}, condition: s}");
  rules.Add("{s: {f: null}, condition: s}");
  rules.Add("{s: {f|exists: true}, condition: s}");
  rules.Add("{s: {f|contains|all: [ab, cd]}, condition: s}");
  rules.Add("{s: {f|fieldref: g}, condition: s}");
  rules.Add("{s: {f|cidr: 10.0.0.0/8}, condition: s}");
  rules.AddIdle();
  const std::vector<Value> two = {S("abc"), S("d")};
  const std::vector<Value> one = {S("abcd")};
  const std::vector<Value> none;
  const std::string much(kMemoKeyBytesMax, 'x');
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(rules.Match({}), (Fired{1}));
    EXPECT_EQ(rules.Match({{"f", Value::Null()}}), (Fired{1, 2}));
    EXPECT_EQ(rules.Match({{"f", S("")}}), (Fired{0, 2}));
    EXPECT_EQ(rules.Match({{"f", Value::Array(none)}}), (Fired{2}));
    EXPECT_EQ(rules.Match({{"f", Value::Array(two)}}), (Fired{2}));
    EXPECT_EQ(rules.Match({{"f", Value::Array(one)}}), (Fired{2, 3}));
    EXPECT_EQ(rules.Match({{"f", S("x")}, {"g", S("x")}}), (Fired{2, 4}));
    EXPECT_EQ(rules.Match({{"f", S("x")}, {"g", S("y")}}), (Fired{2}));
    EXPECT_EQ(rules.Match({{"f", S("10.1.2.3")}}), (Fired{2, 5}));
    EXPECT_EQ(rules.Match({{"f", S(much + "abcd")}}), (Fired{2, 3}));
    EXPECT_EQ(rules.Match({{"f", S(much + "ab")}}), (Fired{2}));
  }
}

TEST(MatchMemo, AnswersForTheSameValuesOnly) {
  MatchMemo memo(kMemoEvents);
  const auto find = [&](const std::vector<Value>& values) {
    memo.Begin();
    for (const Value& value : values) memo.Add(value);
    return memo.Find();
  };
  EXPECT_EQ(find({S("a"), S("bc")}), nullptr);
  memo.Keep({1, 2});
  ASSERT_NE(find({S("a"), S("bc")}), nullptr);
  EXPECT_EQ(*find({S("a"), S("bc")}), (Fired{1, 2}));
  EXPECT_EQ(find({S("ab"), S("c")}), nullptr);
  EXPECT_EQ(find({S("a")}), nullptr);
  EXPECT_EQ(find({S("1"), S("bc")}), nullptr);
  // A text that looks like the end of one and the beginning of another, with or without a length.
  const std::string between = std::string("\x04") + std::string(4, '\0');
  find({S("a" + between + "b"), S("c")});
  memo.Keep({3});
  EXPECT_EQ(find({S("a"), S("b" + between + "c")}), nullptr);
  EXPECT_EQ(find({N("1")}), nullptr);
  memo.Keep({});
  ASSERT_NE(find({N("1")}), nullptr);
  EXPECT_EQ(find({S("1")}), nullptr);
  EXPECT_EQ(find({S(std::string(kMemoKeyBytesMax, 'x'))}), nullptr);
  memo.Keep({7});
  EXPECT_EQ(find({S(std::string(kMemoKeyBytesMax, 'x'))}), nullptr);
  // Places are few: more events than there are push one another out, and none is answered wrongly.
  for (uint32_t i = 0; i < 3 * kMemoEvents; ++i) {
    const std::string text = std::to_string(i);
    EXPECT_EQ(find({S(text)}), nullptr);
    memo.Keep({i});
    ASSERT_NE(find({S(text)}), nullptr);
    EXPECT_EQ(*find({S(text)}), Fired{i});
  }
}

// Of a JSON text and of the value that it may stand for.
TEST(MatchMemo, WhatIsWrittenIsNotWhatIsRead) {
  MatchMemo memo(4);
  memo.Begin();
  memo.AddWritten("1");
  EXPECT_EQ(memo.Find(), nullptr);
  memo.Keep({1});
  memo.Begin();
  memo.AddWritten("1");
  ASSERT_NE(memo.Find(), nullptr);
  memo.Begin();
  memo.Add(N("1"));
  EXPECT_EQ(memo.Find(), nullptr);
}

// The events differ, and their fields repeat the same few values, which mean different things in
// each of them.
TEST(RuleMatcher, AValueThatWasSearchedBeforeIsFoundAgain) {
  Rules rules;
  rules.Add("{s: {f|endswith: '.exe'}, condition: s}");
  rules.Add("{s: {g|endswith: ['.exe', '.dll']}, condition: s}");
  rules.Add("{s: {f|contains: ['a.', 'b.', 'c.']}, t: {h: 7}, condition: s and t}");
  rules.Add("{s: {g|contains|all: ['x', '.e']}, condition: s}");
  rules.Add("{s: {h|contains: '7'}, t: {f|fieldref: g}, condition: s and t}");
  rules.Add("{s: {h|startswith: '1', h|gt: 50}, condition: s}");
  rules.AddIdle();
  const std::vector<std::string> values = {"a.exe", "B.dll", "c.", "x.exe", "", "xy.dll.e"};
  const auto ends = [](const std::string& text, const char* end) { return text.ends_with(end); };
  for (size_t i = 0; i < 5'000; ++i) {
    const std::string& f = values[i % values.size()];
    const std::string& g = values[i / 7 % values.size()];
    const std::string h = std::to_string(i % 400);
    const bool number = i % 2 == 0;
    Fired expected;
    if (ends(f, ".exe")) expected.push_back(0);
    if (ends(g, ".exe") || ends(g, ".dll")) expected.push_back(1);
    if (h == "7" && number && (f == "a.exe" || f == "B.dll" || f == "c.")) expected.push_back(2);
    if (g == "a.exe" || g == "x.exe" || g == "xy.dll.e") expected.push_back(3);
    if (h.find('7') != std::string::npos && f == g) expected.push_back(4);
    if (h.starts_with('1') && i % 400 > 50 && number) expected.push_back(5);
    // As a text it is no number that could be greater.
    ASSERT_EQ(rules.Match({{"f", S(f)}, {"g", S(g)}, {"h", number ? N(h) : S(h + "s")}}), expected)
        << i;
  }
}

// Where hardly an event repeats another, it is not looked for; and then it is again.
TEST(RuleMatcher, ManyDifferentEventsAndThenTheSame) {
  Rules rules;
  rules.Add("{s: {f|endswith: '7'}, condition: s}", "{g: {id: 1}, condition: g}");
  rules.AddIdle();
  for (int i = 0; i < 20'000; ++i) {
    const std::string text = std::to_string(i < 10'000 ? i : i % 3 + 6);
    ASSERT_EQ(rules.Match({{"id", N("1")}, {"f", S(text)}}),
              text.back() == '7' ? Fired{0} : Fired{})
        << i;
  }
}

}  // namespace
}  // namespace bongsu::sigma
