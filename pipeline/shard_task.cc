#include "pipeline/shard_task.h"

#include <algorithm>
#include <tuple>

#include "pipeline/late_fields.h"
#include "pipeline/logging.h"
#include "pipeline/owned_shard.h"
#include "pipeline/result_rows.h"
#include "pipeline/source_alarm.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu {

// Where all runners of the thread write: into the chunk of the batch that is being applied.
class ShardTask::Output : public OperatorOutput, public PartitionNames {
 public:
  Output(ShardTask& task, const Config& config, const PartitionTable& partitions,
         const Clock& clock)
      : task_(task),
        config_(config),
        partitions_(partitions),
        clock_(clock),
        writer_(MakeAlertWriter(config, partitions, clock)),
        alert_bytes_max_(OutputBytesMax(config, config.alerts)),
        late_fields_bytes_max_(OutputBytesMax(config, config.late) - kLateRestBytesMax) {
    for (size_t i = 0; i < config.operators.size(); ++i) index_[config.operators[i].get()] = i;
  }
  void Begin(OutputChunk* chunk, LiveCounters* live) {
    chunk_ = chunk;
    live_ = live;
  }

  void Alert(const OperatorSpec& spec, const Incident& incident) override {
    OperatorCounters& counted = Counters(spec);
    ++(incident.activity == Activity::kCreate ? counted.created : counted.updated);
    counted.last_fired = std::max(counted.last_fired, incident.last_time);
    if (!spec.emits_alerts() && !task_.options_.all_incidents) return;
    scratch_.clear();
    if (WriteAlert(*writer_, spec, incident, alert_bytes_max_, &scratch_))
      ++counted.named["alerts_cut"];
    chunk_->Add(Stream::kAlerts, IncidentIdText(incident.id), scratch_);
    live_->alerts.fetch_add(1, std::memory_order_relaxed);
    Added();
  }
  void Forward(const OperatorSpec& spec, const Incident& incident, EventTimeNs time,
               ResultKind kind) override {
    ++Counters(spec).forwarded;
    task_.Forward(index_.at(&spec), incident, time, kind);
    Added();
  }
  bool HasReaders(const OperatorSpec& spec) const override {
    return !task_.plan_.operators[index_.at(&spec)].readers.empty();
  }
  bool HasFollowers(const OperatorSpec& spec) const override {
    const std::vector<Feed>& readers = task_.plan_.operators[index_.at(&spec)].readers;
    return std::any_of(readers.begin(), readers.end(), [&](const Feed& reader) {
      return task_.plan_.operators[reader.op].spec->follows_incidents();
    });
  }
  void Late(const OperatorSpec& spec, const Input& input, DurationNs behind) override {
    ++Counters(spec).late;
    const PartitionInfo& partition = partitions_.Get(SeqPartition(input.seq));
    ++task_.counters_.sources[partition.source_index].late;
    LateRecord late;
    late.reason = "late";
    late.op = spec.rule().name;
    late.key = input.key;
    late.time = input.time;
    late.behind = behind;
    late.watermark = behind == kMaxEventTime ? behind : AddTime(input.time, behind);
    scratch_.clear();
    WriteLate(partition, SeqOffset(input.seq), late, "",
              LateFields(spec, input, late_fields_bytes_max_), &scratch_);
    chunk_->Add(Stream::kLate, partition.source, scratch_);
    live_->late.fetch_add(1, std::memory_order_relaxed);
    Added();
  }
  void Alarm(const RaisedAlarm& raised) {
    const SourceConfig& source = config_.sources[raised.source];
    SourceCounters& counted = task_.counters_.sources[raised.source];
    ++(raised.alarm == SourceAlarm::kSilent ? counted.fell_silent : counted.lagged);
    auto& spec = alarms_[{raised.source, raised.alarm}];
    if (spec == nullptr) spec = std::make_unique<SourceAlarmSpec>(raised.alarm, source);
    const Incident incident = spec->MakeIncident(raised.time);
    scratch_.clear();
    writer_->Write(*spec, incident, &scratch_);
    chunk_->Add(Stream::kAlerts, IncidentIdText(incident.id), scratch_);
    live_->alerts.fetch_add(1, std::memory_order_relaxed);
    LogWarning(spec->Why(incident));
  }
  void Count(const OperatorSpec& spec, const char* name, uint64_t n) override {
    Counters(spec).named[name] += n;
  }
  std::string_view Origin(PartitionId partition) const override {
    return partitions_.Get(partition).identity;
  }

