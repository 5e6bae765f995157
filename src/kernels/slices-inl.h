// SPDX-License-Identifier: Apache-2.0
// What the kernels of small windows channels-first share: the walk over the slices of a call, and how values, tap
// numbers and NaN are folded.
#if defined(PEAKPOOL_SRC_KERNELS_SLICES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_SLICES_INL_H_
#undef PEAKPOOL_SRC_KERNELS_SLICES_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_SLICES_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Walks the depth slices that lines [begin, end) of a call lie in; neighbouring whole planes come as one group. Offsets
// are in elements from the bases. The *_end are where the dense run around the slice ends: what may be read, or written
// by this call, beyond a line.
struct SliceWalk {
  SliceWalk(const ForwardCall& c, ForwardKernel a_separable)
      : call(c), g(*c.geometry), separable(a_separable), next(c.begin) {
    slice_lines = g.axis[kHeight].output;
    plane_lines = g.axis[kDepth].output * slice_lines;
    Locate(call.end - 1);
    const int64_t row = (call.end - 1) % slice_lines, width = g.axis[kWidth].output;
    y_limit = At(g.output) + row * g.output.axis[kHeight] + width;
    taps_limit = At(call.taps.strides) + row * call.taps.strides.axis[kHeight] + width;
  }

  HWY_NOINLINE bool Next() {
    if (next == call.end) return false;
    line = next;
    Locate(line);
    oh = line % slice_lines;
    stop = HWY_MIN(slice_lines, oh + call.end - line);
    planes = 1;
    next = line + stop - oh;
    if (oh == 0 && stop == plane_lines) {
      planes = HWY_MIN(g.channels - channel, (call.end - line) / plane_lines);
      next = line + planes * plane_lines;
    }
    const Axis &d = g.axis[kDepth], &h = g.axis[kHeight], &w = g.axis[kWidth];
    y = At(g.output);
    y_end = HWY_MIN(y_limit, RunEnd(g.output, d.output, h.output * w.output));
    if (call.taps.base != nullptr) {
      taps = At(call.taps.strides) - call.taps.origin;
      taps_end = HWY_MIN(taps_limit, RunEnd(call.taps.strides, d.output, h.output * w.output)) - call.taps.origin;
    }
    od = depth;
    depth = HWY_MAX(d.Begin(od), 0);
    x = At(g.input);
    x_end = RunEnd(g.input, d.input, h.input * w.input);
    return true;
  }

  // Some planes of this group once more, by the kernel that knows about NaN.
  HWY_NOINLINE void Redo(int64_t plane, int64_t count) const {
    ForwardCall again = call;
    again.begin = line + plane * plane_lines;
    again.end = HWY_MIN(again.begin + count * plane_lines, next);
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

// Greatest so far and its tap number; strictly greater replaces.
template <class D, class V, class VI>
HWY_INLINE void Fold(D /*d*/, V v, VI tap, V& best, VI& best_tap) {
  const hn::RebindToSigned<D> di;
  const auto greater = hn::Gt(v, best);
  best = hn::Max(best, v);
  best_tap = hn::IfThenElse(hn::RebindMask(di, greater), tap, best_tap);
}

// Clears the lanes of `ordered` where one of an even number of vectors is NaN. Their compares are chained among
// themselves, then joined: a chain through all of a loop would bind it by its latency (2x2 s2 on 14x14: 1.9 times).
template <class D, class M, class V, class... Vs>
HWY_INLINE M OrderedLanes(D d, M ordered, V a, V b, Vs... more) {
  ordered = AndOrdered(d, ordered, a, b);
  if constexpr (sizeof...(more) > 0) ordered = OrderedLanes(d, ordered, more...);
  return ordered;
}
template <class L, class D, class M, class... Vs>
HWY_INLINE void Note(D d, M& ordered, Vs... vectors) {
  if constexpr (L::kTracksNan) {
    ordered = hn::And(ordered, OrderedLanes(d, hn::FirstN(d, hn::Lanes(d)), vectors...));
  }
}
template <class L, class D, class M>
HWY_INLINE bool SawNan(D d, M ordered) {
  return L::kTracksNan && !hn::AllTrue(d, ordered);
}

// Loads are pinned to registers: g++ repeats them as operands of both the maximum and the check for NaN.
template <class L, class D, class T>
HWY_INLINE hn::Vec<D> LoadLanes(L lanes, D d, const T* p) {
  return InRegister(lanes.Load(d, p));
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_SLICES_INL_H_
