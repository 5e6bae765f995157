// SPDX-License-Identifier: Apache-2.0
// How the general forward engine (separable.cc) cuts a call into tiles and passes. Plain arithmetic, the same for
// every target and lane type; everything is sized in lanes.
#ifndef PEAKPOOL_SRC_KERNELS_SEPARABLE_PLAN_H_
#define PEAKPOOL_SRC_KERNELS_SEPARABLE_PLAN_H_

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "src/geometry.h"
#include "src/kernels/kernels.h"
#include "src/kernels/separable.h"

namespace peakpool {

// A call in as few axes as its windows really have, so that short lines become long ones: taps that are in range for no
// output go, an axis of one element gives its place to the next outer one, and an outer axis that windows do not extend
// along makes more planes. Tap numbers still count in the caller's window: a tap of axis a is worth tap_step[a], and
// the first one of all is tap_origin.
struct SeparableProblem {
  Geometry geometry;
  ForwardCall call;  // but for its geometry
  int64_t tap_step[3];
  int64_t tap_origin = 0;

  [[gnu::cold]] SeparableProblem(const ForwardCall& c, int64_t lanes) : geometry(*c.geometry), call(c) {
    Axis* const axis = geometry.axis;
    tap_step[kWidth] = 1;
    tap_step[kHeight] = axis[kWidth].kernel;
    tap_step[kDepth] = axis[kHeight].kernel * axis[kWidth].kernel;
    for (int a = kDepth; a <= kWidth; ++a) Trim(a);
    for (int i = 0; i < 2; ++i) {
      if (IsSingle(axis[kHeight])) Replace(kHeight);
      if (IsSingle(axis[kWidth]) && MayReplaceWidth()) Replace(kWidth);
    }
    const bool short_lines = axis[kWidth].input * (geometry.channels_last ? geometry.channels : 1) < 32 * lanes;
    if (MakePlanesOf(kDepth) && short_lines) MakePlanesOf(kHeight);
  }

 private:
  static constexpr Axis kSingle = {1, 1, 1, 1, 1, 0};
  static bool IsSingle(const Axis& a) {
    return a.input == 1 && a.output == 1 && a.kernel == 1 && a.pad_before == 0 && !a.adaptive;
  }
  template <class Visit>
  void ForEachStrides(const Visit& visit) {
    visit(geometry.input);
    visit(geometry.output);
    visit(call.taps.strides);
  }

  void Trim(int a) {
    Axis& axis = geometry.axis[a];
    if (axis.adaptive) return;
    const int64_t first = axis.FirstTap(axis.output - 1), end = axis.TapEnd(0);
    if (first < end) {
      axis.kernel = end - first;
      axis.pad_before -= first * axis.dilation;
      tap_origin += first * tap_step[a];
    } else {
      axis.kernel = 1;  // every window is empty, whose one tap tells as well
    }
    if (axis.kernel == 1) axis.dilation = 1;
    if (axis.output == 1) axis.stride = 1;
  }

  // Channels-first, columns are next to each other; and the call must be of whole rows of the new kind.
  bool MayReplaceWidth() {
    const int64_t rows = geometry.axis[kHeight].output;
    bool may = call.begin % rows == 0 && call.end % rows == 0;
    if (!geometry.channels_last) ForEachStrides([&may](Strides& s) { may = may && s.axis[kHeight] == 1; });
    return may;
  }
  // The axes outside of `a` each move one place inwards.
  void Replace(int a) {
    if (a == kWidth) {
      call.begin /= geometry.axis[kHeight].output;
      call.end /= geometry.axis[kHeight].output;
    }
    for (; a > kDepth; --a) {
      geometry.axis[a] = geometry.axis[a - 1];
      tap_step[a] = tap_step[a - 1];
      ForEachStrides([a](Strides& s) { s.axis[a] = s.axis[a - 1]; });
    }
    geometry.axis[kDepth] = kSingle;
  }

