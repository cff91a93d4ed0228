#include "operators/sigma/encoding.h"

#include "absl/strings/escaping.h"

namespace bongsu::sigma {
namespace {

// The code point at the beginning of `*text`, which loses it; a byte that is not UTF-8 is one.
uint32_t TakeCodePoint(std::string_view* text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>((*text)[i]); };
  const uint8_t lead = byte(0);
  const size_t size = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (size == 1 || size > text->size()) {
    text->remove_prefix(1);
    return lead;
  }
  uint32_t point = lead & (0xffu >> (size + 1));
  for (size_t i = 1; i < size; ++i) point = point << 6 | (byte(i) & 0x3fu);
  text->remove_prefix(size);
  return point;
}

}  // namespace

std::string_view DashAt(std::string_view text) {
  for (const std::string_view dash : kDashes) {
    if (text.starts_with(dash)) return dash;
  }
  return {};
}

std::vector<std::string> WindashTexts(std::string_view text, size_t most) {
  std::vector<std::string> texts(1);
  while (!text.empty()) {
    const std::string_view dash = DashAt(text);
    if (dash.empty()) {
      for (std::string& one : texts) one.push_back(text.front());
      text.remove_prefix(1);
      continue;
    }
    if (texts.size() * kDashes.size() > most) return {};
    std::vector<std::string> next;
    for (const std::string& one : texts) {
      for (const std::string_view other : kDashes) next.push_back(one + std::string(other));
    }
    texts = std::move(next);
    text.remove_prefix(dash.size());
  }
  return texts;
}

std::string Utf16Bytes(std::string_view text, Modifier encoding) {
  const bool big = encoding == Modifier::kUtf16Be;
  std::string bytes;
  const auto unit = [&](uint32_t value) {
    const char high = static_cast<char>(value >> 8);
    const char low = static_cast<char>(value & 0xff);
    bytes.push_back(big ? high : low);
    bytes.push_back(big ? low : high);
  };
  if (encoding == Modifier::kUtf16) unit(0xfeff);
  while (!text.empty()) {
    const uint32_t point = TakeCodePoint(&text);
    if (point < 0x10000) {
      unit(point);
    } else {
      unit(0xd800 + ((point - 0x10000) >> 10));
      unit(0xdc00 + ((point - 0x10000) & 0x3ff));
    }
  }
  return bytes;
}

std::string Base64(std::string_view bytes) {
  return absl::Base64Escape(absl::string_view(bytes.data(), bytes.size()));
}

std::array<std::string, 3> Base64Offsets(std::string_view bytes) {
  std::array<std::string, 3> texts;
  for (size_t offset = 0; offset < 3; ++offset) {
    const std::string text = Base64(std::string(offset, ' ') + std::string(bytes));
    // The first character that holds nothing of what stands before; the last whose six bits are all
    // of the value: behind it stand a mixed character and padding.
    constexpr size_t kFrom[] = {0, 2, 3};
    constexpr size_t kCut[] = {0, 3, 2};
    const size_t cut = kCut[(bytes.size() + offset) % 3];
    texts[offset] = text.size() >= kFrom[offset] + cut
                        ? text.substr(kFrom[offset], text.size() - kFrom[offset] - cut)
                        : "";
  }
  return texts;
}

}  // namespace bongsu::sigma
