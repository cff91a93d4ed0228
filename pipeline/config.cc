#include "pipeline/config.h"

#include <fmt/format.h>
#include <fnmatch.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "pipeline/config_options.h"
#include "pipeline/config_rules.h"
#include "pipeline/http_server.h"
#include "pipeline/kafka/kafka_properties.h"
#include "state/check.h"

namespace bongsu {
namespace {

namespace fs = std::filesystem;

// `${NAME}` in every scalar of the tree.
void Substitute(Node& node, Diagnostics& diagnostics) {
  for (Node& item : node.items) Substitute(item, diagnostics);
  for (auto& [key, value] : node.entries) Substitute(value, diagnostics);
  if (!node.is_scalar() || node.scalar.find('$') == std::string::npos) return;
  std::string out;
  const std::string& text = node.scalar;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '$' && i + 1 < text.size() && text[i + 1] == '$') {
      out.push_back('$');
      ++i;
    } else if (text[i] == '$' && i + 1 < text.size() && text[i + 1] == '{') {
      const size_t end = text.find('}', i);
      if (end == std::string::npos) {
        diagnostics.Error(node.where, "'${' is not closed",
                          "write ${NAME}, or $$ for a dollar sign");
        return;
      }
      const std::string name = text.substr(i + 2, end - i - 2);
      const char* value = std::getenv(name.c_str());
      if (value == nullptr) {
        diagnostics.Error(node.where, fmt::format("the environment has no variable '{}'", name),
                          "set it, or write the value");
        return;
      }
      out += value;
      i = end;
    } else {
      out.push_back(text[i]);
    }
  }
  node.scalar = std::move(out);
}

// A bundle of the exchange (512 KiB) and the largest input.
constexpr int64_t kExchangeRecordBytes = 1'000'000;

// A certificate chain is some KiB.
constexpr size_t kSecretBytesMax = size_t{1} << 20;

// The file's content, or what is wrong with it. A stream opens a folder without a word, and reads
// nothing; a pipe or a device might never end.
std::string ReadWhole(const std::string& path, size_t bytes_max, std::string* content) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::strerror(errno);
  std::error_code error;
  if (fs::is_directory(path, error)) return "it is a folder";
  constexpr size_t kPiece = 64 * 1024;
  std::string read;
  for (size_t size = 0; in && size <= bytes_max; size += static_cast<size_t>(in.gcount())) {
    read.resize(size + kPiece);
    in.read(read.data() + size, kPiece);
    read.resize(size + static_cast<size_t>(in.gcount()));
  }
  if (in.bad()) return "reading failed";
  if (read.size() > bytes_max)
    return fmt::format("it is larger than {}", BytesText(static_cast<int64_t>(bytes_max)));
  *content = std::move(read);
  return "";
}

// Every scalar below `node`, by its path.
void Flatten(const Node& node, const std::string& path, std::map<std::string, size_t>* out) {
  if (node.is_scalar()) (*out)[path] = std::hash<std::string>()(node.scalar);
  for (size_t i = 0; i < node.items.size(); ++i)
    Flatten(node.items[i], fmt::format("{}[{}]", path, i), out);
  for (const auto& [key, value] : node.entries)
    Flatten(value, path.empty() ? key.scalar : path + "." + key.scalar, out);
}

// Relative paths start at the configuration's folder.
std::string FromFolderOf(const std::string& file, const std::string& path) {
  return (fs::path(file).parent_path() / path).string();
}

class Loader : public OperatorBuildContext {
 public:
  Loader(const std::string& file, const OperatorRegistry& registry, Diagnostics& diagnostics,
         const FetchRules& fetch)
      : registry_(registry), diagnostics_(diagnostics), fetch_(fetch) {
    config_.file = file;
  }

