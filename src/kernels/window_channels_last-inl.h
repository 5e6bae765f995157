// SPDX-License-Identifier: Apache-2.0
// Small windows over channels-last tensors, and windows of any size that share no input: a vector holds channels, so no
// tap needs a shuffle, unless channels are so few that it holds pixels.
//
// Accepts every channels-last geometry whose kernel is at most 3 on each axis, or at most its stride; stride, dilation
// and padding are free as long as every window has an in-range tap. Fused, so that windows share their taps, are
// dilation 1, depth kernel 1 and (kernel, stride) equal on height and width out of (2,2), (3,2), (3,1), (2,1), with at
// least a vector of channels and, if there are indices, u8 taps; stride 1 with dilation is as many of these as there
// are phases. Dense tensors of few channels are shuffled, several pixels per vector. Everything else reduces rows of
// two or three taps of each output by itself (PoolLine), large windows in passes over all channels.
//
// Only what touches elements is compiled per kind of lanes: the loops around it (Forms) are shared, which halved the
// size.
//
// Padding is clamped away: a row or column outside the input is replaced by the nearest one inside, which with dilation
// 1 lies in the same window, and max is idempotent.
//
// Tried on Zen 5, g++ 12, 512-bit vectors, f32, and rejected: NaN as a masked compare in a chain (2x2 in L2 1.25 -> 2.2
// times the copy: latency), or as the greatest bits (to +20 %); prefetch of rows or of y that caches hold (to +10 %),
// or in bursts (dropped); maxima along the width kept in the L1 cache for the next lines, rows of x read once and in
// order (64x55x55 3x3 s2 9.0 -> 8.0 us, but 192x56x56 30 -> 43, 480x14x14 3x3 s1 6.3 -> 11.3: more calls per line, each
// short, and twice the stores); rows of taps rather than pairs of lines for all overlapping windows (f32 -12 to +25 %);
// tiles of 2x2 values (480x14x14 3x3 s1 7.0 -> 9.4 us) or 2x4 (7.6), also in
// blocks of channels; with 256-bit vectors, places chosen by equal bits instead of compared floats, which leaves the
// pipes of the maxima alone (to +7 %); 16-bit elements mapped once, into scratch (values to +110 %, indices +30 to
// +180 %). Values of 3x3 s2 take 4 to 5 cycles per output vector from the L1 cache and 9 to 11 from L2, where the copy
// takes 5, in every form: pairs of lines sliding as here or in registers, one column at a time, rows read once, nothing
// kept. Fills, loads and stores add up there.
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_LAST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_LAST_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_LAST_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_LAST_INL_H_
#endif

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lane_tables-inl.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/slice_walk.h"
#include "src/kernels/window-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace channels_last {

// A run of `lines` output lines within one plane, starting at (batch, od, oh).
struct Block {
  const Geometry& geometry;
  const void* lanes;  // an object of the kind
  const char* x;      // of the batch
  char* y;            // of the batch and depth
  uint8_t* taps;      // of the batch and depth; null: values only
  int tap_bytes;
  Strides tap_strides;
  int64_t od, oh, lines;
  void* scratch;
};

constexpr int64_t kAhead = 4096;  // bytes, where lines share no rows

// Fetches what lies `bytes` after p, which may be beyond x.
template <class T>
HWY_INLINE void FetchAhead(const T* p, int64_t bytes) {
  hwy::Prefetch(reinterpret_cast<const T*>(reinterpret_cast<uintptr_t>(p) + static_cast<uintptr_t>(bytes)));
}

// Writes a vector of y.
template <bool kFar, class L, class D>
HWY_INLINE void StoreTo(D d, const L lanes, hn::Vec<D> v, typename L::Element* HWY_RESTRICT to) {
  if constexpr (kFar) {
    hn::Stream(lanes.FromKey(d, v), d, to);
  } else {
    lanes.Store(d, v, to);
  }
}

// Small windows rarely need wide numbers: only for callers who insist.
template <class DI>
[[gnu::cold]] HWY_NOINLINE void StoreWideTaps(DI di, hn::Vec<DI> index, int bytes, uint8_t* HWY_RESTRICT to) {
  using Lane = hn::TFromD<DI>;
  HWY_ALIGN Lane lane[hn::MaxLanes(di)];
  hn::Store(index, di, lane);
  for (size_t i = 0; i < hn::Lanes(di); ++i) {
    if (bytes == 2) {
      reinterpret_cast<uint16_t*>(to)[i] = static_cast<uint16_t>(lane[i]);
    } else {
      reinterpret_cast<uint32_t*>(to)[i] = static_cast<uint32_t>(lane[i]);
    }
  }
}

// Writes one vector of tap numbers as elements of `bytes` bytes.
template <class DI>
HWY_INLINE void StoreTaps(DI di, hn::Vec<DI> index, int bytes, uint8_t* HWY_RESTRICT to) {
  if (HWY_LIKELY(bytes == 1)) {
    StoreBytes(di, index, to);
  } else {
    StoreWideTaps(di, index, bytes, to);
  }
}

// Whether a NaN was among the vectors whose squares were summed.
template <class L, class D, class V = hn::Vec<D>>
HWY_INLINE bool NanNoted(D d, V squares) {
  if constexpr (L::kTracksNan) return !hn::AllFalse(d, hn::IsNaN(squares));
  return false;
}

// The maximum of x at i and y at j, and its place; of equals the earlier operand stays.
template <class D, class V = hn::Vec<D>, class VI = hn::Vec<hn::RebindToSigned<D>>>
HWY_INLINE void ArgMax(D /*d*/, V x, VI i, V y, VI j, V& v, VI& k) {
  const hn::RebindToSigned<D> di;
  const auto greater = hn::Gt(y, x);
  v = hn::Max(x, y);  // rather than a blend, which competes with that of the places: 3 to 8 %
  k = hn::IfThenElse(hn::RebindMask(di, greater), j, i);
}

// Whether a kernel is larger than 3.
inline bool IsWide(const Geometry& g) {
  return g.axis[kDepth].kernel > 3 || g.axis[kHeight].kernel > 3 || g.axis[kWidth].kernel > 3;
}

// The in-range rows of one output line's windows. `name` is the tap number of the row's first column.
struct Rows {
  const char* row[9];
  int name[9];
  int count = 0;

  [[gnu::cold]] HWY_NOINLINE Rows(const Block& block, int64_t line, int64_t size) {
    const Geometry& g = block.geometry;
    const Axis& depth = g.axis[kDepth];
    const Axis& height = g.axis[kHeight];
    for (int64_t kd = 0; kd < depth.kernel; ++kd) {
      const int64_t d = depth.Begin(block.od) + kd * depth.dilation;
      for (int64_t kh = 0; kh < height.kernel; ++kh) {
        const int64_t h = height.Begin(block.oh + line) + kh * height.dilation;
        if (d < 0 || d >= depth.input || h < 0 || h >= height.input) continue;
        row[count] = block.x + (d * g.input.axis[kDepth] + h * g.input.axis[kHeight]) * size;
        name[count++] = static_cast<int>((kd * height.kernel + kh) * g.axis[kWidth].kernel);
      }
    }
  }
};

// Few channels: output lines of whole vectors of pixels, each from two vectors of every row that hold all its taps.
// Which lane a tap comes from is a table, per tap column; first and last vectors of a line have tables of their own,
// where taps outside the input are replaced by their neighbours and the two vectors do not end beyond the row.
struct ShuffledState {
  bool is_worth = false;  // the form takes the geometry and gains by it
  bool is_stale = true;   // the tables
};
template <class TI>
class Shuffled : public ShuffledState {
 public:
  // The tables live in `scratch`, which only a redone block overwrites. `n` lanes to a vector.
  [[gnu::cold]] HWY_NOINLINE Shuffled(const Geometry& g, const TapView& taps, int64_t n, void* scratch)
      : width_(g.axis[kWidth]), channels_(g.channels), n_(n), tables_(scratch, 2 * g.axis[kWidth].kernel * n) {
    if (g.channels >= n || IsWide(g) || g.input.axis[kWidth] != channels_ || g.output.axis[kWidth] != channels_ ||
        width_.input * channels_ < 2 * n ||
        (taps.base != nullptr && (taps.strides.axis[kWidth] != channels_ || taps.bytes != 1))) {
      return;
    }
    const int64_t reach = (width_.kernel - 1) * width_.dilation;
    const int64_t span = 2 * n / channels_ - reach;  // of the first taps of a vector's pixels
    if (span < 1) return;
    pixels_ = HWY_MIN((span - 1) / width_.stride + 1, n / channels_);
    pixels_ = HWY_MIN(pixels_, width_.output);
    last_ = HWY_MIN(width_.input * channels_ - 2 * n,
                    (width_.input - 1 - reach - (pixels_ - 1) * width_.stride) * channels_);
    is_worth = pixels_ >= 2;
  }

  int64_t Pixels() const { return pixels_; }

  // The table for the pixels from ow on, which may move back into the line, and where in a row to load from: `at`,
  // unless some of the taps would lie outside of it.
  HWY_INLINE const TI* Find(int64_t& ow, int64_t& at) {
    if (HWY_LIKELY(at >= 0 && at <= last_ && ow + pixels_ <= width_.output)) return tables_.first();
    ow = HWY_MIN(ow, width_.output - pixels_);
    at = Base(ow);
    return Table(ow);
  }
  void Begin() {
    if (!is_stale) return;
    tables_.Clear();
    Table(kMiddle);
    is_stale = false;
  }

 private:
  static constexpr int64_t kMiddle = -1;

  // Where in a row the two vectors for the pixels from ow on begin.
  int64_t Base(int64_t ow) const {
    return HWY_MAX(int64_t{0}, HWY_MIN(width_.Begin(ow) * channels_, width_.input * channels_ - 2 * n_));
  }

