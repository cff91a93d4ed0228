#include "pipeline/explain_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "operators/fold.h"
#include "operators/key.h"
#include "operators/payload.h"
#include "operators/sigma/correlation.h"
#include "pipeline/explain.h"
#include "pipeline/json_text.h"

namespace bongsu {
namespace {

std::string TimeText(EventTimeNs time) {
  std::string text;
  AppendRfc3339(time, &text);
  return text;
}

std::string Seconds(DurationNs duration) {
  return fmt::format("{} s", static_cast<double>(duration / kMillisecondNs) / 1e3);
}

struct Seen {
  EventTimeNs time = 0;
  std::string key;  // as people read it
  uint16_t source = 0;
  int64_t offset = 0;
  bool late = false;
  DurationNs behind = 0;
  std::string value;  // what value_count counts
};

// One thing that the rule needs: an input, or all inputs of one referenced rule.
struct Step {
  std::string name;
  std::string source;
  std::vector<Seen> events;  // in time order
};

bool Same(std::string_view a, std::string_view b) { return Folded(a) == Folded(b); }

class Explainer {
 public:
  Explainer(const Config& config, const Rehearsal& rehearsal, const StepsQuestion& question)
      : config_(config),
        rehearsal_(rehearsal),
        question_(question),
        spec_(*config.operators[question.op]),
        correlation_(dynamic_cast<const sigma::CorrelationSpec*>(&spec_)) {
    for (const RehearsedIncident& one : rehearsal.incidents()) {
      if (one.rule == spec_.rule().name) incidents_.push_back(one);
    }
    Gather();
    key_ = question.key.empty() ? BusiestKey() : question.key;
    time_ = question.time.value_or(FirstTime());
  }

  StepsAnswer Explain() {
    StepsAnswer answer;
    std::vector<std::string> missing;
    if (!HasKey()) {
      answer.verdict = key_.empty()
                           ? "did not fire: no step has seen any event"
                           : fmt::format("did not fire: no step has seen the key '{}'", key_);
      for (const Step& step : steps_)
        answer.steps.push_back(fmt::format("step '{}' (of {}): {} events of other keys", step.name,
                                           step.source, step.events.size()));
      return answer;
    }
    for (const Step& step : steps_) answer.steps.push_back(OneStep(step, &missing));
    for (const auto& [name, n] : Counters())
      answer.steps.push_back(
          fmt::format("counted by the rule over the whole input: {}: {}", name, n));
    const RehearsedIncident* incident = Incident(incidents_);
    answer.fired = incident != nullptr;
    if (incident != nullptr) {
      const bool at_end = Incident(question_.before_end) == nullptr;
      answer.verdict = fmt::format(
          "fired for key '{}': {} events from {} to {}{}", incident->key, incident->events,
          TimeText(incident->first_time), TimeText(incident->last_time),
          at_end ? "; only because the input ended: in service the watermark is not there yet, and "
                   "the window is still open"
                 : "");
      return answer;
    }
    answer.verdict =
        fmt::format("did not fire for key '{}' at {}: {}", key_, TimeText(time_),
                    missing.empty() ? WhyNot() : fmt::format("{}", fmt::join(missing, "; ")));
    return answer;
  }

 private:
  size_t StepOf(size_t port) const {
    return correlation_ != nullptr ? correlation_->reference(port) : port;
  }

  void Gather() {
    for (size_t port = 0; port < spec_.inputs().size(); ++port) {
      const size_t step = StepOf(port);
      if (steps_.size() <= step) steps_.resize(step + 1);
      steps_[step].name = correlation_ != nullptr ? correlation_->correlation().rules[step].text
                                                  : spec_.inputs()[port].name;
      std::string& source = steps_[step].source;
      source += (source.empty() ? "" : ", ") + spec_.inputs()[port].source;
    }
    std::set<std::tuple<uint8_t, uint16_t, int64_t, std::string>> once;
    for (const RehearsedInput& input : rehearsal_.inputs()) {
      if (input.op != question_.op) continue;
      Seen seen{input.time, KeyText(input.key), input.source, input.offset, false,
                0,          Counted(input)};
      if (!once.insert({input.port, input.source, input.offset, seen.key}).second) continue;
      for (const RehearsedReject& reject : rehearsal_.rejects()) {
        if (reject.op != spec_.rule().name || reject.offset != seen.offset ||
            reject.source != seen.source)
          continue;
        seen.late = true;
        seen.behind = reject.behind;
      }
      steps_[StepOf(input.port)].events.push_back(std::move(seen));
    }
    for (Step& step : steps_) {
      std::stable_sort(step.events.begin(), step.events.end(),
                       [](const Seen& a, const Seen& b) { return a.time < b.time; });
    }
  }

