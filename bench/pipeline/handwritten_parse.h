// File: bench/pipeline/handwritten_parse.h
//
// What a programmer writes who knows the records: on-demand parsing with `find_field` in document
// order, stopping behind the last field. The decoder is measured against it.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace bongsu {

// The eight fields' texts, numbers as written. A field that a record does not have stays empty.
using EightFields = std::array<std::string_view, 8>;

class HandwrittenParse {
 public:
  HandwrittenParse();
  ~HandwrittenParse();
  // False where this processor has not the instructions that it is compiled for.
  static bool Supported();
  // `bytes` is followed by 64 readable bytes.
  bool Firewall(std::string_view bytes, EightFields* out);
  bool Endpoint(std::string_view bytes, EightFields* out);

 private:
  struct Parser;
  Parser* parser_;
};

}  // namespace bongsu
