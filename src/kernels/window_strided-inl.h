// SPDX-License-Identifier: Apache-2.0
// Windows of 2 or 3 columns at stride 2, channels-first, on lines shorter than a vector: a pair of vectors is filled
// with the columns of as many lines as fit, and its even and odd lanes are the windows' taps.
//
// Eligible geometries: those of window_channels_first-inl.h with a width of stride 2; kernels of height and depth up to
// 3 at any stride. What is loaded and stored where is written down once per call, as code that all planes share: all
// clamping of rows is in it, so that the kernel knows neither lane sizes nor edges. Columns outside the rows are loaded
// all the same (they are the neighbouring rows') and bounded by tables of limits per lane; stores are ascending and
// whole, so that what one spoils behind its line the next one mends. Where that would touch a byte outside the run of
// planes, a step is done in scratch.
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_STRIDED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_STRIDED_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_STRIDED_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_STRIDED_INL_H_
#endif

#include <cstring>
#include <limits>

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/slices-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// What the kernel does per plane. A step fills one vector with outputs. Its code is, in elements from the plane's
// bases: where each unit of the vector is stored; the lane tables and row numbers; for each row of the window, where
// the loads of the pair of vectors begin.
template <class T>
struct StridedCode {
  using TI = hwy::MakeSigned<T>;
  const int32_t* code;
  int64_t steps, rows, units;
  bool three;  // columns
  // By vectors: the greatest value of the even and of the odd lanes, the numbers of taps 0, 1 and 2; and those that
  // rows add.
  const TI* tables;
  T* y_copy;  // a vector each
  uint8_t* taps_copy;
};

template <class T>
struct StridedPlanes {
  const T* x;
  T* y;
  uint8_t* taps;
  int64_t planes, x_step, y_step, taps_step;
};

// True if a NaN was seen.
template <class L, class T = typename L::Element>
using StridedKernel = bool (*)(L lanes, const StridedCode<T>& in, const StridedPlanes<T>& at);

// Short rows are loaded as blocks of 16 bytes, and stored as units of half of that.
constexpr int64_t kStridedBlock = 16;
template <class D>
constexpr bool kHasStridedBlocks =
    !HWY_HAVE_SCALABLE && sizeof(hn::TFromD<D>)<4 && hn::MaxLanes(D()) * sizeof(hn::TFromD<D>)> kStridedBlock;

