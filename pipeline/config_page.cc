// The page deploy/CONFIG.md, from the tables.
#include <fmt/format.h>

#include "operators/sigma/correlation.h"
#include "pipeline/config.h"
#include "pipeline/config_options.h"

namespace bongsu {
namespace {

std::string TypeName(const OptionDef& option) {
  switch (option.type) {
    case OptionType::kString:
      return "string";
    case OptionType::kInt:
      return "integer";
    case OptionType::kBool:
      return "boolean";
    case OptionType::kDuration:
      return "duration";
    case OptionType::kBytes:
      return "size";
    case OptionType::kEnum:
      return fmt::format("{}", fmt::join(option.choices, ", "));
    case OptionType::kStringList:
      return "string or list";
    case OptionType::kNameOrMap:
      return "name or map";
    case OptionType::kMap:
      return "map";
    case OptionType::kMapList:
      return "list of maps";
    case OptionType::kStringMap:
      return "map of strings";
  }
  return "";
}

std::string Cell(std::string text) {
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2)
    text.insert(at, "\\");
  return text;
}

void Section(const std::string& title, const std::string& doc,
             const std::vector<OptionDef>& options, std::string* page) {
  *page += fmt::format("\n## {}\n\n", title);
  if (!doc.empty()) *page += doc + "\n\n";
  *page += "| key | type | unit | default | example | |\n|---|---|---|---|---|---|\n";
  for (const OptionDef& option : options) {
    std::string fallback;
    if (option.required)
      fallback = "required";
    else if (!option.default_text.empty())
      fallback = fmt::format("`{}`", option.default_text);
    const std::string doc_text =
        option.refused.empty() ? option.doc : fmt::format("Not supported yet: {}.", option.refused);
    *page +=
        fmt::format("| `{}` | {} | {} | {} | `{}` | {} |\n", option.path, Cell(TypeName(option)),
                    option.unit, fallback, Cell(option.example), Cell(doc_text));
  }
}

}  // namespace

std::string ConfigPage(const OperatorRegistry& registry) {
  std::string page =
      "# Configuration\n\n"
      "Made by `bongsu config-page > deploy/CONFIG.md` from the tables that the program reads by; "
      "do not edit.\n\n"
      "One YAML file. Durations are written with a unit (`ns us ms s m h d w`), sizes too (`B KiB "
      "MiB GiB KB MB GB`). "
      "`${NAME}` is replaced from the environment, `$$` is a dollar sign. `bongsu check -c FILE` "
      "reports every mistake at once.\n";
  for (const OptionSection& section : ConfigSections()) {
    Section(section.path.empty() ? "The file" : "`" + section.path + "`", section.doc,
            section.options, &page);
  }
  Section("`operators[]`", "Keys that every operator has; the rest depends on its type.",
          CommonOperatorOptions(), &page);
  for (const auto& [name, type] : registry.all()) {
    Section(fmt::format("`operators[]`, type `{}`", name), type.doc, type.options, &page);
    for (const auto& [key, options] : type.sections) {
      Section(fmt::format("`operators[].{}`, type `{}`", key, name), "", options, &page);
    }
  }
  Section("`correlation.bongsu` of a Sigma rule",
          "What Sigma has no word for, written in the rule itself, within `correlation:`.",
          sigma::CorrelationOptionDefs(), &page);
  page += "\n## Formats by name\n\n";
  for (const std::string_view name : BuiltinFormatNames()) page += fmt::format("- `{}`\n", name);
  page += "\n## librdkafka properties that bongsu sets itself\n\n";
  for (const ReservedProperty& property : ReservedKafkaProperties()) {
    page += fmt::format("- `{}`: {}\n", property.name, property.hint);
  }
  return page;
}

}  // namespace bongsu
