// How a service changes over to other rules while it runs (pipeline/reload.h).
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "pipeline/file/file_source.h"
#include "pipeline/logging.h"
#include "pipeline/service.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;

}  // namespace

void Service::AllowReload(ReloadWiring wiring) {
  reloader_ = std::make_unique<Reloader>(std::move(wiring.load), wiring.hangup);
  reloader_->SetRunning(current_);
  if (wiring.refused_at_start) reloader_->RefusedAtStart();
  rule_topic_ = std::move(wiring.topic);
}

bool Service::GoesOn(const std::atomic<bool>& stop) const {
  if (stop.load()) return false;
  const bool grown = std::any_of(sources_.begin(), sources_.end(),
                                 [](const auto& source) { return source->grown(); });
  if (grown) return true;
  if (reloader_ == nullptr || !reloader_->wanted().load()) return false;
  // Input that has ended has closed its windows: there is nothing to go on with.
  return std::any_of(sources_.begin(), sources_.end(),
                     [](const auto& source) { return !source->finished(); });
}

// The first start with new rules has failed, and not for what the one way back mends.
bool Service::RulesAreToBlame(const absl::Status& status) const {
  if (!previous_.has_value() || engine_ == nullptr) return false;
  return !absl::IsAborted(status) && !absl::IsCancelled(status) && !IsFenced(status) &&
         !(transactional() && absl::IsDataLoss(status));
}

absl::Status Service::Reopen() {
  switching_ = true;
  board_.BeginSwitch();
  if (engine_ != nullptr) earlier_.Merge(engine_->Totals());
  engine_.reset();
  if (transactional()) return absl::OkStatus();  // RunOnce opens everything from the log
  resume_ = store_->latest();
  for (auto& source : sources_) BONGSU_RETURN_IF_ERROR(source->Bind(partitions_));
  for (auto& sink : sinks_) BONGSU_RETURN_IF_ERROR(sink->Close());
  BONGSU_RETURN_IF_ERROR(OpenSinks());
  const bool files = sources_.size() > 1 || !config_.uses_kafka_sources();
  if (!files) return absl::OkStatus();
  BONGSU_RETURN_IF_ERROR(sources_.front()->Close());
  sources_.front() = MakeFileSource(config_);
  return sources_.front()->Open(partitions_);
}

void Service::AdoptNewRules() {
  if (reloader_ == nullptr) return;
  std::shared_ptr<const Config> next = reloader_->Take();
  if (next == nullptr) return;
  if (!previous_.has_value()) previous_ = Previous{current_, earlier_};
  earlier_ = Remap(earlier_, *current_, *next);
  current_ = std::move(next);
  plan_agreed_ = false;
  reloader_->SetRunning(current_);
}

// Nothing was committed with the new rules, so that the store on the disk is as the old ones left
// it; what the start has done to it in memory (numbers of operators, states to drop) goes with it.
absl::Status Service::GoBackToOldRules(const absl::Status& failure) {
  reloader_->Done(absl::InvalidArgumentError(fmt::format(
      "the engine does not start with these rules: {}", std::string(failure.message()))));
  engine_.reset();
  current_ = std::move(previous_->config);
  earlier_ = std::move(previous_->earlier);
  previous_.reset();
  plan_goes_back_ = true;
  reloader_->SetRunning(current_);
  return transactional() ? Reopen() : ReopenFromDisk();
}

absl::Status Service::ReopenFromDisk() {
  BONGSU_RETURN_IF_ERROR(OpenStoreAgain());
  return Reopen();
}

absl::Status Service::OpenStoreAgain() {
  store_.reset();
  BONGSU_ASSIGN_OR_RETURN(store_, Store::Open(StateOptions()));
  resume_ = store_->latest();
  return absl::OkStatus();
}

// The copy by which a restart knows the set that ran (pipeline/topic_rules.h).
void Service::KeepRules() {
  if (current_->topic_rules == nullptr) return;
  const std::string path = AcceptedRulesPath(config_.state.path);
  std::error_code error;
  if (kept_rules_ == current_->topic_rules && fs::exists(path, error)) return;
  const absl::Status status = WriteAcceptedRules(path, config_.rules_topic, *current_->topic_rules);
  if (status.ok())
    kept_rules_ = current_->topic_rules;
  else
    LogWarning(fmt::format("the rules in force are not kept for a restart: {}",
                           std::string(status.message())));
}

// Once the store is open its lock says that the folder is ours. A damaged store was set aside with
// the socket in it: then there is a new one.
void Service::ListenForCommands() {
  if (reloader_ == nullptr) return;
  const std::string path = ControlPath(config_.state.path);
  std::error_code error;
  if (control_ != nullptr && fs::exists(path, error)) return;
  control_.reset();
  auto control =
      ControlSocket::Listen(path, [this](std::string_view command) { return Command(command); });
  if (control.ok())
    control_ = *std::move(control);
  else
    LogWarning(fmt::format("commands cannot reach this process: {}",
                           std::string(control.status().message())));
}

// On the socket's thread.
std::string Service::Command(std::string_view command) {
  constexpr std::string_view kReload = "reload";
  if (!command.starts_with(kReload)) return "refused\nunknown command\n";
  command.remove_prefix(kReload.size());
  if (!command.empty() && command.front() != ' ') return "refused\nunknown command\n";
  if (!command.empty()) {
    const std::string asked(command.substr(1));
    std::error_code error;
    if (!fs::equivalent(asked, config_.file, error))
      return fmt::format("refused\nthis process runs {}, not {}\n", config_.file, asked);
  }
  const absl::StatusOr<std::string> answer = reloader_->Ask();
  if (answer.ok()) return "ok\n" + *answer + "\n";
  const char* word = absl::IsInvalidArgument(answer.status()) ? "refused" : "failed";
  return fmt::format("{}\n{}\n", word, std::string(answer.status().message()));
}

}  // namespace bongsu
