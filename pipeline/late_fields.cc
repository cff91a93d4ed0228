#include "pipeline/late_fields.h"

#include "operators/payload.h"
#include "pipeline/json_text.h"

namespace bongsu {
namespace {

void AppendValue(const Value& value, std::string* json) {
  switch (value.type()) {
    case ValueType::kAbsent:
    case ValueType::kNull:
      *json += "null";
      break;
    case ValueType::kBool:
    case ValueType::kObject:
      json->append(value.text());
      break;
    case ValueType::kNumber:
      if (IsJsonNumber(value.text()))
        json->append(value.text());
      else
        AppendJsonString(value.text(), json);
      break;
    case ValueType::kString:
      AppendJsonString(value.text(), json);
      break;
    case ValueType::kArray: {
      const char* separator = "[";
      if (value.items().empty()) *json += "[";
      for (const Value& item : value.items()) {
        *json += separator;
        AppendValue(item, json);
        separator = ",";
      }
      *json += "]";
      break;
    }
  }
}

}  // namespace

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
    // A cut object is no JSON any more: it is shown as text.
    if (value.type() == ValueType::kObject && reader.was_cut())
      AppendJsonString(value.text(), &json);
    else
      AppendValue(value, &json);
  }
  return json + "}";
}

}  // namespace bongsu
