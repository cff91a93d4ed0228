// File: state/changelog_format.h
//
// The bytes of the changelog (grammar: state/FORMAT.md, section "Changelog"): how the changes of
// one shard in one epoch become records, and how records become changes again, or an error with a
// name.
//
//   BundleEncoder encoder(identity, operators);          // writing
//   for (const FrozenRow& row : frozen.rows) RETURN_IF_ERROR(encoder.Add(row));
//   std::vector<std::string> records = encoder.Finish(head, record_bytes_max);
//
//   BundleAssembler assembler(identity);                 // reading
//   ASSIGN_OR_RETURN(bool sealed, assembler.Add(offset, record));
//   if (sealed) { RETURN_IF_ERROR(Follows(position, assembler.bundle()));
//                 RETURN_IF_ERROR(DecodeRows(assembler.bundle(), visit));
//                 position = After(position, assembler.bundle()); }
//
// Only sealed bundles count: the last record of a bundle carries the counts and a checksum over all
// of it. Parts without a seal belong to a transaction that was cut (they are left out and counted);
// a seal without all its parts is damage.
//
// Thread-safety: none; every object belongs to one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "state/frozen_shard.h"
#include "state/operator_numbers.h"
#include "state/types.h"

namespace bongsu {

// ---- errors ------------------------------------------------------------------------------------

// What can be wrong with a log. The status of such an error carries it (LogFaultOf), because the
// pipeline treats a damaged log (stop: a person must decide) otherwise than a damaged store (set it
// aside and restore it).
enum class LogFault : uint8_t {
  kMalformed,         // bytes that no bongsu writes
  kTornBundle,        // a seal without all its parts
  kChecksum,          // the checksum of a bundle does not hold
  kGap,               // a bundle does not follow the one before it
  kIncomplete,        // the log does not reach back to a complete state
  kBeyondEnd,         // the store knows more than the log holds
  kUnlogged,          // the store was changed without the log
  kWrongVersion,      // another format version
  kWrongApplication,  // another application's log
  kWrongShards,       // made for another number of shards, or another shard's log
  kWrongSeed,         // made with another hash seed
};
std::string_view LogFaultName(LogFault fault);
// DataLoss for the first five, FailedPrecondition for the others.
absl::Status LogError(LogFault fault, ShardId shard, int64_t offset, std::string_view what);
// None: the status is not about a log.
std::optional<LogFault> LogFaultOf(const absl::Status& status);

// ---- what a log says of itself -----------------------------------------------------------------

// Whose log it is. In every bundle, and in the identity record with which a log may begin.
struct LogIdentity {
  std::string application;
  uint16_t shards = 0;
  uint64_t hash_seed = 0;
  bool operator==(const LogIdentity&) const = default;
};

// A rewriting of the live state, slice by slice (state/changelog.h, "Rounds").
struct LogRound {
  uint64_t number = 0;           // 0: none has begun
  uint64_t start_epoch = 0;      // shard epoch of the bundle with which it began
  int64_t start = -1;            // offset of that bundle's first record
  bool ended = false;            // with this bundle; the next one begins the next round
  bool whole = false;            // it began with an empty state: the log is complete from its start
  uint64_t changed_bytes = 0;    // logged since its start, slices left out
  uint64_t live_bytes = 0;       // met by its slices so far
  uint64_t last_live_bytes = 0;  // met by the round before it
  int64_t trim = -1;             // everything before may be deleted; -1: nothing
  // Where the next slice begins; none while the round only lets changes come together.
  struct Cursor {
    OperatorName op;
    uint8_t family = 0;
    std::string suffix;  // of the row's key, behind shard and operator
    auto operator<=>(const Cursor&) const = default;
  };
  std::optional<Cursor> cursor;
};

// How far a shard's log has been taken over. Stored with the rows, in the same batch.
struct ChangelogPosition {
  int64_t next_offset = 0;
  uint64_t epoch = 0;  // shard epoch of the last bundle; 0: none yet
  int64_t seal_offset = -1;
  // Restored from the start of this round, whose end has not been seen: the state is not complete.
  uint64_t awaited_round = 0;
  LogRound round;
};
std::string EncodePosition(const ChangelogPosition& position);
absl::StatusOr<ChangelogPosition> DecodePosition(std::string_view bytes);

// The record with which `topics create` begins each shard's log, so that all instances agree on the
// hash seed before anything is written.
std::string EncodeIdentityRecord(const LogIdentity& identity, ShardId shard);
// Whose log a record belongs to; none for a record that does not say so (a part but the first).
absl::StatusOr<std::optional<LogIdentity>> IdentityOf(std::string_view record, ShardId shard,
                                                      int64_t offset);

// ---- bundles -----------------------------------------------------------------------------------

struct BundleHead {
  ShardId shard = 0;
  uint64_t epoch = 0;  // of the shard: 1, 2, 3, ...
  int64_t previous_seal = -1;
  bool begins_round = false;  // `round.start` (and `trim`, if the round ends here) is this bundle
  LogRound round;             // as it is behind the bundle
};

class BundleEncoder {
 public:
  BundleEncoder(const LogIdentity& identity, const OperatorNumbers& operators)
      : identity_(identity), operators_(operators) {}
  // Internal: an operator that the table does not know.
  [[nodiscard]] absl::Status Add(const FrozenRow& row);
  // Of the rows added so far.
  size_t bytes() const { return sections_.size(); }
  uint64_t rows() const { return rows_; }
  // The bundle's records, each at most `record_bytes_max` long, the last one with the seal.
  std::vector<std::string> Finish(const BundleHead& head, size_t record_bytes_max) const;

