#include "pipeline/engine.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "pipeline/engine_worker.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu {

namespace {

constexpr DurationNs kPollWaitNs = 5 * kMillisecondNs;
constexpr DurationNs kTickNs = kSecondNs;
// A source is paused only after this long without room: its own prefetch bound holds until then,
// and a pause throws prefetched records away.
constexpr DurationNs kBackpressureAfterNs = 5 * kSecondNs;
constexpr uint64_t kEpochsInFlight = 2;
constexpr int kDirtyBudgets = 4;
constexpr int kEpochsOfBudget = 2;  // an epoch's part of checkpoint_bytes

void AddTo(ShardState::Counters* sum, const ShardState::Counters& one) {
  sum->entries_put += one.entries_put;
  sum->entries_expired_unwritten += one.entries_expired_unwritten;
  sum->entries_frozen += one.entries_frozen;
  sum->disk_seeks += one.disk_seeks;
  sum->segments_evicted += one.segments_evicted;
}

}  // namespace

Engine::Engine(const Config& config, EngineParts parts)
    : config_(config), parts_(std::move(parts)), plan_(MakePlan(config)), watch_(config_, plan_) {
  const int cores = std::max(1u, std::thread::hardware_concurrency());
  threads_ = std::clamp(config.threads > 0 ? config.threads : cores, 1,
                        static_cast<int>(parts_.store->shards()));
}

Engine::~Engine() {
  ownership_.reset();  // its thread opens shards
  if (parts_.scheduler != nullptr) parts_.scheduler->RemoveAll();
  {
    std::lock_guard lock(mutex_);
    done_ = true;
  }
  Wake();
  for (auto& worker : workers_) {
    if (worker->thread.joinable()) worker->thread.join();
  }
  if (committer_ != nullptr) committer_->Stop();
}

void Engine::Wake() {
  {
    std::lock_guard lock(mutex_);
    ++wakes_;
  }
  changed_.notify_all();
}

void Engine::Await() {
  if (parts_.scheduler != nullptr) return parts_.scheduler->Wait();
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(50));
}

void Engine::AwaitRoom() {
  if (parts_.scheduler != nullptr) return parts_.scheduler->Wait();
  const uint64_t enough = issued_ - kBatchesInFlight / 2;
  std::unique_lock lock(mutex_);
  const uint64_t seen = room_wakes_;
  wake_reader_at_.store(enough);  // before the look: who is done after it wakes us
  if (LowestApplied() < enough)
    room_.wait_for(lock, std::chrono::milliseconds(50), [&] { return room_wakes_ != seen; });
  wake_reader_at_.store(kNo);
}

void Engine::WakeReader() {
  {
    std::lock_guard lock(mutex_);
    ++room_wakes_;
  }
  room_.notify_one();
}

// On the committer's thread.
void Engine::OnCommitterChange() {
  Wake();
  if (committer_->wants_membership() || !committer_->status().ok()) WakeReader();
}

void Engine::Fail(absl::Status status) {
  {
    std::lock_guard lock(mutex_);
    if (failure_.ok()) failure_ = std::move(status);
  }
  failed_.store(true, std::memory_order_release);
  Wake();
  WakeReader();
}

absl::Status Engine::Failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

// --- Start ------------------------------------------------------------------------------------

