#include "operators/handle_names.h"

#include <memory>

#include "state/shard_state.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

using Visit = absl::FunctionRef<bool(TimeListCursor&)>;

class EmptyList : public TimeList {
 public:
  void Prefetch(std::span<const TimeListRange>) override {}
  absl::Status Put(std::string_view, EntryId, std::string_view, uint8_t) override {
    return absl::OkStatus();
  }
  absl::Status Scan(std::string_view, EventTimeNs, EventTimeNs, Visit) override {
    return absl::OkStatus();
  }
  absl::Status Count(std::string_view, EventTimeNs, EventTimeNs, uint64_t* n) override {
    *n = 0;
    return absl::OkStatus();
  }
  absl::Status CountAtMost(std::string_view, EventTimeNs, EventTimeNs, uint64_t* n) override {
    *n = 0;
    return absl::OkStatus();
  }
  absl::Status ScanBack(std::string_view, EventTimeNs, EventTimeNs, Visit) override {
    return absl::OkStatus();
  }
  void ExpireBefore(EventTimeNs) override {}
};

class EmptyMap : public ValueMap {
 public:
  absl::Status Put(std::string_view, std::string_view) override { return absl::OkStatus(); }
  absl::Status Get(std::string_view, std::string* value, bool* found) override {
    value->clear();
    *found = false;
    return absl::OkStatus();
  }
  absl::Status Erase(std::string_view) override { return absl::OkStatus(); }
};

class NoTimers : public TimerSet {
 public:
  absl::Status Set(EventTimeNs, std::string_view, std::string_view) override {
    return absl::OkStatus();
  }
  absl::Status PopBefore(
      EventTimeNs,
      absl::FunctionRef<absl::Status(EventTimeNs, std::string_view, std::string_view)>) override {
    return absl::OkStatus();
  }
};

class NamesOnly : public ShardState {
 public:
  absl::StatusOr<TimeList*> OpenTimeList(uint16_t, std::string_view name, DurationNs) override {
    names.emplace_back(name);
    return &list_;
  }
  absl::StatusOr<ValueMap*> OpenValueMap(uint16_t, std::string_view name) override {
    names.emplace_back(name);
    return &map_;
  }
  absl::StatusOr<TimerSet*> OpenTimers(uint16_t) override { return &timers_; }
  std::unique_ptr<FrozenShard> Freeze(uint16_t) override { return nullptr; }
  void OnPersisted(EpochId) override {}
  void BeginFreeze(EpochId) override {}
  size_t memory_bytes() const override { return 0; }
  size_t dirty_bytes() const override { return 0; }
  void EvictTo(size_t) override {}
  Counters counters() const override { return {}; }
  TimerSet& timers() { return timers_; }

  std::vector<std::string> names;

 private:
  EmptyList list_;
  EmptyMap map_;
  NoTimers timers_;
};

class NamesContext : public OperatorContext {
 public:
  NamesOnly& state() override { return state_; }
  uint16_t operator_id() const override { return 0; }
  TimerSet& timers() override { return state_.timers(); }
  EventTimeNs closing_time() const override { return kMinEventTime; }
  EventTimeNs complete_from() const override { return kMinEventTime; }
  std::string_view origin(RecordSeq) const override { return ""; }
  void Emit(const Incident&) override {}
  void Forward(const Incident&, EventTimeNs, ResultKind) override {}
  bool has_readers() const override { return false; }
  bool has_followers() const override { return false; }
  void Count(const char*, uint64_t) override {}

 private:
  NamesOnly state_;
};

}  // namespace

absl::StatusOr<std::vector<std::string>> HandleNames(const OperatorSpec& spec) {
  NamesContext context;
  BONGSU_RETURN_IF_ERROR(spec.NewInstance()->Open(context));
  return std::move(context.state().names);
}

}  // namespace bongsu
