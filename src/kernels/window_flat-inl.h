// SPDX-License-Identifier: Apache-2.0
// Small windows channels-first at stride 1 whose outputs are as many as the inputs: dense planes are one flat array, in
// which every tap lies at a constant distance from its output whatever the width, the dilation and the element type.
//
// Eligible geometries: channels-first; depth kernel 1; height and width with 0 to 2 Axis::TapsBesideCentre(). Tap
// numbers are bytes. One byte of flags per position says which neighbours exist; full vectors do the rest, across the
// ends of rows and planes: the horizontal taps from the input to scratch, then the vertical ones from there. That order
// lets the earlier tap win a tie without a look at tap numbers. Windows of 5 taps fold neighbours in twice.
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_FLAT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_FLAT_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_FLAT_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_FLAT_INL_H_
#endif

#include <cmath>
#include <cstring>
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

// Flags of a position: which neighbours it has.
enum FlatFlags : uint8_t { kHasLeft = 1, kHasRight = 2, kHasUpper = 4, kHasLower = 8 };

// One axis of a window. So often are neighbours folded in, which are so far before and after a position (0: there are
// none on that side).
struct FlatAxis {
  int64_t rounds, before, after;
  int tap_step;

  // A step along the axis is `step` positions, and `taps` tap numbers.
  FlatAxis(const Axis& axis, int64_t step, int64_t taps)
      : rounds(HWY_MAX(axis.TapsBesideCentre(), 1)),
        before(axis.pad_before == 0 ? 0 : axis.dilation * step),
        after(axis.pad_before == (axis.kernel - 1) * axis.dilation ? 0 : axis.dilation * step),
        tap_step(static_cast<int>(taps)) {}
};

// Positions [begin, begin + size), and again every `period`, have both neighbours along an axis.
struct FlatInner {
  int64_t begin, size, period;
};

// Whether elements are mapped to scratch once, as five operations are too many for each of three loads.
template <class L>
constexpr bool kMapsOnce = std::is_same<L, HalfLanes>::value;

template <class L>
struct FlatWindow {
  using T = typename L::Element;
  using Lane = typename L::Lane;
  using D = hn::ScalableTag<Lane>;
  using DI = hn::RebindToSigned<D>;
  using TI = hn::TFromD<DI>;
  using V = hn::Vec<D>;
  using VI = hn::Vec<DI>;

  static HWY_INLINE V Load(L lanes, D d, const T* p) {
    if constexpr (kMapsOnce<L>) {
      return hn::LoadU(d, p);
    } else {
      return lanes.Load(d, p);
    }
  }

  // The greatest of the taps along one axis that exist.
  template <class M>
  static HWY_INLINE V Greatest(V before, V centre, V after, M has_before, M has_after) {
    const V v = hn::IfThenElse(has_before, hn::Max(centre, before), centre);
    return hn::IfThenElse(has_after, hn::Max(v, after), v);
  }
  // The same with tap numbers.
  template <class M>
  static HWY_INLINE void FoldTaps(M has_before, V before, VI before_tap, M has_after, V after, VI after_tap, V& best,
                                  VI& tap) {
    const DI di;
    const M earlier = hn::AndNot(hn::Gt(best, before), has_before);
    best = hn::IfThenElse(earlier, before, best);
    tap = hn::IfThenElse(hn::RebindMask(di, earlier), before_tap, tap);
    const M later = hn::And(hn::Gt(after, best), has_after);
    best = hn::IfThenElse(later, after, best);
    tap = hn::IfThenElse(hn::RebindMask(di, later), after_tap, tap);
  }

