// File: operators/sigma/evidence_list.h
//
// The events that an incident lists, `max` at most: the first ones, at least one of each input that
// has any, and in the last place the newest one.
//
//   EvidenceList list(max);
//   list.Add(event);                          // in order
//   list.Fetch([&](const GroupEvent& event, std::string* payload) { ... });
//   incident.evidence = list.Views(&views);
//
// Its bytes in state: state/FORMAT.md, section "Correlations".
//
// Thread-safety: plain data.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "operators/sigma/group_event.h"

namespace bongsu::sigma {

class EvidenceList {
 public:
  explicit EvidenceList(size_t max) : max_(max) {}

  void Clear();
  void Add(const GroupEvent& event);
  void AddAll(std::span<const GroupEvent> events) {
    for (const GroupEvent& event : events) Add(event);
  }
  size_t size() const { return kept_.size(); }
  // Gets the carried fields of those that have none yet.
  [[nodiscard]] absl::Status Fetch(
      absl::FunctionRef<absl::Status(const GroupEvent& event, std::string* payload)> fetch);
  // Valid until the list or `*views` changes.
  std::span<const Evidence> Views(std::vector<Evidence>* views) const;

  // All have been fetched.
  void Encode(std::string* out) const;
  // Ends the process at bytes that do not parse: the state's checksums have held.
  void Decode(std::string_view bytes);

 private:
  struct Kept {
    GroupEvent event;
    std::string payload;
    bool fetched = false;
  };
  bool IsOnlyOne(size_t at) const;

  size_t max_;
  std::vector<Kept> kept_;
  std::bitset<256> ports_;  // those of the ones kept
};

}  // namespace bongsu::sigma
