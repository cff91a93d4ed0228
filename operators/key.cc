#include "operators/key.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "absl/functional/function_ref.h"
#include "operators/decimal.h"
#include "operators/fold.h"
#include "operators/ip_address.h"
#include "state/check.h"

namespace bongsu {
namespace {

// A part is a kind byte, then 16 bytes of an address, or a length byte pair and the text. See
// state/FORMAT.md, "Canonical key".
enum PartKind : char { kTenant = 't', kAddress = 'a', kText = 's', kHashed = 'h', kMissing = 'n' };

void AppendText(PartKind kind, std::string_view text, std::string* out) {
  if (text.size() > kKeyPartBytesMax) {
    const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    out->push_back(kHashed);
    out->append(text.substr(0, kKeyPartBytesMax));
    out->append(reinterpret_cast<const char*>(canonical.digest), sizeof(canonical.digest));
    return;
  }
  out->push_back(kind);
  out->push_back(static_cast<char>(text.size() >> 8));
  out->push_back(static_cast<char>(text.size() & 0xff));
  out->append(text);
}

bool CanBePart(const Value& value) {
  return value.is_string() || value.is_number() || value.type() == ValueType::kBool;
}

bool IsMissing(const Value& value) {
  return value.is_array() ? std::none_of(value.items().begin(), value.items().end(), CanBePart)
                          : !CanBePart(value);
}

}  // namespace

bool AppendKeyPart(const Value& value, bool cased, std::string* out) {
  switch (value.type()) {
    case ValueType::kAbsent:
    case ValueType::kNull:
    case ValueType::kObject:
    case ValueType::kArray:
      return false;
    case ValueType::kNumber: {
      std::string text;
      AppendText(kText,
                 ShortestDecimal(value.text(), &text) ? std::string_view(text) : value.text(), out);
      return true;
    }
    case ValueType::kBool:
      AppendText(kText, value.text(), out);
      return true;
    case ValueType::kString: {
      IpBytes ip;
      if (ParseIp(value.text(), &ip)) {
        out->push_back(kAddress);
        out->append(reinterpret_cast<const char*>(ip.data()), ip.size());
        return true;
      }
      if (cased) {
        AppendText(kText, value.text(), out);
      } else {
        std::string folded;
        AppendFolded(value.text(), &folded);
        AppendText(kText, folded, out);
      }
      return true;
    }
  }
  return false;
}

void AppendMissingKeyPart(std::string* out) { out->push_back(kMissing); }

KeyBuilder::KeyBuilder(KeyOptions options) : options_(std::move(options)) {}

std::string TenantKey(std::string_view tenant) {
  std::string key;
  AppendText(kTenant, tenant, &key);
  return key;
}

std::span<const std::string_view> KeyBuilder::Build(const Event& event) {
  keys_.clear();
  if (buffers_.empty()) buffers_.resize(1);
  size_t used = 1;  // buffers_[0, used) are the keys so far
  buffers_[0].clear();
  AppendText(kTenant, options_.tenant, &buffers_[0]);
  bool capped = false;
  for (int slot : options_.slots) {
    const Value& value = event.field(slot);
    if (IsMissing(value)) {
      if (!options_.keep_missing) {
        ++counters_.missing_part;
        return {};
      }
      for (size_t i = 0; i < used; ++i) AppendMissingKeyPart(&buffers_[i]);
      continue;
    }
    if (!value.is_array()) {
      for (size_t i = 0; i < used; ++i) AppendKeyPart(value, options_.cased, &buffers_[i]);
      continue;
    }
    // One key for each distinct member, for each key so far.
    std::vector<std::string> parts;
    for (const Value& item : value.items()) {
      std::string part;
      if (!AppendKeyPart(item, options_.cased, &part)) continue;
      if (std::find(parts.begin(), parts.end(), part) != parts.end()) continue;
      if (parts.size() * used >= kKeyMembersMax) {
        capped = true;
        break;
      }
      parts.push_back(std::move(part));
    }
    std::vector<std::string> prefixes(buffers_.begin(),
                                      buffers_.begin() + static_cast<std::ptrdiff_t>(used));
    used = 0;
    buffers_.resize(std::max(buffers_.size(), prefixes.size() * parts.size()));
    for (const std::string& prefix : prefixes) {
      for (const std::string& part : parts) buffers_[used++] = prefix + part;
    }
  }
  if (capped) ++counters_.members_capped;
  for (size_t i = 0; i < used; ++i) keys_.push_back(buffers_[i]);
  return keys_;
}

ShardId ShardOf(std::string_view key, uint64_t seed, uint16_t shards) {
  return static_cast<ShardId>(XXH3_64bits_withSeed(key.data(), key.size(), seed) % shards);
}

namespace {

// Calls `part` for the tenant and each part, as people read them.
void ForEachPart(std::string_view key, absl::FunctionRef<void(char kind, std::string part)> part) {
  while (!key.empty()) {
    const char kind = key.front();
    key.remove_prefix(1);
    if (kind == kAddress) {
      IpBytes ip;
      BONGSU_CHECK(key.size() >= ip.size());
      std::memcpy(ip.data(), key.data(), ip.size());
      key.remove_prefix(ip.size());
      part(kind, IpText(ip));
    } else if (kind == kHashed) {
      part(kind, std::string(key.substr(0, kKeyPartBytesMax)) + "...");
      key.remove_prefix(kKeyPartBytesMax + 16);
    } else if (kind == kMissing) {
      part(kind, "(none)");
    } else {
      BONGSU_CHECK(key.size() >= 2);
      const size_t size =
          static_cast<size_t>(static_cast<uint8_t>(key[0])) << 8 | static_cast<uint8_t>(key[1]);
      part(kind, std::string(key.substr(2, size)));
      key.remove_prefix(2 + size);
    }
  }
}

}  // namespace

std::string KeyText(std::string_view key) {
  std::string text;
  ForEachPart(key, [&text](char kind, const std::string& part) {
    if (kind == kTenant && part.empty()) return;
    text += (text.empty() ? "" : ", ") + part;
  });
  return text;
}

std::vector<std::string> KeyParts(std::string_view key) {
  std::vector<std::string> parts;
  ForEachPart(key, [&parts](char kind, std::string part) {
    if (kind != kTenant) parts.push_back(std::move(part));
  });
  return parts;
}

}  // namespace bongsu
