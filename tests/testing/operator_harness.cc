#include "tests/testing/operator_harness.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <deque>
#include <random>

#include "operators/key.h"
#include "operators/payload.h"
#include "operators/sigma/correlation.h"
#include "operators/sigma/rule_binding.h"
#include "state/check.h"

namespace bongsu::testing {

std::vector<std::string_view> Members(std::string_view text) {
  std::vector<std::string_view> members;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.size(), text.find(kArraySeparator, at));
    members.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return members;
}
namespace {

Value ValueOf(std::string_view text, std::deque<std::vector<Value>>* keep) {
  const std::vector<std::string_view> members = Members(text);
  if (members.size() == 1) return Value::String(text);
  std::vector<Value>& array = keep->emplace_back();
  for (const std::string_view member : members) array.push_back(Value::String(member));
  return Value::Array(array);
}

std::string NewStorePath() {
  static int number = 0;
  return fmt::format("/harness/{}", ++number);
}

}  // namespace

std::string FinalIncident::Text() const {
  std::string text = fmt::format("{} {} count {} dropped {} [{}, {}]", id, key, event_count,
                                 evidence_dropped, first_time, last_time);
  for (const auto& [source, offset] : evidence) text += fmt::format(" {}@{}", source, offset);
  if (!value.empty()) text += " value " + value;
  if (!merged_into.empty()) text += " merged into " + merged_into;
  return text;
}

class OperatorHarness::Build : public OperatorBuildContext, public PartitionNames {
 public:
  explicit Build(std::vector<std::string> sources)
      : sources_(std::move(sources)), fields_(sources_.size()) {}
  FieldTable* Fields(std::string_view source, const SourceLocation& where) override {
    for (size_t i = 0; i < sources_.size(); ++i) {
      if (sources_[i] == source) return &fields_[i];
    }
    diagnostics.Error(where, fmt::format("no source '{}'", source));
    return nullptr;
  }
  bool IsOperator(std::string_view) const override { return false; }
  std::string SemanticHash(std::string_view) const override { return ""; }
  std::vector<std::string> DefaultFields(std::string_view) const override { return {}; }
  std::string_view Origin(PartitionId partition) const override { return sources_.at(partition); }
  size_t Index(std::string_view source) const {
    const auto it = std::find(sources_.begin(), sources_.end(), source);
    BONGSU_CHECK_MSG(it != sources_.end(), "an event of an unknown source");
    return static_cast<size_t>(it - sources_.begin());
  }
  FieldTable& fields(size_t source) { return fields_[source]; }
  const std::vector<std::string>& names() const { return sources_; }
  const std::string& name(size_t source) const { return sources_[source]; }

  Diagnostics diagnostics;

 private:
  std::vector<std::string> sources_;
  std::vector<FieldTable> fields_;
};

class OperatorHarness::Output : public OperatorOutput {
 public:
  Output(OperatorHarness& harness, std::map<std::string, FinalIncident>& incidents)
      : harness_(harness), incidents_(incidents) {}
  void Alert(const OperatorSpec&, const Incident& incident) override {
    FinalIncident& one = incidents_[IncidentIdText(incident.id)];
    ++(incident.activity == Activity::kCreate   ? one.creates
       : incident.activity == Activity::kUpdate ? one.updates
                                                : one.closes);
    one.id = IncidentIdText(incident.id);
    one.key = KeyText(incident.key);
    one.event_count = incident.event_count;
    one.evidence_dropped = incident.evidence_dropped;
    one.first_time = incident.first_time;
    one.last_time = incident.last_time;
    one.value = incident.value;
    one.merged_into = incident.merged ? IncidentIdText(incident.merged_into) : "";
    one.evidence.clear();
    for (const Evidence& evidence : incident.evidence) {
      PayloadReader reader(
          evidence.payload);  // walks every byte: a view that was kept too long shows
      ReadPayload(reader);
      one.evidence.emplace_back(harness_.build_->name(SeqPartition(evidence.seq)),
                                SeqOffset(evidence.seq));
    }
    harness_.emitted_.push_back(
        fmt::format("{} {}", static_cast<int>(incident.activity), one.Text()));
  }
  void Forward(const OperatorSpec&, const Incident& incident, EventTimeNs time,
               ResultKind kind) override {
    OperatorHarness::Forwarded& one = harness_.forwarded_.emplace_back();
    one.id = IncidentIdText(incident.id);
    one.time = time;
    one.kind = kind;
    one.key = KeyText(incident.key);
    for (const Evidence& evidence : incident.evidence)
      one.evidence.emplace_back(harness_.build_->name(SeqPartition(evidence.seq)),
                                SeqOffset(evidence.seq));
  }
  bool HasReaders(const OperatorSpec&) const override { return harness_.has_readers_; }
  bool HasFollowers(const OperatorSpec&) const override { return harness_.has_followers_; }
  void Late(const OperatorSpec&, const Input&, DurationNs behind) override {
    EXPECT_GT(behind, 0);
    ++harness_.late_;
  }
  void Count(const OperatorSpec&, const char* name, uint64_t n) override {
    harness_.counters_[name] += n;
  }

