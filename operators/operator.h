// File: operators/operator.h
//
// The interface of a correlation operator: a stateful computation over keyed events in event time.
// An operator knows no Kafka, no RocksDB, no thread and no clock; the framework gives it inputs
// that its selections chose, in batches, and state handles, and takes its incidents.
//
// Two classes make an operator type:
//   OperatorSpec  what the configuration says, validated and immutable; shared by all shards.
//   Operator      one running instance for one shard; used by one thread.
//
// A conversation:
//   spec = registry.Create(node, ...)       at load; every mistake is reported at once
//   op = spec->NewInstance(); op->Open(ctx) once for each shard: asks ctx for its state handles
//   loop:
//     op->Process(batch, ctx)               inputs in any order within the allowed lateness
//     (the framework moves the watermark)
//     op->OnTimer(timer, ctx)               for each timer whose time the closing time has passed
//     op->OnWatermark(ctx)                  after the timers: expire what can no longer matter
//
// Rules that the harness (tests/testing/operator_harness.h) checks by itself:
//   1. Results do not depend on where batches are cut.
//   2. Results do not depend on the order of arrival within the allowed lateness.
//   3. Nothing is kept outside the state handles: a new instance over restored state goes on as the
//      old one would have.
//   4. Views live for the call only: what is kept is copied (the handles copy).
//
// How to add one, step by step: operators/README.md. Model: operators/interval_join.cc.
//
// Errors: state I/O comes back as absl::Status and is returned as it is; the framework decides what
// it means (stop and restore). Bad data never reaches an operator. A broken invariant crashes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "operators/config/option.h"
#include "operators/event.h"
#include "operators/incident.h"
#include "operators/sigma/selection.h"
#include "state/shard_state.h"
#include "state/types.h"

namespace bongsu {

namespace sigma {
struct Metadata;  // operators/sigma/rule.h
}

// One keyed event for one input of one operator.
struct Input {
  EventTimeNs time = 0;
  RecordSeq seq = 0;         // source partition and offset: the tie-breaker, and the evidence
  uint8_t port = 0;          // index into OperatorSpec::inputs()
  std::string_view key;      // canonical (operators/key.h)
  std::string_view payload;  // the carried fields (operators/payload.h), InputSpec::fields order
};

// What one input (a "side" of a join) asks of its source.
struct InputSpec {
  std::string name;    // "left", "right"
  std::string title;   // of the Sigma rule whose events come by it; for people, may be empty
  std::string source;  // a source's name, or an operator's whose incidents it takes
  bool from_operator = false;  // `source` names an operator of a lower level
  std::vector<std::string> key_fields;
  bool cased = false;
  bool keep_missing = false;        // a missing part of the key is a group of its own
  std::vector<std::string> fields;  // carried into state and alerts, in payload order
  std::shared_ptr<const sigma::Selection> selection;  // which events take part; null for all
};

// What alerts say of the rule.
struct RuleInfo {
  std::string name;   // the operator's name in the configuration; unique
  std::string title;  // for people; default: the name
  std::string description;
  std::string type;               // "interval_join"
  std::string level = "medium";   // Sigma's levels: informational low medium high critical
  std::vector<std::string> tags;  // Sigma's tags: attack.t1059.001, attack.execution
  // Of a correlation: what the parts of an incident's key are called, in order.
  std::vector<std::string> group_by;
  // Of a Sigma rule: all that it says about itself; null for an operator of the configuration.
  std::shared_ptr<const sigma::Metadata> metadata;
};

// A field that a result has from each of its events: where each input carries it.
struct ResultField {
  std::string name;            // as the readers' inputs call it
  std::vector<int> positions;  // by port: index into InputSpec::fields, or -1
};

// What a result says of its incident.
enum class ResultKind : uint8_t {
  kBegun,   // it is there; its evidence is that of its first window
  kGoesOn,  // it has these further events
};

class OperatorContext;
class Operator;

// A timer that fell due.
struct DueTimer {
  EventTimeNs time = 0;
  std::string_view key;  // as it was set
  std::string_view data;
};

class OperatorSpec {
 public:
  virtual ~OperatorSpec() = default;

