#include "operators/sigma/episode.h"

#include <algorithm>

#include "state/byte_reader.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu::sigma {
namespace {

constexpr uint8_t kVersion = 1;  // of both values
constexpr char kEpisodeTimer = 'e';
constexpr char kSuppressTimer = 's';

// Flags of an episode.
constexpr uint8_t kCreated = 1;  // an alert of it is out
constexpr uint8_t kMuted = 2;    // suppressed: none will be
constexpr uint8_t kHanded = 4;   // T0 is over: it has been handed to readers
constexpr uint8_t kKept = 8;     // what was read of it is in state

std::string TimerData(uint64_t number) {
  std::string data(1, kEpisodeTimer);
  AppendU64(number, &data);
  return data;
}

}  // namespace

struct EpisodeBook::Episode {
  uint64_t number = 0;                  // among the open ones of the group; grows
  EventTimeNs first = 0;                // the first hit; of one that goes on behind a cut: the cut
  EventTimeNs last = 0;                 // the last hit that is known
  EventTimeNs timer = 0;                // the one that counts; others are left over
  EventTimeNs read_to = kMinEventTime;  // the last closed hit that was read (reset: the time)
  EventTimeNs floor = kMinEventTime;    // reset: events up to here have served
  uint64_t published = 0;               // events in the newest alert
  uint8_t flags = 0;
  IncidentId id{};
  EventTimeNs anchor_time = 0;
  bool has(uint8_t flag) const { return (flags & flag) != 0; }
};

struct EpisodeBook::Group {
  EventTimeNs suppress_until = kMinEventTime;
  std::vector<Episode> episodes;
};

// What has been read of an episode's events.
struct EpisodeBook::Reading {
  struct Kept {
    GroupEvent event;
    std::string payload;
    bool fetched = false;
  };
  uint64_t count = 0;
  uint64_t dropped = 0;
  EventTimeNs first_time = kMaxEventTime;
  EventTimeNs last_time = kMinEventTime;
  // The hits among what was read now.
  EventTimeNs first_hit = kMaxEventTime;
  EventTimeNs last_hit = kMinEventTime;
  std::vector<Kept> kept;
};

bool ReadBefore(EventTimeNs a_time, RecordSeq a_seq, EventTimeNs b_time, RecordSeq b_seq,
                const OperatorContext& context) {
  if (a_time != b_time) return a_time < b_time;
  if (SeqPartition(a_seq) == SeqPartition(b_seq)) return a_seq < b_seq;
  return context.origin(a_seq) < context.origin(b_seq);
}

EpisodeBook::EpisodeBook(const OperatorSpec& spec, const EpisodeOptions& options,
                         EpisodeSource& source)
    : spec_(spec), options_(options), source_(source) {
  BONGSU_CHECK(options_.span > 0 && options_.max_episode >= options_.span);
  BONGSU_CHECK(!options_.early || (!options_.reset && options_.suppress == 0));
}

absl::Status EpisodeBook::Open(OperatorContext& context) {
  BONGSU_ASSIGN_OR_RETURN(groups_, context.state().OpenValueMap(context.operator_id(), "episodes"));
  BONGSU_ASSIGN_OR_RETURN(readings_,
                          context.state().OpenValueMap(context.operator_id(), "episode_events"));
  return absl::OkStatus();
}

absl::Status EpisodeBook::Load(std::string_view key, Group* group) {
  std::string value;
  bool found = false;
  BONGSU_RETURN_IF_ERROR(groups_->Get(key, &value, &found));
  if (!found) return absl::OkStatus();
  ByteReader reader(value);
  if (reader.U8() != kVersion)
    return absl::DataLossError("a group of episodes of no known version");
  const auto time = [&reader] { return static_cast<EventTimeNs>(reader.U64()); };
  group->suppress_until = time();
  group->episodes.resize(std::min<uint64_t>(reader.Varint(), kOpenEpisodesMax));
  for (Episode& episode : group->episodes) {
    episode.number = reader.U64();
    episode.first = time();
    episode.last = time();
    episode.timer = time();
    episode.read_to = time();
    episode.floor = time();
    episode.published = reader.U64();
    episode.flags = reader.U8();
    const std::string_view id = reader.Take(episode.id.size());
    std::copy(id.begin(), id.end(), episode.id.begin());
    episode.anchor_time = time();
  }
  return reader.ok() && reader.empty()
             ? absl::OkStatus()
             : absl::DataLossError("a group of episodes has the wrong size");
}

