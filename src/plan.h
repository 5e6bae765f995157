// SPDX-License-Identifier: Apache-2.0
// An immutable plan: a validated shape, the algorithms chosen for it, and the kernels of one target.
#ifndef PEAKPOOL_SRC_PLAN_H_
#define PEAKPOOL_SRC_PLAN_H_

#include "src/choose.h"
#include "src/few.h"
#include "src/kernels/index_kernels.h"
#include "src/kernels/kernels.h"
#include "src/shape.h"

struct peakpool_plan {
  peakpool_problem problem;  // as the caller described it, without the target
  peakpool::Shape shape;
  const peakpool::Kernels* kernels;             // null where every algorithm is im2col
  const peakpool::IndexKernels* index_kernels;  // likewise
  peakpool::Choice forward, backward;
  peakpool::ForwardKernel forward_kernel;    // null for im2col
  peakpool::BackwardKernel backward_kernel;  // null for im2col and scatter
  peakpool::FewTaps few;                     // goes before the forward kernel
  bool has_gaps;                             // in x, or in y: some calls are better run in blocks
};

namespace peakpool {

peakpool_status MakePlan(const peakpool_problem& problem, peakpool_plan** plan);

// The i-th usable target, best first, or null.
const char* TargetName(int i);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_PLAN_H_