  // For the pixels from ow on or, if kMiddle, for any whose taps are all within the input: the lane and the name of
  // each tap column.
  [[gnu::cold]] HWY_NOINLINE const TI* Table(int64_t ow) {
    return tables_.Find(ow, [&](TI* HWY_RESTRICT table) {
      for (int64_t k = 0; k < width_.kernel; ++k) {
        TI* HWY_RESTRICT from = table + 2 * k * n_;
        for (int64_t p = 0; p < pixels_; ++p) {
          int64_t tap = k, lane = (p * width_.stride + k * width_.dilation) * channels_;
          if (ow != kMiddle) {
            const int64_t begin = width_.Begin(ow + p);
            while (begin + tap * width_.dilation < 0) ++tap;
            while (begin + tap * width_.dilation >= width_.input) --tap;
            lane = (begin + tap * width_.dilation) * channels_ - Base(ow);
          }
          for (int64_t c = 0; c < channels_; ++c) {
            from[p * channels_ + c] = static_cast<TI>(lane + c);
            from[n_ + p * channels_ + c] = static_cast<TI>(tap);
          }
        }
      }
    });
  }

  const Axis width_;
  const int64_t channels_, n_;
  LaneTables<TI> tables_;  // the first is the middle's
  int64_t pixels_ = 0;     // per vector
  int64_t last_;           // where in a row the last vectors of the middle begin
};

// Shuffles of bytes and, in part, of 16 bits exist within 128 bits only.
template <class L, class T = typename L::Element>
using ShuffledTag = std::conditional_t<kHasLookup<T>, hn::ScalableTag<typename L::Lane>,
                                       hn::CappedTag<typename L::Lane, 16 / sizeof(T)>>;

// Vectors of f64 hold too few pixels for this to be worth its size.
template <class L>
constexpr bool kHasShuffled = sizeof(typename L::Lane) < 8;

template <class L, bool kIndices, class T = typename L::Element, class TI = hwy::MakeSigned<typename L::Lane>>
HWY_NOINLINE bool ShuffledLine(const Block& block, int64_t line, ShuffledState& state) {
  Shuffled<TI>& shuffled = static_cast<Shuffled<TI>&>(state);
  const ShuffledTag<L> d;
  const hn::RebindToSigned<decltype(d)> di;
  const L lanes = *static_cast<const L*>(block.lanes);
  const Axis& width = block.geometry.axis[kWidth];
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), kernel = width.kernel, channels = block.geometry.channels;
  const int64_t pixels = shuffled.Pixels(), valid = pixels * channels, size = width.output * channels;
  T* HWY_RESTRICT y = reinterpret_cast<T*>(block.y) + (block.oh + line) * block.geometry.output.axis[kHeight];
  uint8_t* HWY_RESTRICT taps = kIndices ? block.taps + (block.oh + line) * block.tap_strides.axis[kHeight] : nullptr;
  const Rows rows(block, line, sizeof(T));
  shuffled.Begin();
  auto seen_lo = NoSquares(d), seen_hi = seen_lo;
  int64_t middle = width.Begin(0) * channels;
  const int64_t step = pixels * width.stride * channels;
  for (int64_t ow = 0; ow < width.output; ow += pixels, middle += step) {
    int64_t at = middle;
    const TI* HWY_RESTRICT table = shuffled.Find(ow, at);
    const auto load = [&](int r, hn::Vec<decltype(d)>& lo, hn::Vec<decltype(d)>& hi) HWY_ATTR {
      const T* HWY_RESTRICT row = reinterpret_cast<const T*>(rows.row[r]) + at;
      lo = lanes.Load(d, row);
      hi = lanes.Load(d, row + n);
      NoteSquare<L>(lo, seen_lo);
      NoteSquare<L>(hi, seen_hi);
    };
    hn::Vec<decltype(d)> lo, hi;
    load(0, lo, hi);
    if constexpr (!kIndices) {
      for (int r = 1; r < rows.count; ++r) {
        hn::Vec<decltype(d)> x, z;
        load(r, x, z);
        lo = hn::Max(lo, x);
        hi = hn::Max(hi, z);
      }
    }
    auto best = LookupTwo(d, lo, hi, hn::Load(di, table));
    auto index = hn::Zero(di);
    if constexpr (kIndices) {
      index = hn::Add(hn::Load(di, table + n), hn::Set(di, static_cast<TI>(rows.name[0])));
      for (int r = 0; r < rows.count; ++r) {
        load(r, lo, hi);
        const auto row_name = hn::Set(di, static_cast<TI>(rows.name[r]));
        for (int64_t k = 0; k < kernel; ++k) {
          const auto x = LookupTwo(d, lo, hi, hn::Load(di, table + 2 * k * n));
          ArgMax(d, best, index, x, hn::Add(hn::Load(di, table + (2 * k + 1) * n), row_name), best, index);
        }
      }
    } else {
      for (int64_t k = 1; k < kernel; ++k) {
        best = hn::Max(best, LookupTwo(d, lo, hi, hn::Load(di, table + 2 * k * n)));
      }
    }
    const int64_t to = ow * channels;
    if (HWY_LIKELY(to + n <= size)) {
      // What spills into the next pixels is overwritten with them.
      lanes.Store(d, best, y + to);
      if constexpr (kIndices) StoreBytes(di, index, taps + to);
    } else {
      HWY_ALIGN T values[hn::MaxLanes(d)];
      HWY_ALIGN uint8_t names[hn::MaxLanes(d)];
      lanes.Store(d, best, values);
      std::memcpy(y + to, values, static_cast<size_t>(valid) * sizeof(T));
      if constexpr (kIndices) {
        StoreBytes(di, index, names);
        std::memcpy(taps + to, names, static_cast<size_t>(valid));
      }
    }
  }
  return NanNoted<L>(d, hn::Add(seen_lo, seen_hi));
}

// What output pixels are reduced from: taps of x, in row-major order backwards, and maxima over the taps before them.
constexpr int kMostRows = 9;
struct Sources {
  const char* row[kMostRows];  // where the first pixel's window begins in each row of it
  int name[kMostRows];         // the number of the row's first tap
  int rows = 0;
  int64_t tap[3];  // columns of taps, relative to the first
  // Maxima in scratch over other taps of the window: to be joined, or stored instead of y.
  bool joins = false, stores = false;
};

// Rows per pass of windows that take several: fewer where each is on pages of its own (2048 channels 7x7: 2.5 us by 3,
// 4.8 by 9; 100 channels by 9: 7 % less).
constexpr int64_t kPassRows = 3, kPageBytes = 4096;
constexpr int64_t kMostSums = 2048;  // maxima in scratch, and as many places

// Pixels whose windows are alike.
struct PixelRun {
  int64_t pixels, length;  // elements of a pixel, at least a vector
  int64_t x_step, y_step, tap_step;
};

// The maximum of a row's tap columns.
template <class L, int kColumns, bool kFar, class D, class V = hn::Vec<D>, class T = typename L::Element>
HWY_INLINE V RowMax(D d, const L lanes, const T* HWY_RESTRICT p, int64_t c1, int64_t c2, V& even, V& odd, V& third) {
  if constexpr (kFar) FetchAhead(p, kAhead), FetchAhead(p + c1, kAhead);
  const V x0 = lanes.Load(d, p), x1 = lanes.Load(d, p + c1);
  NoteSquare<L>(x0, even);
  NoteSquare<L>(x1, odd);
  if constexpr (kColumns == 2) {
    static_cast<void>(c2), static_cast<void>(third);
    return hn::Max(x0, x1);
  } else {
    const V x2 = lanes.Load(d, p + c2);
    NoteSquare<L>(x2, third);
    return hn::Max(hn::Max(x0, x1), x2);
  }
}

// Two vectors at a time; the second is the first again where a pixel has but one, and redoes part of it at the end.
template <class L, int kColumns, bool kFar, class T = typename L::Element>
HWY_NOINLINE bool PoolValues(const Block& block, const Sources& from, const PixelRun& run, char* to,
                             uint8_t* /*taps*/) {
  const L lanes = *static_cast<const L*>(block.lanes);
  T* HWY_RESTRICT y = reinterpret_cast<T*>(to);
  using Lane = typename L::Lane;
  const hn::ScalableTag<Lane> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const int64_t length = run.length, last = HWY_MAX(int64_t{0}, length - 2 * n), b = HWY_MIN(n, length - n);
  const int64_t c1 = from.tap[1], c2 = from.tap[2];
  V e0 = NoSquares(d), e1 = e0, o0 = e0, o1 = e0, t0 = e0, t1 = e0;
  const int rows = from.rows;
  Lane* HWY_RESTRICT acc = static_cast<Lane*>(block.scratch);
  int64_t at = 0;
  for (int64_t pixel = 0; pixel < run.pixels; ++pixel, at += run.x_step, y += run.y_step) {
    for (int64_t i = 0; i < length; i += 2 * n) {
      i = HWY_MIN(i, last);
      V v0, v1;
      for (int r = 0; r < rows; ++r) {
        const T* HWY_RESTRICT p = reinterpret_cast<const T*>(from.row[r]) + at + i;
        const V m0 = RowMax<L, kColumns, kFar>(d, lanes, p, c1, c2, e0, o0, t0);
        const V m1 = RowMax<L, kColumns, kFar>(d, lanes, p + b, c1, c2, e1, o1, t1);
        v0 = r == 0 ? m0 : hn::Max(v0, m0);
        v1 = r == 0 ? m1 : hn::Max(v1, m1);
      }
      if (HWY_UNLIKELY(from.joins)) {
        v0 = hn::Max(v0, hn::LoadU(d, acc + i));
        v1 = hn::Max(v1, hn::LoadU(d, acc + i + b));
      }
      if (HWY_UNLIKELY(from.stores)) {
        hn::StoreU(v0, d, acc + i);
        hn::StoreU(v1, d, acc + i + b);
      } else {
        StoreTo<kFar>(d, lanes, v0, y + i);
        StoreTo<kFar>(d, lanes, v1, y + i + b);
      }
    }
  }
  return NanNoted<L>(d, hn::Add(hn::Add(hn::Add(e0, e1), hn::Add(o0, o1)), hn::Add(t0, t1)));
}

