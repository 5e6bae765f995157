// SPDX-License-Identifier: Apache-2.0
#include "src/executor.h"

namespace peakpool {
namespace {

void RunInOrder(void*, int64_t count, void (*task)(void*, int64_t), void* task_context) {
  for (int64_t i = 0; i < count; ++i) task(task_context, i);
}

}  // namespace

const peakpool_executor* SerialExecutor() {
  static constexpr peakpool_executor executor = {sizeof(peakpool_executor), &RunInOrder, nullptr, 1};
  return &executor;
}

#if !PEAKPOOL_HAVE_TBB
const peakpool_executor* DefaultExecutor() { return SerialExecutor(); }
int ThreadCount(const peakpool_executor& executor) { return executor.threads; }
#endif

}  // namespace peakpool
