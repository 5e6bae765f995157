// SPDX-License-Identifier: Apache-2.0
// Windows wider than 3 over channels-first tensors. 5x5 of f32 goes to wide_strips-inl.h where there are AVX-512's
// masks.
//
// Planes that fit into the L1 cache lie there with padding between their rows: along the width from x to there, along
// the height from there into y. Rows of no more than a vector (AVX3: two) grow their windows by looking up lanes;
// others are one long row, whose windows grow in steps that double. (Along the height first from x, looking up lanes in
// registers, 13x13 takes 1.4 times as long on AVX3.)
//
// Where a row takes more than that, many such planes lie side by side in lanes, transposed on the way in and out.
// Larger planes go along the height first, from x into rows in the L1 cache by wide_columns-inl.h. Planes that are one
// window are reduced many at a time and transposed.
//
// Accepts every channels-first geometry without empty windows and dilation whose depth kernel is 1. Separable takes
// short rows with gaps between them or strides, and longer ones with strides and indices.
#if defined(PEAKPOOL_SRC_KERNELS_WIDE_CHANNELS_FIRST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WIDE_CHANNELS_FIRST_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WIDE_CHANNELS_FIRST_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WIDE_CHANNELS_FIRST_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/wide-inl.h"
#include "src/kernels/wide_columns-inl.h"
#include "src/kernels/wide_strips-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace wide {

// --- Rows of no more than a vector -----------------------------------------------------------------------------------

// Windows of one vector's lanes grow by looking up other lanes: first to the right, then to the left. Lanes that would
// leave the row take its last or first instead, which the window has by then.
template <class TI>
struct LaneSteps {
  const TI* tables =
      nullptr;  // of `n` lanes each: the steps, then the lanes at the stride, then where their windows begin
  int64_t steps = 0, rights = 0;  // of which to the right, which come first

  // Needs pad_before < kernel, dilation 1 and all windows beginning left of the row's end.
  [[gnu::cold]] HWY_NOINLINE void Fill(const Axis& w, int64_t n, TI* to) {
    int64_t have = 1;
    tables = to;
    steps = rights = 0;
    for (int sign = 1; sign >= -1; sign -= 2) {
      int64_t rest = HWY_MIN(sign > 0 ? w.kernel - 1 - w.pad_before : w.pad_before, w.input - 1);
      while (rest > 0) {
        const int64_t more = HWY_MIN(have, rest);
        for (int64_t i = 0; i < n; ++i) to[i] = static_cast<TI>(HWY_MIN(HWY_MAX(i + sign * more, 0), w.input - 1));
        to += n, ++steps;
        have += more, rest -= more;
      }
      if (sign > 0) rights = steps;
    }
    for (int64_t i = 0; i < n; ++i) {
      to[i] = static_cast<TI>(HWY_MIN(i * w.stride, w.input - 1));
      to[n + i] = static_cast<TI>(w.Begin(i));
    }
  }
};

// Planes in scratch between rows of padding, which neighbours share: row r of plane p is at p * plane + r * pitch.
template <class T>
struct Padded {
  T* rows;
  int64_t pitch, plane, planes, height;
};

// Windows along the width of dense planes of rows that are `width` long, of one vector or two. True if a NaN was seen.
template <class L, bool kTwo, class T = typename L::Element, class TI>
[[gnu::hot]] HWY_NOINLINE bool GrowLanes(L lanes, const LaneSteps<TI>& steps, const T* HWY_RESTRICT x, int64_t width,
                                         bool strided, const Padded<T>& to) {
  const hn::ScalableTag<typename L::Lane> d;
  const hn::RebindToSigned<decltype(d)> di;
  using V = hn::Vec<decltype(d)>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), end = steps.steps + (strided ? 1 : 0), height = to.height;
  const TI* HWY_RESTRICT tables = steps.tables;
  V seen0 = NoSquares(d), seen1 = seen0, seen2 = seen0, seen3 = seen0;
  for (int64_t p = 0; p < to.planes; ++p) {
    T* HWY_RESTRICT rows = to.rows + p * to.plane;
    int64_t r = 0;
    if constexpr (kTwo) {
      for (; r < height; r += 2, rows += 4 * n) {
        const int64_t other = HWY_MIN(r + 1, height - 1);
        const T* HWY_RESTRICT x1 = x + (other - r) * width;
        T* HWY_RESTRICT rows1 = rows + (other - r) * 2 * n;
        V v0 = lanes.Load(d, x), v1 = lanes.Load(d, x + n), v2 = lanes.Load(d, x1), v3 = lanes.Load(d, x1 + n);
        x = x1 + width;
        NoteSquare<L>(v0, seen0), NoteSquare<L>(v1, seen1), NoteSquare<L>(v2, seen2), NoteSquare<L>(v3, seen3);
        for (int64_t s = 0; s < end; ++s) {
          const auto index0 = hn::LoadU(di, tables + s * 2 * n), index1 = hn::LoadU(di, tables + s * 2 * n + n);
          const V u0 = LookupTwo(d, v0, v1, index0), u1 = LookupTwo(d, v0, v1, index1);
          const V u2 = LookupTwo(d, v2, v3, index0), u3 = LookupTwo(d, v2, v3, index1);
          if (HWY_LIKELY(s < steps.steps)) {
            v0 = hn::Max(v0, u0), v1 = hn::Max(v1, u1), v2 = hn::Max(v2, u2), v3 = hn::Max(v3, u3);
          } else {
            v0 = u0, v1 = u1, v2 = u2, v3 = u3;
          }
        }
        hn::StoreU(v0, d, rows), hn::StoreU(v1, d, rows + n);
        hn::StoreU(v2, d, rows1), hn::StoreU(v3, d, rows1 + n);
      }
      continue;
    }
    for (; r + 4 <= height; r += 4, x += 4 * width, rows += 4 * n) {
      V v0 = lanes.Load(d, x), v1 = lanes.Load(d, x + width);
      V v2 = lanes.Load(d, x + 2 * width), v3 = lanes.Load(d, x + 3 * width);
      NoteSquare<L>(v0, seen0), NoteSquare<L>(v1, seen1), NoteSquare<L>(v2, seen2), NoteSquare<L>(v3, seen3);
      int64_t s = 0;
      for (; s < steps.steps; ++s) {
        const auto index = hn::LoadU(di, tables + s * n);
        v0 = hn::Max(v0, LookupLanes(d, v0, index)), v1 = hn::Max(v1, LookupLanes(d, v1, index));
        v2 = hn::Max(v2, LookupLanes(d, v2, index)), v3 = hn::Max(v3, LookupLanes(d, v3, index));
      }
      if (s < end) {
        const auto index = hn::LoadU(di, tables + s * n);
        v0 = LookupLanes(d, v0, index), v1 = LookupLanes(d, v1, index);
        v2 = LookupLanes(d, v2, index), v3 = LookupLanes(d, v3, index);
      }
      hn::StoreU(v0, d, rows), hn::StoreU(v1, d, rows + n);
      hn::StoreU(v2, d, rows + 2 * n), hn::StoreU(v3, d, rows + 3 * n);
    }
    for (; r < height; ++r, x += width, rows += n) {
      V v = lanes.Load(d, x);
      NoteSquare<L>(v, seen0);
      for (int64_t s = 0; s < steps.steps; ++s) v = hn::Max(v, LookupLanes(d, v, hn::LoadU(di, tables + s * n)));
      if (strided) v = LookupLanes(d, v, hn::LoadU(di, tables + steps.steps * n));
      hn::StoreU(v, d, rows);
    }
  }
  return SawNan<L>(d, seen0, seen1, seen2, seen3);
}

// Rows that are `width` long and x_row apart to rows with padding between them. True if a NaN was seen.
template <class L, class T = typename L::Element>
[[gnu::hot]] HWY_NOINLINE bool SpreadRows(L lanes, const T* HWY_RESTRICT x, int64_t x_row, int64_t width,
                                          const Padded<T>& to) {
  const hn::ScalableTag<typename L::Lane> d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), last = HWY_MAX(width - n, 0);
  const auto inside = hn::FirstN(d, static_cast<size_t>(HWY_MIN(width, n)));
  const auto lowest = hn::Set(d, LowestOf(lanes));
  const int64_t planes = to.planes, plane = to.plane, height = to.height, pitch = to.pitch;
  T* HWY_RESTRICT rows = to.rows;
  auto seen0 = NoSquares(d), seen1 = seen0, seen2 = seen0, seen3 = seen0;
  for (int64_t p = 0; p < planes; ++p, rows += plane, x += height * x_row) {
    for (int64_t r = 0; r < height; r += 2) {
      const int64_t other = HWY_MIN(r + 1, height - 1);
      const T* HWY_RESTRICT x0 = x + r * x_row;
      const T* HWY_RESTRICT x1 = x + other * x_row;
      T* HWY_RESTRICT to0 = rows + r * pitch;
      T* HWY_RESTRICT to1 = rows + other * pitch;
      for (int64_t j = 0; j < last; j += n) {
        const auto v0 = lanes.Load(d, x0 + j), v1 = lanes.Load(d, x1 + j);
        NoteSquare<L>(v0, seen0), NoteSquare<L>(v1, seen1);
        hn::StoreU(v0, d, to0 + j), hn::StoreU(v1, d, to1 + j);
      }
      const auto v0 = hn::IfThenElse(inside, lanes.Load(d, x0 + last), lowest);
      const auto v1 = hn::IfThenElse(inside, lanes.Load(d, x1 + last), lowest);
      NoteSquare<L>(v0, seen2), NoteSquare<L>(v1, seen3);
      hn::StoreU(v0, d, to0 + last), hn::StoreU(v1, d, to1 + last);
    }
  }
  return SawNan<L>(d, seen0, seen1, seen2, seen3);
}

// Windows along the height of `planes` planes in scratch. Whole vectors are stored in ascending order where `length`,
// of the rows, is less than one.
template <class T>
struct RowWindows {
  const T* from;
  int64_t pitch, plane, planes, kernel, stride, outputs, length;
  T* to;
  int64_t to_row, to_plane;
};

