// SPDX-License-Identifier: Apache-2.0
// The one string grammar for a problem: "f32 nchw 1x64x112x112 k3 s2 p1". Used by messages, tests, bench and tools.
#ifndef PEAKPOOL_SRC_DESCRIBE_H_
#define PEAKPOOL_SRC_DESCRIBE_H_

#include <cstddef>

#include "peakpool/peakpool.h"

namespace peakpool {

const char* TypeName(int32_t type);
const char* IndexFormatName(int32_t index_format);

// Both as declared in peakpool.h.
[[gnu::cold]] peakpool_status Parse(const char* text, peakpool_problem* problem);
[[gnu::cold]] size_t Describe(const peakpool_problem& problem, char* buffer, size_t size);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_DESCRIBE_H_
