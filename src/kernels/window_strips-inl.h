// SPDX-License-Identifier: Apache-2.0
// Square windows of 2 or 3 channels-first at stride 1, for lanes that can be looked up: down strips of a plane that are
// a vector wide. Of each row the horizontal winners once, then the vertical ones from those of the rows before, which
// stay in registers.
//
// Eligible geometries: channels-first; depth kernel 1; height and width alike in kernel (2 or 3); leading padding a
// multiple of the dilation; no more outputs than inputs along the width. Tap numbers are bytes.
// A column outside the row is looked up as another one of its window: a maximum does not mind, and with indices it
// carries the number of the tap that it repeats. Rows are clamped likewise.
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_STRIPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_STRIPS_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_STRIPS_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_STRIPS_INL_H_
#endif

#include <cstring>
#include <type_traits>

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/slices-inl.h"
#include "src/kernels/window_flat-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// f64 with AVX2 (0.8 of the time) and 16-bit lanes with AVX-512 (0.9) would be 5 KB and 25 KB of code.
template <class L>
constexpr bool kHasStrips = std::is_same<typename L::Lane, float>::value ||
                            (kHasLookupOfTwo && std::is_same<typename L::Lane, double>::value);

// A strip: its first output, and for each of three taps where elements are loaded, in which lanes of those (`lanes`:
// vectors of lane indices) its elements are and their tap numbers in a row (`taps`).
struct Strip {
  int64_t begin, at[3];
  int64_t step;      // from tap to tap
  bool left, right;  // whether the first and the third are loaded, or looked up in the vector of the second
  const void *lanes, *taps;
};

// Rows under a strip and outputs of it, each a pitch after the one before, and the same in more planes.
template <class T>
struct StripRows {
  const T* x;
  T* y;
  uint8_t* taps;
  int64_t x_pitch, y_pitch, taps_pitch;
  int64_t planes, x_plane, y_plane, taps_plane;
  int64_t first, last;  // the first row of the first window, and the last row there is
  int64_t outputs;
};

// How far a pointer to x advances through a plane, from the first row on: to the window's second row if it has three,
// to those of pairs of outputs, whose last rows need no clamping, to the last row of the other windows and to the next
// plane. One pointer by steps (HideValue, lest g++ precompute other offsets): those that are made or loaded anew for
// each plane cost 15 cycles there, 3x3 on 14x14 takes 1.3 to 1.5 times as long.
struct StripWalk {
  template <class T>
  StripWalk(const StripRows<T>& in, int64_t kernel) {
    const auto at = [&](int64_t r) { return HWY_MIN(HWY_MAX(r, 0), in.last) * in.x_pitch; };
    const int64_t r = in.first + kernel - 1;
    pairs = HWY_MAX(HWY_MIN(in.last - r + 1, in.outputs) >> 1, 0);
    rest = in.outputs - 2 * pairs;
    const int64_t last = at(r + 2 * pairs);
    begin = at(in.first);
    to_second = at(in.first + 1) - begin;
    to_pairs = at(r) - (kernel == 3 ? at(in.first + 1) : begin);
    to_rest = last - at(r) - 2 * pairs * in.x_pitch;
    to_plane = in.x_plane + begin - last;
    y_to_plane = in.y_plane - in.outputs * in.y_pitch;
    taps_to_plane = in.taps_plane - in.outputs * in.taps_pitch;
  }
  int64_t pairs, rest, begin, to_second, to_pairs, to_rest, to_plane, y_to_plane, taps_to_plane;
};

template <class P>
HWY_INLINE void Advance(P*& p, int64_t by) {
  p += by;
  HideValue(p);
}

// Pools them. True if a NaN was seen.
template <class L, class T = typename L::Element>
using StripKernel = bool (*)(L lanes, const Strip& strip, const StripRows<T>& in);

// kLeft, kRight: whether the first and the third of the taps are loaded, or looked up in the vector of the second.
template <class L, int kK, bool kLeft, bool kRight>
struct StripWindow {
  using T = typename L::Element;
  using D = hn::ScalableTag<typename L::Lane>;
  using DI = hn::RebindToSigned<D>;
  using DTap = hn::DFromV<decltype(SetTap(D(), 0))>;
  using TTap = hn::TFromD<DTap>;
  using V = hn::Vec<D>;
  using VI = hn::Vec<DI>;
  using VTap = hn::Vec<DTap>;

