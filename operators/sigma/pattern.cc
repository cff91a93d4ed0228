#include "operators/sigma/pattern.h"

#include <algorithm>
#include <cstring>

#include "operators/fold.h"
#include "operators/sigma/encoding.h"

namespace bongsu::sigma {
namespace {

bool EqualFoldedAscii(const char* text, const char* folded, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    if (FoldAscii(text[i]) != folded[i]) return false;
  }
  return true;
}

bool EqualAt(std::string_view text, size_t at, std::string_view piece, bool exact) {
  if (text.size() - at < piece.size()) return false;
  return exact ? std::memcmp(text.data() + at, piece.data(), piece.size()) == 0
               : EqualFoldedAscii(text.data() + at, piece.data(), piece.size());
}

size_t FindFrom(std::string_view text, size_t at, std::string_view piece, bool exact) {
  if (piece.empty()) return at;
  if (at > text.size()) return std::string_view::npos;
  if (exact) {
    const void* found = memmem(text.data() + at, text.size() - at, piece.data(), piece.size());
    return found == nullptr ? std::string_view::npos
                            : static_cast<size_t>(static_cast<const char*>(found) - text.data());
  }
  const char low = piece[0];
  const char high = low >= 'a' && low <= 'z' ? static_cast<char>(low - 32) : low;
  for (size_t i = at; i + piece.size() <= text.size(); ++i) {
    if ((text[i] == low || text[i] == high) &&
        EqualFoldedAscii(text.data() + i, piece.data(), piece.size()))
      return i;
  }
  return std::string_view::npos;
}

// The bytes of the code point at `at`; a stray byte counts as one.
size_t CodePointBytes(std::string_view text, size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  const size_t size = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  return at + size <= text.size() ? size : 1;
}

}  // namespace

Pattern ParsePattern(std::string_view text, bool cased, bool windash) {
  Pattern pattern;
  pattern.cased_ = cased;
  std::string literal;
  const auto flush = [&] {
    if (literal.empty()) return;
    pattern.pieces_.push_back({Pattern::Piece::kText, cased ? literal : Folded(literal)});
    literal.clear();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const char next = i + 1 < text.size() ? text[i + 1] : '\0';
    if (c == '\\' && (next == '*' || next == '?')) {
      literal.push_back(next);  // an escaped wildcard is plain
      ++i;
    } else if (c == '\\' && next == '\\') {
      // Two backslashes are one, so that `\\*` is a backslash and a wildcard and four are two.
      literal.push_back('\\');
      ++i;
    } else if (c == '*') {
      flush();
      if (pattern.pieces_.empty() || pattern.pieces_.back().kind != Pattern::Piece::kAny) {
        pattern.pieces_.push_back({Pattern::Piece::kAny, ""});
      }
    } else if (c == '?') {
      flush();
      pattern.pieces_.push_back({Pattern::Piece::kOne, ""});
    } else if (const auto dash = windash ? DashAt(text.substr(i)) : ""; !dash.empty()) {
      flush();
      pattern.pieces_.push_back({Pattern::Piece::kDash, ""});
      i += dash.size() - 1;
    } else {
      literal.push_back(c);
    }
  }
  flush();
  pattern.Finish();
  return pattern;
}

Pattern PlainPattern(std::string text, bool cased) {
  Pattern pattern;
  pattern.cased_ = cased;
  if (!text.empty())
    pattern.pieces_.push_back({Pattern::Piece::kText, cased ? std::move(text) : Folded(text)});
  pattern.Finish();
  return pattern;
}

Pattern Widened(Pattern pattern, bool front, bool back) {
  const auto is_any = [](const Pattern::Piece& piece) {
    return piece.kind == Pattern::Piece::kAny;
  };
  if (front && (pattern.pieces_.empty() || !is_any(pattern.pieces_.front()))) {
    pattern.pieces_.insert(pattern.pieces_.begin(), {Pattern::Piece::kAny, ""});
  }
  if (back && (pattern.pieces_.empty() || !is_any(pattern.pieces_.back()))) {
    pattern.pieces_.push_back({Pattern::Piece::kAny, ""});
  }
  pattern.Finish();
  return pattern;
}

