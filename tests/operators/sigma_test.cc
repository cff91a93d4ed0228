// Sigma's detections: one test for each row of the checklist (operators/sigma/README.md).
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

// What is said of a detection that compiles.
std::string Warnings(const std::string& item) {
  Diagnostics diagnostics;
  const auto documents =
      ParseYaml("{sel: {" + item + "}, condition: sel}", "d.yaml", YamlLimits{}, diagnostics);
  FieldTable fields;
  EXPECT_NE(sigma::CompileSelection(documents.at(0), fields, diagnostics), nullptr)
      << diagnostics.Text();
  return diagnostics.Text();
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
  EXPECT_FALSE(One("f: ali", S("al\u0131")));         // the dotless i folds to itself
  EXPECT_TRUE(One("f: 'al\u0131'", S("AL\u0131")));
  EXPECT_FALSE(One("f: '\u0130x'", S("ix")));
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
  // A number that is written longer is also the text that it is written as.
  EXPECT_TRUE(One("f: 10.0", N("10.0")));
  EXPECT_TRUE(One("f: 10.0", S("10")));
  EXPECT_TRUE(One("f: 10.0", S("10.0")));
  EXPECT_TRUE(One("f: 1.10", S("1.10")));
  EXPECT_TRUE(One("f: 1.10", S("1.1")));
  EXPECT_FALSE(One("f: 1.10", S("1.100")));
  EXPECT_FALSE(One("f: '1.10'", S("1.1")));
  EXPECT_TRUE(One("f: 1E2", S("1e2")));
  EXPECT_FALSE(One("f|neq: 10.0", S("10.0")));
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

TEST(Sigma, BooleansAsYamlWritesThem) {
  for (const char* yes : {"true", "True", "TRUE"}) {
    EXPECT_TRUE(One(std::string("f|exists: ") + yes, S("x"))) << yes;
    EXPECT_TRUE(One(std::string("f|cased: ") + yes, Value::Bool(true))) << yes;
    EXPECT_TRUE(One(std::string("f|cased: ") + yes, S(yes))) << yes;
  }
  EXPECT_FALSE(One("f|exists: False", S("x")));
  EXPECT_FALSE(One("f|cased: 'True'", Value::Bool(true)));
  EXPECT_FALSE(One("f|cased: True", S("TRUE")));
}

TEST(Sigma, AnEmptyValueIsInEveryEvent) {
  for (const char* item : {"f|contains: ''", "f|startswith: ''", "f|endswith: [a, '']", "f|re: ''"})
    EXPECT_NE(Warnings(item).find("an empty value is in every event"), std::string::npos) << item;
  EXPECT_EQ(Warnings("f: ''"), "");
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
  EXPECT_TRUE(One("f|cidr: '::/0'", S("2001:db8::1")));
  EXPECT_FALSE(One("f|cidr: '::/0'", S("10.1.2.3")));
  EXPECT_TRUE(One("f|cidr: 0.0.0.0/0", S("10.1.2.3")));
  EXPECT_NE(Problem("{sel: {f|cidr: 10.0.0.0/40}, condition: sel}").find("is no network"),
            std::string::npos);
}

TEST(Sigma, AnAddressEndsWhereItsTextEnds) {
  using namespace std::string_view_literals;
  EXPECT_FALSE(One("f|cidr: 'fe80::/16'", S("fe80::1\0z"sv)));
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

// Keywords search every value, never the keys.
bool Finds(const std::string& search, const std::vector<Value>& values) {
  return Chooses("{k: " + search + ", condition: k}",
                 {{std::string(kAllValuesField), Value::Array(values)}});
}

TEST(Sigma, KeywordsAreFoundInAnyValue) {
  const std::vector<Value> values = {S("cmd /c MIMIKATZ"), N("4625"), Value::Bool(true)};
  EXPECT_TRUE(Finds("[nothing, mimikatz]", values));
  EXPECT_TRUE(Finds("mimikatz", values));
  EXPECT_TRUE(Finds("['cmd*katz']", values));
  EXPECT_TRUE(Finds("[462]", values));
  EXPECT_FALSE(Finds("['katz*4625']", values));  // within one value
  EXPECT_FALSE(Finds("[sekurlsa]", values));
  EXPECT_FALSE(Chooses("{k: [x], condition: k}", {{"x", S("y")}}));
  EXPECT_TRUE(Chooses("{k: [x], condition: not k}", {}));
  EXPECT_NE(Problem("{k: [''], condition: k}").find("an empty keyword"), std::string::npos);
  EXPECT_NE(Problem("{k: [a, null], condition: k}").find("null is not allowed in a list"),
            std::string::npos);
}

TEST(Sigma, KeywordsAllMayEachBeInAnotherValue) {
  const std::vector<Value> values = {S("alpha"), S("beta")};
  EXPECT_TRUE(Finds("{'|all': [alp, BET]}", values));
  EXPECT_FALSE(Finds("{'|all': [alp, gamma]}", values));
  EXPECT_TRUE(Finds("{'|re': 'a.pha'}", values));
  EXPECT_FALSE(Finds("{'|cased': Alpha}", values));
  EXPECT_TRUE(Finds("[zeta, {'|contains|all': [alp, bet]}]", values));  // a list may hold both
  EXPECT_NE(Problem("{k: {'|gt': 5}, condition: k}").find("'gt' needs a field"), std::string::npos);
}

TEST(Sigma, Neq) {
  EXPECT_TRUE(One("f|neq: x", S("y")));
  EXPECT_FALSE(One("f|neq: x", S("X")));
  EXPECT_TRUE(One("f|neq: [x, y]", S("z")));  // of a list: none of them
  EXPECT_FALSE(One("f|neq: [x, y]", S("y")));
  EXPECT_TRUE(One("f|neq: x", Value()));
  const std::vector<Value> items = {S("x"), S("y")};
  EXPECT_FALSE(One("f|neq: y", Value::Array(items)));  // not any member
  EXPECT_TRUE(One("f|contains|neq: q", S("abc")));
  EXPECT_FALSE(One("f|neq|re: 'a.c'", S("abc")));
  EXPECT_FALSE(One("f|neq: null", Value::Null()));
  EXPECT_TRUE(One("f|neq: null", S("")));
}

TEST(Sigma, Windash) {
  for (const char* dash : {"-", "/", "\u2013", "\u2014", "\u2015"}) {
    const std::string text = std::string("certutil ") + dash + "decode";
    EXPECT_TRUE(One("f|contains|windash: ' -decode'", S(text))) << text;
    EXPECT_TRUE(One("f|windash|contains: ' /decode'", S(text))) << text;
    EXPECT_TRUE(One("f|endswith|windash: ' \u2014DECODE'", S(text))) << text;
  }
  EXPECT_FALSE(One("f|contains|windash: ' -decode'", S("x +decode")));
  // All permutations, and no more work for ten dashes than for one.
  EXPECT_TRUE(One("f|windash: '-a-b-c-d-e-f-g-h-i-j'", S("/a-b\u2013c\u2014d\u2015e/f-g-h/i/j")));
  EXPECT_FALSE(One("f|windash: '-a-b-c-d-e-f-g-h-i-j'", S("/a-b-c-d-e-f-g-h-i+j")));
  EXPECT_FALSE(One("f|contains: ' -decode'", S("x /decode")));
}

TEST(Sigma, Base64) {
  EXPECT_TRUE(One("f|base64: 'ping'", S("cGluZw==")));
  EXPECT_TRUE(One("f|base64|contains: 'ping'", S("x cGluZw== y")));
  EXPECT_FALSE(One("f|base64|contains: 'ping'", S("ping")));
  EXPECT_FALSE(One("f|base64|cased: 'ping'", S("CGluZw==")));
  EXPECT_TRUE(One("f|base64: 'a\\*'", S("YSo=")));
  EXPECT_NE(Problem("{sel: {f|base64: 'a*'}, condition: sel}").find("with wildcards"),
            std::string::npos);
}

TEST(Sigma, Base64Offset) {
  // "/bin/sh" in an encoded text at each of the three offsets.
  EXPECT_TRUE(One("f|base64offset|contains: '/bin/sh'", S("L2Jpbi9zaA==")));
  EXPECT_TRUE(One("f|base64offset|contains: '/bin/sh'", S("YS9iaW4vc2g=")));
  EXPECT_TRUE(One("f|base64offset|contains: '/bin/sh'", S("YWEvYmluL3No")));
  EXPECT_FALSE(One("f|base64offset|contains: '/bin/sh'", S("YWEvYmluL3N")));
  // Each value is met at any of its offsets, both values are needed.
  EXPECT_TRUE(One("f|base64offset|contains|all: ['/bin', '/sh']", S("L2Jpbi9zaA==")));
  EXPECT_FALSE(One("f|base64offset|contains|all: ['/bin', '/zsh']", S("L2Jpbi9zaA==")));
}

TEST(Sigma, Utf16FamilyBeforeBase64) {
  // "cmd" as 63 00 6d 00 64 00; 00 63 00 6d 00 64; ff fe 63 00 6d 00 64 00.
  EXPECT_TRUE(One("f|wide|base64: cmd", S("YwBtAGQA")));
  EXPECT_TRUE(One("f|utf16le|base64: cmd", S("YwBtAGQA")));
  EXPECT_TRUE(One("f|utf16be|base64: cmd", S("AGMAbQBk")));
  EXPECT_TRUE(One("f|utf16|base64: cmd", S("//5jAG0AZAA=")));
  EXPECT_TRUE(One("f|wide|base64: '\U0001F600'", S("PdgA3g==")));  // a surrogate pair
  EXPECT_TRUE(One("f|wide|base64offset|contains: cmd", S("IABjAG0AZAA=")));
  EXPECT_NE(Problem("{sel: {f|wide: x}, condition: sel}").find("write wide|base64offset|contains"),
            std::string::npos);
}

TEST(Sigma, FieldRef) {
  const auto holds = [](const std::string& item, const Value& f, const Value& g) {
    return Chooses("{sel: {" + item + "}, condition: sel}", {{"f", f}, {"g", g}});
  };
  EXPECT_TRUE(holds("f|fieldref: g", S("Abc"), S("aBC")));
  EXPECT_FALSE(holds("f|fieldref: g", S("abc"), S("abd")));
  EXPECT_FALSE(holds("f|fieldref|cased: g", S("Abc"), S("aBC")));
  EXPECT_TRUE(holds("f|fieldref|neq: g", S("abc"), S("abd")));
  EXPECT_FALSE(holds("f|fieldref|neq: g", S("abc"), S("abc")));
  EXPECT_TRUE(holds("f|fieldref|startswith: g", S("abcd"), S("AB")));
  EXPECT_TRUE(holds("f|fieldref|endswith: g", S("abcd"), S("CD")));
  EXPECT_TRUE(holds("f|fieldref|contains: g", S("abcd"), S("bc")));
  EXPECT_TRUE(holds("f|fieldref: g", N("7.0"), S("7")));
  EXPECT_FALSE(holds("f|fieldref: g", Value(), Value()));
  const std::vector<Value> items = {S("x"), S("abc")};
  EXPECT_TRUE(holds("f|fieldref: g", S("abc"), Value::Array(items)));
  // The wildcards of a value are none in a field's text.
  EXPECT_FALSE(holds("f|fieldref: g", S("abc"), S("a*")));
}

TEST(Sigma, PartsOfTheTime) {
  const Value time = S("2024-12-30T23:05:06.789Z");
  EXPECT_TRUE(One("f|minute: 5", time));
  EXPECT_TRUE(One("f|hour: 23", time));
  EXPECT_TRUE(One("f|day: [29, 30]", time));
  EXPECT_TRUE(One("f|week: 1", time));  // ISO: of 2025
  EXPECT_TRUE(One("f|week: 53", S("2020-12-31")));
  EXPECT_TRUE(One("f|month: 12", time));
  EXPECT_TRUE(One("f|year: 2024", time));
  EXPECT_TRUE(One("f|hour|gte: 22", time));
  EXPECT_FALSE(One("f|hour|lt: 23", time));
  EXPECT_TRUE(One("f|hour|neq: 9", time));
  EXPECT_TRUE(One("f|hour: 21", S("2024-12-30T23:05:00+02:00")));  // UTC
  EXPECT_TRUE(One("f|hour: 16", S("2020-09-20 16:16:56.597")));
  EXPECT_TRUE(One("f|hour: 23", N("1735599906")));
  EXPECT_TRUE(One("f|hour: 23", N("1735599906789")));
  EXPECT_FALSE(One("f|hour: 0", S("soon")));
  EXPECT_FALSE(One("f|day: 30", S("2024-02-30")));
  EXPECT_NE(Problem("{sel: {f|hour: noon}, condition: sel}").find("is no number"),
            std::string::npos);
  EXPECT_NE(Problem("{sel: {f|hour: 1.5}, condition: sel}").find("is no whole number"),
            std::string::npos);
}

TEST(Sigma, PlacesOfRegularExpressions) {
  EXPECT_TRUE(One("f|re|startswith: 'b+|a+'", S("aac")));
  EXPECT_FALSE(One("f|re|startswith: 'b+|a+'", S("caa")));
  EXPECT_TRUE(One("f|re|endswith: 'a+|b+'", S("caa")));
  EXPECT_TRUE(One("f|re|contains: 'a+'", S("cac")));
  EXPECT_NE(Problem("{sel: {f|re|startswith: 'a)(b'}, condition: sel}").find("does not compile"),
            std::string::npos);
}

TEST(Sigma, WhatRegularExpressionsHaveNotIsNamed) {
  const auto why = [](const std::string& regex) {
    return Problem("{sel: {f|re: '" + regex + "'}, condition: sel}");
  };
  EXPECT_NE(why("(?=a)b").find("look-around is not"), std::string::npos);
  EXPECT_NE(why("(?<!a)b").find("look-around is not"), std::string::npos);
  EXPECT_NE(why("(a)\\1").find("back references are not"), std::string::npos);
  for (const char* other : {"a++", "(a", "\\\\1("}) {
    EXPECT_EQ(why(other).find("look-around"), std::string::npos) << why(other);
    EXPECT_EQ(why(other).find("back references"), std::string::npos) << why(other);
  }
}

TEST(Sigma, IllegalChainsAreRefusedWithTheLegalOnes) {
  const auto why = [](const std::string& item) {
    return Problem("sel:\n  " + item + "\ncondition: sel\n");
  };
  const auto says = [&](const std::string& item, const std::string& text) {
    const std::string found = why(item);
    EXPECT_NE(found.find(text), std::string::npos) << item << ": " << found;
  };
  says("f|contain: x", "d.yaml:2:3: error: unknown modifier 'contain'");
  says("f|contain: x", "did you mean 'contains'?");
  says("f|contains|startswith: x", "'contains' and 'startswith' cannot stand together");
  says("f|cidr|contains: 10.0.0.0/8", "'cidr' goes with all, neq");
  says("f|contains|re: x", "'re' must stand before 'contains'");
  says("f|base64|wide: x", "'wide' must stand before 'base64'");
  says("f|i: x", "flags of 're'");
  says("f|cased|re: x", "'cased' and 're' cannot stand together");
  says("f|exists|all: true", "'exists' stands alone");
  says("f|all|neq: [x, y]", "'all' and 'neq' cannot stand together");
  says("f|re|re: x", "'re' stands twice");
  says("f|all: x", "at least two values");
  says("f|lt|neq: 5", "'lt' and 'neq' cannot stand together");
  says("f|exists: maybe", "takes true or false");
  says("f|contains: null", "null goes with no modifier");
  EXPECT_NE(Problem("{sel: {f: x}}").find("needs a condition"), std::string::npos);
}

TEST(Sigma, HostileDetectionsAreRefusedOrBounded) {
  std::string terms = "sel:\n  f:\n";
  for (size_t i = 0; i <= sigma::kListValuesMax; ++i) terms += "    - t" + std::to_string(i) + "\n";
  EXPECT_NE(Problem(terms + "condition: sel\n").find("more than 10000 values"), std::string::npos);
  EXPECT_NE(
      Problem("{sel: {f|re: '(a{1,1000}){1,1000}'}, condition: sel}").find("does not compile"),
      std::string::npos);
  EXPECT_NE(Problem("{sel: {f|windash|base64offset|contains: '" + std::string(10, '-') +
                    "'}, condition: sel}")
                .find("too many dashes"),
            std::string::npos);
  EXPECT_NE(Problem("{sel: {f: x}, condition: '" + std::string(100, '(') + "sel'}").find("nested"),
            std::string::npos);
  // Many stars against a text that nearly matches: one point to come back to, so no explosion.
  std::string stars;
  for (int i = 0; i < 200; ++i) stars += "*a";
  EXPECT_FALSE(One("f: '" + stars + "b'", S(std::string(20'000, 'a'))));
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
  EXPECT_NE(form("{s: {a|windash: x-y}, condition: s}"),
            form("{s: {a: \"x\\x01-y\"}, condition: s}"));
}

}  // namespace
}  // namespace bongsu
