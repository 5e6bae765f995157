// SPDX-License-Identifier: Apache-2.0
// Windows of any size along one axis whose taps are whole runs of neighbouring elements: van Herk in registers. The
// wide kernels of both layouts reduce their axes with it, one after the other.
//
// G neighbouring outputs of windows of k >= G taps share all but their first and last G - 1 taps: suffix maxima of the
// first ones, one maximum of the shared ones, a running maximum of the last ones. That is k + 2G - 4 maxima and k + G -
// 1 loads, with k at run time; through memory, van Herk and doubling take 2 to 4 times as long. Branches that skip taps
// in the padding cost more than they save (1.1 to 1.25 times; 13x13 windows of as many taps 0.95); tiles of 13 take 0.9
// times as long for 13 and 31 taps on AVX3, for 3 KB, and 1.5 times on AVX2.
#if defined(PEAKPOOL_SRC_KERNELS_WIDE_COLUMNS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WIDE_COLUMNS_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WIDE_COLUMNS_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WIDE_COLUMNS_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "src/geometry.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace wide {

// How windows follow each other: output o has the taps from o * tap_step on, and `tile` outputs are reduced at a time.
struct Steps {
  int64_t tap_step;  // 1: windows overlap by all but one tap
  int64_t tile;      // 1: tap by tap
};

// One axis of a block: `outputs` windows, for each of `runs` runs of `length` elements. All steps are in elements.
template <class T>
struct Columns {
  const int64_t* offset;  // of the taps from `from`
  Steps steps;
  int64_t kernel, outputs, runs, length;
  const T* from;
  int64_t from_run;
  T* to;
  int64_t to_run, to_output;
};

// Where the positions of an axis are: p at p * pitch, or those from `base` on in a ring of `slots`, which hold no fewer
// positions than one pass reads.
struct Ring {
  int64_t slots, base, first_slot;

  static Ring None() { return {INT64_MAX, 0, 0}; }
  static Ring From(int64_t slots, int64_t base) { return {slots, base, base % slots}; }
  int64_t Slot(int64_t position) const {
    const int64_t slot = position - base + first_slot;
    return slot < slots ? slot : slot - slots;
  }
};

// Tiles hold no more outputs than there are, nor than a window has taps; those of 5 take windows of 4 as well: but for
// the first output these go on where the suffix maxima end. (4 taps in half of the time that tap by tap takes
// channels-last, in 0.75 channels-first; 6 in tiles of 7 1.2 times as long on AVX2.)
inline int64_t MostOfTile(int64_t kernel, int64_t outputs) { return HWY_MIN(kernel == 4 ? 5 : kernel, outputs); }

// Outputs per tile: that with the fewest operations. More of them share more, but the last tile overlaps the one
// before.
[[gnu::cold]] HWY_NOINLINE inline int64_t TileOf(int64_t kernel, int64_t outputs) {
  int64_t best = 1, least = 2 * kernel * outputs;
  for (int64_t g : {5, 7}) {
    if (g > MostOfTile(kernel, outputs)) break;
    const int64_t cost = (outputs + g - 1) / g * (2 * kernel + 4 * g - 5);
    if (cost <= least) least = cost, best = g;
  }
  return best;
}

