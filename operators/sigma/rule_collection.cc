#include "operators/sigma/rule_collection.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace bongsu::sigma {
namespace {

void Merge(const Node& from, Node* into) {
  for (const auto& [key, value] : from.entries) {
    const auto same = std::find_if(into->entries.begin(), into->entries.end(),
                                   [&](const auto& one) { return one.first.scalar == key.scalar; });
    if (same == into->entries.end()) {
      into->entries.emplace_back(key, value);
    } else if (same->second.is_map() && value.is_map()) {
      Merge(value, &same->second);
    } else {
      same->second = value;
    }
  }
}

// The document's action, taken out of it; empty where it has none.
std::string TakeAction(Node* document) {
  const auto action = std::find_if(document->entries.begin(), document->entries.end(),
                                   [](const auto& one) { return one.first.scalar == "action"; });
  if (action == document->entries.end() || !action->second.is_scalar()) return "";
  std::string text = action->second.scalar;
  document->entries.erase(action);
  return text;
}

}  // namespace

std::vector<Node> ExpandCollection(std::vector<Node> documents, Diagnostics& diagnostics) {
  std::vector<Node> rules;
  std::optional<Node> global;
  std::optional<Node> previous;
  for (Node& document : documents) {
    const Node* written = document.Find("action");
    const SourceLocation where = written != nullptr ? written->where : document.where;
    const std::string action = TakeAction(&document);
    if (action == "global") {
      global = std::move(document);
      continue;
    }
    if (action == "reset") {
      global.reset();
      continue;
    }
    if (action == "repeat") {
      if (!previous) {
        diagnostics.Error(where, "'action: repeat' without a document before it",
                          "it takes what the document before says");
        continue;
      }
      Node repeated = *previous;
      repeated.where = document.where;
      Merge(document, &repeated);
      document = std::move(repeated);
    } else if (!action.empty()) {
      diagnostics.Error(where, fmt::format("unknown action '{}'", action),
                        "global, reset or repeat");
      continue;
    }
    if (!document.is_map()) {
      rules.push_back(std::move(document));
      continue;
    }
    previous = document;
    if (global) Merge(*global, &document);
    rules.push_back(std::move(document));
  }
  return rules;
}

}  // namespace bongsu::sigma
