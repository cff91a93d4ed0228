// Sets of rules: what is loaded, what is left out and why, references, collections, placeholders,
// filters, and the log sources that rules are bound to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "operators/sigma/log_source.h"
#include "operators/sigma/rule_binding.h"
#include "operators/sigma/rule_set.h"

namespace bongsu::sigma {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Loaded {
  RuleSet set;
  Diagnostics diagnostics;
  const RuleEntry& operator[](const char* name) const {
    const int index = set.Find(name);
    EXPECT_GE(index, 0) << name << " was not loaded\n" << diagnostics.Text();
    return set.entries.at(static_cast<size_t>(std::max(index, 0)));
  }
  std::string why(const char* label) const {
    for (const SkippedRule& skipped : set.skipped) {
      if (skipped.label == label) return skipped.why;
    }
    return "was not left out";
  }
};

Loaded Load(const std::string& yaml, const RuleSetOptions& options = {}) {
  Loaded loaded;
  loaded.set = ParseRuleSet(yaml, "r.yml", options, loaded.diagnostics);
  return loaded;
}

// A detection of one item.
std::string Detection(const std::string& name, const std::string& item,
                      const std::string& logsource = "{product: windows}") {
  return "title: " + name + "\nname: " + name + "\nlogsource: " + logsource +
         "\ndetection: {sel: {" + item + "}, condition: sel}\n---\n";
}
std::string Correlation(const std::string& name, const std::string& rules,
                        const std::string& more = "") {
  return "title: " + name + "\nname: " + name +
         "\ncorrelation: {type: event_count, rules: " + rules +
         ", timespan: 1m, condition: {gte: 2}" + more + "}\n---\n";
}

TEST(SigmaRuleSet, ABrokenRuleDoesNotStopTheOthers) {
  const std::string yaml = Detection("good", "a: 1") + Detection("broken", "a|contians: 1") +
                           Detection("also_good", "b: 1") + "title: nothing\nlevel: low\n";
  const Loaded loaded = Load(yaml);
  EXPECT_EQ(loaded.set.entries.size(), 2u);
  EXPECT_EQ(loaded.set.skipped.size(), 2u);
  EXPECT_FALSE(loaded.diagnostics.has_errors());
  EXPECT_THAT(loaded.why("broken"), HasSubstr("contians"));
  EXPECT_THAT(loaded.diagnostics.Text(), HasSubstr("r.yml:9:"));
  EXPECT_THAT(loaded.diagnostics.Text(), HasSubstr("the rule is left out"));
  EXPECT_THAT(loaded.set.Summary(),
              HasSubstr("2 detections, 0 correlations, 0 filters; 2 left out"));
  const Loaded strict = Load(yaml, {.strict = true});
  EXPECT_EQ(strict.diagnostics.errors(), 2);
}

TEST(SigmaRuleSet, FoldersAreReadAndAnEmptyOneIsRefused) {
  const fs::path folder = fs::temp_directory_path() / ("bongsu-rules-" + std::to_string(getpid()));
  fs::remove_all(folder);
  fs::create_directories(folder / "sub");
  fs::create_directories(folder / ".git");
  fs::create_directories(folder / "empty");
  std::ofstream(folder / "b.yml") << Detection("b", "x: 1");
  std::ofstream(folder / "sub" / "a.yaml") << Detection("a", "x: 1");
  std::ofstream(folder / ".git" / "c.yml") << Detection("c", "x: 1");
  std::ofstream(folder / "readme.md") << "no rule";
  std::ofstream(folder / "wrong.yml") << "title: [\n";
  Diagnostics diagnostics;
  // The same file by two paths counts once.
  const RuleSet set = LoadRuleSet({folder.string(), (folder / "b.yml").string()}, {}, diagnostics);
  EXPECT_EQ(set.entries.size(), 2u) << diagnostics.Text();
  EXPECT_EQ(set.files, 3u);
  EXPECT_EQ(set.skipped.size(), 1u);
  EXPECT_FALSE(diagnostics.has_errors());
  Diagnostics empty;
  LoadRuleSet({(folder / "empty").string()}, {}, empty);
  EXPECT_THAT(empty.Text(), HasSubstr("the folder holds no rules"));
  Diagnostics missing;
  LoadRuleSet({(folder / "nowhere").string()}, {}, missing);
  EXPECT_THAT(missing.Text(), HasSubstr("there is no such rule file or folder"));
  Diagnostics broken;
  LoadRuleSet({(folder / "wrong.yml").string()}, {}, broken);
  EXPECT_THAT(broken.Text(), HasSubstr("no rule could be loaded"));
  fs::remove_all(folder);
}

TEST(SigmaRuleSet, IdsAndNamesAreTakenOnce) {
  const std::string with_id =
      "id: 1\ntitle: one\nlogsource: {product: p}\ndetection: {s: {a: 1}, "
      "condition: s}\n---\n";
  const Loaded loaded = Load(with_id + with_id + Detection("n", "a: 1") + Detection("n", "a: 2"));
  EXPECT_EQ(loaded.set.entries.size(), 2u);
  EXPECT_EQ(loaded.why("1"), "the id '1' is taken (by r.yml:1)");
  EXPECT_EQ(loaded.why("n"), "the name 'n' is taken (by r.yml:11)");
  EXPECT_THAT(loaded.diagnostics.Text(), HasSubstr("by r.yml:1"));
}

// A rule without either is known by its title.
TEST(SigmaRuleSet, TitlesAreTakenOnceWhereTheyAreAllThatThereIs) {
  const std::string untold =
      "title: one\nlogsource: {product: p}\ndetection: {s: {a: 1}, condition: s}\n---\n";
  const Loaded loaded = Load(untold + untold + "id: 1\n" + untold + "name: n\n" + untold);
  EXPECT_EQ(loaded.set.entries.size(), 3u);
  // Nor may it be what another one is called by.
  for (const std::string& yaml :
       {untold + Detection("one", "a: 1"), Detection("one", "a: 1") + untold}) {
    const Loaded both = Load(yaml);
    EXPECT_EQ(both.set.entries.size(), 1u);
    EXPECT_EQ(both["one"].rule.metadata.name, "one");
  }
  EXPECT_THAT(loaded.why("one"), HasSubstr("it has no id and no name, and the title 'one' is "
                                           "taken, too (by r.yml:1; give it an id)"));
}

// A reference finds ids first: nobody could mean the second rule by its name.
TEST(SigmaRuleSet, ANameIsNotAnotherRulesId) {
  const std::string id = "11111111-2222-4333-8444-555555555555";
  const std::string first = "title: a\nid: " + id +
                            "\nlogsource: {product: windows}\n"
                            "detection: {sel: {a: 1}, condition: sel}\n---\n";
  for (const std::string& yaml : {first + Detection(id, "b: 1"), Detection(id, "b: 1") + first}) {
    const Loaded loaded = Load(yaml);
    EXPECT_EQ(loaded.set.entries.size(), 1u);
    EXPECT_THAT(loaded.diagnostics.Text(), HasSubstr("is another rule's id"));
  }
}

TEST(SigmaRuleSet, AMistakeOfYamlStopsItsDocumentAlone) {
  const Loaded twice = Load(Detection("one", "a: 1") + "title: two\nname: two\nname: too\n" +
                            "logsource: {product: windows}\n"
                            "detection: {sel: {a: 1}, condition: sel}\n---\n" +
                            Detection("three", "a: 1"));
  EXPECT_EQ(twice.set.entries.size(), 2u);
  EXPECT_EQ(twice["three"].rule.metadata.title, "three");
  EXPECT_THAT(twice.why("two"), HasSubstr("key 'name' stands twice"));
  EXPECT_THAT(twice.diagnostics.Text(), HasSubstr("r.yml:8:1: warning: key 'name' stands twice"));
  // Whatever stands behind it.
  for (const char* behind : {"---\n", "---\n---\n# nothing\n---\n"}) {
    const Loaded last = Load(Detection("one", "a: 1") +
                             "title: two\nname: two\nlogsource: {product: windows}\n"
                             "detection: {sel: {a: 1, a: 2}, condition: sel}\n" +
                             behind);
    EXPECT_EQ(last.set.entries.size(), 1u);
    EXPECT_THAT(last.why("two"), HasSubstr("key 'a' stands twice"));
  }
  // Behind this one nothing can be read.
  const Loaded broken =
      Load(Detection("one", "a: 1") + "title: [\n---\n" + Detection("two", "a: 1"));
  EXPECT_TRUE(broken.set.entries.empty());
  EXPECT_THAT(broken.diagnostics.Text(), HasSubstr("the file is left out, with all its rules"));
}

TEST(SigmaRuleSet, MistakesHaveTheirLineAndAHint) {
  const std::pair<const char*, const char*> cases[] = {
      {"a|hour: 25", "r.yml:4:27: warning: no hour is 25; the rule is left out (0 to 23)"},
      {"a|month|gte: 13", "no month is 13; the rule is left out (1 to 12)"},
      {"a|: 1", "'a|': a modifier is missing behind '|'; the rule is left out (for example "},
      {"a|contains||all: [b, c]", "a modifier is missing behind '|'"},
      {"a|zzzzzz: 1", "(one of: expand, contains, "},
      {"a|exists: maybe", "(Field|exists: true)"},
  };
  for (const auto& [item, message] : cases) {
    const Loaded loaded = Load(Detection("one", item));
    EXPECT_THAT(loaded.diagnostics.Text(), HasSubstr(message));
    ASSERT_EQ(loaded.set.skipped.size(), 1u);
    EXPECT_EQ(loaded.set.skipped[0].where.line, 4) << item;
  }
  EXPECT_THAT(Load(Detection("many", "a: '" + std::string(257, '?') + "'")).diagnostics.Text(),
              HasSubstr("257 wildcards in one value; the rule is left out (at most 256)"));
  EXPECT_THAT(Load("title: all\nlogsource: {product: p}\ndetection: {kw: ['*'], condition: kw}\n")
                  .diagnostics.Text(),
              HasSubstr("the keyword '*' is in every event"));
  EXPECT_THAT(Load("# nothing\n").diagnostics.Text(), HasSubstr("the file holds no rule"));
}

TEST(SigmaRuleSet, StatusesAreLeftOutWhenAsked) {
  const std::string yaml =
      "{title: old, name: old, status: deprecated, logsource: {product: p}, detection: {s: {a: 1}, "
      "condition: s}}\n---\n" +
      Detection("kept", "a: 1");
  const Loaded loaded = Load(yaml, {.skip_status = {"deprecated"}});
  EXPECT_EQ(loaded.set.entries.size(), 1u);
  EXPECT_EQ(loaded.why("old"), "its status is deprecated");
  EXPECT_EQ(Load(yaml).set.entries.size(), 2u);
}

TEST(SigmaRuleSet, OldPipeSyntaxIsRefusedWithAHint) {
  const Loaded loaded = Load(
      "{title: t, name: t, logsource: {product: p}, detection: {sel: {a: 1}, "
      "condition: 'sel | count() by b > 5'}}\n---\n" +
      Detection("kept", "a: 1"));
  EXPECT_EQ(loaded.set.skipped.size(), 1u);
  EXPECT_THAT(loaded.diagnostics.Text(), HasSubstr("correlation"));
}

TEST(SigmaRuleSet, CollectionsOfActions) {
  const Loaded loaded = Load(R"(
action: global
title: both
logsource: {product: windows}
level: high
detection: {condition: sel}
---
name: one
level: low
detection: {sel: {a: 1}}
---
action: repeat
name: two
detection: {sel: {b: 2}}
---
action: reset
---
title: alone
name: three
logsource: {product: linux}
detection: {sel: {c: 1}, condition: sel}
)");
  EXPECT_EQ(loaded.set.entries.size(), 3u) << loaded.diagnostics.Text();
  EXPECT_EQ(loaded["one"].rule.metadata.title, "both");
  EXPECT_EQ(loaded["one"].rule.metadata.level, "high");  // the global document wins
  EXPECT_EQ(loaded["two"].rule.metadata.title, "both");
  EXPECT_THAT(loaded["two"].matched_fields, ElementsAre("a", "b"));
  EXPECT_EQ(loaded["three"].rule.metadata.level, "");
  EXPECT_THAT(Load("action: repeat\ntitle: x").diagnostics.Text(),
              HasSubstr("without a document before it"));
  EXPECT_THAT(Load("action: globl\ntitle: x").diagnostics.Text(), HasSubstr("unknown action"));
}

TEST(SigmaRuleSet, PlaceholdersComeFromTheConfigurationOrRefuseTheRule) {
  const std::string yaml = Detection("admins", "User|contains|expand: 'x-%Administrators%'") +
                           Detection("plain", R"(User|expand: '100\%%Administrators%')") +
                           Detection("literal", "User: '%Administrators%'");
  const Loaded without = Load(yaml);
  EXPECT_EQ(without.set.entries.size(), 1u);
  EXPECT_THAT(without.why("admins"), HasSubstr("'%Administrators%' has no values"));
  const Loaded with = Load(yaml, {.placeholders = {{"Administrators", {"adm_*", "root"}}}});
  ASSERT_EQ(with.set.entries.size(), 3u) << with.diagnostics.Text();
  const auto chooses = [&](const char* name, std::string_view user) {
    FieldTable fields;
    Diagnostics diagnostics;
    const auto selection = CompileSelection(with[name].detection, fields, diagnostics);
    const Value value = Value::String(user);
    Event event;
    event.fields = {&value, 1};
    return selection->Matches(event);
  };
  EXPECT_TRUE(chooses("admins", "A x-adm_joe B"));
  EXPECT_TRUE(chooses("admins", "x-root"));
  EXPECT_FALSE(chooses("admins", "x-%Administrators%"));
  EXPECT_FALSE(chooses("admins", ""));
  EXPECT_TRUE(chooses("plain", "100%root"));
  EXPECT_TRUE(chooses("literal", "%Administrators%"));
  EXPECT_FALSE(chooses("literal", "root"));
  EXPECT_THAT(Load(yaml, {.placeholders = {{"Administratorz", {"x"}}}}).diagnostics.Text(),
              HasSubstr("did you mean 'Administratorz'?"));
}

TEST(SigmaRuleSet, ReferencesByIdOrNameOverAllDocuments) {
  const Loaded loaded =
      Load(Correlation("outer", "[inner, b]", ", generate: true") + Correlation("inner", "[a]") +
           Detection("a", "x: 1") + Detection("b", "x: 2") + Detection("c", "x: 3"));
  ASSERT_EQ(loaded.set.entries.size(), 5u) << loaded.diagnostics.Text();
  ASSERT_EQ(loaded["outer"].references.size(), 2u);
  EXPECT_EQ(&loaded.set.entries[loaded["outer"].references[0]], &loaded["inner"]);
  EXPECT_EQ(loaded["inner"].level, 0);
  EXPECT_EQ(loaded["outer"].level, 1);
  EXPECT_TRUE(loaded["a"].mute);       // base only
  EXPECT_FALSE(loaded["b"].mute);      // generate
  EXPECT_FALSE(loaded["inner"].mute);  // generate
  EXPECT_FALSE(loaded["c"].mute);
  EXPECT_FALSE(loaded["outer"].mute);
}

TEST(SigmaRuleSet, ABaseRuleStaysMuteWhereItsCorrelationIsLeftOut) {
  const std::string rules =
      Detection("a", "x: 1") + Detection("b", "x: 2") + Detection("c", "x: 3");
  const Loaded slip = Load(rules + Correlation("d", "[a, b]", ", group_by: [x]"));
  EXPECT_EQ(slip.set.entries.size(), 3u);
  EXPECT_TRUE(slip["a"].mute);
  EXPECT_TRUE(slip["b"].mute);
  EXPECT_FALSE(slip["c"].mute);
  const Loaded dangling = Load(rules + Correlation("d", "[a, nobody]"));
  EXPECT_TRUE(dangling["a"].mute);
  const Loaded old = Load(rules +
                              "title: d\nstatus: deprecated\ncorrelation: {type: event_count, "
                              "rules: a, timespan: 1m, condition: {gte: 2}}\n",
                          {.skip_status = {"deprecated"}});
  EXPECT_TRUE(old["a"].mute);
  const Loaded generated = Load(rules + Correlation("d", "[a, nobody]", ", generate: true"));
  EXPECT_FALSE(generated["a"].mute);
  // Whose rules are named by the condition alone.
  for (const char* status : {"", "status: deprecated\n"}) {
    const Loaded named = Load(rules + "title: d\n" + status +
                                  "correlation: {type: temporal, timespan: 1m, condition: (a or "
                                  "not b) and a" +
                                  (*status == '\0' ? ", nonsense: 1}\n" : "}\n"),
                              {.skip_status = {"deprecated"}});
    EXPECT_EQ(named.set.entries.size(), 3u) << named.diagnostics.Text();
    EXPECT_TRUE(named["a"].mute);
    EXPECT_TRUE(named["b"].mute);
    EXPECT_FALSE(named["c"].mute);
  }
}

// Silence, which only windows without gaps and without a key show.
TEST(SigmaRuleSet, AConditionThatOnlyWindowsWithoutEventsMeetIsRefusedWhereThereAreNone) {
  const auto why = [](const std::string& correlation) {
    return Load(Detection("a", "x: 1") +
                "title: c\nname: c\ncorrelation: {rules: [a], timespan: 1m, " + correlation + "}\n")
        .why("c");
  };
  const std::string count = "type: event_count, condition: ";
  const std::string values = "type: value_count, condition: ";
  for (const std::string& one :
       {count + "{lt: 1}, group-by: [u]", count + "{eq: 0}, group-by: [u]",
        count + "{lte: 0.5}, group-by: [u]", count + "{neq: 1, lt: 2}, group-by: [u]",
        count + "{lt: 1}, bongsu: {window: tumbling}", count + "{lt: 1}, bongsu: {window: session}",
        values + "{field: v, lt: 1}, group-by: [u]",
        values + "{field: v, lt: 1}, bongsu: {window: tumbling}"})
    EXPECT_THAT(why(one), HasSubstr("no window with an event can meet this condition")) << one;
  for (const std::string& one :
       {count + "{lt: 1}", count + "{eq: 0}", values + "{field: v, lt: 1}",
        count + "{lt: 2}, group-by: [u]", count + "{gte: 0}, group-by: [u]",
        count + "{neq: 1}, group-by: [u]",
        std::string("type: value_sum, condition: {field: v, lt: 1}, group-by: [u]")})
    EXPECT_EQ(why(one), "was not left out") << one;
}

TEST(SigmaRuleSet, DanglingReferencesAreErrorsAndSpread) {
  const Loaded loaded =
      Load(Detection("failed_login", "x: 1") + Correlation("a", "[failed_logn]") +
           Correlation("b", "[a]") + Detection("broken", "x|y: 1") + Correlation("c", "[broken]"));
  EXPECT_EQ(loaded.set.entries.size(), 1u);
  EXPECT_THAT(loaded.why("a"), HasSubstr("there is no rule 'failed_logn' (did you mean"));
  EXPECT_THAT(loaded.why("b"), HasSubstr("there is no rule 'a' (it was left out"));
  EXPECT_THAT(loaded.diagnostics.Text(), HasSubstr("did you mean 'failed_login'?"));
  EXPECT_THAT(loaded.diagnostics.Text(), HasSubstr("it was left out"));
}

TEST(SigmaRuleSet, CyclesAreErrors) {
  const Loaded loaded =
      Load(Correlation("a", "[b]") + Correlation("b", "[c]") + Correlation("c", "[a, d]") +
           Detection("d", "x: 1") + Correlation("own", "[own]") + Correlation("above", "[a]") +
           Correlation("good", "[d]"));
  EXPECT_EQ(loaded.set.entries.size(), 2u) << loaded.diagnostics.Text();
  for (const char* name : {"a", "b", "c", "own"})
    EXPECT_THAT(loaded.why(name), HasSubstr("refers to itself")) << name;
}

TEST(SigmaRuleSet, AliasesNameRulesOfTheCorrelation) {
  const std::string rules = Detection("a", "x: 1") + Detection("b", "x: 1");
  const auto with = [&](const std::string& alias) {
    return Load(rules + Correlation("in", "[a]") +
                Correlation("out", "[in]", ", group-by: [k], aliases: {k: {" + alias + "}}"));
  };
  // Those below a chained correlation, too.
  EXPECT_EQ(with("a: x").set.entries.size(), 4u) << with("a: x").diagnostics.Text();
  EXPECT_THAT(with("b: x").why("out"), HasSubstr("does not refer to"));
}

TEST(SigmaRuleSet, AliasesThatDoNothingAreTold) {
  const std::string rules = Detection("a", "x: 1") + Detection("b", "x: 1");
  const auto said = [&](const std::string& more, const std::string& above = "") {
    return Load(rules + Correlation("c", "[a, b]", more) + above).diagnostics.Text();
  };
  EXPECT_EQ(said(", group-by: [k], aliases: {k: {a: x, b: y}}"), "");
  EXPECT_THAT(said(", group-by: [kk], aliases: {k: {a: x, b: y}}"),
              HasSubstr("nothing asks for the alias 'k'"));
  EXPECT_EQ(said(", group-by: [kk], aliases: {k: {a: x, b: y}}",
                 Correlation("out", "[c]", ", group-by: [k]")),
            "");
  EXPECT_THAT(said(", group-by: [k], aliases: {k: {a: x}}"),
              HasSubstr("the alias 'k' says nothing of 'b'"));
}

TEST(SigmaRuleSet, ConditionsThatAskNothingAreTold) {
  const std::string rules = Detection("a", "x: 1") + Detection("b", "x: 1");
  const auto said = [&](const std::string& type, const std::string& condition) {
    return Load(rules + "title: c\nname: c\ncorrelation: {type: " + type +
                ", rules: [a, b], timespan: 1m, condition: " + condition + "}\n")
        .diagnostics.Text();
  };
  EXPECT_THAT(said("temporal", "a"), HasSubstr("the condition does not ask for 'b'"));
  EXPECT_EQ(said("temporal", "a and not b"), "");
  for (const char* always : {"{gte: 0}", "{gt: -1}", "{neq: 2.5}", "{gte: 0, neq: 0.5}"})
    EXPECT_THAT(said("event_count", always), HasSubstr("the condition always holds")) << always;
  for (const char* some : {"{gte: 1}", "{neq: 2}", "{gt: 0.5}"})
    EXPECT_EQ(said("event_count", some), "") << some;
  EXPECT_THAT(said("temporal", "{neq: 7}"), HasSubstr("the condition always holds"));
  EXPECT_EQ(said("temporal", "{neq: 2}"), "");
  EXPECT_THAT(said("temporal", "a or b or not a"), HasSubstr("the condition always holds"));
  EXPECT_EQ(said("temporal", "a or b"), "");
  const Loaded two = Load(rules +
                          "title: c\nname: c\ncorrelation: {type: temporal, rules: [a, b],"
                          " timespan: 1m, condition: 2 of them}\n");
  EXPECT_THAT(two.why("c"), HasSubstr("'2 of' is not possible in a condition (1 of, any of"));
}

TEST(SigmaRuleSet, GenerateIsABooleanOfYaml) {
  for (const bool within : {true, false}) {
    for (const char* gte : {"1", "wrong"}) {
      const Loaded loaded = Load(
          Detection("a", "x: 1") + "title: c\nname: c\n" + (within ? "" : "generate: True\n") +
          "correlation: {type: event_count, rules: [a], timespan: 1m, condition: {gte: " + gte +
          "}" + (within ? ", generate: TRUE" : "") + "}\n");
      EXPECT_FALSE(loaded["a"].mute) << loaded.diagnostics.Text();
      EXPECT_EQ(loaded.set.Find("c") >= 0, gte == std::string("1")) << loaded.diagnostics.Text();
    }
  }
}

TEST(SigmaRuleSet, MergeKeysAreRefused) {
  const Loaded loaded = Load(
      "x: &l {product: windows}\ntitle: a\nname: a\nlogsource: {<<: *l}\n"
      "detection: {s: {x: 1}, condition: s}\n---\n" +
      Detection("b", "'<<': 1"));
  EXPECT_THAT(loaded.why("a"), HasSubstr("merge keys ('<<') are not known"));
  EXPECT_GE(loaded.set.Find("b"), 0);
}

TEST(SigmaRuleSet, SemanticHashFollowsMeaningNotProse) {
  const auto hash = [](const std::string& yaml, const RuleSetOptions& options = {}) {
    return Load(yaml, options)["a"].semantic_hash;
  };
  const std::string base = Detection("a", "x: 1, y: 2");
  EXPECT_EQ(hash(base).size(), 64u);
  EXPECT_EQ(hash(base), hash("description: other\nauthor: z\n" + Detection("a", "y: 2, x: 1")));
  EXPECT_NE(hash(base), hash(Detection("a", "x: 1, y: 3")));
  EXPECT_NE(hash(base), hash(Detection("a", "x: 1, y: 2", "{product: linux}")));
  const std::string filter = base +
                             "{title: f, name: f, logsource: {product: windows}, filter: {rules: "
                             "[a], s: {z: 1}, condition: not s}}";
  EXPECT_NE(hash(base), hash(filter));
  EXPECT_NE(hash(filter), hash(filter, {.filter_condition = FilterCondition::kExclude}));
}

// Log sources.

struct Fit {
  bool fits = false;
  std::string why;
  std::shared_ptr<const Selection> selection;
  FieldTable fields;
  bool Matches(const std::vector<std::pair<std::string, std::string>>& values) const {
    std::vector<Value> row(static_cast<size_t>(fields.size()));
    for (const auto& [name, text] : values) {
      if (const int slot = fields.Find(name); slot >= 0)
        row[static_cast<size_t>(slot)] = Value::String(text);
    }
    Event event;
    event.fields = row;
    return selection->Matches(event);
  }
};

// A rule `x: 1` of `logsource`, on a source that is mapped so.
Fit Bind(const std::string& map_yaml, const std::string& logsource) {
  Fit fit;
  Diagnostics diagnostics;
  LogSourceMap map;
  const std::vector<Node> documents = ParseYaml(map_yaml, "m.yaml", YamlLimits{}, diagnostics);
  if (!documents.empty()) ReadLogSourceMap(documents[0], &map, diagnostics);
  EXPECT_FALSE(diagnostics.has_errors()) << diagnostics.Text();
  const Loaded loaded = Load(Detection("a", "x: 1", logsource));
  const RuleEntry& entry = loaded["a"];
  fit.fits = LogSourceFits(map, entry.rule.detection().logsource, &fit.why);
  Node detection = entry.detection;
  if (fit.fits) BindLogSource(map, entry.rule.detection().logsource, &detection);
  fit.selection = CompileSelection(detection, fit.fields, diagnostics);
  EXPECT_NE(fit.selection, nullptr) << diagnostics.Text();
  return fit;
}

constexpr char kMap[] = R"(
product: windows
category:
  - {is: process_creation, when: {Channel: Sysmon, EventID: 1}}
  - {is: process_creation, when: {Channel: Security, EventID: 4688}}
  - {is: dns_query, when: {Channel: Sysmon, EventID: 22}}
  - otherwise: none
service:
  - {is: sysmon, when: {Channel: Sysmon}}
  - {is: security, when: {Channel: Security}}
)";