  std::optional<Config> Load(const Node& root) {
    const OptionReader top(root, ConfigOptions(""), diagnostics_);
    for (const auto& [key, value] : root.entries) {
      if (std::find(std::begin(kReloadableKeys), std::end(kReloadableKeys), key.scalar) ==
          std::end(kReloadableKeys))
        Flatten(value, key.scalar, &config_.fixed);
    }
    config_.application = top.String("application");
    CheckName(config_.application, top.where("application"));
    config_.instance = top.String("instance");
    if (!top.has("instance")) {
      char host[256] = "bongsu";
      gethostname(host, sizeof(host) - 1);
      config_.instance = host;
    }
    config_.epoch = top.Duration("epoch");
    config_.threads = static_cast<int>(top.Int("threads"));
    if (top.String("exchange") == "kafka") config_.exchange = ExchangeMode::kKafka;
    Kafka(top);
    Sources(top);
    Sinks(top);
    Operators(top);
    if (!top.has("rules") && !top.has("rules_topic") && !top.has("operators"))
      diagnostics_.Error(root.where, "neither 'rules' nor 'operators': nothing would be found",
                         "for example rules: [rules/]");
    RulesTopic(top);
    LoadRules(
        top, [this](const std::string& path) { return Path(path); },
        [this](const std::string& source) { return DefaultFields(source); }, &config_,
        diagnostics_);
    State(top);
    DeliveryMode(top);
    Http(top);
    if (const Node* logging = top.node("logging"); logging != nullptr) {
      const OptionReader reader(*logging, ConfigOptions("logging"), diagnostics_);
      config_.logging_json = reader.String("format") == "json";
      config_.logging_level = reader.String("level");
    }
    if (diagnostics_.has_errors()) return std::nullopt;
    return std::move(config_);
  }

  // OperatorBuildContext.
  FieldTable* Fields(std::string_view source, const SourceLocation& where) override {
    for (SourceConfig& one : config_.sources) {
      if (one.name == source) return &one.fields;
    }
    for (size_t i = 0; i < config_.operators.size(); ++i) {
      if (config_.operators[i]->rule().name == source) return &config_.result_fields[i];
    }
    // Said already.
    if (config_.sources.empty() && diagnostics_.has_errors()) return nullptr;
    if (failed_operators_.contains(std::string(source))) return nullptr;
    std::vector<std::string_view> names;
    for (const SourceConfig& one : config_.sources) names.push_back(one.name);
    for (const auto& [name, node] : operator_nodes_) names.push_back(name);
    const std::string nearest = NearestName(source, names);
    diagnostics_.Error(where, fmt::format("there is no source '{}'", source),
                       nearest.empty() ? fmt::format("there are: {}", fmt::join(names, ", "))
                                       : fmt::format("did you mean '{}'?", nearest));
    return nullptr;
  }
  bool IsOperator(std::string_view source) const override {
    return std::any_of(operator_nodes_.begin(), operator_nodes_.end(),
                       [&](const auto& one) { return one.first == source; }) &&
           std::none_of(config_.sources.begin(), config_.sources.end(),
                        [&](const SourceConfig& one) { return one.name == source; });
  }
  std::string SemanticHash(std::string_view source) const override {
    const int at = Index(source);
    return at < 0 ? "" : config_.operators[static_cast<size_t>(at)]->semantic_hash();
  }
  std::vector<std::string> DefaultFields(std::string_view source) const override {
    std::vector<std::string> fields;
    // Compact alerts that name their fields carry nothing else of an operator's side.
    if (config_.alerts.format == AlertFormat::kNative && !config_.alerts.fields.empty())
      return fields;
    for (const SourceConfig& one : config_.sources) {
      if (one.name != source) continue;
      for (const auto& [entity, names] : one.format.entities)
        fields.insert(fields.end(), names.begin(), names.end());
    }
    return fields;
  }

 private:
  // Names go into topic names, paths and tables.
  void CheckName(const std::string& name, const SourceLocation& where) {
    if (name.empty()) return;  // reported as missing
    const bool good = name.size() <= 200 && std::all_of(name.begin(), name.end(), [](char c) {
                        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' ||
                               c == '_' || c == '-';
                      });
    if (!good)
      diagnostics_.Error(where, fmt::format("'{}' cannot be a name", name),
                         "letters, digits, '.', '_' and '-', at most 200");
  }

  std::string Path(const std::string& path) const { return FromFolderOf(config_.file, path); }

