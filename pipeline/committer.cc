#include "pipeline/committer.h"

#include <fmt/format.h>

#include <chrono>

#include "pipeline/alert_writer.h"
#include "pipeline/logging.h"
#include "state/failpoint.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

// How often a committer without work looks whether the store is due.
constexpr auto kQuietLook = std::chrono::seconds(1);
// Then a thread goes on, whatever holds the sinks: nothing stands still for ever by that wait.
constexpr auto kRoomWait = std::chrono::seconds(1);

}  // namespace

std::array<std::string, kStreams> SinkNames(const Config& config) {
  const auto name = [](const SinkConfig& sink) {
    return sink.file.empty() ? "topic:" + sink.topic : "file:" + sink.file;
  };
  return {name(config.alerts), name(config.late), name(config.dead_letter)};
}

Committer::Committer(const Config& config, const PartitionTable& partitions, Store& store,
                     Sinks sinks, ExactlyOnceParts exactly_once, const Clock& clock, int threads,
                     EpochId first_epoch, std::function<void()> on_change)
    : config_(config),
      partitions_(partitions),
      store_(store),
      sinks_(sinks),
      exactly_once_(std::move(exactly_once)),
      clock_(clock),
      threads_(static_cast<size_t>(threads)),
      on_change_(std::move(on_change)),
      taken_(first_epoch - 1),
      current_(first_epoch),
      committed_(first_epoch - 1),
      persisted_(first_epoch - 1) {}

Committer::~Committer() { Stop(); }

void Committer::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void Committer::Stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  room_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Committer::Outputs(OutputChunk chunk) {
  {
    std::lock_guard lock(mutex_);
    backlog_bytes_.fetch_add(chunk.size_bytes(), std::memory_order_relaxed);
    backlog_bytes_peak_.store(std::max(backlog_bytes(), backlog_bytes_peak()));
    pending_[chunk.epoch].chunks.push_back(std::move(chunk));
  }
  changed_.notify_all();
}

void Committer::AwaitRoom(EpochId epoch) {
  std::unique_lock lock(mutex_);
  room_.wait_for(lock, kRoomWait, [&] {
    return stop_ || !status_.ok() || wants_membership() || !AllSealedBefore(epoch) ||
           backlog_bytes() <= kOutputBacklogBytesMax;
  });
}

// The mutex is held.
bool Committer::AllSealedBefore(EpochId epoch) const {
  for (EpochId before = taken_ + 1; before < epoch; ++before) {
    const auto it = pending_.find(before);
    if (it == pending_.end() || !Sealed(it->second)) return false;
  }
  return true;
}

void Committer::BeginCommit(EpochEnd end) {
  {
    std::lock_guard lock(mutex_);
    const EpochId epoch = end.epoch;
    pending_[epoch].end = std::move(end);
  }
  changed_.notify_all();
}

void Committer::Seal(EpochSeal seal) {
  {
    std::lock_guard lock(mutex_);
    pending_[seal.epoch].seals.push_back(std::move(seal));
  }
  changed_.notify_all();
}

bool Committer::Sealed(const Pending& pending) const {
  return pending.end.has_value() && pending.seals.size() == threads_;
}

std::optional<std::vector<Position>> Committer::TakePersistedPositions() {
  std::lock_guard lock(mutex_);
  return std::exchange(persisted_positions_, std::nullopt);
}

absl::Status Committer::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

// The mutex is held.
bool Committer::HasWork() const {
  if (prepared_ != nullptr) return membership_ != nullptr || !no_membership_.ok();
  const auto it = pending_.find(current_);
  return it != pending_.end() && (!it->second.chunks.empty() || Sealed(it->second));
}

void Committer::Loop() {
  do {
    std::unique_lock lock(mutex_);
    const bool work = changed_.wait_for(lock, kQuietLook, [&] { return stop_ || HasWork(); });
    if (stop_) return;
    lock.unlock();
    if (work) {
      Step();
    } else if (prepared_ == nullptr && exactly_once_.changelog != nullptr) {
      // Without records there are no epochs; what the last one has changed gets to the store all
      // the same, for a quick restart and for who looks at it.
      Finish(FlushChangelog(/*now=*/false));
    }
  } while (status().ok());
}

