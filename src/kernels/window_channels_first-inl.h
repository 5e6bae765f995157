// SPDX-License-Identifier: Apache-2.0
// Small windows channels-first, both axes fused: vertical maxima of whole rows in registers, then the horizontal step
// by de-interleaving (stride 2) or sliding (stride 1) lanes. Most lines at stride 2 are strided.cc's
// or, of 8 and 16 bits with AVX-512, window_bytes-inl.h's and window_halves-inl.h's.
//
// Eligible geometries: channels-first; what window_flat-inl.h takes, else dilation 1 on every axis; (kernel, stride)
// of width one of (2,2), (3,2), (3,1), (2,1); height and depth kernels 1 to 3 with any stride; every window has at
// least one tap in range on each axis. Tap numbers are bytes.
// Padding is never read or materialised: rows and columns are clamped into the window, which repeats some of its
// elements; a maximum does not mind, and with indices every repetition carries the true number of its tap.
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_FIRST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_FIRST_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_FIRST_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_FIRST_INL_H_
#endif

#include <type_traits>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/slices-inl.h"
#include "src/kernels/window-inl.h"
#include "src/kernels/window_abreast-inl.h"
#include "src/kernels/window_bytes-inl.h"
#include "src/kernels/window_flat-inl.h"
#include "src/kernels/window_halves-inl.h"
#include "src/kernels/window_narrow-inl.h"
#include "src/kernels/window_packed-inl.h"
#include "src/kernels/window_pairs-inl.h"
#include "src/kernels/window_rows-inl.h"
#include "src/kernels/window_strided-inl.h"
#include "src/kernels/window_strips-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// What a line kernel pools: one output line, or two neighbouring ones (the second starts one stride of rows later).
template <class T>
struct WindowLines {
  // The same for all lines of a call.
  int64_t width, out_width, pad;
  // So often, each time so many elements further.
  int64_t steps, row_step, y_step, taps_step;
  bool far;
  // The input rows under the lines, clamped into the plane, and where the results go. A lone line of a pair is its own
  // neighbour: y[1] == y[0], and y[0] is stored last.
  int64_t rows;
  const T* row[9];
  T* y[2];
  uint8_t* taps[2];
  int64_t first_tap[2][9];  // tap number of the row's first column in each line; -1: not one of its rows
};

// Pools its lines. True if a NaN was seen.
template <class L>
using LineKernel = bool (*)(L lanes, const WindowLines<typename L::Element>& in);

// v moved by so many lanes, down if by > 0, with `edge` in the lanes that come in. Out of line: each of the calls would
// cost 200 bytes.
template <class D, class V = hn::Vec<D>>
HWY_NOINLINE V SlideLanes(D d, V v, V edge, int64_t by) {
  for (; by < 0; ++by) v = SlideUp1(d, edge, v);
  for (; by > 0; --by) v = SlideDown1(d, v, edge);
  return v;
}
// Lane i is lane i + by of v, those beyond either end being `edge`, which is that end.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ShiftLanes(D d, V v, V edge, int64_t by) {
  if constexpr (sizeof(hn::TFromD<D>) >= 4) {
    const hn::RebindToSigned<D> di;
    using TI = hn::TFromD<decltype(di)>;
    const auto index = hn::Add(hn::Iota(di, 0), hn::Set(di, static_cast<TI>(by)));
    const auto last = hn::Set(di, static_cast<TI>(hn::Lanes(d) - 1));
    return LookupLanes(d, v, hn::Min(hn::Max(index, hn::Zero(di)), last));
  } else {
    return SlideLanes(d, v, edge, by);
  }
}

// Square windows (else of any height and depth up to 3) whose lines and rows are at least one vector long.
template <class L, class D, int kK, int kS, bool kSquare>
struct Window {
  using T = typename L::Element;
  using V = hn::Vec<D>;
  // Neighbouring lines that share rows are pooled together: 5 row loads instead of 6 for 3x3 s2, 4 for 6 at stride 1.
  static constexpr int kLines = kSquare && kK > kS ? 2 : 1;
  static constexpr int kLoaded = kK + (kLines - 1) * kS;

  // The vertical maxima of the rows of one or two lines.
  struct Columns {
    HWY_INLINE Columns(L a_lanes, const WindowLines<T>& a_in, int64_t step) : lanes(a_lanes), in(a_in), most(0) {
      for (int j = 0; j < kLoaded; ++j) row[j] = in.row[kSquare ? j : 0] + step * in.row_step;
      most = in.width - static_cast<int64_t>(hn::Lanes(D()));
    }
    const L lanes;
    const WindowLines<T>& in;
    int64_t most;
    const T* row[kLoaded];  // by value, so that stores to y cannot be thought to change them

