// File: pipeline/exchange_bundle.h
//
// What travels through the exchange topic (exchange: kafka): bundles of keyed inputs for one shard,
// and the clocks by which the shard knows how far every source partition and every operator's
// results have come. The grammar is in state/FORMAT.md, section "Exchange".
//
//   BundleWriter writer(plan, plan_version);
//   writer.AddInput(op, input);                 // copies
//   log.Send(shard, writer.Finish());           // and the writer is empty again
//   ...
//   ExchangeBundle bundle;
//   RETURN_IF_ERROR(ReadExchangeBundle(bytes, &bundle)); // views into `bytes`
//
// A bundle names its operators by name and semantic hash: instances need not agree on numbers. Who
// has a newer plan of operators than the reader is told by `plan_version` (kafka/kafka_registry.h).
//
// Bounds: BundleSet ends a bundle at kBundleBytesMax; one input that is larger is alone in its own.
// Thread-safety: none; one thread each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "operators/operator.h"
#include "pipeline/exchange.h"
#include "pipeline/outputs.h"
#include "pipeline/plan.h"
#include "pipeline/watermarks.h"

namespace bongsu {

inline constexpr size_t kBundleBytesMax = size_t{512} << 10;

class BundleWriter {
 public:
  // `plan` outlives the writer.
  BundleWriter(const Plan& plan, uint64_t plan_version);
  void AddInput(uint16_t op, const Input& input);
  void AddClock(PartitionId partition, const PartitionClock& clock);
  // No result of `op` in shard `from` will be older than this.
  void AddResult(uint16_t op, ShardId from, EventTimeNs watermark);
  bool empty() const { return rows_ == 0; }
  size_t bytes() const { return bytes_.size(); }
  // The record; the writer begins the next one.
  std::string Finish();

 private:
  void Begin();
  uint32_t Operator(uint16_t op);

  const Plan& plan_;
  const uint64_t plan_version_;
  std::string bytes_;
  std::vector<int32_t> numbers_;  // by operator, -1: not named in this bundle yet
  int32_t named_ = 0;
  uint64_t rows_ = 0;
};

// What an epoch tells the shards of partitions' clocks. That may be more than a bundle, and a shard
// may work with the first before it has the last: in this order it is never ahead of one that has
// them all. Who was quiet is active again, where it stood, before anything moves; and ends or falls
// quiet behind all that has moved.
class ClockNews {
 public:
  struct Row {
    PartitionId partition = 0;
    PartitionClock clock;
  };
  // `before`: what this instance has told last; null: nothing yet, and `now` is where whoever had
  // the partition left it.
  void Add(PartitionId partition, const PartitionClock* before, const PartitionClock& now);
  // The rows, and it is empty again.
  std::vector<Row> Take();

 private:
  struct Ranked {
    int rank = 0;
    EventTimeNs order = 0;
    Row row;
  };
  std::vector<Ranked> rows_;
};

// A bundle, taken apart.
struct ExchangeBundle {
  struct Operator {
    std::string_view name;
    std::string_view hash;
  };
  struct RoutedTo {
    uint32_t op = 0;  // index into `operators`
    Input input;
  };
  struct Clock {
    PartitionId partition = 0;
    PartitionClock clock;  // without the source, which the partition tells
  };
  struct Result {
    uint32_t op = 0;
    ShardId from = 0;
    EventTimeNs watermark = kMinEventTime;
  };
  uint64_t plan_version = 0;
  std::vector<Operator> operators;
  std::vector<RoutedTo> inputs;
  std::vector<Clock> clocks;
  std::vector<Result> results;
};

// DataLoss: it does not parse, or its checksum does not hold; FailedPrecondition: a newer version.
[[nodiscard]] absl::Status ReadExchangeBundle(std::string_view bytes, ExchangeBundle* bundle);

// The open bundles of one thread, one for each shard.
class BundleSet : public InputSink {
 public:
  BundleSet(const Plan& plan, uint64_t plan_version, uint16_t shards);
  void Put(uint16_t op, ShardId shard, const Input& input) override;
  // Bundles that have reached their bound.
  void TakeFull(std::vector<ShardRecord>* records);
  // All that there are: the epoch ends.
  void Finish(std::vector<ShardRecord>* records);

 private:
  std::vector<BundleWriter> writers_;
  std::vector<ShardRecord> full_;
};

}  // namespace bongsu
