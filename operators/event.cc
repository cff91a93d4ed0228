#include "operators/event.h"

namespace bongsu {

int FieldTable::Slot(std::string_view name) {
  auto [it, added] = slots_.try_emplace(std::string(name), size());
  if (added) names_.emplace_back(name);
  return it->second;
}

int FieldTable::Find(std::string_view name) const {
  auto it = slots_.find(name);
  return it == slots_.end() ? -1 : it->second;
}

}  // namespace bongsu
