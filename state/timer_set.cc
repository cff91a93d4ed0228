#include "state/timer_set.h"

#include <algorithm>

#include "state/key_encoding.h"
#include "state/status_macros.h"

namespace bongsu {

std::string TimerSetImpl::Row(const Timer& timer) const {
  std::string row = prefix_;
  AppendTime(timer.time, &row);
  AppendU16(static_cast<uint16_t>(timer.key.size()), &row);
  return row + timer.key + timer.data;
}

absl::Status TimerSetImpl::Restore() {
  absl::Status bad;
  BONGSU_RETURN_IF_ERROR(store_.Read(
      kTimerFamily, prefix_, PrefixEnd(prefix_), [&](std::string_view row, std::string_view) {
        std::string_view rest = row.substr(prefix_.size());
        if (rest.size() < 10 || rest.size() < size_t{10} + ReadU16(rest.substr(8))) {
          bad = absl::DataLossError("a timer's row has the wrong size");
          return false;
        }
        const size_t key_bytes = ReadU16(rest.substr(8));
        Timer timer{ReadTime(rest), std::string(rest.substr(10, key_bytes)),
                    std::string(rest.substr(10 + key_bytes))};
        memory_bytes_ += timer.bytes();
        timers_.emplace(std::move(timer), kStored);
        return true;
      }));
  return bad;
}

absl::Status TimerSetImpl::Set(EventTimeNs time, std::string_view key, std::string_view data) {
  Timer timer{time, std::string(key), std::string(data)};
  const size_t bytes = timer.bytes();
  if (timers_.emplace(std::move(timer), kDirty).second) {
    memory_bytes_ += bytes;
    dirty_bytes_ += bytes;
  }
  return absl::OkStatus();
}

absl::Status TimerSetImpl::PopBefore(
    EventTimeNs until,
    absl::FunctionRef<absl::Status(EventTimeNs, std::string_view, std::string_view)> fire) {
  popped_ = std::max(popped_, until);
  while (!timers_.empty() && timers_.begin()->first.time < until) {
    const Timer timer = timers_.begin()->first;  // a copy: firing may set others
    const State state = timers_.begin()->second;
    timers_.erase(timers_.begin());
    memory_bytes_ -= timer.bytes();
    if (state == kDirty)
      dirty_bytes_ -= timer.bytes();
    else
      popped_stored_ = true;
    BONGSU_RETURN_IF_ERROR(fire(timer.time, timer.key, timer.data));
  }
  return absl::OkStatus();
}

void TimerSetImpl::Freeze(FrozenShard* frozen) {
  if (popped_stored_) {
    std::string end = prefix_;
    AppendTime(popped_, &end);
    frozen->Add(kTimerFamily, kDeleteRange, prefix_, end);
  }
  if (dirty_bytes_ == 0 && !popped_stored_) return;
  for (auto& [timer, state] : timers_) {
    // One that was set below the deleted range's end, and has not fired yet, is written again.
    if (state == kStored && !(popped_stored_ && timer.time < popped_)) continue;
    frozen->Add(kTimerFamily, kPut, Row(timer), "");
    state = kStored;
  }
  dirty_bytes_ = 0;
  popped_stored_ = false;
}

}  // namespace bongsu
