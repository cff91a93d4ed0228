// File: pipeline/owned_shard.h
//
// A shard in the hands of a thread: its state and its running operators, and with exchange: kafka
// its own clocks. Only shard_task.cc and shard_task_shared.cc look inside.
//
// Thread-safety: one thread at a time.
#pragma once

#include <memory>
#include <vector>

#include "operators/operator_runner.h"
#include "pipeline/shard_clocks.h"
#include "pipeline/shard_task.h"
#include "state/shard_state.h"

namespace bongsu {

struct ShardTask::Shard {
  ShardId id = 0;
  std::unique_ptr<ShardState> state;
  std::vector<std::unique_ptr<OperatorRunner>> runners;  // by operator

  // exchange: kafka.
  std::unique_ptr<ShardClocks> clocks;
  ValueMap* clocks_row = nullptr;
  bool clocks_moved = false;                    // since the last batch
  bool clocks_changed = false;                  // since the last barrier
  std::vector<std::vector<EventTimeNs>> ports;  // by operator: as of the last advance
};

}  // namespace bongsu
