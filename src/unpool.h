// SPDX-License-Identifier: Apache-2.0
// Max unpooling: x is zero but for x[index[o]] = y[o]. Plain scalar code that moves elements by their size.
#ifndef PEAKPOOL_SRC_UNPOOL_H_
#define PEAKPOOL_SRC_UNPOOL_H_

#include <cstdint>

#include "src/geometry.h"
#include "src/partition.h"

namespace peakpool {

struct UnpoolCall {
  const Geometry* geometry;
  int64_t element_bytes;
  int32_t index_format;
  bool has_empty_window;
  const void* y;
  const void* index;
  void* x;
  Range planes;    // of n * channels + c channels-first; of n channels-last
  Range channels;  // all of them channels-first
};

// Planes are whole, so of several outputs that name one position the last in row-major order wins however the work is
// split. A plane or tensor index may name any position of its own plane, a window index any in-range tap of its window.
// False if one does not; it is skipped.
bool Unpool(const UnpoolCall& call);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_UNPOOL_H_