absl::Status Engine::OpenState() {
  for (size_t op = 0; op < plan_.operators.size(); ++op) {
    const OperatorSpec& spec = *plan_.operators[op].spec;
    uint64_t reset = 0;
    // One that was gone and came back is another one: an instance that was not there meanwhile must
    // not bring along what it had.
    const uint64_t since = shared() ? parts_.shared->since[op] : 0;
    auto id =
        parts_.store->OperatorId(spec.rule().name, HashSince(spec.semantic_hash(), since), &reset);
    if (!id.ok()) return id.status();
    operator_ids_.push_back(*id);
    if (reset > 0) reset_operators_.push_back(spec.rule().name);
  }
  if (shared()) {
    uint64_t reset = 0;
    BONGSU_ASSIGN_OR_RETURN(clocks_id_, parts_.store->OperatorId(kClocksOperator, "1", &reset));
    known_ = PartitionsOf(config_, *parts_.partitions);
  }
  std::vector<uint16_t> all = operator_ids_;
  if (shared()) all.push_back(clocks_id_);
  dropped_operators_ = parts_.store->KeepOnly(all);
  exchange_ = std::make_unique<Exchange>(levels(), threads_);
  std::vector<size_t> ports;
  for (const OperatorPlan& op : plan_.operators) ports.push_back(op.port_source.size());
  for (int i = 0; i < threads_; ++i) {
    auto worker = std::make_unique<Worker>();
    worker->index = i;
    worker->decode =
        std::make_unique<DecodeTask>(config_, plan_, *parts_.partitions, *parts_.clock,
                                     parts_.store->hash_seed(), parts_.store->shards(), newest_);
    ShardTaskOptions options;
    options.thread = i;
    options.threads = threads_;
    options.operator_ids = operator_ids_;
    if (shared()) {
      const uint64_t version = parts_.shared->plan_version;
      worker->unpack =
          std::make_unique<UnpackTask>(config_, plan_, version, *parts_.partitions, known_);
      worker->decoded = std::make_unique<BundleSet>(plan_, version, parts_.store->shards());
      worker->results = std::make_unique<BundleSet>(plan_, version, parts_.store->shards());
      options.results = worker->results.get();
      options.clocks_id = clocks_id_;
      options.plan_version = version;
      options.since = parts_.shared->since;
    }
    // Half of the budget is RocksDB's cache and write buffers, half the maps in front of it.
    options.memory_bytes =
        static_cast<size_t>(config_.state.memory_bytes) / 2 / static_cast<size_t>(threads_);
    options.hand_over = [this, w = worker.get()](OutputChunk& outputs) { HandOver(*w, outputs); };
    worker->shards = std::make_unique<ShardTask>(config_, plan_, *parts_.partitions, *parts_.clock,
                                                 *parts_.store, *exchange_, std::move(options));
    if (!shared()) BONGSU_RETURN_IF_ERROR(worker->shards->Open());
    worker->counters = RunCounters(config_.sources.size(), ports,
                                   config_.rules != nullptr ? config_.rules->entries.size() : 0);
    worker->next.assign(static_cast<size_t>(levels()), 1);
    workers_.push_back(std::move(worker));
  }
  return absl::OkStatus();
}

absl::Status Engine::Check() {
  BONGSU_RETURN_IF_ERROR(OpenState());
  return Recover(/*only_check=*/true);
}

// Whether what is committed was so with this very rule. What the store knows says less: an earlier
// form of the rule may be on its way out of store and log still, weeks after the rule has changed.
bool Engine::CommittedWith(const PipelinePositions& positions, const OperatorSpec& spec) {
  const std::string& name = spec.rule().name;
  const auto reset = std::find(reset_operators_.begin(), reset_operators_.end(), name);
  const auto hash = positions.semantic_hashes.find(name);
  if (hash == positions.semantic_hashes.end()) return reset == reset_operators_.end();
  const bool same = hash->second == ShortHash(spec.semantic_hash());
  if (same && reset != reset_operators_.end()) reset_operators_.erase(reset);
  if (!same && reset == reset_operators_.end()) reset_operators_.push_back(name);
  return same;
}

