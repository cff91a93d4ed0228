#include "state/store.h"

#include <fmt/format.h>
#if __has_include(<rocksdb/advanced_cache.h>)
#include <rocksdb/advanced_cache.h>  // since 8: what a cache can do
#endif
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <rocksdb/write_buffer_manager.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <mutex>
#include <random>

#include "state/check.h"
#include "state/failpoint.h"
#include "state/key_encoding.h"
#include "state/status_macros.h"
#include "state/store_format.h"

namespace bongsu {
namespace {

constexpr int kOldestVersion = 1;

rocksdb::Slice ToSlice(std::string_view text) { return {text.data(), text.size()}; }
std::string_view ToView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

absl::Status FromRocks(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = fmt::format("{}: {}", what, status.ToString());
  if (status.IsCorruption()) return absl::DataLossError(message + kDamaged);
  if (status.IsNoSpace())
    return absl::ResourceExhaustedError(message + ": make room and start again");
  return absl::UnavailableError(message);
}

// RocksDB built with its assertions (Debian's is) may abort where it meets a full disk, so that
// room is made sure of before it opens and before each batch.
absl::Status EnsureRoom(const std::string& path, size_t batch_bytes) {
  constexpr uint64_t kReserveBytes = uint64_t{1} << 20;
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(path, error);
  const uint64_t needed = 2 * batch_bytes + kReserveBytes;
  if (error || space.available >= needed) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("the disk of the state in {} has {} bytes left, the next write may need {}: make "
                  "room and start again",
                  path, space.available, needed));
}

// Everything before time and seq: the rows of one key in one bucket of one list share it.
class ListKeyPrefix : public rocksdb::SliceTransform {
 public:
  const char* Name() const override { return "bongsu.list_key.1"; }
  rocksdb::Slice Transform(const rocksdb::Slice& key) const override {
    return {key.data(), Size(key)};
  }
  bool InDomain(const rocksdb::Slice& key) const override {
    return key.size() >= kListHeadBytes && key.size() >= Size(key);
  }

 private:
  static size_t Size(const rocksdb::Slice& key) {
    return kListHeadBytes + ReadU16(ToView(key).substr(kListHeadBytes - 2, 2));
  }
};

// RocksDB takes a folder without CURRENT for a new one and removes what it finds there. A store has
// table files from the moment on when it was made (Create ends with a flush): a folder without any
// is one whose making was interrupted, and is made anew.
absl::Status RefuseHeadless(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::is_directory(path, error) || fs::exists(fs::path(path) / "CURRENT", error))
    return absl::OkStatus();
  for (const auto& entry : fs::directory_iterator(path, error)) {
    if (entry.path().extension() == ".sst") {
      return absl::DataLossError(
          fmt::format("the state in {} has files, but no CURRENT{}", path, kDamaged));
    }
  }
  return absl::OkStatus();
}

// Environments of in_memory stores live as long as the process, so that reopening finds the
// content.
rocksdb::Env* MemoryEnv(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, std::unique_ptr<rocksdb::Env>> environments;
  std::lock_guard lock(mutex);
  auto& environment = environments[path];
  if (environment == nullptr) environment.reset(rocksdb::NewMemEnv(rocksdb::Env::Default()));
  return environment.get();
}

class RocksStore : public Store {
 public:
  explicit RocksStore(StoreOptions options) : options_(std::move(options)) {}
  ~RocksStore() override {
    for (auto* family : families_) db_->DestroyColumnFamilyHandle(family);
  }

