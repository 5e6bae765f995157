// SPDX-License-Identifier: Apache-2.0
// Max pooling a second time, for checking the reference in src/reference/: shares nothing with the library but the
// public header, walks input positions instead of taps, and knows 16-bit floats through ldexp instead of bit patterns.
#ifndef PEAKPOOL_TESTS_NAIVE_H_
#define PEAKPOOL_TESTS_NAIVE_H_

#include <cstddef>
#include <cstdint>

#include "peakpool/peakpool.h"

namespace peakpool::tests {

size_t ElementBytes(int32_t type);
size_t IndexBytes(int32_t index_format);

// A 16-bit float's value, and the nearest 16-bit float (ties to even) of a value. NaN becomes the canonical one.
double FromHalf(int32_t type, uint16_t bits);
uint16_t ToHalf(int32_t type, double value);

// These take a resolved problem: output size and strides filled in. Gaps of strided tensors are left alone. Those that
// read indices return false if one is invalid; such outputs take no part (converted: they become -1).
void NaiveForward(const peakpool_problem& problem, const void* x, void* y, void* index);  // index may be null
bool NaiveBackward(const peakpool_problem& problem, const void* dy, const void* index, void* dx);
bool NaiveUnpool(const peakpool_problem& problem, const void* y, const void* index, void* x);
bool NaiveConvert(const peakpool_problem& problem, int32_t from_format, const void* from, int32_t to_format, void* to);

// Whether some window lies wholly in the padding.
bool HasEmptyWindow(const peakpool_problem& problem);

// Fills in output size (floor or ceil), the largest adaptive window, and dense strides, without asking the library.
void Resolve(peakpool_problem* problem);

}  // namespace peakpool::tests

#endif  // PEAKPOOL_TESTS_NAIVE_H_
