// SPDX-License-Identifier: Apache-2.0
// The general forward engine: any geometry, both layouts, with or without tap numbers, one axis after the other.
//
// Everything between x and y is signed integer keys (KeyLanes), so NaN, zeros and ties need no care. A tile of the
// output line passes through bounded scratch: each input row is mapped to keys once, reduced along the width, and kept
// in a ring of rows that the height reduces; depth taps are accumulated one after the other. The innermost axis goes
// first, so "the earlier operand wins ties" is row-major-first. A line is flat memory of width x inner elements (inner
// is 1 channels-first, a tile of channels otherwise), so the same loops fill whole vectors for any inner.
//
// Tap numbers ride along in a second array of the same lanes. All arithmetic on them is modulo 2^bits, so lanes need
// only hold the number of taps; narrower elements with more taps than that run in 32-bit lanes.
#if defined(PEAKPOOL_SRC_KERNELS_SEPARABLE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PEAKPOOL_SRC_KERNELS_SEPARABLE_INL_H_
#undef PEAKPOOL_SRC_KERNELS_SEPARABLE_INL_H_
#else
#define PEAKPOOL_SRC_KERNELS_SEPARABLE_INL_H_
#endif

#include <algorithm>
#include <cstring>
#include <numeric>

#include "hwy/highway.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T, class Lane, bool kTaps>
class SeparableRun {
  using Keys = KeyLanes<T>;
  using D = hn::ScalableTag<Lane>;
  using V = hn::Vec<D>;
  using Unsigned = hwy::MakeUnsigned<Lane>;
  static constexpr bool kWidened = sizeof(Lane) != sizeof(T);
  static constexpr int64_t kArrays = kTaps ? 2 : 1;  // keys, and tap numbers behind them
  static constexpr int64_t kMaxRows = 1024;          // of the table of ring rows
  static constexpr int64_t kMaxTaps = 128;           // of one pass along the width, where strides are split in phases
  static constexpr int64_t kMaxShare = 16;           // outputs that share the rows all of them cover

 public:
  explicit SeparableRun(const ForwardCall& call)
      : call_(call),
        geometry_(*call.geometry),
        depth_(geometry_.axis[kDepth]),
        height_(geometry_.axis[kHeight]),
        width_(geometry_.axis[kWidth]),
        inner_(geometry_.channels_last ? geometry_.channels : 1) {}

  void Run() {
    ChooseTile();
    may_be_empty_ = MayBeEmpty(width_) || MayBeEmpty(height_);
    const int64_t planes_per_batch = geometry_.channels_last ? 1 : geometry_.channels;
    for (int64_t line = call_.begin; line < call_.end;) {
      const int64_t oy = line % height_.output;
      const int64_t outer = line / height_.output;
      const int64_t oz = outer % depth_.output;
      const int64_t plane = outer / depth_.output;
      const int64_t rows = std::min(height_.output - oy, call_.end - line);
      Plane(plane / planes_per_batch, plane % planes_per_batch, oz, oy, rows);
      line += rows;
    }
  }

 private:
  // An array of keys in scratch; the tap numbers, if any, follow at a fixed distance.
  struct Buffer {
    Lane* keys;
    Lane* taps;
  };

  // Lanes per vector: a constant where vectors have a fixed size, and never a load that a vector store might alias.
  static HWY_INLINE int64_t N() { return static_cast<int64_t>(hn::Lanes(D())); }

  static int64_t FloorDivide(int64_t a, int64_t b) { return b == 1 ? a : a >= 0 ? a / b : -((b - 1 - a) / b); }
  static int64_t CeilDivide(int64_t a, int64_t b) { return -FloorDivide(-a, b); }
  // The in-range taps of [0, taps) that begin at input position `begin`: [FirstTap, EndTap), empty if equal.
  static int64_t FirstTap(const Axis& axis, int64_t begin) { return begin < 0 ? CeilDivide(-begin, axis.dilation) : 0; }
  static int64_t EndTap(const Axis& axis, int64_t begin, int64_t taps) {
    return std::max(FirstTap(axis, begin), std::min(taps, CeilDivide(axis.input - begin, axis.dilation)));
  }
  static bool IsEmpty(const Axis& axis, int64_t o) {
    return FirstTap(axis, axis.Begin(o)) >= EndTap(axis, axis.Begin(o), axis.kernel);
  }
  int64_t RoundUp(int64_t n) const { return (n + N() - 1) / N() * N(); }
  // Odd numbers of vectors keep the rows of a column out of the same cache sets.
  int64_t RowPitch(int64_t elements) const { return RoundUp(elements) + (RoundUp(elements) % 256 == 0 ? N() : 0); }

  static HWY_INLINE V LoadKey(D d, const T* HWY_RESTRICT p) {
    if constexpr (kWidened) {
      return hn::PromoteTo(d, Keys::Load(hn::Rebind<typename Keys::Lane, D>(), p));
    } else {
      return Keys::Load(d, p);
    }
  }
  static HWY_INLINE void StoreKey(D d, V key, T* HWY_RESTRICT p) {
    if constexpr (kWidened) {
      const hn::Rebind<typename Keys::Lane, D> narrow;
      Keys::Store(narrow, hn::DemoteTo(narrow, key), p);
    } else {
      Keys::Store(d, key, p);
    }
  }

  // --- Tiling ---------------------------------------------------------------------------------------------------

  struct Tile {
    int64_t columns, channels, rows;  // of the output
    int64_t taps_y, taps_x;           // per pass; taps_x < kernel only with taps_y == 1, taps_y < kernel with rows == 1
  };