  absl::Status Open();
  const std::optional<CheckpointMeta>& latest() const override { return latest_; }
  uint16_t shards() const override { return options_.shards; }
  uint64_t hash_seed() const override { return seed_; }
  LogIdentity identity() const override { return {options_.application, options_.shards, seed_}; }
  OperatorNumbers& operators() override { return operators_; }
  absl::StatusOr<uint16_t> OperatorId(std::string_view name, std::string_view semantic_hash,
                                      uint64_t* reset) override {
    return operators_.Claim(name, semantic_hash, reset);
  }
  std::vector<std::string> KeepOnly(const std::vector<uint16_t>& operators) override {
    return operators_.KeepOnly(operators);
  }
  absl::Status Commit(Checkpoint checkpoint) override;
  std::optional<ChangelogPosition> changelog(ShardId shard) const override;
  bool replayed() const override {
    std::lock_guard lock(mutex_);
    return replayed_;
  }
  bool unlogged() const override {
    std::lock_guard lock(mutex_);
    return unlogged_;
  }
  absl::StatusOr<bool> HasRows(ShardId shard) override;
  absl::Status ApplyLog(ShardId shard, const Overlay& overlay, const ChangelogPosition& position,
                        bool drop_rows) override;
  absl::Status BeginLog(
      const std::vector<std::pair<ShardId, ChangelogPosition>>& positions) override;
  absl::Status Flush() override;
  absl::Status Read(uint8_t family, std::string_view from, std::string_view to,
                    absl::FunctionRef<bool(std::string_view, std::string_view)> visit) override;
  absl::Status ReadKey(std::string_view prefix,
                       absl::FunctionRef<bool(std::string_view, std::string_view)> visit) override;
  Counters counters() const override {
    std::lock_guard lock(mutex_);
    return counters_;
  }
  Memory memory() const override;

 private:
  absl::Status Create();
  absl::Status Load();
  absl::Status LoadFormat(const std::string& format);
  absl::Status AgreeOnSeed();
  absl::Status LoadChangelog();
  std::string FormatRow(uint8_t version = kFormatVersion) const;
  rocksdb::ColumnFamilyHandle* FamilyOf(int family) const {
    return families_[static_cast<size_t>(family)];
  }
  // The parts of a batch. The lock is held until the batch is written.
  void AddOperators(const OperatorNumbers::Pending& pending, rocksdb::WriteBatch* batch) const;
  void AddRow(const FrozenRow& row, rocksdb::WriteBatch* batch);
  void AddOverlay(const Overlay& overlay, rocksdb::WriteBatch* batch);
  void AddPosition(ShardId shard, const ChangelogPosition& position, rocksdb::WriteBatch* batch);
  void AddLogFlags(bool replayed, bool unlogged, rocksdb::WriteBatch* batch);
  void AddShardDrop(ShardId shard, rocksdb::WriteBatch* batch);
  absl::Status Write(rocksdb::WriteBatch* batch);
  rocksdb::ColumnFamilyOptions FamilyOptions(int family) const;
  absl::Status Visit(rocksdb::Iterator& it, std::string_view from,
                     absl::FunctionRef<bool(std::string_view, std::string_view)> visit);
  StoreOptions options_;
  std::shared_ptr<rocksdb::Cache> cache_;
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> families_;
  std::optional<CheckpointMeta> latest_;
  uint64_t seed_ = 0;
  OperatorNumbers operators_;

  mutable std::mutex mutex_;
  bool failed_ = false;  // guarded by mutex_, as all below
  bool replayed_ = false;
  bool unlogged_ = false;
  bool upgrade_ = false;  // the stored format is an older one
  std::map<ShardId, ChangelogPosition> changelog_;
  Counters counters_;
};

rocksdb::ColumnFamilyOptions RocksStore::FamilyOptions(int family) const {
  rocksdb::ColumnFamilyOptions options;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache_;
  table.cache_index_and_filter_blocks = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  // In parts: the filter of a whole table can be larger than a shard of a small cache, which then
  // never keeps it, so that each seek reads it again.
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.partition_filters = true;
  table.format_version = 5;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.compression = rocksdb::kLZ4Compression;
  options.write_buffer_size = size_t{64} << 20;
  if (family == kListFamily) options.prefix_extractor = std::make_shared<ListKeyPrefix>();
  return options;
}

