// File: state/status_macros.h
//
// Passing an absl::Status on without the noise.
//
//   BONGSU_RETURN_IF_ERROR(store->Commit(std::move(checkpoint)));
//   BONGSU_ASSIGN_OR_RETURN(auto store, Store::Open(options));
//
// Thread-safety: none needed.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define BONGSU_RETURN_IF_ERROR(expression)                                               \
  do {                                                                                   \
    if (::absl::Status bongsu_status = (expression); !bongsu_status.ok()) [[unlikely]] { \
      return bongsu_status;                                                              \
    }                                                                                    \
  } while (false)

#define BONGSU_CONCAT_INNER(a, b) a##b
#define BONGSU_CONCAT(a, b) BONGSU_CONCAT_INNER(a, b)
#define BONGSU_ASSIGN_OR_RETURN(lhs, expression)                \
  auto BONGSU_CONCAT(bongsu_or_, __LINE__) = (expression);      \
  if (!BONGSU_CONCAT(bongsu_or_, __LINE__).ok()) [[unlikely]] { \
    return BONGSU_CONCAT(bongsu_or_, __LINE__).status();        \
  }                                                             \
  lhs = std::move(BONGSU_CONCAT(bongsu_or_, __LINE__)).value()
