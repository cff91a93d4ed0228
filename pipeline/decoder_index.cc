#include "pipeline/decoder_index.h"

#include <simdjson.h>

#include <algorithm>

#include "state/check.h"

namespace bongsu {

static_assert(kJsonPadding >= simdjson::SIMDJSON_PADDING);

struct StructuralIndex::Parser {
  std::unique_ptr<simdjson::internal::dom_parser_implementation> stage;
};

StructuralIndex::StructuralIndex() : parser_(std::make_unique<Parser>()) {
  constexpr size_t kFirstCapacity = 16 * 1024;  // grows with the records
  const simdjson::error_code error =
      simdjson::get_active_implementation()->create_dom_parser_implementation(
          kFirstCapacity, /*max_depth=*/1, parser_->stage);
  BONGSU_CHECK_MSG(error == simdjson::SUCCESS, simdjson::error_message(error));
}

StructuralIndex::~StructuralIndex() = default;

StructuralIndex::Result StructuralIndex::Build(const char* bytes, size_t size) {
  size_ = 0;
  if (size == 0) return Result::kInvalid;
  auto& stage = *parser_->stage;
  if (size > stage.capacity()) {
    const simdjson::error_code error = stage.set_capacity(std::max(size, 2 * stage.capacity()));
    BONGSU_CHECK_MSG(error == simdjson::SUCCESS, simdjson::error_message(error));
  }
  const simdjson::error_code error =
      stage.stage1(reinterpret_cast<const uint8_t*>(bytes), size, simdjson::stage1_mode::regular);
  if (error == simdjson::UTF8_ERROR) return Result::kInvalidUtf8;
  if (error != simdjson::SUCCESS) return Result::kInvalid;
  positions_ = stage.structural_indexes.get();
  size_ = stage.n_structural_indexes;
  stage.structural_indexes[size_] = static_cast<uint32_t>(size);
  return Result::kOk;
}

}  // namespace bongsu
