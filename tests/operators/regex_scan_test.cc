// Long regular expressions: Vectorscan gives the answer that RE2 gives, or none.
#include "operators/sigma/regex_scan.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <re2/re2.h>

#include <random>
#include <string>
#include <vector>

namespace bongsu::sigma {
namespace {

std::unique_ptr<RE2> Compile(const std::string& pattern, bool cased = true, bool dot_nl = false) {
  RE2::Options options;
  options.set_case_sensitive(cased);
  options.set_dot_nl(dot_nl);
  options.set_log_errors(false);
  options.set_max_mem(64 << 20);
  auto regex = std::make_unique<RE2>(pattern, options);
  EXPECT_TRUE(regex->ok()) << pattern;
  return regex;
}

TEST(RegexScan, ShortExpressionsAreRe2s) {
  EXPECT_EQ(RegexScan::Make(*Compile("a.*b")), nullptr);
  EXPECT_EQ(RegexScan::Make(*Compile("[a-z]{100}")), nullptr);
}

// U+212B folds into a letter of fewer bytes; behind a zero byte there may be an alternative.
TEST(RegexScan, ExpressionsWhoseShortestMatchIsNotKnownAreRe2s) {
  const std::string angstrom = "(?i)(?:\xe2\x84\xab){300}";
  std::string shorter;
  for (int i = 0; i < 300; ++i) shorter += "\xc3\xa5";
  EXPECT_TRUE(RE2::PartialMatch(shorter, *Compile(angstrom)));
  EXPECT_EQ(RegexScan::Make(*Compile(angstrom)), nullptr);
  const std::string zero = "[^x]{1000}" + std::string(1, '\0') + "|b";
  EXPECT_TRUE(RE2::PartialMatch("b", *Compile(zero)));
  EXPECT_EQ(RegexScan::Make(*Compile(zero)), nullptr);
}

TEST(RegexScan, AnswersWhereBothMeanTheSame) {
  const auto scan = RegexScan::Make(*Compile(".{1000,}"));
  ASSERT_NE(scan, nullptr);
  EXPECT_EQ(scan->bytes_min(), 1000u);
  const std::string text(1000, 'a');
  ASSERT_TRUE(scan->Answers(text));
  EXPECT_TRUE(scan->Finds(text));
  EXPECT_FALSE(scan->Finds(text.substr(1)));
  EXPECT_FALSE(scan->Finds(text.substr(500) + "\n" + text.substr(500)));
  EXPECT_FALSE(scan->Answers("\xc3\xa4")) << "characters are not bytes";
  for (const char* pattern : {"a{1000}$", R"(\s{1000})", R"(\v{1000})", "(?m)^.{1000}",
                              R"(\pL{1000})", "(?i)\xc3\xa4{1000}", R"((?i)\x{212a}{1000})"}) {
    const auto other = RegexScan::Make(*Compile(pattern));
    if (other == nullptr) continue;
    EXPECT_FALSE(other->Answers(text)) << pattern;
  }
}

// Expressions and texts of few letters, so that they meet.
TEST(RegexScan, AgreesWithRe2) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  const auto one_of = [&](const std::vector<std::string>& all) {
    return all[random() % all.size()];
  };
  int answered = 0;
  int found = 0;
  for (int run = 0; run < 60; ++run) {
    std::string pattern = one_of({"", "", "(?i)", "(?s)"});
    for (size_t part = 0, parts = 1 + random() % 3; part < parts; ++part) {
      pattern += one_of({"", "^", "a", R"(\b)", "(b|cd)", "[^a]", R"(\W)", R"(\n)"});
      pattern += one_of({".", "(.)", "[^/]", "[ab ]", R"(\w)", "(a|b|cd)", "[^\\n]", R"([\d ])"});
      const auto most = 40 + random() % 600;
      pattern += one_of({fmt::format("{{{},}}", most), fmt::format("{{{}}}", most),
                         fmt::format("{{{},{}}}", most / 2, most)});
    }
    const auto regex = Compile(pattern, random() % 4 != 0, random() % 4 == 0);
    const auto scan = RegexScan::Make(*regex);
    if (scan == nullptr) continue;
    for (int i = 0; i < 20; ++i) {
      std::string text;
      const size_t size = random() % 2500;
      const std::string letters = one_of({"aaaa", "ab ", "abcd /\n", "aB1 \t", "ab\v\n"});
      while (text.size() < size) {
        const size_t length = 1 + random() % 700;
        const bool pure = random() % 2 == 0;
        const char c = letters[random() % letters.size()];
        for (size_t j = 0; j < length; ++j) text += pure ? c : letters[random() % letters.size()];
      }
      const bool truth = RE2::PartialMatch(text, *regex);
      if (text.size() < scan->bytes_min()) {
        ASSERT_FALSE(truth) << pattern;
        continue;
      }
      if (!scan->Answers(text)) continue;
      ++answered;
      found += truth ? 1 : 0;
      ASSERT_EQ(scan->Finds(text), truth) << pattern << "\n" << text;
    }
  }
  EXPECT_GT(answered, 60);
  EXPECT_GT(found, answered / 20);
}

}  // namespace
}  // namespace bongsu::sigma
