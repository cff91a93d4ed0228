// File: operators/fold.h
//
// Simple case folding of UTF-8 (Unicode's CaseFolding.txt, statuses C and S), by utf8proc, with a
// fast path for ASCII. Bytes that are not UTF-8 stay as they are.
//
// Thread-safety: pure functions.
#pragma once

#include <string>
#include <string_view>

namespace bongsu {

bool IsAscii(std::string_view text);
inline char FoldAscii(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }
// Whether `text` is ASCII without capitals, which folding leaves as it is.
bool IsFoldedAscii(std::string_view text);
// Appends the folded text to `*out`.
void AppendFolded(std::string_view text, std::string* out);
std::string Folded(std::string_view text);

}  // namespace bongsu
