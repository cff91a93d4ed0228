// File: pipeline/unpack_task.h
//
// The other end of the exchange topic (exchange: kafka): takes the bundles of a batch apart, into
// the batch's exchange slot: inputs for the thread that owns the shard, and the news of clocks.
//
// An operator that this instance does not know: where the sender's plan is newer, this instance is
// behind and must stop; where it is older, the operator was taken out of the configuration, and its
// inputs are dropped, counted.
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
  // FailedPrecondition: another instance runs a newer configuration; DataLoss: a bundle does not
  // parse; Aborted: it names a partition that was registered since we looked.
  [[nodiscard]] absl::Status Run(const Batch& batch, ExchangeSlot& slot, RunCounters& counters);

 private:
  absl::Status RunOne(const BundleRecord& record, SlotInputs& inputs, ExchangeSlot& slot,
                      RunCounters& counters);
  // -1: it is gone.
  absl::StatusOr<int32_t> Find(const ExchangeBundle::Operator& op, uint64_t plan_version) const;

  const Config& config_;
  const uint64_t plan_version_;
  const PartitionTable& partitions_;
  std::vector<int32_t> source_of_;  // by partition; -1: feeds nothing here
  absl::flat_hash_map<std::pair<std::string_view, std::string_view>, int32_t> operators_;
  ExchangeBundle bundle_;         // scratch
  std::vector<int32_t> numbers_;  // scratch: of the bundle's operators
};

}  // namespace bongsu
