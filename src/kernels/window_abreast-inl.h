// SPDX-License-Identifier: Apache-2.0
// 3x3 at stride 2 over f32 channels-first with AVX-512: down a plane, all strips of a line side by side, which are one
// to four pairs of vectors of columns. What two lines of outputs share stays in registers. The ends of lines are
// masked, so that nothing is copied and lines may lie apart. (With tap numbers, packed lines, which take no padding,
// take 1.2 times as long on 55x55 and twice from memory, WindowTaps3x3 1.2 to 1.4 on 112x112, strided.cc's 1.4 to 2
// with padding. One strip after the other: 1.05, beyond L2 1.2 to 1.5. Every load masked: 1.05 to 1.2. Columns shuffled
// together in mixed order: 1. Values in two lines at once from clamped columns, the ends of a run copied: 0.92 for
// lines of one strip, else 1 to 1.06.)
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_ABREAST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_ABREAST_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_ABREAST_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_ABREAST_INL_H_
#endif

#include <type_traits>

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
constexpr bool kHasAbreast = std::is_same<typename L::Lane, float>::value&& kHasAvx512;

struct AbreastCall : StripPlanes {
  static constexpr int64_t kLanes = 16, kStrip = kLanes - 1;  // kStrip outputs from strip to strip
  explicit AbreastCall(const ForwardCall& call) : StripPlanes(call) {}
  int32_t lanes[3 * kLanes];  // of a strip's two vectors that are first, second and third taps
  uint8_t names[2 * kLanes];  // of the first strip's first and second taps
  int64_t left;               // columns left of the line, of the first strip
  int64_t right;              // columns of the last strip's second vector
  int64_t stored;             // outputs of the last strip
  int64_t x_last, y_last;     // where that begins
  int64_t prefetched;         // elements for each line of outputs
};

// Of the columns of a row that a window sees: the greatest, the first and the second. Of rows without taps, a strip's
// two vectors are `first` and `second`.
template <class V>
struct AbreastRow {
  V best, first, second;
};

