// File: pipeline/kafka/kafka_rules.h
//
// The rules topic (`rules_topic`; pipeline/topic_rules.h says what its records mean): read to its
// end before the first event, and followed from there by a thread of its own.
//
//   ASSIGN_OR_RETURN(auto topic, KafkaRules::Open(config));
//   auto rules = topic->Newest();                  // of the topic's end
//   topic->Follow(&changed);                       // set when there is a newer set
//
// Read read_committed: rules that a transaction has published come when it is committed, all at
// once. The end is that of what is committed; nobody waits for a transaction that is still open.
//
// Thread-safety: Newest and status from any thread, the rest from one. Errors of Open: as
// kafka_client.h, and FailedPrecondition for a topic of more than one partition. Later errors leave
// what was read, and are said by `status().readable`; the topic is tried again every 5 s.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pipeline/config.h"
#include "pipeline/kafka/kafka_client.h"
#include "pipeline/topic_rules.h"

namespace bongsu {

class KafkaRules {
 public:
  // `config` is not kept.
  static absl::StatusOr<std::unique_ptr<KafkaRules>> Open(const Config& config);
  ~KafkaRules();

  std::shared_ptr<const TopicRules> Newest() const;
  // `changed` outlives this.
  void Follow(std::atomic<bool>* changed);
  RuleTopicStatus status() const;

 private:
  explicit KafkaRules(std::string topic) : topic_(std::move(topic)) {}
  [[nodiscard]] absl::Status ReadToEnd();
  [[nodiscard]] absl::Status Assign();
  // One poll; `*end`: the end of the topic was met.
  [[nodiscard]] absl::Status Poll(bool* end);
  void Loop(std::atomic<bool>* changed);
  void Publish();
  void SetReadable(bool readable);

  const std::string topic_;
  KafkaHandle handle_;
  RuleTopicContent content_;  // of the reading thread
  bool fresh_ = false;        // records came since Publish; of the reading thread
  mutable std::mutex mutex_;
  std::shared_ptr<const TopicRules> newest_;  // guarded by mutex_
  RuleTopicStatus status_;                    // guarded by mutex_
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// What the topic holds now, where `config` names one; else null.
absl::StatusOr<std::shared_ptr<const TopicRules>> FetchTopicRules(const Config& config);

}  // namespace bongsu