absl::Status EpisodeBook::Save(std::string_view key, const Group& group) {
  if (group.episodes.empty() && group.suppress_until == kMinEventTime) return groups_->Erase(key);
  std::string value(1, static_cast<char>(kVersion));
  const auto add = [&value](int64_t number) { AppendU64(static_cast<uint64_t>(number), &value); };
  add(group.suppress_until);
  AppendVarint(group.episodes.size(), &value);
  for (const Episode& episode : group.episodes) {
    AppendU64(episode.number, &value);
    for (EventTimeNs time :
         {episode.first, episode.last, episode.timer, episode.read_to, episode.floor})
      add(time);
    AppendU64(episode.published, &value);
    value.push_back(static_cast<char>(episode.flags));
    value.append(episode.id.begin(), episode.id.end());
    add(episode.anchor_time);
  }
  return groups_->Put(key, value);
}

absl::Status EpisodeBook::LoadReading(std::string_view key, const Episode& episode,
                                      Reading* reading) {
  if (!episode.has(kKept)) return absl::OkStatus();
  std::string row(key);
  AppendU64(episode.number, &row);
  std::string value;
  bool found = false;
  BONGSU_RETURN_IF_ERROR(readings_->Get(row, &value, &found));
  if (!found) return absl::OkStatus();
  ByteReader reader(value);
  if (reader.U8() != kVersion) return absl::DataLossError("an episode's events: unknown version");
  reading->count = reader.U64();
  reading->dropped = reader.U64();
  reading->first_time = static_cast<EventTimeNs>(reader.U64());
  reading->last_time = static_cast<EventTimeNs>(reader.U64());
  while (reader.ok() && !reader.empty()) {
    Reading::Kept& kept = reading->kept.emplace_back();
    kept.event.time = static_cast<EventTimeNs>(reader.U64());
    kept.event.seq = reader.U64();
    kept.event.port = reader.U8();
    kept.payload = reader.Bytes();
    kept.fetched = true;
  }
  return reader.ok() ? absl::OkStatus()
                     : absl::DataLossError("an episode's events have the wrong size");
}

absl::Status EpisodeBook::SaveReading(std::string_view key, Episode* episode,
                                      const Reading& reading) {
  std::string value(1, static_cast<char>(kVersion));
  AppendU64(reading.count, &value);
  AppendU64(reading.dropped, &value);
  AppendU64(static_cast<uint64_t>(reading.first_time), &value);
  AppendU64(static_cast<uint64_t>(reading.last_time), &value);
  for (const Reading::Kept& kept : reading.kept) {
    AppendU64(static_cast<uint64_t>(kept.event.time), &value);
    AppendU64(kept.event.seq, &value);
    value.push_back(static_cast<char>(kept.event.port));
    AppendBytes(kept.payload, &value);
  }
  std::string row(key);
  AppendU64(episode->number, &row);
  episode->flags |= kKept;
  return readings_->Put(row, value);
}

absl::Status EpisodeBook::SetTimer(std::string_view key, Episode* episode, EventTimeNs time,
                                   OperatorContext& context) {
  episode->timer = time;
  return context.timers().Set(time, key, TimerData(episode->number));
}

// Nothing is to be done at T0 where the incident is out and nobody reads it.
EventTimeNs EpisodeBook::FirstTimer(const Episode& episode, const OperatorContext& context) const {
  return options_.early && !context.has_readers() ? AddTime(episode.first, options_.span)
                                                  : episode.first;
}

absl::Status EpisodeBook::Covers(std::string_view key, EventTimeNs first, EventTimeNs last,
                                 bool* covers) {
  Group group;
  BONGSU_RETURN_IF_ERROR(Load(key, &group));
  *covers = std::any_of(group.episodes.begin(), group.episodes.end(),
                        [&](const Episode& one) { return one.first <= first && one.last >= last; });
  return absl::OkStatus();
}

