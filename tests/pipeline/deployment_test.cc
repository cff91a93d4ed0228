// The files in deploy/ for running bongsu as a service: they parse, their configurations load, and
// the alarms are those that the page explains.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"
#include "operators/registry.h"
#include "pipeline/config.h"

namespace bongsu {
namespace {

std::string File(const std::string& path) {
  std::ifstream in(std::string(BONGSU_SOURCE_DIR) + "/" + path);
  EXPECT_TRUE(in.good()) << path;
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<Node> Yaml(const std::string& path) {
  Diagnostics diagnostics;
  std::vector<Node> documents = ParseYaml(File(path), path, YamlLimits{}, diagnostics);
  EXPECT_FALSE(diagnostics.has_errors()) << diagnostics.Text();
  EXPECT_FALSE(documents.empty()) << path;
  return documents;
}

void ExpectLoads(const std::string& text, const std::string& name) {
  for (const char* variable : {"HOSTNAME", "KAFKA_BROKERS", "KAFKA_PASSWORD"})
    setenv(variable, "x", 1);
  setenv("BONGSU_HTTP", "0.0.0.0:9464", 1);
  OperatorRegistry registry;
  RegisterAllOperators(registry);
  Diagnostics diagnostics;
  const auto config = ParseConfig(text, name, registry, diagnostics);
  ASSERT_TRUE(config.has_value()) << diagnostics.Text();
  EXPECT_EQ(config->http_listen, "0.0.0.0:9464");
  EXPECT_EQ(config->state.path, "/var/lib/bongsu");
}

TEST(Deployment, TheSampleLoads) { ExpectLoads(File("deploy/samples/kafka.yaml"), "kafka.yaml"); }

const Node& Child(const Node& node, std::string_view key) {
  const Node* child = node.Find(key);
  static const Node none;
  EXPECT_NE(child, nullptr) << key;
  return child != nullptr ? *child : none;
}

TEST(Deployment, TheManifestParsesAndItsConfigurationLoads) {
  const std::vector<Node> documents = Yaml("deploy/kubernetes/bongsu.yaml");
  std::set<std::string> kinds;
  for (const Node& document : documents) {
    kinds.insert(Child(document, "kind").scalar);
    if (Child(document, "kind").scalar == "ConfigMap")
      ExpectLoads(Child(Child(document, "data"), "bongsu.yaml").scalar, "the ConfigMap");
  }
  EXPECT_EQ(kinds, (std::set<std::string>{"ConfigMap", "NetworkPolicy", "Service", "StatefulSet"}));
}

TEST(Deployment, ComposeParses) {
  const std::vector<Node> documents = Yaml("deploy/container/compose.yaml");
  const Node& service = Child(Child(documents[0], "services"), "bongsu");
  EXPECT_EQ(Child(Child(service, "build"), "dockerfile").scalar, "deploy/container/Containerfile");
}

// What the image copies and runs exists in the repository.
TEST(Deployment, TheContainerfileNamesWhatThereIs) {
  const std::string text = File("deploy/container/Containerfile");
  const std::regex path(R"((deploy/[\w/.-]+))");
  int seen = 0;
  for (auto it = std::sregex_iterator(text.begin(), text.end(), path); it != std::sregex_iterator();
       ++it, ++seen) {
    EXPECT_TRUE(std::filesystem::exists(std::string(BONGSU_SOURCE_DIR) + "/" + it->str()))
        << it->str();
  }
  EXPECT_GE(seen, 2);
}

TEST(Deployment, TheUnitDoesNotRestartWhatCannotHeal) {
  std::istringstream lines(File("deploy/systemd/bongsu.service"));
  std::set<std::string> sections;
  std::set<std::string> settings;
  const std::regex form(R"((#.*)?|\[(Unit|Service|Install)\]|[A-Z][A-Za-z]+=.*)");
  for (std::string line; std::getline(lines, line);) {
    EXPECT_TRUE(std::regex_match(line, form)) << line;
    (line.starts_with("[") ? sections : settings).insert(line);
  }
  EXPECT_EQ(sections.size(), 3u);
  for (const char* line : {"Restart=on-failure", "RestartPreventExitStatus=2 3",
                           "ProtectSystem=strict", "NoNewPrivileges=yes", "StateDirectory=bongsu"})
    EXPECT_TRUE(settings.contains(line)) << line;
}

// Every alarm has its row in the page, and every row its alarm.
TEST(Deployment, AlarmsAreExplained) {
  std::set<std::string> alarms;
  const std::vector<Node> documents = Yaml("deploy/prometheus/rules.yaml");
  for (const Node& group : Child(documents[0], "groups").items) {
    for (const Node& rule : Child(group, "rules").items) {
      EXPECT_FALSE(Child(rule, "expr").scalar.empty());
      EXPECT_FALSE(Child(Child(rule, "annotations"), "summary").scalar.empty());
      EXPECT_TRUE(alarms.insert(Child(rule, "alert").scalar).second);
    }
  }
  std::set<std::string> rows;
  const std::string page = File("deploy/OPERATIONS.md");
  const std::regex row(R"(\n\| (Bongsu\w+) \|)");
  for (auto it = std::sregex_iterator(page.begin(), page.end(), row); it != std::sregex_iterator();
       ++it)
    rows.insert((*it)[1]);
  EXPECT_EQ(alarms, rows);
}

TEST(Deployment, TheDashboardParses) {
  const auto board = nlohmann::json::parse(File("deploy/grafana/bongsu.json"), nullptr, false);
  ASSERT_FALSE(board.is_discarded());
  std::set<int> ids;
  for (const auto& panel : board["panels"]) {
    EXPECT_TRUE(ids.insert(panel["id"].get<int>()).second);
    EXPECT_FALSE(panel["targets"].empty()) << panel["title"];
  }
  EXPECT_GE(ids.size(), 12u);
}

}  // namespace
}  // namespace bongsu
