#include "pipeline/reload.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include "operators/sigma/rule_binding.h"
#include "pipeline/logging.h"
#include "pipeline/topic_rules.h"

namespace bongsu {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(100);

std::map<std::string, std::string> OperatorHashes(const Config& config) {
  std::map<std::string, std::string> hashes;
  for (const auto& op : config.operators) hashes[op->rule().name] = op->semantic_hash();
  return hashes;
}

std::map<std::string, size_t> RulePlaces(const Config& config) {
  std::map<std::string, size_t> places;
  if (config.rules == nullptr) return places;
  for (size_t i = 0; i < config.rules->entries.size(); ++i)
    places.emplace(sigma::RuleName(config.rules->entries[i]), i);
  return places;
}

struct Difference {
  size_t kept = 0;
  std::vector<std::string> changed;
  std::vector<std::string> added;
  std::vector<std::string> removed;
};

Difference Compare(const std::map<std::string, std::string>& before,
                   const std::map<std::string, std::string>& after) {
  Difference difference;
  for (const auto& [name, hash] : after) {
    const auto it = before.find(name);
    if (it == before.end())
      difference.added.push_back(name);
    else if (it->second == hash)
      ++difference.kept;
    else
      difference.changed.push_back(name);
  }
  for (const auto& [name, hash] : before) {
    if (!after.contains(name)) difference.removed.push_back(name);
  }
  return difference;
}

std::map<std::string, std::string> DetectionHashes(const Config& config) {
  std::map<std::string, std::string> hashes;
  if (config.rules == nullptr) return hashes;
  for (const sigma::RuleEntry& entry : config.rules->entries)
    hashes.emplace(sigma::RuleName(entry), entry.semantic_hash + entry.normal_form);
  return hashes;
}

// The first few by name.
std::string Names(const std::vector<std::string>& names) {
  constexpr size_t kShown = 10;
  const size_t shown = std::min(names.size(), kShown);
  const auto end = names.begin() + static_cast<std::ptrdiff_t>(shown);
  const std::vector<std::string> first(names.begin(), end);
  std::string text = fmt::format("{}", fmt::join(first, ", "));
  if (names.size() > shown) text += fmt::format(" and {} more", names.size() - shown);
  return text;
}

std::string Text(const Difference& difference, const char* of_changed) {
  std::string text = fmt::format("{} kept", difference.kept);
  const auto add = [&](const char* what, const std::vector<std::string>& names) {
    if (!names.empty()) text += fmt::format(", {} {}: {}", names.size(), what, Names(names));
  };
  add(of_changed, difference.changed);
  add("added", difference.added);
  add("removed", difference.removed);
  return text;
}

// A file that is no YAML has no label.
std::string NameOfSkipped(const sigma::SkippedRule& rule) {
  return rule.label.empty() ? "file " + rule.where.file : rule.label;
}

}  // namespace

std::string NewlyBroken(const Config& running, const Config& next) {
  std::string text;
  if (next.rules == nullptr) return text;
  std::set<std::string> known;
  if (running.rules != nullptr) {
    for (const sigma::SkippedRule& rule : running.rules->skipped) known.insert(NameOfSkipped(rule));
  }
  for (const sigma::SkippedRule& rule : next.rules->skipped) {
    if (!rule.broken || known.contains(NameOfSkipped(rule))) continue;
    text +=
        fmt::format("{}:{}:{}: {}: {}\n", rule.where.file, rule.where.line, rule.where.column,
                    rule.label.empty() ? "rule" : fmt::format("rule '{}'", rule.label), rule.why);
  }
  return text;
}

namespace {

// Detections are each instance's own. Operators are what instances share: they change over to one
// version of a topic that all of them read, which no file of one of them is.
std::string NotShared(const Config& running, const Config& next) {
  if (running.exchange != ExchangeMode::kKafka) return "";
  const auto version = [](const Config& config) {
    return config.topic_rules != nullptr ? config.topic_rules->version : -1;
  };
  if (version(next) > version(running)) return "";
  const Difference difference = Compare(OperatorHashes(running), OperatorHashes(next));
  std::vector<std::string> names = difference.changed;
  names.insert(names.end(), difference.added.begin(), difference.added.end());
  names.insert(names.end(), difference.removed.begin(), difference.removed.end());
  if (names.empty()) return "";
  return fmt::format(
      "with 'exchange: kafka' operators ({}) change by the rules topic (rules_topic), for all "
      "instances at once; or stop them all, and start them with the new rules\n",
      Names(names));
}

}  // namespace

absl::Status CheckReload(const Config& running, const Config& next) {
  std::set<std::string> changed;
  for (const auto& [key, value] : running.fixed) {
    const auto it = next.fixed.find(key);
    if (it == next.fixed.end() || it->second != value) changed.insert(key);
  }
  for (const auto& [key, value] : next.fixed) {
    if (!running.fixed.contains(key)) changed.insert(key);
  }
  std::string text;
  text += NotShared(running, next);
  for (const std::string& key : changed) {
    text += fmt::format(
        "'{}' has changed: a reload changes rules and operators only, this needs a "
        "restart\n",
        key);
  }
  text += NewlyBroken(running, next);
  if (text.empty()) return absl::OkStatus();
  text.pop_back();
  return absl::InvalidArgumentError(text);
}

