// The engine's part in event time: the clocks that it goes on with, and what is decided about
// sources outside the stream, and comes into it as marks.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "pipeline/engine.h"
#include "pipeline/engine_worker.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr DurationNs kLookNs = kSecondNs;
constexpr DurationNs kHoldNs = 100 * kMillisecondNs;

}  // namespace

// On the worker's thread, between two batches.
void Engine::PublishTime(Worker& worker) {
  const uint64_t look = look_.load(std::memory_order_relaxed);
  if (look == worker.look) return;
  worker.look = look;
  std::lock_guard lock(worker.published_mutex);
  worker.time = worker.shards->Time();
}

// What the workers have published since the last look, and asks them to publish anew.
TimeView Engine::LookAtTime() {
  TimeView view;
  for (auto& worker : workers_) {
    std::lock_guard lock(worker->published_mutex);
    // All threads agree in process; with exchange: kafka any shard knows all partitions, and the
    // first worker has the one that keeps the alarms, where it is ours.
    if (view.own.empty()) view.own = worker->time.own;
    if (!view.known.empty()) continue;
    view.known = worker->time.known;
    view.alarms = worker->time.alarms;
    view.keeps_alarms = worker->time.keeps_alarms;
  }
  look_.fetch_add(1, std::memory_order_relaxed);
  Wake();
  return view;
}

absl::Status Engine::WatchSources(int64_t now) {
  if (shared() && !(ownership_->assigned() && parts_.shared->source->member()))
    return absl::OkStatus();
  const WatchTime time{parts_.clock->NowNs(), now};
  if (now - last_look_ >= kLookNs && HasRoom()) {
    last_look_ = now;
    TimeView view = LookAtTime();
    auto batch = std::make_unique<Batch>();
    watch_.Look(view, time, std::exchange(was_paused_, false), &batch->marks);
    known_clocks_ = std::move(view.known);
    if (!batch->marks.empty()) Issue(std::move(batch));
  }
  if (now - last_hold_ < kHoldNs) return absl::OkStatus();
  last_hold_ = now;
  return HoldAhead(time);
}

absl::Status Engine::HoldAhead(WatchTime now) {
  std::vector<PartitionReading> reading;
  for (RecordSource* source : parts_.sources) {
    for (const SourceProgress& one : source->Progress()) {
      reading.push_back({one.partition, parts_.partitions->Get(one.partition).source_index,
                         newest_.Get(one.partition), one.backlog});
    }
  }
  std::vector<PartitionId> held = watch_.Hold(reading, known_clocks_, now);
  if (held == held_) return absl::OkStatus();
  for (const PartitionId id : held) {
    if (!std::binary_search(held_.begin(), held_.end(), id)) ++holds_;
  }
  held_ = std::move(held);
  for (RecordSource* source : parts_.sources) BONGSU_RETURN_IF_ERROR(source->Hold(held_));
  return absl::OkStatus();
}

// Clocks of the partitions that are still read; one that is gone must not hold its source back, but
// its name and position are kept, for the evidence that refers to it and in case it returns.
absl::Status Engine::RestoreTime(const std::vector<Position>& stored) {
  std::vector<bool> read(parts_.partitions->size(), false);
  std::vector<bool> begins_late(read.size(), false);
  std::vector<bool> unfinished(config_.sources.size(), false);
  for (const Position& position : SourcePositions()) {
    read[position.partition] = true;
    // A topic's first record has offset 0; a file is all that there is.
    begins_late[position.partition] =
        !parts_.partitions->Get(position.partition).topic.empty() && position.next_offset > 0;
    if (!position.ended) unfinished[parts_.partitions->Get(position.partition).source_index] = true;
  }
  for (const Position& position : stored) {
    if (!read[position.partition]) unread_positions_.push_back(position);
    begins_late[position.partition] = false;  // or its clock says so
  }
  for (size_t op = 0; op < restored_watermarks_.size(); ++op) {
    for (size_t port = 0; port < restored_watermarks_[op].size(); ++port) {
      const OperatorPlan& plan = plan_.operators[op];
      if (restored_watermarks_[op][port] != kMaxEventTime || port >= plan.port_source.size())
        continue;
      if (plan.port_from_operator[port] || !unfinished[static_cast<size_t>(plan.port_source[port])])
        continue;
      return absl::FailedPreconditionError(
          fmt::format("source '{}' had been read to its end and its windows are closed, but there "
                      "is new input now: "
                      "give a new run its own state.path and output files",
                      config_.sources[static_cast<size_t>(plan.port_source[port])].name));
    }
  }
  restored_clocks_.resize(std::max(restored_clocks_.size(), read.size()));
  for (size_t id = 0; id < restored_clocks_.size(); ++id) {
    if (id >= read.size() || !read[id]) restored_clocks_[id] = PartitionClock{};
    // Nobody has seen its end now: what came meanwhile must not be late because others are read
    // first.
    if (restored_clocks_[id].state == PartitionClock::State::kIdle)
      restored_clocks_[id].state = PartitionClock::State::kActive;
  }
  for (auto& worker : workers_) {
    worker->shards->Restore(restored_clocks_, restored_watermarks_);
    for (size_t i = 0; i < config_.sources.size(); ++i) {
      if (const auto it = restored_alarms_.find(config_.sources[i].name);
          it != restored_alarms_.end())
        worker->shards->watermarks().RestoreAlarms(i, it->second);
    }
    for (size_t id = 0; id < read.size(); ++id) {
      if (!read[id]) continue;
      const PartitionInfo& info = parts_.partitions->Get(static_cast<PartitionId>(id));
      worker->shards->watermarks().AddPartition(info.id, info.source_index);
      if (begins_late[id]) worker->shards->watermarks().BeginsLate(info.id);
    }
  }
  for (const size_t op : new_operators_) {
    EventTimeNs newest = kMinEventTime;
    for (const PartitionClock& clock : restored_clocks_) {
      if (clock.state != PartitionClock::State::kUnknown &&
          plan_.operators[op].fed_by[clock.source])
        newest = std::max(newest, clock.newest);
    }
    if (newest == kMinEventTime) continue;
    newest = AddTime(newest, plan_.operators[op].results_behind);
    for (auto& worker : workers_) BONGSU_RETURN_IF_ERROR(worker->shards->Missed(op, newest));
  }
  return absl::OkStatus();
}

}  // namespace bongsu
