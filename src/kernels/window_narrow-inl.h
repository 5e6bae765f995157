// SPDX-License-Identifier: Apache-2.0
// Square windows at stride 2 channels-first on dense lines of up to a vector, with AVX-512: down a plane, two lines of
// outputs at once. Columns are looked up in two vectors by clamped lane indices; rows that the next two lines need stay
// in registers. Loads and stores are whole vectors, ascending: what a store spoils behind its line is stored right
// later. Only the lines at the end of a run of planes are copied to or from scratch, so the loops below check nothing.
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_NARROW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_NARROW_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_NARROW_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_NARROW_INL_H_
#endif

#include <cstring>

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/slices-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
struct NarrowCall {
  int64_t out_width, pitch, pad;
  int64_t x_step, y_step, taps_step;  // from plane to plane
  // Per horizontal tap: a vector of lane indices, then one of tap numbers.
  const hwy::MakeSigned<T>* tables;
};

// Some planes, and lines [oh, stop) of each.
template <class T>
struct NarrowPlanes {
  const T* x;
  T* y;
  uint8_t* taps;
  int64_t planes;
  int64_t last;  // the last row of a plane
  int64_t oh, stop;
};

// Pools lines of planes, and one more line of each if their number is odd. True if a NaN was seen.
template <class L, class T = typename L::Element>
using NarrowKernel = bool (*)(L lanes, const NarrowCall<T>& in, const NarrowPlanes<T>& at);

// Only 32-bit lanes in vectors of 64 bytes, in which rows of usual networks (13, 14) leave most lanes idle else.
template <class L>
constexpr bool kHasNarrowWindows = sizeof(typename L::Lane) == 4 && hn::MaxLanes(hn::ScalableTag<typename L::Lane>()) >=
                                                                        16;

constexpr int kNarrowStride = 2;

template <class L, int kK>
struct NarrowWindow {
  using T = typename L::Element;
  using D = hn::ScalableTag<typename L::Lane>;
  using DI = hn::RebindToSigned<D>;
  using TI = hn::TFromD<DI>;
  using V = hn::Vec<D>;
  using VI = hn::Vec<DI>;
  static constexpr int kS = kNarrowStride;

  static HWY_INLINE V MaxOfTaps(D d, V a, V b, VI i0, VI i1, VI i2) {
    const V m = hn::Max(LookupTwo(d, a, b, i0), LookupTwo(d, a, b, i1));
    return kK == 3 ? hn::Max(m, LookupTwo(d, a, b, i2)) : m;
  }

  // Row r + j for j from 0 on, clamped into a plane whose last row is `last`.
  struct RowPointers {
    HWY_INLINE RowPointers(const T* x, int64_t r, int64_t last, int64_t pitch) {
      constexpr int64_t kRows = kK + kS;
      if (HWY_LIKELY(r >= 0 && r + kRows - 1 <= last)) {
        const T* first = x + r * pitch;
        p0 = first, p1 = first + pitch, p2 = first + 2 * pitch, p3 = first + 3 * pitch, p4 = first + 4 * pitch;
      } else {
        const auto at = [=](int64_t row) { return x + HWY_MIN(HWY_MAX(row, 0), last) * pitch; };
        p0 = at(r), p1 = at(r + 1), p2 = at(r + 2), p3 = at(r + 3), p4 = at(r + 4);
      }
    }
    const T *p0, *p1, *p2, *p3, *p4;
  };
  // Then loops are so short that 13x13, of three pairs of lines per plane, takes 0.8 of the time. (Values of 2x2 1.1.)
  static HWY_INLINE bool NoneClamped(const NarrowCall<T>& in, const NarrowPlanes<T>& at) {
    const int64_t first = at.oh * kS - in.pad, pairs = (at.stop - at.oh + 1) / 2;
    return first >= 0 && first + pairs * 2 * kS + kK - kS - 1 <= at.last;
  }

