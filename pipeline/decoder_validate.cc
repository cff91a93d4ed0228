#include "pipeline/decoder_validate.h"

#include "pipeline/decoder_text.h"

namespace bongsu {
namespace {

// The string, number or literal at position `i`, which reaches to the next one.
bool ScalarIsValid(const char* bytes, const uint32_t* at, uint32_t i) {
  const std::string_view text = TrimJsonEnd(bytes + at[i], bytes + at[i + 1]);
  if (text[0] != '"') return !ReadScalar(text).is_absent();
  return EscapesAreValid(text.substr(1, text.size() - 2));
}

// What may come next.
enum class Expect : uint8_t { kValue, kFirstItem, kFirstKey, kKey, kCommaOrEnd };

}  // namespace

DecodeResult ValidateJson(const char* bytes, const StructuralIndex& index, int depth_max,
                          std::vector<char>* open) {
  const uint32_t* at = index.positions();
  const uint32_t n = index.size();
  int depth = 0;
  Expect expect = Expect::kValue;
  for (uint32_t i = 0; i < n; ++i) {
    const char c = bytes[at[i]];
    if (expect == Expect::kCommaOrEnd) {
      if (depth == 0) return DecodeResult::kInvalidJson;  // a second value
      const char bracket = (*open)[static_cast<size_t>(depth)];
      if (c == ',') {
        expect = bracket == '{' ? Expect::kKey : Expect::kValue;
      } else if (c == bracket + 2) {  // ASCII: '[' + 2 is ']', '{' + 2 is '}'
        --depth;
      } else {
        return DecodeResult::kInvalidJson;
      }
      continue;
    }
    if ((expect == Expect::kFirstKey && c == '}') || (expect == Expect::kFirstItem && c == ']')) {
      --depth;
      expect = Expect::kCommaOrEnd;
      continue;
    }
    if (expect == Expect::kFirstKey || expect == Expect::kKey) {
      if (c != '"' || !ScalarIsValid(bytes, at, i)) return DecodeResult::kInvalidJson;
      if (++i == n || bytes[at[i]] != ':') return DecodeResult::kInvalidJson;
      expect = Expect::kValue;
      continue;
    }
    if (c == '{' || c == '[') {
      if (depth == depth_max) return DecodeResult::kTooDeep;
      (*open)[static_cast<size_t>(++depth)] = c;
      expect = c == '{' ? Expect::kFirstKey : Expect::kFirstItem;
      continue;
    }
    if (!ScalarIsValid(bytes, at, i)) return DecodeResult::kInvalidJson;
    expect = Expect::kCommaOrEnd;
  }
  return depth == 0 && expect == Expect::kCommaOrEnd ? DecodeResult::kOk
                                                     : DecodeResult::kInvalidJson;
}

}  // namespace bongsu
