// SPDX-License-Identifier: Apache-2.0
// Max unpooling: x is zero but for x[index[o]] = y[o]. Moves elements by their size.
#ifndef PEAKPOOL_SRC_UNPOOL_H_
#define PEAKPOOL_SRC_UNPOOL_H_

#include <cstdint>

#include "src/indices.h"

namespace peakpool {

struct UnpoolCall {
  const IndexKernels* kernels;  // may be null
  Indices indices;
  int64_t element_bytes;
  const void* y;
  void* x;
  Range planes;    // of n * channels + c channels-first; of n channels-last
  Range channels;  // all of them channels-first
};

// Planes are whole, so of several outputs that name one position the last in row-major order wins however the work is
// split. False if an index is invalid; it is skipped.
bool Unpool(const UnpoolCall& call);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_UNPOOL_H_
