// SPDX-License-Identifier: Apache-2.0
// Bytes of the library's element types and index formats.
#ifndef PEAKPOOL_TOOLS_SIZES_H_
#define PEAKPOOL_TOOLS_SIZES_H_

#include <cstddef>
#include <cstdint>

#include "peakpool/peakpool.h"

namespace peakpool::tools {

// Of a peakpool_type.
inline size_t ElementBytes(int32_t type) {
  switch (type) {
    case PEAKPOOL_I8:
    case PEAKPOOL_U8: return 1;
    case PEAKPOOL_F16:
    case PEAKPOOL_BF16:
    case PEAKPOOL_I16:
    case PEAKPOOL_U16: return 2;
    case PEAKPOOL_F64:
    case PEAKPOOL_I64:
    case PEAKPOOL_U64: return 8;
    default: return 4;
  }
}

// Of a peakpool_index_format; 0 for NONE.
inline size_t IndexBytes(int32_t index_format) {
  switch (index_format) {
    case PEAKPOOL_INDEX_NONE: return 0;
    case PEAKPOOL_INDEX_WINDOW_U8: return 1;
    case PEAKPOOL_INDEX_WINDOW_U16: return 2;
    case PEAKPOOL_INDEX_WINDOW_U32:
    case PEAKPOOL_INDEX_PLANE_I32: return 4;
    default: return 8;
  }
}

}  // namespace peakpool::tools

#endif  // PEAKPOOL_TOOLS_SIZES_H_