template <class L, bool kTaps, bool kBlocks>
bool PoolStrided(L lanes, const StridedCode<typename L::Element>& in,
                 const StridedPlanes<typename L::Element>& planes) {
  using T = typename L::Element;
  const hn::ScalableTag<typename L::Lane> d;
  using D = decltype(d);
  const hn::RebindToSigned<std::remove_const_t<D>> di;
  using V = hn::Vec<D>;
  using VI = hn::Vec<decltype(di)>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), rows = in.rows, units = in.units;
  const bool three = in.three;
  const auto* const tables = in.tables;
  constexpr int64_t kLoads = kBlocks ? static_cast<int64_t>(hn::MaxLanes(d) * sizeof(T)) / kStridedBlock : 1;
  const auto load = [=](const T* x, const int32_t* at) PEAKPOOL_INLINED -> V {
    if constexpr (kBlocks) {
      return InRegister(lanes.ToKey(d, LoadBlocks(d, reinterpret_cast<const typename L::Lane*>(x), at)));
    } else {
      return LoadLanes(lanes, d, x + at[0]);
    }
  };
  auto ordered = hn::FirstN(d, hn::Lanes(d));
  for (int64_t p = 0; p < planes.planes; ++p) {
    const T* const x = planes.x + p * planes.x_step;
    T* const y = planes.y + p * planes.y_step;
    uint8_t* const taps = planes.taps + p * planes.taps_step;
    const int32_t* code = in.code;
    for (int64_t step = 0; step < in.steps; ++step) {
      const int32_t* const to = code;
      code += kBlocks ? 2 * kLoads : units;
      const auto* const table = tables + code[0];
      const auto* number = tables + code[1];
      code += 2;
      const V even_limit = hn::BitCast(d, hn::Load(di, table)), odd_limit = hn::BitCast(d, hn::Load(di, table + n));
      V a = load(x, code), b = load(x, code + kLoads);
      code += 2 * kLoads;
      Note<L>(d, ordered, a, b);
      V best = a;
      VI tap = hn::Zero(di);
      if constexpr (kTaps) {
        const VI tap0 = hn::Load(di, table + 2 * n), tap1 = hn::Load(di, table + 3 * n),
                 tap2 = hn::Load(di, table + 4 * n);
        const auto winner = [&](V lo, V hi, VI& of_row) PEAKPOOL_INLINED {
          const V even = hn::Min(EvenLanes(d, lo, hi), even_limit);
          V v = even;
          of_row = tap0;
          Fold(d, hn::Min(OddLanes(d, lo, hi), odd_limit), tap1, v, of_row);
          if (three) Fold(d, SlideDown1(d, even, even), tap2, v, of_row);
          return v;
        };
        best = winner(a, b, tap);
        tap = hn::Add(tap, hn::Load(di, number));
        for (int64_t r = 1; r < rows; ++r) {
          a = load(x, code);
          b = load(x, code + kLoads);
          code += 2 * kLoads;
          number += n;
          Note<L>(d, ordered, a, b);
          VI row_tap;
          const V v = winner(a, b, row_tap);
          Fold(d, v, hn::Add(row_tap, hn::Load(di, number)), best, tap);
        }
      } else {
        for (int64_t r = 1; r < rows; ++r) {
          const V row_a = load(x, code), row_b = load(x, code + kLoads);
          code += 2 * kLoads;
          Note<L>(d, ordered, row_a, row_b);
          a = hn::Max(a, row_a);
          b = hn::Max(b, row_b);
        }
        const V even = hn::Min(EvenLanes(d, a, b), even_limit);
        best = hn::Max(even, hn::Min(OddLanes(d, a, b), odd_limit));
        if (three) best = hn::Max(best, SlideDown1(d, even, even));
      }
      if constexpr (kBlocks) {
        constexpr int64_t kUnit = kStridedBlock / 2 / sizeof(T);
        lanes.Store(d, best, in.y_copy);
        for (int64_t u = 0; u < 2 * kLoads; ++u) memcpy(y + to[u], in.y_copy + u * kUnit, kUnit * sizeof(T));
        if constexpr (kTaps) {
          StoreBytes(di, tap, in.taps_copy);
          for (int64_t u = 0; u < 2 * kLoads; ++u) memcpy(taps + to[u], in.taps_copy + u * kUnit, kUnit);
        }
      } else {
        lanes.Store(d, best, y + to[0]);
        if constexpr (kTaps) StoreBytes(di, tap, taps + to[0]);
        if constexpr (hn::MaxLanes(d) >= 4) {
          if (units == 2) {
            const hn::Half<std::remove_const_t<D>> dh;
            lanes.Store(dh, UpperLanes(dh, best), y + to[1]);
            if constexpr (kTaps) {
              const hn::RebindToSigned<std::remove_const_t<decltype(dh)>> dih;
              StoreBytes(dih, UpperLanes(dih, tap), taps + to[1]);
            }
          }
        }
      }
    }
  }
  return SawNan<L>(d, ordered);
}

template <class L>
class StridedDriver {
 public:
  using T = typename L::Element;
  using TI = hwy::MakeSigned<T>;

  StridedDriver(const ForwardCall& call, L lanes, ForwardKernel separable)
      : call_(call),
        lanes_(lanes),
        separable_(separable),
        g_(*call.geometry),
        with_taps_(call.taps.base != nullptr),
        tables_(static_cast<TI*>(call.scratch)) {
    const hn::ScalableTag<typename L::Lane> d;
    const Axis &depth = g_.axis[kDepth], &h = g_.axis[kHeight], &w = g_.axis[kWidth];
    n_ = static_cast<int64_t>(hn::Lanes(d));
    const int64_t columns = 2 * w.output + (w.kernel == 3 ? 2 : 0);
    loads_ = 2;
    lines_ = columns <= n_ && n_ >= 4 ? 2 : 1;
    units_ = lines_;
    if constexpr (kHasStridedBlocks<decltype(d)>) {
      constexpr int64_t kBlock = kStridedBlock / static_cast<int64_t>(sizeof(T));
      if (columns <= n_ / 2) {
        loads_ = units_ = 2 * n_ / kBlock;
        lines_ = columns <= kBlock ? loads_ : loads_ / 2;
      }
    }
    strip_ = w.kernel == 3 ? n_ / lines_ - 1 : n_ / lines_;
    strips_ = (w.output + strip_ - 1) / strip_;
    rows_ = depth.kernel * h.kernel;
    code_per_step_ = units_ + 2 + rows_ * loads_;
    dense_ = g_.input.axis[kHeight] == w.input && g_.output.axis[kHeight] == w.output &&
             (!with_taps_ || call.taps.strides.axis[kHeight] == w.output) &&
             (depth.kernel == 1 || g_.input.axis[kDepth] == h.input * w.input);
  }

