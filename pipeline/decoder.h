// File: pipeline/decoder.h
//
// From a record's bytes to an Event: one forward walk with simdjson's on-demand parser over only the
// paths that the source's FieldTable needs. The only user of simdjson is pipeline/decoder*.cc.
//
//   Decoder decoder(source.format, source.fields, options);     // one for each (thread, source)
//   switch (decoder.Decode(record, &event)) {
//     case DecodeResult::kOk: ...                                // event's views: valid until the next Decode
//     default: DeadLetter(record, DecodeResultName(result)); }
//
// No DOM, no allocation and no copy of a string on the usual path: strings are views into the record; one with a
// backslash is unescaped into scratch memory. A literal flat key ("a.b") wins over the nested path.
// Numbers keep their text. Duplicate keys: the first counts (as the walk meets it).
//
// Invalid UTF-8 gets a second try with U+FFFD in place of each bad byte (counted): one bad byte must
// not hide an event from the rules.
//
// Thread-safety: one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "operators/event.h"
#include "pipeline/batch.h"
#include "pipeline/config.h"
#include "pipeline/format.h"

namespace bongsu {

enum class DecodeResult : uint8_t {
  kOk,
  kNoTime,        // fields are decoded, event->has_time is false: rules without state still apply
  kInvalidJson,
  kNotAnObject,
  kTooLarge,
  kTooDeep,
};
inline constexpr int kDecodeResults = 6;
// "ok", "no_time", "invalid_json", "not_an_object", "too_large", "too_deep": the reasons in the dead-letter topic.
std::string_view DecodeResultName(DecodeResult result);

struct DecoderOptions {
  Validate validate = Validate::kRead;
  int64_t record_bytes_max = int64_t{1} << 20;
  int depth_max = 64;
};

struct DecoderCounters {
  uint64_t records = 0;
  uint64_t repaired_utf8 = 0;   // decoded at the second try, with replacement characters
  uint64_t copied = 0;          // records without 64 readable bytes behind them
  uint64_t array_items_capped = 0;  // arrays longer than kArrayItemsMax members: the rest is not seen
};
inline constexpr int kArrayItemsMax = 1024;

class Decoder {
 public:
  // `format` and `fields` outlive the decoder; `fields` must be complete.
  Decoder(const Format& format, const FieldTable& fields, DecoderOptions options);
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  // Fills `*event`; its views are valid until the next call and as long as the record's bytes are.
  DecodeResult Decode(const Record& record, Event* event);
  const DecoderCounters& counters() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bongsu