  // What collects whether there was a NaN: the greatest bits but for the sign, as integers (with masks 3x3 on 14x14
  // takes 4 % longer on AVX2), or masks where there is no such maximum of 64 bits.
  static constexpr bool kSeesBits = kHasLookupOfTwo || sizeof(T) == 4;
  using Seen = std::conditional_t<kSeesBits, VI, hn::Mask<D>>;
  static HWY_INLINE Seen NothingSeen() {
    if constexpr (kSeesBits) {
      return hn::Zero(DI());
    } else {
      return hn::FirstN(D(), hn::Lanes(D()));
    }
  }
  static HWY_INLINE VI Magnitude(V v) {
    const DI di;
    return hn::And(hn::BitCast(di, v), hn::Set(di, hwy::LimitsMax<hn::TFromD<DI>>()));
  }
  static HWY_INLINE void See(Seen& seen, V a, V b) {
    if constexpr (kSeesBits) {
      seen = hn::Max(seen, hn::Max(Magnitude(a), Magnitude(b)));
    } else {
      Note<L>(D(), seen, a, b);
    }
  }
  static HWY_INLINE bool SeenNan(Seen seen) {
    const DI di;
    if constexpr (kSeesBits) {
      return !hn::AllTrue(di, hn::Lt(seen, hn::Set(di, FloatBits<T>::kInf + 1)));
    } else {
      return SawNan<L>(D(), seen);
    }
  }

  // The second tap is that of the output's own column.
  static HWY_NOINLINE bool Values(L lanes, const Strip& strip, const StripRows<T>& in) {
    const D d;
    const DI di;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    const auto* table = static_cast<const hn::TFromD<DI>*>(strip.lanes);
    const VI i0 = hn::Load(di, table), i2 = hn::Load(di, table + 2 * n);
    const int64_t at0 = strip.at[0] - strip.at[1], at2 = strip.at[2] - strip.at[1];
    const StripWalk walk(in, kK);
    const int64_t x_pitch = in.x_pitch, y_pitch = in.y_pitch;
    const T* x = in.x + strip.at[1] + walk.begin;
    T* y = in.y;
    Seen seen = NothingSeen();
    const auto row = [&](V& own) PEAKPOOL_INLINED {
      own = LoadLanes(lanes, d, x);
      const V v = hn::Max(own, kLeft ? LoadLanes(lanes, d, x + at0) : LookupLanes(d, own, i0));
      if constexpr (kK == 2) return v;
      return hn::Max(v, kRight ? LoadLanes(lanes, d, x + at2) : LookupLanes(d, own, i2));
    };
    const auto store = [&](V v) PEAKPOOL_INLINED {
      lanes.Store(d, v, y);
      Advance(y, y_pitch);
    };
    for (int64_t p = in.planes; p > 0; --p) {
      V own0, own1;
      V h0 = row(own0), h1 = h0;
      own1 = own0;
      if constexpr (kK == 3) {
        Advance(x, walk.to_second);
        h1 = row(own1);
      }
      See(seen, own0, own1);
      Advance(x, walk.to_pairs);
      for (int64_t i = walk.pairs; i > 0; --i) {
        const V h2 = row(own0);
        Advance(x, x_pitch);
        const V h3 = row(own1);
        Advance(x, x_pitch);
        See(seen, own0, own1);
        const V shared = kK == 3 ? hn::Max(h1, h2) : h2;
        store(hn::Max(h0, shared));
        store(hn::Max(shared, h3));
        h0 = kK == 3 ? h2 : h3;
        h1 = h3;
      }
      Advance(x, walk.to_rest);
      const V last = row(own0);
      See(seen, own0, own0);
      for (int64_t i = walk.rest; i > 0; --i) {
        store(kK == 3 ? hn::Max(h0, hn::Max(h1, last)) : hn::Max(h0, last));
        h0 = kK == 3 ? h1 : last;
        h1 = last;
      }
      Advance(x, walk.to_plane);
      Advance(y, walk.y_to_plane);
    }
    return SeenNan(seen);
  }

