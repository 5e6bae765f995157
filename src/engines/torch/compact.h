// SPDX-License-Identifier: Apache-2.0
#ifndef PEAKPOOL_SRC_ENGINES_TORCH_COMPACT_H_
#define PEAKPOOL_SRC_ENGINES_TORCH_COMPACT_H_

#include "src/engines/torch/pooling.h"

namespace peakpool_torch {

// Max pooling with a gradient, which keeps one byte per output. False where that cannot be.
bool CompactMaxPool(const at::Tensor& x, int rank, Types types, const Window& window, at::Tensor* y);

}  // namespace peakpool_torch

#endif  // PEAKPOOL_SRC_ENGINES_TORCH_COMPACT_H_
