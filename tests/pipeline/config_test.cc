#include "pipeline/config.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "operators/registry.h"

namespace bongsu {
namespace {

// What the loader says of `text`.
std::string Problems(const std::string& text) {
  OperatorRegistry registry;
  RegisterAllOperators(registry);
  Diagnostics diagnostics;
  const auto config = ParseConfig(text, "c.yaml", registry, diagnostics);
  EXPECT_EQ(config.has_value(), !diagnostics.has_errors());
  return diagnostics.Text();
}

constexpr char kSources[] = R"(application: soc
sources:
  - {name: fw, files: [fw.jsonl], format: suricata-eve}
  - {name: ep, files: [ep.jsonl], format: sysmon-nxlog}
)";
constexpr char kOperators[] = R"(operators:
  - name: j
    type: interval_join
    left: {source: fw, key: dest_ip}
    right: {source: ep, key: dest_ip}
    within: {before: 5s, after: 60s}
)";
constexpr char kSinks[] = "sinks: {alerts: {file: a.jsonl}}\n";

std::string Good() { return std::string(kSources) + kOperators + kSinks; }

TEST(Config, AGoodOneHasNoProblems) { EXPECT_EQ(Problems(Good()), ""); }

TEST(Config, QuietAndFarBehindSources) {
  const auto of = [](const std::string& source) {
    return Problems("application: soc\nsources:\n  - {name: fw, format: suricata-eve, " + source +
                    "}\n  - {name: ep, topics: [u], format: sysmon-nxlog}\n" +
                    std::string(kOperators) + kSinks +
                    "kafka: {bootstrap.servers: \"b:1\"}\ndelivery: at_least_once\n"
                    "state: {path: /tmp/s}\n");
  };
  EXPECT_EQ(of("topics: [t], on_idle: wall_clock, time: {quiet_bound: 8h, source_silent: 1h, "
               "max_lag: 6h, backfill_ahead: 1h}"),
            "");
  EXPECT_EQ(of("topics: [t], until: end, time: {backfill_ahead: 0s}"), "");
  EXPECT_EQ(of("topics: [t], time: {idle_timeout: 1h}"), "");  // the default gives way
  const auto says = [&](const std::string& source, const std::string& what) {
    EXPECT_NE(of(source).find(what), std::string::npos) << of(source);
  };
  says("topics: [t], time: {source_silent: 5s}", "'source_silent' is shorter than idle_timeout");
  says("topics: [t], time: {quiet_bound: 5s}", "'quiet_bound' goes with on_idle: wall_clock");
  says("topics: [t], until: end, time: {max_lag: 5s}",
       "'max_lag' is for topics that are read for ever");
  says("files: [f], time: {source_silent: 1h}", "'source_silent' is for topics");
  says("files: [f], time: {backfill_ahead: 1h}", "'backfill_ahead' is for topics");
  says("topics: [t], time: {max_lag: 5}", "'max_lag' must be a duration");
}

TEST(Config, AllMistakesAreReportedAtOnceWithPlaceAndHint) {
  const std::string problems = Problems(R"(aplication: soc
sources:
  - {name: fw, files: [fw.jsonl], format: suricata-evee, time: {out_of_orderness: 5}}
operators:
  - {name: j, type: interval_join, left: {source: fv, key: a},
     right: {source: fw, key: [a, b]}, within: {befor: 5s}}
sinks: {alerts: {file: a.jsonl, topic: t}}
)");
  for (const char* part :
       {"c.yaml:1:1: error: unknown key 'aplication' (did you mean 'application'?)",
        "'application' is missing", "did you mean 'suricata-eve'?",
        "'out_of_orderness' must be a duration", "there is no source 'fv' (did you mean 'fw'?)",
        "unknown key 'befor' (did you mean 'before'?)", "the keys have 1 and 2 parts",
        "either to a topic or to a file"}) {
    EXPECT_NE(problems.find(part), std::string::npos) << part << "\nis not in\n" << problems;
  }
}

TEST(Config, ExactlyOnceNeedsOneKindOfInputAndOutput) {
  const std::string kafka = R"(application: soc
kafka: {bootstrap.servers: b}
state: {path: /s}
sources:
  - {name: fw, topics: [t], format: ecs}
  - {name: ep, topics: [u], format: ecs}
)" + std::string(kOperators);
  EXPECT_EQ(Problems(kafka + "sinks: {alerts: {topic: a}}\n"), "");
  EXPECT_EQ(Problems(kafka + "sinks: {alerts: {topic: a}}\ndelivery: exactly_once\n"), "");
  EXPECT_NE(Problems(kafka + kSinks).find("files and Kafka together cannot be exactly_once"),
            std::string::npos);
  EXPECT_EQ(Problems(kafka + kSinks + "delivery: at_least_once\n"), "");
  EXPECT_EQ(Problems(kafka + "sinks: {alerts: {topic: a}}\nexchange: kafka\n"), "");
  for (const std::string& wrong :
       {kafka + kSinks + "delivery: at_least_once\nexchange: kafka\n",
        kafka + "sinks: {alerts: {topic: a}}\ndelivery: at_least_once\nexchange: kafka\n"})
    EXPECT_NE(Problems(wrong).find("'exchange: kafka' needs Kafka on all sides"),
              std::string::npos);
}

