#include "bench/loadgen/generator.h"

#include <fmt/format.h>

#include <algorithm>

#include "bench/loadgen/endpoint_log.h"
#include "bench/loadgen/firewall_log.h"
#include "bench/loadgen/network.h"
#include "bench/loadgen/stories.h"

namespace bongsu::loadgen {
namespace {

// A record that is written later than it happened.
struct Delayed {
  int64_t emit_ns;
  uint64_t order;  // ties are written in the order in which they were made
  Log log;
  std::string key;
  std::string line;
};
bool Later(const Delayed& a, const Delayed& b) {
  return a.emit_ns != b.emit_ns ? a.emit_ns > b.emit_ns : a.order > b.order;
}

class Generator {
 public:
  Generator(const GeneratorOptions& options, Output& output)
      : options_(options),
        output_(output),
        random_(options.seed),
        // Pairs of an even and an odd host.
        hosts_((options.hosts + 7) / 8 * 8),
        story_options_{.stories = options.open_join ? 0 : options.stories,
                       .start_ns = options.start_ns,
                       .duration_ns = DurationNs(options),
                       .duplicate_share = options.duplicate_share},
        network_(hosts_ + VictimHosts(story_options_), options.clock_skew_ns, options.seed),
        zipf_(std::max(options.hosts, 2u), options.skew, options.skew_shift),
        firewall_(random_),
        endpoint_(random_, network_) {}

  Summary Run() {
    StoryPlan plan = PlanStories(story_options_, hosts_, network_, random_);
    uint64_t planned = 0;
    for (const PlannedEvent& event : plan.events) planned += event.copies;
    uint64_t left = options_.events > planned ? options_.events - planned : 0;
    const uint64_t slots = std::max<uint64_t>(left, 1);
    const double step = static_cast<double>(DurationNs(options_)) / static_cast<double>(slots);
    size_t next = 0;
    for (uint64_t slot = 0; left > 0; ++slot) {
      const int64_t now =
          options_.start_ns + static_cast<int64_t>(step * static_cast<double>(slot));
      for (; next < plan.events.size() && plan.events[next].emit_ns <= now; ++next)
        Tell(plan, plan.events[next]);
      WriteDelayed(now);
      --left;
      const Log log = Noise(now);
      if (left > 0 && random_.Chance(options_.duplicate_share)) {
        --left;
        ++summary_.duplicates;
        Delay(log, now + random_.Between(0, RepeatBoundNs()));
      }
      Emit(log, now);
    }
    for (; next < plan.events.size(); ++next) {
      WriteDelayed(plan.events[next].emit_ns);
      Tell(plan, plan.events[next]);
    }
    WriteDelayed(INT64_MAX);
    if (!options_.open_join) WriteTruth(plan);
    return std::move(summary_);
  }

 private:
  static int64_t DurationNs(const GeneratorOptions& options) {
    return static_cast<int64_t>(static_cast<double>(options.events) / options.rate * 1e9);
  }
  int64_t RepeatBoundNs() const { return std::max<int64_t>(options_.out_of_order_ns, 1'000'000); }

  // The host of a noise record; selected noise keeps the sides of a rule on different hosts.
  HostId NoiseHost(bool selected, Log log) {
    if (!selected && network_.hosts() > hosts_ && random_.Chance(0.02)) {
      // Victims live a normal life besides.
      return hosts_ + static_cast<HostId>(random_.Below(network_.hosts() - hosts_));
    }
    const HostId host = zipf_.Draw(random_);
    if (!selected || options_.open_join) return host;
    return log == Log::kFirewall ? host & ~1u : host | 1u;
  }

  // One noise record into line_ and key_.
  Log Noise(int64_t now) {
    const Log log = random_.Chance(options_.firewall_share) ? Log::kFirewall : Log::kEndpoint;
    const bool selected = random_.Chance(options_.selected_share);
    const HostId host = NoiseHost(selected, log);
    const int rule = options_.open_join ? kExploit : static_cast<int>(random_.Below(kRules));
    line_.Clear();
    if (selected) ++summary_.selected;
    if (log == Log::kFirewall) {
      FirewallNoise(selected, rule, host, now);
    } else {
      SetKey(host);
      const int64_t time = now + network_.ClockSkewNs(host);
      if (selected) {
        endpoint_.Start(host, RightStart(rule, random_.Below(12)), time, line_);
      } else {
        endpoint_.Noise(host, Network::OutsideIp(random_), time, line_);
      }
    }
    return log;
  }

  void FirewallNoise(bool selected, int rule, HostId host, int64_t now) {
    key_.clear();
    if (selected) {
      // Apart: the order in which arguments are evaluated is the compiler's.
      const Connection attack = LeftConnection(rule, host, hosts_, random_);
      WriteLeft(rule, attack, random_.Below(6), now, firewall_, line_);
      return;
    }
    const auto port = static_cast<uint16_t>(49152 + random_.Below(16000));
    const bool inside = random_.Chance(0.3);
    const Connection connection{Network::Ip(host), port,
                                inside ? kDomainController : Network::OutsideIp(random_),
                                static_cast<uint16_t>(inside ? 389 : 443)};
    if (random_.Chance(0.03)) {
      firewall_.Alert(connection, kNoiseSignatures[random_.Below(6)], now, line_);
    } else {
      firewall_.Traffic(connection, now, line_);
    }
  }

