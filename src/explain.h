// SPDX-License-Identifier: Apache-2.0
// A plan in words: what runs it, how it is split, and why nothing faster does.
#ifndef PEAKPOOL_SRC_EXPLAIN_H_
#define PEAKPOOL_SRC_EXPLAIN_H_

#include <cstddef>

#include "src/plan.h"

namespace peakpool {

// Writes and returns as Describe().
[[gnu::cold]] size_t Explain(const peakpool_plan& plan, char* buffer, size_t size);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_EXPLAIN_H_
