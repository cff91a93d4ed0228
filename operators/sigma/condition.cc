#include "operators/sigma/condition.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace bongsu::sigma {
namespace {

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

class Parser {
 public:
  Parser(const Node& node, const std::vector<std::string>& searches, Diagnostics& diagnostics)
      : node_(node), searches_(searches), diagnostics_(diagnostics), text_(node.scalar) {
    Next();
  }

  bool Parse(Condition* condition) {
    if (!Or(condition, 0)) return false;
    if (token_.empty()) return true;
    if (token_ == "|") return OldPipe();
    return Fail(fmt::format("'{}' is not expected here", token_),
                "and, or, or the end of the condition");
  }

 private:
  bool OldPipe() {
    return Fail("the old pipe syntax is no part of Sigma any more",
                "use a correlation rule, or an operator");
  }

  bool Fail(std::string message, std::string hint) {
    if (!failed_)
      diagnostics_.Error(node_.where, "condition: " + std::move(message), std::move(hint));
    failed_ = true;
    return false;
  }

  void Next() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
    const size_t start = at_;
    if (at_ < text_.size() && (text_[at_] == '(' || text_[at_] == ')' || text_[at_] == '|')) {
      ++at_;
    } else {
      while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) == 0 &&
             text_[at_] != '(' && text_[at_] != ')' && text_[at_] != '|') {
        ++at_;
      }
    }
    token_ = text_.substr(start, at_ - start);
  }

  bool Is(std::string_view word) const { return Lower(token_) == word; }

  bool Chain(Condition* condition, int depth, Condition::Kind kind, std::string_view word,
             bool (Parser::*operand)(Condition*, int)) {
    std::vector<Condition> operands(1);
    if (!(this->*operand)(&operands.back(), depth)) return false;
    while (Is(word)) {
      Next();
      operands.emplace_back();
      if (!(this->*operand)(&operands.back(), depth)) return false;
    }
    if (operands.size() == 1) {
      *condition = std::move(operands.front());
    } else {
      condition->kind = kind;
      condition->operands = std::move(operands);
    }
    return true;
  }

  bool TooDeep() {
    return Fail(fmt::format("nested deeper than {} levels", kConditionDepthMax),
                "leave out brackets and 'not not'");
  }

  bool Or(Condition* condition, int depth) {
    if (depth > kConditionDepthMax) return TooDeep();
    return Chain(condition, depth, Condition::kOr, "or", &Parser::And);
  }
  bool And(Condition* condition, int depth) {
    return Chain(condition, depth, Condition::kAnd, "and", &Parser::Not);
  }

  bool Not(Condition* condition, int depth) {
    if (depth > kConditionDepthMax) return TooDeep();
    if (!Is("not")) return Primary(condition, depth);
    Next();
    condition->kind = Condition::kNot;
    condition->operands.resize(1);
    return Not(&condition->operands[0], depth + 1);
  }

  bool Primary(Condition* condition, int depth) {
    if (token_ == "(") {
      Next();
      if (!Or(condition, depth + 1)) return false;
      if (token_ != ")")
        return Fail("a bracket is not closed",
                    "')' is missing behind it, or a name before an operator");
      Next();
      return true;
    }
    if (token_.empty())
      return Fail("it ends too early", "a search's name, 1 of, all of, not, or a bracket");
    if (token_ == "|") return OldPipe();
    const std::string first = Lower(token_);
    const std::string name(token_);
    Next();
    if (Is("of")) return Of(first, condition);
    if (first == "all" || first == "1" || first == "any") {
      if (!Known(name))
        return Fail(fmt::format("'{}' must be followed by 'of'", name), "1 of them, all of sel_*");
    }
    const auto it = std::find(searches_.begin(), searches_.end(), name);
    if (it != searches_.end()) {
      condition->kind = Condition::kSearch;
      condition->search = static_cast<int>(it - searches_.begin());
      return true;
    }
    const std::vector<std::string_view> names(searches_.begin(), searches_.end());
    const std::string nearest = NearestName(name, names);
    return Fail(fmt::format("there is no search '{}'", name),
                nearest.empty() ? Searches() : fmt::format("did you mean '{}'?", nearest));
  }

  std::string Searches() const {
    return searches_.empty() ? "the detection has no search: a name with fields and values"
                             : fmt::format("there are: {}", fmt::join(searches_, ", "));
  }

  bool Known(std::string_view name) const {
    return std::find(searches_.begin(), searches_.end(), name) != searches_.end();
  }

  bool Of(std::string_view quantifier, Condition* condition) {
    if (quantifier != "1" && quantifier != "any" && quantifier != "all") {
      return Fail(fmt::format("'{} of' is not possible", quantifier), "1 of, any of, or all of");
    }
    Next();
    if (token_.empty()) return Fail("'of' must be followed by them or a pattern", Searches());
    const bool them = Is("them");
    Condition chosen;
    chosen.kind = quantifier == "all" ? Condition::kAnd : Condition::kOr;
    for (size_t i = 0; i < searches_.size(); ++i) {
      const bool hidden = searches_[i].starts_with("_");
      if (them ? hidden : !GlobMatches(token_, searches_[i]) || (hidden && token_ != searches_[i]))
        continue;
      Condition one;
      one.search = static_cast<int>(i);
      chosen.operands.push_back(std::move(one));
    }
    if (chosen.operands.empty())
      return Fail(fmt::format("'{}' matches no search", token_), Searches());
    if (chosen.operands.size() == 1)
      *condition = chosen.operands[0];
    else
      *condition = std::move(chosen);
    Next();
    return true;
  }

  const Node& node_;
  const std::vector<std::string>& searches_;
  Diagnostics& diagnostics_;
  const std::string_view text_;
  size_t at_ = 0;
  std::string_view token_;
  bool failed_ = false;
};

}  // namespace

// Each star takes as little as will do, and the last one what is left: linear in the stars.
bool GlobMatches(std::string_view glob, std::string_view name) {
  size_t star = glob.find('*');
  if (star == std::string_view::npos) return glob == name;
  if (!name.starts_with(glob.substr(0, star))) return false;
  name.remove_prefix(star);
  while (true) {
    glob.remove_prefix(star + 1);
    star = glob.find('*');
    if (star == std::string_view::npos) return name.ends_with(glob);
    const size_t at = name.find(glob.substr(0, star));
    if (at == std::string_view::npos) return false;
    name.remove_prefix(at + star);
  }
}

bool ParseCondition(const Node& node, const std::vector<std::string>& searches,
                    Condition* condition, Diagnostics& diagnostics) {
  if (!node.is_scalar() || node.scalar.size() > kConditionBytesMax) {
    diagnostics.Error(node.where, "a condition must be a text of at most 64 KiB",
                      "names of searches with and, or, not");
    return false;
  }
  return Parser(node, searches, diagnostics).Parse(condition);
}

}  // namespace bongsu::sigma
