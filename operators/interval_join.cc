// interval_join: pairs the events of two sides that share a key and lie close in event time:
// right.time in [left.time - before, left.time + after]. An inner join, in any order of arrival
// within the allowed lateness.
//
//   emit: pairs      one incident for each (left, right) pair, when the second of the two arrives.
//   emit: incident   one incident for each left event: created at its first partner, and, if more
//   came,
//                    updated once when its window closes, with all of them in (time, seq) order.
//
// State: two time-ordered lists per key. A left event's mark says how far it is: no partner yet,
// one (the incident is out), more (an update is owed at the close). Only the last sets a timer, so
// there is none per record.
//
// How long an entry is kept. C is the closing time; an event on time has time >= C.
//   1. A left L is matched by rights up to L.time + after, and is reported at its close, when
//      C > L.time + after. So left entries with time < C - after are dead.
//   2. A right R is matched by lefts down to R.time - before .. R.time + before: L.time <= R.time +
//   before.
//   3. The report of L at its close looks at rights from L.time - before. The earliest L that is
//   not yet
//      reported has L.time >= C - after, so rights with time < C - after - before are dead (1 and
//      2).
// The timer of L is its last reader and fires before expiry in the same step.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "operators/key.h"
#include "operators/registry.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr uint8_t kLeft = 0;
constexpr uint8_t kRight = 1;

// Marks of left entries (emit: incident).
constexpr uint8_t kNoPartner = 0;
constexpr uint8_t kOnePartner = 1;
constexpr uint8_t kMorePartners = 2;

// A bucket narrower than this only makes more of them.
constexpr DurationNs kBucketNsMin = kSecondNs;

struct Options {
  DurationNs before = 0;
  DurationNs after = 0;
  bool pairs = false;
  // Both sides take the same; results of two operators may have one anchor.
  bool one_source = false;
  bool left_results = false;  // the left side takes an operator's
  bool right_results = false;
  size_t evidence_max = 16;
  size_t matches_max = 10'000;
};

std::vector<OptionDef> SideOptions() {
  return {
      {.path = "source",
       .required = true,
       .example = "firewall",
       .doc = "The source whose events take this side, or an operator whose incidents do."},
      {.path = "key",
       .type = OptionType::kStringList,
       .required = true,
       .example = "dest_ip",
       .doc = "The field, or the list of fields, that must be equal on both sides, in the same "
              "order."},
      {.path = "detection",
       .type = OptionType::kMap,
       .example = "{sel: {EventID: 1}, condition: sel}",
       .doc = "Which events take part, in Sigma's detection syntax. Without it all do."},
      {.path = "fields",
       .type = OptionType::kStringList,
       .example = "[src_ip, alert.signature]",
       .doc = "Fields carried into the alert beside those of the detection and the key and what "
              "the format names as "
              "host, user, addresses and process."},
      {.path = "cased",
       .type = OptionType::kBool,
       .default_text = "false",
       .example = "true",
       .doc = "Compare the key's strings with their case."},
  };
}

std::vector<OptionDef> JoinOptions() {
  return {
      {.path = "left",
       .type = OptionType::kMap,
       .required = true,
       .example = "{source: firewall, key: dest_ip}",
       .doc = "The side that incidents are made for. Keys: source, key, detection, fields, cased."},
      {.path = "right",
       .type = OptionType::kMap,
       .required = true,
       .example = "{source: endpoint, key: host_ip}",
       .doc = "The other side, with the same keys."},
      {.path = "within",
       .type = OptionType::kMap,
       .required = true,
       .example = "{before: 5s, after: 60s}",
       .doc = "How far the right event's time may lie before and after the left event's; bounds "
              "included."},
      {.path = "emit",
       .type = OptionType::kEnum,
       .default_text = "incident",
       .choices = {"incident", "pairs"},
       .example = "pairs",
       .doc = "incident: one for each left event, created at its first partner and updated once "
              "when the window "
              "closes. pairs: one for each pair."},
      {.path = "evidence_max",
       .type = OptionType::kInt,
       .unit = "events",
       .default_text = "16",
       .min = 2,
       .max = 1000,
       .example = "50",
       .doc = "Events listed in one incident; those beyond are counted."},
      {.path = "matches_max",
       .type = OptionType::kInt,
       .unit = "events",
       .default_text = "10000",
       .min = 1,
       .max = 1'000'000,
       .example = "1000",
       .doc = "Partners looked at for one event, so that one flooded key cannot stop the rest; "
              "hits are counted."},
  };
}

