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

// A strip: its first output, and for each of three taps where elements are loaded, in which lanes of those (`lanes`:
// vectors of lane indices) its elements are and their tap numbers in a row (`taps`).
struct Strip {
  int64_t begin, at[3];
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
// plane. One pointer by steps: g++ keeps other offsets in vector registers, whose way back to an address waits for all
// vector operations before it (3x3 on 14x14 takes 1.5 times as long).
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

  template <class P>
  static HWY_INLINE void Advance(P*& p, int64_t by) {
    p += by;
    HideValue(p);
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

// The kernel whose first and third taps are loaded or looked up.
template <class L>
StripKernel<L> FindStripKernel(int64_t kernel, bool with_taps, bool left, bool right) {
  if (kernel == 2) {
    if (with_taps) return left ? &StripWindow<L, 2, true, true>::Taps : &StripWindow<L, 2, false, false>::Taps;
    return left ? &StripWindow<L, 2, true, true>::Values : &StripWindow<L, 2, false, false>::Values;
  }
  if constexpr (kHasLookupOfTwo) {
    if (with_taps) return left || right ? &StripWindow<L, 3, true, true>::Taps : &StripWindow<L, 3, false, false>::Taps;
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
  const int64_t strips = (w.output + n - 1) / n;
  if (g.axis[kDepth].kernel != 1 || g.input.axis[kHeight] != w.input || h.kernel != w.kernel || w.kernel < 2 ||
      w.kernel > 3 || h.stride != 1 || w.stride != 1 || w.pad_before % w.dilation != 0 || w.output > w.input ||
      strips > HWY_MIN(kMostStrips, (kStripSpareAt - kStripTablesAt) / (6 * n * size))) {
    return false;
  }
  // What is faster flat, or without tap numbers line by line, if it can be.
  const bool is_same = w.output == w.input, is_dilated = h.dilation * w.dilation != 1;
  if (is_same && 8 * w.output < (is_dilated ? 7 : 5) * n * strips + !is_dilated) return false;
  if (with_taps) {
    // Masks that are vectors leave too few registers for three taps: 3x3 on 14x14 takes 1.1 times as long as flat.
    if (!kHasLookupOfTwo && w.kernel == 3) return false;
  } else if (kHasLookupOfTwo && size == 4) {
    // One operation looks up lanes of two vectors of a flat plane.
    if (is_same ? w.input > n : w.input > 3 * n) return false;
  } else if (w.kernel == 2 ? w.input >= 8 * n : h.input * w.input * size > (128 << 10)) {
    return false;
  }
  // Vectors then reach into what follows a line: another line, which is stored later, or where there is none, scratch.
  const bool is_narrow = w.input < n || w.output < n;
  const int64_t x_size = h.input * w.input, y_room = (h.output + 1) * w.output + n;
  if (is_narrow &&
      (h.dilation != 1 || g.input.axis[kHeight] != w.input || g.output.axis[kHeight] != w.output ||
       (with_taps && taps.axis[kHeight] != w.output) || (x_size + n) * size > kStripYAt - kStripXAt ||
       y_room * size > kStripTapsAt - kStripYAt || y_room > static_cast<int64_t>(kScratchBytes) - kStripTapsAt)) {
    return false;
  }
  uint8_t* scratch = static_cast<uint8_t*>(call.scratch);
  const Strip* const strip = reinterpret_cast<const Strip*>(scratch);
  if (!MakeStrips(d, w, with_taps, scratch)) return false;
  StripRows<T> in;
  in.x_pitch = h.dilation * g.input.axis[kHeight];
  in.y_pitch = h.dilation * g.output.axis[kHeight];
  in.taps_pitch = h.dilation * taps.axis[kHeight];
  in.x_plane = g.input.channel;
  in.y_plane = g.output.channel;
  in.taps_plane = taps.channel;
  // The second taps, where NaNs are looked for, are not all inputs then.
  const bool loads = strip->left || strip->right;
  const bool checks = loads && (w.output != w.input || (with_taps && w.pad_before != w.dilation));
  // Lines [oh, stop) of planes: of dilated windows every so many lines, then those between.
  const auto pool = [&](int64_t planes, int64_t oh, int64_t stop, const T* x, T* y, uint8_t* y_taps) {
    bool nan = false;
    in.planes = planes;
    if (checks) {
      for (int64_t p = 0; p < planes; ++p) nan |= FlatWindow<L>::HasNan(lanes, x + p * g.input.channel, x_size);
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
        nan |= FindStripKernel<L>(w.kernel, with_taps, at.left, at.right)(lanes, at, in);
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
    const int64_t lines = walk.stop - walk.oh, y_need = (lines - 1) * w.output + n;
    const auto fits = [&](int64_t plane) {
      return walk.x + plane * g.input.channel + x_size + n <= walk.x_end &&
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
        memset(x_copy + x_size, 0, static_cast<size_t>(n) * sizeof(T));
        nan = pool(1, walk.oh, walk.stop, x_copy, y_copy, scratch + kStripTapsAt);
        memcpy(y, y_copy, static_cast<size_t>(lines * w.output) * sizeof(T));
        if (with_taps) memcpy(y_taps, scratch + kStripTapsAt, static_cast<size_t>(lines * w.output));
      }
      if (HWY_UNLIKELY(nan)) {
        walk.Redo(p, planes);
        MakeStrips(d, w, with_taps, scratch);  // they live in the call's scratch
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