 private:
  [[nodiscard]] absl::Status BeginSection(Family family, uint16_t operator_id);
  const LogIdentity& identity_;
  const OperatorNumbers& operators_;
  std::vector<uint16_t> known_;  // operators named in the bundle so far
  std::string sections_;
  int family_ = -1;  // of the section in hand
  uint16_t operator_id_ = 0;
  std::string previous_;  // suffix of the row before
  uint64_t rows_ = 0;
};

// A sealed bundle. Lifetime: until the assembler's next Add.
struct Bundle {
  BundleHead head;
  int64_t first_offset = 0;
  int64_t seal_offset = 0;
  uint64_t rows = 0;
  size_t bytes = 0;
  std::string_view sections;
};

class BundleAssembler {
 public:
  BundleAssembler(LogIdentity identity, ShardId shard)
      : identity_(std::move(identity)), shard_(shard) {}
  // Takes the next record; true when it sealed a bundle. Memory: the largest bundle.
  absl::StatusOr<bool> Add(int64_t offset, std::string_view record);
  const Bundle& bundle() const { return bundle_; }
  // Bundles that were never sealed, and have been left out; one in hand is not counted.
  uint64_t abandoned() const { return abandoned_; }
  bool in_hand() const { return parts_ > 0; }

 private:
  absl::Status Seal(int64_t offset, uint64_t rows, uint64_t size, uint64_t checksum);
  const LogIdentity identity_;
  const ShardId shard_;
  std::string bytes_;
  uint64_t epoch_ = 0;
  uint32_t parts_ = 0;
  int64_t first_offset_ = 0;
  Bundle bundle_;
  uint64_t abandoned_ = 0;
};

// A bundle's row, not yet in terms of a store.
struct LogRow {
  const OperatorName* op = nullptr;
  Family family = kMetaFamily;
  RowKind kind = kPut;
  std::string_view suffix;  // of the key, behind shard and operator
  std::string_view value;   // for a range: the end's suffix; empty: the end of the operator's rows
};
[[nodiscard]] absl::Status DecodeRows(const Bundle& bundle,
                                      absl::FunctionRef<absl::Status(const LogRow&)> visit);

// Whether the bundle is the one that must come next; kGap or kIncomplete if not.
[[nodiscard]] absl::Status Follows(const ChangelogPosition& position, const Bundle& bundle);
// The position behind it.
ChangelogPosition After(const ChangelogPosition& position, const Bundle& bundle);

// ---- keys --------------------------------------------------------------------------------------

// The beginning of all rows of (family, shard, operator) in the store.
std::string OperatorPrefix(Family family, ShardId shard, uint16_t operator_id);
// Bytes of that prefix.
size_t OperatorPrefixBytes(Family family);
uint16_t OperatorOfKey(Family family, std::string_view key);

}  // namespace bongsu
