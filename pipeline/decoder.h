// File: pipeline/decoder.h
//
// From a record's bytes to an Event: one forward walk over only the paths that the source's
// FieldTable needs, on the structural index that simdjson makes (pipeline/decoder_index.h).
//
//   Decoder decoder(source.format, source.fields, options);     // one for each (thread, source)
//   switch (decoder.Decode(record, &event)) {
//     case DecodeResult::kOk: ...                                // event's views: valid until the
//     next Decode default: DeadLetter(record, DecodeResultName(result)); }
//
// No DOM, no allocation and no copy of a string on the usual path: strings are views into the
// record; one with a backslash is unescaped into scratch memory. Numbers keep their text, objects
// their JSON.
//
// Which value a field gets: of its paths (Format.fields) the first that the record has, and one
// that is not null before a null; for one path "a.b", the flat key "a.b" before the nested one. Of
// duplicate keys the first counts. A path that leads through an array of objects gives an array of
// what the objects have there, in order; arrays found on the way are joined into it.
//
// Fields in DecoderOptions::later are found, but read only when Event::reader is told to: to
// unescape what no rule of the record's log source looks at would be most of the work. Of several
// paths of such a field only the best is ever read.
//
// The field kAllValuesField, where it is asked for, costs a second pass over the record's index. A
// string with a wrong escape is in it as it stands: it is searched all the same.
//
// What is checked, `validate: read`: UTF-8 and strings of the whole record; syntax of every object
// and array on the way to a needed value, and the values that are read; of all else, that brackets
// match.
// `validate: full`: everything. A record holds one object, maybe with white space around it and a
// byte order mark before.
//
// Invalid UTF-8 gets a second try with U+FFFD in place of each wrong sequence, and so does half
// a surrogate pair (\ud800 alone) in a string that is read.
// Both are counted: one bad byte must not hide an event from the rules, and none is repaired
// in silence.
//
// Thread-safety: one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "operators/event.h"
#include "pipeline/batch.h"
#include "pipeline/config.h"
#include "pipeline/format.h"

namespace bongsu {

enum class DecodeResult : uint8_t {
  kOk,
  kNoTime,  // fields are decoded, event->has_time is false: rules without state still apply
  kInvalidJson,
  kNotAnObject,
  kTooLarge,
  kTooDeep,
};
inline constexpr int kDecodeResults = 6;
// "ok", "no_time", "invalid_json", "not_an_object", "too_large", "too_deep": the reasons in the
// dead-letter topic.
std::string_view DecodeResultName(DecodeResult result);

struct DecoderOptions {
  Validate validate = Validate::kRead;
  int64_t record_bytes_max = int64_t{1} << 20;
  int depth_max =
      64;  // objects and arrays that may be open at once, the record counted; at most 1024
  // By slot: what Decode leaves to Event::reader. Empty: nothing. A time's fields are always read.
  std::vector<bool> later;
};

struct DecoderCounters {
  uint64_t records = 0;
  uint64_t repaired_utf8 = 0;  // decoded at the second try, with replacement characters
  uint64_t copied = 0;         // records without 64 readable bytes behind them
  // Arrays longer than kArrayItemsMax members, or records with more than kAllValuesMax values where
  // keywords search them: the rest is not seen.
  uint64_t array_items_capped = 0;
};
inline constexpr int kArrayItemsMax = 1024;

class Decoder {
 public:
  // `fields` must be complete: what is added to it later is not decoded.
  Decoder(const Format& format, const FieldTable& fields, DecoderOptions options);
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  // Fills `*event`; its views, and its reader, are valid until the next call and as long as the
  // record's bytes are.
  DecodeResult Decode(const Record& record, Event* event);
  const DecoderCounters& counters() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bongsu