    // Columns [c, c + N), those outside the rows replaced by the first or last ones.
    template <class M>
    HWY_INLINE void Load(D d, int64_t c, V& a, V& b, M& ordered) const {
      const int64_t at = HWY_MIN(HWY_MAX(c, 0), most);
      // The rows that the lines before these have not loaded.
      constexpr bool kPrefetch = kSquare && kS == 2 && kWholeCacheLine<D>;
      for (int j = kLoaded - kLines * kS; kPrefetch && j < kLoaded; ++j) PrefetchAhead(row[j] + at);
      Combine(
          d, [=](const T* p) HWY_ATTR { return LoadLanes(lanes, d, p + at); }, a, b, ordered);
      if (HWY_UNLIKELY(c != at)) {
        V edge_a = a, edge_b = b;
        if constexpr (sizeof(T) < 4) Broadcast(d, c < 0 ? 0 : in.width - 1, edge_a, edge_b, ordered);
        a = ShiftLanes(d, a, edge_a, c - at);
        b = kLines == 2 ? ShiftLanes(d, b, edge_b, c - at) : a;
      }
    }
    // Column c in every lane.
    template <class M>
    HWY_INLINE void Broadcast(D d, int64_t c, V& a, V& b, M& ordered) const {
      Combine(
          d, [=](const T* p) HWY_ATTR { return lanes.Broadcast(d, p + c); }, a, b, ordered);
    }
    template <class Get, class M>
    HWY_INLINE void Combine(D d, Get get, V& a, V& b, M& ordered) const {
      if constexpr (!kSquare) {
        a = get(row[0]);
        Note<L>(d, ordered, a, a);
        for (int64_t r = 1; r < in.rows; ++r) {
          const V v = get(in.row[r]);
          Note<L>(d, ordered, v, v);
          a = hn::Max(a, v);
        }
        b = a;
      } else {
        const V v0 = get(row[0]), v1 = get(row[1]);
        const V m = hn::Max(v0, v1);
        if constexpr (kK == 2) {
          a = b = m;
          if constexpr (kS == 2) Note<L>(d, ordered, v0, v1);
          if constexpr (kS == 1) {
            const V v2 = get(row[2]);
            Note<L>(d, ordered, v0, v1, v2, v2);
            b = hn::Max(v1, v2);
          }
        } else {
          const V v2 = get(row[2]), v3 = get(row[3]);
          if constexpr (kS == 1) {
            Note<L>(d, ordered, v0, v1, v2, v3);
            const V shared = hn::Max(v1, v2);
            a = hn::Max(v0, shared);
            b = hn::Max(shared, v3);
          } else {
            const V v4 = get(row[4]);
            Note<L>(d, ordered, v0, v1, v2, v3, v4, v4);
            a = hn::Max(m, v2);
            b = hn::Max(v2, hn::Max(v3, v4));
          }
        }
      }
    }
  };

  static bool Values(L lanes, const WindowLines<T>& in) {
    const D d;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    const int64_t out_width = in.out_width, pad = in.pad, last = out_width - n;
    // 2x2 in vectors of a cache line takes 0.8 of the time by squares (56x56; 3x3 1.1: its maxima leave room for
    // masks).
    constexpr bool kBySquares = kK == 2 && kWholeCacheLine<D>;
    auto ordered = NoNanYet<kBySquares>(d);
    for (int64_t step = 0; step < in.steps; ++step) {
      T *const y0 = in.y[0] + step * in.y_step, *const y1 = in.y[1] + step * in.y_step;
      const Columns columns(lanes, in, step);
      if constexpr (kS == 2) {
        if (!kWholeCacheLine<D> && in.far) {
          for (const T* row : columns.row) PrefetchRowAhead(row, in.width);
        }
        const int64_t base = kK - 2 - pad;  // column of tap 1 (k = 3) or 0 (k = 2) of output 0
        // The last odd column is tap 0 of the next vector's first output.
        V odd_a = hn::Zero(d), odd_b = odd_a;
        if constexpr (kK == 3) columns.Broadcast(d, HWY_MAX(base - 1, 0), odd_a, odd_b, ordered);
        for (int64_t o = 0;;) {
          V lo_a, lo_b, hi_a, hi_b;
          columns.Load(d, 2 * o + base, lo_a, lo_b, ordered);
          columns.Load(d, 2 * o + base + n, hi_a, hi_b, ordered);
          const V a2 = OddLanes(d, lo_a, hi_a), b2 = OddLanes(d, lo_b, hi_b);
          V a = hn::Max(EvenLanes(d, lo_a, hi_a), a2), b = hn::Max(EvenLanes(d, lo_b, hi_b), b2);
          if constexpr (kK == 3) {
            a = hn::Max(a, SlideUp1(d, odd_a, a2));
            b = hn::Max(b, SlideUp1(d, odd_b, b2));
            odd_a = a2;
            odd_b = b2;
          }
          if (kLines == 2) lanes.Store(d, b, y1 + o);
          lanes.Store(d, a, y0 + o);
          o += n;
          if (HWY_LIKELY(o <= last)) continue;
          if (o >= out_width) break;
          // The last vector overlaps this one.
          if constexpr (kK == 3) {
            const hn::RebindToSigned<D> di;
            const auto before = hn::Set(di, static_cast<hn::TFromD<decltype(di)>>(last - 1 - (o - n)));
            odd_a = LookupLanes(d, odd_a, before);
            odd_b = LookupLanes(d, odd_b, before);
          }
          o = last;
        }
      } else {
        V cur_a, cur_b, next_a, next_b;
        columns.Load(d, -pad, cur_a, cur_b, ordered);
        for (int64_t o = 0;;) {
          // The first two columns beyond this vector: of the next one, or the last ones of the row.
          const int64_t beyond = o - pad + n, last_column = in.width - 1;
          V after_a, after_b;
          if (HWY_LIKELY(beyond <= columns.most)) {
            columns.Load(d, beyond, next_a, next_b, ordered);
            after_a = SlideDown1(d, next_a, next_a);
            after_b = SlideDown1(d, next_b, next_b);
          } else {
            columns.Broadcast(d, HWY_MIN(beyond, last_column), next_a, next_b, ordered);
            after_a = next_a;
            after_b = next_b;
            if (kK == 3 && beyond < last_column) columns.Broadcast(d, beyond + 1, after_a, after_b, ordered);
          }
          const V a1 = SlideDown1(d, cur_a, next_a), b1 = SlideDown1(d, cur_b, next_b);
          V a = hn::Max(cur_a, a1), b = hn::Max(cur_b, b1);
          if constexpr (kK == 3) {
            a = hn::Max(a, SlideDown1(d, a1, after_a));
            b = hn::Max(b, SlideDown1(d, b1, after_b));
          }
          if (kLines == 2) lanes.Store(d, b, y1 + o);
          lanes.Store(d, a, y0 + o);
          o += n;
          cur_a = next_a;
          cur_b = next_b;
          if (HWY_LIKELY(o <= last)) continue;
          if (o >= out_width) break;
          o = last;
          columns.Load(d, o - pad, cur_a, cur_b, ordered);
        }
      }
    }
    return SawNan<L>(d, ordered);
  }
};

