// SPDX-License-Identifier: Apache-2.0
// The general forward engine: any geometry, both layouts, with or without tap numbers, one axis after the other.
//
// Everything between x and y is signed integer keys (KeyLanes), so NaN, zeros and ties need no care, and one engine per
// lane width serves all element types: a Codec loads and stores their runs. A tile of the output passes through
// bounded scratch: each input row is mapped to keys once, reduced along the width, and kept in a ring of rows that the
// height reduces; depth taps are accumulated one after the other. The innermost axis goes first, so "the earlier
// operand wins ties" is row-major-first. A line is flat memory of width x inner elements (inner is 1 channels-first, a
// tile of channels otherwise), and short lines of several planes lie side by side, so the same loops fill whole
// vectors.
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
#include "src/kernels/compat-inl.h"
#include "src/kernels/kernels.h"
#include "src/kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace peakpool {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Copies runs of lanes out as another type: Convert::Store writes Step() of them. Run r begins at from + r * from_step
// and to + r * to_step; it may write up to `writable - r * shrink` elements, but only `count` are meant.
template <class Convert, class Lane>
HWY_NOINLINE void StoreRuns(const Lane* from, int64_t from_step, int64_t runs, int64_t count, void* base,
                            int64_t to_step, int64_t writable, int64_t shrink) {
  using Out = typename Convert::Out;
  const int64_t step = Convert::Step();
  Out* to = static_cast<Out*>(base);
  if (count <= step) {
    for (; runs > 0 && writable >= step; --runs, from += from_step, to += to_step, writable -= shrink) {
      Convert::Store(from, to);
    }
  }
  for (; runs > 0; --runs, from += from_step, to += to_step, writable -= shrink) {
    int64_t j = 0;
    for (; j < count && j + step <= writable; j += step) Convert::Store(from + j, to + j);
    if (j >= count) continue;
    if (count >= step) {
      Convert::Store(from + count - step, to + count - step);
    } else {
      Out whole[hn::MaxLanes(hn::ScalableTag<uint8_t>())];
      Convert::Store(from, whole);
      std::memcpy(to, whole, static_cast<size_t>(count) * sizeof(Out));
    }
  }
}

// What the engine knows of an element type: two loops over runs, and the key below all others.
template <class Lane>
struct Codec {
  // Maps runs of `count` elements, `from_step` apart, to keys `to_step` apart, and fills the lanes up to the next run
  // with `lowest`. Run r may read up to `readable - r * shrink` elements. May write a vector beyond the last run.
  void (*load)(const void* from, int64_t from_step, int64_t runs, int64_t count, int64_t readable, int64_t shrink,
               Lane* to, int64_t to_step);
  void (*store)(const Lane* from, int64_t from_step, int64_t runs, int64_t count, void* to, int64_t to_step,
                int64_t writable, int64_t shrink);
  int64_t bytes;  // of an element
  Lane lowest;
};

template <class T, class Lane>
struct ElementCodec {
  using Keys = KeyLanes<T>;
  using D = hn::ScalableTag<Lane>;
  using Narrow = hn::Rebind<typename Keys::Lane, D>;
  using Out = T;
  static int64_t Step() { return static_cast<int64_t>(hn::Lanes(D())); }

  static HWY_INLINE hn::Vec<D> LoadKey(const T* p) {
    if constexpr (sizeof(Lane) != sizeof(T)) {
      return hn::PromoteTo(D(), Keys::Load(Narrow(), p));
    } else {
      return Keys::Load(D(), p);
    }
  }
  static HWY_INLINE void Store(const Lane* from, T* to) {
    const hn::Vec<D> key = hn::LoadU(D(), from);
    if constexpr (sizeof(Lane) != sizeof(T)) {
      Keys::Store(Narrow(), hn::DemoteTo(Narrow(), key), to);
    } else {
      Keys::Store(D(), key, to);
    }
  }

  static void Load(const void* base, int64_t from_step, int64_t runs, int64_t count, int64_t readable, int64_t shrink,
                   Lane* to, int64_t to_step) {
    const D d;
    const int64_t n = Step();
    const hn::Vec<D> lowest = hn::Set(d, static_cast<Lane>(Keys::Lowest()));
    const auto rest = hn::FirstN(d, static_cast<size_t>(count % n));
    const T* from = static_cast<const T*>(base);
    if (count > 0 && count < n && to_step <= n) {
      for (; runs > 0 && readable >= n; --runs, from += from_step, to += to_step, readable -= shrink) {
        hn::StoreU(hn::IfThenElse(rest, LoadKey(from), lowest), d, to);
      }
    }
    for (; runs > 0; --runs, from += from_step, to += to_step, readable -= shrink) {
      int64_t j = 0;
      for (; j + n <= count; j += n) hn::StoreU(LoadKey(from + j), d, to + j);
      if (j < count) {
        const T* source = from + j;
        if (j + n > readable) {
          std::memcpy(to + j, source, static_cast<size_t>(count - j) * sizeof(T));
          source = reinterpret_cast<const T*>(to + j);
        }
        hn::StoreU(hn::IfThenElse(rest, LoadKey(source), lowest), d, to + j);
        j += n;
      }
      for (; j < to_step; j += n) hn::StoreU(lowest, d, to + j);
    }
  }
  static Codec<Lane> Make() {
    return {&Load, &StoreRuns<ElementCodec, Lane>, sizeof(T), static_cast<Lane>(Keys::Lowest())};
  }
};

// Tap numbers of the caller's width.
template <class Lane, class Index>
struct TapStore {
  using Out = Index;
  using D = hn::ScalableTag<Lane>;
  using Unsigned = hwy::MakeUnsigned<Lane>;
  using Tag = std::conditional_t<(sizeof(Index) > sizeof(Lane)), hn::ScalableTag<Index>, hn::Rebind<Index, D>>;
  static int64_t Step() { return static_cast<int64_t>(hn::Lanes(Tag())); }
  static HWY_INLINE void Store(const Lane* from, Index* to) {
    const Tag tag;
    const hn::Rebind<Unsigned, Tag> unsigned_lanes;
    if constexpr (sizeof(Index) == sizeof(Lane)) {
      hn::StoreU(hn::LoadU(unsigned_lanes, reinterpret_cast<const Unsigned*>(from)), tag, to);
    } else if constexpr (sizeof(Index) > sizeof(Lane)) {
      hn::StoreU(hn::PromoteTo(tag, hn::LoadU(unsigned_lanes, reinterpret_cast<const Unsigned*>(from))), tag, to);
    } else if constexpr (sizeof(Lane) == 8) {
      // Highway 1.0.3 cannot narrow 64-bit integers; the compiler can.
      for (int64_t i = 0; i < Step(); ++i) to[i] = static_cast<Index>(from[i]);
    } else {
      hn::StoreU(hn::DemoteTo(tag, hn::LoadU(D(), from)), tag, to);
    }
  }
};

