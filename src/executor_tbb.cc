// SPDX-License-Identifier: Apache-2.0
#include <tbb/task_arena.h>

#include "peakpool/tbb.hpp"
#include "src/executor.h"

namespace peakpool {

const peakpool_executor* DefaultExecutor() {
  static constexpr peakpool_executor executor = {sizeof(peakpool_executor), &TbbExecutor::RunInCurrentArena, nullptr,
                                                 0};
  return &executor;
}

int ThreadCount(const peakpool_executor& executor) {
  return executor.threads > 0 ? executor.threads : tbb::this_task_arena::max_concurrency();
}

}  // namespace peakpool
