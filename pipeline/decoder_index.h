// File: pipeline/decoder_index.h
//
// The first half of simdjson's parsers, and the only place that names simdjson: where the brackets,
// colons, commas and the first bytes of strings, numbers and literals of a JSON text lie. On the
// way it checks the whole text's UTF-8, that every string is closed, and that none has raw control
// characters.
//
// We take this half and walk over it ourselves (pipeline/decoder.cc), because the other half, the
// on-demand front end, is compiled into its user for one fixed instruction set (with Debian's
// flags: none), while this half lives in the shared library and is chosen for the processor at run
// time.
//
//   StructuralIndex index;
//   if (index.Build(bytes, size) == StructuralIndex::Result::kOk) {
//     for (uint32_t i = 0; i < index.size(); ++i) Look(bytes[index.positions()[i]]);
//   }
//
// What positions guarantee: outside strings, every byte of `{}[]:,` has one, and so has the first
// byte of every other run of non-space bytes and every opening quote. So behind a string's closing
// quote, up to the next position, there is nothing but JSON white space.
//
// Lifetime: positions are valid until the next Build. Thread-safety: one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "pipeline/batch.h"

namespace bongsu {

// How many bytes behind a text must be readable.
inline constexpr size_t kJsonPadding = kRecordSlackBytes;

class StructuralIndex {
 public:
  enum class Result : uint8_t { kOk, kInvalid, kInvalidUtf8 };

  StructuralIndex();
  ~StructuralIndex();
  // `bytes` must be followed by kJsonPadding readable bytes; `size` is below 2^32 - kJsonPadding.
  Result Build(const char* bytes, size_t size);
  // Offsets of structural bytes, ascending; positions()[size()] is the text's size.
  const uint32_t* positions() const { return positions_; }
  uint32_t size() const { return size_; }

 private:
  struct Parser;
  std::unique_ptr<Parser> parser_;
  const uint32_t* positions_ = nullptr;
  uint32_t size_ = 0;
};

}  // namespace bongsu
