// File: pipeline/rule_loader.h
//
// The configuration and rules of a service that runs: first those of its start, then those of each
// reload, with what the rules topic holds at that moment (pipeline/topic_rules.h).
//
//   RuleLoader rules("bongsu.yaml");
//   auto config = rules.LoadFirst();               // null: said on standard error
//   service.AllowReload(rules.Wiring(&hangup));
//   rules.Follow(&hangup);                         // changes of the topic ask for a reload
//
// Thread-safety: the wiring's functions from any thread, one at a time; the rest from one. It
// outlives the service's run.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "pipeline/config.h"
#include "pipeline/kafka/kafka_rules.h"
#include "pipeline/service.h"
#include "pipeline/topic_rules.h"

namespace bongsu {

class RuleLoader {
 public:
  explicit RuleLoader(std::string config_file) : file_(std::move(config_file)) {}

  // Sets up logging, too.
  std::shared_ptr<const Config> LoadFirst();
  // LoadFirst failed because of the topic or its brokers: a later try may do better.
  bool topic_failed() const { return topic_failed_; }
  Service::ReloadWiring Wiring(std::atomic<bool>* hangup);
  void Follow(std::atomic<bool>* hangup);

 private:
  LoadedRules Load(const FetchRules& fetch) const;
  // The topic is opened by the first configuration that names one.
  absl::StatusOr<std::shared_ptr<const TopicRules>> Newest(const Config& config);
  // The set that ran last with this state; null: none is known.
  std::shared_ptr<const TopicRules> Accepted() const;

  const std::string file_;
  std::string topic_name_;
  std::unique_ptr<KafkaRules> topic_;
  bool refused_ = false;
  bool topic_failed_ = false;
};

}  // namespace bongsu
