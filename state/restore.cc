#include "state/restore.h"

#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "state/key_encoding.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

// A process that keeps breaking its disk is a case for a person.
constexpr int kSetAsideMax = 100;

// Takes bundles, one after the other, and writes them to the store in batches.
class ShardRestorer {
 public:
  ShardRestorer(Store& store, ShardId shard, const RestoreOptions& options)
      : store_(store), shard_(shard), options_(options), assembler_(store.identity(), shard) {}

  absl::StatusOr<RestoreResult> Run(ShardLogReader& log);

 private:
  absl::Status Begin(const ShardLogReader& log);
  absl::Status Take(const Bundle& bundle);
  absl::StatusOr<std::optional<FrozenRow>> Translate(const LogRow& row);
  absl::Status Apply();

  Store& store_;
  const ShardId shard_;
  const RestoreOptions& options_;
  BundleAssembler assembler_;
  std::unique_ptr<Overlay> overlay_ = std::make_unique<Overlay>();
  bool drop_rows_ = false;  // with the next batch
  bool fresh_ = false;      // no bundle has been taken over yet, and none of the local rows count
  std::map<OperatorName, std::optional<uint16_t>> operators_;  // the store's numbers
  std::string key_;                                            // scratch
  std::string end_;                                            // scratch
  RestoreResult result_;
};

// Where to begin.
absl::Status ShardRestorer::Begin(const ShardLogReader& log) {
  // Where the last checkpoints are in no log, its positions say nothing.
  const std::optional<ChangelogPosition> stored =
      store_.unlogged() ? std::nullopt : store_.changelog(shard_);
  RestoreProgress& progress = result_.progress;
  progress.shard = shard_;
  progress.end = log.end();
  fresh_ = !stored.has_value() || stored->next_offset < log.start();
  if (!fresh_) result_.position = *stored;
  if (fresh_) result_.position.next_offset = log.start();
  progress.from = progress.offset = result_.position.next_offset;
  if (!fresh_ && stored->next_offset > log.end()) {
    return LogError(
        LogFault::kBeyondEnd, shard_, log.end(),
        fmt::format("the local state was committed up to offset {}: the topic was made anew, or "
                    "brokers have lost acknowledged records; bring the topic back, or move the "
                    "state folder away to go on from what the log holds (alerts since then may "
                    "come again)",
                    stored->next_offset));
  }
  return absl::OkStatus();
}

// The log's row in terms of this store; none: of an operator that the configuration has replaced.
// The views are valid until the next call.
absl::StatusOr<std::optional<FrozenRow>> ShardRestorer::Translate(const LogRow& row) {
  auto it = operators_.find(*row.op);
  if (it == operators_.end()) {
    const std::string_view hash = row.op->hash;
    const uint64_t since = SinceOf(hash, hash.substr(0, hash.find('@'))).value_or(0);
    // Ours would be taken for the rule that has replaced it.
    if (since > options_.plan_version)
      return absl::AbortedError("the changelog has been gone on with under newer rules");
    BONGSU_ASSIGN_OR_RETURN(const std::optional<uint16_t> id,
                            store_.operators().ForLog(row.op->name, row.op->hash));
    it = operators_.emplace(*row.op, id).first;
  }
  if (!it->second) return std::optional<FrozenRow>();
  key_ = OperatorPrefix(row.family, shard_, *it->second);
  FrozenRow translated;
  translated.family = row.family;
  translated.kind = row.kind;
  translated.value = row.value;
  if (row.kind == kDeleteRange) {
    end_ = row.value.empty() ? PrefixEnd(key_) : key_ + std::string(row.value);
    translated.value = end_;
  }
  key_ += row.suffix;
  translated.key = key_;
  return std::optional<FrozenRow>(translated);
}

absl::Status ShardRestorer::Take(const Bundle& bundle) {
  if (store_.unlogged()) {
    return LogError(LogFault::kUnlogged, shard_, bundle.first_offset,
                    "the local state was last written with delivery: at_least_once, which keeps "
                    "no log: move the state folder away to go on from the log, or delete the "
                    "changelog topic to go on from the local state");
  }
  BONGSU_RETURN_IF_ERROR(Follows(result_.position, bundle));
  if (fresh_) {
    fresh_ = false;
    drop_rows_ = true;
    result_.from_nothing = true;
    if (!bundle.head.round.whole) result_.position.awaited_round = bundle.head.round.number;
  }
  auto rows = std::make_unique<FrozenShard>();
  rows->shard = shard_;
  BONGSU_RETURN_IF_ERROR(DecodeRows(bundle, [&](const LogRow& row) -> absl::Status {
    BONGSU_ASSIGN_OR_RETURN(const std::optional<FrozenRow> translated, Translate(row));
    if (translated)
      rows->Add(translated->family, translated->kind, translated->key, translated->value);
    return absl::OkStatus();
  }));
  overlay_->Merge(std::move(rows));
  result_.position = After(result_.position, bundle);
  ++result_.progress.bundles;
  result_.progress.rows += bundle.rows;
  result_.progress.offset = result_.position.next_offset;
  if (overlay_->bytes() < options_.batch_bytes) return absl::OkStatus();
  return Apply();
}

