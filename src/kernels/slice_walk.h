// SPDX-License-Identifier: Apache-2.0
// How kernels of small windows channels-first walk over the output lines of a call; and what kernels agree on, in
// planes, strips and bytes.
#ifndef PEAKPOOL_SRC_KERNELS_SLICE_WALK_H_
#define PEAKPOOL_SRC_KERNELS_SLICE_WALK_H_

#include <algorithm>
#include <cstdint>

#include "src/geometry.h"
#include "src/kernels/kernels.h"

namespace peakpool {

// So many planes are redone for one NaN.
constexpr int64_t kMostPlanes = 16;

// Of tensors from so many bytes on, no cache holds what is written until it is read.
constexpr int64_t kFarBytes = 24 << 20;

// Whether an input is larger than so many megabytes. Kernels that jump from row to row have to prefetch what lies
// beyond the caches (3x3 s2 with indices in memory 2.6 times as fast, 2x2 1.2 to 2 times), and within them had better
// not (35x35: 1.08 times as long).
inline bool PrefetchPays(const Geometry& g, int64_t size, int64_t megabytes = 4) {
  const int64_t plane = g.axis[kDepth].input * g.axis[kHeight].input * g.axis[kWidth].input;
  return g.Planes() * plane * size > megabytes << 20;
}

// Strips of a line have tables of three kinds: the first one's, those of the ones between, which are alike, and the
// last one's.
inline int64_t StripKind(int64_t strip, int64_t strips) { return strip == 0 ? 0 : strip + 1 < strips ? 1 : 2; }

// Walks the depth slices that lines [begin, end) of a call lie in; neighbouring whole planes come as one group. Offsets
// are in elements from the bases. The *_end are where the dense run around the slice ends: what may be read, or written
// by this call, beyond a line.
struct SliceWalk {
  // Out of line, as is Next: dozens of kernels walk.
  [[gnu::noinline]] SliceWalk(const ForwardCall& c, ForwardKernel a_separable)
      : call(c), g(*c.geometry), separable(a_separable), next(c.begin) {
    slice_lines = g.axis[kHeight].output;
    plane_lines = g.axis[kDepth].output * slice_lines;
    Locate(call.end - 1);
    const int64_t row = (call.end - 1) % slice_lines, width = g.axis[kWidth].output;
    y_limit = At(g.output) + row * g.output.axis[kHeight] + width;
    taps_limit = At(call.taps.strides) + row * call.taps.strides.axis[kHeight] + width;
  }

  [[gnu::noinline]] bool Next() {
    if (next == call.end) return false;
    line = next;
    Locate(line);
    oh = line % slice_lines;
    stop = std::min<int64_t>(slice_lines, oh + call.end - line);
    planes = 1;
    next = line + stop - oh;
    if (oh == 0 && stop == plane_lines) {
      planes = std::min<int64_t>(g.channels - channel, (call.end - line) / plane_lines);
      next = line + planes * plane_lines;
    }
    const Axis &d = g.axis[kDepth], &h = g.axis[kHeight], &w = g.axis[kWidth];
    y = At(g.output);
    y_end = std::min<int64_t>(y_limit, RunEnd(g.output, d.output, h.output * w.output));
    if (call.taps.base != nullptr) {
      taps = At(call.taps.strides) - call.taps.origin;
      taps_end =
          std::min<int64_t>(taps_limit, RunEnd(call.taps.strides, d.output, h.output * w.output)) - call.taps.origin;
    }
    od = depth;
    depth = std::max<int64_t>(d.Begin(od), 0);
    x = At(g.input);
    x_end = RunEnd(g.input, d.input, h.input * w.input);
    return true;
  }

  // Some planes of this group once more, by the kernel that knows about NaN.
  [[gnu::noinline]] void Redo(int64_t plane, int64_t count) const {
    ForwardCall again = call;
    again.begin = line + plane * plane_lines;
    again.end = std::min<int64_t>(again.begin + count * plane_lines, next);
    separable(again);
  }

  const ForwardCall& call;
  const Geometry& g;
  const ForwardKernel separable;
  int64_t line, oh, stop;  // the first line here, as number of all and within the slice, and the end of the latter
  int64_t planes;          // more than one: whole planes of neighbouring channels
  int64_t n, channel, od;  // of the first plane
  int64_t x, x_end;        // of the first (for depth kernel 1: the only) input slice
  int64_t y, y_end;
  int64_t taps = 0, taps_end = 0;

 private:
  void Locate(int64_t a_line) {
    n = a_line / plane_lines / g.channels;
    channel = a_line / plane_lines % g.channels;
    depth = a_line % plane_lines / slice_lines;
  }
  int64_t At(const Strides& s) const { return n * s.batch + channel * s.channel + depth * s.axis[kDepth]; }
  int64_t RunEnd(const Strides& s, int64_t slices, int64_t slice) const {
    int64_t end = At(s) + slice;
    if (slices > 1 && s.axis[kDepth] != slice) return end;
    end += (slices - 1 - depth) * slice;
    if (g.channels > 1 && s.channel != slices * slice) return end;
    end += (g.channels - 1 - channel) * slices * slice;
    if (g.batch > 1 && s.batch != g.channels * slices * slice) return end;
    return end + (g.batch - 1 - n) * g.channels * slices * slice;
  }
  int64_t slice_lines, plane_lines, next, depth, y_limit, taps_limit;
};

// Of neighbouring slices, lines that are `step` apart and of these columns.
struct LineBox {
  int64_t slice, slices, h, step, lines, all_lines, w, columns, all_columns;
};

// Contiguous pieces of `count` elements, from `tensor` on `step` apart, and among the elements of a box from `part` on.
struct BoxPieces {
  int64_t tensor, step, part, count, pieces;
};

// Calls copy(context, pieces) for the lines of a box, see the other ForEachPiece.
[[gnu::noinline]] inline void ForEachPiece(const Geometry& g, const Strides& strides, int64_t dense_slice,
                                           const LineBox& box, void (*copy)(void*, const BoxPieces&), void* context) {
  const int64_t line = strides.axis[kHeight];
  BoxPieces pieces = {0, box.step * line, 0, box.columns, box.lines};
  for (int64_t s = box.slice; s < box.slice + box.slices; ++s, pieces.part += box.lines * box.columns) {
    // Divisions were a tenth of the time for planes of 56x56.
    pieces.tensor = (dense_slice > 0 ? s * dense_slice : SliceOffset(g, strides, s)) + box.h * line + box.w;
    copy(context, pieces);
  }
}
// Calls copy(offset into the tensor, offset into the elements of the box, count) for each contiguous piece. Slices that
// are `dense_slice` elements long follow each other; 0: there are gaps.
template <class Copy>
[[gnu::always_inline]] inline void ForEachPiece(const Geometry& g, const Strides& strides, int64_t dense_slice,
                                                const LineBox& box, Copy copy) {
  if (dense_slice > 0 && box.step == 1 && box.columns == box.all_columns &&
      (box.slices == 1 || box.lines == box.all_lines)) {
    copy(box.slice * dense_slice + box.h * box.columns, int64_t{0}, box.slices * box.lines * box.columns);
    return;
  }
  ForEachPiece(
      g, strides, dense_slice, box,
      [](void* context, const BoxPieces& pieces) {
        BoxPieces p = pieces;
        for (; p.pieces > 0; --p.pieces, p.tensor += p.step, p.part += p.count) {
          (*static_cast<Copy*>(context))(p.tensor, p.part, p.count);
        }
      },
      &copy);
}

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_KERNELS_SLICE_WALK_H_
