// SPDX-License-Identifier: Apache-2.0
// Small windows channels-first, both axes fused: vertical maxima of whole rows in registers, then the horizontal step by
// de-interleaving (stride 2) or sliding (stride 1) lanes.
//
// Eligible geometries: channels-first; dilation 1 on every axis; (kernel, stride) of width one of (2,2), (3,2), (3,1),
// (2,1); height and depth kernels 1 to 3 with any stride; every window has at least one tap in range on each axis.
// Padding is never read or materialised: rows and columns are clamped into the window, which repeats some of its
// elements; a maximum does not mind, and with indices every repetition carries the true number of its tap.
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_FIRST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_FIRST_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_FIRST_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_FIRST_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
void Separable(const ForwardCall& call);

// The input rows under one output line, or under two neighbouring ones (the second starts kS rows later), clamped into
// the plane, and where the results go. A lone line is its own neighbour: y[1] == y[0], and y[0] is stored last.
template <class T>
struct WindowRows {
  const T* row[9];
  int64_t count;
  T* y[2];
  uint8_t* taps[2];
  int64_t first_tap[2][9];  // tap number of the row's first column, for each line
};

struct RowShape {
  int64_t width, out_width, pad;
  int tap_bytes;
};

template <class L, int kK, int kS, bool kSquare>
struct Window {
  using T = typename L::Element;
  using Rows = WindowRows<T>;
  static constexpr bool kTracksNan = L::kTracksNan;
  // Neighbouring lines that share rows are pooled together: 5 row loads instead of 6 for 3x3 s2, 4 for 6 at stride 1.
  static constexpr int kLines = kSquare && kK > kS ? 2 : 1;
  static constexpr int kLoaded = kK + (kLines - 1) * kS;

  template <class D>
  using Tags = hn::RebindToSigned<D>;

  // One row, or the vertical maxima of the rows of one or two lines.
  struct OneRow {
    const T* row;
    template <class D, class V, class M>
    HWY_INLINE void Load(D d, int64_t c, V& a, V& b, M& nan) const {
      a = b = L::Load(d, row + c);
      Note(d, a, a, nan);
    }
    template <class D, class V, class M>
    HWY_INLINE void Broadcast(D d, int64_t c, V& a, V& b, M& nan) const {
      a = b = L::Broadcast(d, row + c);
      Note(d, a, a, nan);
    }
  };
  struct AllRows {
    const Rows& rows;
    template <class D, class V, class M>
    HWY_INLINE void Load(D d, int64_t c, V& a, V& b, M& nan) const {
      Combine(d, [=](D dd, const T* p) HWY_ATTR { return L::Load(dd, p + c); }, a, b, nan);
    }
    template <class D, class V, class M>
    HWY_INLINE void Broadcast(D d, int64_t c, V& a, V& b, M& nan) const {
      Combine(d, [=](D dd, const T* p) HWY_ATTR { return L::Broadcast(dd, p + c); }, a, b, nan);
    }
    template <class D, class Get, class V, class M>
    HWY_INLINE void Combine(D d, Get get, V& a, V& b, M& nan) const {
      const T* const* row = rows.row;
      if constexpr (!kSquare) {
        a = get(d, row[0]);
        Note(d, a, a, nan);
        for (int64_t r = 1; r < rows.count; ++r) {
          const V v = get(d, row[r]);
          Note(d, v, v, nan);
          a = hn::Max(a, v);
        }
        b = a;
      } else {
        const V v0 = get(d, row[0]), v1 = get(d, row[1]);
        Note(d, v0, v1, nan);
        const V m = hn::Max(v0, v1);
        if constexpr (kK == 2) {
          a = b = m;
          if constexpr (kS == 1) {
            const V v2 = get(d, row[2]);
            Note(d, v2, v2, nan);
            b = hn::Max(v1, v2);
          }
        } else {
          const V v2 = get(d, row[2]), v3 = get(d, row[3]);
          Note(d, v2, v3, nan);
          if constexpr (kS == 1) {
            const V shared = hn::Max(v1, v2);
            a = hn::Max(v0, shared);
            b = hn::Max(shared, v3);
          } else {
            const V v4 = get(d, row[4]);
            Note(d, v4, v4, nan);
            a = hn::Max(m, v2);
            b = hn::Max(v2, hn::Max(v3, v4));
          }
        }
      }
    }
  };

