// SPDX-License-Identifier: Apache-2.0
// Validation of a problem, output sizes and strides. Pure: no kernels, no threads.
#ifndef PEAKPOOL_SRC_SHAPE_H_
#define PEAKPOOL_SRC_SHAPE_H_

#include "peakpool/peakpool.h"
#include "src/geometry.h"

namespace peakpool {

struct Shape {
  peakpool_problem problem;  // as given, with output and strides filled in and target cleared
  Geometry geometry;
  bool has_empty_window;
  bool has_padding_tap;  // some window reaches into the padding
  int64_t input_extent;  // elements from the first to one past the last; 0 for an empty tensor
  int64_t output_extent;
  int64_t element_bytes, index_bytes;  // of the problem's type and index format
  // The clamp bounds as elements of the problem's type.
  alignas(8) unsigned char clamp_lower[8], clamp_upper[8];
};

// Of whatever is counted along one axis: a problem's parameters, a padded input, the inputs from the first window's
// begin to the last one's end.
constexpr int64_t kMostSize = int64_t{1} << 40;

// Refuses a type, layout or rank outside its domain.
peakpool_status CheckDomains(int32_t type, int32_t layout, int32_t rank);

// Checks everything the contract refuses. Returns the status with the error line set, or OK with *shape filled.
peakpool_status ResolveShape(const peakpool_problem& problem, Shape* shape);

// Sets padding, rounding and output for auto_pad SAME; the odd element goes after (upper) or before (lower).
peakpool_status PadSame(peakpool_problem* problem, bool upper);

int64_t ElementBytes(int32_t type);
int64_t IndexBytes(int32_t index_format);  // 0 for PEAKPOOL_INDEX_NONE
bool IsWindowFormat(int32_t index_format);
bool AreGiven(const peakpool_strides& strides, int rank);  // else dense

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_SHAPE_H_
