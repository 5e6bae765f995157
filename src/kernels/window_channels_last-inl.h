// SPDX-License-Identifier: Apache-2.0
// Small windows over channels-last tensors: a vector holds channels, so no tap needs a shuffle, unless channels are so
// few that it holds pixels.
//
// Accepts every channels-last geometry whose kernel is at most 3 on each axis; stride, dilation and padding are free as
// long as every window has an in-range tap. Fused, so that windows share their taps, are dilation 1, depth kernel 1 and
// (kernel, stride) equal on height and width out of (2,2), (3,2), (3,1), (2,1), with at least a vector of channels and,
// if there are indices, u8 taps; stride 1 with dilation is as many of these as there are phases. Dense tensors of few
// channels are shuffled, several pixels per vector. Everything else takes each tap of each output by itself.
//
// Padding is clamped away: a row or column outside the input is replaced by the nearest one inside, which with dilation
// 1 lies in the same window, and max is idempotent.
//
// Tried on Zen 5, g++ 12, 512-bit vectors, f32, and rejected: NaN as a masked compare in a chain (2x2 in L2 1.25 -> 2.2
// times the copy: latency); prefetch of rows or of y (0 to +10 %); tiles with channels in blocks (480x14x14 2.7 -> 2.4,
// 512x14x14 2.8 -> 3.0).
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_LAST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_LAST_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_LAST_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_LAST_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lane_tables-inl.h"
#include "src/kernels/lanes-inl.h"
#include "src/kernels/window-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace channels_last {

// A run of `lines` output lines within one plane, starting at (batch, od, oh).
template <class L, class T = typename L::Element>
struct Block {
  const Geometry& geometry;
  L lanes;
  const T* x;     // of the batch
  T* y;           // of the batch and depth
  uint8_t* taps;  // of the batch and depth; null: values only
  int tap_bytes;
  Strides tap_strides;
  int64_t od, oh, lines;
};

