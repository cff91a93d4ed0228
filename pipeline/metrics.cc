#include "pipeline/metrics.h"

#include <fmt/format.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <sstream>

#include "pipeline/source_alarm.h"

namespace bongsu {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

double Seconds(int64_t ns) { return static_cast<double>(ns) / 1e9; }

// The families in the order in which they are written. One without a value is written, too: a look
// at any instance shows all names.
class Families {
 public:
  // Begins a family; Set adds to the newest one.
  void Counter(const char* name, const char* help) { Add(name, help, MetricType::Counter); }
  void Gauge(const char* name, const char* help) { Add(name, help, MetricType::Gauge); }

  template <typename Number>
  void Set(Labels labels, Number value) {
    MetricFamily& family = families_.back();
    ClientMetric& metric = family.metric.emplace_back();
    metric.label = std::move(labels);
    if (family.type == MetricType::Counter)
      metric.counter.value = static_cast<double>(value);
    else
      metric.gauge.value = static_cast<double>(value);
  }

  void Histogram(const char* name, const char* help, const TimeHistogram::Counts& counts) {
    Add(name, help, MetricType::Histogram);
    ClientMetric metric;
    uint64_t so_far = 0;
    for (size_t i = 0; i < TimeHistogram::kBoundsSeconds.size(); ++i) {
      so_far += counts.buckets[i];
      metric.histogram.bucket.push_back({so_far, TimeHistogram::kBoundsSeconds[i]});
    }
    metric.histogram.sample_count = so_far + counts.buckets.back();
    metric.histogram.sample_sum = counts.seconds;
    families_.back().metric.push_back(std::move(metric));
  }

  std::string Text() const {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, families_);
    return out.str();
  }

 private:
  void Add(const char* name, const char* help, MetricType type) {
    families_.push_back({name, help, type, {}});
  }
  std::vector<MetricFamily> families_;
};

void ProcessFamilies(Families* all) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  all->Counter("process_cpu_seconds_total", "User and system CPU time of all threads.");
  all->Set({}, seconds(usage.ru_utime) + seconds(usage.ru_stime));
  all->Gauge("process_resident_memory_bytes", "Resident memory of the process.");
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return;
  long size = 0;
  long pages = 0;
  if (std::fscanf(file, "%ld %ld", &size, &pages) == 2)
    all->Set({}, int64_t{pages} * sysconf(_SC_PAGESIZE));
  std::fclose(file);
}

void ServiceFamilies(Phase phase, const RestoreStatus& restore, Families* all) {
  all->Gauge("bongsu_phase", "1 for what the service is doing now, 0 for everything else.");
  for (size_t i = 0; i < kPhases; ++i) {
    const auto one = static_cast<Phase>(i);
    all->Set({{"phase", std::string(PhaseName(one))}}, one == phase ? 1 : 0);
  }
  all->Gauge("bongsu_restore_shards", "Shards of the newest restore from the changelog.");
  all->Set({}, restore.shards);
  all->Gauge("bongsu_restore_shards_done", "Those of them that are restored.");
  all->Set({}, restore.shards_done);
  all->Gauge("bongsu_restore_rows", "Rows that the newest restore has written.");
  all->Set({}, restore.rows);
  all->Gauge("bongsu_restore_bytes", "Bytes of the changelog that the newest restore has read.");
  all->Set({}, restore.bytes);
  all->Gauge("bongsu_restore_offsets_left", "Offsets left of the shard that is being restored.");
  all->Set({}, restore.offsets_left);
}

// One counter of all sources.
template <typename Get>
void PerSource(const MetricsSnapshot& snapshot, Families* all, Get get) {
  const auto& counters = snapshot.engine.totals.counters.sources;
  for (size_t i = 0; i < counters.size(); ++i)
    all->Set({{"source", snapshot.config->sources[i].name}}, get(counters[i]));
}