// Stride 1 with tap numbers: row by row, the horizontal winner first, so that ties need no look at tap numbers. Windows
// need not be square.
template <class L, class D, int kK>
bool WindowTaps(L lanes, const WindowLines<typename L::Element>& in) {
  using T = typename L::Element;
  using V = hn::Vec<D>;
  const D d;
  const hn::RebindToSigned<D> di;
  using TI = hn::TFromD<hn::RebindToSigned<D>>;
  using VI = hn::Vec<hn::RebindToSigned<D>>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), most = in.width - n, last = in.out_width - n;
  const bool pair = in.y[0] != in.y[1];
  const int64_t width = in.width;
  const auto shift = [=](V v, const T* row, int64_t by)
                         HWY_ATTR { return ShiftLanes(d, v, lanes.Broadcast(d, by < 0 ? row : row + width - 1), by); };
  auto ordered = hn::FirstN(d, hn::Lanes(d));
  for (int64_t step = 0; step < in.steps; ++step) {
    const int64_t row_offset = step * in.row_step, y_offset = step * in.y_step, taps_offset = step * in.taps_step;
    for (int64_t o = 0; o < in.out_width; o += n) {
      o = HWY_MIN(o, last);
      // Where taps 0, 1, 2 are loaded, and by how much that is off.
      const auto clamped = [most](int64_t c) { return HWY_MIN(HWY_MAX(c, 0), most); };
      const int64_t c0 = o - in.pad, c1 = c0 + kK - 2, c2 = c0 + kK - 1;
      const int64_t at0 = clamped(c0), at1 = clamped(c1), at2 = clamped(c2);
      const bool inside = c0 == at0 && c1 == at1 && c2 == at2;
      VI tap0 = hn::Zero(di), tap1 = hn::Set(di, TI{kK - 2}), tap2 = hn::Set(di, TI{kK - 1});
      if (HWY_UNLIKELY(o < in.pad)) {
        // A column clamped at the left is named by its own tap. (One clamped at the right comes last and never wins.)
        const VI own = hn::Sub(hn::Set(di, static_cast<TI>(in.pad - o)), hn::Iota(di, 0));
        tap0 = hn::Max(tap0, own);
        tap1 = hn::Max(tap1, own);
        tap2 = hn::Max(tap2, own);
      }
      V best_a = hn::Zero(d), best_b = best_a;
      VI tap_a = tap0, tap_b = tap0;
      for (int64_t r = 0; r < in.rows; ++r) {
        const T* row = in.row[r] + row_offset;
        V v0, v1, v2;
        v1 = LoadLanes(lanes, d, row + at1);
        v2 = LoadLanes(lanes, d, row + at2);
        v0 = kK == 3 ? LoadLanes(lanes, d, row + at0) : v1;
        Note<L>(d, ordered, v0, v2);
        if (HWY_UNLIKELY(!inside)) {
          if (kK == 3) v0 = shift(v0, row, c0 - at0);
          v1 = shift(v1, row, c1 - at1);
          v2 = shift(v2, row, c2 - at2);
        }
        V v = kK == 3 ? v0 : v1;
        VI tap = kK == 3 ? tap0 : tap1;
        if constexpr (kK == 3) Fold(d, v1, tap1, v, tap);
        Fold(d, v2, tap2, v, tap);
        const int64_t first_a = in.first_tap[0][r], first_b = in.first_tap[1][r];
        if (first_a >= 0) {
          const VI numbered = hn::Add(tap, hn::Set(di, static_cast<TI>(first_a)));
          if (r == 0) {
            best_a = v;
            tap_a = numbered;
          } else {
            Fold(d, v, numbered, best_a, tap_a);
          }
        }
        if (first_b >= 0) {
          const VI numbered = hn::Add(tap, hn::Set(di, static_cast<TI>(first_b)));
          if (r == 1) {
            best_b = v;
            tap_b = numbered;
          } else {
            Fold(d, v, numbered, best_b, tap_b);
          }
        }
      }
      if (pair) {
        lanes.Store(d, best_b, in.y[1] + y_offset + o);
        StoreBytes(di, tap_b, in.taps[1] + taps_offset + o);
      }
      lanes.Store(d, best_a, in.y[0] + y_offset + o);
      StoreBytes(di, tap_a, in.taps[0] + taps_offset + o);
    }
  }
  return SawNan<L>(d, ordered);
}