// kG neighbouring outputs at a time as in wide_columns-inl.h, stride 1; or one, any stride. Rows that are as far apart
// as padding between planes allows: twice as fast as offsets of rows from a table.
template <class L, int kG, class T = typename L::Element>
[[gnu::hot]] HWY_NOINLINE void PoolRows(L out, const RowWindows<T>& c) {
  const hn::ScalableTag<typename L::Lane> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), last = HWY_MAX(c.length - n, 0);
  const int64_t kernel = c.kernel, outputs = c.outputs, pitch = c.pitch, step = c.pitch * c.stride, to_row = c.to_row;
  const int64_t planes = c.planes, plane = c.plane, to_plane = c.to_plane;
  const T* HWY_RESTRICT plane_from = c.from;
  T* HWY_RESTRICT plane_to = c.to;
  for (int64_t p = 0; p < planes; ++p, plane_from += plane, plane_to += to_plane) {
    for (int64_t j = 0;; j = HWY_MIN(j + n, last)) {
      const T* HWY_RESTRICT first = plane_from + j;
      T* HWY_RESTRICT to = plane_to + j;
      for (int64_t left = outputs; left > 0; left -= kG) {
        if (left < kG) {
          first -= (kG - left) * step;
          to -= (kG - left) * to_row;
        }
        const T* HWY_RESTRICT from = first;
        first += kG * step;
        const auto next = [&]() PEAKPOOL_INLINED {
          const V v = hn::LoadU(d, from);
          from += pitch;
          return v;
        };
        const auto store = [&](V v) PEAKPOOL_INLINED {
          out.Store(d, v, to);
          to += to_row;
        };
        V a = next(), a0 = a, a1 = a, a2 = a, a3 = a, a4 = a, a5 = a;
        if constexpr (kG > 1) {
          a1 = next(), a2 = next(), a3 = next();
          if constexpr (kG > 5) a4 = next(), a5 = next();
          a = next();
          if constexpr (kG > 5) a4 = hn::Max(a4, a5), a3 = hn::Max(a3, a4);
          a2 = hn::Max(a2, a3), a1 = hn::Max(a1, a2), a0 = hn::Max(a0, a1);
        }
        for (int64_t rest = kernel - kG; rest > 0; --rest) a = hn::Max(a, next());
        const auto output = [&](V suffix) PEAKPOOL_INLINED {
          store(hn::Max(suffix, a));
          a = hn::Max(a, next());
        };
        if constexpr (kG > 1) {
          V shared = a;
          if (kG == 5 && HWY_UNLIKELY(kernel < kG)) shared = a0, from -= pitch;
          store(hn::Max(a0, shared));
          a = hn::Max(a, next());
          output(a1), output(a2), output(a3);
        }
        if constexpr (kG > 5) output(a4), output(a5);
        store(a);
      }
      if (j == last) break;
    }
  }
}
template <class L, class T = typename L::Element>
void PoolRowsOf(L out, const RowWindows<T>& c) {
  const int64_t most = c.stride == 1 ? MostOfTile(c.kernel, c.outputs) : 1;
  most >= 7 ? PoolRows<L, 7>(out, c) : most >= 5 ? PoolRows<L, 5>(out, c) : PoolRows<L, 1>(out, c);
}

// The same with tap numbers, which count from the first row's on as if rows had a window's width. Only `height` rows
// are read: those beyond are padding, for which the first or last row stands, whose taps the window has.
template <class T, class TI>
struct TapRowWindows {
  RowWindows<T> values;
  const TI* from_taps;  // as values.from
  int64_t width_kernel;
  int64_t begin, height;  // of the first output's window; of the rows
  int64_t first_row;      // as taps count them
  uint8_t* to_taps;
  int64_t to_row, to_plane;  // in taps
  int tap_bytes;
};

template <class L, int kG, class T = typename L::Element, class TI>
[[gnu::hot]] HWY_NOINLINE void PoolTapRows(L out, const TapRowWindows<T, TI>& w) {
  const hn::ScalableTag<typename L::Lane> d;
  const hn::RebindToSigned<decltype(d)> di;
  using V = hn::Vec<decltype(d)>;
  using VI = hn::Vec<decltype(di)>;
  const RowWindows<T>& c = w.values;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), last = HWY_MAX(c.length - n, 0);
  const int64_t pitch = c.pitch, to_row = c.to_row;
  const int tap_bytes = w.tap_bytes;
  const int64_t to_taps_row = w.to_row * tap_bytes;
  const VI row_step = hn::Set(di, static_cast<TI>(w.width_kernel * c.stride));
  for (int64_t p = 0; p < c.planes; ++p) {
    for (int64_t j = 0;; j = HWY_MIN(j + n, last)) {
      // In steps: a vector set from a variable takes three times as long as an addition (10 % of all, with GrowTaps').
      VI shift = hn::Set(di, static_cast<TI>((w.begin + w.first_row) * w.width_kernel));
      for (int64_t o = 0; o < c.outputs; o += kG) {
        if (o > c.outputs - kG) {
          shift = hn::Sub(shift, hn::Set(di, static_cast<TI>((o - c.outputs + kG) * c.stride * w.width_kernel)));
          o = c.outputs - kG;
        }
        const int64_t top = w.begin + o * c.stride, first = HWY_MAX(top, 0);
        const int64_t core = HWY_MAX(top + kG - 1, 0), end = HWY_MIN(top + c.kernel, w.height);
        const T* HWY_RESTRICT from = c.from + p * c.plane + j + first * pitch;
        const TI* HWY_RESTRICT from_taps = w.from_taps + p * c.plane + j + first * pitch;
        T* HWY_RESTRICT to = c.to + p * c.to_plane + o * to_row + j;
        uint8_t* HWY_RESTRICT to_taps = w.to_taps + (p * w.to_plane + o * w.to_row + j) * tap_bytes;
        V a, a0, a1, a2, a3, a4, a5;
        VI t, t0, t1, t2, t3, t4, t5;
        // Moves on if the row is one.
        const auto next = [&](bool moves, V& v, VI& tap) PEAKPOOL_INLINED {
          v = hn::LoadU(d, from);
          tap = hn::LoadU(di, from_taps);
          const int64_t step = moves ? pitch : 0;
          from += step, from_taps += step;
        };
        if constexpr (kG > 1) {
          next(top >= 0, a0, t0), next(top >= -1, a1, t1), next(top >= -2, a2, t2), next(top >= -3, a3, t3);
          if constexpr (kG > 5) {
            next(top >= -4, a4, t4), next(top >= -5, a5, t5);
            FoldLater(d, a5, t5, a4, t4), FoldLater(d, a4, t4, a3, t3);
          }
          FoldLater(d, a3, t3, a2, t2), FoldLater(d, a2, t2, a1, t1), FoldLater(d, a1, t1, a0, t0);
        }
        a = hn::LoadU(d, from);
        t = hn::LoadU(di, from_taps);
        const auto extend = [&](int64_t step) PEAKPOOL_INLINED {
          from += step, from_taps += step;
          FoldLater(d, hn::LoadU(d, from), hn::LoadU(di, from_taps), a, t);
        };
        for (int64_t rest = end - core - 1; rest > 0; --rest) extend(pitch);
        int64_t below = w.height - end;
        const auto store = [&](V v, VI tap) PEAKPOOL_INLINED {
          out.Store(d, v, to);
          tap = hn::Sub(tap, shift);
          if (HWY_LIKELY(tap_bytes == 1)) {
            StoreBytes(di, tap, to_taps);
          } else {
            StoreTapLanes(di, tap, tap_bytes, to_taps);
          }
          shift = hn::Add(shift, row_step);
          to += to_row, to_taps += to_taps_row;
        };
        const auto output = [&](V shared, V suffix, VI suffix_tap) PEAKPOOL_INLINED {
          FoldLater(d, shared, t, suffix, suffix_tap);
          store(suffix, suffix_tap);
          extend(below > 0 ? pitch : 0);
          --below;
        };
        if constexpr (kG > 1) {
          V shared = a;
          if (kG == 5 && HWY_UNLIKELY(c.kernel < kG)) shared = a0, from -= pitch, from_taps -= pitch;
          output(shared, a0, t0), output(a, a1, t1), output(a, a2, t2), output(a, a3, t3);
        }
        if constexpr (kG > 5) output(a, a4, t4), output(a, a5, t5);
        store(a, t);
      }
      if (j == last) break;
    }
  }
}
template <class L, class T, class TI>
void PoolTapRowsOf(L out, const TapRowWindows<T, TI>& w) {
  const int64_t most = w.values.stride == 1 ? MostOfTile(w.values.kernel, w.values.outputs) : 1;
  if constexpr (kHas32Registers && sizeof(T) == 4) {  // 0.95 of the time, 9 taps and more
    if (most >= 9) {
      PoolTapRows<L, 7>(out, w);
      return;
    }
  }
  most >= 5 ? PoolTapRows<L, 5>(out, w) : PoolTapRows<L, 1>(out, w);
}

// Windows of a row, `end` from output o on, that begin in padding: if all taps are as low, their first is not that one.
// `taps` have row_tap added.
template <class TI>
HWY_INLINE void SkipPadding(const Axis& w, int64_t o, int64_t end, TI row_tap, TI* HWY_RESTRICT taps) {
  using TU = hwy::MakeUnsigned<TI>;
  int64_t first = w.pad_before - o * w.stride;
  for (; o < end && first > 0; ++o, ++taps, first -= w.stride) {
    const TU tap = static_cast<TU>(*taps - row_tap);
    *taps = static_cast<TI>(HWY_MAX(tap, static_cast<TU>(first)) + static_cast<TU>(row_tap));
  }
}

