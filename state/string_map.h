// File: state/string_map.h
//
// `StringMap<V>`: a hash map keyed by std::string that can be searched with a std::string_view
// without making a string. Debian's Abseil is built with its own string_view type, so that the
// default hash of `absl::flat_hash_map<std::string, V>` does not accept std::string_view; this one
// does.
//
//   StringMap<int> counts;
//   ++counts["late"];
//   if (auto it = counts.find(view); it != counts.end()) ...
//
// Thread-safety: as absl::flat_hash_map.
#pragma once

#include <xxhash.h>

#include <functional>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

namespace bongsu {

struct StringViewHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const {
    return static_cast<size_t>(XXH3_64bits(text.data(), text.size()));
  }
};

template <typename V>
using StringMap = absl::flat_hash_map<std::string, V, StringViewHash, std::equal_to<>>;
using StringSet = absl::flat_hash_set<std::string, StringViewHash, std::equal_to<>>;

}  // namespace bongsu