  int64_t Span(int64_t outputs, int64_t taps, const Axis& axis) const {
    return (outputs - 1) * axis.stride + (taps - 1) * axis.dilation + 1;
  }
  int64_t RowElements(const Tile& t) const {
    return (Span(t.columns, t.taps_x, width_) + (t.columns > 1 ? width_.stride : 0)) * t.channels + 6 * N();
  }
  int64_t RingRows(const Tile& t) const { return std::min(height_.input, Span(t.rows, t.taps_y, height_)); }
  int64_t Lanes(const Tile& t, int64_t group) const {
    const int64_t row_buffers = width_.stride > 1 && t.columns > 1 ? 2 : 1;
    const int64_t pitch = RowPitch(t.columns * t.channels + 1);
    return kArrays *
           (RowElements(t) * group * row_buffers + (RingRows(t) + t.rows) * pitch + (4 * kMaxShare + 4) * N());
  }
  bool Fits(const Tile& t) const { return Span(t.rows, t.taps_y, height_) <= kMaxRows && Lanes(t, 1) <= capacity_; }

  void ChooseTile() {
    capacity_ = static_cast<int64_t>(kScratchBytes / sizeof(Lane));
    const int64_t rows = std::min(height_.output, call_.end - call_.begin);
    Tile t = {width_.output, inner_, std::min(rows, std::max<int64_t>(32, height_.kernel)), height_.kernel,
              width_.kernel};
    // A window whose row alone takes a good part of scratch is reduced in parts.
    while (t.taps_x > 1 && (Span(1, t.taps_x, width_) * std::min(inner_, N())) * kArrays > capacity_ / 4) {
      t.taps_x = (t.taps_x + 1) / 2;
      t.taps_y = t.rows = 1;
    }
    const int64_t halo = Span(1, t.taps_x, width_) / width_.stride;
    while (!Fits(t)) {
      if (t.rows > 16) {
        t.rows = (t.rows + 1) / 2;
      } else if (t.channels > 4 * N()) {
        t.channels = RoundUp(t.channels / 2);
      } else if (t.columns > 2 * halo + 4 * N()) {
        t.columns = (t.columns + 1) / 2;
      } else if (t.rows > 8) {
        t.rows = (t.rows + 1) / 2;
      } else if (t.channels > N()) {
        t.channels = RoundUp(t.channels / 2);
      } else if (t.columns > 1) {
        t.columns = (t.columns + 1) / 2;
      } else if (t.rows > 1) {
        t.rows = (t.rows + 1) / 2;
      } else if (t.taps_y > 1) {
        t.taps_y = (t.taps_y + 1) / 2;
      } else {
        t.taps_x = (t.taps_x + 1) / 2;
      }
    }
    tile_ = t;
    // Short rows go through the width in groups, so that loops are long enough to fill the pipeline.
    group_ = 1;
    while (group_ < RingRows(t) && group_ * RowElements(t) < 64 * N() && Lanes(t, group_ + 1) <= capacity_) ++group_;

    Lane* next = static_cast<Lane*>(call_.scratch);
    const auto take = [&next](int64_t lanes) {
      Lane* const keys = next;
      next += lanes * kArrays;
      return Buffer{keys, keys + lanes * (kArrays - 1)};
    };
    const int64_t pitch = RowPitch(t.columns * t.channels + 1);
    row_ = take(RowElements(t) * group_);
    if (width_.stride > 1 && t.columns > 1) phases_ = take(RowElements(t) * group_);
    ring_ = take(RingRows(t) * pitch + N());
    sums_ = take(t.rows * pitch + N());
    shared_ = take(4 * kMaxShare * N());
    ring_rows_ = RingRows(t);
  }

  // --- Width ----------------------------------------------------------------------------------------------------

  // How one tile of columns and one range of taps is reduced. Windows of `window` taps grow in place by a few passes
  // over the flat rows; the last pass reads `last_taps` windows per output and writes the ring. Strides > 1 are split
  // in phases before the last pass, so that it too reads neighbours.
  struct WidthPlan {
    int64_t ox, columns, channel, channels, tap, taps;  // the tile this plan is for
    int64_t left, first, count, right;                  // padding, in-range input columns, padding
    int64_t pitch;                                      // elements from row to row before and after the split
    int64_t split_pitch;
    bool split;
    int64_t grown;      // taps of the windows before the last pass
    int64_t last_taps;  // windows combined by the last pass
    int64_t edge;       // leading outputs whose window begins in the padding
  };

  // Windows of `taps` taps from windows of this many, at most 4 at a time; balanced over the passes.
  static int64_t Shrink(int64_t taps) {
    int64_t radix = 4;
    if (taps <= 16) radix = taps <= 4 ? 2 : taps <= 9 ? 3 : 4;
    return (taps + radix - 1) / radix;
  }

  void PlanWidth(int64_t ox, int64_t columns, int64_t channel, int64_t channels, int64_t tap) {
    WidthPlan& p = width_plan_;
    const int64_t taps = std::min(tile_.taps_x, width_.kernel - tap);
    if (p.columns == columns && p.ox == ox && p.channel == channel && p.channels == channels && p.tap == tap) return;
    p.ox = ox;
    p.columns = columns;
    p.channel = channel;
    p.channels = channels;
    p.tap = tap;
    p.taps = taps;
    const int64_t begin = width_.Begin(ox) + tap * width_.dilation;
    const int64_t span = Span(columns, taps, width_);
    const int64_t stride = columns == 1 ? 1 : width_.stride;
    const int64_t padded = (span + stride - 1) / stride * stride;
    p.left = std::min(padded, std::max<int64_t>(0, -begin));
    p.first = begin + p.left;
    p.count = std::max<int64_t>(0, std::min(padded - p.left, width_.input - p.first));
    p.right = padded - p.left - p.count;
    p.pitch = padded * channels;
    p.split = stride > 1;
    p.split_pitch = padded / stride * channels;
    p.edge = std::min(columns, begin < 0 ? CeilDivide(-begin, width_.stride) : 0);
    out_vectors_ = (columns * channels + N() - 1) / N();
    out_pitch_ = RowPitch(columns * channels);

    // In vectors loaded and stored per row: all taps at once, or windows grown by passes.
    const int64_t row_vectors = (p.pitch + N() - 1) / N();
    const bool scalar_split = stride > 2 && channels == 1;
    int64_t grow_cost = stride == 1 ? 0 : scalar_split ? columns : 2 * out_vectors_;
    const int64_t split_cost = stride == 1 ? 0 : scalar_split ? p.pitch : 2 * row_vectors;
    for (int64_t to = taps; to > 1; to = Shrink(to)) {
      const int64_t from = Shrink(to);
      grow_cost += to == taps && stride == 1 ? out_vectors_ * (CeilDivide(to, from) + 1)
                                             : row_vectors * (CeilDivide(to, from) + 1);
    }
    const bool direct = (!p.split || taps <= kMaxTaps) && split_cost + out_vectors_ * (taps + 1) <= grow_cost;
    p.grown = direct ? 1 : p.split ? taps : Shrink(taps);
    p.last_taps = direct ? taps : p.split ? 1 : CeilDivide(taps, p.grown);
    const int64_t phase_pitch = PhasePitch();
    for (int64_t t = 0; t < std::min(p.last_taps, kMaxTaps); ++t) {
      const int64_t shift = std::min(t * p.grown, taps - p.grown);
      const int64_t column = shift * width_.dilation;
      const int64_t phase = stride == 1 ? 0 : column % stride;
      window_tap_[t] = static_cast<Lane>(shift);
      window_offset_[t] = static_cast<int32_t>(phase * phase_pitch + (column - phase) / stride * channels);
    }
  }

