// SPDX-License-Identifier: Apache-2.0
// Backward of small windows over channels-last tensors as a gather: each pixel of dx sums the dy of the windows that
// name it. No zeroing pass and no scatter, and the order of summation is the serial one: ascending output position.
//
// Accepts channels-last geometries with u8 taps and kernels of at most 3; strides and padding are free, dilation is
// with stride 1 and no depth, but 16-bit sums are rounded once, so there no two windows may overlap along the depth.
// Fused are (kernel, stride) equal on height and width out of (3,2), (3,1), (2,1): 2x2 blocks of pixels that share
// their windows, or columns of pixels (16-bit sums with stride 1). Elsewhere each pixel gathers by itself. Windows
// apart are gather_apart-inl.h's if a vector of channels is there.
#if defined(PEAKPOOL_SRC_KERNELS_GATHER_CHANNELS_LAST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_GATHER_CHANNELS_LAST_INL_H_
#undef PEAKPOOL_SRC_KERNELS_GATHER_CHANNELS_LAST_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_GATHER_CHANNELS_LAST_INL_H_
#endif

#include <cstring>
#include <type_traits>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "src/kernels/compat-inl.h"
#include "src/kernels/gather_apart-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lane_tables-inl.h"
#include "src/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace channels_last {

// The tensors of one (batch, depth) plane.
template <class L>
struct GatherPlane {
  using T = typename L::Element;

  L lanes;
  const Geometry& geometry;
  const T* dy;
  const uint8_t* taps;
  T* dx;
  const Strides& tap_strides;
  bool accumulate;
  int tap_base;  // the number of the first tap of the windows' depth slice that this plane is
  bool far;      // whole vectors of dx are written around the caches, see WritesAroundCaches
};

// Whether vectors are aligned, too.
template <class T>
bool WritesAroundCaches(const BackwardCall& call) {
  const Geometry& g = *call.geometry;
  const int64_t vector = static_cast<int64_t>(hn::Lanes(hn::ScalableTag<uint8_t>()));
  const int64_t size = static_cast<int64_t>(sizeof(T)), n = vector / size;
  const Strides& s = g.input;
  const bool aligned = ((s.batch | s.axis[kDepth] | s.axis[kHeight] | s.axis[kWidth] | g.channels) & (n - 1)) == 0 &&
                       reinterpret_cast<uintptr_t>(call.dx) % static_cast<uintptr_t>(vector) == 0;
  return aligned && apart::WritesAroundCaches(call, sizeof(T));
}

// The `count` windows that cover position i of an axis, ascending, from `first` on, each `step` from the one before;
// and i's tap number in the first. Dilated windows have stride 1.
struct Cover {
  int64_t first, step;
  int count, tap;

  Cover(const Axis& axis, int64_t i) : step(axis.kernel == 1 ? 1 : axis.dilation) {
    const int64_t at = i + axis.pad_before;
    const int64_t last = HWY_MIN(at / axis.stride, axis.output - 1);
    if (step == 1) {
      first = at < axis.kernel ? 0 : (at - axis.kernel) / axis.stride + 1;
      count = static_cast<int>(HWY_MAX(int64_t{0}, last - first + 1));
      tap = static_cast<int>(at - first * axis.stride);
    } else {
      tap = static_cast<int>(HWY_MIN(axis.kernel - 1, at / step));
      first = at - tap * step;
      count = first > last ? 0 : static_cast<int>((last - first) / step) + 1;
    }
  }
  int64_t Last() const { return first + (HWY_MAX(count, 1) - 1) * step; }
};

template <class D, class V, class Taps>
HWY_INLINE void AddWhere(D d, Taps taps, int tap, V g, V& sum) {
  sum = hn::IfThenElse(TapIs(d, taps, tap), hn::Add(sum, g),
                       sum);  // one masked add
}

// Stores sums for channels from `at` on, of which those below c are done: when accumulating they must not change again.
template <class L, class D, class V, class T = typename L::Element>
HWY_INLINE void StoreSum(L lanes, D d, V sum, bool redone, int64_t done, T* HWY_RESTRICT dx) {
  if (HWY_UNLIKELY(redone)) sum = hn::IfThenElse(hn::FirstN(d, static_cast<size_t>(done)), lanes.Load(d, dx), sum);
  lanes.Store(d, sum, dx);
}

// Makes NaNs of an input line canonical.
template <class L, class T = typename L::Element>
HWY_NOINLINE void CanonicalLine(const GatherPlane<L>& plane, T* HWY_RESTRICT line) {
  const Geometry& g = plane.geometry;
  for (int64_t i = 0; i < g.axis[kWidth].input; ++i)
    plane.lanes.CanonicalRun(g.channels, line + i * g.input.axis[kWidth]);
}