  // Winners among `count` positions, and more up to a full vector, and their horizontal neighbours; tap numbers are
  // relative to the centre's. True if one of the positions is NaN.
  template <bool kTaps>
  static HWY_NOINLINE bool Across(L lanes, const FlatAxis& axis, const T* x, const uint8_t* flags, int64_t count,
                                  Lane* HWY_RESTRICT best, TI* HWY_RESTRICT taps) {
    const D d;
    const DI di;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    const auto left = SetTap(d, kHasLeft), right = SetTap(d, kHasRight);
    const VI before_tap = hn::Set(di, TI{-1}), after_tap = hn::Set(di, TI{1});
    const T *before = x - axis.before, *after = x + axis.after;
    auto ordered = hn::FirstN(d, hn::Lanes(d));
    for (int64_t i = 0; i < count; i += n) {
      const auto has = LoadTaps(d, flags + i);
      const auto has_left = TapsHave(d, has, left), has_right = TapsHave(d, has, right);
      V v = Load(lanes, d, x + i);
      if constexpr (L::kTracksNan) ordered = AndOrdered(d, ordered, v, v);
      const V b = Load(lanes, d, before + i), a = Load(lanes, d, after + i);
      if constexpr (kTaps) {
        VI tap = hn::Zero(di);
        FoldTaps(has_left, b, before_tap, has_right, a, after_tap, v, tap);
        hn::Store(tap, di, taps + i);
      } else {
        v = Greatest(b, v, a, has_left, has_right);
      }
      hn::Store(v, d, best + i);
    }
    return SawNan<L>(d, ordered);
  }

