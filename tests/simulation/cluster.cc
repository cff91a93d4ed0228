#include "tests/simulation/cluster.h"

#include <algorithm>

namespace bongsu {
namespace {

constexpr DurationNs kTransactionTimeoutNs = 15 * kSecondNs;
constexpr DurationNs kSessionTimeoutNs = 10 * kSecondNs;

}  // namespace

void SimCluster::Pass(DurationNs time) {
  now_ += time;
  for (auto& [id, transaction] : transactions_) {
    using State = Transaction::State;
    if (transaction.state == State::kOngoing && now_ - transaction.since > kTransactionTimeoutNs) {
      ++transaction.epoch;  // whoever comes back finds itself fenced
      Prepare(transaction, /*commit=*/false);
    }
    // Long waits see all markers written; short ones see some.
    const uint64_t markers = time > kSecondNs ? 100 : Pick(3);
    for (uint64_t i = 0; i < markers && transaction.state == State::kPreparing; ++i)
      WriteMarker(id, transaction);
  }
  if (!owner_.id.empty() && now_ > owner_expires_) owner_ = Member();
  if (!late_.empty() && Pick(8) == 0) {
    const auto at = late_.begin() + static_cast<std::ptrdiff_t>(Pick(late_.size()));
    const auto request = std::move(*at);
    late_.erase(at);
    request();
  }
}

// ---- records -----------------------------------------------------------------------------------

int64_t SimCluster::LastStable(const Place& place) const {
  const auto it = partitions_.find(place);
  if (it == partitions_.end()) return 0;
  for (const Record& record : it->second.records) {
    if (record.state == Record::State::kOpen) return record.offset;
  }
  return it->second.next;
}

void SimCluster::DeleteBefore(const Place& place, int64_t offset) {
  Partition& partition = partitions_[place];
  partition.start = std::max(partition.start, std::min(offset, LastStable(place)));
  std::erase_if(partition.records,
                [&](const Record& record) { return record.offset < partition.start; });
}

// ---- transactions ------------------------------------------------------------------------------

void SimCluster::Prepare(Transaction& transaction, bool commit) {
  transaction.state = Transaction::State::kPreparing;
  transaction.commit = commit;
}

void SimCluster::WriteMarker(const std::string& id, Transaction& transaction) {
  const size_t left = transaction.touched.size() + (transaction.group ? 1 : 0);
  if (left > 0) {
    const size_t which = Pick(left);
    if (which == transaction.touched.size()) {
      if (transaction.commit) {
        for (const auto& [place, offset] : transaction.pending) committed_[place] = offset;
      }
      transaction.pending.clear();
      transaction.group = false;
    } else {
      const auto it = std::next(transaction.touched.begin(), static_cast<std::ptrdiff_t>(which));
      Partition& partition = partitions_[*it];
      for (Record& record : partition.records) {
        if (record.producer == id && record.state == Record::State::kOpen)
          record.state = transaction.commit ? Record::State::kCommitted : Record::State::kAborted;
      }
      ++partition.next;  // the marker's own offset
      transaction.touched.erase(it);
    }
  }
  if (transaction.touched.empty() && !transaction.group)
    transaction.state = Transaction::State::kComplete;
}

Seen SimCluster::InitProducer(const std::string& id, int* epoch) {
  Transaction& transaction = transactions_[id];
  using State = Transaction::State;
  if (transaction.state == State::kOngoing) {
    ++transaction.epoch;
    Prepare(transaction, /*commit=*/false);
  }
  if (transaction.state == State::kPreparing) return Seen::kRetriable;  // CONCURRENT_TRANSACTIONS
  *epoch = ++transaction.epoch;
  transaction.state = State::kEmpty;
  return Seen::kOk;
}

// A partition or the group becomes part of the producer's transaction.
Seen SimCluster::Join(Transaction& transaction, const std::string& id, int epoch) {
  using State = Transaction::State;
  if (transaction.epoch != epoch) return Seen::kEpochStale;
  // CONCURRENT_TRANSACTIONS: the library asks again until the markers are written.
  while (transaction.state == State::kPreparing) WriteMarker(id, transaction);
  if (transaction.state != State::kOngoing) {
    transaction.state = State::kOngoing;
    transaction.since = now_;
  }
  return Seen::kOk;
}

Seen SimCluster::Produce(const std::string& id, int epoch, const Place& place, std::string_view key,
                         std::string_view value, int64_t* offset) {
  Transaction& transaction = transactions_[id];
  if (const Seen seen = Join(transaction, id, epoch); seen != Seen::kOk) return seen;
  transaction.touched.insert(place);
  Partition& partition = partitions_[place];
  Record record;
  record.offset = partition.next++;
  record.key = key;
  record.value = value;
  record.producer = id;
  if (offset != nullptr) *offset = record.offset;
  partition.records.push_back(std::move(record));
  return Seen::kOk;
}

Seen SimCluster::CommitOffsets(const std::string& id, int epoch, const Member& member,
                               const Offsets& offsets, bool copy) {
  Transaction& transaction = transactions_[id];
  if (transaction.epoch != epoch) return Seen::kEpochStale;
  if (copy && (transaction.state != Transaction::State::kOngoing || !transaction.group))
    return Seen::kFatal;
  // A negative generation is not looked at: it would not be fenced (kafka-flow#854).
  if (member.generation >= 0) {
    if (member.instance == owner_.instance && member.id != owner_.id) return Seen::kFenced;
    if (member.id != owner_.id || member.generation != owner_.generation)
      return Seen::kMembershipLost;
  }
  if (const Seen seen = Join(transaction, id, epoch); seen != Seen::kOk) return seen;
  transaction.group = true;
  for (const auto& [place, offset] : offsets) transaction.pending[place] = offset;
  return Seen::kOk;
}

Seen SimCluster::EndTransaction(const std::string& id, int epoch, bool commit) {
  Transaction& transaction = transactions_[id];
  using State = Transaction::State;
  if (transaction.epoch != epoch) return Seen::kEpochStale;
  switch (transaction.state) {
    case State::kOngoing:
      Prepare(transaction, commit);
      return Seen::kOk;
    case State::kPreparing:
    case State::kComplete:
      return transaction.commit == commit ? Seen::kOk : Seen::kFatal;  // INVALID_TXN_STATE
    case State::kEmpty:
      return Seen::kFatal;
  }
  return Seen::kFatal;
}

// ---- the group ---------------------------------------------------------------------------------

bool SimCluster::Join(const std::string& instance, Member* member) {
  // Another one of the same instance is replaced at once, and finds itself fenced.
  if (!owner_.id.empty() && owner_.instance != instance) return false;
  owner_ = {instance + "-" + std::to_string(++members_), instance, ++generation_};
  owner_expires_ = now_ + kSessionTimeoutNs;
  *member = owner_;
  return true;
}

bool SimCluster::Heartbeat(const Member& member) {
  if (owner_.id.empty() || member.id != owner_.id) return false;
  owner_expires_ = now_ + kSessionTimeoutNs;
  return true;
}

void SimCluster::Leave(const Member& member) {
  if (member.id == owner_.id) owner_ = Member();
}

std::optional<SimCluster::Offsets> SimCluster::StableOffsets() const {
  for (const auto& [id, transaction] : transactions_) {
    if (!transaction.pending.empty()) return std::nullopt;
  }
  return committed_;
}

}  // namespace bongsu