bool Committer::Step() {
  std::deque<OutputChunk> chunks;
  std::optional<Pending> complete;
  {
    std::lock_guard lock(mutex_);
    if (stop_ || !status_.ok() || !HasWork()) return false;
    if (prepared_ == nullptr) {
      Pending& pending = pending_[current_];
      // Outputs of a later epoch wait: a file must never hold more than its checkpoint says.
      chunks.swap(pending.chunks);
      if (Sealed(pending)) {
        complete = std::move(pending);
        taken_ = current_;
        pending_.erase(current_);
      }
    }
  }
  if (prepared_ != nullptr) {
    Finish(CommitPrepared());
    return true;
  }
  absl::Status status;
  for (const OutputChunk& chunk : chunks) {
    if (status.ok()) status = Write(chunk);
    {
      std::lock_guard lock(mutex_);
      backlog_bytes_.fetch_sub(chunk.size_bytes(), std::memory_order_relaxed);
    }
    room_.notify_all();
  }
  if (status.ok() && complete.has_value()) status = Commit(*std::move(complete));
  Finish(std::move(status));
  return true;
}

void Committer::Finish(absl::Status status) {
  if (!status.ok()) {
    std::lock_guard lock(mutex_);
    status_ = std::move(status);
  }
  room_.notify_all();
  on_change_();
}