// `channels` elements of dx from pixel w.first's windows on. False if there may be a NaN.
template <class L, class D, class T = typename L::Element>
HWY_INLINE bool SumPixel(D d, const GatherPlane<L>& plane, const Cover& h, const Cover& w, int64_t channels,
                         T* HWY_RESTRICT dx) {
  const Geometry& g = plane.geometry;
  const int kernel = static_cast<int>(g.axis[kWidth].kernel);
  const int stride_h = static_cast<int>(g.axis[kHeight].stride), stride_w = static_cast<int>(g.axis[kWidth].stride);
  const int64_t dy_pitch_h = h.step * g.output.axis[kHeight], dy_pitch_w = w.step * g.output.axis[kWidth];
  const int64_t tap_pitch_h = h.step * plane.tap_strides.axis[kHeight];
  const int64_t tap_pitch_w = w.step * plane.tap_strides.axis[kWidth];
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int first_tap = plane.tap_base + h.tap * kernel + w.tap;
  const T* HWY_RESTRICT dy = plane.dy + h.first * g.output.axis[kHeight] + w.first * g.output.axis[kWidth];
  const uint8_t* HWY_RESTRICT taps =
      plane.taps + h.first * plane.tap_strides.axis[kHeight] + w.first * plane.tap_strides.axis[kWidth];
  auto nan = hn::Zero(d);
  for (int64_t c = 0; c < channels; c += lanes) {
    const int64_t at = HWY_MIN(c, channels - lanes);
    auto sum = hn::Zero(d);
    if (plane.accumulate) sum = plane.lanes.Load(d, dx + at);
    const T* dy_row = dy + at;
    const uint8_t* tap_row = taps + at;
    int row_tap = first_tap;
    for (int r = 0; r < h.count; ++r, dy_row += dy_pitch_h, tap_row += tap_pitch_h, row_tap -= stride_h * kernel) {
      const T* p = dy_row;
      const uint8_t* t = tap_row;
      int tap = row_tap;
      for (int q = 0; q < w.count; ++q, p += dy_pitch_w, t += tap_pitch_w, tap -= stride_w) {
        AddWhere(d, LoadTaps(d, t), tap, plane.lanes.Load(d, p), sum);
      }
    }
    nan = L::NoteNan(d, nan, sum);
    StoreSum(plane.lanes, d, sum, plane.accumulate && at != c, c - at, dx + at);
  }
  return L::NoNan(d, nan);
}

// One input line, each pixel by itself.
template <class L, class T = typename L::Element>
HWY_NOINLINE void SumPixels(const GatherPlane<L>& plane, const Cover& h, T* HWY_RESTRICT line) {
  const hn::ScalableTag<typename L::Lane> d;
  const hn::CappedTag<typename L::Lane, 16 / sizeof(typename L::Lane)> d128;
  const hn::CappedTag<typename L::Lane, 1> d1;
  const Geometry& g = plane.geometry;
  const Axis& width = g.axis[kWidth];
  const int64_t channels = g.channels, lanes = static_cast<int64_t>(hn::Lanes(d));
  const bool dense = g.input.axis[kWidth] == channels && g.output.axis[kWidth] == channels &&
                     plane.tap_strides.axis[kWidth] == channels;
  bool ordered = true;
  for (int64_t i = 0; i < width.input;) {
    const Cover w(width, i);
    int64_t pixels = 1, run = channels;
    if (dense && width.stride == 1 && w.count == width.kernel) {
      // With stride 1, neighbouring pixels that all their windows cover form one long run whatever the channels.
      pixels = width.output - w.Last();
      run = pixels * channels;
    } else if (dense && channels < lanes && !plane.accumulate) {
      // Few channels: a whole vector spills into the next pixels of dx, which overwrite it.
      const int64_t readable = (width.output - w.Last()) * channels;
      if (HWY_MIN(readable, (width.input - i) * channels) >= lanes) run = lanes;
    }
    T* dx = line + i * g.input.axis[kWidth];
    if (run >= lanes) {
      ordered &= SumPixel<L>(d, plane, h, w, run, dx);
    } else if (run >= static_cast<int64_t>(hn::Lanes(d128))) {
      ordered &= SumPixel<L>(d128, plane, h, w, run, dx);
    } else {
      ordered &= SumPixel<L>(d1, plane, h, w, run, dx);
    }
    i += pixels;
  }
  if (HWY_UNLIKELY(!ordered)) CanonicalLine<L>(plane, line);
}

// Few channels: input lines of whole vectors of pixels, each from one or two vectors of every line of windows that hold
// all the windows of these pixels. Which lane each window is, and which tap of it the pixel, are tables, one per
// neighbouring window; the first and last vectors of a line have tables of their own. Does not accumulate.
template <class L, class T = typename L::Element>
class ShuffledSum {
 public:
  using D = hn::ScalableTag<typename L::Lane>;
  using DI = hn::RebindToSigned<D>;
  using TI = hn::TFromD<DI>;

  [[gnu::cold]] ShuffledSum(const BackwardCall& call)
      : width_(call.geometry->axis[kWidth]),
        channels_(call.geometry->channels),
        neighbours_((width_.kernel + width_.stride - 1) / width_.stride),
        tables_(call.scratch, 2 * neighbours_ * static_cast<int64_t>(hn::Lanes(D()))) {
    const Geometry& g = *call.geometry;
    const int64_t n = static_cast<int64_t>(hn::Lanes(D()));
    if (call.accumulate || g.input.axis[kWidth] != channels_ || g.output.axis[kWidth] != channels_ ||
        call.taps.strides.axis[kWidth] != channels_ || width_.dilation != 1 || g.axis[kHeight].dilation != 1) {
      return;
    }
    // Whole strides, so that all vectors of the middle see the same.
    int64_t pixels = n / channels_ / width_.stride * width_.stride;
    const auto windows = [&] { return (pixels - 1 + width_.kernel - 1) / width_.stride + 1 + (width_.stride > 1); };
    while (pixels > 0 && windows() * channels_ > 2 * n) pixels -= width_.stride;
    reach_ = windows() * channels_ > n ? 2 * n : n;
    if (pixels > width_.input || width_.output * channels_ < reach_) return;
    pixels_ = pixels;
    last_ = HWY_MIN(
        width_.output * width_.stride - width_.pad_before - pixels_,
        (width_.output - 1 - (reach_ + channels_ - 1) / channels_) * width_.stride - width_.pad_before + width_.kernel);
  }

  // Whether this form takes the geometry and gains by it.
  bool IsWorth() const { return pixels_ >= 2; }