// Writes one vector of tap numbers as elements of `bytes` bytes.
template <class DI>
HWY_INLINE void StoreTaps(DI di, hn::Vec<DI> index, int bytes, uint8_t* HWY_RESTRICT to) {
  using Lane = hn::TFromD<DI>;
  if (HWY_LIKELY(bytes == 1)) return StoreBytes(di, index, to);
  // Windows this small rarely need wide numbers: only other index formats' scratch and callers who insist.
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

template <class D>
HWY_INLINE hn::Mask<D> NoLanes(D d) {
  return hn::MaskFromVec(hn::Zero(d));
}

// The in-range rows of one output line's windows. `name` is the tap number of the row's first column.
template <class T>
struct Rows {
  const T* row[9];
  int name[9];
  int count = 0;

  template <class L>
  Rows(const Block<L>& block, int64_t line) {
    const Geometry& g = block.geometry;
    const Axis& depth = g.axis[kDepth];
    const Axis& height = g.axis[kHeight];
    for (int64_t kd = 0; kd < depth.kernel; ++kd) {
      const int64_t d = depth.Begin(block.od) + kd * depth.dilation;
      for (int64_t kh = 0; kh < height.kernel; ++kh) {
        const int64_t h = height.Begin(block.oh + line) + kh * height.dilation;
        if (d < 0 || d >= depth.input || h < 0 || h >= height.input) continue;
        row[count] = block.x + d * g.input.axis[kDepth] + h * g.input.axis[kHeight];
        name[count++] = static_cast<int>((kd * height.kernel + kh) * g.axis[kWidth].kernel);
      }
    }
  }
};

// Whether a NaN was among the vectors noted: the sum of their squares is NaN if and only if one of them is. The
// multiply-add pipes have nothing else to do, whereas compares and mask operations compete with the maxima.
template <class L, class V>
HWY_INLINE void Note(V x, V& squares) {
  if constexpr (L::kTracksNan) squares = hn::MulAdd(x, x, squares);
}
template <class D>
HWY_INLINE hn::Vec<D> NothingNoted(D d) {
  return hn::Set(d, 1);  // never subnormal
}
template <class L, class D, class V = hn::Vec<D>>
HWY_INLINE bool NanNoted(D d, V squares) {
  if constexpr (L::kTracksNan) return !hn::AllFalse(d, hn::IsNaN(squares));
  return false;
}

// Tap x by the name `name` joins a maximum; of equals the earlier one stays.
template <bool kIndices, class D, class V = hn::Vec<D>, class VI = hn::Vec<hn::RebindToSigned<D>>>
HWY_INLINE void Join(D /*d*/, V x, VI name, V& best, VI& index) {
  if constexpr (kIndices) {
    const auto greater = hn::Gt(x, best);
    best = hn::IfThenElse(greater, x, best);
    index = hn::IfThenElse(hn::RebindMask(hn::RebindToSigned<D>(), greater), name, index);
  } else {
    static_cast<void>(name), static_cast<void>(index);
    best = hn::Max(best, x);
  }
}

// One output pixel from its in-range taps, any window. Returns whether a NaN was seen.
template <class L, bool kIndices, class D, class T = typename L::Element>
HWY_INLINE bool PoolPixel(D d, const L lanes, const Rows<T>& rows, int64_t first, int64_t pitch, int column,
                          int columns, int64_t channels, T* HWY_RESTRICT y, int tap_bytes, uint8_t* HWY_RESTRICT taps) {
  const hn::RebindToSigned<D> di;
  using TI = hn::TFromD<decltype(di)>;
  using V = hn::Vec<D>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  V s0 = NothingNoted(d), s1 = s0, s2 = s0, s3 = s0;
  const auto first_name = hn::Set(di, static_cast<TI>(rows.name[0] + column));
  int64_t c = 0;
  // Four vectors per visit of a tap.
  for (; c + 4 * n <= channels; c += 4 * n) {
    const T* HWY_RESTRICT tap = rows.row[0] + first + c;
    V v0 = lanes.Load(d, tap), v1 = lanes.Load(d, tap + n), v2 = lanes.Load(d, tap + 2 * n),
      v3 = lanes.Load(d, tap + 3 * n);
    Note<L>(v0, s0), Note<L>(v1, s1), Note<L>(v2, s2), Note<L>(v3, s3);
    auto i0 = first_name, i1 = i0, i2 = i0, i3 = i0;
    for (int r = 0; r < rows.count; ++r) {
      tap = rows.row[r] + first + c;
      for (int k = 0; k < columns; ++k, tap += pitch) {
        if (r + k == 0) continue;
        const V x0 = lanes.Load(d, tap), x1 = lanes.Load(d, tap + n), x2 = lanes.Load(d, tap + 2 * n),
                x3 = lanes.Load(d, tap + 3 * n);
        Note<L>(x0, s0), Note<L>(x1, s1), Note<L>(x2, s2), Note<L>(x3, s3);
        const auto name = InRegister(hn::Set(di, static_cast<TI>(rows.name[r] + column + k)));
        Join<kIndices>(d, x0, name, v0, i0);
        Join<kIndices>(d, x1, name, v1, i1);
        Join<kIndices>(d, x2, name, v2, i2);
        Join<kIndices>(d, x3, name, v3, i3);
      }
    }
    lanes.Store(d, v0, y + c);
    lanes.Store(d, v1, y + c + n);
    lanes.Store(d, v2, y + c + 2 * n);
    lanes.Store(d, v3, y + c + 3 * n);
    if constexpr (kIndices) {
      StoreTaps(di, i0, tap_bytes, taps + c * tap_bytes);
      StoreTaps(di, i1, tap_bytes, taps + (c + n) * tap_bytes);
      StoreTaps(di, i2, tap_bytes, taps + (c + 2 * n) * tap_bytes);
      StoreTaps(di, i3, tap_bytes, taps + (c + 3 * n) * tap_bytes);
    }
  }
  for (; c < channels; c += n) {
    c = HWY_MIN(c, channels - n);  // max is idempotent: redo instead of a masked tail
    auto best = lanes.Load(d, rows.row[0] + first + c);
    auto index = first_name;
    for (int r = 0; r < rows.count; ++r) {
      const T* HWY_RESTRICT tap = rows.row[r] + first + c;
      for (int k = 0; k < columns; ++k, tap += pitch) {
        const auto x = lanes.Load(d, tap);
        Note<L>(x, s0);
        Join<kIndices>(d, x, hn::Set(di, static_cast<TI>(rows.name[r] + column + k)), best, index);
      }
    }
    lanes.Store(d, best, y + c);
    if constexpr (kIndices) StoreTaps(di, index, tap_bytes, taps + c * tap_bytes);
  }
  return NanNoted<L>(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
}

// Any window: output line `line` of the block.
template <class L, bool kIndices, class T = typename L::Element>
HWY_NOINLINE bool PoolLine(const Block<L>& block, int64_t line) {
  const Geometry& g = block.geometry;
  const Axis& width = g.axis[kWidth];
  const Rows<T> rows(block, line);
  const hn::ScalableTag<typename L::Lane> d;
  const hn::CappedTag<typename L::Lane, 16 / sizeof(T)> d128;
  const hn::CappedTag<typename L::Lane, 1> d1;
  const int64_t channels = g.channels;
  const int64_t pitch = width.dilation * g.input.axis[kWidth];
  T* y = block.y + (block.oh + line) * g.output.axis[kHeight];
  uint8_t* taps =
      !kIndices ? nullptr : block.taps + (block.oh + line) * block.tap_strides.axis[kHeight] * block.tap_bytes;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const bool dense = g.input.axis[kWidth] == channels && g.output.axis[kWidth] == channels &&
                     (!kIndices || block.tap_strides.axis[kWidth] == channels);
  bool nan = false;
  for (int64_t ow = 0; ow < width.output;) {
    const int64_t left = width.Begin(ow);
    int begin = 0, end = static_cast<int>(width.kernel);
    while (left + begin * width.dilation < 0) ++begin;
    while (left + (end - 1) * width.dilation >= width.input) --end;
    const int64_t first = (left + begin * width.dilation) * g.input.axis[kWidth];
    int64_t pixels = 1, run = channels;
    if (dense && width.stride == 1 && begin == 0 && end == width.kernel) {
      // With stride 1, neighbouring whole windows differ by one pixel throughout: one long run whatever the channels.
      pixels = HWY_MIN(width.output - ow, width.input - (end - 1) * width.dilation - left);
      run = pixels * channels;
    } else if (dense && channels < n) {
      // Few channels: a whole vector spills into the next pixels of y, which overwrite it.
      const int64_t readable = width.input * channels - first - (end - begin - 1) * pitch;
      if (HWY_MIN(readable, (width.output - ow) * channels) >= n) run = n;
    }
    if (run >= n) {
      nan |=
          PoolPixel<L, kIndices>(d, block.lanes, rows, first, pitch, begin, end - begin, run, y, block.tap_bytes, taps);
    } else if (run >= static_cast<int64_t>(hn::Lanes(d128))) {
      nan |= PoolPixel<L, kIndices>(d128, block.lanes, rows, first, pitch, begin, end - begin, run, y, block.tap_bytes,
                                    taps);
    } else {
      nan |= PoolPixel<L, kIndices>(d1, block.lanes, rows, first, pitch, begin, end - begin, run, y, block.tap_bytes,
                                    taps);
    }
    ow += pixels;
    y += pixels * g.output.axis[kWidth];
    if constexpr (kIndices) taps += pixels * block.tap_strides.axis[kWidth] * block.tap_bytes;
  }
  return nan;
}

// Two neighbouring windows along one axis from the kernel + stride taps that they span.
template <int kKernel, int kStride, class V>
HWY_INLINE void MaxPair(V x0, V x1, V x2, V x3, V x4, V& a, V& b) {
  if constexpr (kStride == 2) {
    a = kKernel == 2 ? hn::Max(x0, x1) : hn::Max(hn::Max(x0, x1), x2);
    b = kKernel == 2 ? hn::Max(x2, x3) : hn::Max(x2, hn::Max(x3, x4));
  } else if constexpr (kKernel == 2) {
    a = hn::Max(x0, x1);
    b = hn::Max(x1, x2);
  } else {
    const V shared = hn::Max(x1, x2);
    a = hn::Max(x0, shared);
    b = hn::Max(shared, x3);
  }
}

// The same with the place of each maximum carried along; of equals the earlier operand stays.
template <class D, class V = hn::Vec<D>, class VI = hn::Vec<hn::RebindToSigned<D>>>
HWY_INLINE void ArgMax(D /*d*/, V x, VI i, V y, VI j, V& v, VI& k) {
  const hn::RebindToSigned<D> di;
  const auto greater = hn::Gt(y, x);
  v = hn::IfThenElse(greater, y, x);
  k = hn::IfThenElse(hn::RebindMask(di, greater), j, i);
}

template <int kKernel, int kStride, class D, class V = hn::Vec<D>, class VI = hn::Vec<hn::RebindToSigned<D>>>
HWY_INLINE void ArgMaxPair(D d, V x0, V x1, V x2, V x3, V x4, VI i0, VI i1, VI i2, VI i3, VI i4, V& a, V& b, VI& ia,
                           VI& ib) {
  if constexpr (kStride == 2) {
    ArgMax(d, x0, i0, x1, i1, a, ia);
    if constexpr (kKernel == 2) {
      ArgMax(d, x2, i2, x3, i3, b, ib);
    } else {
      ArgMax(d, a, ia, x2, i2, a, ia);
      ArgMax(d, x2, i2, x3, i3, b, ib);
      ArgMax(d, b, ib, x4, i4, b, ib);
    }
  } else if constexpr (kKernel == 2) {
    ArgMax(d, x0, i0, x1, i1, a, ia);
    ArgMax(d, x1, i1, x2, i2, b, ib);
  } else {
    V shared;
    VI at;
    ArgMax(d, x1, i1, x2, i2, shared, at);
    ArgMax(d, x0, i0, shared, at, a, ia);
    ArgMax(d, shared, at, x3, i3, b, ib);
  }
}

// Few channels: output lines of whole vectors of pixels, each from two vectors of every row that hold all its taps.
// Which lane a tap comes from is a table, per tap column; first and last vectors of a line have tables of their own,
// where taps outside the input are replaced by their neighbours and the two vectors do not end beyond the row.
template <class L, bool kIndices, class T = typename L::Element>
class Shuffled {
 public:
  // Shuffles of bytes and, in part, of 16 bits exist within 128 bits only.
  using D = std::conditional_t<kHasLookup<T>, hn::ScalableTag<typename L::Lane>,
                               hn::CappedTag<typename L::Lane, 16 / sizeof(T)>>;
  using DI = hn::RebindToSigned<D>;
  using TI = hn::TFromD<DI>;

  // The tables live in `scratch`, which only a redone block overwrites.
  Shuffled(const Geometry& g, const TapView& taps, void* scratch)
      : width_(g.axis[kWidth]),
        channels_(g.channels),
        tables_(scratch, 2 * g.axis[kWidth].kernel * static_cast<int64_t>(hn::Lanes(D()))) {
    const int64_t n = static_cast<int64_t>(hn::Lanes(D()));
    if (g.input.axis[kWidth] != channels_ || g.output.axis[kWidth] != channels_ || width_.input * channels_ < 2 * n ||
        (kIndices && (taps.strides.axis[kWidth] != channels_ || taps.bytes != 1))) {
      return;
    }
    const int64_t reach = (width_.kernel - 1) * width_.dilation;
    const int64_t span = 2 * n / channels_ - reach;  // of the first taps of a vector's pixels
    if (span < 1) return;
    pixels_ = HWY_MIN((span - 1) / width_.stride + 1, n / channels_);
    pixels_ = HWY_MIN(pixels_, width_.output);
    last_ = HWY_MIN(width_.input * channels_ - 2 * n,
                    (width_.input - 1 - reach - (pixels_ - 1) * width_.stride) * channels_);
  }

  // Whether this form takes the geometry and gains by it.
  bool IsWorth() const { return pixels_ >= 2; }

  HWY_NOINLINE bool Line(const Block<L>& block, int64_t line) {
    const D d;
    const DI di;
    const L lanes = block.lanes;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d)), kernel = width_.kernel;
    const int64_t valid = pixels_ * channels_, size = width_.output * channels_;
    T* HWY_RESTRICT y = block.y + (block.oh + line) * block.geometry.output.axis[kHeight];
    uint8_t* HWY_RESTRICT taps = kIndices ? block.taps + (block.oh + line) * block.tap_strides.axis[kHeight] : nullptr;
    const Rows<T> rows(block, line);
    if (tables_.empty()) Table(kMiddle);
    auto seen_lo = hn::Set(d, 1), seen_hi = seen_lo;
    const int64_t pixels = pixels_, last = last_, step = pixels * width_.stride * channels_,
                  end = width_.output - pixels;
    int64_t middle = width_.Begin(0) * channels_;
    for (int64_t ow = 0; ow < end + pixels; ow += pixels, middle += step) {
      const TI* HWY_RESTRICT table = tables_.first();
      int64_t at = middle;
      if (HWY_UNLIKELY(at < 0 || at > last || ow > end)) {
        ow = HWY_MIN(ow, end);
        table = Table(ow);
        at = Base(ow);
      }
      const auto load = [&](int r, hn::Vec<D>& lo, hn::Vec<D>& hi) HWY_ATTR {
        lo = lanes.Load(d, rows.row[r] + at);
        hi = lanes.Load(d, rows.row[r] + at + n);
        if constexpr (L::kTracksNan) {
          seen_lo = hn::MulAdd(lo, lo, seen_lo);
          seen_hi = hn::MulAdd(hi, hi, seen_hi);
        }
      };
      hn::Vec<D> lo, hi;
      load(0, lo, hi);
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
        for (int r = 1; r < rows.count; ++r) {
          hn::Vec<D> x, z;
          load(r, x, z);
          lo = hn::Max(lo, x);
          hi = hn::Max(hi, z);
        }
        best = LookupTwo(d, lo, hi, hn::Load(di, table));
        for (int64_t k = 1; k < kernel; ++k) {
          best = hn::Max(best, LookupTwo(d, lo, hi, hn::Load(di, table + 2 * k * n)));
        }
      }
      const int64_t to = ow * channels_;
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
    if constexpr (L::kTracksNan) return !hn::AllFalse(d, EitherNan(d, seen_lo, seen_hi));
    return false;
  }

  void Forget() { tables_.Clear(); }

 private:
  static constexpr int64_t kMiddle = -1;

  // Where in a row the two vectors for the pixels from ow on begin.
  int64_t Base(int64_t ow) const {
    const int64_t last = width_.input * channels_ - 2 * static_cast<int64_t>(hn::Lanes(D()));
    return HWY_MAX(int64_t{0}, HWY_MIN(width_.Begin(ow) * channels_, last));
  }

  // For the pixels from ow on or, if kMiddle, for any whose taps are all within the input: the lane and the name of
  // each tap column.
  const TI* Table(int64_t ow) {
    return tables_.Find(ow, [&](TI* HWY_RESTRICT table) {
      const int64_t n = static_cast<int64_t>(hn::Lanes(D()));
      for (int64_t k = 0; k < width_.kernel; ++k) {
        TI* HWY_RESTRICT from = table + 2 * k * n;
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
            from[n + p * channels_ + c] = static_cast<TI>(tap);
          }
        }
      }
    });
  }

  const Axis width_;
  const int64_t channels_;
  LaneTables<TI> tables_;  // the first is the middle's
  int64_t pixels_ = 0;     // per vector
  int64_t last_;           // where in a row the last vectors of the middle begin
};

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

