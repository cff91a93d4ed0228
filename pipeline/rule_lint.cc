#include "pipeline/rule_lint.h"

#include <fmt/format.h>
#include <glob.h>

#include <algorithm>
#include <map>
#include <optional>

#include "operators/sigma/correlation.h"
#include "operators/sigma/rule_binding.h"
#include "operators/sigma/selection.h"
#include "pipeline/decoder.h"
#include "pipeline/file/byte_stream.h"
#include "pipeline/rehearsal.h"

namespace bongsu {
namespace {

constexpr size_t kReadBytes = size_t{1} << 16;
constexpr size_t kFieldsShown = 8;

std::vector<std::string> FilesOf(const std::vector<std::string>& patterns) {
  std::vector<std::string> files;
  for (const std::string& pattern : patterns) {
    glob_t found{};
    if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
      for (size_t i = 0; i < found.gl_pathc && files.size() < kSampleFilesMax; ++i)
        files.emplace_back(found.gl_pathv[i]);
    }
    globfree(&found);
  }
  return files;
}

// The rules of a source that have filters, and what these do.
class FilterTrials {
 public:
  FilterTrials(const sigma::SourceRules* rules, SourceSample* sample) : sample_(sample) {
    if (rules == nullptr) return;
    for (const sigma::BoundRule& rule : rules->rules) {
      if (rule.filters.empty()) continue;
      rules_.emplace_back(&rule, sample->filters.size());
      for (const sigma::BoundFilter& filter : rule.filters)
        sample->filters.push_back({filter.entry, rule.entry, 0, 0});
    }
  }
  void Try(const Event& event) {
    for (const auto& [rule, first] : rules_) {
      if (!rule->detection->Matches(event)) continue;
      for (size_t i = 0; i < rule->filters.size(); ++i) {
        FilterTrial& trial = sample_->filters[first + i];
        ++trial.matches;
        if (rule->filters[i].selection->Matches(event) != rule->filters[i].keep) ++trial.removed;
      }
    }
  }

 private:
  SourceSample* sample_;
  std::vector<std::pair<const sigma::BoundRule*, size_t>> rules_;  // and its first trial
};

// The first lines of a file; at most as many as are still wanted.
std::string SampleFile(const std::string& file, Decoder& decoder, FilterTrials& filters,
                       SourceSample* sample) {
  auto stream = OpenByteStream(file);
  if (!stream.ok()) return std::string(stream.status().message());
  std::string bytes;
  size_t begin = 0;
  while (sample->records < kSampleRecordsMax) {
    const size_t end = bytes.find('\n', begin);
    if (end == std::string::npos) {
      bytes.erase(0, begin);
      begin = 0;
      const size_t before = bytes.size();
      bytes.resize(before + kReadBytes);
      const auto read = (*stream)->Read(bytes.data() + before, kReadBytes);
      if (!read.ok()) return std::string(read.status().message());
      bytes.resize(before + *read);
      if (*read > 0) continue;
      if (bytes.empty()) break;
      bytes.push_back('\n');  // the last line
      continue;
    }
    Record record;
    record.bytes = std::string_view(bytes).substr(begin, end - begin);
    begin = end + 1;
    Event event;
    const DecodeResult result = decoder.Decode(record, &event);
    if (result != DecodeResult::kOk && result != DecodeResult::kNoTime) continue;
    ++sample->records;
    filters.Try(event);
    for (size_t slot = 0; slot < sample->seen.size(); ++slot)
      sample->seen[slot] = sample->seen[slot] || !event.fields[slot].is_absent();
  }
  return "";
}

// What is known of a condition when some fields are absent for certain.
enum class Known : uint8_t { kNo, kYes, kUnknown };

class Absence {
 public:
  Absence(const FieldTable& fields, const SourceSample& sample)
      : sample_(sample), nothing_(static_cast<size_t>(fields.size())) {
    event_.fields = nothing_;
  }

  // The fields whose absence keeps the detection from ever matching; none: it can match.
  std::vector<std::string> Lacking(const sigma::Detection& detection) {
    lacking_.clear();
    if (Part(detection, detection.condition()) != Known::kNo) return {};
    std::sort(lacking_.begin(), lacking_.end());
    lacking_.erase(std::unique(lacking_.begin(), lacking_.end()), lacking_.end());
    return lacking_;
  }

