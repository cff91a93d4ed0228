// File: pipeline/kafka/kafka_lag.h
//
// Where the source topics end, for the lag in the metrics: a thread of its own asks the brokers for
// the last stable offset of every partition (as read_committed readers can get to), every
// kLagEveryNs. It asks, and does not go by what was fetched: a paused partition, or brokers that
// are away, would then look as if nothing were left to read.
//
//   ASSIGN_OR_RETURN(auto ends, KafkaEnds::Start(config, clock));
//   if (auto known = ends->Newest(); known != nullptr) ...
//
// Thread-safety: Newest from any thread. Errors of the brokers: the newest answer grows old.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "pipeline/config.h"
#include "pipeline/io.h"
#include "pipeline/kafka/kafka_client.h"

namespace bongsu {

inline constexpr DurationNs kLagEveryNs = 5 * kSecondNs;

class KafkaEnds {
 public:
  struct Answer {
    int64_t asked_ns = 0;  // monotonic
    std::map<std::pair<std::string, int32_t>, int64_t> ends;
  };
  // `config` and `clock` outlive it.
  static absl::StatusOr<std::unique_ptr<KafkaEnds>> Start(const Config& config, const Clock& clock);
  ~KafkaEnds();
  // Null before the first answer.
  std::shared_ptr<const Answer> Newest() const;

 private:
  KafkaEnds(const Config& config, const Clock& clock) : config_(config), clock_(clock) {}
  void Loop();
  void Ask();

  const Config& config_;
  const Clock& clock_;
  KafkaHandle handle_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<const Answer> newest_;  // guarded by mutex_
  bool stop_ = false;                     // guarded by mutex_
  std::thread thread_;
};

}  // namespace bongsu
