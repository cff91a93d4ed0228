// File: pipeline/rule_test_record.h
//
// A record as a source would have written it, from what a rule test says of an event: its fields,
// under the source's own names or under those that rules use, and its time, put where the source's
// format looks for it.
//
//   std::string json = MakeTestRecord(event, source.format, &problem);
//
// Thread-safety: pure functions.
#pragma once

#include <string>

#include "pipeline/format.h"
#include "pipeline/rule_test_file.h"

namespace bongsu {

// The record's JSON, or empty with `*problem`: a format in which no place for the time fits.
std::string MakeTestRecord(const RuleTestEvent& event, const Format& format, std::string* problem);

// `time` as a source writes it where `spec` reads it.
std::string TimeAsWritten(const TimeSpec& spec, EventTimeNs time);

}  // namespace bongsu