  // Taps come in their order. Tap numbers count the rows from the plane's first one: those of clamped rows are right
  // without more ado, and two windows share them. (Bytes wrap around, and back when the window's row is subtracted.)
  static HWY_NOINLINE bool Taps(L lanes, const Strip& strip, const StripRows<T>& in) {
    const D d;
    const DI di;
    const DTap dt;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    const auto* table = static_cast<const hn::TFromD<DI>*>(strip.lanes);
    const VI i0 = hn::Load(di, table), i1 = hn::Load(di, table + n), i2 = hn::Load(di, table + 2 * n);
    const auto* numbers = static_cast<const TTap*>(strip.taps);
    const VTap n0 = hn::Load(dt, numbers), n1 = hn::Load(dt, numbers + n), n2 = hn::Load(dt, numbers + 2 * n);
    const VTap step = hn::Set(dt, TTap{kK});
    const int64_t at0 = strip.at[0] - strip.at[1], at2 = strip.at[2] - strip.at[1];
    const StripWalk walk(in, kK);
    const int64_t x_pitch = in.x_pitch, y_pitch = in.y_pitch, taps_pitch = in.taps_pitch;
    const T* x = in.x + strip.at[1] + walk.begin;
    T* y = in.y;
    uint8_t* taps = in.taps;
    Seen seen = NothingSeen();
    const auto number = [&](int64_t r) PEAKPOOL_INLINED { return hn::Set(dt, static_cast<TTap>(r * kK)); };
    const VTap first0 = number(HWY_MAX(in.first, 0)), first1 = number(HWY_MAX(in.first + kK - 2, 0)),
               first_next = number(in.first + kK - 1), first_window = number(in.first);
    const auto fold = [&](V v, VTap tap, V& best, VTap& best_tap) PEAKPOOL_INLINED {
      const auto greater = TapsWhere(d, hn::Gt(v, best));
      best = hn::Max(best, v);
      best_tap = hn::IfThenElse(greater, tap, best_tap);
    };
    const auto row = [&](VTap first, VTap& tap, V& second) PEAKPOOL_INLINED {
      second = LoadLanes(lanes, d, x);
      V best = LookupLanes(d, kLeft ? LoadLanes(lanes, d, x + at0) : second, i0);
      tap = n0;
      fold(LookupLanes(d, second, i1), n1, best, tap);
      if constexpr (kK == 3) fold(LookupLanes(d, kRight ? LoadLanes(lanes, d, x + at2) : second, i2), n2, best, tap);
      tap = hn::Add(tap, first);
      return best;
    };
    for (int64_t p = in.planes; p > 0; --p) {
      V own0, own1;
      VTap t0, t1, next = first_next, window = first_window;
      V h0 = row(first0, t0, own0), h1 = h0;
      own1 = own0;
      t1 = t0;
      if constexpr (kK == 3) {
        Advance(x, walk.to_second);
        h1 = row(first1, t1, own1);
      }
      See(seen, own0, own1);
      Advance(x, walk.to_pairs);
      const auto store = [&](V v, VTap tap) PEAKPOOL_INLINED {
        lanes.Store(d, v, y);
        StoreTaps(d, hn::Sub(tap, window), taps);
        window = hn::Add(window, step);
        Advance(y, y_pitch);
        Advance(taps, taps_pitch);
      };
      for (int64_t i = walk.pairs; i > 0; --i) {
        VTap t2, t3;
        const V h2 = row(next, t2, own0);
        next = hn::Add(next, step);
        Advance(x, x_pitch);
        const V h3 = row(next, t3, own1);
        next = hn::Add(next, step);
        Advance(x, x_pitch);
        See(seen, own0, own1);
        V shared = kK == 3 ? h1 : h2;
        VTap shared_tap = kK == 3 ? t1 : t2;
        if constexpr (kK == 3) fold(h2, t2, shared, shared_tap);
        fold(shared, shared_tap, h0, t0);
        store(h0, t0);
        fold(h3, t3, shared, shared_tap);
        store(shared, shared_tap);
        h0 = kK == 3 ? h2 : h3;
        t0 = kK == 3 ? t2 : t3;
        h1 = h3;
        t1 = t3;
      }
      Advance(x, walk.to_rest);
      VTap last_tap;
      const V last = row(next, last_tap, own0);
      See(seen, own0, own0);
      for (int64_t i = walk.rest; i > 0; --i) {
        if constexpr (kK == 3) fold(h1, t1, h0, t0);
        fold(last, last_tap, h0, t0);
        store(h0, t0);
        h0 = kK == 3 ? h1 : last;
        t0 = kK == 3 ? t1 : last_tap;
        h1 = last;
        t1 = last_tap;
      }
      Advance(x, walk.to_plane);
      Advance(y, walk.y_to_plane);
      Advance(taps, walk.taps_to_plane);
    }
    return SeenNan(seen);
  }
};

