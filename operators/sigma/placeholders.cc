#include "operators/sigma/placeholders.h"

#include <fmt/format.h>

#include <algorithm>

namespace bongsu::sigma {
namespace {

// The name of the placeholder that begins at text[at] == '%', or empty: it ends with '%' and has no
// blank within.
std::string_view NameAt(std::string_view text, size_t at) {
  const size_t end = text.find('%', at + 1);
  if (end == std::string_view::npos) return {};
  const std::string_view name = text.substr(at + 1, end - at - 1);
  const bool good = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '-' || c == '.';
  });
  return good ? name : std::string_view();
}

// All texts that `value` may stand for. False after errors; `*found` tells whether it has a
// placeholder at all.
bool ExpandText(const Placeholders& placeholders, const Node& value, std::vector<std::string>* out,
                bool* found, Diagnostics& diagnostics) {
  const std::string& text = value.scalar;
  out->assign(1, "");
  const auto append = [&](char c) {
    for (std::string& one : *out) one.push_back(c);
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && text[i + 1] == '%') {
      append('%');
      ++i;
      continue;
    }
    const std::string_view name = text[i] == '%' ? NameAt(text, i) : std::string_view();
    if (name.empty()) {
      append(text[i]);
      continue;
    }
    const auto it = placeholders.find(name);
    if (it == placeholders.end()) {
      std::vector<std::string_view> names;
      for (const auto& [known, unused] : placeholders) names.push_back(known);
      const std::string nearest = NearestName(name, names);
      diagnostics.Error(value.where, fmt::format("the placeholder '%{}%' has no values", name),
                        nearest.empty()
                            ? fmt::format("give them under 'placeholders': {{{}: [...]}}", name)
                            : fmt::format("did you mean '{}'?", nearest));
      return false;
    }
    if (out->size() * it->second.size() > kExpandedValuesMax) {
      diagnostics.Error(value.where, "the placeholders stand for too many values",
                        fmt::format("at most {}", kExpandedValuesMax));
      return false;
    }
    *found = true;
    std::vector<std::string> next;
    for (const std::string& one : *out) {
      for (const std::string& replacement : it->second) next.push_back(one + replacement);
    }
    *out = std::move(next);
    i += name.size() + 1;
  }
  return true;
}

bool ExpandItem(const Placeholders& placeholders, bool all, Node* value, Diagnostics& diagnostics) {
  std::vector<Node> expanded;
  const std::vector<Node> values =
      value->is_sequence() ? value->items : std::vector<Node>(1, *value);
  bool good = true;
  bool found = false;
  for (const Node& one : values) {
    if (!one.is_scalar()) {
      expanded.push_back(one);
      continue;
    }
    std::vector<std::string> texts;
    bool here = false;
    if (!ExpandText(placeholders, one, &texts, &here, diagnostics)) {
      good = false;
      continue;
    }
    found = found || here;
    if (all && texts.size() > 1) {
      diagnostics.Error(one.where, "a placeholder of several values cannot stand under 'all'",
                        "each value of 'all' must be met; write one item for each placeholder");
      good = false;
    }
    for (std::string& text : texts) {
      Node& node = expanded.emplace_back(one);
      node.scalar = std::move(text);
      if (here) node.quoted = true;  // replaced text is text, whatever it looks like
    }
  }
  if (good && !found)
    diagnostics.Warning(value->where, "'expand' without a placeholder", "write %name%");
  if (!good) return false;
  if (expanded.size() == 1 && !value->is_sequence()) {
    *value = std::move(expanded[0]);
  } else {
    value->kind = NodeKind::kSequence;
    value->scalar.clear();
    value->items = std::move(expanded);
  }
  return true;
}

bool ExpandMap(const Placeholders& placeholders, Node* map, Diagnostics& diagnostics) {
  bool good = true;
  for (auto& [key, value] : map->entries) {
    std::vector<std::string> parts(1);
    for (const char c : key.scalar) {
      if (c == '|') {
        parts.emplace_back();
      } else {
        parts.back().push_back(c);
      }
    }
    const auto expand = std::find(parts.begin() + 1, parts.end(), "expand");
    if (expand == parts.end()) continue;
    const bool all = std::find(parts.begin() + 1, parts.end(), "all") != parts.end();
    parts.erase(expand);
    key.scalar = fmt::format("{}", fmt::join(parts, "|"));
    good = ExpandItem(placeholders, all, &value, diagnostics) && good;
  }
  return good;
}

}  // namespace

bool ExpandPlaceholders(const Placeholders& placeholders, Node* detection,
                        Diagnostics& diagnostics) {
  bool good = true;
  for (auto& [name, search] : detection->entries) {
    if (name.scalar == "condition") continue;
    if (search.is_map()) good = ExpandMap(placeholders, &search, diagnostics) && good;
    for (Node& item : search.items) {
      if (item.is_map()) good = ExpandMap(placeholders, &item, diagnostics) && good;
    }
  }
  return good;
}

}  // namespace bongsu::sigma
