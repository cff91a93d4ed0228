// File: pipeline/alert_layout.h
//
// What the alert writers know of a rule and of a source partition before the first incident: the
// field names of each input already in JSON, which of them a native alert carries, which field
// holds which entity (host, user, address ...), and the coordinates of a partition as JSON.
//
//   AlertLayout layout(config, partitions);
//   const RuleLayout& rule = layout.Rule(spec);
//   layout.AppendCoordinates(evidence.seq, &json);   //
//   "source":"fw","topic":"logs.fw","partition":3,"offset":17
//
// Bounds: one entry for each rule and each source partition, both fixed in number.
// Thread-safety: one thread (it fills itself as rules and partitions are met).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "operators/event.h"
#include "operators/incident.h"
#include "operators/operator.h"
#include "pipeline/config.h"
#include "pipeline/io.h"

namespace bongsu {

// The roles that a format gives to its fields (Format::entities).
enum class Entity : uint8_t {
  kHost,
  kHostIp,
  kUser,
  kSrcIp,
  kSrcPort,
  kDstIp,
  kDstPort,
  kProcess,
  kCommandLine,
  kParentProcess,
  kPid,
  kProcessUid,
};
inline constexpr size_t kEntityCount = 12;
// "host", "host_ip", "user", ...
std::string_view EntityName(Entity entity);

struct PortLayout {
  std::string input_json;               // "left" (quoted, escaped)
  std::string title_json;               // of the Sigma rule behind it; else as input_json
  std::vector<std::string> field_json;  // "Image": for each field of the payload (quoted, colon)
  std::vector<bool> chosen;             // a native alert carries it
  // Positions of the fields that may hold an entity, in the order in which they are tried.
  std::array<std::vector<uint16_t>, kEntityCount> entities;
};

struct RuleLayout {
  const OperatorSpec* spec = nullptr;
  std::vector<PortLayout> ports;
  std::string native_head;  // ,"rule":"...","level":"high"
  // What a Sigma rule says about itself ({"id":..,"title":..,"author":..}); empty for operators.
  std::string sigma_json;
  bool one_event = false;  // a detection: no key, and one piece of evidence
  std::vector<std::string>
      group_json;  // "User": for each part of a correlation's key (and a colon)
  // OCSF parts that do not change from incident to incident.
  std::string analytic_json;
  std::string attacks_json;  // [...], empty where no tag names ATT&CK
  std::string labels_json;   // [...] of the other tags, empty where there are none
  std::string title_json;
  int severity_id = 3;
  std::string_view severity = "Medium";
};

class AlertLayout {
 public:
  // Both outlive the layout.
  AlertLayout(const Config& config, const PartitionTable& partitions);

  const RuleLayout& Rule(const OperatorSpec& spec);
  // "source":"...", then "topic", "partition" and "offset", or "file" and "offset"; "source":null
  // of kNoRecord.
  void AppendCoordinates(RecordSeq seq, std::string* out);
  // The place as one text, for people and ids: topic/3:17 or path:17; "none" of kNoRecord.
  std::string PlaceText(RecordSeq seq);
  // The source in the configuration; null where it is no longer there, and of kNoRecord.
  const SourceConfig* Source(RecordSeq seq);

 private:
  struct Place {
    std::string json;  // up to and with "offset":
    std::string text;
    const SourceConfig* source = nullptr;
  };
  const Place& PlaceOf(PartitionId partition);
  std::unique_ptr<RuleLayout> MakeRule(const OperatorSpec& spec) const;
  PortLayout MakePort(const InputSpec& input) const;

  const Config& config_;
  const PartitionTable& partitions_;
  absl::flat_hash_map<const OperatorSpec*, std::unique_ptr<RuleLayout>> rules_;
  std::vector<std::unique_ptr<Place>> places_;  // by PartitionId
};

// What a correlation has found, as members of an object, each with a comma in front: "group" (an
// object: field and value), "value" and "threshold", "value_error", "merged_into"; those that it
// has.
void AppendFindings(const RuleLayout& rule, const Incident& incident, std::string* out);

// How many events an alert does not list that lists `shown`.
inline uint64_t LeftOut(const Incident& incident, std::span<const Evidence> shown) {
  return incident.evidence_dropped + incident.evidence.size() - shown.size();
}

// The ATT&CK entries (OCSF `attack` objects, a JSON array) that Sigma's tags name, or empty.
std::string AttacksJson(const std::vector<std::string>& tags);

// A value as JSON: strings escaped, numbers as they were written (as a string where they are not
// JSON or no double holds them), objects as a string that holds their JSON.
void AppendValueJson(const Value& value, std::string* out);

// The first value of `entity` that is a text or number; absent where the event has none.
Value EntityValue(const PortLayout& port, Entity entity, const std::vector<Value>& values);

}  // namespace bongsu