// The same with tap numbers for strips two vectors wide, whose numbers are one vector of 16-bit lanes: masks of AVX2
// are vectors, which one operation packs two of. 3x3 on 14x14 takes 0.55 of the time of flat planes, 2x2 on 13x13 0.45
// of that of strips with numbers in 32-bit lanes. (Compares for equality on any port, of lanes whose zeros are
// positive: 1.05.) Only where vectors may be members.
//
// Of the first tap the lower vector is looked up, of the last one the upper: other columns are in the row. Strip::at:
// where those two are, and between them the column of the first tap, which may be before the row. Numbers count from
// the row of the window's first tap.
template <class L, int kK>
struct StripPair {
  using T = typename L::Element;
  using D = hn::ScalableTag<typename L::Lane>;
  using DI = hn::RebindToSigned<D>;
  using D16 = hn::Repartition<int16_t, D>;
  using V = hn::Vec<D>;
  using V16 = hn::Vec<D16>;

  struct Row {
    V lo, hi;
    V16 tap;
  };
  static HWY_INLINE V16 Wins(const Row& best, V lo, V hi) {
    const D d;
    const DI di;
    return PackTaps(di, hn::BitCast(di, hn::VecFromMask(d, hn::Gt(lo, best.lo))),
                    hn::BitCast(di, hn::VecFromMask(d, hn::Gt(hi, best.hi))));
  }
  static HWY_INLINE void Fold(Row& best, V lo, V hi, V16 tap) {
    best.tap = hn::IfThenElse(hn::MaskFromVec(Wins(best, lo, hi)), tap, best.tap);
    best.lo = hn::Max(best.lo, lo);
    best.hi = hn::Max(best.hi, hi);
  }
  static HWY_INLINE void Fold(Row& best, const Row& row) { Fold(best, row.lo, row.hi, row.tap); }

