#include "state/operator_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "state/key_encoding.h"

namespace bongsu {
namespace {

constexpr uint16_t kOperatorsMax = 60'000;

absl::Status TooMany() {
  return absl::ResourceExhaustedError(
      fmt::format("the state has seen {} operators: start with another state.path", kOperatorsMax));
}

}  // namespace

std::string HashSince(std::string_view semantic_hash, uint64_t since) {
  return since == 0 ? std::string(semantic_hash) : fmt::format("{}@{}", semantic_hash, since);
}

std::optional<uint64_t> SinceOf(std::string_view hash, std::string_view semantic_hash) {
  if (hash == semantic_hash) return 0;
  if (!hash.starts_with(semantic_hash) || hash[semantic_hash.size()] != '@') return std::nullopt;
  hash.remove_prefix(semantic_hash.size() + 1);
  uint64_t since = 0;
  const auto [end, error] = std::from_chars(hash.data(), hash.data() + hash.size(), since);
  if (error != std::errc() || end != hash.data() + hash.size()) return std::nullopt;
  return since;
}

absl::Status OperatorNumbers::Load(std::string_view key, std::string_view value) {
  if (value.size() < 2) return absl::DataLossError("an operator's record is too short");
  std::lock_guard lock(mutex_);
  Entry entry;
  entry.id = ReadU16(value);
  entry.row_key = std::string(key);
  OperatorName name;
  name.hash = std::string(value.substr(2));
  name.name = std::string(key.substr(sizeof(kPrefix) - 1));
  // Since version 2 the hash stands behind the name, so that a name may have several.
  const std::string tail = '\0' + name.hash;
  if (name.name.ends_with(tail)) name.name.resize(name.name.size() - tail.size());
  next_ = std::max<uint16_t>(next_, static_cast<uint16_t>(entry.id + 1));
  names_[entry.id] = name;
  entries_[name] = std::move(entry);
  return absl::OkStatus();
}

absl::StatusOr<uint16_t> OperatorNumbers::Add(const OperatorName& name, bool claimed) {
  if (next_ >= kOperatorsMax) return TooMany();
  Entry entry;
  entry.id = next_++;
  entry.row_key = std::string(kPrefix) + name.name + '\0' + name.hash;
  entry.claimed = claimed;
  entry.changed = true;
  const uint16_t id = entry.id;
  names_[id] = name;
  entries_[name] = std::move(entry);
  return id;
}

OperatorNumbers::Entries::iterator OperatorNumbers::Remove(Entries::iterator entry) {
  removed_.push_back({{entry->first, entry->second.id}, entry->second.row_key});
  return entries_.erase(entry);
}

absl::StatusOr<uint16_t> OperatorNumbers::Claim(std::string_view name, std::string_view hash,
                                                uint64_t* reset) {
  *reset = 0;
  const OperatorName wanted{std::string(name), std::string(hash)};
  std::lock_guard lock(mutex_);
  for (auto it = entries_.lower_bound({wanted.name, ""});
       it != entries_.end() && it->first.name == wanted.name;) {
    if (it->first.hash == wanted.hash) {
      ++it;
      continue;
    }
    // Another rule under the same name. A number of its own: nothing of the old can be read by
    // mistake.
    it = Remove(it);
    *reset = 1;
  }
  if (auto it = entries_.find(wanted); it != entries_.end()) {
    if (!std::exchange(it->second.claimed, true)) {
      // Known from store or log: what else they know of that name is an earlier form of this one.
      *reset = 0;
      return it->second.id;
    }
    // Claimed once more, before the store has heard of the first time.
    for (const Removed& one : removed_) {
      if (one.numbered.name.name == wanted.name && !one.written) *reset = 1;
    }
    return it->second.id;
  }
  return Add(wanted, /*claimed=*/true);
}

std::vector<std::string> OperatorNumbers::KeepOnly(const std::vector<uint16_t>& ids) {
  std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (auto it = entries_.begin(); it != entries_.end();) {
    if (std::find(ids.begin(), ids.end(), it->second.id) != ids.end()) {
      ++it;
      continue;
    }
    if (names.empty() || names.back() != it->first.name) names.push_back(it->first.name);
    it = Remove(it);
  }
  return names;
}

absl::StatusOr<std::optional<uint16_t>> OperatorNumbers::ForLog(std::string_view name,
                                                                std::string_view hash) {
  const OperatorName wanted{std::string(name), std::string(hash)};
  std::lock_guard lock(mutex_);
  if (auto it = entries_.find(wanted); it != entries_.end()) return it->second.id;
  bool replaced = false;
  for (auto it = entries_.lower_bound({wanted.name, ""});
       it != entries_.end() && it->first.name == wanted.name; ++it)
    replaced = replaced || it->second.claimed;
  if (!replaced) return Add(wanted, /*claimed=*/false);
  const bool known = std::any_of(removed_.begin(), removed_.end(),
                                 [&](const Removed& one) { return one.numbered.name == wanted; });
  if (known) return std::nullopt;
  if (next_ >= kOperatorsMax) return TooMany();
  // A number for the log's sake: no row of the store has it.
  names_[next_] = wanted;
  removed_.push_back({{wanted, next_++}, "", /*written=*/true});
  return std::nullopt;
}

bool OperatorNumbers::Find(uint16_t id, OperatorName* name) const {
  std::lock_guard lock(mutex_);
  const auto it = names_.find(id);
  if (it == names_.end()) return false;
  *name = it->second;
  return true;
}

std::vector<OperatorNumbers::Numbered> OperatorNumbers::All() const {
  std::lock_guard lock(mutex_);
  std::vector<Numbered> all;
  for (const auto& [name, entry] : entries_) all.push_back({name, entry.id});
  return all;
}

OperatorNumbers::Pending OperatorNumbers::pending() const {
  std::lock_guard lock(mutex_);
  Pending pending;
  for (const auto& [name, entry] : entries_) {
    if (!entry.changed) continue;
    std::string value;
    AppendU16(entry.id, &value);
    pending.put.push_back({entry.row_key, value + name.hash});
  }
  for (const Removed& removed : removed_) {
    if (removed.written) continue;
    pending.erase.push_back(removed.row_key);
    pending.removed.push_back(removed.numbered.id);
  }
  return pending;
}

void OperatorNumbers::Written(const Pending& pending) {
  std::lock_guard lock(mutex_);
  for (auto& [name, entry] : entries_) {
    if (!entry.changed) continue;
    const std::string& row_key = entry.row_key;
    entry.changed = std::none_of(pending.put.begin(), pending.put.end(),
                                 [&](const Row& row) { return row.key == row_key; });
  }
  for (Removed& removed : removed_) {
    removed.written = removed.written || std::find(pending.removed.begin(), pending.removed.end(),
                                                   removed.numbered.id) != pending.removed.end();
  }
}

std::vector<OperatorNumbers::Numbered> OperatorNumbers::removed() const {
  std::lock_guard lock(mutex_);
  std::vector<Numbered> result;
  for (const Removed& removed : removed_) result.push_back(removed.numbered);
  return result;
}

}  // namespace bongsu