 private:
  void Added() {
    if (++added_ % kOutputsOfChunk == 0) task_.options_.hand_over(*chunk_);
  }
  OperatorCounters& Counters(const OperatorSpec& spec) {
    return task_.counters_.operators[index_.at(&spec)];
  }
  ShardTask& task_;
  const Config& config_;
  const PartitionTable& partitions_;
  const Clock& clock_;
  std::unique_ptr<AlertWriter> writer_;
  const size_t alert_bytes_max_;
  const size_t late_fields_bytes_max_;
  absl::flat_hash_map<const OperatorSpec*, size_t> index_;
  std::map<std::pair<uint16_t, SourceAlarm>, std::unique_ptr<SourceAlarmSpec>> alarms_;
  OutputChunk* chunk_ = nullptr;
  uint32_t added_ = 0;
  LiveCounters* live_ = nullptr;
  std::string scratch_;
};

namespace {

std::vector<size_t> Ports(const Config& config) {
  std::vector<size_t> result;
  for (const auto& spec : config.operators) result.push_back(spec->inputs().size());
  return result;
}

}  // namespace

ShardTask::ShardTask(const Config& config, const Plan& plan, const PartitionTable& partitions,
                     const Clock& clock, Store& store, Exchange& exchange, ShardTaskOptions options)
    : config_(config),
      plan_(plan),
      store_(store),
      exchange_(exchange),
      options_(std::move(options)),
      watermarks_(OutOfOrderness(config)),
      counters_(config.sources.size(), Ports(config)),
      output_(std::make_unique<Output>(*this, config, partitions, clock)) {
  const size_t own = (store.shards() - static_cast<size_t>(options_.thread) +
                      static_cast<size_t>(options_.threads) - 1) /
                     static_cast<size_t>(options_.threads);
  inputs_.resize(own * plan.operators.size());
  if (options_.results != nullptr) shards_.resize(own);
  for (const OperatorPlan& op : plan.operators) {
    ports_.emplace_back(op.port_source.size(), kMinEventTime);
    ResultRouters& routers = result_routers_.emplace_back();
    routers.all = RoutersOf(op, /*followers_only=*/false);
    routers.followers = RoutersOf(op, /*followers_only=*/true);
  }
}

// To the operators that read results of `op`, for each level that has any.
std::vector<ShardTask::LevelRouter> ShardTask::RoutersOf(const OperatorPlan& op,
                                                         bool followers_only) const {
  std::vector<LevelRouter> routers;
  for (int level = op.level + 1; level < plan_.levels; ++level) {
    auto feeds = std::make_unique<std::vector<Feed>>();
    for (const Feed& feed : op.readers) {
      const OperatorPlan& reader = plan_.operators[feed.op];
      if (reader.level == level && (!followers_only || reader.spec->follows_incidents()))
        feeds->push_back(feed);
    }
    if (feeds->empty()) continue;
    Router router(*feeds, store_.hash_seed(), store_.shards());
    routers.push_back({level, std::move(feeds), std::move(router)});
  }
  return routers;
}

ShardTask::~ShardTask() = default;

OperatorRunner& ShardTask::Runner(size_t shard, size_t op) { return *shards_[shard]->runners[op]; }

absl::StatusOr<std::shared_ptr<ShardTask::Shard>> ShardTask::MakeShard(ShardId id) {
  auto shard = std::make_shared<Shard>();
  shard->id = id;
  shard->state = MakeShardState(store_, id);
  for (size_t op = 0; op < plan_.operators.size(); ++op) {
    const OperatorPlan& operator_plan = plan_.operators[op];
    shard->runners.push_back(std::make_unique<OperatorRunner>(
        *operator_plan.spec, *shard->state, options_.operator_ids[op],
        operator_plan.allowed_lateness, *output_, *output_));
    BONGSU_RETURN_IF_ERROR(shard->runners.back()->Open());
  }
  return shard;
}

