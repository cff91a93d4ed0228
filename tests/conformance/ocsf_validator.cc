#include "tests/conformance/ocsf_validator.h"

#include <fmt/format.h>
#include <zstd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <utility>

namespace bongsu::testing {
namespace {

using Json = nlohmann::json;
using Files = std::map<std::string, std::string>;  // path below the schema's folder -> text

constexpr size_t kArchiveBytesMax = size_t{256} << 20;

absl::StatusOr<std::string> ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(fmt::format("cannot read {}", path));
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

absl::StatusOr<std::string> Unpack(const std::string& packed) {
  std::string out;
  ZSTD_DStream* stream = ZSTD_createDStream();
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  std::string chunk(size_t{1} << 20, '\0');
  while (in.pos < in.size && out.size() < kArchiveBytesMax) {
    ZSTD_outBuffer piece{chunk.data(), chunk.size(), 0};
    const size_t rest = ZSTD_decompressStream(stream, &piece, &in);
    if (ZSTD_isError(rest) != 0) break;
    out.append(chunk, 0, piece.pos);
  }
  const bool whole = in.pos == in.size;
  ZSTD_freeDStream(stream);
  if (!whole) return absl::DataLossError("the schema archive does not unpack");
  return out;
}

// The regular files of a ustar archive: 512-byte headers, name at 0, size (octal) at 124, type at
// 156, prefix at 345.
Files ReadTar(const std::string& tar) {
  Files files;
  const auto text = [&](size_t at, size_t size) {
    std::string field = tar.substr(at, size);
    return field.substr(0, field.find('\0'));
  };
  for (size_t at = 0; at + 512 <= tar.size() && tar[at] != '\0';) {
    const size_t size = std::strtoull(text(at + 124, 12).c_str(), nullptr, 8);
    const std::string prefix = text(at + 345, 155);
    std::string name = (prefix.empty() ? "" : prefix + "/") + text(at, 100);
    if (name.starts_with("./")) name = name.substr(2);
    if (tar[at + 156] == '0' || tar[at + 156] == '\0') files[name] = tar.substr(at + 512, size);
    at += 512 + (size + 511) / 512 * 512;
  }
  return files;
}

absl::StatusOr<Files> ReadSchemaFiles(const std::string& path) {
  Files files;
  if (std::filesystem::is_directory(path)) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
      if (entry.path().extension() != ".json") continue;
      auto text = ReadAll(entry.path().string());
      if (!text.ok()) return text.status();
      files[std::filesystem::relative(entry.path(), path).string()] = *std::move(text);
    }
    return files;
  }
  auto packed = ReadAll(path);
  if (!packed.ok()) return packed.status();
  auto tar = Unpack(*packed);
  if (!tar.ok()) return tar.status();
  return ReadTar(*tar);
}

// A class or object with everything that it inherits and includes.
struct Definition {
  Json attributes = Json::object();
  Json constraints = Json::object();
};

// The values of observable.type_id are not listed in one place: each type, attribute and object
// that can be an observable carries its own number.
void AddObservableTypes(const Json& node, Json* values) {
  if (!node.is_object() && !node.is_array()) return;
  if (node.is_object() && node.contains("observable") && node["observable"].is_number_integer()) {
    (*values)[node["observable"].dump()] = Json{{"caption", node.value("caption", "")}};
  }
  for (const Json& child : node) AddObservableTypes(child, values);
}

}  // namespace

struct OcsfSchema::Impl {
  std::string version;
  Json dictionary;
  std::map<std::string, Json> parsed;          // by path
  std::map<std::string, std::string> by_name;  // "objects/process" or "events/finding" -> path
  mutable std::map<std::string, Definition> definitions;
  mutable std::map<std::string, std::regex> patterns;

  void MergeAttributes(const Json& from, Json* into) const;
  const Definition& Resolve(const std::string& kind_and_name) const;

