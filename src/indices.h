// SPDX-License-Identifier: Apache-2.0
// From window taps, which the kernels write, to the index formats that callers may ask for.
#ifndef PEAKPOOL_SRC_INDICES_H_
#define PEAKPOOL_SRC_INDICES_H_

#include <cstdint>

#include "src/geometry.h"
#include "src/partition.h"

namespace peakpool {

// The narrowest tap width that can hold every tap and, where windows can be empty, the all-ones mark: 1, 2 or 4.
int NarrowestTapBytes(const Geometry& geometry, bool has_empty_window);

// Writes the indices of the given output lines, columns and channels in a plane or tensor format. taps is dense over
// (line, column, channel if channels-last) of just these ranges.
void ExpandTaps(const Geometry& geometry, int32_t index_format, const void* taps, int tap_bytes, Range lines,
                Range columns, Range channels, void* index);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_INDICES_H_
