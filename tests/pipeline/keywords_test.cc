// Keywords on records as they are written: the service looks for them in the bytes first
// (operators/sigma/record_filter.h), and takes a record's values apart only where one may be there.
// That must not lose any: random records, written in every way that JSON has, against each rule
// asked of all values.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <utf8proc.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "operators/fold.h"
#include "operators/sigma/record_filter.h"
#include "operators/sigma/rule_matcher.h"
#include "pipeline/decoder.h"
#include "pipeline/json_text.h"

namespace bongsu {
namespace {

using sigma::RecordFilter;

constexpr size_t kRounds = 300;
constexpr size_t kRulesOfRound = 12;
constexpr size_t kRecordsOfRound = 60;

TEST(RecordFilter, LooksForWhatIsWrittenInOneWay) {
  EXPECT_EQ(RecordFilter::WrittenPart("mimikatz"), "mimikatz");
  EXPECT_EQ(RecordFilter::WrittenPart("\\lsass.exe\" /x"), "lsass.ex");
  EXPECT_EQ(RecordFilter::WrittenPart("privilege::debug"), "vilege::");
  EXPECT_EQ(RecordFilter::WrittenPart("a\nbcde"), "bcde");
  EXPECT_EQ(RecordFilter::WrittenPart("\u00e4bc \u00e4 defg"), " defg");
  EXPECT_EQ(RecordFilter::WrittenPart("\"ab\""), "");
  EXPECT_EQ(RecordFilter::WrittenPart("1000"), "");  // may be written 1e3
  EXPECT_EQ(RecordFilter::WrittenPart("-1.5"), "");
  EXPECT_EQ(RecordFilter::WrittenPart("1000x"), "1000x");
  EXPECT_EQ(RecordFilter::Make({"mimikatz", "/"}), nullptr);
}

bool MayHold(const std::vector<std::string>& literals, std::string_view json) {
  const auto filter = RecordFilter::Make(literals);
  sigma::LiteralScratch scratch;
  filter->Fit(&scratch);
  std::vector<uint32_t> hits;
  return filter->MayHold(json, scratch, &hits);
}

TEST(RecordFilter, SaysNoOnlyWhereNoValueHoldsALiteral) {
  const std::vector<std::string> literals = {"mimikatz", "\\lsass.exe", "kiwi"};
  EXPECT_TRUE(MayHold(literals, R"({"a": "x MimiKATZ"})"));
  EXPECT_TRUE(MayHold(literals, R"({"a": "C:\\LSASS.exe"})"));
  EXPECT_TRUE(MayHold(literals, R"({"a": "\u006dimikatz"})"));
  EXPECT_TRUE(MayHold(literals, "{\"a\": \"mimi\u212aatz\"}"));
  EXPECT_TRUE(MayHold(literals, "{\"a\": \"k\u0131wi\"}"));
  EXPECT_FALSE(MayHold(literals, R"({"a": "C:\\users\\\\unknown\\mimi"})"));
  EXPECT_FALSE(MayHold(literals, "{\"a\": \"mimi\u00e4katz\"}"));
  EXPECT_FALSE(MayHold(literals, "{}"));
}

// The filter's list of letters outside ASCII that fold into it is complete.
TEST(RecordFilter, KnowsEveryLetterThatFoldsIntoAscii) {
  for (int32_t code = 0x80; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code <= 0xDFFF) continue;
    utf8proc_uint8_t bytes[4];
    const utf8proc_ssize_t size = utf8proc_encode_char(code, bytes);
    const std::string text(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
    const std::string folded = Folded(text);
    if (!IsAscii(folded)) continue;
    EXPECT_TRUE(MayHold({"never there"}, "{\"a\": \"" + text + "\"}")) << fmt::format("{:x}", code);
  }
}

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}
  size_t Below(size_t n) { return random_() % n; }

  // Few letters, so that texts meet; all that JSON writes in several ways, and what folds.
  std::string Text(size_t size) {
    static const std::vector<std::string> kLetters = {
        "a",      "A",      "b",      "k",      "K",      "s",  "i",         "I", "\u212a",
        "\u017f", "\u0130", "\u0131", "\u00e9", "\u00c9", "\\", "\"",        "/", "\n",
        "1",      "0",      ".",      "-",      "e",      " ",  "\U00010400"};
    std::string text;
    for (size_t i = Below(size + 1); i > 0; --i) text += kLetters[Below(kLetters.size())];
    return text;
  }
  std::string Keyword() {
    std::string text;
    while (text.empty()) text = Below(3) == 0 ? Piece() : Text(5);
    return text;
  }
  std::string Record() {
    std::string json = "{";
    for (size_t i = Below(5); i > 0; --i)
      json += fmt::format("{}{}: {}", json.size() > 1 ? ", " : "", Written(Text(4)), Val(2));
    return json + "}";
  }

