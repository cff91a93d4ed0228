// File: operators/sigma/time_part.h
//
// The parts of a point in time that Sigma's modifiers minute, hour, day, week, month and year ask
// for. In UTC: the specification has no time zones.
//
//   std::optional<int> hour = TimePart(Value::String("2024-12-30T23:05:00+02:00"),
//   Modifier::kHour);
//   // 21
//
// Texts are "YYYY-MM-DD", with `T` or a blank and HH:MM[:SS[.fraction]] behind it, and `Z`, +HH:MM
// or nothing (UTC) behind that; numbers are seconds, milli-, micro- or nanoseconds since 1970, by
// their size (10^11, 10^14 and 10^17 part them), never negative. The week is that of ISO 8601: 1
// to 53.
//
// Thread-safety: pure functions; they do not allocate.
#pragma once

#include <cstdint>
#include <optional>

#include "operators/event.h"
#include "operators/sigma/modifier.h"

namespace bongsu::sigma {

// Nothing where the value is no point in time.
std::optional<int64_t> TimePart(const Value& value, Modifier part);

}  // namespace bongsu::sigma