absl::Status Committer::Write(const OutputChunk& chunk) {
  BONGSU_RETURN_IF_ERROR(BeginTransaction());
  BONGSU_RETURN_IF_ERROR(SendBundles(chunk.bundles));
  std::string_view bytes = chunk.bytes;
  for (const OutputChunk::Entry& entry : chunk.entries) {
    const std::string_view key = bytes.substr(0, entry.key_bytes);
    const std::string_view value = bytes.substr(entry.key_bytes, entry.value_bytes);
    bytes.remove_prefix(size_t{entry.key_bytes} + entry.value_bytes);
    const absl::Status status = sinks_[static_cast<size_t>(entry.stream)]->Write(key, value);
    if (absl::IsInvalidArgument(status)) {
      BONGSU_RETURN_IF_ERROR(Unsendable(entry.stream, key, value, status));
    } else if (!status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

// One record that the sink can never take (larger than the broker allows) must not stop the epoch
// for ever, nor vanish: its beginning goes to the dead letters, with the reason.
absl::Status Committer::Unsendable(Stream stream, std::string_view key, std::string_view value,
                                   const absl::Status& why) {
  unsendable_.fetch_add(1, std::memory_order_relaxed);
  if (stream == Stream::kDeadLetter)
    return why;  // already cut to a bound: nothing smaller is left to send
  PartitionInfo partition;
  partition.source = stream == Stream::kAlerts ? "alerts" : "late";
  partition.path = std::string(key);
  std::string json;
  WriteDeadLetter(partition, 0, "unsendable", value, clock_.NowNs(), &json);
  return sinks_[static_cast<size_t>(Stream::kDeadLetter)]->Write(key, json);
}

PipelinePositions Committer::MakePositions(const EpochEnd& end, const EpochSeal& seal) const {
  PipelinePositions positions;
  positions.epoch = end.epoch;
  for (const Position& position : end.positions) {
    PipelinePositions::Partition partition;
    partition.info = partitions_.Get(position.partition);
    partition.position = position;
    if (position.partition < seal.partitions.size())
      partition.clock = seal.partitions[position.partition];
    positions.partitions.push_back(std::move(partition));
  }
  for (size_t op = 0; op < seal.port_watermarks.size(); ++op) {
    const OperatorSpec& spec = *config_.operators[op];
    positions.port_watermarks[spec.rule().name] = seal.port_watermarks[op];
    positions.semantic_hashes[spec.rule().name] = ShortHash(spec.semantic_hash());
  }
  for (size_t i = 0; i < seal.alarms.size(); ++i) {
    if (seal.alarms[i] != 0) positions.alarms[config_.sources[i].name] = seal.alarms[i];
  }
  positions.sink_names = SinkNames(config_);
  for (size_t i = 0; i < sinks_.size(); ++i) positions.sink_lengths[i] = sinks_[i]->length();
  return positions;
}

void Committer::Persisted(EpochId epoch, std::vector<Position> positions) {
  checkpoints_.fetch_add(1, std::memory_order_relaxed);
  {
    std::lock_guard lock(mutex_);
    persisted_positions_ = std::move(positions);
  }
  persisted_.store(epoch, std::memory_order_release);
}

absl::Status Committer::Commit(Pending pending) {
  if (exactly_once_.log != nullptr) return Prepare(std::move(pending));
  const EpochEnd& end = *pending.end;
  const int64_t sealed_ns = clock_.MonotonicNs();
  for (Sink* sink : sinks_) BONGSU_RETURN_IF_ERROR(sink->Flush());
  if (end.checkpoint) {
    Checkpoint checkpoint;
    checkpoint.meta.epoch = end.epoch;
    // All threads agree on clocks and watermarks.
    checkpoint.meta.positions = EncodePositions(MakePositions(end, pending.seals.front()));
    for (EpochSeal& seal : pending.seals) {
      for (auto& change : seal.changes) checkpoint.changes.push_back(std::move(change));
    }
    BONGSU_FAILPOINT(kStoreWriting);
    BONGSU_RETURN_IF_ERROR(store_.Commit(std::move(checkpoint)));
    BONGSU_FAILPOINT(kStoreWritten);
    Persisted(end.epoch, end.positions);
  }
  Committed(end.epoch, sealed_ns);
  return absl::OkStatus();
}

void Committer::Committed(EpochId epoch, int64_t sealed_ns) {
  commit_times_.Add(clock_.MonotonicNs() - sealed_ns);
  epochs_.fetch_add(1, std::memory_order_relaxed);
  committed_.store(epoch, std::memory_order_release);
  ++current_;
}

// --- Exactly once on Kafka ----------------------------------------------------------------------

absl::Status Committer::BeginTransaction() {
  if (exactly_once_.log == nullptr || begun_) return absl::OkStatus();
  begun_ = true;
  return exactly_once_.log->Begin(current_);
}

void Committer::GiveMembership(
    const absl::StatusOr<std::shared_ptr<const Membership>>& membership) {
  {
    std::lock_guard lock(mutex_);
    wants_membership_.store(false, std::memory_order_release);
    if (membership.ok())
      membership_ = *membership;
    else
      no_membership_ = membership.status();
  }
  changed_.notify_all();
}

// Everything up to the question whether the partitions are still ours.
absl::Status Committer::Prepare(Pending pending) {
  EpochLog& log = *exactly_once_.log;
  Changelog& changelog = *exactly_once_.changelog;
  const bool exchange = exactly_once_.exchange_plan != nullptr;
  BONGSU_RETURN_IF_ERROR(BeginTransaction());
  auto prepared = std::make_unique<Prepared>();
  prepared->sealed_ns = clock_.MonotonicNs();
  prepared->end = *std::move(pending.end);
  if (exchange) BONGSU_RETURN_IF_ERROR(SendClocks(prepared->end, pending.seals));
  std::vector<std::unique_ptr<FrozenShard>> changes;
  for (EpochSeal& seal : pending.seals) {
    for (auto& change : seal.changes) changes.push_back(std::move(change));
  }
  BONGSU_ASSIGN_OR_RETURN(prepared->bundles, changelog.Encode(std::move(changes)));
  PipelinePositions positions = MakePositions(prepared->end, pending.seals.front());
  for (ShardId shard = 0; shard < store_.shards(); ++shard)
    positions.shard_epochs.push_back(changelog.position(shard).epoch);
  prepared_ = std::move(prepared);
  for (ShardBundle& bundle : prepared_->bundles) {
    positions.shard_epochs[bundle.shard] = bundle.epoch;
    for (ShardBundle::Record& record : bundle.records)
      BONGSU_RETURN_IF_ERROR(log.Append(bundle.shard, record.bytes, &record.offset));
  }
  prepared_->positions = EncodePositions(positions);
  if (exchange) {
    // The group's offsets carry what others must know of the positions.
    prepared_->offsets = Offsets(prepared_->end, pending.seals.front(), prepared_->bundles);
  } else {
    const std::vector<std::string> records = PositionsRecords(prepared_->positions);
    prepared_->positions_offsets.assign(records.size(), -1);
    for (size_t i = 0; i < records.size(); ++i) {
      BONGSU_RETURN_IF_ERROR(
          log.Append(store_.shards(), records[i], &prepared_->positions_offsets[i]));
    }
  }
  wants_membership_.store(true, std::memory_order_release);
  room_.notify_all();
  return absl::OkStatus();
}

absl::Status Committer::CommitPrepared() {
  std::shared_ptr<const Membership> membership;
  {
    std::lock_guard lock(mutex_);
    BONGSU_RETURN_IF_ERROR(no_membership_);
    membership = std::exchange(membership_, nullptr);
  }
  const EpochEnd& end = prepared_->end;
  const bool exchange = exactly_once_.exchange_plan != nullptr;
  BONGSU_RETURN_IF_ERROR(
      exchange ? exactly_once_.log->CommitOffsets(end.epoch, *membership, prepared_->offsets)
               : exactly_once_.log->Commit(end.epoch, *membership, end.read_positions));
  begun_ = false;
  Changelog& changelog = *exactly_once_.changelog;
  changelog.Committed(end.epoch, prepared_->positions, prepared_->bundles, clock_.MonotonicNs());
  BONGSU_FAILPOINT(kMerged);
  BONGSU_RETURN_IF_ERROR(FlushChangelog(end.checkpoint));
  Trim(exchange ? -1 : prepared_->positions_offsets.front());
  if (exchange) TrimExchange(end);
  Committed(end.epoch, prepared_->sealed_ns);
  prepared_.reset();
  return absl::OkStatus();
}

absl::Status Committer::FlushChangelog(bool now) {
  Changelog& changelog = *exactly_once_.changelog;
  if (!now && !changelog.FlushDue(clock_.MonotonicNs())) return absl::OkStatus();
  BONGSU_FAILPOINT(kStoreWriting);
  BONGSU_ASSIGN_OR_RETURN(const EpochId epoch, changelog.Flush());
  BONGSU_FAILPOINT(kStoreWritten);
  if (epoch != 0) Persisted(epoch, {});
  return absl::OkStatus();
}

// What a complete round has replaced may go, and all positions but the newest. A log that cannot be
// trimmed grows, and is no less true: a warning, and the next try comes with the next point.
void Committer::Trim(int64_t positions_offset) {
  // Offsets, markers too; fewer would mean more requests, more a longer read at the start.
  constexpr int64_t kPositionsKept = 8;
  std::map<int, int64_t> before;
  for (const auto& [shard, offset] : exactly_once_.changelog->TrimPoints()) before[shard] = offset;
  if (previous_positions_ < 0) previous_positions_ = positions_offset;
  if (positions_offset >= 0 && positions_offset - previous_positions_ >= kPositionsKept) {
    previous_positions_ = positions_offset;
    before[store_.shards()] = positions_offset;
  }
  if (before.empty()) return;
  BONGSU_FAILPOINT(kTrimming);
  const absl::Status status = exactly_once_.trim(before);
  BONGSU_FAILPOINT(kTrimmed);
  if (status.ok()) return;
  trims_failed_.fetch_add(1, std::memory_order_relaxed);
  LogWarning(fmt::format("the changelog was not trimmed: {}", std::string(status.message())));
}

}  // namespace bongsu
