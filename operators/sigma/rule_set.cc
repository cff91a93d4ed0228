#include "operators/sigma/rule_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <system_error>
#include <utility>

#include "operators/config/node.h"
#include "operators/incident.h"
#include "operators/sigma/correlation.h"
#include "operators/sigma/log_source.h"
#include "operators/sigma/rule_collection.h"
#include "operators/sigma/rule_reader.h"
#include "operators/sigma/selection.h"
#include "state/string_map.h"

namespace bongsu::sigma {
namespace {

namespace fs = std::filesystem;

// SigmaHQ's recorded events, with an info.yml beside each.
constexpr std::string_view kRegressionFolder = "regression_data";

// Tests lie beside the rules (deploy/RULE_TESTS.md).
bool IsRuleFile(const fs::path& path) {
  return (path.extension() == ".yml" || path.extension() == ".yaml") &&
         path.stem().extension() != ".test";
}

// The rule files below `path`, in the order of their names, each once over all calls (`seen`).
void FindFiles(const std::string& path, std::set<std::string>* seen, std::vector<std::string>* out,
               Diagnostics& diagnostics) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    diagnostics.Error({path, 0, 0}, "there is no such rule file or folder",
                      "paths are relative to the configuration's folder");
    return;
  }
  std::vector<std::string> found;
  if (fs::is_directory(status)) {
    fs::recursive_directory_iterator it(path, fs::directory_options::follow_directory_symlink,
                                        error);
    for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
      const std::string name = it->path().filename().string();
      if (name.starts_with('.') || (name == kRegressionFolder && it->is_directory())) {
        if (it->is_directory()) it.disable_recursion_pending();
        continue;
      }
      if (it.depth() > 32) it.disable_recursion_pending();  // a link to a folder above
      std::error_code ignored;
      if (it->is_regular_file(ignored) && IsRuleFile(it->path()))
        found.push_back(it->path().string());
      if (found.size() > kRuleFilesMax) break;
    }
    if (error)
      diagnostics.Error({path, 0, 0}, fmt::format("cannot read the folder: {}", error.message()));
    if (found.empty() && !error)
      diagnostics.Error({path, 0, 0}, "the folder holds no rules", "*.yml and *.yaml are read");
    std::sort(found.begin(), found.end());
  } else {
    found.push_back(path);
  }
  for (std::string& file : found) {
    const fs::path canonical = fs::weakly_canonical(file, error);
    if (seen->insert(canonical.string()).second) out->push_back(std::move(file));
  }
  if (out->size() > kRuleFilesMax) {
    diagnostics.Error({path, 0, 0}, "too many rule files",
                      fmt::format("at most {}", kRuleFilesMax));
    out->resize(kRuleFilesMax);
  }
}

std::string TextOf(const Node& document, std::string_view key) {
  const Node* value = document.Find(key);
  return value != nullptr && value->is_scalar() ? value->scalar : "";
}

class Loader {
 public:
  Loader(const RuleSetOptions& options, Diagnostics& diagnostics)
      : options_(options), diagnostics_(diagnostics) {}

