// File: state/operator_numbers.h
//
// The store's numbers for operators. An operator is known by its name and the semantic hash of its
// rule; rows carry the number only. The log carries name and hash, so that a shard's log can be
// restored by a process whose store counts differently.
//
//   table.Claim("inbound-then-shell", hash, &reset)   // what the configuration has
//   table.KeepOnly(numbers)                           // and all that it has
//   table.ForLog("inbound-then-shell", hash)          // what a log names: claims and drops nothing
//
// A claimed name takes the place of all other hashes of that name: their state belongs to other
// rules and is on its way out (`removed`). So is that of rules which the configuration no longer
// has: they would come back with a hole where events went by without them, and a rule that waits
// for something *not* to happen would invent an alert over it.
//
// Thread-safety: all methods lock.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bongsu {

struct OperatorName {
  std::string name;
  std::string hash;
  auto operator<=>(const OperatorName&) const = default;
};

// The hash by which a store knows an operator that came with plan `since` of an application whose
// instances share its shards (0: with the first): HASH@SINCE.
std::string HashSince(std::string_view semantic_hash, uint64_t since);
// The plan, if `hash` is the semantic hash with one, or without (0).
std::optional<uint64_t> SinceOf(std::string_view hash, std::string_view semantic_hash);

class OperatorNumbers {
 public:
  struct Numbered {
    OperatorName name;
    uint16_t id = 0;
  };
  // A row of the store's meta family.
  struct Row {
    std::string key;
    std::string value;
  };

  // From a row of the store. DataLoss: it is too short.
  [[nodiscard]] absl::Status Load(std::string_view key, std::string_view value);
  absl::StatusOr<uint16_t> Claim(std::string_view name, std::string_view hash, uint64_t* reset);
  // All operators are claimed, and these are their numbers: the state of others goes. Their names.
  // Of what a log brings later nothing goes: another instance may have newer rules already.
  std::vector<std::string> KeepOnly(const std::vector<uint16_t>& ids);
  // Nothing: the configuration has another rule of that name; what the log says of this one is as
  // good as gone, and is among the removed.
  absl::StatusOr<std::optional<uint16_t>> ForLog(std::string_view name, std::string_view hash);

  // Removed ones included. False: no such number.
  bool Find(uint16_t id, OperatorName* name) const;
  // In the order of names and hashes, which is the same in every store.
  std::vector<Numbered> All() const;

  // What the store has to write: rows to put, rows to delete, operators whose state goes. `Written`
  // tells the table that it was.
  struct Pending {
    std::vector<Row> put;
    std::vector<std::string> erase;
    std::vector<uint16_t> removed;
  };
  // Before the log has been told, no removal is written (`Pending::put` alone): what is on its way
  // out must still be known after a crash.
  Pending pending() const;
  void Written(const Pending& pending);
  // Operators whose state is on its way out, with their names, for the log.
  std::vector<Numbered> removed() const;

  static constexpr char kPrefix[] = "operator/";

 private:
  struct Entry {
    uint16_t id = 0;
    std::string row_key;
    bool claimed = false;
    bool changed = false;  // not yet in the store
  };
  using Entries = std::map<OperatorName, Entry>;
  absl::StatusOr<uint16_t> Add(const OperatorName& name, bool claimed);
  Entries::iterator Remove(Entries::iterator entry);

  mutable std::mutex mutex_;
  Entries entries_;
  std::map<uint16_t, OperatorName> names_;
  struct Removed {
    Numbered numbered;
    std::string row_key;
    bool written = false;
  };
  std::vector<Removed> removed_;
  uint16_t next_ = 1;
};

}  // namespace bongsu
