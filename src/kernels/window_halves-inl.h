// SPDX-License-Identifier: Apache-2.0
// Windows of 2x2 and 3x3 at stride 2 over lines of 16-bit lanes, channels-first, with AVX-512: down strips of a plane
// that are two vectors of columns wide, or down two planes of lines that one vector holds. Rows that two lines of
// outputs share stay in registers. Loads and stores are masked, so that nothing is copied and lines may lie apart.
// (strided.cc's code, tables and limits for each step: 3x3 on 112x112 takes 1.4 times as long, on 56x56 1.6, on 28x28
// and 14x14 1.8. Rows clamped by a maximum and a product each: 1.2. Strips of 16 lines at a time, for the order of
// memory: 1.16, of 4 lines 1.4. Keys by shifts of the sign in place of masks: 1.06, with indices 0.97 to 1.1. A loop
// over slices for 2x2x2: 1.1 to 1.6, and 2x2 1.35, for g++ runs out of registers for addresses.)
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_HALVES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_HALVES_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_HALVES_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_HALVES_INL_H_
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
constexpr bool kHasHalfStrips =
    std::is_same<L, HalfLanes>::value&& kHasLookup<int16_t>&& kWholeCacheLine<hn::ScalableTag<int16_t>>;

// What lies at the first strip, a middle one, and the last one.
struct HalfStripTables {
  static constexpr int64_t kLanes = 32;
  int16_t limit[2 * kLanes];   // of each column's key: that of NaN, or the lowest for columns that are none
  uint8_t column[2 * kLanes];  // names of the first and of the second tap
  int64_t outputs;
};