absl::Status Engine::Recover(bool only_check) {
  const auto recover = [only_check](Sink& sink, int64_t length) {
    return only_check ? sink.CheckRecover(length) : sink.Recover(length);
  };
  std::vector<Position> positions;
  if (const auto& latest = parts_.resume; latest.has_value()) {
    auto decoded = DecodePositions(latest->positions);
    if (!decoded.ok()) return decoded.status();
    resumed_ = true;
    epoch_ = latest->epoch + 1;
    std::vector<PartitionClock> clocks;
    for (auto& partition : decoded->partitions) {
      positions.push_back(partition.position);
      // The source's place in the configuration may have changed; its name decides.
      for (size_t i = 0; i < config_.sources.size(); ++i) {
        if (config_.sources[i].name != partition.info.source) continue;
        partition.info.source_index = static_cast<uint16_t>(i);
        partition.clock.source = static_cast<uint16_t>(i);
        if (clocks.size() <= partition.info.id) clocks.resize(size_t{partition.info.id} + 1);
        clocks[partition.info.id] = partition.clock;
        newest_.Raise(partition.info.id, partition.clock.newest);
      }
    }
    std::vector<std::vector<EventTimeNs>> port_watermarks(plan_.operators.size());
    for (size_t op = 0; op < plan_.operators.size(); ++op) {
      const OperatorSpec& spec = *plan_.operators[op].spec;
      const auto it = decoded->port_watermarks.find(spec.rule().name);
      if (it == decoded->port_watermarks.end()) continue;
      if (CommittedWith(*decoded, spec)) port_watermarks[op] = it->second;
    }
    restored_clocks_ = std::move(clocks);
    restored_alarms_ = decoded->alarms;
    restored_watermarks_ = std::move(port_watermarks);
    for (size_t op = 0; op < plan_.operators.size(); ++op) {
      if (restored_watermarks_[op].empty()) new_operators_.push_back(op);
    }
    const auto names = SinkNames(config_);
    for (size_t i = 0; i < parts_.sinks.size(); ++i) {
      const bool same = names[i] == decoded->sink_names[i];
      parts_.sinks[i]->SetResumed(same);
      BONGSU_RETURN_IF_ERROR(recover(*parts_.sinks[i], same ? decoded->sink_lengths[i] : 0));
    }
  } else {
    for (Sink* sink : parts_.sinks) BONGSU_RETURN_IF_ERROR(recover(*sink, 0));
  }
  for (RecordSource* source : parts_.sources) {
    BONGSU_RETURN_IF_ERROR(only_check ? source->CheckStart(positions) : source->Start(positions));
  }
  return RestoreTime(positions);
}

absl::Status Engine::Start() {
  BONGSU_RETURN_IF_ERROR(OpenState());
  if (shared())
    StartShared();
  else
    BONGSU_RETURN_IF_ERROR(Recover(/*only_check=*/false));
  committer_ = std::make_unique<Committer>(config_, *parts_.partitions, *parts_.store, parts_.sinks,
                                           parts_.exactly_once, *parts_.clock, threads_, epoch_,
                                           [this] { OnCommitterChange(); });
  for (auto& worker : workers_) {
    if (Scheduler* scheduler = parts_.scheduler; scheduler != nullptr) {
      scheduler->Add([this, w = worker.get()] {
        PublishTime(*w);
        return !failed_.load() && (ApplyNext(*w) || DecodeNext(*w));
      });
    } else {
      worker->thread = std::thread([this, w = worker.get()] { WorkerLoop(*w); });
    }
  }
  if (parts_.scheduler != nullptr)
    parts_.scheduler->Add([this] { return committer_->Step(); });
  else
    committer_->Start();
  const int64_t now = parts_.clock->MonotonicNs();
  epoch_started_ = last_tick_ = last_look_ = last_hold_ = now;
  for (RecordSource* source : parts_.sources) BONGSU_RETURN_IF_ERROR(source->Hold({}));
  // The first checkpoint comes before the first output: a restart must be able to tell its own
  // half-written files from somebody else's. Transactions leave nothing half-written.
  if (parts_.exactly_once.log == nullptr) CloseEpoch(now, /*final=*/true);
  last_checkpoint_ = now;
  return absl::OkStatus();
}

// --- Workers ----------------------------------------------------------------------------------

