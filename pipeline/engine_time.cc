// The engine's part in event time: what is decided about sources outside the stream, and comes into
// it as marks.
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

}  // namespace bongsu