absl::Status RocksStore::Open() {
  cache_ = rocksdb::NewLRUCache(options_.memory_bytes);
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.atomic_flush = true;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.keep_log_file_num = 2;
  options.max_log_file_size = size_t{1} << 20;
  options.max_background_jobs = 2;
  // Write buffers are charged to the block cache: one budget for both.
  options.write_buffer_manager =
      std::make_shared<rocksdb::WriteBufferManager>(options_.memory_bytes / 2, cache_);
  if (!options_.in_memory) BONGSU_RETURN_IF_ERROR(EnsureRoom(options_.path, 0));
  if (options_.in_memory)
    options.env = MemoryEnv(options_.path);
  else
    BONGSU_RETURN_IF_ERROR(RefuseHeadless(options_.path));
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  descriptors.reserve(kFamilies);
  for (int i = 0; i < kFamilies; ++i) descriptors.emplace_back(kFamilyNames[i], FamilyOptions(i));
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status =
      rocksdb::DB::Open(options, options_.path, descriptors, &families_, &db);
  if (HeldByAnother(status.ToString())) {
    return absl::FailedPreconditionError(
        fmt::format("the state in {} is in use by another process: stop it, or give this one its "
                    "own state.path",
                    options_.path));
  }
  std::error_code error;
  if (!options_.in_memory && status.ToString().find("No such file") != std::string::npos &&
      std::filesystem::exists(std::filesystem::path(options_.path) / "CURRENT", error)) {
    return absl::DataLossError(fmt::format("cannot open the state in {}: {}{}", options_.path,
                                           status.ToString(), kDamaged));
  }
  BONGSU_RETURN_IF_ERROR(
      FromRocks(status, fmt::format("cannot open the state in {}", options_.path)));
  db_.reset(db);
  std::string format;
  const rocksdb::Status found =
      db_->Get(rocksdb::ReadOptions(), families_[kMetaFamily], kFormatKey, &format);
  if (found.IsNotFound()) return Create();
  BONGSU_RETURN_IF_ERROR(FromRocks(found, "cannot read the state"));
  return Load();
}

std::string RocksStore::FormatRow(uint8_t version) const {
  std::string body(1, static_cast<char>(version));
  AppendU16(options_.shards, &body);
  AppendU64(seed_, &body);
  body += options_.application;
  return WithChecksum(std::move(body));
}

absl::Status RocksStore::Create() {
  std::random_device random;
  seed_ = options_.hash_seed.value_or(static_cast<uint64_t>(random()) << 32 | random());
  rocksdb::WriteBatch batch;
  batch.Put(FamilyOf(kMetaFamily), kFormatKey,
            FormatRow(options_.made_as.value_or(kFormatVersion)));
  BONGSU_RETURN_IF_ERROR(Write(&batch));
  return Flush();
}

absl::Status RocksStore::LoadFormat(const std::string& format) {
  const int version = static_cast<uint8_t>(format[0]);
  if (version < kOldestVersion || version > kFormatVersion || format.size() < 11) {
    return absl::FailedPreconditionError(
        fmt::format("the state in {} has format version {}, this bongsu reads {} to {}: run the "
                    "version that wrote it, or give this one its own state.path",
                    options_.path, version, kOldestVersion, kFormatVersion));
  }
  upgrade_ = version != kFormatVersion;
  const uint16_t shards = ReadU16(std::string_view(format).substr(1));
  seed_ = ReadU64(std::string_view(format).substr(3));
  const std::string application = format.substr(11);
  if (application != options_.application) {
    return absl::FailedPreconditionError(
        fmt::format("the state in {} belongs to application '{}', not to '{}': give each "
                    "application its own state.path",
                    options_.path, application, options_.application));
  }
  if (shards != options_.shards) {
    return absl::FailedPreconditionError(
        fmt::format("the state in {} was made with {} shards, the configuration says {}: their "
                    "number is fixed when the state is "
                    "made; set state.shards: {}, or start with another state.path",
                    options_.path, shards, options_.shards, shards));
  }
  return absl::OkStatus();
}

// A store that holds nothing takes over the seed that the log says: it was made by a process that
// ended before its first commit, while another one wrote the log.
absl::Status RocksStore::AgreeOnSeed() {
  if (!options_.hash_seed.has_value() || *options_.hash_seed == seed_) return absl::OkStatus();
  const bool logged = std::any_of(changelog_.begin(), changelog_.end(),
                                  [](const auto& shard) { return shard.second.epoch > 0; });
  if (latest_.has_value() || logged) {
    return absl::FailedPreconditionError(
        fmt::format("the state in {} was made with another hash seed than the topics: it is of "
                    "another installation; move the folder away to restore it from the changelog",
                    options_.path));
  }
  seed_ = *options_.hash_seed;
  rocksdb::WriteBatch batch;
  batch.Put(FamilyOf(kMetaFamily), kFormatKey, FormatRow());
  BONGSU_RETURN_IF_ERROR(Write(&batch));
  return Flush();
}

