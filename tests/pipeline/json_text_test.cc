#include "pipeline/json_text.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <random>

namespace bongsu {
namespace {

using Json = nlohmann::json;

std::string Text(std::string_view text) {
  std::string out;
  AppendJsonString(text, &out);
  return out;
}

TEST(JsonTextTest, EscapesWhatJsonAndReadersNeed) {
  const std::pair<std::string, std::string> cases[] = {
      {"", R"("")"},
      {"plain text, longer than eight bytes", R"("plain text, longer than eight bytes")"},
      {R"(C:\Windows\System32\"cmd".exe)", R"("C:\\Windows\\System32\\\"cmd\".exe")"},
      {"a\nb\rc\td\be\ff", R"("a\nb\rc\td\be\ff")"},
      {std::string("nul\0end", 7), R"("nul\u0000end")"},
      {"\x01\x1f\x7f", R"("\u0001\u001f\u007f")"},
      {"\u0080\u009f\u00a0", "\"\\u0080\\u009f\u00a0\""},  // C1 controls
      {"exe.\u202Egpj", R"("exe.\u202egpj")"},             // right-to-left override
      {"\u200e\u200f\u061c\u2066\u2069\ufeff", R"("\u200e\u200f\u061c\u2066\u2069\ufeff")"},
      {"\u2028\u2029", R"("\u2028\u2029")"},
      {"봉수 \U0001F525 é", "\"봉수 \U0001F525 é\""},
  };
  for (const auto& [text, json] : cases) {
    EXPECT_EQ(Text(text), json);
    EXPECT_EQ(Json::parse(Text(text)).get<std::string>(), text);
  }
}

TEST(JsonTextTest, BytesThatAreNotUtf8BecomeReplacementCharacters) {
  EXPECT_EQ(Text("a\xff"
                 "b"),
            R"("a\ufffdb")");
  EXPECT_EQ(Text("\xc0\xaf"), R"("\ufffd\ufffd")");                      // overlong
  EXPECT_EQ(Text("\xed\xa0\x80"), R"("\ufffd\ufffd\ufffd")");            // a surrogate
  EXPECT_EQ(Text("cut \xe2\x80"), R"("cut \ufffd\ufffd")");              // ends within a code point
  EXPECT_EQ(Text("\xf4\x90\x80\x80"), R"("\ufffd\ufffd\ufffd\ufffd")");  // beyond U+10FFFF
}

TEST(JsonTextTest, AnyBytesGiveValidJsonAndUtf8ComesBackAsItWas) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  const std::string pieces[] = {"a",        "\"",   "\\",     "\n",  std::string(1, '\0'),
                                "\x7f",     "é",    "\u202e", "한",  "\U0001F600",
                                "abcdefgh", "\xff", "\xe2",   "\x80"};
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (size_t n = random() % 24; n > 0; --n) text += pieces[random() % std::size(pieces)];
    const std::string json = Text(text);
    const Json parsed = Json::parse(json, nullptr, false);
    ASSERT_FALSE(parsed.is_discarded()) << json;
    if (IsValidUtf8(text)) {
      ASSERT_EQ(parsed.get<std::string>(), text);
    }
    for (const char c : json) ASSERT_GE(static_cast<unsigned char>(c), 0x20);
  }
}

TEST(JsonTextTest, TimesAreWrittenWithNanoseconds) {
  const std::pair<EventTimeNs, std::string> cases[] = {
      {0, "1970-01-01T00:00:00.000000000Z"},
      {-1, "1969-12-31T23:59:59.999999999Z"},
      {1'600'618'616'597'000'001, "2020-09-20T16:16:56.597000001Z"},
      {951'782'400'000'000'000, "2000-02-29T00:00:00.000000000Z"},
      {4'102'444'800'000'000'000, "2100-01-01T00:00:00.000000000Z"},
      {kMaxEventTime, "2262-04-11T23:47:16.854775807Z"},
      {kMinEventTime, "1677-09-21T00:12:43.145224192Z"},
  };
  for (const auto& [time, text] : cases) {
    std::string out;
    AppendRfc3339(time, &out);
    EXPECT_EQ(out, text);
  }
  EXPECT_EQ(EpochMs(1'999'999), 1);
  EXPECT_EQ(EpochMs(-1), -1);
  EXPECT_EQ(EpochMs(-1'000'000), -1);
}

TEST(JsonTextTest, Base64HasPadding) {
  const std::pair<std::string, std::string> cases[] = {// RFC 4648, section 10
                                                       {"", ""},
                                                       {"f", "Zg=="},
                                                       {"fo", "Zm8="},
                                                       {"foo", "Zm9v"},
                                                       {"foob", "Zm9vYg=="},
                                                       {"fooba", "Zm9vYmE="},
                                                       {"foobar", "Zm9vYmFy"},
                                                       {"\xff\xfe", "//4="}};
  for (const auto& [bytes, text] : cases) {
    std::string out;
    AppendBase64(bytes, &out);
    EXPECT_EQ(out, text);
  }
}

TEST(JsonTextTest, NumbersAreCheckedBeforeTheyStandUnquoted) {
  for (const char* good :
       {"0", "-0", "1", "18446744073709551616", "-1.5", "1e9", "2E+3", "0.1e-7"}) {
    EXPECT_TRUE(IsJsonNumber(good)) << good;
  }
  for (const char* bad :
       {"", "-", "01", "1.", ".5", "1e", "1e+", "+1", "0x1", "1 ", "NaN", "1,2", "1.2.3"}) {
    EXPECT_FALSE(IsJsonNumber(bad)) << bad;
  }
  // Readers refuse what no double holds; its digits are no fault.
  for (const std::string& large : {std::string("1e309"), std::string("-1e400"),
                                   std::string(309, '9'), std::string("1e99999999999999999999")})
    EXPECT_FALSE(IsJsonNumber(large)) << large;
  for (const std::string& exact :
       {std::string("1.7e308"), "0." + std::string(400, '1'), "1" + std::string(307, '0')})
    EXPECT_TRUE(IsJsonNumber(exact)) << exact;
  std::string out;
  AppendInt(std::numeric_limits<int64_t>::min(), &out);
  AppendUint(std::numeric_limits<uint64_t>::max(), &out);
  EXPECT_EQ(out, "-922337203685477580818446744073709551615");
}

TEST(JsonTextTest, PrefixesEndBetweenCodePoints) {
  EXPECT_EQ(Utf8Prefix("abc", 3), "abc");
  EXPECT_EQ(Utf8Prefix("abc", 2), "ab");
  EXPECT_EQ(Utf8Prefix("a한b", 3), "a");
  EXPECT_EQ(Utf8Prefix("a한b", 4), "a한");
  EXPECT_EQ(Utf8Prefix("\U0001F525", 3), "");
}

}  // namespace
}  // namespace bongsu
