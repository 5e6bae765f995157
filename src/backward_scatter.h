// SPDX-License-Identifier: Apache-2.0
// The general backward: right for every geometry, layout, floating-point type and index format. Knows nothing of plans
// and executors.
#ifndef PEAKPOOL_SRC_BACKWARD_SCATTER_H_
#define PEAKPOOL_SRC_BACKWARD_SCATTER_H_

#include <cstdint>

#include "src/indices.h"

namespace peakpool {

// Sums dy into input lines of dx, which it zeroes first unless `accumulate`. Each sum runs in ascending output position
// (n, c, d, h, w), so its bits do not depend on how lines are split. F16 and BF16 sum in float and round once, to
// nearest even; NaN sums are canonical.
struct ScatterCall {
  const IndexKernels* kernels;
  Indices indices;
  int32_t type;  // peakpool_type, floating point
  const void* dy;
  void* dx;
  bool accumulate;
  Range lines;
  Range channels;  // channels-last; all of them channels-first
  void* scratch;   // kScratchBytes, 64-byte aligned
};

// False if an index it met was invalid. It meets those of every window that can touch the lines, no others; never
// writes outside the lines and channels.
bool ScatterBackward(const ScatterCall& call);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_BACKWARD_SCATTER_H_
