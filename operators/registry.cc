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

}  // namespace bongsu
