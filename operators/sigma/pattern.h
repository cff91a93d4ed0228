// File: operators/sigma/pattern.h
//
// Sigma's string values: plain text with the wildcards `*` (any run of characters, newlines
// included) and `?` (one code point), and backslash escapes as the specification has them: a
// backslash is plain unless a wildcard or another backslash that leads to one follows it
// (operators/sigma/README.md, "Escapes").
//
//   Pattern pattern = ParsePattern("*\\powershell.exe", /*cased=*/false);
//   pattern.Matches("C:\\Windows\\PowerShell.exe")   // true
//
// With `windash` each dash of the text (operators/sigma/encoding.h) stands for any of them: what
// all permutations together match, without their number.
//
// Thread-safety: immutable once made. Matches does not allocate once a thread has seen its longest
// text outside ASCII.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bongsu::sigma {

class Pattern {
 public:
  bool Matches(std::string_view text) const;
  // The same for a text that is folded already (operators/fold.h); of a pattern that is not cased.
  bool MatchesFolded(std::string_view folded) const { return MatchesShape(folded, true); }
  bool cased() const { return cased_; }
  bool has_wildcards() const { return has_wildcards_; }
  // What matching a long text costs: in the worst case text * wildcards.
  size_t wildcards() const;
  // The text, where it is no more than that.
  std::optional<std::string> Plain() const;

  // How the pattern is found among many: by its one literal (folded, unless cased), or, kGeneral,
  // by a literal that every match holds: its longest, which may be empty.
  enum class Shape : uint8_t { kEquals, kContains, kStarts, kEnds, kAnything, kGeneral };
  Shape shape() const { return shape_; }
  const std::string& literal() const { return literal_; }
  // The pattern in one canonical spelling.
  std::string Canonical() const;

 private:
  friend Pattern ParsePattern(std::string_view text, bool cased, bool windash);
  friend Pattern PlainPattern(std::string text, bool cased);
  friend Pattern Widened(Pattern pattern, bool front, bool back);
  struct Piece {
    enum Kind : uint8_t { kText, kOne, kAny, kDash } kind = kText;
    std::string text;
  };
  void Finish();
  // `exact`: letter case is settled, on both sides.
  bool MatchesShape(std::string_view text, bool exact) const;
  bool MatchPieces(std::string_view text, bool exact) const;

  std::vector<Piece> pieces_;
  bool cased_ = false;
  bool has_wildcards_ = false;
  Shape shape_ = Shape::kEquals;
  std::string literal_;
};

Pattern ParsePattern(std::string_view text, bool cased, bool windash = false);
// `text` as it stands: no wildcards, no escapes.
Pattern PlainPattern(std::string text, bool cased);
// With `*` in front or behind: |endswith, |startswith, |contains.
Pattern Widened(Pattern pattern, bool front, bool back);

}  // namespace bongsu::sigma
