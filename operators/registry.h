// File: operators/registry.h
//
// The operator types that this binary has. Each operators/<name>.cc defines
// `void RegisterOperator_<name>(OperatorRegistry&)`; `add_operator(<name>)` in
// operators/CMakeLists.txt puts it on the list that RegisterAllOperators calls.
//
// Thread-safety: filled on one thread before use, then only read.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"
#include "operators/config/option.h"
#include "operators/operator.h"

namespace bongsu {

// What an operator may ask while it is built from its configuration.
class OperatorBuildContext {
 public:
  virtual ~OperatorBuildContext() = default;
  // The fields of `source` (a source, or an operator of a lower level); null where there is none,
  // with the error already reported at `where` (with the nearest name).
  virtual FieldTable* Fields(std::string_view source, const SourceLocation& where) = 0;
  virtual bool IsOperator(std::string_view source) const = 0;
  // Of an operator of a lower level. Part of the hash of whoever takes its results: state that was
  // made of the results of another rule is another rule's.
  virtual std::string SemanticHash(std::string_view source) const = 0;
  // Fields that alerts of this source should carry besides those that the rule names: host, user,
  // addresses, process (the mapping's `entities`).
  virtual std::vector<std::string> DefaultFields(std::string_view source) const = 0;
};

struct OperatorType {
  std::string name;  // "interval_join"
  std::string doc;   // one paragraph, for deploy/CONFIG.md
  std::vector<OptionDef>
      options;  // its keys, beside those all operators have (name, type, level, ...)
  // Maps within it, for the page: key and table.
  std::vector<std::pair<std::string, std::vector<OptionDef>>> sections;
  // Builds the spec from the operator's map. Null after errors, all of which are in `diagnostics`.
  std::function<std::unique_ptr<OperatorSpec>(const Node& node, OperatorBuildContext& context,
                                              Diagnostics& diagnostics)>
      create;
};

class OperatorRegistry {
 public:
  void Add(OperatorType type);
  const OperatorType* Find(std::string_view name) const;
  const std::map<std::string, OperatorType, std::less<>>& all() const { return types_; }

 private:
  std::map<std::string, OperatorType, std::less<>> types_;
};

// The keys that every operator has, with their docs.
const std::vector<OptionDef>& CommonOperatorOptions();

// Every operator that was added with add_operator().
void RegisterAllOperators(OperatorRegistry& registry);

}  // namespace bongsu
