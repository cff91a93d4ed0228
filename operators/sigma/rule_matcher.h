// File: operators/sigma/rule_matcher.h
//
// All detections of one source, compiled together: which of thousands of rules does an event meet?
// The answer is that of Detection::Matches, rule by rule; the cost hardly depends on their number.
//
//   RuleMatcher::Builder builder;
//   const uint32_t group = builder.Group(guard);         // a log source; null: every event
//   builder.Rule(group, detection);                      // rule 0, 1, ...
//   auto matcher = builder.Build();                      // shared by threads
//   auto scratch = matcher->NewScratch();                // one for each thread
//   if (!matcher->Match(event, *scratch, &fired)) ...    // ascending
//
// How: equal parts of the rules stand once (operators/sigma/rule_formula.h). Of each rule a cover
// is chosen: leaves of which one is true whenever the rule is met. The covers of a group's rules
// are looked for field by field: exact values by hash, beginnings and ends by a trie, what is
// within by Vectorscan (operators/sigma/literal_scan.h), all on the text folded once. Only rules of
// which a leaf was seen are evaluated, and each part of them at most once an event; where there are
// kJudgedTargets leaf at most, all are. Which groups an
// event is of is told by the values of the few fields that their guards read; the latest
// kGuardCacheSize combinations are kept. Of an event whose fields are not all read (Event::reader),
// only those are that rules of its groups read; keywords are looked for in the record as it is
// written first (operators/sigma/record_filter.h). An event that says the same as one before in all
// that its rules read is not judged again, and a value not searched again that a field had before
// (operators/sigma/match_memo.h); where fewer than one in kMemoWorth do, that is not tried for a
// while.
//
// Thread-safety: immutable; a Scratch belongs to one thread. Match does not allocate once a thread
// has seen its largest event and the memo is full. The detections are kept alive.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "operators/event.h"
#include "operators/sigma/affix_trie.h"
#include "operators/sigma/literal_scan.h"
#include "operators/sigma/match_memo.h"
#include "operators/sigma/record_filter.h"
#include "operators/sigma/rule_formula.h"
#include "operators/sigma/selection.h"

namespace bongsu::sigma {

inline constexpr size_t kGuardCacheSize = 1024;      // a power of two
inline constexpr size_t kGuardCacheBytesMax = 1024;  // longer combinations are not kept
// Leaves that an event's rules look for: no more are evaluated as fast without looking first.
inline constexpr size_t kJudgedTargets = 1;
inline constexpr size_t kMemoRules = 8;  // of an event's groups: fewer are judged as fast

class RuleMatcher {
 public:
  class Builder;
  class Scratch;

  std::unique_ptr<Scratch> NewScratch() const;
  // Replaces `*fired` by the indices of the rules that `event` meets, ascending. False: a field of
  // the event that had to be read could not be.
  [[nodiscard]] bool Match(const Event& event, Scratch& scratch,
                           std::vector<uint32_t>* fired) const;

  // The rules that the event of the last Match was looked at for: those of its log source.
  void Asked(const Scratch& scratch, std::vector<uint32_t>* rules) const;

  // What was compiled, for reports and tests.
  struct Size {
    size_t rules = 0;
    size_t groups = 0;
    size_t leaves = 0;     // different tests of different fields
    size_t scanned = 0;    // of these, looked for in each event of their group
    size_t always = 0;     // rules that are evaluated for each event of their group
    size_t databases = 0;  // of Vectorscan
  };
  const Size& size() const { return size_; }
  // What tells the groups of an event; these fields must be read before Match.
  const std::vector<int>& guard_slots() const { return guard_slots_; }

 private:
  // A literal's leaf, and the rules of the group that it lets be evaluated.
  struct Target {
    uint32_t leaf = 0;
    uint32_t index = 0;  // counts all targets
    bool exact = false;
    uint32_t rules_begin = 0;  // in rule_lists_
    uint32_t rules_end = 0;
  };
  // The targets of a literal: a range of Unit::targets.
  struct Literal {
    uint32_t begin = 0;
    uint32_t end = 0;
  };
  struct Exact {
    uint64_t hash = 0;
    std::string text;
    uint32_t literal = 0;
    bool used = false;
  };
  // What is looked for in one field of the events of one group.
  struct Unit {
    int slot = 0;
    std::vector<Target> targets;
    std::vector<Literal> literals;
    std::vector<Exact> exact;  // an open table, a power of two; may be empty
    AffixTrie starts{false};
    AffixTrie ends{true};
    std::unique_ptr<LiteralScan> contains;  // its literals are contains_first, ...
    uint32_t contains_first = 0;
    Literal present;
    std::unique_ptr<const RecordFilter> filter;  // of all values; null: ask them
    int memo =
        -1;  // its number, where what is found is worth keeping and depends on the text alone
  };
  struct Group {
    int64_t guard = -1;  // a node; -1: every event
    std::vector<Unit> units;
    std::vector<uint32_t> rules;
    std::vector<uint32_t> always;
    std::vector<int> slots;       // what its rules read, but for all values
    std::vector<uint32_t> holds;  // what is true where the guard is: its rules repeat it
    int64_t keywords = -1;        // the unit of all values; -1: none
    // Of an event in which the keywords' filter finds nothing, `slots` decide alone.
    bool by_slots = true;
  };
  // The groups of an event, and their slots and holds together.
  struct Chosen {
    std::vector<uint16_t> groups;
    std::vector<int> slots;
    std::vector<uint32_t> holds;
    size_t rules = 0;
    size_t targets = 0;
    bool by_slots = true;
  };