// The offsets of the taps of windows [o, o + outputs). Those in the padding are replaced by the nearest ones of the
// window, which a maximum does not mind; no window may be empty.
[[gnu::cold]] HWY_NOINLINE inline Steps FillOffsets(const Axis& axis, int64_t o, int64_t outputs, const Ring& ring,
                                                    int64_t pitch, int64_t* HWY_RESTRICT offset) {
  if (axis.stride == 1 && axis.dilation == 1) {
    const int64_t begin = axis.Begin(o), last = axis.input - 1;
    for (int64_t i = 0; i < outputs + axis.kernel - 1; ++i) {
      offset[i] = ring.Slot(HWY_MIN(HWY_MAX(begin + i, 0), last)) * pitch;
    }
    return {1, TileOf(axis.kernel, outputs)};
  }
  for (int64_t j = 0; j < outputs; ++j) {
    const int64_t first = axis.FirstTap(o + j), last = axis.TapEnd(o + j) - 1;
    for (int64_t t = 0; t < axis.kernel; ++t) {
      const int64_t tap = HWY_MIN(HWY_MAX(t, first), last);
      *offset++ = ring.Slot(axis.Begin(o + j) + tap * axis.dilation) * pitch;
    }
  }
  return {axis.kernel, 1};
}
// The first and last position that window o takes.
inline int64_t First(const Axis& axis, int64_t o) { return axis.Begin(o) + axis.FirstTap(o) * axis.dilation; }
inline int64_t Last(const Axis& axis, int64_t o) { return axis.Begin(o) + (axis.TapEnd(o) - 1) * axis.dilation; }

inline int64_t OffsetCount(const Axis& axis, int64_t outputs) {
  return axis.stride == 1 && axis.dilation == 1 ? outputs + axis.kernel - 1 : outputs * axis.kernel;
}

// Lanes that leave what the first pass has mapped as it is.
template <class T>
HWY_INLINE NativeLanes<T> RawLanes(NativeLanes<T> lanes) {
  return lanes;
}
template <class I>
HWY_INLINE IntegerLanes<I> RawLanes(IntegerLanes<I> /*lanes*/) {
  return {0};
}
HWY_INLINE HalfLanes RawLanes(HalfLanes /*lanes*/) { return HalfLanes::Of<int16_t>(); }

// The lane below all others.
template <class T>
HWY_INLINE T LowestOf(NativeLanes<T> /*lanes*/) {
  return -hwy::HighestValue<T>() * 2;
}
template <class I>
HWY_INLINE I LowestOf(IntegerLanes<I> /*lanes*/) {
  return hwy::LimitsMin<I>();
}
HWY_INLINE int16_t LowestOf(HalfLanes /*lanes*/) { return hwy::LimitsMin<int16_t>(); }

// Whether a NaN was among the vectors whose squares were summed.
template <class L, class D, class V = hn::Vec<D>>
HWY_INLINE bool SawNan(D d, V seen0, V seen1, V seen2, V seen3) {
  if constexpr (L::kTracksNan) {
    return !hn::AllFalse(d, hn::Or(EitherNan(d, seen0, seen1), EitherNan(d, seen2, seen3)));
  }
  return false;
}

// Whether an element of a block of `rows` x `columns` runs of `length` is NaN.
template <class L, class T = typename L::Element>
HWY_NOINLINE bool AnyNan(L in, const T* x, int64_t rows, int64_t row, int64_t columns, int64_t column, int64_t length) {
  if (!L::kTracksNan) return false;
  if (column == length) length *= columns, columns = 1;
  const hn::ScalableTag<typename L::Lane> d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  auto seen0 = NoSquares(d), seen1 = seen0, seen2 = seen0, seen3 = seen0;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      const T* HWY_RESTRICT p = x + r * row + c * column;
      int64_t j = 0;
      for (; j + 4 * n <= length; j += 4 * n) {
        NoteSquare<L>(in.Load(d, p + j), seen0), NoteSquare<L>(in.Load(d, p + j + n), seen1);
        NoteSquare<L>(in.Load(d, p + j + 2 * n), seen2), NoteSquare<L>(in.Load(d, p + j + 3 * n), seen3);
      }
      if (j + 2 * n <= length) {
        NoteSquare<L>(in.Load(d, p + j), seen0), NoteSquare<L>(in.Load(d, p + j + n), seen1);
        j += 2 * n;
      }
      for (; j < length; j += n) NoteSquare<L>(in.Load(d, p + HWY_MIN(j, length - n)), c % 2 == 0 ? seen2 : seen3);
    }
  }
  return SawNan<L>(d, seen0, seen1, seen2, seen3);
}