// 2x2 at stride 1 with tap numbers, two lines at once: which column wins in each of three rows, then which row.
template <class L, class D>
bool WindowTaps2x2(L lanes, const WindowLines<typename L::Element>& in) {
  using T = typename L::Element;
  using V = hn::Vec<D>;
  const D d;
  using VT = decltype(SetTap(d, 0));
  const hn::DFromV<VT> dt;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), last = in.out_width - n, most = in.width - n, pad = in.pad;
  const VT one = SetTap(d, 1), two = SetTap(d, 2), first = SetTap(d, static_cast<int>(in.first_tap[0][0]));
  // A column clamped at the left is named by the other one.
  const VT edge = hn::IfThenElseZero(hn::FirstN(dt, static_cast<size_t>(pad)), one);
  auto ordered = hn::FirstN(d, hn::Lanes(d));
  const T *x0 = in.row[0], *x1 = in.row[1], *x2 = in.row[2];
  T *y0 = in.y[0], *y1 = in.y[1];
  uint8_t *taps0 = in.taps[0], *taps1 = in.taps[1];
  for (int64_t step = in.steps;;) {
    for (int64_t o = 0;; o = HWY_MIN(o + n, last)) {
      const int64_t c = o - pad, left = HWY_MAX(c, 0), right = HWY_MIN(c + 1, most);
      const VT zero = o == 0 ? edge : hn::Zero(dt);
      const auto columns = [&](const T* row, V& v, VT& tap) PEAKPOOL_INLINED {
        V v0 = LoadLanes(lanes, d, row + left), v1 = LoadLanes(lanes, d, row + right);
        Note<L>(d, ordered, v0, v1);
        if (HWY_UNLIKELY(c != left)) v0 = ShiftLanes(d, v0, v0, -1);
        if (HWY_UNLIKELY(c + 1 != right)) v1 = ShiftLanes(d, v1, v1, 1);
        tap = hn::IfThenElse(TapsWhere(d, hn::Gt(v1, v0)), one, zero);
        v = hn::Max(v0, v1);
      };
      V a, b, v2;
      VT tap_a, tap_b, tap2;
      columns(x0, a, tap_a);
      columns(x1, b, tap_b);
      columns(x2, v2, tap2);
      tap_a = hn::IfThenElse(TapsWhere(d, hn::Gt(b, a)), hn::Add(tap_b, two), hn::Add(tap_a, first));
      a = hn::Max(a, b);
      tap_b = hn::IfThenElse(TapsWhere(d, hn::Gt(v2, b)), hn::Add(tap2, two), tap_b);
      b = hn::Max(b, v2);
      lanes.Store(d, b, y1 + o);
      StoreTaps(d, tap_b, taps1 + o);
      lanes.Store(d, a, y0 + o);
      StoreTaps(d, tap_a, taps0 + o);
      if (o == last) break;
    }
    if (--step == 0) break;
    x0 += in.row_step, x1 += in.row_step, x2 += in.row_step;
    y0 += in.y_step, y1 += in.y_step;
    taps0 += in.taps_step, taps1 += in.taps_step;
  }
  return SawNan<L>(d, ordered);
}
// Whether it takes these lines: at most one column is clamped on either side, and strips, which windows beyond both
// ends are none for, take longer (35x35, and all on AVX2, 0.7 to 0.9 of the time).
template <class L>
bool TakesLinesOfTwo(const Axis& w) {
  constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(hn::ScalableTag<typename L::Lane>()));
  return kHas32Registers && sizeof(typename L::Lane) == 4 && w.kernel == 2 && w.stride == 1 && w.pad_before <= 1 &&
         w.Begin(w.output - 1) < w.input && (w.output > w.input ? w.input >= kLanes : w.output > 8 * kLanes);
}

// Whether the kernels of 3x3 at stride 2, two lines at once, take these lines: at most one column is clamped on either
// side.
inline bool TakesLinePairs(const Axis& w) {
  return w.kernel == 3 && w.pad_before <= 1 && w.Begin(w.output - 1) + 3 <= w.input + 1;
}

// Values: the vertical maxima of five rows, then their even and odd columns. Prefetches come after the loads (before
// them 4 to 10 % slower).
template <class L, class D>
bool Window3x3(L lanes, const WindowLines<typename L::Element>& in) {
  using T = typename L::Element;
  using V = hn::Vec<D>;
  const D d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), last = in.out_width - n, most = in.width - n, pad = in.pad;
  auto ordered = hn::FirstN(d, hn::Lanes(d));
  // In registers: loads of what `in` holds behind the stores of a line wait for these (111x111: 0.93 of the time; with
  // tap numbers 112x112 0.9).
  const T *x0 = in.row[0], *x1 = in.row[1], *x2 = in.row[2], *x3 = in.row[3], *x4 = in.row[4];
  T *y0 = in.y[0], *y1 = in.y[1];
  const int64_t row_step = in.row_step, y_step = in.y_step;
  for (int64_t step = in.steps;;) {
    const auto maxima = [&](V v0, V v1, V v2, V v3, V v4, V& a, V& b) PEAKPOOL_INLINED {
      a = hn::Max(hn::Max(v0, v1), v2);
      b = hn::Max(v2, hn::Max(v3, v4));
    };
    // The last odd column is tap 0 of the next vector's first output.
    V odd_a, odd_b;
    {
      const V v0 = lanes.Broadcast(d, x0), v1 = lanes.Broadcast(d, x1), v2 = lanes.Broadcast(d, x2),
              v3 = lanes.Broadcast(d, x3), v4 = lanes.Broadcast(d, x4);
      Note<L>(d, ordered, v0, v1, v2, v3, v4, v4);
      maxima(v0, v1, v2, v3, v4, odd_a, odd_b);
    }
    for (int64_t o = 0;;) {
      const int64_t c = 2 * o + 1 - pad, hi_at = HWY_MIN(c + n, most);
      const bool beyond = c + n != hi_at;
      const auto columns = [&](int64_t at, V& a, V& b) PEAKPOOL_INLINED {
        const V v0 = LoadLanes(lanes, d, x0 + at), v1 = LoadLanes(lanes, d, x1 + at), v2 = LoadLanes(lanes, d, x2 + at),
                v3 = LoadLanes(lanes, d, x3 + at), v4 = LoadLanes(lanes, d, x4 + at);
        Note<L>(d, ordered, v0, v1, v2, v3, v4, v4);
        maxima(v0, v1, v2, v3, v4, a, b);
      };
      V lo_a, lo_b, hi_a, hi_b;
      columns(c, lo_a, lo_b);
      columns(hi_at, hi_a, hi_b);
      if (HWY_UNLIKELY(beyond)) {
        hi_a = ShiftLanes(d, hi_a, hi_a, 1);
        hi_b = ShiftLanes(d, hi_b, hi_b, 1);
      }
      {
        // Of rows that the lines before have not loaded.
        PrefetchPairAhead(d, x1 + c, x1 + hi_at);
        PrefetchPairAhead(d, x2 + c, x2 + hi_at);
        PrefetchPairAhead(d, x3 + c, x3 + hi_at);
        PrefetchPairAhead(d, x4 + c, x4 + hi_at);
      }
      const V a2 = OddLanes(d, lo_a, hi_a), b2 = OddLanes(d, lo_b, hi_b);
      const V a = hn::Max(hn::Max(EvenLanes(d, lo_a, hi_a), a2), SlideUp1(d, odd_a, a2));
      const V b = hn::Max(hn::Max(EvenLanes(d, lo_b, hi_b), b2), SlideUp1(d, odd_b, b2));
      lanes.Store(d, b, y1 + o);
      lanes.Store(d, a, y0 + o);
      if (o == last) break;
      odd_a = a2;
      odd_b = b2;
      o += n;
      if (HWY_UNLIKELY(o > last)) {
        // The last vector overlaps this one.
        const hn::RebindToSigned<D> di;
        const auto before = hn::Set(di, static_cast<hn::TFromD<decltype(di)>>(last - 1 - (o - n)));
        odd_a = LookupLanes(d, odd_a, before);
        odd_b = LookupLanes(d, odd_b, before);
        o = last;
      }
    }
    if (--step == 0) break;
    x0 += row_step, x1 += row_step, x2 += row_step, x3 += row_step, x4 += row_step;
    y0 += y_step, y1 += y_step;
  }
  return SawNan<L>(d, ordered);
}

