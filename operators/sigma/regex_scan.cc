#include "operators/sigma/regex_scan.h"

#include <hs/hs.h>
#include <re2/re2.h>
#include <utf8proc.h>

#include <cctype>
#include <cstdlib>
#include <string>

#include "state/check.h"

namespace bongsu::sigma {
namespace {

bool IsAscii(std::string_view text) {
  unsigned char bits = 0;  // of all: without a branch for each
  for (const char c : text) bits |= static_cast<unsigned char>(c);
  return bits < 0x80;
}

constexpr int32_t kKelvin = 0x212a;
constexpr int32_t kLongS = 0x17f;

// Where RE2 and Vectorscan (which follows PCRE) may mean different things on a text of ASCII: `$`
// before a last newline, the vertical tab in `\s`, `\v`, lines, Unicode's classes and letter case.
// What RE2 takes and is not named here is the same in both.
bool MeansTheSame(std::string_view pattern) {
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '$') return false;
    if (pattern[i] == '(' && pattern.substr(i, 2) == "(?") {
      // Flags up to ':' or ')'; `m` changes lines, `U` nothing that matters here.
      for (size_t j = i + 2; j < pattern.size() && std::isalpha(pattern[j]) != 0; ++j)
        if (pattern[j] == 'm') return false;
    }
    if (pattern[i] != '\\' || ++i == pattern.size()) continue;
    constexpr std::string_view kSame = "AzbBdDwWtnrfa";
    if (std::isalnum(pattern[i]) != 0 && kSame.find(pattern[i]) == std::string_view::npos)
      return false;
  }
  return true;
}

// Freed with its thread.
struct Scratch {
  hs_scratch_t* scratch = nullptr;
  std::string bytes;
  ~Scratch() { hs_free_scratch(scratch); }
};
thread_local Scratch thread_scratch;

}  // namespace

void RegexScan::Free::operator()(hs_database* database) const { hs_free_database(database); }

std::unique_ptr<RegexScan> RegexScan::Make(const re2::RE2& regex) {
  if (regex.ProgramSize() < kRegexLong || hs_valid_platform() != HS_SUCCESS) return nullptr;
  const std::string& pattern = regex.pattern();
  // Vectorscan's texts of expressions end at a zero byte, and a letter beyond ASCII may fold into a
  // shorter one: what it says of the shortest match would be wrong.
  if (!IsAscii(pattern) || pattern.find('\0') != std::string::npos) return nullptr;
  unsigned flags = HS_FLAG_SINGLEMATCH | HS_FLAG_ALLOWEMPTY;
  if (!regex.options().case_sensitive()) flags |= HS_FLAG_CASELESS;
  if (regex.options().dot_nl()) flags |= HS_FLAG_DOTALL;
  hs_compile_error_t* error = nullptr;
  hs_expr_info_t* info = nullptr;
  if (hs_expression_info(pattern.c_str(), flags, &info, &error) != HS_SUCCESS) {
    hs_free_compile_error(error);  // beyond its limits
    return nullptr;
  }
  std::unique_ptr<RegexScan> scan(new RegexScan(info->min_width));
  std::free(info);
  if (scan->bytes_min() < kRegexLongBytes) return nullptr;
  if (!MeansTheSame(pattern) || pattern.find('|') != std::string::npos) return scan;
  scan->letter_case_ =
      regex.options().case_sensitive() ? LetterCase::kCounts : LetterCase::kDoesNot;
  for (size_t at = pattern.find("(?"); at != std::string::npos; at = pattern.find("(?", at + 1)) {
    const std::string_view flags_of =
        std::string_view(pattern).substr(at + 2, pattern.find_first_of(":)", at) - at - 2);
    if (flags_of.find('i') == std::string_view::npos) continue;
    // In front of everything it is the whole expression's.
    const bool whole = at == 0 && flags_of.find('-') == std::string_view::npos &&
                       pattern[at + 2 + flags_of.size()] == ')';
    scan->letter_case_ = whole ? LetterCase::kDoesNot : LetterCase::kMixed;
    if (!whole) break;
  }
  // For the end of a word they are no letters all the same.
  if (scan->letter_case_ == LetterCase::kDoesNot &&
      (pattern.find("\\b") != std::string::npos || pattern.find("\\B") != std::string::npos))
    scan->letter_case_ = LetterCase::kMixed;
  hs_database_t* database = nullptr;
  if (hs_compile(pattern.c_str(), flags, HS_MODE_BLOCK, nullptr, &database, &error) == HS_SUCCESS)
    scan->database_.reset(database);
  else
    hs_free_compile_error(error);
  return scan;
}

std::optional<bool> RegexScan::Finds(std::string_view text) const {
  if (database_ == nullptr) return std::nullopt;
  if (IsAscii(text)) return Scan(text);
  constexpr char kBeyond = '\x80';
  std::string& bytes = thread_scratch.bytes;
  bytes.clear();
  for (size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      bytes.push_back(text[at++]);
      continue;
    }
    utf8proc_int32_t point = 0;
    const utf8proc_ssize_t size =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + at),
                         static_cast<utf8proc_ssize_t>(text.size() - at), &point);
    if (size <= 0) return std::nullopt;  // what no character is, RE2 knows
    at += static_cast<size_t>(size);
    char byte = kBeyond;
    if (point == kKelvin || point == kLongS) {
      if (letter_case_ == LetterCase::kMixed) return std::nullopt;
      if (letter_case_ == LetterCase::kDoesNot) byte = point == kKelvin ? 'k' : 's';
    }
    bytes.push_back(byte);
  }
  return Scan(bytes);
}

bool RegexScan::Scan(std::string_view text) const {
  // As it is where it is large enough.
  BONGSU_CHECK(hs_alloc_scratch(database_.get(), &thread_scratch.scratch) == HS_SUCCESS);
  bool found = false;
  const auto on_match = [](unsigned, unsigned long long, unsigned long long, unsigned,
                           void* context) {
    *static_cast<bool*>(context) = true;
    return 1;  // no more
  };
  const hs_error_t result =
      hs_scan(database_.get(), text.data(), static_cast<unsigned>(text.size()), 0,
              thread_scratch.scratch, on_match, &found);
  BONGSU_CHECK(result == HS_SUCCESS || result == HS_SCAN_TERMINATED);
  return found;
}

}  // namespace bongsu::sigma
