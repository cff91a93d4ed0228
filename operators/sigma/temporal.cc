#include "operators/sigma/temporal.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "operators/sigma/temporal_operator.h"
#include "operators/sigma/temporal_windows.h"

namespace bongsu::sigma {
namespace {

bool IsTiled(const CorrelationOptions& options, const TemporalCondition& condition) {
  return options.window != CorrelationWindow::kSliding || condition.kind() == TemporalKind::kTiles;
}

// Windows without events are there where one group is there without any, and its windows have no
// gaps between them.
bool MayBeEmpty(const CorrelationRule& rule, const CorrelationOptions& options) {
  return rule.group_by.empty() && options.window == CorrelationWindow::kSliding;
}

class TemporalSpec : public CorrelationSpec {
 public:
  TemporalSpec(CorrelationParts parts, TemporalCondition condition)
      : CorrelationSpec(std::move(parts)), settings_{.condition = std::move(condition)} {
    for (size_t port = 0; port < inputs().size(); ++port)
      settings_.port_rules.push_back(static_cast<uint16_t>(reference(port)));
    settings_.span = timespan();
    settings_.ties = options().tie_time ? TieOrder::kApart : TieOrder::kPosition;
    settings_.events_max = options().events_max;
    settings_.groups_max = options().groups_max;
    settings_.episodes = episodes();
    // Where nothing hangs on it, once a timespan: most episodes end at their first settling.
    settings_.episodes.quiet_step = timespan();
    if (IsTiled(options(), settings_.condition) ||
        settings_.condition.kind() != TemporalKind::kPositive)
      settings_.episodes.window_max = WindowMax();
    if (!correlation().expression.text.empty()) return;
    settings_.threshold = threshold();
    if (settings_.threshold.empty())
      settings_.threshold = fmt::format("gte {}", correlation().rules.size());
  }

  DurationNs result_delay() const override {
    const bool waits = tiled() || settings_.condition.kind() != TemporalKind::kPositive;
    return waits ? 0 : settings_.episodes.step;
  }
  DurationNs first_result_delay() const override {
    return std::max(result_delay(), settings_.episodes.quiet_step);
  }
  bool follows_incidents() const override { return true; }
  std::unique_ptr<Operator> NewInstance() const override {
    if (!tiled()) return std::make_unique<TemporalOperator>(*this, settings_);
    TileOptions tiles;
    tiles.window = options().window;
    tiles.span = timespan();
    tiles.session_max = options().max_episode;
    tiles.more_can_break = settings_.condition.kind() != TemporalKind::kPositive;
    tiles.empty_windows =
        MayBeEmpty(correlation(), options()) && settings_.condition.HoldsWithoutEvents();
    return MakeTemporalWindows(*this, tiles, settings_);
  }
  bool tiled() const override { return IsTiled(options(), settings_.condition); }
  std::string Why(const Incident& incident) const override;

 private:
  TemporalSettings settings_;
};

// "Logon failed (3), Logon (1)": how many events of each rule; without numbers where not all are
// listed.
std::string TemporalSpec::Why(const Incident& incident) const {
  std::vector<size_t> counts(correlation().rules.size(), 0);
  std::vector<std::string> titles(counts.size());
  std::vector<bool> from_below(counts.size());
  std::vector<size_t> seen;  // in the order of their first events
  for (const Evidence& evidence : incident.evidence) {
    const size_t rule = reference(evidence.port);
    if (counts[rule]++ > 0) continue;
    seen.push_back(rule);
    const InputSpec& input = inputs()[evidence.port];
    from_below[rule] = input.from_operator;
    titles[rule] = input.title.empty() ? input.name : input.title;
  }
  std::string list;
  for (size_t rule : seen) {
    list += (list.empty() ? "" : ", ") + titles[rule];
    // Of a correlation below these are the events that it went on for.
    if (incident.evidence_dropped == 0 && !from_below[rule])
      list += fmt::format(" ({})", counts[rule]);
  }
  const std::string& expression = correlation().expression.text;
  const std::string what =
      expression.empty() ? fmt::format("{} of {} rules", seen.size(), correlation().rules.size())
                         : fmt::format("'{}'", expression);
  return fmt::format("{} {}{}{}{}{}", what, WindowText(),
                     settings_.condition.ordered() ? ", in order," : "", GroupText(incident),
                     list.empty() ? "" : ": ", list);
}

// What the type has no use for would be a wish that is not granted.
void CheckOptions(const CorrelationParts& parts, const TemporalCondition& condition,
                  Diagnostics& diagnostics) {
  const CorrelationOptions& options = parts.options;
  if (!condition.HoldsWithEvents() && !MayBeEmpty(parts.correlation, options))
    diagnostics.Error(parts.correlation.condition_where,
                      "no window with an event can meet this condition",
                      "windows without events are judged without group-by, and where they follow "
                      "one another without gaps (no bongsu.window)");
  const Node& written = parts.correlation.extensions;
  const std::string_view type = CorrelationTypeName(parts.correlation.type);
  const auto refuse = [&](const char* key, const std::string& why) {
    const Node* node = written.is_map() ? written.Find(key) : nullptr;
    if (node != nullptr)
      diagnostics.Error(node->where, fmt::format("{} has no use for '{}'", type, key), why);
  };
  refuse("values_max", "value_count has one");
  if (!condition.ordered()) refuse("tie", "temporal_ordered has one");
  const bool session = options.window == CorrelationWindow::kSession;
  if (IsTiled(options, condition) || condition.kind() != TemporalKind::kPositive) {
    const std::string why = "its windows are decided one by one, when each has closed";
    if (options.early_asked) refuse("emit", why);
    refuse("reset", why);
    if (!session) refuse("max_episode", why);
  } else if (options.early_asked && (options.reset || options.suppress > 0)) {
    refuse("emit", "reset and suppress are decided at the watermark");
  }
}

}  // namespace

std::unique_ptr<CorrelationSpec> MakeTemporal(CorrelationParts parts, Diagnostics& diagnostics) {
  const int errors = diagnostics.errors();
  std::optional<TemporalCondition> condition = CompileTemporal(parts.correlation, diagnostics);
  if (condition) CheckOptions(parts, *condition, diagnostics);
  if (diagnostics.errors() > errors) return nullptr;
  return std::make_unique<TemporalSpec>(std::move(parts), *std::move(condition));
}

}  // namespace bongsu::sigma
