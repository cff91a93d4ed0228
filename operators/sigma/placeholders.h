// File: operators/sigma/placeholders.h
//
// Sigma's placeholders: `User|expand: '%Administrators%'` stands for what the configuration says
// under `placeholders:`. They are replaced in the document, before it is compiled; a placeholder
// that the configuration does not give is an error, never a pattern.
//
//   ExpandPlaceholders({{"Administrators", {"adm_*", "root"}}}, &detection, diagnostics);
//
// `\%` is a plain percent sign. A value with several placeholders, or one of several values,
// becomes the list of all combinations (an OR), kExpandedValuesMax at most.
//
// Thread-safety: pure functions.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"

namespace bongsu::sigma {

inline constexpr size_t kExpandedValuesMax = 10'000;

using Placeholders = std::map<std::string, std::vector<std::string>, std::less<>>;

// In every item of `detection` with the modifier `expand`: its values are replaced and the modifier
// is taken away. False after errors.
bool ExpandPlaceholders(const Placeholders& placeholders, Node* detection,
                        Diagnostics& diagnostics);

}  // namespace bongsu::sigma