// The same with the place of each maximum; scratch holds those after the maxima. (Near tensors of f32 fetched ahead,
// AVX-512: 1-D k4 s4 0.87 of the time, 2x2 1.13 to 1.29.)
template <class L, int kColumns, bool kFar, class T = typename L::Element>
HWY_NOINLINE bool PoolTaps(const Block& block, const Sources& from, const PixelRun& run, char* to,
                           uint8_t* HWY_RESTRICT taps) {
  const L lanes = *static_cast<const L*>(block.lanes);
  T* HWY_RESTRICT y = reinterpret_cast<T*>(to);
  const int tap_bytes = block.tap_bytes;
  using Lane = typename L::Lane;
  const hn::ScalableTag<Lane> d;
  const hn::RebindToSigned<decltype(d)> di;
  using V = hn::Vec<decltype(d)>;
  using VI = hn::Vec<decltype(di)>;
  using TI = hn::TFromD<decltype(di)>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const int64_t length = run.length, last = HWY_MAX(int64_t{0}, length - 2 * n), b = HWY_MIN(n, length - n);
  const int64_t c1 = from.tap[1], c2 = from.tap[2];
  // The third column shares the first one's: with 16 registers, sums in memory take 1.4 times as long (3x3x3).
  V e0 = NoSquares(d), e1 = e0, o0 = e0, o1 = e0;
  const int rows = from.rows;
  Lane* HWY_RESTRICT acc = static_cast<Lane*>(block.scratch);
  TI* HWY_RESTRICT acc_taps = reinterpret_cast<TI*>(acc + kMostSums);
  // Columns beyond the last repeat it, by a name that no tie lets through.
  const VI one = hn::Set(di, 1), two = hn::Set(di, 2);
  int64_t at = 0;
  for (int64_t pixel = 0; pixel < run.pixels; ++pixel, at += run.x_step, y += run.y_step) {
    for (int64_t i = 0; i < length; i += 2 * n) {
      i = HWY_MIN(i, last);
      V v0, v1;
      VI i0, i1;
      const auto row = [&](const T* HWY_RESTRICT p, VI name, V& v, VI& index, V& e, V& o) PEAKPOOL_INLINED {
        if constexpr (kFar) FetchAhead(p, kAhead), FetchAhead(p + c1, kAhead);
        const V x0 = lanes.Load(d, p), x1 = lanes.Load(d, p + c1);
        NoteSquare<L>(x0, e);
        NoteSquare<L>(x1, o);
        ArgMax(d, x0, name, x1, hn::Add(name, one), v, index);
        if constexpr (kColumns > 2) {
          const V x2 = lanes.Load(d, p + c2);
          NoteSquare<L>(x2, e);
          ArgMax(d, v, index, x2, hn::Add(name, two), v, index);
        }
      };
      const T* HWY_RESTRICT p = reinterpret_cast<const T*>(from.row[0]) + at + i;
      VI name = hn::Set(di, static_cast<TI>(from.name[0]));
      row(p, name, v0, i0, e0, o0);
      row(p + b, name, v1, i1, e1, o1);
      for (int r = 1; r < rows; ++r) {
        V w0, w1;
        VI j0, j1;
        p = reinterpret_cast<const T*>(from.row[r]) + at + i;
        name = InRegister(hn::Set(di, static_cast<TI>(from.name[r])));
        row(p, name, w0, j0, e0, o0);
        row(p + b, name, w1, j1, e1, o1);
        ArgMax(d, w0, j0, v0, i0, v0, i0);
        ArgMax(d, w1, j1, v1, i1, v1, i1);
      }
      if (HWY_UNLIKELY(from.joins)) {
        ArgMax(d, hn::LoadU(d, acc + i), hn::LoadU(di, acc_taps + i), v0, i0, v0, i0);
        ArgMax(d, hn::LoadU(d, acc + i + b), hn::LoadU(di, acc_taps + i + b), v1, i1, v1, i1);
      }
      if (HWY_UNLIKELY(from.stores)) {
        hn::StoreU(v0, d, acc + i);
        hn::StoreU(v1, d, acc + i + b);
        hn::StoreU(i0, di, acc_taps + i);
        hn::StoreU(i1, di, acc_taps + i + b);
      } else {
        StoreTo<kFar>(d, lanes, v0, y + i);
        StoreTo<kFar>(d, lanes, v1, y + i + b);
        if (kHasPackedTaps && HWY_LIKELY(tap_bytes == 1)) {
          StoreBytesPair(di, i0, i1, taps + i, taps + i + b);  // 1-D k4 s4 0.9 of the time
        } else {
          StoreTaps(di, i0, tap_bytes, taps + i * tap_bytes);
          StoreTaps(di, i1, tap_bytes, taps + (i + b) * tap_bytes);
        }
      }
    }
    taps += run.tap_step * tap_bytes;
  }
  return NanNoted<L>(d, hn::Add(hn::Add(e0, e1), hn::Add(o0, o1)));
}

// A window of one row of kPassTaps taps or more, `pitch` elements apart from x on: so many per pass over all channels,
// the last of which may see some again. NaNs are noted in as many sums: with fewer, their latency is what it takes
// (2048 channels 7x7, 256-bit vectors: 3.5 -> 2.2 us). One vector at a time: two take 1.2 times as long for 100
// channels. 126 pixels of 100 channels: 0.8 of the time that nine rows of three taps per pass take, without prefetch; 3
// or 4 taps are up to 1.1 times as fast beyond 4 KB per pixel and 1.1 to 1.4 times as slow else.
constexpr int64_t kPassTaps = 7;
template <class L, bool kIndices, class T = typename L::Element>
HWY_NOINLINE bool PoolRow(const Block& block, const char* x, int64_t pitch, int64_t columns, int first_name,
                          int64_t length, char* to, uint8_t* HWY_RESTRICT taps) {
  const L lanes = *static_cast<const L*>(block.lanes);
  using Lane = typename L::Lane;
  const hn::ScalableTag<Lane> d;
  const hn::RebindToSigned<decltype(d)> di;
  using V = hn::Vec<decltype(d)>;
  using VI = hn::Vec<decltype(di)>;
  using TI = hn::TFromD<decltype(di)>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), last = columns - kPassTaps;
  // Beyond the second-level cache: 126 pixels of 100 channels take 0.8 of the time, with AVX2 0.9.
  const int64_t bytes = block.geometry.batch * block.geometry.input.batch * static_cast<int64_t>(sizeof(T));
  const bool fetches = kIndices && std::is_same<T, float>::value && bytes > 1 << 20;
  T* HWY_RESTRICT y = reinterpret_cast<T*>(to);
  Lane* HWY_RESTRICT acc = static_cast<Lane*>(block.scratch);
  TI* HWY_RESTRICT acc_taps = reinterpret_cast<TI*>(acc + kMostSums);
  const VI one = hn::Set(di, 1);
  V s0 = NoSquares(d), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0;
  for (int64_t k = 0; k < columns; k += kPassTaps) {
    k = HWY_MIN(k, last);
    const VI first = hn::Set(di, static_cast<TI>(first_name + k));
    for (int64_t c = 0; c < length; c += n) {
      c = HWY_MIN(c, length - n);
      const T* HWY_RESTRICT p = reinterpret_cast<const T*>(x) + k * pitch + c;
      if (fetches) FetchAhead(p, kAhead);
      V v = lanes.Load(d, p);
      NoteSquare<L>(v, s0);
      VI i = first;
      VI name = first;
      const auto tap = [&](V& seen) PEAKPOOL_INLINED {
        p += pitch;
        if (fetches) FetchAhead(p, kAhead);
        const V next = lanes.Load(d, p);
        NoteSquare<L>(next, seen);
        if constexpr (kIndices) {
          name = hn::Add(name, one);
          ArgMax(d, v, i, next, name, v, i);
        } else {
          v = hn::Max(v, next);
        }
      };
      tap(s1), tap(s2), tap(s3), tap(s4), tap(s5), tap(s6);
      if (HWY_LIKELY(k != 0)) {
        const V before = hn::LoadU(d, acc + c);
        if constexpr (kIndices) {
          ArgMax(d, before, hn::LoadU(di, acc_taps + c), v, i, v, i);
        } else {
          v = hn::Max(before, v);
        }
      }
      if (HWY_LIKELY(k != last)) {
        hn::StoreU(v, d, acc + c);
        if constexpr (kIndices) hn::StoreU(i, di, acc_taps + c);
      } else {
        lanes.Store(d, v, y + c);
        if constexpr (kIndices) StoreTaps(di, i, block.tap_bytes, taps + c * block.tap_bytes);
      }
    }
  }
  return NanNoted<L>(d, hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), hn::Add(hn::Add(s4, s5), s6)));
}

// Two neighbouring windows of 3 along one axis from the 3 + stride taps that they span.
template <int kStride, class V>
HWY_INLINE void MaxPair(V x0, V x1, V x2, V x3, V x4, V& a, V& b) {
  if constexpr (kStride == 2) {
    a = hn::Max(hn::Max(x0, x1), x2);
    b = hn::Max(x2, hn::Max(x3, x4));
  } else {
    const V shared = hn::Max(x1, x2);
    a = hn::Max(x0, shared);
    b = hn::Max(shared, x3);
  }
}

