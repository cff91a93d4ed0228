#include "pipeline/source_alarm.h"

#include <fmt/format.h>

#include "operators/key.h"

namespace bongsu {

std::string_view SourceAlarmName(SourceAlarm alarm) {
  return alarm == SourceAlarm::kSilent ? "source_silent" : "source_lagging";
}

SourceAlarmSpec::SourceAlarmSpec(SourceAlarm alarm, const SourceConfig& source)
    : alarm_(alarm), source_(source.name) {
  const bool silent = alarm == SourceAlarm::kSilent;
  rule_.name = rule_.type = std::string(SourceAlarmName(alarm));
  rule_.title = silent ? "A source of logs has fallen silent"
                       : "A source of logs lags, and its events are late";
  rule_.level = "high";
  rule_.group_by = {"source"};
  InputSpec input;
  input.name = input.source = source.name;
  inputs_.push_back(std::move(input));
  semantic_hash_ = Sha256Hex(rule_.name);
  const Value name = Value::String(source.name);
  Event event;
  event.fields = {&name, 1};
  KeyBuilder keys({.slots = {0}, .tenant = source.tenant, .cased = true});
  key_ = std::string(keys.Build(event).front());
}

Incident SourceAlarmSpec::MakeIncident(EventTimeNs time) const {
  Incident incident;
  IncidentAnchor anchor;
  anchor.rule = rule_.name;
  anchor.rule_hash = semantic_hash_;
  anchor.key = key_;
  anchor.origin = source_;
  anchor.time = time;
  incident.id = MakeIncidentId(anchor);
  incident.key = key_;
  incident.first_time = incident.last_time = incident.anchor_time = time;
  return incident;
}

std::string SourceAlarmSpec::Why(const Incident&) const {
  if (alarm_ == SourceAlarm::kSilent) {
    return fmt::format(
        "Source '{}' was read to its end and no record has come for time.source_silent. Its newest "
        "event is this alert's time; what depends on the source sees nothing since.",
        source_);
  }
  return fmt::format(
      "Source '{}' is further behind the live sources that it meets than time.max_lag. They are "
      "not held back by it any longer: its older events go to the late stream.",
      source_);
}

}  // namespace bongsu
