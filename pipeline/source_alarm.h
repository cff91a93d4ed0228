// File: pipeline/source_alarm.h
//
// The alerts about the sources themselves, source_silent and source_lagging, as the alert writers
// want them: a rule, and an incident without evidence.
//
//   const SourceAlarmSpec spec(SourceAlarm::kSilent, config.sources[i]);
//   writer.Write(spec, spec.MakeIncident(newest), &json);
//
// The id is made of the source's name and of its newest event's time, so that the same silence has
// the same id whoever finds it.
//
// Thread-safety: immutable. The incident's views are the spec's.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "operators/operator.h"
#include "pipeline/batch.h"
#include "pipeline/config.h"

namespace bongsu {

// "source_silent", "source_lagging".
std::string_view SourceAlarmName(SourceAlarm alarm);

class SourceAlarmSpec : public OperatorSpec {
 public:
  SourceAlarmSpec(SourceAlarm alarm, const SourceConfig& source);
  // `time`: of the source's newest event.
  Incident MakeIncident(EventTimeNs time) const;
  std::string Why(const Incident& incident) const override;
  std::unique_ptr<Operator> NewInstance() const override { return nullptr; }

 private:
  const SourceAlarm alarm_;
  std::string source_;
  std::string key_;
};

}  // namespace bongsu
