// The tree of a detection's condition, with what each item saw.
#include <fmt/format.h>

#include <algorithm>

#include "operators/sigma/item.h"
#include "pipeline/explain.h"
#include "pipeline/json_text.h"

namespace bongsu {
namespace {

using sigma::Condition;
using sigma::Detection;
using sigma::Item;
using sigma::ItemValue;
using sigma::Search;

constexpr size_t kValueBytesShown = 160;

std::string ValueText(const Value& value) {
  switch (value.type()) {
    case ValueType::kAbsent:
      return "absent";
    case ValueType::kNull:
      return "null";
    case ValueType::kArray: {
      std::vector<std::string> members;
      for (const Value& member : value.items()) {
        if (members.size() == kExplainNamesMax) break;
        members.push_back(ValueText(member));
      }
      return fmt::format("[{}{}]", fmt::join(members, ", "),
                         value.items().size() > members.size()
                             ? fmt::format(", and {} more", value.items().size() - members.size())
                             : "");
    }
    default: {
      std::string text;
      const std::string_view shown = Utf8Prefix(value.text(), kValueBytesShown);
      if (!value.is_string()) return std::string(shown);
      AppendJsonString(shown, &text);
      if (shown.size() < value.text().size()) text += "...";
      return text;
    }
  }
}

class Writer {
 public:
  Writer(const Detection& detection, const Event& event) : detection_(detection), event_(event) {}

  // The condition's part, and below it what it is made of.
  void Part(const Condition& part, int depth) {
    const bool holds = detection_.Holds(part, event_);
    switch (part.kind) {
      case Condition::kSearch:
        OneSearch(detection_.searches()[static_cast<size_t>(part.search)], depth);
        return;
      case Condition::kNot:
        Line(depth, holds, "not");
        break;
      case Condition::kAnd:
        Line(depth, holds, "and: all of");
        break;
      case Condition::kOr:
        Line(depth, holds, "or: one of");
        break;
    }
    for (const Condition& operand : part.operands) Part(operand, depth + 1);
  }

  // What decided that the part holds (or does not).
  std::string Reason(const Condition& part) const {
    const bool holds = detection_.Holds(part, event_);
    if (part.kind == Condition::kSearch)
      return Reason(detection_.searches()[static_cast<size_t>(part.search)]);
    if (part.kind == Condition::kNot) return Reason(part.operands[0]);
    const bool each = (part.kind == Condition::kAnd) == holds;  // all operands decided
    std::vector<std::string> reasons;
    for (const Condition& operand : part.operands) {
      if (detection_.Holds(operand, event_) != holds) continue;
      if (reasons.size() == kExplainNamesMax) break;
      reasons.push_back(Reason(operand));
      if (!each) break;
    }
    return fmt::format("{}", fmt::join(reasons, "; "));
  }

  std::string TakeText() { return std::move(text_); }

 private:
  void Line(int depth, bool holds, std::string_view what) {
    text_ += fmt::format("{:<4}{:{}}{}\n", holds ? "yes" : "no", "", depth * 2, what);
  }

  void OneSearch(const Search& search, int depth) {
    Line(depth, search.Matches(event_), search.name);
    for (size_t i = 0; i < search.maps.size(); ++i) {
      const auto& items = search.maps[i];
      const int below = search.maps.size() > 1 ? depth + 2 : depth + 1;
      if (search.maps.size() > 1)
        Line(depth + 1,
             std::all_of(items.begin(), items.end(),
                         [&](const Item& item) { return item.Matches(event_); }),
             fmt::format("alternative {}", i + 1));
      for (const Item& item : items) OneItem(item, below);
    }
  }

  void OneItem(const Item& item, int depth) {
    const bool holds = item.Matches(event_);
    Line(depth, holds,
         fmt::format("{}: {}; saw {}", item.keywords() ? "keywords" : item.key, Wanted(item, holds),
                     Seen(item)));
  }

  std::string Seen(const Item& item) const {
    return item.keywords() ? "the record's values" : ValueText(event_.field(item.slot));
  }

  // Of a list those values that decided, else the first few.
  std::string Wanted(const Item& item, bool holds) const {
    if (item.exists.has_value()) return *item.exists ? "must be there" : "must not be there";
    std::vector<std::string> shown;
    size_t decided = 0;
    for (const ItemValue& value : item.values) {
      const bool matches = value.Matches(event_.field(item.slot), event_);
      if (matches != (holds != item.negated)) continue;
      if (++decided <= kExplainNamesMax) shown.push_back(value.text);
    }
    return fmt::format(
        "{} {}'{}'{}",
        holds      ? "matches"
        : item.all ? "lacks"
                   : "matches none of",
        item.negated ? "(not) " : "", fmt::join(shown, "', '"),
        decided > shown.size() ? fmt::format(" and {} more", decided - shown.size()) : "");
  }

  std::string Reason(const Search& search) const {
    const bool holds = search.Matches(event_);
    std::vector<std::string> reasons;
    for (const auto& items : search.maps) {
      const bool map_holds = std::all_of(items.begin(), items.end(),
                                         [&](const Item& item) { return item.Matches(event_); });
      if (map_holds != holds) continue;
      for (const Item& item : items) {
        if (item.Matches(event_) != holds) continue;
        reasons.push_back(item.keywords()
                              ? std::string(holds ? "a keyword is found" : "no keyword is found")
                              : fmt::format("{} is {}", item.key, Seen(item)));
        break;
      }
      if (holds || reasons.size() == kExplainNamesMax) break;
    }
    return fmt::format("'{}' {} ({})", search.name, holds ? "holds" : "does not hold",
                       fmt::join(reasons, ", "));
  }

  const Detection& detection_;
  const Event& event_;
  std::string text_;
};

}  // namespace

std::string ExplainDetection(const Detection& detection, const Event& event, std::string* reason) {
  Writer writer(detection, event);
  *reason = writer.Reason(detection.condition());
  writer.Part(detection.condition(), 0);
  return writer.TakeText();
}

}  // namespace bongsu
