#include "pipeline/positions.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace bongsu {
namespace {

constexpr int kVersion = 1;
using Json = nlohmann::json;

Json PartitionJson(const PipelinePositions::Partition& partition) {
  Json json;
  json["id"] = partition.info.id;
  json["source"] = partition.info.source;
  if (!partition.info.topic.empty()) {
    json["topic"] = partition.info.topic;
    json["partition"] = partition.info.partition;
  } else {
    json["path"] = partition.info.path;
  }
  json["next_offset"] = partition.position.next_offset;
  json["ended"] = partition.position.ended;
  if (partition.position.beginning.has_value()) json["beginning"] = *partition.position.beginning;
  json["state"] = static_cast<int>(partition.clock.state);
  json["newest"] = partition.clock.newest;
  json["floor"] = partition.clock.floor;
  if (partition.clock.missed != kMinEventTime) json["missed"] = partition.clock.missed;
  return json;
}

std::string Identity(const PartitionInfo& info) {
  std::string identity = info.source;
  identity.push_back('\0');
  if (info.topic.empty()) return identity + info.path;
  identity += info.topic;
  identity.push_back('\0');
  return identity + std::to_string(info.partition);
}

PipelinePositions::Partition ReadPartition(const Json& json) {
  PipelinePositions::Partition partition;
  partition.info.id = json.at("id").get<PartitionId>();
  partition.info.source = json.at("source").get<std::string>();
  partition.info.topic = json.value("topic", "");
  partition.info.partition = json.value("partition", 0);
  partition.info.path = json.value("path", "");
  partition.info.identity = Identity(partition.info);
  partition.position.partition = partition.info.id;
  partition.position.next_offset = json.at("next_offset").get<int64_t>();
  partition.position.ended = json.at("ended").get<bool>();
  if (const auto it = json.find("beginning"); it != json.end())
    partition.position.beginning = it->get<uint64_t>();
  partition.clock.state = static_cast<PartitionClock::State>(json.at("state").get<int>());
  partition.clock.newest = json.at("newest").get<EventTimeNs>();
  partition.clock.floor = json.at("floor").get<EventTimeNs>();
  partition.clock.missed = json.value("missed", kMinEventTime);
  return partition;
}

}  // namespace

std::string EncodePositions(const PipelinePositions& positions) {
  Json json;
  json["version"] = kVersion;
  json["partitions"] = Json::array();
  for (const auto& partition : positions.partitions)
    json["partitions"].push_back(PartitionJson(partition));
  json["port_watermarks"] = positions.port_watermarks;
  json["semantic_hashes"] = positions.semantic_hashes;
  if (!positions.alarms.empty()) json["alarms"] = positions.alarms;
  json["sink_lengths"] = positions.sink_lengths;
  json["sink_names"] = positions.sink_names;
  json["epoch"] = positions.epoch;
  json["shard_epochs"] = positions.shard_epochs;
  // A path need not be UTF-8; it must still come back as it was, or at least not throw.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<PipelinePositions> DecodePositions(std::string_view bytes) {
  // The library throws on wrong types: this is its one adapter.
  try {
    const Json json = Json::parse(bytes);
    if (json.contains("registry")) {
      return absl::FailedPreconditionError(
          "the application has run with exchange: kafka: go on with that, or start with another "
          "application name");
    }
    if (json.at("version").get<int>() > kVersion) {
      return absl::FailedPreconditionError(
          fmt::format("the state was written by a newer bongsu (positions version {}, known: {}): "
                      "run that version, "
                      "or point state.path at an empty folder",
                      json.at("version").get<int>(), kVersion));
    }
    PipelinePositions positions;
    for (const Json& partition : json.at("partitions"))
      positions.partitions.push_back(ReadPartition(partition));
    positions.port_watermarks =
        json.at("port_watermarks").get<std::map<std::string, std::vector<EventTimeNs>>>();
    positions.semantic_hashes = json.value("semantic_hashes", std::map<std::string, std::string>());
    positions.sink_lengths = json.at("sink_lengths").get<std::array<int64_t, kStreams>>();
    positions.sink_names = json.at("sink_names").get<std::array<std::string, kStreams>>();
    positions.alarms = json.value("alarms", std::map<std::string, uint8_t>());
    positions.epoch = json.value("epoch", EpochId{0});
    positions.shard_epochs = json.value("shard_epochs", std::vector<uint64_t>());
    return positions;
  } catch (const Json::exception& error) {
    return absl::DataLossError(
        fmt::format("the checkpoint's positions do not parse: {}", error.what()));
  }
}

// A whole one begins with the brace of its JSON.
std::vector<std::string> PositionsRecords(std::string_view positions) {
  std::vector<std::string> records;
  if (positions.size() <= kPositionsRecordBytesMax) return {std::string(positions)};
  while (!positions.empty()) {
    const std::string_view part = positions.substr(0, kPositionsRecordBytesMax);
    positions.remove_prefix(part.size());
    records.push_back((positions.empty() ? "=" : "+") + std::string(part));
  }
  return records;
}

bool TakePositionsRecord(std::string_view record, std::string* positions) {
  const char kind = record.empty() ? '\0' : record.front();
  if (kind == '+' || kind == '=') {
    positions->append(record.substr(1));
    return kind == '=';
  }
  positions->assign(record);
  return true;
}

}  // namespace bongsu
