// File: operators/sigma/condition.h
//
// The condition of a detection: a boolean expression over the names of its searches.
//
//   sel and not 1 of filter_*
//
// Precedence, lowest first: or, and, not, `x of`. Words in any letter case. `them` is every search,
// patterns with `*` those that match; names that begin with `_` are left out of both. A pattern
// that matches none is an error.
//
// Thread-safety: values.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"

namespace bongsu::sigma {

inline constexpr size_t kConditionBytesMax = 64 * 1024;
inline constexpr int kConditionDepthMax = 64;

struct Condition {
  enum Kind : uint8_t { kSearch, kNot, kAnd, kOr } kind = kSearch;
  int search = -1;                  // kSearch: index into the names
  std::vector<Condition> operands;  // kNot: one; kAnd, kOr: two and more
};

// `*` in names of searches and rules.
bool GlobMatches(std::string_view glob, std::string_view name);

// False after errors.
bool ParseCondition(const Node& node, const std::vector<std::string>& searches,
                    Condition* condition, Diagnostics& diagnostics);

}  // namespace bongsu::sigma