  struct Run {
    std::vector<std::string> problems;
    std::set<std::string> profiles;
    void Add(const std::string& path, const std::string& text) {
      problems.push_back((path.empty() ? std::string("event") : path) + ": " + text);
    }
  };
  void CheckObject(const Json& value, const std::string& definition, const std::string& path,
                   Run* run) const;
  void CheckConstraints(const Json& value, const Json& constraints, const std::string& path,
                        Run* run) const;
  void CheckAttribute(const Json& value, const std::string& name, const Json& attribute,
                      const std::string& path, Run* run) const;
  void CheckValue(const Json& value, const std::string& type, const Json& attribute,
                  const std::string& path, Run* run) const;
  void CheckScalar(const Json& value, const std::string& type, const std::string& path,
                   Run* run) const;
  void CheckSibling(const Json& object, const std::string& name, const Json& attribute,
                    const std::string& path, Run* run) const;
};

// Attributes of `from` on top of those in `into`; included profiles mark theirs with their name.
void OcsfSchema::Impl::MergeAttributes(const Json& from, Json* into) const {
  if (const auto include = from.find("$include"); include != from.end()) {
    for (const Json& file : *include) {
      const Json& profile = parsed.at(file.get<std::string>());
      Json attributes = profile.value("attributes", Json::object());
      for (auto& [name, attribute] : attributes.items()) {
        if (name != "$include") attribute["profile"] = profile.at("name");
      }
      MergeAttributes(attributes, into);
    }
  }
  for (const auto& [name, attribute] : from.items()) {
    if (name == "$include") continue;
    Json& target = (*into)[name];
    if (target.is_null()) target = Json::object();
    for (const auto& [key, value] : attribute.items()) {
      if (key == "enum" && target.contains("enum")) {
        target["enum"].update(value);
      } else {
        target[key] = value;  // "profile": null takes an inherited profile's mark away
      }
    }
  }
}

const Definition& OcsfSchema::Impl::Resolve(const std::string& kind_and_name) const {
  if (const auto it = definitions.find(kind_and_name); it != definitions.end()) return it->second;
  Definition definition;
  const Json& json = parsed.at(by_name.at(kind_and_name));
  if (json.contains("extends")) {
    const std::string kind = kind_and_name.substr(0, kind_and_name.find('/') + 1);
    definition = Resolve(kind + json.at("extends").get<std::string>());
  }
  if (json.contains("constraints")) definition.constraints = json.at("constraints");
  MergeAttributes(json.value("attributes", Json::object()), &definition.attributes);
  return definitions[kind_and_name] = std::move(definition);
}

void OcsfSchema::Impl::CheckObject(const Json& value, const std::string& name,
                                   const std::string& path, Run* run) const {
  if (!value.is_object()) return run->Add(path, "is not an object");
  if (name == "objects/object") return;  // anything goes
  const Definition& definition = Resolve(name);
  const auto allowed = [&](const Json& attribute) {
    const auto profile = attribute.find("profile");
    return profile == attribute.end() || !profile->is_string() ||
           run->profiles.contains(profile->get<std::string>());
  };
  for (const auto& [key, attribute] : definition.attributes.items()) {
    if (attribute.value("requirement", "") == "required" && allowed(attribute) &&
        !value.contains(key)) {
      run->Add(path, fmt::format("required attribute '{}' is missing", key));
    }
  }
  for (const auto& [key, member] : value.items()) {
    const std::string at = path.empty() ? key : path + "." + key;
    const auto attribute = definition.attributes.find(key);
    if (attribute == definition.attributes.end()) {
      run->Add(at, fmt::format("is not an attribute of {}", name));
      continue;
    }
    if (!allowed(*attribute)) {
      run->Add(at, fmt::format("belongs to a profile that metadata.profiles does not name"));
      continue;
    }
    CheckAttribute(member, key, *attribute, at, run);
    CheckSibling(value, key, *attribute, at, run);
  }
  CheckConstraints(value, definition.constraints, path, run);
}