absl::Status EpisodeBook::Hit(std::string_view key, EventTimeNs first, EventTimeNs last,
                              OperatorContext& context) {
  Group group;
  BONGSU_RETURN_IF_ERROR(Load(key, &group));
  std::vector<Episode>& episodes = group.episodes;
  const auto touches = [&](const Episode& one) {
    return first < AddTime(one.last, options_.span) && one.first < AddTime(last, options_.span);
  };
  // Into the one that was published first, else the first one of all.
  size_t into = episodes.size();
  for (size_t i = 0; i < episodes.size(); ++i) {
    if (!touches(episodes[i])) continue;
    if (into == episodes.size() || (episodes[i].has(kCreated) && !episodes[into].has(kCreated)))
      into = i;
  }
  if (into == episodes.size() && episodes.size() == kOpenEpisodesMax) {
    context.Count("episodes_joined", 1);
    const auto distance = [&](const Episode& one) {
      return one.first > last ? one.first - last : first - one.last;
    };
    into = 0;
    for (size_t i = 1; i < episodes.size(); ++i) {
      if (distance(episodes[i]) < distance(episodes[into])) into = i;
    }
  }
  if (into == episodes.size()) {
    Episode& fresh = episodes.emplace_back();
    for (const Episode& one : episodes) fresh.number = std::max(fresh.number, one.number + 1);
    fresh.first = first;
    fresh.last = last;
    BONGSU_RETURN_IF_ERROR(SetTimer(key, &fresh, FirstTimer(fresh, context), context));
    if (options_.early) BONGSU_RETURN_IF_ERROR(PublishEarly(key, &fresh, context));
    return Save(key, group);
  }
  Episode& episode = episodes[into];
  const Episode before = episode;
  episode.first = std::min(episode.first, first);
  episode.last = std::max(episode.last, last);
  bool merged = false;
  for (size_t i = episodes.size(); i-- > 0;) {
    if (i == into || !touches(episodes[i])) continue;
    BONGSU_RETURN_IF_ERROR(Merge(key, &episode, episodes[i], context));
    merged = true;
  }
  if (merged) {
    const uint64_t number = episode.number;
    std::erase_if(episodes,
                  [&](const Episode& one) { return one.number != number && touches(one); });
    for (Episode& one : episodes) {
      if (one.number == number && one.timer != before.timer)
        BONGSU_RETURN_IF_ERROR(SetTimer(key, &one, one.timer, context));
    }
    return Save(key, group);
  }
  if (episode.first == before.first && episode.last == before.last) return absl::OkStatus();
  if (episode.first < before.first)
    BONGSU_RETURN_IF_ERROR(SetTimer(key, &episode, FirstTimer(episode, context), context));
  if (options_.reset && episode.last < episode.timer && episode.has(kHanded))
    BONGSU_RETURN_IF_ERROR(SetTimer(key, &episode, episode.last, context));
  return Save(key, group);
}

// `other` becomes part of `into`. Only what is not closed can still be joined, so at most the
// earlier one of the two has been read.
absl::Status EpisodeBook::Merge(std::string_view key, Episode* into, const Episode& other,
                                OperatorContext& context) {
  if (other.has(kCreated) && !other.has(kMuted)) {
    Reading reading;
    BONGSU_RETURN_IF_ERROR(Read(key, kMinEventTime, AddTime(other.first, -options_.span),
                                other.last, &reading, context));
    BONGSU_RETURN_IF_ERROR(FetchPayloads(key, &reading));
    std::vector<Evidence> evidence;
    Incident incident = MakeIncident(key, other, reading, Activity::kClose, &evidence);
    incident.merged = true;
    incident.merged_into = into->id;
    context.Emit(incident);
  }
  const bool other_first = other.first < into->first;
  into->first = std::min(into->first, other.first);
  into->last = std::max(into->last, other.last);
  if (into->read_to == kMinEventTime && (other.read_to != kMinEventTime || other.has(kHanded))) {
    Reading reading;
    BONGSU_RETURN_IF_ERROR(LoadReading(key, other, &reading));
    BONGSU_RETURN_IF_ERROR(SaveReading(key, into, reading));
    std::string row(key);
    AppendU64(other.number, &row);
    BONGSU_RETURN_IF_ERROR(readings_->Erase(row));
    into->read_to = other.read_to;
    into->floor = other.floor;
    into->flags = static_cast<uint8_t>(into->flags | (other.flags & kHanded));
    into->timer = other.timer;
  } else if (other_first && into->read_to == kMinEventTime) {
    into->timer = FirstTimer(*into, context);
  }
  return absl::OkStatus();
}

