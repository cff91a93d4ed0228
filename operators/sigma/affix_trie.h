// File: operators/sigma/affix_trie.h
//
// Many literals found at the beginning, or at the end, of a text, by one walk over it that stops
// where no literal goes on.
//
//   AffixTrie ends(/*from_end=*/true);
//   ends.Add("\\cmd.exe", 0);
//   ends.Find("c:\\windows\\cmd.exe", [&](uint32_t id) { ... });   // 0
//
// Thread-safety: filled on one thread, then immutable. Find does not allocate.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace bongsu::sigma {

class AffixTrie {
 public:
  explicit AffixTrie(bool from_end) : from_end_(from_end), nodes_(1) { table_.resize(16); }

  // Each literal once; not empty.
  void Add(std::string_view literal, uint32_t id) {
    uint32_t node = 0;
    for (size_t i = 0; i < literal.size(); ++i) {
      const char c = At(literal, i);
      uint32_t next = Child(node, c);
      if (next == 0) {
        next = static_cast<uint32_t>(nodes_.size());
        nodes_.push_back(kNone);
        Insert(node, c, next);
      }
      node = next;
    }
    nodes_[node] = id;
  }
  bool empty() const { return nodes_.size() == 1; }

  template <typename Found>
  void Find(std::string_view text, const Found& found) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      node = Child(node, At(text, i));
      if (node == 0) return;
      if (nodes_[node] != kNone) found(nodes_[node]);
    }
  }

 private:
  static constexpr uint32_t kNone = ~uint32_t{0};
  // An edge of the trie in one open table: the walk touches a cache line for each character.
  struct Edge {
    uint64_t key = 0;  // parent and character, plus 1; 0: free
    uint32_t child = 0;
  };

  char At(std::string_view text, size_t i) const {
    return from_end_ ? text[text.size() - 1 - i] : text[i];
  }
  static uint64_t Key(uint32_t node, char c) {
    return (uint64_t{node} << 8 | static_cast<uint8_t>(c)) + 1;
  }
  size_t Slot(uint64_t key) const {
    return static_cast<size_t>(key * 0x9E37'79B9'7F4A'7C15u >> 32) & (table_.size() - 1);
  }
  uint32_t Child(uint32_t node, char c) const {
    const uint64_t key = Key(node, c);
    for (size_t at = Slot(key);; at = (at + 1) & (table_.size() - 1)) {
      if (table_[at].key == key) return table_[at].child;
      if (table_[at].key == 0) return 0;
    }
  }
  void Insert(uint32_t node, char c, uint32_t child) {
    if (nodes_.size() * 2 > table_.size()) {
      std::vector<Edge> old(table_.size() * 2);
      old.swap(table_);
      for (const Edge& edge : old) {
        if (edge.key != 0) Put(edge);
      }
    }
    Put({Key(node, c), child});
  }
  void Put(const Edge& edge) {
    size_t at = Slot(edge.key);
    while (table_[at].key != 0) at = (at + 1) & (table_.size() - 1);
    table_[at] = edge;
  }

  bool from_end_;
  std::vector<uint32_t> nodes_;  // id of the literal that ends there
  std::vector<Edge> table_;      // a power of two
};

}  // namespace bongsu::sigma
