#include "state/changelog_format.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>

#include "absl/strings/cord.h"
#include "state/byte_reader.h"
#include "state/check.h"
#include "state/key_encoding.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr uint8_t kLogVersion = 1;
enum RecordKind : uint8_t { kIdentityRecord = 1, kPartRecord = 2, kSealRecord = 3 };
// version, kind, epoch, part; a seal has rows, size and checksum too.
constexpr size_t kPartHeadBytes = 2 + 8 + 4;
constexpr size_t kSealHeadBytes = kPartHeadBytes + 3 * 8;
// No epoch is that large; a size beyond it is damage, not a reason to allocate.
constexpr uint64_t kBundleBytesMax = uint64_t{4} << 30;

enum HeadFlag : uint8_t {
  kBeginsRound = 1,
  kRoundEnded = 2,
  kRoundWhole = 4,
  kHasCursor = 8,
  kTrimHere = 16,
};

constexpr char kFaultUrl[] = "bongsu/log_fault";

uint64_t Checksum(std::string_view bundle, uint64_t epoch, uint32_t parts, uint64_t rows) {
  std::string seal;
  AppendU64(epoch, &seal);
  AppendU64(parts, &seal);
  AppendU64(rows, &seal);
  AppendU64(bundle.size(), &seal);
  return XXH3_64bits_withSeed(bundle.data(), bundle.size(), XXH3_64bits(seal.data(), seal.size()));
}

void AppendIdentity(const LogIdentity& identity, ShardId shard, std::string* out) {
  AppendU16(identity.shards, out);
  AppendU16(shard, out);
  AppendU64(identity.hash_seed, out);
  AppendBytes(identity.application, out);
}

LogIdentity ReadIdentity(ByteReader& reader, ShardId* shard) {
  LogIdentity identity;
  identity.shards = reader.U16();
  *shard = reader.U16();
  identity.hash_seed = reader.U64();
  identity.application = std::string(reader.Bytes());
  return identity;
}

absl::Status CheckIdentity(const LogIdentity& expected, const LogIdentity& found,
                           ShardId expected_shard, ShardId found_shard, int64_t offset) {
  if (found.application != expected.application) {
    return LogError(LogFault::kWrongApplication, expected_shard, offset,
                    fmt::format("it belongs to application '{}', not to '{}': give each "
                                "application its own topics",
                                found.application, expected.application));
  }
  if (found.shards != expected.shards || found_shard != expected_shard) {
    return LogError(
        LogFault::kWrongShards, expected_shard, offset,
        fmt::format("it was written for shard {} of {}, this is shard {} of {}: the number of "
                    "shards is fixed when the topics are made; set state.shards to it, or start "
                    "with another application name",
                    found_shard, found.shards, expected_shard, expected.shards));
  }
  if (found.hash_seed != expected.hash_seed) {
    return LogError(LogFault::kWrongSeed, expected_shard, offset,
                    "its keys were hashed with another seed than the local state's: one of them is "
                    "of another installation; move the state folder away to restore it from the "
                    "log");
  }
  return absl::OkStatus();
}

void AppendOffset(int64_t offset, std::string* out) {
  AppendVarint(static_cast<uint64_t>(offset + 1), out);
}
int64_t ReadOffset(ByteReader& reader) { return static_cast<int64_t>(reader.Varint()) - 1; }

uint8_t RoundFlags(const LogRound& round) {
  return static_cast<uint8_t>((round.ended ? kRoundEnded : 0) | (round.whole ? kRoundWhole : 0) |
                              (round.cursor.has_value() ? kHasCursor : 0));
}

void AppendRound(const LogRound& round, std::string* out) {
  AppendVarint(round.number, out);
  AppendVarint(round.start_epoch, out);
  AppendOffset(round.start, out);
  AppendVarint(round.changed_bytes, out);
  AppendVarint(round.live_bytes, out);
  AppendVarint(round.last_live_bytes, out);
  AppendOffset(round.trim, out);
  if (!round.cursor.has_value()) return;
  AppendBytes(round.cursor->op.name, out);
  AppendBytes(round.cursor->op.hash, out);
  out->push_back(static_cast<char>(round.cursor->family));
  AppendBytes(round.cursor->suffix, out);
}