// `last_hit`: of the episode, before `from`; or none yet.
absl::Status EpisodeBook::Read(std::string_view key, EventTimeNs last_hit, EventTimeNs from,
                               EventTimeNs to, Reading* reading, OperatorContext& context) {
  std::vector<GroupEvent> waiting;  // behind the last hit: the next one takes them in
  bool over = false;                // the next hit is too far from the last one: another episode's
  return source_.Walk(
      key, kMinEventTime, from, to, context, [&](const GroupEvent& event, bool holds) {
        if (over) return EpisodeSource::Next::kGoOn;
        waiting.push_back(event);
        if (!holds) return EpisodeSource::Next::kGoOn;
        over = last_hit != kMinEventTime && event.time >= AddTime(last_hit, options_.span);
        if (over) return EpisodeSource::Next::kGoOn;
        for (const GroupEvent& one : waiting) Keep(one, reading);
        waiting.clear();
        reading->first_hit = std::min(reading->first_hit, event.time);
        last_hit = reading->last_hit = event.time;
        return EpisodeSource::Next::kGoOn;
      });
}

// The first events are listed; where they are too many, at least one of each input.
void EpisodeBook::Keep(const GroupEvent& event, Reading* reading) const {
  ++reading->count;
  reading->first_time = std::min(reading->first_time, event.time);
  reading->last_time = std::max(reading->last_time, event.time);
  std::vector<Reading::Kept>& kept = reading->kept;
  if (kept.size() >= options_.evidence_max) {
    ++reading->dropped;
    const auto of_port = [&](uint8_t port) {
      return std::count_if(kept.begin(), kept.end(),
                           [&](const Reading::Kept& one) { return one.event.port == port; });
    };
    if (of_port(event.port) > 0) return;
    size_t last = kept.size();
    while (last > 1 && of_port(kept[last - 1].event.port) == 1) --last;
    if (last <= 1) return;  // never the anchor
    kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(last - 1));
  }
  kept.push_back({event, {}, false});
}

absl::Status EpisodeBook::FetchPayloads(std::string_view key, Reading* reading) {
  for (Reading::Kept& one : reading->kept) {
    if (one.fetched) continue;
    BONGSU_RETURN_IF_ERROR(source_.Payload(key, one.event, &one.payload));
    one.fetched = true;
  }
  return absl::OkStatus();
}

Incident EpisodeBook::MakeIncident(std::string_view key, const Episode& episode,
                                   const Reading& reading, Activity activity,
                                   std::vector<Evidence>* evidence) const {
  evidence->clear();
  for (const Reading::Kept& one : reading.kept)
    evidence->push_back({one.event.port, one.event.time, one.event.seq, one.payload});
  Incident incident;
  incident.activity = activity;
  incident.id = episode.id;
  incident.key = key;
  incident.first_time = reading.first_time;
  incident.last_time = reading.last_time;
  incident.anchor_time = episode.anchor_time;
  incident.event_count = reading.count;
  incident.evidence = *evidence;
  incident.evidence_dropped = reading.dropped;
  source_.Describe(&incident);
  return incident;
}

// The events known now; those that come later are in the updates.
absl::Status EpisodeBook::PublishEarly(std::string_view key, Episode* episode,
                                       OperatorContext& context) {
  Reading reading;
  BONGSU_RETURN_IF_ERROR(Read(key, kMinEventTime, AddTime(episode->first, -options_.span),
                              episode->first, &reading, context));
  BONGSU_CHECK_MSG(reading.count > 0, "a hit without events");
  BONGSU_RETURN_IF_ERROR(FetchPayloads(key, &reading));
  return Create(key, nullptr, episode, reading, episode->first, context);
}