 private:
  OperatorHarness& harness_;
  std::map<std::string, FinalIncident>& incidents_;
};

// A store, one shard, and the runner: what a crash throws away, and a restart builds anew.
struct OperatorHarness::Instance {
  Instance(OperatorHarness& harness, const std::string& path, const RunOptions& run,
           OperatorOutput& output) {
    StoreOptions options;
    options.path = path;
    options.application = "harness";
    options.shards = 1;
    options.in_memory = true;
    options.memory_bytes = run.store_memory;
    auto opened = Store::Open(options);
    BONGSU_CHECK_MSG(opened.ok(), std::string(opened.status().message()));
    store = *std::move(opened);
    uint64_t reset = 0;
    auto id = store->OperatorId(harness.spec_->rule().name, harness.spec_->semantic_hash(), &reset);
    BONGSU_CHECK(id.ok() && reset == 0);
    shard = MakeShardState(*store, 0);
    const std::vector<DurationNs> latenesses(harness.spec_->inputs().size(), run.lateness);
    runner = std::make_unique<OperatorRunner>(*harness.spec_, *shard, *id, latenesses, output,
                                              *harness.build_);
    const absl::Status open = runner->Open();
    BONGSU_CHECK_MSG(open.ok(), std::string(open.message()));
  }
  void Checkpoint(EpochId epoch) {
    shard->BeginFreeze(epoch);
    bongsu::Checkpoint checkpoint;
    checkpoint.meta.epoch = epoch;
    checkpoint.changes.push_back(shard->Freeze(runner->operator_id()));
    const absl::Status status = store->Commit(std::move(checkpoint));
    BONGSU_CHECK_MSG(status.ok(), std::string(status.message()));
    shard->OnPersisted(epoch);
  }
  std::unique_ptr<Store> store;
  std::unique_ptr<ShardState> shard;
  std::unique_ptr<OperatorRunner> runner;
};

OperatorHarness::OperatorHarness(const std::string& yaml, std::vector<std::string> sources)
    : build_(std::make_unique<Build>(std::move(sources))) {
  OperatorRegistry registry;
  RegisterAllOperators(registry);
  const std::vector<Node> documents =
      ParseYaml(yaml, "operator.yaml", YamlLimits{}, build_->diagnostics);
  if (documents.size() == 1) {
    const Node* type = documents[0].Find("type");
    const OperatorType* found = type == nullptr ? nullptr : registry.Find(type->scalar);
    if (found != nullptr) spec_ = found->create(documents[0], *build_, build_->diagnostics);
  }
  BONGSU_CHECK_MSG(spec_ != nullptr, build_->diagnostics.Text());
}