  static bool Values(L lanes, const NarrowCall<T>& call, const NarrowPlanes<T>& call_at) {
    // In registers: loads of either behind the stores of a plane wait for these (13x13 in 1.4 times the time).
    const NarrowCall<T> in = call;
    const NarrowPlanes<T> at = call_at;
    const D d;
    const DI di;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d)), out_width = in.out_width, pitch = in.pitch;
    const VI i0 = hn::Load(di, in.tables), i1 = hn::Load(di, in.tables + 2 * n),
             i2 = hn::Load(di, in.tables + (kK - 1) * 2 * n);
    auto ordered = hn::FirstN(d, hn::Lanes(d));
    V r0 = hn::Zero(d);  // the row that the next two lines share with these
    const auto begin_plane = [&](const T* p0) PEAKPOOL_INLINED {
      if constexpr (kK > kS) {
        r0 = LoadLanes(lanes, d, p0);
        Note<L>(d, ordered, r0, r0);
      }
    };
    const auto pool = [&](const T* p0, const T* p1, const T* p2, const T* p3, const T* p4, T* y) PEAKPOOL_INLINED {
      V a, b;
      if constexpr (kK == 3) {
        const V r1 = LoadLanes(lanes, d, p1);
        const V r2 = LoadLanes(lanes, d, p2), r3 = LoadLanes(lanes, d, p3), r4 = LoadLanes(lanes, d, p4);
        Note<L>(d, ordered, r1, r2, r3, r4);
        a = hn::Max(hn::Max(r0, r1), r2);
        b = hn::Max(r2, hn::Max(r3, r4));
        r0 = r4;
      } else {
        r0 = LoadLanes(lanes, d, p0);
        const V r1 = LoadLanes(lanes, d, p1);
        const V r2 = LoadLanes(lanes, d, p2), r3 = LoadLanes(lanes, d, p3);
        Note<L>(d, ordered, r0, r1, r2, r3);
        a = hn::Max(r0, r1);
        b = hn::Max(r2, r3);
      }
      lanes.Store(d, MaxOfTaps(d, a, b, i0, i1, i2), y);
    };
    const T* x = at.x;
    T* y_plane = at.y;
    if (kK > kS && HWY_LIKELY(NoneClamped(in, at))) {
      const int64_t outputs = (at.stop - at.oh + 1) / 2 * 2 * out_width;
      x += (at.oh * kS - in.pad) * pitch;
      for (int64_t p = 0; p < at.planes; ++p, x += in.x_step, y_plane += in.y_step) {
        begin_plane(x);
        const T* row = x;
        for (T *y = y_plane, *const end = y + outputs; y != end; y += 2 * out_width, row += 2 * kS * pitch) {
          pool(row, row + pitch, row + 2 * pitch, row + 3 * pitch, row + 4 * pitch, y);
        }
      }
      return SawNan<L>(d, ordered);
    }
    const int64_t last = at.last, stop = at.stop;
    for (int64_t p = 0; p < at.planes; ++p, x += in.x_step, y_plane += in.y_step) {
      T* y = y_plane;
      int64_t oh = at.oh, r = oh * kS - in.pad;
      begin_plane(RowPointers(x, r, last, pitch).p0);
      for (; oh < stop; oh += 2, r += 2 * kS, y += 2 * out_width) {
        const RowPointers row(x, r, last, pitch);
        pool(row.p0, row.p1, row.p2, row.p3, row.p4, y);
      }
    }
    return SawNan<L>(d, ordered);
  }

  // As WindowTaps3x3 does it, but that stores delayed by a pair of lines gain nothing.
  static bool Taps(L lanes, const NarrowCall<T>& call, const NarrowPlanes<T>& call_at) {
    using VT = decltype(SetTap(D(), 0));
    const NarrowCall<T> in = call;
    const NarrowPlanes<T> at = call_at;
    const D d;
    const DI di;
    const hn::DFromV<VT> dt;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d)), out_width = in.out_width, pitch = in.pitch;
    const auto index = [&](int t) PEAKPOOL_INLINED { return hn::Load(di, in.tables + t * 2 * n); };
    const auto column = [&](int t) PEAKPOOL_INLINED {
      uint8_t taps[hn::MaxLanes(D())];
      StoreBytes(di, hn::Load(di, in.tables + t * 2 * n + n), taps);
      return LoadTaps(d, taps);
    };
    const VI i0 = index(0), i1 = index(1), i2 = index(kK - 1);
    const VT h0 = column(0), h1 = column(1), h2 = column(kK - 1);
    const auto is_first = hn::FirstN(dt, static_cast<size_t>(out_width));
    auto ordered = hn::FirstN(d, hn::Lanes(d));
    V best = hn::Zero(d), best0 = best, best1 = best;
    VT tap = h0;
    const auto store = [&](T* y, uint8_t* taps) PEAKPOOL_INLINED {
      VT numbered = h2;
      if constexpr (kK == 3) numbered = hn::IfThenElse(TapsWhere(d, hn::Eq(best1, best)), h1, h2);
      numbered = hn::IfThenElse(TapsWhere(d, hn::Eq(best0, best)), h0, numbered);
      lanes.Store(d, best, y);
      StoreTaps(d, hn::Add(tap, numbered), taps);
    };
    const auto fold_row = [&](V a, V b, int number) PEAKPOOL_INLINED {
      const V v0 = LookupTwo(d, a, b, i0), v1 = LookupTwo(d, a, b, i1);
      V v = hn::Max(v0, v1);
      if constexpr (kK == 3) v = hn::Max(v, LookupTwo(d, a, b, i2));
      const auto wins = hn::Gt(v, best);
      best = InRegister(hn::Max(best, v));
      best0 = InRegister(hn::IfThenElse(wins, v0, best0));
      if constexpr (kK == 3) best1 = InRegister(hn::IfThenElse(wins, v1, best1));
      tap = InRegister(hn::IfThenElse(TapsWhere(d, wins), SetTap(d, number), tap));
    };
    V shared = best;  // as in Values
    const auto begin_plane = [&](const T* p0) PEAKPOOL_INLINED {
      if constexpr (kK > kS) {
        shared = LoadLanes(lanes, d, p0);
        Note<L>(d, ordered, shared, shared);
      }
    };
    const auto pool = [&](const T* p0, const T* p1, const T* p2, const T* p3, const T* p4, VT first_row, T* y,
                          uint8_t* taps) PEAKPOOL_INLINED {
      const V u0 = kK > kS ? shared : LoadLanes(lanes, d, p0), u1 = LoadLanes(lanes, d, p1),
              u2 = LoadLanes(lanes, d, p2), u3 = LoadLanes(lanes, d, p3);
      V u4 = u0;
      if constexpr (kK == 3) shared = u4 = LoadLanes(lanes, d, p4);
      Note<L>(d, ordered, u4, u1, u2, u3);
      best0 = LookupTwo(d, u0, u2, i0), best1 = LookupTwo(d, u0, u2, i1);
      best = hn::Max(best0, best1);
      if constexpr (kK == 3) best = hn::Max(best, LookupTwo(d, u0, u2, i2));
      tap = first_row;
      fold_row(u1, u3, kK);
      if constexpr (kK == 3) fold_row(u2, u4, 2 * kK);
      store(y, taps);
    };
    const T* x = at.x;
    T* y_plane = at.y;
    uint8_t* taps_plane = at.taps;
    if (HWY_LIKELY(NoneClamped(in, at))) {
      const int64_t outputs = (at.stop - at.oh + 1) / 2 * 2 * out_width;
      x += (at.oh * kS - in.pad) * pitch;
      for (int64_t p = 0; p < at.planes; ++p, x += in.x_step, y_plane += in.y_step, taps_plane += in.taps_step) {
        const T* row = x;
        begin_plane(x);
        for (int64_t o = 0; o < outputs; o += 2 * out_width, row += 2 * kS * pitch) {
          pool(row, row + pitch, row + 2 * pitch, row + 3 * pitch, row + 4 * pitch, hn::Zero(dt), y_plane + o,
               taps_plane + o);
        }
      }
      return SawNan<L>(d, ordered);
    }
    for (int64_t p = 0; p < at.planes; ++p, x += in.x_step, y_plane += in.y_step, taps_plane += in.taps_step) {
      T* y = y_plane;
      uint8_t* taps = taps_plane;
      int64_t oh = at.oh, r = oh * kS - in.pad;
      begin_plane(RowPointers(x, r, at.last, pitch).p0);
      for (; oh < at.stop; oh += 2, r += 2 * kS) {
        const RowPointers row(x, r, at.last, pitch);
        // Rows clamped at the top are named by the first one.
        VT first_row = hn::Zero(dt);
        if (HWY_UNLIKELY(r < 0)) {
          const auto number = [&](int64_t begin)
                                  PEAKPOOL_INLINED { return SetTap(d, static_cast<int>(HWY_MAX(-begin, 0) * kK)); };
          first_row = hn::IfThenElse(is_first, number(r), number(r + kS));
        }
        pool(row.p0, row.p1, row.p2, row.p3, row.p4, first_row, y, taps);
        y += 2 * out_width;
        taps += 2 * out_width;
      }
    }
    return SawNan<L>(d, ordered);
  }
};

