// SPDX-License-Identifier: Apache-2.0
// Small windows channels-first, both axes fused: vertical maxima of whole rows in registers, then the horizontal step
// by de-interleaving (stride 2) or sliding (stride 1) lanes.
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

#include <cstring>

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/window-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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

// Walks the depth slices that lines [begin, end) of a call lie in; neighbouring whole planes come as one group. Offsets
// are in elements from the bases. The *_end are where the dense run around the slice ends: what may be read, or written
// by this call, beyond a line.
struct SliceWalk {
  SliceWalk(const ForwardCall& c, ForwardKernel a_separable)
      : call(c), g(*c.geometry), separable(a_separable), next(c.begin) {
    slice_lines = g.axis[kHeight].output;
    plane_lines = g.axis[kDepth].output * slice_lines;
    Locate(call.end - 1);
    const int64_t row = (call.end - 1) % slice_lines, width = g.axis[kWidth].output;
    y_limit = At(g.output) + row * g.output.axis[kHeight] + width;
    taps_limit = At(call.taps.strides) + row * call.taps.strides.axis[kHeight] + width;
  }

  bool Next() {
    if (next == call.end) return false;
    line = next;
    Locate(line);
    oh = line % slice_lines;
    stop = HWY_MIN(slice_lines, oh + call.end - line);
    planes = 1;
    next = line + stop - oh;
    if (oh == 0 && stop == plane_lines) {
      planes = HWY_MIN(g.channels - channel, (call.end - line) / plane_lines);
      next = line + planes * plane_lines;
    }
    const Axis &d = g.axis[kDepth], &h = g.axis[kHeight], &w = g.axis[kWidth];
    y = At(g.output);
    y_end = HWY_MIN(y_limit, RunEnd(g.output, d.output, h.output * w.output));
    if (call.taps.base != nullptr) {
      taps = At(call.taps.strides) - call.taps.origin;
      taps_end = HWY_MIN(taps_limit, RunEnd(call.taps.strides, d.output, h.output * w.output)) - call.taps.origin;
    }
    od = depth;
    depth = HWY_MAX(d.Begin(od), 0);
    x = At(g.input);
    x_end = RunEnd(g.input, d.input, h.input * w.input);
    return true;
  }

  // Some planes of this group once more, by the kernel that knows about NaN.
  HWY_NOINLINE void Redo(int64_t plane, int64_t count) const {
    ForwardCall again = call;
    again.begin = line + plane * plane_lines;
    again.end = HWY_MIN(again.begin + count * plane_lines, next);
    separable(again);
  }

  const ForwardCall& call;
  const Geometry& g;
  const ForwardKernel separable;
  int64_t line, oh, stop;  // the first line here, as number of all and within the slice, and the end of the latter
  int64_t planes;          // more than one: whole planes of neighbouring channels
  int64_t n, channel, od;  // of the first plane
  int64_t x, x_end;        // of the first (for depth kernel 1: the only) input slice
  int64_t y, y_end;
  int64_t taps = 0, taps_end = 0;

 private:
  void Locate(int64_t a_line) {
    n = a_line / plane_lines / g.channels;
    channel = a_line / plane_lines % g.channels;
    depth = a_line % plane_lines / slice_lines;
  }
  int64_t At(const Strides& s) const { return n * s.batch + channel * s.channel + depth * s.axis[kDepth]; }
  int64_t RunEnd(const Strides& s, int64_t slices, int64_t slice) const {
    int64_t end = At(s) + slice;
    if (slices > 1 && s.axis[kDepth] != slice) return end;
    end += (slices - 1 - depth) * slice;
    if (g.channels > 1 && s.channel != slices * slice) return end;
    end += (g.channels - 1 - channel) * slices * slice;
    if (g.batch > 1 && s.batch != g.channels * slices * slice) return end;
    return end + (g.batch - 1 - n) * g.channels * slices * slice;
  }
  int64_t slice_lines, plane_lines, next, depth, y_limit, taps_limit;
};

// Greatest so far and its tap number; strictly greater replaces.
template <class D, class V, class VI>
HWY_INLINE void Fold(D /*d*/, V v, VI tap, V& best, VI& best_tap) {
  const hn::RebindToSigned<D> di;
  const auto greater = hn::Gt(v, best);
  best = hn::Max(best, v);
  best_tap = hn::IfThenElse(hn::RebindMask(di, greater), tap, best_tap);
}

// Tap numbers in lanes of any width as 2 or 4 bytes each, one by one: out of line, few ask for them.
template <class TI>
HWY_NOINLINE void StoreWideTaps(const TI* HWY_RESTRICT lanes, uint8_t* HWY_RESTRICT to, int64_t bytes, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    if (bytes == 2) {
      reinterpret_cast<uint16_t*>(to)[i] = static_cast<uint16_t>(lanes[i]);
    } else {
      reinterpret_cast<uint32_t*>(to)[i] = static_cast<uint32_t>(lanes[i]);
    }
  }
}

// Bytes, the common case, are stored as whole vectors, others `count` of them through one vector of scratch.
template <class DI, class VI>
HWY_INLINE void StoreTaps(DI di, VI taps, uint8_t* to, int64_t bytes, int64_t count, void* scratch) {
  if (HWY_LIKELY(bytes == 1)) {
    StoreBytes(di, taps, to);
    return;
  }
  hn::TFromD<DI>* lanes = static_cast<hn::TFromD<DI>*>(scratch);
  hn::Store(taps, di, lanes);
  StoreWideTaps(lanes, to, bytes, count);
}

