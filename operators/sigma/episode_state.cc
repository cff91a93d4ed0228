#include "operators/sigma/episode_state.h"

#include <bit>
#include <cstring>

#include "state/byte_reader.h"
#include "state/check.h"

namespace bongsu::sigma {
namespace {

constexpr char kEpisodeVersion = 2;

void AppendId(const IncidentId& id, std::string* out) {
  out->append(reinterpret_cast<const char*>(id.data()), id.size());
}

void AppendEntry(const EntryId& id, std::string* out) {
  AppendTime(id.time, out);
  AppendU64(id.seq, out);
}

// Ends the process at bytes that do not parse: the state's checksums have held.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  ~Reader() { BONGSU_CHECK_MSG(bytes_.ok(), "a correlation's state does not parse"); }
  EventTimeNs Time() { return static_cast<EventTimeNs>(bytes_.U64() ^ (uint64_t{1} << 63)); }
  EntryId Entry() {
    const EventTimeNs time = Time();
    return {time, bytes_.U64()};
  }
  IncidentId Id() {
    IncidentId id{};
    const std::string_view taken = bytes_.Take(id.size());
    if (bytes_.ok()) std::memcpy(id.data(), taken.data(), id.size());
    return id;
  }
  ByteReader& bytes() { return bytes_; }

 private:
  ByteReader bytes_;
};

}  // namespace

void EpisodeGroup::Encode(std::string* out) const {
  out->push_back(kEpisodeVersion);
  const int flags = (episode.open ? 1 : 0) | (episode.published ? 2 : 0) |
                    (episode.suppressed ? 4 : 0) | (reset != kMinEventTime ? 8 : 0) |
                    (episode.peak.defined ? 16 : 0);
  out->push_back(static_cast<char>(flags));
  AppendTime(settled, out);
  AppendTime(timer, out);
  AppendTime(suppressed_until, out);
  AppendVarint(next_order, out);
  if (reset != kMinEventTime) AppendTime(reset, out);
  if (episode.open) {
    AppendId(episode.id, out);
    AppendVarint(episode.order, out);
    AppendEntry(episode.anchor, out);
    AppendTime(episode.completed, out);
    AppendTime(episode.last, out);
    AppendTime(episode.known_last, out);
    AppendVarint(episode.event_count, out);
    AppendVarint(episode.count_published, out);
    AppendTime(episode.updated, out);
    const auto bits = static_cast<UInt128>(episode.peak.numerator);
    AppendU64(static_cast<uint64_t>(bits >> 64), out);
    AppendU64(static_cast<uint64_t>(bits), out);
    AppendVarint(static_cast<uint64_t>(episode.peak.denominator), out);
    AppendU64(std::bit_cast<uint64_t>(episode.peak.error), out);
  }
  AppendVarint(found.size(), out);
  for (const FoundWindows& one : found) {
    out->push_back(one.published ? 1 : 0);
    AppendTime(one.first, out);
    AppendTime(one.last, out);
    if (!one.published) continue;
    AppendId(one.id, out);
    AppendVarint(one.order, out);
    AppendVarint(one.count, out);
  }
}

EpisodeGroup EpisodeGroup::Decode(std::string_view bytes) {
  EpisodeGroup group;
  Reader reader(bytes);
  ByteReader& raw = reader.bytes();
  BONGSU_CHECK_MSG(raw.U8() == kEpisodeVersion, "a correlation's state of another version");
  const int flags = raw.U8();
  group.settled = reader.Time();
  group.timer = reader.Time();
  group.suppressed_until = reader.Time();
  group.next_order = raw.Varint();
  if ((flags & 8) != 0) group.reset = reader.Time();
  Episode& episode = group.episode;
  episode.open = (flags & 1) != 0;
  episode.published = (flags & 2) != 0;
  episode.suppressed = (flags & 4) != 0;
  episode.peak.defined = (flags & 16) != 0;
  if (episode.open) {
    episode.id = reader.Id();
    episode.order = raw.Varint();
    episode.anchor = reader.Entry();
    episode.completed = reader.Time();
    episode.last = reader.Time();
    episode.known_last = reader.Time();
    episode.event_count = raw.Varint();
    episode.count_published = raw.Varint();
    episode.updated = reader.Time();
    const UInt128 high = raw.U64();
    episode.peak.numerator = static_cast<Int128>(high << 64 | raw.U64());
    episode.peak.denominator = static_cast<int64_t>(raw.Varint());
    episode.peak.error = std::bit_cast<double>(raw.U64());
  }
  for (uint64_t n = raw.Varint(); n > 0 && raw.ok(); --n) {
    FoundWindows& one = group.found.emplace_back();
    one.published = raw.U8() != 0;
    one.first = reader.Time();
    one.last = reader.Time();
    if (!one.published) continue;
    one.id = reader.Id();
    one.order = raw.Varint();
    one.count = raw.Varint();
  }
  return group;
}

}  // namespace bongsu::sigma
