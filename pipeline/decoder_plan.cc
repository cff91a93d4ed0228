#include "pipeline/decoder_plan.h"

#include <algorithm>
#include <bit>
#include <map>
#include <optional>

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
  struct Node {
    std::map<std::string, uint32_t> children;
    std::vector<PlanTarget> targets;
  };
  std::vector<Node> nodes = std::vector<Node>(1);

  void Add(const std::vector<std::string>& paths, uint32_t slot) {
    uint32_t rank = 0;
    // (A segment that is `*` alone is any key.)
    for (const std::string& path : paths) {
      for (const std::vector<std::string>& keys : Forms(path)) {
        uint32_t node = 0;
        for (const std::string& key : keys) {
          const auto [it, added] =
              nodes[node].children.try_emplace(key, static_cast<uint32_t>(nodes.size()));
          node = it->second;
          if (added) nodes.emplace_back();
        }
        // Ranks from 0x8000 on are those of null values, see decoder.cc.
        BONGSU_CHECK_MSG(rank < 0x8000, "a field has too many paths");
        nodes[node].targets.push_back({slot, static_cast<uint16_t>(rank)});
        ++rank;
      }
    }
  }
};

DecodePlan::DecodePlan(const Format& format, const FieldTable& fields) {
  Builder builder;
  // Where a time's path can be read. A field with that path alone serves.
  std::map<std::string, uint32_t> time_slots;
  for (const std::string& name : fields.names()) {
    if (name == kAllValuesField) {  // lies at no path
      ++slots_;
      continue;
    }
    const std::vector<std::string> paths = format.PathsOf(name);
    if (paths.size() == 1) time_slots.emplace(paths[0], slots_);
    builder.Add(paths, slots_++);
  }
  const auto slot_of = [&](const std::string& path) {
    const auto [it, added] = time_slots.try_emplace(path, slots_);
    if (added) builder.Add({path}, slots_++);
    return it->second;
  };
  for (const TimeSpec& spec : format.time) {
    PlanTime& time = times_.emplace_back();
    time.slot = slot_of(spec.path);
    time.encoding = spec.encoding;
    if (!spec.when_path.empty()) time.when_slot = static_cast<int>(slot_of(spec.when_path));
    time.when_equals = spec.when_equals;
    if (spec.encoding != TimeEncoding::kPattern) continue;
    std::string error;
    time.pattern = TimePattern::Compile(spec.pattern, spec.zone_offset, &error);
    BONGSU_CHECK_MSG(time.pattern.has_value(), error);  // ParseFormat has refused wrong ones
  }
  const auto raw = format.fields.find(std::string(kRawField));
  if (raw != format.fields.end()) {
    for (const std::string& path : raw->second) raw_slots_.push_back(slot_of(path));
  }
  for (Builder::Node& grown : builder.nodes) {
    PlanNode& node = nodes_.emplace_back();
    node.targets_begin = static_cast<uint32_t>(targets_.size());
    targets_.insert(targets_.end(), grown.targets.begin(), grown.targets.end());
    node.targets_end = static_cast<uint32_t>(targets_.size());
    node.has_children = !grown.children.empty();
    if (!node.has_children && grown.targets.size() == 1) {
      node.only_slot = static_cast<int32_t>(grown.targets[0].slot);
      node.only_rank = grown.targets[0].rank;
    }
    // At most a quarter full: most keys that nobody needs meet an empty entry at once.
    const size_t size = std::bit_ceil(4 * grown.children.size() + 1);
    node.table_begin = static_cast<uint32_t>(table_.size());
    node.table_mask = static_cast<uint32_t>(size - 1);
    table_.resize(table_.size() + size);
    for (const auto& [name, child] : grown.children) {
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
  for (size_t i = 0; i < raw_slots_.size(); ++i) {
    // Each path has its flat form, a key of the root.
    std::string padded = raw->second[i];
    padded.append(8, '\0');
    const PlanNode* node = Find(root(), JsonKey(padded.data(), raw->second[i].size()));
    BONGSU_CHECK_MSG(node != nullptr, "the path of the original text is not in the trie");
    raw_nodes_.push_back(node);
  }
}

}  // namespace bongsu
