#include "pipeline/shard_clocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "state/byte_reader.h"
#include "state/check.h"
#include "state/key_encoding.h"

namespace bongsu {
namespace {

constexpr uint8_t kVersion = 3;  // 1: without alarms; 2: without plans
constexpr std::string_view kTextPrefix = "bongsu clock ";

EventTimeNs TimeFrom(ByteReader& reader) {
  const std::string_view bytes = reader.Take(8);
  return reader.ok() ? ReadTime(bytes) : 0;
}

}  // namespace

std::vector<DurationNs> OutOfOrderness(const Config& config) {
  std::vector<DurationNs> result;
  for (const SourceConfig& source : config.sources) result.push_back(source.out_of_orderness);
  return result;
}

ShardClocks::ShardClocks(const Config& config, const Plan& plan, uint64_t plan_version,
                         uint16_t shards)
    : config_(config),
      plan_(plan),
      plan_version_(plan_version),
      watermarks_(OutOfOrderness(config)),
      since_(plan.operators.size(), 0),
      missed_(plan.operators.size(), kMinEventTime) {
  results_.resize(plan.operators.size());
  for (size_t op = 0; op < plan.operators.size(); ++op) {
    if (!plan.operators[op].readers.empty()) results_[op].assign(shards, kMinEventTime);
  }
}

void ShardClocks::Know(PartitionId partition, uint16_t source) {
  watermarks_.AddPartition(partition, source);
}

bool ShardClocks::Apply(PartitionId partition, uint16_t source, const PartitionClock& clock) {
  const PartitionClock* known =
      partition < watermarks_.partitions().size() ? &watermarks_.partitions()[partition] : nullptr;
  PartitionClock next = clock;
  next.source = source;
  if (known != nullptr && known->state != PartitionClock::State::kUnknown) {
    next.newest = std::max(next.newest, known->newest);
    next.floor = std::max(next.floor, known->floor);
  }
  if (told_.size() <= partition) told_.resize(size_t{partition} + 1, 0);
  const uint64_t told = std::exchange(told_[partition], plan_version_);
  for (size_t op = 0; op < since_.size(); ++op) {
    if (since_[op] > told) Miss(op, source, next.newest);
    if (next.missed != kMaxEventTime) Miss(op, source, next.missed);
  }
  // Idle a moment ago, and not put into force yet: that it is active is news.
  const bool fell_idle = std::erase(falls_idle_, partition) > 0;
  if (known != nullptr && known->state != PartitionClock::State::kUnknown && !fell_idle) {
    if (told == plan_version_ && next.state == known->state && next.newest == known->newest &&
        next.floor == known->floor)
      return false;
  }
  watermarks_.Heard(source, next.newest);
  const bool was_idle = known != nullptr && known->state == PartitionClock::State::kIdle;
  if (next.state == PartitionClock::State::kIdle && !was_idle) {
    next.state = PartitionClock::State::kActive;
    falls_idle_.push_back(partition);
  }
  watermarks_.Restore(partition, next);
  return true;
}

void ShardClocks::Refresh() {
  watermarks_.Refresh();
  if (falls_idle_.empty()) return;
  for (const PartitionId partition : falls_idle_) {
    PartitionClock clock = watermarks_.partitions()[partition];
    clock.state = PartitionClock::State::kIdle;
    watermarks_.Restore(partition, clock);
  }
  falls_idle_.clear();
  watermarks_.Refresh();
}

bool ShardClocks::ApplyMarks(std::span<const PartitionMark> marks, bool alarms) {
  bool changed = false;
  std::vector<PartitionMark> meant;
  for (const PartitionMark& mark : marks) {
    if (!mark.of_shards() || (mark.kind != PartitionMark::Kind::kLagFloor && !alarms)) continue;
    // Decided a moment ago, for a shard that knew it: this one may just have been gained.
    const auto& known = watermarks_.partitions();
    if (mark.partition >= known.size() ||
        known[mark.partition].state == PartitionClock::State::kUnknown)
      continue;
    meant.push_back(mark);
    changed = true;
  }
  watermarks_.Apply({}, meant);
  return changed;
}

bool ShardClocks::ApplyResult(uint16_t op, ShardId from, EventTimeNs watermark) {
  if (op >= results_.size() || from >= results_[op].size()) return false;  // nobody reads it now
  EventTimeNs& known = results_[op][from];
  if (watermark <= known) return false;
  known = watermark;
  return true;
}

bool ShardClocks::Wake(PartitionId partition) {
  if (partition >= watermarks_.partitions().size()) return false;
  if (std::erase(falls_idle_, partition) > 0) return true;
  PartitionClock clock = watermarks_.partitions()[partition];
  if (clock.state != PartitionClock::State::kIdle) return false;
  clock.state = PartitionClock::State::kActive;
  watermarks_.Restore(partition, clock);
  return true;
}

EventTimeNs ShardClocks::ResultsOf(size_t op) const {
  return results_[op].empty() ? kMaxEventTime
                              : *std::min_element(results_[op].begin(), results_[op].end());
}

void ShardClocks::Ports(size_t op, std::vector<EventTimeNs>* ports) const {
  const OperatorPlan& plan = plan_.operators[op];
  ports->clear();
  for (size_t port = 0; port < plan.port_source.size(); ++port) {
    const auto from = static_cast<size_t>(plan.port_source[port]);
    ports->push_back(plan.port_from_operator[port] ? ResultsOf(from)
                                                   : watermarks_.source(static_cast<int>(from)));
  }
}

bool ShardClocks::ended() const {
  for (size_t source = 0; source < config_.sources.size(); ++source) {
    if (watermarks_.source(static_cast<int>(source)) != kMaxEventTime) return false;
  }
  for (size_t op = 0; op < results_.size(); ++op) {
    if (ResultsOf(op) != kMaxEventTime) return false;
  }
  return true;
}

// Sources and operators by name: their places in the configuration may change.
std::string ShardClocks::Encode() const {
  BONGSU_CHECK_MSG(falls_idle_.empty(), "clocks are encoded between Apply and Refresh");
  std::string row(1, static_cast<char>(kVersion));
  AppendVarint(config_.sources.size(), &row);
  for (size_t i = 0; i < config_.sources.size(); ++i) {
    AppendBytes(config_.sources[i].name, &row);
    AppendTime(watermarks_.source(static_cast<int>(i)), &row);
  }
  const auto& partitions = watermarks_.partitions();
  for (size_t id = 0; id < partitions.size(); ++id) {
    if (partitions[id].state == PartitionClock::State::kUnknown) continue;
    row.push_back(1);
    AppendVarint(id, &row);
    row.push_back(static_cast<char>(partitions[id].state));
    AppendTime(partitions[id].newest, &row);
    AppendTime(partitions[id].floor, &row);
    AppendVarint(id < told_.size() ? told_[id] : 0, &row);
  }
  for (size_t i = 0; i < config_.sources.size(); ++i) {
    if (watermarks_.alarms()[i] == 0) continue;
    row.push_back(3);
    AppendBytes(config_.sources[i].name, &row);
    row.push_back(static_cast<char>(watermarks_.alarms()[i]));
  }
  for (size_t op = 0; op < results_.size(); ++op) {
    if (results_[op].empty()) continue;
    row.push_back(2);
    AppendBytes(plan_.operators[op].spec->rule().name, &row);
    AppendBytes(plan_.operators[op].spec->semantic_hash(), &row);
    AppendVarint(results_[op].size(), &row);
    for (const EventTimeNs watermark : results_[op]) AppendTime(watermark, &row);
  }
  return row;
}

absl::Status ShardClocks::Restore(std::string_view row) {
  ByteReader reader(row);
  const uint8_t version = reader.U8();
  if (version > kVersion) {
    return absl::FailedPreconditionError(
        fmt::format("the shard's clocks were written by a newer bongsu (version {}): run that "
                    "version",
                    version));
  }
  const uint64_t sources = reader.Varint();
  for (uint64_t i = 0; i < sources && reader.ok(); ++i) {
    const std::string_view name = reader.Bytes();
    const EventTimeNs watermark = TimeFrom(reader);
    for (size_t source = 0; source < config_.sources.size(); ++source) {
      if (config_.sources[source].name == name) watermarks_.RestoreSource(source, watermark);
    }
  }
  while (reader.ok() && !reader.empty()) {
    const uint8_t kind = reader.U8();
    if (kind == 3) {
      const std::string_view name = reader.Bytes();
      const uint8_t bits = reader.U8();
      for (size_t source = 0; source < config_.sources.size(); ++source) {
        if (config_.sources[source].name == name) watermarks_.RestoreAlarms(source, bits);
      }
      continue;
    }
    if (kind == 1) {
      const auto id = static_cast<PartitionId>(reader.Varint());
      PartitionClock clock;
      clock.state = static_cast<PartitionClock::State>(reader.U8());
      clock.newest = TimeFrom(reader);
      clock.floor = TimeFrom(reader);
      const uint64_t told = version >= 3 ? reader.Varint() : 0;
      // One that is no longer read must not hold its source back.
      const auto& known = watermarks_.partitions();
      if (id >= known.size() || known[id].state == PartitionClock::State::kUnknown) continue;
      clock.source = known[id].source;
      if (told_.size() <= id) told_.resize(size_t{id} + 1, 0);
      told_[id] = told;
      // Its reader may have woken it and has told those of its own plan.
      if (told < plan_version_ && clock.state == PartitionClock::State::kIdle)
        clock.state = PartitionClock::State::kActive;
      watermarks_.Restore(id, clock);
      continue;
    }
    const std::string_view name = reader.Bytes();
    const std::string_view hash = reader.Bytes();
    const uint64_t count = reader.Varint();
    std::vector<EventTimeNs>* results = nullptr;
    for (size_t op = 0; op < results_.size(); ++op) {
      const OperatorSpec& spec = *plan_.operators[op].spec;
      if (spec.rule().name == name && spec.semantic_hash() == hash) results = &results_[op];
    }
    for (uint64_t from = 0; from < count && reader.ok(); ++from) {
      const EventTimeNs watermark = TimeFrom(reader);
      if (results != nullptr && from < results->size()) (*results)[from] = watermark;
    }
  }
  if (!reader.ok()) return absl::DataLossError("the shard's clocks do not parse");
  watermarks_.Refresh();
  return absl::OkStatus();
}

void ShardClocks::Begin(size_t op, uint64_t since) {
  since_[op] = since;
  const auto& partitions = watermarks_.partitions();
  for (size_t id = 0; id < told_.size(); ++id) {
    if (told_[id] < since) Miss(op, partitions[id].source, partitions[id].newest);
  }
}

std::string ClockText(const PartitionClock& clock, uint64_t plan_version) {
  return fmt::format("{}{} {} {} {} {}", kTextPrefix, static_cast<int>(clock.state), clock.newest,
                     clock.floor, plan_version, clock.missed);
}

bool ClockOfText(std::string_view text, PartitionClock* clock, uint64_t* plan_version) {
  if (text.substr(0, kTextPrefix.size()) != kTextPrefix) return false;
  const char* at = text.data() + kTextPrefix.size();
  const char* const end = text.data() + text.size();
  // What was written earlier has no plan, or nothing behind it.
  int64_t numbers[5] = {0, 0, 0, 0, kMinEventTime};
  for (int i = 0; i < 5 && (i < 3 || at != end); ++i) {
    if (i > 0) {
      if (at == end || *at != ' ') return false;
      ++at;
    }
    const auto [rest, error] = std::from_chars(at, end, numbers[i]);
    if (error != std::errc()) return false;
    at = rest;
  }
  if (at != end || numbers[0] < 0 || numbers[0] > static_cast<int>(PartitionClock::State::kEnded) ||
      numbers[3] < 0)
    return false;
  clock->state = static_cast<PartitionClock::State>(numbers[0]);
  clock->newest = numbers[1];
  clock->floor = numbers[2];
  clock->missed = numbers[4];
  *plan_version = static_cast<uint64_t>(numbers[3]);
  return true;
}

}  // namespace bongsu