absl::Status ShardTask::Open() {
  for (int id = options_.thread; id < store_.shards(); id += options_.threads) {
    BONGSU_ASSIGN_OR_RETURN(std::shared_ptr<Shard> shard, MakeShard(static_cast<ShardId>(id)));
    shards_.push_back(std::move(shard));
  }
  source_watermarks_.resize(kBatchesInFlight);
  return absl::OkStatus();
}

void ShardTask::Restore(const std::vector<PartitionClock>& partitions,
                        const std::vector<std::vector<EventTimeNs>>& port_watermarks) {
  for (size_t id = 0; id < partitions.size(); ++id) {
    if (partitions[id].state == PartitionClock::State::kUnknown) continue;
    watermarks_.Restore(static_cast<PartitionId>(id), partitions[id]);
  }
  watermarks_.Refresh();
  for (size_t op = 0; op < port_watermarks.size() && op < ports_.size(); ++op) {
    if (port_watermarks[op].size() != ports_[op].size()) continue;  // another rule under this name
    ports_[op] = port_watermarks[op];
    for (auto& shard : shards_) shard->runners[op]->RestoreWatermark(ports_[op]);
  }
}

absl::Status ShardTask::Missed(size_t op, EventTimeNs newest) {
  for (auto& shard : shards_) BONGSU_RETURN_IF_ERROR(shard->runners[op]->Missed(newest));
  return absl::OkStatus();
}

absl::Status ShardTask::NoteBegun(int level, uint64_t number) {
  auto& begun = begun_[number % kBatchesInFlight];
  if (level == 0) {
    begun.clear();
    for (const PartitionId partition : watermarks_.begun()) {
      const PartitionClock& clock = watermarks_.partitions()[partition];
      begun.emplace_back(clock.source, clock.missed);
    }
  }
  for (const auto& [source, missed] : begun) {
    for (size_t op = 0; op < plan_.operators.size(); ++op) {
      if (plan_.operators[op].level == level && plan_.operators[op].fed_by[source])
        BONGSU_RETURN_IF_ERROR(Missed(op, missed));
    }
  }
  return absl::OkStatus();
}

absl::Status ShardTask::Apply(int level, uint64_t number, OutputChunk& outputs, LiveCounters& live,
                              EpochSeal* seal) {
  output_->Begin(&outputs, &live);
  // Barriers and marks are carried by level 0's slot, which stays until all levels are done with
  // it.
  const ExchangeSlot& batch = exchange_.slot(0, number);
  const bool highest = level + 1 == exchange_.levels();
  forward_number_ = number;
  for (int above = 1; level == 0 && above < exchange_.levels(); ++above) {
    ExchangeSlot& next = exchange_.slot(above, number);
    for (int reader = 0; reader < next.readers(); ++reader)
      next.block(options_.thread, reader).Clear();
  }
  BONGSU_RETURN_IF_ERROR(Inputs(level, number));
  if (level == 0) {
    watermarks_.Apply(batch.times, batch.marks,
                      options_.results == nullptr ? MarkSide::kAll : MarkSide::kSource);
    if (options_.results == nullptr)
      source_watermarks_[number % kBatchesInFlight] = watermarks_.sources();
    // All threads know of an alarm; one of them says it.
    if (options_.thread == 0) RaiseAlarms(watermarks_.raised());
  }
  if (options_.results == nullptr) BONGSU_RETURN_IF_ERROR(NoteBegun(level, number));
  BONGSU_RETURN_IF_ERROR(options_.results != nullptr ? AdvanceShared(batch)
                                                     : Advance(level, number));
  seal->epoch = 0;
  if (batch.epoch_end && options_.results != nullptr)
    return SealShared(batch.epoch, batch.freeze, seal);
  if (batch.epoch_end) {
    EpochSeal& own = seals_[number];
    for (size_t op = 0; op < plan_.operators.size(); ++op) {
      if (plan_.operators[op].level != level || !batch.freeze) continue;
      for (auto& shard : shards_) {
        shard->state->BeginFreeze(batch.epoch);
        own.changes.push_back(shard->state->Freeze(options_.operator_ids[op]));
      }
    }
    if (level == 0) own.partitions = watermarks_.partitions();
    if (level == 0) own.alarms = watermarks_.alarms();
    own.port_watermarks.resize(ports_.size());
    for (size_t op = 0; op < ports_.size(); ++op) {
      if (plan_.operators[op].level == level) own.port_watermarks[op] = ports_[op];
    }
    if (highest) {
      own.epoch = batch.epoch;
      *seal = std::move(own);
      seals_.erase(number);
    }
  }
  return absl::OkStatus();
}