  // Winners among those and their neighbours along either axis, `count` of at least one vector: to scratch once more,
  // or to y with the tap number of the centre added.
  template <bool kTaps, bool kLast, class Taps>
  static HWY_NOINLINE void Along(L lanes, const FlatAxis& axis, const FlatInner& inner, int flag_before, int flag_after,
                                 int centre_tap, const Lane* best, const TI* taps, const uint8_t* flags, int64_t count,
                                 T* HWY_RESTRICT y, Taps* HWY_RESTRICT y_taps) {
    const D d;
    const DI di;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d)), last = count - n;
    const auto has_before = SetTap(d, flag_before), has_after = SetTap(d, flag_after);
    const VI step = hn::Set(di, static_cast<TI>(axis.tap_step)), centre = hn::Set(di, static_cast<TI>(centre_tap));
    const Lane *before = best - axis.before, *after = best + axis.after;
    const TI *before_taps = taps - axis.before, *after_taps = taps + axis.after;
    const auto store = [=](int64_t i, V v) HWY_ATTR {
      if constexpr (kLast) {
        lanes.Store(d, v, y + i);
      } else {
        hn::StoreU(v, d, y + i);
      }
    };
    int64_t run = inner.begin;
    for (int64_t i = 0;;) {
      const auto has = LoadTaps(d, flags + i);
      const auto is_before = TapsHave(d, has, has_before), is_after = TapsHave(d, has, has_after);
      V v = hn::LoadU(d, best + i);
      const V b = hn::LoadU(d, before + i), a = hn::LoadU(d, after + i);
      if constexpr (kTaps) {
        VI tap = hn::LoadU(di, taps + i);
        FoldTaps(is_before, b, hn::Sub(hn::LoadU(di, before_taps + i), step), is_after, a,
                 hn::Add(hn::LoadU(di, after_taps + i), step), v, tap);
        if constexpr (kLast) {
          StoreBytes(di, hn::Add(tap, centre), y_taps + i);
        } else {
          hn::StoreU(tap, di, y_taps + i);
        }
      } else {
        v = Greatest(b, v, a, is_before, is_after);
      }
      store(i, v);
      i += n;
      if constexpr (!kTaps) {
        if (i >= run) {
          // Without flags: 14x14 of f32 takes 0.8 times as long on AVX2. (With tap numbers 0.93, for twice the code.)
          const int64_t end = HWY_MIN(run + inner.size, count) - n;
          for (; i <= end; i += n) {
            const V two = hn::Max(hn::LoadU(d, best + i), hn::LoadU(d, before + i));
            store(i, hn::Max(two, hn::LoadU(d, after + i)));
          }
          run += inner.period;
        }
      }
      if (HWY_LIKELY(i <= last)) continue;
      if (i >= count) break;
      i = last;
    }
  }

  // Whether Pool takes windows that reach so many lanes to either side: where one operation looks up lanes of two
  // vectors. (Slides of AVX2 take two each: 1.3 times as long as through scratch. 16-bit lookups are no faster than
  // slides.)
  static bool Fuses(int64_t reach) {
    return kHasLookupOfTwo && reach <= (kLooksUp ? static_cast<int64_t>(hn::Lanes(D())) : 1);
  }
  static constexpr bool kLooksUp = sizeof(Lane) > 2;

  // Values only, in one go: vertical maxima in registers, whose neighbours come from those before and after. 14x14 of
  // u8 and 56x56 of f32 with dilation take 0.8 times as long as through scratch. All stores to y are whole vectors, but
  // the last one. True if a NaN was seen.
  static HWY_NOINLINE bool Pool(L lanes, const FlatAxis& horizontal, const FlatAxis& vertical, const T* x,
                                const uint8_t* flags, int64_t count, T* HWY_RESTRICT y, T* HWY_RESTRICT spare) {
    const D d;
    const DI di;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    const auto left = InRegister(SetTap(d, kHasLeft)), right = InRegister(SetTap(d, kHasRight)),
               upper = InRegister(SetTap(d, kHasUpper)), lower = InRegister(SetTap(d, kHasLower));
    const VI from_before = hn::Add(hn::Iota(di, 0), hn::Set(di, static_cast<TI>(n - horizontal.before))),
             from_after = hn::Add(hn::Iota(di, 0), hn::Set(di, static_cast<TI>(horizontal.after)));
    const T *above = x - vertical.before, *below = x + vertical.after;
    auto ordered = hn::FirstN(d, hn::Lanes(d));
    const auto column = [&](int64_t i) HWY_ATTR {
      const V v = Load(lanes, d, x + i), a = Load(lanes, d, above + i), b = Load(lanes, d, below + i);
      if constexpr (L::kTracksNan) ordered = AndOrdered(d, ordered, v, v);
      const auto has = LoadTaps(d, flags + i);
      return Greatest(a, v, b, TapsHave(d, has, upper), TapsHave(d, has, lower));
    };
    V before = hn::Zero(d), v = column(0);
    for (int64_t i = 0; i < count; i += n) {
      const auto has = LoadTaps(d, flags + i);
      const auto has_left = TapsHave(d, has, left), has_right = TapsHave(d, has, right);
      V after = v;
      if (HWY_LIKELY(i + n < count)) after = column(i + n);
      V b, a;
      if constexpr (kLooksUp) {
        b = LookupTwo(d, before, v, from_before);
        a = LookupTwo(d, v, after, from_after);
      } else {
        b = SlideUp1(d, before, v);
        a = SlideDown1(d, v, after);
      }
      const V best = Greatest(b, v, a, has_left, has_right);
      if (HWY_LIKELY(i + n <= count)) {
        lanes.Store(d, best, y + i);
      } else {
        lanes.Store(d, best, spare);
        memcpy(y + i, spare, static_cast<size_t>(count - i) * sizeof(T));
      }
      before = v;
      v = after;
    }
    return SawNan<L>(d, ordered);
  }

  // Whether one of the elements is NaN.
  static HWY_NOINLINE bool HasNan(L lanes, const T* x, int64_t count) {
    const D d;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    auto ordered = hn::FirstN(d, hn::Lanes(d));
    int64_t i = 0;
    for (; i + n <= count; i += n) {
      const V v = lanes.Load(d, x + i);
      Note<L>(d, ordered, v, v);
    }
    bool nan = SawNan<L>(d, ordered);
    for (; i < count; ++i) nan |= std::isnan(x[i]);
    return nan;
  }

  // x to scratch, mapped if kMapsOnce.
  static HWY_NOINLINE void Copy(L lanes, const T* HWY_RESTRICT x, int64_t count, T* HWY_RESTRICT to) {
    if constexpr (kMapsOnce<L>) {
      const D d;
      const int64_t n = static_cast<int64_t>(hn::Lanes(d));
      int64_t i = 0;
      for (; i + n <= count; i += n) hn::StoreU(lanes.Load(d, x + i), d, to + i);
      if (i == count) return;
      memcpy(to + i, x + i, static_cast<size_t>(count - i) * sizeof(T));
      hn::StoreU(lanes.Load(d, to + i), d, to + i);
    } else {
      memcpy(to, x, static_cast<size_t>(count) * sizeof(T));
    }
  }
};

