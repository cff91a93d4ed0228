// File: pipeline/late_fields.h
//
// The carried fields of an input as a JSON object: what is left of a late event when it reaches its
// operator, and what the late stream therefore shows of it.
//
//   std::string json = LateFields(spec, input);    // {"src_ip":"10.0.0.1","alert.severity":1}
//
// Thread-safety: pure function.
#pragma once

#include <string>

#include "operators/operator.h"

namespace bongsu {

std::string LateFields(const OperatorSpec& spec, const Input& input);

}  // namespace bongsu
