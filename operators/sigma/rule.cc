#include "operators/sigma/rule.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <span>

#include "operators/sigma/rule_reader.h"

namespace bongsu::sigma {
namespace {

constexpr std::array<std::string_view, 5> kLevels = {"informational", "low", "medium", "high",
                                                     "critical"};
constexpr std::array<std::string_view, 5> kStatuses = {"stable", "test", "experimental",
                                                       "deprecated", "unsupported"};
constexpr std::array<std::string_view, 5> kRelations = {"derived", "obsolete", "merged", "renamed",
                                                        "similar"};
// The keys of a document that no reader of metadata looks at.
constexpr std::array<std::string_view, 4> kBodyKeys = {"logsource", "detection", "correlation",
                                                       "filter"};
// What a misspelt key of a document most likely was meant to be.
constexpr std::array<std::string_view, 13> kImportantKeys = {
    "title",     "id",        "name",        "status", "level",  "tags",      "falsepositives",
    "logsource", "detection", "correlation", "filter", "author", "references"};

bool Contains(std::span<const std::string_view> words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::vector<std::string> Plain(const std::vector<PlacedText>& texts) {
  std::vector<std::string> plain;
  for (const PlacedText& text : texts) plain.push_back(text.text);
  return plain;
}

bool IsDate(std::string_view text) {
  if (text.size() != 10 || (text[4] != '-' && text[4] != '/') || text[7] != text[4]) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i != 4 && i != 7 && (text[i] < '0' || text[i] > '9')) return false;
  }
  return true;
}

void ReadRelated(const Node& node, Metadata* metadata, Diagnostics& diagnostics) {
  const auto bad = [&](const SourceLocation& where) {
    diagnostics.Warning(where, "'related' must be a list of {id: ..., type: ...}",
                        fmt::format("types: {}", fmt::join(kRelations, ", ")));
  };
  if (!node.is_sequence() || node.items.size() > kMetadataItemsMax) return bad(node.where);
  for (const Node& item : node.items) {
    const Node* id = item.Find("id");
    const Node* type = item.Find("type");
    if (id == nullptr || !id->is_scalar() || type == nullptr || !type->is_scalar()) {
      bad(item.where);
      continue;
    }
    if (!Contains(kRelations, type->scalar)) {
      diagnostics.Warning(type->where, fmt::format("unknown relation '{}'", type->scalar),
                          NearestHint(type->scalar, kRelations));
    }
    metadata->related.push_back({id->scalar, type->scalar});
  }
}

void ReadVersion(const Node& node, Metadata* metadata, Diagnostics& diagnostics) {
  int version = 0;
  const char* end = node.scalar.data() + node.scalar.size();
  const auto [stop, error] = std::from_chars(node.scalar.data(), end, version);
  // "2.1.0" means 2.
  if (!node.is_scalar() || error != std::errc() || (stop != end && *stop != '.') || version < 1 ||
      version > 3) {
    diagnostics.Error(node.where, fmt::format("unknown 'sigma-version' '{}'", node.scalar),
                      "versions 1, 2 and 3 are known");
    return;
  }
  metadata->sigma_version = version;
}

void CheckMetadata(const Metadata& metadata, const Node& document, Diagnostics& diagnostics) {
  const auto place = [&](std::string_view key) {
    const Node* value = document.Find(key);
    return value == nullptr ? document.where : value->where;
  };
  if (document.Find("title") == nullptr)
    diagnostics.Error(document.where, "a rule needs a title",
                      "for example title: Shell by a server");
  if (metadata.title.size() > kTitleBytesMax)
    diagnostics.Error(place("title"), "the title is too long", "at most 256 characters");
  if (metadata.description.size() > kDescriptionBytesMax)
    diagnostics.Error(place("description"), "the description is too long",
                      "at most 65,535 characters");
  if (!metadata.level.empty() && !Contains(kLevels, metadata.level))
    diagnostics.Error(metadata.level_where, fmt::format("unknown level '{}'", metadata.level),
                      NearestHint(metadata.level, kLevels));
  if (!metadata.status.empty() && !Contains(kStatuses, metadata.status))
    diagnostics.Warning(place("status"), fmt::format("unknown status '{}'", metadata.status),
                        NearestHint(metadata.status, kStatuses));
  for (const auto& [key, date] :
       {std::pair<std::string_view, const std::string&>{"date", metadata.date},
        {"modified", metadata.modified}}) {
    if (!date.empty() && !IsDate(date))
      diagnostics.Warning(place(key), fmt::format("'{}' is no date", date), "like 2026-01-31");
  }
}

// Reads what is metadata; the rest are custom fields.
void ReadMetadata(const Node& document, Metadata* metadata, Diagnostics& diagnostics) {
  struct TextKey {
    std::string_view key;
    std::string* text;
  };
  const TextKey texts[] = {
      {"id", &metadata->id},
      {"name", &metadata->name},
      {"title", &metadata->title},
      {"status", &metadata->status},
      {"description", &metadata->description},
      {"license", &metadata->license},
      {"author", &metadata->author},
      {"date", &metadata->date},
      {"modified", &metadata->modified},
      {"level", &metadata->level},
      {"taxonomy", &metadata->taxonomy},
  };
  struct ListKey {
    std::string_view key;
    std::vector<std::string>* list;
  };
  const ListKey lists[] = {
      {"references", &metadata->references},         {"tags", &metadata->tags},
      {"falsepositives", &metadata->falsepositives}, {"fields", &metadata->fields},
      {"output_fields", &metadata->output_fields},   {"scope", &metadata->scope},
  };
  metadata->where = document.where;
  for (const auto& [key, value] : document.entries) {
    if (Contains(kBodyKeys, key.scalar)) continue;
    const auto text = std::find_if(std::begin(texts), std::end(texts),
                                   [&](const TextKey& one) { return one.key == key.scalar; });
    const auto list = std::find_if(std::begin(lists), std::end(lists),
                                   [&](const ListKey& one) { return one.key == key.scalar; });
    if (text != std::end(texts)) {
      // `author:` without a value says nothing; so does an empty text.
      if (!value.is_null() && !(value.is_scalar() && value.scalar.empty()))
        ReadText(value, key.scalar, diagnostics, text->text);
    } else if (list != std::end(lists)) {
      if (!value.is_null() && !(value.is_sequence() && value.items.empty()))
        *list->list = Plain(ReadTexts(value, key.scalar, kMetadataItemsMax, diagnostics));
    } else if (key.scalar == "related") {
      if (!value.is_null()) ReadRelated(value, metadata, diagnostics);
    } else if (key.scalar == "sigma-version") {
      ReadVersion(value, metadata, diagnostics);
    } else if (key.scalar == "tests") {
      metadata->tests = value;  // the rule's own business: no alert carries them
    } else if (key.scalar == "bongsu") {
      diagnostics.Error(key.where, "'bongsu' has no meaning here",
                        "it belongs inside 'correlation:' or 'filter:'");
    } else {
      metadata->custom.emplace_back(key.scalar, value);
    }
    if (key.scalar == "id") metadata->id_where = value.where;
    if (key.scalar == "name") metadata->name_where = value.where;
    if (key.scalar == "level") metadata->level_where = value.where;
  }
  CheckMetadata(*metadata, document, diagnostics);
}

void ReadLogsource(const Node& document, RuleLogsource* logsource, Diagnostics& diagnostics) {
  const Node* node = document.Find("logsource");
  logsource->where = document.where;
  if (node == nullptr || !node->is_map() || node->entries.empty()) {
    diagnostics.Error(node == nullptr ? document.where : node->where, "a rule needs a logsource",
                      "a map with category, product or service");
    return;
  }
  logsource->where = node->where;
  for (const auto& [key, value] : node->entries) {
    std::string* part = key.scalar == "category"     ? &logsource->category
                        : key.scalar == "product"    ? &logsource->product
                        : key.scalar == "service"    ? &logsource->service
                        : key.scalar == "definition" ? &logsource->definition
                                                     : nullptr;
    if (value.is_null()) continue;
    if (part != nullptr) {
      ReadText(value, key.scalar, diagnostics, part);
      continue;
    }
    static constexpr std::array<std::string_view, 4> kKeys = {"category", "product", "service",
                                                              "definition"};
    // "categroy" would make the rule apply to everything.
    if (const std::string nearest = NearestName(key.scalar, kKeys); !nearest.empty()) {
      diagnostics.Error(key.where, fmt::format("unknown key '{}' in logsource", key.scalar),
                        fmt::format("did you mean '{}'?", nearest));
    } else {
      logsource->other.emplace_back(key.scalar, value.is_scalar() ? value.scalar : "");
    }
  }
  // A logsource of a definition alone chooses every event.
  if (logsource->category.empty() && logsource->product.empty() && logsource->service.empty())
    diagnostics.Warning(node->where, "the logsource names no category, product or service",
                        "the rule is tried on every event of every source");
}

void ReadFilter(const Node& node, FilterRule* filter, Diagnostics& diagnostics) {
  if (!node.is_map()) {
    diagnostics.Error(node.where, "'filter' must be a map of rules, searches and a condition",
                      "rules: [id], selection: {User: svc}, condition: not selection");
    return;
  }
  filter->detection.kind = NodeKind::kMap;
  filter->detection.where = node.where;
  const Node* rules = nullptr;
  for (const auto& entry : node.entries) {
    const std::string& key = entry.first.scalar;
    if (key == "rules") {
      rules = &entry.second;
    } else if (key == "bongsu") {
      filter->extensions = entry.second;
    } else {
      filter->detection.entries.push_back(entry);
    }
  }
  if (rules == nullptr) {
    diagnostics.Error(node.where, "a filter needs 'rules'",
                      "a list of ids or names, or any: every rule of the logsource");
  } else if (rules->is_scalar() && rules->scalar == "any") {
    filter->any = true;
  } else {
    filter->rules = ReadTexts(*rules, "rules", kReferencesMax, diagnostics);
    ReportRepeated(filter->rules, "rules", diagnostics);
  }
  if (node.Find("condition") == nullptr)
    diagnostics.Error(node.where, "a filter needs a condition",
                      "for example condition: not selection");
  if (filter->detection.entries.size() < 2)
    diagnostics.Error(node.where, "a filter needs a search", "for example selection: {User: svc}");
}

}  // namespace

