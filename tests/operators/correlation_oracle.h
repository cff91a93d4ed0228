// File: tests/operators/correlation_oracle.h
//
// The slow, obvious correlation: all events of a group sorted, every window walked through from its
// beginning. What sliding_correlation and tiled_correlation find must be this, whatever the order
// of arrival.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/testing/operator_harness.h"

namespace bongsu::testing {

struct OracleEvent {
  EventTimeNs time = 0;
  int64_t offset = 0;
  std::string value;
};

struct OracleOptions {
  DurationNs span = 0;
  DurationNs max_episode = kDayNs;
  DurationNs suppress = 0;
  bool reset = false;
  // Whether a window with these events holds the condition.
  std::function<bool(const std::vector<OracleEvent>&)> holds;
};

// Offsets of the events of each incident, in order, by group.
using OracleIncidents = std::multimap<std::string, std::vector<int64_t>>;

// What those above are told of incidents: the events of the first window when it ends, then those
// that come to it with each further window.
struct OracleResult {
  std::string key;
  EventTimeNs time = 0;
  bool begun = false;
  std::vector<int64_t> offsets;
};

inline std::map<std::string, std::vector<OracleEvent>> ByKey(const std::vector<TestEvent>& events,
                                                             const std::string& key,
                                                             const std::string& value) {
  std::map<std::string, std::vector<OracleEvent>> groups;
  for (const TestEvent& event : events) {
    const auto at = event.fields.find(value);
    groups[key.empty() ? "" : event.fields.at(key)].push_back(
        {event.time, event.offset, at == event.fields.end() ? "" : at->second});
  }
  for (auto& [name, group] : groups) {
    std::sort(group.begin(), group.end(), [](const OracleEvent& a, const OracleEvent& b) {
      return a.time != b.time ? a.time < b.time : a.offset < b.offset;
    });
  }
  return groups;
}

inline OracleIncidents SlidingOracle(const std::map<std::string, std::vector<OracleEvent>>& groups,
                                     const OracleOptions& options,
                                     std::vector<OracleResult>* results = nullptr) {
  OracleIncidents incidents;
  for (const auto& [key, group] : groups) {
    size_t reset = 0;  // events before this one no longer count
    std::vector<int64_t> open;
    EventTimeNs begin = 0;
    EventTimeNs last = 0;
    bool silent = false;
    EventTimeNs silent_until = kMinEventTime;
    const auto close = [&] {
      if (!open.empty() && !silent) incidents.emplace(key, open);
      open.clear();
    };
    for (size_t i = 0; i < group.size(); ++i) {
      const EventTimeNs end = group[i].time;
      // A window that ends at a time has all events of that time.
      if (i + 1 < group.size() && group[i + 1].time == end) continue;
      std::vector<OracleEvent> window;
      for (size_t j = reset; j <= i; ++j) {
        if (group[j].time > end - options.span) window.push_back(group[j]);
      }
      if (!options.holds(window)) continue;
      const bool goes_on = !open.empty() && end < last + options.span && !options.reset;
      const bool cut = goes_on && end - begin > options.max_episode;
      OracleResult result{key, end, !goes_on || cut, {}};
      if (!goes_on || cut) {
        const EventTimeNs before = cut ? last : kMinEventTime;
        close();
        silent = end < silent_until;
        if (!silent && options.suppress > 0) silent_until = end + options.suppress;
        for (const OracleEvent& event : window) {
          if (event.time <= before) continue;
          if (open.empty()) begin = event.time;
          open.push_back(event.offset);
          result.offsets.push_back(event.offset);
        }
      } else {
        for (const OracleEvent& event : window) {
          if (event.time <= last) continue;
          open.push_back(event.offset);
          result.offsets.push_back(event.offset);
        }
      }
      if (results != nullptr && !silent) results->push_back(std::move(result));
      last = end;
      if (options.reset) {
        close();
        reset = i + 1;
      }
    }
    close();
  }
  return incidents;
}

// [first, first + span) one behind the other.
inline OracleIncidents TiledOracle(const std::map<std::string, std::vector<OracleEvent>>& groups,
                                   const OracleOptions& options) {
  OracleIncidents incidents;
  for (const auto& [key, group] : groups) {
    for (size_t i = 0; i < group.size();) {
      std::vector<OracleEvent> window;
      const EventTimeNs end = group[i].time + options.span;
      for (; i < group.size() && group[i].time < end; ++i) window.push_back(group[i]);
      if (!options.holds(window)) continue;
      std::vector<int64_t> offsets;
      for (const OracleEvent& event : window) offsets.push_back(event.offset);
      incidents.emplace(key, offsets);
    }
  }
  return incidents;
}

// What stands at the end, in the oracle's form: without those that went into others. Each must
// have been created once, and name all its events.
inline OracleIncidents Found(const std::map<std::string, FinalIncident>& incidents) {
  OracleIncidents found;
  for (const auto& [id, incident] : incidents) {
    EXPECT_EQ(incident.creates, 1) << incident.Text();
    if (!incident.merged_into.empty()) {
      EXPECT_EQ(incident.closes, 1) << incident.Text();
      EXPECT_TRUE(incidents.contains(incident.merged_into)) << incident.Text();
      continue;
    }
    EXPECT_EQ(incident.event_count, incident.evidence.size()) << incident.Text();
    std::vector<int64_t> offsets;
    for (const auto& [source, offset] : incident.evidence) offsets.push_back(offset);
    found.emplace(incident.key, offsets);
  }
  return found;
}

inline std::string Text(const std::vector<OracleResult>& results) {
  std::vector<std::string> lines;
  for (const OracleResult& one : results) {
    std::string line = one.key + " " + std::to_string(one.time) + (one.begun ? " begun:" : ":");
    for (const int64_t offset : one.offsets) line += " " + std::to_string(offset);
    lines.push_back(line);
  }
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

// What the operator told those above, in the oracle's form.
inline std::vector<OracleResult> Results(const OperatorHarness& harness) {
  std::vector<OracleResult> results;
  for (const OperatorHarness::Forwarded& one : harness.forwarded()) {
    results.push_back({one.key, one.time, one.kind == ResultKind::kBegun, {}});
    for (const auto& [source, offset] : one.evidence) results.back().offsets.push_back(offset);
  }
  return results;
}

inline std::string Text(const OracleIncidents& incidents) {
  std::vector<std::string> lines;
  for (const auto& [key, offsets] : incidents) {
    std::string line = key + ":";
    for (const int64_t offset : offsets) line += " " + std::to_string(offset);
    lines.push_back(line);
  }
  std::sort(lines.begin(), lines.end());
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

}  // namespace bongsu::testing
