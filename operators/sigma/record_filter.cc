#include "operators/sigma/record_filter.h"

#include <algorithm>
#include <utility>

namespace bongsu::sigma {
namespace {

// What Unicode folds into ASCII: the long s, the Kelvin sign, the capital I with a dot, and the
// small one without. And the beginning of \uXXXX, the first of all.
const char* const kAnything[] = {"\\u", "\u017f", "\u212a", "\u0130", "\u0131"};
constexpr uint32_t kEscape = 0;

bool IsWrittenAsItIs(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x20 && byte < 0x7f && c != '"' && c != '\\' && c != '/';
}

// Characters that are neither letters, digits nor blanks.
size_t Signs(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return c != ' ' && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9');
  }));
}

bool HasUnicodeEscape(std::string_view json) {
  for (size_t at = json.find('\\'); at < json.size(); at = json.find('\\', at + 2)) {
    if (at + 1 < json.size() && json[at + 1] == 'u') return true;
  }
  return false;
}

}  // namespace

std::string_view RecordFilter::WrittenPart(std::string_view literal) {
  if (literal.find_first_not_of("0123456789.+-e") == std::string_view::npos) return {};
  std::string_view best;
  for (size_t begin = 0; begin < literal.size(); ++begin) {
    size_t size = 0;
    while (size < kWrittenBytesMax && begin + size < literal.size() &&
           IsWrittenAsItIs(literal[begin + size]))
      ++size;
    const std::string_view part = literal.substr(begin, size);
    if (std::pair(size, Signs(part)) > std::pair(best.size(), Signs(best))) best = part;
  }
  return best.size() < kWrittenBytesMin ? std::string_view() : best;
}

std::unique_ptr<const RecordFilter> RecordFilter::Make(const std::vector<std::string>& literals) {
  std::vector<std::string> parts;
  for (const std::string& literal : literals) {
    parts.emplace_back(WrittenPart(literal));
    if (parts.back().empty()) return nullptr;
  }
  std::sort(parts.begin(), parts.end());
  parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
  return std::unique_ptr<const RecordFilter>(new RecordFilter(std::move(parts)));
}

RecordFilter::RecordFilter(std::vector<std::string> parts)
    : scan_({std::begin(kAnything), std::end(kAnything)}, std::move(parts)) {}

bool RecordFilter::MayHold(std::string_view json, LiteralScratch& scratch,
                           std::vector<uint32_t>* hits) const {
  hits->clear();
  scan_.Find(json, scratch, hits);
  return std::any_of(hits->begin(), hits->end(),
                     [json](uint32_t hit) { return hit != kEscape || HasUnicodeEscape(json); });
}

}  // namespace bongsu::sigma
