// File: tests/testing/sanitized.h
//
// Whether a test runs under a sanitizer: it is several times slower then, and sees in a part of the
// random cases what there is to see. The whole of them runs in the dev build of the same CI run.
//
//   for (int i = 0; i < Fewer(1000); ++i) ...   // 100 under a sanitizer
#pragma once

namespace bongsu {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

constexpr int Fewer(int cases) { return kSanitized ? cases / 10 : cases; }

}  // namespace bongsu
