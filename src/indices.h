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

// Rewrites the indices of the given output lines from one format to another. False if one is invalid, or names a
// position that the other format cannot (no tap of its own window); its place then holds -1.
struct ConvertCall {
  const Geometry* geometry;
  bool has_empty_window;
  int32_t from_format, to_format;
  const void* from;
  void* to;
  Range lines;
};
bool ConvertIndices(const ConvertCall& call);

// The first invalid index in row-major order, for the message about it. in_window: a position must be a tap of its own
// output's window, as backward asks; otherwise any of its plane will do. False if all are valid.
struct InvalidIndex {
  int64_t n, c, o[3];
  int64_t value;
};
bool FindInvalidIndex(const Geometry& geometry, bool has_empty_window, int32_t index_format, const void* index,
                      bool in_window, InvalidIndex* found);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_INDICES_H_
