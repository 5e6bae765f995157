// SPDX-License-Identifier: Apache-2.0
// Windows of 2x2 and 3x3 at stride 2 over short lines of f32, channels-first: the loop over vectors; see packed.cc for
// what it is told.
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_PACKED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_PACKED_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_PACKED_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_PACKED_INL_H_
#endif

#include <type_traits>

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/packed.h"
#include "src/kernels/slices-inl.h"
#include "src/kernels/window_abreast-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class L>
constexpr bool kHasPackedLines =
    std::is_same<typename L::Lane, float>::value&& kHasMixedLanes<hn::ScalableTag<typename L::Lane>>;

// kSingle: steps of one line each, without words (AVX2: 2x2 over 14x14 and 56x56 0.88 to 0.93 of the time, 3x3 over
// 13x13 and 55x55 0.87 to 0.93, with tap numbers 0.96).
template <class L, int kK, bool kTaps, bool kSingle>
bool PoolPacked(const PackedCode& code, const PackedPlanes& call_planes) {
  // In registers, and each step's word a step early: loads behind stores wait for these (35x35 and 55x55 with tap
  // numbers take 0.95 of the time on AVX-512, 13x13 without 0.91 on AVX2). There is room for the word behind the last.
  const PackedCode in = code;
  const PackedPlanes planes = call_planes;
  using T = typename L::Element;
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  const D d;
  const hn::RebindToSigned<D> di;
  const L lanes{};
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  using VT = decltype(SetTap(d, 0));
  const VT one = SetTap(d, 1), two = SetTap(d, 2), row1 = SetTap(d, kK), row2 = SetTap(d, 2 * kK);
  const bool joins = !kSingle && in.joins;
  const char* const all_tables = in.tables;
  const int32_t* const ramp = in.ramp;
  const auto tables_of = [&](int64_t number) PEAKPOOL_INLINED {
    return reinterpret_cast<const int32_t*>(all_tables + number * PackedTablesSize(n));
  };
  const int32_t* const full_tables = tables_of(in.full_tables);
  const auto following_full = hn::Load(di, full_tables), order_full = hn::Load(di, full_tables + n),
             following_rest = hn::Load(di, tables_of(in.rest_tables));
  const int64_t line_steps = in.line_steps, full = in.full, rest = in.rest,
                to_line = in.line - 2 * full * (line_steps - 1);
  auto ordered = NoNanYet < kWholeCacheLine<D> && (kTaps || kK == 2) > (d);
  for (int64_t p = 0; p < planes.planes; ++p) {
    const T* const x0 = planes.x + p * planes.x_step;
    T* y = planes.y + p * planes.y_step;
    uint8_t* taps = planes.taps + p * planes.taps_step;
    const uint64_t* step = in.steps;
    uint64_t next = *step;
    int64_t at = 0;
    for (int64_t s = 0; s < in.count; ++s) {
      const PackedSegment& segment = in.segments[s];
      const T *const x1 = x0 + segment.row1, *const x2 = x0 + segment.row2;
      int64_t column = 0;
      for (const uint64_t* const end = step + segment.steps; step != end;) {
        int64_t at_x, at_y, at_z, outputs;
        const int32_t* lane_tables;
        auto following = following_full, order = order_full;
        auto replaced = LanesFrom(d, static_cast<size_t>(n), ramp);
        if constexpr (kSingle) {
          ++step;
          const bool ends = ++column == line_steps;
          if (ends) column = 0, following = following_rest;
          at_x = at_z = at;
          at_y = at + n;
          outputs = ends ? rest : full;
          at += ends ? to_line : 2 * full;
          lane_tables = full_tables;
        } else {
          uint64_t word = next;
          next = *++step;
          HideValue(word);  // or it is loaded once for each of its parts
          at_x = word & 0xFFFF, at_y = (word >> 16) & 0xFFFF, at_z = (word >> 32) & 0xFFFF;
          outputs = (word >> 48) & 31;
          lane_tables = tables_of(static_cast<int64_t>(word >> 57));
          following = hn::Load(di, lane_tables), order = hn::Load(di, lane_tables + n);
          replaced = LanesFrom(d, (word >> 52) & 30, ramp);
        }
        const auto load = [&](const T* x, V& a, V& b) PEAKPOOL_INLINED {
          a = LoadLanes(lanes, d, x + at_x);
          b = LoadLanes(lanes, d, x + at_y);
          if (joins) a = InRegister(hn::IfThenElse(replaced, hn::LoadU(d, x + at_z), a));
        };
        const auto columns = [&](V a, V b, V& v, V& even, V& odd) PEAKPOOL_INLINED {
          even = InRegister(EvenMixed(d, a, b));
          odd = InRegister(OddMixed(d, a, b));
          v = hn::Max(even, odd);
          if constexpr (kK == 3) v = hn::Max(v, LookupLanes(d, even, following));
          v = InRegister(v);
        };
        // 56x56 in L3: 0.95 of the time, with tap numbers 0.84; windows that share rows, 35x35: 1.03 and 1.24.
        if constexpr (kWholeCacheLine<D> && kK == 2) {
          PrefetchPairAhead(d, x0 + at_x, x0 + at_y);
          PrefetchPairAhead(d, x1 + at_x, x1 + at_y);
        }
        V a, b, v, even, odd;
        VT tap = row1;
        if constexpr (!kTaps) {
          V a1, b1;
          load(x0, a, b);
          load(x1, a1, b1);
          if constexpr (kK == 3) {
            V a2, b2;
            load(x2, a2, b2);
            NoteInTurn<L>(d, ordered, a, b, a1, b1, a2, b2);
            a = hn::Max(a, a2);
            b = hn::Max(b, b2);
          } else {
            NoteInTurn<L>(d, ordered, a, b, a1, b1);
          }
          columns(hn::Max(a, a1), hn::Max(b, b1), v, even, odd);
          lanes.Store(d, LookupLanes(d, v, order), y);
        } else {
          // Row by row: the horizontal maxima, then the first row that has the greatest one.
          const auto row = [&](const T* x, V& of_row, V& of_even, V& of_odd) PEAKPOOL_INLINED {
            load(x, a, b);
            NoteInTurn<L>(d, ordered, a, b);
            columns(a, b, of_row, of_even, of_odd);
          };
          const auto fold = [&](V w, V w_even, V w_odd, bool first) PEAKPOOL_INLINED {
            const auto wins = hn::Gt(w, v);
            v = InRegister(hn::Max(v, w));
            even = InRegister(hn::IfThenElse(wins, w_even, even));
            if constexpr (kK == 3) odd = InRegister(hn::IfThenElse(wins, w_odd, odd));
            const auto where = TapsWhere(d, wins);
            tap = InRegister(first ? hn::IfThenElseZero(where, row1) : hn::IfThenElse(where, row2, tap));
          };
          V v1, even1, odd1;
          row(x0, v, even, odd);
          row(x1, v1, even1, odd1);
          fold(v1, even1, odd1, true);
          if constexpr (kK == 3) {
            row(x2, v1, even1, odd1);
            fold(v1, even1, odd1, false);
          }
          // The first of the row's columns that has the greatest value.
          VT column = one;
          if constexpr (kK == 3) column = hn::IfThenElse(TapsWhere(d, hn::Eq(odd, v)), one, two);
          column = hn::IfThenZeroElse(TapsWhere(d, hn::Eq(even, v)), column);
          lanes.Store(d, LookupLanes(d, v, order), y);
          const uint8_t* const bytes = reinterpret_cast<const uint8_t*>(lane_tables + 2 * n);
          StoreTapsInOrder(d, hn::Add(tap, column), order, bytes, taps);
        }
        y += outputs;
        taps += outputs;
      }
    }
  }
  return SawNan<L>(d, ordered);
}