  // Whether the code of a slice has room, and its offsets do.
  bool Fits() const {
    const Axis &depth = g_.axis[kDepth], &h = g_.axis[kHeight];
    const int64_t steps = (HWY_MIN(h.output, call_.end - call_.begin) + lines_ - 1) / lines_ * strips_;
    constexpr int64_t kMost = std::numeric_limits<int32_t>::max() / 4;
    return CodeAt() + steps * code_per_step_ * 4 <= static_cast<int64_t>(kScratchBytes) &&
           h.input * g_.input.axis[kHeight] + 3 * g_.input.axis[kDepth] * (depth.kernel > 1) < kMost &&
           h.output * g_.output.axis[kHeight] < kMost;
  }

  void Run() {
    const StridedKernel<L> kernel = Find();
    const auto call_kernel = [&](const StridedCode<T>& in, const StridedPlanes<T>& at) {
      return kernel(lanes_, in, at);
    };
    for (SliceWalk walk(call_, separable_); walk.Next();) {
      Write(walk);
      StridedPlanes<T> at = {static_cast<const T*>(call_.x) + walk.x,
                             static_cast<T*>(call_.y) + walk.y,
                             with_taps_ ? static_cast<uint8_t*>(call_.taps.base) + walk.taps : nullptr,
                             1,
                             g_.input.channel,
                             g_.output.channel,
                             with_taps_ ? call_.taps.strides.channel : 0};
      // So many planes are redone for one NaN.
      constexpr int64_t kMostPlanes = 16;
      for (int64_t p = 0; p < walk.planes; p += at.planes) {
        at.planes = 0;
        while (at.planes < kMostPlanes && p + at.planes < walk.planes &&
               Inside(walk, p + at.planes, load_begin_, load_end_, store_end_)) {
          ++at.planes;
        }
        bool nan = false;
        if (at.planes > 0) {
          nan = call_kernel(code_, at);
        } else {
          at.planes = 1;
          for (int64_t step = 0; step < code_.steps; ++step) nan |= Step(walk, p, step, at, call_kernel);
        }
        if (HWY_UNLIKELY(nan)) {
          walk.Redo(p, at.planes);
          written_ = false;  // both live in the call's scratch
          Write(walk);
        }
        at.x += at.planes * at.x_step;
        at.y += at.planes * at.y_step;
        if (with_taps_) at.taps += at.planes * at.taps_step;
      }
    }
  }

 private:
  // In the call's scratch: tables of lanes, copies of a step's stores and loads, and the code.
  static constexpr int64_t kTables = 3;  // of each kind: of the first, of middle and of last strips or lines
  int64_t CopyAt() const { return kTables * (5 + rows_) * n_ * static_cast<int64_t>(sizeof(T)); }
  int64_t CodeAt() const { return CopyAt() + (20 + 2 * rows_) * n_ * static_cast<int64_t>(sizeof(T)); }

  StridedKernel<L> Find() const {
    const hn::ScalableTag<typename L::Lane> d;
    if constexpr (kHasStridedBlocks<decltype(d)>) {
      if (loads_ > 2) return with_taps_ ? &PoolStrided<L, true, true> : &PoolStrided<L, false, true>;
    }
    return with_taps_ ? &PoolStrided<L, true, false> : &PoolStrided<L, false, false>;
  }

