// SPDX-License-Identifier: Apache-2.0
// The definition of what peakpool computes, and its selectable fallback: im2col, argmax, col2im, one window (one column
// of the im2col matrix) after the other. Plain scalar code that shares nothing with the kernels and supports
// everything.
#ifndef PEAKPOOL_SRC_REFERENCE_IM2COL_H_
#define PEAKPOOL_SRC_REFERENCE_IM2COL_H_

#include <cstdint>

#include "src/shape.h"

namespace peakpool {

// y and index (unless null) for the (n, c) planes [begin, end), numbered n * channels + c.
void Im2colForward(const Shape& shape, const void* x, void* y, void* index, int64_t begin, int64_t end);

// dx of those planes from dy and index. False if an index named no tap of its window; dx is then unspecified.
bool Im2colBackward(const Shape& shape, const void* dy, const void* index, void* dx, int64_t begin, int64_t end);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_REFERENCE_IM2COL_H_