  void Text(std::string_view text, const std::string& file) {
    Diagnostics found;
    YamlLimits limits;
    limits.bytes_max = kRuleFileBytesMax;
    std::vector<size_t> ends;
    std::vector<Node> documents = ParseYaml(text, file, limits, found, &ends);
    ++set_.files;
    // Half a file is no file: what could be read may lack what a later line says. So it is where
    // documents say something of others.
    const bool tied = std::any_of(documents.begin(), documents.end(),
                                  [](const Node& one) { return one.Find("action") != nullptr; });
    documents = ExpandCollection(std::move(documents), found);
    const size_t in_documents = ends.empty() ? 0 : ends.back();
    if (found.all().size() > in_documents || (tied && in_documents > 0)) {
      ++set_.documents;
      Skip(found, "", "", {file, 0, 0}, "the file is left out, with all its rules");
      return;
    }
    bool empty = true;
    for (size_t i = 0; i < documents.size(); ++i) {
      const Node& document = documents[i];
      Diagnostics own;
      // With mistakes nothing was expanded: each document is where it was.
      for (size_t at = i == 0 ? 0 : ends[i - 1]; in_documents > 0 && at < ends[i]; ++at) {
        const Diagnostic& one = found.all()[at];
        own.Error(one.where, one.message, one.hint);
      }
      if (document.is_null() && !own.has_errors()) continue;
      empty = false;
      if (!own.has_errors()) {
        Document(document);
        continue;
      }
      ++set_.documents;
      NoteCorrelation(document);
      std::string label = TextOf(document, "id");
      if (label.empty()) label = TextOf(document, "name");
      Skip(own, std::move(label), TextOf(document, "title"), document.where);
    }
    if (empty) diagnostics_.Warning({file, 0, 0}, "the file holds no rule", "");
  }

  RuleSet Finish() {
    Names();
    References();
    for (const RuleEntry& entry : set_.entries) {
      if (entry.rule.kind() == RuleKind::kCorrelation) WarnAliases(entry);
    }
    Filters();
    Mute();
    Hash();
    return std::move(set_);
  }

 private:
  // Leaves a document out for the mistakes in `found`.
  void Skip(const Diagnostics& found, std::string label, std::string title,
            const SourceLocation& where, std::string_view what = "the rule is left out") {
    SkippedRule skipped{std::move(label), std::move(title), where, "", true};
    for (const Diagnostic& one : found.all()) {
      if (one.severity == Severity::kError && skipped.why.empty()) {
        skipped.why =
            one.hint.empty() ? one.message : fmt::format("{} ({})", one.message, one.hint);
        if (one.where.line > 0) skipped.where = one.where;
      }
      if (one.severity == Severity::kError && options_.strict) {
        diagnostics_.Error(one.where, one.message, one.hint);
      } else if (one.severity == Severity::kError) {
        diagnostics_.Warning(one.where, fmt::format("{}; {}", one.message, what), one.hint);
      } else {
        diagnostics_.Warning(one.where, one.message, one.hint);
      }
    }
    set_.skipped.push_back(std::move(skipped));
  }
  void Keep(const Diagnostics& found) {
    for (const Diagnostic& one : found.all())
      diagnostics_.Warning(one.where, one.message, one.hint);
  }

  // What a correlation asks for makes no alerts of its own, also where the correlation is left out:
  // a slip in it must not make an alert of every event.
  void NoteCorrelation(const Node& document) {
    const Node* correlation = document.is_map() ? document.Find("correlation") : nullptr;
    if (correlation == nullptr || !correlation->is_map()) return;
    for (const Node* one : {document.Find("generate"), correlation->Find("generate")}) {
      if (one != nullptr && BoolOf(*one) == true) return;
    }
    // `rules` may be left out where the condition names them.
    const PlacedText expression = {TextOf(*correlation, "condition"), correlation->where};
    for (PlacedText& name : ExpressionNames(expression)) asked_for_.push_back(std::move(name.text));
    const Node* rules = correlation->Find("rules");
    if (rules == nullptr) return;
    if (rules->is_scalar()) asked_for_.push_back(rules->scalar);
    for (const Node& one : rules->items) {
      if (one.is_scalar()) asked_for_.push_back(one.scalar);
    }
  }

