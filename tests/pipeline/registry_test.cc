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

PlanWish Wish(std::vector<std::string> plan, int64_t version = -1) {
  PlanWish wish;
  wish.plan = std::move(plan);
  if (version >= 0) wish.rules_topic = "rules";
  wish.rules_version = version;
  return wish;
}

// True when something was added; none: the others are ahead.
std::optional<bool> Extended(const std::vector<PartitionInfo>& partitions, const PlanWish& wish,
                             Registry* registry) {
  std::string behind;
  const bool changed = Extend(partitions, wish, registry, &behind);
  if (behind.empty()) return changed;
  EXPECT_FALSE(changed);
  return std::nullopt;
}

TEST(RegistryTest, NumbersStayAndThePlanHasAVersion) {
  Registry registry;
  EXPECT_EQ(Extended({Info("a", 0), Info("a", 1)}, Wish({"op 1"}), &registry), true);
  EXPECT_EQ(registry.plan_version, 1u);
  const uint64_t seed = registry.hash_seed;
  EXPECT_EQ(Extended({Info("a", 1)}, Wish({"op 1"}), &registry), false);
  EXPECT_EQ(Extended({Info("b", 0), Info("a", 0)}, Wish({"op 1"}), &registry), true);
  EXPECT_EQ(registry.plan_version, 1u);
  EXPECT_EQ(Extended({}, Wish({"op 2"}), &registry), true);
  EXPECT_EQ(registry.plan_version, 2u);
  EXPECT_EQ(registry.hash_seed, seed);
  EXPECT_EQ(registry.since, std::vector<uint64_t>{2});

  const auto read = DecodeRegistry(EncodeRegistry(registry));
  ASSERT_TRUE(read.ok()) << std::string(read.status().message());
  EXPECT_EQ(read->hash_seed, seed);
  EXPECT_EQ(read->plan_version, 2u);
  EXPECT_EQ(read->plan, registry.plan);
  EXPECT_EQ(read->since, registry.since);
  ASSERT_EQ(read->partitions.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(read->partitions[i].id, i);
    EXPECT_EQ(read->partitions[i].identity, registry.partitions[i].identity);
  }
  EXPECT_EQ(read->partitions[2].topic, "b");
}

// With auto.offset.reset: latest, what came to a new partition before we saw it would be lost.
TEST(RegistryTest, APartitionThatATopicGetsLaterIsReadFromItsBeginning) {
  Registry registry;
  Extended({Info("a", 0), Info("a", 1)}, Wish({"op 1"}), &registry);
  Extended({Info("a", 2), Info("b", 0), Info("b", 1)}, Wish({"op 1"}), &registry);
  const auto read = DecodeRegistry(EncodeRegistry(registry));
  ASSERT_TRUE(read.ok()) << std::string(read.status().message());
  std::vector<bool> grown;
  for (const PartitionInfo& info : read->partitions) grown.push_back(info.grown);
  EXPECT_EQ(grown, (std::vector<bool>{false, false, true, false, false}));
}

TEST(RegistryTest, AnOperatorThatComesBackIsNew) {
  Registry registry;
  Extended({}, Wish({"a 1", "b 1"}), &registry);
  EXPECT_EQ(registry.since, (std::vector<uint64_t>{0, 0}));
  Extended({}, Wish({"b 1", "c 1"}), &registry);
  EXPECT_EQ(registry.since, (std::vector<uint64_t>{0, 2}));
  Extended({}, Wish({"a 1", "b 1", "c 1"}), &registry);
  EXPECT_EQ(registry.since, (std::vector<uint64_t>{3, 0, 2}));
}

TEST(RegistryTest, RulesOfATopicGoForwardOnly) {
  Registry registry;
  EXPECT_EQ(Extended({}, Wish({"op 1"}, 5), &registry), true);
  EXPECT_EQ(Extended({}, Wish({"op 1"}, 5), &registry), false);
  // A newer version with the same operators is noted, and no other plan for it.
  EXPECT_EQ(Extended({}, Wish({"op 1"}, 7), &registry), true);
  EXPECT_EQ(registry.plan_version, 1u);
  EXPECT_EQ(Extended({}, Wish({"op 1"}, 6), &registry), false);
  EXPECT_EQ(registry.rules_version, 7);
  EXPECT_EQ(Extended({}, Wish({"op 2"}, 9), &registry), true);
  EXPECT_EQ(registry.plan_version, 2u);
  // Who has an older version is behind, also one that starts; the same file as before, deleted and
  // published again, is a newer version.
  EXPECT_EQ(Extended({Info("a", 0)}, Wish({"op 1"}, 7), &registry), std::nullopt);
  EXPECT_TRUE(registry.partitions.empty());
  EXPECT_EQ(Extended({}, Wish({"op 1"}, 11), &registry), true);
  EXPECT_EQ(registry.plan_version, 3u);

  const auto read = DecodeRegistry(EncodeRegistry(registry));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->rules_topic, "rules");
  EXPECT_EQ(read->rules_version, 11);
  // Another topic has versions of its own.
  PlanWish other = Wish({"op 3"}, 2);
  other.rules_topic = "other";
  EXPECT_EQ(Extended({}, other, &registry), true);
  EXPECT_EQ(registry.rules_version, 2);
}

TEST(RegistryTest, WhoRecoversTakesNothingBack) {
  Registry registry;
  Extended({}, Wish({"op 1"}), &registry);
  Extended({}, Wish({"op 2"}), &registry);
  PlanWish before = Wish({"op 1"});
  before.may_change = false;
  EXPECT_EQ(Extended({}, before, &registry), std::nullopt);
  before.plan = {"op 2"};
  EXPECT_EQ(Extended({}, before, &registry), false);

  // Files beside the topic that differ between instances.
  Extended({}, Wish({"op 3"}, 4), &registry);
  before = Wish({"op 4"}, 4);
  before.may_change = false;
  EXPECT_EQ(Extended({}, before, &registry), std::nullopt);
}

TEST(RegistryTest, RulesThatNoEngineStartsWithAreTakenBack) {
  Registry registry;
  Extended({}, Wish({"op 1"}, 4), &registry);
  Extended({}, Wish({"op 2"}, 5), &registry);
  PlanWish back = Wish({"op 1"}, 4);
  back.go_back = true;
  EXPECT_EQ(Extended({}, back, &registry), true);
  EXPECT_EQ(Extended({}, back, &registry), false);
  EXPECT_EQ(registry.plan_version, 3u);
  EXPECT_EQ(registry.rules_version, 5);
}

TEST(RegistryTest, ARunOfTheOtherExchangeIsRefused) {
  Registry registry;
  Extended({Info("a", 0)}, Wish({}), &registry);
  EXPECT_TRUE(absl::IsFailedPrecondition(DecodePositions(EncodeRegistry(registry)).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(DecodeRegistry(EncodePositions({})).status()));
  // Not data loss, for which the store would be set aside.
  EXPECT_TRUE(absl::IsFailedPrecondition(DecodeRegistry("{\"registry\": 1}").status()));
}

}  // namespace
}  // namespace bongsu