// The same for all rows of a plane, whose taps are made to count on from row to row.
template <class TI>
[[gnu::hot]] HWY_NOINLINE void NumberRows(const Axis& w, int64_t rows, int64_t pitch, TI* HWY_RESTRICT taps) {
  const hn::ScalableTag<TI> di;
  const int64_t n = static_cast<int64_t>(hn::Lanes(di)), width = w.output;
  const auto step = hn::Set(di, static_cast<TI>(w.kernel));
  // Along columns: loads that overlap the stores before wait for them.
  for (int64_t j = 0; j < width; j += n) {
    const auto inside = hn::FirstN(di, static_cast<size_t>(HWY_MIN(width - j, n)));
    auto row = hn::Zero(di);
    for (int64_t r = 0; r < rows; ++r, row = hn::Add(row, step)) {
      TI* HWY_RESTRICT to = taps + r * pitch + j;
      hn::StoreU(hn::Add(hn::LoadU(di, to), hn::IfThenElseZero(inside, row)), di, to);
      SkipPadding(w, j, HWY_MIN(j + n, width), static_cast<TI>(r * w.kernel), to);
    }
  }
}

// GrowLanes with tap numbers, at the same places from `to_taps` on, which count on from row to row.
template <class L, bool kTwo, class T = typename L::Element, class TI>
[[gnu::hot]] HWY_NOINLINE bool GrowTaps(L lanes, const LaneSteps<TI>& steps, const Axis& w, const T* HWY_RESTRICT x,
                                        const Padded<T>& to, TI* HWY_RESTRICT to_taps) {
  const hn::ScalableTag<typename L::Lane> d;
  const hn::RebindToSigned<decltype(d)> di;
  using V = hn::Vec<decltype(d)>;
  using VI = hn::Vec<decltype(di)>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), rights = steps.rights, end = steps.steps, width = w.input;
  // From a table to the next, and to that of the second vector.
  const int64_t table = kTwo ? 2 * n : n, second = kTwo ? n : 0, height = to.height;
  const TI* HWY_RESTRICT tables = steps.tables;
  const TI* HWY_RESTRICT begins = tables + (end + 1) * table;
  const VI column0 = hn::Iota(di, 0), column1 = kTwo ? hn::Add(column0, hn::Set(di, static_cast<TI>(n))) : column0;
  const VI row_step = hn::Set(di, static_cast<TI>(kTwo ? w.kernel : 2 * w.kernel));
  const bool strided = w.stride != 1;
  V seen0 = NoSquares(d), seen1 = seen0;
  const auto lookup = [&](auto dv, auto v0, auto v1, VI index) PEAKPOOL_INLINED {
    if constexpr (kTwo) return LookupTwo(dv, v0, v1, index);
    return LookupLanes(dv, v0, index);
  };
  for (int64_t p = 0; p < to.planes; ++p) {
    T* HWY_RESTRICT rows = to.rows + p * to.plane;
    TI* HWY_RESTRICT row_taps = to_taps + p * to.plane;
    VI begin0 = hn::LoadU(di, begins), begin1 = hn::LoadU(di, begins + second);
    if (!kTwo) begin1 = hn::Sub(begin1, hn::Set(di, static_cast<TI>(w.kernel)));
    // Two rows at a time, or one of two vectors.
    for (int64_t r = 0; r < height; r += kTwo ? 1 : 2) {
      const int64_t other = kTwo ? r : HWY_MIN(r + 1, height - 1);
      V v0 = lanes.Load(d, x + r * width), v1 = lanes.Load(d, x + other * width + second);
      NoteSquare<L>(v0, seen0), NoteSquare<L>(v1, seen1);
      VI tap0 = column0, tap1 = column1;
      int64_t s = 0;
      const auto look = [&](VI& index0, VI& index1, V& other0, V& other1) PEAKPOOL_INLINED {
        index0 = hn::LoadU(di, tables + s * table);
        index1 = kTwo ? hn::LoadU(di, tables + s * table + second) : index0;
        other0 = lookup(d, v0, v1, index0);
        other1 = kTwo ? lookup(d, v0, v1, index1) : lookup(d, v1, v1, index0);
      };
      const auto look_taps = [&](VI& index0, VI& index1) PEAKPOOL_INLINED {
        const VI from0 = tap0;
        const VI other0 = lookup(di, from0, tap1, index0);
        index1 = kTwo ? lookup(di, from0, tap1, index1) : lookup(di, tap1, tap1, index1);
        index0 = other0;
      };
      VI index0, index1;
      V other0, other1;
      if (rights > 0) {  // taps are still in their places
        look(index0, index1, other0, other1);
        FoldLater(d, other0, index0, v0, tap0), FoldLater(d, other1, index1, v1, tap1);
        s = 1;
      }
      for (; s < rights; ++s) {
        look(index0, index1, other0, other1);
        look_taps(index0, index1);
        FoldLater(d, other0, index0, v0, tap0), FoldLater(d, other1, index1, v1, tap1);
      }
      for (; s < end; ++s) {
        look(index0, index1, other0, other1);
        look_taps(index0, index1);
        FoldLater(d, v0, tap0, other0, index0), FoldLater(d, v1, tap1, other1, index1);
        v0 = other0, v1 = other1;
        tap0 = index0, tap1 = index1;
      }
      if (strided) {
        const VI index0 = hn::LoadU(di, tables + end * table), index1 = hn::LoadU(di, tables + end * table + second);
        const V from0 = v0;
        const VI from_tap0 = tap0;
        v0 = lookup(d, v0, v1, index0);
        tap0 = lookup(di, tap0, tap1, index0);
        v1 = kTwo ? lookup(d, from0, v1, index1) : lookup(d, v1, v1, index1);
        tap1 = kTwo ? lookup(di, from_tap0, tap1, index1) : lookup(di, tap1, tap1, index1);
      }
      // The other row first, which may be the same one.
      hn::StoreU(v1, d, rows + other * table + second);
      hn::StoreU(hn::Sub(tap1, begin1), di, row_taps + other * table + second);
      hn::StoreU(v0, d, rows + r * table);
      hn::StoreU(hn::Sub(tap0, begin0), di, row_taps + r * table);
      begin0 = hn::Sub(begin0, row_step), begin1 = hn::Sub(begin1, row_step);
    }
    x += height * width;
  }
  return SawNan<L>(d, seen0, seen1, seen0, seen1);
}

// --- Longer rows -----------------------------------------------------------------------------------------------------

// Rows `from_row` and `to_row` elements apart.
template <class T>
struct RowPairs {
  const T* from;
  int64_t from_row;
  T* to;
  int64_t to_row, rows;
};

// The 2N lanes of two vectors from those on by which windows of `kernel` lanes grow in a step, as LookupTwo's index.
// (g++ builds Iota of a variable through memory.)
template <class DI>
HWY_INLINE hn::Vec<DI> StepLanes(DI di, int64_t kernel, int step) {
  const int64_t have = int64_t{1} << step, first = HWY_MAX(HWY_MIN(have, kernel - have), 0);
  return hn::Add(hn::Iota(di, 0), hn::Set(di, static_cast<hn::TFromD<DI>>(first)));
}

// Windows of `kernel` elements, no more than 2^kSteps or two vectors, that begin at from, from + 1 and so on: `vectors`
// of them, which may replace what they are computed from. Reads kSteps vectors further.
template <class L, int kSteps, class T = typename L::Element>
[[gnu::hot]] HWY_NOINLINE void SlideRows(L in, L out, const RowPairs<T>& pairs, int64_t kernel, int64_t vectors) {
  const hn::ScalableTag<typename L::Lane> d;
  const hn::RebindToSigned<decltype(d)> di;
  using V = hn::Vec<decltype(d)>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const auto i0 = StepLanes(di, kernel, 0), i1 = StepLanes(di, kernel, 1), i2 = StepLanes(di, kernel, 2),
             i3 = StepLanes(di, kernel, 3), i4 = StepLanes(di, kernel, 4);
  for (int64_t r = 0; r < pairs.rows; ++r) {
    const T* from = pairs.from + r * pairs.from_row;
    T* to = pairs.to + r * pairs.to_row;
    V p0 = in.Load(d, from), p1 = p0, p2 = p0, p3 = p0, p4 = p0;
    for (int64_t v = 1 - kSteps; v < vectors; ++v) {
      from += n;
      const V x = in.Load(d, from);
      V w = hn::Max(p0, LookupTwo(d, p0, x, i0));
      p0 = x;
      const auto step = [&](auto index, V& p) PEAKPOOL_INLINED {
        const V grown = hn::Max(p, LookupTwo(d, p, w, index));
        p = w;
        w = grown;
      };
      step(i1, p1);
      if constexpr (kSteps > 2) step(i2, p2);
      if constexpr (kSteps > 3) step(i3, p3);
      if constexpr (kSteps > 4) step(i4, p4);
      if (v >= 0) out.Store(d, w, to + v * n);
    }
  }
}

// Vectors that SlideRowsOf reads beyond the windows.
inline int64_t SlackVectors(int64_t kernel, int64_t n) { return (kernel > 16 ? 6 : kernel > 8 ? 5 : 4) + kernel / n; }

