#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "operators/decimal.h"
#include "operators/sigma/condition.h"
#include "operators/sigma/rule.h"
#include "operators/sigma/rule_reader.h"

namespace bongsu::sigma {
namespace {

constexpr std::array<std::string_view, 8> kTypes = {"event_count",      "value_count", "temporal",
                                                    "temporal_ordered", "value_sum",   "value_avg",
                                                    "value_percentile", "value_median"};
constexpr std::array<std::string_view, 6> kOperators = {"gt", "gte", "lt", "lte", "eq", "neq"};

// What a fixed decimal has: ranks are whole numbers of it (operators/sigma/correlation_measure.h).
constexpr size_t kPercentilePlaces = 9;

bool IsTemporal(CorrelationType type) {
  return type == CorrelationType::kTemporal || type == CorrelationType::kTemporalOrdered;
}

bool ReadType(const Node& node, CorrelationType* type, Diagnostics& diagnostics) {
  const auto found = std::find(kTypes.begin(), kTypes.end(), node.scalar);
  if (!node.is_scalar() || found == kTypes.end()) {
    diagnostics.Error(node.where, fmt::format("unknown correlation type '{}'", node.scalar),
                      NearestHint(node.scalar, kTypes));
    return false;
  }
  *type = static_cast<CorrelationType>(found - kTypes.begin());
  return true;
}

void ReadAliases(const Node& node, CorrelationRule* rule, Diagnostics& diagnostics) {
  if (!node.is_map()) {
    diagnostics.Error(node.where, "'aliases' must be a map",
                      "alias: {rule name: field, other rule: other field}");
    return;
  }
  for (const auto& [alias, fields] : node.entries) {
    CorrelationAlias& one = rule->aliases.emplace_back();
    one.alias = {alias.scalar, alias.where};
    if (!fields.is_map() || fields.entries.empty()) {
      diagnostics.Error(fields.where, fmt::format("the alias '{}' must be a map", alias.scalar),
                        "rule name: field");
      continue;
    }
    for (const auto& [name, field] : fields.entries) {
      std::string text;
      if (ReadText(field, name.scalar, diagnostics, &text))
        one.fields.push_back({{name.scalar, name.where}, {text, field.where}});
    }
  }
}

void ReadPercentile(const Node& node, CorrelationRule* rule, Diagnostics& diagnostics) {
  std::string decimal;
  if (node.is_scalar() && ShortestDecimal(node.scalar, &decimal)) {
    const double value = std::strtod(decimal.c_str(), nullptr);
    const size_t point = std::min(decimal.find('.'), decimal.size() - 1);
    if (value >= 0 && value <= 100 && decimal.size() - point - 1 <= kPercentilePlaces) {
      rule->percentile = value;
      return;
    }
  }
  diagnostics.Error(node.where, fmt::format("'{}' is no percentile", node.scalar),
                    "a number from 0 to 100 with at most nine decimal places");
}

void ReadCondition(const Node& node, CorrelationRule* rule, Diagnostics& diagnostics) {
  rule->condition_where = node.where;
  if (node.is_scalar() && !node.scalar.empty()) {
    rule->expression = {node.scalar, node.where};
    return;
  }
  if (!node.is_map() || node.entries.empty()) {
    diagnostics.Error(node.where, "'condition' must be a map, or for temporal types a text",
                      "for example condition: {gte: 10}");
    return;
  }
  for (const auto& [key, value] : node.entries) {
    if (key.scalar == "field") {
      rule->fields = ReadTexts(value, "field", kGroupByMax, diagnostics);
      ReportRepeated(rule->fields, "field", diagnostics);
      continue;
    }
    if (key.scalar == "percentile") {
      ReadPercentile(value, rule, diagnostics);
      continue;
    }
    const auto op = std::find(kOperators.begin(), kOperators.end(), key.scalar);
    if (op == kOperators.end()) {
      static constexpr std::array<std::string_view, 8> kKeys = {"gt", "gte", "lt",    "lte",
                                                                "eq", "neq", "field", "percentile"};
      diagnostics.Error(key.where, fmt::format("unknown key '{}' in the condition", key.scalar),
                        NearestHint(key.scalar, kKeys));
      continue;
    }
    Comparison comparison;
    comparison.op = static_cast<ComparisonOperator>(op - kOperators.begin());
    comparison.where = value.where;
    if (!value.is_scalar() || !ShortestDecimal(value.scalar, &comparison.decimal)) {
      diagnostics.Error(value.where, fmt::format("'{}' must be a number", key.scalar),
                        "for example gte: 10");
      continue;
    }
    comparison.value = std::strtod(comparison.decimal.c_str(), nullptr);
    rule->comparisons.push_back(std::move(comparison));
  }
}

// A range that nothing can be in is a mistake: gt 10 and lt 5.
void CheckRange(const CorrelationRule& rule, Diagnostics& diagnostics) {
  const bool counts = rule.type == CorrelationType::kEventCount ||
                      rule.type == CorrelationType::kValueCount || IsTemporal(rule.type);
  if (counts && !SomeCountMeets(rule.comparisons, 0)) {
    diagnostics.Error(rule.condition_where, "no number meets this condition",
                      "a count is a whole number, and the comparisons hold together");
    return;
  }
  double low = -INFINITY;
  double high = INFINITY;
  bool low_open = false;
  bool high_open = false;
  for (const Comparison& one : rule.comparisons) {
    const bool eq = one.op == ComparisonOperator::kEq;
    if (one.op == ComparisonOperator::kGt || one.op == ComparisonOperator::kGte || eq) {
      const bool open = one.op == ComparisonOperator::kGt;
      if (one.value > low || (one.value == low && open)) low = one.value, low_open = open;
    }
    if (one.op == ComparisonOperator::kLt || one.op == ComparisonOperator::kLte || eq) {
      const bool open = one.op == ComparisonOperator::kLt;
      if (one.value < high || (one.value == high && open)) high = one.value, high_open = open;
    }
  }
  const bool left_out =
      std::any_of(rule.comparisons.begin(), rule.comparisons.end(), [&](const Comparison& one) {
        return one.op == ComparisonOperator::kNeq && low == high && one.value == low;
      });
  if (low > high || (low == high && (low_open || high_open)) || left_out)
    diagnostics.Error(rule.condition_where, "no number meets this condition",
                      "the comparisons of a condition hold together");
}

Comparison Negated(Comparison one) {
  using enum ComparisonOperator;
  constexpr std::array<ComparisonOperator, 6> kOther = {kLte, kLt, kGte, kGt, kNeq, kEq};
  one.op = kOther[static_cast<size_t>(one.op)];
  return one;
}

// A condition that is no condition: gte 0, neq 2.5, and for two rules neq 7.
void WarnAlways(const CorrelationRule& rule, Diagnostics& diagnostics) {
  const bool temporal = IsTemporal(rule.type);
  const bool counts = temporal || rule.type == CorrelationType::kEventCount ||
                      rule.type == CorrelationType::kValueCount;
  if (!counts || rule.comparisons.empty()) return;
  const bool always =
      std::all_of(rule.comparisons.begin(), rule.comparisons.end(), [&](const Comparison& one) {
        if (!temporal) return !SomeCountMeets({Negated(one)}, 0);
        for (size_t n = 0; n <= rule.rules.size(); ++n) {
          if (!Meets(one, static_cast<double>(n))) return false;
        }
        return true;
      });
  if (always)
    diagnostics.Warning(rule.condition_where, "the condition always holds",
                        "every window with an event is an incident");
}

// What each type needs, and what it has no use for.
void CheckType(const CorrelationRule& rule, const Node& node, Diagnostics& diagnostics) {
  const std::string_view type = CorrelationTypeName(rule.type);
  const bool temporal = IsTemporal(rule.type);
  const bool values = !temporal && rule.type != CorrelationType::kEventCount;
  if (!temporal && node.Find("condition") == nullptr) {
    diagnostics.Error(node.where, fmt::format("{} needs a condition", type),
                      values ? "for example condition: {field: User, gte: 10}"
                             : "for example condition: {gte: 10}");
    return;
  }
  if (!temporal && !rule.expression.text.empty())
    diagnostics.Error(rule.condition_where, fmt::format("{} needs a map as condition", type),
                      "expressions over rules belong to temporal and temporal_ordered");
  if (!temporal && rule.expression.text.empty() && rule.comparisons.empty())
    diagnostics.Error(rule.condition_where,
                      fmt::format("the condition of {} compares nothing", type),
                      "one of gt, gte, lt, lte, eq, neq");
  if (values && rule.fields.empty() && rule.expression.text.empty())
    diagnostics.Error(rule.condition_where, fmt::format("{} needs condition.field", type),
                      "condition: {field: User, gte: 10}");
  if (!values && !rule.fields.empty())
    diagnostics.Error(rule.fields[0].where, fmt::format("{} has no use for 'field'", type),
                      "value_count counts the distinct values of a field");
  if (values && rule.type != CorrelationType::kValueCount && rule.fields.size() > 1)
    diagnostics.Error(rule.fields[1].where, fmt::format("{} takes one field", type),
                      "only value_count takes several: distinct tuples");
  if (rule.percentile && rule.type != CorrelationType::kValuePercentile)
    diagnostics.Error(rule.condition_where, fmt::format("{} has no use for 'percentile'", type),
                      "value_percentile has one");
  CheckRange(rule, diagnostics);
  WarnAlways(rule, diagnostics);
}

bool IsWord(std::string_view text, std::string_view word) {
  return text.size() == word.size() &&
         std::equal(text.begin(), text.end(), word.begin(), [](char a, char b) {
           return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
         });
}

// `1 of them`, `all of fw_*` over the names of `rules`, written out: (a or b), (a and b).
void WriteQuantifiers(CorrelationRule* rule, Diagnostics& diagnostics) {
  const std::string text = rule->expression.text;
  std::vector<std::string_view> words;
  for (size_t at = 0; at < text.size();) {
    const size_t start = text.find_first_not_of(" \t\r\n", at);
    if (start == std::string::npos) break;
    const bool bracket = text[start] == '(' || text[start] == ')';
    at = bracket ? start + 1 : std::min(text.find_first_of(" \t\r\n()", start), text.size());
    words.push_back(std::string_view(text).substr(start, at - start));
  }
  std::string out;
  bool written = false;
  for (size_t i = 0; i < words.size(); ++i) {
    if (!out.empty()) out += ' ';
    const bool all = IsWord(words[i], "all");
    const bool of = i + 2 < words.size() && IsWord(words[i + 1], "of");
    const bool number = words[i].find_first_not_of("0123456789") == std::string_view::npos;
    const bool any = number || IsWord(words[i], "any");
    if (of && number && words[i] != "1")
      diagnostics.Error(rule->expression.where,
                        fmt::format("'{} of' is not possible in a condition", words[i]),
                        "1 of, any of or all of; how many of 'rules': condition: {gte: 2}");
    if (!(all || any) || i + 2 >= words.size() || !IsWord(words[i + 1], "of")) {
      out += words[i];
      continue;
    }
    const std::string_view pattern = IsWord(words[i + 2], "them") ? "*" : words[i + 2];
    std::string fitting;
    for (const PlacedText& one : rule->rules) {
      if (!GlobMatches(pattern, one.text)) continue;
      fitting += (fitting.empty() ? "" : all ? " and " : " or ") + one.text;
    }
    if (fitting.empty())
      diagnostics.Error(rule->expression.where,
                        fmt::format("'{}' fits none of 'rules'", words[i + 2]),
                        "'1 of' and 'all of' choose among the names in 'rules'");
    out += "(" + fitting + ")";
    i += 2;
    written = true;
  }
  if (written) rule->expression.text = out;  // else as it was: it is part of the rule's hash
}

void ReadKey(const Node& key, const Node& value, CorrelationRule* rule, bool* type_known,
             Diagnostics& diagnostics) {
  static constexpr std::array<std::string_view, 8> kKeys = {
      "type", "rules", "aliases", "group-by", "timespan", "condition", "generate", "bongsu"};
  const std::string& name = key.scalar;
  if (name == "type") {
    *type_known = ReadType(value, &rule->type, diagnostics);
  } else if (name == "rules") {
    rule->rules = ReadTexts(value, "rules", kReferencesMax, diagnostics);
    ReportRepeated(rule->rules, "rules", diagnostics);
  } else if (name == "aliases") {
    ReadAliases(value, rule, diagnostics);
  } else if (name == "group-by") {
    if (value.is_null() || (value.is_sequence() && value.items.empty())) return;
    rule->group_by = ReadTexts(value, "group-by", kGroupByMax, diagnostics);
    ReportRepeated(rule->group_by, "group-by", diagnostics);
  } else if (name == "timespan") {
    rule->timespan_where = value.where;
    const std::optional<DurationNs> span =
        value.is_scalar() ? ParseTimespan(value.scalar) : std::nullopt;
    if (!span)
      diagnostics.Error(value.where, fmt::format("'{}' is no timespan", value.scalar),
                        "a number and one of s m h d w M y, like 90m");
    if (span.value_or(0) > kTimespanMax)
      diagnostics.Error(value.where, fmt::format("'{}' is too long a timespan", value.scalar),
                        "at most 100y: times are nanoseconds since 1970 in 64 bits");
    rule->timespan = span.value_or(0);
  } else if (name == "condition") {
    ReadCondition(value, rule, diagnostics);
  } else if (name == "generate") {
    ReadGenerate(value, rule, diagnostics);
  } else if (name == "bongsu") {
    if (!value.is_map())
      diagnostics.Error(value.where, "'bongsu' must be a map",
                        "our own options: bongsu: {reset: true}");
    rule->extensions = value;
  } else {
    diagnostics.Error(key.where, fmt::format("unknown key '{}' in the correlation", name),
                      NearestHint(name, kKeys));
  }
}

// They would be silent for nothing.
void WarnUnasked(const CorrelationRule& rule, Diagnostics& diagnostics) {
  const std::vector<PlacedText> asked = ExpressionNames(rule.expression);
  for (const PlacedText& one : rule.rules) {
    if (std::none_of(asked.begin(), asked.end(),
                     [&](const PlacedText& name) { return name.text == one.text; }))
      diagnostics.Warning(one.where, fmt::format("the condition does not ask for '{}'", one.text),
                          rule.generate ? "leave it out of 'rules'"
                                        : "leave it out of 'rules': being there, it makes no "
                                          "alerts of its own");
  }
}

}  // namespace

std::vector<PlacedText> ExpressionNames(const PlacedText& expression) {
  std::vector<PlacedText> names;
  std::string_view rest = expression.text;
  while (!rest.empty()) {
    const size_t start = rest.find_first_not_of(" \t\r\n()");
    if (start == std::string_view::npos) break;
    const size_t end = std::min(rest.find_first_of(" \t\r\n()", start), rest.size());
    const std::string_view word = rest.substr(start, end - start);
    rest.remove_prefix(end);
    const bool known = std::any_of(names.begin(), names.end(),
                                   [&](const PlacedText& name) { return name.text == word; });
    if (!known && !IsWord(word, "and") && !IsWord(word, "or") && !IsWord(word, "not"))
      names.push_back({std::string(word), expression.where});
  }
  return names;
}

void ReadGenerate(const Node& node, CorrelationRule* rule, Diagnostics& diagnostics) {
  const std::optional<bool> generate = BoolOf(node);
  if (!generate)
    diagnostics.Error(node.where, "'generate' must be true or false",
                      "true: the rules it refers to make alerts, too");
  rule->generate = generate.value_or(false);
}

void ReadCorrelation(const Node& node, CorrelationRule* rule, Diagnostics& diagnostics) {
  rule->where = node.where;
  if (!node.is_map()) {
    diagnostics.Error(node.where, "'correlation' must be a map",
                      "of type, rules, group-by, timespan and condition");
    return;
  }
  bool type_known = false;
  for (const auto& [key, value] : node.entries) ReadKey(key, value, rule, &type_known, diagnostics);
  for (const char* required : {"type", "timespan"}) {
    if (node.Find(required) == nullptr)
      diagnostics.Error(
          node.where, fmt::format("a correlation needs '{}'", required),
          std::string_view(required) == "type" ? NearestHint("", kTypes) : "timespan: 5m");
  }
  if (!rule->expression.text.empty()) WriteQuantifiers(rule, diagnostics);
  if (node.Find("rules") == nullptr) {
    rule->rules = ExpressionNames(rule->expression);
    if (rule->rules.empty())
      diagnostics.Error(node.where, "a correlation needs 'rules'", "ids or names of rules");
  } else if (!rule->expression.text.empty()) {
    for (const PlacedText& name : ExpressionNames(rule->expression)) {
      if (std::none_of(rule->rules.begin(), rule->rules.end(),
                       [&](const PlacedText& one) { return one.text == name.text; }))
        diagnostics.Error(
            name.where, fmt::format("the condition names '{}', which 'rules' does not", name.text),
            "add it there, or leave 'rules' out: the condition's names are enough");
    }
    WarnUnasked(*rule, diagnostics);
  }
  if (type_known) CheckType(*rule, node, diagnostics);
}

std::optional<DurationNs> ParseTimespan(std::string_view text) {
  struct Unit {
    char letter;
    int64_t seconds;
  };
  // A month and a year of the Gregorian calendar's mean length.
  constexpr Unit kUnits[] = {{'s', 1},       {'m', 60},        {'h', 3'600},     {'d', 86'400},
                             {'w', 604'800}, {'M', 2'629'746}, {'y', 31'556'952}};
  int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || number <= 0 || end - stop != 1) return std::nullopt;
  for (const Unit& unit : kUnits) {
    int64_t ns = 0;
    if (unit.letter != *stop) continue;
    if (__builtin_mul_overflow(number, unit.seconds * kSecondNs, &ns)) return std::nullopt;
    return ns;
  }
  return std::nullopt;
}

std::string_view CorrelationTypeName(CorrelationType type) {
  return kTypes[static_cast<size_t>(type)];
}
bool Meets(const Comparison& one, double value) {
  switch (one.op) {
    case ComparisonOperator::kGt:
      return value > one.value;
    case ComparisonOperator::kGte:
      return value >= one.value;
    case ComparisonOperator::kLt:
      return value < one.value;
    case ComparisonOperator::kLte:
      return value <= one.value;
    case ComparisonOperator::kEq:
      return value == one.value;
    case ComparisonOperator::kNeq:
      return value != one.value;
  }
  return false;
}
bool SomeCountMeets(const std::vector<Comparison>& comparisons, double least) {
  // Comparisons change their answer next to their own numbers only.
  std::vector<double> tried = {least, INFINITY};
  for (const Comparison& one : comparisons) {
    for (const double number : {std::floor(one.value) - 1, std::floor(one.value),
                                std::floor(one.value) + 1, std::floor(one.value) + 2})
      tried.push_back(number);
  }
  return std::any_of(tried.begin(), tried.end(), [&](double number) {
    return number >= least &&
           std::all_of(comparisons.begin(), comparisons.end(),
                       [&](const Comparison& one) { return Meets(one, number); });
  });
}
std::string_view ComparisonOperatorName(ComparisonOperator op) {
  return kOperators[static_cast<size_t>(op)];
}

}  // namespace bongsu::sigma