// Offsets of the taps of two neighbouring windows, clamped into the input: with dilation 1 the clamped tap is in both
// windows that use it, so it changes no maximum. `place` counts taps from the first window's begin, and a clamped tap
// has the place of the tap that it repeats.
struct Span {
  int64_t offset[5];
  int place[5];

  Span(const Axis& axis, int64_t o, int64_t pitch) {
    const int64_t begin = axis.Begin(o);
    for (int k = 0; k < 5; ++k) {
      const int64_t i = HWY_MAX(int64_t{0}, HWY_MIN(begin + k, axis.input - 1));
      offset[k] = i * pitch;
      place[k] = static_cast<int>(i - begin);
    }
  }
};

// Whether any of `runs` runs of `count` consecutive elements, `pitch` apart, holds a NaN; needs count >= lanes. Four
// sums hide the latency of each (with two, 3x3 over 14x14 takes up to 7 % longer).
template <class L, class T = typename L::Element>
HWY_NOINLINE bool HasNan(const char* from, int64_t count, int64_t runs, int64_t pitch) {
  const L lanes{};
  const hn::ScalableTag<typename L::Lane> d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), last = count - n;
  auto s0 = NoSquares(d), s1 = s0, s2 = s0, s3 = s0;
  const T* HWY_RESTRICT p = reinterpret_cast<const T*>(from);
  for (int64_t run = 0; run < runs; ++run, p += pitch) {
    for (int64_t c = 0; c < count; c += 4 * n) {
      NoteSquare<L>(lanes.Load(d, p + HWY_MIN(c, last)), s0);
      NoteSquare<L>(lanes.Load(d, p + HWY_MIN(c + n, last)), s1);
      NoteSquare<L>(lanes.Load(d, p + HWY_MIN(c + 2 * n, last)), s2);
      NoteSquare<L>(lanes.Load(d, p + HWY_MIN(c + 3 * n, last)), s3);
    }
  }
  return NanNoted<L>(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
}