  static HWY_NOINLINE bool Taps(L lanes, const Strip& strip, const StripRows<T>& in) {
    const D d;
    const DI di;
    const D16 d16;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    const auto* table = static_cast<const hn::TFromD<DI>*>(strip.lanes);
    const auto* numbers = static_cast<const hn::TFromD<DI>*>(strip.taps);
    const auto i0 = hn::Load(di, table), i2 = hn::Load(di, table + 2 * n);
    const V16 n0 = PackTaps(di, hn::Load(di, numbers), hn::Load(di, numbers + n));
    const auto number = [&](int64_t tap) PEAKPOOL_INLINED { return hn::Set(d16, static_cast<int16_t>(tap)); };
    const StripWalk walk(in, kK);
    const int64_t x_pitch = in.x_pitch, y_pitch = in.y_pitch, taps_pitch = in.taps_pitch;
    const int64_t first = strip.at[1] - strip.at[0], middle = first + strip.step, last = first + (kK - 1) * strip.step,
                  last_hi = strip.at[2] - strip.at[0];
    const V16 clamped0 = number((HWY_MAX(in.first, 0) - in.first) * kK),
              clamped1 = number((HWY_MAX(in.first + 1, 0) - in.first) * kK);
    const T* x = in.x + strip.at[0] + walk.begin;
    T* y = in.y;
    uint8_t* taps = in.taps;
    auto ordered = hn::FirstN(d, hn::Lanes(d));
    // `tap` is the number of the row's first one.
    const auto row = [&](int tap) PEAKPOOL_INLINED {
      const V own = LoadLanes(lanes, d, x + (kK == 3 ? middle : 0));
      Row best = {LookupLanes(d, kK == 3 ? LoadLanes(lanes, d, x) : own, i0), LoadLanes(lanes, d, x + first + n), n0};
      if constexpr (kK == 2) ordered = AndOrdered(d, ordered, own, best.hi);
      const auto first_tap = hn::Add(n0, number(tap));
      if constexpr (kK == 3) {
        const V hi = LoadLanes(lanes, d, x + middle + n);
        ordered = AndOrdered(d, ordered, own, hi);
        best.tap = hn::Sub(first_tap, Wins(best, own, hi));
        best.lo = hn::Max(best.lo, own);
        best.hi = hn::Max(best.hi, hi);
      }
      const V lo = LoadLanes(lanes, d, x + last), hi = LookupLanes(d, LoadLanes(lanes, d, x + last_hi), i2);
      if constexpr (kK == 3) {
        Fold(best, lo, hi, number(tap + 2));
      } else {
        best.tap = hn::Sub(first_tap, Wins(best, lo, hi));
        best.lo = hn::Max(best.lo, lo);
        best.hi = hn::Max(best.hi, hi);
      }
      return best;
    };
    const auto store = [&](const Row& best) PEAKPOOL_INLINED {
      lanes.Store(d, best.lo, y);
      lanes.Store(d, best.hi, y + n);
      Advance(y, y_pitch);
    };
    const auto back = [&](Row& best, int rows) PEAKPOOL_INLINED { best.tap = hn::Sub(best.tap, number(rows * kK)); };
    for (int64_t p = in.planes; p > 0; --p) {
      Row h0 = row(0), h1 = h0;
      h0.tap = hn::Add(h0.tap, clamped0);
      if constexpr (kK == 3) {
        Advance(x, walk.to_second);
        h1 = row(0);
        h1.tap = hn::Add(h1.tap, clamped1);
      }
      Advance(x, walk.to_pairs);
      for (int64_t i = walk.pairs; i > 0; --i) {
        Row h2 = row(kK * (kK - 1));
        Advance(x, x_pitch);
        Row shared = h2;
        if constexpr (kK == 3) {
          shared = h1;
          Fold(shared, h2);
        }
        Fold(h0, shared);
        store(h0);
        Row h3 = row(kK * kK);
        Advance(x, x_pitch);
        Fold(shared, h3);
        store(shared);
        back(shared, 1);
        StorePackedTaps(di, h0.tap, shared.tap, taps_pitch, taps);
        Advance(taps, 2 * taps_pitch);
        h0 = kK == 3 ? h2 : h3;
        h1 = h3;
        back(h0, 2);
        back(h1, 2);
      }
      Advance(x, walk.to_rest);
      Row end = row(kK * (kK - 1));
      for (int64_t i = walk.rest; i > 0; --i) {
        if constexpr (kK == 3) Fold(h0, h1);
        Fold(h0, end);
        store(h0);
        StorePackedTaps(di, h0.tap, h0.tap, 0, taps);
        Advance(taps, taps_pitch);
        h0 = kK == 3 ? h1 : end;
        h1 = end;
        back(h0, 1);
        back(h1, 1);
      }
      Advance(x, walk.to_plane);
      Advance(y, walk.y_to_plane);
      Advance(taps, walk.taps_to_plane);
    }
    return SawNan<L>(d, ordered);
  }
};

// The kernel whose first and third taps are loaded or looked up.
template <class L>
StripKernel<L> FindStripKernel(int64_t kernel, bool with_taps, bool pair, bool left, bool right) {
  if constexpr (kHasPackedTaps && sizeof(typename L::Lane) == 4) {
    if (pair) return kernel == 2 ? &StripPair<L, 2>::Taps : &StripPair<L, 3>::Taps;
  }
  if constexpr (sizeof(typename L::Lane) == 4) {
    if (kernel == 2) {
      if (with_taps) return left ? &StripWindow<L, 2, true, true>::Taps : &StripWindow<L, 2, false, false>::Taps;
      return left ? &StripWindow<L, 2, true, true>::Values : &StripWindow<L, 2, false, false>::Values;
    }
    if constexpr (kHasLookupOfTwo) {
      if (with_taps && !left && !right) return &StripWindow<L, 3, false, false>::Taps;
    }
  }
  if constexpr (kHasLookupOfTwo) {
    if (with_taps) return &StripWindow<L, 3, true, true>::Taps;
  }
  if (left) return right ? &StripWindow<L, 3, true, true>::Values : &StripWindow<L, 3, true, false>::Values;
  return right ? &StripWindow<L, 3, false, true>::Values : &StripWindow<L, 3, false, false>::Values;
}

// Scratch: strips, their tables, and where lines are shorter than vectors a plane each of x, y and taps with slack.
constexpr int64_t kMostStrips = 24, kStripTablesAt = 2 << 10, kStripSpareAt = 14 << 10, kStripXAt = 16 << 10,
                  kStripYAt = 36 << 10, kStripTapsAt = 56 << 10;

