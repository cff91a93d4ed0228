#include "pipeline/format.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <span>
#include <utility>

#include "fmt/format.h"
#include "pipeline/builtin_formats.h"
#include "pipeline/decoder_plan.h"
#include "pipeline/event_time.h"
#include "state/check.h"

namespace bongsu {
namespace {

constexpr std::array<std::string_view, 15> kEntities = {
    "host",   "host_ip",     "user",    "src_ip",       "src_port",
    "dst_ip", "dst_port",    "process", "command_line", "parent_process",
    "pid",    "process_uid", "message", "event_id",     "signature"};
constexpr std::array<std::pair<std::string_view, TimeEncoding>, 6> kEncodings = {{
    {"rfc3339", TimeEncoding::kRfc3339},
    {"epoch_s", TimeEncoding::kEpochS},
    {"epoch_ms", TimeEncoding::kEpochMs},
    {"epoch_us", TimeEncoding::kEpochUs},
    {"epoch_ns", TimeEncoding::kEpochNs},
    {"pattern", TimeEncoding::kPattern},
}};

std::string Hint(std::string_view word, std::span<const std::string_view> names) {
  const std::string nearest = NearestName(word, names);
  if (!nearest.empty()) return fmt::format("did you mean '{}'?", nearest);
  return fmt::format("known: {}", fmt::join(names, ", "));
}

// Calls `read(key, value)` for each entry of a map; reports what is not a map, and unknown keys.
template <typename Read>
void ReadMap(const Node& node, std::string_view what, std::span<const std::string_view> keys,
             Diagnostics& diagnostics, Read read) {
  if (!node.is_map()) {
    diagnostics.Error(node.where, fmt::format("'{}' must be a map", what));
    return;
  }
  for (const auto& [key, value] : node.entries) {
    if (!keys.empty() && std::find(keys.begin(), keys.end(), key.scalar) == keys.end()) {
      diagnostics.Error(key.where, fmt::format("unknown key '{}' in '{}'", key.scalar, what),
                        Hint(key.scalar, keys));
      continue;
    }
    read(key, value);
  }
}

bool ReadText(const Node& node, std::string_view what, Diagnostics& diagnostics, std::string* out) {
  if (!node.is_scalar() || node.scalar.empty()) {
    diagnostics.Error(node.where, fmt::format("'{}' must be a text", what));
    return false;
  }
  *out = node.scalar;
  return true;
}

// One text, or a list of them.
std::vector<std::string> ReadTexts(const Node& node, std::string_view what,
                                   Diagnostics& diagnostics) {
  std::vector<std::string> texts;
  std::string text;
  if (node.is_scalar()) {
    if (ReadText(node, what, diagnostics, &text)) texts.push_back(std::move(text));
    return texts;
  }
  if (!node.is_sequence() || node.items.empty()) {
    diagnostics.Error(node.where, fmt::format("'{}' must be a field name or a list of them", what));
  }
  for (const Node& item : node.items) {
    if (ReadText(item, what, diagnostics, &text)) texts.push_back(text);
  }
  return texts;
}

void ReadEncoding(const Node& node, Diagnostics& diagnostics, TimeEncoding* encoding) {
  std::array<std::string_view, kEncodings.size()> names;
  for (size_t i = 0; i < names.size(); ++i) {
    names[i] = kEncodings[i].first;
    if (node.is_scalar() && node.scalar == names[i]) {
      *encoding = kEncodings[i].second;
      return;
    }
  }
  diagnostics.Error(node.where, fmt::format("unknown time encoding '{}'", node.scalar),
                    Hint(node.scalar, names));
}

RecordCondition ReadWhen(const Node& node, Diagnostics& diagnostics) {
  RecordCondition when;
  const Node* texts = nullptr;
  if (node.is_map() && node.entries.size() == 1) texts = &node.entries[0].second;
  if (texts == nullptr || !(texts->is_scalar() || texts->is_sequence())) {
    diagnostics.Error(node.where, "'when' must be one field and its text, or a list of texts",
                      "for example: when: {event_type: flow}");
    return when;
  }
  when.path = node.entries[0].first.scalar;
  when.texts = ReadTexts(*texts, when.path, diagnostics);
  return when;
}

// A field's paths: each a text, or a map where it counts in some records only.
void ReadFieldPaths(const std::string& name, const Node& node, Diagnostics& diagnostics,
                    Format* format) {
  static constexpr std::array<std::string_view, 2> kKeys = {"path", "when"};
  std::vector<std::string>& paths = format->fields[name];
  paths.clear();
  format->field_conditions.erase(name);
  const std::vector<Node> one = {node};
  const std::vector<Node>& items = node.is_sequence() ? node.items : one;
  if (items.empty())
    diagnostics.Error(node.where, fmt::format("'{}' must be a field name or a list of them", name));
  std::vector<RecordCondition> conditions;
  bool any = false;
  for (const Node& item : items) {
    std::string& path = paths.emplace_back();
    RecordCondition& when = conditions.emplace_back();
    if (!item.is_map()) {
      ReadText(item, name, diagnostics, &path);
      continue;
    }
    ReadMap(item, name, kKeys, diagnostics, [&](const Node& key, const Node& value) {
      if (key.scalar == "path") ReadText(value, "path", diagnostics, &path);
      if (key.scalar == "when") when = ReadWhen(value, diagnostics);
    });
    if (item.Find("path") == nullptr)
      diagnostics.Error(item.where, fmt::format("a path of '{}' needs 'path'", name),
                        "{path: a.b, when: {kind: x}}");
    any = any || !when.path.empty();
  }
  if (any) format->field_conditions[name] = std::move(conditions);
}

TimeSpec ReadTime(const Node& node, Diagnostics& diagnostics) {
  static constexpr std::array<std::string_view, 5> kKeys = {"path", "as", "pattern", "zone",
                                                            "when"};
  TimeSpec spec;
  const Node* as = nullptr;
  const Node* pattern = nullptr;
  const Node* zone = nullptr;
  ReadMap(node, "time", kKeys, diagnostics, [&](const Node& key, const Node& value) {
    if (key.scalar == "path") ReadText(value, "path", diagnostics, &spec.path);
    if (key.scalar == "as") ReadEncoding(*(as = &value), diagnostics, &spec.encoding);
    if (key.scalar == "pattern")
      ReadText(*(pattern = &value), "pattern", diagnostics, &spec.pattern);
    if (key.scalar == "zone") zone = &value;
    if (key.scalar == "when") spec.when = ReadWhen(value, diagnostics);
  });
  if (!node.is_map()) return spec;
  if (node.Find("path") == nullptr) {
    diagnostics.Error(node.where, "a time needs 'path', the field that it is read from");
  }
  if (pattern != nullptr && as != nullptr && spec.encoding != TimeEncoding::kPattern) {
    diagnostics.Error(pattern->where,
                      fmt::format("'pattern' and 'as: {}' contradict each other", as->scalar),
                      "leave 'as' out");
  }
  if (pattern == nullptr && spec.encoding == TimeEncoding::kPattern) {
    diagnostics.Error(as->where, "'as: pattern' needs 'pattern'",
                      "for example: '%Y-%m-%d %H:%M:%S%f'");
  }
  if (pattern == nullptr && zone != nullptr) {
    diagnostics.Error(zone->where,
                      "'zone' belongs to 'pattern': other encodings say their zone themselves");
  }
  if (zone != nullptr) {
    const std::optional<DurationNs> offset =
        zone->is_scalar() ? ParseZone(zone->scalar) : std::optional<DurationNs>();
    if (!offset) {
      diagnostics.Error(zone->where, fmt::format("'{}' is not a zone", zone->scalar),
                        "UTC, or like '+02:00'");
    }
    spec.zone_offset = offset.value_or(0);
  }
  if (pattern != nullptr && !spec.pattern.empty()) {
    spec.encoding = TimeEncoding::kPattern;
    std::string error;
    if (!TimePattern::Compile(spec.pattern, spec.zone_offset, &error)) {
      diagnostics.Error(pattern->where, fmt::format("time pattern '{}': {}", spec.pattern, error));
    } else if (zone == nullptr && spec.pattern.find("%z") == std::string::npos &&
               spec.pattern.find("%s") == std::string::npos) {
      diagnostics.Error(pattern->where,
                        "the pattern has no %z, so 'zone' must say what zone its times are in",
                        "zone: UTC, or like '+02:00'");
    }
  }
  return spec;
}

void ReadTimes(const Node& node, Diagnostics& diagnostics, std::vector<TimeSpec>* out) {
  out->clear();
  if (node.is_map()) {
    out->push_back(ReadTime(node, diagnostics));
    return;
  }
  if (!node.is_sequence() || node.items.empty()) {
    diagnostics.Error(node.where, "'time' must be a list of {path, as} maps");
    return;
  }
  for (const Node& item : node.items) out->push_back(ReadTime(item, diagnostics));
}

constexpr std::string_view kLogSourceFolder = "logsource/";

// `{base: windows, service: ...}`: a named map, parts of which may be replaced.
void ReadLogSource(const Node& node, Diagnostics& diagnostics, sigma::LogSourceMap* out) {
  Node own = node;
  for (size_t i = 0; i < own.entries.size(); ++i) {
    if (own.entries[i].first.scalar != "base") continue;
    const Node& base = own.entries[i].second;
    const sigma::LogSourceMap* known =
        base.is_scalar() ? FindBuiltinLogSource(base.scalar) : nullptr;
    if (known != nullptr) {
      *out = *known;
    } else {
      const std::vector<std::string_view> names = BuiltinLogSourceNames();
      diagnostics.Error(base.where, fmt::format("unknown log-source map '{}'", base.scalar),
                        Hint(base.scalar, names));
    }
    own.entries.erase(own.entries.begin() + static_cast<std::ptrdiff_t>(i));
    break;
  }
  sigma::ReadLogSourceMap(own, out, diagnostics);
  // The searches are Sigma's: a mistake in one is found here, not in each rule that needs it.
  for (const sigma::LogSourcePart* part : {&out->category, &out->product, &out->service}) {
    for (const sigma::LogSourceCase& one : part->cases) sigma::CheckSearch(one.when, diagnostics);
  }
}

void ReadOtherFields(const Node& node, Diagnostics& diagnostics, std::vector<std::string>* out) {
  *out = ReadTexts(node, "other_fields", diagnostics);
  for (const std::string& path : *out) {
    if (path.find("{}") == std::string::npos && path.find("{blanks}") == std::string::npos)
      diagnostics.Error(node.where, fmt::format("'{}' does not say where the name stands", path),
                        "{} or {blanks} stands for the name: 'event_data.{}'");
  }
}

// `known`: whether there are formats to name, which there are not for those that are compiled in.
bool FindFormat(const Node& node, bool known, Diagnostics& diagnostics, Format* out) {
  const Format* found = known && node.is_scalar() ? FindBuiltinFormat(node.scalar) : nullptr;
  if (found != nullptr) {
    *out = *found;
    return true;
  }
  const std::vector<std::string_view> names = BuiltinFormatNames();
  diagnostics.Error(node.where, fmt::format("unknown format '{}'", node.scalar),
                    Hint(node.scalar, names));
  return false;
}

std::optional<Format> ReadFormat(const Node& node, bool known, Diagnostics& diagnostics) {
  static constexpr std::array<std::string_view, 8> kKeys = {
      "name", "base", "time", "fields", "other_fields", "entities", "logsource", "raw"};
  const int errors = diagnostics.errors();
  Format format;
  if (node.is_scalar()) {
    return FindFormat(node, known, diagnostics, &format) ? std::optional(std::move(format))
                                                         : std::nullopt;
  }
  // The base first, wherever it stands in the map: the other keys change it.
  if (const Node* base = node.Find("base"); base != nullptr)
    FindFormat(*base, known, diagnostics, &format);
  ReadMap(node, "format", kKeys, diagnostics, [&](const Node& key, const Node& value) {
    if (key.scalar == "name") ReadText(value, "name", diagnostics, &format.name);
    if (key.scalar == "time") ReadTimes(value, diagnostics, &format.time);
    if (key.scalar == "logsource") ReadLogSource(value, diagnostics, &format.logsource);
    if (key.scalar == "other_fields") ReadOtherFields(value, diagnostics, &format.other_fields);
    if (key.scalar == "raw") {
      std::vector<std::string>& paths = format.fields[std::string(kRawField)];
      paths = ReadTexts(value, "raw", diagnostics);
      if (paths.size() > kRawPathsMax)
        diagnostics.Error(value.where, fmt::format("'raw' has {} paths", paths.size()),
                          fmt::format("at most {}", kRawPathsMax));
    }
    if (key.scalar == "fields") {
      ReadMap(value, "fields", {}, diagnostics, [&](const Node& name, const Node& paths) {
        ReadFieldPaths(name.scalar, paths, diagnostics, &format);
      });
    }
    if (key.scalar == "entities") {
      ReadMap(value, "entities", kEntities, diagnostics, [&](const Node& name, const Node& fields) {
        format.entities[name.scalar] = ReadTexts(fields, name.scalar, diagnostics);
      });
    }
  });
  if (node.is_map() && format.time.empty() && node.Find("time") == nullptr &&
      node.Find("base") == nullptr) {
    diagnostics.Error(node.where, "the format does not say where event time is",
                      "add time: [{path: ..., as: rfc3339}], or base: with a known format");
  }
  if (format.name.empty()) format.name = "custom";
  if (diagnostics.errors() > errors) return std::nullopt;
  return format;
}

// What of the compiled-in texts is in one folder, by name; each is parsed once, when it is asked
// for. They come with the binary: a mistake in them is a mistake of ours, which format_test would
// show.
template <typename T>
class Builtin {
 public:
  using Parse = T (*)(std::string_view name, const Node& document, Diagnostics& diagnostics);

