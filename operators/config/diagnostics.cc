#include "operators/config/diagnostics.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace bongsu {
namespace {

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Optimal string alignment: insert, delete, change, swap two neighbours.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const bool same = Lower(a[i - 1]) == Lower(b[j - 1]);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && Lower(a[i - 1]) == Lower(b[j - 2]) &&
          Lower(a[i - 2]) == Lower(b[j - 1])) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

std::string Printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f)
      out += fmt::format("\\x{:02x}", byte);
    else
      out.push_back(c);
  }
  return out;
}

// Longer words than this are not names that anyone mistyped.
constexpr size_t kNameBytesMax = 128;

}  // namespace

void Diagnostics::Error(const SourceLocation& where, std::string message, std::string hint) {
  all_.push_back({Severity::kError, where, std::move(message), std::move(hint)});
  ++errors_;
}

void Diagnostics::Warning(const SourceLocation& where, std::string message, std::string hint) {
  all_.push_back({Severity::kWarning, where, std::move(message), std::move(hint)});
}

void Diagnostics::Append(const Diagnostics& other) {
  const size_t before = all_.size();
  for (const Diagnostic& one : other.all_) {
    const auto same_place = [&](const Diagnostic& known) {
      return known.where.line > 0 && known.where.line == one.where.line &&
             known.where.column == one.where.column && known.where.file == one.where.file;
    };
    const auto end = all_.begin() + static_cast<std::ptrdiff_t>(before);
    if (std::any_of(all_.begin(), end, same_place)) continue;
    all_.push_back(one);
    if (one.severity == Severity::kError) ++errors_;
  }
}

std::string Diagnostics::Text() const {
  std::vector<const Diagnostic*> sorted;
  for (const Diagnostic& diagnostic : all_) sorted.push_back(&diagnostic);
  std::stable_sort(sorted.begin(), sorted.end(), [](const Diagnostic* a, const Diagnostic* b) {
    return std::tie(a->where.file, a->where.line, a->where.column) <
           std::tie(b->where.file, b->where.line, b->where.column);
  });
  std::string text;
  for (const Diagnostic* diagnostic : sorted) {
    const SourceLocation& where = diagnostic->where;
    if (!where.file.empty()) text += where.file + ":";
    if (where.line > 0) text += fmt::format("{}:{}:", where.line, where.column);
    if (!where.file.empty() || where.line > 0) text += " ";
    text += diagnostic->severity == Severity::kError ? "error: " : "warning: ";
    text += Printable(diagnostic->message);
    if (!diagnostic->hint.empty()) text += " (" + Printable(diagnostic->hint) + ")";
    text += "\n";
  }
  return text;
}

std::string NearestName(std::string_view word, std::span<const std::string_view> candidates) {
  if (word.size() > kNameBytesMax) return "";
  const size_t limit = std::max<size_t>(1, word.size() / 3);
  size_t best = limit + 1;
  std::string_view nearest;
  for (std::string_view candidate : candidates) {
    if (candidate.size() > kNameBytesMax) continue;
    const size_t distance = Distance(word, candidate);
    if (distance < best) {
      best = distance;
      nearest = candidate;
    }
  }
  return std::string(nearest);
}

std::string NearestHint(std::string_view word, std::span<const std::string_view> candidates) {
  const std::string nearest = NearestName(word, candidates);
  return nearest.empty() ? fmt::format("one of: {}", fmt::join(candidates, ", "))
                         : fmt::format("did you mean '{}'?", nearest);
}

}  // namespace bongsu