// Tap numbers: the horizontal maxima of five rows, then for each line the first row that has the greatest one, and the
// first of its columns that has it.
//
// On AVX-512, whose compares take 6 cycles to a mask, the way from loads to stores takes 60 and the operations take
// half of that: more than the schedulers can hold. With 32 registers all rows go first, and columns are found while the
// next vector is loaded (112x112 in L2, cycles per vector: 15, else 18; AVX2: 18, else 16). The last outputs of both
// lines in one vector where lines are one longer than vectors (35x35) gain 7 % there, 11 % on AVX2, and lose 5 %
// elsewhere.
template <class L, class D>
bool WindowTaps3x3(L lanes, const WindowLines<typename L::Element>& in) {
  using T = typename L::Element;
  using V = hn::Vec<D>;
  const D d;
  using VT = decltype(SetTap(d, 0));
  const hn::DFromV<VT> dt;
  constexpr bool kDelayed = kHas32Registers;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), last = in.out_width - n, most = in.width - n, pad = in.pad;
  const VT one = SetTap(d, 1), two = SetTap(d, 2), row1 = SetTap(d, 3), row2 = SetTap(d, 6), row_b = hn::Zero(dt),
           row_a = SetTap(d, static_cast<int>(in.first_tap[0][0]));
  // A column clamped at the left is named by the first one.
  const VT edge = hn::IfThenElseZero(hn::FirstN(dt, static_cast<size_t>(pad)), one);
  auto ordered = hn::FirstN(d, hn::Lanes(d));
  // Of either line: the greatest values, taps 0 and 1 of their rows, the rows' numbers.
  V a = hn::Zero(d), a0 = a, a1 = a, b = a, b0 = a, b1 = a;
  VT tap_a = row_a, tap_b = tap_a, tap0 = edge;
  const auto greater = [&](V v, V v0, V v1, VT number, V& best, V& best0, V& best1, VT& tap) PEAKPOOL_INLINED {
    const auto wins = hn::Gt(v, best);
    best = InRegister(hn::Max(best, v));
    best0 = InRegister(hn::IfThenElse(wins, v0, best0));
    best1 = InRegister(hn::IfThenElse(wins, v1, best1));
    tap = InRegister(hn::IfThenElse(TapsWhere(d, wins), number, tap));
  };
  const auto store = [&](V best, V best0, V best1, VT tap, T* y, uint8_t* taps) PEAKPOOL_INLINED {
    VT column = hn::IfThenElse(TapsWhere(d, hn::Eq(best1, best)), one, two);
    column = hn::IfThenElse(TapsWhere(d, hn::Eq(best0, best)), tap0, column);
    lanes.Store(d, InOrder(d, best), y);
    StoreTapsMixed(d, hn::Add(tap, column), taps);
  };
  // Where the vectors before go; nothing worth keeping at first.
  T *to0 = in.y[0], *to1 = in.y[1];
  uint8_t *taps_to0 = in.taps[0], *taps_to1 = in.taps[1];
  // As Window3x3.
  const T *x0 = in.row[0], *x1 = in.row[1], *x2 = in.row[2], *x3 = in.row[3], *x4 = in.row[4];
  T *y0 = in.y[0], *y1 = in.y[1];
  uint8_t *taps0 = in.taps[0], *taps1 = in.taps[1];
  const int64_t row_step = in.row_step, y_step = in.y_step, taps_step = in.taps_step, width = in.width;
  const bool far = in.far;
  for (int64_t step = in.steps;;) {
    if (kDelayed && far) {
      // The rows that the lines before have not loaded; the loop below has no registers left (6 %).
      for (const T* row : {x1, x2, x3, x4}) PrefetchRowAhead(row, width);
    }
    if (pad == 0) {
      // No vector begins with column 0.
      const auto first = [&](const T* row) PEAKPOOL_INLINED { return lanes.Broadcast(d, row); };
      Note<L>(d, ordered, first(x0), first(x1), first(x2), first(x3), first(x4), first(x4));
    }
    for (int64_t o = 0;;) {
      const int64_t c = 2 * o + 1 - pad, before = HWY_MAX(c - 1, 0), hi_at = HWY_MIN(c + n, most);
      const bool beyond = c + n != hi_at;
      const auto load = [&](const T* row, V& lo, V& hi) PEAKPOOL_INLINED {
        lo = LoadLanes(lanes, d, row + c);
        hi = LoadLanes(lanes, d, row + hi_at);
      };
      const auto columns = [&](const T* row, V lo, V hi, V& v, V& v0, V& v1) PEAKPOOL_INLINED {
        v1 = InRegister(EvenMixed(d, lo, hi));
        const V v2 = InRegister(OddMixed(d, lo, hi));
        v0 = InRegister(SlideUp1Mixed(d, lanes.Broadcast(d, row + before), v2));
        v = InRegister(hn::Max(hn::Max(v1, v2), v0));
      };
      const auto row = [&](const T* x, V& v, V& v0, V& v1) PEAKPOOL_INLINED {
        V hi = v;
        load(x, v, hi);
        if (HWY_UNLIKELY(beyond)) hi = ShiftLanes(d, hi, hi, 1);
        NoteInTurn<L>(d, ordered, v, hi);
        columns(x, v, hi, v, v0, v1);
      };
      V r0, r00, r01, r1, r10, r11, r2, r20, r21, r3, r30, r31, r4, r40, r41;
      if constexpr (kDelayed) {
        V h0, h1, h2, h3, h4;
        load(x0, r0, h0);
        load(x1, r1, h1);
        load(x2, r2, h2);
        load(x3, r3, h3);
        load(x4, r4, h4);
        if (HWY_UNLIKELY(beyond)) {
          h0 = ShiftLanes(d, h0, h0, 1);
          h1 = ShiftLanes(d, h1, h1, 1);
          h2 = ShiftLanes(d, h2, h2, 1);
          h3 = ShiftLanes(d, h3, h3, 1);
          h4 = ShiftLanes(d, h4, h4, 1);
        }
        Note<L>(d, ordered, r0, h0, r1, h1, r2, h2, r3, h3, r4, h4);
        columns(x0, r0, h0, r0, r00, r01);
        columns(x1, r1, h1, r1, r10, r11);
        columns(x2, r2, h2, r2, r20, r21);
        columns(x3, r3, h3, r3, r30, r31);
        columns(x4, r4, h4, r4, r40, r41);
        store(b, b0, b1, tap_b, to1, taps_to1);
        store(a, a0, a1, tap_a, to0, taps_to0);
        a = r0, a0 = r00, a1 = r01, tap_a = row_a;
        b = r2, b0 = r20, b1 = r21, tap_b = row_b;
        greater(r1, r10, r11, row1, a, a0, a1, tap_a);
        greater(r3, r30, r31, row1, b, b0, b1, tap_b);
        greater(r2, r20, r21, row2, a, a0, a1, tap_a);
        greater(r4, r40, r41, row2, b, b0, b1, tap_b);
        tap0 = o == 0 ? edge : hn::Zero(dt);
        to0 = y0 + o, to1 = y1 + o, taps_to0 = taps0 + o, taps_to1 = taps1 + o;
      } else {
        if (in.far) {
          PrefetchPairAhead(d, x1 + c, x1 + hi_at);
          PrefetchPairAhead(d, x2 + c, x2 + hi_at);
          PrefetchPairAhead(d, x3 + c, x3 + hi_at);
          PrefetchPairAhead(d, x4 + c, x4 + hi_at);
        }
        tap0 = o == 0 ? edge : hn::Zero(dt);
        row(x2, r2, r20, r21);
        row(x3, r3, r30, r31);
        b = r2, b0 = r20, b1 = r21, tap_b = row_b;
        greater(r3, r30, r31, row1, b, b0, b1, tap_b);
        row(x4, r4, r40, r41);
        greater(r4, r40, r41, row2, b, b0, b1, tap_b);
        store(b, b0, b1, tap_b, y1 + o, taps1 + o);
        row(x0, a, a0, a1);
        row(x1, r1, r10, r11);
        tap_a = row_a;
        greater(r1, r10, r11, row1, a, a0, a1, tap_a);
        greater(r2, r20, r21, row2, a, a0, a1, tap_a);
        store(a, a0, a1, tap_a, y0 + o, taps0 + o);
      }
      if (o == last) break;
      o = HWY_MIN(o + n, last);
    }
    if (--step == 0) break;
    x0 += row_step, x1 += row_step, x2 += row_step, x3 += row_step, x4 += row_step;
    y0 += y_step, y1 += y_step;
    taps0 += taps_step, taps1 += taps_step;
  }
  if (kDelayed) {
    store(b, b0, b1, tap_b, to1, taps_to1);
    store(a, a0, a1, tap_a, to0, taps_to0);
  }
  return SawNan<L>(d, ordered);
}

