// SPDX-License-Identifier: Apache-2.0
// Windows of 2x2 and 3x3 at stride 2 over lines of 16-bit lanes, channels-first, with AVX-512: down strips of a plane
// that are two vectors of columns wide, or down two planes of lines that one vector holds. Rows that two lines of
// outputs share stay in registers. Loads and stores are masked, so that nothing is copied and lines may lie apart.
// (strided.cc's code, tables and limits for each step: 3x3 on 112x112 takes 1.4 times as long, on 56x56 1.6, on 28x28
// and 14x14 1.8. Rows clamped by a maximum and a product each: 1.2. Strips of 16 lines at a time, for the order of
// memory: 1.16, of 4 lines 1.4. Keys by shifts of the sign in place of masks: 1.06, with indices 0.97 to 1.1. A loop
// over slices for 2x2x2: 1.1 to 1.6, and 2x2 1.35, for g++ runs out of registers for addresses. Rows of 2x2 fetched
// ahead: 224x224 1.45, with indices 1.13.)
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_HALVES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_HALVES_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_HALVES_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_HALVES_INL_H_
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
constexpr bool kHasHalfStrips =
    std::is_same<L, HalfLanes>::value&& kHasLookup<int16_t>&& kWholeCacheLine<hn::ScalableTag<int16_t>>;

// Tables for one kind of strip, see StripKind.
struct HalfStripTables {
  static constexpr int64_t kLanes = 32;
  int16_t limit[2 * kLanes];   // of each column's key: that of NaN, or the lowest for columns that are none
  uint8_t column[2 * kLanes];  // names of the first and of the second tap
  int64_t outputs;
};

struct HalfStripsCall : StripPlanes {
  const HalfStripTables* tables;
  const int16_t* taps;    // vectors of the lanes of two that are first, second and third taps
  int64_t strips, strip;  // strips per line; outputs from one strip to the next
  bool far;               // see PrefetchPays
  bool two;  // lines so short that the second vector, and the second half of a vector of outputs, is another plane's
};

