// SPDX-License-Identifier: Apache-2.0
// The seam of small windows that have a depth, in both layouts: what drives them (window_depth.cc) is compiled once and
// knows lanes only by their size; the loop over vectors (window_depth-inl.h) is compiled per target and type.
#ifndef PEAKPOOL_SRC_KERNELS_WINDOW_DEPTH_H_
#define PEAKPOOL_SRC_KERNELS_WINDOW_DEPTH_H_

#include <cstdint>

#include "src/kernels/kernels.h"

namespace peakpool {

// Pooled slices of a window: where each begins, and how many; the number of the first slice's first tap, and of taps
// per slice.
constexpr int64_t kMostSlices = 3;
struct PooledSlices {
  const char* values[kMostSlices];
  const uint8_t* numbers[kMostSlices];
  int64_t slices, first_tap, taps;
};

struct DepthLanes {
  int64_t count, size;   // of a vector
  ForwardKernel planes;  // windows without a depth; calls SliceNotPooled for what it cannot do
  // The greatest of pooled slices at `count` elements from `begin` on, a vector of them or more; `taps` may be null.
  // True if there was a NaN in more than one slice.
  bool (*max_of_slices)(const PooledSlices& in, int64_t begin, int64_t count, void* y, uint8_t* taps);
};
void SliceNotPooled(const ForwardCall& call);

// True if done; false if the call is something else: windows two or three slices deep at stride 2 along lines of a
// vector of outputs at least, whose pooled slices fit scratch.
bool ForwardDepth(const ForwardCall& call, const DepthLanes& lanes, ForwardKernel separable);

// The same channels-last: 3x3 windows whose neighbours along the depth share slices.
bool ForwardDepthLast(const ForwardCall& call, const DepthLanes& lanes, ForwardKernel separable);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_DEPTH_H_
