// File: pipeline/reload.h
//
// Other rules without a restart: on SIGHUP, or asked through the control socket (`bongsu rules
// reload`). The configuration is loaded anew aside, on this class's thread or the asking one, and
// checked whole; then the service finishes the open epoch, commits it, and goes on with a new
// engine over the same state and sources: an operator keeps its state if its semantic hash is the
// same.
//
//   Reloader reloader(load, hangup);
//   reloader.SetRunning(config);                      // what runs
//   engine reads `reloader.wanted()` as its wish to pause;
//   if (auto next = reloader.Take()) ... make the engine with it ... reloader.Done(OkStatus());
//
// Only rules and operators (kReloadableKeys) may change; any other changed key is refused by its
// name, and so is a set in which a rule is broken that the running set had not left out. What is
// refused leaves everything as it was.
//
// Thread-safety: Ask and wanted from any thread; SetRunning, Take and Done on the service's thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "pipeline/config.h"
#include "pipeline/engine.h"
#include "pipeline/metrics.h"

namespace bongsu {

// What is wrong with going from one configuration to the other; one line each.
absl::Status CheckReload(const Config& running, const Config& next);
// The rules that are broken in `next` and were not in `running`; one line each.
std::string NewlyBroken(const Config& running, const Config& next);
// "operators: 2 kept, 1 changed (their state is dropped: c2-callback), ...".
std::string ReloadSummary(const Config& running, const Config& next);
// Counters of the earlier configuration under the places that the same operators and rules have in
// the next one. What is gone is not counted any more.
EngineTotals Remap(const EngineTotals& totals, const Config& from, const Config& to);

class Reloader {
 public:
  // The configuration as it is now, or null with everything that is wrong in `*problems`.
  using Load = std::function<std::shared_ptr<const Config>(std::string* problems)>;
  // `hangup` is set by a signal handler; null: nobody sets it.
  Reloader(Load load, std::atomic<bool>* hangup);
  ~Reloader();

  // No more reloads; who waits is told that the service ends.
  void Stop();

  void SetRunning(std::shared_ptr<const Config> config);
  // A set waits to be taken: the engine ends its epoch.
  const std::atomic<bool>& wanted() const { return wanted_; }
  // Somebody has asked, or is about to: another set may be on its way.
  bool asked() const {
    return wanted_.load() || trying_.load() || (hangup_ != nullptr && *hangup_);
  }
  std::shared_ptr<const Config> Take();
  // The set that was taken runs, or could not be made to.
  void Done(const absl::Status& status);

  // At the start, before anything asks: a set was refused already, and an older one runs.
  void RefusedAtStart();

  // Loads, and waits until the new set runs. OK with what has changed; InvalidArgument: refused,
  // with the reasons; Unavailable: the service ends, or takes longer than kReloadWaitNs.
  absl::StatusOr<std::string> Ask();
  ReloadStatus status() const;

 private:
  void Loop();
  [[nodiscard]] absl::StatusOr<std::string> Try();

  const Load load_;
  std::atomic<bool>* const hangup_;
  std::mutex asking_;  // one at a time
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<const Config> running_;  // guarded by mutex_, as all below
  std::shared_ptr<const Config> next_;
  bool taken_ = false;
  std::optional<absl::Status> outcome_;
  ReloadStatus status_;
  bool stop_ = false;
  std::atomic<bool> wanted_{false};
  std::atomic<bool> trying_{false};
  std::thread thread_;
};

inline constexpr DurationNs kReloadWaitNs = 2 * kMinuteNs;

}  // namespace bongsu
