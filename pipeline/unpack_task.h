// File: pipeline/unpack_task.h
//
// The other end of the exchange topic (exchange: kafka): takes the bundles of a batch apart, into
// the batch's exchange slot: inputs for the thread that owns the shard, and the news of clocks.
//
// Instances change over to another plan (kafka/kafka_registry.h) each at an epoch of its own. Of a
// newer plan than ours nothing is taken: its sender has no more events for operators that are gone
// from it, and what its clocks say would close their windows without them. Of an older one inputs
// count for the operators that we still have, and are dropped, counted, for others; its clocks do
// not count, because its sender has none of the events for operators that are new. Each sends all
// its clocks again under its new plan.
//
// Thread-safety: one thread; the slot is its own until it calls Complete on it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "pipeline/batch.h"
#include "pipeline/counters.h"
#include "pipeline/exchange.h"
#include "pipeline/exchange_bundle.h"
#include "pipeline/io.h"
#include "pipeline/plan.h"
#include "pipeline/shard_task.h"

namespace bongsu {

class UnpackTask {
 public:
  // `known`: the partitions that feed this instance's configuration. What is referred to outlives
  // the task.
  UnpackTask(const Config& config, const Plan& plan, uint64_t plan_version,
             const PartitionTable& partitions, const std::vector<PartitionClockOf>& known);
  // DataLoss: a bundle does not parse. Aborted: it is of a newer plan, or names a partition that
  // was registered since we looked.
  [[nodiscard]] absl::Status Run(const Batch& batch, ExchangeSlot& slot, RunCounters& counters);

 private:
  absl::Status RunOne(const BundleRecord& record, SlotInputs& inputs, ExchangeSlot& slot,
                      RunCounters& counters);

  const Config& config_;
  const uint64_t plan_version_;
  const PartitionTable& partitions_;
  std::vector<int32_t> source_of_;  // by partition; -1: feeds nothing here
  absl::flat_hash_map<std::pair<std::string_view, std::string_view>, int32_t> operators_;
  ExchangeBundle bundle_;         // scratch
  std::vector<int32_t> numbers_;  // scratch: of the bundle's operators
};

}  // namespace bongsu
