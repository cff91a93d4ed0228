// File: pipeline/explain.h
//
// Why a rule fired, or why it did not: for a detection the tree of its condition with what each
// item saw in an event; for a correlation or an interval_join each of its steps, for one key and
// time: seen, absent, there with another key, too late, outside the window, capped, or waiting for
// the watermark. The evaluators are the engine's own (sigma::Detection, pipeline/rehearsal.h).
//
//   return ExplainRule({.rule = "many-failed-logons", .rules = {"rules"}, .key = "10.0.0.9",
//                       .inputs = {"sysmon-nxlog=security.jsonl"}}, stdout);
//
// In place of files, a correlation's or a join's steps can be told from the state of a service, at
// work or stopped (pipeline/explain_state.h): {.rule = ..., .config = "bongsu.yaml", .state =
// true}.
//
// The first line is the verdict. Exit status: 0 it matched or fired, 1 it did not, 2 the rule, the
// configuration or the input cannot be used, or the state does not say.
//
// Thread-safety: one thread.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "operators/event.h"
#include "operators/sigma/selection.h"
#include "pipeline/config.h"

namespace bongsu {

// The input is held in memory; beyond this it is refused.
inline constexpr size_t kExplainBytesMax = size_t{1} << 30;
inline constexpr size_t kExplainNamesMax = 5;  // other keys, values of a list, ... that are shown

struct ExplainOptions {
  std::string rule;                 // id, name or title; operators: the name
  std::vector<std::string> rules;   // folders and files of rules; or
  std::string config;               // a configuration
  std::vector<std::string> inputs;  // "source=file", "-" or a file where there is one source only
  std::string key;                  // correlations: as alerts show it; empty: as StepsQuestion::key
  std::string time;                 // correlations: RFC 3339; empty: as StepsQuestion::time
  // In place of inputs: what the state of this configuration's service holds; it may be running.
  bool state = false;
};

int ExplainRule(const ExplainOptions& options, std::FILE* out);

// What a detection said of an event, as an indented tree; `*reason`: in a few words what decided.
std::string ExplainDetection(const sigma::Detection& detection, const Event& event,
                             std::string* reason);

}  // namespace bongsu