  // False if `a`, the outermost axis, remains.
  bool MakePlanesOf(int a) {
    Axis& axis = geometry.axis[a];
    if (IsSingle(axis)) return true;
    if (axis.kernel != 1 || axis.stride != 1 || axis.pad_before != 0 || axis.input != axis.output) return false;
    int64_t& planes = geometry.channels_last ? geometry.batch : geometry.channels;
    const auto step = [this](Strides& s) -> int64_t& { return geometry.channels_last ? s.batch : s.channel; };
    bool even = true;
    if (planes > 1) ForEachStrides([&](Strides& s) { even = even && step(s) == axis.input * s.axis[a]; });
    if (!even) return false;
    planes *= axis.input;
    ForEachStrides([&](Strides& s) { step(s) = s.axis[a]; });
    axis = kSingle;
    return true;
  }
};

// How a call is cut into tiles and passes: everything that does not depend on the lane type but by its size.
// What runs once per tile is marked cold here and in the engine, which makes compilers spare code: 26 % of all, for 2 %
// of time.
class SeparablePlan {
 protected:
  static constexpr int64_t kMaxRows = 1024;  // of the table of ring rows
  static constexpr int64_t kMaxTaps = SeparableWidth::kMaxTaps;
  static constexpr int64_t kMaxShare = 16;  // outputs that share the rows all of them cover

  struct Tile {
    int64_t columns, channels, rows, depths;  // of the output; depths > 1 only with a ring of planes
    int64_t taps_y, taps_x;  // per pass; taps_x < kernel only with taps_y == 1, and that with rows == 1
    int64_t planes;          // side by side; > 1 only with whole lines and windows
  };

  // The rows of an axis that the outputs of a block read: row y is in slot y % slots.
  struct Ring {
    int64_t slots, pitch;
    int64_t end;  // rows below this are in the ring already
    int64_t begin = 0, span = 0, table_pitch = 0;
    int32_t offset[kMaxRows];  // of the rows from `begin` on
  };

  SeparablePlan(const SeparableProblem& problem, int64_t lane_bytes, int64_t lanes)
      : problem_(problem),
        call_(problem.call),
        geometry_(problem.geometry),
        depth_(geometry_.axis[kDepth]),
        height_(geometry_.axis[kHeight]),
        width_(geometry_.axis[kWidth]),
        tap_step_(problem.tap_step),
        arrays_(call_.taps.base == nullptr ? 1 : 2),
        n_(lanes),
        inner_(geometry_.channels_last ? geometry_.channels : 1),
        capacity_(problem.call.scratch_bytes / lane_bytes) {
    // Planes of all images in one sequence where their distances allow.
    const auto even = [this](const Strides& s) { return s.batch == s.channel * geometry_.channels; };
    const bool fold = even(geometry_.input) && even(geometry_.output) && (arrays_ == 1 || even(call_.taps.strides));
    images_of_planes_ = geometry_.channels_last ? geometry_.batch : fold ? geometry_.Planes() : geometry_.channels;
    dense_rows_ = height_.input == 1 || geometry_.input.axis[kHeight] == width_.input * geometry_.input.axis[kWidth];
    may_be_empty_ = MayBeEmpty(width_) || MayBeEmpty(height_) || MayBeEmpty(depth_);
  }

  static int64_t FloorDivide(int64_t a, int64_t b) { return b == 1 ? a : a >= 0 ? a / b : -((b - 1 - a) / b); }
  static int64_t CeilDivide(int64_t a, int64_t b) { return -FloorDivide(-a, b); }
  // The in-range taps of [0, taps) that begin at input position `begin`: [FirstTap, EndTap), empty if equal.
  static int64_t FirstTap(const Axis& axis, int64_t begin) { return begin < 0 ? CeilDivide(-begin, axis.dilation) : 0; }
  static int64_t EndTap(const Axis& axis, int64_t begin, int64_t taps) {
    return std::max(FirstTap(axis, begin), std::min(taps, CeilDivide(axis.input - begin, axis.dilation)));
  }
  // Whether windows may be empty; if not, no output needs to be looked at. All begin in the input, or reach into it.
  static bool MayBeEmpty(const Axis& axis) {
    return axis.Begin(axis.output - 1) >= axis.input || axis.pad_before > (axis.kernel - 1) * axis.dilation ||
           (axis.pad_before > 0 && axis.dilation > axis.input);
  }
  // Whether some window may have a tap at position y.
  static bool IsTouched(const Axis& axis, int64_t y) {
    const int64_t reach = (axis.kernel - 1) * axis.dilation;
    return reach + 1 >= axis.stride || (y - axis.Begin(0)) % axis.stride <= reach;
  }
  // Positions from the first tap of the first output to the last tap of the last one; at most, if adaptive.
  static int64_t Span(int64_t outputs, int64_t taps, const Axis& axis) {
    if (axis.adaptive) return CeilDivide(outputs * axis.whole_input, axis.whole_output) + 1 - (axis.kernel - taps);
    return (outputs - 1) * axis.stride + (taps - 1) * axis.dilation + 1;
  }
  int64_t RoundUp(int64_t elements) const { return (elements + n_ - 1) / n_ * n_; }
  // Odd numbers of vectors keep long rows out of the same cache sets.
  int64_t RowPitch(int64_t elements) const {
    const int64_t pitch = RoundUp(elements);
    return pitch + (pitch % 256 == 0 ? n_ : 0);
  }

