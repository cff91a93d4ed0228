// Rules from a topic, without Kafka: what its records come to, when they are one change, which set
// a start takes, and how they enter a configuration.
#include "pipeline/topic_rules.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "operators/registry.h"
#include "pipeline/config.h"
#include "pipeline/reload.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;

std::string Rule(const std::string& title, const std::string& more = "") {
  return "title: " + title +
         "\nlogsource: {category: firewall}\n"
         "detection: {sel: {event_type: alert}, condition: sel}\n" +
         more;
}

std::shared_ptr<const TopicRules> Rules(sigma::RuleTexts texts, int64_t version = 1) {
  return std::make_shared<const TopicRules>(TopicRules{std::move(texts), version});
}

LoadedRules LoadText(const std::string& more, const std::shared_ptr<const TopicRules>& rules) {
  OperatorRegistry registry;
  RegisterAllOperators(registry);
  Diagnostics diagnostics;
  std::optional<Node> tree = ParseConfigTree(
      "application: test\nsources: [{name: firewall, files: [fw.jsonl], format: suricata-eve}]\n"
      "sinks: {alerts: {file: a.jsonl}}\n" +
          more,
      "test.yaml", diagnostics);
  LoadedRules loaded;
  if (tree.has_value()) {
    auto config =
        ReadConfig(*tree, "test.yaml", registry, diagnostics, [&](const Config&) { return rules; });
    if (config.has_value()) loaded.config = std::make_shared<const Config>(*std::move(config));
  }
  loaded.messages = diagnostics.Text();
  return loaded;
}

constexpr char kTopic[] = "rules_topic: soc.rules\nkafka: {bootstrap.servers: nowhere}\n";

LoadedRules Load(const std::shared_ptr<const TopicRules>& rules) { return LoadText(kTopic, rules); }

size_t RulesOf(const LoadedRules& loaded) {
  return loaded.config == nullptr ? 0 : loaded.config->rules->entries.size();
}

TEST(TopicRules, TheNewestRecordOfAKeyCounts) {
  RuleTopicContent content;
  EXPECT_EQ(content.Newest()->version, -1);
  EXPECT_EQ(content.Put("a.yml", "one", 3), "");
  EXPECT_EQ(content.Put("b.yml", "two", 4), "");
  const auto before = content.Newest();
  EXPECT_EQ(content.Put("a.yml", "three", 9), "");
  EXPECT_EQ(content.Put("b.yml", std::nullopt, 10), "");
  EXPECT_EQ(content.Put("never.yml", std::nullopt, 11), "");
  EXPECT_EQ(before->texts, (sigma::RuleTexts{{"a.yml", "one"}, {"b.yml", "two"}}));
  EXPECT_EQ(before->version, 4);
  EXPECT_EQ(content.Newest()->texts, (sigma::RuleTexts{{"a.yml", "three"}}));
  EXPECT_EQ(content.Newest()->version, 11);
  EXPECT_EQ(content.put(), 3u);
  EXPECT_EQ(content.deleted(), 2u);
  EXPECT_EQ(content.ignored(), 0u);
}

TEST(TopicRules, WhatCannotBeKeptIsSaidAndCounted) {
  RuleTopicContent content;
  EXPECT_NE(content.Put(std::nullopt, "text", 0), "");
  EXPECT_NE(content.Put("", "text", 1), "");
  EXPECT_NE(content.Put(std::string(kRuleKeyBytesMax + 1, 'k'), "text", 2), "");
  EXPECT_NE(content.Put("large", std::string(sigma::kRuleFileBytesMax + 1, 'x'), 3), "");
  EXPECT_EQ(content.ignored(), 4u);
  // The bound on all of them: what is replaced makes room, what is deleted, too.
  const std::string part(sigma::kRuleFileBytesMax, 'x');
  int kept = 0;
  while (content.Put(std::to_string(kept), part, kept).empty()) ++kept;
  EXPECT_EQ(kept, kTopicRulesBytesMax / sigma::kRuleFileBytesMax - 1);
  EXPECT_EQ(content.Put("0", part, 100), "");
  EXPECT_EQ(content.Put("1", std::nullopt, 101), "");
  EXPECT_EQ(content.Put("another", part, 102), "");
  EXPECT_NE(content.Put("more", part, 103), "");
}

TEST(TopicRules, RecordsThatComeTogetherAreOneChange) {
  constexpr int64_t kStep = ChangeGate::kQuietNs / 2;
  ChangeGate gate;
  EXPECT_FALSE(gate.Due(0));
  gate.Record(0);
  gate.Record(kStep);
  EXPECT_FALSE(gate.Due(kStep * 2));
  EXPECT_TRUE(gate.Due(kStep * 3));
  EXPECT_FALSE(gate.Due(kStep * 4));
  // A stream without a pause cannot put it off for ever.
  int changes = 0;
  for (int64_t now = 0; now <= 3 * ChangeGate::kChangeNsMax; now += kStep) {
    gate.Record(now);
    changes += gate.Due(now) ? 1 : 0;
  }
  EXPECT_EQ(changes, 2);
}