// How a call is cut into tiles and passes: everything that does not depend on the lane type but by its size.
// What runs once per tile is marked cold here and below, which makes compilers spare code: 26 % of all, for 2 % of
// time.
class SeparablePlan {
 protected:
  static constexpr int64_t kMaxRows = 1024;  // of the table of ring rows
  static constexpr int64_t kMaxTaps = 128;   // of one pass along the width, where strides are split in phases
  static constexpr int64_t kMaxShare = 16;   // outputs that share the rows all of them cover

  struct Tile {
    int64_t columns, channels, rows;  // of the output
    int64_t taps_y, taps_x;           // per pass; taps_x < kernel only with taps_y == 1, taps_y < kernel with rows == 1
    int64_t planes;                   // side by side; > 1 only with whole lines and windows
  };

  // How one tile of columns and one range of taps is reduced. Windows of `window` taps grow in place by a few passes
  // over the flat rows; the last pass reads `last_taps` windows per output and writes the ring. Strides > 1 are split
  // in phases before the last pass, so that it too reads neighbours.
  struct WidthPlan {
    int64_t ox, columns, channel, channels, tap, planes;  // the tile this plan is for
    int64_t taps;
    int64_t left, first, count;  // padding, in-range input columns
    int64_t segment;             // columns from plane to plane
    int64_t pitch, split_pitch;  // elements from row to row before and after the split
    int64_t out_segment;         // elements of a ring row from plane to plane
    bool split;
    int64_t grown;      // taps of the windows before the last pass
    int64_t last_taps;  // windows combined by the last pass
    int64_t edge;       // leading outputs whose window begins in the padding
  };

  SeparablePlan(const ForwardCall& call, int64_t lane_bytes, int64_t lanes)
      : call_(call),
        geometry_(*call.geometry),
        depth_(geometry_.axis[kDepth]),
        height_(geometry_.axis[kHeight]),
        width_(geometry_.axis[kWidth]),
        arrays_(call.taps.base == nullptr ? 1 : 2),
        n_(lanes),
        inner_(geometry_.channels_last ? geometry_.channels : 1),
        capacity_(static_cast<int64_t>(kScratchBytes) / lane_bytes) {
    // Planes of all images in one sequence where their distances allow.
    const auto even = [this](const Strides& s) { return s.batch == s.channel * geometry_.channels; };
    const bool fold = !geometry_.channels_last && even(geometry_.input) && even(geometry_.output) &&
                      (arrays_ == 1 || even(call.taps.strides));
    images_of_planes_ = geometry_.channels_last ? 1 : fold ? geometry_.Planes() : geometry_.channels;
    dense_rows_ = height_.input == 1 || geometry_.input.axis[kHeight] == width_.input * geometry_.input.axis[kWidth];
    may_be_empty_ = MayBeEmpty(width_) || MayBeEmpty(height_);
  }

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
  // Whether windows may be empty; if not, no output needs to be looked at. All begin in the input, or reach into it.
  static bool MayBeEmpty(const Axis& axis) {
    return axis.Begin(axis.output - 1) >= axis.input || axis.pad_before > (axis.kernel - 1) * axis.dilation ||
           (axis.pad_before > 0 && axis.dilation > axis.input);
  }
  static int64_t Span(int64_t outputs, int64_t taps, const Axis& axis) {
    return (outputs - 1) * axis.stride + (taps - 1) * axis.dilation + 1;
  }
  int64_t RoundUp(int64_t elements) const { return (elements + n_ - 1) / n_ * n_; }
  // Rows are worked on four vectors at a time. Odd numbers of vectors keep them out of the same cache sets.
  int64_t RowPitch(int64_t elements) const {
    const int64_t quads = (elements + 4 * n_ - 1) / (4 * n_) * 4 * n_;
    return quads + (quads % 256 == 0 ? n_ : 0);
  }

  // Columns from plane to plane: room for the padding, which neighbours share, and for the outputs.
  int64_t Segment() const {
    const int64_t left = std::max<int64_t>(0, width_.pad_before);
    const int64_t span = Span(width_.output, width_.kernel, width_);
    const int64_t needed = std::max({span - left, std::min(left, span) + width_.input, width_.output * width_.stride});
    return CeilDivide(needed, width_.stride) * width_.stride;
  }
  // Whether strides along the width are split in phases; a single output per line reads neighbours anyway.
  bool Splits(const Tile& t) const { return width_.stride > 1 && (t.columns > 1 || t.planes > 1); }
  int64_t RowElements(const Tile& t) const {
    const int64_t slack = (Splits(t) ? width_.stride : 0) * t.channels + 8 * n_;
    const int64_t columns =
        t.planes == 1 ? Span(t.columns, t.taps_x, width_) : t.planes * Segment() + width_.pad_before + width_.stride;
    return columns * t.channels + slack;
  }
  int64_t OutElements(const Tile& t) const {
    return t.planes == 1 ? t.columns * t.channels : t.planes * Segment() / width_.stride;
  }
  int64_t RingRows(const Tile& t) const { return std::min(height_.input, Span(t.rows, t.taps_y, height_)); }
  int64_t ScratchLanes(const Tile& t, int64_t group) const {
    const int64_t row_buffers = Splits(t) ? 2 : 1;
    const int64_t pitch = RowPitch(OutElements(t));
    return arrays_ *
               (RowElements(t) * group * row_buffers + (RingRows(t) + t.rows) * pitch + 4 * (kMaxShare + 4) * n_) +
           (arrays_ - 1) * pitch;
  }
  bool Fits(const Tile& t) const {
    return Span(t.rows, t.taps_y, height_) <= kMaxRows && ScratchLanes(t, 1) <= capacity_;
  }

  [[gnu::cold]] void ChooseTile() {
    const int64_t rows = std::min(height_.output, call_.end - call_.begin);
    Tile t = {width_.output,  inner_,        std::min(rows, std::max<int64_t>(32, height_.kernel)),
              height_.kernel, width_.kernel, 1};
    // A window whose row alone takes a good part of scratch is reduced in parts.
    while (t.taps_x > 1 && (Span(1, t.taps_x, width_) * std::min(inner_, n_)) * arrays_ > capacity_ / 4) {
      t.taps_x = (t.taps_x + 1) / 2;
      t.taps_y = t.rows = 1;
    }
    const int64_t halo = Span(1, t.taps_x, width_) / width_.stride;
    while (!Fits(t)) {
      if (t.rows > 16) {
        t.rows = (t.rows + 1) / 2;
      } else if (t.channels > 4 * n_) {
        t.channels = RoundUp(t.channels / 2);
      } else if (t.columns > 2 * halo + 4 * n_) {
        t.columns = (t.columns + 1) / 2;
      } else if (t.rows > 8) {
        t.rows = (t.rows + 1) / 2;
      } else if (t.channels > n_) {
        t.channels = RoundUp(t.channels / 2);
      } else if (t.columns * t.channels > 4 * n_ && t.columns > 1) {
        t.columns = (t.columns + 1) / 2;
      } else if (t.rows > 1) {
        t.rows = (t.rows + 1) / 2;
      } else if (t.columns > 1) {
        t.columns = (t.columns + 1) / 2;
      } else if (t.taps_y > 1) {
        t.taps_y = (t.taps_y + 1) / 2;
      } else {
        t.taps_x = (t.taps_x + 1) / 2;
      }
    }
    // Lines of a few vectors: several planes side by side, as long as all of it stays in the first-level cache.
    if (!geometry_.channels_last && depth_.output == 1 && t.columns == width_.output && t.taps_x == width_.kernel &&
        t.taps_y == height_.kernel && call_.end - call_.begin >= 2 * height_.output) {
      const int64_t most = std::min(images_of_planes_, (call_.end - call_.begin) / height_.output);
      for (Tile more = t; more.planes < most && more.planes * Segment() < 32 * n_; t = more) {
        ++more.planes;
        if (!Fits(more) || ScratchLanes(more, 1) > capacity_ / 8 * 5) break;
      }
    }
    tile_ = t;
    // Short rows go through the width in groups, so that loops are long enough to fill the pipeline.
    group_ = 1;
    while (group_ < RingRows(t) && group_ * RowElements(t) < 64 * n_ && ScratchLanes(t, group_ + 1) <= capacity_) {
      ++group_;
    }
    ring_rows_ = RingRows(t);
  }