// The strips, and their tables. False if one has taps before or after the line which are not in the vector of the
// second one: a dilation that is not small beside the line.
template <class D>
[[gnu::cold]] HWY_NOINLINE bool MakeStrips(D d, const Axis& w, bool with_taps, uint8_t* scratch) {
  using TI = hwy::MakeSigned<hn::TFromD<D>>;
  using TTap = hn::TFromD<hn::DFromV<decltype(SetTap(D(), 0))>>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), outputs = HWY_MIN(w.output, n);
  Strip* strip = reinterpret_cast<Strip*>(scratch);
  TI* tables = reinterpret_cast<TI*>(scratch + kStripTablesAt);
  const int64_t own = w.pad_before / w.dilation;
  for (int64_t begin = 0; begin < w.output; begin += n, ++strip, tables += 6 * n) {
    strip->begin = HWY_MIN(begin, w.output - outputs);
    strip->lanes = tables;
    strip->taps = tables + 3 * n;
    bool load[3] = {false, false, false};
    for (const int i : {1, 0, 2}) {
      const int64_t tap = with_taps ? HWY_MIN(i, w.kernel - 1) : (own + w.kernel - 1 + i) % w.kernel;
      const int64_t first = strip->begin - w.pad_before + tap * w.dilation;
      strip->at[i] = i == 1 ? HWY_MAX(HWY_MIN(first, w.input - outputs), 0) : strip->at[1];
      TI* lanes = tables + i * n;
      TTap* taps = reinterpret_cast<TTap*>(tables + 3 * n) + i * n;
      for (int64_t lane = 0; lane < n; ++lane) {
        int64_t column = first + HWY_MIN(lane, outputs - 1), t = tap;
        for (; column < 0; ++t) column += w.dilation;
        for (; column >= w.input; --t) column -= w.dilation;
        column -= strip->at[1];
        load[i] = load[i] || column < 0 || column >= n;
        lanes[lane] = static_cast<TI>(column);
        taps[lane] = static_cast<TTap>(t);
      }
      if (!load[i]) continue;
      if (i == 1 || first < 0 || first + outputs > w.input) return false;
      strip->at[i] = first;
      for (int64_t lane = 0; lane < n; ++lane) lanes[lane] = static_cast<TI>(lane);
    }
    strip->left = load[0];
    strip->right = load[2];
  }
  return true;
}

// The same for StripPair. False if the row has not the columns that it does not look up.
template <class D>
[[gnu::cold]] HWY_NOINLINE bool MakeStripPairs(D d, const Axis& w, uint8_t* scratch) {
  using TI = hwy::MakeSigned<hn::TFromD<D>>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), outputs = HWY_MIN(w.output, 2 * n), step = w.dilation;
  const int64_t to_last = (w.kernel - 1) * step;
  Strip* strip = reinterpret_cast<Strip*>(scratch);
  TI* tables = reinterpret_cast<TI*>(scratch + kStripTablesAt);
  for (int64_t begin = 0; begin < w.output; begin += 2 * n, ++strip, tables += 6 * n) {
    strip->begin = HWY_MIN(begin, w.output - outputs);
    const int64_t first = strip->begin - w.pad_before, last = first + to_last;
    strip->at[0] = HWY_MAX(first, 0);
    strip->at[1] = first;
    strip->at[2] = HWY_MAX(HWY_MIN(last, w.input - 2 * n) + n, 0);
    strip->step = step;
    strip->lanes = tables;
    strip->taps = tables + 3 * n;
    strip->left = strip->right = true;
    if (first + HWY_MIN(step, n) < 0 || last + HWY_MIN(outputs, n) > w.input || last - step + outputs > w.input) {
      return false;
    }
    for (int64_t lane = 0; lane < n; ++lane) {
      int64_t column = first + lane, t = 0;
      for (; column < 0; ++t) column += step;
      const int64_t lower = column - strip->at[0];
      column = last + HWY_MIN(n + lane, outputs - 1);
      while (column >= w.input) column -= step;
      const int64_t upper = outputs > n ? column - strip->at[2] : 0;
      if (lower >= n || upper < 0 || upper >= n) return false;
      tables[lane] = static_cast<TI>(lower);
      tables[2 * n + lane] = static_cast<TI>(upper);
      tables[3 * n + lane] = static_cast<TI>(t);
      tables[4 * n + lane] = 0;
    }
  }
  return true;
}

