#include "pipeline/ownership.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <string>
#include <utility>

#include "pipeline/logging.h"
#include "pipeline/shard_clocks.h"
#include "state/failpoint.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr DurationNs kRevokeDeadlineNs = 5 * kSecondNs;
constexpr DurationNs kAdoptDeadlineNs = 30 * kSecondNs;
constexpr DurationNs kAdoptEveryNs = kSecondNs;
constexpr int kRestoreTries = 3;
constexpr std::string_view kShardPrefix = "bongsu shard ";

absl::Status ForeignOffset(const std::string& application) {
  return absl::FailedPreconditionError(fmt::format(
      "the offsets of group '{}' were not committed by exchange: kafka: go on with what "
      "has committed them, or start with another application name",
      application));
}

absl::Status NewerPlan() {
  return absl::AbortedError("another instance, from which this one takes over, runs newer rules");
}

}  // namespace

std::string ShardMarkText(const ShardMark& mark) {
  return fmt::format("{}{} {}", kShardPrefix, mark.epoch, mark.plan_version);
}

bool ShardMarkOfText(std::string_view text, ShardMark* mark) {
  if (text.substr(0, kShardPrefix.size()) != kShardPrefix) return false;
  const char* const end = text.data() + text.size();
  const auto [space, error] = std::from_chars(text.data() + kShardPrefix.size(), end, mark->epoch);
  if (error != std::errc()) return false;
  mark->plan_version = 0;
  if (space == end) return true;  // of before plans stood here
  if (*space != ' ') return false;
  const auto [rest, wrong] = std::from_chars(space + 1, end, mark->plan_version);
  return wrong == std::errc() && rest == end;
}

void Ownership::Counters::Merge(const Counters& other) {
  rebalances += other.rebalances;
  shards_kept += other.shards_kept;
  shards_gained += other.shards_gained;
  shards_lost += other.shards_lost;
  pause_ns_max = std::max(pause_ns_max, other.pause_ns_max);
}

struct Ownership::Restoring {
  Assignment gained;
  std::atomic<bool> cancel{false};
  std::thread thread;
  std::mutex mutex;
  // Guarded by mutex.
  struct Ready {
    Place place;
    PartitionClock clock;                     // of a partition
    std::shared_ptr<ShardTask::Shard> shard;  // of a shard
  };
  std::vector<Ready> ready;
  absl::Status failure;
  bool done = false;
};

Ownership::Ownership(const Config& config, SharedSource& source, Changelog& changelog,
                     MakeLogRestorer make_restorer, uint64_t plan_version, const Clock& clock,
                     OwnershipHost& host)
    : config_(config),
      source_(source),
      changelog_(changelog),
      make_restorer_(std::move(make_restorer)),
      plan_version_(plan_version),
      clock_(clock),
      host_(host) {}

Ownership::~Ownership() { CancelRestoring(); }

void Ownership::CancelRestoring() {
  if (restoring_ == nullptr) return;
  restoring_->cancel.store(true);
  if (restoring_->thread.joinable()) restoring_->thread.join();
  restoring_ = nullptr;
}

absl::Status Ownership::Serve(const std::atomic<bool>& stop) {
  if (source_.revoking()) {
    revoked_ns_ = clock_.MonotonicNs();
    BONGSU_RETURN_IF_ERROR(host_.Settle(kRevokeDeadlineNs));
    BONGSU_RETURN_IF_ERROR(source_.Release());
    assigned_ = false;
    ++counters_.rebalances;
  }
  if (const auto assignment = source_.TakeAssignment(); assignment.has_value())
    BONGSU_RETURN_IF_ERROR(Take(*assignment, stop));
  // Between two assignments nobody may commit, and what was restored may not be ours.
  return restoring_ != nullptr && assigned_ ? AdoptReady() : absl::OkStatus();
}

// Of what was ours: what is ours again, and stands where we left it. Another member may have had it
// in between, unseen by us.
absl::StatusOr<Assignment> Ownership::Keep(const Assignment& assignment,
                                           const std::atomic<bool>& stop) {
  Assignment same;
  for (const PartitionId id : assignment.partitions) {
    if (partitions_.count(id) > 0) same.partitions.push_back(id);
  }
  for (const ShardId id : assignment.shards) {
    if (shards_.count(id) > 0) same.shards.push_back(id);
  }
  BONGSU_ASSIGN_OR_RETURN(const std::vector<Place> places, source_.CommittedPlaces(same, stop));
  std::map<std::pair<bool, uint16_t>, int64_t> ours;
  for (const Place& place : Reading()) ours[{place.of_shard, place.id}] = place.next_offset;
  Assignment kept;
  for (const Place& place : places) {
    if (!place.committed || ours[{place.of_shard, place.id}] != place.next_offset) continue;
    // Of a newer plan, though the offset be the same: gained, and so refused.
    if (!place.of_shard) {
      PartitionClock clock;
      uint64_t plan_version = 0;
      if (ClockOfText(place.metadata, &clock, &plan_version) && plan_version <= plan_version_)
        kept.partitions.push_back(place.id);
      continue;
    }
    ShardMark mark;
    if (ShardMarkOfText(place.metadata, &mark) && mark.plan_version <= plan_version_ &&
        mark.epoch == changelog_.position(place.id).epoch)
      kept.shards.push_back(place.id);
  }
  return kept;
}