  RuleMatcher() = default;
  bool MayHoldKeywords(const Chosen& chosen, const Event& event, Scratch& scratch) const;
  void Judge(const Chosen& chosen, const Event& event, Scratch& scratch,
             std::vector<uint32_t>* fired) const;
  void AddGroup(uint16_t index, Chosen* chosen) const;
  void EvaluateGuards(const Event& event, Scratch& scratch, Chosen* chosen) const;
  void ScanUnits(uint32_t index, const Event& event, Scratch& scratch) const;
  void Scan(const Unit& unit, const Event& event, Scratch& scratch) const;
  static std::string_view FoldedText(int slot, const Value& value, Scratch& scratch);
  bool MayBeInMembers(const Unit& unit, const Value& array, Scratch& scratch) const;
  void ScanMembers(const Unit& unit, const Value& array, const Event& event,
                   Scratch& scratch) const;
  void ScanText(const Unit& unit, const Value& value, std::string_view folded, const Event& event,
                Scratch& scratch) const;
  void Found(const Unit& unit, const Literal& literal, const Value& value, std::string_view folded,
             const Event& event, Scratch& scratch) const;
  void Held(const Target& target, Scratch& scratch) const;
  bool Holds(uint32_t node, const Event& event, Scratch& scratch) const;
  bool HoldsLeaf(uint32_t leaf, const Event& event, Scratch& scratch) const;

  FormulaGraph graph_;
  std::vector<std::shared_ptr<const Detection>> kept_;
  std::vector<uint32_t> roots_;  // by rule
  std::vector<uint32_t> rule_lists_;
  std::vector<uint32_t> leaf_nodes_;  // by leaf
  std::vector<int32_t> scanned_in_;   // by leaf: a group that looks for it in each of its events
  std::vector<Group> groups_;
  Chosen unguarded_;  // groups of every event
  int all_values_slot_ = -1;
  std::vector<int> guard_slots_;
  bool guards_kept_ = true;  // guard_slots_ say all
  int slots_ = 0;
  uint32_t targets_ = 0;
  int unit_memos_ = 0;
  Size size_;
};

class RuleMatcher::Builder {
 public:
  // Rules that are asked only of events that meet `guard`. Equal guards are one group.
  uint32_t Group(std::shared_ptr<const Detection> guard);
  void Rule(uint32_t group, std::shared_ptr<const Detection> detection);
  // `all_values_slot`: of kAllValuesField; -1: no rule has keywords.
  std::unique_ptr<const RuleMatcher> Build(int all_values_slot = -1);

 private:
  struct Wanted;  // of a group and a field
  void BuildGroup(uint32_t group);
  void AddOthers(uint32_t group, std::map<int, Wanted>* wanted);
  void BuildUnit(const Wanted& wanted, Unit* unit);
  void BuildFilter(const Wanted& wanted, Unit* unit);
  bool KeywordsAreFiltered(const std::vector<uint32_t>& rules,
                           const std::map<int, Wanted>& wanted) const;
  void AddSlots(uint32_t node, std::set<int>* slots) const;
  Literal AddTargets(const std::map<uint32_t, std::vector<uint32_t>>& leaves, Unit* unit);
  void BuildGuards();
  void OrderOperands();

  std::unique_ptr<RuleMatcher> matcher_{new RuleMatcher};
  std::vector<std::vector<uint32_t>> group_rules_;
};

class RuleMatcher::Scratch {
 public:
  explicit Scratch(const RuleMatcher& matcher);

 private:
  friend class RuleMatcher;
  struct Folded {
    uint32_t event = 0;          // what the others are of
    const char* text = nullptr;  // the value's own, where folding changes nothing; null: `at`
    size_t at = 0;               // in texts_
    size_t size = 0;
  };
  // A combination of the guards' values, and how often its events repeat one another.
  struct Cached {
    std::string key;
    Chosen chosen;
    bool used = false;
    MemoTrial trial;
  };

  Cached& Groups(const RuleMatcher& matcher, const Event& event);

  uint32_t event_ = 0;            // counts events; 0: never
  std::vector<uint32_t> memo_;    // by node: event * 2 + whether it holds
  std::vector<uint32_t> asked_;   // by rule: the event
  std::vector<uint32_t> found_;   // by target: the event
  std::vector<uint32_t> active_;  // by group: the event
  std::vector<Folded> folded_;    // by slot
  std::string texts_;             // the folded texts of the event
  std::string number_;            // a number's text
  std::vector<uint32_t> hits_;    // of a scan
  std::vector<const Target*> candidates_;
  std::string key_;
  std::vector<Cached> cache_;
  Cached unguarded_;
  Cached unkept_;                   // of the event at hand
  const Chosen* chosen_ = nullptr;  // of the last event
  std::vector<uint8_t> keywords_;   // by group: the event may hold some
  MatchMemo answers_{kMemoEvents};
  MatchMemo scans_{kMemoValues};  // targets of a unit, by its value
  std::vector<MemoTrial> unit_trials_;
  std::vector<uint32_t> held_;             // of a scan
  std::vector<std::string_view> written_;  // by the event's slots
  LiteralScratch literals_;
};

}  // namespace bongsu::sigma
