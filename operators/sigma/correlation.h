// File: operators/sigma/correlation.h
//
// A Sigma correlation as an operator's spec: its inputs (one port for each rule that it refers to
// and each source that has that rule's events, or for each correlation below it), its options, and
// its identity. The operators of the types derive from it:
//
//   class MySpec : public CorrelationSpec {
//    public:
//     using CorrelationSpec::CorrelationSpec;
//     std::string Why(const Incident& incident) const override;
//     std::unique_ptr<Operator> NewInstance() const override;
//   };
//
// and `MakeCorrelation` picks the class by `type`. What its author wrote is in `rule()` of the
// base (title, level, tags, metadata) and in `correlation()` (group-by, condition, expression).
//
// Thread-safety: immutable after creation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "operators/config/option.h"
#include "operators/operator.h"
#include "operators/sigma/correlation_inputs.h"
#include "operators/sigma/episode_book.h"
#include "operators/sigma/rule.h"
#include "operators/sigma/rule_set.h"

namespace bongsu::sigma {

enum class CorrelationWindow : uint8_t { kSliding, kTumbling, kSession };

// Our own extensions: the map `bongsu:` within `correlation:`.
struct CorrelationOptions {
  CorrelationWindow window = CorrelationWindow::kSliding;
  bool early = true;         // emit: early
  bool early_asked = false;  // `emit: early` is written
  bool reset = false;
  DurationNs max_episode = 0;
  DurationNs suppress = 0;
  bool keep_missing = false;
  size_t evidence_max = 0;
  size_t events_max = 0;
  size_t groups_max = 0;
  size_t values_max = 0;
  bool tie_time = false;  // temporal_ordered: events of one nanosecond are in no order
};
// The table of those keys; deploy/CONFIG.md has them from here.
const std::vector<OptionDef>& CorrelationOptionDefs();

// What a spec is made of.
struct CorrelationParts {
  CorrelationRule correlation;
  RuleInfo info;
  bool mute = false;
  CorrelationOptions options;
  std::vector<CorrelationInput> inputs;
  std::vector<ResultField> results;
  std::string semantic_hash;
};

class CorrelationSpec : public OperatorSpec {
 public:
  explicit CorrelationSpec(CorrelationParts parts);

  const CorrelationRule& correlation() const { return correlation_; }
  const CorrelationOptions& options() const { return options_; }
  DurationNs timespan() const { return correlation_.timespan; }
  // The index into CorrelationRule::rules that a port belongs to.
  size_t reference(size_t port) const { return references_[port]; }
  // Where a port's payload has condition.field, in its order: indices into InputSpec::fields.
  std::span<const int> value_positions(size_t port) const { return value_positions_[port]; }
  // How many fields the payloads of a port have in front of the columns of their rows; 0 where they
  // are of a source's events (DigestReader::Read).
  size_t fields_before_columns(size_t port) const {
    return inputs_[port].from_operator ? inputs_[port].fields.size() : 0;
  }
  // "gte 10", "gte 10, lte 20"; empty without comparisons.
  const std::string& threshold() const { return threshold_; }
  // Windows follow one another, and each is judged when it closes
  // (operators/sigma/tiled_windows.h).
  virtual bool tiled() const = 0;
  // What the options say of incidents; of conditions that more events cannot make false.
  EpisodeOptions episodes() const;

 protected:
  // "with the same User, host (joe, h1)", or "" without group-by.
  std::string GroupText(const Incident& incident) const;
  // "within 10s", or of a session how far its events may be from one another.
  std::string WindowText() const;
  // The longest window that is judged when it closes.
  DurationNs WindowMax() const;

 private:
  CorrelationRule correlation_;
  CorrelationOptions options_;
  std::vector<size_t> references_;
  std::vector<std::vector<int>> value_positions_;
  std::string threshold_;
};

// What can be said of a correlation before its inputs are known: its options and its condition. The
// rule set asks for each, so that a mistake refuses the rule and no more.
void CheckCorrelation(const CorrelationRule& rule, Diagnostics& diagnostics);

// The spec of one plan. `hashes`: by entry, the semantic hash of what it may refer to. Null after
// errors, all of which are in `diagnostics`.
std::unique_ptr<CorrelationSpec> MakeCorrelation(const RuleSet& rules, CorrelationPlan plan,
                                                 std::span<const std::string> hashes,
                                                 Diagnostics& diagnostics);

}  // namespace bongsu::sigma
