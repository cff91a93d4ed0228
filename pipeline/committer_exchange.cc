// The committer with exchange: kafka: bundles, the clocks behind them, and the offsets of both
// halves.
#include <fmt/format.h>

#include "pipeline/committer.h"
#include "pipeline/exchange_bundle.h"
#include "pipeline/logging.h"
#include "pipeline/ownership.h"
#include "pipeline/shard_clocks.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr DurationNs kTrimExchangeEveryNs = 30 * kSecondNs;

bool SameClock(const PartitionClock& a, const PartitionClock& b) {
  return a.state == b.state && a.newest == b.newest && a.floor == b.floor && a.missed == b.missed;
}

}  // namespace

absl::Status Committer::SendBundles(const std::vector<ShardRecord>& bundles) {
  for (const ShardRecord& bundle : bundles) {
    const absl::Status status = exactly_once_.log->Send(bundle.shard, bundle.bytes);
    if (absl::IsInvalidArgument(status)) {
      // One input above a record's bound: no smaller bundle would hold it.
      BONGSU_RETURN_IF_ERROR(
          Unsendable(Stream::kLate, fmt::format("shard {}", bundle.shard), bundle.bytes, status));
    } else if (!status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

// Behind everything that the epoch has sent: when a shard reads these, it has read the events.
absl::Status Committer::SendClocks(const EpochEnd& end, const std::vector<EpochSeal>& seals) {
  ClockNews news;
  const std::vector<PartitionClock>& clocks = seals.front().partitions;
  for (const Position& position : end.read_positions) {
    if (position.partition >= clocks.size()) continue;
    const PartitionClock& clock = clocks[position.partition];
    // First where it stood: a shard must know what came before this plan (shard_clocks.h).
    const PartitionClock* told = nullptr;
    if (const auto gained = end.gained.find(position.partition); gained != end.gained.end()) {
      news.Add(position.partition, told, gained->second);
      told = &(sent_clocks_[position.partition] = gained->second);
    } else if (const auto sent = sent_clocks_.find(position.partition);
               sent != sent_clocks_.end()) {
      told = &sent->second;
    }
    if (told != nullptr && SameClock(*told, clock)) continue;
    news.Add(position.partition, told, clock);
    sent_clocks_[position.partition] = clock;
  }
  BundleWriter writer(*exactly_once_.exchange_plan, exactly_once_.plan_version);
  const auto send = [&]() -> absl::Status {
    const std::string bundle = writer.Finish();
    for (ShardId shard = 0; shard < store_.shards(); ++shard)
      BONGSU_RETURN_IF_ERROR(exactly_once_.log->Send(shard, bundle));
    return absl::OkStatus();
  };
  for (const ClockNews::Row& row : news.Take()) {
    writer.AddClock(row.partition, row.clock);
    if (writer.bytes() >= kBundleBytesMax) BONGSU_RETURN_IF_ERROR(send());
  }
  for (const EpochSeal& seal : seals) {
    for (const ShardResultNews& result : seal.results) {
      EventTimeNs& sent =
          sent_results_.emplace(std::pair(result.op, result.from), kMinEventTime).first->second;
      if (result.watermark <= sent) continue;
      sent = result.watermark;
      writer.AddResult(result.op, result.from, result.watermark);
      if (writer.bytes() >= kBundleBytesMax) BONGSU_RETURN_IF_ERROR(send());
    }
  }
  if (!writer.empty()) BONGSU_RETURN_IF_ERROR(send());
  return absl::OkStatus();
}

// What the next owner of each partition must know goes beside its offset: the clock of a source's,
// the epoch of a shard's.
std::vector<GroupOffset> Committer::Offsets(const EpochEnd& end, const EpochSeal& seal,
                                            const std::vector<ShardBundle>& bundles) const {
  std::vector<GroupOffset> offsets;
  for (const Position& position : end.read_positions) {
    if (position.next_offset < 0) continue;
    const PartitionInfo& info = partitions_.Get(position.partition);
    const PartitionClock clock = position.partition < seal.partitions.size()
                                     ? seal.partitions[position.partition]
                                     : PartitionClock();
    offsets.push_back({info.topic, info.partition, position.next_offset,
                       ClockText(clock, exactly_once_.plan_version)});
  }
  for (const ShardPosition& position : end.shard_positions) {
    uint64_t epoch = exactly_once_.changelog->position(position.shard).epoch;
    for (const ShardBundle& bundle : bundles) {
      if (bundle.shard == position.shard) epoch = bundle.epoch;
    }
    offsets.push_back({config_.exchange_topic(), position.shard, position.next_offset,
                       ShardMarkText({epoch, exactly_once_.plan_version})});
  }
  return offsets;
}

void Committer::TrimExchange(const EpochEnd& end) {
  const int64_t now = clock_.MonotonicNs();
  if (now - exchange_trimmed_ns_ < kTrimExchangeEveryNs) return;
  exchange_trimmed_ns_ = now;
  std::map<int, int64_t> before;
  for (const ShardPosition& position : end.shard_positions) {
    if (position.next_offset > 0) before[position.shard] = position.next_offset;
  }
  if (before.empty()) return;
  const absl::Status status = exactly_once_.trim_exchange(before);
  if (status.ok()) return;
  trims_failed_.fetch_add(1, std::memory_order_relaxed);
  LogWarning(fmt::format("the exchange was not trimmed: {}", std::string(status.message())));
}

}  // namespace bongsu