// Whether any of `count` consecutive elements is NaN; needs count >= lanes.
template <class L, class T = typename L::Element>
HWY_NOINLINE bool HasNan(const L lanes, const T* HWY_RESTRICT p, int64_t count) {
  const hn::ScalableTag<typename L::Lane> d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  auto nan = NoLanes(d);
  for (int64_t c = 0; c < count; c += n) {
    const auto v = lanes.Load(d, p + HWY_MIN(c, count - n));
    nan = hn::Or(nan, EitherNan(d, v, v));
  }
  return !hn::AllFalse(d, nan);
}

// 2x2 windows with stride 2 share nothing: output line by output line, pixel by pixel, channels innermost.
template <class L, bool kIndices, class T = typename L::Element>
HWY_NOINLINE bool PoolDisjoint(const Block<L>& block, int64_t line) {
  const Geometry& g = block.geometry;
  const L lanes = block.lanes;
  const hn::ScalableTag<typename L::Lane> d;
  const hn::RebindToSigned<decltype(d)> di;
  using TI = hn::TFromD<decltype(di)>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const int64_t channels = g.channels;
  const Span rows(g.axis[kHeight], block.oh + line, g.input.axis[kHeight]);
  const T* x = block.x + g.axis[kDepth].Begin(block.od) * g.input.axis[kDepth];
  T* HWY_RESTRICT y = block.y + (block.oh + line) * g.output.axis[kHeight];
  uint8_t* HWY_RESTRICT taps = !kIndices ? nullptr : block.taps + (block.oh + line) * block.tap_strides.axis[kHeight];
  auto nan = NoLanes(d);
  for (int64_t ow = 0; ow < g.axis[kWidth].output; ++ow) {
    const Span cols(g.axis[kWidth], ow, g.input.axis[kWidth]);
    const T* HWY_RESTRICT p0 = x + rows.offset[0] + cols.offset[0];
    const T* HWY_RESTRICT p1 = x + rows.offset[0] + cols.offset[1];
    const T* HWY_RESTRICT p2 = x + rows.offset[1] + cols.offset[0];
    const T* HWY_RESTRICT p3 = x + rows.offset[1] + cols.offset[1];
    for (int64_t c = 0; c < channels; c += n) {
      c = HWY_MIN(c, channels - n);
      const auto x0 = lanes.Load(d, p0 + c), x1 = lanes.Load(d, p1 + c), x2 = lanes.Load(d, p2 + c),
                 x3 = lanes.Load(d, p3 + c);
      if constexpr (L::kTracksNan) nan = hn::Or(nan, hn::Or(EitherNan(d, x0, x1), EitherNan(d, x2, x3)));
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
      lanes.Store(d, v, y + c);
    }
    y += g.output.axis[kWidth];
    if constexpr (kIndices) taps += block.tap_strides.axis[kWidth];
  }
  return L::kTracksNan && !hn::AllFalse(d, nan);
}