  int64_t PlaneStep(const Strides& s) const { return geometry_.channels_last ? s.batch : s.channel; }
  int64_t LinesPerPlane() const { return depth_.output * height_.output; }
  // Columns from plane to plane: room for the padding, which neighbours share, and for the outputs.
  int64_t Segment() const {
    const int64_t left = std::max<int64_t>(0, width_.pad_before);
    const int64_t span = Span(width_.output, width_.kernel, width_);
    const int64_t needed = std::max({span - left, std::min(left, span) + width_.input, width_.output * width_.stride});
    return CeilDivide(needed, width_.stride) * width_.stride;
  }
  // From output to output of a line. A single output reads neighbours anyway, and one per plane lies one plane apart.
  int64_t LineStride(const Tile& t, int64_t columns) const {
    return columns > 1 ? width_.stride : t.planes > 1 ? Segment() : 1;
  }
  // Strides along the width are split in phases.
  bool Splits(const Tile& t) const { return width_.adaptive || LineStride(t, t.columns) > 1; }
  // Of a padded row, and of the buffers for a group of them.
  int64_t RowElements(const Tile& t) const {
    if (width_.adaptive) {
      const int64_t columns = t.planes == 1 ? Span(t.columns, t.taps_x, width_) : t.planes * Segment();
      return std::max(columns * t.channels, 2 * OutElements(t));
    }
    const int64_t stride = LineStride(t, t.columns);
    const int64_t slack = stride > 1 ? stride : 0;
    const int64_t columns = t.planes == 1 ? Span(t.columns, t.taps_x, width_)
                                          : t.planes * Segment() + std::max<int64_t>(0, width_.pad_before) + stride;
    return (columns + slack) * t.channels;
  }
  int64_t GroupElements(const Tile& t, int64_t rows) const { return RowElements(t) * rows + 8 * n_; }
  // Whether the rows that are loaded at once lie side by side in each plane, rather than the planes in each row: lines
  // without padding, a few per vector, that have one output each (u8 39x9 k25x9: 0.77 of the time).
  bool IsFlat(const Tile& t) const {
    return t.planes > 1 && inner_ == 1 && width_.output == 1 && !width_.adaptive && width_.pad_before <= 0 &&
           height_.input > 1 && width_.input > 1 && 3 * width_.input <= n_ && dense_rows_ &&
           geometry_.input.axis[kWidth] == 1 && Span(1, width_.kernel, width_) - width_.pad_before <= width_.input;
  }
  // Whether ring rows have no gaps between planes: where these take the last pass no more vectors one by one than side
  // by side, a tall window has a quarter less to do (bf16 17x17x17 s1: 0.83 of the time; 4x6: 1.18).
  bool Compacts(const Tile& t) const {
    if (t.planes == 1 || width_.adaptive || height_.kernel < 8) return false;
    const int64_t outputs = t.columns * t.channels, lanes = Segment() / LineStride(t, t.columns) * t.channels;
    return RoundUp(outputs) <= lanes && outputs * 4 <= lanes * 3;
  }
  int64_t OutElements(const Tile& t) const {
    if (Compacts(t)) return (t.planes - 1) * t.columns * t.channels + RoundUp(t.columns * t.channels);
    const int64_t columns =
        t.planes == 1 || width_.adaptive ? t.planes * t.columns : t.planes * Segment() / LineStride(t, t.columns);
    return columns * t.channels;
  }
  int64_t RingRows(const Tile& t) const { return std::min(height_.input, Span(t.rows, t.taps_y, height_)); }
  int64_t RingPlanes(const Tile& t) const { return std::min(depth_.input, Span(t.depths, depth_.kernel, depth_)); }
  // Elements of a plane of a block of outputs.
  int64_t BlockElements(const Tile& t) const {
    const int64_t elements = t.rows * RowPitch(OutElements(t));
    return deep_ ? RowPitch(elements) : elements;
  }
  int64_t ScratchLanes(const Tile& t, int64_t group) const {
    const int64_t row_buffers = Splits(t) ? 2 : 1;
    const int64_t pitch = RowPitch(OutElements(t));
    const int64_t blocks = t.depths + (deep_ ? RingPlanes(t) : 0);
    return arrays_ * (GroupElements(t, group) * row_buffers + RingRows(t) * pitch + blocks * BlockElements(t) +
                      4 * (kMaxShare + 8) * n_) +
           (arrays_ - 1) * pitch;
  }
  bool Fits(const Tile& t) const {
    return Span(t.rows, t.taps_y, height_) <= kMaxRows &&
           (!deep_ || Span(t.depths, depth_.kernel, depth_) <= kMaxRows) && ScratchLanes(t, 1) <= capacity_;
  }