// Runs a line kernel over the lines of a call, two at a time if it takes pairs of square windows.
template <class L>
struct LineDriver {
  using T = typename L::Element;
  const ForwardCall& call;
  const L lanes;
  const LineKernel<L> kernel;
  const bool square;
  const int64_t step;        // lines at a time
  const int64_t last_inner;  // square windows: the last line whose rows, and its neighbour's, need no clamping
  bool numbered = false;     // whether rows are numbered as for such lines
  WindowLines<T> in;

  LineDriver(const ForwardCall& a_call, L a_lanes, LineKernel<L> a_kernel, bool is_square)
      : call(a_call),
        lanes(a_lanes),
        kernel(a_kernel),
        square(is_square),
        step(LinesAtATime(*a_call.geometry)),
        last_inner(LastInner(*a_call.geometry)) {
    const Geometry& g = *call.geometry;
    in.width = g.axis[kWidth].input;
    in.out_width = g.axis[kWidth].output;
    in.pad = g.axis[kWidth].pad_before;
    // Rows of 2x2 follow each other: AVX2 keeps up with L3 (224x224, 12.8 MB: prefetching 1.09 times as long).
    in.far = PrefetchPays(g, sizeof(T), call.taps.base != nullptr ? 4 : 16);
    in.row_step = step * g.axis[kHeight].stride * g.input.axis[kHeight];
    in.y_step = step * g.output.axis[kHeight];
    in.taps_step = step * call.taps.strides.axis[kHeight];
  }
  int64_t LinesAtATime(const Geometry& g) const {
    return square && g.axis[kWidth].kernel > g.axis[kWidth].stride ? 2 : 1;
  }
  int64_t LastInner(const Geometry& g) const {
    const Axis& height = g.axis[kHeight];
    const int64_t begin = height.input - height.kernel - (step - 1) * height.stride;
    return begin + height.pad_before < 0 ? -1 : (begin + height.pad_before) / height.stride;
  }