  void Document(const Node& document) {
    ++set_.documents;
    NoteCorrelation(document);
    Diagnostics found;
    std::optional<Rule> rule = ParseRule(document, found);
    if (rule && rule->kind() == RuleKind::kCorrelation) {
      CheckCorrelation(rule->correlation(), found);
      if (found.has_errors()) rule.reset();
    }
    if (!rule) {
      std::string label = TextOf(document, "id");
      if (label.empty()) label = TextOf(document, "name");
      Skip(found, std::move(label), TextOf(document, "title"), document.where);
      return;
    }
    RuleEntry entry;
    const Metadata& metadata = rule->metadata;
    if (std::find(options_.skip_status.begin(), options_.skip_status.end(), metadata.status) !=
        options_.skip_status.end()) {
      set_.skipped.push_back({metadata.label(), metadata.title, metadata.where,
                              fmt::format("its status is {}", metadata.status), false});
      return;
    }
    if (rule->kind() == RuleKind::kDetection) entry.detection = rule->detection().detection;
    if (rule->kind() == RuleKind::kFilter) entry.detection = rule->filter().detection;
    if (rule->kind() != RuleKind::kCorrelation) {
      // Compiled here without a source, so that a mistake is found whether a source needs it or
      // not.
      FieldTable fields;
      ExpandPlaceholders(options_.placeholders, &entry.detection, found);
      if (!found.has_errors()) {
        if (const auto selection = CompileSelection(entry.detection, fields, found)) {
          entry.normal_form = selection->normal_form();
          entry.matched_fields = selection->fields();
          for (const Search* one : selection->unasked())
            found.Warning(one->where, fmt::format("the condition does not ask for '{}'", one->name),
                          "did you forget it, or 'and not'?");
        }
      }
    }
    if (rule->kind() == RuleKind::kFilter) FilterMeaning(rule->filter(), &entry, found);
    if (found.has_errors()) {
      Skip(found, metadata.label(), metadata.title, metadata.where);
      return;
    }
    Keep(found);
    if (set_.entries.size() == kRulesMax) {
      diagnostics_.Error(metadata.where, "too many rules", fmt::format("at most {}", kRulesMax));
      return;
    }
    entry.rule = *std::move(rule);
    set_.entries.push_back(std::move(entry));
  }

  void FilterMeaning(const FilterRule& filter, RuleEntry* entry, Diagnostics& found) const {
    entry->filter_condition = options_.filter_condition;
    if (filter.extensions.is_null()) return;
    const Node* means = filter.extensions.Find("condition_means");
    const bool known = means != nullptr && filter.extensions.entries.size() == 1 &&
                       (means->scalar == "keep" || means->scalar == "exclude");
    if (!known) {
      found.Error(filter.extensions.where, "'bongsu' of a filter knows one key, condition_means",
                  "bongsu: {condition_means: keep} or exclude");
      return;
    }
    entry->filter_condition =
        means->scalar == "keep" ? FilterCondition::kKeep : FilterCondition::kExclude;
  }

  // Takes the entry out again. Its index stays valid until Compact.
  void Refuse(size_t index, Diagnostics& found) {
    const Metadata& metadata = set_.entries[index].rule.metadata;
    Skip(found, metadata.label(), metadata.title, metadata.where);
    refused_.insert(index);
  }
  void Compact() {
    if (refused_.empty()) return;
    std::vector<RuleEntry> kept;
    for (size_t i = 0; i < set_.entries.size(); ++i) {
      if (!refused_.contains(i)) kept.push_back(std::move(set_.entries[i]));
    }
    set_.entries = std::move(kept);
    refused_.clear();
  }