absl::Status Ownership::Take(const Assignment& assignment, const std::atomic<bool>& stop) {
  CancelRestoring();
  BONGSU_RETURN_IF_ERROR(host_.Drain());
  const absl::StatusOr<Assignment> still = Keep(assignment, stop);
  BONGSU_RETURN_IF_ERROR(OrRecover(still.status()));
  const Assignment& kept = *still;
  const std::set<PartitionId> kept_partitions(kept.partitions.begin(), kept.partitions.end());
  const std::set<ShardId> kept_shards(kept.shards.begin(), kept.shards.end());
  // Where they stand, before the others are forgotten.
  std::vector<Place> reading;
  for (const Place& place : Reading()) {
    if (place.of_shard ? kept_shards.count(place.id) : kept_partitions.count(place.id))
      reading.push_back(place);
  }
  for (auto it = partitions_.begin(); it != partitions_.end();) {
    const bool keep = kept_partitions.count(it->first) > 0;
    if (!keep) host_.DropPartition(it->first);
    it = keep ? std::next(it) : partitions_.erase(it);
  }
  size_t lost = 0;
  for (auto it = shards_.begin(); it != shards_.end();) {
    if (kept_shards.count(*it) > 0) {
      ++it;
      continue;
    }
    host_.DropShard(*it);
    changelog_.Release(*it);
    ++lost;
    it = shards_.erase(it);
  }
  BONGSU_RETURN_IF_ERROR(source_.Read(reading));
  auto restoring = std::make_unique<Restoring>();
  for (const PartitionId id : assignment.partitions) {
    if (partitions_.count(id) == 0) restoring->gained.partitions.push_back(id);
  }
  for (const ShardId id : assignment.shards) {
    if (shards_.count(id) == 0) restoring->gained.shards.push_back(id);
  }
  assigned_ = true;
  counters_.shards_kept += kept.shards.size();
  counters_.shards_lost += lost;
  counters_.shards_gained += restoring->gained.shards.size();
  std::string paused;
  if (revoked_ns_ != 0) {
    const DurationNs pause = clock_.MonotonicNs() - revoked_ns_;
    counters_.pause_ns_max = std::max(counters_.pause_ns_max, pause);
    revoked_ns_ = 0;
    paused = fmt::format("; paused for {} ms", pause / kMillisecondNs);
  }
  LogInfo(
      fmt::format("assigned {} source partitions and {} shards: {} shards kept, {} gained, {} "
                  "given away{}",
                  assignment.partitions.size(), assignment.shards.size(), kept.shards.size(),
                  restoring->gained.shards.size(), lost, paused));
  if (restoring->gained.partitions.empty() && restoring->gained.shards.empty()) {
    LogInfo(fmt::format("reading {} source partitions and {} shards (0 new)", partitions_.size(),
                        shards_.size()));
    return absl::OkStatus();
  }
  restoring_ = std::move(restoring);
  restoring_->thread = std::thread([this, r = restoring_.get()] { Restore(*r); });
  return absl::OkStatus();
}

// What is being read now, and where it stands.
std::vector<Place> Ownership::Reading() const {
  std::vector<Place> places;
  for (const Position& position : source_.positions()) {
    const auto it = partitions_.find(position.partition);
    if (it == partitions_.end()) continue;
    Place place;
    place.id = position.partition;
    place.next_offset = position.next_offset;
    place.end_offset = it->second;
    places.push_back(std::move(place));
  }
  for (const ShardPosition& position : source_.shard_positions()) {
    if (shards_.count(position.shard) == 0) continue;
    Place place;
    place.of_shard = true;
    place.id = position.shard;
    place.next_offset = position.next_offset;
    places.push_back(std::move(place));
  }
  return places;
}

// --- The restoring thread -----------------------------------------------------------------------

absl::Status Ownership::RestorePartition(Place place, Restoring& restoring) {
  Restoring::Ready ready;
  ready.clock.state = PartitionClock::State::kActive;
  uint64_t plan_version = 0;
  if (place.committed && !ClockOfText(place.metadata, &ready.clock, &plan_version))
    return ForeignOffset(config_.application);
  if (plan_version > plan_version_) return NewerPlan();
  BONGSU_RETURN_IF_ERROR(source_.Locate(&place));
  if (!place.committed && place.next_offset > 0) ready.clock.missed = kMaxEventTime;
  if (ready.clock.state == PartitionClock::State::kEnded) {
    if (place.end_offset < 0) {
      return absl::FailedPreconditionError(
          "a source had been read to its end and its windows are closed: a run that goes on needs "
          "an application name of its own");
    }
    place.end_offset = place.next_offset;  // it stays ended, whatever has come since
  }
  ready.place = std::move(place);
  std::lock_guard lock(restoring.mutex);
  restoring.ready.push_back(std::move(ready));
  return absl::OkStatus();
}

