#include "operators/sigma/rule_matcher.h"

#include <xxhash.h>

#include <algorithm>

#include "operators/fold.h"

namespace bongsu::sigma {
namespace {

uint64_t HashOf(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

}  // namespace

RuleMatcher::Scratch::Scratch(const RuleMatcher& matcher)
    : memo_(matcher.graph_.nodes().size()),
      asked_(matcher.roots_.size()),
      found_(matcher.targets_),
      active_(matcher.groups_.size()),
      folded_(static_cast<size_t>(matcher.slots_)),
      cache_(kGuardCacheSize),
      keywords_(matcher.groups_.size()),
      unit_trials_(static_cast<size_t>(matcher.unit_memos_)) {
  unguarded_.chosen = matcher.unguarded_;
  for (const Group& group : matcher.groups_) {
    for (const Unit& unit : group.units) {
      if (unit.contains != nullptr) literals_.Fit(*unit.contains);
      if (unit.filter != nullptr) unit.filter->Fit(&literals_);
    }
  }
  candidates_.reserve(matcher.targets_);
}

std::unique_ptr<RuleMatcher::Scratch> RuleMatcher::NewScratch() const {
  return std::make_unique<Scratch>(*this);
}

bool RuleMatcher::Match(const Event& event, Scratch& scratch, std::vector<uint32_t>* fired) const {
  fired->clear();
  constexpr uint32_t kEventsMax = uint32_t{1} << 31;
  if (++scratch.event_ == kEventsMax) {  // the marks of 2^31 events ago would look like today's
    std::fill(scratch.memo_.begin(), scratch.memo_.end(), 0);
    std::fill(scratch.asked_.begin(), scratch.asked_.end(), 0);
    std::fill(scratch.found_.begin(), scratch.found_.end(), 0);
    std::fill(scratch.active_.begin(), scratch.active_.end(), 0);
    std::fill(scratch.folded_.begin(), scratch.folded_.end(), Scratch::Folded{});
    scratch.event_ = 1;
  }
  scratch.texts_.clear();
  scratch.candidates_.clear();
  Scratch::Cached& cached = scratch.Groups(*this, event);
  const Chosen& chosen = cached.chosen;
  scratch.chosen_ = &chosen;
  for (const uint32_t node : chosen.holds) scratch.memo_[node] = scratch.event_ * 2 + 1;
  const bool by_slots = !MayHoldKeywords(chosen, event, scratch) && chosen.by_slots;
  if (!by_slots || chosen.rules < kMemoRules || !cached.trial.Worth()) {
    if (event.reader != nullptr && !event.reader->Read(chosen.slots)) return false;
    Judge(chosen, event, scratch, fired);
    return true;
  }
  // By how the record writes what is not read yet: of an event that is known nothing need be.
  scratch.answers_.Begin();
  scratch.answers_.Add(cached.key);
  // A fieldref's second field may have a slot beyond those that are tested.
  if (scratch.written_.size() < chosen.slots.size()) scratch.written_.resize(chosen.slots.size());
  std::string_view* const written = scratch.written_.data();
  if (event.reader != nullptr) event.reader->Written(chosen.slots, written);
  for (size_t i = 0; i < chosen.slots.size(); ++i) {
    if (event.reader != nullptr && !written[i].empty())
      scratch.answers_.AddWritten(written[i]);
    else
      scratch.answers_.Add(event.field(chosen.slots[i]));
  }
  if (const std::vector<uint32_t>* known = scratch.answers_.Find(); known != nullptr) {
    cached.trial.Known();
    *fired = *known;
    return true;
  }
  if (event.reader != nullptr && !event.reader->Read(chosen.slots)) return false;
  Judge(chosen, event, scratch, fired);
  // What is repaired is counted, each time that it is read.
  if (event.reader == nullptr || !event.reader->repaired()) scratch.answers_.Keep(*fired);
  return true;
}

void RuleMatcher::Judge(const Chosen& chosen, const Event& event, Scratch& scratch,
                        std::vector<uint32_t>* fired) const {
  if (chosen.targets <= kJudgedTargets) {
    for (const uint16_t group : chosen.groups) {
      for (const uint32_t rule : groups_[group].rules) {
        if (Holds(roots_[rule], event, scratch)) fired->push_back(rule);
      }
    }
    std::sort(fired->begin(), fired->end());
    return;
  }
  for (const uint16_t group : chosen.groups) ScanUnits(group, event, scratch);
  // Only now is a leaf that an active group looks for, and that was not found, known to be false.
  for (const uint16_t group : chosen.groups) scratch.active_[group] = scratch.event_;
  const auto ask = [&](uint32_t rule) {
    if (scratch.asked_[rule] == scratch.event_) return;
    scratch.asked_[rule] = scratch.event_;
    if (Holds(roots_[rule], event, scratch)) fired->push_back(rule);
  };
  for (const Target* target : scratch.candidates_) {
    for (uint32_t i = target->rules_begin; i < target->rules_end; ++i) ask(rule_lists_[i]);
  }
  for (const uint16_t group : chosen.groups) {
    for (const uint32_t rule : groups_[group].always) ask(rule);
  }
  std::sort(fired->begin(), fired->end());
}

void RuleMatcher::Asked(const Scratch& scratch, std::vector<uint32_t>* rules) const {
  rules->clear();
  if (scratch.chosen_ == nullptr) return;
  for (const uint16_t group : scratch.chosen_->groups)
    rules->insert(rules->end(), groups_[group].rules.begin(), groups_[group].rules.end());
}

// Whether some group's keywords may be in the event.
bool RuleMatcher::MayHoldKeywords(const Chosen& chosen, const Event& event,
                                  Scratch& scratch) const {
  bool any = false;
  for (const uint16_t index : chosen.groups) {
    const Group& group = groups_[index];
    if (group.keywords < 0) continue;
    const RecordFilter* filter = group.units[static_cast<size_t>(group.keywords)].filter.get();
    const bool may = filter == nullptr || event.reader == nullptr ||
                     filter->MayHold(event.reader->json(), scratch.literals_, &scratch.hits_);
    scratch.keywords_[index] = may ? 1 : 0;
    any = any || may;
  }
  return any;
}

void RuleMatcher::ScanUnits(uint32_t index, const Event& event, Scratch& scratch) const {
  for (const Unit& unit : groups_[index].units) {
    if (unit.slot == all_values_slot_) {
      if (scratch.keywords_[index] == 0) continue;
      if (event.reader != nullptr) event.reader->ReadAllValues();
    }
    if (!event.field(unit.slot).is_null_or_absent()) Scan(unit, event, scratch);
  }
}

// The values of the guards' fields tell the groups. An array, or an unusually long value, is not
// worth keeping.
RuleMatcher::Scratch::Cached& RuleMatcher::Scratch::Groups(const RuleMatcher& matcher,
                                                           const Event& event) {
  if (matcher.guard_slots_.empty()) return unguarded_;
  key_.clear();
  for (const int slot : matcher.guard_slots_) {
    const Value& value = event.field(slot);
    const std::string_view text = value.text();
    if (!matcher.guards_kept_ || value.is_array() ||
        key_.size() + text.size() > kGuardCacheBytesMax) {
      matcher.EvaluateGuards(event, *this, &unkept_.chosen);
      unkept_.chosen.by_slots = false;
      return unkept_;
    }
    key_.push_back(static_cast<char>(value.type()));
    const auto size = static_cast<uint16_t>(text.size());
    key_.append(reinterpret_cast<const char*>(&size), sizeof(size));
    key_.append(text);
  }
  Cached& cached = cache_[HashOf(key_) & (kGuardCacheSize - 1)];
  if (!cached.used || cached.key != key_) {
    cached.used = true;
    cached.key = key_;
    cached.trial = MemoTrial();
    matcher.EvaluateGuards(event, *this, &cached.chosen);
  }
  return cached;
}

void RuleMatcher::EvaluateGuards(const Event& event, Scratch& scratch, Chosen* chosen) const {
  chosen->groups.clear();
  chosen->slots.clear();
  chosen->holds.clear();
  chosen->rules = 0;
  chosen->targets = 0;
  chosen->by_slots = true;
  for (uint16_t i = 0; i < groups_.size(); ++i) {
    if (groups_[i].guard < 0 || Holds(static_cast<uint32_t>(groups_[i].guard), event, scratch))
      AddGroup(i, chosen);
  }
}

void RuleMatcher::AddGroup(uint16_t index, Chosen* chosen) const {
  const Group& group = groups_[index];
  chosen->groups.push_back(index);
  chosen->holds.insert(chosen->holds.end(), group.holds.begin(), group.holds.end());
  chosen->rules += group.rules.size();
  for (const Unit& unit : group.units) chosen->targets += unit.targets.size();
  if (group.keywords >= 0) chosen->targets = kJudgedTargets + 1;  // the record itself is searched
  chosen->by_slots = chosen->by_slots && group.by_slots;
  for (const int slot : group.slots) {
    if (std::find(chosen->slots.begin(), chosen->slots.end(), slot) == chosen->slots.end())
      chosen->slots.push_back(slot);
  }
}

void RuleMatcher::Scan(const Unit& unit, const Event& event, Scratch& scratch) const {
  const Value& value = event.field(unit.slot);
  if (value.is_array()) {
    if (MayBeInMembers(unit, value, scratch)) ScanMembers(unit, value, event, scratch);
    return;
  }
  MemoTrial* const trial =
      unit.memo < 0 ? nullptr : &scratch.unit_trials_[static_cast<size_t>(unit.memo)];
  if (trial == nullptr || !trial->Worth()) {
    ScanText(unit, value, FoldedText(unit.slot, value, scratch), event, scratch);
    return;
  }
  scratch.scans_.Begin();
  scratch.scans_.Add(static_cast<uint32_t>(unit.memo));
  scratch.scans_.Add(value);
  if (const std::vector<uint32_t>* known = scratch.scans_.Find(); known != nullptr) {
    trial->Known();
    for (const uint32_t target : *known) Held(unit.targets[target], scratch);
    return;
  }
  const size_t before = scratch.candidates_.size();
  ScanText(unit, value, FoldedText(unit.slot, value, scratch), event, scratch);
  scratch.held_.clear();
  for (size_t i = before; i < scratch.candidates_.size(); ++i)
    scratch.held_.push_back(static_cast<uint32_t>(scratch.candidates_[i] - unit.targets.data()));
  scratch.scans_.Keep(scratch.held_);
}

// The text of a field that is no array, folded once an event.
std::string_view RuleMatcher::FoldedText(int slot, const Value& value, Scratch& scratch) {
  Scratch::Folded& folded = scratch.folded_[static_cast<size_t>(slot)];
  if (folded.event != scratch.event_) {
    folded.event = scratch.event_;
    const std::string_view text = ComparedText(value, &scratch.number_);
    const bool own = !text.empty() && text.data() != scratch.number_.data() && IsFoldedAscii(text);
    folded.text = own ? text.data() : nullptr;
    folded.size = text.size();
    if (!own) {
      folded.at = scratch.texts_.size();
      AppendFolded(text, &scratch.texts_);
      folded.size = scratch.texts_.size() - folded.at;
    }
  }
  if (folded.text != nullptr) return {folded.text, folded.size};
  return std::string_view(scratch.texts_).substr(folded.at, folded.size);
}

namespace {

// The members' texts one behind the other, a zero byte between them.
void AppendFoldedMembers(const Value& array, std::string* number, std::string* out) {
  for (const Value& item : array.items()) {
    if (item.is_array()) {
      AppendFoldedMembers(item, number, out);
    } else if (!item.is_null_or_absent()) {
      AppendFolded(ComparedText(item, number), out);
      out->push_back('\0');
    }
  }
}

}  // namespace

// Keywords are looked for in all values of a record: one pass over all of them together, which
// nearly always finds nothing, is several times cheaper than one for each.
bool RuleMatcher::MayBeInMembers(const Unit& unit, const Value& array, Scratch& scratch) const {
  if (unit.contains == nullptr || !unit.exact.empty() || !unit.starts.empty() ||
      !unit.ends.empty() || unit.present.begin != unit.present.end)
    return true;
  const size_t at = scratch.texts_.size();
  AppendFoldedMembers(array, &scratch.number_, &scratch.texts_);
  const std::string_view all = std::string_view(scratch.texts_).substr(at);
  scratch.hits_.clear();
  if (!all.empty()) unit.contains->Find(all, scratch.literals_, &scratch.hits_);
  scratch.texts_.resize(at);
  return !scratch.hits_.empty();
}

void RuleMatcher::ScanMembers(const Unit& unit, const Value& array, const Event& event,
                              Scratch& scratch) const {
  for (const Value& item : array.items()) {
    if (item.is_array()) {
      ScanMembers(unit, item, event, scratch);
    } else if (!item.is_null_or_absent()) {
      const size_t at = scratch.texts_.size();
      AppendFolded(ComparedText(item, &scratch.number_), &scratch.texts_);
      ScanText(unit, item, std::string_view(scratch.texts_).substr(at), event, scratch);
      scratch.texts_.resize(at);
    }
  }
}

void RuleMatcher::ScanText(const Unit& unit, const Value& value, std::string_view folded,
                           const Event& event, Scratch& scratch) const {
  const auto found = [&](uint32_t literal) {
    Found(unit, unit.literals[literal], value, folded, event, scratch);
  };
  if (unit.present.begin != unit.present.end)
    Found(unit, unit.present, value, folded, event, scratch);
  if (!unit.exact.empty()) {
    const uint64_t hash = HashOf(folded);
    const size_t mask = unit.exact.size() - 1;
    for (size_t at = hash & mask; unit.exact[at].used; at = (at + 1) & mask) {
      if (unit.exact[at].hash != hash || unit.exact[at].text != folded) continue;
      found(unit.exact[at].literal);
      break;
    }
  }
  if (!unit.ends.empty()) unit.ends.Find(folded, found);
  if (!unit.starts.empty()) unit.starts.Find(folded, found);
  if (unit.contains != nullptr && !folded.empty()) {
    scratch.hits_.clear();
    unit.contains->Find(folded, scratch.literals_, &scratch.hits_);
    for (const uint32_t hit : scratch.hits_) found(unit.contains_first + hit);
  }
}

void RuleMatcher::Found(const Unit& unit, const Literal& literal, const Value& value,
                        std::string_view folded, const Event& event, Scratch& scratch) const {
  const uint32_t failed = scratch.event_ * 2;
  const uint32_t held = failed + 1;
  // Else a member of an array: another one may pass.
  const bool whole = &value == &event.field(unit.slot);
  for (uint32_t i = literal.begin; i < literal.end; ++i) {
    const Target& target = unit.targets[i];
    uint32_t& memo = scratch.memo_[leaf_nodes_[target.leaf]];
    if (memo == failed) continue;  // found by another of its literals
    if (!target.exact && memo != held) {
      const ValueTest& test = *graph_.leaves()[target.leaf].test;
      const Pattern* pattern = test.pattern();
      const bool passed = pattern != nullptr && !pattern->cased() ? pattern->MatchesFolded(folded)
                                                                  : test.Matches(value, event);
      if (!passed) {
        if (whole) memo = failed;
        continue;
      }
    }
    Held(target, scratch);
  }
}

void RuleMatcher::Held(const Target& target, Scratch& scratch) const {
  scratch.memo_[leaf_nodes_[target.leaf]] = scratch.event_ * 2 + 1;
  if (scratch.found_[target.index] == scratch.event_) return;  // in another member of an array
  scratch.found_[target.index] = scratch.event_;
  scratch.candidates_.push_back(&target);  // never more than there are targets
}

bool RuleMatcher::HoldsLeaf(uint32_t index, const Event& event, Scratch& scratch) const {
  const FormulaLeaf& leaf = graph_.leaves()[index];
  if (scanned_in_[index] >= 0 &&
      scratch.active_[static_cast<size_t>(scanned_in_[index])] == scratch.event_)
    return false;  // it was looked for
  if (leaf.slot == all_values_slot_ && event.reader != nullptr) event.reader->ReadAllValues();
  const Value& value = event.field(leaf.slot);
  if (leaf.test == nullptr) return !value.is_absent();
  const Pattern* pattern = leaf.test->pattern();
  if (pattern != nullptr && !pattern->cased() && !value.is_array())
    return !value.is_null_or_absent() &&
           pattern->MatchesFolded(FoldedText(leaf.slot, value, scratch));
  const auto any = [&](const auto& self, const Value& one) -> bool {
    if (!one.is_array()) return leaf.test->Matches(one, event);
    return std::any_of(one.items().begin(), one.items().end(),
                       [&](const Value& item) { return self(self, item); });
  };
  return any(any, value);
}

bool RuleMatcher::Holds(uint32_t index, const Event& event, Scratch& scratch) const {
  const uint32_t memo = scratch.memo_[index];
  if (memo >> 1 == scratch.event_) return (memo & 1) != 0;
  const FormulaNode& node = graph_.nodes()[index];
  const auto holds = [&](uint32_t operand) { return Holds(operand, event, scratch); };
  const uint32_t* operands = graph_.operands().data();
  bool held = false;
  switch (node.kind) {
    case FormulaNode::kLeaf:
      held = HoldsLeaf(node.begin, event, scratch);
      break;
    case FormulaNode::kNot:
      held = !holds(operands[node.begin]);
      break;
    case FormulaNode::kAnd:
      held = std::all_of(operands + node.begin, operands + node.end, holds);
      break;
    case FormulaNode::kOr:
      held = std::any_of(operands + node.begin, operands + node.end, holds);
      break;
  }
  scratch.memo_[index] = scratch.event_ * 2 + (held ? 1 : 0);
  return held;
}

}  // namespace bongsu::sigma
