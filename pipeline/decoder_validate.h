// File: pipeline/decoder_validate.h
//
// Every value of a JSON text checked against RFC 8259: grammar, numbers, literals, escapes,
// nesting. For sources with `validate: full`, and for records that are not objects, which must be
// told from what is no JSON.
//
// Thread-safety: pure function.
#pragma once

#include <cstdint>
#include <vector>

#include "pipeline/decoder.h"
#include "pipeline/decoder_index.h"

namespace bongsu {

// kOk, kInvalidJson, or kTooDeep (more than `depth_max` brackets open). `index` is that of `bytes`;
// `open` is scratch memory of at least `depth_max + 1` bytes.
DecodeResult ValidateJson(const char* bytes, const StructuralIndex& index, int depth_max,
                          std::vector<char>* open);

}  // namespace bongsu
