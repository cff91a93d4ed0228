// File: operators/sigma/rule_reader.h
//
// What the readers of the kinds of Sigma documents share: texts and lists of texts out of a Node,
// with a message for what is neither. Internal to rule.cc, rule_correlation.cc and rule_set.cc.
//
// Thread-safety: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"
#include "operators/sigma/rule.h"

namespace bongsu::sigma {

// A scalar that is not empty; false (reported) for anything else.
bool ReadText(const Node& node, std::string_view key, Diagnostics& diagnostics, std::string* out);

// One text or a list of at most `items_max`; an empty list is reported.
std::vector<PlacedText> ReadTexts(const Node& node, std::string_view key, size_t items_max,
                                  Diagnostics& diagnostics);

// Reports the entries whose text occurred before.
void ReportRepeated(const std::vector<PlacedText>& texts, std::string_view key,
                    Diagnostics& diagnostics);

// The names in a temporal correlation's expression, each once, in order of appearance.
std::vector<PlacedText> ExpressionNames(const PlacedText& expression);

// `generate:`, which stands within `correlation:` or beside it.
void ReadGenerate(const Node& node, CorrelationRule* rule, Diagnostics& diagnostics);

// The map under `correlation:`.
void ReadCorrelation(const Node& node, CorrelationRule* rule, Diagnostics& diagnostics);

}  // namespace bongsu::sigma
