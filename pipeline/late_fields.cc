#include "pipeline/late_fields.h"

#include "operators/payload.h"
#include "pipeline/alert_layout.h"
#include "pipeline/json_text.h"

namespace bongsu {

std::string LateFields(const OperatorSpec& spec, const Input& input) {
  const InputSpec& port = spec.inputs()[input.port];
  std::string json = "{";
  PayloadReader reader(input.payload);
  Value value;
  for (size_t i = 0; i < port.fields.size() && reader.Next(&value); ++i) {
    if (value.is_absent()) continue;
    if (json.size() > 1) json += ",";
    AppendJsonString(port.fields[i], &json);
    json += ":";
    AppendValueJson(value, &json);
  }
  return json + "}";
}

}  // namespace bongsu