  // One input line, which the lines of windows in h cover.
  HWY_NOINLINE void Line(const GatherPlane<L>& plane, const Cover& h, T* HWY_RESTRICT dx) {
    const D d;
    const DI di;
    const hn::Rebind<uint8_t, D> d8;
    const Geometry& g = plane.geometry;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d)), size = width_.input * channels_;
    const int64_t pixels = pixels_, last = last_, neighbours = neighbours_;
    const bool two = reach_ > n;
    const int stride = static_cast<int>(g.axis[kHeight].stride), kernel = static_cast<int>(width_.kernel);
    if (tables_.empty()) Table(kMiddle);
    const int64_t step = pixels / width_.stride * channels_, end = width_.input - pixels;
    int64_t middle = FirstWindow(0) * channels_;
    auto nan = hn::Zero(d);
    for (int64_t i = 0; i < end + pixels; i += pixels, middle += step) {
      const TI* HWY_RESTRICT table = tables_.first();
      int64_t at = middle;
      if (HWY_UNLIKELY(at < 0 || i > last || i > end)) {
        i = HWY_MIN(i, end);
        table = Table(i);
        at = Base(i);
      }
      auto sum = hn::Zero(d);
      const T* HWY_RESTRICT dy = plane.dy + h.first * g.output.axis[kHeight] + at;
      const uint8_t* HWY_RESTRICT taps = plane.taps + h.first * plane.tap_strides.axis[kHeight] + at;
      for (int r = 0; r < h.count; ++r) {
        const auto lo = plane.lanes.Load(d, dy);
        const auto tap_lo = Widen(di, hn::LoadU(d8, taps));
        auto hi = lo;
        auto tap_hi = tap_lo;
        if (two) {
          hi = plane.lanes.Load(d, dy + n);
          tap_hi = Widen(di, hn::LoadU(d8, taps + n));
        }
        const auto row_name = hn::Set(di, static_cast<TI>(plane.tap_base + (h.tap - r * stride) * kernel));
        for (int64_t q = 0; q < neighbours; ++q) {
          const auto from = hn::Load(di, table + 2 * q * n);
          const auto name = hn::Add(hn::Load(di, table + (2 * q + 1) * n), row_name);
          const auto chosen = hn::RebindMask(d, hn::Eq(LookupTwo(di, tap_lo, tap_hi, from), name));
          sum = hn::IfThenElse(chosen, hn::Add(sum, LookupTwo(d, lo, hi, from)), sum);
        }
        dy += g.output.axis[kHeight];
        taps += plane.tap_strides.axis[kHeight];
      }
      nan = L::NoteNan(d, nan, sum);
      const int64_t to = i * channels_;
      if (HWY_LIKELY(to + n <= size)) {
        plane.lanes.Store(d, sum, dx + to);  // what spills into the next pixels is overwritten with them
      } else {
        HWY_ALIGN T values[hn::MaxLanes(d)];
        plane.lanes.Store(d, sum, values);
        std::memcpy(dx + to, values, static_cast<size_t>(pixels_ * channels_) * sizeof(T));
      }
    }
    if (HWY_UNLIKELY(!L::NoNan(d, nan))) CanonicalLine<L>(plane, dx);
  }

 private:
  static constexpr int64_t kMiddle = -1;

  static HWY_INLINE hn::Vec<DI> Widen(DI di, hn::Vec<hn::Rebind<uint8_t, D>> taps) {
    if constexpr (sizeof(TI) == 8) {
      return hn::PromoteTo(di, hn::PromoteTo(hn::Rebind<int32_t, D>(), taps));
    } else {
      return hn::PromoteTo(di, taps);
    }
  }

  // The first window that covers pixel i, were there windows without end on either side.
  int64_t FirstWindow(int64_t i) const {
    const int64_t beyond =
        i + width_.pad_before - width_.kernel + 2 * width_.stride;  // not negative, or the stride is 1
    return beyond / width_.stride - 1;
  }

  // Where in a line of windows the two vectors for the pixels from i on begin.
  int64_t Base(int64_t i) const {
    return HWY_MAX(int64_t{0}, HWY_MIN(FirstWindow(i) * channels_, width_.output * channels_ - reach_));
  }

  // For the pixels from i on or, if kMiddle, for any from a multiple of the stride on that all their windows exist for:
  // the lane of each window, and the tap column of the pixel there.
  [[gnu::cold]] HWY_NOINLINE const TI* Table(int64_t i) {
    return tables_.Find(i, [&](TI* HWY_RESTRICT table) {
      const int64_t n = static_cast<int64_t>(hn::Lanes(D()));
      const int64_t first = i == kMiddle ? 0 : i, base = i == kMiddle ? FirstWindow(0) * channels_ : Base(i);
      for (int64_t q = 0; q < neighbours_; ++q) {
        TI* HWY_RESTRICT from = table + 2 * q * n;
        for (int64_t p = 0; p < pixels_; ++p) {
          const int64_t window = FirstWindow(first + p) + q;
          const int64_t tap = first + p + width_.pad_before - window * width_.stride;
          const bool exists = tap >= 0 && (i == kMiddle || (window >= 0 && window < width_.output));
          for (int64_t c = 0; c < channels_; ++c) {
            from[p * channels_ + c] = exists ? static_cast<TI>(window * channels_ + c - base) : TI{0};
            from[n + p * channels_ + c] = exists ? static_cast<TI>(tap) : TI{-100};  // no tap's number in any row
          }
        }
      }
    });
  }

  const Axis width_;
  const int64_t channels_, neighbours_;
  LaneTables<TI> tables_;  // the first is the middle's
  int64_t pixels_ = 0;     // per vector
  int64_t reach_ = 0;      // elements that a vector's windows lie within: those of one vector or two
  int64_t last_ = 0;       // the last pixel where a vector of the middle begins
};

// A 2x2 block of pixels that begins where a window begins (or, with stride 1, anywhere) lies in a square of windows,
// kSide to a side; kTap is the first pixel's tap number, along either axis, in the first of them.
template <int kKernel, int kStride>
struct BlockCover {
  static constexpr int kSide = kStride == 1 ? kKernel + 1 : kKernel - 1;
  static constexpr int kTap = kKernel - 1;
};

