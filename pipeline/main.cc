// The command line of bongsu, and the one place where the program is wired together.
#include <fmt/format.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/registry.h"
#include "pipeline/config.h"
#include "pipeline/config_rules.h"
#include "pipeline/control_socket.h"
#include "pipeline/explain.h"
#include "pipeline/kafka/kafka_rules.h"
#include "pipeline/kafka/kafka_topics.h"
#include "pipeline/logging.h"
#include "pipeline/report.h"
#include "pipeline/rule_lint.h"
#include "pipeline/rule_loader.h"
#include "pipeline/rule_test_command.h"
#include "pipeline/service.h"
#include "pipeline/show.h"
#include "pipeline/state_command.h"

namespace bongsu {
namespace {

constexpr int kUsage = 2;

std::atomic<bool> stop_requested{false};
std::atomic<bool> opened{false};

// The first signal asks for a clean stop, a second one ends the process at once: the store is then
// at its last checkpoint, as after any crash. While the rules are still being loaded there is
// nothing to stop.
extern "C" void OnSignal(int) {
  if (!opened.load()) _exit(0);
  if (stop_requested.exchange(true)) _exit(130);
}

std::atomic<bool> reload_requested{false};

extern "C" void OnHangup(int) { reload_requested.store(true); }

struct Arguments {
  std::string config;
  bool create_topics = false;
  int replication = -1;
  std::string report;
  std::string file;
  int limit = 0;
  bool lint = false;
  std::vector<std::string> samples;
  std::string folder;
  bool json = false;
  RuleTestOptions test;
  ExplainOptions explain;
};

// Null after errors, which are printed. Without `fetch` the rules of a rules topic are missing.
std::optional<Config> Load(const std::string& path, const FetchRules& fetch = nullptr) {
  OperatorRegistry registry;
  RegisterAllOperators(registry);
  Diagnostics diagnostics;
  std::optional<Config> config = LoadConfig(path, registry, diagnostics, fetch);
  fmt::print(stderr, "{}", diagnostics.Text());
  if (diagnostics.has_errors() || !config.has_value()) {
    fmt::print(stderr, "{} error{} in {}\n", diagnostics.errors(),
               diagnostics.errors() == 1 ? "" : "s", path);
    return std::nullopt;
  }
  SetUpLogging({config->logging_json, config->logging_level});
  return config;
}

// 1 where something is doubtful.
int Lint(const Config& config, const Arguments& arguments) {
  std::vector<std::string> problems;
  const std::vector<SourceSample> samples = SampleSources(config, arguments.samples, &problems);
  for (const std::string& problem : problems) fmt::print(stderr, "{}\n", problem);
  if (!problems.empty()) return kUsage;
  for (size_t i = 0; i < samples.size(); ++i) {
    if (samples[i].records == 0)
      fmt::print("source {}: no sample records (--sample {}=FILE)\n", config.sources[i].name,
                 config.sources[i].name);
  }
  for (const std::string& line : FilterDryRun(config, samples)) fmt::print("{}\n", line);
  const std::vector<std::string> findings = LintRules(config, samples);
  for (const std::string& finding : findings) fmt::print("{}\n", finding);
  fmt::print("{} findings\n", findings.size());
  return findings.empty() ? 0 : 1;
}

// 0: the new rules run; 2: they are refused and the old ones stay; 1: nothing is known of them.
int ReloadRules(const Arguments& arguments) {
  const std::optional<std::string> state = ConfiguredStatePath(arguments.config);
  if (!state.has_value()) {
    fmt::print(stderr, "{} cannot be read, or names no state.path\n", arguments.config);
    return kUsage;
  }
  // With the file that is meant: several may name one state.path.
  std::error_code error;
  const std::string file = std::filesystem::absolute(arguments.config, error).string();
  const absl::StatusOr<std::string> answer = AskControl(ControlPath(*state), "reload " + file);
  if (!answer.ok()) {
    fmt::print(stderr,
               "no bongsu processes records with the state in {} ({}); one that waits for its "
               "partitions can be told with SIGHUP\n",
               *state, std::string(answer.status().message()));
    return 1;
  }
  const size_t word = answer->find('\n');
  const bool good = answer->substr(0, word) == "ok";
  fmt::print(good ? stdout : stderr, "{}{}",
             good ? "reloaded: " : "not reloaded: ", answer->substr(word + 1));
  return good ? 0 : answer->substr(0, word) == "refused" ? kUsage : 1;
}

int Check(const Arguments& arguments) {
  bool topic_failed = false;
  const FetchRules fetch = [&topic_failed](const Config& config) {
    auto rules = FetchTopicRules(config);
    topic_failed = !rules.ok();
    return rules;
  };
  const std::optional<Config> config = Load(arguments.config, fetch);
  if (!config.has_value()) return topic_failed ? 1 : kUsage;
  Service service(*config);
  const absl::Status status = service.Open(Service::Mode::kCheck);
  // The rules are told in any case, also beside the process that uses the state.
  for (const auto& op : config->operators) {
    for (const InputSpec& input : op->inputs()) {
      fmt::print("operator {}: {} takes {} by ({})\n", op->rule().name, input.name, input.source,
                 fmt::join(input.key_fields, ", "));
    }
  }
  fmt::print("{}", RulesText(*config));
  for (const SourceConfig& source : config->sources) {
    std::vector<std::string> fields = source.fields.names();
    std::erase(fields, kAllValuesField);
    fmt::print(
        "source {}: {} needs {}{}\n", source.name, source.format.name, fmt::join(fields, ", "),
        fields.size() < source.fields.names().size() ? ", and every value for keywords" : "");
  }
  std::fflush(stdout);
  const int lint = arguments.lint || !arguments.samples.empty() ? Lint(*config, arguments) : 0;
  std::fflush(stdout);
  if (!status.ok()) {
    fmt::print(stderr, "{}\n", std::string(status.message()));
    return ExitStatus(status);
  }
  if (arguments.lint || !arguments.samples.empty()) return lint;
  fmt::print("{}: ok\n", arguments.config);
  return 0;
}

// Fetched batches are buffers of megabytes. By default the C library maps and unmaps each of them,
// and clearing their pages is a fifth of the CPU; kept in its heaps they are used again.
void KeepLargeBuffers() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most that it takes
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
#endif
}

int MakeTopics(const Config& config, int replication) {
  std::vector<std::string> made;
  const absl::Status status = CreateTopics(config, config.state.shards, replication, &made);
  for (const std::string& name : made) fmt::print(stderr, "made topic {}\n", name);
  if (!status.ok()) fmt::print(stderr, "{}\n", std::string(status.message()));
  return ExitStatus(status);
}

int Acls(const Arguments& arguments) {
  const std::optional<Config> config = Load(arguments.config);
  if (!config.has_value()) return kUsage;
  for (const std::string& line : AclLines(*config, config->state.shards)) fmt::print("{}\n", line);
  return 0;
}

int Topics(const Arguments& arguments, bool create) {
  const std::optional<Config> config = Load(arguments.config);
  if (!config.has_value()) return kUsage;
  if (create) return MakeTopics(*config, arguments.replication);
  const auto findings = CheckTopics(*config, config->state.shards);
  if (!findings.ok()) {
    fmt::print(stderr, "{}\n", std::string(findings.status().message()));
    return ExitStatus(findings.status());
  }
  bool wrong = false;
  for (const TopicFinding& finding : *findings) {
    fmt::print("{}: {}\n", finding.wrong ? "wrong" : "unsafe", finding.text);
    wrong = wrong || finding.wrong;
  }
  for (const TopicNeed& need : NeededTopics(*config, config->state.shards))
    fmt::print("topic {}: {}\n", need.name, need.purpose);
  return wrong ? 1 : 0;
}

int Run(const Arguments& arguments) {
  struct sigaction action {};
  action.sa_handler = OnSignal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = OnHangup;
  sigaction(SIGHUP, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  KeepLargeBuffers();
  if (arguments.create_topics) {
    const std::optional<Config> topics = Load(arguments.config);
    if (!topics.has_value()) return kUsage;
    const int made = topics->needs_brokers() ? MakeTopics(*topics, arguments.replication) : 0;
    if (made != 0) return made;
  }
  RuleLoader rules(arguments.config);
  const std::shared_ptr<const Config> config = rules.LoadFirst();
  if (config == nullptr) return rules.topic_failed() ? 1 : kUsage;
  if (!arguments.report.empty()) {
    // Found out now and not after days: the report is the last thing that a run does.
    std::FILE* report = std::fopen(arguments.report.c_str(), "ab");
    if (report == nullptr) {
      fmt::print(stderr, "cannot write the report {}: {}\n", arguments.report,
                 std::strerror(errno));
      return kUsage;
    }
    std::fclose(report);
  }
  opened.store(true);
  Service service(*config);
  absl::Status status = service.Open(Service::Mode::kRun);
  if (stop_requested.load() && (absl::IsUnavailable(status) || absl::IsCancelled(status))) {
    LogInfo(fmt::format("stopped while starting: {}", std::string(status.message())));
    return 0;
  }
  if (!status.ok()) {
    LogError(std::string(status.message()));
    return ExitStatus(status);
  }
  service.AllowReload(rules.Wiring(&reload_requested));
  rules.Follow(&reload_requested);
  status = service.Run(stop_requested, isatty(STDERR_FILENO) != 0);
  if (!status.ok()) LogError(std::string(status.message()));
  const RunReport report = service.Report();
  LogText(ReportText(report), LogInfo);
  if (!arguments.report.empty()) {
    const absl::Status written = WriteReportFile(arguments.report, report);
    if (!written.ok()) LogError(std::string(written.message()));
    if (status.ok()) status = written;
  }
  return ExitStatus(status);
}

int Show(const Arguments& arguments) {
  ShowOptions options;
  options.limit = arguments.limit;
  options.colour = isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  const absl::Status status = ShowAlerts(arguments.file, options, stdout);
  if (!status.ok()) fmt::print(stderr, "{}\n", std::string(status.message()));
  return ExitStatus(status);
}

int State(StateCommand command, const Arguments& arguments) {
  const absl::Status status = RunStateCommand(command, arguments.folder, arguments.json);
  if (!status.ok()) fmt::print(stderr, "{}\n", std::string(status.message()));
  return ExitStatus(status);
}

// The commands under `bongsu state`.
struct StateCommands {
  CLI::App* info;
  CLI::App* verify;
  CLI::App* dump;
};

StateCommands AddStateCommands(CLI::App& app, Arguments& arguments) {
  CLI::App* state = app.add_subcommand("state", "Look at the state folder of a stopped instance");
  state->require_subcommand(1);
  StateCommands commands{};
  commands.info = state->add_subcommand("info",
                                        "What is stored, how much of each operator, and where it "
                                        "stands\n\nExample: bongsu state info "
                                        "/var/lib/bongsu --json");
  commands.verify = state->add_subcommand(
      "verify",
      "Read everything, and check every checksum\n\nExample: bongsu state verify "
      "/var/lib/bongsu");
  commands.dump = state->add_subcommand(
      "export",
      "Print every row as a line of JSON, keys and values in hexadecimal\n\nExample: "
      "bongsu state export /var/lib/bongsu > state.jsonl");
  for (CLI::App* command : {commands.info, commands.verify, commands.dump})
    command->add_option("folder", arguments.folder, "The state folder (state.path)")->required();
  commands.info->add_flag("--json", arguments.json, "As JSON");
  return commands;
}

int ConfigPageCommand() {
  OperatorRegistry registry;
  RegisterAllOperators(registry);
  fmt::print("{}", ConfigPage(registry));
  return 0;
}

// Empty for a command that there is. (The library would only say that one is required.)
std::string UnknownCommand(CLI::App& app, std::string_view word) {
  std::vector<std::string> commands;
  for (const CLI::App* command : app.get_subcommands([](CLI::App*) { return true; }))
    commands.push_back(command->get_name());
  if (std::find(commands.begin(), commands.end(), word) != commands.end()) return "";
  const std::vector<std::string_view> names(commands.begin(), commands.end());
  const std::string nearest = NearestName(word, names);
  return fmt::format("there is no command '{}' ({})", word,
                     nearest.empty() ? fmt::format("there are: {}", fmt::join(commands, ", "))
                                     : fmt::format("did you mean '{}'?", nearest));
}

int Main(int argc, char** argv) {
  CLI::App app{"bongsu: firewall and endpoint logs in, correlated incidents out"};
  app.require_subcommand(1);
  Arguments arguments;
  CLI::App* run = app.add_subcommand(
      "run", "Run the pipeline\n\nExample: bongsu run -c bongsu.yaml --report report.json");
  run->add_option("-c,--config", arguments.config, "Configuration file (deploy/CONFIG.md)")
      ->required();
  run->add_option("--report", arguments.report,
                  "Write the end-of-run report to this file, as JSON");
  run->add_flag("--create-topics", arguments.create_topics,
                "Make the topics that are missing first");
  CLI::App* topics = app.add_subcommand("topics", "Make or check the topics that are needed");
  topics->require_subcommand(1);
  CLI::App* topics_create = topics->add_subcommand(
      "create", "Make those that are missing\n\nExample: bongsu topics create -c bongsu.yaml");
  CLI::App* topics_check = topics->add_subcommand(
      "check",
      "Say what is wrong or unsafe with them\n\nExample: bongsu topics check -c bongsu.yaml");
  CLI::App* topics_acls = topics->add_subcommand(
      "acls",
      "Print the permissions that are needed, as kafka-acls commands; asks no broker\n\n"
      "Example: bongsu topics acls -c bongsu.yaml");
  for (CLI::App* command : {topics_create, topics_check, topics_acls})
    command->add_option("-c,--config", arguments.config, "Configuration file")->required();
  for (CLI::App* command : {topics_create, run}) {
    command
        ->add_option("--replication", arguments.replication,
                     "Replicas of each new topic; -1: as the brokers say")
        ->check(CLI::Range(-1, 32));
  }
  CLI::App* rules = app.add_subcommand("rules", "The rules of a running service");
  rules->require_subcommand(1);
  CLI::App* rules_reload = rules->add_subcommand(
      "reload",
      "Bring changed rules and operators into force; refused as a whole where one is broken\n\n"
      "Example: bongsu rules reload -c bongsu.yaml");
  rules_reload->add_option("-c,--config", arguments.config, "Configuration file")->required();
  CLI::App* check = app.add_subcommand("check",
                                       "Do all that run does before the first record, and say what "
                                       "is wrong\n\nExample: bongsu check -c bongsu.yaml");
  check->add_option("-c,--config", arguments.config, "Configuration file")->required();
  check->add_flag("--rules", arguments.lint,
                  "Say also what is doubtful about the rules, which fields no sample record of the "
                  "sources has, and what each filter removes of them; exit status 1 where "
                  "something is doubtful");
  check
      ->add_option("--sample", arguments.samples,
                   "SOURCE=FILE: sample records of a source, JSON lines (default: its files)")
      ->allow_extra_args(false);
  const StateCommands state = AddStateCommands(app, arguments);
  CLI::App* show = app.add_subcommand("show",
                                      "Print the incidents of an OCSF alerts file for "
                                      "people\n\nExample: bongsu show alerts.jsonl --limit 5");
  show->add_option("file", arguments.file, "Alerts, JSON lines")->required();
  show->add_option("--limit", arguments.limit, "Incidents to show; 0: all")
      ->check(CLI::NonNegativeNumber);
  CLI::App* test = app.add_subcommand(
      "test",
      "Run the tests of rules (deploy/RULE_TESTS.md)\n\nExample: bongsu test deploy/rules\n\n"
      "Exit status: 0 all passed, 1 some failed, 2 a rule or a test is broken");
  test->add_option("paths", arguments.test.paths, "Folders or files of rules and tests")
      ->required();
  test->add_option("-c,--config", arguments.test.config,
                   "Test the rules and operators of this configuration, with its sources");
  test->add_option("--junit", arguments.test.junit,
                   "Write the results to this file, as JUnit's XML");
  test->add_flag("--complete", arguments.test.complete,
                 "Fail where a rule has no positive or no negative test");
  test->add_flag("-v,--verbose", arguments.test.verbose, "Print the tests that passed, too");
  CLI::App* explain = app.add_subcommand(
      "explain",
      "Say why a rule fired or not\n\n"
      "Example: bongsu explain 'A shell starts' -r rules sysmon-nxlog=event.json\n"
      "         bongsu explain port_scan -c bongsu.yaml --key '10.0.0.9, 10.0.0.5' "
      "firewall=fw.jsonl\n"
      "         bongsu explain port_scan -c bongsu.yaml --key '10.0.0.9, 10.0.0.5' --state\n\n"
      "Exit status: 0 it matched or fired, 1 it did not, 2 it cannot be said");
  explain->add_option("rule", arguments.explain.rule, "Its id, name or title; an operator's name")
      ->required();
  explain->add_option(
      "inputs", arguments.explain.inputs,
      "SOURCE=FILE of JSON lines (plain, gzip, zstd), FILE where there is one source, - "
      "for standard input. A source may be named by its format");
  auto* explain_config = explain->add_option("-c,--config", arguments.explain.config,
                                             "The configuration that the rule is of");
  explain
      ->add_option("-r,--rules", arguments.explain.rules,
                   "Instead: a file or folder of rules; may be given again")
      ->allow_extra_args(false)
      ->excludes(explain_config);
  explain->add_flag("--state", arguments.explain.state,
                    "Correlations: what the state of the configuration's service holds, in place "
                    "of files; it may be running");
  explain->add_option("--key", arguments.explain.key,
                      "Correlations: the key as alerts show it; default: one that fired, else the "
                      "one with most events");
  explain->add_option("--time", arguments.explain.time,
                      "Correlations: about when; default: at the key's first incident, else at its "
                      "first event (--state: its newest)");
  CLI::App* page = app.add_subcommand(
      "config-page",
      "Print the page of all configuration keys\n\nExample: bongsu config-page > deploy/CONFIG.md");
  CLI::App* version = app.add_subcommand("version", "Print the version\n\nExample: bongsu version");
  if (argc > 1 && argv[1][0] != '-') {
    if (const std::string problem = UnknownCommand(app, argv[1]); !problem.empty()) {
      fmt::print(stderr, "{}\n", problem);
      return kUsage;
    }
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {  // the library throws: this is its one adapter
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  if (version->parsed()) {
    fmt::print("bongsu {}\n", BONGSU_VERSION);
    return 0;
  }
  if (page->parsed()) return ConfigPageCommand();
  if (show->parsed()) return Show(arguments);
  if (explain->parsed()) {
    if (arguments.explain.config.empty() && arguments.explain.rules.empty()) {
      fmt::print(stderr, "which rules? Give -c CONFIG or -r RULES\n");
      return kUsage;
    }
    if (arguments.explain.state != arguments.explain.inputs.empty() ||
        (arguments.explain.state && arguments.explain.config.empty())) {
      fmt::print(stderr, "of what? Give SOURCE=FILE, or -c CONFIG and --state\n");
      return kUsage;
    }
    return ExplainRule(arguments.explain, stdout);
  }
  if (state.info->parsed()) return State(StateCommand::kInfo, arguments);
  if (state.verify->parsed()) return State(StateCommand::kVerify, arguments);
  if (state.dump->parsed()) return State(StateCommand::kExport, arguments);
  if (test->parsed()) return TestRules(arguments.test, stdout);
  if (topics_acls->parsed()) return Acls(arguments);
  if (rules_reload->parsed()) return ReloadRules(arguments);
  if (topics->parsed()) return Topics(arguments, topics_create->parsed());
  return check->parsed() ? Check(arguments) : Run(arguments);
}

}  // namespace
}  // namespace bongsu

int main(int argc, char** argv) { return bongsu::Main(argc, argv); }
