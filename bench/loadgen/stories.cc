#include "bench/loadgen/stories.h"

#include <fmt/format.h>

#include <algorithm>

namespace bongsu::loadgen {
namespace {

constexpr int64_t kMs = 1'000'000;
// The longest story and both sides of the longest window, with room for clocks that are off.
constexpr int64_t kApartNs = 240 * kSecond;
// From a story's first event to its last.
constexpr int64_t kStoryLengthNs = 100 * kSecond;
// A victim is each eighth host: servers (numbers divisible by eight) are attacked from outside,
// workstations within.
constexpr uint32_t kVictimStride = 8;

uint16_t HighPort(Random& random) { return static_cast<uint16_t>(49152 + random.Below(16000)); }

// Collects the events of one story.
class Teller {
 public:
  Teller(uint32_t story, HostId victim, double duplicate_share, const Network& network,
         Random& random, std::vector<PlannedEvent>* events)
      : story_(story),
        victim_(victim),
        duplicate_share_(duplicate_share),
        network_(network),
        random_(random),
        events_(events) {}

  void Add(PlannedEvent::Kind kind, uint64_t variant, const Connection& connection, int64_t at_ns) {
    PlannedEvent event;
    event.kind = kind;
    event.story = story_;
    event.variant = static_cast<uint8_t>(variant);
    event.connection = connection;
    event.emit_ns = at_ns;
    // Firewalls write microseconds and keep good time; Sysmon writes milliseconds of its host's
    // clock.
    event.time_ns = event.in_firewall() ? at_ns / 1000 * 1000
                                        : (at_ns + network_.ClockSkewNs(victim_)) / kMs * kMs;
    event.copies = random_.Chance(duplicate_share_) ? 2 : 1;
    events_->push_back(event);
  }