// The same for any kernel, through memory (`spare`, whose rows are as far apart as those of `from`) where looking up
// two vectors takes more than one operation (AVX2: alike, 0.95 times as long for 9 and 31 taps) or windows are wider
// than that. `spare` may be `to`.
template <class L, class T = typename L::Element>
HWY_NOINLINE void SlideRowsOf(L lanes, RowPairs<T> pairs, int64_t kernel, T* spare, int64_t vectors) {
  const hn::ScalableTag<typename L::Lane> d;
  const L raw = RawLanes(lanes);
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  T* const to = pairs.to;
  const int64_t to_row = pairs.to_row;
  int64_t have = 1, count = 0;
  // Where the windows of `taps` taps go, and how many.
  const auto grow_to = [&](int64_t taps) {
    const bool done = taps == kernel;
    have = taps;
    pairs.to = done ? to : spare;
    pairs.to_row = done ? to_row : pairs.from_row;
    count = done ? vectors : vectors + (kernel - taps + n - 1) / n;
    return done ? lanes : raw;
  };
  if constexpr (kHasLookupOfTwo && kHasLookup<typename L::Lane>) {
    const L out = grow_to(HWY_MIN(HWY_MIN(kernel, 2 * n), 32));
    if (have <= 4) {
      SlideRows<L, 2>(raw, out, pairs, have, count);
    } else if (have <= 8) {
      SlideRows<L, 3>(raw, out, pairs, have, count);
    } else if (have <= 16) {
      SlideRows<L, 4>(raw, out, pairs, have, count);
    } else {
      SlideRows<L, 5>(raw, out, pairs, have, count);
    }
    if (have == kernel) return;
    pairs.from = spare;
  }
  do {  // of two windows each, or four; a window of one tap is a copy
    const int64_t before = have;
    const L out = grow_to(HWY_MIN(4 * have, kernel));
    const int64_t last = have - before, second = HWY_MIN(before, last), third = HWY_MIN(2 * before, last);
    for (int64_t r = 0; r < pairs.rows; ++r) {
      const T* from = pairs.from + r * pairs.from_row;
      T* target = pairs.to + r * pairs.to_row;
      if (third == second) {
        for (int64_t j = 0; j < count * n; j += n, from += n) {
          out.Store(d, hn::Max(raw.Load(d, from), raw.Load(d, from + last)), target + j);
        }
      } else {
        for (int64_t j = 0; j < count * n; j += n, from += n) {
          const auto first_two = hn::Max(raw.Load(d, from), raw.Load(d, from + second));
          const auto last_two = hn::Max(raw.Load(d, from + third), raw.Load(d, from + last));
          out.Store(d, hn::Max(first_two, last_two), target + j);
        }
      }
    }
    pairs.from = spare;
  } while (have < kernel);
}

// SlideRowsOf with tap numbers; through memory first five taps at once, then three windows. All but the last step go to
// `spare`, as far apart as `from`; `vectors` whole ones.
template <class T, class TI>
struct TapRowPairs {
  RowPairs<T> values;
  TI* to_taps;  // as values.to
  T* spare;
  TI* spare_taps;
  TI first, step;  // added to the taps of the first row; more so from row to row
};

// SlideRows with tap numbers. (256x256, 31 s1, in 0.6 of the time that memory takes, 5 s1 in 0.84.)
template <class L, int kSteps, class T, class TI>
[[gnu::hot]] HWY_NOINLINE void SlideTaps(L raw, const TapRowPairs<T, TI>& pairs, int64_t kernel, int64_t vectors) {
  const hn::ScalableTag<typename L::Lane> d;
  const hn::RebindToSigned<decltype(d)> di;
  using V = hn::Vec<decltype(d)>;
  using VI = hn::Vec<decltype(di)>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const VI i0 = StepLanes(di, kernel, 0), i1 = StepLanes(di, kernel, 1), i2 = StepLanes(di, kernel, 2),
           i3 = StepLanes(di, kernel, 3), i4 = StepLanes(di, kernel, 4);
  const VI one = hn::Set(di, TI{1}), whole = hn::Set(di, static_cast<TI>(n));
  for (int64_t r = 0; r < pairs.values.rows; ++r) {
    const T* from = pairs.values.from + r * pairs.values.from_row;
    T* to = pairs.values.to + r * pairs.values.to_row;
    TI* to_taps = pairs.to_taps + r * pairs.values.to_row;
    V p0 = raw.Load(d, from), p1 = p0, p2 = p0, p3 = p0, p4 = p0;
    // Taps are columns until they are stored, and the first step's need no lookup.
    VI column = hn::Iota(di, 0), t1 = column, t2 = column, t3 = column, t4 = column;
    VI begin = hn::Sub(column, hn::Set(di, static_cast<TI>(pairs.first + r * pairs.step)));
    for (int64_t v = 1 - kSteps; v < vectors; ++v) {
      from += n;
      const V x = raw.Load(d, from);
      V w = p0;
      VI t = column;
      FoldLater(d, LookupTwo(d, p0, x, i0), hn::Add(column, one), w, t);
      column = hn::Add(column, whole);
      p0 = x;
      const auto step = [&](int number, VI index, V& p, VI& tap) PEAKPOOL_INLINED {
        V grown = p;
        VI grown_tap = tap;
        // Not left of the first windows: 0.93 of the time in blocks of 64 columns (without taps, alike).
        if (v + kSteps > number) {
          FoldLater(d, LookupTwo(d, p, w, index), LookupTwo(di, tap, t, index), grown, grown_tap);
        }
        p = w, tap = t;
        w = grown, t = grown_tap;
      };
      step(1, i1, p1, t1), step(2, i2, p2, t2);
      if constexpr (kSteps > 3) step(3, i3, p3, t3), step(4, i4, p4, t4);
      if (v < 0) continue;
      hn::StoreU(w, d, to + v * n);
      hn::StoreU(hn::Sub(t, begin), di, to_taps + v * n);
      begin = hn::Add(begin, whole);
    }
  }
}

template <class L, class T, class TI>
[[gnu::cold]] HWY_NOINLINE void SlideTapRows(L raw, const TapRowPairs<T, TI>& pairs, int64_t kernel, int64_t vectors,
                                             int64_t n) {
  if constexpr (kHasLookupOfTwo && sizeof(T) == 4) {
    if (kernel <= 2 * n) {
      kernel <= 8 ? SlideTaps<L, 3>(raw, pairs, kernel, vectors) : SlideTaps<L, 5>(raw, pairs, kernel, vectors);
      return;
    }
  }
  int64_t have = 1;
  do {
    const int64_t terms = have == 1 ? HWY_MIN(kernel, 5) : HWY_MIN((kernel + have - 1) / have, 3);
    const int64_t grown = HWY_MIN(terms * have, kernel);
    int64_t offset[5];
    TI name[5];
    for (int64_t i = 0; i < terms; ++i) {
      offset[i] = HWY_MIN(i * have, grown - have);
      name[i] = static_cast<TI>(offset[i]);
    }
    const bool done = grown == kernel;
    const RowPairs<T>& v = pairs.values;
    const int64_t row = done ? v.to_row : v.from_row;
    TapColumns<T, TI> c = {offset,
                           name,
                           {1, 1},
                           terms,
                           1,
                           v.rows,
                           (done ? vectors : vectors + (kernel - grown + n - 1) / n) * n,
                           v.from,
                           nullptr,
                           v.from_row,
                           done ? v.to : pairs.spare,
                           row,
                           0,
                           reinterpret_cast<uint8_t*>(done ? pairs.to_taps : pairs.spare_taps),
                           row,
                           0,
                           0,
                           done ? static_cast<TI>(-pairs.first) : TI{0},
                           done ? static_cast<TI>(-pairs.step) : TI{0},
                           0};
    if (have == 1) {
      ReduceTapColumns<L, 1, false>(c, raw, raw);
    } else {
      c.from = pairs.spare;
      c.from_taps = pairs.spare_taps;
      ReduceTapColumns<L, 1, true>(c, raw, raw);
    }
    have = grown;
  } while (have < kernel);
}

// Neighbouring lanes of a and b: half as many, those of a first.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V MaxOfPairs(D d, V a, V b) {
  return hn::Max(EvenLanes(d, a, b), OddLanes(d, a, b));
}

// Windows of kernel == stride == 2^kSteps: neighbouring lanes, kSteps times.
template <int kSteps, class Load, class D>
HWY_INLINE hn::Vec<D> MaxOfDisjoint(D d, const Load& load, int64_t vector) {
  if constexpr (kSteps == 0) {
    return load(vector);
  } else {
    const auto a = MaxOfDisjoint<kSteps - 1>(d, load, vector);
    return MaxOfPairs(d, a, MaxOfDisjoint<kSteps - 1>(d, load, vector + (1 << (kSteps - 1))));
  }
}

// True if a NaN was seen. Needs outputs >= N.
template <int kSteps, class L, class T = typename L::Element>
HWY_NOINLINE bool PoolDisjointRow(L in, L out, const T* HWY_RESTRICT from, T* HWY_RESTRICT to, int64_t outputs) {
  const hn::ScalableTag<typename L::Lane> d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  auto seen0 = NoSquares(d), seen1 = seen0;
  for (int64_t o = 0; o < outputs; o += n) {
    o = HWY_MIN(o, outputs - n);
    const T* HWY_RESTRICT window = from + (o << kSteps);
    const auto load = [&](int64_t vector) PEAKPOOL_INLINED {
      const auto v = in.Load(d, window + vector * n);
      NoteSquare<L>(v, vector % 2 == 0 ? seen0 : seen1);
      return v;
    };
    out.Store(d, MaxOfDisjoint<kSteps>(d, load, 0), to + o);
  }
  return SawNan<L>(d, seen0, seen1, seen0, seen1);
}

// Whether PoolDisjointRow takes all windows of the axis.
inline bool IsDisjoint(const Axis& w, int64_t n) {
  return w.kernel == w.stride && (w.kernel == 2 || w.kernel == 4 || w.kernel == 8) && w.dilation == 1 &&
         w.pad_before == 0 && w.output * w.stride <= w.input && w.output >= n;
}
template <class L, class T = typename L::Element>
bool PoolDisjointRow(L in, L out, int64_t kernel, const T* from, T* to, int64_t outputs) {
  return kernel == 2   ? PoolDisjointRow<1>(in, out, from, to, outputs)
         : kernel == 4 ? PoolDisjointRow<2>(in, out, from, to, outputs)
                       : PoolDisjointRow<3>(in, out, from, to, outputs);
}

// --- Driver ----------------------------------------------------------------------------------------------------------

// Scratch: rows and all else in elements of T, then the offsets and names of the rows.
constexpr int64_t kFirstOffsets = 512;
constexpr int64_t kFirstBytes = static_cast<int64_t>(kScratchBytes) - kFirstOffsets * 16;

