#include "pipeline/state_command.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "pipeline/positions.h"
#include "state/inspect.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

using Json = nlohmann::json;

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<uint8_t>(c));
  return hex;
}

Json InfoJson(const StateInfo& info, const PipelinePositions& positions) {
  Json json;
  json["format_version"] = info.format_version;
  json["application"] = info.application;
  json["shards"] = info.shards;
  json["hash_seed"] = fmt::format("{:016x}", info.hash_seed);
  json["epoch"] = info.checkpoint.has_value() ? info.checkpoint->epoch : 0;
  json["positions_are_older_than_rows"] = info.replayed;
  json["logged"] = !info.changelog.empty() && !info.unlogged;
  json["files_bytes"] = info.files_bytes;
  json["rows_checksum"] = fmt::format("{:016x}", info.rows_checksum);
  json["operators"] = Json::array();
  for (const StateInfo::Operator& op : info.operators) {
    json["operators"].push_back({{"name", op.name},
                                 {"list_rows", op.list_rows},
                                 {"value_rows", op.value_rows},
                                 {"timer_rows", op.timer_rows},
                                 {"bytes", op.bytes}});
  }
  json["positions"] = Json::array();
  for (const auto& one : positions.partitions) {
    Json position = {{"source", one.info.source}, {"next_offset", one.position.next_offset}};
    if (one.info.topic.empty()) {
      position["path"] = one.info.path;
    } else {
      position["topic"] = one.info.topic;
      position["partition"] = one.info.partition;
    }
    json["positions"].push_back(std::move(position));
  }
  json["changelog"] = Json::array();
  for (const auto& [shard, position] : info.changelog) {
    json["changelog"].push_back(
        {{"shard", shard}, {"epoch", position.epoch}, {"next_offset", position.next_offset}});
  }
  return json;
}

void PrintInfo(const Json& json) {
  fmt::print("application {}, {} shards, format version {}\n",
             json["application"].get<std::string>(), json["shards"].get<int>(),
             json["format_version"].get<int>());
  fmt::print("epoch {}, {} bytes in files, checksum of the rows {}\n",
             json["epoch"].get<uint64_t>(), json["files_bytes"].get<uint64_t>(),
             json["rows_checksum"].get<std::string>());
  for (const Json& op : json["operators"]) {
    fmt::print("operator {}: {} list rows, {} values, {} timers, {} bytes\n",
               op["name"].get<std::string>(), op["list_rows"].get<uint64_t>(),
               op["value_rows"].get<uint64_t>(), op["timer_rows"].get<uint64_t>(),
               op["bytes"].get<uint64_t>());
  }
  for (const Json& position : json["positions"]) {
    const std::string where = position.contains("path")
                                  ? position["path"].get<std::string>()
                                  : fmt::format("{}[{}]", position["topic"].get<std::string>(),
                                                position["partition"].get<int>());
    fmt::print("source {}: {} at {}\n", position["source"].get<std::string>(), where,
               position["next_offset"].get<int64_t>());
  }
  for (const Json& shard : json["changelog"]) {
    fmt::print("shard {}: changelog taken over up to offset {}, shard epoch {}\n",
               shard["shard"].get<int>(), shard["next_offset"].get<int64_t>(),
               shard["epoch"].get<uint64_t>());
  }
}

void PrintRow(const StateRow& row) {
  Json json = {{"operator", row.op},   {"kind", row.kind},    {"shard", row.shard},
               {"handle", row.handle}, {"key", Hex(row.key)}, {"value", Hex(row.value)}};
  if (row.kind != "value") json["time"] = row.time;
  if (row.kind == "list") json["seq"] = row.seq;
  fmt::print("{}\n", json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace

absl::Status RunStateCommand(StateCommand command, const std::string& folder, bool json) {
  BONGSU_ASSIGN_OR_RETURN(const auto inspector, StateInspector::Open(folder));
  if (command == StateCommand::kExport) return inspector->Export(PrintRow);
  if (command == StateCommand::kVerify) BONGSU_RETURN_IF_ERROR(inspector->Verify());
  BONGSU_ASSIGN_OR_RETURN(const StateInfo info, inspector->Info());
  PipelinePositions positions;
  if (info.checkpoint.has_value() && !info.checkpoint->positions.empty()) {
    BONGSU_ASSIGN_OR_RETURN(positions, DecodePositions(info.checkpoint->positions));
  }
  const Json shown = InfoJson(info, positions);
  if (command == StateCommand::kVerify) {
    fmt::print("ok: every block's and every record's checksum holds; rows {}\n",
               shown["rows_checksum"].get<std::string>());
  } else if (json) {
    fmt::print("{}\n", shown.dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    PrintInfo(shown);
  }
  return absl::OkStatus();
}

}  // namespace bongsu