void OcsfSchema::Impl::CheckConstraints(const Json& value, const Json& constraints,
                                        const std::string& path, Run* run) const {
  for (const auto& [kind, names] : constraints.items()) {
    int present = 0;
    for (const Json& name : names) present += value.contains(name.get<std::string>()) ? 1 : 0;
    if (kind == "at_least_one" && present == 0) run->Add(path, "has none of " + names.dump());
    if (kind == "just_one" && present != 1)
      run->Add(path, "does not have just one of " + names.dump());
  }
}

void OcsfSchema::Impl::CheckAttribute(const Json& value, const std::string& name,
                                      const Json& attribute, const std::string& path,
                                      Run* run) const {
  const Json entry = dictionary.at("attributes").value(name, Json::object());
  Json merged = entry;
  for (const auto& [key, item] : attribute.items()) {
    if (key == "enum" && merged.contains("enum")) {
      merged["enum"].update(item);
    } else {
      merged[key] = item;
    }
  }
  const std::string type = merged.value("type", "");
  if (type.empty()) return run->Add(path, "has no type in the dictionary");
  if (merged.contains("@deprecated")) run->Add(path, "is deprecated");
  if (!merged.value("is_array", false)) return CheckValue(value, type, merged, path, run);
  if (!value.is_array()) return run->Add(path, "is not an array");
  for (size_t i = 0; i < value.size(); ++i) {
    CheckValue(value[i], type, merged, fmt::format("{}[{}]", path, i), run);
  }
}

void OcsfSchema::Impl::CheckValue(const Json& value, const std::string& type, const Json& attribute,
                                  const std::string& path, Run* run) const {
  if (type == "json_t") return;
  if (!dictionary.at("types").at("attributes").contains(type)) {
    return CheckObject(value, "objects/" + type, path, run);
  }
  CheckScalar(value, type, path, run);
  if (!attribute.contains("enum")) return;
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (!attribute.at("enum").contains(text))
    run->Add(path, text + " is not one of the schema's values");
}

void OcsfSchema::Impl::CheckScalar(const Json& value, const std::string& type,
                                   const std::string& path, Run* run) const {
  const Json& definition = dictionary.at("types").at("attributes").at(type);
  const std::string base = definition.value("type", type);
  const bool right = base == "boolean_t"   ? value.is_boolean()
                     : base == "integer_t" ? value.is_number_integer()
                     : base == "long_t"    ? value.is_number_integer()
                     : base == "float_t"   ? value.is_number()
                                           : value.is_string();
  if (!right) return run->Add(path, fmt::format("is not a {}: {}", type, value.dump()));
  if (definition.contains("range")) {
    const int64_t number = value.get<int64_t>();
    if (number < definition["range"][0].get<int64_t>() ||
        number > definition["range"][1].get<int64_t>()) {
      run->Add(path, "is out of range");
    }
  }
  if (!value.is_string()) return;
  const auto& text = value.get_ref<const std::string&>();
  if (definition.contains("max_len") && text.size() > definition["max_len"].get<size_t>()) {
    run->Add(path, "is too long");
  }
  if (!definition.contains("regex")) return;
  auto [it, added] = patterns.try_emplace(type);
  if (added)
    it->second = std::regex(definition["regex"].get<std::string>(), std::regex::ECMAScript);
  if (!std::regex_search(text, it->second))
    run->Add(path, fmt::format("is not a {}: {}", type, text));
}

// `severity_id: 4` and `severity: "High"` must agree.
void OcsfSchema::Impl::CheckSibling(const Json& object, const std::string& name,
                                    const Json& attribute, const std::string& path,
                                    Run* run) const {
  const Json entry = dictionary.at("attributes").value(name, Json::object());
  const std::string sibling = attribute.value("sibling", entry.value("sibling", ""));
  if (sibling.empty() || !object.contains(sibling) || !object.at(name).is_number_integer()) return;
  Json values = entry.value("enum", Json::object());
  values.update(attribute.value("enum", Json::object()));
  const auto value = values.find(object.at(name).dump());
  if (value == values.end() || value.key() == "99") return;
  if (value->at("caption") != object.at(sibling)) {
    run->Add(path, fmt::format("is {} ({}), but '{}' says {}", value.key(),
                               value->at("caption").dump(), sibling, object.at(sibling).dump()));
  }
}

