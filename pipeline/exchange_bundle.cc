#include "pipeline/exchange_bundle.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "state/byte_reader.h"
#include "state/key_encoding.h"

namespace bongsu {
namespace {

constexpr uint8_t kVersion = 2;  // 1: clocks without what is missing before them
constexpr size_t kChecksumBytes = 8;
enum RowType : uint8_t { kOperatorRow = 1, kInputRow = 2, kClockRow = 3, kResultRow = 4 };

EventTimeNs ReadTimeFrom(ByteReader& reader) {
  const std::string_view bytes = reader.Take(8);
  return reader.ok() ? ReadTime(bytes) : 0;
}

absl::Status Malformed(const char* what) {
  return absl::FailedPreconditionError(
      fmt::format("a bundle of the exchange is damaged: {}", what));
}

}  // namespace

BundleWriter::BundleWriter(const Plan& plan, uint64_t plan_version)
    : plan_(plan), plan_version_(plan_version) {
  Begin();
}

void BundleWriter::Begin() {
  bytes_.clear();
  bytes_.push_back(static_cast<char>(kVersion));
  AppendVarint(plan_version_, &bytes_);
  numbers_.assign(plan_.operators.size(), -1);
  named_ = 0;
  rows_ = 0;
}

uint32_t BundleWriter::Operator(uint16_t op) {
  int32_t& number = numbers_[op];
  if (number < 0) {
    number = named_++;
    bytes_.push_back(static_cast<char>(kOperatorRow));
    AppendBytes(plan_.operators[op].spec->rule().name, &bytes_);
    AppendBytes(plan_.operators[op].spec->semantic_hash(), &bytes_);
  }
  return static_cast<uint32_t>(number);
}

void BundleWriter::AddInput(uint16_t op, const Input& input) {
  const uint32_t number = Operator(op);
  bytes_.push_back(static_cast<char>(kInputRow));
  AppendVarint(number, &bytes_);
  bytes_.push_back(static_cast<char>(input.port));
  AppendTime(input.time, &bytes_);
  AppendU64(input.seq, &bytes_);
  AppendBytes(input.key, &bytes_);
  AppendBytes(input.payload, &bytes_);
  ++rows_;
}

void BundleWriter::AddClock(PartitionId partition, const PartitionClock& clock) {
  bytes_.push_back(static_cast<char>(kClockRow));
  AppendVarint(partition, &bytes_);
  bytes_.push_back(static_cast<char>(clock.state));
  AppendTime(clock.newest, &bytes_);
  AppendTime(clock.floor, &bytes_);
  AppendTime(clock.missed, &bytes_);
  ++rows_;
}

void BundleWriter::AddResult(uint16_t op, ShardId from, EventTimeNs watermark) {
  const uint32_t number = Operator(op);
  bytes_.push_back(static_cast<char>(kResultRow));
  AppendVarint(number, &bytes_);
  AppendVarint(from, &bytes_);
  AppendTime(watermark, &bytes_);
  ++rows_;
}

std::string BundleWriter::Finish() {
  AppendU64(XXH3_64bits(bytes_.data(), bytes_.size()), &bytes_);
  std::string record = std::move(bytes_);
  Begin();
  return record;
}

absl::Status ReadExchangeBundle(std::string_view bytes, ExchangeBundle* bundle) {
  bundle->operators.clear();
  bundle->inputs.clear();
  bundle->clocks.clear();
  bundle->results.clear();
  if (bytes.size() <= kChecksumBytes) return Malformed("it is too short");
  if (static_cast<uint8_t>(bytes[0]) > kVersion) {
    return absl::FailedPreconditionError(
        fmt::format("a bundle of the exchange has version {}, known: {}: another instance runs a "
                    "newer bongsu; run that version here too",
                    static_cast<uint8_t>(bytes[0]), kVersion));
  }
  const std::string_view content = bytes.substr(0, bytes.size() - kChecksumBytes);
  if (ReadU64(bytes.substr(content.size())) != XXH3_64bits(content.data(), content.size()))
    return Malformed("its checksum does not hold");
  ByteReader reader(content);
  const uint8_t version = reader.U8();
  bundle->plan_version = reader.Varint();
  while (reader.ok() && !reader.empty()) {
    switch (reader.U8()) {
      case kOperatorRow: {
        const std::string_view name = reader.Bytes();
        bundle->operators.push_back({name, reader.Bytes()});
        break;
      }
      case kInputRow: {
        ExchangeBundle::RoutedTo& row = bundle->inputs.emplace_back();
        row.op = static_cast<uint32_t>(reader.Varint());
        row.input.port = reader.U8();
        row.input.time = ReadTimeFrom(reader);
        row.input.seq = reader.U64();
        row.input.key = reader.Bytes();
        row.input.payload = reader.Bytes();
        if (row.op >= bundle->operators.size()) return Malformed("an input without an operator");
        break;
      }
      case kClockRow: {
        ExchangeBundle::Clock& row = bundle->clocks.emplace_back();
        row.partition = static_cast<PartitionId>(reader.Varint());
        row.clock.state = static_cast<PartitionClock::State>(reader.U8());
        row.clock.newest = ReadTimeFrom(reader);
        row.clock.floor = ReadTimeFrom(reader);
        if (version >= 2) row.clock.missed = ReadTimeFrom(reader);
        if (row.clock.state > PartitionClock::State::kEnded) return Malformed("an unknown state");
        break;
      }
      case kResultRow: {
        ExchangeBundle::Result& row = bundle->results.emplace_back();
        row.op = static_cast<uint32_t>(reader.Varint());
        row.from = static_cast<ShardId>(reader.Varint());
        row.watermark = ReadTimeFrom(reader);
        if (row.op >= bundle->operators.size()) return Malformed("a result without an operator");
        break;
      }
      default:
        return Malformed("an unknown kind of row");
    }
  }
  return reader.ok() ? absl::OkStatus() : Malformed("it ends within a row");
}

BundleSet::BundleSet(const Plan& plan, uint64_t plan_version, uint16_t shards) {
  for (uint16_t shard = 0; shard < shards; ++shard) writers_.emplace_back(plan, plan_version);
}

void BundleSet::Put(uint16_t op, ShardId shard, const Input& input) {
  BundleWriter& writer = writers_[shard];
  const size_t more = input.key.size() + input.payload.size();
  if (!writer.empty() && writer.bytes() + more > kBundleBytesMax)
    full_.push_back({shard, writer.Finish()});
  writer.AddInput(op, input);
}

void BundleSet::TakeFull(std::vector<ShardRecord>* records) {
  for (ShardRecord& record : full_) records->push_back(std::move(record));
  full_.clear();
}

void BundleSet::Finish(std::vector<ShardRecord>* records) {
  TakeFull(records);
  for (size_t shard = 0; shard < writers_.size(); ++shard) {
    if (!writers_[shard].empty())
      records->push_back({static_cast<ShardId>(shard), writers_[shard].Finish()});
  }
}

// Of those that wake the lowest goes first, of those that end or fall quiet the highest: what holds
// the others back is there as long as any of them.
void ClockNews::Add(PartitionId partition, const PartitionClock* before,
                    const PartitionClock& now) {
  using State = PartitionClock::State;
  enum Rank { kWakes, kMoves, kEnds, kFallsQuiet };
  const auto last_first = [](EventTimeNs time) { return ~time; };
  if (now.state == State::kIdle) {
    rows_.push_back({kFallsQuiet, last_first(now.newest), {partition, now}});
  } else if (now.state == State::kEnded) {
    rows_.push_back(
        {kEnds, last_first((before != nullptr ? *before : now).newest), {partition, now}});
  } else if (before == nullptr) {
    rows_.push_back({kWakes, now.newest, {partition, now}});
  } else {
    if (before->state == State::kIdle) {
      PartitionClock woken = *before;
      woken.state = State::kActive;
      rows_.push_back({kWakes, woken.newest, {partition, woken}});
    }
    rows_.push_back({kMoves, 0, {partition, now}});
  }
}

std::vector<ClockNews::Row> ClockNews::Take() {
  std::stable_sort(rows_.begin(), rows_.end(), [](const Ranked& a, const Ranked& b) {
    return std::tie(a.rank, a.order) < std::tie(b.rank, b.order);
  });
  std::vector<Row> rows;
  for (const Ranked& one : rows_) rows.push_back(one.row);
  rows_.clear();
  return rows;
}

}  // namespace bongsu