  [[gnu::cold]] void ChooseTile() {
    const int64_t lines = call_.end - call_.begin;
    // Where windows overlap along the depth, a ring of planes keeps what several of them need.
    deep_ = !depth_.adaptive && depth_.output > 1 && depth_.stride < depth_.EffectiveKernel() && lines > height_.output;
    if (deep_) {
      tile_ = ShrinkToFit(std::min<int64_t>(depth_.output, 8));
      // Or small blocks would reduce rows more often than the depth has taps.
      deep_ = Fits(tile_) && tile_.taps_y == height_.kernel &&
              Span(tile_.rows, height_.kernel, height_) <= depth_.kernel * tile_.rows * height_.stride;
    }
    if (!deep_) tile_ = ShrinkToFit(1);
    Tile& t = tile_;
    // Lines of a few vectors: more planes side by side, as long as all of it stays in the first-level cache.
    Tile more = t;
    more.planes = MostPlanes(t, 32 * n_);
    if (IsFlat(more)) more.planes = std::min(more.planes, n_);
    // Outputs of the depth that share few slices go in small blocks, which leaves room for more (u8 7x7x7 s3: 0.76 of
    // the time).
    const bool apart = 2 * depth_.stride >= depth_.EffectiveKernel() - 1;
    // Rows without gaps gain more from full vectors than they lose there (bf16 17x17x17 s1: 0.88 of the time).
    const int64_t cached = capacity_ / 16 * (Compacts(more) ? 13 : 10);
    while (more.planes > t.planes && (!Fits(more) || ScratchLanes(more, 1) > cached)) {
      if (apart && more.depths > 2) {
        more.depths = (more.depths + 1) / 2;
      } else {
        more.planes = more.planes * 3 / 4;
      }
    }
    if (more.planes > t.planes) t = more;
    height_ring_.slots = RingRows(t);
    depth_ring_.slots = RingPlanes(t);
    depth_ring_.pitch = BlockElements(t);
    // Short rows go through the width in groups, so that loops are long enough to fill the pipeline.
    const int64_t row = ScratchLanes(t, 2) - ScratchLanes(t, 1);
    const int64_t room = (capacity_ - ScratchLanes(t, 0)) / row;
    group_ = std::max<int64_t>(1, std::min({height_ring_.slots, room, CeilDivide(64 * n_, RowElements(t))}));
  }
  bool PixelsAreDense() const {
    return geometry_.input.axis[kWidth] == inner_ && geometry_.output.axis[kWidth] == inner_ &&
           (arrays_ == 1 || call_.taps.strides.axis[kWidth] == inner_);
  }

  // Planes that fill so many elements side by side.
  int64_t MostPlanes(const Tile& t, int64_t elements) const {
    const bool whole = t.columns == width_.output && t.channels == inner_ && t.taps_x == width_.kernel &&
                       t.taps_y == height_.kernel && (!geometry_.channels_last || PixelsAreDense());
    const int64_t most = std::min(images_of_planes_, (call_.end - call_.begin) / LinesPerPlane());
    return whole ? std::max<int64_t>(1, std::min(most, elements / (Segment() * inner_))) : 1;
  }