// Output lines `line` and `line` + 1 of the block in tiles of 2x2 pixels, channels innermost. Indices are taken
// horizontally first: then the earlier row wins ties without comparing places.
template <class L, int kKernel, int kStride, bool kIndices, class T = typename L::Element>
HWY_NOINLINE bool PoolLinePair(const Block<L>& block, int64_t line) {
  constexpr int kSpan = kKernel + kStride;
  const Geometry& g = block.geometry;
  const L lanes = block.lanes;
  const hn::ScalableTag<typename L::Lane> d;
  const hn::RebindToSigned<decltype(d)> di;
  using TI = hn::TFromD<decltype(di)>;
  using V = hn::Vec<decltype(d)>;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const int64_t channels = g.channels;
  const Span rows(g.axis[kHeight], block.oh + line, g.input.axis[kHeight]);
  const T* x = block.x + g.axis[kDepth].Begin(block.od) * g.input.axis[kDepth];
  const T* HWY_RESTRICT r0 = x + rows.offset[0];
  const T* HWY_RESTRICT r1 = x + rows.offset[1];
  const T* HWY_RESTRICT r2 = x + rows.offset[2];
  const T* HWY_RESTRICT r3 = x + rows.offset[3];
  const T* HWY_RESTRICT r4 = x + rows.offset[4];
  T* HWY_RESTRICT y0 = block.y + (block.oh + line) * g.output.axis[kHeight];
  T* HWY_RESTRICT y1 = y0 + g.output.axis[kHeight];
  uint8_t* HWY_RESTRICT t0 = !kIndices ? nullptr : block.taps + (block.oh + line) * block.tap_strides.axis[kHeight];
  uint8_t* HWY_RESTRICT t1 = !kIndices ? nullptr : t0 + block.tap_strides.axis[kHeight];
  constexpr std::false_type old_row;
  constexpr std::integral_constant<bool, kKernel - kStride <= 1> overlap_row;
  constexpr std::true_type new_row;
  auto nan = NoLanes(d);
  bool seen = false;
  if constexpr (L::kTracksNan) {
    const Span cols(g.axis[kWidth], 0, g.input.axis[kWidth]);
    for (int r = kKernel - kStride; r < kSpan; ++r) {
      for (int k = 0; k < kKernel - kStride; ++k)
        seen |= HasNan(block.lanes, x + rows.offset[r] + cols.offset[k], channels);
    }
  }

  for (int64_t ow = 0; ow < g.axis[kWidth].output; ow += 2) {
    ow = HWY_MIN(ow, g.axis[kWidth].output - 2);
    const Span cols(g.axis[kWidth], ow, g.input.axis[kWidth]);
    const int64_t o0 = ow * g.output.axis[kWidth], o1 = o0 + g.output.axis[kWidth];
    const int64_t p0 = ow * block.tap_strides.axis[kWidth], p1 = p0 + block.tap_strides.axis[kWidth];
    for (int64_t c = 0; c < channels; c += n) {
      c = HWY_MIN(c, channels - n);
      const int64_t c0 = cols.offset[0] + c, c1 = cols.offset[1] + c, c2 = cols.offset[2] + c, c3 = cols.offset[3] + c,
                    c4 = cols.offset[4] + c;
      const auto load_row = [&](auto is_new, const T* HWY_RESTRICT row, V& x0, V& x1, V& x2, V& x3, V& x4) HWY_ATTR {
        constexpr bool kNew = decltype(is_new)::value;
        x0 = lanes.Load(d, row + c0);
        x1 = lanes.Load(d, row + c1);
        x2 = lanes.Load(d, row + c2);
        x3 = kSpan > 3 ? lanes.Load(d, row + c3) : x2;
        x4 = kSpan > 4 ? lanes.Load(d, row + c4) : x2;
        // The other rows and columns are new to no tile but the first.
        if constexpr (L::kTracksNan && kNew) {
          if constexpr (kSpan == 5) {
            nan = hn::Or(nan, hn::Or(EitherNan(d, x1, x2), EitherNan(d, x3, x4)));
          } else {
            nan = hn::Or(nan, kSpan == 4 ? EitherNan(d, x2, x3) : EitherNan(d, x1, x2));
          }
        }
      };
      V x0, x1, x2, x3, x4;
      V a00, a01, a10, a11;
      if constexpr (!kIndices) {
        const auto pool_row = [&](auto is_new, const T* HWY_RESTRICT row, V& a, V& b) HWY_ATTR {
          load_row(is_new, row, x0, x1, x2, x3, x4);
          MaxPair<kKernel, kStride>(x0, x1, x2, x3, x4, a, b);
        };
        V a0, a1, a2, a3, a4, b0, b1, b2, b3, b4;
        pool_row(old_row, r0, a0, b0);
        pool_row(overlap_row, r1, a1, b1);
        pool_row(new_row, r2, a2, b2);
        a3 = a4 = a2;
        b3 = b4 = b2;
        if constexpr (kSpan > 3) pool_row(new_row, r3, a3, b3);
        if constexpr (kSpan > 4) pool_row(new_row, r4, a4, b4);
        MaxPair<kKernel, kStride>(a0, a1, a2, a3, a4, a00, a10);
        MaxPair<kKernel, kStride>(b0, b1, b2, b3, b4, a01, a11);
      } else {
        using VI = hn::Vec<decltype(di)>;
        const VI n0 = hn::Set(di, static_cast<TI>(cols.place[0])), n1 = hn::Set(di, static_cast<TI>(cols.place[1])),
                 n2 = hn::Set(di, static_cast<TI>(cols.place[2])), n3 = hn::Set(di, static_cast<TI>(cols.place[3])),
                 n4 = hn::Set(di, static_cast<TI>(cols.place[4]));
        const auto pool_row = [&](auto is_new, const T* HWY_RESTRICT row, int place, V& a, V& b, VI& ia,
                                  VI& ib) HWY_ATTR {
          load_row(is_new, row, x0, x1, x2, x3, x4);
          ArgMaxPair<kKernel, kStride>(d, x0, x1, x2, x3, x4, n0, n1, n2, n3, n4, a, b, ia, ib);
          const VI name = hn::Set(di, static_cast<TI>(place * kKernel));
          ia = hn::Add(ia, name);
          ib = hn::Add(ib, name);
        };
        V a0, a1, a2, a3, a4, b0, b1, b2, b3, b4;
        VI i0, i1, i2, i3, i4, j0, j1, j2, j3, j4;
        pool_row(old_row, r0, rows.place[0], a0, b0, i0, j0);
        pool_row(overlap_row, r1, rows.place[1], a1, b1, i1, j1);
        pool_row(new_row, r2, rows.place[2], a2, b2, i2, j2);
        a3 = a4 = a2;
        b3 = b4 = b2;
        i3 = i4 = i2;
        j3 = j4 = j2;
        if constexpr (kSpan > 3) pool_row(new_row, r3, rows.place[3], a3, b3, i3, j3);
        if constexpr (kSpan > 4) pool_row(new_row, r4, rows.place[4], a4, b4, i4, j4);
        VI t00, t01, t10, t11;
        ArgMaxPair<kKernel, kStride>(d, a0, a1, a2, a3, a4, i0, i1, i2, i3, i4, a00, a10, t00, t10);
        ArgMaxPair<kKernel, kStride>(d, b0, b1, b2, b3, b4, j0, j1, j2, j3, j4, a01, a11, t01, t11);
        t01 = hn::Sub(t01, hn::Set(di, kStride));
        t10 = hn::Sub(t10, hn::Set(di, kStride * kKernel));
        t11 = hn::Sub(t11, hn::Set(di, kStride * kKernel + kStride));
        StoreBytes(di, t00, t0 + p0 + c);
        StoreBytes(di, t01, t0 + p1 + c);
        StoreBytes(di, t10, t1 + p0 + c);
        StoreBytes(di, t11, t1 + p1 + c);
      }
      lanes.Store(d, a00, y0 + o0 + c);
      lanes.Store(d, a01, y0 + o1 + c);
      lanes.Store(d, a10, y1 + o0 + c);
      lanes.Store(d, a11, y1 + o1 + c);
    }
  }
  return L::kTracksNan && (seen || !hn::AllFalse(d, nan));
}