// Pools lines of some planes, of which `first` is the first row of the first window; x is where its first column would
// be in row 0.
template <class L, int kK, bool kTaps>
HWY_NOINLINE void PoolHalfStrips(L lanes, const HalfStripsCall& in, int64_t planes, int64_t first, int64_t lines,
                                 const int16_t* plane_x, int16_t* plane_y, uint8_t* plane_taps) {
  const hn::ScalableTag<typename L::Lane> d;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  using V = hn::Vec<decltype(d)>;
  using VT = decltype(SetTap(d, 0));
  constexpr int64_t n = HalfStripTables::kLanes;
  const V first_lanes = hn::LoadU(d, in.taps), second_lanes = hn::LoadU(d, in.taps + n),
          third_lanes = hn::LoadU(d, in.taps + 2 * n);
  const int64_t strips = in.strips, x_pitch = in.x_pitch, last = in.last;
  const bool two = in.two;
  const int64_t to_b = two ? in.x_plane : n, y_to_second = in.y_plane - n / 2, taps_to_second = in.taps_plane - n / 2;
  for (int64_t s = 0; planes > 0;) {
    const int16_t* const x = plane_x + s * 2 * in.strip;
    const int64_t to_strip = s * in.strip;
    const HalfStripTables& at = in.tables[StripKind(s, strips)];
    const V limit_a = hn::LoadU(d, at.limit), limit_b = hn::LoadU(d, at.limit + n);
    const V none = hn::Set(d, hwy::LimitsMin<int16_t>());
    const auto is_a = hn::Ne(limit_a, none);
    auto is_b = hn::Ne(limit_b, none);
    const auto stored = hn::FirstN(d, static_cast<size_t>(at.outputs));
    auto stored_second = hn::AndNot(hn::FirstN(d, n / 2), hn::FirstN(d, static_cast<size_t>(n / 2 + at.outputs)));
    if (two && planes == 1) is_b = stored_second = hn::Lt(none, none);
    const VT name0 = hn::LoadU(d8, at.column), name1 = hn::LoadU(d8, at.column + n), name2 = SetTap(d, kK - 1);
    const int64_t prefetched = in.far && s == 0 ? 2 * x_pitch : 0;
    const auto row_at = [&](int64_t r) HWY_ATTR { return x + HWY_MIN(HWY_MAX(r, 0), last) * x_pitch; };
    const auto load = [=](const int16_t* p, V& a, V& b) PEAKPOOL_INLINED {
      a = InRegister(lanes.ToMaximumKey(d, InRegister(hn::MaskedLoad(is_a, d, p))));
      b = InRegister(lanes.ToMaximumKey(d, InRegister(hn::MaskedLoad(is_b, d, p + to_b))));
    };
    // The greatest of each window's columns, the first and the second of them.
    const auto columns = [=](V a, V b, V& best, V& even, V& odd) PEAKPOOL_INLINED {
      a = hn::Min(a, limit_a);
      b = hn::Min(b, limit_b);
      even = LookupTwo(d, a, b, first_lanes);
      odd = LookupTwo(d, a, b, second_lanes);
      best = hn::Max(even, odd);
      if constexpr (kK == 3) best = hn::Max(best, LookupTwo(d, a, b, third_lanes));
    };
    int16_t* to = plane_y + to_strip;
    uint8_t* taps_to = plane_taps + (kTaps ? to_strip : 0);
    int64_t r = first;
    const int16_t* row = x + first * x_pitch;
    V a0 = none, b0 = none, best0 = none, even0 = none, odd0 = none;
    if constexpr (kK == 3) {
      load(row_at(r), a0, b0);
      if constexpr (kTaps) columns(a0, b0, best0, even0, odd0);
    }
    for (int64_t line = 0; line < lines; ++line, r += 2, to += in.y_pitch) {
      V best;
      V a1, b1, a2, b2;
      const int16_t *x1 = row + (kK - 2) * x_pitch, *x2 = row + (kK - 1) * x_pitch;
      if (HWY_UNLIKELY(r < 0 || r + kK - 1 > last)) {
        x1 = row_at(r + kK - 2);
        x2 = row_at(r + kK - 1);
      }
      if constexpr (kK == 3) PrefetchRowAhead(row, prefetched);
      row += 2 * x_pitch;
      load(x1, a1, b1);
      load(x2, a2, b2);
      if constexpr (!kTaps) {
        a1 = hn::Max(a1, a2);
        b1 = hn::Max(b1, b2);
        if constexpr (kK == 3) {
          a1 = hn::Max(a1, a0);
          b1 = hn::Max(b1, b0);
          a0 = a2;
          b0 = b2;
        }
        V even, odd;
        columns(a1, b1, best, even, odd);
      } else {
        V best1, even1, odd1, best2, even2, odd2;
        columns(a1, b1, best1, even1, odd1);
        columns(a2, b2, best2, even2, odd2);
        // A row clamped at the top is named by the first one.
        VT tap = hn::Zero(d8);
        if (HWY_UNLIKELY(r < 0)) tap = SetTap(d, static_cast<int>(-r * kK));
        V even, odd;
        const auto fold = [&](V v, V v_even, V v_odd, int number) PEAKPOOL_INLINED {
          const auto wins = hn::Gt(v, best);
          best = hn::Max(best, v);
          even = hn::IfThenElse(wins, v_even, even);
          if constexpr (kK == 3) odd = hn::IfThenElse(wins, v_odd, odd);
          tap = hn::IfThenElse(TapsWhere(d, wins), SetTap(d, number), tap);
        };
        if constexpr (kK == 3) {
          best = best0, even = even0, odd = odd0;
          fold(best1, even1, odd1, kK);
          fold(best2, even2, odd2, 2 * kK);
          best0 = best2, even0 = even2, odd0 = odd2;
        } else {
          best = best1, even = even1, odd = odd1;
          fold(best2, even2, odd2, kK);
        }
        VT column = name2;
        if constexpr (kK == 3) column = hn::IfThenElse(TapsWhere(d, hn::Eq(odd, best)), name1, column);
        column = hn::IfThenElse(TapsWhere(d, hn::Eq(even, best)), name0, column);
        tap = hn::Add(tap, column);
        hn::BlendedStore(tap, TapsWhere(d, stored), d8, taps_to);
        if (two) hn::BlendedStore(tap, TapsWhere(d, stored_second), d8, taps_to + taps_to_second);
        taps_to += in.taps_pitch;
      }
      best = lanes.FromKey(d, best);
      hn::BlendedStore(best, stored, d, to);
      if (two) hn::BlendedStore(best, stored_second, d, to + y_to_second);
    }
    if (++s == strips) {
      const int64_t done = two ? 2 : 1;
      s = 0;
      planes -= done;
      plane_x += done * in.x_plane;
      plane_y += done * in.y_plane;
      if (kTaps) plane_taps += done * in.taps_plane;
    }
  }
}

