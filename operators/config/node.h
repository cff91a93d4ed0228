// File: operators/config/node.h
//
// A tree of configuration: what YAML says, with the place where it says it, so that every later
// message can name file, line and column. It is plain data; the YAML library is behind ParseYaml
// only.
//
//   Diagnostics diagnostics;
//   std::vector<Node> documents = ParseYaml(text, "bongsu.yaml", YamlLimits{}, diagnostics);
//   const Node* level = documents[0].Find("level");
//
// Maps keep their order and their duplicate keys are an error. Anchors and aliases are expanded
// within the bounds of YamlLimits; beyond them (alias bombs, deep nesting, huge files) parsing
// stops with a message. ParseYaml is the only place that uses the YAML library.
//
// Thread-safety: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "operators/config/diagnostics.h"

namespace bongsu {

enum class NodeKind : uint8_t { kNull, kScalar, kSequence, kMap };

struct NodeEntry;

struct Node {
  NodeKind kind = NodeKind::kNull;
  std::string scalar;   // kScalar: the text after YAML's own unescaping
  bool quoted = false;  // kScalar: written in quotes (or as a block), so it is a string whatever it
                        // looks like
  std::vector<Node> items;         // kSequence
  std::vector<NodeEntry> entries;  // kMap, in order; keys are scalars
  SourceLocation where;

  bool is_null() const { return kind == NodeKind::kNull; }
  bool is_scalar() const { return kind == NodeKind::kScalar; }
  bool is_sequence() const { return kind == NodeKind::kSequence; }
  bool is_map() const { return kind == NodeKind::kMap; }
  // The value of `key` in a map; null where there is none.
  const Node* Find(std::string_view key) const;
};

// YAML's booleans: true, True, TRUE and the like; nullopt for anything else.
std::optional<bool> BoolOf(const Node& node);

// One line of a map, with the names of std::pair (which may not hold a type that is not complete).
struct NodeEntry {
  NodeEntry(Node key, Node value);

  Node first;   // the key
  Node second;  // its value
};

struct YamlLimits {
  size_t bytes_max = size_t{16} << 20;
  int depth_max = 64;
  size_t nodes_max = 2'000'000;        // after alias expansion
  size_t aliased_nodes_max = 100'000;  // a small file must not become a large rule
};

// All documents of `text`. Mistakes go to `diagnostics`; what could be read is returned. `ends`:
// for each document how many of the diagnostics stand up to its end; where there are more behind
// the last one, reading ended there, and documents may be missing.
std::vector<Node> ParseYaml(std::string_view text, std::string_view file, const YamlLimits& limits,
                            Diagnostics& diagnostics, std::vector<size_t>* ends = nullptr);

}  // namespace bongsu