TEST(TopicRules, AreRulesLikeThoseOfFiles) {
  const LoadedRules loaded = Load(Rules({{"a.yml", Rule("one") + "---\n" + Rule("two")},
                                         {"win/b", Rule("three")},
                                         {"broken.yml", "title: four\nlogsource: {}\n"}}));
  ASSERT_NE(loaded.config, nullptr) << loaded.messages;
  EXPECT_EQ(RulesOf(loaded), 3u);
  EXPECT_NE(loaded.messages.find("soc.rules[broken.yml]:"), std::string::npos) << loaded.messages;
  EXPECT_EQ(loaded.config->topic_rules->version, 1);
  // A strict set is refused whole.
  const LoadedRules strict =
      LoadText(std::string(kTopic) + "rules_strict: true\n",
               Rules({{"a.yml", Rule("one")}, {"broken.yml", "title: four\n"}}));
  EXPECT_EQ(strict.config, nullptr);
  EXPECT_NE(strict.messages.find("soc.rules[broken.yml]:"), std::string::npos) << strict.messages;
}

TEST(TopicRules, AnEmptyTopicIsNoRuleSet) {
  const LoadedRules loaded = Load(Rules({}));
  EXPECT_EQ(loaded.config, nullptr);
  EXPECT_NE(loaded.messages.find("holds no rules"), std::string::npos) << loaded.messages;
  const LoadedRules beside =
      LoadText(std::string(kTopic) +
                   "operators: [{name: j, type: interval_join, left: {source: firewall, key: "
                   "src_ip}, right: "
                   "{source: firewall, key: dest_ip}, within: {after: 1s}}]\n",
               Rules({}));
  ASSERT_NE(beside.config, nullptr) << beside.messages;
  EXPECT_NE(beside.messages.find("holds no rules"), std::string::npos) << beside.messages;
}

TEST(TopicRules, ConfigurationsThatCannotBe) {
  const auto refused = [](const std::string& text, const char* says) {
    const LoadedRules loaded = LoadText(text, Rules({{"a", Rule("one")}}));
    EXPECT_EQ(loaded.config, nullptr) << text;
    EXPECT_NE(loaded.messages.find(says), std::string::npos) << loaded.messages;
  };
  refused("rules_topic: soc.rules\n", "bootstrap.servers");
  refused("rules_topic: a b\nkafka: {bootstrap.servers: x}\n", "cannot be a topic");
}

LoadWithRules Loads() {
  return [](const std::shared_ptr<const TopicRules>& rules) { return Load(rules); };
}

TEST(TopicRules, AStartTakesTheNewestSetOrTheOneThatRan) {
  const auto good = Rules({{"a", Rule("one")}}, 1);
  const auto better = Rules({{"a", Rule("one")}, {"b", Rule("two")}}, 2);
  const auto broken = Rules({{"a", Rule("one")}, {"b", "title: two\n"}}, 3);
  const auto none = Rules({}, 4);
  const auto choose = [&](const auto& newest, const auto& accepted) {
    return ChooseRules(Load(newest), newest->texts, accepted, Loads());
  };
  const auto version = [](const LoadedRules& loaded) {
    return loaded.config == nullptr ? -2 : loaded.config->topic_rules->version;
  };
  // A good set runs, whatever ran before.
  EXPECT_EQ(version(choose(better, nullptr)), 2);
  EXPECT_EQ(version(choose(better, good)), 2);
  EXPECT_EQ(choose(better, good).refused, "");
  // With nothing known, a broken rule is left out as one of a file is.
  EXPECT_EQ(version(choose(broken, nullptr)), 3);
  EXPECT_EQ(RulesOf(choose(broken, nullptr)), 1u);
  // What a reload refuses, a start refuses.
  const LoadedRules before = choose(broken, better);
  EXPECT_EQ(version(before), 2);
  EXPECT_NE(before.refused.find("soc.rules[b]:"), std::string::npos) << before.refused;
  // A rule that was broken and left out when the set was taken stays left out.
  EXPECT_EQ(version(choose(broken, broken)), 3);
  EXPECT_EQ(choose(broken, broken).refused, "");
  // A set that does not load at all.
  EXPECT_EQ(version(choose(none, good)), 1);
  EXPECT_NE(choose(none, good).refused, "");
  EXPECT_EQ(version(choose(none, nullptr)), -2);
}

TEST(TopicRules, TheSetInForceIsKeptBesideTheState) {
  const fs::path folder =
      fs::temp_directory_path() / ("bongsu-topic-rules-" + std::to_string(getpid()));
  fs::create_directories(folder);
  const std::string path = AcceptedRulesPath(folder.string());
  std::string problem;
  EXPECT_EQ(ReadAcceptedRules(path, "soc.rules", &problem), nullptr);
  EXPECT_EQ(problem, "");
  const auto rules = Rules({{"a", Rule("one")}, {"ü/\n", "\"quoted\" \\ \t"}}, 77);
  ASSERT_TRUE(WriteAcceptedRules(path, "soc.rules", *Rules({{"old", "x"}})).ok());
  ASSERT_TRUE(WriteAcceptedRules(path, "soc.rules", *rules).ok());
  const auto read = ReadAcceptedRules(path, "soc.rules", &problem);
  ASSERT_NE(read, nullptr) << problem;
  EXPECT_EQ(read->texts, rules->texts);
  EXPECT_EQ(read->version, 77);
  EXPECT_EQ(ReadAcceptedRules(path, "other.rules", &problem), nullptr);
  EXPECT_EQ(problem, "");
  fs::resize_file(path, fs::file_size(path) / 2);
  EXPECT_EQ(ReadAcceptedRules(path, "soc.rules", &problem), nullptr);
  EXPECT_NE(problem.find("does not parse"), std::string::npos) << problem;
  EXPECT_FALSE(WriteAcceptedRules("/nowhere/at/all", "soc.rules", *rules).ok());
  fs::remove_all(folder);
}

}  // namespace
}  // namespace bongsu
