// File: tests/pipeline/decoder_harness.h
//
// A decoder over a few fields, for tests: each record is decoded at once and with every field left
// for later, and both must say the same.
//
// Thread-safety: none.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pipeline/decoder.h"

namespace bongsu {

using Json = nlohmann::ordered_json;

// What a Value says, as text for comparison: type letter and contents.
inline std::string Show(const Value& value) {
  switch (value.type()) {
    case ValueType::kAbsent:
      return "-";
    case ValueType::kNull:
      return "null";
    case ValueType::kBool:
      return "b:" + std::string(value.text());
    case ValueType::kNumber:
      return "n:" + std::string(value.text());
    case ValueType::kString:
      return "s:" + std::string(value.text());
    case ValueType::kObject:
      return "o:" + std::string(value.text());
    case ValueType::kArray:
      break;
  }
  std::string text = "[";
  for (const Value& item : value.items()) text += (text.size() == 1 ? "" : ", ") + Show(item);
  return text + "]";
}

// One decoder over a few fields; records are decoded from a buffer of its own with or without
// slack. Beside it one that leaves every field for later, and must say the same once it was asked.
class Harness {
 public:
  explicit Harness(std::vector<std::string> names, DecoderOptions options = {}, Format format = {})
      : format_(format), validate_(options.validate) {
    for (const std::string& name : names) fields_.Slot(name);
    decoder_ = std::make_unique<Decoder>(format_, fields_, options);
    options.later.assign(names.size(), true);
    late_decoder_ = std::make_unique<Decoder>(format_, fields_, options);
  }
  DecodeResult Decode(std::string_view bytes, bool slack = true) {
    buffer_.assign(bytes);
    buffer_.append(64, slack ? '"' : '\0');  // what lies behind a record must not matter
    if (!slack) buffer_.resize(bytes.size());
    Record record;
    record.bytes = std::string_view(buffer_).substr(0, bytes.size());
    record.slack = slack ? 64 : 0;
    record.partition = 3;
    record.offset = 77;
    const DecodeResult result = decoder_->Decode(record, &event_);
    CompareLate(record, result);
    return result;
  }
  std::string Field(int slot) const { return Show(event_.field(slot)); }
  const Event& event() const { return event_; }
  const DecoderCounters& counters() const { return decoder_->counters(); }

 private:
  void CompareLate(const Record& record, DecodeResult wanted) {
    Event late;
    DecodeResult result = late_decoder_->Decode(record, &late);
    const bool readable = result == DecodeResult::kOk || result == DecodeResult::kNoTime;
    if (readable && late.reader != nullptr && !late.reader->ReadAll())
      result = DecodeResult::kInvalidJson;
    // A value whose place a better path took is not read, and what is wrong in it not seen.
    if (validate_ == Validate::kRead && wanted == DecodeResult::kInvalidJson && result != wanted) {
      EXPECT_TRUE(readable);
      EXPECT_FALSE(Json::accept(record.bytes)) << record.bytes;
      return;
    }
    ASSERT_EQ(result, wanted) << record.bytes;
    EXPECT_EQ(late.has_time, event_.has_time);
    EXPECT_EQ(late.time, event_.time);
    EXPECT_EQ(late_decoder_->counters().array_items_capped, counters().array_items_capped);
    if (result != DecodeResult::kOk && result != DecodeResult::kNoTime) return;
    for (int slot = 0; slot < fields_.size(); ++slot)
      EXPECT_EQ(Show(late.field(slot)), Field(slot)) << record.bytes;
  }

  Format format_;
  Validate validate_;
  FieldTable fields_;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<Decoder> late_decoder_;
  std::string buffer_;
  Event event_;
};

inline DecoderOptions Full() { return {.validate = Validate::kFull}; }

}  // namespace bongsu
