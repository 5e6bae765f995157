// SPDX-License-Identifier: Apache-2.0
// Whether two tensors share memory. Pure.
#ifndef PEAKPOOL_SRC_OVERLAP_H_
#define PEAKPOOL_SRC_OVERLAP_H_

#include <cstdint>

#include "src/geometry.h"

namespace peakpool {

// A strided tensor without empty axes. Strides are in elements, none negative.
struct Footprint {
  uintptr_t begin;
  int64_t element_bytes;
  int64_t size[5], stride[5];  // per axis, in any order
};

Footprint InputFootprint(const Geometry& g, const void* data, int64_t element_bytes);
Footprint OutputFootprint(const Geometry& g, const void* data, int64_t element_bytes);

// False only where no byte is shared. Views that take turns in one buffer with a common period (channel ranges in
// either layout, rows, columns) are told apart; where periods differ the answer may be true for views that only
// interleave.
bool MayOverlap(const Footprint& a, const Footprint& b);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_OVERLAP_H_
