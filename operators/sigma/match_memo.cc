#include "operators/sigma/match_memo.h"

#include <xxhash.h>

#include <cstring>

namespace bongsu::sigma {
namespace {

constexpr char kWritten = 0x7f;  // in the place of a value's type

}  // namespace

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

void MatchMemo::AddWritten(std::string_view json) {
  if (char* type = Take(1); type != nullptr) *type = kWritten;
  Add(json);
}

void MatchMemo::Add(uint32_t number) {
  if (char* at = Take(sizeof(number)); at != nullptr) std::memcpy(at, &number, sizeof(number));
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
  Add(static_cast<uint32_t>(value.items().size()));
  for (const Value& item : value.items()) Add(item);
}

const std::vector<uint32_t>* MatchMemo::Find() {
  if (size_ > key_.size()) return nullptr;
  hash_ = XXH3_64bits(key_.data(), size_);
  const Kept& kept = kept_[hash_ & (kept_.size() - 1)];
  const bool same = kept.hash == hash_ && kept.key.size() == size_ &&
                    std::memcmp(kept.key.data(), key_.data(), size_) == 0;
  return same ? &kept.answer : nullptr;
}

void MatchMemo::Keep(const std::vector<uint32_t>& answer) {
  if (size_ > key_.size()) return;
  Kept& kept = kept_[hash_ & (kept_.size() - 1)];
  kept.hash = hash_;
  kept.key.assign(key_.data(), size_);
  kept.answer = answer;
}

}  // namespace bongsu::sigma
