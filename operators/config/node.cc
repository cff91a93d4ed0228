#include "operators/config/node.h"

#include <fmt/format.h>
#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <initializer_list>
#include <istream>
#include <map>
#include <memory>
#include <set>
#include <streambuf>

#include "operators/config/option.h"

namespace bongsu {
namespace {

// Builds Nodes from the parser's events, so that aliases are expanded under our bounds and the
// library's own tree is never made.
class Builder : public YAML::EventHandler {
 public:
  Builder(std::string_view file, const YamlLimits& limits, Diagnostics& diagnostics)
      : file_(file), limits_(limits), diagnostics_(diagnostics) {}

  bool stopped() const { return stopped_; }
  Node TakeDocument() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {
    stack_.clear();
    anchors_.clear();
    root_ = Node{};
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Node node;
    node.where = Where(mark);
    Finish(std::move(node), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto it = anchors_.find(anchor);
    if (it == anchors_.end()) {
      Stop(mark, "alias to an unknown anchor", "an anchor (&name) stands before its aliases");
      return;
    }
    const size_t nodes = Count(it->second);
    if ((aliased_ += nodes) > limits_.aliased_nodes_max) {
      Stop(mark, fmt::format("aliases stand for more than {} nodes", limits_.aliased_nodes_max),
           "write out what differs, or split the file");
      return;
    }
    if (Charge(nodes, mark)) Finish(it->second, 0);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    CheckTag(mark, tag, {"str", "int", "float", "bool", "null"});
    Node node;
    node.where = Where(mark);
    node.scalar = value;
    node.quoted = tag == "!" || tag == "tag:yaml.org,2002:str";
    // YAML's nulls, unless quoted.
    node.kind = !node.quoted && (value.empty() || value == "~" || value == "null" ||
                                 value == "Null" || value == "NULL")
                    ? NodeKind::kNull
                    : NodeKind::kScalar;
    Finish(std::move(node), anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    CheckTag(mark, tag, {"seq"});
    Start(mark, NodeKind::kSequence, anchor);
  }
  void OnSequenceEnd() override { End(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    CheckTag(mark, tag, {"map"});
    Start(mark, NodeKind::kMap, anchor);
  }
  void OnMapEnd() override { End(); }

 private:
  struct Open {
    Node node;
    YAML::anchor_t anchor = 0;
    bool has_key = false;
    Node key;
    std::set<std::string> keys;
  };

  SourceLocation Where(const YAML::Mark& mark) const {
    return {file_, mark.line + 1, mark.column + 1};
  }

  void Stop(const YAML::Mark& mark, const std::string& message, const std::string& hint) {
    if (!stopped_) diagnostics_.Error(Where(mark), message, hint);
    stopped_ = true;
  }

  // A tag that says nothing new is fine; another (!!binary, !include) would change the value.
  void CheckTag(const YAML::Mark& mark, std::string_view tag,
                std::initializer_list<std::string_view> plain) {
    constexpr std::string_view kYaml = "tag:yaml.org,2002:";
    if (tag.empty() || tag == "!" || tag == "?") return;
    const bool yaml = tag.starts_with(kYaml);
    if (yaml) tag.remove_prefix(kYaml.size());
    if (yaml && std::find(plain.begin(), plain.end(), tag) != plain.end()) return;
    diagnostics_.Error(Where(mark),
                       fmt::format("the tag '{}{}' is not known", yaml ? "!!" : "", tag),
                       "write the value as it is to be compared");
  }

  static size_t Count(const Node& node) {
    size_t count = 1;
    for (const Node& item : node.items) count += Count(item);
    for (const auto& [key, value] : node.entries) count += 1 + Count(value);
    return count;
  }

  bool Charge(size_t nodes, const YAML::Mark& mark) {
    nodes_ += nodes;
    if (nodes_ <= limits_.nodes_max) return !stopped_;
    Stop(mark, fmt::format("more than {} nodes after expanding aliases", limits_.nodes_max),
         "split the file");
    return false;
  }

  void Start(const YAML::Mark& mark, NodeKind kind, YAML::anchor_t anchor) {
    if (static_cast<int>(stack_.size()) >= limits_.depth_max) {
      Stop(mark, fmt::format("nested deeper than {} levels", limits_.depth_max), "");
    }
    Open open;
    open.node.kind = kind;
    open.node.where = Where(mark);
    open.anchor = anchor;
    if (!stopped_ || stack_.size() < 2 * static_cast<size_t>(limits_.depth_max))
      stack_.push_back(std::move(open));
    else
      ++skipped_;
  }

  void End() {
    if (skipped_ > 0) {
      --skipped_;
      return;
    }
    Open open = std::move(stack_.back());
    stack_.pop_back();
    Finish(std::move(open.node), open.anchor);
  }

  void Finish(Node node, YAML::anchor_t anchor) {
    if (skipped_ > 0 || stopped_) return;
    if (!Charge(1, YAML::Mark::null_mark())) return;
    if (anchor != 0) anchors_[anchor] = node;
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& open = stack_.back();
    if (open.node.kind == NodeKind::kSequence) {
      open.node.items.push_back(std::move(node));
    } else if (!open.has_key) {
      if (!node.items.empty() || !node.entries.empty() || node.is_sequence() || node.is_map()) {
        diagnostics_.Error(node.where, "a key must be a plain word", "not a list or a map");
        node.kind = NodeKind::kScalar;
      }
      // Taken for a key of that name, what it brings would be missing without a word.
      if (node.scalar == "<<" && !node.quoted)
        diagnostics_.Error(node.where, "merge keys ('<<') are not known",
                           "write out what it stands for, or quote it where a field is called so");
      open.key = std::move(node);
      open.has_key = true;
    } else {
      if (!open.keys.insert(open.key.scalar).second) {
        diagnostics_.Error(open.key.where, fmt::format("key '{}' stands twice", open.key.scalar),
                           "the first one counts; remove one");
      } else {
        open.node.entries.emplace_back(std::move(open.key), std::move(node));
      }
      open.has_key = false;
    }
  }

  const std::string file_;
  const YamlLimits& limits_;
  Diagnostics& diagnostics_;
  Node root_;
  std::vector<Open> stack_;
  std::map<YAML::anchor_t, Node> anchors_;
  size_t nodes_ = 0;
  size_t aliased_ = 0;  // those of them that were written as aliases
  size_t skipped_ = 0;
  bool stopped_ = false;
};

// The library's scanner and parser recurse on nesting: a cheap look at the brackets and indentation
// refuses what would overflow the stack before they see it. Strings may hold brackets, so that the
// bound is generous; real configurations are far below it.
bool TooNested(std::string_view text, int* line) {
  constexpr int kBracketsMax = 2'000;
  constexpr int kLineDashesMax = 500;
  int open = 0;
  int dashes = 0;
  int at = 1;
  bool line_start = true;
  for (char c : text) {
    if (c == '\n') {
      ++at;
      line_start = true;
      dashes = 0;
      continue;
    }
    if (c == '[' || c == '{') ++open;
    if ((c == ']' || c == '}') && open > 0) --open;
    if (line_start && (c == '-' || c == '?' || c == ':'))
      ++dashes;
    else if (c != ' ')
      line_start = false;
    if (open > kBracketsMax || dashes > kLineDashesMax) {
      *line = at;
      return true;
    }
  }
  return false;
}

class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // read only: the get area is never written
    setg(begin, begin, begin + text.size());
  }
};

}  // namespace

NodeEntry::NodeEntry(Node key, Node value) : first(std::move(key)), second(std::move(value)) {}

const Node* Node::Find(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    if (name.scalar == key) return &value;
  }
  return nullptr;
}

std::optional<bool> BoolOf(const Node& node) {
  if (!node.is_scalar()) return std::nullopt;
  const std::string& text = node.scalar;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  return std::nullopt;
}

std::vector<Node> ParseYaml(std::string_view text, std::string_view file, const YamlLimits& limits,
                            Diagnostics& diagnostics, std::vector<size_t>* ends) {
  std::vector<Node> documents;
  const std::string name(file);
  if (text.size() > limits.bytes_max) {
    diagnostics.Error(
        {name, 0, 0},
        fmt::format("larger than {}", BytesText(static_cast<int64_t>(limits.bytes_max))), "");
    return documents;
  }
  if (int line = 0; TooNested(text, &line)) {
    diagnostics.Error({name, line, 1},
                      fmt::format("nested deeper than {} levels", limits.depth_max), "");
    return documents;
  }
  ViewBuffer buffer(text);
  std::istream stream(&buffer);
  Builder builder(file, limits, diagnostics);
  try {
    YAML::Parser parser(stream);
    while (!builder.stopped() && parser.HandleNextDocument(builder)) {
      if (builder.stopped()) break;
      documents.push_back(builder.TakeDocument());
      if (ends != nullptr) ends->push_back(diagnostics.all().size());
    }
  } catch (const YAML::Exception& error) {
    // What the library says of the rest of a document that we gave up on is no news.
    if (!builder.stopped()) {
      diagnostics.Error({name, error.mark.line + 1, error.mark.column + 1},
                        "not valid YAML: " + error.msg,
                        "often an indentation, a tab, or a quote that is not closed just before");
    }
  }
  return documents;
}

}  // namespace bongsu
