#include "pipeline/rule_test.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include "operators/fold.h"
#include "pipeline/batch.h"
#include "pipeline/io.h"
#include "pipeline/json_text.h"
#include "pipeline/rule_test_record.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr EventTimeNs kAnyNow = EventTimeNs{7'000'000'000} * kSecondNs;  // recorded: long after

std::string TimeText(EventTimeNs time) {
  return time == kMaxEventTime ? "the end of the input" : Rfc3339(time);
}

std::string Lower(std::string_view text) { return Folded(text); }

}  // namespace

struct RuleTester::Case {
  const RuleTestCase* test = nullptr;
  std::string rule;  // as incidents name it
  std::string type;
  int entry = -1;                 // of the rule set
  bool mute = false;              // a detection without alerts of its own: its matches are counted
  std::vector<uint16_t> sources;  // by event
  std::vector<std::string> records;
  std::vector<bool> takes_part;
  EventTimeNs now = 0;
  DurationNs lateness = 0;  // how far events may be out of order
};

struct RuleTester::Found {
  std::vector<RehearsedIncident> incidents;  // of the rule
  std::vector<RehearsedReject> rejects;      // late for the rule, or no use at all
  uint64_t matches = 0;                      // mute detections
};

namespace {

// An incident that one expectation names must not be taken by another that any would meet.
std::vector<size_t> MostPreciseFirst(const std::vector<ExpectedIncidents>& all) {
  std::vector<size_t> order(all.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto rank = [&](size_t i) {
    const ExpectedIncidents& one = all[i];
    const int named = (one.evidence.empty() ? 0 : 8) + (one.key ? 4 : 0) + (one.events ? 2 : 0) +
                      (one.not_before ? 1 : 0);
    return std::pair(-named, one.at_least);
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return rank(a) < rank(b); });
  return order;
}

}  // namespace

RuleTester::RuleTester(const Config& config) : config_(config), rehearsal_(config) {}

bool RuleTester::FindRule(const RuleTestCase& test, Case* prepared, RuleTestResult* result) const {
  for (const auto& op : config_.operators) {
    if (op->rule().name != test.rule) continue;
    prepared->rule = op->rule().name;
    prepared->type = op->rule().type;
    result->title = op->rule().title;
    break;
  }
  if (config_.rules == nullptr) return !prepared->rule.empty();
  const int entry = FindRuleEntry(config_, test.rule);
  if (entry < 0) return !prepared->rule.empty();
  const sigma::RuleEntry& found = config_.rules->entries[static_cast<size_t>(entry)];
  prepared->entry = entry;
  prepared->rule = sigma::RuleName(found);
  prepared->type = sigma::InfoOf(found).type;
  prepared->mute = found.mute && found.rule.kind() == sigma::RuleKind::kDetection;
  result->title = found.rule.metadata.title;
  if (found.rule.kind() == sigma::RuleKind::kFilter) {
    result->broken = "a filter makes no alerts: test the rules that it applies to";
    return false;
  }
  for (const ExpectedIncidents& expected : test.expected) {
    if (!prepared->mute ||
        (!expected.key && !expected.events && !expected.not_before && expected.evidence.empty()))
      continue;
    result->broken = fmt::format(
        "line {}: '{}' makes no alerts of its own, only its matches can be counted: expect a count",
        expected.where.line, prepared->rule);
    return false;
  }
  return true;
}

int RuleTester::FindSource(const std::string& name) const {
  int by_format = -1;
  for (size_t i = 0; i < config_.sources.size(); ++i) {
    if (config_.sources[i].name == name) return static_cast<int>(i);
    if (config_.sources[i].format.name != name) continue;
    by_format = by_format == -1 ? static_cast<int>(i) : -2;  // which of two cannot be said
  }
  return by_format;
}