  void SetKey(HostId host) {
    name_.Clear();
    Network::AppendName(host, name_);
    key_.assign(name_.view());
  }

  // Writes a story's record, and remembers its id for the truth.
  void Tell(const StoryPlan& plan, PlannedEvent& event) {
    const Story& story = plan.stories[event.story];
    line_.Clear();
    key_.clear();
    switch (event.kind) {
      case PlannedEvent::Kind::kTraffic:
        firewall_.Traffic(event.connection, event.time_ns, line_);
        break;
      case PlannedEvent::Kind::kAlert:
        event.id =
            WriteLeft(story.rule, event.connection, event.variant, event.time_ns, firewall_, line_);
        break;
      case PlannedEvent::Kind::kStart:
        event.id = endpoint_.Start(story.victim, RightStart(story.rule, event.variant),
                                   event.time_ns, line_);
        break;
      case PlannedEvent::Kind::kConnect:
        event.id = endpoint_.Connect(story.victim, RightStart(story.rule, event.variant).image,
                                     event.connection, event.time_ns, line_);
        break;
    }
    const Log log = event.in_firewall() ? Log::kFirewall : Log::kEndpoint;
    if (log == Log::kEndpoint) SetKey(story.victim);
    for (int copy = 1; copy < event.copies; ++copy) {
      ++summary_.duplicates;
      Delay(log, event.emit_ns + random_.Between(0, RepeatBoundNs()));
    }
    Emit(log, event.emit_ns);
  }

  // The record in line_: now, or for some of them later.
  void Emit(Log log, int64_t now) {
    if (options_.out_of_order_ns > 0 && random_.Chance(options_.out_of_order_share)) {
      ++summary_.out_of_order;
      Delay(log, now + random_.Between(1, options_.out_of_order_ns));
      return;
    }
    Write(log, key_, line_.view());
  }

  void Delay(Log log, int64_t emit_ns) {
    delayed_.push_back({emit_ns, order_++, log, key_, std::string(line_.view())});
    std::push_heap(delayed_.begin(), delayed_.end(), Later);
  }

  void WriteDelayed(int64_t now) {
    while (!delayed_.empty() && delayed_.front().emit_ns <= now) {
      std::pop_heap(delayed_.begin(), delayed_.end(), Later);
      const Delayed& due = delayed_.back();
      Write(due.log, due.key, due.line);
      delayed_.pop_back();
    }
  }

  void Write(Log log, std::string_view key, std::string_view line) {
    output_.Write(log, key, line);
    ++(log == Log::kFirewall ? summary_.firewall : summary_.endpoint);
    summary_.bytes += line.size() + 1;
  }

  void WriteTruth(const StoryPlan& plan) {
    std::vector<std::string> incidents = TruthLines(plan);
    std::string rules;
    for (const Rule& rule : kStoryRules)
      rules += fmt::format("{}\"{}\"", rules.empty() ? "" : ",", rule.name);
    summary_.truth.push_back(fmt::format(
        R"({{"kind":"summary","seed":{},"stories":{},"incidents":{},"firewall":{},"endpoint":{},)"
        R"("rules":[{}]}})",
        options_.seed, plan.stories.size(), incidents.size(), summary_.firewall, summary_.endpoint,
        rules));
    for (std::string& line : incidents) summary_.truth.push_back(std::move(line));
  }

  const GeneratorOptions& options_;
  Output& output_;
  Random random_;
  uint32_t hosts_;
  StoryOptions story_options_;
  Network network_;
  ZipfMandelbrot zipf_;
  FirewallLog firewall_;
  EndpointLog endpoint_;
  Summary summary_;
  Line line_;
  Line name_;
  std::string key_;
  std::vector<Delayed> delayed_;
  uint64_t order_ = 0;
};

bool IsShare(double x) { return x >= 0 && x <= 1; }

}  // namespace

std::string CheckOptions(const GeneratorOptions& o) {
  if (o.events == 0) return "--events must be at least 1";
  if (!(o.rate > 0)) return "--rate must be above 0";
  if (o.hosts < 2 || o.hosts > 10'000'000) return "--hosts must be 2 to 10000000";
  if (o.stories < 0 || o.stories > 1'000'000) return "--stories must be 0 to 1000000";
  if (!IsShare(o.firewall_share) || !IsShare(o.selected_share) || !IsShare(o.out_of_order_share) ||
      !IsShare(o.duplicate_share)) {
    return "shares must be 0 to 1";
  }
  if (o.skew < 0 || o.skew_shift < 0) return "--skew and --skew-shift must not be negative";
  // Beyond it a story's cause and effect could change places by more than its rule allows.
  if (o.clock_skew_ns < 0 || o.clock_skew_ns > 2 * kSecond)
    return "--clock-skew must be 0 to 2 seconds";
  if (o.out_of_order_ns < 0) return "--out-of-order-bound must not be negative";
  if (!o.open_join && o.events < static_cast<uint64_t>(o.stories) * 20) {
    return "--events must be at least 20 for each story";
  }
  return "";
}

Summary Generate(const GeneratorOptions& options, Output& output) {
  return Generator(options, output).Run();
}

}  // namespace bongsu::loadgen