// A call's planes and what scratch holds, for lanes of any type.
struct FlatPlanes {
  FlatPlanes(const ForwardCall& call, int64_t lanes, int64_t lane_bytes) : FlatPlanes(*call.geometry, lanes) {
    // Scratch: regions for copied input and later other winners than the first, for those, for the taps of both, and
    // for flags. As many elements before and after a block may be loaded as its windows reach in one round.
    const bool once = horizontal.rounds + vertical.rounds == 2;
    const int64_t region = once ? kScratchBytes / 4 : kScratchBytes / 5 / 256 * 256;
    const int64_t before = HWY_MAX(horizontal.before, vertical.before);
    const int64_t slack = (HWY_MAX(before, HWY_MAX(horizontal.after, vertical.after)) + n - 1) / n * n;
    room = region / lane_bytes - 2 * slack - n;
    uint8_t* scratch = static_cast<uint8_t*>(call.scratch);
    for (int i = 0; i < 2; ++i) {
      best_at[i] = scratch + i * region + slack * lane_bytes;
      taps_at[i] = scratch + (once ? 2 : 2 + i) * region + slack * lane_bytes;
    }
    flags = scratch + (once ? 3 : 4) * region;
  }

  // Whether blocks hold a plane, or so many rows that those between two bands are few.
  bool HasRoom() const { return room >= height * width || room >= (4 * (above + below) + 1) * width; }

  // Of rows [from, to) of so many planes, those between two others.
  HWY_NOINLINE FlatInner Inner(int64_t from, int64_t to, int64_t planes) const {
    const int64_t all = (to - from) * width, begin = HWY_MAX(vertical.before - from * width, 0);
    const int64_t size = all - begin - HWY_MAX(vertical.after - (height - to) * width, 0);
    // Few are not worth the branches.
    if (size < 4 * n) return {planes * all + n, 0, 0};
    return {begin, size, all};
  }

  // Flags of rows [top, bottom) of so many planes, unless they are there.
  HWY_NOINLINE void SetFlags(int64_t top, int64_t bottom, int64_t planes) {
    if (top == flags_top && bottom == flags_bottom && planes <= flags_planes) return;
    flags_top = top, flags_bottom = bottom, flags_planes = planes;
    const int64_t rows = bottom - top, left = HWY_MIN(horizontal.before, width),
                  right = HWY_MIN(horizontal.after, width);
    const auto fill = [&](int64_t at, uint8_t value, int64_t count) {
      memset(flags + at, value, static_cast<size_t>(count));
    };
    // A row far from the others' ends, then copies, twice as many each time.
    uint8_t all = kHasUpper | kHasLower;
    if (left > 0) all |= kHasLeft;
    if (right > 0) all |= kHasRight;
    fill(0, all, width);
    for (int64_t c = 0; c < left; ++c) flags[c] &= ~kHasLeft;
    for (int64_t c = 0; c < right; ++c) flags[width - 1 - c] &= ~kHasRight;
    Repeat(width, rows);
    const int64_t upper = vertical.before == 0 ? rows : HWY_MIN(vertical.before / width - top, rows);
    const int64_t lower = vertical.after == 0 ? rows : HWY_MIN(vertical.after / width - (height - bottom), rows);
    for (int64_t i = 0; i < upper * width; ++i) flags[i] &= ~kHasUpper;
    for (int64_t i = 0; i < lower * width; ++i) flags[rows * width - 1 - i] &= ~kHasLower;
    Repeat(rows * width, planes);
  }
  HWY_NOINLINE void Repeat(int64_t size, int64_t times) {
    for (int64_t done = 1; done < times; done *= 2) {
      memcpy(flags + done * size, flags, static_cast<size_t>(HWY_MIN(done, times - done) * size));
    }
  }

  const int64_t width, height, n;
  const FlatAxis horizontal, vertical;
  const int centre_tap;
  const int64_t above, below;  // rows that windows reach
  int64_t room;                // positions of a block
  uint8_t *best_at[2], *taps_at[2], *flags;
  int64_t flags_top = 0, flags_bottom = 0, flags_planes = 0;