bool RuleTester::Prepare(const RuleTestCase& test, Case* prepared, RuleTestResult* result) const {
  prepared->test = &test;
  if (!FindRule(test, prepared, result)) {
    if (result->broken.empty()) {
      const std::string hint =
          config_.rules != nullptr ? config_.rules->NearestHint(test.rule) : "";
      result->broken = fmt::format("there is no rule '{}' ({})", test.rule,
                                   hint.empty() ? "it may have been left out" : hint);
    }
    return false;
  }
  prepared->takes_part.assign(config_.sources.size(), false);
  prepared->now = kMinEventTime;
  prepared->lateness = kMaxEventTime;
  for (const RuleTestEvent& event : test.events) {
    const int source = FindSource(event.source);
    if (source < 0) {
      result->broken =
          fmt::format("event {}: there is no source or format '{}'", event.id, event.source);
      return false;
    }
    const SourceConfig& config = config_.sources[static_cast<size_t>(source)];
    std::string problem;
    prepared->records.push_back(MakeTestRecord(event, config.format, &problem));
    if (!problem.empty()) {
      result->broken = fmt::format("event {}: {}", event.id, problem);
      return false;
    }
    prepared->sources.push_back(static_cast<uint16_t>(source));
    prepared->takes_part[static_cast<size_t>(source)] = true;
    prepared->now = std::max(prepared->now, event.time);
    prepared->lateness =
        std::min(prepared->lateness, config.out_of_orderness + config.allowed_lateness);
  }
  if (test.now.has_value()) prepared->now = *test.now;
  if (test.recorded) prepared->now = kAnyNow;
  return true;
}

absl::Status RuleTester::Begin(const Case& test) {
  return rehearsal_.Begin(test.now, test.takes_part);
}

absl::Status RuleTester::Feed(const Case& test, std::span<const size_t> events,
                              int64_t offset_shift) {
  std::vector<RehearsedRecord> records;
  for (const size_t i : events)
    records.push_back({test.sources[i], static_cast<int64_t>(i) + offset_shift, test.records[i]});
  return rehearsal_.Feed(records);
}

void RuleTester::Collect(const Case& test, Found* found) const {
  for (RehearsedIncident& incident : rehearsal_.incidents()) {
    if (incident.rule == test.rule) found->incidents.push_back(std::move(incident));
  }
  for (RehearsedReject& reject : rehearsal_.rejects()) {
    if (reject.op.empty() || reject.op == test.rule) found->rejects.push_back(std::move(reject));
  }
  if (test.entry >= 0)
    found->matches = rehearsal_.counters().rules[static_cast<size_t>(test.entry)].matches;
}

absl::Status RuleTester::Plain(const Case& test, const std::vector<size_t>& order, size_t batch,
                               bool doubled, Found* found) {
  BONGSU_RETURN_IF_ERROR(Begin(test));
  const auto shift = static_cast<int64_t>(test.records.size());
  for (size_t begin = 0; begin < order.size(); begin += batch) {
    const auto part = std::span(order).subspan(begin, std::min(batch, order.size() - begin));
    BONGSU_RETURN_IF_ERROR(Feed(test, part));
    if (doubled) BONGSU_RETURN_IF_ERROR(Feed(test, part, shift));
  }
  BONGSU_RETURN_IF_ERROR(rehearsal_.End());
  Collect(test, found);
  return absl::OkStatus();
}

// Each event is read, lost by a crash, read again and committed; then the process starts again.
absl::Status RuleTester::Restored(const Case& test, RuleTestResult* result, Found* found) {
  BONGSU_RETURN_IF_ERROR(Begin(test));
  const size_t step = (test.records.size() + kRestoresMax - 1) / kRestoresMax;
  std::vector<size_t> part;
  for (size_t i = 0; i < test.records.size(); ++i) {
    part.push_back(i);
    if (part.size() < step && i + 1 < test.records.size()) continue;
    for (const bool again : {false, true}) {
      for (const size_t one : part) BONGSU_RETURN_IF_ERROR(Feed(test, {&one, 1}));
      if (again) BONGSU_RETURN_IF_ERROR(rehearsal_.Checkpoint());
      BONGSU_RETURN_IF_ERROR(rehearsal_.Crash());
      ++result->restored;
    }
    part.clear();
  }
  BONGSU_RETURN_IF_ERROR(rehearsal_.End());
  Collect(test, found);
  return absl::OkStatus();
}

