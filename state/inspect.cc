#include "state/inspect.h"

#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "state/key_encoding.h"
#include "state/operator_numbers.h"
#include "state/status_macros.h"
#include "state/store_format.h"

namespace bongsu {
namespace {

absl::Status FromRocks(const rocksdb::Status& status, const std::string& path) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = fmt::format("the state in {}: {}", path, status.ToString());
  return status.IsCorruption() ? absl::DataLossError(text) : absl::UnavailableError(text);
}

class Inspector : public StateInspector {
 public:
  explicit Inspector(std::string path) : path_(std::move(path)) {}
  ~Inspector() override {
    for (auto* family : families_) db_->DestroyColumnFamilyHandle(family);
    if (lock_ != nullptr) (void)rocksdb::Env::Default()->UnlockFile(lock_);
    db_.reset();
    std::error_code error;
    if (!scratch_.empty()) std::filesystem::remove_all(scratch_, error);
  }
  // `beside`: an instance may be running.
  absl::Status Open(bool beside);
  absl::StatusOr<StateInfo> Head() override;
  absl::StatusOr<StateInfo> Info() override;
  absl::Status Verify() override;
  absl::Status Export(absl::FunctionRef<void(const StateRow&)> visit) override;
  absl::Status ExportOperator(std::string_view name, std::string_view semantic_hash,
                              absl::FunctionRef<void(const StateRow&)> visit) override;

 private:
  absl::Status Lock();
  absl::StatusOr<std::string> Meta(const std::string& key, bool* found);
  absl::Status ReadOperators();
  // Of a family, in order; an error stops it.
  absl::Status Rows(int family, absl::FunctionRef<absl::Status(const StateRow&, uint16_t)> visit);
  // Those whose key begins with `prefix`.
  absl::Status Rows(int family, const std::string& prefix,
                    absl::FunctionRef<absl::Status(const StateRow&, uint16_t)> visit);
  absl::Status Split(int family, std::string_view key, std::string_view value, StateRow* row,
                     uint16_t* op);

  const std::string path_;
  std::string scratch_;  // what RocksDB writes as a secondary: its log
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> families_;
  rocksdb::FileLock* lock_ = nullptr;
  OperatorNumbers operators_;
  std::map<uint16_t, OperatorName> names_;
  std::map<std::string, EventTimeNs, std::less<>> expired_;  // by list's row prefix
};

// An instance that runs holds this file locked.
absl::Status Inspector::Lock() {
  const std::string path = path_ + "/LOCK";
  // A copy on a medium that nobody can write to: nobody runs on it either.
  if (access(path.c_str(), W_OK) != 0 && errno == EROFS) return absl::OkStatus();
  const rocksdb::Status locked = rocksdb::Env::Default()->LockFile(path, &lock_);
  if (locked.ok()) return absl::OkStatus();
  lock_ = nullptr;
  if (!HeldByAnother(locked.ToString())) return FromRocks(locked, path_);
  return absl::FailedPreconditionError(
      fmt::format("the state in {} is in use by another process: stop it first", path_));
}

absl::Status Inspector::Open(bool beside) {
  std::error_code error;
  if (!std::filesystem::exists(std::filesystem::path(path_) / "CURRENT", error)) {
    return absl::FailedPreconditionError(
        fmt::format("there is no state in {}: name the folder of state.path", path_));
  }
  if (!beside) BONGSU_RETURN_IF_ERROR(Lock());
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const char* name : kFamilyNames)
    descriptors.emplace_back(name, rocksdb::ColumnFamilyOptions());
  rocksdb::DB* db = nullptr;
  rocksdb::Status opened;
  if (beside) {
    std::string folder =
        (std::filesystem::temp_directory_path(error) / "bongsu-look-XXXXXX").string();
    if (mkdtemp(folder.data()) == nullptr)
      return absl::UnavailableError(fmt::format("cannot make a folder like {}", folder));
    scratch_ = folder;
    rocksdb::DBOptions options;
    options.max_open_files = -1;  // all are opened now: the instance may delete them meanwhile
    opened = rocksdb::DB::OpenAsSecondary(options, path_, scratch_, descriptors, &families_, &db);
  } else {
    opened =
        rocksdb::DB::OpenForReadOnly(rocksdb::DBOptions(), path_, descriptors, &families_, &db);
  }
  BONGSU_RETURN_IF_ERROR(FromRocks(opened, path_));
  db_.reset(db);
  return ReadOperators();
}

absl::StatusOr<std::string> Inspector::Meta(const std::string& key, bool* found) {
  std::string bytes;
  const rocksdb::Status status =
      db_->Get(rocksdb::ReadOptions(), families_[kMetaFamily], key, &bytes);
  *found = status.ok();
  if (status.ok() || status.IsNotFound()) return bytes;
  return FromRocks(status, path_);
}

