#include "pipeline/alert_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "operators/key.h"
#include "operators/sigma/rule.h"
#include "pipeline/json_text.h"
#include "pipeline/node_json.h"

namespace bongsu {
namespace {

constexpr std::array<std::string_view, kEntityCount> kEntityNames = {
    "host",     "host_ip", "user",         "src_ip",         "src_port", "dst_ip",
    "dst_port", "process", "command_line", "parent_process", "pid",      "process_uid"};

struct Tactic {
  std::string_view tag;
  std::string_view uid;  // empty: named by Sigma, number not settled between ATT&CK versions
  std::string_view name;
};
// ATT&CK Enterprise's tactics. Sigma's newer rules split defense-evasion in two (ATT&CK v19).
constexpr Tactic kTactics[] = {
    {"reconnaissance", "TA0043", "Reconnaissance"},
    {"resource-development", "TA0042", "Resource Development"},
    {"initial-access", "TA0001", "Initial Access"},
    {"execution", "TA0002", "Execution"},
    {"persistence", "TA0003", "Persistence"},
    {"privilege-escalation", "TA0004", "Privilege Escalation"},
    {"defense-evasion", "TA0005", "Defense Evasion"},
    {"stealth", "", "Stealth"},
    {"defense-impairment", "", "Defense Impairment"},
    {"credential-access", "TA0006", "Credential Access"},
    {"discovery", "TA0007", "Discovery"},
    {"lateral-movement", "TA0008", "Lateral Movement"},
    {"collection", "TA0009", "Collection"},
    {"command-and-control", "TA0011", "Command and Control"},
    {"exfiltration", "TA0010", "Exfiltration"},
    {"impact", "TA0040", "Impact"},
};

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

constexpr std::string_view kAttackPrefix = "attack.";

bool AllDigits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// "t1059" or "t1059.001".
bool IsTechnique(std::string_view name) {
  if (name.size() != 5 && name.size() != 9) return false;
  if (name[0] != 't' || !AllDigits(name.substr(1, 4))) return false;
  return name.size() == 5 || (name[5] == '.' && AllDigits(name.substr(6)));
}

const Tactic* FindTactic(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  const auto* it = std::find_if(std::begin(kTactics), std::end(kTactics),
                                [&](const Tactic& t) { return t.tag == name; });
  return it == std::end(kTactics) ? nullptr : it;
}

bool IsAttackTag(const std::string& tag) {
  const std::string lower = Lower(tag);
  if (!lower.starts_with(kAttackPrefix)) return false;
  const std::string name = lower.substr(kAttackPrefix.size());
  return IsTechnique(name) || FindTactic(name) != nullptr;
}

std::string TacticJson(const Tactic& tactic) {
  if (tactic.uid.empty()) return fmt::format(R"("tactic":{{"name":"{}"}})", tactic.name);
  return fmt::format(R"("tactic":{{"name":"{}","uid":"{}"}})", tactic.name, tactic.uid);
}

std::string TechniqueJson(std::string_view name) {
  const std::string_view number = name.substr(1, 4);
  std::string json = fmt::format(
      R"("technique":{{"uid":"T{0}","src_url":"https://attack.mitre.org/techniques/T{0}/"}})",
      number);
  if (name.size() == 9) {
    json += fmt::format(R"(,"sub_technique":{{"uid":"T{0}.{1}",)"
                        R"("src_url":"https://attack.mitre.org/techniques/T{0}/{1}/"}})",
                        number, name.substr(6));
  }
  return json;
}

struct SeverityName {
  std::string_view level;
  int id;
  std::string_view name;
};
constexpr SeverityName kSeverities[] = {
    {"informational", 1, "Informational"},
    {"low", 2, "Low"},
    {"medium", 3, "Medium"},
    {"high", 4, "High"},
    {"critical", 5, "Critical"},
};

std::string Quoted(std::string_view text) {
  std::string out;
  AppendJsonString(text, &out);
  return out;
}

// What a Sigma rule says about itself and readers of its alerts need; its author and licence must
// stay with it (the Detection Rule License asks for it).
std::string SigmaJson(const sigma::Metadata& metadata, std::string_view hash) {
  std::string json = "{\"title\":" + Quoted(metadata.title);
  const auto text = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) json += fmt::format(",\"{}\":{}", name, Quoted(value));
  };
  const auto list = [&](std::string_view name, const std::vector<std::string>& values) {
    if (values.empty()) return;
    json += fmt::format(",\"{}\":[", name);
    for (size_t i = 0; i < values.size(); ++i) json += (i > 0 ? "," : "") + Quoted(values[i]);
    json += ']';
  };
  text("id", metadata.id);
  text("name", metadata.name);
  text("hash", std::string(hash));
  text("status", metadata.status);
  text("level", metadata.level);
  text("author", metadata.author);
  text("license", metadata.license);
  text("date", metadata.date);
  text("modified", metadata.modified);
  list("tags", metadata.tags);
  list("references", metadata.references);
  list("falsepositives", metadata.falsepositives);
  if (!metadata.custom.empty()) {
    json += ",\"custom\":{";
    for (size_t i = 0; i < metadata.custom.size(); ++i) {
      json += (i > 0 ? "," : "") + Quoted(metadata.custom[i].first) + ":";
      AppendNodeJson(metadata.custom[i].second, &json);
    }
    json += '}';
  }
  return json + "}";
}

}  // namespace

