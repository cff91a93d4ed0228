// File: pipeline/late_fields.h
//
// The carried fields of an input as members of a JSON object: what is left of a late event when it
// reaches its operator, and what the late stream therefore shows of it. Values are cut (CutPayload)
// where they would be longer than `bytes_max` together; "cut_fields" names those that were.
//
//   std::string json = LateFields(spec, input, bytes_max);
//   // "fields":{"src_ip":"10.0.0.1","alert.severity":1}
//
// Thread-safety: pure function.
#pragma once

#include <cstddef>
#include <string>

#include "operators/operator.h"

namespace bongsu {

std::string LateFields(const OperatorSpec& spec, const Input& input, size_t bytes_max);

}  // namespace bongsu
