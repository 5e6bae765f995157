// SPDX-License-Identifier: Apache-2.0
// The seam of the kernel of short lines of f32 at stride 2: what drives it (packed.cc) is compiled once; the loop over
// vectors (window_packed-inl.h) is compiled per target, and knows no geometry.
#ifndef PEAKPOOL_SRC_KERNELS_PACKED_H_
#define PEAKPOOL_SRC_KERNELS_PACKED_H_

#include <cstdint>

#include "src/kernels/kernels.h"

namespace peakpool {

// A step fills one vector with outputs of one line or of two that follow each other. It loads X and Y, whole vectors of
// each row of the window, and Z, of which the lanes from `first_of_z` on replace those of X: together the pairs of
// columns of all its outputs, in the order of EvenMixed and OddMixed. One word holds all of it, because loads of
// numbers in between cost those of split vectors twice their time (9 of them: a step of 14 cycles took 20).
struct PackedStep {
  int64_t x, y, z;  // elements from the base, 16 bits each
  int64_t outputs;  // stored one after the other
  int64_t first_of_z;
  int64_t tables;  // their number

  uint64_t Word() const {
    return static_cast<uint64_t>(x | y << 16 | z << 32 | outputs << 48 | first_of_z / 2 << 53 | tables << 57);
  }
  static int64_t Outputs(uint64_t word) { return static_cast<int64_t>(word >> 48 & 31); }
  static constexpr int64_t kMostTables = 68;
};

// Steps whose window rows lie equally far below the first one.
struct PackedSegment {
  int64_t steps, row1, row2;
};

struct PackedCode {
  const PackedSegment* segments;
  int64_t count;
  const uint64_t* steps;
  bool joins;  // some lanes are replaced
  // Each step is of one line, and lines are alike: `line_steps` of `full` outputs each, the last one of `rest`. Then no
  // words are needed, of which the decoding is half of what 2x2 takes, and the numbers of tables are these.
  bool single;
  int64_t line_steps, full, rest, line;  // the latter elements from line to line
  int64_t full_tables, rest_tables;
  // By number, PackedTablesSize(n) bytes each: lane numbers of what follows each even column, of the outputs in order,
  // and the latter in bytes.
  const char* tables;
  const int32_t* ramp;  // 0 for each lane of a vector, then -1
};

constexpr int64_t PackedTablesSize(int64_t lanes) { return 16 * lanes; }

struct PackedPlanes {
  const float* x;
  float* y;
  uint8_t* taps;
  int64_t planes, x_step, y_step, taps_step;
};

// True if a NaN was seen.
using PackedKernel = bool (*)(const PackedCode& in, const PackedPlanes& at);
struct PackedKernels {
  PackedKernel any, single;  // the latter for such code alone
};

// Square windows of 2 or 3 at stride 2 without padding before, planes of dense rows. True if done, false if these lines
// are no such, or have no room in the code. `lanes`: of a vector.
bool ForwardPacked(const ForwardCall& call, int64_t lanes, const PackedKernels& kernels, ForwardKernel separable);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_KERNELS_PACKED_H_
