// SPDX-License-Identifier: Apache-2.0
// 5x5 at stride 1 over channels-first f32, AVX-512: strips as wide as a vector down the planes. Windows along the width
// look up lanes, and stay in registers for those along the height, two of which share four rows. (Rows by way of
// scratch, one axis after the other: 1.6 times as long.)
//
// Rows may be of any width and any distance: masks keep loads and stores within them.
#if defined(PEAKPOOL_SRC_KERNELS_WIDE_STRIPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WIDE_STRIPS_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WIDE_STRIPS_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WIDE_STRIPS_INL_H_
#endif

#include <cstdint>
#include <type_traits>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/slice_walk.h"
#include "src/kernels/wide_columns-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace wide {

// A strip of some planes: `width` columns of x, for which outputs from `skip` on are stored up to `end`. All distances
// are in elements or taps.
template <class T>
struct Strip {
  const T* x;     // row 0
  T* y;           // the first output line
  uint8_t* taps;  // as y
  int64_t x_row, y_row, taps_row, x_plane, y_plane, taps_plane, planes;
  int64_t width, skip, end;
  int64_t top, height, outputs;  // where the first line's windows begin; rows of x; output lines
  int64_t ahead;                 // from a row to what is prefetched with it
};

// Windows of some of a strip's rows; with taps, which count on from row to row.
template <bool kTaps, class D>
struct StripRow {
  hn::Vec<D> v;
  hn::Vec<hn::RebindToSigned<D>> tap;

  HWY_INLINE void Fold(const StripRow& later) {
    if constexpr (kTaps) {
      FoldLater(D(), later.v, later.tap, v, tap);
    } else {
      v = hn::Max(v, later.v);
    }
  }
};

// True if a NaN was seen.
template <class L, bool kTaps, class T = typename L::Element>
[[gnu::hot]] HWY_NOINLINE bool PoolStrip(L lanes, const Strip<T>& s) {
  const hn::ScalableTag<T> d;
  const hn::RebindToSigned<decltype(d)> di;
  using Row = StripRow<kTaps, decltype(d)>;
  using V = hn::Vec<decltype(d)>;
  using VI = hn::Vec<decltype(di)>;
  const VI column = hn::Iota(di, 0), last = hn::Set(di, static_cast<int32_t>(s.width - 1));
  const VI left2 = hn::Max(hn::Sub(column, hn::Set(di, 2)), hn::Zero(di));
  const VI right1 = hn::Min(hn::Add(column, hn::Set(di, 1)), last);
  const VI right2 = hn::Min(hn::Add(column, hn::Set(di, 2)), last);
  const auto inside = hn::FirstN(d, static_cast<size_t>(s.width));
  const size_t skip = static_cast<size_t>(s.skip), end = static_cast<size_t>(s.end);
  const auto stored = hn::AndNot(hn::FirstN(d, skip), hn::FirstN(d, end));
  const VI five = hn::Set(di, 5);
  const int64_t first = HWY_MAX(s.top, 0), x_row = s.x_row, y_row = s.y_row, taps_row = s.taps_row;
  const int64_t bottom = s.height - 1, outputs = s.outputs;
  const VI first_tap = hn::Sub(hn::Set(di, static_cast<int32_t>(first * 5 + 2)), column);
  const VI first_shift = hn::Set(di, static_cast<int32_t>(s.top * 5));
  V seen0 = NoSquares(d), seen1 = seen0;
  const int64_t ahead = s.ahead;
  for (int64_t p = 0; p < s.planes; ++p) {
    const T* HWY_RESTRICT x = s.x + p * s.x_plane + first * x_row;
    T* HWY_RESTRICT y = s.y + p * s.y_plane;
    uint8_t* HWY_RESTRICT taps = kTaps ? s.taps + p * s.taps_plane : nullptr;
    VI row_tap = first_tap, shift = first_shift;
    const auto grow = [&](Row& row, V& seen) PEAKPOOL_INLINED {
      const V v = InRegister(hn::MaskedLoad(inside, d, x));
      hwy::Prefetch(x + ahead);
      x += x_row;
      NoteSquare<L>(v, seen);
      Row pair = {v, column};
      pair.Fold({LookupLanes(d, v, right1), right1});
      row = {LookupLanes(d, pair.v, left2), column};
      if constexpr (kTaps) row.tap = LookupLanes(di, pair.tap, left2);
      row.Fold(pair);
      row.Fold({LookupLanes(d, v, right2), right2});
      if constexpr (kTaps) {
        row.tap = hn::Add(row.tap, row_tap);
        row_tap = hn::Add(row_tap, five);
      }
    };
    const auto store = [&](const Row& row) PEAKPOOL_INLINED {
      hn::BlendedStore(lanes.FromKey(d, row.v), stored, d, y);
      y += y_row;
      if constexpr (kTaps) {
        StoreSomeBytes(di, hn::Sub(row.tap, shift), hn::RebindMask(di, stored), taps);
        shift = hn::Add(shift, five);
        taps += taps_row;
      }
    };
    // Rows beyond the plane repeat its first or last one, which changes no window.
    int64_t position = s.top;
    const auto next = [&](const Row& last_row, Row& row, V& seen) PEAKPOOL_INLINED {
      row = last_row;
      if (HWY_LIKELY(++position > first && position <= bottom)) grow(row, seen);
    };
    Row before, pair, here, after, below, lowest;
    grow(before, seen0);
    next(before, pair, seen1), next(pair, here, seen0), next(here, after, seen1);
    pair.Fold(here);
    below = lowest = after;
    // With taps rows are loaded for the next turn, lest its windows wait: 0.87 of the time, without 1.1 to 1.2.
    for (int64_t left = kTaps ? outputs + 2 : outputs; left > 0; left -= 2) {
      Row next_below, next_lowest;
      next(lowest, next_below, seen0), next(next_below, next_lowest, seen1);
      if (!kTaps) below = next_below, lowest = next_lowest;
      if (!kTaps || HWY_LIKELY(left <= outputs)) {
        Row shared = pair, lower = after;
        lower.Fold(below);
        shared.Fold(lower);
        before.Fold(shared);
        store(before);
        if (left == 1) break;
        shared.Fold(lowest);
        store(shared);
        before = here, here = below, pair = lower, after = lowest;
      }
      if (kTaps) below = next_below, lowest = next_lowest;
    }
  }
  return SawNan<L>(d, seen0, seen1, seen0, seen1);
}