  void Kafka(const OptionReader& top) {
    const Node* kafka = top.node("kafka");
    if (kafka == nullptr || !kafka->is_map()) return;
    for (const auto& [key, value] : kafka->entries) {
      const auto& reserved = ReservedKafkaProperties();
      const auto one = std::find_if(
          reserved.begin(), reserved.end(),
          [&](const ReservedProperty& property) { return property.name == key.scalar; });
      if (one != reserved.end()) {
        diagnostics_.Error(key.where, fmt::format("bongsu sets '{}' itself", key.scalar),
                           one->hint);
      } else if (value.is_scalar()) {
        KafkaProperty(key, value.where, value.scalar);
      } else if (const Node* file = value.Find("file");
                 file != nullptr && value.entries.size() == 1 && file->is_scalar()) {
        std::string secret;
        const std::string failure = ReadWhole(Path(file->scalar), kSecretBytesMax, &secret);
        while (!secret.empty() && (secret.back() == '\n' || secret.back() == '\r'))
          secret.pop_back();
        if (!failure.empty() || secret.empty()) {
          diagnostics_.Error(file->where, fmt::format("cannot take '{}' from {}: {}", key.scalar,
                                                      Path(file->scalar),
                                                      failure.empty() ? "it is empty" : failure));
          continue;
        }
        KafkaProperty(key, file->where, secret);
      } else {
        diagnostics_.Error(value.where,
                           fmt::format("'{}' must be a value or {{file: path}}", key.scalar), "");
      }
    }
  }

  // The value may be a secret: it is never shown.
  void KafkaProperty(const Node& key, const SourceLocation& where, const std::string& value) {
    std::string hint;
    switch (CheckKafkaProperty(key.scalar, value, &hint)) {
      case KafkaPropertyProblem::kNone:
        config_.kafka[key.scalar] = value;
        break;
      case KafkaPropertyProblem::kUnknown:
        diagnostics_.Error(key.where, fmt::format("librdkafka knows no property '{}'", key.scalar),
                           hint);
        break;
      case KafkaPropertyProblem::kValue:
        diagnostics_.Error(where, fmt::format("librdkafka refuses the value of '{}'", key.scalar),
                           hint);
        break;
    }
  }

  // Kafka's own rule for the names of topics.
  void CheckTopic(const std::string& topic, const SourceLocation& where) {
    const auto good = [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
    };
    if (topic.size() <= 249 && topic != "." && topic != ".." &&
        std::all_of(topic.begin(), topic.end(), good))
      return;
    diagnostics_.Error(where, fmt::format("'{}' cannot be a topic", topic),
                       "letters, digits, '.', '_' and '-', at most 249; each topic by its name");
  }

  void RulesTopic(const OptionReader& top) {
    config_.rules_topic = top.String("rules_topic");
    if (config_.rules_topic.empty()) return;
    CheckTopic(config_.rules_topic, top.where("rules_topic"));
    const auto used = [&](const std::string& by) {
      diagnostics_.Error(
          top.where("rules_topic"),
          fmt::format("topic '{}' holds rules, and {} it, too", config_.rules_topic, by),
          "give rules a topic of their own");
    };
    for (const SourceConfig& source : config_.sources) {
      if (std::find(source.topics.begin(), source.topics.end(), config_.rules_topic) !=
          source.topics.end())
        used(fmt::format("source '{}' reads", source.name));
    }
    for (const SinkConfig* sink : {&config_.alerts, &config_.late, &config_.dead_letter}) {
      if (sink->topic == config_.rules_topic) used("a sink writes to");
    }
    // With mistakes so far brokers are not asked: the answer would be for nothing.
    const bool brokers = config_.kafka.contains("bootstrap.servers") ||
                         config_.kafka.contains("metadata.broker.list");
    if (fetch_ == nullptr || diagnostics_.has_errors() || !brokers) return;
    auto rules = fetch_(config_);
    if (!rules.ok()) {
      diagnostics_.Error(top.where("rules_topic"), std::string(rules.status().message()), "");
      return;
    }
    config_.topic_rules = *std::move(rules);
    if (config_.topic_rules == nullptr || !config_.topic_rules->texts.empty()) return;
    if (!top.has("rules") && !top.has("operators")) {
      diagnostics_.Error(top.where("rules_topic"),
                         fmt::format("the rules topic '{}' holds no rules: nothing would be found",
                                     config_.rules_topic),
                         "publish rules first, or add rules: [rules/]");
    } else {
      diagnostics_.Warning(top.where("rules_topic"),
                           fmt::format("the rules topic '{}' holds no rules", config_.rules_topic),
                           "");
    }
  }

  void Sources(const OptionReader& top) {
    const Node* sources = top.node("sources");
    if (sources == nullptr || !sources->is_sequence()) return;
    std::set<std::string> names;
    for (const Node& node : sources->items) {
      if (!node.is_map()) continue;
      Source(node);
      const SourceConfig& source = config_.sources.back();
      if (!source.name.empty() && !names.insert(source.name).second) {
        diagnostics_.Error(source.where, fmt::format("two sources are called '{}'", source.name),
                           "");
      }
    }
  }

