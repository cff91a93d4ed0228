#include "pipeline/rule_loader.h"

#include <fmt/format.h>

#include <cstdio>

#include "operators/registry.h"
#include "pipeline/logging.h"

namespace bongsu {

LoadedRules RuleLoader::Load(const FetchRules& fetch) const {
  OperatorRegistry registry;
  RegisterAllOperators(registry);
  Diagnostics diagnostics;
  LoadedRules loaded;
  std::optional<Config> config = LoadConfig(file_, registry, diagnostics, fetch);
  loaded.messages = diagnostics.Text();
  if (config.has_value() && !diagnostics.has_errors())
    loaded.config = std::make_shared<const Config>(*std::move(config));
  return loaded;
}

absl::StatusOr<std::shared_ptr<const TopicRules>> RuleLoader::Newest(const Config& config) {
  if (config.rules_topic.empty()) return std::shared_ptr<const TopicRules>();
  if (topic_ == nullptr) {
    absl::StatusOr<std::unique_ptr<KafkaRules>> opened = KafkaRules::Open(config);
    topic_failed_ = !opened.ok();
    if (!opened.ok()) return opened.status();
    topic_ = *std::move(opened);
    topic_name_ = config.rules_topic;
  }
  return topic_->Newest();
}

std::shared_ptr<const TopicRules> RuleLoader::Accepted() const {
  const std::optional<std::string> state = ConfiguredStatePath(file_);
  if (!state.has_value()) return nullptr;
  std::string problem;
  auto accepted = ReadAcceptedRules(AcceptedRulesPath(*state), topic_name_, &problem);
  if (!problem.empty()) fmt::print(stderr, "{}: it is not used\n", problem);
  return accepted;
}

std::shared_ptr<const Config> RuleLoader::LoadFirst() {
  LoadedRules loaded = Load([this](const Config& config) { return Newest(config); });
  if (topic_ != nullptr) {
    const auto load = [this](const std::shared_ptr<const TopicRules>& rules) {
      return Load([&rules](const Config&) { return rules; });
    };
    loaded = ChooseRules(std::move(loaded), topic_->Newest()->texts, Accepted(), load);
  }
  if (loaded.config == nullptr) {
    fmt::print(stderr, "{}{} cannot be used\n", loaded.messages, file_);
    return nullptr;
  }
  SetUpLogging({loaded.config->logging_json, loaded.config->logging_level});
  LogText(loaded.messages, LogWarning);
  refused_ = !loaded.refused.empty();
  if (refused_) {
    LogError(
        fmt::format("the newest set of the rules topic is refused; the one that ran last stays, "
                    "version {}:\n{}",
                    loaded.config->topic_rules->version, loaded.refused));
  }
  return loaded.config;
}

Service::ReloadWiring RuleLoader::Wiring(std::atomic<bool>* hangup) {
  Service::ReloadWiring wiring;
  wiring.load = [this](std::string* problems) {
    LoadedRules loaded = Load([this](const Config& config) { return Newest(config); });
    if (loaded.config == nullptr) *problems = loaded.messages;
    return loaded.config;
  };
  wiring.hangup = hangup;
  if (topic_ != nullptr) wiring.topic = [this] { return topic_->status(); };
  wiring.refused_at_start = refused_;
  return wiring;
}

void RuleLoader::Follow(std::atomic<bool>* hangup) {
  if (topic_ != nullptr) topic_->Follow(hangup);
}

}  // namespace bongsu
