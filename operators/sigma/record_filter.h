// File: operators/sigma/record_filter.h
//
// Whether a keyword can be in some value of a JSON record, told by one pass over the record as it
// is written: nearly always none is, and then nobody has to take the record's values apart.
//
//   auto filter = RecordFilter::Make({"mimikatz", "\\lsass.exe"});   // folded; null: not possible
//   LiteralScratch scratch;                                         // one for each thread
//   filter->Fit(&scratch);
//   if (filter->MayHold(R"({"a": {"b": "C:\\MimiKatz"}})", scratch, &hits)) ...   // look closer
//
// It never says no where a value holds a literal. Of each literal it looks for a part that a JSON
// string can write in one way only, but for `\uXXXX` and letter case: no quote, slash, backslash,
// control character or letter outside ASCII. A record with `\uXXXX`, or with one of the few letters
// outside ASCII that fold into it, may hold anything. So may, of a literal that could be a number
// (1000, written 1e3), every record: there is no filter for such.
//
// Thread-safety: immutable; the scratch belongs to one thread. MayHold does not allocate once
// `hits` has its capacity.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "operators/sigma/literal_scan.h"

namespace bongsu::sigma {

// Shorter parts are in nearly every record; those up to 8 bytes Vectorscan finds without looking a
// second time, which makes the pass twice as fast.
inline constexpr size_t kWrittenBytesMin = 3;
inline constexpr size_t kWrittenBytesMax = 8;

class RecordFilter {
 public:
  static std::unique_ptr<const RecordFilter> Make(const std::vector<std::string>& literals);
  // The part of a folded literal that is looked for; empty: there is none of use. Of the longest
  // that with the most signs in it, which common words do not have.
  static std::string_view WrittenPart(std::string_view literal);

  void Fit(LiteralScratch* scratch) const { scratch->Fit(scan_); }
  // `json` is valid UTF-8.
  bool MayHold(std::string_view json, LiteralScratch& scratch, std::vector<uint32_t>* hits) const;

 private:
  explicit RecordFilter(std::vector<std::string> parts);
  LiteralScan scan_;
};

}  // namespace bongsu::sigma