absl::Status ShardRestorer::Apply() {
  BONGSU_RETURN_IF_ERROR(store_.ApplyLog(shard_, *overlay_, result_.position, drop_rows_));
  drop_rows_ = false;
  overlay_ = std::make_unique<Overlay>();
  if (options_.progress) BONGSU_RETURN_IF_ERROR(options_.progress(result_.progress));
  return absl::OkStatus();
}

absl::StatusOr<RestoreResult> ShardRestorer::Run(ShardLogReader& log) {
  BONGSU_RETURN_IF_ERROR(Begin(log));
  BONGSU_RETURN_IF_ERROR(log.Seek(result_.position.next_offset));
  const uint64_t bundles_before = result_.progress.bundles;
  while (true) {
    int64_t offset = 0;
    std::string_view record;
    BONGSU_ASSIGN_OR_RETURN(const bool more, log.Next(&offset, &record));
    if (!more) break;
    ++result_.progress.records;
    result_.progress.bytes += record.size();
    BONGSU_ASSIGN_OR_RETURN(const bool sealed, assembler_.Add(offset, record));
    if (sealed) BONGSU_RETURN_IF_ERROR(Take(assembler_.bundle()));
  }
  if (result_.progress.bundles > bundles_before) {
    BONGSU_RETURN_IF_ERROR(Apply());
    BONGSU_RETURN_IF_ERROR(store_.Flush());
  }
  if (fresh_ && log.start() > 0) {
    return LogError(LogFault::kIncomplete, shard_, log.end(),
                    "all that it held was deleted; bring the topic back, or make it anew and start "
                    "with an empty state folder");
  }
  result_.abandoned = assembler_.abandoned() + (assembler_.in_hand() ? 1 : 0);
  if (result_.position.awaited_round != 0) {
    return LogError(
        LogFault::kIncomplete, shard_, result_.position.next_offset,
        fmt::format("it begins with round {}, which did not come to its end: records were deleted "
                    "that are still needed; bring the topic back, or start with another "
                    "application name",
                    result_.position.awaited_round));
  }
  return std::move(result_);
}

absl::Status TooManyAside(const std::string& path) {
  return absl::FailedPreconditionError(
      fmt::format("{} damaged states lie beside {}: the disk is failing; look at them, and remove "
                  "them",
                  kSetAsideMax, path));
}

}  // namespace

absl::StatusOr<std::optional<LogIdentity>> ReadLogIdentity(ShardId shard, ShardLogReader& log) {
  BONGSU_RETURN_IF_ERROR(log.Seek(log.start()));
  while (true) {
    int64_t offset = 0;
    std::string_view record;
    BONGSU_ASSIGN_OR_RETURN(const bool more, log.Next(&offset, &record));
    if (!more) return std::optional<LogIdentity>();
    BONGSU_ASSIGN_OR_RETURN(auto identity, IdentityOf(record, shard, offset));
    if (identity.has_value()) return identity;
  }
}

absl::StatusOr<RestoreResult> RestoreShard(Store& store, ShardId shard, ShardLogReader& log,
                                           const RestoreOptions& options) {
  return ShardRestorer(store, shard, options).Run(log);
}

namespace {

namespace fs = std::filesystem;

// CURRENT first: what is left of a store without it, after a crash, is found damaged again.
absl::StatusOr<std::string> MoveAside(const std::string& path, std::error_code why) {
  constexpr std::string_view kFolder = "damaged-";
  int number = 1;
  std::error_code error;
  const fs::path folder = path;
  const auto name_of = [&](int n) { return folder / fmt::format("{}{}", kFolder, n); };
  while (fs::exists(name_of(number), error)) ++number;
  if (number > kSetAsideMax) return TooManyAside(path);
  const fs::path aside = name_of(number);
  std::vector<std::string> names = {"CURRENT"};
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    std::error_code unknown;
    // Commands still come by the socket, and what a file system keeps in its root is not ours.
    if (name == "CURRENT" || name == "lost+found" || name.starts_with(kFolder) ||
        entry.is_socket(unknown))
      continue;
    names.push_back(name);
  }
  if (!error) fs::create_directory(aside, error);
  for (const std::string& name : names) {
    if (error) break;
    if (fs::exists(folder / name, error)) fs::rename(folder / name, aside / name, error);
  }
  if (!error) return aside.string();
  return absl::FailedPreconditionError(
      fmt::format("cannot set the damaged state {} aside: {}; nor what is in it: {}: move it away",
                  path, why.message(), error.message()));
}

}  // namespace

absl::StatusOr<std::string> SetAsideStore(const std::string& path) {
  for (int number = 1; number <= kSetAsideMax; ++number) {
    const std::string aside = fmt::format("{}.damaged-{}", path, number);
    std::error_code error;
    if (fs::exists(aside, error)) continue;
    fs::rename(path, aside, error);
    if (!error) return aside;
    // A mount point, or a folder in one that is not ours: what it holds can still be moved.
    return MoveAside(path, error);
  }
  return TooManyAside(path);
}

}  // namespace bongsu
