// File: tests/simulation/cluster.h
//
// Kafka's brokers in memory, as far as exactly-once rests on them: partitions with offsets, markers
// and a last stable offset; a transaction coordinator that fences by producer epoch, ends what
// takes too long, and writes its markers when it gets to it; a group coordinator with static
// members, generations, and offsets that are pending within a transaction. What the network does is
// in it too: copies of requests that arrive late (KAFKA-17754).
//
// Not modelled: several brokers, lost acknowledged records, idempotent sequence numbers (a copy of
// a produce request is dropped), KIP-890 part 2 (no librdkafka speaks it).
//
// All chance comes from the seed. Thread-safety: none.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "pipeline/commit_machine.h"
#include "state/types.h"

namespace bongsu {

class SimCluster {
 public:
  using Place = std::pair<std::string, int>;  // topic, partition
  struct Record {
    enum class State : uint8_t { kOpen, kCommitted, kAborted };
    int64_t offset = 0;
    std::string key;
    std::string value;
    std::string producer;  // transactional id
    State state = State::kOpen;
  };
  struct Partition {
    std::vector<Record> records;
    int64_t start = 0;
    int64_t next = 0;  // the high watermark
  };
  struct Committed {
    int64_t offset = 0;
    EpochId epoch = 0;  // in the metadata
    bool operator==(const Committed&) const = default;
  };
  using Offsets = std::map<Place, Committed>;
  struct Member {
    std::string id;  // as the coordinator gave it
    std::string instance;
    int generation = -1;
  };

  explicit SimCluster(std::mt19937_64& random) : random_(random) {}

  // ---- time ----
  int64_t now() const { return now_; }
  // Time passes: markers are written, copies arrive, transactions and sessions end.
  void Pass(DurationNs time);
  // A copy of a request that is still on its way.
  void Later(std::function<void()> request) { late_.push_back(std::move(request)); }

  // ---- records ----
  Partition& partition(const Place& place) { return partitions_[place]; }
  // The first offset that a read_committed reader may not pass.
  int64_t LastStable(const Place& place) const;
  void DeleteBefore(const Place& place, int64_t offset);

  // ---- transactions: requests, as a broker answers them ----
  Seen InitProducer(const std::string& id, int* epoch);
  Seen Produce(const std::string& id, int epoch, const Place& place, std::string_view key,
               std::string_view value, int64_t* offset);
  // `copy`: it is one, which adds the group to no transaction (KIP-890 part 1 checks that).
  Seen CommitOffsets(const std::string& id, int epoch, const Member& member, const Offsets& offsets,
                     bool copy = false);
  Seen EndTransaction(const std::string& id, int epoch, bool commit);

  // ---- the group ----
  // The one that owns everything; empty while there is none.
  const Member& owner() const { return owner_; }
  // Joins; false while another instance is alive.
  bool Join(const std::string& instance, Member* member);
  // False: the coordinator does not know the member (any more).
  bool Heartbeat(const Member& member);
  void Leave(const Member& member);
  // The partitions are taken from their owner: a rebalance that nobody asked for.
  void Revoke() { owner_ = Member(); }
  // None: an open transaction holds offsets back.
  std::optional<Offsets> StableOffsets() const;

 private:
  struct Transaction {
    enum class State : uint8_t { kEmpty, kOngoing, kPreparing, kComplete };
    int epoch = -1;
    State state = State::kEmpty;
    bool commit = false;  // kPreparing, kComplete: what it ends with
    int64_t since = 0;
    std::set<Place> touched;  // without their marker yet
    bool group = false;       // the group is part of it, without its marker yet
    Offsets pending;
  };
  void Prepare(Transaction& transaction, bool commit);
  // Writes one marker; completes the transaction with the last one.
  void WriteMarker(const std::string& id, Transaction& transaction);
  Seen Join(Transaction& transaction, const std::string& id, int epoch);
  uint64_t Pick(uint64_t n) { return random_() % n; }

  std::mt19937_64& random_;
  int64_t now_ = 1'800'000'000 * kSecondNs;
  std::map<Place, Partition> partitions_;
  std::map<std::string, Transaction> transactions_;
  std::vector<std::function<void()>> late_;
  Member owner_;
  int64_t owner_expires_ = 0;
  int generation_ = 0;
  uint64_t members_ = 0;
  Offsets committed_;
};

}  // namespace bongsu