TEST(Config, ATopicIsReadByOneSourceAndNeverWrittenToAsWell) {
  const std::string problems = Problems(std::string(R"(application: soc
kafka: {bootstrap.servers: "127.0.0.1:9092"}
state: {path: state}
sources:
  - {name: fw, topics: [logs, other], format: suricata-eve}
  - {name: ep, topics: [logs], format: sysmon-nxlog}
)") + kOperators + "sinks: {alerts: {topic: other}}\n");
  EXPECT_NE(problems.find("source 'ep' reads topic 'logs', and source 'fw' does, too"),
            std::string::npos)
      << problems;
  EXPECT_NE(problems.find("topic 'other' is written to, and source 'fw' reads it"),
            std::string::npos)
      << problems;
}

TEST(Config, RulesAreLoadedRelativeToTheConfiguration) {
  const std::string without = std::string(kSources) + kSinks;
  EXPECT_NE(Problems(without).find("neither 'rules' nor 'operators'"), std::string::npos);
  EXPECT_NE(
      Problems(without + "rules: [nowhere/]\n").find("nowhere/: error: there is no such rule"),
      std::string::npos);
  EXPECT_NE(Problems(Good() + "rules_strict: true\n").find("'rules_strict' is for rules"),
            std::string::npos);
  EXPECT_NE(
      Problems(Good() + "rules: [r]\nplaceholders: {a: [x, '']}\n").find("'a' has an empty value"),
      std::string::npos);
  EXPECT_NE(Problems(Good() + "rules: [r]\nplaceholders: {a: {b: c}}\n")
                .find("'a' must be a text or a list of texts"),
            std::string::npos);
}

TEST(Config, EnvironmentIsPutInAndMissingNamesAreErrors) {
  setenv("BONGSU_TEST_APPLICATION", "from-env", 1);
  std::string text = Good();
  text.replace(text.find("soc"), 3, "${BONGSU_TEST_APPLICATION}");
  EXPECT_EQ(Problems(text), "");
  unsetenv("BONGSU_TEST_APPLICATION");
  EXPECT_NE(Problems(text).find("no variable 'BONGSU_TEST_APPLICATION'"), std::string::npos);
}

TEST(Config, SecretsStayOutOfMessages) {
  const std::string problems =
      Problems("application: soc\nkafka: {sasl.password: hunter2, group.id: x}\n");
  EXPECT_EQ(problems.find("hunter2"), std::string::npos);
  EXPECT_NE(problems.find("bongsu sets 'group.id' itself"), std::string::npos);
}

// Good(), with the first `what` replaced.
std::string Changed(const std::string& what, const std::string& with) {
  std::string text = Good();
  text.replace(text.find(what), what.size(), with);
  return text;
}

TEST(Config, EachMistakeIsSaidOnceWithItsPlaceAndRemedy) {
  const struct {
    std::string text;
    const char* problems;
  } cases[] = {
      {Changed("soc", "${BONGSU_NO_SUCH_NAME}"),
       "c.yaml:1:14: error: the environment has no variable 'BONGSU_NO_SUCH_NAME' (set it, or "
       "write the value)\n"},
      {Changed("soc", "~"),
       "c.yaml:1:1: error: 'application' has no value (for example application: soc-prod)\n"},
      {Changed("soc", "a/b"),
       "c.yaml:1:14: error: 'a/b' cannot be a name (letters, digits, '.', '_' and '-', at most "
       "200)\n"},
      {Changed("soc", "\"a\\e[2J\""),
       "c.yaml:1:14: error: 'a\\x1b[2J' cannot be a name (letters, digits, '.', '_' and '-', at "
       "most 200)\n"},
      {Changed("[fw.jsonl]", "[]"),
       "c.yaml:3:23: error: 'files' must be a name or a list of names (for example files: "
       "[\"fw/*.jsonl\"])\n"},
      {Changed("files: [fw.jsonl], ", ""),
       "c.yaml:3:5: error: a source reads either topics or files (give one of the two)\n"},
      {Changed("name: ep", "name: fw").replace(Good().find("{source: ep"), 11, "{source: fw"),
       "c.yaml:4:12: error: two sources are called 'fw'\n"},
      {"application: soc\nsources: x\n" + std::string(kOperators) + kSinks,
       "c.yaml:2:10: error: 'sources' must be a list of maps (for example sources: [{name: "
       "firewall, ...}])\n"},
      {Changed("5s", "5 secs"),
       "c.yaml:10:22: error: 'before' must be a duration: a number with a unit, ns us ms s m h d w "
       "(for example before: 5s)\n"},
      {Good() + "state: {memory: 1KiB}\n",
       "c.yaml:12:17: error: 'memory' is too small (at least 16MiB)\n"},
  };
  for (const auto& one : cases) {
    EXPECT_EQ(Problems(one.text), one.problems) << one.text;
  }
}

TEST(Config, KafkaPropertiesAreAskedAboutBeforeAnyConnection) {
  const std::string rest = "state: {path: /s}\ndelivery: at_least_once\n" +
                           Changed("files: [fw.jsonl]", "topics: [logs fw]");
  EXPECT_EQ(
      Problems("kafka: {bootstrap.servers: b, sasl.pasword: hunter2, security.protocol: "
               "hunter3,\n  sasl.username: {file: no-such-file}, ssl.ca.location: {file: "
               "/}}\n" +
               rest),
      "c.yaml:1:31: error: librdkafka knows no property 'sasl.pasword' (did you mean "
      "'sasl.password'?)\n"
      "c.yaml:1:73: error: librdkafka refuses the value of 'security.protocol' (the values it "
      "takes stand in its CONFIGURATION.md)\n"
      "c.yaml:2:25: error: cannot take 'sasl.username' from no-such-file: No such file or "
      "directory\n"
      "c.yaml:2:64: error: cannot take 'ssl.ca.location' from /: it is a folder\n"
      "c.yaml:7:24: error: 'logs fw' cannot be a topic (letters, digits, '.', '_' and '-', at "
      "most 249; each topic by its name)\n");
  // Nothing is read and ignored.
  EXPECT_EQ(Problems(Good() + "kafka: {bootstrap.servers: b}\n"),
            "c.yaml:12:8: warning: 'kafka' is not used (no source and no sink names a topic)\n");
}

TEST(Config, AnOutputIsNoInputAndNotTwoOutputs) {
  EXPECT_NE(Problems(Changed("a.jsonl", "./x/../fw.jsonl"))
                .find("is written to, and source 'fw' reads it"),
            std::string::npos);
  EXPECT_NE(Problems(Changed("[fw.jsonl]", "['*.jsonl']")).find("and source 'fw' reads it"),
            std::string::npos);
  EXPECT_NE(Problems(Changed("{file: a.jsonl}", "{file: a.jsonl}, late: {file: ./a.jsonl}"))
                .find("two sinks write to file "),
            std::string::npos);
}

TEST(Config, WhatIsNoFileIsSaid) {
  const auto problems = [](const std::string& path) {
    OperatorRegistry registry;
    RegisterAllOperators(registry);
    Diagnostics diagnostics;
    EXPECT_FALSE(LoadConfig(path, registry, diagnostics).has_value());
    return diagnostics.Text();
  };
  EXPECT_EQ(problems("/"), "/: error: cannot read the configuration: it is a folder\n");
  EXPECT_EQ(problems("/dev/null"), "/dev/null: error: the file is empty\n");
  EXPECT_EQ(problems("/dev/zero"),
            "/dev/zero: error: cannot read the configuration: it is larger than 16MiB\n");
  EXPECT_EQ(problems("no-such-file"),
            "no-such-file: error: cannot read the configuration: No such file or directory\n");
}

TEST(Config, OperatorsFormLevelsAndCirclesAreErrors) {
  const std::string chain = std::string(kSources) + R"(operators:
  - {name: b, type: interval_join, left: {source: a, key: left.dest_ip},
     right: {source: ep, key: dest_ip}, within: {after: 1s}}
  - {name: a, type: interval_join, left: {source: fw, key: dest_ip},
     right: {source: ep, key: dest_ip}, within: {after: 1s}}
)" + kSinks;
  EXPECT_EQ(Problems(chain), "");
  std::string circle = chain;
  circle.replace(circle.find("source: fw, key: dest_ip},\n"), 10, "source: b ");
  EXPECT_NE(Problems(circle).find("reads its own results"), std::string::npos);
  std::string unknown = chain;
  unknown.replace(unknown.find("left.dest_ip"), 12, "left.dst_ip ");
  // Once, and not again for what reads the operator that could not be built.
  unknown.replace(unknown.find("operators:\n"), 11, R"(operators:
  - {name: c, type: interval_join, left: {source: b, key: left.dest_ip},
     right: {source: ep, key: dest_ip}, within: {after: 1s}}
)");
  EXPECT_EQ(Problems(unknown),
            "c.yaml:8:59: error: the results of 'a' have no field 'left.dst_ip' (did you mean "
            "'left.dest_ip'?)\n");
  std::string detection = chain;
  detection.replace(detection.find("left.dest_ip}"), 13,
                    "left.dest_ip, detection: {s: {rigth.dest_ip: x}, condition: s}}");
  EXPECT_NE(Problems(detection).find("have no field 'rigth.dest_ip'"), std::string::npos);
}

