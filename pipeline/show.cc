#include "pipeline/show.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "pipeline/json_text.h"

namespace bongsu {
namespace {

using OrderedJson = nlohmann::ordered_json;

std::string Text(const OrderedJson& json, const char* key) {
  const auto it = json.find(key);
  if (it == json.end()) return "";
  return it->is_string() ? it->get<std::string>() : it->dump();
}

const OrderedJson& Object(const OrderedJson& json, const char* key) {
  static const OrderedJson empty = OrderedJson::object();
  const auto it = json.find(key);
  return it != json.end() && it->is_object() ? *it : empty;
}

// Text for a terminal. What an attacker wrote must stay text: control characters (C1 too) and those
// that turn the direction of writing are shown by their number.
std::string Printable(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = [&](size_t at) {
      return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u;
    };
    const unsigned c = byte(i);
    const unsigned c1 = c == 0xc2 && byte(i + 1) < 0xa0 ? byte(i + 1) : 0;
    const bool direction =
        c == 0xe2 && ((byte(i + 1) == 0x80 && byte(i + 2) >= 0xaa && byte(i + 2) <= 0xae) ||
                      (byte(i + 1) == 0x81 && byte(i + 2) >= 0xa6 && byte(i + 2) <= 0xa9));
    if (c == '\n' || c == '\r' || c == '\t') {
      if (out.empty() || out.back() != ' ') out.push_back(' ');
    } else if (c < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", c);
    } else if (c1 != 0) {
      out += fmt::format("\\u{:04x}", c1);
      ++i;
    } else if (direction) {
      out += fmt::format("\\u{:04x}", 0x2000 | (byte(i + 1) & 0x3f) << 6 | (byte(i + 2) & 0x3f));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::string DateAndTime(int64_t ms) {
  const std::string text = Rfc3339(ms * kMillisecondNs);
  return text.substr(0, 10) + " " + text.substr(11, 12);
}

std::string Where(const OrderedJson& data) {
  std::string where = Text(data, "source");
  if (data.contains("topic"))
    return fmt::format("{} {}[{}]@{}", where, Text(data, "topic"), Text(data, "partition"),
                       Text(data, "offset"));
  return fmt::format("{} {}@{}", where, Text(data, "file"), Text(data, "offset"));
}

// One event of the evidence: when, which side or rule, where from, and its fields.
void ShowEvidence(const OrderedJson& evidence, std::FILE* out) {
  const OrderedJson& data = Object(evidence, "data");
  const std::string name = Text(evidence, "name");
  fmt::print(out, "    {:<6} {}  {}\n", Printable(name.empty() ? Text(data, "input") : name),
             Text(data, "time"), Printable(Where(data)));
  for (const auto& [key, value] : Object(data, "fields").items()) {
    std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    if (text.empty() || text == "null") continue;
    std::string safe = Printable(text);
    constexpr size_t kShown = 160;
    if (safe.size() > kShown) safe = std::string(Utf8Prefix(safe, kShown)) + "...";
    fmt::print(out, "           {} = {}\n", Printable(key), safe);
  }
}

// What a correlation has found: its group, and what was counted against what it had to be.
void ShowFindings(const OrderedJson& unmapped, std::FILE* out) {
  std::string group;
  for (const auto& [field, value] : Object(unmapped, "group").items()) {
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    group += fmt::format("{}{} = {}", group.empty() ? "" : ", ", Printable(field), Printable(text));
  }
  if (!group.empty()) fmt::print(out, "    group: {}\n", group);
  if (unmapped.contains("value")) {
    const std::string error =
        unmapped.contains("value_error")
            ? fmt::format(" (within {:.1f} %)", 100 * unmapped.value("value_error", 0.0))
            : "";
    fmt::print(out, "    value: {}{}, condition {}\n", Text(unmapped, "value"), error,
               Printable(Text(unmapped, "threshold")));
  }
}

void ShowOne(const OrderedJson& alert, int number, const ShowOptions& options, std::FILE* out) {
  const OrderedJson& finding = Object(alert, "finding_info");
  const char* bold = options.colour ? "\x1b[1m" : "";
  const char* plain = options.colour ? "\x1b[0m" : "";
  fmt::print(out, "{}{}. [{}] {}{}\n", bold, number, Text(alert, "severity"),
             Printable(Text(finding, "title")), plain);
  const OrderedJson& unmapped = Object(alert, "unmapped");
  if (unmapped.contains("merged_into")) {
    fmt::print(out, "    id:    {}\n    closed: a late event joined it to {}\n\n",
               Text(finding, "uid"), Text(unmapped, "merged_into"));
    return;
  }
  std::vector<std::string> hosts;
  for (const OrderedJson& one : alert.value("observables", OrderedJson::array())) {
    // OCSF's observable types: 1 host name, 2 IP address, 4 user name.
    const int type = one.value("type_id", 0);
    if (type != 1 && type != 2 && type != 4) continue;
    const std::string text = Printable(Text(one, "value"));
    if (!text.empty() && std::find(hosts.begin(), hosts.end(), text) == hosts.end())
      hosts.push_back(text);
  }
  if (!hosts.empty()) fmt::print(out, "    who:   {}\n", fmt::join(hosts, ", "));
  const int64_t first = finding.value("first_seen_time", int64_t{0});
  const int64_t last = finding.value("last_seen_time", int64_t{0});
  fmt::print(out, "    when:  {} to {} UTC\n", DateAndTime(first), DateAndTime(last));
  fmt::print(out, "    why:   {}\n", Printable(Text(finding, "desc")));
  ShowFindings(unmapped, out);
  const int64_t dropped = unmapped.value("evidence_dropped", int64_t{0});
  if (dropped > 0)
    fmt::print(out, "    events: {}, {} of them listed\n", Text(alert, "count"),
               Text(unmapped, "evidence_listed"));
  std::vector<std::string> techniques;
  for (const OrderedJson& attack : finding.value("attacks", OrderedJson::array())) {
    const std::string uid = Text(
        Object(attack, attack.contains("sub_technique") ? "sub_technique" : "technique"), "uid");
    if (!uid.empty()) techniques.push_back(uid);
  }
  if (!techniques.empty()) fmt::print(out, "    ATT&CK {}\n", fmt::join(techniques, ", "));
  fmt::print(out, "    id:    {}\n", Text(finding, "uid"));
  for (const OrderedJson& evidence : alert.value("evidences", OrderedJson::array()))
    ShowEvidence(evidence, out);
  fmt::print(out, "\n");
}

}  // namespace

absl::Status ShowAlerts(const std::string& path, const ShowOptions& options, std::FILE* out) {
  std::ifstream in(path);
  if (!in) return absl::NotFoundError(fmt::format("cannot read {}", path));
  // An update replaces what it updates; the order of creation stays.
  std::vector<OrderedJson> alerts;
  std::map<std::string, size_t> by_uid;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    OrderedJson alert = OrderedJson::parse(line, nullptr, /*allow_exceptions=*/false);
    const std::string uid = alert.is_object() ? Text(Object(alert, "finding_info"), "uid") : "";
    if (uid.empty())
      return absl::InvalidArgumentError(fmt::format("{}:{}: not an OCSF alert", path, number));
    if (const auto it = by_uid.find(uid); it != by_uid.end()) {
      alerts[it->second] = std::move(alert);
    } else {
      by_uid[uid] = alerts.size();
      alerts.push_back(std::move(alert));
    }
  }
  const size_t shown = options.limit > 0
                           ? std::min(alerts.size(), static_cast<size_t>(options.limit))
                           : alerts.size();
  for (size_t i = 0; i < shown; ++i) ShowOne(alerts[i], static_cast<int>(i) + 1, options, out);
  if (shown < alerts.size())
    fmt::print(out, "... and {} more incidents in {}\n", alerts.size() - shown, path);
  if (alerts.empty()) fmt::print(out, "no incidents\n");
  return absl::OkStatus();
}

}  // namespace bongsu