// Adds window (kRow, kColumn) of the square to each pixel of the block that it covers.
template <class L, int kKernel, int kStride, int kRow, int kColumn, class D, class V = hn::Vec<D>,
          class T = typename L::Element>
HWY_INLINE void AddWindow(L lanes, D d, const T* base, const int64_t* dy, const uint8_t* const* taps, int64_t at,
                          V& s00, V& s01, V& s10, V& s11) {
  using Block = BlockCover<kKernel, kStride>;
  constexpr int kh = Block::kTap - kRow * kStride, kw = Block::kTap - kColumn * kStride;
  if constexpr (kRow < Block::kSide && kColumn < Block::kSide) {
    constexpr bool kTop = 0 <= kh && kh < kKernel, kBottom = 0 <= kh + 1 && kh + 1 < kKernel;
    constexpr bool kLeft = 0 <= kw && kw < kKernel, kRight = 0 <= kw + 1 && kw + 1 < kKernel;
    const V g = lanes.Load(d, base + dy[kRow * Block::kSide + kColumn] + at);
    const auto tap = LoadTaps(d, taps[kRow * Block::kSide + kColumn] + at);
    if constexpr (kTop && kLeft) AddWhere(d, tap, kh * kKernel + kw, g, s00);
    if constexpr (kTop && kRight) AddWhere(d, tap, kh * kKernel + kw + 1, g, s01);
    if constexpr (kBottom && kLeft) AddWhere(d, tap, (kh + 1) * kKernel + kw, g, s10);
    if constexpr (kBottom && kRight) AddWhere(d, tap, (kh + 1) * kKernel + kw + 1, g, s11);
  }
}

// The square of windows that a block lies in. Those that are not there have taps that match nothing.
struct Square {
  int64_t side, windows, pitch, tap_pitch;
  int64_t step;  // columns from one block to the next
  int64_t row_offset[4];
  const uint8_t* row_taps[4];  // null: not there
  const uint8_t* none;
  bool inside = false;  // no column lies before the first
  // Of each window, in dy and in memory, and how far they move with the block.
  int64_t offset[16], offset_step[16], tap_step[16];
  const uint8_t* taps[16];

  // That from a column on, the next block's or any. (Called, with a loop of any side: up to 5 % longer.)
  template <int kSide>
  HWY_INLINE void MoveTo(int64_t column) {
    if (HWY_LIKELY(inside && column + kSide <= windows)) {
      for (int i = 0; i < kSide * kSide; ++i) {
        offset[i] += offset_step[i];
        taps[i] += tap_step[i];
      }
    } else {
      Begin(column);
    }
  }

  // One function for all kinds of windows: inlined it was half of their size.
  [[gnu::cold]] HWY_NOINLINE void Begin(int64_t column) {
    inside = column >= 0;
    int64_t i = 0;
    for (int64_t r = 0; r < side; ++r) {
      for (int64_t q = 0; q < side; ++q, ++i) {
        int64_t ow = column + q;
        HideValue(ow);
        const bool exists = row_taps[r] != nullptr && ow >= 0 && ow < windows;
        offset[i] = exists ? row_offset[r] + ow * pitch : 0;
        taps[i] = exists ? row_taps[r] + ow * tap_pitch : none;
        offset_step[i] = exists ? step * pitch : 0;
        tap_step[i] = exists ? step * tap_pitch : 0;
      }
    }
  }
};