// Rows of more than a vector.
template <class L, class T = typename L::Element>
struct LongRows {
  static constexpr int64_t kRoom = 40 * 1024 / sizeof(T);

  const Geometry& g;
  int64_t lines, columns, pitch;  // output lines and columns of a block; elements from row to row
  bool disjoint;                  // see PoolDisjointRow
  bool prepared = false;          // whether padding is in its place

  [[gnu::cold]] LongRows(const Geometry& geometry, int64_t n) : g(geometry) {
    const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
    disjoint = IsDisjoint(w, n);
    lines = HWY_MIN(h.stride == 1 ? TileOf(h.kernel, 64) : 4, h.output);
    columns = w.output;
    while (Pitch(n) * 2 * lines > kRoom && columns > n) columns = (columns + 1) / 2;
    pitch = Pitch(n);
    // Loads that overlap several stores wait for them: some time should pass between the two axes.
    const int64_t most = HWY_MIN(kRoom / pitch / 2, h.output);
    while (lines * 2 <= most && OffsetCount(h, lines * 2) <= kFirstOffsets) lines *= 2;
    if (h.output <= most && OffsetCount(h, h.output) <= kFirstOffsets) lines = h.output;
  }
  int64_t Span() const { return (columns - 1) * g.axis[kWidth].stride + g.axis[kWidth].kernel; }
  int64_t Pitch(int64_t n) const { return (Span() / n + 1 + SlackVectors(g.axis[kWidth].kernel, n)) * n; }
  bool Fits(int64_t n) const {
    const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
    // Outputs of overlapping windows are picked from whole rows: 4 s2 takes 1.1 to 2.2 times as long as Separable up to
    // 64 wide, 8- and 16-bit elements 1.2 to 3 times at any width; f32, 256 wide, 0.8 times.
    if (w.stride > 1 && !disjoint && (w.stride > 2 || sizeof(T) < 4 || w.output < 4 * n)) return false;
    // Where lookups are cheap, half-filled vectors are no matter (20 wide, AVX-512: 1.5 times as fast as Separable; 13
    // wide, AVX2: 0.75 times).
    return w.input >= (kHasLookupOfTwo ? n : 2 * n) &&
           pitch * 2 * lines + n <= kFirstBytes / static_cast<int64_t>(sizeof(T)) &&
           OffsetCount(h, lines) <= kFirstOffsets;
  }

  // True if a NaN was seen. Up to y_end may be written, as long as it is rewritten later.
  [[gnu::cold]] HWY_NOINLINE bool Pool(L lanes, const T* x, T* y, const T* y_end, int64_t begin, int64_t end,
                                       void* scratch) {
    const hn::ScalableTag<typename L::Lane> d;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
    const L raw = RawLanes(lanes);
    T* const rows = static_cast<T*>(scratch) + n;
    T* const spare = rows + lines * pitch;
    int64_t* const offsets = reinterpret_cast<int64_t*>(static_cast<char*>(scratch) + kFirstBytes);
    const int64_t row = g.input.axis[kHeight], y_row = g.output.axis[kHeight];
    const int64_t step = HWY_MIN(lines, end - begin);
    bool nan = false;
    if (h.kernel == 1 && disjoint) {
      for (int64_t oh = begin; oh < end; ++oh) {
        nan |= PoolDisjointRow(lanes, lanes, w.kernel, x + h.Begin(oh) * row, y + oh * y_row, w.output);
      }
      return nan;
    }
    for (int64_t ow = 0; ow < w.output; ow += columns) {
      ow = HWY_MIN(ow, w.output - columns);
      const int64_t left = w.Begin(ow);
      int64_t first = HWY_MAX(left, 0), last = HWY_MIN(left + Span(), w.input);
      first = HWY_MIN(first, HWY_MAX(last - n, 0));
      last = HWY_MAX(last, HWY_MIN(first + n, w.input));
      if (!prepared || columns != w.output) {
        const auto lowest = hn::Set(d, LowestOf(lanes));
        for (int64_t j = -n; j < lines * pitch; j += n) hn::StoreU(lowest, d, rows + j);
        prepared = true;
      }
      for (int64_t oh = begin; oh < end; oh += step) {
        oh = HWY_MIN(oh, end - step);
        const Steps row_steps = FillOffsets(h, oh, step, Ring::None(), row, offsets);
        nan |= Reduce<L>(
            {offsets, row_steps, h.kernel, step, 1, last - first, x + first, 0, rows + first - left, 0, pitch}, lanes,
            raw);
        if (row_steps.tile > 1 && oh + step == end) {  // what Reduce leaves
          const int64_t top = HWY_MAX(h.Begin(end), 0);
          nan |= AnyNan(lanes, x + top * row + first, 1, 0, HWY_MAX(Last(h, end - 1) + 1 - top, 0), row, last - first);
        }
        SlideOut(lanes, rows, spare, y + oh * y_row + ow, step, y_end);
      }
    }
    return nan;
  }

  // The windows of some rows, to y.
  [[gnu::cold]] HWY_NOINLINE void SlideOut(L lanes, const T* from, T* spare, T* y, int64_t count,
                                           const T* y_end) const {
    const hn::ScalableTag<typename L::Lane> d;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    const Axis& w = g.axis[kWidth];
    const int64_t y_row = g.output.axis[kHeight];
    if (w.stride == 1) {
      const int64_t vectors = (columns + n - 1) / n;
      // Rows whose last vector may spill.
      int64_t whole = count;
      const auto spills = [&](int64_t r) { return y_end == nullptr || y_end - (y + r * y_row) < vectors * n; };
      while (whole > 0 && vectors * n != columns && spills(whole - 1)) --whole;
      SlideRowsOf(lanes, RowPairs<T>{from, pitch, y, y_row, whole}, w.kernel, spare, vectors);
      if (whole == count) return;
      SlideRowsOf(lanes, RowPairs<T>{from + whole * pitch, pitch, spare, pitch, count - whole}, w.kernel, spare,
                  vectors);
      for (int64_t r = whole; r < count; ++r) {
        std::memcpy(y + r * y_row, spare + (r - whole) * pitch, static_cast<size_t>(columns) * sizeof(T));
      }
      return;
    }
    if (disjoint && columns >= n) {
      for (int64_t r = 0; r < count; ++r) {
        PoolDisjointRow(RawLanes(lanes), lanes, w.kernel, from + r * pitch, y + r * y_row, columns);
      }
      return;
    }
    SlideRowsOf(lanes, RowPairs<T>{from, pitch, spare, pitch, count}, w.kernel, spare, (Span() - w.kernel) / n + 1);
    for (int64_t r = 0; r < count; ++r, y += y_row) {
      const T* HWY_RESTRICT window = spare + r * pitch;
      int64_t o = 0;
      if (w.stride == 2) {
        for (; o + n <= columns; o += n) {
          hn::StoreU(EvenLanes(d, hn::LoadU(d, window + 2 * o), hn::LoadU(d, window + 2 * o + n)), d, y + o);
        }
      }
      for (; o < columns; ++o) y[o] = window[o * w.stride];
    }
  }
};

// Rows of more than a vector with taps, at stride 1: blocks of columns, whose windows along the width stay in scratch
// while windows along the height still need them.
template <class L, class T = typename L::Element>
struct LongTapRows {
  using TI = hwy::MakeSigned<typename L::Lane>;
  static constexpr int64_t kRoom = 40 * 1024 / (2 * sizeof(T));  // for windows and their taps
  static constexpr int64_t kChunk = 4;                           // input rows at a time

  const Geometry& g;
  const int64_t n;
  int64_t columns, pitch, lines;  // output columns and lines of a block; from row to row of windows
  int64_t wide;                   // from row to row before they are windows

  [[gnu::cold]] HWY_NOINLINE LongTapRows(const Geometry& geometry, int64_t lanes) : g(geometry), n(lanes) {
    const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
    const auto whole = [&](int64_t count) { return (count + n - 1) / n * n; };
    columns = w.output;
    pitch = whole(columns);
    // Narrow blocks repeat more of the width's work, short ones move more rows.
    while (pitch > n && (kRoom / pitch < 2 * h.kernel + 8 || Elements() > Most())) {
      pitch = whole(pitch / 2);
      columns = HWY_MIN(columns, pitch);
    }
    lines = kRoom / pitch - h.kernel + 1;
  }
  int64_t Elements() {
    const Axis& w = g.axis[kWidth];
    wide = pitch + (w.kernel + n - 2) / n * n;
    return kRoom * 2 + 3 * kChunk * wide;
  }
  static int64_t Most() { return static_cast<int64_t>(kScratchBytes / sizeof(T)); }

  bool Fits(const ForwardCall& call) {
    const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
    if (sizeof(T) == 2 && !kHasLookupOfTwo && w.kernel > 8) return false;  // AVX2: 13 s1 takes 1.2 times as long
    return CanNumber<TI>(call) && h.stride == 1 && w.stride == 1 && w.kernel > 1 && w.input >= n && w.output >= n &&
           lines > 0 && Elements() <= Most();
  }

