#include "pipeline/rule_test_record.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "operators/fold.h"
#include "pipeline/json_text.h"
#include "pipeline/node_json.h"

namespace bongsu {
namespace {

Node Scalar(std::string text) {
  Node node;
  node.kind = NodeKind::kScalar;
  node.scalar = std::move(text);
  node.quoted = true;
  return node;
}

void Set(const std::string& key, Node value, Node* map) {
  for (auto& [name, old] : map->entries) {
    if (name.scalar != key) continue;
    old = std::move(value);
    return;
  }
  map->entries.emplace_back(Scalar(key), std::move(value));
}

// The value at `path`: the flat key before the nested one, as the decoder has it.
const Node* At(const Node& map, std::string_view path) {
  if (!map.is_map()) return nullptr;
  if (const Node* flat = map.Find(path); flat != nullptr) return flat;
  for (size_t dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.', dot + 1)) {
    if (const Node* outer = map.Find(path.substr(0, dot)); outer != nullptr) {
      if (const Node* inner = At(*outer, path.substr(dot + 1)); inner != nullptr) return inner;
    }
  }
  return nullptr;
}

std::string EpochText(EventTimeNs time, int digits) {
  int64_t unit = 1;
  for (int i = 0; i < digits; ++i) unit *= 10;
  const int64_t fraction = time % unit;
  std::string text = fmt::format("{}", time / unit);
  if (digits > 0 && fraction != 0) text += fmt::format(".{:0{}}", fraction, digits);
  return text;
}

// Rules' names become the first path that their format gives them.
Node FromFields(const Node& fields, const Format& format) {
  Node record;
  record.kind = NodeKind::kMap;
  for (const auto& [name, value] : fields.entries) {
    const std::vector<std::string> paths = format.PathsOf(name.scalar);
    const auto plain = std::find_if(paths.begin(), paths.end(), [](const std::string& path) {
      return path.find('*') == std::string::npos;
    });
    Set(plain == paths.end() ? name.scalar : *plain, value, &record);
  }
  return record;
}

}  // namespace

std::string TimeAsWritten(const TimeSpec& spec, EventTimeNs time) {
  std::string text;
  switch (spec.encoding) {
    case TimeEncoding::kRfc3339:
      AppendRfc3339(time, &text);
      return text;
    case TimeEncoding::kEpochS:
      return EpochText(time, 9);
    case TimeEncoding::kEpochMs:
      return EpochText(time, 6);
    case TimeEncoding::kEpochUs:
      return EpochText(time, 3);
    case TimeEncoding::kEpochNs:
      return EpochText(time, 0);
    case TimeEncoding::kPattern:
      break;
  }
  const std::string pattern = absl::StrReplaceAll(spec.pattern, {{"%%", "%%"}, {"%f", ".%E9f"}});
  return absl::FormatTime(pattern, absl::FromUnixNanos(time),
                          absl::FixedTimeZone(static_cast<int>(spec.zone_offset / kSecondNs)));
}

std::string MakeTestRecord(const RuleTestEvent& event, const Format& format, std::string* problem) {
  if (!event.text.empty()) return event.text;
  Node record = event.record.is_map() ? event.record : FromFields(event.fields, format);
  for (const TimeSpec& spec : format.time) {
    if (const RecordCondition& when = spec.when; !when.path.empty()) {
      const Node* value = At(record, when.path);
      if (value == nullptr ||
          std::none_of(when.texts.begin(), when.texts.end(), [value](const std::string& text) {
            return Folded(text) == Folded(value->scalar);
          })) {
        continue;
      }
    }
    Set(spec.path, Scalar(TimeAsWritten(spec, event.time)), &record);
    std::string json;
    AppendNodeJson(record, &json);
    return json;
  }
  *problem = fmt::format("the format '{}' has no place for the time of such an event", format.name);
  return "";
}

}  // namespace bongsu
