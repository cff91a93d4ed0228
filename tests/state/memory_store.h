// File: tests/state/memory_store.h
//
// A Store over maps, for simulations by the ten thousand: the same contract as the one over
// RocksDB. A write is atomic; it is durable after a flush, or when chance wants it (RocksDB flushes
// when it likes, but never half a batch). `Crash` goes back to what is durable.
//
// Thread-safety: none.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>

#include "state/key_encoding.h"
#include "state/store.h"

namespace bongsu {

// What survives of a store.
struct MemoryDisk {
  struct Content {
    std::map<std::string, std::string> rows[kFamilies];
    std::map<ShardId, ChangelogPosition> changelog;
    std::map<std::string, std::string> operators;
    std::optional<CheckpointMeta> latest;
    bool replayed = false;
    bool unlogged = false;
  };
  Content durable;
  uint64_t seed = 0;  // 0: no store yet
};

class MemoryStore : public Store {
 public:
  MemoryStore(MemoryDisk& disk, std::mt19937_64& random, uint16_t shards, uint64_t seed)
      : disk_(disk), random_(random), shards_(shards), now_(disk.durable) {
    const bool holds = now_.latest.has_value() ||
                       std::any_of(now_.changelog.begin(), now_.changelog.end(),
                                   [](const auto& shard) { return shard.second.epoch > 0; });
    if (disk_.seed == 0 || !holds) disk_.seed = seed;
    for (const auto& [key, value] : now_.operators) (void)operators_.Load(key, value);
  }
  // Called in the middle of Commit: before the write (0), between write and flush (1). False: the
  // process dies here.
  std::function<bool(int step)> in_commit;
  // Before every other write, as above; and at every read: false: a checksum does not hold.
  std::function<bool()> in_write;
  std::function<bool()> in_read;

  const std::optional<CheckpointMeta>& latest() const override { return now_.latest; }
  uint16_t shards() const override { return shards_; }
  uint64_t hash_seed() const override { return disk_.seed; }
  LogIdentity identity() const override { return {"test", shards_, disk_.seed}; }
  OperatorNumbers& operators() override { return operators_; }
  absl::StatusOr<uint16_t> OperatorId(std::string_view name, std::string_view hash,
                                      uint64_t* reset) override {
    return operators_.Claim(name, hash, reset);
  }
  std::vector<std::string> KeepOnly(const std::vector<uint16_t>& operators) override {
    return operators_.KeepOnly(operators);
  }