// Lanes that can be looked up, for elements that are too small for it: wider integers with the same order.
template <class L>
struct PromotedLanes {
  using Element = typename L::Element;
  using Lane = std::conditional_t<sizeof(Element) == 1 && kHasLookup<int16_t>, int16_t, int32_t>;
  static constexpr bool kTracksNan = false;
  template <class D>
  static HWY_INLINE hn::Vec<D> Load(D d, const Element* HWY_RESTRICT p) {
    return hn::PromoteTo(d, L::Load(hn::Rebind<typename L::Lane, D>(), p));
  }
  template <class D>
  static HWY_INLINE void Store(D /*d*/, hn::Vec<D> v, Element* HWY_RESTRICT p) {
    const hn::Rebind<typename L::Lane, D> narrow;
    L::Store(narrow, hn::DemoteTo(narrow, v), p);
  }
};

// How the lines of narrow planes map to vectors. Every form looks columns up by clamped lane indices.
enum class NarrowForm {
  kOneVector,   // a row is one vector, a line another
  kPacked,      // a row is one vector, two lines share one
  kTwoVectors,  // a row is two overlapping vectors, a line one or two
};

// Square windows over rows of at most two vectors; two lines at a time, rows that the next two need stay in registers.
// Loads and stores are whole vectors, ascending: what a store spoils behind its line is stored right later. Only where
// a run of planes ends are planes copied to or from scratch, so the loops below check nothing.
template <class L, int kK, int kS, NarrowForm kForm>
struct NarrowWindow {
  using T = typename L::Element;
  using TI = hwy::MakeSigned<typename L::Lane>;
  static constexpr bool kTwo = kForm == NarrowForm::kTwoVectors;
  static constexpr bool kPacked = kForm == NarrowForm::kPacked;

  // What is the same for all planes.
  struct Tables {
    int64_t width, out_width, stride, pad, tap_bytes;
    const TI* lanes;  // per vector of a line and horizontal tap: lane indices, then tap numbers
  };

  // Scratch: lane tables, a vector for StoreTaps, and one plane each of x, y and taps with slack.
  static constexpr int64_t kTapsVectorAt = 7 << 10, kXAt = 8 << 10, kYAt = 28 << 10, kTapsAt = 48 << 10;
  static_assert(kTapsAt + (16 << 10) <= kScratchBytes, "");

  template <class D>
  static bool Fits(D d, const ForwardCall& call) {
    const Geometry& g = *call.geometry;
    const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
    const int64_t n = static_cast<int64_t>(hn::Lanes(d)), size = sizeof(T), lane = sizeof(TI);
    const int64_t out = (h.output + 1) * w.output + n;
    return 4 * kK * n * lane <= kTapsVectorAt && (g.input.axis[kHeight] * h.input + n) * size <= kYAt - kXAt &&
           out * size <= kTapsAt - kYAt && out * call.taps.bytes <= (16 << 10);
  }

  template <class D>
  static Tables MakeTables(D d, const ForwardCall& call) {
    const Geometry& g = *call.geometry;
    const Axis& w = g.axis[kWidth];
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    TI* lanes = static_cast<TI*>(call.scratch);
    const Tables tables = {w.input,         w.output, g.input.axis[kHeight], g.axis[kHeight].pad_before,
                           call.taps.bytes, lanes};
    for (int64_t v = 0; v < 2; ++v) {
      const int64_t first = v == 0 ? 0 : HWY_MAX(w.output - n, 0);
      for (int64_t t = 0; t < kK; ++t) {
        for (int64_t lane = 0; lane < n; ++lane) {
          int64_t o = first + lane;
          const bool second = kPacked && o >= w.output;
          if (second) o -= w.output;
          o = HWY_MIN(o, w.output - 1);
          const int64_t column = HWY_MIN(HWY_MAX(w.Begin(o) + t, 0), w.input - 1);
          int64_t index = column;
          if (second) index += n;
          if (kTwo && column >= n) index = n + column - (w.input - n);
          lanes[lane] = static_cast<TI>(index);
          // A column clamped at the left is named by its own tap; those clamped at the right come last and never win.
          lanes[n + lane] = static_cast<TI>(HWY_MAX(t, -w.Begin(o)));
        }
        lanes += 2 * n;
      }
    }
    return tables;
  }

  template <class D, class V, class M>
  static HWY_INLINE void Note(D d, V a, V b, M& nan) {
    if constexpr (L::kTracksNan) nan = hn::Or(nan, EitherNan(d, a, b));
  }

  template <class D, class V>
  static HWY_INLINE void LoadRow(D d, const T* row, int64_t width, V& lo, V& hi) {
    hi = lo = L::Load(d, row);
    if constexpr (kTwo) hi = L::Load(d, row + width - static_cast<int64_t>(hn::Lanes(d)));
  }

  template <class D, class V, class VI>
  static HWY_INLINE V Lookup(D d, V lo, V hi, VI index) {
    return kForm == NarrowForm::kOneVector ? LookupLanes(d, lo, index) : LookupTwo(d, lo, hi, index);
  }
  template <class D, class V, class VI>
  static HWY_INLINE V MaxOfTaps(D d, V lo, V hi, VI i0, VI i1, VI i2) {
    const V m = hn::Max(Lookup(d, lo, hi, i0), Lookup(d, lo, hi, i1));
    return kK == 3 ? hn::Max(m, Lookup(d, lo, hi, i2)) : m;
  }

  // Row r + j for j from 0 on, clamped into a plane whose last row is `last`.
  struct RowPointers {
    HWY_INLINE RowPointers(const T* x, int64_t r, int64_t last, int64_t stride) {
      constexpr int64_t kRows = kK + kS;
      // At stride 1 so few rows are new that clamping them is cheaper than the branch (3x3 on 7x7: 25 %).
      if (kS == 2 && HWY_LIKELY(r >= 0 && r + kRows - 1 <= last)) {
        const T* first = x + r * stride;
        p0 = first, p1 = first + stride, p2 = first + 2 * stride, p3 = first + 3 * stride, p4 = first + 4 * stride;
      } else {
        const auto at = [=](int64_t row) { return x + HWY_MIN(HWY_MAX(row, 0), last) * stride; };
        p0 = at(r), p1 = at(r + 1), p2 = at(r + 2), p3 = at(r + 3), p4 = at(r + 4);
      }
    }
    const T *p0, *p1, *p2, *p3, *p4;
  };