  [[gnu::cold]] HWY_NOINLINE void Run(ForwardKernel separable) {
    const Geometry& g = *call.geometry;
    for (SliceWalk walk(call, separable); walk.Next();) {
      for (int64_t p = 0; p < walk.planes; ++p) {
        const T* x = static_cast<const T*>(call.x) + walk.n * g.input.batch + (walk.channel + p) * g.input.channel;
        T* y = static_cast<T*>(call.y) + walk.y + p * g.output.channel;
        uint8_t* taps = static_cast<uint8_t*>(call.taps.base);
        if (taps != nullptr) taps += walk.taps + p * call.taps.strides.channel;
        if (Slice(x, y, taps, walk.od, walk.oh, walk.stop)) walk.Redo(p, 1);
      }
    }
  }

  // Pools output lines [oh, stop) of one depth slice. True if a NaN was seen.
  bool Slice(const T* x, T* y, uint8_t* taps, int64_t od, int64_t oh, int64_t stop) {
    const Geometry& g = *call.geometry;
    const Axis &depth = g.axis[kDepth], &height = g.axis[kHeight];
    const T* plane = x + HWY_MAX(depth.Begin(od), 0) * g.input.axis[kDepth];
    bool nan = false;
    while (oh < stop) {
      const int64_t begin = height.Begin(oh), most = HWY_MIN(last_inner, stop - step);
      const bool lone = oh + step > stop;
      in.steps = 1;
      if (!square) {
        SetRows(x, depth.Begin(od), begin);
      } else if (begin < 0 || oh > most) {
        SetClampedRows(plane, begin, lone);
      } else {
        if (!numbered) SetClampedRows(plane, begin, lone);
        for (int j = 0; j < 5; ++j) in.row[j] = plane + (begin + j) * g.input.axis[kHeight];
        in.steps = (most - oh) / step + 1;
      }
      in.y[0] = y + oh * g.output.axis[kHeight];
      in.y[1] = lone || step == 1 ? in.y[0] : in.y[0] + g.output.axis[kHeight];
      if (taps != nullptr) {
        in.taps[0] = taps + oh * call.taps.strides.axis[kHeight];
        in.taps[1] = lone || step == 1 ? in.taps[0] : in.taps[0] + call.taps.strides.axis[kHeight];
      }
      nan |= kernel(lanes, in);
      oh += in.steps * step;
    }
    return nan;
  }

  // Compiled for size, which g++'s unrolled address arithmetic has five times as much of and runs no faster.
  // Also numbers the rows; rows clamped at the bottom never win.
  [[gnu::cold]] HWY_NOINLINE void SetClampedRows(const T* plane, int64_t begin, bool lone) {
    const Geometry& g = *call.geometry;
    const Axis& height = g.axis[kHeight];
    in.rows = lone ? height.kernel : height.kernel + (step - 1) * height.stride;
    numbered = begin >= 0 && !lone;
    for (int64_t j = 0; j < 5; ++j) {
      const int64_t r = begin + HWY_MIN(j, in.rows - 1);
      in.row[j] = plane + HWY_MIN(HWY_MAX(r, 0), height.input - 1) * g.input.axis[kHeight];
      in.first_tap[0][j] = j < height.kernel ? HWY_MAX(j, -begin) * height.kernel : -1;
      in.first_tap[1][j] =
          j >= height.stride && step == 2 ? HWY_MAX(j - height.stride, -begin - height.stride) * height.kernel : -1;
    }
  }

  [[gnu::cold]] HWY_NOINLINE void SetRows(const T* x, int64_t depth_begin, int64_t begin) {
    const Geometry& g = *call.geometry;
    const Axis &depth = g.axis[kDepth], &height = g.axis[kHeight];
    in.rows = 0;
    for (int64_t i = 0; i < depth.kernel; ++i) {
      const int64_t z = HWY_MIN(HWY_MAX(depth_begin + i, 0), depth.input - 1);
      for (int64_t j = 0; j < height.kernel; ++j) {
        const int64_t r = HWY_MIN(HWY_MAX(begin + j, 0), height.input - 1);
        in.row[in.rows] = x + z * g.input.axis[kDepth] + r * g.input.axis[kHeight];
        in.first_tap[0][in.rows] = ((z - depth_begin) * height.kernel + r - begin) * g.axis[kWidth].kernel;
        in.first_tap[1][in.rows] = -1;
        ++in.rows;
      }
    }
  }
};

// The line kernel for vectors of d, or of half their size and so on if lines are shorter; null if they are too short or
// `separable` is faster, which has short lines side by side in one vector.
template <class L, bool kTaps, class D>
LineKernel<L> FindLineKernel(D d, const Axis& width, bool square) {
  constexpr bool kSmall = sizeof(hn::TFromD<D>) < 4;
  constexpr size_t kBytes = hn::MaxLanes(D()) * sizeof(hn::TFromD<D>);
  constexpr bool kFull = kBytes == hn::MaxLanes(hn::ScalableTag<uint8_t>());
  if (HWY_MIN(width.input, width.output) >= static_cast<int64_t>(hn::Lanes(d))) {
    const auto kernel = [=](auto k, auto s) -> LineKernel<L> {
      constexpr int kK = decltype(k)::value, kS = decltype(s)::value;
      if constexpr (kHasRows<L> && !kFull && kK == 3) {
        return nullptr;  // nearly all are window_rows-inl.h's
      } else if constexpr (kTaps && kS == 2) {
        return square && TakesLinePairs(width) ? &WindowTaps3x3<L, D> : nullptr;
      } else if constexpr (kTaps) {
        if constexpr (kFull && kHas32Registers && sizeof(typename L::Lane) == 4 && kK == 2) {
          if (square && TakesLinesOfTwo<L>(width)) return &WindowTaps2x2<L, D>;
        }
        return &WindowTaps<L, D, kK>;
      } else {
        // Two vectors for a line that is little longer than one: 35x35 of u8 would take 1.5 times as long.
        const int64_t n = static_cast<int64_t>(hn::Lanes(D()));
        if (kSmall && width.output > n && 2 * width.output < 3 * n) return nullptr;
        if constexpr (kS == 2 && kK == 3) return TakesLinePairs(width) && square ? &Window3x3<L, D> : nullptr;
        if (square) return &Window<L, D, kK, kS, true>::Values;
        // Of f64 those of two columns are separable's: 2x2x2 takes 0.8 of the time (AVX2 1.07), 1x3 would take twice.
        if constexpr (kFull && !kSmall && (kK == 3 || sizeof(hn::TFromD<D>) == 4) && kS == 1)
          return &Window<L, D, kK, kS, false>::Values;
        return nullptr;
      }
    };
    constexpr std::integral_constant<int, 1> k1{};
    constexpr std::integral_constant<int, 2> k2{};
    constexpr std::integral_constant<int, 3> k3{};
    if (width.stride == 1) return width.kernel == 3 ? kernel(k3, k1) : kernel(k2, k1);
    if constexpr (kFull && !kSmall) return width.kernel == 3 || kTaps ? kernel(k3, k2) : kernel(k2, k2);
  }
  // Shorter lines of f32 and f64 are strips or flat planes, nearly all.
  constexpr bool kHalves = kSmall && hn::MaxLanes(D()) >= 32;
  if constexpr (kHasFixedSize && kBytes >= 32 && kHalves) {
    return FindLineKernel<L, kTaps>(hn::Half<D>(), width, square);
  } else {
    return nullptr;
  }
}