  // Windows of `taps` taps from windows of this many, at most 4 at a time; balanced over the passes.
  static int64_t Shrink(int64_t taps) {
    int64_t radix = 4;
    if (taps <= 16) radix = taps <= 4 ? 2 : taps <= 9 ? 3 : 4;
    return (taps + radix - 1) / radix;
  }

  // False if the plan was there already.
  [[gnu::cold]] bool PlanWidth(int64_t ox, int64_t columns, int64_t channel, int64_t channels, int64_t tap,
                               int64_t planes) {
    WidthPlan& p = width_plan_;
    if (p.columns == columns && p.ox == ox && p.channel == channel && p.channels == channels && p.tap == tap &&
        p.planes == planes) {
      return false;
    }
    p.ox = ox;
    p.columns = columns;
    p.channel = channel;
    p.channels = channels;
    p.tap = tap;
    p.planes = planes;
    const int64_t taps = p.taps = std::min(tile_.taps_x, width_.kernel - tap);
    const int64_t begin = width_.Begin(ox) + tap * width_.dilation;
    const int64_t span = Span(columns, taps, width_);
    const int64_t stride = columns == 1 && tile_.planes == 1 ? 1 : width_.stride;
    const int64_t padded = CeilDivide(span, stride) * stride;
    p.left = std::min(padded, std::max<int64_t>(0, -begin));
    p.first = begin + p.left;
    p.count = std::max<int64_t>(0, std::min(padded - p.left, width_.input - p.first));
    p.segment = tile_.planes == 1 ? padded - p.left : Segment();
    const int64_t row = CeilDivide(p.left + planes * p.segment, stride) * stride;
    p.pitch = row * channels;
    p.split = stride > 1;
    p.split_pitch = row / stride * channels;
    p.out_segment = p.segment / stride * channels;
    p.edge = std::min(columns, begin < 0 ? CeilDivide(-begin, width_.stride) : 0);
    const int64_t outputs = (planes - 1) * p.out_segment + columns * channels;
    out_vectors_ = (outputs + n_ - 1) / n_;
    out_pitch_ = RowPitch(outputs);

    // In vectors loaded and stored per row: all taps at once, or windows grown by passes.
    const int64_t row_vectors = (p.pitch + n_ - 1) / n_;
    const bool scalar_split = stride > 2 && channels == 1;
    int64_t grow_cost = stride == 1 ? 0 : scalar_split ? outputs : 2 * out_vectors_;
    const int64_t split_cost = stride == 1 ? 0 : scalar_split ? p.pitch : 2 * row_vectors;
    for (int64_t to = taps; to > 1; to = Shrink(to)) {
      const int64_t from = Shrink(to);
      grow_cost += (to == taps && stride == 1 ? out_vectors_ : row_vectors) * (CeilDivide(to, from) + 1);
    }
    const bool direct = (!p.split || taps <= kMaxTaps) && split_cost + out_vectors_ * (taps + 1) <= grow_cost;
    p.grown = direct ? 1 : p.split ? taps : Shrink(taps);
    p.last_taps = direct ? taps : p.split ? 1 : CeilDivide(taps, p.grown);
    const int64_t phase_pitch = PhasePitch();
    for (int64_t t = 0; t < std::min(p.last_taps, kMaxTaps); ++t) {
      const int64_t shift = std::min(t * p.grown, taps - p.grown);
      const int64_t column = shift * width_.dilation;
      const int64_t phase = stride == 1 ? 0 : column % stride;
      window_tap_[t] = static_cast<int32_t>(shift);
      window_offset_[t] = static_cast<int32_t>(phase * phase_pitch + (column - phase) / stride * channels);
    }
    return true;
  }

  // Elements from phase to phase of a group of rows, with room for whole vectors where phases are split in one go.
  int64_t PhasePitch() const { return width_plan_.split_pitch * group_ + (width_.stride <= 4 ? n_ : 0); }

  // Where the rows that a block of outputs reads are in the ring. Padding rows stand for the nearest in-range row of
  // the same window, which changes nothing. Planes that fit the ring as a whole find the table ready.
  [[gnu::cold]] void PlanHeight(int64_t begin, int64_t span) {
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

  // Elements that may be read from the first element of row 0 at depth z on (all rows if they are dense), or from the
  // first element of any row (else). Channels-last: in elements of the tensor's pixels, whose last may be narrower.
  int64_t Readable(int64_t n, int64_t c, int64_t z) const {
    const Strides& s = geometry_.input;
    const int64_t cut = s.axis[kWidth] - inner_;  // channels of the last pixel that are not ours
    const int64_t row = width_.input * s.axis[kWidth];
    if (!dense_rows_) return row - cut;
    int64_t size = height_.input * row;
    if (depth_.input > 1 && s.axis[kDepth] != size) return size - cut;
    int64_t readable = (depth_.input - z) * size;
    size *= depth_.input;
    if (!geometry_.channels_last) {
      if (geometry_.channels > 1 && s.channel != size) return readable;
      readable += (geometry_.channels - 1 - c) * size;
      size *= geometry_.channels;
    }
    if (geometry_.batch > 1 && s.batch != size) return readable - cut;
    return readable + (geometry_.batch - 1 - n) * size - cut;
  }
  // Whether neighbouring planes follow each other without a gap.
  bool DensePlanes() const {
    const Strides& s = geometry_.input;
    const int64_t size = height_.input * width_.input;
    return dense_rows_ && (depth_.input == 1 || s.axis[kDepth] == size) && s.channel == depth_.input * size;
  }

  const ForwardCall& call_;
  const Geometry& geometry_;
  const Axis& depth_;
  const Axis& height_;
  const Axis& width_;
  const int64_t arrays_;  // keys, and tap numbers behind them
  const int64_t n_;       // lanes per vector
  const int64_t inner_;   // elements per pixel
  const int64_t capacity_;
  int64_t images_of_planes_;  // planes that are one stride apart
  bool dense_rows_;
  bool may_be_empty_;

  Tile tile_;
  int64_t group_;      // rows reduced along the width at once
  int64_t ring_rows_;  // row y of the plane is in slot y % ring_rows_
  int64_t ring_end_;   // rows below this are in the ring already
  WidthPlan width_plan_ = {};
  int64_t out_vectors_, out_pitch_;  // of a row in the ring and in the sums
  int64_t table_begin_ = 0, table_span_ = 0, table_pitch_ = 0;
  int32_t window_offset_[kMaxTaps];  // of the windows that the last pass combines, and their first taps
  int32_t window_tap_[kMaxTaps];
  int32_t row_offset_[kMaxRows];
};

template <class Lane, bool kTaps>
class SeparableRun : SeparablePlan {
  using D = hn::ScalableTag<Lane>;
  using V = hn::Vec<D>;
  using Unsigned = hwy::MakeUnsigned<Lane>;

