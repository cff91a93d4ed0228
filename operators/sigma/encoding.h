// File: operators/sigma/encoding.h
//
// What the modifiers windash, wide, utf16be, utf16, base64 and base64offset make of a value.
//
//   // As it stands in an encoded text at each of the three byte positions:
//   Base64Offsets("/bin/sh")   // {"L2Jpbi9za", "9iaW4vc2", "vYmluL3No"}
//
// Thread-safety: pure functions.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "operators/sigma/modifier.h"

namespace bongsu::sigma {

// The characters that `windash` takes for one another.
inline constexpr std::array<std::string_view, 5> kDashes = {"-", "/", "\u2013", "\u2014", "\u2015"};
// The dash at the beginning of `text`; empty where there is none.
std::string_view DashAt(std::string_view text);

// `text` with each of its dashes replaced by each dash. Empty when that is more than `most` texts.
std::vector<std::string> WindashTexts(std::string_view text, size_t most);

// UTF-8 as the bytes of kWide (little endian), kUtf16Be, or kUtf16 (FF FE, then little endian).
std::string Utf16Bytes(std::string_view text, Modifier encoding);

std::string Base64(std::string_view bytes);
std::array<std::string, 3> Base64Offsets(std::string_view bytes);

}  // namespace bongsu::sigma