void Engine::WorkerLoop(Worker& worker) {
  while (!failed_.load(std::memory_order_acquire)) {
    if (const uint64_t view = view_.load(std::memory_order_relaxed); view != worker.view)
      Publish(worker, view);
    PublishTime(worker);
    // What is further along goes first: it frees slots, and only then is there room for more.
    if (ApplyNext(worker) || DecodeNext(worker)) continue;
    std::unique_lock lock(mutex_);
    if (done_) return;
    if (worker.seen_wakes == wakes_) {
      changed_.wait(lock, [&] { return done_ || worker.seen_wakes != wakes_; });
    }
    worker.seen_wakes = wakes_;
  }
}

bool Engine::ApplyNext(Worker& worker) {
  for (int level = levels() - 1; level >= 0; --level) {
    uint64_t& number = worker.next[static_cast<size_t>(level)];
    ExchangeSlot& slot = exchange_->slot(level, number);
    if (!slot.Ready(number)) continue;
    // At a level above, this thread must itself have applied the batch below first; Ready says so.
    OutputChunk outputs;
    outputs.epoch = exchange_->slot(0, number).epoch;
    EpochSeal seal;
    const absl::Status status = worker.shards->Apply(level, number, outputs, live_, &seal);
    if (!status.ok()) {
      Fail(status);
      return false;
    }
    if (shared()) {
      if (seal.epoch != 0)
        FinishBundles(worker, seal.epoch, outputs);
      else
        worker.results->TakeFull(&outputs.bundles);
      worker.ended.store(worker.shards->ended(), std::memory_order_relaxed);
    }
    if (!outputs.empty()) committer_->Outputs(std::move(outputs));
    if (seal.epoch != 0) committer_->Seal(std::move(seal));
    if (const EpochId persisted = committer_->persisted(); persisted > worker.persisted) {
      worker.persisted = persisted;
      worker.shards->OnPersisted(persisted);
    }
    if (level + 1 < levels()) {
      exchange_->slot(level + 1, number).Complete(number);
    } else {
      worker.dirty_bytes.store(worker.shards->dirty_bytes(), std::memory_order_relaxed);
      worker.memory_bytes.store(worker.shards->memory_bytes(), std::memory_order_relaxed);
      worker.applied.store(number);
      if (number >= wake_reader_at_.load()) WakeReader();
    }
    ++number;
    Wake();
    return true;
  }
  return false;
}

void Engine::HandOver(Worker& worker, OutputChunk& outputs) {
  if (shared()) worker.results->TakeFull(&outputs.bundles);
  if (outputs.empty()) return;
  const EpochId epoch = outputs.epoch;
  committer_->Outputs(std::exchange(outputs, OutputChunk()));
  outputs.epoch = epoch;
  if (parts_.scheduler == nullptr) committer_->AwaitRoom(epoch);
}

bool Engine::DecodeNext(Worker& worker) {
  std::unique_ptr<Batch> batch;
  {
    std::lock_guard lock(mutex_);
    if (to_decode_.empty()) return false;
    batch = std::move(to_decode_.front());
    to_decode_.pop_front();
  }
  ExchangeSlot& slot = exchange_->slot(0, batch->number);
  slot.epoch = batch->epoch;
  slot.epoch_end = batch->epoch_end;
  slot.freeze = batch->freeze;
  slot.Clear();
  OutputChunk outputs;
  outputs.epoch = batch->epoch;
  if (shared()) {
    const absl::Status status = DecodeShared(worker, *batch, slot, outputs);
    if (!status.ok()) {
      Fail(status);
      return false;
    }
  } else {
    SlotInputs inputs(slot, 0);
    worker.decode->Run(*batch, inputs, slot, outputs, worker.counters, live_);
  }
  if (!outputs.empty()) committer_->Outputs(std::move(outputs));
  batch->holder.reset();
  slot.Complete(batch->number);
  Wake();
  return true;
}

// --- Reader -----------------------------------------------------------------------------------

uint64_t Engine::LowestApplied() const {
  uint64_t lowest = issued_;
  for (const auto& worker : workers_)
    lowest = std::min(lowest, worker->applied.load(std::memory_order_acquire));
  return lowest;
}