// kVectors (1, 2 or 4) vectors of one output, tap by tap.
template <class L, int kVectors, class D, class V = hn::Vec<D>, class T = typename L::Element>
HWY_INLINE void ReduceEachTap(D d, L in, L out, const int64_t* HWY_RESTRICT offset, int64_t kernel,
                              const T* HWY_RESTRICT from, T* HWY_RESTRICT to, V& seen0, V& seen1, V& seen2, V& seen3) {
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  V m0 = in.Load(d, from + offset[0]), m1 = m0, m2 = m0, m3 = m0;
  if constexpr (kVectors > 1) m1 = in.Load(d, from + offset[0] + n);
  if constexpr (kVectors > 2) m2 = in.Load(d, from + offset[0] + 2 * n), m3 = in.Load(d, from + offset[0] + 3 * n);
  const auto fold = [&](int64_t at, V& m, V& seen) PEAKPOOL_INLINED {
    const V v = in.Load(d, from + at);
    NoteSquare<L>(v, seen);
    m = hn::Max(m, v);
  };
  NoteSquare<L>(m0, seen0);
  if constexpr (kVectors > 1) NoteSquare<L>(m1, seen1);
  if constexpr (kVectors > 2) NoteSquare<L>(m2, seen2), NoteSquare<L>(m3, seen3);
  for (int64_t t = 1; t < kernel; ++t) {
    fold(offset[t], m0, seen0);
    if constexpr (kVectors > 1) fold(offset[t] + n, m1, seen1);
    if constexpr (kVectors > 2) fold(offset[t] + 2 * n, m2, seen2), fold(offset[t] + 3 * n, m3, seen3);
  }
  out.Store(d, m0, to);
  if constexpr (kVectors > 1) out.Store(d, m1, to + n);
  if constexpr (kVectors > 2) out.Store(d, m2, to + 2 * n), out.Store(d, m3, to + 3 * n);
}

// Windows tap by tap. True if a NaN was seen.
template <class L, class T = typename L::Element>
HWY_NOINLINE bool ReduceEach(const Columns<T>& c, L in, L out) {
  const hn::ScalableTag<typename L::Lane> d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  // Runs that follow each other are one. (Tiles of ReduceShared: 6 to 11 % slower.)
  const bool dense = c.from_run == c.length && c.to_run == c.length;
  const int64_t kernel = c.kernel, runs = dense ? 1 : c.runs, length = dense ? c.length * c.runs : c.length;
  auto seen0 = NoSquares(d), seen1 = seen0, seen2 = seen0, seen3 = seen0;
  for (int64_t run = 0; run < runs; ++run) {
    const int64_t* HWY_RESTRICT offset = c.offset;
    const T* HWY_RESTRICT from = c.from + run * c.from_run;
    T* HWY_RESTRICT to = c.to + run * c.to_run;
    for (int64_t o = 0; o < c.outputs; ++o, offset += c.steps.tap_step, to += c.to_output) {
      int64_t j = 0;
      for (; j + 4 * n <= length; j += 4 * n) {
        ReduceEachTap<L, 4>(d, in, out, offset, kernel, from + j, to + j, seen0, seen1, seen2, seen3);
      }
      if (j + 2 * n <= length) {
        ReduceEachTap<L, 2>(d, in, out, offset, kernel, from + j, to + j, seen0, seen1, seen2, seen3);
        j += 2 * n;
      }
      for (; j < length; j += n) {
        j = HWY_MIN(j, length - n);
        ReduceEachTap<L, 1>(d, in, out, offset, kernel, from + j, to + j, seen0, seen1, seen2, seen3);
        // The next one's sum does not wait for this one's (16 channels, 256x256, 4 s1, with dense runs: 0.58 of the
        // time).
        const auto seen = seen0;
        seen0 = seen1, seen1 = seen2, seen2 = seen3, seen3 = seen;
      }
    }
  }
  return SawNan<L>(d, seen0, seen1, seen2, seen3);
}

