#include "pipeline/alert_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "operators/key.h"
#include "operators/payload.h"
#include "operators/sigma/rule.h"
#include "pipeline/json_text.h"
#include "pipeline/late_fields.h"
#include "tests/conformance/ocsf_validator.h"

namespace bongsu {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr EventTimeNs kAlertTime = 1'767'225'600'123'456'789;  // 2026-01-01T00:00:00.123456789Z

class FakeClock final : public Clock {
 public:
  int64_t NowNs() const override { return kAlertTime + kMinuteNs; }
  int64_t MonotonicNs() const override { return 0; }
  void Sleep(DurationNs) const override {}
};

class TestSpec : public OperatorSpec {
 public:
  TestSpec() {
    rule_ = {.name = "inbound-then-shell",
             .title = "Exploit, then \"shell\"",
             .description = "An alert against a host, and soon after a shell on it.",
             .type = "interval_join",
             .level = "high",
             .tags = {"attack.initial-access", "attack.t1190", "attack.t1059.001",
                      "attack.execution", "cve.2099.0001"}};
    inputs_.resize(2);
    inputs_[0].name = "left";
    inputs_[0].source = "firewall";
    inputs_[0].fields = {"src_ip", "src_port", "dest_ip", "alert.signature"};
    inputs_[1].name = "right";
    inputs_[1].source = "endpoint";
    inputs_[1].fields = {"Hostname",    "User",    "Image", "ProcessId",
                         "CommandLine", "host_ip", "Extra"};
    semantic_hash_ = "5e" + std::string(62, '0');
  }
  std::string Why(const Incident& incident) const override {
    return "right within 60s of left, " + std::to_string(incident.event_count) + " events";
  }
  std::unique_ptr<Operator> NewInstance() const override { return nullptr; }
};

// Says what the evidence shows, as joins and correlations do.
class SeenSpec final : public TestSpec {
 public:
  std::string Why(const Incident& incident) const override {
    std::string seen;
    for (const Evidence& one : incident.evidence) seen += std::to_string(one.port);
    return seen;
  }
};

// A correlation, or a detection, of a Sigma rule that says all that one can say.
class SigmaSpec final : public OperatorSpec {
 public:
  explicit SigmaSpec(const std::string& type) {
    Diagnostics diagnostics;
    const std::vector<Node> documents = ParseYaml(R"(
title: Many failed logons, then one that succeeds
id: 11111111-2222-4333-8444-555555555501
name: brute_force
status: test
description: Somebody guessed a password.
license: DRL-1.1
author: A. Author
date: 2026-01-01
modified: 2026-02-01
level: high
tags: [attack.credential-access, attack.t1110.001, car.2013-02-003]
references: [https://example.org/brute-force]
falsepositives: [Forgotten passwords]
team: blue
detection: {sel: {EventID: 1}, condition: sel}
logsource: {product: windows}
)",
                                                  "r.yml", YamlLimits{}, diagnostics);
    const auto rule = sigma::ParseRule(documents.at(0), diagnostics);
    EXPECT_TRUE(rule.has_value()) << diagnostics.Text();
    rule_.metadata = std::make_shared<const sigma::Metadata>(rule->metadata);
    rule_.name = rule->metadata.id;
    rule_.title = rule->metadata.title;
    rule_.description = rule->metadata.description;
    rule_.type = type;
    rule_.level = rule->metadata.level;
    rule_.tags = rule->metadata.tags;
    if (type != "detection") rule_.group_by = {"User", "src_ip"};
    inputs_.resize(2);
    inputs_[0].name = "11111111-2222-4333-8444-555555555502";
    inputs_[0].title = "Failed logon";
    inputs_[0].source = "firewall";
    inputs_[0].fields = {"src_ip", "src_port", "dest_ip", "alert.signature"};
    inputs_[1].name = "success";
    inputs_[1].source = "endpoint";
    inputs_[1].fields = {"Hostname"};
    semantic_hash_ = "5e" + std::string(62, '0');
  }
  std::string Why(const Incident&) const override { return "12 within 5m"; }
  std::unique_ptr<Operator> NewInstance() const override { return nullptr; }
};

class AlertWriterTest : public ::testing::Test {
 protected:
  AlertWriterTest() {
    config_.sources.resize(2);
    config_.sources[0].name = "firewall";
    config_.sources[0].topics = {"logs.fw"};
    config_.sources[0].tenant = "acme";
    config_.sources[0].format.entities = {
        {"src_ip", {"src_ip"}}, {"src_port", {"src_port"}}, {"dst_ip", {"dest_ip"}}};
    config_.sources[1].name = "endpoint";
    config_.sources[1].files = {"host/*.jsonl"};
    config_.sources[1].format.entities = {
        {"host", {"Hostname"}}, {"user", {"SubjectUser", "User"}}, {"process", {"Image"}},
        {"pid", {"ProcessId"}}, {"command_line", {"CommandLine"}}, {"host_ip", {"host_ip"}}};
    firewall_ = *partitions_.Add(
        {.source = "firewall", .topic = "logs.fw", .partition = 3, .identity = "f"});
    endpoint_ = *partitions_.Add({.source = "endpoint", .path = "host/a.jsonl", .identity = "e"});
    Value address = Value::String("10.0.0.5");
    Event event{.fields = std::span<const Value>(&address, 1)};
    KeyBuilder builder({.slots = {0}});
    key_ = std::string(builder.Build(event)[0]);
    SetRight({Value::String("ws-1.corp.example"), Value::String("CORP\\jdoe"),
              Value::String("C:\\Windows\\System32\\cmd.exe"), Value::String("4242"),
              Value::String("cmd /c \"whoami\""), Value::String("10.0.0.5")});
    const Value left[] = {Value::String("203.0.113.9"), Value::Number("55123"),
                          Value::String("10.0.0.5"), Value::String("EXPLOIT attempt")};
    EncodeValues(left, &left_);
  }