std::string_view EntityName(Entity entity) { return kEntityNames[static_cast<size_t>(entity)]; }

std::string AttacksJson(const std::vector<std::string>& tags) {
  std::vector<const Tactic*> tactics;
  std::vector<std::string> techniques;
  for (const std::string& tag : tags) {
    if (!IsAttackTag(tag)) continue;
    const std::string name = Lower(tag).substr(kAttackPrefix.size());
    if (IsTechnique(name)) {
      techniques.push_back(name);
    } else {
      tactics.push_back(FindTactic(name));
    }
  }
  std::string entries;
  const auto add = [&entries](const std::string& entry) {
    entries += (entries.empty() ? "{" : ",{") + entry + "}";
  };
  // Tags do not say which technique serves which tactic; with one tactic there is no doubt.
  const bool one_tactic = tactics.size() == 1 && !techniques.empty();
  for (const std::string& technique : techniques) {
    add(one_tactic ? TacticJson(*tactics[0]) + "," + TechniqueJson(technique)
                   : TechniqueJson(technique));
  }
  if (!one_tactic) {
    for (const Tactic* tactic : tactics) add(TacticJson(*tactic));
  }
  return entries.empty() ? "" : "[" + entries + "]";
}

void AppendFindings(const RuleLayout& rule, const Incident& incident, std::string* out) {
  if (!rule.group_json.empty()) {
    out->append(",\"group\":{");
    const std::vector<std::string> parts = KeyParts(incident.key);
    for (size_t i = 0; i < parts.size() && i < rule.group_json.size(); ++i) {
      if (i > 0) out->push_back(',');
      out->append(rule.group_json[i]);
      AppendJsonString(parts[i], out);
    }
    out->push_back('}');
  }
  if (!incident.condition.empty()) {
    out->append(",\"condition\":");
    AppendJsonString(incident.condition, out);
  }
  if (!incident.value.empty()) {
    out->append(",\"value\":");
    AppendValueJson(Value::Number(incident.value), out);
    out->append(",\"threshold\":");
    AppendJsonString(incident.threshold, out);
  }
  if (incident.value_error > 0)
    out->append(fmt::format(",\"value_error\":{:.4f}", incident.value_error));
  if (incident.merged) {
    out->append(",\"merged_into\":\"");
    AppendHex(incident.merged_into.data(), incident.merged_into.size(), out);
    out->push_back('"');
  }
}

void AppendValueJson(const Value& value, std::string* out) {
  switch (value.type()) {
    case ValueType::kAbsent:
    case ValueType::kNull:
      out->append("null", 4);
      return;
    case ValueType::kBool:
      out->append(value.text());
      return;
    case ValueType::kNumber:
      // The decoder takes a number's text as it stands; one that readers refuse must not break the
      // alert.
      if (IsJsonNumber(value.text())) {
        out->append(value.text());
      } else {
        AppendJsonString(value.text(), out);
      }
      return;
    case ValueType::kString:
    // An object's text may be cut at a bound, spread over lines or, with `validate: read`, not even
    // be JSON; in a string it can do no harm.
    case ValueType::kObject:
      AppendJsonString(value.text(), out);
      return;
    case ValueType::kArray: {
      out->push_back('[');
      bool first = true;
      for (const Value& item : value.items()) {
        if (!first) out->push_back(',');
        first = false;
        AppendValueJson(item, out);
      }
      out->push_back(']');
      return;
    }
  }
}

Value EntityValue(const PortLayout& port, Entity entity, const std::vector<Value>& values) {
  const auto usable = [](const Value& v) {
    return (v.is_string() || v.is_number()) && !v.text().empty();
  };
  for (const uint16_t position : port.entities[static_cast<size_t>(entity)]) {
    if (position >= values.size()) continue;
    const Value& value = values[position];
    // "-" is how Windows logs write "none".
    if (usable(value) && value.text() != "-") return value;
    for (const Value& item : value.items()) {
      if (usable(item)) return item;
    }
  }
  return {};
}

AlertLayout::AlertLayout(const Config& config, const PartitionTable& partitions)
    : config_(config), partitions_(partitions) {}

const RuleLayout& AlertLayout::Rule(const OperatorSpec& spec) {
  std::unique_ptr<RuleLayout>& rule = rules_[&spec];
  if (rule == nullptr) rule = MakeRule(spec);
  return *rule;
}