// What the lanes of two lines in one vector each are.
template <class D>
HWY_NOINLINE void MakeNarrowTables(D d, const Axis& w, hn::TFromD<D>* lanes) {
  const auto set = [d](int64_t value) HWY_ATTR { return hn::Set(d, static_cast<hn::TFromD<D>>(value)); };
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const auto lane = hn::Iota(d, 0), zero = hn::Zero(d), second = hn::VecFromMask(d, hn::Lt(set(w.output - 1), lane));
  const auto o = hn::Min(hn::Sub(lane, hn::And(second, set(w.output))), set(w.output - 1));
  const auto left = hn::Sub(hn::Add(o, o), set(w.pad_before));
  for (int64_t t = 0; t < w.kernel; ++t, lanes += 2 * n) {
    const auto clamped = hn::Min(hn::Max(hn::Add(left, set(t)), zero), set(w.input - 1));
    hn::Store(hn::Add(clamped, hn::And(second, set(n))), d, lanes);
    // A column clamped at the left is named by its own tap; those clamped at the right come last and never win.
    hn::Store(hn::Max(set(t), hn::Sub(zero, left)), d, lanes + n);
  }
}

// True if done: narrow enough, dense enough and small enough planes.
template <class L>
[[gnu::cold]] HWY_NOINLINE bool ForwardNarrow(const ForwardCall& call, L lanes, ForwardKernel separable) {
  using T = typename L::Element;
  using TI = hwy::MakeSigned<T>;
  const hn::ScalableTag<TI> d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const Geometry& g = *call.geometry;
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  const bool with_taps = call.taps.base != nullptr;
  const int64_t out_width = w.output, pitch = w.input;
  if (pitch > n || kNarrowStride * out_width > n || g.input.axis[kHeight] != pitch ||
      g.output.axis[kHeight] != out_width || (with_taps && call.taps.strides.axis[kHeight] != out_width)) {
    return false;
  }
  const NarrowKernel<L> kernel = w.kernel == 3 ? with_taps ? &NarrowWindow<L, 3>::Taps : &NarrowWindow<L, 3>::Values
                                 : with_taps   ? &NarrowWindow<L, 2>::Taps
                                               : &NarrowWindow<L, 2>::Values;
  // Scratch: lane tables, and of the lines whose vectors reach beyond the end of a run, x, y and taps with slack.
  const int64_t most_lines = 2 * (n / HWY_MIN(out_width, pitch) + 4);
  const int64_t x_room = (kNarrowStride * most_lines + w.kernel) * pitch + n;
  const int64_t y_room = most_lines * out_width + n;
  TI* const tables = static_cast<TI*>(call.scratch);
  T* const x_copy = reinterpret_cast<T*>(tables + 6 * n);
  T* const y_copy = x_copy + x_room;
  uint8_t* const taps_copy = reinterpret_cast<uint8_t*>(y_copy + y_room);
  if (taps_copy + y_room > static_cast<uint8_t*>(call.scratch) + call.scratch_bytes) return false;
  MakeNarrowTables(d, w, tables);
  const NarrowCall<T> in = {
      out_width, pitch, h.pad_before, g.input.channel, g.output.channel, call.taps.strides.channel, tables};
  // Windows that do not overlap do not see where one plane ends and the next begins.
  const bool one_tall_plane = h.kernel == h.stride && g.axis[kDepth].output == 1 && h.pad_before == 0 &&
                              h.input == h.stride * h.output && g.input.channel == h.input * pitch &&
                              g.output.channel == h.output * out_width &&
                              (!with_taps || call.taps.strides.channel == h.output * out_width);
  const auto redo = [&](const SliceWalk& walk, int64_t plane, int64_t planes) {
    walk.Redo(plane, planes);
    MakeNarrowTables(d, w, tables);  // both live in the call's scratch
  };
  for (SliceWalk walk(call, separable); walk.Next();) {
    const int64_t plane_lines = walk.stop - walk.oh;
    const int64_t y_first = walk.y + walk.oh * out_width, taps_first = walk.taps + walk.oh * out_width;
    // Whether so many lines of a plane load and store inside of it, or of the run around it. Lines come in twos.
    const auto fits = [&](int64_t plane, int64_t count) {
      const int64_t lines = (count + 1) / 2 * 2;
      const int64_t last_row = HWY_MIN(h.Begin(walk.oh + lines - 1) + h.kernel, h.input) - 1;
      const int64_t load_end = last_row * pitch + n;
      const int64_t store_end = (lines - 2) * out_width + n;
      return (load_end <= h.input * pitch || walk.x + plane * in.x_step + load_end <= walk.x_end) &&
             (store_end <= plane_lines * out_width ||
              (y_first + plane * in.y_step + store_end <= walk.y_end &&
               (!with_taps || taps_first + plane * in.taps_step + store_end <= walk.taps_end)));
    };
    int64_t plain = walk.planes;  // the others, usually the last one of a run, are in part copied
    while (plain > 0 && !fits(plain - 1, plane_lines)) --plain;
    NarrowPlanes<T> at = {static_cast<const T*>(call.x) + walk.x,
                          static_cast<T*>(call.y) + y_first,
                          with_taps ? static_cast<uint8_t*>(call.taps.base) + taps_first : nullptr,
                          1,
                          h.input - 1,
                          walk.oh,
                          walk.stop};
    for (int64_t p = 0; p < plain; p += kMostPlanes) {
      const int64_t planes = HWY_MIN(plain - p, kMostPlanes);
      if (one_tall_plane) {
        at.last = planes * h.input - 1;
        at.stop = walk.oh + planes * plane_lines;
      } else {
        at.planes = planes;
      }
      if (HWY_UNLIKELY(kernel(lanes, in, at))) redo(walk, p, planes);
      at.x += planes * in.x_step;
      at.y += planes * in.y_step;
      at.taps += planes * in.taps_step;
    }
    at.planes = 1;
    at.last = h.input - 1;
    for (int64_t p = plain; p < walk.planes; ++p) {
      int64_t lines = plane_lines / 2 * 2;
      while (lines > 0 && !fits(p, lines)) lines -= 2;
      at.stop = walk.oh + lines;
      bool nan = lines > 0 && kernel(lanes, in, at);
      const int64_t first = h.Begin(at.stop), row = HWY_MAX(first, 0);
      const int64_t rows = HWY_MIN(h.Begin(walk.stop - 1) + h.kernel, h.input) - row;
      const size_t outputs = static_cast<size_t>((plane_lines - lines) * out_width);
      memcpy(x_copy, at.x + row * pitch, static_cast<size_t>(rows * pitch) * sizeof(T));
      memset(x_copy + rows * pitch, 0, static_cast<size_t>(n) * sizeof(T));
      NarrowCall<T> rest = in;
      rest.pad = row - first;
      nan |= kernel(lanes, rest, {x_copy, y_copy, taps_copy, 1, rows - 1, 0, plane_lines - lines});
      memcpy(at.y + lines * out_width, y_copy, outputs * sizeof(T));
      if (with_taps) memcpy(at.taps + lines * out_width, taps_copy, outputs);
      if (HWY_UNLIKELY(nan)) redo(walk, p, 1);
      at.x += in.x_step;
      at.y += in.y_step;
      at.taps += in.taps_step;
    }
  }
  return true;
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_NARROW_INL_H_
