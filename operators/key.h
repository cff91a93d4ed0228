// File: operators/key.h
//
// The canonical form of a correlation key, so that two sources that write the same thing
// differently meet: `10.0.0.1` and `::ffff:10.0.0.1`, `443` and `"443"`, `HOST-1` and `host-1`.
//
// A key has the tenant in front and then one or more parts. Each part is
//   - an IP address (any spelling): 16 bytes, IPv4 as ::ffff:a.b.c.d;
//   - a number: its shortest decimal text, equal to the same string;
//   - any other string: simple-case-folded UTF-8 (not with `cased`);
//   - longer than 256 bytes: the first 256 bytes and a 128-bit hash;
//   - nothing, where `keep_missing` makes a group of the events without it.
// An array makes one key for each distinct member, 16 at most (counted when there were more). A
// part is missing where it is absent, null, an object, or an array without any other member: the
// event does not take part (counted), unless `keep_missing`. The byte grammar
// is in state/FORMAT.md, section "Canonical key".
//
//   KeyBuilder builder({.slots = {src_ip, src_port}, .tenant = "acme"});
//   for (std::string_view key : builder.Build(event)) shard = ShardOf(key, seed, shards);
//
// Thread-safety: a KeyBuilder belongs to one thread (it keeps its buffers).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "operators/event.h"
#include "state/types.h"

namespace bongsu {

inline constexpr int kKeyMembersMax = 16;
inline constexpr size_t kKeyPartBytesMax = 256;

struct KeyOptions {
  std::vector<int> slots;     // the parts, in order; none: one key for all events of the tenant
  std::string tenant;         // put in front of every key; may be empty
  bool cased = false;         // no case folding
  bool keep_missing = false;  // a missing part is a value of its own
};

struct KeyCounters {
  uint64_t missing_part = 0;    // events left out: a part was missing
  uint64_t members_capped = 0;  // events with more than kKeyMembersMax combinations
};

class KeyBuilder {
 public:
  explicit KeyBuilder(KeyOptions options);
  // The event's keys: none, one, or several; valid until the next call.
  std::span<const std::string_view> Build(const Event& event);
  const KeyCounters& counters() const { return counters_; }

 private:
  KeyOptions options_;
  KeyCounters counters_;
  std::vector<std::string> buffers_;
  std::vector<std::string_view> keys_;
};

// The key without parts: the tenant alone.
std::string TenantKey(std::string_view tenant);

// The shard that owns `key`: XXH3-64 with `seed`, modulo `shards`.
ShardId ShardOf(std::string_view key, uint64_t seed, uint16_t shards);

// A key as people read it: parts joined by ", ", addresses in their usual spelling; the tenant in
// front where it has one.
std::string KeyText(std::string_view key);
// The same, part by part, without the tenant.
std::vector<std::string> KeyParts(std::string_view key);

// The canonical form of one part, appended to `*out`; false when `value` cannot be a key part.
bool AppendKeyPart(const Value& value, bool cased, std::string* out);
// The form of a part that is missing (KeyOptions::keep_missing).
void AppendMissingKeyPart(std::string* out);

}  // namespace bongsu
