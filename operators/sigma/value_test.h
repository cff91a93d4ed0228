// File: operators/sigma/value_test.h
//
// What one value of a rule asks of one value of an event: the leaf of a detection.
//
// Each kind says what it is, so that the compiled matcher (operators/sigma/rule_matcher.h) can find
// many of them at once, and can answer alone, so that it is the meaning itself.
//
// Thread-safety: immutable; Matches from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"
#include "operators/event.h"
#include "operators/sigma/modifier.h"
#include "operators/sigma/pattern.h"

namespace re2 {
class RE2;
}

namespace bongsu::sigma {

inline constexpr size_t kValueBytesMax = 16 * 1024;
// RE2 refuses what needs more, so that no expression takes long to compile or much to keep.
inline constexpr int kRegexMemoryBytes = 1 << 20;
// What windash and the encodings may make of one value.
// Each is tried at each place of a long text, in the worst case.
inline constexpr size_t kWildcardsMax = 256;
inline constexpr size_t kEncodedValuesMax = 10'000;
// And of all values of a field.
inline constexpr size_t kItemTextsMax = 40'000;

class ValueTest {
 public:
  enum class Kind : uint8_t { kNull, kText, kRegex, kCidr, kCompare, kFieldRef, kTimePart };

  virtual ~ValueTest() = default;
  // `value` is no array; absent and null come here, too. `event` is whose field it is.
  virtual bool Matches(const Value& value, const Event& event) const = 0;
  // kText, else null.
  virtual const Pattern* pattern() const { return nullptr; }
  // kRegex, else null.
  virtual const re2::RE2* regex() const { return nullptr; }
  // The second field that it reads; -1: none.
  virtual int other_slot() const { return -1; }

  Kind kind() const { return kind_; }
  // Equal for equal meaning.
  const std::string& normal_form() const { return normal_form_; }

 protected:
  explicit ValueTest(Kind kind) : kind_(kind) {}
  std::string normal_form_;

 private:
  Kind kind_;
};

// The text that Sigma compares: numbers as their shortest decimal. Of a number that is not an
// integer, a view into `*scratch`.
std::string_view ComparedText(const Value& value, std::string* scratch);

// The tests of one value: several (an OR) where modifiers multiply it. `keyword`: a text without a
// field is found anywhere. False after errors.
bool CompileValue(const Node& value, const Modifiers& modifiers, bool keyword, FieldTable& fields,
                  std::vector<std::unique_ptr<ValueTest>>* tests, Diagnostics& diagnostics);

}  // namespace bongsu::sigma