  template <class D, class V, class M>
  static HWY_INLINE void Note(D d, V a, V b, M& nan) {
    if constexpr (kTracksNan) nan = hn::Or(nan, EitherNan(d, a, b));
  }

  // Columns [c, c + N) with those outside the row replaced by the row's first or last; rows are at least N wide.
  template <class Source, class D, class V, class M>
  static HWY_INLINE void Clamped(D d, Source source, int64_t width, int64_t c, V& a, V& b, M& nan) {
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    V edge_a, edge_b;
    if (HWY_UNLIKELY(c < 0)) {
      source.Load(d, 0, a, b, nan);
      source.Broadcast(d, 0, edge_a, edge_b, nan);
      for (; c < 0; ++c) {
        a = SlideUp1(d, edge_a, a);
        b = SlideUp1(d, edge_b, b);
      }
    } else if (HWY_UNLIKELY(c + n > width)) {
      source.Load(d, width - n, a, b, nan);
      source.Broadcast(d, width - 1, edge_a, edge_b, nan);
      for (; c + n > width; --c) {
        a = SlideDown1(d, a, edge_a);
        b = SlideDown1(d, b, edge_b);
      }
    } else {
      source.Load(d, c, a, b, nan);
    }
  }

  // Taps 0, 1 and 2 (k = 3) or 1 and 2 (k = 2) of outputs [o, o + N) for both lines.
  template <class Source, class D, class V, class M>
  static HWY_INLINE void Taps(D d, Source source, const RowShape& shape, int64_t o, V& a0, V& a1, V& a2, V& b0, V& b1,
                              V& b2, M& nan) {
    const int64_t width = shape.width;
    if constexpr (kS == 1) {
      const int64_t c = o - shape.pad;
      if constexpr (kK == 3) Clamped(d, source, width, c, a0, b0, nan);
      Clamped(d, source, width, c + kK - 2, a1, b1, nan);
      Clamped(d, source, width, c + kK - 1, a2, b2, nan);
    } else {
      const int64_t n = static_cast<int64_t>(hn::Lanes(d));
      const int64_t c = 2 * o + kK - 2 - shape.pad;
      V lo_a, lo_b, hi_a, hi_b;
      Clamped(d, source, width, c, lo_a, lo_b, nan);
      Clamped(d, source, width, c + n, hi_a, hi_b, nan);
      a1 = hn::ConcatEven(d, hi_a, lo_a);
      a2 = hn::ConcatOdd(d, hi_a, lo_a);
      b1 = hn::ConcatEven(d, hi_b, lo_b);
      b2 = hn::ConcatOdd(d, hi_b, lo_b);
      if constexpr (kK == 3) {
        source.Broadcast(d, HWY_MAX(c - 1, 0), a0, b0, nan);
        a0 = SlideUp1(d, a0, a2);
        b0 = SlideUp1(d, b0, b2);
      }
    }
  }

  template <class D, class V>
  static HWY_INLINE V MaxOfTaps(V t0, V t1, V t2) {
    const V m = hn::Max(t1, t2);
    return kK == 3 ? hn::Max(m, t0) : m;
  }