  // Elements from phase to phase of a group of rows, with room for whole vectors where phases are split in one go.
  int64_t PhasePitch() const { return width_plan_.split_pitch * group_ + (width_.stride <= 4 ? N() : 0); }

  void Fill(Lane* to, int64_t count) const {
    const D d;
    const V lowest = hn::Set(d, static_cast<Lane>(Keys::Lowest()));
    for (int64_t j = 0; j < count; j += N()) hn::StoreU(lowest, d, to + j);
  }

  // Maps count elements to keys; up to `readable` elements exist. May write up to a vector more than count.
  void MapKeys(const T* HWY_RESTRICT from, int64_t count, int64_t readable, Lane* HWY_RESTRICT to) const {
    const D d;
    int64_t j = 0;
    for (; j < count && j + N() <= readable; j += N()) hn::StoreU(LoadKey(d, from + j), d, to + j);
    if (j >= count) return;
    if (count >= N()) {
      j = count - N();
      hn::StoreU(LoadKey(d, from + j), d, to + j);
    } else {
      std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
      hn::StoreU(LoadKey(d, reinterpret_cast<const T*>(to)), d, to);
    }
  }

  // The padded row of one tile as keys. `x` is the row's first element, `readable` counts from there.
  void LoadRow(const T* x, int64_t readable, Lane* to) const {
    const WidthPlan& p = width_plan_;
    Fill(to, p.left * p.channels);
    to += p.left * p.channels;
    const int64_t start = p.first * inner_ + p.channel;
    if (p.channels == inner_) {
      MapKeys(x + start, p.count * inner_, readable - start, to);
    } else {
      for (int64_t i = 0; i < p.count; ++i) {
        MapKeys(x + start + i * inner_, p.channels, readable - start - i * inner_, to + i * p.channels);
      }
    }
    Fill(to + p.count * p.channels, p.right * p.channels);
  }

  // Windows of `from` taps become windows of `to` <= 4 * from taps, in place, over `count` elements.
  void Grow(int64_t from, int64_t to, int64_t count) const {
    const D d;
    const int64_t step = width_.dilation * width_plan_.channels;
    const int64_t end = count - (to - 1) * step;
    Lane* HWY_RESTRICT keys = row_.keys;
    Lane* HWY_RESTRICT taps = row_.taps;
    for (int64_t j = 0; j < end; j += N()) {
      V key = hn::LoadU(d, keys + j);
      V tap = hn::Zero(d);
      if (kTaps && from > 1) tap = hn::LoadU(d, taps + j);
      for (int64_t t = from; t < to; t += from) {
        const int64_t shift = std::min(t, to - from);
        const V other = hn::LoadU(d, keys + j + shift * step);
        if constexpr (kTaps) {
          V other_tap = hn::Set(d, static_cast<Lane>(shift));
          if (from > 1) other_tap = hn::Add(other_tap, hn::LoadU(d, taps + j + shift * step));
          tap = hn::IfThenElse(hn::Gt(other, key), other_tap, tap);
        }
        key = hn::Max(key, other);
      }
      hn::StoreU(key, d, keys + j);
      if (kTaps) hn::StoreU(tap, d, taps + j);
    }
  }
  void GrowTo(int64_t taps, int64_t count) const {
    if (taps == 1) return;
    const int64_t from = Shrink(taps);
    GrowTo(from, count);
    Grow(from, taps, count);
  }

  // Every stride-th pixel of `count` elements to its phase; only the first phase when windows are already grown.
  void Split(const Lane* HWY_RESTRICT from, Lane* HWY_RESTRICT to, int64_t count) const {
    const D d;
    const int64_t stride = width_.stride;
    const int64_t channels = width_plan_.channels;
    const int64_t pitch = PhasePitch();
    const int64_t phases = width_plan_.grown > 1 ? 1 : stride;
    const int64_t pixels = count / stride;
    if (channels == 1 && stride == 2) {
      for (int64_t j = 0; j < pixels; j += N()) {
        V p0, p1;
        hn::LoadInterleaved2(d, from + 2 * j, p0, p1);
        if (phases > 1) hn::StoreU(p1, d, to + pitch + j);
        hn::StoreU(p0, d, to + j);
      }
      return;
    }
    for (int64_t phase = 0; phase < phases; ++phase) {
      const Lane* HWY_RESTRICT source = from + phase * channels;
      Lane* HWY_RESTRICT target = to + phase * pitch;
      if (channels == 1) {
        for (int64_t j = 0; j < pixels / channels; ++j) target[j] = source[j * stride];
      } else {
        // Writes past a pixel are overwritten by the next one.
        for (int64_t j = 0; j < pixels; j += channels) {
          for (int64_t c = 0; c < channels; c += N()) {
            hn::StoreU(hn::LoadU(d, source + j * stride + c), d, target + j + c);
          }
        }
      }
    }
  }