// Pools lines of some planes, of which `begin` is the first row of the first window. True if a NaN was seen.
template <class L, int kStrips, bool kTaps>
HWY_NOINLINE bool PoolAbreast(L lanes, const AbreastCall& call, int64_t planes, int64_t begin, int64_t lines,
                              const typename L::Element* plane_x, typename L::Element* plane_y, uint8_t* plane_taps) {
  using T = typename L::Element;
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  using Row = AbreastRow<V>;
  const D d;
  const hn::RebindToSigned<D> di;
  const hn::Rebind<uint8_t, D> d8;
  using VT = decltype(SetTap(d, 0));
  constexpr int64_t n = AbreastCall::kLanes;
  const auto i0 = hn::LoadU(di, call.lanes), i1 = hn::LoadU(di, call.lanes + n), i2 = hn::LoadU(di, call.lanes + 2 * n);
  const VT name0 = hn::LoadU(d8, call.names), name1 = hn::LoadU(d8, call.names + n), zero = hn::Zero(d8),
           one = SetTap(d, 1), two = SetTap(d, 2), row1 = SetTap(d, 3), row2 = SetTap(d, 6);
  const auto first_n = [d](int64_t count) HWY_ATTR { return hn::FirstN(d, static_cast<size_t>(HWY_MAX(count, 0))); };
  const auto left = hn::Not(first_n(call.left)), right = first_n(call.right), stored = first_n(call.stored);
  const V none = hn::Neg(hn::Inf(d));
  const int64_t x_pitch = call.x_pitch, y_pitch = call.y_pitch, taps_pitch = kTaps ? call.taps_pitch : 0;
  const int64_t x_plane = call.x_plane, y_plane = call.y_plane, taps_plane = kTaps ? call.taps_plane : 0;
  const int64_t last = call.last;
  const int64_t x_last = call.x_last, y_last = call.y_last, prefetched = call.prefetched;
  auto ordered = hn::FirstN(d, hn::Lanes(d));
  for (; planes > 0; --planes, plane_x += x_plane, plane_y += y_plane, plane_taps += taps_plane) {
    Row shared[kStrips];
    const auto row_at = [&](int64_t r) PEAKPOOL_INLINED { return plane_x + HWY_MIN(HWY_MAX(r, 0), last) * x_pitch; };
    const auto load = [&](auto strip, const T* p, V& lo, V& hi) PEAKPOOL_INLINED {
      constexpr int s = decltype(strip)::value;
      p += s == kStrips - 1 ? x_last : s * 2 * AbreastCall::kStrip;
      lo = s == 0 && kStrips > 1 ? InRegister(LoadSome(d, none, left, p)) : LoadLanes(lanes, d, p);
      hi = s == kStrips - 1 ? InRegister(LoadSome(d, none, right, p + n)) : LoadLanes(lanes, d, p + n);
    };
    const auto columns = [&](V lo, V hi, Row& row) PEAKPOOL_INLINED {
      row.first = LookupTwo(d, lo, hi, i0);
      row.second = LookupTwo(d, lo, hi, i1);
      row.best = hn::Max(hn::Max(row.first, row.second), LookupTwo(d, lo, hi, i2));
    };
    const auto begin_plane = [&](auto strip, const T* p) PEAKPOOL_INLINED {
      Row& row = shared[decltype(strip)::value];
      V lo, hi;
      load(strip, p, lo, hi);
      Note<L>(d, ordered, lo, hi);
      if constexpr (kTaps) {
        columns(lo, hi, row);
      } else {
        row.first = lo, row.second = hi;
      }
    };
    const auto line = [&](auto strip, const T* p1, const T* p2, VT tap, T* y, uint8_t* taps) PEAKPOOL_INLINED {
      constexpr int s = decltype(strip)::value;
      constexpr bool kLast = s == kStrips - 1;
      const int64_t to = kLast ? y_last : s * AbreastCall::kStrip;
      V lo1, hi1, lo2, hi2;
      load(strip, p1, lo1, hi1);
      load(strip, p2, lo2, hi2);
      Note<L>(d, ordered, lo1, hi1, lo2, hi2);
      if constexpr (!kTaps) {
        const V lo = hn::Max(hn::Max(shared[s].first, lo1), lo2), hi = hn::Max(hn::Max(shared[s].second, hi1), hi2);
        Row row;
        columns(lo, hi, row);
        const V v = lanes.FromKey(d, row.best);
        if constexpr (kLast) {
          hn::BlendedStore(v, stored, d, y + to);
        } else {
          hn::StoreU(v, d, y + to);
        }
        shared[s].first = lo2, shared[s].second = hi2;
      } else {
        Row best = shared[s], next;
        const auto fold = [&](const Row& row, VT number) PEAKPOOL_INLINED {
          const auto wins = hn::Gt(row.best, best.best);
          best.best = InRegister(hn::Max(best.best, row.best));
          best.first = InRegister(hn::IfThenElse(wins, row.first, best.first));
          best.second = InRegister(hn::IfThenElse(wins, row.second, best.second));
          tap = InRegister(hn::IfThenElse(TapsWhere(d, wins), number, tap));
        };
        columns(lo1, hi1, next);
        fold(next, row1);
        columns(lo2, hi2, next);
        fold(next, row2);
        shared[s] = next;
        VT column = hn::IfThenElse(TapsWhere(d, hn::Eq(best.second, best.best)), s == 0 ? name1 : one, two);
        column = hn::IfThenElse(TapsWhere(d, hn::Eq(best.first, best.best)), s == 0 ? name0 : zero, column);
        tap = hn::Add(tap, column);
        const V v = lanes.FromKey(d, best.best);
        if constexpr (kLast) {
          hn::BlendedStore(v, stored, d, y + to);
          hn::BlendedStore(tap, TapsWhere(d, stored), d8, taps + to);
        } else {
          hn::StoreU(v, d, y + to);
          StoreTaps(d, tap, taps + to);
        }
      }
    };
    constexpr std::integral_constant<int, 0> k0{};
    constexpr std::integral_constant<int, 1> k1{};
    constexpr std::integral_constant<int, 2> k2{};
    constexpr std::integral_constant<int, 3> k3{};
    int64_t r = begin;
    begin_plane(k0, row_at(r));
    if constexpr (kStrips > 1) begin_plane(k1, row_at(r));
    if constexpr (kStrips > 2) begin_plane(k2, row_at(r));
    if constexpr (kStrips > 3) begin_plane(k3, row_at(r));
    T* y = plane_y;
    uint8_t* taps = plane_taps;
    const T* row = plane_x + r * x_pitch;
    for (int64_t i = 0; i < lines; ++i, r += 2, row += 2 * x_pitch, y += y_pitch, taps += taps_pitch) {
      const T *p1 = row + x_pitch, *p2 = row + 2 * x_pitch;
      VT top = zero;
      if (HWY_UNLIKELY(r < 0 || r + 2 > last)) {
        p1 = row_at(r + 1);
        p2 = row_at(r + 2);
        // Rows clamped at the top are named by the first one.
        if (kTaps) top = SetTap(d, static_cast<int>(HWY_MAX(-r, 0) * 3));
      }
      PrefetchRowAhead(row, prefetched);
      line(k0, p1, p2, top, y, taps);
      if constexpr (kStrips > 1) line(k1, p1, p2, top, y, taps);
      if constexpr (kStrips > 2) line(k2, p1, p2, top, y, taps);
      if constexpr (kStrips > 3) line(k3, p1, p2, top, y, taps);
    }
  }
  return SawNan<L>(d, ordered);
}

