// SPDX-License-Identifier: Apache-2.0
// Small windows that have a depth, in both layouts: each input slice is pooled once by the kernels of plane windows, to
// scratch, then the slices of each output. "The earlier slice wins ties" is row-major-first. f32 3x3x3 s2 takes 0.5 to
// 0.6 of the time that reducing all rows of a window at once does.
#include "src/kernels/window_depth.h"

#include <algorithm>

#include "src/geometry.h"
#include "src/kernels/slice_walk.h"

namespace peakpool {
namespace {

// Scratch: the plane kernels', then pooled slices, then whether some were not pooled. Those of the plane kernels for
// lines at stride 2 that have a use for scratch ask how much there is: strided.cc's need 12 KB with vectors of 64
// bytes, window_narrow-inl.h's 5 KB for lines of 56.
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
  if (d.kernel < 2 || d.kernel > kMostSlices || d.dilation != 1 || w.stride != 2 || w.output < lanes.count)
    return false;
  // At 2x2x2 apart strided lines are faster (0.7 of the time), but for values of f32 that are far (1.1 to 1.5 times).
  const bool apart = d.kernel <= d.stride && d.kernel * taps <= 8;
  if (apart && (with_taps || lanes.size != 4 || !PrefetchPays(g, lanes.size))) return false;
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
      PooledSlices in = {{}, {}, d.TapEnd(i) - tap, tap * taps, taps};
      for (int64_t z = 0; z < in.slices; ++z) {
        in.values[z] = pooled + (from + z * size) * lanes.size;
        in.numbers[z] = numbers + from + z * size;
      }
      char* y = static_cast<char*>(call.y) + start(g.output, i) * lanes.size;
      uint8_t* to = static_cast<uint8_t*>(call.taps.base);
      if (with_taps) to += start(call.taps.strides, i) - call.taps.origin;
      const int64_t y_row = g.output.axis[kHeight], taps_row = with_taps ? call.taps.strides.axis[kHeight] : w.output;
      const bool dense = y_row == w.output && taps_row == w.output;
      for (int64_t r = 0; r < (dense ? 1 : h.output); ++r) {
        uint8_t* const to_row = with_taps ? to + r * taps_row : nullptr;
        const int64_t count = dense ? size : w.output;
        if (lanes.max_of_slices(in, r * w.output, count, y + r * y_row * lanes.size, to_row)) done = false;
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

// Channels-last 3x3x3 s1 takes 0.5 of the time that all rows of a window at once do, s2 0.75 to 0.97.
// Bands of lines, and of channels where lines are long: as many pooled slices of one as a window has are kept in
// scratch, so that a slice is pooled once if all outputs along the depth belong to the call.
[[gnu::cold]] bool ForwardDepthLast(const ForwardCall& call, const DepthLanes& lanes, ForwardKernel separable) {
  const Geometry& g = *call.geometry;
  const Axis &d = g.axis[kDepth], &h = g.axis[kHeight], &w = g.axis[kWidth];
  const bool with_taps = call.taps.base != nullptr;
  const int64_t kept = d.kernel, taps = h.kernel * w.kernel;
  if (kept > kMostSlices || kept <= d.stride || d.dilation != 1 || h.kernel != 3 || w.kernel != 3 || h.dilation != 1 ||
      w.dilation != 1 || h.stride != w.stride || h.stride > 2 || h.output < 2 || w.output < 2 ||
      g.channels < lanes.count || (with_taps && call.taps.bytes != 1)) {
    return false;
  }
  // Scratch: of the plane kernels only those of values use some, four vectors per vector of a pixel at most.
  const int64_t bytes = with_taps ? lanes.size + 1 : lanes.size, own = with_taps ? 0 : 4 * lanes.size;
  const int64_t room = kNotPooledAt - own * lanes.count;
  const int64_t most = room / (2 * kept * w.output * bytes + own) / lanes.count * lanes.count;
  if (most < lanes.count) return false;
  const int64_t parts = (g.channels + most - 1) / most;
  const int64_t channels = std::min(g.channels, ((g.channels - 1) / parts / lanes.count + 1) * lanes.count);
  // Parts of pixels are what no hardware fetches ahead (s2, 64x16x112x112 1.4 to 1.7 times as long).
  if (channels < g.channels && (h.stride > 1 || channels * lanes.size < 256)) return false;
  const int64_t row_size = w.output * channels, used = own * (channels + lanes.count);
  const int64_t most_rows = (kNotPooledAt - used) / (kept * row_size * bytes) & -2;  // lines are pooled in pairs
  const int64_t size = most_rows * row_size;
  char* const pooled = static_cast<char*>(call.scratch) + used;
  uint8_t* const numbers = reinterpret_cast<uint8_t*>(pooled + kept * size * lanes.size);

  const int64_t row_bytes = w.input * g.input.axis[kWidth] * lanes.size;
  // From memory to the second-level cache (4x64x8x56x56: 0.8 of the time; less than that does not gain).
  const bool fetches = channels == g.channels && g.batch * d.input * h.input * row_bytes > kFarBytes;
  Geometry slices = g;
  slices.channels = channels;
  slices.axis[kDepth] = {1, 1, 1, 1, 1, 0};
  slices.input.batch = g.input.axis[kDepth];
  slices.output = {0, 1, {0, row_size, channels}};
  Axis& rows = slices.axis[kHeight];
  ForwardCall part = call;
  part.geometry = &slices;
  part.begin = 0;

  for (int64_t line = call.begin, lines; line < call.end; line += lines) {
    const int64_t slice = line / h.output, o = slice % d.output, image = slice / d.output, row = line % h.output;
    const int64_t whole = row > 0 ? 0 : std::min(d.output - o, (call.end - line) / h.output);
    const int64_t o_end = o + std::max<int64_t>(whole, 1), base = std::max<int64_t>(d.Begin(o), 0);
    const int64_t row_end = whole > 0 ? h.output : std::min(h.output, row + call.end - line);
    lines = (o_end - o - 1) * h.output + row_end - row;
    for (int64_t oh = row; oh < row_end; oh += rows.output) {
      if (row_end - oh == 1 && oh > row) --oh;
      rows.output = std::min(most_rows, row_end - oh);
      rows.pad_before = -h.Begin(oh);
      bool done = true;
      for (int64_t c = 0; c < g.channels && done; c += channels) {
        c = std::min(c, g.channels - channels);
        const auto start = [=](const Strides& s, int64_t z, int64_t y) {
          return image * s.batch + z * s.axis[kDepth] + y * s.axis[kHeight] + c;
        };
        int64_t next = base;  // slice to pool
        for (int64_t i = o; i < o_end && done; ++i) {
          const int64_t tap = d.FirstTap(i), first = d.Begin(i) + tap, end = d.Begin(i) + d.TapEnd(i);
          const auto at = [=](int64_t z) { return (z - base) % kept * size; };
          // Two that are new lie one apart, however they wrap around.
          next = std::max(next, first);
          slices.batch = end - next;
          slices.output.batch = at(next + 1) - at(next);
          part.x = static_cast<const char*>(call.x) + start(g.input, next, 0) * lanes.size;
          part.y = pooled + at(next) * lanes.size;
          part.taps = {with_taps ? numbers + at(next) : nullptr, 1, slices.output, 0};
          part.end = slices.batch * rows.output;
          if (fetches) {
            const int64_t y_end = std::min(h.Begin(oh + rows.output - 1) + h.kernel, h.input);
            for (int64_t z = 0; z < slices.batch; ++z) {
              for (int64_t y = std::max<int64_t>(h.Begin(oh), 0); y < y_end; ++y) {
                const char* const x = static_cast<const char*>(call.x) + start(g.input, next + z, y) * lanes.size;
                for (int64_t b = 0; b < row_bytes; b += 64) __builtin_prefetch(x + b, 0, 2);
              }
            }
          }
          NotPooled(call) = false;
          lanes.planes(part);
          done = !NotPooled(call);
          next = end;

          PooledSlices in = {{}, {}, end - first, tap * taps, taps};
          for (int64_t z = 0; z < in.slices; ++z) {
            in.values[z] = pooled + at(first + z) * lanes.size;
            in.numbers[z] = numbers + at(first + z);
          }
          char* const y = static_cast<char*>(call.y) + start(g.output, i, oh) * lanes.size;
          const Strides& to = with_taps ? call.taps.strides : g.output;
          uint8_t* const to_taps =
              static_cast<uint8_t*>(call.taps.base) + (with_taps ? start(to, i, oh) - call.taps.origin : 0);
          const bool dense = g.output.axis[kWidth] == channels && to.axis[kWidth] == channels;
          const int64_t pixels = dense ? w.output : 1;
          for (int64_t r = 0; r < rows.output; ++r) {
            for (int64_t p = 0; p < w.output; p += pixels) {
              const int64_t to_y = r * g.output.axis[kHeight] + p * g.output.axis[kWidth];
              done &= !lanes.max_of_slices(in, (r * w.output + p) * channels, pixels * channels, y + to_y * lanes.size,
                                           with_taps ? to_taps + r * to.axis[kHeight] + p * to.axis[kWidth] : nullptr);
            }
          }
        }
      }
      for (int64_t i = o; i < o_end && !done; ++i) {
        ForwardCall redo = call;
        redo.begin = line + (i - o) * h.output + oh - row;
        redo.end = redo.begin + rows.output;
        separable(redo);
      }
    }
  }
  return true;
}

}  // namespace peakpool