  // The key that most steps have, and of those the one with most events.
  std::string BusiestKey() const {
    std::map<std::string, std::pair<size_t, size_t>> counts;  // steps, events
    for (const Step& step : steps_) {
      std::set<std::string> here;
      for (const Seen& seen : step.events) {
        ++counts[seen.key].second;
        here.insert(seen.key);
      }
      for (const std::string& key : here) ++counts[key].first;
    }
    const auto most =
        std::max_element(counts.begin(), counts.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    return most == counts.end() ? "" : most->first;
  }

  bool HasKey() const {
    return std::any_of(steps_.begin(), steps_.end(), [&](const Step& step) {
      return std::any_of(step.events.begin(), step.events.end(),
                         [&](const Seen& seen) { return Same(seen.key, key_); });
    });
  }

  EventTimeNs FirstTime() const {
    EventTimeNs first = kMaxEventTime;
    for (const Step& step : steps_) {
      for (const Seen& seen : step.events) {
        if (Same(seen.key, key_)) first = std::min(first, seen.time);
      }
    }
    return first == kMaxEventTime ? 0 : first;
  }

  const RehearsedIncident* Incident(const std::vector<RehearsedIncident>& from) const {
    for (const RehearsedIncident& one : from) {
      if (Same(one.key, key_) && one.first_time <= AddTime(time_, question_.span) &&
          one.last_time >= AddTime(time_, -question_.span))
        return &one;
    }
    return nullptr;
  }

  std::map<std::string, uint64_t> Counters() const {
    const OperatorCounters& counters = rehearsal_.operator_counters().operators[question_.op];
    std::map<std::string, uint64_t> all = counters.named;
    const OperatorCounters& routed = rehearsal_.counters().operators[question_.op];
    if (routed.key_missing > 0) all["events without a usable key"] = routed.key_missing;
    if (routed.key_members_capped > 0) all["keys capped"] = routed.key_members_capped;
    return all;
  }

  std::string OneStep(const Step& step, std::vector<std::string>* missing) const {
    std::vector<const Seen*> here;
    std::vector<const Seen*> late;
    const Seen* nearest = nullptr;
    DurationNs nearest_gap = 0;
    std::map<std::string, size_t> others;
    for (const Seen& seen : step.events) {
      const DurationNs gap = seen.time > time_ ? seen.time - time_ : time_ - seen.time;
      if (!Same(seen.key, key_)) {
        if (gap <= question_.span) ++others[seen.key];
      } else if (seen.late) {
        late.push_back(&seen);
      } else if (gap <= question_.span) {
        here.push_back(&seen);
      } else if (nearest == nullptr || gap < nearest_gap) {
        nearest = &seen;
        nearest_gap = gap;
      }
    }
    const std::string head = fmt::format("step '{}' (of {}): ", step.name, step.source);
    std::string text = head;
    if (!here.empty()) {
      text += fmt::format("seen, {} events of the key:", here.size());
      for (size_t i = 0; i < here.size() && i < kExplainNamesMax; ++i)
        text += fmt::format("\n    {} ({}, record {})", TimeText(here[i]->time),
                            config_.sources[here[i]->source].name, here[i]->offset + 1);
      if (here.size() > kExplainNamesMax)
        text += fmt::format("\n    and {} more", here.size() - kExplainNamesMax);
    } else if (!late.empty()) {
      text += fmt::format("late by {} behind the watermark: {}", Seconds(late[0]->behind),
                          TimeText(late[0]->time));
      missing->push_back(
          fmt::format("step '{}' came late by {}", step.name, Seconds(late[0]->behind)));
    } else if (nearest != nullptr) {
      text += fmt::format("outside the window by {}: {}", Seconds(nearest_gap - question_.span),
                          TimeText(nearest->time));
      missing->push_back(fmt::format("step '{}' is outside the window by {}", step.name,
                                     Seconds(nearest_gap - question_.span)));
    } else if (!others.empty()) {
      std::vector<std::string> keys;
      for (const auto& [key, n] : others) {
        if (keys.size() == kExplainNamesMax) break;
        keys.push_back(fmt::format("'{}' ({})", key, n));
      }
      text += fmt::format("there with another key: {}{}", fmt::join(keys, ", "),
                          others.size() > keys.size()
                              ? fmt::format(" and {} more", others.size() - keys.size())
                              : "");
      missing->push_back(fmt::format("step '{}' has only other keys: {}", step.name, keys[0]));
    } else {
      text += fmt::format("absent: no event in the window matched ({} in the whole input)",
                          step.events.size());
      missing->push_back(fmt::format("step '{}' is absent", step.name));
    }
    return text;
  }

  // Every step was seen near the time: what is it, then?
  std::string WhyNot() const {
    if (steps_.size() == 1 && correlation_ != nullptr) {
      const bool distinct = correlation_->correlation().type == sigma::CorrelationType::kValueCount;
      const bool counted = distinct || correlation_->correlation().fields.empty();
      return fmt::format("at most {} {} of the key within {}, the rule wants {}{}",
                         MostInWindow(distinct), distinct ? "different values" : "events",
                         Seconds(question_.span), correlation_->threshold(),
                         counted ? "" : " of their values");
    }
    const DurationNs closest = ClosestTogether();
    if (closest > question_.span)
      return fmt::format("all steps were seen, but {} apart: outside the window by {}",
                         Seconds(closest), Seconds(closest - question_.span));
    if (spec_.rule().type == "temporal_ordered")
      return "all steps were seen within the window, but not in the order (or not in different "
             "events)";
    return "all steps were seen within the window, but the condition does not hold";
  }

  // Most events, or different values, of the key in one (t - span, t].
  size_t MostInWindow(bool distinct) const {
    std::vector<const Seen*> all;
    for (const Seen& seen : steps_[0].events) {
      if (Same(seen.key, key_) && !seen.late) all.push_back(&seen);
    }
    size_t most = 0;
    size_t begin = 0;
    std::map<std::string, size_t> values;
    for (size_t i = 0; i < all.size(); ++i) {
      ++values[all[i]->value];
      for (; all[begin]->time <= AddTime(all[i]->time, -question_.span); ++begin) {
        if (--values[all[begin]->value] == 0) values.erase(all[begin]->value);
      }
      most = std::max(most, distinct ? values.size() : i + 1 - begin);
    }
    return most;
  }

  // The fields that the correlation counts, as one text.
  std::string Counted(const RehearsedInput& input) const {
    if (correlation_ == nullptr || correlation_->value_positions(input.port).empty()) return "";
    PayloadReader reader(input.payload);
    const std::vector<Value> values = ReadPayload(reader);
    std::string text;
    for (const int position : correlation_->value_positions(input.port)) {
      if (static_cast<size_t>(position) >= values.size()) continue;
      AppendKeyPart(values[static_cast<size_t>(position)], /*cased=*/false, &text);
      text.push_back('\n');
    }
    return text;
  }

  // The shortest time that holds an event of every step.
  DurationNs ClosestTogether() const {
    std::vector<std::pair<EventTimeNs, size_t>> all;
    for (size_t step = 0; step < steps_.size(); ++step) {
      for (const Seen& seen : steps_[step].events) {
        if (Same(seen.key, key_) && !seen.late) all.emplace_back(seen.time, step);
      }
    }
    std::sort(all.begin(), all.end());
    DurationNs closest = kMaxEventTime;
    std::vector<size_t> counts(steps_.size());
    size_t covered = 0;
    size_t begin = 0;
    for (const auto& [time, step] : all) {
      if (counts[step]++ == 0) ++covered;
      for (; covered == steps_.size(); ++begin) {
        closest = std::min(closest, time - all[begin].first);
        if (--counts[all[begin].second] == 0) --covered;
      }
    }
    return closest;
  }

  const Config& config_;
  const Rehearsal& rehearsal_;
  const StepsQuestion& question_;
  const OperatorSpec& spec_;
  const sigma::CorrelationSpec* correlation_;
  std::vector<RehearsedIncident> incidents_;
  std::vector<Step> steps_;
  std::string key_;
  EventTimeNs time_ = 0;
};

}  // namespace

StepsAnswer ExplainSteps(const Config& config, const Rehearsal& rehearsal,
                         const StepsQuestion& question) {
  return Explainer(config, rehearsal, question).Explain();
}

}  // namespace bongsu
