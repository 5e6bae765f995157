// SPDX-License-Identifier: Apache-2.0
// Small windows channels-first that have a depth: each input slice is pooled once by the kernels of plane windows, to
// scratch, then the slices of each output. "The earlier slice wins ties" is row-major-first. f32 3x3x3 s2 takes 0.5 to
// 0.6 of the time that reducing all rows of a window at once does.
#include "src/kernels/window_depth.h"

#include <algorithm>

#include "src/geometry.h"
#include "src/kernels/slice_walk.h"

namespace peakpool {
namespace {

// Scratch: the plane kernels', then pooled slices, then whether some were not pooled. Of the plane kernels for lines at
// stride 2 only strided.cc's, which asks how much there is, has a use for scratch: 12 KB with vectors of 64 bytes.
constexpr int64_t kSlicesAt = 20 * 1024, kNotPooledAt = static_cast<int64_t>(kScratchBytes) - 64;

bool& NotPooled(const ForwardCall& call) {
  return *reinterpret_cast<bool*>(static_cast<char*>(call.scratch) + kNotPooledAt);
}

}  // namespace

void SliceNotPooled(const ForwardCall& call) { NotPooled(call) = true; }

[[gnu::cold]] bool ForwardDepth(const ForwardCall& call, const DepthLanes& lanes, ForwardKernel separable) {
  const Geometry& g = *call.geometry;
  const Axis &d = g.axis[kDepth], &h = g.axis[kHeight], &w = g.axis[kWidth];
  const bool with_taps = call.taps.base != nullptr;
  const int64_t size = h.output * w.output, taps = h.kernel * w.kernel;
  if (d.kernel < 2 || d.dilation != 1 || w.stride != 2 || w.output < lanes.count) return false;
  // At 2x2x2 apart strided lines are faster (0.7 of the time), but for values of f32 that are far (1.1 to 1.5 times).
  const bool apart = d.kernel <= d.stride && d.kernel * taps <= 8;
  if (apart && (with_taps || lanes.size != 4 || !IsFar(g, lanes.size))) return false;
  // Where windows share no slices, fewer stay in the first-level cache (2x2x2: 0.9 of the time).
  const int64_t room = d.kernel > d.stride ? kNotPooledAt - kSlicesAt : 16 * 1024;
  const int64_t most_slices = room / (size * (lanes.size + 1));
  if (most_slices < d.kernel) return false;
  const int64_t most = (most_slices - d.kernel) / d.stride + 1;
  char* const pooled = static_cast<char*>(call.scratch) + kSlicesAt;
  uint8_t* const numbers = reinterpret_cast<uint8_t*>(pooled + most_slices * size * lanes.size);

  Geometry slices = g;
  slices.batch = g.Planes();  // only the first is pooled: how much there is tells kernels whether to prefetch
  slices.axis[kDepth] = {1, 1, 1, 1, 1, 0};
  slices.input.batch = 0;
  slices.input.channel = g.input.axis[kDepth];
  slices.output = {0, size, {0, w.output, 1}};
  ForwardCall part = call;
  part.geometry = &slices;
  part.y = pooled;
  part.taps = {with_taps ? numbers : nullptr, 1, slices.output, 0};
  part.begin = 0;
  part.scratch_bytes = kSlicesAt;

  for (int64_t line = call.begin, lines; line < call.end; line += lines) {
    const int64_t slice = line / h.output, o = slice % d.output, plane = slice / d.output;
    const int64_t image = plane / g.channels, channel = plane % g.channels, row = line % h.output;
    const int64_t outputs = row > 0 ? 0 : std::min({d.output - o, most, (call.end - line) / h.output});
    const auto start = [=](const Strides& s, int64_t z) {
      return image * s.batch + channel * s.channel + z * s.axis[kDepth];
    };
    lines = outputs > 0 ? outputs * h.output : std::min(h.output - row, call.end - line);
    bool done = outputs > 0;
    const int64_t last = o + outputs - 1, first = std::max<int64_t>(d.Begin(o), 0);
    if (done) {
      slices.channels = d.Begin(last) + d.TapEnd(last) - first;
      part.x = static_cast<const char*>(call.x) + start(g.input, first) * lanes.size;
      part.end = slices.channels * h.output;
      NotPooled(call) = false;
      lanes.planes(part);
      done = !NotPooled(call);
    }
    for (int64_t i = o; done && i <= last; ++i) {
      const int64_t tap = d.FirstTap(i), from = (d.Begin(i) + tap - first) * size;
      PooledSlices in = {pooled + from * lanes.size, numbers + from, size, d.TapEnd(i) - tap, tap * taps, taps};
      char* y = static_cast<char*>(call.y) + start(g.output, i) * lanes.size;
      uint8_t* to = static_cast<uint8_t*>(call.taps.base);
      if (with_taps) to += start(call.taps.strides, i) - call.taps.origin;
      const int64_t y_row = g.output.axis[kHeight], taps_row = with_taps ? call.taps.strides.axis[kHeight] : w.output;
      const bool dense = y_row == w.output && taps_row == w.output;
      for (int64_t r = 0; r < (dense ? 1 : h.output); ++r) {
        uint8_t* const to_row = with_taps ? to + r * taps_row : nullptr;
        if (lanes.max_of_slices(in, dense ? size : w.output, y + r * y_row * lanes.size, to_row)) done = false;
        in.values += w.output * lanes.size;
        in.numbers += w.output;
      }
    }
    if (!done) {
      ForwardCall rest = call;
      rest.begin = line;
      rest.end = line + lines;
      separable(rest);
    }
  }
  return true;
}

}  // namespace peakpool
