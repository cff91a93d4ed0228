#include "operators/incident.h"

#include <openssl/evp.h>

#include <cstring>
#include <memory>

#include "state/check.h"

namespace bongsu {
namespace {

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

// Looking the algorithm up costs more than the hash itself: once a thread is enough.
class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) {
    BONGSU_CHECK(context_ != nullptr);
    BONGSU_CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  }
  void Begin() { BONGSU_CHECK(EVP_DigestInit_ex(context_.get(), nullptr, nullptr) == 1); }
  void Add(const void* bytes, size_t size) {
    BONGSU_CHECK(EVP_DigestUpdate(context_.get(), bytes, size) == 1);
  }
  void End(uint8_t (&digest)[32]) {
    unsigned size = 0;
    BONGSU_CHECK(EVP_DigestFinal_ex(context_.get(), digest, &size) == 1 && size == 32);
  }

 private:
  std::unique_ptr<EVP_MD_CTX, FreeContext> context_;
};

Sha256& ThreadSha256() {
  thread_local Sha256 sha256;
  return sha256;
}

// Eight bytes, the highest first.
void AppendNumber(uint64_t number, std::string* out) {
  char bytes[8];
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(number >> (56 - 8 * i));
  out->append(bytes, sizeof(bytes));
}

// Every part has its length in front, so that no two anchors give the same bytes.
void AppendPart(std::string_view part, std::string* out) {
  AppendNumber(part.size(), out);
  out->append(part);
}

std::string Hex(const uint8_t* bytes, size_t size) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text(2 * size, '0');
  for (size_t i = 0; i < size; ++i) {
    text[2 * i] = kDigits[bytes[i] >> 4];
    text[2 * i + 1] = kDigits[bytes[i] & 15];
  }
  return text;
}

}  // namespace

std::string_view TimeOriginName(TimeOrigin from) {
  switch (from) {
    case TimeOrigin::kEvent:
      return "event";
    case TimeOrigin::kFuture:
      return "future";
    case TimeOrigin::kRecord:
      return "record";
    case TimeOrigin::kWallClock:
      return "wall_clock";
  }
  return "";
}

std::string IncidentIdText(const IncidentId& id) { return Hex(id.data(), id.size()); }

IncidentId MakeIncidentId(const IncidentAnchor& anchor) {
  thread_local std::string bytes;
  bytes.clear();
  AppendPart(anchor.rule, &bytes);
  AppendPart(anchor.rule_hash, &bytes);
  AppendPart(anchor.key, &bytes);
  AppendPart(anchor.origin, &bytes);
  AppendNumber(static_cast<uint64_t>(anchor.offset), &bytes);
  AppendNumber(static_cast<uint64_t>(anchor.time), &bytes);
  if (!anchor.second_origin.empty()) {
    AppendPart(anchor.second_origin, &bytes);
    AppendNumber(static_cast<uint64_t>(anchor.second_offset), &bytes);
    AppendNumber(static_cast<uint64_t>(anchor.second_time), &bytes);
  }
  uint8_t digest[32];
  Sha256& sha256 = ThreadSha256();
  sha256.Begin();
  sha256.Add(bytes.data(), bytes.size());
  sha256.End(digest);
  IncidentId id;
  std::memcpy(id.data(), digest, id.size());
  return id;
}

std::string Sha256Hex(std::string_view text) {
  uint8_t digest[32];
  Sha256& sha256 = ThreadSha256();
  sha256.Begin();
  sha256.Add(text.data(), text.size());
  sha256.End(digest);
  return Hex(digest, sizeof(digest));
}

}  // namespace bongsu
