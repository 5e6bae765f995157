// SPDX-License-Identifier: Apache-2.0
// --threads N as an executor.
#ifndef PEAKPOOL_TOOLS_EXECUTOR_H_
#define PEAKPOOL_TOOLS_EXECUTOR_H_

#include "peakpool/peakpool.h"
#if PEAKPOOL_HAVE_TBB
#include "peakpool/tbb.hpp"
#endif

namespace peakpool::tools {

inline int DefaultThreads() {
#if PEAKPOOL_HAVE_TBB
  return tbb::this_task_arena::max_concurrency();
#else
  return 1;
#endif
}

// 0 threads: the default executor. A build without oneTBB runs everything on one thread.
class Executor {
 public:
#if PEAKPOOL_HAVE_TBB
  explicit Executor(int threads)
      : arena_(threads > 0 ? threads : tbb::task_arena::automatic), tbb_(arena_), used_(Choose(threads)) {}
#else
  explicit Executor(int threads) : used_(Choose(threads)) {}
#endif

  const peakpool_executor* get() const { return used_; }

 private:
  const peakpool_executor* Choose(int threads) const {
    if (threads == 0) return peakpool_default_executor();
    if (threads == 1) return peakpool_serial_executor();
#if PEAKPOOL_HAVE_TBB
    return tbb_.get();
#else
    return peakpool_serial_executor();
#endif
  }

#if PEAKPOOL_HAVE_TBB
  tbb::task_arena arena_;
  TbbExecutor tbb_;
#endif
  const peakpool_executor* used_;
};

}  // namespace peakpool::tools

#endif  // PEAKPOOL_TOOLS_EXECUTOR_H_
