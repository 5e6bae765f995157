// SPDX-License-Identifier: Apache-2.0
#include "src/copy_rows.h"

#include <cstring>

namespace peakpool {
namespace {

// Both ends of each row, which may overlap: copies of a constant size are a few instructions.
template <int kBytes>
void CopyEnds(Rows<char> to, Rows<const char> from, int64_t bytes, int64_t count) {
  for (int64_t i = 0; i < count; ++i, to.at += to.step, from.at += from.step) {
    std::memcpy(to.at, from.at, kBytes);
    std::memcpy(to.at + bytes - kBytes, from.at + bytes - kBytes, kBytes);
  }
}

}  // namespace

void CopyRows(Rows<char> to, Rows<const char> from, int64_t bytes, int64_t count) {
  if (bytes > 256) {
    for (int64_t i = 0; i < count; ++i, to.at += to.step, from.at += from.step) {
      std::memcpy(to.at, from.at, static_cast<size_t>(bytes));
    }
  } else if (bytes > 64) {
    for (int64_t i = 0; i < count; ++i, to.at += to.step, from.at += from.step) {
      for (int64_t j = 0; j < bytes - 64; j += 64) std::memcpy(to.at + j, from.at + j, 64);
      std::memcpy(to.at + bytes - 64, from.at + bytes - 64, 64);
    }
  } else if (bytes >= 32) {
    CopyEnds<32>(to, from, bytes, count);
  } else if (bytes >= 16) {
    CopyEnds<16>(to, from, bytes, count);
  } else if (bytes >= 8) {
    CopyEnds<8>(to, from, bytes, count);
  } else if (bytes >= 4) {
    CopyEnds<4>(to, from, bytes, count);
  } else if (bytes >= 2) {
    CopyEnds<2>(to, from, bytes, count);
  } else if (bytes == 1) {
    CopyEnds<1>(to, from, bytes, count);
  }
}

}  // namespace peakpool
