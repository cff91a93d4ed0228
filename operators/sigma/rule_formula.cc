#include "operators/sigma/rule_formula.h"

#include <fmt/format.h>
#include <re2/filtered_re2.h>
#include <re2/re2.h>

#include <algorithm>
#include <set>

#include "operators/fold.h"

namespace bongsu::sigma {
namespace {

// Shorter literals are in nearly every text.
constexpr size_t kLiteralBytesMin = 3;

// Literals, folded, of which each text that `regex` finds something in holds at least one. Empty:
// there are none of use.
std::vector<std::string> NeededLiterals(const RE2& regex) {
  re2::FilteredRE2 filter(static_cast<int>(kLiteralBytesMin));
  int id = 0;
  RE2::Options options;
  options.Copy(regex.options());
  options.set_log_errors(false);
  if (filter.Add(regex.pattern(), options, &id) != RE2::NoError) return {};
  std::vector<std::string> atoms;
  filter.Compile(&atoms);
  // It is a formula of `and` and `or` over the atoms, or nothing at all: then it passes without
  // any.
  std::vector<int> passing;
  filter.AllPotentials({}, &passing);
  if (atoms.empty() || !passing.empty()) return {};
  // Outside ASCII its letter case is not quite ours.
  if (!std::all_of(atoms.begin(), atoms.end(), [](const auto& atom) { return IsAscii(atom); }))
    return {};
  // One that all texts need, the longest, is better than all of them.
  const std::string* needed = nullptr;
  for (size_t without = 0; without < atoms.size(); ++without) {
    std::vector<int> others;
    for (size_t i = 0; i < atoms.size(); ++i) {
      if (i != without) others.push_back(static_cast<int>(i));
    }
    filter.AllPotentials(others, &passing);
    if (passing.empty() && (needed == nullptr || atoms[without].size() > needed->size()))
      needed = &atoms[without];
  }
  if (needed != nullptr) return {*needed};
  return atoms;
}

void IndexText(const Pattern& pattern, FormulaLeaf* leaf) {
  const std::string literal = pattern.cased() ? Folded(pattern.literal()) : pattern.literal();
  leaf->exact = !pattern.cased();
  switch (pattern.shape()) {
    case Pattern::Shape::kEquals:
      leaf->index = LeafIndex::kEquals;
      break;
    case Pattern::Shape::kStarts:
      leaf->index = LeafIndex::kStarts;
      break;
    case Pattern::Shape::kEnds:
      leaf->index = LeafIndex::kEnds;
      break;
    case Pattern::Shape::kContains:
      leaf->index = LeafIndex::kContains;
      break;
    case Pattern::Shape::kAnything:
      leaf->index = LeafIndex::kPresent;
      leaf->exact = true;
      return;
    case Pattern::Shape::kGeneral:
      leaf->exact = false;
      leaf->index = literal.empty() ? LeafIndex::kPresent : LeafIndex::kContains;
      if (literal.empty()) return;
      break;
  }
  leaf->literals = {literal};
}

void IndexLeaf(FormulaLeaf* leaf) {
  if (leaf->test == nullptr) return;
  switch (leaf->test->kind()) {
    case ValueTest::Kind::kNull:
      return;
    case ValueTest::Kind::kText:
      IndexText(*leaf->test->pattern(), leaf);
      return;
    case ValueTest::Kind::kRegex:
      leaf->literals = NeededLiterals(*leaf->test->regex());
      leaf->index = leaf->literals.empty() ? LeafIndex::kPresent : LeafIndex::kContains;
      return;
    case ValueTest::Kind::kCidr:
    case ValueTest::Kind::kCompare:
    case ValueTest::Kind::kFieldRef:
    case ValueTest::Kind::kTimePart:
      leaf->index = LeafIndex::kPresent;
      return;
  }
}

}  // namespace

uint32_t FormulaGraph::Add(const Detection& detection) {
  return Part(detection, detection.condition());
}

uint32_t FormulaGraph::Part(const Detection& detection, const Condition& part) {
  if (part.kind == Condition::kSearch)
    return Of(detection.searches()[static_cast<size_t>(part.search)]);
  std::vector<uint32_t> operands;
  for (const Condition& operand : part.operands) operands.push_back(Part(detection, operand));
  if (part.kind == Condition::kNot) return Node(FormulaNode::kNot, std::move(operands));
  return Node(part.kind == Condition::kAnd ? FormulaNode::kAnd : FormulaNode::kOr,
              std::move(operands));
}

uint32_t FormulaGraph::Of(const Search& search) {
  std::vector<uint32_t> maps;
  for (const auto& items : search.maps) {
    std::vector<uint32_t> parts;
    for (const Item& item : items) parts.push_back(Of(item));
    maps.push_back(Node(FormulaNode::kAnd, std::move(parts)));
  }
  return Node(FormulaNode::kOr, std::move(maps));
}

uint32_t FormulaGraph::Of(const Item& item) {
  if (item.exists) {
    const uint32_t leaf = Leaf(item.slot, nullptr);
    return *item.exists ? leaf : Node(FormulaNode::kNot, {leaf});
  }
  std::vector<uint32_t> values;
  for (const ItemValue& value : item.values) {
    std::vector<uint32_t> tests;
    for (const auto& test : value.tests) tests.push_back(Leaf(item.slot, test.get()));
    values.push_back(Node(FormulaNode::kOr, std::move(tests)));
  }
  const uint32_t node = Node(item.all ? FormulaNode::kAnd : FormulaNode::kOr, std::move(values));
  return item.negated ? Node(FormulaNode::kNot, {node}) : node;
}

uint32_t FormulaGraph::Leaf(int slot, const ValueTest* test) {
  const std::string name =
      fmt::format("{} {}", slot, test == nullptr ? std::string("exists") : test->normal_form());
  const auto [it, added] = known_.try_emplace(name, nodes_.size());
  if (!added) return it->second;
  FormulaNode& node = nodes_.emplace_back();
  node.begin = static_cast<uint32_t>(leaves_.size());
  FormulaLeaf& leaf = leaves_.emplace_back();
  leaf.slot = slot;
  leaf.test = test;
  IndexLeaf(&leaf);
  return it->second;
}

uint32_t FormulaGraph::Node(FormulaNode::Kind kind, std::vector<uint32_t> operands) {
  if (kind != FormulaNode::kNot) {
    // (a and b) and c is one node, as is a and a.
    std::vector<uint32_t> flat;
    for (const uint32_t one : operands) {
      const FormulaNode& node = nodes_[one];
      if (node.kind == kind) {
        flat.insert(flat.end(), operands_.begin() + node.begin, operands_.begin() + node.end);
      } else {
        flat.push_back(one);
      }
    }
    std::sort(flat.begin(), flat.end());
    flat.erase(std::unique(flat.begin(), flat.end()), flat.end());
    operands = std::move(flat);
    if (operands.size() == 1) return operands[0];
  }
  std::string name(1, static_cast<char>('0' + kind));
  name.append(reinterpret_cast<const char*>(operands.data()), operands.size() * sizeof(uint32_t));
  const auto [it, added] = known_.try_emplace(std::move(name), nodes_.size());
  if (!added) return it->second;
  FormulaNode& node = nodes_.emplace_back();
  node.kind = kind;
  node.begin = static_cast<uint32_t>(operands_.size());
  operands_.insert(operands_.end(), operands.begin(), operands.end());
  node.end = static_cast<uint32_t>(operands_.size());
  return it->second;
}

std::vector<uint32_t> FormulaGraph::Leaves(uint32_t node) const {
  std::set<uint32_t> leaves;
  std::vector<uint32_t> open = {node};
  while (!open.empty()) {
    const FormulaNode& one = nodes_[open.back()];
    open.pop_back();
    if (one.kind == FormulaNode::kLeaf) {
      leaves.insert(one.begin);
    } else {
      open.insert(open.end(), operands_.begin() + one.begin, operands_.begin() + one.end);
    }
  }
  return {leaves.begin(), leaves.end()};
}

std::vector<uint32_t> FormulaGraph::Conjuncts(uint32_t node) const {
  if (nodes_[node].kind != FormulaNode::kAnd) return {node};
  return {operands_.begin() + nodes_[node].begin, operands_.begin() + nodes_[node].end};
}

void FormulaGraph::CountRule(uint32_t root) {
  for (const uint32_t leaf : Leaves(root)) ++leaves_[leaf].rules;
}

void FormulaGraph::OrderOperands(const std::function<double(uint32_t leaf)>& cost) {
  // Operands have lower numbers than the nodes that they are of.
  std::vector<double> costs(nodes_.size());
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const FormulaNode& node = nodes_[i];
    if (node.kind == FormulaNode::kLeaf) {
      costs[i] = cost(node.begin);
      continue;
    }
    const auto begin = operands_.begin() + node.begin;
    const auto end = operands_.begin() + node.end;
    std::stable_sort(begin, end, [&](uint32_t a, uint32_t b) { return costs[a] < costs[b]; });
    for (auto it = begin; it != end; ++it) costs[i] += costs[*it];
  }
}