bool ReadText(const Node& node, std::string_view key, Diagnostics& diagnostics, std::string* out) {
  if (!node.is_scalar() || node.scalar.empty()) {
    diagnostics.Error(node.where, fmt::format("'{}' must be a text", key),
                      node.is_null() ? "it is empty" : "not a list or a map");
    return false;
  }
  *out = node.scalar;
  return true;
}

std::vector<PlacedText> ReadTexts(const Node& node, std::string_view key, size_t items_max,
                                  Diagnostics& diagnostics) {
  std::vector<PlacedText> texts;
  const std::span<const Node> items =
      node.is_sequence() ? std::span<const Node>(node.items) : std::span<const Node>(&node, 1);
  if (items.empty())
    diagnostics.Error(node.where, fmt::format("'{}' is an empty list", key),
                      "name at least one, or leave the key out");
  if (items.size() > items_max) {
    diagnostics.Error(node.where, fmt::format("'{}' has too many entries", key),
                      fmt::format("at most {}", items_max));
    return texts;
  }
  for (const Node& item : items) {
    std::string text;
    if (ReadText(item, key, diagnostics, &text)) texts.push_back({std::move(text), item.where});
  }
  return texts;
}

void ReportRepeated(const std::vector<PlacedText>& texts, std::string_view key,
                    Diagnostics& diagnostics) {
  for (size_t i = 0; i < texts.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (texts[i].text != texts[j].text) continue;
      diagnostics.Error(texts[i].where, fmt::format("'{}' names '{}' twice", key, texts[i].text),
                        "write it once");
      break;
    }
  }
}