absl::Status Ownership::RestoreOne(LogRestorer& restorer, Place place, Restoring& restoring) {
  for (int tries = 1;; ++tries) {
    ShardMark mark;
    if (place.committed && !ShardMarkOfText(place.metadata, &mark))
      return ForeignOffset(config_.application);
    if (mark.plan_version > plan_version_) return NewerPlan();
    const uint64_t committed = mark.epoch;
    BONGSU_ASSIGN_OR_RETURN(const uint64_t restored, restorer.Restore(place.id));
    if (restored == committed) break;
    if (tries == kRestoreTries) {
      return absl::FailedPreconditionError(fmt::format(
          "shard {} was committed at epoch {}, but its changelog ends at epoch {}: the topic or "
          "the "
          "group's offsets were changed from outside, or have expired. Restore them, or start anew "
          "with another application name",
          place.id, committed, restored));
    }
    // Whoever owned it a moment ago may have committed between our two looks.
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    Assignment again;
    again.shards.push_back(place.id);
    BONGSU_ASSIGN_OR_RETURN(const std::vector<Place> places,
                            source_.CommittedPlaces(again, restoring.cancel));
    place = places.front();
  }
  BONGSU_RETURN_IF_ERROR(source_.Locate(&place));
  Restoring::Ready ready;
  BONGSU_ASSIGN_OR_RETURN(ready.shard, host_.OpenShard(place.id));
  ready.place = std::move(place);
  std::lock_guard lock(restoring.mutex);
  restoring.ready.push_back(std::move(ready));
  return absl::OkStatus();
}

void Ownership::Restore(Restoring& restoring) {
  const auto run = [&]() -> absl::Status {
    BONGSU_FAILPOINT(kOwned);
    BONGSU_ASSIGN_OR_RETURN(const std::vector<Place> places,
                            source_.CommittedPlaces(restoring.gained, restoring.cancel));
    // Only now: an end that was found before the stable offsets could lie below them.
    BONGSU_ASSIGN_OR_RETURN(const std::unique_ptr<LogRestorer> restorer,
                            make_restorer_(restoring.cancel));
    for (const Place& place : places) {
      if (restoring.cancel.load()) return absl::OkStatus();
      BONGSU_RETURN_IF_ERROR(place.of_shard ? RestoreOne(*restorer, place, restoring)
                                            : RestorePartition(place, restoring));
    }
    BONGSU_FAILPOINT(kRestored);
    return absl::OkStatus();
  };
  const absl::Status status = run();
  std::lock_guard lock(restoring.mutex);
  restoring.failure = status;
  restoring.done = true;
}

// --- Back on the reader's -----------------------------------------------------------------------

// Brokers that are away are waited for by the one way back, and not by a person.
absl::Status Ownership::OrRecover(const absl::Status& status) {
  return absl::IsUnavailable(status) ? absl::AbortedError(status.message()) : status;
}

absl::Status Ownership::AdoptReady() {
  std::vector<Restoring::Ready> ready;
  bool done = false;
  {
    std::lock_guard lock(restoring_->mutex);
    BONGSU_RETURN_IF_ERROR(OrRecover(restoring_->failure));
    done = restoring_->done;
    // Every time is a commit and a new fetch for all: not for each shard of many.
    if (!done && clock_.MonotonicNs() - adopted_ns_ < kAdoptEveryNs) return absl::OkStatus();
    ready.swap(restoring_->ready);
  }
  if (!ready.empty()) {
    adopted_ns_ = clock_.MonotonicNs();
    BONGSU_RETURN_IF_ERROR(host_.Settle(kAdoptDeadlineNs));
    std::vector<Place> reading = Reading();
    size_t shards = 0;
    bool at_end = false;
    for (Restoring::Ready& one : ready) {
      at_end = at_end || one.place.at_end;
      reading.push_back(one.place);
      if (one.place.of_shard) {
        BONGSU_RETURN_IF_ERROR(changelog_.Adopt(one.place.id));
        host_.AdoptShard(std::move(one.shard), one.place.id);
        shards_.insert(one.place.id);
        ++shards;
      } else {
        host_.AdoptPartition(one.place.id, one.clock);
        partitions_[one.place.id] = one.place.end_offset;
      }
    }
    BONGSU_RETURN_IF_ERROR(source_.Read(reading));
    // Before anything of them is read: whoever gets them next goes on from here.
    if (at_end) BONGSU_RETURN_IF_ERROR(host_.Settle(kAdoptDeadlineNs));
    LogInfo(fmt::format("reading {} source partitions and {} shards ({} new)", partitions_.size(),
                        shards_.size(), shards));
  }
  if (done) CancelRestoring();  // it has ended: joins it
  return absl::OkStatus();
}

}  // namespace bongsu
