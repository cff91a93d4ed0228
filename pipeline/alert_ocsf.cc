// OCSF Detection Finding. Which attribute means what is written down, for readers, in
// deploy/ALERTS.md; the tests validate every alert against the schema itself.
#include <arpa/inet.h>
#include <fmt/format.h>

#include <charconv>
#include <set>
#include <utility>
#include <vector>

#include "operators/key.h"
#include "operators/payload.h"
#include "pipeline/alert_formats.h"
#include "pipeline/alert_layout.h"
#include "pipeline/json_text.h"

namespace bongsu {
namespace {

constexpr std::string_view kSchemaVersion = "1.9.0-dev";
constexpr int kCategoryUid = 2;
constexpr int kClassUid = 2004;
constexpr std::string_view kActivityNames[] = {"Unknown", "Create", "Update", "Close"};
// Distinct observables of an alert: 64 pieces of evidence with some five values each would flood
// the reader; those beyond are still in the evidence.
constexpr size_t kObservablesMax = 64;

// OCSF's observable types.
enum class ObservableType : int {
  kHostname = 1,
  kIpAddress = 2,
  kUserName = 4,
  kProcessName = 9,
};
constexpr std::string_view ObservableName(ObservableType type) {
  switch (type) {
    case ObservableType::kHostname:
      return "Hostname";
    case ObservableType::kIpAddress:
      return "IP Address";
    case ObservableType::kUserName:
      return "User Name";
    case ObservableType::kProcessName:
      return "Process Name";
  }
  return "";
}

// The schema's ip_t has at most so many characters.
constexpr size_t kIpBytesMax = 40;

bool IsIp(std::string_view text) {
  char buffer[kIpBytesMax + 1];
  if (text.empty() || text.size() > kIpBytesMax) return false;
  if (text.find('\0') != std::string_view::npos) return false;  // inet_pton would stop there
  text.copy(buffer, text.size());
  buffer[text.size()] = '\0';
  unsigned char address[sizeof(in6_addr)];
  return inet_pton(AF_INET, buffer, address) == 1 || inet_pton(AF_INET6, buffer, address) == 1;
}

// A port or process id: decimal, or hexadecimal with 0x as Windows' security log writes it.
bool ParseNumber(std::string_view text, int64_t max, int64_t* number) {
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    text.remove_prefix(2);
    base = 16;
  }
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, *number, base);
  return error == std::errc() && at == end && *number >= 0 && *number <= max;
}

std::string_view BaseName(std::string_view path) {
  const size_t slash = path.find_last_of("\\/");
  return slash == std::string_view::npos || slash + 1 == path.size() ? path
                                                                     : path.substr(slash + 1);
}

// Writes the members of one JSON object: commas where they belong.
class ObjectWriter {
 public:
  explicit ObjectWriter(std::string* out) : out_(out) { out_->push_back('{'); }
  void Close() { out_->push_back('}'); }
  // Starts the member `name`; the caller appends its value.
  std::string* Member(std::string_view name) {
    if (!std::exchange(first_, false)) out_->push_back(',');
    out_->push_back('"');
    out_->append(name);
    out_->append("\":");
    return out_;
  }
  void Text(std::string_view name, std::string_view text) { AppendJsonString(text, Member(name)); }
  void Number(std::string_view name, int64_t number) { AppendInt(number, Member(name)); }
  void Json(std::string_view name, std::string_view json) { Member(name)->append(json); }
  bool empty() const { return first_; }

 private:
  std::string* out_;
  bool first_ = true;
};

class OcsfWriter final : public AlertWriter {
 public:
  OcsfWriter(const Config& config, const PartitionTable& partitions, const Clock& clock)
      : layout_(config, partitions), clock_(clock), wall_times_(!config.alerts.topic.empty()) {
    for (const SourceConfig& source : config.sources) wall_times_ |= !source.topics.empty();
  }

  void WriteShown(const OperatorSpec& spec, const Incident& incident,
                  std::span<const Evidence> shown, std::string* out) override {
    observables_.clear();
    seen_.clear();
    hosts_.clear();
    host_names_.clear();
    const RuleLayout& rule = layout_.Rule(spec);
    const std::string why = spec.Why(incident);
    ObjectWriter event(out);
    WriteClassification(rule, incident, why, event);
    WriteMetadata(rule, incident, LeftOut(incident, shown), event.Member("metadata"));
    WriteFindingInfo(rule, spec, incident, why, event.Member("finding_info"));
    std::string* evidences = event.Member("evidences");
    evidences->push_back('[');
    for (size_t i = 0; i < shown.size(); ++i) {
      if (i > 0) out->push_back(',');
      WriteEvidence(rule, shown[i], i, out);
    }
    evidences->push_back(']');
    if (!observables_.empty()) event.Json("observables", "[" + observables_ + "]");
    if (!hosts_.empty()) event.Json("resources", "[" + hosts_ + "]");
    WriteUnmapped(rule, incident, shown, event.Member("unmapped"));
    event.Close();
  }