// 2x2 windows with stride 2 share nothing: output line by output line, pixel by pixel, channels innermost.
template <class L, bool kIndices, bool kFar, class T = typename L::Element>
HWY_NOINLINE bool PoolDisjoint(const Block& block, int64_t line) {
  const Geometry& g = block.geometry;
  const L lanes = *static_cast<const L*>(block.lanes);
  const hn::ScalableTag<typename L::Lane> d;
  const hn::RebindToSigned<decltype(d)> di;
  using TI = hn::TFromD<decltype(di)>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const int64_t channels = g.channels;
  const Span rows(g.axis[kHeight], block.oh + line, g.input.axis[kHeight]);
  const T* x = reinterpret_cast<const T*>(block.x) + g.axis[kDepth].Begin(block.od) * g.input.axis[kDepth];
  T* HWY_RESTRICT y = reinterpret_cast<T*>(block.y) + (block.oh + line) * g.output.axis[kHeight];
  uint8_t* HWY_RESTRICT taps = !kIndices ? nullptr : block.taps + (block.oh + line) * block.tap_strides.axis[kHeight];
  auto s0 = NoSquares(d), s1 = s0, s2 = s0, s3 = s0;
  for (int64_t ow = 0; ow < g.axis[kWidth].output; ++ow) {
    const Span cols(g.axis[kWidth], ow, g.input.axis[kWidth]);
    const T* HWY_RESTRICT p0 = x + rows.offset[0] + cols.offset[0];
    const T* HWY_RESTRICT p1 = x + rows.offset[0] + cols.offset[1];
    const T* HWY_RESTRICT p2 = x + rows.offset[1] + cols.offset[0];
    const T* HWY_RESTRICT p3 = x + rows.offset[1] + cols.offset[1];
    // Else g++ adds to one pointer for each load (AVX2: 1.05 times as long).
    HideValue(p0), HideValue(p1), HideValue(p2), HideValue(p3);
    for (int64_t c = 0; c < channels; c += n) {
      c = HWY_MIN(c, channels - n);
      const auto x0 = lanes.Load(d, p0 + c), x1 = lanes.Load(d, p1 + c), x2 = lanes.Load(d, p2 + c),
                 x3 = lanes.Load(d, p3 + c);
      if constexpr (kFar) {
        for (const T* p : {p0, p1, p2, p3}) FetchAhead(p + c, kAhead);
      }
      NoteSquare<L>(x0, s0);
      NoteSquare<L>(x1, s1);
      NoteSquare<L>(x2, s2);
      NoteSquare<L>(x3, s3);
      auto v = x0;
      if constexpr (kIndices) {
        const auto name = [&](int row, int column) HWY_ATTR {
          return hn::Set(di, static_cast<TI>(rows.place[row] * 2 + cols.place[column]));
        };
        auto w = v;
        auto i = name(0, 0), j = i;
        ArgMax(d, x0, name(0, 0), x1, name(0, 1), v, i);
        ArgMax(d, x2, name(1, 0), x3, name(1, 1), w, j);
        ArgMax(d, v, i, w, j, v, i);
        StoreBytes(di, i, taps + c);
      } else {
        v = hn::Max(hn::Max(x0, x1), hn::Max(x2, x3));
      }
      StoreTo<kFar>(d, lanes, v, y + c);
    }
    y += g.output.axis[kWidth];
    if constexpr (kIndices) taps += block.tap_strides.axis[kWidth];
  }
  return NanNoted<L>(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
}

// Output lines `line` and `line` + 1 of the block, one column of outputs at a time, or two where 3x3 windows share more
// than loads: at stride 1 of 3x3 the maximum of the columns between (480x14x14 11 %; floats want 32 registers for
// that), and keys of integers (3x3 s2 over 64x112x112, u8 29 %, f16 20 %); channels innermost. Indices are taken
// horizontally first: then the earlier row wins ties without comparing places. (Values of 2x2 stride 1, too, whole
// pixels by whole pixels without anything kept: 512x13x13 6.9 -> 4.5 us.)
template <class L, int kKernel, int kStride, bool kIndices, bool kFar, class T = typename L::Element>
HWY_NOINLINE bool PoolLinePair(const Block& block, int64_t line) {
  constexpr bool kTwo = kKernel == 3 && (!L::kTracksNan || (kStride == 1 && kHas32Registers));
  constexpr int kOverlap = kKernel - kStride;
  const Geometry& g = block.geometry;
  const L lanes = *static_cast<const L*>(block.lanes);
  const hn::ScalableTag<typename L::Lane> d;
  const hn::RebindToSigned<decltype(d)> di;
  using TI = hn::TFromD<decltype(di)>;
  using V = hn::Vec<decltype(d)>;
  using VI = hn::Vec<decltype(di)>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const int64_t channels = g.channels;
  const Span rows(g.axis[kHeight], block.oh + line, g.input.axis[kHeight]);
  const T* x = reinterpret_cast<const T*>(block.x) + g.axis[kDepth].Begin(block.od) * g.input.axis[kDepth];
  const T* HWY_RESTRICT r0 = x + rows.offset[0];
  const T* HWY_RESTRICT r1 = x + rows.offset[1];
  const T* HWY_RESTRICT r2 = x + rows.offset[2];
  const T* HWY_RESTRICT r3 = x + rows.offset[3];
  const T* HWY_RESTRICT r4 = x + rows.offset[4];
  T* HWY_RESTRICT y0 = reinterpret_cast<T*>(block.y) + (block.oh + line) * g.output.axis[kHeight];
  T* HWY_RESTRICT y1 = y0 + g.output.axis[kHeight];
  uint8_t* HWY_RESTRICT t0 = !kIndices ? nullptr : block.taps + (block.oh + line) * block.tap_strides.axis[kHeight];
  uint8_t* HWY_RESTRICT t1 = !kIndices ? nullptr : t0 + block.tap_strides.axis[kHeight];
  // To the rows of the next lines.
  const int64_t ahead = 2 * kStride * g.input.axis[kHeight] * static_cast<int64_t>(sizeof(T));
  V s0 = NoSquares(d), s1 = s0, s2 = s0, s3 = s0;  // fewer make chains that last longer than all else
  bool seen = false;
  if constexpr (L::kTracksNan) {
    const Span cols(g.axis[kWidth], 0, g.input.axis[kWidth]);
    for (int r = kOverlap; r < kKernel + kStride; ++r) {
      for (int k = 0; k < kOverlap; ++k)
        seen |= HasNan<L>(reinterpret_cast<const char*>(x + rows.offset[r] + cols.offset[k]), channels, 1, 0);
    }
  }

  const Axis& width = g.axis[kWidth];
  const int64_t outputs = width.output;
  // Outputs from the first of these to before the second one have no taps beyond the input. At stride 1 they differ by
  // a pixel throughout: one long run (2x2 over 64x56x56 18.5 -> 16 us with 256-bit vectors).
  const bool flat = !kTwo && kStride == 1 && g.input.axis[kWidth] == channels && g.output.axis[kWidth] == channels &&
                    (!kIndices || block.tap_strides.axis[kWidth] == channels);
  const int64_t inner = flat ? width.pad_before : outputs;
  const int64_t inner_end = width.input - kKernel + 1 + width.pad_before;
  for (int64_t ow = 0, pixels; ow < outputs; ow += pixels) {
    if constexpr (kTwo) ow = HWY_MIN(ow, outputs - 2);
    pixels = kTwo ? 2 : 1;
    if (ow >= inner) pixels = HWY_MAX(pixels, HWY_MIN(outputs, inner_end) - ow);
    const int64_t run = kTwo ? channels : pixels * channels;
    const Span cols(g.axis[kWidth], ow, g.input.axis[kWidth]);
    const int64_t o0 = ow * g.output.axis[kWidth], o1 = o0 + g.output.axis[kWidth];
    const int64_t p0 = ow * block.tap_strides.axis[kWidth], p1 = p0 + block.tap_strides.axis[kWidth];
    const VI n0 = hn::Set(di, static_cast<TI>(cols.place[0])), n1 = hn::Set(di, static_cast<TI>(cols.place[1])),
             n2 = hn::Set(di, static_cast<TI>(cols.place[2])), n3 = hn::Set(di, static_cast<TI>(cols.place[3])),
             n4 = hn::Set(di, static_cast<TI>(cols.place[4]));
    for (int64_t c = 0; c < run; c += n) {
      c = HWY_MIN(c, run - n);
      const int64_t c0 = cols.offset[0] + c, c1 = cols.offset[1] + c, c2 = cols.offset[2] + c, c3 = cols.offset[3] + c,
                    c4 = cols.offset[4] + c;
      if constexpr (kFar) {
        static_assert(kStride == 2, "the rows that are new");
        for (const T* row : {r1, r2, r3, r4}) FetchAhead(row + c1, ahead), FetchAhead(row + c2, ahead);
      }
      const auto join = [&](V v, VI i, V w, VI j, V& best, VI& at) PEAKPOOL_INLINED {
        if constexpr (kIndices) {
          ArgMax(d, v, i, w, j, best, at);
        } else {
          static_cast<void>(i), static_cast<void>(j), static_cast<void>(at);
          best = hn::Max(v, w);
        }
      };
      // The maxima of a row of taps for both outputs. The other rows and columns are new to no outputs but the first.
      const auto pool = [&](auto is_new, const T* p, int place, V& e, V& o, V& a, VI& i, V& b, VI& j) PEAKPOOL_INLINED {
        const V x0 = lanes.Load(d, p + c0), x1 = lanes.Load(d, p + c1);
        const V x2 = kKernel == 3 ? lanes.Load(d, p + c2) : x1;
        if constexpr (decltype(is_new)::value) {
          NoteSquare<L>(kOverlap == 1 ? x1 : x2, e);
          if constexpr (kStride == 2) NoteSquare<L>(x2, o);
        }
        const VI name = InRegister(hn::Set(di, static_cast<TI>(place * kKernel)));
        if constexpr (!kTwo) {
          join(x0, n0, x1, n1, a, i);
          if constexpr (kKernel == 3) join(a, i, x2, n2, a, i);
        } else if constexpr (kStride == 2) {
          const V x3 = lanes.Load(d, p + c3), x4 = lanes.Load(d, p + c4);
          join(x0, n0, x1, n1, a, i);
          join(a, i, x2, n2, a, i);
          join(x2, n2, x3, n3, b, j);
          join(b, j, x4, n4, b, j);
        } else {
          const V x3 = lanes.Load(d, p + c3);
          if constexpr (decltype(is_new)::value) NoteSquare<L>(x3, o);
          V shared;
          VI at = n0;
          join(x1, n1, x2, n2, shared, at);
          join(x0, n0, shared, at, a, i);
          join(shared, at, x3, n3, b, j);
        }
        if constexpr (kIndices) {
          i = hn::Add(i, name);
          if constexpr (kTwo) j = hn::Add(j, name);
        }
      };
      const auto store = [&](V a, VI i, V b, VI j, int places, T* y, uint8_t* t) PEAKPOOL_INLINED {
        StoreTo<kFar>(d, lanes, a, y + o0 + c);
        if constexpr (kTwo) StoreTo<kFar>(d, lanes, b, y + o1 + c);
        if constexpr (kIndices && kTwo) {
          StoreBytes(di, hn::Sub(i, hn::Set(di, static_cast<TI>(places))), t + p0 + c);
          StoreBytes(di, hn::Sub(j, hn::Set(di, static_cast<TI>(places + kStride))), t + p1 + c);
        }
      };
      constexpr std::false_type old_row;
      constexpr std::true_type new_row;
      constexpr std::integral_constant<bool, kOverlap <= 1> overlap_row;
      // u: the rows that both lines have; v: those of one.
      V ua = s0, ub = s0, va = s0, vb = s0, wa = s0, wb = s0;
      VI ui = n0, uj = n0, vi = n0, vj = n0, wi = n0, wj = n0;
      pool(old_row, r0, rows.place[0], s0, s1, va, vi, vb, vj);
      if constexpr (kStride == 2) {
        pool(new_row, r1, rows.place[1], s0, s1, wa, wi, wb, wj);
        join(va, vi, wa, wi, va, vi);
        if constexpr (kTwo) join(vb, vj, wb, wj, vb, vj);
        pool(new_row, r2, rows.place[2], s2, s3, ua, ui, ub, uj);
      } else {
        pool(overlap_row, r1, rows.place[1], s0, s1, ua, ui, ub, uj);
        if constexpr (kKernel == 3) {
          pool(new_row, r2, rows.place[2], s0, s1, wa, wi, wb, wj);
          join(ua, ui, wa, wi, ua, ui);
          if constexpr (kTwo) join(ub, uj, wb, wj, ub, uj);
        }
      }
      join(va, vi, ua, ui, va, vi);
      if constexpr (kTwo) join(vb, vj, ub, uj, vb, vj);
      store(va, vi, vb, vj, 0, y0, t0);
      pool(new_row, kStride + kKernel == 3 ? r2 : r3, rows.place[kKernel], kStride == 2 ? s0 : s2,
           kStride == 2 ? s1 : s3, wa, wi, wb, wj);
      join(ua, ui, wa, wi, ua, ui);
      if constexpr (kTwo) join(ub, uj, wb, wj, ub, uj);
      if constexpr (kStride == 2) {
        pool(new_row, r4, rows.place[4], s2, s3, wa, wi, wb, wj);
        join(ua, ui, wa, wi, ua, ui);
        if constexpr (kTwo) join(ub, uj, wb, wj, ub, uj);
      }
      store(ua, ui, ub, uj, kStride * kKernel, y1, t1);
      if constexpr (kIndices && !kTwo) {  // both at once: 3 to 11 % with 256-bit vectors
        StoreBytesPair(di, vi, hn::Sub(ui, hn::Set(di, static_cast<TI>(kStride * kKernel))), t0 + p0 + c, t1 + p0 + c);
      }
    }
  }
  return seen || NanNoted<L>(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
}

// The maxima of one column of 3 taps for two output lines, from rows pointing into it.
template <class L, int kStride, class D, class V = hn::Vec<D>, class T = typename L::Element>
HWY_INLINE void MaxColumn(D d, const L lanes, const T* HWY_RESTRICT r0, const T* HWY_RESTRICT r1,
                          const T* HWY_RESTRICT r2, const T* HWY_RESTRICT r3, const T* HWY_RESTRICT r4, int64_t at,
                          V& top, V& bottom, V& seen0, V& seen1) {
  const auto load = [&](const T* HWY_RESTRICT row) PEAKPOOL_INLINED {
    const V v = lanes.Load(d, row + at);
    return L::kTracksNan ? InRegister(v) : v;
  };
  const V x0 = lanes.Load(d, r0 + at), x1 = load(r1), x2 = load(r2), x3 = load(r3);
  const V x4 = kStride == 2 ? load(r4) : x3;
  MaxPair<kStride>(x0, x1, x2, x3, x4, top, bottom);
  // The rows that are new.
  NoteSquare<L>(x2, seen0);
  NoteSquare<L>(x3, seen1);
  if constexpr (kStride == 2) NoteSquare<L>(x1, seen0), NoteSquare<L>(x4, seen1);
}

// Bytes of a pixel whose column maxima fit in scratch; and, where two rows in four are read again, as many as have rows
// stay in the L1 cache.
constexpr int64_t kSlideBytes = kScratchBytes / 4, kNarrowBytes = 512;

// Output lines `line` and `line` + 1 of the block for channels from `begin` to `end`, two columns of taps at a time,
// whose maxima are kept in scratch for the next: each tap is loaded once for two lines, however many channels.
template <class L, int kStride, class T = typename L::Element>
HWY_NOINLINE bool SlideLines(const Block& block, int64_t line, int64_t begin, int64_t end) {
  constexpr int64_t kOutputs = 2 / kStride;  // per two columns
  const Geometry& g = block.geometry;
  const L lanes = *static_cast<const L*>(block.lanes);
  const hn::ScalableTag<typename L::Lane> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), final_c = g.channels - n;
  const int64_t pitch = g.input.axis[kWidth], y_pitch = g.output.axis[kWidth];
  const T* x = reinterpret_cast<const T*>(block.x) + g.axis[kDepth].Begin(block.od) * g.input.axis[kDepth];
  const Span rows(g.axis[kHeight], block.oh + line, g.input.axis[kHeight]);
  const T* HWY_RESTRICT r0 = x + rows.offset[0];
  const T* HWY_RESTRICT r1 = x + rows.offset[1];
  const T* HWY_RESTRICT r2 = x + rows.offset[2];
  const T* HWY_RESTRICT r3 = x + rows.offset[3];
  const T* HWY_RESTRICT r4 = x + rows.offset[4];
  T* HWY_RESTRICT y0 = reinterpret_cast<T*>(block.y) + (block.oh + line) * g.output.axis[kHeight];
  T* HWY_RESTRICT y1 = y0 + g.output.axis[kHeight];
  V seen0 = NoSquares(d), seen1 = seen0, seen2 = seen0, seen3 = seen0;
  const int64_t last = g.axis[kWidth].input - 1, outputs = g.axis[kWidth].output;
  int64_t i = g.axis[kWidth].Begin(0) + 1 - kStride;
  for (int64_t ow = -kOutputs; ow < outputs; ow += kOutputs, i += 2) {
    const int64_t p = HWY_MAX(int64_t{0}, HWY_MIN(i, last)) * pitch,
                  q = HWY_MAX(int64_t{0}, HWY_MIN(i + 1, last)) * pitch;
    const int64_t next = ow + 1 < outputs ? y_pitch : 0;
    typename L::Lane* HWY_RESTRICT kept = static_cast<typename L::Lane*>(block.scratch);
    for (int64_t channel = begin; channel < end; channel += n) {
      const int64_t c = HWY_MIN(channel, final_c);
      V p0, p1, q0, q1;
      MaxColumn<L, kStride>(d, lanes, r0, r1, r2, r3, r4, p + c, p0, p1, seen0, seen1);
      MaxColumn<L, kStride>(d, lanes, r0, r1, r2, r3, r4, q + c, q0, q1, seen2, seen3);
      const V a0 = hn::Load(d, kept), a1 = hn::Load(d, kept + n);
      V m0, m1;
      if constexpr (kStride == 1) {
        const V b0 = hn::Load(d, kept + 2 * n), b1 = hn::Load(d, kept + 3 * n);
        hn::Store(p0, d, kept + 2 * n);
        hn::Store(p1, d, kept + 3 * n);
        // b, a, p, q
        m0 = hn::Max(a0, p0);
        m1 = hn::Max(a1, p1);
        if (HWY_LIKELY(ow >= 0)) {
          lanes.Store(d, hn::Max(m0, q0), y0 + next + c);
          lanes.Store(d, hn::Max(b0, m0), y0 + c);
          lanes.Store(d, hn::Max(m1, q1), y1 + next + c);
          lanes.Store(d, hn::Max(b1, m1), y1 + c);
        }
      } else {
        m0 = hn::Max(a0, p0);
        m1 = hn::Max(a1, p1);
        if (HWY_LIKELY(ow >= 0)) {
          lanes.Store(d, hn::Max(m0, q0), y0 + c);
          lanes.Store(d, hn::Max(m1, q1), y1 + c);
        }
      }
      hn::Store(q0, d, kept);
      hn::Store(q1, d, kept + n);
      kept += (kStride == 1 ? 4 : 2) * n;
    }
    if (ow >= 0) {
      y0 += kOutputs * y_pitch;
      y1 += kOutputs * y_pitch;
    }
  }
  return NanNoted<L>(d, hn::Add(hn::Add(seen0, seen1), hn::Add(seen2, seen3)));
}

// All lines of the block for two vectors of channels, at c and c + b, in pairs of lines: the same in registers. With 32
// of them, and where no NaNs are noted, 10 to 30 % faster at stride 1; not at stride 2, where whole pixels matter more
// (64x55x55 9.3 -> 7.2 us).
template <class L, class T = typename L::Element>
HWY_NOINLINE bool SlideTwo(const Block& block, int64_t c, int64_t b) {
  const Geometry& g = block.geometry;
  const L lanes = *static_cast<const L*>(block.lanes);
  const hn::ScalableTag<typename L::Lane> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t pitch = g.input.axis[kWidth], y_pitch = g.output.axis[kWidth];
  const T* x = reinterpret_cast<const T*>(block.x) + c + g.axis[kDepth].Begin(block.od) * g.input.axis[kDepth];
  V seen_a0 = NoSquares(d), seen_a1 = seen_a0, seen_b0 = seen_a0, seen_b1 = seen_a0;
  const int64_t begin = g.axis[kWidth].Begin(0), last = g.axis[kWidth].input - 1, outputs = g.axis[kWidth].output;
  for (int64_t line = 0; line < block.lines; line += 2) {
    line = HWY_MIN(line, block.lines - 2);
    const Span rows(g.axis[kHeight], block.oh + line, g.input.axis[kHeight]);
    const T* HWY_RESTRICT r0 = x + rows.offset[0];
    const T* HWY_RESTRICT r1 = x + rows.offset[1];
    const T* HWY_RESTRICT r2 = x + rows.offset[2];
    const T* HWY_RESTRICT r3 = x + rows.offset[3];
    T* HWY_RESTRICT y0 = reinterpret_cast<T*>(block.y) + c + (block.oh + line) * g.output.axis[kHeight];
    T* HWY_RESTRICT y1 = y0 + g.output.axis[kHeight];
    V a0, a1, b0, b1, pa0, pa1, pb0, pb1, ta0, ta1, tb0, tb1;
    const auto load = [&](int64_t i, V& at, V& ab, V& bt, V& bb) PEAKPOOL_INLINED {
      const int64_t at_a = HWY_MAX(int64_t{0}, HWY_MIN(i, last)) * pitch;
      MaxColumn<L, 1>(d, lanes, r0, r1, r2, r3, r3, at_a, at, ab, seen_a0, seen_a1);
      MaxColumn<L, 1>(d, lanes, r0, r1, r2, r3, r3, at_a + b, bt, bb, seen_b0, seen_b1);
    };
    load(begin, pa0, pa1, pb0, pb1);
    load(begin + 1, a0, a1, b0, b1);
    pa0 = hn::Max(pa0, a0), pa1 = hn::Max(pa1, a1), pb0 = hn::Max(pb0, b0), pb1 = hn::Max(pb1, b1);
    for (int64_t ow = 0; ow < outputs; ++ow) {
      load(begin + 2 + ow, ta0, ta1, tb0, tb1);
      lanes.Store(d, hn::Max(pa0, ta0), y0);
      lanes.Store(d, hn::Max(pb0, tb0), y0 + b);
      lanes.Store(d, hn::Max(pa1, ta1), y1);
      lanes.Store(d, hn::Max(pb1, tb1), y1 + b);
      pa0 = hn::Max(a0, ta0), pa1 = hn::Max(a1, ta1), pb0 = hn::Max(b0, tb0), pb1 = hn::Max(b1, tb1);
      a0 = ta0, a1 = ta1, b0 = tb0, b1 = tb1;
      y0 += y_pitch;
      y1 += y_pitch;
    }
  }
  return NanNoted<L>(d, hn::Add(hn::Add(seen_a0, seen_a1), hn::Add(seen_b0, seen_b1)));
}

// The loops over one block, compiled once for all kinds of lanes: these say what they do with one line and so on.
struct Forms {
  int64_t size;  // of an element
  // Of rows of two and of three columns.
  bool (*run[2])(const Block&, const Sources&, const PixelRun&, char*, uint8_t*);
  bool (*row)(const Block&, const char*, int64_t, int64_t, int, int64_t, char*, uint8_t*);
  bool (*shuffled)(const Block&, int64_t, ShuffledState&);
  bool (*disjoint)(const Block&, int64_t);
  // Of 2x2 stride 1, 3x3 stride 1 and 3x3 stride 2, where compiled.
  bool (*pair[3])(const Block&, int64_t);
  bool (*slide[3])(const Block&, int64_t, int64_t, int64_t);
  bool (*slide_two[3])(const Block&, int64_t, int64_t);
  bool (*has_nan)(const char*, int64_t, int64_t, int64_t);  // where lanes track NaN
};

// Pixels of less than a vector of n lanes: their taps are copied first.
[[gnu::cold]] HWY_NOINLINE inline bool PoolNarrow(const Forms& forms, const Block& block, int64_t n,
                                                  const Sources& from, const PixelRun& run, char* y, uint8_t* taps) {
  constexpr size_t kVector = hn::MaxLanes(hn::ScalableTag<uint8_t>());
  HWY_ALIGN char copies[kMostRows * 3 * kVector] = {};
  HWY_ALIGN char values[kVector];
  HWY_ALIGN uint8_t names[4 * kVector];
  const size_t bytes = static_cast<size_t>(run.length * forms.size);
  const int64_t vector = n * forms.size;
  Sources copied = from;
  copied.tap[1] = n;
  copied.tap[2] = 2 * n;
  bool nan = false;
  for (int64_t pixel = 0; pixel < run.pixels; ++pixel) {
    for (int r = 0; r < from.rows; ++r) {
      copied.row[r] = copies + 3 * r * vector;
      for (int k = 0; k < 3; ++k) {
        std::memcpy(copies + (3 * r + k) * vector, from.row[r] + (pixel * run.x_step + from.tap[k]) * forms.size,
                    bytes);
      }
    }
    nan |= forms.run[1](block, copied, {1, n, 0, 0, 0}, values, names);
    std::memcpy(y + pixel * run.y_step * forms.size, values, bytes);
    if (taps != nullptr) {
      std::memcpy(taps + pixel * run.tap_step * block.tap_bytes, names,
                  static_cast<size_t>(run.length * block.tap_bytes));
    }
  }
  return nan;
}

// Any window: output line `line` of the block.
HWY_NOINLINE inline bool PoolLine(const Forms& forms, const Block& block, int64_t n, int64_t line) {
  const Geometry& g = block.geometry;
  const Axis &depth = g.axis[kDepth], &height = g.axis[kHeight], &width = g.axis[kWidth];
  const int64_t channels = g.channels, pitch = g.input.axis[kWidth], tap_pitch = width.dilation * pitch;
  const int64_t oh = block.oh + line, size = forms.size;
  const bool indices = block.taps != nullptr;
  PixelRun run = {1, channels, width.stride * pitch, g.output.axis[kWidth], block.tap_strides.axis[kWidth]};
  const bool dense = pitch == channels && run.y_step == channels && (!indices || run.tap_step == channels);
  const int64_t first_d = depth.FirstTap(block.od), end_d = depth.TapEnd(block.od);
  const int64_t first_h = height.FirstTap(oh), end_h = height.TapEnd(oh);
  const int64_t origin = depth.Begin(block.od) * g.input.axis[kDepth] + height.Begin(oh) * g.input.axis[kHeight];
  const int64_t d_pitch = depth.dilation * g.input.axis[kDepth], h_pitch = height.dilation * g.input.axis[kHeight];
  // Outputs before this one have no taps beyond the input.
  const int64_t whole = (width.input - 1 - (width.kernel - 1) * width.dilation + width.pad_before) / width.stride + 1;
  // Not f32 values of pixels that lie far apart in 512-bit vectors (2048 channels 7x7 2.7 us, by sevens 3.1).
  const bool by_row = forms.row != nullptr && !(kHas32Registers && !indices && size == 4 && pitch * size >= kPageBytes);
  bool nan = false;
  for (int64_t ow = 0, pixels; ow < width.output; ow += pixels) {
    const int64_t first = width.FirstTap(ow), end = width.TapEnd(ow), columns = end - first;
    const int64_t corner = origin + width.Begin(ow) * pitch;
    const bool three = columns == 3 || columns > 4;
    const int64_t step = three ? 3 : 2, groups = (columns + step - 1) / step * (end_d - first_d) * (end_h - first_h);
    const bool one_pass = groups <= kMostRows;
    Sources from;
    for (int64_t k = 0; k < 3; ++k) from.tap[k] = HWY_MIN(k, columns - 1) * tap_pitch;
    pixels = one_pass && columns == width.kernel ? HWY_MIN(width.output, whole) - ow : 1;
    run.pixels = pixels;
    run.length = channels;
    if (dense && one_pass && width.stride == 1) {
      // Neighbouring windows differ by one pixel throughout: one long run whatever the channels.
      run.pixels = 1;
      run.length = pixels * channels;
    } else if (dense && one_pass && channels < n) {
      // Few channels: a whole vector spills into the next pixels of y, which overwrite it.
      const int64_t reads = (width.input - width.Begin(ow) - (end - 1) * width.dilation) * channels - n,
                    writes = (width.output - ow) * channels - n;
      if (reads >= 0 && writes >= 0) {
        pixels = run.pixels = HWY_MIN(pixels, HWY_MIN(reads / run.x_step, writes / channels) + 1);
        run.length = n;
      }
    }
    const int64_t length = run.length, part = one_pass ? length : HWY_MIN(length, kMostSums);
    for (int64_t c = 0; c < length; c += part) {
      c = HWY_MIN(c, length - part);
      run.length = part;
      char* const y = block.y + (oh * g.output.axis[kHeight] + ow * run.y_step + c) * size;
      uint8_t* const taps =
          !indices ? nullptr
                   : block.taps + (oh * block.tap_strides.axis[kHeight] + ow * run.tap_step + c) * block.tap_bytes;
      if (by_row && !one_pass && part >= n && columns >= kPassTaps && end_d - first_d == 1 && end_h - first_h == 1) {
        const int64_t from_x = corner + first_d * d_pitch + first_h * h_pitch + first * tap_pitch + c;
        const int64_t name = (first_d * height.kernel + first_h) * width.kernel + first;
        nan |= forms.row(block, block.x + from_x * size, tap_pitch, columns, static_cast<int>(name), part, y, taps);
        continue;
      }
      int64_t kd = first_d, kh = first_h, k = first;
      const int64_t most = one_pass ? groups : pitch * size < kPageBytes ? kMostRows : kPassRows;
      for (int64_t done = 0; done < groups; done += most) {
        from.rows = static_cast<int>(HWY_MIN(most, groups - done));
        for (int r = from.rows - 1; r >= 0; --r) {
          const int64_t column = HWY_MAX(first, HWY_MIN(k, end - step));
          from.row[r] = block.x + (corner + kd * d_pitch + kh * h_pitch + column * tap_pitch + c) * size;
          from.name[r] = static_cast<int>((kd * height.kernel + kh) * width.kernel + column);
          k += step;
          if (k < end) continue;
          k = first;
          if (++kh < end_h) continue;
          kh = first_h;
          ++kd;
        }
        from.joins = done != 0;
        from.stores = done + most < groups;
        nan |= part < n ? PoolNarrow(forms, block, n, from, run, y, taps) : forms.run[three](block, from, run, y, taps);
      }
    }
  }
  return nan;
}

// Which of the forms for overlapping windows takes these, were their dilation 1; -1: none.
inline int FusedForm(const Forms& forms, const Geometry& g) {
  const Axis& height = g.axis[kHeight];
  const Axis& width = g.axis[kWidth];
  if (g.axis[kDepth].kernel != 1 || height.kernel != width.kernel || height.stride != width.stride) return -1;
  const int form = height.stride >= height.kernel || height.stride > 2 || height.kernel > 3
                       ? -1
                       : static_cast<int>(height.kernel + height.stride) - 3;
  return form >= 0 && forms.pair[form] == nullptr && forms.slide[form] == nullptr && forms.slide_two[form] == nullptr
             ? -1
             : form;
}

// For kernel and stride equal on height and width. Needs two output lines and pixels, and channels >= lanes.
[[gnu::cold]] HWY_NOINLINE inline bool PoolFused(const Forms& forms, const Block& block, int64_t n, int form) {
  const Geometry& g = block.geometry;
  const int64_t pitch = g.input.axis[kWidth], overlap = g.axis[kHeight].kernel - g.axis[kHeight].stride;
  bool nan = false;
  if (forms.has_nan != nullptr) {
    // The rows that the first lines share with lines before the block; below, each row is looked at when it is new.
    const Span rows(g.axis[kHeight], block.oh, g.input.axis[kHeight]);
    const int64_t x = g.axis[kDepth].Begin(block.od) * g.input.axis[kDepth];
    for (int64_t r = 0; r < overlap; ++r) {
      if (r > 0 && rows.offset[r] == rows.offset[r - 1]) continue;  // padding
      nan |= forms.has_nan(block.x + (x + rows.offset[r]) * forms.size, g.channels, g.axis[kWidth].input, pitch);
    }
  }
  const auto pair = forms.pair[form];
  const auto slide = forms.slide[form];
  const auto slide_two = forms.slide_two[form];
  if (pair != nullptr) {
    for (int64_t line = 0; line < block.lines; line += 2) nan |= pair(block, HWY_MIN(line, block.lines - 2));
    return nan;
  }
  // Pixels a multiple of 1 KiB apart share few sets of the L1 cache, which two vectors of each of two lines then miss
  // (3x3 s1, 1024x7x7: 7.4 -> 6.3 us; 256x28x28: 22.2 -> 18.8).
  if (slide_two != nullptr && (slide == nullptr || pitch * forms.size % 1024 != 0)) {
    for (int64_t c = 0; c < g.channels; c += 2 * n) {
      nan |= slide_two(block, HWY_MAX(int64_t{0}, HWY_MIN(c, g.channels - 2 * n)), HWY_MIN(n, g.channels - n));
    }
    return nan;
  }
  // (Of pixels that share sets few lines stay in any case: 256x28x28 25.5 -> 22 us.)
  const int64_t part = (overlap == 1 ? kSlideBytes : pitch * forms.size % 1024 == 0 ? 2048 : kNarrowBytes) / forms.size;
  for (int64_t c = 0; c < g.channels; c += part) {
    for (int64_t line = 0; line < block.lines; line += 2) {
      nan |= slide(block, HWY_MIN(line, block.lines - 2), c, HWY_MIN(c + part, g.channels));
    }
  }
  return nan;
}

// Returns whether a NaN was seen, in which case the values (and indices) of the block's lines may be wrong.
[[gnu::cold]] HWY_NOINLINE inline bool PoolBlock(const Forms& forms, const Block& block, int64_t n) {
  const Geometry& g = block.geometry;
  const Axis& height = g.axis[kHeight];
  const Axis& width = g.axis[kWidth];
  const bool plain =
      height.dilation == 1 && width.dilation == 1 && g.channels >= n && (block.taps == nullptr || block.tap_bytes == 1);
  const int form = FusedForm(forms, g);
  if (plain && form >= 0 && width.output >= 2 && block.lines >= 2) return PoolFused(forms, block, n, form);
  const bool is_disjoint = plain && g.axis[kDepth].kernel == 1 && height.kernel == 2 && width.kernel == 2 &&
                           height.stride == 2 && width.stride == 2;
  bool nan = false;
  for (int64_t line = 0; line < block.lines; ++line) {
    nan |= is_disjoint ? forms.disjoint(block, line) : PoolLine(forms, block, n, line);
  }
  return nan;
}

// The outputs of an axis with stride 1 whose numbers are `phase` modulo the dilation read inputs that are a dilation
// apart as well: the axis without those in between, whose dilation is 1. Also gives the first input and output of
// these.
inline Axis PhaseOf(const Axis& axis, int64_t phase, int64_t* first_input, int64_t* first_output) {
  const int64_t d = axis.dilation;
  *first_output = phase;
  *first_input = (phase + (axis.pad_before + d - 1) / d * d - axis.pad_before) % d;
  Axis result = axis;
  result.dilation = 1;
  result.input = (axis.input - *first_input + d - 1) / d;
  result.output = (axis.output - phase + d - 1) / d;
  result.pad_before = (axis.pad_before + *first_input - phase) / d;
  return result;
}

// The same for windows of stride 1 with dilation, phase by phase.
[[gnu::cold]] HWY_NOINLINE inline bool PoolPhases(const Forms& forms, const Block& block, int64_t n) {
  const Geometry& g = block.geometry;
  const Axis& height = g.axis[kHeight];
  const Axis& width = g.axis[kWidth];
  Geometry phase = g;
  Strides tap_strides = block.tap_strides;
  for (Strides* strides : {&phase.input, &phase.output, &tap_strides}) {
    strides->axis[kHeight] *= height.dilation;
    strides->axis[kWidth] *= width.dilation;
  }
  bool nan = false;
  for (int64_t h = 0; h < HWY_MIN(height.dilation, block.lines); ++h) {
    int64_t row, line, column, pixel;
    phase.axis[kHeight] = PhaseOf(height, (block.oh + h) % height.dilation, &row, &line);
    for (int64_t w = 0; w < HWY_MIN(width.dilation, width.output); ++w) {
      phase.axis[kWidth] = PhaseOf(width, w, &column, &pixel);
      const int64_t to_y = line * g.output.axis[kHeight] + pixel * g.output.axis[kWidth];
      const int64_t to_taps = line * block.tap_strides.axis[kHeight] + pixel * block.tap_strides.axis[kWidth];
      const Block part = {phase,
                          block.lanes,
                          block.x + (row * g.input.axis[kHeight] + column * g.input.axis[kWidth]) * forms.size,
                          block.y + to_y * forms.size,
                          block.taps == nullptr ? nullptr : block.taps + to_taps * block.tap_bytes,
                          block.tap_bytes,
                          tap_strides,
                          block.od,
                          (block.oh + h) / height.dilation,
                          (block.lines - h + height.dilation - 1) / height.dilation,
                          block.scratch};
      nan |= PoolBlock(forms, part, n);
    }
  }
  return nan;
}

// Planes that are one window each and have no gaps between rows are one row with one window.
inline bool IsOneWindow(const Geometry& g) {
  const Axis &h = g.axis[kHeight], &w = g.axis[kWidth];
  const auto whole = [](const Axis& a) {
    return a.output == 1 && a.pad_before == 0 && a.kernel == a.input && a.dilation == 1;
  };
  return whole(h) && whole(w) && g.axis[kDepth].kernel == 1 && g.input.axis[kHeight] == w.input * g.input.axis[kWidth];
}

[[gnu::cold]] HWY_NOINLINE inline void PoolCall(const Forms& forms, const ForwardCall& call, const void* lanes,
                                                int64_t n, ShuffledState& shuffled, ForwardKernel separable) {
  // One NaN has this many lines redone.
  constexpr int64_t kBlockLines = 32;  // 16: 1 to 3 % slower
  const Geometry* geometry = call.geometry;
  const Axis &h = geometry->axis[kHeight], &w = geometry->axis[kWidth];
  // Few channels at stride 1: flat lines fill whole vectors (3 to 8 channels, 3x3: 1.2 to 1.7 times as fast). And so do
  // many images of few pixels (12 x 2 of 3 channels, f16: 3.8 times).
  if (!shuffled.is_worth && geometry->channels < n &&
      (w.stride == 1 || w.output * geometry->channels < 2 * n || IsWide(*geometry))) {
    separable(call);
    return;
  }
  const bool indices = call.taps.base != nullptr;
  if (indices && forms.size < 4 && geometry->Taps() > (forms.size == 1 ? 128 : 32768)) {  // lanes cannot number them
    separable(call);
    return;
  }
  Geometry row;
  if (IsOneWindow(*geometry)) {
    row = *geometry;
    row.axis[kWidth].input = row.axis[kWidth].kernel = h.kernel * w.kernel;
    row.axis[kHeight] = {1, 1, 1, 1, 1, 0};
    geometry = &row;
  }
  const Geometry& g = *geometry;
  const bool in_phases = g.axis[kHeight].stride == 1 && (h.dilation > 1 || w.dilation > 1) && FusedForm(forms, g) >= 0;
  const int64_t height = g.axis[kHeight].output, depth = g.axis[kDepth].output;
  for (int64_t begin = call.begin; begin < call.end;) {
    const int64_t oh = begin % height, od = begin / height % depth, image = begin / height / depth;
    int64_t lines = HWY_MIN(call.end - begin, height - oh);
    if (lines > kBlockLines + 1) lines = kBlockLines;  // never leaves a single line over
    const Strides& strides = call.taps.strides;
    uint8_t* taps = nullptr;
    if (indices) {
      taps = static_cast<uint8_t*>(call.taps.base) +
             (image * strides.batch + od * strides.axis[kDepth] - call.taps.origin) * call.taps.bytes;
    }
    const Block block = {
        g,
        lanes,
        static_cast<const char*>(call.x) + image * g.input.batch * forms.size,
        static_cast<char*>(call.y) + (image * g.output.batch + od * g.output.axis[kDepth]) * forms.size,
        taps,
        call.taps.bytes,
        strides,
        od,
        oh,
        lines,
        call.scratch};
    bool nan = false;
    if (shuffled.is_worth) {
      for (int64_t line = 0; line < lines; ++line) nan |= forms.shuffled(block, line, shuffled);
    } else {
      nan = in_phases ? PoolPhases(forms, block, n) : PoolBlock(forms, block, n);
    }
    if (nan) {
      ForwardCall redo = call;
      hwy::FlushStream();
      redo.begin = begin;
      redo.end = begin + lines;
      separable(redo);
      shuffled.is_stale = true;
    }
    begin += lines;
  }
}

// Without those that gain little or are for what is rare: rows of many taps of f64 (AVX-512 to 5 %), 16-bit values at
// stride 1 whose pixels share sets of the cache, and 2x2 stride 1 of all but f32.
template <class L, bool kIndices, bool kFar = false>
constexpr Forms MakeForms() {
  using Lane = typename L::Lane;
  constexpr bool kIsFloat = std::is_same<Lane, float>::value;
  Forms forms = {};
  forms.size = sizeof(Lane);
  if constexpr (kHasShuffled<L>) forms.shuffled = &ShuffledLine<L, kIndices>;
  if constexpr (sizeof(Lane) < 8) forms.row = &PoolRow<L, kIndices>;
  forms.disjoint = &PoolDisjoint<L, kIndices, kFar>;
  if constexpr (kIndices) {
    forms.run[0] = &PoolTaps<L, 2, kFar>;
    forms.run[1] = &PoolTaps<L, 3, false>;
    forms.pair[1] = &PoolLinePair<L, 3, 1, true, false>;
    forms.pair[2] = &PoolLinePair<L, 3, 2, true, kFar>;
    if constexpr (kIsFloat) forms.pair[0] = &PoolLinePair<L, 2, 1, true, false>;
  } else {
    forms.run[0] = &PoolValues<L, 2, kFar>;
    forms.run[1] = &PoolValues<L, 3, false>;
    if constexpr (!kFar) forms.slide[2] = &SlideLines<L, 2>;
    if constexpr (kFar) forms.pair[2] = &PoolLinePair<L, 3, 2, false, true>;
    if constexpr (L::kTracksNan) forms.slide[1] = &SlideLines<L, 1>;
    if constexpr (kIsFloat) forms.pair[0] = &PoolLinePair<L, 2, 1, false, false>;
    if constexpr (kHas32Registers || !L::kTracksNan) forms.slide_two[1] = &SlideTwo<L>;
  }
  if constexpr (L::kTracksNan) forms.has_nan = &HasNan<L>;
  return forms;
}

// Whether the forms for far tensors are to be had, of f32, and y in whole vectors: rows are fetched ahead, and y is
// written around the caches (2x2 over 64x372x372 1.13 -> 0.78 ms; 2x2x2 over 128x16x56x56 0.65 -> 0.45, with indices
// 0.90 -> 0.45; 3x3 s2 over 12x64x112x112 1.3 -> 1.0, with indices 2.3 -> 1.0). The stores gain 15 % from 4 MB on, but
// there the next reader would pay for it.
template <class L>
bool WritesAroundCaches(const ForwardCall& call, int64_t n) {
  const Geometry& g = *call.geometry;
  int64_t x = 1, y = 1;
  for (const Axis& axis : g.axis) x *= axis.input, y *= axis.output;
  const Strides& strides = g.output;
  return g.batch * g.channels * (x + y) * static_cast<int64_t>(sizeof(typename L::Element)) >= kFarBytes &&
         reinterpret_cast<uintptr_t>(call.y) % (static_cast<size_t>(n) * sizeof(typename L::Element)) == 0 &&
         (g.channels | strides.batch | strides.axis[kDepth] | strides.axis[kHeight] | strides.axis[kWidth]) % n == 0;
}

}  // namespace channels_last

