// File: pipeline/kafka/kafka_properties.h
//
// Asks librdkafka about one property while the configuration is read, so that a wrong one is
// reported with its place and beside everything else that is wrong, not at the first connection.
//
//   std::string hint;
//   if (CheckKafkaProperty("sasl.pasword", value, &hint) != KafkaPropertyProblem::kNone)
//     diagnostics.Error(where, "...", hint);          // hint: did you mean 'sasl.password'?
//
// Neither the hint nor anything else repeats the value: it may be a secret. What hangs on several
// properties together is found when the client is made (kafka_client.h).
//
// Thread-safety: safe to call from any thread.
#pragma once

#include <cstdint>
#include <string>

namespace bongsu {

enum class KafkaPropertyProblem : uint8_t { kNone, kUnknown, kValue };

// `hint` gets what to do about it; it may stay empty.
KafkaPropertyProblem CheckKafkaProperty(const std::string& name, const std::string& value,
                                        std::string* hint);

}  // namespace bongsu