  // The last pass: combines windows into ring rows from `to` on. Four vectors at a time, of short rows from several.
  template <bool kCarried>
  void Gather(Buffer from, Buffer to, int64_t rows, int64_t pitch, int64_t y) const {
    const D d;
    const WidthPlan& p = width_plan_;
    const int64_t step = width_.dilation * p.channels;
    const int64_t windows = p.last_taps, vectors = out_vectors_;
    int64_t r = 0, v = 0;
    Lane row_tap = RowTap(y);
    const auto advance = [&] {
      if (++v == vectors) {
        v = 0;
        row_tap = RowTap(y + ++r);
      }
    };
    for (int64_t left = rows * vectors; left > 0;) {
      // Fewer than four left: repeat the last one.
      const int64_t from0 = r * pitch + v * N(), to0 = r * out_pitch_ + v * N();
      const Lane row_tap0 = row_tap;
      if (--left > 0) advance();
      const int64_t from1 = r * pitch + v * N(), to1 = r * out_pitch_ + v * N();
      const Lane row_tap1 = row_tap;
      if (left > 0 && --left > 0) advance();
      const int64_t from2 = r * pitch + v * N(), to2 = r * out_pitch_ + v * N();
      const Lane row_tap2 = row_tap;
      if (left > 0 && --left > 0) advance();
      const int64_t from3 = r * pitch + v * N(), to3 = r * out_pitch_ + v * N();
      const Lane row_tap3 = row_tap;
      if (left > 0 && --left > 0) advance();
      V key0 = hn::LoadU(d, from.keys + from0);
      V key1 = hn::LoadU(d, from.keys + from1);
      V key2 = hn::LoadU(d, from.keys + from2);
      V key3 = hn::LoadU(d, from.keys + from3);
      V tap0 = hn::Zero(d), tap1 = tap0, tap2 = tap0, tap3 = tap0;
      if constexpr (kCarried) {
        tap0 = hn::LoadU(d, from.taps + from0);
        tap1 = hn::LoadU(d, from.taps + from1);
        tap2 = hn::LoadU(d, from.taps + from2);
        tap3 = hn::LoadU(d, from.taps + from3);
      }
      for (int64_t t = 1; t < windows; ++t) {
        const int64_t offset = t < kMaxTaps ? window_offset_[t] : t * step;
        const Lane* HWY_RESTRICT keys = from.keys + offset;
        const V other0 = hn::LoadU(d, keys + from0);
        const V other1 = hn::LoadU(d, keys + from1);
        const V other2 = hn::LoadU(d, keys + from2);
        const V other3 = hn::LoadU(d, keys + from3);
        if constexpr (kTaps) {
          const V number = hn::Set(d, t < kMaxTaps ? window_tap_[t] : static_cast<Lane>(t));
          V number0 = number, number1 = number, number2 = number, number3 = number;
          if constexpr (kCarried) {
            const Lane* HWY_RESTRICT taps = from.taps + offset;
            number0 = hn::Add(number, hn::LoadU(d, taps + from0));
            number1 = hn::Add(number, hn::LoadU(d, taps + from1));
            number2 = hn::Add(number, hn::LoadU(d, taps + from2));
            number3 = hn::Add(number, hn::LoadU(d, taps + from3));
          }
          tap0 = hn::IfThenElse(hn::Gt(other0, key0), number0, tap0);
          tap1 = hn::IfThenElse(hn::Gt(other1, key1), number1, tap1);
          tap2 = hn::IfThenElse(hn::Gt(other2, key2), number2, tap2);
          tap3 = hn::IfThenElse(hn::Gt(other3, key3), number3, tap3);
        }
        key0 = hn::Max(key0, other0);
        key1 = hn::Max(key1, other1);
        key2 = hn::Max(key2, other2);
        key3 = hn::Max(key3, other3);
      }
      hn::StoreU(key0, d, to.keys + to0);
      hn::StoreU(key1, d, to.keys + to1);
      hn::StoreU(key2, d, to.keys + to2);
      hn::StoreU(key3, d, to.keys + to3);
      if constexpr (kTaps) {
        hn::StoreU(hn::Add(tap0, hn::Set(d, row_tap0)), d, to.taps + to0);
        hn::StoreU(hn::Add(tap1, hn::Set(d, row_tap1)), d, to.taps + to1);
        hn::StoreU(hn::Add(tap2, hn::Set(d, row_tap2)), d, to.taps + to2);
        hn::StoreU(hn::Add(tap3, hn::Set(d, row_tap3)), d, to.taps + to3);
      }
    }
  }

  // Ring rows carry tap numbers counted from input row 0 in steps of the dilation; see ReduceHeight.
  Lane RowTap(int64_t y) const {
    return static_cast<Lane>((height_.dilation == 1 ? y : y / height_.dilation) * width_.kernel);
  }

  // Where nothing beats the padding at the window's start, the first in-range tap is the answer.
  void SkipLeadingPadding(Buffer ring, int64_t rows, int64_t y) const {
    const WidthPlan& p = width_plan_;
    for (int64_t r = 0; r < rows; ++r) {
      const Unsigned row_tap = static_cast<Unsigned>(RowTap(y + r));
      for (int64_t o = 0; o < p.edge; ++o) {
        const Unsigned first =
            static_cast<Unsigned>(FirstTap(width_, width_.Begin(p.ox + o) + p.tap * width_.dilation));
        Lane* taps = ring.taps + r * out_pitch_ + o * p.channels;
        for (int64_t c = 0; c < p.channels; ++c) {
          const Unsigned tap = static_cast<Unsigned>(static_cast<Unsigned>(taps[c]) - row_tap);
          taps[c] = static_cast<Lane>(static_cast<Unsigned>(std::max(tap, first) + row_tap));
        }
      }
    }
  }