void SourceCounts(const MetricsSnapshot& snapshot, Families* all) {
  all->Counter("bongsu_source_records_total", "Records read.");
  PerSource(snapshot, all, [](const SourceCounters& one) { return one.records; });
  all->Counter("bongsu_source_bytes_total", "Bytes of the records read.");
  PerSource(snapshot, all, [](const SourceCounters& one) { return one.bytes; });
  all->Counter("bongsu_source_events_total", "Records decoded, with a usable event time.");
  PerSource(snapshot, all, [](const SourceCounters& one) { return one.events; });
  all->Counter("bongsu_source_repaired_utf8_total", "Records with invalid UTF-8, read repaired.");
  PerSource(snapshot, all, [](const SourceCounters& one) { return one.repaired_utf8; });
  all->Counter("bongsu_source_arrays_cut_total", "Arrays of which only the first items were read.");
  PerSource(snapshot, all, [](const SourceCounters& one) { return one.array_items_capped; });
  const auto& counters = snapshot.engine.totals.counters.sources;
  all->Counter("bongsu_source_dead_letters_total", "Records sent to the dead letters, by reason.");
  for (size_t i = 0; i < counters.size(); ++i) {
    for (size_t reason = 0; reason < counters[i].dead_letters.size(); ++reason) {
      const auto result = static_cast<DecodeResult>(reason);
      if (result == DecodeResult::kOk) continue;
      all->Set({{"source", snapshot.config->sources[i].name},
                {"reason", std::string(DecodeResultName(result))}},
               counters[i].dead_letters[reason]);
    }
  }
  all->Counter("bongsu_source_late_total", "Events sent to the late stream, by reason.");
  for (size_t i = 0; i < counters.size(); ++i) {
    const std::string& name = snapshot.config->sources[i].name;
    all->Set({{"source", name}, {"reason", "late"}}, counters[i].late);
    all->Set({{"source", name}, {"reason", "future"}}, counters[i].future);
  }
}

void SourceAlarms(const MetricsSnapshot& snapshot, Families* all) {
  const auto& counters = snapshot.engine.totals.counters.sources;
  all->Counter("bongsu_source_alarms_total", "Alerts about the source itself, by rule.");
  for (size_t i = 0; i < counters.size(); ++i) {
    const std::string& name = snapshot.config->sources[i].name;
    all->Set({{"source", name}, {"rule", std::string(SourceAlarmName(SourceAlarm::kSilent))}},
             counters[i].fell_silent);
    all->Set({{"source", name}, {"rule", std::string(SourceAlarmName(SourceAlarm::kLagging))}},
             counters[i].lagged);
  }
  all->Counter("bongsu_backfill_holds_total", "Times that a partition waited for slower ones.");
  all->Set({}, snapshot.engine.totals.holds);
}

// One gauge of all sources; none where `get` has none.
template <typename Get>
void PerStatus(const MetricsSnapshot& snapshot, Families* all, Get get) {
  for (size_t i = 0; i < snapshot.sources.size(); ++i) {
    const auto value = get(snapshot.sources[i]);
    if (value.has_value()) all->Set({{"source", snapshot.config->sources[i].name}}, *value);
  }
}

void SourceTimes(const MetricsSnapshot& snapshot, Families* all) {
  all->Gauge("bongsu_source_watermark_seconds",
             "Event time, as Unix time, before which no more events are expected.");
  PerStatus(snapshot, all, [](const SourceStatus& one) {
    return one.watermark.has_value() ? std::optional(Seconds(*one.watermark)) : std::nullopt;
  });
  all->Gauge("bongsu_source_watermark_held_by", "1 for the partition with the lowest event time.");
  for (size_t i = 0; i < snapshot.sources.size(); ++i) {
    if (snapshot.sources[i].held_by.empty()) continue;
    all->Set(
        {{"source", snapshot.config->sources[i].name}, {"partition", snapshot.sources[i].held_by}},
        1);
  }
  all->Gauge("bongsu_source_partitions", "Partitions or files that this process reads.");
  PerStatus(snapshot, all, [](const SourceStatus& one) { return std::optional(one.partitions); });
  all->Gauge("bongsu_source_idle_partitions", "Those of them that are quiet at their end.");
  PerStatus(snapshot, all,
            [](const SourceStatus& one) { return std::optional(one.idle_partitions); });
  all->Gauge("bongsu_source_held_partitions",
             "Those of them that wait for slower ones, so that state does not pile up.");
  PerStatus(snapshot, all,
            [](const SourceStatus& one) { return std::optional(one.held_partitions); });
  all->Gauge("bongsu_source_silent", "1 from the alert source_silent on, until an event comes.");
  PerStatus(snapshot, all, [](const SourceStatus& one) { return one.silent; });
  all->Gauge("bongsu_source_lagging",
             "1 while others wait no longer for the source, which is behind by more than max_lag.");
  PerStatus(snapshot, all, [](const SourceStatus& one) { return one.lagging; });
  all->Gauge("bongsu_source_lag_records", "Records up to the last stable offset, all partitions.");
  PerStatus(snapshot, all, [](const SourceStatus& one) { return one.lag_records; });
  all->Gauge("bongsu_source_lag_seconds",
             "Age of the newest record read, in the partition that lags most; 0 at the end.");
  PerStatus(snapshot, all, [](const SourceStatus& one) { return one.lag_seconds; });
}

