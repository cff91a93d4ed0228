#include "pipeline/format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "operators/config/node.h"
#include "pipeline/builtin_formats.h"
#include "pipeline/decoder_plan.h"

namespace bongsu {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Parsed {
  std::optional<Format> format;
  std::string errors;
};

Parsed Parse(std::string_view yaml) {
  Diagnostics diagnostics;
  const std::vector<Node> documents = ParseYaml(yaml, "test.yaml", YamlLimits{}, diagnostics);
  Parsed parsed;
  if (documents.size() == 1) parsed.format = ParseFormat(documents[0], diagnostics);
  parsed.errors = diagnostics.Text();
  return parsed;
}

TEST(BuiltinFormats, AreAllReadable) {
  EXPECT_EQ(BuiltinFormatNames().size() + BuiltinLogSourceNames().size(),
            BuiltinFormatTexts().size());
  for (const std::string_view name : BuiltinLogSourceNames())
    EXPECT_NE(FindBuiltinLogSource(name), nullptr) << name;
  for (const std::string_view name : BuiltinFormatNames())
    ASSERT_NE(FindBuiltinFormat(name), nullptr) << name;
  for (const char* name : {"suricata-eve", "sysmon-nxlog", "ecs"}) {
    ASSERT_NE(FindBuiltinFormat(name), nullptr) << name;
    const Format& format = *FindBuiltinFormat(name);
    EXPECT_EQ(format.name, name);
    EXPECT_FALSE(format.time.empty());
    EXPECT_TRUE(format.entities.contains("src_ip"));
    EXPECT_TRUE(format.entities.contains("event_id"));
  }
  EXPECT_EQ(FindBuiltinFormat("windows"), nullptr);
  EXPECT_EQ(FindBuiltinLogSource("ecs"), nullptr);
}

TEST(BuiltinFormats, SayWhereEventTimeIs) {
  const Format& suricata = *FindBuiltinFormat("suricata-eve");
  EXPECT_EQ(suricata.time[0].path, "flow.start");
  EXPECT_EQ(suricata.time[0].when.path, "event_type");
  EXPECT_THAT(suricata.time[0].when.texts, ElementsAre("flow"));
  EXPECT_EQ(suricata.time.back().path, "timestamp");
  EXPECT_EQ(suricata.time.back().when.path, "");
  EXPECT_THAT(suricata.fields.at("dst_ip"), ElementsAre("dest_ip"));
  const Format& sysmon = *FindBuiltinFormat("sysmon-nxlog");
  EXPECT_EQ(sysmon.time[0].path, "UtcTime");
  EXPECT_EQ(sysmon.time[0].encoding, TimeEncoding::kPattern);
  EXPECT_THAT(sysmon.time[0].when.texts, ElementsAre("Microsoft-Windows-Sysmon/Operational"));
  EXPECT_EQ(sysmon.time[1].path, "@timestamp");
  ASSERT_EQ(sysmon.logsource.product.cases.size(), 1u);
  EXPECT_EQ(sysmon.logsource.product.cases[0].is, "windows");
  EXPECT_TRUE(sysmon.logsource.category.otherwise_none);
}

// A shipper may have left the outer "Event" out.
TEST(BuiltinFormats, WindowsEventsAreReadWithAndWithoutTheOuterEvent) {
  const Format& format = *FindBuiltinFormat("windows-event");
  static constexpr std::string_view kOuter = "Event.";
  const auto inner = [](const std::string& path) { return path.substr(kOuter.size()); };
  auto lists = format.fields;
  lists["other_fields"] = format.other_fields;
  for (const TimeSpec& spec : format.time) lists["time"].push_back(spec.path);
  int found = 0;
  for (const auto& [name, paths] : lists) {
    for (const std::string& path : paths) {
      if (!path.starts_with(kOuter)) continue;
      EXPECT_THAT(paths, testing::Contains(inner(path))) << name;
      ++found;
    }
  }
  EXPECT_GT(found, 30);
}

TEST(ParseFormat, TakesANameOrAMap) {
  EXPECT_EQ(Parse("ecs").format->name, "ecs");
  const Parsed parsed = Parse(R"(
name: ours
time:
  - {path: ts, as: epoch_ms}
  - {path: when, pattern: '%Y-%m-%d %H:%M:%S', zone: '-04:00', when: {kind: late}}
fields: {src_ip: [a.ip, b.ip], user: who}
entities: {host: h}
logsource: {category: firewall, service: x}
)");
  ASSERT_TRUE(parsed.format.has_value()) << parsed.errors;
  const Format& format = *parsed.format;
  EXPECT_EQ(format.name, "ours");
  ASSERT_EQ(format.time.size(), 2u);
  EXPECT_EQ(format.time[0].encoding, TimeEncoding::kEpochMs);
  EXPECT_EQ(format.time[1].encoding, TimeEncoding::kPattern);
  EXPECT_EQ(format.time[1].zone_offset, -4 * kHourNs);
  EXPECT_EQ(format.time[1].when.path, "kind");
  EXPECT_THAT(format.fields.at("src_ip"), ElementsAre("a.ip", "b.ip"));
  EXPECT_THAT(format.fields.at("user"), ElementsAre("who"));
  EXPECT_THAT(format.entities.at("host"), ElementsAre("h"));
  ASSERT_EQ(format.logsource.category.cases.size(), 1u);
  EXPECT_EQ(format.logsource.category.cases[0].is, "firewall");
  EXPECT_THAT(format.PathsOf("src_ip"), ElementsAre("a.ip", "b.ip"));
  EXPECT_THAT(format.PathsOf("other"), ElementsAre("other"));
}

TEST(ParseFormat, RawIsOnePathOrAFew) {
  const Parsed one = Parse("{time: {path: t}, raw: message}");
  ASSERT_TRUE(one.format.has_value()) << one.errors;
  EXPECT_THAT(one.format->fields.at(std::string(kRawField)), ElementsAre("message"));
  const Parsed many = Parse("{time: {path: t}, raw: [a, b, c, d, e, f, g, h, i]}");
  EXPECT_THAT(many.errors, HasSubstr("'raw' has 9 paths"));
  EXPECT_THAT(Parse("{time: {path: t}, raw: {a: b}}").errors, HasSubstr("'raw' must be"));
}

TEST(ParseFormat, APathMayCountInSomeRecordsOnly) {
  const Parsed parsed = Parse(R"(
time: {path: t, when: {kind: [a, b]}}
fields:
  Image: [exe, {path: file, when: {kind: process}}, {path: actor}]
  Target: {path: file, when: {kind: [write, move]}}
  Other: {path: x}
)");
  ASSERT_TRUE(parsed.format.has_value()) << parsed.errors;
  const Format& format = *parsed.format;
  EXPECT_THAT(format.time[0].when.texts, ElementsAre("a", "b"));
  EXPECT_THAT(format.PathsOf("Image"), ElementsAre("exe", "file", "actor"));
  const std::vector<RecordCondition>& image = format.field_conditions.at("Image");
  ASSERT_EQ(image.size(), 3u);
  EXPECT_EQ(image[0].path, "");
  EXPECT_EQ(image[1].path, "kind");
  EXPECT_THAT(image[1].texts, ElementsAre("process"));
  EXPECT_EQ(image[2].path, "");
  EXPECT_THAT(format.PathsOf("Target"), ElementsAre("file"));
  EXPECT_THAT(format.field_conditions.at("Target")[0].texts, ElementsAre("write", "move"));
  EXPECT_THAT(format.PathsOf("Other"), ElementsAre("x"));
  EXPECT_FALSE(format.field_conditions.contains("Other"));
  // A field that is named anew has the conditions that it is given, and no others.
  const Parsed changed = Parse("{base: sentinel, fields: {ImageLoaded: path, TargetFilename: f}}");
  ASSERT_TRUE(changed.format.has_value()) << changed.errors;
  EXPECT_TRUE(changed.format->field_conditions.contains("Image"));
  EXPECT_FALSE(changed.format->field_conditions.contains("ImageLoaded"));
}

TEST(ParseFormat, OtherFieldsAreLookedForWhereTheFormatSays) {
  const Parsed parsed = Parse("{time: {path: t}, other_fields: ['d.{}', 'd.{blanks}', 'u.*.{}']}");
  ASSERT_TRUE(parsed.format.has_value()) << parsed.errors;
  EXPECT_THAT(parsed.format->PathsOf("ThreatName"),
              ElementsAre("d.ThreatName", "d.Threat Name", "u.*.ThreatName"));
  EXPECT_THAT(parsed.format->PathsOf("SAMUserAccount"),
              ElementsAre("d.SAMUserAccount", "d.SAM User Account", "u.*.SAMUserAccount"));
  EXPECT_THAT(parsed.format->PathsOf("user"), ElementsAre("d.user", "u.*.user"));
}

TEST(ParseFormat, ChangesPartsOfABase) {
  const Parsed parsed = Parse("{fields: {Image: exe, mine: x}, time: {path: t}, base: ecs}");
  ASSERT_TRUE(parsed.format.has_value()) << parsed.errors;
  EXPECT_EQ(parsed.format->name, "ecs");
  EXPECT_THAT(parsed.format->fields.at("Image"), ElementsAre("exe"));
  EXPECT_THAT(parsed.format->fields.at("mine"), ElementsAre("x"));
  EXPECT_THAT(parsed.format->fields.at("src_ip"), ElementsAre("source.ip"));
  ASSERT_EQ(parsed.format->time.size(), 1u);
  EXPECT_EQ(parsed.format->time[0].path, "t");
  EXPECT_EQ(parsed.format->time[0].encoding, TimeEncoding::kRfc3339);
}

TEST(ParseFormat, ReportsEveryMistakeWithItsPlace) {
  struct WrongCase {
    const char* yaml;
    const char* error;
  };
  const WrongCase cases[] = {
      {"suricata-evee", "did you mean 'suricata-eve'?"},
      {"[ecs]", "'format' must be a map"},
      {"{}", "does not say where event time is"},
      {"{base: exs}", "unknown format 'exs'"},
      {"{base: ecs, tme: []}", "unknown key 'tme'"},
      {"{time: []}", "'time' must be a list"},
      {"{time: [{as: rfc3339}]}", "needs 'path'"},
      {"{time: [{path: t, as: rfc3340}]}", "did you mean 'rfc3339'?"},
      {"{time: [{path: t, as: pattern}]}", "needs 'pattern'"},
      {"{time: [{path: t, pattern: '%Y-%m', zone: UTC}]}", "must fix a date"},
      {"{time: [{path: t, pattern: '%F %T'}]}", "'zone' must say"},
      {"{time: [{path: t, pattern: '%F %T', zone: CEST}]}", "'CEST' is not a zone"},
      {"{time: [{path: t, pattern: '%F %T %z', as: epoch_s}]}", "contradict"},
      {"{time: [{path: t, zone: UTC}]}", "'zone' belongs to 'pattern'"},
      {"{time: [{path: t, when: x}]}", "'when' must be one field"},
      {"{base: ecs, fields: {a: {b: c}}}", "unknown key 'b' in 'a'"},
      {"{base: ecs, fields: {a: {when: {b: c}}}}", "a path of 'a' needs 'path'"},
      {"{base: ecs, fields: {a: [{path: d, when: {b: {}}}]}}", "'when' must be one field"},
      {"{base: ecs, fields: {a: [{path: d, when: {b: []}}]}}", "'b' must be"},
      {"{base: ecs, fields: {a: [[b]]}}", "'a' must be a text"},
      {"{base: ecs, fields: [a]}", "'fields' must be a map"},
      {"{base: ecs, entities: {hots: a}}", "did you mean 'host'?"},
      {"{base: ecs, logsource: {produkt: a}}", "did you mean 'product'?"},
      {"{base: ecs, name: [a]}", "'name' must be a text"},
      {"{base: ecs, logsource: {base: windoes}}", "did you mean 'windows'?"},
      {"{base: ecs, logsource: {service: [{is: a}]}}", "must name a value and a search"},
      {"{base: ecs, logsource: {service: [{is: a, when: {b|c: d}}]}}", "'c'"},
      {"{base: ecs, other_fields: [a]}", "does not say where the name stands"},
  };
  for (const WrongCase& c : cases) {
    const Parsed parsed = Parse(c.yaml);
    EXPECT_FALSE(parsed.format.has_value()) << c.yaml;
    EXPECT_THAT(parsed.errors, HasSubstr(c.error)) << c.yaml;
    EXPECT_THAT(parsed.errors, HasSubstr("test.yaml:1:")) << c.yaml;
  }
  const Parsed many = Parse("{time: [{path: t, as: x}], fields: {a: []}, entities: {b: c}}");
  EXPECT_THAT(many.errors, HasSubstr("unknown time encoding 'x'"));
  EXPECT_THAT(many.errors, HasSubstr("'a' must be"));
  EXPECT_THAT(many.errors, HasSubstr("unknown key 'b' in 'entities'"));
}

}  // namespace
}  // namespace bongsu