std::optional<WaitReason> Engine::Waiting() const {
  // One slot is kept for the barrier that closes an epoch.
  if (issued_ - LowestApplied() + 1 >= kBatchesInFlight) return WaitReason::kBatches;
  if (committer_->backlog_bytes() > kOutputBacklogBytesMax) return WaitReason::kOutputs;
  if (StateFull() && StateWaits()) return WaitReason::kState;
  return std::nullopt;
}

size_t Engine::DirtyBytes() const {
  size_t dirty = 0;
  for (const auto& worker : workers_) dirty += worker->dirty_bytes.load(std::memory_order_relaxed);
  return dirty;
}

// With a changelog each epoch's changes are bounded: together with those that are merged they are
// what the store may lag behind the log, and what a start after a crash reads back from it.
bool Engine::StateFull() const {
  const auto bytes = static_cast<size_t>(config_.state.checkpoint_bytes);
  const bool logged = parts_.exactly_once.log != nullptr;
  return DirtyBytes() > (logged ? bytes / kEpochsOfBudget : bytes * kDirtyBudgets);
}

// Whether what frees it is on its way: the commits before this epoch's, or a checkpoint.
bool Engine::StateWaits() const {
  return parts_.exactly_once.log != nullptr ? EpochsInFlight() > kEpochsInFlight
                                            : checkpoint_in_flight_ > committer_->persisted();
}

absl::Status Engine::WaitForRoom(const std::atomic<bool>& stop) {
  if (HasRoom()) return absl::OkStatus();
  absl::Status status = AwaitBounds(stop);
  // Whatever has ended the wait: the next engine goes on with the same sources.
  if (backpressure_) {
    for (RecordSource* source : parts_.sources) status.Update(source->SetBackpressure(false));
    backpressure_ = false;
  }
  return status;
}

absl::Status Engine::AwaitBounds(const std::atomic<bool>& stop) {
  std::optional<WaitReason> reason = Waiting();
  if (!reason.has_value()) return absl::OkStatus();
  ++waits_[static_cast<size_t>(*reason)];
  const int64_t since = parts_.clock->MonotonicNs();
  // The reason is asked for each time: AwaitRoom waits for batches only, and would turn for nothing
  // where by now it is the outputs.
  for (; reason.has_value() && !failed_.load(std::memory_order_acquire) && !stop.load();
       reason = Waiting()) {
    *reason == WaitReason::kBatches ? AwaitRoom() : Await();
    BONGSU_RETURN_IF_ERROR(Housekeeping());
    if (parts_.clock->MonotonicNs() - since < kBackpressureAfterNs) continue;
    if (!backpressure_) {
      backpressure_ = was_paused_ = true;
      for (RecordSource* source : parts_.sources)
        BONGSU_RETURN_IF_ERROR(source->SetBackpressure(true));
    }
    Batch none;  // keeps the membership alive; a paused source hands out no records
    for (RecordSource* source : parts_.sources) BONGSU_RETURN_IF_ERROR(source->Poll(0, &none));
    BONGSU_CHECK_MSG(none.records.empty() && none.marks.empty() && none.bundles.empty(),
                     "a paused source handed something out");
  }
  return absl::OkStatus();
}

void Engine::Issue(std::unique_ptr<Batch> batch) {
  BONGSU_CHECK_MSG(issued_ - LowestApplied() < kBatchesInFlight, "a batch without a slot");
  batch->number = ++issued_;
  batch->epoch = epoch_;
  if (++batches_in_epoch_ == 1) uncommitted_.emplace_back(epoch_, parts_.clock->MonotonicNs());
  {
    std::lock_guard lock(mutex_);
    to_decode_.push_back(std::move(batch));
    ++wakes_;
  }
  changed_.notify_all();
}