  [[gnu::cold]] Tile ShrinkToFit(int64_t depths) const {
    const int64_t rows = std::min(height_.output, call_.end - call_.begin);
    const Tile whole = {
        width_.output, inner_, std::min(rows, std::max<int64_t>(32, height_.kernel)), depths, height_.kernel,
        width_.kernel, 1};
    Tile t = whole;
    t.planes = MostPlanes(t, 4 * n_);
    // A window whose row alone takes a good part of scratch is reduced in parts.
    while (t.taps_x > 1 && (Span(1, t.taps_x, width_) * std::min(inner_, n_)) * arrays_ > capacity_ / 4) {
      t.taps_x = (t.taps_x + 1) / 2;
      t.taps_y = t.rows = t.planes = 1;
    }
    const int64_t halo = Span(1, t.taps_x, width_) / width_.stride;
    while (!Fits(t)) {
      // Outputs of different residues by the dilation share no plane.
      if (t.depths > 4 || (t.depths > 1 && t.depths <= depth_.dilation)) {
        t.depths = (t.depths + 1) / 2;
      } else if (t.rows > 16) {
        t.rows = (t.rows + 1) / 2;
      } else if (t.planes > 1) {
        t = whole;
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
      } else if (t.depths > 1) {
        t.depths = (t.depths + 1) / 2;
      } else if (t.rows > 1) {
        t.rows = (t.rows + 1) / 2;
      } else if (t.columns > 1) {
        t.columns = (t.columns + 1) / 2;
      } else if (t.taps_y > 1) {
        t.taps_y = (t.taps_y + 1) / 2;
      } else {
        if (deep_) return t;
        t.taps_x = (t.taps_x + 1) / 2;
      }
    }
    return t;
  }

  // Windows of `taps` taps from windows of this many, at most 4 at a time; balanced over the passes.
  static int64_t Shrink(int64_t taps) {
    int64_t radix = 4;
    if (taps <= 18) radix = taps <= 4 ? 2 : taps <= 9 || taps > 16 ? 3 : 4;
    return (taps + radix - 1) / radix;
  }

