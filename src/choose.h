// SPDX-License-Identifier: Apache-2.0
// Which algorithm runs a problem: an ordered list, the first that accepts wins, each refusal with its reason. Pure.
#ifndef PEAKPOOL_SRC_CHOOSE_H_
#define PEAKPOOL_SRC_CHOOSE_H_

#include "src/shape.h"

namespace peakpool {

enum class Algorithm { kWindow, kWide, kSeparable, kGather, kScatter, kIm2col };

// Lines whose indices are decoded for the gather have at most so many outputs.
constexpr int64_t kLongestDecodedLine = 8 * 1024;

const char* AlgorithmName(Algorithm algorithm);

struct Choice {
  Algorithm algorithm;
  const char* why;      // of the algorithm chosen
  const char* refused;  // the faster algorithm that was not eligible, or null
  const char* refused_why;
};

Choice ChooseForward(const Shape& shape);
Choice ChooseBackward(const Shape& shape);

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_CHOOSE_H_