template <typename Get>
void PerOperator(const MetricsSnapshot& snapshot, Families* all, Get get) {
  const auto& counters = snapshot.engine.totals.counters.operators;
  for (size_t i = 0; i < counters.size(); ++i)
    all->Set({{"operator", snapshot.config->operators[i]->rule().name}}, get(counters[i]));
}

void OperatorFamilies(const MetricsSnapshot& snapshot, Families* all) {
  const auto& counters = snapshot.engine.totals.counters.operators;
  const auto& operators = snapshot.config->operators;
  all->Counter("bongsu_operator_selected_total", "Events that took part, by side.");
  for (size_t i = 0; i < counters.size(); ++i) {
    const auto& inputs = operators[i]->inputs();
    for (size_t port = 0; port < inputs.size() && port < counters[i].selected.size(); ++port) {
      all->Set({{"operator", operators[i]->rule().name}, {"side", inputs[port].name}},
               counters[i].selected[port]);
    }
  }
  all->Counter("bongsu_operator_incidents_total", "Incidents created.");
  PerOperator(snapshot, all, [](const OperatorCounters& one) { return one.created; });
  all->Counter("bongsu_operator_updates_total", "Updates of incidents.");
  PerOperator(snapshot, all, [](const OperatorCounters& one) { return one.updated; });
  all->Counter("bongsu_operator_late_total", "Events that came too late for it.");
  PerOperator(snapshot, all, [](const OperatorCounters& one) { return one.late; });
  all->Counter("bongsu_operator_key_missing_total", "Selected events without a usable key.");
  PerOperator(snapshot, all, [](const OperatorCounters& one) { return one.key_missing; });
  all->Counter("bongsu_operator_keys_cut_total", "Arrays of keys longer than their bound.");
  PerOperator(snapshot, all, [](const OperatorCounters& one) { return one.key_members_capped; });
  all->Counter("bongsu_operator_fields_cut_total", "Carried values cut at their bound.");
  PerOperator(snapshot, all, [](const OperatorCounters& one) { return one.fields_cut; });
  all->Counter("bongsu_operator_cpu_seconds_total", "CPU time, sampled.");
  PerOperator(snapshot, all,
              [](const OperatorCounters& one) { return static_cast<double>(one.cpu_ns) / 1e9; });
  all->Gauge("bongsu_operator_last_fired_seconds",
             "Event time, as Unix time, of the newest incident.");
  for (size_t i = 0; i < counters.size(); ++i) {
    if (counters[i].last_fired != kMinEventTime)
      all->Set({{"operator", operators[i]->rule().name}}, Seconds(counters[i].last_fired));
  }
  all->Counter("bongsu_operator_events_total",
               "What the operator counts itself, bounds that were hit among it.");
  for (size_t i = 0; i < counters.size(); ++i) {
    for (const auto& [name, n] : counters[i].named)
      all->Set({{"operator", operators[i]->rule().name}, {"event", name}}, n);
  }
}

template <typename Get>
void PerRule(const MetricsSnapshot& snapshot, Families* all, Get get) {
  const auto& counters = snapshot.engine.totals.counters.rules;
  if (snapshot.config->rules == nullptr) return;
  const auto& entries = snapshot.config->rules->entries;
  for (size_t i = 0; i < counters.size() && i < entries.size(); ++i) {
    const RuleCounters& one = counters[i];
    if (one.matches == 0 && one.filtered == 0 && one.incidents == 0) continue;
    all->Set({{"rule", std::string(sigma::RuleName(entries[i]))}}, get(one));
  }
}

