// Keys of events: which there are, and what is done where a part is missing.
#include "operators/key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "operators/fold.h"

namespace bongsu {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Keys(KeyBuilder& builder, const Value& value) {
  Event event;
  event.fields = {&value, 1};
  std::vector<std::string> texts;
  for (const std::string_view key : builder.Build(event)) texts.push_back(KeyText(key));
  return texts;
}

// At each place of texts of every length, before and behind each bound of a word.
TEST(IsFoldedAscii, IsWhatFoldingLeavesAsItIs) {
  EXPECT_TRUE(IsFoldedAscii(""));
  for (size_t size = 1; size <= 40; ++size) {
    for (size_t at = 0; at < size; ++at) {
      std::string text(size, 'x');
      for (int c = 0; c < 256; ++c) {
        text[at] = static_cast<char>(c);
        EXPECT_EQ(IsFoldedAscii(text), IsAscii(text) && Folded(text) == text) << size << ' ' << c;
      }
    }
  }
}

// Whatever can be no part of a key is missing, however the record writes it.
TEST(KeyBuilder, WhatIsMissingIsLeftOutOrAGroupOfItsOwn) {
  const std::vector<Value> nothing = {Value::Null(), Value::Object("{}")};
  const std::vector<Value> some = {Value::Null(), Value::String("A"), Value::Object("{}")};
  const Value missing[] = {Value(),
                           Value::Null(),
                           Value::Object("{}"),
                           Value::Object(R"({"a":1})"),
                           Value::Array({}),
                           Value::Array({nothing.data(), 1}),
                           Value::Array(nothing)};
  KeyBuilder leave({.slots = {0}});
  KeyBuilder group({.slots = {0}, .keep_missing = true});
  for (const Value& value : missing) {
    EXPECT_THAT(Keys(leave, value), ElementsAre());
    EXPECT_THAT(Keys(group, value), ElementsAre("(none)")) << static_cast<int>(value.type());
  }
  EXPECT_EQ(leave.counters().missing_part, std::size(missing));
  EXPECT_EQ(group.counters().missing_part, 0u);
  // A member that is one makes the key.
  EXPECT_THAT(Keys(leave, Value::Array(some)), ElementsAre("a"));
  EXPECT_THAT(Keys(group, Value::Array(some)), ElementsAre("a"));
}

// Beside other parts, too.
TEST(KeyBuilder, AMissingPartIsOneForEachKeySoFar) {
  const std::vector<Value> hosts = {Value::String("x"), Value::String("y")};
  const std::vector<Value> nothing = {Value::Null()};
  const std::vector<Value> row = {Value::Array(hosts), Value::Array(nothing), Value::Number("7")};
  Event event;
  event.fields = row;
  KeyBuilder group({.slots = {0, 1, 2}, .keep_missing = true});
  std::vector<std::string> texts;
  for (const std::string_view key : group.Build(event)) texts.push_back(KeyText(key));
  EXPECT_THAT(texts, ElementsAre("x, (none), 7", "y, (none), 7"));
}

}  // namespace
}  // namespace bongsu
