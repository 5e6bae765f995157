// SPDX-License-Identifier: Apache-2.0
// The seam of the kernel of windows at stride 2: what drives it (strided.cc) is compiled once and knows lanes only by
// their size; the loop over vectors (window_strided-inl.h) is compiled per target and kind of lanes, and knows no
// geometry.
#ifndef PEAKPOOL_SRC_KERNELS_STRIDED_H_
#define PEAKPOOL_SRC_KERNELS_STRIDED_H_

#include <cstdint>

#include "src/kernels/kernels.h"

namespace peakpool {

// What to do per plane. A step fills one vector with outputs, and so many steps further to the right finish some lines.
// The code is a list of segments:
//   so many times, each time `x_advance` and `y_advance` further, do the steps
//     for each unit of the vector: where the first step stores it
//     the numbers of the rows
//     for each row of the window: where the loads of the first step's pair of vectors begin
// in elements from the plane's bases, tables in lanes from theirs.
struct StridedCode {
  const int32_t* code;
  int64_t segments, steps, rows, units;
  int64_t x_advance, y_advance;
  int64_t outputs;  // per step and line: the next step's are so many further, its columns twice so many
  bool three;       // columns, else two
  bool far;         // prefetching is worth it
  // By vectors, of the first, middle and last steps: the greatest value of the even and of the odd columns, if limited,
  // and the numbers of taps 0, 1 and 2. Then what each row adds to them, a pair of vectors as they are loaded.
  const void* tables;
  bool limited[3];
  uint8_t* taps_copy;  // room for a vector

  static constexpr int64_t kTables = 5;
};

struct StridedPlanes {
  const char* x;
  char* y;
  uint8_t* taps;
  int64_t planes, x_step, y_step, taps_step;
};

// True if a NaN was seen.
using StridedKernel = bool (*)(const void* lanes, const StridedCode& in, const StridedPlanes& at);

// Short rows are loaded as blocks of so many bytes, and stored as units of half of that.
constexpr int64_t kStridedBlock = 16;

struct StridedLanes {
  const void* lanes;            // what the kernels know of the element type
  int64_t count, size;          // of a vector
  int64_t least, most;          // bits of the values that lose and win against all
  StridedKernel whole, blocks;  // loading whole vectors, or blocks (may be null)
};

// True if done, false if the code has no room.
bool ForwardStrided(const ForwardCall& call, const StridedLanes& lanes, ForwardKernel separable);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_KERNELS_STRIDED_H_
