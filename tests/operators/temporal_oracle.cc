#include "tests/operators/temporal_oracle.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace bongsu::testing {
namespace {

// A record with the rules that it matches.
struct Record {
  EventTimeNs time = 0;
  std::string source;
  int64_t offset = 0;
  std::vector<int> rules;
  bool has(int rule) const { return std::find(rules.begin(), rules.end(), rule) != rules.end(); }
};
using Records = std::vector<Record>;

Records Between(const Records& records, EventTimeNs from, EventTimeNs to) {
  Records found;
  for (const Record& one : records) {
    if (one.time >= from && one.time <= to) found.push_back(one);
  }
  return found;
}

bool Follows(const Records& records, size_t a, size_t b, bool apart) {
  return apart ? records[a].time < records[b].time : a < b;
}

// Every chain of the steps within the records: the indices of first and last.
void Chains(const Records& records, const std::vector<int>& steps, size_t step, size_t first,
            size_t last, bool apart, std::set<std::pair<size_t, size_t>>* out) {
  if (step == steps.size()) {
    out->emplace(first, last);
    return;
  }
  for (size_t i = 0; i < records.size(); ++i) {
    if (!records[i].has(steps[step])) continue;
    if (step > 0 && !Follows(records, last, i, apart)) continue;
    Chains(records, steps, step + 1, step == 0 ? i : first, i, apart, out);
  }
}

std::set<int> Seen(const Records& records) {
  std::set<int> seen;
  for (const Record& one : records) seen.insert(one.rules.begin(), one.rules.end());
  return seen;
}

size_t DifferentInOrder(const OracleRule& rule, const Records& window) {
  size_t most = 0;
  for (int subset = 1; subset < 1 << rule.rules; ++subset) {
    std::vector<int> steps;
    for (int i = 0; i < rule.rules; ++i) {
      if ((subset >> i & 1) != 0) steps.push_back(i);
    }
    std::set<std::pair<size_t, size_t>> chains;
    Chains(window, steps, 0, 0, 0, rule.apart, &chains);
    if (!chains.empty()) most = std::max(most, steps.size());
  }
  return most;
}

// `from_start`: chains begin at the window's first moment (absence).
bool Holds(const OracleRule& rule, const Records& window, bool from_start) {
  const std::set<int> seen = Seen(window);
  if (rule.alternatives.empty())
    return rule.by_count[rule.ordered ? DifferentInOrder(rule, window) : seen.size()];
  for (const OracleAlternative& one : rule.alternatives) {
    if (!rule.ordered) {
      if (std::all_of(one.seen.begin(), one.seen.end(), [&](int i) { return seen.contains(i); }) &&
          std::none_of(one.absent.begin(), one.absent.end(),
                       [&](int i) { return seen.contains(i); }))
        return true;
      continue;
    }
    std::set<std::pair<size_t, size_t>> chains;
    Chains(window, one.seen, 0, 0, 0, rule.apart, &chains);
    for (const auto& [first, last] : chains) {
      if (from_start && window[first].time != window[0].time) continue;
      bool behind = false;
      for (size_t i = 0; i < window.size(); ++i) {
        behind = behind || (Follows(window, last, i, rule.apart) &&
                            std::any_of(one.absent.begin(), one.absent.end(),
                                        [&](int absent) { return window[i].has(absent); }));
      }
      if (!behind) return true;
    }
  }
  return false;
}

class Group {
 public:
  Group(const OracleRule& rule, std::string key, Records records, std::vector<OracleIncident>* out)
      : rule_(rule), key_(std::move(key)), records_(std::move(records)), out_(out) {}

  void Positive() {
    std::vector<EventTimeNs> hits;
    EventTimeNs floor = kMinEventTime;
    for (const Record& one : records_) {
      const EventTimeNs t = one.time;
      if (!hits.empty() && hits.back() == t) continue;
      const EventTimeNs from = std::max(t - rule_.span + 1, AddTime(floor, 1));
      const Records window = Between(records_, from, t);
      if (window.empty() || !Holds(rule_, window, false)) continue;
      hits.push_back(t);
      if (!rule_.reset) continue;
      floor = t;
      Add(window, t);
    }
    if (!rule_.reset) Episodes(hits);
  }

  // Windows one behind the other from the first record on, also those without any.
  void Unbroken(const std::set<int>& asked) {
    for (EventTimeNs start = records_.front().time; start <= records_.back().time;
         start += rule_.span) {
      Records window = Between(records_, start, start + rule_.span - 1);
      if (!Holds(rule_, window, false)) continue;
      for (Record& one : window)
        std::erase_if(one.rules, [&](int i) { return !asked.contains(i); });
      Add(window, start);
    }
  }

  // Windows of absence and tiles.
  void Windows(const std::set<int>& opening, const std::set<int>& asked, bool tiles) {
    std::set<EventTimeNs> starts;
    for (const Record& one : records_) {
      if (std::any_of(one.rules.begin(), one.rules.end(),
                      [&](int i) { return opening.contains(i); }))
        starts.insert(one.time);
    }
    EventTimeNs next = kMinEventTime;
    for (EventTimeNs start : starts) {
      if (start < next) continue;
      Records window = Between(records_, start, start + rule_.span - 1);
      // What begins a window comes first in it, for chains: older ones at the same time are kept.
      const bool holds = Holds(rule_, window, !tiles);
      if (holds || tiles) next = start + rule_.span;
      if (!holds) continue;
      for (Record& one : window)
        std::erase_if(one.rules, [&](int i) { return !asked.contains(i); });
      Add(window, start);
    }
  }

