// File: operators/sigma/log_source.h
//
// Which events are of which Sigma log source. A source's format says it as data: for each of
// product, category and service the values that its events may have, each with the search (in
// Sigma's own words) that recognises them.
//
//   logsource:
//     product: windows                       # every event
//     category:
//       - {is: process_creation, when: {Channel: Microsoft-Windows-Sysmon/Operational, EventID: 1}}
//       - {is: process_creation, when: {Channel: Security, EventID: 4688}}
//       - otherwise: none                    # any other event has no category
//     service:
//       - {is: security, when: {Channel: Security}}
//       - otherwise: unknown                 # the default: any other event may have any service
//
// A rule is left out where its log source conflicts with the event's, part by part:
//   - the part is not mapped at all: no conflict;
//   - the format has cases for the rule's value: one of their searches must hold;
//   - it has none: the event must be one that no case recognises, and `otherwise: none` conflicts.
//
// Bind() turns that into searches of the rule's own detection, so that the matcher shares them over
// all rules and a rule costs nothing for events of other log sources.
//
// Thread-safety: plain data.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"
#include "operators/sigma/rule.h"

namespace bongsu::sigma {

struct LogSourceCase {
  std::string is;
  Node when;  // a search; null: every event
};

struct LogSourcePart {
  std::vector<LogSourceCase> cases;
  bool otherwise_none = false;
  bool mapped() const { return !cases.empty() || otherwise_none; }
};

struct LogSourceMap {
  LogSourcePart category;
  LogSourcePart product;
  LogSourcePart service;
  bool mapped() const { return category.mapped() || product.mapped() || service.mapped(); }
};

// Reads the map under `logsource:`. A part is a text (every event has it), or a list of cases.
// Parts that are read replace those in `*map`.
void ReadLogSourceMap(const Node& node, LogSourceMap* map, Diagnostics& diagnostics);

// Whether a rule of log source `rule` can concern events of `map` at all; where it can not, `*why`
// says in a few words which part conflicts.
bool LogSourceFits(const LogSourceMap& map, const RuleLogsource& rule, std::string* why);

// Log sources are written in lower case; a rule, filter or mapping that is not means the same.
bool SameLogSourcePart(std::string_view a, std::string_view b);

// Adds to `detection` (a detection's map) the searches that an event of the rule's log source must
// meet, and ties them to its condition. Only for rules that fit.
void BindLogSource(const LogSourceMap& map, const RuleLogsource& rule, Node* detection);

// The same as a detection of its own: what an event of the rule's log source must meet. Null where
// every event of the source does.
Node LogSourceGuard(const LogSourceMap& map, const RuleLogsource& rule);

// Adds the search `name` to `detection`, and ties `term`, a condition over searches, to its
// condition by `and`. For BindLogSource and filters.
void AddSearch(std::string name, const Node& search, Node* detection);
void AndCondition(std::string_view term, Node* detection);

// Reports what is wrong with the search of a case.
void CheckSearch(const Node& search, Diagnostics& diagnostics);

// "windows / process_creation / -": product, category, service.
std::string LogSourceText(const RuleLogsource& rule);

}  // namespace bongsu::sigma