// The one family in which every rule stands that events are asked of, 0 where none has matched:
// what has no series is not in force.
void RuleMatches(const MetricsSnapshot& snapshot, Families* all) {
  all->Counter("bongsu_rule_matches_total", "Events that met the rule and passed its filters.");
  if (snapshot.config->binding == nullptr) return;
  const auto& counters = snapshot.engine.totals.counters.rules;
  const auto& entries = snapshot.config->rules->entries;
  const auto& specs = snapshot.config->binding->specs;
  for (size_t i = 0; i < entries.size() && i < specs.size(); ++i) {
    if (specs[i] == nullptr) continue;  // no detection, or bound to no source
    all->Set({{"rule", std::string(sigma::RuleName(entries[i]))}},
             i < counters.size() ? counters[i].matches : 0);
  }
}

void RuleTopicFamilies(const MetricsSnapshot& snapshot, Families* all) {
  const std::optional<RuleTopicStatus>& topic = snapshot.rule_topic;
  all->Gauge("bongsu_rules_topic_keys", "Keys of the rules topic that have rules.");
  if (topic.has_value()) all->Set({}, topic->keys);
  all->Gauge("bongsu_rules_topic_version",
             "Offset of the newest record in the set that was read, and in the one in force.");
  if (topic.has_value()) {
    all->Set({{"set", "read"}}, topic->version_read);
    all->Set({{"set", "in_force"}}, snapshot.rule_topic_version);
  }
  all->Counter("bongsu_rules_topic_records_total", "Records of the rules topic, by kind.");
  if (topic.has_value()) {
    all->Set({{"kind", "put"}}, topic->put);
    all->Set({{"kind", "deleted"}}, topic->deleted);
    all->Set({{"kind", "ignored"}}, topic->ignored);
  }
  all->Gauge("bongsu_rules_topic_readable", "0 while the rules topic cannot be read.");
  if (topic.has_value()) all->Set({}, topic->readable ? 1 : 0);
}

void RuleFamilies(const MetricsSnapshot& snapshot, Families* all) {
  all->Gauge("bongsu_rules", "Rules in force, by kind.");
  if (const auto& rules = snapshot.config->rules; rules != nullptr) {
    for (const auto kind :
         {sigma::RuleKind::kDetection, sigma::RuleKind::kCorrelation, sigma::RuleKind::kFilter})
      all->Set({{"kind", std::string(sigma::RuleKindName(kind))}}, rules->Count(kind));
  }
  all->Gauge("bongsu_rules_left_out", "Rules that were not loaded, by reason.");
  if (const auto& rules = snapshot.config->rules; rules != nullptr) {
    const auto broken = static_cast<uint64_t>(
        std::count_if(rules->skipped.begin(), rules->skipped.end(),
                      [](const sigma::SkippedRule& rule) { return rule.broken; }));
    all->Set({{"reason", "broken"}}, broken);
    all->Set({{"reason", "status"}}, rules->skipped.size() - broken);
  }
  all->Counter("bongsu_reloads_total", "Reloads of rules, by result.");
  all->Set({{"result", "done"}}, snapshot.reload.done);
  all->Set({{"result", "refused"}}, snapshot.reload.refused);
  all->Gauge("bongsu_reload_refused", "1 while the newest reload is one that was refused.");
  all->Set({}, snapshot.reload.last_refused ? 1 : 0);
  all->Gauge("bongsu_rules_unbound", "Detections that no source can bring events for.");
  if (snapshot.config->binding != nullptr) all->Set({}, snapshot.config->binding->unbound.size());
  RuleMatches(snapshot, all);
  all->Counter("bongsu_rule_filtered_total", "Events that a filter removed.");
  PerRule(snapshot, all, [](const RuleCounters& one) { return one.filtered; });
  all->Counter("bongsu_rule_incidents_total", "Alerts of the rule's own.");
  PerRule(snapshot, all, [](const RuleCounters& one) { return one.incidents; });
  all->Counter("bongsu_rule_fields_cut_total", "Values of its alerts cut at their bound.");
  PerRule(snapshot, all, [](const RuleCounters& one) { return one.fields_cut; });
  all->Counter("bongsu_rule_alerts_cut_total", "Alerts that were too large and were cut.");
  PerRule(snapshot, all, [](const RuleCounters& one) { return one.alerts_cut; });
  all->Counter("bongsu_rule_cpu_seconds_total",
               "CPU time of the detection asked alone, sampled: which rule is dear.");
  PerRule(snapshot, all,
          [](const RuleCounters& one) { return static_cast<double>(one.cpu_ns) / 1e9; });
  all->Gauge("bongsu_rule_last_fired_seconds", "Event time, as Unix time, of the newest match.");
  PerRule(snapshot, all, [](const RuleCounters& one) {
    return one.last_fired == kMinEventTime ? 0 : Seconds(one.last_fired);
  });
}

