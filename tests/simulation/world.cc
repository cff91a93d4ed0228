#include "tests/simulation/world.h"

#include <fmt/format.h>

#include <algorithm>

#include "pipeline/commit_machine.h"
#include "pipeline/service.h"
#include "tests/simulation/process.h"

namespace bongsu {
namespace {

// A process that has made so many calls in calm weather makes no progress.
constexpr uint64_t kCalmCallsMax = 100'000;
constexpr int kProcessesMax = 60;

class SimClock : public Clock {
 public:
  explicit SimClock(World& world) : world_(world) {}
  int64_t NowNs() const override { return world_.wall_ns(); }
  int64_t MonotonicNs() const override { return world_.cluster().now(); }
  void Sleep(DurationNs pause) const override { world_.Pass(pause); }

 private:
  World& world_;
};

// When a record was written is no part of what it says.
std::string WithoutLoggedTime(std::string value) {
  constexpr std::string_view kName = R"("logged_time":")";
  const size_t at = value.find(kName);
  if (at != std::string::npos) value.erase(at, value.find('"', at + kName.size()) + 1 - at);
  return value;
}

}  // namespace

void Tally::Add(const Tally& other) {
  calls += other.calls;
  processes += other.processes;
  crashes += other.crashes;
  pauses += other.pauses;
  stalls += other.stalls;
  revokes += other.revokes;
  resends += other.resends;
  unknowns += other.unknowns;
  refusals += other.refusals;
  lost_disks += other.lost_disks;
  damages += other.damages;
  fenced += other.fenced;
  recoveries += other.recoveries;
  commits += other.commits;
  renewals += other.renewals;
  flushes += other.flushes;
  gave_up += other.gave_up;
  clocks_set += other.clocks_set;
  backpressures += other.backpressures;
}

std::string Tally::Text() const {
  return fmt::format(
      "{} calls of {} processes: {} epochs committed, {} flushes; {} crashes, {} pauses, {} "
      "stalls, "
      "{} clocks set, {} revocations, {} resends, {} unknown outcomes, {} refusals, {} lost and {} "
      "damaged disks; "
      "{} fenced, {} recoveries, {} given up, {} producers made anew",
      calls, processes, commits, flushes, crashes, pauses, stalls, clocks_set, revokes, resends,
      unknowns, refusals, lost_disks, damages, fenced, recoveries, gave_up, renewals);
}

World::World(uint64_t seed, const Scenario& scenario, const Faults& faults)
    : random_(seed),
      scenario_(scenario),
      faults_(faults),
      cluster_(random_),
      clock_(std::make_unique<SimClock>(*this)) {}

bool World::Fault(uint64_t one_in, uint64_t* count) {
  if (calm_ || one_in == 0 || Pick(one_in) != 0) return false;
  ++*count;
  ++fault_count_;
  return true;
}

bool World::Call(Process& process, uint64_t what) {
  if (process.dead) return false;
  ++tally_.calls;
  trace_ = (trace_ ^ what) * 0x9E3779B97F4A7C15 + static_cast<uint64_t>(cluster_.now());
  cluster_.Pass(static_cast<DurationNs>(Pick(kMillisecondNs)));
  if (process.calls_left > 0 && --process.calls_left == 0) {
    process.stop = true;
    process.dead = !process.graceful;
    if (calm_ && problem_.empty())
      problem_ = fmt::format("no end after {} calls without a fault", kCalmCallsMax);
  }
  if (Fault(faults_.crash, &tally_.crashes)) process.dead = process.stop = true;
  if (process.dead) return false;
  if (Fault(faults_.stall, &tally_.stalls))
    cluster_.Pass(static_cast<DurationNs>(5 + Pick(30)) * kSecondNs);
  if (Fault(faults_.set_clock, &tally_.clocks_set))
    wall_offset_ns_ = (static_cast<int64_t>(Pick(24 * 3600)) - 12 * 3600) * kSecondNs;
  if (Fault(faults_.revoke, &tally_.revokes)) cluster_.Revoke();
  const bool nested = std::count(disk_used_.begin(), disk_used_.end(), true) > 1;
  if (!nested && Fault(faults_.pause, &tally_.pauses)) {
    if (RunProcess(static_cast<int>(Pick(kSimInstances)), 1 + Pick(400), /*nested=*/true))
      cluster_.Pass(static_cast<DurationNs>(Pick(3)) * kSecondNs);
  }
  return true;
}

int World::FreeDisk() {
  int disk = 0;
  do disk = static_cast<int>(Pick(kDisks));
  while (disk_used_[static_cast<size_t>(disk)]);
  return disk;
}