OcsfSchema::OcsfSchema(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
OcsfSchema::~OcsfSchema() = default;
OcsfSchema::OcsfSchema(OcsfSchema&&) noexcept = default;
const std::string& OcsfSchema::version() const { return impl_->version; }

absl::StatusOr<OcsfSchema> OcsfSchema::Load(const std::string& path) {
  auto files = ReadSchemaFiles(path);
  if (!files.ok()) return files.status();
  auto impl = std::make_unique<Impl>();
  for (const auto& [name, text] : *files) {
    if (!name.ends_with(".json") || name.starts_with("extensions/") ||
        name.starts_with("metaschema/"))
      continue;
    Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded()) return absl::DataLossError(fmt::format("{} is not JSON", name));
    const std::string kind = name.substr(0, name.find('/'));
    if (kind == "objects" || kind == "events") {
      impl->by_name[kind + "/" + json.value("name", "")] = name;
    }
    impl->parsed[name] = std::move(json);
  }
  if (!impl->parsed.contains("dictionary.json") || !impl->parsed.contains("version.json")) {
    return absl::NotFoundError(fmt::format("{} does not hold the OCSF schema", path));
  }
  impl->dictionary = impl->parsed["dictionary.json"];
  Json& observable = impl->parsed.at(impl->by_name.at("objects/observable"));
  Json types = Json::object();
  for (const auto& [name, json] : impl->parsed) AddObservableTypes(json, &types);
  observable["attributes"]["type_id"]["enum"].update(types);
  impl->version = impl->parsed["version.json"].value("version", "");
  return OcsfSchema(std::move(impl));
}

std::vector<std::string> OcsfSchema::Validate(std::string_view event_json) const {
  Impl::Run run;
  const Json event = Json::parse(event_json, nullptr, /*allow_exceptions=*/false);
  if (event.is_discarded() || !event.is_object()) return {"event: is not a JSON object"};
  if (event.value("class_uid", 0) != 2004 || event.value("category_uid", 0) != 2) {
    return {"event: is not a Detection Finding (class_uid 2004, category_uid 2)"};
  }
  const Json metadata = event.value("metadata", Json::object());
  for (const Json& profile : metadata.value("profiles", Json::array())) {
    if (profile.is_string()) run.profiles.insert(profile.get<std::string>());
  }
  // Class and category are numbered by the event's place in the schema, not in the dictionary.
  Json body = event;
  for (const char* name : {"class_uid", "class_name", "category_uid", "category_name"})
    body.erase(name);
  impl_->CheckObject(body, "events/detection_finding", "", &run);
  std::erase_if(run.problems, [](const std::string& problem) {
    return problem == "event: required attribute 'class_uid' is missing" ||
           problem == "event: required attribute 'category_uid' is missing";
  });
  const auto expect = [&](const char* name, const Json& value) {
    if (event.contains(name) && event.at(name) != value) {
      run.Add(name, fmt::format("is {}, not {}", event.at(name).dump(), value.dump()));
    }
  };
  expect("class_name", "Detection Finding");
  expect("category_name", "Findings");
  expect("type_uid", 2004 * 100 + event.value("activity_id", 0));
  if (metadata.value("version", "") != version()) {
    run.Add("metadata.version", fmt::format("is not the schema's, {}", version()));
  }
  return run.problems;
}

std::string SharedOcsfSchemaPath() {
  const char* shared = std::getenv("BONGSU_SHARED");
  return shared == nullptr ? "" : std::string(shared) + "/reference/ocsf-schema.tar.zst";
}

}  // namespace bongsu::testing
