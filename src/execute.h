// SPDX-License-Identifier: Apache-2.0
// Runs a plan: splits the work, converts index formats around the kernels, hands tasks to the executor.
#ifndef PEAKPOOL_SRC_EXECUTE_H_
#define PEAKPOOL_SRC_EXECUTE_H_

#include "src/partition.h"
#include "src/plan.h"

namespace peakpool {

// How many threads an execution can use: 1 where it is too small to split.
int UsefulThreads(const peakpool_plan& plan, const peakpool_executor& executor);
Split ForwardSplit(const peakpool_plan& plan, int threads);
Split BackwardSplit(const peakpool_plan& plan, int threads);

// Pointers have been checked. index may be null.
void Forward(const peakpool_plan& plan, const void* x, void* y, void* index, const peakpool_executor& executor);

// False if an index named no tap of its window.
bool Backward(const peakpool_plan& plan, const void* dy, const void* index, void* dx,
              const peakpool_executor& executor);

// The same for these two; the index format is the plan's, or given.
bool Unpool(const peakpool_plan& plan, const void* y, const void* index, void* x, const peakpool_executor& executor);
bool ConvertIndices(const peakpool_plan& plan, int32_t from_format, const void* from, int32_t to_format, void* to,
                    const peakpool_executor& executor);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_EXECUTE_H_