  // The first rule of an id or a name has it; a later one is refused.
  void Names() {
    StringMap<size_t> ids;
    StringMap<size_t> names;
    StringMap<size_t> labels;  // first of those that have an id or a name
    StringMap<size_t> all_ids;
    for (size_t i = 0; i < set_.entries.size(); ++i) {
      const std::string& id = set_.entries[i].rule.metadata.id;
      if (!id.empty()) all_ids.try_emplace(id, i);
      const Metadata& metadata = set_.entries[i].rule.metadata;
      if (!metadata.id.empty() || !metadata.name.empty()) labels.try_emplace(metadata.label(), i);
    }
    for (size_t i = 0; i < set_.entries.size(); ++i) {
      const Metadata& metadata = set_.entries[i].rule.metadata;
      Diagnostics found;
      const auto once = [&](StringMap<size_t>& known, const std::string& text, const char* what,
                            const SourceLocation& where) {
        if (text.empty()) return;
        const auto [it, added] = known.try_emplace(text, i);
        if (added) return;
        const SourceLocation& first = set_.entries[it->second].rule.metadata.where;
        found.Error(where, fmt::format("the {} '{}' is taken", what, text),
                    fmt::format("by {}:{}", first.file, first.line));
      };
      once(ids, metadata.id, "id", metadata.id_where);
      once(names, metadata.name, "name", metadata.name_where);
      // Alerts, state and metrics know a rule by its label.
      if (metadata.id.empty() && metadata.name.empty()) {
        const auto [it, added] = labels.try_emplace(metadata.title, i);
        const SourceLocation& first = set_.entries[it->second].rule.metadata.where;
        if (!added)
          found.Error(metadata.where,
                      fmt::format("it has no id and no name, and the title '{}' is taken, too",
                                  metadata.title),
                      fmt::format("by {}:{}; give it an id", first.file, first.line));
      }
      // A reference finds ids first: by this name nobody could mean this rule.
      const auto same = metadata.name.empty() ? all_ids.end() : all_ids.find(metadata.name);
      if (same != all_ids.end() && same->second != i)
        found.Error(metadata.name_where,
                    fmt::format("the name '{}' is another rule's id", metadata.name),
                    fmt::format("of {}:{}", set_.entries[same->second].rule.metadata.where.file,
                                set_.entries[same->second].rule.metadata.where.line));
      if (found.has_errors()) Refuse(i, found);
    }
    Compact();
  }

  // Resolves what correlations refer to. Refusing one refuses those that refer to it, so that this
  // is repeated until nothing changes; cycles are what is left without a level.
  void References() {
    for (bool changed = true; changed;) {
      changed = false;
      const Index index(set_);
      for (size_t i = 0; i < set_.entries.size(); ++i) {
        RuleEntry& entry = set_.entries[i];
        if (entry.rule.kind() != RuleKind::kCorrelation) continue;
        Diagnostics found;
        entry.references.clear();
        for (const PlacedText& name : entry.rule.correlation().rules)
          Refer(name, index, &entry, found);
        if (found.has_errors()) Refuse(i, found);
      }
      // Aliases may name rules below those that are referred to: only now is it known which.
      for (size_t i = 0; refused_.empty() && i < set_.entries.size(); ++i) {
        if (set_.entries[i].rule.kind() != RuleKind::kCorrelation) continue;
        Diagnostics found;
        CheckAliases(set_.entries[i], found);
        if (found.has_errors()) Refuse(i, found);
      }
      if (refused_.empty()) SetLevels();
      changed = !refused_.empty();
      Compact();
    }
  }

  struct Index {
    explicit Index(const RuleSet& set) {
      for (size_t i = 0; i < set.entries.size(); ++i) {
        const Metadata& metadata = set.entries[i].rule.metadata;
        if (!metadata.name.empty()) by_name.try_emplace(metadata.name, static_cast<uint32_t>(i));
        if (!metadata.id.empty()) by_id.try_emplace(metadata.id, static_cast<uint32_t>(i));
      }
    }
    const uint32_t* Find(const std::string& text) const {
      if (const auto it = by_id.find(text); it != by_id.end()) return &it->second;
      if (const auto it = by_name.find(text); it != by_name.end()) return &it->second;
      return nullptr;
    }
    std::string Nearest(const std::string& text) const {
      std::vector<std::string_view> names;
      for (const auto& [name, unused] : by_name) names.push_back(name);
      return NearestName(text, names);
    }
    StringMap<uint32_t> by_id;
    StringMap<uint32_t> by_name;
  };

