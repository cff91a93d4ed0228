#include "state/shard_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "state/check.h"
#include "state/key_encoding.h"
#include "state/status_macros.h"
#include "state/store.h"
#include "state/time_list.h"
#include "state/timer_set.h"
#include "state/value_map.h"

namespace bongsu {
namespace {

// Lists and value maps of one operator are told apart by a byte that follows from their names'
// order of opening; operators open them in Open, always in the same order.
constexpr int kHandlesMax = 255;

class ShardStateImpl : public ShardState {
 public:
  ShardStateImpl(Store& store, ShardId shard) : store_(store), shard_(shard) {}

  absl::StatusOr<TimeList*> OpenTimeList(uint16_t operator_id, std::string_view name,
                                         DurationNs bucket_ns) override {
    Handles& handles = operators_[operator_id];
    BONGSU_RETURN_IF_ERROR(CheckName(handles, name));
    auto list = std::make_unique<TimeListImpl>(
        store_, RowPrefix(shard_, operator_id, static_cast<uint8_t>(handles.names.size())),
        bucket_ns, counters_);
    BONGSU_RETURN_IF_ERROR(list->Restore());
    handles.lists.push_back(std::move(list));
    return handles.lists.back().get();
  }

  absl::StatusOr<ValueMap*> OpenValueMap(uint16_t operator_id, std::string_view name) override {
    Handles& handles = operators_[operator_id];
    BONGSU_RETURN_IF_ERROR(CheckName(handles, name));
    handles.values.push_back(std::make_unique<ValueMapImpl>(
        store_, RowPrefix(shard_, operator_id, static_cast<uint8_t>(handles.names.size()))));
    return handles.values.back().get();
  }

  absl::StatusOr<TimerSet*> OpenTimers(uint16_t operator_id) override {
    Handles& handles = operators_[operator_id];
    if (handles.timers == nullptr) {
      handles.timers = std::make_unique<TimerSetImpl>(store_, RowPrefix(shard_, operator_id, 0));
      BONGSU_RETURN_IF_ERROR(handles.timers->Restore());
    }
    return handles.timers.get();
  }

  void BeginFreeze(EpochId epoch) override { freezing_ = epoch; }

  std::unique_ptr<FrozenShard> Freeze(uint16_t operator_id) override {
    auto frozen = std::make_unique<FrozenShard>();
    frozen->shard = shard_;
    frozen->operator_id = operator_id;
    Handles& handles = operators_[operator_id];
    for (auto& list : handles.lists) list->Freeze(freezing_, frozen.get());
    for (auto& values : handles.values) values->Freeze(freezing_, frozen.get());
    if (handles.timers != nullptr) handles.timers->Freeze(frozen.get());
    return frozen;
  }

  void OnPersisted(EpochId epoch) override {
    for (auto& [id, handles] : operators_) {
      for (auto& list : handles.lists) list->OnPersisted(epoch);
      for (auto& values : handles.values) values->OnPersisted(epoch);
    }
  }

  size_t memory_bytes() const override {
    size_t bytes = 0;
    for (const auto& [id, handles] : operators_) {
      for (const auto& list : handles.lists) bytes += list->memory_bytes();
      for (const auto& values : handles.values) bytes += values->memory_bytes();
      if (handles.timers != nullptr) bytes += handles.timers->memory_bytes();
    }
    return bytes;
  }

  size_t dirty_bytes() const override {
    size_t bytes = 0;
    for (const auto& [id, handles] : operators_) {
      for (const auto& list : handles.lists) bytes += list->dirty_bytes();
      for (const auto& values : handles.values) bytes += values->dirty_bytes();
      if (handles.timers != nullptr) bytes += handles.timers->dirty_bytes();
    }
    return bytes;
  }

  void EvictTo(size_t bytes) override {
    std::vector<TimeListImpl::Evictable> segments;
    for (auto& [id, handles] : operators_) {
      for (auto& list : handles.lists) list->AddEvictable(&segments);
    }
    std::sort(segments.begin(), segments.end(),
              [](const auto& a, const auto& b) { return a.last_use < b.last_use; });
    size_t now = memory_bytes();
    for (const auto& segment : segments) {
      if (now <= bytes) return;
      now -= segment.bytes;
      segment.list->Evict(segment);
    }
    if (now <= bytes) return;
    for (auto& [id, handles] : operators_) {
      for (auto& values : handles.values) values->Evict();
    }
  }

  Counters counters() const override { return counters_; }

 private:
  struct Handles {
    std::vector<std::string> names;
    std::vector<std::unique_ptr<TimeListImpl>> lists;
    std::vector<std::unique_ptr<ValueMapImpl>> values;
    std::unique_ptr<TimerSetImpl> timers;
  };

  static absl::Status CheckName(Handles& handles, std::string_view name) {
    BONGSU_CHECK_MSG(handles.names.size() < kHandlesMax, "an operator opens too many handles");
    BONGSU_CHECK_MSG(
        std::find(handles.names.begin(), handles.names.end(), name) == handles.names.end(),
        "an operator opens two handles of one name");
    handles.names.emplace_back(name);
    return absl::OkStatus();
  }

  Store& store_;
  const ShardId shard_;
  std::map<uint16_t, Handles> operators_;
  EpochId freezing_ = 0;
  Counters counters_;
};

}  // namespace

std::unique_ptr<ShardState> MakeShardState(Store& store, ShardId shard) {
  return std::make_unique<ShardStateImpl>(store, shard);
}

}  // namespace bongsu
