// SPDX-License-Identifier: Apache-2.0
// Copies of short rows, for which a call of memcpy takes longer than the copy.
#ifndef PEAKPOOL_SRC_COPY_ROWS_H_
#define PEAKPOOL_SRC_COPY_ROWS_H_

#include <cstdint>

namespace peakpool {

// Rows in memory: each so many bytes behind the one before.
template <class Byte>
struct Rows {
  Byte* at;
  int64_t step;
};

// Copies `count` rows of so many bytes each.
void CopyRows(Rows<char> to, Rows<const char> from, int64_t bytes, int64_t count);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_COPY_ROWS_H_
