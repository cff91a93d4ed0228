// File: pipeline/topic_rules.h
//
// Rules from a compacted Kafka topic (`rules_topic`), without Kafka: what its records mean, which
// of two sets a start takes, and the copy of the set in force beside the state.
//
// A record: the key is the rule's path or id (any text, at most kRuleKeyBytesMax), the value YAML
// as in a rule file, one document or several. The newest record of a key counts; one without a
// value deletes. The topic has one partition, so that an offset names a version of the whole set.
//
//   RuleTopicContent content;
//   content.Put(key, value, offset);                        // in the order of the topic
//   auto rules = content.Newest();                          // for LoadConfig
//
// A restart brings back the rules that ran: the service keeps a copy of the set in force in the
// state's folder, and where the topic's newest set is one that a reload would refuse, that runs.
//
//   LoadedRules chosen = ChooseRules(load(rules), rules->texts, accepted, load);
//
// Thread-safety: one thread; the values are immutable.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "operators/sigma/rule_set.h"

namespace bongsu {

struct Config;

inline constexpr size_t kRuleKeyBytesMax = 1024;
inline constexpr size_t kTopicRulesBytesMax = size_t{256} << 20;

struct TopicRules {
  sigma::RuleTexts texts;  // by key
  int64_t version = -1;    // offset of the newest record in it; -1: there is none
};

class RuleTopicContent {
 public:
  // A record; no value: the key's rules are deleted. What breaks a bound is left out: why, else
  // empty.
  std::string Put(std::optional<std::string_view> key, std::optional<std::string_view> value,
                  int64_t offset);
  // As before the first record; what was counted stays counted.
  void Clear();
  // Copies, so that what was handed out does not change.
  std::shared_ptr<const TopicRules> Newest() const;
  uint64_t put() const { return put_; }
  uint64_t deleted() const { return deleted_; }
  uint64_t ignored() const { return ignored_; }

 private:
  std::string Refusal(const std::optional<std::string_view>& key,
                      const std::optional<std::string_view>& value) const;

  TopicRules rules_;
  size_t bytes_ = 0;
  uint64_t put_ = 0;
  uint64_t deleted_ = 0;
  uint64_t ignored_ = 0;
};

// When records that came in are one change: a set is published record by record, and half of it
// may be broken. Due kQuietNs after the newest record, at most kChangeNsMax after the first one.
class ChangeGate {
 public:
  static constexpr int64_t kQuietNs = 500'000'000;
  static constexpr int64_t kChangeNsMax = 10'000'000'000;
  void Record(int64_t now_ns);
  bool Due(int64_t now_ns);  // once for each change

 private:
  std::optional<int64_t> first_;
  int64_t newest_ = 0;
};

// What the service says of the topic.
struct RuleTopicStatus {
  uint64_t keys = 0;
  int64_t version_read = -1;
  uint64_t put = 0;
  uint64_t deleted = 0;
  uint64_t ignored = 0;
  bool readable = true;
};

struct LoadedRules {
  std::shared_ptr<const Config> config;  // null: nothing can be loaded
  std::string messages;                  // why not, or warnings
  std::string refused;  // not empty: why the newest set does not run, and the accepted one does
};
using LoadWithRules = std::function<LoadedRules(std::shared_ptr<const TopicRules> rules)>;
// For a start. `newest`: what the topic's end has loaded to; `accepted`: the set that ran last with
// this state, null: none is known. The newest set runs if it loads without a broken rule that the
// accepted one did not have; with no accepted one broken rules are left out, as those of files are.
LoadedRules ChooseRules(LoadedRules newest, const sigma::RuleTexts& newest_texts,
                        std::shared_ptr<const TopicRules> accepted, const LoadWithRules& load);

// The copy in the state's folder.
std::string AcceptedRulesPath(const std::string& state_path);
// Replaces the file in one step, durably.
[[nodiscard]] absl::Status WriteAcceptedRules(const std::string& path, const std::string& topic,
                                              const TopicRules& rules);
// Null where there is none, or one of another topic; a damaged one is said in `*problem`.
std::shared_ptr<const TopicRules> ReadAcceptedRules(const std::string& path,
                                                    const std::string& topic, std::string* problem);

}  // namespace bongsu