bool Engine::EpochDue(int64_t now) const {
  // Between two assignments there is nobody who may commit, and nothing to commit.
  if (shared() && !(ownership_->assigned() && parts_.shared->source->member())) return false;
  if (EpochsInFlight() > kEpochsInFlight) return false;
  // An empty epoch costs nothing; but what was read before the quiet must reach a checkpoint too.
  if (batches_in_epoch_ == 0 && gained_.empty())
    return uncheckpointed_ && now - last_checkpoint_ >= config_.state.checkpoint_interval;
  return now - epoch_started_ >= config_.epoch ||
         (parts_.exactly_once.log != nullptr && StateFull());
}

bool Engine::Grown() const {
  return std::any_of(parts_.sources.begin(), parts_.sources.end(),
                     [](const RecordSource* source) { return source->grown(); });
}

std::vector<Position> Engine::SourcePositions() const {
  std::vector<Position> positions;
  for (RecordSource* source : parts_.sources) {
    const std::vector<Position> own = source->positions();
    positions.insert(positions.end(), own.begin(), own.end());
  }
  return positions;
}

void Engine::ForgetCommitted() {
  while (!uncommitted_.empty() && uncommitted_.front().first <= committer_->committed())
    uncommitted_.pop_front();
}

void Engine::CloseEpoch(int64_t now, bool final) {
  ForgetCommitted();
  const bool due = now - last_checkpoint_ >= config_.state.checkpoint_interval ||
                   DirtyBytes() >= static_cast<size_t>(config_.state.checkpoint_bytes);
  // With a changelog the committer decides when the store is written; a clean end leaves it whole.
  const bool checkpoint = final || (parts_.exactly_once.log == nullptr && due &&
                                    checkpoint_in_flight_ <= committer_->persisted());
  auto barrier = std::make_unique<Batch>();
  barrier->epoch_end = true;
  barrier->freeze = checkpoint || parts_.exactly_once.log != nullptr;
  EpochEnd end;
  end.epoch = epoch_;
  end.checkpoint = checkpoint;
  if (barrier->freeze) {
    end.positions = end.read_positions = SourcePositions();
    end.positions.insert(end.positions.end(), unread_positions_.begin(), unread_positions_.end());
    if (shared()) end.shard_positions = parts_.shared->source->shard_positions();
    end.gained = std::exchange(gained_, {});
  }
  if (checkpoint) {
    checkpoint_in_flight_ = epoch_;
    last_checkpoint_ = now;
  }
  uncheckpointed_ = !barrier->freeze;
  Issue(std::move(barrier));
  committer_->BeginCommit(std::move(end));
  ++epoch_;
  batches_in_epoch_ = 0;
  epoch_started_ = now;
}

absl::Status Engine::Housekeeping() {
  if (committer_->wants_membership()) {
    // All partitions come from the one Kafka source: exactly-once takes no mixture.
    committer_->GiveMembership(parts_.sources.front()->GetMembership());
  }
  if (auto positions = committer_->TakePersistedPositions(); positions.has_value()) {
    for (RecordSource* source : parts_.sources)
      BONGSU_RETURN_IF_ERROR(source->Committed(*positions));
  }
  if (absl::Status status = committer_->status(); !status.ok()) {
    Fail(status);
    return status;
  }
  const int64_t now = parts_.clock->MonotonicNs();
  if (now - last_tick_ >= kTickNs) {
    last_tick_ = now;
    if (on_tick) on_tick();
  }
  return absl::OkStatus();
}

