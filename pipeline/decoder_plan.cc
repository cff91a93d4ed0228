#include "pipeline/decoder_plan.h"

#include <algorithm>
#include <bit>
#include <map>
#include <memory>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "state/check.h"

namespace bongsu {

static_assert(std::endian::native == std::endian::little,
              "JsonKey masks short keys as little endian words");

namespace {

// The forms in which a dotted path may lie in a record, the one with the fewest levels first; of
// equals, the one whose first key is longest, then whose second is.
std::vector<std::vector<std::string>> Forms(const std::string& path) {
  std::vector<std::string> segments(1);
  for (const char c : path) {
    if (c == '.') {
      segments.emplace_back();
    } else {
      segments.back().push_back(c);
    }
  }
  const size_t dots = segments.size() - 1;
  std::vector<uint32_t> cuts;  // bit d: the path is cut at its d-th dot
  if (segments.size() <= kMixedSegmentsMax) {
    for (uint32_t cut = 0; cut < (1u << dots); ++cut) cuts.push_back(cut);
    // Mirrored, a later first cut is the smaller number.
    const auto order = [dots](uint32_t cut) {
      uint32_t mirrored = 0;
      for (size_t d = 0; d < dots; ++d) mirrored |= (cut >> d & 1) << (dots - 1 - d);
      return std::pair(std::popcount(cut), mirrored);
    };
    std::sort(cuts.begin(), cuts.end(),
              [order](uint32_t a, uint32_t b) { return order(a) < order(b); });
  }
  std::vector<std::vector<std::string>> forms;
  for (const uint32_t cut : cuts) {
    std::vector<std::string>& keys = forms.emplace_back(1, segments[0]);
    for (size_t d = 0; d < dots; ++d) {
      if ((cut >> d & 1) != 0) {
        keys.push_back(segments[d + 1]);
      } else {
        keys.back().append(".").append(segments[d + 1]);
      }
    }
  }
  if (cuts.empty()) forms = {{path}, segments};
  return forms;
}

}  // namespace

// The trie while it grows: maps in place of tables.
struct DecodePlan::Builder {
  using Children = std::map<std::string, uint32_t>;
  struct Node {
    // Beside a `*` there may be thousands of keys, and thousands under it: what is under it is
    // never copied, but shared, or asked behind the node's own.
    std::shared_ptr<Children> children = std::make_shared<Children>();
    uint32_t also = 0;  // PlanNode::also; that node has none itself
    std::vector<PlanTarget> targets;
    bool is_leaf() const { return children->empty() && also == 0; }
  };
  std::vector<Node> nodes = std::vector<Node>(1);

  // Returns the rank of what follows.
  uint32_t Add(const std::string& path, uint32_t slot, uint32_t rank) {
    // (A segment that is `*` alone is any key.)
    for (const std::vector<std::string>& keys : Forms(path)) {
      uint32_t node = 0;
      for (const std::string& key : keys) {
        const auto [it, added] =
            nodes[node].children->try_emplace(key, static_cast<uint32_t>(nodes.size()));
        node = it->second;
        if (added) nodes.emplace_back();
        has_any_ = has_any_ || key == "*";
      }
      // Ranks from 0x8000 on are those of null values, see decoder.cc.
      BONGSU_CHECK_MSG(rank < 0x8000, "a field has too many paths");
      nodes[node].targets.push_back({slot, static_cast<uint16_t>(rank)});
      ++rank;
    }
    return rank;
  }

  // Puts what is under each `*` under the keys beside it, too.
  void Widen() {
    if (has_any_) Widen(0);
  }

 private:
  // From below, so that Merged meets only what is widened.
  void Widen(uint32_t node) {
    const std::shared_ptr<Children> children = nodes[node].children;
    for (const auto& [name, child] : *children) Widen(child);
    const auto any = children->find("*");
    if (any == children->end()) return;
    for (auto& [name, child] : *children) {
      if (child != any->second) child = Merged(child, any->second);
    }
  }

  // The node of a key that is both. Neither is changed: others may lead to it.
  uint32_t Merged(uint32_t a, uint32_t b) {
    Node merged = nodes[a];
    for (const PlanTarget& target : nodes[b].targets) {
      const auto same = std::find_if(merged.targets.begin(), merged.targets.end(),
                                     [&](const PlanTarget& t) { return t.slot == target.slot; });
      if (same == merged.targets.end()) {
        merged.targets.push_back(target);
      } else {
        same->rank = std::min(same->rank, target.rank);
      }
    }
    if (merged.is_leaf()) {
      merged.children = nodes[b].children;
      merged.also = nodes[b].also;
    } else if (!nodes[b].is_leaf()) {
      const std::shared_ptr<const Children> mine = AllChildren(a);
      const std::shared_ptr<const Children> others = AllChildren(b);
      merged.children = std::make_shared<Children>(*mine);
      merged.also = 0;
      for (auto& [name, child] : *merged.children) {
        if (const auto other = Child(*others, name); other != 0) child = Merged(child, other);
      }
      if (!mine->contains("*") && nodes[b].also == 0) {
        merged.also = b;
      } else {
        for (const auto& [name, other] : *others) {
          if (mine->contains(name)) continue;
          const uint32_t child = Child(*mine, name);
          merged.children->emplace(name, child == 0 ? other : Merged(child, other));
        }
      }
    }
    nodes.push_back(std::move(merged));
    return static_cast<uint32_t>(nodes.size() - 1);
  }