void EpochFamilies(const MetricsSnapshot& snapshot, Families* all) {
  const EngineTotals& totals = snapshot.engine.totals;
  all->Counter("bongsu_epochs_total", "Epochs committed.");
  all->Set({}, totals.epochs);
  all->Gauge("bongsu_epoch_age_seconds",
             "Since the first record of the oldest epoch that is not committed; 0: none is.");
  all->Set({}, Seconds(snapshot.engine.uncommitted_ns));
  all->Histogram("bongsu_commit_seconds", "From the end of an epoch's work to its commit.",
                 totals.commit_times);
  all->Counter("bongsu_checkpoints_total", "Times that the store was brought up to date.");
  all->Set({}, totals.checkpoints);
  all->Counter("bongsu_recoveries_total", "Times that memory was dropped and restored.");
  all->Set({}, snapshot.recoveries);
  all->Counter("bongsu_unsendable_total", "Outputs that their sink can never take.");
  all->Set({}, totals.unsendable);
  all->Counter("bongsu_trims_failed_total", "Times that the changelog could not be shortened.");
  all->Set({}, totals.trims_failed);
}

void BoundFamilies(const MetricsSnapshot& snapshot, Families* all) {
  const EngineView& engine = snapshot.engine;
  all->Counter("bongsu_reader_waits_total", "Times that reading waited for a bound.");
  for (size_t i = 0; i < kWaitReasons; ++i) {
    all->Set({{"bound", std::string(WaitReasonName(static_cast<WaitReason>(i)))}},
             engine.totals.waits[i]);
  }
  all->Gauge("bongsu_reader_paused", "1 while the partitions are paused because reading waits.");
  all->Set({}, engine.paused ? 1 : 0);
  all->Gauge("bongsu_batches_in_flight", "Batches read and not yet applied by all threads.");
  all->Set({}, engine.batches_in_flight);
  all->Gauge("bongsu_batches_in_flight_max", "The bound of bongsu_batches_in_flight.");
  all->Set({}, kBatchesInFlight);
  all->Gauge("bongsu_output_backlog_bytes", "Outputs that are not written yet.");
  all->Set({}, engine.output_backlog_bytes);
  all->Gauge("bongsu_output_backlog_bytes_max", "The bound of bongsu_output_backlog_bytes.");
  all->Set({}, kOutputBacklogBytesMax);
}

void StateFamilies(const MetricsSnapshot& snapshot, Families* all) {
  const EngineTotals& totals = snapshot.engine.totals;
  all->Gauge("bongsu_state_memory_bytes", "Memory of the state, by part.");
  all->Set({{"part", "maps"}}, totals.state_memory_bytes);
  all->Set({{"part", "block_cache"}}, snapshot.store_memory.block_cache);
  all->Set({{"part", "write_buffers"}}, snapshot.store_memory.write_buffers);
  all->Set({{"part", "table_readers"}}, snapshot.store_memory.table_readers);
  all->Gauge("bongsu_state_memory_bytes_max", "state.memory of the configuration.");
  all->Set({}, snapshot.config->state.memory_bytes);
  all->Gauge("bongsu_state_changed_bytes", "Of the maps: what the store has not got yet.");
  all->Set({}, snapshot.engine.state_dirty_bytes);
  all->Gauge("bongsu_state_disk_bytes", "Size of the state's folder.");
  all->Set({}, snapshot.disk_bytes);
  all->Counter("bongsu_state_entries_put_total", "Entries put by operators.");
  all->Set({}, totals.state.entries_put);
  all->Counter("bongsu_state_entries_written_total", "Entries handed to the store or its log.");
  all->Set({}, totals.state.entries_frozen);
  all->Counter("bongsu_state_entries_expired_unwritten_total",
               "Entries whose window closed before they were written.");
  all->Set({}, totals.state.entries_expired_unwritten);
  all->Counter("bongsu_state_disk_reads_total", "Look-ups that memory could not answer.");
  all->Set({}, totals.state.disk_seeks);
  all->Counter("bongsu_state_segments_evicted_total", "Pieces of state that left memory for disk.");
  all->Set({}, totals.state.segments_evicted);
  all->Counter("bongsu_store_written_bytes_total", "Bytes of rows written to the store.");
  all->Set({}, snapshot.store.bytes_written);
  all->Counter("bongsu_store_commit_seconds_total", "Time spent in writing the store.");
  all->Set({}, Seconds(snapshot.store.commit_ns_total));
}

