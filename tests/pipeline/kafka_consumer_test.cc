// What a consumer that is no member of its group may not do.
#include "pipeline/kafka/kafka_consumer.h"

#include <gtest/gtest.h>
#include <librdkafka/rdkafka_mock.h>

#include <atomic>
#include <functional>
#include <optional>
#include <vector>

#include "pipeline/config.h"
#include "pipeline/kafka/broker_failures.h"
#include "pipeline/kafka/kafka_client.h"
#include "pipeline/kafka/kafka_group_source.h"
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

// A group over the library's own brokers, of which this process is a member.
class KafkaGroupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char error[200];
    brokers_.reset(rd_kafka_new(RD_KAFKA_PRODUCER, nullptr, error, sizeof error));
    ASSERT_NE(brokers_, nullptr) << error;
    mock_ = rd_kafka_mock_cluster_new(brokers_.get(), 1);
    ASSERT_NE(mock_, nullptr);
    config_ = One("one");
    rd_kafka_mock_topic_create(mock_, "fw", 2, 1);
    rd_kafka_mock_topic_create(mock_, config_.exchange_topic().c_str(), 1, 1);
  }
  void TearDown() override {
    if (mock_ != nullptr) rd_kafka_mock_cluster_destroy(mock_);
  }
  Config One(const std::string& instance) const {
    Config config;
    config.application = "grouped";
    config.instance = instance;
    config.exchange = ExchangeMode::kKafka;
    config.kafka = {{"bootstrap.servers", rd_kafka_mock_cluster_bootstraps(mock_)}};
    SourceConfig source;
    source.name = "fw";
    source.topics = {"fw"};
    source.idle_timeout = kMillisecondNs;
    config.sources.push_back(std::move(source));
    return config;
  }
  // Until `done` says so; the marks of fw's first partition.
  using Kinds = std::vector<PartitionMark::Kind>;
  static Kinds PollUntil(SharedSource& source, const std::function<bool(const Kinds&)>& done) {
    Kinds kinds;
    for (int i = 0; i < 300 && !done(kinds); ++i) {
      Batch batch;
      const absl::Status status = source.Poll(100 * kMillisecondNs, &batch);
      EXPECT_TRUE(status.ok()) << status;
      for (const PartitionMark& mark : batch.marks) {
        if (mark.partition == 0) kinds.push_back(mark.kind);
      }
    }
    EXPECT_TRUE(done(kinds));
    return kinds;
  }

  KafkaHandle brokers_;
  rd_kafka_mock_cluster_t* mock_ = nullptr;
  Config config_;
};

// Taking in what was gained must not make a quiet partition an active one that nobody is told of:
// the next rebalance would not wake it, and what comes to it meanwhile would be late.
TEST_F(KafkaGroupTest, WhatIsQuietIsWokenBeforeARebalanceThoughOthersWereTakenIn) {
  const std::atomic<bool> stop{false};
  PartitionTable table;
  const auto source = MakeKafkaGroupSource(config_, SystemClock());
  ASSERT_TRUE(source->Open(table).ok());
  ASSERT_TRUE(source->Own(stop).ok());
  std::optional<Assignment> assignment;
  (void)PollUntil(*source, [&](const Kinds&) {
    if (!assignment.has_value()) assignment = source->TakeAssignment();
    return assignment.has_value();
  });
  ASSERT_EQ(assignment->partitions.size(), 2u);
  std::vector<Place> places(1);
  places[0].next_offset = 0;
  ASSERT_TRUE(source->Read(places).ok());
  EXPECT_EQ(PollUntil(*source, [](const auto& kinds) { return !kinds.empty(); }),
            Kinds{PartitionMark::Kind::kIdle});
  config_.sources[0].idle_timeout = kHourNs;
  places.resize(2);
  places[1].id = 1;
  places[1].next_offset = 0;
  ASSERT_TRUE(source->Read(places).ok());
  // Another member.
  const Config other = One("two");
  PartitionTable others;
  const auto second = MakeKafkaGroupSource(other, SystemClock());
  ASSERT_TRUE(second->Open(others).ok());
  ASSERT_TRUE(second->Own(stop).ok());
  const Kinds kinds = PollUntil(*source, [&](const Kinds& seen) {
    Batch batch;
    EXPECT_TRUE(second->Poll(0, &batch).ok());
    return source->revoking() && !seen.empty();
  });
  EXPECT_EQ(kinds, Kinds{PartitionMark::Kind::kActive});
  ASSERT_TRUE(source->Release().ok());
}

}  // namespace
}  // namespace bongsu