// The maxima of one column of taps for two output lines, from rows pointing into it.
template <class L, int kKernel, int kStride, class D, class V = hn::Vec<D>, class T = typename L::Element>
HWY_INLINE void MaxColumn(D d, const L lanes, const T* HWY_RESTRICT r0, const T* HWY_RESTRICT r1,
                          const T* HWY_RESTRICT r2, const T* HWY_RESTRICT r3, const T* HWY_RESTRICT r4, int64_t at,
                          V& top, V& bottom, V& seen0, V& seen1) {
  constexpr int kSpan = kKernel + kStride;
  const V x0 = lanes.Load(d, r0 + at), x1 = lanes.Load(d, r1 + at), x2 = lanes.Load(d, r2 + at);
  const V x3 = kSpan > 3 ? lanes.Load(d, r3 + at) : x2, x4 = kSpan > 4 ? lanes.Load(d, r4 + at) : x2;
  MaxPair<kKernel, kStride>(x0, x1, x2, x3, x4, top, bottom);
  if constexpr (L::kTracksNan) {
    // The new rows' squares: their sum is NaN if and only if one of them is. The multiply-add pipes have nothing else
    // to do, whereas compares and mask operations compete with the maxima.
    if constexpr (kSpan == 3) {
      seen0 = hn::MulAdd(x1, x1, seen0);
      seen1 = hn::MulAdd(x2, x2, seen1);
    } else {
      seen0 = hn::MulAdd(x2, x2, seen0);
      seen1 = hn::MulAdd(x3, x3, seen1);
      if constexpr (kSpan == 5) {
        seen0 = hn::MulAdd(x1, x1, seen0);
        seen1 = hn::MulAdd(x4, x4, seen1);
      }
    }
  }
}