  void SetRight(std::vector<Value> values) {
    right_.clear();
    EncodeValues(values, &right_);
  }

  Incident MakeIncident(Activity activity = Activity::kCreate) {
    evidence_ = {{.port = 0, .time = kAlertTime, .seq = PackSeq(firewall_, 17), .payload = left_},
                 {.port = 1,
                  .time = kAlertTime + kSecondNs,
                  .seq = PackSeq(endpoint_, 4096),
                  .payload = right_}};
    Incident incident;
    incident.activity = activity;
    for (size_t i = 0; i < incident.id.size(); ++i) incident.id[i] = static_cast<uint8_t>(i * 17);
    incident.key = key_;
    incident.first_time = kAlertTime;
    incident.last_time = kAlertTime + kSecondNs;
    incident.anchor_time = kAlertTime;
    incident.event_count = 2;
    incident.evidence = evidence_;
    return incident;
  }

  std::string Write(const Incident& incident) { return Write(spec_, incident); }
  std::string Write(const OperatorSpec& spec, const Incident& incident) {
    std::string out;
    MakeAlertWriter(config_, partitions_, clock_)->Write(spec, incident, &out);
    return out;
  }

  Json WriteOcsf(const Incident& incident) { return WriteOcsf(spec_, incident); }
  Json WriteOcsf(const OperatorSpec& spec, const Incident& incident) {
    config_.alerts.format = AlertFormat::kOcsf;
    const std::string text = Write(spec, incident);
    if (const std::string path = testing::SharedOcsfSchemaPath(); !path.empty()) {
      static const auto* schema =
          new absl::StatusOr<testing::OcsfSchema>(testing::OcsfSchema::Load(path));
      EXPECT_TRUE(schema->ok());
      EXPECT_THAT((*schema)->Validate(text), IsEmpty()) << text;
    }
    EXPECT_EQ(text.find('\n'), std::string::npos);
    return Json::parse(text);
  }

  // Of a correlation by user and address.
  Incident MakeCorrelated(Activity activity) {
    const Value parts[] = {Value::String("joe"), Value::String("203.0.113.9")};
    Event event{.fields = parts};
    KeyBuilder builder({.slots = {0, 1}, .tenant = "acme"});
    key_ = std::string(builder.Build(event)[0]);
    Incident incident = MakeIncident(activity);
    incident.event_count = 12;
    incident.evidence_dropped = 10;
    incident.value = "12";
    incident.threshold = "gte 10";
    return incident;
  }

