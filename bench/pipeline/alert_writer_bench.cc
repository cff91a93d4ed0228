// The cost of writing one alert with a piece of evidence from either side.
#include <benchmark/benchmark.h>

#include "operators/key.h"
#include "operators/payload.h"
#include "pipeline/alert_writer.h"

namespace bongsu {
namespace {

class BenchSpec final : public OperatorSpec {
 public:
  BenchSpec() {
    rule_ = {.name = "inbound-exploit-then-shell",
             .title = "Exploit attempt, then a shell",
             .type = "interval_join",
             .level = "high",
             .tags = {"attack.t1190", "attack.execution"}};
    inputs_.resize(2);
    inputs_[0].name = "left";
    inputs_[0].source = "firewall";
    inputs_[0].fields = {"src_ip", "src_port", "dest_ip", "alert.signature", "flow_id"};
    inputs_[1].name = "right";
    inputs_[1].source = "endpoint";
    inputs_[1].fields = {"Hostname", "User", "Image", "ProcessId", "CommandLine"};
  }
  std::string Why(const Incident&) const override { return "right within 60s of left"; }
  std::unique_ptr<Operator> NewInstance() const override { return nullptr; }
};

void WriteAlerts(benchmark::State& state, AlertFormat format) {
  Config config;
  config.alerts.format = format;
  config.sources.resize(2);
  config.sources[0].name = "firewall";
  config.sources[0].format.entities = {{"src_ip", {"src_ip"}}, {"dst_ip", {"dest_ip"}}};
  config.sources[1].name = "endpoint";
  config.sources[1].format.entities = {
      {"host", {"Hostname"}}, {"user", {"User"}}, {"process", {"Image"}}, {"pid", {"ProcessId"}}};
  PartitionTable partitions;
  const PartitionId firewall = *partitions.Add(
      {.source = "firewall", .topic = "logs.firewall", .partition = 1, .identity = "f"});
  const PartitionId endpoint = *partitions.Add(
      {.source = "endpoint", .topic = "logs.endpoint", .partition = 2, .identity = "e"});
  std::string left;
  std::string right;
  const Value address = Value::String("10.21.0.5");
  EncodeValues(
      std::vector<Value>{Value::String("203.0.113.9"), Value::Number("51234"), address,
                         Value::String("LAB EXPLOIT Web application command injection attempt"),
                         Value::Number("1234567890123456")},
      &left);
  EncodeValues(
      std::vector<Value>{Value::String("srv-000040.corp.example"), Value::String("CORP\\u000040"),
                         Value::String("C:\\Windows\\System32\\cmd.exe"), Value::String("4242"),
                         Value::String("cmd.exe /c whoami /all")},
      &right);
  const Event event{.fields = std::span<const Value>(&address, 1)};
  KeyBuilder builder({.slots = {0}});
  const Evidence evidence[] = {{.port = 0,
                                .time = 1'767'225'600'123'456'789,
                                .seq = PackSeq(firewall, 1'234'567),
                                .payload = left},
                               {.port = 1,
                                .time = 1'767'225'601'123'456'789,
                                .seq = PackSeq(endpoint, 7'654'321),
                                .payload = right}};
  Incident incident;
  incident.key = builder.Build(event)[0];
  incident.first_time = evidence[0].time;
  incident.last_time = evidence[1].time;
  incident.anchor_time = evidence[0].time;
  incident.event_count = 2;
  incident.evidence = evidence;
  const BenchSpec spec;
  const auto writer = MakeAlertWriter(config, partitions, SystemClock());
  std::string out;
  for (auto _ : state) {
    out.clear();
    writer->Write(spec, incident, &out);
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations());
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(out.size()));
}
BENCHMARK_CAPTURE(WriteAlerts, Native, AlertFormat::kNative);
BENCHMARK_CAPTURE(WriteAlerts, Ocsf, AlertFormat::kOcsf);

}  // namespace
}  // namespace bongsu
BENCHMARK_MAIN();