  void Refer(const PlacedText& name, const Index& index, RuleEntry* entry, Diagnostics& found) {
    const uint32_t* target = index.Find(name.text);
    if (target == nullptr) {
      const auto skipped =
          std::find_if(set_.skipped.begin(), set_.skipped.end(),
                       [&](const SkippedRule& one) { return one.label == name.text; });
      const std::string nearest = index.Nearest(name.text);
      found.Error(name.where, fmt::format("there is no rule '{}'", name.text),
                  skipped != set_.skipped.end() ? fmt::format("it was left out: {}", skipped->why)
                  : nearest.empty()             ? "rules are found by id or name, in all files"
                                                : fmt::format("did you mean '{}'?", nearest));
      return;
    }
    if (set_.entries[*target].rule.kind() == RuleKind::kFilter) {
      found.Error(name.where, fmt::format("'{}' is a filter", name.text),
                  "a correlation refers to detections and correlations");
      return;
    }
    if (std::find(entry->references.begin(), entry->references.end(), *target) !=
        entry->references.end()) {
      found.Error(name.where, fmt::format("'{}' is named twice, by id and by name", name.text),
                  "write it once");
      return;
    }
    entry->references.push_back(*target);
  }

  // The rules that a correlation refers to, and those below them.
  std::set<uint32_t> Below(const RuleEntry& entry) const {
    std::set<uint32_t> reachable;
    std::function<void(const RuleEntry&)> reach = [&](const RuleEntry& from) {
      for (const uint32_t one : from.references) {
        if (reachable.insert(one).second) reach(set_.entries[one]);
      }
    };
    reach(entry);
    return reachable;
  }

  // An alias names fields of rules of this correlation, or of rules below it.
  void CheckAliases(const RuleEntry& entry, Diagnostics& found) const {
    const CorrelationRule& rule = entry.rule.correlation();
    const Index index(set_);
    const std::set<uint32_t> reachable = Below(entry);
    for (const CorrelationAlias& alias : rule.aliases) {
      for (const auto& [name, field] : alias.fields) {
        const uint32_t* target = index.Find(name.text);
        if (target == nullptr || !reachable.contains(*target))
          found.Error(name.where,
                      fmt::format("the alias '{}' names the rule '{}', which this correlation does "
                                  "not refer to",
                                  alias.alias.text, name.text),
                      "an alias names rules in 'rules', or below those");
      }
    }
  }

  // Whether the correlation asks for `name`; of those below it also by its aliases.
  static bool Asks(const CorrelationRule& rule, const std::string& name, bool below) {
    const auto is = [&](const PlacedText& one) { return one.text == name; };
    return std::any_of(rule.group_by.begin(), rule.group_by.end(), is) ||
           std::any_of(rule.fields.begin(), rule.fields.end(), is) ||
           (below && std::any_of(rule.aliases.begin(), rule.aliases.end(), [&](const auto& alias) {
              return std::any_of(alias.fields.begin(), alias.fields.end(),
                                 [&](const auto& one) { return is(one.second); });
            }));
  }

  // Aliases that do nothing, or not for all: a slip of the name makes groups of other fields.
  void WarnAliases(const RuleEntry& entry) {
    const CorrelationRule& rule = entry.rule.correlation();
    if (rule.aliases.empty()) return;
    const Index index(set_);
    const auto self = static_cast<uint32_t>(&entry - set_.entries.data());
    for (const CorrelationAlias& alias : rule.aliases) {
      const bool asked =
          Asks(rule, alias.alias.text, /*below=*/false) ||
          std::any_of(set_.entries.begin(), set_.entries.end(), [&](const RuleEntry& above) {
            return above.rule.kind() == RuleKind::kCorrelation &&
                   Asks(above.rule.correlation(), alias.alias.text, /*below=*/true) &&
                   Below(above).contains(self);
          });
      if (!asked) {
        diagnostics_.Warning(
            alias.alias.where, fmt::format("nothing asks for the alias '{}'", alias.alias.text),
            "a name in group-by or condition.field, or in those of a correlation above");
        continue;
      }
      std::set<uint32_t> named;
      for (const auto& [name, field] : alias.fields) {
        if (const uint32_t* one = index.Find(name.text); one != nullptr) named.insert(*one);
      }
      for (size_t i = 0; i < entry.references.size(); ++i) {
        std::set<uint32_t> below = Below(set_.entries[entry.references[i]]);
        below.insert(entry.references[i]);
        if (std::any_of(named.begin(), named.end(),
                        [&](uint32_t one) { return below.contains(one); }))
          continue;
        diagnostics_.Warning(
            alias.alias.where,
            fmt::format("the alias '{}' says nothing of '{}'", alias.alias.text,
                        rule.rules[i].text),
            fmt::format("of its events the field '{}' is taken", alias.alias.text));
      }
    }
  }