  // A format's name, its map, or a file that holds the map.
  std::optional<Format> ReadFormatOf(const Node& node) {
    const bool file =
        node.is_scalar() && (node.scalar.ends_with(".yaml") || node.scalar.ends_with(".yml"));
    if (!file) return ParseFormat(node, diagnostics_);
    const std::string path = Path(node.scalar);
    std::string text;
    if (const std::string failure = ReadWhole(path, YamlLimits{}.bytes_max, &text);
        !failure.empty()) {
      diagnostics_.Error(node.where, fmt::format("cannot read the format {}: {}", path, failure));
      return std::nullopt;
    }
    // What a reload may not change, whoever asked for it.
    config_.fixed[node.scalar] = std::hash<std::string>()(text);
    const std::vector<Node> documents = ParseYaml(text, path, YamlLimits{}, diagnostics_);
    if (documents.size() != 1 || !documents[0].is_map()) {
      diagnostics_.Error({path, 0, 0}, "a format's file holds one map",
                         "for example base: ecs and fields: {Image: process.executable}");
      return std::nullopt;
    }
    return ParseFormat(documents[0], diagnostics_);
  }

  void Source(const Node& node) {
    const OptionReader reader(node, ConfigOptions("sources[]"), diagnostics_);
    SourceConfig& source = config_.sources.emplace_back();
    source.where = reader.where("name");
    source.name = reader.String("name");
    CheckName(source.name, source.where);
    source.topics = reader.StringList("topics");
    for (const std::string& file : reader.StringList("files")) source.files.push_back(Path(file));
    for (const std::string& topic : source.topics) CheckTopic(topic, reader.where("topics"));
    if (reader.has("topics") == reader.has("files")) {
      diagnostics_.Error(node.where, "a source reads either topics or files",
                         "give one of the two");
    }
    if (const Node* format = reader.node("format"); format != nullptr) {
      if (auto parsed = ReadFormatOf(*format); parsed.has_value())
        source.format = *std::move(parsed);
    }
    source.tenant = reader.String("tenant");
    source.validate = reader.String("validate") == "full" ? Validate::kFull : Validate::kRead;
    source.on_idle = reader.String("on_idle") == "wall_clock" ? OnIdle::kWallClock : OnIdle::kHold;
    source.until = reader.String("until") == "end" ? Until::kEnd : Until::kForever;
    for (const char* key : {"until", "on_idle"}) {
      if (!source.files.empty() && reader.has(key)) {
        diagnostics_.Error(reader.where(key), fmt::format("'{}' is for topics", key),
                           "files are always read to their end");
      }
    }
    source.record_bytes_max = reader.Bytes("record_bytes_max");
    source.depth_max = static_cast<int>(reader.Int("depth_max"));
    const Node none;
    const Node* time = reader.node("time");
    const OptionReader clock(time != nullptr ? *time : none, ConfigOptions("sources[].time"),
                             diagnostics_);
    source.out_of_orderness = clock.Duration("out_of_orderness");
    source.allowed_lateness = clock.Duration("allowed_lateness");
    source.max_future_skew = clock.Duration("max_future_skew");
    source.idle_timeout = clock.Duration("idle_timeout");
    source.live_bound = clock.Duration("live_bound");
    QuietAndFarBehind(clock, source);
  }

  void QuietAndFarBehind(const OptionReader& clock, SourceConfig& source) {
    source.quiet_bound = clock.Duration("quiet_bound");
    source.source_silent = clock.Duration("source_silent");
    source.max_lag = clock.Duration("max_lag");
    source.backfill_ahead = clock.Duration("backfill_ahead");
    for (const char* key : {"source_silent", "max_lag"}) {
      if (clock.has(key) && !source.endless()) {
        diagnostics_.Error(clock.where(key),
                           fmt::format("'{}' is for topics that are read for ever", key),
                           "files and until: end are read to their end, however long it takes");
      }
    }
    if (clock.has("backfill_ahead") && !source.files.empty()) {
      diagnostics_.Error(clock.where("backfill_ahead"), "'backfill_ahead' is for topics",
                         "files are read in the order of event time anyway");
    }
    if (clock.has("quiet_bound") && source.on_idle != OnIdle::kWallClock) {
      diagnostics_.Error(clock.where("quiet_bound"), "'quiet_bound' goes with on_idle: wall_clock",
                         "with on_idle: hold the watermark holds when nothing comes");
    }
    if (source.source_silent > 0 && source.source_silent < source.idle_timeout) {
      if (clock.has("source_silent")) {
        diagnostics_.Error(clock.where("source_silent"),
                           "'source_silent' is shorter than idle_timeout",
                           "a source can be silent only when it is idle");
      } else {
        source.source_silent = source.idle_timeout;
      }
    }
  }

