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
// Thread-safety: immutable once made; Matches does not allocate for ASCII texts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bongsu::sigma {

class Pattern {
 public:
  bool Matches(std::string_view text) const;
  bool has_wildcards() const { return has_wildcards_; }
  // The pattern in one canonical spelling.
  std::string Canonical() const;

 private:
  friend Pattern ParsePattern(std::string_view text, bool cased);
  friend Pattern Widened(Pattern pattern, bool front, bool back);
  struct Piece {
    enum Kind : uint8_t { kText, kOne, kAny } kind = kText;
    std::string text;
  };
  void Finish();
  bool MatchPieces(std::string_view text) const;
  bool EqualAt(std::string_view text, size_t at, const std::string& piece) const;
  size_t FindFrom(std::string_view text, size_t at, const std::string& piece) const;

  std::vector<Piece> pieces_;
  bool cased_ = false;
  bool has_wildcards_ = false;
  // The usual shapes, matched without the general walk.
  enum Shape : uint8_t { kEquals, kContains, kStarts, kEnds, kAnything, kGeneral } shape_ = kEquals;
  std::string literal_;
  bool ascii_ = true;
};

Pattern ParsePattern(std::string_view text, bool cased);
// With `*` in front or behind: |endswith, |startswith, |contains.
Pattern Widened(Pattern pattern, bool front, bool back);

}  // namespace bongsu::sigma