  // Whether all that a plane's loads and stores touch lies in the run around it.
  bool Inside(const SliceWalk& walk, int64_t p, int64_t load_begin, int64_t load_end, int64_t store_end) const {
    const int64_t x = walk.x + p * g_.input.channel;
    const bool follows =
        p > 0 && g_.input.channel == g_.axis[kDepth].input * g_.axis[kHeight].input * g_.axis[kWidth].input;
    return dense_ && (load_begin >= 0 || follows) && x + load_end <= walk.x_end &&
           walk.y + p * g_.output.channel + store_end <= walk.y_end &&
           (!with_taps_ || walk.taps + p * call_.taps.strides.channel + store_end <= walk.taps_end);
  }

  // Calls use(i, slice, row, column) for each load of a step, in the code's order.
  template <class Use>
  HWY_INLINE void ForEachLoad(const SliceWalk& walk, int64_t step, const Use& use) const {
    const Axis &depth = g_.axis[kDepth], &h = g_.axis[kHeight], &w = g_.axis[kWidth];
    const int64_t group = strips_ == 1 ? step : step / strips_, per_line = loads_ / lines_, lanes = 2 * n_ / loads_;
    const int64_t column = 2 * (step - group * strips_) * strip_ - w.pad_before, depth_begin = depth.Begin(walk.od);
    int64_t i = 0;
    for (int64_t k = 0; k < depth.kernel; ++k) {
      const int64_t z = HWY_MIN(HWY_MAX(depth_begin + k, 0), depth.input - 1) - HWY_MAX(depth_begin, 0);
      for (int64_t j = 0; j < h.kernel; ++j) {
        for (int64_t l = 0; l < lines_; ++l) {
          const int64_t row = HWY_MIN(HWY_MAX(h.Begin(Line(walk, group, l)) + j, 0), h.input - 1);
          for (int64_t part = 0; part < per_line; ++part) use(i++, z, row, column + part * lanes);
        }
      }
    }
  }
  // The same for each unit that is stored: use(i, line, column).
  template <class Use>
  HWY_INLINE void ForEachUnit(const SliceWalk& walk, int64_t step, const Use& use) const {
    const int64_t group = strips_ == 1 ? step : step / strips_, per_line = units_ / lines_, lanes = n_ / units_;
    int64_t i = 0;
    for (int64_t l = 0; l < lines_; ++l) {
      for (int64_t part = 0; part < per_line; ++part) {
        use(i++, Line(walk, group, l), (step - group * strips_) * strip_ + part * lanes);
      }
    }
  }
  int64_t Line(const SliceWalk& walk, int64_t group, int64_t i) const {
    return HWY_MIN(walk.oh + group * lines_ + i, walk.stop - 1);
  }

  // Writes code and tables for the lines of a slice, unless they are there.
  HWY_NOINLINE void Write(const SliceWalk& walk) {
    const Axis &depth = g_.axis[kDepth], &w = g_.axis[kWidth];
    const int64_t before = HWY_MAX(-depth.Begin(walk.od), 0),
                  after = HWY_MAX(depth.Begin(walk.od) + depth.kernel - depth.input, 0);
    if (written_ && oh_ == walk.oh && stop_ == walk.stop && before_ == before && after_ == after) return;
    written_ = true;
    oh_ = walk.oh, stop_ = walk.stop, before_ = before, after_ = after;
    for (int64_t kind = 0; kind < HWY_MIN(strips_, kTables); ++kind) {
      WriteTables(tables_ + kind * 5 * n_, kind == 2 ? strips_ - 1 : kind);
    }
    TI* const numbers = tables_ + kTables * 5 * n_;
    if (with_taps_) WriteNumbers(walk, numbers);
    int32_t* code = reinterpret_cast<int32_t*>(static_cast<uint8_t*>(call_.scratch) + CodeAt());
    T* const y_copy = reinterpret_cast<T*>(static_cast<uint8_t*>(call_.scratch) + CopyAt());
    const int64_t groups = (walk.stop - walk.oh + lines_ - 1) / lines_;
    code_ = {code,          groups * strips_, rows_,  units_,
             w.kernel == 3, tables_,          y_copy, reinterpret_cast<uint8_t*>(y_copy + n_)};
    load_begin_ = std::numeric_limits<int64_t>::max();
    load_end_ = store_end_ = 0;
    for (int64_t group = 0; group < groups; ++group) {
      for (int64_t strip = 0; strip < strips_; ++strip) {
        const int64_t step = group * strips_ + strip;
        ForEachUnit(walk, step, [&](int64_t i, int64_t line, int64_t column) {
          code[i] = static_cast<int32_t>(line * g_.output.axis[kHeight] + column);
        });
        code[units_] = static_cast<int32_t>((strip == 0 ? 0 : strip == strips_ - 1 && strip > 1 ? 2 : 1) * 5 * n_);
        code[units_ + 1] = static_cast<int32_t>(numbers - tables_ + HWY_MIN(group, kTables - 1) * rows_ * n_);
        ForEachLoad(walk, step, [&](int64_t i, int64_t slice, int64_t row, int64_t column) {
          code[units_ + 2 + i] =
              static_cast<int32_t>(slice * g_.input.axis[kDepth] + row * g_.input.axis[kHeight] + column);
        });
        Bound(code, load_begin_, load_end_, store_end_);
        code += code_per_step_;
      }
    }
  }

