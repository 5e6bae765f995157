// SPDX-License-Identifier: Apache-2.0
// Seeded random problems and data over everything the library accepts, for `peakpool verify` and the tests. The same
// seed gives the same problem and the same bytes on every machine.
#ifndef PEAKPOOL_TOOLS_RANDOM_PROBLEM_H_
#define PEAKPOOL_TOOLS_RANDOM_PROBLEM_H_

#include <cstddef>
#include <cstdint>

#include "peakpool/peakpool.h"
#include "tools/sizes.h"

namespace peakpool::tools {

// SplitMix64: the standard library's distributions differ between implementations.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  // Uniform in [low, high], up to a bias of 2^-32 for the small ranges used here.
  int64_t Between(int64_t low, int64_t high) {
    const uint64_t size = static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1;  // as far as 2^63 + 1
    return static_cast<int64_t>(static_cast<uint64_t>(low) + Next() % size);
  }
  bool OneIn(int64_t n) { return Between(1, n) == 1; }

 private:
  uint64_t state_;
};

// A well-formed problem of any type, layout, rank, index format, rounding and flags: a third of them f32 in the shapes
// and planes (1x1 to 70x70) that the fused kernels are for. At most about 100,000 taps in all. It may still be refused:
// a size that does not divide (exact), an empty window that is not allowed, an index format too narrow. Index format
// NONE occurs; adaptive windows and clamps do not.
peakpool_problem RandomProblem(Random* random);

// Makes some problems adaptive, some of windows and views that RandomProblem() seldom comes to, and bounds the outputs
// of some.
void RandomVariant(Random* random, peakpool_problem* problem);

// Strides with gaps, in the usual order of the axes or another: a view into a larger tensor of p's layout, batch and
// channels and these spatial sizes.
peakpool_strides RandomStrides(Random* random, const peakpool_problem& p, const int64_t* spatial);

// Elements from the first to the last one of x (dx), and of y (dy, indices), gaps included. For a resolved problem,
// that is, peakpool_plan_problem(). 0 without elements.
int64_t InputSpan(const peakpool_problem& resolved);
int64_t OutputSpan(const peakpool_problem& resolved);

// Fills x: random values, few distinct ones (ties), slopes, nothing but the least value, and floating-point specials
// (NaNs of several payloads, both zeros, infinities, subnormals).
void RandomValues(int32_t type, Random* random, int64_t count, void* values);

// Fills dy (or the dx that is accumulated to): values of very different sizes, so that the order of a sum shows; now
// and then the floating-point specials that RandomValues() draws.
void RandomGradients(int32_t type, Random* random, int64_t count, void* values);

}  // namespace peakpool::tools

#endif  // PEAKPOOL_TOOLS_RANDOM_PROBLEM_H_