  std::shared_ptr<const Children> AllChildren(uint32_t node) const {
    if (nodes[node].also == 0) return nodes[node].children;
    auto all = std::make_shared<Children>(*nodes[node].children);
    const Children& others = *nodes[nodes[node].also].children;
    all->insert(others.begin(), others.end());
    return all;
  }

  // Where a key leads; 0: nowhere.
  static uint32_t Child(const Children& children, const std::string& name) {
    auto it = children.find(name);
    if (it == children.end()) it = children.find("*");
    return it == children.end() ? 0 : it->second;
  }

  bool has_any_ = false;
};

DecodePlan::DecodePlan(const Format& format, const FieldTable& fields) {
  Builder builder;
  // Where a time's path can be read. A field with that path alone serves.
  std::map<std::string, uint32_t> time_slots;
  std::vector<std::pair<std::string, const RecordCondition*>> conditional_paths;
  for (const std::string& name : fields.names()) {
    if (name == kAllValuesField) {  // lies at no path
      ++slots_;
      continue;
    }
    const std::vector<std::string> paths = format.PathsOf(name);
    const auto conditions = format.field_conditions.find(name);
    const bool conditional = conditions != format.field_conditions.end();
    if (paths.size() == 1 && !conditional) time_slots.emplace(paths[0], slots_);
    uint32_t rank = 0;
    for (size_t i = 0; i < paths.size(); ++i) {
      if (!conditional || conditions->second[i].path.empty()) {
        rank = builder.Add(paths[i], slots_, rank);
      } else {
        BONGSU_CHECK_MSG(rank < 0x8000, "a field has too many paths");
        conditional_paths.push_back({paths[i], &conditions->second[i]});
        conditionals_.push_back({.slot = slots_, .rank = static_cast<uint16_t>(rank++)});
      }
    }
    ++slots_;
  }
  const auto slot_of = [&](const std::string& path) {
    const auto [it, added] = time_slots.try_emplace(path, slots_);
    if (added) builder.Add(path, slots_++, 0);
    return it->second;
  };
  const auto condition = [&](const RecordCondition& when) {
    if (when.path.empty()) return PlanCondition();
    return PlanCondition{static_cast<int>(slot_of(when.path)), when.texts};
  };
  // (Behind the fields, whose slots are the first.)
  for (size_t i = 0; i < conditionals_.size(); ++i) {
    conditionals_[i].from = slot_of(conditional_paths[i].first);
    conditionals_[i].when = condition(*conditional_paths[i].second);
  }
  for (const TimeSpec& spec : format.time) {
    PlanTime& time = times_.emplace_back();
    time.slot = slot_of(spec.path);
    time.encoding = spec.encoding;
    time.when = condition(spec.when);
    if (spec.encoding != TimeEncoding::kPattern) continue;
    std::string error;
    time.pattern = TimePattern::Compile(spec.pattern, spec.zone_offset, &error);
    BONGSU_CHECK_MSG(time.pattern.has_value(), error);  // ParseFormat has refused wrong ones
  }
  const auto raw = format.fields.find(std::string(kRawField));
  if (raw != format.fields.end()) {
    for (const std::string& path : raw->second) raw_slots_.push_back(slot_of(path));
  }
  builder.Widen();
  AddNodes(builder);
  for (size_t i = 0; i < raw_slots_.size(); ++i) {
    // Each path has its flat form, a key of the root.
    std::string padded = raw->second[i];
    padded.append(8, '\0');
    const PlanNode* node = Find(root(), JsonKey(padded.data(), raw->second[i].size()));
    BONGSU_CHECK_MSG(node != nullptr, "the path of the original text is not in the trie");
    raw_nodes_.push_back(node);
  }
}

void DecodePlan::AddNodes(const Builder& builder) {
  absl::flat_hash_map<const Builder::Children*, size_t> tables;  // the first node that has it
  for (const Builder::Node& grown : builder.nodes) {
    PlanNode& node = nodes_.emplace_back();
    node.targets_begin = static_cast<uint32_t>(targets_.size());
    targets_.insert(targets_.end(), grown.targets.begin(), grown.targets.end());
    node.targets_end = static_cast<uint32_t>(targets_.size());
    node.has_children = !grown.is_leaf();
    node.also = grown.also;
    if (!node.has_children && grown.targets.size() == 1) {
      node.only_slot = static_cast<int32_t>(grown.targets[0].slot);
      node.only_rank = grown.targets[0].rank;
    }
    const auto [table, added] = tables.try_emplace(grown.children.get(), nodes_.size() - 1);
    if (!added) {
      const PlanNode& same = nodes_[table->second];
      node.table_begin = same.table_begin;
      node.table_mask = same.table_mask;
      node.any_child = same.any_child;
      continue;
    }
    // At most a quarter full: most keys that nobody needs meet an empty entry at once.
    const size_t size = std::bit_ceil(4 * grown.children->size() + 1);
    node.table_begin = static_cast<uint32_t>(table_.size());
    node.table_mask = static_cast<uint32_t>(size - 1);
    table_.resize(table_.size() + size);
    for (const auto& [name, child] : *grown.children) {
      if (name == "*") {
        node.any_child = child;
        continue;
      }
      std::string padded = name;
      padded.append(8, '\0');
      const JsonKey key(padded.data(), name.size());
      uint32_t at = Hash(key) & node.table_mask;
      while (table_[node.table_begin + at].node != 0) at = (at + 1) & node.table_mask;
      table_[node.table_begin + at] = {key.first, key.last, static_cast<uint32_t>(name.size()),
                                       static_cast<uint32_t>(names_.size()), child};
      names_ += name;
    }
  }
}

}  // namespace bongsu