  void SetLevels() {
    constexpr int kNone = -1;
    for (RuleEntry& entry : set_.entries)
      entry.level = entry.rule.kind() == RuleKind::kCorrelation ? kNone : 0;
    for (bool moved = true; moved;) {
      moved = false;
      for (RuleEntry& entry : set_.entries) {
        if (entry.level != kNone) continue;
        int level = 0;
        for (const uint32_t one : entry.references) {
          const RuleEntry& target = set_.entries[one];
          if (target.level == kNone) {
            level = kNone;
            break;
          }
          if (target.rule.kind() == RuleKind::kCorrelation)
            level = std::max(level, target.level + 1);
        }
        if (level == kNone) continue;
        entry.level = level;
        moved = true;
      }
    }
    for (size_t i = 0; i < set_.entries.size(); ++i) {
      const RuleEntry& entry = set_.entries[i];
      if (entry.level != kNone && entry.level < kCorrelationLevelsMax) continue;
      Diagnostics found;
      if (entry.level == kNone) {
        found.Error(entry.rule.correlation().where,
                    fmt::format("the correlation refers to itself: {}", Circle(i)),
                    "correlations form levels: leave one of these references out");
      } else {
        found.Error(entry.rule.correlation().where, "too many levels of correlations",
                    fmt::format("at most {}", kCorrelationLevelsMax));
      }
      Refuse(i, found);
    }
  }

  // "a -> b -> a", along references that have no level: each of those leads to another.
  std::string Circle(size_t from) const {
    std::vector<size_t> path = {from};
    while (true) {
      for (const uint32_t one : set_.entries[path.back()].references) {
        if (set_.entries[one].level >= 0) continue;
        path.push_back(one);
        break;
      }
      const auto first = std::find(path.begin(), path.end() - 1, path.back());
      if (first == path.end() - 1) continue;
      std::string text;
      for (auto it = first; it != path.end(); ++it)
        text += (text.empty() ? "" : " -> ") + std::string(RuleName(set_.entries[*it]));
      return text;
    }
  }

  void Filters() {
    const Index index(set_);
    for (size_t i = 0; i < set_.entries.size(); ++i) {
      if (set_.entries[i].rule.kind() != RuleKind::kFilter) continue;
      const FilterRule& filter = set_.entries[i].rule.filter();
      Diagnostics found;
      std::vector<uint32_t> filtered;
      if (filter.any) {
        for (size_t r = 0; r < set_.entries.size(); ++r) {
          const Rule& rule = set_.entries[r].rule;
          if (rule.kind() == RuleKind::kDetection && Covers(filter, rule.detection()))
            filtered.push_back(static_cast<uint32_t>(r));
        }
      }
      for (const PlacedText& name : filter.rules) FilterOne(filter, name, index, &filtered, found);
      if (filtered.empty())
        found.Error(set_.entries[i].rule.metadata.where, "the filter applies to no rule",
                    filter.any ? "its logsource covers that of no rule" : "");
      if (found.has_errors()) {
        Refuse(i, found);
        continue;
      }
      Keep(found);
      set_.entries[i].filtered = std::move(filtered);
    }
    Compact();
    // Indices are settled only now.
    const Index settled(set_);
    for (size_t i = 0; i < set_.entries.size(); ++i) {
      RuleEntry& entry = set_.entries[i];
      if (entry.rule.kind() == RuleKind::kFilter) Resettle(settled, &entry);
      for (const uint32_t one : entry.filtered)
        set_.entries[one].filters.push_back(static_cast<uint32_t>(i));
    }
  }