  // Reduces input rows [y, end) of one plane into the ring. `x` is the first element of row 0.
  void ReduceRows(const T* x, int64_t readable, int64_t y, int64_t end) const {
    const WidthPlan& p = width_plan_;
    const int64_t row_stride = geometry_.input.axis[kHeight];
    while (y < end) {
      const int64_t slot = y % ring_rows_;
      const int64_t rows = std::min(std::min(end - y, group_), ring_rows_ - slot);
      for (int64_t r = 0; r < rows; ++r) {
        // Reading past a row is fine only where the rows that follow are dense; see Readable.
        const int64_t here = dense_rows_ ? readable - (y + r) * row_stride : readable;
        LoadRow(x + (y + r) * row_stride, here, row_.keys + r * p.pitch);
      }
      GrowTo(p.grown, rows * p.pitch);
      const Buffer ring = {ring_.keys + slot * out_pitch_, ring_.taps + slot * out_pitch_};
      if (p.split) {
        Split(row_.keys, phases_.keys, rows * p.pitch);
        if (kTaps && p.grown > 1) Split(row_.taps, phases_.taps, rows * p.pitch);
      }
      const Buffer from = p.split ? phases_ : row_;
      const int64_t pitch = p.split ? p.split_pitch : p.pitch;
      if (kTaps && p.grown > 1) {
        Gather<kTaps>(from, ring, rows, pitch, y);
      } else {
        Gather<false>(from, ring, rows, pitch, y);
      }
      if (kTaps && p.edge > 0) SkipLeadingPadding(ring, rows, y);
      y += rows;
    }
  }

  // --- Height ---------------------------------------------------------------------------------------------------

  // Where the rows that a block of outputs reads are in the ring. Padding rows stand for the nearest in-range row of
  // the same window, which changes nothing. Planes that fit the ring as a whole find the table ready.
  void PlanHeight(int64_t begin, int64_t span) {
    if (begin == table_begin_ && span <= table_span_ && table_pitch_ == out_pitch_) return;
    table_begin_ = begin;
    table_span_ = span;
    table_pitch_ = out_pitch_;
    const int64_t dilation = height_.dilation;
    for (int64_t v = 0; v < span; ++v) {
      int64_t y = begin + v;
      if (y < 0) y += CeilDivide(-y, dilation) * dilation;
      if (y >= height_.input) y -= CeilDivide(y - height_.input + 1, dilation) * dilation;
      row_offset_[v] = static_cast<int32_t>(y < 0 ? 0 : y % ring_rows_ * out_pitch_);
    }
  }

  // Combines `rows` outputs of the block from the ring into the sums. Outputs whose windows lie on the same rows of
  // the dilated grid share what all of them cover: with the outputs' windows starting s rows apart, `share` outputs
  // cost taps + 2 * (share - 1) * s maxima instead of share * taps.
  void ReduceHeight(int64_t rows, int64_t taps, int64_t begin, Lane tap_origin, bool fresh) const {
    const int64_t common = std::gcd(height_.stride, height_.dilation);
    const int64_t classes = height_.dilation / common;  // every classes-th output is on the same rows
    const int64_t apart = height_.stride / common;      // their distance in taps
    const int64_t most = std::min(kMaxShare, (taps - 1) / apart + 1);
    for (int64_t c = 0; c < std::min(classes, rows); ++c) {
      for (int64_t o = c; o < rows; o += classes * most) {
        const int64_t share = std::min(most, (rows - o + classes - 1) / classes);
        const int32_t* HWY_RESTRICT offset = row_offset_ + o * height_.stride;
        const int64_t step = height_.dilation;
        // Turns row-based tap numbers into those of the first output's window; see RowTap.
        const Lane origin =
            static_cast<Lane>(tap_origin - FloorDivide(begin + o * height_.stride, height_.dilation) * width_.kernel);
        int64_t v = 0;
        for (; v + 4 <= out_vectors_; v += 4) ReduceColumn<4>(offset, step, taps, share, apart, v, o, origin, fresh);
        for (; v < out_vectors_; ++v) ReduceColumn<1>(offset, step, taps, share, apart, v, o, origin, fresh);
      }
    }
  }

  // One operand later or earlier in the window than (key, tap), which it replaces accordingly.
  static HWY_INLINE void Later(Buffer other, int64_t at, V& key, V& tap) {
    const D d;
    const V other_key = hn::LoadU(d, other.keys + at);
    if constexpr (kTaps) tap = hn::IfThenElse(hn::Gt(other_key, key), hn::LoadU(d, other.taps + at), tap);
    key = hn::Max(key, other_key);
  }
  static HWY_INLINE void Earlier(Buffer other, int64_t at, V& key, V& tap) {
    const D d;
    const V other_key = hn::LoadU(d, other.keys + at);
    if constexpr (kTaps) tap = hn::IfThenElse(hn::Gt(key, other_key), tap, hn::LoadU(d, other.taps + at));
    key = hn::Max(key, other_key);
  }
  static HWY_INLINE void LoadPair(Buffer from, int64_t at, V& key, V& tap) {
    key = hn::LoadU(D(), from.keys + at);
    if constexpr (kTaps) tap = hn::LoadU(D(), from.taps + at);
  }
  static HWY_INLINE void StorePair(V key, V tap, Buffer to, int64_t at) {
    hn::StoreU(key, D(), to.keys + at);
    if constexpr (kTaps) hn::StoreU(tap, D(), to.taps + at);
  }