 public:
  SeparableRun(const ForwardCall& call, const Codec<Lane>& codec)
      : SeparablePlan(call, sizeof(Lane), N()), codec_(codec) {}

  [[gnu::cold]] void Run() {
    if (GlobalPlanes() || RowPlanes()) return;
    ChooseTile();
    TakeScratch();
    for (int64_t line = call_.begin; line < call_.end;) {
      const int64_t oy = line % height_.output;
      const int64_t outer = line / height_.output;
      const int64_t oz = outer % depth_.output;
      const int64_t plane = outer / depth_.output;
      const int64_t rows = std::min(height_.output - oy, call_.end - line);
      int64_t planes = 1;
      if (tile_.planes > 1 && rows == height_.output) {
        planes = std::min({tile_.planes, (call_.end - line) / rows, images_of_planes_ - plane % images_of_planes_});
      }
      Planes(plane, planes, oz, oy, rows);
      line += rows * planes;
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

  [[gnu::cold]] void TakeScratch() {
    Lane* next = static_cast<Lane*>(call_.scratch);
    const auto take = [&next](int64_t lanes) {
      Lane* const keys = next;
      next += lanes * (kTaps ? 2 : 1);
      return Buffer{keys, keys + (kTaps ? lanes : 0)};
    };
    const int64_t pitch = RowPitch(OutElements(tile_));
    row_ = take(RowElements(tile_) * group_);
    phases_ = row_;
    if (Splits(tile_)) phases_ = take(RowElements(tile_) * group_);
    ring_ = take(ring_rows_ * pitch + 4 * N());
    sums_ = take(tile_.rows * pitch + 4 * N());
    shared_ = take(4 * kMaxShare * N());
    first_taps_ = next;
  }

  // --- Width ----------------------------------------------------------------------------------------------------

  void Fill(Lane* to, int64_t count, Lane lane) const {
    const D d;
    const V all = hn::Set(d, lane);
    for (int64_t j = 0; j < count; j += N()) hn::StoreU(all, d, to + j);
  }

  // Tap numbers of the first in-range taps, where windows begin in the padding.
  [[gnu::cold]] void PlanEdge() const {
    const WidthPlan& p = width_plan_;
    Fill(first_taps_, out_pitch_, 0);
    for (int64_t plane = 0; plane < p.planes; ++plane) {
      for (int64_t o = 0; o < p.edge; ++o) {
        const Lane first = static_cast<Lane>(FirstTap(width_, width_.Begin(p.ox + o) + p.tap * width_.dilation));
        for (int64_t c = 0; c < p.channels; ++c) first_taps_[plane * p.out_segment + o * p.channels + c] = first;
      }
    }
  }

  // The padded row y of one tile as keys. `x` is the first element of row 0, see Readable for `readable`.
  void LoadRow(const char* x, int64_t readable, int64_t y, Lane* to) const {
    const WidthPlan& p = width_plan_;
    const Strides& s = geometry_.input;
    const int64_t left = p.left * p.channels, count = p.count * p.channels;
    const int64_t start = y * s.axis[kHeight] + p.first * s.axis[kWidth] + p.channel;
    // Reading past a row is fine only where the rows that follow are dense.
    readable -= dense_rows_ ? start : start - y * s.axis[kHeight];
    x += start * codec_.bytes;
    Fill(to, left, codec_.lowest);
    to += left;
    if (p.channels == s.axis[kWidth]) {
      codec_.load(x, s.channel, p.planes, count, readable, DensePlanes() ? s.channel : 0, to, p.segment * p.channels);
    } else {
      codec_.load(x, s.axis[kWidth], p.count, p.channels, readable, s.axis[kWidth], to, p.channels);
      Fill(to + count, p.segment * p.channels - count, codec_.lowest);
    }
  }

  // Windows of `from` taps become windows of `to` <= 4 * from taps, in place, over `count` elements.
  HWY_NOINLINE void Grow(int64_t from, int64_t to, int64_t count) const {
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
  [[gnu::cold]] void GrowTo(int64_t taps, int64_t count) const {
    if (taps == 1) return;
    const int64_t from = Shrink(taps);
    GrowTo(from, count);
    Grow(from, taps, count);
  }

  // Every stride-th pixel of `count` elements to its phase; only the first phase when windows are already grown.
  HWY_NOINLINE void Split(const Lane* HWY_RESTRICT from, Lane* HWY_RESTRICT to, int64_t count) const {
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
        for (int64_t j = 0; j < pixels; ++j) target[j] = source[j * stride];
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

  // The last pass: combines windows into ring rows from `to` on, four vectors at a time.
  template <bool kCarried>
  HWY_NOINLINE void Gather(Buffer from, Buffer to, int64_t rows, int64_t pitch, int64_t y) const {
    const D d;
    const int64_t step = width_.dilation * width_plan_.channels;
    const int64_t windows = width_plan_.last_taps, n = N();
    const bool edge = width_plan_.edge > 0;
    for (int64_t r = 0; r < rows; ++r) {
      const V row_tap = hn::Set(d, RowTap(y + r));
      for (int64_t v = 0; v < out_vectors_ * n; v += 4 * n) {
        const Lane* HWY_RESTRICT keys = from.keys + r * pitch + v;
        V key0 = hn::LoadU(d, keys);
        V key1 = hn::LoadU(d, keys + n);
        V key2 = hn::LoadU(d, keys + 2 * n);
        V key3 = hn::LoadU(d, keys + 3 * n);
        V tap0 = hn::Zero(d), tap1 = tap0, tap2 = tap0, tap3 = tap0;
        if constexpr (kCarried) {
          const Lane* HWY_RESTRICT taps = from.taps + r * pitch + v;
          tap0 = hn::LoadU(d, taps);
          tap1 = hn::LoadU(d, taps + n);
          tap2 = hn::LoadU(d, taps + 2 * n);
          tap3 = hn::LoadU(d, taps + 3 * n);
        }
        for (int64_t t = 1; t < windows; ++t) {
          const int64_t offset = t < kMaxTaps ? window_offset_[t] : t * step;
          const V other0 = hn::LoadU(d, keys + offset);
          const V other1 = hn::LoadU(d, keys + offset + n);
          const V other2 = hn::LoadU(d, keys + offset + 2 * n);
          const V other3 = hn::LoadU(d, keys + offset + 3 * n);
          if constexpr (kTaps) {
            const V number = hn::Set(d, static_cast<Lane>(t < kMaxTaps ? window_tap_[t] : t));
            V number0 = number, number1 = number, number2 = number, number3 = number;
            if constexpr (kCarried) {
              const Lane* HWY_RESTRICT taps = from.taps + r * pitch + v + offset;
              number0 = hn::Add(number, hn::LoadU(d, taps));
              number1 = hn::Add(number, hn::LoadU(d, taps + n));
              number2 = hn::Add(number, hn::LoadU(d, taps + 2 * n));
              number3 = hn::Add(number, hn::LoadU(d, taps + 3 * n));
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
        const int64_t at = r * out_pitch_ + v;
        hn::StoreU(key0, d, to.keys + at);
        hn::StoreU(key1, d, to.keys + at + n);
        hn::StoreU(key2, d, to.keys + at + 2 * n);
        hn::StoreU(key3, d, to.keys + at + 3 * n);
        if constexpr (kTaps) {
          if (edge) {
            tap0 = LaterTap(tap0, first_taps_ + v);
            tap1 = LaterTap(tap1, first_taps_ + v + n);
            tap2 = LaterTap(tap2, first_taps_ + v + 2 * n);
            tap3 = LaterTap(tap3, first_taps_ + v + 3 * n);
          }
          hn::StoreU(hn::Add(tap0, row_tap), d, to.taps + at);
          hn::StoreU(hn::Add(tap1, row_tap), d, to.taps + at + n);
          hn::StoreU(hn::Add(tap2, row_tap), d, to.taps + at + 2 * n);
          hn::StoreU(hn::Add(tap3, row_tap), d, to.taps + at + 3 * n);
        }
      }
    }
  }
  // Where nothing beats the padding at the window's start, the first in-range tap is the answer.
  static HWY_INLINE V LaterTap(V tap, const Lane* first) {
    const D d;
    // Highway 1.0.3 is slow at unsigned 64-bit maxima; that many taps do not exist.
    const std::conditional_t<sizeof(Lane) < 4, hn::RebindToUnsigned<D>, D> du;
    return hn::BitCast(d, hn::Max(hn::BitCast(du, tap), hn::BitCast(du, hn::LoadU(d, first))));
  }

  // Ring rows carry tap numbers counted from input row 0 in steps of the dilation; see ReduceHeight.
  Lane RowTap(int64_t y) const {
    return static_cast<Lane>((height_.dilation == 1 ? y : y / height_.dilation) * width_.kernel);
  }

  // Reduces input rows [y, end) of the planes into the ring. `x` is the first element of row 0.
  HWY_NOINLINE void ReduceRows(const char* x, int64_t readable, int64_t y, int64_t end) const {
    const WidthPlan& p = width_plan_;
    while (y < end) {
      const int64_t slot = y % ring_rows_;
      const int64_t rows = std::min({end - y, group_, ring_rows_ - slot});
      for (int64_t r = 0; r < rows; ++r) LoadRow(x, readable, y + r, row_.keys + r * p.pitch);
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
      y += rows;
    }
  }

  // --- Height ---------------------------------------------------------------------------------------------------

  // Combines `rows` outputs of the block from the ring into the sums. Outputs whose windows lie on the same rows of
  // the dilated grid share what all of them cover: with the outputs' windows starting s rows apart, `share` outputs
  // cost taps + 2 * (share - 1) * s maxima instead of share * taps.
  [[gnu::cold]] void ReduceHeight(int64_t rows, int64_t taps, int64_t begin, Lane tap_origin, bool fresh) const {
    const int64_t common = std::gcd(height_.stride, height_.dilation);
    const int64_t classes = height_.dilation / common;  // every classes-th output is on the same rows
    const int64_t apart = height_.stride / common;      // their distance in taps
    const int64_t most = std::min(kMaxShare, (taps - 1) / apart + 1);
    for (int64_t c = 0; c < std::min(classes, rows); ++c) {
      for (int64_t o = c; o < rows; o += classes * most) {
        // Turns row-based tap numbers into those of the first output's window; see RowTap.
        const Lane origin =
            static_cast<Lane>(tap_origin - FloorDivide(begin + o * height_.stride, height_.dilation) * width_.kernel);
        ReduceColumns({row_offset_ + o * height_.stride, height_.dilation, taps,
                       std::min(most, (rows - o + classes - 1) / classes), apart, o, classes, origin, fresh});
      }
    }
  }

  struct Column {
    const int32_t* offset;  // of the rows, in steps of `step` per tap
    int64_t step, taps;
    int64_t share, apart;  // outputs, and taps between the beginnings of their windows
    int64_t o, classes;    // the first output, and the distance to the next
    Lane origin;
    bool fresh;
  };

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

  // `share` outputs of all columns; see ReduceHeight. Four vectors at a time hide the latency of the chain of maxima
  // and the cost of the loops.
  HWY_NOINLINE void ReduceColumns(const Column& c) const {
    const int64_t n = N();
    const int32_t* HWY_RESTRICT offset = c.offset;
    const int64_t step = c.step, taps = c.taps, share = c.share, apart = c.apart;
    const int64_t core = (share - 1) * apart;
    for (int64_t v = 0; v < out_vectors_; v += 4) {
      const Buffer rows = {ring_.keys + v * n, ring_.taps + v * n};
      V key0, key1, key2, key3, tap0, tap1, tap2, tap3;
      tap0 = tap1 = tap2 = tap3 = hn::Zero(D());
      const auto load = [&](int64_t at) HWY_ATTR {
        LoadPair(rows, at, key0, tap0);
        LoadPair(rows, at + n, key1, tap1);
        LoadPair(rows, at + 2 * n, key2, tap2);
        LoadPair(rows, at + 3 * n, key3, tap3);
      };
      const auto later = [&](int64_t at) HWY_ATTR {
        Later(rows, at, key0, tap0);
        Later(rows, at + n, key1, tap1);
        Later(rows, at + 2 * n, key2, tap2);
        Later(rows, at + 3 * n, key3, tap3);
      };
      const auto earlier = [&](Buffer other, int64_t at) HWY_ATTR {
        Earlier(other, at, key0, tap0);
        Earlier(other, at + n, key1, tap1);
        Earlier(other, at + 2 * n, key2, tap2);
        Earlier(other, at + 3 * n, key3, tap3);
      };
      const auto emit = [&](int64_t g) HWY_ATTR {
        const int64_t at = (c.o + g * c.classes) * out_pitch_ + v * n;
        const V origin = hn::Set(D(), static_cast<Lane>(c.origin - g * apart * width_.kernel));
        Emit(key0, tap0, at, origin, c.fresh);
        Emit(key1, tap1, at + n, origin, c.fresh);
        Emit(key2, tap2, at + 2 * n, origin, c.fresh);
        Emit(key3, tap3, at + 3 * n, origin, c.fresh);
      };
      // The shared rows, then upwards to the first output's window, keeping each output's part.
      load(offset[core * step]);
      for (int64_t t = core + 1; t < taps; ++t) later(offset[t * step]);
      for (int64_t g = share - 1; g > 0; --g) {
        StorePair(key0, tap0, shared_, g * 4 * n);
        StorePair(key1, tap1, shared_, (g * 4 + 1) * n);
        StorePair(key2, tap2, shared_, (g * 4 + 2) * n);
        StorePair(key3, tap3, shared_, (g * 4 + 3) * n);
        for (int64_t t = g * apart - 1; t >= (g - 1) * apart; --t) earlier(rows, offset[t * step]);
      }
      emit(0);
      if (share == 1) continue;
      // Downwards from the shared rows.
      load(offset[taps * step]);
      for (int64_t t = taps + 1; t < taps + apart; ++t) later(offset[t * step]);
      for (int64_t g = 1;; ++g) {
        const V below0 = key0, below1 = key1, below2 = key2, below3 = key3;
        const V below_tap0 = tap0, below_tap1 = tap1, below_tap2 = tap2, below_tap3 = tap3;
        earlier(shared_, g * 4 * n);
        emit(g);
        if (g == share - 1) break;
        key0 = below0, key1 = below1, key2 = below2, key3 = below3;
        tap0 = below_tap0, tap1 = below_tap1, tap2 = below_tap2, tap3 = below_tap3;
        for (int64_t t = taps + g * apart; t < taps + (g + 1) * apart; ++t) later(offset[t * step]);
      }
    }
  }

  // One vector of an output row, into the sums.
  HWY_INLINE void Emit(V key, V tap, int64_t at, V origin, bool fresh) const {
    const D d;
    if constexpr (kTaps) tap = hn::Add(tap, origin);
    if (!fresh) {
      const V old = hn::LoadU(d, sums_.keys + at);
      if constexpr (kTaps) tap = hn::IfThenElse(hn::Gt(key, old), tap, hn::LoadU(d, sums_.taps + at));
      key = hn::Max(key, old);
    }
    hn::StoreU(key, d, sums_.keys + at);
    if (kTaps) hn::StoreU(tap, d, sums_.taps + at);
  }

  // --- Planes, tiles, output --------------------------------------------------------------------------------------

  [[gnu::cold]] void Planes(int64_t plane, int64_t planes, int64_t oz, int64_t oy, int64_t rows) {
    for (int64_t channel = 0; channel < inner_; channel += tile_.channels) {
      const int64_t channels = std::min(tile_.channels, inner_ - channel);
      for (int64_t ox = 0; ox < width_.output; ox += tile_.columns) {
        const int64_t columns = std::min(tile_.columns, width_.output - ox);
        ring_end_ = 0;
        for (int64_t o = 0; o < rows; o += tile_.rows) {
          const int64_t block = std::min(tile_.rows, rows - o);
          const auto plan_width = [&](int64_t tap) {
            if (PlanWidth(ox, columns, channel, channels, tap, planes) && kTaps && width_plan_.edge > 0) PlanEdge();
          };
          const bool empty = !ReduceBlock(plane, oz, oy + o, block, plan_width);
          StoreBlock(plane, oz, oy + o, block, empty);
        }
      }
    }
  }

  int64_t Image(int64_t plane) const { return geometry_.channels_last ? plane : plane / geometry_.channels; }
  int64_t Channel(int64_t plane) const { return geometry_.channels_last ? 0 : plane % geometry_.channels; }

  // Reduces all taps of one block of outputs into the sums. False if no tap is in range.
  template <class PlanWidthTap>
  [[gnu::cold]] bool ReduceBlock(int64_t plane, int64_t oz, int64_t oy, int64_t rows, const PlanWidthTap& plan_width) {
    const Strides& s = geometry_.input;
    const int64_t n = Image(plane), c = Channel(plane);
    const int64_t depth_begin = depth_.Begin(oz);
    const int64_t first_z = FirstTap(depth_, depth_begin);
    const int64_t end_z = EndTap(depth_, depth_begin, depth_.kernel);
    const bool one_pass = end_z - first_z == 1 && tile_.taps_y == height_.kernel && tile_.taps_x == width_.kernel;
    bool fresh = true;
    plan_width(0);
    for (int64_t tz = first_z; tz < end_z; ++tz) {
      const int64_t z = depth_begin + tz * depth_.dilation;
      const char* x =
          static_cast<const char*>(call_.x) + (n * s.batch + c * s.channel + z * s.axis[kDepth]) * codec_.bytes;
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
          plan_width(tx);
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

  using StoreFunction = void (*)(const Lane*, int64_t, int64_t, int64_t, void*, int64_t, int64_t, int64_t);
  StoreFunction TapStoreFunction() const {
    if (call_.taps.bytes == 1) return &StoreRuns<TapStore<Lane, uint8_t>, Lane>;
    if (call_.taps.bytes == 2) return &StoreRuns<TapStore<Lane, uint16_t>, Lane>;
    return &StoreRuns<TapStore<Lane, uint32_t>, Lane>;
  }

  // Stores a block of rows to an output that begins at `to`. Rows that follow each other without a gap may be written
  // past their end while the next row of the block is still to come.
  void StoreRows(const Lane* from, int64_t rows, const Strides& s, StoreFunction store, int64_t bytes, char* to) const {
    const WidthPlan& p = width_plan_;
    const int64_t pixel = s.axis[kWidth], step = s.axis[kHeight];
    if (p.channels != pixel) {
      for (int64_t r = 0; r < rows; ++r) {
        store(from + r * out_pitch_, p.channels, p.columns, p.channels, to + r * step * bytes, pixel, p.channels, 0);
      }
      return;
    }
    const int64_t row = p.columns * p.channels;
    const bool dense = row == step;
    const bool dense_planes = dense && rows * step == s.channel;
    for (int64_t plane = 0; plane < p.planes; ++plane) {
      const int64_t writable = dense ? (dense_planes ? p.planes - plane : 1) * rows * row : row;
      store(from + plane * p.out_segment, out_pitch_, rows, row, to + plane * s.channel * bytes, step, writable,
            dense ? row : 0);
    }
  }

  [[gnu::cold]] void StoreBlock(int64_t plane, int64_t oz, int64_t oy, int64_t rows, bool empty) const {
    const WidthPlan& p = width_plan_;
    const auto start = [&](const Strides& s) {
      return Image(plane) * s.batch + Channel(plane) * s.channel + oz * s.axis[kDepth] + oy * s.axis[kHeight] +
             p.ox * s.axis[kWidth] + p.channel;
    };
    const bool any_empty = empty || may_be_empty_;
    if (any_empty) {
      for (int64_t r = 0; r < rows; ++r) {
        if (empty || IsEmpty(height_, oy + r)) Fill(sums_.keys + r * out_pitch_, out_vectors_ * N(), codec_.lowest);
      }
    }
    const Strides& y = geometry_.output;
    StoreRows(sums_.keys, rows, y, codec_.store, codec_.bytes, static_cast<char*>(call_.y) + start(y) * codec_.bytes);
    if constexpr (kTaps) {
      const Strides& s = call_.taps.strides;
      const int64_t bytes = call_.taps.bytes;
      char* const to = static_cast<char*>(call_.taps.base) + (start(s) - call_.taps.origin) * bytes;
      StoreRows(sums_.taps, rows, s, TapStoreFunction(), bytes, to);
      if (!any_empty) return;
      for (int64_t r = 0; r < p.planes * rows; ++r) {
        const bool empty_row = empty || IsEmpty(height_, oy + r % rows);
        char* const line = to + (r / rows * s.channel + r % rows * s.axis[kHeight]) * bytes;
        for (int64_t o = 0; o < p.columns; ++o) {
          if (!empty_row && !IsEmpty(width_, p.ox + o)) continue;
          std::memset(line + o * s.axis[kWidth] * bytes, 0xFF, static_cast<size_t>(p.channels * bytes));
        }
      }
    }
  }

  // --- Global pooling ---------------------------------------------------------------------------------------------

  // Whole planes of few vectors, channels-first: each is reduced to one vector, then neighbouring lanes of many planes
  // at a time. False if the call is something else.
  HWY_NOINLINE bool GlobalPlanes() const {
    if (geometry_.channels_last) return false;
    int64_t size = 1;
    for (int i = kWidth; i >= kDepth; --i) {
      const Axis& a = geometry_.axis[i];
      if (a.output != 1 || a.kernel != a.input || a.dilation != 1 || a.pad_before != 0) return false;
      if (a.input > 1 && geometry_.input.axis[i] != size) return false;
      size *= a.input;
    }
    const D d;
    const int64_t n = N(), pitch = RoundUp(size);
    const int64_t most = (capacity_ - 8 * n) / (arrays_ * (pitch + n)) / n * n;
    if (most == 0 || (n & (n - 1)) != 0) return false;
    Lane* const keys = static_cast<Lane*>(call_.scratch);
    Lane* const best = keys + most * pitch + n;
    const Strides& s = geometry_.input;
    for (int64_t line = call_.begin; line < call_.end;) {
      const int64_t image = Image(line), c = Channel(line);
      const int64_t planes = std::min({most, call_.end - line, images_of_planes_ - line % images_of_planes_});
      const char* x = static_cast<const char*>(call_.x) + (image * s.batch + c * s.channel) * codec_.bytes;
      codec_.load(x, s.channel, planes, size, s.channel == size ? planes * size : size, s.channel == size ? size : 0,
                  keys, pitch);
      for (int64_t p = 0; p < planes; ++p) {
        V key = hn::LoadU(d, keys + p * pitch);
        for (int64_t j = n; j < pitch; j += n) key = hn::Max(key, hn::LoadU(d, keys + p * pitch + j));
        hn::StoreU(key, d, best + p * n);
      }
      for (int64_t width = n / 2; width > 0; width /= 2) {
        for (int64_t j = 0; j < planes * width; j += n) {
          const V lo = hn::LoadU(d, best + 2 * j), hi = hn::LoadU(d, best + 2 * j + n);
          hn::StoreU(hn::Max(EvenLanes(d, lo, hi), OddLanes(d, lo, hi)), d, best + j);
        }
      }
      const Strides& y = geometry_.output;
      StorePlanes(best, planes, y, codec_.store,
                  static_cast<char*>(call_.y) + (image * y.batch + c * y.channel) * codec_.bytes);
      if constexpr (kTaps) {
        const Strides& t = call_.taps.strides;
        Lane* const taps = best + most * n + n;
        for (int64_t p = 0; p < planes; ++p) {
          const V key = hn::Set(d, best[p]);
          int64_t j = 0;
          intptr_t lane;
          while ((lane = hn::FindFirstTrue(d, hn::Eq(key, hn::LoadU(d, keys + p * pitch + j)))) < 0) j += n;
          taps[p] = static_cast<Lane>(j + lane);
        }
        StorePlanes(taps, planes, t, TapStoreFunction(),
                    static_cast<char*>(call_.taps.base) +
                        (image * t.batch + c * t.channel - call_.taps.origin) * call_.taps.bytes);
      }
      line += planes;
    }
    return true;
  }

  // --- Planes whose rows fit a vector -----------------------------------------------------------------------------

  // Dense channels-first planes with a row per vector: windows grow to the right and then to the left of each lane by
  // lookups, where lanes that would leave the row look up themselves. 0.55 of the time of rows side by side (13x13 f32
  // on AVX-512). False if the call is something else.
  [[gnu::cold]] HWY_NOINLINE bool RowPlanes() const {
    if constexpr (!kHasLookup<Lane>) return false;
    const int64_t n = N();
    const int64_t in_plane = height_.input * width_.input, out_plane = height_.output * width_.output;
    const int64_t left = width_.pad_before / width_.dilation, last = width_.kernel - 1;
    if (geometry_.channels_last || may_be_empty_ || width_.input > n || width_.output > n) return false;
    if (depth_.input != 1 || depth_.output != 1 || depth_.kernel != 1 || depth_.pad_before != 0) return false;
    if (width_.pad_before % width_.dilation != 0 || left > last || height_.kernel > kMaxShare) return false;
    if ((width_.output - 1) * width_.stride >= width_.input) return false;
    if (call_.begin % height_.output != 0 || call_.end % height_.output != 0 || call_.end == call_.begin) return false;
    const auto dense = [&](const Strides& s, const Axis& w, int64_t plane) {
      return (plane == w.input || s.axis[kHeight] == w.input) && s.channel == plane;
    };
    const Axis out_width = {width_.output, 0, 0, 0, 0, 0};
    if (!dense(geometry_.input, width_, in_plane) || !dense(geometry_.output, out_width, out_plane)) return false;
    if (kTaps && !dense(call_.taps.strides, out_width, out_plane)) return false;

    constexpr int64_t kMaxSteps = 16;
    const int64_t rows_per_plane = height_.input + height_.output;
    const int64_t most = (capacity_ / 8 * 5 - (kMaxSteps + 8) * n) / (rows_per_plane * n * arrays_);
    if (most < 1) return false;
    Lane* const tables = static_cast<Lane*>(call_.scratch);
    int64_t steps = 0, rights = 0;
    for (int sign = 1; sign >= -1; sign -= 2) {
      const int64_t wanted = std::min((sign > 0 ? last - left : left), (width_.input - 1) / width_.dilation) + 1;
      for (int64_t have = 1, more; have < wanted; have += more, ++steps) {
        more = std::min(have, wanted - have);
        for (int64_t i = 0; i < n; ++i) {
          const int64_t other = i + sign * more * width_.dilation;
          tables[steps * n + i] = static_cast<Lane>(other >= 0 && other < width_.input ? other : i);
        }
      }
      if (sign > 0) rights = steps;
    }
    Lane* const stride_table = tables + kMaxSteps * n;
    Lane* const columns = stride_table + n;
    Lane* const origins = columns + n;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t begin = std::min(i * width_.stride, width_.input - 1);
      stride_table[i] = static_cast<Lane>(begin);
      columns[i] = static_cast<Lane>(i / width_.dilation);
      origins[i] = static_cast<Lane>(left - begin / width_.dilation);
    }
    Lane* const keys = origins + n;
    Lane* const best = keys + most * height_.input * n;
    const int64_t taps_at = most * rows_per_plane * n;  // from keys to tap numbers

    for (int64_t plane = call_.begin / height_.output; plane < call_.end / height_.output;) {
      const int64_t planes =
          std::min({most, call_.end / height_.output - plane, images_of_planes_ - plane % images_of_planes_});
      const int64_t image = Image(plane), c = Channel(plane);
      const Strides& s = geometry_.input;
      codec_.load(static_cast<const char*>(call_.x) + (image * s.batch + c * s.channel) * codec_.bytes, width_.input,
                  planes * height_.input, width_.input, planes * in_plane, width_.input, keys, n);
      GrowRows(tables, rights, steps, planes * height_.input, keys, keys + taps_at);
      ReducePlanes(planes, keys, best, taps_at);
      const Strides& y = geometry_.output;
      codec_.store(best, n, planes * height_.output, width_.output,
                   static_cast<char*>(call_.y) + (image * y.batch + c * y.channel) * codec_.bytes, width_.output,
                   planes * out_plane, width_.output);
      if constexpr (kTaps) {
        const Strides& t = call_.taps.strides;
        TapStoreFunction()(best + taps_at, n, planes * height_.output, width_.output,
                           static_cast<char*>(call_.taps.base) +
                               (image * t.batch + c * t.channel - call_.taps.origin) * call_.taps.bytes,
                           width_.output, planes * out_plane, width_.output);
      }
      plane += planes;
    }
    return true;
  }

  // Reduces rows of one vector along the width; see RowPlanes for the tables.
  HWY_NOINLINE void GrowRows(const Lane* tables, int64_t rights, int64_t steps, int64_t rows, Lane* HWY_RESTRICT keys,
                             Lane* HWY_RESTRICT taps) const {
    const D d;
    const int64_t n = N();
    constexpr int64_t kMaxSteps = 16;
    const V stride = hn::LoadU(d, tables + kMaxSteps * n);
    const V columns = hn::LoadU(d, tables + (kMaxSteps + 1) * n);
    const V origins = hn::LoadU(d, tables + (kMaxSteps + 2) * n);
    for (int64_t r = 0; r < rows * n; r += n) {
      V key = hn::LoadU(d, keys + r);
      V tap = columns;
      int64_t step = 0;
      for (; step < rights; ++step) {
        const V from = hn::LoadU(d, tables + step * n);
        const V other = LookupLanes(d, key, from);
        if constexpr (kTaps) tap = hn::IfThenElse(hn::Gt(other, key), LookupLanes(d, tap, from), tap);
        key = hn::Max(key, other);
      }
      for (; step < steps; ++step) {
        const V from = hn::LoadU(d, tables + step * n);
        const V other = LookupLanes(d, key, from);
        if constexpr (kTaps) tap = hn::IfThenElse(hn::Gt(key, other), tap, LookupLanes(d, tap, from));
        key = hn::Max(key, other);
      }
      if (width_.stride != 1) {
        key = LookupLanes(d, key, stride);
        if constexpr (kTaps) tap = LookupLanes(d, tap, stride);
      }
      hn::StoreU(key, d, keys + r);
      if (kTaps) hn::StoreU(hn::Add(tap, origins), d, taps + r);
    }
  }

  // Reduces rows of one vector along the height. Windows at the edges are short, so that sharing rows between outputs
  // does not pay. One output row of all planes at a time: loops of one length are predicted (1.3 times faster).
  HWY_NOINLINE void ReducePlanes(int64_t planes, const Lane* keys, Lane* best, int64_t taps_at) const {
    const D d;
    const int64_t n = N(), step = height_.dilation * n;
    const V next = hn::Set(d, static_cast<Lane>(width_.kernel));
    for (int64_t o = 0; o < height_.output; ++o) {
      const int64_t begin = height_.Begin(o);
      const int64_t first = FirstTap(height_, begin);
      const int64_t taps = EndTap(height_, begin, height_.kernel) - first;
      const Lane* HWY_RESTRICT from = keys + (begin + first * height_.dilation) * n;
      Lane* HWY_RESTRICT to = best + o * n;
      const V first_number = hn::Set(d, static_cast<Lane>(first * width_.kernel));
      for (int64_t p = 0; p < planes; ++p, from += height_.input * n, to += height_.output * n) {
        V key = hn::LoadU(d, from);
        V number = first_number;
        V tap = number;
        if (kTaps) tap = hn::Add(number, hn::LoadU(d, from + taps_at));
        for (int64_t t = 1; t < taps; ++t) {
          const V other = hn::LoadU(d, from + t * step);
          if constexpr (kTaps) {
            number = hn::Add(number, next);
            tap = hn::IfThenElse(hn::Gt(other, key), hn::Add(number, hn::LoadU(d, from + t * step + taps_at)), tap);
          }
          key = hn::Max(key, other);
        }
        hn::StoreU(key, d, to);
        if (kTaps) hn::StoreU(tap, d, to + taps_at);
      }
    }
  }

  static void StorePlanes(const Lane* from, int64_t planes, const Strides& s, StoreFunction store, char* to) {
    const bool dense = s.channel == 1 || planes == 1;
    store(from, 1, dense ? 1 : planes, dense ? planes : 1, to, s.channel, dense ? planes : 1, 0);
  }

  const Codec<Lane> codec_;
  Buffer row_, phases_, ring_, sums_, shared_;
  Lane* first_taps_;
};

template <class Lane, bool kTaps>
HWY_NOINLINE void RunSeparable(const ForwardCall& call, const Codec<Lane>& codec) {
  SeparableRun<Lane, kTaps>(call, codec).Run();
}

// Pools lines [begin, end) of any geometry. The tap numbers must fit call.taps.bytes.
template <class T>
void Separable(const ForwardCall& call) {
  using Lane = typename KeyLanes<T>::Lane;
  using Wide = std::conditional_t<(sizeof(Lane) < 4), int32_t, Lane>;
  if (call.taps.base == nullptr) {
    RunSeparable<Lane, false>(call, ElementCodec<T, Lane>::Make());
  } else if (sizeof(Lane) >= 4 || call.geometry->Taps() <= (int64_t{1} << (8 * sizeof(Lane) % 64))) {
    RunSeparable<Lane, true>(call, ElementCodec<T, Lane>::Make());
  } else {
    RunSeparable<Wide, true>(call, ElementCodec<T, Wide>::Make());
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace peakpool
HWY_AFTER_NAMESPACE();

#endif  // PEAKPOOL_SRC_KERNELS_SEPARABLE_INL_H_
