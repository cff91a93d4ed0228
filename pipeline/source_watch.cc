#include "pipeline/source_watch.h"

#include <algorithm>

namespace bongsu {
namespace {

using State = PartitionClock::State;

// A partition that has a backlog and still brings nothing new for so long (its broker is away, or
// none of its records can be read) is not waited for by those ahead of it.
constexpr DurationNs kStalledNs = 30 * kSecondNs;
// What passes between two looks counts up to this as time in which a laggard could have caught up:
// a process that was stopped waits for nobody.
constexpr DurationNs kLookMaxNs = 2 * kSecondNs;

// Which sources meet in an operator, directly or by way of another's results.
std::vector<std::vector<bool>> Related(const Config& config, const Plan& plan) {
  const size_t sources = config.sources.size();
  std::vector<std::vector<bool>> fed_by(plan.operators.size(), std::vector<bool>(sources));
  for (int level = 0; level < plan.levels; ++level) {
    for (size_t op = 0; op < plan.operators.size(); ++op) {
      const OperatorPlan& one = plan.operators[op];
      if (one.level != level) continue;
      for (size_t port = 0; port < one.port_source.size(); ++port) {
        const auto from = static_cast<size_t>(one.port_source[port]);
        if (!one.port_from_operator[port]) {
          fed_by[op][from] = true;
          continue;
        }
        for (size_t source = 0; source < sources; ++source)
          if (fed_by[from][source]) fed_by[op][source] = true;
      }
    }
  }
  std::vector<std::vector<bool>> related(sources);
  for (const std::vector<bool>& meeting : fed_by) {
    for (size_t a = 0; a < sources; ++a) {
      if (!meeting[a]) continue;
      related[a].resize(sources);
      for (size_t b = 0; b < sources; ++b)
        if (meeting[b]) related[a][b] = true;
    }
  }
  return related;
}

// The newest event that each source is known to have.
std::vector<EventTimeNs> NewestOf(std::span<const PartitionClock> clocks, size_t sources) {
  std::vector<EventTimeNs> newest(sources, kMinEventTime);
  for (const PartitionClock& clock : clocks) {
    if (clock.state == State::kUnknown || clock.source >= sources) continue;
    newest[clock.source] = std::max(newest[clock.source], clock.newest);
  }
  return newest;
}

}  // namespace

SourceWatch::SourceWatch(const Config& config, const Plan& plan)
    : config_(config), related_(Related(config, plan)), quiet_since_(config.sources.size(), -1) {}

void SourceWatch::Look(const TimeView& view, WatchTime now, bool paused,
                       std::vector<PartitionMark>* marks) {
  FollowClock(view, now, marks);
  FindLaggards(view, now, paused, marks);
  last_look_ns_ = now.monotonic_ns;
  if (paused) std::fill(quiet_since_.begin(), quiet_since_.end(), -1);
  if (view.keeps_alarms && !paused) FindSilent(view, now, marks);
}

void SourceWatch::FollowClock(const TimeView& view, WatchTime now,
                              std::vector<PartitionMark>* marks) {
  for (size_t i = 0; i < view.own.size(); ++i) {
    const PartitionClock& clock = view.own[i];
    const auto id = static_cast<PartitionId>(i);
    if (clock.source >= config_.sources.size()) continue;
    const SourceConfig& source = config_.sources[clock.source];
    if (source.on_idle != OnIdle::kWallClock || clock.state != State::kIdle) {
      idle_live_.erase(id);
      continue;
    }
    // Live: when its last record came, that record was fresh.
    const EventTimeNs fresh = now.wall_ns - source.idle_timeout - source.live_bound;
    if (!idle_live_.try_emplace(id, clock.newest >= fresh).first->second) continue;
    const EventTimeNs floor =
        std::min(now.wall_ns - source.live_bound, AddTime(clock.newest, source.quiet_bound));
    if (floor > clock.floor) marks->push_back({PartitionMark::Kind::kFloor, id, floor});
  }
}

void SourceWatch::FindLaggards(const TimeView& view, WatchTime now, bool paused,
                               std::vector<PartitionMark>* marks) {
  const DurationNs passed = std::min(now.monotonic_ns - last_look_ns_, kLookMaxNs);
  const size_t sources = config_.sources.size();
  const std::vector<EventTimeNs> newest = NewestOf(view.known, sources);
  // What a source is compared with: the newest event of the live ones that it meets. A clock that
  // is ahead of ours (max_future_skew) counts as ours.
  std::vector<EventTimeNs> edge(sources, kMinEventTime);
  for (const PartitionClock& clock : view.known) {
    if (clock.source >= sources || clock.state == State::kUnknown || clock.state == State::kEnded)
      continue;
    if (clock.newest < now.wall_ns - config_.sources[clock.source].live_bound) continue;
    for (size_t source = 0; source < sources; ++source) {
      if (related_[source].empty() || !related_[source][clock.source]) continue;
      edge[source] = std::max(edge[source], std::min(clock.newest, now.wall_ns));
    }
  }
  std::vector<int> laggard(sources, -1);  // the one that is furthest behind
  for (size_t i = 0; i < view.known.size(); ++i) {
    const PartitionClock& clock = view.known[i];
    const auto id = static_cast<PartitionId>(i);
    if (clock.source >= sources) continue;
    const SourceConfig& source = config_.sources[clock.source];
    if (!source.endless() || source.max_lag == 0 || clock.state == State::kUnknown ||
        clock.state == State::kEnded) {
      behind_.erase(id);
      continue;
    }
    if (edge[clock.source] != kMinEventTime) {
      const EventTimeNs bound = edge[clock.source] - source.max_lag;
      if (clock.newest >= bound) {
        behind_.erase(id);
        continue;
      }
      const uint8_t lagged =
          view.alarms[clock.source] & static_cast<uint8_t>(SourceAlarm::kLagging);
      // Where the alarm stands already it was waited for before a restart.
      Behind& behind = behind_.try_emplace(id, Behind{0, lagged != 0}).first->second;
      // A source that has fallen silent may still bring what was buffered, and a partition that we
      // hold or do not read cannot catch up. A source that nobody has ever heard of brings nothing.
      const bool silent = clock.state == State::kIdle && newest[clock.source] != kMinEventTime;
      const bool held = id < held_.size() && held_[id];
      if (!silent && !held && !paused) behind.waited_ns += passed;
      if (behind.waited_ns >= source.max_lag) behind.given_up = true;
      if (behind.given_up && bound > clock.floor)
        marks->push_back({PartitionMark::Kind::kLagFloor, id, bound});
    }
    // With nobody live there is nothing to compare with: what was so stays so.
    const auto found = behind_.find(id);
    if (found == behind_.end() || !found->second.given_up) continue;
    int& worst = laggard[clock.source];
    if (worst < 0 || clock.newest < view.known[static_cast<size_t>(worst)].newest)
      worst = static_cast<int>(id);
  }
  for (size_t source = 0; source < sources && view.keeps_alarms; ++source) {
    const bool raised = (view.alarms[source] & static_cast<uint8_t>(SourceAlarm::kLagging)) != 0;
    if (laggard[source] >= 0 && !raised) {
      const auto id = static_cast<PartitionId>(laggard[source]);
      const EventTimeNs time = view.known[id].newest;
      marks->push_back(
          {PartitionMark::Kind::kLagging, id, time == kMinEventTime ? edge[source] : time});
    } else if (laggard[source] < 0 && raised && edge[source] != kMinEventTime) {
      for (size_t i = 0; i < view.known.size(); ++i) {
        if (view.known[i].state == State::kUnknown || view.known[i].source != source) continue;
        marks->push_back({PartitionMark::Kind::kCaughtUp, static_cast<PartitionId>(i), 0});
        break;
      }
    }
  }
}

void SourceWatch::FindSilent(const TimeView& view, WatchTime now,
                             std::vector<PartitionMark>* marks) {
  for (size_t source = 0; source < config_.sources.size(); ++source) {
    const SourceConfig& config = config_.sources[source];
    if (config.source_silent == 0 || !config.endless()) continue;
    bool quiet = false;
    int newest = -1;
    for (size_t i = 0; i < view.known.size(); ++i) {
      const PartitionClock& clock = view.known[i];
      if (clock.state == State::kUnknown || clock.source != source) continue;
      quiet = clock.state != State::kActive;
      if (!quiet) break;
      if (newest < 0 || clock.newest > view.known[static_cast<size_t>(newest)].newest)
        newest = static_cast<int>(i);
    }
    // Who has never said anything has not fallen silent.
    if (!quiet || view.known[static_cast<size_t>(newest)].newest == kMinEventTime) {
      quiet_since_[source] = -1;
      continue;
    }
    if (quiet_since_[source] < 0) quiet_since_[source] = now.monotonic_ns - config.idle_timeout;
    if (now.monotonic_ns - quiet_since_[source] < config.source_silent) continue;
    if ((view.alarms[source] & static_cast<uint8_t>(SourceAlarm::kSilent)) != 0) continue;
    marks->push_back({PartitionMark::Kind::kSilent, static_cast<PartitionId>(newest),
                      view.known[static_cast<size_t>(newest)].newest});
  }
}

bool SourceWatch::Moves(PartitionId id, EventTimeNs newest, int64_t now_ns) {
  Progress& progress = progress_.try_emplace(id, Progress{newest, now_ns}).first->second;
  if (newest > progress.newest) progress = {newest, now_ns};
  return now_ns - progress.moved_ns < kStalledNs;
}

std::vector<PartitionId> SourceWatch::Hold(std::span<const PartitionReading> reading,
                                           std::span<const PartitionClock> known, WatchTime now) {
  const size_t sources = config_.sources.size();
  const auto live = [&](uint16_t source, EventTimeNs newest) {
    return newest >= now.wall_ns - config_.sources[source].live_bound;
  };
  // By source: the slowest of its partitions that have a backlog and bring something.
  std::vector<EventTimeNs> slowest(sources, kMaxEventTime);
  const auto consider = [&](PartitionId id, uint16_t source, EventTimeNs newest) {
    // Where nothing was read yet, nobody knows how far behind it is.
    if (newest == kMinEventTime || live(source, newest) || related_[source].empty()) return;
    // Nor is one waited for whose events are late anyway.
    if (const auto it = behind_.find(id); it != behind_.end() && it->second.given_up) return;
    if (Moves(id, newest, now.monotonic_ns)) slowest[source] = std::min(slowest[source], newest);
  };
  std::vector<bool> own(known.size());
  for (const PartitionReading& one : reading) {
    if (one.id < own.size()) own[one.id] = true;
    if (one.backlog) consider(one.id, one.source, one.newest);
  }
  for (size_t i = 0; i < known.size(); ++i) {
    if (!own[i] && known[i].state == State::kActive && known[i].source < sources)
      consider(static_cast<PartitionId>(i), known[i].source, known[i].newest);
  }
  std::vector<PartitionId> held;
  std::vector<bool> now_held;
  for (const PartitionReading& one : reading) {
    const DurationNs ahead = config_.sources[one.source].backfill_ahead;
    if (!one.backlog || ahead == 0 || one.newest == kMinEventTime || live(one.source, one.newest) ||
        related_[one.source].empty())
      continue;
    EventTimeNs lowest = kMaxEventTime;
    for (size_t source = 0; source < sources; ++source) {
      if (related_[one.source][source]) lowest = std::min(lowest, slowest[source]);
    }
    const bool was = one.id < held_.size() && held_[one.id];
    // Let go at half of it, so that reading does not stop and start with every record.
    if (lowest == kMaxEventTime || one.newest <= AddTime(lowest, was ? ahead / 2 : ahead)) continue;
    held.push_back(one.id);
    if (now_held.size() <= one.id) now_held.resize(size_t{one.id} + 1);
    now_held[one.id] = true;
  }
  held_ = std::move(now_held);
  std::sort(held.begin(), held.end());
  return held;
}

}  // namespace bongsu