LogRound ReadRound(ByteReader& reader, uint8_t flags) {
  LogRound round;
  round.ended = (flags & kRoundEnded) != 0;
  round.whole = (flags & kRoundWhole) != 0;
  round.number = reader.Varint();
  round.start_epoch = reader.Varint();
  round.start = ReadOffset(reader);
  round.changed_bytes = reader.Varint();
  round.live_bytes = reader.Varint();
  round.last_live_bytes = reader.Varint();
  round.trim = ReadOffset(reader);
  if ((flags & kHasCursor) != 0) {
    LogRound::Cursor cursor;
    cursor.op.name = std::string(reader.Bytes());
    cursor.op.hash = std::string(reader.Bytes());
    cursor.family = reader.U8();
    cursor.suffix = std::string(reader.Bytes());
    round.cursor = std::move(cursor);
  }
  return round;
}

}  // namespace

std::string_view LogFaultName(LogFault fault) {
  switch (fault) {
    case LogFault::kMalformed:
      return "malformed record";
    case LogFault::kTornBundle:
      return "torn bundle";
    case LogFault::kChecksum:
      return "wrong checksum";
    case LogFault::kGap:
      return "gap in the chain";
    case LogFault::kIncomplete:
      return "incomplete log";
    case LogFault::kBeyondEnd:
      return "state beyond the log's end";
    case LogFault::kUnlogged:
      return "state changed without the log";
    case LogFault::kWrongVersion:
      return "unknown format version";
    case LogFault::kWrongApplication:
      return "wrong application";
    case LogFault::kWrongShards:
      return "wrong shards";
    case LogFault::kWrongSeed:
      return "wrong hash seed";
  }
  return "?";
}

absl::Status LogError(LogFault fault, ShardId shard, int64_t offset, std::string_view what) {
  const std::string message = fmt::format("changelog of shard {}, offset {}: {}: {}", shard, offset,
                                          LogFaultName(fault), what);
  absl::Status status = fault <= LogFault::kIncomplete ? absl::DataLossError(message)
                                                       : absl::FailedPreconditionError(message);
  status.SetPayload(kFaultUrl, absl::Cord(std::string(1, static_cast<char>(fault))));
  return status;
}

std::optional<LogFault> LogFaultOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kFaultUrl);
  if (!payload.has_value() || payload->size() != 1) return std::nullopt;
  return static_cast<LogFault>(std::string(*payload)[0]);
}

std::string EncodePosition(const ChangelogPosition& position) {
  std::string out;
  out.push_back(static_cast<char>(kLogVersion));
  out.push_back(static_cast<char>(RoundFlags(position.round)));
  AppendOffset(position.next_offset, &out);
  AppendVarint(position.epoch, &out);
  AppendOffset(position.seal_offset, &out);
  AppendVarint(position.awaited_round, &out);
  AppendRound(position.round, &out);
  return out;
}

absl::StatusOr<ChangelogPosition> DecodePosition(std::string_view bytes) {
  ByteReader reader(bytes);
  if (reader.U8() != kLogVersion)
    return absl::FailedPreconditionError("a changelog position of an unknown version");
  const uint8_t flags = reader.U8();
  ChangelogPosition position;
  position.next_offset = ReadOffset(reader);
  position.epoch = reader.Varint();
  position.seal_offset = ReadOffset(reader);
  position.awaited_round = reader.Varint();
  position.round = ReadRound(reader, flags);
  if (!reader.ok() || !reader.empty())
    return absl::DataLossError("a changelog position has the wrong size");
  return position;
}

std::string EncodeIdentityRecord(const LogIdentity& identity, ShardId shard) {
  std::string out;
  out.push_back(static_cast<char>(kLogVersion));
  out.push_back(static_cast<char>(kIdentityRecord));
  AppendIdentity(identity, shard, &out);
  AppendU64(XXH3_64bits(out.data(), out.size()), &out);
  return out;
}