void ShardTask::RaiseAlarms(const std::vector<RaisedAlarm>& raised) {
  for (const RaisedAlarm& one : raised) output_->Alarm(one);
}

absl::Status ShardTask::Inputs(int level, uint64_t number) {
  const size_t operators = plan_.operators.size();
  const auto take = [&](const RoutedInput& routed) {
    const size_t local = routed.shard / static_cast<size_t>(options_.threads);
    const size_t index = local * operators + routed.op;
    Shard& shard = *shards_[local];
    if (shard.clocks != nullptr &&
        !plan_.operators[routed.op].port_from_operator[routed.input.port])
      shard.clocks_moved |= shard.clocks->Wake(SeqPartition(routed.input.seq));
    if (inputs_[index].empty()) filled_.push_back(index);
    inputs_[index].push_back(routed.input);
  };
  // What the source has for operators above waits for its batch's turn there. An operator that took
  // it before would hold, at the end of an epoch, what belongs to the next, and call other events
  // late than another run.
  auto& waiting = waiting_[number % kBatchesInFlight];
  if (level == 0) waiting.resize(static_cast<size_t>(exchange_.levels()));
  ExchangeSlot& slot = exchange_.slot(level, number);
  for (int writer = 0; writer < slot.writers(); ++writer) {
    for (const RoutedInput& routed : slot.block(writer, options_.thread).inputs) {
      const int of = plan_.operators[routed.op].level;
      if (of > level && exchange_.levels() > 1)
        waiting[static_cast<size_t>(of)].push_back(routed);
      else
        take(routed);
    }
  }
  if (level > 0) {
    auto& own = waiting[static_cast<size_t>(level)];
    for (const RoutedInput& routed : own) take(routed);
    own.clear();
  }
  absl::Status status;
  for (size_t index : filled_) {
    std::vector<Input>& inputs = inputs_[index];
    if (level > 0) {
      // Results reach us from several threads: one order, whatever their number.
      std::sort(inputs.begin(), inputs.end(), [](const Input& a, const Input& b) {
        return std::tie(a.time, a.seq, a.port, a.key, a.payload) <
               std::tie(b.time, b.seq, b.port, b.key, b.payload);
      });
    }
    if (status.ok()) {
      status = cost_.Run(&counters_.operators[index % operators].cpu_ns, [&] {
        return Runner(index / operators, index % operators).Process(inputs);
      });
    }
    inputs.clear();
  }
  filled_.clear();
  return status;
}

absl::Status ShardTask::Advance(int level, uint64_t number) {
  ExchangeSlot* next =
      level + 1 < exchange_.levels() ? &exchange_.slot(level + 1, number) : nullptr;
  if (next != nullptr && level == 0)
    next->result_watermarks(options_.thread).assign(plan_.operators.size(), kMaxEventTime);
  if (next != nullptr && level > 0) {
    // Results of lower levels may be read at any higher one: their watermarks travel along.
    next->result_watermarks(options_.thread) =
        exchange_.slot(level, number).result_watermarks(options_.thread);
  }
  for (size_t op = 0; op < plan_.operators.size(); ++op) {
    const OperatorPlan& operator_plan = plan_.operators[op];
    if (operator_plan.level != level) continue;
    std::vector<EventTimeNs>& ports = ports_[op];
    bool moved = false;
    for (size_t port = 0; port < ports.size(); ++port) {
      const auto from = static_cast<size_t>(operator_plan.port_source[port]);
      EventTimeNs now = kMaxEventTime;
      if (operator_plan.port_from_operator[port]) {
        ExchangeSlot& slot = exchange_.slot(level, number);
        for (int writer = 0; writer < slot.writers(); ++writer) {
          now = std::min(now, slot.result_watermarks(writer)[from]);
        }
      } else {
        now = source_watermarks_[number % kBatchesInFlight][from];
      }
      if (now > ports[port]) {
        ports[port] = now;
        moved = true;
      }
    }
    for (auto& shard : shards_) {
      OperatorRunner& runner = *shard->runners[op];
      if (moved) {
        BONGSU_RETURN_IF_ERROR(cost_.Run(&counters_.operators[op].cpu_ns,
                                         [&] { return runner.AdvanceWatermark(ports); }));
      }
      if (next != nullptr) {
        EventTimeNs& lowest = next->result_watermarks(options_.thread)[op];
        lowest = std::min(lowest, runner.result_watermark());
      }
    }
  }
  return absl::OkStatus();
}

