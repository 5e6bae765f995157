// SPDX-License-Identifier: Apache-2.0
// Copies of short rows, for which a call of memcpy takes longer than the copy.
#ifndef PEAKPOOL_SRC_COPY_ROW_H_
#define PEAKPOOL_SRC_COPY_ROW_H_

#include <cstdint>
#include <cstring>

namespace peakpool {

// Both ends, which may overlap: copies of a constant size are a few instructions.
template <int kBytes>
void CopyEnds(char* to, const char* from, int64_t bytes) {
  std::memcpy(to, from, kBytes);
  std::memcpy(to + bytes - kBytes, from + bytes - kBytes, kBytes);
}

inline void CopyRow(char* to, const char* from, int64_t bytes) {
  if (bytes > 256) {
    std::memcpy(to, from, static_cast<size_t>(bytes));
  } else if (bytes > 64) {
    for (int64_t i = 0; i < bytes - 64; i += 64) std::memcpy(to + i, from + i, 64);
    std::memcpy(to + bytes - 64, from + bytes - 64, 64);
  } else if (bytes >= 32) {
    CopyEnds<32>(to, from, bytes);
  } else if (bytes >= 16) {
    CopyEnds<16>(to, from, bytes);
  } else if (bytes >= 8) {
    CopyEnds<8>(to, from, bytes);
  } else if (bytes >= 4) {
    CopyEnds<4>(to, from, bytes);
  } else {
    for (int64_t i = 0; i < bytes; ++i) to[i] = from[i];
  }
}

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_COPY_ROW_H_