absl::StatusOr<std::optional<LogIdentity>> IdentityOf(std::string_view record, ShardId shard,
                                                      int64_t offset) {
  ByteReader reader(record);
  const uint8_t version = reader.U8();
  if (reader.ok() && version != kLogVersion) {
    return LogError(LogFault::kWrongVersion, shard, offset,
                    fmt::format("version {}, this bongsu reads {}: run the version that wrote it",
                                version, kLogVersion));
  }
  const uint8_t kind = reader.U8();
  if (kind == kIdentityRecord) {
    const std::string_view body =
        record.substr(0, record.size() - std::min<size_t>(8, record.size()));
    ShardId found_shard = 0;
    LogIdentity identity = ReadIdentity(reader, &found_shard);
    const uint64_t checksum = reader.U64();
    if (!reader.ok() || !reader.empty())
      return LogError(LogFault::kMalformed, shard, offset, "an identity record of the wrong size");
    if (checksum != XXH3_64bits(body.data(), body.size()))
      return LogError(LogFault::kChecksum, shard, offset, "an identity record");
    return std::optional<LogIdentity>(std::move(identity));
  }
  if (kind != kPartRecord && kind != kSealRecord)
    return LogError(LogFault::kMalformed, shard, offset, fmt::format("record kind {}", kind));
  reader.U64();
  const std::string_view number = reader.Take(4);
  if (kind == kSealRecord) reader.Take(3 * 8);
  if (!reader.ok())
    return LogError(LogFault::kMalformed, shard, offset, "a record that ends too early");
  if (number != std::string_view("\0\0\0\0", 4)) return std::optional<LogIdentity>();
  ShardId found_shard = 0;
  LogIdentity identity = ReadIdentity(reader, &found_shard);
  if (!reader.ok())
    return LogError(LogFault::kMalformed, shard, offset, "a record that ends too early");
  return std::optional<LogIdentity>(std::move(identity));
}

// ---- keys --------------------------------------------------------------------------------------

std::string OperatorPrefix(Family family, ShardId shard, uint16_t operator_id) {
  std::string prefix;
  if (family == kMetaFamily) prefix.push_back(kListMeta);
  AppendU16(shard, &prefix);
  AppendU16(operator_id, &prefix);
  return prefix;
}

size_t OperatorPrefixBytes(Family family) { return family == kMetaFamily ? 5 : 4; }

uint16_t OperatorOfKey(Family family, std::string_view key) {
  const size_t bytes = OperatorPrefixBytes(family);
  BONGSU_CHECK(key.size() >= bytes);
  return ReadU16(key.substr(bytes - 2));
}

// ---- encoder -----------------------------------------------------------------------------------

absl::Status BundleEncoder::BeginSection(Family family, uint16_t operator_id) {
  family_ = family;
  operator_id_ = operator_id;
  previous_.clear();
  sections_.push_back(static_cast<char>(0x80 | family));
  const auto it = std::find(known_.begin(), known_.end(), operator_id);
  AppendVarint(static_cast<uint64_t>(it - known_.begin()), &sections_);
  if (it != known_.end()) return absl::OkStatus();
  OperatorName name;
  if (!operators_.Find(operator_id, &name))
    return absl::InternalError(fmt::format("operator {} is not in the store", operator_id));
  known_.push_back(operator_id);
  AppendBytes(name.name, &sections_);
  AppendBytes(name.hash, &sections_);
  return absl::OkStatus();
}

absl::Status BundleEncoder::Add(const FrozenRow& row) {
  const uint16_t operator_id = OperatorOfKey(row.family, row.key);
  if (row.family != family_ || operator_id != operator_id_ || family_ < 0)
    BONGSU_RETURN_IF_ERROR(BeginSection(row.family, operator_id));
  const size_t prefix = OperatorPrefixBytes(row.family);
  const std::string_view suffix = row.key.substr(prefix);
  const size_t longest = std::min(suffix.size(), previous_.size());
  size_t shared = 0;
  while (shared < longest && suffix[shared] == previous_[shared]) ++shared;
  sections_.push_back(static_cast<char>(row.kind));
  AppendVarint(shared, &sections_);
  AppendBytes(suffix.substr(shared), &sections_);
  previous_.resize(shared);
  previous_ += suffix.substr(shared);
  if (row.kind == kPut) {
    AppendBytes(row.value, &sections_);
  } else if (row.kind == kDeleteRange) {
    // An end beyond the operator's rows is the end of them.
    const bool inside = row.value.starts_with(row.key.substr(0, prefix));
    AppendBytes(inside ? row.value.substr(prefix) : std::string_view(), &sections_);
  }
  ++rows_;
  return absl::OkStatus();
}