std::vector<OptionDef> WithinOptions() {
  return {
      {.path = "before",
       .type = OptionType::kDuration,
       .default_text = "0s",
       .min = 0,
       .max = 366 * kDayNs,
       .example = "5s",
       .doc = "How long before the left event."},
      {.path = "after",
       .type = OptionType::kDuration,
       .default_text = "0s",
       .min = 0,
       .max = 366 * kDayNs,
       .example = "60s",
       .doc = "How long after the left event."},
  };
}

class IntervalJoin : public Operator {
 public:
  IntervalJoin(const OperatorSpec& spec, const Options& options) : spec_(spec), options_(options) {}

  absl::Status Open(OperatorContext& context) override {
    const DurationNs bucket = std::max(kBucketNsMin, options_.before + options_.after);
    BONGSU_ASSIGN_OR_RETURN(left_,
                            context.state().OpenTimeList(context.operator_id(), "left", bucket));
    BONGSU_ASSIGN_OR_RETURN(right_,
                            context.state().OpenTimeList(context.operator_id(), "right", bucket));
    return absl::OkStatus();
  }

  absl::Status Process(std::span<const Input> batch, OperatorContext& context) override {
    while (!batch.empty()) {
      const auto next = batch.first(std::min(batch.size(), kPrefetchRanges));
      batch = batch.subspan(next.size());
      Prefetch(next);
      for (const Input& input : next) {
        if (input.port == kLeft)
          BONGSU_RETURN_IF_ERROR(OnLeft(input, context));
        else
          BONGSU_RETURN_IF_ERROR(OnRight(input, context));
      }
    }
    return absl::OkStatus();
  }

  absl::Status OnTimer(const DueTimer& timer, OperatorContext& context) override;
  absl::Status OnWatermark(OperatorContext& context) override {
    const EventTimeNs closing = context.closing_time();
    left_->ExpireBefore(AddTime(closing, -options_.after));
    right_->ExpireBefore(AddTime(closing, -(options_.after + options_.before)));
    return absl::OkStatus();
  }

 private:
  void Prefetch(std::span<const Input> inputs);
  absl::Status OnLeft(const Input& left, OperatorContext& context);
  absl::Status OnRight(const Input& right, OperatorContext& context);
  absl::Status Known(TimeList* list, const Input& input, OperatorContext& context, bool* known);
  absl::Status SetTimer(std::string_view key, EventTimeNs left_time, RecordSeq left_seq,
                        OperatorContext& context);
  void Create(std::string_view key, const Evidence& left, const Evidence& right,
              OperatorContext& context);
  IncidentId Id(std::string_view key, const Evidence& left, const Evidence* right,
                OperatorContext& context);

  const OperatorSpec& spec_;
  const Options options_;
  TimeList* left_ = nullptr;
  TimeList* right_ = nullptr;
  std::vector<TimeListRange> left_ahead_;  // scratch
  std::vector<TimeListRange> right_ahead_;
};

IncidentId IntervalJoin::Id(std::string_view key, const Evidence& left, const Evidence* right,
                            OperatorContext& context) {
  IncidentAnchor anchor;
  anchor.rule = spec_.rule().name;
  anchor.rule_hash = spec_.semantic_hash();
  anchor.key = key;
  anchor.origin = context.origin(left.seq);
  anchor.offset = SeqOffset(left.seq);
  anchor.time = left.time;
  if (right != nullptr) {
    anchor.second_origin = context.origin(right->seq);
    anchor.second_offset = SeqOffset(right->seq);
    anchor.second_time = right->time;
  }
  return MakeIncidentId(anchor);
}