// One vector of kG (5 or 7) neighbouring outputs, or two vectors that are `apart` in `from` and `to_apart` in `to`:
// they share the address arithmetic. The first kG taps are searched for NaN: so all of an axis are, but for those after
// the last output's first. (AnyNan for all takes a tenth to a third of the time.)
template <class L, int kG, bool kTwo, class D, class T = typename L::Element>
HWY_INLINE void ReduceTile(D d, L in, L out, const int64_t* HWY_RESTRICT offset, int64_t kernel,
                           const T* HWY_RESTRICT from, int64_t apart, T* HWY_RESTRICT to, int64_t to_apart,
                           int64_t to_output, hn::Vec<D>& seen0, hn::Vec<D>& seen1, hn::Vec<D>& seen2,
                           hn::Vec<D>& seen3) {
  using V = hn::Vec<D>;
  const auto load = [&](int64_t i, V& a, V& b) PEAKPOOL_INLINED {
    a = b = in.Load(d, from + offset[i]);
    if constexpr (kTwo) b = in.Load(d, from + offset[i] + apart);
  };
  const auto search = [&](int64_t i, V& x, V& y, V& seen_x, V& seen_y) PEAKPOOL_INLINED {
    load(i, x, y);
    NoteSquare<L>(x, seen_x);
    if constexpr (kTwo) NoteSquare<L>(y, seen_y);
  };
  V a, a0, a1, a2, a3, a4, a5, b, b0, b1, b2, b3, b4, b5;
  search(kG - 1, a, b, seen0, seen1);
  a5 = a4 = a;
  b5 = b4 = b;
  if constexpr (kG > 5) search(5, a5, b5, seen2, seen3), search(4, a4, b4, seen0, seen1);
  search(3, a3, b3, seen2, seen3);
  search(2, a2, b2, seen0, seen1);
  search(1, a1, b1, seen2, seen3);
  search(0, a0, b0, seen0, seen1);
  const auto suffix = [&](V& x, V& y, V next_x, V next_y) PEAKPOOL_INLINED {
    x = hn::Max(x, next_x);
    if constexpr (kTwo) y = hn::Max(y, next_y);
  };
  if constexpr (kG > 5) suffix(a4, b4, a5, b5), suffix(a3, b3, a4, b4);
  suffix(a2, b2, a3, b3);
  suffix(a1, b1, a2, b2);
  suffix(a0, b0, a1, b1);
  const auto extend = [&](int64_t i) PEAKPOOL_INLINED {
    V x, y;
    load(i, x, y);
    a = hn::Max(a, x);
    if constexpr (kTwo) b = hn::Max(b, y);
  };
  for (int64_t i = kG; i < kernel; ++i) extend(i);
  const auto store = [&](V x, V y) PEAKPOOL_INLINED {
    out.Store(d, x, to);
    if constexpr (kTwo) out.Store(d, y, to + to_apart);
    to += to_output;
  };
  offset += kernel - 1;
  const auto output = [&](int64_t i, V x, V y) PEAKPOOL_INLINED {
    store(hn::Max(x, a), kTwo ? hn::Max(y, b) : y);
    extend(i);
  };
  V shared_a = a, shared_b = b;
  if (kG == 5 && HWY_UNLIKELY(kernel < kG)) shared_a = a0, shared_b = b0;
  store(hn::Max(a0, shared_a), kTwo ? hn::Max(b0, shared_b) : b0);
  extend(1);
  output(2, a1, b1);
  output(3, a2, b2);
  output(4, a3, b3);
  if constexpr (kG > 5) output(5, a4, b4), output(6, a5, b5);
  store(a, b);
}