TEST(SigmaLogSource, ARuleAppliesToEventsOfItsCategory) {
  const Fit fit = Bind(kMap, "{product: windows, category: process_creation}");
  ASSERT_TRUE(fit.fits);
  EXPECT_TRUE(fit.Matches({{"x", "1"}, {"Channel", "sysmon"}, {"EventID", "1"}}));
  EXPECT_TRUE(fit.Matches({{"x", "1"}, {"Channel", "Security"}, {"EventID", "4688"}}));
  EXPECT_FALSE(fit.Matches({{"x", "1"}, {"Channel", "Sysmon"}, {"EventID", "22"}}));
  EXPECT_FALSE(fit.Matches({{"x", "2"}, {"Channel", "Sysmon"}, {"EventID", "1"}}));
  EXPECT_FALSE(fit.Matches({{"x", "1"}}));
}

TEST(SigmaLogSource, ARuleIsLeftOutOnlyWhenAPartConflicts) {
  EXPECT_FALSE(Bind(kMap, "{product: linux}").fits);
  EXPECT_EQ(Bind(kMap, "{product: linux}").why, "product linux");
  EXPECT_FALSE(Bind(kMap, "{category: webserver}").fits);  // otherwise: none
  EXPECT_EQ(Bind(kMap, "{category: webserver}").why, "category webserver");
  EXPECT_TRUE(Bind(kMap, "{product: windows}").fits);
  // Nothing is mapped: nothing conflicts.
  EXPECT_TRUE(Bind("{}", "{product: linux, category: c, service: s}").fits);
  EXPECT_TRUE(Bind("{}", "{product: linux}").Matches({{"x", "1"}}));
  EXPECT_FALSE(Bind("{category: none}", "{category: c}").fits);
  EXPECT_TRUE(Bind("{category: none}", "{product: p}").fits);
}