OperatorHarness::OperatorHarness(const std::string& rules, const std::string& rule,
                                 std::vector<std::string> sources)
    : build_(std::make_unique<Build>(std::move(sources))) {
  Diagnostics& diagnostics = build_->diagnostics;
  const sigma::RuleSet set = sigma::ParseRuleSet(rules, "rules.yml", {.strict = true}, diagnostics);
  const sigma::LogSourceMap any;
  std::vector<sigma::SourceShape> shapes;
  for (size_t i = 0; i < build_->names().size(); ++i)
    shapes.push_back({build_->names()[i], &any, &build_->fields(i), {}});
  BONGSU_CHECK_MSG(!diagnostics.has_errors(), diagnostics.Text());
  const sigma::RuleBinding binding = sigma::BindRules(set, shapes, diagnostics);
  std::vector<std::string> hashes(set.entries.size());
  for (sigma::CorrelationPlan& plan : sigma::PlanCorrelations(set, binding, shapes, diagnostics)) {
    const uint32_t entry = plan.entry;
    auto spec = sigma::MakeCorrelation(set, std::move(plan), hashes, diagnostics);
    if (spec == nullptr) continue;
    hashes[entry] = spec->semantic_hash();
    if (spec->rule().name == rule) spec_ = std::move(spec);
  }
  BONGSU_CHECK_MSG(spec_ != nullptr && !diagnostics.has_errors(), diagnostics.Text());
}

OperatorHarness::~OperatorHarness() = default;

std::map<std::string, FinalIncident> OperatorHarness::Run(const std::vector<TestEvent>& events,
                                                          const RunOptions& options) {
  size_t i = 0;
  const auto next = [&](TestEvent* event) {
    if (i == events.size()) return false;
    *event = events[i++];
    return true;
  };
  return Run(next, options);
}

std::map<std::string, FinalIncident> OperatorHarness::Run(
    const std::function<bool(TestEvent*)>& next, const RunOptions& options) {
  late_ = 0;
  memory_max_ = 0;
  const std::clock_t begun = std::clock();
  counters_.clear();
  forwarded_.clear();
  emitted_.clear();
  std::map<std::string, FinalIncident> incidents;
  Output output(*this, incidents);
  const std::string path = NewStorePath();
  auto instance = std::make_unique<Instance>(*this, path, options, output);
  // Part of the state from here on.
  if (options.missed != kMinEventTime) {
    EXPECT_TRUE(instance->runner->Missed(options.missed).ok());
  }
  EpochId epoch = 0;
  EventTimeNs newest = kMinEventTime;
  const size_t ports = spec_->inputs().size();
  const auto check = [](const absl::Status& status) {
    BONGSU_CHECK_MSG(status.ok(), std::string(status.message()));
  };
  size_t number = 0;  // of the event
  for (TestEvent event; true;) {
    size_t in_batch = 0;
    std::vector<Input> inputs;
    // Keys and payloads of this batch: freed, and so poisoned under ASan, behind it.
    std::vector<std::unique_ptr<std::string>> bytes;
    for (; in_batch < options.batch && next(&event); ++in_batch, ++number) {
      const size_t source = build_->Index(event.source);
      std::vector<Value> values(static_cast<size_t>(build_->fields(source).size()));
      std::deque<std::vector<Value>> arrays;
      for (const auto& [name, text] : event.fields) {
        const int slot = build_->fields(source).Find(name);
        if (slot >= 0) values[static_cast<size_t>(slot)] = ValueOf(text, &arrays);
      }
      Event decoded;
      decoded.fields = values;
      decoded.time = event.time;
      decoded.has_time = true;
      decoded.seq = PackSeq(static_cast<PartitionId>(source),
                            event.offset >= 0 ? event.offset : static_cast<int64_t>(number));
      newest = std::max(newest, event.time);
      for (size_t port = 0; port < ports; ++port) {
        const InputSpec& spec = spec_->inputs()[port];
        if (spec.source != event.source ||
            (spec.selection != nullptr && !spec.selection->Matches(decoded)))
          continue;
        KeyOptions key;
        key.keep_missing = spec.keep_missing;
        std::vector<int> slots;
        for (const std::string& field : spec.key_fields)
          key.slots.push_back(build_->fields(source).Find(field));
        for (const std::string& field : spec.fields)
          slots.push_back(build_->fields(source).Find(field));
        KeyBuilder builder(key);
        std::string payload;
        EncodePayload(decoded, slots, &payload);
        for (std::string_view one : builder.Build(decoded)) {
          bytes.push_back(std::make_unique<std::string>(one));
          bytes.push_back(std::make_unique<std::string>(payload));
          inputs.push_back({decoded.time, decoded.seq, static_cast<uint8_t>(port),
                            *bytes[bytes.size() - 2], *bytes.back()});
        }
      }
    }
    if (in_batch == 0) break;
    check(instance->runner->Process(inputs));
    for (auto& one : bytes) std::fill(one->begin(), one->end(), '\xee');
    if (options.watermarks)
      check(instance->runner->AdvanceWatermark(std::vector<EventTimeNs>(ports, newest)));
    if (options.crash_between || options.evict_to != SIZE_MAX) {
      instance->Checkpoint(++epoch);
      instance->shard->EvictTo(options.evict_to);
    }
    memory_max_ = std::max(memory_max_, instance->shard->memory_bytes());
    if (options.crash_between) {
      const std::vector<EventTimeNs> watermarks(instance->runner->port_watermarks().begin(),
                                                instance->runner->port_watermarks().end());
      instance.reset();
      RunOptions later = options;
      later.lateness = options.lateness_later.value_or(options.lateness);
      instance = std::make_unique<Instance>(*this, path, later, output);
      instance->runner->RestoreWatermark(watermarks);
    }
  }
  check(instance->runner->AdvanceWatermark(std::vector<EventTimeNs>(ports, kMaxEventTime)));
  cpu_seconds_ = static_cast<double>(std::clock() - begun) / CLOCKS_PER_SEC;
  return incidents;
}