// All lines of the block for two vectors of channels, at c and c + b, in pairs of lines: the column maxima slide along
// the width in registers, so that each tap is loaded once for two outputs.
template <class L, int kKernel, int kStride, class T = typename L::Element>
HWY_NOINLINE bool SlideLines(const Block<L>& block, int64_t c, int64_t b) {
  const Geometry& g = block.geometry;
  const L lanes = block.lanes;
  const hn::ScalableTag<typename L::Lane> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t pitch = g.input.axis[kWidth], y_pitch = g.output.axis[kWidth];
  const T* x = block.x + c + g.axis[kDepth].Begin(block.od) * g.input.axis[kDepth];
  V seen_a0 = hn::Set(d, 1), seen_a1 = seen_a0, seen_b0 = seen_a0,
    seen_b1 = seen_a0;  // never subnormal
  const int64_t begin = g.axis[kWidth].Begin(0), last = g.axis[kWidth].input - 1, outputs = g.axis[kWidth].output;
  for (int64_t line = 0; line < block.lines; line += 2) {
    line = HWY_MIN(line, block.lines - 2);
    const Span rows(g.axis[kHeight], block.oh + line, g.input.axis[kHeight]);
    const T* HWY_RESTRICT r0 = x + rows.offset[0];
    const T* HWY_RESTRICT r1 = x + rows.offset[1];
    const T* HWY_RESTRICT r2 = x + rows.offset[2];
    const T* HWY_RESTRICT r3 = x + rows.offset[3];
    const T* HWY_RESTRICT r4 = x + rows.offset[4];
    T* HWY_RESTRICT y0 = block.y + c + (block.oh + line) * g.output.axis[kHeight];
    T* HWY_RESTRICT y1 = y0 + g.output.axis[kHeight];
    V a0, a1, b0, b1, pa0, pa1, pb0, pb1, ta0, ta1, tb0, tb1;
    const auto load = [&](int64_t i, V& at, V& ab, V& bt, V& bb) HWY_ATTR {
      const int64_t at_a = HWY_MAX(int64_t{0}, HWY_MIN(i, last)) * pitch;
      MaxColumn<L, kKernel, kStride>(d, lanes, r0, r1, r2, r3, r4, at_a, at, ab, seen_a0, seen_a1);
      MaxColumn<L, kKernel, kStride>(d, lanes, r0, r1, r2, r3, r4, at_a + b, bt, bb, seen_b0, seen_b1);
    };
    load(begin, a0, a1, b0, b1);
    pa0 = a0, pa1 = a1, pb0 = b0, pb1 = b1;
    if constexpr (kKernel == 3 && kStride == 1) {
      load(begin + 1, a0, a1, b0, b1);
      pa0 = hn::Max(pa0, a0), pa1 = hn::Max(pa1, a1), pb0 = hn::Max(pb0, b0), pb1 = hn::Max(pb1, b1);
    }
    int64_t i = begin + kKernel - kStride;
    for (int64_t ow = 0; ow < outputs; ++ow, i += kStride) {
      if constexpr (kStride == 2) {
        load(i, ta0, ta1, tb0, tb1);
        pa0 = hn::Max(a0, ta0), pa1 = hn::Max(a1, ta1), pb0 = hn::Max(b0, tb0), pb1 = hn::Max(b1, tb1);
        load(i + 1, a0, a1, b0, b1);
        lanes.Store(d, hn::Max(pa0, a0), y0);
        lanes.Store(d, hn::Max(pb0, b0), y0 + b);
        lanes.Store(d, hn::Max(pa1, a1), y1);
        lanes.Store(d, hn::Max(pb1, b1), y1 + b);
      } else {
        load(i, ta0, ta1, tb0, tb1);
        lanes.Store(d, hn::Max(pa0, ta0), y0);
        lanes.Store(d, hn::Max(pb0, tb0), y0 + b);
        lanes.Store(d, hn::Max(pa1, ta1), y1);
        lanes.Store(d, hn::Max(pb1, tb1), y1 + b);
        if constexpr (kKernel == 3) {
          pa0 = hn::Max(a0, ta0), pa1 = hn::Max(a1, ta1), pb0 = hn::Max(b0, tb0), pb1 = hn::Max(b1, tb1);
        } else {
          pa0 = ta0, pa1 = ta1, pb0 = tb0, pb1 = tb1;
        }
        a0 = ta0, a1 = ta1, b0 = tb0, b1 = tb1;
      }
      y0 += y_pitch;
      y1 += y_pitch;
    }
  }
  if constexpr (L::kTracksNan) {
    return !hn::AllFalse(d, hn::Or(EitherNan(d, seen_a0, seen_a1), EitherNan(d, seen_b0, seen_b1)));
  }
  return false;
}