template <class L, class T = typename L::Element>
struct Strips {
  static constexpr bool kHas = HWY_TARGET <= HWY_AVX3 && std::is_same<L, NativeLanes<float>>::value;
  static constexpr int64_t kRoom = 6 * 1024;  // elements of x at a time, where strips share cache lines

  const ForwardCall& call;
  const Geometry& g;

  bool Takes() const {
    const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
    if (!kHas || h.kernel != 5 || w.kernel != 5 || h.stride != 1 || w.stride != 1 || w.pad_before != 2) return false;
    if (w.output > w.input || (call.taps.base != nullptr && call.taps.bytes != 1)) return false;
    // Rows in few sets of the L1 cache: 512x512 1.7 times as long as LongRows, 1024 wide with indices 1.3 times.
    return g.input.axis[kHeight] % (call.taps.base == nullptr ? 512 : 1024) != 0;
  }

  // Output lines [begin, end) of as many planes. True if a NaN was seen.
  [[gnu::cold]] HWY_NOINLINE bool Pool(L lanes, const T* x, T* y, uint8_t* taps, int64_t begin, int64_t end,
                                       int64_t planes) const {
    const int64_t n = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<T>()));
    const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
    Strip<T> s = {};
    s.x_row = g.input.axis[kHeight], s.y_row = g.output.axis[kHeight], s.taps_row = call.taps.strides.axis[kHeight];
    s.x_plane = g.input.channel, s.y_plane = g.output.channel, s.taps_plane = call.taps.strides.channel;
    s.planes = planes;
    s.width = HWY_MIN(w.input, n);
    s.height = h.input;
    const int64_t most = w.input <= n ? end - begin : HWY_MAX(kRoom / w.input, 16);
    // Three rows of 13 ahead (0.9 of the time), but from memory the next lines of all strips (0.8 of that).
    s.ahead = w.input > n && PrefetchPays(g, sizeof(T), 12) ? most * w.input : 40;
    bool nan = false;
    for (int64_t oh = begin; oh < end; oh += most) {
      s.outputs = HWY_MIN(most, end - oh);
      s.top = h.Begin(oh);
      for (int64_t left = 0, done = 0; done < w.output; left = HWY_MIN(left + n - 4, w.input - n)) {
        s.skip = done - left;
        done = left + n < w.input ? HWY_MIN(left + n - 2, w.output) : w.output;
        s.end = done - left;
        s.x = x + left;
        s.y = y + oh * s.y_row + left;
        s.taps = taps == nullptr ? nullptr : taps + oh * s.taps_row + left;
        nan |= taps == nullptr ? PoolStrip<L, false>(lanes, s) : PoolStrip<L, true>(lanes, s);
      }
    }
    return nan;
  }
  // Whole planes at a time.
  int64_t Most() const { return HWY_MAX(kRoom / (g.axis[kHeight].input * g.axis[kWidth].input), 1); }
};

}  // namespace wide

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WIDE_STRIPS_INL_H_
