// SPDX-License-Identifier: Apache-2.0
// Windows of 3x3 at stride 1 over lines of 8- and 16-bit lanes, channels-first, with AVX-512, dilated or not, whose
// middle columns and rows lie in the plane: down strips of a plane that are one vector wide, or down two planes of
// lines that half a vector of 16-bit lanes holds. Each row is reduced along the width once; the three that a line needs
// stay in registers. A column or row beyond the plane is the middle one once more, or nothing. Loads and stores are
// masked, so that nothing is copied and lines may lie apart.
//
// Of one flat array, 14x14 of bf16 with indices takes 0.81 of the time, without 0.85; 28x28 to 112x112 0.66 to 0.74; u8
// of 56x56 dilated by 2 0.56 and 0.76. Without padding, where no flat array serves, 0.2 to 0.7 (u8 of 96x96 and 112x112
// without indices 1.15).
// (A step of 16-bit lanes takes 8 cycles, of which 3 to and 2.5 from keys.)
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_ROWS_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_ROWS_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_ROWS_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/slices-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class L>
constexpr bool kHasRows =
    sizeof(typename L::Lane) <= 2 && kHasLookup<int16_t>&& kWholeCacheLine<hn::ScalableTag<int16_t>>;

// Tables for one kind of strip, see StripKind.
struct RowTables {
  static constexpr int64_t kLanes16 = 32;
  int16_t left[kLanes16], right[kLanes16];  // 16-bit lanes of the first and the third column; bytes are loaded thrice
  uint64_t loaded, stored;                  // bits of lanes; the second plane's are not among them
  uint64_t has_left, has_right;             // and of those with a first and with a third column
};

struct RowsCall : StripPlanes {
  const RowTables* tables;
  int64_t strips, strip, dilation;
  int64_t row, column;       // the middle ones of the first output
  int64_t first, next_zero;  // columns where the first strip begins, and where the others count from
  bool two;
};

// Pools lines [begin, stop) of some planes.
template <class L, bool kTaps, class T = typename L::Element>
HWY_NOINLINE void PoolRows(L lanes, const RowsCall& in, int64_t planes, int64_t begin, int64_t stop, const T* plane_x,
                           T* plane_y, uint8_t* plane_taps) {
  constexpr bool kBytes = sizeof(T) == 1;
  const hn::ScalableTag<T> d;
  const hn::Half<decltype(d)> dh;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  const hn::Half<decltype(d8)> dh8;
  using V = hn::Vec<decltype(d)>;
  using VT = decltype(SetTap(d, 0));
  const int64_t dilation = in.dilation, x_plane = in.x_plane, y_plane = in.y_plane;
  const int64_t x_step = dilation * in.x_pitch, y_step = dilation * in.y_pitch, taps_step = dilation * in.taps_pitch;
  const VT one = SetTap(d, 1), two_taps = SetTap(d, 2), row1 = SetTap(d, 3), row2 = SetTap(d, 6);
  const V none = lanes.FromKey(d, hn::Set(d, hwy::LimitsMin<T>()));
  for (int64_t s = 0; planes > 0;) {
    const RowTables& at = in.tables[StripKind(s, in.strips)];
    const auto loaded = MaskOfBits(d, at.loaded), stored = MaskOfBits(d, at.stored);
    const auto has_left = MaskOfBits(d, at.has_left), has_right = MaskOfBits(d, at.has_right);
    const auto half = MaskOfBits(dh, at.loaded), half_stored = MaskOfBits(dh, at.stored);
    V left = none, right = none;
    if constexpr (!kBytes) left = hn::LoadU(d, at.left), right = hn::LoadU(d, at.right);
    const VT first = hn::IfThenZeroElse(TapsWhere(d, has_left), one);
    const bool two = !kBytes && in.two && planes > 1;
    const int64_t from = s == 0 ? in.first : in.next_zero + s * in.strip, to = from - in.column;
    const auto row = [=](const T* p, V& best, VT& tap) PEAKPOOL_INLINED {
      V v, before, after;
      if constexpr (kBytes) {
        v = InRegister(lanes.ToKey(d, LoadSome(d, none, loaded, p)));
        before = InRegister(lanes.ToKey(d, LoadSome(d, none, has_left, p - dilation)));
        after = InRegister(lanes.ToKey(d, LoadSome(d, none, has_right, p + dilation)));
      } else {
        if (two) {
          v = JoinHalves(d, hn::MaskedLoad(half, dh, p), hn::MaskedLoad(half, dh, p + x_plane));
        } else {
          v = hn::MaskedLoad(loaded, d, p);
        }
        v = ToTapKey<kTaps>(lanes, d, v);
        before = LookupLanes(d, v, left);
        after = LookupLanes(d, v, right);
      }
      best = hn::Max(v, before);
      if constexpr (kTaps) {
        tap = hn::IfThenElse(TapsWhere(d, hn::Gt(v, before)), one, first);
        tap = hn::IfThenElse(TapsWhere(d, hn::Gt(after, best)), two_taps, tap);
      }
      best = hn::Max(best, after);
    };
    for (int64_t o = begin; o < HWY_MIN(begin + dilation, stop); ++o) {
      const int64_t r = o + in.row;
      const T* x = plane_x + from + r * in.x_pitch;
      T* y = plane_y + to + o * in.y_pitch;
      uint8_t* taps = plane_taps + (kTaps ? to + o * in.taps_pitch : 0);
      V best0, best1, best2;
      VT tap0 = one, tap1 = one, tap2 = one;
      row(x, best1, tap1);
      best0 = best1;
      if constexpr (kTaps) tap0 = hn::Add(tap1, row1);
      if (r >= dilation) row(x - x_step, best0, tap0);
      for (int64_t rows = in.last - r, outputs = (stop - 1 - o) / dilation; outputs >= 0; --outputs) {
        best2 = best1;
        if (HWY_LIKELY((rows -= dilation) >= 0)) row(x += x_step, best2, tap2);
        V best = hn::Max(best0, best1);
        if constexpr (kTaps) {
          VT tap = hn::IfThenElse(TapsWhere(d, hn::Gt(best1, best0)), hn::Add(tap1, row1), tap0);
          tap = hn::IfThenElse(TapsWhere(d, hn::Gt(best2, best)), hn::Add(tap2, row2), tap);
          if (two) {
            hn::BlendedStore(hn::LowerHalf(dh8, tap), TapsWhere(dh, half_stored), dh8, taps);
            hn::BlendedStore(UpperLanes(dh8, tap), TapsWhere(dh, half_stored), dh8, taps + in.taps_plane);
          } else {
            hn::BlendedStore(tap, TapsWhere(d, stored), d8, taps);
          }
          taps += taps_step;
          tap0 = tap1, tap1 = tap2;
        }
        best = lanes.FromKey(d, hn::Max(best, best2));
        if (two) {
          hn::BlendedStore(hn::LowerHalf(dh, best), half_stored, dh, y);
          hn::BlendedStore(UpperLanes(dh, best), half_stored, dh, y + y_plane);
        } else {
          hn::BlendedStore(best, stored, d, y);
        }
        y += y_step;
        best0 = best1, best1 = best2;
      }
    }
    if (++s == in.strips) {
      const int64_t done = two ? 2 : 1;
      s = 0;
      planes -= done;
      plane_x += done * x_plane;
      plane_y += done * y_plane;
      if (kTaps) plane_taps += done * in.taps_plane;
    }
  }
}

