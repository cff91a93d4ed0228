// File: state/value_map.h
//
// The ValueMap of state/shard_state.h: one value for each key, cached in front of the store.
//
// Thread-safety: one thread.
#pragma once

#include <cstdint>
#include <string>

#include "state/shard_state.h"
#include "state/store.h"
#include "state/string_map.h"

namespace bongsu {

class ValueMapImpl : public ValueMap {
 public:
  ValueMapImpl(Store& store, std::string prefix) : store_(store), prefix_(std::move(prefix)) {}
  absl::Status Put(std::string_view key, std::string_view value) override;
  absl::Status Get(std::string_view key, std::string* value, bool* found) override;
  absl::Status Erase(std::string_view key) override;
  void Freeze(EpochId epoch, FrozenShard* frozen);
  void OnPersisted(EpochId epoch) { persisted_ = epoch; }
  // Drops every clean value whose last change is in the store.
  void Evict();
  size_t memory_bytes() const { return memory_bytes_; }
  size_t dirty_bytes() const { return dirty_bytes_; }

 private:
  struct Cached {
    std::string value;
    bool present = false;
    bool dirty = false;
    EpochId frozen = 0;  // the newest epoch that has its change
  };
  static size_t Bytes(std::string_view key, const Cached& cached) {
    return sizeof(Cached) + sizeof(std::string) + key.size() + cached.value.size();
  }
  void Change(std::string_view key, std::string_view value, bool present);

  Store& store_;
  const std::string prefix_;
  StringMap<Cached> cache_;
  EpochId persisted_ = 0;
  size_t memory_bytes_ = 0;
  size_t dirty_bytes_ = 0;
};

}  // namespace bongsu
