// File: pipeline/state_command.h
//
// `bongsu state info | verify | export FOLDER`: what the state folder of a stopped instance holds.
//
//   int exit_status = RunStateCommand(StateCommand::kInfo, "/var/lib/bongsu", /*json=*/false);
//
// Thread-safety: one thread.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace bongsu {

enum class StateCommand : uint8_t { kInfo, kVerify, kExport };

// Prints to standard output; errors are the status.
[[nodiscard]] absl::Status RunStateCommand(StateCommand command, const std::string& folder,
                                           bool json);

}  // namespace bongsu