  // Pools one or two lines whose rows and results are at least one vector wide. True if a NaN was seen.
  template <class D>
  static HWY_NOINLINE bool WideValues(D d, const Rows& rows, const RowShape& shape) {
    using V = hn::Vec<D>;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    auto nan = hn::MaskFalse(d);
    for (int64_t o = 0;; o += n) {
      o = HWY_MIN(o, shape.out_width - n);
      V a0 = hn::Zero(d), b0 = a0, a1, a2, b1, b2;
      Taps(d, AllRows{rows}, shape, o, a0, a1, a2, b0, b1, b2, nan);
      if (kLines == 2) L::Store(d, MaxOfTaps<D>(b0, b1, b2), rows.y[1] + o);
      L::Store(d, MaxOfTaps<D>(a0, a1, a2), rows.y[0] + o);
      if (o + n == shape.out_width) break;
    }
    return kTracksNan && !hn::AllFalse(d, nan);
  }

  // Strictly greater replaces.
  template <class D, class V, class VI>
  static HWY_INLINE void Fold(D d, V v, VI tap, V& best, VI& best_tap) {
    const Tags<D> di;
    const auto greater = hn::Gt(v, best);
    best = hn::IfThenElse(greater, v, best);
    best_tap = hn::IfThenElse(hn::RebindMask(di, greater), tap, best_tap);
  }

  template <class D, class VI>
  static HWY_INLINE void FirstTaps(D d, int64_t pad, int tap, VI& v) {
    const Tags<D> di;
    using TI = hn::TFromD<Tags<D>>;
    const auto number = [=](int64_t lane) { return static_cast<TI>(HWY_MAX(tap, pad - lane * kS)); };
    v = hn::IfThenElse(hn::FirstN(di, 1), hn::Set(di, number(0)),
                       hn::IfThenElse(hn::FirstN(di, 2), hn::Set(di, number(1)), hn::Set(di, static_cast<TI>(tap))));
  }

  template <class D>
  static HWY_NOINLINE bool WideTaps(D d, const Rows& rows, const RowShape& shape, uint8_t* scratch) {
    using V = hn::Vec<D>;
    const Tags<D> di;
    using TI = hn::TFromD<Tags<D>>;
    using VI = hn::Vec<Tags<D>>;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    auto nan = hn::MaskFalse(d);
    // Clamped columns at the left are named by their own tap; those at the right come last and never win.
    VI tap0, tap1, tap2;
    FirstTaps(d, shape.pad, 0, tap0);
    FirstTaps(d, shape.pad, kK - 2, tap1);
    FirstTaps(d, shape.pad, kK - 1, tap2);
    for (int64_t o = 0;; o += n) {
      o = HWY_MIN(o, shape.out_width - n);
      if (o != 0) {
        tap0 = hn::Zero(di);
        tap1 = hn::Set(di, TI{kK - 2});
        tap2 = hn::Set(di, TI{kK - 1});
        // An overlapping last vector may still touch the clamped columns.
      }
      V best_a = hn::Zero(d), best_b = best_a;
      VI tap_a = hn::Zero(di), tap_b = tap_a;
      const int64_t count = kSquare ? kLoaded : rows.count;
      for (int64_t r = 0; r < count; ++r) {
        V v0, v1, v2, u0, u1, u2;
        Taps(d, OneRow{rows.row[r]}, shape, o, v0, v1, v2, u0, u1, u2, nan);
        V v = v1;
        VI tap = tap1;
        if constexpr (kK == 3) {
          v = v0;
          tap = tap0;
          Fold(d, v1, tap1, v, tap);
        }
        Fold(d, v2, tap2, v, tap);
        if (!kSquare || r < kK) {
          const VI numbered = hn::Add(tap, hn::Set(di, static_cast<TI>(rows.first_tap[0][r])));
          if (r == 0) {
            best_a = v;
            tap_a = numbered;
          } else {
            Fold(d, v, numbered, best_a, tap_a);
          }
        }
        if (kLines == 2 && r >= kS) {
          const VI numbered = hn::Add(tap, hn::Set(di, static_cast<TI>(rows.first_tap[1][r - kS])));
          if (r == kS) {
            best_b = v;
            tap_b = numbered;
          } else {
            Fold(d, v, numbered, best_b, tap_b);
          }
        }
      }
      if (kLines == 2) {
        L::Store(d, best_b, rows.y[1] + o);
        StoreTaps(di, tap_b, rows.taps[1] + o * shape.tap_bytes, shape.tap_bytes, scratch);
      }
      L::Store(d, best_a, rows.y[0] + o);
      StoreTaps(di, tap_a, rows.taps[0] + o * shape.tap_bytes, shape.tap_bytes, scratch);
      if (o + n == shape.out_width) break;
    }
    return kTracksNan && !hn::AllFalse(d, nan);
  }

