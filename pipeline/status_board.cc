#include "pipeline/status_board.h"

#include <fmt/format.h>

namespace bongsu {
namespace {

constexpr char kTextFormat[] = "text/plain; version=0.0.4; charset=utf-8";

HttpAnswer Answer(const Verdict& verdict) {
  HttpAnswer answer;
  answer.status = verdict.good ? 200 : 503;
  answer.body = verdict.why + "\n";
  return answer;
}

}  // namespace

Verdict Healthy(Phase phase, DurationNs silent_ns, DurationNs epoch_age_ns) {
  const std::string name(PhaseName(phase));
  if (phase != Phase::kRunning) return {true, "ok: " + name};
  if (silent_ns > kSilenceMaxNs) {
    return {false, fmt::format("no sign of life for {} s", silent_ns / kSecondNs)};
  }
  if (epoch_age_ns > kEpochAgeMaxNs) {
    return {false,
            fmt::format("the oldest epoch is not committed for {} s", epoch_age_ns / kSecondNs)};
  }
  return {true, "ok: " + name};
}

Verdict Ready(Phase phase) {
  const std::string name(PhaseName(phase));
  if (phase == Phase::kRunning) return {true, "ok: " + name};
  return {false, "not ready: " + name};
}

StatusBoard::StatusBoard(const Clock& clock) : clock_(clock), last_sign_ns_(clock.MonotonicNs()) {}

void StatusBoard::SetPhase(Phase phase) {
  std::lock_guard lock(mutex_);
  phase_ = phase;
  switch_since_ns_.reset();
  last_sign_ns_ = clock_.MonotonicNs();
}

void StatusBoard::BeginSwitch() {
  std::lock_guard lock(mutex_);
  switch_since_ns_ = clock_.MonotonicNs();
}

Phase StatusBoard::Now() const {
  const bool long_since =
      switch_since_ns_.has_value() && clock_.MonotonicNs() - *switch_since_ns_ > kSwitchMaxNs;
  return phase_ == Phase::kRunning && long_since ? Phase::kRestoring : phase_;
}

void StatusBoard::SetRestore(const RestoreStatus& restore) {
  std::lock_guard lock(mutex_);
  restore_ = restore;
}

void StatusBoard::Publish(std::shared_ptr<const MetricsSnapshot> snapshot) {
  std::lock_guard lock(mutex_);
  snapshot_ = std::move(snapshot);
  last_sign_ns_ = clock_.MonotonicNs();
}

HttpAnswer StatusBoard::Metrics() const {
  std::shared_ptr<const MetricsSnapshot> snapshot;
  Phase phase{};
  RestoreStatus restore;
  {
    std::lock_guard lock(mutex_);
    snapshot = snapshot_;
    phase = Now();
    restore = restore_;
  }
  if (snapshot == nullptr) return {503, "text/plain; charset=utf-8", "nothing has run yet\n"};
  return {200, kTextFormat, RenderMetrics(*snapshot, phase, restore)};
}

HttpAnswer StatusBoard::Health() const {
  std::lock_guard lock(mutex_);
  const int64_t silent = clock_.MonotonicNs() - last_sign_ns_;
  const DurationNs age = snapshot_ == nullptr ? 0 : snapshot_->engine.uncommitted_ns;
  return Answer(Healthy(Now(), silent, age));
}

HttpAnswer StatusBoard::Readiness() const {
  std::lock_guard lock(mutex_);
  return Answer(Ready(Now()));
}

std::map<std::string, HttpServer::Handler> StatusBoard::Paths() const {
  return {{"/metrics", [this] { return Metrics(); }},
          {"/healthz", [this] { return Health(); }},
          {"/readyz", [this] { return Readiness(); }}};
}

}  // namespace bongsu
