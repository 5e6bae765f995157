// SPDX-License-Identifier: Apache-2.0
// Several stride-1 windows over one input, each level pooled from the level before it.
#ifndef PEAKPOOL_SRC_PYRAMID_H_
#define PEAKPOOL_SRC_PYRAMID_H_

#include "src/plan.h"

struct peakpool_pyramid {
  static constexpr int kMostLevels = 16;
  peakpool_plan* plan[kMostLevels];
  int32_t levels;
  peakpool::Shape whole;  // whose output is y with the channels of all levels
  int64_t level_stride;   // elements between levels in y
};

namespace peakpool {

// A window of k is one of j < k followed by one of k - j + 1, so each level costs only the difference.
[[gnu::cold]] peakpool_status MakePyramid(const peakpool_problem& problem, const int64_t* kernels, int32_t levels,
                                          peakpool_pyramid** pyramid);
void DestroyPyramid(peakpool_pyramid* pyramid);

// Pointers have been checked.
void PyramidForward(const peakpool_pyramid& pyramid, const void* x, void* y, const peakpool_executor& executor);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_PYRAMID_H_