  // Output lines [begin, end) of a plane. True if a NaN was seen.
  [[gnu::cold]] HWY_NOINLINE bool Pool(L lanes, const T* x, T* y, uint8_t* taps, const TapView& view, int64_t begin,
                                       int64_t end, void* scratch) const {
    const hn::ScalableTag<typename L::Lane> d;
    const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
    T* const rows = static_cast<T*>(scratch);
    T* const spare = rows + kChunk * wide;
    TI* const spare_taps = reinterpret_cast<TI*>(spare + kChunk * wide);
    T* const windows = reinterpret_cast<T*>(spare_taps + kChunk * wide);
    TI* const window_taps = reinterpret_cast<TI*>(windows + kRoom);
    const auto lowest = hn::Set(d, LowestOf(lanes));
    const int64_t row = g.input.axis[kHeight], y_row = g.output.axis[kHeight], t_row = view.strides.axis[kHeight];
    bool nan = false;
    for (int64_t ow = 0; ow < w.output; ow += columns) {
      ow = HWY_MIN(ow, w.output - columns);
      const int64_t left = w.Begin(ow), first = HWY_MAX(left, 0);
      const int64_t width = HWY_MIN(left + columns + w.kernel - 1, w.input) - first;
      for (int64_t j = 0; j < kChunk * wide; j += n) hn::StoreU(lowest, d, rows + j);
      int64_t base = 0, count = 0;  // the input rows whose windows are there
      for (int64_t oh = begin; oh < end; oh += lines) {
        const int64_t outputs = HWY_MIN(lines, end - oh), top = h.Begin(oh);
        const int64_t stop = HWY_MIN(top + outputs - 1 + h.kernel, h.input), first_row = HWY_MAX(top, 0);
        if (count > 0) {
          const int64_t done = HWY_MIN(first_row - base, count);
          count -= done;
          std::memmove(windows, windows + done * pitch, static_cast<size_t>(count * pitch) * sizeof(T));
          std::memmove(window_taps, window_taps + done * pitch, static_cast<size_t>(count * pitch) * sizeof(T));
        }
        base = first_row;
        while (base + count < stop) {
          const int64_t r = base + count, some = HWY_MIN(kChunk, stop - r);
          nan |= SpreadRows(lanes, x + r * row + first, row, width, Padded<T>{rows + first - left, wide, 0, 1, some});
          // The next ones, while these take their time (4 MB: 0.97 of the time).
          for (int64_t next = r + some; next < HWY_MIN(r + 2 * some, h.input); ++next) {
            const T* const begin = x + next * row + first;
            for (int64_t j = 0; j < width; j += 64 / static_cast<int64_t>(sizeof(T))) hwy::Prefetch(begin + j);
          }
          SlideTapRows(RawLanes(lanes),
                       TapRowPairs<T, TI>{{rows, wide, windows + count * pitch, pitch, some},
                                          window_taps + count * pitch,
                                          spare,
                                          spare_taps,
                                          static_cast<TI>(r * w.kernel),
                                          static_cast<TI>(w.kernel)},
                       w.kernel, pitch / n, n);
          for (int64_t i = 0; i < some; ++i) {
            SkipPadding(w, ow, ow + columns, static_cast<TI>((r + i) * w.kernel), window_taps + (count + i) * pitch);
          }
          count += some;
        }
        PoolTapRowsOf(lanes, TapRowWindows<T, TI>{
                                 {windows, pitch, 0, 1, h.kernel, 1, outputs, columns, y + oh * y_row + ow, y_row, 0},
                                 window_taps,
                                 w.kernel,
                                 top - base,
                                 stop - base,
                                 base,
                                 taps + (oh * t_row + ow) * view.bytes,
                                 t_row,
                                 0,
                                 view.bytes});
      }
    }
    return nan;
  }
};

// Dense planes that fit into scratch.
template <class L, class T = typename L::Element>
struct ShortRows {
  using TI = hwy::MakeSigned<typename L::Lane>;
  static constexpr bool kTwoVectors = kHasLookupOfTwo && sizeof(T) == 4;
  // Scratch: tables, one plane each of x, y and taps, rows.
  static constexpr int64_t kInputAt = 4 * 1024, kOutputAt = 12 * 1024, kTapsAt = 20 * 1024, kRowsAt = 28 * 1024;
  static constexpr int64_t kRowBytes = kFirstBytes - kRowsAt;

  // Planes of lines [oh, oh + lines) each.
  struct Part {
    const T* x;
    T* y;
    uint8_t* taps;  // null: values only
    int64_t planes, oh, lines;
  };

  const ForwardCall& call;
  const Geometry& g;
  const L lanes;
  char* const scratch;
  const int64_t n;
  const int64_t in_plane, out_plane;
  const int64_t vectors;  // of rows that grow by looking up lanes; 0: longer ones
  const bool by_lookup = vectors > 0;
  int64_t pitch, padded_plane, padding;  // elements: from row to row, from plane to plane, behind the last plane
  int64_t above;                         // rows of padding before a plane
  LaneSteps<TI> steps;

  ShortRows(const ForwardCall& c, L l)
      : call(c),
        g(*c.geometry),
        lanes(l),
        scratch(static_cast<char*>(c.scratch)),
        n(static_cast<int64_t>(hn::Lanes(hn::ScalableTag<typename L::Lane>()))),
        in_plane(g.axis[kHeight].input * g.axis[kWidth].input),
        out_plane(g.axis[kHeight].output * g.axis[kWidth].output),
        vectors(LookedUp(g.axis[kWidth], n)) {
    // So far apart that no window touches two rows, or two planes.
    const auto apart = [](const Axis& a) {
      return HWY_MAX(a.input + a.pad_before, (a.output - 1) * a.stride + a.kernel - a.pad_before);
    };
    const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
    pitch = by_lookup ? vectors * n : apart(w);
    // With taps, rows of padding are skipped.
    above = call.taps.base != nullptr ? 0 : h.pad_before;
    padded_plane = (call.taps.base != nullptr ? h.input : apart(h)) * pitch;
    padding = above * pitch;
    if (!by_lookup) padding += w.pad_before + (SlackVectors(w.kernel, n) + 1) * n;
  }

  // Vectors of a row's lanes if that many are looked up. (Two, AVX-512: 20x20, 5 s1, in 0.7 of the time that planes
  // side by side in lanes take.)
  static int64_t LookedUp(const Axis& w, int64_t n) {
    if (!kHasLookup<typename L::Lane> || (w.output - 1) * w.stride >= w.input) return 0;
    const int64_t most = HWY_MAX(w.input, w.output);
    return most <= n ? 1 : kTwoVectors && most <= 2 * n ? 2 : 0;
  }
  // Elements of each of the buffers: of rows, unless they grow in registers, windows and their taps.
  int64_t Room() const {
    return kRowBytes / static_cast<int64_t>(sizeof(T)) / ((by_lookup ? 1 : 2) + (call.taps.base != nullptr ? 1 : 0));
  }
  T* Rows() const { return reinterpret_cast<T*>(scratch + kRowsAt); }

  bool Takes() const {
    const Axis &d = g.axis[kDepth], &h = g.axis[kHeight], &w = g.axis[kWidth];
    if (d.input != 1 || d.output != 1 || !CanNumber<TI>(call) || (!by_lookup && w.stride != 1)) return false;
    if (16 * vectors * n * static_cast<int64_t>(sizeof(T)) > kInputAt) return false;
    if (h.input > 1 && g.input.axis[kHeight] != w.input) return false;
    if (h.output > 1 && g.output.axis[kHeight] != w.output) return false;
    const int64_t size = sizeof(T), room = kOutputAt - kInputAt;
    if (HWY_MAX(in_plane, out_plane) * size + 2 * n * size > room || padded_plane + padding > Room()) return false;
    if (call.taps.base == nullptr) return true;
    return (h.output <= 1 || call.taps.strides.axis[kHeight] == w.output) &&
           (out_plane + 2 * n) * call.taps.bytes <= room;
  }

  // Tables, and padding for as many planes.
  [[gnu::cold]] HWY_NOINLINE void Prepare(int64_t planes) {
    const hn::ScalableTag<typename L::Lane> d;
    const Axis& w = g.axis[kWidth];
    if (by_lookup) steps.Fill(w, vectors * n, reinterpret_cast<TI*>(scratch));
    const int64_t count = padded_plane * planes + padding;
    T* HWY_RESTRICT rows = Rows();
    for (int64_t i = 0; i < count; i += n) {
      hn::StoreU(hn::Set(d, LowestOf(lanes)), d, rows + HWY_MIN(i, HWY_MAX(count - n, 0)));
    }
  }

  // True if a NaN was seen. Along the width first: each row is loaded once, and searched for NaN by the way; with
  // taps, the earlier row then wins ties.
  [[gnu::cold]] HWY_NOINLINE bool PoolPart(const Part& part) const {
    const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
    T* windows = Rows();
    const Padded<T> planes = {windows + above * pitch + (by_lookup ? 0 : w.pad_before), pitch, padded_plane,
                              part.planes, h.input};
    bool nan;
    const bool indices = part.taps != nullptr;
    TI* taps = reinterpret_cast<TI*>(windows + Room() * (by_lookup ? 1 : 2));
    if (kTwoVectors && vectors == 2) {
      nan = indices ? GrowTaps<L, kTwoVectors>(lanes, steps, w, part.x, planes, taps)
                    : GrowLanes<L, kTwoVectors>(lanes, steps, part.x, w.input, w.stride != 1, planes);
    } else if (by_lookup) {
      nan = indices ? GrowTaps<L, false>(lanes, steps, w, part.x, planes, taps)
                    : GrowLanes<L, false>(lanes, steps, part.x, w.input, w.stride != 1, planes);
    } else {
      nan = SpreadRows(lanes, part.x, w.input, w.input, planes);
      // All rows in one, with the padding between them.
      windows += Room();
      const RowPairs<T> pairs = {Rows(), Room(), windows, Room(), 1};
      const int64_t count = (part.planes * padded_plane + above * pitch + n - 1) / n;
      if (indices) {
        SlideTapRows(RawLanes(lanes), TapRowPairs<T, TI>{pairs, taps, windows, taps, 0, 0}, w.kernel, count, n);
        for (int64_t p = 0; p < part.planes; ++p) {
          NumberRows(w, h.input, pitch, taps + p * padded_plane);
        }
      } else {
        SlideRowsOf(RawLanes(lanes), pairs, w.kernel, windows, count);
      }
    }
    const int64_t first = part.oh * h.stride;
    RowWindows<T> rows = {windows,    pitch,    padded_plane, part.planes, h.kernel, h.stride,
                          part.lines, w.output, part.y,       w.output,    out_plane};
    if (indices) {
      PoolTapRowsOf(lanes, TapRowWindows<T, TI>{rows, taps, w.kernel, first - h.pad_before, h.input, 0, part.taps,
                                                w.output, out_plane, call.taps.bytes});
    } else {
      rows.from += first * pitch;
      PoolRowsOf(lanes, rows);
    }
    return nan;
  }

