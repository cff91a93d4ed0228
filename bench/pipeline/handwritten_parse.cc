#include "bench/pipeline/handwritten_parse.h"

#include <simdjson.h>

namespace bongsu {

using simdjson::SIMDJSON_PADDING;
using simdjson::SUCCESS;

struct HandwrittenParse::Parser {
  simdjson::ondemand::parser parser;
};

HandwrittenParse::HandwrittenParse() : parser_(new Parser) {}
HandwrittenParse::~HandwrittenParse() { delete parser_; }

bool HandwrittenParse::Supported() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("pclmul") != 0;
#else
  return true;
#endif
}

namespace {

bool Text(simdjson::ondemand::object& object, std::string_view key, std::string_view* out) {
  return object.find_field(key).get_string().get(*out) == SUCCESS;
}

bool Number(simdjson::ondemand::object& object, std::string_view key, std::string_view* out) {
  simdjson::ondemand::value value;
  if (object.find_field(key).get(value) != SUCCESS) return false;
  *out = value.raw_json_token();
  return true;
}

}  // namespace

bool HandwrittenParse::Firewall(std::string_view bytes, EightFields* out) {
  simdjson::ondemand::document document;
  simdjson::ondemand::object object;
  simdjson::ondemand::object alert;
  EightFields& f = *out;
  if (parser_->parser.iterate(bytes.data(), bytes.size(), bytes.size() + SIMDJSON_PADDING)
              .get(document) != SUCCESS ||
      document.get_object().get(object) != SUCCESS) {
    return false;
  }
  return Text(object, "timestamp", &f[0]) && Text(object, "event_type", &f[1]) &&
         Text(object, "src_ip", &f[2]) && Number(object, "src_port", &f[3]) &&
         Text(object, "dest_ip", &f[4]) && Number(object, "dest_port", &f[5]) &&
         object.find_field("alert").get_object().get(alert) == SUCCESS &&
         Text(alert, "signature", &f[6]) && Number(alert, "severity", &f[7]);
}

bool HandwrittenParse::Endpoint(std::string_view bytes, EightFields* out) {
  simdjson::ondemand::document document;
  simdjson::ondemand::object object;
  EightFields& f = *out;
  if (parser_->parser.iterate(bytes.data(), bytes.size(), bytes.size() + SIMDJSON_PADDING)
              .get(document) != SUCCESS ||
      document.get_object().get(object) != SUCCESS) {
    return false;
  }
  return Number(object, "EventID", &f[0]) && Text(object, "Channel", &f[1]) &&
         Text(object, "ParentImage", &f[2]) && Text(object, "CommandLine", &f[3]) &&
         Text(object, "User", &f[4]) && Text(object, "Image", &f[5]) &&
         Text(object, "UtcTime", &f[6]) && Text(object, "Hostname", &f[7]);
}

}  // namespace bongsu