double FormulaGraph::Cost(const FormulaLeaf& leaf) const {
  // How often it is met is not known; that many rules name it says that it is often there.
  const double popular = leaf.rules;
  if (leaf.index == LeafIndex::kPresent) return 20'000 + popular;
  double cost = popular;
  for (const std::string& literal : leaf.literals) {
    const double shortness = literal.size() >= 8   ? 1
                             : literal.size() >= 5 ? 5
                             : literal.size() >= 3 ? 25
                                                   : 400;
    cost += shortness * (leaf.index == LeafIndex::kContains ? 2 : 1);
  }
  return leaf.exact ? cost : cost + 10;
}

std::optional<FormulaGraph::Chosen> FormulaGraph::CoverOf(uint32_t index,
                                                          const std::set<uint32_t>& common) const {
  const FormulaNode& node = nodes_[index];
  std::optional<Chosen> best;
  switch (node.kind) {
    case FormulaNode::kLeaf: {
      const FormulaLeaf& leaf = leaves_[node.begin];
      if (leaf.index == LeafIndex::kNone) return std::nullopt;
      constexpr double kCommon = 1e6;
      return Chosen{Cost(leaf) + (common.contains(node.begin) ? kCommon : 0), {node.begin}};
    }
    case FormulaNode::kNot:
      return std::nullopt;
    case FormulaNode::kAnd:
      for (uint32_t i = node.begin; i < node.end; ++i) {
        std::optional<Chosen> one = CoverOf(operands_[i], common);
        if (one && (!best || one->cost < best->cost)) best = std::move(one);
      }
      return best;
    case FormulaNode::kOr:
      best.emplace();
      for (uint32_t i = node.begin; i < node.end; ++i) {
        const std::optional<Chosen> one = CoverOf(operands_[i], common);
        if (!one) return std::nullopt;
        best->cost += one->cost;
        best->leaves.insert(best->leaves.end(), one->leaves.begin(), one->leaves.end());
      }
      return best;
  }
  return std::nullopt;
}

std::optional<std::vector<uint32_t>> FormulaGraph::Cover(uint32_t node,
                                                         const std::set<uint32_t>& common) const {
  std::optional<Chosen> chosen = CoverOf(node, common);
  if (!chosen) return std::nullopt;
  std::vector<uint32_t>& leaves = chosen->leaves;
  std::sort(leaves.begin(), leaves.end());
  leaves.erase(std::unique(leaves.begin(), leaves.end()), leaves.end());
  return std::move(leaves);
}

}  // namespace bongsu::sigma