absl::Status Inspector::ReadOperators() {
  const std::unique_ptr<rocksdb::Iterator> it(
      db_->NewIterator(rocksdb::ReadOptions(), families_[kMetaFamily]));
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const std::string key = it->key().ToString();
    const std::string value = it->value().ToString();
    if (key.starts_with(OperatorNumbers::kPrefix))
      BONGSU_RETURN_IF_ERROR(operators_.Load(key, value));
    if (key.size() == 1 + kRowPrefixBytes && key[0] == kListMeta && value.size() == 16)
      expired_[key.substr(1)] = ReadTime(std::string_view(value).substr(8));
  }
  for (const auto& op : operators_.All()) names_[op.id] = op.name;
  return FromRocks(it->status(), path_);
}

absl::StatusOr<StateInfo> Inspector::Head() {
  StateInfo info;
  bool found = false;
  BONGSU_ASSIGN_OR_RETURN(std::string bytes, Meta(kFormatKey, &found));
  BONGSU_ASSIGN_OR_RETURN(const std::string format,
                          CheckedBody(std::move(bytes), "the state's head"));
  if (format.size() < 11) return absl::DataLossError("the state's head is too short");
  info.format_version = static_cast<uint8_t>(format[0]);
  if (info.format_version > kFormatVersion) {
    return absl::FailedPreconditionError(
        fmt::format("the state in {} has format version {}; this bongsu knows {}", path_,
                    info.format_version, kFormatVersion));
  }
  info.shards = ReadU16(std::string_view(format).substr(1));
  info.hash_seed = ReadU64(std::string_view(format).substr(3));
  info.application = format.substr(11);
  BONGSU_ASSIGN_OR_RETURN(bytes, Meta(kCheckpointKey, &found));
  if (found) {
    BONGSU_ASSIGN_OR_RETURN(const std::string body,
                            CheckedBody(std::move(bytes), "the checkpoint"));
    if (body.size() < 8) return absl::DataLossError("the checkpoint is too short");
    info.checkpoint = CheckpointMeta{ReadU64(body), body.substr(8)};
  }
  BONGSU_ASSIGN_OR_RETURN(bytes, Meta(kLogKey, &found));
  info.replayed = found && !bytes.empty() && (bytes[0] & 1) != 0;
  info.unlogged = found && !bytes.empty() && (bytes[0] & 2) != 0;
  for (ShardId shard = 0; shard < info.shards; ++shard) {
    std::string key = kChangelogPrefix;
    AppendU16(shard, &key);
    BONGSU_ASSIGN_OR_RETURN(bytes, Meta(key, &found));
    if (!found) continue;
    BONGSU_ASSIGN_OR_RETURN(const std::string body,
                            CheckedBody(std::move(bytes), "a changelog position"));
    BONGSU_ASSIGN_OR_RETURN(info.changelog[shard], DecodePosition(body));
  }
  return info;
}

absl::Status Inspector::Split(int family, std::string_view key, std::string_view value,
                              StateRow* row, uint16_t* op) {
  const auto bad = [&] {
    return absl::DataLossError(fmt::format("the state in {}: a row of '{}' has a malformed key",
                                           path_, kFamilyNames[static_cast<size_t>(family)]));
  };
  if (key.size() < kRowPrefixBytes) return bad();
  *row = StateRow();
  row->shard = ReadU16(key);
  *op = ReadU16(key.substr(2));
  row->handle = static_cast<uint8_t>(key[4]);
  const auto name = names_.find(*op);
  if (name != names_.end()) row->op = name->second.name;
  row->value = value;
  row->key = key.substr(kRowPrefixBytes);
  row->kind = "value";
  if (family == kValueFamily) return absl::OkStatus();
  if (family == kTimerFamily) {
    row->kind = "timer";
    if (row->key.size() < 10 || row->key.size() < 10u + ReadU16(row->key.substr(8))) return bad();
    row->time = ReadTime(row->key);
    row->value = row->key.substr(10 + ReadU16(row->key.substr(8)));
    row->key = row->key.substr(10, ReadU16(row->key.substr(8)));
    return absl::OkStatus();
  }
  row->kind = "list";
  if (key.size() < kListHeadBytes + kListTailBytes ||
      key.size() != kListHeadBytes + kListTailBytes + ReadU16(key.substr(kListHeadBytes - 2)))
    return bad();
  row->key = key.substr(kListHeadBytes, key.size() - kListHeadBytes - kListTailBytes);
  row->time = ReadTime(key.substr(key.size() - kListTailBytes));
  row->seq = ReadU64(key.substr(key.size() - 8));
  return absl::OkStatus();
}

absl::Status Inspector::Rows(int family,
                             absl::FunctionRef<absl::Status(const StateRow&, uint16_t)> visit) {
  return Rows(family, "", visit);
}