 private:
  Known One(const sigma::Item& item) {
    if (item.keywords() || sample_.seen[static_cast<size_t>(item.slot)]) return Known::kUnknown;
    if (item.Matches(event_)) return Known::kYes;
    lacking_.push_back(item.field);
    return Known::kNo;
  }
  Known Map(const std::vector<sigma::Item>& items) {
    Known all = Known::kYes;
    for (const sigma::Item& item : items) {
      const Known one = One(item);
      if (one == Known::kNo) return Known::kNo;
      if (one == Known::kUnknown) all = Known::kUnknown;
    }
    return all;
  }
  static Known Or(Known a, Known b) {
    if (a == Known::kYes || b == Known::kYes) return Known::kYes;
    return a == Known::kNo && b == Known::kNo ? Known::kNo : Known::kUnknown;
  }
  static Known Not(Known a) {
    return a == Known::kUnknown ? a : a == Known::kYes ? Known::kNo : Known::kYes;
  }
  Known Part(const sigma::Detection& detection, const sigma::Condition& part) {
    Known result = Known::kNo;
    switch (part.kind) {
      case sigma::Condition::kSearch:
        for (const auto& items : detection.searches()[static_cast<size_t>(part.search)].maps)
          result = Or(result, Map(items));
        return result;
      case sigma::Condition::kNot:
        return Not(Part(detection, part.operands[0]));
      case sigma::Condition::kOr:
        for (const sigma::Condition& operand : part.operands)
          result = Or(result, Part(detection, operand));
        return result;
      case sigma::Condition::kAnd:
        result = Known::kYes;
        for (const sigma::Condition& operand : part.operands)
          result = Not(Or(Not(result), Not(Part(detection, operand))));
        return result;
    }
    return result;
  }

  const SourceSample& sample_;
  std::vector<Value> nothing_;
  Event event_;
  std::vector<std::string> lacking_;
};

std::string Head(const sigma::RuleEntry& entry) {
  const sigma::Metadata& metadata = entry.rule.metadata;
  return fmt::format("{}:{}: {}: ", metadata.where.file, metadata.where.line, metadata.title);
}

// What the rule does not say of itself, though those who get its alerts need it.
void LintWords(const sigma::RuleEntry& entry, std::vector<std::string>* findings) {
  const sigma::Metadata& metadata = entry.rule.metadata;
  if (entry.mute) {  // never in an alert: it must be referred to, and that is all
    return;
  }
  const std::pair<bool, const char*> checks[] = {
      {metadata.id.empty(), "no id: its incidents and state are known by its name alone"},
      {metadata.level.empty() && entry.rule.kind() != sigma::RuleKind::kFilter,
       "no level: its alerts are medium"},
      {metadata.description.empty(), "no description"},
      {metadata.author.empty(), "no author"},
      {metadata.status == "deprecated" || metadata.status == "unsupported",
       "its status says that it should not run"},
  };
  for (const auto& [wrong, what] : checks) {
    if (wrong) findings->push_back(Head(entry) + what);
  }
  if (entry.rule.kind() == sigma::RuleKind::kFilter && entry.filtered.empty())
    findings->push_back(Head(entry) + "the filter applies to no rule");
}

void LintFields(const Config& config, const std::vector<SourceSample>& samples,
                std::vector<std::string>* findings) {
  const sigma::RuleSet& rules = *config.rules;
  std::map<uint32_t, size_t> can_match;                // by entry: sources where it can
  std::map<uint32_t, std::vector<std::string>> never;  // by entry: a text for each source
  for (size_t source = 0; source < config.sources.size(); ++source) {
    if (samples[source].records == 0) continue;
    Absence absence(config.sources[source].fields, samples[source]);
    for (const sigma::BoundRule& bound : config.binding->sources[source].rules) {
      const auto* detection = dynamic_cast<const sigma::Detection*>(bound.detection.get());
      if (detection == nullptr) continue;
      const std::vector<std::string> lacking = absence.Lacking(*detection);
      if (lacking.empty()) {
        ++can_match[bound.entry];
        continue;
      }
      never[bound.entry].push_back(fmt::format("in source '{}', where no record has {}",
                                               config.sources[source].name,
                                               fmt::join(lacking, ", ")));
    }
  }
  for (const auto& [entry, texts] : never) {
    for (const std::string& text : texts)
      findings->push_back(fmt::format("{}can never match {}", Head(rules.entries[entry]), text));
  }
  for (size_t source = 0; source < config.sources.size(); ++source) {
    if (samples[source].records == 0) continue;
    std::map<std::string, size_t> unseen;  // field: rules that read it
    const FieldTable& fields = config.sources[source].fields;
    for (const sigma::BoundRule& bound : config.binding->sources[source].rules) {
      for (const std::string& field : bound.detection->fields()) {
        const int slot = fields.Find(field);
        if (slot >= 0 && field != kAllValuesField &&
            !samples[source].seen[static_cast<size_t>(slot)])
          ++unseen[field];
      }
    }
    for (const auto& [field, count] : unseen)
      findings->push_back(
          fmt::format("field '{}' was never seen in source '{}' ({} records); {} {}", field,
                      config.sources[source].name, samples[source].records, count,
                      count == 1 ? "rule reads it" : "rules read it"));
  }
}

// A correlation's own fields: where no record has one, its events are left out.
void LintCorrelations(const Config& config, const std::vector<SourceSample>& samples,
                      std::vector<std::string>* findings) {
  for (const auto& spec : config.operators) {
    const auto* correlation = dynamic_cast<const sigma::CorrelationSpec*>(spec.get());
    if (correlation == nullptr) continue;
    const int entry = FindRuleEntry(config, spec->rule().name);
    if (entry < 0) continue;
    for (size_t port = 0; port < spec->inputs().size(); ++port) {
      const InputSpec& input = spec->inputs()[port];
      for (size_t source = 0; !input.from_operator && source < config.sources.size(); ++source) {
        if (config.sources[source].name != input.source || samples[source].records == 0) continue;
        std::vector<std::string> asked = input.key_fields;
        for (const int position : correlation->value_positions(port))
          asked.push_back(input.fields[static_cast<size_t>(position)]);
        for (const std::string& field : asked) {
          const int slot = config.sources[source].fields.Find(field);
          if (slot < 0 || samples[source].seen[static_cast<size_t>(slot)]) continue;
          findings->push_back(
              fmt::format("{}takes no event of '{}' from source '{}', where no record has {}",
                          Head(config.rules->entries[static_cast<size_t>(entry)]), input.name,
                          input.source, field));
        }
      }
    }
  }
}

// A filter that leaves nothing of a rule most often has the other polarity; one that removes
// nothing may have a mistake in a field's name.
void LintFilters(const Config& config, const std::vector<SourceSample>& samples,
                 std::vector<std::string>* findings) {
  const auto& entries = config.rules->entries;
  struct Sum {
    size_t matches = 0;
    size_t removed = 0;
  };
  std::map<uint32_t, Sum> sums;
  for (size_t source = 0; source < samples.size(); ++source) {
    for (const FilterTrial& trial : samples[source].filters) {
      Sum& sum = sums[trial.filter];
      sum.matches += trial.matches;
      sum.removed += trial.removed;
      if (trial.matches == 0 || trial.removed < trial.matches) continue;
      const bool keep = entries[trial.filter].filter_condition == sigma::FilterCondition::kKeep;
      findings->push_back(fmt::format(
          "{}the filter removes every match of '{}' in source '{}' ({} of {}); with "
          "condition_means: {} it would remove none",
          Head(entries[trial.filter]), entries[trial.rule].rule.metadata.title,
          config.sources[source].name, trial.removed, trial.matches, keep ? "exclude" : "keep"));
    }
  }
  for (const auto& [filter, sum] : sums) {
    if (sum.matches > 0 && sum.removed == 0)
      findings->push_back(
          fmt::format("{}the filter removes none of the {} matches of its rules in the samples",
                      Head(entries[filter]), sum.matches));
  }
}

}  // namespace