  // The limits of columns, and the numbers of taps within a row, of a strip.
  void WriteTables(TI* table, int64_t strip) const {
    const hn::ScalableTag<typename L::Lane> d;
    const hn::ScalableTag<TI> di;
    using Lane = typename L::Lane;
    const Axis& w = g_.axis[kWidth];
    const int64_t columns = n_ / lines_, column = 2 * strip * strip_ - w.pad_before;
    const auto lane = hn::And(hn::Iota(di, 0), hn::Set(di, static_cast<TI>(columns - 1)));
    const auto set = [=](int64_t v) HWY_ATTR { return hn::Set(di, static_cast<TI>(HWY_MIN(HWY_MAX(v, -1), n_ - 1))); };
    constexpr Lane kMost = L::kTracksNan ? std::numeric_limits<Lane>::infinity() : std::numeric_limits<Lane>::max();
    constexpr Lane kLeast =
        L::kTracksNan ? -std::numeric_limits<Lane>::infinity() : std::numeric_limits<Lane>::lowest();
    for (int64_t t = 0; t < 2; ++t) {
      // Lanes whose column + 2 * lane + t lies within the row.
      const auto in_row = hn::And(hn::Gt(lane, set((1 - column - t) / 2 - 1)),
                                  hn::Lt(lane, hn::Add(set((w.input - column - t + 1) / 2 - 1), hn::Set(di, 1))));
      hn::Store(hn::IfThenElse(hn::RebindMask(d, in_row), hn::Set(d, kMost), hn::Set(d, kLeast)), d,
                reinterpret_cast<Lane*>(table + t * n_));
    }
    for (int64_t t = 0; t < 3; ++t) {
      // A column left of the row, which ties with the least value, is named by the first one in the row: for output 0.
      // (One right of the row comes last and never wins.)
      hn::Store(hn::IfThenElse(hn::Eq(lane, hn::Zero(di)), hn::Set(di, static_cast<TI>(HWY_MAX(t, -column))),
                               hn::Set(di, static_cast<TI>(t))),
                di, table + (2 + t) * n_);
    }
  }

  // What the rows of a window add to tap numbers: rows that are clamped at the top are named by the first one. (Those
  // clamped at the bottom never win.) Lines of the first steps may begin above the plane.
  void WriteNumbers(const SliceWalk& walk, TI* numbers) const {
    const hn::ScalableTag<TI> di;
    const Axis &h = g_.axis[kHeight], &w = g_.axis[kWidth];
    for (int64_t group = 0; group < kTables; ++group) {
      for (int64_t r = 0; r < rows_; ++r, numbers += n_) {
        const int64_t k = HWY_MAX(r / h.kernel, before_), j = r % h.kernel;
        auto number = hn::Set(di, static_cast<TI>((k * h.kernel + j) * w.kernel));
        for (int64_t l = lines_ - 1; l >= 0; --l) {
          const int64_t begin = h.Begin(Line(walk, group, l));
          if (begin + j >= 0) continue;
          number = hn::IfThenElse(hn::FirstN(di, static_cast<size_t>((l + 1) * (n_ / lines_))),
                                  hn::Set(di, static_cast<TI>((k * h.kernel - begin) * w.kernel)), number);
        }
        hn::Store(number, di, numbers);
      }
    }
  }

