#include "pipeline/topic_rules.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "pipeline/config.h"
#include "pipeline/reload.h"

namespace bongsu {
namespace {

using Json = nlohmann::json;
constexpr int kVersion = 1;

absl::Status Failed(const std::string& path) {
  return absl::UnavailableError(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
}

absl::Status WriteWhole(const std::string& path, const std::string& text) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return Failed(path);
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = write(file, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  absl::Status status = done == text.size() && fsync(file) == 0 ? absl::OkStatus() : Failed(path);
  close(file);
  return status;
}

}  // namespace

std::string RuleTopicContent::Refusal(const std::optional<std::string_view>& key,
                                      const std::optional<std::string_view>& value) const {
  if (!key.has_value() || key->empty()) return "it has no key: nothing could replace or delete it";
  if (key->size() > kRuleKeyBytesMax)
    return fmt::format("its key is longer than {} bytes", kRuleKeyBytesMax);
  if (!value.has_value()) return "";
  if (value->size() > sigma::kRuleFileBytesMax)
    return fmt::format("it is larger than {} bytes", sigma::kRuleFileBytesMax);
  const auto known = rules_.texts.find(std::string(*key));
  const size_t before = known != rules_.texts.end() ? known->second.size() + key->size() : 0;
  if (bytes_ - before + key->size() + value->size() > kTopicRulesBytesMax)
    return fmt::format("all rules of the topic would be more than {} bytes", kTopicRulesBytesMax);
  if (known == rules_.texts.end() && rules_.texts.size() >= sigma::kRuleFilesMax)
    return fmt::format("there are more than {} keys", sigma::kRuleFilesMax);
  return "";
}

std::string RuleTopicContent::Put(std::optional<std::string_view> key,
                                  std::optional<std::string_view> value, int64_t offset) {
  rules_.version = offset;
  std::string why = Refusal(key, value);
  if (!why.empty()) {
    ++ignored_;
    return why;
  }
  const auto known = rules_.texts.find(std::string(*key));
  if (known != rules_.texts.end()) {
    bytes_ -= known->first.size() + known->second.size();
    rules_.texts.erase(known);
  }
  if (value.has_value()) {
    bytes_ += key->size() + value->size();
    rules_.texts.emplace(*key, *value);
    ++put_;
  } else {
    ++deleted_;
  }
  return "";
}

void RuleTopicContent::Clear() {
  rules_ = TopicRules();
  bytes_ = 0;
}

std::shared_ptr<const TopicRules> RuleTopicContent::Newest() const {
  return std::make_shared<const TopicRules>(rules_);
}

void ChangeGate::Record(int64_t now_ns) {
  if (!first_.has_value()) first_ = now_ns;
  newest_ = now_ns;
}

bool ChangeGate::Due(int64_t now_ns) {
  if (!first_.has_value()) return false;
  if (now_ns - newest_ < kQuietNs && now_ns - *first_ < kChangeNsMax) return false;
  first_.reset();
  return true;
}

LoadedRules ChooseRules(LoadedRules newest, const sigma::RuleTexts& newest_texts,
                        std::shared_ptr<const TopicRules> accepted, const LoadWithRules& load) {
  if (accepted == nullptr || accepted->texts == newest_texts) return newest;
  const Config* config = newest.config.get();
  if (config != nullptr &&
      (config->rules == nullptr ||
       std::none_of(config->rules->skipped.begin(), config->rules->skipped.end(),
                    [](const sigma::SkippedRule& rule) { return rule.broken; })))
    return newest;
  LoadedRules before = load(std::move(accepted));
  if (before.config == nullptr) return newest;
  before.refused = config == nullptr ? newest.messages : NewlyBroken(*before.config, *config);
  return before.refused.empty() ? newest : before;
}

std::string AcceptedRulesPath(const std::string& state_path) {
  return state_path + "/rules-in-force.json";
}

absl::Status WriteAcceptedRules(const std::string& path, const std::string& topic,
                                const TopicRules& rules) {
  const Json json = {{"rules_in_force", kVersion},
                     {"topic", topic},
                     {"version", rules.version},
                     {"rules", rules.texts}};
  const std::string next = path + ".new";
  // Texts may hold anything: what is no UTF-8 is no YAML either, and stays broken.
  if (absl::Status status =
          WriteWhole(next, json.dump(-1, ' ', false, Json::error_handler_t::replace));
      !status.ok())
    return status;
  if (std::rename(next.c_str(), path.c_str()) != 0) return Failed(path);
  const int folder = open(std::filesystem::path(path).parent_path().c_str(), O_RDONLY | O_CLOEXEC);
  if (folder >= 0) {
    (void)fsync(folder);
    close(folder);
  }
  return absl::OkStatus();
}

std::shared_ptr<const TopicRules> ReadAcceptedRules(const std::string& path,
                                                    const std::string& topic,
                                                    std::string* problem) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return nullptr;
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  // The library throws on wrong types: this is its one adapter here.
  try {
    const Json json = Json::parse(text);
    if (json.at("rules_in_force").get<int>() > kVersion) {
      *problem = fmt::format("{} is of a newer bongsu", path);
      return nullptr;
    }
    if (json.at("topic").get<std::string>() != topic) return nullptr;
    TopicRules rules;
    rules.version = json.at("version").get<int64_t>();
    rules.texts = json.at("rules").get<sigma::RuleTexts>();
    return std::make_shared<const TopicRules>(std::move(rules));
  } catch (const Json::exception& error) {
    *problem = fmt::format("{} does not parse: {}", path, error.what());
    return nullptr;
  }
}

}  // namespace bongsu
