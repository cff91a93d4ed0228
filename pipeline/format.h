// File: pipeline/format.h
//
// A format: how the records of a source are read. Where their event time is, what their fields are
// called, which Sigma log source they are. Formats are data (YAML): the named ones lie in
// pipeline/formats/*.yaml and are compiled into the binary; a configuration may write its own in
// place of a name, or name one and change parts of it.
//
//   format: suricata-eve
//   format: {base: ecs, time: [{path: event.created, as: rfc3339}], fields: {Image:
//   process.executable}}
//
// Thread-safety: plain data, immutable once loaded.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"
#include "operators/sigma/log_source.h"
#include "state/types.h"

namespace bongsu {

enum class TimeEncoding : uint8_t {
  kRfc3339,  // any fraction; Z, +00:00, +0000
  kEpochS,
  kEpochMs,
  kEpochUs,
  kEpochNs,  // number or string, fraction allowed
  kPattern,  // strptime-like, with a declared zone
};

// Which records something of a format is meant for: those whose field at `path` has one of `texts`
// (ASCII case ignored). Without a path: all.
struct RecordCondition {
  std::string path;
  std::vector<std::string> texts;
};

// One place where event time may be; a list of them is tried in order, the first usable one counts.
struct TimeSpec {
  std::string path;  // dotted
  TimeEncoding encoding = TimeEncoding::kRfc3339;
  std::string pattern;  // kPattern: %Y-%m-%d %H:%M:%S%f ...; %f = fraction with its dot, optional
  DurationNs zone_offset = 0;  // kPattern without %z: local time minus UTC
  RecordCondition when;
};

struct Format {
  std::string name;
  std::vector<TimeSpec> time;
  // Rule's field name -> path(s) in the record, tried in order (of one path, a literal flat key
  // wins over the nested one).
  std::map<std::string, std::vector<std::string>> fields;
  // The same path may be another thing in another kind of record (a process here, a file there): of
  // a field in `fields`, in which records each of its paths counts, in the same order. A field that
  // is not here has its paths in all.
  std::map<std::string, std::vector<RecordCondition>> field_conditions;
  // What a field is to an alert: entity ("host", "host_ip", "user", "src_ip", "src_port", "dst_ip",
  // "dst_port", "process", "command_line", "parent_process", "pid", "process_uid", "message",
  // "event_id", "signature") -> rule's field names, tried in order.
  std::map<std::string, std::vector<std::string>> entities;
  // Paths of a rule's field name that is not in `fields`, tried in order. `{}` stands for the name,
  // `{blanks}` for the name with a blank before each of its words ("ThreatName": "Threat Name"); a
  // segment `*` is any key.
  std::vector<std::string> other_fields = {"{}"};
  // Which events are of which Sigma log source.
  sigma::LogSourceMap logsource;

  // Where `field` is looked for, in order.
  std::vector<std::string> PathsOf(const std::string& field) const;
};

// The formats compiled into the binary: their names, ascending, and one of them by its name; null:
// there is none. Each is parsed when it is first asked for, since most programs need one. For any
// thread; what is returned lives as long as the program.
std::vector<std::string_view> BuiltinFormatNames();
const Format* FindBuiltinFormat(std::string_view name);

// The same for the log-source maps that are compiled in (pipeline/formats/logsource/*.yaml); a
// format starts from one by `logsource: {base: windows}`.
std::vector<std::string_view> BuiltinLogSourceNames();
const sigma::LogSourceMap* FindBuiltinLogSource(std::string_view name);

// Reads a format: a scalar naming one, or a map. Nullopt after errors.
std::optional<Format> ParseFormat(const Node& node, Diagnostics& diagnostics);

}  // namespace bongsu