// A result becomes an event of the next level: its fields are those of its events
// (pipeline/result_rows.h); then "rule", "level" and "key" (the order of Config::result_fields).
void ShardTask::Forward(size_t op, const Incident& incident, EventTimeNs time, ResultKind kind) {
  const OperatorPlan& operator_plan = plan_.operators[op];
  const OperatorSpec& spec = *operator_plan.spec;
  const FieldTable& fields = operator_plan.result_fields;
  ResultRows rows(spec, incident, fields);
  const std::string key = KeyText(incident.key);
  rows.SetAll(fields.Find("rule"), spec.rule().name);
  rows.SetAll(fields.Find("level"), spec.rule().level);
  rows.SetAll(fields.Find("key"), key);
  Event event;
  event.fields = rows.row(0);
  event.time = time;
  event.has_time = true;
  // Its first event's place in its source names the result: that is stable, and with the time
  // unique for an operator and key.
  event.seq = incident.evidence.empty() ? kNoRecord : incident.evidence.front().seq;
  // Readers of one operator may stand on several levels; nobody reads those slots before this
  // thread has completed them.
  ResultRouters& routers = result_routers_[op];
  for (LevelRouter& reader : kind == ResultKind::kBegun ? routers.all : routers.followers) {
    const auto route = [&](InputSink& to) {
      if (rows.size() == 1)
        reader.router.Route(event, {}, to, counters_);
      else
        reader.router.RouteRows(event, rows, to, counters_);
    };
    if (options_.results != nullptr) {
      route(*options_.results);
      continue;
    }
    SlotInputs inputs(exchange_.slot(reader.level, forward_number_), options_.thread);
    route(inputs);
  }
}

void ShardTask::OnPersisted(EpochId epoch) {
  const auto gone = static_cast<size_t>(std::count(shards_.begin(), shards_.end(), nullptr));
  const size_t share = options_.memory_bytes / std::max<size_t>(shards_.size() - gone, 1);
  for (auto& shard : shards_) {
    if (shard == nullptr) continue;
    shard->state->OnPersisted(epoch);
    if (shard->state->memory_bytes() > share) shard->state->EvictTo(share);
  }
}

size_t ShardTask::dirty_bytes() const {
  size_t bytes = 0;
  for (const auto& shard : shards_) {
    if (shard != nullptr) bytes += shard->state->dirty_bytes();
  }
  return bytes;
}

size_t ShardTask::memory_bytes() const {
  size_t bytes = 0;
  for (const auto& shard : shards_) {
    if (shard != nullptr) bytes += shard->state->memory_bytes();
  }
  return bytes;
}

ShardState::Counters ShardTask::state_counters() const {
  ShardState::Counters sum;
  for (const auto& shard : shards_) {
    if (shard == nullptr) continue;
    const ShardState::Counters one = shard->state->counters();
    sum.entries_put += one.entries_put;
    sum.entries_expired_unwritten += one.entries_expired_unwritten;
    sum.entries_frozen += one.entries_frozen;
    sum.disk_seeks += one.disk_seeks;
    sum.segments_evicted += one.segments_evicted;
  }
  return sum;
}

}  // namespace bongsu