  absl::Status Commit(Checkpoint checkpoint) override {
    if (in_commit && !in_commit(0)) return absl::AbortedError("killed before the batch");
    Content next = now_;
    AddOperators(&next, /*removals=*/true);
    for (const auto& change : checkpoint.changes) {
      for (const FrozenRow& row : change->rows) AddRow(row, &next);
    }
    for (const auto& logged : checkpoint.logged) {
      AddOverlay(*logged.overlay, &next);
      next.changelog[logged.shard] = logged.position;
    }
    next.latest = checkpoint.meta;
    next.replayed = false;
    next.unlogged = next.unlogged || !checkpoint.changes.empty();
    Write(std::move(next));
    if (in_commit && !in_commit(1)) return absl::AbortedError("killed before the flush");
    return Flush();
  }
  std::optional<ChangelogPosition> changelog(ShardId shard) const override {
    const auto it = now_.changelog.find(shard);
    if (it == now_.changelog.end()) return std::nullopt;
    return it->second;
  }
  bool replayed() const override { return now_.replayed; }
  bool unlogged() const override { return now_.unlogged; }
  absl::StatusOr<bool> HasRows(ShardId shard) override {
    std::string prefix;
    AppendU16(shard, &prefix);
    for (int family = kListFamily; family < kFamilies; ++family) {
      const auto it = now_.rows[family].lower_bound(prefix);
      if (it != now_.rows[family].end() && it->first.starts_with(prefix)) return true;
    }
    return false;
  }
  absl::Status ApplyLog(ShardId shard, const Overlay& overlay, const ChangelogPosition& position,
                        bool drop_rows) override {
    if (in_write && !in_write()) return absl::CancelledError("killed");
    Content next = now_;
    if (drop_rows) {
      for (int family = 0; family < kFamilies; ++family) {
        std::string from;
        if (family == kMetaFamily) from.push_back(kListMeta);
        AppendU16(shard, &from);
        AddRow({from, PrefixEnd(from), static_cast<Family>(family), kDeleteRange}, &next);
      }
    }
    AddOperators(&next, /*removals=*/false);
    AddOverlay(overlay, &next);
    next.changelog[shard] = position;
    next.replayed = true;
    Write(std::move(next));
    return absl::OkStatus();
  }
  absl::Status BeginLog(
      const std::vector<std::pair<ShardId, ChangelogPosition>>& positions) override {
    if (in_write && !in_write()) return absl::CancelledError("killed");
    for (const auto& [shard, position] : positions) now_.changelog[shard] = position;
    now_.unlogged = false;
    return Flush();
  }
  absl::Status Flush() override {
    if (in_write && !in_write()) return absl::CancelledError("killed");
    disk_.durable = now_;
    return absl::OkStatus();
  }
  absl::Status Read(uint8_t family, std::string_view from, std::string_view to,
                    absl::FunctionRef<bool(std::string_view, std::string_view)> visit) override {
    if (in_read && !in_read()) return absl::DataLossError("a block's checksum does not hold");
    const auto& rows = now_.rows[family];
    for (auto it = rows.lower_bound(std::string(from));
         it != rows.end() && (to.empty() || it->first < to); ++it) {
      if (!visit(it->first, it->second)) break;
    }
    return absl::OkStatus();
  }
  absl::Status ReadKey(std::string_view prefix,
                       absl::FunctionRef<bool(std::string_view, std::string_view)> visit) override {
    return Read(kListFamily, prefix, PrefixEnd(std::string(prefix)), visit);
  }
  Counters counters() const override { return {}; }
  Memory memory() const override { return {}; }
  size_t live_bytes() const {
    size_t bytes = 0;
    for (const auto& rows : now_.rows) {
      for (const auto& [key, value] : rows) bytes += key.size() + value.size();
    }
    return bytes;
  }

 private:
  using Content = MemoryDisk::Content;
  static void AddRow(const FrozenRow& row, Content* content) {
    auto& rows = content->rows[row.family];
    const std::string key(row.key);
    if (row.kind == kPut) {
      rows[key] = row.value;
    } else if (row.kind == kDelete) {
      rows.erase(key);
    } else {
      const auto from = rows.lower_bound(key);
      rows.erase(from, row.value.empty() ? rows.end() : rows.lower_bound(std::string(row.value)));
    }
  }
  static void AddOverlay(const Overlay& overlay, Content* content) {
    overlay.VisitRanges([&](Family family, std::string_view from, std::string_view to) {
      AddRow({from, to, family, kDeleteRange}, content);
    });
    overlay.VisitRows([&](const FrozenRow& row) { AddRow(row, content); });
  }
  void AddOperators(Content* content, bool removals) {
    OperatorNumbers::Pending pending = operators_.pending();
    if (!removals) {
      pending.erase.clear();
      pending.removed.clear();
    }
    for (uint16_t id : pending.removed) {
      for (ShardId shard = 0; shard < shards_; ++shard) {
        for (int family = 0; family < kFamilies; ++family) {
          const std::string from = OperatorPrefix(static_cast<Family>(family), shard, id);
          AddRow({from, PrefixEnd(from), static_cast<Family>(family), kDeleteRange}, content);
        }
      }
    }
    for (const std::string& key : pending.erase) content->operators.erase(key);
    for (const auto& row : pending.put) content->operators[row.key] = row.value;
    operators_.Written(pending);
  }
  void Write(Content next) {
    now_ = std::move(next);
    if (random_() % 4 == 0) disk_.durable = now_;
  }

  MemoryDisk& disk_;
  std::mt19937_64& random_;
  const uint16_t shards_;
  Content now_;
  OperatorNumbers operators_;
};

}  // namespace bongsu
