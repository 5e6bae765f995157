// SPDX-License-Identifier: Apache-2.0
// Windows of 2 or 3 columns at stride 2, channels-first: the loop over vectors; see strided.cc for what it is told.
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_STRIDED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_STRIDED_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_STRIDED_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_STRIDED_INL_H_
#endif

#include <cstring>

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/slices-inl.h"
#include "src/kernels/strided.h"
#include "src/kernels/window_halves-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Stores units of 8 bytes at p + at[i]. (Through memory, a wide store and narrow loads: 1.5 times as long.)
template <class D>
HWY_INLINE void StoreUnits(D d, hn::Vec<D> v, hn::TFromD<D>* p, const int32_t* at) {
  constexpr size_t kUnits = hn::MaxLanes(D()) * sizeof(hn::TFromD<D>) / 8;
  if constexpr (kUnits <= 1) {
    hn::StoreU(v, d, p + at[0]);
  } else {
    const hn::Half<D> dh;
    StoreUnits(dh, hn::LowerHalf(dh, v), p, at);
    StoreUnits(dh, UpperLanes(dh, v), p, at + kUnits / 2);
  }
}

template <class L, bool kTaps, bool kBlocks>
bool PoolStrided(const void* kind, const StridedCode& in, const StridedPlanes& planes) {
  using T = typename L::Element;
  using Lane = typename L::Lane;
  using D = hn::ScalableTag<Lane>;
  using DI = hn::RebindToSigned<D>;
  using TI = hn::TFromD<DI>;
  using V = hn::Vec<D>;
  using VI = hn::Vec<DI>;
  const D d;
  const DI di;
  const L lanes = *static_cast<const L*>(kind);
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), rows = in.rows, steps = in.steps, outputs = in.outputs;
  constexpr int64_t kLoads = kBlocks ? static_cast<int64_t>(hn::MaxLanes(d) * sizeof(T)) / kStridedBlock : 1;
  const int64_t units = kBlocks ? 2 * kLoads : in.units;
  const bool three = in.three;
  // In far inputs once a line. (u8 on AVX2 loses 6 % to the question.)
  constexpr bool kPrefetch = !kBlocks && (kWholeCacheLine<D> || sizeof(Lane) >= 4);
  const int64_t prefetch_step = in.far ? 1 : 0;
  const TI* const tables = static_cast<const TI*>(in.tables);
  uint8_t* const taps_copy = in.taps_copy;
  const auto load = [=](const T* x, const int32_t* at) PEAKPOOL_INLINED -> V {
    static_cast<void>(at);
    if constexpr (kBlocks) {
      return ToTapKey<kTaps>(lanes, d, LoadBlocks(d, reinterpret_cast<const Lane*>(x), at));
    } else {
      return ToTapKey<kTaps>(lanes, d, hn::LoadU(d, reinterpret_cast<const Lane*>(x)));
    }
  };
  auto ordered = hn::FirstN(d, hn::Lanes(d));
  for (int64_t p = 0; p < planes.planes; ++p) {
    const T* const plane_x = reinterpret_cast<const T*>(planes.x) + p * planes.x_step;
    T* const plane_y = reinterpret_cast<T*>(planes.y) + p * planes.y_step;
    uint8_t* const plane_taps = planes.taps + p * planes.taps_step;
    const int32_t* code = in.code;
    for (int64_t segment = 0; segment < in.segments; ++segment) {
      const int64_t times = *code++;
      const int32_t* const to = code;
      code += units;
      const TI* const number = tables + *code++;
      const int32_t* const at = code;
      code += 2 * rows * kLoads;
      // The usual rows by pointers of their own, which are read once.
      const auto pointer = [=](int64_t i) PEAKPOOL_INLINED { return kBlocks ? plane_x : plane_x + at[i]; };
      const int64_t row1 = HWY_MIN(rows - 1, 1), row2 = HWY_MIN(rows - 1, 2);
      const T *const lo0 = pointer(0), *const hi0 = pointer(1), *const lo1 = pointer(2 * row1),
                     *const hi1 = pointer(2 * row1 + 1), *const lo2 = pointer(2 * row2),
                     *const hi2 = pointer(2 * row2 + 1);
      const int64_t first = to[0], second = units == 2 ? to[1] : 0;
      int64_t line_x = 0, line_y = 0, xi = 0, yi = 0, step = 0;
      for (int64_t left = times * steps; left > 0; --left) {
        const int64_t kind = step == 0 ? 0 : step == steps - 1 ? 2 : 1;
        const TI* const table = tables + kind * StridedCode::kTables * n;
        const auto load_row = [=](int64_t r, const T* lo_at, const T* hi_at, V& lo, V& hi) PEAKPOOL_INLINED {
          if constexpr (kBlocks) {
            lo = load(plane_x + xi, at + 2 * r * kLoads);
            hi = load(plane_x + xi, at + (2 * r + 1) * kLoads);
          } else {
            lo = load(lo_at + xi, nullptr);
            hi = load(hi_at + xi, nullptr);
          }
        };
        // Vertical maxima first: fewer lanes to split, and ties are settled by the least tap of those that equal the
        // maximum. (The horizontal winner of each row first, carried: 1.3 times as long.)
        V a, b;
        load_row(0, lo0, hi0, a, b);
        VI tap_a = hn::Zero(di), tap_b = tap_a;
        if constexpr (kTaps) {
          tap_a = hn::Load(di, number);
          tap_b = hn::Load(di, number + n);
        }
        const auto fold_row = [&](int64_t r, V lo, V hi) PEAKPOOL_INLINED {
          if constexpr (kTaps) {
            Fold(d, lo, hn::Load(di, number + 2 * r * n), a, tap_a);
            Fold(d, hi, hn::Load(di, number + (2 * r + 1) * n), b, tap_b);
          } else {
            a = hn::Max(a, lo);
            b = hn::Max(b, hi);
          }
        };
        V lo, hi;
        if (HWY_LIKELY(rows == 3)) {
          V last_lo, last_hi;
          load_row(1, lo1, hi1, lo, hi);
          load_row(2, lo2, hi2, last_lo, last_hi);
          Note<L>(d, ordered, a, b, lo, hi, last_lo, last_hi);
          fold_row(1, lo, hi);
          fold_row(2, last_lo, last_hi);
        } else if (HWY_LIKELY(rows == 2)) {
          load_row(1, lo1, hi1, lo, hi);
          Note<L>(d, ordered, a, b, lo, hi);
          fold_row(1, lo, hi);
        } else {
          Note<L>(d, ordered, a, b);
          for (int64_t r = 1; r < rows; ++r) {
            load_row(r, plane_x + at[2 * r], plane_x + at[2 * r + 1], lo, hi);
            Note<L>(d, ordered, lo, hi);
            fold_row(r, lo, hi);
          }
        }
        V even = EvenLanes(d, a, b), odd = OddLanes(d, a, b);
        if (in.limited[kind]) {
          even = hn::Min(even, hn::BitCast(d, hn::Load(di, table)));
          odd = hn::Min(odd, hn::BitCast(d, hn::Load(di, table + n)));
        }
        V best = hn::Max(even, odd), third = even;
        if (three) {
          third = SlideDown1(d, even, even);
          best = hn::Max(best, third);
        }
        VI tap = hn::Set(di, hwy::LimitsMax<TI>());
        if constexpr (kTaps) {
          const auto least = [&](V v, VI numbered) PEAKPOOL_INLINED {
            tap = hn::IfThenElse(hn::RebindMask(di, hn::Eq(v, best)), hn::Min(tap, numbered), tap);
          };
          const VI row_even = EvenLanes(di, tap_a, tap_b), row_odd = OddLanes(di, tap_a, tap_b);
          least(even, hn::Add(row_even, hn::Load(di, table + 2 * n)));
          least(odd, hn::Add(row_odd, hn::Load(di, table + 3 * n)));
          if (three) least(third, hn::Add(SlideDown1(di, row_even, row_even), hn::Load(di, table + 4 * n)));
        }
        const V bits = lanes.FromKey(d, best);
        Lane* const y = reinterpret_cast<Lane*>(plane_y) + yi;
        uint8_t* const taps = plane_taps + yi;
        if constexpr (kBlocks) {
          StoreUnits(d, bits, y, to);
          if constexpr (kTaps) {
            constexpr int64_t kUnit = kStridedBlock / 2 / sizeof(T);
            StoreBytes(di, tap, taps_copy);
            for (int64_t u = 0; u < units; ++u) memcpy(taps + to[u], taps_copy + u * kUnit, kUnit);
          }
        } else {
          hn::StoreU(bits, d, y + first);
          if constexpr (kTaps) StoreBytes(di, tap, taps + first);
          if constexpr (hn::MaxLanes(D()) >= 4) {
            if (units == 2) {
              const hn::Half<D> dh;
              const hn::Half<DI> dih;
              hn::StoreU(UpperLanes(dh, bits), dh, y + second);
              if constexpr (kTaps) StoreBytes(dih, UpperLanes(dih, tap), taps + second);
            }
          }
        }
        ++step;
        xi += 2 * outputs;
        yi += outputs;
        if (step == steps) {
          step = 0;
          xi = line_x += in.x_advance;
          yi = line_y += in.y_advance;
        } else if (kPrefetch && HWY_UNLIKELY(step == prefetch_step)) {
          // Rows that the lines before have not loaded. (A look at in.far in every step costs lines of one step 5 %.)
          if (rows == 2) PrefetchRowAhead<4096>(lo0 + line_x, 2 * outputs * steps);
          PrefetchRowAhead<4096>(lo1 + line_x, 2 * outputs * steps);
          if (rows > 2) PrefetchRowAhead<4096>(lo2 + line_x, 2 * outputs * steps);
        }
      }
    }
  }
  return SawNan<L>(d, ordered);
}

