#include "operators/sigma/literal_scan.h"

#include <hs/hs.h>

#include <algorithm>
#include <iterator>

#include "operators/fold.h"
#include "state/check.h"

namespace bongsu::sigma {
namespace {

int OnHit(unsigned int id, unsigned long long, unsigned long long, unsigned int, void* hits) {
  static_cast<std::vector<uint32_t>*>(hits)->push_back(id);
  return 0;
}

bool HasCaseless(std::string_view text, std::string_view folded) {
  return std::search(text.begin(), text.end(), folded.begin(), folded.end(),
                     [](char a, char b) { return FoldAscii(a) == b; }) != text.end();
}

}  // namespace

void LiteralScan::Free::operator()(hs_database* database) const { hs_free_database(database); }

LiteralScratch::~LiteralScratch() { hs_free_scratch(scratch_); }

void LiteralScratch::Fit(const LiteralScan& scan) {
  if (scan.database_ != nullptr)
    BONGSU_CHECK(hs_alloc_scratch(scan.database_.get(), &scratch_) == HS_SUCCESS);
}

LiteralScan::LiteralScan(std::vector<std::string> literals, std::vector<std::string> caseless)
    : literals_(std::move(literals)), caseless_from_(literals_.size()) {
  std::move(caseless.begin(), caseless.end(), std::back_inserter(literals_));
  if (literals_.size() <= kLiteralsAloneMax || hs_valid_platform() != HS_SUCCESS) return;
  std::vector<const char*> texts;
  std::vector<size_t> sizes;
  std::vector<unsigned> ids;
  for (const std::string& literal : literals_) {
    ids.push_back(static_cast<unsigned>(texts.size()));
    texts.push_back(literal.data());
    sizes.push_back(literal.size());
  }
  std::vector<unsigned> flags(literals_.size(), HS_FLAG_SINGLEMATCH);
  for (size_t i = caseless_from_; i < flags.size(); ++i) flags[i] |= HS_FLAG_CASELESS;
  hs_database_t* database = nullptr;
  hs_compile_error_t* error = nullptr;
  const hs_error_t result = hs_compile_lit_multi(texts.data(), flags.data(), ids.data(),
                                                 sizes.data(), static_cast<unsigned>(texts.size()),
                                                 HS_MODE_BLOCK, nullptr, &database, &error);
  if (result == HS_SUCCESS) {
    database_.reset(database);
  } else {
    hs_free_compile_error(error);  // beyond its limits: one by one
  }
}

void LiteralScan::Find(std::string_view text, LiteralScratch& scratch,
                       std::vector<uint32_t>* hits) const {
  if (database_ != nullptr) {
    const hs_error_t result =
        hs_scan(database_.get(), text.data(), static_cast<unsigned>(text.size()), 0,
                scratch.scratch_, OnHit, hits);
    BONGSU_CHECK(result == HS_SUCCESS);
    return;
  }
  for (size_t i = 0; i < literals_.size(); ++i) {
    const bool found = i < caseless_from_ ? text.find(literals_[i]) != std::string_view::npos
                                          : HasCaseless(text, literals_[i]);
    if (found) hits->push_back(static_cast<uint32_t>(i));
  }
}

}  // namespace bongsu::sigma