  Config config_;
  PartitionTable partitions_;
  FakeClock clock_;
  TestSpec spec_;
  SeenSpec seen_spec_;
  PartitionId firewall_ = 0;
  PartitionId endpoint_ = 0;
  std::string key_;
  std::string left_;
  std::string right_;
  std::vector<Evidence> evidence_;
};

TEST_F(AlertWriterTest, NativeIsAsDocumented) {
  config_.alerts.format = AlertFormat::kNative;
  config_.alerts.fields = {"src_ip", "src_port", "Image"};
  EXPECT_EQ(
      Write(MakeIncident()),
      R"({"id":"00112233445566778899aabbccddeeff","activity":"create","rule":"inbound-then-shell",)"
      R"("level":"high","key":"10.0.0.5","time":"2026-01-01T00:00:00.123456789Z",)"
      R"("first_time":"2026-01-01T00:00:00.123456789Z",)"
      R"("last_time":"2026-01-01T00:00:01.123456789Z",)"
      R"("count":2,"evidence":[{"input":"left","source":"firewall","topic":"logs.fw",)"
      R"("partition":3,)"
      R"("offset":17,"time":"2026-01-01T00:00:00.123456789Z",)"
      R"("fields":{"src_ip":"203.0.113.9","src_port":55123}},{"input":"right","source":"endpoint",)"
      R"("file":"host/a.jsonl","offset":4096,"time":"2026-01-01T00:00:01.123456789Z",)"
      R"("fields":{"Image":"C:\\Windows\\System32\\cmd.exe"}}]})");
}

TEST_F(AlertWriterTest, NativeCarriesAllFieldsWhereNoneAreChosen) {
  config_.alerts.format = AlertFormat::kNative;
  Incident incident = MakeIncident(Activity::kUpdate);
  incident.evidence_dropped = 5;
  const Json alert = Json::parse(Write(incident));
  EXPECT_EQ(alert["activity"], "update");
  EXPECT_EQ(alert["evidence_dropped"], 5);
  EXPECT_EQ(alert["evidence"][0]["fields"].size(), 4u);
  EXPECT_EQ(alert["evidence"][1]["fields"].size(), 6u);
}

TEST_F(AlertWriterTest, OcsfSaysWhatHappenedWhereAndWhy) {
  const Json alert = WriteOcsf(MakeIncident());
  EXPECT_EQ(alert["class_uid"], 2004);
  EXPECT_EQ(alert["type_uid"], 200401);
  EXPECT_EQ(alert["severity_id"], 4);
  EXPECT_EQ(alert["time"], 1767225600123);
  EXPECT_EQ(alert["end_time"], 1767225601123);
  EXPECT_EQ(alert["message"],
            "Exploit, then \"shell\" (10.0.0.5): right within 60s of left, 2 events");
  EXPECT_EQ(alert["metadata"]["tenant_uid"], "acme");
  EXPECT_EQ(alert["metadata"]["uid"], "00112233445566778899aabbccddeeff:1:2");
  EXPECT_EQ(alert["metadata"]["labels"], Json({"cve.2099.0001"}));
  EXPECT_EQ(alert["metadata"]["logged_time"], 1767225660123);
  const Json& finding = alert["finding_info"];
  EXPECT_EQ(finding["uid"], "00112233445566778899aabbccddeeff");
  EXPECT_EQ(finding["title"], "Exploit, then \"shell\"");
  EXPECT_EQ(finding["desc"], "right within 60s of left, 2 events");
  EXPECT_EQ(finding["related_events_count"], 2);
  EXPECT_EQ(finding["data_sources"], Json({"firewall", "endpoint"}));
  EXPECT_EQ(finding["analytic"]["name"], "inbound-then-shell");
  ASSERT_EQ(finding["attacks"].size(), 4u);
  EXPECT_EQ(finding["attacks"][1]["sub_technique"]["uid"], "T1059.001");
  EXPECT_EQ(finding["attacks"][2]["tactic"]["uid"], "TA0001");
}

TEST_F(AlertWriterTest, OcsfEvidenceHasTypedObjectsAndCoordinates) {
  const Json alert = WriteOcsf(MakeIncident());
  const Json& left = alert["evidences"][0];
  EXPECT_EQ(left["uid"], "logs.fw/3:17");
  EXPECT_EQ(left["src_endpoint"], (Json{{"ip", "203.0.113.9"}, {"port", 55123}}));
  EXPECT_EQ(left["dst_endpoint"], (Json{{"ip", "10.0.0.5"}}));
  EXPECT_EQ(left["data"]["topic"], "logs.fw");
  EXPECT_EQ(left["data"]["partition"], 3);
  EXPECT_EQ(left["data"]["offset"], 17);
  EXPECT_EQ(left["data"]["time_ns"], "1767225600123456789");
  EXPECT_EQ(left["data"]["fields"]["alert.signature"], "EXPLOIT attempt");
  const Json& right = alert["evidences"][1];
  EXPECT_EQ(right["data"]["file"], "host/a.jsonl");
  EXPECT_EQ(right["device"],
            (Json{{"type_id", 0}, {"hostname", "ws-1.corp.example"}, {"ip", "10.0.0.5"}}));
  EXPECT_EQ(right["process"]["pid"], 4242);
  EXPECT_EQ(right["process"]["name"], "cmd.exe");
  EXPECT_EQ(right["process"]["cmd_line"], "cmd /c \"whoami\"");
  EXPECT_EQ(right["user"], (Json{{"name", "jdoe"}, {"domain", "CORP"}}));
  EXPECT_EQ(alert["resources"][0]["name"], "ws-1.corp.example");
  ASSERT_EQ(alert["observables"].size(),
            5u);  // two addresses, one of them seen twice; host, process, user
  EXPECT_EQ(alert["observables"][0], (Json{{"type_id", 2},
                                           {"type", "IP Address"},
                                           {"name", "evidences[0].src_endpoint.ip"},
                                           {"value", "203.0.113.9"}}));
}

TEST_F(AlertWriterTest, OcsfShowsWhatTheCapLeftOut) {
  Incident incident = MakeIncident(Activity::kUpdate);
  incident.event_count = 40;
  incident.evidence_dropped = 38;
  const Json alert = WriteOcsf(incident);
  EXPECT_EQ(alert["activity_name"], "Update");
  EXPECT_EQ(alert["count"], 40);
  EXPECT_EQ(alert["metadata"]["is_truncated"], true);
  EXPECT_EQ(alert["unmapped"]["evidence_listed"], 2);
  EXPECT_EQ(alert["unmapped"]["evidence_dropped"], 38);
}

TEST_F(AlertWriterTest, AnAlertTooLargeLosesEvidenceAndSaysSo) {
  Incident incident = MakeIncident();
  incident.evidence_dropped = 1;
  const std::vector<Evidence> many(40, evidence_[1]);
  incident.evidence = many;
  const auto writer = MakeAlertWriter(config_, partitions_, clock_);
  std::string whole;
  EXPECT_FALSE(WriteAlert(*writer, spec_, incident, std::numeric_limits<size_t>::max(), &whole));
  std::string cut = "before";
  EXPECT_TRUE(WriteAlert(*writer, spec_, incident, whole.size() / 3, &cut));
  EXPECT_LE(cut.size(), whole.size() / 3 + 6);
  const Json alert = Json::parse(cut.substr(6));
  EXPECT_EQ(alert["unmapped"]["evidence_listed"], 10);
  EXPECT_EQ(alert["unmapped"]["evidence_dropped"], 31);
  EXPECT_EQ(alert["metadata"]["is_truncated"], true);
  EXPECT_EQ(alert["finding_info"]["uid"], Json::parse(whole)["finding_info"]["uid"]);
  // The first piece stays, whatever the bound.
  std::string one;
  EXPECT_TRUE(WriteAlert(*writer, spec_, incident, 10, &one));
  EXPECT_EQ(Json::parse(one)["evidences"].size(), 1u);
  EXPECT_EQ(Json::parse(one)["evidences"][0]["data"]["fields"], Json::object());
}

// What it says of the incident is true of all its events, and an event of each input is there.
TEST_F(AlertWriterTest, AnAlertThatIsCutSaysNothingElseThanTheWhole) {
  Incident incident = MakeIncident();
  std::vector<Evidence> many(40, evidence_[0]);
  many[33] = evidence_[1];
  incident.evidence = many;
  incident.event_count = 40;
  for (const AlertFormat format : {AlertFormat::kOcsf, AlertFormat::kNative}) {
    config_.alerts.format = format;
    const bool ocsf = format == AlertFormat::kOcsf;
    const auto writer = MakeAlertWriter(config_, partitions_, clock_);
    std::string whole;
    writer->Write(seen_spec_, incident, &whole);
    for (const size_t parts : {2, 4}) {
      std::string cut;
      EXPECT_TRUE(WriteAlert(*writer, seen_spec_, incident, whole.size() / parts, &cut));
      EXPECT_LE(cut.size(), whole.size() / parts);
      Json alert = Json::parse(cut);
      Json uncut = Json::parse(whole);
      const Json& evidence = alert[ocsf ? "evidences" : "evidence"];
      std::vector<std::string> inputs;
      for (const Json& one : evidence)
        inputs.push_back((ocsf ? one["data"] : one)["input"].get<std::string>());
      EXPECT_THAT(inputs, ::testing::Contains("left"));
      EXPECT_EQ(inputs.back(), "right") << parts;
      const Json& dropped = (ocsf ? alert["unmapped"] : alert)["evidence_dropped"];
      EXPECT_EQ(dropped, 40 - evidence.size());
      EXPECT_EQ(alert["message"], uncut["message"]);
      EXPECT_EQ(alert["finding_info"], uncut["finding_info"]);
    }
  }
}

// One event may be too large: then its values give way, the long ones first, and that is said.
TEST_F(AlertWriterTest, AnEventTooLargeLosesItsLongValuesAndSaysSo) {
  const std::vector<std::string> texts(64, std::string(kPayloadFieldBytesMax, '\x7f'));
  std::vector<Value> items;
  for (const std::string& text : texts) items.push_back(Value::String(text));
  const std::string digits(kPayloadFieldBytesMax, '7');
  SetRight({Value::String("ws-1"), Value::String("joe"), Value::String(texts[0]),
            Value::Number(digits), Value::Array(items), Value(), Value::Null()});
  const Incident incident = MakeIncident();
  for (const AlertFormat format : {AlertFormat::kOcsf, AlertFormat::kNative}) {
    config_.alerts.format = format;
    const auto writer = MakeAlertWriter(config_, partitions_, clock_);
    const auto right = [&](size_t bytes_max) {
      std::string text;
      EXPECT_TRUE(WriteAlert(*writer, spec_, incident, bytes_max, &text));
      EXPECT_LE(text.size(), bytes_max);
      const Json alert = Json::parse(text);
      if (format == AlertFormat::kNative) return alert["evidence"][1];
      EXPECT_EQ(alert["evidences"].size(), 2u);
      return alert["evidences"][1]["data"];
    };
    const Json large = right(1'000'000);
    EXPECT_EQ(large["cut_fields"], Json({"CommandLine"}));
    EXPECT_EQ(large["fields"]["Image"], texts[0]);
    EXPECT_EQ(large["fields"]["ProcessId"].is_null(), false);
    EXPECT_GT(large["fields"]["CommandLine"].size(), 4u);
    EXPECT_EQ(large["fields"]["CommandLine"][0], texts[0]);
    const Json small = right(12'000);
    EXPECT_EQ(small["cut_fields"], Json({"Image", "ProcessId", "CommandLine"}));
    EXPECT_EQ(small["fields"]["Hostname"], "ws-1");
    EXPECT_EQ(small["fields"]["User"], "joe");
    EXPECT_TRUE(texts[0].starts_with(small["fields"]["Image"].get<std::string>()));
    // The beginning of a number is another number.
    EXPECT_FALSE(small["fields"].contains("ProcessId"));
  }
}

TEST_F(AlertWriterTest, OnlyATopicBoundsAnAlert) {
  config_.alerts.file = "alerts.jsonl";
  const auto bytes_max = [&] { return OutputBytesMax(config_, config_.alerts); };
  EXPECT_EQ(bytes_max(), std::numeric_limits<size_t>::max());
  config_.alerts.topic = "alerts";
  EXPECT_EQ(bytes_max(), 1'000'000u - 2048);
  config_.kafka["message.max.bytes"] = "50000";
  EXPECT_EQ(bytes_max(), 50'000u - 2048);
}

TEST_F(AlertWriterTest, OcsfHoldsForEveryActivityAndForMissingEntities) {
  for (const Activity activity : {Activity::kCreate, Activity::kUpdate, Activity::kClose}) {
    WriteOcsf(MakeIncident(activity));
  }
  SetRight({});
  EXPECT_FALSE(WriteOcsf(MakeIncident())["evidences"][1].contains("device"));
  SetRight(
      {Value::Null(), Value::String("-"), Value::String("C:\\a\\b.exe"), Value::String("none")});
  const Json no_pid = WriteOcsf(MakeIncident())["evidences"][1];
  EXPECT_EQ(no_pid["file"]["name"], "b.exe");
  EXPECT_FALSE(no_pid.contains("process"));
  EXPECT_FALSE(no_pid.contains("user"));
  SetRight({Value::String("h"), Value::String("\\"), Value(), Value::String("0x1a4"), Value(),
            Value::String("not an address")});
  const Json hex = WriteOcsf(MakeIncident())["evidences"][1];
  EXPECT_EQ(hex["process"]["pid"], 420);
  EXPECT_EQ(hex["user"]["name"], "\\");
  EXPECT_FALSE(hex["device"].contains("ip"));
}

TEST_F(AlertWriterTest, ASigmaRuleSaysWhoWroteItUnderWhichLicence) {
  for (const char* type : {"detection", "temporal_ordered"}) {
    const SigmaSpec spec(type);
    const Json alert = WriteOcsf(spec, MakeIncident());
    const Json& sigma = alert["unmapped"]["sigma"];
    EXPECT_EQ(sigma["id"], "11111111-2222-4333-8444-555555555501");
    EXPECT_EQ(sigma["title"], "Many failed logons, then one that succeeds");
    EXPECT_EQ(sigma["hash"], spec.semantic_hash());
    EXPECT_EQ(sigma["status"], "test");
    EXPECT_EQ(sigma["author"], "A. Author");
    EXPECT_EQ(sigma["license"], "DRL-1.1");
    EXPECT_EQ(sigma["modified"], "2026-02-01");
    EXPECT_EQ(sigma["references"], Json({"https://example.org/brute-force"}));
    EXPECT_EQ(sigma["falsepositives"], Json({"Forgotten passwords"}));
    EXPECT_EQ(sigma["custom"], (Json{{"team", "blue"}}));
    EXPECT_EQ(alert["severity_id"], 4);
    EXPECT_EQ(alert["metadata"]["labels"], Json({"car.2013-02-003"}));
    const Json& analytic = alert["finding_info"]["analytic"];
    EXPECT_EQ(analytic["uid"], "11111111-2222-4333-8444-555555555501");
    EXPECT_EQ(analytic["version"], spec.semantic_hash());
    EXPECT_EQ(analytic["desc"], "Somebody guessed a password.");
    const Json& attack = alert["finding_info"]["attacks"][0];
    EXPECT_EQ(attack["tactic"]["uid"], "TA0006");
    EXPECT_EQ(attack["sub_technique"]["uid"], "T1110.001");
    config_.alerts.format = AlertFormat::kNative;
    EXPECT_EQ(Json::parse(Write(spec, MakeIncident()))["sigma"], sigma);
  }
}

TEST_F(AlertWriterTest, ACorrelationSaysItsGroupAndWhatWasCounted) {
  const SigmaSpec spec("event_count");
  Incident incident = MakeCorrelated(Activity::kUpdate);
  incident.value_error = 0.0123;
  const Json alert = WriteOcsf(spec, incident);
  EXPECT_EQ(alert["message"],
            "Many failed logons, then one that succeeds (acme, joe, 203.0.113.9): 12 within 5m");
  const Json& unmapped = alert["unmapped"];
  EXPECT_EQ(unmapped["group"], (Json{{"User", "joe"}, {"src_ip", "203.0.113.9"}}));
  EXPECT_EQ(unmapped["value"], 12);
  EXPECT_EQ(unmapped["threshold"], "gte 10");
  EXPECT_DOUBLE_EQ(unmapped["value_error"], 0.0123);
  EXPECT_EQ(unmapped["evidence_listed"], 2);
  EXPECT_EQ(unmapped["evidence_dropped"], 10);
  EXPECT_EQ(alert["count"], 12);
  EXPECT_FALSE(unmapped.contains("merged_into"));
  // People read the rule's title; machines have what the correlation calls it.
  EXPECT_EQ(alert["evidences"][0]["name"], "Failed logon");
  EXPECT_EQ(alert["evidences"][0]["data"]["input"], "11111111-2222-4333-8444-555555555502");
  EXPECT_EQ(alert["evidences"][1]["name"], "success");
  config_.alerts.format = AlertFormat::kNative;
  const Json native = Json::parse(Write(spec, incident));
  EXPECT_EQ(native["group"], unmapped["group"]);
  EXPECT_EQ(native["value"], 12);
  EXPECT_EQ(native["threshold"], "gte 10");
}

TEST_F(AlertWriterTest, AClosedIncidentNamesTheOneThatGoesOn) {
  const SigmaSpec spec("temporal");
  Incident incident = MakeCorrelated(Activity::kClose);
  incident.merged = true;
  incident.merged_into.fill(0xab);
  const std::string other = "abababababababababababababababab";
  const Json alert = WriteOcsf(spec, incident);
  EXPECT_EQ(alert["activity_id"], 3);
  EXPECT_EQ(alert["status"], "Archived");
  EXPECT_EQ(alert["status_detail"], "merged into " + other);
  EXPECT_EQ(alert["is_alert"], false);
  EXPECT_EQ(alert["unmapped"]["merged_into"], other);
  config_.alerts.format = AlertFormat::kNative;
  const Json native = Json::parse(Write(spec, incident));
  EXPECT_EQ(native["activity"], "close");
  EXPECT_EQ(native["merged_into"], other);
}

TEST_F(AlertWriterTest, FilesOnlyMeansNoWallClockInAlerts) {
  config_.sources[0].topics.clear();
  config_.sources[0].files = {"fw.jsonl"};
  EXPECT_FALSE(WriteOcsf(MakeIncident())["metadata"].contains("logged_time"));
}

TEST_F(AlertWriterTest, HostileValuesDoNotBreakTheJson) {
  const std::string long_text(3 * kPayloadFieldBytesMax, 'x');
  const Value items[] = {Value::String("a\"\n"), Value::Number("7"), Value::Null()};
  SetRight({Value::String("h\u202e\"\\\x01"), Value::String("u\xff"), Value::Number("1.2.3"),
            Value::Bool(true), Value::String(long_text), Value::Object("{\"a\":\n\"b"),
            Value::Array(items)});
  const Json alert = WriteOcsf(MakeIncident());
  const Json& data = alert["evidences"][1]["data"];
  EXPECT_EQ(data["fields"]["Image"], "1.2.3");
  EXPECT_EQ(data["fields"]["host_ip"], "{\"a\":\n\"b");
  EXPECT_EQ(data["fields"]["Extra"], (Json{"a\"\n", 7, nullptr}));
  EXPECT_EQ(data["fields"]["Hostname"], "h\u202e\"\\\x01");
  EXPECT_EQ(data["fields"]["CommandLine"].get<std::string>().size(), kPayloadFieldBytesMax);
  EXPECT_EQ(data["cut_fields"], Json({"CommandLine"}));
  config_.alerts.format = AlertFormat::kNative;
  const Json native = Json::parse(Write(MakeIncident()));
  EXPECT_EQ(native["evidence"][1]["cut_fields"], Json({"CommandLine"}));
  EXPECT_FALSE(native["evidence"][0].contains("cut_fields"));
  config_.alerts.fields = {"Image"};
  EXPECT_FALSE(Json::parse(Write(MakeIncident()))["evidence"][1].contains("cut_fields"));
}

// Readers of JSON refuse the whole alert for one number that no double holds.
TEST_F(AlertWriterTest, ANumberThatNoDoubleHoldsIsAText) {
  const std::string digits(400, '9');
  const Value items[] = {Value::Number("-1e400"), Value::Number("1e300")};
  SetRight({Value::Number("1e400"), Value::Number(digits), Value::Number("1e99999999999"),
            Value::Number("18446744073709551616"), Value::Array(items)});
  const Json fields = WriteOcsf(MakeIncident())["evidences"][1]["data"]["fields"];
  EXPECT_EQ(fields["Hostname"], "1e400");
  EXPECT_EQ(fields["User"], digits);
  EXPECT_EQ(fields["Image"], "1e99999999999");
  EXPECT_EQ(fields["ProcessId"], 18446744073709551616.0);
  EXPECT_EQ(fields["CommandLine"], (Json{"-1e400", 1e300}));
}

// The schema's ip_t has 40 characters at most, and none of them is invisible.
TEST_F(AlertWriterTest, OnlyAnAddressIsAnAddress) {
  using std::string_literals::operator""s;
  for (const std::string& text :
       {"10.0.0.1\0junk"s, "::1\0"s, "0000:0000:0000:0000:0000:ffff:255.255.255.255"s}) {
    SetRight({Value::String("h"), Value(), Value(), Value(), Value(), Value::String(text)});
    EXPECT_FALSE(WriteOcsf(MakeIncident())["evidences"][1]["device"].contains("ip")) << text;
  }
  SetRight({Value::String("h"), Value(), Value(), Value(), Value(), Value::String("fe80::1")});
  EXPECT_EQ(WriteOcsf(MakeIncident())["evidences"][1]["device"]["ip"], "fe80::1");
}

TEST_F(AlertWriterTest, DeadLettersCarryTheRecordLosslessly) {
  const PartitionInfo& kafka = partitions_.Get(firewall_);
  std::string out;
  WriteDeadLetter(kafka, 17, "invalid_json", "{\"a\": \"b\\u202e", kAlertTime, &out);
  Json letter = Json::parse(out);
  EXPECT_EQ(letter["reason"], "invalid_json");
  EXPECT_EQ(letter["source"], "firewall");
  EXPECT_EQ(letter["topic"], "logs.fw");
  EXPECT_EQ(letter["partition"], 3);
  EXPECT_EQ(letter["offset"], 17);
  EXPECT_EQ(letter["logged_time"], "2026-01-01T00:00:00.123456789Z");
  EXPECT_EQ(letter["record"], "{\"a\": \"b\\u202e");
  EXPECT_FALSE(letter.contains("cut"));

  out.clear();
  WriteDeadLetter(partitions_.Get(endpoint_), 0, "invalid_json", "\xff\xfe", kAlertTime, &out);
  letter = Json::parse(out);
  EXPECT_EQ(letter["file"], "host/a.jsonl");
  EXPECT_EQ(letter["record_base64"], "//4=");

  out.clear();
  WriteDeadLetter(kafka, 0, "too_large", std::string(kDeadLetterRecordBytesMax - 1, 'a') + "한",
                  kAlertTime, &out);
  letter = Json::parse(out);
  EXPECT_EQ(letter["cut"], true);
  EXPECT_EQ(letter["size"], kDeadLetterRecordBytesMax + 2);
  EXPECT_EQ(letter["record"].get<std::string>().size(), kDeadLetterRecordBytesMax - 1);
}

// A letter that its own topic cannot take would end the run, and the next one: escaped, a record
// may be six times as long.
TEST_F(AlertWriterTest, DeadLettersFitWhateverIsInThem) {
  for (const std::string piece : {"\x01", "\"", "\\", "\xc2\x80", "\xff", "한"}) {
    std::string record;
    while (record.size() < 2 * kDeadLetterRecordBytesMax) record += piece;
    const std::string_view kept = Utf8Prefix(record, kDeadLetterRecordBytesMax);
    std::string base64;
    AppendBase64(std::string_view(record).substr(0, kDeadLetterRecordBytesMax), &base64);
    std::string letter;
    WriteDeadLetter(partitions_.Get(firewall_), kOffsetMax, "too_large", record, kAlertTime,
                    &letter);
    std::string late;
    WriteLate(partitions_.Get(firewall_), kOffsetMax,
              {.reason = "future", .time = kAlertTime, .behind = kHourNs}, record, "", &late);
    for (const std::string& text : {letter, late}) {
      EXPECT_LT(text.size(), static_cast<size_t>(kLettersBytes) - 2048) << piece;
      const Json json = Json::parse(text);
      EXPECT_EQ(json["cut"], true);
      if (json.contains("record")) {
        EXPECT_EQ(json["record"], kept);
      } else {
        EXPECT_EQ(json["record_base64"], base64);
      }
    }
  }
  // Most records are JSON: for people a text is worth its escapes.
  std::string out;
  WriteDeadLetter(partitions_.Get(firewall_), 17, "no_time", R"({"a":"\"\"\"\""})", 0, &out);
  EXPECT_EQ(Json::parse(out)["record"], R"({"a":"\"\"\"\""})");
}

TEST_F(AlertWriterTest, LateEventsSayHowLate) {
  std::string out;
  WriteLate(partitions_.Get(firewall_), 5,
            {.reason = "late",
             .op = "inbound-then-shell",
             .key = key_,
             .time = kAlertTime,
             .behind = 90 * kSecondNs,
             .watermark = kAlertTime + 90 * kSecondNs},
            "", R"("fields":{"src_ip":"203.0.113.9"})", &out);
  EXPECT_EQ(
      out,
      R"({"reason":"late","operator":"inbound-then-shell","key":"10.0.0.5","source":"firewall",)"
      R"("topic":"logs.fw","partition":3,"offset":5,"time":"2026-01-01T00:00:00.123456789Z",)"
      R"("behind_ms":90000,"watermark":"2026-01-01T00:01:30.123456789Z",)"
      R"("fields":{"src_ip":"203.0.113.9"}})");
  out.clear();
  WriteLate(partitions_.Get(endpoint_), 6,
            {.reason = "future", .time = kAlertTime, .behind = kHourNs}, "{\"x\":1}", "", &out);
  const Json late = Json::parse(out);
  EXPECT_EQ(late["ahead_ms"], 3600000);
  EXPECT_EQ(late["record"], "{\"x\":1}");
  EXPECT_EQ(late["file"], "host/a.jsonl");
}

// What a late event has left is JSON of one line, whatever its values hold: objects are texts.
TEST_F(AlertWriterTest, LateFieldsAreAlwaysJson) {
  const std::string long_text(9000, 'y');
  const std::string objects[] = {
      R"({"x":nonsense "y"})",  // `validate: read` looks at its brackets only
      R"({"x":")" + long_text + "\"}", "{\"x\":\n1}",
      "{\"x\":\"\xE2\x80\xAE\"}",  // turns the direction of text
  };
  for (const std::string& object : objects) {
    const Value item = Value::Object(object);
    const Value values[] = {Value::Object(object), Value::Array({&item, 1})};
    std::string payload;
    EncodeValues(values, &payload);
    Input input;
    input.port = 0;
    input.payload = payload;
    const std::string text = "{" + LateFields(spec_, input, 1'000'000) + "}";
    const Json late = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    ASSERT_FALSE(late.is_discarded()) << text;
    const Json& fields = late["fields"];
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    EXPECT_EQ(text.find("\xE2\x80\xAE"), std::string::npos) << text;
    const std::string kept = object.substr(0, kPayloadFieldBytesMax);
    EXPECT_EQ(fields["src_ip"], kept);
    EXPECT_EQ(fields["src_port"], Json::array({kept}));
    if (kept == object) {
      EXPECT_FALSE(late.contains("cut_fields"));
    } else {
      EXPECT_EQ(late["cut_fields"], Json({"src_ip", "src_port"}));
    }
    const std::string small = "{" + LateFields(spec_, input, 200) + "}";
    EXPECT_LE(small.size(), 202u);
    EXPECT_EQ(Json::parse(small).contains("cut_fields"), kept.size() > 200) << small;
  }
}

}  // namespace
}  // namespace bongsu
