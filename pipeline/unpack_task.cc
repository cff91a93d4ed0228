#include "pipeline/unpack_task.h"

#include <fmt/format.h>

#include "state/status_macros.h"

namespace bongsu {

UnpackTask::UnpackTask(const Config& config, const Plan& plan, uint64_t plan_version,
                       const PartitionTable& partitions, const std::vector<PartitionClockOf>& known)
    : config_(config), plan_version_(plan_version), partitions_(partitions) {
  for (const PartitionClockOf& one : known) {
    if (source_of_.size() <= one.partition) source_of_.resize(size_t{one.partition} + 1, -1);
    source_of_[one.partition] = one.source;
  }
  for (size_t op = 0; op < plan.operators.size(); ++op) {
    const OperatorSpec& spec = *plan.operators[op].spec;
    operators_[{spec.rule().name, spec.semantic_hash()}] = static_cast<int32_t>(op);
  }
}

absl::Status UnpackTask::Run(const Batch& batch, ExchangeSlot& slot, RunCounters& counters) {
  SlotInputs inputs(slot, 0);
  for (const BundleRecord& record : batch.bundles) {
    const absl::Status status = RunOne(record, inputs, slot, counters);
    if (status.ok()) continue;
    return absl::Status(status.code(),
                        fmt::format("{}[{}] at offset {}: {}", config_.exchange_topic(),
                                    record.shard, record.offset, std::string(status.message())));
  }
  return absl::OkStatus();
}

absl::Status UnpackTask::RunOne(const BundleRecord& record, SlotInputs& inputs, ExchangeSlot& slot,
                                RunCounters& counters) {
  BONGSU_RETURN_IF_ERROR(ReadExchangeBundle(record.bytes, &bundle_));
  if (bundle_.plan_version > plan_version_)
    return absl::AbortedError("another instance runs newer rules than this one");
  numbers_.clear();
  for (const ExchangeBundle::Operator& op : bundle_.operators) {
    const auto known = operators_.find({op.name, op.hash});
    numbers_.push_back(known != operators_.end() ? known->second : -1);  // -1: it is gone
  }
  for (const ExchangeBundle::RoutedTo& row : bundle_.inputs) {
    if (numbers_[row.op] < 0) {
      ++counters.removed_inputs;
      continue;
    }
    if (row.input.seq != kNoRecord && !partitions_.Knows(SeqPartition(row.input.seq)))
      return absl::AbortedError("a source partition that was registered since we looked");
    inputs.Put(static_cast<uint16_t>(numbers_[row.op]), record.shard, row.input);
  }
  if (bundle_.plan_version < plan_version_) return absl::OkStatus();
  for (const ExchangeBundle::Clock& row : bundle_.clocks) {
    if (!partitions_.Knows(row.partition))
      return absl::AbortedError("a source partition that was registered since we looked");
    // Another instance may read sources that feed nothing here.
    if (row.partition >= source_of_.size() || source_of_[row.partition] < 0) continue;
    ShardClockNews news{record.shard, row.partition, row.clock};
    news.clock.source = static_cast<uint16_t>(source_of_[row.partition]);
    slot.clock_news.push_back(news);
  }
  for (const ExchangeBundle::Result& row : bundle_.results) {
    if (numbers_[row.op] < 0) continue;
    slot.result_news.push_back(
        {record.shard, static_cast<uint16_t>(numbers_[row.op]), row.from, row.watermark});
  }
  return absl::OkStatus();
}

}  // namespace bongsu