absl::Status Engine::PollSources(bool* got, bool* finished) {
  *got = false;
  *finished = true;
  for (RecordSource* source : parts_.sources) {
    if (source->finished()) continue;
    *finished = false;
    auto batch = std::make_unique<Batch>();
    // With several kinds of sources none may make the others wait.
    const DurationNs wait = parts_.sources.size() == 1 ? kPollWaitNs : kMillisecondNs;
    const absl::Status status = source->Poll(wait, batch.get());
    // What was read before a failure is good and stays in order; the error stops us behind it.
    if (!batch->records.empty() || !batch->marks.empty() || !batch->bundles.empty()) {
      *got = true;
      Issue(std::move(batch));
    }
    BONGSU_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

absl::Status Engine::ReadLoop(const std::atomic<bool>& stop) {
  const auto paused = [&] { return (parts_.pause != nullptr && parts_.pause->load()) || Grown(); };
  while (!stop.load() && !paused() && !failed_.load(std::memory_order_acquire)) {
    BONGSU_RETURN_IF_ERROR(WaitForRoom(stop));
    if (!HasRoom()) continue;  // it was told to stop
    bool got = false;
    bool finished = false;
    BONGSU_RETURN_IF_ERROR(PollSources(&got, &finished));
    if (shared()) {
      BONGSU_RETURN_IF_ERROR(ownership_->Serve(stop));
      finished = SharedEnded();
    }
    const int64_t now = parts_.clock->MonotonicNs();
    if (EpochDue(now) && issued_ - LowestApplied() < kBatchesInFlight)
      CloseEpoch(now, /*final=*/false);
    BONGSU_RETURN_IF_ERROR(Housekeeping());
    if (finished) return absl::OkStatus();
    BONGSU_RETURN_IF_ERROR(WatchSources(now));
  }
  return Failure();
}

absl::Status Engine::Finish() {
  // In the middle of a rebalance everything that was read is committed already.
  if (shared() && !ownership_->assigned()) return absl::OkStatus();
  if (shared() && !parts_.shared->source->member()) {
    return absl::AbortedError(
        "the group has dropped us: what was read since the last commit is read again");
  }
  while (issued_ - LowestApplied() >= kBatchesInFlight && !failed_.load()) Await();
  if (failed_.load(std::memory_order_acquire)) return Failure();
  CloseEpoch(parts_.clock->MonotonicNs(), /*final=*/true);
  BONGSU_RETURN_IF_ERROR(AwaitCommits());
  return Housekeeping();  // the last positions, for the group's commit
}

// Of all epochs that were closed.
absl::Status Engine::AwaitCommits() {
  while (EpochsInFlight() > 1 && !failed_.load()) {
    Await();
    BONGSU_RETURN_IF_ERROR(Housekeeping());
  }
  return Failure();
}

// Where a log ended when we looked: a crash, or a recovery, before the first commit would begin at
// a later end, and what was read in between would be skipped.
absl::Status Engine::CommitPlaces() {
  if (std::none_of(parts_.sources.begin(), parts_.sources.end(),
                   [](const RecordSource* source) { return source->begins_at_end(); }))
    return absl::OkStatus();
  // Without transactions Start has closed the epoch.
  if (parts_.exactly_once.log != nullptr) CloseEpoch(parts_.clock->MonotonicNs(), /*final=*/false);
  return AwaitCommits();
}

absl::Status Engine::Run(const std::atomic<bool>& stop) {
  absl::Status status = CommitPlaces();
  if (status.ok()) status = ReadLoop(stop);
  // A source that failed leaves everything read before it; commit that, then report the failure.
  if (Failure().ok() && !absl::IsFailedPrecondition(status) && !absl::IsAborted(status)) {
    const absl::Status finish = Finish();
    if (status.ok()) status = finish;
  }
  {
    std::lock_guard lock(mutex_);
    done_ = true;
    ++wakes_;
  }
  changed_.notify_all();
  for (auto& worker : workers_) {
    if (worker->thread.joinable()) worker->thread.join();
  }
  committer_->Stop();
  if (ownership_ != nullptr) ownership_->Stop();
  return status;
}

// Between two batches, on the worker's thread.
void Engine::Publish(Worker& worker, uint64_t view) {
  worker.view = view;
  std::lock_guard lock(worker.published_mutex);
  worker.published = worker.counters;
  worker.published.Merge(worker.shards->counters());
  worker.published_state = worker.shards->state_counters();
  const Watermarks& watermarks = worker.shards->watermarks();
  worker.source_watermarks = worker.shards->SourceWatermarks();
  worker.partitions = watermarks.partitions();
}

EngineTotals Engine::CommitterTotals() const {
  EngineTotals totals;
  if (committer_ != nullptr) {  // null when Start failed
    totals.epochs = committer_->epochs();
    totals.checkpoints = committer_->checkpoints();
    totals.unsendable = committer_->unsendable();
    totals.trims_failed = committer_->trims_failed();
    totals.output_backlog_bytes_peak = committer_->backlog_bytes_peak();
    totals.commit_times = committer_->commit_times();
  }
  totals.waits = waits_;
  totals.holds = holds_;
  totals.reader_waits = std::accumulate(waits_.begin(), waits_.end(), uint64_t{0});
  std::vector<size_t> ports;
  for (const OperatorPlan& op : plan_.operators) ports.push_back(op.port_source.size());
  totals.counters = RunCounters(config_.sources.size(), ports);
  for (const auto& worker : workers_)
    totals.state_memory_bytes += worker->memory_bytes.load(std::memory_order_relaxed);
  if (ownership_ != nullptr) totals.ownership = ownership_->counters();
  return totals;
}

EngineTotals Engine::Totals() const {
  EngineTotals totals = CommitterTotals();
  for (const auto& worker : workers_) {
    totals.counters.Merge(worker->counters);
    totals.counters.Merge(worker->shards->counters());
    AddTo(&totals.state, worker->shards->state_counters());
  }
  return totals;
}

EngineView Engine::View() {
  EngineView view;
  view.totals = CommitterTotals();
  for (const auto& worker : workers_) {
    std::lock_guard lock(worker->published_mutex);
    view.totals.counters.Merge(worker->published);
    AddTo(&view.totals.state, worker->published_state);
    // All threads agree on watermarks; the one that is furthest behind is the one to show.
    if (worker->source_watermarks.empty()) continue;
    if (view.source_watermarks.empty()) view.partitions = worker->partitions;
    if (worker->time.keeps_alarms) view.source_alarms = worker->time.alarms;
    view.source_watermarks.resize(worker->source_watermarks.size(), kMaxEventTime);
    for (size_t i = 0; i < view.source_watermarks.size(); ++i) {
      view.source_watermarks[i] = std::min(view.source_watermarks[i], worker->source_watermarks[i]);
    }
  }
  for (RecordSource* source : parts_.sources) {
    for (const SourceProgress& one : source->Progress()) view.progress.push_back(one);
  }
  for (const auto& worker : workers_)
    view.state_dirty_bytes += worker->dirty_bytes.load(std::memory_order_relaxed);
  view.batches_in_flight = issued_ - LowestApplied();
  view.output_backlog_bytes = committer_->backlog_bytes();
  view.paused = backpressure_;
  view.held = held_;
  ForgetCommitted();
  if (!uncommitted_.empty())
    view.uncommitted_ns = parts_.clock->MonotonicNs() - uncommitted_.front().second;
  view_.fetch_add(1, std::memory_order_relaxed);
  Wake();
  return view;
}

std::string_view WaitReasonName(WaitReason reason) {
  constexpr std::array<std::string_view, kWaitReasons> kNames = {"batches", "outputs", "state"};
  return kNames[static_cast<size_t>(reason)];
}

void EngineTotals::Merge(const EngineTotals& earlier) {
  if (counters.sources.empty())
    counters = earlier.counters;
  else
    counters.Merge(earlier.counters);
  AddTo(&state, earlier.state);
  epochs += earlier.epochs;
  checkpoints += earlier.checkpoints;
  unsendable += earlier.unsendable;
  trims_failed += earlier.trims_failed;
  output_backlog_bytes_peak =
      std::max(output_backlog_bytes_peak, earlier.output_backlog_bytes_peak);
  reader_waits += earlier.reader_waits;
  holds += earlier.holds;
  for (size_t i = 0; i < waits.size(); ++i) waits[i] += earlier.waits[i];
  commit_times.Merge(earlier.commit_times);
  ownership.Merge(earlier.ownership);
  state_memory_bytes = std::max(state_memory_bytes, earlier.state_memory_bytes);
}

}  // namespace bongsu