absl::Status Inspector::Rows(int family, const std::string& prefix,
                             absl::FunctionRef<absl::Status(const StateRow&, uint16_t)> visit) {
  rocksdb::ReadOptions options;
  const std::string end = PrefixEnd(prefix);
  const rocksdb::Slice bound(end);
  if (!end.empty()) options.iterate_upper_bound = &bound;
  options.total_order_seek = true;
  const std::unique_ptr<rocksdb::Iterator> it(
      db_->NewIterator(options, families_[static_cast<size_t>(family)]));
  for (it->Seek(prefix); it->Valid(); it->Next()) {
    const std::string_view key(it->key().data(), it->key().size());
    StateRow row;
    uint16_t op = 0;
    BONGSU_RETURN_IF_ERROR(Split(family, key, {it->value().data(), it->value().size()}, &row, &op));
    if (family == kListFamily) {
      // Rows below the list's expiry point are dead, and go with their bucket.
      const auto dead = expired_.find(key.substr(0, kRowPrefixBytes));
      if (dead != expired_.end() && row.time < dead->second) continue;
    }
    BONGSU_RETURN_IF_ERROR(visit(row, op));
  }
  return FromRocks(it->status(), path_);
}

absl::StatusOr<StateInfo> Inspector::Info() {
  BONGSU_ASSIGN_OR_RETURN(StateInfo info, Head());
  std::map<uint16_t, StateInfo::Operator> operators;
  for (const auto& [id, name] : names_) {
    operators[id].name = name.name;
    operators[id].semantic_hash = name.hash;
  }
  for (int family = kListFamily; family < kFamilies; ++family) {
    BONGSU_RETURN_IF_ERROR(Rows(family, [&](const StateRow& row, uint16_t id) {
      StateInfo::Operator& op = operators[id];
      ++(family == kListFamily    ? op.list_rows
         : family == kValueFamily ? op.value_rows
                                  : op.timer_rows);
      op.bytes += row.key.size() + row.value.size();
      // A sum, because operators' numbers, and so the order of their rows, differ between disks.
      const std::string head = fmt::format("{} {} {} {} {} {} {} {}", row.op, row.kind, row.shard,
                                           row.handle, row.time, row.seq, row.key.size(), row.key);
      info.rows_checksum += XXH3_64bits_withSeed(row.value.data(), row.value.size(),
                                                 XXH3_64bits(head.data(), head.size()));
      return absl::OkStatus();
    }));
  }
  for (auto& [id, op] : operators) info.operators.push_back(std::move(op));
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path_, error)) {
    if (entry.is_regular_file(error)) info.files_bytes += entry.file_size(error);
  }
  return info;
}

absl::Status Inspector::Verify() {
  BONGSU_RETURN_IF_ERROR(FromRocks(db_->VerifyChecksum(rocksdb::ReadOptions()), path_));
  return Info().status();
}

absl::Status Inspector::Export(absl::FunctionRef<void(const StateRow&)> visit) {
  for (int family = kListFamily; family < kFamilies; ++family) {
    BONGSU_RETURN_IF_ERROR(Rows(family, [&](const StateRow& row, uint16_t) {
      visit(row);
      return absl::OkStatus();
    }));
  }
  return absl::OkStatus();
}

absl::Status Inspector::ExportOperator(std::string_view name, std::string_view semantic_hash,
                                       absl::FunctionRef<void(const StateRow&)> visit) {
  BONGSU_ASSIGN_OR_RETURN(const StateInfo head, Head());
  std::map<uint64_t, uint16_t> ids;  // by plan
  for (const auto& [id, known] : names_) {
    const std::optional<uint64_t> since = SinceOf(known.hash, semantic_hash);
    if (known.name == name && since.has_value()) ids[*since] = id;
  }
  if (!ids.empty()) {
    const uint16_t id = ids.rbegin()->second;
    for (ShardId shard = 0; shard < head.shards; ++shard) {
      std::string prefix;
      AppendU16(shard, &prefix);
      AppendU16(id, &prefix);
      for (const int family : {kListFamily, kValueFamily}) {
        BONGSU_RETURN_IF_ERROR(Rows(family, prefix, [&](const StateRow& row, uint16_t) {
          visit(row);
          return absl::OkStatus();
        }));
      }
    }
    return absl::OkStatus();
  }
  return absl::NotFoundError(
      fmt::format("the state in {} has no operator '{}' of this form", path_, name));
}

}  // namespace

absl::StatusOr<std::unique_ptr<StateInspector>> StateInspector::Open(const std::string& path) {
  auto inspector = std::make_unique<Inspector>(path);
  BONGSU_RETURN_IF_ERROR(inspector->Open(/*beside=*/false));
  return absl::StatusOr<std::unique_ptr<StateInspector>>(std::move(inspector));
}

absl::StatusOr<std::unique_ptr<StateInspector>> StateInspector::OpenBeside(
    const std::string& path) {
  auto inspector = std::make_unique<Inspector>(path);
  BONGSU_RETURN_IF_ERROR(inspector->Open(/*beside=*/true));
  return absl::StatusOr<std::unique_ptr<StateInspector>>(std::move(inspector));
}

}  // namespace bongsu
