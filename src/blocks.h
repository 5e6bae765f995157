// SPDX-License-Identifier: Apache-2.0
// Calls on tensors with gaps, which most kernels gain from being spared: channels-first between lines, planes or
// images, as they take many small planes at a time or go across the ends of lines; channels-last between pixels of few
// channels. Such tensors are copied to blocks that stay in the caches: some whole slices (n, c, d), or rows of one.
#ifndef PEAKPOOL_SRC_BLOCKS_H_
#define PEAKPOOL_SRC_BLOCKS_H_

#include <cstdint>

#include "src/kernels/kernels.h"

namespace peakpool {

// Runs the kernel on the call, or on blocks of it where those are faster. Elements of x and dx have so many bytes.
void ForwardInBlocks(ForwardKernel kernel, const ForwardCall& call, int64_t element_bytes);
void BackwardInBlocks(BackwardKernel kernel, const BackwardCall& call, int64_t element_bytes);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_BLOCKS_H_
