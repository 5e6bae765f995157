// SPDX-License-Identifier: Apache-2.0
// Also linked with the whole library, as a program has it that uses every entry
// point.
#include "peakpool/peakpool.hpp"

#include "bench/start/start.h"

int main() {
  static float y[kOutput * kOutput * kChannels];
  const peakpool::Plan plan("f32 nhwc 1x16x16x16 k2");
  return plan.forward(Input(), y) != PEAKPOOL_OK || Done(y);
}