// Input lines h and h + 1, those of them that `top` and `bottom` ask for, in blocks of 2x2 pixels with channels
// innermost. What a block lacks is made up: a window beyond the tensor's edges, or that touches no line asked for (its
// taps may not be there), has taps that match nothing (`none`, for all channels), a missing pixel is summed into
// `spare`.
template <class L, class Kind, int kKernel, int kStride, class T = typename L::Element>
HWY_NOINLINE void SumLinePair(const GatherPlane<L>& plane, int64_t h, bool top, bool bottom, const uint8_t* none,
                              T* spare) {
  constexpr int kSide = BlockCover<kKernel, kStride>::kSide;
  const hn::ScalableTag<typename L::Lane> d;
  constexpr Kind kind;
  const T* const dy = plane.dy;
  const bool far = plane.far;
  const Geometry& g = plane.geometry;
  const Axis& height = g.axis[kHeight];
  const Axis& width = g.axis[kWidth];
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d)), channels = g.channels;
  const bool accumulate = plane.accumulate;
  const int64_t row = (h + height.pad_before) / kStride - (kSide - 1) + (kStride == 1);
  const int64_t first_line = h + !top, last_line = h + bottom;
  Square square;
  square.side = kSide;
  square.windows = width.output;
  square.pitch = g.output.axis[kWidth];
  square.tap_pitch = plane.tap_strides.axis[kWidth];
  square.step = 2 / kStride;
  square.none = none;
  for (int r = 0; r < kSide; ++r) {
    const int64_t begin = height.Begin(row + r);
    const bool exists = row + r >= 0 && row + r < height.output && begin <= last_line && begin + kKernel > first_line;
    square.row_offset[r] = exists ? (row + r) * g.output.axis[kHeight] : 0;
    square.row_taps[r] = exists ? plane.taps + (row + r) * plane.tap_strides.axis[kHeight] : nullptr;
  }
  auto nan = hn::Zero(d);
  for (int64_t i = kStride == 2 ? -(width.pad_before % 2) : 0; i < width.input; i += 2) {
    const int64_t column = (i + width.pad_before) / kStride - (kSide - 1) + (kStride == 1);
    square.MoveTo<kSide>(column);
    const bool left = i >= 0, right = i + 1 < width.input;
    const int64_t pixel = h * g.input.axis[kHeight] + i * g.input.axis[kWidth];
    T* dx00 = top && left ? plane.dx + pixel : spare;
    T* dx01 = top && right ? plane.dx + pixel + g.input.axis[kWidth] : spare;
    T* dx10 = bottom && left ? plane.dx + pixel + g.input.axis[kHeight] : spare;
    T* dx11 = bottom && right ? plane.dx + pixel + g.input.axis[kHeight] + g.input.axis[kWidth] : spare;
    for (int64_t c = 0; c < channels; c += lanes) {
      const int64_t at = HWY_MIN(c, channels - lanes);
      auto s00 = hn::Zero(d), s01 = s00, s10 = s00, s11 = s00;
      if (accumulate) {
        s00 = kind.Load(d, dx00 + at);
        s01 = kind.Load(d, dx01 + at);
        s10 = kind.Load(d, dx10 + at);
        s11 = kind.Load(d, dx11 + at);
      }
      AddWindow<Kind, kKernel, kStride, 0, 0>(kind, d, dy, square.offset, square.taps, at, s00, s01, s10, s11);
      AddWindow<Kind, kKernel, kStride, 0, 1>(kind, d, dy, square.offset, square.taps, at, s00, s01, s10, s11);
      AddWindow<Kind, kKernel, kStride, 0, 2>(kind, d, dy, square.offset, square.taps, at, s00, s01, s10, s11);
      AddWindow<Kind, kKernel, kStride, 0, 3>(kind, d, dy, square.offset, square.taps, at, s00, s01, s10, s11);
      AddWindow<Kind, kKernel, kStride, 1, 0>(kind, d, dy, square.offset, square.taps, at, s00, s01, s10, s11);
      AddWindow<Kind, kKernel, kStride, 1, 1>(kind, d, dy, square.offset, square.taps, at, s00, s01, s10, s11);
      AddWindow<Kind, kKernel, kStride, 1, 2>(kind, d, dy, square.offset, square.taps, at, s00, s01, s10, s11);
      AddWindow<Kind, kKernel, kStride, 1, 3>(kind, d, dy, square.offset, square.taps, at, s00, s01, s10, s11);
      AddWindow<Kind, kKernel, kStride, 2, 0>(kind, d, dy, square.offset, square.taps, at, s00, s01, s10, s11);
      AddWindow<Kind, kKernel, kStride, 2, 1>(kind, d, dy, square.offset, square.taps, at, s00, s01, s10, s11);
      AddWindow<Kind, kKernel, kStride, 2, 2>(kind, d, dy, square.offset, square.taps, at, s00, s01, s10, s11);
      AddWindow<Kind, kKernel, kStride, 2, 3>(kind, d, dy, square.offset, square.taps, at, s00, s01, s10, s11);
      AddWindow<Kind, kKernel, kStride, 3, 0>(kind, d, dy, square.offset, square.taps, at, s00, s01, s10, s11);
      AddWindow<Kind, kKernel, kStride, 3, 1>(kind, d, dy, square.offset, square.taps, at, s00, s01, s10, s11);
      AddWindow<Kind, kKernel, kStride, 3, 2>(kind, d, dy, square.offset, square.taps, at, s00, s01, s10, s11);
      AddWindow<Kind, kKernel, kStride, 3, 3>(kind, d, dy, square.offset, square.taps, at, s00, s01, s10, s11);
      nan = L::NoteNan(d, nan, hn::Add(hn::Add(s00, s01), hn::Add(s10, s11)));
      const bool redone = accumulate && at != c;
      if constexpr (std::is_floating_point<T>::value) {
        if (HWY_UNLIKELY(far)) {
          hn::Stream(s00, d, dx00 + at);
          hn::Stream(s01, d, dx01 + at);
          hn::Stream(s10, d, dx10 + at);
          hn::Stream(s11, d, dx11 + at);
          continue;
        }
      }
      StoreSum(kind, d, s00, redone, c - at, dx00 + at);
      StoreSum(kind, d, s01, redone, c - at, dx01 + at);
      StoreSum(kind, d, s10, redone, c - at, dx10 + at);
      StoreSum(kind, d, s11, redone, c - at, dx11 + at);
    }
  }
  if (HWY_UNLIKELY(!L::NoNan(d, nan))) {
    T* const line = plane.dx + h * g.input.axis[kHeight];
    if (top) CanonicalLine<L>(plane, line);
    if (bottom) CanonicalLine<L>(plane, line + g.input.axis[kHeight]);
  }
}

