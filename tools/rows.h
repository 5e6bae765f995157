// SPDX-License-Identifier: Apache-2.0
// A whole tensor through a peakpool_stream.
#ifndef PEAKPOOL_TOOLS_ROWS_H_
#define PEAKPOOL_TOOLS_ROWS_H_

#include "peakpool/peakpool.h"

namespace peakpool::tools {

// As peakpool_forward(), but row by row. `resolved` is peakpool_plan_problem() of a plan for `problem`.
peakpool_status ForwardByRows(const peakpool_problem& problem, const peakpool_problem& resolved, const void* x, void* y,
                              void* index, const peakpool_executor* executor);

}  // namespace peakpool::tools

#endif  // PEAKPOOL_TOOLS_ROWS_H_
