// SPDX-License-Identifier: Apache-2.0
#include "src/overlap.h"

#include <numeric>
#include <utility>

namespace peakpool {
namespace {

constexpr int kAxes = 5;

// A tensor as blocks of `length` bytes that lie multiples of `period` bytes apart; one block where the period is 0.
struct Blocks {
  uint64_t length, period;
};

// The tensor cut before each axis of the next larger stride: the axes inside are taken for one solid block, those
// outside for its repetition. Returns the number of cuts.
int Cuts(const Footprint& t, Blocks (&cuts)[kAxes + 1]) {
  uint64_t stride[kAxes], span[kAxes];
  int count = 0;
  for (int a = 0; a < kAxes; ++a) {
    if (t.size[a] <= 1) continue;
    stride[count] = static_cast<uint64_t>(t.stride[a] * t.element_bytes);
    span[count] = static_cast<uint64_t>(t.size[a] - 1) * stride[count];
    for (int i = count++; i > 0 && stride[i] < stride[i - 1]; --i) {
      std::swap(stride[i], stride[i - 1]);
      std::swap(span[i], span[i - 1]);
    }
  }
  uint64_t length = static_cast<uint64_t>(t.element_bytes), period = 0;
  for (int i = 0; i < count; length += span[i++]) cuts[i].length = length;
  cuts[count] = {length, 0};
  for (int i = count - 1; i >= 0; --i) cuts[i].period = period = std::gcd(period, stride[i]);
  return count + 1;
}

Footprint MakeFootprint(const Geometry& g, const Strides& s, const void* data, int64_t element_bytes, int64_t depth,
                        int64_t height, int64_t width) {
  return {reinterpret_cast<uintptr_t>(data),
          element_bytes,
          {g.batch, g.channels, depth, height, width},
          {s.batch, s.channel, s.axis[kDepth], s.axis[kHeight], s.axis[kWidth]}};
}

}  // namespace

Footprint InputFootprint(const Geometry& g, const void* data, int64_t element_bytes) {
  return MakeFootprint(g, g.input, data, element_bytes, g.axis[kDepth].input, g.axis[kHeight].input,
                       g.axis[kWidth].input);
}

Footprint OutputFootprint(const Geometry& g, const void* data, int64_t element_bytes) {
  return MakeFootprint(g, g.output, data, element_bytes, g.axis[kDepth].output, g.axis[kHeight].output,
                       g.axis[kWidth].output);
}

bool MayOverlap(const Footprint& a, const Footprint& b) {
  const bool ordered = a.begin <= b.begin;
  const Footprint &first = ordered ? a : b, &second = ordered ? b : a;
  const uint64_t distance = second.begin - first.begin;
  Blocks first_cuts[kAxes + 1], second_cuts[kAxes + 1];
  const int first_count = Cuts(first, first_cuts), second_count = Cuts(second, second_cuts);
  for (int i = 0; i < first_count; ++i) {
    for (int j = 0; j < second_count; ++j) {
      // On a circle of the common period, both tensors are one arc each.
      const uint64_t period = std::gcd(first_cuts[i].period, second_cuts[j].period);
      const uint64_t offset = period == 0 ? distance : distance % period;
      if (first_cuts[i].length <= offset && (period == 0 || second_cuts[j].length <= period - offset)) return false;
    }
  }
  return true;
}

}  // namespace peakpool
