// SPDX-License-Identifier: Apache-2.0
// A C++17 program that links peakpool, with and without exceptions and RTTI. Prints what consumer.c prints.
#include <cstdio>
#include <peakpool/peakpool.hpp>

int main() {
  const float x[16] = {1, 2, 3, 4, 8, 7, 6, 5, 1, 1, 1, 1, 1, 9, 1, 1};
  float y[4];
  const peakpool::Plan plan("f32 nchw 1x1x4x4 k2");
  if (!plan || plan.forward(x, y) != PEAKPOOL_OK) return 1;
  std::printf("%g %g %g %g\n", y[0], y[1], y[2], y[3]);
}
