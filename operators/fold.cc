#include "operators/fold.h"

#include <utf8proc.h>

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace bongsu {

bool IsAscii(std::string_view text) {
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + i, 8);
    if ((word & 0x8080808080808080u) != 0) return false;
  }
  for (; i < text.size(); ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0x80) != 0) return false;
  }
  return true;
}

namespace {

// Eight letters at once: of each byte the top bit says whether it lies in A..Z.
uint64_t Capitals(uint64_t word) {
  constexpr uint64_t kOnes = 0x0101010101010101u;
  const uint64_t low = word & (0x7f * kOnes);
  const uint64_t beyond_z = low + (0x7f - 'Z') * kOnes;
  const uint64_t from_a = low + (0x80 - 'A') * kOnes;
  return (from_a ^ beyond_z) & ~word & (0x80 * kOnes);
}
// A capital's bit 0x20 is what its small letter has besides.
uint64_t FoldWord(uint64_t word) { return word | Capitals(word) >> 2; }

// Folds the bytes up to the first that is not ASCII, to `out`; returns their number.
size_t FoldAsciiPrefix(std::string_view text, char* out) {
  size_t i = 0;
#if defined(__SSE2__)
  for (; i + 16 <= text.size(); i += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + i));
    if (_mm_movemask_epi8(bytes) != 0) break;
    const __m128i upper = _mm_and_si128(_mm_cmpgt_epi8(bytes, _mm_set1_epi8('A' - 1)),
                                        _mm_cmplt_epi8(bytes, _mm_set1_epi8('Z' + 1)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i),
                     _mm_or_si128(bytes, _mm_and_si128(upper, _mm_set1_epi8(0x20))));
  }
#endif
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + i, 8);
    if ((word & 0x8080808080808080u) != 0) break;
    word = FoldWord(word);
    std::memcpy(out + i, &word, 8);
  }
  for (; i < text.size() && (static_cast<uint8_t>(text[i]) & 0x80) == 0; ++i)
    out[i] = FoldAscii(text[i]);
  return i;
}

}  // namespace

bool IsFoldedAscii(std::string_view text) {
  constexpr uint64_t kBeyondAscii = 0x8080808080808080u;
  const auto changes = [&text](size_t at) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + at, 8);
    return ((word & kBeyondAscii) | Capitals(word)) != 0;
  };
  if (text.size() < 8) {
    for (const char c : text) {
      if ((static_cast<uint8_t>(c) & 0x80) != 0 || FoldAscii(c) != c) return false;
    }
    return true;
  }
  for (size_t at = 0; at + 8 < text.size(); at += 8) {
    if (changes(at)) return false;
  }
  return !changes(text.size() - 8);
}

void AppendFolded(std::string_view text, std::string* out) {
  while (!text.empty()) {
    const size_t start = out->size();
    out->resize(start + text.size());
    const size_t ascii = FoldAsciiPrefix(text, out->data() + start);
    out->resize(start + ascii);
    text.remove_prefix(ascii);
    if (text.empty()) return;
    utf8proc_int32_t point = -1;
    const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
    const utf8proc_ssize_t size =
        utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size()), &point);
    if (size <= 0) {
      out->push_back(text.front());
      text.remove_prefix(1);
      continue;
    }
    utf8proc_uint8_t folded[4];
    // Simple folding maps one code point to one; lower case of upper case is it for all but a few
    // letters whose own lower case is not what their upper case leads to.
    // The Turkish i's have none.
    const bool turkish = point == 0x130 || point == 0x131;
    const utf8proc_ssize_t folded_size =
        utf8proc_encode_char(turkish ? point : utf8proc_tolower(utf8proc_toupper(point)), folded);
    out->append(reinterpret_cast<const char*>(folded), static_cast<size_t>(folded_size));
    text.remove_prefix(static_cast<size_t>(size));
  }
}

std::string Folded(std::string_view text) {
  std::string out;
  AppendFolded(text, &out);
  return out;
}

}  // namespace bongsu