 private:
  static void WriteClassification(const RuleLayout& rule, const Incident& incident,
                                  const std::string& why, ObjectWriter& event) {
    const int activity = static_cast<int>(incident.activity);
    const std::string_view activity_name = kActivityNames[activity];
    const bool closed = incident.activity == Activity::kClose;
    event.Number("class_uid", kClassUid);
    event.Json("class_name", R"("Detection Finding")");
    event.Number("category_uid", kCategoryUid);
    event.Json("category_name", R"("Findings")");
    event.Number("activity_id", activity);
    event.Text("activity_name", activity_name);
    event.Number("type_uid", kClassUid * 100 + activity);
    event.Json("type_name", fmt::format(R"("Detection Finding: {}")", activity_name));
    event.Number("severity_id", rule.severity_id);
    event.Text("severity", rule.severity);
    event.Number("status_id", closed ? 5 : 1);
    event.Text("status", closed ? "Archived" : "New");
    if (incident.merged)
      event.Text("status_detail", "merged into " + IncidentIdText(incident.merged_into));
    event.Json("is_alert", closed ? "false" : "true");
    event.Number("time", EpochMs(incident.anchor_time));
    event.Number("start_time", EpochMs(incident.first_time));
    event.Number("end_time", EpochMs(incident.last_time));
    event.Number("count", static_cast<int64_t>(incident.event_count));
    const RuleInfo& info = rule.spec->rule();
    const std::string& title = info.title.empty() ? info.name : info.title;
    event.Text("message", rule.one_event
                              ? fmt::format("{}: {}", title, why)
                              : fmt::format("{} ({}): {}", title, KeyText(incident.key), why));
  }

  void WriteMetadata(const RuleLayout& rule, const Incident& incident, uint64_t left_out,
                     std::string* out) {
    ObjectWriter metadata(out);
    metadata.Text("version", kSchemaVersion);
    metadata.Json("product",
                  R"({"name":"bongsu","vendor_name":"bongsu","version":")" BONGSU_VERSION R"("})");
    std::string* uid = metadata.Member("uid");
    uid->push_back('"');
    AppendHex(incident.id.data(), incident.id.size(), uid);
    uid->append(fmt::format(":{}:{}\"", static_cast<int>(incident.activity), incident.event_count));
    std::string* correlation = metadata.Member("correlation_uid");
    correlation->push_back('"');
    AppendHex(incident.id.data(), incident.id.size(), correlation);
    correlation->push_back('"');
    if (!rule.labels_json.empty()) metadata.Json("labels", rule.labels_json);
    if (!incident.evidence.empty()) {
      const SourceConfig* source = layout_.Source(incident.evidence[0].seq);
      if (source != nullptr && !source->tenant.empty()) metadata.Text("tenant_uid", source->tenant);
    }
    if (left_out > 0) metadata.Json("is_truncated", "true");
    if (wall_times_) metadata.Number("logged_time", EpochMs(clock_.NowNs()));
    metadata.Close();
  }

  void WriteFindingInfo(const RuleLayout& rule, const OperatorSpec& spec, const Incident& incident,
                        const std::string& why, std::string* out) {
    ObjectWriter finding(out);
    std::string* uid = finding.Member("uid");
    uid->push_back('"');
    AppendHex(incident.id.data(), incident.id.size(), uid);
    uid->push_back('"');
    finding.Json("title", rule.title_json);
    finding.Text("desc", why);
    finding.Json("analytic", rule.analytic_json);
    if (!rule.attacks_json.empty()) finding.Json("attacks", rule.attacks_json);
    finding.Number("created_time", EpochMs(incident.anchor_time));
    finding.Number("first_seen_time", EpochMs(incident.first_time));
    finding.Number("last_seen_time", EpochMs(incident.last_time));
    finding.Number("related_events_count", static_cast<int64_t>(incident.event_count));
    std::string* sources = finding.Member("data_sources");
    sources->push_back('[');
    bool first = true;
    for (size_t i = 0; i < spec.inputs().size(); ++i) {
      // A detection reads its one event from one of its sources.
      if (rule.one_event && i != incident.evidence[0].port) continue;
      if (!std::exchange(first, false)) sources->push_back(',');
      AppendJsonString(spec.inputs()[i].source, sources);
    }
    sources->push_back(']');
    finding.Close();
  }

