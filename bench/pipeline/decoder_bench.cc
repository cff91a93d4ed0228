// Decoding against a hand-written document-order parse of the same eight fields, on the same
// records.
//
//   decoder_bench --benchmark_filter=Alternating     # both in turn in one run, and their ratio
//
// Records: `firewall` has Suricata's EVE shape (0.7 KB, an alert), `endpoint` Sysmon's flat shape
// (2 KB, process creation, with Windows paths whose backslashes must be unescaped); `mixed` has
// four of the first to one of the second. 2,000 records that stay in the cache. ns_per_record:
// minimum, median and maximum over the rounds.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "bench/pipeline/handwritten_parse.h"
#include "fmt/format.h"
#include "pipeline/decoder.h"

namespace bongsu {
namespace {

constexpr int kRecords = 2000;

std::string Ip(std::mt19937& random) {
  return fmt::format("10.{}.{}.{}", random() % 4, random() % 256, random() % 256);
}

std::string FirewallRecord(std::mt19937& random) {
  const std::string source = Ip(random);
  const std::string destination = Ip(random);
  const auto port = 1024 + random() % 60'000;
  return fmt::format(
      R"_({{"timestamp":"2026-03-02T09:{:02}:{:02}.{:06}+0000","flow_id":{},"in_iface":"eth1",)_"
      R"_("event_type":"alert",)_"
      R"_("src_ip":"{}","src_port":{},"dest_ip":"{}","dest_port":443,"proto":"TCP",)_"
      R"_("pkt_src":"wire/pcap",)_"
      R"_("metadata":{{"flowbits":["tls.seen","http.dottedquadhost"]}},)_"
      R"_("alert":{{"action":"allowed","gid":1,)_"
      R"_("signature_id":{},"rev":4,)_"
      R"_("signature":"Suspicious connection to a host without a name, rule {}",)_"
      R"_("category":"Potentially Bad Traffic","severity":2,)_"
      R"_("metadata":{{"created_at":["2024_07_30"],)_"
      R"_("updated_at":["2025_07_30"]}}}},"app_proto":"tls","direction":"to_server",)_"
      R"_("flow":{{"pkts_toserver":{},)_"
      R"_("pkts_toclient":3,"bytes_toserver":{},"bytes_toclient":1054,)_"
      R"_("start":"2026-03-02T09:00:00.000000+0000",)_"
      R"_("src_ip":"{}","dest_ip":"{}","src_port":{},"dest_port":443}}}})_",
      random() % 60, random() % 60, random() % 1'000'000, random(), source, port, destination,
      2'000'000 + random() % 9999, random() % 100, random() % 50, random() % 100'000, source,
      destination, port);
}

std::string EndpointRecord(std::mt19937& random) {
  static const char* const kImages[] = {"powershell.exe", "cmd.exe", "svchost.exe", "explorer.exe",
                                        "chrome.exe"};
  const char* image = kImages[random() % 5];
  const char* parent = kImages[random() % 5];
  std::string command;
  for (int i = 0; i < 6; ++i)
    command += fmt::format(R"( /arg{}:\"C:\\ProgramData\\app{}\\file{}.dat\")", i, random() % 9,
                           random() % 99);
  return fmt::format(
      R"_({{"SeverityValue":2,"EventReceivedTime":"2026-03-02 09:00:00","EventID":1,)_"
      R"_("ProviderGuid":"{{5770385F-C22A-43E0-BF4C-06F5698FFBD9}}","ExecutionProcessID":3392,)_"
      R"_("Channel":"Microsoft-Windows-Sysmon/Operational","host":"collector.example.net",)_"
      R"_("AccountType":"User",)_"
      R"_("ProcessGuid":"{{d273d0f0-e8f0-5f64-ff00-{:012}}}",)_"
      R"_("ParentImage":"C:\\Windows\\System32\\{}",)_"
      R"_("LogonGuid":"{{d273d0f0-e865-5f64-e703-000000000000}}","Opcode":"Info",)_"
      R"_("EventTime":"2026-03-02 05:00:00",)_"
      R"_("SourceModuleType":"im_msvistalog","AccountName":"SYSTEM",)_"
      R"_("CommandLine":"C:\\Windows\\System32\\{}{}",)_"
      R"_("Domain":"NT AUTHORITY","@version":"1","OpcodeValue":0,"Severity":"INFO",)_"
      R"_("User":"EXAMPLE\\user{}",)_"
      R"_("Hashes":"SHA1={:040X},MD5={:032X},SHA256={:064X},IMPHASH={:032X}",)_"
      R"_("SourceName":"Microsoft-Windows-Sysmon",)_"
      R"_("CurrentDirectory":"C:\\Windows\\system32\\",)_"
      R"_("Description":"A program that came with the system",)_"
      R"_("Category":"Process Create (rule: ProcessCreate)","Company":"Example Corporation",)_"
      R"_("Keywords":-9223372036854775808,)_"
      R"_("FileVersion":"10.0.18362.1 (WinBuild.160101.0800)","IntegrityLevel":"System",)_"
      R"_("UserID":"S-1-5-18",)_"
      R"_("TerminalSessionId":"0","ThreadID":5552,"EventType":"INFO",)_"
      R"_("ParentProcessGuid":"{{d273d0f0-e865-5f64-0b00-000000000800}}",)_"
      R"_("@timestamp":"2026-03-02T09:00:01.058Z","port":64545,)_"
      R"_("ParentCommandLine":"C:\\Windows\\system32\\{} -k netsvcs",)_"
      R"_("RecordNumber":{},"Task":1,"ParentProcessId":"704","SourceModuleName":"eventlog",)_"
      R"_("LogonId":"0x3e7","Version":5,)_"
      R"_("Product":"Example Operating System","Image":"C:\\Windows\\System32\\{}",)_"
      R"_("OriginalFileName":"{}",)_"
      R"_("UtcTime":"2026-03-02 09:{:02}:{:02}.{:03}","Hostname":"WORKSTATION{}.example.net",)_"
      R"_("RuleName":"-","tags":["sample"]}})_",
      random(), parent, image, command, random() % 500, random(), random(), random(), random(),
      parent, random(), image, image, random() % 60, random() % 60, random() % 1000,
      random() % 200);
}

enum Mix : int64_t { kFirewall, kEndpoint, kMixed };
const char* const kMixNames[] = {"firewall", "endpoint", "mixed"};

// The records, one behind the other as in a file's buffer, so that each has readable bytes behind
// it.
struct Records {
  explicit Records(int64_t mix) {
    std::mt19937 random(1);
    for (int i = 0; i < kRecords; ++i) {
      endpoint.push_back(mix == kEndpoint || (mix == kMixed && i % 5 == 4));
      const std::string text = endpoint.back() ? EndpointRecord(random) : FirewallRecord(random);
      sizes.push_back(text.size());
      buffer += text + "\n";
    }
    buffer.append(64, '\0');
    size_t at = 0;
    for (const size_t size : sizes) {
      Record& record = records.emplace_back();
      record.bytes = std::string_view(buffer).substr(at, size);
      record.slack = 64;
      at += size + 1;
    }
  }
  std::string buffer;
  std::vector<size_t> sizes;
  std::vector<bool> endpoint;
  std::vector<Record> records;
};

const char* const kFirewallFields[] = {"timestamp",       "event_type",    "src_ip",
                                       "src_port",        "dest_ip",       "dest_port",
                                       "alert.signature", "alert.severity"};
const char* const kEndpointFields[] = {"EventID", "Channel", "ParentImage", "CommandLine",
                                       "User",    "Image",   "UtcTime",     "Hostname"};

// One decoder for each kind, as one for each source.
struct Decoders {
  Decoders(bool time, DecoderOptions options) {
    for (const char* name : kFirewallFields) firewall_fields.Slot(name);
    for (const char* name : kEndpointFields) endpoint_fields.Slot(name);
    if (time) {
      firewall_format.time = {{.path = "flow.start", .when = {"event_type", {"flow"}}},
                              {.path = "timestamp"}};
      endpoint_format.time = {{.path = "UtcTime",
                               .encoding = TimeEncoding::kPattern,
                               .pattern = "%Y-%m-%d %H:%M:%S%f",
                               .when = {"Channel", {"Microsoft-Windows-Sysmon/Operational"}}},
                              {.path = "@timestamp"}};
    }
    firewall = std::make_unique<Decoder>(firewall_format, firewall_fields, options);
    endpoint = std::make_unique<Decoder>(endpoint_format, endpoint_fields, options);
  }
  Format firewall_format, endpoint_format;
  FieldTable firewall_fields, endpoint_fields;
  std::unique_ptr<Decoder> firewall, endpoint;
};

// The result's size over all records: both sides must read the same.
size_t DecodeAll(const Records& records, Decoders& decoders) {
  size_t bytes = 0;
  Event event;
  for (int i = 0; i < kRecords; ++i) {
    Decoder& decoder =
        records.endpoint[static_cast<size_t>(i)] ? *decoders.endpoint : *decoders.firewall;
    const DecodeResult result = decoder.Decode(records.records[static_cast<size_t>(i)], &event);
    if (result > DecodeResult::kNoTime) return 0;
    for (const Value& value : event.fields) bytes += value.text().size();
  }
  return bytes;
}

size_t ParseAll(const Records& records, HandwrittenParse& parse) {
  size_t bytes = 0;
  EightFields fields;
  for (int i = 0; i < kRecords; ++i) {
    const std::string_view record = records.records[static_cast<size_t>(i)].bytes;
    const bool ok = records.endpoint[static_cast<size_t>(i)] ? parse.Endpoint(record, &fields)
                                                             : parse.Firewall(record, &fields);
    if (!ok) return 0;
    for (const std::string_view field : fields) bytes += field.size();
  }
  return bytes;
}

template <typename Work>
double NsPerRecord(Work work) {
  const auto begin = std::chrono::steady_clock::now();
  benchmark::DoNotOptimize(work());
  const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - begin;
  return spent.count() / kRecords;
}

void Report(benchmark::State& state, const std::string& name, std::vector<double> ns) {
  std::sort(ns.begin(), ns.end());
  state.counters[name + "_ns_min"] = ns.front();
  state.counters[name + "_ns_med"] = ns[ns.size() / 2];
  state.counters[name + "_ns_max"] = ns.back();
}

// Args: mix; with event time; full validation.
void BM_DecodeAlternating(benchmark::State& state) {
  if (!HandwrittenParse::Supported()) {
    state.SkipWithError("this processor lacks AVX2");
    return;
  }
  const Records records(state.range(0));
  Decoders decoders(state.range(1) != 0,
                    {.validate = state.range(2) != 0 ? Validate::kFull : Validate::kRead});
  HandwrittenParse parse;
  if (DecodeAll(records, decoders) != ParseAll(records, parse)) {
    state.SkipWithError("the two sides read different texts");
    return;
  }
  std::vector<double> ours;
  std::vector<double> theirs;
  for (auto _ : state) {
    theirs.push_back(NsPerRecord([&] { return ParseAll(records, parse); }));
    ours.push_back(NsPerRecord([&] { return DecodeAll(records, decoders); }));
  }
  state.SetLabel(kMixNames[state.range(0)]);
  state.SetItemsProcessed(state.iterations() * kRecords * 2);
  Report(state, "handwritten", theirs);
  Report(state, "decode", ours);
  state.counters["ratio"] = state.counters["decode_ns_med"] / state.counters["handwritten_ns_med"];
  state.counters["bytes_per_record"] = static_cast<double>(records.buffer.size()) / kRecords;
}
BENCHMARK(BM_DecodeAlternating)
    ->ArgNames({"mix", "time", "full"})
    ->ArgsProduct({{kFirewall, kEndpoint, kMixed}, {0, 1}, {0, 1}});

void BM_Decode(benchmark::State& state) {
  const Records records(state.range(0));
  Decoders decoders(true, {});
  for (auto _ : state) benchmark::DoNotOptimize(DecodeAll(records, decoders));
  state.SetLabel(kMixNames[state.range(0)]);
  state.SetItemsProcessed(state.iterations() * kRecords);
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(records.buffer.size()));
}
BENCHMARK(BM_Decode)->ArgNames({"mix"})->Arg(kFirewall)->Arg(kEndpoint)->Arg(kMixed);

}  // namespace
}  // namespace bongsu

BENCHMARK_MAIN();