// Neighbouring windows (tap_step 1), MostOfTile >= kG.
template <class L, int kG, class T = typename L::Element>
HWY_NOINLINE bool ReduceShared(const Columns<T>& c, L in, L out) {
  const hn::ScalableTag<typename L::Lane> d;
  auto seen0 = NoSquares(d), seen1 = seen0, seen2 = seen0, seen3 = seen0;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const int64_t kernel = c.kernel, outputs = c.outputs, length = c.length, to_output = c.to_output;
  for (int64_t o = 0; o < outputs; o += kG) {
    o = HWY_MIN(o, outputs - kG);
    const int64_t* HWY_RESTRICT offset = c.offset + o;
    const T* HWY_RESTRICT from = c.from;
    T* HWY_RESTRICT to = c.to + o * to_output;
    int64_t run = 0;
    if (length == n) {
      for (; run + 2 <= c.runs; run += 2, from += 2 * c.from_run, to += 2 * c.to_run) {
        ReduceTile<L, kG, true>(d, in, out, offset, kernel, from, c.from_run, to, c.to_run, to_output, seen0, seen1,
                                seen2, seen3);
      }
    }
    for (; run < c.runs; ++run, from += c.from_run, to += c.to_run) {
      int64_t j = 0;
      for (; j + 2 * n <= length; j += 2 * n) {
        ReduceTile<L, kG, true>(d, in, out, offset, kernel, from + j, n, to + j, n, to_output, seen0, seen1, seen2,
                                seen3);
      }
      for (; j < length; j += n) {
        j = HWY_MIN(j, length - n);
        ReduceTile<L, kG, false>(d, in, out, offset, kernel, from + j, n, to + j, n, to_output, seen0, seen1, seen2,
                                 seen3);
      }
    }
  }
  return SawNan<L>(d, seen0, seen1, seen2, seen3);
}

// True if a NaN was seen: windows tap by tap search all, shared ones those up to the last output's first.
template <class L, class T = typename L::Element>
HWY_NOINLINE bool Reduce(const Columns<T>& c, L in, L out) {
  switch (c.steps.tile) {
    case 5: return ReduceShared<L, 5>(c, in, out);
    case 7: return ReduceShared<L, 7>(c, in, out);
    default: return ReduceEach(c, in, out);
  }
}

// --- With tap numbers ------------------------------------------------------------------------------------------------

// As Columns, for values with tap numbers in signed lanes of the same width. On the way they count from the input's
// first element: with rows of a window's width, taps are the same for all windows but for where those begin.
template <class T, class TI>
struct TapColumns {
  const int64_t* offset;
  const TI* name;  // of the tap at each offset; tile 1: what `from_taps` has there is added to it
  Steps steps;
  int64_t kernel, outputs, runs, length;
  const T* from;
  const TI* from_taps;  // null: none
  int64_t from_run;
  T* to;
  int64_t to_run, to_output;
  uint8_t* to_taps;
  int64_t to_taps_run, to_taps_output;  // in taps
  int tap_bytes;                        // 0: lanes
  // Subtracted from the numbers of output o of a run: base + run * run_shift + o * shift.
  TI base, run_shift, shift;
};

// Whether lanes of this width can number the taps: all arithmetic is modulo their range.
template <class TI>
bool CanNumber(const ForwardCall& call) {
  return call.taps.base == nullptr || sizeof(TI) >= 4 || call.geometry->Taps() <= (int64_t{1} << (8 * sizeof(TI) % 32));
}

// The positions that belong to FillOffsets' offsets.
template <class TI>
[[gnu::cold]] HWY_NOINLINE void FillNames(const Axis& axis, int64_t o, int64_t outputs, TI* HWY_RESTRICT name) {
  if (axis.stride == 1 && axis.dilation == 1) {
    const int64_t begin = axis.Begin(o), last = axis.input - 1;
    for (int64_t i = 0; i < outputs + axis.kernel - 1; ++i) {
      name[i] = static_cast<TI>(HWY_MIN(HWY_MAX(begin + i, 0), last));
    }
    return;
  }
  for (int64_t j = 0; j < outputs; ++j) {
    const int64_t first = axis.FirstTap(o + j), last = axis.TapEnd(o + j) - 1;
    for (int64_t t = 0; t < axis.kernel; ++t) {
      *name++ = static_cast<TI>(axis.Begin(o + j) + HWY_MIN(HWY_MAX(t, first), last) * axis.dilation);
    }
  }
}