namespace {

// SEP #212 gives `field[any]`, `[all]`, `[0]` and so on a meaning in version 3; taken for a field's
// name, such a rule would never be met.
void CheckQuantifiers(const Node& node, Diagnostics& diagnostics) {
  for (const Node& item : node.items) CheckQuantifiers(item, diagnostics);
  for (const auto& [key, value] : node.entries) {
    const std::string_view field = std::string_view(key.scalar).substr(0, key.scalar.find('|'));
    const size_t open = field.find('[');
    if (open != std::string_view::npos && field.find(']', open) != std::string_view::npos)
      diagnostics.Error(key.where, fmt::format("'{}': array quantifiers are not known", field),
                        "members of an array are each looked at; or leave out 'sigma-version: 3'");
    CheckQuantifiers(value, diagnostics);
  }
}

}  // namespace

std::optional<Rule> ParseRule(const Node& document, Diagnostics& diagnostics) {
  const int errors = diagnostics.errors();
  if (!document.is_map()) {
    diagnostics.Error(document.where, "a rule must be a map with a title and a detection",
                      "or a correlation, or a filter");
    return std::nullopt;
  }
  Rule rule;
  ReadMetadata(document, &rule.metadata, diagnostics);
  const Node* detection = document.Find("detection");
  const Node* correlation = document.Find("correlation");
  const Node* filter = document.Find("filter");
  const int bodies = (detection != nullptr) + (correlation != nullptr) + (filter != nullptr);
  if (bodies != 1) {
    std::string hint;
    for (const auto& [key, value] : rule.metadata.custom) {
      const std::string nearest = NearestName(key, kImportantKeys);
      if (Contains(kBodyKeys, nearest))
        hint = fmt::format("is '{}' meant to be '{}'?", key, nearest);
    }
    diagnostics.Error(document.where,
                      bodies == 0 ? "the document is no detection, correlation or filter"
                                  : "a document is one of detection, correlation and filter",
                      hint.empty() ? "it needs exactly one of these keys" : hint);
    return std::nullopt;
  }
  if (detection != nullptr) {
    DetectionRule body;
    ReadLogsource(document, &body.logsource, diagnostics);
    body.detection = *detection;
    if (!detection->is_map())
      diagnostics.Error(detection->where, "'detection' must be a map of searches and a condition",
                        "");
    rule.body = std::move(body);
  } else if (correlation != nullptr) {
    CorrelationRule body;
    ReadCorrelation(*correlation, &body, diagnostics);
    if (const Node* generate = document.Find("generate"); generate != nullptr) {
      // The schema has it beside `correlation:`, pySigma within it.
      ReadGenerate(*generate, &body, diagnostics);
      std::erase_if(rule.metadata.custom, [](const auto& one) { return one.first == "generate"; });
    }
    if (const Node* logsource = document.Find("logsource"))
      diagnostics.Error(logsource->where, "a correlation has no logsource",
                        "the rules that it refers to have theirs");
    rule.body = std::move(body);
  } else {
    FilterRule body;
    ReadLogsource(document, &body.logsource, diagnostics);
    ReadFilter(*filter, &body, diagnostics);
    rule.body = std::move(body);
  }
  const Node* searches = detection != nullptr ? detection : filter;
  if (searches != nullptr && rule.metadata.sigma_version >= 3)
    CheckQuantifiers(*searches, diagnostics);
  if (diagnostics.errors() > errors) return std::nullopt;
  return rule;
}

std::string_view RuleKindName(RuleKind kind) {
  switch (kind) {
    case RuleKind::kDetection:
      return "detection";
    case RuleKind::kCorrelation:
      return "correlation";
    case RuleKind::kFilter:
      return "filter";
  }
  return "";
}

}  // namespace bongsu::sigma