// `group`: where suppression is looked up; null in early mode, which has none.
absl::Status EpisodeBook::Create(std::string_view key, Group* group, Episode* episode,
                                 Reading& reading, EventTimeNs hit, OperatorContext& context) {
  const GroupEvent& first = reading.kept.front().event;
  IncidentAnchor anchor;
  anchor.rule_hash = spec_.semantic_hash();
  anchor.key = key;
  anchor.origin = context.origin(first.seq);
  anchor.offset = SeqOffset(first.seq);
  anchor.time = first.time;
  episode->id = MakeIncidentId(anchor);
  episode->anchor_time = first.time;
  episode->published = reading.count;
  episode->flags = static_cast<uint8_t>((episode->flags | kCreated) & ~kMuted);
  if (group != nullptr && options_.suppress > 0) {
    if (hit < group->suppress_until) {
      episode->flags |= kMuted;
      context.Count("suppressed", 1);
      return absl::OkStatus();
    }
    group->suppress_until = AddTime(hit, options_.suppress);
    BONGSU_RETURN_IF_ERROR(context.timers().Set(AddTime(group->suppress_until, options_.span), key,
                                                std::string(1, kSuppressTimer)));
  }
  std::vector<Evidence> evidence;
  context.Emit(MakeIncident(key, *episode, reading, Activity::kCreate, &evidence));
  return absl::OkStatus();
}

absl::Status EpisodeBook::Once(std::string_view key, std::span<const GroupEvent> events,
                               EventTimeNs time, OperatorContext& context) {
  BONGSU_CHECK(!events.empty());
  Group group;
  if (options_.suppress > 0) BONGSU_RETURN_IF_ERROR(Load(key, &group));
  Reading reading;
  for (const GroupEvent& event : events) Keep(event, &reading);
  BONGSU_RETURN_IF_ERROR(FetchPayloads(key, &reading));
  Episode episode;
  BONGSU_RETURN_IF_ERROR(Create(key, &group, &episode, reading, reading.first_time, context));
  if (episode.has(kMuted)) return absl::OkStatus();
  std::vector<Evidence> evidence;
  context.Forward(MakeIncident(key, episode, reading, Activity::kCreate, &evidence), time);
  return options_.suppress > 0 ? Save(key, group) : absl::OkStatus();
}

bool EpisodeBook::IsTimer(const DueTimer& timer) {
  return !timer.data.empty() && (timer.data[0] == kEpisodeTimer || timer.data[0] == kSuppressTimer);
}

absl::Status EpisodeBook::OnTimer(const DueTimer& timer, OperatorContext& context) {
  Group group;
  BONGSU_RETURN_IF_ERROR(Load(timer.key, &group));
  if (timer.data[0] == kSuppressTimer) {
    // A hit is read at most a span behind its time.
    if (AddTime(group.suppress_until, options_.span) > timer.time) return absl::OkStatus();
    group.suppress_until = kMinEventTime;
    return Save(timer.key, group);
  }
  BONGSU_CHECK(timer.data.size() == 9);
  const uint64_t number = ReadU64(timer.data.substr(1));
  const auto found = std::find_if(
      group.episodes.begin(), group.episodes.end(),
      [&](const Episode& one) { return one.number == number && one.timer == timer.time; });
  if (found == group.episodes.end()) return absl::OkStatus();  // joined, or an older timer
  const auto at = static_cast<size_t>(found - group.episodes.begin());
  if (options_.reset) return ReadResets(timer.key, &group, at, timer.time, context);
  return ReadOn(timer.key, &group, at, timer.time, context);
}

// Everything up to `now` is final: reads it, and says what is new.
absl::Status EpisodeBook::ReadOn(std::string_view key, Group* group, size_t at, EventTimeNs now,
                                 OperatorContext& context) {
  Episode& episode = group->episodes[at];
  Reading reading;
  BONGSU_RETURN_IF_ERROR(LoadReading(key, episode, &reading));
  const EventTimeNs from =
      episode.read_to == kMinEventTime ? AddTime(episode.first, -options_.span) : episode.read_to;
  BONGSU_RETURN_IF_ERROR(Read(key, episode.read_to, from, now, &reading, context));
  BONGSU_RETURN_IF_ERROR(FetchPayloads(key, &reading));
  episode.read_to = std::max(episode.read_to, reading.last_hit);
  if (reading.count == 0) {
    // Behind a cut nothing may follow. Else the bound on kept events has hidden what was found.
    if (!episode.has(kHanded)) context.Count("episodes_unread", 1);
  } else if (!episode.has(kCreated)) {
    BONGSU_RETURN_IF_ERROR(Create(key, group, &episode, reading, reading.first_hit, context));
  } else if (!episode.has(kMuted) && now != episode.first && reading.count != episode.published) {
    std::vector<Evidence> evidence;
    context.Emit(MakeIncident(key, episode, reading, Activity::kUpdate, &evidence));
    episode.published = reading.count;
  }
  if (!episode.has(kHanded) && reading.count > 0 && !episode.has(kMuted)) {
    std::vector<Evidence> evidence;
    context.Forward(MakeIncident(key, episode, reading, Activity::kCreate, &evidence), now);
  }
  if (reading.count > 0) episode.flags |= kHanded;
  const bool over = AddTime(episode.read_to, options_.span) <= now ||
                    (episode.read_to == kMinEventTime && now > episode.last);
  if (over) return End(key, group, at);
  if (now >= AddTime(episode.first, options_.max_episode)) return Cut(key, group, at, now, context);
  BONGSU_RETURN_IF_ERROR(SaveReading(key, &episode, reading));
  BONGSU_RETURN_IF_ERROR(SetTimer(key, &episode, AddTime(now, options_.span), context));
  return Save(key, *group);
}

