// File: tests/simulation/process.h
//
// One process of a World: the backend on which its service stands.
//
// Thread-safety: none.
#pragma once

#include <memory>

#include "pipeline/backend.h"
#include "tests/simulation/world.h"

namespace bongsu {

// `world` and `process` outlive it.
std::unique_ptr<Backend> MakeSimBackend(World& world, World::Process& process);

}  // namespace bongsu
