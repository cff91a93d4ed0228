// Sigma's detections: one test for each row of the checklist that is supported so far.
#include <gtest/gtest.h>

#include "operators/sigma/pattern.h"
#include "operators/sigma/selection.h"

namespace bongsu {
namespace {

// Does the detection choose the event? Fails the test when it does not compile.
bool Chooses(const std::string& yaml, const std::vector<std::pair<std::string, Value>>& values) {
  Diagnostics diagnostics;
  const std::vector<Node> documents = ParseYaml(yaml, "d.yaml", YamlLimits{}, diagnostics);
  FieldTable fields;
  const auto selection =
      documents.empty() ? nullptr : sigma::CompileSelection(documents[0], fields, diagnostics);
  EXPECT_NE(selection, nullptr) << diagnostics.Text();
  if (selection == nullptr) return false;
  std::vector<Value> row(static_cast<size_t>(fields.size()));
  for (const auto& [name, value] : values) {
    if (const int slot = fields.Find(name); slot >= 0) row[static_cast<size_t>(slot)] = value;
  }
  Event event;
  event.fields = row;
  return selection->Matches(event);
}

std::string Problem(const std::string& yaml) {
  Diagnostics diagnostics;
  const std::vector<Node> documents = ParseYaml(yaml, "d.yaml", YamlLimits{}, diagnostics);
  FieldTable fields;
  if (!documents.empty()) {
    EXPECT_EQ(sigma::CompileSelection(documents[0], fields, diagnostics), nullptr);
  }
  return diagnostics.Text();
}

bool One(const std::string& item, const Value& value) {
  return Chooses("{sel: {" + item + "}, condition: sel}", {{"f", value}});
}
Value S(std::string_view text) { return Value::String(text); }
Value N(std::string_view text) { return Value::Number(text); }

TEST(Sigma, MapIsAndListIsOrListOfMapsIsOr) {
  const char* map = "{sel: {a: x, b: y}, condition: sel}";
  EXPECT_TRUE(Chooses(map, {{"a", S("x")}, {"b", S("y")}}));
  EXPECT_FALSE(Chooses(map, {{"a", S("x")}, {"b", S("z")}}));
  EXPECT_TRUE(One("f: [x, y]", S("y")));
  const char* maps = "{sel: [{a: x}, {b: y}], condition: sel}";
  EXPECT_TRUE(Chooses(maps, {{"b", S("y")}}));
  EXPECT_FALSE(Chooses(maps, {{"b", S("x")}}));
  EXPECT_TRUE(Chooses("{s: {a: x}, t: {b: y}, condition: [s, t]}", {{"b", S("y")}}));
}

TEST(Sigma, ConditionPrecedenceBracketsAndLetterCase) {
  const auto holds = [](const char* condition, bool a, bool b, bool c) {
    return Chooses(std::string("{a: {x: 1}, b: {y: 1}, c: {z: 1}, condition: ") + condition + "}",
                   {{"x", N(a ? "1" : "0")}, {"y", N(b ? "1" : "0")}, {"z", N(c ? "1" : "0")}});
  };
  EXPECT_TRUE(holds("a or b and c", true, false, false));
  EXPECT_FALSE(holds("(a or b) and c", true, false, false));
  EXPECT_TRUE(holds("NOT a AND b", false, true, false));
  EXPECT_FALSE(holds("not a and b", true, true, false));
  EXPECT_TRUE(holds("not 1 of them", false, false, false));
  EXPECT_TRUE(holds("all of them", true, true, true));
  EXPECT_FALSE(holds("all of them", true, true, false));
  EXPECT_TRUE(holds("any of them", false, false, true));
}

TEST(Sigma, OfPatternsLeavesUnderscoreNamesOut) {
  EXPECT_FALSE(Chooses("{_h: {x: 1}, s_a: {y: 1}, condition: 1 of them}", {{"x", N("1")}}));
  EXPECT_TRUE(Chooses("{_h: {x: 1}, s_a: {y: 1}, condition: 1 of s_*}", {{"y", N("1")}}));
  EXPECT_NE(Problem("{sel: {x: 1}, condition: 1 of flt*}").find("matches no search"),
            std::string::npos);
  EXPECT_NE(Problem("{sel: {x: 1}, condition: 2 of them}").find("'2 of' is not possible"),
            std::string::npos);
}

TEST(Sigma, OldPipeSyntaxAndUnknownNamesAreRefused) {
  EXPECT_NE(Problem("{sel: {x: 1}, condition: 'sel | count() by x > 5'}").find("old pipe syntax"),
            std::string::npos);
  EXPECT_NE(Problem("{selection: {x: 1}, condition: selektion}").find("did you mean 'selection'?"),
            std::string::npos);
  EXPECT_NE(Problem("{sel: {x: 1}, condition: '(sel'}").find("bracket is not closed"),
            std::string::npos);
}

TEST(Sigma, StringsIgnoreCaseWithUnicodeSimpleFolding) {
  EXPECT_TRUE(One("f: PowerShell", S("POWERSHELL")));
  EXPECT_TRUE(One("f: 'ÄPFEL'", S("äpfel")));
  EXPECT_TRUE(One("f: 'kelvin'", S("\u212Aelvin")));  // KELVIN SIGN folds to k
  EXPECT_TRUE(One("f|endswith: 'ΣΑΣ'", S("xσας")));   // final sigma
  EXPECT_FALSE(One("f|cased: PowerShell", S("powershell")));
  EXPECT_TRUE(One("f|contains|cased: Shell", S("PowerShell")));
}

TEST(Sigma, WildcardsAndEscapes) {
  EXPECT_TRUE(One("f: 'a*c'", S("abbc")));
  EXPECT_TRUE(One("f: 'a*c'", S("a\n\nc")));
  EXPECT_TRUE(One("f: 'a?c'", S("aäc")));
  EXPECT_FALSE(One("f: 'a?c'", S("ac")));
  EXPECT_TRUE(One("f: 'a\\*c'", S("a*c")));
  EXPECT_FALSE(One("f: 'a\\*c'", S("abc")));
  EXPECT_TRUE(One("f: 'C:\\Windows'", S("C:\\Windows")));
  EXPECT_TRUE(One("f: 'a\\\\*'", S("a\\xyz")));    // backslash, then a wildcard
  EXPECT_TRUE(One("f: 'a\\\\\\*b'", S("a\\*b")));  // both literal
  EXPECT_FALSE(One("f: 'a\\\\\\*b'", S("a\\xb")));
  EXPECT_TRUE(One("f: 'a\\\\\\\\b'", S("a\\\\b")));  // four are two
  EXPECT_TRUE(One("f: '*a*b*c'", S("xxaYbYbZc")));
}

TEST(Sigma, NumbersCompareByShortestDecimal) {
  EXPECT_TRUE(One("f: 4625", N("4625")));
  EXPECT_TRUE(One("f: 4625", S("4625")));
  EXPECT_TRUE(One("f: 4625", N("4625.0")));
  EXPECT_TRUE(One("f: '4625'", N("4.625e3")));
  EXPECT_FALSE(One("f: 7", S("007")));
  EXPECT_TRUE(One("f: 9007199254740993", N("9007199254740993")));
  EXPECT_FALSE(One("f: 9007199254740993", N("9007199254740992")));
  EXPECT_TRUE(One("f: true", Value::Bool(true)));
  EXPECT_FALSE(One("f: true", Value::Bool(false)));
}

TEST(Sigma, NullIsAbsentOrNullAndEmptyIsPresent) {
  EXPECT_TRUE(One("f: null", Value()));
  EXPECT_TRUE(One("f: null", Value::Null()));
  EXPECT_FALSE(One("f: null", S("")));
  EXPECT_TRUE(One("f: ''", S("")));
  EXPECT_FALSE(One("f: ''", Value()));
  EXPECT_NE(Problem("{sel: {f: [a, null]}, condition: sel}").find("null is not allowed in a list"),
            std::string::npos);
}

TEST(Sigma, MissingFieldIsFalseAndNotOfItTrue) {
  EXPECT_FALSE(One("f: x", Value()));
  EXPECT_TRUE(Chooses("{sel: {g: x}, condition: not sel}", {}));
  EXPECT_TRUE(One("f|exists: true", Value::Null()));
  EXPECT_FALSE(One("f|exists: true", Value()));
  EXPECT_TRUE(One("f|exists: false", Value()));
}

TEST(Sigma, ContainsStartsWithEndsWithAll) {
  EXPECT_TRUE(One("f|contains: ell", S("PowerSHELL")));
  EXPECT_TRUE(One("f|startswith: pow", S("PowerShell")));
  EXPECT_TRUE(One("f|endswith: '\\x.exe'", S("C:\\X.EXE")));
  EXPECT_FALSE(One("f|endswith: '\\x.exe'", S("x.exe")));
  EXPECT_TRUE(One("f|contains|all: [a, b]", S("xbxa")));
  EXPECT_FALSE(One("f|contains|all: [a, b]", S("xbx")));
}

TEST(Sigma, Cidr) {
  EXPECT_TRUE(One("f|cidr: 10.0.0.0/8", S("10.1.2.3")));
  EXPECT_TRUE(One("f|cidr: 10.9.9.9/8", S("10.1.2.3")));  // host bits are no mistake
  EXPECT_TRUE(One("f|cidr: 10.0.0.0/8", S("::ffff:10.1.2.3")));
  EXPECT_FALSE(One("f|cidr: 10.0.0.0/8", S("11.1.2.3")));
  EXPECT_FALSE(One("f|cidr: 10.0.0.0/8", S("not an address")));
  EXPECT_TRUE(One("f|cidr: '2001:db8::/33'", S("2001:db8:7fff::1")));
  EXPECT_FALSE(One("f|cidr: '2001:db8::/33'", S("2001:db8:8000::1")));
  EXPECT_NE(Problem("{sel: {f|cidr: 10.0.0.0/40}, condition: sel}").find("is no network"),
            std::string::npos);
}

TEST(Sigma, RegularExpressions) {
  EXPECT_TRUE(One("f|re: 'a+b'", S("xxaabxx")));
  EXPECT_FALSE(One("f|re: 'A+B'", S("aab")));
  EXPECT_TRUE(One("f|re|i: 'A+B'", S("aab")));
  EXPECT_TRUE(One("f|re|m: '^b$'", S("a\nb\nc")));
  EXPECT_FALSE(One("f|re: 'a.b'", S("a\nb")));
  EXPECT_TRUE(One("f|re|s: 'a.b'", S("a\nb")));
  EXPECT_NE(Problem("{sel: {f|re: '(a'}, condition: sel}").find("does not compile"),
            std::string::npos);
  EXPECT_NE(Problem("{sel: {f|re: '((a{1,1000}){1,1000}){1,1000}'}, condition: sel}")
                .find("does not compile"),
            std::string::npos);
}

TEST(Sigma, NumericComparison) {
  EXPECT_TRUE(One("f|lt: 10", N("9.99")));
  EXPECT_FALSE(One("f|lt: 10", N("10")));
  EXPECT_TRUE(One("f|lte: 10", S("10.0")));
  EXPECT_TRUE(One("f|gt: 9007199254740992", N("9007199254740993")));
  EXPECT_TRUE(One("f|gte: -1", N("-0.5")));
  EXPECT_FALSE(One("f|gt: 1", S("many")));
}

TEST(Sigma, AnyMemberOfAnArrayAndEachOfAllMayBeAnother) {
  const std::vector<Value> items = {S("alpha"), S("beta"), N("7")};
  const Value array = Value::Array(items);
  EXPECT_TRUE(One("f: BETA", array));
  EXPECT_TRUE(One("f: 7", array));
  EXPECT_TRUE(One("f|contains|all: [alp, bet]", array));
  EXPECT_FALSE(One("f: gamma", array));
}

TEST(Sigma, WhatIsNotSupportedIsRefusedWithItsPlace) {
  EXPECT_NE(Problem("sel:\n  f|windash: x\ncondition: sel\n")
                .find("d.yaml:2:3: error: the modifier 'windash' is not supported yet"),
            std::string::npos);
  EXPECT_NE(Problem("{sel: [word], condition: sel}").find("keyword search"), std::string::npos);
  EXPECT_NE(Problem("{sel: {f|contain: x}, condition: sel}").find("did you mean 'contains'?"),
            std::string::npos);
  EXPECT_NE(Problem("{sel: {f|contains|re: x}, condition: sel}").find("cannot stand together"),
            std::string::npos);
  EXPECT_NE(Problem("{sel: {f|i: x}, condition: sel}").find("flags of 're'"), std::string::npos);
  EXPECT_NE(Problem("{sel: {f|all: x}, condition: sel}").find("at least two values"),
            std::string::npos);
  EXPECT_NE(Problem("{sel: {f: x}}").find("needs a condition"), std::string::npos);
}

TEST(Sigma, NormalFormIsTheSameForTheSameMeaning) {
  const auto form = [](const std::string& yaml) {
    Diagnostics diagnostics;
    FieldTable fields;
    const auto documents = ParseYaml(yaml, "d.yaml", YamlLimits{}, diagnostics);
    return sigma::CompileSelection(documents.at(0), fields, diagnostics)->normal_form();
  };
  EXPECT_EQ(form("{s: {a: X, b: [p, q]}, condition: s}"),
            form("{t: {b: [Q, p], a: x}, condition: t}"));
  EXPECT_NE(form("{s: {a: x}, condition: s}"), form("{s: {a: x}, condition: not s}"));
}

}  // namespace
}  // namespace bongsu
