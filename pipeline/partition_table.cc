#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "pipeline/io.h"

namespace bongsu {

// Entries are allocated one by one and never freed before the table, so that a reference stays
// valid while others are added. Readers come a few times per alert or batch, never per event.
struct PartitionTable::Impl {
  mutable absl::Mutex mutex;
  std::vector<std::unique_ptr<PartitionInfo>> by_id ABSL_GUARDED_BY(mutex);
  StringMap<PartitionId> by_identity ABSL_GUARDED_BY(mutex);
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
  return impl_->by_id.back()->id;
}

void PartitionTable::Restore(PartitionInfo info) {
  absl::MutexLock lock(&impl_->mutex);
  if (impl_->by_id.size() <= info.id) impl_->by_id.resize(size_t{info.id} + 1);
  impl_->by_identity.emplace(info.identity, info.id);
  impl_->by_id[info.id] = std::make_unique<PartitionInfo>(std::move(info));
}

const PartitionInfo& PartitionTable::Get(PartitionId id) const {
  absl::MutexLock lock(&impl_->mutex);
  return *impl_->by_id.at(id);
}

size_t PartitionTable::size() const {
  absl::MutexLock lock(&impl_->mutex);
  return impl_->by_id.size();
}

}  // namespace bongsu
