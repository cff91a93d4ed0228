#include "pipeline/decode_task.h"

#include <algorithm>
#include <optional>

#include "operators/payload.h"
#include "pipeline/alert_writer.h"
#include "state/check.h"

namespace bongsu {

NewestTimes::NewestTimes() : times_(std::make_unique<std::atomic<EventTimeNs>[]>(kPartitionsMax)) {
  for (uint32_t i = 0; i < kPartitionsMax; ++i)
    times_[i].store(kMinEventTime, std::memory_order_relaxed);
}

void NewestTimes::Raise(PartitionId partition, EventTimeNs time) {
  EventTimeNs seen = times_[partition].load(std::memory_order_relaxed);
  while (seen < time &&
         !times_[partition].compare_exchange_weak(seen, time, std::memory_order_relaxed)) {
  }
}

EventTimeNs NewestTimes::Get(PartitionId partition) const {
  return times_[partition].load(std::memory_order_relaxed);
}

namespace {

// What is read only of records that need it: neither the guards of the rules' log sources read it
// nor an input that takes events of its own.
std::vector<bool> FieldsReadLater(const SourceConfig& source, const std::vector<Feed>& feeds,
                                  const sigma::SourceRules* rules) {
  std::vector<bool> later(static_cast<size_t>(source.fields.size()), true);
  const auto now = [&](const std::vector<int>& slots) {
    for (const int slot : slots) later[static_cast<size_t>(slot)] = false;
  };
  for (const Feed& feed : feeds) {
    if (feed.rule >= 0) continue;  // all fields are read where the rule is met
    now(feed.key.slots);
    now(feed.payload_slots);
    if (feed.selection == nullptr) continue;
    for (const std::string& field : feed.selection->fields()) now({source.fields.Find(field)});
  }
  if (rules != nullptr && rules->matcher != nullptr) now(rules->matcher->guard_slots());
  return later;
}

}  // namespace

Router::Router(const std::vector<Feed>& feeds, uint64_t hash_seed, uint16_t shards)
    : hash_seed_(hash_seed), shards_(shards) {
  for (const Feed& feed : feeds) {
    std::vector<KeyedFeed>* to = &feeds_;
    if (feed.rule >= 0) {
      const auto rule = static_cast<size_t>(feed.rule);
      if (rule_feeds_.size() <= rule) rule_feeds_.resize(rule + 1);
      to = &rule_feeds_[rule];
    }
    to->push_back({&feed, KeyBuilder(feed.key), {}});
  }
}

void Router::Route(const Event& event, std::span<const uint32_t> fired, InputSink& to,
                   RunCounters& counters) {
  for (KeyedFeed& keyed : feeds_) {
    const Feed& feed = *keyed.feed;
    if (feed.selection != nullptr && !feed.selection->Matches(event)) continue;
    RouteOne(keyed, event, to, counters);
  }
  for (const uint32_t rule : fired) {
    if (rule >= rule_feeds_.size()) break;  // they are ascending
    for (KeyedFeed& keyed : rule_feeds_[rule]) RouteOne(keyed, event, to, counters);
  }
}

void Router::RouteOne(KeyedFeed& keyed, const Event& event, InputSink& to, RunCounters& counters) {
  const Feed& feed = *keyed.feed;
  OperatorCounters& counted = counters.operators[feed.op];
  ++counted.selected[feed.port];
  const std::span<const std::string_view> keys = keyed.keys.Build(event);
  const KeyCounters& now = keyed.keys.counters();
  counted.key_missing += now.missing_part - keyed.seen.missing_part;
  counted.key_members_capped += now.members_capped - keyed.seen.members_capped;
  keyed.seen = now;
  if (keys.empty()) return;
  payload_.clear();
  counted.fields_cut += static_cast<uint64_t>(EncodePayload(event, feed.payload_slots, &payload_));
  Input input;
  input.time = event.time;
  input.seq = event.seq;
  input.port = feed.port;
  input.payload = payload_;
  for (std::string_view key : keys) {
    input.key = key;
    to.Put(feed.op, ShardOf(key, hash_seed_, shards_), input);
  }
}

void Router::RouteRows(const Event& event, const ResultRows& rows, InputSink& to,
                       RunCounters& counters) {
  Input input;
  input.time = event.time;
  input.seq = event.seq;
  for (const KeyedFeed& keyed : feeds_) {
    const Feed& feed = *keyed.feed;
    BONGSU_CHECK(feed.selection == nullptr);
    OperatorCounters& counted = counters.operators[feed.op];
    ++counted.selected[feed.port];
    KeyCounters keys;
    input.port = feed.port;
    for (const RowGroup& group : rows.GroupBy(feed.key, &keys)) {
      payload_.clear();
      if (!rows.Encode(group, feed.payload_slots, &payload_)) ++counted.named["result_rows_capped"];
      input.key = group.key;
      input.payload = payload_;
      to.Put(feed.op, ShardOf(group.key, hash_seed_, shards_), input);
    }
    counted.key_missing += keys.missing_part;
    counted.key_members_capped += keys.members_capped;
  }
}

DecodeTask::DecodeTask(const Config& config, const Plan& plan, const PartitionTable& partitions,
                       const Clock& clock, uint64_t hash_seed, uint16_t shards, NewestTimes& newest)
    : partitions_(partitions),
      clock_(clock),
      newest_(newest),
      writer_(MakeAlertWriter(config, partitions, clock)) {
  for (size_t i = 0; i < config.sources.size(); ++i) {
    const SourceConfig& source = config.sources[i];
    DecoderOptions options;
    options.validate = source.validate;
    options.record_bytes_max = source.record_bytes_max;
    options.depth_max = source.depth_max;
    const sigma::SourceRules* rules =
        config.binding != nullptr ? &config.binding->sources[i] : nullptr;
    options.later = FieldsReadLater(source, plan.sources[i].feeds, rules);
    sources_.push_back({Decoder(source.format, source.fields, options),
                        Router(plan.sources[i].feeds, hash_seed, shards),
                        RuleRunner(config, i, partitions, *writer_),
                        source.max_future_skew,
                        {}});
  }
}

uint16_t DecodeTask::SourceOf(PartitionId partition) {
  if (source_of_.size() <= partition) {
    source_of_.resize(size_t{partition} + 1, -1);
    batch_time_.resize(size_t{partition} + 1);
  }
  if (source_of_[partition] < 0) source_of_[partition] = partitions_.Get(partition).source_index;
  return static_cast<uint16_t>(source_of_[partition]);
}

void DecodeTask::Run(const Batch& batch, InputSink& inputs, ExchangeSlot& slot,
                     OutputChunk& outputs, RunCounters& counters, LiveCounters& live) {
  slot.marks = batch.marks;
  now_ns_ = clock_.NowNs();
  uint64_t bytes = 0;
  for (const Record& record : batch.records) {
    bytes += record.bytes.size();
    RunRecord(record, inputs, outputs, counters, live);
  }
  for (PartitionId partition : touched_) {
    slot.times.push_back(batch_time_[partition]);
    newest_.Raise(partition, batch_time_[partition].newest);
    batch_time_[partition] = PartitionTime();
  }
  touched_.clear();
  live.records.fetch_add(batch.records.size(), std::memory_order_relaxed);
  live.bytes.fetch_add(bytes, std::memory_order_relaxed);
}

void DecodeTask::RunRecord(const Record& record, InputSink& inputs, OutputChunk& outputs,
                           RunCounters& counters, LiveCounters& live) {
  const uint16_t source_index = SourceOf(record.partition);
  Source& source = sources_[source_index];
  SourceCounters& counted = counters.sources[source_index];
  ++counted.records;
  counted.bytes += record.bytes.size();
  Event event;
  DecodeResult result = source.decoder.Decode(record, &event);
  const bool readable = result == DecodeResult::kOk || result == DecodeResult::kNoTime;
  if (readable && !source.rules.Match(event)) result = DecodeResult::kInvalidJson;
  const DecoderCounters& decoder = source.decoder.counters();
  counted.repaired_utf8 += decoder.repaired_utf8 - source.seen.repaired_utf8;
  counted.array_items_capped += decoder.array_items_capped - source.seen.array_items_capped;
  source.seen = decoder;
  if (result != DecodeResult::kOk) {
    ++counted.dead_letters[static_cast<size_t>(result)];
    DeadLetter(record, result, outputs, live);
    if (result != DecodeResult::kNoTime) return;
    // Time gates operators only: rules without state match all the same.
    const std::optional<EventTimeNs> stamp = StampTime(record.timestamp_ms);
    source.rules.Report(event, stamp.value_or(now_ns_),
                        stamp ? TimeOrigin::kRecord : TimeOrigin::kWallClock, outputs, counters,
                        live);
    return;
  }
  if (event.time > AddTime(now_ns_, source.max_future_skew)) {
    // It enters no window and moves no watermark: one bad clock must not make everything else late.
    ++counted.future;
    Future(record, event.time, "future", outputs, live);
    source.rules.Report(event, event.time, TimeOrigin::kFuture, outputs, counters, live);
    return;
  }
  ++counted.events;
  PartitionTime& time = batch_time_[record.partition];
  if (time.newest == kMinEventTime) {
    touched_.push_back(record.partition);
    time = {record.partition, event.time, event.time};
  }
  time.newest = std::max(time.newest, event.time);
  source.rules.Report(event, event.time, TimeOrigin::kEvent, outputs, counters, live);
  source.router.Route(event, source.rules.fired(), inputs, counters);
  source.rules.SampleCost(event, counters);
}

void DecodeTask::DeadLetter(const Record& record, DecodeResult why, OutputChunk& outputs,
                            LiveCounters& live) {
  const PartitionInfo& partition = partitions_.Get(record.partition);
  scratch_.clear();
  WriteDeadLetter(partition, record.offset, DecodeResultName(why), record.bytes, now_ns_,
                  &scratch_);
  outputs.Add(Stream::kDeadLetter, partition.source, scratch_);
  live.dead_letters.fetch_add(1, std::memory_order_relaxed);
}

void DecodeTask::Future(const Record& record, EventTimeNs time, const char* reason,
                        OutputChunk& outputs, LiveCounters& live) {
  const PartitionInfo& partition = partitions_.Get(record.partition);
  LateRecord late;
  late.reason = reason;
  late.time = time;
  late.behind = time - now_ns_;
  scratch_.clear();
  WriteLate(partition, record.offset, late, record.bytes, "", &scratch_);
  outputs.Add(Stream::kLate, partition.source, scratch_);
  live.late.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace bongsu
