// File: pipeline/status_board.h
//
// Where the running service says how it is doing, and the HTTP endpoints read it: the phase, the
// newest figures, and whether it is healthy and ready.
//
//   StatusBoard board(clock);
//   board.SetPhase(Phase::kRestoring);
//   board.Publish(snapshot);                         // once a second, from the running engine
//   HttpServer::Start(address, board.Paths());
//
// Healthy (/healthz): a restart would not help. Unhealthy is only a running engine that gives no
// sign of life for kSilenceMaxNs, or whose oldest open epoch is not committed for kEpochAgeMaxNs;
// waiting for another instance, for brokers or for a restore is healthy.
// Ready (/readyz): partitions are assigned, state is restored, records are processed.
//
// Thread-safety: any thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "pipeline/http_server.h"
#include "pipeline/io.h"
#include "pipeline/metrics.h"

namespace bongsu {

inline constexpr DurationNs kSwitchMaxNs = 5 * kSecondNs;
inline constexpr DurationNs kSilenceMaxNs = 30 * kSecondNs;
// Longer than a commit is tried again before its outcome counts as unknown (20 s).
inline constexpr DurationNs kEpochAgeMaxNs = 2 * kMinuteNs;

struct Verdict {
  bool good = false;
  std::string why;  // one line
};
// `silent_ns`: since the last sign of life; `epoch_age_ns`: of the oldest epoch not committed.
Verdict Healthy(Phase phase, DurationNs silent_ns, DurationNs epoch_age_ns);
Verdict Ready(Phase phase);

class StatusBoard {
 public:
  // `clock` outlives the board.
  explicit StatusBoard(const Clock& clock);
  void SetPhase(Phase phase);
  // A running service changes its engine, for new rules: for kSwitchMaxNs it counts as running
  // still, then as restoring, until the next phase is set.
  void BeginSwitch();
  void SetRestore(const RestoreStatus& restore);
  // A sign of life with the newest figures.
  void Publish(std::shared_ptr<const MetricsSnapshot> snapshot);

  HttpAnswer Metrics() const;
  HttpAnswer Health() const;
  HttpAnswer Readiness() const;
  // The three by their paths; the board outlives the server.
  std::map<std::string, HttpServer::Handler> Paths() const;

 private:
  Phase Now() const;  // with mutex_ held

  const Clock& clock_;
  mutable std::mutex mutex_;
  Phase phase_ = Phase::kStarting;  // guarded by mutex_, as all below
  std::optional<int64_t> switch_since_ns_;
  RestoreStatus restore_;
  std::shared_ptr<const MetricsSnapshot> snapshot_;  // null: nothing has run yet
  int64_t last_sign_ns_ = 0;
};

}  // namespace bongsu