// A pair, or the first partner of a left event.
void IntervalJoin::Create(std::string_view key, const Evidence& left, const Evidence& right,
                          OperatorContext& context) {
  const std::array<Evidence, 2> evidence = {left, right};
  Incident incident;
  incident.activity = Activity::kCreate;
  incident.id = Id(key, left, options_.pairs ? &right : nullptr, context);
  incident.key = key;
  incident.first_time = std::min(left.time, right.time);
  incident.last_time = std::max(left.time, right.time);
  incident.anchor_time = left.time;
  incident.event_count = 2;
  incident.evidence = evidence;
  context.Emit(incident);
}

absl::Status IntervalJoin::SetTimer(std::string_view key, EventTimeNs left_time, RecordSeq left_seq,
                                    OperatorContext& context) {
  // The timer is due when the window has closed: closing time > left.time + after.
  std::string data(8 + 8, '\0');
  for (int i = 0; i < 8; ++i) {
    data[static_cast<size_t>(i)] =
        static_cast<char>(static_cast<uint64_t>(left_time) >> (8 * (7 - i)));
    data[static_cast<size_t>(8 + i)] = static_cast<char>(left_seq >> (8 * (7 - i)));
  }
  return context.timers().Set(AddTime(left_time, options_.after), key, data);
}

// Each puts into one list and scans the other.
void IntervalJoin::Prefetch(std::span<const Input> inputs) {
  left_ahead_.clear();
  right_ahead_.clear();
  for (const Input& input : inputs) {
    const bool left = input.port == kLeft;
    const TimeListRange own = {input.key, input.time, input.time};
    const TimeListRange other = {input.key,
                                 AddTime(input.time, -(left ? options_.before : options_.after)),
                                 AddTime(input.time, left ? options_.after : options_.before)};
    (left ? left_ahead_ : right_ahead_).push_back(own);
    (left ? right_ahead_ : left_ahead_).push_back(other);
  }
  left_->Prefetch(left_ahead_);
  right_->Prefetch(right_ahead_);
}

// Results of two groups may have one anchor and time (a key that is an array), and here one key:
// they are one event, and what comes of it is there.
absl::Status IntervalJoin::Known(TimeList* list, const Input& input, OperatorContext& context,
                                 bool* known) {
  BONGSU_RETURN_IF_ERROR(
      list->Scan(input.key, input.time, input.time, [&](const TimeListCursor& entry) {
        *known = entry.seq() == input.seq;
        return !*known;
      }));
  if (*known) context.Count("results_joined", 1);
  return absl::OkStatus();
}

absl::Status IntervalJoin::OnLeft(const Input& left, OperatorContext& context) {
  bool known = false;
  if (options_.left_results) BONGSU_RETURN_IF_ERROR(Known(left_, left, context, &known));
  if (known) return absl::OkStatus();
  const Evidence anchor{kLeft, left.time, left.seq, left.payload};
  size_t partners = 0;
  bool capped = false;
  BONGSU_RETURN_IF_ERROR(right_->Scan(
      left.key, AddTime(left.time, -options_.before), AddTime(left.time, options_.after),
      [&](TimeListCursor& entry) {
        if (options_.one_source && entry.seq() == left.seq) return true;  // never with itself
        if (partners >= options_.matches_max) {
          capped = true;
          return false;
        }
        ++partners;
        if (options_.pairs || partners == 1) {
          Create(left.key, anchor, {kRight, entry.time(), entry.seq(), entry.value()}, context);
        }
        return options_.pairs || partners < 2;  // an incident's others are gathered at its close
      }));
  if (capped) context.Count("matches_capped", 1);
  uint8_t mark = kNoPartner;
  if (!options_.pairs && partners > 0) mark = partners == 1 ? kOnePartner : kMorePartners;
  BONGSU_RETURN_IF_ERROR(left_->Put(left.key, {left.time, left.seq}, left.payload, mark));
  const bool timer = mark == kMorePartners || (mark == kOnePartner && context.has_readers());
  return timer ? SetTimer(left.key, left.time, left.seq, context) : absl::OkStatus();
}