  void Sink(const OptionReader& sinks, const char* name, SinkConfig* sink) {
    const Node* node = sinks.node(name);
    if (node == nullptr || !node->is_map()) return;
    const OptionReader reader(*node, ConfigOptions(std::string("sinks.") + name), diagnostics_);
    sink->where = node->where;
    sink->topic = reader.String("topic");
    if (!sink->topic.empty()) CheckTopic(sink->topic, reader.where("topic"));
    if (reader.has("file")) sink->file = Path(reader.String("file"));
    if (sink->topic.empty() == sink->file.empty()) {
      diagnostics_.Error(node->where, fmt::format("'{}' goes either to a topic or to a file", name),
                         "give one of the two");
    }
    if (std::string_view(name) != "alerts") return;
    sink->format = reader.String("format") == "native" ? AlertFormat::kNative : AlertFormat::kOcsf;
    sink->fields = reader.StringList("fields");
    if (sink->format == AlertFormat::kOcsf && reader.has("fields")) {
      diagnostics_.Error(reader.where("fields"), "'fields' is for format: native",
                         "an operator's side names the fields that OCSF alerts carry");
    }
  }

  void Sinks(const OptionReader& top) {
    const Node* node = top.node("sinks");
    if (node == nullptr || !node->is_map()) return;
    const OptionReader sinks(*node, ConfigOptions("sinks"), diagnostics_);
    Sink(sinks, "alerts", &config_.alerts);
    Sink(sinks, "late", &config_.late);
    Sink(sinks, "dead_letter", &config_.dead_letter);
    Beside("late", &config_.late);
    Beside("dead-letter", &config_.dead_letter);
    std::set<std::string> outputs;
    for (const SinkConfig* sink : {&config_.alerts, &config_.late, &config_.dead_letter}) {
      if (sink->file.empty() && sink->topic.empty()) continue;
      const std::string output =
          sink->file.empty() ? "topic " + sink->topic : "file " + Plain(sink->file);
      if (!outputs.insert(output).second)
        diagnostics_.Error(sink->where, fmt::format("two sinks write to {}", output), "");
    }
    CheckTopicsOnce();
    CheckFilesOnce();
  }

  // An output that an input's pattern takes in would feed on itself at the next run.
  void CheckFilesOnce() {
    for (const SinkConfig* sink : {&config_.alerts, &config_.late, &config_.dead_letter}) {
      if (sink->file.empty()) continue;
      for (const SourceConfig& source : config_.sources) {
        for (const std::string& pattern : source.files) {
          if (fnmatch(Plain(pattern).c_str(), Plain(sink->file).c_str(), FNM_PATHNAME) != 0)
            continue;
          diagnostics_.Error(sink->where,
                             fmt::format("file {} is written to, and source '{}' reads it",
                                         sink->file, source.name),
                             "write to a file that no pattern of a source takes in");
        }
      }
    }
  }

  // One spelling for one place.
  static std::string Plain(const std::string& path) {
    return fs::absolute(path).lexically_normal().string();
  }

  // A topic has one format and one event time. Of two sources the second would get nothing, and an
  // output that is an input would feed on itself.
  void CheckTopicsOnce() {
    std::map<std::string, std::string> readers;
    for (const SourceConfig& source : config_.sources) {
      for (const std::string& topic : source.topics) {
        const auto [reader, fresh] = readers.emplace(topic, source.name);
        if (fresh) continue;
        diagnostics_.Error(source.where,
                           fmt::format("source '{}' reads topic '{}', and source '{}' does, too",
                                       source.name, topic, reader->second),
                           "give the topic to one source");
      }
    }
    for (const SinkConfig* sink : {&config_.alerts, &config_.late, &config_.dead_letter}) {
      const auto reader = readers.find(sink->topic);
      if (reader == readers.end()) continue;
      diagnostics_.Error(sink->where,
                         fmt::format("topic '{}' is written to, and source '{}' reads it",
                                     sink->topic, reader->second),
                         "write to a topic of its own");
    }
  }