  const RuleInfo& rule() const { return rule_; }
  const std::vector<InputSpec>& inputs() const { return inputs_; }
  // Stable over restarts and machines: SHA-256 (hexadecimal) of the normalised rule without its
  // prose. State belongs to it: another hash is another rule.
  const std::string& semantic_hash() const { return semantic_hash_; }
  // Incidents go to the alerts topic (else only to operators of a higher level).
  bool emits_alerts() const { return emits_alerts_; }
  // How far a result's time may lie behind the closing time when it is handed to a higher level;
  // that level's watermark for it is `closing time - result_delay()`.
  virtual DurationNs result_delay() const { return 0; }
  // The same of what it began before it had readers (a reload may bring them).
  virtual DurationNs first_result_delay() const { return result_delay(); }
  // Readers can be given its incidents.
  virtual bool has_results() const { return true; }
  // Of the operators below it takes also what prolongs an incident (ResultKind::kGoesOn): it asks
  // whether there is one within a time, not how many there are.
  virtual bool follows_incidents() const { return false; }
  // What readers get of the evidence. Empty: of each input its first event's fields, called
  // "<input>.<field>". Else these fields of each event, which stay together: a reader's group takes
  // the events that have its key (pipeline/result_rows.h).
  const std::vector<ResultField>& pooled_results() const { return pooled_results_; }
  // One sentence for people: why these events are an incident.
  virtual std::string Why(const Incident& incident) const = 0;
  virtual std::unique_ptr<Operator> NewInstance() const = 0;

 protected:
  // The operator's own table with the keys that all operators have in front.
  static std::vector<OptionDef> WithCommonOptions(std::vector<OptionDef> own);
  // Reads those common keys (name, title, description, level, tags, alerts).
  void ReadCommon(const OptionReader& reader);

  RuleInfo rule_;
  std::vector<InputSpec> inputs_;
  std::vector<ResultField> pooled_results_;
  std::string semantic_hash_;
  bool emits_alerts_ = true;
};

class Operator {
 public:
  virtual ~Operator() = default;
  // Asks `context` for the state handles; called once, before anything else.
  [[nodiscard]] virtual absl::Status Open(OperatorContext& context) = 0;
  [[nodiscard]] virtual absl::Status Process(std::span<const Input> batch,
                                             OperatorContext& context) = 0;
  // A timer's time has been passed by the closing time.
  [[nodiscard]] virtual absl::Status OnTimer(const DueTimer& timer, OperatorContext& context);
  // The closing time has moved; expire here.
  [[nodiscard]] virtual absl::Status OnWatermark(OperatorContext& context);
};

// What the framework gives an operator. One for each (operator, shard).
class OperatorContext {
 public:
  virtual ~OperatorContext() = default;

  // The state handles of this operator and shard. Ask for each name once, in Open.
  virtual ShardState& state() = 0;
  // The operator's number within the store, for ShardState's calls.
  virtual uint16_t operator_id() const = 0;
  // This operator's timers in this shard; they come back through OnTimer.
  virtual TimerSet& timers() = 0;

  // "No window that ends before this can still change": the operator's watermark (minimum over its
  // sources) minus the largest allowed lateness of its sources.
  virtual EventTimeNs closing_time() const = 0;

  // Older events may never have been handed over: the operator was added to a pipeline that was
  // running, or reading did not begin with the first record. What more events could make false must
  // not be said of a window that begins before. kMinEventTime: nothing is missing.
  virtual EventTimeNs complete_from() const = 0;

  // What the source partition of `seq` is called in identities (IncidentAnchor::origin).
  virtual std::string_view origin(RecordSeq seq) const = 0;

  // Writes the incident to the alerts.
  virtual void Emit(const Incident& incident) = 0;
  // Hands a result to the operators of higher levels that take this one's: kBegun once for each
  // incident, with `time` = the time of the event that completed it; kGoesOn for what follows, to
  // those that follow incidents. No-op where there are none.
  virtual void Forward(const Incident& incident, EventTimeNs time, ResultKind kind) = 0;
  // True when some operator takes this one's results, and when one of them follows incidents.
  virtual bool has_readers() const = 0;
  virtual bool has_followers() const = 0;

  // Adds to the counter `name` of this operator (a literal; shown in the report).
  virtual void Count(const char* name, uint64_t n) = 0;
};

}  // namespace bongsu
