#include "pipeline/explain_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "operators/fold.h"
#include "operators/key.h"
#include "operators/payload.h"
#include "operators/sigma/correlation.h"
#include "operators/sigma/temporal_condition.h"
#include "pipeline/explain.h"
#include "pipeline/json_text.h"

namespace bongsu {
namespace {

constexpr char kKeyless[] = "events without a usable key";

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
  std::string value;                   // what is measured, as people read it; or empty
  std::vector<sigma::Digest> digests;  // and as the engine's measures take it
  std::string place;
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
  Explainer(const Config& config, const StepsEvidence& evidence, const StepsQuestion& question)
      : config_(config),
        evidence_(evidence),
        question_(question),
        spec_(*config.operators[question.op]),
        correlation_(dynamic_cast<const sigma::CorrelationSpec*>(&spec_)) {
    Gather();
    key_ = question.key.empty() ? BusiestKey() : question.key;
    time_ = question.time.value_or(FirstTime());
  }

  StepsAnswer Explain() {
    StepsAnswer answer;
    std::vector<std::string> missing;
    if (!HasKey()) {
      const std::string of_key =
          key_.empty() ? "" : fmt::format("{}the key '{}'", evidence_.state ? " of " : "", key_);
      const auto keyless = evidence_.counters.find(kKeyless);
      answer.known = !evidence_.state;
      answer.verdict =
          evidence_.state
              ? fmt::format(
                    "cannot be said: the state holds no event{} now; windows and incidents "
                    "that are over are not in it (give it files of events)",
                    of_key)
          : key_.empty() && keyless != evidence_.counters.end()
              ? fmt::format(
                    "did not fire: none of its {} events has all fields that the key is "
                    "made of",
                    keyless->second)
          : key_.empty() ? "did not fire: no step has seen any event"
                         : "did not fire: no step has seen " + of_key;
      for (const Step& step : steps_)
        answer.steps.push_back(fmt::format("step '{}' (of {}): {} events of other keys", step.name,
                                           step.source, step.events.size()));
      return answer;
    }
    for (const Step& step : steps_) answer.steps.push_back(OneStep(step, &missing));
    for (const auto& [name, n] : evidence_.counters)
      answer.steps.push_back(
          fmt::format("counted by the rule over the whole input: {}: {}", name, n));
    const RehearsedIncident* incident = Incident(evidence_.incidents);
    answer.fired = incident != nullptr;
    if (incident != nullptr) {
      const bool at_end = !evidence_.state && Incident(question_.before_end) == nullptr;
      answer.verdict = fmt::format(
          "fired for key '{}': {} events from {} to {}{}{}", incident->key, incident->events,
          Rfc3339(incident->first_time), Rfc3339(incident->last_time),
          spec_.emits_alerts() ? "" : " (it makes no alerts of its own: others refer to it)",
          at_end ? "; only because the input ended: in service the watermark is not there yet, and "
                   "the window is still open"
                 : "");
      return answer;
    }
    answer.verdict =
        fmt::format("did not fire for key '{}' at {}: {}", key_, Rfc3339(time_),
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
    std::map<std::pair<uint16_t, int64_t>, DurationNs> late;  // by how much
    for (const RehearsedReject& reject : evidence_.rejects) {
      if (reject.op == spec_.rule().name) late[{reject.source, reject.offset}] = reject.behind;
    }
    std::set<std::tuple<uint8_t, uint16_t, int64_t, std::string>> once;
    for (size_t i = 0; i < evidence_.inputs.size(); ++i) {
      const RehearsedInput& input = evidence_.inputs[i];
      if (input.op != question_.op || input.port >= spec_.inputs().size()) continue;
      Seen seen{input.time, KeyText(input.key), input.source, input.offset, false, 0, "", {}, ""};
      ReadValues(input, &seen);
      // A run may feed a record again; each row of a state is one event.
      if (evidence_.places.empty() &&
          !once.insert({input.port, input.source, input.offset, seen.key}).second)
        continue;
      seen.place =
          !evidence_.places.empty() ? evidence_.places[i]
          : input.offset < 0        ? "no record (nothing came)"
          : question_.place
              ? question_.place(input.source, input.offset)
              : fmt::format("{}, record {}", config_.sources[input.source].name, input.offset + 1);
      if (const auto reject = late.find({seen.source, seen.offset}); reject != late.end()) {
        seen.late = true;
        seen.behind = reject->second;
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
        text += fmt::format("\n    {} ({}){}", Rfc3339(here[i]->time), here[i]->place,
                            ValueText(*here[i]));
      if (here.size() > kExplainNamesMax)
        text += fmt::format("\n    and {} more", here.size() - kExplainNamesMax);
      for (size_t i = 0; i < late.size() && i < kExplainNamesMax; ++i)
        text += fmt::format("\n    {} ({}): late by {} behind the watermark, left out",
                            Rfc3339(late[i]->time), late[i]->place, Seconds(late[i]->behind));
      if (late.size() > kExplainNamesMax)
        text += fmt::format("\n    and {} more that are late", late.size() - kExplainNamesMax);
    } else if (!late.empty()) {
      text += fmt::format("late by {} behind the watermark: {}", Seconds(late[0]->behind),
                          Rfc3339(late[0]->time));
      missing->push_back(
          fmt::format("step '{}' came late by {}", step.name, Seconds(late[0]->behind)));
    } else if (nearest != nullptr) {
      text += fmt::format("outside the window by {}: {}", Seconds(nearest_gap - question_.span),
                          Rfc3339(nearest->time));
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
      text += fmt::format("absent: no event in the window matched ({} in the whole {})",
                          step.events.size(), evidence_.state ? "state" : "input");
      if (Wanted(step)) missing->push_back(fmt::format("step '{}' is absent", step.name));
    }
    return text;
  }

  // Not of what the condition wants to be absent.
  bool Wanted(const Step& step) const {
    if (correlation_ == nullptr || IsMeasured()) return true;
    Diagnostics unused;
    const auto condition = sigma::CompileTemporal(correlation_->correlation(), unused);
    const size_t rule = static_cast<size_t>(&step - steps_.data());
    return !condition.has_value() || condition->AsksFor(rule);
  }

  // Every step was seen near the time: what is it, then?
  std::string WhyNot() const {
    if (correlation_ != nullptr && IsMeasured()) return WhyNotMeasured();
    if (correlation_ != nullptr && !correlation_->correlation().expression.text.empty())
      return fmt::format("the condition '{}' does not hold{}{}",
                         correlation_->correlation().expression.text,
                         spec_.rule().type == "temporal_ordered" ? " in this order" : "",
                         std::all_of(steps_.begin(), steps_.end(),
                                     [this](const Step& step) { return Wanted(step); })
                             ? ""
                             : ": what is to be absent was seen, or the window is still open");
    const DurationNs closest = ClosestTogether();
    if (closest > question_.span)
      return fmt::format("all steps were seen, but {} apart: outside the window by {}",
                         Seconds(closest), Seconds(closest - question_.span));
    if (spec_.rule().type == "temporal_ordered")
      return "all steps were seen within the window, but not in the order (or not in different "
             "events)";
    return "all steps were seen within the window, but the condition does not hold";
  }

  bool IsMeasured() const {
    const sigma::CorrelationType type = correlation_->correlation().type;
    return type != sigma::CorrelationType::kTemporal &&
           type != sigma::CorrelationType::kTemporalOrdered;
  }

  // The engine's own measure over each window (t - span, t] of the key: the highest.
  std::string WhyNotMeasured() const {
    const sigma::CorrelationRule& rule = correlation_->correlation();
    std::vector<const Seen*> all;
    size_t without = 0;
    size_t late = 0;
    for (const Step& step : steps_) {
      for (const Seen& seen : step.events) {
        if (!Same(seen.key, key_)) continue;
        if (seen.late) ++late;
        if (seen.late) continue;
        if (rule.fields.empty() || !seen.digests.empty())
          all.push_back(&seen);
        else
          ++without;
      }
    }
    std::stable_sort(all.begin(), all.end(),
                     [](const Seen* a, const Seen* b) { return a->time < b->time; });
    const auto measure = sigma::MakeMeasure(rule, correlation_->options().values_max);
    sigma::Measured most;
    size_t begin = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      for (; all[begin]->time <= AddTime(all[i]->time, -question_.span); ++begin)
        measure->Remove(all[begin]->digests);
      measure->Add(all[i]->digests);
      const sigma::Measured value = measure->value();
      if (!most.defined || sigma::Less(most, value)) most = value;
    }
    const std::string value = most.defined ? sigma::MeasuredText(most) : "0";
    const bool distinct = rule.type == sigma::CorrelationType::kValueCount;
    std::string what =
        fmt::format("at most {} {} of the key", value, distinct ? "different values" : "events");
    if (!distinct && !rule.fields.empty())
      what = most.defined
                 ? fmt::format("{} of {} is at most {} for the key",
                               sigma::CorrelationTypeName(rule.type), rule.fields[0].text, value)
                 : fmt::format("no event of the key has a number in {}", rule.fields[0].text);
    return fmt::format("{} within {}, the rule wants {}{}{}", what, Seconds(question_.span),
                       correlation_->threshold(),
                       without == 0 ? "" : fmt::format("; {} events have no such value", without),
                       late == 0 ? "" : fmt::format("; {} events came late", late));
  }

  // What the correlation measures of the event.
  void ReadValues(const RehearsedInput& input, Seen* seen) const {
    if (correlation_ == nullptr || correlation_->value_positions(input.port).empty()) return;
    const std::span<const int> positions = correlation_->value_positions(input.port);
    sigma::DigestReader digests(correlation_->correlation());
    const std::span<const sigma::Digest> read = digests.Read(input.payload, positions);
    seen->digests.assign(read.begin(), read.end());
    PayloadReader reader(input.payload);
    const std::vector<Value> values = ReadPayload(reader);
    for (const int position : positions) {
      if (!seen->value.empty()) seen->value += ", ";
      if (static_cast<size_t>(position) < values.size())
        AppendText(values[static_cast<size_t>(position)], &seen->value);
    }
  }
  static void AppendText(const Value& value, std::string* text) {
    if (value.is_null_or_absent()) *text += "-";
    if (!value.is_array()) *text += value.text();
    for (const Value& item : value.items()) {
      if (!text->empty()) *text += " ";
      *text += item.text();
    }
  }
  // ": bytes 1500"
  std::string ValueText(const Seen& seen) const {
    if (seen.value.empty()) return "";
    std::string names;
    for (const auto& field : correlation_->correlation().fields)
      names += (names.empty() ? "" : ", ") + field.text;
    return fmt::format(": {} {}{}", names, seen.value,
                       seen.digests.empty() ? " (no value that can be measured: left out)" : "");
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
  const StepsEvidence& evidence_;
  const StepsQuestion& question_;
  const OperatorSpec& spec_;
  const sigma::CorrelationSpec* correlation_;
  std::vector<Step> steps_;
  std::string key_;
  EventTimeNs time_ = 0;
};

}  // namespace

StepsAnswer ExplainSteps(const Config& config, const StepsEvidence& evidence,
                         const StepsQuestion& question) {
  return Explainer(config, evidence, question).Explain();
}

StepsAnswer ExplainSteps(const Config& config, const Rehearsal& rehearsal,
                         const StepsQuestion& question) {
  StepsEvidence evidence;
  evidence.inputs = rehearsal.inputs();
  evidence.rejects = rehearsal.rejects();
  for (RehearsedIncident& one : rehearsal.incidents()) {
    if (one.rule == config.operators[question.op]->rule().name)
      evidence.incidents.push_back(std::move(one));
  }
  evidence.counters = rehearsal.operator_counters().operators[question.op].named;
  const OperatorCounters& routed = rehearsal.counters().operators[question.op];
  if (routed.key_missing > 0) evidence.counters[kKeyless] = routed.key_missing;
  if (routed.key_members_capped > 0) evidence.counters["keys capped"] = routed.key_members_capped;
  return ExplainSteps(config, evidence, question);
}

}  // namespace bongsu
