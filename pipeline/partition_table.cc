#include <atomic>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "pipeline/io.h"
#include "state/check.h"

namespace bongsu {

// Entries are allocated one by one and never freed before the table, so that a reference stays
// valid while others are added. Every alert asks for those of its evidence: Get takes no lock.
struct PartitionTable::Impl {
  mutable absl::Mutex mutex;
  std::vector<std::unique_ptr<PartitionInfo>> by_id ABSL_GUARDED_BY(mutex);
  StringMap<PartitionId> by_identity ABSL_GUARDED_BY(mutex);
  // by_id's pointers, for readers.
  const std::unique_ptr<std::atomic<const PartitionInfo*>[]> published =
      std::make_unique<std::atomic<const PartitionInfo*>[]>(kPartitionsMax);
};

PartitionTable::PartitionTable() : impl_(std::make_unique<Impl>()) {}
PartitionTable::~PartitionTable() = default;

absl::StatusOr<PartitionId> PartitionTable::Add(PartitionInfo info) {
  absl::MutexLock lock(&impl_->mutex);
  if (auto it = impl_->by_identity.find(info.identity); it != impl_->by_identity.end()) {
    return it->second;
  }
  if (impl_->by_id.size() >= kPartitionsMax) {
    return absl::ResourceExhaustedError(
        "more than 65536 source partitions (topics, partitions and files together)");
  }
  info.id = static_cast<PartitionId>(impl_->by_id.size());
  impl_->by_identity.emplace(info.identity, info.id);
  impl_->by_id.push_back(std::make_unique<PartitionInfo>(std::move(info)));
  const PartitionInfo& added = *impl_->by_id.back();
  impl_->published[added.id].store(&added, std::memory_order_release);
  return added.id;
}

void PartitionTable::Restore(PartitionInfo info) {
  absl::MutexLock lock(&impl_->mutex);
  if (impl_->by_id.size() <= info.id) impl_->by_id.resize(size_t{info.id} + 1);
  impl_->by_identity.emplace(info.identity, info.id);
  const PartitionId id = info.id;
  impl_->by_id[id] = std::make_unique<PartitionInfo>(std::move(info));
  impl_->published[id].store(impl_->by_id[id].get(), std::memory_order_release);
}

const PartitionInfo& PartitionTable::Get(PartitionId id) const {
  const PartitionInfo* info = impl_->published[id].load(std::memory_order_acquire);
  BONGSU_CHECK_MSG(info != nullptr, "a partition that was never added");
  return *info;
}

bool PartitionTable::Knows(PartitionId id) const {
  return impl_->published[id].load(std::memory_order_acquire) != nullptr;
}

void PartitionTable::Clear() {
  absl::MutexLock lock(&impl_->mutex);
  for (size_t id = 0; id < impl_->by_id.size(); ++id)
    impl_->published[id].store(nullptr, std::memory_order_release);
  impl_->by_id.clear();
  impl_->by_identity.clear();
}

size_t PartitionTable::size() const {
  absl::MutexLock lock(&impl_->mutex);
  return impl_->by_id.size();
}

}  // namespace bongsu