// Input lines [h_begin, h_end) under windows of stride 1: a vector of channels of a column of pixels walks down the
// lines of windows. Each line is loaded once per column of the window and meets the kKernel pixels that it covers, of
// which one is then complete; the others' sums are carried in registers. For the 16-bit floats, whose loads and stores
// convert: 0.8 to 0.93 of the time that 2x2 blocks take. (f32: 0.8 times in L1, 1.05 to 1.5 times beyond, for all lines
// are far apart, and not less with some hundred channels at a time or fewer lines.)
template <class Kind, int kKernel, class L = HalfSumLanes, class T = HalfFloat>
HWY_NOINLINE void SumColumns(const GatherPlane<L>& plane, int64_t h_begin, int64_t h_end) {
  constexpr Kind kind;
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const Geometry& g = plane.geometry;
  const Axis &height = g.axis[kHeight], &width = g.axis[kWidth];
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d)), channels = g.channels;
  const int64_t dx_pitch = g.input.axis[kHeight], dy_pitch = g.output.axis[kHeight],
                tap_pitch = plane.tap_strides.axis[kHeight];
  const bool accumulate = plane.accumulate;
  const int64_t lines = h_end - h_begin, first_line = h_begin + height.pad_before - (kKernel - 1);
  // Steps count from the one that completes h_begin. Of these there are lines of windows.
  const int64_t dy_begin = HWY_MAX(first_line, int64_t{0}) - first_line - (kKernel - 1);
  const int64_t window_lines = width.output == 0 ? 0 : height.output;
  const int64_t dy_end = HWY_MIN(h_end + height.pad_before, window_lines) - first_line - (kKernel - 1);
  const auto row0 = InRegister(SetTap(d, kKernel - 1)), row1 = InRegister(SetTap(d, 2 * kKernel - 1)),
             row2 = InRegister(SetTap(d, 3 * kKernel - 1));
  for (int64_t c = 0; c < channels; c += lanes) {
    const int64_t at = HWY_MIN(c, channels - lanes);
    const bool redone = accumulate && at != c;
    for (int64_t w = 0; w < width.input; ++w) {
      // The columns of windows that are there, from the `column`th of the window on; taps are added so much to that
      // those of a pixel are the last of their rows for all columns.
      const int64_t left = w + width.pad_before - (kKernel - 1), begin = HWY_MAX(left, int64_t{0});
      const int64_t count = HWY_MIN(left + kKernel, width.output) - begin, skipped = begin - left;
      const auto added = [&](int64_t i) HWY_ATTR {
        return InRegister(SetTap(d, i < count ? static_cast<int>(skipped + i) : 255));
      };
      const auto add0 = added(0), add1 = added(1), add2 = added(2);
      const T* HWY_RESTRICT dy = plane.dy + (at + (first_line + kKernel - 1 + dy_begin) * dy_pitch);
      const uint8_t* HWY_RESTRICT taps = plane.taps + (at + (first_line + kKernel - 1 + dy_begin) * tap_pitch);
      int64_t dy1 = 0, dy2 = 0, taps1 = 0, taps2 = 0;
      if (count > 0) dy += begin * g.output.axis[kWidth], taps += begin * plane.tap_strides.axis[kWidth];
      if (count > 1) dy1 = g.output.axis[kWidth], taps1 = plane.tap_strides.axis[kWidth];
      if (count > 2) dy2 = 2 * dy1, taps2 = 2 * taps1;
      T* HWY_RESTRICT dx = plane.dx + (at + (h_begin - (kKernel - 1)) * dx_pitch + w * g.input.axis[kWidth]);
      V sum0 = hn::Zero(d), sum1 = sum0;
      for (int64_t i = 1 - kKernel; i < lines; ++i, dx += dx_pitch) {
        V sum2 = hn::Zero(d);
        if constexpr (kKernel == 2) sum1 = sum2;
        if (HWY_UNLIKELY(accumulate) && i + kKernel - 1 < lines) {
          (kKernel == 2 ? sum1 : sum2) = kind.Load(d, dx + (kKernel - 1) * dx_pitch);
        }
        if (HWY_LIKELY(i >= dy_begin && i < dy_end)) {
          const auto add_column = [&](int64_t dy_at, int64_t taps_at, auto add) HWY_ATTR {
            const V from = InRegister(kind.Load(d, dy + dy_at));
            const auto numbers = AddTaps(d, LoadTaps(d, taps + taps_at), add);
            sum0 = hn::IfThenElse(TapsEqual(d, numbers, row0), hn::Add(sum0, from), sum0);
            sum1 = hn::IfThenElse(TapsEqual(d, numbers, row1), hn::Add(sum1, from), sum1);
            if constexpr (kKernel == 3) sum2 = hn::IfThenElse(TapsEqual(d, numbers, row2), hn::Add(sum2, from), sum2);
          };
          add_column(0, 0, add0);
          add_column(dy1, taps1, add1);
          if constexpr (kKernel == 3) add_column(dy2, taps2, add2);
          dy += dy_pitch;
          taps += tap_pitch;
        }
        if (HWY_LIKELY(i >= 0)) StoreSum(kind, d, sum0, redone, c - at, dx);
        sum0 = sum1;
        sum1 = sum2;
      }
    }
  }
}

// Lines at once: few enough for what columns of pixels share to stay in L1.
constexpr int64_t kColumnLines = 32;

// The kernels for a pair of lines, or for any number, of windows of one size.
template <class L>
struct LineKernels {
  void (*pair)(const GatherPlane<L>&, int64_t, bool, bool, const uint8_t*, typename L::Element*);
  void (*columns)(const GatherPlane<L>&, int64_t, int64_t);

  void Run(const GatherPlane<L>& plane, int64_t h, int64_t h_end, const uint8_t* none,
           typename L::Element* spare) const {
    if (columns != nullptr) return columns(plane, h, h_end);
    for (; h < h_end; h += 2) pair(plane, h, true, h + 1 < h_end, none, spare);
  }
};
template <class T>
LineKernels<SumLanes<T>> LineKernelsOf(SumLanes<T> /*lanes*/, const Axis& axis) {
  using L = SumLanes<T>;
  if (axis.kernel == 3 && axis.stride == 2) return {&SumLinePair<L, L, 3, 2>, nullptr};
  if (axis.kernel == 3 && axis.stride == 1) return {&SumLinePair<L, L, 3, 1>, nullptr};
  if (axis.kernel == 2 && axis.stride == 1) return {&SumLinePair<L, L, 2, 1>, nullptr};
  return {nullptr, nullptr};
}
template <class Kind>
LineKernels<HalfSumLanes> HalfLineKernels(const Axis& axis) {
  if (axis.kernel == 3 && axis.stride == 2) return {&SumLinePair<HalfSumLanes, Kind, 3, 2>, nullptr};
  if (axis.kernel == 3 && axis.stride == 1) return {nullptr, &SumColumns<Kind, 3>};
  if (axis.kernel == 2 && axis.stride == 1) return {nullptr, &SumColumns<Kind, 2>};
  return {nullptr, nullptr};
}
inline LineKernels<HalfSumLanes> LineKernelsOf(HalfSumLanes lanes, const Axis& axis) {
  return lanes.f16 ? HalfLineKernels<FiniteHalfSumLanes<F16>>(axis) : HalfLineKernels<FiniteHalfSumLanes<BF16>>(axis);
}

