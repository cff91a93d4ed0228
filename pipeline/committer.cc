#include "pipeline/committer.h"

#include "pipeline/alert_writer.h"
#include "state/status_macros.h"

namespace bongsu {

std::array<std::string, kStreams> SinkNames(const Config& config) {
  const auto name = [](const SinkConfig& sink) {
    return sink.file.empty() ? "topic:" + sink.topic : "file:" + sink.file;
  };
  return {name(config.alerts), name(config.late), name(config.dead_letter)};
}

Committer::Committer(const Config& config, const PartitionTable& partitions, Store& store,
                     Sinks sinks, const Clock& clock, int threads, EpochId first_epoch,
                     std::function<void()> on_change)
    : config_(config),
      partitions_(partitions),
      store_(store),
      sinks_(sinks),
      clock_(clock),
      threads_(static_cast<size_t>(threads)),
      on_change_(std::move(on_change)),
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
  if (thread_.joinable()) thread_.join();
}

void Committer::Outputs(OutputChunk chunk) {
  backlog_bytes_.fetch_add(chunk.bytes.size(), std::memory_order_relaxed);
  {
    std::lock_guard lock(mutex_);
    pending_[chunk.epoch].chunks.push_back(std::move(chunk));
  }
  changed_.notify_all();
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

void Committer::Loop() {
  while (true) {
    std::deque<OutputChunk> chunks;
    std::optional<Pending> complete;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] {
        if (stop_) return true;
        auto it = pending_.find(current_);
        return it != pending_.end() && (!it->second.chunks.empty() || Sealed(it->second));
      });
      if (stop_) return;
      Pending& pending = pending_[current_];
      // Outputs of a later epoch wait: a file must never hold more than its checkpoint says.
      chunks.swap(pending.chunks);
      if (Sealed(pending)) {
        complete = std::move(pending);
        pending_.erase(current_);
      }
    }
    absl::Status status;
    for (const OutputChunk& chunk : chunks) {
      if (status.ok()) status = Write(chunk);
      backlog_bytes_.fetch_sub(chunk.bytes.size(), std::memory_order_relaxed);
    }
    if (status.ok() && complete.has_value()) {
      status = Commit(*std::move(complete));
      if (status.ok()) ++current_;
    }
    if (!status.ok()) {
      std::lock_guard lock(mutex_);
      status_ = status;
    }
    on_change_();
    if (!status.ok()) return;
  }
}

absl::Status Committer::Write(const OutputChunk& chunk) {
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

absl::Status Committer::Commit(Pending pending) {
  for (Sink* sink : sinks_) BONGSU_RETURN_IF_ERROR(sink->Flush());
  const EpochEnd& end = *pending.end;
  if (end.checkpoint) {
    PipelinePositions positions;
    const EpochSeal& first = pending.seals.front();  // all threads agree on clocks and watermarks
    for (const Position& position : end.positions) {
      PipelinePositions::Partition partition;
      partition.info = partitions_.Get(position.partition);
      partition.position = position;
      if (position.partition < first.partitions.size())
        partition.clock = first.partitions[position.partition];
      positions.partitions.push_back(std::move(partition));
    }
    for (size_t op = 0; op < first.port_watermarks.size(); ++op) {
      positions.port_watermarks[config_.operators[op]->rule().name] = first.port_watermarks[op];
    }
    positions.sink_names = SinkNames(config_);
    for (size_t i = 0; i < sinks_.size(); ++i) positions.sink_lengths[i] = sinks_[i]->length();
    Checkpoint checkpoint;
    checkpoint.meta.epoch = end.epoch;
    checkpoint.meta.positions = EncodePositions(positions);
    for (EpochSeal& seal : pending.seals) {
      for (auto& change : seal.changes) checkpoint.changes.push_back(std::move(change));
    }
    BONGSU_RETURN_IF_ERROR(store_.Commit(std::move(checkpoint)));
    checkpoints_.fetch_add(1, std::memory_order_relaxed);
    {
      std::lock_guard lock(mutex_);
      persisted_positions_ = end.positions;
    }
    persisted_.store(end.epoch, std::memory_order_release);
  }
  epochs_.fetch_add(1, std::memory_order_relaxed);
  committed_.store(end.epoch, std::memory_order_release);
  return absl::OkStatus();
}

}  // namespace bongsu
