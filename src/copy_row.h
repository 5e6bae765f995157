// SPDX-License-Identifier: Apache-2.0
// Copies of short rows, for which a call of memcpy takes longer than the copy.
#ifndef PEAKPOOL_SRC_COPY_ROW_H_
#define PEAKPOOL_SRC_COPY_ROW_H_

#include <cstdint>
#include <cstring>

namespace peakpool {

// Copies `count` rows of so many bytes. Both ends of a row, which may overlap, are copies of a constant size.
template <int kBytes>
void CopyEnds(char* to, int64_t to_step, const char* from, int64_t from_step, int64_t bytes, int64_t count) {
  for (int64_t i = 0; i < count; ++i, to += to_step, from += from_step) {
    std::memcpy(to, from, kBytes);
    std::memcpy(to + bytes - kBytes, from + bytes - kBytes, kBytes);
  }
}

inline void CopyRows(char* to, int64_t to_step, const char* from, int64_t from_step, int64_t bytes, int64_t count) {
  if (bytes > 64) {
    for (int64_t i = 0; i < count; ++i, to += to_step, from += from_step) {
      if (bytes > 256) {
        std::memcpy(to, from, static_cast<size_t>(bytes));
        continue;
      }
      for (int64_t at = 0; at < bytes - 64; at += 64) std::memcpy(to + at, from + at, 64);
      std::memcpy(to + bytes - 64, from + bytes - 64, 64);
    }
  } else if (bytes >= 32) {
    CopyEnds<32>(to, to_step, from, from_step, bytes, count);
  } else if (bytes >= 16) {
    CopyEnds<16>(to, to_step, from, from_step, bytes, count);
  } else if (bytes >= 8) {
    CopyEnds<8>(to, to_step, from, from_step, bytes, count);
  } else if (bytes >= 4) {
    CopyEnds<4>(to, to_step, from, from_step, bytes, count);
  } else if (bytes >= 2) {
    CopyEnds<2>(to, to_step, from, from_step, bytes, count);
  } else if (bytes == 1) {
    CopyEnds<1>(to, to_step, from, from_step, bytes, count);
  }
}

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_COPY_ROW_H_