  // Pools lines [oh, stop) of one plane, and one more if their number is odd. True if a NaN was seen.
  template <class D>
  static HWY_INLINE bool Values(D d, const Tables& tables, const T* x, int64_t last, T* y, int64_t oh, int64_t stop) {
    using V = hn::Vec<D>;
    const hn::RebindToSigned<D> di;
    using VI = hn::Vec<hn::RebindToSigned<D>>;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    const int64_t width = tables.width, out_width = tables.out_width;
    const TI* lanes = tables.lanes;
    const VI i0 = hn::Load(di, lanes), i1 = hn::Load(di, lanes + 2 * n), i2 = hn::Load(di, lanes + (kK - 1) * 2 * n);
    const TI* second = lanes + kK * 2 * n;
    const VI j0 = hn::Load(di, second), j1 = hn::Load(di, second + 2 * n), j2 = hn::Load(di, second + (kK - 1) * 2 * n);
    int64_t r = oh * kS - tables.pad;
    auto nan = hn::FirstN(d, 0);
    V r0 = hn::Zero(d), r1 = r0, s0 = r0, s1 = r0;  // rows that the next two lines share with these: r low, s high
    if constexpr (kK > kS) {
      const RowPointers row(x, r, last, tables.stride);
      LoadRow(d, row.p0, width, r0, s0);
      if constexpr (kK - kS == 2) LoadRow(d, row.p1, width, r1, s1);
      Note(d, r0, kK - kS == 2 ? r1 : r0, nan);
      if constexpr (kTwo) Note(d, s0, kK - kS == 2 ? s1 : s0, nan);
    }
    for (; oh < stop; oh += 2) {
      const RowPointers row(x, r, last, tables.stride);
      V a, b, a_hi = r0, b_hi = r0;
      if constexpr (kK == 3 && kS == 1) {
        V r2, r3, s2, s3;
        LoadRow(d, row.p2, width, r2, s2);
        LoadRow(d, row.p3, width, r3, s3);
        Note(d, r2, r3, nan);
        const V shared = hn::Max(r1, r2);
        a = hn::Max(r0, shared);
        b = hn::Max(shared, r3);
        if constexpr (kTwo) {
          Note(d, s2, s3, nan);
          const V shared_hi = hn::Max(s1, s2);
          a_hi = hn::Max(s0, shared_hi);
          b_hi = hn::Max(shared_hi, s3);
        }
        r0 = r2, r1 = r3, s0 = s2, s1 = s3;
      } else if constexpr (kK == 3) {
        V r2, r3, r4, s2, s3, s4;
        LoadRow(d, row.p1, width, r1, s1);
        LoadRow(d, row.p2, width, r2, s2);
        LoadRow(d, row.p3, width, r3, s3);
        LoadRow(d, row.p4, width, r4, s4);
        Note(d, r1, r2, nan);
        Note(d, r3, r4, nan);
        a = hn::Max(hn::Max(r0, r1), r2);
        b = hn::Max(r2, hn::Max(r3, r4));
        if constexpr (kTwo) {
          Note(d, s1, s2, nan);
          Note(d, s3, s4, nan);
          a_hi = hn::Max(hn::Max(s0, s1), s2);
          b_hi = hn::Max(s2, hn::Max(s3, s4));
        }
        r0 = r4, s0 = s4;
      } else if constexpr (kS == 1) {
        V r2, s2;
        LoadRow(d, row.p1, width, r1, s1);
        LoadRow(d, row.p2, width, r2, s2);
        Note(d, r1, r2, nan);
        a = hn::Max(r0, r1);
        b = hn::Max(r1, r2);
        if constexpr (kTwo) {
          Note(d, s1, s2, nan);
          a_hi = hn::Max(s0, s1);
          b_hi = hn::Max(s1, s2);
        }
        r0 = r2, s0 = s2;
      } else {
        V r2, r3, s2, s3;
        LoadRow(d, row.p0, width, r0, s0);
        LoadRow(d, row.p1, width, r1, s1);
        LoadRow(d, row.p2, width, r2, s2);
        LoadRow(d, row.p3, width, r3, s3);
        Note(d, r0, r1, nan);
        Note(d, r2, r3, nan);
        a = hn::Max(r0, r1);
        b = hn::Max(r2, r3);
        if constexpr (kTwo) {
          Note(d, s0, s1, nan);
          Note(d, s2, s3, nan);
          a_hi = hn::Max(s0, s1);
          b_hi = hn::Max(s2, s3);
        }
      }
      if constexpr (kPacked) {
        L::Store(d, MaxOfTaps(d, a, b, i0, i1, i2), y);
      } else {
        L::Store(d, MaxOfTaps(d, a, a_hi, i0, i1, i2), y);
        if (kTwo && out_width > n) L::Store(d, MaxOfTaps(d, a, a_hi, j0, j1, j2), y + out_width - n);
        L::Store(d, MaxOfTaps(d, b, b_hi, i0, i1, i2), y + out_width);
        if (kTwo && out_width > n) L::Store(d, MaxOfTaps(d, b, b_hi, j0, j1, j2), y + 2 * out_width - n);
      }
      y += 2 * out_width;
      r += 2 * kS;
    }
    return L::kTracksNan && !hn::AllFalse(d, nan);
  }

  // The horizontal winner of one row (or of one row of each of two packed lines) and its tap: i are lane indices, h tap
  // numbers.
  template <class D, class V, class VI, class M>
  static HWY_INLINE void FoldRow(D d, V lo, V hi, VI i0, VI i1, VI i2, VI h0, VI h1, VI h2, V& best, VI& tap, M& nan) {
    if constexpr (!kPacked) Note(d, lo, hi, nan);
    best = Lookup(d, lo, hi, i0);
    tap = h0;
    Fold(d, Lookup(d, lo, hi, i1), h1, best, tap);
    if constexpr (kK == 3) Fold(d, Lookup(d, lo, hi, i2), h2, best, tap);
  }