std::unique_ptr<RuleLayout> AlertLayout::MakeRule(const OperatorSpec& spec) const {
  auto layout = std::make_unique<RuleLayout>();
  const RuleInfo& rule = spec.rule();
  layout->spec = &spec;
  for (const InputSpec& input : spec.inputs()) layout->ports.push_back(MakePort(input));
  layout->native_head =
      fmt::format(R"(,"rule":{},"level":{})", Quoted(rule.name), Quoted(rule.level));
  for (const SeverityName& severity : kSeverities) {
    if (severity.level != rule.level) continue;
    layout->severity_id = severity.id;
    layout->severity = severity.name;
  }
  if (rule.metadata != nullptr) {
    const sigma::Metadata& metadata = *rule.metadata;
    layout->one_event = rule.type == "detection";
    for (const std::string& name : rule.group_by) layout->group_json.push_back(Quoted(name) + ":");
    layout->sigma_json = SigmaJson(metadata, spec.semantic_hash());
    layout->native_head += ",\"sigma\":" + layout->sigma_json;
    layout->analytic_json = fmt::format(
        R"({{"uid":{},"name":{},"version":{},"type_id":1,"type":"Rule","algorithm":{})",
        Quoted(rule.name), Quoted(rule.title), Quoted(spec.semantic_hash()), Quoted(rule.type));
  } else {
    layout->analytic_json =
        fmt::format(R"({{"uid":{},"name":{},"type_id":1,"type":"Rule","algorithm":{})",
                    Quoted(spec.semantic_hash()), Quoted(rule.name), Quoted(rule.type));
  }
  if (!rule.description.empty()) layout->analytic_json += ",\"desc\":" + Quoted(rule.description);
  layout->analytic_json += '}';
  layout->title_json = Quoted(rule.title.empty() ? rule.name : rule.title);
  layout->attacks_json = AttacksJson(rule.tags);
  for (const std::string& tag : rule.tags) {
    if (IsAttackTag(tag)) continue;
    layout->labels_json += (layout->labels_json.empty() ? "[" : ",") + Quoted(tag);
  }
  if (!layout->labels_json.empty()) layout->labels_json += ']';
  return layout;
}

PortLayout AlertLayout::MakePort(const InputSpec& input) const {
  PortLayout port;
  AppendJsonString(input.name, &port.input_json);
  port.title_json = input.title.empty() ? port.input_json : Quoted(input.title);
  const std::vector<std::string>& chosen = config_.alerts.fields;
  for (const std::string& field : input.fields) {
    port.field_json.push_back(Quoted(field) + ":");
    port.chosen.push_back(chosen.empty() ||
                          std::find(chosen.begin(), chosen.end(), field) != chosen.end());
  }
  if (input.from_operator) return port;
  const auto source = std::find_if(config_.sources.begin(), config_.sources.end(),
                                   [&](const SourceConfig& s) { return s.name == input.source; });
  if (source == config_.sources.end()) return port;
  for (size_t e = 0; e < kEntityCount; ++e) {
    const auto names = source->format.entities.find(std::string(kEntityNames[e]));
    if (names == source->format.entities.end()) continue;
    for (const std::string& name : names->second) {
      const auto at = std::find(input.fields.begin(), input.fields.end(), name);
      if (at == input.fields.end()) continue;
      port.entities[e].push_back(static_cast<uint16_t>(at - input.fields.begin()));
    }
  }
  return port;
}

const AlertLayout::Place& AlertLayout::PlaceOf(PartitionId partition) {
  if (partition >= places_.size()) places_.resize(size_t{partition} + 1);
  std::unique_ptr<Place>& place = places_[partition];
  if (place) return *place;
  const PartitionInfo& info = partitions_.Get(partition);
  place = std::make_unique<Place>();
  place->json = "\"source\":" + Quoted(info.source);
  if (info.path.empty()) {
    place->json += fmt::format(R"(,"topic":{},"partition":{})", Quoted(info.topic), info.partition);
    place->text = fmt::format("{}/{}", info.topic, info.partition);
  } else {
    place->json += ",\"file\":" + Quoted(info.path);
    place->text = info.path;
  }
  place->json += ",\"offset\":";
  for (const SourceConfig& source : config_.sources) {
    if (source.name == info.source) place->source = &source;
  }
  return *place;
}

void AlertLayout::AppendCoordinates(RecordSeq seq, std::string* out) {
  if (seq == kNoRecord) {
    out->append("\"source\":null");
    return;
  }
  out->append(PlaceOf(SeqPartition(seq)).json);
  AppendInt(SeqOffset(seq), out);
}

std::string AlertLayout::PlaceText(RecordSeq seq) {
  if (seq == kNoRecord) return "none";
  return fmt::format("{}:{}", PlaceOf(SeqPartition(seq)).text, SeqOffset(seq));
}

const SourceConfig* AlertLayout::Source(RecordSeq seq) {
  return seq == kNoRecord ? nullptr : PlaceOf(SeqPartition(seq)).source;
}

}  // namespace bongsu