 private:
  HWY_NOINLINE FlatPlanes(const Geometry& g, int64_t lanes)
      : width(g.axis[kWidth].input),
        height(g.axis[kHeight].input),
        n(lanes),
        horizontal(g.axis[kWidth], 1, 1),
        vertical(g.axis[kHeight], width, g.axis[kWidth].kernel),
        centre_tap(static_cast<int>(g.axis[kHeight].pad_before / g.axis[kHeight].dilation * g.axis[kWidth].kernel +
                                    g.axis[kWidth].pad_before / g.axis[kWidth].dilation)),
        above(vertical.rounds * vertical.before / width),
        below(vertical.rounds * vertical.after / width) {}
};

// Pools the planes, or bands of rows of large ones, of one call.
template <class L>
class FlatDriver : public FlatPlanes {
 public:
  using T = typename L::Element;
  using Window = FlatWindow<L>;
  using Lane = typename Window::Lane;
  using TI = typename Window::TI;

  FlatDriver(const ForwardCall& a_call, L a_lanes)
      : FlatPlanes(a_call, static_cast<int64_t>(hn::Lanes(typename Window::D())), sizeof(Lane)),
        call(a_call),
        g(*a_call.geometry),
        lanes(a_lanes),
        with_taps(a_call.taps.base != nullptr) {}

  [[gnu::cold]] HWY_NOINLINE void Run(ForwardKernel separable) {
    const int64_t plane = height * width;
    const auto dense = [&](const Strides& s) { return s.channel == plane; };
    for (SliceWalk walk(call, separable); walk.Next();) {
      const bool is_run =
          walk.planes > 1 && dense(g.input) && dense(g.output) && (!with_taps || dense(call.taps.strides));
      // Blocks that stay in L1 with what they read and write.
      constexpr int64_t kBlockBytes = 4 << 10;
      const int64_t at_a_time =
          is_run ? HWY_MAX(HWY_MIN(kBlockBytes / static_cast<int64_t>(sizeof(T)), room) / plane, 1) : 1;
      int64_t planes = 1;
      for (int64_t p = 0; p < walk.planes; p += planes) {
        planes = HWY_MIN(at_a_time, walk.planes - p);
        const int64_t x_at = walk.x + p * g.input.channel;
        x = static_cast<const T*>(call.x) + x_at;
        x_size = HWY_MAX(walk.x_end - x_at, (dense(g.input) ? walk.planes - p : 1) * plane);
        x_before = dense(g.input) ? p * plane : 0;
        T* y = static_cast<T*>(call.y) + walk.y + p * g.output.channel;
        uint8_t* y_taps =
            with_taps ? static_cast<uint8_t*>(call.taps.base) + walk.taps + p * call.taps.strides.channel : nullptr;
        bool nan = false;
        const int64_t rows = plane <= room ? walk.stop - walk.oh : room / width - above - below;
        for (int64_t row = walk.oh; row < walk.stop; row += rows) {
          nan |= Block(row, HWY_MIN(row + rows, walk.stop), planes, y, y_taps);
        }
        if (HWY_UNLIKELY(nan)) {
          walk.Redo(p, planes);
          flags_planes = 0;  // they live in the call's scratch
        }
      }
    }
  }

 private:
  // Rows [begin, end) of a plane, or several whole planes. True if a NaN was seen.
  HWY_NOINLINE bool Block(int64_t begin, int64_t end, int64_t planes, T* y, uint8_t* y_taps) {
    // With the rows above and below that the windows reach.
    const int64_t top = HWY_MAX(begin - above, 0), bottom = HWY_MIN(end + below, height);
    const int64_t rows = bottom - top, size = planes * rows * width;
    SetFlags(top, bottom, planes);
    const T* from = x + top * width;
    T* const x_copy = reinterpret_cast<T*>(best_at[1]);
    const int64_t x_begin = -HWY_MIN(x_before + top * width, horizontal.before);
    const int64_t x_end = HWY_MIN(x_size - top * width, size + horizontal.after);
    if (kMapsOnce<L> || x_before + top * width < HWY_MAX(horizontal.before, vertical.before) ||
        x_size - top * width < size + n + HWY_MAX(horizontal.after, vertical.after)) {
      Window::Copy(lanes, from + x_begin, x_end - x_begin, x_copy + x_begin);
      if (x_end < size + n) memset(x_copy + x_end, 0, static_cast<size_t>(size + n - x_end) * sizeof(T));
      from = x_copy;
    }
    const int64_t first = (begin - top) * width, count = planes == 1 ? (end - begin) * width : size;
    if constexpr (kHasLookupOfTwo) {
      if (!with_taps && horizontal.rounds * vertical.rounds == 1 &&
          Window::Fuses(HWY_MAX(horizontal.before, horizontal.after))) {
        bool nan = Window::Pool(lanes, horizontal, vertical, from + first, flags + first, count, y + begin * width,
                                reinterpret_cast<T*>(best_at[0]));
        if constexpr (L::kTracksNan) {
          nan = nan || Window::HasNan(lanes, from, first) ||
                Window::HasNan(lanes, from + first + count, size - first - count);
        }
        return nan;
      }
    }
    y += begin * width;
    if (with_taps) return Pass<true>(begin, end, top, bottom, planes, from, y, y_taps + begin * width);
    return Pass<false>(begin, end, top, bottom, planes, from, y, nullptr);
  }