  template <class D>
  static HWY_INLINE bool Taps(D d, const Tables& tables, const T* x, int64_t last, T* plane_y, uint8_t* plane_taps,
                              int64_t first_line, int64_t stop, void* scratch) {
    using V = hn::Vec<D>;
    const hn::RebindToSigned<D> di;
    using VI = hn::Vec<hn::RebindToSigned<D>>;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    const int64_t width = tables.width, out_width = tables.out_width;
    const int64_t count = HWY_MIN(out_width, n);
    const int64_t bytes = tables.tap_bytes;
    const VI row1 = hn::Set(di, TI{kK}), row2 = hn::Set(di, TI{2 * kK});
    const auto is_first = hn::FirstN(di, static_cast<size_t>(out_width));
    const auto offset = [di](int64_t j, int64_t begin)
                            HWY_ATTR { return hn::Set(di, static_cast<TI>(HWY_MAX(j, -begin) * kK)); };
    auto nan = hn::FirstN(d, 0);
    for (int64_t v = 0; v == 0 || (kTwo && v == 1 && out_width > n); ++v) {
      const TI* lanes = tables.lanes + v * kK * 2 * n;
      const VI i0 = hn::Load(di, lanes), i1 = hn::Load(di, lanes + 2 * n), i2 = hn::Load(di, lanes + (kK - 1) * 2 * n);
      const VI h0 = hn::Load(di, lanes + n), h1 = hn::Load(di, lanes + 3 * n),
               h2 = hn::Load(di, lanes + (kK - 1) * 2 * n + n);
      const int64_t first = v == 0 ? 0 : out_width - n;
      T* y = plane_y + first;
      uint8_t* taps = plane_taps + first * bytes;
      int64_t r = first_line * kS - tables.pad;
      V v0 = hn::Zero(d), v1 = v0, u0 = v0, u1 = v0, u2, u3, u4;
      VI t0 = hn::Zero(di), t1 = t0;
      if constexpr (kK > kS && !kPacked) {
        const RowPointers row(x, r, last, tables.stride);
        LoadRow(d, row.p0, width, u0, u1);
        FoldRow(d, u0, u1, i0, i1, i2, h0, h1, h2, v0, t0, nan);
        if constexpr (kK - kS == 2) {
          LoadRow(d, row.p1, width, u0, u1);
          FoldRow(d, u0, u1, i0, i1, i2, h0, h1, h2, v1, t1, nan);
        }
      }
      for (int64_t oh = first_line; oh < stop; oh += 2) {
        const RowPointers row(x, r, last, tables.stride);
        V a, b;
        VI a_tap, b_tap;
        if constexpr (kPacked) {
          u0 = L::Load(d, row.p0);
          u1 = L::Load(d, row.p1);
          u4 = u3 = u2 = L::Load(d, row.p2);
          Note(d, u0, u1, nan);
          if constexpr (kK + kS > 3) u3 = L::Load(d, row.p3);
          Note(d, u2, u3, nan);
          if constexpr (kK + kS > 4) {
            u4 = L::Load(d, row.p4);
            Note(d, u4, u4, nan);
          }
          VI o0 = hn::Zero(di), o1 = row1, o2 = row2;
          if (HWY_UNLIKELY(r < 0)) {
            o0 = hn::IfThenElse(is_first, offset(0, r), offset(0, r + kS));
            o1 = hn::IfThenElse(is_first, offset(1, r), offset(1, r + kS));
            o2 = hn::IfThenElse(is_first, offset(2, r), offset(2, r + kS));
          }
          FoldRow(d, u0, kS == 1 ? u1 : u2, i0, i1, i2, h0, h1, h2, a, a_tap, nan);
          a_tap = hn::Add(a_tap, o0);
          FoldRow(d, u1, kS == 1 ? u2 : u3, i0, i1, i2, h0, h1, h2, b, b_tap, nan);
          Fold(d, b, hn::Add(b_tap, o1), a, a_tap);
          if constexpr (kK == 3) {
            FoldRow(d, u2, kS == 1 ? u3 : u4, i0, i1, i2, h0, h1, h2, b, b_tap, nan);
            Fold(d, b, hn::Add(b_tap, o2), a, a_tap);
          }
          const int64_t both = oh + 1 < stop ? 2 * out_width : out_width;
          L::Store(d, a, y);
          StoreTaps(di, a_tap, taps, bytes, both, scratch);
        } else {
          V v2, v3, v4;
          VI t2, t3, t4;
          if constexpr (kK == 2 && kS == 2) {
            LoadRow(d, row.p0, width, u0, u1);
            FoldRow(d, u0, u1, i0, i1, i2, h0, h1, h2, v0, t0, nan);
          }
          if constexpr (kK - kS < 2) {
            LoadRow(d, row.p1, width, u0, u1);
            FoldRow(d, u0, u1, i0, i1, i2, h0, h1, h2, v1, t1, nan);
          }
          LoadRow(d, row.p2, width, u0, u1);
          FoldRow(d, u0, u1, i0, i1, i2, h0, h1, h2, v2, t2, nan);
          if constexpr (kK + kS > 3) {
            LoadRow(d, row.p3, width, u0, u1);
            FoldRow(d, u0, u1, i0, i1, i2, h0, h1, h2, v3, t3, nan);
          }
          if constexpr (kK + kS > 4) {
            LoadRow(d, row.p4, width, u0, u1);
            FoldRow(d, u0, u1, i0, i1, i2, h0, h1, h2, v4, t4, nan);
          }
          a = v0;
          a_tap = hn::Add(t0, offset(0, r));
          if constexpr (kK == 3 && kS == 1) {
            // The two lines share rows 1 and 2, numbered from the second line's point of view.
            b = v1;
            b_tap = hn::Add(t1, offset(0, r + 1));
            Fold(d, v2, hn::Add(t2, offset(1, r + 1)), b, b_tap);
            Fold(d, b, hn::Add(b_tap, row1), a, a_tap);
            Fold(d, v3, hn::Add(t3, row2), b, b_tap);
            v0 = v2, v1 = v3, t0 = t2, t1 = t3;
          } else if constexpr (kK == 3) {
            Fold(d, v1, hn::Add(t1, offset(1, r)), a, a_tap);
            Fold(d, v2, hn::Add(t2, row2), a, a_tap);
            b = v2;
            b_tap = t2;
            Fold(d, v3, hn::Add(t3, row1), b, b_tap);
            Fold(d, v4, hn::Add(t4, row2), b, b_tap);
            v0 = v4, t0 = t4;
          } else {
            Fold(d, v1, hn::Add(t1, row1), a, a_tap);
            if constexpr (kS == 1) {
              b = v1;
              b_tap = t1;
              Fold(d, v2, hn::Add(t2, row1), b, b_tap);
              v0 = v2, t0 = t2;
            } else {
              b = v2;
              b_tap = t2;
              Fold(d, v3, hn::Add(t3, row1), b, b_tap);
            }
          }
          L::Store(d, a, y);
          StoreTaps(di, a_tap, taps, bytes, count, scratch);
          L::Store(d, b, y + out_width);
          StoreTaps(di, b_tap, taps + out_width * bytes, bytes, count, scratch);
        }
        y += 2 * out_width;
        taps += 2 * out_width * bytes;
        r += 2 * kS;
      }
    }
    return L::kTracksNan && !hn::AllFalse(d, nan);
  }