std::vector<std::string> RuleTester::Ids(const Case& test,
                                         const RehearsedIncident& incident) const {
  std::vector<std::string> ids;
  for (const auto& [source, offset] : incident.evidence) {
    const auto i = static_cast<size_t>(offset) % test.records.size();
    if (i < test.test->events.size()) ids.push_back(test.test->events[i].id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

std::string RuleTester::Text(const Case& test, const RehearsedIncident& incident) const {
  return fmt::format(
      "key '{}', {} events from {} to {}, evidence [{}]{}", incident.key, incident.events,
      TimeText(incident.first_time), TimeText(incident.last_time),
      fmt::join(Ids(test, incident), ", "),
      incident.creates == 1 ? "" : fmt::format(", created {} times", incident.creates));
}

std::string RuleTester::Texts(const Case& test, const Found& found) const {
  std::vector<std::string> texts;
  for (const RehearsedIncident& incident : found.incidents) texts.push_back(Text(test, incident));
  std::sort(texts.begin(), texts.end());
  if (texts.empty()) texts.emplace_back("no incident");
  return fmt::format("    {}", fmt::join(texts, "\n    "));
}

std::string RuleTester::Check(const Case& test, const Found& found) const {
  uint64_t late = 0;
  for (const RehearsedReject& reject : found.rejects) {
    if (reject.reason == "late") {
      ++late;
      continue;
    }
    const auto event = static_cast<size_t>(reject.offset);
    return fmt::format("event {} goes to the {}: {}", test.test->events[event].id,
                       reject.reason == "future" ? "late stream" : "dead letters", reject.reason);
  }
  if (late != test.test->late)
    return fmt::format("{} events are late for the rule, expected {}", late, test.test->late);
  if (test.mute) {
    uint64_t wanted = 0;
    bool at_least = false;
    for (const ExpectedIncidents& expected : test.test->expected) {
      wanted += expected.count;
      at_least = at_least || expected.at_least;
    }
    return found.matches == wanted || (at_least && found.matches > wanted)
               ? ""
               : fmt::format("expected {}{} matches, found {}", at_least ? "at least " : "", wanted,
                             found.matches);
  }
  std::vector<bool> covered(found.incidents.size(), false);
  for (const size_t next : MostPreciseFirst(test.test->expected)) {
    const ExpectedIncidents& expected = test.test->expected[next];
    uint64_t count = 0;
    const size_t all = found.incidents.size();
    // Those that came too early last: only where there is no other.
    for (size_t turn = 0; turn < 2 * all; ++turn) {
      const size_t i = turn % all;
      const RehearsedIncident& incident = found.incidents[i];
      const bool early = expected.not_before && incident.created_at < *expected.not_before;
      if (early != (turn >= all)) continue;
      std::vector<std::string> evidence = expected.evidence;
      std::sort(evidence.begin(), evidence.end());
      if (covered[i] || (expected.key && Lower(*expected.key) != Lower(incident.key)) ||
          (expected.events && *expected.events != incident.events) ||
          (!evidence.empty() && evidence != Ids(test, incident)))
        continue;
      if (count == expected.count && !expected.at_least) break;
      covered[i] = true;
      ++count;
      if (early)
        return fmt::format("too early: created at {}, expected not before {}\n    {}",
                           TimeText(incident.created_at), TimeText(*expected.not_before),
                           Text(test, incident));
    }
    if (count < expected.count)
      return fmt::format("line {}: expected {} such incidents, found {}; all that were found:\n{}",
                         expected.where.line, expected.count, count, Texts(test, found));
  }
  if (std::find(covered.begin(), covered.end(), false) != covered.end())
    return fmt::format("incidents that were not expected; all that were found:\n{}",
                       Texts(test, found));
  return "";
}

// Rules that fire for the same keys when every event is written twice, and so those below them.
// Nor must one event meet two rules of an order: its copy would be the second of them.
bool RuleTester::DoublingChangesNothing(const std::string& rule) const {
  size_t op = 0;
  while (op < config_.operators.size() && config_.operators[op]->rule().name != rule) ++op;
  if (op == config_.operators.size()) return false;
  const OperatorSpec& spec = *config_.operators[op];
  const std::string& type = spec.rule().type;
  const bool ordered = type == "temporal_ordered";
  if (type != "value_count" && type != "temporal" && !ordered && type != "interval_join")
    return false;
  std::map<std::pair<uint16_t, int64_t>, uint8_t> ports;
  for (const RehearsedInput& input : rehearsal_.inputs()) {
    if (!ordered || input.op != op) continue;
    const auto [it, added] = ports.try_emplace({input.source, input.offset}, input.port);
    if (!added && it->second != input.port) return false;
  }
  return std::all_of(spec.inputs().begin(), spec.inputs().end(), [this](const InputSpec& input) {
    return !input.from_operator || DoublingChangesNothing(input.source);
  });
}

absl::Status RuleTester::Variations(const Case& test, const Found& base, RuleTestResult* result) {
  const size_t count = test.records.size();
  const std::string expected = Texts(test, base);
  const bool doubling = DoublingChangesNothing(test.rule);  // by the inputs of the listed order
  const auto compare = [&](const char* how, const Found& found) {
    if (!result->failure.empty()) return;
    if (test.mute && found.matches == base.matches) return;
    if (!test.mute && Texts(test, found) == expected) return;
    result->failure =
        fmt::format("{}: other incidents than in the listed order\n{}\n  instead of\n{}", how,
                    Texts(test, found), expected);
  };
  std::mt19937_64 random(1);  // the same orders in every run of the test
  for (int run = 0; run < kShuffledRuns && !test.test->fixed_order && test.test->late == 0; ++run) {
    std::vector<std::pair<EventTimeNs, size_t>> delayed;
    for (size_t i = 0; i < count; ++i) {
      const auto delay = random() % (static_cast<uint64_t>(test.lateness) + 1);
      delayed.emplace_back(AddTime(test.test->events[i].time, static_cast<DurationNs>(delay)), i);
    }
    std::stable_sort(delayed.begin(), delayed.end());
    std::vector<size_t> order;
    for (const auto& [time, i] : delayed) order.push_back(i);
    Found found;
    const size_t batch = 1 + random() % 7;
    BONGSU_RETURN_IF_ERROR(Plain(test, order, batch, /*doubled=*/false, &found));
    compare("shuffled within the lateness", found);
    ++result->shuffled;
  }
  if (!test.mute) {  // matches of a mute detection are not state
    Found found;
    BONGSU_RETURN_IF_ERROR(Restored(test, result, &found));
    compare("killed and restored between events", found);
  }
  Duplicates duplicates = test.test->duplicates;
  if (duplicates == Duplicates::kByType)
    duplicates = doubling && test.test->late == 0 ? Duplicates::kSame : Duplicates::kSkip;
  if (duplicates == Duplicates::kSkip || test.mute || !result->failure.empty())
    return absl::OkStatus();
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  Found found;
  BONGSU_RETURN_IF_ERROR(Plain(test, order, 1, /*doubled=*/true, &found));
  result->doubled = true;
  const auto keys = [](const Found& from) {
    std::vector<std::string> all;
    for (const RehearsedIncident& incident : from.incidents) all.push_back(incident.key);
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
  };
  if (keys(found) != keys(base))
    result->failure =
        fmt::format("every event written twice: incidents of the keys [{}] instead of [{}]",
                    fmt::join(keys(found), "; "), fmt::join(keys(base), "; "));
  return absl::OkStatus();
}

RuleTestResult RuleTester::Run(const RuleTestCase& test) {
  const int64_t started = SystemClock().MonotonicNs();
  RuleTestResult result;
  result.rule = test.rule;
  result.name = test.name;
  result.where = test.where;
  result.positive = !test.expected.empty();
  Case prepared;
  if (!Prepare(test, &prepared, &result)) return result;
  std::vector<size_t> order(prepared.records.size());
  std::iota(order.begin(), order.end(), size_t{0});
  Found base;
  absl::Status status = Plain(prepared, order, test.recorded ? kBatchRecordsMax : 1,
                              /*doubled=*/false, &base);
  if (status.ok()) {
    result.failure = Check(prepared, base);
    // Detections alone have no state and no order.
    if (result.failure.empty() && !test.recorded && prepared.type != "detection")
      status = Variations(prepared, base, &result);
  }
  if (!status.ok()) result.broken = std::string(status.message());
  result.seconds = static_cast<double>(SystemClock().MonotonicNs() - started) / 1e9;
  return result;
}

}  // namespace bongsu