void Pattern::Finish() {
  has_wildcards_ = false;
  literal_.clear();
  for (const Piece& piece : pieces_) {
    has_wildcards_ = has_wildcards_ || piece.kind != Piece::kText;
    if (piece.text.size() > literal_.size()) literal_ = piece.text;
  }
  const auto kind = [this](size_t i) { return pieces_[i].kind; };
  shape_ = Shape::kGeneral;
  if (pieces_.empty() || (pieces_.size() == 1 && kind(0) == Piece::kText))
    shape_ = Shape::kEquals;
  else if (pieces_.size() == 1 && kind(0) == Piece::kAny)
    shape_ = Shape::kAnything;
  else if (pieces_.size() == 2 && kind(0) == Piece::kAny && kind(1) == Piece::kText)
    shape_ = Shape::kEnds;
  else if (pieces_.size() == 2 && kind(0) == Piece::kText && kind(1) == Piece::kAny)
    shape_ = Shape::kStarts;
  else if (pieces_.size() == 3 && kind(0) == Piece::kAny && kind(1) == Piece::kText &&
           kind(2) == Piece::kAny)
    shape_ = Shape::kContains;
}

std::optional<std::string> Pattern::Plain() const {
  if (has_wildcards_) return std::nullopt;
  return literal_;
}

bool Pattern::Matches(std::string_view text) const {
  // Folding can change a text's length outside ASCII: such texts are folded first, then compared.
  if (!cased_ && !IsAscii(text)) {
    thread_local std::string folded;
    folded.clear();
    AppendFolded(text, &folded);
    return MatchesShape(folded, true);
  }
  return MatchesShape(text, cased_);
}

bool Pattern::MatchesShape(std::string_view text, bool exact) const {
  switch (shape_) {
    case Shape::kEquals:
      return text.size() == literal_.size() && EqualAt(text, 0, literal_, exact);
    case Shape::kStarts:
      return EqualAt(text, 0, literal_, exact);
    case Shape::kEnds:
      return text.size() >= literal_.size() &&
             EqualAt(text, text.size() - literal_.size(), literal_, exact);
    case Shape::kContains:
      return FindFrom(text, 0, literal_, exact) != std::string_view::npos;
    case Shape::kAnything:
      return true;
    case Shape::kGeneral:
      break;
  }
  return MatchPieces(text, exact);
}

size_t Pattern::wildcards() const {
  return static_cast<size_t>(std::count_if(pieces_.begin(), pieces_.end(), [](const Piece& piece) {
    return piece.kind == Piece::kOne || piece.kind == Piece::kAny;
  }));
}

// Greedy with one point to come back to: linear in most texts, text * pattern at worst.
bool Pattern::MatchPieces(std::string_view text, bool exact) const {
  size_t at = 0;
  size_t piece = 0;
  size_t star_piece = pieces_.size() + 1;  // none yet
  size_t star_at = 0;
  while (true) {
    if (piece == pieces_.size()) {
      if (at == text.size()) return true;
    } else if (pieces_[piece].kind == Piece::kAny) {
      if (piece + 1 == pieces_.size()) return true;
      star_piece = ++piece;
      star_at = at;
      continue;
    } else if (pieces_[piece].kind == Piece::kOne) {
      if (at < text.size()) {
        at += CodePointBytes(text, at);
        ++piece;
        continue;
      }
    } else if (pieces_[piece].kind == Piece::kDash) {
      const std::string_view dash = DashAt(text.substr(at));
      if (!dash.empty()) {
        at += dash.size();
        ++piece;
        continue;
      }
    } else if (at <= text.size() && EqualAt(text, at, pieces_[piece].text, exact)) {
      at += pieces_[piece].text.size();
      ++piece;
      continue;
    }
    if (star_piece > pieces_.size() || star_at >= text.size()) return false;
    // After a `*`: go on where its next piece could begin.
    star_at += CodePointBytes(text, star_at);
    if (pieces_[star_piece].kind == Piece::kText) {
      star_at = FindFrom(text, star_at, pieces_[star_piece].text, exact);
      if (star_at == std::string_view::npos) return false;
    }
    at = star_at;
    piece = star_piece;
  }
}

std::string Pattern::Canonical() const {
  std::string text;
  for (const Piece& piece : pieces_) {
    if (piece.kind == Piece::kAny) text += "*";
    if (piece.kind == Piece::kOne) text += "?";
    if (piece.kind == Piece::kDash) text += "\x01-";  // in a text it is escaped
    for (char c : piece.text) {
      if (c == '*' || c == '?' || c == '\\' || c == '\x01') text.push_back('\\');
      text.push_back(c);
    }
  }
  return text;
}

}  // namespace bongsu::sigma