  // What has no place in the schema: the rule's own words, the key, and exact times.
  static void WriteUnmapped(const RuleLayout& rule, const Incident& incident,
                            std::span<const Evidence> shown, std::string* out) {
    ObjectWriter unmapped(out);
    if (!rule.sigma_json.empty()) unmapped.Json("sigma", rule.sigma_json);
    if (!rule.one_event) unmapped.Text("key", KeyText(incident.key));
    if (incident.time_from != TimeOrigin::kEvent)
      unmapped.Text("time_from", TimeOriginName(incident.time_from));
    const auto time = [&](std::string_view name, EventTimeNs value) {
      std::string* at = unmapped.Member(name);
      at->push_back('"');
      AppendRfc3339(value, at);
      at->push_back('"');
    };
    time("anchor_time", incident.anchor_time);
    time("first_time", incident.first_time);
    time("last_time", incident.last_time);
    unmapped.Number("evidence_listed", static_cast<int64_t>(shown.size()));
    unmapped.Number("evidence_dropped", static_cast<int64_t>(LeftOut(incident, shown)));
    AppendFindings(rule, incident, out);
    unmapped.Close();
  }

  void WriteEvidence(const RuleLayout& rule, const Evidence& evidence, size_t index,
                     std::string* out) {
    const PortLayout& port = rule.ports[evidence.port];
    PayloadReader reader(evidence.payload);
    values_.clear();
    cut_.clear();
    for (Value value; values_.size() < port.field_json.size() && reader.Next(&value);) {
      if (reader.was_cut()) cut_.push_back(values_.size());
      values_.push_back(value);
    }
    index_ = index;
    ObjectWriter object(out);
    object.Json("name", port.title_json);
    object.Text("uid", layout_.PlaceText(evidence.seq));
    WriteEndpoint("src_endpoint", Get(port, Entity::kSrcIp), Get(port, Entity::kSrcPort), object);
    WriteEndpoint("dst_endpoint", Get(port, Entity::kDstIp), Get(port, Entity::kDstPort), object);
    WriteDevice(Get(port, Entity::kHost), Get(port, Entity::kHostIp), object);
    WriteProcess(port, object);
    WriteUser(Get(port, Entity::kUser), object);
    WriteData(port, evidence, object.Member("data"));
    object.Close();
  }

  std::string_view Get(const PortLayout& port, Entity entity) const {
    return EntityValue(port, entity, values_).text();
  }

  void WriteEndpoint(std::string_view name, std::string_view ip, std::string_view port,
                     ObjectWriter& object) {
    if (ip.empty()) return;
    ObjectWriter endpoint(object.Member(name));
    if (IsIp(ip)) {
      endpoint.Text("ip", ip);
      Observe(ObservableType::kIpAddress, fmt::format("{}.ip", name), ip);
    } else {
      endpoint.Text("name", ip);
    }
    int64_t number = 0;
    if (ParseNumber(port, 65535, &number)) endpoint.Number("port", number);
    endpoint.Close();
  }

  void WriteDevice(std::string_view host, std::string_view ip, ObjectWriter& object) {
    const bool has_ip = IsIp(ip);
    if (host.empty() && !has_ip) return;
    ObjectWriter device(object.Member("device"));
    device.Number("type_id", 0);
    if (!host.empty()) {
      device.Text("hostname", host);
      Observe(ObservableType::kHostname, "device.hostname", host);
    }
    if (has_ip) {
      device.Text("ip", ip);
      Observe(ObservableType::kIpAddress, "device.ip", ip);
    }
    device.Close();
    AddHost(host.empty() ? ip : host, host, has_ip ? ip : std::string_view());
  }

  // The affected hosts, each once.
  void AddHost(std::string_view name, std::string_view host, std::string_view ip) {
    if (host_names_.size() >= kObservablesMax || !host_names_.emplace(name).second) return;
    if (!hosts_.empty()) hosts_.push_back(',');
    ObjectWriter resource(&hosts_);
    resource.Text("name", name);
    if (!host.empty()) resource.Text("hostname", host);
    if (!ip.empty()) resource.Text("ip", ip);
    resource.Json("role_id", "3");
    resource.Text("role", "Affected");
    resource.Close();
  }

