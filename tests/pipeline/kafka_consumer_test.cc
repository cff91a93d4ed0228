// What a consumer that is no member of its group may not do.
#include "pipeline/kafka/kafka_consumer.h"

#include <gtest/gtest.h>

#include "pipeline/config.h"
#include "pipeline/kafka/broker_failures.h"
#include "pipeline/kafka/kafka_client.h"
#include "pipeline/service.h"

namespace bongsu {
namespace {

Config Unreachable() {
  Config config;
  config.application = "never-joined";
  config.instance = "one";
  config.kafka = {{"bootstrap.servers", "127.0.0.1:1"}};
  return config;
}

// Brokers do not fence offsets that come with a generation below zero (KIP-447: such a commit is
// taken for one of a consumer without a group), so that ours must never be sent.
TEST(KafkaConsumerTest, ANegativeGenerationIsNoMembership) {
  const Config config = Unreachable();
  auto handle = MakeConsumer(config, nullptr, nullptr);
  ASSERT_TRUE(handle.ok()) << handle.status();
  const auto membership = MembershipOf(handle->get());
  EXPECT_TRUE(absl::IsAborted(membership.status())) << membership.status();
}

// The library says it once, to whoever polls then (while restoring, say); after that a fenced
// consumer looks like one whose topics are quiet.
TEST(KafkaConsumerTest, AFatalErrorIsThereForWhoeverAsksLater) {
  const Config config = Unreachable();
  auto handle = MakeConsumer(config, nullptr, nullptr);
  ASSERT_TRUE(handle.ok()) << handle.status();
  EXPECT_TRUE(FatalError(handle->get()).ok());
  rd_kafka_test_fatal_error(handle->get(), RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, "fenced");
  while (rd_kafka_message_t* message = rd_kafka_consumer_poll(handle->get(), 0))
    rd_kafka_message_destroy(message);
  EXPECT_TRUE(IsFenced(FatalError(handle->get()))) << FatalError(handle->get());
}

// The library hands these out once, and goes on with the records behind.
TEST(KafkaConsumerTest, WhatCannotBeReadIsNotSkipped) {
  for (const rd_kafka_resp_err_t error :
       {RD_KAFKA_RESP_ERR__BAD_MSG, RD_KAFKA_RESP_ERR__BAD_COMPRESSION,
        RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED, RD_KAFKA_RESP_ERR_INVALID_MSG,
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE}) {
    rd_kafka_message_t message = {};
    message.err = error;
    message.partition = 3;
    message.offset = 17;
    EXPECT_TRUE(absl::IsFailedPrecondition(ConsumerError(nullptr, message)))
        << rd_kafka_err2name(error);
  }
  rd_kafka_message_t lost = {};
  lost.err = RD_KAFKA_RESP_ERR__TRANSPORT;
  EXPECT_TRUE(ConsumerError(nullptr, lost).ok());
}

// A supervisor must not start a process again whose identity another one has; it must where only a
// broker has forgotten us, for nobody else would go on.
TEST(KafkaConsumerTest, FencedAfterALostBrokerIsNoReasonToStayDown) {
  const absl::Status fenced = KafkaError(RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, "reading stopped");
  BrokerFailures failures;
  EXPECT_EQ(ExitStatus(fenced, failures), 3);
  failures.Note("[thrd:main]: 127.0.0.1:1/1: 2 request(s) timed out: disconnect");
  EXPECT_EQ(failures.Last(), "127.0.0.1:1/1: 2 request(s) timed out: disconnect");
  EXPECT_EQ(ExitStatus(fenced, failures), 3)
      << "a process that was stopped breaks its own connections";
  failures.Note("[thrd:main]: 127.0.0.1:1/1: Disconnected (after 8000ms in state UP)");
  EXPECT_FALSE(failures.UnreachableWithin(kMinuteNs));
  BrokerFailures balanced;
  balanced.Note("[thrd:main]: 127.0.0.1:1/1: Disconnected (after 0ms in state APIVERSION_QUERY)");
  EXPECT_TRUE(balanced.UnreachableWithin(kMinuteNs)) << "accepted, and never answered";
  failures.Note("[thrd:main]: 127.0.0.1:1/1: Connect to ipv4#127.0.0.1:1 failed: refused");
  EXPECT_TRUE(failures.UnreachableWithin(kMinuteNs));
  EXPECT_FALSE(failures.UnreachableWithin(-1));
  EXPECT_EQ(ExitStatus(fenced, failures), 1);
  EXPECT_EQ(ExitStatus(absl::OkStatus(), failures), 0);
}

}  // namespace
}  // namespace bongsu
