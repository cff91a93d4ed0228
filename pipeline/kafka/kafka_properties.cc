#include "pipeline/kafka/kafka_properties.h"

#include <fmt/format.h>
#include <librdkafka/rdkafka.h>

#include <memory>
#include <string_view>
#include <vector>

#include "operators/config/diagnostics.h"

namespace bongsu {
namespace {

struct ConfDestroy {
  void operator()(rd_kafka_conf_t* conf) const { rd_kafka_conf_destroy(conf); }
};

// Of the properties that this build of the library has and that hold a value, and of those that a
// broker's user sets but that have no default, so that the library does not list them.
std::string Nearest(const rd_kafka_conf_t* conf, const std::string& name) {
  size_t count = 0;
  const char** dump = rd_kafka_conf_dump(const_cast<rd_kafka_conf_t*>(conf), &count);
  std::vector<std::string_view> names = {"bootstrap.servers",
                                         "sasl.username",
                                         "sasl.password",
                                         "ssl.ca.location",
                                         "ssl.ca.pem",
                                         "ssl.certificate.location",
                                         "ssl.key.location",
                                         "ssl.key.password",
                                         "ssl.certificate.pem",
                                         "ssl.key.pem",
                                         "ssl.keystore.location",
                                         "ssl.keystore.password",
                                         "sasl.kerberos.keytab",
                                         "sasl.oauthbearer.config",
                                         "sasl.oauthbearer.scope",
                                         "debug",
                                         "sasl.oauthbearer.client.id"};
  for (size_t i = 0; i < count; i += 2) names.emplace_back(dump[i]);
  std::string nearest = NearestName(name, names);
  rd_kafka_conf_dump_free(dump, count);
  return nearest;
}

}  // namespace

KafkaPropertyProblem CheckKafkaProperty(const std::string& name, const std::string& value,
                                        std::string* hint) {
  const std::unique_ptr<rd_kafka_conf_t, ConfDestroy> conf(rd_kafka_conf_new());
  char reason[512];  // may quote the value: never shown
  switch (rd_kafka_conf_set(conf.get(), name.c_str(), value.c_str(), reason, sizeof(reason))) {
    case RD_KAFKA_CONF_OK:
      return KafkaPropertyProblem::kNone;
    case RD_KAFKA_CONF_UNKNOWN: {
      const std::string nearest = Nearest(conf.get(), name);
      *hint = nearest.empty() ? "its list of properties is CONFIGURATION.md"
                              : fmt::format("did you mean '{}'?", nearest);
      return KafkaPropertyProblem::kUnknown;
    }
    default:
      *hint = "the values it takes stand in its CONFIGURATION.md";
      return KafkaPropertyProblem::kValue;
  }
}

}  // namespace bongsu
