#include "pipeline/rehearsal.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>

#include "pipeline/batch.h"
#include "pipeline/decode_task.h"
#include "pipeline/event_time.h"
#include "pipeline/exchange.h"
#include "pipeline/io.h"
#include "pipeline/outputs.h"
#include "pipeline/shard_task.h"
#include "state/check.h"
#include "state/status_macros.h"
#include "state/store.h"

namespace bongsu {
namespace {

using Json = nlohmann::json;

constexpr size_t kStoreBytes = size_t{8} << 20;

std::string NewStorePath() {
  static std::atomic<int> number{0};
  return fmt::format("/rehearsal/{}", ++number);
}

std::string TextAt(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}

int64_t IntAt(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_number() ? it->get<int64_t>() : 0;
}

}  // namespace

class Rehearsal::FixedClock : public Clock {
 public:
  void Sleep(DurationNs) const override {}
  int64_t NowNs() const override { return now; }
  int64_t MonotonicNs() const override { return now; }
  int64_t now = 0;
};

// What a crash throws away, and what a restart finds.
struct Rehearsal::Running {
  PartitionTable partitions;
  NewestTimes newest;
  LiveCounters live;
  std::unique_ptr<DecodeTask> decode;
  std::string path;
  std::vector<bool> takes_part;
  EpochId epoch = 1;
  // As of the last checkpoint.
  std::vector<PartitionClock> clocks;
  std::vector<std::vector<EventTimeNs>> port_watermarks;
  // Gone with a crash.
  std::unique_ptr<Store> store;
  std::unique_ptr<Exchange> exchange;
  std::unique_ptr<ShardTask> shards;
  uint64_t number = 0;
};

void PrepareForRehearsal(Config* config) {
  config->alerts.format = AlertFormat::kNative;
  config->alerts.fields.clear();
}

int FindRuleEntry(const Config& config, std::string_view text) {
  int entry = config.rules->Find(text);
  for (size_t i = 0; entry < 0 && i < config.rules->entries.size(); ++i) {
    if (config.rules->entries[i].rule.metadata.title == text) entry = static_cast<int>(i);
  }
  return entry;
}

Rehearsal::Rehearsal(const Config& config)
    : config_(config), plan_(MakePlan(config)), clock_(std::make_unique<FixedClock>()) {
  running_ = std::make_unique<Running>();
  for (size_t i = 0; i < config.sources.size(); ++i) {
    PartitionInfo info;
    info.id = static_cast<PartitionId>(i);
    info.source = config.sources[i].name;
    info.source_index = static_cast<uint16_t>(i);
    info.path = config.sources[i].name;
    info.identity = info.source + '\0' + info.path;
    running_->partitions.Restore(std::move(info));
  }
  running_->decode =
      std::make_unique<DecodeTask>(config_, plan_, running_->partitions, *clock_, /*hash_seed=*/1,
                                   /*shards=*/uint16_t{1}, running_->newest);
}

Rehearsal::~Rehearsal() = default;

absl::Status Rehearsal::OpenState() {
  Running& run = *running_;
  run.shards.reset();
  run.store.reset();
  StoreOptions options;
  options.path = run.path;
  options.application = "rehearsal";
  options.shards = 1;
  options.in_memory = true;
  options.memory_bytes = kStoreBytes;
  options.hash_seed = 1;
  auto opened = Store::Open(options);
  if (!opened.ok()) return opened.status();
  run.store = *std::move(opened);
  ShardTaskOptions task;
  task.all_incidents = true;
  task.memory_bytes = kStoreBytes;
  for (const OperatorPlan& op : plan_.operators) {
    uint64_t reset = 0;
    auto id = run.store->OperatorId(op.spec->rule().name, op.spec->semantic_hash(), &reset);
    if (!id.ok()) return id.status();
    task.operator_ids.push_back(*id);
  }
  run.exchange = std::make_unique<Exchange>(plan_.levels, /*threads=*/1);
  run.number = 0;
  run.shards = std::make_unique<ShardTask>(config_, plan_, run.partitions, *clock_, *run.store,
                                           *run.exchange, std::move(task));
  return run.shards->Open();
}

absl::Status Rehearsal::Begin(int64_t now_ns, const std::vector<bool>& takes_part) {
  BONGSU_CHECK(takes_part.size() == config_.sources.size());
  clock_->now = now_ns;
  Running& run = *running_;
  run.path = NewStorePath();
  run.takes_part = takes_part;
  run.epoch = 1;
  std::vector<size_t> ports;
  for (const OperatorPlan& op : plan_.operators) ports.push_back(op.port_source.size());
  counters_ = RunCounters(config_.sources.size(), ports,
                          config_.rules != nullptr ? config_.rules->entries.size() : 0);
  committed_ = now_ = Outputs{};
  inputs_.clear();
  newest_ = newest_committed_ = kMinEventTime;
  BONGSU_RETURN_IF_ERROR(OpenState());
  Batch batch;
  for (size_t i = 0; i < config_.sources.size(); ++i) {
    const auto id = static_cast<PartitionId>(i);
    run.shards->watermarks().AddPartition(id, static_cast<uint16_t>(i));
    if (!takes_part[i]) batch.marks.push_back({PartitionMark::Kind::kEnded, id, 0});
  }
  BONGSU_RETURN_IF_ERROR(Apply(batch));
  return Checkpoint();
}

absl::Status Rehearsal::Feed(std::span<const RehearsedRecord> records) {
  BONGSU_CHECK(records.size() <= kBatchRecordsMax);
  Batch batch;
  for (const RehearsedRecord& one : records) {
    Record& record = batch.records.emplace_back();
    record.bytes = one.bytes;
    record.partition = one.source;
    record.offset = one.offset;
  }
  return Apply(batch);
}

absl::Status Rehearsal::End() {
  Batch batch;
  for (size_t i = 0; i < config_.sources.size(); ++i) {
    if (running_->takes_part[i])
      batch.marks.push_back({PartitionMark::Kind::kEnded, static_cast<PartitionId>(i), 0});
  }
  newest_ = kMaxEventTime;
  return Apply(batch);
}

absl::Status Rehearsal::Checkpoint() {
  Batch batch;
  batch.epoch_end = batch.freeze = true;
  BONGSU_RETURN_IF_ERROR(Apply(batch));
  committed_ = now_;
  newest_committed_ = newest_;
  return absl::OkStatus();
}

absl::Status Rehearsal::Crash() {
  Running& run = *running_;
  now_ = committed_;
  newest_ = newest_committed_;
  BONGSU_RETURN_IF_ERROR(OpenState());
  run.shards->Restore(run.clocks, run.port_watermarks);
  for (size_t i = 0; i < config_.sources.size(); ++i)
    run.shards->watermarks().AddPartition(static_cast<PartitionId>(i), static_cast<uint16_t>(i));
  return absl::OkStatus();
}

// One batch through all levels, as a worker of the engine does it.
absl::Status Rehearsal::Apply(Batch& batch) {
  Running& run = *running_;
  batch.number = ++run.number;
  batch.epoch = run.epoch;
  ExchangeSlot& first = run.exchange->slot(0, batch.number);
  first.epoch = batch.epoch;
  first.epoch_end = batch.epoch_end;
  first.freeze = batch.freeze;
  OutputChunk outputs;
  first.Clear();
  SlotInputs inputs(first, 0);
  run.decode->Run(batch, inputs, first, outputs, counters_, run.live);
  first.Complete(batch.number);
  const EventTimeNs before = newest_;
  for (const PartitionTime& time : first.times) newest_ = std::max(newest_, time.newest);
  for (int level = 0; level < plan_.levels; ++level) {
    for (const RoutedInput& routed : run.exchange->slot(level, batch.number).block(0, 0).inputs) {
      RehearsedInput& input = inputs_.emplace_back();
      input.op = routed.op;
      input.port = routed.input.port;
      input.key = std::string(routed.input.key);
      input.payload = std::string(routed.input.payload);
      input.time = routed.input.time;
      const bool none = routed.input.seq == kNoRecord;
      input.source = none ? 0 : SeqPartition(routed.input.seq);
      input.offset = none ? -1 : SeqOffset(routed.input.seq);
      input.arrived = before;
    }
    EpochSeal seal;
    BONGSU_RETURN_IF_ERROR(run.shards->Apply(level, batch.number, outputs, run.live, &seal));
    if (level + 1 < plan_.levels)
      run.exchange->slot(level + 1, batch.number).Complete(batch.number);
    if (seal.epoch == 0) continue;
    run.clocks = seal.partitions;
    run.port_watermarks = seal.port_watermarks;
    bongsu::Checkpoint checkpoint;
    checkpoint.meta.epoch = seal.epoch;
    checkpoint.changes = std::move(seal.changes);
    BONGSU_RETURN_IF_ERROR(run.store->Commit(std::move(checkpoint)));
    run.shards->OnPersisted(seal.epoch);
    ++run.epoch;
  }
  Take(outputs);
  return absl::OkStatus();
}

void Rehearsal::Take(const OutputChunk& chunk) {
  size_t at = 0;
  for (const OutputChunk::Entry& entry : chunk.entries) {
    at += entry.key_bytes;
    const std::string_view value = std::string_view(chunk.bytes).substr(at, entry.value_bytes);
    at += entry.value_bytes;
    if (entry.stream == Stream::kAlerts) {
      TakeAlert(value);
    } else {
      TakeReject(value, entry.stream == Stream::kLate);
    }
  }
}

void Rehearsal::TakeAlert(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  BONGSU_CHECK_MSG(json.is_object(), "an alert is no JSON");
  const std::string id = TextAt(json, "id");
  const auto [it, added] = now_.incidents.try_emplace(id);
  RehearsedIncident& incident = it->second;
  if (added) incident.created_at = newest_;
  const std::string activity = TextAt(json, "activity");
  incident.id = id;
  incident.creates += activity == "create" ? 1 : 0;
  incident.updates += activity == "update" ? 1 : 0;
  incident.closed = activity == "close";
  incident.rule = TextAt(json, "rule");
  incident.key = TextAt(json, "key");
  incident.events = static_cast<uint64_t>(IntAt(json, "count"));
  incident.evidence_dropped = static_cast<uint64_t>(IntAt(json, "evidence_dropped"));
  incident.first_time = ParseRfc3339(TextAt(json, "first_time")).value_or(0);
  incident.last_time = ParseRfc3339(TextAt(json, "last_time")).value_or(0);
  incident.evidence.clear();
  if (const auto evidence = json.find("evidence"); evidence != json.end()) {
    for (const Json& one : *evidence)
      incident.evidence.emplace_back(SourceIndex(TextAt(one, "source")), IntAt(one, "offset"));
  }
}

void Rehearsal::TakeReject(std::string_view text, bool late) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  BONGSU_CHECK_MSG(json.is_object(), "a rejected record is no JSON");
  RehearsedReject& reject = now_.rejects.emplace_back();
  reject.reason = TextAt(json, "reason");
  reject.op = TextAt(json, "operator");
  reject.key = TextAt(json, "key");
  reject.source = SourceIndex(TextAt(json, "source"));
  reject.offset = IntAt(json, "offset");
  if (late)
    reject.behind =
        IntAt(json, reject.reason == "future" ? "ahead_ms" : "behind_ms") * kMillisecondNs;
}

uint16_t Rehearsal::SourceIndex(const std::string& name) const {
  for (size_t i = 0; i < config_.sources.size(); ++i) {
    if (config_.sources[i].name == name) return static_cast<uint16_t>(i);
  }
  return 0;
}

std::vector<RehearsedIncident> Rehearsal::incidents() const {
  std::vector<RehearsedIncident> all;
  for (const auto& [id, incident] : now_.incidents) {
    if (!incident.closed) all.push_back(incident);
  }
  return all;
}

std::vector<RehearsedReject> Rehearsal::rejects() const { return now_.rejects; }

const RunCounters& Rehearsal::operator_counters() const { return running_->shards->counters(); }

}  // namespace bongsu
