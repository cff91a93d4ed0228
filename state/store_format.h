// File: state/store_format.h
//
// What the rows of the store's meta family are called (grammar: state/FORMAT.md): for the store,
// and for who looks at one from outside (state/inspect.h).
//
// Thread-safety: pure functions.
#pragma once

#include <fmt/format.h>
#include <xxhash.h>

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "state/frozen_shard.h"
#include "state/key_encoding.h"

namespace bongsu {

inline constexpr int kFormatVersion = 2;
inline constexpr char kFormatKey[] = "format";
inline constexpr char kCheckpointKey[] = "checkpoint";
inline constexpr char kLogKey[] = "log";
inline constexpr char kChangelogPrefix[] = "changelog/";
inline constexpr const char* kFamilyNames[kFamilies] = {"default", "lists", "values", "timers"};

inline constexpr char kDamaged[] =
    ": the state is damaged; restore a backup, or move the folder away and start anew";

// What RocksDB says when it cannot lock a store that another process has open (or this one): by its
// words only, and it says others of a lock that cannot be opened.
inline bool HeldByAnother(std::string_view rocksdb_error) {
  return rocksdb_error.find("hile lock file") != std::string_view::npos ||
         rocksdb_error.find("lock hold by current process") != std::string_view::npos;
}

inline std::string WithChecksum(std::string body) {
  AppendU64(XXH3_64bits(body.data(), body.size()), &body);
  return body;
}

inline absl::StatusOr<std::string> CheckedBody(std::string bytes, std::string_view what) {
  if (bytes.size() < 8) return absl::DataLossError(fmt::format("{} is too short", what));
  const uint64_t checksum = ReadU64(std::string_view(bytes).substr(bytes.size() - 8));
  bytes.resize(bytes.size() - 8);
  if (checksum != XXH3_64bits(bytes.data(), bytes.size()))
    return absl::DataLossError(fmt::format("the checksum of {} does not hold{}", what, kDamaged));
  return bytes;
}

}  // namespace bongsu
