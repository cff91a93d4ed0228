#include "operators/config/option.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "state/check.h"

namespace bongsu {
namespace {

struct Unit {
  std::string_view name;
  int64_t factor;
};
constexpr Unit kDurationUnits[] = {{"w", 7 * kDayNs}, {"d", kDayNs},    {"h", kHourNs},
                                   {"m", kMinuteNs},  {"s", kSecondNs}, {"ms", kMillisecondNs},
                                   {"us", 1'000},     {"ns", 1}};
constexpr Unit kSizeUnits[] = {{"GiB", int64_t{1} << 30},
                               {"MiB", int64_t{1} << 20},
                               {"KiB", int64_t{1} << 10},
                               {"GB", 1'000'000'000},
                               {"MB", 1'000'000},
                               {"KB", 1'000},
                               {"B", 1}};

template <size_t N>
std::optional<int64_t> ParseWithUnit(std::string_view text, const Unit (&units)[N]) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0) return std::nullopt;
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  if (unit.empty() && number == 0) return 0;
  for (const Unit& known : units) {
    int64_t product = 0;
    if (known.name != unit) continue;
    if (__builtin_mul_overflow(number, known.factor, &product)) return std::nullopt;
    return product;
  }
  return std::nullopt;
}

std::optional<int64_t> ParseInt(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<bool> ParseBool(std::string_view text) {
  if (text == "true" || text == "yes" || text == "on") return true;
  if (text == "false" || text == "no" || text == "off") return false;
  return std::nullopt;
}

std::string Limit(const OptionDef& option, int64_t value) {
  if (option.type == OptionType::kDuration) return DurationText(value);
  return option.type == OptionType::kBytes ? BytesText(value) : std::to_string(value);
}

void CheckRange(const OptionDef& option, int64_t value, const SourceLocation& where,
                Diagnostics& diagnostics) {
  if (value < option.min) {
    diagnostics.Error(where, fmt::format("'{}' is too small", option.path),
                      fmt::format("at least {}", Limit(option, option.min)));
  } else if (value > option.max) {
    diagnostics.Error(where, fmt::format("'{}' is too large", option.path),
                      fmt::format("at most {}", Limit(option, option.max)));
  }
}

void WrongType(const OptionDef& option, const Node& value, const char* expected,
               Diagnostics& diagnostics) {
  diagnostics.Error(
      value.where, fmt::format("'{}' must be {}", option.path, expected),
      option.example.empty() ? "" : fmt::format("for example {}: {}", option.path, option.example));
}

void CheckScalar(const OptionDef& option, const Node& value, Diagnostics& diagnostics) {
  if (!value.is_scalar()) {
    const char* expected = option.type == OptionType::kDuration ? "a duration"
                           : option.type == OptionType::kBytes  ? "a size"
                                                                : "a single value";
    WrongType(option, value, expected, diagnostics);
    return;
  }
  switch (option.type) {
    case OptionType::kInt:
      if (const auto number = ParseInt(value.scalar))
        CheckRange(option, *number, value.where, diagnostics);
      else
        WrongType(option, value, "a whole number", diagnostics);
      break;
    case OptionType::kBool:
      if (!ParseBool(value.scalar)) WrongType(option, value, "true or false", diagnostics);
      break;
    case OptionType::kDuration:
      if (const auto ns = ParseDuration(value.scalar))
        CheckRange(option, *ns, value.where, diagnostics);
      else
        WrongType(option, value, "a duration: a number with a unit, ns us ms s m h d w",
                  diagnostics);
      break;
    case OptionType::kBytes:
      if (const auto bytes = ParseBytes(value.scalar))
        CheckRange(option, *bytes, value.where, diagnostics);
      else
        WrongType(option, value, "a size: a number with a unit, B KiB MiB GiB KB MB GB",
                  diagnostics);
      break;
    case OptionType::kEnum:
      if (std::find(option.choices.begin(), option.choices.end(), value.scalar) ==
          option.choices.end()) {
        const std::vector<std::string_view> names(option.choices.begin(), option.choices.end());
        const std::string nearest = NearestName(value.scalar, names);
        diagnostics.Error(
            value.where, fmt::format("'{}' cannot be '{}'", option.path, value.scalar),
            nearest.empty() ? fmt::format("one of: {}", fmt::join(option.choices, ", "))
                            : fmt::format("did you mean '{}'? one of: {}", nearest,
                                          fmt::join(option.choices, ", ")));
      }
      break;
    default:
      break;
  }
}

void CheckOption(const OptionDef& option, const Node& value, Diagnostics& diagnostics) {
  switch (option.type) {
    case OptionType::kStringList: {
      bool fits = value.is_scalar() || value.is_sequence();
      for (const Node& item : value.items) fits = fits && item.is_scalar();
      if (!fits || (value.is_sequence() && value.items.empty())) {
        WrongType(option, value, "a name or a list of names", diagnostics);
      }
      break;
    }
    case OptionType::kNameOrMap:
      if (!value.is_scalar() && !value.is_map())
        WrongType(option, value, "a name or a map", diagnostics);
      break;
    case OptionType::kMap:
    case OptionType::kStringMap:
      if (!value.is_map()) WrongType(option, value, "a map", diagnostics);
      break;
    case OptionType::kMapList: {
      bool fits = value.is_sequence() && !value.items.empty();
      for (const Node& item : value.items) fits = fits && item.is_map();
      if (!fits) WrongType(option, value, "a list of maps", diagnostics);
      break;
    }
    default:
      CheckScalar(option, value, diagnostics);
  }
}

}  // namespace

OptionReader::OptionReader(const Node& map, const std::vector<OptionDef>& options,
                           Diagnostics& diagnostics)
    : map_(map), options_(options) {
  if (!map.is_map()) {
    if (!map.is_null()) diagnostics.Error(map.where, "a map is expected here", "");
  }
  for (const auto& [key, value] : map.entries) {
    const OptionDef* option = nullptr;
    for (const OptionDef& one : options) {
      if (one.path == key.scalar) option = &one;
    }
    if (option == nullptr) {
      std::vector<std::string_view> names;
      for (const OptionDef& one : options) names.push_back(one.path);
      const std::string nearest = NearestName(key.scalar, names);
      diagnostics.Error(key.where, fmt::format("unknown key '{}'", key.scalar),
                        nearest.empty() ? fmt::format("known here: {}", fmt::join(names, ", "))
                                        : fmt::format("did you mean '{}'?", nearest));
    } else if (!option->refused.empty()) {
      diagnostics.Error(key.where, fmt::format("'{}' is not supported yet", key.scalar),
                        option->refused);
    } else if (value.is_null()) {
      diagnostics.Error(key.where, fmt::format("'{}' has no value", key.scalar),
                        !option->default_text.empty()
                            ? "leave it out for the default, " + option->default_text
                        : option->example.empty()
                            ? ""
                            : fmt::format("for example {}: {}", option->path, option->example));
    } else {
      CheckOption(*option, value, diagnostics);
    }
  }
  for (const OptionDef& option : options) {
    if (option.required && map.Find(option.path) == nullptr) {
      diagnostics.Error(map.where, fmt::format("'{}' is missing", option.path),
                        option.example.empty()
                            ? ""
                            : fmt::format("for example {}: {}", option.path, option.example));
    }
  }
}

const OptionDef* OptionReader::Def(std::string_view path) const {
  for (const OptionDef& option : options_) {
    if (option.path == path) return &option;
  }
  BONGSU_CHECK_MSG(false, fmt::format("no option '{}' in the table", path));
}

bool OptionReader::has(std::string_view path) const { return node(path) != nullptr; }

const Node* OptionReader::node(std::string_view path) const {
  const Node* value = map_.Find(path);
  return value == nullptr || value->is_null() ? nullptr : value;
}

SourceLocation OptionReader::where(std::string_view path) const {
  const Node* value = map_.Find(path);
  return value == nullptr ? map_.where : value->where;
}

std::string OptionReader::String(std::string_view path) const {
  const OptionDef* option = Def(path);
  const Node* value = node(path);
  return value != nullptr && value->is_scalar() ? value->scalar : option->default_text;
}

int64_t OptionReader::Int(std::string_view path) const {
  return ParseInt(String(path)).value_or(0);
}
bool OptionReader::Bool(std::string_view path) const {
  return ParseBool(String(path)).value_or(false);
}
DurationNs OptionReader::Duration(std::string_view path) const {
  return ParseDuration(String(path)).value_or(0);
}
int64_t OptionReader::Bytes(std::string_view path) const {
  return ParseBytes(String(path)).value_or(0);
}

std::vector<std::string> OptionReader::StringList(std::string_view path) const {
  Def(path);
  const Node* value = node(path);
  if (value == nullptr) return {};
  if (value->is_scalar()) return {value->scalar};
  std::vector<std::string> list;
  for (const Node& item : value->items) list.push_back(item.scalar);
  return list;
}

std::optional<DurationNs> ParseDuration(std::string_view text) {
  return ParseWithUnit(text, kDurationUnits);
}
std::optional<int64_t> ParseBytes(std::string_view text) { return ParseWithUnit(text, kSizeUnits); }

std::string BytesText(int64_t bytes) {
  for (const Unit& unit : kSizeUnits) {
    if (bytes > 0 && bytes % unit.factor == 0)
      return fmt::format("{}{}", bytes / unit.factor, unit.name);
  }
  return fmt::format("{}B", bytes);
}

std::string DurationText(DurationNs duration) {
  if (duration == 0) return "0s";
  for (const Unit& unit : kDurationUnits) {
    if (duration % unit.factor == 0) return fmt::format("{}{}", duration / unit.factor, unit.name);
  }
  return fmt::format("{}ns", duration);
}

}  // namespace bongsu
