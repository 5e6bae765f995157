// SPDX-License-Identifier: Apache-2.0
// Problems of a few taps in all, whose kernels would take longer to find out what to read than to read it: the plan
// lists every tap of every output.
#ifndef PEAKPOOL_SRC_FEW_H_
#define PEAKPOOL_SRC_FEW_H_

#include <cstdint>

#include "src/shape.h"

namespace peakpool {

// Distances in elements; of y and of the indices they are the same.
struct FewTaps {
  static constexpr int64_t kMost = 64;
  struct Output {
    int32_t offset, taps;
  };
  struct Tap {
    int32_t offset, index;  // in the problem's format
  };
  int32_t type, index_bytes;
  int32_t outputs;  // 0: not such a problem
  Output output[kMost];
  Tap tap[kMost];  // in the order of the outputs, then of the window
};

// Takes problems of up to kMost taps without empty windows and output clamp, whose offsets and indices fit 32 bits.
void ListFewTaps(const Shape& shape, FewTaps* few);

// index may be null.
void PoolFewTaps(const FewTaps& few, const void* x, void* y, void* index);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_FEW_H_