std::vector<std::string> BundleEncoder::Finish(const BundleHead& head,
                                               size_t record_bytes_max) const {
  BONGSU_CHECK(record_bytes_max > kSealHeadBytes);
  LogRound round = head.round;
  uint8_t flags = RoundFlags(round);
  if (head.begins_round) {
    flags |= kBeginsRound;
    round.start = -1;
    if (round.ended) {
      flags |= kTrimHere;
      round.trim = -1;
    }
  }
  std::string body;
  AppendIdentity(identity_, head.shard, &body);
  AppendOffset(head.previous_seal, &body);
  body.push_back(static_cast<char>(flags));
  AppendRound(round, &body);
  BONGSU_CHECK_MSG(record_bytes_max - kSealHeadBytes >= body.size(),
                   "a record must hold a bundle's head");
  body += sections_;
  const size_t most = record_bytes_max - kSealHeadBytes;
  const auto parts = static_cast<uint32_t>(std::max<size_t>(1, (body.size() + most - 1) / most));
  const uint64_t checksum = Checksum(body, head.epoch, parts, rows_);
  std::vector<std::string> records;
  for (uint32_t number = 0; number < parts; ++number) {
    std::string& record = records.emplace_back();
    const std::string_view fragment = std::string_view(body).substr(number * most, most);
    record.reserve(kSealHeadBytes + fragment.size());
    const bool last = number + 1 == parts;
    record.push_back(static_cast<char>(kLogVersion));
    record.push_back(static_cast<char>(last ? kSealRecord : kPartRecord));
    AppendU64(head.epoch, &record);
    AppendU16(static_cast<uint16_t>(number >> 16), &record);
    AppendU16(static_cast<uint16_t>(number & 0xffff), &record);
    if (last) {
      AppendU64(rows_, &record);
      AppendU64(body.size(), &record);
      AppendU64(checksum, &record);
    }
    record += fragment;
  }
  return records;
}

// ---- assembler ---------------------------------------------------------------------------------

absl::StatusOr<bool> BundleAssembler::Add(int64_t offset, std::string_view record) {
  BONGSU_ASSIGN_OR_RETURN(const std::optional<LogIdentity> identity,
                          IdentityOf(record, shard_, offset));
  ByteReader reader(record);
  reader.U8();
  const uint8_t kind = reader.U8();
  if (identity.has_value()) {
    // Shards, then the shard: in a record's identity, wherever it begins.
    ByteReader at(record.substr(kind == kIdentityRecord ? 2
                                : kind == kPartRecord   ? kPartHeadBytes
                                                        : kSealHeadBytes));
    at.U16();
    BONGSU_RETURN_IF_ERROR(CheckIdentity(identity_, *identity, shard_, at.U16(), offset));
  }
  if (kind == kIdentityRecord) return false;
  const uint64_t epoch = reader.U64();
  const uint32_t high = reader.U16();
  const uint32_t number = high << 16 | reader.U16();
  uint64_t rows = 0;
  uint64_t size = 0;
  uint64_t checksum = 0;
  if (kind == kSealRecord) {
    rows = reader.U64();
    size = reader.U64();
    checksum = reader.U64();
  }
  if (number == 0) {
    // Whatever is in hand will never be sealed: the transaction that held it was cut.
    if (parts_ > 0) ++abandoned_;
    bytes_.clear();
    parts_ = 0;
    epoch_ = epoch;
    first_offset_ = offset;
  }
  if (number != parts_ || epoch != epoch_) {
    if (kind == kSealRecord) {
      return LogError(LogFault::kTornBundle, shard_, offset,
                      fmt::format("epoch {} is sealed, but of its {} parts {} are there", epoch,
                                  number + 1, epoch == epoch_ ? parts_ : 0));
    }
    // A part whose beginning is not there: without its seal it does not count either.
    if (parts_ > 0) ++abandoned_;
    parts_ = 0;
    bytes_.clear();
    epoch_ = 0;
    return false;
  }
  if (bytes_.size() + reader.rest().size() > kBundleBytesMax)
    return LogError(LogFault::kMalformed, shard_, offset, "a bundle beyond all bounds");
  bytes_ += reader.rest();
  ++parts_;
  if (kind != kSealRecord) return false;
  BONGSU_RETURN_IF_ERROR(Seal(offset, rows, size, checksum));
  return true;
}