  // Tap numbers in lanes of any width to memory in 1, 2 or 4 bytes each; only bytes are worth vector code.
  template <class DI, class VI>
  static HWY_INLINE void StoreTaps(DI di, VI taps, uint8_t* to, int bytes, uint8_t* scratch) {
    using TI = hn::TFromD<DI>;
    if (HWY_LIKELY(bytes == 1)) {
      const hn::Rebind<uint8_t, DI> d8;
      if constexpr (sizeof(TI) == 1) {
        hn::StoreU(hn::BitCast(d8, taps), d8, to);
      } else if constexpr (sizeof(TI) == 8) {
        const hn::Repartition<int32_t, DI> d32;
        const hn::Half<decltype(d32)> dh;
        const auto v32 = hn::BitCast(d32, taps);
        hn::StoreU(hn::DemoteTo(d8, hn::LowerHalf(dh, hn::ConcatEven(d32, v32, v32))), d8, to);
      } else {
        hn::StoreU(hn::DemoteTo(d8, taps), d8, to);
      }
      return;
    }
    TI* lanes = reinterpret_cast<TI*>(scratch);
    const int64_t n = static_cast<int64_t>(hn::Lanes(di));
    hn::Store(taps, di, lanes);
    for (int64_t i = 0; i < n; ++i) {
      if (bytes == 2) {
        reinterpret_cast<uint16_t*>(to)[i] = static_cast<uint16_t>(lanes[i]);
      } else {
        reinterpret_cast<uint32_t*>(to)[i] = static_cast<uint32_t>(lanes[i]);
      }
    }
  }

  // Pools output lines [oh, stop) of one depth slice. True if a NaN was seen.
  template <class D>
  static bool Slice(D d, const ForwardCall& call, const RowShape& shape, const T* x, T* y, uint8_t* taps, int64_t od,
                    int64_t oh, int64_t stop) {
    const Geometry& g = *call.geometry;
    const Axis& depth = g.axis[kDepth];
    const Axis& height = g.axis[kHeight];
    uint8_t* scratch = static_cast<uint8_t*>(call.scratch);
    Rows rows;
    bool nan = false;
    for (; oh < stop; oh += kLines) {
      const bool lone = oh + 1 == stop;
      rows.count = 0;
      const int64_t kh = kSquare ? kLoaded : height.kernel;
      for (int64_t i = 0; i < depth.kernel; ++i) {
        const int64_t z = HWY_MIN(HWY_MAX(depth.Begin(od) + i, 0), depth.input - 1);
        for (int64_t j = 0; j < kh; ++j) {
          int64_t r = height.Begin(oh) + (lone && j >= kK ? kK - 1 : j);
          r = HWY_MIN(HWY_MAX(r, 0), height.input - 1);
          rows.row[rows.count] = x + z * g.input.axis[kDepth] + r * g.input.axis[kHeight];
          const int64_t slab = (z - depth.Begin(od)) * height.kernel;
          if (!kSquare || j < kK) rows.first_tap[0][rows.count] = (slab + r - height.Begin(oh)) * kK;
          if (kLines == 2 && j >= kS) rows.first_tap[1][rows.count - kS] = (slab + r - height.Begin(oh + 1)) * kK;
          ++rows.count;
        }
      }
      rows.y[0] = y + oh * g.output.axis[kHeight];
      rows.y[1] = lone ? rows.y[0] : rows.y[0] + g.output.axis[kHeight];
      if (taps != nullptr) {
        rows.taps[0] = taps + oh * call.taps.strides.axis[kHeight] * shape.tap_bytes;
        rows.taps[1] = lone ? rows.taps[0] : rows.taps[0] + call.taps.strides.axis[kHeight] * shape.tap_bytes;
        nan |= WideTaps(d, rows, shape, scratch);
      } else {
        nan |= WideValues(d, rows, shape);
      }
    }
    return nan;
  }

