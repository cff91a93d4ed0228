// File: pipeline/node_json.h
//
// A piece of YAML as JSON text: custom fields of rules in alerts, records of rule tests.
//
//   std::string json;
//   AppendNodeJson(node, &json);     // {"team":"blue","hours":8}
//
// What was written without quotes and is a JSON number or boolean stays one; numbers keep every
// digit.
//
// Thread-safety: pure function.
#pragma once

#include <string>

#include "operators/config/node.h"

namespace bongsu {

void AppendNodeJson(const Node& node, std::string* out);

}  // namespace bongsu
