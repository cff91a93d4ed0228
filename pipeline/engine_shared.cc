// The engine with exchange: kafka: shards and partitions that come and go, and bundles.
#include "pipeline/engine.h"

#include <algorithm>

#include "pipeline/engine_worker.h"
#include "state/status_macros.h"

namespace bongsu {

// Nothing is read until the group gives something out: ownership begins with an empty hand.
void Engine::StartShared() {
  if (parts_.resume.has_value()) {
    resumed_ = true;
    epoch_ = parts_.resume->epoch + 1;
  }
  parts_.exactly_once.exchange_plan = &plan_;
  parts_.exactly_once.plan_version = parts_.shared->plan_version;
  OwnershipHost& host = *this;
  ownership_ = std::make_unique<Ownership>(
      config_, *parts_.shared->source, *parts_.exactly_once.changelog, parts_.shared->make_restorer,
      parts_.shared->plan_version, *parts_.clock, host);
}

absl::Status Engine::Drain() {
  while (LowestApplied() < issued_ && !failed_.load(std::memory_order_acquire)) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(5));
  }
  return Failure();
}

absl::Status Engine::Settle(DurationNs deadline) {
  const int64_t until = parts_.clock->MonotonicNs() + deadline;
  const auto wait = [&](auto done) -> absl::Status {
    while (!done()) {
      if (failed_.load(std::memory_order_acquire)) return Failure();
      if (parts_.clock->MonotonicNs() >= until)
        return absl::AbortedError("what was read could not be committed in time");
      {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, std::chrono::milliseconds(1));
      }
      BONGSU_RETURN_IF_ERROR(Housekeeping());
    }
    return absl::OkStatus();
  };
  // A slot for the barrier.
  BONGSU_RETURN_IF_ERROR(wait([&] { return issued_ - LowestApplied() < kBatchesInFlight; }));
  if (batches_in_epoch_ > 0 || !gained_.empty())
    CloseEpoch(parts_.clock->MonotonicNs(), /*final=*/false);
  return wait([&] { return committer_->committed() + 1 == epoch_ && LowestApplied() == issued_; });
}

absl::StatusOr<std::shared_ptr<ShardTask::Shard>> Engine::OpenShard(ShardId shard) {
  return workers_[shard % static_cast<size_t>(threads_)]->shards->OpenShard(shard, known_);
}

void Engine::AdoptShard(std::shared_ptr<ShardTask::Shard> shard, ShardId id) {
  Worker& worker = *workers_[id % static_cast<size_t>(threads_)];
  std::lock_guard lock(worker.published_mutex);  // it may be showing its figures
  worker.shards->Adopt(std::move(shard));
  worker.ended.store(worker.shards->ended(), std::memory_order_relaxed);
}

void Engine::DropShard(ShardId shard) {
  Worker& worker = *workers_[shard % static_cast<size_t>(threads_)];
  std::lock_guard lock(worker.published_mutex);
  worker.shards->Drop(shard);
}

void Engine::AdoptPartition(PartitionId partition, const PartitionClock& clock) {
  PartitionClock known = clock;
  known.source = parts_.partitions->Get(partition).source_index;
  // Nobody has seen its end now: what came meanwhile must not be late because others are read
  // first.
  if (known.state == PartitionClock::State::kIdle) known.state = PartitionClock::State::kActive;
  newest_.Raise(partition, clock.newest);
  for (auto& worker : workers_) {
    std::lock_guard lock(worker->published_mutex);
    worker->shards->watermarks().Restore(partition, known);
    worker->shards->watermarks().Refresh();
  }
  gained_[partition] = known;
}

void Engine::DropPartition(PartitionId partition) {
  gained_.erase(partition);
  for (auto& worker : workers_) {
    std::lock_guard lock(worker->published_mutex);
    worker->shards->watermarks().Restore(partition, PartitionClock());
    worker->shards->watermarks().Refresh();
  }
}

// The bundles of an epoch leave before its barrier: by the thread that has filled them, when it
// decodes for the next epoch or applies the barrier, whichever comes first.
absl::Status Engine::DecodeShared(Worker& worker, const Batch& batch, ExchangeSlot& slot,
                                  OutputChunk& outputs) {
  if (worker.decoded_epoch != batch.epoch) {
    OutputChunk before;
    before.epoch = worker.decoded_epoch;
    worker.decoded->Finish(&before.bundles);
    if (!before.empty()) committer_->Outputs(std::move(before));
    worker.decoded_epoch = batch.epoch;
  }
  worker.decode->Run(batch, *worker.decoded, slot, outputs, worker.counters, live_);
  worker.decoded->TakeFull(&outputs.bundles);
  return worker.unpack->Run(batch, slot, worker.counters);
}

void Engine::FinishBundles(Worker& worker, EpochId epoch, OutputChunk& outputs) {
  worker.results->Finish(&outputs.bundles);
  if (worker.decoded_epoch == epoch) worker.decoded->Finish(&outputs.bundles);
}

// A bounded run: every source was read to its end, and everything that was sent for it has arrived.
bool Engine::SharedEnded() const {
  if (!ownership_->settled() || ownership_->shards() == 0 || LowestApplied() != issued_)
    return false;
  return std::all_of(
             workers_.begin(), workers_.end(),
             [](const auto& worker) { return worker->ended.load(std::memory_order_relaxed); }) &&
         parts_.shared->source->sources_ended();
}

}  // namespace bongsu
