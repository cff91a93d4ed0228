// File: pipeline/positions.h
//
// What a checkpoint says of the pipeline: where each source partition stands, its clock, the
// operators' watermarks, and how long each output file was. To the store it is bytes
// (CheckpointMeta::positions); the grammar is in state/FORMAT.md, section "Positions".
//
// Thread-safety: pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "pipeline/io.h"
#include "pipeline/outputs.h"
#include "pipeline/watermarks.h"

namespace bongsu {

struct PipelinePositions {
  struct Partition {
    PartitionInfo info;
    Position position;
    PartitionClock clock;
  };
  std::vector<Partition> partitions;
  std::map<std::string, std::vector<EventTimeNs>> port_watermarks;  // by operator name
  // Of the same operators: whose watermarks, and whose state, these are (ShortHash). None in
  // positions of before these were written.
  std::map<std::string, std::string> semantic_hashes;
  std::map<std::string, uint8_t> alarms;  // by source: bits of SourceAlarm, where there are any
  std::array<int64_t, kStreams> sink_lengths{};
  // "file:path" or "topic:name": an output that changed is not cut.
  std::array<std::string, kStreams> sink_names;
  // With delivery: exactly_once on Kafka, where the positions are a record of the changelog: the
  // epoch that they belong to, and how far each shard's log stood then (shard epochs).
  EpochId epoch = 0;
  std::vector<uint64_t> shard_epochs;
};

// What positions, of which each epoch has some, keep of a semantic hash.
inline std::string ShortHash(std::string_view semantic_hash) {
  return std::string(semantic_hash.substr(0, 16));
}

std::string EncodePositions(const PipelinePositions& positions);
// DataLoss when the bytes do not parse; FailedPrecondition for a newer version.
absl::StatusOr<PipelinePositions> DecodePositions(std::string_view bytes);

// As records of the changelog: several in a row where one would be above its bound.
inline constexpr size_t kPositionsRecordBytesMax = size_t{512} << 10;
std::vector<std::string> PositionsRecords(std::string_view positions);
// The next record; `*positions` gathers them, and is whole where this is true.
bool TakePositionsRecord(std::string_view record, std::string* positions);

}  // namespace bongsu