  // One plane by way of scratch: nothing beyond it is read or written.
  [[gnu::cold]] HWY_NOINLINE bool PoolApart(const Part& part) const {
    T* const x = reinterpret_cast<T*>(scratch + kInputAt);
    T* const y = reinterpret_cast<T*>(scratch + kOutputAt);
    std::memcpy(x, part.x, static_cast<size_t>(in_plane) * sizeof(T));
    std::memset(x + in_plane, 0, static_cast<size_t>(2 * n) * sizeof(T));
    uint8_t* const taps = part.taps == nullptr ? nullptr : reinterpret_cast<uint8_t*>(scratch + kTapsAt);
    const bool nan = PoolPart({x, y, taps, 1, part.oh, part.lines});
    const size_t outputs = static_cast<size_t>(part.lines * g.axis[kWidth].output);
    std::memcpy(part.y, y, outputs * sizeof(T));
    if (taps != nullptr) std::memcpy(part.taps, taps, outputs * static_cast<size_t>(call.taps.bytes));
    return nan;
  }

  [[gnu::cold]] void Run(ForwardKernel separable) {
    const int64_t height = g.axis[kHeight].output;
    const bool indices = call.taps.base != nullptr;
    const int64_t most = (Room() - padding) / padded_plane;
    const int64_t prepared = HWY_MIN(most, (call.end - call.begin + height - 1) / height + 1);
    Prepare(prepared);
    const Strides& t = call.taps.strides;
    for (int64_t begin = call.begin; begin < call.end;) {
      const int64_t oh = begin % height, plane = begin / height, c = plane % g.channels, image = plane / g.channels;
      Part part = {static_cast<const T*>(call.x) + image * g.input.batch + c * g.input.channel,
                   static_cast<T*>(call.y) + image * g.output.batch + c * g.output.channel + oh * g.axis[kWidth].output,
                   indices ? static_cast<uint8_t*>(call.taps.base) +
                                 (image * t.batch + c * t.channel + oh * g.axis[kWidth].output - call.taps.origin) *
                                     call.taps.bytes
                           : nullptr,
                   1,
                   oh,
                   HWY_MIN(height - oh, call.end - begin)};
      bool nan;
      // Whole planes whose vectors end in planes that are still to come.
      const int64_t spills = HWY_MAX(n - g.axis[kWidth].output, 0);
      const int64_t reads = HWY_MAX(vectors, 1) * n - g.axis[kWidth].input;
      const int64_t behind =
          HWY_MAX((HWY_MAX(reads, 0) + in_plane - 1) / in_plane, (spills + out_plane - 1) / out_plane);
      int64_t whole = HWY_MIN((call.end - begin) / height, g.channels - c) - behind;
      if (part.lines < height) whole = 0;
      if (g.input.channel != in_plane || g.output.channel != out_plane || (indices && t.channel != out_plane))
        whole = 0;
      if (whole > 0) {
        part.planes = HWY_MIN(whole, most);
        nan = PoolPart(part);
      } else {
        nan = PoolApart(part);
      }
      const int64_t done = part.planes * part.lines;
      if (nan) {
        ForwardCall redo = call;
        redo.begin = begin;
        redo.end = begin + done;
        separable(redo);
        Prepare(prepared);  // the redo had the scratch
      }
      begin += done;
    }
  }
};

// --- Many planes side by side ----------------------------------------------------------------------------------------

// Dense planes, one in each lane, transposed on the way into scratch and out of it: along both axes as channels-last.
// (As integer keys, whose maxima run on twice the pipes, mapping costs more than they gain: 1.2 times channels-last.)
// AVX2, f32: 13x13, 5 s1 and 13 s1 take 0.8 and 0.5 times as long as ShortRows, with indices 0.85 and 0.42 times;
// 28x28, 5 s1, 0.83 times as long as LongRows. Not so if a row fits into a vector (0.9 to 1.9 times), or tap by tap (4
// s1: 2.3 times).
template <class L, class T = typename L::Element>
struct PlanesAbreast {
  using TI = hwy::MakeSigned<typename L::Lane>;
  static constexpr int64_t kMostOffsets = kFirstOffsets / 2;  // per axis
  // Vectors of blocks of four lanes.
  static constexpr bool kHas =
      kHasFixedSize && !kHasLookupOfTwo && sizeof(T) == 4 && hn::MaxLanes(hn::ScalableTag<typename L::Lane>()) >= 8;

  const ForwardCall& call;
  const Geometry& g;
  const int64_t n, in_plane, out_plane, rows_plane;  // elements; rows_plane between the axes
  int64_t* const columns;                            // offsets
  int64_t* const lines;
  TI* const column_names;
  TI* const line_names;
  Steps column_steps = {1, 1}, line_steps = {1, 1};

  PlanesAbreast(const ForwardCall& c, int64_t lanes)
      : call(c),
        g(*c.geometry),
        n(lanes),
        in_plane(g.axis[kHeight].input * g.axis[kWidth].input),
        out_plane(g.axis[kHeight].output * g.axis[kWidth].output),
        rows_plane(g.axis[kHeight].input * g.axis[kWidth].output),
        columns(reinterpret_cast<int64_t*>(static_cast<char*>(c.scratch) + kFirstBytes)),
        lines(columns + kMostOffsets),
        column_names(reinterpret_cast<TI*>(lines + kMostOffsets)),
        line_names(column_names + kMostOffsets) {}

  bool Takes() const {
    const Axis &d = g.axis[kDepth], &h = g.axis[kHeight], &w = g.axis[kWidth];
    const bool indices = call.taps.base != nullptr;
    for (const Axis& a : {h, w}) {
      if (a.kernel > 1 && (a.stride != 1 || TileOf(a.kernel, a.output) == 1)) return false;
    }
    if (!kHas || w.input <= n || d.input != 1 || d.output != 1 || in_plane < 4 || out_plane < (indices ? 16 : 4))
      return false;
    if ((h.input > 1 && g.input.axis[kHeight] != w.input) || (h.output > 1 && g.output.axis[kHeight] != w.output)) {
      return false;
    }
    constexpr int64_t kFarthest = INT32_MAX / 64;
    if (HWY_MAX(g.input.channel, g.output.channel) > kFarthest) return false;
    if (OffsetCount(h, h.output) > kMostOffsets || OffsetCount(w, w.output) > kMostOffsets) return false;
    const int64_t buffers = HWY_MAX(in_plane, out_plane) + rows_plane + (indices ? out_plane + rows_plane : 0);
    if (buffers * n * static_cast<int64_t>(sizeof(T)) > kFirstBytes) return false;
    return !indices || (call.taps.bytes == 1 && (h.output <= 1 || call.taps.strides.axis[kHeight] == w.output) &&
                        call.taps.strides.channel <= kFarthest);
  }

  // Where the blocks of a vector of planes are.
  template <class To>
  void FillBlocks(int64_t channel, To (&at)[4]) const {
    for (int64_t b = 0; b < HWY_MIN(n / 4, 4); ++b) at[b] = static_cast<To>(4 * b * channel);
  }

  // True if a NaN was seen.
  [[gnu::hot]] HWY_NOINLINE bool Load(const T* HWY_RESTRICT x, T* HWY_RESTRICT to) const {
    const hn::ScalableTag<typename L::Lane> d;
    int32_t at[4];
    FillBlocks(g.input.channel, at);
    const int64_t channel = g.input.channel;
    auto seen0 = NoSquares(d), seen1 = seen0, seen2 = seen0, seen3 = seen0;
    for (int64_t i = 0; i < in_plane; i += 4) {
      i = HWY_MIN(i, in_plane - 4);
      auto v0 = LoadBlocks(d, x + i, at), v1 = LoadBlocks(d, x + i + channel, at);
      auto v2 = LoadBlocks(d, x + i + 2 * channel, at), v3 = LoadBlocks(d, x + i + 3 * channel, at);
      NoteSquare<L>(v0, seen0), NoteSquare<L>(v1, seen1), NoteSquare<L>(v2, seen2), NoteSquare<L>(v3, seen3);
      TransposeFours(d, v0, v1, v2, v3);
      T* HWY_RESTRICT p = to + i * n;
      hn::StoreU(v0, d, p), hn::StoreU(v1, d, p + n), hn::StoreU(v2, d, p + 2 * n), hn::StoreU(v3, d, p + 3 * n);
    }
    return SawNan<L>(d, seen0, seen1, seen2, seen3);
  }

  [[gnu::hot]] HWY_NOINLINE void Store(const T* HWY_RESTRICT from, T* HWY_RESTRICT y) const {
    const hn::ScalableTag<typename L::Lane> d;
    int32_t at[4];
    FillBlocks(g.output.channel, at);
    const int64_t channel = g.output.channel;
    for (int64_t i = 0; i < out_plane; i += 4) {
      i = HWY_MIN(i, out_plane - 4);
      const T* HWY_RESTRICT p = from + i * n;
      auto v0 = hn::LoadU(d, p), v1 = hn::LoadU(d, p + n), v2 = hn::LoadU(d, p + 2 * n), v3 = hn::LoadU(d, p + 3 * n);
      TransposeFours(d, v0, v1, v2, v3);
      StoreBlocks(d, v0, y + i, at), StoreBlocks(d, v1, y + i + channel, at);
      StoreBlocks(d, v2, y + i + 2 * channel, at), StoreBlocks(d, v3, y + i + 3 * channel, at);
    }
  }