absl::Status RocksStore::Load() {
  std::string bytes;
  BONGSU_RETURN_IF_ERROR(
      FromRocks(db_->Get(rocksdb::ReadOptions(), FamilyOf(kMetaFamily), kFormatKey, &bytes),
                "cannot read the state"));
  BONGSU_ASSIGN_OR_RETURN(const std::string format,
                          CheckedBody(std::move(bytes), "the state's head"));
  if (format.empty()) return absl::DataLossError("the state's head is too short");
  BONGSU_RETURN_IF_ERROR(LoadFormat(format));
  const rocksdb::Status found =
      db_->Get(rocksdb::ReadOptions(), FamilyOf(kMetaFamily), kCheckpointKey, &bytes);
  if (found.ok()) {
    BONGSU_ASSIGN_OR_RETURN(const std::string body,
                            CheckedBody(std::move(bytes), "the checkpoint"));
    if (body.size() < 8) return absl::DataLossError("the checkpoint is too short");
    latest_ = CheckpointMeta{ReadU64(body), body.substr(8)};
  } else if (!found.IsNotFound()) {
    return FromRocks(found, "cannot read the checkpoint");
  }
  absl::Status bad;
  BONGSU_RETURN_IF_ERROR(Read(kMetaFamily, OperatorNumbers::kPrefix,
                              PrefixEnd(OperatorNumbers::kPrefix),
                              [&](std::string_view key, std::string_view value) {
                                bad = operators_.Load(key, value);
                                return bad.ok();
                              }));
  BONGSU_RETURN_IF_ERROR(bad);
  BONGSU_RETURN_IF_ERROR(LoadChangelog());
  return AgreeOnSeed();
}

absl::Status RocksStore::LoadChangelog() {
  std::string bytes;
  const rocksdb::Status found =
      db_->Get(rocksdb::ReadOptions(), FamilyOf(kMetaFamily), kLogKey, &bytes);
  if (!found.ok() && !found.IsNotFound()) return FromRocks(found, "cannot read the state");
  if (found.ok() && bytes.size() != 1)
    return absl::DataLossError("the state's log record has the wrong size");
  replayed_ = found.ok() && (bytes[0] & 1) != 0;
  // Version 1 knew no log.
  unlogged_ = found.ok() ? (bytes[0] & 2) != 0 : upgrade_ && latest_.has_value();
  absl::Status bad;
  BONGSU_RETURN_IF_ERROR(Read(kMetaFamily, kChangelogPrefix, PrefixEnd(kChangelogPrefix),
                              [&](std::string_view key, std::string_view value) {
                                auto position = absl::StatusOr<ChangelogPosition>(
                                    absl::DataLossError("a changelog position has a wrong key"));
                                auto body = CheckedBody(std::string(value), "a changelog position");
                                if (!body.ok())
                                  position = body.status();
                                else if (key.size() == sizeof(kChangelogPrefix) - 1 + 2)
                                  position = DecodePosition(*body);
                                bad = position.status();
                                if (bad.ok())
                                  changelog_[ReadU16(key.substr(key.size() - 2))] =
                                      *std::move(position);
                                return bad.ok();
                              }));
  return bad;
}

// ---- writing -----------------------------------------------------------------------------------

absl::Status RocksStore::Write(rocksdb::WriteBatch* batch) {
  if (!options_.in_memory) BONGSU_RETURN_IF_ERROR(EnsureRoom(options_.path, batch->GetDataSize()));
  rocksdb::WriteOptions write;
  write.disableWAL = true;
  return FromRocks(db_->Write(write, batch), "cannot write the state");
}

absl::Status RocksStore::Flush() {
  rocksdb::FlushOptions flush;
  flush.wait = true;
  flush.allow_write_stall = true;
  return FromRocks(db_->Flush(flush, families_), "cannot flush the state");
}

void RocksStore::AddOperators(const OperatorNumbers::Pending& pending,
                              rocksdb::WriteBatch* batch) const {
  for (uint16_t id : pending.removed) {
    for (int shard = 0; shard < options_.shards; ++shard) {
      for (int family = 0; family < kFamilies; ++family) {
        const std::string from =
            OperatorPrefix(static_cast<Family>(family), static_cast<ShardId>(shard), id);
        batch->DeleteRange(FamilyOf(family), from, PrefixEnd(from));
      }
    }
  }
  for (const std::string& key : pending.erase) batch->Delete(FamilyOf(kMetaFamily), key);
  for (const auto& row : pending.put) batch->Put(FamilyOf(kMetaFamily), row.key, row.value);
}