 private:
  std::string Piece() {
    static const std::vector<std::string> kPieces = {"mimikatz",  "KIWI\\", "b/\"ask", "1000",
                                                     "isk\u00e9", "true",   "-1.5"};
    return kPieces[Below(kPieces.size())];
  }
  std::string Val(size_t depth) {
    switch (Below(depth == 0 ? 5 : 7)) {
      case 0:
        return std::vector<std::string>{"1e3", "1000.0", "-15e-1", "7", "0.1E1"}[Below(5)];
      case 1:
        return std::vector<std::string>{"true", "false", "null"}[Below(3)];
      case 2:
        return Written(Text(2) + Piece() + Text(2));
      case 5:
        return fmt::format("[{}, {}]", Val(depth - 1), Val(depth - 1));
      case 6:
        return fmt::format("{{\"a\": {}}}", Val(depth - 1));
      default:
        return Written(Text(8));
    }
  }
  // As a JSON string, each character in one of its ways.
  std::string Written(std::string_view text) {
    const bool escapes = Below(4) == 0;
    std::string json = "\"";
    for (size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      const bool ascii = static_cast<unsigned char>(c) < 0x80;
      if (ascii && escapes && Below(6) == 0) {
        json += fmt::format("\\u{:04x}", static_cast<int>(c));
      } else if (c == '\n') {
        json += "\\n";
      } else if (c == '"' || c == '\\' || (c == '/' && Below(2) == 0)) {
        json += '\\';
        json += c;
      } else {
        json += c;
      }
    }
    return json + "\"";
  }

  std::mt19937_64 random_;
};

std::string KeywordRule(Generator& generate) {
  std::string list;
  for (size_t i = 1 + generate.Below(3); i > 0; --i) {
    std::string quoted;
    AppendJsonString(generate.Keyword(), &quoted);
    list += (list.empty() ? "" : ", ") + quoted;
  }
  const bool inverse = generate.Below(5) == 0;
  return fmt::format("{{k: [{}], a: {{a: '7'}}, condition: {}}}", list,
                     inverse                  ? "a and not k"
                     : generate.Below(4) == 0 ? "k or a"
                                              : "k");
}

void Round(uint64_t seed, size_t* met) {
  Generator generate(seed);
  FieldTable fields;
  sigma::RuleMatcher::Builder builder;
  const uint32_t group = builder.Group(nullptr);
  std::vector<std::shared_ptr<const sigma::Detection>> rules;
  const size_t count = 1 + generate.Below(kRulesOfRound);
  while (rules.size() < count) {
    const std::string yaml = KeywordRule(generate);
    Diagnostics diagnostics;
    const auto documents = ParseYaml(yaml, "rule", YamlLimits{}, diagnostics);
    ASSERT_EQ(documents.size(), 1) << yaml << diagnostics.Text();
    rules.push_back(sigma::CompileSelection(documents[0], fields, diagnostics));
    ASSERT_NE(rules.back(), nullptr) << yaml << diagnostics.Text();
    builder.Rule(group, rules.back());
  }
  const auto matcher = builder.Build(fields.Find(kAllValuesField));
  const auto scratch = matcher->NewScratch();
  const Format format;
  Decoder decoder(format, fields, {});
  DecoderOptions options;
  options.later.assign(static_cast<size_t>(fields.size()), true);
  Decoder late_decoder(format, fields, options);
  for (size_t i = 0; i < kRecordsOfRound; ++i) {
    const std::string json = generate.Record();
    Record record;
    record.bytes = json;
    Event event;
    Event late;
    ASSERT_EQ(decoder.Decode(record, &event), DecodeResult::kNoTime) << json;
    ASSERT_EQ(late_decoder.Decode(record, &late), DecodeResult::kNoTime) << json;
    std::vector<uint32_t> fired;
    std::vector<uint32_t> wanted;
    ASSERT_TRUE(matcher->Match(late, *scratch, &fired));
    for (uint32_t rule = 0; rule < rules.size(); ++rule) {
      if (rules[rule]->Matches(event)) wanted.push_back(rule);
    }
    ASSERT_EQ(fired, wanted) << json;
    *met += wanted.size();
  }
}