// Whether no sum of input lines [h, h_end) needs to be looked at: for f32 and f64 the kernels see to that, 16-bit sums
// cannot be NaN where all of dy, and of dx if that is added to, is finite. (Looking at each took 1.1 times as long.)
template <class T>
bool IsFinite(const GatherPlane<SumLanes<T>>& /*plane*/, int64_t /*h*/, int64_t /*h_end*/) {
  return true;
}
inline bool IsFinite(const GatherPlane<HalfSumLanes>& plane, int64_t h, int64_t h_end) {
  const Geometry& g = plane.geometry;
  const int16_t inf = plane.lanes.f16 ? FloatBits<F16>::kInf : FloatBits<BF16>::kInf;
  const auto lines = [&](const HalfFloat* base, const Strides& strides, int64_t pixels, int64_t begin, int64_t end) {
    const bool dense = strides.axis[kWidth] == g.channels;
    bool finite = true;
    for (; begin < end && finite; ++begin) {
      const HalfFloat* const line = base + begin * strides.axis[kHeight];
      for (int64_t i = 0; i < (dense ? 1 : pixels); ++i) {
        finite &= AllFinite(line + i * strides.axis[kWidth], dense ? pixels * g.channels : g.channels, inf);
      }
    }
    return finite;
  };
  const Axis &height = g.axis[kHeight], &width = g.axis[kWidth];
  return lines(plane.dy, g.output, width.output, height.FirstTouching(h), height.TouchingEnd(h_end)) &&
         (!plane.accumulate || lines(plane.dx, g.input, width.input, h, h_end));
}

// Taps of window lines [begin, end) as numbers within the slice of the windows' depth that `plane` is, without gaps.
template <class L>
HWY_NOINLINE void RebaseLines(const GatherPlane<L>& plane, int64_t begin, int64_t end, uint8_t* HWY_RESTRICT to) {
  const Strides& strides = plane.tap_strides;
  const int64_t channels = plane.geometry.channels, windows = plane.geometry.axis[kWidth].output;
  const bool dense = strides.axis[kWidth] == channels;
  const int64_t runs = dense ? 1 : windows, run = dense ? windows * channels : channels;
  for (int64_t line = begin; line < end; ++line) {
    for (int64_t i = 0; i < runs; ++i, to += run) {
      apart::RebaseTaps(plane.taps + line * strides.axis[kHeight] + i * strides.axis[kWidth], run, plane.tap_base, to);
    }
  }
}

// Input lines [h, h_end) under dilated windows: pixels as far apart as taps are share windows with each other alone, as
// if that were all of the plane. (Each pixel by itself took 1.8 times as long, 2.2 on AVX2.)
template <class L>
[[gnu::cold]] HWY_NOINLINE void SumPhases(const GatherPlane<L>& plane, int64_t h, int64_t h_end,
                                          const LineKernels<L>& kernels, const uint8_t* none,
                                          typename L::Element* spare) {
  const Axis &height = plane.geometry.axis[kHeight], &width = plane.geometry.axis[kWidth];
  for (int64_t i = 0; i < HWY_MIN(height.dilation, h_end - h); ++i) {
    for (int64_t j = 0; j < HWY_MIN(width.dilation, width.input); ++j) {
      Geometry g = plane.geometry;
      Strides tap_strides = plane.tap_strides;
      int64_t oh, ow;
      const int64_t rows = (h_end - h - i + height.dilation - 1) / height.dilation;
      const int64_t columns = (width.input - j + width.dilation - 1) / width.dilation;
      g.axis[kHeight] = apart::Part(height, h + i, rows, height.dilation, &oh);
      g.axis[kWidth] = apart::Part(width, j, columns, width.dilation, &ow);
      // Where there are no windows, those of the plane are read in vain.
      const bool none_here = g.axis[kHeight].output == 0 || g.axis[kWidth].output == 0;
      const int64_t dy = none_here ? 0 : oh * g.output.axis[kHeight] + ow * g.output.axis[kWidth];
      const int64_t taps = oh * tap_strides.axis[kHeight] + ow * tap_strides.axis[kWidth];
      const int64_t dx = (h + i) * g.input.axis[kHeight] + j * g.input.axis[kWidth];
      for (Strides* strides : {&g.input, &g.output, &tap_strides}) {
        strides->axis[kHeight] *= height.dilation;
        strides->axis[kWidth] *= width.dilation;
      }
      const GatherPlane<L> phase = {plane.lanes,      g, plane.dy + dy, plane.taps + taps, plane.dx + dx, tap_strides,
                                    plane.accumulate, 0, false};
      kernels.Run(phase, 0, rows, none, spare);
    }
  }
}

