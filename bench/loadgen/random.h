// File: bench/loadgen/random.h
//
// Random numbers that are the same on every machine, compiler and library: the same seed must give
// the same bytes. Nothing of <random> is used, its distributions may differ.
//
//   Random random(seed);
//   uint64_t n = random.Below(10);              // 0..9
//   ZipfMandelbrot hosts(500, 1.1, 5);
//   uint32_t host = hosts.Draw(random);         // 0 is the most frequent
//
// Thread-safety: one thread for each Random; ZipfMandelbrot is const after construction.
#pragma once

#include <cstdint>
#include <vector>

namespace bongsu::loadgen {

// xoshiro256** 1.0 (David Blackman, Sebastiano Vigna), seeded by splitmix64.
class Random {
 public:
  explicit Random(uint64_t seed) {
    for (uint64_t& word : state_) word = SplitMix(seed);
  }
  uint64_t Next() {
    const uint64_t result = Rotate(state_[1] * 5, 7) * 9;
    const uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = Rotate(state_[3], 45);
    return result;
  }
  // Uniform in [0, n), n > 0 and n <= 2^32; the bias of at most n / 2^32 does not matter here.
  uint64_t Below(uint64_t n) { return ((Next() >> 32) * n) >> 32; }
  // Uniform in [low, high].
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(static_cast<uint64_t>(Next() >> 1) %
                                      static_cast<uint64_t>(high - low + 1));
  }
  // True for about `share` (0 to 1) of the calls.
  bool Chance(double share) {
    return static_cast<double>(Next() >> 11) < share * 9007199254740992.0;
  }

  // A well-mixed function of `x`: for properties that belong to a number (a host's clock).
  static uint64_t Mix(uint64_t x) { return SplitMix(x); }

 private:
  static uint64_t Rotate(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
  static uint64_t SplitMix(uint64_t& x) {
    uint64_t z = (x += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint64_t state_[4];
};

// Ranks 0..n-1 with weights 1 / (rank + 1 + q)^s, drawn in constant time by Walker's alias method.
// s = 0 is uniform.
class ZipfMandelbrot {
 public:
  ZipfMandelbrot(uint32_t n, double s, double q);
  uint32_t Draw(Random& random) const {
    const uint64_t r = random.Next();
    const auto slot = static_cast<uint32_t>(((r >> 32) * slots_.size()) >> 32);
    return static_cast<uint32_t>(r) < slots_[slot].threshold ? slot : slots_[slot].alias;
  }

 private:
  struct Slot {
    uint32_t threshold = UINT32_MAX;
    uint32_t alias = 0;
  };
  std::vector<Slot> slots_;
};

}  // namespace bongsu::loadgen