TEST(SigmaLogSource, AnUnmappedServiceIsTriedOnEventsThatNoCaseKnows) {
  const Fit fit = Bind(kMap, "{product: windows, service: mine}");
  ASSERT_TRUE(fit.fits);
  EXPECT_TRUE(fit.Matches({{"x", "1"}, {"Channel", "Mine/Operational"}}));
  EXPECT_FALSE(fit.Matches({{"x", "1"}, {"Channel", "Security"}}));
  const Fit security = Bind(kMap, "{product: windows, service: security}");
  EXPECT_TRUE(security.Matches({{"x", "1"}, {"Channel", "security"}}));
  EXPECT_FALSE(security.Matches({{"x", "1"}, {"Channel", "Mine/Operational"}}));
}

TEST(SigmaLogSource, ASearchOfTheRuleIsNotTakenForIt) {
  Diagnostics diagnostics;
  LogSourceMap map;
  map.product.cases.push_back({"windows", ParseYaml("{P: w}", "m", YamlLimits{}, diagnostics)[0]});
  Node detection = ParseYaml("{_logsource_product: {x: 2}, a: {x: 1}, condition: a}", "d",
                             YamlLimits{}, diagnostics)[0];
  RuleLogsource logsource;
  logsource.product = "windows";
  BindLogSource(map, logsource, &detection);
  FieldTable fields;
  const auto selection = CompileSelection(detection, fields, diagnostics);
  ASSERT_NE(selection, nullptr) << diagnostics.Text();
  std::vector<Value> row(static_cast<size_t>(fields.size()));
  row[static_cast<size_t>(fields.Find("x"))] = Value::String("1");
  row[static_cast<size_t>(fields.Find("P"))] = Value::String("w");
  Event event;
  event.fields = row;
  EXPECT_TRUE(selection->Matches(event));
}

