#include "pipeline/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <iterator>
#include <optional>
#include <set>

#include "operators/config/option.h"
#include "operators/registry.h"
#include "operators/sigma/correlation.h"
#include "pipeline/batch.h"
#include "pipeline/decoder.h"
#include "pipeline/event_time.h"
#include "pipeline/explain_state.h"
#include "pipeline/explain_steps.h"
#include "pipeline/file/byte_stream.h"
#include "pipeline/io.h"
#include "pipeline/rehearsal.h"
#include "pipeline/rule_test_command.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr int kUnusable = 2;
constexpr size_t kReadBytes = size_t{1} << 16;

struct InputFile {
  std::string name;  // source or format; empty: the only source
  std::string file;  // "-": standard input
  int source = -1;
  std::string bytes;
  std::vector<std::string_view> records;
  std::vector<size_t> lines;  // of each record: its line, from 1 on
  // Of each record: the newest event time of the file so far, by which files are read together.
  std::vector<EventTimeNs> newest;
};

absl::Status ReadInput(size_t bytes_max, InputFile* input) {
  if (input->file == "-") {
    input->bytes.assign(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  } else {
    auto stream = OpenByteStream(input->file);
    if (!stream.ok()) return stream.status();
    for (;;) {
      const size_t before = input->bytes.size();
      input->bytes.resize(before + kReadBytes);
      const auto read = (*stream)->Read(input->bytes.data() + before, kReadBytes);
      if (!read.ok()) return read.status();
      input->bytes.resize(before + *read);
      if (*read == 0) break;
      if (input->bytes.size() > bytes_max)
        return absl::ResourceExhaustedError(
            fmt::format("{}: more than {} of input", input->file, BytesText(kExplainBytesMax)));
    }
  }
  // What is no record to a run is none here (pipeline/file/file_source.cc), but it is a line.
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  const std::string_view text = input->bytes;
  size_t number = 0;
  for (size_t begin = text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
       begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    input->records.push_back(line);
    input->lines.push_back(number);
  }
  return absl::OkStatus();
}

Decoder MakeDecoder(const SourceConfig& source) {
  DecoderOptions options;
  options.validate = source.validate;
  options.record_bytes_max = source.record_bytes_max;
  options.depth_max = source.depth_max;
  return Decoder(source.format, source.fields, options);
}

class Explanation {
 public:
  Explanation(const ExplainOptions& options, const Config& config, std::vector<InputFile> inputs,
              std::FILE* out)
      : options_(options), config_(config), inputs_(std::move(inputs)), out_(out) {}

  int Run() {
    for (size_t i = 0; i < config_.operators.size(); ++i) {
      if (config_.operators[i]->rule().name == options_.rule) return Correlation(i);
    }
    const int entry = config_.rules != nullptr ? FindRuleEntry(config_, options_.rule) : -1;
    if (entry < 0) {
      const std::string hint =
          config_.rules != nullptr ? config_.rules->NearestHint(options_.rule) : "";
      return Unusable(
          fmt::format("there is no rule '{}'{}{}", options_.rule, hint.empty() ? "" : "; ", hint));
    }
    const sigma::RuleEntry& rule = config_.rules->entries[static_cast<size_t>(entry)];
    if (rule.rule.kind() == sigma::RuleKind::kDetection) {
      if (options_.state)
        return Unusable(fmt::format(
            "'{}' is a detection: it has no state; give it a file of events", options_.rule));
      return Detection(entry, rule);
    }
    for (size_t i = 0; i < config_.operators.size(); ++i) {
      if (config_.operators[i]->rule().name == sigma::RuleName(rule)) return Correlation(i);
    }
    return Unusable(
        fmt::format("'{}' is no detection and no correlation that runs", options_.rule));
  }

 private:
  int Unusable(const std::string& why) {
    fmt::print(stderr, "{}\n", why);
    return kUnusable;
  }

  static std::string Place(const InputFile& input, size_t record) {
    return fmt::format("{}:{}", input.file, input.lines[record]);
  }

  const sigma::BoundRule* Bound(size_t source, int entry) const {
    for (const sigma::BoundRule& rule : config_.binding->sources[source].rules) {
      if (rule.entry == static_cast<uint32_t>(entry)) return &rule;
    }
    return nullptr;
  }

  int Detection(int entry, const sigma::RuleEntry& rule) {
    bool matched = false;
    for (const InputFile& input : inputs_) {
      const auto source = static_cast<size_t>(input.source);
      const sigma::BoundRule* bound = Bound(source, entry);
      if (bound == nullptr) {
        std::string why = "its log source conflicts with the source's";
        for (const auto& [index, part] : config_.binding->sources[source].conflicts) {
          if (index == static_cast<uint32_t>(entry)) why = part;
        }
        fmt::print(out_, "'{}' is never asked of source {}: {}\n", rule.rule.metadata.title,
                   config_.sources[source].name, why);
        continue;
      }
      Decoder decoder = MakeDecoder(config_.sources[source]);
      for (size_t i = 0; i < input.records.size(); ++i)
        matched = OneEvent(rule, *bound, input, i, decoder) || matched;
    }
    return matched ? 0 : 1;
  }

  bool OneEvent(const sigma::RuleEntry& rule, const sigma::BoundRule& bound, const InputFile& input,
                size_t number, Decoder& decoder) {
    Record record;
    record.bytes = input.records[number];
    Event event;
    const DecodeResult result = decoder.Decode(record, &event);
    const std::string where = Place(input, number);
    if (result != DecodeResult::kOk && result != DecodeResult::kNoTime) {
      fmt::print(out_, "{}: no event: {}\n", where, DecodeResultName(result));
      return false;
    }
    const auto* detection = dynamic_cast<const sigma::Detection*>(bound.detection.get());
    std::string reason;
    std::string tree;
    if (detection != nullptr) tree = ExplainDetection(*detection, event, &reason);
    const bool matches = bound.detection->Matches(event);
    const sigma::BoundFilter* filter = matches ? RemovedBy(bound, event) : nullptr;
    if (filter != nullptr)
      reason = fmt::format("the filter '{}' removes it",
                           config_.rules->entries[filter->entry].rule.metadata.title);
    fmt::print(out_, "{}: '{}' {}: {}\n", where, rule.rule.metadata.title,
               matches && filter == nullptr ? "matches" : "does not match", reason);
    fmt::print(out_, "{}", tree);
    return matches && filter == nullptr;
  }

  // How long apart two events of one incident may be. False: of this type it is not known.
  bool ReadSpan(size_t op, StepsQuestion* question) const {
    const OperatorSpec* spec = config_.operators[op].get();
    if (const auto* correlation = dynamic_cast<const sigma::CorrelationSpec*>(spec)) {
      question->span = correlation->timespan();
      return true;
    }
    Diagnostics diagnostics;
    const std::optional<Node> tree = LoadConfigTree(options_.config, diagnostics);
    const Node* operators = tree.has_value() ? tree->Find("operators") : nullptr;
    if (operators == nullptr) return false;
    for (const Node& node : operators->items) {
      const Node* name = node.Find("name");
      const Node* within = node.Find("within");
      if (name == nullptr || name->scalar != spec->rule().name || within == nullptr) continue;
      for (const auto& [key, value] : within->entries) {
        const DurationNs bound = ParseDuration(value.scalar).value_or(0);
        (key.scalar == "before" ? question->before : question->after) = bound;
      }
      question->span = std::max(question->before, question->after);
      return true;
    }
    return false;
  }

  int Correlation(size_t op) {
    StepsQuestion question;
    question.op = op;
    question.key = options_.key;
    if (!options_.time.empty()) {
      question.time = ParseRfc3339(options_.time);
      if (!question.time.has_value())
        return Unusable(
            fmt::format("'{}' is no time; write it like 2026-01-31T08:00:00Z", options_.time));
    }
    if (!ReadSpan(op, &question))
      return Unusable(fmt::format("operators of type {} cannot be explained",
                                  config_.operators[op]->rule().type));
    if (options_.state) return FromState(question);
    for (const InputSpec& input : config_.operators[op]->inputs()) {
      const bool given =
          input.from_operator ||
          std::any_of(inputs_.begin(), inputs_.end(), [&](const InputFile& one) {
            return config_.sources[static_cast<size_t>(one.source)].name == input.source;
          });
      // One of several sources may bring a correlation's events; a join needs both its sides.
      if (!given &&
          dynamic_cast<const sigma::CorrelationSpec*>(config_.operators[op].get()) == nullptr)
        return Unusable(
            fmt::format("'{}' takes events of source '{}': give it a file of them, {}=FILE",
                        options_.rule, input.source, input.source));
    }
    Rehearsal rehearsal(config_);
    const absl::Status status = Rehearse(rehearsal, &question);
    if (!status.ok()) return Unusable(std::string(status.message()));
    const StepsAnswer answer = ExplainSteps(config_, rehearsal, question);
    fmt::print(out_, "'{}' {}\n", config_.operators[op]->rule().title, answer.verdict);
    for (const std::string& step : answer.steps) fmt::print(out_, "  {}\n", step);
    uint64_t dead = 0;
    uint64_t ahead = 0;
    for (const RehearsedReject& reject : rehearsal.rejects()) {
      if (reject.op.empty()) ++(reject.reason == "future" ? ahead : dead);
    }
    if (ahead > 0)
      fmt::print(out_, "  {} events were too far ahead of the clock (max_future_skew): left out\n",
                 ahead);
    if (dead > 0) fmt::print(out_, "  {} records were no usable events\n", dead);
    return answer.fired ? 0 : 1;
  }

  int FromState(const StepsQuestion& question) {
    std::vector<std::string> notes;
    const absl::StatusOr<StepsEvidence> evidence = ReadStateEvidence(config_, question.op, &notes);
    if (!evidence.ok()) return Unusable(std::string(evidence.status().message()));
    const StepsAnswer answer = ExplainSteps(config_, *evidence, question);
    fmt::print(out_, "'{}' {}\n", config_.operators[question.op]->rule().title, answer.verdict);
    for (const std::string& step : answer.steps) fmt::print(out_, "  {}\n", step);
    for (const std::string& note : notes) fmt::print(out_, "  {}\n", note);
    return answer.fired ? 0 : answer.known ? 1 : kUnusable;
  }

  // Files are read side by side, as far as their event times go together.
  absl::Status Rehearse(Rehearsal& rehearsal, StepsQuestion* question) {
    const int64_t now = SystemClock().NowNs();
    std::vector<bool> takes_part(config_.sources.size(), false);
    for (InputFile& input : inputs_) {
      takes_part[static_cast<size_t>(input.source)] = true;
      const SourceConfig& source = config_.sources[static_cast<size_t>(input.source)];
      Decoder decoder = MakeDecoder(source);
      EventTimeNs newest = kMinEventTime;
      for (const std::string_view bytes : input.records) {
        Record record;
        record.bytes = bytes;
        Event event;
        // What is ahead of the clock enters no window: the file does not wait for it.
        if (decoder.Decode(record, &event) == DecodeResult::kOk &&
            event.time <= AddTime(now, source.max_future_skew))
          newest = std::max(newest, event.time);
        input.newest.push_back(newest);
      }
    }
    BONGSU_RETURN_IF_ERROR(rehearsal.Begin(now, takes_part));
    std::vector<size_t> next(inputs_.size());
    read_.assign(config_.sources.size(), {});
    question->place = [this](uint16_t source, int64_t offset) {
      const auto& [input, number] = read_[source][static_cast<size_t>(offset)];
      return Place(inputs_[input], number);
    };
    for (;;) {
      size_t best = inputs_.size();
      for (size_t i = 0; i < inputs_.size(); ++i) {
        if (next[i] == inputs_[i].records.size()) continue;
        if (best == inputs_.size() || inputs_[i].newest[next[i]] < inputs_[best].newest[next[best]])
          best = i;
      }
      if (best == inputs_.size()) break;
      // Records of one source are counted on over its files, so that each has its own place. One
      // record a batch: the watermark follows each, and what can be late is.
      RehearsedRecord record;
      record.source = static_cast<uint16_t>(inputs_[best].source);
      record.offset = static_cast<int64_t>(read_[record.source].size());
      record.bytes = inputs_[best].records[next[best]];
      read_[record.source].emplace_back(best, next[best]++);
      BONGSU_RETURN_IF_ERROR(rehearsal.Feed({&record, 1}));
    }
    for (const RehearsedIncident& one : rehearsal.incidents()) {
      if (one.rule == config_.operators[question->op]->rule().name)
        question->before_end.push_back(one);
    }
    return rehearsal.End();
  }

  const ExplainOptions& options_;
  const Config& config_;
  std::vector<InputFile> inputs_;
  std::FILE* out_;
  // By source and offset: the input and its record.
  std::vector<std::vector<std::pair<size_t, size_t>>> read_;
};

// "source=file", or a file alone.
InputFile ParseInput(const std::string& text) {
  InputFile input;
  const size_t equals = text.find('=');
  if (equals != std::string::npos) input.name = text.substr(0, equals);
  input.file = equals == std::string::npos ? text : text.substr(equals + 1);
  return input;
}

int FindSource(const Config& config, const std::string& name) {
  if (name.empty() && config.sources.size() == 1) return 0;
  for (size_t i = 0; i < config.sources.size(); ++i) {
    if (config.sources[i].name == name) return static_cast<int>(i);
  }
  for (size_t i = 0; i < config.sources.size(); ++i) {
    if (config.sources[i].format.name == name) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace

int ExplainRule(const ExplainOptions& options, std::FILE* out) {
  std::vector<InputFile> inputs;
  std::set<std::string> formats;
  for (const std::string& text : options.inputs) {
    inputs.push_back(ParseInput(text));
    if (!inputs.back().name.empty()) formats.insert(inputs.back().name);
  }
  OperatorRegistry registry;
  RegisterAllOperators(registry);
  Diagnostics diagnostics;
  const std::optional<Config> config = ConfigForRules(
      options.config, options.rules, {formats.begin(), formats.end()}, registry, diagnostics);
  if (!config.has_value()) {
    fmt::print(stderr, "{}", diagnostics.Text());
    return kUnusable;
  }
  size_t left = kExplainBytesMax;
  for (InputFile& input : inputs) {
    input.source = FindSource(*config, input.name);
    if (input.source < 0) {
      std::vector<std::string> names;
      for (const SourceConfig& source : config->sources) names.push_back(source.name);
      fmt::print(stderr, "{}: which source is it of? Write SOURCE=FILE; there are: {}\n",
                 input.file, fmt::join(names, ", "));
      return kUnusable;
    }
    const absl::Status status = ReadInput(left, &input);
    if (!status.ok()) {
      fmt::print(stderr, "{}\n", std::string(status.message()));
      return kUnusable;
    }
    left -= std::min(left, input.bytes.size());
  }
  return Explanation(options, *config, std::move(inputs), out).Run();
}

}  // namespace bongsu
