// Compiling the rules of a source: operators/sigma/rule_matcher.h.
#include <xxhash.h>

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "operators/sigma/rule_matcher.h"
#include "state/check.h"

namespace bongsu::sigma {

// By how and by what a leaf is found: the leaves, and of each the rules that it is a cover's part
// of.
struct RuleMatcher::Builder::Wanted {
  using Leaves = std::map<uint32_t, std::vector<uint32_t>>;
  std::map<std::pair<LeafIndex, std::string>, Leaves> literals;
  Leaves present;

  // Whether the whole text is gone through.
  bool searched() const {
    const auto it = literals.lower_bound({LeafIndex::kContains, std::string()});
    return it != literals.end() && it->first.first == LeafIndex::kContains;
  }
};

uint32_t RuleMatcher::Builder::Group(std::shared_ptr<const Detection> guard) {
  int64_t node = -1;
  if (guard != nullptr) {
    node = matcher_->graph_.Add(*guard);
    matcher_->kept_.push_back(std::move(guard));
  }
  std::vector<RuleMatcher::Group>& groups = matcher_->groups_;
  const auto it = std::find_if(groups.begin(), groups.end(),
                               [&](const auto& group) { return group.guard == node; });
  if (it != groups.end()) return static_cast<uint32_t>(it - groups.begin());
  BONGSU_CHECK(groups.size() < std::numeric_limits<uint16_t>::max());
  groups.emplace_back().guard = node;
  group_rules_.emplace_back();
  return static_cast<uint32_t>(groups.size() - 1);
}

void RuleMatcher::Builder::Rule(uint32_t group, std::shared_ptr<const Detection> detection) {
  group_rules_[group].push_back(static_cast<uint32_t>(matcher_->roots_.size()));
  const uint32_t root = matcher_->graph_.Add(*detection);
  matcher_->roots_.push_back(root);
  matcher_->graph_.CountRule(root);
  matcher_->kept_.push_back(std::move(detection));
}

std::unique_ptr<const RuleMatcher> RuleMatcher::Builder::Build(int all_values_slot) {
  RuleMatcher& matcher = *matcher_;
  matcher.all_values_slot_ = all_values_slot;
  const std::vector<FormulaLeaf>& leaves = matcher.graph_.leaves();
  matcher.leaf_nodes_.resize(leaves.size());
  for (uint32_t i = 0; i < matcher.graph_.nodes().size(); ++i) {
    const FormulaNode& node = matcher.graph_.nodes()[i];
    if (node.kind == FormulaNode::kLeaf) matcher.leaf_nodes_[node.begin] = i;
  }
  matcher.scanned_in_.assign(leaves.size(), -1);
  for (const FormulaLeaf& leaf : leaves) matcher.slots_ = std::max(matcher.slots_, leaf.slot + 1);
  for (uint32_t group = 0; group < group_rules_.size(); ++group) BuildGroup(group);
  BuildGuards();
  OrderOperands();
  matcher.size_.rules = matcher.roots_.size();
  matcher.size_.groups = matcher.groups_.size();
  matcher.size_.leaves = leaves.size();
  matcher.size_.scanned = static_cast<size_t>(std::count_if(
      matcher.scanned_in_.begin(), matcher.scanned_in_.end(), [](int32_t in) { return in >= 0; }));
  return std::move(matcher_);
}

void RuleMatcher::Builder::BuildGroup(uint32_t index) {
  RuleMatcher& matcher = *matcher_;
  RuleMatcher::Group& group = matcher.groups_[index];
  std::map<int, Wanted> wanted;  // by slot
  // Its rules ask again what the guard has asked: nothing that tells them apart.
  std::set<uint32_t> common;
  if (group.guard >= 0) {
    const auto leaves = matcher.graph_.Leaves(static_cast<uint32_t>(group.guard));
    common.insert(leaves.begin(), leaves.end());
    group.holds = matcher.graph_.Conjuncts(static_cast<uint32_t>(group.guard));
  }
  for (const uint32_t rule : group_rules_[index]) {
    const auto cover = matcher.graph_.Cover(matcher.roots_[rule], common);
    if (!cover) {
      group.always.push_back(rule);
      continue;
    }
    for (const uint32_t one : *cover) {
      const FormulaLeaf& leaf = matcher.graph_.leaves()[one];
      Wanted& slot = wanted[leaf.slot];
      if (matcher.scanned_in_[one] < 0) matcher.scanned_in_[one] = static_cast<int32_t>(index);
      if (leaf.index == LeafIndex::kPresent) slot.present[one].push_back(rule);
      for (const std::string& literal : leaf.literals)
        slot.literals[{leaf.index, literal}][one].push_back(rule);
    }
  }
  AddOthers(index, &wanted);
  matcher.size_.always += group.always.size();
  for (const auto& [slot, leaves] : wanted) {
    Unit& unit = group.units.emplace_back();
    unit.slot = slot;
    BuildUnit(leaves, &unit);
    if (unit.contains != nullptr) ++matcher.size_.databases;
    if (slot != matcher.all_values_slot_) continue;
    group.keywords = static_cast<int64_t>(group.units.size()) - 1;
    BuildFilter(leaves, &unit);
  }
  group.rules = group_rules_[index];
  group.by_slots = KeywordsAreFiltered(group_rules_[index], wanted);
  std::set<int> slots;
  for (const uint32_t rule : group_rules_[index]) AddSlots(matcher.roots_[rule], &slots);
  slots.erase(matcher.all_values_slot_);
  group.slots.assign(slots.begin(), slots.end());
}

// The fields that a node reads.
void RuleMatcher::Builder::AddSlots(uint32_t node, std::set<int>* slots) const {
  for (const uint32_t one : matcher_->graph_.Leaves(node)) {
    const FormulaLeaf& leaf = matcher_->graph_.leaves()[one];
    slots->insert(leaf.slot);
    if (leaf.test != nullptr && leaf.test->other_slot() >= 0)
      slots->insert(leaf.test->other_slot());
  }
}

// Whether every keyword of the rules is looked for in each of their events, and by a filter.
bool RuleMatcher::Builder::KeywordsAreFiltered(const std::vector<uint32_t>& rules,
                                               const std::map<int, Wanted>& wanted) const {
  const int slot = matcher_->all_values_slot_;
  std::set<uint32_t> looked_for;
  if (const auto it = wanted.find(slot); it != wanted.end()) {
    for (const auto& [key, leaves] : it->second.literals) {
      for (const auto& [leaf, cover_of] : leaves) looked_for.insert(leaf);
    }
  }
  return std::all_of(rules.begin(), rules.end(), [&](uint32_t rule) {
    const std::vector<uint32_t> leaves = matcher_->graph_.Leaves(matcher_->roots_[rule]);
    return std::all_of(leaves.begin(), leaves.end(), [&](uint32_t leaf) {
      return matcher_->graph_.leaves()[leaf].slot != slot || looked_for.contains(leaf);
    });
  });
}

// Where keywords are all that is looked for in a record's values.
void RuleMatcher::Builder::BuildFilter(const Wanted& wanted, Unit* unit) {
  std::vector<std::string> literals;
  for (const auto& [key, leaves] : wanted.literals) {
    if (key.first != LeafIndex::kContains) return;
    literals.push_back(key.second);
  }
  if (wanted.present.empty()) unit->filter = RecordFilter::Make(literals);
}

// Where a field is searched for the covers, one pass finds the other literals of the group's rules
// as well; alone, each would be a search of its own in every candidate.
void RuleMatcher::Builder::AddOthers(uint32_t index, std::map<int, Wanted>* wanted) {
  RuleMatcher& matcher = *matcher_;
  std::set<uint32_t> leaves;
  for (const uint32_t rule : group_rules_[index]) {
    for (const uint32_t leaf : matcher.graph_.Leaves(matcher.roots_[rule])) leaves.insert(leaf);
  }
  for (const uint32_t one : leaves) {
    const FormulaLeaf& leaf = matcher.graph_.leaves()[one];
    if (!leaf.exact || leaf.index != LeafIndex::kContains) continue;
    const auto slot = wanted->find(leaf.slot);
    if (slot == wanted->end() || !slot->second.searched()) continue;
    if (matcher.scanned_in_[one] < 0) matcher.scanned_in_[one] = static_cast<int32_t>(index);
    slot->second.literals[{leaf.index, leaf.literals[0]}].try_emplace(one);
  }
}

RuleMatcher::Literal RuleMatcher::Builder::AddTargets(const Wanted::Leaves& leaves, Unit* unit) {
  RuleMatcher& matcher = *matcher_;
  Literal literal;
  literal.begin = static_cast<uint32_t>(unit->targets.size());
  for (const auto& [leaf, rules] : leaves) {
    Target& target = unit->targets.emplace_back();
    target.leaf = leaf;
    target.index = matcher.targets_++;
    target.exact = matcher.graph_.leaves()[leaf].exact;
    target.rules_begin = static_cast<uint32_t>(matcher.rule_lists_.size());
    matcher.rule_lists_.insert(matcher.rule_lists_.end(), rules.begin(), rules.end());
    target.rules_end = static_cast<uint32_t>(matcher.rule_lists_.size());
  }
  literal.end = static_cast<uint32_t>(unit->targets.size());
  return literal;
}

void RuleMatcher::Builder::BuildUnit(const Wanted& wanted, Unit* unit) {
  unit->present = AddTargets(wanted.present, unit);
  std::vector<std::string> contains;
  std::vector<std::pair<std::string, uint32_t>> exact;
  // The map has the kinds in their order, so that those of kContains follow one another.
  for (const auto& [key, leaves] : wanted.literals) {
    const auto& [index, text] = key;
    const auto literal = static_cast<uint32_t>(unit->literals.size());
    unit->literals.push_back(AddTargets(leaves, unit));
    if (index == LeafIndex::kEquals) exact.emplace_back(text, literal);
    if (index == LeafIndex::kStarts) unit->starts.Add(text, literal);
    if (index == LeafIndex::kEnds) unit->ends.Add(text, literal);
    if (index != LeafIndex::kContains) continue;
    if (contains.empty()) unit->contains_first = literal;
    contains.push_back(text);
  }
  if (!contains.empty()) unit->contains = std::make_unique<LiteralScan>(std::move(contains));
  // To look a text up costs as much as to ask for a few exact ones.
  const bool by_text =
      std::none_of(unit->targets.begin(), unit->targets.end(), [this](const Target& target) {
        const FormulaLeaf& leaf = matcher_->graph_.leaves()[target.leaf];
        return leaf.test != nullptr && leaf.test->other_slot() >= 0;
      });
  if (by_text && (unit->contains != nullptr || !unit->starts.empty() || !unit->ends.empty()))
    unit->memo = matcher_->unit_memos_++;
  if (exact.empty()) return;
  size_t size = 4;
  while (size < exact.size() * 2) size *= 2;
  unit->exact.resize(size);
  for (auto& [text, literal] : exact) {
    const uint64_t hash = XXH3_64bits(text.data(), text.size());
    size_t at = hash & (size - 1);
    while (unit->exact[at].used) at = (at + 1) & (size - 1);
    unit->exact[at] = {hash, std::move(text), literal, true};
  }
}

void RuleMatcher::Builder::BuildGuards() {
  RuleMatcher& matcher = *matcher_;
  std::set<int> slots;
  for (size_t i = 0; i < matcher.groups_.size(); ++i) {
    const int64_t guard = matcher.groups_[i].guard;
    if (guard < 0) {
      matcher.AddGroup(static_cast<uint16_t>(i), &matcher.unguarded_);
      continue;
    }
    AddSlots(static_cast<uint32_t>(guard), &slots);
    for (const uint32_t one : matcher.graph_.Leaves(static_cast<uint32_t>(guard))) {
      const FormulaLeaf& leaf = matcher.graph_.leaves()[one];
      // It reads a second field.
      if (leaf.test != nullptr && leaf.test->kind() == ValueTest::Kind::kFieldRef)
        matcher.guards_kept_ = false;
    }
  }
  matcher.guard_slots_.assign(slots.begin(), slots.end());
}

void RuleMatcher::Builder::OrderOperands() {
  const RuleMatcher& matcher = *matcher_;
  matcher_->graph_.OrderOperands([&](uint32_t index) -> double {
    const FormulaLeaf& leaf = matcher.graph_.leaves()[index];
    if (matcher.scanned_in_[index] >= 0) return 1;  // known, as a rule
    if (leaf.test == nullptr || leaf.test->kind() == ValueTest::Kind::kNull) return 2;
    if (leaf.test->kind() == ValueTest::Kind::kRegex) return 100;
    return leaf.index == LeafIndex::kContains ? 20 : 5;
  });
}

}  // namespace bongsu::sigma