// As PoolBlock, for kernel and stride equal on height and width. Needs two output lines and pixels where windows
// overlap, and channels >= lanes.
template <class L, int kKernel, int kStride, bool kIndices, class T = typename L::Element>
HWY_NOINLINE bool PoolFused(const Block<L>& block) {
  const Geometry& g = block.geometry;
  const int64_t n = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<typename L::Lane>()));
  bool nan = false;
  if constexpr (kKernel == kStride) {
    for (int64_t line = 0; line < block.lines; ++line) nan |= PoolDisjoint<L, kIndices>(block, line);
    return nan;
  } else {
    if constexpr (L::kTracksNan) {
      // The rows that the first lines share with lines before the block; below, each row is looked at when it is new.
      const Span rows(g.axis[kHeight], block.oh, g.input.axis[kHeight]);
      const T* x = block.x + g.axis[kDepth].Begin(block.od) * g.input.axis[kDepth];
      for (int r = 0; r < kKernel - kStride; ++r) {
        const int64_t pitch = g.input.axis[kWidth];
        const int64_t pixels = pitch == g.channels ? 1 : g.axis[kWidth].input;
        for (int64_t i = 0; i < pixels; ++i) {
          nan |= HasNan(block.lanes, x + rows.offset[r] + i * pitch, g.channels * (g.axis[kWidth].input / pixels));
        }
      }
    }
    // Pixels a multiple of 2 KiB apart share few sets of the L1 cache, which then does not hold the rows for the next
    // two lines: 3x3 stride 1 with 512 channels 2.5 times the copy in tiles, 2.9 to 3.7 sliding; with 480, 2.8 and 2.1.
    // Stride 2 shares one row in five: no difference.
    if constexpr (kIndices || kStride == 1) {
      if (kIndices || g.input.axis[kWidth] * static_cast<int64_t>(sizeof(T)) % 2048 == 0) {
        for (int64_t line = 0; line < block.lines; line += 2) {
          nan |= PoolLinePair<L, kKernel, kStride, kIndices>(block, HWY_MIN(line, block.lines - 2));
        }
        return nan;
      }
    }
    for (int64_t c = 0; c < g.channels; c += 2 * n) {
      c = HWY_MAX(int64_t{0}, HWY_MIN(c, g.channels - 2 * n));
      nan |= SlideLines<L, kKernel, kStride>(block, c, HWY_MIN(n, g.channels - n));
    }
    return nan;
  }
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

