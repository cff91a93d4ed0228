#include "operators/payload.h"

#include <algorithm>

#include "state/byte_reader.h"
#include "state/check.h"

namespace bongsu {
namespace {

// A value is a tag byte (type in the low 4 bits, kCut where it was cut), then for text a varint
// length and the bytes, for an array a varint count and the members. See state/FORMAT.md,
// "Payload".
constexpr uint8_t kTypeMask = 0x0f;
constexpr uint8_t kCut = 0x80;
// Arrays within arrays: the decoder's own depth bound is far above what fields need.
constexpr int kDepthMax = 8;

uint64_t ReadVarint(std::string_view* bytes) {
  uint64_t number = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    BONGSU_CHECK_MSG(!bytes->empty(), "a payload ends within a number");
    const auto byte = static_cast<uint8_t>(bytes->front());
    bytes->remove_prefix(1);
    number |= uint64_t{byte & 0x7fu} << shift;
    if ((byte & 0x80) == 0) return number;
  }
  BONGSU_CHECK_MSG(false, "a payload holds a number longer than 64 bits");
}

std::string_view CutAtCodePoint(std::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  size_t size = bytes_max;
  while (size > 0 && (static_cast<uint8_t>(text[size]) & 0xc0) == 0x80) --size;
  return text.substr(0, size);
}

int AppendValue(const Value& value, int depth, std::string* out) {
  const auto tag = static_cast<uint8_t>(value.type());
  switch (value.type()) {
    case ValueType::kAbsent:
    case ValueType::kNull:
      out->push_back(static_cast<char>(tag));
      return 0;
    case ValueType::kBool:
    case ValueType::kNumber:
    case ValueType::kString:
    case ValueType::kObject: {
      const std::string_view kept = CutAtCodePoint(value.text(), kPayloadFieldBytesMax);
      const bool cut = kept.size() < value.text().size();
      out->push_back(static_cast<char>(tag | (cut ? kCut : 0)));
      AppendVarint(kept.size(), out);
      out->append(kept);
      return cut ? 1 : 0;
    }
    case ValueType::kArray: {
      const auto items = value.items();
      const size_t kept =
          depth >= kDepthMax ? 0 : std::min<size_t>(items.size(), kPayloadArrayItemsMax);
      int cut = kept < items.size() ? 1 : 0;
      out->push_back(static_cast<char>(tag | (cut != 0 ? kCut : 0)));
      AppendVarint(kept, out);
      for (size_t i = 0; i < kept; ++i) cut += AppendValue(items[i], depth + 1, out);
      return cut;
    }
  }
  BONGSU_CHECK_MSG(false, "a value of no type");
}

Value ReadValue(std::string_view* bytes, std::deque<std::vector<Value>>* arrays, bool* cut) {
  BONGSU_CHECK_MSG(!bytes->empty(), "a payload ends within a value");
  const auto tag = static_cast<uint8_t>(bytes->front());
  bytes->remove_prefix(1);
  *cut = *cut || (tag & kCut) != 0;
  const auto type = static_cast<ValueType>(tag & kTypeMask);
  if (type == ValueType::kAbsent) return Value();
  if (type == ValueType::kNull) return Value::Null();
  const uint64_t size = ReadVarint(bytes);
  if (type == ValueType::kArray) {
    BONGSU_CHECK(size <= kPayloadArrayItemsMax);
    std::vector<Value> items;
    items.reserve(size);
    for (uint64_t i = 0; i < size; ++i) items.push_back(ReadValue(bytes, arrays, cut));
    arrays->push_back(std::move(items));
    return Value::Array(arrays->back());
  }
  BONGSU_CHECK_MSG(size <= bytes->size(), "a payload ends within a text");
  const std::string_view text = bytes->substr(0, size);
  bytes->remove_prefix(size);
  switch (type) {
    case ValueType::kBool:
      return Value::Bool(text == "true");
    case ValueType::kNumber:
      return Value::Number(text);
    case ValueType::kString:
      return Value::String(text);
    case ValueType::kObject:
      return Value::Object(text);
    default:
      break;
  }
  BONGSU_CHECK_MSG(false, "a payload holds a value of no type");
}

// What of `value` fits into `*left` bytes, its separator included where it is a member. Absent:
// nothing.
Value CutValue(const Value& value, size_t* left, std::deque<std::vector<Value>>* arrays,
               bool* cut) {
  if (value.is_array()) {
    std::vector<Value>& kept = arrays->emplace_back();
    for (const Value& item : value.items()) {
      Value shorter;
      if (*left > 0) {
        --*left;
        shorter = CutValue(item, left, arrays, cut);
      }
      if (shorter.is_absent()) {
        *cut = true;
        break;
      }
      kept.push_back(shorter);
    }
    return kept.empty() && *cut ? Value() : Value::Array(kept);
  }
  const std::string_view text = value.text();
  const std::string_view kept = CutAtCodePoint(text, *left);
  *left -= kept.size();
  if (kept.size() == text.size()) return value;
  *cut = true;
  if (kept.empty()) return Value();
  if (value.is_string()) return Value::String(kept);
  return value.type() == ValueType::kObject ? Value::Object(kept) : Value();
}

}  // namespace

int EncodePayload(const Event& event, std::span<const int> slots, std::string* out) {
  int cut = 0;
  for (int slot : slots) cut += AppendValue(event.field(slot), 0, out);
  return cut;
}

int EncodeValues(std::span<const Value> values, std::string* out) {
  int cut = 0;
  for (const Value& value : values) cut += AppendValue(value, 0, out);
  return cut;
}

int CutPayload(std::string_view payload, size_t bytes_max, std::string* out) {
  int cut_now = 0;
  PayloadReader reader(payload);
  for (Value value; reader.Next(&value);) {
    std::deque<std::vector<Value>> arrays;
    size_t left = bytes_max;
    bool cut = false;
    const Value kept = CutValue(value, &left, &arrays, &cut);
    const size_t tag = out->size();
    AppendValue(kept, 0, out);
    if (cut) ++cut_now;
    if (cut || reader.was_cut()) (*out)[tag] = static_cast<char>((*out)[tag] | kCut);
  }
  return cut_now;
}

bool PayloadReader::Next(Value* value) {
  if (rest_.empty()) return false;
  was_cut_ = false;
  *value = ReadValue(&rest_, &arrays_, &was_cut_);
  return true;
}

std::vector<Value> ReadPayload(PayloadReader& reader) {
  std::vector<Value> values;
  for (Value value; reader.Next(&value);) values.push_back(value);
  return values;
}

}  // namespace bongsu