  template <bool kWithTaps, class D>
  static HWY_NOINLINE void RunPlanes(D d, const ForwardCall& call, ForwardKernel separable) {
    const Geometry& g = *call.geometry;
    const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
    Tables tables = MakeTables(d, call);
    uint8_t* scratch = static_cast<uint8_t*>(call.scratch);
    T* x_copy = reinterpret_cast<T*>(scratch + kXAt);
    T* y_copy = reinterpret_cast<T*>(scratch + kYAt);
    uint8_t* taps_copy = scratch + kTapsAt;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    const int64_t out_width = w.output, bytes = call.taps.bytes;
    const int64_t x_size = (h.input - 1) * g.input.axis[kHeight] + w.input;
    // Windows that do not overlap do not see where one plane ends and the next begins.
    const bool one_tall_plane = kK == kS && g.axis[kDepth].output == 1 && h.pad_before == 0 &&
                                h.input == kS * h.output && g.input.channel == h.input * g.input.axis[kHeight] &&
                                g.output.channel == h.output * out_width &&
                                (!kWithTaps || call.taps.strides.channel == h.output * out_width);
    for (SliceWalk walk(call, separable); walk.Next();) {
      const int64_t plane_lines = walk.stop - walk.oh;
      const int64_t y_first = walk.y + walk.oh * out_width, taps_first = walk.taps + walk.oh * out_width;
      const int64_t x_need = x_size - w.input + n, y_need = (plane_lines + 1) * out_width + n;
      int64_t plain = walk.planes;  // the others, usually the last one of a run, are copied
      while (plain > 0 &&
             ((!kTwo && walk.x + (plain - 1) * g.input.channel + x_need > walk.x_end) ||
              y_first + (plain - 1) * g.output.channel + y_need > walk.y_end ||
              (kWithTaps && taps_first + (plain - 1) * call.taps.strides.channel + y_need > walk.taps_end))) {
        --plain;
      }
      const T* plane_x = static_cast<const T*>(call.x) + walk.x;
      T* y = static_cast<T*>(call.y) + y_first;
      uint8_t* taps = kWithTaps ? static_cast<uint8_t*>(call.taps.base) + taps_first * bytes : nullptr;
      for (int64_t p = 0, count = 1; p < walk.planes; p += count) {
        const T* x = plane_x;
        T* to = y;
        uint8_t* taps_to = taps;
        const bool copy = p >= plain;
        if (one_tall_plane) count = copy ? 1 : HWY_MIN(plain - p, 16);
        const int64_t lines = plane_lines * count;
        if (HWY_UNLIKELY(copy)) {
          if constexpr (!kTwo) {
            memcpy(x_copy, x, static_cast<size_t>(x_size) * sizeof(T));
            memset(x_copy + x_size, 0, static_cast<size_t>(n) * sizeof(T));
            x = x_copy;
          }
          to = y_copy;
          taps_to = taps_copy;
        }
        const int64_t last = count * h.input - 1, stop = walk.oh + lines;
        const bool nan = kWithTaps ? Taps(d, tables, x, last, to, taps_to, walk.oh, stop, scratch + kTapsVectorAt)
                                   : Values(d, tables, x, last, to, walk.oh, stop);
        if (HWY_UNLIKELY(copy)) {
          memcpy(y, y_copy, static_cast<size_t>(lines * out_width) * sizeof(T));
          if (kWithTaps) memcpy(taps, taps_copy, static_cast<size_t>(lines * out_width * bytes));
        }
        if (L::kTracksNan && HWY_UNLIKELY(nan)) {
          walk.Redo(p, count);
          tables = MakeTables(d, call);  // both live in the call's scratch
        }
        plane_x += count * g.input.channel;
        y += count * g.output.channel;
        if constexpr (kWithTaps) taps += count * call.taps.strides.channel * bytes;
      }
    }
  }

