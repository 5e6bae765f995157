// SPDX-License-Identifier: Apache-2.0
// The table of kernels of one element type on one Highway target. Kernels know nothing of plans, executors or the API;
// everything above this table is type-erased, but for the reference, lists of a few taps, clamp bounds and the scatter.
#ifndef PEAKPOOL_SRC_KERNELS_KERNELS_H_
#define PEAKPOOL_SRC_KERNELS_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "src/element.h"
#include "src/geometry.h"

namespace peakpool {

// Working memory of one task, 64-byte aligned, on the task's stack.
constexpr size_t kScratchBytes = 64 * 1024;

// Where window indices (row-major tap numbers) live. Usually the caller's tensor; for other index formats a scratch
// block that starts at some line, hence the origin: element (n, c, d, h, w) is at
// base[n * batch + c * channel + d * axis[0] + h * axis[1] + w * axis[2] - origin].
struct TapView {
  void* base;  // null: values only
  int bytes;   // 1, 2 or 4 per tap number
  Strides strides;
  int64_t origin;
};

// Pools output lines [begin, end). x and y hold the kernel table's element type.
struct ForwardCall {
  const Geometry* geometry;
  const void* x;
  void* y;
  TapView taps;
  int64_t begin, end;
  void* scratch;
  int64_t scratch_bytes = kScratchBytes;  // less only for kernels that ask
};
using ForwardKernel = void (*)(const ForwardCall&);

// Sums dy into input lines [begin, end) of dx. Tap numbers that name no in-range tap contribute nothing.
struct BackwardCall {
  const Geometry* geometry;
  const void* dy;
  TapView taps;  // read only here
  void* dx;
  bool accumulate;
  int64_t begin, end;
  void* scratch;
};
using BackwardKernel = void (*)(const BackwardCall&);

// Which geometries each accepts is stated in choose.cc and at the kernel. A null pointer: this element type does
// without.
struct Kernels {
  int64_t target;  // the Highway target these were compiled for
  size_t lanes;    // elements per vector
  // Small windows, and channels-last any that do not overlap (window_channels_*-inl.h).
  ForwardKernel window_channels_first;
  ForwardKernel window_channels_last;
  // Wider ones, one axis after the other in registers (wide_channels_*-inl.h).
  ForwardKernel wide_channels_first;
  ForwardKernel wide_channels_last;
  // Any geometry: one axis after the other through scratch (separable.cc).
  ForwardKernel separable;
  // Gradients of 2x2 and 3x3 windows (gather_channels_*-inl.h) and of any that do not overlap (gather_apart-inl.h),
  // from window-u8 indices.
  BackwardKernel gather_channels_first;
  BackwardKernel gather_channels_last;
  // Bounds `count` contiguous elements in place.
  void (*clamp)(void* elements, int64_t count, const void* lower, const void* upper);
};

// The kernels of each type for the best of `targets` (a mask of HWY_* bits) that is compiled in, null if none is:
// F32Kernels(targets) and so on.
#define PEAKPOOL_DECLARE_KERNELS(Name, Element) const Kernels* Name##Kernels(int64_t targets);
PEAKPOOL_FOR_EACH_TYPE(PEAKPOOL_DECLARE_KERNELS)
#undef PEAKPOOL_DECLARE_KERNELS

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_KERNELS_KERNELS_H_
