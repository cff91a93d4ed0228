// File: operators/sigma/matcher.h
//
// One item of a detection map: a field, its modifiers, and its values, compiled.
//
//   auto matcher = CompileItem(key_node, value_node, fields, diagnostics);
//   bool hit = matcher->Matches(event);
//
// Thread-safety: immutable; Matches from any thread.
#pragma once

#include <memory>
#include <string>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"
#include "operators/event.h"

namespace bongsu::sigma {

// Bounds on one item; a rule beyond them is refused with a message.
inline constexpr size_t kListValuesMax = 10'000;
inline constexpr size_t kValueBytesMax = 16 * 1024;
inline constexpr int kRegexMemoryBytes = 1 << 20;

class Matcher {
 public:
  virtual ~Matcher() = default;
  virtual bool Matches(const Event& event) const = 0;
  const std::string& field() const { return field_; }
  const std::string& normal_form() const { return normal_form_; }

 protected:
  std::string field_;
  std::string normal_form_;
  friend std::unique_ptr<Matcher> CompileItem(const Node&, const Node&, FieldTable&, Diagnostics&);
};

// `key`: "Image|endswith"; null after errors.
std::unique_ptr<Matcher> CompileItem(const Node& key, const Node& value, FieldTable& fields,
                                     Diagnostics& diagnostics);

}  // namespace bongsu::sigma