  // Tap numbers to bytes: those of four neighbours in each lane.
  [[gnu::hot]] HWY_NOINLINE void StoreTaps(const TI* HWY_RESTRICT from, uint8_t* HWY_RESTRICT to) const {
    const hn::ScalableTag<TI> d;
    const hn::Repartition<uint8_t, decltype(d)> d8;
    int32_t at[4];
    FillBlocks(call.taps.strides.channel, at);
    const int64_t channel = call.taps.strides.channel;
    for (int64_t i = 0; i < out_plane; i += 16) {
      i = HWY_MIN(i, out_plane - 16);
      const auto four = [&](int64_t first) PEAKPOOL_INLINED {
        const TI* HWY_RESTRICT p = from + (i + first) * n;
        const auto low = hn::Or(hn::LoadU(d, p), hn::ShiftLeft<8>(hn::LoadU(d, p + n)));
        const auto high = hn::Or(hn::LoadU(d, p + 2 * n), hn::ShiftLeft<8>(hn::LoadU(d, p + 3 * n)));
        return hn::Or(low, hn::ShiftLeft<16>(high));
      };
      auto v0 = four(0), v1 = four(4), v2 = four(8), v3 = four(12);
      TransposeFours(d, v0, v1, v2, v3);
      const auto store = [&](int64_t plane, hn::Vec<decltype(d)> v)
                             PEAKPOOL_INLINED { StoreBlocks(d8, hn::BitCast(d8, v), to + i + plane * channel, at); };
      store(0, v0), store(1, v1), store(2, v2), store(3, v3);
    }
  }

  // The offsets of taps, unless the scratch was lent since.
  void Prepare() {
    const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
    column_steps = FillOffsets(w, 0, w.output, Ring::None(), n, columns);
    line_steps = FillOffsets(h, 0, h.output, Ring::None(), w.output * n, lines);
    FillNames(w, 0, w.output, column_names);
    std::fill_n(line_names, OffsetCount(h, h.output), TI{0});
  }

  // N planes. True if a NaN was seen.
  [[gnu::cold]] HWY_NOINLINE bool Pool(L lanes, const T* x, T* y, uint8_t* taps) const {
    const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
    T* const planes = static_cast<T*>(call.scratch);
    T* const rows = planes + HWY_MAX(in_plane, out_plane) * n;
    TI* const row_taps = reinterpret_cast<TI*>(rows + rows_plane * n);
    TI* const plane_taps = row_taps + rows_plane * n;
    const int64_t row = w.output * n;
    const L raw = RawLanes(lanes);
    if (Load(x, planes)) return true;
    if (taps == nullptr) {
      Reduce(Columns<T>{columns, column_steps, w.kernel, w.output, h.input, n, planes, w.input * n, rows, row, n}, raw,
             raw);
      Reduce(Columns<T>{lines, line_steps, h.kernel, h.output, 1, row, rows, 0, planes, 0, row}, raw, lanes);
    } else {
      ReduceTaps<false>(TapColumns<T, TI>{columns,
                                          column_names,
                                          column_steps,
                                          w.kernel,
                                          w.output,
                                          h.input,
                                          n,
                                          planes,
                                          nullptr,
                                          w.input * n,
                                          rows,
                                          row,
                                          n,
                                          reinterpret_cast<uint8_t*>(row_taps),
                                          row,
                                          n,
                                          0,
                                          0,
                                          static_cast<TI>(-w.kernel),
                                          0},
                        raw, raw);
      ReduceTaps<true>(TapColumns<T, TI>{lines,
                                         line_names,
                                         line_steps,
                                         h.kernel,
                                         h.output,
                                         w.output,
                                         n,
                                         rows,
                                         row_taps,
                                         n,
                                         planes,
                                         n,
                                         row,
                                         reinterpret_cast<uint8_t*>(plane_taps),
                                         n,
                                         row,
                                         0,
                                         static_cast<TI>(h.Begin(0) * w.kernel + w.Begin(0)),
                                         static_cast<TI>(w.stride),
                                         static_cast<TI>(h.stride * w.kernel)},
                       raw, lanes);
      StoreTaps(plane_taps, taps);
    }
    Store(planes, y);
    return false;
  }
};

template <class L>
[[gnu::cold]] HWY_NOINLINE void PoolPlanes(const ForwardCall& call, L lanes, ForwardKernel separable) {
  using T = typename L::Element;
  const Geometry& g = *call.geometry;
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  const hn::ScalableTag<typename L::Lane> d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const int64_t depth = g.axis[kDepth].output, height = h.output;
  // To prepare a small plane takes most of its time: many are faster side by side in vectors.
  const int64_t planes = (call.end - call.begin) / (height * depth);
  // 1-D, f32: 1.1 to 3 times as fast, 2 to 4 times with indices; 20 wide, f16, alike.
  const bool side_by_side =
      h.input == 1 && planes >= 4 * n && (call.taps.base != nullptr || sizeof(T) >= 4 || 2 * w.input < n);
  // Small planes of 8-bit elements: 7x7, 5 s1, on AVX3 in 0.6 of the time.
  const bool few_lanes = planes >= n && 8 * HWY_MIN(w.input, w.output) <= n;
  const Strips<L> strips = {call, g};
  const bool in_strips = strips.Takes();
  if (!in_strips && !side_by_side && !few_lanes) {
    ShortRows<L> short_rows(call, lanes);
    if (short_rows.Takes()) {
      short_rows.Run(separable);
      return;
    }
  }
  const bool indices = call.taps.base != nullptr;
  LongRows<L> rows(g, n);
  LongTapRows<L> tap_rows(g, n);
  // Many rows with taps are faster side by side, too: 1-D, 9 s1, 200 wide, f32, twice.
  if (in_strips || (indices ? tap_rows.Fits(call) && (h.input > 1 || planes < n) : rows.Fits(n))) {
    // 1-D, 5 s1, f32: 2 to 10 times up to 64 wide, alike at 180; 9 x 16: 2.4 times.
    if (!in_strips && h.input * w.input <= 12 * n && planes >= n) {
      separable(call);
      return;
    }
    for (int64_t begin = call.begin; begin < call.end;) {
      const int64_t oh = begin % height, od = begin / height % depth, plane = begin / height / depth;
      const int64_t image = plane / g.channels, c = plane % g.channels;
      int64_t lines = HWY_MIN(call.end - begin, height - oh), whole = 1;
      const T* x = static_cast<const T*>(call.x) + image * g.input.batch + c * g.input.channel +
                   g.axis[kDepth].Begin(od) * g.input.axis[kDepth];
      T* y = static_cast<T*>(call.y) + image * g.output.batch + c * g.output.channel + od * g.output.axis[kDepth];
      // Where rows are dense, stores may spill into the next one.
      const bool dense = g.output.axis[kHeight] == w.output && rows.columns == w.output;
      const T* y_end = dense ? y + (oh + lines) * w.output : nullptr;
      const Strides& t = call.taps.strides;
      uint8_t* const taps =
          indices ? static_cast<uint8_t*>(call.taps.base) +
                        (image * t.batch + c * t.channel + od * t.axis[kDepth] - call.taps.origin) * call.taps.bytes
                  : nullptr;
      bool nan = false;
      if (in_strips) {
        if (depth == 1 && lines == height) {
          whole = HWY_MIN(HWY_MIN((call.end - begin) / height, g.channels - c), strips.Most());
        }
        if constexpr (Strips<L>::kHas) nan = strips.Pool(lanes, x, y, taps, oh, oh + lines, whole);
        lines *= whole;
      } else if (indices) {
        nan = tap_rows.Pool(lanes, x, y, taps, call.taps, oh, oh + lines, call.scratch);
      } else {
        nan = rows.Pool(lanes, x, y, y_end, oh, oh + lines, call.scratch);
      }
      if (nan) {
        ForwardCall redo = call;
        redo.begin = begin;
        redo.end = begin + lines;
        separable(redo);
        rows.prepared = false;
      }
      begin += lines;
    }
    return;
  }
  separable(call);
}

template <class L>
[[gnu::cold]] void PoolCallFirst(const ForwardCall& call, L lanes, ForwardKernel separable) {
  using T = typename L::Element;
  const Geometry& g = *call.geometry;
  const int64_t n = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<typename L::Lane>()));
  const bool indices = call.taps.base != nullptr;
  if constexpr (PlanesAbreast<L>::kHas) {
    PlanesAbreast<L> abreast(call, n);
    if (abreast.Takes()) {
      const int64_t height = g.axis[kHeight].output;
      const Strides& t = call.taps.strides;
      bool prepared = false;
      for (ForwardCall part = call; part.begin < call.end; part.begin = part.end) {
        const int64_t oh = part.begin % height, plane = part.begin / height, c = plane % g.channels;
        const int64_t image = plane / g.channels;
        const int64_t whole = HWY_MIN((call.end - part.begin) / height, g.channels - c);
        if (oh != 0) {
          part.end = HWY_MIN(call.end, part.begin + height - oh);
        } else {
          part.end = whole >= n ? part.begin + n * height : HWY_MIN(call.end, part.begin + (g.channels - c) * height);
        }
        if (oh != 0 || whole < n) {
          PoolPlanes(part, lanes, separable);
          prepared = false;
          continue;
        }
        if (!prepared) abreast.Prepare();
        prepared = true;
        const T* const x = static_cast<const T*>(call.x) + image * g.input.batch + c * g.input.channel;
        T* const y = static_cast<T*>(call.y) + image * g.output.batch + c * g.output.channel;
        uint8_t* const taps =
            indices ? static_cast<uint8_t*>(call.taps.base) + image * t.batch + c * t.channel - call.taps.origin
                    : nullptr;
        if (abreast.Pool(lanes, x, y, taps)) {
          separable(part);
          prepared = false;
        }
      }
      return;
    }
  }
  PoolPlanes(call, lanes, separable);
}

}  // namespace wide

template <class L>
void WideChannelsFirst(const ForwardCall& call, L lanes, ForwardKernel separable) {
  if constexpr (kHasWide<L>) {
    wide::PoolCallFirst(call, lanes, separable);
  } else {
    static_cast<void>(lanes);
    separable(call);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WIDE_CHANNELS_FIRST_INL_H_
