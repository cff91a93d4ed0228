#include "pipeline/recovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "pipeline/epoch_log.h"
#include "pipeline/logging.h"
#include "pipeline/positions.h"
#include "state/failpoint.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

using Readers = std::vector<std::unique_ptr<ShardLogReader>>;

absl::Status RestoreShards(Store& store, Readers& readers, const RestoreWatcher& watcher,
                           std::vector<uint64_t>* epochs) {
  uint64_t rows = 0;
  uint64_t bytes = 0;
  for (ShardId shard = 0; shard < store.shards(); ++shard) {
    BONGSU_ASSIGN_OR_RETURN(const RestoreResult result,
                            RestoreFrom(store, shard, *readers[shard], watcher));
    epochs->push_back(result.position.epoch);
    rows += result.progress.rows;
    bytes += result.progress.bytes;
  }
  LogInfo(fmt::format("restored {} rows of {} bytes from the changelog", rows, bytes));
  return absl::OkStatus();
}

// The last record of the positions' partition.
absl::StatusOr<std::optional<CheckpointMeta>> ReadPositions(ShardLogReader& reader,
                                                            PipelinePositions* positions) {
  std::optional<CheckpointMeta> meta;
  int64_t offset = 0;
  std::string_view bytes;
  std::string parts;
  BONGSU_RETURN_IF_ERROR(reader.Seek(reader.start()));
  while (true) {
    BONGSU_ASSIGN_OR_RETURN(const bool more, reader.Next(&offset, &bytes));
    if (!more) break;
    if (!TakePositionsRecord(bytes, &parts)) continue;
    meta.emplace();
    meta->positions = std::exchange(parts, {});
  }
  if (!meta.has_value()) return meta;
  absl::StatusOr<PipelinePositions> decoded = DecodePositions(meta->positions);
  if (!decoded.ok()) {
    return absl::FailedPreconditionError(
        fmt::format("the changelog's last positions are damaged: {}. Restore the topic, or start "
                    "anew with another application name",
                    std::string(decoded.status().message())));
  }
  *positions = *std::move(decoded);
  meta->epoch = positions->epoch;
  return meta;
}

// Three witnesses of one transaction.
absl::Status Compare(const Config& config, const std::optional<CheckpointMeta>& meta,
                     const PipelinePositions& positions, const std::vector<uint64_t>& epochs,
                     EpochId committed) {
  const std::string topic = ChangelogTopic(config);
  if (!meta.has_value()) {
    const bool rows = std::any_of(epochs.begin(), epochs.end(), [](uint64_t e) { return e > 0; });
    if (!rows && committed == 0) return absl::OkStatus();
    return absl::FailedPreconditionError(
        fmt::format("group '{}' stands at epoch {}, but topic '{}' holds no positions: the topic "
                    "was made anew or truncated. Restore it, or start anew with another "
                    "application name",
                    config.application, committed, topic));
  }
  if (positions.shard_epochs != epochs) {
    return absl::FailedPreconditionError(fmt::format(
        "the shards' logs in topic '{}' do not end where the positions of epoch {} say: "
        "records are missing from it. Restore the topic, or start anew with another "
        "application name",
        topic, meta->epoch));
  }
  if (committed == 0) {
    LogWarning(
        fmt::format("group '{}' has no offsets any more; the changelog's positions of epoch "
                    "{} count",
                    config.application, meta->epoch));
    return absl::OkStatus();
  }
  if (committed == meta->epoch) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("group '{}' stands at epoch {}, but topic '{}' at epoch {}: one of them was "
                  "changed from outside. Restore it, or start anew with another application name",
                  config.application, committed, topic, meta->epoch));
}

}  // namespace

absl::StatusOr<RestoreResult> RestoreFrom(Store& store, ShardId shard, ShardLogReader& reader,
                                          const RestoreWatcher& watcher, RestoreOptions options) {
  options.progress = [&](const RestoreProgress& progress) {
    BONGSU_FAILPOINT(kRestoring);
    watcher(progress, /*done=*/false);
    if (progress.end - progress.from > 0) {
      LogDebug(fmt::format("restoring shard {}: offset {} of {}, {} rows", shard, progress.offset,
                           progress.end, progress.rows));
    }
    return absl::OkStatus();
  };
  BONGSU_ASSIGN_OR_RETURN(RestoreResult result, RestoreShard(store, shard, reader, options));
  if (result.from_nothing)
    LogInfo(fmt::format("shard {} is restored from the changelog alone", shard));
  watcher(result.progress, /*done=*/true);
  return result;
}

absl::StatusOr<std::unique_ptr<Store>> OpenOrSetAside(const StoreOptions& options) {
  absl::StatusOr<std::unique_ptr<Store>> store = Store::Open(options);
  if (!absl::IsDataLoss(store.status()) || LogFaultOf(store.status()).has_value()) return store;
  BONGSU_ASSIGN_OR_RETURN(const std::string aside, SetAsideStore(options.path));
  LogWarning(
      fmt::format("the state in {} is damaged ({}): it was set aside as {}, and is restored "
                  "from the changelog",
                  options.path, std::string(store.status().message()), aside));
  return Store::Open(options);
}

absl::StatusOr<Recovered> Recover(const Config& config, LogTopic& log,
                                  const OpenStoreFunction& open_store, EpochId committed,
                                  const RestoreWatcher& watcher) {
  const int shards = config.state.shards;
  if (log.partitions() != shards + 1) {
    return absl::FailedPreconditionError(
        fmt::format("topic '{}' has {} partitions, not {} (state.shards and one more): shards are "
                    "fixed once the topic exists. Use the old value, or another application name",
                    ChangelogTopic(config), log.partitions(), shards + 1));
  }
  Readers readers;
  std::optional<uint64_t> hash_seed;
  for (int partition = 0; partition <= shards; ++partition) {
    BONGSU_ASSIGN_OR_RETURN(std::unique_ptr<ShardLogReader> reader, log.Reader(partition));
    readers.push_back(std::move(reader));
    if (partition == shards || hash_seed.has_value()) continue;
    BONGSU_ASSIGN_OR_RETURN(const std::optional<LogIdentity> identity,
                            ReadLogIdentity(static_cast<ShardId>(partition), *readers.back()));
    if (identity.has_value()) hash_seed = identity->hash_seed;
  }
  Recovered recovered;
  BONGSU_ASSIGN_OR_RETURN(recovered.store, open_store(hash_seed));
  std::vector<uint64_t> epochs;
  BONGSU_RETURN_IF_ERROR(RestoreShards(*recovered.store, readers, watcher, &epochs));
  PipelinePositions positions;
  BONGSU_ASSIGN_OR_RETURN(recovered.resume, ReadPositions(*readers.back(), &positions));
  BONGSU_RETURN_IF_ERROR(Compare(config, recovered.resume, positions, epochs, committed));
  BONGSU_FAILPOINT(kRestored);
  return recovered;
}

}  // namespace bongsu
