#include "pipeline/decoder_guess.h"

namespace bongsu {

KeyGuesses::KeyGuesses(const DecodePlan& plan)
    : root_(&plan.root()), guesses_(2 * plan.nodes()), keys_(1), table_(kTable) {
  keys_.reserve(kKnownKeysMax + 1);
  // Ends in a byte that no UTF-8 has.
  std::memset(keys_[0].head, 0xFF, sizeof(keys_[0].head));
  std::memset(keys_[0].mask, 0xFF, sizeof(keys_[0].mask));
  keys_[0].text[0] = '\xFF';
}

uint32_t KeyGuesses::Learn(const PlanNode& node, const JsonKey& key, const PlanNode* child) {
  if (key.size > kKnownKeyBytesMax) return 0;
  const auto node_hash = static_cast<uint32_t>(Number(node)) * 0x9E37'79B9u;
  uint32_t at = (DecodePlan::Hash(key) ^ node_hash) % kTable;
  for (; table_[at] != 0; at = (at + 1) % kTable) {
    const KnownKey& known = keys_[table_[at]];
    if (known.node == &node && known.size == key.size &&
        std::memcmp(known.text, key.text, key.size) == 0) {
      return table_[at];
    }
  }
  if (keys_.size() > kKnownKeysMax) return 0;
  const auto number = static_cast<uint32_t>(keys_.size());
  table_[at] = static_cast<uint16_t>(number);
  KnownKey& known = keys_.emplace_back();
  known.size = static_cast<uint32_t>(key.size);
  known.node = &node;
  known.child = child;
  std::memcpy(known.text, key.text, key.size);
  known.text[key.size] = '"';
  const size_t whole = key.size + 1;
  known.tail_at = whole > 16 ? static_cast<uint32_t>(whole - 16) : 0;
  std::memset(known.mask, 0xFF, whole < 16 ? whole : 16);
  for (size_t i = 0; i < 16; ++i) {
    known.head[i] = static_cast<char>(known.text[i] & known.mask[i]);
    known.tail[i] = static_cast<char>(known.text[known.tail_at + i] & known.mask[i]);
  }
  return number;
}

}  // namespace bongsu