absl::Status IntervalJoin::OnRight(const Input& right, OperatorContext& context) {
  bool known = false;
  if (options_.right_results) BONGSU_RETURN_IF_ERROR(Known(right_, right, context, &known));
  if (known) return absl::OkStatus();
  BONGSU_RETURN_IF_ERROR(right_->Put(right.key, {right.time, right.seq}, right.payload));
  const Evidence partner{kRight, right.time, right.seq, right.payload};
  size_t partners = 0;
  bool capped = false;
  absl::Status status;
  BONGSU_RETURN_IF_ERROR(left_->Scan(
      right.key, AddTime(right.time, -options_.after), AddTime(right.time, options_.before),
      [&](TimeListCursor& entry) {
        if (options_.one_source && entry.seq() == right.seq) return true;
        if (partners >= options_.matches_max) {
          capped = true;
          return false;
        }
        ++partners;
        if (options_.pairs || entry.mark() == kNoPartner) {
          Create(right.key, {kLeft, entry.time(), entry.seq(), entry.value()}, partner, context);
        }
        if (options_.pairs || entry.mark() == kMorePartners) return true;
        const bool first = entry.mark() == kNoPartner;
        entry.set_mark(first ? kOnePartner : kMorePartners);
        // Without readers there is nothing to say before the second partner. (With them the timer
        // is there already, unless they came with a reload; twice it is one.)
        if (!first || context.has_readers())
          status = SetTimer(right.key, entry.time(), entry.seq(), context);
        return status.ok();
      }));
  if (capped) context.Count("matches_capped", 1);
  return status;
}

absl::Status IntervalJoin::OnTimer(const DueTimer& timer, OperatorContext& context) {
  BONGSU_CHECK(timer.data.size() == 16);
  uint64_t time_bits = 0;
  RecordSeq seq = 0;
  for (size_t i = 0; i < 8; ++i) {
    time_bits = time_bits << 8 | static_cast<uint8_t>(timer.data[i]);
    seq = seq << 8 | static_cast<uint8_t>(timer.data[8 + i]);
  }
  const auto time = static_cast<EventTimeNs>(time_bits);
  std::string left_payload;  // scans of two lists: the first one's views must not be relied on
  bool found = false;
  BONGSU_RETURN_IF_ERROR(left_->Scan(timer.key, time, time, [&](TimeListCursor& entry) {
    if (entry.seq() != seq) return true;
    left_payload = entry.value();
    found = true;
    return false;
  }));
  BONGSU_CHECK_MSG(found, "a timer's left event has expired before its window closed");
  std::vector<Evidence> evidence = {{kLeft, time, seq, left_payload}};
  Incident incident;
  incident.first_time = incident.last_time = time;
  EventTimeNs first_partner = kMaxEventTime;
  bool capped = false;
  BONGSU_RETURN_IF_ERROR(
      right_->Scan(timer.key, AddTime(time, -options_.before), AddTime(time, options_.after),
                   [&](TimeListCursor& entry) {
                     if (options_.one_source && entry.seq() == seq) return true;
                     if (incident.event_count >= options_.matches_max) {
                       capped = true;
                       return false;
                     }
                     ++incident.event_count;
                     first_partner = std::min(first_partner, entry.time());
                     incident.first_time = std::min(incident.first_time, entry.time());
                     incident.last_time = std::max(incident.last_time, entry.time());
                     if (evidence.size() < options_.evidence_max) {
                       evidence.push_back({kRight, entry.time(), entry.seq(), entry.value()});
                     } else {
                       ++incident.evidence_dropped;
                     }
                     return true;
                   }));
  if (capped) context.Count("matches_capped", 1);
  BONGSU_CHECK_MSG(incident.event_count > 0,
                   "a timer's partners have expired before its window closed");
  const bool update = incident.event_count > 1;
  ++incident.event_count;  // the left event
  incident.activity = update ? Activity::kUpdate : Activity::kCreate;
  incident.id = Id(timer.key, evidence.front(), nullptr, context);
  incident.key = timer.key;
  incident.anchor_time = time;
  incident.evidence = evidence;
  if (update) context.Emit(incident);
  context.Forward(incident, std::max(time, first_partner), ResultKind::kBegun);
  return absl::OkStatus();
}

