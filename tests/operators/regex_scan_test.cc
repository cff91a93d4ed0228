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
  EXPECT_EQ(scan->Finds(text), true);
  EXPECT_EQ(scan->Finds(text.substr(1)), false);
  EXPECT_EQ(scan->Finds(text.substr(500) + "\n" + text.substr(500)), false);
  // Characters, not bytes; what is none is RE2's to judge.
  std::string umlauts;
  for (int i = 0; i < 1000; ++i) umlauts += "\xc3\xa4";
  EXPECT_EQ(scan->Finds(umlauts), true);
  EXPECT_EQ(scan->Finds(umlauts.substr(2)), false);
  EXPECT_EQ(scan->Finds(umlauts.substr(1)), std::nullopt);
  for (const char* pattern : {"a{1000}$", R"(\s{1000})", R"(\v{1000})", "(?m)^.{1000}",
                              R"(\pL{1000})", "(?i)\xc3\xa4{1000}", R"((?i)\x{212a}{1000})"}) {
    const auto other = RegexScan::Make(*Compile(pattern));
    if (other == nullptr) continue;
    EXPECT_EQ(other->Finds(text), std::nullopt) << pattern;
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
  int answered_beyond = 0;
  int found = 0;
  for (int run = 0; run < 60; ++run) {
    std::string pattern = one_of({"", "", "(?i)", "(?s)"});
    for (size_t part = 0, parts = 1 + random() % 3; part < parts; ++part) {
      pattern += one_of({"", "^", "a", R"(\b)", "(b|cd)", "[^a]", R"(\W)", R"(\n)", "k", "[^k]",
                         "(?i:s)", "[s-z]"});
      pattern += one_of({".", "(.)", "[^/]", "[ab ]", R"(\w)", "(a|b|cd)", "[^\\n]", R"([\d ])",
                         "[k-t]", "[^K]", R"([^\w])", "[[:^alpha:]]", "(?i:[ks])"});
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
      const std::string letters = one_of({"aaaa", "ab ", "abcd /\n", "aB1 \t", "ab\v\n", "KskS"});
      const std::vector<std::string> beyond = {"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x94\xa5",
                                               "\xe2\x84\xaa", "\xc5\xbf"};
      const auto beyond_of = random() % 2 == 0 ? 0 : 1 + random() % 20;  // of a hundred
      while (text.size() < size) {
        const size_t length = 1 + random() % 700;
        const bool pure = random() % 2 == 0;
        const char c = letters[random() % letters.size()];
        for (size_t j = 0; j < length; ++j) {
          if (random() % 100 < beyond_of)
            text += one_of(beyond);
          else
            text += pure ? c : letters[random() % letters.size()];
        }
      }
      const bool truth = RE2::PartialMatch(text, *regex);
      if (text.size() < scan->bytes_min()) {
        ASSERT_FALSE(truth) << pattern;
        continue;
      }
      const std::optional<bool> answer = scan->Finds(text);
      if (!answer.has_value()) continue;
      ++answered;
      answered_beyond += beyond_of > 0 ? 1 : 0;
      found += truth ? 1 : 0;
      ASSERT_EQ(*answer, truth) << pattern << "\n" << text;
    }
  }
  EXPECT_GT(answered, 60);
  EXPECT_GT(answered_beyond, answered / 5);
  EXPECT_GT(found, answered / 50);
}

}  // namespace
}  // namespace bongsu::sigma
