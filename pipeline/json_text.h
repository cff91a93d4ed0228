// File: pipeline/json_text.h
//
// JSON written by hand: appends pieces of JSON to a string. For the event path, where a JSON
// library's tree would cost more than all the rest of an alert.
//
//   std::string json = "{\"image\":";
//   AppendJsonString(value.text(), &json);      // quotes and escapes included
//   json += ",\"time\":\"";
//   AppendRfc3339(event.time, &json);           // 2026-05-04T08:15:30.123456789Z
//   json += "\"}";
//
// What AppendJsonText escapes, beyond what JSON demands: DEL and the C1 controls, line and
// paragraph separator, and the marks that turn the direction of text (U+061C, U+200E, U+200F,
// U+202A-202E, U+2066-2069, U+FEFF). They are written as \uXXXX, so that an attacker's file name
// cannot rearrange an analyst's screen; a JSON parser gives the same text back. A byte that is not
// UTF-8 becomes \ufffd: the result is always valid.
//
// Thread-safety: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "state/types.h"

namespace bongsu {

// `text` as the inside of a JSON string, without quotes.
void AppendJsonText(std::string_view text, std::string* out);

// `text` as a JSON string, in quotes.
inline void AppendJsonString(std::string_view text, std::string* out) {
  out->push_back('"');
  AppendJsonText(text, out);
  out->push_back('"');
}

void AppendInt(int64_t number, std::string* out);
void AppendUint(uint64_t number, std::string* out);

// UTC with nine digits of fraction, without quotes. Every EventTimeNs has a year of four digits.
void AppendRfc3339(EventTimeNs time, std::string* out);
std::string Rfc3339(EventTimeNs time);

// Milliseconds since the epoch, rounded down (also before 1970).
int64_t EpochMs(EventTimeNs time);

// Lower-case hexadecimal digits, two for each byte.
void AppendHex(const uint8_t* bytes, size_t size, std::string* out);

// RFC 4648 with padding, without quotes.
void AppendBase64(std::string_view bytes, std::string* out);

// True when `text` is well-formed UTF-8 (no overlong forms, no surrogates).
bool IsValidUtf8(std::string_view text);

// The longest prefix of `text` of at most `bytes_max` bytes that does not end within a code point.
std::string_view Utf8Prefix(std::string_view text, size_t bytes_max);

// True when `text` is a number as JSON writes it, and one that a double holds (1e400 is none, and
// readers refuse all that it stands in), so that it may stand unquoted.
bool IsJsonNumber(std::string_view text);

}  // namespace bongsu
