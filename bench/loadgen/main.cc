// bongsu-loadgen: sample logs of an invented company with known attacks in them.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>

#include "bench/loadgen/file_output.h"
#include "bench/loadgen/generator.h"
#include "bench/loadgen/kafka_output.h"
#include "bench/loadgen/verify.h"

namespace {

using namespace bongsu::loadgen;  // NOLINT: the program of this namespace

constexpr char kExamples[] = R"(Examples:
  bongsu-loadgen --out sample --events 200000 --seed 7
  bongsu-loadgen --kafka localhost:9092 --topics logs.firewall,logs.endpoint \
      --truth truth.jsonl --start now --limit-rate 5000
  bongsu-loadgen verify --truth sample/truth.jsonl --alerts alerts.jsonl)";

struct Arguments {
  GeneratorOptions generator;
  std::string out;
  std::string truth;
  std::string alerts;
  std::string start;
  double out_of_order_s = 3;
  double clock_skew_s = 0.2;
  KafkaOutputOptions kafka;
  std::vector<std::string> topics;
  std::vector<std::string> properties;
};

void AddOptions(CLI::App& app, Arguments& a) {
  GeneratorOptions& g = a.generator;
  app.add_option("--out", a.out,
                 "write DIR/firewall.jsonl, DIR/endpoint.jsonl and DIR/truth.jsonl");
  app.add_option("--kafka", a.kafka.brokers, "produce to these brokers");
  app.add_option("--topics", a.topics, "the two topics: firewall,endpoint")->delimiter(',');
  app.add_option("--property", a.properties, "a librdkafka property, name=value; may be repeated");
  app.add_option("--limit-rate", a.kafka.records_per_second,
                 "Kafka: at most this many records a second (0: no limit)");
  app.add_option("--truth", a.truth, "where the truth goes (default with --out: DIR/truth.jsonl)");
  app.add_option("--events", g.events, "records in both logs together")->capture_default_str();
  app.add_option("--rate", g.rate, "records for each second of event time")->capture_default_str();
  app.add_option("--start", a.start,
                 "event time of the first record: 2026-01-05T08:00:00Z, or now");
  app.add_option("--firewall-share", g.firewall_share, "share of firewall records")
      ->capture_default_str();
  app.add_option("--selected-share", g.selected_share,
                 "share of noise that looks like one side of a rule")
      ->capture_default_str();
  app.add_option("--hosts", g.hosts, "hosts, the keys of joins")->capture_default_str();
  app.add_option("--skew", g.skew, "Zipf-Mandelbrot exponent of the hosts; 0: all alike")
      ->capture_default_str();
  app.add_option("--skew-shift", g.skew_shift, "Zipf-Mandelbrot shift")->capture_default_str();
  app.add_option("--stories", g.stories, "planted attacks")->capture_default_str();
  app.add_option("--out-of-order-share", g.out_of_order_share, "share of records written late")
      ->capture_default_str();
  app.add_option("--out-of-order-bound", a.out_of_order_s,
                 "how late at most, seconds of event time")
      ->capture_default_str();
  app.add_option("--duplicate-share", g.duplicate_share, "share of records written twice")
      ->capture_default_str();
  app.add_option("--clock-skew", a.clock_skew_s, "how far a host's clock may be off, seconds")
      ->capture_default_str();
  app.add_option("--seed", g.seed, "same seed and options, same bytes")->capture_default_str();
  app.add_flag("--open-join", g.open_join,
               "for benches: selected noise on any host, no stories, no truth");
  app.footer(kExamples);
}

// "2026-01-05T08:00:00Z" or "now"; false where it is neither.
bool ParseStart(const std::string& text, int64_t* time_ns) {
  if (text.empty()) return true;
  if (text == "now") {
    *time_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(
                   std::chrono::system_clock::now().time_since_epoch())
                   .count();
    return true;
  }
  std::tm utc{};
  const char* end = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  if (end == nullptr || *end != '\0') return false;
  *time_ns = static_cast<int64_t>(timegm(&utc)) * 1'000'000'000;
  return *time_ns > 0;
}