  void Resettle(const Index& index, RuleEntry* entry) const {
    const FilterRule& filter = entry->rule.filter();
    entry->filtered.clear();
    for (size_t r = 0; filter.any && r < set_.entries.size(); ++r) {
      const Rule& rule = set_.entries[r].rule;
      if (rule.kind() == RuleKind::kDetection && Covers(filter, rule.detection()))
        entry->filtered.push_back(static_cast<uint32_t>(r));
    }
    for (const PlacedText& name : filter.rules) {
      Diagnostics reported;
      FilterOne(filter, name, index, &entry->filtered, reported);
    }
  }

  void FilterOne(const FilterRule& filter, const PlacedText& name, const Index& index,
                 std::vector<uint32_t>* filtered, Diagnostics& found) const {
    const uint32_t* target = index.Find(name.text);
    if (target == nullptr) {
      found.Warning(name.where,
                    fmt::format("the filter names '{}', which is no rule here", name.text),
                    "it removes nothing there");
      return;
    }
    const Rule& rule = set_.entries[*target].rule;
    if (rule.kind() != RuleKind::kDetection) {
      found.Warning(
          name.where,
          fmt::format("the filter names the {} '{}'", RuleKindName(rule.kind()), name.text),
          "filters apply to detections only");
      return;
    }
    if (!Covers(filter, rule.detection())) {
      found.Warning(name.where,
                    fmt::format("the filter's logsource does not cover that of '{}' ({})",
                                name.text, LogSourceText(rule.detection().logsource)),
                    "it removes nothing there");
      return;
    }
    filtered->push_back(*target);
  }

  // The filter's log source is the same or a wider one.
  static bool Covers(const FilterRule& filter, const DetectionRule& rule) {
    const auto covers = [](const std::string& wide, const std::string& narrow) {
      return wide.empty() || SameLogSourcePart(wide, narrow);
    };
    return covers(filter.logsource.category, rule.logsource.category) &&
           covers(filter.logsource.product, rule.logsource.product) &&
           covers(filter.logsource.service, rule.logsource.service);
  }

  void Mute() {
    std::vector<bool> base(set_.entries.size());
    std::vector<bool> generated(set_.entries.size());
    for (const RuleEntry& entry : set_.entries) {
      for (const uint32_t one : entry.references) {
        base[one] = true;
        if (entry.rule.correlation().generate) generated[one] = true;
      }
    }
    const Index index(set_);
    for (const std::string& name : asked_for_) {
      if (const uint32_t* one = index.Find(name); one != nullptr) base[*one] = true;
    }
    for (size_t i = 0; i < base.size(); ++i) set_.entries[i].mute = base[i] && !generated[i];
  }

  void Hash() {
    for (RuleEntry& entry : set_.entries) {
      if (entry.rule.kind() != RuleKind::kDetection) continue;
      const RuleLogsource& logsource = entry.rule.detection().logsource;
      std::string text = fmt::format("sigma-detection-1\n{}\n{}\n{}\n{}", logsource.category,
                                     logsource.product, logsource.service, entry.normal_form);
      std::vector<std::string> filters;
      for (const uint32_t one : entry.filters) {
        const RuleEntry& filter = set_.entries[one];
        const bool keep = filter.filter_condition == FilterCondition::kKeep;
        filters.push_back(fmt::format("\n{} {}", keep ? "keep" : "exclude", filter.normal_form));
      }
      std::sort(filters.begin(), filters.end());
      for (const std::string& filter : filters) text += filter;
      entry.semantic_hash = Sha256Hex(text);
    }
  }

  const RuleSetOptions& options_;
  Diagnostics& diagnostics_;
  RuleSet set_;
  std::set<size_t> refused_;
  std::vector<std::string> asked_for_;  // by correlations, loaded or not
};