// The maximum of v and a later operand, with its tap: of equals the earlier one stays.
template <class D, class V = hn::Vec<D>, class VI = hn::Vec<hn::RebindToSigned<D>>>
HWY_INLINE void FoldLater(D /*d*/, V later, VI later_tap, V& v, VI& tap) {
  const auto greater = hn::Gt(later, v);
  v = hn::Max(v, later);
  tap = hn::IfThenElse(hn::RebindMask(hn::RebindToSigned<D>(), greater), later_tap, tap);
}

// Stores tap numbers as lanes (bytes 0) or as unsigned integers of 1, 2 or 4 bytes: what few calls ask for. (Inline
// 5 KB more.)
template <class DI>
[[gnu::cold]] HWY_NOINLINE void StoreTapLanes(DI di, hn::Vec<DI> taps, int bytes, uint8_t* to) {
  using TI = hn::TFromD<DI>;
  if (bytes == 0 || bytes == static_cast<int>(sizeof(TI))) {
    hn::StoreU(taps, di, reinterpret_cast<TI*>(to));
  } else if (bytes == 1) {
    StoreBytes(di, taps, to);
  } else if constexpr (sizeof(TI) == 4) {
    const hn::Rebind<uint16_t, DI> d16;
    hn::StoreU(hn::DemoteTo(d16, taps), d16, reinterpret_cast<uint16_t*>(to));
  } else {
    using TU = hwy::MakeUnsigned<TI>;
    const hn::RebindToUnsigned<DI> du;
    HWY_ALIGN TU lane[hn::MaxLanes(du)];
    hn::Store(hn::BitCast(du, taps), du, lane);
    for (size_t i = 0; i < hn::Lanes(di); ++i) {
      if (bytes == 2) {
        reinterpret_cast<uint16_t*>(to)[i] = static_cast<uint16_t>(lane[i]);
      } else {
        reinterpret_cast<uint32_t*>(to)[i] = static_cast<uint32_t>(lane[i]);
      }
    }
  }
}

// Where the results of one tile go, output after output. Most taps are stored as bytes, or where another axis follows
// as lanes.
template <class L, bool kToBytes, class D, class T = typename L::Element>
struct TapSink {
  using DI = hn::RebindToSigned<D>;
  using TI = hn::TFromD<DI>;
  L out;
  T* HWY_RESTRICT to;
  uint8_t* HWY_RESTRICT to_taps;
  int64_t to_output, to_taps_output;  // the latter in bytes
  int tap_bytes;
  TI shifted, shift;

  HWY_INLINE TapSink Behind(int64_t elements) const {
    TapSink sink = *this;
    sink.to += elements;
    sink.to_taps += elements * (tap_bytes == 0 ? static_cast<int64_t>(sizeof(TI)) : tap_bytes);
    return sink;
  }
  HWY_INLINE void Store(D d, hn::Vec<D> v, hn::Vec<DI> tap) {
    out.Store(d, v, to);
    if (HWY_UNLIKELY(tap_bytes != (kToBytes ? 1 : 0))) {
      StoreTapLanes(DI(), tap, tap_bytes, to_taps);
    } else if constexpr (kToBytes) {
      StoreBytes(DI(), tap, to_taps);
    } else {
      hn::StoreU(tap, DI(), reinterpret_cast<TI*>(to_taps));
    }
    to += to_output;
    to_taps += to_taps_output;
  }
};

// A tap's value and number.
template <class L, bool kFromTaps, bool kNames, class D, class T = typename L::Element>
struct TapSource {
  static constexpr bool kNamed = kNames;
  using DI = hn::RebindToSigned<D>;
  using TI = hn::TFromD<DI>;
  L in;
  const T* HWY_RESTRICT from;
  const TI* HWY_RESTRICT from_taps;
  const int64_t* HWY_RESTRICT offset;
  const TI* HWY_RESTRICT name;

