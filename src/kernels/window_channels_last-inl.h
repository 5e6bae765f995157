// SPDX-License-Identifier: Apache-2.0
// Small windows over channels-last tensors: a vector holds channels, so no tap needs a shuffle.
//
// Accepts every channels-last geometry whose kernel is at most 3 on each axis; stride, dilation and padding are free as
// long as every window has an in-range tap. Fused are dilation 1, depth kernel 1 and (kernel, stride) equal on height
// and width out of (2,2), (3,2), (3,1), (2,1): 2x2 output tiles that share their taps. Everything else takes each tap
// of each output by itself.
#if defined(PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_LAST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_LAST_INL_H_
#undef PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_LAST_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_LAST_INL_H_
#endif

#include <algorithm>

#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
void Separable(const ForwardCall& call);

namespace channels_last {

// A run of `lines` output lines within one plane, starting at (batch, od, oh).
template <class T>
struct Block {
  const Geometry& geometry;
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
  const hn::Rebind<uint8_t, DI> d8;
  if (HWY_LIKELY(bytes == 1)) {
    if constexpr (sizeof(Lane) == 1) {
      hn::StoreU(hn::BitCast(d8, index), d8, to);
    } else if constexpr (sizeof(Lane) == 8) {
      hn::StoreU(hn::TruncateTo(d8, hn::BitCast(hn::RebindToUnsigned<DI>(), index)), d8, to);
    } else {
      hn::StoreU(hn::DemoteTo(d8, index), d8, to);
    }
    return;
  }
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
  int count;
};

// One output pixel from its in-range taps, any window. Returns whether a NaN was seen.
template <class L, bool kIndices, class D, class T = typename L::Element>
HWY_INLINE bool PoolPixel(D d, const Rows<T>& rows, int64_t first, int64_t pitch, int column, int columns,
                          int64_t channels, T* HWY_RESTRICT y, int tap_bytes, uint8_t* HWY_RESTRICT taps) {
  const hn::RebindToSigned<D> di;
  using TI = hn::TFromD<decltype(di)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto nan = NoLanes(d);
  for (int64_t c = 0; c < channels; c += lanes) {
    c = HWY_MIN(c, channels - lanes);  // max is idempotent: redo instead of a masked tail
    auto best = L::Load(d, rows.row[0] + first + c);
    auto index = hn::Set(di, static_cast<TI>(rows.name[0] + column));
    for (int r = 0; r < rows.count; ++r) {
      const T* HWY_RESTRICT tap = rows.row[r] + first + c;
      for (int k = 0; k < columns; ++k, tap += pitch) {
        const auto v = L::Load(d, tap);
        if constexpr (L::kTracksNan) nan = hn::Or(nan, EitherNan(d, v, v));
        if constexpr (kIndices) {
          const auto greater = hn::Gt(v, best);
          best = hn::IfThenElse(greater, v, best);
          index = hn::IfThenElse(hn::RebindMask(di, greater), hn::Set(di, static_cast<TI>(rows.name[r] + column + k)),
                                 index);
        } else {
          best = hn::Max(best, v);
        }
      }
    }
    L::Store(d, best, y + c);
    if constexpr (kIndices) StoreTaps(di, index, tap_bytes, taps + c * tap_bytes);
  }
  return L::kTracksNan && !hn::AllFalse(d, nan);
}

// Any window: output line `line` of the block.
template <class L, bool kIndices, class T = typename L::Element>
HWY_NOINLINE bool PoolLine(const Block<T>& block, int64_t line) {
  const Geometry& g = block.geometry;
  const Axis& depth = g.axis[kDepth];
  const Axis& height = g.axis[kHeight];
  const Axis& width = g.axis[kWidth];
  Rows<T> rows;
  rows.count = 0;
  for (int64_t kd = 0; kd < depth.kernel; ++kd) {
    const int64_t d = depth.Begin(block.od) + kd * depth.dilation;
    for (int64_t kh = 0; kh < height.kernel; ++kh) {
      const int64_t h = height.Begin(block.oh + line) + kh * height.dilation;
      if (d < 0 || d >= depth.input || h < 0 || h >= height.input) continue;
      rows.row[rows.count] = block.x + d * g.input.axis[kDepth] + h * g.input.axis[kHeight];
      rows.name[rows.count++] = static_cast<int>((kd * height.kernel + kh) * width.kernel);
    }
  }
  const hn::ScalableTag<typename L::Lane> d;
  const hn::CappedTag<typename L::Lane, 16 / sizeof(T)> d128;
  const hn::CappedTag<typename L::Lane, 1> d1;
  const int64_t channels = g.channels;
  const int64_t pitch = width.dilation * g.input.axis[kWidth];
  T* y = block.y + (block.oh + line) * g.output.axis[kHeight];
  uint8_t* taps =
      !kIndices ? nullptr : block.taps + (block.oh + line) * block.tap_strides.axis[kHeight] * block.tap_bytes;
  bool nan = false;
  for (int64_t ow = 0; ow < width.output; ++ow) {
    int begin = 0, end = static_cast<int>(width.kernel);
    while (width.Begin(ow) + begin * width.dilation < 0) ++begin;
    while (width.Begin(ow) + (end - 1) * width.dilation >= width.input) --end;
    const int64_t first = (width.Begin(ow) + begin * width.dilation) * g.input.axis[kWidth];
    if (channels >= static_cast<int64_t>(hn::Lanes(d))) {
      nan |= PoolPixel<L, kIndices>(d, rows, first, pitch, begin, end - begin, channels, y, block.tap_bytes, taps);
    } else if (channels >= static_cast<int64_t>(hn::Lanes(d128))) {
      nan |= PoolPixel<L, kIndices>(d128, rows, first, pitch, begin, end - begin, channels, y, block.tap_bytes, taps);
    } else {
      nan |= PoolPixel<L, kIndices>(d1, rows, first, pitch, begin, end - begin, channels, y, block.tap_bytes, taps);
    }
    y += g.output.axis[kWidth];
    if constexpr (kIndices) taps += block.tap_strides.axis[kWidth] * block.tap_bytes;
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

// Output lines oh and oh + 1 in tiles of 2x2 pixels, channels innermost: pixels often lie a multiple of 2 KiB apart,
// and then sliding along the width with channels outermost thrashes the L1 cache (512 channels: 1.6 against 11 times
// the copy). Needs two output lines and pixels, and channels >= lanes.
template <class L, int kKernel, int kStride, bool kIndices, class T = typename L::Element>
HWY_NOINLINE bool PoolLinePair(const Block<T>& block, int64_t line) {
  constexpr int kSpan = kKernel + kStride;
  const Geometry& g = block.geometry;
  const hn::ScalableTag<typename L::Lane> d;
  const hn::RebindToSigned<decltype(d)> di;
  using TI = hn::TFromD<decltype(di)>;
  using V = hn::Vec<decltype(d)>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
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
  uint8_t* HWY_RESTRICT t0 =
      !kIndices ? nullptr : block.taps + (block.oh + line) * block.tap_strides.axis[kHeight] * block.tap_bytes;
  uint8_t* HWY_RESTRICT t1 = !kIndices ? nullptr : t0 + block.tap_strides.axis[kHeight] * block.tap_bytes;
  auto nan = NoLanes(d);

  for (int64_t ow = 0; ow < g.axis[kWidth].output; ow += 2) {
    ow = HWY_MIN(ow, g.axis[kWidth].output - 2);
    const Span cols(g.axis[kWidth], ow, g.input.axis[kWidth]);
    const int64_t o0 = ow * g.output.axis[kWidth], o1 = o0 + g.output.axis[kWidth];
    const int64_t p0 = ow * block.tap_strides.axis[kWidth], p1 = p0 + block.tap_strides.axis[kWidth];
    for (int64_t c = 0; c < channels; c += lanes) {
      c = HWY_MIN(c, channels - lanes);
      const int64_t c0 = cols.offset[0] + c, c1 = cols.offset[1] + c, c2 = cols.offset[2] + c, c3 = cols.offset[3] + c,
                    c4 = cols.offset[4] + c;
      const auto load_row = [&](const T* HWY_RESTRICT row, V& x0, V& x1, V& x2, V& x3, V& x4) HWY_ATTR {
        x0 = L::Load(d, row + c0);
        x1 = L::Load(d, row + c1);
        x2 = L::Load(d, row + c2);
        x3 = kSpan > 3 ? L::Load(d, row + c3) : x2;
        x4 = kSpan > 4 ? L::Load(d, row + c4) : x2;
        if constexpr (L::kTracksNan) {
          nan = hn::Or(nan, hn::Or(EitherNan(d, x0, x1), EitherNan(d, x2, x3)));
          if constexpr (kSpan > 4) nan = hn::Or(nan, EitherNan(d, x4, x4));
        }
      };
      V x0, x1, x2, x3, x4;
      V a00, a01, a10, a11;
      if constexpr (!kIndices) {
        const auto pool_row = [&](const T* HWY_RESTRICT row, V& a, V& b) HWY_ATTR {
          load_row(row, x0, x1, x2, x3, x4);
          MaxPair<kKernel, kStride>(x0, x1, x2, x3, x4, a, b);
        };
        V a0, a1, a2, a3, a4, b0, b1, b2, b3, b4;
        pool_row(r0, a0, b0);
        pool_row(r1, a1, b1);
        pool_row(r2, a2, b2);
        a3 = a4 = a2;
        b3 = b4 = b2;
        if constexpr (kSpan > 3) pool_row(r3, a3, b3);
        if constexpr (kSpan > 4) pool_row(r4, a4, b4);
        MaxPair<kKernel, kStride>(a0, a1, a2, a3, a4, a00, a10);
        MaxPair<kKernel, kStride>(b0, b1, b2, b3, b4, a01, a11);
      } else {
        using VI = hn::Vec<decltype(di)>;
        const VI n0 = hn::Set(di, static_cast<TI>(cols.place[0])), n1 = hn::Set(di, static_cast<TI>(cols.place[1])),
                 n2 = hn::Set(di, static_cast<TI>(cols.place[2])), n3 = hn::Set(di, static_cast<TI>(cols.place[3])),
                 n4 = hn::Set(di, static_cast<TI>(cols.place[4]));
        const auto pool_row = [&](const T* HWY_RESTRICT row, int place, V& a, V& b, VI& ia, VI& ib) HWY_ATTR {
          load_row(row, x0, x1, x2, x3, x4);
          ArgMaxPair<kKernel, kStride>(d, x0, x1, x2, x3, x4, n0, n1, n2, n3, n4, a, b, ia, ib);
          const VI name = hn::Set(di, static_cast<TI>(place * kKernel));
          ia = hn::Add(ia, name);
          ib = hn::Add(ib, name);
        };
        V a0, a1, a2, a3, a4, b0, b1, b2, b3, b4;
        VI i0, i1, i2, i3, i4, j0, j1, j2, j3, j4;
        pool_row(r0, rows.place[0], a0, b0, i0, j0);
        pool_row(r1, rows.place[1], a1, b1, i1, j1);
        pool_row(r2, rows.place[2], a2, b2, i2, j2);
        a3 = a4 = a2;
        b3 = b4 = b2;
        i3 = i4 = i2;
        j3 = j4 = j2;
        if constexpr (kSpan > 3) pool_row(r3, rows.place[3], a3, b3, i3, j3);
        if constexpr (kSpan > 4) pool_row(r4, rows.place[4], a4, b4, i4, j4);
        VI t00, t01, t10, t11;
        ArgMaxPair<kKernel, kStride>(d, a0, a1, a2, a3, a4, i0, i1, i2, i3, i4, a00, a10, t00, t10);
        ArgMaxPair<kKernel, kStride>(d, b0, b1, b2, b3, b4, j0, j1, j2, j3, j4, a01, a11, t01, t11);
        t01 = hn::Sub(t01, hn::Set(di, kStride));
        t10 = hn::Sub(t10, hn::Set(di, kStride * kKernel));
        t11 = hn::Sub(t11, hn::Set(di, kStride * kKernel + kStride));
        StoreTaps(di, t00, block.tap_bytes, t0 + (p0 + c) * block.tap_bytes);
        StoreTaps(di, t01, block.tap_bytes, t0 + (p1 + c) * block.tap_bytes);
        StoreTaps(di, t10, block.tap_bytes, t1 + (p0 + c) * block.tap_bytes);
        StoreTaps(di, t11, block.tap_bytes, t1 + (p1 + c) * block.tap_bytes);
      }
      L::Store(d, a00, y0 + o0 + c);
      L::Store(d, a01, y0 + o1 + c);
      L::Store(d, a10, y1 + o0 + c);
      L::Store(d, a11, y1 + o1 + c);
    }
  }
  return L::kTracksNan && !hn::AllFalse(d, nan);
}

// Returns whether a NaN was seen, in which case the values (and indices) of the block's lines may be wrong.
template <class L, bool kIndices, class T = typename L::Element>
bool PoolBlock(const Block<T>& block) {
  const Geometry& g = block.geometry;
  const Axis& height = g.axis[kHeight];
  const Axis& width = g.axis[kWidth];
  const bool fused = g.axis[kDepth].kernel == 1 && height.kernel == width.kernel && height.stride == width.stride &&
                     height.dilation == 1 && width.dilation == 1 && height.kernel >= 2 && height.stride <= 2 &&
                     width.output >= 2 && block.lines >= 2 &&
                     g.channels >= static_cast<int64_t>(hn::Lanes(hn::ScalableTag<typename L::Lane>()));
  bool (*pair)(const Block<T>&, int64_t) = nullptr;
  if (fused && height.kernel == 2) {
    pair = height.stride == 2 ? &PoolLinePair<L, 2, 2, kIndices> : &PoolLinePair<L, 2, 1, kIndices>;
  } else if (fused) {
    pair = height.stride == 2 ? &PoolLinePair<L, 3, 2, kIndices> : &PoolLinePair<L, 3, 1, kIndices>;
  }
  bool nan = false;
  if (pair != nullptr) {
    for (int64_t line = 0; line < block.lines; line += 2) nan |= pair(block, HWY_MIN(line, block.lines - 2));
  } else {
    for (int64_t line = 0; line < block.lines; ++line) nan |= PoolLine<L, kIndices>(block, line);
  }
  return nan;
}

}  // namespace channels_last

template <class T>
void WindowChannelsLast(const ForwardCall& call) {
  using L = WindowLanes<T>;
  // One NaN has this many lines redone.
  constexpr int64_t kBlockLines = 16;
  const Geometry& g = *call.geometry;
  const int64_t height = g.axis[kHeight].output, depth = g.axis[kDepth].output;
  for (int64_t begin = call.begin; begin < call.end;) {
    const int64_t oh = begin % height, od = begin / height % depth, n = begin / height / depth;
    int64_t lines = HWY_MIN(call.end - begin, height - oh);
    if (lines > kBlockLines + 1) lines = kBlockLines;  // never leaves a single line over
    const Strides& strides = call.taps.strides;
    uint8_t* taps = nullptr;
    if (call.taps.base != nullptr) {
      taps = static_cast<uint8_t*>(call.taps.base) +
             (n * strides.batch + od * strides.axis[kDepth] - call.taps.origin) * call.taps.bytes;
    }
    const channels_last::Block<T> block = {g,
                                           static_cast<const T*>(call.x) + n * g.input.batch,
                                           static_cast<T*>(call.y) + n * g.output.batch + od * g.output.axis[kDepth],
                                           taps,
                                           call.taps.bytes,
                                           strides,
                                           od,
                                           oh,
                                           lines};
    const bool nan =
        taps == nullptr ? channels_last::PoolBlock<L, false>(block) : channels_last::PoolBlock<L, true>(block);
    if (nan) {
      ForwardCall redo = call;
      redo.begin = begin;
      redo.end = begin + lines;
      Separable<T>(redo);
    }
    begin += lines;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_WINDOW_CHANNELS_LAST_INL_H_