void RocksStore::AddRow(const FrozenRow& row, rocksdb::WriteBatch* batch) {
  auto* family = FamilyOf(row.family);
  if (row.kind == kPut)
    batch->Put(family, ToSlice(row.key), ToSlice(row.value));
  else if (row.kind == kDelete)
    batch->Delete(family, ToSlice(row.key));
  else
    batch->DeleteRange(family, ToSlice(row.key), ToSlice(row.value));
  ++counters_.rows_written;
}

void RocksStore::AddOverlay(const Overlay& overlay, rocksdb::WriteBatch* batch) {
  // Ranges first: what the overlay still holds was put after the range that covers it.
  overlay.VisitRanges([&](Family family, std::string_view from, std::string_view to) {
    AddRow({from, to, family, kDeleteRange}, batch);
  });
  overlay.VisitRows([&](const FrozenRow& row) { AddRow(row, batch); });
}

void RocksStore::AddPosition(ShardId shard, const ChangelogPosition& position,
                             rocksdb::WriteBatch* batch) {
  std::string key = kChangelogPrefix;
  AppendU16(shard, &key);
  batch->Put(FamilyOf(kMetaFamily), key, WithChecksum(EncodePosition(position)));
}

void RocksStore::AddLogFlags(bool replayed, bool unlogged, rocksdb::WriteBatch* batch) {
  const char flags = static_cast<char>((replayed ? 1 : 0) | (unlogged ? 2 : 0));
  batch->Put(FamilyOf(kMetaFamily), kLogKey, rocksdb::Slice(&flags, 1));
  if (upgrade_) batch->Put(FamilyOf(kMetaFamily), kFormatKey, FormatRow());
}

void RocksStore::AddShardDrop(ShardId shard, rocksdb::WriteBatch* batch) {
  std::string from;
  AppendU16(shard, &from);
  for (int family = kListFamily; family < kFamilies; ++family)
    batch->DeleteRange(FamilyOf(family), from, PrefixEnd(from));
  from.insert(from.begin(), kListMeta);
  batch->DeleteRange(FamilyOf(kMetaFamily), from, PrefixEnd(from));
}

absl::Status RocksStore::Commit(Checkpoint checkpoint) {
  BONGSU_CHECK_MSG(!latest_.has_value() || checkpoint.meta.epoch > latest_->epoch,
                   "epochs only grow");
  const auto started = std::chrono::steady_clock::now();
  const OperatorNumbers::Pending operators = operators_.pending();
  const bool unlogged = !checkpoint.changes.empty();
  {
    std::lock_guard lock(mutex_);
    if (failed_) return absl::FailedPreconditionError("the state failed to write before: restart");
    rocksdb::WriteBatch batch;
    AddOperators(operators, &batch);
    for (const auto& shard : checkpoint.changes) {
      for (const FrozenRow& row : shard->rows) AddRow(row, &batch);
    }
    for (const Checkpoint::Logged& logged : checkpoint.logged) {
      AddOverlay(*logged.overlay, &batch);
      AddPosition(logged.shard, logged.position, &batch);
    }
    std::string body;
    AppendU64(checkpoint.meta.epoch, &body);
    batch.Put(FamilyOf(kMetaFamily), kCheckpointKey,
              WithChecksum(body + checkpoint.meta.positions));
    AddLogFlags(/*replayed=*/false, unlogged || unlogged_, &batch);
    counters_.bytes_written += batch.GetDataSize();
    if (absl::Status status = Write(&batch); !status.ok()) {
      failed_ = true;
      return status;
    }
    replayed_ = false;
    unlogged_ = unlogged_ || unlogged;
    upgrade_ = false;
  }
  BONGSU_FAILPOINT(kStoreBatched);
  absl::Status status = Flush();
  std::lock_guard lock(mutex_);
  if (!status.ok()) {
    failed_ = true;
    return status;
  }
  operators_.Written(operators);
  for (Checkpoint::Logged& logged : checkpoint.logged)
    changelog_[logged.shard] = std::move(logged.position);
  latest_ = std::move(checkpoint.meta);
  ++counters_.commits;
  counters_.commit_ns_total += std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now() - started)
                                   .count();
  return absl::OkStatus();
}

// ---- the log -----------------------------------------------------------------------------------

std::optional<ChangelogPosition> RocksStore::changelog(ShardId shard) const {
  std::lock_guard lock(mutex_);
  const auto it = changelog_.find(shard);
  if (it == changelog_.end()) return std::nullopt;
  return it->second;
}

