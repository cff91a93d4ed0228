// ShardTask with exchange: kafka: shards that come and go, and have clocks of their own.
#include <algorithm>

#include "pipeline/owned_shard.h"
#include "pipeline/shard_task.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr char kClocksRow[] = "clocks";

}  // namespace

std::vector<PartitionClockOf> PartitionsOf(const Config& config, const PartitionTable& partitions) {
  std::vector<PartitionClockOf> known;
  for (size_t id = 0; id < partitions.size(); ++id) {
    if (!partitions.Knows(static_cast<PartitionId>(id))) continue;
    const PartitionInfo& info = partitions.Get(static_cast<PartitionId>(id));
    for (size_t source = 0; source < config.sources.size(); ++source) {
      const SourceConfig& one = config.sources[source];
      if (one.name != info.source ||
          std::find(one.topics.begin(), one.topics.end(), info.topic) == one.topics.end())
        continue;
      known.push_back({static_cast<PartitionId>(id), static_cast<uint16_t>(source)});
    }
  }
  return known;
}

absl::StatusOr<std::shared_ptr<ShardTask::Shard>> ShardTask::OpenShard(
    ShardId id, const std::vector<PartitionClockOf>& known) {
  BONGSU_ASSIGN_OR_RETURN(std::shared_ptr<Shard> shard, MakeShard(id));
  shard->clocks =
      std::make_unique<ShardClocks>(config_, plan_, options_.plan_version, store_.shards());
  for (const PartitionClockOf& one : known) shard->clocks->Know(one.partition, one.source);
  BONGSU_ASSIGN_OR_RETURN(shard->clocks_row,
                          shard->state->OpenValueMap(options_.clocks_id, kClocksRow));
  std::string row;
  bool found = false;
  BONGSU_RETURN_IF_ERROR(shard->clocks_row->Get(kClocksRow, &row, &found));
  if (found) BONGSU_RETURN_IF_ERROR(shard->clocks->Restore(row));
  shard->ports.resize(plan_.operators.size());
  for (size_t op = 0; op < plan_.operators.size(); ++op) {
    shard->clocks->Ports(op, &shard->ports[op]);
    shard->runners[op]->RestoreWatermark(shard->ports[op]);
    shard->clocks->Begin(op, options_.since[op]);
    BONGSU_RETURN_IF_ERROR(NoteMissed(*shard, op));
  }
  return shard;
}

absl::Status ShardTask::NoteMissed(Shard& shard, size_t op) {
  const EventTimeNs missed = shard.clocks->missed(op);
  return missed == kMinEventTime
             ? absl::OkStatus()
             : shard.runners[op]->Missed(AddTime(missed, plan_.operators[op].results_behind));
}

void ShardTask::Adopt(std::shared_ptr<Shard> shard) {
  auto& place = shards_[shard->id / static_cast<size_t>(options_.threads)];
  BONGSU_CHECK_MSG(place == nullptr, "a shard was adopted twice");
  place = std::move(shard);
}

void ShardTask::Drop(ShardId id) { shards_[id / static_cast<size_t>(options_.threads)] = nullptr; }

std::vector<EventTimeNs> ShardTask::SourceWatermarks() const {
  if (options_.results == nullptr) return watermarks_.sources();
  std::vector<EventTimeNs> lowest;
  for (const auto& shard : shards_) {
    if (shard == nullptr) continue;
    lowest.resize(config_.sources.size(), kMaxEventTime);
    for (size_t i = 0; i < lowest.size(); ++i)
      lowest[i] = std::min(lowest[i], shard->clocks->source(i));
  }
  return lowest;
}

TimeView ShardTask::Time() const {
  TimeView view;
  view.own = watermarks_.partitions();
  if (options_.results == nullptr) {
    view.known = view.own;
    view.alarms = watermarks_.alarms();
    view.keeps_alarms = true;
    return view;
  }
  for (const auto& shard : shards_) {
    if (shard == nullptr) continue;
    // They may be some bundles apart; the lowest keeps the alarms.
    view.known = shard->clocks->watermarks().partitions();
    view.alarms = shard->clocks->watermarks().alarms();
    view.keeps_alarms = shard->id == kAlarmsShard;
    break;
  }
  return view;
}

bool ShardTask::ended() const {
  for (const auto& shard : shards_) {
    if (shard != nullptr && !shard->clocks->ended()) return false;
  }
  return true;
}

absl::Status ShardTask::AdvanceShared(const ExchangeSlot& slot) {
  const auto mine = [&](ShardId id) -> Shard* {
    if (id % options_.threads != options_.thread) return nullptr;
    return shards_[id / static_cast<size_t>(options_.threads)].get();
  };
  for (const ShardClockNews& news : slot.clock_news) {
    if (Shard* shard = mine(news.shard); shard != nullptr)
      shard->clocks_moved |= shard->clocks->Apply(news.partition, news.clock.source, news.clock);
  }
  for (const ShardResultNews& news : slot.result_news) {
    if (Shard* shard = mine(news.shard); shard != nullptr)
      shard->clocks_moved |= shard->clocks->ApplyResult(news.op, news.from, news.watermark);
  }
  const std::vector<PartitionMark>& marks = slot.marks;
  if (std::any_of(marks.begin(), marks.end(), [](const auto& mark) { return mark.of_shards(); })) {
    for (auto& shard : shards_) {
      if (shard == nullptr) continue;
      shard->clocks_moved |= shard->clocks->ApplyMarks(marks, shard->id == kAlarmsShard);
      RaiseAlarms(shard->clocks->raised());
    }
  }
  std::vector<EventTimeNs> ports;
  for (auto& shard : shards_) {
    if (shard == nullptr || !shard->clocks_moved) continue;
    shard->clocks_moved = false;
    shard->clocks_changed = true;
    shard->clocks->Refresh();
    for (size_t op = 0; op < plan_.operators.size(); ++op) {
      BONGSU_RETURN_IF_ERROR(NoteMissed(*shard, op));
      shard->clocks->Ports(op, &ports);
      if (ports == shard->ports[op]) continue;
      shard->ports[op] = ports;
      BONGSU_RETURN_IF_ERROR(shard->runners[op]->AdvanceWatermark(ports));
    }
  }
  return absl::OkStatus();
}

absl::Status ShardTask::SealShared(EpochId epoch, bool freeze, EpochSeal* seal) {
  seal->epoch = epoch;
  seal->partitions = watermarks_.partitions();
  seal->port_watermarks.resize(plan_.operators.size());
  for (auto& shard : shards_) {
    if (shard == nullptr) continue;
    for (size_t op = 0; op < plan_.operators.size(); ++op) {
      if (plan_.operators[op].readers.empty()) continue;
      seal->results.push_back({shard->id, static_cast<uint16_t>(op), shard->id,
                               shard->runners[op]->result_watermark()});
    }
    if (!freeze) continue;
    if (shard->clocks_changed) {
      BONGSU_RETURN_IF_ERROR(shard->clocks_row->Put(kClocksRow, shard->clocks->Encode()));
      shard->clocks_changed = false;
    }
    shard->state->BeginFreeze(epoch);
    for (const uint16_t id : options_.operator_ids)
      seal->changes.push_back(shard->state->Freeze(id));
    seal->changes.push_back(shard->state->Freeze(options_.clocks_id));
  }
  return absl::OkStatus();
}

}  // namespace bongsu