bool World::RunProcess(int instance, uint64_t calls, bool nested) {
  Process process;
  process.instance = instance;
  process.calls_left = calls;
  process.graceful = nested && Pick(2) == 0;
  // Most come back to their disk.
  process.disk = !nested && !disk_used_[0] && Pick(4) != 0 ? 0 : FreeDisk();
  if (Fault(faults_.lose_disk, &tally_.lost_disks)) disk(process.disk) = MemoryDisk();
  return RunProcess(process);
}

bool World::RunProcess(Process& process) {
  ++tally_.processes;
  process.faults_before = fault_count_;
  disk_used_[static_cast<size_t>(process.disk)] = true;
  absl::Status status;
  {
    const std::unique_ptr<Backend> backend = MakeSimBackend(*this, process);
    Service service(*scenario_.configs[static_cast<size_t>(process.instance)], *backend);
    status = service.Open(Service::Mode::kRun);
    if (status.ok()) status = service.Run(process.stop, /*progress=*/false);
    const RunReport report = service.Report();
    tally_.recoveries += report.totals.recoveries;
    tally_.commits += report.totals.epochs;
    tally_.flushes += report.totals.checkpoints;
  }
  disk_used_[static_cast<size_t>(process.disk)] = false;
  if (process.dead) return true;
  if (status.ok()) {
    finished_ = finished_ || !process.stop.load();
    return true;
  }
  if (ExitStatus(status) == 3) {
    ++tally_.fenced;
    if (calm_ && problem_.empty()) problem_ = "fenced, and nobody was there";
    return true;
  }
  // A stop is no time for a recovery: what was not committed is made again after the next start.
  const bool recovers = absl::IsAborted(status) || absl::IsDataLoss(status);
  if (recovers && process.stop.load()) return true;
  // Brokers that do not answer while it starts end a process; whoever watches it starts it again.
  if (absl::IsUnavailable(status) && !calm_) return true;
  // So does one that a storm kept from committing: recoveries in a row are bounded. Without a storm
  // it would be one that cannot go on: few faults make it recover twice.
  const uint64_t faults = fault_count_ - process.faults_before;
  if (status.message().rfind("gave up after", 0) == 0 && faults >= kRecoveriesMax / 2) {
    ++tally_.gave_up;
    return true;
  }
  if (problem_.empty()) problem_ = fmt::format("it ended: {}", std::string(status.message()));
  return false;
}

std::string World::Run() {
  for (int i = 0; i < kProcessesMax && !finished_ && problem_.empty(); ++i)
    RunProcess(Pick(4) == 0 ? 1 : 0, 100 + Pick(3000), /*nested=*/false);
  // Whatever happened: from here on nothing does, and everything must come out.
  calm_ = true;
  for (int disk = 0; disk < 2 && problem_.empty(); ++disk) {
    if (disk == 1) disks_ = {};  // the log alone has it all
    RunProcess(0, kCalmCallsMax, /*nested=*/false);
  }
  if (problem_.empty() && !finished_) problem_ = "it stopped before the end";
  return problem_.empty() ? Compare() : problem_;
}

std::string World::RunOne(uint64_t calls) {
  Process process;
  calm_ = calls == 0;
  process.calls_left = calm_ ? kCalmCallsMax : calls;
  process.graceful = true;
  RunProcess(process);
  cluster_.Pass(2 * kSecondNs);  // the markers of its last transaction
  if (problem_.empty() && calm_ && !finished_) return "it stopped before the end";
  return problem_;
}

std::vector<std::string> World::Outputs() {
  std::vector<std::string> outputs;
  for (const char* topic : {"alerts", "late", "dead"}) {
    for (const auto& record : cluster_.partition({topic, 0}).records) {
      if (record.state == SimCluster::Record::State::kCommitted)
        outputs.push_back(fmt::format("{} {}", topic, WithoutLoggedTime(record.value)));
    }
  }
  std::sort(outputs.begin(), outputs.end());
  return outputs;
}

std::string World::Compare() {
  const std::vector<std::string> got = Outputs();
  const std::vector<std::string>& expected = scenario_.expected;
  if (got == expected || expected.empty()) return "";
  std::vector<std::string> missing;
  std::vector<std::string> invented;
  std::set_difference(expected.begin(), expected.end(), got.begin(), got.end(),
                      std::back_inserter(missing));
  std::set_difference(got.begin(), got.end(), expected.begin(), expected.end(),
                      std::back_inserter(invented));
  return fmt::format("{} of {} outputs missing, {} too many; first: {} / {}", missing.size(),
                     expected.size(), invented.size(), missing.empty() ? "" : missing.front(),
                     invented.empty() ? "" : invented.front());
}

}  // namespace bongsu