void CheckNotEmpty(const RuleSet& set, const SourceLocation& where, Diagnostics& diagnostics) {
  if (set.Count(RuleKind::kDetection) + set.Count(RuleKind::kCorrelation) > 0) return;
  if (diagnostics.has_errors()) return;
  diagnostics.Error(where, "no rule could be loaded",
                    fmt::format("{} were left out", set.skipped.size()));
}

}  // namespace

size_t RuleSet::Count(RuleKind kind) const {
  return static_cast<size_t>(std::count_if(
      entries.begin(), entries.end(), [&](const RuleEntry& e) { return e.rule.kind() == kind; }));
}

int RuleSet::Find(std::string_view id_or_name) const {
  for (const bool by_id : {true, false}) {
    for (size_t i = 0; i < entries.size(); ++i) {
      const Metadata& metadata = entries[i].rule.metadata;
      if ((by_id ? metadata.id : metadata.name) == id_or_name) return static_cast<int>(i);
    }
  }
  return -1;
}

std::string RuleSet::NearestHint(std::string_view id_or_name) const {
  for (const SkippedRule& one : skipped) {
    if (one.label == id_or_name || one.title == id_or_name)
      return fmt::format("{}:{}: it was left out: {}", one.where.file, one.where.line, one.why);
  }
  std::vector<std::string_view> names;
  for (const RuleEntry& entry : entries) {
    for (const std::string* one :
         {&entry.rule.metadata.name, &entry.rule.metadata.id, &entry.rule.metadata.title}) {
      if (!one->empty()) names.push_back(*one);
    }
  }
  const std::string nearest = NearestName(id_or_name, names);
  return nearest.empty() ? "" : fmt::format("did you mean '{}'?", nearest);
}

std::string RuleSet::Summary() const {
  const auto by_status = static_cast<size_t>(
      std::count_if(skipped.begin(), skipped.end(), [](const auto& one) { return !one.broken; }));
  std::string text =
      fmt::format("{} rules from {} files: {} detections, {} correlations, {} filters; {} left out",
                  entries.size(), files, Count(RuleKind::kDetection), Count(RuleKind::kCorrelation),
                  Count(RuleKind::kFilter), skipped.size());
  if (by_status > 0) text += fmt::format(" ({} by their status)", by_status);
  return text;
}

RuleSet LoadRuleSet(const std::vector<std::string>& paths, const RuleSetOptions& options,
                    Diagnostics& diagnostics) {
  return LoadRuleSet(paths, {}, options, diagnostics);
}

RuleSet LoadRuleSet(const std::vector<std::string>& paths, const RuleTexts& texts,
                    const RuleSetOptions& options, Diagnostics& diagnostics) {
  std::vector<std::string> files;
  std::set<std::string> seen;
  for (const std::string& path : paths) FindFiles(path, &seen, &files, diagnostics);
  Loader loader(options, diagnostics);
  for (const std::string& file : files) {
    std::ifstream in(file, std::ios::binary);
    std::ostringstream content;
    if (in.peek() != std::ifstream::traits_type::eof()) content << in.rdbuf();
    if (in.bad() || !in.is_open()) {
      diagnostics.Error({file, 0, 0}, "cannot read the rule file",
                        "is it readable for the user that bongsu runs as?");
      continue;
    }
    loader.Text(content.str(), file);
  }
  for (const auto& [name, text] : texts) loader.Text(text, name);
  RuleSet set = loader.Finish();
  if (!paths.empty() || !texts.empty())
    CheckNotEmpty(set, {paths.empty() ? texts.begin()->first : paths[0], 0, 0}, diagnostics);
  return set;
}

RuleSet ParseRuleSet(std::string_view text, const std::string& file, const RuleSetOptions& options,
                     Diagnostics& diagnostics) {
  Loader loader(options, diagnostics);
  loader.Text(text, file);
  RuleSet set = loader.Finish();
  CheckNotEmpty(set, {file, 0, 0}, diagnostics);
  return set;
}

}  // namespace bongsu::sigma