std::vector<TestEvent> ShuffledWithin(const std::vector<TestEvent>& events, DurationNs lateness,
                                      uint64_t seed) {
  std::vector<TestEvent> numbered = events;
  for (size_t i = 0; i < numbered.size(); ++i) {
    if (numbered[i].offset < 0) numbered[i].offset = static_cast<int64_t>(i);
  }
  std::mt19937_64 random(seed);
  // Sorted by time plus a delay below the lateness: nothing arrives later than that behind a newer
  // one.
  std::vector<std::pair<EventTimeNs, size_t>> order;
  for (size_t i = 0; i < numbered.size(); ++i) {
    const auto delay =
        lateness > 0 ? static_cast<DurationNs>(random() % static_cast<uint64_t>(lateness + 1)) : 0;
    order.emplace_back(numbered[i].time + delay, i);
  }
  std::shuffle(order.begin(), order.end(), random);
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<TestEvent> shuffled;
  for (const auto& [time, i] : order) shuffled.push_back(numbered[i]);
  return shuffled;
}

void OperatorHarness::CheckRules(const std::vector<TestEvent>& events, DurationNs lateness,
                                 uint64_t seed, int rounds) {
  RunOptions plain;
  plain.lateness = lateness;
  const std::vector<TestEvent> base = ShuffledWithin(events, 0, seed);
  const auto expected = Run(base, plain);
  std::mt19937_64 random(seed);
  for (int round = 0; round < rounds; ++round) {
    RunOptions options;
    options.lateness = lateness;
    options.batch = 1 + random() % 7;
    options.crash_between = round % 3 == 1;
    if (round % 3 == 2) options.evict_to = 0;
    const auto found =
        Run(ShuffledWithin(events, lateness, seed + static_cast<uint64_t>(round) + 1), options);
    SCOPED_TRACE(fmt::format("seed {} round {} batch {} crash {}", seed, round, options.batch,
                             options.crash_between));
    EXPECT_EQ(late_, 0u);
    EXPECT_EQ(found.size(), expected.size());
    for (const auto& [id, incident] : expected) {
      const auto it = found.find(id);
      if (it == found.end()) {
        ADD_FAILURE() << "missing: " << incident.Text();
        continue;
      }
      EXPECT_EQ(it->second.Text(), incident.Text());
      EXPECT_EQ(it->second.creates, 1);
    }
  }
}

}  // namespace bongsu::testing