template <class L>
void WindowChannelsLast(const ForwardCall& call, L lanes, ForwardKernel separable) {
  if constexpr (kHasWindowChannelsLast<L>) {
    using namespace channels_last;
    static constexpr Forms kForms[2] = {MakeForms<L, false>(), MakeForms<L, true>()};
    const bool indices = call.taps.base != nullptr;
    const int64_t n = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<typename L::Lane>()));
    if constexpr (std::is_same<typename L::Lane, float>::value) {
      static constexpr Forms kFarForms[2] = {MakeForms<L, false, true>(), MakeForms<L, true, true>()};
      if (WritesAroundCaches<L>(call, n)) {
        ShuffledState none;
        PoolCall(kFarForms[indices], call, &lanes, n, none, separable);
        hwy::FlushStream();
        return;
      }
    }
    const Forms& forms = kForms[indices];
    if constexpr (kHasShuffled<L>) {
      if (call.geometry->channels < n) {
        Shuffled<hwy::MakeSigned<typename L::Lane>> shuffled(
            *call.geometry, call.taps, static_cast<int64_t>(hn::Lanes(ShuffledTag<L>())), call.scratch);
        PoolCall(forms, call, &lanes, n, shuffled, separable);
        return;
      }
    }
    ShuffledState none;
    PoolCall(forms, call, &lanes, n, none, separable);
  } else {
    separable(call);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_LAST_INL_H_
