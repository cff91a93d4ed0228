// File: pipeline/kafka/broker_failures.h
//
// What this process last saw of a broker that is not there: why, and how long ago. librdkafka tells
// it in its log, and a later "timed out" says nothing of it.
//
//   broker_failures().Note("[thrd:main]: 10.0.0.1:9092/1: Connect to ... failed");
//   broker_failures().Last();                         // "10.0.0.1:9092/1: Connect to ... failed"
//   broker_failures().UnreachableWithin(kMinuteNs);   // true
//
// Thread-safety: any thread.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "state/types.h"

namespace bongsu {

class BrokerFailures {
 public:
  void Note(std::string_view text);
  std::string Last() const;  // empty: none
  // Whether no connection to a broker could be made. One that only broke does not count: a process
  // that was stopped for long breaks its own.
  bool UnreachableWithin(DurationNs time) const;

 private:
  mutable std::mutex mutex_;
  std::string text_;            // guarded by mutex_
  bool unreachable_ = false;    // guarded by mutex_
  int64_t unreachable_ns_ = 0;  // monotonic; guarded by mutex_
};

// Of the process.
BrokerFailures& broker_failures();

}  // namespace bongsu