// True if done: short enough lines of dense enough planes.
template <class L>
[[gnu::cold]] HWY_NOINLINE bool ForwardStrips(const ForwardCall& call, L lanes, ForwardKernel separable) {
  using T = typename L::Element;
  using D = hn::ScalableTag<typename L::Lane>;
  const D d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), size = sizeof(T);
  const Geometry& g = *call.geometry;
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  const bool with_taps = call.taps.base != nullptr;
  const Strides& taps = call.taps.strides;
  // How many outputs wide a strip is: two vectors, but 2x2 on short lines (7x7 and 8x8 would take 1.7 times as long).
  const bool pairs = kHasPackedTaps && size == 4 && with_taps && (w.kernel == 3 || w.output > n);
  const int64_t span = pairs ? 2 * n : n, strips = (w.output + span - 1) / span;
  if (g.axis[kDepth].kernel != 1 || g.input.axis[kHeight] != w.input || h.kernel != w.kernel || w.kernel < 2 ||
      w.kernel > 3 || h.stride != 1 || w.stride != 1 || w.pad_before % w.dilation != 0 || w.output > w.input ||
      strips > HWY_MIN(kMostStrips, (kStripSpareAt - kStripTablesAt) / (6 * n * size))) {
    return false;
  }
  // Other windows of f64 are not worth their code.
  if (size == 8 && (w.kernel == 2 || strips == 1)) return false;
  // What is faster flat, or without tap numbers line by line, if it can be.
  const bool is_same = w.output == w.input, is_dilated = h.dilation * w.dilation != 1;
  if (is_same && !pairs && 8 * w.output < (is_dilated ? 7 : 5) * span * strips + !is_dilated) return false;
  if (with_taps) {
    // Masks that are vectors leave too few registers for three taps: 3x3 on 14x14 takes 1.1 times as long as flat.
    if (!kHasLookupOfTwo && !pairs && w.kernel == 3) return false;
  } else if (kHasLookupOfTwo && size == 4) {
    // One operation looks up lanes of two vectors of a flat plane.
    if (is_same ? w.input > n : w.input > 3 * n) return false;
  } else if (w.kernel == 2 ? w.input >= 8 * n : h.input * w.input * size > (128 << 10)) {
    return false;
  }
  // Vectors then reach into what follows a line: another line, which is stored later, or where there is none, scratch.
  const bool is_narrow = w.input < span || w.output < span;
  const int64_t x_size = h.input * w.input, y_room = (h.output + 1) * w.output + span;
  if (is_narrow &&
      (h.dilation != 1 || g.input.axis[kHeight] != w.input || g.output.axis[kHeight] != w.output ||
       (with_taps && taps.axis[kHeight] != w.output) || (x_size + span) * size > kStripYAt - kStripXAt ||
       y_room * size > kStripTapsAt - kStripYAt || y_room > static_cast<int64_t>(kScratchBytes) - kStripTapsAt)) {
    return false;
  }
  uint8_t* scratch = static_cast<uint8_t*>(call.scratch);
  const Strip* const strip = reinterpret_cast<const Strip*>(scratch);
  const auto make = [&] {
    return size == 4 && pairs ? MakeStripPairs(d, w, scratch) : MakeStrips(d, w, with_taps, scratch);
  };
  if (!make()) return false;
  StripRows<T> in;
  in.x_pitch = h.dilation * g.input.axis[kHeight];
  in.y_pitch = h.dilation * g.output.axis[kHeight];
  in.taps_pitch = h.dilation * taps.axis[kHeight];
  in.x_plane = g.input.channel;
  in.y_plane = g.output.channel;
  in.taps_plane = taps.channel;
  // The columns before those where strips look for NaN, and with those behind: in what they load for the second tap,
  // pairs of 2x2 for the first. On wide planes these one by one take less than all columns in vectors (all of 3x3 over
  // 112x112, AVX2: 0.8).
  const int64_t own = pairs && w.kernel == 3 ? w.dilation : 0;
  const int64_t before = HWY_MAX(strip[0].at[1] + own, 0),
                unseen = before + HWY_MAX(w.input - (strip[strips - 1].at[1] + own + span), 0);
  const bool one_by_one = 3 * n * unseen < w.input;
  // Lines [oh, stop) of planes: of dilated windows every so many lines, then those between.
  const auto pool = [&](int64_t planes, int64_t oh, int64_t stop, const T* x, T* y, uint8_t* y_taps) {
    bool nan = false;
    in.planes = planes;
    const int64_t together = g.input.channel == x_size ? planes : 1;
    for (int64_t p = 0; p < planes && unseen > 0; p += together) {
      const T* const plane = x + p * g.input.channel;
      if (one_by_one) {
        for (int64_t i = 0; i < unseen; ++i) {
          for (int64_t at = i < before ? i : w.input - 1 - (i - before); at < together * x_size; at += w.input) {
            nan |= plane[at] != plane[at];
          }
        }
      } else {
        nan |= FlatWindow<L>::HasNan(lanes, plane, together * x_size);
      }
    }
    for (int64_t line = oh; line < HWY_MIN(oh + h.dilation, stop); ++line) {
      const int64_t begin = line - h.pad_before, row = (begin % h.dilation + h.dilation) % h.dilation;
      in.first = (begin - row) / h.dilation;
      in.last = (h.input - 1 - row) / h.dilation;
      in.outputs = (stop - line + h.dilation - 1) / h.dilation;
      for (int64_t s = 0; s < strips; ++s) {
        const Strip& at = strip[s];
        in.x = x + row * g.input.axis[kHeight];
        in.y = y + (line - oh) * g.output.axis[kHeight] + at.begin;
        in.taps = y_taps + (line - oh) * taps.axis[kHeight] + at.begin;
        nan |= FindStripKernel<L>(w.kernel, with_taps, pairs, at.left, at.right)(lanes, at, in);
      }
    }
    return nan;
  };
  for (SliceWalk walk(call, separable); walk.Next();) {
    const T* x = static_cast<const T*>(call.x) + walk.x;
    const int64_t y_at = walk.y + walk.oh * g.output.axis[kHeight], taps_at = walk.taps + walk.oh * taps.axis[kHeight];
    T* y = static_cast<T*>(call.y) + y_at;
    uint8_t* y_taps = with_taps ? static_cast<uint8_t*>(call.taps.base) + taps_at : nullptr;
    int64_t plain = walk.planes;  // the others, usually the last one of a run, are copied
    const int64_t lines = walk.stop - walk.oh, y_need = (lines - 1) * w.output + span;
    const auto fits = [&](int64_t plane) {
      return walk.x + plane * g.input.channel + x_size + span <= walk.x_end &&
             y_at + plane * g.output.channel + y_need <= walk.y_end &&
             (!with_taps || taps_at + plane * taps.channel + y_need <= walk.taps_end);
    };
    while (is_narrow && plain > 0 && !fits(plain - 1)) --plain;
    // So many planes are redone for one NaN, and stay in L1.
    const int64_t most = HWY_MAX(HWY_MIN(((strips == 1 ? 24 : 12) << 10) / (x_size * size), 32), 1);
    int64_t planes = 1;
    for (int64_t p = 0; p < walk.planes; p += planes) {
      bool nan;
      if (p < plain) {
        planes = HWY_MIN(plain - p, most);
        nan = pool(planes, walk.oh, walk.stop, x, y, y_taps);
      } else {
        planes = 1;
        T* const x_copy = reinterpret_cast<T*>(scratch + kStripXAt);
        T* const y_copy = reinterpret_cast<T*>(scratch + kStripYAt);
        memcpy(x_copy, x, static_cast<size_t>(x_size) * sizeof(T));
        memset(x_copy + x_size, 0, static_cast<size_t>(span) * sizeof(T));
        nan = pool(1, walk.oh, walk.stop, x_copy, y_copy, scratch + kStripTapsAt);
        memcpy(y, y_copy, static_cast<size_t>(lines * w.output) * sizeof(T));
        if (with_taps) memcpy(y_taps, scratch + kStripTapsAt, static_cast<size_t>(lines * w.output));
      }
      if (HWY_UNLIKELY(nan)) {
        walk.Redo(p, planes);
        make();  // they live in the call's scratch
      }
      x += planes * g.input.channel;
      y += planes * g.output.channel;
      y_taps += planes * taps.channel;
    }
  }
  return true;
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_STRIPS_INL_H_
