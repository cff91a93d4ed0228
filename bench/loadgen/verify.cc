#include "bench/loadgen/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

namespace bongsu::loadgen {
namespace {

using Json = nlohmann::json;

// What makes an incident: who is named on the left, and which records on the right, repeats
// included.
struct Found {
  std::string rule;
  std::string key;
  std::string left;
  std::vector<std::string> right;  // sorted
  uint64_t count = 0;
  size_t evidence = 0;

  std::string Name() const { return fmt::format("{} on {} (flow_id {})", rule, key, left); }
};

std::string Text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string Field(const Json& evidence, const char* name) {
  const Json& holder = evidence.contains("data") ? evidence.at("data") : evidence;
  const Json fields = holder.value("fields", Json::object());
  return fields.contains(name) ? Text(fields.at(name)) : "";
}

bool ReadOcsf(const Json& alert, std::string* id, Found* found) {
  const Json info = alert.value("finding_info", Json::object());
  *id = info.value("uid", "");
  found->rule = info.value("analytic", Json::object()).value("name", "");
  found->key = alert.value("unmapped", Json::object()).value("key", "");
  found->count = alert.value("count", uint64_t{0});
  return !id->empty();
}

bool ReadNative(const Json& alert, std::string* id, Found* found) {
  *id = alert.value("id", "");
  found->rule = alert.value("rule", "");
  found->key = alert.value("key", "");
  found->count = alert.value("count", uint64_t{0});
  return !id->empty();
}

bool ReadAlert(const std::string& line, std::string* id, Found* found) {
  const Json alert = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!alert.is_object()) return false;
  const bool ocsf = alert.contains("class_uid");
  if (!(ocsf ? ReadOcsf(alert, id, found) : ReadNative(alert, id, found))) return false;
  for (const Json& evidence : alert.value(ocsf ? "evidences" : "evidence", Json::array())) {
    ++found->evidence;
    if (evidence.value(ocsf ? "name" : "input", "") == "left") {
      found->left = Field(evidence, "flow_id");
    } else {
      found->right.push_back(Field(evidence, "RecordNumber"));
    }
  }
  std::sort(found->right.begin(), found->right.end());
  return true;
}

Found ReadTruth(const Json& line, int* copies) {
  Found truth;
  truth.rule = line.at("rule");
  truth.key = line.at("key");
  truth.left = Text(line.at("left").at("flow_id"));
  *copies = line.at("left").at("copies");
  for (const Json& right : line.at("right")) {
    for (int i = 0; i < right.at("copies").get<int>(); ++i)
      truth.right.push_back(Text(right.at("RecordNumber")));
  }
  std::sort(truth.right.begin(), truth.right.end());
  return truth;
}

// Both sides of one left record.
struct Group {
  std::vector<Found> expected;
  std::vector<Found> found;
};

void Compare(const Group& group, VerifyResult* result) {
  const auto say = [result](std::string text) { result->problems.push_back(std::move(text)); };
  for (size_t i = group.found.size(); i < group.expected.size(); ++i) {
    say(fmt::format("missing: {}", group.expected[i].Name()));
  }
  for (size_t i = group.expected.size(); i < group.found.size(); ++i) {
    say(fmt::format("not in the truth: {}", group.found[i].Name()));
  }
  const size_t both = std::min(group.expected.size(), group.found.size());
  result->found += both;
  for (size_t i = 0; i < both; ++i) {
    const Found& found = group.found[i];
    const Found& expected = group.expected[i];
    if (found.right != expected.right) {
      say(fmt::format("{}: RecordNumbers are [{}], must be [{}]", found.Name(),
                      fmt::join(found.right, ", "), fmt::join(expected.right, ", ")));
    }
    if (found.count != expected.right.size() + 1) {
      say(fmt::format("{}: count is {}, must be {}", found.Name(), found.count,
                      expected.right.size() + 1));
    }
  }
}

}  // namespace

VerifyResult VerifyAlerts(std::istream& truth, std::istream& alerts) {
  VerifyResult result;
  std::set<std::string> rules;
  std::map<std::string, Group> groups;  // by name
  std::string line;
  while (std::getline(truth, line)) {
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) {
      result.problems.emplace_back("the truth file has a line that is not JSON");
      return result;
    }
    if (json.value("kind", "") == "summary") {
      for (const Json& rule : json.at("rules")) rules.insert(rule.get<std::string>());
      continue;
    }
    int copies = 1;
    const Found expected = ReadTruth(json, &copies);
    result.expected += static_cast<size_t>(copies);
    Group& group = groups[expected.Name()];
    for (int i = 0; i < copies; ++i) group.expected.push_back(expected);
  }
  if (rules.empty()) result.problems.emplace_back("the truth file has no summary");
  std::map<std::string, Found> by_id;
  for (size_t number = 1; std::getline(alerts, line); ++number) {
    std::string id;
    Found found;
    if (!ReadAlert(line, &id, &found)) {
      result.problems.push_back(fmt::format("line {} of the alerts is no alert", number));
      continue;
    }
    by_id[id] = std::move(found);
  }
  for (auto& [id, found] : by_id) {
    if (rules.contains(found.rule)) groups[found.Name()].found.push_back(std::move(found));
  }
  for (const auto& [name, group] : groups) Compare(group, &result);
  return result;
}

}  // namespace bongsu::loadgen