  // False if the plan was there already.
  [[gnu::cold]] bool PlanWidth(int64_t ox, int64_t columns, int64_t channel, int64_t channels, int64_t tap,
                               int64_t planes) {
    SeparableWidth& p = width_plan_;
    const int64_t begin = width_.Begin(ox) + tap * width_.dilation;
    if (p.columns == columns && p.channels == channels && p.tap == tap && p.planes == planes) {
      p.channel = channel;  // nothing else depends on it
      if (p.ox == ox) return false;
      // Nor on where tiles begin that lie within the input.
      const bool inner = p.left == 0 && p.edge == 0 && begin >= 0 && !width_.adaptive;
      if (inner && std::min(p.segment, width_.input - begin) == p.count) {
        p.ox = ox;
        p.first = begin;
        return false;
      }
    }
    p.ox = ox;
    p.columns = columns;
    p.channel = channel;
    p.channels = channels;
    p.tap = tap;
    p.planes = planes;
    p.step = width_.dilation * channels;
    p.tap_step = tap_step_[kWidth];
    p.axis = &width_;
    const int64_t taps = p.taps = std::min(tile_.taps_x, width_.kernel - tap);
    const int64_t span = Span(columns, taps, width_);
    const int64_t stride = p.stride = LineStride(tile_, columns);
    const int64_t padded = CeilDivide(span, stride) * stride;
    p.left = std::min(padded, std::max<int64_t>(0, -begin));
    p.first = begin + p.left;
    p.count = std::max<int64_t>(0, std::min(padded - p.left, width_.input - p.first));
    p.segment = tile_.planes == 1 ? padded - p.left : Segment();
    const int64_t row = CeilDivide(p.left + planes * p.segment, stride) * stride;
    p.pitch = row * channels;
    p.split = stride > 1 || width_.adaptive;
    const bool compact = Compacts(tile_);
    p.parts = compact ? planes : 1;
    p.part_step = p.segment / stride * channels;
    p.out_segment = compact || width_.adaptive ? columns * channels : p.part_step;
    p.split_pitch = width_.adaptive ? planes * p.out_segment : row / stride * channels;
    p.edge = std::min(columns, begin < 0 ? CeilDivide(-begin, width_.stride) : 0);
    const int64_t outputs = (planes - 1) * p.out_segment + columns * channels;
    p.out_vectors = (outputs + n_ - 1) / n_;
    p.part_vectors = compact ? (columns * channels + n_ - 1) / n_ : p.out_vectors;
    p.out_pitch = RowPitch(compact ? outputs - columns * channels + p.part_vectors * n_ : outputs);

    // In vectors loaded and stored per row: all taps at once, or windows grown by passes.
    const int64_t row_vectors = (p.pitch + n_ - 1) / n_;
    const bool scalar_split = stride > 4 && channels == 1;
    const int64_t phases = std::min(stride, Span(1, taps, width_));  // if all taps are read at once
    // Single vectors take about half as long as four.
    const int64_t gathered = compact ? 2 * p.parts * p.part_vectors : p.out_vectors;
    int64_t grow_cost = stride == 1 ? 0 : scalar_split ? outputs : 2 * gathered;
    p.phase_step = std::gcd(stride, width_.dilation);
    const int64_t split_cost = stride == 1 ? 0 : scalar_split ? phases / p.phase_step * outputs : 2 * row_vectors;
    for (int64_t to = taps; to > 1; to = Shrink(to)) {
      const int64_t from = Shrink(to);
      grow_cost += (to == taps && stride == 1 ? gathered : row_vectors) * (CeilDivide(to, from) + 1);
    }
    const bool direct =
        !IsFlat(tile_) && (!p.split || taps <= kMaxTaps) && split_cost + gathered * (taps + 1) <= grow_cost;
    p.grown = direct ? 1 : p.split ? taps : Shrink(taps);
    p.last_taps = direct ? taps : p.split ? 1 : CeilDivide(taps, p.grown);
    p.phases = direct ? phases : 1;
    const int64_t phase_pitch = p.phase_pitch = PhasePitch();
    if (width_.adaptive) {
      // Two of the smallest windows, one at each end, make one of any size.
      p.grown = std::min(taps, width_.whole_input / width_.whole_output + 1 - tap);
      p.phases = p.last_taps = taps > p.grown ? 2 : 1;
      p.window_offset[0] = p.window_tap[0] = 0;
      p.window_offset[1] = static_cast<int32_t>(phase_pitch);
      p.window_tap[1] = static_cast<int32_t>(tap_step_[kWidth]);
      return true;
    }
    for (int64_t t = 0; t < std::min(p.last_taps, kMaxTaps); ++t) {
      const int64_t shift = std::min(t * p.grown, taps - p.grown);
      const int64_t column = shift * width_.dilation;
      const int64_t phase = stride == 1 ? 0 : column % stride;
      p.window_tap[t] = static_cast<int32_t>(shift * tap_step_[kWidth]);
      p.window_offset[t] = static_cast<int32_t>(phase * phase_pitch + (column - phase) / stride * channels);
    }
    return true;
  }

  // Elements from phase to phase of a group of rows, with room for whole vectors where phases are split in one go.
  int64_t PhasePitch() const { return width_plan_.split_pitch * group_ + (width_plan_.stride <= 4 ? n_ : 0); }

