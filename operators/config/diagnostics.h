// File: operators/config/diagnostics.h
//
// Everything wrong with a configuration, collected so that it is reported at once, each with file,
// line, column, what is wrong, and what to do about it.
//
//   diagnostics.Error(node.where, "unknown key 'emitt'", "did you mean 'emit'?");
//   if (diagnostics.has_errors()) { fputs(diagnostics.Text().c_str(), stderr); return 2; }
//
// Thread-safety: none; one loader, one thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bongsu {

struct SourceLocation {
  std::string file;  // as the user named it; empty: not from a file
  int line = 0;      // from 1; 0: the file as a whole
  int column = 0;    // from 1
};

enum class Severity : uint8_t { kWarning, kError };

struct Diagnostic {
  Severity severity = Severity::kError;
  SourceLocation where;
  std::string message;
  std::string hint;  // may be empty
};

class Diagnostics {
 public:
  void Error(const SourceLocation& where, std::string message, std::string hint = "");
  void Warning(const SourceLocation& where, std::string message, std::string hint = "");
  bool has_errors() const { return errors_ > 0; }
  int errors() const { return errors_; }
  const std::vector<Diagnostic>& all() const { return all_; }
  // Takes over what `other` holds, but for errors at places where an error stands already: they
  // would only say what follows from the first.
  void Append(const Diagnostics& other);
  // One line each, "file:line:column: error: message (hint)", sorted by place. Control characters
  // of a hostile file are shown as \xNN, so that they never reach a terminal.
  std::string Text() const;

 private:
  std::vector<Diagnostic> all_;
  int errors_ = 0;
};

// The candidate nearest to `word` (Damerau-Levenshtein distance at most a third of its length, at
// least 1, ASCII case ignored), or empty.
std::string NearestName(std::string_view word, std::span<const std::string_view> candidates);

// The same as a hint: "did you mean 'x'?", or "one of: x, y" where none is near.
std::string NearestHint(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace bongsu
