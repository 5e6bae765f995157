// SPDX-License-Identifier: Apache-2.0
// Who runs the tasks: the caller's parallel-for, oneTBB, or the calling thread.
#ifndef PEAKPOOL_SRC_EXECUTOR_H_
#define PEAKPOOL_SRC_EXECUTOR_H_

#include "peakpool/peakpool.h"

namespace peakpool {

const peakpool_executor* SerialExecutor();
const peakpool_executor* DefaultExecutor();
// How many tasks the executor can run at once; for the default one that is the current arena's, which can change.
int ThreadCount(const peakpool_executor& executor);

// Runs run(i) for i in [0, count); inline when there is only one.
template <class Run>
void ParallelFor(const peakpool_executor& executor, int64_t count, const Run& run) {
  if (count == 1) {
    run(int64_t{0});
    return;
  }
  executor.parallel_for(
      executor.context, count, [](void* context, int64_t i) { (*static_cast<const Run*>(context))(i); },
      const_cast<Run*>(&run));
}

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_EXECUTOR_H_
