#include "operators/registry.h"

#include "state/check.h"

namespace bongsu {

void OperatorRegistry::Add(OperatorType type) {
  std::string name = type.name;
  const bool added = types_.emplace(std::move(name), std::move(type)).second;
  BONGSU_CHECK_MSG(added, "two operators of one name");
}

const OperatorType* OperatorRegistry::Find(std::string_view name) const {
  auto it = types_.find(name);
  return it == types_.end() ? nullptr : &it->second;
}

const std::vector<OptionDef>& CommonOperatorOptions() {
  static const std::vector<OptionDef> options = {
      {.path = "name",
       .required = true,
       .example = "inbound-then-shell",
       .doc = "Unique; part of its incidents' identity and of its state's."},
      {.path = "type",
       .required = true,
       .example = "interval_join",
       .doc = "Which operator it is."},
      {.path = "title",
       .example = "Inbound exploit, then a shell",
       .doc = "What alerts are called. Default: the name."},
      {.path = "description",
       .example = "An exploit alert on a host that starts a shell within a minute.",
       .doc = "A sentence or two for those who read the alert."},
      {.path = "level",
       .type = OptionType::kEnum,
       .default_text = "medium",
       .choices = {"informational", "low", "medium", "high", "critical"},
       .example = "high",
       .doc = "Sigma's level; OCSF's severity follows from it."},
      {.path = "tags",
       .type = OptionType::kStringList,
       .example = "[attack.execution, attack.t1059.001]",
       .doc = "Sigma's tags; those of ATT&CK are written into the alert."},
      {.path = "alerts",
       .type = OptionType::kBool,
       .default_text = "true",
       .example = "false",
       .doc = "Write its incidents to the alerts. false: only other operators read them."},
  };
  return options;
}

std::vector<OptionDef> OperatorSpec::WithCommonOptions(std::vector<OptionDef> own) {
  std::vector<OptionDef> all = CommonOperatorOptions();
  all.insert(all.end(), own.begin(), own.end());
  return all;
}

void OperatorSpec::ReadCommon(const OptionReader& reader) {
  rule_.name = reader.String("name");
  rule_.type = reader.String("type");
  rule_.title = reader.String("title");
  if (rule_.title.empty()) rule_.title = rule_.name;
  rule_.description = reader.String("description");
  rule_.level = reader.String("level");
  rule_.tags = reader.StringList("tags");
  emits_alerts_ = reader.Bool("alerts");
}

}  // namespace bongsu