template <class L>
bool PoolStridedLines(const ForwardCall& call, const L& lanes, ForwardKernel separable) {
  using Lane = typename L::Lane;
  const hn::ScalableTag<Lane> d;
  const bool taps = call.taps.base != nullptr;
  StridedLanes in = {&lanes,
                     static_cast<int64_t>(hn::Lanes(d)),
                     sizeof(Lane),
                     hwy::LimitsMin<hwy::MakeSigned<Lane>>(),
                     hwy::LimitsMax<hwy::MakeSigned<Lane>>(),
                     taps ? &PoolStrided<L, true, false> : &PoolStrided<L, false, false>,
                     nullptr};
  if constexpr (L::kTracksNan) {
    in.most = FloatBits<Lane>::kInf;
    in.least = in.most | hwy::LimitsMin<hwy::MakeSigned<Lane>>();
  }
  // With AVX-512, most short lines of 16 bits are window_halves-inl.h's.
  constexpr bool kBlocks = sizeof(Lane) == 1 || (sizeof(Lane) == 2 && !kHasHalfStrips<L>);
  if constexpr (kHasFixedSize && kBlocks && hn::MaxLanes(d) * sizeof(Lane) > kStridedBlock) {
    in.blocks = taps ? &PoolStrided<L, true, true> : &PoolStrided<L, false, true>;
  }
  return ForwardStrided(call, in, separable);
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_STRIDED_INL_H_