template <class L, bool kTaps>
auto FindAbreast(int64_t strips) {
  return strips == 1   ? &PoolAbreast<L, 1, kTaps>
         : strips == 2 ? &PoolAbreast<L, 2, kTaps>
         : strips == 3 ? &PoolAbreast<L, 3, kTaps>
                       : &PoolAbreast<L, 4, kTaps>;
}

// True if done. (Longer lines in groups of strips: 224x224 in 1.4 times the time of Window3x3's.)
template <class L>
[[gnu::cold]] HWY_NOINLINE bool ForwardAbreast(const ForwardCall& call, L lanes, ForwardKernel separable) {
  using T = typename L::Element;
  constexpr int64_t n = AbreastCall::kLanes, kStrip = AbreastCall::kStrip;
  const Geometry& g = *call.geometry;
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  const bool with_taps = call.taps.base != nullptr;
  if (w.input <= n || w.output > 4 * kStrip) return false;
  // A single strip begins at the first column, which makes room for sixteen outputs.
  const bool one = w.output <= n && HWY_MIN(w.Begin(w.output - 1) + w.kernel, w.input) <= 2 * n;
  const int64_t strips = one ? 1 : (w.output + kStrip - 1) / kStrip, first = one ? 0 : -w.pad_before;
  // Strips but the last one load whole vectors.
  if (first + 2 * kStrip * (strips - 2) + 2 * n > w.input) return false;
  AbreastCall in(call);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t t = 0; t < 3; ++t) {
      const int64_t column = 2 * i + t, clamped = HWY_MIN(HWY_MAX(column - w.pad_before, 0), w.input - 1);
      in.lanes[t * n + i] = static_cast<int32_t>(HWY_MIN(one ? clamped : column, 2 * n - 1));
    }
    // A column left of the row only wins where all are lowest: it is named by the first one.
    in.names[i] = static_cast<uint8_t>(HWY_MAX(w.pad_before - 2 * i, 0));
    in.names[n + i] = static_cast<uint8_t>(HWY_MAX(w.pad_before - 2 * i, 1));
  }
  in.y_last = one ? 0 : w.output - kStrip;
  in.x_last = 2 * in.y_last;
  in.left = -first;
  in.right = HWY_MIN(w.input - (first + in.x_last + n), n);
  in.stored = one ? w.output : kStrip;
  // Two rows for each line of outputs; with tap numbers from half a megabyte on (111x111, 0.8 MB: 0.91 of the time).
  in.prefetched = PrefetchPays(g, with_taps ? 2 * sizeof(T) : sizeof(T), 1) ? 2 * in.x_pitch : 0;
  const auto pool = with_taps ? FindAbreast<L, true>(strips) : FindAbreast<L, false>(strips);
  for (SliceWalk walk(call, separable); walk.Next();) {
    for (int64_t p = 0; p < walk.planes; p += kMostPlanes) {
      const int64_t planes = HWY_MIN(walk.planes - p, kMostPlanes);
      const T* const x = static_cast<const T*>(call.x) + walk.x + p * in.x_plane + first;
      T* const y = static_cast<T*>(call.y) + walk.y + p * in.y_plane + walk.oh * in.y_pitch;
      uint8_t* taps = nullptr;
      if (with_taps) {
        taps = static_cast<uint8_t*>(call.taps.base) + walk.taps + p * in.taps_plane + walk.oh * in.taps_pitch;
      }
      const bool nan = pool(lanes, in, planes, h.Begin(walk.oh), walk.stop - walk.oh, x, y, taps);
      if (HWY_UNLIKELY(nan)) walk.Redo(p, planes);
    }
  }
  return true;
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_ABREAST_INL_H_