std::vector<SourceSample> SampleSources(const Config& config, const std::vector<std::string>& given,
                                        std::vector<std::string>* problems) {
  std::vector<SourceSample> samples(config.sources.size());
  for (const std::string& text : given) {
    const std::string name = text.substr(0, text.find('='));
    if (text.find('=') == std::string::npos || config.FindSource(name) == nullptr)
      problems->push_back(fmt::format("'{}' is no SOURCE=FILE of a configured source", text));
  }
  for (size_t i = 0; i < config.sources.size(); ++i) {
    const SourceConfig& source = config.sources[i];
    std::vector<std::string> files;
    for (const std::string& text : given) {
      if (text.starts_with(source.name + "=")) files.push_back(text.substr(source.name.size() + 1));
    }
    if (files.empty()) files = FilesOf(source.files);
    samples[i].seen.resize(static_cast<size_t>(source.fields.size()));
    Decoder decoder(source.format, source.fields,
                    {source.validate, source.record_bytes_max, source.depth_max});
    FilterTrials filters(config.binding != nullptr ? &config.binding->sources[i] : nullptr,
                         &samples[i]);
    for (const std::string& file : files) {
      const std::string problem = SampleFile(file, decoder, filters, &samples[i]);
      if (!problem.empty()) problems->push_back(problem);
    }
  }
  return samples;
}

std::vector<std::string> FilterDryRun(const Config& config,
                                      const std::vector<SourceSample>& samples) {
  std::vector<std::string> lines;
  if (config.rules == nullptr) return lines;
  const auto& entries = config.rules->entries;
  for (size_t source = 0; source < samples.size(); ++source) {
    if (samples[source].records == 0) continue;
    for (const FilterTrial& trial : samples[source].filters) {
      lines.push_back(
          fmt::format("filter '{}': removes {} of {} matches of '{}' in source {} "
                      "({} records)",
                      entries[trial.filter].rule.metadata.title, trial.removed, trial.matches,
                      entries[trial.rule].rule.metadata.title, config.sources[source].name,
                      samples[source].records));
    }
  }
  return lines;
}

std::vector<std::string> LintRules(const Config& config, const std::vector<SourceSample>& samples) {
  std::vector<std::string> findings;
  if (config.rules == nullptr) return findings;
  for (const sigma::RuleEntry& entry : config.rules->entries) LintWords(entry, &findings);
  for (const uint32_t entry : config.binding->unbound)
    findings.push_back(fmt::format(
        "{}can never match: no source has its log source, {}", Head(config.rules->entries[entry]),
        sigma::LogSourceText(config.rules->entries[entry].rule.detection().logsource)));
  LintFields(config, samples, &findings);
  LintCorrelations(config, samples, &findings);
  LintFilters(config, samples, &findings);
  return findings;
}

}  // namespace bongsu
