// File: operators/event.h
//
// What a rule sees of a log record: `Event`, a row of `Value`s, one for each field that some
// loaded rule, key or output needs, and nothing else (projection pushdown).
// Which field sits in which column ("slot") is fixed by the source's `FieldTable` before the first
// record is read.
//
//   FieldTable fields;                       // one for each source, filled while rules are loaded
//   int image = fields.Slot("Image");        // the same name gives the same slot
//   ...
//   const Value& v = event.field(image);     // in the event path: an array access
//   if (v.is_string() && v.text() == "...")
//
// Lifetime: a Value is a view. Its bytes belong to the record's buffer or to the decoder's scratch
// memory and are valid until the call that was given the Event returns. Copy what you keep.
//
// Thread-safety: FieldTable is filled on one thread and then only read; Event and Value are values.
#pragma once

#include <cassert>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "state/string_map.h"
#include "state/types.h"

namespace bongsu {

enum class ValueType : uint8_t {
  kAbsent = 0,  // the record has no such field
  kNull = 1,    // the field is there and is null
  kBool = 2,    // text() is "true" or "false"
  kNumber = 3,  // text() is the number as it was written: exact, whatever its size
  kString = 4,  // text() is the string with its escapes resolved, UTF-8
  kArray = 5,   // items() are the members, in order
  kObject = 6,  // text() is the object's JSON as it was written
};

// One field of one record; 16 bytes, copied freely.
class Value {
 public:
  constexpr Value() = default;
  static constexpr Value Null() { return Value(ValueType::kNull, nullptr, 0); }
  static constexpr Value Bool(bool b) {
    return b ? Text(ValueType::kBool, "true") : Text(ValueType::kBool, "false");
  }
  static constexpr Value Number(std::string_view text) { return Text(ValueType::kNumber, text); }
  static constexpr Value String(std::string_view text) { return Text(ValueType::kString, text); }
  static constexpr Value Object(std::string_view json) { return Text(ValueType::kObject, json); }
  static Value Array(std::span<const Value> items) {
    return Value(ValueType::kArray, items.data(), static_cast<uint32_t>(items.size()));
  }

  constexpr ValueType type() const { return type_; }
  constexpr bool is_absent() const { return type_ == ValueType::kAbsent; }
  // Sigma's null: the field is absent or null.
  constexpr bool is_null_or_absent() const { return type_ <= ValueType::kNull; }
  constexpr bool is_string() const { return type_ == ValueType::kString; }
  constexpr bool is_number() const { return type_ == ValueType::kNumber; }
  constexpr bool is_array() const { return type_ == ValueType::kArray; }

  // The text of a bool, number, string or object; empty for the others.
  constexpr std::string_view text() const {
    if (type_ == ValueType::kArray || data_ == nullptr) return {};
    return {static_cast<const char*>(data_), size_};
  }
  // The members of an array; empty for the others.
  std::span<const Value> items() const {
    if (type_ != ValueType::kArray) return {};
    return {static_cast<const Value*>(data_), size_};
  }

 private:
  static constexpr Value Text(ValueType type, std::string_view text) {
    return Value(type, text.data(), static_cast<uint32_t>(text.size()));
  }
  constexpr Value(ValueType type, const void* data, uint32_t size)
      : data_(data), size_(size), type_(type) {}

  const void* data_ = nullptr;
  uint32_t size_ = 0;
  ValueType type_ = ValueType::kAbsent;
};

// The field of this name stands for every value of the record: an array of all its strings, numbers
// and booleans at any depth, never its keys, in the record's order, kAllValuesMax at most (counted
// beyond). Sigma's keywords search it. It has a control character, as no field that rules name has.
inline constexpr std::string_view kAllValuesField = "\x01values";
inline constexpr int kAllValuesMax = 4096;

// Which fields of a source are needed, and in which slot each is found. Names are what rules say
// ("Image", "alert.severity"); the source's mapping turns them into paths of the record.
class FieldTable {
 public:
  // The slot of `name`, a new one where it was not asked for before.
  int Slot(std::string_view name);
  // The slot of `name`, or -1.
  int Find(std::string_view name) const;
  const std::vector<std::string>& names() const { return names_; }
  int size() const { return static_cast<int>(names_.size()); }

 private:
  std::vector<std::string> names_;
  StringMap<int> slots_;
};

// Reads what the decoder left unread: most fields of most records are of no use to the rules of
// their log source, and an alert is rare.
//
// Thread-safety, lifetime: the decoder's; the record at hand only.
class FieldReader {
 public:
  virtual ~FieldReader() = default;
  // Puts these fields into the event's row. False: one of them is wrong JSON; the record is void.
  [[nodiscard]] virtual bool Read(std::span<const int> slots) = 0;
  // All fields. False as above.
  [[nodiscard]] virtual bool ReadAll() = 0;
  // How the record writes the fields that are still to be read: JSON, into `written`, which has a
  // place for each of `slots`; empty for the others. Equal JSON is equal when read, or wrong.
  virtual void Written(std::span<const int> slots, std::string_view* written) const = 0;
  // Whether something of what was read so far had to be repaired.
  virtual bool repaired() const = 0;
  // The field kAllValuesField (nothing, where the table does not have it).
  virtual void ReadAllValues() = 0;
  // The record as it is read: UTF-8, repaired where it had to be.
  virtual std::string_view json() const = 0;
};

// One decoded record.
struct Event {
  std::span<const Value> fields;  // by slot; as many as the source's FieldTable has
  EventTimeNs time = 0;           // event time; meaningless unless has_time
  bool has_time = false;
  RecordSeq seq = 0;     // source partition and offset
  std::string_view raw;  // the record's bytes
  // Null: all fields are there. Else those that the decoder was told to leave (DecoderOptions)
  // are absent until they are read.
  FieldReader* reader = nullptr;

  const Value& field(int slot) const {
    assert(slot >= 0 && static_cast<size_t>(slot) < fields.size());
    return fields[static_cast<size_t>(slot)];
  }
};

}  // namespace bongsu
