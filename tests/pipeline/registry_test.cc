// What instances agree on: additions only, and a version that grows with the plan.
#include <gtest/gtest.h>

#include "pipeline/kafka/kafka_registry.h"
#include "pipeline/positions.h"

namespace bongsu {
namespace {

PartitionInfo Info(const std::string& topic, int32_t partition) {
  PartitionInfo info;
  info.source = "s";
  info.topic = topic;
  info.partition = partition;
  info.identity =
      "s" + std::string(1, '\0') + topic + std::string(1, '\0') + std::to_string(partition);
  return info;
}

TEST(RegistryTest, NumbersStayAndThePlanHasAVersion) {
  Registry registry;
  EXPECT_TRUE(Extend({Info("a", 0), Info("a", 1)}, {"op 1"}, &registry));
  EXPECT_EQ(registry.plan_version, 1u);
  const uint64_t seed = registry.hash_seed;
  EXPECT_FALSE(Extend({Info("a", 1)}, {"op 1"}, &registry));
  EXPECT_TRUE(Extend({Info("b", 0), Info("a", 0)}, {"op 1"}, &registry));
  EXPECT_EQ(registry.plan_version, 1u);
  EXPECT_TRUE(Extend({}, {"op 2"}, &registry));
  EXPECT_EQ(registry.plan_version, 2u);
  EXPECT_EQ(registry.hash_seed, seed);

  const auto read = DecodeRegistry(EncodeRegistry(registry));
  ASSERT_TRUE(read.ok()) << std::string(read.status().message());
  EXPECT_EQ(read->hash_seed, seed);
  EXPECT_EQ(read->plan_version, 2u);
  EXPECT_EQ(read->plan, registry.plan);
  ASSERT_EQ(read->partitions.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(read->partitions[i].id, i);
    EXPECT_EQ(read->partitions[i].identity, registry.partitions[i].identity);
  }
  EXPECT_EQ(read->partitions[2].topic, "b");
}

TEST(RegistryTest, ARunOfTheOtherExchangeIsRefused) {
  Registry registry;
  Extend({Info("a", 0)}, {}, &registry);
  EXPECT_TRUE(absl::IsFailedPrecondition(DecodePositions(EncodeRegistry(registry)).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(DecodeRegistry(EncodePositions({})).status()));
  EXPECT_TRUE(absl::IsDataLoss(DecodeRegistry("{\"registry\": 1}").status()));
}

}  // namespace
}  // namespace bongsu