  // Nothing is dropped silently: what is not configured goes beside the alerts.
  void Beside(const char* what, SinkConfig* sink) {
    if (!sink->topic.empty() || !sink->file.empty()) return;
    sink->where = config_.alerts.where;
    if (!config_.alerts.file.empty()) {
      sink->file =
          fs::path(config_.alerts.file).replace_extension().string() + "." + what + ".jsonl";
    } else if (!config_.alerts.topic.empty()) {
      sink->topic = config_.application + "." + what;
    }
  }

  void Operators(const OptionReader& top) {
    const Node* operators = top.node("operators");
    if (operators == nullptr || !operators->is_sequence()) return;
    for (const Node& node : operators->items) {
      if (!node.is_map()) continue;
      const Node* name = node.Find("name");
      const std::string text = name != nullptr && name->is_scalar() ? name->scalar : "";
      if (!text.empty()) {
        CheckName(text, name->where);
        const auto same = [&](const auto& one) { return one.first == text; };
        if (std::any_of(operator_nodes_.begin(), operator_nodes_.end(), same)) {
          diagnostics_.Error(name->where, fmt::format("two operators are called '{}'", text), "");
        }
        for (const SourceConfig& source : config_.sources) {
          if (source.name == text)
            diagnostics_.Error(name->where, fmt::format("a source is called '{}' too", text), "");
        }
      }
      operator_nodes_.emplace_back(text, &node);
    }
    // Those whose inputs are known first, until nothing moves: what is left reads in a circle.
    std::vector<bool> built(operator_nodes_.size(), false);
    bool moved = true;
    while (moved) {
      moved = false;
      for (size_t i = 0; i < operator_nodes_.size(); ++i) {
        if (built[i] || !Ready(*operator_nodes_[i].second)) continue;
        built[i] = moved = true;
        Build(*operator_nodes_[i].second);
      }
    }
    for (size_t i = 0; i < operator_nodes_.size(); ++i) {
      if (!built[i])
        diagnostics_.Error(operator_nodes_[i].second->where,
                           fmt::format("operator '{}' reads its own results, through others",
                                       operator_nodes_[i].first),
                           "operators form levels");
    }
  }

  // Every operator that a side of `node` reads has been built (or has failed to).
  bool Ready(const Node& node) const {
    for (const auto& [key, value] : node.entries) {
      const Node* source = value.is_map() ? value.Find("source") : nullptr;
      if (source == nullptr || !IsOperator(source->scalar)) continue;
      if (!failed_operators_.contains(source->scalar) && Index(source->scalar) < 0) return false;
    }
    return true;
  }

  int Index(std::string_view name) const {
    for (size_t i = 0; i < config_.operators.size(); ++i) {
      if (config_.operators[i]->rule().name == name) return static_cast<int>(i);
    }
    return -1;
  }

  void Build(const Node& node) {
    const Node* type = node.Find("type");
    const Node* name = node.Find("name");
    const std::string label = name != nullptr ? name->scalar : "";
    std::vector<std::string_view> types;
    for (const auto& [known, unused] : registry_.all()) types.push_back(known);
    if (type == nullptr || !type->is_scalar()) {
      diagnostics_.Error(node.where, "'type' is missing",
                         fmt::format("one of: {}", fmt::join(types, ", ")));
      failed_operators_.insert(label);
      return;
    }
    const OperatorType* found = registry_.Find(type->scalar);
    if (found == nullptr) {
      const std::string nearest = NearestName(type->scalar, types);
      diagnostics_.Error(type->where, fmt::format("unknown operator type '{}'", type->scalar),
                         nearest.empty() ? fmt::format("one of: {}", fmt::join(types, ", "))
                                         : fmt::format("did you mean '{}'?", nearest));
      failed_operators_.insert(label);
      return;
    }
    auto spec = found->create(node, *this, diagnostics_);
    if (spec == nullptr) {
      failed_operators_.insert(label);
      return;
    }
    int level = 0;
    FieldTable results;
    for (const InputSpec& input : spec->inputs()) {
      // Of one that could not be built nothing is known: the configuration is refused anyway.
      if (const int below = input.from_operator ? Index(input.source) : -1; below >= 0) {
        level = std::max(level, config_.operator_levels[static_cast<size_t>(below)] + 1);
        if (!config_.operators[static_cast<size_t>(below)]->has_results())
          diagnostics_.Error(node.where,
                             fmt::format("'{}' takes results of '{}', which has none to give: each "
                                         "of its pairs is an incident",
                                         label, input.source),
                             fmt::format("leave 'emit: pairs' of '{}' out", input.source));
      }
      for (const std::string& field : input.fields) results.Slot(input.name + "." + field);
    }
    for (const char* field : {"rule", "level", "key"}) results.Slot(field);
    config_.operators.push_back(std::move(spec));
    config_.operator_levels.push_back(level);
    config_.result_fields.push_back(std::move(results));
  }