TEST(SigmaLogSource, ItIsTiedToEveryConditionOfAList) {
  Diagnostics diagnostics;
  LogSourceMap map;
  map.product.cases.push_back({"windows", ParseYaml("{P: w}", "m", YamlLimits{}, diagnostics)[0]});
  Node detection = ParseYaml("{a: {x: 1}, b: {x: 2}, condition: [a, b or a]}", "d", YamlLimits{},
                             diagnostics)[0];
  RuleLogsource logsource;
  logsource.product = "windows";
  BindLogSource(map, logsource, &detection);
  FieldTable fields;
  const auto selection = CompileSelection(detection, fields, diagnostics);
  ASSERT_NE(selection, nullptr) << diagnostics.Text();
  const auto matches = [&](const char* x, const char* p) {
    std::vector<Value> row(2);
    row[static_cast<size_t>(fields.Find("x"))] = Value::String(x);
    row[static_cast<size_t>(fields.Find("P"))] = Value::String(p);
    Event event;
    event.fields = row;
    return selection->Matches(event);
  };
  EXPECT_TRUE(matches("1", "w"));
  EXPECT_TRUE(matches("2", "w"));
  EXPECT_FALSE(matches("1", "l"));
  EXPECT_FALSE(matches("2", "l"));
}

// Filters.

