#include "operators/sigma/evidence_list.h"

#include <algorithm>

#include "state/byte_reader.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu::sigma {
namespace {

constexpr char kEvidenceVersion = 2;

}  // namespace

void EvidenceList::Clear() {
  kept_.clear();
  ports_.reset();
}

// Of its input.
bool EvidenceList::IsOnlyOne(size_t at) const {
  return std::none_of(kept_.begin(), kept_.end(), [&](const Kept& other) {
    return &other != &kept_[at] && other.event.port == kept_[at].event.port;
  });
}

void EvidenceList::Add(const GroupEvent& event) {
  const bool new_port = !ports_[event.port];
  if (kept_.size() >= max_) {
    // The anchor stays, and so does what is the only one of its input.
    size_t gone = kept_.size() - 1;
    if (new_port) {
      while (gone > 0 && IsOnlyOne(gone)) --gone;
    } else if (kept_[gone].event.port != event.port && IsOnlyOne(gone)) {
      return;
    }
    if (gone == 0) return;
    kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(gone));
  }
  ports_[event.port] = true;
  kept_.push_back({event, {}, false});
}

absl::Status EvidenceList::Fetch(
    absl::FunctionRef<absl::Status(const GroupEvent& event, std::string* payload)> fetch) {
  for (Kept& one : kept_) {
    if (one.fetched) continue;
    BONGSU_RETURN_IF_ERROR(fetch(one.event, &one.payload));
    one.fetched = true;
  }
  return absl::OkStatus();
}

std::span<const Evidence> EvidenceList::Views(std::vector<Evidence>* views) const {
  views->clear();
  for (const Kept& one : kept_)
    views->push_back({one.event.port, one.event.time, one.event.seq, one.payload});
  return *views;
}

void EvidenceList::Encode(std::string* out) const {
  out->push_back(kEvidenceVersion);
  AppendVarint(kept_.size(), out);
  for (const Kept& one : kept_) {
    BONGSU_CHECK(one.fetched);
    out->push_back(static_cast<char>(one.event.port));
    AppendTime(one.event.time, out);
    AppendU64(one.event.seq, out);
    AppendBytes(one.payload, out);
  }
}

void EvidenceList::Decode(std::string_view bytes) {
  Clear();
  ByteReader reader(bytes);
  BONGSU_CHECK_MSG(reader.U8() == kEvidenceVersion, "a correlation's evidence of another version");
  for (uint64_t n = reader.Varint(); n > 0 && reader.ok(); --n) {
    Kept& one = kept_.emplace_back();
    one.event.port = reader.U8();
    const std::string_view time = reader.Take(8);
    if (reader.ok()) one.event.time = ReadTime(time);
    one.event.seq = one.event.entry = reader.U64();
    one.payload = reader.Bytes();
    one.fetched = true;
    ports_[one.event.port] = true;
  }
  BONGSU_CHECK_MSG(reader.ok() && reader.empty(), "a correlation's evidence does not parse");
}

}  // namespace bongsu::sigma
