// SPDX-License-Identifier: Apache-2.0
// The yardstick: loops that read every input byte once and write every output byte once and compute nothing of use. No
// pooling of the same tensors can be faster, so a time divided by the fastest of these loops is comparable across
// machines. Knows nothing of pooling.
#ifndef PEAKPOOL_BENCH_SPEED_OF_LIGHT_H_
#define PEAKPOOL_BENCH_SPEED_OF_LIGHT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace peakpool_bench {

constexpr size_t kStreamAlignment = 256;  // of every pointer, and the slack behind every stream

// Up to two inputs and two outputs. Loops touch whole vectors, so the last one of a stream may reach into its slack.
struct Streams {
  const uint8_t* in[2];
  uint8_t* out[2];
  size_t in_bytes[2];
  size_t out_bytes[2];
};

struct StreamLoop {
  const char* name;  // vectors of the longest stream per turn, "nt" for non-temporal stores, "p" for prefetch
  void (*run)(const Streams&);
};

// The loops for the named Highway target, or for the best one of this machine for nullptr. Empty if it is not compiled.
std::vector<StreamLoop> StreamLoops(const char* target);

// Part i of n, cut at multiples of kStreamAlignment.
Streams Part(const Streams& streams, size_t i, size_t n);

}  // namespace peakpool_bench

#endif  // PEAKPOOL_BENCH_SPEED_OF_LIGHT_H_