// Whether one of the fused forms takes windows like these, were their dilation 1.
inline bool IsFused(const Geometry& g) {
  const Axis& height = g.axis[kHeight];
  const Axis& width = g.axis[kWidth];
  return g.axis[kDepth].kernel == 1 && height.kernel == width.kernel && height.stride == width.stride &&
         height.kernel != 1 && height.stride <= 2 && height.stride <= height.kernel;
}

// Returns whether a NaN was seen, in which case the values (and indices) of the block's lines may be wrong.
template <class L, bool kIndices>
bool PoolBlock(const Block<L>& block) {
  const Geometry& g = block.geometry;
  const Axis& height = g.axis[kHeight];
  const Axis& width = g.axis[kWidth];
  if (IsFused(g) && height.dilation == 1 && width.dilation == 1 && width.output >= 2 && block.lines >= 2 &&
      (!kIndices || block.tap_bytes == 1) &&
      g.channels >= static_cast<int64_t>(hn::Lanes(hn::ScalableTag<typename L::Lane>()))) {
    if (height.kernel == 2 && height.stride == 2) return PoolFused<L, 2, 2, kIndices>(block);
    if (height.kernel == 3 && height.stride == 2) return PoolFused<L, 3, 2, kIndices>(block);
    if (height.kernel == 3 && height.stride == 1) return PoolFused<L, 3, 1, kIndices>(block);
    if (height.kernel == 2 && height.stride == 1) return PoolFused<L, 2, 1, kIndices>(block);
  }
  bool nan = false;
  for (int64_t line = 0; line < block.lines; ++line) nan |= PoolLine<L, kIndices>(block, line);
  return nan;
}

// The same for windows of stride 1 with dilation, phase by phase.
template <class L, bool kIndices>
HWY_NOINLINE bool PoolPhases(const Block<L>& block) {
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
      nan |= PoolBlock<L, kIndices>(
          {phase, block.lanes, block.x + row * g.input.axis[kHeight] + column * g.input.axis[kWidth], block.y + to_y,
           kIndices ? block.taps + to_taps * block.tap_bytes : nullptr, block.tap_bytes, tap_strides, block.od,
           (block.oh + h) / height.dilation, (block.lines - h + height.dilation - 1) / height.dilation});
    }
  }
  return nan;
}

}  // namespace channels_last

template <bool kIndices, class L>
void RunChannelsLast(const ForwardCall& call, L lanes, ForwardKernel separable) {
  using T = typename L::Element;
  // One NaN has this many lines redone.
  constexpr int64_t kBlockLines = 16;
  const Geometry& g = *call.geometry;
  channels_last::Shuffled<L, kIndices> shuffled(g, call.taps, call.scratch);
  // Few channels at stride 1: flat lines fill whole vectors (3 to 8 channels, 3x3: 1.2 to 1.7 times as fast). And so do
  // many images of few pixels (12 x 2 of 3 channels, f16: 3.8 times).
  const int64_t lanes_per_vector = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<typename L::Lane>()));
  if (!shuffled.IsWorth() && g.channels < lanes_per_vector &&
      (g.axis[kWidth].stride == 1 || g.axis[kWidth].output * g.channels < 2 * lanes_per_vector)) {
    separable(call);
    return;
  }
  const bool in_phases = (g.axis[kHeight].dilation > 1 || g.axis[kWidth].dilation > 1) && channels_last::IsFused(g) &&
                         g.axis[kHeight].stride == 1;
  const int64_t height = g.axis[kHeight].output, depth = g.axis[kDepth].output;
  for (int64_t begin = call.begin; begin < call.end;) {
    const int64_t oh = begin % height, od = begin / height % depth, n = begin / height / depth;
    int64_t lines = HWY_MIN(call.end - begin, height - oh);
    if (lines > kBlockLines + 1) lines = kBlockLines;  // never leaves a single line over
    const Strides& strides = call.taps.strides;
    uint8_t* taps = nullptr;
    if constexpr (kIndices) {
      taps = static_cast<uint8_t*>(call.taps.base) +
             (n * strides.batch + od * strides.axis[kDepth] - call.taps.origin) * call.taps.bytes;
    }
    const T* x = static_cast<const T*>(call.x) + n * g.input.batch;
    T* y = static_cast<T*>(call.y) + n * g.output.batch + od * g.output.axis[kDepth];
    const channels_last::Block<L> block = {g, lanes, x, y, taps, call.taps.bytes, strides, od, oh, lines};
    bool nan = false;
    if (shuffled.IsWorth()) {
      for (int64_t line = 0; line < lines; ++line) nan |= shuffled.Line(block, line);
    } else {
      nan = in_phases ? channels_last::PoolPhases<L, kIndices>(block) : channels_last::PoolBlock<L, kIndices>(block);
    }
    if (nan) {
      ForwardCall redo = call;
      redo.begin = begin;
      redo.end = begin + lines;
      separable(redo);
      shuffled.Forget();
    }
    begin += lines;
  }
}

template <class L>
void WindowChannelsLast(const ForwardCall& call, L lanes, ForwardKernel separable) {
  if constexpr (kHasWindowChannelsLast<L>) {
    call.taps.base == nullptr ? RunChannelsLast<false>(call, lanes, separable)
                              : RunChannelsLast<true>(call, lanes, separable);
  } else {
    separable(call);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_LAST_INL_H_
