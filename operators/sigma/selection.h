// File: operators/sigma/selection.h
//
// Sigma's detection section, compiled: which events a rule (or one side of an operator) chooses.
//
//   detection:
//     sel:   {EventID: 1, Image|endswith: '\powershell.exe'}
//     noise: {User|contains: 'backup'}
//     condition: sel and not noise
//
//   FieldTable fields;
//   Diagnostics diagnostics;
//   auto selection = sigma::CompileSelection(node, fields, diagnostics);   // null after errors
//   if (selection->Matches(event)) ...
//
// YAML (operators/config/node.h) becomes a syntax tree (operators/sigma/detection.h), the tree
// becomes this immutable form. The semantics, with the section of the Sigma specification or our
// decision where it is silent, are listed in operators/sigma/README.md. What is not supported yet
// is an error at load with its place and a hint, never ignored.
//
// Thread-safety: a Selection is immutable; Matches may be called from any number of threads. It
// does not allocate on the usual path.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"
#include "operators/event.h"

namespace bongsu::sigma {

class Selection {
 public:
  virtual ~Selection() = default;
  virtual bool Matches(const Event& event) const = 0;
  // The fields it reads, by name, each once, in the order of the detection.
  virtual const std::vector<std::string>& fields() const = 0;
  // The detection in a normal form: equal for equal meaning (order of map items, spelling of the
  // condition, case of values do not matter); part of the rule's semantic hash.
  virtual const std::string& normal_form() const = 0;
};

// Compiles a `detection:` map. Registers the fields it reads in `fields`. Null when there were
// errors.
std::shared_ptr<const Selection> CompileSelection(const Node& detection, FieldTable& fields,
                                                  Diagnostics& diagnostics);

}  // namespace bongsu::sigma