absl::StatusOr<bool> RocksStore::HasRows(ShardId shard) {
  std::string from;
  AppendU16(shard, &from);
  bool found = false;
  for (uint8_t family = kListFamily; family < kFamilies && !found; ++family) {
    BONGSU_RETURN_IF_ERROR(
        Read(family, from, PrefixEnd(from), [&](std::string_view, std::string_view) {
          found = true;
          return false;
        }));
  }
  return found;
}

absl::Status RocksStore::ApplyLog(ShardId shard, const Overlay& overlay,
                                  const ChangelogPosition& position, bool drop_rows) {
  OperatorNumbers::Pending operators = operators_.pending();
  operators.erase.clear();
  operators.removed.clear();
  std::lock_guard lock(mutex_);
  if (failed_) return absl::FailedPreconditionError("the state failed to write before: restart");
  rocksdb::WriteBatch batch;
  if (drop_rows) AddShardDrop(shard, &batch);
  AddOperators(operators, &batch);
  AddOverlay(overlay, &batch);
  AddPosition(shard, position, &batch);
  AddLogFlags(/*replayed=*/true, unlogged_, &batch);
  counters_.bytes_written += batch.GetDataSize();
  if (absl::Status status = Write(&batch); !status.ok()) {
    failed_ = true;
    return status;
  }
  operators_.Written(operators);
  replayed_ = true;
  upgrade_ = false;
  changelog_[shard] = position;
  return absl::OkStatus();
}

absl::Status RocksStore::BeginLog(
    const std::vector<std::pair<ShardId, ChangelogPosition>>& positions) {
  {
    std::lock_guard lock(mutex_);
    rocksdb::WriteBatch batch;
    for (const auto& [shard, position] : positions) AddPosition(shard, position, &batch);
    AddLogFlags(replayed_, /*unlogged=*/false, &batch);
    BONGSU_RETURN_IF_ERROR(Write(&batch));
    for (const auto& [shard, position] : positions) changelog_[shard] = position;
    unlogged_ = false;
    upgrade_ = false;
  }
  return Flush();
}

// ---- reading -----------------------------------------------------------------------------------

absl::Status RocksStore::Visit(rocksdb::Iterator& it, std::string_view from,
                               absl::FunctionRef<bool(std::string_view, std::string_view)> visit) {
  for (it.Seek(ToSlice(from)); it.Valid(); it.Next()) {
    if (!visit(ToView(it.key()), ToView(it.value()))) break;
  }
  return FromRocks(it.status(), "cannot read the state");
}

absl::Status RocksStore::Read(uint8_t family, std::string_view from, std::string_view to,
                              absl::FunctionRef<bool(std::string_view, std::string_view)> visit) {
  const rocksdb::Slice end = ToSlice(to);
  rocksdb::ReadOptions options;
  options.total_order_seek = true;
  if (!to.empty()) options.iterate_upper_bound = &end;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options, families_[family]));
  return Visit(*it, from, visit);
}

absl::Status RocksStore::ReadKey(
    std::string_view prefix, absl::FunctionRef<bool(std::string_view, std::string_view)> visit) {
  const std::string to = PrefixEnd(std::string(prefix));
  const rocksdb::Slice end = to;
  rocksdb::ReadOptions options;
  options.prefix_same_as_start = true;
  if (!to.empty()) options.iterate_upper_bound = &end;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options, families_[kListFamily]));
  return Visit(*it, prefix, visit);
}

Store::Memory RocksStore::memory() const {
  Memory memory;
  memory.block_cache = cache_->GetUsage();
  for (auto* family : families_) {
    uint64_t bytes = 0;
    if (db_->GetIntProperty(family, rocksdb::DB::Properties::kCurSizeAllMemTables, &bytes))
      memory.write_buffers += bytes;
    if (db_->GetIntProperty(family, rocksdb::DB::Properties::kEstimateTableReadersMem, &bytes))
      memory.table_readers += bytes;
  }
  return memory;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> Store::Open(StoreOptions options) {
  auto store = std::make_unique<RocksStore>(std::move(options));
  BONGSU_RETURN_IF_ERROR(store->Open());
  return absl::StatusOr<std::unique_ptr<Store>>(std::move(store));
}

}  // namespace bongsu
