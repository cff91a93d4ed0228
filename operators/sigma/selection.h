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
// A Detection is the one meaning of a rule: a condition over searches, a search over maps of items.
// It is plain data, for those who explain it item by item and for the matcher that takes thousands
// of rules together (operators/sigma/rule_matcher.h), and it answers by itself. The semantics, with
// the section of the Sigma specification or our decision where it is silent, are listed in
// operators/sigma/README.md. What is not legal is an error at load with its place and a hint.
//
// Thread-safety: immutable; Matches may be called from any number of threads. It does not allocate
// on the usual path.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"
#include "operators/event.h"
#include "operators/sigma/condition.h"
#include "operators/sigma/item.h"

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

// One search: a list of maps (OR), each a list of items (AND). Keywords are a map of one item.
struct Search {
  std::string name;
  SourceLocation where;
  std::vector<std::vector<Item>> maps;

  bool Matches(const Event& event) const;
};

class Detection : public Selection {
 public:
  // `list`: the condition's operands are a list of conditions.
  Detection(std::vector<Search> searches, Condition condition, bool list);
  bool Matches(const Event& event) const override { return Holds(condition_, event); }
  const std::vector<std::string>& fields() const override { return fields_; }
  const std::string& normal_form() const override { return normal_form_; }

  const std::vector<Search>& searches() const { return searches_; }
  // Condition::search is an index into searches().
  const Condition& condition() const { return condition_; }
  // The first of a list of conditions that holds; -1: there is no list.
  int Branch(const Event& event) const;
  // The searches that the condition does not ask for: most often a mistake.
  std::vector<const Search*> unasked() const;
  // What a part of the condition says of an event.
  bool Holds(const Condition& part, const Event& event) const;

 private:
  std::vector<Search> searches_;
  Condition condition_;
  bool list_;
  std::vector<std::string> fields_;
  std::string normal_form_;
};

// Compiles a `detection:` map. Registers the fields it reads in `fields`. Null when there were
// errors.
std::shared_ptr<const Detection> CompileSelection(const Node& detection, FieldTable& fields,
                                                  Diagnostics& diagnostics);

}  // namespace bongsu::sigma
