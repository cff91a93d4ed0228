// File: pipeline/config_options.h
//
// The tables of configuration keys: each key once, with type, unit, default, example and doc. The
// loader reads by them, and deploy/CONFIG.md is made from them.
//
// Thread-safety: constants.
#pragma once

#include <string>
#include <vector>

#include "operators/config/option.h"

namespace bongsu {

// One map of the configuration: where it stands ("sources[].time") and its keys.
struct OptionSection {
  std::string path;
  std::string doc;
  std::vector<OptionDef> options;
};

// All sections, in the order of the page; the first is the top level.
const std::vector<OptionSection>& ConfigSections();
// The table of one section; it must exist.
const std::vector<OptionDef>& ConfigOptions(std::string_view path);

// librdkafka properties that bongsu sets itself, and what to use in their place.
struct ReservedProperty {
  std::string name;
  std::string hint;
};
const std::vector<ReservedProperty>& ReservedKafkaProperties();

}  // namespace bongsu
