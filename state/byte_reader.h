// File: state/byte_reader.h
//
// Reading and writing the log's bytes (state/FORMAT.md): big-endian numbers, varints (seven bits a
// byte, lowest first), and byte strings with their length in front.
//
//   ByteReader reader(bytes);
//   const uint64_t epoch = reader.U64();
//   const std::string_view name = reader.Bytes();
//   if (!reader.ok()) return Malformed();
//
// A read beyond the end makes the reader "not ok" for good and returns zeros: one check at the end
// is enough. Lifetime: views point into the bytes given. Thread-safety: none.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "state/key_encoding.h"

namespace bongsu {

inline void AppendVarint(uint64_t number, std::string* out) {
  while (number >= 0x80) {
    out->push_back(static_cast<char>(number | 0x80));
    number >>= 7;
  }
  out->push_back(static_cast<char>(number));
}

inline void AppendBytes(std::string_view bytes, std::string* out) {
  AppendVarint(bytes.size(), out);
  out->append(bytes);
}

class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}
  bool ok() const { return ok_; }
  bool empty() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }

  std::string_view Take(uint64_t size) {
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }
  uint8_t U8() {
    const std::string_view bytes = Take(1);
    return ok_ ? static_cast<uint8_t>(bytes[0]) : uint8_t{0};
  }
  uint16_t U16() {
    const std::string_view bytes = Take(2);
    return ok_ ? ReadU16(bytes) : uint16_t{0};
  }
  uint64_t U64() {
    const std::string_view bytes = Take(8);
    return ok_ ? ReadU64(bytes) : 0;
  }
  uint64_t Varint() {
    uint64_t number = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = U8();
      number |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return number;
    }
    ok_ = false;
    return 0;
  }
  std::string_view Bytes() { return Take(Varint()); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace bongsu