 private:
  uint32_t story_;
  HostId victim_;
  double duplicate_share_;
  const Network& network_;
  Random& random_;
  std::vector<PlannedEvent>* events_;
};

// 1. Exploit attempts against a web server; seconds later it starts one to four shells.
void TellExploit(const Connection& attack, int64_t at, Random& random, Teller& teller) {
  teller.Add(PlannedEvent::Kind::kTraffic, 0, attack, at - random.Between(5, 900) * kMs);
  teller.Add(PlannedEvent::Kind::kAlert, random.Below(3), attack, at);
  int64_t shell = at + random.Between(300, 9000) * kMs;
  for (uint64_t n = 1 + random.Below(4); n > 0; --n) {
    teller.Add(PlannedEvent::Kind::kStart, random.Below(4), attack, shell);
    shell += random.Between(500, 12000) * kMs;
  }
}

// 2. Remote service control or WMI from a neighbour; the target's shell starts within seconds, and
// may be logged first.
void TellLateral(const Connection& attack, int64_t at, Random& random, Teller& teller) {
  teller.Add(PlannedEvent::Kind::kTraffic, 0, attack, at - random.Between(5, 200) * kMs);
  teller.Add(PlannedEvent::Kind::kAlert, random.Below(2), attack, at);
  int64_t shell = at + random.Between(-2000, 6000) * kMs;
  for (uint64_t n = 1 + random.Below(2); n > 0; --n) {
    teller.Add(PlannedEvent::Kind::kStart, random.Below(4), attack, shell);
    shell += random.Between(200, 8000) * kMs;
  }
}

// 3. A program starts from a temporary folder, connects, and beacons one to three times.
void TellC2(const Connection& attack, int64_t at, Random& random, Teller& teller) {
  const uint64_t program = random.Below(3);
  teller.Add(PlannedEvent::Kind::kStart, program, attack, at);
  int64_t beacon = at + random.Between(800, 20000) * kMs;
  for (uint64_t n = 1 + random.Below(3); n > 0; --n) {
    teller.Add(PlannedEvent::Kind::kConnect, program, attack,
               beacon - random.Between(20, 300) * kMs);
    teller.Add(PlannedEvent::Kind::kAlert, random.Below(2), attack, beacon);
    beacon += random.Between(8000, 12000) * kMs;
  }
}

}  // namespace

const Rule kStoryRules[kRules] = {
    {"inbound-exploit-then-shell", 5 * kSecond, 60 * kSecond},
    {"lateral-movement-then-execution", 5 * kSecond, 30 * kSecond},
    {"c2-callback", 60 * kSecond, 5 * kSecond},
};

Connection LeftConnection(int rule, HostId host, uint32_t hosts, Random& random) {
  const uint32_t ip = Network::Ip(host);
  switch (rule) {
    case kExploit:
      return {Network::OutsideIp(random), HighPort(random), ip, 443};
    case kLateral: {
      const auto from = static_cast<HostId>(random.Below(hosts));
      return {Network::Ip(from == host ? (from + 1) % hosts : from), HighPort(random), ip, 445};
    }
    default:
      return {ip, HighPort(random), Network::OutsideIp(random), 443};
  }
}

uint64_t WriteLeft(int rule, const Connection& connection, uint64_t variant, int64_t time_ns,
                   FirewallLog& log, Line& line) {
  const Signature& signature = rule == kExploit   ? kExploitSignatures[variant % 3]
                               : rule == kLateral ? kLateralSignatures[variant % 2]
                                                  : kC2Signatures[variant % 2];
  return log.Alert(connection, signature, time_ns, line);
}

const ProgramStart& RightStart(int rule, uint64_t variant) {
  if (rule == kExploit) return kShellStarts[variant % 4];
  if (rule == kLateral) return kRemoteStarts[variant % 4];
  return kDropperStarts[variant % 3];
}

uint32_t VictimsPerRule(const StoryOptions& options) {
  if (options.stories == 0) return 0;
  const int64_t each_rule = (options.stories + kRules - 1) / kRules;
  const int64_t span = std::max<int64_t>(options.duration_ns - kStoryLengthNs, 0);
  // Stories of one rule start at least this far apart: they are laid out in equal strides, each
  // shifted by less than one stride.
  const int64_t apart = (kRules - 1) * (span / options.stories);
  if (apart <= 0) return static_cast<uint32_t>(each_rule);
  return static_cast<uint32_t>(std::min(each_rule, kApartNs / apart + 2));
}

uint32_t VictimHosts(const StoryOptions& options) {
  return VictimsPerRule(options) * kRules * kVictimStride;
}

StoryPlan PlanStories(const StoryOptions& options, HostId first_victim, const Network& network,
                      Random& random) {
  StoryPlan plan;
  const uint32_t victims = VictimsPerRule(options);
  const int64_t span = std::max<int64_t>(options.duration_ns - kStoryLengthNs, 0);
  for (int i = 0; i < options.stories; ++i) {
    const int rule = i % kRules;
    const uint32_t number =
        static_cast<uint32_t>(i / kRules) % victims + static_cast<uint32_t>(rule) * victims;
    const HostId victim = first_victim + number * kVictimStride + (rule == kExploit ? 0 : 3);
    const int64_t stride = span / options.stories;
    // Three seconds in front: no event lies before the start of the log.
    const int64_t at = options.start_ns + 3 * kSecond + i * stride +
                       (stride > 0 ? random.Between(0, stride - 1) : 0);
    Teller teller(static_cast<uint32_t>(i), victim, options.duplicate_share, network, random,
                  &plan.events);
    const Connection attack = LeftConnection(rule, victim, first_victim, random);
    plan.stories.push_back({rule, victim});
    if (rule == kExploit) TellExploit(attack, at, random, teller);
    if (rule == kLateral) TellLateral(attack, at, random, teller);
    if (rule == kC2) TellC2(attack, at, random, teller);
  }
  std::stable_sort(
      plan.events.begin(), plan.events.end(),
      [](const PlannedEvent& a, const PlannedEvent& b) { return a.emit_ns < b.emit_ns; });
  return plan;
}

std::vector<std::string> TruthLines(const StoryPlan& plan) {
  std::vector<std::vector<const PlannedEvent*>> by_story(plan.stories.size());
  for (const PlannedEvent& event : plan.events) by_story[event.story].push_back(&event);
  std::vector<std::string> lines;
  Line text;
  const auto time = [&text](int64_t time_ns) {
    text.Clear();
    text.Time(time_ns, 'T', 9).Lit("Z");
    return std::string(text.view());
  };
  for (size_t i = 0; i < plan.stories.size(); ++i) {
    const Story& story = plan.stories[i];
    const Rule& rule = kStoryRules[story.rule];
    text.Clear();
    Network::AppendName(story.victim, text);
    const std::string host(text.view());
    text.Clear();
    const std::string key(text.Ip(Network::Ip(story.victim)).view());
    for (const PlannedEvent* left : by_story[i]) {
      if (left->kind != PlannedEvent::Kind::kAlert) continue;
      std::string right;
      for (const PlannedEvent* event : by_story[i]) {
        if (event->kind != PlannedEvent::Kind::kStart) continue;
        if (event->time_ns < left->time_ns - rule.before_ns) continue;
        if (event->time_ns > left->time_ns + rule.after_ns) continue;
        right += fmt::format(R"({}{{"host":"{}","RecordNumber":{},"time":"{}","copies":{}}})",
                             right.empty() ? "" : ",", host, event->id, time(event->time_ns),
                             event->copies);
      }
      if (right.empty()) continue;
      lines.push_back(fmt::format(
          R"({{"kind":"incident","story":{},"rule":"{}","key":"{}","left":{{"flow_id":{},)"
          R"("time":"{}","copies":{}}},"right":[{}]}})",
          i, rule.name, key, left->id, time(left->time_ns), left->copies, right));
    }
  }
  return lines;
}

}  // namespace bongsu::loadgen