  // kVectors neighbouring vectors of `share` outputs, from vector v on; see ReduceHeight. Four at a time hide the
  // latency of the chain of maxima and the cost of the loops.
  template <int kVectors>
  HWY_INLINE void ReduceColumn(const int32_t* HWY_RESTRICT offset, int64_t step, int64_t taps, int64_t share,
                               int64_t apart, int64_t v, int64_t o, Lane origin, bool fresh) const {
    const int64_t n = N();
    const int64_t classes = height_.dilation * apart / height_.stride;
    const Buffer rows = {ring_.keys + v * n, ring_.taps + v * n};
    V key0, key1, key2, key3, tap0, tap1, tap2, tap3;
    key0 = key1 = key2 = key3 = tap0 = tap1 = tap2 = tap3 = hn::Zero(D());
    const auto load = [&](int64_t at) HWY_ATTR {
      LoadPair(rows, at, key0, tap0);
      if constexpr (kVectors == 4) {
        LoadPair(rows, at + n, key1, tap1);
        LoadPair(rows, at + 2 * n, key2, tap2);
        LoadPair(rows, at + 3 * n, key3, tap3);
      }
    };
    const auto later = [&](int64_t at) HWY_ATTR {
      Later(rows, at, key0, tap0);
      if constexpr (kVectors == 4) {
        Later(rows, at + n, key1, tap1);
        Later(rows, at + 2 * n, key2, tap2);
        Later(rows, at + 3 * n, key3, tap3);
      }
    };
    const auto earlier = [&](Buffer other, int64_t at) HWY_ATTR {
      Earlier(other, at, key0, tap0);
      if constexpr (kVectors == 4) {
        Earlier(other, at + n, key1, tap1);
        Earlier(other, at + 2 * n, key2, tap2);
        Earlier(other, at + 3 * n, key3, tap3);
      }
    };
    const auto emit = [&](int64_t row, Lane row_origin) HWY_ATTR {
      Emit(key0, tap0, row, v, row_origin, fresh);
      if constexpr (kVectors == 4) {
        Emit(key1, tap1, row, v + 1, row_origin, fresh);
        Emit(key2, tap2, row, v + 2, row_origin, fresh);
        Emit(key3, tap3, row, v + 3, row_origin, fresh);
      }
    };
    // The shared rows, then upwards to the first output's window, keeping each output's part.
    const int64_t core = (share - 1) * apart;
    load(offset[core * step]);
    for (int64_t t = core + 1; t < taps; ++t) later(offset[t * step]);
    for (int64_t g = share - 1; g > 0; --g) {
      StorePair(key0, tap0, shared_, g * kVectors * n);
      if constexpr (kVectors == 4) {
        StorePair(key1, tap1, shared_, (g * 4 + 1) * n);
        StorePair(key2, tap2, shared_, (g * 4 + 2) * n);
        StorePair(key3, tap3, shared_, (g * 4 + 3) * n);
      }
      for (int64_t t = g * apart - 1; t >= (g - 1) * apart; --t) earlier(rows, offset[t * step]);
    }
    emit(o, origin);
    if (share == 1) return;
    // Downwards from the shared rows.
    load(offset[taps * step]);
    for (int64_t t = taps + 1; t < taps + apart; ++t) later(offset[t * step]);
    for (int64_t g = 1;; ++g) {
      const V below0 = key0, below1 = key1, below2 = key2, below3 = key3;
      const V below_tap0 = tap0, below_tap1 = tap1, below_tap2 = tap2, below_tap3 = tap3;
      earlier(shared_, g * kVectors * n);
      emit(o + g * classes, static_cast<Lane>(origin - g * apart * width_.kernel));
      if (g == share - 1) return;
      key0 = below0, key1 = below1, key2 = below2, key3 = below3;
      tap0 = below_tap0, tap1 = below_tap1, tap2 = below_tap2, tap3 = below_tap3;
      for (int64_t t = taps + g * apart; t < taps + (g + 1) * apart; ++t) later(offset[t * step]);
    }
  }

  // One vector of output row o of the block, into the sums.
  HWY_INLINE void Emit(V key, V tap, int64_t o, int64_t v, Lane origin, bool fresh) const {
    const D d;
    const int64_t at = o * out_pitch_ + v * N();
    if constexpr (kTaps) tap = hn::Add(tap, hn::Set(d, origin));
    if (!fresh) {
      const V old = hn::LoadU(d, sums_.keys + at);
      if constexpr (kTaps) tap = hn::IfThenElse(hn::Gt(key, old), tap, hn::LoadU(d, sums_.taps + at));
      key = hn::Max(key, old);
    }
    hn::StoreU(key, d, sums_.keys + at);
    if (kTaps) hn::StoreU(tap, d, sums_.taps + at);
  }

  // --- Planes, tiles, output --------------------------------------------------------------------------------------

  // Whether windows may be empty; if not, no output needs to be looked at. All begin in the input, or reach into it.
  static bool MayBeEmpty(const Axis& axis) {
    return axis.Begin(axis.output - 1) >= axis.input || axis.pad_before > (axis.kernel - 1) * axis.dilation ||
           (axis.pad_before > 0 && axis.dilation > axis.input);
  }

  // Elements that may be read from the first element of row 0 at depth z on (all rows if they are dense), or from the
  // first element of any row (else).
  int64_t Readable(int64_t n, int64_t c, int64_t z) const {
    const Strides& s = geometry_.input;
    const int64_t row = width_.input * inner_;
    if (!dense_rows_) return row;
    int64_t size = height_.input * row;
    if (depth_.input > 1 && s.axis[kDepth] != size) return size;
    int64_t readable = (depth_.input - z) * size;
    size *= depth_.input;
    if (!geometry_.channels_last) {
      if (geometry_.channels > 1 && s.channel != size) return readable;
      readable += (geometry_.channels - 1 - c) * size;
      size *= geometry_.channels;
    }
    if (geometry_.batch > 1 && s.batch != size) return readable;
    return readable + (geometry_.batch - 1 - n) * size;
  }