  // Windows from 1970 on, and sessions: all records of the rules make them.
  void Closed(const std::set<int>& asked) {
    for (size_t begin = 0, end = 0; begin < records_.size(); begin = end) {
      const EventTimeNs start = records_[begin].time;
      EventTimeNs last = start;
      while (end < records_.size() && Joins(start, last, records_[end].time)) {
        last = records_[end].time;
        ++end;
      }
      Records window(records_.begin() + static_cast<ptrdiff_t>(begin),
                     records_.begin() + static_cast<ptrdiff_t>(end));
      if (!Holds(rule_, window, false)) continue;
      for (Record& one : window)
        std::erase_if(one.rules, [&](int i) { return !asked.contains(i); });
      Add(window,
          rule_.window == OracleWindow::kTumbling ? start / rule_.span * rule_.span : start);
    }
  }

 private:
  bool Joins(EventTimeNs start, EventTimeNs last, EventTimeNs time) const {
    if (rule_.window == OracleWindow::kTumbling) return time / rule_.span == start / rule_.span;
    return time - last < rule_.span && time - start <= rule_.max_episode;
  }

  void Add(const Records& window, EventTimeNs hit) {
    if (hit < suppress_until_) return;
    if (rule_.suppress > 0) suppress_until_ = hit + rule_.suppress;
    OracleIncident incident;
    incident.key = key_;
    for (const Record& one : window) {
      for (size_t i = 0; i < one.rules.size(); ++i)
        incident.events.emplace_back(one.source, one.offset);
    }
    out_->push_back(std::move(incident));
  }

  // Hits less than a span from one another, cut where one is longer than max_episode behind the
  // first event; what follows has the events behind the last hit before.
  void Episodes(const std::vector<EventTimeNs>& hits) {
    for (size_t begin = 0, end = 0; begin < hits.size(); begin = end) {
      end = begin + 1;
      while (end < hits.size() && hits[end] - hits[end - 1] < rule_.span) ++end;
      EventTimeNs from = hits[begin] - rule_.span + 1;
      for (size_t at = begin, stop = begin; at < end; at = stop) {
        const EventTimeNs anchor = Between(records_, from, hits[at])[0].time;
        while (stop < end && hits[stop] - anchor <= rule_.max_episode) ++stop;
        Add(Between(records_, from, hits[stop - 1]), hits[at]);
        from = hits[stop - 1] + 1;
      }
    }
  }

  const OracleRule& rule_;
  const std::string key_;
  const Records records_;
  std::vector<OracleIncident>* out_;
  EventTimeNs suppress_until_ = kMinEventTime;
};

}  // namespace

std::vector<OracleIncident> TemporalOracle(const OracleRule& rule,
                                           const std::vector<TestEvent>& events) {
  std::map<std::string, Records> groups;
  for (size_t i = 0; i < events.size(); ++i) {
    const TestEvent& event = events[i];
    Record record{event.time, event.source, event.offset >= 0 ? event.offset : int64_t(i), {}};
    for (int r = 0; r < rule.rules; ++r) {
      const auto field = event.fields.find("f" + std::to_string(r));
      if (field != event.fields.end() && field->second == "1") record.rules.push_back(r);
    }
    if (record.rules.empty()) continue;
    groups[rule.grouped ? event.fields.at("k") : ""].push_back(record);
  }
  std::set<int> opening;
  bool absence = false;
  bool tiles =
      rule.alternatives.empty() && !std::is_sorted(rule.by_count.begin(), rule.by_count.end());
  for (const OracleAlternative& one : rule.alternatives) {
    opening.insert(one.seen.begin(), one.seen.end());
    absence = absence || !one.absent.empty();
    tiles = tiles || one.seen.empty();
  }
  std::set<int> asked = opening;
  for (int i = 0; tiles && i < rule.rules; ++i) opening.insert(i);
  for (int i = 0; rule.alternatives.empty() && i < rule.rules; ++i) asked.insert(i);
  std::vector<OracleIncident> incidents;
  for (auto& [key, records] : groups) {
    std::sort(records.begin(), records.end(), [](const Record& a, const Record& b) {
      return std::tie(a.time, a.source, a.offset) < std::tie(b.time, b.source, b.offset);
    });
    Group group(rule, key, records, &incidents);
    if (rule.window != OracleWindow::kSliding) {
      group.Closed(asked);
    } else if (tiles && !rule.grouped && Holds(rule, {}, false)) {
      group.Unbroken(asked);
    } else if (absence || tiles) {
      group.Windows(opening, asked, tiles);
    } else {
      group.Positive();
    }
  }
  std::sort(incidents.begin(), incidents.end());
  return incidents;
}

}  // namespace bongsu::testing