  void State(const OptionReader& top) {
    const Node none;
    const Node* node = top.node("state");
    const OptionReader reader(node != nullptr ? *node : none, ConfigOptions("state"), diagnostics_);
    config_.state.memory_bytes = reader.Bytes("memory");
    config_.state.shards = static_cast<uint16_t>(reader.Int("shards"));
    config_.state.checkpoint_interval = reader.Duration("checkpoint_interval");
    config_.state.checkpoint_bytes = reader.Bytes("checkpoint_bytes");
    if (reader.has("path")) {
      config_.state.path = Path(reader.String("path"));
    } else if (config_.uses_kafka()) {
      diagnostics_.Error(node != nullptr ? node->where : top.where("state"),
                         "'state.path' is missing", "for example state: {path: /var/lib/bongsu}");
    } else {
      config_.state.path = Path(".bongsu/" + config_.application);
    }
  }

  void Http(const OptionReader& top) {
    const Node* node = top.node("http");
    if (node == nullptr || !node->is_map()) return;
    const OptionReader reader(*node, ConfigOptions("http"), diagnostics_);
    const std::string listen = reader.String("listen");
    if (listen.empty()) return;
    if (const auto address = ListenAddress(listen); address.has_value())
      config_.http_listen = *address;
    else
      diagnostics_.Error(reader.where("listen"), fmt::format("'{}' cannot be listened on", listen),
                         "an address and a port: 127.0.0.1:9464, [::1]:9464, or a port alone");
  }

  bool AllKafka() const {
    const auto is_topic = [](const SinkConfig& sink) { return sink.file.empty(); };
    return std::all_of(config_.sources.begin(), config_.sources.end(),
                       [](const SourceConfig& source) { return source.files.empty(); }) &&
           is_topic(config_.alerts) && is_topic(config_.late) && is_topic(config_.dead_letter);
  }

  void DeliveryMode(const OptionReader& top) {
    const bool all_files = !config_.uses_kafka();
    const bool all_kafka = AllKafka();
    const std::string asked = top.String("delivery");
    config_.delivery = all_files || all_kafka ? Delivery::kExactlyOnce : Delivery::kAtLeastOnce;
    if (asked == "at_least_once") config_.delivery = Delivery::kAtLeastOnce;
    if (!all_files && !all_kafka && asked != "at_least_once") {
      diagnostics_.Error(
          top.where("delivery"),
          "files and Kafka together cannot be exactly_once: no transaction spans both",
          "write delivery: at_least_once: alerts may repeat after a crash, with the "
          "same ids");
    }
    if (config_.exchange == ExchangeMode::kKafka &&
        (!all_kafka || config_.delivery != Delivery::kExactlyOnce)) {
      diagnostics_.Error(top.where("exchange"),
                         "'exchange: kafka' needs Kafka on all sides, and delivery: exactly_once",
                         "its records and the state that comes of them are one transaction");
    }
    if (const auto most = config_.kafka.find("message.max.bytes");
        config_.exchange == ExchangeMode::kKafka && most != config_.kafka.end() &&
        std::strtoll(most->second.c_str(), nullptr, 10) < kExchangeRecordBytes) {
      diagnostics_.Error(top.where("kafka"), "'message.max.bytes' is too small for exchange: kafka",
                         fmt::format("at least {}", kExchangeRecordBytes));
    }
    if (const auto most = config_.kafka.find("message.max.bytes");
        most != config_.kafka.end() &&
        std::strtoll(most->second.c_str(), nullptr, 10) < kLettersBytes) {
      diagnostics_.Error(top.where("kafka"),
                         "'message.max.bytes' is too small: a dead letter may not fit",
                         fmt::format("at least {}", kLettersBytes));
    }
    if (!config_.needs_brokers() && top.has("kafka")) {
      diagnostics_.Warning(top.where("kafka"), "'kafka' is not used",
                           "no source and no sink names a topic");
    }
    if (config_.needs_brokers() && !config_.kafka.contains("bootstrap.servers") &&
        !config_.kafka.contains("metadata.broker.list")) {
      diagnostics_.Error(top.where("kafka"), "'bootstrap.servers' is missing under 'kafka'",
                         "for example kafka: {bootstrap.servers: kafka-1:9092}");
    }
  }