  // The schema wants a process to have a pid or a unique id; without them its image is a file.
  void WriteProcess(const PortLayout& port, ObjectWriter& object) {
    const std::string_view path = Get(port, Entity::kProcess);
    const std::string_view uid = Get(port, Entity::kProcessUid);
    int64_t pid = 0;
    const bool has_pid = ParseNumber(Get(port, Entity::kPid), INT32_MAX, &pid);
    if (!has_pid && uid.empty()) {
      if (path.empty()) return;
      ObjectWriter file(object.Member("file"));
      file.Text("name", BaseName(path));
      file.Text("path", path);
      file.Number("type_id", 1);
      file.Text("type", "Regular File");
      file.Close();
      return;
    }
    ObjectWriter process(object.Member("process"));
    if (has_pid) process.Number("pid", pid);
    if (!uid.empty()) process.Text("uid", uid);
    if (!path.empty()) {
      process.Text("name", BaseName(path));
      process.Text("path", path);
      Observe(ObservableType::kProcessName, "process.name", BaseName(path));
    }
    if (const std::string_view line = Get(port, Entity::kCommandLine); !line.empty()) {
      process.Text("cmd_line", line);
    }
    process.Close();
  }

  void WriteUser(std::string_view user, ObjectWriter& object) {
    if (user.empty()) return;
    ObjectWriter writer(object.Member("user"));
    const size_t slash = user.find('\\');
    const bool has_domain = slash != std::string_view::npos && slash > 0 && slash + 1 < user.size();
    const std::string_view name = has_domain ? user.substr(slash + 1) : user;
    writer.Text("name", name);
    if (has_domain) writer.Text("domain", user.substr(0, slash));
    Observe(ObservableType::kUserName, "user.name", name);
    writer.Close();
  }

  void WriteData(const PortLayout& port, const Evidence& evidence, std::string* out) {
    ObjectWriter data(out);
    std::string* at = data.Member("input");
    at->append(port.input_json);
    at->push_back(',');
    layout_.AppendCoordinates(evidence.seq, at);
    at = data.Member("time");
    at->push_back('"');
    AppendRfc3339(evidence.time, at);
    at->append("\",\"time_ns\":\"");
    AppendInt(evidence.time, at);
    at->push_back('"');
    at = data.Member("fields");
    at->push_back('{');
    bool first = true;
    for (size_t i = 0; i < values_.size(); ++i) {
      if (values_[i].is_absent()) continue;
      if (!std::exchange(first, false)) at->push_back(',');
      at->append(port.field_json[i]);
      AppendValueJson(values_[i], at);
    }
    at->push_back('}');
    if (!cut_.empty()) {
      at = data.Member("cut_fields");
      for (size_t i = 0; i < cut_.size(); ++i) {
        at->push_back(i == 0 ? '[' : ',');
        const std::string& name = port.field_json[cut_[i]];
        at->append(name, 0, name.size() - 1);  // without its colon
      }
      at->push_back(']');
    }
    data.Close();
  }

  // `path` is below the piece of evidence that is being written.
  void Observe(ObservableType type, std::string_view path, std::string_view value) {
    if (seen_.size() >= kObservablesMax) return;
    if (!seen_.emplace(static_cast<int>(type), std::string(value)).second) return;
    if (!observables_.empty()) observables_.push_back(',');
    ObjectWriter observable(&observables_);
    observable.Number("type_id", static_cast<int>(type));
    observable.Text("type", ObservableName(type));
    observable.Text("name", fmt::format("evidences[{}].{}", index_, path));
    observable.Text("value", value);
    observable.Close();
  }

  AlertLayout layout_;
  const Clock& clock_;
  bool wall_times_;
  // Of the alert being written.
  std::string observables_;
  std::set<std::pair<int, std::string>> seen_;
  std::string hosts_;
  std::set<std::string, std::less<>> host_names_;
  // Of the piece of evidence being written.
  size_t index_ = 0;
  std::vector<Value> values_;
  std::vector<size_t> cut_;
};

}  // namespace

std::unique_ptr<AlertWriter> MakeOcsfWriter(const Config& config, const PartitionTable& partitions,
                                            const Clock& clock) {
  return std::make_unique<OcsfWriter>(config, partitions, clock);
}

}  // namespace bongsu