// What was made of another rule's results is another rule's state.
TEST(Config, AnOperatorHasChangedWhereOneHasThatItReads) {
  const auto hashes = [](const char* within) {
    OperatorRegistry registry;
    RegisterAllOperators(registry);
    Diagnostics diagnostics;
    const std::string text = std::string(kSources) + R"(operators:
  - {name: above, type: interval_join, left: {source: below, key: left.dest_ip},
     right: {source: ep, key: dest_ip}, within: {after: 1s}}
  - {name: beside, type: interval_join, left: {source: fw, key: dest_ip},
     right: {source: ep, key: dest_ip}, within: {after: 1s}}
  - {name: below, type: interval_join, left: {source: fw, key: dest_ip},
     right: {source: ep, key: dest_ip}, within: {after: )" +
                             within + "}}\n" + kSinks;
    const auto config = ParseConfig(text, "c.yaml", registry, diagnostics);
    std::map<std::string, std::string> by_name;
    if (!config.has_value()) return by_name;
    for (const auto& op : config->operators) by_name[op->rule().name] = op->semantic_hash();
    return by_name;
  };
  const auto before = hashes("1s");
  const auto after = hashes("2s");
  ASSERT_EQ(before.size(), 3u);
  EXPECT_EQ(before, hashes("1s"));
  EXPECT_EQ(before.at("beside"), after.at("beside"));
  EXPECT_NE(before.at("below"), after.at("below"));
  EXPECT_NE(before.at("above"), after.at("above"));
}

// Each pair of such a join is an incident; nothing would ever come of it.
TEST(Config, ResultsOfPairsAreRefused) {
  const std::string text = R"(
application: pairs
sources:
  - {name: fw, files: [fw.jsonl], format: ecs}
  - {name: ep, files: [ep.jsonl], format: ecs}
operators:
  - name: near
    type: interval_join
    emit: pairs
    left: {source: fw, key: ip}
    right: {source: ep, key: ip}
    within: {before: 1s, after: 1s}
  - name: above
    type: interval_join
    left: {source: near, key: left.ip}
    right: {source: ep, key: ip}
    within: {before: 1s, after: 1s}
sinks: {alerts: {file: a.jsonl}}
)";
  EXPECT_NE(Problems(text).find("'above' takes results of 'near', which has none to give"),
            std::string::npos)
      << Problems(text);
}