// True if done.
template <class L>
[[gnu::cold]] HWY_NOINLINE bool ForwardRows(const ForwardCall& call, L lanes, ForwardKernel separable) {
  using T = typename L::Element;
  constexpr bool kBytes = sizeof(T) == 1;
  constexpr int64_t n = 64 / sizeof(T);
  const Geometry& g = *call.geometry;
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  const bool with_taps = call.taps.base != nullptr;
  // The first middle column or row, and the end of all.
  const int64_t dilation = w.dilation, column = dilation - w.pad_before, row = dilation - h.pad_before;
  const int64_t end = column + w.output, width = w.input;
  const auto fits = [=](const Axis& a, int64_t first) {
    return a.kernel == 3 && a.stride == 1 && a.dilation == dilation && first >= 0 && first + a.output <= a.input;
  };
  if (g.axis[kDepth].kernel != 1 || (!kBytes && dilation > n / 4) || !fits(h, row) || !fits(w, column)) return false;
  const bool two = !kBytes && width <= n / 2;
  const int64_t halo = kBytes ? 0 : dilation;
  int64_t strip = n - 2 * halo, strips = 1;
  // Strips between are alike: all columns under them have both neighbours.
  while (kBytes || width > n) {
    strips = (w.output + strip - 1) / strip;
    if (strips <= 2 || (column + strip >= dilation && column + (strips - 1) * strip + dilation <= width)) break;
    if (--strip < n / 4) return false;
  }
  // Few idle lanes beat one flat array (10x10 would take 1.2 to 1.4 times as long, 17x17 1.1 to 1.2), and long lines
  // only in the caches (224x224, 12.8 MB: 1.7 times, with indices 1.2).
  const int64_t percent = two ? 80 : with_taps ? 60 : 70;
  if (column == 0 && 100 * width < percent * (two ? n / 2 : strips * n)) return false;
  if (strips > 1 && PrefetchPays(g, sizeof(T))) return false;
  if (kBytes && w.output < 10) return false;  // six outputs would take 1.5 times as long as separable's
  RowTables tables[3] = {};
  const RowsCall in = {StripPlanes(call),   tables,        strips, strip, dilation, row, column,
                       kBytes ? column : 0, column - halo, two};
  for (int64_t kind = 0; kind < 3; ++kind) {
    RowTables& to = tables[kind];
    const int64_t s = StripOfKind(kind, strips);
    if (s < 0) continue;
    const int64_t first = column + s * strip;
    const int64_t from = s == 0 ? in.first : first - halo, stop = strips == 1 ? end : HWY_MIN(first + strip, end);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t lane = two ? i % (n / 2) : i, at = from + lane;
      const uint64_t bit = uint64_t{1} << i;
      // Lanes are looked up in the vector, bytes loaded from the line.
      const bool has_left = kBytes ? at >= dilation && at < stop : lane >= dilation;
      const bool has_right = at + dilation < width && (kBytes ? at < stop : lane + dilation < n);
      if (has_left) to.has_left |= bit;
      if (has_right) to.has_right |= bit;
      if (!kBytes) {
        to.left[i] = static_cast<int16_t>(has_left ? i - dilation : i);
        to.right[i] = static_cast<int16_t>(has_right ? i + dilation : i);
      }
      if (i != lane) continue;
      if (at < (kBytes ? stop : width)) to.loaded |= bit;
      if (at >= first && at < stop) to.stored |= bit;
    }
  }
  const auto pool = with_taps ? &PoolRows<L, true> : &PoolRows<L, false>;
  for (SliceWalk walk(call, separable); walk.Next();) {
    uint8_t* const taps = with_taps ? static_cast<uint8_t*>(call.taps.base) + walk.taps : nullptr;
    pool(lanes, in, walk.planes, walk.oh, walk.stop, static_cast<const T*>(call.x) + walk.x,
         static_cast<T*>(call.y) + walk.y, taps);
  }
  return true;
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_ROWS_INL_H_