  HWY_INLINE TapSource Behind(int64_t elements) const {
    TapSource source = *this;
    source.from += elements;
    if constexpr (kFromTaps) source.from_taps += elements;
    return source;
  }
  HWY_INLINE void Load(D d, int64_t i, hn::Vec<D>& v, hn::Vec<DI>& tap) const {
    const DI di;
    v = in.Load(d, from + offset[i]);
    if constexpr (!kNamed) {
      tap = hn::LoadU(di, from_taps + offset[i]);
    } else {
      tap = hn::Set(di, name[i]);
      if constexpr (kFromTaps) tap = hn::Add(tap, hn::LoadU(di, from_taps + offset[i]));
    }
  }
};

// One vector of kG (5 or 7) neighbouring outputs. The first kG taps are searched for NaN.
template <class L, int kG, class D, class Source, class Sink>
HWY_INLINE void ReduceTapTile(D d, const Source& source, int64_t kernel, Sink sink, hn::Vec<D>& seen0,
                              hn::Vec<D>& seen1) {
  using V = hn::Vec<D>;
  using VI = hn::Vec<hn::RebindToSigned<D>>;
  const hn::RebindToSigned<D> di;
  const VI shift = hn::Set(di, sink.shift);
  VI shifted = hn::Set(di, sink.shifted);
  V v, v0, v1, v2, v3, v4, v5, x;
  VI t, t0, t1, t2, t3, t4, t5, y;
  const auto search = [&](int64_t i, V& value, VI& tap, V& seen) PEAKPOOL_INLINED {
    source.Load(d, i, value, tap);
    if constexpr (Source::kNamed) NoteSquare<L>(value, seen);
  };
  search(kG - 1, v, t, seen0);
  v5 = v4 = v;
  t5 = t4 = t;
  if constexpr (kG > 5) search(5, v5, t5, seen1), search(4, v4, t4, seen0);
  search(3, v3, t3, seen1);
  search(2, v2, t2, seen0);
  search(1, v1, t1, seen1);
  search(0, v0, t0, seen0);
  if constexpr (kG > 5) FoldLater(d, v5, t5, v4, t4), FoldLater(d, v4, t4, v3, t3);
  FoldLater(d, v3, t3, v2, t2);
  FoldLater(d, v2, t2, v1, t1);
  FoldLater(d, v1, t1, v0, t0);
  for (int64_t i = kG; i < kernel; ++i) {
    source.Load(d, i, x, y);
    FoldLater(d, x, y, v, t);
  }
  const int64_t last = kernel - 1;
  Source later = source;
  later.offset += last, later.name += last;
  const auto output = [&](int64_t i, V suffix, VI suffix_tap) PEAKPOOL_INLINED {
    if (i > 1 || kG > 5 || HWY_LIKELY(kernel >= kG)) FoldLater(d, v, t, suffix, suffix_tap);
    sink.Store(d, suffix, hn::Sub(suffix_tap, shifted));
    shifted = hn::Add(shifted, shift);
    later.Load(d, i, x, y);
    FoldLater(d, x, y, v, t);
  };
  output(1, v0, t0);
  output(2, v1, t1);
  output(3, v2, t2);
  output(4, v3, t3);
  if constexpr (kG > 5) output(5, v4, t4), output(6, v5, t5);
  sink.Store(d, v, hn::Sub(t, shifted));
}

// kVectors (1 or 4) vectors of one output, tap by tap.
template <int kVectors, class D, class Source, class Sink>
HWY_INLINE void ReduceTapByTap(D d, const Source& source, int64_t kernel, const Sink& sink) {
  using V = hn::Vec<D>;
  using VI = hn::Vec<hn::RebindToSigned<D>>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  V v0, v1, v2, v3;
  VI t0, t1, t2, t3;
  source.Load(d, 0, v0, t0);
  v3 = v2 = v1 = v0;
  t3 = t2 = t1 = t0;
  if constexpr (kVectors > 1) {
    source.Behind(n).Load(d, 0, v1, t1);
    source.Behind(2 * n).Load(d, 0, v2, t2);
    source.Behind(3 * n).Load(d, 0, v3, t3);
  }
  const auto fold = [&](int64_t i, int64_t behind, V& v, VI& t) PEAKPOOL_INLINED {
    V x;
    VI y;
    source.Behind(behind).Load(d, i, x, y);
    FoldLater(d, x, y, v, t);
  };
  for (int64_t i = 1; i < kernel; ++i) {
    fold(i, 0, v0, t0);
    if constexpr (kVectors > 1) fold(i, n, v1, t1), fold(i, 2 * n, v2, t2), fold(i, 3 * n, v3, t3);
  }
  const VI shifted = hn::Set(hn::RebindToSigned<D>(), sink.shifted);
  const auto store = [&](int64_t behind, V v, VI t)
                         PEAKPOOL_INLINED { sink.Behind(behind).Store(d, v, hn::Sub(t, shifted)); };
  store(0, v0, t0);
  if constexpr (kVectors > 1) store(n, v1, t1), store(2 * n, v2, t2), store(3 * n, v3, t3);
}