int Fail(const std::string& text) {
  std::fprintf(stderr, "bongsu-loadgen: %s\n", text.c_str());
  return 1;
}
int Wrong(const std::string& text) {
  std::fprintf(stderr, "bongsu-loadgen: %s\n", text.c_str());
  return 2;
}

void PrintSummary(const Summary& s, double seconds) {
  const auto records = static_cast<double>(s.firewall + s.endpoint);
  fmt::print("{} firewall and {} endpoint records, {:.1f} MB, in {:.2f} s ({:.0f} records/s)\n",
             s.firewall, s.endpoint, static_cast<double>(s.bytes) / 1e6, seconds,
             records / seconds);
  fmt::print(
      "{} out of order, {} repeated, {} look like one side of a rule, {} incidents to be found\n",
      s.out_of_order, s.duplicates, s.selected, s.truth.empty() ? 0 : s.truth.size() - 1);
}

int RunGenerate(Arguments& a) {
  GeneratorOptions& g = a.generator;
  if (a.out.empty() == a.kafka.brokers.empty())
    return Wrong("give one of --out and --kafka (see --help)");
  if (!ParseStart(a.start, &g.start_ns))
    return Wrong("--start must be like 2026-01-05T08:00:00Z, or now");
  g.out_of_order_ns = static_cast<int64_t>(a.out_of_order_s * 1e9);
  g.clock_skew_ns = static_cast<int64_t>(a.clock_skew_s * 1e9);
  if (const std::string wrong = CheckOptions(g); !wrong.empty()) return Wrong(wrong);
  const auto begin = std::chrono::steady_clock::now();
  Summary summary;
  std::string error;
  if (!a.out.empty()) {
    FileOutput output;
    error = output.Open(a.out);
    if (!error.empty()) return Fail(error);
    summary = Generate(g, output);
    error = output.Close();
    if (a.truth.empty()) a.truth = a.out + "/truth.jsonl";
  } else {
    if (a.topics.size() != 2) return Wrong("--kafka needs --topics FIREWALL,ENDPOINT");
    a.kafka.firewall_topic = a.topics[0];
    a.kafka.endpoint_topic = a.topics[1];
    for (const std::string& property : a.properties) {
      const size_t equals = property.find('=');
      if (equals == std::string::npos) return Wrong("--property must be name=value");
      a.kafka.properties[property.substr(0, equals)] = property.substr(equals + 1);
    }
    KafkaOutput output(a.kafka);
    if (!output.error().empty()) return Fail(output.error());
    summary = Generate(g, output);
    error = output.Close();
  }
  if (!error.empty()) return Fail(error);
  if (!summary.truth.empty() && !a.truth.empty()) error = WriteLines(a.truth, summary.truth);
  if (!error.empty()) return Fail(error);
  PrintSummary(summary,
               std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  return 0;
}

int RunVerify(const Arguments& a) {
  std::ifstream truth(a.truth);
  if (!truth) return Fail("cannot read " + a.truth);
  std::ifstream alerts(a.alerts);
  if (!alerts) return Fail("cannot read " + a.alerts);
  const VerifyResult result = VerifyAlerts(truth, alerts);
  for (const std::string& problem : result.problems) fmt::print("{}\n", problem);
  fmt::print("{} of {} planted incidents found, {} problems\n", result.found, result.expected,
             result.problems.size());
  return result.problems.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Makes firewall and endpoint logs of an invented company, with attacks planted in them.",
      "bongsu-loadgen");
  Arguments arguments;
  AddOptions(app, arguments);
  CLI::App* verify = app.add_subcommand(
      "verify", "checks that alerts hold the planted incidents and nothing else");
  verify->add_option("--truth", arguments.truth, "the truth file of the run")->required();
  verify->add_option("--alerts", arguments.alerts, "alerts as JSON lines, OCSF or native")
      ->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return *verify ? RunVerify(arguments) : RunGenerate(arguments);
}
