// File: tests/state/simulated_log.h
//
// A changelog of several shards in memory, as a read_committed reader of Kafka sees it: records of
// open and aborted transactions take up offsets and never appear, nor do the markers.
//
// Thread-safety: none.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "state/changelog.h"
#include "state/restore.h"

namespace bongsu {

class SimulatedLog {
 public:
  struct Record {
    int64_t offset = 0;
    std::string bytes;
    bool committed = false;
  };
  struct Partition {
    std::vector<Record> records;
    int64_t start = 0;
    int64_t next = 0;
    size_t bytes() const {
      size_t sum = 0;
      for (const Record& record : records) sum += record.committed ? record.bytes.size() : 0;
      return sum;
    }
  };

  // One transaction at a time, as of one producer.
  void Append(ShardId shard, const std::string& bytes, int64_t* offset) {
    Partition& partition = partitions[shard];
    *offset = partition.next++;
    partition.records.push_back({*offset, bytes, false});
    touched_[shard] = true;
  }
  void End(bool commit) {
    for (const auto& [shard, unused] : touched_) {
      Partition& partition = partitions[shard];
      for (auto it = partition.records.rbegin(); it != partition.records.rend() && !it->committed;
           ++it)
        it->committed = commit;
      if (!commit) std::erase_if(partition.records, [](const Record& r) { return !r.committed; });
      ++partition.next;  // the marker
    }
    touched_.clear();
  }
  // Outside of any transaction.
  int64_t AppendAlone(ShardId shard, const std::string& bytes) {
    int64_t offset = 0;
    Append(shard, bytes, &offset);
    partitions[shard].records.back().committed = true;
    touched_.clear();
    return offset;
  }
  void DeleteBefore(ShardId shard, int64_t offset) {
    Partition& partition = partitions[shard];
    partition.start = std::max(partition.start, offset);
    std::erase_if(partition.records, [&](const Record& r) { return r.offset < offset; });
  }

  class Reader : public ShardLogReader {
   public:
    explicit Reader(const Partition& partition) : partition_(partition), end_(partition.next) {}
    int64_t start() const override { return partition_.start; }
    int64_t end() const override { return end_; }
    absl::Status Seek(int64_t offset) override {
      offset_ = offset;
      return absl::OkStatus();
    }
    absl::StatusOr<bool> Next(int64_t* offset, std::string_view* bytes) override {
      const auto& records = partition_.records;
      auto it = std::lower_bound(records.begin(), records.end(), offset_,
                                 [](const Record& r, int64_t at) { return r.offset < at; });
      while (it != records.end() && !it->committed) ++it;
      if (it == records.end() || it->offset >= end_) return false;
      *offset = it->offset;
      *bytes = it->bytes;
      offset_ = it->offset + 1;
      return true;
    }

   private:
    const Partition& partition_;
    const int64_t end_;
    int64_t offset_ = 0;
  };
  std::unique_ptr<Reader> Open(ShardId shard) {
    return std::make_unique<Reader>(partitions[shard]);
  }

  std::map<ShardId, Partition> partitions;

 private:
  std::map<ShardId, bool> touched_;
};

}  // namespace bongsu