// kG 1: tap by tap. True if a NaN was seen: shared windows search those up to the last output's first, where they have
// names.
template <class L, int kG, bool kFromTaps, class T = typename L::Element, class TI>
HWY_NOINLINE bool ReduceTapColumns(const TapColumns<T, TI>& c, L in, L out) {
  const hn::ScalableTag<typename L::Lane> d;
  using D = decltype(d);
  auto seen0 = NoSquares(d), seen1 = seen0;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  // What `c` holds would be loaded anew after each store of bytes.
  const int64_t kernel = c.kernel, outputs = c.outputs, runs = c.runs, length = c.length, from_run = c.from_run;
  const int64_t bytes = c.tap_bytes == 0 ? static_cast<int64_t>(sizeof(TI)) : c.tap_bytes;
  const int64_t to_run = c.to_run, to_taps_run = c.to_taps_run * bytes, to_taps_output = c.to_taps_output * bytes;
  const TI run_shift = c.run_shift;
  TapSink<L, kFromTaps, D> sink = {out, c.to, c.to_taps, c.to_output, to_taps_output, c.tap_bytes, c.base, c.shift};
  for (int64_t o = 0; o < outputs; o += kG) {
    o = HWY_MIN(o, outputs - kG);
    const int64_t first = o * c.steps.tap_step;
    TapSource<L, kFromTaps, !kFromTaps || kG == 1, D> source = {in, c.from, kFromTaps ? c.from_taps : nullptr,
                                                                c.offset + first, c.name + first};
    T* to = c.to + o * sink.to_output;
    uint8_t* to_taps = c.to_taps + o * to_taps_output;
    sink.shifted = static_cast<TI>(c.base + o * sink.shift);
    for (int64_t run = 0; run < runs; ++run) {
      for (int64_t j = 0; j < length; j += n) {
        j = HWY_MIN(j, length - n);
        sink.to = to + j;
        sink.to_taps = to_taps + j * bytes;
        if constexpr (kG > 1) {
          ReduceTapTile<L, kG>(d, source.Behind(j), kernel, sink, seen0, seen1);
        } else if (j + 4 * n <= length) {
          ReduceTapByTap<4>(d, source.Behind(j), kernel, sink);
          j += 3 * n;
        } else {
          ReduceTapByTap<1>(d, source.Behind(j), kernel, sink);
        }
      }
      source = source.Behind(from_run);
      to += to_run, to_taps += to_taps_run;
      sink.shifted = static_cast<TI>(sink.shifted + run_shift);
    }
  }
  return SawNan<L>(d, seen0, seen1, seen0, seen1);
}

template <bool kFromTaps, class L, class T, class TI>
HWY_NOINLINE bool ReduceTaps(const TapColumns<T, TI>& c, L in, L out) {
  return c.steps.tile >= 7   ? ReduceTapColumns<L, 7, kFromTaps>(c, in, out)
         : c.steps.tile >= 5 ? ReduceTapColumns<L, 5, kFromTaps>(c, in, out)
                             : ReduceTapColumns<L, 1, kFromTaps>(c, in, out);
}

}  // namespace wide

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WIDE_COLUMNS_INL_H_
