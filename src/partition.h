// SPDX-License-Identifier: Apache-2.0
// How one execution splits into tasks. Pure arithmetic.
#ifndef PEAKPOOL_SRC_PARTITION_H_
#define PEAKPOOL_SRC_PARTITION_H_

#include <cstdint>

namespace peakpool {

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// Part i of count nearly equal parts of [0, size).
Range Part(int64_t size, int64_t count, int64_t i);

// Work is a grid of lines x columns x channels; lines are split first (whole planes, then row bands come out by
// themselves), then channels, then columns, each only where the one before cannot feed every thread.
struct Split {
  int64_t lines, columns, channels;  // number of parts along each
  int64_t Tasks() const { return lines * columns * channels; }
};

// Whether so much traffic feeds more than one task: asked first, because counting an arena's threads takes longer than
// pooling a small plane.
bool IsWorthSplitting(int64_t bytes);

// columns and channels are how many parts may be made of them at most. bytes is the traffic of the whole execution:
// below a threshold it is one task.
Split ChooseSplit(int64_t lines, int64_t columns, int64_t channels, int64_t bytes, int threads);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_PARTITION_H_