TEST(Config, HostileYamlEndsWithAMessage) {
  std::string bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c <= 'k'; ++c) {
    bomb += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 10; ++i)
      bomb += std::string(i > 0 ? ", " : "") + "*" + static_cast<char>(c - 1);
    bomb += "]\n";
  }
  EXPECT_NE(Problems(bomb).find("aliases stand for more than"), std::string::npos);
  EXPECT_NE(Problems("a: " + std::string(10'000, '[')).find("nested deeper"), std::string::npos);
  EXPECT_NE(Problems("a: " + std::string(100, '[') + std::string(100, ']')).find("nested deeper"),
            std::string::npos);
  std::string blocks;
  for (int i = 0; i < 300; ++i) blocks += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  EXPECT_EQ(Problems(blocks), "c.yaml:65:65: error: nested deeper than 64 levels\n");
  EXPECT_NE(Problems("application: a\napplication: b\n").find("stands twice"), std::string::npos);
  EXPECT_NE(Problems(std::string("\x01\x02 : [", 6)), "");
  EXPECT_NE(Problems(std::string((size_t{16} << 20) + 1, '#')).find("larger than"),
            std::string::npos);
}

TEST(Config, ThePageIsFresh) {
  OperatorRegistry registry;
  RegisterAllOperators(registry);
  std::ifstream in(BONGSU_SOURCE_DIR "/deploy/CONFIG.md");
  std::ostringstream page;
  page << in.rdbuf();
  EXPECT_EQ(page.str(), ConfigPage(registry))
      << "stale: run `bongsu config-page > deploy/CONFIG.md`";
}

}  // namespace
}  // namespace bongsu
