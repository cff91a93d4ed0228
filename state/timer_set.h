// File: state/timer_set.h
//
// The TimerSet of state/shard_state.h. All timers are in memory, in time order (an operator sets
// one for an incident, not for a record); those that outlive a checkpoint are in the store too.
// Timers that have fired leave the store as one range at the next checkpoint.
//
// Thread-safety: one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "state/shard_state.h"
#include "state/store.h"

namespace bongsu {

class TimerSetImpl : public TimerSet {
 public:
  TimerSetImpl(Store& store, std::string prefix) : store_(store), prefix_(std::move(prefix)) {}
  [[nodiscard]] absl::Status Restore();
  absl::Status Set(EventTimeNs time, std::string_view key, std::string_view data) override;
  absl::Status PopBefore(
      EventTimeNs until,
      absl::FunctionRef<absl::Status(EventTimeNs, std::string_view, std::string_view)> fire)
      override;
  void Freeze(FrozenShard* frozen);
  size_t memory_bytes() const { return memory_bytes_; }
  size_t dirty_bytes() const { return dirty_bytes_; }

 private:
  struct Timer {
    EventTimeNs time;
    std::string key;
    std::string data;
    auto operator<=>(const Timer&) const = default;
    size_t bytes() const { return sizeof(Timer) + key.size() + data.size(); }
  };
  enum State : uint8_t { kDirty, kStored };
  std::string Row(const Timer& timer) const;

  Store& store_;
  const std::string prefix_;
  absl::btree_map<Timer, State> timers_;
  EventTimeNs popped_ = kMinEventTime;  // the highest `until` so far
  bool popped_stored_ = false;          // stored timers fired since the last freeze
  size_t memory_bytes_ = 0;
  size_t dirty_bytes_ = 0;
};

}  // namespace bongsu
