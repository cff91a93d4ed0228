// File: operators/sigma/rule_formula.h
//
// The detections of many rules as one directed graph of and, or, not over leaves, in which equal
// parts stand once: a leaf is one test of one field.
//
//   FormulaGraph graph;
//   const uint32_t root = graph.Add(detection);   // for each rule
//   ...
//   auto leaves = graph.Cover(root);              // one is true whenever the root is
//
// The cover is what a matcher must look for: an event that has none of these leaves cannot meet the
// rule. Of the possible ones that is chosen that is met least often, as far as that can be told
// from the rules: long literals, which few other rules have.
//
// Thread-safety: filled on one thread, then immutable.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "operators/sigma/selection.h"
#include "state/string_map.h"

namespace bongsu::sigma {

// How a leaf is found.
enum class LeafIndex : uint8_t {
  kEquals,    // the folded text is the literal
  kStarts,    // ... begins with it
  kEnds,      // ... ends with it
  kContains,  // ... holds it
  kPresent,   // the field has a value at all
  kNone,      // not at all: true where nothing is there (null, exists)
};

struct FormulaLeaf {
  int slot = 0;
  const ValueTest* test = nullptr;  // null: whether the field exists
  LeafIndex index = LeafIndex::kNone;
  // Folded. kContains of a regular expression or a pattern with wildcards: one of these is in each
  // text that passes.
  std::vector<std::string> literals;
  bool exact = false;  // found means passed; else the test itself decides
  uint32_t rules = 0;  // rules that have it
};

struct FormulaNode {
  enum Kind : uint8_t { kLeaf, kNot, kAnd, kOr } kind = kLeaf;
  uint32_t begin = 0;  // kLeaf: index of the leaf; else of the operands, in FormulaGraph::operands
  uint32_t end = 0;
};

class FormulaGraph {
 public:
  // The node that is true when the detection is. The detection outlives the graph.
  uint32_t Add(const Detection& detection);
  // Leaf indices, sorted; nothing: no leaf needs to be true for the node to be. Those in `common`
  // are true more often than not, and so chosen only where there is no other way.
  std::optional<std::vector<uint32_t>> Cover(uint32_t node,
                                             const std::set<uint32_t>& common = {}) const;
  // Counts `leaf.rules`, which Cover weighs, for a rule with this root.
  void CountRule(uint32_t root);
  // Puts the operands of each node in the order of what `cost` says of each leaf below them, so
  // that the cheap ones are asked first.
  void OrderOperands(const std::function<double(uint32_t leaf)>& cost);
  // The leaves below a node.
  std::vector<uint32_t> Leaves(uint32_t node) const;
  // The nodes that are all true where `node` is: its operands, or itself.
  std::vector<uint32_t> Conjuncts(uint32_t node) const;

  const std::vector<FormulaNode>& nodes() const { return nodes_; }
  const std::vector<uint32_t>& operands() const { return operands_; }
  const std::vector<FormulaLeaf>& leaves() const { return leaves_; }

 private:
  struct Chosen {
    double cost = 0;
    std::vector<uint32_t> leaves;
  };
  uint32_t Part(const Detection& detection, const Condition& part);
  uint32_t Of(const Search& search);
  uint32_t Of(const Item& item);
  uint32_t Leaf(int slot, const ValueTest* test);
  uint32_t Node(FormulaNode::Kind kind, std::vector<uint32_t> operands);
  std::optional<Chosen> CoverOf(uint32_t node, const std::set<uint32_t>& common) const;
  double Cost(const FormulaLeaf& leaf) const;

  std::vector<FormulaNode> nodes_;
  std::vector<uint32_t> operands_;
  std::vector<FormulaLeaf> leaves_;
  StringMap<uint32_t> known_;  // nodes by what they are
};

}  // namespace bongsu::sigma