  const OperatorRegistry& registry_;
  Diagnostics& diagnostics_;
  const FetchRules& fetch_;
  Config config_;
  std::vector<std::pair<std::string, const Node*>> operator_nodes_;
  std::set<std::string> failed_operators_;
};

}  // namespace

bool Config::uses_kafka_sources() const {
  return std::any_of(sources.begin(), sources.end(),
                     [](const SourceConfig& source) { return !source.topics.empty(); });
}

bool Config::uses_kafka() const {
  return uses_kafka_sources() || !alerts.topic.empty() || !late.topic.empty() ||
         !dead_letter.topic.empty();
}

const SourceConfig* Config::FindSource(std::string_view name) const {
  for (const SourceConfig& source : sources) {
    if (source.name == name) return &source;
  }
  return nullptr;
}

std::optional<Node> ParseConfigTree(std::string_view text, const std::string& file,
                                    Diagnostics& diagnostics) {
  std::vector<Node> documents = ParseYaml(text, file, YamlLimits{}, diagnostics);
  if (documents.size() != 1) {
    if (!diagnostics.has_errors()) {
      diagnostics.Error({file, 0, 0},
                        documents.empty() ? "the file is empty" : "more than one YAML document",
                        "");
    }
    return std::nullopt;
  }
  Substitute(documents[0], diagnostics);
  return std::move(documents[0]);
}

std::optional<Node> LoadConfigTree(const std::string& file, Diagnostics& diagnostics) {
  std::string content;
  const std::string failure = ReadWhole(file, YamlLimits{}.bytes_max, &content);
  if (!failure.empty()) {
    diagnostics.Error({file, 0, 0}, "cannot read the configuration: " + failure);
    return std::nullopt;
  }
  return ParseConfigTree(content, file, diagnostics);
}

std::optional<Config> ReadConfig(const Node& tree, const std::string& file,
                                 const OperatorRegistry& registry, Diagnostics& diagnostics,
                                 const FetchRules& fetch) {
  Diagnostics loading;
  std::optional<Config> config = Loader(file, registry, loading, fetch).Load(tree);
  diagnostics.Append(loading);
  if (diagnostics.has_errors()) return std::nullopt;
  return config;
}

std::optional<Config> ParseConfig(std::string_view text, const std::string& file,
                                  const OperatorRegistry& registry, Diagnostics& diagnostics) {
  const std::optional<Node> tree = ParseConfigTree(text, file, diagnostics);
  return tree.has_value() ? ReadConfig(*tree, file, registry, diagnostics) : std::nullopt;
}

std::optional<std::string> ConfiguredStatePath(const std::string& file) {
  std::string content;
  if (!ReadWhole(file, YamlLimits{}.bytes_max, &content).empty()) return std::nullopt;
  Diagnostics ignored;
  std::vector<Node> documents = ParseYaml(content, file, YamlLimits{}, ignored);
  if (documents.size() != 1) return std::nullopt;
  Substitute(documents[0], ignored);
  const Node* state = documents[0].Find("state");
  const Node* path = state != nullptr ? state->Find("path") : nullptr;
  const Node* application = documents[0].Find("application");
  if (path != nullptr && path->is_scalar()) return FromFolderOf(file, path->scalar);
  if (application == nullptr) return std::nullopt;
  return FromFolderOf(file, ".bongsu/" + application->scalar);
}

std::optional<Config> LoadConfig(const std::string& file, const OperatorRegistry& registry,
                                 Diagnostics& diagnostics, const FetchRules& fetch) {
  const std::optional<Node> tree = LoadConfigTree(file, diagnostics);
  return tree.has_value() ? ReadConfig(*tree, file, registry, diagnostics, fetch) : std::nullopt;
}

}  // namespace bongsu