// True if done.
template <class L>
[[gnu::cold]] HWY_NOINLINE bool ForwardHalfStrips(const ForwardCall& call, L lanes, ForwardKernel separable) {
  constexpr int64_t n = HalfStripTables::kLanes;
  const Geometry& g = *call.geometry;
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  const bool with_taps = call.taps.base != nullptr;
  // Beyond the caches, long lines are read one after the other (2x2 on 256x224x224: 0.85 of the time).
  const bool far = PrefetchPays(g, sizeof(int16_t), 8);
  if (g.axis[kDepth].kernel != 1 || (far && w.output > (w.kernel == 3 ? 2 * (n - 1) : n))) return false;
  const bool two = 2 * (w.output + w.kernel - 2) <= n;
  HalfStripTables tables[3];
  const int64_t strip = w.kernel == 3 ? n - 1 : n;
  int16_t lane_of_tap[3 * n];
  for (int64_t i = 0; i < 3 * n; ++i) lane_of_tap[i] = static_cast<int16_t>(HWY_MIN(i % n * 2 + i / n, 2 * n - 1));
  // 3x3 on 112x112, 1.6 MB: with indices 0.9 of the time, without 1.06.
  const bool prefetches = far || (with_taps && PrefetchPays(g, sizeof(int16_t), 1));
  const int64_t strips = (w.output + strip - 1) / strip;
  const HalfStripsCall in = {StripPlanes(call), tables, lane_of_tap, strips, strip, prefetches, two};
  for (int64_t kind = 0; kind < 3; ++kind) {
    HalfStripTables& to = tables[kind];
    const int64_t s = StripOfKind(kind, strips);
    if (s < 0) continue;
    const int64_t first = s * strip;
    to.outputs = HWY_MIN(strip, w.output - first);
    const int64_t begin = w.Begin(first), columns = 2 * to.outputs + w.kernel - 2;
    for (int64_t i = 0; i < 2 * n; ++i) {
      const int64_t lane = two ? i % n : i, column = begin + lane;
      to.limit[i] = column >= 0 && column < w.input && lane < columns ? lanes.nan : hwy::LimitsMin<int16_t>();
      // A column left of the row only wins where all are lowest: it is named by the first one.
      to.column[i] = static_cast<uint8_t>(HWY_MAX(i / n, -begin - 2 * (two ? i % (n / 2) : i % n)));
    }
  }
  auto pool = w.kernel == 3 ? &PoolHalfStrips<L, 3, false> : &PoolHalfStrips<L, 2, false>;
  if (with_taps) pool = w.kernel == 3 ? &PoolHalfStrips<L, 3, true> : &PoolHalfStrips<L, 2, true>;
  for (SliceWalk walk(call, separable); walk.Next();) {
    const int16_t* const x = static_cast<const int16_t*>(call.x) + walk.x - w.pad_before;
    int16_t* const y = static_cast<int16_t*>(call.y) + walk.y + walk.oh * in.y_pitch;
    uint8_t* const taps =
        with_taps ? static_cast<uint8_t*>(call.taps.base) + walk.taps + walk.oh * in.taps_pitch : nullptr;
    pool(lanes, in, walk.planes, h.Begin(walk.oh), walk.stop - walk.oh, x, y, taps);
  }
  return true;
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_HALVES_INL_H_
