#include "pipeline/decoder.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "pipeline/decoder_plan.h"
#include "pipeline/decoder_text.h"
#include "tests/pipeline/decoder_harness.h"

namespace bongsu {
namespace {

// `raw: msg`: what is no JSON object is text, and what keywords search has it whole.
TEST(Raw, APayloadThatIsNoJsonIsTheRawFieldsText) {
  Format format;
  format.fields[std::string(kRawField)] = {"log.msg", "msg"};
  TimeSpec time;
  time.path = "msg";
  time.encoding = TimeEncoding::kPattern;
  time.pattern = "%F %T failed logon";
  format.time.push_back(time);
  Harness harness({std::string(kAllValuesField), "msg", "log.msg", "other"}, {}, format);
  const auto all = [&] {
    return std::vector{harness.Field(0), harness.Field(1), harness.Field(2), harness.Field(3)};
  };
  for (const bool slack : {true, false}) {
    EXPECT_EQ(harness.Decode("  <34>su: 'su root' failed", slack), DecodeResult::kNoTime);
    const std::string text = "s:  <34>su: 'su root' failed";
    EXPECT_EQ(all(), (std::vector<std::string>{"[" + text + "]", text, text, "-"}));
  }
  // JSON that is no object is text, too; event time may be read from it.
  EXPECT_EQ(harness.Decode("[1, 2]"), DecodeResult::kNoTime);
  EXPECT_EQ(harness.Field(1), "s:[1, 2]");
  EXPECT_EQ(harness.Decode("2026-01-02 03:04:05 failed logon"), DecodeResult::kOk);
  EXPECT_EQ(harness.event().time, int64_t{1'767'323'045} * kSecondNs);
  // A wrong byte is repaired and counted.
  EXPECT_EQ(harness.Decode("a\xff z"), DecodeResult::kNoTime);
  EXPECT_EQ(harness.Field(1), "s:a\xEF\xBF\xBD z");
  EXPECT_EQ(harness.counters().repaired_utf8, 1u);
  // Objects are records as ever; half of one is no text, and nothing is no event.
  EXPECT_EQ(harness.Decode(R"({"msg":"m","other":"o"})"), DecodeResult::kNoTime);
  EXPECT_EQ(all(), (std::vector<std::string>{"[s:m, s:o]", "s:m", "-", "s:o"}));
  EXPECT_EQ(harness.Decode(R"( {"msg":"m)"), DecodeResult::kInvalidJson);
  EXPECT_EQ(harness.Field(1), "-");
  EXPECT_EQ(harness.Decode(" \n"), DecodeResult::kInvalidJson);
  // The end of a line is no part of it.
  for (const char* line :
       {"login failed", "login failed\n", "login failed\r\n", "login failed\r"}) {
    EXPECT_EQ(harness.Decode(line), DecodeResult::kNoTime);
    EXPECT_EQ(harness.Field(1), "s:login failed");
  }
  EXPECT_EQ(harness.Decode("two\r\n\r\n"), DecodeResult::kNoTime);
  EXPECT_EQ(harness.Field(1), "s:two\r\n");
  // A byte order mark says how to read, and is no part of what is read.
  EXPECT_EQ(harness.Decode("\xEF\xBB\xBF{\"msg\":\"m\"}"), DecodeResult::kNoTime);
  EXPECT_EQ(harness.Field(1), "s:m");
  EXPECT_EQ(harness.Decode("\xEF\xBB\xBFlogin failed"), DecodeResult::kNoTime);
  EXPECT_EQ(harness.Field(1), "s:login failed");
  EXPECT_EQ(harness.Decode("\xEF\xBB\xBF"), DecodeResult::kInvalidJson);
  // Without `raw:` nothing changes.
  EXPECT_EQ(Harness({"msg"}).Decode("plain text"), DecodeResult::kInvalidJson);
}

// Keywords search the raw text of a record with more values than are collected.
TEST(Raw, TheRawTextIsSearchedBehindTheBound) {
  Format format;
  format.fields[std::string(kRawField)] = {"msg"};
  Harness harness({std::string(kAllValuesField)}, {}, format);
  std::string record = R"({"many":[0)";
  for (int i = 1; i < kAllValuesMax + 10; ++i) record += "," + std::to_string(i);
  record += R"(],"msg":"needle"})";
  EXPECT_EQ(harness.Decode(record), DecodeResult::kNoTime);
  const auto values = harness.event().field(0).items();
  ASSERT_EQ(values.size(), static_cast<size_t>(kAllValuesMax));
  EXPECT_EQ(values.back().text(), "needle");
  EXPECT_EQ(harness.counters().array_items_capped, 1u);
}

// The value of one field in one record. No format has a time here, so that kNoTime is success.
std::string Read(const std::string& field, std::string_view record, DecoderOptions options = {}) {
  Harness harness({field}, options);
  const DecodeResult result = harness.Decode(record);
  if (result != DecodeResult::kNoTime) return std::string(DecodeResultName(result));
  return harness.Field(0);
}

struct FieldCase {
  const char* field;
  const char* record;
  const char* want;
};

TEST(Decoder, ReadsValuesOfEveryType) {
  const FieldCase cases[] = {
      {"a", R"({"a":"x"})", "s:x"},
      {"a", R"({"a":""})", "s:"},
      {"a", R"( { "a" : "x" } )", "s:x"},
      {"a", "\t\r\n{\n\"a\"\t:\r\n\"x\"\n}\n\n", "s:x"},
      {"a", R"({"b":1,"a":"x"})", "s:x"},
      {"a", R"({"b":1})", "-"},
      {"a", R"({})", "-"},
      {"a", R"({"a":null})", "null"},
      {"a", R"({"a":true})", "b:true"},
      {"a", R"({"a": false })", "b:false"},
      {"a", R"({"a":0})", "n:0"},
      {"a", R"({"a":-0})", "n:-0"},
      {"a", R"({"a": 1.50e+10 })", "n:1.50e+10"},
      {"a", R"({"a":9007199254740993})", "n:9007199254740993"},
      {"a", R"({"a":-9223372036854775808})", "n:-9223372036854775808"},
      {"a", R"({"a":123456789012345678901234567890.123456789012345678901234567890})",
       "n:123456789012345678901234567890.123456789012345678901234567890"},
      {"a", R"({"a":1e999})", "n:1e999"},
      {"a", R"({"a":{"b": [1, {}]} , "c":1})", R"(o:{"b": [1, {}]})"},
      {"a", R"({"a":{}})", "o:{}"},
      {"a", R"({"a":[]})", "[]"},
      {"a", R"({"a":[1,"x", null,true , {"b":1}, [2,[3]], []]})",
       R"([n:1, s:x, null, b:true, o:{"b":1}, [n:2, [n:3]], []])"},
  };
  for (const FieldCase& c : cases) {
    EXPECT_EQ(Read(c.field, c.record), c.want) << c.record;
    EXPECT_EQ(Read(c.field, c.record, Full()), c.want) << c.record;
  }
}

TEST(Decoder, FindsFlatAndNestedKeys) {
  const FieldCase cases[] = {
      {"a.b", R"({"a":{"b":1}})", "n:1"},
      {"a.b", R"({"a.b":1})", "n:1"},
      {"a.b", R"({"a":{"b":1},"a.b":2})", "n:2"},
      {"a.b", R"({"a.b":2,"a":{"b":1}})", "n:2"},
      {"a.b", R"({"a.b":null,"a":{"b":1}})", "n:1"},
      {"a.b", R"({"a":{"b":1},"a.b":null})", "n:1"},
      {"a.b", R"({"a.b":null,"a":{"b":null}})", "null"},
      {"a.b.c", R"({"a":{"b.c":1}})", "n:1"},
      {"a.b.c", R"({"a.b":{"c":1}})", "n:1"},
      {"a.b.c", R"({"a":{"b":{"c":1}},"a.b":{"c":2},"a":{"b.c":3}})", "n:2"},
      {"a.b.c.d.e.f.g", R"({"a":{"b":{"c":{"d":{"e":{"f":{"g":1}}}}}}})", "n:1"},
      {"a.b.c.d.e.f.g", R"({"a.b.c.d.e.f.g":1})", "n:1"},
      {"a.b.c.d", R"({"a":{"b.c":{"d":1},"b":{"c.d":2}}})", "n:1"},
      {"a.b.c.d", R"({"a":{"b":{"c.d":2},"b.c":{"d":1}}})", "n:1"},
      {"a.b", R"({"a":1})", "-"},
      {"a.b", R"({"a":"b"})", "-"},
      {"a.b", R"({"a":{"b":{"c":1}}})", R"(o:{"c":1})"},
      {"@timestamp", R"({"@timestamp":"t"})", "s:t"},
      {"a", R"({"a":1,"a":2})", "n:1"},
      {"a", R"({"a":true,"a":false})", "b:true"},
      {"a", R"({"a":"x","a":{}})", "s:x"},
      {"a", R"({"a":[1],"a":[2]})", "[n:1]"},
      {"a", R"({"b":{"a":1}})", "-"},
      {"a", R"({"aa":1,"A":2,"a ":3})", "-"},
      {"a..b", R"({"a":{"":{"b":1}}})", "n:1"},
      {"abcdefgh", R"({"abcdefghi":1,"abcdefg":2,"abcdefgh":3})", "n:3"},
      {"an-entirely-long-field-name", R"({"an-entirely-LONG-field-name":1})", "-"},
      {"an-entirely-long-field-name", R"({"an-entirely-long-field-name":1})", "n:1"},
      {"", R"({"":1})", "n:1"},
      // Keys with escapes are compared unescaped.
      {"a\"b", R"({"a\"b":1})", "n:1"},
      {"ab", R"({"\u0061b":1})", "n:1"},
      {"a.b", R"({"a":{"\u0062":1}})", "n:1"},
      {"x", R"({"a\\":1,"x":2})", "n:2"},
      {"\xC3\xA9", R"({"\u00e9":1})", "n:1"},
      {"\xC3\xA9", "{\"\xC3\xA9\":1}", "n:1"},
  };
  for (const FieldCase& c : cases) {
    EXPECT_EQ(Read(c.field, c.record), c.want) << c.field << " of " << c.record;
    EXPECT_EQ(Read(c.field, c.record, Full()), c.want) << c.field << " of " << c.record;
  }
}

TEST(Decoder, CollectsThroughArraysOfObjects) {
  const FieldCase cases[] = {
      {"a.b", R"({"a":[{"b":1},{"c":2},{"b":"x"}]})", "[n:1, s:x]"},
      {"a.b", R"({"a":[{"b":1}]})", "[n:1]"},
      {"a.b", R"({"a":[{"b":[1,2]},{"b":3},4,[{"b":5}]]})", "[n:1, n:2, n:3, n:5]"},
      {"a.b", R"({"a":[{"c":1}]})", "-"},
      {"a.b", R"({"a":[]})", "-"},
      {"a.b", R"({"a":["b",1,null,[]]})", "-"},
      {"a.b.c", R"({"a":[{"b":[{"c":1},{"c":2}]},{"b":{"c":3}}]})", "[n:1, n:2, n:3]"},
      {"a.b", R"({"a":[{"b":1}],"a.b":2})", "n:2"},
      {"a.b.c", R"({"a":[{"b":{"c":1}},{"b.c":2},{"b":{"c":3}},{"b.c":4}]})", "[n:2, n:4]"},
      {"a.b", R"({"a":[{"b":{"c":1}}]})", R"([o:{"c":1}])"},
  };
  for (const FieldCase& c : cases) EXPECT_EQ(Read(c.field, c.record), c.want) << c.record;
}

TEST(Decoder, GivesAnArrayAndItsMembersFields) {
  Harness harness({"a", "a.b", "a.b.c", "d"});
  EXPECT_EQ(harness.Decode(R"({"a":["\u0078",{"b":"\u0079"},[{"b":{"c":"\n"}}]],"d":"e"})"),
            DecodeResult::kNoTime);
  EXPECT_EQ(harness.Field(0), R"([s:x, o:{"b":"\u0079"}, [o:{"b":{"c":"\n"}}]])");
  EXPECT_EQ(harness.Field(1), R"([s:y, o:{"c":"\n"}])");
  EXPECT_EQ(harness.Field(2), "[s:\n]");
  EXPECT_EQ(harness.Field(3), "s:e");
  EXPECT_EQ(harness.Decode(R"({"a":{"b":{"c":1} } })"), DecodeResult::kNoTime);
  EXPECT_EQ(harness.Field(0), R"(o:{"b":{"c":1} })");
  EXPECT_EQ(harness.Field(1), R"(o:{"c":1})");
  EXPECT_EQ(harness.Field(2), "n:1");
  EXPECT_EQ(harness.Field(3), "-");
}

TEST(Decoder, TriesTheFormatsPathsInOrder) {
  Format format;
  format.fields["ip"] = {"source.ip", "SourceIp", "IpAddress"};
  Harness harness({"ip", "source.ip"}, {}, format);
  const FieldCase cases[] = {
      {"", R"({"IpAddress":"3","SourceIp":"2","source":{"ip":"1"}})", "s:1"},
      {"", R"({"IpAddress":"3","SourceIp":"2"})", "s:2"},
      {"", R"({"IpAddress":"3"})", "s:3"},
      {"", R"({"source":{"ip":null},"IpAddress":"3"})", "s:3"},
      {"", R"({"source":{"ip":null},"IpAddress":null})", "null"},
      {"", R"({"ip":"4"})", "-"},
  };
  for (const FieldCase& c : cases) {
    EXPECT_EQ(harness.Decode(c.record), DecodeResult::kNoTime);
    EXPECT_EQ(harness.Field(0), c.want) << c.record;
  }
}

// The same path is a process in one kind of record and a file in another.
TEST(Decoder, TriesSomePathsInSomeRecordsOnly) {
  Format format;
  format.fields["image"] = {"exe", "path", "actor.path", "old"};
  format.field_conditions["image"] = {{}, {"kind", {"start"}}, {"kind", {"write", "load"}}, {}};
  format.fields["target"] = {"path"};
  format.field_conditions["target"] = {{"kind", {"write"}}};
  Harness harness({"image", "target", "path"}, {}, format);
  struct KindCase {
    const char* record;
    const char* image;
    const char* target;
  };
  const KindCase cases[] = {
      {R"({"kind":"start","path":"p","actor":{"path":"a"}})", "s:p", "-"},
      {R"({"path":"p","actor":{"path":"a"},"kind":"WRITE"})", "s:a", "s:p"},
      {R"({"kind":"load","actor.path":"\\a","path":"\\p","old":"o"})", "s:\\a", "-"},
      {R"({"old":"\\o","path":"p","kind":"other"})", "s:\\o", "-"},
      {R"({"old":"o","path":"p"})", "s:o", "-"},
      {R"({"path":"p"})", "-", "-"},
      // Before and behind paths that count in all records, and a null behind both.
      {R"({"kind":"start","exe":"e","path":"p","old":"o"})", "s:e", "-"},
      {R"({"kind":"start","old":"\\o","path":"p"})", "s:p", "-"},
      {R"({"kind":"start","old":"o","path":null})", "s:o", "-"},
      {R"({"kind":"write","path":null})", "-", "null"},
      {R"({"kind":["write"],"path":"p"})", "-", "-"},
      {R"({"kind":"write","path":["p",1],"actor":[{"path":"a"},{"path":"b"}]})", "[s:a, s:b]",
       "[s:p, n:1]"},
  };
  for (const KindCase& c : cases) {
    EXPECT_EQ(harness.Decode(c.record), DecodeResult::kNoTime) << c.record;
    EXPECT_EQ(harness.Field(0), c.image) << c.record;
    EXPECT_EQ(harness.Field(1), c.target) << c.record;
  }
}

TEST(Decoder, FindsAFieldUnderAnyKey) {
  Format format;
  format.other_fields = {"d.{}", "u.*.{}"};
  Harness harness({"a", "b"}, {}, format);
  EXPECT_EQ(harness.Decode(R"({"u": {"Wrapper": {"a": 1, "b": 2}}})"), DecodeResult::kNoTime);
  EXPECT_EQ(harness.Field(0), "n:1");
  EXPECT_EQ(harness.Decode(R"({"u": {"Other": {"a": 3}}, "d": {"a": 4}, "a": 5})"),
            DecodeResult::kNoTime);
  EXPECT_EQ(harness.Field(0), "n:4");
  EXPECT_EQ(harness.Field(1), "-");
}

// A key that some rule names is any key, too.
TEST(Decoder, FindsAFieldUnderAKeyThatAnotherNames) {
  Format format;
  format.other_fields = {"u.*.{}", "{}"};
  Harness harness({"x", "u.w.y", "u.w.n.z", "n.x", "u.v", "u.*"}, {}, format);
  const auto all = [&](std::string_view record) {
    EXPECT_EQ(harness.Decode(record), DecodeResult::kNoTime) << record;
    std::string text;
    for (int slot = 0; slot < 6; ++slot) text += (slot > 0 ? " " : "") + harness.Field(slot);
    return text;
  };
  EXPECT_EQ(all(R"({"u":{"w":{"x":1,"y":2}}})"), "n:1 n:2 - - - o:{\"x\":1,\"y\":2}");
  EXPECT_EQ(all(R"({"u":{"other":{"x":1,"y":2}}})"), "n:1 - - - - o:{\"x\":1,\"y\":2}");
  // Deeper, where only one of both has more of the way.
  EXPECT_EQ(all(R"({"u":{"w":{"n":{"x":3,"z":4}}}})"), "- - n:4 n:3 - o:{\"n\":{\"x\":3,\"z\":4}}");
  EXPECT_EQ(all(R"({"u":{"o":{"n":{"x":3,"z":4}}}})"), "- - - n:3 - o:{\"n\":{\"x\":3,\"z\":4}}");
  // One that is a field itself.
  EXPECT_EQ(all(R"({"u":{"v":{"x":5}}})"), "n:5 - - - o:{\"x\":5} o:{\"x\":5}");
  EXPECT_EQ(all(R"({"u":{"v":6}})"), "- - - - n:6 n:6");
  // The order of a field's paths stays.
  EXPECT_EQ(all(R"({"x":8,"u":{"w":{"x":7}}})"), "n:7 - - - - o:{\"x\":7}");
}

// Two of them in one path, and names beside each.
TEST(Decoder, FindsAFieldUnderAnyKeyOfAnyKey) {
  Format format;
  format.other_fields = {"*.*.{}", "{}"};
  Harness harness({"x", "a.b.y", "a.z", "c"}, {}, format);
  const auto all = [&](std::string_view record) {
    EXPECT_EQ(harness.Decode(record), DecodeResult::kNoTime) << record;
    std::string text;
    for (int slot = 0; slot < 4; ++slot) text += (slot > 0 ? " " : "") + harness.Field(slot);
    return text;
  };
  EXPECT_EQ(all(R"({"a":{"b":{"x":1,"y":2},"z":3},"c":4})"), "n:1 n:2 n:3 n:4");
  EXPECT_EQ(all(R"({"o":{"p":{"x":1,"y":2}}})"), "n:1 - - -");
  EXPECT_EQ(all(R"({"c":{"p":{"x":1}}})"), "n:1 - - o:{\"p\":{\"x\":1}}");
  EXPECT_EQ(all(R"({"a":{"z":{"x":1}}})"), "n:1 - o:{\"x\":1} -");
}

TEST(Decoder, GivesOneValueToSeveralFields) {
  Format format;
  format.fields["x"] = {"a"};
  format.fields["y"] = {"b", "a"};
  Harness harness({"x", "a", "y"}, {}, format);
  EXPECT_EQ(harness.Decode(R"({"a":"1"})"), DecodeResult::kNoTime);
  for (int slot = 0; slot < 3; ++slot) EXPECT_EQ(harness.Field(slot), "s:1");
}

// A decoder that has learned a key takes no other for it, however much alike.
TEST(Decoder, TellsKeysApartThatItHasLearned) {
  for (size_t size = 0; size <= 40; ++size) {
    const std::string key(size, 'k');
    Harness harness({key});
    const auto decode = [&harness](const std::string& text) {
      return harness.Decode("{\"" + text + "\":\"x\"}") == DecodeResult::kNoTime ? harness.Field(0)
                                                                                 : "refused";
    };
    for (int round = 0; round < 2; ++round) EXPECT_EQ(decode(key), "s:x");
    for (size_t at = 0; at < size; ++at) {
      std::string other = key;
      other[at] = 'K';
      EXPECT_EQ(decode(key), "s:x");
      EXPECT_EQ(decode(other), "-") << other;
      EXPECT_EQ(decode(key), "s:x");
      EXPECT_EQ(decode(key.substr(0, at)), "-") << at;
    }
    EXPECT_EQ(decode(key), "s:x");
    EXPECT_EQ(decode(key + "k"), "-") << size;
    EXPECT_EQ(decode(key), "s:x");
    EXPECT_EQ(decode(key + " "), "-") << size;
  }
}

TEST(Decoder, LearnsBoundedlyManyKeys) {
  Harness harness({"needed"});
  for (int i = 0; i < 3000; ++i) {
    const std::string record =
        "{\"key" + std::to_string(i) + "\":1,\"needed\":" + std::to_string(i) + "}";
    ASSERT_EQ(harness.Decode(record), DecodeResult::kNoTime);
    ASSERT_EQ(harness.Field(0), "n:" + std::to_string(i));
  }
}

TEST(Decoder, ResolvesEscapes) {
  struct EscapeCase {
    const char* text;
    std::string want;
    bool repaired;
  };
  const EscapeCase cases[] = {
      {R"(\"\\\/\b\f\n\r\t)", "\"\\/\b\f\n\r\t", false},
      {R"(C:\\Windows\\System32\\cmd.exe)", R"(C:\Windows\System32\cmd.exe)", false},
      {R"(\u0041\u00e9\u20AC\uD83D\uDE00)", "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", false},
      {R"(x\u0000y)", std::string("x\0y", 3), false},
      {R"(\\u0041)", R"(\u0041)", false},
      {R"(\\)", "\\", false},
      {R"(0123456789abcdef\n)", "0123456789abcdef\n", false},
      {R"(a\ud800b)",
       "a\xEF\xBF\xBD"
       "b",
       true},
      {R"(\udc00)", "\xEF\xBF\xBD", true},
      {R"(\ud800\ud83d\ude00)", "\xEF\xBF\xBD\xF0\x9F\x98\x80", true},
      {R"(\ud800\n)", "\xEF\xBF\xBD\n", true},
      {R"(\ud800\u0041)",
       "\xEF\xBF\xBD"
       "A",
       true},
  };
  for (const EscapeCase& c : cases) {
    for (const bool slack : {false, true}) {
      Harness harness({"a"}, Full());
      ASSERT_EQ(harness.Decode("{\"a\":\"" + std::string(c.text) + "\"}", slack),
                DecodeResult::kNoTime)
          << c.text;
      EXPECT_EQ(harness.Field(0), "s:" + c.want) << c.text;
      EXPECT_EQ(harness.counters().repaired_utf8, c.repaired ? 1u : 0u) << c.text;
    }
  }
  for (const char* wrong : {R"(\x)", R"(\u12)", R"(\u12g4)", R"(\u)", R"(\U0041)", R"(\')",
                            R"(a\ )", R"(\ud800\u00)"}) {
    const std::string record = "{\"a\":\"" + std::string(wrong) + "\"}";
    EXPECT_EQ(Read("a", record), "invalid_json") << record;
    EXPECT_EQ(Read("b", record), "-") << record;
    EXPECT_EQ(Read("b", record, Full()), "invalid_json") << record;
    EXPECT_EQ(Read("b", "{\"" + std::string(wrong) + "\":1}"), "invalid_json") << wrong;
  }
}

TEST(Decoder, RefusesWhatIsNotOneJsonObject) {
  struct BadCase {
    std::string record;
    const char* want;
  };
  const BadCase cases[] = {
      {"", "invalid_json"},
      {" ", "invalid_json"},
      {"\n", "invalid_json"},
      {"\xEF\xBB\xBF", "invalid_json"},
      {"\xEF\xBB\xBF\xEF\xBB\xBF{\"a\":1}", "invalid_json"},
      {" \xEF\xBB\xBF{\"a\":1}", "invalid_json"},
      {"{\"a\":1}\xEF\xBB\xBF", "invalid_json"},
      {std::string(3, '\0'), "invalid_json"},
      {std::string("{\"a\":1}\0", 8), "invalid_json"},
      {"{\"a\":1}\x0C", "invalid_json"},
      {"{", "invalid_json"},
      {"}", "invalid_json"},
      {"{\"a\"", "invalid_json"},
      {"{\"a\":", "invalid_json"},
      {"{\"a\":1", "invalid_json"},
      {"{\"a\":1,", "invalid_json"},
      {"{\"a\":1,}", "invalid_json"},
      {"{\"a\"}", "invalid_json"},
      {"{\"a\" \"b\"}", "invalid_json"},
      {"{\"a\":}", "invalid_json"},
      {"{\"a\":,}", "invalid_json"},
      {"{:1}", "invalid_json"},
      {"{1:1}", "invalid_json"},
      {"{a:1}", "invalid_json"},
      {"{\"a\":1 \"b\":2}", "invalid_json"},
      {"{\"a\":1]", "invalid_json"},
      {"{\"a\":[1}", "invalid_json"},
      {"{\"b\":[1}", "invalid_json"},
      {"{\"b\":[{]}}", "invalid_json"},
      {"{\"a\":1}}", "invalid_json"},
      {"{\"a\":1}{\"a\":2}", "invalid_json"},
      {"{\"a\":1}\n{\"a\":2}", "invalid_json"},
      {"{\"a\":1} x", "invalid_json"},
      {"{\"a\":1},", "invalid_json"},
      {"{\"a\":01}", "invalid_json"},
      {"{\"a\":1.}", "invalid_json"},
      {"{\"a\":+1}", "invalid_json"},
      {"{\"a\":-}", "invalid_json"},
      {"{\"a\":1e}", "invalid_json"},
      {"{\"a\":NaN}", "invalid_json"},
      {"{\"a\":nul}", "invalid_json"},
      {"{\"a\":nulll}", "invalid_json"},
      {"{\"a\":TRUE}", "invalid_json"},
      {"{\"a\":1\"b\"}", "invalid_json"},
      {"{\"a\":\"x\"y}", "invalid_json"},
      {"{\"a\":\"x\" \"y\"}", "invalid_json"},
      {"{\"a\":'x'}", "invalid_json"},
      {"{\"a\":\"x}", "invalid_json"},
      {"{\"a\":\"\n\"}", "invalid_json"},
      {std::string("{\"a\":\"\0\"}", 9), "invalid_json"},
      {"{\"a\":[1,]}", "invalid_json"},
      {"{\"a\":[,1]}", "invalid_json"},
      {"{\"a\":[1 2]}", "invalid_json"},
      {"{\"a\":[1", "invalid_json"},
      {"{\"a\":{\"b\"}}x", "invalid_json"},
      {"[]", "not_an_object"},
      {"[{\"a\":1}]", "not_an_object"},
      {"\"a\"", "not_an_object"},
      {" 1 ", "not_an_object"},
      {"null", "not_an_object"},
      {"nope", "invalid_json"},
      {"[1,", "invalid_json"},
      {"1 2", "invalid_json"},
      {"1,2", "invalid_json"},
      {"[1],[2]", "invalid_json"},
  };
  for (const BadCase& c : cases) {
    EXPECT_EQ(Read("a", c.record), c.want) << c.record;
    EXPECT_EQ(Read("a", c.record, Full()), c.want) << c.record;
  }
}

TEST(Decoder, PassesOverOneByteOrderMark) {
  EXPECT_EQ(Read("a", "\xEF\xBB\xBF{\"a\":1}"), "n:1");
  EXPECT_EQ(Read("a", "\xEF\xBB\xBF {\"a\":\"\xFF\"}", Full()), "s:\xEF\xBF\xBD");
}

TEST(Decoder, FullValidationLooksAtEveryValue) {
  for (const char* record :
       {R"({"a":1,"b":01})", R"({"a":1,"b":{"c":}})", R"({"a":1,"b":[1,]})", R"({"a":1,"b":[1 2]})",
        R"({"a":1,"b":{1:2}})", R"({"a":1,"b":tru})", R"({"a":1,"b":{"c":1,}})"}) {
    EXPECT_EQ(Read("a", record), "n:1") << record;
    EXPECT_EQ(Read("a", record, Full()), "invalid_json") << record;
  }
}

TEST(Decoder, ABadRecordLeavesNoFields) {
  Harness harness({"a", "b"});
  EXPECT_EQ(harness.Decode(R"({"a":1,"b":tru})"), DecodeResult::kInvalidJson);
  EXPECT_EQ(harness.Field(0), "-");
  EXPECT_EQ(harness.event().fields.size(), 2u);
  EXPECT_EQ(harness.event().seq, PackSeq(3, 77));
  EXPECT_EQ(harness.event().raw, R"({"a":1,"b":tru})");
  EXPECT_EQ(harness.Decode(R"({"b":2})"), DecodeResult::kNoTime);
  EXPECT_EQ(harness.Field(0), "-");
  EXPECT_EQ(harness.Field(1), "n:2");
}

TEST(Decoder, BoundsSizeAndDepth) {
  EXPECT_EQ(Read("a", R"({"a":1})", {.record_bytes_max = 7}), "n:1");
  EXPECT_EQ(Read("a", R"({"a":1})", {.record_bytes_max = 6}), "too_large");
  const auto nested = [](const std::string& key, int levels) {
    return "{\"" + key + "\":" + std::string(static_cast<size_t>(levels - 1), '[') + "1" +
           std::string(static_cast<size_t>(levels - 1), ']') + "}";
  };
  for (const Validate validate : {Validate::kRead, Validate::kFull}) {
    for (const std::string field : {"a", "b", "a.b"}) {
      const DecoderOptions options{.validate = validate, .depth_max = 8};
      EXPECT_EQ(Read(field, nested("a", 8), options).substr(0, 4), field == "a" ? "[[[[" : "-");
      EXPECT_EQ(Read(field, nested("a", 9), options), "too_deep");
      EXPECT_EQ(Read(field, nested("a", 100'000), options), "too_deep");
      EXPECT_EQ(Read(field, "[[[[[[[[[1]]]]]]]]]", options), "too_deep");
    }
    const DecoderOptions options{.validate = validate, .depth_max = 3};
    EXPECT_EQ(Read("a.b.c", R"({"a":{"b":{"c":1}}})", options), "n:1");
    EXPECT_EQ(Read("a.b.c", R"({"a":{"b":{"c":{}}}})", options), "too_deep");
    EXPECT_EQ(Read("a.b.c.d", R"({"a":{"b":{"c":{"d":1}}}})", options), "too_deep");
  }
}

TEST(Decoder, CapsArrays) {
  std::string record = R"({"a":[0)";
  for (int i = 1; i < kArrayItemsMax + 5; ++i) record += "," + std::to_string(i);
  record += R"(],"b":"x"})";
  Harness harness({"a", "b"});
  EXPECT_EQ(harness.Decode(record), DecodeResult::kNoTime);
  ASSERT_EQ(harness.event().field(0).items().size(), static_cast<size_t>(kArrayItemsMax));
  EXPECT_EQ(harness.event().field(0).items().back().text(), "1023");
  EXPECT_EQ(harness.Field(1), "s:x");
  EXPECT_EQ(harness.counters().array_items_capped, 5u);
}

TEST(Decoder, GivesAllValuesAsOneField) {
  const std::string all(kAllValuesField);
  EXPECT_EQ(
      Read(all, R"({"a": "x", "b": {"c": [1, true, null, {"d": "y\u00e9"}], "e": {}}, "f": ""})"),
      "[s:x, n:1, b:true, s:y\xc3\xa9, s:]");
  EXPECT_EQ(Read(all, "{}"), "[]");
  // Beside a field of its own, escapes and all; keys are not values.
  Harness harness({"a", all, "k"});
  EXPECT_EQ(harness.Decode(R"({"a": "\\x\\", "key": "\\y\\", "k": {"a": "z"}})", false),
            DecodeResult::kNoTime);
  EXPECT_EQ(harness.Field(0), "s:\\x\\");
  EXPECT_EQ(harness.Field(1), "[s:\\x\\, s:\\y\\, s:z]");
  std::string many = R"({"a": [0)";
  for (int i = 1; i < kAllValuesMax + 10; ++i) many += ",1";
  EXPECT_EQ(harness.Decode(many + "]}"), DecodeResult::kNoTime);
  EXPECT_EQ(harness.event().field(1).items().size(), static_cast<size_t>(kAllValuesMax));
  // Each member of the array that its own field leaves out, and once the record.
  EXPECT_EQ(harness.counters().array_items_capped,
            static_cast<uint64_t>(kAllValuesMax + 10 - kArrayItemsMax) + 1);
}

TEST(Decoder, LeavesFieldsForLater) {
  Format format;
  FieldTable fields;
  fields.Slot("now");
  fields.Slot("later");
  fields.Slot("number");
  const int all = fields.Slot(kAllValuesField);
  DecoderOptions options;
  options.later = {false, true, true, true};
  Decoder decoder(format, fields, options);
  const auto decode = [&](const std::string& text, Event* event) {
    Record record;
    record.bytes = text;
    return decoder.Decode(record, event);
  };
  Event event;
  const std::string good = R"({"now": "a\\b", "later": "c\u0064", "number": 1e3})";
  ASSERT_EQ(decode(good, &event), DecodeResult::kNoTime);
  EXPECT_EQ(Show(event.field(0)), "s:a\\b");
  EXPECT_EQ(Show(event.field(1)), "-");
  EXPECT_EQ(Show(event.field(2)), "-");
  EXPECT_EQ(Show(event.field(all)), "-");
  const std::vector<int> three_slots = {0, 1, 2};
  std::vector<std::string_view> written(3, "before");
  event.reader->Written(three_slots, written.data());
  EXPECT_EQ(written, (std::vector<std::string_view>{"", R"("c\u0064")", "1e3"}));
  EXPECT_FALSE(event.reader->repaired());
  const std::vector<int> slots = {1};
  ASSERT_TRUE(event.reader->Read(slots));
  event.reader->Written(three_slots, written.data());
  EXPECT_EQ(written, (std::vector<std::string_view>{"", "", "1e3"}));
  EXPECT_EQ(Show(event.field(1)), "s:cd");
  EXPECT_EQ(Show(event.field(2)), "-");
  event.reader->ReadAllValues();
  EXPECT_EQ(Show(event.field(all)), "[s:a\\b, s:cd, n:1e3]");
  ASSERT_TRUE(event.reader->ReadAll());
  EXPECT_EQ(Show(event.field(2)), "n:1e3");
  // What is wrong is found by who reads it; keywords search it as it stands.
  const std::string bad = R"({"now": 1, "later": "\x", "number": 1x})";
  ASSERT_EQ(decode(bad, &event), DecodeResult::kNoTime);
  EXPECT_EQ(Show(event.field(1)), "-");  // nothing of the record before
  event.reader->ReadAllValues();
  EXPECT_EQ(Show(event.field(all)), "[n:1, s:\\x]");
  EXPECT_FALSE(event.reader->Read(slots));
  const std::vector<int> number = {2};
  EXPECT_FALSE(event.reader->Read(number));
  EXPECT_EQ(decode(R"({"now": "\x"})", &event), DecodeResult::kInvalidJson);
  const std::string half = R"({"later": "\ud800"})";
  ASSERT_EQ(decode(half, &event), DecodeResult::kNoTime);
  EXPECT_FALSE(event.reader->repaired());
  ASSERT_TRUE(event.reader->Read(slots));
  EXPECT_TRUE(event.reader->repaired());
  // A better path's value comes after a worse one's was left, and a null does not.
  format.fields["later"] = {"x", "y"};
  Decoder ranked(format, fields, options);
  const std::string three = R"({"y": "worse", "x": "better", "y": "again"})";
  Record record;
  record.bytes = three;
  ASSERT_EQ(ranked.Decode(record, &event), DecodeResult::kNoTime);
  ASSERT_TRUE(event.reader->ReadAll());
  EXPECT_EQ(Show(event.field(1)), "s:better");
}

// The nested path comes first and is wrong, the flat key is better: what is read at once is a dead
// letter, what is left for later never looks at the number. CompareLate holds the two together.
TEST(Decoder, ReadsOnlyTheBestPathOfAFieldLeftForLater) {
  Harness harness({"b.c"});
  EXPECT_EQ(harness.Decode(R"({"b":{"c":-1x2},"b.c":3})"), DecodeResult::kInvalidJson);
  EXPECT_EQ(harness.Decode(R"({"b.c":3,"b":{"c":-1x2}})"), DecodeResult::kNoTime);
  EXPECT_EQ(harness.Field(0), "n:3");
  Harness full({"b.c"}, Full());
  EXPECT_EQ(full.Decode(R"({"b.c":3,"b":{"c":-1x2}})"), DecodeResult::kInvalidJson);
}

TEST(Decoder, RepairsInvalidUtf8) {
  const std::pair<std::string, std::string> cases[] = {
      {"\xFF", "\xEF\xBF\xBD"},
      {"a\xC3z", "a\xEF\xBF\xBDz"},
      {"\xE2\x82", "\xEF\xBF\xBD"},                              // a sequence cut off: one
      {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"},                  // overlong: one each
      {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},  // a surrogate
      {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},  // beyond U+10FFFF
      {"\xF0\x9F\x98\x80\x80", "\xF0\x9F\x98\x80\xEF\xBF\xBD"},
      {"\xE2\x82\xAC\xF8", "\xE2\x82\xAC\xEF\xBF\xBD"},
  };
  for (const auto& [bad, want] : cases) {
    Harness harness({"a"}, Full());
    EXPECT_EQ(harness.Decode("{\"a\":\"" + bad + "\",\"b\":1}"), DecodeResult::kNoTime);
    EXPECT_EQ(harness.Field(0), "s:" + want);
    EXPECT_EQ(harness.counters().repaired_utf8, 1u);
    EXPECT_EQ(harness.Decode(R"({"a":"x"})"), DecodeResult::kNoTime);
    EXPECT_EQ(harness.counters().repaired_utf8, 1u);
  }
  // In a value that nobody reads, it does not cost the record either; outside strings it is no
  // JSON.
  EXPECT_EQ(Read("a", "{\"a\":1,\"b\":\"\xFF\"}"), "n:1");
  EXPECT_EQ(Read("a", "{\"a\":\xFF}"), "invalid_json");
  EXPECT_EQ(Read("a", "\xFF"), "invalid_json");
}

TEST(Decoder, TakesTheFirstUsableTime) {
  Format format;
  format.time.push_back({.path = "flow.start", .when = {"event_type", {"flow"}}});
  format.time.push_back(
      {.path = "utc", .encoding = TimeEncoding::kPattern, .pattern = "%Y-%m-%d %H:%M:%S%f"});
  format.time.push_back({.path = "ms", .encoding = TimeEncoding::kEpochMs});
  Harness harness({"a", "ms"}, {}, format);
  struct TimeCase {
    const char* record;
    std::optional<EventTimeNs> want;
  };
  const TimeCase cases[] = {
      {R"({"event_type":"flow","flow":{"start":"1970-01-01T00:00:01.5+0000"},"ms":7})",
       1'500'000'000},
      {R"({"event_type":"FLOW","flow.start":"1970-01-01T00:00:01Z"})", kSecondNs},
      {R"({"event_type":"alert","flow":{"start":"1970-01-01T00:00:01.5+0000"},"ms":7})", 7'000'000},
      {R"({"flow":{"start":"1970-01-01T00:00:01.5+0000"},"ms":7})", 7'000'000},
      {R"({"utc":"1970-01-01 00:00:02.25","ms":7})", 2'250'000'000},
      {R"({"utc":"1970-01-01T00:00:02.25","ms":"7.5"})", 7'500'000},
      {R"({"ms":9007199254740.993})", 9'007'199'254'740'993'000},
      {R"({"ms":null})", std::nullopt},
      {R"({"ms":[7]})", std::nullopt},
      {R"({"ms":true})", std::nullopt},
      {R"({"ms":1e30})", std::nullopt},
      {R"({"utc":"","ms":""})", std::nullopt},
      {R"({"event_type":"flow","flow":{"start":5}})", std::nullopt},
      {R"({})", std::nullopt},
  };
  for (const TimeCase& c : cases) {
    EXPECT_EQ(harness.Decode(c.record), c.want ? DecodeResult::kOk : DecodeResult::kNoTime)
        << c.record;
    EXPECT_EQ(harness.event().has_time, c.want.has_value()) << c.record;
    EXPECT_EQ(harness.event().fields.size(), 2u);
    if (c.want) {
      EXPECT_EQ(harness.event().time, *c.want) << c.record;
    }
  }
  EXPECT_EQ(harness.Decode(R"({"a":"kept"})"), DecodeResult::kNoTime);
  EXPECT_EQ(harness.Field(0), "s:kept");
}

// --- Against a DOM
// -------------------------------------------------------------------------------------------------

// In place means: nothing behind the 64 bytes of slack is read. A page that may not be read begins
// there.
TEST(Decoder, ReadsNothingBehindTheSlack) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  char* memory = static_cast<char*>(
      mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(memory, MAP_FAILED);
  ASSERT_EQ(mprotect(memory + page, page, PROT_NONE), 0);
  FieldTable fields;
  fields.Slot("a");
  const Format format;
  Decoder decoder(format, fields, {});
  for (size_t pad = 0; pad < 130; ++pad) {
    for (const uint32_t slack : {0u, 64u}) {
      const std::string text = "{\"a\":\"" + std::string(pad, 'x') + "\"}";
      char* place = memory + page - slack - text.size();
      std::memcpy(place, text.data(), text.size());
      Record record;
      record.bytes = {place, text.size()};
      record.slack = slack;
      Event event;
      ASSERT_EQ(decoder.Decode(record, &event), DecodeResult::kNoTime);
      ASSERT_EQ(event.field(0).text(), std::string(pad, 'x'));
    }
  }
  munmap(memory, 2 * page);
}

TEST(Decoder, TreatsTheJsonTestSuiteAsItsNamesSay) {
  const char* shared = std::getenv("BONGSU_SHARED");
  if (shared == nullptr)
    GTEST_SKIP() << "BONGSU_SHARED is not set: the JSON test suite is not there";
  const std::filesystem::path archive =
      std::filesystem::path(shared) / "data/json-bad/jsontestsuite.tar.zst";
  std::string folder = (std::filesystem::temp_directory_path() / "bongsu_json_XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string command = "zstd -dcq '" + archive.string() + "' | tar -x -C '" + folder + "'";
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file() || entry.path().extension() != ".json") continue;
    std::stringstream content;
    content << std::ifstream(entry.path(), std::ios::binary).rdbuf();
    const std::string text = content.str();
    const std::string name = entry.path().filename().string();
    Harness read({"a", "a.b", "asd"});
    Harness full({"a", "a.b", "asd"}, Full());
    for (const bool slack : {false, true}) {
      read.Decode(text, slack);
      const DecodeResult result = full.Decode(text, slack);
      const bool object = text.find_first_not_of(" \t\r\n") != std::string::npos &&
                          text[text.find_first_not_of(" \t\r\n")] == '{';
      if (name.starts_with("y_")) {
        EXPECT_EQ(result, object ? DecodeResult::kNoTime : DecodeResult::kNotAnObject) << name;
      }
      if (name.starts_with("n_")) {
        EXPECT_TRUE(result == DecodeResult::kInvalidJson || result == DecodeResult::kTooDeep)
            << name;
      }
    }
    ++files;
  }
  EXPECT_GT(files, 100);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace bongsu
