#include "pipeline/exchange.h"

#include <algorithm>
#include <cstring>

namespace bongsu {

std::string_view ByteArena::Copy(std::string_view bytes) {
  while (chunk_ < chunks_.size() && used_ + bytes.size() > chunks_[chunk_].size) {
    ++chunk_;
    used_ = 0;
  }
  if (chunk_ == chunks_.size()) {
    const size_t size = std::max(kChunkBytes, bytes.size());
    chunks_.push_back({std::make_unique<char[]>(size), size});
  }
  char* to = chunks_[chunk_].data.get() + used_;
  if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
  used_ += bytes.size();
  return {to, bytes.size()};
}

void ByteArena::Clear() {
  // A batch of huge payloads must not pin its memory for ever.
  if (chunks_.size() > 64) chunks_.resize(64);
  chunk_ = 0;
  used_ = 0;
}

ExchangeSlot::ExchangeSlot(int writers, int threads)
    : writers_(writers),
      threads_(threads),
      blocks_(static_cast<size_t>(writers) * static_cast<size_t>(threads)),
      result_watermarks_(static_cast<size_t>(writers)) {}

// Batch numbers of one slot are k * kBatchesInFlight + r, each completed `writers` times before the
// next begins, so that the count of completions tells which batch the slot holds.
void ExchangeSlot::Complete(uint64_t) { completed_.fetch_add(1, std::memory_order_release); }

bool ExchangeSlot::Ready(uint64_t number) const {
  const uint64_t before =
      (number - 1) / kBatchesInFlight;  // earlier batches of this slot, numbers start at 1
  return completed_.load(std::memory_order_acquire) >=
         (before + 1) * static_cast<uint64_t>(writers_);
}

Exchange::Exchange(int levels, int threads) : threads_(threads) {
  slots_.resize(static_cast<size_t>(levels));
  for (int level = 0; level < levels; ++level) {
    for (uint64_t i = 0; i < kBatchesInFlight; ++i) {
      slots_[static_cast<size_t>(level)].push_back(
          std::make_unique<ExchangeSlot>(level == 0 ? 1 : threads, threads));
    }
  }
}

}  // namespace bongsu
