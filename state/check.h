// File: state/check.h
//
// Checks of our own invariants, always on: a broken one prints where and what, and ends the
// process. A restart is cheap; going on with a broken invariant is how alerts are lost or invented.
//
//   BONGSU_CHECK(slot >= 0);
//   BONGSU_CHECK_MSG(records.empty(), "a paused source handed out records");
//
// Not for bad data, configuration, or the environment: those are counted, reported, or
// absl::Status. Thread-safety: any thread.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace bongsu {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition,
                                     std::string_view message) {
  std::fprintf(stderr, "%s:%d: check failed: %s%s%.*s\n", file, line, condition,
               message.empty() ? "" : ": ", static_cast<int>(message.size()), message.data());
  std::fflush(stderr);
  std::abort();
}

}  // namespace bongsu

#define BONGSU_CHECK_MSG(condition, message)                            \
  do {                                                                  \
    if (!(condition)) [[unlikely]] {                                    \
      ::bongsu::CheckFailed(__FILE__, __LINE__, #condition, (message)); \
    }                                                                   \
  } while (false)
#define BONGSU_CHECK(condition) BONGSU_CHECK_MSG(condition, "")