template <class L, int kK, bool kTaps>
PackedKernels PackedKernelsOf() {
  // AVX-512: 0.93 to 1.03 of the time, for 1 KB.
  return {&PoolPacked<L, kK, kTaps, false>, &PoolPacked<L, kK, kTaps, !kHasAbreast<L>>};
}

// True if done: lines so short that leaving no lanes idle gains more than sharing rows between two lines. (AVX2, strips
// of seven outputs down a plane that keep the shared row, with tap numbers: 55x55 0.97, 35x35 1.16, 111x111 1.19.)
template <class L>
bool PoolPackedLines(const ForwardCall& call, ForwardKernel separable) {
  const hn::ScalableTag<float> d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const Axis& width = call.geometry->axis[kWidth];
  const bool taps = call.taps.base != nullptr, three = width.kernel == 3;
  // With AVX-512, window_narrow-inl.h and window_abreast-inl.h have lines of 3x3 but those that are little more than
  // one strip, with tap numbers (35x35: 0.9 of the time).
  constexpr bool kOthers = kHasAbreast<L>;
  if (kOthers && three && (!taps || width.output <= n || width.output > n + 2)) return false;
  const int64_t most = three ? (taps ? 40 : 32) : (taps ? 64 : 4 * n);
  // Writing the steps down takes as long as a few planes.
  if (call.end - call.begin < 16 * call.geometry->axis[kHeight].output) return false;
  if (width.output > most || (n >= 16 && 2 * width.output <= n)) return false;
  PackedKernels kernels = taps ? PackedKernelsOf<L, 2, true>() : PackedKernelsOf<L, 2, false>();
  if (three && taps) {
    kernels = PackedKernelsOf<L, 3, true>();
  } else if (three) {
    if constexpr (!kOthers) kernels = PackedKernelsOf<L, 3, false>();
  }
  return ForwardPacked(call, n, kernels, separable);
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_PACKED_INL_H_
