#include "operators/sigma/correlation_aggregate.h"

#include <fmt/format.h>

#include <algorithm>

#include "operators/sigma/correlation_sliding.h"
#include "operators/sigma/correlation_tiled.h"

namespace bongsu::sigma {
namespace {

void CheckEmit(const AggregateSpec& spec, Diagnostics& diagnostics) {
  const CorrelationOptions& options = spec.options();
  if (!options.early_asked || (!spec.tiled() && spec.early())) return;
  const char* why = spec.tiled()       ? "its windows are judged when they close"
                    : options.reset    ? "with 'reset' it hangs on the order which events count"
                    : options.suppress ? "with 'suppress' it hangs on the order which come first"
                                       : "later events could make it false";
  diagnostics.Error(spec.correlation().where, "'emit: early' cannot be had here",
                    fmt::format("{}: leave it out", why));
}

void CheckOptions(const AggregateSpec& spec, Diagnostics& diagnostics) {
  const CorrelationRule& rule = spec.correlation();
  const CorrelationOptions& options = spec.options();
  if (rule.type == CorrelationType::kValuePercentile && !rule.percentile)
    diagnostics.Error(rule.condition_where, "value_percentile needs 'percentile'",
                      "for example condition: {field: bytes, percentile: 95, gte: 1000}");
  if (spec.comparisons().least() > options.events_max && rule.type == CorrelationType::kEventCount)
    diagnostics.Error(rule.condition_where, "the condition asks for more than 'events_max' events",
                      "raise correlation.bongsu.events_max");
  // Without group-by there are windows without events, where they follow one another without gaps.
  const bool may_be_empty = rule.group_by.empty() && options.window == CorrelationWindow::kSliding;
  if (spec.grows() && !may_be_empty && !SomeCountMeets(rule.comparisons, 1))
    diagnostics.Error(rule.condition_where, "no window with an event can meet this condition",
                      "windows without events are judged without group-by, and where they follow "
                      "one another without gaps (no bongsu.window)");
  // A key that would change nothing is a mistake.
  const auto refuse = [&](const char* key, const char* why) {
    if (const Node* node = rule.extensions.Find(key); node != nullptr)
      diagnostics.Error(node->where, fmt::format("'{}' has no use here", key), why);
  };
  if (spec.tiled()) refuse("reset", "windows that follow one another share no events");
  if (spec.tiled() && options.window != CorrelationWindow::kSession)
    refuse("max_episode", "each of its windows is an incident of its own");
  if (rule.type != CorrelationType::kValueCount) refuse("values_max", "it is for value_count");
  refuse("tie", "it is for temporal_ordered");
}

}  // namespace

AggregateSpec::AggregateSpec(CorrelationParts parts, Comparisons comparisons)
    : CorrelationSpec(std::move(parts)), comparisons_(std::move(comparisons)) {}

std::unique_ptr<CorrelationSpec> AggregateSpec::Create(CorrelationParts parts,
                                                       Diagnostics& diagnostics) {
  const int errors = diagnostics.errors();
  Comparisons comparisons(parts.correlation, diagnostics);
  auto spec = std::make_unique<AggregateSpec>(std::move(parts), std::move(comparisons));
  CheckEmit(*spec, diagnostics);
  CheckOptions(*spec, diagnostics);
  if (diagnostics.errors() > errors) return nullptr;
  return spec;
}

bool AggregateSpec::tiled() const {
  return options().window != CorrelationWindow::kSliding || !comparisons_.only_lower_bounds();
}

bool AggregateSpec::grows() const {
  return correlation().type == CorrelationType::kEventCount ||
         correlation().type == CorrelationType::kValueCount;
}

EpisodeOptions AggregateSpec::episodes() const {
  EpisodeOptions episodes = CorrelationSpec::episodes();
  episodes.noted = grows();
  episodes.early = early();
  if (!grows()) episodes.step = std::max<DurationNs>(1, timespan() / 16);
  if (tiled()) episodes.window_max = WindowMax();
  return episodes;
}

void AggregateSpec::Describe(const Measured& value, std::string* text, Incident* incident) const {
  *text = MeasuredText(value);
  incident->value = *text;
  incident->value_error = value.error;
  incident->threshold = threshold();
}

DurationNs AggregateSpec::result_delay() const { return tiled() ? 0 : episodes().step; }

std::string AggregateSpec::Why(const Incident& incident) const {
  const CorrelationRule& rule = correlation();
  std::string what =
      fmt::format("{} event{}", incident.event_count, incident.event_count == 1 ? "" : "s");
  std::string field;
  for (const PlacedText& one : rule.fields) field += (field.empty() ? "" : ", ") + one.text;
  std::string measured = std::string(CorrelationTypeName(rule.type));
  if (!field.empty()) measured += " of " + field;
  if (rule.percentile) measured += fmt::format(" ({:g} %)", *rule.percentile);
  const std::string value =
      incident.value_error > 0
          ? fmt::format("about {} (+/- {:.1f} %)", incident.value, 100 * incident.value_error)
          : std::string(incident.value);
  return fmt::format("{}{}: {} is {} {} ({})", what, GroupText(incident), measured, value,
                     WindowText(), threshold());
}

std::unique_ptr<Operator> AggregateSpec::NewInstance() const {
  if (tiled()) return MakeTiledCorrelation(*this);
  return MakeSlidingCorrelation(*this);
}

}  // namespace bongsu::sigma