  void Plane(int64_t n, int64_t c, int64_t oz, int64_t oy, int64_t rows) {
    dense_rows_ = height_.input == 1 || geometry_.input.axis[kHeight] == width_.input * inner_;
    for (int64_t channel = 0; channel < inner_; channel += tile_.channels) {
      const int64_t channels = std::min(tile_.channels, inner_ - channel);
      for (int64_t ox = 0; ox < width_.output; ox += tile_.columns) {
        const int64_t columns = std::min(tile_.columns, width_.output - ox);
        ring_end_ = 0;
        for (int64_t o = 0; o < rows; o += tile_.rows) {
          const int64_t block = std::min(tile_.rows, rows - o);
          const bool empty = !ReduceBlock(n, c, oz, oy + o, block, ox, columns, channel, channels);
          StoreBlock(n, c, oz, oy + o, block, empty);
        }
      }
    }
  }

  // Reduces all taps of one block of outputs into the sums. False if no tap is in range.
  bool ReduceBlock(int64_t n, int64_t c, int64_t oz, int64_t oy, int64_t rows, int64_t ox, int64_t columns,
                   int64_t channel, int64_t channels) {
    const Strides& s = geometry_.input;
    const int64_t depth_begin = depth_.Begin(oz);
    const int64_t first_z = FirstTap(depth_, depth_begin);
    const int64_t end_z = EndTap(depth_, depth_begin, depth_.kernel);
    const bool one_pass = end_z - first_z == 1 && tile_.taps_y == height_.kernel && tile_.taps_x == width_.kernel;
    bool fresh = true;
    PlanWidth(ox, columns, channel, channels, 0);
    for (int64_t tz = first_z; tz < end_z; ++tz) {
      const int64_t z = depth_begin + tz * depth_.dilation;
      const T* x = static_cast<const T*>(call_.x) + n * s.batch + c * s.channel + z * s.axis[kDepth];
      const int64_t readable = Readable(n, c, z);
      for (int64_t ty = 0; ty < height_.kernel; ty += tile_.taps_y) {
        const int64_t taps = std::min(tile_.taps_y, height_.kernel - ty);
        const int64_t begin = height_.Begin(oy) + ty * height_.dilation;
        const int64_t span = Span(rows, taps, height_);
        const int64_t first = std::max<int64_t>(0, begin);
        const int64_t end = std::min(height_.input, begin + span);
        if (first >= end) continue;
        if (rows == 1 && FirstTap(height_, begin) >= EndTap(height_, begin, taps)) continue;
        PlanHeight(begin, span);
        for (int64_t tx = 0; tx < width_.kernel; tx += tile_.taps_x) {
          PlanWidth(ox, columns, channel, channels, tx);
          ReduceRows(x, readable, one_pass ? std::max(first, ring_end_) : first, end);
          ring_end_ = end;
          const int64_t tap_origin = tz * height_.kernel * width_.kernel + ty * width_.kernel + tx;
          ReduceHeight(rows, taps, begin, static_cast<Lane>(tap_origin), fresh);
          fresh = false;
        }
      }
    }
    return !fresh;
  }

  // What a row of lanes becomes in memory: elements, or tap numbers of the caller's width.
  struct ElementStore {
    using Out = T;
    static int64_t Step() { return static_cast<int64_t>(hn::Lanes(D())); }
    static HWY_INLINE void Store(const Lane* HWY_RESTRICT from, T* HWY_RESTRICT to) {
      StoreKey(D(), hn::LoadU(D(), from), to);
    }
  };
  template <class Index>
  struct TapStore {
    using Out = Index;
    using Tag = std::conditional_t<(sizeof(Index) > sizeof(Lane)), hn::ScalableTag<Index>, hn::Rebind<Index, D>>;
    static int64_t Step() { return static_cast<int64_t>(hn::Lanes(Tag())); }
    static HWY_INLINE void Store(const Lane* HWY_RESTRICT from, Index* HWY_RESTRICT to) {
      const Tag tag;
      const hn::Rebind<Unsigned, Tag> unsigned_lanes;
      if constexpr (sizeof(Index) >= sizeof(Lane)) {
        const auto taps = hn::LoadU(unsigned_lanes, reinterpret_cast<const Unsigned*>(from));
        if constexpr (sizeof(Index) == sizeof(Lane)) {
          hn::StoreU(taps, tag, to);
        } else {
          hn::StoreU(hn::PromoteTo(tag, taps), tag, to);
        }
      } else if constexpr (sizeof(Lane) == 8) {
        // Highway 1.0.3 cannot narrow 64-bit integers; the compiler can.
        for (int64_t i = 0; i < N(); ++i) to[i] = static_cast<Index>(from[i]);
      } else {
        hn::StoreU(hn::DemoteTo(tag, hn::LoadU(D(), from)), tag, to);
      }
    }
  };

  // Stores `count` lanes; up to `writable` elements may be written.
  template <class Store>
  void StoreRow(const Lane* HWY_RESTRICT from, int64_t count, int64_t writable, typename Store::Out* to) const {
    const int64_t step = Store::Step();
    int64_t j = 0;
    for (; j < count && j + step <= writable; j += step) Store::Store(from + j, to + j);
    if (j >= count) return;
    if (count >= step) {
      Store::Store(from + count - step, to + count - step);
    } else {
      auto* const whole = reinterpret_cast<typename Store::Out*>(shared_.keys);
      Store::Store(from, whole);
      std::memcpy(to, whole, static_cast<size_t>(count) * sizeof(*to));
    }
  }

