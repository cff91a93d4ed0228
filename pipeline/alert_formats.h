// File: pipeline/alert_formats.h
//
// The formats behind MakeAlertWriter, one function each. Use pipeline/alert_writer.h.
//
// Thread-safety: as AlertWriter.
#pragma once

#include <memory>

#include "pipeline/alert_layout.h"
#include "pipeline/alert_writer.h"

namespace bongsu {

std::unique_ptr<AlertWriter> MakeNativeWriter(const Config& config,
                                              const PartitionTable& partitions);
std::unique_ptr<AlertWriter> MakeOcsfWriter(const Config& config, const PartitionTable& partitions,
                                            const Clock& clock);

}  // namespace bongsu
