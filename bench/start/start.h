// SPDX-License-Identifier: Apache-2.0
// What the programs of this folder share: each pools the same tensor once with
// one library, as soon as it can.
#ifndef PEAKPOOL_BENCH_START_START_H_
#define PEAKPOOL_BENCH_START_START_H_

#include <time.h>

#include <cstdio>

// f32, channels-last, 2x2 with stride 2.
constexpr int kChannels = 16, kInput = 16, kOutput = kInput / 2;

// Filled so that the result is known: the last tap of each window.
inline const float *Input() {
  static float x[kInput * kInput * kChannels];
  for (int i = 0; i < kInput * kInput * kChannels; ++i) x[i] = static_cast<float>(i);
  return x;
}

// Prints the time, on the clock that start.py reads before it starts the
// program. For main() to return.
inline int Done(const float *y) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const float *const x = Input();
  for (int h = 0; h < kOutput; ++h) {
    for (int w = 0; w < kOutput; ++w) {
      for (int c = 0; c < kChannels; ++c) {
        const int last = ((h * 2 + 1) * kInput + w * 2 + 1) * kChannels + c;
        if (y != nullptr && y[(h * kOutput + w) * kChannels + c] != x[last]) return 1;
      }
    }
  }
  std::printf("%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
  return 0;
}

#endif  // PEAKPOOL_BENCH_START_START_H_