  // Where the rows that a block of outputs reads are in the ring. Padding rows stand for the nearest in-range row of
  // the same window, which changes nothing. Axes that fit the ring as a whole find the table ready.
  [[gnu::cold]] static void PlanRing(const Axis& axis, int64_t begin, int64_t span, Ring* ring) {
    if (begin == ring->begin && span <= ring->span && ring->pitch == ring->table_pitch) return;
    ring->begin = begin;
    ring->span = span;
    ring->table_pitch = ring->pitch;
    const int64_t dilation = axis.dilation;
    for (int64_t v = 0; v < span; ++v) {
      int64_t y = begin + v;
      if (y < 0) y += CeilDivide(-y, dilation) * dilation;
      if (y >= axis.input) y -= CeilDivide(y - axis.input + 1, dilation) * dilation;
      ring->offset[v] = static_cast<int32_t>(y < 0 ? 0 : y % ring->slots * ring->pitch);
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
    const int64_t size = height_.input * width_.input * s.axis[kWidth];
    return dense_rows_ && (depth_.input == 1 || s.axis[kDepth] == size) && PlaneStep(s) == depth_.input * size;
  }

  // How small images are transposed, see the engine: `group` at a time, padded to powers of two.
  struct Transposition {
    int64_t images, in, out;  // elements per image
    int in_rounds = 0, out_rounds = 0;
    int64_t in_pitch, out_pitch, group;
  };
  // False if that is not for this call.
  [[gnu::cold]] bool PlanTransposition(Transposition* t) const {
    const Axis &w = width_, &h = height_, &z = depth_;
    t->in = inner_ * w.input * h.input * z.input;
    t->out = inner_ * w.output * h.output * z.output;
    t->images = (call_.end - call_.begin) / LinesPerPlane();
    if (t->images < n_ || may_be_empty_ || inner_ * w.input > TransposedLine()) return false;
    if (call_.begin % LinesPerPlane() != 0 || call_.end % LinesPerPlane() != 0) return false;
    const auto dense = [this](const Strides& s, int64_t columns, int64_t rows, int64_t planes) {
      return (columns == 1 || s.axis[kWidth] == inner_) && (rows == 1 || s.axis[kHeight] == inner_ * columns) &&
             (planes == 1 || s.axis[kDepth] == inner_ * columns * rows);
    };
    if (!dense(geometry_.input, w.input, h.input, z.input)) return false;
    if (!dense(geometry_.output, w.output, h.output, z.output)) return false;
    if (arrays_ > 1 && !dense(call_.taps.strides, w.output, h.output, z.output)) return false;
    while ((int64_t{1} << t->in_rounds) < t->in) ++t->in_rounds;
    while ((int64_t{1} << t->out_rounds) < t->out) ++t->out_rounds;
    t->in_pitch = int64_t{1} << t->in_rounds;
    t->out_pitch = int64_t{1} << t->out_rounds;
    const int64_t each = t->in_pitch + arrays_ * t->out_pitch, vectors = capacity_ / n_;
    if (each > vectors / 2 || std::max(t->in_pitch, t->out_pitch) > vectors / 3) return false;
    t->group = std::max<int64_t>(1, std::min(vectors / 3 / each, CeilDivide(t->images, n_))) * n_;
    return true;
  }
  // Elements of a line up to which transposing images is faster than laying planes side by side. Strides are split
  // without vectors there, which costs most where lines have few outputs and nothing else is done to them.
  int64_t TransposedLine() const {
    const bool strided = width_.stride > (inner_ > 1 ? 1 : 4) || width_.output == 1 || width_.adaptive;
    return strided && inner_ <= 4 && height_.input == 1 && depth_.input == 1 ? 4 * n_ : n_ / 2;
  }
  // A group of them as the channels of one image, whose keys are in scratch from x to `rest`.
  [[gnu::cold]] SeparableProblem TransposedProblem(const Transposition& t, void* x, void* y, void* taps,
                                                   void* rest) const {
    SeparableProblem problem = problem_;
    const int64_t lane_bytes = problem_.call.scratch_bytes / capacity_;
    problem.call.scratch_bytes -= t.group * (t.in_pitch + arrays_ * t.out_pitch) * lane_bytes;
    Geometry& g = problem.geometry;
    g.channels_last = true;
    g.batch = 1;
    g.channels = inner_ * t.group;
    const auto strides = [&g](int64_t columns, int64_t rows) {
      const int64_t row = columns * g.channels;
      return Strides{0, 1, {rows * row, row, g.channels}};
    };
    g.input = strides(width_.input, height_.input);
    g.output = strides(width_.output, height_.output);
    problem.call.x = x;
    problem.call.y = y;
    problem.call.taps = {taps, static_cast<int>(lane_bytes), g.output, 0};
    problem.call.begin = 0;
    problem.call.end = LinesPerPlane();
    problem.call.scratch = rest;
    return problem;
  }

  const SeparableProblem& problem_;
  const ForwardCall& call_;
  const Geometry& geometry_;
  const Axis& depth_;
  const Axis& height_;
  const Axis& width_;
  const int64_t* const tap_step_;
  const int64_t arrays_;  // keys, and tap numbers behind them
  const int64_t n_;       // lanes per vector
  const int64_t inner_;   // elements per pixel
  const int64_t capacity_;
  int64_t images_of_planes_;  // planes that are one stride apart
  bool dense_rows_;
  bool may_be_empty_;

  Tile tile_;
  bool deep_ = false;  // a ring of planes for the depth
  int64_t group_;      // rows reduced along the width at once
  SeparableWidth width_plan_ = {};
  Ring height_ring_, depth_ring_;
};

}  // namespace peakpool

#endif  // PEAKPOOL_SRC_KERNELS_SEPARABLE_PLAN_H_