  // Stores a block of rows to an output that begins at `to`. Rows that follow each other without a gap may be written
  // past their end while the next row of the block is still to come.
  template <class Store>
  void StoreRows(const Lane* from, int64_t rows, const Strides& strides, typename Store::Out* to) const {
    const WidthPlan& p = width_plan_;
    const int64_t row = p.columns * p.channels;
    const int64_t row_stride = strides.axis[kHeight];
    const bool whole_lines = p.channels == inner_;
    const int64_t run = whole_lines ? row : p.channels;  // contiguous elements
    const bool dense = whole_lines && p.columns == width_.output && row_stride == row;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t writable = dense ? (rows - r) * row : run;
      for (int64_t i = 0, o = 0; i < row; i += run, ++o) {
        StoreRow<Store>(from + r * out_pitch_ + i, run, writable, to + r * row_stride + o * inner_);
      }
    }
  }

  template <class Index>
  void StoreTaps(int64_t line, int64_t oy, int64_t rows, bool empty) const {
    const WidthPlan& p = width_plan_;
    Index* const to = static_cast<Index*>(call_.taps.base) + line;
    StoreRows<TapStore<Index>>(sums_.taps, rows, call_.taps.strides, to);
    if (!empty && !may_be_empty_) return;
    for (int64_t r = 0; r < rows; ++r) {
      const bool empty_row = empty || IsEmpty(height_, oy + r);
      for (int64_t o = 0; o < p.columns; ++o) {
        if (!empty_row && !IsEmpty(width_, p.ox + o)) continue;
        Index* const pixel = to + r * call_.taps.strides.axis[kHeight] + o * inner_;
        std::fill(pixel, pixel + p.channels, static_cast<Index>(~uint32_t{0}));
      }
    }
  }

  void StoreBlock(int64_t n, int64_t c, int64_t oz, int64_t oy, int64_t rows, bool empty) const {
    const WidthPlan& p = width_plan_;
    const int64_t start = p.ox * inner_ + p.channel;
    const auto line = [&](const Strides& s) {
      return n * s.batch + c * s.channel + oz * s.axis[kDepth] + oy * s.axis[kHeight] + start;
    };
    if (empty || may_be_empty_) {
      for (int64_t r = 0; r < rows; ++r) {
        if (empty || IsEmpty(height_, oy + r)) Fill(sums_.keys + r * out_pitch_, p.columns * p.channels);
      }
    }
    StoreRows<ElementStore>(sums_.keys, rows, geometry_.output, static_cast<T*>(call_.y) + line(geometry_.output));
    if constexpr (kTaps) {
      const int64_t taps = line(call_.taps.strides) - call_.taps.origin;
      if (call_.taps.bytes == 1) StoreTaps<uint8_t>(taps, oy, rows, empty);
      if (call_.taps.bytes == 2) StoreTaps<uint16_t>(taps, oy, rows, empty);
      if (call_.taps.bytes == 4) StoreTaps<uint32_t>(taps, oy, rows, empty);
    }
  }

  const ForwardCall& call_;
  const Geometry& geometry_;
  const Axis& depth_;
  const Axis& height_;
  const Axis& width_;
  const int64_t inner_;  // elements per pixel

  int64_t capacity_;
  Tile tile_;
  int64_t group_;      // rows reduced along the width at once
  int64_t ring_rows_;  // row y of the plane is in slot y % ring_rows_
  int64_t ring_end_;   // rows below this are in the ring already
  Buffer row_, phases_, ring_, sums_, shared_;

  WidthPlan width_plan_ = {};
  int64_t out_vectors_, out_pitch_;  // of a row in the ring and in the sums
  bool dense_rows_;
  bool may_be_empty_;
  int64_t table_begin_ = 0, table_span_ = 0, table_pitch_ = 0;
  int32_t window_offset_[kMaxTaps];  // of the windows that the last pass combines, and their first taps
  Lane window_tap_[kMaxTaps];
  int32_t row_offset_[kMaxRows];
};

// Global pooling of dense channels-first planes is one line of windows side by side, so whole planes share vectors.
inline bool FlattenGlobal(const ForwardCall& call, Geometry* flat) {
  const Geometry& g = *call.geometry;
  if (g.channels_last) return false;
  int64_t size = 1;
  for (int i = kWidth; i >= kDepth; --i) {
    const Axis& a = g.axis[i];
    if (a.output != 1 || a.kernel != a.input || a.dilation != 1 || a.pad_before != 0) return false;
    if (a.input > 1 && g.input.axis[i] != size) return false;
    size *= a.input;
  }
  const auto dense = [&g](const Strides& s, int64_t plane) {
    return (g.channels == 1 || s.channel == plane) && (g.batch == 1 || s.batch == plane * g.channels);
  };
  if (!dense(g.input, size) || !dense(g.output, 1)) return false;
  if (call.taps.base != nullptr && !dense(call.taps.strides, 1)) return false;
  const int64_t planes = call.end - call.begin;
  *flat = Geometry{{{1, 1, 1, 1, 1, 0}, {1, 1, 1, 1, 1, 0}, {planes * size, planes, size, size, 1, 0}},
                   1,
                   1,
                   false,
                   {planes * size, planes * size, {planes * size, planes * size, 1}},
                   {planes, planes, {planes, planes, 1}}};
  return true;
}

template <class T>
void SeparableAny(const ForwardCall& call) {
  using Lane = typename KeyLanes<T>::Lane;
  using Wide = std::conditional_t<(sizeof(Lane) < 4), int32_t, Lane>;
  if (call.taps.base == nullptr) {
    SeparableRun<T, Lane, false>(call).Run();
  } else if (sizeof(Lane) >= 4 || call.geometry->Taps() <= (int64_t{1} << (8 * sizeof(Lane) % 64))) {
    SeparableRun<T, Lane, true>(call).Run();
  } else {
    SeparableRun<T, Wide, true>(call).Run();
  }
}

// Pools lines [begin, end) of any geometry. The tap numbers must fit call.taps.bytes.
template <class T>
void Separable(const ForwardCall& call) {
  Geometry flat;
  if (!FlattenGlobal(call, &flat)) return SeparableAny<T>(call);
  ForwardCall line = call;
  line.geometry = &flat;
  line.x = static_cast<const T*>(call.x) + call.begin * flat.axis[kWidth].kernel;
  line.y = static_cast<T*>(call.y) + call.begin;
  line.taps.strides = flat.output;
  line.taps.origin -= call.begin;
  line.begin = 0;
  line.end = 1;
  SeparableAny<T>(line);
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_SEPARABLE_INL_H_