class IntervalJoinSpec : public OperatorSpec {
 public:
  static std::unique_ptr<OperatorSpec> Create(const Node& node, OperatorBuildContext& context,
                                              Diagnostics& diagnostics);

  DurationNs result_delay() const override { return options_.after; }
  bool has_results() const override { return !options_.pairs; }
  std::unique_ptr<Operator> NewInstance() const override {
    return std::make_unique<IntervalJoin>(*this, options_);
  }
  std::string Why(const Incident& incident) const override;

 private:
  void ReadSide(const OptionReader& reader, const char* name, OperatorBuildContext& context,
                Diagnostics& diagnostics);
  std::string Normalised(const OperatorBuildContext& context) const;
  Options options_;
};

void IntervalJoinSpec::ReadSide(const OptionReader& reader, const char* name,
                                OperatorBuildContext& context, Diagnostics& diagnostics) {
  InputSpec& input = inputs_.emplace_back();
  input.name = name;
  const Node* node = reader.node(name);
  if (node == nullptr || !node->is_map()) return;  // reported already
  static const std::vector<OptionDef> kSideOptions = SideOptions();
  const OptionReader side(*node, kSideOptions, diagnostics);
  input.source = side.String("source");
  input.key_fields = side.StringList("key");
  input.cased = side.Bool("cased");
  input.from_operator = context.IsOperator(input.source);
  if (input.source.empty()) return;
  FieldTable* fields = context.Fields(input.source, side.where("source"));
  if (fields == nullptr) return;
  // An operator's results have just the fields that they have; a source's records may hold any.
  const FieldTable results = *fields;  // without what the detection adds
  std::vector<std::string> unknown;    // said already
  const auto known = [&](const std::string& field, const SourceLocation& where) {
    if (!input.from_operator || results.Find(field) >= 0) return true;
    if (std::find(unknown.begin(), unknown.end(), field) != unknown.end()) return false;
    unknown.push_back(field);
    const std::vector<std::string_view> names(results.names().begin(), results.names().end());
    const std::string nearest = NearestName(field, names);
    diagnostics.Error(
        where, fmt::format("the results of '{}' have no field '{}'", input.source, field),
        nearest.empty() ? fmt::format("they have: {}; more of its events' fields with "
                                      "'fields' there",
                                      fmt::join(names, ", "))
                        : fmt::format("did you mean '{}'?", nearest));
    return false;
  };
  std::vector<std::pair<std::string, SourceLocation>> wanted;
  const auto want = [&](const std::vector<std::string>& names, const SourceLocation& where) {
    for (const std::string& field : names) wanted.emplace_back(field, where);
  };
  if (const Node* detection = side.node("detection"); detection != nullptr && detection->is_map()) {
    input.selection = sigma::CompileSelection(*detection, *fields, diagnostics);
    if (input.selection != nullptr) want(input.selection->fields(), side.where("detection"));
  }
  want(input.key_fields, side.where("key"));
  want(side.StringList("fields"), side.where("fields"));
  want(context.DefaultFields(input.source), side.where("source"));
  for (const auto& [field, where] : wanted) {
    if (std::find(input.fields.begin(), input.fields.end(), field) != input.fields.end()) continue;
    if (!known(field, where)) continue;
    fields->Slot(field);
    input.fields.push_back(field);
  }
}