  template <class D>
  static void Run(D d, const ForwardCall& call) {
    const Geometry& g = *call.geometry;
    const int64_t slice_lines = g.axis[kHeight].output;
    const int64_t plane_lines = g.axis[kDepth].output * slice_lines;
    const RowShape shape = {g.axis[kWidth].input, g.axis[kWidth].output, g.axis[kWidth].pad_before, call.taps.bytes};
    const int64_t plane = call.begin / plane_lines;
    int64_t n = plane / g.channels, c = plane % g.channels;
    int64_t od = call.begin % plane_lines / slice_lines, oh = call.begin % slice_lines;
    for (int64_t line = call.begin; line < call.end;) {
      const int64_t lines = HWY_MIN(slice_lines - oh, call.end - line);
      const T* x = static_cast<const T*>(call.x) + n * g.input.batch + c * g.input.channel;
      T* y = static_cast<T*>(call.y) + n * g.output.batch + c * g.output.channel + od * g.output.axis[kDepth];
      uint8_t* taps = nullptr;
      if (call.taps.base != nullptr) {
        const Strides& t = call.taps.strides;
        taps = static_cast<uint8_t*>(call.taps.base) +
               (n * t.batch + c * t.channel + od * t.axis[kDepth] - call.taps.origin) * call.taps.bytes;
      }
      if (Slice(d, call, shape, x, y, taps, od, oh, oh + lines)) {
        ForwardCall again = call;
        again.begin = line;
        again.end = line + lines;
        Separable<T>(again);
      }
      line += lines;
      oh = 0;
      if (++od == g.axis[kDepth].output) {
        od = 0;
        if (++c == g.channels) {
          c = 0;
          ++n;
        }
      }
    }
  }

  static void Forward(const ForwardCall& call) {
    const hn::ScalableTag<typename L::Lane> d;
    const hn::CappedTag<typename L::Lane, 16 / sizeof(T)> d16;
    const Axis& width = call.geometry->axis[kWidth];
    const int64_t narrower = HWY_MIN(width.input, width.output);
    if (narrower >= static_cast<int64_t>(hn::Lanes(d))) {
      Run(d, call);
    } else if (!HWY_HAVE_SCALABLE && narrower >= static_cast<int64_t>(hn::Lanes(d16))) {
      Run(d16, call);
    } else {
      Separable<T>(call);
    }
  }
};

template <class T, int kK, int kS>
void WindowOf(const ForwardCall& call) {
  const Geometry& g = *call.geometry;
  const Axis& height = g.axis[kHeight];
  if (g.axis[kDepth].kernel == 1 && height.kernel == kK && height.stride == kS) {
    Window<WindowLanes<T>, kK, kS, true>::Forward(call);
  } else {
    Window<WindowLanes<T>, kK, kS, false>::Forward(call);
  }
}

template <class T>
void WindowChannelsFirst(const ForwardCall& call) {
  if (call.begin >= call.end) return;
  const Axis& width = call.geometry->axis[kWidth];
  if constexpr (HWY_MAX_LANES_D(hn::ScalableTag<T>) == 1) {
    Separable<T>(call);
  } else if (width.kernel == 3) {
    width.stride == 2 ? WindowOf<T, 3, 2>(call) : WindowOf<T, 3, 1>(call);
  } else {
    width.stride == 2 ? WindowOf<T, 2, 2>(call) : WindowOf<T, 2, 1>(call);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_FIRST_INL_H_
