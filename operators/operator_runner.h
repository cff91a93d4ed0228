// File: operators/operator_runner.h
//
// Drives one Operator on one shard: the same code in the engine and in the test harness. It decides
// what is late, hands inputs over, moves the watermark, fires timers, and expires, always in the
// same order, and always between batches.
//
//   OperatorRunner runner(spec, state, operator_id, lateness, output, partitions);
//   runner.Open();
//   runner.Process(inputs);             // late ones go to output.Late
//   runner.AdvanceWatermark(port_watermarks);
//
// Time (design: watermarks and lateness). The operator's watermark is the minimum over its ports;
// it never goes back. An input with time < watermark - allowed_lateness(port) is late: it goes to
// output.Late and no further. The closing time is watermark - max(allowed_lateness of all ports).
// It never goes back either: after a restart with more lateness it stays where it was until the
// watermark has gone as much further, and what is older is late.
//
// Thread-safety: one thread. Errors: absl::Status from state I/O; the runner is then unusable.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "operators/operator.h"

namespace bongsu {

// Where a runner's results go. Views are valid until the call returns.
class OperatorOutput {
 public:
  virtual ~OperatorOutput() = default;
  virtual void Alert(const OperatorSpec& spec, const Incident& incident) = 0;
  // For the operators of the next level (see OperatorContext::Forward).
  virtual void Forward(const OperatorSpec& spec, const Incident& incident, EventTimeNs time,
                       ResultKind kind) = 0;
  virtual bool HasReaders(const OperatorSpec& spec) const = 0;
  virtual bool HasFollowers(const OperatorSpec& spec) const = 0;
  // `behind`: how far the input's time lies behind the watermark; kMaxEventTime: more than can be
  // said, or for ever.
  virtual void Late(const OperatorSpec& spec, const Input& input, DurationNs behind) = 0;
  virtual void Count(const OperatorSpec& spec, const char* name, uint64_t n) = 0;
};

// Names the source partitions for incident identities.
class PartitionNames {
 public:
  virtual ~PartitionNames() = default;
  // "source\0topic\0partition" or "source\0path"; stable over restarts and machines.
  virtual std::string_view Origin(PartitionId partition) const = 0;
};

// The key, and the name of its value map, by which an operator's state holds
// OperatorContext::complete_from, the allowed lateness it was kept with, and the closing time under
// the one before: times (state/key_encoding.h), the last two not in older states.
inline constexpr char kCompleteFromKey[] = "(complete_from)";

class OperatorRunner {
 public:
  // Everything referred to outlives the runner. `allowed_lateness` has one entry for each port.
  OperatorRunner(const OperatorSpec& spec, ShardState& state, uint16_t operator_id,
                 std::vector<DurationNs> allowed_lateness, OperatorOutput& output,
                 const PartitionNames& partitions);
  ~OperatorRunner();
  OperatorRunner(OperatorRunner&&) noexcept;

  [[nodiscard]] absl::Status Open();
  [[nodiscard]] absl::Status Process(std::span<const Input> batch);
  // One watermark for each port; those that would go back are ignored. kMaxEventTime: the port's
  // input has ended.
  [[nodiscard]] absl::Status AdvanceWatermark(std::span<const EventTimeNs> port_watermarks);

  EventTimeNs watermark() const;
  EventTimeNs closing_time() const;
  // The watermark for those who read this operator's results: closing time - result_delay().
  EventTimeNs result_watermark() const;
  // After a restart: the port watermarks as of the checkpoint, before any input; fires nothing.
  void RestoreWatermark(std::span<const EventTimeNs> port_watermarks);
  std::span<const EventTimeNs> port_watermarks() const;
  // The operator is new to a pipeline that was running: events up to `newest` may have passed
  // before it was there (OperatorContext::complete_from). Part of its state. After Open; never
  // lowered.
  [[nodiscard]] absl::Status Missed(EventTimeNs newest);
  uint16_t operator_id() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bongsu
