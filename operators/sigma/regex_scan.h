// File: operators/sigma/regex_scan.h
//
// Regular expressions that are long when written out, such as `.{1000,}`, asked of one text by
// Vectorscan. RE2 writes repetitions out; where its automaton outgrows its memory it goes on with a
// slow one: 5 ms for a text of 3,000 bytes, here 5 us (operators_selection_bench, LongRegex).
//
//   std::unique_ptr<RegexScan> scan = RegexScan::Make(regex);   // null: RE2 alone is good
//   if (text.size() < scan->bytes_min()) ...                    // no match
//   if (const auto found = scan->Finds(text)) return *found;    // else ask RE2
//
// The two libraries agree on texts of ASCII and on expressions without `$`, `\s`, `\v`, and flags
// that change lines; of others only the length of the shortest match is used. Expressions with
// characters beyond ASCII, or with a zero byte, are RE2's.
//
// An expression of ASCII cannot tell one character beyond ASCII from another: `.`, `[^x]`, `\W`
// take them all, and nothing else takes any. So each is one byte of the text that Vectorscan is
// asked. But the Kelvin sign (U+212A) and the long s (U+017F) are a k and an s where letter case
// does not count.
//
// Bounds: an expression takes some 40 ms to compile at most; ones with `|`, which can take a
// second, are RE2's alone.
//
// Thread-safety: immutable; each thread has a scratch of its own, which grows to what the largest
// expression needs when it is first used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

namespace re2 {
class RE2;
}
struct hs_database;

namespace bongsu::sigma {

// RE2's instructions, and bytes of the shortest match; below, RE2's automaton stays within its
// memory, or is seldom asked, as rules need a literal first.
inline constexpr int kRegexLong = 1000;
inline constexpr size_t kRegexLongBytes = 100;

class RegexScan {
 public:
  static std::unique_ptr<RegexScan> Make(const re2::RE2& regex);
  // No text with fewer bytes has a match.
  size_t bytes_min() const { return bytes_min_; }
  // Whether the text has a match; none: RE2 must be asked.
  std::optional<bool> Finds(std::string_view text) const;

 private:
  struct Free {
    void operator()(hs_database* database) const;
  };
  explicit RegexScan(size_t bytes_min) : bytes_min_(bytes_min) {}
  bool Scan(std::string_view text) const;
  size_t bytes_min_;
  enum class LetterCase : uint8_t { kCounts, kDoesNot, kMixed };
  LetterCase letter_case_ = LetterCase::kCounts;
  std::unique_ptr<hs_database, Free> database_;  // null: it answers nothing
};

}  // namespace bongsu::sigma