std::string PartitionName(const PartitionInfo& info) {
  return info.topic.empty() ? info.path : fmt::format("{}[{}]", info.topic, info.partition);
}

void AddClocks(const EngineView& view, const PartitionTable& partitions,
               std::vector<SourceStatus>* statuses) {
  std::vector<EventTimeNs> lowest(statuses->size(), kMaxEventTime);
  for (size_t id = 0; id < view.partitions.size(); ++id) {
    const PartitionClock& clock = view.partitions[id];
    if (clock.state == PartitionClock::State::kUnknown || clock.source >= statuses->size())
      continue;
    SourceStatus& status = (*statuses)[clock.source];
    ++status.partitions;
    if (clock.state == PartitionClock::State::kIdle) ++status.idle_partitions;
    const EventTimeNs own = std::max(clock.newest, clock.floor);
    if (clock.state != PartitionClock::State::kActive || own >= lowest[clock.source]) continue;
    lowest[clock.source] = own;
    status.held_by = PartitionName(partitions.Get(static_cast<PartitionId>(id)));
  }
}

void AddLag(const EngineView& view, const PartitionTable& partitions, const StableEnds& ends,
            int64_t now_ns, std::vector<SourceStatus>* statuses) {
  for (const SourceProgress& progress : view.progress) {
    const PartitionInfo& info = partitions.Get(progress.partition);
    const auto end = ends.find({info.topic, info.partition});
    if (end == ends.end() || progress.next_offset < 0) continue;
    SourceStatus& status = (*statuses)[info.source_index];
    const int64_t records = std::max<int64_t>(end->second - progress.next_offset, 0);
    status.lag_records = status.lag_records.value_or(0) + records;
    double age = 0;
    const std::optional<EventTimeNs> stamp = StampTime(progress.timestamp_ms);
    if (records > 0 && stamp) age = Seconds(now_ns - *stamp);
    status.lag_seconds = std::max({status.lag_seconds.value_or(0), age, 0.0});
  }
}

}  // namespace

std::vector<SourceStatus> SourceStatuses(const Config& config, const EngineView& view,
                                         const PartitionTable& partitions, const StableEnds* ends,
                                         int64_t now_ns) {
  std::vector<SourceStatus> statuses(config.sources.size());
  AddClocks(view, partitions, &statuses);
  for (size_t i = 0; i < view.source_watermarks.size() && i < statuses.size(); ++i) {
    const EventTimeNs watermark = view.source_watermarks[i];
    if (watermark != kMinEventTime && watermark != kMaxEventTime) statuses[i].watermark = watermark;
  }
  for (size_t i = 0; i < view.source_alarms.size() && i < statuses.size(); ++i) {
    const auto has = [&](SourceAlarm alarm) {
      return (view.source_alarms[i] & static_cast<uint8_t>(alarm)) != 0;
    };
    statuses[i].silent = has(SourceAlarm::kSilent);
    statuses[i].lagging = has(SourceAlarm::kLagging);
  }
  for (const PartitionId id : view.held)
    ++statuses[partitions.Get(id).source_index].held_partitions;
  if (ends != nullptr) AddLag(view, partitions, *ends, now_ns, &statuses);
  return statuses;
}

std::string_view PhaseName(Phase phase) {
  constexpr std::array<std::string_view, kPhases> kNames = {"starting", "waiting",    "restoring",
                                                            "running",  "recovering", "stopping"};
  return kNames[static_cast<size_t>(phase)];
}

std::string RenderMetrics(const MetricsSnapshot& snapshot, Phase phase,
                          const RestoreStatus& restore) {
  Families all;
  ProcessFamilies(&all);
  ServiceFamilies(phase, restore, &all);
  SourceCounts(snapshot, &all);
  SourceAlarms(snapshot, &all);
  SourceTimes(snapshot, &all);
  OperatorFamilies(snapshot, &all);
  RuleFamilies(snapshot, &all);
  RuleTopicFamilies(snapshot, &all);
  EpochFamilies(snapshot, &all);
  BoundFamilies(snapshot, &all);
  StateFamilies(snapshot, &all);
  return all.Text();
}

}  // namespace bongsu
