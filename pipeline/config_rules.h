// File: pipeline/config_rules.h
//
// The `rules:` part of the configuration: loads the rule set, binds it to the sources, and says at
// load what can never fire. Part of LoadConfig.
//
// Thread-safety: one thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "operators/config/option.h"
#include "operators/sigma/rule_binding.h"
#include "pipeline/config.h"

namespace bongsu {

// Reads `rules` (and config->topic_rules), `rules_strict`, `rules_skip_status`, `placeholders` and
// `filter_condition` of `top` into config->rules and config->binding. `path` makes a path of the
// configuration usable; `default_fields` says what every alert of a source carries. The sources
// must have been read.
void LoadRules(const OptionReader& top, const std::function<std::string(const std::string&)>& path,
               const std::function<std::vector<std::string>(const std::string&)>& default_fields,
               Config* config, Diagnostics& diagnostics);

// For `check`: what was loaded, what was left out and why, and what no source can bring events for.
std::string RulesText(const Config& config);

}  // namespace bongsu