template <class L>
[[gnu::cold]] void RunChannelsFirst(const ForwardCall& call, L lanes, ForwardKernel separable) {
  if (call.begin >= call.end) return;
  const Geometry& g = *call.geometry;
  const Axis &height = g.axis[kHeight], &width = g.axis[kWidth];
  const bool square = g.axis[kDepth].kernel == 1 && height.kernel == width.kernel && height.stride == width.stride;
  const hn::ScalableTag<typename L::Lane> d;
  const bool is_fused = height.kernel <= 3 && (width.kernel == 2 || width.kernel == 3);
  const bool of_two =
      call.taps.base != nullptr && square && height.dilation * width.dilation == 1 && TakesLinesOfTwo<L>(width);
  if constexpr (kHasStrips<L>) {
    if (!of_two && ForwardStrips(call, lanes, separable)) return;
  }
  if constexpr (kHasRows<L>) {
    if (ForwardRows(call, lanes, separable)) return;
  }
  if (height.dilation * width.dilation != 1 || !is_fused) {
    if (!ForwardFlat(call, lanes, separable)) separable(call);
    return;
  }
  // Three slices deep, rows would be read again for each line that they are in (3x3x3 s2, f32: 1.3 to 1.7 times as
  // long).
  if (sizeof(typename L::Lane) >= 4 && g.axis[kDepth].kernel > 2) return separable(call);
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  if constexpr (kHasPairs<L>) {
    if (square && width.stride == 2 && width.kernel == 2 && ForwardPairs(call, lanes, separable)) return;
  }
  if constexpr (kHasHalfStrips<L>) {
    if (square && width.stride == 2 && ForwardHalfStrips(call, lanes, separable)) return;
  }
  if constexpr (kHasByteStrips<L>) {
    if (square && width.stride == 2 && ForwardByteStrips(call, lanes, separable)) return;
  }
  if constexpr (kHasPackedLines<L>) {
    if (square && width.stride == 2 && PoolPackedLines<L>(call, separable)) return;
  }
  if constexpr (kHasNarrowWindows<L>) {
    if (square && width.stride == 2 && ForwardNarrow(call, lanes, separable)) return;
  }
  if constexpr (kHasAbreast<L>) {
    if (square && width.stride == 2 && width.kernel == 3 && ForwardAbreast(call, lanes, separable)) return;
  }
  // Values of lines of four vectors and more are faster line by line (3x3, all types and targets). Indices never are:
  // 3x3 on 56x56 would take 1.7 (f32) to 7 times as long (u8).
  const bool flat = !of_two && (call.taps.base != nullptr || width.input < 4 * n);
  if (flat && ForwardFlat(call, lanes, separable)) return;
  // Stride 2, but for long lines of f32 and f64 of which pairs share rows (3x3 on 112x112: 1.3 against 1.8 times the
  // speed of light; 35x35, whose ends such kernels redo: 3 against 2.6).
  const bool with_taps = call.taps.base != nullptr;
  const bool pairs = square && (width.kernel == 3 ? TakesLinePairs(width) : !with_taps);
  const bool strided =
      sizeof(typename L::Lane) < 4 || width.output < n || !pairs || (!with_taps && 2 * width.output < 3 * n);
  // On lines of a few outputs the planning of planes takes longer than separable does (i8 5x7, u16 13x10: 5 times); in
  // f32 and f64 only if there are few of them.
  const bool tiny = width.output < 6 && (sizeof(typename L::Lane) < 4 || (call.end - call.begin) * width.output < 1024);
  if (width.stride == 2 && strided && !tiny && PoolStridedLines(call, lanes, separable)) return;
  // Many short lines: side by side in vectors, tap numbers take a fifth to a half of the time (1-D, 2 s1, f16 and f32,
  // a vector wide).
  const bool side_by_side = call.taps.base != nullptr && !square && call.end - call.begin >= 2 * n &&
                            (sizeof(typename L::Lane) < 4 ? width.input < 2 * n : width.input <= n);
  const LineKernel<L> kernel = call.taps.base == nullptr ? FindLineKernel<L, false>(d, width, square)
                                                         : FindLineKernel<L, true>(d, width, square);
  if (kernel == nullptr || side_by_side) {
    separable(call);
  } else {
    LineDriver<L>(call, lanes, kernel, square).Run(separable);
  }
}

template <class L>
void WindowChannelsFirst(const ForwardCall& call, L lanes, ForwardKernel separable) {
  if constexpr (kHasWindowChannelsFirst<L>) {
    RunChannelsFirst(call, lanes, separable);
  } else {
    separable(call);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_FIRST_INL_H_