absl::Status EpisodeBook::End(std::string_view key, Group* group, size_t at) {
  if (group->episodes[at].has(kKept)) {
    std::string row(key);
    AppendU64(group->episodes[at].number, &row);
    BONGSU_RETURN_IF_ERROR(readings_->Erase(row));
  }
  group->episodes.erase(group->episodes.begin() + static_cast<std::ptrdiff_t>(at));
  return Save(key, *group);
}

// It has lasted too long: what comes behind its last closed hit is another incident.
absl::Status EpisodeBook::Cut(std::string_view key, Group* group, size_t at, EventTimeNs now,
                              OperatorContext& context) {
  context.Count("episodes_cut", 1);
  Episode next;
  for (const Episode& one : group->episodes) next.number = std::max(next.number, one.number + 1);
  const Episode& ended = group->episodes[at];
  next.first = now;
  next.last = ended.last;
  next.read_to = ended.read_to;
  BONGSU_RETURN_IF_ERROR(SetTimer(key, &next, AddTime(now, options_.span), context));
  group->episodes.push_back(next);
  return End(key, group, at);
}

// Each hit is an incident, and the windows behind it begin anew.
absl::Status EpisodeBook::ReadResets(std::string_view key, Group* group, size_t at, EventTimeNs now,
                                     OperatorContext& context) {
  struct Fired {
    EventTimeNs time;
    Reading reading;
  };
  Episode& episode = group->episodes[at];
  const EventTimeNs read_to = episode.read_to == kMinEventTime ? episode.first : episode.read_to;
  const EventTimeNs from = std::max(episode.floor, AddTime(read_to, -options_.span));
  std::vector<GroupEvent> waiting;
  std::vector<Fired> fired;
  // Hits behind the last one known are another episode's.
  const EventTimeNs to = std::min(now, episode.last);
  BONGSU_RETURN_IF_ERROR(
      source_.Walk(key, episode.floor, from, to, context, [&](const GroupEvent& event, bool holds) {
        waiting.push_back(event);
        if (!holds) return EpisodeSource::Next::kGoOn;
        Fired& one = fired.emplace_back();
        one.time = event.time;
        for (const GroupEvent& served : waiting) {
          if (served.time > AddTime(event.time, -options_.span)) Keep(served, &one.reading);
        }
        waiting.clear();
        return EpisodeSource::Next::kStartAnew;
      }));
  for (Fired& one : fired) {
    BONGSU_RETURN_IF_ERROR(FetchPayloads(key, &one.reading));
    BONGSU_RETURN_IF_ERROR(Create(key, group, &episode, one.reading, one.time, context));
    if (!episode.has(kMuted)) {
      std::vector<Evidence> evidence;
      context.Forward(MakeIncident(key, episode, one.reading, Activity::kCreate, &evidence),
                      one.time);
    }
    episode.floor = one.time;
  }
  episode.read_to = now;
  episode.flags |= kHanded;
  if (AddTime(episode.last, options_.span) <= now) return End(key, group, at);
  EventTimeNs next = AddTime(now, options_.span);
  if (episode.last > now) next = std::min(next, episode.last);
  BONGSU_RETURN_IF_ERROR(SetTimer(key, &episode, next, context));
  return Save(key, *group);
}

}  // namespace bongsu::sigma