struct HalfStripsCall {
  const HalfStripTables* tables;
  const int16_t* taps;    // vectors of the lanes of two that are first, second and third taps
  int64_t strips, strip;  // so many, so many outputs apart
  int64_t x_pitch, y_pitch, taps_pitch;
  int64_t x_plane, y_plane, taps_plane;
  int64_t last;  // the last row of a plane
  bool far;      // see IsFar
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
    const HalfStripTables& at = in.tables[s == 0 ? 0 : s + 1 < strips ? 1 : 2];
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

// The same of 3x3 at stride 1, dilated or not, whose middle columns and rows lie in the plane: those beyond it are the
// middle one once more. (Of one flat array, 14x14 with indices 0.81 of the time, without 0.85; 28x28 to 112x112 0.66 to
// 0.74. A step takes 8 cycles, of which 3 to and 2.5 from keys.)
struct HalfRowTables {
  static constexpr int64_t kLanes = HalfStripTables::kLanes;
  int16_t left[kLanes], right[kLanes];  // lanes of the first and the third column
  uint8_t first[kLanes];                // names of the first
  uint32_t loaded, stored;              // bits of lanes; the second plane's are not among them
};

struct HalfRowsCall {
  const HalfRowTables* tables;
  int64_t strips, strip, dilation;
  int64_t x_pitch, y_pitch, taps_pitch;
  int64_t x_plane, y_plane, taps_plane;
  int64_t last;
  int64_t row, column;  // the middle ones of the first output
  bool two;
};

// Pools lines [begin, stop) of some planes.
template <class L, bool kTaps>
HWY_NOINLINE void PoolHalfRows(L lanes, const HalfRowsCall& in, int64_t planes, int64_t begin, int64_t stop,
                               const int16_t* plane_x, int16_t* plane_y, uint8_t* plane_taps) {
  const hn::ScalableTag<typename L::Lane> d;
  const hn::Half<decltype(d)> dh;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  const hn::Half<decltype(d8)> dh8;
  using V = hn::Vec<decltype(d)>;
  using VT = decltype(SetTap(d, 0));
  const int64_t dilation = in.dilation, x_plane = in.x_plane, y_plane = in.y_plane;
  const int64_t x_step = dilation * in.x_pitch, y_step = dilation * in.y_pitch, taps_step = dilation * in.taps_pitch;
  const VT one = SetTap(d, 1), two_taps = SetTap(d, 2), row1 = SetTap(d, 3), row2 = SetTap(d, 6);
  for (int64_t s = 0; planes > 0;) {
    const HalfRowTables& at = in.tables[s == 0 ? 0 : s + 1 < in.strips ? 1 : 2];
    const V left = hn::LoadU(d, at.left), right = hn::LoadU(d, at.right);
    const VT first = hn::LoadU(d8, at.first);
    const auto loaded = MaskOfBits(d, at.loaded), stored = MaskOfBits(d, at.stored);
    const auto half = MaskOfBits(dh, at.loaded), half_stored = MaskOfBits(dh, at.stored);
    const bool two = in.two && planes > 1;
    const int64_t from = s == 0 ? 0 : in.column + s * in.strip - dilation;
    const auto row = [=](const int16_t* p, V& best, VT& tap) PEAKPOOL_INLINED {
      V v;
      if (two) {
        v = JoinHalves(d, hn::MaskedLoad(half, dh, p), hn::MaskedLoad(half, dh, p + x_plane));
      } else {
        v = hn::MaskedLoad(loaded, d, p);
      }
      v = ToTapKey<kTaps>(lanes, d, v);
      const V before = LookupLanes(d, v, left), after = LookupLanes(d, v, right);
      best = hn::Max(v, before);
      if constexpr (kTaps) {
        tap = hn::IfThenElse(TapsWhere(d, hn::Gt(v, before)), one, first);
        tap = hn::IfThenElse(TapsWhere(d, hn::Gt(after, best)), two_taps, tap);
      }
      best = hn::Max(best, after);
    };
    for (int64_t o = begin; o < HWY_MIN(begin + dilation, stop); ++o) {
      const int64_t r = o + in.row, to = from - in.column;
      const int16_t* x = plane_x + from + r * in.x_pitch;
      int16_t* y = plane_y + to + o * in.y_pitch;
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
[[gnu::cold]] HWY_NOINLINE bool ForwardHalfRows(const ForwardCall& call, L lanes, ForwardKernel separable) {
  constexpr int64_t n = HalfRowTables::kLanes;
  const Geometry& g = *call.geometry;
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  const bool with_taps = call.taps.base != nullptr;
  // The first middle column or row, and the end of all.
  const int64_t dilation = w.dilation, column = dilation - w.pad_before, row = dilation - h.pad_before;
  const int64_t end = column + w.output, width = w.input;
  const auto fits = [=](const Axis& a, int64_t first) {
    return a.kernel == 3 && a.stride == 1 && a.dilation == dilation && first >= 0 && first + a.output <= a.input;
  };
  if (g.axis[kDepth].kernel != 1 || dilation > n / 4 || !fits(h, row) || !fits(w, column)) return false;
  const bool two = width <= n / 2;
  const int64_t strip = n - 2 * dilation, strips = width <= n ? 1 : (w.output + strip - 1) / strip;
  // Few idle lanes beat one flat array (10x10 would take 1.2 to 1.4 times as long, 17x17 1.1 to 1.2), and long lines
  // only in the caches (224x224, 12.8 MB: 1.7 times, with indices 1.2).
  const int64_t percent = two ? 80 : with_taps ? 60 : 70;
  if (column == 0 && 100 * width < percent * (two ? n / 2 : strips * n)) return false;
  if (strips > 1 && IsFar(g, sizeof(int16_t))) return false;
  HalfRowTables tables[3] = {};
  const HalfRowsCall in = {tables,
                           strips,
                           strip,
                           dilation,
                           g.input.axis[kHeight],
                           g.output.axis[kHeight],
                           call.taps.strides.axis[kHeight],
                           g.input.channel,
                           g.output.channel,
                           call.taps.strides.channel,
                           h.input - 1,
                           row,
                           column,
                           two};
  for (int64_t kind = 0; kind < 3; ++kind) {
    HalfRowTables& to = tables[kind];
    if (strips <= (kind == 1 ? 2 : kind / 2)) continue;  // there is none
    const int64_t s = kind == 0 ? 0 : kind == 1 ? 1 : strips - 1, first = column + s * strip;
    const int64_t from = s == 0 ? 0 : first - dilation, stop = strips == 1 ? end : HWY_MIN(first + strip, end);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t lane = two ? i % (n / 2) : i, at = from + lane;
      const bool has_left = lane >= dilation, has_right = lane + dilation < n && at + dilation < width;
      to.left[i] = static_cast<int16_t>(has_left ? i - dilation : i);
      to.right[i] = static_cast<int16_t>(has_right ? i + dilation : i);
      to.first[i] = has_left ? 0 : 1;
      if (i != lane) continue;
      if (at < width) to.loaded |= 1u << i;
      if (at >= first && at < stop) to.stored |= 1u << i;
    }
  }
  const auto pool = with_taps ? &PoolHalfRows<L, true> : &PoolHalfRows<L, false>;
  for (SliceWalk walk(call, separable); walk.Next();) {
    uint8_t* const taps = with_taps ? static_cast<uint8_t*>(call.taps.base) + walk.taps : nullptr;
    pool(lanes, in, walk.planes, walk.oh, walk.stop, static_cast<const int16_t*>(call.x) + walk.x,
         static_cast<int16_t*>(call.y) + walk.y, taps);
  }
  return true;
}

// True if done.
template <class L>
[[gnu::cold]] HWY_NOINLINE bool ForwardHalfStrips(const ForwardCall& call, L lanes, ForwardKernel separable) {
  constexpr int64_t n = HalfStripTables::kLanes;
  const Geometry& g = *call.geometry;
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  const bool with_taps = call.taps.base != nullptr;
  // Beyond the caches, long lines are read one after the other (2x2 on 256x224x224: 0.85 of the time).
  const bool far = IsFar(g, sizeof(int16_t), 8);
  if (g.axis[kDepth].kernel != 1 || (far && w.output > (w.kernel == 3 ? 2 * (n - 1) : n))) return false;
  const bool two = 2 * (w.output + w.kernel - 2) <= n;
  HalfStripTables tables[3];
  const int64_t strip = w.kernel == 3 ? n - 1 : n;
  int16_t lane_of_tap[3 * n];
  for (int64_t i = 0; i < 3 * n; ++i) lane_of_tap[i] = static_cast<int16_t>(HWY_MIN(i % n * 2 + i / n, 2 * n - 1));
  const HalfStripsCall in = {tables, lane_of_tap, (w.output + strip - 1) / strip, strip, g.input.axis[kHeight],
                             g.output.axis[kHeight], call.taps.strides.axis[kHeight], g.input.channel, g.output.channel,
                             call.taps.strides.channel, h.input - 1,
                             // 3x3 on 112x112, 1.6 MB: with indices 0.9 of the time, without 1.06.
                             far || (with_taps && IsFar(g, sizeof(int16_t), 1)), two};
  for (int64_t kind = 0; kind < 3; ++kind) {
    HalfStripTables& to = tables[kind];
    if (in.strips <= (kind == 1 ? 2 : kind / 2)) continue;  // there is none
    const int64_t first = kind == 0 ? 0 : kind == 1 ? strip : (in.strips - 1) * strip;
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