// What the matcher remembers of an event by its fields must not stand in for its keywords: here no
// rule needs one to be seen, and so none is looked for.
TEST(Keywords, AreNotRememberedByOtherFields) {
  FieldTable fields;
  sigma::RuleMatcher::Builder builder;
  const uint32_t group = builder.Group(nullptr);
  std::vector<std::shared_ptr<const sigma::Detection>> rules;
  for (size_t i = 0; i < 2 * sigma::kMemoRules; ++i) {
    Diagnostics diagnostics;
    const auto documents =
        ParseYaml(fmt::format("{{a: {{a: '{}'}}, k: [mimikatz], condition: a and not k}}", i),
                  "rule", YamlLimits{}, diagnostics);
    rules.push_back(sigma::CompileSelection(documents.at(0), fields, diagnostics));
    builder.Rule(group, rules.back());
  }
  const auto matcher = builder.Build(fields.Find(kAllValuesField));
  const auto scratch = matcher->NewScratch();
  const Format format;
  DecoderOptions options;
  options.later.assign(static_cast<size_t>(fields.size()), true);
  Decoder decoder(format, fields, options);
  for (int round = 0; round < 3; ++round) {
    for (const bool keyword : {false, true}) {
      Record record;
      record.bytes = keyword ? R"({"a": "7", "b": "MimiKatz"})" : R"({"a": "7", "b": "none"})";
      Event event;
      ASSERT_EQ(decoder.Decode(record, &event), DecodeResult::kNoTime);
      std::vector<uint32_t> fired;
      ASSERT_TRUE(matcher->Match(event, *scratch, &fired));
      EXPECT_EQ(fired, keyword ? std::vector<uint32_t>{} : std::vector<uint32_t>{7});
    }
  }
}

// Events are remembered by how their fields are written, also those that only a fieldref reads; and
// what had to be repaired is counted each time.
TEST(Matcher, RemembersWhatIsNotReadYet) {
  FieldTable fields;
  sigma::RuleMatcher::Builder builder;
  const uint32_t group = builder.Group(nullptr);
  std::vector<std::shared_ptr<const sigma::Detection>> rules;
  for (size_t i = 0; i < 2 * sigma::kMemoRules; ++i) {
    Diagnostics diagnostics;
    const auto documents = ParseYaml(fmt::format("{{s: {{a|fieldref: g{}}}, condition: s}}", i),
                                     "rule", YamlLimits{}, diagnostics);
    rules.push_back(sigma::CompileSelection(documents.at(0), fields, diagnostics));
    builder.Rule(group, rules.back());
  }
  const auto matcher = builder.Build();
  const auto scratch = matcher->NewScratch();
  const Format format;
  DecoderOptions options;
  options.later.assign(static_cast<size_t>(fields.size()), true);
  Decoder decoder(format, fields, options);
  for (uint64_t round = 0; round < 3; ++round) {
    const std::vector<std::pair<std::string, std::vector<uint32_t>>> records = {
        {R"({"a": "x", "g3": "x", "g5": "y"})", {3}},
        {R"({"a": "y", "g3": "x", "g5": "y"})", {5}},
        {R"({"a": "x", "g3": "X", "g5": "\u0078"})", {3, 5}},
        {R"({"a": "\ud800", "g3": "x", "g5": 1})", {}}};
    for (const auto& [text, expected] : records) {
      Record record;
      record.bytes = text;
      Event event;
      ASSERT_EQ(decoder.Decode(record, &event), DecodeResult::kNoTime);
      std::vector<uint32_t> fired;
      ASSERT_TRUE(matcher->Match(event, *scratch, &fired));
      EXPECT_EQ(fired, expected) << text;
    }
    EXPECT_EQ(decoder.counters().repaired_utf8, round + 1);
  }
}

TEST(Keywords, AreFoundHoweverTheRecordIsWritten) {
  const char* given = std::getenv("BONGSU_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::cout << "BONGSU_SEED=" << seed << "\n";
  size_t met = 0;
  for (uint64_t round = 0; round < kRounds && !::testing::Test::HasFailure(); ++round) {
    SCOPED_TRACE(fmt::format("BONGSU_SEED={}", seed + round));
    Round(seed + round, &met);
  }
  std::cout << met << " met\n";
  EXPECT_GT(met, kRounds * 10);
}

}  // namespace
}  // namespace bongsu