std::string Filter(const std::string& rules, const std::string& condition,
                   const std::string& logsource = "{product: windows}",
                   const std::string& more = "") {
  return "{title: f, name: f, logsource: " + logsource + ", filter: {rules: " + rules +
         ", sel: {User: svc}, condition: " + condition + more + "}}\n---\n";
}

// Whether an event of this user gets past the filters of the rule `a`.
bool Passes(const Loaded& loaded, const char* user) {
  FieldTable fields;
  const LogSourceMap map;
  const SourceShape shape{"s", &map, &fields, {}};
  Diagnostics diagnostics;
  const RuleBinding binding = BindRules(loaded.set, {&shape, 1}, diagnostics);
  EXPECT_FALSE(diagnostics.has_errors()) << diagnostics.Text();
  std::vector<Value> row(static_cast<size_t>(fields.size()));
  row[static_cast<size_t>(fields.Find("x"))] = Value::String("1");
  if (const int slot = fields.Find("User"); slot >= 0)
    row[static_cast<size_t>(slot)] = Value::String(user);
  Event event;
  event.fields = row;
  const BoundRule& rule = binding.sources[0].rules.at(0);
  EXPECT_TRUE(rule.detection->Matches(event));
  EXPECT_EQ(RemovedBy(rule, event) == nullptr, rule.whole->Matches(event));
  return RemovedBy(rule, event) == nullptr;
}

