#include "operators/sigma/match_memo.h"

#include <xxhash.h>

#include <cstring>

namespace bongsu::sigma {

char* MatchMemo::Take(size_t bytes) {
  if (bytes > key_.size() || size_ > key_.size() - bytes) {
    size_ = key_.size() + 1;
    return nullptr;
  }
  char* at = key_.data() + size_;
  size_ += bytes;
  return at;
}

void MatchMemo::Add(std::string_view text) {
  const auto size = static_cast<uint32_t>(text.size());
  char* at = Take(sizeof(size) + text.size());
  if (at == nullptr) return;
  std::memcpy(at, &size, sizeof(size));
  if (!text.empty()) std::memcpy(at + sizeof(size), text.data(), text.size());
}

void MatchMemo::Add(const Value& value) {
  char* type = Take(1);
  if (type == nullptr) return;
  *type = static_cast<char>(value.type());
  if (value.is_null_or_absent()) return;
  if (!value.is_array()) {
    Add(value.text());
    return;
  }
  const auto count = static_cast<uint32_t>(value.items().size());
  char* at = Take(sizeof(count));
  if (at == nullptr) return;
  std::memcpy(at, &count, sizeof(count));
  for (const Value& item : value.items()) Add(item);
}

const std::vector<uint32_t>* MatchMemo::Find() {
  if (size_ > key_.size()) return nullptr;
  hash_ = XXH3_64bits(key_.data(), size_);
  const Kept& kept = kept_[hash_ & (kMemoEvents - 1)];
  const bool same = kept.hash == hash_ && kept.key.size() == size_ &&
                    std::memcmp(kept.key.data(), key_.data(), size_) == 0;
  return same ? &kept.rules : nullptr;
}

void MatchMemo::Keep(const std::vector<uint32_t>& rules) {
  if (size_ > key_.size()) return;
  Kept& kept = kept_[hash_ & (kMemoEvents - 1)];
  kept.hash = hash_;
  kept.key.assign(key_.data(), size_);
  kept.rules = rules;
}

}  // namespace bongsu::sigma
