// File: operators/config/option.h
//
// Configuration keys as data: each key stands once, in a table of OptionDef, and from it come the
// parser's checks (unknown key, wrong type, out of range, missing), the defaults and the page
// deploy/CONFIG.md.
//
//   const std::vector<OptionDef> kTimeOptions = {
//     {.path = "out_of_orderness", .type = OptionType::kDuration, .default_text = "5s",
//      .example = "30s", .doc = "How far a record may lie behind the newest of its partition ..."},
//   };
//   OptionReader reader(node, kTimeOptions, diagnostics);   // checks the whole map at once
//   DurationNs lateness = reader.Duration("allowed_lateness");
//
// Durations are written with a unit: ns, us, ms, s, m, h, d, w. Sizes: B, KiB, MiB, GiB, or KB, MB,
// GB (powers of ten). `${NAME}` in a scalar is replaced from the environment before the tables see
// it.
//
// Thread-safety: tables are constants; a reader belongs to one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"
#include "state/types.h"

namespace bongsu {

enum class OptionType : uint8_t {
  kString,
  kInt,
  kBool,
  kDuration,
  kBytes,
  kEnum,
  kStringList,  // a list, or one string
  kNameOrMap,   // a name, or a map that another table or parser reads
  kMap,         // a map that another table or parser reads
  kMapList,     // a list of maps
  kStringMap,   // keys and values as they stand (librdkafka properties)
};

struct OptionDef {
  std::string path;  // key within its map
  OptionType type = OptionType::kString;
  std::string unit;  // for people: "records", "bytes"; durations and sizes carry their own
  bool required = false;
  std::string default_text;          // as it would be written; empty: none
  std::vector<std::string> choices;  // kEnum
  int64_t min = INT64_MIN;           // kInt, kDuration (ns), kBytes (bytes)
  int64_t max = INT64_MAX;
  std::string example;
  std::string doc;  // one or two sentences
  // Not built yet: given any value, it is refused with this text.
  std::string refused = "";
};

// Reads one map against one table. The constructor checks all of it and reports every mistake; the
// getters then return the given value or the default (a zero value after an error).
class OptionReader {
 public:
  OptionReader(const Node& map, const std::vector<OptionDef>& options, Diagnostics& diagnostics);
  bool has(std::string_view path) const;              // written in the configuration
  const Node* node(std::string_view path) const;      // null where it is not written
  SourceLocation where(std::string_view path) const;  // of the value, or of the map
  std::string String(std::string_view path) const;
  int64_t Int(std::string_view path) const;
  bool Bool(std::string_view path) const;
  DurationNs Duration(std::string_view path) const;
  int64_t Bytes(std::string_view path) const;
  std::vector<std::string> StringList(std::string_view path) const;

 private:
  const OptionDef* Def(std::string_view path) const;
  const Node& map_;
  const std::vector<OptionDef>& options_;
};

std::optional<DurationNs> ParseDuration(std::string_view text);
std::optional<int64_t> ParseBytes(std::string_view text);
// "90s", "1m", "250ms": the largest unit that divides it.
std::string DurationText(DurationNs duration);
// "16MiB".
std::string BytesText(int64_t bytes);

}  // namespace bongsu
