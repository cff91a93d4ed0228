#include "bench/loadgen/random.h"

#include <cmath>

namespace bongsu::loadgen {

// Vose's construction: https://www.keithschwarz.com/darts-dice-coins/
ZipfMandelbrot::ZipfMandelbrot(uint32_t n, double s, double q) : slots_(n) {
  std::vector<double> weight(n);
  double sum = 0;
  for (uint32_t i = 0; i < n; ++i) {
    // Rounded, so that a last bit of the platform's pow() cannot change the bytes of a run.
    weight[i] = std::round(std::pow(1.0 / (i + 1 + q), s) * 1e12) + 1;
    sum += weight[i];
  }
  std::vector<uint32_t> small;
  std::vector<uint32_t> large;
  for (uint32_t i = 0; i < n; ++i) {
    weight[i] = weight[i] / sum * n;
    slots_[i].alias = i;
    (weight[i] < 1 ? small : large).push_back(i);
  }
  while (!small.empty() && !large.empty()) {
    const uint32_t less = small.back();
    const uint32_t more = large.back();
    small.pop_back();
    slots_[less].threshold = static_cast<uint32_t>(std::floor(weight[less] * 4294967295.0));
    slots_[less].alias = more;
    weight[more] -= 1 - weight[less];
    if (weight[more] < 1) {
      large.pop_back();
      small.push_back(more);
    }
  }
}

}  // namespace bongsu::loadgen