std::unique_ptr<OperatorSpec> IntervalJoinSpec::Create(const Node& node,
                                                       OperatorBuildContext& context,
                                                       Diagnostics& diagnostics) {
  static const std::vector<OptionDef> kOptions = WithCommonOptions(JoinOptions());
  static const std::vector<OptionDef> kWithinOptions = WithinOptions();
  const int errors = diagnostics.errors();
  const OptionReader reader(node, kOptions, diagnostics);
  auto spec = std::make_unique<IntervalJoinSpec>();
  spec->ReadCommon(reader);
  spec->ReadSide(reader, "left", context, diagnostics);
  spec->ReadSide(reader, "right", context, diagnostics);
  if (const Node* within = reader.node("within"); within != nullptr && within->is_map()) {
    const OptionReader window(*within, kWithinOptions, diagnostics);
    spec->options_.before = window.Duration("before");
    spec->options_.after = window.Duration("after");
  }
  const auto& left = spec->inputs_[kLeft].key_fields;
  const auto& right = spec->inputs_[kRight].key_fields;
  if (!left.empty() && !right.empty() && left.size() != right.size()) {
    diagnostics.Error(reader.where("right"),
                      fmt::format("the keys have {} and {} parts", left.size(), right.size()),
                      "both sides need the same number of key fields");
  }
  spec->options_.pairs = reader.String("emit") == "pairs";
  spec->options_.left_results = spec->inputs_[kLeft].from_operator;
  spec->options_.right_results = spec->inputs_[kRight].from_operator;
  spec->options_.one_source = spec->inputs_[kLeft].source == spec->inputs_[kRight].source;
  spec->options_.evidence_max = static_cast<size_t>(reader.Int("evidence_max"));
  spec->options_.matches_max = static_cast<size_t>(reader.Int("matches_max"));
  if (diagnostics.errors() > errors) return nullptr;
  spec->semantic_hash_ = Sha256Hex(spec->Normalised(context));
  return spec;
}

// Everything that decides what is found, and nothing that is only said about it.
std::string IntervalJoinSpec::Normalised(const OperatorBuildContext& context) const {
  std::string text =
      fmt::format("interval_join 1\nname {}\nwithin {} {}\nemit {}\nbounds {} {}\n", rule_.name,
                  options_.before, options_.after, options_.pairs ? "pairs" : "incident",
                  options_.evidence_max, options_.matches_max);
  for (const InputSpec& input : inputs_) {
    text += fmt::format("{} source {} cased {}\nkey {}\nfields {}\nselection {}\n", input.name,
                        input.source, input.cased, fmt::join(input.key_fields, "\t"),
                        fmt::join(input.fields, "\t"),
                        input.selection == nullptr ? "*" : input.selection->normal_form());
    if (input.from_operator) text += fmt::format("rule {}\n", context.SemanticHash(input.source));
  }
  return text;
}

std::string IntervalJoinSpec::Why(const Incident& incident) const {
  EventTimeNs first_partner = kMaxEventTime;
  for (const Evidence& evidence : incident.evidence) {
    if (evidence.port == kRight) first_partner = std::min(first_partner, evidence.time);
  }
  const uint64_t partners = incident.event_count - 1;
  std::string why = fmt::format(
      "{} {} event{} with the same {} ({}) within {} before and {} after the {} event", partners,
      inputs_[kRight].source, partners == 1 ? "" : "s", fmt::join(inputs_[kRight].key_fields, ", "),
      KeyText(incident.key), DurationText(options_.before), DurationText(options_.after),
      inputs_[kLeft].source);
  if (first_partner == kMaxEventTime) return why;  // none is listed
  const double seconds = static_cast<double>(first_partner - incident.anchor_time) / 1e9;
  return why + fmt::format("; the first {:.3f} s {}", seconds < 0 ? -seconds : seconds,
                           seconds < 0 ? "earlier" : "later");
}

}  // namespace

void RegisterOperator_interval_join(OperatorRegistry& registry);  // called from the generated list

void RegisterOperator_interval_join(OperatorRegistry& registry) {
  OperatorType type;
  type.name = "interval_join";
  type.doc =
      "Joins the events of two sides that have the same key and lie close in event time, in any "
      "order of "
      "arrival within the allowed lateness.";
  type.options = JoinOptions();
  type.sections = {{"left", SideOptions()}, {"within", WithinOptions()}};
  type.create = IntervalJoinSpec::Create;
  registry.Add(std::move(type));
}

}  // namespace bongsu