  template <class D>
  static void Run(D d, const ForwardCall& call, ForwardKernel separable) {
    call.taps.base == nullptr ? RunPlanes<false>(d, call, separable) : RunPlanes<true>(d, call, separable);
  }
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
    explicit HWY_INLINE AllRows(const Rows& r) : rows(r) {
      for (int j = 0; j < kLoaded; ++j) row[j] = r.row[kSquare ? j : 0];
    }
    const Rows& rows;
    const T* row[kLoaded];  // by value, so that stores to y cannot be thought to change them
    template <class D, class V, class M>
    HWY_INLINE void Load(D d, int64_t c, V& a, V& b, M& nan) const {
      Combine(
          d, [=](D dd, const T* p) HWY_ATTR { return L::Load(dd, p + c); }, a, b, nan);
    }
    template <class D, class V, class M>
    HWY_INLINE void Broadcast(D d, int64_t c, V& a, V& b, M& nan) const {
      Combine(
          d, [=](D dd, const T* p) HWY_ATTR { return L::Broadcast(dd, p + c); }, a, b, nan);
    }
    template <class D, class Get, class V, class M>
    HWY_INLINE void Combine(D d, Get get, V& a, V& b, M& nan) const {
      if constexpr (!kSquare) {
        a = get(d, row[0]);
        Note(d, a, a, nan);
        for (int64_t r = 1; r < rows.count; ++r) {
          const V v = get(d, rows.row[r]);
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
      a1 = EvenLanes(d, lo_a, hi_a);
      a2 = OddLanes(d, lo_a, hi_a);
      b1 = EvenLanes(d, lo_b, hi_b);
      b2 = OddLanes(d, lo_b, hi_b);
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

  // Outputs [o, o + N) of one or two lines, wherever they are.
  template <class D, class M>
  static HWY_INLINE void ValuesAt(D d, const Rows& rows, const RowShape& shape, int64_t o, M& nan) {
    using V = hn::Vec<D>;
    V a0 = hn::Zero(d), b0 = a0, a1, a2, b1, b2;
    Taps(d, AllRows(rows), shape, o, a0, a1, a2, b0, b1, b2, nan);
    if (kLines == 2) L::Store(d, MaxOfTaps<D>(b0, b1, b2), rows.y[1] + o);
    L::Store(d, MaxOfTaps<D>(a0, a1, a2), rows.y[0] + o);
  }

  // Pools one or two lines whose rows and results are at least one vector wide. True if a NaN was seen.
  template <class D>
  static HWY_INLINE bool WideValues(D d, const Rows& rows, const RowShape& shape) {
    using V = hn::Vec<D>;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    const int64_t width = shape.width, out_width = shape.out_width;
    const AllRows source(rows);
    auto nan = hn::FirstN(d, 0);
    int64_t o = 0;
    if constexpr (kS == 2) {
      const int64_t base = kK - 2 - shape.pad;  // column of tap 1 (k = 3) or 0 (k = 2) of output 0
      if (base < 0) {
        ValuesAt(d, rows, shape, 0, nan);
        o = n;
      }
      const int64_t last = HWY_MIN(out_width - n, (width - base) / 2 - n);
      if (o <= last) {
        // The last odd lane is tap 0 of the next vector's first output.
        V odd_a = hn::Zero(d), odd_b = odd_a;
        if constexpr (kK == 3) source.Broadcast(d, HWY_MAX(2 * o + base - 1, 0), odd_a, odd_b, nan);
        for (;;) {
          V lo_a, lo_b, hi_a, hi_b;
          source.Load(d, 2 * o + base, lo_a, lo_b, nan);
          source.Load(d, 2 * o + base + n, hi_a, hi_b, nan);
          const V a2 = OddLanes(d, lo_a, hi_a), b2 = OddLanes(d, lo_b, hi_b);
          V a = hn::Max(EvenLanes(d, lo_a, hi_a), a2), b = hn::Max(EvenLanes(d, lo_b, hi_b), b2);
          if constexpr (kK == 3) {
            a = hn::Max(a, SlideUp1(d, odd_a, a2));
            b = hn::Max(b, SlideUp1(d, odd_b, b2));
            odd_a = a2;
            odd_b = b2;
          }
          if (kLines == 2) L::Store(d, b, rows.y[1] + o);
          L::Store(d, a, rows.y[0] + o);
          o += n;
          if (o <= last) continue;
          if (o >= last + n) break;
          // The last vector overlaps this one: so many outputs are done already.
          if constexpr (kK == 3) {
            if constexpr (sizeof(T) >= 4) {
              const hn::RebindToSigned<D> di;
              const auto before = hn::Set(di, static_cast<hn::TFromD<decltype(di)>>(last - 1 - (o - n)));
              odd_a = LookupLanes(d, odd_a, before);
              odd_b = LookupLanes(d, odd_b, before);
            } else {
              source.Broadcast(d, 2 * last + base - 1, odd_a, odd_b, nan);
            }
          }
          o = last;
        }
      }
      for (; o < out_width; o += n) {
        o = HWY_MIN(o, out_width - n);
        ValuesAt(d, rows, shape, o, nan);
      }
    } else {
      V cur_a, cur_b, next_a, next_b;
      Clamped(d, source, width, -shape.pad, cur_a, cur_b, nan);
      const auto pool = [&]() HWY_ATTR {
        V a1 = SlideDown1(d, cur_a, next_a), b1 = SlideDown1(d, cur_b, next_b);
        V a = hn::Max(cur_a, a1), b = hn::Max(cur_b, b1);
        if constexpr (kK == 3) {
          a = hn::Max(a, SlideDown1(d, a1, SlideDown1(d, next_a, next_a)));
          b = hn::Max(b, SlideDown1(d, b1, SlideDown1(d, next_b, next_b)));
        }
        if (kLines == 2) L::Store(d, b, rows.y[1] + o);
        L::Store(d, a, rows.y[0] + o);
      };
      const int64_t last = HWY_MIN(out_width - n, width + shape.pad - 2 * n);
      for (; o <= last; o += n) {
        source.Load(d, o - shape.pad + n, next_a, next_b, nan);
        pool();
        cur_a = next_a;
        cur_b = next_b;
      }
      for (; o < out_width; o += n) {
        o = HWY_MIN(o, out_width - n);
        const int64_t c = o - shape.pad;
        if (c >= 0 && c + n >= width - 1 && c + n <= width) {
          // All that is missing is the row's last column.
          source.Load(d, c, cur_a, cur_b, nan);
          source.Broadcast(d, width - 1, next_a, next_b, nan);
          pool();
        } else {
          ValuesAt(d, rows, shape, o, nan);
        }
      }
    }
    return kTracksNan && !hn::AllFalse(d, nan);
  }

  // Tap numbers of outputs [o, o + N) for a horizontal tap; a column clamped at the left is named by its own tap. (One
  // clamped at the right comes last and never wins.)
  template <class DI, class VI>
  static HWY_INLINE void NameTaps(DI di, int64_t o, int64_t pad, int tap, VI& v) {
    using TI = hn::TFromD<DI>;
    v = hn::Set(di, static_cast<TI>(tap));
    if (HWY_UNLIKELY(o * kS < pad)) {
      const auto number = [=](int64_t lane) { return static_cast<TI>(HWY_MAX(tap, pad - (o + lane) * kS)); };
      v = hn::IfThenElse(hn::FirstN(di, 1), hn::Set(di, number(0)),
                         hn::IfThenElse(hn::FirstN(di, 2), hn::Set(di, number(1)), v));
    }
  }

  // Taps of one row; kInside: all columns exist, and tap numbers are the plain ones.
  template <bool kInside, class D, class V, class M>
  static HWY_INLINE void RowTaps(D d, const T* row, const RowShape& shape, int64_t o, V& v0, V& v1, V& v2, M& nan) {
    if constexpr (!kInside) {
      V u0 = hn::Zero(d), u1, u2;
      v0 = u0;
      Taps(d, OneRow{row}, shape, o, v0, v1, v2, u0, u1, u2, nan);
    } else if constexpr (kS == 1) {
      const T* at = row + o - shape.pad;
      v0 = L::Load(d, at);
      v1 = kK == 3 ? L::Load(d, at + 1) : v0;
      v2 = L::Load(d, at + kK - 1);
      Note(d, v0, v2, nan);
    } else {
      const int64_t n = static_cast<int64_t>(hn::Lanes(d));
      const T* at = row + 2 * o + kK - 2 - shape.pad;
      const V lo = L::Load(d, at), hi = L::Load(d, at + n);
      Note(d, lo, hi, nan);
      v1 = EvenLanes(d, lo, hi);
      v2 = OddLanes(d, lo, hi);
      v0 = v1;
      if constexpr (kK == 3) {
        v0 = SlideUp1(d, L::Broadcast(d, at - 1), v2);
        Note(d, v0, v0, nan);
      }
    }
  }

  template <bool kInside, class D, class M>
  static HWY_INLINE void TapsAt(D d, const Rows& rows, const RowShape& shape, int64_t o, void* scratch, M& nan) {
    using V = hn::Vec<D>;
    const Tags<D> di;
    using TI = hn::TFromD<Tags<D>>;
    using VI = hn::Vec<Tags<D>>;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    VI tap0 = hn::Zero(di), tap1 = hn::Set(di, TI{kK - 2}), tap2 = hn::Set(di, TI{kK - 1});
    if constexpr (!kInside) {
      NameTaps(di, o, shape.pad, 0, tap0);
      NameTaps(di, o, shape.pad, kK - 2, tap1);
      NameTaps(di, o, shape.pad, kK - 1, tap2);
    }
    V best_a = hn::Zero(d), best_b = best_a;
    VI tap_a = hn::Zero(di), tap_b = tap_a;
    const int64_t count = kSquare ? kLoaded : rows.count;
    for (int64_t r = 0; r < count; ++r) {
      V v0, v1, v2;
      RowTaps<kInside>(d, rows.row[r], shape, o, v0, v1, v2, nan);
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
      StoreTaps(di, tap_b, rows.taps[1] + o * shape.tap_bytes, shape.tap_bytes, n, scratch);
    }
    L::Store(d, best_a, rows.y[0] + o);
    StoreTaps(di, tap_a, rows.taps[0] + o * shape.tap_bytes, shape.tap_bytes, n, scratch);
  }

  // As WideValues, with tap numbers.
  template <class D>
  static HWY_NOINLINE bool WideTaps(D d, const Rows& rows, const RowShape& shape, void* scratch) {
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    const int64_t out_width = shape.out_width;
    // The outputs whose vectors lie inside the row.
    const int64_t first = kS == 2 && kK == 3 ? (shape.pad + 1) / 2 : (shape.pad + kS - 1) / kS;
    const int64_t end = shape.width + shape.pad;
    const int64_t last = HWY_MIN(out_width - n, kS == 2 ? (end - kK + 2) / 2 - n : end - kK + 1 - n);
    auto nan = hn::FirstN(d, 0);
    int64_t o = 0;
    for (; o < out_width; o += n) {
      o = HWY_MIN(o, out_width - n);
      if (o >= first && o <= last) {
        TapsAt<true>(d, rows, shape, o, scratch, nan);
      } else {
        TapsAt<false>(d, rows, shape, o, scratch, nan);
      }
    }
    return kTracksNan && !hn::AllFalse(d, nan);
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
    const int64_t stride = g.input.axis[kHeight], last = height.input - 1;
    for (; oh < stop; oh += kLines) {
      const bool lone = oh + 1 == stop;
      const int64_t begin = height.Begin(oh);
      if constexpr (kSquare) {
        const T* plane = x + HWY_MAX(depth.Begin(od), 0) * g.input.axis[kDepth];
        if (HWY_LIKELY(begin >= 0 && begin + kLoaded - 1 <= last && !(kLines == 2 && lone))) {
          for (int j = 0; j < kLoaded; ++j) rows.row[j] = plane + (begin + j) * stride;
        } else {
          for (int j = 0; j < kLoaded; ++j) {
            const int64_t r = begin + (lone ? HWY_MIN(j, kK - 1) : j);
            rows.row[j] = plane + HWY_MIN(HWY_MAX(r, 0), last) * stride;
          }
        }
        if (taps != nullptr) {  // rows clamped at the bottom never win
          for (int j = 0; j < kK; ++j) {
            rows.first_tap[0][j] = HWY_MAX(j, -begin) * kK;
            rows.first_tap[1][j] = HWY_MAX(j, -begin - kS) * kK;
          }
        }
      } else {
        rows.count = 0;
        for (int64_t i = 0; i < depth.kernel; ++i) {
          const int64_t z = HWY_MIN(HWY_MAX(depth.Begin(od) + i, 0), depth.input - 1);
          for (int64_t j = 0; j < height.kernel; ++j) {
            const int64_t r = HWY_MIN(HWY_MAX(begin + j, 0), last);
            rows.row[rows.count] = x + z * g.input.axis[kDepth] + r * stride;
            rows.first_tap[0][rows.count] = ((z - depth.Begin(od)) * height.kernel + r - begin) * kK;
            ++rows.count;
          }
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
  static void Run(D d, const ForwardCall& call, ForwardKernel separable) {
    const Geometry& g = *call.geometry;
    const RowShape shape = {g.axis[kWidth].input, g.axis[kWidth].output, g.axis[kWidth].pad_before, call.taps.bytes};
    for (SliceWalk walk(call, separable); walk.Next();) {
      for (int64_t p = 0; p < walk.planes; ++p) {
        const T* x = static_cast<const T*>(call.x) + walk.n * g.input.batch + (walk.channel + p) * g.input.channel;
        T* y = static_cast<T*>(call.y) + walk.y + p * g.output.channel;
        uint8_t* taps = static_cast<uint8_t*>(call.taps.base);
        if (taps != nullptr) taps += (walk.taps + p * call.taps.strides.channel) * call.taps.bytes;
        if (Slice(d, call, shape, x, y, taps, walk.od, walk.oh, walk.stop)) walk.Redo(p, 1);
      }
    }
  }

  // True if done: narrow enough, dense enough and small enough planes.
  template <class NL>
  static bool ForwardNarrow(const ForwardCall& call, ForwardKernel separable) {
    const hn::ScalableTag<typename NL::Lane> d;
    const Geometry& g = *call.geometry;
    const Axis& width = g.axis[kWidth];
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    const bool dense_input = g.input.axis[kHeight] == width.input;
    if (g.output.axis[kHeight] != width.output) return false;
    if (call.taps.base != nullptr && call.taps.strides.axis[kHeight] != width.output) return false;
    if (dense_input && width.input <= n && 2 * width.output <= n) {
      using Narrow = NarrowWindow<NL, kK, kS, NarrowForm::kPacked>;
      if (!Narrow::Fits(d, call)) return false;
      Narrow::Run(d, call, separable);
      return true;
    }
    if constexpr (kS == 1) {  // at stride 2 what fits one vector fits a packed one
      if (dense_input && width.input <= n && width.output <= n) {
        using Narrow = NarrowWindow<NL, kK, kS, NarrowForm::kOneVector>;
        if (!Narrow::Fits(d, call)) return false;
        Narrow::Run(d, call, separable);
        return true;
      }
    }
    if (width.input >= n && width.input <= 2 * n && width.output <= 2 * n) {
      using Narrow = NarrowWindow<NL, kK, kS, NarrowForm::kTwoVectors>;
      if (!Narrow::Fits(d, call)) return false;
      Narrow::Run(d, call, separable);
      return true;
    }
    return false;
  }

  static void Forward(const ForwardCall& call, ForwardKernel separable) {
    const hn::ScalableTag<typename L::Lane> d;
    const Axis& width = call.geometry->axis[kWidth];
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    // With 128-bit vectors these forms would reach 8 floats and cost 107 KB; Separable has such rows in one vector,
    // too.
    if constexpr (kSquare && (HWY_HAVE_SCALABLE || hn::MaxLanes(hn::ScalableTag<uint8_t>()) > 16)) {
      using NarrowLanes = std::conditional_t<kHasLookup<T>, L, PromotedLanes<L>>;
      if (width.input <= 2 * n && ForwardNarrow<NarrowLanes>(call, separable)) return;
    }
    const int64_t narrower = HWY_MIN(width.input, width.output);
    if (narrower >= n) {
      Run(d, call, separable);
      return;
    }
    if constexpr (kSquare && !HWY_HAVE_SCALABLE) {
      const hn::CappedTag<typename L::Lane, 16 / sizeof(T)> d16;
      if (narrower >= static_cast<int64_t>(hn::Lanes(d16))) {
        Run(d16, call, separable);
        return;
      }
    }
    separable(call);
  }
};

template <class L, int kK, int kS>
void WindowOf(const ForwardCall& call, ForwardKernel separable) {
  const Geometry& g = *call.geometry;
  const Axis& height = g.axis[kHeight];
  if (g.axis[kDepth].kernel == 1 && height.kernel == kK && height.stride == kS) {
    Window<L, kK, kS, true>::Forward(call, separable);
  } else {
    Window<L, kK, kS, false>::Forward(call, separable);
  }
}

template <class L>
void WindowChannelsFirst(const ForwardCall& call, L, ForwardKernel separable) {
  if constexpr (kHasWindowChannelsFirst<L>) {
    if (call.begin >= call.end) return;
    const Axis& width = call.geometry->axis[kWidth];
    if (width.kernel == 3) {
      width.stride == 2 ? WindowOf<L, 3, 2>(call, separable) : WindowOf<L, 3, 1>(call, separable);
    } else {
      width.stride == 2 ? WindowOf<L, 2, 2>(call, separable) : WindowOf<L, 2, 1>(call, separable);
    }
  } else {
    separable(call);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_FIRST_INL_H_