absl::Status BundleAssembler::Seal(int64_t offset, uint64_t rows, uint64_t size,
                                   uint64_t checksum) {
  if (bytes_.size() != size) {
    return LogError(
        LogFault::kTornBundle, shard_, offset,
        fmt::format("epoch {} has {} bytes, its seal says {}", epoch_, bytes_.size(), size));
  }
  if (checksum != Checksum(bytes_, epoch_, parts_, rows))
    return LogError(LogFault::kChecksum, shard_, offset, fmt::format("epoch {}", epoch_));
  ByteReader reader(bytes_);
  BundleHead head;
  ReadIdentity(reader, &head.shard);
  head.epoch = epoch_;
  head.previous_seal = ReadOffset(reader);
  const uint8_t flags = reader.U8();
  head.round = ReadRound(reader, flags);
  head.begins_round = (flags & kBeginsRound) != 0;
  if (head.begins_round) head.round.start = first_offset_;
  if ((flags & kTrimHere) != 0) head.round.trim = first_offset_;
  if (!reader.ok())
    return LogError(LogFault::kMalformed, shard_, offset, "a bundle's head does not parse");
  bundle_ = {head, first_offset_, offset, rows, bytes_.size(), reader.rest()};
  parts_ = 0;
  return absl::OkStatus();
}

absl::Status DecodeRows(const Bundle& bundle,
                        absl::FunctionRef<absl::Status(const LogRow&)> visit) {
  const auto malformed = [&](std::string_view what) {
    return LogError(LogFault::kMalformed, bundle.head.shard, bundle.seal_offset, what);
  };
  ByteReader reader(bundle.sections);
  // Rows refer to the names: they must not move.
  std::vector<std::unique_ptr<OperatorName>> names;
  std::string suffix;
  LogRow row;
  uint64_t rows = 0;
  while (!reader.empty()) {
    const uint8_t byte = reader.U8();
    if ((byte & 0x80) != 0) {
      const uint8_t family = byte & 0x7f;
      const uint64_t op = reader.Varint();
      if (family >= kFamilies || op > names.size()) return malformed("a section's head");
      if (op == names.size()) {
        auto name = std::make_unique<OperatorName>();
        name->name = std::string(reader.Bytes());
        name->hash = std::string(reader.Bytes());
        names.push_back(std::move(name));
      }
      if (!reader.ok()) return malformed("a section's head ends too early");
      row.family = static_cast<Family>(family);
      row.op = names[op].get();
      suffix.clear();
      continue;
    }
    const uint64_t shared = reader.Varint();
    const std::string_view rest = reader.Bytes();
    if (row.op == nullptr || byte > kDeleteRange || shared > suffix.size())
      return malformed("a row");
    row.kind = static_cast<RowKind>(byte);
    suffix.resize(shared);
    suffix += rest;
    row.value = row.kind == kDelete ? std::string_view() : reader.Bytes();
    if (!reader.ok()) return malformed("a row ends too early");
    row.suffix = suffix;
    BONGSU_RETURN_IF_ERROR(visit(row));
    ++rows;
  }
  if (rows != bundle.rows)
    return malformed(fmt::format("{} rows where the seal says {}", rows, bundle.rows));
  return absl::OkStatus();
}

// ---- the chain ---------------------------------------------------------------------------------

absl::Status Follows(const ChangelogPosition& position, const Bundle& bundle) {
  const BundleHead& head = bundle.head;
  if (position.epoch == 0 && position.seal_offset < 0) {
    if (head.begins_round) return absl::OkStatus();
    return LogError(LogFault::kIncomplete, head.shard, bundle.first_offset,
                    "the log does not begin with the start of a round: records were deleted "
                    "that are still needed; bring the topic back, or start with another "
                    "application name");
  }
  if (head.epoch == position.epoch + 1 && head.previous_seal == position.seal_offset)
    return absl::OkStatus();
  return LogError(
      LogFault::kGap, head.shard, bundle.first_offset,
      fmt::format("epoch {} behind the seal at {} follows epoch {}, sealed at {}: records are "
                  "missing, or this is another topic of the same name; bring the topic back, or "
                  "move the state folder away to restore it from what the log holds",
                  head.epoch, head.previous_seal, position.epoch, position.seal_offset));
}

ChangelogPosition After(const ChangelogPosition& position, const Bundle& bundle) {
  ChangelogPosition after;
  after.next_offset = bundle.seal_offset + 1;
  after.epoch = bundle.head.epoch;
  after.seal_offset = bundle.seal_offset;
  after.round = bundle.head.round;
  after.awaited_round = position.awaited_round;
  if (after.awaited_round != 0 &&
      (after.round.number > after.awaited_round ||
       (after.round.number == after.awaited_round && after.round.ended)))
    after.awaited_round = 0;
  return after;
}

}  // namespace bongsu