  // Folds neighbours in, one round after the other.
  template <bool kTaps>
  HWY_INLINE bool Pass(int64_t begin, int64_t end, int64_t top, int64_t bottom, int64_t planes, const T* from, T* y,
                       uint8_t* y_taps) {
    Lane* const best[2] = {reinterpret_cast<Lane*>(best_at[0]), reinterpret_cast<Lane*>(best_at[1])};
    TI* const taps[2] = {reinterpret_cast<TI*>(taps_at[0]), reinterpret_cast<TI*>(taps_at[1])};
    const int64_t size = planes * (bottom - top) * width, first = (begin - top) * width;
    const int64_t count = planes == 1 ? (end - begin) * width : size;
    const bool nan = Window::template Across<kTaps>(lanes, horizontal, from, flags, size, best[0], taps[0]);
    int at = 0;
    for (int64_t round = 2; round < horizontal.rounds + vertical.rounds; ++round, at ^= 1) {
      const bool is_row = round <= horizontal.rounds;
      Window::template Along<kTaps, false>(lanes, is_row ? horizontal : vertical,
                                           is_row ? FlatInner{size, 0, 0} : Inner(top, bottom, planes),
                                           is_row ? kHasLeft : kHasUpper, is_row ? kHasRight : kHasLower, 0, best[at],
                                           taps[at], flags, HWY_MAX(size, n), best[at ^ 1], taps[at ^ 1]);
    }
    const bool is_short = count < n;
    T* const to = is_short ? reinterpret_cast<T*>(best[at ^ 1]) : y;
    uint8_t* const taps_to = is_short ? reinterpret_cast<uint8_t*>(best[at ^ 1] + n) : y_taps;
    Window::template Along<kTaps, true>(lanes, vertical, Inner(begin, end, planes), kHasUpper, kHasLower, centre_tap,
                                        best[at] + first, taps[at] + first, flags + first, HWY_MAX(count, n), to,
                                        taps_to);
    if (HWY_UNLIKELY(is_short)) {
      memcpy(y, to, static_cast<size_t>(count) * sizeof(T));
      if (kTaps) memcpy(y_taps, taps_to, static_cast<size_t>(count));
    }
    return nan;
  }

  const ForwardCall& call;
  const Geometry& g;
  const L lanes;
  const bool with_taps;
  // The plane, or the first of several: elements that may be read from there on, and before it.
  const T* x;
  int64_t x_size, x_before;
};

// True if done: dense planes, and neither so wide nor so dilated that a block would hold few rows.
template <class L>
[[gnu::cold]] HWY_NOINLINE bool ForwardFlat(const ForwardCall& call, L lanes, ForwardKernel separable) {
  const Geometry& g = *call.geometry;
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  if (g.axis[kDepth].kernel != 1 || h.TapsBesideCentre() < 0 || w.TapsBesideCentre() < 0) return false;
  if (HWY_MAX(h.TapsBesideCentre(), w.TapsBesideCentre()) > 2) return false;
  if (g.input.axis[kHeight] != w.input || g.output.axis[kHeight] != w.input ||
      (call.taps.base != nullptr && call.taps.strides.axis[kHeight] != w.input)) {
    return false;
  }
  FlatDriver<L> driver(call, lanes);
  if (driver.HasRoom()) return driver.Run(separable), true;
  return false;
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_FLAT_INL_H_