TEST(SigmaFilter, KeepsWhatItsConditionFindsAsPySigmaHasIt) {
  const Loaded loaded = Load(Detection("a", "x: 1") + Filter("[a]", "not sel"));
  EXPECT_FALSE(Passes(loaded, "svc"));
  EXPECT_TRUE(Passes(loaded, "joe"));
  const Loaded positive = Load(Detection("a", "x: 1") + Filter("[a]", "sel"));
  EXPECT_TRUE(Passes(positive, "svc"));
  EXPECT_FALSE(Passes(positive, "joe"));
}

TEST(SigmaFilter, LogSourcesIgnoreLetterCase) {
  for (const char* rules : {"[a]", "any"}) {
    const Loaded loaded =
        Load(Detection("a", "x: 1", "{product: Windows}") + Filter(rules, "not sel"));
    EXPECT_EQ(loaded["a"].filters.size(), 1u) << loaded.diagnostics.Text();
  }
}

TEST(SigmaFilter, ExcludesAsTheSpecificationsExampleHasIt) {
  const Loaded set = Load(Detection("a", "x: 1") + Filter("[a]", "sel"),
                          {.filter_condition = FilterCondition::kExclude});
  EXPECT_FALSE(Passes(set, "svc"));
  EXPECT_TRUE(Passes(set, "joe"));
  const Loaded own = Load(Detection("a", "x: 1") + Filter("[a]", "sel", "{product: windows}",
                                                          ", bongsu: {condition_means: exclude}"));
  EXPECT_FALSE(Passes(own, "svc"));
  EXPECT_TRUE(Passes(own, "joe"));
}