std::string ReloadSummary(const Config& running, const Config& next) {
  std::string text =
      fmt::format("operators: {}", Text(Compare(OperatorHashes(running), OperatorHashes(next)),
                                        "changed (their state is dropped)"));
  if (running.rules != nullptr || next.rules != nullptr) {
    text += fmt::format("; rules: {}",
                        Text(Compare(DetectionHashes(running), DetectionHashes(next)), "changed"));
  }
  return text;
}

EngineTotals Remap(const EngineTotals& totals, const Config& from, const Config& to) {
  EngineTotals mapped = totals;
  std::vector<size_t> ports;
  for (const auto& op : to.operators) ports.push_back(op->inputs().size());
  const std::map<std::string, size_t> before = RulePlaces(from);
  const std::map<std::string, size_t> after = RulePlaces(to);
  mapped.counters = RunCounters(to.sources.size(), ports, after.size());
  mapped.counters.sources = totals.counters.sources;
  for (size_t i = 0; i < to.operators.size(); ++i) {
    for (size_t j = 0; j < from.operators.size() && j < totals.counters.operators.size(); ++j) {
      if (from.operators[j]->rule().name != to.operators[i]->rule().name) continue;
      mapped.counters.operators[i].Merge(totals.counters.operators[j]);
    }
  }
  for (const auto& [name, place] : after) {
    const auto it = before.find(name);
    if (it == before.end() || it->second >= totals.counters.rules.size()) continue;
    if (place >= mapped.counters.rules.size()) mapped.counters.rules.resize(place + 1);
    mapped.counters.rules[place] = totals.counters.rules[it->second];
  }
  return mapped;
}

Reloader::Reloader(Load load, std::atomic<bool>* hangup)
    : load_(std::move(load)), hangup_(hangup), thread_([this] { Loop(); }) {}

Reloader::~Reloader() { Stop(); }

void Reloader::Stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Reloader::SetRunning(std::shared_ptr<const Config> config) {
  std::lock_guard lock(mutex_);
  running_ = std::move(config);
}

std::shared_ptr<const Config> Reloader::Take() {
  std::lock_guard lock(mutex_);
  wanted_.store(false);
  // One that was taken before, and whose engine is tried again, waits for its Done.
  if (next_ != nullptr) taken_ = true;
  return std::exchange(next_, nullptr);
}

void Reloader::Done(const absl::Status& status) {
  {
    std::lock_guard lock(mutex_);
    if (!taken_) return;
    taken_ = false;
    outcome_ = status;
  }
  changed_.notify_all();
}

void Reloader::RefusedAtStart() {
  std::lock_guard lock(mutex_);
  ++status_.refused;
  status_.last_refused = true;
}

void Reloader::Loop() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (hangup_ != nullptr && hangup_->load()) {
      trying_.store(true);
      hangup_->store(false);
      lock.unlock();
      (void)Ask();  // the log has the answer
      lock.lock();
      trying_.store(false);
    }
    changed_.wait_for(lock, kLookEvery, [&] { return stop_; });
  }
}

absl::StatusOr<std::string> Reloader::Ask() {
  std::lock_guard one(asking_);
  absl::StatusOr<std::string> answer = Try();
  const bool refused = absl::IsInvalidArgument(answer.status());
  if (answer.ok())
    LogInfo("reloaded: " + *answer);
  else if (refused)
    LogError("the reload is refused, the running rules stay:\n" +
             std::string(answer.status().message()));
  else
    LogWarning("the reload: " + std::string(answer.status().message()));
  std::lock_guard lock(mutex_);
  if (answer.ok()) ++status_.done;
  if (refused) ++status_.refused;
  status_.last_refused = refused;
  return answer;
}

absl::StatusOr<std::string> Reloader::Try() {
  std::string problems;
  std::shared_ptr<const Config> next = load_(&problems);
  if (next == nullptr) return absl::InvalidArgumentError(problems);
  std::unique_lock lock(mutex_);
  if (stop_) return absl::UnavailableError("the service ends");
  const std::shared_ptr<const Config> running = running_;
  if (const absl::Status status = CheckReload(*running, *next); !status.ok()) return status;
  const std::string summary = ReloadSummary(*running, *next);
  next_ = std::move(next);
  outcome_.reset();
  wanted_.store(true);
  changed_.wait_for(lock, std::chrono::nanoseconds(kReloadWaitNs),
                    [&] { return stop_ || outcome_.has_value(); });
  if (outcome_.has_value()) {
    if (!outcome_->ok()) return *outcome_;
    return summary;
  }
  if (stop_) return absl::UnavailableError("the service ends");
  return absl::UnavailableError(
      "the new rules are checked and good; they come into force when records are processed again");
}

ReloadStatus Reloader::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

}  // namespace bongsu
