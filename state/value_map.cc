#include "state/value_map.h"

#include "state/key_encoding.h"
#include "state/status_macros.h"

namespace bongsu {

void ValueMapImpl::Change(std::string_view key, std::string_view value, bool present) {
  auto [it, added] = cache_.try_emplace(std::string(key));
  Cached& cached = it->second;
  if (!added) memory_bytes_ -= Bytes(key, cached);
  if (cached.dirty) dirty_bytes_ -= Bytes(key, cached);
  cached.value = value;
  cached.present = present;
  cached.dirty = true;
  memory_bytes_ += Bytes(key, cached);
  dirty_bytes_ += Bytes(key, cached);
}

absl::Status ValueMapImpl::Put(std::string_view key, std::string_view value) {
  Change(key, value, true);
  return absl::OkStatus();
}

absl::Status ValueMapImpl::Erase(std::string_view key) {
  Change(key, "", false);
  return absl::OkStatus();
}

absl::Status ValueMapImpl::Get(std::string_view key, std::string* value, bool* found) {
  auto it = cache_.find(key);
  if (it == cache_.end()) {
    const std::string row = prefix_ + std::string(key);
    Cached cached;
    BONGSU_RETURN_IF_ERROR(
        store_.Read(kValueFamily, row, row + '\0', [&](std::string_view, std::string_view stored) {
          cached.value = stored;
          cached.present = true;
          return false;
        }));
    memory_bytes_ += Bytes(key, cached);
    it = cache_.emplace(std::string(key), std::move(cached)).first;
  }
  *found = it->second.present;
  *value = it->second.value;
  return absl::OkStatus();
}

void ValueMapImpl::Freeze(EpochId epoch, FrozenShard* frozen) {
  if (dirty_bytes_ == 0) return;
  std::string row = prefix_;
  for (auto& [key, cached] : cache_) {
    if (!cached.dirty) continue;
    cached.dirty = false;
    cached.frozen = epoch;
    row.resize(prefix_.size());
    row += key;
    frozen->Add(kValueFamily, cached.present ? kPut : kDelete, row, cached.value);
  }
  dirty_bytes_ = 0;
}

void ValueMapImpl::Evict() {
  for (auto it = cache_.begin(); it != cache_.end();) {
    auto current = it++;
    if (current->second.dirty || current->second.frozen > persisted_) continue;
    memory_bytes_ -= Bytes(current->first, current->second);
    cache_.erase(current);
  }
}

}  // namespace bongsu