TEST(SigmaFilter, AppliesByLogSourceAndNeverToCorrelations) {
  const std::string rules =
      Detection("a", "x: 1", "{product: windows, category: process_creation}") +
      Detection("b", "x: 1", "{product: linux}") + Correlation("c", "[a]");
  const Loaded any = Load(rules + Filter("any", "not sel"));
  EXPECT_EQ(any["f"].filtered.size(), 1u);
  EXPECT_EQ(any["a"].filters.size(), 1u);
  EXPECT_TRUE(any["b"].filters.empty());
  EXPECT_TRUE(any["c"].filters.empty());
  const Loaded named = Load(rules + Filter("[a, b, c, d]", "not sel"));
  EXPECT_EQ(named["f"].filtered.size(), 1u);
  EXPECT_THAT(named.diagnostics.Text(), HasSubstr("does not cover that of 'b'"));
  EXPECT_THAT(named.diagnostics.Text(), HasSubstr("filters apply to detections only"));
  EXPECT_THAT(named.diagnostics.Text(), HasSubstr("'d', which is no rule here"));
  const Loaded nothing = Load(rules + Filter("[d]", "not sel"));
  EXPECT_THAT(nothing.why("f"), HasSubstr("applies to no rule"));
}

}  // namespace
}  // namespace bongsu::sigma
