#include "pipeline/late_fields.h"

#include "operators/payload.h"
#include "pipeline/alert_layout.h"
#include "pipeline/alert_writer.h"
#include "pipeline/json_text.h"

namespace bongsu {

namespace {

std::string FieldsMembers(const InputSpec& port, std::string_view payload) {
  std::string fields;
  std::string cut;
  PayloadReader reader(payload);
  Value value;
  for (size_t i = 0; i < port.fields.size() && reader.Next(&value); ++i) {
    if (reader.was_cut()) {
      if (!cut.empty()) cut += ",";
      AppendJsonString(port.fields[i], &cut);
    }
    if (value.is_absent()) continue;
    if (!fields.empty()) fields += ",";
    AppendJsonString(port.fields[i], &fields);
    fields += ":";
    AppendValueJson(value, &fields);
  }
  std::string members = "\"fields\":{" + fields + "}";
  if (!cut.empty()) members += ",\"cut_fields\":[" + cut + "]";
  return members;
}

}  // namespace

std::string LateFields(const OperatorSpec& spec, const Input& input, size_t bytes_max) {
  const InputSpec& port = spec.inputs()[input.port];
  std::string members = FieldsMembers(port, input.payload);
  std::string payload;
  for (size_t bytes = bytes_max; members.size() > bytes_max && bytes > 0;) {
    bytes = LessValueBytes(bytes);
    payload.clear();
    if (CutPayload(input.payload, bytes, &payload) > 0) members = FieldsMembers(port, payload);
  }
  return members;
}

}  // namespace bongsu