// The 16-bit floats share it; the kernels above that have lines of whole vectors of channels are compiled for either.
template <class L, class I>
[[gnu::cold]] HWY_NOINLINE void Gather(const BackwardCall& call, L lanes, const apart::Element<I>& element) {
  using T = typename L::Element;
  const Geometry& g = *call.geometry;
  const Axis& depth = g.axis[kDepth];
  const Axis& height = g.axis[kHeight];
  const Axis& width = g.axis[kWidth];
  LineKernels<L> kernels = {nullptr, nullptr};
  uint8_t* none = static_cast<uint8_t*>(call.scratch);
  const int64_t spare = (g.channels + 63) / 64 * 64;
  const bool dilated = height.dilation != 1 || width.dilation != 1;
  if (height.kernel == width.kernel && height.stride == width.stride &&
      g.channels >= static_cast<int64_t>(hn::Lanes(hn::ScalableTag<typename L::Lane>())) &&
      static_cast<size_t>(spare) * (1 + sizeof(T)) <= kScratchBytes) {
    kernels = LineKernelsOf(lanes, height);
    std::memset(none, 0xFF, static_cast<size_t>(spare));
    std::memset(none + spare, 0, static_cast<size_t>(spare) * sizeof(T));
  }
  // Blocks know the tap numbers of windows without a depth only.
  uint8_t* const rebased = none + spare * static_cast<int64_t>(1 + sizeof(T));
  const int64_t window_line = width.output * g.channels;
  T* const missing = reinterpret_cast<T*>(none + spare);
  const bool fused = kernels.pair != nullptr || kernels.columns != nullptr;
  const int64_t rebased_lines = (none + kScratchBytes - rebased) / window_line;
  const bool rebases = rebased_lines >= 4;
  const bool moves =
      g.IsApart() && !call.accumulate && g.channels >= static_cast<int64_t>(hn::Lanes(hn::ScalableTag<I>()));
  const bool far = WritesAroundCaches<T>(call);
  ShuffledSum<L> shuffled(call);
  for (int64_t line = call.begin; line < call.end;) {
    const int64_t h = line % height.input, id = line / height.input % depth.input,
                  n = line / height.input / depth.input;
    const Cover d(depth, id);
    Cover cover(height, h);
    if (d.count == 0) cover.count = 0;
    const Strides& strides = call.taps.strides;
    int64_t done = 1;
    // One slice of the windows' depth after the other, ascending. (Tap numbers of any slice in the blocks' own code:
    // 3x3 windows without a depth took 10 to 25 % longer.)
    for (int slice = 0; slice < HWY_MAX(d.count, 1); ++slice) {
      const GatherPlane<L> plane = {
          lanes,
          g,
          static_cast<const T*>(call.dy) + n * g.output.batch + (d.first + slice) * g.output.axis[kDepth],
          static_cast<const uint8_t*>(call.taps.base) + n * strides.batch + (d.first + slice) * strides.axis[kDepth] -
              call.taps.origin,
          static_cast<T*>(call.dx) + n * g.input.batch + id * g.input.axis[kDepth],
          strides,
          call.accumulate || slice != 0,
          static_cast<int>((d.tap - slice * depth.stride) * height.kernel * width.kernel),
          far && d.count == 1};
      T* const dx = plane.dx + h * g.input.axis[kHeight];
      if (moves) {
        if (cover.count != 0) done = HWY_MIN(HWY_MIN(height.kernel - cover.tap, height.input - h), call.end - line);
        apart::ChannelsLastLines(
            element, width, g.channels, reinterpret_cast<const I*>(plane.dy) + cover.first * g.output.axis[kHeight],
            g.output.axis[kWidth], plane.taps + cover.first * strides.axis[kHeight], strides.axis[kWidth],
            cover.count == 0 ? 0 : width.output, plane.tap_base + cover.tap * width.kernel, done,
            reinterpret_cast<I*>(dx), g.input.axis[kHeight], g.input.axis[kWidth], far);
      } else if (fused && dilated && d.count != 0) {
        done = HWY_MIN(height.input - h, call.end - line);
        if (HWY_LIKELY(IsFinite(plane, h, h + done))) {
          SumPhases(plane, h, h + done, kernels, none, missing);
        } else {
          for (int64_t i = 0; i < done; ++i) {
            SumPixels<L>(plane, Cover(height, h + i), dx + i * g.input.axis[kHeight]);
          }
        }
      } else if (fused && d.count != 0 && ((d.count == 1 && plane.tap_base == 0) || rebases)) {
        // With stride 2 a block begins where a window begins.
        const bool top = height.stride == 1 || (h + height.pad_before) % 2 == 0;
        const int64_t first = top ? h : h - 1;
        const bool bottom = !top || (h + 1 < height.input && line + 1 < call.end);
        const bool plain = d.count == 1 && plane.tap_base == 0;
        done = top && bottom ? 2 : 1;
        if (kernels.columns != nullptr) {
          done = HWY_MIN(HWY_MIN(height.input - h, call.end - line),
                         plain ? kColumnLines : rebased_lines - (height.kernel - 1));
        }
        if (HWY_UNLIKELY(!IsFinite(plane, h, h + done))) {
          for (int64_t i = 0; i < done; ++i) {
            SumPixels<L>(plane, Cover(height, h + i), dx + i * g.input.axis[kHeight]);
          }
          continue;
        }
        const int64_t begin = height.FirstTouching(h);
        if (!plain) RebaseLines(plane, begin, height.TouchingEnd(h + done), rebased);
        const Strides packed = {0, 1, {0, window_line, g.channels}};
        const GatherPlane<L> numbered = {lanes,
                                         g,
                                         plane.dy,
                                         plain ? plane.taps : rebased - begin * window_line,
                                         plane.dx,
                                         plain ? strides : packed,
                                         plane.accumulate,
                                         0,
                                         plane.far};
        if (kernels.columns != nullptr) {
          kernels.columns(numbered, h, h + done);
        } else {
          kernels.pair(numbered, first, top, bottom, none, missing);
        }
      } else if (shuffled.IsWorth() && !plane.accumulate) {
        shuffled.Line(plane, cover, dx);
      } else {
        SumPixels<L>(plane, cover, dx);
      }
    }
    line += done;
  }
  if (far) hwy::FlushStream();
}

}  // namespace channels_last

template <class T>
[[gnu::cold]] void GatherChannelsLast(const BackwardCall& call) {
  channels_last::Gather(call, SharedSumLanes<T>(), apart::ElementOf<T>());
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_GATHER_CHANNELS_LAST_INL_H_
