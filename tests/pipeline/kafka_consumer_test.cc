// What a consumer that is no member of its group may not do.
#include "pipeline/kafka/kafka_consumer.h"

#include <gtest/gtest.h>

#include "pipeline/config.h"
#include "pipeline/kafka/kafka_client.h"

namespace bongsu {
namespace {

// Brokers do not fence offsets that come with a generation below zero (KIP-447: such a commit is
// taken for one of a consumer without a group), so that ours must never be sent.
TEST(KafkaConsumerTest, ANegativeGenerationIsNoMembership) {
  Config config;
  config.application = "never-joined";
  config.instance = "one";
  config.kafka = {{"bootstrap.servers", "127.0.0.1:1"}};
  auto handle = MakeConsumer(config, nullptr, nullptr);
  ASSERT_TRUE(handle.ok()) << handle.status();
  const auto membership = MembershipOf(handle->get());
  EXPECT_TRUE(absl::IsAborted(membership.status())) << membership.status();
}

}  // namespace
}  // namespace bongsu