  Builtin(std::string_view folder, Parse parse) : parse_(parse) {
    for (const BuiltinFormatText& text : BuiltinFormatTexts()) {
      const bool in_folder = text.name.starts_with(kLogSourceFolder);
      if (in_folder == !folder.empty()) one_[text.name.substr(folder.size())].text = &text;
    }
  }
  std::vector<std::string_view> names() const {
    std::vector<std::string_view> names;
    for (const auto& [name, one] : one_) names.push_back(name);
    return names;
  }
  const T* Find(std::string_view name) {
    const auto it = one_.find(name);
    if (it == one_.end()) return nullptr;
    One& one = it->second;
    std::call_once(one.parsed, [&] {
      Diagnostics diagnostics;
      const std::vector<Node> documents =
          ParseYaml(one.text->yaml, fmt::format("formats/{}.yaml", one.text->name), YamlLimits{},
                    diagnostics);
      BONGSU_CHECK_MSG(documents.size() == 1, diagnostics.Text());
      one.value = parse_(name, documents[0], diagnostics);
      BONGSU_CHECK_MSG(!diagnostics.has_errors(), diagnostics.Text());
    });
    return &one.value;
  }

 private:
  struct One {
    const BuiltinFormatText* text = nullptr;
    std::once_flag parsed;
    T value;
  };
  const Parse parse_;
  std::map<std::string_view, One> one_;
};

Builtin<Format>& Formats() {
  static auto* const formats = new Builtin<Format>(
      "", [](std::string_view name, const Node& document, Diagnostics& diagnostics) {
        std::optional<Format> format = ReadFormat(document, /*known=*/false, diagnostics);
        BONGSU_CHECK_MSG(format.has_value() && format->name == name, diagnostics.Text());
        return *std::move(format);
      });
  return *formats;
}

Builtin<sigma::LogSourceMap>& LogSources() {
  static auto* const maps = new Builtin<sigma::LogSourceMap>(
      kLogSourceFolder, [](std::string_view, const Node& document, Diagnostics& diagnostics) {
        sigma::LogSourceMap map;
        sigma::ReadLogSourceMap(document, &map, diagnostics);
        BONGSU_CHECK_MSG(map.mapped(), diagnostics.Text());
        return map;
      });
  return *maps;
}

// "ThreatName" as "Threat Name", "SAMUserAccount" as "SAM User Account".
std::string WithBlanks(std::string_view name) {
  const auto upper = [](char c) { return c >= 'A' && c <= 'Z'; };
  const auto lower = [](char c) { return c >= 'a' && c <= 'z'; };
  std::string out;
  for (size_t i = 0; i < name.size(); ++i) {
    const bool word =
        i > 0 && upper(name[i]) &&
        (lower(name[i - 1]) || (upper(name[i - 1]) && i + 1 < name.size() && lower(name[i + 1])));
    if (word) out.push_back(' ');
    out.push_back(name[i]);
  }
  return out;
}

void ReplaceFirst(std::string_view what, std::string_view by, std::string* text) {
  if (const size_t at = text->find(what); at != std::string::npos)
    text->replace(at, what.size(), by);
}

}  // namespace

std::vector<std::string> Format::PathsOf(const std::string& field) const {
  if (const auto it = fields.find(field); it != fields.end()) return it->second;
  const std::string blanks = WithBlanks(field);
  std::vector<std::string> paths;
  for (std::string path : other_fields) {
    if (path.find("{blanks}") != std::string::npos && blanks == field) continue;
    ReplaceFirst("{blanks}", blanks, &path);
    ReplaceFirst("{}", field, &path);
    if (std::find(paths.begin(), paths.end(), path) == paths.end())
      paths.push_back(std::move(path));
  }
  return paths;
}

std::vector<std::string_view> BuiltinFormatNames() { return Formats().names(); }
const Format* FindBuiltinFormat(std::string_view name) { return Formats().Find(name); }
std::vector<std::string_view> BuiltinLogSourceNames() { return LogSources().names(); }
const sigma::LogSourceMap* FindBuiltinLogSource(std::string_view name) {
  return LogSources().Find(name);
}

std::optional<Format> ParseFormat(const Node& node, Diagnostics& diagnostics) {
  return ReadFormat(node, /*known=*/true, diagnostics);
}

}  // namespace bongsu
