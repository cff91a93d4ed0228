// File: operators/sigma/literal_scan.h
//
// Many literals found in one pass over a text, by Vectorscan (so does regex_scan.h).
//
//   LiteralScan scan({"mimikatz", "sekurlsa"});
//   LiteralScratch scratch;                      // one for each thread
//   scratch.Fit(scan);
//   scan.Find("... sekurlsa::logonpasswords", scratch, &hits);   // appends 1
//
// Bytes are compared as they are; who wants no letter case folds both sides first
// (operators/fold.h), or, where ASCII's letters are enough, gives literals that are folded as
// `caseless`. Each literal is reported at most once for a text. Where the processor is too
// old for Vectorscan, or there are too few literals to be worth it, each is searched by itself:
// slower, the same hits.
//
// Thread-safety: LiteralScan is immutable; a LiteralScratch belongs to one thread. Find does not
// allocate once `hits` has its capacity.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct hs_database;
struct hs_scratch;

namespace bongsu::sigma {

// Up to here memmem is cheaper than a call of Vectorscan.
inline constexpr size_t kLiteralsAloneMax = 2;

class LiteralScan;

class LiteralScratch {
 public:
  LiteralScratch() = default;
  ~LiteralScratch();
  LiteralScratch(const LiteralScratch&) = delete;
  LiteralScratch& operator=(const LiteralScratch&) = delete;
  // Makes it large enough for `scan`, too. Allocates.
  void Fit(const LiteralScan& scan);

 private:
  friend class LiteralScan;
  hs_scratch* scratch_ = nullptr;
};

class LiteralScan {
 public:
  // No literal is empty. The indices of `caseless` go on behind those of `literals`.
  explicit LiteralScan(std::vector<std::string> literals, std::vector<std::string> caseless = {});
  // Appends the indices of the literals that are in `text`, in no order.
  void Find(std::string_view text, LiteralScratch& scratch, std::vector<uint32_t>* hits) const;
  size_t size() const { return literals_.size(); }

 private:
  friend class LiteralScratch;
  struct Free {
    void operator()(hs_database* database) const;
  };
  std::vector<std::string> literals_;
  size_t caseless_from_;                         // index of the first caseless one
  std::unique_ptr<hs_database, Free> database_;  // null: one by one
};

}  // namespace bongsu::sigma
