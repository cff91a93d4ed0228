#include "pipeline/explain_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "operators/fold.h"
#include "operators/key.h"
#include "operators/payload.h"
#include "operators/sigma/correlation.h"
#include "operators/sigma/correlation_aggregate.h"
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

// One of the windows that a rule measures.
struct MeasuredSpan {
  EventTimeNs start = 0;
  EventTimeNs first_event = 0;
  EventTimeNs last_event = 0;
  EventTimeNs last = 0;  // its last nanosecond
  sigma::Measured value;
};

// a - b; between 1700 and 2200 there are more nanoseconds than 64 bits hold.
DurationNs Apart(EventTimeNs a, EventTimeNs b) { return AddTime(a, -b); }

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
    key_ = question.key.empty() ? LikeliestKey() : question.key;
    incident_ = Incident();
    time_ = question.time.has_value()  ? *question.time
            : incident_ == nullptr     ? EventTime()
            : IsBeginKnown(*incident_) ? incident_->first_time
                                       : incident_->last_time;
    for (const Step& step : steps_)
      at_time_.push_back(
          std::any_of(step.events.begin(), step.events.end(), [this](const Seen& seen) {
            return seen.time == time_ && !seen.late && Same(seen.key, key_);
          }));
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
    answer.fired = incident_ != nullptr;
    if (incident_ != nullptr) {
      answer.verdict = fmt::format(
          "fired for key '{}': {}{}{}", incident_->key, FiredText(*incident_),
          spec_.emits_alerts() ? "" : " (it makes no alerts of its own: others refer to it)",
          OnlyAtEnd(*incident_) ? "; only because the input ended: in service the watermark is not "
                                  "there yet, and the window is still open"
                                : "");
      return answer;
    }
    bool held = false;
    const std::string why =
        missing.empty() ? WhyNot(&held) : fmt::format("{}", fmt::join(missing, "; "));
    answer.known = !evidence_.state || !(held || MayBeOver());
    answer.verdict =
        answer.known
            ? fmt::format("did not fire for key '{}' at {}: {}", key_, Rfc3339(time_), why)
            : fmt::format(
                  "cannot be said for key '{}' at {}: of incidents that are over the state "
                  "has none (give it files of events); of what it holds: {}",
                  key_, Rfc3339(time_), why);
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

  // Of the keys that have an incident, else of all, the one that most steps have, and of those the
  // one with most events.
  std::string LikeliestKey() const {
    std::set<std::string> fired;
    for (const RehearsedIncident& one : evidence_.incidents) {
      if (IsAsked(one)) fired.insert(Folded(one.key));
    }
    std::map<std::string, std::tuple<bool, size_t, size_t>> counts;  // fired, steps, events
    for (const Step& step : steps_) {
      std::set<std::string> here;
      for (const Seen& seen : step.events) {
        ++std::get<2>(counts[seen.key]);
        here.insert(seen.key);
      }
      for (const std::string& key : here) ++std::get<1>(counts[key]);
    }
    for (auto& [key, count] : counts) std::get<0>(count) = fired.contains(Folded(key));
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

  // The key's first event; of a state, which is asked what is going on, its newest.
  EventTimeNs EventTime() const {
    std::optional<EventTimeNs> found;
    for (const Step& step : steps_) {
      for (const Seen& seen : step.events) {
        if (!Same(seen.key, key_)) continue;
        const bool better = !found || (evidence_.state ? seen.time > *found : seen.time < *found);
        if (better) found = seen.time;
      }
    }
    return found.value_or(0);
  }

  static bool IsBeginKnown(const RehearsedIncident& one) { return one.first_time != kMinEventTime; }
  EventTimeNs Begin(const RehearsedIncident& one) const {
    return IsBeginKnown(one) ? one.first_time : AddTime(one.last_time, 1 - question_.span);
  }
  // It lies about the time that is asked for; without one each does.
  bool IsAsked(EventTimeNs first, EventTimeNs last) const {
    return !question_.time.has_value() || (first <= AddTime(*question_.time, question_.span) &&
                                           last >= AddTime(*question_.time, -question_.span));
  }
  bool IsAsked(const RehearsedIncident& one) const { return IsAsked(Begin(one), one.last_time); }

  // Of the key's the nearest to the time; without one the first.
  const RehearsedIncident* Incident() const {
    const RehearsedIncident* best = nullptr;
    std::pair<DurationNs, EventTimeNs> least;
    for (const RehearsedIncident& one : evidence_.incidents) {
      if (!Same(one.key, key_) || !IsAsked(one)) continue;
      const EventTimeNs time = question_.time.value_or(Begin(one));
      const DurationNs away =
          std::max<DurationNs>({0, Apart(Begin(one), time), Apart(time, one.last_time)});
      const std::pair<DurationNs, EventTimeNs> order = {away, Begin(one)};
      if (best != nullptr && least <= order) continue;
      best = &one;
      least = order;
    }
    return best;
  }

  bool OnlyAtEnd(const RehearsedIncident& incident) const {
    return !evidence_.state &&
           std::none_of(question_.before_end.begin(), question_.before_end.end(),
                        [&](const RehearsedIncident& one) { return one.id == incident.id; });
  }

  std::string FiredText(const RehearsedIncident& one) const {
    if (evidence_.state && correlation_ == nullptr)
      return fmt::format("the left event of {} has had a partner", Rfc3339(one.first_time));
    if (!IsBeginKnown(one))
      return fmt::format("{} events up to {}", one.events, Rfc3339(one.last_time));
    return fmt::format("{} events from {} to {}", one.events, Rfc3339(one.first_time),
                       Rfc3339(one.last_time));
  }

  // Of a state: an incident about the time may have been there, and have gone from it.
  bool MayBeOver() const {
    const bool settled = time_ < evidence_.closing;
    if (correlation_ == nullptr) return AddTime(time_, question_.after) < evidence_.closing;
    if (correlation_->tiled()) {
      for (const auto& [key, start] : evidence_.open_windows) {
        if (Same(key, key_)) return time_ < start;
      }
      return settled;
    }
    // Each window is an incident of its own: it goes as soon as it is out.
    if (correlation_->options().reset || AsksForAbsence()) return settled;
    return AddTime(time_, question_.span - 1) < evidence_.closing;
  }

  // How far from where the rule looks for the step's events, about the time; negative: it is there.
  DurationNs Outside(const Step& step, const Seen& seen) const {
    DurationNs before = question_.span;
    DurationNs after = question_.span;
    if (correlation_ == nullptr) {
      const bool left = &step == steps_.data();
      // Where the time is that of the other side's event it has bounds for this one.
      if (at_time_[left ? 1 : 0]) {
        before = left ? question_.after : question_.before;
        after = left ? question_.before : question_.after;
      }
    }
    return seen.time > time_ ? Apart(seen.time, time_) - after : Apart(time_, seen.time) - before;
  }

  std::string OneStep(const Step& step, std::vector<std::string>* missing) const {
    std::vector<const Seen*> here;
    std::vector<const Seen*> late;
    const Seen* nearest = nullptr;
    DurationNs nearest_outside = 0;
    std::map<std::string, size_t> others;
    for (const Seen& seen : step.events) {
      const bool own = Same(seen.key, key_);
      if (own && seen.late) {
        late.push_back(&seen);
        continue;
      }
      const DurationNs outside = Outside(step, seen);
      if (!own) {
        if (outside <= 0) ++others[seen.key];
      } else if (outside <= 0) {
        here.push_back(&seen);
      } else if (nearest == nullptr || outside < nearest_outside) {
        nearest = &seen;
        nearest_outside = outside;
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
      text += fmt::format("outside the window by {}: {}", Seconds(nearest_outside),
                          Rfc3339(nearest->time));
      missing->push_back(fmt::format("step '{}' is outside the window by {}", step.name,
                                     Seconds(nearest_outside)));
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

  // It asks for the absence of events: its windows are judged one by one, when they close.
  bool AsksForAbsence() const {
    if (correlation_ == nullptr || IsMeasured()) return false;
    Diagnostics unused;
    const auto condition = sigma::CompileTemporal(correlation_->correlation(), unused);
    return condition.has_value() && condition->kind() != sigma::TemporalKind::kPositive;
  }

  // Every step was seen near the time: what is it, then? `*held`: something was there that makes an
  // incident, which has to be published yet or is over.
  std::string WhyNot(bool* held) const {
    if (correlation_ == nullptr) return WhyNotJoined(held);
    if (IsMeasured()) return WhyNotMeasured(held);
    if (!correlation_->correlation().expression.text.empty())
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

  // The pair of both sides, about the time, that is nearest to the bounds.
  std::string WhyNotJoined(bool* held) const {
    std::vector<const Seen*> rights;
    for (const Seen& right : steps_[1].events) {
      if (CountsFor(right)) rights.push_back(&right);
    }
    DurationNs least = kMaxEventTime;
    DurationNs apart = 0;
    for (const Seen& left : steps_[0].events) {
      if (!CountsFor(left)) continue;
      const EventTimeNs from = AddTime(left.time, -question_.before);
      const auto look = [&](const Seen& right) {
        if (right.source == left.source && right.offset == left.offset) return false;  // itself
        const DurationNs outside = std::max<DurationNs>(
            {0, Apart(from, right.time), Apart(right.time, AddTime(left.time, question_.after))});
        if (outside < least) apart = Apart(right.time, left.time);
        least = std::min(least, outside);
        return true;
      };
      const auto next =
          std::lower_bound(rights.begin(), rights.end(), from,
                           [](const Seen* right, EventTimeNs time) { return right->time < time; });
      for (auto it = next; it != rights.end() && !look(**it);) ++it;
      for (auto it = next; it != rights.begin() && !look(**--it);) continue;
    }
    if (least > 0 && least != kMaxEventTime)
      return fmt::format(
          "all steps were seen, but '{}' {} {} '{}': outside the window ({} before, {} after) by "
          "{}",
          steps_[1].name, Seconds(apart < 0 ? -apart : apart), apart < 0 ? "before" : "behind",
          steps_[0].name, Seconds(question_.before), Seconds(question_.after), Seconds(least));
    *held = least == 0;
    return *held ? "all steps were seen within the window"
                 : "all steps were seen, but not in two events";
  }

  // The key's, on time and about the time that is asked for.
  bool CountsFor(const Seen& seen) const {
    return Same(seen.key, key_) && !seen.late && IsAsked(seen.time, seen.time);
  }

  // Shows each window of the rule over these events (operators/sigma/tiled_windows.h), in order.
  void EachWindow(const std::vector<const Seen*>& all,
                  const std::function<void(const MeasuredSpan&)>& show) const {
    const sigma::CorrelationOptions& options = correlation_->options();
    const auto measure = sigma::MakeMeasure(correlation_->correlation(), options.values_max);
    const DurationNs span = question_.span;
    if (!correlation_->tiled()) {
      size_t begin = 0;
      for (size_t i = 0; i < all.size(); ++i) {
        const EventTimeNs end = all[i]->time;
        for (; all[begin]->time <= AddTime(end, -span); ++begin)
          measure->Remove(all[begin]->digests);
        measure->Add(all[i]->digests);
        if (i + 1 < all.size() && all[i + 1]->time == end) continue;
        show({AddTime(end, 1 - span), all[begin]->time, end, end, measure->value()});
      }
      return;
    }
    const bool no_gaps = options.window == sigma::CorrelationWindow::kSliding &&
                         correlation_->correlation().group_by.empty();
    EventTimeNs behind = kMinEventTime;  // the window before
    for (size_t i = 0; i < all.size();) {
      const EventTimeNs first = all[i]->time;
      EventTimeNs start = first;
      if (options.window == sigma::CorrelationWindow::kTumbling)
        start = AddTime(first, -((first % span + span) % span));
      else if (no_gaps && behind != kMinEventTime)
        start = AddTime(first, -((first - behind) % span));
      EventTimeNs end = AddTime(start, span);
      measure->Clear();
      for (; i < all.size() && all[i]->time < end; ++i) {
        measure->Add(all[i]->digests);
        if (options.window == sigma::CorrelationWindow::kSession)
          end = std::min(AddTime(all[i]->time, span),
                         AddTime(AddTime(start, options.max_episode), 1));
      }
      show({start, first, all[i - 1]->time, AddTime(end, -1), measure->value()});
      behind = end;
    }
  }

  // The engine's own measure over the rule's windows about the time: the highest; where more events
  // can make the condition false, that of the window nearest to it.
  std::string WhyNotMeasured(bool* held) const {
    const sigma::CorrelationRule& rule = correlation_->correlation();
    const auto& spec = dynamic_cast<const sigma::AggregateSpec&>(spec_);
    EventTimeNs open_from = kMinEventTime;
    for (const auto& [key, start] : evidence_.open_windows) {
      if (Same(key, key_) && start <= time_) open_from = start;
    }
    std::vector<const Seen*> all;
    size_t without = 0;
    size_t late = 0;
    for (const Step& step : steps_) {
      for (const Seen& seen : step.events) {
        if (!Same(seen.key, key_) || seen.time < open_from) continue;
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
    const bool highest = spec.comparisons().only_lower_bounds();
    std::optional<MeasuredSpan> shown;
    DurationNs shown_away = 0;
    EachWindow(all, [&](const MeasuredSpan& one) {
      if (!IsAsked(one.first_event, one.last_event)) return;
      const DurationNs away =
          std::max<DurationNs>({0, Apart(one.start, time_), Apart(time_, one.last)});
      const bool better =
          !shown || (highest ? one.value.defined &&
                                   (!shown->value.defined || sigma::Less(shown->value, one.value))
                             : away < shown_away);
      if (!better) return;
      shown = one;
      shown_away = away;
    });
    const sigma::Measured value = shown ? shown->value : sigma::Measured{};
    // What will be judged when the window closes, and has not been.
    const bool holds = shown.has_value() && value.defined && spec.comparisons().Hold(value);
    const bool open = evidence_.state && holds && shown->last >= evidence_.closing;
    *held = holds && !open;
    return fmt::format(
        "{} {}, the rule wants {}{}{}{}", MeasureText(value, highest),
        highest ? WindowsText()
                : fmt::format("in the window of {} from {}", Seconds(question_.span),
                              Rfc3339(shown ? shown->start : time_)),
        correlation_->threshold(),
        open ? ": the window is open, and is judged when the watermark has passed it" : "",
        without == 0 ? "" : fmt::format("; {} events have no such value", without),
        late == 0 ? "" : fmt::format("; {} events came late", late));
  }

  std::string MeasureText(const sigma::Measured& measured, bool highest) const {
    const sigma::CorrelationRule& rule = correlation_->correlation();
    const std::string value = measured.defined ? sigma::MeasuredText(measured) : "0";
    const char* most = highest ? "at most " : "";
    const bool distinct = rule.type == sigma::CorrelationType::kValueCount;
    if (distinct || rule.fields.empty())
      return fmt::format("{}{} {} of the key", most, value,
                         distinct ? "different values" : "events");
    return measured.defined
               ? fmt::format("{} of {} is {}{} for the key", sigma::CorrelationTypeName(rule.type),
                             rule.fields[0].text, most, value)
               : fmt::format("no event of the key has a number in {}", rule.fields[0].text);
  }

  std::string WindowsText() const {
    const std::string span = Seconds(question_.span);
    switch (correlation_->options().window) {
      case sigma::CorrelationWindow::kTumbling:
        return fmt::format("in a window of {}", span);
      case sigma::CorrelationWindow::kSession:
        return fmt::format("in a session with less than {} between events", span);
      case sigma::CorrelationWindow::kSliding:
        break;
    }
    return fmt::format("within {}", span);
  }

  // What the correlation measures of the event.
  void ReadValues(const RehearsedInput& input, Seen* seen) const {
    if (correlation_ == nullptr || correlation_->value_positions(input.port).empty()) return;
    const std::span<const int> positions = correlation_->value_positions(input.port);
    sigma::DigestReader digests(correlation_->correlation());
    const std::span<const sigma::Digest> read =
        digests.Read(input.payload, positions, correlation_->fields_before_columns(input.port));
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
  const RehearsedIncident* incident_ = nullptr;  // the answer, if there is one
  EventTimeNs time_ = 0;
  std::vector<bool> at_time_;  // by step: an event of the key is of just that time
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
