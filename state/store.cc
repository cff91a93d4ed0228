#include "state/store.h"

#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <rocksdb/write_buffer_manager.h>

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <random>
#include <set>

#include "state/check.h"
#include "state/key_encoding.h"
#include "state/status_macros.h"
#include "state/string_map.h"

namespace bongsu {
namespace {

constexpr int kFormatVersion = 1;
constexpr char kFormatKey[] = "format";
constexpr char kCheckpointKey[] = "checkpoint";
constexpr char kOperatorPrefix[] = "operator/";
constexpr uint16_t kOperatorsMax = 60'000;

rocksdb::Slice ToSlice(std::string_view text) { return {text.data(), text.size()}; }
std::string_view ToView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

absl::Status FromRocks(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = fmt::format("{}: {}", what, status.ToString());
  if (status.IsCorruption()) {
    return absl::DataLossError(
        message +
        ": the state is damaged; restore a backup, or move the folder away and start anew");
  }
  if (status.IsNoSpace())
    return absl::ResourceExhaustedError(message + ": make room and start again");
  return absl::UnavailableError(message);
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

// "application\0shards\0seed" and the version in front, with a checksum over all of it.
std::string WithChecksum(std::string body) {
  AppendU64(XXH3_64bits(body.data(), body.size()), &body);
  return body;
}

absl::StatusOr<std::string> CheckedBody(std::string bytes, std::string_view what) {
  if (bytes.size() < 8) return absl::DataLossError(fmt::format("{} is too short", what));
  const uint64_t checksum = ReadU64(std::string_view(bytes).substr(bytes.size() - 8));
  bytes.resize(bytes.size() - 8);
  if (checksum != XXH3_64bits(bytes.data(), bytes.size())) {
    return absl::DataLossError(
        fmt::format("the checksum of {} does not hold: the state is damaged; restore a "
                    "backup, or move the folder away and start anew",
                    what));
  }
  return bytes;
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
  absl::StatusOr<uint16_t> OperatorId(std::string_view name, std::string_view semantic_hash,
                                      uint64_t* reset) override;
  std::vector<std::string> UnclaimedOperators() const override;
  absl::Status Commit(Checkpoint checkpoint) override;
  absl::Status Read(uint8_t family, std::string_view from, std::string_view to,
                    absl::FunctionRef<bool(std::string_view, std::string_view)> visit) override;
  absl::Status ReadKey(std::string_view prefix,
                       absl::FunctionRef<bool(std::string_view, std::string_view)> visit) override;
  Counters counters() const override { return counters_; }
  Memory memory() const override;

 private:
  struct OperatorEntry {
    uint16_t id = 0;
    std::string hash;
    bool claimed = false;
    bool changed = false;  // not yet in the store as it is here
  };
  absl::Status Create();
  absl::Status Load();
  rocksdb::ColumnFamilyOptions FamilyOptions(int family) const;
  absl::Status Visit(rocksdb::Iterator& it, std::string_view from,
                     absl::FunctionRef<bool(std::string_view, std::string_view)> visit);
  absl::Status WriteAndFlush(rocksdb::WriteBatch* batch);

  StoreOptions options_;
  std::shared_ptr<rocksdb::Cache> cache_;
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> families_;
  std::optional<CheckpointMeta> latest_;
  uint64_t seed_ = 0;
  StringMap<OperatorEntry> operators_;
  uint16_t next_operator_ = 1;
  std::set<uint16_t> removed_operators_;  // to be removed with the next commit
  bool failed_ = false;
  Counters counters_;
};

rocksdb::ColumnFamilyOptions RocksStore::FamilyOptions(int family) const {
  rocksdb::ColumnFamilyOptions options;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache_;
  table.cache_index_and_filter_blocks = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
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
  if (options_.in_memory) options.env = MemoryEnv(options_.path);
  static constexpr const char* kNames[kFamilies] = {"default", "lists", "values", "timers"};
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (int i = 0; i < kFamilies; ++i) descriptors.emplace_back(kNames[i], FamilyOptions(i));
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status =
      rocksdb::DB::Open(options, options_.path, descriptors, &families_, &db);
  if (status.IsIOError() && status.ToString().find("lock") != std::string::npos) {
    return absl::FailedPreconditionError(
        fmt::format("the state in {} is in use by another process: stop it, or give this one its "
                    "own state.path",
                    options_.path));
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

absl::Status RocksStore::Create() {
  std::random_device random;
  seed_ = static_cast<uint64_t>(random()) << 32 | random();
  std::string body(1, static_cast<char>(kFormatVersion));
  AppendU16(options_.shards, &body);
  AppendU64(seed_, &body);
  body += options_.application;
  rocksdb::WriteBatch batch;
  batch.Put(families_[kMetaFamily], kFormatKey, WithChecksum(std::move(body)));
  return WriteAndFlush(&batch);
}

absl::Status RocksStore::Load() {
  std::string bytes;
  BONGSU_RETURN_IF_ERROR(
      FromRocks(db_->Get(rocksdb::ReadOptions(), families_[kMetaFamily], kFormatKey, &bytes),
                "cannot read the state"));
  BONGSU_ASSIGN_OR_RETURN(const std::string format,
                          CheckedBody(std::move(bytes), "the state's head"));
  const int version = static_cast<uint8_t>(format[0]);
  if (version != kFormatVersion || format.size() < 11) {
    return absl::FailedPreconditionError(
        fmt::format("the state in {} has format version {}, this bongsu reads {}: run the version "
                    "that wrote it, or give this one "
                    "its own state.path",
                    options_.path, version, kFormatVersion));
  }
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
  const rocksdb::Status found =
      db_->Get(rocksdb::ReadOptions(), families_[kMetaFamily], kCheckpointKey, &bytes);
  if (found.ok()) {
    BONGSU_ASSIGN_OR_RETURN(const std::string body,
                            CheckedBody(std::move(bytes), "the checkpoint"));
    if (body.size() < 8) return absl::DataLossError("the checkpoint is too short");
    latest_ = CheckpointMeta{ReadU64(body), body.substr(8)};
  } else if (!found.IsNotFound()) {
    return FromRocks(found, "cannot read the checkpoint");
  }
  absl::Status bad;
  BONGSU_RETURN_IF_ERROR(Read(
      kMetaFamily, kOperatorPrefix, PrefixEnd(kOperatorPrefix),
      [&](std::string_view key, std::string_view value) {
        if (value.size() < 2) {
          bad = absl::DataLossError("an operator's record is too short");
          return false;
        }
        OperatorEntry entry;
        entry.id = ReadU16(value);
        entry.hash = std::string(value.substr(2));
        next_operator_ = std::max<uint16_t>(next_operator_, static_cast<uint16_t>(entry.id + 1));
        operators_[std::string(key.substr(sizeof(kOperatorPrefix) - 1))] = entry;
        return true;
      }));
  return bad;
}

absl::StatusOr<uint16_t> RocksStore::OperatorId(std::string_view name,
                                                std::string_view semantic_hash, uint64_t* reset) {
  *reset = 0;
  OperatorEntry& entry = operators_[std::string(name)];
  entry.claimed = true;
  if (entry.id != 0 && entry.hash == semantic_hash) return entry.id;
  if (next_operator_ >= kOperatorsMax) {
    return absl::ResourceExhaustedError(fmt::format(
        "the state has seen {} operators: start with another state.path", kOperatorsMax));
  }
  if (entry.id != 0) {
    // Another rule under the same name. A fresh number: nothing of the old can be read by mistake.
    removed_operators_.insert(entry.id);
    *reset = 1;
  }
  entry.id = next_operator_++;
  entry.hash = std::string(semantic_hash);
  entry.changed = true;
  return entry.id;
}

std::vector<std::string> RocksStore::UnclaimedOperators() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : operators_) {
    if (!entry.claimed) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status RocksStore::WriteAndFlush(rocksdb::WriteBatch* batch) {
  rocksdb::WriteOptions write;
  write.disableWAL = true;
  BONGSU_RETURN_IF_ERROR(FromRocks(db_->Write(write, batch), "cannot write the state"));
  rocksdb::FlushOptions flush;
  flush.wait = true;
  flush.allow_write_stall = true;
  return FromRocks(db_->Flush(flush, families_), "cannot flush the state");
}

absl::Status RocksStore::Commit(Checkpoint checkpoint) {
  if (failed_) return absl::FailedPreconditionError("the state failed to write before: restart");
  BONGSU_CHECK_MSG(!latest_.has_value() || checkpoint.meta.epoch > latest_->epoch,
                   "epochs only grow");
  const auto started = std::chrono::steady_clock::now();
  rocksdb::WriteBatch batch;
  for (uint16_t id : removed_operators_) {
    for (ShardId shard = 0; shard < options_.shards; ++shard) {
      std::string from;
      AppendU16(shard, &from);
      AppendU16(id, &from);
      const std::string to = PrefixEnd(from);
      for (int family = kListFamily; family < kFamilies; ++family) {
        batch.DeleteRange(families_[static_cast<size_t>(family)], from, to);
      }
    }
  }
  for (auto& [name, entry] : operators_) {
    if (!entry.changed) continue;
    std::string value;
    AppendU16(entry.id, &value);
    batch.Put(families_[kMetaFamily], kOperatorPrefix + name, value + entry.hash);
  }
  for (const auto& shard : checkpoint.changes) {
    for (const FrozenShard::Write& write : shard->writes) {
      auto* family = families_[write.family];
      if (write.kind == kPut)
        batch.Put(family, write.key, write.value);
      else if (write.kind == kDelete)
        batch.Delete(family, write.key);
      else
        batch.DeleteRange(family, write.key, write.value);
    }
    counters_.rows_written += shard->writes.size();
  }
  std::string body;
  AppendU64(checkpoint.meta.epoch, &body);
  batch.Put(families_[kMetaFamily], kCheckpointKey, WithChecksum(body + checkpoint.meta.positions));
  counters_.bytes_written += batch.GetDataSize();
  const absl::Status status = WriteAndFlush(&batch);
  if (!status.ok()) {
    failed_ = true;
    return status;
  }
  removed_operators_.clear();
  for (auto& [name, entry] : operators_) entry.changed = false;
  latest_ = std::move(checkpoint.meta);
  ++counters_.commits;
  counters_.commit_ns_total += std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now() - started)
                                   .count();
  return absl::OkStatus();
}

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

size_t FrozenShard::bytes() const {
  size_t sum = 0;
  for (const Write& write : writes) sum += write.key.size() + write.value.size();
  return sum;
}

absl::StatusOr<std::unique_ptr<Store>> Store::Open(StoreOptions options) {
  auto store = std::make_unique<RocksStore>(std::move(options));
  BONGSU_RETURN_IF_ERROR(store->Open());
  return absl::StatusOr<std::unique_ptr<Store>>(std::move(store));
}

}  // namespace bongsu