  // What the loads and stores of a step touch.
  void Bound(const int32_t* code, int64_t& load_begin, int64_t& load_end, int64_t& store_end) const {
    // The first of two halves is stored with the second.
    const int64_t stored = loads_ > 2 ? n_ / units_ : n_;
    for (int64_t u = 0; u < units_; ++u) store_end = HWY_MAX(store_end, code[u] + stored);
    for (int64_t i = units_ + 2; i < code_per_step_; ++i) {
      load_begin = HWY_MIN(load_begin, code[i]);
      load_end = HWY_MAX(load_end, code[i] + 2 * n_ / loads_);
    }
  }

  // One step of a plane, in scratch unless it touches nothing outside the run.
  template <class Kernel>
  [[gnu::cold]] HWY_NOINLINE bool Step(const SliceWalk& walk, int64_t p, int64_t step, const StridedPlanes<T>& at,
                                       const Kernel& kernel) {
    StridedCode<T> in = code_;
    in.steps = 1;
    in.code = code_.code + step * code_per_step_;
    int64_t load_begin = 0, load_end = 0, store_end = 0;
    Bound(in.code, load_begin, load_end, store_end);
    if (Inside(walk, p, load_begin, load_end, store_end)) return kernel(in, at);
    constexpr int64_t kMostCode = 8 + 2 + 9 * 8;
    int32_t code[kMostCode];
    const int64_t length = 2 * n_ / loads_;
    T* const y = in.y_copy + 2 * n_;
    uint8_t* const taps = reinterpret_cast<uint8_t*>(y + 9 * n_);
    T* const x = y + 18 * n_;
    for (int64_t u = 0; u < units_; ++u) code[u] = static_cast<int32_t>(u * n_);
    code[units_] = in.code[units_];
    code[units_ + 1] = in.code[units_ + 1];
    ForEachLoad(walk, step, [&](int64_t i, int64_t slice, int64_t row, int64_t column) {
      const int64_t first = HWY_MAX(column, 0), end = HWY_MIN(column + length, g_.axis[kWidth].input);
      memset(x + i * length, 0, static_cast<size_t>(length) * sizeof(T));
      if (first < end) {
        memcpy(x + i * length + first - column,
               at.x + slice * g_.input.axis[kDepth] + row * g_.input.axis[kHeight] + first,
               static_cast<size_t>(end - first) * sizeof(T));
      }
      code[units_ + 2 + i] = static_cast<int32_t>(i * length);
    });
    in.code = code;
    const bool nan = kernel(in, {x, y, taps, 1, 0, 0, 0});
    ForEachUnit(walk, step, [&](int64_t i, int64_t line, int64_t column) {
      const int64_t count = HWY_MIN(HWY_MIN(n_ / units_, strip_), g_.axis[kWidth].output - column);
      if (count <= 0) return;
      memcpy(at.y + line * g_.output.axis[kHeight] + column, y + i * n_, static_cast<size_t>(count) * sizeof(T));
      if (with_taps_) {
        memcpy(at.taps + line * call_.taps.strides.axis[kHeight] + column, taps + i * n_, static_cast<size_t>(count));
      }
    });
    return nan;
  }

  const ForwardCall& call_;
  const L lanes_;
  const ForwardKernel separable_;
  const Geometry& g_;
  const bool with_taps_;
  TI* const tables_;
  bool dense_;              // rows follow each other, so that a vector may begin or end in the next one
  int64_t n_;               // lanes
  int64_t lines_, units_;   // per step
  int64_t loads_;           // per row of the window and step
  int64_t strip_, strips_;  // outputs per line and step, and so many of them per line
  int64_t rows_, code_per_step_;
  // What the code is for, and what it touches.
  bool written_ = false;
  int64_t oh_, stop_, before_, after_;
  int64_t load_begin_, load_end_, store_end_;
  StridedCode<T> code_;
};

// True if done: the code of a plane fits into scratch.
template <class L>
[[gnu::cold]] HWY_NOINLINE bool ForwardStrided(const ForwardCall& call, L lanes, ForwardKernel separable) {
  StridedDriver<L> driver(call, lanes, separable);
  if (!driver.Fits()) return false;
  driver.Run();
  return true;
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_STRIDED_INL_H_
