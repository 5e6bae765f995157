// SPDX-License-Identifier: Apache-2.0
// Random problems that all move about the same number of bytes. A problem that takes many times as long as the median
// is a cliff: a corner of the library's domain that its fast kernels do not reach.
#ifndef PEAKPOOL_BENCH_CLIFF_H_
#define PEAKPOOL_BENCH_CLIFF_H_

#include <cstdint>
#include <vector>

#include "peakpool/peakpool.h"

namespace peakpool_bench {

// `count` problems that the library accepts, the same on every machine, each within a quarter of `bytes` of x, y and
// indices together: every type, rank and layout, values alone and every index format, windows of 1 to 40 an axis, all
// kinds of strides, dilations and paddings, few and many channels, small and large planes. Dense, without clamps,
// adaptive or empty windows.
std::vector<peakpool_problem> EqualProblems(int count, int64_t bytes);

}  // namespace peakpool_bench

#endif  // PEAKPOOL_BENCH_CLIFF_H_
